/* What a plan holds, rule by rule; sim.c is the device. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

START_TEST(decodes_go_before_prefill_chunks)
{
    sim_begin(sim_limits(4, 8, 64), 1);
    sim_submit(3, 1, 20, -1, -1);
    sim_step(1); /* computes the first prompt, samples */
    sim_submit(30, 1, 2, -1, -1);

    const struct plan *plan = scheduler_plan(&sim.s);

    ck_assert_int_eq(plan->num_rows, 2);
    ck_assert_int_eq(plan->rows[0].num_tokens, 1);
    ck_assert_int_eq(plan->rows[1].num_tokens, 7); /* what the budget leaves */
    ck_assert(!plan->rows[1].samples);
    sim_execute(plan);
    sim_drain(1);
}
END_TEST

START_TEST(decodes_take_turns_when_the_budget_is_short)
{
    sim_begin(sim_limits(8, 8, 64), 1);
    sim_eos_ids[0] = SIM_VOCAB; /* none */
    for (int i = 0; i < 8; i++)
        sim_submit(1, 1, 25, -1, -1);
    sim_step(1);
    sim.s.limits.max_num_batched_tokens = 3;
    for (int i = 0; i < 30; i++)
        sim_step(1);

    int32_t least = 1000, most = 0;
    for (int32_t i = 0; i < sim.s.num_running; i++) {
        const int32_t num = sequence_num_output(sim.s.running[i]);
        least = num < least ? num : least;
        most = num > most ? num : most;
    }
    ck_assert_int_gt(least, 0);
    ck_assert_int_le(most - least, 1);
    sim_drain(1);
    sim_eos_ids[0] = 13;
}
END_TEST

/* Four draws that count 60 tokens and more each, of which two fit, and one that counts none. */
START_TEST(draws_take_turns_when_their_penalties_count_too_much)
{
    struct scheduler_limits limits = sim_limits(8, 400, 128);
    int32_t num_draws[5] = { 0 };
    limits.max_penalized = 170;
    sim_begin(limits, 1);
    sim_eos_ids[0] = SIM_VOCAB; /* none */
    sim.penalizes = 1;
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(sim_submit(60, 1, 20, -1, -1), 0);
    sim.penalizes = 0;
    ck_assert_int_eq(sim_submit(10, 1, 20, -1, -1), 0);
    for (int step = 0; step < 12; step++) {
        const struct plan *plan = scheduler_plan(&sim.s);
        sim_check_plan(plan);
        for (int32_t i = 0; i < plan->num_rows; i++)
            num_draws[plan->rows[i].request->id] += plan->rows[i].samples;
        sim_execute(plan);
    }
    ck_assert_int_ge(num_draws[4], 11); /* waits for nobody */
    for (int i = 0; i < 4; i++)
        ck_assert(num_draws[i] >= 5 && num_draws[i] <= 7);
    sim_drain(1);
    sim_eos_ids[0] = 13;
}
END_TEST

START_TEST(the_youngest_is_preempted_and_keeps_its_tokens)
{
    sim_begin(sim_limits(4, 64, 12), 3);
    sim_eos_ids[0] = SIM_VOCAB; /* none */
    sim_submit(16, 1, 28, -1, -1);
    sim_submit(16, 1, 28, -1, -1);
    while (sim.num_preempted == 0) {
        ck_assert_int_lt(sim.num_steps, 100);
        sim_step(1);
    }

    ck_assert_int_eq(sim.s.num_preempted, 1);
    ck_assert_uint_eq(sim.s.preempted[0]->request->id, 1);
    ck_assert_int_gt(sequence_num_output(sim.s.preempted[0]), 0);
    ck_assert_int_eq(sim.s.preempted[0]->num_computed, 0);
    sim_drain(1);
    sim_eos_ids[0] = 13;
}
END_TEST

