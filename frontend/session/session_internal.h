/*
 * session_internal.h - what session.c, submit.c, receive.c, deliver.c and request_stats.c share
 *
 * A request lives in three places: the list of all requests, the table (one id for each prompt
 * that is at an engine or held between two), and, from its first event of a batch until the flush,
 * the list of touched requests. Code that runs callbacks works on a touched request, and a touched
 * one stays in memory until that list is gone through, so that no loop ever holds a freed one.
 */
#ifndef FRONTEND_SESSION_INTERNAL_H
#define FRONTEND_SESSION_INTERNAL_H

#include "frontend/session/engine_link.h"
#include "frontend/session/recover.h"
#include "frontend/session/suspect.h"

enum { SESSION_MAX_ENGINES = 16 };

struct session_request {
    struct session *session;
    struct session_request *prev, *next; /* all requests */
    struct session_request *next_touched;
    session_callback callback;
    void *owner;
    char *request_id;
    struct stop_matcher *matcher; /* NULL: no stop strings */
    bool include_stop, keep_special, echo;
    bool is_touched, is_closed, is_cancelled;
    bool has_said_accepted, has_said_started;
    bool hit_length; /* a choice ended by its length */
    struct journal **journals;
    uint32_t num_journals, num_accepted, num_finished;
    uint32_t num_choices; /* of all prompts */
    struct answer_usage usage;
    int64_t submitted_us, started_us, first_token_us, last_token_us; /* 0: not yet */
};

struct session {
    const struct tokenizer *tokenizer;
    _Atomic uint64_t *words; /* of the own status page, or NULL */
    struct journal_table table;
    struct engine_link links[SESSION_MAX_ENGINES];
    struct record_bounds last_bounds; /* of the engine that came last */
    int64_t last_max_num_seqs, last_max_queued;
    struct journal *held; /* between two engines, oldest first */
    uint32_t num_held;
    bool is_held_up; /* the oldest of them found no room on the ring */
    int64_t hold_us; /* for so long at most */
    struct suspect_list convicted;
    uint8_t salt[16];    /* of digests */
    uint32_t first_link; /* whose ring is drained first next time */
    struct session_request *requests;
    uint32_t num_requests;
    struct session_request *touched; /* newest first */
    bool is_delivering;              /* callbacks run: what is touched is not freed */
    void *bulk;                      /* copy of a cell's bulk */
    size_t bulk_cap;
    struct answer_token *tokens; /* of the event being handed over */
    size_t cap_tokens;
    void (*log)(const char *line);
    struct session_counters counters;
};

/* session.c: take a prompt away from its engine, with a CANCEL unless it is through there. */
void session_release_journal(struct session *session, struct journal *journal);
/* Tell the engine that one choice of several is done with. */
void session_release_choice(struct session *session, struct journal *journal, uint32_t choice);
void session_touch(struct session_request *request);

/* A request at its engine counts from here on. */
void session_list_request(struct session_request *request);
/* Give memory back; the request is in no list and at no engine. Accepts a half-built one. */
void session_destroy_request(struct session_request *request);

/* submit.c: the engine with the fewest prompts of this struct; NULL without any. */
struct engine_link *session_choose_link(struct session *session);

/* receive.c: check one cell and act on it. Whatever breaks a rule marks the link. */
void receive_cell(struct session *session, struct engine_link *link, const struct ring_cell *cell);

/* deliver.c: hand over what can be handed over. Nothing happens to a request that is over. */
bool deliver_is_over(const struct session_request *request);
void deliver_request(struct session_request *request);
void deliver_choice(struct session_request *request, struct journal *journal, uint32_t choice);
void deliver_failure(struct session_request *request, enum record_failure failure,
                     uint32_t retry_after_ms);

/* request_stats.c */
void request_stats_begin(struct session_request *request); /* its clock starts */
void request_stats_submit(struct session_request *request);
void request_stats_start(struct session_request *request);
void request_stats_tokens(struct session_request *request, struct journal_choice *choice,
                          uint32_t num_tokens);
void request_stats_end(struct session_request *request);
void request_stats_fail(struct session_request *request, enum record_failure failure);
void request_stats_cancel(struct session_request *request);

#endif
