#include "sampler.h"

#include <check.h>
#include <math.h>
#include <string.h>

#include "oracle.h"

enum { DRAWS = 20000 };

struct sampler sampler;

void sampler_open(void)
{
    sampler = (struct sampler){ 0 };
    ck_assert_int_eq(sample_scratch_create(SAMPLER_WIDE, &sampler.scratch), 0);
}

void sampler_close(void)
{
    sample_scratch_destroy(sampler.scratch);
}

struct sample_row sampler_row(float temperature)
{
    return (struct sample_row){ .temperature = temperature,
                                .top_p = 1.0f,
                                .typical_p = 1.0f,
                                .repetition_penalty = 1.0f,
                                .num_logprobs = -1,
                                .forced_id = -1,
                                .bad = &sampler.bad,
                                .ret_id = &sampler.id,
                                .ret_logprobs = sampler.logprobs,
                                .ret_ids = sampler.logprob_ids,
                                .ret_rank = &sampler.rank };
}

int32_t sampler_run(const float *logits, int32_t num_vocab, const struct sample_row *row)
{
    static float copy[SAMPLER_WIDE];
    memcpy(copy, logits, (size_t)num_vocab * sizeof(*logits));
    sample_run(sampler.scratch, copy, num_vocab, row);
    return sampler.id;
}

void sampler_fill(float *ret_logits, int32_t num, uint32_t lane)
{
    for (int32_t i = 0; i < num; i++) {
        float sum = -6.0f;
        for (uint32_t k = 0; k < 12; k++)
            sum += sample_uniform(77, k, (uint32_t)i, lane);
        ret_logits[i] = roundf(sum * 20.0f) / 10.0f;
    }
}

void sampler_check(const float *logits, struct sample_row row)
{
    double p[SAMPLER_VOCAB];
    int32_t seen[SAMPLER_VOCAB] = { 0 };
    oracle_probabilities(logits, SAMPLER_VOCAB, &row, p);
    for (uint32_t i = 0; i < DRAWS; i++) {
        row.output_pos = i;
        seen[sampler_run(logits, SAMPLER_VOCAB, &row)]++;
    }
    ck_assert(!sampler.bad);
    const char *doubt = oracle_doubt(seen, p, SAMPLER_VOCAB);
    ck_assert_msg(doubt == NULL, "%s", doubt);
}