START_TEST(choices_share_the_prompt_by_reference_and_copy_its_last_block)
{
    sim_begin(sim_limits(4, 64, 64), 5);
    sim_submit(11, 3, 20, -1, -1);
    sim_step(1);

    const struct plan *plan = scheduler_plan(&sim.s);

    ck_assert_int_eq(plan->num_rows, 3); /* one decode, two choices that start */
    ck_assert_int_eq(plan->num_tokens, 3);
    ck_assert_int_eq(plan->copies.num, 2); /* position 10 is theirs; 8 and 9 are copied */
    ck_assert_int_eq(sim.s.blocks.ref_counts[sim.s.running[0]->tables[0].ids[0]], 3);
    ck_assert_int_eq(sim.s.blocks.ref_counts[sim.s.running[0]->tables[0].ids[1]], 3);
    ck_assert_int_eq(sim.s.blocks.ref_counts[sim.s.running[0]->tables[0].ids[2]], 1);
    sim_execute(plan);
    sim_drain(1);
}
END_TEST

static void finish_with_any_token(const struct plan *plan)
{
    for (int32_t i = 0; i < plan->num_rows; i++) {
        struct sequence *q = plan->rows[i].sequence;
        scheduler_filled(&sim.s, q, q->num_computed);
        if (plan->rows[i].samples)
            sequence_append(q, 1);
        if (q->finish != 0)
            scheduler_finish(&sim.s, q);
    }
}

START_TEST(a_long_prefix_of_32_requests_is_computed_once)
{
    enum { NUM = 32, SAME = 1500, OWN = 10, FOUND = SAME / 16 * 16 };
    static int32_t prompt[SAME + OWN];
    struct scheduler_limits limits = sim_limits(64, 256, 4096);
    limits.max_model_len = 2048;
    limits.kv.block_size = 16;
    limits.max_num_queued_tokens = 100000;
    sim_begin(limits, 1);
    const struct record_params params = {
        .max_tokens = 1, .num_choices = 1, .num_logprobs = -1, .num_prompt_logprobs = -1
    };
    struct record_submit record = {
        .params = &params, .prompt = prompt, .num_prompt = SAME + OWN, .num_choices = 1
    };
    struct request *request;
    for (int32_t i = 0; i < NUM; i++) {
        for (int32_t t = 0; t < OWN; t++)
            prompt[SAME + t] = 1 + i;
        ck_assert_int_eq(scheduler_admit(&sim.s, 0, (uint64_t)i, &record, &request), 0);
    }

    int64_t num_tokens = 0, num_hit = 0;
    int num_steps = 0;
    for (; scheduler_has_work(&sim.s); num_steps++) {
        ck_assert_int_lt(num_steps, 100);
        const struct plan *plan = scheduler_plan(&sim.s);
        num_tokens += plan->num_tokens;
        num_hit += plan->num_hit;
        finish_with_any_token(plan);
    }

    ck_assert_int_eq(num_tokens, FOUND + NUM * (SAME + OWN - FOUND));
    ck_assert_int_eq(num_hit, (NUM - 1) * FOUND);
    ck_assert_int_le(num_steps, 10); /* 1,500 in chunks of 256, then 704 */
    ck_assert_int_eq(sim.s.blocks.num_free, 4096);
}
END_TEST

START_TEST(more_choices_than_seats_run_one_after_another)
{
    sim_begin(sim_limits(2, 16, 64), 7);
    sim_submit(9, 6, 10, -1, -1);
    sim_drain(1);
    ck_assert_int_eq(sim.requests[0].num_done, 6);
}
END_TEST

START_TEST(a_sequence_with_unread_logprobs_pauses_at_a_full_buffer)
{
    sim_begin(sim_limits(2, 16, 64), 7);
    sim_eos_ids[0] = SIM_VOCAB;
    sim_submit(2, 1, 90, 0, -1);
    for (int i = 0; i < 100; i++)
        sim_execute(scheduler_plan(&sim.s));

    ck_assert_int_eq(sequence_num_output(sim.s.running[0]), SEQUENCE_WINDOW);
    ck_assert_int_eq(scheduler_plan(&sim.s)->num_rows, 0);
    sim_drain(1);
    sim_eos_ids[0] = 13;
}
END_TEST

