/*
 * side.h - one of two backends that compute the same, and what a case keeps of it
 *
 * A case is a function that is run on both sides with the same random numbers: it makes inputs,
 * records operations, and keeps outputs. The outputs of the two are compared, element by element:
 * |got - wanted| <= tolerance (|wanted| + the root mean square of all wanted), not-a-number equal
 * to not-a-number alone. Memory that an operation fills is NaN before.
 */
#ifndef TESTS_GPU_SIDE_H
#define TESTS_GPU_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/backend.h"

enum { SIDE_MAX_PIECES = 128, SIDE_MAX_PARTS = 3 };

struct side {
    const struct backend *backend;
    struct device *device;
    bool is_oracle;    /* what the other side must give */
    bool has_products; /* of E4M3 by E4M3: the other side rounds inputs for them, or this one */
    uint64_t random;   /* state */
    bool obeys_law;    /* a matrix gives a row the same bits, however many others there are */
    float error;       /* relative, of every value that is kept: a side that is to be found out */
    float *kept;       /* outputs so far */
    size_t num_kept, room;
    void *pieces[SIDE_MAX_PIECES]; /* of the device, freed behind the case */
    int32_t num_pieces;
    struct weight *weights[SIDE_MAX_PIECES];
    int32_t num_weights;
    struct weight_store *stores[SIDE_MAX_PIECES]; /* of weights with scales */
    int32_t num_stores;
    struct kv_pool *pools[4];
    int32_t num_pools;
};

/* "cpu", "cpu:scalar", "cpu:wrong" (with an error in one value of a thousand), "cuda[:N]". */
int side_open(struct side *side, const char *name, bool deterministic, struct error *err);
void side_close(struct side *side);
void side_begin_case(struct side *side, uint64_t seed);
void side_end_case(struct side *side);

/* Whole numbers in [low, high]; floats in [-1, 1). */
int32_t side_whole(struct side *side, int32_t low, int32_t high);
float side_float(struct side *side);
bool side_coin(struct side *side);

/* On the device: `num` random floats times scale; NaNs; zeros. */
float *side_random(struct side *side, size_t num, float scale);
float *side_put(struct side *side, const float *values, size_t num);
float *side_poisoned(struct side *side, size_t num);
int32_t *side_ints(struct side *side, size_t num, const int32_t *values);
struct weight *side_weight(struct side *side, enum dtype dtype, int32_t rows, int32_t cols);
/* Of blocks for heads or experts, of `rows` rows each. */
struct weight *side_blocks(struct side *side, enum dtype dtype, int32_t num, int32_t rows,
                           int32_t cols);
/* With scales of any type, with or without zeros, and groups of `group` inputs; 0: one, -1: of any
 * size, and their inputs anywhere. `num` blocks of `rows` rows, or 0: one matrix of so many. */
struct weight *side_scaled(struct side *side, enum dtype dtype, int32_t num, int32_t rows,
                           int32_t cols, int32_t group);
/* Matrices of any types that are joined, `rows` of each, or of each in each of `num` blocks. */
struct side_part {
    enum dtype dtype;
    int32_t rows;
};
struct weight *side_joined(struct side *side, const struct side_part *parts, int32_t num_parts,
                           int32_t num, int32_t cols, int32_t group);
/* One of E4M3: scales for `scale_rows` rows (0: all) by `group` inputs (0: all). */
struct side_codes {
    int32_t rows, scale_rows, group;
    bool rounds_inputs;
    bool has_nan; /* one code */
};

/* `num` of them with `cols` inputs, each by itself or joined to the one before. Scales are powers
 * of two where no side has such products. */
void side_codes(struct side *side, const struct side_codes *parts, int32_t num, int32_t cols,
                bool apart, struct weight **ret_weights);
struct moe_plan side_plan(struct side *side, int32_t experts, int32_t top_k, int32_t rows);
struct kv_pool *side_pool(struct side *side, const struct kv_layout *layout, int32_t num_blocks);

/* One matrix times `rows` random rows of x, perhaps with a bias; it is run, and kept. */
void side_multiply(struct side *side, const struct weight *w, int32_t outs, int32_t cols,
                   int32_t rows);

/* Run what was recorded since begin(). Ends the program with a sentence when that fails. */
void side_run(struct side *side);

void side_keep(struct side *side, const float *from, size_t num);
void side_keep_value(struct side *side, float value);

#endif
