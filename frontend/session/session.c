#include "frontend/session/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/session/session_internal.h"

enum { DEFAULT_MAX_REQUESTS = 65536, DEFAULT_HOLD_US = 120 * 1000000 };

int session_create(const struct session_options *options, struct session **ret_session)
{
    const size_t max_requests =
        options->max_requests == 0 ? DEFAULT_MAX_REQUESTS : options->max_requests;
    if (max_requests > JOURNAL_TABLE_MAX)
        return -EINVAL;
    struct session *session = calloc(1, sizeof(*session));
    if (session == NULL)
        return -ENOMEM;
    if (journal_table_init(&session->table, (uint32_t)max_requests) < 0) {
        free(session);
        return -ENOMEM;
    }
    session->tokenizer = options->tokenizer;
    session->words = options->status != NULL ? options->status->words : NULL;
    if (options->salt != NULL)
        memcpy(session->salt, options->salt, sizeof(session->salt));
    session->hold_us = options->hold_us > 0 ? options->hold_us : DEFAULT_HOLD_US;
    *ret_session = session;
    return 0;
}

/* ------------------------------------------------------------------ life of a request */

void session_list_request(struct session_request *request)
{
    struct session *session = request->session;
    request->next = session->requests;
    if (session->requests != NULL)
        session->requests->prev = request;
    session->requests = request;
    session->num_requests++;
}

static void unlist_request(struct session *session, struct session_request *request)
{
    if (request->next != NULL)
        request->next->prev = request->prev;
    if (request->prev != NULL)
        request->prev->next = request->next;
    else
        session->requests = request->next;
}

void session_destroy_request(struct session_request *request)
{
    if (request == NULL)
        return;
    for (uint32_t i = 0; request->journals != NULL && i < request->num_journals; i++)
        journal_destroy(request->journals[i]);
    free(request->journals);
    stop_matcher_destroy(request->matcher);
    free(request->request_id);
    free(request);
}

void session_release_journal(struct session *session, struct journal *journal)
{
    if (journal->id == 0)
        return;
    if (journal->is_held) {
        recover_drop(session, journal);
        return;
    }
    struct engine_link *link = &session->links[journal->engine];
    engine_link_detach(link, journal);
    if (journal->num_at_engine > 0 && engine_link_takes_requests(link))
        engine_link_cancel(link, &session->table, journal->id);
    else
        journal_table_remove(&session->table, journal->id);
    journal->id = 0;
}

void session_release_choice(struct session *session, struct journal *journal, uint32_t choice)
{
    struct engine_link *link = &session->links[journal->engine];
    if (journal->id != 0 && !journal->is_held && engine_link_takes_requests(link))
        engine_link_cancel_choice(link, journal, choice);
}

void session_touch(struct session_request *request)
{
    if (request->is_touched)
        return;
    request->is_touched = true;
    request->next_touched = request->session->touched;
    request->session->touched = request;
}

/* The request counts no more; its memory goes with the list of touched requests. */
static void retire(struct session *session, struct session_request *request)
{
    unlist_request(session, request);
    session->num_requests--;
    session_destroy_request(request);
}

static void publish_all(struct session *session)
{
    for (uint32_t i = 0; i < SESSION_MAX_ENGINES; i++)
        engine_link_publish(&session->links[i], &session->table);
}

void session_cancel(struct session *session, struct session_request *request)
{
    if (deliver_is_over(request)) {
        request->is_cancelled = true; /* no flush either */
        return;
    }
    request->is_cancelled = true;
    request_stats_cancel(request);
    for (uint32_t i = 0; i < request->num_journals; i++)
        session_release_journal(session, request->journals[i]);
    if (!session->is_delivering) /* else once, when the batch ends */
        publish_all(session);
    if (!request->is_touched)
        retire(session, request);
}

/* Flush (NULL: not) what got events, and free what is over. Flushing may cancel others. */
static void end_batch(struct session *session, void (*flush)(void *owner))
{
    while (session->touched != NULL) {
        struct session_request *batch = session->touched;
        session->touched = NULL;
        for (struct session_request *r = batch; flush != NULL && r != NULL; r = r->next_touched)
            if (!r->is_cancelled)
                flush(r->owner);
        for (struct session_request *r = batch, *next; r != NULL; r = next) {
            next = r->next_touched;
            r->is_touched = false;
            if (deliver_is_over(r))
                retire(session, r);
        }
    }
}

void session_destroy(struct session *session)
{
    if (session == NULL)
        return;
    while (session->requests != NULL) {
        struct session_request *request = session->requests;
        for (uint32_t i = 0; i < request->num_journals; i++)
            session_release_journal(session, request->journals[i]);
        retire(session, request);
    }
    publish_all(session);
    for (uint32_t i = 0; i < SESSION_MAX_ENGINES; i++)
        engine_link_close(&session->links[i], &session->table);
    journal_table_finish(&session->table);
    free(session->bulk);
    free(session->tokens);
    free(session);
}

/* ------------------------------------------------------------------ engines */

