/*
 * quant_tensors.h - quantized matrices of a checkpoint as tensors of their own names and shapes
 *
 * A quantized matrix lies in several tensors: "q_proj.qweight", "q_proj.qzeros", "q_proj.scales",
 * or "q_proj.weight" with "q_proj.weight_scale". quant_tensors_fold() takes them for one,
 * "q_proj.weight" of [rows][cols], so that what places and cuts matrices need not know; what
 * reads values does (quant_read.h). Whether a matrix is quantized its tensors say, not a list of
 * names; shapes of all of them are held against each other and against the configuration.
 *
 * Source: shapes and packing as HF transformers, AutoGPTQ, AutoAWQ and compressed-tensors write
 * them.
 */
#ifndef WORKER_MODEL_QUANT_TENSORS_H
#define WORKER_MODEL_QUANT_TENSORS_H

#include "worker/model/checkpoint.h"
#include "worker/model/config_quant.h"

/* How integers lie in the tensor of values; W is [rows][cols], a word 32 bits. */
enum quant_packing {
    QUANT_BYTES,    /* a byte each, [rows][cols] */
    QUANT_BY_COLS,  /* words of neighbouring columns, [cols / per][rows] */
    QUANT_BY_ROWS,  /* words of neighbouring rows in AWQ's order, [cols][rows / per] */
    QUANT_IN_ORDER, /* words of neighbouring columns, [rows][cols / per] */
};

struct quant_tensor {
    enum quant_packing packing;
    enum dtype dtype; /* DTYPE_F8_E4M3, DTYPE_I8, DTYPE_I4 */
    int32_t per;      /* values of a word */
    int32_t rows, cols;
    bool adds_one;  /* zeros are stored as one less */
    bool is_offset; /* bytes are stored as unsigned: 128 more */
    bool rounds_inputs;
    struct checkpoint_tensor values, scales;
    struct checkpoint_tensor zeros; /* of info NULL: none */
    enum dtype scale_dtype;         /* that scales are kept as */
    int32_t scale_rows;             /* rows that share a row of scales */
    int32_t group_cols, num_groups; /* columns of a group */
    bool scales_by_group;           /* scales are [groups][rows], else [rows][groups] */
    const int32_t *groups;          /* [cols]: of each column; NULL: neighbours */
};

/*
 * Replace the tensors of quantized matrices by one each, in memory of the checkpoint. Scales of
 * activations and of the KV cache are left out. Nothing is done without a method.
 *
 * Returns 0; -EINVAL for tensors that do not fit each other, -ENOTSUP, -ENOMEM or the errno of
 * reading.
 */
int quant_tensors_fold(const struct config_quant *quant, struct checkpoint *checkpoint,
                       struct error *err);

/* A tensor of zeros beside a quantized matrix, as some writers leave it for a bias. Returns 1 or 0,
 * or the errno of reading. */
int quant_tensors_is_idle_bias(const struct checkpoint *checkpoint,
                               const struct checkpoint_tensor *tensor);

#endif
