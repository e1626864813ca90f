#include "worker/intake.h"

#include <errno.h>

#include "base/clock.h"
#include "proto/records/stats.h"
#include "worker/engine_links.h"
#include "worker/publish.h"

static void drop_request(struct engine *engine, struct request *request)
{
    publish_drop(engine_links_of(engine, request), &engine->scheduler, request);
}

void intake_fail(struct engine *engine, struct request *request, enum record_failure failure)
{
    scheduler_stop(&engine->scheduler, request);
    request->failure = failure;
    publish_owe(engine_links_of(engine, request), request);
}

/* --- what arrives ----------------------------------------------------------------------- */

static int admit_submit(struct engine *engine, uint32_t frontend,
                        const struct link_message *message, struct error *err)
{
    struct scheduler *s = &engine->scheduler;
    struct link *link = &engine->links[frontend];
    struct request *request;
    stat_add(engine->options.page->words, STAT_ENGINE_SUBMITS, 1);
    if (request_set_find(&s->requests, (int32_t)frontend, message->id) != NULL)
        return error_set(err, -EPROTO, "SUBMIT with id %llu, which is in use",
                         (unsigned long long)message->id);
    const uint32_t num_waiting = (uint32_t)s->num_waiting;
    const enum record_failure failure =
        scheduler_admit(s, (int32_t)frontend, message->id, &message->submit, &request);
    if (failure != 0) {
        link_push_refused(link, message->id, failure,
                          meter_retry_after_ms(&engine->meter, s->num_waiting));
        return 0;
    }
    link_push_accepted(link, message->id, num_waiting);
    if (request->deadline_us != 0 && request->deadline_us < engine->next_deadline_us)
        engine->next_deadline_us = request->deadline_us;
    return 0;
}

/* Returns false when the choice has no seat: it has ended, or does not run yet. */
static bool cancel_choice(struct engine *engine, struct request *request, int32_t choice)
{
    struct sequence *sequence = request->sequences;
    while (sequence != NULL && (sequence->choice != choice || sequence->finish != 0))
        sequence = sequence->next_sibling;
    if (sequence == NULL || request->failure != 0)
        return false;
    sequence_cancel(sequence);
    scheduler_finish(&engine->scheduler, sequence);
    publish_owe(engine_links_of(engine, request), request);
    return true;
}

static void admit_cancel(struct engine *engine, uint32_t frontend,
                         const struct link_message *message)
{
    struct request *request =
        request_set_find(&engine->scheduler.requests, (int32_t)frontend, message->id);
    stat_add(engine->options.page->words, STAT_ENGINE_CANCELS, 1);
    if (request != NULL && message->choice < 0)
        drop_request(engine, request);
    else if (request == NULL || !cancel_choice(engine, request, message->choice))
        stat_add(engine->options.page->words, STAT_RING_DROPPED, 1); /* it has just ended */
}

static int admit_from(struct engine *engine, uint32_t frontend, bool *ret_any, struct error *err)
{
    struct link *link = &engine->links[frontend];
    struct link_message message;
    int r;
    while ((r = link_take(link, &engine->bounds, &message, err)) > 0) {
        *ret_any = true;
        if (message.kind == RECORD_CANCEL)
            admit_cancel(engine, frontend, &message);
        else if ((r = admit_submit(engine, frontend, &message, err)) < 0)
            return r;
    }
    link_release(link);
    return r;
}

bool intake_admit(struct engine *engine)
{
    struct error err;
    bool any = false;
    for (uint32_t i = 0; i < CONTROL_MAX_FRONTENDS; i++)
        if (engine->links[i].is_up && admit_from(engine, i, &any, &err) < 0)
            engine_links_give_up(engine, i, err.message);
    return any;
}

/* --- deadlines -------------------------------------------------------------------------- */

static bool is_complete(const struct request *request)
{
    for (const struct sequence *q = request->sequences; q != NULL; q = q->next_sibling)
        if (q->finish == 0)
            return false;
    return request->num_seated == request->num_choices;
}

bool intake_expire(struct engine *engine, int64_t now)
{
    struct request *request;
    bool any = false;
    if (now < engine->next_deadline_us)
        return false;
    engine->next_deadline_us = INT64_MAX;
    TAILQ_FOREACH(request, &engine->scheduler.requests.active, in_active)
    {
        if (request->deadline_us == 0 || request->failure != 0 || is_complete(request))
            continue;
        if (request->deadline_us <= now) {
            intake_fail(engine, request, RECORD_FAILURE_DEADLINE);
            any = true;
        } else if (request->deadline_us < engine->next_deadline_us) {
            engine->next_deadline_us = request->deadline_us;
        }
    }
    return any;
}
