#include "kernels/unpack.h"

/* Of 32 bytes the bits from `shift` on that `mask` leaves, as they are or `up` higher beside what
 * is there. */
static void take_bits(const unsigned char *from, int shift, uint32_t mask, uint8_t *q)
{
    for (int32_t l = 0; l < UNPACK_BLOCK; l += 4)
        unpack_put_four(q + l, unpack_four(from + l) >> shift & mask);
}

static void add_bits(const unsigned char *from, int shift, uint32_t mask, int up, uint8_t *q)
{
    for (int32_t l = 0; l < UNPACK_BLOCK; l += 4)
        unpack_put_four(q + l, unpack_four(q + l) | (unpack_four(from + l) >> shift & mask) << up);
}

#define NIBBLES 0x0f0f0f0fU
#define PAIRS   0x03030303U
#define ONES    0x01010101U

static void unpack_nibbles(const unsigned char *from, uint8_t *q)
{
    for (int32_t j = 0; j < 16; j += 4) {
        unpack_put_four(q + j, unpack_four(from + j) & NIBBLES);
        unpack_put_four(q + 16 + j, unpack_four(from + j) >> 4 & NIBBLES);
    }
}

/* Bit e of four bytes above nibble e. */
static void add_fifth(const unsigned char *bits, uint8_t *q)
{
    for (int32_t e = 0; e < UNPACK_BLOCK; e++)
        q[e] = (uint8_t)(q[e] | (bits[e / 8] >> e % 8 & 1) << 4);
}

static void unpack_q8_0(const unsigned char *from, struct unpacked *to)
{
    memcpy(to->tails[0], from, 2);
    for (int32_t k = 0; k < UNPACK_BLOCK; k += 4)
        unpack_put_four(to->q + k, unpack_four(from + 2 + k) ^ 0x80808080U);
}

static void unpack_q4_0(const unsigned char *from, struct unpacked *to)
{
    memcpy(to->tails[0], from, 2);
    unpack_nibbles(from + 2, to->q);
}

static void unpack_q4_1(const unsigned char *from, struct unpacked *to)
{
    memcpy(to->tails[0], from, 4);
    unpack_nibbles(from + 4, to->q);
}

static void unpack_q5_0(const unsigned char *from, struct unpacked *to)
{
    memcpy(to->tails[0], from, 2);
    unpack_nibbles(from + 6, to->q);
    add_fifth(from + 2, to->q);
}

static void unpack_q5_1(const unsigned char *from, struct unpacked *to)
{
    memcpy(to->tails[0], from, 4);
    unpack_nibbles(from + 8, to->q);
    add_fifth(from + 4, to->q);
}

/* Sub-scale and sub-minimum of 12 bytes: six bits each. */
static void unpack_pairs(const unsigned char *s, struct unpacked *to)
{
    for (int32_t j = 0; j < UNPACK_SUPER; j++) {
        to->tails[j][0] = (unsigned char)(j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4);
        to->tails[j][1] = (unsigned char)(j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4);
    }
}

static void unpack_q4_k(const unsigned char *from, struct unpacked *to)
{
    memcpy(to->head, from, 4);
    unpack_pairs(from + 4, to);
    for (int32_t sub = 0; sub < UNPACK_SUPER; sub++)
        take_bits(from + 16 + sub / 2 * 32, sub % 2 * 4, NIBBLES, to->q + 32 * sub);
}

static void unpack_q5_k(const unsigned char *from, struct unpacked *to)
{
    memcpy(to->head, from, 4);
    unpack_pairs(from + 4, to);
    for (int32_t sub = 0; sub < UNPACK_SUPER; sub++) {
        take_bits(from + 48 + sub / 2 * 32, sub % 2 * 4, NIBBLES, to->q + 32 * sub);
        add_bits(from + 16, sub, ONES, 4, to->q + 32 * sub);
    }
}

static void unpack_q6_k(const unsigned char *from, struct unpacked *to)
{
    memcpy(to->head, from + 208, 2);
    for (int32_t sub = 0; sub < UNPACK_SUPER; sub++) {
        const int32_t half = sub / 4, part = sub % 4;
        take_bits(from + 64 * half + 32 * (part % 2), 4 * (part / 2), NIBBLES, to->q + 32 * sub);
        add_bits(from + 128 + 32 * half, 2 * part, PAIRS, 4, to->q + 32 * sub);
    }
    for (int32_t j = 0; j < UNPACK_SUPER; j++)
        memcpy(to->tails[j], from + 192 + 2 * j, 2);
}

static void unpack_q2_k(const unsigned char *from, struct unpacked *to)
{
    memcpy(to->head, from + 80, 4);
    for (int32_t sub = 0; sub < UNPACK_SUPER; sub++)
        take_bits(from + 16 + sub / 4 * 32, sub % 4 * 2, PAIRS, to->q + 32 * sub);
    for (int32_t j = 0; j < UNPACK_SUPER; j++)
        memcpy(to->tails[j], from + 2 * j, 2);
}

static void unpack_q3_k(const unsigned char *from, struct unpacked *to)
{
    const unsigned char *s = from + 96;
    memcpy(to->head, from + 108, 2);
    for (int32_t sub = 0; sub < UNPACK_SUPER; sub++) {
        take_bits(from + 32 + sub / 4 * 32, sub % 4 * 2, PAIRS, to->q + 32 * sub);
        add_bits(from, sub, ONES, 2, to->q + 32 * sub);
    }
    for (int32_t k = 0; k < 2 * UNPACK_SUPER; k++) {
        const int32_t low = k < 8 ? s[k] & 15 : s[k - 8] >> 4, high = s[8 + k % 4] >> k / 4 * 2 & 3;
        to->tails[k / 2][k % 2] = (unsigned char)((low | high << 4) - 32);
    }
}

static void (*const unpackers[])(const unsigned char *from, struct unpacked *to) = {
    [DTYPE_Q8_0] = unpack_q8_0, [DTYPE_Q4_0] = unpack_q4_0, [DTYPE_Q4_1] = unpack_q4_1,
    [DTYPE_Q5_0] = unpack_q5_0, [DTYPE_Q5_1] = unpack_q5_1, [DTYPE_Q2_K] = unpack_q2_k,
    [DTYPE_Q3_K] = unpack_q3_k, [DTYPE_Q4_K] = unpack_q4_k, [DTYPE_Q5_K] = unpack_q5_k,
    [DTYPE_Q6_K] = unpack_q6_k,
};

void unpack_block(enum dtype dtype, const unsigned char *from, struct unpacked *to)
{
    unpackers[dtype](from, to);
}
