#include "shm/comm.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { COMM_LEFT = 1 }; /* in a word; its count is the rest */

_Static_assert(sizeof(struct comm_page) % 64 == 0, "areas begin on a cache line");

static size_t area_bytes(struct comm_geometry g)
{
    return ((size_t)g.num_floats * sizeof(float) + 63) / 64 * 64;
}

struct segment_header comm_segment_header(struct comm_geometry g, int32_t rank, uint64_t epoch)
{
    const size_t plans = 2 * (size_t)(rank == 0 ? g.plan_bytes : comm_answer_bytes(g));
    return (struct segment_header){ .kind = SEGMENT_COMM,
                                    .epoch = epoch,
                                    .generation = (uint64_t)rank,
                                    .num_cells = (uint32_t)g.num_ranks,
                                    .bulk_bytes = g.num_floats,
                                    .size = sizeof(struct comm_page) + 2 * area_bytes(g) + plans };
}

struct comm_page *comm_page_of(const struct comm *comm, int32_t rank)
{
    return comm->segments[rank].base;
}

static float *area_of(const struct comm *comm, int32_t rank, uint32_t slot)
{
    unsigned char *first = (unsigned char *)(comm_page_of(comm, rank) + 1);
    return (float *)(void *)(first + slot * area_bytes(comm->geometry));
}

unsigned char *comm_plan_of(const struct comm *comm, uint32_t slot)
{
    unsigned char *first = (unsigned char *)area_of(comm, 0, 2);
    return first + slot * (size_t)comm->geometry.plan_bytes;
}

unsigned char *comm_answer_of(const struct comm *comm, int32_t rank, uint32_t slot)
{
    unsigned char *first = (unsigned char *)area_of(comm, rank, 2);
    return first + slot * (size_t)comm_answer_bytes(comm->geometry);
}

void comm_init(struct comm *comm, struct comm_geometry g, int32_t rank, int64_t timeout_us,
               const struct segment segments[])
{
    *comm = (struct comm){ .geometry = g, .rank = rank, .timeout_us = timeout_us };
    for (int32_t r = 0; r < g.num_ranks; r++) {
        comm->segments[r] = segments[r];
        comm->pidfds[r] = -1;
    }
    atomic_store_explicit(&comm_page_of(comm, rank)->pid, (uint32_t)getpid(), memory_order_release);
}

void comm_finish(struct comm *comm)
{
    if (comm->geometry.num_ranks == 0)
        return;
    comm_leave(comm, -EPIPE);
    for (int32_t r = 0; r < comm->geometry.num_ranks; r++) {
        if (comm->pidfds[r] >= 0)
            close(comm->pidfds[r]);
        segment_unmap(&comm->segments[r]);
    }
    *comm = (struct comm){ 0 };
}

/* --- words -------------------------------------------------------------------------------- */

/*
 * Owner: store the word; look at the sleepers. Sleeper: store `sleeping`; look at the word (the
 * kernel looks again). All are sequentially consistent, so one of them sees the other. Whoever
 * owns a word wakes it, so that nobody needs to write another's segment.
 */
static void wake(struct comm *comm, enum comm_word which)
{
    bool asleep = false;
    for (int32_t r = 0; r < comm->geometry.num_ranks; r++)
        asleep |= r != comm->rank &&
                  atomic_load_explicit(&comm_page_of(comm, r)->sleeping, memory_order_seq_cst) != 0;
    if (asleep)
        syscall(SYS_futex, &comm_page_of(comm, comm->rank)->words[which].value, FUTEX_WAKE, INT_MAX,
                NULL, NULL, 0);
}

static void store_word(struct comm *comm, enum comm_word which)
{
    const uint32_t left = comm->error != 0 ? COMM_LEFT : 0;
    atomic_store_explicit(&comm_page_of(comm, comm->rank)->words[which].value,
                          comm->counts[which] << 1 | left, memory_order_seq_cst);
    wake(comm, which);
}

void comm_raise(struct comm *comm, enum comm_word which)
{
    comm->counts[which]++;
    store_word(comm, which);
}

void comm_leave(struct comm *comm, int error)
{
    if (comm->error != 0)
        return;
    comm->error = error;
    for (int which = 0; which < COMM_NUM_WORDS; which++)
        store_word(comm, (enum comm_word)which);
}

