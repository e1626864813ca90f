#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "goldens.h"
#include "rig.h"
#include "worker/model/forward_experts.h"

enum { MAX_VOCAB = GOLDEN_MAX_VOCAB, NUM_TOP = 32 };

static const char *const isas[] = { "scalar", "avx2", "avx512", "neon" };
enum { NUM_ISAS = sizeof(isas) / sizeof(isas[0]) };

/* A prompt whole, and cut; each case takes some of the cuts, so that all occur with everything. */
enum { WHOLE = GOLDEN_MAX_TOKENS };
static const int32_t chunks[] = { 96, 7, 16, 1 };
enum { NUM_CHUNKS = sizeof(chunks) / sizeof(chunks[0]) };

/* Blocks of two sequences, in no order. */
static const int32_t blocks_a[] = { 5, 2, 11, 0, 20, 9, 16, 4 };
static const int32_t blocks_b[] = { 7, 1, 3, 12, 8, 23, 10, 14 };

static int32_t tokens[GOLDEN_MAX_TOKENS];
static float expected[GOLDEN_MAX_TOKENS * MAX_VOCAB];
static float found[RIG_MAX_ROWS * MAX_VOCAB], other[RIG_MAX_ROWS * MAX_VOCAB];

static void read_golden(const char *dir, const char *name, void *to, size_t bytes)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s", path);
    ck_assert_uint_eq(fread(to, 1, bytes, file), bytes);
    ck_assert_int_eq(fgetc(file), EOF);
    fclose(file);
}

static void read_tokens(const struct golden *golden)
{
    read_golden(golden->dir, "tokens.i32", tokens, (size_t)golden->num_tokens * sizeof(tokens[0]));
}

/* False when this machine lacks the instruction set. */
static bool open_rig(struct rig *rig, const char *dir, const char *isa, enum dtype kv_dtype)
{
    struct error err = { 0 };
    const struct rig_options options = { .dir = dir, .isa = isa, .kv_dtype = kv_dtype };
    if (getenv("TEST_SAMPLE") != NULL && isa == isas[0])
        return false; /* it is the slowest, and the machine emulated */
    const int r = rig_open(rig, &options, &err);
    if (r == -ENOTSUP && isa != NULL && strcmp(isa, "scalar") != 0)
        return false;
    ck_assert_msg(r == 0, "%s: %s", dir, err.message);
    return true;
}

static double max_difference(const float *a, const float *b, size_t num)
{
    double max = 0.0;
    for (size_t i = 0; i < num; i++) {
        const double difference = fabs((double)a[i] - (double)b[i]);
        if (!(difference <= max))
            max = difference; /* NaN too */
    }
    return max;
}

/* Bound on float32 against float32 in another order of summation, as a part of the largest. */
static const double tolerance = 5e-5;

static double max_of(const float *a, size_t num)
{
    double max = 0.0;
    for (size_t i = 0; i < num; i++)
        max = fabs((double)a[i]) > max ? fabs((double)a[i]) : max;
    return max;
}

START_TEST(logits_are_those_of_transformers)
{
    const struct golden *golden = &goldens[_i / NUM_ISAS];
    struct rig rig;
    if (!open_rig(&rig, golden->dir, isas[_i % NUM_ISAS], DTYPE_F32))
        return;
    const size_t num = (size_t)golden->num_tokens * (size_t)rig.vocab_size;
    read_tokens(golden);
    read_golden(golden->dir, "logits.f32", expected, num * sizeof(float));

    const double limit = tolerance * max_of(expected, num);
    const int32_t cuts[] = { WHOLE, chunks[(_i + _i / NUM_ISAS) % NUM_CHUNKS] };
    for (int c = 0; c < 2; c++) {
        rig_run(&rig, tokens, golden->num_tokens, cuts[c], blocks_a, found);
        const double difference = max_difference(found, expected, num);
        ck_assert_msg(difference <= limit, "%s, %s, chunks of %d: %g, wanted %g", golden->dir,
                      isas[_i % NUM_ISAS], cuts[c], difference, limit);
    }
    rig_close(&rig);
}
END_TEST

