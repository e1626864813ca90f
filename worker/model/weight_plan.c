#include "worker/model/weight_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/model/quant_tensors.h"
#include "worker/model/tensor_place.h"

enum { MAX_NAME = 256 };

static bool is_wanted(const struct weight_row *row, const struct arch *arch, int32_t layer)
{
    const struct layer_spec *spec = &arch->layers[layer];
    if ((row->needs & ~arch->features) != 0)
        return false;
    switch (row->when) {
    case WHEN_ALWAYS:
        return true;
    case WHEN_ATTENTION_BIAS:
        return arch->attention_bias;
    case WHEN_MLP_BIAS:
        return arch->mlp_bias;
    case WHEN_UNTIED:
        return !arch->tie_word_embeddings;
    case WHEN_QK_LAYERNORM:
        return arch->qk_layernorm;
    case WHEN_MLP_DENSE:
        return spec->mlp == MLP_DENSE;
    case WHEN_EXPERTS:
        return spec->mlp == MLP_EXPERTS;
    case WHEN_ROUTER_BIAS:
        return spec->mlp == MLP_EXPERTS && arch->moe.router_bias;
    case WHEN_SHARED_EXPERT:
        return spec->mlp == MLP_EXPERTS && arch->moe.shared_intermediate_size > 0;
    case WHEN_SHARED_GATE:
        return spec->mlp == MLP_EXPERTS && arch->moe.shared_gate;
    }
    return false;
}

static void add_part(struct weight_plan *plan, const struct weight_row *row, int32_t layer,
                     int32_t block, const struct checkpoint_tensor *tensor)
{
    char *base = row->in_layer ? (char *)&plan->weights->layers[layer] : (char *)plan->weights;
    void *field = base + row->offset;
    const struct weight_target *last =
        plan->num_targets > 0 ? &plan->targets[plan->num_targets - 1] : NULL;
    if (last == NULL || last->field != field || last->row != row)
        plan->targets[plan->num_targets++] =
            (struct weight_target){ .row = row,
                                    .field = field,
                                    .layer = layer,
                                    .first_part = plan->num_parts,
                                    .first = family_dim(plan->arch, row->first),
                                    .num = family_dim(plan->arch, row->rows) };
    plan->targets[plan->num_targets - 1].num_parts++;
    plan->parts[plan->num_parts++] = tensor_place_part(row, plan->whole, plan->arch, block, tensor);
}

static struct checkpoint_tensor *find_tensor(const struct weight_plan *plan,
                                             const struct weight_row *row, int32_t layer,
                                             int32_t block)
{
    struct checkpoint_tensor *tensor = NULL;
    for (const char *const *prefix = plan->family->prefixes; tensor == NULL && *prefix != NULL;
         prefix++) {
        char name[MAX_NAME];
        tensor_place_name(row, *prefix, layer, block, name, sizeof(name));
        tensor = checkpoint_find(plan->checkpoint, name);
    }
    return tensor;
}

/* An output matrix that is the embedding: one rank uses that one, several need their parts. */
static struct checkpoint_tensor *find_embedding(const struct weight_plan *plan)
{
    for (int32_t i = 0; i < plan->family->num_rows; i++) {
        const struct weight_row *row = &plan->family->rows[i];
        if (!row->in_layer && row->offset == offsetof(struct model_weights, embed_tokens))
            return find_tensor(plan, row, 0, 0);
    }
    return NULL;
}

static int plan_block(struct weight_plan *plan, const struct weight_row *row, int32_t layer,
                      int32_t block, struct error *err)
{
    struct checkpoint_tensor *tensor = find_tensor(plan, row, layer, block);
    const bool is_head = row->when == WHEN_UNTIED, wanted = is_wanted(row, plan->arch, layer);
    if (tensor != NULL)
        tensor->wanted = tensor->wanted || is_head || wanted;
    if (is_head && plan->arch->shard.num_ranks > 1 && (tensor == NULL || !wanted))
        tensor = find_embedding(plan); /* NULL was an error of its own row */
    else if (!wanted || (tensor == NULL && is_head))
        return 0;
    if (tensor == NULL) {
        char name[MAX_NAME];
        const bool beside = strncmp(row->name, "lm_head.", strlen("lm_head.")) == 0;
        tensor_place_name(row, beside ? "" : plan->family->prefixes[0], layer, block, name,
                          sizeof(name));
        return error_set(err, -EINVAL, "tensor %.160s is missing, wanted by model_type %s", name,
                         plan->arch->model_type);
    }
    const int r = tensor_place_check(row, plan->whole, plan->checkpoint, tensor, err);
    if (r < 0 || (row->once && plan->arch->shard.rank > 0))
        return r;
    add_part(plan, row, layer, block, tensor);
    return 0;
}