static void cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* 1: reached; -EPIPE: never will; 0: not yet. */
static int judge(uint32_t word, uint32_t count)
{
    if ((int32_t)((word & ~(uint32_t)COMM_LEFT) - (count << 1)) >= 0)
        return 1;
    return (word & COMM_LEFT) != 0 ? -EPIPE : 0;
}

/* Has the process of a rank ended? Where the kernel cannot tell, the time limit must do. */
static bool has_ended(struct comm *comm, int32_t rank)
{
    const uint32_t pid = atomic_load_explicit(&comm_page_of(comm, rank)->pid, memory_order_acquire);
    if (pid == 0)
        return false;
    if (comm->pidfds[rank] < 0) {
        comm->pidfds[rank] = (int)syscall(SYS_pidfd_open, pid, 0);
        if (comm->pidfds[rank] < 0)
            return errno == ESRCH;
    }
    struct pollfd process = { .fd = comm->pidfds[rank], .events = POLLIN };
    return poll(&process, 1, 0) == 1;
}

static int sleep_on(struct comm *comm, int32_t rank, enum comm_word which, uint32_t count,
                    int64_t max_us)
{
    _Atomic uint32_t *word = &comm_page_of(comm, rank)->words[which].value;
    _Atomic uint32_t *sleeping = &comm_page_of(comm, comm->rank)->sleeping;
    const struct timespec span = { .tv_sec = max_us / 1000000, .tv_nsec = max_us % 1000000 * 1000 };
    atomic_store_explicit(sleeping, 1, memory_order_seq_cst);
    const uint32_t seen = atomic_load_explicit(word, memory_order_seq_cst);
    if (judge(seen, count) == 0)
        syscall(SYS_futex, word, FUTEX_WAIT, seen, &span, NULL, 0);
    atomic_store_explicit(sleeping, 0, memory_order_relaxed);
    return judge(atomic_load_explicit(word, memory_order_acquire), count);
}

static int spin_on(const _Atomic uint32_t *word, uint32_t count, int64_t deadline_us)
{
    int r;
    do {
        for (int i = 0; i < 64; i++) {
            r = judge(atomic_load_explicit(word, memory_order_acquire), count);
            if (r != 0)
                return r;
            cpu_pause();
        }
    } while (clock_now_us() < deadline_us);
    return 0;
}

int comm_wait(struct comm *comm, int32_t rank, enum comm_word which, uint32_t count,
              int64_t timeout_us)
{
    const _Atomic uint32_t *word = &comm_page_of(comm, rank)->words[which].value;
    int r = judge(atomic_load_explicit(word, memory_order_acquire), count);
    if (r != 0 || timeout_us <= 0)
        return r > 0 ? 0 : r < 0 ? r : -ETIMEDOUT;
    const int64_t start = clock_now_us(), end = start + timeout_us;
    r = spin_on(word, count, start + (timeout_us < COMM_SPIN_US ? timeout_us : COMM_SPIN_US));
    for (int64_t now = clock_now_us(); r == 0 && now < end; now = clock_now_us()) {
        r = sleep_on(comm, rank, which, count, end - now < COMM_LOOK_US ? end - now : COMM_LOOK_US);
        if (r == 0 && has_ended(comm, rank)) { /* what it stored last counts */
            r = judge(atomic_load_explicit(word, memory_order_acquire), count);
            r = r == 0 ? -EPIPE : r;
        }
    }
    return r > 0 ? 0 : r < 0 ? r : -ETIMEDOUT;
}

/* --- calls -------------------------------------------------------------------------------- */

static int give_up(struct comm *comm, int error)
{
    comm_leave(comm, error);
    return comm->error;
}

/* Say that the own area is filled; return when all are. */
static int meet(struct comm *comm, struct comm_shape shape)
{
    const uint32_t call = comm->counts[COMM_JOINED] + 1, slot = call % 2;
    comm_page_of(comm, comm->rank)->shapes[slot] = shape;
    comm_raise(comm, COMM_JOINED);
    for (int32_t r = 0; r < comm->geometry.num_ranks; r++) {
        if (r == comm->rank)
            continue;
        const int problem = comm_wait(comm, r, COMM_JOINED, call, comm->timeout_us);
        if (problem < 0)
            return give_up(comm, problem);
        const struct comm_shape theirs = comm_page_of(comm, r)->shapes[slot];
        if (theirs.rows != shape.rows || theirs.cols != shape.cols)
            return give_up(comm, -EPROTO);
    }
    return 0;
}

