#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_rig.h"

/* An f16 K may round to the other side when its float is one ulp off: a hundredth of 1 %. */
static double tolerance(enum dtype dtype)
{
    return dtype == DTYPE_F16 ? 1e-4 : 5e-6;
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
                            tolerance(attention_models[m].dtype), 1e-5);
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

START_TEST(kv_alloc_refuses_what_it_cannot_hold)
{
    struct device *device = fixture_open("scalar", 1);
    struct kv_pool *pool = NULL;
    struct error err = { 0 };
    const struct kv_layout empty = { 0, 1, 64, 16, DTYPE_F16 };
    const struct kv_layout bf16 = { 1, 1, 64, 16, DTYPE_BF16 };
    const struct kv_layout huge = { 1 << 20, 1 << 20, 512, 1 << 20, DTYPE_F32 };
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &empty, 4, &pool, &err), -22);
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &bf16, 4, &pool, &err), -95);
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
    tcase_add_test(tests, kv_alloc_refuses_what_it_cannot_hold);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
