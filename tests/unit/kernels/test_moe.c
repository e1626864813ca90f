/* Experts: who is chosen, with what weight, and what comes of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

enum { MAX_ROWS = 40, MAX_EXPERTS = 16, MAX_TOP = 4 };

struct plan_memory {
    int32_t experts[MAX_ROWS * MAX_TOP], first[MAX_EXPERTS + 1];
    int32_t rows[MAX_ROWS * MAX_TOP], places[MAX_ROWS * MAX_TOP];
    float weights[MAX_ROWS * MAX_TOP];
};
static struct plan_memory memory;

static struct moe_plan make_plan(int32_t num_experts, int32_t top_k)
{
    return (struct moe_plan){ num_experts,  top_k,       memory.experts, memory.weights,
                              memory.first, memory.rows, memory.places };
}

/* The scores of a row in double, and those compared. */
static void expect_scores(const struct moe_routing *routing, const float *logits, int32_t num,
                          double *scores, double *keys)
{
    double sum = 0.0;
    for (int32_t e = 0; e < num; e++)
        sum += exp((double)logits[e]);
    for (int32_t e = 0; e < num; e++) {
        scores[e] = routing->scores == MOE_SOFTMAX ? exp((double)logits[e]) / sum
                                                   : 1.0 / (1.0 + exp(-(double)logits[e]));
        keys[e] = scores[e] + (routing->bias ? (double)routing->bias[e] : 0.0);
    }
}

static int32_t best_of(const double *values, const bool *out, int32_t from, int32_t to)
{
    int32_t best = -1;
    for (int32_t i = from; i < to; i++)
        if (!out[i] && (best < 0 || values[i] > values[best]))
            best = i;
    return best;
}

static void drop_groups(const struct moe_routing *routing, const double *keys, int32_t num,
                        bool *out)
{
    const int32_t size = num / routing->num_groups;
    double scores[MAX_EXPERTS];
    bool used[MAX_EXPERTS] = { false }, kept[MAX_EXPERTS] = { false };
    for (int32_t g = 0; g < routing->num_groups; g++) {
        scores[g] = 0.0;
        for (int32_t k = 0; k < routing->group_top; k++) {
            const int32_t best = best_of(keys, used, g * size, (g + 1) * size);
            scores[g] += keys[best];
            used[best] = true;
        }
    }
    for (int32_t k = 0; k < routing->top_groups; k++)
        kept[best_of(scores, kept, 0, routing->num_groups)] = true;
    for (int32_t e = 0; e < num; e++)
        out[e] = !kept[e / size];
}

static void check_row(const struct moe_plan *plan, const struct moe_routing *routing,
                      const float *logits, int32_t row)
{
    double scores[MAX_EXPERTS], keys[MAX_EXPERTS], wanted[MAX_TOP], sum = 0.0;
    bool out[MAX_EXPERTS] = { false };
    expect_scores(routing, logits, plan->num_experts, scores, keys);
    if (routing->num_groups > 1)
        drop_groups(routing, keys, plan->num_experts, out);
    for (int32_t k = 0; k < plan->top_k; k++) {
        const int32_t best = best_of(keys, out, 0, plan->num_experts);
        ck_assert_int_eq(plan->experts[row * plan->top_k + k], best);
        out[best] = true;
        wanted[k] = scores[best];
        sum += scores[best];
    }
    for (int32_t k = 0; k < plan->top_k; k++)
        wanted[k] *= (double)routing->scale / (routing->normalize ? sum : 1.0);
    fixture_compare("weights", plan->weights + row * plan->top_k, wanted, (size_t)plan->top_k, 1e-7,
                    1e-5);
}

/* Every pair has one place, an expert's places are together and in the order of rows. */
static void check_places(const struct moe_plan *plan, int32_t rows)
{
    ck_assert_int_eq(plan->first[0], 0);
    ck_assert_int_eq(plan->first[plan->num_experts], rows * plan->top_k);
    for (int32_t i = 0; i < rows * plan->top_k; i++) {
        const int32_t expert = plan->experts[i], place = plan->places[i];
        ck_assert_int_ge(place, plan->first[expert]);
        ck_assert_int_lt(place, plan->first[expert + 1]);
        ck_assert_int_eq(plan->rows[place], i / plan->top_k);
        if (place > plan->first[expert])
            ck_assert_int_lt(plan->rows[place - 1], plan->rows[place]);
    }
}

