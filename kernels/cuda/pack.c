#include "kernels/cuda/pack.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

/* The row's part of a unit of 32 inputs. */
struct unit {
    int8_t q[32];      /* as they are stored: from 0 on, but of Q8_0 */
    float scale, min;  /* of types without tails */
    uint16_t d, d_min; /* of those with: bits of f16, and what they are factors of */
    uint8_t tail[2];
};

static float f16_at(const unsigned char *from)
{
    uint16_t half;
    memcpy(&half, from, sizeof(half));
    return half_from_f16(half);
}

static uint16_t half_at(const unsigned char *from)
{
    uint16_t half;
    memcpy(&half, from, sizeof(half));
    return half;
}

/* --- where things lie ------------------------------------------------------------------------- */

static int64_t unit_index(const struct matrix *m, int32_t row, int32_t unit)
{
    return (int64_t)(row / 16) * (m->stride / 32) + unit;
}

/* A lane's eight inputs, in its order. */
static int32_t input_of(int32_t t, int32_t place)
{
    return place / 4 * 16 + 4 * t + place % 4;
}

/* In a word of four codes of E4M3. */
static const unsigned char code_places[] = { 1, 3, 0, 2 };

static void put_bytes(const struct pack_image *image, const struct matrix *m, int32_t row,
                      int32_t unit, const int8_t *q)
{
    unsigned char *at = image->data + unit_index(m, row, unit) * 512;
    const int32_t g = row % 8, half = row % 16 / 8;
    const bool is_e4m3 = m->form == MATRIX_E4M3;
    for (int32_t t = 0; t < 4; t++)
        for (int32_t place = 0; place < 8; place++) {
            const int32_t to = is_e4m3 ? place / 4 * 4 + code_places[place % 4] : place;
            at[(4 * g + t) * 16 + half * 8 + to] = (unsigned char)q[input_of(t, place)];
        }
}

/* `bits` of each number, from bit `shift` of it on, into a plane of loads of `units` units. */
static void put_plane(unsigned char *plane, const struct matrix *m, int32_t row, int32_t unit,
                      const int8_t *q, int32_t bits, int32_t shift, int32_t units)
{
    const int64_t index = unit_index(m, row, unit);
    const int32_t g = row % 8, half = row % 16 / 8, words = units * bits / 2;
    const int32_t first = (int32_t)(index % units) * 8 * bits + half * 4 * bits;
    uint32_t *load = (uint32_t *)(void *)plane + index / units * 32 * words;
    for (int32_t t = 0; t < 4; t++)
        for (int32_t place = 0; place < 8; place++) {
            const int32_t at = first + place / 2 * bits;
            const uint32_t value = (uint32_t)q[input_of(t, place)] >> shift & ((1u << bits) - 1);
            load[(4 * g + t) * words + at / 16] |= value << (at % 16 + (place & 1) * 16);
        }
}

/* Bits of the two planes; 0: bytes. */
static const struct {
    int32_t low, high;
} planes[] = {
    [MATRIX_U4] = { 4, 0 }, [MATRIX_U5] = { 4, 1 }, [MATRIX_U6] = { 4, 2 },
    [MATRIX_U3] = { 2, 1 }, [MATRIX_U2] = { 2, 0 },
};

static void put_numbers(const struct pack_image *image, const struct matrix *m, int32_t row,
                        int32_t unit, const int8_t *q)
{
    if (m->form == MATRIX_I8 || m->form == MATRIX_E4M3) {
        put_bytes(image, m, row, unit, q);
        return;
    }
    const int32_t low = planes[m->form].low, high = planes[m->form].high;
    put_plane(image->data, m, row, unit, q, low, 0, 8 / low);
    if (high > 0)
        put_plane(image->high, m, row, unit, q, high, low, 8 / low);
}

