/*
 * device.h - the CPU as a device: a pool, an instruction set, two lists of operations
 *
 * One list is recorded while the other runs. Nothing but the lists changes after device_open().
 */
#ifndef KERNELS_CPU_DEVICE_H
#define KERNELS_CPU_DEVICE_H

#include "kernels/cpu/op.h"
#include "kernels/cpu/pool.h"
#include "kernels/sample.h"

enum { ATTENTION_PARTIAL_FLOATS = 2 << 20 };

struct op_list {
    struct op *ops; /* [max_ops] */
    int32_t num_ops;
    bool overflowed; /* more were recorded than fit */
};

struct device_thread {
    struct attention_scratch *attention;
    struct sample_scratch *sample;
    void *room; /* [LINEAR_TILES_ROOM], of an instruction set that wants it */
};

struct device {
    const struct isa *isa;
    struct pool *pool;
    int32_t num_threads, max_ops;
    struct op_list lists[2];
    int32_t recording; /* index of the list that begin() opened */
    bool in_flight;    /* the other list runs or has not been waited for */
    int error; /* of a meeting with other ranks: final; written by thread 0, read after a wait */
    struct device_thread *threads;
    struct quant_rows quants;       /* what weights in blocks multiply: of the running operation */
    int32_t quant_rows, quant_cols; /* its room */
    float *partials; /* [ATTENTION_PARTIAL_FLOATS]: sums of spans that threads share out */
};

int device_open(const struct device_options *options, struct device **ret_device,
                struct error *err);
void device_close(struct device *device);
const char *device_isa(const struct device *device);
int32_t device_threads(const struct device *device);
void device_begin(struct device *device);
int device_submit(struct device *device);
int device_wait(struct device *device);
int device_wait_for(struct device *device, int64_t us);

/*
 * Append an operation that takes one thread about `cost_ns`; a small one becomes solo. The
 * caller fills in its arguments. Never NULL: beyond max_ops it is one that will not run.
 */
struct op *device_record(struct device *device,
                         void (*run)(struct device *, const struct op *, int32_t, int32_t),
                         double cost_ns);

#endif
