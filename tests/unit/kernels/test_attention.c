#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_rig.h"

/* A K that was computed may round to the other side when its float is one ulp off: f16 a hundredth
 * of 1 %, the others more. One that is stored as it came does not. */
static double tolerance(const struct attention_model *model)
{
    const bool is_computed = model->rotary_dims > 0 || model->norm != NORM_NONE;
    return !is_computed || model->dtype == DTYPE_F32 ? 5e-6
           : model->dtype == DTYPE_F16               ? 1e-4
                                                     : 3e-3;
}

static void check_oracle(struct device *device)
{
    static const int32_t checked[] = { 0, 1, 15, 16, 62, 63, 64, 65, 130, 255, 256, 299 };
    enum { POSITIONS = 300 };

    for (int32_t m = 0; m < NUM_ATTENTION_MODELS; m++) {
        struct attention_rig run;
        double wanted[256];
        attention_rig_open(&run, device, &attention_models[m]);
        const int32_t row = attention_models[m].num_heads * attention_models[m].head_dim,
                      dim = attention_models[m].head_dim;
        float *out = fixture_guarded((size_t)(POSITIONS * row));
        attention_rig_step(&run, 0, POSITIONS, out);
        for (size_t i = 0; i < sizeof(checked) / sizeof(checked[0]); i++) {
            const int32_t head = (int32_t)i % attention_models[m].num_heads;
            attention_rig_expect(&run, checked[i], head, wanted);
            fixture_compare(fixture_backend->device_isa(device),
                            out + checked[i] * row + head * dim, wanted, (size_t)dim,
                            tolerance(&attention_models[m]), 1e-5);
        }
        fixture_guarded_finish(out, (size_t)(POSITIONS * row));
        attention_rig_close(&run);
    }
}

START_TEST(attention_equals_softmax_in_double)
{
    fixture_each_device(check_oracle);
}
END_TEST

static void check_long_context(struct device *device)
{
    const struct attention_model *model = &attention_models[0];
    const int32_t row = model->num_heads * model->head_dim;
    struct attention_rig run;
    double wanted[256];
    attention_rig_open(&run, device, model);
    float *out = fixture_guarded((size_t)(ATTENTION_POSITIONS * row));
    attention_rig_step(&run, 0, ATTENTION_POSITIONS - 1, out);
    attention_rig_step(&run, ATTENTION_POSITIONS - 1, ATTENTION_POSITIONS, out);
    for (int32_t head = 0; head < model->num_heads; head++) {
        attention_rig_expect(&run, ATTENTION_POSITIONS - 1, head, wanted);
        fixture_compare("long", out + head * model->head_dim, wanted, (size_t)model->head_dim, 1e-4,
                        1e-5);
    }
    fixture_guarded_finish(out, (size_t)(ATTENTION_POSITIONS * row));
    attention_rig_close(&run);
}

START_TEST(attention_combines_many_spans)
{
    fixture_each_device(check_long_context);
}
END_TEST

/* Slots behind a row's position may hold anything, even what is no number. */
static void check_garbage(struct device *device)
{
    enum { POSITIONS = 20 };
    const struct attention_model *model = &attention_models[1];
    const int32_t row = model->num_heads * model->head_dim;
    struct attention_rig run;
    attention_rig_open(&run, device, model);
    float *clean = fixture_guarded((size_t)(POSITIONS * row));
    float *out = fixture_guarded((size_t)(70 * row));
    attention_rig_step(&run, 0, POSITIONS, clean);

    for (int32_t i = POSITIONS * attention_rig_row(model); i < 70 * attention_rig_row(model); i++)
        run.qkv[i] = i % 2 ? INFINITY : NAN;
    attention_rig_step(&run, 0, 70, out);
    ck_assert(fixture_equal_bits(out, clean, (size_t)(POSITIONS * row)));
    attention_rig_step(&run, 0, POSITIONS, out);
    ck_assert(fixture_equal_bits(out, clean, (size_t)(POSITIONS * row)));

    fixture_guarded_finish(out, (size_t)(70 * row));
    fixture_guarded_finish(clean, (size_t)(POSITIONS * row));
    attention_rig_close(&run);
}

START_TEST(attention_is_blind_to_what_lies_behind_a_row)
{
    fixture_each_device(check_garbage);
}
END_TEST

