/*
 * tokenizer_parts.h - what a tokenizer consists of; for tokenizer*.c only
 *
 * Text goes through the parts in the order of the fields.
 */
#ifndef TEXT_TOKENIZER_PARTS_H
#define TEXT_TOKENIZER_PARTS_H

#include <jansson.h>

#include "text/added_tokens.h"
#include "text/component.h"
#include "text/decoder.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/pieces.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

struct tokenizer {
    struct added_tokens added_raw; /* found in the text as given */
    struct normalizer normalizer;
    struct added_tokens added_normalized; /* found in normalized text */
    struct pre_tokenizer pre_tokenizer;
    struct pieces pieces; /* of model.vocab, as the model looks them up */
    struct model model;
    struct post_processor post_processor;
    struct decoder decoder;
    struct vocab vocab;
    struct pieces added_texts; /* of added_tokens, as the file spells them */
    size_t max_token_bytes;    /* as tokenizer_max_token_bytes() */
};

struct tokenizer_scratch {
    struct normalizer_work normalizer;
    struct pre_tokenizer_work pre_tokenizer;
    struct model_work model;
    struct strbuf unmarked;
};

/* Fill a zeroed tokenizer from the parsed files; `config` may be NULL. The caller finishes it
 * in every case. `by_hand` false: every split pattern runs in PCRE2. */
int tokenizer_parts_read(struct tokenizer *tokenizer, const json_t *root, const json_t *config,
                         bool by_hand, struct error *err);
/* The part of it that reads model and added_tokens, once the other parts are there. */
int tokenizer_parts_read_vocab(struct tokenizer *tokenizer, const struct component *top,
                               const struct component *model);
void tokenizer_parts_finish(struct tokenizer *tokenizer);

/* tokenizer_from_json() with that choice; for tests and measurements. */
int tokenizer_parts_from_json(const char *json, size_t json_len, const char *config,
                              size_t config_len, bool by_hand, struct tokenizer **ret_tokenizer,
                              struct error *err);

#endif
