/* Followers beside a real engine, as threads: what they notice, and what leaves them in step. */
#include "worker/follower.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

static struct world_setup ranks_of(int32_t num_ranks)
{
    struct world_setup setup = world_usual;
    setup.num_threads = 1;
    setup.num_ranks = num_ranks;
    if (num_ranks == 3)
        setup.dir = GOLDEN "/llama/gqa_mixed"; /* Ringlet's heads cannot be cut in three */
    return setup;
}

static int step_until_it_ends(void)
{
    int r = 1;
    for (int steps = 0; r >= 0 && steps < 1000; steps++) {
        r = engine_step(world.engine);
        seat_take(&world.seat);
    }
    return r;
}

/* --- ids ---------------------------------------------------------------------------------- */

static void draw_another(const struct sample_row *rows, int32_t num)
{
    for (int32_t i = 0; i < num; i++)
        if (rows[i].output_pos == 3)
            *rows[i].ret_id ^= 1;
}

/* Request 1 is drawn with a temperature, request 2 takes the best. */
static void submit_plain(unsigned i)
{
    struct world_asked a;
    world_ask(&a, i);
    a.params.repetition_penalty = 1;
    a.params.presence_penalty = a.params.frequency_penalty = 0;
    a.params.flags = RECORD_IGNORE_EOS;
    a.params.min_tokens = 0;
    a.submit.num_eos_ids = 0;
    seat_submit(&world.seat, i, &a.submit);
}

START_TEST(a_follower_that_drew_another_token_than_the_leader_ends_the_engine)
{
    for (unsigned i = 1; i <= 2; i++) {
        struct world_setup setup = ranks_of(2);
        struct error err;
        setup.spy.after = draw_another;
        world_open(&setup);
        submit_plain(i);

        ck_assert_int_eq(step_until_it_ends(), -EBADMSG);
        engine_explain(world.engine, -EBADMSG, &err);
        ck_assert_ptr_nonnull(strstr(err.message, "rank 1 found token"));
        ck_assert_int_le(world.seat.answers[i].choices[0].num_tokens, 3); /* and not the fourth */
        crew_await(&world.crew, 1);
        ck_assert_int_eq(world.crew.ranks[1].result, -EPIPE);
        world_close();
    }
}
END_TEST

/* The CPU's, but for one rank, which draws another token from its fourth step on. */
static struct {
    struct backend backend;
    const struct backend *real;
    int32_t rank;
    struct device *device;
    const struct sample_row *rows;
    int num_steps;
} drifting;

static int drifting_open(const struct device_options *options, struct device **ret_device,
                         struct error *err)
{
    const int r = drifting.real->device_open(options, ret_device, err);
    if (r == 0 && options->rank == drifting.rank)
        drifting.device = *ret_device;
    return r;
}

static void drifting_sample(struct device *device, float *logits, int32_t num_vocab,
                            const struct sample_row *rows, int32_t num)
{
    if (device == drifting.device)
        drifting.rows = rows;
    drifting.real->sample(device, logits, num_vocab, rows, num);
}

static int drifting_wait(struct device *device)
{
    const int r = drifting.real->wait(device);
    if (device == drifting.device && drifting.rows != NULL && ++drifting.num_steps > 3)
        *drifting.rows[0].ret_own_id ^= 1;
    return r;
}

static void drift(int32_t rank)
{
    struct error err;
    memset(&drifting, 0, sizeof(drifting));
    drifting.rank = rank;
    ck_assert_int_eq(backend_open("cpu", &drifting.real, &err), 0);
    drifting.backend = *drifting.real;
    drifting.backend.device_open = drifting_open;
    drifting.backend.sample = drifting_sample;
    drifting.backend.wait = drifting_wait;
}

START_TEST(every_follower_is_compared)
{
    struct world_setup setup = ranks_of(3);
    struct error err;
    char wanted[64];
    drift(_i);
    setup.backend = &drifting.backend;
    world_open(&setup);
    submit_plain(1);

    ck_assert_int_eq(step_until_it_ends(), -EBADMSG);
    engine_explain(world.engine, -EBADMSG, &err);
    snprintf(wanted, sizeof(wanted), "rank %d found token", _i);
    ck_assert_msg(strstr(err.message, wanted) != NULL, "%s", err.message);
    ck_assert_int_eq(world.seat.answers[1].choices[0].num_tokens, 3);
    for (int32_t r = 1; r < 3; r++) {
        crew_await(&world.crew, r);
        ck_assert_int_eq(world.crew.ranks[r].result, -EPIPE);
    }
    world_close();
}
END_TEST

/* Penalties, biases and masks are the leader's alone: their rows are compared by their logits. */
static void bend_logits(const struct sample_row *rows, int32_t num, float *logits,
                        int32_t num_vocab)
{
    for (int32_t i = 0; i < num; i++)
        if (rows[i].output_pos == 3 || rows[i].forced_id >= 0)
            logits[(size_t)i * (size_t)num_vocab + 900] = 1e4f;
}

static const struct bent {
    float repetition_penalty;
    bool is_biased, is_masked, is_scored;
} bent[] = { { .repetition_penalty = 1.3f },
             { .repetition_penalty = 1, .is_biased = true },
             { .repetition_penalty = 1, .is_masked = true },
             { .repetition_penalty = 1, .is_scored = true } };

