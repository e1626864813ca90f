#include "kernels/sample.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LANES =
        8, /* sums run in so many strands, added in order: fixed, and the compiler can use SIMD */
    BLOCK = 512, /* candidates per partial sum of a draw */
    DIGIT_BITS = 11,
    DIGITS = 1 << DIGIT_BITS,
};

static const float greedy_below = 1e-5f;
static const float min_temperature = 0.01f;

/* What is still kept, in the order of the ids. */
struct sample_scratch {
    int32_t max_vocab;
    int32_t num;
    int32_t *ids;      /* [max_vocab] */
    float *scores;     /* [max_vocab] logits after bias and penalties */
    float *weights;    /* [max_vocab] exp((score - best) / temperature) */
    uint32_t *keys;    /* [max_vocab] order of a filter: a greater key is kept first */
    uint32_t *counts;  /* [max_vocab], all 0 between uses */
    double *digit_sum; /* [DIGITS] */
};

int sample_scratch_create(int32_t max_vocab, struct sample_scratch **ret_scratch)
{
    struct sample_scratch *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    const size_t n = (size_t)max_vocab;
    s->max_vocab = max_vocab;
    s->ids = calloc(n, sizeof(*s->ids));
    s->scores = calloc(n, sizeof(*s->scores));
    s->weights = calloc(n, sizeof(*s->weights));
    s->keys = calloc(n, sizeof(*s->keys));
    s->counts = calloc(n, sizeof(*s->counts));
    s->digit_sum = calloc(DIGITS, sizeof(*s->digit_sum));
    if (s->ids == NULL || s->scores == NULL || s->weights == NULL || s->keys == NULL ||
        s->counts == NULL || s->digit_sum == NULL) {
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
    free(scratch->ids);
    free(scratch->scores);
    free(scratch->weights);
    free(scratch->keys);
    free(scratch->counts);
    free(scratch->digit_sum);
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

/* exp(x) for x <= 0 to about 1e-7 of its value, 0 below -87: in plain operations, so that it
 * vectorizes and gives the same bits everywhere. x = n ln 2 + r, then Taylor in |r| <= 0.35. */
static inline float exp_nonpositive(float x)
{
    const float shift = 0x1.8p23f; /* adding it rounds to an integer in the low bits */
    const float kept = x < -87.0f ? -87.0f : x;
    const float shifted = kept * 1.44269504f + shift;
    const float n = shifted - shift;
    const float r = (kept - n * 0.693359375f) - n * -2.12194440e-4f;
    float y = 1.0f / 5040;
    y = y * r + 1.0f / 720;
    y = y * r + 1.0f / 120;
    y = y * r + 1.0f / 24;
    y = y * r + 1.0f / 6;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof(bits));
    bits = (bits << 23) + 0x3F800000U; /* 2^n; what lies above the 9 low bits of n falls out */
    float scale;
    memcpy(&scale, &bits, sizeof(scale));
    return x < -87.0f ? 0.0f : y * scale;
}

static double sum_block(const float *values, int32_t num)
{
    double sums[LANES] = { 0 };
    int32_t i = 0;
    for (; i + LANES <= num; i += LANES)
        for (int j = 0; j < LANES; j++)
            sums[j] += (double)values[i + j];
    double sum = 0.0;
    for (int j = 0; j < LANES; j++)
        sum += sums[j];
    for (; i < num; i++)
        sum += (double)values[i];
    return sum;
}

static double sum_all(const float *values, int32_t num)
{
    double sum = 0.0;
    for (int32_t i = 0; i < num; i += BLOCK)
        sum += sum_block(values + i, num - i < BLOCK ? num - i : BLOCK);
    return sum;
}

/* The greatest value; NaN when there is one. */
static float find_max(const float *values, int32_t num)
{
    float max[LANES], nan[LANES];
    for (int j = 0; j < LANES; j++) {
        max[j] = -INFINITY;
        nan[j] = 0.0f;
    }
    int32_t i = 0;
    for (; i + LANES <= num; i += LANES)
        for (int j = 0; j < LANES; j++) {
            const float v = values[i + j];
            max[j] = v > max[j] ? v : max[j];
            nan[j] = v != v ? 1.0f : nan[j];
        }
    for (; i < num; i++) {
        max[0] = values[i] > max[0] ? values[i] : max[0];
        nan[0] = values[i] != values[i] ? 1.0f : nan[0];
    }
    for (int j = 1; j < LANES; j++) {
        max[0] = max[j] > max[0] ? max[j] : max[0];
        nan[0] += nan[j];
    }
    return nan[0] > 0.0f ? NAN : max[0];
}

static double log_sum_exp(struct sample_scratch *s, const float *logits, int32_t num, float max)
{
    for (int32_t i = 0; i < num; i++)
        s->weights[i] = exp_nonpositive(logits[i] - max);
    return (double)max + log(sum_all(s->weights, num));
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

static void apply_repetition(struct sample_scratch *s, int32_t num_vocab,
                             const struct sample_row *row)
{
    const float r = row->repetition_penalty;
    for (int32_t t = 0; t < row->num_tokens; t++) {
        const int32_t id = row->tokens[t];
        if (!is_token(id, num_vocab) || s->counts[id]++ > 0)
            continue;
        s->scores[id] = s->scores[id] > 0.0f ? s->scores[id] / r : s->scores[id] * r;
    }
    for (int32_t t = 0; t < row->num_tokens; t++)
        if (is_token(row->tokens[t], num_vocab))
            s->counts[row->tokens[t]] = 0;
}

static void apply_frequency_and_presence(struct sample_scratch *s, int32_t num_vocab,
                                         const struct sample_row *row)
{
    for (int32_t t = row->num_prompt; t < row->num_tokens; t++)
        if (is_token(row->tokens[t], num_vocab))
            s->counts[row->tokens[t]]++;
    for (int32_t t = row->num_prompt; t < row->num_tokens; t++) {
        const int32_t id = row->tokens[t];
        if (!is_token(id, num_vocab) || s->counts[id] == 0)
            continue;
        s->scores[id] -= row->frequency_penalty * (float)s->counts[id] + row->presence_penalty;
        s->counts[id] = 0;
    }
}

/* Mask, bias and penalties, in this order, into s->scores. */
static void process_scores(struct sample_scratch *s, const float *logits, int32_t num_vocab,
                           const struct sample_row *row)
{
    memcpy(s->scores, logits, (size_t)num_vocab * sizeof(*logits));
    if (row->banned != NULL)
        apply_banned(s->scores, num_vocab, row->banned);
    for (int32_t i = 0; i < row->num_biases; i++)
        if (is_token(row->biases[i].token_id, num_vocab))
            s->scores[row->biases[i].token_id] += row->biases[i].bias;
    if (row->repetition_penalty > 0.0f && row->repetition_penalty != 1.0f)
        apply_repetition(s, num_vocab, row);
    if (row->frequency_penalty != 0.0f || row->presence_penalty != 0.0f)
        apply_frequency_and_presence(s, num_vocab, row);
}

/* An unsigned number that orders as the float does; both zeros are one. */
static inline uint32_t order_key(float value)
{
    const float v = value + 0.0f;
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

/* Keep those with a key above `key`, and of those equal to it the first `num_equal`. */
struct cut {
    uint32_t key;
    int32_t num_equal;
};

/* What a candidate counts: its weight, or 1 when a number of tokens is wanted. */
static double measure(const struct sample_scratch *s, bool by_weight, int32_t i)
{
    return by_weight ? (double)s->weights[i] : 1.0;
}

/* Of the candidates whose key begins as `key` above the digit, find the digit that brings the
 * sum of all that are kept first to `target`; *sum grows by what lies above that digit. */
static uint32_t find_digit(struct sample_scratch *s, bool by_weight, uint32_t key, int shift,
                           double target, double *sum)
{
    const uint32_t above = shift + DIGIT_BITS >= 32 ? 0 : ~0U << (shift + DIGIT_BITS);
    int32_t lowest = DIGITS, digit = 0;
    memset(s->digit_sum, 0, DIGITS * sizeof(*s->digit_sum));
    for (int32_t i = 0; i < s->num; i++) {
        if (((s->keys[i] ^ key) & above) != 0)
            continue;
        const int32_t d = (int32_t)((s->keys[i] >> shift) & (DIGITS - 1));
        s->digit_sum[d] += measure(s, by_weight, i);
        lowest = d < lowest ? d : lowest;
        digit = d > digit ? d : digit;
    }
    for (; digit > lowest && *sum + s->digit_sum[digit] < target; digit--)
        *sum += s->digit_sum[digit];
    return (uint32_t)digit;
}

/* The fewest candidates, greatest keys first, whose measures reach `target`: a radix search, so
 * that nothing is sorted however wide the vocabulary. */
static struct cut find_cut(struct sample_scratch *s, bool by_weight, double target)
{
    static const int shifts[] = { 21, 10, 0 };
    struct cut cut = { 0 };
    double sum = 0.0;
    for (int i = 0; i < 3; i++) {
        const uint32_t digit = find_digit(s, by_weight, cut.key, shifts[i], target, &sum);
        cut.key |= digit << shifts[i];
    }
    for (int32_t i = 0; i < s->num && (cut.num_equal == 0 || sum < target); i++)
        if (s->keys[i] == cut.key) {
            sum += measure(s, by_weight, i);
            cut.num_equal++;
        }
    return cut;
}

static void keep(struct sample_scratch *s, struct cut cut)
{
    int32_t num = 0;
    for (int32_t i = 0; i < s->num; i++) {
        const bool equal = s->keys[i] == cut.key;
        if (s->keys[i] < cut.key || (equal && cut.num_equal-- <= 0))
            continue;
        s->ids[num] = s->ids[i];
        s->scores[num] = s->scores[i];
        s->weights[num] = s->weights[i];
        num++;
    }
    s->num = num;
}

static void set_score_keys(struct sample_scratch *s)
{
    for (int32_t i = 0; i < s->num; i++)
        s->keys[i] = order_key(s->scores[i]);
}

static void keep_finite(struct sample_scratch *s, int32_t num_vocab)
{
    int32_t num = 0;
    for (int32_t i = 0; i < num_vocab; i++) {
        s->ids[num] = i;
        s->scores[num] = s->scores[i];
        num += s->scores[num] > -INFINITY;
    }
    s->num = num;
}

static void filter_top_k(struct sample_scratch *s, int32_t top_k)
{
    if (top_k <= 0 || top_k >= s->num)
        return;
    set_score_keys(s);
    keep(s, find_cut(s, false, (double)top_k));
}

static void set_weights(struct sample_scratch *s, float best, float temperature)
{
    const float scale = 1.0f / temperature;
    for (int32_t i = 0; i < s->num; i++)
        s->weights[i] = exp_nonpositive((s->scores[i] - best) * scale);
}

/* Keep what is nearest to the expected information of the distribution.
 * Source: Meister et al., "Locally typical sampling", arXiv:2202.00666. */
static void filter_typical_p(struct sample_scratch *s, float typical_p, float best,
                             float temperature)
{
    if (!(typical_p < 1.0f))
        return;
    const double sum = sum_all(s->weights, s->num), log_sum = log(sum);
    const double scale = 1.0 / (double)temperature;
    double entropy = 0.0;
    for (int32_t i = 0; i < s->num; i++)
        if (s->weights[i] > 0.0f) /* else the surprise may be infinite */
            entropy +=
                (double)s->weights[i] / sum * (log_sum - (double)(s->scores[i] - best) * scale);
    for (int32_t i = 0; i < s->num; i++) {
        const double surprise = log_sum - (double)(s->scores[i] - best) * scale;
        s->keys[i] = order_key((float)-fabs(surprise - entropy));
    }
    keep(s, find_cut(s, true, (double)typical_p * sum));
}

static void filter_top_p(struct sample_scratch *s, float top_p)
{
    if (!(top_p < 1.0f))
        return;
    set_score_keys(s);
    keep(s, find_cut(s, true, (double)top_p * sum_all(s->weights, s->num)));
}

static void filter_min_p(struct sample_scratch *s, float min_p)
{
    if (!(min_p > 0.0f))
        return;
    const float least = (min_p < 1.0f ? min_p : 1.0f) * find_max(s->weights, s->num);
    int32_t num = 0;
    for (int32_t i = 0; i < s->num; i++) {
        s->ids[num] = s->ids[i];
        s->weights[num] = s->weights[i];
        num += s->weights[num] >= least;
    }
    s->num = num;
}

/* The token at which the running sum passes the uniform's share; the last with any weight when
 * rounding leaves none. */
static int32_t draw(const struct sample_scratch *s, float uniform)
{
    const double target = ((double)uniform + 0x1p-25) * sum_all(s->weights, s->num);
    double sum = 0.0;
    int32_t i = 0, found = 0;
    for (; i + BLOCK < s->num; i += BLOCK) {
        const double block = sum_block(s->weights + i, BLOCK);
        if (sum + block > target)
            break;
        sum += block;
    }
    for (; i < s->num && sum <= target; i++)
        if (s->weights[i] > 0.0f) {
            sum += (double)s->weights[i];
            found = i;
        }
    return s->ids[found];
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
    process_scores(s, logits, num_vocab, row);
    const float best = find_max(s->scores, num_vocab);
    if (!isfinite(best))
        return -1;
    if (row->temperature < greedy_below)
        return find_id(s->scores, num_vocab, best);
    const float temperature = fmaxf(row->temperature, min_temperature);
    keep_finite(s, num_vocab);
    filter_top_k(s, row->top_k);
    set_weights(s, best, temperature);
    filter_typical_p(s, row->typical_p, best, temperature);
    filter_top_p(s, row->top_p);
    filter_min_p(s, row->min_p);
    return draw(s, sample_uniform(row->seed, row->choice, row->output_pos, 0));
}

static void give_bad(const struct sample_row *row)
{
    if (row->bad != NULL)
        *row->bad = true;
    *row->ret_id = 0;
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
    const float best = find_max(logits, num_vocab);
    int32_t id = -1;
    if (isfinite(best))
        id = row->forced_id >= 0 ? row->forced_id : choose(scratch, logits, num_vocab, row);
    if (!is_token(id, num_vocab)) {
        give_bad(row);
        return;
    }
    *row->ret_id = id;
    if (row->ret_rank != NULL)
        *row->ret_rank = rank_of(logits, num_vocab, id);
    if (row->num_logprobs < 0)
        return;
    const double lse = log_sum_exp(scratch, logits, num_vocab, best);
    row->ret_logprobs[0] = (float)((double)logits[id] - lse);
    row->ret_ids[0] = id;
    take_top_logprobs(row, logits, num_vocab, lse);
}
