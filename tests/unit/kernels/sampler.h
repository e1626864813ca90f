/*
 * sampler.h - one row of logits at a time through sample_run(), for tests
 */
#ifndef TESTS_UNIT_KERNELS_SAMPLER_H
#define TESTS_UNIT_KERNELS_SAMPLER_H

#include "kernels/sample.h"

enum { SAMPLER_VOCAB = 64, SAMPLER_WIDE = 151936, SAMPLER_MAX_LOGPROBS = 20 };

/* What the last row gave. */
struct sampler {
    struct sample_scratch *scratch;
    bool bad;
    int32_t id, rank;
    float logprobs[1 + SAMPLER_MAX_LOGPROBS];
    int32_t logprob_ids[1 + SAMPLER_MAX_LOGPROBS];
};

extern struct sampler sampler;

/* A fixture. */
void sampler_open(void);
void sampler_close(void);

/* Nothing but the temperature. */
struct sample_row sampler_row(float temperature);

/* Returns the token. */
int32_t sampler_run(const float *logits, int32_t num_vocab, const struct sample_row *row);

/* Logits without structure: about normal; in tenths, so that some are equal. */
void sampler_fill(float *ret_logits, int32_t num, uint32_t lane);

/* Draw of a row of SAMPLER_VOCAB logits often, and compare with oracle.h. */
void sampler_check(const float *logits, struct sample_row row);

#endif
