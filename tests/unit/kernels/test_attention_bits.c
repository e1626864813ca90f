#include <stdlib.h>
#include <string.h>

#include "attention_rig.h"

/* Law 1: the same bits in whatever chunks the positions came. */
static void check_chunks(struct device *device)
{
    static const int32_t chunks[] = { 1, 7, 16, 63, 64, 65, 256, 300 };
    enum { POSITIONS = 600 };

    const bool is_scalar = strcmp(fixture_backend->device_isa(device), "scalar") == 0;
    const bool is_slow = is_scalar || fixture_is_sampled();
    for (int32_t m = 0; m < NUM_ATTENTION_MODELS; m++) {
        if (is_slow && m != 0 && m != 5 && m != 9)
            continue;
        struct attention_rig run;
        attention_rig_open(&run, device, &attention_models[m]);
        const int32_t row = attention_models[m].num_heads * attention_models[m].head_dim;
        const size_t num = (size_t)(POSITIONS * row);
        float *whole = fixture_guarded(num), *out = fixture_guarded(num);
        attention_rig_step(&run, 0, POSITIONS, whole);
        for (size_t c = m % 4; c < sizeof(chunks) / sizeof(chunks[0]); c += 4) {
            for (int32_t from = 0; from < POSITIONS; from += chunks[c]) {
                const int32_t to = from + chunks[c] < POSITIONS ? from + chunks[c] : POSITIONS;
                attention_rig_step(&run, from, to, out + from * row);
            }
            ck_assert_msg(fixture_equal_bits(out, whole, num), "%s: model %d, chunks of %d",
                          fixture_backend->device_isa(device), m, chunks[c]);
        }
        fixture_guarded_finish(out, num);
        fixture_guarded_finish(whole, num);
        attention_rig_close(&run);
    }
}

START_TEST(attention_gives_the_same_bits_for_any_chunking)
{
    fixture_each_device(check_chunks);
}
END_TEST

START_TEST(attention_gives_the_same_bits_for_any_number_of_threads)
{
    enum { POSITIONS = 700 };
    const struct attention_model *model = &attention_models[2];
    const int32_t row = model->num_heads * model->head_dim;
    struct attention_rig run;
    float *outs[8];

    for (int i = 0; fixture_isas[i]; i++) {
        float *qkv = NULL;
        for (int32_t num_threads = 1; num_threads <= 8; num_threads++) {
            outs[num_threads - 1] = fixture_guarded((size_t)(POSITIONS * row));
            const bool is_left_out = fixture_is_sampled() && (i == 0 || num_threads % 3 != 1);
            struct device *device = is_left_out ? NULL : fixture_open(fixture_isas[i], num_threads);
            if (!device)
                continue;
            attention_rig_open(&run, device, model);
            const size_t num = (size_t)(POSITIONS * attention_rig_row(model));
            if (!qkv) {
                qkv = malloc(num * sizeof(float));
                memcpy(qkv, run.qkv, num * sizeof(float));
            }
            memcpy(run.qkv, qkv, num * sizeof(float));
            attention_rig_step(&run, 0, POSITIONS - 1, outs[num_threads - 1]);
            attention_rig_step(&run, POSITIONS - 1, POSITIONS,
                               outs[num_threads - 1] + (POSITIONS - 1) * row);
            attention_rig_close(&run);
            fixture_backend->device_close(device);
            ck_assert(
                fixture_equal_bits(outs[0], outs[num_threads - 1], (size_t)(POSITIONS * row)));
        }
        for (int32_t t = 0; t < 8; t++)
            fixture_guarded_finish(outs[t], (size_t)(POSITIONS * row));
        free(qkv);
    }
}
END_TEST

/* Sequences of different lengths in one batch: each has the bits it has alone. */
static void check_batch_of(struct device *device, const struct attention_model *model)
{
    enum { NUM_SEQS = 3, POSITIONS = 80 };
    static const int32_t lengths[NUM_SEQS] = { 40, 1, 25 }, first[NUM_SEQS] = { 40, 70, 0 };
    const int32_t row = model->num_heads * model->head_dim, wide = attention_rig_row(model);
    struct attention_rig run;
    attention_rig_open(&run, device, model);
    const struct attention_form form = attention_rig_form(&run);
    float squares[2 * 66];
    float *alone = fixture_guarded((size_t)(POSITIONS * row));
    float *out = fixture_guarded((size_t)(66 * row)), *qkv = fixture_guarded((size_t)(66 * wide));
    attention_rig_step(&run, 0, POSITIONS, alone);

    struct attention_seq seqs[NUM_SEQS];
    int32_t positions[66], num = 0;
    int64_t slots[66];
    for (int32_t s = 0; s < NUM_SEQS; s++) {
        seqs[s] = (struct attention_seq){ num, lengths[s], first[s], run.blocks, 0 };
        for (int32_t i = 0; i < lengths[s]; i++, num++) {
            positions[num] = first[s] + i;
            slots[num] = (int64_t)run.blocks[positions[num] / 16] * 16 + positions[num] % 16;
            ck_assert_int_eq(model->block_size, 16);
            memcpy(qkv + num * wide, run.qkv + positions[num] * wide, (size_t)wide * sizeof(float));
        }
    }
    fixture_backend->begin(device);
    attention_rig_rope(&run, qkv, squares, positions, slots, num);
    fixture_backend->attention(device, out, qkv, run.pool, 1, model->num_heads, &form, seqs,
                               NUM_SEQS, num);
    fixture_run(device);
    for (int32_t i = 0; i < num; i++)
        ck_assert(fixture_equal_bits(out + i * row, alone + positions[i] * row, (size_t)row));

    fixture_guarded_finish(qkv, (size_t)(66 * wide));
    fixture_guarded_finish(out, (size_t)(66 * row));
    fixture_guarded_finish(alone, (size_t)(POSITIONS * row));
    attention_rig_close(&run);
}

static void check_batch(struct device *device)
{
    static const int32_t chosen[] = { 0, 8, 9, 10, 12 };
    for (size_t i = 0; i < sizeof(chosen) / sizeof(chosen[0]); i++)
        check_batch_of(device, &attention_models[chosen[i]]);
}

START_TEST(attention_gives_a_sequence_the_same_bits_alone_and_in_a_batch)
{
    fixture_each_device(check_batch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attention_bits");
    TCase *tests = tcase_create("attention_bits");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, attention_gives_the_same_bits_for_any_chunking);
    tcase_add_test(tests, attention_gives_the_same_bits_for_any_number_of_threads);
    tcase_add_test(tests, attention_gives_a_sequence_the_same_bits_alone_and_in_a_batch);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
