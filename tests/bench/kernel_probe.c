#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernel_probe.h"
#include "kernel_rig.h"

enum { MAX_THREADS = 256 };

struct probe_thread {
    pthread_t id;
    pthread_barrier_t *start;
    const unsigned char *data;
    size_t bytes;
    double read_time_s, fma_time_s, dot_time_s, flops, ops;
    float sink;
};

#if defined(__x86_64__)
#define READ_LOOP(type, load, add, width)                                                          \
    type sums[4] = { 0 };                                                                          \
    const size_t part = bytes / 4;                                                                 \
    for (size_t i = 0; i + (width) <= part; i += (width))                                          \
        for (int s = 0; s < 4; s++)                                                                \
            sums[s] = add(sums[s], load((const void *)(data + (size_t)s * part + i)));             \
    float sink[64 / sizeof(float)];                                                                \
    sums[0] = add(add(sums[0], sums[1]), add(sums[2], sums[3]));                                   \
    memcpy(sink, &sums[0], sizeof(sums[0]));                                                       \
    return sink[0];

#define FMA_LOOP(type, set, fma, lanes)                                                            \
    enum { CHAINS = 12 };                                                                          \
    type sums[CHAINS];                                                                             \
    const type a = set(0.999f), b = set(1e-3f);                                                    \
    for (int i = 0; i < CHAINS; i++)                                                               \
        sums[i] = set((float)i);                                                                   \
    for (int64_t n = 0; n < times; n++)                                                            \
        for (int i = 0; i < CHAINS; i++)                                                           \
            sums[i] = fma(sums[i], a, b);                                                          \
    float sink = 0.0f, part[lanes];                                                                \
    for (int i = 0; i < CHAINS; i++) {                                                             \
        memcpy(part, &sums[i], sizeof(part));                                                      \
        sink += part[0];                                                                           \
    }                                                                                              \
    *flops = (double)times * CHAINS * (lanes)*2;                                                   \
    return sink;

__attribute__((target("avx512f"))) static float read_512(const unsigned char *data, size_t bytes)
{
    READ_LOOP(__m512, _mm512_loadu_ps, _mm512_add_ps, 64)
}

__attribute__((target("avx2,fma"))) static float read_256(const unsigned char *data, size_t bytes)
{
    READ_LOOP(__m256, _mm256_loadu_ps, _mm256_add_ps, 32)
}

__attribute__((target("avx512f"))) static float fma_512(int64_t times, double *flops)
{
    FMA_LOOP(__m512, _mm512_set1_ps, _mm512_fmadd_ps, 16)
}

__attribute__((target("avx2,fma"))) static float fma_256(int64_t times, double *flops)
{
    FMA_LOOP(__m256, _mm256_set1_ps, _mm256_fmadd_ps, 8)
}

__attribute__((target("avx512f,avx512vnni"))) static float dot_512(int64_t times, double *ops)
{
    enum { CHAINS = 12 };
    __m512i sums[CHAINS];
    const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm512_set1_epi32(i);
    for (int64_t n = 0; n < times; n++)
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
    float sink = 0.0f;
    int32_t part[16];
    for (int i = 0; i < CHAINS; i++) {
        memcpy(part, &sums[i], sizeof(part));
        sink += (float)part[0];
    }
    *ops = (double)times * CHAINS * 64 * 2;
    return sink;
}
#endif

static float read_plain(const unsigned char *data, size_t bytes)
{
    uint64_t sums[4] = { 0 }, word;
    for (size_t i = 0; i + 8 <= bytes / 4; i += 8)
        for (size_t s = 0; s < 4; s++) {
            memcpy(&word, data + s * (bytes / 4) + i, 8);
            sums[s] += word;
        }
    return (float)(sums[0] + sums[1] + sums[2] + sums[3]);
}

static float fma_plain(int64_t times, double *flops)
{
    float sums[16] = { 0 };
    for (int64_t n = 0; n < times; n++)
        for (int i = 0; i < 16; i++)
            sums[i] = sums[i] * 0.999f + 1e-3f;
    *flops = (double)times * 16 * 2;
    return sums[0] + sums[15];
}

static float (*probe_read)(const unsigned char *data, size_t bytes) = read_plain;
static float (*probe_fma)(int64_t times, double *flops) = fma_plain;
static float (*probe_dot)(int64_t times, double *ops); /* NULL: no such instruction */

static void choose_probes(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        probe_read = read_256;
        probe_fma = fma_256;
    }
    if (__builtin_cpu_supports("avx512f")) {
        probe_read = read_512;
        probe_fma = fma_512;
    }
    if (__builtin_cpu_supports("avx512vnni"))
        probe_dot = dot_512;
#endif
}

static void *probe_main(void *argument)
{
    struct probe_thread *thread = argument;

    pthread_barrier_wait(thread->start);
    double start_s = kernel_rig_now_s();
    thread->sink += probe_read(thread->data, thread->bytes);
    thread->read_time_s = kernel_rig_now_s() - start_s;

    pthread_barrier_wait(thread->start);
    start_s = kernel_rig_now_s();
    thread->sink += probe_fma(1 << 22, &thread->flops);
    thread->fma_time_s = kernel_rig_now_s() - start_s;

    pthread_barrier_wait(thread->start);
    start_s = kernel_rig_now_s();
    if (probe_dot != NULL)
        thread->sink += probe_dot(1 << 22, &thread->ops);
    thread->dot_time_s = kernel_rig_now_s() - start_s;
    return NULL;
}

/* One trial: all threads at once, the slowest counts. */
static struct probe probe_once(const unsigned char *data, size_t bytes)
{
    static struct probe_thread threads[MAX_THREADS];
    pthread_barrier_t start;
    double slowest_read_s = 0.0, slowest_fma_s = 0.0, slowest_dot_s = 0.0, flops = 0.0, ops = 0.0;

    pthread_barrier_init(&start, NULL, (unsigned)num_threads);
    for (int32_t i = 0; i < num_threads; i++) {
        const size_t part = bytes / (size_t)num_threads;
        threads[i] = (struct probe_thread){ .start = &start,
                                            .data = data + part * (size_t)i,
                                            .bytes = part };
        pthread_create(&threads[i].id, NULL, probe_main, &threads[i]);
    }
    for (int32_t i = 0; i < num_threads; i++) {
        pthread_join(threads[i].id, NULL);
        slowest_read_s = fmax(slowest_read_s, threads[i].read_time_s);
        slowest_fma_s = fmax(slowest_fma_s, threads[i].fma_time_s);
        slowest_dot_s = fmax(slowest_dot_s, threads[i].dot_time_s);
        flops += threads[i].flops;
        ops += threads[i].ops;
    }
    pthread_barrier_destroy(&start);
    return (struct probe){ (double)bytes / slowest_read_s * 1e-9, flops / slowest_fma_s * 1e-9,
                           ops / slowest_dot_s * 1e-9 };
}

struct probe kernel_probe_all(const void *data, size_t bytes)
{
    struct probe best = { 0 };
    choose_probes();
    for (int trial = 0; trial < TRIALS; trial++) {
        const struct probe probe = probe_once(data, bytes);
        best.gb_per_s = fmax(best.gb_per_s, probe.gb_per_s);
        best.gflop_per_s = fmax(best.gflop_per_s, probe.gflop_per_s);
        best.gop_per_s = fmax(best.gop_per_s, probe.gop_per_s);
    }
    printf("probe: read %.1f GB/s, multiply-add %.0f GFLOP/s, integer dot %.0f GOP/s, %d threads\n",
           best.gb_per_s, best.gflop_per_s, best.gop_per_s, num_threads);
    return best;
}
