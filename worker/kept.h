/*
 * kept.h - what a worker leaves to the next one of its rank, beside the weights
 *
 * Measured and chosen once: a successor that finds it neither measures nor chooses again, so that
 * budget, KV cache and the watch over its steps are the same before and after a restart. It travels
 * as lines of text through the supervisor, which does not read them. Results do not depend on it.
 */
#ifndef WORKER_KEPT_H
#define WORKER_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kept {
    uint64_t stamp;     /* model_stamp() */
    int32_t num_blocks; /* of the KV cache */
    int32_t max_num_batched_tokens;
    int64_t first_ns, each_ns; /* a step of one token, and what each further one adds */
};

void kept_write(const struct kept *kept, char *text, size_t size);

/* Returns false when a line is missing or a number is out of its range. */
bool kept_read(const char *text, struct kept *ret_kept);

#endif
