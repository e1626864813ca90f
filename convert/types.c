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

/* What the names and shapes of a file say of its model. */
struct model {
    const char *output;
    int32_t num_layers, num_shared, num_experts;
};

static bool has_part(const struct convert_tensor *tensor, const char *part)
{
    return strstr(tensor->name, part) != NULL;
}

static int32_t layer_of(const struct convert_tensor *tensor)
{
    int layer;
    return sscanf(tensor->name, "blk.%d.", &layer) == 1 ? layer : 0;
}

static struct model look_at(const struct convert_source *source)
{
    struct model model = { .output = "token_embd.weight", .num_shared = 1 };
    int64_t queries = 0, keys = 0, all = 0; /* in one layer */
    for (int32_t i = 0; i < source->num_tensors; i++) {
        const struct convert_tensor *tensor = &source->tensors[i];
        if (layer_of(tensor) >= model.num_layers)
            model.num_layers = layer_of(tensor) + 1;
        if (strcmp(tensor->name, "output.weight") == 0)
            model.output = tensor->name;
        if (has_part(tensor, ".ffn_gate_inp.weight"))
            model.num_experts = (int32_t)tensor->dims[1];
        if (has_part(tensor, ".attn_output.weight"))
            queries = tensor->dims[0];
        if (has_part(tensor, ".attn_k.weight"))
            keys = tensor->dims[1];
        if (has_part(tensor, ".attn_qkv.weight"))
            all = tensor->dims[1];
    }
    if (keys == 0)
        keys = (all - queries) / 2;
    if (keys > 0)
        model.num_shared = (int32_t)(queries / keys);
    return model;
}

static enum block_role role_of(const struct convert_tensor *tensor, const struct model *model)
{
    static const struct {
        const char *part;
        enum block_role role;
    } rows[] = {
        { ".attn_v.weight", BLOCK_ROLE_VALUES },        { ".attn_qkv.weight", BLOCK_ROLE_VALUES },
        { ".attn_kv_b.weight", BLOCK_ROLE_VALUES },     { ".attn_k.weight", BLOCK_ROLE_KEYS },
        { ".attn_output.weight", BLOCK_ROLE_ATTN_OUT }, { ".ffn_down", BLOCK_ROLE_DOWN },
    };
    if (strcmp(tensor->name, model->output) == 0)
        return BLOCK_ROLE_OUTPUT;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (has_part(tensor, rows[i].part))
            return rows[i].role;
    return BLOCK_ROLE_OTHER;
}

static enum block_type wanted(const struct convert_tensor *tensor, const struct model *model,
                              const struct block_choice *choice)
{
    const struct block_place place = { .role = role_of(tensor, model),
                                       .layer = layer_of(tensor),
                                       .num_layers = model->num_layers,
                                       .num_shared = model->num_shared,
                                       .num_experts = model->num_experts };
    return is_matrix(tensor) ? block_choice_type(choice, &place) : BLOCK_F32;
}

void convert_types(struct convert_source *source, const struct convert_options *options)
{
    const struct model model = look_at(source);
    for (int32_t i = 0; i < source->num_tensors; i++) {
        struct convert_tensor *tensor = &source->tensors[i];
        const enum block_type type = wanted(tensor, &model, options->choice);
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
