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
#include "seat.h"
#include "shm/doorbell.h"

enum { NUM_REQUESTS = 32, MAX_LEN = 256, BLOCK = 16, VOCAB = 1024, EOS = 1021, MAX_ROWS = 512 };

struct setup {
    int32_t budget, num_seqs, num_blocks, num_threads;
    enum dtype kv_dtype;
    uint32_t complete_cells;
};

static const struct setup usual = { 512, 32, 512, 2, DTYPE_F16, 4096 };

/* A model and its engine. */
struct world {
    const struct backend *backend;
    struct device *device;
    struct model *model;
    struct engine *engine;
    struct status_page *page;
    int doorbell;
    struct seat seat;
    int num_reports;
};

static struct world world;

static void note_report(void *context, uint32_t frontend, const char *text)
{
    (void)context;
    (void)frontend;
    (void)text;
    world.num_reports++;
}

static void open_model(const struct setup *setup)
{
    struct error err;
    struct arch arch;
    ck_assert_int_eq(model_read_arch(RINGLET, setup->kv_dtype, BLOCK, &arch, &err), 0);
    const struct device_options device = { .num_threads = setup->num_threads,
                                           .max_rows = MAX_ROWS,
                                           .max_ops = model_max_ops(arch.num_hidden_layers) + 2,
                                           .max_vocab = arch.vocab_size };
    const struct model_options options = { .dir = RINGLET,
                                           .kv_dtype = setup->kv_dtype,
                                           .block_size = BLOCK,
                                           .max_model_len = MAX_LEN,
                                           .max_rows = MAX_ROWS,
                                           .max_logits = 96 };
    ck_assert_int_eq(backend_open("cpu", &world.backend, &err), 0);
    ck_assert_int_eq(world.backend->device_open(&device, &world.device, &err), 0);
    ck_assert_msg(model_open(world.backend, world.device, &options, &world.model, &err) == 0, "%s",
                  err.message);
}

static void open_world(const struct setup *setup)
{
    struct error err;
    world = (struct world){ .page = aligned_alloc(64, sizeof(struct status_page)) };
    memset(world.page, 0, sizeof(*world.page));
    ck_assert_int_eq(doorbell_create(&world.doorbell), 0);
    open_model(setup);
    const struct engine_options options = {
        .backend = world.backend,
        .device = world.device,
        .model = world.model,
        .limits = { .max_num_seqs = setup->num_seqs,
                    .max_num_batched_tokens = setup->budget,
                    .max_logits = setup->budget < 96 ? setup->budget : 96,
                    .max_model_len = MAX_LEN,
                    .block_size = BLOCK,
                    .num_groups = 1,
                    .num_blocks = setup->num_blocks,
                    .max_num_queued_reqs = 64,
                    .max_num_queued_tokens = 100000,
                    .vocab_size = VOCAB },
        .page = world.page,
        .doorbell = world.doorbell,
        .report = note_report,
    };
    ck_assert_msg(engine_create(&options, &world.engine, &err) == 0, "%s", err.message);
    seat_open(&world.seat, world.engine, 3, setup->complete_cells);
}

static void close_world(void)
{
    seat_close(&world.seat);
    engine_destroy(world.engine);
    model_close(world.model);
    world.backend->device_close(world.device);
    free(world.page);
}

/* --- requests ----------------------------------------------------------------------------- */

static unsigned mix(unsigned x)
{
    x = (x ^ x >> 16) * 0x45d9f3bu;
    return (x ^ x >> 13) * 0x2c1b3c6du >> 4;
}

/* Request i of the mixture: lengths from 1 to 180, every parameter used by some. */
struct asked {
    struct record_params params;
    int32_t prompt[MAX_LEN];
    int32_t eos_ids[1];
    struct record_bias biases[2];
    struct record_submit submit;
};

