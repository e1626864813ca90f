/*
 * record.h - the messages of the ring
 *
 *   frontend -> engine   SUBMIT   one per prompt and epoch; bulk: a list of items
 *                        CANCEL   the request is forgotten; nothing more is expected of it.
 *                                 With RECORD_FLAG_CHOICE: this choice alone ends, with a DONE
 *   engine -> frontend   ACCEPTED queued; a response's status is decided by this or FAILED
 *                        STARTED  first scheduled; how much of the prompt was cached
 *                        LOGPROBS of output positions (before the TOKENS that hold them) or, with
 *                                 RECORD_FLAG_PROMPT, of a chunk of the prompt
 *                        TOKENS   up to 8 ids of one choice from output position `pos` on
 *                        DONE     one choice ended: reason and counts
 *                        FAILED   the whole request ended: code
 *
 * `pos` counts output tokens of the choice from 1: the first token has pos 1 (prompt positions
 * in LOGPROBS count from 0). A request ends with DONE for each live choice, or one FAILED.
 * Cells of an id that its frontend no longer knows are dropped.
 *
 * Encoding and checking of what was copied out of the ring; no memory is shared here.
 */
#ifndef PROTO_RECORDS_RECORD_H
#define PROTO_RECORDS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum record_kind {
    RECORD_SUBMIT = 1,
    RECORD_CANCEL = 2,
    RECORD_ACCEPTED = 16,
    RECORD_STARTED = 17,
    RECORD_TOKENS = 18,
    RECORD_LOGPROBS = 19,
    RECORD_DONE = 20,
    RECORD_FAILED = 21,
};

enum {
    RECORD_FLAG_PROMPT = 1, /* LOGPROBS */
    RECORD_FLAG_CHOICE = 2, /* CANCEL */
};

enum {
    RECORD_MAX_CHOICES = 128,
    RECORD_TOKENS_PER_CELL = 8,
    RECORD_MAX_LOGPROBS = 20,
    RECORD_MAX_BIASES = 1024,
    RECORD_MAX_STOP_IDS = 64,
    RECORD_MAX_BAD_WORDS = 512, /* 256 of a request, each with and without a space before it */
    RECORD_MAX_BAD_WORD_IDS = 64,
    RECORD_MAX_BAD_WORDS_LEN = RECORD_MAX_BAD_WORDS * (1 + RECORD_MAX_BAD_WORD_IDS),
};

enum record_item_type {
    RECORD_ITEM_PARAMS = 1,      /* struct record_params; first, exactly once */
    RECORD_ITEM_PROMPT = 2,      /* int32_t ids[]; exactly once */
    RECORD_ITEM_CHOICE = 3,      /* uint32_t choice, then int32_t ids[] it already has; one for each
                                    live choice, ascending */
    RECORD_ITEM_LOGIT_BIAS = 4,  /* struct record_bias[] */
    RECORD_ITEM_EOS_IDS = 5,     /* int32_t ids[]: end of text; masked before min_tokens */
    RECORD_ITEM_STOP_IDS = 6,    /* the same of this request; RECORD_IGNORE_EOS spares them */
    RECORD_ITEM_ALLOWED_IDS = 7, /* int32_t ids[]: all others are masked */
    RECORD_ITEM_BAD_WORDS = 8,   /* for each word its number of ids, then these: the last of them
                                    is masked where the output ends with the others */
};

struct record_item {
    uint32_t type;
    uint32_t len; /* bytes of data behind, a multiple of 4 */
};

struct record_bias {
    int32_t token_id;
    float bias;
};

/* A token's log-probability: [1 + k] of them for each position, the position's own token first,
 * then the k best in order. An id of -1 fills what does not exist. */
struct record_logprob {
    int32_t token_id;
    float logprob;
    int32_t rank;
};

/* Sampling of one prompt; all choices share it. 4-byte aligned; split in halves what is wider. */
struct record_params {
    uint32_t max_tokens; /* output tokens of a choice, those it already has included */
    uint32_t min_tokens;
    uint32_t num_choices; /* n of the prompt */
    uint32_t flags;       /* enum record_params_flags */
    uint32_t seed_low, seed_high;
    float temperature, top_p, min_p, typical_p;
    int32_t top_k;
    float repetition_penalty, presence_penalty, frequency_penalty;
    int32_t num_logprobs;        /* -1: none; 0: of the token alone; k */
    int32_t num_prompt_logprobs; /* -1: none */
    int32_t priority;
    uint32_t tenant;                      /* number of the API key's name */
    uint32_t deadline_low, deadline_high; /* clock_now_us() to end by, 0: none */
    uint32_t cache_low, cache_high; /* prompts share cached prefixes only where these are equal */
};

