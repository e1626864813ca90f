#include "text/unigram.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/component.h"
#include "text/unicode.h"

#define UNK_PENALTY 10.0 /* as in SentencePiece */

/* The best way to write the piece up to a byte. */
struct unigram_node {
    union {
        double score;
        int32_t end; /* once the best way is known: where the token that begins here ends */
    };
    int32_t start, id; /* of its last token; start -1: there is no way */
};

void unigram_work_finish(struct unigram_work *work)
{
    free(work->nodes);
    *work = (struct unigram_work){ 0 };
}

static int reserve(struct unigram_work *work, size_t num)
{
    if (num <= work->cap_nodes)
        return 0;
    const size_t cap = num < 256 ? 256 : num + num / 2;
    free(work->nodes);
    work->nodes = calloc(cap, sizeof(*work->nodes));
    work->cap_nodes = work->nodes != NULL ? cap : 0;
    return work->nodes != NULL ? 0 : -ENOMEM;
}

static inline void offer(struct unigram_node *node, double score, size_t start, int32_t id)
{
    if (node->start >= 0 && !(score > node->score))
        return;
    node->score = score;
    node->start = (int32_t)start;
    node->id = id;
}

/* Extend the best way up to `at` by each token that begins there. */
static void extend(const struct unigram *unigram, struct unigram_node *nodes, const char *piece,
                   size_t len, size_t at, size_t char_len)
{
    const struct trie *trie = &unigram->trie;
    const double before = nodes[at].score;
    bool has_char = false;
    int32_t node = trie->roots[(uint8_t)piece[at]];
    for (size_t end = at + 1; node > 0; end++) {
        const int32_t id = trie->ids[node];
        if (id >= 0) {
            offer(&nodes[end], unigram->scores[id] + before, at, id);
            has_char = has_char || end - at == char_len;
        }
        node = end < len ? trie_child(trie, node, (uint8_t)piece[end]) : 0;
    }
    if (!has_char)
        offer(&nodes[at + char_len], unigram->unk_score + before, at, unigram->unk_id);
}

static void find_best(const struct unigram *unigram, struct unigram_node *nodes, const char *piece,
                      size_t len)
{
    size_t n;
    for (size_t i = 0; i <= len; i++)
        nodes[i].start = -1;
    nodes[0].score = 0.0;
    for (size_t at = 0; at < len; at += n) {
        unicode_decode(piece + at, piece + len, &n);
        extend(unigram, nodes, piece, len, at, n);
    }
    for (int32_t at = (int32_t)len; at > 0; at = nodes[at].start)
        nodes[nodes[at].start].end = at;
}

/* Text without a token; `ids` has room for `len`. HF looks the whole run up once more. */
static void add_unknown(const struct unigram *unigram, const struct pieces *pieces,
                        const char *text, size_t len, struct token_ids *ids)
{
    const int32_t id = pieces_find(pieces, text, len);
    size_t num = 0;
    while (id < 0 && unigram->byte_fallback && num < len &&
           unigram->byte_ids[(uint8_t)text[num]] >= 0) {
        ids->ids[ids->num + num] = unigram->byte_ids[(uint8_t)text[num]];
        num++;
    }
    if (num < len) {
        ids->ids[ids->num] = id >= 0 ? id : unigram->unk_id;
        num = 1;
    }
    ids->num += num;
}

static int encode_piece(const struct unigram *unigram, const struct pieces *pieces,
                        struct unigram_work *work, const char *piece, size_t len,
                        struct token_ids *ids)
{
    int r = reserve(work, len + 1);
    if (r == 0)
        r = token_ids_reserve(ids, len);
    if (r < 0)
        return r;
    const struct unigram_node *nodes = work->nodes;
    find_best(unigram, work->nodes, piece, len);
    for (size_t at = 0, end; at < len; at = end) {
        end = (size_t)nodes[at].end;
        const int32_t id = nodes[end].id;
        while (id == unigram->unk_id && end < len && nodes[nodes[end].end].id == id)
            end = (size_t)nodes[end].end;
        if (id == unigram->unk_id)
            add_unknown(unigram, pieces, piece + at, end - at, ids);
        else
            ids->ids[ids->num++] = id;
    }
    return 0;
}

int unigram_encode(const struct unigram *unigram, const struct pieces *pieces,
                   struct word_cache *cache, struct unigram_work *work, const char *piece,
                   size_t len, struct token_ids *ids)
{
    if (len > WORD_CACHE_BYTES)
        return encode_piece(unigram, pieces, work, piece, len, ids);
    int r = token_ids_reserve(ids, WORD_CACHE_IDS);
    struct word_cache_word *word = word_cache_at(cache, piece, len);
    if (r < 0 || word_cache_get(word, piece, len, ids))
        return r;
    const size_t before = ids->num;
    r = encode_piece(unigram, pieces, work, piece, len, ids);
    if (r == 0)
        word_cache_put(word, piece, len, ids->ids + before, ids->num - before);
    return r;
}

