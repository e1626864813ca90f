#include "worker/model/weights.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/families/family.h"
#include "worker/model/loader.h"
#include "worker/model/tensor_place.h"
#include "worker/model/tensor_read.h"

enum { MAX_LOAD_THREADS = 8, MAX_NAME = 256 };

/* Tensors found, those of one target next to each other, as the family's rows are. */
struct plan {
    const struct backend *backend;
    struct device *device;
    const struct arch *whole, *arch; /* of the checkpoint; of this rank */
    const struct family *family;
    struct checkpoint *checkpoint;
    struct model_weights *weights;
    struct loader_part *parts;
    int32_t num_parts;
    struct target {
        const struct weight_row *row;
        void *field; /* struct weight ** or float ** */
        int32_t first_part, num_parts;
    } * targets;
    int32_t num_targets;
    struct loader_matrix *matrices; /* [num_targets] */
    int32_t num_matrices;
};

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

static void add_part(struct plan *plan, const struct weight_row *row, void *field, int32_t block,
                     const struct checkpoint_tensor *tensor)
{
    if (plan->num_targets == 0 || plan->targets[plan->num_targets - 1].field != field)
        plan->targets[plan->num_targets++] =
            (struct target){ .row = row, .field = field, .first_part = plan->num_parts };
    plan->targets[plan->num_targets - 1].num_parts++;
    plan->parts[plan->num_parts++] = tensor_place_part(row, plan->whole, plan->arch, block, tensor);
}

static struct checkpoint_tensor *find_tensor(const struct plan *plan, const struct weight_row *row,
                                             int32_t layer, int32_t block)
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
static struct checkpoint_tensor *find_embedding(const struct plan *plan)
{
    for (int32_t i = 0; i < plan->family->num_rows; i++) {
        const struct weight_row *row = &plan->family->rows[i];
        if (!row->in_layer && row->offset == offsetof(struct model_weights, embed_tokens))
            return find_tensor(plan, row, 0, 0);
    }
    return NULL;
}

static int plan_block(struct plan *plan, const struct weight_row *row, int32_t layer, int32_t block,
                      struct error *err)
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
        tensor_place_name(row, plan->family->prefixes[0], layer, block, name, sizeof(name));
        return error_set(err, -EINVAL, "tensor %.160s is missing, wanted by model_type %s", name,
                         plan->arch->model_type);
    }
    const int r = tensor_place_check(row, plan->whole, plan->checkpoint, tensor, err);
    if (r < 0 || (row->once && plan->arch->shard.rank > 0))
        return r;
    char *base = row->in_layer ? (char *)&plan->weights->layers[layer] : (char *)plan->weights;
    add_part(plan, row, base + row->offset, block, tensor);
    return 0;
}

