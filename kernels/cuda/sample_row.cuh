/*
 * sample_row.cuh - a row of scores, and the filters that say which tokens of it may be drawn
 *
 * For blocks of 512 threads, all of which work on one row. Nothing is sorted and nothing is stored
 * but the logits: a filter is a threshold on a key that is computed again on each pass, found seven
 * bounds at a time (11 passes for 32 bits); every pass sums in an order that is fixed.
 */
#ifndef KERNELS_CUDA_SAMPLE_ROW_CUH
#define KERNELS_CUDA_SAMPLE_ROW_CUH

#include "kernels/cuda/device.cuh"

enum { THREADS = 512, WARPS = THREADS / 32, BOUNDS = 7 };

struct row {
    float *logits;
    int num_vocab;
    const uint32_t *banned;
    const struct draw *draw;
    struct edit *edits;
    int num_edits;
    float best, scale; /* of the scores; 1 / temperature */
    /* Candidates: those above a bound, or equal to it with an id up to `last`. */
    struct {
        uint32_t key;
        int last;
        bool is_on;
    } top_k, typical, top_p;
    float least_weight;
    float entropy, log_sum;
};

/* --- the sum of anything over the vocabulary ---------------------------------------------------- */

/* Warps take runs of the vocabulary, lanes of a warp neighbours: begins of a run. */
DEVICE int run_begin(int num_vocab, int warp)
{
    return (int)((int64_t)((num_vocab + 31) / 32) * warp / WARPS) * 32;
}

