#include "kernels/cpu/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/memory.h"

/* Below this a second thread saves less than the meeting that it needs. */
static const double solo_below_ns = 1500.0;

/* Best first. */
static const struct isa *const isas[] = {
#if defined(CPU_HAS_NEON)
    &isa_neon_dot,
    &isa_neon,
#elif defined(CPU_HAS_AVX)
    &isa_avx512_amx, &isa_avx512_vnni, &isa_avx512, &isa_avx2,
#endif
    &isa_scalar,
};

static const struct isa *find_isa(const char *name)
{
    for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++)
        if ((!name || strcmp(name, isas[i]->name) == 0) && isas[i]->is_supported())
            return isas[i];
    return NULL;
}

/* The running list, in every thread of the pool. */
static void run_list(void *context, int32_t thread)
{
    struct device *device = context;
    const struct op_list *list = &device->lists[!device->recording];

    for (int32_t i = 0; i < list->num_ops; i++) {
        const struct op *op = &list->ops[i];
        if (op->barrier)
            pool_barrier(device->pool);
        if (!op->solo)
            op->run(device, op, thread, device->num_threads);
        else if (thread == 0)
            op->run(device, op, 0, 1);
    }
}

static int open_threads(struct device *device, int32_t max_vocab)
{
    device->threads = calloc((size_t)device->num_threads, sizeof(*device->threads));
    if (!device->threads)
        return -ENOMEM;
    for (int32_t i = 0; i < device->num_threads; i++) {
        struct device_thread *thread = &device->threads[i];
        thread->attention = memory_alloc(sizeof(*thread->attention));
        thread->room = device->isa->linear_tiles ? memory_alloc(LINEAR_TILES_ROOM) : NULL;
        if (!thread->attention || (device->isa->linear_tiles && !thread->room))
            return -ENOMEM;
        const int r = sample_scratch_create(max_vocab > 0 ? max_vocab : 1, &thread->sample);
        if (r < 0)
            return r;
    }
    return 0;
}

/* One operation more than asked for: what device_record() hands out beyond. */
static int open_lists(struct device *device)
{
    const size_t num = (size_t)device->max_ops + 1;
    for (int i = 0; i < 2; i++) {
        device->lists[i].ops = calloc(num, sizeof(struct op));
        if (!device->lists[i].ops)
            return -ENOMEM;
    }
    return 0;
}

static int32_t choose_threads(const struct device_options *options)
{
    const int32_t num_ranks = options->num_ranks > 0 ? options->num_ranks : 1;
    if (options->num_threads > 0)
        return options->num_threads;
    return pool_num_cpus() > num_ranks ? pool_num_cpus() / num_ranks : 1;
}

int device_open(const struct device_options *options, struct device **ret_device, struct error *err)
{
    const struct isa *isa = find_isa(options->isa);
    if (!isa)
        return error_set(err, -ENOTSUP,
                         "instruction set '%s' is not built in or not supported here",
                         options->isa);

    struct device *device = calloc(1, sizeof(*device));
    if (!device)
        return error_set(err, -ENOMEM, "no memory for a device");
    *device = (struct device){
        .isa = isa,
        .num_threads = choose_threads(options),
        .max_ops = 2 * (options->max_ops > 0 ? options->max_ops
                                             : 1), /* attention and quantized linears record two */
        .quant_rows = quant_room(options->max_rows),
        .partials = memory_alloc(ATTENTION_PARTIAL_FLOATS * sizeof(float)),
    };

    int r = device->partials ? open_lists(device) : -ENOMEM;
    if (r == 0)
        r = open_threads(device, options->max_vocab);
    if (r == 0)
        r = pool_open(device->num_threads, run_list, device, &device->pool);
    if (r < 0) {
        device_close(device);
        return error_set(err, r, "a device of %d threads cannot be opened: %s",
                         options->num_threads, strerror(-r));
    }
    *ret_device = device;
    return 0;
}

void device_close(struct device *device)
{
    if (!device)
        return;
    if (device->pool)
        (void)device_wait(device);
    pool_close(device->pool);
    for (int32_t i = 0; device->threads && i < device->num_threads; i++) {
        memory_free(device->threads[i].attention);
        memory_free(device->threads[i].room);
        sample_scratch_destroy(device->threads[i].sample);
    }
    free(device->threads);
    free(device->lists[0].ops);
    free(device->lists[1].ops);
    memory_free(device->partials);
    quant_release(device);
    free(device);
}

const char *device_isa(const struct device *device)
{
    return device->isa->name;
}

int32_t device_threads(const struct device *device)
{
    return device->num_threads;
}

void device_begin(struct device *device)
{
    struct op_list *list = &device->lists[device->recording];
    list->num_ops = 0;
    list->overflowed = false;
}

struct op *device_record(struct device *device,
                         void (*run)(struct device *, const struct op *, int32_t, int32_t),
                         double cost_ns)
{
    struct op_list *list = &device->lists[device->recording];
    struct op *op = &list->ops[list->num_ops];

    op->run = run;
    op->solo = device->num_threads == 1 || cost_ns < solo_below_ns;
    op->barrier = list->num_ops > 0 && !(op->solo && op[-1].solo);
    if (list->num_ops < device->max_ops)
        list->num_ops++;
    else
        list->overflowed = true;
    return op;
}

int device_submit(struct device *device)
{
    const struct op_list *list = &device->lists[device->recording];
    if (list->overflowed)
        return -ENOSPC;

    const int r = device_wait(device);
    if (r < 0)
        return r;
    device->recording = !device->recording;
    device->in_flight = true;
    pool_start(device->pool);
    return 0;
}

int device_wait_for(struct device *device, int64_t us)
{
    if (device->in_flight && !pool_wait_for(device->pool, us))
        return 0;
    device->in_flight = false;
    return device->error < 0 ? device->error : 1;
}

int device_wait(struct device *device)
{
    if (device->in_flight)
        pool_wait(device->pool);
    device->in_flight = false;
    return device->error;
}
