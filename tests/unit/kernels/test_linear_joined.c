/* Matrices of several types that are joined: the bits of each alone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "formats/block_quantize.h"

enum { COLS = 256, MAX_PARTS = 3, MAX_ROWS = 90, MAX_OUTPUTS = 256, EXPERTS = 5, TOP = 2 };

/* A mixture; of experts the rows of each. */
struct mixture {
    struct {
        enum dtype dtype;
        int32_t rows;
    } parts[MAX_PARTS];
};

static const struct mixture mixtures[] = {
    { { { DTYPE_Q4_K, 128 }, { DTYPE_Q6_K, 64 } } },
    { { { DTYPE_Q5_K, 97 }, { DTYPE_Q8_0, 33 }, { DTYPE_Q3_K, 1 } } },
    { { { DTYPE_Q8_0, 70 }, { DTYPE_F16, 31 }, { DTYPE_Q2_K, 40 } } },
    { { { DTYPE_I4, 64 }, { DTYPE_BF16, 32 }, { DTYPE_F8_E4M3, 5 } } },
    { { { DTYPE_F32, 3 }, { DTYPE_BF16, 160 } } },
    { { { DTYPE_Q4_0, 64 }, { DTYPE_I8, 32 }, { DTYPE_Q6_K, 96 } } },
};
enum { NUM_MIXTURES = sizeof(mixtures) / sizeof(mixtures[0]) };

static const struct mixture of_experts[] = {
    { { { DTYPE_Q4_K, 64 }, { DTYPE_Q6_K, 32 } } },
    { { { DTYPE_F16, 32 }, { DTYPE_Q5_0, 64 } } },
    { { { DTYPE_BF16, 32 }, { DTYPE_I4, 32 } } },
};
enum { NUM_OF_EXPERTS = sizeof(of_experts) / sizeof(of_experts[0]) };

static const struct {
    enum dtype dtype;
    enum block_type type;
} blocks[] = {
    { DTYPE_Q8_0, BLOCK_Q8_0 }, { DTYPE_Q4_0, BLOCK_Q4_0 }, { DTYPE_Q5_0, BLOCK_Q5_0 },
    { DTYPE_Q2_K, BLOCK_Q2_K }, { DTYPE_Q3_K, BLOCK_Q3_K }, { DTYPE_Q4_K, BLOCK_Q4_K },
    { DTYPE_Q5_K, BLOCK_Q5_K }, { DTYPE_Q6_K, BLOCK_Q6_K },
};

static int32_t one_group[COLS];
static const struct store_key key = { .identity = 1, .num_ranks = 1 };

static int32_t num_parts(const struct mixture *mixture)
{
    int32_t num = 0;
    while (num < MAX_PARTS && mixture->parts[num].rows > 0)
        num++;
    return num;
}

/* --- data ----------------------------------------------------------------------------------- */

/* Rows of blocks, of plain numbers, or of q and a scale. */
static unsigned char *make_rows(enum dtype dtype, int32_t rows, size_t *ret_row_bytes)
{
    const size_t num = (size_t)rows * COLS;
    float *values = malloc(num * sizeof(float));
    unsigned char *data = calloc(num + (size_t)rows, 4);
    ck_assert(values != NULL && data != NULL);
    fixture_fill(values, num);
    *ret_row_bytes = dtype_is_scaled(dtype) ? COLS + sizeof(float) : dtype_row_bytes(dtype, COLS);
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
        if (blocks[i].dtype == dtype)
            block_quantize(blocks[i].type, values, data,
                           num / (size_t)block_info(blocks[i].type)->elements);
    for (size_t i = 0; !dtype_is_quant(dtype) && !dtype_is_scaled(dtype) && i < num; i++) {
        const uint32_t bits = fixture_encode(dtype, values[i]);
        memcpy(data + i * dtype_bytes(dtype), &bits, dtype_bytes(dtype));
    }
    for (int32_t r = 0; dtype_is_scaled(dtype) && r < rows; r++) {
        unsigned char *row = data + (size_t)r * *ret_row_bytes;
        for (int32_t k = 0; k < COLS; k++)
            row[k] = (unsigned char)fixture_random_below(dtype == DTYPE_I4 ? 16 : 127);
        memcpy(row + COLS, &values[r], sizeof(float));
    }
    free(values);
    return data;
}

