/* The engine with Ringlet on the cpu backend, through real rings. The law under test: tokens and
 * log-probabilities of a request do not depend on what runs beside it, on chunks, threads,
 * preemption, forks or restarts, to the last bit. */
#include "worker/engine.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "proto/records/stats.h"
#include "world.h"

static void take_answers(struct seat_answer *answers)
{
    memcpy(answers, world.seat.answers, WORLD_NUM_REQUESTS * sizeof(*answers));
    for (int i = 0; i < WORLD_NUM_REQUESTS; i++)
        answers[i].num_waiting = answers[i].cached_tokens = 0; /* what it met may differ */
}

/* All requests, one after the other or all at once. */
static struct seat_answer *answers_of(const struct world_setup *setup, bool alone)
{
    struct seat_answer *answers = calloc(WORLD_NUM_REQUESTS, sizeof(*answers));
    ck_assert_ptr_nonnull(answers);
    world_open(setup);
    for (unsigned i = 0; i < WORLD_NUM_REQUESTS; i++) {
        world_submit(i);
        if (alone)
            world_run(i, i + 1);
    }
    world_run(0, WORLD_NUM_REQUESTS);
    take_answers(answers);
    ck_assert(engine_is_empty(world.engine));
    world_close();
    return answers;
}

static void assert_same(const struct seat_answer *a, const struct seat_answer *b)
{
    for (int i = 0; i < WORLD_NUM_REQUESTS; i++) {
        for (int c = 0; c < a[i].num_choices; c++) {
            const struct seat_choice *x = &a[i].choices[c], *y = &b[i].choices[c];
            ck_assert_msg(x->num_tokens == y->num_tokens &&
                              memcmp(x->tokens, y->tokens, sizeof(x->tokens)) == 0,
                          "request %d choice %d: other tokens", i, c);
            ck_assert_msg(memcmp(x->logprobs, y->logprobs, sizeof(x->logprobs)) == 0,
                          "request %d choice %d: other log-probabilities", i, c);
        }
        ck_assert_msg(memcmp(a[i].scores, b[i].scores, sizeof(a[i].scores)) == 0,
                      "request %d: other scores of the prompt", i);
        ck_assert_msg(memcmp(&a[i], &b[i], sizeof(a[i])) == 0, "request %d differs", i);
    }
}

/* --- tests -------------------------------------------------------------------------------- */

static const struct world_setup variants[] = {
    { 1, 32, 512, 2, DTYPE_F16, 4096, 0, false },  { 7, 32, 512, 1, DTYPE_F16, 4096, 0, false },
    { 16, 32, 512, 3, DTYPE_F16, 4096, 0, false }, { 512, 32, 512, 4, DTYPE_F16, 4096, 0, false },
    { 512, 5, 512, 2, DTYPE_F16, 4096, 0, false }, { 64, 32, 20, 2, DTYPE_F16, 4096, 0, false },
    { 512, 32, 512, 2, DTYPE_F16, 8, 0, false },   { 512, 1, 512, 1, DTYPE_F16, 16, 0, false },
};

START_TEST(answers_are_the_same_to_the_bit_alone_and_in_every_batch)
{
    struct seat_answer *alone = answers_of(&world_usual, true);
    struct seat_answer *together = answers_of(&variants[_i], false);

    assert_same(alone, together);
    for (int i = 0; i < WORLD_NUM_REQUESTS; i++) {
        ck_assert_int_eq(alone[i].failure, 0);
        ck_assert_int_eq(alone[i].num_done, alone[i].num_choices);
    }

    free(alone);
    free(together);
}
END_TEST

START_TEST(answers_are_the_same_with_keys_and_values_in_f32)
{
    struct world_setup one = world_usual, other = variants[1];
    one.kv_dtype = other.kv_dtype = DTYPE_F32;
    struct seat_answer *alone = answers_of(&one, true), *together = answers_of(&other, false);

    assert_same(alone, together);

    free(alone);
    free(together);
}
END_TEST

