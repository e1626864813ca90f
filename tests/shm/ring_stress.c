/*
 * ring_stress.c - a producer and a consumer process on one ring, with random sizes and sleeps
 *
 *     ring_stress [MESSAGES]            two processes, order and bytes checked, doorbells used
 *     ring_stress [MESSAGES] threads    the same with two threads, for ThreadSanitizer
 *     ring_stress KILLS kills           the producer is killed at a random instant, KILLS times;
 *                                       the consumer must see whole messages only
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/doorbell.h"
#include "shm/ring.h"

enum { MAX_BULK = 2048 };

static const struct ring_geometry geometry = { 64, 16384 };

struct side {
    struct ring_end end;
    int own_bell, peer_bell;
    uint64_t num;
    uint64_t received;
    uint32_t random;
};

static void die(const char *what, uint64_t at)
{
    fprintf(stderr, "ring_stress: %s at message %llu\n", what, (unsigned long long)at);
    exit(EXIT_FAILURE);
}

static uint32_t next_random(struct side *side)
{
    side->random = side->random * 1664525u + 1013904223u;
    return side->random >> 8;
}

static uint32_t size_of(uint64_t i)
{
    return (uint32_t)(i * 2654435761u >> 7) % (MAX_BULK / 4 + 1) * 4;
}

static void fill(unsigned char *bytes, uint32_t len, uint64_t i)
{
    for (uint32_t k = 0; k < len; k++)
        bytes[k] = (unsigned char)(i * 31 + k);
}

static void sleep_on(struct side *side)
{
    struct pollfd bell = { .fd = side->own_bell, .events = POLLIN };
    if (!ring_prepare_sleep(&side->end))
        return;
    if (poll(&bell, 1, 10000) != 1)
        die("a wake-up was lost", side->received);
    doorbell_clear(side->own_bell);
    ring_end_sleep(&side->end);
}

static void *produce(void *arg)
{
    struct side *side = arg;
    unsigned char bytes[MAX_BULK];
    for (uint64_t i = 0; i < side->num;) {
        const struct ring_cell cell = { .kind = 1, .id = i, .pos = (uint32_t)i };
        const uint32_t len = i % 3 == 0 ? size_of(i) : 0;
        fill(bytes, len, i);
        if (ring_push(&side->end, &cell, bytes, len) == 0)
            i++;
        else
            sched_yield();
        if (next_random(side) % 8 == 0 || ring_room(&side->end) == 0 ||
            !ring_bulk_fits(&side->end, MAX_BULK))
            if (ring_publish(&side->end))
                doorbell_ring(side->peer_bell);
    }
    if (ring_publish(&side->end))
        doorbell_ring(side->peer_bell);
    return NULL;
}

/* Take what is there; false when nothing was. */
static bool take(struct side *side)
{
    unsigned char bytes[MAX_BULK], wanted[MAX_BULK];
    struct ring_cell cell;
    struct error err;
    bool any = false;
    int r;
    while ((r = ring_pop(&side->end, &cell, &err)) == 1) {
        if (cell.id != side->received || cell.pos != (uint32_t)cell.id)
            die("order broken", side->received);
        if (cell.bulk_len != (cell.id % 3 == 0 ? size_of(cell.id) : 0))
            die("wrong bulk length", side->received);
        ring_pop_bulk(&side->end, &cell, bytes);
        fill(wanted, cell.bulk_len, cell.id);
        if (memcmp(bytes, wanted, cell.bulk_len) != 0)
            die("wrong bulk bytes", side->received);
        side->received++;
        any = true;
        if (next_random(side) % 4 == 0)
            ring_release(&side->end);
    }
    if (r < 0)
        die(err.message, side->received);
    ring_release(&side->end);
    return any;
}

static void *consume(void *arg)
{
    struct side *side = arg;
    while (side->received < side->num)
        if (!take(side))
            sleep_on(side);
    return NULL;
}

static void make(enum segment_kind kind, struct segment *ret_write, struct segment *ret_read)
{
    struct segment_header header = ring_segment_header(kind, geometry, 1, 2);
    struct error err;
    int write_fd, read_fd;
    if (segment_create(&header, &write_fd, &read_fd, &err) < 0 ||
        segment_map(ret_write, write_fd, true, &header, &err) < 0 ||
        segment_map(ret_read, read_fd, false, &header, &err) < 0)
        die(err.message, 0);
    close(write_fd);
    close(read_fd);
}

static void open_pair(struct side *p, struct side *c, uint64_t num)
{
    struct segment p_write, p_read, c_write, c_read;
    make(SEGMENT_SUBMIT, &p_write, &p_read);
    make(SEGMENT_COMPLETE, &c_write, &c_read);
    *p = (struct side){ .num = num, .random = 1 };
    *c = (struct side){ .num = num, .random = 2 };
    ring_end_init(&p->end, p_write, geometry, c_read, geometry, 1, 2);
    ring_end_init(&c->end, c_write, geometry, p_read, geometry, 1, 2);
    if (doorbell_create(&p->own_bell) < 0 || doorbell_create(&c->own_bell) < 0)
        die("no eventfd", 0);
    p->peer_bell = c->own_bell;
    c->peer_bell = p->own_bell;
}

static void close_pair(struct side *p, struct side *c)
{
    ring_end_finish(&p->end);
    ring_end_finish(&c->end);
    close(p->own_bell);
    close(c->own_bell);
}

static pid_t start_producer(struct side *p)
{
    const pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        produce(p);
        _exit(0);
    }
    return pid;
}

static void run_processes(uint64_t num)
{
    struct side p, c;
    int status;
    open_pair(&p, &c, num);
    const pid_t pid = start_producer(&p);
    consume(&c);
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("producer failed", num);
    close_pair(&p, &c);
}

static void run_threads(uint64_t num)
{
    struct side p, c;
    pthread_t producer;
    open_pair(&p, &c, num);
    if (pthread_create(&producer, NULL, produce, &p) != 0)
        die("no thread", 0);
    consume(&c);
    pthread_join(producer, NULL);
    close_pair(&p, &c);
}

static void run_kills(uint64_t num)
{
    uint64_t taken = 0;
    for (uint64_t k = 0; k < num; k++) {
        struct side p, c;
        open_pair(&p, &c, UINT64_MAX);
        c.random = (uint32_t)k;
        const pid_t pid = start_producer(&p);
        const uint64_t until = next_random(&c) % 500;
        while (c.received < until)
            take(&c);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        take(&c); /* whatever was published must be whole */
        taken += c.received;
        close_pair(&p, &c);
    }
    printf("%llu kills, %llu messages, all whole\n", (unsigned long long)num,
           (unsigned long long)taken);
}

int main(int argc, char **argv)
{
    const uint64_t num = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    if (argc > 2 && strcmp(argv[2], "kills") == 0)
        run_kills(num);
    else if (argc > 2)
        run_threads(num);
    else
        run_processes(num);
    return EXIT_SUCCESS;
}
