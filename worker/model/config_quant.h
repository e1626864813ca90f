/*
 * config_quant.h - how the checkpoint's matrices are quantized: quantization_config of config.json
 *
 * What is known here is checked, what changes the meaning of tensors and is not known is refused.
 * Which modules are quantized is not read from here (ignore, modules_to_not_convert): the tensors
 * themselves say it (quant_tensors.h).
 *
 * Source: HF transformers, utils/quantization_config; AutoGPTQ, GPTQModel and AutoAWQ; the
 * compressed-tensors format description.
 */
#ifndef WORKER_MODEL_CONFIG_QUANT_H
#define WORKER_MODEL_CONFIG_QUANT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum quant_method {
    QUANT_NONE,
    QUANT_FP8,        /* E4M3, a scale for a tensor or for each block */
    QUANT_FBGEMM,     /* E4M3, a scale for each row */
    QUANT_GPTQ,       /* integers of 4 or 8 bits, by columns */
    QUANT_AWQ,        /* integers of 4 bits, by columns in another order */
    QUANT_COMPRESSED, /* compressed-tensors: what its schemes say */
};

enum { CONFIG_MAX_SCHEMES = 8 };

/* How many weights share a scale. */
enum quant_strategy { QUANT_TENSOR, QUANT_CHANNEL, QUANT_GROUP, QUANT_BLOCK };

struct quant_scheme {
    bool is_float, is_packed; /* E4M3; several integers in 32 bits */
    bool is_symmetric, has_order;
    bool rounds_inputs; /* what these are multiplied with is E4M3 too */
    int32_t bits;
    enum quant_strategy strategy;
    int32_t block_rows, block_cols; /* of QUANT_BLOCK; of QUANT_GROUP the columns; 0: all */
};

struct config_quant {
    enum quant_method method;
    bool adds_one; /* GPTQ: a zero is stored as one less */
    int32_t num_schemes;
    struct quant_scheme schemes[CONFIG_MAX_SCHEMES]; /* one but for compressed-tensors */
};

/*
 * Read quantization_config, or its old name compression_config; without one the method is
 * QUANT_NONE.
 *
 * Returns 0, -EINVAL, -ENOTSUP.
 */
int config_quant_read(const json_t *config, struct config_quant *ret_quant, struct error *err);

/*
 * The same of quantize_config.json or quant_config.json in a folder, as older checkpoints have it;
 * none is no error. *hash goes on over its text. Also -ENOMEM and the errno of reading.
 */
int config_quant_read_beside(const char *dir, struct config_quant *ret_quant, uint64_t *hash,
                             struct error *err);

/* "GPTQ, 4 bits, groups of 128, act-order"; "" without. */
void config_quant_describe(const struct config_quant *quant, char *text, size_t size);

#endif
