/*
 * bench_pages - what pages weights should lie in
 *
 *     bench_pages [threads [MiB]]
 *
 * For each way to get memory: how long until all of it is there, by one thread and by all, and how
 * fast all threads read it afterwards, four streams each.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { MAX_THREADS = 64, HUGE_BYTES = 2 << 20, STEP_BYTES = 32 << 20, TRIALS = 5 };

struct memory {
    int fd; /* -1: anonymous */
    unsigned char *base;
    size_t bytes;
    _Atomic size_t next;
    void (*fill)(struct memory *memory, size_t at, size_t bytes);
    _Atomic uint64_t sink;
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* --- ways to have pages ---------------------------------------------------------------------- */

static void fill_touch(struct memory *memory, size_t at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 4096)
        memory->base[at + i] = 1;
}

static void fill_allocate(struct memory *memory, size_t at, size_t bytes)
{
    if (posix_fallocate(memory->fd, (off_t)at, (off_t)bytes) != 0)
        exit(1);
}

static void fill_collapse(struct memory *memory, size_t at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += HUGE_BYTES)
        if (pwrite(memory->fd, "", 1, (off_t)(at + i)) != 1)
            exit(1);
    if (madvise(memory->base + at, bytes, MADV_COLLAPSE) != 0)
        fill_allocate(memory, at, bytes);
}

static const struct way {
    const char *name;
    bool anonymous, huge;
    unsigned memfd_flags;
    void (*fill)(struct memory *memory, size_t at, size_t bytes);
} ways[] = {
    { "anonymous, 4 KiB", true, false, 0, fill_touch },
    { "anonymous, MADV_HUGEPAGE", true, true, 0, fill_touch },
    { "memory file, 4 KiB", false, false, 0, fill_allocate },
    { "memory file, MADV_HUGEPAGE, touched", false, true, 0, fill_touch },
    { "memory file, MADV_COLLAPSE", false, true, 0, fill_collapse },
    { "memory file, MFD_HUGETLB", false, false, MFD_HUGETLB, fill_allocate },
};

/* Returns false where the host does not allow it. */
static bool open_memory(const struct way *way, size_t bytes, struct memory *memory)
{
    *memory = (struct memory){ .fd = -1, .bytes = bytes, .fill = way->fill };
    if (!way->anonymous) {
        memory->fd = memfd_create("bench", MFD_CLOEXEC | way->memfd_flags);
        if (memory->fd < 0 || ftruncate(memory->fd, (off_t)bytes) < 0)
            return false;
    }
    unsigned char *all =
        mmap(NULL, bytes + HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return false;
    all += HUGE_BYTES - ((uintptr_t)all & (HUGE_BYTES - 1));
    const int kind = way->anonymous ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    memory->base = mmap(all, bytes, PROT_READ | PROT_WRITE, kind | MAP_FIXED, memory->fd, 0);
    if (memory->base == MAP_FAILED)
        return false;
    (void)madvise(memory->base, bytes, way->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return true;
}

static void close_memory(const struct memory *memory)
{
    munmap(memory->base, memory->bytes);
    if (memory->fd >= 0)
        close(memory->fd);
}

/* --- work shared out in steps ---------------------------------------------------------------- */

static void *fill_main(void *argument)
{
    struct memory *memory = argument;
    for (size_t at; (at = atomic_fetch_add(&memory->next, STEP_BYTES)) < memory->bytes;)
        memory->fill(memory, at, STEP_BYTES);
    return NULL;
}

static uint64_t sum_of(const unsigned char *data, size_t bytes)
{
    uint64_t sums[4][8] = { { 0 } }, words[8];
    const size_t part = bytes / 4;
    for (size_t i = 0; i + 64 <= part; i += 64)
        for (size_t s = 0; s < 4; s++) {
            memcpy(words, data + s * part + i, 64);
            for (int w = 0; w < 8; w++)
                sums[s][w] += words[w];
        }
    return sums[0][0] + sums[1][1] + sums[2][2] + sums[3][3];
}

static void *read_main(void *argument)
{
    struct memory *memory = argument;
    for (size_t at; (at = atomic_fetch_add(&memory->next, STEP_BYTES)) < memory->bytes;)
        memory->sink += sum_of(memory->base + at, STEP_BYTES);
    return NULL;
}

static double run(struct memory *memory, void *(*work)(void *), int num_threads)
{
    pthread_t threads[MAX_THREADS];
    const double begin = now_s();
    memory->next = 0;
    for (int i = 1; i < num_threads; i++)
        if (pthread_create(&threads[i], NULL, work, memory) != 0)
            exit(1);
    work(memory);
    for (int i = 1; i < num_threads; i++)
        pthread_join(threads[i], NULL);
    return now_s() - begin;
}

static void bench(const struct way *way, size_t bytes, int num_threads)
{
    double filled_s[2] = { 0 }, read_s = 1e9;
    for (int pass = 0; pass < 2; pass++) {
        struct memory memory;
        if (!open_memory(way, bytes, &memory)) {
            printf("%-38s not allowed here: %s\n", way->name, strerror(errno));
            return;
        }
        filled_s[pass] = run(&memory, fill_main, pass == 0 ? 1 : num_threads);
        for (int trial = 0; pass == 1 && trial < TRIALS; trial++) {
            const double time_s = run(&memory, read_main, num_threads);
            read_s = time_s < read_s ? time_s : read_s;
        }
        close_memory(&memory);
    }
    printf("%-38s there after %.2f s by one thread, %.2f s by %d; read at %.1f GB/s\n", way->name,
           filled_s[0], filled_s[1], num_threads, (double)bytes / read_s * 1e-9);
}

int main(int argc, char **argv)
{
    const int threads = argc > 1 ? atoi(argv[1]) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    const size_t mib = argc > 2 ? (size_t)atoi(argv[2]) : 1024;
    if (threads < 1 || threads > MAX_THREADS || mib < 32 || mib > 65536)
        return 1;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        bench(&ways[i], mib / 32 * STEP_BYTES, threads);
    return 0;
}