START_TEST(greedy_tokens_are_those_of_transformers)
{
    const struct golden *golden = &goldens[_i / NUM_ISAS];
    struct rig rig;
    if (golden->num_prompt == 0 || !open_rig(&rig, golden->dir, isas[_i % NUM_ISAS], DTYPE_F32))
        return;
    read_tokens(golden);
    int32_t written[GOLDEN_MAX_TOKENS];
    memcpy(written, tokens, (size_t)golden->num_prompt * sizeof(tokens[0]));

    struct rig_part part = { written, 0, golden->num_prompt, blocks_a };
    for (int32_t i = golden->num_prompt; i < golden->num_tokens; i++) {
        written[i] = rig_next(&rig, &part);
        ck_assert_msg(written[i] == tokens[i], "%s, token %d: %d, wanted %d", golden->dir, i,
                      written[i], tokens[i]);
        part = (struct rig_part){ written, i, 1, blocks_a };
    }
    rig_close(&rig);
}
END_TEST

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Distance of a row's logits from the expected, as a part of their length: the median of rows, for
 * a little is enough for a router near a tie to choose another expert. */
static double median_distance(int32_t num_rows, int32_t vocab_size)
{
    double distances[GOLDEN_MAX_TOKENS];
    for (int32_t row = 0; row < num_rows; row++) {
        double squares = 0.0, length = 0.0;
        for (int32_t i = row * vocab_size; i < (row + 1) * vocab_size; i++) {
            squares += pow((double)found[i] - (double)expected[i], 2.0);
            length += pow((double)expected[i], 2.0);
        }
        distances[row] = sqrt(squares / length);
    }
    qsort(distances, (size_t)num_rows, sizeof(distances[0]), by_value);
    return distances[num_rows / 2];
}

/* Bounds on what the type of the KV pool changes. */
static const struct {
    enum dtype dtype;
    double part;
} kv_types[] = {
    { DTYPE_F16, 0.002 }, { DTYPE_BF16, 0.02 }, { DTYPE_Q8_0, 0.04 }, { DTYPE_F8_E4M3, 0.25 }
};
enum { NUM_KV_TYPES = sizeof(kv_types) / sizeof(kv_types[0]) };

START_TEST(a_smaller_type_of_the_kv_pool_costs_little)
{
    const struct golden *golden = &goldens[_i / NUM_KV_TYPES];
    const int type = _i % NUM_KV_TYPES;
    struct rig rig;
    open_rig(&rig, golden->dir, NULL, kv_types[type].dtype);
    const size_t num = (size_t)golden->num_tokens * (size_t)rig.vocab_size;
    read_tokens(golden);
    read_golden(golden->dir, "logits.f32", expected, num * sizeof(float));

    rig_run(&rig, tokens, golden->num_tokens, golden->num_tokens, blocks_a, found);
    const double part = kv_types[type].part;
    const double difference = median_distance(golden->num_tokens, rig.vocab_size);
    ck_assert_msg(difference <= part, "%s, KV in %s: %g, wanted %g", golden->dir,
                  dtype_name(kv_types[type].dtype), difference, part);
    ck_assert_double_gt(difference, 0.0);
    rig_close(&rig);
}
END_TEST

START_TEST(the_chunking_of_a_prompt_changes_no_bit)
{
    const struct golden *golden = &goldens[_i / (2 * NUM_ISAS)];
    struct rig rig;
    static const enum dtype types[] = { DTYPE_F16, DTYPE_F32, DTYPE_F8_E4M3, DTYPE_Q8_0,
                                        DTYPE_BF16 };
    if (!open_rig(&rig, golden->dir, isas[_i / 2 % NUM_ISAS], types[_i % 5]))
        return;
    const size_t bytes = (size_t)golden->num_tokens * (size_t)rig.vocab_size * sizeof(float);
    read_tokens(golden);

    rig_run(&rig, tokens, golden->num_tokens, WHOLE, blocks_a, found);
    for (int c = _i % 2; c < NUM_CHUNKS; c += 2) {
        rig_run(&rig, tokens, golden->num_tokens, chunks[c], c < 2 ? blocks_b : blocks_a, other);
        ck_assert_msg(memcmp(found, other, bytes) == 0, "%s, chunks of %d", golden->dir, chunks[c]);
    }
    rig_close(&rig);
}
END_TEST

START_TEST(the_number_of_threads_changes_no_bit)
{
    const struct golden *golden = &goldens[_i];
    read_tokens(golden);
    for (int32_t threads = 1; threads <= 3; threads++) {
        struct rig rig;
        struct error err = { 0 };
        const struct rig_options options = { .dir = golden->dir, .num_threads = threads };
        ck_assert_msg(rig_open(&rig, &options, &err) == 0, "%s", err.message);
        rig_run(&rig, tokens, golden->num_tokens, 16, blocks_a, threads == 1 ? found : other);
        if (threads > 1)
            ck_assert_mem_eq(found, other,
                             (size_t)(golden->num_tokens * rig.vocab_size) * sizeof(float));
        rig_close(&rig);
    }
}
END_TEST

