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

/* logits: [num_vocab], overwritten. Writes through the row's ret_ pointers; sets *row->bad for
 * a NaN or no finite logit (the id is then 0). Allocates nothing. */
void sample_run(struct sample_scratch *scratch, float *logits, int32_t num_vocab,
                const struct sample_row *row);

/* Uniform in [0, 1) with 24 random bits. */
float sample_uniform(uint64_t seed, uint32_t choice, uint32_t output_pos, uint32_t lane);

#endif
