/*
 * quant_matrix.h - the tensors of one quantized matrix, by the method that wrote them; private to
 * quant_tensors.c
 *
 * Each function takes `tensor` with its values, finds what belongs to them, holds all shapes
 * against each other and against the configuration, and fills in the rest. Returns 0; -EINVAL,
 * -ENOTSUP, -ENOMEM or the errno of reading.
 */
#ifndef WORKER_MODEL_QUANT_MATRIX_H
#define WORKER_MODEL_QUANT_MATRIX_H

#include "worker/model/quant_tensors.h"

struct quant_matrix {
    const struct config_quant *quant;
    struct checkpoint *checkpoint;
    bool *used;       /* [num_tensors]: belongs to a matrix */
    const char *base; /* "model.layers.0.mlp.up_proj", of so many bytes */
    int base_len;
    struct quant_tensor *tensor;
    struct error *err;
};

/* "weight" of bytes with "weight_scale", or "weight_scale_inv", which is multiplied too. */
int quant_matrix_fold_bytes(const struct quant_matrix *m);
/* AutoGPTQ: "qweight", "qzeros", "scales", "g_idx". */
int quant_matrix_fold_gptq(const struct quant_matrix *m);
/* AutoAWQ's "gemm": "qweight", "qzeros", "scales". */
int quant_matrix_fold_awq(const struct quant_matrix *m);
/* compressed-tensors: "weight_packed", "weight_scale", "weight_shape" ... */
int quant_matrix_fold_packed(const struct quant_matrix *m);

/* "BASE.weight_scale", or NULL. It belongs to the matrix from then on. */
struct checkpoint_tensor *quant_matrix_find(const struct quant_matrix *m, const char *name);

/* A sentence about the matrix; returns `result`. */
int quant_matrix_fail(const struct quant_matrix *m, int result, const char *what);

#endif
