#include "worker/step_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/runner.h"

enum { ROWS = 5, SEQS = 2, LOGITS = 3, NUM_BEFORE = 2, NUM_BLOCKS = 40 };

static const struct scheduler_limits limits = {
    .max_num_seqs = 4,
    .max_num_batched_tokens = 16,
    .max_logits = 8,
    .max_model_len = 64,
    .kv = { .block_size = 16,
            .num_groups = 2,
            .num_parts = 2,
            .groups = { { 0, 0, 1 }, { 4, 1, 1 } } }, /* the second with a window */
    .num_blocks = NUM_BLOCKS,
    .vocab_size = 100
};

static struct reserve batch_reserve, plan_reserve;
static struct batch batch;
static struct step_plan found, before;
static int32_t *words, *copy;
static uint32_t num_words;

static int32_t copies_from[] = { 3 }, copies_to[] = { 39 };
static const int32_t blocks_a[] = { 5 }, blocks_b[] = { 9, 30 };
static const int32_t windowed_a[] = { 6 }, windowed_b[] = { 17 };

/* Rows 0 to 3 are positions 0 to 3 of one sequence, row 4 is position 20 of another. */
static void fill_batch(void)
{
    for (int32_t i = 0; i < ROWS; i++)
        batch.token_ids[i] = 10 * i;
    batch.model.num_rows = ROWS;
    batch.model.num_seqs = SEQS;
    batch.model.num_logits = LOGITS;
    batch.seqs[0][0] = (struct attention_seq){ 0, 4, 0, blocks_a, 0 };
    batch.seqs[0][1] = (struct attention_seq){ 4, 1, 20, blocks_b, 0 };
    batch.seqs[1][0] = (struct attention_seq){ 0, 4, 0, windowed_a, 0 };
    batch.seqs[1][1] = (struct attention_seq){ 4, 1, 20, windowed_b, 1 };
    for (int32_t i = 0; i < LOGITS; i++) {
        batch.logits_rows[i] = 2 + i;
        batch.samples[i] = (struct sample_row){ .forced_id = -1,
                                                .temperature = 0.5f,
                                                .top_p = 0.9f,
                                                .top_k = 40,
                                                .typical_p = 1,
                                                .min_p = 0.25f,
                                                .repetition_penalty = 1,
                                                .seed = UINT64_C(0x123456789abcdef0),
                                                .choice = 2,
                                                .output_pos = 17 };
    }
    batch.moves[0] = (struct id_move){ .to = 4, .from = NUM_BEFORE - 1 };
    batch.num_moves = 1;
    batch.samples[0].forced_id = 4;
    batch.samples[1].frequency_penalty = 0.5f;
}

static void open_as(bool is_behind)
{
    const struct step_plan_news news = { 123456789012, true, is_behind, true };
    struct plan plan = { .copies = { .from = copies_from, .to = copies_to, .num = 1 } };
    const size_t max = step_plan_max_words(&limits);
    ck_assert_int_eq(batch_init(&batch, &limits, &batch_reserve), 0);
    ck_assert_int_eq(step_plan_init(&found, &limits, &plan_reserve), 0);
    words = calloc(max, sizeof(*words));
    copy = calloc(max, sizeof(*copy));
    fill_batch();
    num_words = step_plan_write(words, &batch, &plan, &news);
    ck_assert_uint_le(num_words, max);
    before.model.num_logits = NUM_BEFORE;
}

static void open_all(void)
{
    open_as(true);
}

static int read_words(int32_t *at, uint32_t num, struct error *err)
{
    return step_plan_read(&found, &before, &limits, at, num, err);
}

static void close_all(void)
{
    free(words);
    free(copy);
    reserve_finish(&batch_reserve);
    reserve_finish(&plan_reserve);
}

