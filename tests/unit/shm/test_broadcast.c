#include "shm/broadcast.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "ranks.h"
#include "tests/unit/runner.h"

enum { PLANS = 500, MAX_BYTES = 256, LONG_US = 50 * 1000 * 1000 };

static uint32_t make_plan(unsigned char *bytes, unsigned i)
{
    const uint32_t len = i * 37 % (MAX_BYTES + 1);
    memset(bytes, (int)(i % 251), len);
    return len;
}

static int follow(struct comm *comm)
{
    unsigned char got[MAX_BYTES], wanted[MAX_BYTES];
    uint32_t len;
    for (unsigned i = 1; i <= PLANS; i++) {
        int r;
        while ((r = broadcast_take(comm, got, &len, 1000)) == 0)
            ;
        if (r < 0 || len != make_plan(wanted, i) || memcmp(got, wanted, len) != 0)
            return 1;
        if (i % 50 == 0)
            usleep(1000u * (unsigned)comm->rank);
        broadcast_done(comm, NULL, 0);
    }
    return 0;
}

static int lead_or_follow(struct comm *comm)
{
    unsigned char bytes[MAX_BYTES];
    int r = 0;
    if (comm->rank != 0)
        r = follow(comm);
    for (unsigned i = 1; r == 0 && comm->rank == 0 && i <= PLANS; i++) {
        const uint32_t len = make_plan(bytes, i);
        r = broadcast_publish(comm, bytes, len);
    }
    return r != 0 ? r : comm_barrier(comm); /* so that nobody leaves early */
}

START_TEST(plans_reach_all_followers_whole_and_in_order)
{
    for (int32_t n = 2; n <= 4; n++)
        ck_assert_uint_eq(
            ranks_run((struct comm_geometry){ n, 8, MAX_BYTES }, LONG_US, lead_or_follow), 0);
}
END_TEST

/* --- answers ------------------------------------------------------------------------------ */

/* One plan ahead: takes plan i + 1 before it has finished plan i. */
static int answer_late(struct comm *comm)
{
    unsigned char got[MAX_BYTES];
    uint32_t len;
    unsigned answer[2] = { (unsigned)comm->rank, 0 };
    for (unsigned i = 1; i <= PLANS + 1; i++) {
        int r = 1;
        while (i <= PLANS && (r = broadcast_take(comm, got, &len, 1000)) == 0)
            ;
        if (r < 0)
            return 1;
        answer[1] = i - 1;
        if (i > 1)
            broadcast_done(comm, answer, sizeof(answer));
    }
    return 0;
}

static int hear(struct comm *comm, unsigned i)
{
    uint32_t len;
    if (broadcast_end(comm) < 0)
        return 2;
    for (int32_t r = 1; r < comm->geometry.num_ranks; r++) {
        const unsigned wanted[2] = { (unsigned)r, i };
        const void *answer = broadcast_answer(comm, r, &len);
        if (answer == NULL || len != sizeof(wanted) || memcmp(answer, wanted, len) != 0)
            return 3;
    }
    return 0;
}

static int lead_ahead_or_answer(struct comm *comm)
{
    unsigned char bytes[MAX_BYTES];
    int r = comm->rank != 0 ? answer_late(comm) : 0;
    for (unsigned i = 1; r == 0 && comm->rank == 0 && i <= PLANS + 1; i++) {
        if (i <= PLANS)
            r = broadcast_publish(comm, bytes, make_plan(bytes, i));
        if (r == 0 && i > 1)
            r = hear(comm, i - 1);
    }
    return r != 0 ? r : comm_barrier(comm);
}

START_TEST(answers_reach_the_leader_a_plan_behind)
{
    for (int32_t n = 2; n <= 4; n++)
        ck_assert_uint_eq(
            ranks_run((struct comm_geometry){ n, 8, MAX_BYTES }, LONG_US, lead_ahead_or_answer), 0);
}
END_TEST

static int lie_about_answer(struct comm *comm)
{
    unsigned char bytes[MAX_BYTES] = { 0 };
    uint32_t len;
    if (comm->rank == 0) {
        if (broadcast_publish(comm, bytes, 1) < 0 || broadcast_end(comm) < 0)
            return 1;
        return broadcast_answer(comm, 1, &len) == NULL ? comm_barrier(comm) : 2;
    }
    if (broadcast_take(comm, bytes, &len, LONG_US) != 1)
        return 3;
    comm_page_of(comm, 1)->plan_len[1] = comm_answer_bytes(comm->geometry) + 1;
    comm_raise(comm, COMM_DONE);
    return comm_barrier(comm);
}