static struct weight_store *make_store(struct device *device, const struct mixture *mixture,
                                       int32_t num_blocks, bool is_joined)
{
    struct store_object objects[MAX_PARTS];
    struct weight_store *store = NULL;
    struct error err = { 0 };
    const int32_t num = num_parts(mixture);
    for (int32_t p = 0; p < num; p++)
        objects[p] = (struct store_object){ .dtype = mixture->parts[p].dtype,
                                            .rows = num_blocks * mixture->parts[p].rows,
                                            .cols = COLS,
                                            .scaling = { DTYPE_F32, false, 1, one_group },
                                            .is_joined = is_joined && p > 0 };
    ck_assert_msg(fixture_backend->store_create(device, &key, objects, num, &store, &err) == 0,
                  "%s", err.message);
    return store;
}

/* The same rows into both stores. */
static void fill(struct weight_store *joined, struct weight_store *apart,
                 const struct mixture *mixture, int32_t num_blocks)
{
    for (int32_t p = 0; p < num_parts(mixture); p++) {
        const int32_t rows = num_blocks * mixture->parts[p].rows;
        size_t row_bytes;
        unsigned char *data = make_rows(mixture->parts[p].dtype, rows, &row_bytes);
        fixture_backend->weight_load(fixture_backend->store_weight(joined, p), 0, rows, data);
        fixture_backend->weight_load(fixture_backend->store_weight(apart, p), 0, rows, data);
        free(data);
    }
}

/* --- linear --------------------------------------------------------------------------------- */

static void run_linear(struct device *device, float *out, const struct weight *weight,
                       const float *bias, const float *x, int32_t rows)
{
    fixture_backend->begin(device);
    fixture_backend->linear(device, out, weight, bias, x, rows);
    fixture_run(device);
}

static void expect_parts(struct device *device, struct weight_store *apart,
                         const struct mixture *mixture, const float *bias, const float *x,
                         const float *out, int32_t rows, int32_t outputs)
{
    static float alone[MAX_ROWS * MAX_OUTPUTS];
    int32_t at = 0;
    for (int32_t p = 0; p < num_parts(mixture); p++) {
        const int32_t own = mixture->parts[p].rows;
        run_linear(device, alone, fixture_backend->store_weight(apart, p),
                   bias != NULL ? bias + at : NULL, x, rows);
        for (int32_t r = 0; r < rows; r++)
            ck_assert_msg(fixture_equal_bits(out + r * outputs + at, alone + r * own, (size_t)own),
                          "part %d, row %d of %d", p, r, rows);
        at += own;
    }
}

static void check_mixture(struct device *device, const struct mixture *mixture)
{
    static const int32_t counts[] = { 1, 2, 3, 6, 7, 13, 24, 50, MAX_ROWS };
    int32_t outputs = 0;
    for (int32_t p = 0; p < num_parts(mixture); p++)
        outputs += mixture->parts[p].rows;
    struct weight_store *joined = make_store(device, mixture, 1, true);
    struct weight_store *apart = make_store(device, mixture, 1, false);
    float *x = fixture_guarded(MAX_ROWS * COLS), *bias = fixture_guarded((size_t)outputs);
    fixture_fill(x, MAX_ROWS * COLS);
    fixture_fill(bias, (size_t)outputs);
    fill(joined, apart, mixture, 1);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        const float *own_bias = i % 2 == 0 ? bias : NULL;
        const size_t num = (size_t)counts[i] * (size_t)outputs;
        float *out = fixture_guarded(num);
        run_linear(device, out, fixture_backend->store_weight(joined, 0), own_bias, x, counts[i]);
        expect_parts(device, apart, mixture, own_bias, x, out, counts[i], outputs);
        fixture_guarded_finish(out, num);
    }
    fixture_guarded_finish(bias, (size_t)outputs);
    fixture_guarded_finish(x, MAX_ROWS * COLS);
    fixture_backend->store_close(joined);
    fixture_backend->store_close(apart);
}

static void check_mixtures(struct device *device)
{
    for (int i = 0; i < NUM_MIXTURES; i++)
        check_mixture(device, &mixtures[i]);
}