/* Nor to what lies before its window: those slots may hold anything, their blocks be gone. */
static void check_garbage_before(struct device *device)
{
    enum { POSITIONS = 420, FROM = 333 };
    const bool is_scalar = strcmp(fixture_backend->device_isa(device), "scalar") == 0;
    for (int32_t m = 0; m < NUM_ATTENTION_MODELS; m += is_scalar ? 3 : 1) {
        const struct attention_model *model = &attention_models[m];
        const int32_t row = model->num_heads * model->head_dim;
        const int32_t first = FROM - model->window + 1;
        const size_t num = (size_t)((POSITIONS - FROM) * row);
        if (model->window == 0 || first <= 0)
            continue;
        struct attention_rig run;
        attention_rig_open(&run, device, model);
        float *clean = fixture_guarded(num), *out = fixture_guarded(num);
        float *before = fixture_guarded((size_t)(FROM * row));
        attention_rig_step(&run, 0, FROM, before);
        attention_rig_step(&run, FROM, POSITIONS, clean);

        for (int32_t i = 0; i < first * attention_rig_row(model); i++)
            run.qkv[i] = i % 2 ? INFINITY : NAN;
        attention_rig_step(&run, 0, first, before);
        for (int32_t i = 0; i < first / model->block_size; i++)
            run.blocks[i] = -1;
        attention_rig_step(&run, FROM, POSITIONS, out);
        ck_assert_msg(fixture_equal_bits(out, clean, num), "model %d", m);

        fixture_guarded_finish(before, (size_t)(FROM * row));
        fixture_guarded_finish(out, num);
        fixture_guarded_finish(clean, num);
        attention_rig_close(&run);
    }
}

START_TEST(attention_is_blind_to_what_lies_before_a_window)
{
    fixture_each_device(check_garbage_before);
}
END_TEST

static void check_copy(struct device *device)
{
    enum { POSITIONS = 40 };
    static const int32_t to[] = { 390, 391, 392 };
    const struct attention_model *model = &attention_models[0];
    const int32_t row = model->num_heads * model->head_dim;
    struct attention_rig run;
    int32_t moved[3];
    attention_rig_open(&run, device, model);
    float *first = fixture_guarded((size_t)row), *out = fixture_guarded((size_t)(POSITIONS * row));
    attention_rig_step(&run, 0, POSITIONS, out);
    memcpy(first, out + (POSITIONS - 1) * row, (size_t)row * sizeof(float));

    memcpy(moved, run.blocks, sizeof(moved));
    fixture_backend->begin(device);
    fixture_backend->copy_blocks(device, run.pool, moved, to, 3);
    fixture_run(device);
    memcpy(run.blocks, to, sizeof(to));
    attention_rig_step(&run, POSITIONS - 1, POSITIONS, out);
    ck_assert(fixture_equal_bits(out, first, (size_t)row));

    fixture_guarded_finish(out, (size_t)(POSITIONS * row));
    fixture_guarded_finish(first, (size_t)row);
    attention_rig_close(&run);
}

START_TEST(copy_blocks_moves_a_sequence_to_other_pages)
{
    fixture_each_device(check_copy);
}
END_TEST

/* --- types of pages --------------------------------------------------------------------------- */

static const enum dtype types[] = { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_F8_E4M3, DTYPE_Q8_0 };
enum { NUM_TYPES = sizeof(types) / sizeof(types[0]) };

/* One position sees itself alone: it gets its value as it is stored. */
static void expect_stored(struct device *device, const float *values, const double *wanted,
                          const struct attention_model *model)
{
    const int32_t dim = model->head_dim;
    struct attention_rig run;
    float *out = fixture_guarded((size_t)dim);
    attention_rig_open(&run, device, model);
    memcpy(run.qkv + 2 * dim, values, (size_t)dim * sizeof(float));
    attention_rig_step(&run, 0, 1, out);
    for (int32_t d = 0; d < dim; d++)
        ck_assert_msg(isnan(wanted[d]) ? isnan(out[d]) : (double)out[d] == wanted[d],
                      "%s: %s of %.9g is %.9g, wanted %.9g", fixture_backend->device_isa(device),
                      dtype_name(model->dtype), (double)values[d], (double)out[d], wanted[d]);
    attention_rig_close(&run);
    fixture_guarded_finish(out, (size_t)dim);
}

