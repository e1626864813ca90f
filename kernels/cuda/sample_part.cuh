/*
 * sample_part.cuh - how a row is drawn from, and what its parts of 8,192 tokens amount to together
 *
 * Three launches for any number of rows: sample_scan() and sample_gather() have a block for each
 * part of each row, sample_rows() one for each row. What passes from one to the next lies in
 * memory, so that no block waits for another.
 *
 * Few tokens can be kept by a filter: those from some bin of scores on. Bins are a quarter wide and
 * absolute, so they are counted before the best score is known. From a bin's number of tokens and
 * its upper edge follows what lies below it at most; so the bin from which on all are candidates is
 * found without a second look at the scores (sample_gather.cu).
 */
#ifndef KERNELS_CUDA_SAMPLE_PART_CUH
#define KERNELS_CUDA_SAMPLE_PART_CUH

#include "kernels/cuda/device.cuh"

/* What has to be looked at after the scan. */
enum sample_way {
    WAY_FORCED, /* nothing */
    WAY_BEST,   /* the best of the parts */
    WAY_PART,   /* no filter: the part in which the sum of weights passes the target */
    WAY_TOP_K,  /* candidates: all later filters keep some of the k */
    WAY_TOP_P,  /* candidates, and what all weigh */
    WAY_MIN_P,  /* candidates */
    WAY_ALL,    /* typical-p keeps what is near the middle: all tokens, by one block */
};

DEVICE enum sample_way way_of(const struct draw &draw)
{
    if (draw.forced_id >= 0)
        return WAY_FORCED;
    if (draw.temperature < 1e-5f)
        return WAY_BEST;
    if (draw.top_k > 0)
        return WAY_TOP_K;
    if (draw.typical_p < 1.0f)
        return WAY_ALL;
    if (draw.top_p < 1.0f)
        return WAY_TOP_P;
    return draw.min_p > 0.0f ? WAY_MIN_P : WAY_PART;
}

DEVICE float scale_of(const struct draw &draw)
{
    return 1.0f / fmaxf(draw.temperature, 0.01f);
}

DEVICE bool is_finite(float x)
{
    return fabsf(x) <= 3.4028234663852886e38f;
}

DEVICE float weight_below(float score, float best, float scale)
{
    const float x = (score - best) * scale;
    return x < -87.0f ? 0.0f : expf(x);
}

DEVICE const uint32_t *banned_of(const struct sample_args &args, const struct draw &draw)
{
    return draw.banned >= 0 ? (const uint32_t *)(args.tables + draw.banned) : nullptr;
}

DEVICE float score_at(const float *logits, const uint32_t *banned, int i)
{
    const bool is_banned = banned != nullptr && (banned[i / 32] >> (i & 31) & 1) != 0;
    return is_banned ? -INFINITY : logits[i];
}

/* --- bins ---------------------------------------------------------------------------------- */

enum { BINS_PER_ONE = 4 };

/* Never falls when the score grows; what lies outside is in the first or the last one. */
DEVICE int bin_of(float score)
{
    const float at = score * (float)BINS_PER_ONE + (float)(SCAN_BINS / 2);
    return (int)fminf(fmaxf(at, 0.0f), (float)(SCAN_BINS - 1));
}

/* All scores of a bin but the last are below. */
DEVICE float bin_edge(int bin)
{
    return (float)(bin + 1 - SCAN_BINS / 2) / (float)BINS_PER_ONE;
}

/* --- parts --------------------------------------------------------------------------------- */

/* The best, the lower id of equals. */
struct best {
    float value;
    int id; /* -1: none */
};

DEVICE struct best better(struct best a, struct best b)
{
    const bool is_b =
        b.id >= 0 && (a.id < 0 || b.value > a.value || (b.value == a.value && b.id < a.id));
    return is_b ? b : a;
}

/* Over a block of whole warps; `space` [MAX_WARPS] is shared and free before and after. */
DEVICE struct best block_best(struct best own, struct best *space)
{
    const int warps = (int)blockDim.x / 32;
    for (int mask = 16; mask > 0; mask /= 2)
        own = better(own, { lane_xor(own.value, mask), lane_xor(own.id, mask) });
    block_sync();
    if (lane_of() == 0)
        space[threadIdx.x / 32] = own;
    block_sync();
    own = space[0];
    for (int w = 1; w < warps; w++)
        own = better(own, space[w]);
    block_sync();
    return own;
}

DEVICE const struct scan *parts_of(const struct sample_args &args, int row)
{
    return args.scans + (int64_t)row * args.num_scans;
}

DEVICE struct best top_of(const struct scan *parts, int num)
{
    struct best top = { -INFINITY, -1 };
    for (int p = 0; p < num; p++)
        top = better(top, { parts[p].top, parts[p].top_id });
    return top;
}

/* What the parts weigh, in units of the row's top: terms [num], and all of them, added in order.
 * Both are shared; ends in step. */
DEVICE void weigh_parts(const struct scan *parts, int num, float top, float scale, double *terms,
                        double *whole)
{
    block_sync();
    if (threadIdx.x < 32)
        for (int p = lane_of(); p < num; p += 32)
            terms[p] =
                parts[p].weight > 0.0
                    ? parts[p].weight * exp(((double)parts[p].top - (double)top) * (double)scale)
                    : 0.0;
    block_sync();
    if (threadIdx.x == 0) {
        double sum = 0.0;
        for (int p = 0; p < num; p++)
            sum += terms[p];
        *whole = sum;
    }
    block_sync();
}

#endif
