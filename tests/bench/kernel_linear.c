#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernel_rig.h"

enum { MAX_MATRICES = 64, MAX_ROWS = 512 };

struct linear_bench {
    const struct weight *weights[MAX_MATRICES];
    int32_t num_weights, rows;
    float *x, *out;
};

static void record_linear(void *argument)
{
    const struct linear_bench *bench = argument;
    for (int32_t i = 0; i < bench->num_weights; i++)
        backend->linear(device, bench->out, bench->weights[i], NULL, bench->x, bench->rows);
}

/* --- against the plain C reference ------------------------------------------------------------ */

enum { CHECK_OUTPUTS = 100, CHECK_INPUTS = 512, CHECK_ROWS = 7 };

static void multiply(struct device *own, enum dtype dtype, const float *x, float *out)
{
    struct device *const before = device;
    device = own;
    struct weight *weight = kernel_rig_weight(dtype, CHECK_OUTPUTS, CHECK_INPUTS);
    backend->begin(device);
    backend->linear(device, out, weight, NULL, x, CHECK_ROWS);
    if (backend->submit(device) < 0 || backend->wait(device) < 0)
        exit(1);
    backend->weight_free(weight);
    device = before;
}

/* A fast kernel that computes something else is not worth its time. */
static void check(enum dtype dtype)
{
    static float x[CHECK_ROWS * CHECK_INPUTS];
    static float got[CHECK_ROWS * CHECK_OUTPUTS], wanted[CHECK_ROWS * CHECK_OUTPUTS];
    const struct device_options options = {
        .num_threads = 1, .isa = "scalar", .max_rows = CHECK_ROWS, .max_ops = 4, .max_vocab = 32
    };
    struct device *oracle;
    struct error err;
    uint64_t state = 77;
    if (backend->device_open(&options, &oracle, &err) < 0)
        exit(1);
    for (int i = 0; i < CHECK_ROWS * CHECK_INPUTS; i++)
        x[i] = (float)(kernel_rig_random(&state) >> 40) * 0x1p-23f - 1.0f;
    multiply(oracle, dtype, x, wanted);
    multiply(device, dtype, x, got);
    backend->device_close(oracle);
    for (int i = 0; i < CHECK_ROWS * CHECK_OUTPUTS; i++)
        if (!(fabsf(got[i] - wanted[i]) <= 1e-6f * CHECK_INPUTS + 1e-5f * fabsf(wanted[i]))) {
            fprintf(stderr, "linear %s: output %d is %g, in plain C %g\n", dtype_name(dtype), i,
                    (double)got[i], (double)wanted[i]);
            exit(1);
        }
}

/* --- timing ----------------------------------------------------------------------------------- */

/* `num` matrices that read `bytes` each, together called `name`. */
static void time_rows(struct linear_bench *bench, const char *name, double bytes, double sums,
                      int num_rows, const struct probe *probe)
{
    static const int32_t rows[] = { 1, 2, 4, 6, 8, 12, 64, 128, MAX_ROWS };
    const int32_t all = bench->num_weights;
    for (int i = 0; i < num_rows; i++) {
        char what[96];
        bench->rows = rows[i];
        if (bench->rows > 16) /* bound by arithmetic: a few matrices are enough */
            bench->num_weights = all < 4 ? all : 4;
        const double num = bench->num_weights;
        const struct timing time = kernel_rig_best_of(record_linear, bench, TRIALS);
        snprintf(what, sizeof(what), "linear %s, %d rows, %d matrices", name, bench->rows,
                 bench->num_weights);
        kernel_rig_print(what, time, bytes * num, 2.0 * sums * bench->rows * num, probe);
        bench->num_weights = all;
    }
}

/* Blocks are multiplied by integers. */
static struct probe limits_of(enum dtype dtype, const struct probe *probe)
{
    struct probe limits = *probe;
    if (dtype_is_quant(dtype) && probe->gop_per_s > 0.0)
        limits.gflop_per_s = probe->gop_per_s;
    return limits;
}

/* As many matrices as make up `total_bytes`, so that no cache holds them. */
static void bench_linear(enum dtype dtype, int32_t outputs, int32_t inputs, double total_bytes,
                         int num_rows, const struct probe *probe)
{
    struct linear_bench bench = { .x = kernel_rig_floats(MAX_ROWS * (size_t)inputs),
                                  .out = kernel_rig_floats(MAX_ROWS * (size_t)outputs) };
    const struct probe limits = limits_of(dtype, probe);
    const double bytes = (double)outputs * (double)dtype_row_bytes(dtype, inputs);
    struct weight *weights[MAX_MATRICES];
    char name[64];
    check(dtype);
    bench.num_weights = (int32_t)fmax(1.0, fmin(MAX_MATRICES, total_bytes / bytes));
    for (int32_t i = 0; i < bench.num_weights; i++)
        bench.weights[i] = weights[i] = kernel_rig_weight(dtype, outputs, inputs);
    snprintf(name, sizeof(name), "%s %d x %d", dtype_name(dtype), outputs, inputs);
    time_rows(&bench, name, bytes, (double)outputs * inputs, num_rows, &limits);
    for (int32_t i = 0; i < bench.num_weights; i++)
        backend->weight_free(weights[i]);
    backend->free(device, bench.x);
    backend->free(device, bench.out);
}

