/*
 * attention_rig.h - one sequence of random q, k and v in pages of a pool, and what attention over
 * it has to give, in double
 */
#ifndef TESTS_ATTENTION_RIG_H
#define TESTS_ATTENTION_RIG_H

#include "fixture.h"

enum { ATTENTION_POSITIONS = 1100, ATTENTION_BLOCKS = 400, NUM_ATTENTION_MODELS = 24 };

struct attention_model {
    int32_t num_heads, num_kv_heads, head_dim, block_size, rotary_dims;
    enum dtype dtype;
    int32_t window;
    float softcap;
    enum { NORM_NONE, NORM_RMS, NORM_LAYER, NORM_ALL_HEADS } norm;
};

extern const struct attention_model attention_models[NUM_ATTENTION_MODELS];

/* One sequence: its q, k, v before rotation, its pages, a pool. */
struct attention_rig {
    struct device *device;
    const struct attention_model *model;
    struct rope_table rope;
    float *cosines, *sines, *qkv; /* qkv: [ATTENTION_POSITIONS][...] */
    float *weights;               /* of norms: q, k, q bias, k bias: [num_heads head_dim] each */
    struct kv_pool *pool;
    int32_t blocks[ATTENTION_BLOCKS];
    float scale;
};

/* Floats of a row of q, k and v. */
int32_t attention_rig_row(const struct attention_model *model);

void attention_rig_open(struct attention_rig *run, struct device *device,
                        const struct attention_model *model);
void attention_rig_close(struct attention_rig *run);

struct attention_form attention_rig_form(const struct attention_rig *run);

/* Record what makes qkv ready for attention, layer 1; squares: [num][2]. */
void attention_rig_rope(struct attention_rig *run, float *qkv, float *squares,
                        const int32_t *positions, const int64_t *slots, int32_t num);

/* Positions [from, to) in one step; out: [to - from][num_heads head_dim], layer 1. */
void attention_rig_step(struct attention_rig *run, int32_t from, int32_t to, float *out);

/* What head `head` of position `pos` has to give; out: [head_dim]. */
void attention_rig_expect(const struct attention_rig *run, int32_t pos, int32_t head, double *out);

#endif