static void check_rounding(struct device *device)
{
    enum { DIM = 200, NUM = 40 };
    for (int t = 0; t < NUM_TYPES; t++)
        for (int i = 0; i < NUM; i++) {
            const struct attention_model model = { 1, 1, DIM, 16, 0, types[t] };
            float values[DIM];
            double wanted[DIM];
            for (int32_t d = 0; d < DIM; d++) {
                /* Of every size (f16 ends early), and halfway between neighbours. */
                values[d] = ldexpf(fixture_random(), fixture_random_below(t == 1 ? 16 : 40) - i);
                if (d % 3 == 0)
                    values[d] = ldexpf((float)(2 * fixture_random_below(32) + 1), 4 - i);
                wanted[d] = (double)values[d];
            }
            fixture_round(types[t], wanted, DIM);
            expect_stored(device, values, wanted, &model);
        }
}

START_TEST(values_are_rounded_to_the_nearest_of_their_type)
{
    fixture_each_device(check_rounding);
}
END_TEST

static void check_no_number(struct device *device)
{
    enum { DIM = 64 };
    for (int t = 0; t < NUM_TYPES; t++) {
        const struct attention_model model = { 1, 1, DIM, 16, 0, types[t] };
        const bool is_quant = types[t] == DTYPE_Q8_0,
                   is_byte = is_quant || types[t] == DTYPE_F8_E4M3;
        float values[DIM];
        double wanted[DIM];
        for (int32_t d = 0; d < DIM; d++) {
            values[d] = d == 7 ? INFINITY : d == 21 ? NAN : (float)(d % 5 - 2);
            wanted[d] = d == 21 || (d == 7 && is_byte) ? NAN : (double)values[d];
        }
        fixture_round(types[t], wanted + 32, 32);
        for (int32_t d = 0; is_quant && d < 32; d++)
            wanted[d] = NAN; /* all that share a scale */
        expect_stored(device, values, wanted, &model);
    }
}

START_TEST(what_is_no_number_is_not_stored_as_one)
{
    fixture_each_device(check_no_number);
}
END_TEST

START_TEST(a_page_has_as_many_bytes_as_its_type_says)
{
    static const size_t bytes[NUM_TYPES] = { 4 * 16 * 80, 2 * 16 * 80, 2 * 16 * 80, 16 * 80,
                                             16 * (80 + 2 * 3) };
    for (int t = 0; t < NUM_TYPES; t++) {
        const struct kv_layout layout = { 3, 5, 80, 16, types[t], 0 };
        const struct kv_layout latent = { 3, 1, 80, 16, types[t], 64 };
        ck_assert_uint_eq(kv_block_bytes(&layout), 3 * 5 * 2 * bytes[t]);
        ck_assert_uint_eq(kv_block_bytes(&latent), 3 * bytes[t]);
    }
}
END_TEST

START_TEST(kv_alloc_refuses_what_it_cannot_hold)
{
    struct device *device = fixture_open("scalar", 1);
    struct kv_pool *pool = NULL;
    struct error err = { 0 };
    const struct kv_layout empty = { 0, 1, 64, 16, DTYPE_F16 };
    const struct kv_layout q4_0 = { 1, 1, 64, 16, DTYPE_Q4_0 };
    const struct kv_layout huge = { 1 << 20, 1 << 20, 512, 1 << 20, DTYPE_F32 };
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &empty, 4, &pool, &err), -22);
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &q4_0, 4, &pool, &err), -95);
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &huge, 1 << 30, &pool, &err), -12);
    ck_assert_ptr_null(pool);
    fixture_backend->device_close(device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attention");
    TCase *tests = tcase_create("attention");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, attention_equals_softmax_in_double);
    tcase_add_test(tests, attention_combines_many_spans);
    tcase_add_test(tests, attention_is_blind_to_what_lies_behind_a_row);
    tcase_add_test(tests, attention_is_blind_to_what_lies_before_a_window);
    tcase_add_test(tests, copy_blocks_moves_a_sequence_to_other_pages);
    tcase_add_test(tests, values_are_rounded_to_the_nearest_of_their_type);
    tcase_add_test(tests, what_is_no_number_is_not_stored_as_one);
    tcase_add_test(tests, a_page_has_as_many_bytes_as_its_type_says);
    tcase_add_test(tests, kv_alloc_refuses_what_it_cannot_hold);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
