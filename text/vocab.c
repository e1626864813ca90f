#include "text/vocab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/hash.h"

int vocab_init(struct vocab *vocab, int32_t num_ids, size_t num_pieces)
{
    struct vocab v = { .num_ids = num_ids, .num_slots = 16 };
    while (v.num_slots < 2 * num_pieces)
        v.num_slots *= 2;
    v.bytes.limit = INT32_MAX;
    v.tokens = calloc((size_t)num_ids + 1, sizeof(*v.tokens));
    v.flags = calloc((size_t)num_ids + 1, sizeof(*v.flags));
    v.slots = malloc(v.num_slots * sizeof(*v.slots));
    if (v.tokens == NULL || v.flags == NULL || v.slots == NULL) {
        vocab_finish(&v);
        return -ENOMEM;
    }
    memset(v.slots, 0xFF, v.num_slots * sizeof(*v.slots));
    *vocab = v;
    return 0;
}

void vocab_finish(struct vocab *vocab)
{
    free(vocab->tokens);
    free(vocab->flags);
    free(vocab->slots);
    strbuf_finish(&vocab->bytes);
    *vocab = (struct vocab){ 0 };
}

int vocab_set(struct vocab *vocab, int32_t id, const char *bytes, size_t len, unsigned flags)
{
    const size_t offset = vocab->bytes.len;
    strbuf_append(&vocab->bytes, bytes, len);
    strbuf_append_char(&vocab->bytes, '\0');
    if (vocab->bytes.failed)
        return -ENOMEM;
    vocab->tokens[id] = (struct vocab_token){ (uint32_t)offset, (uint32_t)len };
    vocab->flags[id] = (uint8_t)(vocab->flags[id] | VOCAB_PRESENT | flags);
    if (len > vocab->max_token_bytes)
        vocab->max_token_bytes = len;
    return 0;
}

/* The slot of these bytes, or the free one where they belong. */
static size_t find_slot(const struct vocab *vocab, const char *bytes, size_t len)
{
    size_t at = hash_bytes(bytes, len) & (vocab->num_slots - 1);
    while (vocab->slots[at] >= 0) {
        const struct vocab_token *token = &vocab->tokens[vocab->slots[at]];
        if (token->len == len && memcmp(vocab->bytes.data + token->offset, bytes, len) == 0)
            break;
        at = (at + 1) & (vocab->num_slots - 1);
    }
    return at;
}

void vocab_add_piece(struct vocab *vocab, int32_t id)
{
    const struct vocab_token *token = &vocab->tokens[id];
    const size_t at = find_slot(vocab, vocab->bytes.data + token->offset, token->len);
    if (vocab->slots[at] < 0)
        vocab->slots[at] = id;
}

int32_t vocab_find_piece(const struct vocab *vocab, const char *bytes, size_t len)
{
    return vocab->slots[find_slot(vocab, bytes, len)];
}

bool vocab_has(const struct vocab *vocab, int64_t id)
{
    return id >= 0 && id < vocab->num_ids && (vocab->flags[id] & VOCAB_PRESENT) != 0;
}

const char *vocab_bytes(const struct vocab *vocab, int32_t id, size_t *ret_len)
{
    *ret_len = 0;
    if (!vocab_has(vocab, id))
        return NULL;
    *ret_len = vocab->tokens[id].len;
    return vocab->bytes.data + vocab->tokens[id].offset;
}
