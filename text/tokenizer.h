/*
 * tokenizer.h - text to token ids and back, from a Hugging Face tokenizer.json
 *
 * A tokenizer is immutable once made: any number of threads may use one, each with a
 * `struct tokenizer_scratch` of its own.
 *
 * Encoding follows HF `tokenizers`: added tokens are split off, each remaining piece is
 * normalized, cut by the pre-tokenizer and merged by the model; the post-processor adds what
 * it adds. Decoding is by bytes: every token stands for a fixed run of bytes, and text that was
 * generated is their concatenation (detokenizing never looks back). A whole text begins in its
 * own way with some tokenizers: tokenizer_decode() knows.
 */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "text/token_ids.h"

struct tokenizer;
struct tokenizer_scratch;

enum tokenizer_flags {
    TOKENIZER_ADD_SPECIAL = 1,   /* what the post-processor adds: BOS and the like */
    TOKENIZER_PARSE_SPECIAL = 2, /* special added tokens in the text are control, not data */
};

/*
 * Read `dir`/tokenizer.json (and tokenizer_config.json for the BOS rule where present).
 *
 * Returns 0; -ENOENT, -EINVAL (the file breaks a rule), -ENOTSUP (a component we do not have,
 * by name), -ENOMEM. *ret_tokenizer is written only on success.
 */
int tokenizer_open(const char *dir, struct tokenizer **ret_tokenizer, struct error *err);

/* The same from bytes in memory; `config` may be NULL. */
int tokenizer_from_json(const char *json, size_t json_len, const char *config, size_t config_len,
                        struct tokenizer **ret_tokenizer, struct error *err);

void tokenizer_close(struct tokenizer *tokenizer);

/* Word cache and work space of one thread. */
int tokenizer_scratch_create(const struct tokenizer *tokenizer, struct tokenizer_scratch **ret);
void tokenizer_scratch_destroy(struct tokenizer_scratch *scratch);

/*
 * Append the ids of `text` (valid UTF-8, `len` bytes, NUL allowed) to `ids`. Linear time in
 * `len` but for O(n log n) inside one piece.
 *
 * Returns 0; -E2BIG when `ids` would pass `max_ids` (0: no limit; what was appended is kept) or
 * `text` is over 512 MiB; -ERANGE when a split pattern that runs in PCRE2 passed its step limit;
 * -ENOMEM.
 */
int tokenizer_encode(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                     const char *text, size_t len, unsigned flags, size_t max_ids,
                     struct token_ids *ids);

/*
 * The same of a text in which some literals of special tokens are data. `mark` is a private-use
 * character, which no token has; it lies in the text behind the first character of each such
 * literal, and stands for nothing itself. The ids are those of the text without the marks, were
 * the literals of marked tokens no tokens; no piece of marked text becomes a special token but unk.
 */
int tokenizer_encode_marked(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                            const char *text, size_t len, const char *mark, unsigned flags,
                            size_t max_ids, struct token_ids *ids);

/* Highest id + 1, added tokens included; gaps are legal. */
int32_t tokenizer_num_ids(const struct tokenizer *tokenizer);

/* Most bytes of a text that one token can take: len / this is a lower bound of the number of
 * tokens. SIZE_MAX where there is no bound, as with added tokens that swallow white space. */
size_t tokenizer_max_token_bytes(const struct tokenizer *tokenizer);

/* The bytes that `id` stands for; NULL and 0 for an id that does not exist. */
const char *tokenizer_bytes(const struct tokenizer *tokenizer, int32_t id, size_t *ret_len);

/*
 * Append the text of a whole sequence of ids as HF's decode() gives it: without the space that
 * SentencePiece models put in front of the first word, and with U+FFFD for what is no UTF-8. Ids
 * that do not exist stand for nothing; `keep_special` false: special tokens, too.
 *
 * Returns 0, -ENOMEM or -ERANGE (a pattern of the decoder passed PCRE2's limits).
 */
int tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t num,
                     bool keep_special, struct strbuf *out);

/* Special added token: left out of text unless asked for. */
bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id);

/* Id of an added or ordinary token by its literal text, or -1. */
int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *text, size_t len);

/* Id that the post-processor or add_bos_token puts first, or -1. */
int32_t tokenizer_bos_id(const struct tokenizer *tokenizer);

#endif
