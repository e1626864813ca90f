/*
 * runtime.h - the few things that CUDA is asked for: memory, copies, events, graphs
 *
 * Everything above this file is plain C over pointers and never sees a header of CUDA's. So the
 * whole backend also runs on a machine without a GPU, over tests/gpu/emulator/, which does the
 * same with host memory.
 *
 * Calls that start work return at once; their failure, or that of a kernel before them, is what
 * runtime_wait() returns, and final. Functions may be called from several threads.
 */
#ifndef KERNELS_CUDA_RUNTIME_H
#define KERNELS_CUDA_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct runtime;
struct runtime_graph;

/* Two queues: what is computed, and what weights are loaded by. */
enum runtime_queue { RUNTIME_COMPUTE, RUNTIME_LOAD, RUNTIME_NUM_QUEUES };

enum { RUNTIME_NUM_EVENTS = 96, RUNTIME_MIN_ARCH = 80 };

struct runtime_info {
    char name[64];
    int32_t arch; /* 10 times the compute capability */
    int32_t num_sms;
    int32_t max_shared_bytes; /* of a block */
    size_t total_bytes;
};

/* 0; -ENODEV without a driver or a device, -ENOTSUP where the driver is too old. */
int runtime_probe(struct error *err);

/* Also -ENOTSUP for an architecture that no kernel was built for. */
int runtime_open(int32_t ordinal, struct runtime **ret_runtime, struct error *err);
void runtime_close(struct runtime *runtime); /* accepts NULL */
const struct runtime_info *runtime_info(const struct runtime *runtime);
void *runtime_stream(struct runtime *runtime); /* the compute queue, as launches take it */

/* Memory of the device in whole pages of runtime_granularity() bytes, zeroed. */
size_t runtime_granularity(const struct runtime *runtime);
int runtime_map(struct runtime *runtime, size_t bytes, void **ret_memory);
void runtime_unmap(struct runtime *runtime, void *memory, size_t bytes);
size_t runtime_free_bytes(struct runtime *runtime);

/* Memory of the host that the device copies from and to by itself; NULL when there is none. */
void *runtime_pinned_alloc(struct runtime *runtime, size_t bytes);
void runtime_pinned_free(struct runtime *runtime, void *memory);

/* Make whole pages of the process's own memory such memory, until they are unpinned. 0 or -ENOMEM.
 */
int runtime_pin(struct runtime *runtime, void *memory, size_t bytes);
void runtime_unpin(struct runtime *runtime, void *memory);

/* Between any two memories. */
int runtime_copy(struct runtime *runtime, enum runtime_queue queue, void *to, const void *from,
                 size_t bytes);
/* Rows of `bytes` bytes, so far apart. */
int runtime_copy_rows(struct runtime *runtime, enum runtime_queue queue, void *to, size_t to_stride,
                      const void *from, size_t from_stride, size_t bytes, size_t num_rows);

/* An event is over when what its queue was given before it is. */
int runtime_record(struct runtime *runtime, enum runtime_queue queue, int32_t event);
/* 1: not over after `us`; 0: over; -EIO. us < 0: no limit. */
int runtime_wait(struct runtime *runtime, int32_t event, int64_t us);
/* All queues. */
int runtime_drain(struct runtime *runtime);
/* What went wrong, in words; "" when nothing did. */
const char *runtime_failure(const struct runtime *runtime);

/* What is started between begin and end is kept and not run. */
int runtime_graph_begin(struct runtime *runtime);
int runtime_graph_end(struct runtime *runtime, struct runtime_graph **ret_graph);
int runtime_graph_launch(struct runtime *runtime, struct runtime_graph *graph);
void runtime_graph_free(struct runtime_graph *graph); /* accepts NULL */

#ifdef __cplusplus
}
#endif

#endif
