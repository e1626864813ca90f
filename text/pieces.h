/*
 * pieces.h - the texts that a model's vocabulary is made of, and their ids
 *
 * What the model looks up: bytes where the pre-tokenizer is byte level, else the text as the
 * file spells it. Filled while loading, then immutable. Ids may have gaps.
 */
#ifndef TEXT_PIECES_H
#define TEXT_PIECES_H

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

struct pieces_span {
    uint32_t offset, len; /* in pieces.bytes */
};

struct pieces {
    struct pieces_span *spans; /* [num_ids] */
    int32_t num_ids;           /* highest id + 1 */
    struct strbuf bytes;       /* of all pieces */
    size_t max_bytes;          /* of one piece */
    int32_t *slots;            /* [num_slots], open addressing; -1: free */
    size_t num_slots;
};

/* Room for `num` pieces with ids below `num_ids`. 0 or -ENOMEM. */
int pieces_init(struct pieces *pieces, int32_t num_ids, size_t num);
void pieces_finish(struct pieces *pieces);

/* Add a piece; of equal ones the last is found. Returns 0 or -ENOMEM. */
int pieces_add(struct pieces *pieces, int32_t id, const char *bytes, size_t len);

/* Id of the piece with these bytes, or -1. */
int32_t pieces_find(const struct pieces *pieces, const char *bytes, size_t len);

/* The bytes of a piece, empty for an id that is none. */
const char *pieces_bytes(const struct pieces *pieces, int32_t id, size_t *ret_len);

#endif
