/*
 * bench_ring.c - what a ring costs: cells per second, and one-way latency awake and asleep
 *
 * Two processes; the peer echoes. One-way latency is half of a round trip. Prints a table.
 */
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/doorbell.h"
#include "shm/ring.h"

enum { THROUGHPUT_CELLS = 20000000, BATCH = 32, SPIN_TRIPS = 200000, SLEEP_TRIPS = 3000 };

static const struct ring_geometry geometry = { 16384, 1 << 20 };

struct side {
    struct ring_end end;
    int own_bell, peer_bell;
};

static void make(enum segment_kind kind, struct segment *ret_write, struct segment *ret_read)
{
    struct segment_header header = ring_segment_header(kind, geometry, 1, 1);
    struct error err;
    int write_fd, read_fd;
    if (segment_create(&header, &write_fd, &read_fd, &err) < 0 ||
        segment_map(ret_write, write_fd, true, &header, &err) < 0 ||
        segment_map(ret_read, read_fd, false, &header, &err) < 0) {
        fprintf(stderr, "bench_ring: %s\n", err.message);
        exit(EXIT_FAILURE);
    }
    close(write_fd);
    close(read_fd);
}

static void open_pair(struct side *a, struct side *b)
{
    struct segment a_write, a_read, b_write, b_read;
    make(SEGMENT_SUBMIT, &a_write, &a_read);
    make(SEGMENT_COMPLETE, &b_write, &b_read);
    ring_end_init(&a->end, a_write, geometry, b_read, geometry, 1, 1);
    ring_end_init(&b->end, b_write, geometry, a_read, geometry, 1, 1);
    if (doorbell_create(&a->own_bell) < 0 || doorbell_create(&b->own_bell) < 0)
        exit(EXIT_FAILURE);
    a->peer_bell = b->own_bell;
    b->peer_bell = a->own_bell;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void pin(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static void send_cell(struct side *side, uint64_t id)
{
    const struct ring_cell cell = { .kind = 1, .id = id };
    while (ring_push(&side->end, &cell, NULL, 0) != 0)
        ;
    if (ring_publish(&side->end))
        doorbell_ring(side->peer_bell);
}

static void receive_cell(struct side *side, bool sleeping)
{
    struct ring_cell cell;
    while (ring_pop(&side->end, &cell, NULL) == 0) {
        struct pollfd bell = { .fd = side->own_bell, .events = POLLIN };
        if (!sleeping || !ring_prepare_sleep(&side->end))
            continue;
        poll(&bell, 1, 1000);
        doorbell_clear(side->own_bell);
        ring_end_sleep(&side->end);
    }
    ring_release(&side->end);
}

static int compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static pid_t start_echo(struct side *side, int trips, bool sleeping)
{
    const pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(1);
    for (int i = 0; i < trips; i++) {
        receive_cell(side, sleeping);
        send_cell(side, (uint64_t)i);
    }
    _exit(0);
}

static void bench_latency(const char *name, int trips, bool sleeping, useconds_t idle_us)
{
    static int64_t ns[SPIN_TRIPS];
    struct side a, b;
    open_pair(&a, &b);
    const pid_t pid = start_echo(&b, trips, sleeping);
    for (int i = 0; i < trips; i++) {
        if (idle_us > 0)
            usleep(idle_us);
        const int64_t start = now_ns();
        send_cell(&a, (uint64_t)i);
        receive_cell(&a, sleeping);
        ns[i] = (now_ns() - start) / 2;
    }
    waitpid(pid, NULL, 0);
    qsort(ns, (size_t)trips, sizeof(ns[0]), compare);
    printf("%-34s p50 %8.2f us   p99 %8.2f us\n", name, (double)ns[trips / 2] / 1e3,
           (double)ns[trips / 100 * 99] / 1e3);
}

static void bench_throughput(void)
{
    struct side a, b;
    open_pair(&a, &b);
    const pid_t pid = fork();
    if (pid == 0) {
        const struct ring_cell cell = { .kind = 1 };
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(1);
        for (int i = 0; i < THROUGHPUT_CELLS;) {
            i += ring_push(&a.end, &cell, NULL, 0) == 0;
            if (i % BATCH == 0)
                ring_publish(&a.end);
        }
        ring_publish(&a.end);
        _exit(0);
    }
    struct ring_cell cell;
    const int64_t start = now_ns();
    for (int taken = 0; taken < THROUGHPUT_CELLS;) {
        if (ring_pop(&b.end, &cell, NULL) == 1)
            taken++;
        if (taken % BATCH == 0)
            ring_release(&b.end);
    }
    const double seconds = (double)(now_ns() - start) / 1e9;
    waitpid(pid, NULL, 0);
    printf("%-34s %.1f M cells/s\n", "throughput, publishing by 32",
           THROUGHPUT_CELLS / seconds / 1e6);
}

int main(void)
{
    pin(0);
    bench_throughput();
    bench_latency("one way, reader awake", SPIN_TRIPS, false, 0);
    bench_latency("one way, doorbell, back to back", SLEEP_TRIPS, true, 0);
    bench_latency("one way, doorbell, after 1 ms idle", SLEEP_TRIPS, true, 1000);
    return EXIT_SUCCESS;
}
