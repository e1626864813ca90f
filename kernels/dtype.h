/*
 * dtype.h - types of numbers, and of matrices in what a backend is asked to store
 *
 * Any thread.
 */
#ifndef KERNELS_DTYPE_H
#define KERNELS_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Q are of weights in blocks of inputs as GGUF files have them; the last three are of weights with
 * scales (struct scaling). Q8_0 and F8_E4M3 are of KV pages too. */
enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_Q8_0,
    DTYPE_Q4_0,
    DTYPE_Q4_K,
    DTYPE_Q6_K,
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q2_K,
    DTYPE_Q3_K,
    DTYPE_Q5_K,
    DTYPE_F8_E4M3,
    DTYPE_I8,
    DTYPE_I4,
};

size_t dtype_bytes(enum dtype dtype);                   /* of one element; 0 for a type of blocks */
size_t dtype_row_bytes(enum dtype dtype, int32_t cols); /* cols: whole blocks */
bool dtype_is_quant(enum dtype dtype);                  /* of blocks */
bool dtype_is_scaled(enum dtype dtype);                 /* with scales */
int32_t dtype_block(enum dtype dtype);                  /* inputs of a block, 1 for the others */
const char *dtype_name(enum dtype dtype);               /* "f32", "bf16", "q4_k", "fp8", "i4" ... */

/*
 * Weights with scales: w = scale (q - zero), with a scale and a zero for each row and each group
 * of inputs. q is a code of E4M3, a signed byte, or 0 to 15; without zeros they are 0, of I4 8.
 * A scale that is NaN, or a code that is, makes its row NaN. What is multiplied is w as a float,
 * rounded once where the scale is f16 or bf16 or no zeros are given.
 *
 * Some checkpoints of E4M3 are made for inputs that are rounded to E4M3 too, a row of x with scales
 * of its own: a backend may do that for many rows, where it is faster. The CPU never does, which is
 * the more exact.
 */
struct scaling {
    enum dtype scales; /* DTYPE_F32, F16 or BF16: what scales are kept as */
    bool has_zeros;
    int32_t num_groups;
    const int32_t *groups; /* [cols], copied: the group of each input; every group has some */
    bool rounds_inputs;    /* of E4M3: as its checkpoint means */
};

/* A matrix, or with cols 0 a vector of `rows` floats. */
struct store_object {
    enum dtype dtype; /* of a matrix */
    int32_t rows, cols;
    struct scaling scaling; /* of a type with scales */
    /* Its outputs lie behind those of the matrix before it in the list, which has as many columns
     * and may be of another type: linear() and moe_linear() of the first one multiply all. Each is
     * loaded by itself. Of experts, each one's rows are a multiple of 32. */
    bool is_joined;
};

/* Bytes of one row of a type with scales, as weight_load() takes it: cols bytes of q in the order
 * of inputs, num_groups floats, and with zeros as many bytes (of I8 signed). */
size_t scaling_row_bytes(const struct scaling *scaling, int32_t cols);

/* Bytes that 32 rows of such a type take in memory. */
size_t scaling_panel_bytes(const struct store_object *object);

#endif
