/*
 * vocab.h - token ids and the bytes they stand for
 *
 * Filled while loading, then immutable. Ids may have gaps, and tokens may stand for the same
 * bytes.
 */
#ifndef TEXT_VOCAB_H
#define TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

enum { VOCAB_IDS_MAX = 1 << 20 };

enum vocab_flags {
    VOCAB_PRESENT = 1,
    VOCAB_ADDED = 2,
    VOCAB_SPECIAL = 4,
    VOCAB_BYTE = 8, /* one byte of a character that has no token */
};

struct vocab_token {
    uint32_t offset, len; /* in vocab.bytes */
};

struct vocab {
    struct vocab_token *tokens; /* [num_ids] */
    uint8_t *flags;             /* [num_ids] */
    int32_t num_ids;            /* highest id + 1 */
    struct strbuf bytes;        /* of all tokens, a NUL behind each */
    size_t max_token_bytes;
};

/* Room for `num_ids` ids. 0 or -ENOMEM. */
int vocab_init(struct vocab *vocab, int32_t num_ids);
void vocab_finish(struct vocab *vocab);

/* Give `id` its bytes; an id that has some gets new ones. Returns 0, -ENOMEM. */
int vocab_set(struct vocab *vocab, int32_t id, const char *bytes, size_t len, unsigned flags);

/* Is there a token of this id? Any number may be asked for. */
bool vocab_has(const struct vocab *vocab, int64_t id);

/* Bytes of a present id; NULL and 0 otherwise. */
const char *vocab_bytes(const struct vocab *vocab, int32_t id, size_t *ret_len);

#endif
