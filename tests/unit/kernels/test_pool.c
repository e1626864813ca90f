#include "kernels/cpu/pool.h"

#include <stdatomic.h>
#include <unistd.h>

#include "fixture.h"

enum { MAX_THREADS = 6, PHASES = 40 };

struct count {
    struct pool *pool;
    int32_t num_threads;
    bool slow; /* thread 0 is late, so that the others fall asleep at the barrier */
    int32_t phases[MAX_THREADS];
    _Atomic int32_t num_bad;
};

/* After each barrier every thread has to see that all have done the phase before. */
static void count_phases(void *context, int32_t thread)
{
    struct count *count = context;
    for (int32_t phase = 1; phase <= PHASES; phase++) {
        if (count->slow && thread == 0 && phase % 16 == 0)
            usleep(200);
        count->phases[thread]++;
        pool_barrier(count->pool);
        for (int32_t t = 0; t < count->num_threads; t++)
            if (count->phases[t] != phase)
                atomic_fetch_add(&count->num_bad, 1);
        pool_barrier(count->pool);
    }
}

static void run_phases(int32_t num_threads, bool slow, int32_t times)
{
    struct count count = { .num_threads = num_threads, .slow = slow };
    ck_assert_int_eq(pool_open(num_threads, count_phases, &count, &count.pool), 0);
    for (int32_t i = 0; i < times; i++) {
        for (int32_t t = 0; t < num_threads; t++)
            count.phases[t] = 0;
        pool_start(count.pool);
        pool_wait(count.pool);
        for (int32_t t = 0; t < num_threads; t++)
            ck_assert_int_eq(count.phases[t], PHASES);
    }
    ck_assert_int_eq(count.num_bad, 0);
    pool_close(count.pool);
}

START_TEST(barrier_lets_no_thread_go_ahead)
{
    for (int32_t num_threads = 1; num_threads <= 3; num_threads++)
        run_phases(num_threads, false, 50);
    run_phases(MAX_THREADS, false, 4);
}
END_TEST

START_TEST(barrier_wakes_those_that_fell_asleep)
{
    run_phases(2, true, 20);
    run_phases(4, true, 5);
}
END_TEST

static void do_nothing(void *context, int32_t thread)
{
    (void)thread;
    atomic_fetch_add((_Atomic int32_t *)context, 1);
}

START_TEST(start_and_wait_follow_each_other_asleep_or_awake)
{
    _Atomic int32_t num_calls = 0;
    struct pool *pool;
    ck_assert_int_eq(pool_open(2, do_nothing, &num_calls, &pool), 0);
    for (int32_t i = 1; i <= 500; i++) {
        if (i % 50 == 0)
            usleep(300); /* longer than the threads spin */
        pool_start(pool);
        if (i % 3 == 0)
            usleep(20); /* done before it is waited for */
        pool_wait(pool);
        ck_assert_int_eq(num_calls, 2 * i);
    }
    pool_close(pool);
}
END_TEST

START_TEST(close_ends_a_pool_that_never_ran)
{
    _Atomic int32_t num_calls = 0;
    struct pool *pool;
    ck_assert_int_eq(pool_open(3, do_nothing, &num_calls, &pool), 0);
    pool_close(pool);
    pool_close(NULL);
    ck_assert_int_eq(num_calls, 0);
    ck_assert_int_ge(pool_num_cpus(), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    TCase *tests = tcase_create("pool");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, barrier_lets_no_thread_go_ahead);
    tcase_add_test(tests, barrier_wakes_those_that_fell_asleep);
    tcase_add_test(tests, start_and_wait_follow_each_other_asleep_or_awake);
    tcase_add_test(tests, close_ends_a_pool_that_never_ran);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
