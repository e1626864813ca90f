/*
 * measure.h - what a model is and what it will take, before anything of it is loaded
 */
#ifndef WORKER_MODEL_MEASURE_H
#define WORKER_MODEL_MEASURE_H

#include "worker/model/weights.h"

enum { MEASURE_MAX_TYPES = 8 };

/* What a type has of all bytes; of more than so many types the last ones have the rest. */
struct measure_share {
    const char *name; /* NULL behind the last */
    uint64_t bytes;
};

struct measure {
    struct arch whole, own; /* of the checkpoint; of one rank */
    int32_t num_files, num_tensors;
    uint64_t checkpoint_bytes;                                               /* of all tensors */
    struct measure_share stored[MEASURE_MAX_TYPES], kept[MEASURE_MAX_TYPES]; /* the most first */
    int32_t max_len;
    size_t weight_bytes;     /* of one rank; layouts of a device may add to odd widths */
    size_t table_bytes;      /* of one rank: angles of positions */
    size_t activation_bytes; /* of one rank: about, for options->max_rows */
    size_t kv_block_bytes;   /* of one rank: see kv_groups.h */
};

/*
 * Read and check everything but the values: configuration, names, shapes, types. `communicator` of
 * the options is not used.
 *
 * Returns 0, or what model_open() would say.
 */
int measure_model(const struct model_options *options, int32_t num_ranks,
                  struct measure *ret_measure, struct error *err);

#endif
