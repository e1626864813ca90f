/*
 * kernel_probe.h - what the machine can do: reading memory, multiply-adds, integer dot products
 *
 * All threads at once, with the widest instructions that the machine has. Reading goes over four
 * streams per thread, sums are made of registers alone.
 */
#ifndef TESTS_BENCH_KERNEL_PROBE_H
#define TESTS_BENCH_KERNEL_PROBE_H

#include <stddef.h>

struct probe {
    double gb_per_s, gflop_per_s, gop_per_s; /* the last of integer dot products; 0: none */
};

/* Best of several trials over data[0..bytes), printed in one line. */
struct probe kernel_probe_all(const void *data, size_t bytes);

#endif