static const float bias[MAX_EXPERTS] = { 0.3f, 0.0f,  0.1f, 0.2f, 0.0f, 0.7f, 0.0f, 0.1f,
                                         0.0f, 0.25f, 0.0f, 0.4f, 0.0f, 0.1f, 0.0f, 0.2f };

static const struct {
    int32_t num_experts, top_k;
    struct moe_routing routing;
} routings[] = {
    { 8, 2, { .scores = MOE_SOFTMAX, .normalize = true, .scale = 1.0f } },
    { 5, 3, { .scores = MOE_SOFTMAX, .scale = 1.0f } },
    { 1, 1, { .scores = MOE_SOFTMAX, .scale = 1.0f } },
    { 16, 4, { MOE_SOFTMAX, NULL, 4, 2, 1, false, 16.0f } },
    { 16, 4, { MOE_SIGMOID, bias, 4, 2, 2, true, 2.5f } },
    { 12, 3, { MOE_SIGMOID, bias, 6, 3, 2, false, 1.5f } },
    { 16, 2, { MOE_SIGMOID, bias, 1, 1, 2, true, 2.5f } },
};
enum { NUM_ROUTINGS = sizeof(routings) / sizeof(routings[0]) };

static void check_routings(struct device *device)
{
    static float logits[MAX_ROWS * MAX_EXPERTS];
    for (int32_t i = 0; i < NUM_ROUTINGS; i++) {
        const struct moe_plan plan = make_plan(routings[i].num_experts, routings[i].top_k);
        fixture_fill(logits, MAX_ROWS * MAX_EXPERTS);
        for (int32_t n = 0; n < MAX_ROWS * MAX_EXPERTS; n++)
            logits[n] *= 4.0f;
        fixture_backend->begin(device);
        fixture_backend->moe_route(device, &plan, logits, &routings[i].routing, MAX_ROWS);
        fixture_run(device);
        for (int32_t row = 0; row < MAX_ROWS; row++)
            check_row(&plan, &routings[i].routing, logits + row * plan.num_experts, row);
        check_places(&plan, MAX_ROWS);
    }
}

START_TEST(the_best_experts_are_chosen_and_weighed)
{
    fixture_each_device(check_routings);
}
END_TEST

static void check_ties(struct device *device)
{
    const float logits[] = { 1.0f, 2.0f, 2.0f, 1.0f, 2.0f, 0.0f, NAN, NAN, NAN, NAN, NAN, NAN };
    const struct moe_plan plan = make_plan(6, 3);
    const struct moe_routing routing = { .scores = MOE_SOFTMAX, .scale = 1.0f };
    fixture_backend->begin(device);
    fixture_backend->moe_route(device, &plan, logits, &routing, 2);
    fixture_run(device);
    ck_assert_int_eq(plan.experts[0], 1);
    ck_assert_int_eq(plan.experts[1], 2);
    ck_assert_int_eq(plan.experts[2], 4);
    for (int32_t k = 3; k < 6; k++) /* of no numbers some are chosen all the same */
        ck_assert(plan.experts[k] >= 0 && plan.experts[k] < 6);
    check_places(&plan, 2);
}

START_TEST(of_equal_experts_the_lower_index_is_chosen)
{
    fixture_each_device(check_ties);
}
END_TEST

static void check_tokens(struct device *device)
{
    const int32_t table[] = { 2, 0, 1, 1 }, ids[] = { 3, 0, 2, 1 };
    const float logits[] = { 11.5f, 0.0f, 0.0f, 0.0f, 10.0f, 0.0f,
                             3.0f,  1.0f, 1.0f, 0.0f, 0.0f,  9.9f };
    const int32_t wanted[] = { 0, 1, 1, 0 };
    const struct moe_plan plan = make_plan(3, 1);
    fixture_backend->begin(device);
    struct moe_tokens tokens = { .table = table, .token_ids = ids, .logits = logits };
    fixture_backend->moe_route_tokens(device, &plan, &tokens, 4);
    fixture_run(device);
    for (int32_t row = 0; row < 4; row++)
        ck_assert_int_eq(plan.experts[row], wanted[row]);
    check_places(&plan, 4);

    fixture_backend->begin(device);
    tokens.logits = NULL;
    fixture_backend->moe_route_tokens(device, &plan, &tokens, 4);
    fixture_run(device);
    for (int32_t row = 0; row < 4; row++) {
        ck_assert_int_eq(plan.experts[row], table[ids[row]]);
        ck_assert_float_eq(plan.weights[row], 1.0f);
    }

    const int32_t rows[] = { 2, 2, 0 };
    tokens.rows = rows;
    fixture_backend->begin(device);
    fixture_backend->moe_route_tokens(device, &plan, &tokens, 3);
    fixture_run(device);
    for (int32_t row = 0; row < 3; row++)
        ck_assert_int_eq(plan.experts[row], table[ids[rows[row]]]);
    check_places(&plan, 3);
}

