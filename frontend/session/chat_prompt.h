/*
 * chat_prompt.h - messages to the token ids of a prompt
 *
 * The messages go through the model's template and the tokenizer, with special tokens of the
 * rendered text as control. A special token's literal inside a message's own text is data: the ids
 * are those of the rendered text as a whole, were that literal no token.
 */
#ifndef FRONTEND_SESSION_CHAT_PROMPT_H
#define FRONTEND_SESSION_CHAT_PROMPT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "frontend/session/model_card.h"

struct chat_prompt_options {
    const json_t *messages; /* array of objects, checked by the caller */
    const json_t *kwargs;   /* chat_template_kwargs: an object, or NULL */
    bool add_generation_prompt, continue_final_message;
    bool allow_special; /* literals in message text are control too */
    int64_t wall_us;    /* what the template takes for the current time */
};

/*
 * Render and append the text to `out`.
 *
 * Returns 0; -EINVAL when there is no template or it raised (err->param "raise": its own words);
 * -E2BIG; -ENOMEM.
 */
int chat_prompt_render(const struct model_card *card, const struct chat_prompt_options *options,
                       struct strbuf *out, struct error *err);

/*
 * Render and tokenize; `add_special` adds what the post-processor adds.
 *
 * Returns as chat_prompt_render(), and -EFBIG when more than `max_ids` ids come out.
 */
int chat_prompt_encode(const struct model_card *card, struct tokenizer_scratch *scratch,
                       const struct chat_prompt_options *options, bool add_special, size_t max_ids,
                       struct token_ids *ids, struct error *err);

#endif
