/* Steps that a device keeps: which, when, and in all ranks the same ones. */
#include "worker/capture.h"

#include <string.h>

#include "tests/unit/runner.h"
#include "world.h"

enum { MAX_KEPT = 64 };

static const int32_t usual_rows[] = { 32, 24, 16, 8, 4, 2, 1, 0 };

/* The cpu backend with graphs, as it says. */
static struct backend keeper;
static const struct backend *real;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct device *device;
    int32_t rows[MAX_KEPT];
    int num;
} kept[CREW_MAX_RANKS];
static _Thread_local int32_t recorded; /* rows of the list */

static int32_t keeper_rows(const struct device *device, int32_t index)
{
    (void)device;
    return usual_rows[index < 8 ? index : 7];
}

static void keeper_sample(struct device *device, float *logits, int32_t num_vocab,
                          const struct sample_row *rows, int32_t num)
{
    recorded = num;
    real->sample(device, logits, num_vocab, rows, num);
}

static void keeper_capture(struct device *device)
{
    int i = 0;
    pthread_mutex_lock(&lock);
    while (kept[i].device != NULL && kept[i].device != device)
        i++;
    kept[i].device = device;
    kept[i].rows[kept[i].num++] = recorded;
    pthread_mutex_unlock(&lock);
}

static void open_world(int32_t num_ranks, int32_t num_seqs)
{
    struct world_setup setup = world_usual;
    struct error err;
    memset(kept, 0, sizeof(kept));
    ck_assert_int_eq(backend_open("cpu", &real, &err), 0);
    keeper = *real;
    keeper.graph_rows = keeper_rows;
    keeper.capture = keeper_capture;
    keeper.sample = keeper_sample;
    setup.backend = &keeper;
    setup.num_ranks = num_ranks;
    setup.num_seqs = num_seqs;
    setup.num_threads = 1;
    world_open(&setup);
}

static void check_kept(int rank, const int32_t *wanted, int num)
{
    ck_assert_int_eq(kept[rank].num, num);
    for (int i = 0; i < num; i++)
        ck_assert_int_eq(kept[rank].rows[i], wanted[i]);
}

START_TEST(the_largest_and_the_small_ones_come_first_the_rest_in_idle_moments)
{
    static const int32_t wanted[] = { 32, 8, 4, 2, 1, 24, 16 };
    int32_t num;
    open_world(1, 32);
    ck_assert_int_eq(capture_first(world.engine, &num), 0);
    ck_assert_int_eq(num, 5);
    world_submit(2);
    while (!seat_is_finished(&world.seat, 2)) { /* nothing while somebody waits */
        ck_assert_int_eq(engine_step(world.engine), 1);
        seat_take(&world.seat);
        ck_assert(kept[0].num == 5);
        if (!engine_is_empty(world.engine))
            ck_assert_int_eq(capture_next(world.engine), 0);
    }
    while (engine_step(world.engine) > 0)
        ;
    ck_assert_int_eq(capture_next(world.engine), 1);
    ck_assert_int_eq(capture_next(world.engine), 1);
    ck_assert_int_eq(capture_next(world.engine), 0);
    check_kept(0, wanted, 7);
    ck_assert(engine_is_empty(world.engine));
    world_close();
}
END_TEST

START_TEST(more_sequences_than_may_run_are_not_kept)
{
    static const int32_t wanted[] = { 16, 8, 4, 2, 1 };
    int32_t num;
    open_world(1, 20);
    ck_assert_int_eq(capture_first(world.engine, &num), 0);
    ck_assert_int_eq(num, 5);
    ck_assert_int_eq(capture_next(world.engine), 0);
    check_kept(0, wanted, 5);
    world_close();
}
END_TEST

START_TEST(all_ranks_keep_the_same_and_answer_as_before)
{
    static struct seat_answer before;
    int32_t num;
    open_world(2, 32);
    world_submit(2);
    world_run(2, 3);
    before = world.seat.answers[2];
    while (engine_step(world.engine) > 0)
        ;
    ck_assert_int_eq(capture_first(world.engine, &num), 0);
    while (capture_next(world.engine) > 0)
        ;
    struct world_asked a;
    world_ask(&a, 2);
    a.params.cache_high = 1;
    seat_submit(&world.seat, 3, &a.submit);
    world_run(3, 4);
    ck_assert_int_eq(kept[0].num, 7);
    ck_assert_int_eq(kept[1].num, 7);
    check_kept(1, kept[0].rows, 7);
    const struct seat_answer *after = &world.seat.answers[3];
    ck_assert_mem_eq(after->choices, before.choices, sizeof(before.choices));
    world_close();
}
END_TEST

RUN_SUITE("capture", the_largest_and_the_small_ones_come_first_the_rest_in_idle_moments,
          more_sequences_than_may_run_are_not_kept, all_ranks_keep_the_same_and_answer_as_before)