START_TEST(joined_matrices_have_the_bits_of_each_alone)
{
    static const char *const isas[] = { "avx512_vnni", "avx512_amx", "neon_dot" };
    fixture_each_linear(check_mixtures);
    for (int i = 0; i < 3; i++) {
        struct device *device = fixture_open(isas[i], 7);
        if (!device)
            continue;
        check_mixtures(device);
        fixture_backend->device_close(device);
    }
}
END_TEST

/* --- experts -------------------------------------------------------------------------------- */

static struct {
    int32_t experts[MAX_ROWS * TOP], first[EXPERTS + 1], rows[MAX_ROWS * TOP];
    int32_t places[MAX_ROWS * TOP];
    float weights[MAX_ROWS * TOP], logits[MAX_ROWS * EXPERTS];
    float x[MAX_ROWS * COLS], sorted[MAX_ROWS * TOP * COLS];
    float y[MAX_ROWS * TOP * MAX_OUTPUTS], alone[MAX_ROWS * TOP * MAX_OUTPUTS];
} memory;

static const struct moe_plan plan = { EXPERTS,      TOP,         memory.experts, memory.weights,
                                      memory.first, memory.rows, memory.places };

static void check_experts(struct device *device, const struct mixture *mixture, int32_t rows)
{
    const struct moe_routing routing = { .scores = MOE_SOFTMAX, .scale = 1.0f };
    struct weight_store *joined = make_store(device, mixture, EXPERTS, true);
    struct weight_store *apart = make_store(device, mixture, EXPERTS, false);
    const int32_t outputs = mixture->parts[0].rows + mixture->parts[1].rows;
    int32_t at = 0;
    fill(joined, apart, mixture, EXPERTS);
    fixture_backend->begin(device);
    fixture_backend->moe_route(device, &plan, memory.logits, &routing, rows);
    fixture_backend->gather_rows(device, memory.sorted, memory.x, plan.rows, rows * TOP, COLS);
    fixture_backend->moe_linear(device, memory.y, fixture_backend->store_weight(joined, 0), outputs,
                                memory.sorted, &plan, rows);
    fixture_run(device);
    for (int32_t p = 0; p < num_parts(mixture); p++) {
        const int32_t own = mixture->parts[p].rows;
        fixture_backend->begin(device);
        fixture_backend->moe_linear(device, memory.alone, fixture_backend->store_weight(apart, p),
                                    own, memory.sorted, &plan, rows);
        fixture_run(device);
        for (int32_t i = 0; i < rows * TOP; i++)
            ck_assert(fixture_equal_bits(memory.y + i * outputs + at, memory.alone + i * own,
                                         (size_t)own));
        at += own;
    }
    fixture_backend->store_close(joined);
    fixture_backend->store_close(apart);
}

static void check_all_experts(struct device *device)
{
    fixture_fill(memory.x, MAX_ROWS * COLS);
    fixture_fill(memory.logits, MAX_ROWS * EXPERTS);
    for (int i = 0; i < NUM_OF_EXPERTS; i++) {
        check_experts(device, &of_experts[i], 1);
        check_experts(device, &of_experts[i], 9);
        check_experts(device, &of_experts[i], MAX_ROWS);
    }
}

START_TEST(experts_of_several_types_have_the_bits_of_each_type_alone)
{
    fixture_each_linear(check_all_experts);
}
END_TEST

/* --- stores --------------------------------------------------------------------------------- */

START_TEST(what_cannot_be_joined_is_refused)
{
    static const struct store_object lists[][2] = {
        { { .rows = 32, .cols = 64, .is_joined = true }, { .rows = 32, .cols = 64 } },
        { { .rows = 32, .cols = 64 }, { .rows = 32, .cols = 65, .is_joined = true } },
        { { .rows = 32, .cols = 64 }, { .rows = 32, .is_joined = true } },
        { { .rows = 32 }, { .rows = 32, .cols = 64, .is_joined = true } },
    };
    struct device *device = fixture_open("scalar", 1);
    struct weight_store *store = NULL;
    struct error err;
    ck_assert_int_eq(fixture_backend->store_create(device, &key, lists[_i], 2, &store, &err),
                     -EINVAL);
    fixture_backend->device_close(device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("linear_joined");
    TCase *tests = tcase_create("linear_joined");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, joined_matrices_have_the_bits_of_each_alone);
    tcase_add_test(tests, experts_of_several_types_have_the_bits_of_each_type_alone);
    tcase_add_loop_test(tests, what_cannot_be_joined_is_refused, 0, 4);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