START_TEST(a_token_names_its_expert_unless_the_router_outweighs_it)
{
    fixture_each_device(check_tokens);
}
END_TEST

/* Experts of [out_dim][cols] in one weight; `values` in the order of experts and rows. */
static struct weight *load_blocks(struct device *device, enum dtype dtype, int32_t num,
                                  int32_t out_dim, int32_t cols, double **ret_values)
{
    const size_t bytes = (size_t)out_dim * (size_t)cols * dtype_bytes(dtype);
    struct weight *weight = NULL;
    unsigned char *from =
        fixture_matrix(dtype, (size_t)(num * out_dim) * (size_t)cols, 1.0f, ret_values);
    ck_assert_int_eq(fixture_backend->weight_alloc(device, dtype, num * block_stride(out_dim), cols,
                                                   &weight, NULL),
                     0);
    for (int32_t b = 0; b < num; b++)
        fixture_backend->weight_load(weight, b * block_stride(out_dim), out_dim,
                                     from + (size_t)b * bytes);
    free(from);
    return weight;
}

static double dot(const double *w, const float *x, int32_t num)
{
    double sum = 0.0;
    for (int32_t k = 0; k < num; k++)
        sum += w[k] * (double)x[k];
    return sum;
}

enum { EXPERTS = 6, TOP = 2 };
static const int32_t row_counts[] = { 1, 3, MAX_ROWS };

static void check_experts_of(struct device *device, enum dtype dtype, int32_t out_dim, int32_t cols)
{
    const struct moe_plan plan = make_plan(EXPERTS, TOP);
    const struct moe_routing routing = { .scores = MOE_SOFTMAX, .normalize = true, .scale = 1.0f };
    const size_t num_x = (size_t)(MAX_ROWS * cols), num_y = (size_t)(MAX_ROWS * TOP * out_dim);
    double *values, *wanted = malloc(num_y * sizeof(double));
    struct weight *weight = load_blocks(device, dtype, EXPERTS, out_dim, cols, &values);
    float logits[MAX_ROWS * EXPERTS], *x = fixture_guarded(num_x), *y = fixture_guarded(num_y);
    float *sorted = fixture_guarded(num_x * TOP), *first = malloc(num_y * sizeof(float));
    fixture_fill(x, num_x);
    fixture_fill(logits, MAX_ROWS * EXPERTS);

    for (size_t n = sizeof(row_counts) / sizeof(row_counts[0]); n-- > 0;) {
        const int32_t rows = row_counts[n];
        fixture_backend->begin(device);
        fixture_backend->moe_route(device, &plan, logits, &routing, rows);
        fixture_backend->gather_rows(device, sorted, x, plan.rows, rows * TOP, cols);
        fixture_backend->moe_linear(device, y, weight, out_dim, sorted, &plan, rows);
        fixture_run(device);
        for (int32_t i = 0; i < rows * TOP; i++) {
            const float *got = y + plan.places[i] * out_dim;
            for (int32_t o = 0; o < out_dim; o++)
                wanted[o] =
                    dot(values + (plan.experts[i] * out_dim + o) * cols, x + i / TOP * cols, cols);
            fixture_compare("expert", got, wanted, (size_t)out_dim, 1e-6 + 1.5e-7 * cols, 1e-6);
            if (rows == MAX_ROWS)
                memcpy(first + i * out_dim, got, (size_t)out_dim * sizeof(float));
            ck_assert(fixture_equal_bits(first + i * out_dim, got, (size_t)out_dim));
        }
    }
    fixture_guarded_finish(x, num_x);
    fixture_guarded_finish(y, num_y);
    fixture_guarded_finish(sorted, num_x * TOP);
    fixture_backend->weight_free(weight);
    free(values);
    free(wanted);
    free(first);
}

