#include "kernels/cpu/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/*
 * A gate opens again and again: `turn` counts how often. Whoever waits for turn t to pass spins,
 * then announces itself in `sleepers` and sleeps while turn is still t.
 *
 * The opener stores turn, then loads sleepers; the sleeper stores sleepers, then loads turn (in
 * the kernel). All four are sequentially consistent, so at least one sees the other: either the
 * opener wakes, or the sleeper does not fall asleep.
 */
struct gate {
    _Alignas(64) _Atomic uint32_t turn;
    _Atomic uint32_t sleepers;
};

struct pool_thread {
    struct pool *pool;
    pthread_t id;
    int32_t index;
};

struct pool {
    struct gate start, done, meet;
    _Alignas(64) _Atomic int32_t num_meeting; /* threads that reached the barrier or the end */
    _Alignas(64) int32_t num_threads;
    int32_t num_started;  /* threads that exist: for a pool that is half built */
    uint32_t waited_turn; /* of `done`, seen by the caller */
    void (*work)(void *context, int32_t thread);
    void *context;
    bool stopping; /* written before `start` opens */
    struct pool_thread *threads;
};

static void cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void gate_open(struct gate *gate)
{
    atomic_fetch_add_explicit(&gate->turn, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&gate->sleepers, memory_order_seq_cst) > 0)
        syscall(SYS_futex, &gate->turn, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static bool gate_is_past(struct gate *gate, uint32_t turn)
{
    return atomic_load_explicit(&gate->turn, memory_order_acquire) != turn;
}

static bool gate_spin(struct gate *gate, uint32_t turn, int64_t spin_us)
{
    const int64_t deadline_us = clock_now_us() + spin_us;
    do {
        for (int i = 0; i < 64; i++) {
            if (gate_is_past(gate, turn))
                return true;
            cpu_pause();
        }
    } while (clock_now_us() < deadline_us);
    return false;
}

/* Return once the gate has opened after `turn` was read from it. */
static void gate_wait(struct gate *gate, uint32_t turn, int64_t spin_us)
{
    if (gate_is_past(gate, turn) || (spin_us > 0 && gate_spin(gate, turn, spin_us)))
        return;

    atomic_fetch_add_explicit(&gate->sleepers, 1, memory_order_seq_cst);
    while (!gate_is_past(gate, turn))
        syscall(SYS_futex, &gate->turn, FUTEX_WAIT_PRIVATE, turn, NULL, NULL, 0);
    atomic_fetch_sub_explicit(&gate->sleepers, 1, memory_order_relaxed);
}

/* The same until `deadline_us`. Returns whether the gate has opened. */
static bool gate_wait_until(struct gate *gate, uint32_t turn, int64_t deadline_us)
{
    atomic_fetch_add_explicit(&gate->sleepers, 1, memory_order_seq_cst);
    int64_t left_us;
    while (!gate_is_past(gate, turn) && (left_us = deadline_us - clock_now_us()) > 0) {
        const struct timespec left = { .tv_sec = left_us / 1000000,
                                       .tv_nsec = left_us % 1000000 * 1000 };
        syscall(SYS_futex, &gate->turn, FUTEX_WAIT_PRIVATE, turn, &left, NULL, 0);
    }
    atomic_fetch_sub_explicit(&gate->sleepers, 1, memory_order_relaxed);
    return gate_is_past(gate, turn);
}

/* True for the last of the threads to arrive. The others' writes are then visible to it. */
static bool pool_is_last(struct pool *pool)
{
    if (atomic_fetch_add_explicit(&pool->num_meeting, 1, memory_order_acq_rel) + 1 <
        pool->num_threads)
        return false;
    atomic_store_explicit(&pool->num_meeting, 0, memory_order_relaxed); /* published by the gate */
    return true;
}

void pool_barrier(struct pool *pool)
{
    if (pool->num_threads == 1)
        return;
    /* Read before arriving: the gate cannot open before this thread has arrived. */
    const uint32_t turn = atomic_load_explicit(&pool->meet.turn, memory_order_relaxed);
    if (pool_is_last(pool))
        gate_open(&pool->meet);
    else
        gate_wait(&pool->meet, turn, POOL_SPIN_US);
}

static void *pool_thread_main(void *argument)
{
    struct pool_thread *thread = argument;
    struct pool *pool = thread->pool;

    for (uint32_t turn = 0;; turn++) {
        gate_wait(&pool->start, turn, POOL_SPIN_US);
        if (pool->stopping)
            return NULL;
        pool->work(pool->context, thread->index);
        if (pool_is_last(pool))
            gate_open(&pool->done);
    }
}

void pool_start(struct pool *pool)
{
    gate_open(&pool->start);
}

void pool_wait(struct pool *pool)
{
    gate_wait(&pool->done, pool->waited_turn, 0);
    pool->waited_turn++;
}

bool pool_wait_for(struct pool *pool, int64_t us)
{
    if (!gate_wait_until(&pool->done, pool->waited_turn, clock_now_us() + us))
        return false;
    pool->waited_turn++;
    return true;
}

static int create_threads(struct pool *pool)
{
    int r = 0;
    for (int32_t i = 0; i < pool->num_threads && r == 0; i++) {
        pool->threads[i] = (struct pool_thread){ .pool = pool, .index = i };
        r = pthread_create(&pool->threads[i].id, NULL, pool_thread_main, &pool->threads[i]);
        if (r == 0)
            pool->num_started++;
    }
    return -r;
}

/* One thread per allowed CPU. A refusal leaves the thread floating: only speed depends on it. */
static void pin_threads(struct pool *pool)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0 ||
        CPU_COUNT(&allowed) != pool->num_threads)
        return;

    int32_t thread = 0;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed))
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        (void)pthread_setaffinity_np(pool->threads[thread++].id, sizeof(one), &one);
    }
}