static const int32_t chunks[] = { 1, 2, 7, 16, 17, 64, 512 };

/* Prompts that begin like those of the mixture, and go on in another way. */
static void submit_altered(unsigned i)
{
    struct world_asked a;
    world_ask(&a, i);
    const uint32_t at = a.submit.num_prompt / 2;
    a.prompt[at] = (a.prompt[at] + 1) % 1000;
    a.params.max_tokens = 2;
    a.params.min_tokens = 0;
    a.params.num_logprobs = -1;
    seat_submit(&world.seat, WORLD_NUM_REQUESTS + i, &a.submit);
}

static uint32_t run_all(struct seat_answer *answers)
{
    uint32_t cached = 0;
    for (unsigned i = 0; i < WORLD_NUM_REQUESTS; i++)
        world_submit(i);
    world_run(0, WORLD_NUM_REQUESTS);
    for (unsigned i = 0; i < WORLD_NUM_REQUESTS; i++)
        cached += world.seat.answers[i].cached_tokens;
    take_answers(answers);
    return cached;
}

START_TEST(answers_are_the_same_cold_and_with_every_part_of_the_prompt_found)
{
    static struct seat_answer some[WORLD_NUM_REQUESTS], all[WORLD_NUM_REQUESTS];
    struct world_setup setup = world_usual;
    setup.kv_dtype = _i % 2 == 0 ? DTYPE_F16 : DTYPE_F32;
    setup.without_prefixes = true;
    struct seat_answer *cold = answers_of(&setup, false);
    setup.without_prefixes = false;
    setup.budget = chunks[_i / 2];
    world_open(&setup);
    for (unsigned i = 0; i < WORLD_NUM_REQUESTS; i++)
        submit_altered(i);
    world_run(WORLD_NUM_REQUESTS, 2 * WORLD_NUM_REQUESTS);

    const uint32_t num_some = run_all(some), num_all = run_all(all);

    ck_assert_uint_gt(num_some, 500);
    ck_assert_uint_gt(num_all, num_some + 500);
    assert_same(cold, some);
    assert_same(cold, all);
    ck_assert(engine_is_empty(world.engine));
    world_close();
    free(cold);
}
END_TEST

START_TEST(a_prefix_is_computed_once_for_requests_that_arrive_together)
{
    enum { NUM = 32, SAME = 200, OWN = 3 };
    const int32_t sum =
        stat_word(STAT_ITERATION_TOKENS) + stat_num_words(STAT_ITERATION_TOKENS) - 2;
    struct world_asked a;
    struct world_setup setup = world_usual;
    setup.budget = 64;
    world_open(&setup);
    for (unsigned i = 0; i < NUM; i++) {
        world_ask(&a, 2);
        for (unsigned t = 0; t < SAME; t++)
            a.prompt[t] = (int32_t)(t * 7 % 1000);
        for (unsigned t = 0; t < OWN; t++)
            a.prompt[SAME + t] = (int32_t)(i + t);
        a.submit.num_prompt = SAME + OWN;
        a.params.max_tokens = 1;
        seat_submit(&world.seat, i, &a.submit);
    }
    world_run(0, NUM);

    const unsigned found = SAME / 16 * 16;
    ck_assert_uint_eq(status_get(world.page, sum), found + NUM * (SAME + OWN - found));
    ck_assert_uint_eq(status_get(world.page, stat_word(STAT_PREFIX_HIT_TOKENS)), (NUM - 1) * found);
    ck_assert_uint_eq(status_get(world.page, stat_word(STAT_PREFIX_QUERY_TOKENS)),
                      NUM * (SAME + OWN));
    ck_assert_uint_eq(world.seat.answers[0].cached_tokens, 0);
    ck_assert_uint_eq(world.seat.answers[NUM - 1].cached_tokens, found);
    world_close();
}
END_TEST