int session_engine_up(struct session *session, uint32_t engine, uint64_t epoch, uint64_t generation,
                      struct ring_end *end, const struct status_page *page, int doorbell,
                      struct error *err)
{
    if (engine >= SESSION_MAX_ENGINES)
        return error_set(err, -EINVAL, "engine %u, there are at most %d", engine,
                         SESSION_MAX_ENGINES);
    struct engine_link *link = &session->links[engine];
    if (link->is_up)
        session_engine_down(session, engine, &(struct session_death){ 0 }, NULL);
    const int r = engine_link_open(link, engine, epoch, generation, end, page, doorbell, err);
    if (r < 0)
        return r;
    session->last_bounds = link->bounds;
    session->last_max_num_seqs = link->max_num_seqs;
    session->last_max_queued = link->max_queued;
    session->is_delivering = true;
    recover_resubmit(session);
    end_batch(session, NULL);
    session->is_delivering = false;
    return 0;
}

/* Takes at most `max_cells` cells of one engine. */
static uint32_t drain_link(struct session *session, struct engine_link *link, uint32_t max_cells)
{
    uint32_t num_cells = 0;
    struct ring_cell cell;
    struct error err = { 0 };
    while (num_cells < max_cells && engine_link_takes_requests(link)) {
        const int r = ring_pop(&link->end, &cell, &err);
        if (r == 0)
            break;
        num_cells++;
        if (r < 0)
            engine_link_set_corrupt(link, err.message);
        else
            receive_cell(session, link, &cell);
    }
    if (num_cells > 0)
        ring_release(&link->end);
    return num_cells;
}

/* What it had said counts; who was there is held. */
static void empty_link(struct session *session, struct engine_link *link, bool is_attributable)
{
    (void)drain_link(session, link, UINT32_MAX);
    link->is_corrupt = true; /* nothing is sent any more */
    if (is_attributable)
        suspect_blame(session, link);
    recover_hold(session, link);
    engine_link_close(link, &session->table);
}

void session_engine_down(struct session *session, uint32_t engine,
                         const struct session_death *death, void (*flush)(void *owner))
{
    if (engine >= SESSION_MAX_ENGINES)
        return;
    session->is_delivering = true;
    if (session->links[engine].is_up)
        empty_link(session, &session->links[engine], death->is_attributable);
    if (death->for_good && !session_has_engine(session))
        recover_give_up(session, death->model_changed ? RECORD_FAILURE_MODEL_CHANGED
                                                      : RECORD_FAILURE_WORKER);
    end_batch(session, flush);
    session->is_delivering = false;
}

int32_t session_take_report(struct session *session, char *text, size_t size)
{
    for (uint32_t i = 0; i < SESSION_MAX_ENGINES; i++) {
        struct engine_link *link = &session->links[i];
        if (!link->is_up || !link->is_corrupt || link->is_reported)
            continue;
        link->is_reported = true;
        snprintf(text, size, "%s", link->report);
        return (int32_t)i;
    }
    return -1;
}

/* ------------------------------------------------------------------ the loop */

uint32_t session_drain(struct session *session, uint32_t max_cells, void (*flush)(void *owner))
{
    uint32_t num_cells = 0;
    session->is_delivering = true;
    for (uint32_t i = 0; i < SESSION_MAX_ENGINES && num_cells < max_cells; i++) {
        const uint32_t engine = (session->first_link + i) % SESSION_MAX_ENGINES;
        num_cells += drain_link(session, &session->links[engine], max_cells - num_cells);
    }
    session->first_link = (session->first_link + 1) % SESSION_MAX_ENGINES;
    recover_resubmit(session);
    end_batch(session, flush);
    session->is_delivering = false;
    publish_all(session);
    return num_cells;
}

void session_tick(struct session *session, int64_t now_us, void (*flush)(void *owner))
{
    session->is_delivering = true;
    recover_expire(session, now_us);
    recover_resubmit(session);
    end_batch(session, flush);
    session->is_delivering = false;
    publish_all(session);
}

bool session_take_conviction(struct session *session, uint8_t ret_digest[32])
{
    return suspect_take(&session->convicted, ret_digest);
}

void session_convict(struct session *session, const uint8_t digest[32], int64_t now_us)
{
    suspect_refuse(&session->convicted, digest, now_us);
}

uint32_t session_num_held(const struct session *session)
{
    return session->num_held;
}

bool session_prepare_sleep(struct session *session)
{
    bool may_sleep = !recover_may_go_on(session);
    publish_all(session); /* CANCELs for which there was no room before */
    for (uint32_t i = 0; may_sleep && i < SESSION_MAX_ENGINES; i++)
        if (engine_link_takes_requests(&session->links[i]))
            may_sleep = ring_prepare_sleep(&session->links[i].end);
    if (!may_sleep)
        session_end_sleep(session);
    return may_sleep;
}

void session_end_sleep(struct session *session)
{
    for (uint32_t i = 0; i < SESSION_MAX_ENGINES; i++)
        if (session->links[i].is_up)
            ring_end_sleep(&session->links[i].end);
}

uint32_t session_num_requests(const struct session *session)
{
    return session->num_requests;
}

void session_get_counters(const struct session *session, struct session_counters *ret_counters)
{
    *ret_counters = session->counters;
}

void session_set_log(struct session *session, void (*log)(const char *line))
{
    session->log = log;
}
