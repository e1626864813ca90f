/*
 * vocab.h - token ids and the bytes they stand for
 *
 * Filled while loading, then immutable. Ids may have gaps. Two tokens may stand for the same
 * bytes (an added token and an ordinary one); the table from bytes to id holds the ordinary
 * tokens that the model can produce, and of equal ones the first.
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
    int32_t *slots; /* [num_slots], open addressing; -1: free */
    size_t num_slots;
};

/* Room for `num_ids` ids, `num_pieces` of them to be found by their bytes. 0 or -ENOMEM. */
int vocab_init(struct vocab *vocab, int32_t num_ids, size_t num_pieces);
void vocab_finish(struct vocab *vocab);

/* Give `id` its bytes; an id that has some gets new ones. Returns 0, -ENOMEM. */
int vocab_set(struct vocab *vocab, int32_t id, const char *bytes, size_t len, unsigned flags);

/* Make `id` findable by its bytes unless another is. At most `num_pieces` times. */
void vocab_add_piece(struct vocab *vocab, int32_t id);

/* Id of the piece with these bytes, or -1. */
int32_t vocab_find_piece(const struct vocab *vocab, const char *bytes, size_t len);

/* Is there a token of this id? Any number may be asked for. */
bool vocab_has(const struct vocab *vocab, int64_t id);

/* Bytes of a present id; NULL and 0 otherwise. */
const char *vocab_bytes(const struct vocab *vocab, int32_t id, size_t *ret_len);

#endif