START_TEST(prompts_of_another_key_find_nothing)
{
    struct world_asked a;
    world_open(&world_usual);
    for (unsigned i = 0; i < 3; i++) {
        world_ask(&a, 2);
        a.params.cache_high = i / 2;
        a.params.max_tokens = 1;
        a.submit.num_prompt = 100;
        seat_submit(&world.seat, i, &a.submit);
        world_run(i, i + 1);
    }

    ck_assert_uint_eq(world.seat.answers[0].cached_tokens, 0);
    ck_assert_uint_eq(world.seat.answers[1].cached_tokens, 96);
    ck_assert_uint_eq(world.seat.answers[2].cached_tokens, 0);
    world_close();
}
END_TEST

START_TEST(prompts_that_are_scored_are_computed_whole)
{
    struct world_asked a;
    world_open(&world_usual);
    for (unsigned i = 0; i < 2; i++) {
        world_ask(&a, 2);
        a.submit.num_prompt = 100;
        a.params.max_tokens = 1;
        a.params.num_prompt_logprobs = i == 0 ? -1 : 2;
        seat_submit(&world.seat, i, &a.submit);
        world_run(i, i + 1);
    }

    ck_assert_uint_eq(world.seat.answers[1].cached_tokens, 0);
    ck_assert_int_eq(world.seat.answers[1].next_score, 100);
    ck_assert_uint_eq(status_get(world.page, stat_word(STAT_PREFIX_QUERY_TOKENS)), 100);
    world_close();
}
END_TEST

