/* kernels/cuda/runtime.h without CUDA: memory of the host, and one queue for everything. */
#include "kernels/cuda/runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "kernels/cuda/idle.h"

#include "tests/gpu/emulator/queue.h"

enum { PAGE = 65536, EXACT_PAGE = 256, GUARD = 4096 };

struct runtime {
    struct runtime_info info;
    size_t mapped, others; /* of this process, and of others */
    struct queue *queue;
    uint64_t marks[RUNTIME_NUM_EVENTS];
    struct idle *idle; /* between the calls: so that what reads it is tried */
    int64_t ended_us;
};

int runtime_probe(struct error *err)
{
    (void)err;
    return 0;
}

/* Memory as a test would like it, in MiB. */
static size_t wished(const char *variable, size_t mib)
{
    const char *text = getenv(variable);
    return (text != NULL ? strtoul(text, NULL, 10) : mib) << 20;
}

int runtime_open(int32_t ordinal, struct runtime **ret_runtime, struct error *err)
{
    struct runtime *rt = calloc(1, sizeof(*rt));
    (void)ordinal;
    if (rt == NULL)
        return error_set(err, -ENOMEM, "no memory for an emulated device");
    rt->info = (struct runtime_info){ .name = "emulated",
                                      .arch = 90,
                                      .num_sms = 2,
                                      .max_shared_bytes = 232448, /* of sm_90 */
                                      .total_bytes = wished("TOKENRING_EMULATED_MIB", 4096) };
    rt->others = wished("TOKENRING_EMULATED_OTHERS_MIB", 0);
    rt->queue = queue_open();
    rt->idle = idle_open();
    *ret_runtime = rt;
    return 0;
}

void runtime_close(struct runtime *rt)
{
    queue_close(rt->queue);
    idle_close(rt->idle);
    free(rt);
}

const struct runtime_info *runtime_info(const struct runtime *rt)
{
    return &rt->info;
}

void *runtime_stream(struct runtime *rt)
{
    return rt->queue;
}

size_t runtime_granularity(const struct runtime *rt)
{
    (void)rt;
    return getenv("TOKENRING_GPU_EXACT") != NULL ? EXACT_PAGE : PAGE;
}

static size_t whole_pages(size_t bytes)
{
    return (bytes + GUARD - 1) / GUARD * GUARD;
}

/* Its end is that of the mapping: what is touched behind it ends the process. */
int runtime_map(struct runtime *rt, size_t bytes, void **ret_memory)
{
    const size_t whole = whole_pages(bytes);
    if (bytes > runtime_free_bytes(rt))
        return -ENOMEM;
    unsigned char *at = mmap(NULL, whole + GUARD, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return -ENOMEM;
    mprotect(at + whole, GUARD, PROT_NONE);
    rt->mapped += bytes;
    *ret_memory = at + (whole - bytes);
    return 0;
}

void runtime_unmap(struct runtime *rt, void *memory, size_t bytes)
{
    const size_t whole = whole_pages(bytes);
    runtime_drain(rt); /* what may use it is over */
    munmap((unsigned char *)memory - (whole - bytes), whole + GUARD);
    rt->mapped -= bytes;
}

size_t runtime_free_bytes(struct runtime *rt)
{
    return rt->info.total_bytes - rt->mapped - rt->others;
}

void *runtime_pinned_alloc(struct runtime *rt, size_t bytes)
{
    (void)rt;
    return calloc(1, bytes);
}

void runtime_pinned_free(struct runtime *rt, void *memory)
{
    runtime_drain(rt);
    free(memory);
}

int runtime_copy(struct runtime *rt, enum runtime_queue queue, void *to, const void *from,
                 size_t bytes)
{
    (void)queue;
    if (rt->idle != NULL && rt->ended_us > 0) {
        idle_note(rt->idle, (float)(clock_now_us() - rt->ended_us));
        rt->ended_us = 0;
    }
    queue_copy(rt->queue, to, from, bytes);
    return 0;
}

int runtime_record(struct runtime *rt, enum runtime_queue queue, int32_t event)
{
    (void)queue;
    rt->marks[event] = queue_mark(rt->queue);
    if (rt->idle != NULL && queue == RUNTIME_COMPUTE)
        rt->ended_us = clock_now_us();
    return 0;
}

int runtime_wait(struct runtime *rt, int32_t event, int64_t us)
{
    return queue_wait(rt->queue, rt->marks[event], us);
}

int runtime_drain(struct runtime *rt)
{
    return queue_wait(rt->queue, queue_mark(rt->queue), -1);
}

const char *runtime_failure(const struct runtime *rt)
{
    (void)rt;
    return "";
}

struct runtime_graph {
    void *kept;
};

int runtime_graph_begin(struct runtime *rt)
{
    (void)rt;
    queue_keep_begin();
    return 0;
}

int runtime_graph_end(struct runtime *rt, struct runtime_graph **ret_graph)
{
    (void)rt;
    *ret_graph = malloc(sizeof(**ret_graph));
    void *kept = queue_keep_end();
    if (*ret_graph == NULL)
        return -ENOMEM;
    (*ret_graph)->kept = kept;
    return 0;
}

int runtime_graph_launch(struct runtime *rt, struct runtime_graph *graph)
{
    queue_keep_do(rt->queue, graph->kept);
    return 0;
}

void runtime_graph_free(struct runtime_graph *graph)
{
    if (graph == NULL)
        return;
    queue_keep_free(graph->kept);
    free(graph);
}
