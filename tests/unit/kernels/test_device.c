#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

START_TEST(backend_open_names_what_there_is)
{
    const struct backend *backend = NULL;
    struct error err = { 0 };
    ck_assert_int_eq(backend_open("tpu", &backend, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.message, "tpu"));
    ck_assert_int_eq(backend_open("cpu", &backend, &err), 0);
    ck_assert_str_eq(backend->name, "cpu");
    ck_assert_uint_eq(backend->abi, BACKEND_ABI);
    ck_assert_str_eq(dtype_name(DTYPE_BF16), "bf16");
    ck_assert_uint_eq(dtype_bytes(DTYPE_F32), 4);
}
END_TEST

START_TEST(device_open_takes_the_threads_and_set_it_is_given)
{
    struct device *device = fixture_open("scalar", 3);
    ck_assert_str_eq(fixture_backend->device_isa(device), "scalar");
    ck_assert_int_eq(fixture_backend->device_threads(device), 3);
    fixture_backend->device_close(device);

    device = fixture_open(NULL, 0);
    ck_assert_int_ge(fixture_backend->device_threads(device), 1);
    fixture_backend->device_close(device);

    const struct device_options options = { .isa = "mmx", .max_ops = 1, .max_vocab = 8 };
    struct error err = { 0 };
    ck_assert_int_eq(fixture_backend->device_open(&options, &device, &err), -ENOTSUP);
    ck_assert_ptr_nonnull(strstr(err.message, "mmx"));
    fixture_backend->device_close(NULL);
}
END_TEST

/* x grows by 1 with each operation; the copies in between show what each saw. */
static void check_order(struct device *device)
{
    enum { ROWS = 40, COLS = 300, NUM = ROWS * COLS, STEPS = 20 };
    float *x = calloc(NUM, sizeof(float)), *ones = malloc(NUM * sizeof(float));
    float *seen = malloc(STEPS * NUM * sizeof(float));
    int32_t indices[ROWS];
    for (int32_t i = 0; i < NUM; i++)
        ones[i] = 1.0f;
    for (int32_t i = 0; i < ROWS; i++)
        indices[i] = ROWS - 1 - i; /* another thread's rows */

    fixture_backend->begin(device);
    for (int32_t step = 0; step < STEPS; step++) {
        fixture_backend->add_rms_norm(device, NULL, x, ones, NULL, 0.0f, ROWS, COLS);
        fixture_backend->gather_rows(device, seen + step * NUM, x, indices, ROWS, COLS);
    }
    fixture_run(device);
    for (int32_t i = 0; i < STEPS * NUM; i++)
        ck_assert_float_eq(seen[i], (float)(i / NUM + 1));
    free(seen);
    free(ones);
    free(x);
}

START_TEST(an_operation_sees_what_those_before_it_wrote)
{
    fixture_each_device(check_order);
}
END_TEST

static void check_two_lists(struct device *device)
{
    enum { COLS = 50000, LISTS = 30 };
    float *x = calloc(COLS, sizeof(float)), *ones = malloc(COLS * sizeof(float));
    for (int32_t i = 0; i < COLS; i++)
        ones[i] = 1.0f;
    for (int32_t list = 0; list < LISTS; list++) { /* recorded while the one before runs */
        fixture_backend->begin(device);
        fixture_backend->add_rms_norm(device, NULL, x, ones, NULL, 0.0f, 1, COLS);
        ck_assert_int_eq(fixture_backend->submit(device), 0);
    }
    ck_assert_int_eq(fixture_backend->wait(device), 0);
    ck_assert_int_eq(fixture_backend->wait(device), 0); /* nothing is left to wait for */
    for (int32_t i = 0; i < COLS; i++)
        ck_assert_float_eq(x[i], (float)LISTS);
    free(ones);
    free(x);
}

START_TEST(a_list_may_be_recorded_while_another_runs)
{
    fixture_each_device(check_two_lists);
}
END_TEST

static void check_overflow(struct device *device)
{
    float x[4] = { 0 }, ones[4] = { 1, 1, 1, 1 };
    fixture_backend->begin(device);
    for (int32_t i = 0; i < 1000; i++)
        fixture_backend->add_rms_norm(device, NULL, x, ones, NULL, 0.0f, 1, 4);
    ck_assert_int_eq(fixture_backend->submit(device), -ENOSPC);
    ck_assert_int_eq(fixture_backend->wait(device), 0);
    ck_assert_float_eq(x[0], 0.0f);

    fixture_backend->begin(device);
    fixture_run(device);
    fixture_backend->begin(device);
    for (int32_t i = 0; i < 64; i++)
        fixture_backend->add_rms_norm(device, NULL, x, ones, NULL, 0.0f, 1, 4);
    fixture_run(device);
    ck_assert_float_eq(x[3], 64.0f);
}

