/*
 * ops.h - the operations of one instruction set, for its row in isa.c; contracts are in op.h
 */
#ifndef KERNELS_CPU_SIMD_OPS_H
#define KERNELS_CPU_SIMD_OPS_H

#include "kernels/cpu/op.h"
#include "kernels/cpu/simd/vec.h"

void SIMD(add_rms_norm)(const struct norm_args *args, int32_t row_from, int32_t row_to);
void SIMD(add_layer_norm)(const struct norm_args *args, int32_t row_from, int32_t row_to);
void SIMD(linear)(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                  int32_t row_from, int32_t row_to);
void SIMD(quantize)(const struct quantize_args *args, int32_t row_from, int32_t row_to);
void SIMD(linear_quant)(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                        int32_t row_from, int32_t row_to);
void linear_quant_avx512_vnni(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                              int32_t row_from, int32_t row_to);
void SIMD(linear_scaled)(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                         int32_t row_from, int32_t row_to);
void linear_quant_neon_dot(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                           int32_t row_from, int32_t row_to);
void SIMD(rope_kv_write)(const struct rope_args *args, int64_t unit_from, int64_t unit_to);
void SIMD(kv_write)(const struct kv_line *line, const float *from);
void SIMD(attention_begin)(const struct attention_args *args, const struct attention_tile *tile,
                           struct attention_scratch *scratch);
void SIMD(attention_span)(const struct attention_args *args, const struct attention_tile *tile,
                          int32_t span, struct attention_scratch *scratch,
                          const struct attention_sum *sum);
void SIMD(attention_combine)(const struct attention_args *args, const struct attention_sum *total,
                             const struct attention_sum *sum, int32_t query_from, int32_t query_to);
void SIMD(attention_end)(const struct attention_args *args, const struct attention_tile *tile,
                         const struct attention_sum *total);
void SIMD(qk_squares)(const struct squares_args *args, int32_t row_from, int32_t row_to);
void SIMD(activate)(const struct activate_args *args, int64_t from, int64_t to);
void SIMD(soft_cap)(const struct cap_args *args, int64_t from, int64_t to);

#endif
