/*
 * moe.cu - which experts a row goes to, where its copies stand, and what comes of them
 *
 * choose : a warp per row; scores and keys of all experts in shared memory, the best are found one
 *          after the other (top_k passes over num_experts). Same order as the CPU: of equal ones
 *          the lower index.
 * sort   : a block per expert counts the pairs of those before it and its own, by warps of which
 * each has a run of pairs, and then deals out places in the order of rows, so that places depend on
 * nothing but the choice. Pairs are read twice by each block, from L2: 128 experts and 2,048 rows
 * of 8 are 17 MB, about 5 us. add    : a thread per column adds up a row's experts in their order.
 */
#include "kernels/backend.h"
#include "kernels/cuda/each.cuh"

enum { EXPERTS = MOE_MAX_EXPERTS, SORT_FEW = 2048 };

struct choice {
    float scores[EXPERTS], keys[EXPERTS];
};

/* The first of the greatest in [from, to); -INFINITY counts as taken. Every lane gets it. */
DEVICE int find_best(const float *keys, int from, int to)
{
    float best = -INFINITY;
    int at = from;
    for (int i = from + lane_of(); i < to; i += 32)
        if (keys[i] > best) {
            best = keys[i];
            at = i;
        }
    for (int mask = 16; mask > 0; mask /= 2) {
        const float other = lane_xor(best, mask);
        const int other_at = lane_xor(at, mask);
        if (other > best || (other == best && other_at < at)) {
            best = other;
            at = other_at;
        }
    }
    return at;
}

DEVICE void softmax(float *scores, int num)
{
    float max = -INFINITY, sum = 0.0f;
    for (int i = lane_of(); i < num; i += 32)
        max = fmaxf(max, scores[i]);
    max = warp_max(max);
    for (int i = lane_of(); i < num; i += 32) {
        scores[i] = expf(scores[i] - max);
        sum += scores[i];
    }
    sum = warp_sum(sum);
    for (int i = lane_of(); i < num; i += 32)
        scores[i] /= sum;
}

/* A lane per group: the sum of its best keys, each the next behind the one before. */
DEVICE float group_score(const float *keys, int from, int to, int top)
{
    float sum = 0.0f, last = INFINITY;
    int last_at = -1;
    for (int k = 0; k < top && k < to - from; k++) {
        int best = -1;
        for (int i = from; i < to; i++) {
            const bool is_behind = keys[i] < last || (keys[i] == last && i > last_at);
            if (is_behind && (best < 0 || keys[i] > keys[best]))
                best = i;
        }
        if (best < 0)
            break;
        sum += keys[best];
        last = keys[best];
        last_at = best;
    }
    return sum;
}

/* Keys of other than the best groups become -INFINITY. */
DEVICE void keep_groups(const struct route_args &args, float *keys, float *groups)
{
    const int size = args.num_experts / args.num_groups;
    for (int g = lane_of(); g < args.num_groups; g += 32)
        groups[g] = group_score(keys, g * size, (g + 1) * size, args.group_top);
    warp_sync();
    for (int k = 0; k < args.top_groups; k++) {
        const int best = find_best(groups, 0, args.num_groups);
        warp_sync();
        if (lane_of() == 0)
            groups[best] = -INFINITY;
        warp_sync();
    }
    for (int e = lane_of(); e < args.num_experts; e += 32)
        if (groups[e / size] != -INFINITY)
            keys[e] = -INFINITY;
    warp_sync();
}

DEVICE void choose_by_scores(const struct route_args &args, int64_t row, struct choice *c,
                             float *groups)
{
    const float *logits = args.logits + row * args.num_experts;
    const int lane = lane_of();
    for (int e = lane; e < args.num_experts; e += 32)
        c->scores[e] = args.scores == MOE_SIGMOID ? sigmoid(logits[e]) : logits[e];
    warp_sync();
    if (args.scores == MOE_SOFTMAX)
        softmax(c->scores, args.num_experts);
    for (int e = lane; e < args.num_experts; e += 32) {
        const float key = c->scores[e] + (args.bias != nullptr ? args.bias[e] : 0.0f);
        c->keys[e] = key == key ? key : -3e38f;
    }
    warp_sync();
    if (args.num_groups > 1)
        keep_groups(args, c->keys, groups);
    float sum = 1e-20f;
    for (int k = 0; k < args.top_k; k++) {
        const int best = find_best(c->keys, 0, args.num_experts);
        warp_sync();
        sum += c->scores[best];
        if (lane == 0) {
            args.experts[row * args.top_k + k] = best;
            args.weights[row * args.top_k + k] = c->scores[best];
            c->keys[best] = -INFINITY;
        }
        warp_sync();
    }
    if (lane == 0)
        for (int k = 0; k < args.top_k; k++) {
            float *weight = &args.weights[row * args.top_k + k];
            *weight = (args.normalize ? *weight / sum : *weight) * args.scale;
        }
}

