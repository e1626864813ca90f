#include "frontend/session/journal.h"
#include "tests/unit/runner.h"

#include <errno.h>
#include <stdlib.h>

static const struct record_bounds bounds = { .vocab_size = 1000, .max_model_len = 64 };
static const int32_t prompt[] = { 11, 12, 13 }, eos = 2;
static struct record_params params;
static struct session_submit submit;
static struct session_prompt session_prompt = { prompt, 3 };
static struct journal *journal;
static struct error err;

static void setup(void)
{
    params = (struct record_params){ .max_tokens = 8,
                                     .num_choices = 3,
                                     .top_p = 1.0f,
                                     .typical_p = 1.0f,
                                     .repetition_penalty = 1.0f,
                                     .seed_low = 77,
                                     .num_logprobs = -1,
                                     .num_prompt_logprobs = -1 };
    submit = (struct session_submit){ .prompts = &session_prompt,
                                      .num_prompts = 1,
                                      .params = &params,
                                      .eos_ids = &eos,
                                      .num_eos_ids = 1 };
}

static void create(void)
{
    ck_assert_int_eq(journal_create(&submit, 0, &bounds, &journal, &err), 0);
}

static void teardown(void)
{
    journal_destroy(journal);
    journal = NULL;
}

static int accept(uint32_t choice, uint32_t pos, int32_t id)
{
    return journal_accept_tokens(journal, choice, pos, &id, 1, bounds.vocab_size, &err);
}

START_TEST(a_resubmission_says_prompt_parameters_and_all_accepted_tokens)
{
    struct record_submit got;
    create();
    ck_assert_int_eq(accept(0, 1, 100), 1);
    ck_assert_int_eq(accept(0, 2, 101), 1);
    ck_assert_int_eq(accept(1, 1, 200), 1);
    journal->choices[1].is_finished = true; /* a stop string */
    ck_assert_int_eq(accept(2, 1, 300), 1);

    ck_assert_int_eq(journal_encode(journal, &bounds, &err), 0);

    ck_assert_int_eq(record_submit_decode(journal->bytes, journal->num_bytes, &bounds, &got, &err),
                     0);
    params.flags |= RECORD_RESUMED;
    ck_assert_mem_eq(got.params, &params, sizeof(params));
    ck_assert_uint_eq(got.num_prompt, 3);
    ck_assert_mem_eq(got.prompt, prompt, sizeof(prompt));
    ck_assert_int_eq(got.eos_ids[0], eos);
    ck_assert_uint_eq(got.num_choices, 2);
    ck_assert_uint_eq(got.choices[0].index, 0);
    ck_assert_uint_eq(got.choices[0].num_ids, 2);
    ck_assert_int_eq(got.choices[0].ids[1], 101);
    ck_assert_uint_eq(got.choices[1].index, 2);
    ck_assert_int_eq(got.choices[1].ids[0], 300);
    ck_assert_int_eq(journal->submit.prompt[2], 13); /* the journal reads from the new bytes */
}
END_TEST

START_TEST(a_resubmission_leaves_what_was_decoded_and_sent)
{
    create();
    ck_assert_int_eq(accept(0, 1, 100), 1);
    ck_assert_int_eq(accept(0, 2, 101), 1);
    journal->choices[0].num_decoded = 2;
    journal->choices[0].num_sent = 1;

    ck_assert_int_eq(journal_encode(journal, &bounds, &err), 0);

    ck_assert_uint_eq(journal->choices[0].num_accepted, 2);
    ck_assert_uint_eq(journal->choices[0].num_decoded, 2);
    ck_assert_uint_eq(journal->choices[0].num_sent, 1);
    ck_assert_int_eq(accept(0, 2, 999), 0); /* the same position again changes nothing */
    ck_assert_int_eq(journal->choices[0].tokens[1], 101);
    ck_assert_int_eq(accept(0, 3, 102), 1);
}
END_TEST

