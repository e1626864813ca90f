/*
 * gguf_merges.h - merges of a SentencePiece vocabulary, which has scores instead
 *
 * SentencePiece joins the neighbours whose joint token has the highest score. That is BPE with the
 * pairs of tokens that join to a token, in the order of its score. Source: HF transformers,
 * convert_slow_tokenizer.generate_merges(), whose order among equals is kept.
 */
#ifndef FORMATS_GGUF_MERGES_H
#define FORMATS_GGUF_MERGES_H

#include <jansson.h>

#include "formats/gguf.h"

/*
 * Append the merges to `merges`, as pairs of texts. `vocab` maps the texts that take part to ids.
 *
 * Returns 0; -EINVAL for a token too long or a score that is no number; -ENOMEM.
 */
int gguf_merges_from_scores(const struct gguf_value *tokens, const struct gguf_value *scores,
                            const json_t *vocab, json_t *merges, struct error *err);

#endif
