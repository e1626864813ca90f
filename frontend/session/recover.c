#include "frontend/session/recover.h"

#include <errno.h>

#include "base/clock.h"
#include "frontend/session/session_internal.h"
#include "proto/records/stats.h"

enum { PER_TURN = 64, PER_TURN_BYTES = 4 << 20 };

/* ------------------------------------------------------------------ the list */

/* Ids count upwards, so they order by age. Whole links come newest first: each goes to the head. */
static void insert(struct session *session, struct journal *journal)
{
    struct journal *prev = NULL, *next = session->held;
    while (next != NULL && next->id < journal->id) {
        prev = next;
        next = next->next;
    }
    journal->prev = prev;
    journal->next = next;
    if (next != NULL)
        next->prev = journal;
    if (prev != NULL)
        prev->next = journal;
    else
        session->held = journal;
    session->num_held++;
}

static void take_out(struct session *session, struct journal *journal)
{
    if (journal->next != NULL)
        journal->next->prev = journal->prev;
    if (journal->prev != NULL)
        journal->prev->next = journal->next;
    else
        session->held = journal->next;
    journal->prev = journal->next = NULL;
    journal->is_held = false;
    session->num_held--;
}

void recover_drop(struct session *session, struct journal *journal)
{
    take_out(session, journal);
    journal_table_remove(&session->table, journal->id);
    journal->id = 0;
}

/* ------------------------------------------------------------------ holding */

static void hold(struct session *session, struct journal *journal, int64_t now)
{
    if (!journal_needs_engine(journal)) { /* all was said, but not all may be delivered yet */
        journal_table_remove(&session->table, journal->id);
        journal->id = 0;
        return;
    }
    journal->is_held = true;
    journal->is_encoded = false;
    journal->held_us = now;
    journal->engine = SESSION_MAX_ENGINES; /* nobody may speak of it */
    insert(session, journal);
}

void recover_hold(struct session *session, struct engine_link *link)
{
    const int64_t now = clock_now_us();
    struct journal *journal;
    while ((journal = link->journals) != NULL) { /* callbacks may take others away */
        const bool has_ended = journal_end_choices(journal);
        engine_link_detach(link, journal);
        hold(session, journal, now);
        if (has_ended)
            deliver_request(journal->request);
    }
    session->is_held_up = false;
}

/* ------------------------------------------------------------------ going on */

/* 0, -EAGAIN, or why it cannot go on. */
static int resubmit(struct session *session, struct engine_link *link, struct journal *journal)
{
    struct error err = { 0 };
    int r = 0;
    if (journal->identity != link->identity)
        return -ESTALE; /* another model would continue another model's text */
    if (!journal->is_encoded)
        r = journal_encode(journal, &link->bounds, &err);
    if (r < 0)
        return r;
    journal->is_encoded = true;
    r = engine_link_submit(link, &session->table, &journal, 1, &err);
    if (r < 0)
        return r;
    take_out(session, journal);
    engine_link_attach(link, journal);
    if (session->words != NULL)
        stat_add(session->words, STAT_SUBMITS, 1);
    return 0;
}

void recover_resubmit(struct session *session)
{
    uint32_t num = 0;
    size_t num_bytes = 0;
    session->is_held_up = false;
    while (session->held != NULL && num++ < PER_TURN && num_bytes < PER_TURN_BYTES) {
        struct journal *journal = session->held;
        struct engine_link *link = session_choose_link(session);
        if (link == NULL)
            return;
        const int r = resubmit(session, link, journal);
        num_bytes += journal->num_bytes;
        session->is_held_up = r == -EAGAIN;
        if (r == -EAGAIN)
            return;
        if (r < 0 && r != -EPROTO) /* the link's fault: another may take it */
            deliver_failure(journal->request,
                            r == -ESTALE ? RECORD_FAILURE_MODEL_CHANGED : RECORD_FAILURE_WORKER, 0);
    }
}

bool recover_may_go_on(const struct session *session)
{
    return session->held != NULL && !session->is_held_up && session_has_engine(session);
}

/* ------------------------------------------------------------------ ends */

static enum record_failure why_expired(const struct session *session, const struct journal *journal,
                                       int64_t now)
{
    const struct record_params *params = journal->submit.params;
    const uint64_t deadline = record_join(params->deadline_low, params->deadline_high);
    if (deadline != 0 && (uint64_t)now >= deadline)
        return RECORD_FAILURE_DEADLINE;
    return now - journal->held_us >= session->hold_us ? RECORD_FAILURE_WORKER : 0;
}

void recover_expire(struct session *session, int64_t now_us)
{
    struct journal *journal = session->held;
    while (journal != NULL) {
        const enum record_failure failure = why_expired(session, journal, now_us);
        if (failure != 0)
            deliver_failure(journal->request, failure, 0);
        journal = failure != 0 ? session->held : journal->next; /* the callback may drop others */
    }
}

void recover_give_up(struct session *session, enum record_failure failure)
{
    while (session->held != NULL)
        deliver_failure(session->held->request, failure, 0);
}
