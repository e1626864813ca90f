/*
 * progress.h - how far the weights are, on a terminal
 *
 * A line that is written over until the model is there, then taken away. It appears only where
 * loading takes long enough to be looked at.
 */
#ifndef SUPERVISOR_PROGRESS_H
#define SUPERVISOR_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *out; /* NULL: nobody looks */
    int64_t begin_us, shown_us;
    bool is_shown;
};

/* To `out` if that is a terminal. */
void progress_begin(struct progress *progress, FILE *out, int64_t now_us);

/* Is it to be told again soon? Then within PROGRESS_STEP_US. */
enum { PROGRESS_STEP_US = 100 * 1000 };
bool progress_wants(const struct progress *progress);

void progress_show(struct progress *progress, uint64_t done, uint64_t total, int64_t now_us);

/* Take the line away; nothing is shown any more. */
void progress_end(struct progress *progress);

/* The line: "loading weights [#####-----]  50 % of 0.99 GB, 1.9 GB/s". */
void progress_format(uint64_t done, uint64_t total, int64_t us, char *out, size_t size);

#endif
