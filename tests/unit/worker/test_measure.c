/* What is said before loading is what loading finds. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "goldens.h"
#include "rig.h"
#include "worker/model/measure.h"

static struct measure m;
static struct error err;

static int measure(const char *dir, int32_t max_model_len, int32_t num_ranks)
{
    const struct model_options options = { .dir = dir,
                                           .kv_dtype = DTYPE_F16,
                                           .block_size = RIG_BLOCK_SIZE,
                                           .max_model_len = max_model_len,
                                           .max_rows = 8,
                                           .max_logits = 8 };
    err = (struct error){ 0 };
    return measure_model(&options, num_ranks, &m, &err);
}

/* Of plain C: where tiles want inputs in whole blocks, tiny matrices of bf16 take more. */
static void check_weights(const char *dir)
{
    const struct rig_options options = { .dir = dir, .kv_dtype = DTYPE_F16, .isa = "scalar" };
    struct rig rig;
    ck_assert_msg(measure(dir, 128, 1) == 0, "%s", err.message);
    ck_assert_int_eq(rig_open(&rig, &options, &err), 0);
    ck_assert_uint_eq(m.weight_bytes, model_weight_bytes(rig.model));
    ck_assert_uint_eq(m.kv_block_bytes, kv_block_bytes(&model_arch(rig.model)->kv_block));
    ck_assert_int_eq(m.max_len, model_max_len(rig.model));
    ck_assert_uint_gt(m.checkpoint_bytes, 0);
    rig_close(&rig);
}

START_TEST(weights_take_what_was_said)
{
    check_weights(goldens[_i].dir);
}
END_TEST

START_TEST(so_do_those_of_gguf_files)
{
    check_weights(GOLDEN "/gguf/llama_gqa_bf16_llama3.gguf");
    check_weights(GOLDEN "/gguf/families_gemma_mqa.gguf");
    check_weights(GOLDEN "/gguf/families_phi3_long.gguf");
}
END_TEST

START_TEST(ranks_take_less_each)
{
    ck_assert_int_eq(measure(RINGLET, 0, 1), 0);
    const struct measure whole = m;
    ck_assert_int_eq(measure(RINGLET, 0, 4), 0);
    ck_assert_uint_lt(m.weight_bytes, whole.weight_bytes);
    ck_assert_uint_eq(4 * m.kv_block_bytes, whole.kv_block_bytes);
    ck_assert_int_eq(m.max_len, 2048);
}
END_TEST

START_TEST(what_cannot_be_loaded_is_refused)
{
    ck_assert_int_eq(measure("/nonexistent", 0, 1), -ENOENT);
    ck_assert_int_eq(measure(RINGLET, 2049, 1), -EINVAL);
    ck_assert_str_eq(err.param, "max_model_len");
    ck_assert_int_eq(measure(RINGLET, 0, 3), -EINVAL);
    ck_assert_str_eq(err.param, "tensor_parallel");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("measure");
    TCase *tc = tcase_create("measure");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, weights_take_what_was_said, 0, NUM_GOLDENS);
    tcase_add_test(tc, so_do_those_of_gguf_files);
    tcase_add_test(tc, ranks_take_less_each);
    tcase_add_test(tc, what_cannot_be_loaded_is_refused);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
