#include "oracle.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct candidate {
    int32_t id;
    double score, p, shift;
};

static int by_score(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->id - b->id;
}

static int by_shift(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (fabs(a->shift - b->shift) > 1e-5)
        return a->shift < b->shift ? -1 : 1;
    return a->id - b->id;
}

/* --- rules -------------------------------------------------------------------------------- */

static int32_t count_of(const struct sample_row *row, int32_t first, int32_t id)
{
    int32_t num = 0;
    for (int32_t t = first; t < row->num_tokens; t++)
        num += row->tokens[t] == id;
    return num;
}

/* Mask, bias, penalties of one token. */
static double score_of(double logit, int32_t id, const struct sample_row *row)
{
    double score = logit;
    if (row->banned != NULL && (row->banned[id / 32] >> (id % 32) & 1) != 0)
        return -INFINITY;
    for (int32_t i = 0; i < row->num_biases; i++)
        score += row->biases[i].token_id == id ? (double)row->biases[i].bias : 0.0;
    if (count_of(row, 0, id) > 0)
        score = score > 0.0 ? score / (double)row->repetition_penalty
                            : score * (double)row->repetition_penalty;
    const int32_t written = count_of(row, row->num_prompt, id);
    if (written > 0)
        score -= written * (double)row->frequency_penalty + (double)row->presence_penalty;
    return score;
}

/* --- filters ------------------------------------------------------------------------------ */

static void normalize(struct candidate *c, int32_t num)
{
    double sum = 0.0;
    for (int32_t i = 0; i < num; i++)
        sum += c[i].p;
    for (int32_t i = 0; i < num; i++)
        c[i].p /= sum;
}

static int32_t count_until(const struct candidate *c, int32_t num, double mass)
{
    double sum = 0.0;
    int32_t n = 0;
    while (n < num && (n == 0 || sum < mass))
        sum += c[n++].p;
    return n;
}

static int32_t keep_typical(struct candidate *c, int32_t num, double typical_p)
{
    double entropy = 0.0;
    for (int32_t i = 0; i < num; i++)
        entropy -= c[i].p > 0.0 ? c[i].p * log(c[i].p) : 0.0;
    for (int32_t i = 0; i < num; i++)
        c[i].shift = fabs(-log(c[i].p) - entropy);
    qsort(c, (size_t)num, sizeof(*c), by_shift);
    num = count_until(c, num, typical_p);
    qsort(c, (size_t)num, sizeof(*c), by_score);
    return num;
}

static int32_t filter(struct candidate *c, int32_t num, const struct sample_row *row)
{
    if (row->top_k > 0 && row->top_k < num)
        num = row->top_k;
    normalize(c, num);
    if (row->typical_p < 1.0f)
        num = keep_typical(c, num, (double)row->typical_p);
    normalize(c, num);
    if (row->top_p < 1.0f)
        num = count_until(c, num, (double)row->top_p);
    for (int32_t i = num; i-- > 0;)
        if (c[i].p < (double)row->min_p * c[0].p)
            num = i;
    normalize(c, num);
    return num;
}

void oracle_probabilities(const float *logits, int32_t num_vocab, const struct sample_row *row,
                          double *ret_p)
{
    struct candidate c[ORACLE_MAX_VOCAB];
    int32_t num = 0;
    ck_assert_int_le(num_vocab, ORACLE_MAX_VOCAB);
    for (int32_t i = 0; i < num_vocab; i++) {
        c[num].id = i;
        c[num].score = score_of((double)logits[i], i, row);
        num += isfinite(c[num].score) != 0;
    }
    qsort(c, (size_t)num, sizeof(*c), by_score);
    for (int32_t i = 0; i < num; i++)
        c[i].p = exp((c[i].score - c[0].score) / (double)row->temperature);
    num = filter(c, num, row);
    memset(ret_p, 0, (size_t)num_vocab * sizeof(*ret_p));
    for (int32_t i = 0; i < num; i++)
        ret_p[c[i].id] = c[i].p;
}

/* --- judgement ---------------------------------------------------------------------------- */

/* A cell of less than five expected draws is not asked alone. */
const char *oracle_doubt(const int32_t *seen, const double *p, int32_t num_vocab)
{
    static char text[96];
    double num = 0.0, chi = 0.0, rest_p = 0.0, rest = 0.0;
    int32_t cells = 0;
    for (int32_t i = 0; i < num_vocab; i++)
        num += seen[i];
    for (int32_t i = 0; i < num_vocab; i++) {
        if (p[i] <= 0.0 && seen[i] > 0) {
            snprintf(text, sizeof(text), "token %d is filtered but drawn", i);
            return text;
        }
        if (p[i] * num < 5.0) {
            rest_p += p[i];
            rest += seen[i];
            continue;
        }
        cells++;
        chi += pow(seen[i] - p[i] * num, 2) / (p[i] * num);
    }
    if (rest_p * num >= 5.0) {
        cells++;
        chi += pow(rest - rest_p * num, 2) / (rest_p * num);
    }
    const double k = cells - 1, a = 2.0 / (9.0 * k);
    if (cells == 1 || chi < k * pow(1.0 - a + 4.265 * sqrt(a), 3))
        return NULL;
    snprintf(text, sizeof(text), "chi-square %g with %g degrees of freedom", chi, k);
    return text;
}

bool oracle_explains(const double *p, int32_t num_vocab, float uniform, int32_t id)
{
    static const double rounding = 1e-5;
    double below = 0.0;
    if (id < 0 || id >= num_vocab || p[id] <= 0.0)
        return false;
    for (int32_t i = 0; i < id; i++)
        below += p[i];
    return (double)uniform > below - rounding && (double)uniform < below + p[id] + rounding;
}