START_TEST(a_small_pool_preempts)
{
    world_open(&variants[5]);
    for (unsigned i = 0; i < WORLD_NUM_REQUESTS; i++)
        world_submit(i);
    world_run(0, WORLD_NUM_REQUESTS);

    ck_assert_uint_gt(status_get(world.page, stat_word(STAT_PREEMPTIONS)), 0);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

START_TEST(choices_that_fork_equal_choices_alone)
{
    struct seat_choice forked[3];
    struct world_asked a;
    world_open(&world_usual);
    world_ask(&a, 5);
    seat_submit(&world.seat, 1, &a.submit);
    world_run(1, 2);
    memcpy(forked, world.seat.answers[1].choices, sizeof(forked));

    for (uint32_t c = 0; c < 3; c++) {
        world_ask(&a, 5);
        a.submit.num_choices = 1;
        a.submit.choices[0].index = c;
        seat_submit(&world.seat, 2 + c, &a.submit);
        world_run(2 + c, 3 + c);
        ck_assert_int_eq(
            memcmp(&world.seat.answers[2 + c].choices[c], &forked[c], sizeof(forked[c])), 0);
    }
    ck_assert_int_ne(memcmp(forked[0].tokens, forked[1].tokens, sizeof(forked[0].tokens)), 0);
    world_close();
}
END_TEST

START_TEST(a_resumed_choice_goes_on_as_if_nothing_had_happened)
{
    struct world_asked a;
    world_open(&world_usual);
    world_ask(&a, 5); /* drawn with a temperature, three choices, log-probabilities */
    seat_submit(&world.seat, 1, &a.submit);
    world_run(1, 2);
    const struct seat_choice *whole = &world.seat.answers[1].choices[1];
    ck_assert_int_gt(whole->num_tokens, 2);

    for (int32_t cut = 1; cut < whole->num_tokens; cut += 3) {
        world_ask(&a, 5);
        a.submit.num_choices = 1;
        a.submit.choices[0].index = 1;
        a.submit.choices[0].ids = whole->tokens;
        a.submit.choices[0].num_ids = (uint32_t)cut;
        seat_submit(&world.seat, 2, &a.submit);
        world_run(2, 3);
        const struct seat_choice *rest = &world.seat.answers[2].choices[1];
        ck_assert_int_eq(rest->num_tokens, whole->num_tokens);
        ck_assert_int_eq(memcmp(rest->tokens + cut, whole->tokens + cut,
                                (size_t)(whole->num_tokens - cut) * sizeof(int32_t)),
                         0);
        ck_assert_int_eq(memcmp(rest->logprobs[cut], whole->logprobs[cut],
                                (size_t)(whole->num_tokens - cut) * sizeof(whole->logprobs[0])),
                         0);
    }
    world_close();
}
END_TEST

START_TEST(scores_of_a_prompt_are_the_logprobs_of_writing_it)
{
    struct world_asked a, b;
    world_open(&world_usual);
    world_ask(&a, 2);
    a.params.num_logprobs = 2;
    a.params.temperature = 0;
    a.params.repetition_penalty = 1;
    seat_submit(&world.seat, 1, &a.submit);
    world_run(1, 2);
    const struct seat_choice *written = &world.seat.answers[1].choices[0];

    world_ask(&b, 2); /* what was written becomes the prompt */
    b.params.num_prompt_logprobs = 2;
    memcpy(b.prompt + b.submit.num_prompt, written->tokens,
           (size_t)written->num_tokens * sizeof(int32_t));
    b.submit.num_prompt += (uint32_t)written->num_tokens;
    seat_submit(&world.seat, 2, &b.submit);
    world_run(2, 3);

    const struct seat_answer *scored = &world.seat.answers[2];
    ck_assert_int_eq(scored->next_score, (int32_t)b.submit.num_prompt);
    for (int32_t i = 0; i < written->num_tokens; i++)
        ck_assert_int_eq(memcmp(scored->scores[(int32_t)a.submit.num_prompt + i],
                                written->logprobs[i], 3 * sizeof(struct record_logprob)),
                         0);
    world_close();
}
END_TEST

START_TEST(eos_ends_unless_it_is_ignored_and_not_before_min_tokens)
{
    struct world_asked a;
    world_open(&world_usual);
    world_ask(&a, 2);
    a.params.temperature = 0;
    seat_submit(&world.seat, 1, &a.submit);
    world_run(1, 2);
    const int32_t third = world.seat.answers[1].choices[0].tokens[2];
    const int32_t first = world.seat.answers[1].choices[0].tokens[0];
    a.eos_ids[0] = third;

    seat_submit(&world.seat, 2, &a.submit);
    world_run(2, 3);
    const struct seat_choice *ended = &world.seat.answers[2].choices[0];
    ck_assert_int_eq(ended->done.reason, RECORD_FINISH_EOS);
    ck_assert_int_eq(ended->done.stop_id, third);
    ck_assert_int_eq(ended->tokens[ended->num_tokens - 1], third);
    ck_assert_int_le(ended->num_tokens, 3);

    a.params.flags = RECORD_IGNORE_EOS;
    seat_submit(&world.seat, 3, &a.submit);
    world_run(3, 4);
    ck_assert_int_eq(world.seat.answers[3].choices[0].done.reason, RECORD_FINISH_LENGTH);
    ck_assert_int_eq(world.seat.answers[3].choices[0].done.stop_id, -1);
    ck_assert_int_eq(world.seat.answers[3].choices[0].num_tokens, a.params.max_tokens);

    a.params.flags = 0;
    a.params.min_tokens = 5;
    a.eos_ids[0] = first;
    seat_submit(&world.seat, 4, &a.submit);
    world_run(4, 5);
    for (int32_t i = 0; i < 5; i++)
        ck_assert_int_ne(world.seat.answers[4].choices[0].tokens[i], first);
    world_close();
}
END_TEST

/* The greedy answer of request 2, into answer `id`. */
static const struct seat_choice *greedy(struct world_asked *a, unsigned id)
{
    a->params.temperature = 0;
    seat_submit(&world.seat, id, &a->submit);
    world_run(id, id + 1);
    return &world.seat.answers[id].choices[0];
}

START_TEST(a_stop_id_ends_as_the_end_of_text_does)
{
    struct world_asked a;
    world_open(&world_usual);
    world_ask(&a, 2);
    const int32_t stop_ids[] = { greedy(&a, 1)->tokens[2], 9 };
    a.submit.stop_ids = stop_ids;
    a.submit.num_stop_ids = 2;
    a.params.flags = RECORD_IGNORE_EOS; /* spares what the request itself names */

    const struct seat_choice *ended = greedy(&a, 2);
    ck_assert_int_eq(ended->done.reason, RECORD_FINISH_EOS);
    ck_assert_int_eq(ended->done.stop_id, stop_ids[0]);
    ck_assert_int_eq(ended->tokens[ended->num_tokens - 1], stop_ids[0]);
    ck_assert_int_le(ended->num_tokens, 3);

    a.params.min_tokens = 5;
    const struct seat_choice *masked = greedy(&a, 3);
    for (int32_t i = 0; i < 5; i++)
        ck_assert_int_ne(masked->tokens[i], stop_ids[0]);
    world_close();
}
END_TEST

START_TEST(only_allowed_tokens_are_drawn)
{
    static const int32_t allowed[] = { 40, 31, 1023, 0 };
    struct world_asked a;
    world_open(&world_usual);
    world_ask(&a, 5); /* three choices, drawn */
    a.submit.allowed_ids = allowed;
    a.submit.num_allowed_ids = 4;
    seat_submit(&world.seat, 1, &a.submit);
    world_run(1, 2);
    for (int c = 0; c < 3; c++) {
        const struct seat_choice *choice = &world.seat.answers[1].choices[c];
        ck_assert_int_gt(choice->num_tokens, 0);
        for (int32_t i = 0; i < choice->num_tokens; i++)
            ck_assert(choice->tokens[i] == 40 || choice->tokens[i] == 31 ||
                      choice->tokens[i] == 1023 || choice->tokens[i] == 0);
    }

    world_ask(&a, 5); /* the slot's next request has the whole vocabulary again */
    seat_submit(&world.seat, 2, &a.submit);
    world_run(2, 3);
    const struct seat_choice *free_choice = &world.seat.answers[2].choices[0];
    bool any = false;
    for (int32_t i = 0; i < free_choice->num_tokens; i++)
        any |= free_choice->tokens[i] != 40 && free_choice->tokens[i] != 31;
    ck_assert(any);
    world_close();
}
END_TEST

START_TEST(a_bad_word_is_left_before_its_last_token)
{
    struct world_asked a;
    world_open(&world_usual);
    world_ask(&a, 2);
    a.params.flags = RECORD_IGNORE_EOS;
    a.params.repetition_penalty = 1;
    int32_t plain[3];
    memcpy(plain, greedy(&a, 1)->tokens, sizeof(plain));
    const int32_t words[] = { 3, plain[0], plain[1], plain[2], 2, 1000, plain[1] };
    a.submit.bad_words = words;
    a.submit.bad_words_len = 7;

    const struct seat_choice *other = greedy(&a, 2);
    ck_assert_int_eq(other->tokens[0], plain[0]);
    ck_assert_int_eq(other->tokens[1], plain[1]);
    ck_assert_int_ne(other->tokens[2], plain[2]);
    for (int32_t i = 2; i < other->num_tokens; i++)
        ck_assert(memcmp(other->tokens + i - 2, plain, sizeof(plain)) != 0);

    const int32_t word[] = { 1, plain[0] };
    a.submit.bad_words = word;
    a.submit.bad_words_len = 2;
    const struct seat_choice *without = greedy(&a, 3);
    for (int32_t i = 0; i < without->num_tokens; i++)
        ck_assert_int_ne(without->tokens[i], plain[0]);
    world_close();
}
END_TEST

START_TEST(a_bad_word_is_let_through_where_nothing_else_is_left)
{
    static const int32_t allowed[] = { 31 }, words[] = { 2, 31, 31 };
    struct world_asked a;
    world_open(&world_usual);
    world_ask(&a, 2);
    a.submit.allowed_ids = allowed;
    a.submit.num_allowed_ids = 1;
    a.submit.bad_words = words;
    a.submit.bad_words_len = 3;
    const struct seat_choice *choice = greedy(&a, 1);
    ck_assert_int_eq(world.seat.answers[1].failure, 0);
    ck_assert_int_eq(choice->num_tokens, (int32_t)a.params.max_tokens);
    ck_assert_int_eq(choice->tokens[1], 31);
    world_close();
}
END_TEST

START_TEST(a_choice_that_is_cancelled_ends_alone)
{
    struct world_setup setup = world_usual;
    setup.num_seqs = 3;
    world_open(&setup);
    struct world_asked a;
    world_ask(&a, 5);
    a.params.flags = RECORD_IGNORE_EOS;
    seat_submit(&world.seat, 1, &a.submit);
    world_run(1, 2);
    struct seat_choice whole[3];
    memcpy(whole, world.seat.answers[1].choices, sizeof(whole));

    seat_submit(&world.seat, 2, &a.submit);
    while (world.seat.answers[2].choices[1].num_tokens < 2) {
        ck_assert_int_eq(engine_step(world.engine), 1);
        seat_take(&world.seat);
    }
    seat_cancel_choice(&world.seat, 2, 1);
    seat_cancel_choice(&world.seat, 2, 9); /* there is none */
    world_run(2, 3);

    const struct seat_choice *choices = world.seat.answers[2].choices;
    ck_assert_int_eq(choices[1].done.reason, RECORD_FINISH_CANCELLED);
    ck_assert_int_lt(choices[1].num_tokens, whole[1].num_tokens);
    ck_assert_int_eq(memcmp(&choices[0], &whole[0], sizeof(whole[0])), 0);
    ck_assert_int_eq(memcmp(&choices[2], &whole[2], sizeof(whole[2])), 0);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

START_TEST(cancel_frees_everything_in_every_state)
{
    struct world_setup setup = world_usual;
    setup.num_seqs = 2;
    setup.budget = 16;
    world_open(&setup);
    for (unsigned i = 0; i < 6; i++)
        world_submit(i);
    for (unsigned steps = 0; steps < 12; steps++)
        ck_assert_int_eq(engine_step(world.engine), 1);
    for (unsigned i = 0; i < 6; i++)
        seat_cancel(&world.seat, i);

    ck_assert_int_eq(engine_step(world.engine), 1);

    ck_assert(engine_is_empty(world.engine));
    ck_assert_int_eq(engine_step(world.engine), 0);
    world_close();
}
END_TEST

START_TEST(a_frontend_that_goes_takes_its_requests_with_it)
{
    struct seat other;
    world_open(&world_usual);
    seat_open(&other, world.engine, 5, 64);
    for (unsigned i = 0; i < 4; i++) {
        struct world_asked a;
        world_ask(&a, i);
        seat_submit(&other, i, &a.submit);
        world_submit(i);
    }
    for (int i = 0; i < 3; i++)
        engine_step(world.engine);

    engine_disconnect(world.engine, 5);

    world_run(0, 4);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(world.seat.answers[i].num_done, world.seat.answers[i].num_choices);
    ck_assert(engine_is_empty(world.engine));
    seat_close(&other);
    world_close();
}
END_TEST

START_TEST(a_frontend_that_breaks_a_rule_is_reported_and_costs_nobody_else)
{
    struct seat other;
    struct world_asked a;
    world_open(&world_usual);
    seat_open(&other, world.engine, 5, 64);
    world_submit(1);
    engine_step(world.engine);
    world_ask(&a, 2);
    a.prompt[0] = WORLD_VOCAB;
    seat_submit(&other, 2, &a.submit);

    world_run(1, 2);

    ck_assert_int_eq(world.num_reports, 1);
    ck_assert_int_eq(seat_take(&other), 0);
    ck_assert(engine_is_empty(world.engine));
    seat_close(&other);
    world_close();
}
END_TEST

START_TEST(a_submit_with_an_id_in_use_breaks_a_rule)
{
    world_open(&world_usual);
    world_submit(1);
    world_submit(1);

    engine_step(world.engine);

    ck_assert_int_eq(world.num_reports, 1);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

START_TEST(a_deadline_ends_what_waits_and_what_runs)
{
    struct world_setup setup = world_usual;
    struct world_asked a;
    setup.num_seqs = 1;
    world_open(&setup);
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t deadline = (uint64_t)clock_now_us() + 30000;
        world_ask(&a, 7);
        a.params.max_tokens = 200 - a.submit.num_prompt % 100;
        a.submit.num_prompt = 20;
        a.params.flags = RECORD_IGNORE_EOS;
        a.params.deadline_low = (uint32_t)deadline;
        a.params.deadline_high = (uint32_t)(deadline >> 32);
        seat_submit(&world.seat, i, &a.submit);
    }
    engine_step(world.engine);
    while (clock_now_us() < (int64_t)record_join(a.params.deadline_low, a.params.deadline_high))
        ;
    world_run(0, 2);

    ck_assert_int_eq(world.seat.answers[0].failure, RECORD_FAILURE_DEADLINE);
    ck_assert_int_eq(world.seat.answers[1].failure, RECORD_FAILURE_DEADLINE);
    ck_assert(world.seat.answers[0].is_started);
    ck_assert(!world.seat.answers[1].is_started);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

START_TEST(what_never_fits_is_refused_before_it_is_accepted)
{
    struct world_setup setup = world_usual;
    setup.num_blocks = 4;
    world_open(&setup);
    struct world_asked a;
    world_ask(&a, 1);
    a.submit.num_prompt = 60;
    a.params.max_tokens = 6;
    a.params.min_tokens = 0;
    seat_submit(&world.seat, 1, &a.submit);

    world_run(1, 2);

    ck_assert_int_eq(world.seat.answers[1].failure, RECORD_FAILURE_TOO_LONG);
    ck_assert(!world.seat.answers[1].is_accepted);
    world_close();
}
END_TEST

START_TEST(a_frontend_that_does_not_read_delays_only_itself)
{
    struct seat deaf;
    world_open(&world_usual);
    seat_open(&deaf, world.engine, 5, 8);
    for (unsigned i = 0; i < 4; i++) {
        struct world_asked a;
        world_ask(&a, i);
        seat_submit(&deaf, i, &a.submit);
        world_submit(i);
    }
    world_run(0, 4);
    ck_assert(!engine_is_empty(world.engine));

    for (int idle = 0; idle<3; idle = seat_take(&deaf)> 0 ? 0 : idle + 1)
        ck_assert_int_ge(engine_step(world.engine), 0);

    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(memcmp(deaf.answers[i].choices, world.seat.answers[i].choices,
                                sizeof(deaf.answers[i].choices)),
                         0);
    ck_assert(engine_is_empty(world.engine));
    seat_close(&deaf);
    world_close();
}
END_TEST

START_TEST(a_row_that_is_not_a_number_fails_its_request_alone)
{
    struct world_setup setup = world_usual;
    struct world_asked a;
    setup.bad_top_k = 77;
    world_open(&setup);
    world_ask(&a, 5); /* three choices */
    a.params.top_k = 77;
    world_submit(1);
    seat_submit(&world.seat, 2, &a.submit);
    world_submit(3);

    world_run(1, 4);

    ck_assert_int_eq(world.seat.answers[2].failure, RECORD_FAILURE_NAN_LOGITS);
    ck_assert_int_eq(world.seat.answers[1].failure, 0);
    ck_assert_int_eq(world.seat.answers[3].failure, 0);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

START_TEST(logprobs_that_are_read_late_arrive_whole)
{
    struct seat late;
    struct world_asked a;
    world_open(&world_usual);
    seat_open(&late, world.engine, 5, 8);
    world_ask(&a, 1);
    a.submit.num_prompt = 90;
    a.params.max_tokens = 160; /* more than two buffers of a sequence */
    a.params.num_logprobs = 5;
    a.params.num_prompt_logprobs = 5;
    seat_submit(&world.seat, 1, &a.submit);
    seat_submit(&late, 1, &a.submit);

    for (int steps = 0; !seat_is_finished(&late, 1); steps++) {
        ck_assert_int_lt(steps, 20000);
        ck_assert_int_ge(engine_step(world.engine), 0);
        seat_take(&world.seat);
        if (steps % 90 == 89)
            seat_take(&late);
    }

    ck_assert_int_eq(late.answers[1].next_score, 90);
    ck_assert_int_eq(late.answers[1].choices[0].num_logprobs, 160);
    late.answers[1].num_waiting = world.seat.answers[1].num_waiting;
    ck_assert_int_eq(memcmp(&late.answers[1], &world.seat.answers[1], sizeof(struct seat_answer)),
                     0);
    seat_close(&late);
    world_close();
}
END_TEST

START_TEST(an_idle_engine_wakes_for_a_submit)
{
    world_open(&world_usual);
    ck_assert_int_eq(engine_step(world.engine), 0);
    world_submit(1);
    const int64_t before = clock_now_us();

    engine_idle(world.engine, 60 * 1000 * 1000);

    ck_assert_int_lt(clock_now_us() - before, 30 * 1000 * 1000);
    world_run(1, 2);
    world_close();
}
END_TEST

START_TEST(measuring_leaves_nothing_behind)
{
    struct world_setup setup = world_usual;
    setup.num_blocks = 4;
    world_open(&setup);

    ck_assert_int_gt(engine_measure(world.engine, 64), 0);

    ck_assert(engine_is_empty(world.engine));
    ck_assert_int_eq(engine_measure(world.engine, 65), -ENOSPC);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine");
    TCase *tc = tcase_create("engine");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, answers_are_the_same_to_the_bit_alone_and_in_every_batch, 0,
                        (int)(sizeof(variants) / sizeof(variants[0])));
    tcase_add_test(tc, answers_are_the_same_with_keys_and_values_in_f32);
    tcase_add_loop_test(tc, answers_are_the_same_cold_and_with_every_part_of_the_prompt_found, 0,
                        2 * (int)(sizeof(chunks) / sizeof(chunks[0])));
    tcase_add_test(tc, a_prefix_is_computed_once_for_requests_that_arrive_together);
    tcase_add_test(tc, prompts_of_another_key_find_nothing);
    tcase_add_test(tc, prompts_that_are_scored_are_computed_whole);
    tcase_add_test(tc, a_small_pool_preempts);
    tcase_add_test(tc, choices_that_fork_equal_choices_alone);
    tcase_add_test(tc, a_resumed_choice_goes_on_as_if_nothing_had_happened);
    tcase_add_test(tc, scores_of_a_prompt_are_the_logprobs_of_writing_it);
    tcase_add_test(tc, eos_ends_unless_it_is_ignored_and_not_before_min_tokens);
    tcase_add_test(tc, a_stop_id_ends_as_the_end_of_text_does);
    tcase_add_test(tc, only_allowed_tokens_are_drawn);
    tcase_add_test(tc, a_bad_word_is_left_before_its_last_token);
    tcase_add_test(tc, a_bad_word_is_let_through_where_nothing_else_is_left);
    tcase_add_test(tc, a_choice_that_is_cancelled_ends_alone);
    tcase_add_test(tc, cancel_frees_everything_in_every_state);
    tcase_add_test(tc, a_frontend_that_goes_takes_its_requests_with_it);
    tcase_add_test(tc, a_frontend_that_breaks_a_rule_is_reported_and_costs_nobody_else);
    tcase_add_test(tc, a_submit_with_an_id_in_use_breaks_a_rule);
    tcase_add_test(tc, a_deadline_ends_what_waits_and_what_runs);
    tcase_add_test(tc, what_never_fits_is_refused_before_it_is_accepted);
    tcase_add_test(tc, a_frontend_that_does_not_read_delays_only_itself);
    tcase_add_test(tc, a_row_that_is_not_a_number_fails_its_request_alone);
    tcase_add_test(tc, logprobs_that_are_read_late_arrive_whole);
    tcase_add_test(tc, an_idle_engine_wakes_for_a_submit);
    tcase_add_test(tc, measuring_leaves_nothing_behind);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
