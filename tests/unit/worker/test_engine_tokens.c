/* Which tokens may be drawn and which end an answer, as requests say it, through real rings. */
#include "worker/engine.h"

#include <check.h>
#include <string.h>

#include "tests/unit/runner.h"
#include "world.h"

/* The greedy answer of request 2, into answer `id`. */
static const struct seat_choice *greedy(struct world_asked *a, unsigned id)
{
    a->params.temperature = 0;
    seat_submit(&world.seat, id, &a->submit);
    world_run(id, id + 1);
    return &world.seat.answers[id].choices[0];
}

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

RUN_SUITE("engine_tokens", eos_ends_unless_it_is_ignored_and_not_before_min_tokens,
          a_stop_id_ends_as_the_end_of_text_does, only_allowed_tokens_are_drawn,
          a_bad_word_is_left_before_its_last_token,
          a_bad_word_is_let_through_where_nothing_else_is_left,
          choices_that_fork_equal_choices_alone, scores_of_a_prompt_are_the_logprobs_of_writing_it)
