/*
 * kernel_rig.h - one open device for bench_kernels' subjects: random data, trials, rows of results
 *
 * A subject is a file: it holds a function that records the operation, one that times a shape of
 * it, and a table of shapes. Whatever fails ends the program.
 */
#ifndef TESTS_BENCH_KERNEL_RIG_H
#define TESTS_BENCH_KERNEL_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel_probe.h"
#include "kernels/backend.h"

enum { TRIALS = 7 };

extern const struct backend *backend;
extern struct device *device;
extern int32_t num_threads;

/* Seconds since some start; it never goes back. */
double kernel_rig_now_s(void);

/* xorshift64: numbers without structure, quickly. */
uint64_t kernel_rig_random(uint64_t *state);

/* Memory of the device, filled with numbers within [-1, 1); give it back to backend->free. */
float *kernel_rig_floats(size_t num);

/* A matrix [rows][cols] of random weights or blocks within some [-2, 2). */
struct weight *kernel_rig_weight(enum dtype dtype, int32_t rows, int32_t cols);

/* Random rows into a matrix: the same each time. */
void kernel_rig_fill(struct weight *weight, enum dtype dtype, int32_t rows, int32_t cols);

/*
 * Of one submit, best of the trials: of wall time, and of CPU time per thread, which others on the
 * machine disturb less; it is counted in ticks and says nothing of less than some 20 ms.
 */
struct timing {
    double wall_s, cpu_s;
};

/* Time record() between begin() and wait(). */
struct timing kernel_rig_best_of(void (*record)(void *), void *argument, int trials);

/* One line: `bytes` that had to be read and `flops` that had to be made, as shares of the probe. */
void kernel_rig_print(const char *what, struct timing time, double bytes, double flops,
                      const struct probe *probe);

/*
 * The subjects. `plain` is set for the plain C reference, which is slow: fewer shapes and less
 * data are enough for it.
 */
void kernel_linear_quant(const struct probe *probe, bool plain);
void kernel_linear_scaled(const struct probe *probe, bool plain);
void kernel_linear_float(const struct probe *probe, bool plain);
void kernel_attention_bench(const struct probe *probe, bool plain);
void kernel_step_rows(const struct probe *probe, bool plain);
void kernel_step_bench(const struct probe *probe, bool plain);

#endif
