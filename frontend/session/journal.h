/*
 * journal.h - everything that is known about one prompt of a request, and about its choices
 *
 * The journal is what makes an engine disposable: prompt, parameters and every accepted token
 * are here, so that journal_encode() can make a SUBMIT for a new engine at any time. Four
 * counts of a choice never run ahead of each other:
 *
 *     num_sent <= num_decoded <= num_accepted <= num_logprobs (when they are asked for)
 *
 * accepted: taken from the ring and checked. decoded: turned into text, which may be held back.
 * sent: handed over in an event. A new engine continues behind num_accepted; it touches no
 * other count.
 *
 * What an engine says is checked here against what is known; nothing is stored that failed.
 */
#ifndef FRONTEND_SESSION_JOURNAL_H
#define FRONTEND_SESSION_JOURNAL_H

#include "frontend/session/held_text.h"
#include "frontend/session/session.h"

struct journal_choice {
    int32_t *tokens; /* [num_accepted]: output position p is tokens[p - 1] */
    uint32_t num_accepted, cap_tokens;
    struct record_logprob *logprobs; /* [num_logprobs][1 + k] */
    uint32_t num_logprobs, cap_logprobs;
    uint32_t num_decoded, num_sent;
    struct held_text text;
    int64_t last_token_us;
    enum record_finish finish; /* as the engine's DONE said; 0 before it */
    bool has_ended;            /* the last token is of the EOS class: none may follow */
    bool is_finished;          /* FINISHED was handed over */
    bool owes_cancel;          /* the engine has to be told, and there was no room */
};

enum journal_stage { JOURNAL_SUBMITTED, JOURNAL_ACCEPTED, JOURNAL_STARTED };

struct journal {
    struct session_request *request;
    uint32_t index; /* of the prompt in its request */
    /* where it runs */
    uint64_t id; /* 0: no engine has to be told of it any more */
    uint32_t engine;
    uint64_t identity;           /* of the model that its tokens are from */
    struct journal *prev, *next; /* at the same engine, or held */
    enum journal_stage stage;    /* at the engine where it is */
    bool is_held, is_encoded;    /* between two engines; `bytes` are what the next one is told */
    int64_t held_us;             /* since when */
    uint32_t num_deaths;         /* of engines, in steps that it took part in */
    /* what was asked: `submit` points into `bytes`, the SUBMIT's bulk as it was encoded last */
    void *bytes;
    size_t num_bytes;
    struct record_submit submit;
    bool wants_output; /* false: max_tokens was 0; the engine is asked for one token that is
                          thrown away */
    /* what the engine said */
    bool is_accepted, is_started; /* by some engine */
    bool is_echoed;               /* its ANSWER_PROMPT events were handed over */
    uint32_t cached_tokens;
    struct record_logprob *prompt_logprobs; /* [num_prompt][1 + k] */
    uint32_t num_prompt_logprobs;
    uint32_t num_live;              /* choices without FINISHED */
    uint32_t num_at_engine;         /* choices without DONE */
    struct journal_choice *choices; /* [params->num_choices] */
};

/*
 * Copy what prompt `index` of `submit` asks for and encode it.
 *
 * Returns 0; -EINVAL with what an engine would refuse; -ENOMEM.
 */
int journal_create(const struct session_submit *submit, uint32_t index,
                   const struct record_bounds *bounds, struct journal **ret_journal,
                   struct error *err);
void journal_destroy(struct journal *journal);

/*
 * Encode prompt, parameters and the accepted tokens of each choice that is not finished anew:
 * what a new engine has to be told. `bytes` is replaced.
 */
int journal_encode(struct journal *journal, const struct record_bounds *bounds, struct error *err);

/*
 * The engine is gone. Choices whose last token it said are marked as ended even if it did not
 * get to say DONE. Returns true when there were any.
 */
bool journal_end_choices(struct journal *journal);

/* Has it a choice that is not through? */
bool journal_needs_engine(const struct journal *journal);

/*
 * SHA-256 over `salt`, parameters and prompt: the same for whoever asks the same again, whatever
 * seed and deadline it was given. Returns 0 or -ENOMEM.
 */
enum { JOURNAL_DIGEST_BYTES = 32 };
int journal_digest(const struct journal *journal, const uint8_t salt[16],
                   uint8_t ret_digest[JOURNAL_DIGEST_BYTES]);

/* Does this token end a choice? */
bool journal_is_end(const struct journal *journal, int32_t id);

/*
 * Take what the engine says about a choice.
 *
 * Return 1; 0 for positions that are known already (a duplicate: nothing changed); -EPROTO with
 * the field, what was found and what was expected; -ENOMEM.
 */
int journal_accept_tokens(struct journal *journal, uint32_t choice, uint32_t pos,
                          const int32_t *ids, uint32_t num_ids, int32_t vocab_size,
                          struct error *err);
int journal_accept_logprobs(struct journal *journal, uint32_t choice, uint32_t pos,
                            const struct record_logprob *logprobs, size_t len, int32_t vocab_size,
                            struct error *err);
int journal_accept_prompt_logprobs(struct journal *journal, uint32_t pos,
                                   const struct record_logprob *logprobs, size_t len,
                                   int32_t vocab_size, struct error *err);
int journal_accept_done(struct journal *journal, uint32_t choice, const struct record_done *done,
                        struct error *err);

/* Are all log-probabilities of the prompt that were asked for here? */
bool journal_has_prompt_logprobs(const struct journal *journal);

#endif
