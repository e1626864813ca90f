/*
 * sample.cu - from a row of logits to a token, as kernels/sample.c does on the host
 *
 * What needs every logit (the best, whether one is no number, sums of exponentials, numbers in bins
 * of scores) is done by many blocks: sample_scan() takes a row in parts of 8,192 tokens, a block
 * each, and sample_gather() writes down the tokens that filters may keep. The rest has a block of
 * 512 threads for each row: filters over those candidates (sample_row.cuh), then the draw. Ties go
 * to the lower ids. The random number is Philox4x32-10 as on the host; so the same row gives the
 * same token unless the uniform number falls within rounding of a border.
 *
 * Bytes and passes, of 152,000 tokens, 608 KB in L2: greedy takes the scan alone, 2 passes by 19
 * blocks, of which the second hits L1; without a filter the draw reads one part more, 32 KB. Top-k,
 * top-p and min-p take 2 passes of the scan more, 2 of sample_gather(), and 13 over candidates in
 * shared memory: for 5 to 1,000 of them less than 1 us each, which are barriers. Together 10 to 15
 * us for each such row, beside each other as far as there are SMs. A row takes the way of
 * typical-p, which is all passes over all tokens by one block, 3 to 4 us each, when a filter may
 * keep more than 512 of a part or 4,096 in all: almost flat distributions.
 */
#include "kernels/cuda/sample_row.cuh"

enum { MAX_CANDIDATES = 4096 };

/* --- the draw -------------------------------------------------------------------------------- */

