/*
 * sample_row.cuh - tokens of a row, and the filters that say which of them may be drawn
 *
 * For blocks of 512 threads, all of which work on one row: on its candidates (sample_gather.cu),
 * which lie in shared memory, or on all of its tokens. Nothing is sorted: a filter is a threshold
 * on a key that is computed again on each pass, found seven bounds at a time (11 passes for 32
 * bits). Weights are summed as integers of 2^-43, so in any order: of a vocabulary of a million
 * they still fit, and a token that is one has no more than a ten-millionth of a millionth of the
 * best one's.
 */
#ifndef KERNELS_CUDA_SAMPLE_ROW_CUH
#define KERNELS_CUDA_SAMPLE_ROW_CUH

#include "kernels/cuda/sample_part.cuh"

enum { THREADS = 512, WARPS = THREADS / 32, BOUNDS = 7 };

/* Kept: those with a key above it, or equal to it up to the token `last`. */
struct bound {
    uint32_t key;
    int last;
    bool is_on;
};

/* Tokens are counted from 0 to num - 1 and lie in the order of their ids. */
struct row {
    const float *logits;
    const uint32_t *banned;
    const struct draw *draw;
    int num, first;      /* of all tokens: those from `first` on */
    const int *ids;      /* shared: of candidates; or NULL */
    const float *scores; /* theirs */
    float best, scale;   /* of the scores; 1 / temperature */
    struct bound top_k, typical, top_p;
    float least_weight;
    double entropy, log_sum; /* as the host has them: keys are differences of such */
};

/* What sums need; shared, and free between them. */
struct row_space {
    uint64_t sums[WARPS][BOUNDS], runs[WARPS];
    double doubles[MAX_WARPS];
    float floats[MAX_WARPS];
};

/* --- the sum of anything over the tokens --------------------------------------------------- */

/* Warps take runs of the tokens, lanes of a warp neighbours: begins of a run. */
DEVICE int run_begin(int num, int warp)
{
    return (int)((int64_t)((num + 31) / 32) * warp / WARPS) * 32;
}

