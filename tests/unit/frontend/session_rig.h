/*
 * session_rig.h - a session with an engine's end of the ring in the same hand
 *
 * The test plays the engine: it takes the cells that the session sent and writes cells back.
 * Events are kept as lines of text, one each:
 *
 *     accepted | started | prompt C "text" [tokens] | text C "text" [tokens] |
 *     finished C stop|length ["stop text"] | end prompt=P output=O cached=C | failed NAME | flush
 *
 * A token with a log-probability is id:value, with its alternatives behind as /id:value.
 */
#ifndef TESTS_SESSION_RIG_H
#define TESTS_SESSION_RIG_H

#include "base/strbuf.h"
#include "frontend/session/session.h"
#include "proto/records/stats.h"

enum { RIG_GENERATION = 7 };

/* Tokens 0..255 are the bytes; then come these. */
enum {
    RIG_HELLO = 256, /* "Hello" */
    RIG_WORLD,       /* " world" */
    RIG_ST,          /* "xST" */
    RIG_OP,          /* "OPy" */
    RIG_NI_HEAD,     /* "\xE4\xBD" */
    RIG_NI_TAIL,     /* "\xA0!" */
    RIG_STOPS,       /* "aSTOPb" */
    RIG_EOS,         /* special */
    RIG_MARK,        /* special */
    RIG_VOCAB,
};

struct rig {
    struct tokenizer *own_tokenizer, *tokenizer;
    struct session *session;
    struct status_page *page; /* of the session */
    struct status_page *engine_page[2];
    struct ring_end engine[2];
    int doorbell[2];                        /* the engine's own descriptor */
    struct strbuf events, text;             /* text: of all choices, in one */
    struct session_request *cancel_at_text; /* cancelled by the callback at its next TEXT */
    uint64_t epoch, identity;               /* of the next engine */
    uint32_t prompt_tokens;                 /* as rig_done() says */
};

/* Rings of `num_cells` cells and `bulk_bytes` in both directions; engine 0 is up. */
void rig_start(struct rig *rig, uint32_t num_cells, uint32_t bulk_bytes);
/* The same with a tokenizer of the caller's, who closes it. */
void rig_start_with(struct rig *rig, struct tokenizer *tokenizer, uint32_t num_cells,
                    uint32_t bulk_bytes);
void rig_finish(struct rig *rig);
void rig_engine_up(struct rig *rig, uint32_t engine, uint32_t num_cells, uint32_t bulk_bytes);
void rig_engine_down(struct rig *rig, uint32_t engine); /* another will come */
void rig_engine_gone(struct rig *rig, uint32_t engine); /* none will */
/* It dies by itself in a step in which these took part. */
void rig_engine_crash(struct rig *rig, uint32_t engine, const uint64_t *ids, uint32_t num_ids);
void rig_tick(struct rig *rig, int64_t now_us);

/* A submission of one prompt [Hello world] with n = 1, 16 tokens and no log-probabilities. */
struct rig_ask {
    struct session_submit submit;
    struct record_params params;
    struct session_prompt prompts[2];
    const char *stops[4];
    size_t stop_lens[4];
};
void rig_ask_init(struct rig_ask *ask, struct rig *rig);
void rig_ask_stop(struct rig_ask *ask, const char *stop);
struct session_request *rig_submit(struct rig *rig, struct rig_ask *ask);

/* The engine takes the next cell: its kind, or 0. Bulk of a SUBMIT is left in `bulk`. */
uint8_t rig_take(struct rig *rig, struct ring_cell *ret_cell, uint32_t *bulk, size_t size);
uint64_t rig_take_submit(struct rig *rig); /* its id */

/* The engine says. rig_say() is the raw form; nothing is seen before rig_drain(). */
void rig_say(struct rig *rig, struct ring_cell cell, const void *bulk, uint32_t bulk_len);
void rig_accept(struct rig *rig, uint64_t id);
void rig_begin(struct rig *rig, uint64_t id, uint32_t cached); /* ACCEPTED and STARTED */
void rig_tokens(struct rig *rig, uint64_t id, uint8_t choice, uint32_t pos, uint8_t count,
                const int32_t *ids);
void rig_text(struct rig *rig, uint64_t id, uint8_t choice, uint32_t pos, const char *bytes);
void rig_done(struct rig *rig, uint64_t id, uint8_t choice, uint32_t reason, uint32_t output,
              int32_t stop_id);

uint32_t rig_drain(struct rig *rig);

/* What was recorded since the last call; valid until the next. */
const char *rig_events(struct rig *rig);

/* Does the session report its engine? The sentence, or NULL. */
const char *rig_report(struct rig *rig);

uint64_t rig_stat(const struct rig *rig, enum stat_id stat);

#endif
