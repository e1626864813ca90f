/* The only file of the host's side that speaks to CUDA's runtime and driver. */
#include "kernels/cuda/runtime.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "kernels/cuda/idle.h"

enum { LIST_EVENTS = 2, NUM_STAMPS = 8 }; /* events that end lists; lists that are timed at once */
enum {
    SPIN_US = 2000,
    NAP_NS = 30000,
    OLDEST_DRIVER = 12040,
    PLAIN_PAGE = 2 << 20,
    EXACT_PAGE = 256
};

/* The virtual-memory calls of the driver, found at run time: the module must load without one. */
struct driver {
    CUresult (*granularity)(size_t *, const CUmemAllocationProp *,
                            CUmemAllocationGranularity_flags);
    CUresult (*reserve)(CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long);
    CUresult (*release_address)(CUdeviceptr, size_t);
    CUresult (*create)(CUmemGenericAllocationHandle *, size_t, const CUmemAllocationProp *,
                       unsigned long long);
    CUresult (*release)(CUmemGenericAllocationHandle);
    CUresult (*map)(CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long);
    CUresult (*unmap)(CUdeviceptr, size_t);
    CUresult (*set_access)(CUdeviceptr, size_t, const CUmemAccessDesc *, size_t);
};

struct runtime {
    int32_t ordinal;
    struct runtime_info info;
    struct driver driver;
    size_t granularity;
    unsigned handle_types; /* that pages can be handed on by */
    bool is_plain;         /* there is no virtual memory here: cudaMalloc() has to do */
    cudaStream_t streams[RUNTIME_NUM_QUEUES];
    cudaEvent_t events[RUNTIME_NUM_EVENTS];
    cudaError_t failure;

    /* When lists begin and end, where somebody measures that. */
    struct idle *idle;
    struct {
        cudaEvent_t begin, end;
    } stamps[NUM_STAMPS];
    uint64_t num_begun, num_ended, num_told;
};

struct runtime_graph {
    cudaGraphExec_t exec;
};

/* --- what there is ------------------------------------------------------------------------ */

int runtime_probe(struct error *err)
{
    int driver = 0, num = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return error_set_param(err, -ENODEV, "device",
                               "no NVIDIA driver answers on this machine; --device cpu needs none");
    if (driver < OLDEST_DRIVER)
        return error_set_param(err, -ENOTSUP, "device",
                               "the NVIDIA driver is for CUDA %d.%d, wanted 12.4 or later",
                               driver / 1000, driver % 1000 / 10);
    const cudaError_t r = cudaGetDeviceCount(&num);
    if (r == cudaErrorInsufficientDriver)
        return error_set_param(err, -ENOTSUP, "device",
                               "the NVIDIA driver is for CUDA %d.%d, which is too old for this "
                               "build's %d.%d",
                               driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000,
                               CUDART_VERSION % 1000 / 10);
    if (r != cudaSuccess || num == 0)
        return error_set_param(err, -ENODEV, "device", "the NVIDIA driver finds no GPU: %s",
                               r != cudaSuccess ? cudaGetErrorString(r) : "it counts none");
    return 0;
}

static int fail(int result, cudaError_t r, const char *what, struct error *err)
{
    return error_set_param(err, result, "device", "GPU: %s: %s", what, cudaGetErrorString(r));
}

static int read_info(struct runtime *rt, struct error *err)
{
    struct cudaDeviceProp prop;
    const cudaError_t r = cudaGetDeviceProperties(&prop, rt->ordinal);
    if (r != cudaSuccess)
        return fail(-ENODEV, r, "its properties cannot be read", err);
    snprintf(rt->info.name, sizeof(rt->info.name), "%.63s", prop.name);
    rt->info.arch = prop.major * 10 + prop.minor;
    rt->info.num_sms = prop.multiProcessorCount;
    rt->info.max_shared_bytes = (int32_t)prop.sharedMemPerBlockOptin;
    rt->info.total_bytes = prop.totalGlobalMem;
    if (rt->info.arch < RUNTIME_MIN_ARCH)
        return error_set_param(err, -ENOTSUP, "device",
                               "GPU %d is a %s of compute capability %d.%d, wanted 8.0 or later",
                               rt->ordinal, rt->info.name, prop.major, prop.minor);
    return 0;
}