START_TEST(log_probabilities_ahead_of_their_tokens_come_again)
{
    const struct record_logprob two[] = { { 100, -1.0f, 1 }, { 101, -2.0f, 1 } };
    params.num_logprobs = 0;
    create();
    ck_assert_int_eq(
        journal_accept_logprobs(journal, 0, 1, two, sizeof(two), bounds.vocab_size, &err), 1);
    ck_assert_int_eq(accept(0, 1, 100), 1);
    ck_assert_uint_eq(journal->choices[0].num_logprobs, 2);

    ck_assert_int_eq(journal_encode(journal, &bounds, &err), 0);

    ck_assert_uint_eq(journal->choices[0].num_logprobs, 1);
    ck_assert_int_eq(
        journal_accept_logprobs(journal, 0, 2, two + 1, sizeof(two[0]), bounds.vocab_size, &err),
        1);
}
END_TEST

START_TEST(log_probabilities_of_the_prompt_come_in_chunks_without_gaps)
{
    const struct record_logprob all[] = { { -1, 0.0f, 0 }, { 12, -1.0f, 1 }, { 13, -2.0f, 4 } };
    params.num_prompt_logprobs = 0;
    for (uint32_t first = 0; first < 2; first++) { /* with and without position 0 */
        create();
        ck_assert_int_eq(journal_accept_prompt_logprobs(journal, 2, all + 2, sizeof(all[0]),
                                                        bounds.vocab_size, &err),
                         -EPROTO);
        ck_assert_int_eq(journal_accept_prompt_logprobs(journal, first, all + first,
                                                        (2 - first) * sizeof(all[0]),
                                                        bounds.vocab_size, &err),
                         1);
        ck_assert(!journal_has_prompt_logprobs(journal));
        ck_assert_int_eq(journal_accept_prompt_logprobs(journal, 1, all + 1, sizeof(all[0]),
                                                        bounds.vocab_size, &err),
                         0);
        ck_assert_int_eq(journal_accept_prompt_logprobs(journal, 2, all + 2, sizeof(all[0]),
                                                        bounds.vocab_size, &err),
                         1);
        ck_assert(journal_has_prompt_logprobs(journal));
        ck_assert_float_eq(journal->prompt_logprobs[2].logprob, -2.0f);
        teardown();
    }
}
END_TEST

START_TEST(what_an_engine_would_refuse_is_refused_here)
{
    params.top_p = 0.0f;
    ck_assert_int_eq(journal_create(&submit, 0, &bounds, &journal, &err), -EINVAL);
    params.top_p = 1.0f;
    params.num_choices = 129;
    ck_assert_int_eq(journal_create(&submit, 0, &bounds, &journal, &err), -EINVAL);
    params.num_choices = 1;
    params.max_tokens = 62;
    ck_assert_int_eq(journal_create(&submit, 0, &bounds, &journal, &err), -EINVAL);
    ck_assert_int_eq(err.code, -EINVAL);
    ck_assert_ptr_null(journal);
}
END_TEST

START_TEST(end_tokens_do_not_end_when_they_are_ignored)
{
    create();
    ck_assert(journal_is_end(journal, eos));
    teardown();
    params.flags = RECORD_IGNORE_EOS;
    create();
    ck_assert(!journal_is_end(journal, eos));
    ck_assert_int_eq(accept(0, 1, eos), 1);
    ck_assert_int_eq(accept(0, 2, 5), 1);
}
END_TEST

RUN_SUITE_AROUND("journal", setup, teardown,
                 a_resubmission_says_prompt_parameters_and_all_accepted_tokens,
                 a_resubmission_leaves_what_was_decoded_and_sent,
                 log_probabilities_ahead_of_their_tokens_come_again,
                 log_probabilities_of_the_prompt_come_in_chunks_without_gaps,
                 what_an_engine_would_refuse_is_refused_here,
                 end_tokens_do_not_end_when_they_are_ignored)
