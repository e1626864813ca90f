/*
 * gpu_engine BACKEND LIBRARIES DIR - an engine on a device: answers in all orders of its steps
 *
 * The same requests, which together use every parameter, are answered in turn, with steps sent
 * ahead, with lists kept as graphs, and all that by two ranks; LIBRARIES is as in gpu_ranks. By one
 * number of ranks all answers are equal to the last bit (the device is deterministic), and ranks
 * compare what they draw. Then a rank ends, hangs or draws something else while the leader's device
 * has two lists. Exit code 77 without a device.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/worker/world.h"
#include "worker/capture.h"

#include <check.h>

enum { NUM_REQUESTS = 4, MAX_TOKENS = 6, NUM_WAYS = 4, BENT_LIST = 4, FORCED = 5 };
enum { SHORT_US = 2 * 1000 * 1000 };

static struct {
    char **names;
    struct backend backend;
    int num_starts, num_behind, num_running;
    int signal;             /* the follower gets it when a third list was sent behind another */
    bool bends;             /* it draws another token in its fourth list */
    struct sample_row bent; /* that list's row */
    bool fails;             /* the follower's device refuses that list */
    int num_follower_samples, num_follower_lists;
} the;

static const struct way {
    int32_t num_ranks;
    bool in_turn, keeps;
} ways[NUM_WAYS] = {
    { 1, true, false }, { 1, false, true }, { 2, true, false }, { 2, false, true }
};

/* --- lists are counted ------------------------------------------------------------------------ */

static const struct backend *real;

static int count_submit(struct device *device)
{
    if (device != world.device)
        return the.fails && ++the.num_follower_lists == BENT_LIST ? -EIO : real->submit(device);
    const int r = real->submit(device);
    the.num_starts++;
    the.num_behind += the.num_running > 0;
    if (the.num_running++ > 0 && the.num_behind == 3 && the.signal != 0)
        kill(world.crew.ranks[1].pid, the.signal);
    return r;
}

static int count_wait(struct device *device)
{
    if (device == world.device)
        the.num_running--;
    return real->wait(device);
}

/* Of one row, that has no penalties: the device draws it, and feeds it to the next list. */
static void bend_sample(struct device *device, float *logits, int32_t num_vocab,
                        const struct sample_row *rows, int32_t num)
{
    if (the.bends && device != world.device && ++the.num_follower_samples == BENT_LIST) {
        the.bent = rows[0];
        the.bent.forced_id = FORCED;
        rows = &the.bent;
    }
    real->sample(device, logits, num_vocab, rows, num);
}

/* --- answers -------------------------------------------------------------------------------------
 */

static struct world_setup setup_of(const struct way *way)
{
    the.backend = *real;
    the.backend.submit = count_submit;
    the.backend.wait = count_wait;
    the.backend.sample = bend_sample;
    the.num_starts = the.num_behind = the.num_running = 0;
    the.num_follower_samples = the.num_follower_lists = 0;
    return (struct world_setup){ .backend = &the.backend,
                                 .libraries = the.names[2],
                                 .dir = the.names[3],
                                 .budget = 64,
                                 .num_seqs = 4,
                                 .num_blocks = 256,
                                 .num_threads = 1,
                                 .num_ranks = way->num_ranks,
                                 .kv_dtype = DTYPE_F16,
                                 .complete_cells = 4096,
                                 .max_len = 128,
                                 .without_overlap = way->in_turn };
}

static void ask(unsigned i, uint32_t max_tokens)
{
    struct world_asked a;
    world_ask(&a, i);
    a.params.max_tokens = max_tokens;
    a.params.min_tokens = 0;
    a.submit.num_prompt = 1 + a.submit.num_prompt % 16;
    seat_submit(&world.seat, i, &a.submit);
}

static void answer_all(const struct way *way, struct seat_answer *ret_answers)
{
    int32_t num_kept = 0;
    const struct world_setup setup = setup_of(way);
    world_open(&setup);
    if (way->keeps)
        ck_assert_int_eq(capture_first(world.engine, &num_kept), 0);
    ck_assert_int_eq(num_kept > 0, way->keeps);
    for (unsigned i = 0; i < NUM_REQUESTS; i++)
        ask(i, MAX_TOKENS);
    world_run(0, NUM_REQUESTS);
    memcpy(ret_answers, world.seat.answers, NUM_REQUESTS * sizeof(*ret_answers));
    for (int i = 0; i < NUM_REQUESTS; i++)
        ret_answers[i].num_waiting = ret_answers[i].cached_tokens = 0;
    while (engine_step(world.engine) > 0)
        ;
    printf("%d ranks, %s%s: %d steps, %d of them sent ahead\n", way->num_ranks,
           way->in_turn ? "in turn" : "ahead", way->keeps ? ", kept" : "", the.num_starts,
           the.num_behind);
    ck_assert(way->in_turn ? the.num_behind == 0 : the.num_behind > the.num_starts / 2);
    world_close();
}