enum record_params_flags {
    RECORD_IGNORE_EOS = 1,
    RECORD_RESUMED = 2, /* an earlier engine had accepted it: no queue is too full for it */
    RECORD_SUSPECT = 4, /* it took part in steps that ended engines: it gets steps of its own */
    RECORD_PARAMS_FLAGS = RECORD_IGNORE_EOS | RECORD_RESUMED | RECORD_SUSPECT,
};

enum record_finish {
    RECORD_FINISH_EOS = 1, /* the last token is the one that ended it */
    RECORD_FINISH_LENGTH = 2,
    RECORD_FINISH_CANCELLED = 3, /* by CANCEL of the choice; some of its tokens may be unsaid */
};

enum record_failure {
    RECORD_FAILURE_QUEUE_FULL = 1, /* before ACCEPTED */
    RECORD_FAILURE_QUEUED_TOKENS,  /* before ACCEPTED */
    RECORD_FAILURE_DEADLINE,
    RECORD_FAILURE_DRAINING,
    RECORD_FAILURE_TOO_LONG, /* more KV pages than there are */
    RECORD_FAILURE_NAN_LOGITS,
    RECORD_FAILURE_INTERNAL,
    RECORD_FAILURE_WORKER,        /* made by the frontend: the engine died */
    RECORD_FAILURE_MODEL_CHANGED, /* likewise: and another model lies where its was */
};

/* Payloads, words[] of the cell. */
struct record_accepted {
    uint32_t num_waiting; /* requests ahead in the queue */
};
struct record_started {
    uint32_t cached_tokens;
};
struct record_done {
    uint32_t reason; /* enum record_finish */
    uint32_t prompt_tokens, cached_tokens, output_tokens;
    int32_t stop_id; /* the token that ended it, or -1 */
};
struct record_failed {
    uint32_t code;           /* enum record_failure */
    uint32_t retry_after_ms; /* 0: unknown */
};
_Static_assert(sizeof(struct record_done) <= 32, "fits a cell's payload");

/* What the reader of a SUBMIT knows, to check against. */
struct record_bounds {
    int32_t vocab_size;    /* of the logits */
    int32_t max_model_len; /* prompt + output */
};

/* A SUBMIT's bulk, checked; pointers lie in the caller's copy. */
struct record_submit {
    const struct record_params *params;
    const int32_t *prompt;
    uint32_t num_prompt;
    uint32_t num_choices; /* live ones */
    struct {
        uint32_t index; /* < params->num_choices */
        const int32_t *ids;
        uint32_t num_ids;
    } choices[RECORD_MAX_CHOICES];
    const struct record_bias *biases;
    uint32_t num_biases;
    const int32_t *eos_ids;
    uint32_t num_eos_ids;
    const int32_t *stop_ids;
    uint32_t num_stop_ids;
    const int32_t *allowed_ids; /* none: all are */
    uint32_t num_allowed_ids;
    const int32_t *bad_words; /* [bad_words_len], as RECORD_ITEM_BAD_WORDS */
    uint32_t bad_words_len;
};

/* Does this token end a choice as one of the end-of-text class, or as one of the request's? */
bool record_is_eos(const struct record_submit *submit, int32_t id);
bool record_is_stop(const struct record_submit *submit, int32_t id);

/* Bytes of the bulk that encodes `submit`. */
size_t record_submit_bytes(const struct record_submit *submit);

/* Write it; `out` has record_submit_bytes(). */
void record_submit_encode(const struct record_submit *submit, void *out);

/*
 * Check a private, 4-byte aligned copy of a bulk and point into it.
 *
 * Returns 0; -EPROTO with the field, the value found and what was allowed. Never reads outside
 * [bulk, bulk + len).
 */
int record_submit_decode(const void *bulk, size_t len, const struct record_bounds *bounds,
                         struct record_submit *ret_submit, struct error *err);

uint64_t record_join(uint32_t low, uint32_t high);

/* Words for messages and metrics: "queue_full", ... */
const char *record_failure_name(enum record_failure failure);

#endif
