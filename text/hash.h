/*
 * hash.h - a hash of a run of bytes, and of a pair, for the tables of the tokenizer
 *
 * Not keyed: the tables are filled from the model's own file, and the word cache replaces
 * instead of chaining, so nobody gains from collisions.
 */
#ifndef TEXT_HASH_H
#define TEXT_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t hash_mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9E3779B97F4A7C15u; /* 2^64 / golden ratio */
    return h ^ h >> 32;
}

static inline uint64_t hash_bytes(const char *bytes, size_t len)
{
    uint64_t h = len, word;
    for (; len >= sizeof(word); len -= sizeof(word), bytes += sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        h = hash_mix(h, word);
    }
    word = 0;
    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)(uint8_t)bytes[i] << 8 * i;
    return hash_mix(hash_mix(h, word), len);
}

#endif
