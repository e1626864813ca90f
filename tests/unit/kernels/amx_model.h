/*
 * amx_model.h - the tile instructions of AMX in plain C
 *
 * Put in front of kernels/cpu/simd/linear_amx.c or linear_bf16.c, it makes a kernel that runs on
 * processors without them. Intel's manual, volume 2: TILELOADD, TILESTORED, TILEZERO, TDPBSSD,
 * TDPBF16PS, LDTILECFG.
 */
#ifndef TESTS_KERNELS_AMX_MODEL_H
#define TESTS_KERNELS_AMX_MODEL_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

struct amx_tile {
    int32_t rows, row_bytes;
    int8_t bytes[16][64];
};

void amx_model_configure(const void *shapes);
void amx_model_load(int to, const void *from, size_t stride);
void amx_model_store(int from, void *to, size_t stride);
void amx_model_zero(int to);
void amx_model_dot(int to, int a, int b);
void amx_model_dot_bf16(int to, int a, int b);

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbssd
#undef _tile_dpbf16ps
#define _tile_loadconfig(shapes)       amx_model_configure(shapes)
#define _tile_loadd(to, from, stride)  amx_model_load(to, from, stride)
#define _tile_stored(from, to, stride) amx_model_store(from, to, stride)
#define _tile_zero(to)                 amx_model_zero(to)
#define _tile_dpbssd(to, a, b)         amx_model_dot(to, a, b)
#define _tile_dpbf16ps(to, a, b)       amx_model_dot_bf16(to, a, b)
#define _tile_release()                ((void)0)
#define linear_quant_avx512_amx        linear_quant_amx_model
#define linear_bf16_avx512_amx         linear_bf16_amx_model

#endif
