#include "formats/block_choice.h"

#include <string.h>

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

int block_choice_named(const char *name)
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

uint32_t block_choice_file_type(enum block_type type)
{
    return row_of(type)->file_type;
}

enum block_type block_choice_fit(enum block_type type, int64_t width)
{
    while (width % block_info(type)->elements != 0)
        type = row_of(type)->narrow;
    return type;
}

enum block_type block_choice_output(enum block_type type)
{
    return row_of(type)->is_small ? BLOCK_Q6_K : type;
}