static int plan_row(struct plan *plan, const struct weight_row *row, int32_t layer,
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
static bool is_further(const struct plan *plan, const char *name)
{
    const char *at = strstr(name, "layers.");
    if (!plan->family->further_layers || at == NULL)
        return false;
    char *end;
    const unsigned long layer = strtoul(at + strlen("layers."), &end, 10);
    return *end == '.' && layer >= (unsigned long)plan->arch->num_hidden_layers;
}

static bool is_ignored(const struct plan *plan, const char *name)
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

static int refuse_extra(const struct plan *plan, struct error *err)
{
    const struct checkpoint *c = plan->checkpoint;
    for (int32_t i = 0; i < c->num_tensors; i++) {
        const struct checkpoint_tensor *tensor = &c->tensors[i];
        char found[160];
        if (tensor->wanted || is_ignored(plan, tensor->info->name))
            continue;
        tensor_place_describe(tensor->info, found, sizeof(found));
        return error_set(err, -EINVAL,
                         "tensor %.120s in %.80s is %s, wanted none of that name with this "
                         "config.json",
                         tensor->info->name, checkpoint_file_name(c, tensor), found);
    }
    return 0;
}

static int plan_rows(struct plan *plan, struct error *err)
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

/* The dtype that all parts share, or f32. */
static enum dtype common_dtype(const struct plan *plan, const struct target *target)
{
    const struct loader_part *parts = plan->parts + target->first_part;
    const enum dtype dtype = parts[0].tensor->info->dtype->dtype;
    for (int32_t i = 1; i < target->num_parts; i++)
        if (parts[i].tensor->info->dtype->dtype != dtype)
            return DTYPE_F32;
    return dtype;
}

static int alloc_matrix(struct plan *plan, const struct target *target, struct error *err)
{
    struct weight **field = target->field;
    struct loader_matrix *matrix = &plan->matrices[plan->num_matrices];
    *matrix = (struct loader_matrix){ .dtype = common_dtype(plan, target),
                                      .rows = tensor_place_total(target->row, plan->arch),
                                      .cols = family_dim(plan->arch, target->row->cols),
                                      .parts = plan->parts + target->first_part,
                                      .num_parts = target->num_parts };
    const int r = plan->backend->weight_alloc(plan->device, matrix->dtype, matrix->rows,
                                              matrix->cols, field, err);
    if (r < 0)
        return r;
    matrix->weight = *field;
    plan->weights->bytes += plan->backend->weight_bytes(*field);
    plan->num_matrices++;
    return 0;
}

static int load_vector(struct plan *plan, const struct target *target, struct error *err)
{
    float **field = target->field;
    const size_t bytes = (size_t)family_dim(plan->arch, target->row->total) * sizeof(float);
    float *values = malloc(bytes);
    *field = plan->backend->alloc(plan->device, bytes);
    int r = values != NULL && *field != NULL
                ? 0
                : error_set(err, -ENOMEM, "no memory for a vector of %zu bytes", bytes);
    for (int32_t i = 0; r == 0 && i < target->num_parts; i++)
        r = loader_read_vector(&plan->parts[target->first_part + i], values, err);
    for (size_t i = 0; r == 0 && target->row->plus_one && i < bytes / sizeof(float); i++)
        values[i] += 1.0f;
    if (r == 0)
        plan->backend->upload(plan->device, *field, values, bytes);
    plan->weights->bytes += bytes;
    free(values);
    return r;
}

static uint64_t part_bytes(const struct plan *plan, const struct target *target, int32_t index)
{
    const struct loader_part *part = &plan->parts[target->first_part + index];
    const int32_t cols = row_is_matrix(target->row) ? family_dim(plan->arch, target->row->cols) : 1;
    return tensor_stored_bytes(part->tensor->info->dtype,
                               (uint64_t)part->num_rows * (uint64_t)cols);
}

static int load_targets(struct plan *plan, const struct model_options *options, struct error *err)
{
    uint64_t total = 0, vectors = 0;
    int r = 0;
    for (int32_t t = 0; t < plan->num_targets; t++)
        for (int32_t i = 0; i < plan->targets[t].num_parts; i++)
            total += part_bytes(plan, &plan->targets[t], i);
    if (options->total_bytes != NULL)
        atomic_store(options->total_bytes, total);
    for (int32_t t = 0; r == 0 && t < plan->num_targets; t++) {
        const struct target *target = &plan->targets[t];
        r = row_is_matrix(target->row) ? alloc_matrix(plan, target, err)
                                       : load_vector(plan, target, err);
        for (int32_t i = 0; !row_is_matrix(target->row) && i < target->num_parts; i++)
            vectors += part_bytes(plan, target, i);
    }
    if (r < 0)
        return r;
    if (options->progress_bytes != NULL)
        atomic_fetch_add(options->progress_bytes, vectors);
    const int32_t threads = plan->backend->device_threads(plan->device);
    return loader_run(plan->backend, plan->matrices, plan->num_matrices,
                      threads < MAX_LOAD_THREADS ? threads : MAX_LOAD_THREADS,
                      options->progress_bytes, err);
}

/* Most parts of all rows. */
static size_t count_parts(const struct plan *plan)
{
    size_t num = 0;
    for (int32_t i = 0; i < plan->family->num_rows; i++) {
        const struct weight_row *row = &plan->family->rows[i];
        num += (size_t)tensor_place_blocks(row, plan->arch) *
               (row->in_layer ? (size_t)plan->arch->num_hidden_layers : 1);
    }
    return num;
}

static int run_plan(struct plan *plan, const struct model_options *options, struct error *err)
{
    const size_t most = count_parts(plan);
    plan->parts = calloc(most, sizeof(*plan->parts));
    plan->targets = calloc(most, sizeof(*plan->targets));
    plan->matrices = calloc(most, sizeof(*plan->matrices));
    int r = plan->parts != NULL && plan->targets != NULL && plan->matrices != NULL
                ? 0
                : error_set(err, -ENOMEM, "no memory for the list of %zu tensors", most);
    if (r == 0)
        r = plan_rows(plan, err);
    if (r == 0)
        r = load_targets(plan, options, err);
    free(plan->parts);
    free(plan->targets);
    free(plan->matrices);
    return r;
}

int weights_load(const struct backend *backend, struct device *device,
                 const struct model_options *options, const struct arch *whole,
                 const struct arch *own, const struct family *family, struct checkpoint *checkpoint,
                 struct model_weights *ret_weights, struct error *err)
{
    struct model_weights weights = { .num_layers = own->num_hidden_layers };
    struct plan plan = { .backend = backend,
                         .device = device,
                         .whole = whole,
                         .arch = own,
                         .family = family,
                         .checkpoint = checkpoint,
                         .weights = &weights };
    weights.layers = calloc((size_t)weights.num_layers, sizeof(*weights.layers));
    if (weights.layers == NULL)
        return error_set(err, -ENOMEM, "no memory for %d layers", weights.num_layers);
    const int r = run_plan(&plan, options, err);
    if (r < 0) {
        weights_finish(backend, device, &weights);
        return r;
    }
    *ret_weights = weights;
    return 0;
}

static void free_matrix(const struct backend *backend, struct weight *weight)
{
    if (weight != NULL)
        backend->weight_free(weight);
}

static void free_vector(const struct backend *backend, struct device *device, float *vector)
{
    if (vector != NULL)
        backend->free(device, vector);
}

/* Where the pointers lie in struct layer_weights. */
static const size_t layer_matrices[] = {
    offsetof(struct layer_weights, qkv_proj),
    offsetof(struct layer_weights, o_proj),
    offsetof(struct layer_weights, gate_up_proj),
    offsetof(struct layer_weights, down_proj),
    offsetof(struct layer_weights, q_a_proj),
    offsetof(struct layer_weights, kv_a_proj),
    offsetof(struct layer_weights, k_absorbed),
    offsetof(struct layer_weights, v_absorbed),
    offsetof(struct layer_weights, router),
    offsetof(struct layer_weights, experts_gate_up),
    offsetof(struct layer_weights, experts_down),
    offsetof(struct layer_weights, shared_gate_up_proj),
    offsetof(struct layer_weights, shared_down_proj),
    offsetof(struct layer_weights, shared_gate),
};
static const size_t layer_vectors[] = {
    offsetof(struct layer_weights, attn_norm),    offsetof(struct layer_weights, qkv_bias),
    offsetof(struct layer_weights, o_bias),       offsetof(struct layer_weights, attn_out_norm),
    offsetof(struct layer_weights, mlp_norm),     offsetof(struct layer_weights, gate_up_bias),
    offsetof(struct layer_weights, down_bias),    offsetof(struct layer_weights, attn_norm_bias),
    offsetof(struct layer_weights, q_norm),       offsetof(struct layer_weights, k_norm),
    offsetof(struct layer_weights, q_norm_bias),  offsetof(struct layer_weights, k_norm_bias),
    offsetof(struct layer_weights, mlp_out_norm), offsetof(struct layer_weights, q_a_bias),
    offsetof(struct layer_weights, kv_a_bias),    offsetof(struct layer_weights, router_bias),
};

static void free_layer(const struct backend *backend, struct device *device,
                       struct layer_weights *layer)
{
    for (size_t i = 0; i < sizeof(layer_matrices) / sizeof(layer_matrices[0]); i++)
        free_matrix(backend, *(struct weight **)((char *)layer + layer_matrices[i]));
    for (size_t i = 0; i < sizeof(layer_vectors) / sizeof(layer_vectors[0]); i++)
        free_vector(backend, device, *(float **)((char *)layer + layer_vectors[i]));
}

void weights_finish(const struct backend *backend, struct device *device,
                    struct model_weights *weights)
{
    for (int32_t l = 0; weights->layers != NULL && l < weights->num_layers; l++)
        free_layer(backend, device, &weights->layers[l]);
    free(weights->layers);
    free_matrix(backend, weights->embed_tokens);
    free_vector(backend, device, weights->norm);
    free_vector(backend, device, weights->norm_bias);
    free_vector(backend, device, weights->lm_head_bias);
    free_matrix(backend, weights->lm_head);
    *weights = (struct model_weights){ 0 };
}
