/* The first law: a row's bits are the same alone, with few others and with many. */
#include "tests/gpu/cases.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 200, MOST_OUTS = 200, TOP_K = 2, EXPERTS = 5, HEADS = 2 };

enum what { MATRIX, HEADS_OF, EXPERTS_OF };

static const struct kind {
    enum what what;
    enum dtype dtype;
    int32_t group; /* of types with scales */
    int32_t odd;   /* inputs more than a multiple of eight */
} kinds[] = {
    { MATRIX, DTYPE_BF16, 0, 0 },         { MATRIX, DTYPE_BF16, 0, 3 },
    { MATRIX, DTYPE_F16, 0, 0 },          { MATRIX, DTYPE_F32, 0, 1 },
    { MATRIX, DTYPE_Q8_0, 0, 0 },         { MATRIX, DTYPE_Q4_0, 0, 0 },
    { MATRIX, DTYPE_Q4_1, 0, 0 },         { MATRIX, DTYPE_Q5_0, 0, 0 },
    { MATRIX, DTYPE_Q5_1, 0, 0 },         { MATRIX, DTYPE_Q2_K, 0, 0 },
    { MATRIX, DTYPE_Q3_K, 0, 0 },         { MATRIX, DTYPE_Q4_K, 0, 0 },
    { MATRIX, DTYPE_Q5_K, 0, 0 },         { MATRIX, DTYPE_Q6_K, 0, 0 },
    { MATRIX, DTYPE_F8_E4M3, 128, 0 },    { MATRIX, DTYPE_F8_E4M3, 0, 5 },
    { MATRIX, DTYPE_I8, 32, 0 },          { MATRIX, DTYPE_I8, -1, 0 },
    { MATRIX, DTYPE_I4, 128, 0 },         { MATRIX, DTYPE_I4, 24, 2 },
    { HEADS_OF, DTYPE_BF16, 0, 0 },       { HEADS_OF, DTYPE_I4, 32, 0 },
    { EXPERTS_OF, DTYPE_BF16, 0, 0 },     { EXPERTS_OF, DTYPE_F16, 0, 4 },
    { EXPERTS_OF, DTYPE_F8_E4M3, 32, 0 }, { EXPERTS_OF, DTYPE_I4, -1, 0 },
    { EXPERTS_OF, DTYPE_Q4_K, 0, 0 },
};

/* What is multiplied, and where rows of it are put: [row][outs], of experts [row][TOP_K][outs]. */
struct product {
    const struct kind *kind;
    struct weight *weight;
    int32_t outs, cols, row_outs, row_cols;
    const float *x, *logits, *expert_bias;
    struct moe_plan plan;
};

static void *room_for(size_t num)
{
    void *memory = malloc(num * sizeof(float));
    if (memory == NULL)
        abort();
    return memory;
}

static struct product product_of(struct side *s, const struct kind *kind)
{
    const int32_t block = dtype_block(kind->dtype);
    const int32_t blocks = kind->what == MATRIX ? 0 : kind->what == HEADS_OF ? HEADS : EXPERTS;
    struct product p = { .kind = kind, .outs = side_whole(s, 40, MOST_OUTS) };
    p.cols = block > 1 ? block * side_whole(s, 1, 288 / block) : 8 * side_whole(s, 1, 90);
    p.cols += kind->odd;
    p.row_cols = p.cols * (kind->what == HEADS_OF ? HEADS : 1);
    p.row_outs = p.outs * (kind->what == MATRIX ? 1 : HEADS);
    if (dtype_is_scaled(kind->dtype))
        p.weight = side_scaled(s, kind->dtype, blocks, p.outs, p.cols, kind->group);
    else if (blocks > 0)
        p.weight = side_blocks(s, kind->dtype, blocks, p.outs, p.cols);
    else
        p.weight = side_weight(s, kind->dtype, p.outs, p.cols);
    p.x = side_random(s, (size_t)(ROWS * p.row_cols), 1.0f);
    if (kind->what != EXPERTS_OF)
        return p;
    p.logits = side_random(s, ROWS * EXPERTS, 4.0f);
    p.expert_bias = side_random(s, EXPERTS, 0.7f); /* so that some have few rows */
    p.plan = side_plan(s, EXPERTS, TOP_K, ROWS);
    return p;
}

