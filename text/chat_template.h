/*
 * chat_template.h - a model's Jinja chat template, compiled once, rendered per request
 *
 * The language is the part of Jinja that chat templates use, with the results of Python's
 * jinja2 in the settings of HF transformers (trim_blocks, lstrip_blocks, loopcontrols, its
 * tojson), byte for byte. Interpreting is sandboxed: no host access; steps, output, recursion
 * and memory are bounded. A template is immutable: any number of threads may render it.
 */
#ifndef TEXT_CHAT_TEMPLATE_H
#define TEXT_CHAT_TEMPLATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"

struct chat_template;

/*
 * Compile `len` bytes of source (at most 1 MiB, valid UTF-8).
 *
 * Returns 0; -EINVAL (syntax, with line), -ENOTSUP (a construct we do not have, by name and
 * line), -ENOMEM.
 */
int chat_template_create(const char *source, size_t len, struct chat_template **ret_template,
                         struct error *err);
void chat_template_destroy(struct chat_template *template);

/*
 * Render with the variables of the JSON object `context` (messages, tools, ... ; null is None)
 * and append the text to `out`. `wall_us` is the time that strftime_now() shows, local time.
 *
 * Returns 0; -EINVAL when the template raised (err->message is its own text for
 * raise_exception(), err->param is "raise") or failed as Python would; -E2BIG when a bound was
 * passed; -ENOMEM. `out` is unchanged on failure.
 */
int chat_template_render(const struct chat_template *template, const json_t *context,
                         int64_t wall_us, struct strbuf *out, struct error *err);

/* Does it index or iterate message.content as a list of parts (vLLM's "openai" format)? */
bool chat_template_wants_parts(const struct chat_template *template);

/* Does it mention the variable `name` (tools, enable_thinking, ...) ? */
bool chat_template_uses(const struct chat_template *template, const char *name);

#endif
