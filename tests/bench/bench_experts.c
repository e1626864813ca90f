/*
 * bench_experts - experts and latents beside the plain operation on the same bytes
 *
 *     bench_experts [threads [isa]]
 *
 * Experts: a layer of 64 matrices 1536 x 2048 in bf16, eight for each row, beside linear() over one
 * matrix of eight of them, which is what a dense model of the same work reads. Latents of 512 + 64
 * in f16 at 4096 positions, beside a plain KV head of 512. Both of a pair run in turn, best of
 * several trials, in CPU time of a thread: their ratio counts, not the figure.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/backend.h"

enum { TRIALS = 7, EXPERTS = 64, TOP_K = 8, OUT = 1536, IN = 2048, MAX_ROWS = 256 };
enum { LATENT = 512, ROTARY = 64, POSITIONS = 4096, MAX_HEADS = 128, MAX_QUERIES = 16 };

static const struct backend *backend;
static struct device *device;
static uint64_t state = 88172645463325252U;

static float next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)(state >> 40) / 8388608.0f - 1.0f;
}

/* CPU time of the process: other programs on the machine count less. */
static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "bench_experts: %s\n", what);
    exit(1);
}

static float *alloc_random(size_t num)
{
    float *values = backend->alloc(device, num * sizeof(float));
    if (values == NULL)
        fail("no memory");
    for (size_t i = 0; i < num; i++)
        values[i] = next_random();
    return values;
}

/* Seconds of what was recorded since begin(). */
static double run(void)
{
    const double start = now_s();
    if (backend->submit(device) != 0 || backend->wait(device) != 0)
        fail("the device failed");
    return (now_s() - start) / backend->device_threads(device);
}

static void keep_best(double *best, double seconds)
{
    if (*best == 0.0 || seconds < *best)
        *best = seconds;
}

static struct weight *make_weight(int32_t num_matrices)
{
    struct weight *weight;
    struct error err;
    uint16_t *values = malloc((size_t)OUT * IN * sizeof(*values));
    if (values == NULL ||
        backend->weight_alloc(device, DTYPE_BF16, num_matrices * OUT, IN, &weight, &err) < 0)
        fail("no memory");
    for (size_t i = 0; i < (size_t)OUT * IN; i++)
        values[i] = (uint16_t)(0x3c00 + i % 97);
    for (int32_t m = 0; m < num_matrices; m++)
        backend->weight_load(weight, m * OUT, OUT, values);
    free(values);
    return weight;
}

static struct moe_plan make_plan(void)
{
    const size_t pairs = (size_t)MAX_ROWS * TOP_K * sizeof(int32_t);
    return (struct moe_plan){ .num_experts = EXPERTS,
                              .top_k = TOP_K,
                              .experts = backend->alloc(device, pairs),
                              .weights = backend->alloc(device, pairs),
                              .first = backend->alloc(device, (EXPERTS + 1) * sizeof(int32_t)),
                              .rows = backend->alloc(device, pairs),
                              .places = backend->alloc(device, pairs) };
}

static int32_t count_used(const struct moe_plan *plan)
{
    int32_t used = 0;
    for (int32_t e = 0; e < EXPERTS; e++)
        used += plan->first[e + 1] > plan->first[e];
    return used;
}

