#include "frontend/session/suspect.h"

#include <string.h>

#include "base/clock.h"
#include "frontend/session/session_internal.h"

enum { REFUSED_US = 600 * 1000000 };

static void add(struct suspect_list *list, const uint8_t digest[32], int64_t now, bool is_untold)
{
    const uint32_t at = list->num++ % SUSPECT_MAX_CONVICTED;
    memcpy(list->entries[at].digest, digest, 32);
    list->entries[at].until_us = now + REFUSED_US;
    list->entries[at].is_untold = is_untold;
}

static void convict(struct session *session, struct journal *journal)
{
    uint8_t digest[32];
    if (journal_digest(journal, session->salt, digest) == 0)
        add(&session->convicted, digest, clock_now_us(), true);
    deliver_failure(journal->request, RECORD_FAILURE_WORKER, 0);
}

/* A prompt that is still at this engine; NULL for one that is over, or not ours. */
static struct journal *find(const struct session *session, const struct engine_link *link,
                            const struct status_request *request)
{
    struct journal *journal = NULL;
    if (request->generation != link->generation ||
        journal_table_find(&session->table, request->id, &journal) <= 0)
        return NULL;
    return journal->engine == link->number ? journal : NULL;
}

/* What was checked may have changed: the page is another process's. */
static uint32_t num_in(const struct status_step *step)
{
    const uint32_t num = step != NULL ? step->num_requests : 0;
    return num < STATUS_STEP_REQUESTS ? num : STATUS_STEP_REQUESTS;
}

static bool has(const struct status_step *step, const struct status_request *request)
{
    for (uint32_t i = 0; i < num_in(step); i++)
        if (step->requests[i].id == request->id &&
            step->requests[i].generation == request->generation)
            return true;
    return false;
}

/* Those of `step` that were not in `before`, and are alone if `num` is 1. */
static void blame_step(struct session *session, const struct engine_link *link,
                       const struct status_step *step, const struct status_step *before,
                       uint32_t num)
{
    for (uint32_t i = 0; i < num_in(step); i++) {
        struct journal *journal = find(session, link, &step->requests[i]);
        if (journal != NULL && !has(before, &step->requests[i]) &&
            ++journal->num_deaths > SUSPECT_DEATHS && num == 1)
            convict(session, journal);
    }
}

/* A device that had a second step may have failed in either: both are blamed, each request once,
 * and nobody is convicted, since a suspect's step has none behind it. */
void suspect_blame(struct session *session, const struct engine_link *link)
{
    const struct status_step *steps[STATUS_MAX_SENT];
    const int num_steps = status_sent_steps(link->page, steps);
    uint32_t num = 0;
    for (int k = 0; k < num_steps; k++)
        num += num_in(steps[k]);
    for (int k = 0; k < num_steps; k++)
        blame_step(session, link, steps[k], k > 0 ? steps[0] : NULL, num);
}

void suspect_refuse(struct suspect_list *list, const uint8_t digest[32], int64_t now_us)
{
    add(list, digest, now_us, false);
}

bool suspect_is_refused(const struct session *session, const struct journal *journal,
                        int64_t now_us)
{
    const struct suspect_list *list = &session->convicted;
    uint8_t digest[32];
    if (list->num == 0 || journal_digest(journal, session->salt, digest) < 0)
        return false;
    for (uint32_t i = 0; i < SUSPECT_MAX_CONVICTED; i++)
        if (now_us < list->entries[i].until_us && memcmp(list->entries[i].digest, digest, 32) == 0)
            return true;
    return false;
}

bool suspect_take(struct suspect_list *list, uint8_t ret_digest[32])
{
    for (uint32_t i = 0; i < SUSPECT_MAX_CONVICTED; i++)
        if (list->entries[i].is_untold) {
            list->entries[i].is_untold = false;
            memcpy(ret_digest, list->entries[i].digest, 32);
            return true;
        }
    return false;
}