static int find_driver(struct driver *d, struct error *err)
{
    const struct {
        void **function;
        const char *name;
    } rows[] = {
        { (void **)&d->granularity, "cuMemGetAllocationGranularity" },
        { (void **)&d->reserve, "cuMemAddressReserve" },
        { (void **)&d->release_address, "cuMemAddressFree" },
        { (void **)&d->create, "cuMemCreate" },
        { (void **)&d->release, "cuMemRelease" },
        { (void **)&d->map, "cuMemMap" },
        { (void **)&d->unmap, "cuMemUnmap" },
        { (void **)&d->set_access, "cuMemSetAccess" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        enum cudaDriverEntryPointQueryResult found;
        if (cudaGetDriverEntryPointByVersion(rows[i].name, rows[i].function, 12000,
                                             cudaEnableDefault, &found) != cudaSuccess ||
            *rows[i].function == NULL)
            return error_set_param(err, -ENOTSUP, "device", "the NVIDIA driver has no %s",
                                   rows[i].name);
    }
    return 0;
}

static CUmemAllocationProp properties(const struct runtime *rt)
{
    return (CUmemAllocationProp){
        .type = CU_MEM_ALLOCATION_TYPE_PINNED,
        .requestedHandleTypes = (CUmemAllocationHandleType)rt->handle_types,
        .location = { .type = CU_MEM_LOCATION_TYPE_DEVICE, .id = rt->ordinal }
    };
}

/* Some hosts give no pages that can be handed on, or none at all; and for a sanitizer each piece is
 * an allocation of its own. */
static void try_pages(struct runtime *rt)
{
    if (getenv("TOKENRING_GPU_EXACT") != NULL) {
        rt->granularity = EXACT_PAGE;
        rt->is_plain = true;
        return;
    }
    static const unsigned types[] = { CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                      CU_MEM_HANDLE_TYPE_NONE };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        CUmemGenericAllocationHandle handle;
        rt->handle_types = types[i];
        const CUmemAllocationProp prop = properties(rt);
        if (rt->driver.granularity(&rt->granularity, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM) !=
                CUDA_SUCCESS ||
            rt->driver.create(&handle, rt->granularity, &prop, 0) != CUDA_SUCCESS)
            continue;
        rt->driver.release(handle);
        return;
    }
    rt->granularity = PLAIN_PAGE;
    rt->is_plain = true;
}

static int make_queues(struct runtime *rt, struct error *err)
{
    cudaError_t r = cudaSuccess;
    for (int i = 0; r == cudaSuccess && i < RUNTIME_NUM_QUEUES; i++)
        r = cudaStreamCreateWithFlags(&rt->streams[i], cudaStreamNonBlocking);
    for (int i = 0; r == cudaSuccess && i < RUNTIME_NUM_EVENTS; i++)
        r = cudaEventCreateWithFlags(&rt->events[i], cudaEventDisableTiming);
    return r == cudaSuccess ? 0 : fail(-ENODEV, r, "no queue can be made", err);
}

/* --- idle times, where somebody measures them ------------------------------------------------- */

static void open_idle(struct runtime *rt)
{
    cudaError_t r = cudaSuccess;
    rt->idle = idle_open();
    for (int i = 0; rt->idle != NULL && r == cudaSuccess && i < NUM_STAMPS; i++) {
        r = cudaEventCreate(&rt->stamps[i].begin);
        if (r == cudaSuccess)
            r = cudaEventCreate(&rt->stamps[i].end);
    }
    if (r == cudaSuccess)
        return;
    idle_close(rt->idle);
    rt->idle = NULL;
}

/* The first thing that is asked for behind the end of a list. */
static void stamp_begin(struct runtime *rt, enum runtime_queue queue)
{
    if (rt->idle == NULL || queue != RUNTIME_COMPUTE || rt->num_begun > rt->num_ended)
        return;
    (void)cudaEventRecord(rt->stamps[rt->num_begun++ % NUM_STAMPS].begin, rt->streams[queue]);
}

static void stamp_end(struct runtime *rt, enum runtime_queue queue, int32_t event)
{
    if (rt->idle == NULL || queue != RUNTIME_COMPUTE || event >= LIST_EVENTS ||
        rt->num_begun == rt->num_ended)
        return;
    (void)cudaEventRecord(rt->stamps[rt->num_ended++ % NUM_STAMPS].end, rt->streams[queue]);
}

/* From the end of each list that is over to the beginning of the next one. */
static void tell_idle(struct runtime *rt)
{
    if (rt->idle == NULL)
        return;
    while (rt->num_told + 1 < rt->num_ended) {
        float ms = 0.0f;
        const uint64_t i = rt->num_told;
        if (cudaEventElapsedTime(&ms, rt->stamps[i % NUM_STAMPS].end,
                                 rt->stamps[(i + 1) % NUM_STAMPS].begin) != cudaSuccess)
            break;
        idle_note(rt->idle, 1000.0f * ms);
        rt->num_told++;
    }
    (void)cudaGetLastError(); /* not over yet: no failure of a kernel */
}