static void bench_experts(void)
{
    const struct moe_plan plan = make_plan();
    const struct moe_routing routing = { .scores = MOE_SOFTMAX, .normalize = true, .scale = 1.0f };
    struct weight *experts = make_weight(EXPERTS), *dense = make_weight(TOP_K);
    float *x = alloc_random((size_t)MAX_ROWS * TOP_K * IN);
    float *y = alloc_random((size_t)MAX_ROWS * TOP_K * OUT);
    float *logits = alloc_random((size_t)MAX_ROWS * EXPERTS);

    for (int32_t rows = 1; rows <= MAX_ROWS; rows *= 4) {
        double route = 0.0, routed = 0.0, plain = 0.0;
        for (int trial = 0; trial < TRIALS; trial++) {
            backend->begin(device);
            backend->moe_route(device, &plan, logits, &routing, rows);
            keep_best(&route, run());
            backend->begin(device);
            backend->moe_linear(device, y, experts, OUT, x, &plan, rows);
            keep_best(&routed, run());
            backend->begin(device);
            backend->linear(device, y, dense, NULL, x, rows);
            keep_best(&plain, run());
        }
        const int32_t used = count_used(&plan);
        const double matrix = (double)OUT * IN;
        printf("experts, %3d rows: route %6.1f us; %2d experts %8.2f ms %6.1f GB/s %6.1f GFLOP/s;"
               " dense %8.2f ms %6.1f GB/s %6.1f GFLOP/s\n",
               rows, route * 1e6, used, routed * 1e3, used * matrix * 2 / routed * 1e-9,
               2.0 * rows * TOP_K * matrix / routed * 1e-9, plain * 1e3,
               TOP_K * matrix * 2 / plain * 1e-9, 2.0 * rows * TOP_K * matrix / plain * 1e-9);
    }
}

static struct kv_pool *make_pool(int32_t latent_dim)
{
    const struct kv_layout layout = { 1,  1,         latent_dim > 0 ? LATENT + ROTARY : LATENT,
                                      16, DTYPE_F16, latent_dim };
    struct kv_pool *pool;
    struct error err;
    if (backend->kv_alloc(device, &layout, POSITIONS / 16, &pool, &err) < 0)
        fail(err.message);
    return pool;
}

static void bench_latents(void)
{
    static int32_t blocks[POSITIONS / 16];
    struct kv_pool *latents = make_pool(LATENT), *plain_kv = make_pool(0);
    const size_t width = LATENT + ROTARY;
    float *q = alloc_random(MAX_QUERIES * (MAX_HEADS + 2) * width);
    float *out = alloc_random(MAX_QUERIES * MAX_HEADS * width);
    const struct attention_form form = { .scale = 0.1f };
    for (int32_t i = 0; i < POSITIONS / 16; i++)
        blocks[i] = (i * 7 + 3) % (POSITIONS / 16);

    for (int32_t heads = 16; heads <= MAX_HEADS; heads *= 8)
        for (int32_t rows = 1; rows <= MAX_QUERIES; rows *= 16) {
            const struct attention_seq seq = { 0, rows, POSITIONS - rows, blocks, 0 };
            double latent = 0.0, plain = 0.0;
            for (int trial = 0; trial < TRIALS; trial++) {
                backend->begin(device);
                backend->attention(device, out, q, latents, 0, heads, &form, &seq, 1, rows);
                keep_best(&latent, run());
                backend->begin(device);
                backend->attention(device, out, q, plain_kv, 0, heads, &form, &seq, 1, rows);
                keep_best(&plain, run());
            }
            const double sums = 2.0 * rows * heads * POSITIONS * 1e-9;
            printf("latents, %3d heads, %2d rows: %8.2f ms %6.1f GFLOP/s; plain %8.2f ms %6.1f"
                   " GFLOP/s\n",
                   heads, rows, latent * 1e3, sums * (2 * LATENT + ROTARY) / latent, plain * 1e3,
                   sums * (2 * LATENT) / plain);
        }
}

int main(int argc, char **argv)
{
    struct error err;
    const struct device_options options = { .num_threads = argc > 1 ? atoi(argv[1]) : 0,
                                            .isa = argc > 2 ? argv[2] : NULL,
                                            .max_rows = MAX_ROWS,
                                            .max_ops = 8,
                                            .max_vocab = 1 };
    if (backend_open("cpu", &backend, &err) < 0 ||
        backend->device_open(&options, &device, &err) < 0)
        fail(err.message);
    printf("%s, %d threads\n", backend->device_isa(device), backend->device_threads(device));
    bench_experts();
    bench_latents();
    return 0;
}