int pool_open(int32_t num_threads, void (*work)(void *context, int32_t thread), void *context,
              struct pool **ret_pool)
{
    struct pool *pool = aligned_alloc(64, sizeof(*pool));
    if (!pool)
        return -ENOMEM;
    *pool = (struct pool){ .num_threads = num_threads, .work = work, .context = context };
    pool->threads = calloc((size_t)num_threads, sizeof(*pool->threads));
    if (!pool->threads) {
        pool_close(pool);
        return -ENOMEM;
    }

    sigset_t all, before; /* signals are for the threads of the role, not for these */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int r = create_threads(pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r < 0) {
        pool_close(pool);
        return r;
    }
    pin_threads(pool);
    *ret_pool = pool;
    return 0;
}

void pool_close(struct pool *pool)
{
    if (!pool)
        return;
    pool->stopping = true;
    gate_open(&pool->start);
    for (int32_t i = 0; i < pool->num_started; i++)
        pthread_join(pool->threads[i].id, NULL);
    free(pool->threads);
    free(pool);
}

/* CPUs granted by the quota of this process's cgroup (version 2), or INT32_MAX. */
static int32_t quota_cpus(void)
{
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file)
        return INT32_MAX;

    long long quota_us = 0, period_us = 0;
    const int fields = fscanf(file, "%lld %lld", &quota_us, &period_us);
    fclose(file);
    if (fields != 2 || quota_us <= 0 || period_us <= 0 || quota_us / period_us >= INT32_MAX)
        return INT32_MAX;
    return (int32_t)((quota_us + period_us - 1) / period_us);
}

int32_t pool_num_cpus(void)
{
    cpu_set_t allowed;
    const int32_t num_allowed = sched_getaffinity(0, sizeof(allowed), &allowed) == 0
                                    ? (int32_t)CPU_COUNT(&allowed)
                                    : (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
    const int32_t quota = quota_cpus();
    const int32_t num = num_allowed < quota ? num_allowed : quota;
    return num < 1 ? 1 : num;
}
