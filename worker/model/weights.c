#include "worker/model/weights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/families/family.h"
#include "worker/model/loader.h"
#include "worker/model/tensor_place.h"
#include "worker/model/tensor_read.h"
#include "worker/model/weight_form.h"

enum { MAX_LOAD_THREADS = 8 };

struct load {
    struct weight_plan plan;
    const struct backend *backend;
    struct device *device;
    struct model_weights *weights;
    struct loader_matrix *matrices; /* [num_targets] */
    int32_t num_matrices;
};

/* [num_targets]; free() it. */
static int describe_targets(struct weight_plan *plan, struct store_object **ret_objects,
                            struct error *err)
{
    struct store_object *objects = calloc((size_t)plan->num_targets + 1, sizeof(*objects));
    int r = objects != NULL ? 0 : -ENOMEM;
    for (int32_t t = 0; r == 0 && t < plan->num_targets; t++) {
        r = weight_form_object(plan, &plan->targets[t], &objects[t]);
        plan->weights->num_widened += weight_form_is_widened(plan, &plan->targets[t]);
    }
    if (r < 0) {
        free(objects);
        return error_set(err, r, "no memory for a list of %d weights", plan->num_targets);
    }
    *ret_objects = objects;
    return 0;
}

/* What is kept from an earlier process, or memory to fill. */
static int open_store(struct load *load, const struct model_options *options,
                      const struct store_object *objects, struct error *err)
{
    const struct weight_plan *plan = &load->plan;
    const struct backend *backend = load->backend;
    struct model_weights *weights = load->weights;
    const struct store_key key = { .identity = plan->checkpoint->stamp,
                                   .rank = plan->arch->shard.rank,
                                   .num_ranks = plan->arch->shard.num_ranks };
    weights->is_attached = options->kept_weights != NULL;
    return weights->is_attached
               ? backend->store_attach(load->device, &key, objects, plan->num_targets,
                                       *options->kept_weights, &weights->store, err)
               : backend->store_create(load->device, &key, objects, plan->num_targets,
                                       &weights->store, err);
}

/* 0 where dtype and cols say it, and for what is read as floats first. */
static size_t loaded_row_bytes(const struct load *load, const struct weight_target *target,
                               const struct store_object *object)
{
    return dtype_is_scaled(object->dtype) && !weight_plan_is_plain(&load->plan, target)
               ? scaling_row_bytes(&object->scaling, object->cols)
               : 0;
}