static void put_scales(const struct pack_image *image, const struct matrix *m, int32_t row,
                       int32_t unit, const struct unit *u)
{
    const int64_t index = unit_index(m, row, unit), at = index * 16 + row % 16;
    uint16_t *scales = image->scales;
    if (image->tails != NULL) {
        uint16_t *head = scales + (index / 8 * 16 + row % 16) * 2;
        memcpy(image->tails + 2 * at, u->tail, sizeof(u->tail));
        head[0] = u->d;
        head[1] = u->d_min;
        return;
    }
    scales[at] = half_to_f16(u->scale);
    if (image->mins != NULL)
        image->mins[at] = half_to_f16(u->min);
}

/* --- the blocks of GGUF: one unit of a block each ----------------------------------------------
 */

static void read_q8_0(const unsigned char *block, int32_t unit, struct unit *u)
{
    (void)unit;
    u->scale = f16_at(block);
    memcpy(u->q, block + 2, 32);
}

static void read_nibbles(const unsigned char *from, struct unit *u)
{
    for (int i = 0; i < 16; i++) {
        u->q[i] = from[i] & 15;
        u->q[i + 16] = (int8_t)(from[i] >> 4);
    }
}

static void read_q4_0(const unsigned char *block, int32_t unit, struct unit *u)
{
    (void)unit;
    u->scale = f16_at(block);
    read_nibbles(block + 2, u);
}

static void read_q4_1(const unsigned char *block, int32_t unit, struct unit *u)
{
    (void)unit;
    u->scale = f16_at(block);
    u->min = -f16_at(block + 2);
    read_nibbles(block + 4, u);
}

/* Nibbles behind 32 fifth bits. */
static void read_fives(const unsigned char *bits, struct unit *u)
{
    uint32_t high;
    memcpy(&high, bits, sizeof(high));
    read_nibbles(bits + 4, u);
    for (int i = 0; i < 32; i++)
        u->q[i] = (int8_t)(u->q[i] | (int)(high >> i & 1) << 4);
}

static void read_q5_0(const unsigned char *block, int32_t unit, struct unit *u)
{
    (void)unit;
    u->scale = f16_at(block);
    read_fives(block + 2, u);
}

static void read_q5_1(const unsigned char *block, int32_t unit, struct unit *u)
{
    (void)unit;
    u->scale = f16_at(block);
    u->min = -f16_at(block + 2);
    read_fives(block + 4, u);
}

/* Six bits each, of Q4_K and Q5_K. */
static void read_sixes(const unsigned char *s, int j, struct unit *u)
{
    u->tail[0] = (uint8_t)(j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
    u->tail[1] = (uint8_t)(j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4);
}

static void read_q4_k(const unsigned char *block, int32_t unit, struct unit *u)
{
    const unsigned char *q = block + 16 + 32 * (unit / 2);
    read_sixes(block + 4, unit, u);
    u->scale = f16_at(block) * (float)u->tail[0];
    u->min = f16_at(block + 2) * (float)u->tail[1];
    for (int i = 0; i < 32; i++)
        u->q[i] = (int8_t)(unit % 2 == 0 ? q[i] & 15 : q[i] >> 4);
}

static void read_q5_k(const unsigned char *block, int32_t unit, struct unit *u)
{
    const unsigned char *high = block + 16, *q = block + 48 + 32 * (unit / 2);
    read_sixes(block + 4, unit, u);
    u->d = half_at(block);
    u->d_min = half_at(block + 2);
    for (int i = 0; i < 32; i++)
        u->q[i] = (int8_t)((unit % 2 == 0 ? q[i] & 15 : q[i] >> 4) | (high[i] >> unit & 1) << 4);
}

/* Unit 4 h + j of the others: inputs 128 h + 32 j on. */
static void read_q2_k(const unsigned char *block, int32_t unit, struct unit *u)
{
    const int h = unit / 4, j = unit % 4;
    const unsigned char *q = block + 16 + 32 * h;
    memcpy(u->tail, block + 8 * h + 2 * j, sizeof(u->tail));
    u->d = half_at(block + 80);
    u->d_min = half_at(block + 82);
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
        u->tail[r] = (uint8_t)((low | (s[8 + k % 4] >> (2 * (k / 4)) & 3) << 4) - 32);
    }
    u->d = half_at(block + 108);
    for (int i = 0; i < 32; i++)
        u->q[i] = (int8_t)((q[i] >> (2 * j) & 3) | (block[i] >> (4 * h + j) & 1) << 2);
}

