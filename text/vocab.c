#include "text/vocab.h"

#include <errno.h>
#include <stdlib.h>

int vocab_init(struct vocab *vocab, int32_t num_ids)
{
    struct vocab v = { .num_ids = num_ids, .bytes.limit = INT32_MAX };
    v.tokens = calloc((size_t)num_ids + 1, sizeof(*v.tokens));
    v.flags = calloc((size_t)num_ids + 1, sizeof(*v.flags));
    if (v.tokens == NULL || v.flags == NULL) {
        vocab_finish(&v);
        return -ENOMEM;
    }
    *vocab = v;
    return 0;
}

void vocab_finish(struct vocab *vocab)
{
    free(vocab->tokens);
    free(vocab->flags);
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
