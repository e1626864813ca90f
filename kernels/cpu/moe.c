#include "kernels/cpu/moe.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/device.h"

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static void softmax(float *scores, const float *logits, int32_t num)
{
    float max = -INFINITY, sum = 0.0f;
    for (int32_t i = 0; i < num; i++)
        max = fmaxf(max, logits[i]);
    for (int32_t i = 0; i < num; i++) {
        scores[i] = expf(logits[i] - max);
        sum += scores[i];
    }
    for (int32_t i = 0; i < num; i++)
        scores[i] /= sum;
}

/* Scores of a row, what is compared to choose, and what may not be chosen any more. */
struct choice {
    float scores[MOE_MAX_EXPERTS], keys[MOE_MAX_EXPERTS];
    bool taken[MOE_MAX_EXPERTS];
};

/* The first of the greatest that are not taken in [from, to), or -1. */
static int32_t find_best(const float *keys, const bool *taken, int32_t from, int32_t to)
{
    int32_t best = -1;
    for (int32_t i = from; i < to; i++)
        if (!taken[i] && (best < 0 || keys[i] > keys[best]))
            best = i;
    return best;
}

static float group_score(struct choice *choice, int32_t from, int32_t to, int32_t top)
{
    float sum = 0.0f;
    for (int32_t k = 0; k < top && k < to - from; k++) {
        const int32_t best = find_best(choice->keys, choice->taken, from, to);
        sum += choice->keys[best];
        choice->taken[best] = true;
    }
    memset(choice->taken + from, 0, (size_t)(to - from) * sizeof(bool));
    return sum;
}

/* Experts of other than the best groups count as taken. */
static void keep_groups(struct choice *choice, const struct moe_routing *routing,
                        int32_t num_experts)
{
    const int32_t num = routing->num_groups, size = num_experts / num;
    float scores[MOE_MAX_EXPERTS];
    bool kept[MOE_MAX_EXPERTS] = { false };

    for (int32_t g = 0; g < num; g++)
        scores[g] = group_score(choice, g * size, (g + 1) * size, routing->group_top);
    for (int32_t k = 0; k < routing->top_groups; k++)
        kept[find_best(scores, kept, 0, num)] = true;
    for (int32_t e = 0; e < num_experts; e++)
        choice->taken[e] = !kept[e / size];
}

static void weigh(const struct moe_routing *routing, float *weights, int32_t num)
{
    float sum = 1e-20f;
    for (int32_t k = 0; k < num; k++)
        sum += weights[k];
    for (int32_t k = 0; k < num; k++)
        weights[k] = (routing->normalize ? weights[k] / sum : weights[k]) * routing->scale;
}

static void route_row(const struct moe_route_args *args, int64_t row)
{
    const struct moe_plan *plan = args->plan;
    const struct moe_routing *routing = &args->routing;
    const int32_t num = plan->num_experts;
    const float *logits = args->logits + row * num;
    int32_t *experts = plan->experts + row * plan->top_k;
    float *weights = plan->weights + row * plan->top_k;
    struct choice choice;

    memset(choice.taken, 0, (size_t)num * sizeof(bool));
    if (routing->scores == MOE_SOFTMAX)
        softmax(choice.scores, logits, num);
    for (int32_t e = 0; e < num; e++) {
        if (routing->scores == MOE_SIGMOID)
            choice.scores[e] = sigmoid(logits[e]);
        choice.keys[e] = choice.scores[e] + (routing->bias != NULL ? routing->bias[e] : 0.0f);
    }
    if (routing->num_groups > 1)
        keep_groups(&choice, routing, num);
    for (int32_t k = 0; k < plan->top_k; k++) {
        experts[k] = find_best(choice.keys, choice.taken, 0, num);
        choice.taken[experts[k]] = true;
        weights[k] = choice.scores[experts[k]];
    }
    weigh(routing, weights, plan->top_k);
}

static void run_route(struct device *device, const struct op *op, int32_t thread,
                      int32_t num_threads)
{
    (void)device;
    const struct moe_route_args *args = &op->args.moe_route;
    const int64_t end = share_of(args->rows, thread + 1, num_threads);
    for (int64_t row = share_of(args->rows, thread, num_threads); row < end; row++)
        route_row(args, row);
}

static void route_token(const struct moe_route_args *args, int64_t row)
{
    const struct moe_plan *plan = args->plan;
    const struct moe_tokens *tokens = &args->tokens;
    const int32_t base =
        tokens->table[tokens->token_ids[tokens->rows != NULL ? tokens->rows[row] : row]];
    int32_t best = base;
    if (tokens->logits != NULL) {
        const float *logits = tokens->logits + row * plan->num_experts;
        float greatest = -INFINITY;
        for (int32_t e = 0; e < plan->num_experts; e++) {
            const float value = e == base ? logits[e] + 10.0f : logits[e];
            if (value > greatest) {
                greatest = value;
                best = e;
            }
        }
    }
    plan->experts[row] = best;
    plan->weights[row] = 1.0f;
}

