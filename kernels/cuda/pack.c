#include "kernels/cuda/pack.h"

#include <string.h>

#include "base/half.h"

/* The row's part of a unit of 32 inputs. */
struct unit {
    int8_t q[32];           /* I8; or nibbles 0 .. 15 */
    float scale[2], min[2]; /* of the halves; where they are one, the first */
};

static float f16_at(const unsigned char *from)
{
    uint16_t half;
    memcpy(&half, from, sizeof(half));
    return half_from_f16(half);
}

static int64_t unit_index(const struct matrix *m, int32_t row, int32_t unit)
{
    return (int64_t)(row / 16) * (m->stride / 32) + unit;
}

static void put_scales(const struct pack_image *image, const struct matrix *m, int32_t row,
                       int32_t unit, const struct unit *u)
{
    const int32_t groups = 32 / m->group;
    const int64_t at = unit_index(m, row, unit) * groups * 16 + row % 16;
    for (int32_t g = 0; g < groups; g++)
        image->scales[at + g * 16] = half_to_f16(u->scale[g]);
    if (image->mins != NULL)
        image->mins[at] = half_to_f16(u->min[0]);
}

/* A lane's eight inputs, in its order. */
static int32_t input_of(int32_t t, int32_t place)
{
    return place / 4 * 16 + 4 * t + place % 4;
}

static void put_bytes(const struct pack_image *image, const struct matrix *m, int32_t row,
                      int32_t unit, const struct unit *u)
{
    unsigned char *at = image->data + unit_index(m, row, unit) * 512;
    const int32_t g = row % 8, half = row % 16 / 8;
    for (int32_t t = 0; t < 4; t++)
        for (int32_t place = 0; place < 8; place++)
            at[(4 * g + t) * 16 + half * 8 + place] = (unsigned char)u->q[input_of(t, place)];
}

static void put_nibbles(const struct pack_image *image, const struct matrix *m, int32_t row,
                        int32_t unit, const struct unit *u)
{
    const int64_t index = unit_index(m, row, unit);
    const int32_t g = row % 8, half = row % 16 / 8;
    uint32_t *words = (uint32_t *)(void *)image->data + index / 2 * 128;
    for (int32_t t = 0; t < 4; t++) {
        uint32_t word = 0;
        for (int32_t place = 0; place < 8; place++)
            word |= (uint32_t)(u->q[input_of(t, place)] & 15) << (place / 2 * 4 + (place & 1) * 16);
        words[(4 * g + t) * 4 + (index & 1) * 2 + half] = word;
    }
}

/* --- the blocks of GGUF: one unit of a block each ----------------------------------------------
 */

static void read_q8_0(const unsigned char *block, int32_t unit, struct unit *u)
{
    (void)unit;
    u->scale[0] = f16_at(block);
    memcpy(u->q, block + 2, 32);
}

static void read_q4_0(const unsigned char *block, int32_t unit, struct unit *u)
{
    (void)unit;
    u->scale[0] = f16_at(block);
    for (int i = 0; i < 16; i++) {
        u->q[i] = block[2 + i] & 15;
        u->q[i + 16] = (int8_t)(block[2 + i] >> 4);
    }
}

static void read_q4_k(const unsigned char *block, int32_t unit, struct unit *u)
{
    const unsigned char *s = block + 4, *q = block + 16 + 32 * (unit / 2);
    const int j = unit;
    const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    const int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
    u->scale[0] = f16_at(block) * (float)scale;
    u->min[0] = f16_at(block + 2) * (float)min;
    for (int i = 0; i < 32; i++)
        u->q[i] = (int8_t)(unit % 2 == 0 ? q[i] & 15 : q[i] >> 4);
}

static void read_q4_1(const unsigned char *block, int32_t unit, struct unit *u)
{
    (void)unit;
    u->scale[0] = f16_at(block);
    u->min[0] = -f16_at(block + 2);
    for (int i = 0; i < 16; i++) {
        u->q[i] = block[4 + i] & 15;
        u->q[i + 16] = (int8_t)(block[4 + i] >> 4);
    }
}

/* Nibbles behind 32 fifth bits. */
static void read_fives(const unsigned char *bits, int32_t less, struct unit *u)
{
    uint32_t high;
    memcpy(&high, bits, sizeof(high));
    for (int i = 0; i < 16; i++) {
        const unsigned char q = bits[4 + i];
        u->q[i] = (int8_t)(((q & 15) | (int)(high >> i & 1) << 4) - less);
        u->q[i + 16] = (int8_t)((q >> 4 | (int)(high >> (i + 16) & 1) << 4) - less);
    }
}

static void read_q5_0(const unsigned char *block, int32_t unit, struct unit *u)
{
    (void)unit;
    u->scale[0] = f16_at(block);
    read_fives(block + 2, 16, u);
}

static void read_q5_1(const unsigned char *block, int32_t unit, struct unit *u)
{
    (void)unit;
    u->scale[0] = f16_at(block);
    u->min[0] = -f16_at(block + 2);
    read_fives(block + 4, 0, u);
}

