/*
 * fp8.h - a directory of safetensors with matrices in FP8
 *
 * E4M3 with a scale for each row, as compressed-tensors has it ("float-quantized", strategy
 * "channel"): `name.weight` and `name.weight_scale` [rows][1]. Matrices of the layers get it, but
 * for what chooses experts; embedding, output, norms and biases stay what they are. All that lies
 * beside the weights is copied, config.json with its quantization_config.
 */
#ifndef CONVERT_FP8_H
#define CONVERT_FP8_H

#include "convert/convert.h"

/* options->to is a directory that is not there yet; `type` is not read. Returns as convert_run().
 */
int convert_fp8_run(const struct convert_options *options, struct convert_result *ret_result,
                    struct error *err);

#endif
