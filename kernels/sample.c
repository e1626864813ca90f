#include "kernels/sample.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/candidates.h"
#include "kernels/row.h"

static const float greedy_below = 1e-5f;
static const float min_temperature = 0.01f;

struct sample_scratch {
    int32_t max_vocab;
    struct candidates candidates;
    uint32_t *counts; /* [max_vocab], all 0 between uses */
};

int sample_scratch_create(int32_t max_vocab, struct sample_scratch **ret_scratch)
{
    struct sample_scratch *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    s->max_vocab = max_vocab;
    s->counts = calloc((size_t)max_vocab, sizeof(*s->counts));
    if (s->counts == NULL || candidates_init(&s->candidates, max_vocab) < 0) {
        sample_scratch_destroy(s);
        return -ENOMEM;
    }
    *ret_scratch = s;
    return 0;
}

void sample_scratch_destroy(struct sample_scratch *scratch)
{
    if (scratch == NULL)
        return;
    candidates_finish(&scratch->candidates);
    free(scratch->counts);
    free(scratch);
}

void sample_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t ret_words[4])
{
    uint32_t c[4] = { counter[0], counter[1], counter[2], counter[3] };
    uint32_t k[2] = { key[0], key[1] };
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53U * c[0];
        const uint64_t b = (uint64_t)0xCD9E8D57U * c[2];
        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k[0];
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k[1];
        c[3] = (uint32_t)a;
        k[0] += 0x9E3779B9U;
        k[1] += 0xBB67AE85U;
    }
    memcpy(ret_words, c, sizeof(c));
}

float sample_uniform(uint64_t seed, uint32_t choice, uint32_t output_pos, uint32_t lane)
{
    const uint32_t counter[4] = { choice, output_pos, lane, 0 };
    const uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
    uint32_t words[4];
    sample_philox(counter, key, words);
    return (float)(words[0] >> 8) * 0x1p-24f;
}

static double log_sum_exp(struct sample_scratch *s, const float *logits, int32_t num, float max)
{
    row_exp(s->candidates.weights, logits, num, max, 1.0f);
    return (double)max + log(row_sum(s->candidates.weights, num));
}

/* Raw log-probabilities of the best row->num_logprobs tokens into entries 1 and up. */
static void take_top_logprobs(const struct sample_row *row, const float *logits, int32_t num_vocab,
                              double lse)
{
    float *top = row->ret_logprobs + 1;
    int32_t *ids = row->ret_ids + 1;
    const int32_t wanted = row->num_logprobs;
    int32_t num = 0;
    for (int32_t i = 0; wanted > 0 && i < num_vocab; i++) {
        if (num == wanted && !(logits[i] > top[num - 1]))
            continue;
        int32_t at = num < wanted ? num++ : num - 1;
        for (; at > 0 && logits[i] > top[at - 1]; at--) {
            top[at] = top[at - 1];
            ids[at] = ids[at - 1];
        }
        top[at] = logits[i];
        ids[at] = i;
    }
    for (int32_t i = 0; i < num; i++)
        top[i] = (float)((double)top[i] - lse);
    for (int32_t i = num; i < wanted; i++) {
        top[i] = -INFINITY;
        ids[i] = -1;
    }
}

static int32_t rank_of(const float *logits, int32_t num_vocab, int32_t id)
{
    int32_t rank = 1;
    for (int32_t i = 0; i < id; i++)
        rank += logits[i] >= logits[id];
    for (int32_t i = id + 1; i < num_vocab; i++)
        rank += logits[i] > logits[id];
    return rank;
}

static bool is_token(int32_t id, int32_t num_vocab)
{
    return id >= 0 && id < num_vocab;
}

static void apply_banned(float *scores, int32_t num_vocab, const uint32_t *banned)
{
    for (int32_t i = 0; i < num_vocab; i += 32) {
        uint32_t bits = banned[i / 32];
        for (; bits != 0; bits &= bits - 1) {
            const int32_t id = i + __builtin_ctz(bits);
            if (id < num_vocab)
                scores[id] = -INFINITY;
        }
    }
}

static int32_t token_at(const struct sample_row *row, int32_t t)
{
    return t == row->num_tokens - 1 && row->last_token != NULL ? *row->last_token : row->tokens[t];
}