static int plan_row(struct weight_plan *plan, const struct weight_row *row, int32_t layer,
                    struct error *err)
{
    int r = 0;
    for (int32_t b = 0; r == 0 && b < tensor_place_blocks(row, plan->arch); b++)
        r = plan_block(plan, row, layer, b, err);
    return r;
}

/* What a model has beside its text part. */
static const char *const other_parts[] = { "vision_tower.", "multi_modal_projector.",
                                           "model.vision_tower.", "model.multi_modal_projector.",
                                           NULL };

/* "model.layers.61.": behind the last layer. */
static bool is_further(const struct weight_plan *plan, const char *name)
{
    const char *at = strstr(name, "layers.");
    if (!plan->family->further_layers || at == NULL)
        return false;
    char *end;
    const unsigned long layer = strtoul(at + strlen("layers."), &end, 10);
    return *end == '.' && layer >= (unsigned long)plan->arch->num_hidden_layers;
}

static bool is_ignored(const struct weight_plan *plan, const char *name)
{
    const struct family *family = plan->family;
    const size_t len = strlen(name);
    if (is_further(plan, name))
        return true;
    for (const char *const *part = other_parts; family->wrapper != NULL && *part != NULL; part++)
        if (strncmp(name, *part, strlen(*part)) == 0)
            return true;
    for (const char *const *suffix = family->ignored; *suffix != NULL; suffix++) {
        const size_t end = strlen(*suffix);
        if (len >= end && strcmp(name + len - end, *suffix) == 0)
            return true;
    }
    return false;
}

static int refuse_extra(const struct weight_plan *plan, struct error *err)
{
    const struct checkpoint *c = plan->checkpoint;
    for (int32_t i = 0; i < c->num_tensors; i++) {
        const struct checkpoint_tensor *tensor = &c->tensors[i];
        char found[160];
        if (tensor->wanted || is_ignored(plan, tensor->info->name))
            continue;
        const int is_idle = quant_tensors_is_idle_bias(c, tensor);
        if (is_idle < 0)
            return error_set(err, is_idle, "tensor %.160s cannot be read", tensor->info->name);
        if (is_idle > 0)
            continue;
        tensor_place_describe(tensor->info, found, sizeof(found));
        return error_set(err, -EINVAL,
                         "tensor %.120s in %.80s is %s, wanted none of that name with this "
                         "config.json",
                         tensor->info->name, checkpoint_file_name(c, tensor), found);
    }
    return 0;
}

static int plan_rows(struct weight_plan *plan, struct error *err)
{
    const struct family *family = plan->family;
    int r = 0;
    for (int32_t i = 0; r == 0 && i < family->num_rows; i++)
        if (!family->rows[i].in_layer)
            r = plan_row(plan, &family->rows[i], 0, err);
    for (int32_t l = 0; r == 0 && l < plan->arch->num_hidden_layers; l++)
        for (int32_t i = 0; r == 0 && i < family->num_rows; i++)
            if (family->rows[i].in_layer)
                r = plan_row(plan, &family->rows[i], l, err);
    return r < 0 ? r : refuse_extra(plan, err);
}

/* Most parts of all rows. */
static size_t count_parts(const struct weight_plan *plan)
{
    size_t num = 0;
    for (int32_t i = 0; i < plan->family->num_rows; i++) {
        const struct weight_row *row = &plan->family->rows[i];
        num += (size_t)tensor_place_blocks(row, plan->arch) *
               (row->in_layer ? (size_t)plan->arch->num_hidden_layers : 1);
    }
    return num;
}

int weight_plan_fill(struct weight_plan *plan, struct error *err)
{
    const size_t most = count_parts(plan);
    plan->parts = calloc(most, sizeof(*plan->parts));
    plan->targets = calloc(most, sizeof(*plan->targets));
    if (plan->parts == NULL || plan->targets == NULL)
        return error_set(err, -ENOMEM, "no memory for a list of %zu tensors", most);
    return plan_rows(plan, err);
}

void weight_plan_finish(struct weight_plan *plan)
{
    for (int32_t t = 0; plan->targets != NULL && t < plan->num_targets; t++)
        quant_groups_finish(&plan->targets[t].groups);
    free(plan->parts);
    free(plan->targets);
}

bool weight_plan_is_plain(const struct weight_plan *plan, const struct weight_target *target)
{
    bool is_plain = true;
    for (int32_t i = 0; i < target->num_parts; i++) {
        const struct safetensors_tensor *info = plan->parts[target->first_part + i].tensor->info;
        is_plain = is_plain && info->quant == NULL && info->dtype->block == NULL;
    }
    return is_plain;
}
