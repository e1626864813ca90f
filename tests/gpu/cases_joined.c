/* Matrices of several types that are joined: neighbouring columns, of each its own kernel. */
#include "tests/gpu/cases.h"

enum { MAX_PARTS = SIDE_MAX_PARTS, MAX_ROWS = 90, NUM_COUNTS = 9 };

/* Types of the parts, and what their inputs are multiples of. */
struct mixture {
    int32_t num, unit;
    enum dtype dtypes[MAX_PARTS];
};

static const struct mixture mixtures[] = {
    { 2, 256, { DTYPE_Q4_K, DTYPE_Q6_K } },
    { 3, 256, { DTYPE_Q5_K, DTYPE_Q8_0, DTYPE_Q3_K } },
    { 3, 256, { DTYPE_Q2_K, DTYPE_BF16, DTYPE_Q5_0 } },
    { 2, 32, { DTYPE_Q4_0, DTYPE_Q5_1 } },
};
enum { NUM_MIXTURES = sizeof(mixtures) / sizeof(mixtures[0]) };

/* Not in blocks: the CPU multiplies what it is given. */
static const struct mixture exact_mixtures[] = {
    { 2, 1, { DTYPE_F32, DTYPE_BF16 } },
    { 2, 1, { DTYPE_BF16, DTYPE_F16 } },
    { 3, 1, { DTYPE_F16, DTYPE_F8_E4M3, DTYPE_F32 } },
    { 3, 1, { DTYPE_I4, DTYPE_BF16, DTYPE_I8 } },
};
enum { NUM_EXACT = sizeof(exact_mixtures) / sizeof(exact_mixtures[0]) };

/* Of each part as many rows as `unit` times 1 to `most`. */
static int32_t choose_parts(struct side *s, const struct mixture *mixture, int32_t unit,
                            int32_t most, struct side_part *parts)
{
    int32_t outs = 0;
    for (int32_t p = 0; p < mixture->num; p++) {
        parts[p] = (struct side_part){ mixture->dtypes[p], unit * side_whole(s, 1, most) };
        outs += parts[p].rows;
    }
    return outs;
}

/* Of inputs: all of them, 32, or of any size and anywhere. */
static int32_t choose_group(struct side *s)
{
    static const int32_t groups[] = { 0, 32, -1 };
    return groups[side_whole(s, 0, 2)];
}

static void multiply(struct side *s, const struct mixture *mixture)
{
    static const int32_t counts[NUM_COUNTS] = { 1, 2, 8, 13, 17, 33, 64, 65, MAX_ROWS };
    struct side_part parts[MAX_PARTS];
    const int32_t outs = choose_parts(s, mixture, 1, MAX_ROWS, parts);
    const int32_t most = mixture->unit == 1 ? 450 : 512 / mixture->unit;
    const int32_t cols = mixture->unit * side_whole(s, 1, most);
    const struct weight *w = side_joined(s, parts, mixture->num, 0, cols, choose_group(s));
    for (int32_t i = 0; i < 3; i++) {
        const int32_t rows = counts[side_whole(s, 3 * i, 3 * i + 2)];
        side_multiply(s, w, outs, cols, rows);
    }
}

static void linear_exact(struct side *s, int32_t variant)
{
    multiply(s, &exact_mixtures[variant]);
}

static void linear_blocks(struct side *s, int32_t variant)
{
    multiply(s, &mixtures[variant]);
}

/* Experts: blocks of whole panels, chosen by logits that lie far apart. */
static void multiply_experts(struct side *s, const struct mixture *mixture)
{
    struct side_part parts[MAX_PARTS];
    const int32_t experts = side_whole(s, 2, 7), top_k = side_whole(s, 1, 2);
    const int32_t outs = choose_parts(s, mixture, 32, 3, parts), rows = side_whole(s, 1, 60);
    const int32_t cols = mixture->unit == 1 ? side_whole(s, 1, 200) : mixture->unit;
    const size_t pairs = (size_t)(rows * top_k);
    const struct moe_plan plan = side_plan(s, experts, top_k, rows);
    const struct moe_routing routing = { .scores = MOE_SOFTMAX, .scale = 1.0f };
    const struct weight *w = side_joined(s, parts, mixture->num, experts, cols, choose_group(s));
    float *x = side_random(s, (size_t)(rows * cols), 1.0f);
    float *logits = side_random(s, (size_t)(rows * experts), 3.0f);
    float *gathered = side_poisoned(s, pairs * (size_t)cols);
    float *out = side_poisoned(s, pairs * (size_t)outs);
    s->backend->begin(s->device);
    s->backend->moe_route(s->device, &plan, logits, &routing, rows);
    s->backend->gather_rows(s->device, gathered, x, plan.rows, (int32_t)pairs, cols);
    s->backend->moe_linear(s->device, out, w, outs, gathered, &plan, rows);
    side_run(s);
    side_keep(s, out, pairs * (size_t)outs);
}

static void experts_exact(struct side *s, int32_t variant)
{
    multiply_experts(s, &exact_mixtures[variant]);
}

static void experts_blocks(struct side *s, int32_t variant)
{
    multiply_experts(s, &mixtures[variant]);
}

const struct gpu_case cases_joined[] = {
    { "joined", linear_exact, NUM_EXACT, 2e-2 },
    { "joined, blocks", linear_blocks, NUM_MIXTURES, 1e-1 },
    { "joined, experts", experts_exact, NUM_EXACT, 2e-2 },
    { "joined, their blocks", experts_blocks, NUM_MIXTURES, 1e-1 },
    { NULL, NULL, 0, 0 },
};
