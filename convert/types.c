#include "convert/types.h"

#include <stdio.h>
#include <string.h>

#include "formats/block_choice.h"

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
    return strcmp(tensor->name, output) == 0 ? block_choice_output(type) : type;
}

void convert_types(struct convert_source *source, const struct convert_options *options)
{
    const char *output = output_of(source);
    for (int32_t i = 0; i < source->num_tensors; i++) {
        struct convert_tensor *tensor = &source->tensors[i];
        const enum block_type type = wanted(tensor, options->type, output);
        char text[256];
        tensor->to = block_choice_fit(type, tensor->dims[0]);
        if (tensor->to == type || options->note == NULL)
            continue;
        snprintf(text, sizeof(text), "%s is %s: rows of %lld are no whole blocks of %s",
                 tensor->name, block_info(tensor->to)->name, (long long)tensor->dims[0],
                 block_info(type)->name);
        options->note(options->context, text);
    }
}