START_TEST(an_answer_that_cannot_be_is_not_read)
{
    ck_assert_uint_eq(
        ranks_run((struct comm_geometry){ 2, 8, MAX_BYTES }, LONG_US, lie_about_answer), 0);
}
END_TEST

/* --- ends --------------------------------------------------------------------------------- */

static int lose_leader(struct comm *comm)
{
    unsigned char bytes[MAX_BYTES] = { 0 };
    uint32_t len;
    if (comm->rank == 0) {
        (void)broadcast_publish(comm, bytes, 10);
        raise(SIGKILL);
    }
    int r = broadcast_take(comm, bytes, &len, LONG_US); /* a plan that was published counts */
    if (r != 1 || len != 10)
        return 1;
    broadcast_done(comm, NULL, 0);
    while ((r = broadcast_take(comm, bytes, &len, LONG_US)) == 0)
        ;
    return r == -EPIPE ? 0 : 2;
}

START_TEST(the_death_of_the_leader_ends_the_followers_wait)
{
    ck_assert_uint_eq(ranks_run((struct comm_geometry){ 3, 8, MAX_BYTES }, LONG_US, lose_leader),
                      1);
}
END_TEST

static int lose_follower(struct comm *comm)
{
    unsigned char bytes[MAX_BYTES] = { 0 };
    uint32_t len;
    int r = 0;
    if (comm->rank == 2) {
        (void)broadcast_take(comm, bytes, &len, LONG_US);
        raise(SIGKILL);
    }
    if (comm->rank == 0) {
        for (int i = 0; r == 0 && i < 10; i++)
            r = broadcast_publish(comm, bytes, 1);
        return r == -EPIPE ? 0 : 1;
    }
    while ((r = broadcast_take(comm, bytes, &len, 1000)) >= 0)
        if (r == 1)
            broadcast_done(comm, NULL, 0);
    return r == -EPIPE ? 0 : 2; /* the leader left */
}

START_TEST(the_death_of_a_follower_ends_all)
{
    ck_assert_uint_eq(ranks_run((struct comm_geometry){ 3, 8, MAX_BYTES }, LONG_US, lose_follower),
                      1u << 2);
}
END_TEST

static int exceed(struct comm *comm)
{
    static unsigned char bytes[MAX_BYTES + 1];
    uint32_t len;
    if (comm->rank == 0)
        return broadcast_publish(comm, bytes, MAX_BYTES + 1) == -EMSGSIZE ? comm_barrier(comm) : 1;
    const int r = broadcast_take(comm, bytes, &len, 1000);
    return r == 0 ? comm_barrier(comm) : 2; /* nothing came, and that is ordinary */
}

START_TEST(a_plan_too_long_is_refused_and_harms_nobody)
{
    ck_assert_uint_eq(ranks_run((struct comm_geometry){ 2, 8, MAX_BYTES }, LONG_US, exceed), 0);
}
END_TEST

static int lie_about_length(struct comm *comm)
{
    static unsigned char bytes[MAX_BYTES];
    uint32_t len;
    if (comm->rank == 0) {
        comm_page_of(comm, 0)->plan_len[1] = MAX_BYTES + 1;
        comm_raise(comm, COMM_PLANNED);
        return comm_barrier(comm) == -EPIPE ? 0 : 1; /* the follower left */
    }
    return broadcast_take(comm, bytes, &len, LONG_US) == -EPROTO ? 0 : 2;
}

START_TEST(a_length_that_cannot_be_is_not_believed)
{
    ck_assert_uint_eq(
        ranks_run((struct comm_geometry){ 2, 8, MAX_BYTES }, LONG_US, lie_about_length), 0);
}
END_TEST

RUN_SUITE("broadcast", plans_reach_all_followers_whole_and_in_order,
          answers_reach_the_leader_a_plan_behind, an_answer_that_cannot_be_is_not_read,
          the_death_of_the_leader_ends_the_followers_wait, the_death_of_a_follower_ends_all,
          a_plan_too_long_is_refused_and_harms_nobody, a_length_that_cannot_be_is_not_believed)
