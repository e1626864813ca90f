/*
 * pool.h - a fixed set of threads that run one function together, again and again
 *
 * pool_start() lets every thread call work(context, thread) once; pool_wait() returns when all
 * have returned. Inside, pool_barrier() lets the threads meet. A thread that has nothing to do
 * spins for at most POOL_SPIN_US, then sleeps on a futex; the waiting caller sleeps at once, so
 * that it does not take the place of a thread that computes. After pool_open() nothing
 * allocates, and futex is the only system call.
 */
#ifndef KERNELS_CPU_POOL_H
#define KERNELS_CPU_POOL_H

#include <stdbool.h>
#include <stdint.h>

enum { POOL_SPIN_US = 50 };

struct pool;

/* The number of CPUs this process may run on: its affinity and its cgroup's quota, rounded up. */
int32_t pool_num_cpus(void);

/*
 * Start `num_threads` >= 1 threads. They are pinned, one per allowed CPU, when they number as
 * many as these; else they float, because which CPUs to leave to others is the host's decision.
 *
 * Returns 0, -ENOMEM, or the error of thread creation (-EAGAIN).
 */
int pool_open(int32_t num_threads, void (*work)(void *context, int32_t thread), void *context,
              struct pool **ret_pool);
void pool_close(struct pool *pool); /* accepts NULL and a pool at rest */

/* One thread calls these two, in turn: start, wait, start, wait. What it wrote before start is
 * seen by the threads; what they wrote is seen after wait. */
void pool_start(struct pool *pool);
void pool_wait(struct pool *pool);

/* Wait for `us` at most. Returns whether all have returned: then it was the wait. */
bool pool_wait_for(struct pool *pool, int64_t us);

/* Called by every thread, from within work: none returns before all have called. */
void pool_barrier(struct pool *pool);

#endif
