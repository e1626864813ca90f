/*
 * linear.h - products by weights, and how threads share out their panels
 *
 * A weight may be a chain of matrices of several types (backend.h, is_joined). It is one operation:
 * its activations are rounded once if any is of blocks, and threads share out the panels of all.
 */
#ifndef KERNELS_CPU_LINEAR_H
#define KERNELS_CPU_LINEAR_H

#include "kernels/cpu/device.h"

/* Panels lie behind each other on a line of costs; a thread has those that begin in its part. */
struct panel_line {
    int64_t from, to; /* the thread's part */
    int64_t at;       /* where the next panels begin */
};

static inline struct panel_line panel_line_part(int64_t total, int32_t index, int32_t num)
{
    return (struct panel_line){ .from = share_of(total, index, num),
                                .to = share_of(total, index + 1, num) };
}

/* Of the next `panels` of `cost` each, the thread's. Returns whether there are any. */
bool panel_line_next(struct panel_line *line, int64_t panels, int64_t cost, int32_t *ret_first,
                     int32_t *ret_end);

/* backend.h, linear() */
void linear_record(struct device *device, float *out, const struct weight *weight,
                   const float *bias, const float *x, int32_t rows);

#endif
