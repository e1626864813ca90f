#include "kernels/cuda/pack.h"

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/unpack.h"

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

/* --- blocks of GGUF --------------------------------------------------------------------------- */

/* Unit `i` of a block; `is_super`: it has a head. */
static void take_unit(const struct unpacked *block, int32_t i, enum dtype dtype, bool is_super,
                      struct unit *u)
{
    const unsigned char *tail = block->tails[i];
    const float first = f16_at(is_super ? block->head : tail);
    const float second = f16_at(is_super ? block->head + 2 : tail + 2);
    u->scale = is_super ? first * (float)tail[0] : first;
    u->min = is_super ? second * (float)tail[1] : -second;
    u->d = half_at(block->head);
    u->d_min = half_at(block->head + 2);
    memcpy(u->tail, tail, sizeof(u->tail));
    for (int k = 0; k < 32; k++)
        u->q[k] = (int8_t)(block->q[32 * i + k] ^ (dtype == DTYPE_Q8_0 ? 0x80 : 0));
}

void pack_row(const struct pack_image *image, const struct matrix *matrix, enum dtype dtype,
              int32_t row, const unsigned char *from)
{
    const int32_t per_block = dtype_block(dtype) / 32;
    const size_t block_bytes = dtype_row_bytes(dtype, dtype_block(dtype));
    struct unpacked block = { .head = { 0 } };
    struct unit u;
    for (int32_t unit = 0; unit < matrix->cols / 32; unit++) {
        if (unit % per_block == 0)
            unpack_block(dtype, from + (size_t)(unit / per_block) * block_bytes, &block);
        take_unit(&block, unit % per_block, dtype, per_block > 1, &u);
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
    const bool is_rows = m->form == MATRIX_E4M3_ROWS;
    for (int32_t g = 0; g < scaling->num_groups; g++) {
        float scale;
        memcpy(&scale, scales + (size_t)g * sizeof(scale), sizeof(scale));
        put_scale(image, m, first + g * 16, scale);
        if (image->zeros != NULL)
            image->zeros[first + g * 16] = zeros[g];
    }
    for (int32_t k = 0; (is_rows || m->form == MATRIX_E4M3) && k < m->cols; k++)
        if ((from[k] & 0x7f) == 0x7f)
            put_scale(image, m, first + scaling->groups[k] * 16, NAN);
    if (is_rows) {
        memcpy(image->data + (size_t)row * (size_t)m->stride, from, (size_t)m->cols);
        return;
    }
    memset(space, 0, (size_t)m->stride);
    for (int32_t k = 0; k < m->cols; k++)
        space[scaling->places[k]] = from[k];
    for (int32_t unit = 0; unit < m->stride / 32; unit++)
        put_numbers(image, m, row, unit, (const int8_t *)space + 32 * unit);
}
