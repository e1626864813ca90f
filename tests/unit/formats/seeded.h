/*
 * seeded.h - the generator and the hash of tests/golden/gguf_files.py
 */
#ifndef TESTS_UNIT_FORMATS_SEEDED_H
#define TESTS_UNIT_FORMATS_SEEDED_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* splitmix64, little-endian. */
static inline void seeded_bytes(uint64_t seed, unsigned char *to, size_t num)
{
    for (size_t i = 0; i < num; i += 8) {
        uint64_t z = seed += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        memcpy(to + i, &z, num - i < 8 ? num - i : 8);
    }
}

/* FNV-1a over the bits of floats; every NaN counts as the same. */
static inline uint64_t seeded_hash(const float *values, size_t num)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < num; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof(bits));
        if ((bits & 0x7fffffff) > 0x7f800000)
            bits = 0x7fc00000;
        for (int shift = 0; shift < 32; shift += 8)
            hash = (hash ^ (bits >> shift & 0xff)) * 0x100000001B3u;
    }
    return hash;
}

#endif
