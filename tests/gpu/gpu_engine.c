/*
 * gpu_engine BACKEND LIBRARIES DIR - an engine on a device: answers in all orders of its steps
 *
 * The same requests, which together use every parameter, are answered in turn, with steps sent
 * ahead, with lists kept as graphs, and all that by two ranks; LIBRARIES is as in gpu_ranks. By one
 * number of ranks all answers are equal to the last bit (the device is deterministic), and ranks
 * compare what they draw. Exit code 77 without a device.
 */
#include <stdio.h>
#include <string.h>

#include "tests/unit/worker/world.h"
#include "worker/capture.h"

#include <check.h>

enum { NUM_REQUESTS = 4, MAX_TOKENS = 6, NUM_WAYS = 4 };

static struct {
    char **names;
    struct backend backend;
    int num_starts, num_behind, num_running;
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
    if (device == world.device) {
        the.num_starts++;
        the.num_behind += the.num_running > 0;
        the.num_running++;
    }
    return real->submit(device);
}

static int count_wait(struct device *device)
{
    if (device == world.device)
        the.num_running--;
    return real->wait(device);
}

/* --- answers -------------------------------------------------------------------------------------
 */

static void open_world(const struct way *way)
{
    the.backend = *real;
    the.backend.submit = count_submit;
    the.backend.wait = count_wait;
    the.num_starts = the.num_behind = the.num_running = 0;
    const struct world_setup setup = { .backend = &the.backend,
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
    world_open(&setup);
}

static void answer_all(const struct way *way, struct seat_answer *ret_answers)
{
    int32_t num_kept = 0;
    open_world(way);
    if (way->keeps)
        ck_assert_int_eq(capture_first(world.engine, &num_kept), 0);
    ck_assert_int_eq(num_kept > 0, way->keeps);
    for (unsigned i = 0; i < NUM_REQUESTS; i++) {
        struct world_asked a;
        world_ask(&a, i);
        a.params.max_tokens = MAX_TOKENS;
        a.params.min_tokens = 0;
        a.submit.num_prompt = 1 + a.submit.num_prompt % 16;
        seat_submit(&world.seat, i, &a.submit);
    }
    world_run(0, NUM_REQUESTS);
    memcpy(ret_answers, world.seat.answers, NUM_REQUESTS * sizeof(*ret_answers));
    for (int i = 0; i < NUM_REQUESTS; i++)
        ret_answers[i].num_waiting = ret_answers[i].cached_tokens = 0;
    while (engine_step(world.engine) > 0)
        ;
    printf("%d ranks, %s%s: %d steps, %d of them sent ahead\n", way->num_ranks,
           way->in_turn ? "in turn" : "ahead", way->keeps ? ", kept" : "", the.num_starts,
           the.num_behind);
    ck_assert(way->in_turn || way->num_ranks > 1 ? the.num_behind == 0
                                                 : the.num_behind > the.num_starts / 2);
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
    tcase_set_timeout(tests, 0); /* the build has one */
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    const bool failed = srunner_ntests_failed(runner) > 0;
    srunner_free(runner);
    return failed ? 1 : 0;
}
