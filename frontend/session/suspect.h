/*
 * suspect.h - whom to blame for an engine's death, and whose like no engine gets again
 *
 * Before each step an engine writes on its status page who takes part. When it died in the step
 * by a fault of its own, each of them is blamed once, and so is who takes part in the step that
 * its device had behind that one; who was blamed SUSPECT_DEATHS times is a
 * suspect and gets steps of its own (RECORD_SUSPECT) to its end; an engine's death in such a step
 * convicts it: it fails, and requests with its digest are refused for ten minutes. So the
 * innocent company of a deadly request never fails, and it costs three engines at most
 * (tests/models/poison.pml).
 */
#ifndef FRONTEND_SESSION_SUSPECT_H
#define FRONTEND_SESSION_SUSPECT_H

#include <stdbool.h>
#include <stdint.h>

enum { SUSPECT_DEATHS = 2, SUSPECT_MAX_CONVICTED = 64 };

struct session;
struct engine_link;
struct journal;

/* Digests that are refused; the oldest makes room. */
struct suspect_list {
    struct {
        uint8_t digest[32];
        int64_t until_us; /* 0: free */
        bool is_untold;   /* convicted here; the role was not told yet */
    } entries[SUSPECT_MAX_CONVICTED];
    uint32_t num; /* ever */
};

/* The engine of the link died by its own fault. Runs callbacks: who is convicted fails. */
void suspect_blame(struct session *session, const struct engine_link *link);

/* Refuse what has this digest from now on. */
void suspect_refuse(struct suspect_list *list, const uint8_t digest[32], int64_t now_us);

bool suspect_is_refused(const struct session *session, const struct journal *journal,
                        int64_t now_us);

/* The next conviction that the role does not know of. */
bool suspect_take(struct suspect_list *list, uint8_t ret_digest[32]);

#endif
