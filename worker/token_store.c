#include "worker/token_store.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

const struct token_list token_list_empty = { .first = -1, .last = -1 };

int token_store_init(struct token_store *store, int64_t num_tokens, struct reserve *reserve)
{
    const int64_t num_chunks = (num_tokens + TOKEN_STORE_CHUNK - 1) / TOKEN_STORE_CHUNK;
    if (num_chunks > INT32_MAX)
        return -ENOMEM;
    int32_t *next = reserve_array(reserve, (size_t)num_chunks, sizeof(*next));
    int32_t *ids = reserve_array(reserve, (size_t)num_chunks, TOKEN_STORE_CHUNK * sizeof(*ids));
    if (next == NULL || ids == NULL)
        return -ENOMEM;
    *store = (struct token_store){ .num_chunks = (int32_t)num_chunks,
                                   .num_free = (int32_t)num_chunks,
                                   .free_head = -1,
                                   .next = next,
                                   .ids = ids };
    return 0;
}

static int32_t *chunk_ids(const struct token_store *store, int32_t chunk)
{
    return store->ids + (size_t)chunk * TOKEN_STORE_CHUNK;
}

static int32_t take_chunk(struct token_store *store)
{
    int32_t chunk = store->free_head;
    if (chunk >= 0)
        store->free_head = store->next[chunk];
    else
        chunk = store->num_fresh++;
    store->num_free--;
    store->next[chunk] = -1;
    return chunk;
}

static void add_chunk(struct token_store *store, struct token_list *list)
{
    const int32_t chunk = take_chunk(store);
    if (list->last >= 0)
        store->next[list->last] = chunk;
    else
        list->first = chunk;
    list->last = chunk;
}

static int64_t chunks_of(int64_t num_tokens)
{
    return (num_tokens + TOKEN_STORE_CHUNK - 1) / TOKEN_STORE_CHUNK;
}

int token_store_append(struct token_store *store, struct token_list *list, const int32_t *ids,
                       int32_t num)
{
    const int64_t total = (int64_t)list->num_tokens + num;
    if (total > INT32_MAX || chunks_of(total) - chunks_of(list->num_tokens) > store->num_free)
        return -ENOSPC;
    while (num > 0) {
        const int32_t used = list->num_tokens % TOKEN_STORE_CHUNK;
        if (used == 0)
            add_chunk(store, list);
        const int32_t room = TOKEN_STORE_CHUNK - used, n = num < room ? num : room;
        memcpy(chunk_ids(store, list->last) + used, ids, (size_t)n * sizeof(*ids));
        list->num_tokens += n;
        ids += n;
        num -= n;
    }
    return 0;
}

void token_store_read(const struct token_store *store, const struct token_list *list, int32_t first,
                      int32_t num, int32_t *ret_ids)
{
    assert(first >= 0 && num >= 0 && first <= list->num_tokens - num);
    int32_t chunk = list->first;
    for (int32_t skip = first / TOKEN_STORE_CHUNK; skip > 0 && num > 0; skip--)
        chunk = store->next[chunk];
    for (int32_t at = first % TOKEN_STORE_CHUNK; num > 0; at = 0) {
        const int32_t room = TOKEN_STORE_CHUNK - at, n = num < room ? num : room;
        memcpy(ret_ids, chunk_ids(store, chunk) + at, (size_t)n * sizeof(*ret_ids));
        ret_ids += n;
        num -= n;
        chunk = store->next[chunk];
    }
}

void token_store_free(struct token_store *store, struct token_list *list)
{
    store->num_free += (int32_t)chunks_of(list->num_tokens);
    if (list->last >= 0) {
        store->next[list->last] = store->free_head;
        store->free_head = list->first;
    }
    *list = token_list_empty;
}
