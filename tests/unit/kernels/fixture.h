/*
 * fixture.h - devices of every instruction set there is, random numbers, guarded memory
 *
 * A test takes the numbers of threads and instruction sets from here, computes the expected
 * values in double by its own plain loops, and compares within the tolerances of
 * kernels/README.md.
 */
#ifndef TESTS_UNIT_KERNELS_FIXTURE_H
#define TESTS_UNIT_KERNELS_FIXTURE_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/backend.h"

extern const struct backend *fixture_backend;
/* NULL at the end; the machine may lack some. The second: with those whose linear layers of float
 * weights are their own. */
extern const char *const fixture_isas[], *const fixture_linear_isas[];

/* A device, or NULL when the machine lacks the instruction set. */
struct device *fixture_open(const char *isa, int32_t num_threads);

/* TEST_SAMPLE is set, as on an emulated machine, which is slow: some cases stand for all. */
bool fixture_is_sampled(void);

/* Call test() with a device of each instruction set and 1 and 3 threads. The scalar one, which
 * takes far longer than all others, is on 3 alone, and no part of a sample. */
void fixture_each_device(void (*test)(struct device *device));
void fixture_each_linear(void (*test)(struct device *device));

/* Reproducible numbers: uniform in [-1, 1), or whole in [0, bound). */
float fixture_random(void);
int32_t fixture_random_below(int32_t bound);
void fixture_fill(float *out, size_t num);

/* `num` floats between two guards, filled with a pattern; finish() fails the test when a guard
 * was overwritten. */
float *fixture_guarded(size_t num);
void fixture_guarded_finish(float *data, size_t num);

/* Fails with `what` and the index where |got - wanted| > absolute + relative |wanted|. */
void fixture_compare(const char *what, const float *got, const double *wanted, size_t num,
                     double absolute, double relative);
bool fixture_equal_bits(const float *a, const float *b, size_t num);

/* Round to a type and give its bits (16-bit types in the low half). */
uint32_t fixture_encode(enum dtype dtype, float value);
double fixture_decode(enum dtype dtype, uint32_t bits);

/* Values of one head as pages of a type hold them: each first as a float, then to the nearest of
 * the type, ties to even; by the definition of the type, in double. */
void fixture_round(enum dtype dtype, double *x, int32_t num);

/* `num` random elements of a type, malloc'ed; *ret_values: what they hold. */
void *fixture_matrix(enum dtype dtype, size_t num, float scale, double **ret_values);

/* Run what was recorded since begin(). */
void fixture_run(struct device *device);

int fixture_main(Suite *suite);

#endif
