/* kernels/cuda/runtime.h without CUDA: memory of the host, and one queue for everything. */
#include "kernels/cuda/runtime.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "kernels/cuda/idle.h"

#include "tests/gpu/emulator/queue.h"

enum { PAGE = 65536, EXACT_PAGE = 256, GUARD = 4096, MAX_PINNED = 128 };

/* Memory that a device copies from by itself. */
struct pinned {
    const unsigned char *memory; /* NULL: free */
    size_t bytes;
};

struct runtime {
    struct runtime_info info;
    size_t mapped, others; /* of this process, and of others */
    pthread_mutex_t pinned_lock;
    struct pinned pinned[MAX_PINNED];
    size_t pinnable;            /* bytes that runtime_pin() may still take */
    _Atomic int64_t loads_left; /* copies of weights before they fail */
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

/* A number as a test would like it. */
static size_t number_of(const char *variable, size_t usual)
{
    const char *text = getenv(variable);
    return text != NULL ? strtoul(text, NULL, 10) : usual;
}

/* Memory, in MiB. */
static size_t wished(const char *variable, size_t mib)
{
    return number_of(variable, mib) << 20;
}

int runtime_open(int32_t ordinal, struct runtime **ret_runtime, struct error *err)
{
    struct runtime *rt = calloc(1, sizeof(*rt));
    (void)ordinal;
    if (rt == NULL)
        return error_set(err, -ENOMEM, "no memory for an emulated device");
    rt->info =
        (struct runtime_info){ .name = "emulated",
                               .arch = (int32_t)number_of("TOKENRING_EMULATED_ARCH", 90),
                               .num_sms = 2,
                               .max_shared_bytes = /* 227: of sm_90 */
                               (int32_t)number_of("TOKENRING_EMULATED_SHARED_KIB", 227) << 10,
                               .total_bytes = wished("TOKENRING_EMULATED_MIB", 4096) };
    rt->others = wished("TOKENRING_EMULATED_OTHERS_MIB", 0);
    rt->pinnable = wished("TOKENRING_EMULATED_PINNED_MIB", 4096);
    const char *loads = getenv("TOKENRING_EMULATED_LOADS");
    rt->loads_left = loads != NULL ? strtol(loads, NULL, 10) : INT64_MAX;
    pthread_mutex_init(&rt->pinned_lock, NULL);
    rt->queue = queue_open(getenv("TOKENRING_EMULATED_LATE") != NULL);
    rt->idle = idle_open();
    *ret_runtime = rt;
    return 0;
}

void runtime_close(struct runtime *rt)
{
    queue_close(rt->queue);
    idle_close(rt->idle);
    pthread_mutex_destroy(&rt->pinned_lock);
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

static int note_pinned(struct runtime *rt, const void *memory, size_t bytes)
{
    int r = -ENOMEM;
    pthread_mutex_lock(&rt->pinned_lock);
    for (int i = 0; r < 0 && i < MAX_PINNED; i++)
        if (rt->pinned[i].memory == NULL) {
            rt->pinned[i] = (struct pinned){ memory, bytes };
            r = 0;
        }
    pthread_mutex_unlock(&rt->pinned_lock);
    return r;
}

/* What it had is none of the device's any more: whoever forgot that it copies is found out. */
static size_t forget_pinned(struct runtime *rt, const void *memory)
{
    size_t bytes = 0;
    pthread_mutex_lock(&rt->pinned_lock);
    for (int i = 0; i < MAX_PINNED; i++)
        if (rt->pinned[i].memory == memory) {
            bytes = rt->pinned[i].bytes;
            rt->pinned[i].memory = NULL;
        }
    pthread_mutex_unlock(&rt->pinned_lock);
    if (bytes == 0)
        abort();
    return bytes;
}

/* Whole rows of a copy have to lie in one piece. */
static bool is_pinned(struct runtime *rt, const unsigned char *from, size_t bytes)
{
    bool is = false;
    pthread_mutex_lock(&rt->pinned_lock);
    for (int i = 0; i < MAX_PINNED; i++) {
        const struct pinned *p = &rt->pinned[i];
        is = is || (p->memory != NULL && from >= p->memory && bytes <= p->bytes &&
                    (size_t)(from - p->memory) <= p->bytes - bytes);
    }
    pthread_mutex_unlock(&rt->pinned_lock);
    return is;
}

void *runtime_pinned_alloc(struct runtime *rt, size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (memory == NULL || note_pinned(rt, memory, bytes) == 0)
        return memory;
    free(memory);
    return NULL;
}

void runtime_pinned_free(struct runtime *rt, void *memory)
{
    runtime_drain(rt);
    forget_pinned(rt, memory);
    free(memory);
}

int runtime_pin(struct runtime *rt, void *memory, size_t bytes)
{
    pthread_mutex_lock(&rt->pinned_lock);
    const bool fits = bytes <= rt->pinnable;
    rt->pinnable -= fits ? bytes : 0;
    pthread_mutex_unlock(&rt->pinned_lock);
    if (((uintptr_t)memory | bytes) % GUARD != 0)
        abort();
    return fits ? note_pinned(rt, memory, bytes) : -ENOMEM;
}

void runtime_unpin(struct runtime *rt, void *memory)
{
    const size_t bytes = forget_pinned(rt, memory);
    pthread_mutex_lock(&rt->pinned_lock);
    rt->pinnable += bytes;
    pthread_mutex_unlock(&rt->pinned_lock);
}

/* From other memory CUDA would copy too, but not by itself: nothing would overlap. */
static int check_load(struct runtime *rt, enum runtime_queue queue, const void *from, size_t bytes)
{
    if (queue != RUNTIME_LOAD)
        return 0;
    if (!is_pinned(rt, from, bytes))
        abort();
    return atomic_fetch_sub(&rt->loads_left, 1) > 0 ? 0 : -EIO;
}

int runtime_copy(struct runtime *rt, enum runtime_queue queue, void *to, const void *from,
                 size_t bytes)
{
    const int r = check_load(rt, queue, from, bytes);
    if (r < 0)
        return r;
    if (rt->idle != NULL && rt->ended_us > 0) {
        idle_note(rt->idle, (float)(clock_now_us() - rt->ended_us));
        rt->ended_us = 0;
    }
    queue_copy(rt->queue, to, from, bytes);
    return 0;
}

int runtime_copy_rows(struct runtime *rt, enum runtime_queue queue, void *to, size_t to_stride,
                      const void *from, size_t from_stride, size_t bytes, size_t num_rows)
{
    const int r = check_load(rt, queue, from, (num_rows - 1) * from_stride + bytes);
    for (size_t i = 0; r == 0 && i < num_rows; i++)
        queue_copy(rt->queue, (unsigned char *)to + i * to_stride,
                   (const unsigned char *)from + i * from_stride, bytes);
    return r;
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
    return atomic_load(&rt->loads_left) < 0 ? "the bus is gone" : "";
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
