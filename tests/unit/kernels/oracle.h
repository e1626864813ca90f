/*
 * oracle.h - what a row of logits should be drawn from, the plain way: sorted, in double
 *
 * For tests of the sampler and of all that leads to it. Source: the order of backend.h, the
 * formulas of docs/api.md.
 */
#ifndef TESTS_UNIT_KERNELS_ORACLE_H
#define TESTS_UNIT_KERNELS_ORACLE_H

#include "kernels/sample.h"

enum { ORACLE_MAX_VOCAB = 128 };

/* The probability of each token, 0 for those that are filtered. The row must not be greedy. */
void oracle_probabilities(const float *logits, int32_t num_vocab, const struct sample_row *row,
                          double *ret_p);

/*
 * Is it plausible that `seen` was drawn from `p`? NULL, or what is wrong: a token that cannot be
 * drawn, or a chi-square above the value that chance passes once in 100,000 (Wilson and
 * Hilferty). With fixed seeds the answer is always the same.
 */
const char *oracle_doubt(const int32_t *seen, const double *p, int32_t num_vocab);

/* Is `id` where the running sum of `p` passes the uniform number, to rounding? */
bool oracle_explains(const double *p, int32_t num_vocab, float uniform, int32_t id);

#endif
