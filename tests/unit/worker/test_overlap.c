/* Steps that are planned while the one before runs: what frontends and survivors see of it. */
#include "worker/engine.h"

#include <string.h>

#include "tests/unit/runner.h"
#include "world.h"

/* The cpu backend, listened to. */
static struct backend heard;
static struct {
    bool is_running,
        is_behind;             /* lists: one runs, and one more was given to a device that queues */
    int num_starts, num_ahead; /* lists; of them recorded while another ran */
    int num_behind;            /* of them submitted while another ran */
    bool was_begun_ahead;
    uint64_t last_step;
    void (*at_start)(void);
    void (*at_look)(void); /* while a list runs */
} ears;

static void hear_begin(struct device *device)
{
    ears.was_begun_ahead = ears.is_running;
    if (ears.is_running) /* it is still known who takes part in that one */
        ck_assert_ptr_nonnull(status_find_step(world.page, world.page->step + 1));
    world.backend->begin(device);
}

static int hear_submit(struct device *device)
{
    ck_assert(!ears.is_running || (heard.queues && !ears.is_behind));
    ears.num_starts++;
    ears.num_ahead += ears.was_begun_ahead;
    ears.num_behind += ears.is_behind = ears.is_running;
    ears.is_running = true;
    if (ears.at_start != NULL)
        ears.at_start();
    return world.backend->submit(device);
}

/* A device that queues: its older list is over when the other was submitted, as nobody knows. */
static int hear_wait(struct device *device)
{
    const bool was_behind = ears.is_behind;
    ears.is_running = was_behind;
    ears.is_behind = false;
    return was_behind ? 0 : world.backend->wait(device);
}

static int hear_wait_for(struct device *device, int64_t us)
{
    if (ears.at_look != NULL)
        ears.at_look();
    return world.backend->wait_for(device, us);
}

enum order { IN_TURN, AHEAD, QUEUED };

/* A world whose engine is listened to. */
static void open_world_of(const struct world_setup *setup, enum order order)
{
    struct error err;
    world_open(setup);
    seat_close(&world.seat);
    engine_destroy(world.engine);
    memset(&ears, 0, sizeof(ears));
    heard = *world.backend;
    heard.queues = order == QUEUED;
    heard.begin = hear_begin;
    heard.submit = hear_submit;
    heard.wait = hear_wait;
    heard.wait_for = hear_wait_for;
    const struct engine_options options = { .backend = &heard,
                                            .device = world.device,
                                            .model = world.model,
                                            .limits = world.limits,
                                            .page = world.page,
                                            .doorbell = world.doorbell,
                                            .without_overlap = order == IN_TURN };
    ck_assert_int_eq(engine_create(&options, &world.engine, &err), 0);
    seat_open(&world.seat, world.engine, WORLD_SEAT, setup->complete_cells);
}

static void open_world(const struct world_setup *setup)
{
    open_world_of(setup, AHEAD);
}

static void close_world(void)
{
    ck_assert(engine_is_empty(world.engine));
    ck_assert(!ears.is_running);
    world_close();
}

/* --- the same answers --------------------------------------------------------------------- */

static const struct world_setup setups[] = {
    { .budget = 512, .num_seqs = 32, .num_blocks = 512, .num_threads = 2 },
    { .budget = 7, .num_seqs = 32, .num_blocks = 512, .num_threads = 1 },
    { .budget = 512, .num_seqs = 5, .num_blocks = 512, .num_threads = 2 },
    { .budget = 64, .num_seqs = 32, .num_blocks = 20, .num_threads = 2 }, /* preempts */
};

static void answer_all(const struct world_setup *from, enum order order,
                       struct seat_answer *ret_answers)
{
    struct world_setup setup = *from;
    setup.kv_dtype = DTYPE_F16;
    setup.complete_cells = 4096;
    open_world_of(&setup, order);
    for (unsigned i = 0; i < WORLD_NUM_REQUESTS; i++)
        world_submit(i);
    world_run(0, WORLD_NUM_REQUESTS);
    memcpy(ret_answers, world.seat.answers, WORLD_NUM_REQUESTS * sizeof(*ret_answers));
    for (int i = 0; i < WORLD_NUM_REQUESTS; i++)
        ret_answers[i].num_waiting = ret_answers[i].cached_tokens = 0; /* what it met may differ */
    if (order == IN_TURN)
        ck_assert_int_eq(ears.num_ahead, 0);
    else
        ck_assert_int_gt(ears.num_ahead, ears.num_starts / 2);
    ck_assert_int_eq(ears.num_behind, order == QUEUED ? ears.num_ahead : 0);
    close_world();
}

