#include <math.h>
#include <stdio.h>

#include "kernel_rig.h"

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
                         int num_rows, const struct probe *probe)
{
    static const int32_t rows[] = { 1, 2, 4, 6, 8, 12, 64, 512 };
    struct linear_bench bench = { .x = kernel_rig_floats(512 * (size_t)inputs),
                                  .out = kernel_rig_floats(512 * (size_t)outputs) };
    const double bytes = (double)outputs * (double)dtype_row_bytes(dtype, inputs);
    bench.num_weights = (int32_t)fmax(1.0, fmin(64.0, total_bytes / bytes));
    for (int32_t i = 0; i < bench.num_weights; i++)
        bench.weights[i] = kernel_rig_weight(dtype, outputs, inputs);

    for (int i = 0; i < num_rows; i++) {
        char what[96];
        bench.rows = rows[i];
        const double flops = 2.0 * outputs * inputs * bench.rows;
        const int32_t all = bench.num_weights;
        if (bench.rows > 16) /* bound by arithmetic: a few matrices are enough */
            bench.num_weights = all < 4 ? all : 4;
        const struct timing time = kernel_rig_best_of(record_linear, &bench, TRIALS);
        snprintf(what, sizeof(what), "linear %s %d x %d, %d rows, %d matrices", dtype_name(dtype),
                 outputs, inputs, bench.rows, bench.num_weights);
        struct probe limits = *probe;
        if (dtype_is_quant(dtype) && probe->gop_per_s > 0.0)
            limits.gflop_per_s = probe->gop_per_s;
        kernel_rig_print(what, time, bytes * bench.num_weights, flops * bench.num_weights, &limits);
        bench.num_weights = all;
    }
    for (int32_t i = 0; i < bench.num_weights; i++)
        backend->weight_free(bench.weights[i]);
    backend->free(device, bench.x);
    backend->free(device, bench.out);
}

struct shape {
    enum dtype dtype;
    int32_t outputs, inputs;
    double share; /* of the bytes that a row of the table reads */
};

static void bench_shapes(const struct shape *shapes, int num_shapes, const struct probe *probe,
                         bool plain)
{
    const double bytes = plain ? 64e6 : 1e9;
    for (int i = 0; i < num_shapes; i++)
        bench_linear(shapes[i].dtype, shapes[i].outputs, shapes[i].inputs, bytes * shapes[i].share,
                     plain ? 2 : 8, probe);
}

void kernel_linear_quant(const struct probe *probe, bool plain)
{
    static const struct shape shapes[] = { { DTYPE_Q8_0, 4096, 4096, 1.0 },
                                           { DTYPE_Q4_0, 4096, 4096, 1.0 },
                                           { DTYPE_Q4_K, 4096, 4096, 1.0 },
                                           { DTYPE_Q6_K, 4096, 4096, 1.0 } };
    bench_shapes(shapes, 4, probe, plain);
}

void kernel_linear_float(const struct probe *probe, bool plain)
{
    static const struct shape shapes[] = { { DTYPE_BF16, 4096, 4096, 1.0 },
                                           { DTYPE_F16, 4096, 4096, 1.0 },
                                           { DTYPE_F32, 2048, 2048, 0.5 },
                                           { DTYPE_BF16, 1024, 3072, 0.25 } };
    bench_shapes(shapes, 4, probe, plain);
}
