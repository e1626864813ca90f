/*
 * token_store.h - the tokens of requests that wait, in chunks of one arena
 *
 * A waiting request may bring a prompt of any length, so its tokens lie in a chain of fixed
 * chunks; a sequence that gets a seat copies them to its own flat array. The arena is as large
 * as everything that may wait and run together, and chunks are reused last in, first out, so that
 * memory in use follows the load.
 *
 * Threads: engine thread only. Nothing here allocates after init.
 */
#ifndef WORKER_TOKEN_STORE_H
#define WORKER_TOKEN_STORE_H

#include <stdint.h>

#include "worker/reserve.h"

enum { TOKEN_STORE_CHUNK = 256 }; /* tokens: 1 KiB, half of it wasted by a list on average */

struct token_store {
    int32_t num_chunks, num_free;
    int32_t num_fresh; /* chunks from here on were never used */
    int32_t free_head; /* chain of used ones that came back, -1: none */
    int32_t *next;     /* [num_chunks] chunk behind, -1: last */
    int32_t *ids;      /* [num_chunks][TOKEN_STORE_CHUNK] */
};

/* An empty list has first = last = -1. */
struct token_list {
    int32_t first, last; /* chunks */
    int32_t num_tokens;
};

extern const struct token_list token_list_empty;

/* Returns 0 or -ENOMEM. */
int token_store_init(struct token_store *store, int64_t num_tokens, struct reserve *reserve);

/* Append `num` ids, all or none. Returns 0, or -ENOSPC (ordinary). */
int token_store_append(struct token_store *store, struct token_list *list, const int32_t *ids,
                       int32_t num);

/* Copy ids [first, first + num) of the list, which has them, to `ret_ids`. */
void token_store_read(const struct token_store *store, const struct token_list *list, int32_t first,
                      int32_t num, int32_t *ret_ids);

/* Give the chunks back and empty the list. */
void token_store_free(struct token_store *store, struct token_list *list);

#endif
