/*
 * sample_scan.cu - each logit once, by many blocks: the best, NaNs, sums of exponentials, bins
 *
 * A block of 256 threads takes SCAN_TOKENS tokens of one row, a thread each 256th of them; so a row
 * of 152,000 is read by 19 blocks, and what they find has an order that depends on the vocabulary
 * alone. The exponentials are of the distance to the part's own best: a pass for that, one for
 * them, of 32 KiB that the second finds in L1. Then the edits of its own tokens become scores, and
 * of rows that are drawn those are looked through as the logits were, and counted by bins
 * (sample_part.cuh), which is an addition in shared memory for each: 2 to 5 of 32 lanes meet in one
 * bin. Bound by latency, 2 us for any number of rows that fits into the SMs at once, 4 us for those
 * with filters.
 */
#include "kernels/cuda/sample_part.cuh"

enum { THREADS = 256 };

/* Tokens [begin, end) of a row. */
struct part {
    float *logits;
    const uint32_t *banned;
    int begin, end;
};

DEVICE struct best best_logit(const struct part &p, int *num_nan)
{
    struct best best = { -INFINITY, -1 };
    for (int i = p.begin + (int)threadIdx.x; i < p.end; i += THREADS) {
        const float x = p.logits[i];
        *num_nan += x == x ? 0 : 1;
        if (x == x && (best.id < 0 || x > best.value))
            best = { x, i };
    }
    return best;
}

DEVICE double sum_logits(const struct part &p, float best)
{
    double sum = 0.0;
    if (is_finite(best))
        for (int i = p.begin + (int)threadIdx.x; i < p.end; i += THREADS)
            sum += (double)expf(p.logits[i] - best);
    return sum;
}

/* --- scores -------------------------------------------------------------------------------- */

/* The last token may be one that only the device knows: it joins the edits, or is one of them. The
 * block that has it says so in the place behind them, where nobody else looks; a token that is none
 * is the first block's. Returns the edits there are for this block. */
DEVICE int add_last(const struct sample_args &args, const struct draw &draw, const struct part &p,
                    struct edit *edits)
{
    if (draw.last < 0)
        return draw.num_edits;
    __shared__ int place;
    const int id = args.before[draw.last].id;
    const bool is_token = id >= 0 && id < args.num_vocab;
    if (is_token ? id < p.begin || id >= p.end : p.begin > 0)
        return draw.num_edits;
    if (threadIdx.x == 0)
        place = draw.num_edits;
    block_sync();
    for (int i = (int)threadIdx.x; i < draw.num_edits; i += THREADS)
        if (edits[i].id == id)
            place = i;
    block_sync();
    if (threadIdx.x == 0) {
        edits[draw.num_edits] = { place == draw.num_edits && is_token ? id : -1, 0, 0, 0.0f, 0.0f };
        if (is_token) {
            edits[place].seen = 1;
            edits[place].count += draw.last_in_output;
        }
    }
    block_sync();
    return draw.num_edits + 1;
}

/* Bias, then repetition, then frequency and presence: tokens that differ, so in any order. */
DEVICE void apply_edits(const struct draw &draw, const struct part &p, struct edit *edits, int num)
{
    for (int i = (int)threadIdx.x; i < num; i += THREADS) {
        struct edit *edit = &edits[i];
        if (edit->id < p.begin || edit->id >= p.end)
            continue;
        float score = p.logits[edit->id];
        edit->raw = score;
        score += edit->bias;
        if (edit->seen && draw.repetition > 0.0f)
            score = score > 0.0f ? score / draw.repetition : score * draw.repetition;
        if (edit->count > 0)
            score -= draw.frequency * (float)edit->count + draw.presence;
        p.logits[edit->id] = score;
    }
    block_sync();
}

DEVICE struct best best_score(const struct part &p)
{
    struct best best = { -INFINITY, -1 };
    for (int i = p.begin + (int)threadIdx.x; i < p.end; i += THREADS) {
        const float x = score_at(p.logits, p.banned, i);
        if (x > best.value || (x == best.value && best.id < 0))
            best = { x, i };
    }
    return best;
}

DEVICE double sum_weights(const struct part &p, float top, float scale)
{
    double sum = 0.0;
    if (is_finite(top))
        for (int i = p.begin + (int)threadIdx.x; i < p.end; i += THREADS)
            sum += (double)weight_below(score_at(p.logits, p.banned, i), top, scale);
    return sum;
}

/* How many scores are in each bin: integers, so in any order. */
DEVICE void count_bins(const struct part &p, uint16_t *to)
{
    __shared__ int counts[SCAN_BINS];
    for (int b = (int)threadIdx.x; b < SCAN_BINS; b += THREADS)
        counts[b] = 0;
    block_sync();
    for (int i = p.begin + (int)threadIdx.x; i < p.end; i += THREADS) {
        const float x = score_at(p.logits, p.banned, i);
        if (x > -INFINITY)
            atomic_add(&counts[bin_of(x)], 1);
    }
    block_sync();
    for (int b = (int)threadIdx.x; b < SCAN_BINS; b += THREADS)
        to[b] = (uint16_t)counts[b];
}

KERNEL(THREADS, 4) scan_kernel(const struct sample_args args)
{
    __shared__ double sums[MAX_WARPS];
    __shared__ struct best bests[MAX_WARPS];
    begin_kernel();
    const struct draw &draw = args.draws[blockIdx.y];
    const enum sample_way way = way_of(draw);
    const int64_t place = (int64_t)blockIdx.y * args.num_scans + blockIdx.x;
    struct edit *edits = (struct edit *)(args.tables + draw.edits);
    struct part p;
    p.logits = args.logits + (int64_t)blockIdx.y * args.num_vocab;
    p.banned = banned_of(args, draw);
    p.begin = (int)blockIdx.x * SCAN_TOKENS;
    p.end = p.begin + SCAN_TOKENS < args.num_vocab ? p.begin + SCAN_TOKENS : args.num_vocab;

    int num_nan = 0;
    const struct best best = block_best(best_logit(p, &num_nan), bests);
    const double sum = block_sum(sum_logits(p, best.value), sums);
    const double nans = block_sum((double)num_nan, sums); /* no logit is read behind this */
    struct best top = best;
    if (way != WAY_FORCED && (draw.num_edits > 0 || draw.last >= 0 || p.banned != nullptr)) {
        apply_edits(draw, p, edits, add_last(args, draw, p, edits));
        top = block_best(best_score(p), bests);
    }
    const float scale = scale_of(draw);
    const double weight = way > WAY_BEST ? block_sum(sum_weights(p, top.value, scale), sums) : 0.0;
    if (way == WAY_TOP_K || way == WAY_TOP_P)
        count_bins(p, args.bins + place * SCAN_BINS);
    if (threadIdx.x == 0)
        args.scans[place] = { best.value, best.id, (int)nans, top.value, top.id, 0, sum, weight };
}

extern "C" void sample_scan(const struct launch *launch, const void *args)
{
    const struct sample_args *a = (const struct sample_args *)args;
    launch_kernel(scan_kernel, dim3(a->num_scans, a->num), THREADS, 0, launch, *a);
}