START_TEST(a_sequence_is_not_changed_by_those_beside_it)
{
    const struct golden *golden = &goldens[_i];
    const int32_t num = golden->num_tokens;
    struct rig rig;
    open_rig(&rig, golden->dir, NULL, DTYPE_F16);
    const size_t row = (size_t)rig.vocab_size;
    int32_t reversed[GOLDEN_MAX_TOKENS];
    read_tokens(golden);
    for (int32_t i = 0; i < num; i++)
        reversed[i] = tokens[num - 1 - i];

    rig_run(&rig, tokens, num, num, blocks_a, found);
    rig_run(&rig, reversed, num, num, blocks_b, other);
    static float together[RIG_MAX_ROWS * MAX_VOCAB];
    for (int32_t pos = 0; pos < 40; pos += 20) { /* a in chunks of 20, b of 10 beside it */
        const struct rig_part parts[] = { { reversed, pos / 2, 10, blocks_b },
                                          { tokens, pos, 20, blocks_a } };
        rig_step(&rig, parts, 2, NULL, 0, together);
        ck_assert_mem_eq(together, other + (size_t)(pos / 2) * row, 10 * row * sizeof(float));
        ck_assert_mem_eq(together + 10 * row, found + (size_t)pos * row, 20 * row * sizeof(float));
    }
    rig_close(&rig);
}
END_TEST

START_TEST(only_the_wanted_rows_get_logits)
{
    const struct golden *golden = &goldens[_i];
    const int32_t num = golden->num_tokens;
    struct rig rig;
    open_rig(&rig, golden->dir, NULL, DTYPE_F16);
    const size_t row = (size_t)rig.vocab_size;
    read_tokens(golden);
    rig_run(&rig, tokens, num, num, blocks_a, found);

    const struct rig_part first = { tokens, 0, 60, blocks_b }, last = { tokens, 60, 2, blocks_b };
    const int32_t none[1] = { 0 }, wanted[] = { 59, 3, 59 }, choices[] = { 1, 1, 1, 0, 1 };
    const int32_t swapped[] = { 1, 0 };
    rig_step(&rig, &first, 1, none, 0, other); /* fills the pool all the same */
    rig_step(&rig, &last, 1, choices, 5, other);
    for (size_t i = 0; i < 5; i++)
        ck_assert_mem_eq(other + i * row, found + (size_t)(60 + choices[i]) * row,
                         row * sizeof(float));
    rig_step(&rig, &last, 1, swapped, 2, other);
    for (size_t i = 0; i < 2; i++)
        ck_assert_mem_eq(other + i * row, found + (61 - i) * row, row * sizeof(float));
    rig_step(&rig, &first, 1, wanted, 3, other);
    for (size_t i = 0; i < 3; i++)
        ck_assert_mem_eq(other + i * row, found + (size_t)wanted[i] * row, row * sizeof(float));
    rig_close(&rig);
}
END_TEST

/* Of all rows at once, of one, of a few. */
START_TEST(experts_that_compute_in_parts_change_no_bit)
{
    const struct golden *golden = &goldens[_i];
    static const size_t limits[] = { 0, 1, 40000 };
    const int32_t num = golden->num_tokens;
    const int32_t wanted[] = { num - 1, 3, 60, num - 1 };
    read_tokens(golden);
    for (size_t i = 0; i < 3; i++) {
        const struct rig_options options = { .dir = golden->dir, .expert_bytes = limits[i] };
        const struct rig_part part = { tokens, 0, num, blocks_a };
        struct error err = { 0 };
        struct rig rig;
        ck_assert_msg(rig_open(&rig, &options, &err) == 0, "%s", err.message);
        const size_t row = (size_t)rig.vocab_size;
        rig_run(&rig, tokens, num, num, blocks_a, i == 0 ? found : other);
        if (i > 0)
            ck_assert_mem_eq(found, other, (size_t)num * row * sizeof(float));
        rig_step(&rig, &part, 1, wanted, 4, other);
        for (size_t k = 0; k < 4; k++)
            ck_assert_mem_eq(other + k * row, found + (size_t)wanted[k] * row, row * sizeof(float));
        const bool has_experts = model_arch(rig.model)->moe.num_experts > 0;
        rig_close(&rig);
        if (!has_experts)
            break;
    }
}
END_TEST

