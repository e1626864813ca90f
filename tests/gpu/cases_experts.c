#include "tests/gpu/cases.h"

static const enum dtype dtypes[] = { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_F8_E4M3, DTYPE_I4 };

enum { NUM_DTYPES = sizeof(dtypes) / sizeof(dtypes[0]) };

/* Of types with scales: groups of 32 inputs, of 128, or of any. */
static struct weight *blocks_of(struct side *s, enum dtype dtype, int32_t num, int32_t rows,
                                int32_t cols)
{
    if (dtype_is_scaled(dtype))
        return side_scaled(s, dtype, num, rows, cols,
                           dtype == DTYPE_I4 ? -1
                           : side_coin(s)    ? 128
                                             : 32);
    return side_blocks(s, dtype, num, rows, cols);
}

static void keep_ints(struct side *s, const int32_t *from, size_t num)
{
    int32_t values[4096];
    s->backend->download(s->device, values, from, num * sizeof(int32_t));
    for (size_t i = 0; i < num; i++)
        side_keep_value(s, (float)values[i]);
}

static void keep_plan(struct side *s, const struct moe_plan *plan, int32_t rows)
{
    const size_t pairs = (size_t)(rows * plan->top_k);
    keep_ints(s, plan->experts, pairs);
    keep_ints(s, plan->first, (size_t)plan->num_experts + 1);
    keep_ints(s, plan->rows, pairs);
    keep_ints(s, plan->places, pairs);
    side_keep(s, plan->weights, pairs);
}

static void route(struct side *s, int32_t variant)
{
    const int32_t groups = variant >= 2 ? side_whole(s, 2, 4) : 1;
    const int32_t experts = groups * side_whole(s, 3, 40);
    const bool is_long = variant == 4; /* more pairs than few */
    const int32_t rows = is_long ? 1000 : side_whole(s, 1, 70);
    const int32_t top_k = is_long ? 3 : side_whole(s, 1, 3);
    const struct moe_plan plan = side_plan(s, experts, top_k, rows);
    float *logits = side_random(s, (size_t)(rows * experts), 4.0f);
    const struct moe_routing routing = { .scores = variant % 2 == 0 ? MOE_SOFTMAX : MOE_SIGMOID,
                                         .bias = variant % 2 == 0
                                                     ? NULL
                                                     : side_random(s, (size_t)experts, 0.5f),
                                         .num_groups = groups,
                                         .top_groups = 1,
                                         .group_top = 2,
                                         .normalize = side_coin(s),
                                         .scale = 1.5f };
    s->backend->begin(s->device);
    s->backend->moe_route(s->device, &plan, logits, &routing, rows);
    side_run(s);
    keep_plan(s, &plan, rows);
}

static void route_tokens(struct side *s, int32_t variant)
{
    int32_t table[50], ids[70], turned[70];
    const int32_t experts = side_whole(s, 1, 20), rows = side_whole(s, 1, 70);
    const struct moe_plan plan = side_plan(s, experts, 1, rows);
    for (int32_t i = 0; i < 50; i++)
        table[i] = side_whole(s, 0, experts - 1);
    for (int32_t i = 0; i < rows; i++)
        ids[i] = side_whole(s, 0, 49);
    for (int32_t i = 0; i < rows; i++)
        turned[i] = rows - 1 - i;
    float *logits = variant == 0 ? NULL : side_random(s, (size_t)(rows * experts), 12.0f);
    const int32_t *own = side_ints(s, 50, table);
    s->backend->begin(s->device);
    const struct moe_tokens tokens = {
        .table = own, .token_ids = ids, .rows = side_coin(s) ? turned : NULL, .logits = logits
    };
    s->backend->moe_route_tokens(s->device, &plan, &tokens, rows);
    side_run(s);
    keep_plan(s, &plan, rows);
}

/* A whole layer of experts. */
static void layer(struct side *s, int32_t variant)
{
    const enum dtype dtype = dtypes[variant];
    const int32_t experts = side_whole(s, 2, 9), top_k = side_whole(s, 1, 2);
    const int32_t rows = side_whole(s, 1, 60), hidden = 64, width = side_coin(s) ? 64 : 96;
    const size_t pairs = (size_t)(rows * top_k);
    const struct moe_plan plan = side_plan(s, experts, top_k, rows);
    struct weight *up = blocks_of(s, dtype, experts, 2 * width, hidden);
    struct weight *down = blocks_of(s, dtype, experts, hidden, width);
    float *x = side_random(s, (size_t)(rows * hidden), 1.0f);
    float *logits = side_random(s, (size_t)(rows * experts), 3.0f);
    float *gathered = side_poisoned(s, pairs * (size_t)hidden);
    float *gate_up = side_poisoned(s, pairs * 2 * (size_t)width);
    float *ffn = side_poisoned(s, pairs * (size_t)width);
    float *shared = side_random(s, (size_t)(rows * hidden), 1.0f);
    float *gate = side_coin(s) ? side_random(s, (size_t)rows, 1.0f) : NULL;
    float *out = side_poisoned(s, (size_t)(rows * hidden));
    const struct moe_routing routing = { .scores = MOE_SOFTMAX, .normalize = true, .scale = 1.0f };
    s->backend->begin(s->device);
    s->backend->moe_route(s->device, &plan, logits, &routing, rows);
    s->backend->gather_rows(s->device, gathered, x, plan.rows, (int32_t)pairs, hidden);
    s->backend->moe_linear(s->device, gate_up, up, 2 * width, gathered, &plan, rows);
    s->backend->activate(s->device, ffn, gate_up, ACTIVATION_SILU, true, (int32_t)pairs, width);
    s->backend->moe_linear(s->device, gathered, down, hidden, ffn, &plan, rows);
    s->backend->moe_combine(s->device, out, gathered, &plan, shared, gate, rows, hidden);
    side_run(s);
    side_keep(s, gate_up, pairs * 2 * (size_t)width);
    side_keep(s, out, (size_t)(rows * hidden));
}

static void heads(struct side *s, int32_t variant)
{
    const enum dtype dtype = dtypes[variant];
    const int32_t num = side_whole(s, 1, 6), rows = side_whole(s, 1, 70), in = 64;
    const int32_t out_dim = side_whole(s, 1, 100), x_head = in + 8, out_head = out_dim + 3;
    struct weight *w = blocks_of(s, dtype, num, out_dim, in);
    const size_t num_out = (size_t)(rows * num * out_head);
    float *out = side_random(s, num_out, 1.0f);
    const struct heads_linear args = {
        .weight = w,
        .num_heads = num,
        .out_dim = out_dim,
        .x = side_random(s, (size_t)(rows * num * x_head), 1.0f),
        .x_row = (int64_t)num * x_head,
        .x_head = x_head,
        .out = out,
        .out_row = (int64_t)num * out_head,
        .out_head = out_head,
    };
    s->backend->begin(s->device);
    s->backend->heads_linear(s->device, &args, rows);
    side_run(s);
    side_keep(s, out, num_out);
}

const struct gpu_case cases_experts[] = {
    { "moe_route", route, 5, 1e-5 },
    { "moe_route_tokens", route_tokens, 2, 1e-6 },
    { "a layer of experts", layer, NUM_DTYPES, 3e-2 },
    { "heads_linear", heads, NUM_DTYPES, 2e-2 },
    { NULL, NULL, 0, 0 },
};