static void ask(struct asked *a, unsigned i)
{
    *a = (struct asked){ .eos_ids = { EOS } };
    const unsigned num_prompt = i % 8 == 0 ? 1 + mix(i) % 16 : 1 + mix(i) % 180;
    for (unsigned t = 0; t < num_prompt; t++)
        a->prompt[t] = (int32_t)(mix(1000 * i + t) % 1000);
    a->params = (struct record_params){
        .max_tokens = 8 + mix(i + 77) % 40,
        .min_tokens = i % 3 == 0 ? 8 : 0,
        .num_choices = i % 5 == 0 ? 3 : 1,
        .flags = i % 4 == 1 ? RECORD_IGNORE_EOS : 0,
        .seed_low = 99 + i,
        .temperature = i % 2 == 0 ? 0.0f : 0.5f + (float)(i % 7) * 0.2f,
        .top_p = i % 6 == 1 ? 0.9f : 1.0f,
        .min_p = i % 6 == 3 ? 0.05f : 0.0f,
        .typical_p = i % 6 == 5 ? 0.9f : 1.0f,
        .top_k = i % 4 == 3 ? 40 : 0,
        .repetition_penalty = i % 7 == 2 ? 1.3f : 1.0f,
        .presence_penalty = i % 7 == 3 ? 0.7f : 0.0f,
        .frequency_penalty = i % 7 == 4 ? 0.4f : 0.0f,
        .num_logprobs = (int32_t)(i % 7) - 1,
        .num_prompt_logprobs = i % 9 == 4 ? 2 : -1,
    };
    a->biases[0] = (struct record_bias){ 17, 3.5f };
    a->biases[1] = (struct record_bias){ 40, -100.0f };
    a->submit = (struct record_submit){ .params = &a->params,
                                        .prompt = a->prompt,
                                        .num_prompt = num_prompt,
                                        .num_choices = a->params.num_choices,
                                        .biases = a->biases,
                                        .num_biases = i % 8 == 6 ? 2 : 0,
                                        .eos_ids = a->eos_ids,
                                        .num_eos_ids = 1 };
    for (uint32_t c = 0; c < a->submit.num_choices; c++)
        a->submit.choices[c].index = c;
    if (a->params.num_logprobs > 5)
        a->params.num_logprobs = 5;
}

static void submit(unsigned i)
{
    struct asked a;
    ask(&a, i);
    seat_submit(&world.seat, i, &a.submit);
}

static void run_until_finished(unsigned first, unsigned end)
{
    for (unsigned i = first; i < end;) {
        ck_assert_int_ge(engine_step(world.engine), 0);
        seat_take(&world.seat);
        while (i < end && seat_is_finished(&world.seat, i))
            i++;
    }
}

static void take_answers(struct seat_answer *answers)
{
    memcpy(answers, world.seat.answers, NUM_REQUESTS * sizeof(*answers));
    for (int i = 0; i < NUM_REQUESTS; i++)
        answers[i].num_waiting = 0; /* what it met in the queue may differ */
}

/* All requests, one after the other or all at once. */
static struct seat_answer *answers_of(const struct setup *setup, bool alone)
{
    struct seat_answer *answers = calloc(NUM_REQUESTS, sizeof(*answers));
    ck_assert_ptr_nonnull(answers);
    open_world(setup);
    for (unsigned i = 0; i < NUM_REQUESTS; i++) {
        submit(i);
        if (alone)
            run_until_finished(i, i + 1);
    }
    run_until_finished(0, NUM_REQUESTS);
    take_answers(answers);
    ck_assert(engine_is_empty(world.engine));
    close_world();
    return answers;
}

