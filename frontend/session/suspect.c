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

void suspect_blame(struct session *session, const struct engine_link *link)
{
    const uint64_t num_finished =
        atomic_load_explicit((_Atomic uint64_t *)&link->page->step, memory_order_relaxed);
    const struct status_step *step = status_find_step(link->page, num_finished + 1);
    const uint32_t num = step != NULL ? step->num_requests : 0;
    for (uint32_t i = 0; i < num; i++) {
        struct journal *journal = find(session, link, &step->requests[i]);
        if (journal != NULL && ++journal->num_deaths > SUSPECT_DEATHS && num == 1)
            convict(session, journal);
    }
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