static void check_experts(struct device *device)
{
    check_experts_of(device, DTYPE_F32, 33, 17);
    check_experts_of(device, DTYPE_BF16, 64, 48);
    check_experts_of(device, DTYPE_F16, 96, 600);
}

START_TEST(an_expert_computes_its_rows_alone_or_with_others)
{
    fixture_each_linear(check_experts);
}
END_TEST

static void check_combine(struct device *device)
{
    enum { ROWS = 4, COLS = 19 };
    struct moe_plan plan = make_plan(EXPERTS, TOP);
    const int32_t places[] = { 3, 0, 1, 7, 2, 4, 6, 5 };
    float y[ROWS * TOP * COLS], shared[ROWS * COLS], gate[ROWS], out[ROWS * COLS];
    fixture_fill(y, ROWS * TOP * COLS);
    fixture_fill(shared, ROWS * COLS);
    fixture_fill(gate, ROWS);
    fixture_fill(plan.weights, ROWS * TOP);
    memcpy(plan.places, places, sizeof(places));

    for (int mode = 0; mode < 3; mode++) {
        double wanted[ROWS * COLS];
        fixture_backend->begin(device);
        fixture_backend->moe_combine(device, out, y, &plan, mode > 0 ? shared : NULL,
                                     mode > 1 ? gate : NULL, ROWS, COLS);
        fixture_run(device);
        for (int32_t i = 0; i < ROWS * COLS; i++) {
            const int32_t row = i / COLS;
            const double factor = mode == 2 ? 1.0 / (1.0 + exp(-(double)gate[row])) : mode;
            wanted[i] = factor * (double)shared[i];
            for (int32_t k = 0; k < TOP; k++)
                wanted[i] += (double)plan.weights[row * TOP + k] *
                             (double)y[places[row * TOP + k] * COLS + i % COLS];
        }
        fixture_compare("combined", out, wanted, ROWS * COLS, 1e-6, 1e-6);
    }
}

START_TEST(experts_are_summed_with_the_shared_one)
{
    fixture_each_device(check_combine);
}
END_TEST

static void check_heads(struct device *device)
{
    enum { HEADS = 3, ROWS = 9, COLS = 20, OUT = 40, X_ROW = 100, OUT_ROW = 150 };
    double *values, wanted[OUT];
    struct weight *weight = load_blocks(device, DTYPE_BF16, HEADS, OUT, COLS, &values);
    float *x = fixture_guarded(ROWS * X_ROW), *out = fixture_guarded(ROWS * OUT_ROW);
    const struct heads_linear args = { weight, HEADS, OUT, x, X_ROW, 30, out, OUT_ROW, 50 };
    fixture_fill(x, ROWS * X_ROW);
    for (int32_t i = 0; i < ROWS * OUT_ROW; i++)
        out[i] = 7.0f;

    fixture_backend->begin(device);
    fixture_backend->heads_linear(device, &args, ROWS);
    fixture_run(device);
    for (int32_t i = 0; i < ROWS * HEADS; i++) {
        const int32_t row = i / HEADS, head = i % HEADS;
        const float *got = out + row * OUT_ROW + head * 50;
        for (int32_t o = 0; o < OUT; o++)
            wanted[o] = dot(values + (head * OUT + o) * COLS, x + row * X_ROW + head * 30, COLS);
        fixture_compare("head", got, wanted, OUT, 1e-5, 1e-6);
        for (int32_t o = OUT; o < 50; o++)
            ck_assert_float_eq(got[o], 7.0f);
    }
    fixture_guarded_finish(x, ROWS * X_ROW);
    fixture_guarded_finish(out, ROWS * OUT_ROW);
    fixture_backend->weight_free(weight);
    free(values);
}

START_TEST(each_head_has_a_matrix_of_its_own)
{
    fixture_each_linear(check_heads);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("moe");
    TCase *tests = tcase_create("moe");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, the_best_experts_are_chosen_and_weighed);
    tcase_add_test(tests, of_equal_experts_the_lower_index_is_chosen);
    tcase_add_test(tests, a_token_names_its_expert_unless_the_router_outweighs_it);
    tcase_add_test(tests, an_expert_computes_its_rows_alone_or_with_others);
    tcase_add_test(tests, experts_are_summed_with_the_shared_one);
    tcase_add_test(tests, each_head_has_a_matrix_of_its_own);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
