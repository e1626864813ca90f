#include "frontend/generation.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "frontend/gate.h"
#include "frontend/reply.h"
#include "frontend/state.h"
#include "frontend/stream.h"

enum {
    FOLDED_LIMIT_BYTES = 256 * 1024 * 1024,
    UNSENT_BYTES = 1024 * 1024, /* of a stream; beyond it events wait unformatted */
};

/* --- the record --------------------------------------------------------------------------- */

static void generation_free(struct generation *g)
{
    if (g->previous != NULL)
        g->previous->next = g->next;
    else
        g->frontend->generations = g->next;
    if (g->next != NULL)
        g->next->previous = g->previous;
    if (g->aside != NULL)
        *g->aside = NULL;
    if (g->account != NULL)
        account_end(g->account, g->phase >= GENERATION_PREFILL);
    if (g->session != NULL)
        session_cancel(g->frontend->session, g->session);
    wire_answer_destroy(g->answer);
    strbuf_finish(&g->folded);
    event_log_finish(&g->log);
    free(g);
}

static void on_gone(void *owner)
{
    static const enum stat_id phases[] = {
        [GENERATION_PREPARING] = STAT_DISCONNECTS_QUEUED,
        [GENERATION_QUEUED] = STAT_DISCONNECTS_QUEUED,
        [GENERATION_PREFILL] = STAT_DISCONNECTS_PREFILL,
        [GENERATION_DECODE] = STAT_DISCONNECTS_DECODE,
    };
    struct generation *g = owner;
    stat_add(g->frontend->own->words, phases[g->phase], 1);
    generation_free(g);
}

static void on_writable(void *owner);

static const struct http_owner owner_kind = { .gone = on_gone, .writable = on_writable };

struct generation *generation_create(struct frontend *frontend, struct http_request *request,
                                     enum wire_endpoint endpoint)
{
    struct generation *g = calloc(1, sizeof(*g));
    if (g == NULL)
        return NULL;
    g->frontend = frontend;
    g->http = request;
    g->endpoint = endpoint;
    g->folded.limit = FOLDED_LIMIT_BYTES;
    g->account = http_caller(request)->account;
    if (g->account != NULL)
        account_begin(g->account);
    g->next = frontend->generations;
    if (g->next != NULL)
        g->next->previous = g;
    frontend->generations = g;
    http_attach(request, &owner_kind, g);
    return g;
}

/* --- ends --------------------------------------------------------------------------------- */

void generation_count_refusal(const struct frontend *frontend, enum wire_code code)
{
    static const struct {
        enum wire_code code;
        enum stat_id stat;
    } rows[] = {
        { WIRE_QUEUE_FULL, STAT_REJECTED_QUEUE_FULL },
        { WIRE_QUEUED_TOKENS_EXCEEDED, STAT_REJECTED_QUEUED_TOKENS },
        { WIRE_KEY_CONCURRENCY_EXCEEDED, STAT_REJECTED_KEY_CONCURRENCY },
        { WIRE_KEY_RATE_EXCEEDED, STAT_REJECTED_KEY_RATE },
        { WIRE_DEADLINE_UNREACHABLE, STAT_REJECTED_DEADLINE },
        { WIRE_MODEL_LOADING, STAT_REJECTED_LOADING },
        { WIRE_NO_WORKER, STAT_REJECTED_LOADING },
        { WIRE_DRAINING, STAT_REJECTED_DRAINING },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].code == code)
            stat_add(frontend->own->words, rows[i].stat, 1);
    if (wire_codes[code].status == 400 || wire_codes[code].status == 404)
        stat_add(frontend->own->words, STAT_REJECTED_INVALID, 1);
}

void generation_refuse(struct generation *g, const struct wire_error *error)
{
    struct http_request *http = g->http;
    const struct wire_error copy = *error;
    generation_count_refusal(g->frontend, copy.code);
    generation_free(g);
    reply_error(http, &copy);
}

static void answer_folded(struct generation *g)
{
    struct http_request *http = g->http;
    struct strbuf body = g->folded;
    char ms[24];
    g->folded = (struct strbuf){ 0 };
    generation_free(g);
    snprintf(ms, sizeof(ms), "%lld", (long long)((clock_now_us() - http_began_us(http)) / 1000));
    http_add_header(http, "openai-processing-ms", ms);
    reply_json(http, 200, &body);
}