/* A step of as many rows as a part has is rounded up to no more. */
START_TEST(parts_of_experts_are_what_devices_round_rows_up_to)
{
    static const struct {
        size_t room;
        int32_t part;
    } rows[] = { { 0, 1 },   { 1, 1 },     { 3, 2 },     { 7, 4 },     { 15, 8 },
                 { 16, 16 }, { 130, 128 }, { 600, 592 }, { 999, 992 }, { 1000, 1000 } };
    const struct arch arch = {
        .hidden_size = 64,
        .moe = { .num_experts = 8, .top_k = 2, .intermediate_size = 32 },
    };
    const size_t row = experts_bytes(&arch, SIZE_MAX, 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ck_assert_int_eq(experts_part(&arch, rows[i].room * row + 1, 1000), rows[i].part);
}
END_TEST

START_TEST(ringlet_answers_as_in_transformers)
{
    static const char dir[] = GOLDEN "/ringlet";
    enum { NUM_TOKENS = 64 };
    static const double ringlet_tolerance = 2e-4;
    struct rig rig;
    int32_t top_ids[8][NUM_TOP];
    float top[8][NUM_TOP], last[MAX_VOCAB];
    if (!open_rig(&rig, RINGLET, isas[_i], DTYPE_F32))
        return;
    read_golden(dir, "tokens.i32", tokens, NUM_TOKENS * sizeof(tokens[0]));
    read_golden(dir, "top_ids.i32", top_ids, sizeof(top_ids));
    read_golden(dir, "top.f32", top, sizeof(top));
    read_golden(dir, "last.f32", last, sizeof(last));

    rig_run(&rig, tokens, NUM_TOKENS, 24, blocks_a, found);
    for (int32_t k = 0; k < 8; k++)
        for (int32_t i = 0; i < NUM_TOP; i++)
            ck_assert_double_eq_tol((double)found[8 * k * MAX_VOCAB + top_ids[k][i]],
                                    (double)top[k][i], ringlet_tolerance);
    ck_assert_double_le(max_difference(found + 63 * MAX_VOCAB, last, MAX_VOCAB), ringlet_tolerance);
    rig_close(&rig);
}
END_TEST

START_TEST(ringlet_writes_what_transformers_writes)
{
    static const char dir[] = GOLDEN "/ringlet";
    enum { NUM_PROMPT = 20, NUM_WRITTEN = 32 };
    struct rig rig;
    int32_t sequence[NUM_PROMPT + NUM_WRITTEN], written[NUM_WRITTEN];
    if (!open_rig(&rig, RINGLET, isas[_i], DTYPE_F32))
        return;
    read_golden(dir, "prompt.i32", sequence, NUM_PROMPT * sizeof(*sequence));
    read_golden(dir, "greedy.i32", written, sizeof(written));

    struct rig_part part = { sequence, 0, NUM_PROMPT, blocks_a };
    for (int32_t i = 0; i < NUM_WRITTEN; i++) {
        sequence[NUM_PROMPT + i] = rig_next(&rig, &part);
        ck_assert_int_eq(sequence[NUM_PROMPT + i], written[i]);
        part = (struct rig_part){ sequence, NUM_PROMPT + i, 1, blocks_a };
    }
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("forward");
    TCase *tc = tcase_create("forward");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, logits_are_those_of_transformers, 0, NUM_GOLDENS * NUM_ISAS);
    tcase_add_loop_test(tc, greedy_tokens_are_those_of_transformers, 0, NUM_GOLDENS * NUM_ISAS);
    tcase_add_loop_test(tc, a_smaller_type_of_the_kv_pool_costs_little, 0,
                        NUM_GOLDENS * NUM_KV_TYPES);
    tcase_add_loop_test(tc, the_chunking_of_a_prompt_changes_no_bit, 0, NUM_GOLDENS * NUM_ISAS * 2);
    tcase_add_loop_test(tc, the_number_of_threads_changes_no_bit, 0, NUM_GOLDENS);
    tcase_add_loop_test(tc, a_sequence_is_not_changed_by_those_beside_it, 0, NUM_GOLDENS);
    tcase_add_loop_test(tc, only_the_wanted_rows_get_logits, 0, NUM_GOLDENS);
    tcase_add_loop_test(tc, experts_that_compute_in_parts_change_no_bit, 0, NUM_GOLDENS);
    tcase_add_test(tc, parts_of_experts_are_what_devices_round_rows_up_to);
    tcase_add_loop_test(tc, ringlet_answers_as_in_transformers, 0, NUM_ISAS);
    tcase_add_loop_test(tc, ringlet_writes_what_transformers_writes, 0, NUM_ISAS);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
