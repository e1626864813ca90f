#include "formats/gguf_merges.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "formats/gguf_value.h"

enum { MAX_PIECE_BYTES = 1024, MAX_MERGES = (1 << 24) - 1 };

struct merge {
    double score;
    const char *text;
    uint32_t len, left_len;         /* bytes */
    uint32_t left_chars, num_chars; /* characters */
    int64_t id, left_id, right_id;
};

struct list {
    struct merge *merges;
    size_t num, cap;
};

static int compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Greatest score first; among equals the longer left part, then the lower ids. */
static int compare_merges(const void *left, const void *right)
{
    const struct merge *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    int order = compare_numbers(b->left_chars, a->left_chars);
    if (order == 0)
        order = compare_numbers(b->num_chars - b->left_chars, a->num_chars - a->left_chars);
    if (order == 0)
        order = compare_numbers(a->id, b->id);
    if (order == 0)
        order = compare_numbers(a->left_id, b->left_id);
    return order != 0 ? order : compare_numbers(a->right_id, b->right_id);
}

static int append(struct list *list, const struct merge *merge)
{
    if (list->num == list->cap) {
        const size_t cap = list->cap > 0 ? 2 * list->cap : 1024;
        struct merge *grown = realloc(list->merges, cap * sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        list->merges = grown;
        list->cap = cap;
    }
    list->merges[list->num++] = *merge;
    return 0;
}

static bool is_boundary(char byte)
{
    return ((unsigned char)byte & 0xc0) != 0x80;
}

/* All ways to make the token of two others. */
static int split_token(struct list *list, const json_t *vocab, const struct merge *token)
{
    struct merge merge = *token;
    int r = 0;
    for (uint32_t at = 1; at < token->len; at++)
        merge.num_chars += is_boundary(token->text[at]);
    for (uint32_t at = 1; r == 0 && at < token->len; at++) {
        if (!is_boundary(token->text[at]))
            continue;
        merge.left_chars++;
        merge.left_len = at;
        const json_t *left = json_object_getn(vocab, token->text, at);
        const json_t *right =
            left == NULL ? NULL : json_object_getn(vocab, token->text + at, token->len - at);
        if (right == NULL)
            continue;
        merge.left_id = json_integer_value(left);
        merge.right_id = json_integer_value(right);
        r = list->num < MAX_MERGES ? append(list, &merge) : -EINVAL;
    }
    return r;
}

static int collect(struct list *list, const struct gguf_value *tokens,
                   const struct gguf_value *scores, const json_t *vocab, struct error *err)
{
    const unsigned char *at = tokens->at;
    const char *text;
    size_t len;
    int r = 0;
    for (int64_t id = 0; r == 0 && gguf_value_next(tokens, &at, &text, &len); id++) {
        struct merge token = { .id = id, .text = text, .len = (uint32_t)len, .num_chars = 1 };
        const json_t *known = json_object_getn(vocab, text, len);
        if (known == NULL || json_integer_value(known) != id)
            continue;
        if (len > MAX_PIECE_BYTES)
            return error_set(err, -EINVAL,
                             "tokenizer.ggml.tokens: token %" PRId64
                             " has %zu bytes, wanted at most %d beside scores",
                             id, len, MAX_PIECE_BYTES);
        if (!gguf_value_real(scores, (uint64_t)id, &token.score) || token.score != token.score)
            return error_set(err, -EINVAL, "tokenizer.ggml.scores: %" PRId64 " is no number", id);
        r = split_token(list, vocab, &token);
    }
    return r == -EINVAL
               ? error_set(err, r, "tokenizer.ggml.tokens: more than %d merges", MAX_MERGES)
           : r < 0 ? error_set(err, r, "no memory for merges")
                   : 0;
}

int gguf_merges_from_scores(const struct gguf_value *tokens, const struct gguf_value *scores,
                            const json_t *vocab, json_t *merges, struct error *err)
{
    struct list list = { 0 };
    int r = collect(&list, tokens, scores, vocab, err);
    if (r == 0 && list.num > 0)
        qsort(list.merges, list.num, sizeof(*list.merges), compare_merges);
    for (size_t i = 0; r == 0 && i < list.num; i++) {
        const struct merge *merge = &list.merges[i];
        json_t *pair = json_array();
        json_array_append_new(pair, json_stringn(merge->text, merge->left_len));
        json_array_append_new(
            pair, json_stringn(merge->text + merge->left_len, merge->len - merge->left_len));
        if (json_array_size(pair) != 2 || json_array_append_new(merges, pair) < 0)
            r = error_set(err, -ENOMEM, "no memory for merges");
    }
    free(list.merges);
    return r;
}
