#include "formats/block.h"

#include <string.h>

#include "base/half.h"

static uint16_t read_u16(const unsigned char *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t read_u32(const unsigned char *at)
{
    return (uint32_t)read_u16(at) | (uint32_t)read_u16(at + 2) << 16;
}

static float read_f16(const unsigned char *at)
{
    return half_from_f16(read_u16(at));
}

static void widen_f32(const unsigned char *block, float *to)
{
    *to = float_from_bits(read_u32(block));
}

static void widen_f16(const unsigned char *block, float *to)
{
    *to = read_f16(block);
}

static void widen_bf16(const unsigned char *block, float *to)
{
    *to = half_from_bf16(read_u16(block));
}

/* --- 32 elements: byte j holds element j in its low half and j + 16 in its high half --------- */

static void widen_q8_0(const unsigned char *block, float *to)
{
    const float d = read_f16(block);
    for (int j = 0; j < 32; j++)
        to[j] = d * (float)(int8_t)block[2 + j];
}

static void widen_q4_0(const unsigned char *block, float *to)
{
    const float d = read_f16(block);
    for (int j = 0; j < 16; j++) {
        to[j] = d * (float)((block[2 + j] & 15) - 8);
        to[j + 16] = d * (float)((block[2 + j] >> 4) - 8);
    }
}

static void widen_q4_1(const unsigned char *block, float *to)
{
    const float d = read_f16(block), m = read_f16(block + 2);
    for (int j = 0; j < 16; j++) {
        to[j] = d * (float)(block[4 + j] & 15) + m;
        to[j + 16] = d * (float)(block[4 + j] >> 4) + m;
    }
}

/* Element e's nibble with bit e of `high` above it. */
static int join_5(const unsigned char *nibbles, uint32_t high, int e)
{
    const int nibble = e < 16 ? nibbles[e] & 15 : nibbles[e - 16] >> 4;
    return nibble | (int)(high >> e & 1) << 4;
}

static void widen_q5_0(const unsigned char *block, float *to)
{
    const float d = read_f16(block);
    const uint32_t high = read_u32(block + 2);
    for (int e = 0; e < 32; e++)
        to[e] = d * (float)(join_5(block + 6, high, e) - 16);
}

static void widen_q5_1(const unsigned char *block, float *to)
{
    const float d = read_f16(block), m = read_f16(block + 2);
    const uint32_t high = read_u32(block + 4);
    for (int e = 0; e < 32; e++)
        to[e] = d * (float)join_5(block + 8, high, e) + m;
}

/* --- 256 elements ------------------------------------------------------------------------- */

/* Sub-scale and sub-minimum `j` (0 to 7) of the 12 bytes of Q4_K and Q5_K: six bits each. */
static void unpack_scale(const unsigned char *s, int j, float *scale, float *minimum)
{
    const int sc = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
    const int mn = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
    *scale = (float)sc;
    *minimum = (float)mn;
}

static void widen_q2_k(const unsigned char *block, float *to)
{
    const unsigned char *scales = block, *quants = block + 16;
    const float d = read_f16(block + 80), dmin = read_f16(block + 82);
    for (int e = 0; e < 256; e++) {
        const int half = e / 128, shift = e % 128 / 32 * 2, scale = scales[e / 16];
        const int q = quants[32 * half + e % 32] >> shift & 3;
        to[e] = d * (float)(scale & 15) * (float)q - dmin * (float)(scale >> 4);
    }
}

/* Sub-scale k (0 to 15) of the 12 bytes of Q3_K: four bits below, two above. */
static int unpack_scale_3(const unsigned char *s, int k)
{
    const int low = k < 8 ? s[k] & 15 : s[k - 8] >> 4;
    const int high = s[8 + k % 4] >> (2 * (k / 4)) & 3;
    return (low | high << 4) - 32;
}

static void widen_q3_k(const unsigned char *block, float *to)
{
    const unsigned char *mask = block, *quants = block + 32, *scales = block + 96;
    const float d = read_f16(block + 108);
    for (int e = 0; e < 256; e++) {
        const int half = e / 128, part = e % 128 / 32;
        const int low = quants[32 * half + e % 32] >> (2 * part) & 3;
        const int high = mask[e % 32] >> (4 * half + part) & 1;
        to[e] = d * (float)unpack_scale_3(scales, e / 16) * (float)(low - (high ? 0 : 4));
    }
}

static void widen_q4_k(const unsigned char *block, float *to)
{
    const float d = read_f16(block), dmin = read_f16(block + 2);
    for (int sub = 0; sub < 8; sub++) {
        const unsigned char *quants = block + 16 + 32 * (sub / 2);
        float scale, minimum;
        unpack_scale(block + 4, sub, &scale, &minimum);
        for (int l = 0; l < 32; l++)
            to[32 * sub + l] =
                d * scale * (float)(quants[l] >> 4 * (sub % 2) & 15) - dmin * minimum;
    }
}

static void widen_q5_k(const unsigned char *block, float *to)
{
    const unsigned char *high = block + 16;
    const float d = read_f16(block), dmin = read_f16(block + 2);
    for (int sub = 0; sub < 8; sub++) {
        const unsigned char *quants = block + 48 + 32 * (sub / 2);
        float scale, minimum;
        unpack_scale(block + 4, sub, &scale, &minimum);
        for (int l = 0; l < 32; l++) {
            const int q = (quants[l] >> 4 * (sub % 2) & 15) | (high[l] >> sub & 1) << 4;
            to[32 * sub + l] = d * scale * (float)q - dmin * minimum;
        }
    }
}

static void widen_q6_k(const unsigned char *block, float *to)
{
    const float d = read_f16(block + 208);
    for (int e = 0; e < 256; e++) {
        const int half = e / 128, part = e % 128 / 32, l = e % 32;
        const int low = block[64 * half + 32 * (part % 2) + l] >> 4 * (part / 2) & 15;
        const int high = block[128 + 32 * half + l] >> 2 * part & 3;
        const int8_t scale = (int8_t)block[192 + e / 16];
        to[e] = d * (float)scale * (float)((low | high << 4) - 32);
    }
}

/* clang-format off */
static const struct block_info infos[BLOCK_MAX_TYPES] = {
    [BLOCK_F32]  = { "F32",    1,   4, widen_f32 },
    [BLOCK_F16]  = { "F16",    1,   2, widen_f16 },
    [BLOCK_Q4_0] = { "Q4_0",  32,  18, widen_q4_0 },
    [BLOCK_Q4_1] = { "Q4_1",  32,  20, widen_q4_1 },
    [BLOCK_Q5_0] = { "Q5_0",  32,  22, widen_q5_0 },
    [BLOCK_Q5_1] = { "Q5_1",  32,  24, widen_q5_1 },
    [BLOCK_Q8_0] = { "Q8_0",  32,  34, widen_q8_0 },
    [9]          = { "Q8_1",  32,  36, NULL },
    [BLOCK_Q2_K] = { "Q2_K", 256,  84, widen_q2_k },
    [BLOCK_Q3_K] = { "Q3_K", 256, 110, widen_q3_k },
    [BLOCK_Q4_K] = { "Q4_K", 256, 144, widen_q4_k },
    [BLOCK_Q5_K] = { "Q5_K", 256, 176, widen_q5_k },
    [BLOCK_Q6_K] = { "Q6_K", 256, 210, widen_q6_k },
    [15]         = { "Q8_K", 256, 292, NULL },
    [16] = { .name = "IQ2_XXS" }, [17] = { .name = "IQ2_XS" }, [18] = { .name = "IQ3_XXS" },
    [19] = { .name = "IQ1_S" },   [20] = { .name = "IQ4_NL" }, [21] = { .name = "IQ3_S" },
    [22] = { .name = "IQ2_S" },   [23] = { .name = "IQ4_XS" }, [29] = { .name = "IQ1_M" },
    [24]         = { "I8",     1,   1, NULL },
    [25]         = { "I16",    1,   2, NULL },
    [26]         = { "I32",    1,   4, NULL },
    [27]         = { "I64",    1,   8, NULL },
    [28]         = { "F64",    1,   8, NULL },
    [BLOCK_BF16] = { "BF16",   1,   2, widen_bf16 },
    [34] = { .name = "TQ1_0" },   [35] = { .name = "TQ2_0" },  [39] = { .name = "MXFP4" },
};
/* clang-format on */

const struct block_info *block_info(uint32_t type)
{
    return type < BLOCK_MAX_TYPES && infos[type].name != NULL ? &infos[type] : NULL;
}

void block_widen(enum block_type type, const void *from, float *to, size_t num_blocks)
{
    const struct block_info *info = &infos[type];
    const unsigned char *bytes = from;
    for (size_t i = 0; i < num_blocks; i++)
        info->widen(bytes + i * (size_t)info->bytes, to + i * (size_t)info->elements);
}