static void assert_same(const struct seat_answer *a, const struct seat_answer *b)
{
    for (int i = 0; i < NUM_REQUESTS; i++) {
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

static const struct setup variants[] = {
    { 1, 32, 512, 2, DTYPE_F16, 4096 },  { 7, 32, 512, 1, DTYPE_F16, 4096 },
    { 16, 32, 512, 3, DTYPE_F16, 4096 }, { 512, 32, 512, 4, DTYPE_F16, 4096 },
    { 512, 5, 512, 2, DTYPE_F16, 4096 }, { 64, 32, 20, 2, DTYPE_F16, 4096 },
    { 512, 32, 512, 2, DTYPE_F16, 8 },   { 512, 1, 512, 1, DTYPE_F16, 16 },
};

START_TEST(answers_are_the_same_to_the_bit_alone_and_in_every_batch)
{
    struct seat_answer *alone = answers_of(&usual, true);
    struct seat_answer *together = answers_of(&variants[_i], false);

    assert_same(alone, together);
    for (int i = 0; i < NUM_REQUESTS; i++) {
        ck_assert_int_eq(alone[i].failure, 0);
        ck_assert_int_eq(alone[i].num_done, alone[i].num_choices);
    }

    free(alone);
    free(together);
}
END_TEST

START_TEST(answers_are_the_same_with_keys_and_values_in_f32)
{
    struct setup one = usual, other = variants[1];
    one.kv_dtype = other.kv_dtype = DTYPE_F32;
    struct seat_answer *alone = answers_of(&one, true), *together = answers_of(&other, false);

    assert_same(alone, together);

    free(alone);
    free(together);
}
END_TEST

START_TEST(a_small_pool_preempts)
{
    open_world(&variants[5]);
    for (unsigned i = 0; i < NUM_REQUESTS; i++)
        submit(i);
    run_until_finished(0, NUM_REQUESTS);

    ck_assert_uint_gt(status_get(world.page, stat_word(STAT_PREEMPTIONS)), 0);
    ck_assert(engine_is_empty(world.engine));
    close_world();
}
END_TEST

START_TEST(choices_that_fork_equal_choices_alone)
{
    struct seat_choice forked[3];
    struct asked a;
    open_world(&usual);
    ask(&a, 5);
    seat_submit(&world.seat, 1, &a.submit);
    run_until_finished(1, 2);
    memcpy(forked, world.seat.answers[1].choices, sizeof(forked));

    for (uint32_t c = 0; c < 3; c++) {
        ask(&a, 5);
        a.submit.num_choices = 1;
        a.submit.choices[0].index = c;
        seat_submit(&world.seat, 2 + c, &a.submit);
        run_until_finished(2 + c, 3 + c);
        ck_assert_int_eq(
            memcmp(&world.seat.answers[2 + c].choices[c], &forked[c], sizeof(forked[c])), 0);
    }
    ck_assert_int_ne(memcmp(forked[0].tokens, forked[1].tokens, sizeof(forked[0].tokens)), 0);
    close_world();
}
END_TEST

START_TEST(a_resumed_choice_goes_on_as_if_nothing_had_happened)
{
    struct asked a;
    open_world(&usual);
    ask(&a, 5); /* drawn with a temperature, three choices, log-probabilities */
    seat_submit(&world.seat, 1, &a.submit);
    run_until_finished(1, 2);
    const struct seat_choice *whole = &world.seat.answers[1].choices[1];
    ck_assert_int_gt(whole->num_tokens, 2);

    for (int32_t cut = 1; cut < whole->num_tokens; cut += 3) {
        ask(&a, 5);
        a.submit.num_choices = 1;
        a.submit.choices[0].index = 1;
        a.submit.choices[0].ids = whole->tokens;
        a.submit.choices[0].num_ids = (uint32_t)cut;
        seat_submit(&world.seat, 2, &a.submit);
        run_until_finished(2, 3);
        const struct seat_choice *rest = &world.seat.answers[2].choices[1];
        ck_assert_int_eq(rest->num_tokens, whole->num_tokens);
        ck_assert_int_eq(memcmp(rest->tokens + cut, whole->tokens + cut,
                                (size_t)(whole->num_tokens - cut) * sizeof(int32_t)),
                         0);
        ck_assert_int_eq(memcmp(rest->logprobs[cut], whole->logprobs[cut],
                                (size_t)(whole->num_tokens - cut) * sizeof(whole->logprobs[0])),
                         0);
    }
    close_world();
}
END_TEST

START_TEST(scores_of_a_prompt_are_the_logprobs_of_writing_it)
{
    struct asked a, b;
    open_world(&usual);
    ask(&a, 2);
    a.params.num_logprobs = 2;
    a.params.temperature = 0;
    a.params.repetition_penalty = 1;
    seat_submit(&world.seat, 1, &a.submit);
    run_until_finished(1, 2);
    const struct seat_choice *written = &world.seat.answers[1].choices[0];

    ask(&b, 2); /* what was written becomes the prompt */
    b.params.num_prompt_logprobs = 2;
    memcpy(b.prompt + b.submit.num_prompt, written->tokens,
           (size_t)written->num_tokens * sizeof(int32_t));
    b.submit.num_prompt += (uint32_t)written->num_tokens;
    seat_submit(&world.seat, 2, &b.submit);
    run_until_finished(2, 3);

    const struct seat_answer *scored = &world.seat.answers[2];
    ck_assert_int_eq(scored->next_score, (int32_t)b.submit.num_prompt);
    for (int32_t i = 0; i < written->num_tokens; i++)
        ck_assert_int_eq(memcmp(scored->scores[(int32_t)a.submit.num_prompt + i],
                                written->logprobs[i], 3 * sizeof(struct record_logprob)),
                         0);
    close_world();
}
END_TEST

START_TEST(eos_ends_unless_it_is_ignored_and_not_before_min_tokens)
{
    struct asked a;
    open_world(&usual);
    ask(&a, 2);
    a.params.temperature = 0;
    seat_submit(&world.seat, 1, &a.submit);
    run_until_finished(1, 2);
    const int32_t third = world.seat.answers[1].choices[0].tokens[2];
    const int32_t first = world.seat.answers[1].choices[0].tokens[0];
    a.eos_ids[0] = third;

    seat_submit(&world.seat, 2, &a.submit);
    run_until_finished(2, 3);
    const struct seat_choice *ended = &world.seat.answers[2].choices[0];
    ck_assert_int_eq(ended->done.reason, RECORD_FINISH_EOS);
    ck_assert_int_eq(ended->done.stop_id, third);
    ck_assert_int_eq(ended->tokens[ended->num_tokens - 1], third);
    ck_assert_int_le(ended->num_tokens, 3);

    a.params.flags = RECORD_IGNORE_EOS;
    seat_submit(&world.seat, 3, &a.submit);
    run_until_finished(3, 4);
    ck_assert_int_eq(world.seat.answers[3].choices[0].done.reason, RECORD_FINISH_LENGTH);
    ck_assert_int_eq(world.seat.answers[3].choices[0].done.stop_id, -1);
    ck_assert_int_eq(world.seat.answers[3].choices[0].num_tokens, a.params.max_tokens);

    a.params.flags = 0;
    a.params.min_tokens = 5;
    a.eos_ids[0] = first;
    seat_submit(&world.seat, 4, &a.submit);
    run_until_finished(4, 5);
    for (int32_t i = 0; i < 5; i++)
        ck_assert_int_ne(world.seat.answers[4].choices[0].tokens[i], first);
    close_world();
}
END_TEST

START_TEST(cancel_frees_everything_in_every_state)
{
    struct setup setup = usual;
    setup.num_seqs = 2;
    setup.budget = 16;
    open_world(&setup);
    for (unsigned i = 0; i < 6; i++)
        submit(i);
    for (unsigned steps = 0; steps < 12; steps++)
        ck_assert_int_eq(engine_step(world.engine), 1);
    for (unsigned i = 0; i < 6; i++)
        seat_cancel(&world.seat, i);

    ck_assert_int_eq(engine_step(world.engine), 1);

    ck_assert(engine_is_empty(world.engine));
    ck_assert_int_eq(engine_step(world.engine), 0);
    close_world();
}
END_TEST

START_TEST(a_frontend_that_goes_takes_its_requests_with_it)
{
    struct seat other;
    open_world(&usual);
    seat_open(&other, world.engine, 5, 64);
    for (unsigned i = 0; i < 4; i++) {
        struct asked a;
        ask(&a, i);
        seat_submit(&other, i, &a.submit);
        submit(i);
    }
    for (int i = 0; i < 3; i++)
        engine_step(world.engine);

    engine_disconnect(world.engine, 5);

    run_until_finished(0, 4);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(world.seat.answers[i].num_done, world.seat.answers[i].num_choices);
    ck_assert(engine_is_empty(world.engine));
    seat_close(&other);
    close_world();
}
END_TEST

START_TEST(a_frontend_that_breaks_a_rule_is_reported_and_costs_nobody_else)
{
    struct seat other;
    struct asked a;
    open_world(&usual);
    seat_open(&other, world.engine, 5, 64);
    submit(1);
    engine_step(world.engine);
    ask(&a, 2);
    a.prompt[0] = VOCAB;
    seat_submit(&other, 2, &a.submit);

    run_until_finished(1, 2);

    ck_assert_int_eq(world.num_reports, 1);
    ck_assert_int_eq(seat_take(&other), 0);
    ck_assert(engine_is_empty(world.engine));
    seat_close(&other);
    close_world();
}
END_TEST

START_TEST(a_submit_with_an_id_in_use_breaks_a_rule)
{
    open_world(&usual);
    submit(1);
    submit(1);

    engine_step(world.engine);

    ck_assert_int_eq(world.num_reports, 1);
    ck_assert(engine_is_empty(world.engine));
    close_world();
}
END_TEST

START_TEST(a_deadline_ends_what_waits_and_what_runs)
{
    struct setup setup = usual;
    struct asked a;
    setup.num_seqs = 1;
    open_world(&setup);
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t deadline = (uint64_t)clock_now_us() + 30000;
        ask(&a, 7);
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
    run_until_finished(0, 2);

    ck_assert_int_eq(world.seat.answers[0].failure, RECORD_FAILURE_DEADLINE);
    ck_assert_int_eq(world.seat.answers[1].failure, RECORD_FAILURE_DEADLINE);
    ck_assert(world.seat.answers[0].is_started);
    ck_assert(!world.seat.answers[1].is_started);
    ck_assert(engine_is_empty(world.engine));
    close_world();
}
END_TEST

START_TEST(what_never_fits_is_refused_before_it_is_accepted)
{
    struct setup setup = usual;
    setup.num_blocks = 4;
    open_world(&setup);
    struct asked a;
    ask(&a, 1);
    a.submit.num_prompt = 60;
    a.params.max_tokens = 6;
    a.params.min_tokens = 0;
    seat_submit(&world.seat, 1, &a.submit);

    run_until_finished(1, 2);

    ck_assert_int_eq(world.seat.answers[1].failure, RECORD_FAILURE_TOO_LONG);
    ck_assert(!world.seat.answers[1].is_accepted);
    close_world();
}
END_TEST

START_TEST(a_frontend_that_does_not_read_delays_only_itself)
{
    struct seat deaf;
    open_world(&usual);
    seat_open(&deaf, world.engine, 5, 8);
    for (unsigned i = 0; i < 4; i++) {
        struct asked a;
        ask(&a, i);
        seat_submit(&deaf, i, &a.submit);
        submit(i);
    }
    run_until_finished(0, 4);
    ck_assert(!engine_is_empty(world.engine));

    for (int idle = 0; idle<3; idle = seat_take(&deaf)> 0 ? 0 : idle + 1)
        ck_assert_int_ge(engine_step(world.engine), 0);

    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(memcmp(deaf.answers[i].choices, world.seat.answers[i].choices,
                                sizeof(deaf.answers[i].choices)),
                         0);
    ck_assert(engine_is_empty(world.engine));
    seat_close(&deaf);
    close_world();
}
END_TEST

START_TEST(an_idle_engine_wakes_for_a_submit)
{
    open_world(&usual);
    ck_assert_int_eq(engine_step(world.engine), 0);
    submit(1);
    const int64_t before = clock_now_us();

    engine_idle(world.engine, 60 * 1000 * 1000);

    ck_assert_int_lt(clock_now_us() - before, 30 * 1000 * 1000);
    run_until_finished(1, 2);
    close_world();
}
END_TEST

START_TEST(measuring_leaves_nothing_behind)
{
    struct setup setup = usual;
    setup.num_blocks = 4;
    open_world(&setup);

    ck_assert_int_gt(engine_measure(world.engine, 64), 0);

    ck_assert(engine_is_empty(world.engine));
    ck_assert_int_eq(engine_measure(world.engine, 65), -ENOSPC);
    ck_assert(engine_is_empty(world.engine));
    close_world();
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
    tcase_add_test(tc, a_small_pool_preempts);
    tcase_add_test(tc, choices_that_fork_equal_choices_alone);
    tcase_add_test(tc, a_resumed_choice_goes_on_as_if_nothing_had_happened);
    tcase_add_test(tc, scores_of_a_prompt_are_the_logprobs_of_writing_it);
    tcase_add_test(tc, eos_ends_unless_it_is_ignored_and_not_before_min_tokens);
    tcase_add_test(tc, cancel_frees_everything_in_every_state);
    tcase_add_test(tc, a_frontend_that_goes_takes_its_requests_with_it);
    tcase_add_test(tc, a_frontend_that_breaks_a_rule_is_reported_and_costs_nobody_else);
    tcase_add_test(tc, a_submit_with_an_id_in_use_breaks_a_rule);
    tcase_add_test(tc, a_deadline_ends_what_waits_and_what_runs);
    tcase_add_test(tc, what_never_fits_is_refused_before_it_is_accepted);
    tcase_add_test(tc, a_frontend_that_does_not_read_delays_only_itself);
    tcase_add_test(tc, an_idle_engine_wakes_for_a_submit);
    tcase_add_test(tc, measuring_leaves_nothing_behind);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