START_TEST(a_full_queue_refuses_and_free_seats_count_as_room)
{
    sim_begin(sim_limits(2, 16, 64), 7);

    for (int i = 0; i < 2 + 8; i++)
        ck_assert_int_eq(sim_submit(4, 1, 4, -1, -1), 0);
    ck_assert_int_eq(sim_submit(4, 1, 4, -1, -1), RECORD_FAILURE_QUEUE_FULL);
    sim_step(1);
    ck_assert_int_eq(sim_submit(4, 1, 4, -1, -1), RECORD_FAILURE_QUEUE_FULL);
    sim_drain(1);
    ck_assert_int_eq(sim_submit(4, 1, 4, -1, -1), 0);
    sim_drain(1);
}
END_TEST

START_TEST(queued_tokens_are_limited_but_not_for_what_starts_at_once)
{
    struct scheduler_limits limits = sim_limits(2, 16, 64);
    limits.max_num_queued_tokens = 50;
    sim_begin(limits, 7);

    ck_assert_int_eq(sim_submit(60, 1, 4, -1, -1), 0);
    ck_assert_int_eq(sim_submit(1, 1, 4, -1, -1), RECORD_FAILURE_QUEUED_TOKENS);
    sim_step(1);
    ck_assert_int_eq(sim_submit(30, 1, 4, -1, -1), 0);
    ck_assert_int_eq(sim_submit(30, 1, 4, -1, -1), RECORD_FAILURE_QUEUED_TOKENS);
    ck_assert_int_eq(sim_submit(20, 1, 4, -1, -1), 0);
    sim_drain(1);
}
END_TEST

START_TEST(what_can_never_fit_is_refused)
{
    sim_begin(sim_limits(2, 16, 10), 7); /* 40 positions */

    ck_assert_int_eq(sim_submit(31, 1, 10, -1, -1), 0); /* the 41st token is never stored */
    ck_assert_int_eq(sim_submit(32, 1, 10, -1, -1), RECORD_FAILURE_TOO_LONG);
    sim_drain(1);
}
END_TEST

START_TEST(a_resumed_choice_goes_on_behind_its_tokens_even_past_a_full_queue)
{
    sim_begin(sim_limits(1, 16, 64), 7);
    for (int i = 0; i < 1 + 8; i++)
        ck_assert_int_eq(sim_submit(4, 1, 4, -1, -1), 0);
    const int32_t prompt[3] = { 1, 2, 3 }, ids[2] = { 4, 5 };
    const struct record_params params = { .max_tokens = 8,
                                          .num_choices = 3,
                                          .flags = RECORD_RESUMED,
                                          .num_logprobs = -1,
                                          .num_prompt_logprobs = 0 };
    struct record_submit record = {
        .params = &params, .prompt = prompt, .num_prompt = 3, .num_choices = 1
    };
    record.choices[0].index = 2;
    record.choices[0].ids = ids;
    record.choices[0].num_ids = 2;
    struct request *request;

    ck_assert_int_eq(scheduler_admit(&sim.s, 0, 1000, &record, &request), 0);
    sim.requests[1000].num_choices = 1;
    while (request->sequences == NULL)
        sim_step(1);
    const struct sequence *q = request->sequences;

    ck_assert_int_eq(q->choice, 2);
    ck_assert_int_ge(q->num_tokens, 5);
    ck_assert_int_eq(q->tokens[4], 5);
    ck_assert_int_eq(q->num_published, q->num_tokens > 5 ? q->num_tokens - 3 : 2);
    ck_assert(!q->is_scorer); /* the earlier engine did that before its first token */
}
END_TEST