static void apply_repetition(struct sample_scratch *s, int32_t num_vocab,
                             const struct sample_row *row)
{
    const float r = row->repetition_penalty;
    for (int32_t t = 0; t < row->num_tokens; t++) {
        const int32_t id = token_at(row, t);
        if (!is_token(id, num_vocab) || s->counts[id]++ > 0)
            continue;
        s->candidates.scores[id] = s->candidates.scores[id] > 0.0f ? s->candidates.scores[id] / r
                                                                   : s->candidates.scores[id] * r;
    }
    for (int32_t t = 0; t < row->num_tokens; t++)
        if (is_token(token_at(row, t), num_vocab))
            s->counts[token_at(row, t)] = 0;
}

static void apply_frequency_and_presence(struct sample_scratch *s, int32_t num_vocab,
                                         const struct sample_row *row)
{
    for (int32_t t = row->num_prompt; t < row->num_tokens; t++)
        if (is_token(token_at(row, t), num_vocab))
            s->counts[token_at(row, t)]++;
    for (int32_t t = row->num_prompt; t < row->num_tokens; t++) {
        const int32_t id = token_at(row, t);
        if (!is_token(id, num_vocab) || s->counts[id] == 0)
            continue;
        s->candidates.scores[id] -=
            row->frequency_penalty * (float)s->counts[id] + row->presence_penalty;
        s->counts[id] = 0;
    }
}

/* Mask, bias and penalties, in this order, into s->candidates.scores. */
static void process_scores(struct sample_scratch *s, const float *logits, int32_t num_vocab,
                           const struct sample_row *row)
{
    memcpy(s->candidates.scores, logits, (size_t)num_vocab * sizeof(*logits));
    if (row->banned != NULL)
        apply_banned(s->candidates.scores, num_vocab, row->banned);
    for (int32_t i = 0; i < row->num_biases; i++)
        if (is_token(row->biases[i].token_id, num_vocab))
            s->candidates.scores[row->biases[i].token_id] += row->biases[i].bias;
    if (row->repetition_penalty > 0.0f && row->repetition_penalty != 1.0f)
        apply_repetition(s, num_vocab, row);
    if (row->frequency_penalty != 0.0f || row->presence_penalty != 0.0f)
        apply_frequency_and_presence(s, num_vocab, row);
}

static int32_t find_id(const float *values, int32_t num, float value)
{
    int32_t i = 0;
    while (i < num - 1 && values[i] != value)
        i++;
    return i;
}

/* Returns the token, or -1 when nothing can be drawn. */
static int32_t choose(struct sample_scratch *s, const float *logits, int32_t num_vocab,
                      const struct sample_row *row)
{
    struct candidates *c = &s->candidates;
    process_scores(s, logits, num_vocab, row);
    const float best = row_max(s->candidates.scores, num_vocab);
    if (!isfinite(best))
        return -1;
    if (row->temperature < greedy_below)
        return find_id(s->candidates.scores, num_vocab, best);
    const float temperature = fmaxf(row->temperature, min_temperature);
    candidates_begin(c, num_vocab);
    candidates_top_k(c, row->top_k);
    candidates_set_weights(c, best, temperature);
    candidates_typical_p(c, row->typical_p, best, temperature);
    candidates_top_p(c, row->top_p);
    candidates_min_p(c, row->min_p);
    return candidates_draw(c, sample_uniform(row->seed, row->choice, row->output_pos, 0));
}

static void give_id(const struct sample_row *row, int32_t id)
{
    *row->ret_id = id;
    if (row->ret_own_id != NULL)
        *row->ret_own_id = id;
}

static void give_bad(const struct sample_row *row)
{
    if (row->bad != NULL)
        *row->bad = true;
    give_id(row, 0);
    if (row->ret_rank != NULL)
        *row->ret_rank = 0;
    for (int32_t i = 0; i <= row->num_logprobs; i++) {
        row->ret_logprobs[i] = -INFINITY;
        row->ret_ids[i] = i == 0 ? 0 : -1;
    }
}

void sample_run(struct sample_scratch *scratch, float *logits, int32_t num_vocab,
                const struct sample_row *row)
{
    assert(num_vocab > 0 && num_vocab <= scratch->max_vocab);
    const float best = row_max(logits, num_vocab);
    int32_t id = -1;
    if (isfinite(best))
        id = row->forced_id >= 0 ? row->forced_id : choose(scratch, logits, num_vocab, row);
    if (!is_token(id, num_vocab)) {
        give_bad(row);
        return;
    }
    give_id(row, id);
    if (row->ret_rank != NULL)
        *row->ret_rank = rank_of(logits, num_vocab, id);
    if (row->num_logprobs < 0)
        return;
    const double lse = log_sum_exp(scratch, logits, num_vocab, best);
    row->ret_logprobs[0] = (float)((double)logits[id] - lse);
    row->ret_ids[0] = id;
    take_top_logprobs(row, logits, num_vocab, lse);
}
