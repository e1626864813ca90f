/*
 * unigram.h - the most probable way to write a piece with the tokens of a vocabulary
 *
 * Each token has a score, the logarithm of its probability; of all ways to cut the piece into
 * tokens the one of the highest sum is taken (Viterbi), and of equals the one found first. A
 * character at which no token of one character begins may be unk, 10 below the lowest score. A
 * run of unks is one, or the tokens of its bytes where the model has byte_fallback.
 * Source: Kudo, arXiv:1804.10959; HF tokenizers, Unigram.
 */
#ifndef TEXT_UNIGRAM_H
#define TEXT_UNIGRAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "text/pieces.h"
#include "text/token_ids.h"
#include "text/trie.h"
#include "text/word_cache.h"

struct unigram {
    struct trie trie;
    double *scores; /* [num_ids] */
    double unk_score;
    int32_t unk_id;
    int32_t byte_ids[256]; /* -1: the vocabulary has no token for the byte */
    bool byte_fallback;
};

struct unigram_node;

/* Per thread; zeroed to begin with. */
struct unigram_work {
    struct unigram_node *nodes; /* [cap_nodes] */
    size_t cap_nodes;
};

/*
 * Read `model`, whose vocab is a list of [text, score] with the texts in `texts`.
 *
 * Returns 0, -EINVAL, -ENOTSUP (no unk_id), -ENOMEM.
 */
int unigram_read(struct unigram *unigram, const json_t *model, const struct pieces *texts,
                 struct error *err);
void unigram_finish(struct unigram *unigram);

void unigram_work_finish(struct unigram_work *work);

/* Append the ids of a piece of `len` >= 1 bytes, at most INT32_MAX. Linear in `len` times the
 * longest token. Returns 0, -ENOMEM. */
int unigram_encode(const struct unigram *unigram, const struct pieces *pieces,
                   struct word_cache *cache, struct unigram_work *work, const char *piece,
                   size_t len, struct token_ids *ids);

/* Can text vanish into a token that stands for any text? */
bool unigram_loses_text(const struct unigram *unigram);

#endif
