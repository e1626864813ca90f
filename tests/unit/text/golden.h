/*
 * golden.h - what the tests of the tokenizer share: recorded texts, the seeded generator, hashes
 *
 * The generator is that of tests/golden/tokenizer.py.
 */
#ifndef TESTS_UNIT_TEXT_GOLDEN_H
#define TESTS_UNIT_TEXT_GOLDEN_H

#include <check.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/strbuf.h"
#include "base/utf8.h"
#include "text/tokenizer.h"

#define GOLDEN_DIR SOURCE_ROOT "/tests/golden/tokenizer/"

static inline json_t *golden_load(const char *path)
{
    json_t *value = NULL;
    struct error err = { 0 };
    const int r = json_read_file(path, 16 << 20, &json_limits_file, &value, &err);
    ck_assert_msg(r == 0, "%s", err.message);
    return value;
}

static inline uint64_t golden_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline void golden_append_fragment(const json_t *fragments, uint64_t *state, bool many,
                                          struct strbuf *out)
{
    const json_t *text =
        json_array_get(fragments, golden_random(state) % json_array_size(fragments));
    const uint64_t times = many ? 1 + golden_random(state) % 40 : 1;
    for (uint64_t i = 0; i < times; i++)
        strbuf_append(out, json_string_value(text), json_string_length(text));
}

static inline void golden_append_char(const json_t *ranges, uint64_t *state, struct strbuf *out)
{
    const json_t *range = json_array_get(ranges, golden_random(state) % json_array_size(ranges));
    const uint64_t low = (uint64_t)json_integer_value(json_array_get(range, 0));
    const uint64_t high = (uint64_t)json_integer_value(json_array_get(range, 1));
    char bytes[4];
    const uint64_t c = low + golden_random(state) % (high - low + 1);
    strbuf_append(out, bytes, (size_t)utf8_encode((uint32_t)c, bytes));
}

/* The text of `seed` from the fragments and ranges of texts.json. */
static inline void golden_seeded_text(const json_t *texts, uint64_t seed, struct strbuf *out)
{
    const json_t *fragments = json_object_get(texts, "fragments");
    uint64_t state = seed;
    strbuf_reset(out);
    strbuf_append(out, "", 0);
    for (uint64_t n = 1 + golden_random(&state) % 24; n > 0; n--) {
        const uint64_t kind = golden_random(&state) % 16;
        if (kind < 9 || kind >= 14)
            golden_append_fragment(fragments, &state, kind >= 14, out);
        else
            golden_append_char(json_object_get(texts, "ranges"), &state, out);
    }
}

/* FNV-1a over the ids, little endian. */
static inline uint64_t golden_hash(const struct token_ids *ids)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < ids->num; i++)
        for (int shift = 0; shift < 32; shift += 8)
            hash = (hash ^ ((uint32_t)ids->ids[i] >> shift & 0xFFu)) * 0x100000001B3u;
    return hash;
}

#endif
