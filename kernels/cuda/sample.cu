/*
 * sample.cu - from a row of logits to a token, as kernels/sample.c does on the host
 *
 * A block of 512 threads per row. Nothing is sorted and nothing is stored but the logits: a filter
 * is a threshold on a key that is computed again on each pass, found seven bounds at a time
 * (11 passes for 32 bits); every pass sums in an order that is fixed. Ties go to the lower ids. The
 * random number is Philox4x32-10 as on the host; so the same row gives the same token unless the
 * uniform number falls within rounding of a border.
 *
 * A pass reads 4 bytes per token of the vocabulary, from L2: 3 to 4 us for 152,000 by one block.
 * Greedy takes 2 passes, temperature 4, each of top-k, typical-p, top-p 13 more.
 */
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

/* Is one a NaN? */
DEVICE bool any_nan(const struct row &r, double *space)
{
    double num = 0.0;
    EACH_TOKEN(i, r)
    {
        num += r.logits[i] == r.logits[i] ? 0.0 : 1.0;
    }
    return block_sum(num, space) > 0.0;
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

/* Returns the token, or -1 when nothing can be drawn. */
DEVICE int choose(struct row &r, struct space &space)
{
    const struct best best = next_best(r, true, INFINITY, -1, space.bests);
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
    *result = { 0, 0, 1, { 0.0f }, { 0 } };
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
DEVICE void give_logprobs(const struct row &r, int id, float best, struct result *result,
                          struct space &space)
{
    double sum = 0.0;
    EACH_TOKEN(i, r)
    {
        sum += (double)expf(r.logits[i] - best);
    }
    const double lse = (double)best + log(block_sum(sum, space.sums));
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

    const struct best raw = next_best(r, false, INFINITY, -1, space.bests);
    const bool infinite = raw.id >= 0 && raw.value == INFINITY;
    if (raw.id < 0 || infinite || !is_finite(raw.value) || any_nan(r, space.sums)) {
        give_bad(*draw, result);
        return;
    }
    int id = draw->forced_id;
    if (id < 0) {
        r.num_edits = add_last(args, r);
        apply_edits(r);
        id = choose(r, space);
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
        give_logprobs(r, id, raw.value, result, space);
}

extern "C" void sample_rows(const struct launch *launch, const void *args)
{
    const struct sample_args *a = (const struct sample_args *)args;
    launch_kernel(sample_kernel, dim3(a->num), THREADS, 0, launch, *a);
}
