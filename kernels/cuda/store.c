/* All weights of a rank. They do not outlive the process yet that loaded them: sealing gives no
 * descriptor, and a later process loads again. */
#include "kernels/cuda/store.h"

#include <errno.h>
#include <stdlib.h>

#include "kernels/cuda/device.h"

struct weight_store {
    struct device *device;
    unsigned char *memory;
    struct weight *weights; /* [num_objects]; of a vector its place alone */
    int32_t num_objects;
};

static int describe(struct weight_store *store, const struct store_object *objects,
                    size_t *ret_bytes, struct error *err)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < store->num_objects; i++) {
        struct weight *w = &store->weights[i];
        if (objects[i].rows < 1 || objects[i].cols < 0)
            return error_set(err, -EINVAL, "weight %d has %d rows", i, objects[i].rows);
        if (objects[i].cols == 0) {
            w->data_bytes = (size_t)objects[i].rows * sizeof(float);
        } else {
            const int r = weight_describe(&objects[i], store->device->rounds_inputs, w, err);
            if (r < 0)
                return r;
            if (objects[i].is_joined && (i == 0 || w[-1].matrix.cols != objects[i].cols))
                return error_set(err, -EINVAL, "weight %d is joined to one of other inputs", i);
            if (objects[i].is_joined)
                w[-1].next = w;
        }
        w->device = store->device;
        if (__builtin_add_overflow(bytes, weight_total(w), &bytes))
            return error_set(err, -EOVERFLOW, "the weights are too large");
    }
    *ret_bytes = bytes;
    return 0;
}

int store_create(struct device *device, const struct store_key *key,
                 const struct store_object *objects, int32_t num_objects,
                 struct weight_store **ret_store, struct error *err)
{
    (void)key;
    struct weight_store *store = calloc(1, sizeof(*store));
    size_t bytes = 0;
    int r = 0;
    if (store == NULL)
        return error_set(err, -ENOMEM, "no memory for a list of weights");
    *store = (struct weight_store){ .device = device, .num_objects = num_objects };
    store->weights = calloc((size_t)num_objects + 1, sizeof(*store->weights));
    if (store->weights == NULL)
        r = error_set(err, -ENOMEM, "no memory for a list of %d weights", num_objects);
    if (r == 0)
        r = describe(store, objects, &bytes, err);
    if (r == 0 && (store->memory = memory_take(&device->memory, MEMORY_WEIGHTS, bytes)) == NULL)
        r = device_out_of_memory(device, "weights", bytes, err);
    unsigned char *at = store->memory;
    for (int32_t i = 0; r == 0 && i < num_objects; i++) {
        weight_place(&store->weights[i], at);
        at += weight_total(&store->weights[i]);
        if (weight_load_tables(&store->weights[i]) < 0)
            r = error_set(err, -ENOMEM, "no memory for the tables of a weight");
    }
    if (r < 0) {
        store_close(store);
        return r;
    }
    for (int32_t i = 0; i < num_objects; i++)
        if (objects[i].cols > 0)
            device_note_weight(device, &store->weights[i]);
    *ret_store = store;
    return 0;
}

int store_attach(struct device *device, const struct store_key *key,
                 const struct store_object *objects, int32_t num_objects, int fd,
                 struct weight_store **ret_store, struct error *err)
{
    (void)device;
    (void)key;
    (void)objects;
    (void)num_objects;
    (void)fd;
    (void)ret_store;
    return error_set(err, -EPROTO, "weights of a GPU end with the process that loaded them");
}

struct weight *store_weight(struct weight_store *store, int32_t index)
{
    return &store->weights[index];
}

float *store_vector(struct weight_store *store, int32_t index)
{
    return (float *)(uintptr_t)store->weights[index].matrix.data;
}

int store_seal(struct weight_store *store, int *ret_fd, struct error *err)
{
    *ret_fd = -1;
    const int r = device_flush(store->device);
    return r < 0 ? error_set(err, r, "the weights did not reach the GPU: %s",
                             runtime_failure(store->device->runtime))
                 : 0;
}

void store_close(struct weight_store *store)
{
    if (store == NULL)
        return;
    for (int32_t i = 0; store->weights != NULL && i < store->num_objects; i++)
        weight_forget(&store->weights[i]);
    memory_give(&store->device->memory, store->memory);
    free(store->weights);
    free(store);
}