int runtime_open(int32_t ordinal, struct runtime **ret_runtime, struct error *err)
{
    int num = 0, r = runtime_probe(err);
    if (r < 0)
        return r;
    if (cudaGetDeviceCount(&num) != cudaSuccess || ordinal < 0 || ordinal >= num)
        return error_set_param(err, -ENODEV, "device", "there is no GPU %d, but %d of them",
                               ordinal, num);
    struct runtime *rt = calloc(1, sizeof(*rt));
    if (rt == NULL)
        return error_set(err, -ENOMEM, "no memory for a device");
    rt->ordinal = ordinal;
    r = read_info(rt, err);
    const cudaError_t chosen = r == 0 ? cudaSetDevice(ordinal) : cudaSuccess;
    if (chosen != cudaSuccess)
        r = fail(chosen == cudaErrorMemoryAllocation ? -ENOMEM : -ENODEV, chosen,
                 "it cannot be used", err);
    if (r == 0)
        r = find_driver(&rt->driver, err);
    if (r == 0)
        r = make_queues(rt, err);
    if (r == 0)
        try_pages(rt);
    if (r == 0)
        open_idle(rt);
    if (r < 0) {
        runtime_close(rt);
        return r;
    }
    *ret_runtime = rt;
    return 0;
}

void runtime_close(struct runtime *rt)
{
    if (rt == NULL)
        return;
    for (int i = 0; i < RUNTIME_NUM_EVENTS; i++)
        if (rt->events[i] != NULL)
            cudaEventDestroy(rt->events[i]);
    for (int i = 0; i < NUM_STAMPS; i++) {
        if (rt->stamps[i].begin != NULL)
            cudaEventDestroy(rt->stamps[i].begin);
        if (rt->stamps[i].end != NULL)
            cudaEventDestroy(rt->stamps[i].end);
    }
    idle_close(rt->idle);
    for (int i = 0; i < RUNTIME_NUM_QUEUES; i++)
        if (rt->streams[i] != NULL)
            cudaStreamDestroy(rt->streams[i]);
    free(rt);
}

const struct runtime_info *runtime_info(const struct runtime *rt)
{
    return &rt->info;
}

void *runtime_stream(struct runtime *rt)
{
    return rt->streams[RUNTIME_COMPUTE];
}

static int note(struct runtime *rt, cudaError_t r)
{
    if (r != cudaSuccess && rt->failure == cudaSuccess)
        rt->failure = r;
    return r == cudaSuccess ? 0 : -EIO;
}

const char *runtime_failure(const struct runtime *rt)
{
    return rt->failure == cudaSuccess ? "" : cudaGetErrorString(rt->failure);
}

/* --- memory --------------------------------------------------------------------------------- */

size_t runtime_granularity(const struct runtime *rt)
{
    return rt->granularity;
}

/* Pages without an address, an address, and what may be done there. */
static int map_pages(struct runtime *rt, size_t bytes, void **ret_memory)
{
    const struct driver *d = &rt->driver;
    const CUmemAllocationProp prop = properties(rt);
    const CUmemAccessDesc access = { .location = prop.location,
                                     .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
    CUmemGenericAllocationHandle handle;
    CUdeviceptr at = 0;
    if (d->create(&handle, bytes, &prop, 0) != CUDA_SUCCESS)
        return -ENOMEM;
    CUresult r = d->reserve(&at, bytes, 0, 0, 0);
    if (r == CUDA_SUCCESS) {
        r = d->map(at, bytes, 0, handle, 0);
        if (r == CUDA_SUCCESS)
            r = d->set_access(at, bytes, &access, 1);
        if (r != CUDA_SUCCESS)
            d->release_address(at, bytes);
    }
    d->release(handle); /* the mapping holds on to it */
    *ret_memory = (void *)at;
    return r == CUDA_SUCCESS ? 0 : -ENOMEM;
}

int runtime_map(struct runtime *rt, size_t bytes, void **ret_memory)
{
    int r;
    cudaSetDevice(rt->ordinal);
    if (rt->is_plain)
        r = cudaMalloc(ret_memory, bytes) == cudaSuccess ? 0 : -ENOMEM;
    else
        r = map_pages(rt, bytes, ret_memory);
    if (r < 0) {
        (void)cudaGetLastError(); /* known now, and no failure of a kernel */
        return r;
    }
    if (cudaMemsetAsync(*ret_memory, 0, bytes, rt->streams[RUNTIME_COMPUTE]) == cudaSuccess &&
        cudaStreamSynchronize(rt->streams[RUNTIME_COMPUTE]) == cudaSuccess)
        return 0;
    runtime_unmap(rt, *ret_memory, bytes);
    return -ENOMEM;
}

void runtime_unmap(struct runtime *rt, void *memory, size_t bytes)
{
    cudaSetDevice(rt->ordinal);
    cudaDeviceSynchronize();
    if (rt->is_plain) {
        cudaFree(memory);
        return;
    }
    rt->driver.unmap((CUdeviceptr)memory, bytes);
    rt->driver.release_address((CUdeviceptr)memory, bytes);
}

size_t runtime_free_bytes(struct runtime *rt)
{
    size_t num = 0, total = 0;
    cudaSetDevice(rt->ordinal);
    return cudaMemGetInfo(&num, &total) == cudaSuccess ? num : 0;
}

void *runtime_pinned_alloc(struct runtime *rt, size_t bytes)
{
    void *memory = NULL;
    cudaSetDevice(rt->ordinal);
    return cudaHostAlloc(&memory, bytes, cudaHostAllocDefault) == cudaSuccess ? memory : NULL;
}

void runtime_pinned_free(struct runtime *rt, void *memory)
{
    (void)rt;
    cudaFreeHost(memory);
}

int runtime_pin(struct runtime *rt, void *memory, size_t bytes)
{
    cudaSetDevice(rt->ordinal);
    if (cudaHostRegister(memory, bytes, cudaHostRegisterDefault) == cudaSuccess)
        return 0;
    (void)cudaGetLastError(); /* known now, and no failure of a kernel */
    return -ENOMEM;
}

void runtime_unpin(struct runtime *rt, void *memory)
{
    cudaSetDevice(rt->ordinal);
    cudaHostUnregister(memory);
}

int runtime_copy(struct runtime *rt, enum runtime_queue queue, void *to, const void *from,
                 size_t bytes)
{
    cudaSetDevice(rt->ordinal); /* a thread's own; costs nothing when it is set */
    stamp_begin(rt, queue);
    return note(rt, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, rt->streams[queue]));
}