static void read_q6_k(const unsigned char *block, int32_t unit, struct unit *u)
{
    const int h = unit / 4, j = unit % 4;
    const unsigned char *low = block + 64 * h + 32 * (j & 1), *high = block + 128 + 32 * h;
    memcpy(u->tail, block + 192 + 8 * h + 2 * j, sizeof(u->tail));
    u->d = half_at(block + 208);
    for (int i = 0; i < 32; i++) {
        const int four = j < 2 ? low[i] & 15 : low[i] >> 4, two = high[i] >> (2 * j) & 3;
        u->q[i] = (int8_t)(four | two << 4);
    }
}

typedef void read_function(const unsigned char *block, int32_t unit, struct unit *u);

static read_function *const readers[] = {
    [DTYPE_Q8_0] = read_q8_0, [DTYPE_Q4_0] = read_q4_0, [DTYPE_Q4_1] = read_q4_1,
    [DTYPE_Q5_0] = read_q5_0, [DTYPE_Q5_1] = read_q5_1, [DTYPE_Q2_K] = read_q2_k,
    [DTYPE_Q3_K] = read_q3_k, [DTYPE_Q4_K] = read_q4_k, [DTYPE_Q5_K] = read_q5_k,
    [DTYPE_Q6_K] = read_q6_k,
};

void pack_row(const struct pack_image *image, const struct matrix *matrix, enum dtype dtype,
              int32_t row, const unsigned char *from)
{
    const int32_t per_block = dtype_block(dtype) / 32;
    const size_t block_bytes = dtype_row_bytes(dtype, dtype_block(dtype));
    for (int32_t unit = 0; unit < matrix->cols / 32; unit++) {
        struct unit u = { .min = 0.0f };
        readers[dtype](from + (size_t)(unit / per_block) * block_bytes, unit % per_block, &u);
        put_numbers(image, matrix, row, unit, u.q);
        put_scales(image, matrix, row, unit, &u);
    }
}

/* --- numbers with scales ------------------------------------------------------------------------
 */

static void put_scale(const struct pack_image *image, const struct matrix *m, int64_t at,
                      float scale)
{
    if (m->scale_number == NUMBER_F32)
        ((float *)image->scales)[at] = scale;
    else
        ((uint16_t *)image->scales)[at] =
            m->scale_number == NUMBER_F16 ? half_to_f16(scale) : half_to_bf16(scale);
}

void pack_scaled_row(const struct pack_image *image, const struct matrix *m,
                     const struct pack_scaling *scaling, int32_t row, const unsigned char *from,
                     unsigned char *space)
{
    const unsigned char *scales = from + m->cols;
    const unsigned char *zeros = scales + (size_t)scaling->num_groups * sizeof(float);
    const int64_t first = (int64_t)(row / 16) * m->num_groups * 16 + row % 16;
    memset(space, 0, (size_t)m->stride);
    for (int32_t g = 0; g < scaling->num_groups; g++) {
        float scale;
        memcpy(&scale, scales + (size_t)g * sizeof(scale), sizeof(scale));
        put_scale(image, m, first + g * 16, scale);
        if (image->zeros != NULL)
            image->zeros[first + g * 16] = zeros[g];
    }
    for (int32_t k = 0; k < m->cols; k++) {
        space[scaling->places[k]] = from[k];
        if (m->form == MATRIX_E4M3 && (from[k] & 0x7f) == 0x7f)
            put_scale(image, m, first + scaling->groups[k] * 16, NAN);
    }
    for (int32_t unit = 0; unit < m->stride / 32; unit++)
        put_numbers(image, m, row, unit, (const int8_t *)space + 32 * unit);
}
