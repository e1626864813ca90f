#include "shm/comm.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ranks.h"
#include "tests/unit/runner.h"

enum { NUM = 1000, CALLS = 200, LONG_US = 50 * 1000 * 1000, SHORT_US = 100 * 1000 };

/* Sums of these depend on their order. */
static float term(int32_t rank, int32_t i, int32_t call)
{
    const uint32_t x = (uint32_t)(rank * 7919 + i * 104729 + call * 1299709) * 2654435761u;
    return (float)(int32_t)x * (i % 3 == 0 ? 1e-3f : 1e3f);
}

static int sum_often(struct comm *comm)
{
    static float x[NUM];
    for (int32_t call = 0; call < CALLS; call++) {
        const int32_t num = call % 10 == 0 ? NUM : 1 + call % 40;
        for (int32_t i = 0; i < num; i++)
            x[i] = term(comm->rank, i, call);
        if (comm_all_reduce(comm, x, (uint64_t)num) != 0)
            return 1;
        for (int32_t i = 0; i < num; i++) {
            float sum = term(0, i, call);
            for (int32_t r = 1; r < comm->geometry.num_ranks; r++)
                sum += term(r, i, call);
            if (memcmp(&sum, &x[i], sizeof(sum)) != 0)
                return 2;
        }
    }
    return 0;
}

START_TEST(sums_follow_the_order_of_ranks_bit_for_bit)
{
    for (int32_t n = 1; n <= 4; n++) {
        const struct comm_geometry g = { n, 64, 0 }; /* 1000 floats are 16 pieces */
        ck_assert_uint_eq(ranks_run(g, LONG_US, sum_often), 0);
    }
}
END_TEST

enum { ROWS = 7, COLS = 101 };

static int gather(struct comm *comm)
{
    static float own[ROWS * COLS], out[ROWS * COLS];
    const int32_t n = comm->geometry.num_ranks;
    const int32_t first = (int32_t)comm_share(COLS, comm->rank, n);
    const int32_t cols = (int32_t)comm_share(COLS, comm->rank + 1, n) - first;
    for (int32_t i = 0; i < ROWS; i++)
        for (int32_t c = 0; c < cols; c++)
            own[i * cols + c] = (float)(i * COLS + first + c);
    if (comm_all_gather(comm, out, own, ROWS, COLS) != 0)
        return 1;
    for (int32_t i = 0; i < ROWS * COLS; i++)
        if (out[i] != (float)i)
            return 2;
    return 0;
}

START_TEST(columns_of_all_ranks_come_together_whatever_the_size_of_an_area)
{
    static const uint32_t areas[] = { 8192, 120, 51, 13, 1 };
    for (size_t a = 0; a < sizeof(areas) / sizeof(areas[0]); a++)
        for (int32_t n = 1; n <= 4; n++)
            ck_assert_uint_eq(ranks_run((struct comm_geometry){ n, areas[a], 0 }, LONG_US, gather),
                              0);
}
END_TEST

/* The last rank dies in the midst; the others' limit is far away. */
static int lose_one(struct comm *comm)
{
    float x[8] = { 0 };
    for (int call = 0; call < 5; call++)
        if (comm_all_reduce(comm, x, 8) != 0)
            return 1;
    if (comm->rank == comm->geometry.num_ranks - 1)
        raise(SIGKILL);
    if (comm_all_reduce(comm, x, 8) != -EPIPE)
        return 2;
    return comm_barrier(comm) == -EPIPE ? 0 : 3; /* for good */
}

START_TEST(a_killed_rank_is_noticed_without_its_help)
{
    for (int32_t n = 2; n <= 4; n++)
        ck_assert_uint_eq(ranks_run((struct comm_geometry){ n, 8, 0 }, LONG_US, lose_one),
                          1u << (n - 1));
}
END_TEST

static int stand_still(struct comm *comm)
{
    if (comm_barrier(comm) != 0)
        return 1;
    if (comm->rank == 1)
        sleep(3600); /* until the parent is killed, or this process by rank 0 */
    const int r = comm_barrier(comm);
    kill((pid_t)comm_page_of(comm, 1)->pid, SIGKILL);
    return r == -ETIMEDOUT ? 0 : 2;
}

START_TEST(a_rank_that_does_not_come_is_waited_for_until_the_limit)
{
    ck_assert_uint_eq(ranks_run((struct comm_geometry){ 2, 8, 0 }, SHORT_US, stand_still), 1u << 1);
}
END_TEST

static int part_ways(struct comm *comm)
{
    float x[8] = { 0 };
    const int r = comm_all_reduce(comm, x, comm->rank == 0 ? 8 : 7);
    return r == -EPROTO || r == -EPIPE ? 0 : 1; /* the first to see it leaves */
}

START_TEST(ranks_that_make_other_calls_are_noticed)
{
    ck_assert_uint_eq(ranks_run((struct comm_geometry){ 2, 8, 0 }, LONG_US, part_ways), 0);
}
END_TEST

static int leave(struct comm *comm)
{
    if (comm_barrier(comm) != 0)
        return 1;
    if (comm->rank == 0)
        return 0; /* comm_finish() leaves */
    return comm_barrier(comm) == -EPIPE ? 0 : 2;
}

START_TEST(who_leaves_is_not_waited_for)
{
    ck_assert_uint_eq(ranks_run((struct comm_geometry){ 3, 8, 0 }, LONG_US, leave), 0);
}
END_TEST

RUN_SUITE("comm", sums_follow_the_order_of_ranks_bit_for_bit,
          columns_of_all_ranks_come_together_whatever_the_size_of_an_area,
          a_killed_rank_is_noticed_without_its_help,
          a_rank_that_does_not_come_is_waited_for_until_the_limit,
          ranks_that_make_other_calls_are_noticed, who_leaves_is_not_waited_for)
