/*
 * unpack.h - a block of a GGUF file taken apart, before a backend lays it out anew
 *
 * Any thread. Source: what formats/block.c says of each type, without its arithmetic.
 */
#ifndef KERNELS_UNPACK_H
#define KERNELS_UNPACK_H

#include <string.h>

#include "kernels/dtype.h"

enum { UNPACK_BLOCK = 32, UNPACK_SUPER = 8 /* of them in a block of 256 inputs */ };

/*
 * Quants are whole numbers from 0 on (of Q8_0 128 more than the file's). In front of 256 inputs
 * stands a scale in f16, in some types a second one of minima; behind 32 inputs stand two bytes, or
 * a scale in f16 and in some a minimum. What a type does not have is left as it is.
 */
struct unpacked {
    uint8_t q[UNPACK_BLOCK * UNPACK_SUPER];
    unsigned char head[4], tails[UNPACK_SUPER][4];
};

/* `dtype` is of blocks; `from` one block of the file. */
void unpack_block(enum dtype dtype, const unsigned char *from, struct unpacked *to);

/* Bytes are handled four at a time. */
static inline uint32_t unpack_four(const uint8_t *from)
{
    uint32_t four;
    memcpy(&four, from, sizeof(four));
    return four;
}

static inline void unpack_put_four(unsigned char *to, uint32_t four)
{
    memcpy(to, &four, sizeof(four));
}

#endif
