/*
 * rig.h - a model on a backend, the CPU's or another, with a KV pool, for tests: prompt in, logits
 * out
 */
#ifndef TESTS_UNIT_WORKER_RIG_H
#define TESTS_UNIT_WORKER_RIG_H

#include "worker/model/model.h"

enum { RIG_BLOCK_SIZE = 16, RIG_NUM_BLOCKS = 24, RIG_MAX_ROWS = 160, RIG_MAX_LOGITS = 128 };

struct rig_options {
    const char *dir;
    const char *backend; /* NULL: "cpu" */
    bool is_deterministic;
    const char *isa;     /* NULL: best */
    int32_t num_threads; /* 0: 1 */
    enum dtype kv_dtype;
    const char *quantization;                /* NULL: as it is */
    int32_t max_model_len;                   /* 0: 128 */
    const struct communicator *communicator; /* NULL: one rank */
    const char *libraries;                   /* device_options */
    int64_t deadline_us;
    struct mu_clamp mu_clamp;
    bool no_mu_highway;
    size_t expert_bytes;
    enum read_io weight_io;
};

struct rig {
    const struct backend *backend;
    struct device *device;
    struct model *model;
    struct kv_pool *pool;
    int32_t vocab_size;
};

/* A part of a sequence to compute. */
struct rig_part {
    const int32_t *tokens; /* of the sequence, from position 0 */
    int32_t first_pos, num;
    const int32_t *blocks; /* by page, below RIG_NUM_BLOCKS: a block in each part */
};

/* Returns 0, or what device_open() or model_open() said. */
int rig_open(struct rig *rig, const struct rig_options *options, struct error *err);
void rig_close(struct rig *rig); /* accepts a half-opened one */

/* Compute the positions of one part and say what the device says of it. */
int rig_try(struct rig *rig, const struct rig_part *part);

/*
 * One step: all parts in one batch. ret_logits: [num_rows][vocab_size] of all rows when
 * logits_rows is NULL, else [num_logits][vocab_size] of those.
 */
void rig_step(struct rig *rig, const struct rig_part *parts, int32_t num_parts,
              const int32_t *logits_rows, int32_t num_logits, float *ret_logits);

/* A prompt in steps of `chunk` positions; ret_logits: [num][vocab_size]. */
void rig_run(struct rig *rig, const int32_t *tokens, int32_t num, int32_t chunk,
             const int32_t *blocks, float *ret_logits);

/* Compute positions [first_pos, first_pos + num) of a sequence and take the next token greedily. */
int32_t rig_next(struct rig *rig, const struct rig_part *part);

#endif
