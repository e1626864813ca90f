/*
 * state.h - what one frontend process holds; shared by the handlers
 *
 * One instance, one thread. The side thread sees the model card and copies only.
 */
#ifndef FRONTEND_STATE_H
#define FRONTEND_STATE_H

#include "frontend/auth.h"
#include "frontend/cors.h"
#include "frontend/guess.h"
#include "frontend/http.h"
#include "frontend/loop.h"
#include "frontend/server.h"
#include "frontend/session/model_card.h"
#include "frontend/session/session.h"
#include "frontend/side.h"
#include "proto/records/control.h"
#include "proto/records/settings.h"
#include "proto/records/stats.h"
#include "shm/status.h"
#include "supervisor/supervised.h"

enum { FRONTEND_MAX_ENGINES = 64 };

struct frontend_engine {
    const struct status_page *page; /* own mapping, for probes and metrics; NULL: down */
    struct segment mapping;
    uint64_t epoch;
    bool failed; /* will not come back */
};

struct frontend {
    struct settings settings;
    uint32_t index;
    struct model_card *card;
    struct auth *auth;
    struct account_book *accounts;
    struct guess_table guesses;
    struct cors cors;
    struct loop *loop;
    struct server *server;
    struct side *side;
    struct session *session;
    struct tokenizer_scratch *scratch;      /* of the loop's thread */
    struct tokenizer_scratch *side_scratch; /* of the side thread */
    struct generation *generations;         /* requests between admission and their answer's end */
    struct loop_deferred *receive_soon;
    struct supervised child;              /* socket, doorbell and pages from the supervisor */
    struct status_page *own;              /* written here */
    const struct status_page *supervisor; /* read */
    struct segment peers[CONTROL_MAX_FRONTENDS]; /* other frontends' pages */
    struct segment worker_page;                  /* from its start on: how far it has loaded */
    int64_t worker_since_us;                     /* when that page came */
    struct frontend_engine engines[FRONTEND_MAX_ENGINES];
    char fingerprint[96]; /* system_fingerprint, "" before the first engine */
    char backend[32];
    char facts[STATUS_TEXT_BYTES]; /* of the engine that came up last */
    int64_t created;               /* wall clock seconds of the process's start */
    int64_t started_us;
    uint8_t tls_ticket_key[80]; /* the supervisor's, with tls_keys_set */
    bool tls_keys_set;
    uint64_t random_state[2]; /* of request ids */
    bool was_ready;           /* an engine has been up once: startup is over */
    bool obeys_priority;      /* the scheduling policy does */
    bool draining;            /* nothing new is taken */
    bool drained_told;
    int64_t drain_us; /* when to stop taking requests; 0: not draining */
    int64_t stop_us;  /* when to end at the latest; 0: not stopping */
    uint64_t log_dropped;
};

#endif