START_TEST(answers_are_the_same_in_all_orders)
{
    static struct seat_answer answers[QUEUED + 1][WORLD_NUM_REQUESTS];
    for (size_t s = 0; s < sizeof(setups) / sizeof(setups[0]); s++) {
        for (int order = IN_TURN; order <= QUEUED; order++)
            answer_all(&setups[s], (enum order)order, answers[order]);
        for (int order = AHEAD; order <= QUEUED; order++)
            for (int i = 0; i < WORLD_NUM_REQUESTS; i++)
                ck_assert_msg(
                    memcmp(&answers[order][i], &answers[IN_TURN][i], sizeof(answers[0][0])) == 0,
                    "request %d of setup %zu differs in order %d", i, s, order);
    }
}
END_TEST

/* --- late stops --------------------------------------------------------------------------- */

static const struct seat_choice *answer_greedily(struct world_asked *a, unsigned id)
{
    a->params.temperature = 0;
    a->params.repetition_penalty = 1;
    a->params.num_logprobs = -1;
    seat_submit(&world.seat, id, &a->submit);
    world_run(id, id + 1);
    return &world.seat.answers[id].choices[0];
}

/* The row too many computes the stop id's position, the last of a page. */
START_TEST(a_stop_that_is_seen_late_leaves_no_page)
{
    struct world_asked a;
    open_world(&world_usual);
    const struct seat_choice *whole;
    world_ask(&a, 2);
    a.submit.num_prompt = 14;
    a.params.max_tokens = 8;
    a.params.flags = RECORD_IGNORE_EOS;
    do { /* until its answer does not begin with a repetition */
        a.prompt[0]++;
        whole = answer_greedily(&a, 1);
    } while (whole->tokens[0] == whole->tokens[1]);
    const int32_t first = whole->tokens[0], second = whole->tokens[1];
    a.params.cache_high = 1; /* what the first one left is not for those that follow */
    a.params.flags = 0;
    a.eos_ids[0] = second;
    const int before = ears.num_starts;
    ck_assert_int_eq(answer_greedily(&a, 2)->done.reason, RECORD_FINISH_EOS);
    ck_assert_int_eq(world.seat.answers[2].choices[0].num_tokens, 2);
    ck_assert_int_eq(ears.num_starts - before, 3); /* one too many */

    a.prompt[14] = first;
    a.prompt[15] = second;
    a.submit.num_prompt = 20;
    a.params.max_tokens = 1;
    (void)answer_greedily(&a, 3);
    ck_assert_uint_eq(world.seat.answers[3].cached_tokens, 0);
    (void)answer_greedily(&a, 4);
    ck_assert_uint_eq(world.seat.answers[4].cached_tokens, 16);
    close_world();
}
END_TEST

START_TEST(a_length_that_is_known_costs_no_row)
{
    struct world_asked a;
    open_world(&world_usual);
    world_ask(&a, 2);
    a.submit.num_prompt = 14;
    a.params.max_tokens = 8;
    a.params.flags = RECORD_IGNORE_EOS;
    (void)answer_greedily(&a, 1);
    ck_assert_int_eq(ears.num_starts, 8);
    close_world();
}
END_TEST

START_TEST(cancel_while_a_step_runs_frees_everything_in_the_next)
{
    open_world(&world_usual);
    for (unsigned i = 0; i < 6; i++)
        world_submit(i);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(engine_step(world.engine), 1);
    ck_assert(ears.is_running);
    for (unsigned i = 0; i < 6; i++)
        seat_cancel(&world.seat, i);
    ck_assert_int_eq(engine_step(world.engine), 1);
    ck_assert_int_eq(engine_step(world.engine), 0);
    close_world();
}
END_TEST

/* --- who is to blame ---------------------------------------------------------------------- */

static int num_named;