/* Rows stand where their experts' order puts them: back to [row][TOP_K]. */
static void put_back(struct side *s, const struct product *p, int32_t num, float *values)
{
    int32_t places[ROWS * TOP_K];
    const size_t size = (size_t)num * TOP_K * (size_t)p->outs;
    float *sorted = room_for(size);
    s->backend->download(s->device, places, p->plan.places, (size_t)num * TOP_K * sizeof(*places));
    memcpy(sorted, values, size * sizeof(float));
    for (int32_t i = 0; i < num * TOP_K; i++)
        memcpy(values + (size_t)i * (size_t)p->outs, sorted + (size_t)places[i] * (size_t)p->outs,
               (size_t)p->outs * sizeof(float));
    free(sorted);
}

static void record_experts(struct side *s, struct product *p, float *out, const float *x,
                           int32_t first, int32_t num)
{
    const int32_t pairs = num * TOP_K;
    const struct moe_routing routing = { .scores = MOE_SIGMOID,
                                         .bias = p->expert_bias,
                                         .num_groups = 1,
                                         .top_groups = 1,
                                         .group_top = 1,
                                         .scale = 1.0f };
    float *gathered = side_poisoned(s, (size_t)(pairs * p->cols));
    s->backend->begin(s->device);
    s->backend->moe_route(s->device, &p->plan, p->logits + first * EXPERTS, &routing, num);
    s->backend->gather_rows(s->device, gathered, x, p->plan.rows, pairs, p->cols);
    s->backend->moe_linear(s->device, out, p->weight, p->outs, gathered, &p->plan, num);
}

static void record_heads(struct side *s, struct product *p, float *out, const float *x, int32_t num)
{
    const struct heads_linear args = { .weight = p->weight,
                                       .num_heads = HEADS,
                                       .out_dim = p->outs,
                                       .x = x,
                                       .x_row = p->row_cols,
                                       .x_head = p->cols,
                                       .out = out,
                                       .out_row = p->row_outs,
                                       .out_head = p->outs };
    s->backend->begin(s->device);
    s->backend->heads_linear(s->device, &args, num);
}

/* Rows [first, first + num), by themselves. To be freed. */
static float *multiply(struct side *s, struct product *p, int32_t first, int32_t num)
{
    const size_t size = (size_t)num * (size_t)p->row_outs;
    const float *x = p->x + (size_t)first * (size_t)p->row_cols;
    float *out = side_poisoned(s, size), *values = room_for(size);
    if (p->kind->what == EXPERTS_OF) {
        record_experts(s, p, out, x, first, num);
    } else if (p->kind->what == HEADS_OF) {
        record_heads(s, p, out, x, num);
    } else {
        s->backend->begin(s->device);
        s->backend->linear(s->device, out, p->weight, NULL, x, num);
    }
    side_run(s);
    s->backend->download(s->device, values, out, size * sizeof(float));
    if (p->kind->what == EXPERTS_OF)
        put_back(s, p, num, values);
    return values;
}

static void law(struct side *s, int32_t variant)
{
    static const int32_t parts[][2] = { { 0, 1 }, { 150, 1 }, { 30, 9 }, { 61, 17 }, { 100, 64 } };
    const struct kind *kind = &kinds[variant];
    struct product p = product_of(s, kind);
    const size_t row = (size_t)p.row_outs;
    if (kind->what == MATRIX && !s->obeys_law) {
        side_keep_value(s, 0.0f);
        return;
    }
    float *all = multiply(s, &p, 0, ROWS);
    int32_t num_other = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        float *some = multiply(s, &p, parts[i][0], parts[i][1]);
        const float *wanted = all + (size_t)parts[i][0] * row;
        for (size_t k = 0; k < (size_t)parts[i][1] * row; k++)
            num_other += memcmp(&some[k], &wanted[k], sizeof(float)) != 0;
        free(some);
    }
    free(all);
    side_keep_value(s, (float)num_other);
}

const struct gpu_case cases_law[] = {
    { "law 1", law, sizeof(kinds) / sizeof(kinds[0]), 0 },
    { NULL, NULL, 0, 0 },
};