/* --- reading ------------------------------------------------------------------------------ */

/*
 * The number as HF reads it: serde_json takes the digits for an integer and divides by a power of
 * ten, which is a unit in the last place off for one number in seven, and decides between ways of
 * equal score. The digits of a file are the fewest that make the number.
 */
static double score_as_read(double score)
{
    char text[32];
    uint64_t whole = 0;
    int precision = 14, num_behind = 0; /* digits; those behind the point */
    do
        snprintf(text, sizeof(text), "%.*e", precision, fabs(score));
    while (precision++ < 16 && strtod(text, NULL) != fabs(score));

    const char *at = text;
    for (; *at != 'e'; at++)
        if (*at != '.') {
            whole = whole * 10 + (uint64_t)(*at - '0');
            num_behind += at > text;
        }
    for (; whole != 0 && whole % 10 == 0; num_behind--)
        whole /= 10;
    num_behind -= (int)strtol(at + 1, NULL, 10);
    if (num_behind <= 0 || num_behind > 300)
        return score;
    return copysign((double)whole / pow(10.0, num_behind), score);
}

static int read_scores(struct unigram *unigram, const struct component *c,
                       const struct pieces *texts)
{
    json_t *list;
    double lowest = INFINITY;
    int r = component_get(c, "vocab", JSON_ARRAY, &list);
    if (r < 0)
        return r;
    unigram->scores = calloc(json_array_size(list) + 1, sizeof(*unigram->scores));
    if (unigram->scores == NULL)
        return -ENOMEM;
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        const json_t *text = json_array_get(json_array_get(list, i), 0);
        const json_t *score = json_array_get(json_array_get(list, i), 1);
        if (!json_is_number(score) || !isfinite(json_number_value(score)))
            return error_set(c->err, -EINVAL,
                             "tokenizer.json: model.vocab[%zu] is not a text with a score", i);
        unigram->scores[i] = score_as_read(json_number_value(score));
        lowest = unigram->scores[i] < lowest ? unigram->scores[i] : lowest;
        if (json_string_length(text) > 0)
            r = trie_add(&unigram->trie, json_string_value(text), json_string_length(text),
                         pieces_find(texts, json_string_value(text), json_string_length(text)));
    }
    unigram->unk_score = lowest - UNK_PENALTY;
    if (r == -E2BIG)
        return error_set(c->err, -EINVAL, "tokenizer.json: model.vocab has more than %d nodes",
                         TRIE_NODES_MAX);
    return r;
}

static int read_unk(struct unigram *unigram, const struct component *c, const struct pieces *texts)
{
    int64_t id;
    if (json_is_null(json_object_get(c->json, "unk_id")) ||
        json_object_get(c->json, "unk_id") == NULL)
        return error_set(c->err, -ENOTSUP,
                         "tokenizer.json: model.unk_id is null, wanted the id of a token");
    const int r = component_int(c, "unk_id", texts->num_ids - 1, &id);
    unigram->unk_id = r == 0 ? (int32_t)id : -1;
    return r;
}

int unigram_read(struct unigram *unigram, const json_t *model, const struct pieces *texts,
                 struct error *err)
{
    const struct component c = { .json = model, .where = "model", .err = err };
    struct unigram local = { 0 };
    char text[8];
    int r = trie_init(&local.trie);
    if (r == 0)
        r = component_bool(&c, "byte_fallback", false, &local.byte_fallback);
    if (r == 0)
        r = read_unk(&local, &c, texts);
    if (r == 0)
        r = read_scores(&local, &c, texts);
    if (r < 0) {
        unigram_finish(&local);
        return r;
    }
    for (int byte = 0; byte < 256; byte++) {
        const int len = snprintf(text, sizeof(text), "<0x%02X>", (unsigned)byte);
        local.byte_ids[byte] = pieces_find(texts, text, (size_t)len);
    }
    *unigram = local;
    return 0;
}

void unigram_finish(struct unigram *unigram)
{
    trie_finish(&unigram->trie);
    free(unigram->scores);
    *unigram = (struct unigram){ 0 };
}

bool unigram_loses_text(const struct unigram *unigram)
{
    bool missing = !unigram->byte_fallback;
    for (int byte = 0; byte < 256; byte++)
        missing = missing || unigram->byte_ids[byte] < 0;
    return missing;
}