/* The page names the step that begins, everybody in it, and nobody else. */
static void check_page(void)
{
    const uint64_t number = world.page->step + 1;
    const struct status_step *step = status_find_step(world.page, number);
    ck_assert_ptr_nonnull(step);
    ck_assert_uint_eq(number, ears.last_step + 1);
    ears.last_step = number;
    ck_assert_uint_gt(step->num_requests, 0);
    for (uint32_t i = 0; i < step->num_requests; i++) {
        ck_assert_uint_lt(step->requests[i].id, 8);
        ck_assert(!seat_is_finished(&world.seat, step->requests[i].id));
        for (uint32_t k = 0; k < i; k++)
            ck_assert_uint_ne(step->requests[k].id, step->requests[i].id);
    }
    num_named += (int)step->num_requests;
}

START_TEST(the_page_names_the_step_that_runs)
{
    open_world(&world_usual);
    ears.at_start = check_page;
    for (unsigned i = 0; i < 8; i++)
        world_submit(i);
    world_run(0, 8);
    ck_assert_int_gt(num_named, 3 * ears.num_starts);
    ck_assert_int_gt(ears.num_ahead, 0);
    close_world();
}
END_TEST

/* Of two lists that the device has, both are named, the younger one as sent. */
static void check_sent(void)
{
    const struct status_step *steps[STATUS_MAX_SENT];
    const int num = status_sent_steps(world.page, steps);
    ck_assert_int_eq(num, 1 + ears.is_behind);
    for (int k = 0; k < num; k++)
        ck_assert_uint_eq(steps[k]->number, world.page->step + 1 + (uint64_t)k);
    ck_assert_uint_gt(steps[num - 1]->num_requests, 0);
}

START_TEST(the_page_names_both_steps_that_a_device_has)
{
    open_world_of(&world_usual, QUEUED);
    ears.at_start = check_sent;
    for (unsigned i = 0; i < 8; i++)
        world_submit(i);
    world_run(0, 8);
    ck_assert_int_gt(ears.num_behind, 0);
    ck_assert_uint_eq(world.page->step, (uint64_t)ears.num_starts);
    close_world();
}
END_TEST

static void check_turn(void)
{
    const struct status_step *step = status_find_step(world.page, world.page->step + 1);
    ck_assert(!ears.was_begun_ahead && !ears.is_behind);
    for (uint32_t i = 0; i < step->num_requests; i++)
        ck_assert(step->requests[i].id != 3 || step->num_requests == 1);
}

static void run_suspect(enum order order)
{
    struct world_asked a;
    open_world_of(&world_usual, order);
    for (unsigned i = 0; i < 3; i++)
        world_submit(i);
    for (int i = 0; i < 3; i++)
        engine_step(world.engine);
    ck_assert(ears.is_running);
    world_ask(&a, 3);
    a.params.flags |= RECORD_SUSPECT;
    seat_submit(&world.seat, 3, &a.submit);
    ears.at_start = check_turn;
    world_run(3, 4);
    ears.at_start = NULL;
    world_run(0, 3);
    close_world();
}

START_TEST(nothing_is_planned_beside_a_suspect)
{
    run_suspect(AHEAD);
    run_suspect(QUEUED);
}
END_TEST

/* --- long steps --------------------------------------------------------------------------- */

static void submit_late(void)
{
    ck_assert(ears.is_running);
    ears.at_look = NULL;
    world_submit(1);
}

static bool is_second_in_step;

static void look_for_second(void)
{
    const struct status_step *step = status_find_step(world.page, world.page->step + 1);
    is_second_in_step = false;
    for (uint32_t i = 0; i < step->num_requests; i++)
        is_second_in_step |= step->requests[i].id == 1;
}

START_TEST(what_comes_while_a_long_step_runs_takes_part_in_the_next)
{
    open_world(&world_usual);
    engine_set_cost(world.engine, 1e6, 0); /* so the engine believes */
    world_submit(0);
    ck_assert_int_eq(engine_step(world.engine), 1);
    ears.at_look = submit_late;
    ears.at_start = look_for_second;
    ck_assert_int_eq(engine_step(world.engine), 1);
    seat_take(&world.seat);
    ck_assert(world.seat.answers[1].is_started);
    ck_assert(is_second_in_step);
    world_run(0, 2);
    close_world();
}
END_TEST

RUN_SUITE("overlap", answers_are_the_same_in_all_orders, a_stop_that_is_seen_late_leaves_no_page,
          a_length_that_is_known_costs_no_row,
          cancel_while_a_step_runs_frees_everything_in_the_next, the_page_names_the_step_that_runs,
          the_page_names_both_steps_that_a_device_has, nothing_is_planned_beside_a_suspect,
          what_comes_while_a_long_step_runs_takes_part_in_the_next)
