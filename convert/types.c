#include "convert/types.h"

#include <stdio.h>
#include <string.h>

#include "formats/block_quantize.h"

/* clang-format off */
static const struct type_row {
    const char *name;
    enum block_type type, narrow; /* where the widths are no whole blocks */
    uint32_t file_type;
    bool is_small; /* the output is Q6_K */
} rows[] = {
    { "f32",  BLOCK_F32,  BLOCK_F32,   0, false }, { "f16",  BLOCK_F16,  BLOCK_F16,   1, false },
    { "bf16", BLOCK_BF16, BLOCK_BF16, 32, false }, { "q8_0", BLOCK_Q8_0, BLOCK_F16,   7, false },
    { "q4_0", BLOCK_Q4_0, BLOCK_F16,   2, true },  { "q4_1", BLOCK_Q4_1, BLOCK_F16,   3, true },
    { "q5_0", BLOCK_Q5_0, BLOCK_F16,   8, true },  { "q5_1", BLOCK_Q5_1, BLOCK_F16,   9, true },
    { "q2_k", BLOCK_Q2_K, BLOCK_Q4_0, 10, true },  { "q3_k", BLOCK_Q3_K, BLOCK_Q4_0, 11, true },
    { "q4_k", BLOCK_Q4_K, BLOCK_Q5_0, 14, true },  { "q5_k", BLOCK_Q5_K, BLOCK_Q5_1, 16, true },
    { "q6_k", BLOCK_Q6_K, BLOCK_Q8_0, 18, false },
};
/* clang-format on */
enum { NUM_ROWS = sizeof(rows) / sizeof(rows[0]) };

int convert_type_named(const char *name)
{
    for (int i = 0; i < NUM_ROWS; i++)
        if (strcmp(rows[i].name, name) == 0)
            return (int)rows[i].type;
    return -1;
}

static const struct type_row *row_of(enum block_type type)
{
    const struct type_row *row = rows;
    while (row->type != type)
        row++;
    return row;
}

uint32_t convert_file_type(enum block_type type)
{
    return row_of(type)->file_type;
}

/* The type, or the first behind it whose blocks fit the width. */
static enum block_type fit(enum block_type type, int64_t width)
{
    while (width % block_info(type)->elements != 0)
        type = row_of(type)->narrow;
    return type;
}

static bool is_matrix(const struct convert_tensor *tensor)
{
    const size_t len = strlen(tensor->name);
    const bool is_weight = len > 7 && strcmp(tensor->name + len - 7, ".weight") == 0;
    return tensor->num_dims > 1 && is_weight && strstr(tensor->name, "ffn_gate_inp") == NULL;
}

static const char *output_of(const struct convert_source *source)
{
    for (int32_t i = 0; i < source->num_tensors; i++)
        if (strcmp(source->tensors[i].name, "output.weight") == 0)
            return "output.weight";
    return "token_embd.weight";
}

static enum block_type wanted(const struct convert_tensor *tensor, enum block_type type,
                              const char *output)
{
    if (!is_matrix(tensor))
        return BLOCK_F32;
    return row_of(type)->is_small && strcmp(tensor->name, output) == 0 ? BLOCK_Q6_K : type;
}

void convert_types(struct convert_source *source, const struct convert_options *options)
{
    const char *output = output_of(source);
    for (int32_t i = 0; i < source->num_tensors; i++) {
        struct convert_tensor *tensor = &source->tensors[i];
        const enum block_type type = wanted(tensor, options->type, output);
        char text[256];
        tensor->to = fit(type, tensor->dims[0]);
        if (tensor->to == type || options->note == NULL)
            continue;
        snprintf(text, sizeof(text), "%s is %s: rows of %lld are no whole blocks of %s",
                 tensor->name, block_info(tensor->to)->name, (long long)tensor->dims[0],
                 block_info(type)->name);
        options->note(options->context, text);
    }
}
