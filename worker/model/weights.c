#include "worker/model/weights.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/families/family.h"
#include "worker/model/loader.h"
#include "worker/model/quant_tensors.h"
#include "worker/model/requant.h"
#include "worker/model/tensor_place.h"
#include "worker/model/tensor_read.h"
#include "worker/model/weight_form.h"

enum { MAX_LOAD_THREADS = 8, MAX_NAME = 256 };

/* Tensors found, those of one target next to each other, as the family's rows are. */
struct plan {
    const struct backend *backend;
    struct device *device;
    const struct arch *whole, *arch; /* of the checkpoint; of this rank */
    const struct family *family;
    struct checkpoint *checkpoint;
    struct model_weights *weights;
    enum dtype quantization; /* requant.h */
    struct loader_part *parts;
    int32_t num_parts;
    struct target {
        const struct weight_row *row;
        void *field; /* struct weight ** or float ** */
        int32_t first_part, num_parts;
        struct quant_groups groups; /* of a quantized matrix that stays so */
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
        const bool beside = strncmp(row->name, "lm_head.", strlen("lm_head.")) == 0;
        tensor_place_name(row, beside ? "" : plan->family->prefixes[0], layer, block, name,
                          sizeof(name));
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

/* Are all parts plain values, so that they may be kept in another type? */
static bool is_plain(const struct plan *plan, const struct target *target)
{
    bool is_plain = true;
    for (int32_t i = 0; i < target->num_parts; i++) {
        const struct safetensors_tensor *info = plan->parts[target->first_part + i].tensor->info;
        is_plain = is_plain && info->quant == NULL && info->dtype->block == NULL;
    }
    return is_plain;
}

/* One scale a row. */
static int scale_by_row(struct target *target, struct store_object *object)
{
    target->groups.of_cols = calloc((size_t)object->cols, sizeof(int32_t));
    if (target->groups.of_cols == NULL)
        return -ENOMEM;
    target->groups.scaling = object->scaling = requant_scaling(target->groups.of_cols);
    return 0;
}

/* Rounded while it is loaded? Returns 1, 0 or -ENOMEM. */
static int requantize(const struct plan *plan, struct target *target, struct store_object *object)
{
    const enum dtype dtype = requant_dtype(plan->quantization, target->row,
                                           plan->arch->tie_word_embeddings, object->cols);
    if (dtype == DTYPE_F32 || !is_plain(plan, target))
        return 0;
    object->dtype = dtype;
    const int r = dtype == DTYPE_F8_E4M3 ? scale_by_row(target, object) : 0;
    return r < 0 ? r : 1;
}

static int describe_target(struct plan *plan, struct target *target,
                           struct store_object *ret_object, struct error *err)
{
    const struct weight_row *row = target->row;
    struct loader_part *parts = plan->parts + target->first_part;
    *ret_object = (struct store_object){ .rows = family_dim(plan->arch, row->total) };
    if (!row_is_matrix(row))
        return 0;
    *ret_object = (struct store_object){ .dtype = weight_form_dtype(row, plan->arch, parts,
                                                                    target->num_parts),
                                         .rows = tensor_place_total(row, plan->arch),
                                         .cols = family_dim(plan->arch, row->cols) };
    const int r = requantize(plan, target, ret_object);
    if (r != 0)
        return r > 0 ? 0 : error_set(err, r, "no memory for %d groups", ret_object->cols);
    plan->weights->num_widened +=
        weight_form_is_widened(ret_object->dtype, parts, target->num_parts);
    if (!dtype_is_scaled(ret_object->dtype))
        return 0;
    if (weight_form_groups(parts, target->num_parts, ret_object->cols, &target->groups) < 0)
        return error_set(err, -ENOMEM, "no memory for the groups of %d inputs", ret_object->cols);
    ret_object->scaling = target->groups.scaling;
    return 0;
}

/* [num_targets]; free() it. */
static int describe_targets(struct plan *plan, struct store_object **ret_objects, struct error *err)
{
    struct store_object *objects = calloc((size_t)plan->num_targets + 1, sizeof(*objects));
    int r = objects != NULL
                ? 0
                : error_set(err, -ENOMEM, "no memory for a list of %d weights", plan->num_targets);
    for (int32_t t = 0; r == 0 && t < plan->num_targets; t++)
        r = describe_target(plan, &plan->targets[t], &objects[t], err);
    if (r < 0) {
        free(objects);
        return r;
    }
    *ret_objects = objects;
    return 0;
}

/* What is kept from an earlier process, or memory to fill. */
static int open_store(struct plan *plan, const struct model_options *options,
                      const struct store_object *objects, struct error *err)
{
    const struct backend *backend = plan->backend;
    struct model_weights *weights = plan->weights;
    const struct store_key key = { .identity = plan->checkpoint->stamp,
                                   .rank = plan->arch->shard.rank,
                                   .num_ranks = plan->arch->shard.num_ranks };
    weights->is_attached = options->kept_weights != NULL;
    return weights->is_attached
               ? backend->store_attach(plan->device, &key, objects, plan->num_targets,
                                       *options->kept_weights, &weights->store, err)
               : backend->store_create(plan->device, &key, objects, plan->num_targets,
                                       &weights->store, err);
}

/* 0 where dtype and cols say it, and for what is read as floats first. */
static size_t loaded_row_bytes(const struct plan *plan, const struct target *target,
                               const struct store_object *object)
{
    return dtype_is_scaled(object->dtype) && !is_plain(plan, target)
               ? scaling_row_bytes(&object->scaling, object->cols)
               : 0;
}

/* Every target gets its place, and a matrix its row in the loader's list. */
static int place_targets(struct plan *plan, const struct model_options *options, struct error *err)
{
    struct store_object *objects;
    int r = describe_targets(plan, &objects, err);
    if (r < 0)
        return r;
    r = open_store(plan, options, objects, err);
    struct weight_store *store = plan->weights->store;
    for (int32_t t = 0; r == 0 && t < plan->num_targets; t++) {
        const struct target *target = &plan->targets[t];
        if (!row_is_matrix(target->row)) {
            *(float **)target->field = plan->backend->store_vector(store, t);
            plan->weights->bytes += (size_t)objects[t].rows * sizeof(float);
            continue;
        }
        struct weight *weight = plan->backend->store_weight(store, t);
        *(struct weight **)target->field = weight;
        plan->weights->bytes += plan->backend->weight_bytes(weight);
        plan->matrices[plan->num_matrices++] =
            (struct loader_matrix){ .weight = weight,
                                    .dtype = objects[t].dtype,
                                    .rows = objects[t].rows,
                                    .cols = objects[t].cols,
                                    .row_bytes = loaded_row_bytes(plan, target, &objects[t]),
                                    .parts = plan->parts + target->first_part,
                                    .num_parts = target->num_parts };
    }
    free(objects);
    return r;
}

static float limit(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}

static int load_vector(struct plan *plan, const struct target *target, struct error *err)
{
    const size_t bytes = (size_t)family_dim(plan->arch, target->row->total) * sizeof(float);
    float *values = malloc(bytes);
    int r =
        values != NULL ? 0 : error_set(err, -ENOMEM, "no memory for a vector of %zu bytes", bytes);
    for (int32_t i = 0; r == 0 && i < target->num_parts; i++)
        r = loader_read_vector(&plan->parts[target->first_part + i], values, err);
    const bool add_one =
        target->row->plus_one && !plan->parts[target->first_part].tensor->info->holds_one;
    for (size_t i = 0; r == 0 && add_one && i < bytes / sizeof(float); i++)
        values[i] += 1.0f;
    for (size_t i = 0; r == 0 && target->row->high > 0.0f && i < bytes / sizeof(float); i++)
        values[i] = limit(values[i], 0.0f, target->row->high);
    if (r == 0)
        plan->backend->upload(plan->device, *(float **)target->field, values, bytes);
    free(values);
    return r;
}

/* A table lies where a vector would: its numbers are as wide. */
static int load_table(struct plan *plan, const struct target *target, struct error *err)
{
    const int32_t num = family_dim(plan->arch, target->row->total);
    const size_t bytes = (size_t)num * sizeof(int32_t);
    int32_t *values = malloc(bytes);
    int r =
        values != NULL ? 0 : error_set(err, -ENOMEM, "no memory for a table of %zu bytes", bytes);
    if (r == 0)
        r = tensor_place_read_table(plan->parts[target->first_part].tensor, num,
                                    family_dim(plan->arch, target->row->table_below), values, err);
    if (r == 0)
        plan->backend->upload(plan->device, *(void **)target->field, values, bytes);
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

static uint64_t target_bytes(const struct plan *plan, const struct target *target)
{
    uint64_t bytes = 0;
    for (int32_t i = 0; i < target->num_parts; i++)
        bytes += part_bytes(plan, target, i);
    return bytes;
}

static void add_progress(const struct model_options *options, uint64_t bytes)
{
    if (options->progress_bytes != NULL)
        atomic_fetch_add(options->progress_bytes, bytes);
}

static int fill(struct plan *plan, const struct model_options *options, struct error *err)
{
    int r = 0;
    for (int32_t t = 0; r == 0 && t < plan->num_targets; t++) {
        const struct target *target = &plan->targets[t];
        if (row_is_matrix(target->row))
            continue;
        r = target->row->table_below != DIM_NONE ? load_table(plan, target, err)
                                                 : load_vector(plan, target, err);
        add_progress(options, target_bytes(plan, target));
    }
    const int32_t threads = plan->backend->device_threads(plan->device);
    const struct loader_options load = { .num_threads = threads < MAX_LOAD_THREADS
                                                            ? threads
                                                            : MAX_LOAD_THREADS,
                                         .io = options->weight_io,
                                         .progress_bytes = options->progress_bytes,
                                         .ret_direct = &plan->weights->used_direct };
    if (r == 0)
        r = loader_run(plan->backend, plan->matrices, plan->num_matrices, &load, err);
    return r < 0 ? r
                 : plan->backend->store_seal(plan->weights->store, &plan->weights->sealed_fd, err);
}

static int load_targets(struct plan *plan, const struct model_options *options, struct error *err)
{
    uint64_t total = 0;
    for (int32_t t = 0; t < plan->num_targets; t++)
        total += target_bytes(plan, &plan->targets[t]);
    if (options->total_bytes != NULL)
        atomic_store(options->total_bytes, total);
    const int r = place_targets(plan, options, err);
    if (r < 0 || !plan->weights->is_attached)
        return r < 0 ? r : fill(plan, options, err);
    add_progress(options, total);
    return 0;
}

/* What the targets will take: matrices in whole panels. */
static int measure_targets(struct plan *plan, struct error *err)
{
    enum { PANEL = 32 };
    struct store_object *objects;
    const int r = describe_targets(plan, &objects, err);
    if (r < 0)
        return r;
    for (int32_t t = 0; t < plan->num_targets; t++) {
        const struct store_object *object = &objects[t];
        const size_t panels = ((size_t)object->rows + PANEL - 1) / PANEL;
        plan->weights->bytes += object->cols == 0 ? (size_t)object->rows * sizeof(float)
                                : dtype_is_scaled(object->dtype)
                                    ? panels * scaling_panel_bytes(object)
                                    : panels * PANEL * dtype_row_bytes(object->dtype, object->cols);
    }
    free(objects);
    return 0;
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

/* Without options: check and measure. */
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
        r = options != NULL ? load_targets(plan, options, err) : measure_targets(plan, err);
    for (int32_t t = 0; plan->targets != NULL && t < plan->num_targets; t++)
        quant_groups_finish(&plan->targets[t].groups);
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
    struct model_weights weights = { .num_layers = own->num_hidden_layers, .sealed_fd = -1 };
    struct plan plan = { .backend = backend,
                         .device = device,
                         .whole = whole,
                         .arch = own,
                         .family = family,
                         .checkpoint = checkpoint,
                         .quantization = options->quantization,
                         .weights = &weights };
    weights.layers = calloc((size_t)weights.num_layers, sizeof(*weights.layers));
    if (weights.layers == NULL)
        return error_set(err, -ENOMEM, "no memory for %d layers", weights.num_layers);
    const int r = run_plan(&plan, options, err);
    if (r < 0) {
        weights_finish(backend, &weights);
        return r;
    }
    *ret_weights = weights;
    return 0;
}

int weights_measure(const struct arch *whole, const struct arch *own, const struct family *family,
                    struct checkpoint *checkpoint, enum dtype quantization, size_t *ret_bytes,
                    struct error *err)
{
    struct model_weights weights = { .num_layers = own->num_hidden_layers, .sealed_fd = -1 };
    struct plan plan = { .whole = whole,
                         .arch = own,
                         .family = family,
                         .checkpoint = checkpoint,
                         .quantization = quantization,
                         .weights = &weights };
    weights.layers = calloc((size_t)weights.num_layers, sizeof(*weights.layers));
    if (weights.layers == NULL)
        return error_set(err, -ENOMEM, "no memory for %d layers", weights.num_layers);
    const int r = run_plan(&plan, NULL, err);
    free(weights.layers);
    *ret_bytes = weights.bytes;
    return r;
}

void weights_finish(const struct backend *backend, struct model_weights *weights)
{
    if (weights->store != NULL)
        backend->store_close(weights->store);
    if (weights->store != NULL && weights->sealed_fd >= 0)
        close(weights->sealed_fd);
    free(weights->layers);
    *weights = (struct model_weights){ .sealed_fd = -1 };
}
