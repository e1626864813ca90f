/*
 * bench_kernels - what the cpu backend's operations reach of what the machine can do
 *
 *     bench_kernels [threads [isa [quant|linear|attention|rows|step]]]
 *
 * First the probes, in the same run: reading memory (four streams per thread), multiply-adds and
 * integer dot products from registers. Then each operation with random data, best of several
 * trials, as GB/s of the bytes it has to read or GFLOP/s of the sums it has to make, and as a share
 * of the probe. The probes run again at the end: where they differ, the machine was not quiet.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/backend.h"

enum { TRIALS = 7, MAX_THREADS = 256 };

static const struct backend *backend;
static struct device *device;
static int32_t num_threads;

struct probe {
    double gb_per_s, gflop_per_s, gop_per_s; /* the last of integer dot products; 0: none */
};

static double read_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double now_s(void)
{
    return read_s(CLOCK_MONOTONIC);
}

/* xorshift64: numbers without structure, quickly. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* --- probes ---------------------------------------------------------------------------------- */

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
#endif

#if defined(__x86_64__)
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
    double start_s = now_s();
    thread->sink += probe_read(thread->data, thread->bytes);
    thread->read_time_s = now_s() - start_s;

    pthread_barrier_wait(thread->start);
    start_s = now_s();
    thread->sink += probe_fma(1 << 22, &thread->flops);
    thread->fma_time_s = now_s() - start_s;

    pthread_barrier_wait(thread->start);
    start_s = now_s();
    if (probe_dot != NULL)
        thread->sink += probe_dot(1 << 22, &thread->ops);
    thread->dot_time_s = now_s() - start_s;
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

static struct probe probe_all(const unsigned char *data, size_t bytes)
{
    struct probe best = { 0 };
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

/* --- operations ------------------------------------------------------------------------------ */

static void fill(float *out, size_t num)
{
    uint64_t state = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < num; i++)
        out[i] = (float)(next_random(&state) >> 40) * 0x1p-23f - 1.0f;
}

static float *make_floats(size_t num)
{
    float *data = backend->alloc(device, num * sizeof(float));
    if (!data)
        exit(1);
    fill(data, num);
    return data;
}

/* 32 rows of random weights within [-2, 2): exponent bits are set so that no value is odd. */
static void fill_rows(enum dtype dtype, int32_t cols, unsigned char *rows, uint64_t *state)
{
    for (size_t i = 0; i < 32 * (size_t)cols; i++) {
        const float value = (float)(next_random(state) >> 40) * 0x1p-23f - 1.0f;
        uint32_t bits;
        memcpy(&bits, &value, 4);
        if (dtype == DTYPE_BF16)
            bits >>= 16;
        else if (dtype == DTYPE_F16) /* sign, exponent 12 to 15, mantissa */
            bits = (bits >> 16 & 0x8000) | 0x3000 | (bits & 0xfff);
        memcpy(rows + i * dtype_bytes(dtype), &bits, dtype_bytes(dtype));
    }
}

/* 32 rows of random blocks, whose scales are 2^-10 and more. */
static void fill_blocks(enum dtype dtype, int32_t cols, unsigned char *rows, uint64_t *state)
{
    const size_t size = dtype_row_bytes(dtype, dtype_block(dtype));
    const size_t num = 32 * (size_t)(cols / dtype_block(dtype));
    const size_t at = dtype == DTYPE_Q6_K ? 208 : 0; /* of the scale */
    for (size_t i = 0; i < num * size; i++)
        rows[i] = (unsigned char)(next_random(state) >> 32);
    for (size_t i = 0; i < num; i++) {
        unsigned char *scale = rows + i * size + at;
        scale[1] = (unsigned char)((scale[1] & 0x83) | 0x14);
        if (dtype == DTYPE_Q4_K)
            scale[3] = scale[1];
    }
}

