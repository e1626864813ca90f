/*
 * sample.cu - from a row of logits to a token, as kernels/sample.c does on the host
 *
 * What needs every logit once (the best, whether one is no number, the sum of their exponentials)
 * is done by many blocks: sample_scan() takes a row in parts of 8,192 tokens, a block each, and the
 * parts are joined in their order. The rest has a block of 512 threads for each row: filters
 * (sample_row.cuh), then the draw. Ties go to the lower ids. The random number is Philox4x32-10 as
 * on the host; so the same row gives the same token unless the uniform number falls within rounding
 * of a border.
 *
 * A pass reads 4 bytes per token of the vocabulary, from L2: 3 to 4 us for 152,000 by one block,
 * under 1 by the scan's. Greedy without penalties or mask takes the scan alone, temperature 3
 * passes more, each of top-k, typical-p, top-p 13.
 */
#include "kernels/cuda/sample_row.cuh"

/* --- the draw -------------------------------------------------------------------------------------------- */

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

DEVICE float draw_weight(const struct row &r, int i)
{
    const float score = score_of(r, i);
    if (!is_kept(r, i, score))
        return 0.0f;
    const float weight = weight_of(r, score);
    return weight >= r.least_weight ? weight : 0.0f;
}

/* The token at which the sum of weights by id passes the uniform's share; the last with any weight
 * when rounding leaves none. Runs first, then one warp walks a run 32 tokens at a time. */