DEVICE void choose_by_token(const struct route_args &args, int64_t row, struct choice *c)
{
    const int64_t at = args.token_rows != nullptr ? args.token_rows[row] : row;
    const int base = args.table[args.token_ids[at]], lane = lane_of();
    int best = base;
    if (args.logits != nullptr) {
        const float *logits = args.logits + row * args.num_experts;
        for (int e = lane; e < args.num_experts; e += 32)
            c->keys[e] = logits[e] + (e == base ? 10.0f : 0.0f);
        warp_sync();
        best = find_best(c->keys, 0, args.num_experts);
    }
    if (lane == 0) {
        args.experts[row] = best;
        args.weights[row] = 1.0f;
    }
}

KERNEL(32, 8) choose_kernel(const struct route_args args)
{
    __shared__ struct choice choice;
    __shared__ float groups[EXPERTS];
    begin_kernel();
    if (args.table != nullptr)
        choose_by_token(args, blockIdx.x, &choice);
    else
        choose_by_scores(args, blockIdx.x, &choice, groups);
}

/* A warp's pairs [from, to) that are of expert e; those of experts before it. */
DEVICE int count_pairs(const struct route_args &args, int e, int from, int to, int *less)
{
    int equal = 0;
    for (int i = from + lane_of(); i < to; i += 32) {
        const int expert = args.experts[i];
        equal += expert == e;
        *less += expert < e;
    }
    return warp_sum(equal);
}

KERNEL(32 * MAX_WARPS, 1) sort_kernel(const struct route_args args)
{
    __shared__ int counts[MAX_WARPS], space[MAX_WARPS];
    begin_kernel();
    const int e = (int)blockIdx.x, pairs = args.rows * args.top_k;
    const int warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
    const int run = (pairs + warps - 1) / warps, from = warp * run;
    const int to = from + run < pairs ? from + run : pairs;
    int less = 0;
    const int equal = count_pairs(args, e, from, to, &less);
    if (lane_of() == 0)
        counts[warp] = equal;
    const int begin = block_sum(less, space); /* all have counted */
    int place = begin, end = begin;
    for (int w = 0; w < warps; w++) {
        place += w < warp ? counts[w] : 0;
        end += counts[w];
    }
    if (threadIdx.x == 0) {
        args.first[e] = begin;
        if (e == args.num_experts - 1)
            args.first[args.num_experts] = end;
    }
    for (int i = from; i < to; i += 32) {
        const int at = i + lane_of();
        const bool is_own = at < to && args.experts[at] == e;
        const unsigned own = lane_ballot(is_own);
        const int mine = place + count_bits(own & ((1u << lane_of()) - 1));
        if (is_own) {
            args.places[at] = mine;
            args.place_rows[mine] = at / args.top_k;
        }
        place += count_bits(own);
    }
}

KERNEL(THREADS, 4) add_kernel(const struct combine_args args)
{
    begin_kernel();
    const int64_t cols = args.cols;
    EACH_CELL(row, col, args.rows, args.cols)
    {
        float sum = 0.0f;
        for (int k = 0; k < args.top_k; k++) {
            const int64_t pair = row * args.top_k + k;
            const float value = args.weights[pair] * args.y[args.places[pair] * cols + col];
            sum = k > 0 ? sum + value : value;
        }
        if (args.shared != nullptr)
            sum += (args.gate != nullptr ? sigmoid(args.gate[row]) : 1.0f) *
                   args.shared[row * cols + col];
        args.out[row * cols + col] = sum;
    }
}

extern "C" void moe_choose(const struct launch *launch, const void *args)
{
    const struct route_args *a = (const struct route_args *)args;
    launch_kernel(choose_kernel, dim3(a->rows), 32, 0, launch, *a);
}

extern "C" void moe_sort(const struct launch *launch, const void *args)
{
    const struct route_args *a = (const struct route_args *)args;
    const int warps = a->rows * a->top_k <= SORT_FEW ? 8 : MAX_WARPS;
    launch_kernel(sort_kernel, dim3((unsigned)a->num_experts), 32 * warps, 0, launch, *a);
}

extern "C" void moe_add(const struct launch *launch, const void *args)
{
    const struct combine_args *a = (const struct combine_args *)args;
    launch_kernel(add_kernel, grid_of_cells(a->rows, a->cols), THREADS, 0, launch, *a);
}
