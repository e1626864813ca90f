/*
 * sample_gather.cu - the tokens that filters may keep, by many blocks
 *
 * A block of 256 threads for each part of each row, as in sample_scan.cu; rows without filters are
 * done at once. Each block finds the row's bin by itself: it adds the parts' numbers in each bin
 * (19 KB for 152,000 tokens, coalesced, from L2) and then what lies below each bin, which stays
 * below a limit up to the bin that is wanted. Then it writes down its tokens of that bin and those
 * above, in order: each warp takes a run of them, counts, and writes from where those before end.
 * Reads a part twice, the second time from L1. Bound by latency, 3 us.
 */
#include "kernels/cuda/sample_part.cuh"

enum { THREADS = 256, WARPS = THREADS / 32, OWN_BINS = SCAN_BINS / THREADS };

/* Scores of the row in each bin of this thread. */
DEVICE void own_counts(const struct sample_args &args, int row, int counts[OWN_BINS])
{
    static_assert(OWN_BINS == 2, "a word of two");
    const uint32_t *pairs =
        (const uint32_t *)(args.bins + (int64_t)row * args.num_scans * SCAN_BINS) + threadIdx.x;
    counts[0] = counts[1] = 0;
    for (int p = 0; p < args.num_scans; p++) {
        const uint32_t pair = pairs[p * (SCAN_BINS / 2)];
        counts[0] += (int)(pair & 0xffffu);
        counts[1] += (int)(pair >> 16);
    }
}

/* The last bin below which there is no more than `limit`; `space` as of block_sum(), twice. */
DEVICE int last_bin(const double own[OWN_BINS], double limit, double *space)
{
    const int warp = (int)threadIdx.x / 32, lane = lane_of();
    double sum = 0.0;
    for (int b = 0; b < OWN_BINS; b++)
        sum += own[b];
    double below = sum; /* up to this lane */
    for (int delta = 1; delta < 32; delta *= 2) {
        const double before = lane_up(below, delta);
        below += lane >= delta ? before : 0.0;
    }
    block_sync();
    if (lane == 31)
        space[warp] = below;
    block_sync();
    below -= sum;
    for (int w = 0; w < warp; w++)
        below += space[w];
    int num = 0;
    for (int b = 0; b < OWN_BINS; b++) {
        num += below <= limit ? 1 : 0;
        below += own[b];
    }
    num = (int)block_sum((double)num, space);
    return num > 0 ? num - 1 : 0;
}

/* So many tokens, or all: no less than k lie in this bin and above. */
DEVICE int bin_of_top_k(const int counts[OWN_BINS], int k, double *space)
{
    double own[OWN_BINS], sum = 0.0;
    for (int b = 0; b < OWN_BINS; b++)
        sum += own[b] = (double)counts[b];
    return last_bin(own, block_sum(sum, space) - (double)k, space);
}

/* What lies below weighs less than what top-p leaves out. The hundred-thousandth more than covers
 * how sums of other orders differ. */
DEVICE int bin_of_top_p(const int counts[OWN_BINS], float top_p, float top, float scale,
                        double whole, double *space)
{
    double own[OWN_BINS];
    for (int b = 0; b < OWN_BINS; b++) {
        const float x = (bin_edge((int)threadIdx.x * OWN_BINS + b) - top) * scale;
        own[b] = counts[b] > 0 ? (double)counts[b] * (double)expf(fminf(x, 60.0f)) : 0.0;
    }
    const double share = 1.0 - (double)fmaxf(top_p, 0.0f) - 1e-5;
    const int bin = last_bin(own, share > 0.0 ? share * whole : 0.0, space);
    return bin < bin_of(top) ? bin : bin_of(top);
}

/* The bin below that of the least weight: rounding. */
DEVICE int bin_of_min_p(float min_p, float top, float scale)
{
    const int bin = bin_of(top + logf(fminf(min_p, 1.0f)) / scale);
    return bin > 0 ? bin - 1 : 0;
}

DEVICE bool is_candidate(float score, int bin)
{
    return score > -INFINITY && bin_of(score) >= bin;
}

KERNEL(THREADS, 4) gather_candidates_kernel(const struct sample_args args)
{
    __shared__ double space[MAX_WARPS], terms[SCAN_MAX_PARTS], whole;
    __shared__ int nums[WARPS];
    begin_kernel();
    const int row = (int)blockIdx.y, warp = (int)threadIdx.x / 32, lane = lane_of();
    const struct draw &draw = args.draws[row];
    const enum sample_way way = way_of(draw);
    if (way != WAY_TOP_K && way != WAY_TOP_P && way != WAY_MIN_P)
        return;
    const struct scan *parts = parts_of(args, row);
    const float top = top_of(parts, args.num_scans).value, scale = scale_of(draw);
    if (!is_finite(top))
        return;
    int counts[OWN_BINS], bin;
    if (way == WAY_MIN_P) {
        bin = bin_of_min_p(draw.min_p, top, scale);
    } else {
        own_counts(args, row, counts);
        if (way == WAY_TOP_P)
            weigh_parts(parts, args.num_scans, top, scale, terms, &whole);
        bin = way == WAY_TOP_K ? bin_of_top_k(counts, draw.top_k, space)
                               : bin_of_top_p(counts, draw.top_p, top, scale, whole, space);
    }

    const float *logits = args.logits + (int64_t)row * args.num_vocab;
    const uint32_t *banned = banned_of(args, draw);
    const int first = (int)blockIdx.x * SCAN_TOKENS, begin = first + warp * (SCAN_TOKENS / WARPS);
    const int most = begin + SCAN_TOKENS / WARPS;
    const int end = most < args.num_vocab ? most : args.num_vocab;
    int num = 0;
    for (int i = begin + lane; i < end; i += 32)
        num += is_candidate(score_at(logits, banned, i), bin) ? 1 : 0;
    num = warp_sum(num);
    if (lane == 0)
        nums[warp] = num;
    block_sync();
    int at = 0, all = 0;
    for (int w = 0; w < WARPS; w++) {
        at += w < warp ? nums[w] : 0;
        all += nums[w];
    }
    const int64_t place = (int64_t)row * args.num_scans + blockIdx.x;
    uint16_t *to = args.candidates + place * SCAN_CANDIDATES;
    if (threadIdx.x == 0)
        args.scans[place].num_candidates = all;
    if (all > SCAN_CANDIDATES)
        return;
    for (int i = begin; i < end; i += 32) { /* all lanes together */
        const bool is_one = i + lane < end && is_candidate(score_at(logits, banned, i + lane), bin);
        const unsigned those = lane_ballot(is_one);
        if (is_one)
            to[at + __popc(those & ((1u << lane) - 1u))] = (uint16_t)(i + lane - first);
        at += __popc(those);
    }
}

extern "C" void sample_gather(const struct launch *launch, const void *args)
{
    const struct sample_args *a = (const struct sample_args *)args;
    launch_kernel(gather_candidates_kernel, dim3(a->num_scans, a->num), THREADS, 0, launch, *a);
}
