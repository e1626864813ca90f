/*
 * sample.h - from one row of logits to one token: plain C, shared by backends that run on the host
 *
 * Pure functions: no state between calls, so that a row gives the same token whoever is in the
 * batch, after a preemption, and after a restart. The random number of an output position is
 * Philox4x32-10 keyed by (seed), counter (choice, output_pos, lane, 0).
 * Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11.
 */
#ifndef KERNELS_SAMPLE_H
#define KERNELS_SAMPLE_H

#include "kernels/backend.h"

struct sample_scratch; /* work space for one thread */

int sample_scratch_create(int32_t max_vocab, struct sample_scratch **ret_scratch);
void sample_scratch_destroy(struct sample_scratch *scratch);

/*
 * logits: [num_vocab], overwritten. Writes through the row's ret_ pointers. Allocates nothing.
 *
 * Each filter works on what the one before it kept: top_k counts tokens; typical_p and top_p
 * keep the fewest tokens whose share of the kept mass reaches them; min_p compares with the
 * best kept token. Of equal candidates the lower id is kept first; one token always is. The
 * draw walks the kept tokens by id until their sum passes (uniform + 2^-25) of the whole.
 * Ids of biases and tokens outside the vocabulary are passed over.
 *
 * Sets *row->bad for a NaN, an infinite logit above zero, or when none is finite or all are
 * banned: the id is then 0, the log-probabilities -INFINITY and the rank 0. With more
 * log-probabilities wanted than there are tokens the rest has the id -1.
 */
void sample_run(struct sample_scratch *scratch, float *logits, int32_t num_vocab,
                const struct sample_row *row);

/* Philox4x32-10: four words from a counter and a key. */
void sample_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t ret_words[4]);

/* Uniform in [0, 1) with 24 random bits. Drawing a token takes lane 0. */
float sample_uniform(uint64_t seed, uint32_t choice, uint32_t output_pos, uint32_t lane);

#endif