/* Whose step is it: a suspect's number among the submitted, or -1 for everybody else's. */
static int32_t whose_step(void)
{
    const struct plan *plan = scheduler_plan(&sim.s);
    ck_assert_int_gt(plan->num_rows, 0);
    sim_check_plan(plan);
    sim_execute(plan);
    sim_publish_some(1);
    const struct request *request = plan->rows[0].sequence->request;
    return request == NULL ? -2 : request->is_suspect ? (int32_t)request->id : -1;
}

START_TEST(suspects_have_steps_of_their_own_in_turn_with_everybody_else)
{
    sim_begin(sim_limits(8, 64, 64), 7);
    sim_eos_ids[0] = SIM_VOCAB - 1;
    for (int i = 0; i < 5; i++) {
        sim.submits_suspects = i == 1 || i == 3;
        ck_assert_int_eq(sim_submit(4, i == 3 ? 2 : 1, 40, -1, -1), 0);
    }
    static const int32_t turns[] = { 1, -1, 3, -1, 1, -1, 3, -1, 1, -1, 3, -1 };
    for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++)
        ck_assert_int_eq(whose_step(), turns[i]);
    sim_drain(1);
    sim_eos_ids[0] = 13;
}
END_TEST

START_TEST(a_suspect_alone_loses_no_steps)
{
    sim_begin(sim_limits(8, 64, 64), 7);
    sim.submits_suspects = true;
    ck_assert_int_eq(sim_submit(4, 1, 20, -1, -1), 0);
    while (sim.num_live > 0)
        sim_step(1);
    ck_assert_int_le(sim.num_steps, 21);
}
END_TEST

START_TEST(scores_come_in_windows_whatever_the_chunks_were)
{
    sim_begin(sim_limits(2, _i, 64), 7);
    sim_submit(90, 1, 1, -1, 0);
    int32_t first = 1;
    while (first < 90) {
        ck_assert_int_lt(sim.num_steps++, 200);
        sim_execute(scheduler_plan(&sim.s));
        struct sequence *q = TAILQ_FIRST(&sim.s.requests.active)->sequences;
        if (!sequence_has_whole_scores(q))
            continue;
        ck_assert_int_eq(q->first_score, first);
        ck_assert_int_eq(q->num_scores, first == 1 ? 63 : 26);
        ck_assert_int_eq(scheduler_plan(&sim.s)->num_rows, 0); /* waits to be read */
        first = q->first_score += q->num_scores;
        q->num_scores = 0;
    }
    sim.requests[0].first_score = 90;
    sim_drain(1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler");
    TCase *tc = tcase_create("scheduler");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, decodes_go_before_prefill_chunks);
    tcase_add_test(tc, decodes_take_turns_when_the_budget_is_short);
    tcase_add_test(tc, draws_take_turns_when_their_penalties_count_too_much);
    tcase_add_test(tc, the_youngest_is_preempted_and_keeps_its_tokens);
    tcase_add_test(tc, choices_share_the_prompt_by_reference_and_copy_its_last_block);
    tcase_add_test(tc, a_long_prefix_of_32_requests_is_computed_once);
    tcase_add_test(tc, more_choices_than_seats_run_one_after_another);
    tcase_add_test(tc, a_sequence_with_unread_logprobs_pauses_at_a_full_buffer);
    tcase_add_test(tc, a_full_queue_refuses_and_free_seats_count_as_room);
    tcase_add_test(tc, queued_tokens_are_limited_but_not_for_what_starts_at_once);
    tcase_add_test(tc, what_can_never_fit_is_refused);
    tcase_add_test(tc, a_resumed_choice_goes_on_behind_its_tokens_even_past_a_full_queue);
    tcase_add_test(tc, suspects_have_steps_of_their_own_in_turn_with_everybody_else);
    tcase_add_test(tc, a_suspect_alone_loses_no_steps);
    tcase_add_loop_test(tc, scores_come_in_windows_whatever_the_chunks_were, 1, 100);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
