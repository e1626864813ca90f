#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernel_rig.h"

const struct backend *backend;
struct device *device;
int32_t num_threads;

static double read_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double kernel_rig_now_s(void)
{
    return read_s(CLOCK_MONOTONIC);
}

uint64_t kernel_rig_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void fill(float *out, size_t num)
{
    uint64_t state = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < num; i++)
        out[i] = (float)(kernel_rig_random(&state) >> 40) * 0x1p-23f - 1.0f;
}

float *kernel_rig_floats(size_t num)
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
        const float value = (float)(kernel_rig_random(state) >> 40) * 0x1p-23f - 1.0f;
        uint32_t bits;
        memcpy(&bits, &value, 4);
        if (dtype == DTYPE_BF16)
            bits >>= 16;
        else if (dtype == DTYPE_F16) /* sign, exponent 12 to 15, mantissa */
            bits = (bits >> 16 & 0x8000) | 0x3000 | (bits & 0xfff);
        memcpy(rows + i * dtype_bytes(dtype), &bits, dtype_bytes(dtype));
    }
}

/* Where the 16-bit floats of a block lie: one, or a scale and what minima are multiplied by. */
static const struct {
    size_t at[2];
} scales_of[] = {
    [DTYPE_Q8_0] = { { 0, 0 } },     [DTYPE_Q4_0] = { { 0, 0 } },   [DTYPE_Q4_K] = { { 0, 2 } },
    [DTYPE_Q6_K] = { { 208, 208 } }, [DTYPE_Q4_1] = { { 0, 2 } },   [DTYPE_Q5_0] = { { 0, 0 } },
    [DTYPE_Q5_1] = { { 0, 2 } },     [DTYPE_Q2_K] = { { 80, 82 } }, [DTYPE_Q3_K] = { { 108, 108 } },
    [DTYPE_Q5_K] = { { 0, 2 } },
};

/* 32 rows of random blocks, whose scales are 2^-10 and more. */
static void fill_blocks(enum dtype dtype, int32_t cols, unsigned char *rows, uint64_t *state)
{
    const size_t size = dtype_row_bytes(dtype, dtype_block(dtype));
    const size_t num = 32 * (size_t)(cols / dtype_block(dtype));
    for (size_t i = 0; i < num * size; i++)
        rows[i] = (unsigned char)(kernel_rig_random(state) >> 32);
    for (size_t i = 0; i < 2 * num; i++) {
        unsigned char *scale = rows + i / 2 * size + scales_of[dtype].at[i % 2];
        scale[1] = (unsigned char)((scale[1] & 0x83) | 0x14);
    }
}

void kernel_rig_fill(struct weight *weight, enum dtype dtype, int32_t rows, int32_t cols)
{
    unsigned char *panel = malloc(32 * dtype_row_bytes(dtype, cols));
    uint64_t state = 0x1234567;
    for (int32_t first = 0; panel && first < rows; first += 32) {
        (dtype_is_quant(dtype) ? fill_blocks : fill_rows)(dtype, cols, panel, &state);
        backend->weight_load(weight, first, rows - first < 32 ? rows - first : 32, panel);
    }
    free(panel);
}

struct weight *kernel_rig_weight(enum dtype dtype, int32_t rows, int32_t cols)
{
    struct weight *weight;
    struct error err;
    if (backend->weight_alloc(device, dtype, rows, cols, &weight, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    kernel_rig_fill(weight, dtype, rows, cols);
    return weight;
}

struct timing kernel_rig_best_of(void (*record)(void *), void *argument, int trials)
{
    struct timing best = { 1e9, 1e9 };
    for (int trial = 0; trial < trials; trial++) {
        const double start_s = kernel_rig_now_s(), start_cpu_s = read_s(CLOCK_PROCESS_CPUTIME_ID);
        backend->begin(device);
        record(argument);
        backend->submit(device);
        backend->wait(device);
        best.wall_s = fmin(best.wall_s, kernel_rig_now_s() - start_s);
        best.cpu_s =
            fmin(best.cpu_s, (read_s(CLOCK_PROCESS_CPUTIME_ID) - start_cpu_s) / num_threads);
    }
    return best;
}

void kernel_rig_print(const char *what, struct timing time, double bytes, double flops,
                      const struct probe *probe)
{
    const double gb = bytes / time.wall_s * 1e-9, gflop = flops / time.wall_s * 1e-9;
    printf("%-11s %-46s %9.1f us  cpu %9.1f us  %6.2f GB/s %4.0f %%  %6.1f GFLOP/s %4.0f %%\n",
           backend->device_isa(device), what, time.wall_s * 1e6, time.cpu_s * 1e6, gb,
           100 * gb / probe->gb_per_s, gflop, 100 * gflop / probe->gflop_per_s);
}