DEVICE int draw_token(const struct row &r, double *run_sums)
{
    __shared__ int found;
    const int warp = (int)threadIdx.x / 32, lane = lane_of();
    double own = 0.0;
    EACH_TOKEN(i, r)
    {
        own += (double)draw_weight(r, i);
    }
    own = warp_sum(own);
    block_sync();
    if (lane == 0)
        run_sums[warp] = own;
    if (threadIdx.x == 0)
        found = 0;
    block_sync();
    double whole = 0.0, sum = 0.0;
    for (int w = 0; w < WARPS; w++)
        whole += run_sums[w];
    const double target = ((double)uniform_of(*r.draw) + 2.98023223876953125e-8) * whole;
    int run = 0, last_run = 0;
    for (int w = 0; w < WARPS; w++)
        last_run = run_sums[w] > 0.0 ? w : last_run;
    while (run < last_run && sum + run_sums[run] <= target)
        sum += run_sums[run++];
    if (warp == run) {
        int last = -1;
        const int end = run_begin(r.num_vocab, run + 1);
        for (int begin = run_begin(r.num_vocab, run); begin < end; begin += 32) {
            const int i = begin + lane;
            const double weight = i < r.num_vocab && i < end ? (double)draw_weight(r, i) : 0.0;
            double prefix = weight; /* up to this lane */
            for (int delta = 1; delta < 32; delta *= 2) {
                const double below = lane_up(prefix, delta);
                prefix += lane >= delta ? below : 0.0;
            }
            const unsigned passed = lane_ballot(weight > 0.0 && sum + prefix > target);
            const unsigned any = lane_ballot(weight > 0.0);
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
    const int id = found;
    block_sync();
    return id;
}

/* --- maxima, in order of value and then of id ---------------------------------------------------------------- */

struct best {
    float value;
    int id;
};

/* The best token of those behind (value, id) in that order; id -1: none. NaN counts as nothing. */
DEVICE struct best next_best(const struct row &r, bool by_score, float value, int id,
                             struct best *space)
{
    struct best own = { -INFINITY, -1 };
    EACH_TOKEN(i, r)
    {
        const float x = by_score ? score_of(r, i) : r.logits[i];
        const bool is_behind = x < value || (x == value && i > id);
        if (is_behind && (own.id < 0 || x > own.value))
            own = { x, i };
    }
    for (int mask = 16; mask > 0; mask /= 2) {
        const float x = lane_xor(own.value, mask);
        const int i = lane_xor(own.id, mask);
        if (i >= 0 && (own.id < 0 || x > own.value || (x == own.value && i < own.id)))
            own = { x, i };
    }
    block_sync();
    if (lane_of() == 0)
        space[threadIdx.x / 32] = own;
    block_sync();
    own = space[0];
    for (int w = 1; w < WARPS; w++) {
        const struct best other = space[w];
        if (other.id >= 0 && (own.id < 0 || other.value > own.value ||
                              (other.value == own.value && other.id < own.id)))
            own = other;
    }
    block_sync();
    return own;
}

DEVICE bool is_finite(float x)
{
    return fabsf(x) <= 3.4028234663852886e38f;
}

/* What the scan found of all parts, each in its place: every thread joins them. */
DEVICE struct scan whole_of(const struct scan *parts, int num)
{
    struct scan whole = { -INFINITY, -1, 0, 0.0 };
    for (int i = 0; i < num; i++) {
        if (parts[i].id >= 0 && (whole.id < 0 || parts[i].best > whole.best)) {
            whole.best = parts[i].best;
            whole.id = parts[i].id;
        }
        whole.num_nan += parts[i].num_nan;
    }
    for (int i = 0; i < num; i++)
        if (parts[i].id >= 0 && parts[i].best > -INFINITY)
            whole.sum += parts[i].sum * exp((double)parts[i].best - (double)whole.best);
    return whole;
}

/* --- scores ------------------------------------------------------------------------------------------------- */

/* The last token may be one that only the device knows: it joins the edits, or is one of them. */
DEVICE int add_last(const struct sample_args &args, struct row &r)
{
    const struct draw &draw = *r.draw;
    if (draw.last < 0)
        return draw.num_edits;
    __shared__ int place;
    const int id = args.before[draw.last].id;
    if (threadIdx.x == 0)
        place = draw.num_edits;
    block_sync();
    for (int i = (int)threadIdx.x; i < draw.num_edits; i += THREADS)
        if (r.edits[i].id == id)
            place = i;
    block_sync();
    if (threadIdx.x == 0) {
        struct edit *edit = &r.edits[place];
        if (place == draw.num_edits)
            *edit = { id, 0, 0, 0.0f, 0.0f };
        edit->seen = 1;
        edit->count += draw.last_in_output;
    }
    block_sync();
    return place == draw.num_edits ? place + 1 : draw.num_edits;
}

/* Bias, then repetition, then frequency and presence: tokens that differ, so in any order. */
DEVICE void apply_edits(const struct row &r)
{
    const struct draw &draw = *r.draw;
    for (int i = (int)threadIdx.x; i < r.num_edits; i += THREADS) {
        struct edit *edit = &r.edits[i];
        if (edit->id < 0 || edit->id >= r.num_vocab)
            continue;
        float score = r.logits[edit->id];
        edit->raw = score;
        score += edit->bias;
        if (edit->seen && draw.repetition > 0.0f)
            score = score > 0.0f ? score / draw.repetition : score * draw.repetition;
        if (edit->count > 0)
            score -= draw.frequency * (float)edit->count + draw.presence;
        r.logits[edit->id] = score;
    }
    block_sync();
}

DEVICE void undo_edits(const struct row &r)
{
    for (int i = (int)threadIdx.x; i < r.num_edits; i += THREADS)
        if (r.edits[i].id >= 0 && r.edits[i].id < r.num_vocab)
            r.logits[r.edits[i].id] = r.edits[i].raw;
    block_sync();
}

struct space {
    double sums[MAX_WARPS], runs[MAX_WARPS];
    float floats[MAX_WARPS];
    struct best bests[MAX_WARPS];
};

/* Returns the token, or -1 when nothing can be drawn. `raw`: the best of the logits. */
DEVICE int choose(struct row &r, struct best raw, struct space &space)
{
    const bool is_raw = r.num_edits == 0 && r.banned == nullptr;
    const struct best best = is_raw ? raw : next_best(r, true, INFINITY, -1, space.bests);
    if (best.id < 0 || !is_finite(best.value))
        return -1;
    if (r.draw->temperature < 1e-5f)
        return best.id;
    r.best = best.value;
    r.scale = 1.0f / fmaxf(r.draw->temperature, 0.01f);
    filter_top_k(r, space.sums, space.runs);
    filter_typical(r, space.sums, space.runs);
    filter_top_p(r, space.sums, space.runs);
    filter_min_p(r, space.floats);
    return draw_token(r, space.runs);
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

DEVICE int rank_of(const struct row &r, int id, double *space)
{
    const float value = r.logits[id];
    double num = 0.0;
    EACH_TOKEN(i, r)
    {
        num += r.logits[i] > value || (r.logits[i] == value && i < id) ? 1.0 : 0.0;
    }
    return 1 + (int)block_sum(num, space);
}

/* Of the raw logits: the token's own, then of the best. */
DEVICE void give_logprobs(const struct row &r, int id, double lse, struct result *result,
                          struct space &space)
{
    if (threadIdx.x == 0) {
        result->logprobs[0] = (float)((double)r.logits[id] - lse);
        result->ids[0] = id;
    }
    struct best top = { INFINITY, -1 };
    for (int k = 1; k <= r.draw->num_logprobs; k++) {
        if (k == 1 || top.id >= 0)
            top = next_best(r, false, top.value, top.id, space.bests);
        if (threadIdx.x == 0) {
            result->logprobs[k] = top.id >= 0 ? (float)((double)top.value - lse) : -INFINITY;
            result->ids[k] = top.id;
        }
    }
}

KERNEL(THREADS, 1) sample_kernel(const struct sample_args args)
{
    __shared__ struct space space;
    begin_kernel();
    const struct draw *draw = &args.draws[blockIdx.x];
    struct result *result = &args.results[blockIdx.x];
    struct row r;
    r.logits = args.logits + (int64_t)blockIdx.x * args.num_vocab;
    r.num_vocab = args.num_vocab;
    r.banned = draw->banned >= 0 ? (const uint32_t *)(args.tables + draw->banned) : nullptr;
    r.draw = draw;
    r.edits = (struct edit *)(args.tables + draw->edits);
    r.top_k.is_on = r.typical.is_on = r.top_p.is_on = false;
    r.num_edits = 0;

    const struct scan whole = whole_of(args.scans + (int64_t)blockIdx.x * args.num_scans,
                                       args.num_scans);
    if (whole.id < 0 || whole.num_nan > 0 || !is_finite(whole.best)) {
        give_bad(*draw, result);
        return;
    }
    int id = draw->forced_id;
    if (id < 0) {
        r.num_edits = add_last(args, r);
        apply_edits(r);
        id = choose(r, { whole.best, whole.id }, space);
        undo_edits(r);
    }
    if (id < 0 || id >= r.num_vocab) {
        give_bad(*draw, result);
        return;
    }
    const int rank = draw->wants_rank ? rank_of(r, id, space.sums) : 0;
    if (threadIdx.x == 0) {
        result->id = id;
        result->rank = rank;
        result->bad = 0;
    }
    if (draw->num_logprobs >= 0)
        give_logprobs(r, id, (double)whole.best + log(whole.sum), result, space);
}

extern "C" void sample_rows(const struct launch *launch, const void *args)
{
    const struct sample_args *a = (const struct sample_args *)args;
    launch_kernel(sample_kernel, dim3(a->num), THREADS, 0, launch, *a);
}
