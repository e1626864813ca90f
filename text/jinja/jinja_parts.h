/*
 * jinja_parts.h - does a template take message.content as a list of parts?
 *
 * The question is vLLM's ("openai" or "string" content format), and the rule goes a little
 * further than its rule. A *content* is `x.content` or `x['content']` for any x; also such an
 * expression through filters, slices, `or`, `and` and inline `if`; also a variable that is set
 * to a content anywhere, and a parameter of a macro that is somewhere called with a content in
 * its place. The template wants parts if it has a `for` over a content, or looks into an item
 * of one by number (`content[0].text`, `content[0]['text']`).
 *
 * Asking `content is string` alone does not count: many templates print nothing for what is
 * not a string.
 */
#ifndef TEXT_JINJA_PARTS_H
#define TEXT_JINJA_PARTS_H

#include "text/jinja/jinja_ast.h"

bool jinja_parts_wanted(struct jinja_template *template);

#endif
