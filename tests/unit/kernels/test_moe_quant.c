/* Experts in blocks: each row has the bits that its expert's matrix alone gives it. */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "formats/block_quantize.h"

enum { EXPERTS = 5, TOP = 3, MAX_ROWS = 175, OUT = 41, COLS = 256 };

static struct {
    int32_t experts[MAX_ROWS * TOP], first[EXPERTS + 1], rows[MAX_ROWS * TOP];
    int32_t places[MAX_ROWS * TOP];
    float weights[MAX_ROWS * TOP];
} memory;

static const struct moe_plan plan = { EXPERTS,      TOP,         memory.experts, memory.weights,
                                      memory.first, memory.rows, memory.places };

static const struct {
    enum dtype dtype;
    enum block_type type;
} forms[] = {
    { DTYPE_Q8_0, BLOCK_Q8_0 }, { DTYPE_Q4_0, BLOCK_Q4_0 }, { DTYPE_Q4_1, BLOCK_Q4_1 },
    { DTYPE_Q5_0, BLOCK_Q5_0 }, { DTYPE_Q5_1, BLOCK_Q5_1 }, { DTYPE_Q2_K, BLOCK_Q2_K },
    { DTYPE_Q3_K, BLOCK_Q3_K }, { DTYPE_Q4_K, BLOCK_Q4_K }, { DTYPE_Q5_K, BLOCK_Q5_K },
    { DTYPE_Q6_K, BLOCK_Q6_K },
};
enum { NUM_FORMS = sizeof(forms) / sizeof(forms[0]) };

static float values[EXPERTS * OUT * COLS], x[MAX_ROWS * COLS], sorted[MAX_ROWS * TOP * COLS];
static float y[MAX_ROWS * TOP * OUT], alone[EXPERTS * MAX_ROWS * OUT], logits[MAX_ROWS * EXPERTS];
static unsigned char blocks[EXPERTS * OUT * COLS * 2];

static struct weight *make_weight(struct device *device, int f, int32_t rows)
{
    struct weight *weight = NULL;
    struct error err = { 0 };
    ck_assert_msg(
        fixture_backend->weight_alloc(device, forms[f].dtype, rows, COLS, &weight, &err) == 0, "%s",
        err.message);
    return weight;
}

/* Every row by every expert's own matrix. */
static void run_alone(struct device *device, int f, size_t matrix_bytes, int32_t rows)
{
    for (int32_t e = 0; e < EXPERTS; e++) {
        struct weight *weight = make_weight(device, f, OUT);
        fixture_backend->weight_load(weight, 0, OUT, blocks + (size_t)e * matrix_bytes);
        fixture_backend->begin(device);
        fixture_backend->linear(device, alone + e * MAX_ROWS * OUT, weight, NULL, x, rows);
        fixture_run(device);
        fixture_backend->weight_free(weight);
    }
}

static void check_form(struct device *device, int f, int32_t rows)
{
    const struct moe_routing routing = { .scores = MOE_SOFTMAX, .scale = 1.0f };
    const size_t matrix_bytes = dtype_row_bytes(forms[f].dtype, COLS) * OUT;
    struct weight *weight = make_weight(device, f, EXPERTS * block_stride(OUT));
    for (int32_t e = 0; e < EXPERTS; e++)
        fixture_backend->weight_load(weight, e * block_stride(OUT), OUT,
                                     blocks + (size_t)e * matrix_bytes);
    fixture_backend->begin(device);
    fixture_backend->moe_route(device, &plan, logits, &routing, rows);
    fixture_backend->gather_rows(device, sorted, x, plan.rows, rows * TOP, COLS);
    fixture_backend->moe_linear(device, y, weight, OUT, sorted, &plan, rows);
    fixture_run(device);
    run_alone(device, f, matrix_bytes, rows);
    for (int32_t i = 0; i < rows * TOP; i++)
        ck_assert(fixture_equal_bits(y + plan.places[i] * OUT,
                                     alone + (plan.experts[i] * MAX_ROWS + i / TOP) * OUT, OUT));
    fixture_backend->weight_free(weight);
}

/* More places than the device has room for blocks of, too. */
static void check_experts(struct device *device)
{
    fixture_fill(x, MAX_ROWS * COLS);
    fixture_fill(logits, MAX_ROWS * EXPERTS);
    fixture_fill(values, EXPERTS * OUT * COLS);
    for (int f = 0; f < NUM_FORMS; f++) {
        block_quantize(forms[f].type, values, blocks,
                       EXPERTS * OUT * COLS / (size_t)block_info(forms[f].type)->elements);
        check_form(device, f, 1);
        check_form(device, f, f % 5 == 0 ? MAX_ROWS : 9);
    }
}

START_TEST(experts_in_blocks_have_the_bits_of_their_own_matrix)
{
    fixture_each_device(check_experts);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("moe_quant");
    TCase *tests = tcase_create("moe_quant");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, experts_in_blocks_have_the_bits_of_their_own_matrix);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