/* q, k and v as Q4_K_M has them in half of the layers of an 8B: two types, one operation. */
static void bench_joined(double total_bytes, int num_rows, const struct probe *probe)
{
    enum { INPUTS = 4096, FIRST = 5120, SECOND = 1024 };
    const struct store_key key = { .num_ranks = 1 };
    struct store_object objects[2 * MAX_MATRICES];
    struct linear_bench bench = { .x = kernel_rig_floats((size_t)MAX_ROWS * INPUTS),
                                  .out = kernel_rig_floats((size_t)MAX_ROWS * (FIRST + SECOND)) };
    const struct probe limits = limits_of(DTYPE_Q4_K, probe);
    const double bytes = FIRST * (double)dtype_row_bytes(DTYPE_Q4_K, INPUTS) +
                         SECOND * (double)dtype_row_bytes(DTYPE_Q6_K, INPUTS);
    struct weight_store *store;
    struct error err;
    bench.num_weights = (int32_t)fmax(1.0, fmin(MAX_MATRICES, total_bytes / bytes));
    for (int32_t i = 0; i < bench.num_weights; i++) {
        objects[2 * i] =
            (struct store_object){ .dtype = DTYPE_Q4_K, .rows = FIRST, .cols = INPUTS };
        objects[2 * i + 1] = (struct store_object){
            .dtype = DTYPE_Q6_K, .rows = SECOND, .cols = INPUTS, .is_joined = true
        };
    }
    if (backend->store_create(device, &key, objects, 2 * bench.num_weights, &store, &err) < 0)
        exit(1);
    for (int32_t i = 0; i < 2 * bench.num_weights; i++)
        kernel_rig_fill(backend->store_weight(store, i), objects[i].dtype, objects[i].rows, INPUTS);
    for (int32_t i = 0; i < bench.num_weights; i++)
        bench.weights[i] = backend->store_weight(store, 2 * i);
    time_rows(&bench, "q4_k 5120 + q6_k 1024 x 4096", bytes, (double)(FIRST + SECOND) * INPUTS,
              num_rows, &limits);
    backend->store_close(store);
    backend->free(device, bench.x);
    backend->free(device, bench.out);
}

/* --- shapes ------------------------------------------------------------------------------------
 */

struct shape {
    enum dtype dtype;
    int32_t outputs, inputs;
    double share; /* of the bytes that a row of the table reads */
};

static void bench_shapes(const struct shape *shapes, size_t num_shapes, const struct probe *probe,
                         bool plain)
{
    const double bytes = plain ? 64e6 : 1e9;
    for (size_t i = 0; i < num_shapes; i++)
        bench_linear(shapes[i].dtype, shapes[i].outputs, shapes[i].inputs, bytes * shapes[i].share,
                     plain ? 2 : 9, probe);
}

void kernel_linear_quant(const struct probe *probe, bool plain)
{
    static const struct shape shapes[] = {
        { DTYPE_Q8_0, 4096, 4096, 1.0 }, { DTYPE_Q4_0, 4096, 4096, 1.0 },
        { DTYPE_Q4_K, 4096, 4096, 1.0 }, { DTYPE_Q6_K, 4096, 4096, 1.0 },
        { DTYPE_Q4_1, 4096, 4096, 0.5 }, { DTYPE_Q5_0, 4096, 4096, 0.5 },
        { DTYPE_Q5_1, 4096, 4096, 0.5 }, { DTYPE_Q2_K, 4096, 4096, 0.25 },
        { DTYPE_Q3_K, 4096, 4096, 0.5 }, { DTYPE_Q5_K, 4096, 4096, 0.5 },
    };
    bench_shapes(shapes, sizeof(shapes) / sizeof(shapes[0]), probe, plain);
    bench_joined(plain ? 64e6 : 1e9, plain ? 2 : 9, probe);
}

void kernel_linear_float(const struct probe *probe, bool plain)
{
    static const struct shape shapes[] = { { DTYPE_BF16, 4096, 4096, 1.0 },
                                           { DTYPE_F16, 4096, 4096, 1.0 },
                                           { DTYPE_F32, 2048, 2048, 0.5 },
                                           { DTYPE_BF16, 1024, 3072, 0.25 } };
    bench_shapes(shapes, sizeof(shapes) / sizeof(shapes[0]), probe, plain);
}