/* Each list draws from what the one before drew, and penalizes it. */
static void check_drawn_on(struct device *device)
{
    enum { VOCAB = 8, LISTS = 12 };
    float logits[2][VOCAB];
    struct sample_row rows[2]; /* one is read while the other is written */
    int32_t drawn[2][2] = { { 0 } }, ids[3] = { 7, 7, 7 };
    const int32_t known[1] = { VOCAB - 1 };
    const struct id_move moves[2] = { { 2, 1 }, { 0, 0 } };
    bool bad = false;
    for (int32_t i = 0; i < LISTS; i++) {
        rows[i % 2] = (struct sample_row){ .repetition_penalty = 4.0f,
                                           .top_p = 1.0f,
                                           .typical_p = 1.0f,
                                           .tokens = known,
                                           .num_prompt = 1,
                                           .num_tokens = i > 0 ? 2 : 1,
                                           .last_token = i > 0 ? &drawn[(i + 1) % 2][1] : NULL,
                                           .num_logprobs = -1,
                                           .forced_id = -1,
                                           .bad = &bad,
                                           .ret_id = &drawn[i % 2][1] };
        for (int32_t v = 0; v < VOCAB; v++)
            logits[i % 2][v] = v < 2 ? 2.0f + (float)v / 8 : 1.0f; /* 1 is best, then 0 */
        fixture_backend->begin(device);
        fixture_backend->move_ids(device, ids, drawn[(i + 1) % 2], moves, 2);
        fixture_backend->sample(device, logits[i % 2], VOCAB, &rows[i % 2], 1);
        ck_assert_int_eq(fixture_backend->submit(device), 0);
    }
    ck_assert_int_eq(fixture_backend->wait(device), 0);
    ck_assert(!bad);
    ck_assert_int_eq(drawn[(LISTS - 1) % 2][1], (LISTS - 1) % 2 == 0 ? 1 : 0);
    ck_assert_int_eq(ids[2], (LISTS - 2) % 2 == 0 ? 1 : 0);
    ck_assert_int_eq(ids[1], 7);
    ck_assert_int_eq(ids[0], 0);
}

START_TEST(a_list_goes_on_from_ids_that_only_the_device_knows)
{
    fixture_each_device(check_drawn_on);
}
END_TEST

static void check_wait_for(struct device *device)
{
    enum { COLS = 50000, OPS = 60 };
    float *x = calloc(COLS, sizeof(float)), *ones = malloc(COLS * sizeof(float));
    for (int32_t i = 0; i < COLS; i++)
        ones[i] = 1.0f;
    ck_assert_int_eq(fixture_backend->wait_for(device, 0), 1); /* nothing runs */
    for (int round = 1; round <= 3; round++) {
        fixture_backend->begin(device);
        for (int32_t i = 0; i < OPS; i++)
            fixture_backend->add_rms_norm(device, NULL, x, ones, NULL, 0.0f, 1, COLS);
        ck_assert_int_eq(fixture_backend->submit(device), 0);
        int r = 0;
        while (r == 0)
            r = fixture_backend->wait_for(device, 5);
        ck_assert_int_eq(r, 1);
        ck_assert_float_eq(x[COLS - 1], (float)(OPS * round));
        ck_assert_int_eq(fixture_backend->wait(device), 0);
    }
    free(ones);
    free(x);
}

START_TEST(a_list_may_be_waited_for_in_pieces)
{
    fixture_each_device(check_wait_for);
}
END_TEST

START_TEST(a_list_that_is_too_long_is_not_run)
{
    fixture_each_device(check_overflow);
}
END_TEST

static void check_memory(struct device *device)
{
    static const size_t sizes[] = { 1, 64, 100000, (1 << 20) - 64, 1 << 20, 5000000 };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        unsigned char *memory = fixture_backend->alloc(device, sizes[i]);
        ck_assert_ptr_nonnull(memory);
        ck_assert_uint_eq((uintptr_t)memory % 64, 0);
        ck_assert(memory[0] == 0 && memory[sizes[i] / 2] == 0 && memory[sizes[i] - 1] == 0);
        memset(memory, 0xff, sizes[i]);
        fixture_backend->free(device, memory);
    }
    ck_assert_ptr_null(fixture_backend->alloc(device, SIZE_MAX - 100));
    fixture_backend->free(device, NULL);
}

START_TEST(alloc_gives_aligned_zeroes_or_null)
{
    fixture_each_device(check_memory);
}
END_TEST

static void check_sample(struct device *device)
{
    enum { ROWS = 5, VOCAB = 1000 };
    float *logits = malloc(ROWS * VOCAB * sizeof(float));
    struct sample_row rows[ROWS];
    int32_t ids[ROWS];
    bool bad[ROWS] = { false };
    fixture_fill(logits, ROWS * VOCAB);
    for (int32_t i = 0; i < ROWS; i++) {
        logits[i * VOCAB + 100 * i + 7] = 9.0f;
        rows[i] = (struct sample_row){ .temperature = 0.0f,
                                       .top_p = 1.0f,
                                       .typical_p = 1.0f,
                                       .repetition_penalty = 1.0f,
                                       .num_logprobs = -1,
                                       .forced_id = -1,
                                       .bad = &bad[i],
                                       .ret_id = &ids[i] };
    }
    fixture_backend->begin(device);
    fixture_backend->sample(device, logits, VOCAB, rows, ROWS);
    fixture_run(device);
    for (int32_t i = 0; i < ROWS; i++) {
        ck_assert_int_eq(ids[i], 100 * i + 7);
        ck_assert(!bad[i]);
    }
    free(logits);
}

START_TEST(sample_takes_each_row_of_logits)
{
    fixture_each_device(check_sample);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("device");
    TCase *tests = tcase_create("device");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, backend_open_names_what_there_is);
    tcase_add_test(tests, device_open_takes_the_threads_and_set_it_is_given);
    tcase_add_test(tests, an_operation_sees_what_those_before_it_wrote);
    tcase_add_test(tests, a_list_may_be_recorded_while_another_runs);
    tcase_add_test(tests, a_list_goes_on_from_ids_that_only_the_device_knows);
    tcase_add_test(tests, a_list_may_be_waited_for_in_pieces);
    tcase_add_test(tests, a_list_that_is_too_long_is_not_run);
    tcase_add_test(tests, alloc_gives_aligned_zeroes_or_null);
    tcase_add_test(tests, sample_takes_each_row_of_logits);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