/* The answer is complete: give it away. */
static void finish(struct generation *g)
{
    struct http_request *http = g->http;
    if (g->failed) {
        generation_refuse(g, &g->error);
    } else if (!g->stream) {
        answer_folded(g);
    } else {
        generation_free(g);
        http_stream_end(http);
    }
}

static void finish_later(void *data, struct http_request *request)
{
    (void)request;
    generation_flush(data);
}

/* --- events of the session ---------------------------------------------------------------- */

/* Before anything was sent, a failure decides the status. */
static void take_failure(struct generation *g, const struct answer_event *event)
{
    g->failed = true;
    wire_error_from_failure(&g->error, event->failure, http_request_id(g->http));
    g->error.retry_after_ms = event->retry_after_ms;
}

static void set_phase(struct generation *g, enum answer_event_kind kind)
{
    const bool waited = g->phase < GENERATION_PREFILL;
    if (kind == ANSWER_STARTED && waited)
        g->phase = GENERATION_PREFILL;
    else if (kind == ANSWER_TEXT)
        g->phase = GENERATION_DECODE;
    if (waited && g->phase >= GENERATION_PREFILL && g->account != NULL)
        account_start(g->account);
}

static void charge(struct generation *g, const struct answer_event *event)
{
    if (g->account != NULL && (event->kind == ANSWER_TEXT || event->kind == ANSWER_FINISHED))
        account_charge(g->account, event->num_tokens);
}

static bool is_full(struct generation *g)
{
    return !event_log_is_empty(&g->log) || http_stream_buffer(g->http)->len >= UNSENT_BYTES;
}

static void write_event(struct generation *g, const struct answer_event *event)
{
    if (!g->stream)
        wire_answer_event(g->answer, event, &g->folded);
    else if (!is_full(g))
        wire_answer_event(g->answer, event, http_stream_buffer(g->http));
    else if (!event_log_push(&g->log, event))
        http_stream_buffer(g->http)->failed = true; /* no memory: the next flush cuts it */
}

void generation_on_event(void *owner, const struct answer_event *event)
{
    struct generation *g = owner;

    set_phase(g, event->kind);
    charge(g, event);
    if (event->kind == ANSWER_ACCEPTED && g->stream)
        stream_begin(g->http);
    if (event->kind == ANSWER_FAILED && !http_is_streaming(g->http))
        take_failure(g, event);
    else
        write_event(g, event);
    if (event->kind == ANSWER_END || event->kind == ANSWER_FAILED) {
        g->session = NULL;
        g->done = true;
        http_defer(g->http, finish_later, g); /* in case no flush follows */
    }
}

void generation_flush(void *owner)
{
    struct generation *g = owner;
    if (g->done && event_log_is_empty(&g->log))
        finish(g);
    else if (g->stream)
        http_stream_flush(g->http);
}

/* A piece has left: format what waits, as far as it goes. */
static void on_writable(void *owner)
{
    struct generation *g = owner;
    struct strbuf *out = http_stream_buffer(g->http);
    struct answer_event event;
    while (out->len < UNSENT_BYTES && event_log_pop(&g->log, &event))
        wire_answer_event(g->answer, &event, out);
    if (g->done && event_log_is_empty(&g->log))
        http_defer(g->http, finish_later, g);
}

static void cut(struct generation *g, const struct wire_error *error)
{
    if (g->done && event_log_is_empty(&g->log)) {
        finish(g);
    } else if (http_is_streaming(g->http)) {
        wire_answer_error(g->answer, error, http_stream_buffer(g->http));
        finish(g);
    } else {
        generation_refuse(g, error);
    }
}

void generation_expire_queued(struct frontend *frontend, int64_t now_us)
{
    const int64_t most_us = (int64_t)(frontend->settings.queue_timeout * 1e6);
    struct generation *next;
    struct wire_error error;
    wire_error_set(&error, WIRE_QUEUE_FULL, "", "The request waited in the queue for %g s.",
                   frontend->settings.queue_timeout);
    error.retry_after_ms = gate_retry_after_ms(frontend);
    for (struct generation *g = frontend->generations; most_us > 0 && g != NULL; g = next) {
        next = g->next;
        if (g->phase == GENERATION_QUEUED && !g->done && now_us - http_began_us(g->http) > most_us)
            cut(g, &error);
    }
}

void generation_cut_all(struct frontend *frontend)
{
    struct generation *next;
    struct wire_error error;
    wire_error_set(&error, WIRE_DRAINING, "", "The server is shutting down.");
    for (struct generation *g = frontend->generations; g != NULL; g = next) {
        next = g->next;
        cut(g, &error);
    }
}