#define EACH_TOKEN(i, r)                                                                           \
    for (int i = run_begin((r).num_vocab, (int)threadIdx.x / 32) + lane_of(),                      \
             i##_end = run_begin((r).num_vocab, (int)threadIdx.x / 32 + 1);                        \
         i < i##_end && i < (r).num_vocab; i += 32)

DEVICE float score_of(const struct row &r, int i)
{
    const bool banned = r.banned != nullptr && (r.banned[i / 32] >> (i & 31) & 1) != 0;
    return banned ? -INFINITY : r.logits[i];
}

/* An unsigned number that orders as the float does; both zeros are one. */
DEVICE uint32_t order_key(float value)
{
    const uint32_t bits = float_bits(value + 0.0f);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

DEVICE float weight_of(const struct row &r, float score)
{
    const float x = (score - r.best) * r.scale;
    return x < -87.0f ? 0.0f : expf(x);
}

DEVICE uint32_t typical_key(const struct row &r, float score)
{
    const float surprise = r.log_sum - (score - r.best) * r.scale;
    return order_key(-fabsf(surprise - r.entropy));
}

DEVICE bool is_within(uint32_t key, int id, uint32_t bound, int last)
{
    return key > bound || (key == bound && id <= last);
}

/* Did the filters so far keep token i? */
DEVICE bool is_kept(const struct row &r, int i, float score)
{
    if (!(score > -INFINITY))
        return false;
    if (r.top_k.is_on && !is_within(order_key(score), i, r.top_k.key, r.top_k.last))
        return false;
    if (r.typical.is_on && !is_within(typical_key(r, score), i, r.typical.key, r.typical.last))
        return false;
    return !r.top_p.is_on || is_within(order_key(score), i, r.top_p.key, r.top_p.last);
}

/* --- bounds --------------------------------------------------------------------------------------- */

enum measure { COUNT, WEIGHT };

/* Of the kept: what those with a key of at least each bound amount to. */
DEVICE void amounts(const struct row &r, enum measure measure, bool typical,
                    const uint32_t bounds[BOUNDS], double ret[BOUNDS], double *space)
{
    double sums[BOUNDS];
    for (int b = 0; b < BOUNDS; b++)
        sums[b] = 0.0;
    EACH_TOKEN(i, r)
    {
        const float score = score_of(r, i);
        if (!is_kept(r, i, score))
            continue;
        const uint32_t key = typical ? typical_key(r, score) : order_key(score);
        const double value = measure == COUNT ? 1.0 : (double)weight_of(r, score);
        for (int b = 0; b < BOUNDS; b++)
            sums[b] += key >= bounds[b] ? value : 0.0;
    }
    for (int b = 0; b < BOUNDS; b++)
        ret[b] = block_sum(sums[b], space);
}

/* The greatest key from which on the kept reach `target`, three bits at a time; and the last id of
 * those equal to it that is needed. Fewest that reach it, at least one. */
DEVICE void find_bound(struct row &r, enum measure measure, bool typical, double target,
                       uint32_t *ret_key, int *ret_last, double *space, double *run_sums)
{
    uint32_t key = 0;
    double reached[BOUNDS], above = 0.0;
    for (int shift = 30; shift > -3; shift -= 3) {
        const int low = shift > 0 ? shift : 0, digits = 1 << (shift == 30 ? 2 : 3);
        uint32_t bounds[BOUNDS];
        for (int b = 0; b < BOUNDS; b++)
            bounds[b] = b + 1 < digits ? key + ((uint32_t)(b + 1) << low) : 0xffffffffu;
        amounts(r, measure, typical, bounds, reached, space);
        int digit = 0;
        while (digit + 1 < digits && reached[digit] >= target && reached[digit] > 0.0)
            digit++;
        above = digit + 1 < digits ? reached[digit] : above;
        key += (uint32_t)digit << low;
        if (shift == 0)
            break;
    }
    /* Of those equal: by id, until the rest of the target is reached. */
    const int warp = (int)threadIdx.x / 32;
    double own = 0.0;
    EACH_TOKEN(i, r)
    {
        const float score = score_of(r, i);
        if (is_kept(r, i, score) && (typical ? typical_key(r, score) : order_key(score)) == key)
            own += measure == COUNT ? 1.0 : (double)weight_of(r, score);
    }
    own = warp_sum(own);
    block_sync();
    if (lane_of() == 0)
        run_sums[warp] = own;
    block_sync();
    double sum = above;
    int run = 0;
    while (run < WARPS - 1 && sum + run_sums[run] < target)
        sum += run_sums[run++];
    /* One thread walks the run in which it ends: ties are rare and short. */
    __shared__ int found;
    if (threadIdx.x == 0) {
        found = r.num_vocab - 1;
        const int end = run_begin(r.num_vocab, run + 1);
        bool any = false;
        for (int i = run_begin(r.num_vocab, run); i < end && i < r.num_vocab; i++) {
            const float score = score_of(r, i);
            if (!is_kept(r, i, score) ||
                (typical ? typical_key(r, score) : order_key(score)) != key)
                continue;
            if (any && sum >= target)
                break;
            sum += measure == COUNT ? 1.0 : (double)weight_of(r, score);
            any = true;
            found = i;
        }
    }
    block_sync();
    *ret_key = key;
    *ret_last = found;
    block_sync();
}

DEVICE double kept_weight(const struct row &r, double *space)
{
    double sum = 0.0;
    EACH_TOKEN(i, r)
    {
        const float score = score_of(r, i);
        if (is_kept(r, i, score))
            sum += (double)weight_of(r, score);
    }
    return block_sum(sum, space);
}

DEVICE int kept_number(const struct row &r, double *space)
{
    double num = 0.0;
    EACH_TOKEN(i, r)
    {
        num += is_kept(r, i, score_of(r, i)) ? 1.0 : 0.0;
    }
    return (int)block_sum(num, space);
}

/* --- filters ------------------------------------------------------------------------------------------ */

DEVICE void filter_top_k(struct row &r, double *space, double *run_sums)
{
    const int k = r.draw->top_k;
    if (k <= 0 || k >= kept_number(r, space))
        return;
    uint32_t key;
    int last;
    find_bound(r, COUNT, false, (double)k, &key, &last, space, run_sums);
    r.top_k = { key, last, true };
}

DEVICE void filter_typical(struct row &r, double *space, double *run_sums)
{
    const float p = r.draw->typical_p;
    if (!(p < 1.0f))
        return;
    const double sum = kept_weight(r, space), log_sum = log(sum);
    double entropy = 0.0;
    EACH_TOKEN(i, r)
    {
        const float score = score_of(r, i);
        const float weight = is_kept(r, i, score) ? weight_of(r, score) : 0.0f;
        if (weight > 0.0f)
            entropy += (double)weight / sum * (log_sum - (double)((score - r.best) * r.scale));
    }
    r.entropy = (float)block_sum(entropy, space);
    r.log_sum = (float)log_sum;
    uint32_t key;
    int last;
    find_bound(r, WEIGHT, true, (double)p * sum, &key, &last, space, run_sums);
    r.typical = { key, last, true };
}

DEVICE void filter_top_p(struct row &r, double *space, double *run_sums)
{
    const float p = r.draw->top_p;
    if (!(p < 1.0f))
        return;
    const double target = (double)fmaxf(p, 0.0f) * kept_weight(r, space);
    uint32_t key;
    int last;
    find_bound(r, WEIGHT, false, target, &key, &last, space, run_sums);
    r.top_p = { key, last, true };
}

/* The best of the kept is not always the best of all: typical-p may have dropped it. */
DEVICE void filter_min_p(struct row &r, float *space)
{
    const float p = r.draw->min_p;
    r.least_weight = 0.0f;
    if (!(p > 0.0f))
        return;
    float best = 0.0f;
    EACH_TOKEN(i, r)
    {
        const float score = score_of(r, i);
        if (is_kept(r, i, score))
            best = fmaxf(best, weight_of(r, score));
    }
    r.least_weight = fminf(p, 1.0f) * block_max(best, space);
}

#endif
