/*
 * held_text.h - the text of one choice between its tokens and its events
 *
 *     tokens -> bytes -> detokenizer -> text --- sent ---|--- ready ---|--- held ---
 *
 * Held is what may still become a stop string. Tokens wait with their text: each has an end,
 * counted in bytes of the whole text, and goes out with the piece that contains its end. The
 * end of a token whose last bytes are only the beginning of a character lies one byte behind
 * the text so far, hence inside that character. Tokens without text go out with the next text.
 *
 * A match cuts the text at its first byte (behind its last, if it is wanted in the output):
 * a token that begins before the cut is kept, also when it ends behind it; later ones are not.
 */
#ifndef FRONTEND_SESSION_HELD_TEXT_H
#define FRONTEND_SESSION_HELD_TEXT_H

#include "base/strbuf.h"
#include "frontend/session/detokenizer.h"
#include "frontend/session/stop_matcher.h"

/* Zeroed to begin with. */
struct held_text {
    struct detokenizer detokenizer;
    stop_matcher_state state;
    struct strbuf text; /* decoded, not sent */
    uint64_t num_sent;  /* bytes */
    uint64_t sent_end;  /* of the last token that went out */
    uint64_t *ends;     /* of the tokens that wait, ascending */
    size_t num_ends, cap_ends;
};

/* How the stop strings of a request are to be looked for in this token. */
struct held_text_rule {
    const struct stop_matcher *matcher; /* NULL: no stop strings */
    bool is_checked;                    /* false before min_tokens: matches do not count */
    bool include_stop;
};

/* What may go out: valid until the next call on the same text. */
struct held_text_ready {
    const char *text;
    size_t len;
    size_t num_tokens; /* of those that wait, oldest first; 0 when len is 0, except at the end */
    bool is_cut;       /* a stop string ended it; nothing may be pushed any more */
    uint32_t stop;
};

/*
 * Add a token that stands for `bytes` (none for one that has no text).
 *
 * Returns 0 or -ENOMEM, after which the text is of no use.
 */
int held_text_push(struct held_text *held, const struct held_text_rule *rule, const char *bytes,
                   size_t len, struct held_text_ready *ret_ready);

/* No more tokens will come: everything that waits is ready (or cut). */
int held_text_end(struct held_text *held, const struct held_text_rule *rule,
                  struct held_text_ready *ret_ready);

/* What was ready went out. */
void held_text_take(struct held_text *held, const struct held_text_ready *ready);

void held_text_finish(struct held_text *held);

#endif