static void submit_bent(const struct bent *what)
{
    static const int32_t allowed[] = { 1, 2, 3, 4, 5, 6 };
    struct world_asked a;
    world_ask(&a, 2);
    a.params.flags = RECORD_IGNORE_EOS;
    a.params.repetition_penalty = what->repetition_penalty;
    a.params.num_logprobs = -1;
    a.params.num_prompt_logprobs = what->is_scored ? 0 : -1;
    a.submit.num_biases = what->is_biased ? 2 : 0;
    a.submit.allowed_ids = allowed;
    a.submit.num_allowed_ids = what->is_masked ? 6 : 0;
    seat_submit(&world.seat, 2, &a.submit);
}

START_TEST(rows_that_a_follower_cannot_draw_are_compared_by_their_best)
{
    struct world_setup setup = ranks_of(2);
    world_open(&setup);
    submit_bent(&bent[_i]);
    world_run(2, 3);
    ck_assert_int_eq(world.seat.answers[2].failure, 0);
    world_close();

    setup.spy.before = bend_logits;
    world_open(&setup);
    submit_bent(&bent[_i]);
    ck_assert_int_eq(step_until_it_ends(), -EBADMSG);
    crew_await(&world.crew, 1);
    ck_assert_int_eq(world.crew.ranks[1].result, -EPIPE);
    world_close();
}
END_TEST

/* Such a row fails its request, not the engine. */
START_TEST(a_row_whose_mask_leaves_nothing_is_not_compared)
{
    static const int32_t allowed[] = { 7 };
    struct world_setup setup = ranks_of(2);
    struct world_asked a;
    world_open(&setup);
    world_ask(&a, 2);
    a.params.min_tokens = 3;
    a.params.flags = 0;
    a.eos_ids[0] = 7;
    a.submit.allowed_ids = allowed;
    a.submit.num_allowed_ids = 1;
    seat_submit(&world.seat, 2, &a.submit);
    submit_plain(1);
    world_run(1, 3);

    ck_assert_int_eq(world.seat.answers[2].failure, RECORD_FAILURE_NAN_LOGITS);
    ck_assert_int_eq(world.seat.answers[1].failure, 0);
    world_close();
}
END_TEST

/* --- cancellation ------------------------------------------------------------------------- */

enum { NUM = 8 };

static void run_without(unsigned cancelled, struct seat_answer *ret_answers)
{
    for (unsigned i = 0; i < NUM; i++)
        world_submit(i);
    for (int steps = 0; steps < 6; steps++) {
        ck_assert_int_eq(engine_step(world.engine), 1);
        seat_take(&world.seat);
    }
    for (unsigned i = 0; i < NUM; i++)
        if (cancelled >> i & 1)
            seat_cancel(&world.seat, i);
    for (unsigned i = 0; i < NUM; i++)
        if (!(cancelled >> i & 1))
            world_run(i, i + 1);
    for (int idle = 0; idle<3; idle = seat_take(&world.seat)> 0 ? 0 : idle + 1)
        ck_assert_int_ge(engine_step(world.engine), 0);
    ck_assert(engine_is_empty(world.engine));
    for (unsigned i = 0; i < NUM; i++)
        ret_answers[i] = world.seat.answers[i];
}

START_TEST(cancelled_requests_leave_the_ranks_in_step)
{
    static struct seat_answer whole[NUM], rest[NUM];
    struct world_setup setup = ranks_of(_i);
    setup.without_prefixes = true; /* the second run computes, too */
    world_open(&setup);

    run_without(0, whole);
    run_without(0xAA, rest);

    for (unsigned i = 0; i < NUM; i += 2)
        ck_assert_mem_eq(rest[i].choices, whole[i].choices, sizeof(rest[i].choices));
    ck_assert_int_lt(rest[1].choices[0].num_tokens, whole[1].choices[0].num_tokens);
    world_close(); /* no follower has ended with an error */
}
END_TEST

START_TEST(a_choice_is_cancelled_alone_at_all_ranks)
{
    struct world_asked a;
    struct world_setup setup = ranks_of(_i);
    world_open(&setup);
    world_ask(&a, 5); /* three choices */
    a.params.flags = RECORD_IGNORE_EOS;
    a.params.min_tokens = 0;
    seat_submit(&world.seat, 1, &a.submit);
    world_run(1, 2);
    seat_submit(&world.seat, 2, &a.submit);
    while (world.seat.answers[2].choices[1].num_tokens < 2) {
        ck_assert_int_eq(engine_step(world.engine), 1);
        seat_take(&world.seat);
    }
    seat_cancel_choice(&world.seat, 2, 1);
    world_run(2, 3);

    const struct seat_choice *whole = world.seat.answers[1].choices;
    const struct seat_choice *rest = world.seat.answers[2].choices;
    ck_assert_int_eq(rest[1].done.reason, RECORD_FINISH_CANCELLED);
    ck_assert_mem_eq(&rest[0], &whole[0], sizeof(rest[0]));
    ck_assert_mem_eq(&rest[2], &whole[2], sizeof(rest[2]));
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("follower");
    TCase *tc = tcase_create("follower");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_follower_that_drew_another_token_than_the_leader_ends_the_engine);
    tcase_add_loop_test(tc, every_follower_is_compared, 1, 3);
    tcase_add_loop_test(tc, rows_that_a_follower_cannot_draw_are_compared_by_their_best, 0,
                        (int)(sizeof(bent) / sizeof(bent[0])));
    tcase_add_test(tc, a_row_whose_mask_leaves_nothing_is_not_compared);
    tcase_add_loop_test(tc, cancelled_requests_leave_the_ranks_in_step, 2, 4);
    tcase_add_loop_test(tc, a_choice_is_cancelled_alone_at_all_ranks, 2, 4);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
