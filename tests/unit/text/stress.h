/*
 * stress.h - the seeded texts of tests/golden/stress_text.py, and the kinds of tokenizer that
 * tests/golden/tokenizer_stress.py made
 */
#ifndef TESTS_UNIT_TEXT_STRESS_H
#define TESTS_UNIT_TEXT_STRESS_H

#include <stdlib.h>

#include "golden.h"
#include "text/tokenizer_parts.h"

#define STRESS_DIR SOURCE_ROOT "/tests/golden/tokenizer_stress/"

/* The lists of parts.json. */
struct stress {
    json_t *root;
    const json_t *fragments, *spaces, *emoji, *joiners, *ranges;
};

static inline void stress_open(struct stress *stress)
{
    json_t *root = golden_load(STRESS_DIR "parts.json");
    *stress = (struct stress){ root,
                               json_object_get(root, "fragments"),
                               json_object_get(root, "spaces"),
                               json_object_get(root, "emoji"),
                               json_object_get(root, "joiners"),
                               json_object_get(root, "ranges") };
}

static inline uint64_t stress_below(uint64_t *state, uint64_t n)
{
    return golden_random(state) % n;
}

static inline const json_t *stress_pick(const json_t *list, uint64_t *state)
{
    return json_array_get(list, stress_below(state, json_array_size(list)));
}

static inline void stress_append(const json_t *text, uint64_t times, struct strbuf *out)
{
    for (; times > 0; times--)
        strbuf_append(out, json_string_value(text), json_string_length(text));
}

static inline void stress_word(const struct stress *stress, uint64_t *state, struct strbuf *out)
{
    const json_t *range = stress_pick(stress->ranges, state);
    const uint64_t low = (uint64_t)json_integer_value(json_array_get(range, 0));
    const uint64_t high = (uint64_t)json_integer_value(json_array_get(range, 1));
    for (uint64_t n = 1 + stress_below(state, 8); n > 0; n--) {
        char bytes[4];
        const uint32_t c = (uint32_t)(low + stress_below(state, high - low + 1));
        strbuf_append(out, bytes, (size_t)utf8_encode(c, bytes));
    }
}

static inline void stress_emoji(const struct stress *stress, uint64_t *state, struct strbuf *out)
{
    for (uint64_t n = 1 + stress_below(state, 4); n > 0; n--) {
        stress_append(stress_pick(stress->emoji, state), 1, out);
        stress_append(stress_pick(stress->joiners, state), 1, out);
    }
}

/* Bytes that are not UTF-8 become U+FFFD, one for each maximal subpart; so do characters that may
 * be too young. */
static inline void stress_bytes(uint64_t *state, struct strbuf *out)
{
    char bytes[10];
    const size_t len = 1 + (size_t)stress_below(state, sizeof(bytes));
    for (size_t i = 0; i < len; i++) {
        const bool any = stress_below(state, 10) < 6;
        bytes[i] = (char)(any ? stress_below(state, 256) : 0x80 + stress_below(state, 0x78));
    }
    for (size_t at = 0; at < len;) {
        uint32_t c = 0;
        const int n = utf8_decode(bytes + at, len - at, &c);
        const bool plain = n > 0 && (c < 0x600 || (c >= 0x4E00 && c <= 0x9FEF));
        strbuf_append(out, plain ? bytes + at : "\xEF\xBF\xBD", plain ? (size_t)n : 3);
        at += n > 0 ? (size_t)n : utf8_invalid_len(bytes + at, len - at);
    }
}

static inline void stress_part(const struct stress *stress, uint64_t *state, struct strbuf *out)
{
    const uint64_t kind = stress_below(state, 16);
    if (kind < 6) {
        stress_append(stress_pick(stress->fragments, state), 1, out);
    } else if (kind < 10) {
        strbuf_append_text(out, kind < 8 ? " " : "");
        stress_word(stress, state, out);
    } else if (kind < 12) {
        stress_append(stress_pick(stress->spaces, state), 1, out);
    } else if (kind < 14) {
        const json_t *text = stress_pick(kind == 12 ? stress->spaces : stress->fragments, state);
        stress_append(text, 1 + stress_below(state, kind == 12 ? 40 : 20), out);
    } else if (kind == 14) {
        stress_emoji(stress, state, out);
    } else {
        stress_bytes(state, out);
    }
}

static inline void stress_text(const struct stress *stress, uint64_t seed, struct strbuf *out)
{
    uint64_t state = seed;
    strbuf_reset(out);
    strbuf_append(out, "", 0);
    for (uint64_t n = 1 + stress_below(&state, 20); n > 0; n--)
        stress_part(stress, &state, out);
}

static inline uint64_t stress_hash(uint64_t hash, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (uint8_t)bytes[i]) * 0x100000001B3u;
    return hash;
}

static inline uint32_t stress_fold(uint64_t hash)
{
    return (uint32_t)(hash ^ hash >> 32);
}

static inline uint64_t stress_hash_ids(uint64_t hash, const struct token_ids *ids)
{
    for (size_t i = 0; i < ids->num; i++) {
        const uint32_t id = (uint32_t)ids->ids[i];
        const char bytes[4] = { (char)id, (char)(id >> 8), (char)(id >> 16), (char)(id >> 24) };
        hash = stress_hash(hash, bytes, 4);
    }
    return hash;
}

/* The tokenizer file of a row of kinds.json: the parts of the kind in place of the file's own. */
static inline json_t *stress_kind(const json_t *kind)
{
    char path[512];
    const char *key;
    json_t *value;
    snprintf(path, sizeof(path), "%s%s.json", STRESS_DIR,
             json_string_value(json_object_get(kind, "tokenizer")));
    json_t *file = golden_load(path);
    json_object_foreach(json_object_get(kind, "parts"), key, value)
    {
        if (strncmp(key, "model.", 6) == 0)
            json_object_set(json_object_get(file, "model"), key + 6, value);
        else
            json_object_set(file, key, value);
    }
    return file;
}

static inline struct tokenizer *stress_tokenizer(const json_t *file, bool by_hand)
{
    struct tokenizer *tokenizer = NULL;
    struct error err = { 0 };
    char *json = json_dumps(file, JSON_COMPACT);
    const int r = tokenizer_parts_from_json(json, strlen(json), NULL, 0, by_hand, &tokenizer, &err);
    ck_assert_msg(r == 0, "%s", err.message);
    free(json);
    return tokenizer;
}

#define STRESS_HASH_START 0xCBF29CE484222325u

#endif