/* Every target gets its place, and a matrix its row in the loader's list. */
static int place_targets(struct load *load, const struct model_options *options, struct error *err)
{
    const struct weight_plan *plan = &load->plan;
    struct store_object *objects;
    int r = describe_targets(&load->plan, &objects, err);
    if (r < 0)
        return r;
    r = open_store(load, options, objects, err);
    struct weight_store *store = load->weights->store;
    for (int32_t t = 0; r == 0 && t < plan->num_targets; t++) {
        const struct weight_target *target = &plan->targets[t];
        if (!row_is_matrix(target->row)) {
            *(float **)target->field = load->backend->store_vector(store, t);
            load->weights->bytes += (size_t)objects[t].rows * sizeof(float);
            continue;
        }
        struct weight *weight = load->backend->store_weight(store, t);
        if (!target->is_joined)
            *(struct weight **)target->field = weight;
        load->weights->bytes += load->backend->weight_bytes(weight);
        load->matrices[load->num_matrices++] =
            (struct loader_matrix){ .weight = weight,
                                    .dtype = objects[t].dtype,
                                    .rows = objects[t].rows,
                                    .cols = objects[t].cols,
                                    .row_bytes = loaded_row_bytes(load, target, &objects[t]),
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

static int load_vector(struct load *load, const struct weight_target *target, struct error *err)
{
    const struct weight_plan *plan = &load->plan;
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
        load->backend->upload(load->device, *(float **)target->field, values, bytes);
    free(values);
    return r;
}

/* A table lies where a vector would: its numbers are as wide. */
static int load_table(struct load *load, const struct weight_target *target, struct error *err)
{
    const struct weight_plan *plan = &load->plan;
    const int32_t num = family_dim(plan->arch, target->row->total);
    const size_t bytes = (size_t)num * sizeof(int32_t);
    int32_t *values = malloc(bytes);
    int r =
        values != NULL ? 0 : error_set(err, -ENOMEM, "no memory for a table of %zu bytes", bytes);
    if (r == 0)
        r = tensor_place_read_table(plan->parts[target->first_part].tensor, num,
                                    family_dim(plan->arch, target->row->table_below), values, err);
    if (r == 0)
        load->backend->upload(load->device, *(void **)target->field, values, bytes);
    free(values);
    return r;
}

static uint64_t part_bytes(const struct load *load, const struct weight_target *target,
                           int32_t index)
{
    const struct weight_plan *plan = &load->plan;
    const struct loader_part *part = &plan->parts[target->first_part + index];
    const int32_t cols = row_is_matrix(target->row) ? family_dim(plan->arch, target->row->cols) : 1;
    return tensor_stored_bytes(part->tensor->info->dtype,
                               (uint64_t)part->num_rows * (uint64_t)cols);
}

static uint64_t target_bytes(const struct load *load, const struct weight_target *target)
{
    uint64_t bytes = 0;
    for (int32_t i = 0; i < target->num_parts; i++)
        bytes += part_bytes(load, target, i);
    return bytes;
}

static void add_progress(const struct model_options *options, uint64_t bytes)
{
    if (options->progress_bytes != NULL)
        atomic_fetch_add(options->progress_bytes, bytes);
}

static int fill(struct load *load, const struct model_options *options, struct error *err)
{
    const struct weight_plan *plan = &load->plan;
    int r = 0;
    for (int32_t t = 0; r == 0 && t < plan->num_targets; t++) {
        const struct weight_target *target = &plan->targets[t];
        if (row_is_matrix(target->row))
            continue;
        r = target->row->table_below != DIM_NONE ? load_table(load, target, err)
                                                 : load_vector(load, target, err);
        add_progress(options, target_bytes(load, target));
    }
    const int32_t threads = load->backend->device_threads(load->device);
    const struct loader_options how = { .num_threads =
                                            threads < MAX_LOAD_THREADS ? threads : MAX_LOAD_THREADS,
                                        .io = options->weight_io,
                                        .progress_bytes = options->progress_bytes,
                                        .ret_direct = &load->weights->used_direct };
    if (r == 0)
        r = loader_run(load->backend, load->device, load->matrices, load->num_matrices, &how, err);
    return r < 0 ? r
                 : load->backend->store_seal(load->weights->store, &load->weights->sealed_fd, err);
}

static int load_targets(struct load *load, const struct model_options *options, struct error *err)
{
    const struct weight_plan *plan = &load->plan;
    uint64_t total = 0;
    for (int32_t t = 0; t < plan->num_targets; t++)
        total += target_bytes(load, &plan->targets[t]);
    if (options->total_bytes != NULL)
        atomic_store(options->total_bytes, total);
    const int r = place_targets(load, options, err);
    if (r < 0 || !load->weights->is_attached)
        return r < 0 ? r : fill(load, options, err);
    add_progress(options, total);
    return 0;
}

/* What an object will take: a matrix in whole panels. */
static size_t object_bytes(const struct store_object *object)
{
    enum { PANEL = 32 };
    const size_t panels = ((size_t)object->rows + PANEL - 1) / PANEL;
    if (object->cols == 0)
        return (size_t)object->rows * sizeof(float);
    return dtype_is_scaled(object->dtype)
               ? panels * scaling_panel_bytes(object)
               : panels * PANEL * dtype_row_bytes(object->dtype, object->cols);
}

/* Find the targets of `load`'s plan, then load them. */
static int run(struct load *load, const struct model_options *options, struct error *err)
{
    struct weight_plan *plan = &load->plan;
    int r = weight_plan_fill(plan, err);
    if (r == 0) {
        weight_form_settle(plan, options->quantization);
        load->matrices = calloc((size_t)plan->num_targets + 1, sizeof(*load->matrices));
        r = load->matrices != NULL ? load_targets(load, options, err)
                                   : error_set(err, -ENOMEM, "no memory for a list of weights");
    }
    weight_plan_finish(plan);
    free(load->matrices);
    return r;
}

static int begin(const struct arch *own, struct model_weights *weights, struct error *err)
{
    *weights = (struct model_weights){ .num_layers = own->num_hidden_layers, .sealed_fd = -1 };
    weights->layers = calloc((size_t)weights->num_layers, sizeof(*weights->layers));
    return weights->layers != NULL
               ? 0
               : error_set(err, -ENOMEM, "no memory for %d layers", weights->num_layers);
}

static struct weight_plan plan_of(const struct arch *whole, const struct arch *own,
                                  const struct family *family, struct checkpoint *checkpoint,
                                  struct model_weights *weights)
{
    return (struct weight_plan){
        .whole = whole, .arch = own, .family = family, .checkpoint = checkpoint, .weights = weights
    };
}

int weights_load(const struct backend *backend, struct device *device,
                 const struct model_options *options, const struct arch *whole,
                 const struct arch *own, const struct family *family, struct checkpoint *checkpoint,
                 struct model_weights *ret_weights, struct error *err)
{
    struct model_weights weights;
    struct load load = { .plan = plan_of(whole, own, family, checkpoint, &weights),
                         .backend = backend,
                         .device = device,
                         .weights = &weights };
    int r = begin(own, &weights, err);
    if (r == 0)
        r = run(&load, options, err);
    if (r < 0) {
        weights_finish(backend, &weights);
        return r;
    }
    *ret_weights = weights;
    return 0;
}

int weights_measure(const struct arch *whole, const struct arch *own, const struct family *family,
                    struct checkpoint *checkpoint, const char *quantization,
                    size_t ret_bytes[WEIGHTS_NUM_DTYPES], struct error *err)
{
    struct model_weights weights;
    struct weight_plan plan = plan_of(whole, own, family, checkpoint, &weights);
    struct store_object *objects = NULL;
    int r = begin(own, &weights, err);
    if (r == 0)
        r = weight_plan_fill(&plan, err);
    if (r == 0) {
        weight_form_settle(&plan, quantization);
        r = describe_targets(&plan, &objects, err);
    }
    memset(ret_bytes, 0, WEIGHTS_NUM_DTYPES * sizeof(*ret_bytes));
    for (int32_t t = 0; r == 0 && t < plan.num_targets; t++)
        ret_bytes[objects[t].dtype] += object_bytes(&objects[t]);
    free(objects);
    weight_plan_finish(&plan);
    free(weights.layers);
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