START_TEST(answers_are_the_same_in_all_orders)
{
    static struct seat_answer answers[NUM_WAYS][NUM_REQUESTS];
    for (int w = 0; w < NUM_WAYS; w++)
        answer_all(&ways[w], answers[w]);
    for (int w = 1; w < NUM_WAYS; w += 2)
        for (int i = 0; i < NUM_REQUESTS; i++)
            ck_assert_msg(memcmp(&answers[w][i], &answers[w - 1][i], sizeof(answers[w][i])) == 0,
                          "request %d differs by %d ranks", i, ways[w].num_ranks);
}
END_TEST

/* --- ends ----------------------------------------------------------------------------------- */

static int step_until_it_ends(void)
{
    int r = 1;
    while (r > 0) {
        r = engine_step(world.engine);
        seat_take(&world.seat);
    }
    return r;
}

/* Both steps that the device had may be to blame. */
static void check_page(void)
{
    const struct status_step *steps[STATUS_MAX_SENT];
    ck_assert_int_eq(status_sent_steps(world.page, steps), 2);
    for (uint64_t k = 0; k < 2; k++) {
        ck_assert_uint_eq(steps[k]->number, world.page->step + 1 + k);
        ck_assert_uint_gt(steps[k]->num_requests, 0);
    }
}

static void open_pair(bool processes, int64_t deadline_us)
{
    static const struct way way = { 2, false, false };
    struct world_setup setup = setup_of(&way);
    setup.followers_are_processes = processes;
    setup.deadline_us = deadline_us;
    world_open(&setup);
    if (deadline_us > 0)
        world.crew.ranks[0].comm.timeout_us = deadline_us;
}

static void lose(int signal, int64_t deadline_us, int wanted)
{
    the.signal = signal;
    open_pair(true, deadline_us);
    ask(1, 60);
    ask(2, 60);
    ck_assert_int_eq(step_until_it_ends(), wanted);
    check_page();
    ck_assert(!seat_is_finished(&world.seat, 1) && !seat_is_finished(&world.seat, 2));
    world_close();
}

START_TEST(a_rank_that_ended_fails_the_engine_with_two_steps_to_blame)
{
    lose(SIGKILL, 0, -EPIPE);
    ck_assert_int_ge(the.num_behind, 3);
}
END_TEST

START_TEST(a_rank_that_hangs_fails_the_engine_at_the_deadline)
{
    lose(SIGSTOP, SHORT_US, -ETIMEDOUT);
}
END_TEST

/* Its fifth list takes the other token, and with it the leader's fifth goes wrong, too. */
START_TEST(no_token_goes_out_that_a_rank_drew_differently)
{
    struct error err;
    the.bends = true;
    open_pair(false, 0);
    ask(1, 60);
    ck_assert_int_eq(step_until_it_ends(), -EBADMSG);
    engine_explain(world.engine, -EBADMSG, &err);
    ck_assert_msg(strstr(err.message, "rank 1 found token 5") != NULL, "%s", err.message);
    ck_assert_int_eq(world.seat.answers[1].choices[0].num_tokens, BENT_LIST - 1);
    ck_assert_int_gt(the.num_starts, BENT_LIST); /* the next one had been sent */
    crew_await(&world.crew, 1);
    ck_assert_int_eq(world.crew.ranks[1].result, -EPIPE);
    world_close();
}
END_TEST

/* The leader's list waits for a part that never comes. */
START_TEST(a_list_that_one_rank_cannot_run_ends_the_engine)
{
    the.fails = true;
    open_pair(false, 0);
    ask(1, 60);
    ck_assert_int_eq(step_until_it_ends(), -EPIPE);
    crew_await(&world.crew, 1);
    ck_assert_int_eq(world.crew.ranks[1].result, -EIO);
    world_close();
}
END_TEST

int main(int argc, char **argv)
{
    struct error err;
    if (argc != 4) {
        fprintf(stderr, "usage: gpu_engine BACKEND LIBRARIES DIR\n");
        return 2;
    }
    the.names = argv;
    if (backend_open(argv[1], &real, &err) < 0 || real->probe(&err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 77;
    }
    Suite *suite = suite_create("engine");
    TCase *tests = tcase_create("engine");
    tcase_add_test(tests, answers_are_the_same_in_all_orders);
    tcase_add_test(tests, a_rank_that_ended_fails_the_engine_with_two_steps_to_blame);
    tcase_add_test(tests, a_rank_that_hangs_fails_the_engine_at_the_deadline);
    tcase_add_test(tests, no_token_goes_out_that_a_rank_drew_differently);
    tcase_add_test(tests, a_list_that_one_rank_cannot_run_ends_the_engine);
    tcase_set_timeout(tests, 0); /* the build has one */
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_NORMAL);
    const bool failed = srunner_ntests_failed(runner) > 0;
    srunner_free(runner);
    return failed ? 1 : 0;
}