static uint32_t next_slot(const struct comm *comm)
{
    return (comm->counts[COMM_JOINED] + 1) % 2;
}

int comm_barrier(struct comm *comm)
{
    return comm->error != 0 ? comm->error : meet(comm, (struct comm_shape){ 0, 0 });
}

static void add_areas(const struct comm *comm, uint32_t slot, float *x, size_t num)
{
    memcpy(x, area_of(comm, 0, slot), num * sizeof(float));
    for (int32_t r = 1; r < comm->geometry.num_ranks; r++) {
        const float *theirs = area_of(comm, r, slot);
        for (size_t i = 0; i < num; i++)
            x[i] += theirs[i];
    }
}

int comm_all_reduce(struct comm *comm, float *x, uint64_t num)
{
    const size_t most = comm->geometry.num_floats;
    while (num > 0 && comm->error == 0) {
        const size_t n = num < most ? (size_t)num : most;
        const uint32_t slot = next_slot(comm);
        memcpy(area_of(comm, comm->rank, slot), x, n * sizeof(float));
        if (meet(comm, (struct comm_shape){ 1, (uint32_t)n }) == 0)
            add_areas(comm, slot, x, n);
        x += n;
        num -= n;
    }
    return comm->error;
}

/* A rectangle of rows, and of columns counted within each rank's own. */
struct window {
    uint32_t row, rows, col, cols;
};

static uint32_t share_cols(const struct comm *comm, int32_t rank, uint32_t total_cols)
{
    const int32_t n = comm->geometry.num_ranks;
    return comm_share(total_cols, rank + 1, n) - comm_share(total_cols, rank, n);
}

static uint32_t cols_inside(const struct window *window, uint32_t cols)
{
    const uint32_t rest = cols > window->col ? cols - window->col : 0;
    return rest < window->cols ? rest : window->cols;
}

static int gather_window(struct comm *comm, float *out, const float *own, uint32_t total_cols,
                         const struct window *window)
{
    const uint32_t slot = next_slot(comm);
    const size_t own_cols = share_cols(comm, comm->rank, total_cols);
    const uint32_t own_inside = cols_inside(window, (uint32_t)own_cols);
    float *area = area_of(comm, comm->rank, slot);
    for (uint32_t i = 0; i < window->rows; i++)
        memcpy(area + (size_t)i * window->cols, own + (window->row + i) * own_cols + window->col,
               own_inside * sizeof(float));
    const int r = meet(comm, (struct comm_shape){ window->rows, window->cols });
    for (int32_t p = 0; r == 0 && p < comm->geometry.num_ranks; p++) {
        const uint32_t inside = cols_inside(window, share_cols(comm, p, total_cols));
        float *to = out + comm_share(total_cols, p, comm->geometry.num_ranks) + window->col;
        for (uint32_t i = 0; i < window->rows; i++)
            memcpy(to + (size_t)(window->row + i) * total_cols,
                   area_of(comm, p, slot) + (size_t)i * window->cols, inside * sizeof(float));
    }
    return r;
}

int comm_all_gather(struct comm *comm, float *out, const float *own, uint32_t rows,
                    uint32_t total_cols)
{
    const uint32_t most = comm->geometry.num_floats, n = (uint32_t)comm->geometry.num_ranks;
    const uint32_t widest = total_cols / n + (total_cols % n != 0);
    const uint32_t cols = widest < most ? widest : most;
    const uint32_t num_rows = cols > 0 ? most / cols : 0;
    int r = comm->error;
    for (uint32_t row = 0; cols > 0 && r == 0 && row < rows; row += num_rows)
        for (uint32_t col = 0; r == 0 && col < widest; col += cols) {
            const struct window window = { row, rows - row < num_rows ? rows - row : num_rows, col,
                                           widest - col < cols ? widest - col : cols };
            r = gather_window(comm, out, own, total_cols, &window);
        }
    return r;
}