static void run_route_tokens(struct device *device, const struct op *op, int32_t thread,
                             int32_t num_threads)
{
    (void)device;
    const struct moe_route_args *args = &op->args.moe_route;
    const int64_t end = share_of(args->rows, thread + 1, num_threads);
    for (int64_t row = share_of(args->rows, thread, num_threads); row < end; row++)
        route_token(args, row);
}

/* One thread's: places counted, then given out in the order of rows. */
static void run_sort(struct device *device, const struct op *op, int32_t thread,
                     int32_t num_threads)
{
    (void)device;
    (void)thread;
    (void)num_threads;
    const struct moe_plan *plan = op->args.moe_route.plan;
    const int64_t pairs = (int64_t)op->args.moe_route.rows * plan->top_k;
    int32_t *first = plan->first;

    memset(first, 0, ((size_t)plan->num_experts + 1) * sizeof(*first));
    for (int64_t i = 0; i < pairs; i++)
        first[plan->experts[i] + 1]++;
    for (int32_t e = 0; e < plan->num_experts; e++)
        first[e + 1] += first[e];
    for (int64_t i = 0; i < pairs; i++) {
        const int32_t place = first[plan->experts[i]]++;
        plan->places[i] = place;
        plan->rows[place] = (int32_t)(i / plan->top_k);
    }
    memmove(first + 1, first, (size_t)plan->num_experts * sizeof(*first));
    first[0] = 0;
}

/* Two operations: rows choose, then one thread orders them. */
static void record_route(struct device *device,
                         void (*run)(struct device *, const struct op *, int32_t, int32_t),
                         double cost_ns, const struct moe_route_args *args)
{
    assert(args->plan->num_experts <= MOE_MAX_EXPERTS && args->plan->top_k >= 1);
    device_record(device, run, cost_ns)->args.moe_route = *args;
    device_record(device, run_sort, 0.0)->args.moe_route = *args;
}

void moe_route(struct device *device, const struct moe_plan *plan, const float *logits,
               const struct moe_routing *routing, int32_t rows)
{
    const double row_ns = plan->num_experts * (6.0 + plan->top_k);
    const struct moe_route_args args = {
        .plan = plan, .logits = logits, .routing = *routing, .rows = rows
    };
    assert(routing->num_groups <= 1 || plan->num_experts % routing->num_groups == 0);
    record_route(device, run_route, rows > 1 ? rows * row_ns : 0.0, &args);
}

void moe_route_tokens(struct device *device, const struct moe_plan *plan,
                      const struct moe_tokens *tokens, int32_t rows)
{
    const struct moe_route_args args = { .plan = plan, .tokens = *tokens, .rows = rows };
    assert(plan->top_k == 1);
    record_route(device, run_route_tokens, rows > 1 ? rows * 2.0 * plan->num_experts : 0.0, &args);
}

static void combine_row(const struct moe_combine_args *args, int64_t row)
{
    const struct moe_plan *plan = args->plan;
    const int32_t cols = args->cols;
    float *out = args->out + row * cols;

    for (int32_t k = 0; k < plan->top_k; k++) {
        const float weight = plan->weights[row * plan->top_k + k];
        const float *y = args->y + (int64_t)plan->places[row * plan->top_k + k] * cols;
        for (int32_t i = 0; i < cols; i++)
            out[i] = k > 0 ? out[i] + weight * y[i] : weight * y[i];
    }
    if (args->shared == NULL)
        return;
    const float *shared = args->shared + row * cols;
    const float factor = args->gate != NULL ? sigmoid(args->gate[row]) : 1.0f;
    for (int32_t i = 0; i < cols; i++)
        out[i] += factor * shared[i];
}

static void run_combine(struct device *device, const struct op *op, int32_t thread,
                        int32_t num_threads)
{
    (void)device;
    const struct moe_combine_args *args = &op->args.moe_combine;
    const int64_t end = share_of(args->rows, thread + 1, num_threads);
    for (int64_t row = share_of(args->rows, thread, num_threads); row < end; row++)
        combine_row(args, row);
}

void moe_combine(struct device *device, float *out, const float *y, const struct moe_plan *plan,
                 const float *shared, const float *gate, int32_t rows, int32_t cols)
{
    const double cost_ns = rows > 1 ? 0.3 * rows * cols * plan->top_k : 0.0;
    device_record(device, run_combine, cost_ns)->args.moe_combine =
        (struct moe_combine_args){ out, y, plan, shared, gate, rows, cols };
}
