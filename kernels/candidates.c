#include "kernels/candidates.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/row.h"

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

int candidates_init(struct candidates *c, int32_t max_vocab)
{
    const size_t n = (size_t)max_vocab;
    *c = (struct candidates){ .ids = calloc(n, sizeof(*c->ids)),
                              .scores = calloc(n, sizeof(*c->scores)),
                              .weights = calloc(n, sizeof(*c->weights)),
                              .keys = calloc(n, sizeof(*c->keys)),
                              .digit_sum = calloc(DIGITS, sizeof(*c->digit_sum)) };
    if (c->ids != NULL && c->scores != NULL && c->weights != NULL && c->keys != NULL &&
        c->digit_sum != NULL)
        return 0;
    candidates_finish(c);
    return -ENOMEM;
}

void candidates_finish(struct candidates *c)
{
    free(c->ids);
    free(c->scores);
    free(c->weights);
    free(c->keys);
    free(c->digit_sum);
    *c = (struct candidates){ 0 };
}

/* An unsigned number that orders as the float does; both zeros are one. */
static inline uint32_t order_key(float value)
{
    const uint32_t bits = bits_of(value + 0.0f);
    return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

/* Keep those with a key above `key`, and of those equal to it the first `num_equal`. */
struct cut {
    uint32_t key;
    int32_t num_equal;
};

/* What a candidate counts: its weight, or 1 when a number of tokens is wanted. */
static double measure(const struct candidates *c, bool by_weight, int32_t i)
{
    return by_weight ? (double)c->weights[i] : 1.0;
}

/* Of the candidates whose key has the bits of `known` as `key`, find the digit that brings the sum
 * of all that are kept first to `target`; *sum grows by what lies above that digit. */
static uint32_t find_digit(struct candidates *c, bool by_weight, uint32_t key, uint32_t known,
                           int shift, double target, double *sum)
{
    int32_t lowest = DIGITS, digit = 0;
    memset(c->digit_sum, 0, DIGITS * sizeof(*c->digit_sum));
    for (int32_t i = 0; i < c->num; i++) {
        if (((c->keys[i] ^ key) & known) != 0)
            continue;
        const int32_t d = (int32_t)((c->keys[i] >> shift) & (DIGITS - 1));
        c->digit_sum[d] += measure(c, by_weight, i);
        lowest = d < lowest ? d : lowest;
        digit = d > digit ? d : digit;
    }
    for (; digit > lowest && *sum + c->digit_sum[digit] < target; digit--)
        *sum += c->digit_sum[digit];
    return (uint32_t)digit;
}

/* The fewest candidates, greatest keys first, whose measures reach `target`: a radix search, so
 * that nothing is sorted however wide the vocabulary. */
static struct cut find_cut(struct candidates *c, bool by_weight, double target)
{
    static const int shifts[] = { 21, 10, 0 }; /* the last digit has a bit that is known */
    struct cut cut = { 0 };
    uint32_t known = 0;
    double sum = 0.0;
    for (int i = 0; i < 3; i++) {
        const uint32_t digit = find_digit(c, by_weight, cut.key, known, shifts[i], target, &sum);
        cut.key |= digit << shifts[i];
        known = ~0U << shifts[i];
    }
    for (int32_t i = 0; i < c->num && (cut.num_equal == 0 || sum < target); i++)
        if (c->keys[i] == cut.key) {
            sum += measure(c, by_weight, i);
            cut.num_equal++;
        }
    return cut;
}

static void keep(struct candidates *c, struct cut cut)
{
    int32_t num = 0;
    for (int32_t i = 0; i < c->num; i++) {
        const bool equal = c->keys[i] == cut.key;
        if (c->keys[i] < cut.key || (equal && cut.num_equal-- <= 0))
            continue;
        c->ids[num] = c->ids[i];
        c->scores[num] = c->scores[i];
        c->weights[num] = c->weights[i];
        num++;
    }
    c->num = num;
}

static void set_order_keys(uint32_t *restrict keys, const float *restrict scores, int32_t num)
{
    for (int32_t i = 0; i < num; i++)
        keys[i] = order_key(scores[i]);
}

void candidates_begin(struct candidates *c, int32_t num_vocab)
{
    int32_t num = 0;
    for (int32_t i = 0; i < num_vocab; i++) {
        c->ids[num] = i;
        c->scores[num] = c->scores[i];
        num += c->scores[num] > -INFINITY;
    }
    c->num = num;
}

void candidates_top_k(struct candidates *c, int32_t top_k)
{
    if (top_k <= 0 || top_k >= c->num)
        return;
    set_order_keys(c->keys, c->scores, c->num);
    keep(c, find_cut(c, false, (double)top_k));
}

void candidates_set_weights(struct candidates *c, float best, float temperature)
{
    row_exp(c->weights, c->scores, c->num, best, 1.0f / temperature);
}

/* Keep what is nearest to the expected information of the distribution. */
void candidates_typical_p(struct candidates *c, float typical_p, float best, float temperature)
{
    if (!(typical_p < 1.0f))
        return;
    const double sum = row_sum(c->weights, c->num), log_sum = log(sum);
    const double scale = 1.0 / (double)temperature;
    double entropy = 0.0;
    for (int32_t i = 0; i < c->num; i++)
        if (c->weights[i] > 0.0f) /* else the surprise may be infinite */
            entropy +=
                (double)c->weights[i] / sum * (log_sum - (double)(c->scores[i] - best) * scale);
    for (int32_t i = 0; i < c->num; i++) {
        const double surprise = log_sum - (double)(c->scores[i] - best) * scale;
        c->keys[i] = order_key((float)-fabs(surprise - entropy));
    }
    keep(c, find_cut(c, true, (double)typical_p * sum));
}

static void keep_weights(struct candidates *c, float least)
{
    int32_t num = 0;
    for (int32_t i = 0; i < c->num; i++) {
        c->ids[num] = c->ids[i];
        c->scores[num] = c->scores[i];
        c->weights[num] = c->weights[i];
        num += c->weights[num] >= least;
    }
    c->num = num;
}

void candidates_top_p(struct candidates *c, float top_p)
{
    if (!(top_p < 1.0f))
        return;
    const double sum = row_sum(c->weights, c->num), share = fmax((double)top_p, 0.0);
    /* Weights below the mean share of the dropped mass come to less than that mass, so that none of
     * them is kept: with a peaked distribution few candidates are left to search. */
    keep_weights(c, (float)((1.0 - share) * sum / c->num * 0.999));
    set_order_keys(c->keys, c->scores, c->num);
    keep(c, find_cut(c, true, share * sum));
}

void candidates_min_p(struct candidates *c, float min_p)
{
    if (min_p > 0.0f)
        keep_weights(c, (min_p < 1.0f ? min_p : 1.0f) * row_max(c->weights, c->num));
}

/* The token at which the running sum passes the uniform's share; the last with any weight when
 * rounding leaves none. */
int32_t candidates_draw(const struct candidates *c, float uniform)
{
    const double target = ((double)uniform + 0x1p-25) * row_sum(c->weights, c->num);
    double sum = 0.0;
    int32_t i = 0, found = 0;
    for (; i + ROW_BLOCK < c->num; i += ROW_BLOCK) {
        const double block = row_sum_block(c->weights + i, ROW_BLOCK);
        if (sum + block > target)
            break;
        sum += block;
    }
    for (; i < c->num && sum <= target; i++)
        if (c->weights[i] > 0.0f) {
            sum += (double)c->weights[i];
            found = i;
        }
    return c->ids[found];
}