DEVICE float uniform_of(const struct draw &draw)
{
    uint32_t c[4] = { draw.choice, draw.output_pos, 0, 0 };
    uint32_t k[2] = { (uint32_t)draw.seed, (uint32_t)(draw.seed >> 32) };
    for (int round = 0; round < 10; round++) {
        const uint32_t a = mul_high(0xD2511F53u, c[0]), a_low = 0xD2511F53u * c[0];
        const uint32_t b = mul_high(0xCD9E8D57u, c[2]), b_low = 0xCD9E8D57u * c[2];
        c[0] = b ^ c[1] ^ k[0];
        c[1] = b_low;
        c[2] = a ^ c[3] ^ k[1];
        c[3] = a_low;
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    return (float)(c[0] >> 8) * 5.9604644775390625e-8f;
}

DEVICE uint64_t draw_weight(const struct row &r, int i)
{
    const float score = score_of(r, i);
    if (!is_kept(r, i, score))
        return 0;
    const float weight = weight_of(r, score);
    return weight >= r.least_weight ? fixed_weight(weight) : 0;
}

/* A share of the whole that is never 0 or 1. */
DEVICE double share_of(const struct draw &draw)
{
    return (double)uniform_of(draw) + 2.98023223876953125e-8;
}

/* The token at which the sum of weights, from `before` on, passes the uniform's share of `whole`;
 * the last with any weight when rounding leaves none. Runs first, then one warp walks a run 32
 * tokens at a time. `whole` 0: what the tokens weigh. */
DEVICE int draw_token(const struct row &r, uint64_t before, uint64_t whole, struct row_space &space)
{
    __shared__ int found;
    const int warp = (int)threadIdx.x / 32, lane = lane_of();
    uint64_t own = 0, sum = before;
    EACH_TOKEN(i, r)
    {
        own += draw_weight(r, i);
    }
    const uint64_t all = row_sum(own, space);
    if (threadIdx.x == 0)
        found = 0;
    block_sync();
    const uint64_t target = (uint64_t)(share_of(*r.draw) * (double)(whole > 0 ? whole : all));
    int run = 0, last_run = 0;
    for (int w = 0; w < WARPS; w++)
        last_run = space.runs[w] > 0 ? w : last_run;
    while (run < last_run && sum + space.runs[run] <= target)
        sum += space.runs[run++];
    if (warp == run) {
        int last = -1;
        const int end = run_begin(r.num, run + 1);
        for (int begin = run_begin(r.num, run); begin < end; begin += 32) {
            const int i = begin + lane;
            const uint64_t weight = i < r.num && i < end ? draw_weight(r, i) : 0;
            uint64_t prefix = weight; /* up to this lane */
            for (int delta = 1; delta < 32; delta *= 2) {
                const uint64_t below = lane_up(prefix, delta);
                prefix += lane >= delta ? below : 0;
            }
            const unsigned passed = lane_ballot(weight > 0 && sum + prefix > target);
            const unsigned any = lane_ballot(weight > 0);
            if (passed != 0) {
                last = begin + __ffs((int)passed) - 1;
                break;
            }
            last = any != 0 ? begin + 31 - __clz((int)any) : last;
            sum += warp_sum(weight);
        }
        if (lane == 0)
            found = last < 0 ? 0 : last;
    }
    block_sync();
    const int at = found;
    block_sync();
    return id_of(r, at);
}

/* --- what the blocks before found ---------------------------------------------------------- */

/* The best token of those behind (value, id) in that order; id -1: none. NaN counts as nothing. */
DEVICE struct best next_best(const struct row &r, struct best before, struct best *space)
{
    struct best own = { -INFINITY, -1 };
    EACH_TOKEN(i, r)
    {
        const float x = r.logits[i];
        const bool is_behind = x < before.value || (x == before.value && i > before.id);
        if (is_behind && (own.id < 0 || x > own.value))
            own = { x, i };
    }
    return block_best(own, space);
}

/* Of the logits. */
struct whole {
    struct best best;
    int num_nan;
};

DEVICE struct whole whole_of(const struct scan *parts, int num)
{
    struct whole whole = { { -INFINITY, -1 }, 0 };
    for (int p = 0; p < num; p++) {
        whole.best = better(whole.best, { parts[p].best, parts[p].id });
        whole.num_nan += parts[p].num_nan;
    }
    return whole;
}

/* By one thread alone. */
DEVICE double log_sum_exp(const struct scan *parts, int num, float best)
{
    double sum = 0.0;
    for (int p = 0; p < num; p++)
        if (parts[p].id >= 0 && parts[p].best > -INFINITY)
            sum += parts[p].sum * exp((double)parts[p].best - (double)best);
    return (double)best + log(sum);
}

DEVICE void undo_edits(const struct sample_args &args, const struct draw &draw, float *logits)
{
    const struct edit *edits = (const struct edit *)(args.tables + draw.edits);
    const int num = draw.num_edits + (draw.last >= 0 ? 1 : 0);
    block_sync();
    for (int i = (int)threadIdx.x; i < num; i += THREADS)
        if (edits[i].id >= 0 && edits[i].id < args.num_vocab)
            logits[edits[i].id] = edits[i].raw;
    block_sync();
}

/* --- choosing ------------------------------------------------------------------------------ */

struct space {
    int ids[MAX_CANDIDATES];
    float scores[MAX_CANDIDATES];
    double terms[SCAN_MAX_PARTS], whole;
    struct row_space row;
    struct best bests[MAX_WARPS];
};

/* Those of all parts, in their order: a warp takes a part. Or false: there are too many. */
DEVICE bool load_candidates(const struct sample_args &args, struct row &r, struct space &space)
{
    const struct scan *parts = parts_of(args, (int)blockIdx.x);
    const uint16_t *tokens =
        args.candidates + (int64_t)blockIdx.x * args.num_scans * SCAN_CANDIDATES;
    int num = 0, most = 0;
    for (int p = 0; p < args.num_scans; p++) {
        num += parts[p].num_candidates;
        most = parts[p].num_candidates > most ? parts[p].num_candidates : most;
    }
    if (num > MAX_CANDIDATES || most > SCAN_CANDIDATES)
        return false;
    int at = 0;
    for (int p = 0; p < args.num_scans; p++) {
        if (p % WARPS == (int)threadIdx.x / 32)
            for (int i = lane_of(); i < parts[p].num_candidates; i += 32) {
                const int id = p * SCAN_TOKENS + tokens[p * SCAN_CANDIDATES + i];
                space.ids[at + i] = id;
                space.scores[at + i] = r.logits[id];
            }
        at += parts[p].num_candidates;
    }
    block_sync();
    r.num = num;
    r.ids = space.ids;
    r.scores = space.scores;
    return true;
}

/* Without a filter: the part first, by what the scan found. */
DEVICE int draw_from_part(const struct sample_args &args, struct row &r, struct space &space)
{
    const struct scan *parts = parts_of(args, (int)blockIdx.x);
    weigh_parts(parts, args.num_scans, r.best, r.scale, space.terms, &space.whole);
    const double target = share_of(*r.draw) * space.whole;
    double before = 0.0;
    int part = 0;
    for (int p = 0; p < args.num_scans; p++)
        part = space.terms[p] > 0.0 ? p : part;
    const int last = part;
    for (part = 0; part < last && before + space.terms[part] <= target; part++)
        before += space.terms[part];
    r.first = part * SCAN_TOKENS;
    r.num = args.num_vocab - r.first < SCAN_TOKENS ? args.num_vocab - r.first : SCAN_TOKENS;
    return draw_token(r, fixed_of(before), fixed_of(space.whole), space.row);
}

/* Returns the token, or -1 when nothing can be drawn. */
DEVICE int choose(const struct sample_args &args, struct row &r, struct space &space)
{
    const struct scan *parts = parts_of(args, (int)blockIdx.x);
    const struct best top = top_of(parts, args.num_scans);
    const enum sample_way way = way_of(*r.draw);
    if (top.id < 0 || !is_finite(top.value))
        return -1;
    if (way == WAY_BEST)
        return top.id;
    r.best = top.value;
    r.scale = scale_of(*r.draw);
    if (way == WAY_PART)
        return draw_from_part(args, r, space);
    const bool has_all = way == WAY_ALL || !load_candidates(args, r, space);
    if (way == WAY_TOP_P && !has_all)
        weigh_parts(parts, args.num_scans, r.best, r.scale, space.terms, &space.whole);
    filter_bounds(r, way == WAY_TOP_P && !has_all ? space.whole : 0.0, space.row);
    filter_min_p(r, space.row);
    return draw_token(r, 0, 0, space.row);
}

DEVICE void give_bad(const struct draw &draw, struct result *result)
{
    if (threadIdx.x != 0)
        return;
    *result = { 0, 0, 1, { 0.0f }, { 0 }, 0 };
    for (int k = 0; k <= draw.num_logprobs; k++) {
        result->logprobs[k] = -INFINITY;
        result->ids[k] = k == 0 ? 0 : -1;
    }
}

/* Both below are of the logits as they were: all tokens. */
DEVICE int rank_of(const struct row &r, int id, struct row_space &space)
{
    const float value = r.logits[id];
    uint64_t num = 0;
    EACH_TOKEN(i, r)
    {
        num += r.logits[i] > value || (r.logits[i] == value && i < id) ? 1 : 0;
    }
    return 1 + (int)row_sum(num, space);
}

DEVICE void give_logprobs(const struct row &r, int id, double lse, struct result *result,
                          struct best *space)
{
    if (threadIdx.x == 0) {
        result->logprobs[0] = (float)((double)r.logits[id] - lse);
        result->ids[0] = id;
    }
    struct best top = { INFINITY, -1 };
    for (int k = 1; k <= r.draw->num_logprobs; k++) {
        if (k == 1 || top.id >= 0)
            top = next_best(r, top, space);
        if (threadIdx.x == 0) {
            result->logprobs[k] = top.id >= 0 ? (float)((double)top.value - lse) : -INFINITY;
            result->ids[k] = top.id;
        }
    }
}

DEVICE struct row all_of(const struct sample_args &args)
{
    const struct draw *draw = &args.draws[blockIdx.x];
    struct row r;
    r.logits = args.logits + (int64_t)blockIdx.x * args.num_vocab;
    r.banned = banned_of(args, *draw);
    r.draw = draw;
    r.num = args.num_vocab;
    r.first = 0;
    r.ids = nullptr;
    r.scores = nullptr;
    r.top_k.is_on = r.typical.is_on = r.top_p.is_on = false;
    r.least_weight = 0.0f;
    return r;
}

KERNEL(THREADS, 1) sample_kernel(const struct sample_args args)
{
    __shared__ struct space space;
    begin_kernel();
    const struct scan *parts = parts_of(args, (int)blockIdx.x);
    struct result *result = &args.results[blockIdx.x];
    const struct row all = all_of(args);
    const struct draw &draw = *all.draw;
    const struct whole whole = whole_of(parts, args.num_scans);
    if (whole.best.id < 0 || whole.num_nan > 0 || !is_finite(whole.best.value)) {
        give_bad(draw, result);
        return;
    }
    int id = draw.forced_id;
    if (id < 0) {
        struct row r = all;
        id = choose(args, r, space);
        undo_edits(args, draw, args.logits + (int64_t)blockIdx.x * args.num_vocab);
    }
    if (id < 0 || id >= args.num_vocab) {
        give_bad(draw, result);
        return;
    }
    const int rank = draw.wants_rank ? rank_of(all, id, space.row) : 0;
    if (threadIdx.x == 0) {
        result->id = id;
        result->rank = rank;
        result->bad = 0;
    }
    if (draw.num_logprobs < 0)
        return;
    if (threadIdx.x == 0)
        space.whole = log_sum_exp(parts, args.num_scans, whole.best.value);
    block_sync();
    give_logprobs(all, id, space.whole, result, space.bests);
}

extern "C" void sample_rows(const struct launch *launch, const void *args)
{
    const struct sample_args *a = (const struct sample_args *)args;
    launch_kernel(sample_kernel, dim3(a->num), THREADS, 0, launch, *a);
}
