/*
 * session.h - the frontend's side of the rings: requests in flight and their journals
 *
 * A `struct session` sits in one frontend's seat (the HTTP process, or `generate`): it holds the
 * ring ends to every engine and the whole state of every request, so that an engine owns nothing
 * that a client needs. It knows no HTTP: text goes in as token ids and comes out as events
 * (proto/records/answer.h), detokenized, with stop strings matched and held back.
 *
 * One thread. Nothing here blocks. Callbacks run inside session_drain() and the engine_* calls,
 * never inside session_submit(). A callback may submit and cancel, its own request too; it must
 * not call session_drain(), the engine_* calls or session_destroy().
 */
#ifndef FRONTEND_SESSION_SESSION_H
#define FRONTEND_SESSION_SESSION_H

#include "proto/records/answer.h"
#include "shm/ring.h"
#include "shm/status.h"
#include "text/tokenizer.h"

struct session;
struct session_request;

struct session_options {
    const struct tokenizer *tokenizer;
    struct status_page *status; /* own page: counters of requests and latencies */
    size_t max_requests;        /* 0: 65,536 */
    const uint8_t *salt;        /* [16] of digests, the same in all frontends; NULL: zeros */
    int64_t hold_us;            /* how long a request waits for an engine to come back; 0: 120 s */
};

typedef void (*session_callback)(void *owner, const struct answer_event *event);

int session_create(const struct session_options *options, struct session **ret_session);
void session_destroy(struct session *session);

/*
 * An engine (0..15) that takes requests from now on. Takes over what is in `end` (zeroed behind)
 * and the mapping of its page; `doorbell` is a descriptor that session closes when the engine
 * goes. One of that number that is still up goes down first. Its limits are read from the facts
 * vocab_size and max_model_len on the page, and max_num_seqs and max_num_queued_reqs if told
 * (0: no limit).
 *
 * Returns 0; -EINVAL, or -EPROTO when a fact is missing: then nothing is taken over.
 */
int session_engine_up(struct session *session, uint32_t engine, uint64_t epoch, uint64_t generation,
                      struct ring_end *end, const struct status_page *page, int doorbell,
                      struct error *err);

struct session_death {
    bool for_good;        /* no engine of that number will come again */
    bool model_changed;   /* because another model lies there now */
    bool is_attributable; /* it died by a fault of its own: by what it was computing */
};

/*
 * The engine of that number died: what its ring still holds is taken, then its requests are held.
 * The next engine that comes up is told of each once, oldest first, with the tokens that it has,
 * and goes on behind them: the client sees a pause. One that is held for longer than `hold_us`,
 * past its deadline, or when nobody will come any more, gets FAILED.
 *
 * Who took part in three steps that ended an engine, in the last of them alone, is not told to
 * another: it gets FAILED, and its like is refused for ten minutes.
 *
 * `flush` as for session_drain().
 */
void session_engine_down(struct session *session, uint32_t engine,
                         const struct session_death *death, void (*flush)(void *owner));

bool session_has_engine(const struct session *session);

/* A digest that this one convicted, once each, for the role to tell the others; and one that
 * others did. */
bool session_take_conviction(struct session *session, uint8_t ret_digest[32]);
void session_convict(struct session *session, const uint8_t digest[32], int64_t now_us);

/* Prompts that are between two engines. */
uint32_t session_num_held(const struct session *session);

/* Once a second: what waits for an engine may have waited too long. `flush` as for
 * session_drain(). */
void session_tick(struct session *session, int64_t now_us, void (*flush)(void *owner));

/* Facts of the engine: limits to check requests against. Valid while there is or was an engine. */
struct session_limits {
    int32_t max_model_len, vocab_size;
    int32_t max_num_seqs, max_queued; /* per engine */
};
bool session_get_limits(const struct session *session, struct session_limits *ret_limits);

/* Is the engines' queue full already (early refusal before tokenizing)? */
bool session_queue_is_full(const struct session *session);

/* What the engines tell those whom they refuse; 0: not known. */
uint32_t session_retry_after_ms(const struct session *session);

struct session_prompt {
    const int32_t *ids;
    uint32_t num_ids;
};

/* Everything is copied. */
struct session_submit {
    const struct session_prompt *prompts;
    uint32_t num_prompts;
    const struct record_params *params; /* of each prompt; num_choices is n */
    const struct record_bias *biases;
    uint32_t num_biases;
    const int32_t *eos_ids;
    uint32_t num_eos_ids;
    const int32_t *stop_ids; /* end the text before themselves */
    uint32_t num_stop_ids;
    const int32_t *allowed_ids;
    uint32_t num_allowed_ids;
    const int32_t *bad_words; /* as RECORD_ITEM_BAD_WORDS */
    uint32_t bad_words_len;
    const char *const *stops; /* stop strings, valid UTF-8 without NUL, 1..1024 bytes */
    const size_t *stop_lens;
    uint32_t num_stops;
    bool include_stop_in_output, keep_special_tokens;
    bool echo; /* ANSWER_PROMPT events, with log-probabilities when params ask for them */
    session_callback callback;
    void *owner;
    const char *request_id; /* for the log line */
};

/*
 * Put a request (all its prompts) on the ring of one engine.
 *
 * max_tokens 0 scores the prompt alone: each choice ends by its length without a token.
 *
 * Returns 0 and a handle that is valid until it is cancelled, or until the flush that follows
 * its END or FAILED (`owner` must live as long); -EAGAIN when the ring or the table is full or
 * older requests wait for room (429); -ENOTCONN without an engine (503); -EMSGSIZE when the prompts
 * take more than half of the ring's bulk bytes; -EINVAL with the field that an engine would refuse;
 * -EPERM for the like of a request that ended its engines (500); -ENOMEM.
 */
int session_submit(struct session *session, const struct session_submit *submit,
                   struct session_request **ret_request, struct error *err);

/* Forget the request and tell the engine. Neither callback nor flush follows. */
void session_cancel(struct session *session, struct session_request *request);

/*
 * Take what the engines wrote, at most `max_cells` cells. After the callbacks of a batch each
 * request that got events gets `flush(owner)` once, if given; `flush` may cancel.
 *
 * Returns the number of cells taken.
 */
uint32_t session_drain(struct session *session, uint32_t max_cells, void (*flush)(void *owner));

/* Sleeping handshake around the event loop's wait: false means there is something to drain. */
bool session_prepare_sleep(struct session *session);
void session_end_sleep(struct session *session);

/* An engine whose ring broke a rule: its number, or -1; reported to the supervisor by the role. */
int32_t session_take_report(struct session *session, char *text, size_t size);

uint32_t session_num_requests(const struct session *session);

/* Cells that were not used, since creation. */
struct session_counters {
    uint64_t late_cells;      /* of requests or choices that are over: ordinary after a CANCEL */
    uint64_t duplicate_cells; /* of positions that are known */
    uint64_t corrupt_cells;   /* broke a rule */
};
void session_get_counters(const struct session *session, struct session_counters *ret_counters);

/* One line about a request that is over, for the log:
 * "request id=... prompt=12 cached=0 output=7 ttft_ms=3.1 total_ms=9.0 tokens_per_s=777.8
 * reason=stop" */
void session_set_log(struct session *session, void (*log)(const char *line));

#endif
