/*
 * pre_tokenizer.h - cuts text into the pieces that the model encodes one by one
 *
 * A list of stages, each a tagged struct. Every stage cuts each piece of the stage before it,
 * and a piece is a string of its own, so the stages are walked depth first and no list of
 * pieces is ever held. Byte level is a property of the whole: it must come last, and the model
 * then works on bytes.
 */
#ifndef TEXT_PRE_TOKENIZER_H
#define TEXT_PRE_TOKENIZER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "text/splitter.h"

enum { PRE_TOKENIZER_STAGES_MAX = 16 };

enum pre_tokenizer_type {
    PRE_TOKENIZER_SPLIT,
    PRE_TOKENIZER_PREFIX_SPACE, /* a piece that does not begin with a space gets one */
    PRE_TOKENIZER_METASPACE,    /* spaces become the mark; a piece gets one in front */
};

enum pre_tokenizer_behavior { /* what becomes of matches and of the gaps between them */
                              PRE_TOKENIZER_ISOLATED,
                              PRE_TOKENIZER_REMOVED,
                              PRE_TOKENIZER_MERGED_WITH_PREVIOUS,
                              PRE_TOKENIZER_MERGED_WITH_NEXT,
                              PRE_TOKENIZER_CONTIGUOUS,
};

enum pre_tokenizer_prepend { /* which pieces get a mark in front, unless they begin with one */
                             PRE_TOKENIZER_ALWAYS,
                             PRE_TOKENIZER_FIRST, /* the beginning of the whole text */
                             PRE_TOKENIZER_NEVER,
};

struct pre_tokenizer_stage {
    enum pre_tokenizer_type type;
    enum pre_tokenizer_behavior behavior; /* PRE_TOKENIZER_SPLIT, as the next two */
    bool invert;                          /* gaps count as matches and matches as gaps */
    struct splitter splitter;
    enum pre_tokenizer_prepend prepend; /* PRE_TOKENIZER_METASPACE, as the next */
    char mark[4];
    size_t mark_len;
};

struct pre_tokenizer {
    struct pre_tokenizer_stage stages[PRE_TOKENIZER_STAGES_MAX];
    int32_t num_stages;
    bool byte_level;
};

/* Per thread. */
struct pre_tokenizer_work {
    struct regex_work *regex;
    struct strbuf written[PRE_TOKENIZER_STAGES_MAX]; /* by stages that change text */
};

/* Takes a piece. A negative result ends the run. */
typedef int pre_tokenizer_sink(void *context, const char *piece, size_t len);

/* Read `root`.pre_tokenizer. `by_hand` false: known patterns go through PCRE2, too. Returns 0,
 * -EINVAL, -ENOTSUP, -ENOMEM. `pre` is finished by the caller in every case. */
int pre_tokenizer_read(struct pre_tokenizer *pre, const json_t *root, bool by_hand,
                       struct error *err);
void pre_tokenizer_finish(struct pre_tokenizer *pre);

int pre_tokenizer_work_init(struct pre_tokenizer_work *work);
void pre_tokenizer_work_finish(struct pre_tokenizer_work *work);

/* Hand the pieces of `text` in order to `sink`; none is empty. `first`: the whole text begins
 * here. Returns 0, -ENOMEM, -ERANGE (a pattern passed PCRE2's limits), or what the sink
 * returned. */
int pre_tokenizer_run(const struct pre_tokenizer *pre, struct pre_tokenizer_work *work,
                      const char *text, size_t len, bool first, pre_tokenizer_sink *sink,
                      void *context);

/* Does some stage drop text? */
bool pre_tokenizer_removes(const struct pre_tokenizer *pre);

#endif