static struct weight *make_weight(enum dtype dtype, int32_t rows, int32_t cols)
{
    struct weight *weight;
    struct error err;
    if (backend->weight_alloc(device, dtype, rows, cols, &weight, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    unsigned char *panel = malloc(32 * dtype_row_bytes(dtype, cols));
    uint64_t state = 0x1234567;
    for (int32_t first = 0; panel && first < rows; first += 32) {
        (dtype_is_quant(dtype) ? fill_blocks : fill_rows)(dtype, cols, panel, &state);
        backend->weight_load(weight, first, rows - first < 32 ? rows - first : 32, panel);
    }
    free(panel);
    return weight;
}

/* Of one submit, best of the trials: of wall time, and of CPU time per thread, which others on the
 * machine disturb less; it is counted in ticks and says nothing of less than some 20 ms. */
struct timing {
    double wall_s, cpu_s;
};

/* Time record() between begin() and wait(). */
static struct timing best_of(void (*record)(void *), void *argument, int trials)
{
    struct timing best = { 1e9, 1e9 };
    for (int trial = 0; trial < trials; trial++) {
        const double start_s = now_s(), start_cpu_s = read_s(CLOCK_PROCESS_CPUTIME_ID);
        backend->begin(device);
        record(argument);
        backend->submit(device);
        backend->wait(device);
        best.wall_s = fmin(best.wall_s, now_s() - start_s);
        best.cpu_s =
            fmin(best.cpu_s, (read_s(CLOCK_PROCESS_CPUTIME_ID) - start_cpu_s) / num_threads);
    }
    return best;
}

static void print_row(const char *what, struct timing time, double bytes, double flops,
                      const struct probe *probe)
{
    const double gb = bytes / time.wall_s * 1e-9, gflop = flops / time.wall_s * 1e-9;
    printf("%-11s %-46s %9.1f us  cpu %9.1f us  %6.2f GB/s %4.0f %%  %6.1f GFLOP/s %4.0f %%\n",
           backend->device_isa(device), what, time.wall_s * 1e6, time.cpu_s * 1e6, gb,
           100 * gb / probe->gb_per_s, gflop, 100 * gflop / probe->gflop_per_s);
}

struct linear_bench {
    struct weight *weights[64];
    int32_t num_weights, rows;
    float *x, *out;
};

static void record_linear(void *argument)
{
    const struct linear_bench *bench = argument;
    for (int32_t i = 0; i < bench->num_weights; i++)
        backend->linear(device, bench->out, bench->weights[i], NULL, bench->x, bench->rows);
}

/* As many matrices as make up `total_bytes`, so that no cache holds them. */
static void bench_linear(enum dtype dtype, int32_t outputs, int32_t inputs, double total_bytes,
                         const int32_t *rows, int num_rows, const struct probe *probe)
{
    struct linear_bench bench = { .x = make_floats(512 * (size_t)inputs),
                                  .out = make_floats(512 * (size_t)outputs) };
    const double bytes = (double)outputs * (double)dtype_row_bytes(dtype, inputs);
    bench.num_weights = (int32_t)fmax(1.0, fmin(64.0, total_bytes / bytes));
    for (int32_t i = 0; i < bench.num_weights; i++)
        bench.weights[i] = make_weight(dtype, outputs, inputs);

    for (int i = 0; i < num_rows; i++) {
        char what[96];
        bench.rows = rows[i];
        const double flops = 2.0 * outputs * inputs * bench.rows;
        const int32_t all = bench.num_weights;
        if (bench.rows > 16) /* bound by arithmetic: a few matrices are enough */
            bench.num_weights = all < 4 ? all : 4;
        const struct timing time = best_of(record_linear, &bench, TRIALS);
        snprintf(what, sizeof(what), "linear %s %d x %d, %d rows, %d matrices", dtype_name(dtype),
                 outputs, inputs, bench.rows, bench.num_weights);
        struct probe limits = *probe;
        if (dtype_is_quant(dtype) && probe->gop_per_s > 0.0)
            limits.gflop_per_s = probe->gop_per_s;
        print_row(what, time, bytes * bench.num_weights, flops * bench.num_weights, &limits);
        bench.num_weights = all;
    }
    for (int32_t i = 0; i < bench.num_weights; i++)
        backend->weight_free(bench.weights[i]);
    backend->free(device, bench.x);
    backend->free(device, bench.out);
}

struct attention_bench {
    struct kv_pool *pool;
    struct kv_layout layout;
    struct attention_seq seqs[64];
    int32_t num_seqs, num_heads, rows;
    float *qkv, *out;
};

static void record_attention(void *argument)
{
    const struct attention_bench *bench = argument;
    const struct attention_form form = { .scale = 0.1f };
    for (int32_t layer = 0; layer < bench->layout.num_layers; layer++)
        backend->attention(device, bench->out, bench->qkv, bench->pool, layer, bench->num_heads,
                           &form, bench->seqs, bench->num_seqs, bench->rows);
}

/* `num_seqs` sequences of `length` positions, the last `rows_each` of each computed. */
static void bench_attention(int32_t num_heads, int32_t num_kv_heads, int32_t head_dim,
                            int32_t num_seqs, int32_t length, int32_t rows_each, int32_t num_layers,
                            const struct probe *probe)
{
    const int32_t blocks_each = (length + 15) / 16;
    const struct kv_layout layout = { num_layers, num_kv_heads, head_dim, 16, DTYPE_F16 };
    struct attention_bench bench = {
        .layout = layout, .num_seqs = num_seqs, .num_heads = num_heads, .rows = num_seqs * rows_each
    };
    int32_t *blocks = malloc((size_t)(num_seqs * blocks_each) * sizeof(*blocks));
    struct error err;
    if (!blocks ||
        backend->kv_alloc(device, &layout, num_seqs * blocks_each, &bench.pool, &err) < 0)
        exit(1);

    for (int32_t i = 0; i < num_seqs * blocks_each; i++)
        blocks[i] = i;
    for (int32_t i = 0; i < num_seqs; i++)
        bench.seqs[i] = (struct attention_seq){ i * rows_each, rows_each, length - rows_each,
                                                blocks + i * blocks_each };
    bench.qkv =
        make_floats((size_t)bench.rows * (size_t)((num_heads + 2 * num_kv_heads) * head_dim));
    bench.out = make_floats((size_t)bench.rows * (size_t)(num_heads * head_dim));

    const double positions = (length - rows_each + (rows_each + 1) / 2.0);
    const double flops = 4.0 * num_seqs * rows_each * positions * num_heads * head_dim * num_layers;
    const double bytes = 4.0 * num_seqs * length * num_kv_heads * head_dim * num_layers;
    char what[96];
    snprintf(what, sizeof(what), "attention %d/%d x %d, %d x %d rows at %d", num_heads,
             num_kv_heads, head_dim, num_seqs, rows_each, length);
    print_row(what, best_of(record_attention, &bench, 5), bytes, flops, probe);
    backend->kv_free(bench.pool);
    backend->free(device, bench.qkv);
    backend->free(device, bench.out);
    free(blocks);
}

struct rows_bench {
    float *a, *b, *w;
    int32_t rows, cols, times;
};

static void record_norm(void *argument)
{
    const struct rows_bench *bench = argument;
    for (int32_t i = 0; i < bench->times; i++)
        backend->add_rms_norm(device, bench->b, bench->a, NULL, bench->w, 1e-5f, bench->rows,
                              bench->cols);
}

static void record_silu(void *argument)
{
    const struct rows_bench *bench = argument;
    for (int32_t i = 0; i < bench->times; i++)
        backend->activate(device, bench->b, bench->a, ACTIVATION_SILU, true, bench->rows,
                          bench->cols);
}

static void bench_rows(int32_t rows, int32_t cols, const struct probe *probe)
{
    struct rows_bench bench = { make_floats((size_t)rows * (size_t)cols * 2),
                                make_floats((size_t)rows * (size_t)cols),
                                make_floats((size_t)cols),
                                rows,
                                cols,
                                32 };
    const double num = 4.0 * rows * cols * bench.times;
    char what[96];
    snprintf(what, sizeof(what), "add_rms_norm %d x %d, 32 times", rows, cols);
    print_row(what, best_of(record_norm, &bench, TRIALS), 2 * num, 0.0, probe);
    snprintf(what, sizeof(what), "silu times up %d x %d, 32 times", rows, cols);
    print_row(what, best_of(record_silu, &bench, TRIALS), 3 * num, 0.0, probe);
    backend->free(device, bench.a);
    backend->free(device, bench.b);
    backend->free(device, bench.w);
}

/* A step of a tiny model (hidden 256, 4 layers, 1024 tokens): what the meetings cost. */
struct step_bench {
    struct weight *qkv_proj[4], *o_proj[4], *gate_up_proj[4], *down_proj[4], *embed;
    struct kv_pool *pool;
    struct attention_seq seq;
    struct rope_table rope;
    float *x, *normed, *qkv, *attn, *gate_up, *act, *delta, *logits, *w;
    int32_t rows, positions[64], ids[64], blocks[64];
    int64_t slots[64];
};

static void record_step(void *argument)
{
    struct step_bench *b = argument;
    const struct attention_form form = { .scale = 0.17f };
    backend->embed(device, b->x, b->embed, 1.0f, b->ids, b->rows);
    for (int32_t l = 0; l < 4; l++) {
        backend->add_rms_norm(device, b->normed, b->x, l ? b->delta : NULL, b->w, 1e-5f, b->rows,
                              256);
        backend->linear(device, b->qkv, b->qkv_proj[l], NULL, b->normed, b->rows);
        backend->rope_kv_write(device, b->qkv, NULL, &b->rope, b->positions, b->slots, b->pool, l,
                               8, b->rows);
        backend->attention(device, b->attn, b->qkv, b->pool, l, 8, &form, &b->seq, 1, b->rows);
        backend->linear(device, b->delta, b->o_proj[l], NULL, b->attn, b->rows);
        backend->add_rms_norm(device, b->normed, b->x, b->delta, b->w, 1e-5f, b->rows, 256);
        backend->linear(device, b->gate_up, b->gate_up_proj[l], NULL, b->normed, b->rows);
        backend->activate(device, b->act, b->gate_up, ACTIVATION_SILU, true, b->rows, 512);
        backend->linear(device, b->delta, b->down_proj[l], NULL, b->act, b->rows);
    }
    backend->add_rms_norm(device, b->normed, b->x, b->delta, b->w, 1e-5f, b->rows, 256);
    backend->linear(device, b->logits, b->embed, NULL, b->normed, b->rows);
}

static void record_nothing(void *argument)
{
    (void)argument;
}

static void bench_step(int32_t rows, int32_t pos, const struct probe *probe)
{
    struct step_bench b = { .rows = rows };
    for (int l = 0; l < 4; l++) {
        b.qkv_proj[l] = make_weight(DTYPE_BF16, 512, 256);
        b.o_proj[l] = make_weight(DTYPE_BF16, 256, 256);
        b.gate_up_proj[l] = make_weight(DTYPE_BF16, 1024, 256);
        b.down_proj[l] = make_weight(DTYPE_BF16, 256, 512);
    }
    b.embed = make_weight(DTYPE_BF16, 1024, 256);
    const struct kv_layout layout = { 4, 4, 32, 16, DTYPE_F16 };
    if (backend->kv_alloc(device, &layout, 64, &b.pool, NULL) < 0)
        exit(1);
    float *tables = make_floats(2048 * 16);
    b.rope = (struct rope_table){ tables, tables, 32, 2048 };
    b.seq = (struct attention_seq){ 0, rows, pos, b.blocks };
    for (int32_t i = 0; i < 64; i++) {
        b.positions[i] = pos + i;
        b.slots[i] = pos + i;
        b.blocks[i] = i;
    }
    const size_t n = (size_t)rows;
    float **buffers[] = {
        &b.x, &b.normed, &b.qkv, &b.attn, &b.gate_up, &b.act, &b.delta, &b.logits
    };
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
        *buffers[i] = make_floats(n * 1024);
    b.w = make_floats(256);

    char what[96];
    const double weights = 2.0 * (4 * (512 + 256 + 1024 + 512) * 256 + 1024 * 256);
    print_row("empty list: submit and wait", best_of(record_nothing, NULL, 2000), 0, 0, probe);
    snprintf(what, sizeof(what), "step of a tiny model, %d rows at %d", rows, pos);
    print_row(what, best_of(record_step, &b, 2000), weights, weights * rows, probe);

    for (int l = 0; l < 4; l++) {
        backend->weight_free(b.qkv_proj[l]);
        backend->weight_free(b.o_proj[l]);
        backend->weight_free(b.gate_up_proj[l]);
        backend->weight_free(b.down_proj[l]);
    }
    backend->weight_free(b.embed);
    backend->kv_free(b.pool);
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
        backend->free(device, *buffers[i]);
    backend->free(device, tables);
    backend->free(device, b.w);
}

static bool is_wanted(const char *only, const char *group)
{
    return !only || strcmp(only, group) == 0;
}

static void bench_isa(const struct probe *probe, const char *only)
{
    static const int32_t rows[] = { 1, 2, 4, 6, 8, 12, 64, 512 };
    const bool plain = strcmp(backend->device_isa(device), "scalar") == 0;
    const double total = plain ? 64e6 : 1e9;
    const int num_rows = plain ? 2 : 8;

    if (is_wanted(only, "quant")) {
        bench_linear(DTYPE_Q8_0, 4096, 4096, total, rows, num_rows, probe);
        bench_linear(DTYPE_Q4_0, 4096, 4096, total, rows, num_rows, probe);
        bench_linear(DTYPE_Q4_K, 4096, 4096, total, rows, num_rows, probe);
        bench_linear(DTYPE_Q6_K, 4096, 4096, total, rows, num_rows, probe);
    }
    if (is_wanted(only, "linear")) {
        bench_linear(DTYPE_BF16, 4096, 4096, total, rows, num_rows, probe);
        bench_linear(DTYPE_F16, 4096, 4096, total, rows, num_rows, probe);
        bench_linear(DTYPE_F32, 2048, 2048, total / 2, rows, num_rows, probe);
        bench_linear(DTYPE_BF16, 1024, 3072, total / 4, rows, num_rows, probe);
    }
    if (is_wanted(only, "attention")) {
        bench_attention(16, 8, 128, 1, 4096, 1, plain ? 2 : 16, probe);
        bench_attention(32, 8, 128, 8, 2048, 1, plain ? 1 : 8, probe);
        if (!plain)
            bench_attention(16, 8, 128, 1, 512, 512, 4, probe);
    }
    if (is_wanted(only, "rows")) {
        bench_rows(1, 1024, probe);
        bench_rows(64, 4096, probe);
    }
    if (is_wanted(only, "step")) {
        bench_step(1, 100, probe);
        bench_step(32, 100, probe);
    }
}

int main(int argc, char **argv)
{
    static const char *const isas[] = { "avx512_vnni", "avx512", "avx2", "scalar" };
    const size_t probe_bytes = (size_t)1 << 29;
    struct error err;
    if (backend_open("cpu", &backend, &err) < 0)
        return 1;

    for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++) {
        const struct device_options options = { .num_threads = argc > 1 ? atoi(argv[1]) : 0,
                                                .isa = isas[i],
                                                .max_rows = 512,
                                                .max_ops = 256,
                                                .max_vocab = 1024 };
        if ((argc > 2 && strcmp(argv[2], isas[i]) != 0) ||
            backend->device_open(&options, &device, &err) < 0)
            continue;
        num_threads = backend->device_threads(device);
        choose_probes();
        float *data = make_floats(probe_bytes / sizeof(float));
        const struct probe probe = probe_all((const unsigned char *)data, probe_bytes);
        bench_isa(&probe, argc > 3 ? argv[3] : NULL);
        (void)probe_all((const unsigned char *)data, probe_bytes);
        backend->free(device, data);
        backend->device_close(device);
    }
    return 0;
}