START_TEST(a_follower_reads_what_the_leader_wrote)
{
    struct error err;
    open_all();
    ck_assert_msg(read_words(words, num_words, &err) == 0, "%s", err.message);
    ck_assert_int_eq(found.model.num_rows, ROWS);
    ck_assert_mem_eq(found.model.token_ids, batch.token_ids, ROWS * sizeof(int32_t));
    ck_assert_mem_eq(found.model.logits_rows, batch.logits_rows, LOGITS * sizeof(int32_t));
    ck_assert_int_eq(found.model.positions[3], 3);
    ck_assert_int_eq(found.model.positions[4], 20);
    ck_assert_int_eq(found.model.slots[0][3], 5 * 16 + 3);
    ck_assert_int_eq(found.model.slots[0][4], 30 * 16 + 4);
    ck_assert_int_eq(found.model.seqs[0][1].first_row, 4);
    ck_assert_int_eq(found.model.seqs[0][1].blocks[1], 30);
    ck_assert_int_eq(found.model.slots[1][3], 6 * 16 + 3);
    ck_assert_int_eq(found.model.slots[1][4], 17 * 16 + 4); /* the page before is not told */
    ck_assert_int_eq(found.model.seqs[1][1].first_block, 1);
    ck_assert_int_eq(found.model.seqs[1][1].blocks[0], 17);
    ck_assert_int_eq(found.copies.to[0], 39);
    ck_assert_int_eq(found.num_moves, 1);
    ck_assert_int_eq(found.moves[0].to, 4);
    ck_assert_int_eq(found.moves[0].from, NUM_BEFORE - 1);
    ck_assert(found.news.is_behind && found.news.is_shared);
    ck_assert_uint_eq(found.news.expected_us, 123456789012);
    ck_assert(found.news.is_kept);
    close_all();
}
END_TEST

/* They are filled in. */
START_TEST(tokens_of_a_step_that_is_over_are_not_named)
{
    struct error err;
    open_as(false);
    ck_assert_int_eq(read_words(words, num_words, &err), 0);
    ck_assert_int_eq(found.num_moves, 0);
    ck_assert(!found.news.is_behind);
    close_all();
}
END_TEST

START_TEST(rows_that_more_than_logits_and_seed_decide_are_greedy)
{
    struct error err;
    open_all();
    ck_assert_int_eq(read_words(words, num_words, &err), 0);
    for (int i = 0; i < 2; i++)
        ck_assert(found.samples[i].temperature == 0 && found.samples[i].forced_id == -1);
    const struct sample_row *row = &found.samples[2];
    ck_assert_int_eq(row->forced_id, -1);
    ck_assert_uint_eq(row->seed, UINT64_C(0x123456789abcdef0));
    ck_assert_uint_eq(row->choice, 2);
    ck_assert_uint_eq(row->output_pos, 17);
    ck_assert_int_eq(row->top_k, 40);
    ck_assert(row->temperature == 0.5f && row->top_p == 0.9f && row->min_p == 0.25f);
    close_all();
}
END_TEST

START_TEST(a_plan_cut_short_or_too_long_is_refused)
{
    struct error err;
    open_all();
    for (uint32_t n = 0; n < num_words; n++)
        ck_assert_int_eq(read_words(words, n, &err), -EPROTO);
    ck_assert_int_eq(read_words(words, num_words + 1, &err), -EPROTO);
    close_all();
}
END_TEST

/* What may be changed without a check are numbers that lead nowhere. */
static void check_bounds(void)
{
    const struct model_batch *m = &found.model;
    for (int32_t i = 0; i < m->num_rows; i++) {
        ck_assert(m->token_ids[i] >= 0 && m->token_ids[i] < limits.vocab_size);
        ck_assert(m->positions[i] >= 0 && m->positions[i] < limits.max_model_len);
        for (int p = 0; p < 2; p++)
            ck_assert(m->slots[p][i] >= 0 && m->slots[p][i] < NUM_BLOCKS * 16);
    }
    for (int32_t i = 0; i < m->num_logits; i++)
        ck_assert(m->logits_rows[i] >= 0 && m->logits_rows[i] < m->num_rows);
    for (int32_t i = 0; i < found.num_moves; i++) {
        ck_assert(found.moves[i].to >= 0 && found.moves[i].to < m->num_rows);
        ck_assert(found.moves[i].from >= 0 && found.moves[i].from < NUM_BEFORE);
    }
}

START_TEST(no_word_leads_out_of_bounds)
{
    static const int32_t hostile[] = { -1, 0, 1, 3, 50, 101, INT32_MAX, INT32_MIN };
    struct error err;
    int refused = 0;
    open_all();
    for (uint32_t w = 0; w < num_words; w++)
        for (size_t h = 0; h < sizeof(hostile) / sizeof(hostile[0]); h++) {
            memcpy(copy, words, num_words * sizeof(*words));
            copy[w] = hostile[h];
            if (read_words(copy, num_words, &err) == 0)
                check_bounds();
            else
                refused++;
        }
    ck_assert_int_gt(refused, 100);
    close_all();
}
END_TEST

RUN_SUITE("step_plan", a_follower_reads_what_the_leader_wrote,
          tokens_of_a_step_that_is_over_are_not_named,
          rows_that_more_than_logits_and_seed_decide_are_greedy,
          a_plan_cut_short_or_too_long_is_refused, no_word_leads_out_of_bounds)
