/*
 * moe.cu - which experts a row goes to, where its copies stand, and what comes of them
 *
 * choose : a warp per row; scores and keys of all experts in shared memory, the best are found one
 *          after the other (top_k passes over num_experts). Same order as the CPU: of equal ones
 *          the lower index.
 * sort   : one block, a thread per expert; each counts its pairs and then deals out places in the
 *          order of rows, so that places depend on nothing but the choice. pairs / 4 loads of 16
 *          bytes per thread and pass: 5 us for 64 rows of 8, 60 us for 2,048.
 * add    : a thread per column adds up a row's experts in their order.
 */
#include "kernels/backend.h"
#include "kernels/cuda/device.cuh"

enum { EXPERTS = MOE_MAX_EXPERTS, THREADS = 256 };

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

KERNEL(EXPERTS, 1) sort_kernel(const struct route_args args)
{
    __shared__ int counts[EXPERTS];
    begin_kernel();
    const int e = (int)threadIdx.x, pairs = args.rows * args.top_k;
    int count = 0;
    for (int i = 0; e < args.num_experts && i < pairs; i++)
        count += args.experts[i] == e;
    counts[e] = count;
    block_sync();
    if (e >= args.num_experts)
        return;
    int place = 0;
    for (int i = 0; i < e; i++)
        place += counts[i];
    args.first[e] = place;
    if (e == args.num_experts - 1)
        args.first[args.num_experts] = place + count;
    for (int i = 0; i < pairs; i++)
        if (args.experts[i] == e) {
            args.places[i] = place;
            args.place_rows[place++] = i / args.top_k;
        }
}

KERNEL(THREADS, 4) add_kernel(const struct combine_args args)
{
    begin_kernel();
    const int64_t cols = args.cols, num = args.rows * cols;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < num;
         i += (int64_t)gridDim.x * THREADS) {
        const int64_t row = i / cols, col = i % cols;
        float sum = 0.0f;
        for (int k = 0; k < args.top_k; k++) {
            const int64_t pair = row * args.top_k + k;
            const float value = args.weights[pair] * args.y[args.places[pair] * cols + col];
            sum = k > 0 ? sum + value : value;
        }
        if (args.shared != nullptr)
            sum += (args.gate != nullptr ? sigmoid(args.gate[row]) : 1.0f) * args.shared[i];
        args.out[i] = sum;
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
    launch_kernel(sort_kernel, dim3(1), ceil_div(a->num_experts, 32) * 32, 0, launch, *a);
}

extern "C" void moe_add(const struct launch *launch, const void *args)
{
    const struct combine_args *a = (const struct combine_args *)args;
    const int64_t blocks = ((int64_t)a->rows * a->cols + THREADS - 1) / THREADS;
    launch_kernel(add_kernel, dim3((unsigned)(blocks < 65535 ? blocks : 65535)), THREADS, 0, launch,
                  *a);
}