#define EACH_TOKEN(i, r)                                                                           \
    for (int i = run_begin((r).num, (int)threadIdx.x / 32) + lane_of(),                            \
             i##_end = run_begin((r).num, (int)threadIdx.x / 32 + 1);                              \
         i < i##_end && i < (r).num; i += 32)

DEVICE float score_of(const struct row &r, int i)
{
    return r.scores != nullptr ? r.scores[i] : score_at(r.logits, r.banned, r.first + i);
}

DEVICE int id_of(const struct row &r, int i)
{
    return r.ids != nullptr ? r.ids[i] : r.first + i;
}

/* An unsigned number that orders as the float does; both zeros are one. */
DEVICE uint32_t order_key(float value)
{
    const uint32_t bits = float_bits(value + 0.0f);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

DEVICE float weight_of(const struct row &r, float score)
{
    return weight_below(score, r.best, r.scale);
}

static constexpr double FIXED_ONE = 8796093022208.0; /* 2^43 */

DEVICE uint64_t fixed_of(double weight)
{
    return (uint64_t)(weight * FIXED_ONE);
}

DEVICE uint64_t fixed_weight(float weight)
{
    return (uint64_t)(weight * (float)FIXED_ONE);
}

DEVICE double surprise_of(const struct row &r, float score)
{
    return r.log_sum - (double)(score - r.best) / (double)fmaxf(r.draw->temperature, 0.01f);
}

DEVICE uint32_t typical_key(const struct row &r, float score)
{
    return order_key((float)-fabs(surprise_of(r, score) - r.entropy));
}

DEVICE bool is_within(uint32_t key, int i, const struct bound &bound)
{
    return key > bound.key || (key == bound.key && i <= bound.last);
}

/* Did the filters so far keep token i? */
DEVICE bool is_kept(const struct row &r, int i, float score)
{
    if (!(score > -INFINITY))
        return false;
    if (r.top_k.is_on && !is_within(order_key(score), i, r.top_k))
        return false;
    if (r.typical.is_on && !is_within(typical_key(r, score), i, r.typical))
        return false;
    return !r.top_p.is_on || is_within(order_key(score), i, r.top_p);
}

/* --- bounds ---------------------------------------------------------------------------------- */

enum measure { COUNT, WEIGHT };

DEVICE uint64_t measured(const struct row &r, enum measure measure, float score)
{
    return measure == COUNT ? 1 : fixed_weight(weight_of(r, score));
}

DEVICE uint32_t key_of(const struct row &r, bool typical, float score)
{
    return typical ? typical_key(r, score) : order_key(score);
}

/* Of the kept: what those with a key of at least each bound amount to. */
DEVICE void amounts(const struct row &r, enum measure measure, bool typical,
                    const uint32_t bounds[BOUNDS], uint64_t ret[BOUNDS], struct row_space &space)
{
    for (int b = 0; b < BOUNDS; b++)
        ret[b] = 0;
    EACH_TOKEN(i, r)
    {
        const float score = score_of(r, i);
        if (!is_kept(r, i, score))
            continue;
        const uint32_t key = key_of(r, typical, score);
        const uint64_t value = measured(r, measure, score);
        for (int b = 0; b < BOUNDS; b++)
            ret[b] += key >= bounds[b] ? value : 0;
    }
    for (int b = 0; b < BOUNDS; b++)
        ret[b] = warp_sum(ret[b]);
    block_sync();
    if (lane_of() == 0)
        for (int b = 0; b < BOUNDS; b++)
            space.sums[threadIdx.x / 32][b] = ret[b];
    block_sync();
    for (int b = 0; b < BOUNDS; b++)
        ret[b] = 0;
#pragma unroll 1
    for (int w = 0; w < WARPS; w++)
        for (int b = 0; b < BOUNDS; b++)
            ret[b] += space.sums[w][b];
}

DEVICE uint64_t row_sum(uint64_t own, struct row_space &space)
{
    uint64_t sum = 0;
    own = warp_sum(own);
    block_sync();
    if (lane_of() == 0)
        space.runs[threadIdx.x / 32] = own;
    block_sync();
    for (int w = 0; w < WARPS; w++)
        sum += space.runs[w];
    return sum;
}

/* The last of those equal to `key` that is needed, when those above are worth `sum`: by order,
 * until the target is reached. */
DEVICE int last_equal(const struct row &r, enum measure measure, bool typical, uint32_t key,
                      uint64_t sum, uint64_t target, struct row_space &space)
{
    __shared__ int found;
    uint64_t own = 0;
    EACH_TOKEN(i, r)
    {
        const float score = score_of(r, i);
        if (is_kept(r, i, score) && key_of(r, typical, score) == key)
            own += measured(r, measure, score);
    }
    (void)row_sum(own, space);
    int run = 0;
    while (run < WARPS - 1 && sum + space.runs[run] < target)
        sum += space.runs[run++];
    /* One thread walks the run in which it ends: ties are rare and short. */
    if (threadIdx.x == 0) {
        found = r.num - 1;
        const int end = run_begin(r.num, run + 1);
        bool any = false;
        for (int i = run_begin(r.num, run); i < end && i < r.num; i++) {
            const float score = score_of(r, i);
            if (!is_kept(r, i, score) || key_of(r, typical, score) != key)
                continue;
            if (any && sum >= target)
                break;
            sum += measured(r, measure, score);
            any = true;
            found = i;
        }
    }
    block_sync();
    const int last = found;
    block_sync();
    return last;
}

/* The greatest key from which on the kept reach `target`, three bits at a time; and the last of
 * those equal to it that is needed. Fewest that reach it, at least one. */
DEVICE void find_bound(const struct row &r, enum measure measure, bool typical, uint64_t target,
                       uint32_t *ret_key, int *ret_last, struct row_space &space)
{
    uint32_t key = 0;
    uint64_t reached[BOUNDS], above = 0;
    for (int shift = 30; shift > -3; shift -= 3) {
        const int low = shift > 0 ? shift : 0, digits = 1 << (shift == 30 ? 2 : 3);
        uint32_t bounds[BOUNDS];
        for (int b = 0; b < BOUNDS; b++)
            bounds[b] = b + 1 < digits ? key + ((uint32_t)(b + 1) << low) : 0xffffffffu;
        amounts(r, measure, typical, bounds, reached, space);
        int digit = 0;
        while (digit + 1 < digits && reached[digit] >= target && reached[digit] > 0)
            digit++;
        above = digit + 1 < digits ? reached[digit] : above;
        key += (uint32_t)digit << low;
        if (shift == 0)
            break;
    }
    *ret_key = key;
    *ret_last = last_equal(r, measure, typical, key, above, target, space);
}

DEVICE uint64_t kept_amount(const struct row &r, enum measure measure, struct row_space &space)
{
    uint64_t own = 0;
    EACH_TOKEN(i, r)
    {
        const float score = score_of(r, i);
        own += is_kept(r, i, score) ? measured(r, measure, score) : 0;
    }
    return row_sum(own, space);
}

/* --- filters
 * ------------------------------------------------------------------------------------------ */

/* What a filter looks for, when it is on. */
struct wanted {
    enum measure measure;
    bool typical, is_on;
    uint64_t target;
};

DEVICE struct wanted wanted_top_k(const struct row &r, struct row_space &space)
{
    const int k = r.draw->top_k;
    const bool is_on = k > 0 && (uint64_t)k < kept_amount(r, COUNT, space);
    return { COUNT, false, is_on, (uint64_t)k };
}

DEVICE struct wanted wanted_typical(struct row &r, struct row_space &space)
{
    const float p = r.draw->typical_p;
    if (!(p < 1.0f))
        return { WEIGHT, true, false, 0 };
    const double sum = (double)kept_amount(r, WEIGHT, space) / FIXED_ONE;
    double entropy = 0.0;
    r.log_sum = log(sum);
    EACH_TOKEN(i, r)
    {
        const float score = score_of(r, i);
        const float weight = is_kept(r, i, score) ? weight_of(r, score) : 0.0f;
        if (weight > 0.0f)
            entropy += (double)weight / sum * surprise_of(r, score);
    }
    r.entropy = block_sum(entropy, space.doubles);
    return { WEIGHT, true, true, fixed_of(fmax((double)p, 0.0) * sum) };
}

/* `whole`: what all tokens weigh, when candidates are not all that the filters before have kept;
 * else 0. */
DEVICE struct wanted wanted_top_p(const struct row &r, double whole, struct row_space &space)
{
    const float p = r.draw->top_p;
    if (!(p < 1.0f))
        return { WEIGHT, false, false, 0 };
    const double sum = whole > 0.0 ? whole : (double)kept_amount(r, WEIGHT, space) / FIXED_ONE;
    return { WEIGHT, false, true, fixed_of((double)fmaxf(p, 0.0f) * sum) };
}

/* Top-k, typical-p and top-p, one after the other: one search, so that its registers are there
 * once. */
DEVICE void filter_bounds(struct row &r, double whole, struct row_space &space)
{
#pragma unroll 1
    for (int f = 0; f < 3; f++) {
        const struct wanted w = f == 0   ? wanted_top_k(r, space)
                                : f == 1 ? wanted_typical(r, space)
                                         : wanted_top_p(r, whole, space);
        if (!w.is_on)
            continue;
        struct bound bound;
        bound.is_on = true;
        find_bound(r, w.measure, w.typical, w.target, &bound.key, &bound.last, space);
        if (f == 0)
            r.top_k = bound;
        else if (f == 1)
            r.typical = bound;
        else
            r.top_p = bound;
    }
}

/* The best of the kept is not always the best of all: typical-p may have dropped it. */
DEVICE void filter_min_p(struct row &r, struct row_space &space)
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
    r.least_weight = fminf(p, 1.0f) * block_max(best, space.floats);
}

#endif