/* The same but for a fifth bit, and where nibbles lie. */
static void read_q5_k(const unsigned char *block, int32_t unit, struct unit *u)
{
    const unsigned char *high = block + 16, *q = block + 48 + 32 * (unit / 2);
    read_q4_k(block, unit, u);
    for (int i = 0; i < 32; i++)
        u->q[i] = (int8_t)((unit % 2 == 0 ? q[i] & 15 : q[i] >> 4) | (high[i] >> unit & 1) << 4);
}

static void read_q2_k(const unsigned char *block, int32_t unit, struct unit *u)
{
    const int h = unit / 4, j = unit % 4;
    const unsigned char *scales = block + 8 * h + 2 * j, *q = block + 16 + 32 * h;
    for (int r = 0; r < 2; r++) {
        u->scale[r] = f16_at(block + 80) * (float)(scales[r] & 15);
        u->min[r] = f16_at(block + 82) * (float)(scales[r] >> 4);
    }
    for (int i = 0; i < 32; i++)
        u->q[i] = (int8_t)(q[i] >> (2 * j) & 3);
}

static void read_q3_k(const unsigned char *block, int32_t unit, struct unit *u)
{
    const int h = unit / 4, j = unit % 4;
    const unsigned char *q = block + 32 + 32 * h, *s = block + 96;
    for (int r = 0; r < 2; r++) {
        const int k = 8 * h + 2 * j + r;
        const int low = k < 8 ? s[k] & 15 : s[k - 8] >> 4;
        const int scale = (low | (s[8 + k % 4] >> (2 * (k / 4)) & 3) << 4) - 32;
        u->scale[r] = f16_at(block + 108) * (float)scale;
    }
    for (int i = 0; i < 32; i++)
        u->q[i] = (int8_t)((q[i] >> (2 * j) & 3) - ((block[i] >> (4 * h + j) & 1) != 0 ? 0 : 4));
}

/* Unit 4 h + j: inputs 128 h + 32 j on. */
static void read_q6_k(const unsigned char *block, int32_t unit, struct unit *u)
{
    const int h = unit / 4, j = unit % 4;
    const unsigned char *low = block + 64 * h + 32 * (j & 1), *high = block + 128 + 32 * h;
    const int8_t *scales = (const int8_t *)block + 192 + 8 * h + 2 * j;
    const float d = f16_at(block + 208);
    u->scale[0] = d * (float)scales[0];
    u->scale[1] = d * (float)scales[1];
    for (int i = 0; i < 32; i++) {
        const int four = j < 2 ? low[i] & 15 : low[i] >> 4, two = high[i] >> (2 * j) & 3;
        u->q[i] = (int8_t)((four | two << 4) - 32);
    }
}

typedef void read_function(const unsigned char *block, int32_t unit, struct unit *u);

/* halves: the two halves of a unit have scales, and minima, of their own. */
static const struct {
    read_function *read;
    bool halves;
} readers[] = {
    [DTYPE_Q8_0] = { read_q8_0, false }, [DTYPE_Q4_0] = { read_q4_0, false },
    [DTYPE_Q4_1] = { read_q4_1, false }, [DTYPE_Q5_0] = { read_q5_0, false },
    [DTYPE_Q5_1] = { read_q5_1, false }, [DTYPE_Q2_K] = { read_q2_k, true },
    [DTYPE_Q3_K] = { read_q3_k, true },  [DTYPE_Q4_K] = { read_q4_k, false },
    [DTYPE_Q5_K] = { read_q5_k, false }, [DTYPE_Q6_K] = { read_q6_k, true },
};

static void read_unit(enum dtype dtype, const unsigned char *row, int32_t unit, struct unit *u)
{
    const int32_t per_block = dtype_block(dtype) / 32;
    const size_t block_bytes = dtype_row_bytes(dtype, dtype_block(dtype));
    *u = (struct unit){ .min = { 0.0f } };
    readers[dtype].read(row + (size_t)(unit / per_block) * block_bytes, unit % per_block, u);
}

void pack_row(const struct pack_image *image, const struct matrix *matrix, enum dtype dtype,
              int32_t row, const unsigned char *from)
{
    for (int32_t unit = 0; unit < matrix->cols / 32; unit++) {
        struct unit u;
        read_unit(dtype, from, unit, &u);
        (matrix->form == MATRIX_I8 ? put_bytes : put_nibbles)(image, matrix, row, unit, &u);
        put_scales(image, matrix, row, unit, &u);
    }
}

void pack_widen(enum dtype dtype, const unsigned char *from, int32_t cols, uint16_t *to)
{
    for (int32_t k = 0; k < cols; k += 32) {
        struct unit u;
        read_unit(dtype, from, k / 32, &u);
        for (int32_t i = 0; i < 32; i++) {
            const int32_t half = readers[dtype].halves ? i / 16 : 0;
            to[k + i] = half_to_bf16(u.scale[half] * (float)u.q[i] - u.min[half]);
        }
    }
}
