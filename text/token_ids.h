/*
 * token_ids.h - growing array of token ids
 */
#ifndef TEXT_TOKEN_IDS_H
#define TEXT_TOKEN_IDS_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed to begin with, given back by token_ids_finish(). */
struct token_ids {
    int32_t *ids;
    size_t num, cap;
};

void token_ids_finish(struct token_ids *ids);

/* Room for `num` more. Returns 0 or -ENOMEM. */
int token_ids_reserve(struct token_ids *ids, size_t num);

/* Append `num` ids. Returns 0 or -ENOMEM. */
int token_ids_append(struct token_ids *ids, const int32_t *more, size_t num);

#endif
