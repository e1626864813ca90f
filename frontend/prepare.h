/*
 * prepare.h - from the bytes of a body to what can be submitted
 *
 * JSON, fields, model name, template, tokens, context limits: everything that can
 * fail for the client's reasons. Runs in the loop or on the side thread: it touches only its
 * arguments and the immutable card.
 */
#ifndef FRONTEND_PREPARE_H
#define FRONTEND_PREPARE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "frontend/session/model_card.h"
#include "frontend/session/session.h"
#include "proto/wire/wire_error.h"
#include "proto/wire/wire_request.h"

struct prepare_options {
    const struct model_card *card;
    struct wire_limits limits; /* max_model_len and vocab_size are the engine's */
    bool strict_max_tokens, accept_any_model, allow_special;
};

struct prepared {
    struct arena arena;
    json_t *body;
    struct wire_request request;
    const char *model;              /* the served name that matched; the card's */
    struct session_prompt *prompts; /* [num_prompts] */
    uint32_t num_prompts;
    struct token_ids ids;       /* of all prompts, one behind the other */
    struct token_ids bad_words; /* as RECORD_ITEM_BAD_WORDS */
    uint32_t clamped;           /* max_tokens was lowered to this; 0: it was not */
    struct wire_error error;
};

/*
 * `prepared` is zeroed memory.
 *
 * Returns 0, or -EINVAL with prepared->error filled in. prepared_finish() is due in any case.
 */
int prepare_request(const struct prepare_options *options, struct tokenizer_scratch *scratch,
                    enum wire_endpoint endpoint, const char *body, size_t len,
                    struct prepared *prepared);
void prepared_finish(struct prepared *prepared);

#endif