int runtime_copy_rows(struct runtime *rt, enum runtime_queue queue, void *to, size_t to_stride,
                      const void *from, size_t from_stride, size_t bytes, size_t num_rows)
{
    cudaSetDevice(rt->ordinal);
    stamp_begin(rt, queue);
    return note(rt, cudaMemcpy2DAsync(to, to_stride, from, from_stride, bytes, num_rows,
                                      cudaMemcpyDefault, rt->streams[queue]));
}

/* --- time ------------------------------------------------------------------------------------ */

int runtime_record(struct runtime *rt, enum runtime_queue queue, int32_t event)
{
    cudaError_t r = cudaGetLastError(); /* of launches before */
    if (r == cudaSuccess)
        r = cudaEventRecord(rt->events[event], rt->streams[queue]);
    if (r == cudaSuccess)
        stamp_end(rt, queue, event);
    return note(rt, r);
}

int runtime_wait(struct runtime *rt, int32_t event, int64_t us)
{
    const int64_t started = clock_now_us();
    for (;;) {
        const cudaError_t r = cudaEventQuery(rt->events[event]);
        if (r != cudaErrorNotReady) {
            if (r == cudaSuccess && event < LIST_EVENTS)
                tell_idle(rt);
            return note(rt, r);
        }
        const int64_t passed = clock_now_us() - started;
        if (us >= 0 && passed >= us)
            return 1;
        if (passed > SPIN_US)
            nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
        else
            sched_yield();
    }
}

int runtime_drain(struct runtime *rt)
{
    int r = 0;
    cudaSetDevice(rt->ordinal);
    for (int i = 0; i < RUNTIME_NUM_QUEUES && r == 0; i++)
        r = note(rt, cudaStreamSynchronize(rt->streams[i]));
    return r;
}

/* --- graphs ---------------------------------------------------------------------------------- */

int runtime_graph_begin(struct runtime *rt)
{
    return note(
        rt, cudaStreamBeginCapture(rt->streams[RUNTIME_COMPUTE], cudaStreamCaptureModeThreadLocal));
}

int runtime_graph_end(struct runtime *rt, struct runtime_graph **ret_graph)
{
    cudaGraph_t graph = NULL;
    struct runtime_graph *kept = calloc(1, sizeof(*kept));
    cudaError_t r = cudaStreamEndCapture(rt->streams[RUNTIME_COMPUTE], &graph);
    if (r == cudaSuccess && kept != NULL)
        r = cudaGraphInstantiate(&kept->exec, graph, 0);
    if (graph != NULL)
        cudaGraphDestroy(graph);
    if (r != cudaSuccess || kept == NULL) {
        free(kept);
        return r != cudaSuccess ? note(rt, r) : -ENOMEM;
    }
    *ret_graph = kept;
    return 0;
}

int runtime_graph_launch(struct runtime *rt, struct runtime_graph *graph)
{
    return note(rt, cudaGraphLaunch(graph->exec, rt->streams[RUNTIME_COMPUTE]));
}

void runtime_graph_free(struct runtime_graph *graph)
{
    if (graph == NULL)
        return;
    cudaGraphExecDestroy(graph->exec);
    free(graph);
}
