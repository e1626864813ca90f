/*
 * engine_link.h - one engine as its frontend sees it: ring end, doorbell, limits, who is there
 *
 * Whatever has to reach the engine and finds no room waits in the link: CANCELs of requests as a
 * list through the slots of the request table, those of choices as a mark on the choice, so that
 * forgetting never fails and never allocates. They go before any later SUBMIT.
 */
#ifndef FRONTEND_SESSION_ENGINE_LINK_H
#define FRONTEND_SESSION_ENGINE_LINK_H

#include "frontend/session/journal.h"
#include "frontend/session/journal_table.h"

struct engine_link {
    bool is_up;
    bool is_corrupt; /* broke a rule: nothing is read or sent any more */
    bool is_reported;
    uint32_t number;
    uint64_t epoch, generation;
    struct ring_end end;
    const struct status_page *page;
    int doorbell;
    struct record_bounds bounds;
    uint64_t identity; /* of its model; 0: not told */
    int64_t max_num_seqs, max_queued;
    struct journal *journals; /* at this engine, newest first */
    uint32_t num_journals;
    uint32_t first_cancel, last_cancel; /* slots, or JOURNAL_TABLE_NONE */
    bool owes_choices;                  /* some choice's CANCEL waits */
    char report[ERROR_MESSAGE_BYTES];
};

/*
 * Read the limits from the facts on the engine's page and take over end, page and doorbell.
 *
 * Returns 0; -EPROTO when a fact is missing or out of range (nothing is taken over).
 */
int engine_link_open(struct engine_link *link, uint32_t number, uint64_t epoch, uint64_t generation,
                     struct ring_end *end, const struct status_page *page, int doorbell,
                     struct error *err);

/* Gives back what was taken over and the slots of CANCELs that wait. Accepts one that is down. */
void engine_link_close(struct engine_link *link, struct journal_table *table);

bool engine_link_takes_requests(const struct engine_link *link);

/* Requests wait up to the engine's limit already. */
bool engine_link_is_full(const struct engine_link *link);

/*
 * Put the SUBMITs of `journals` on the ring, all or none, and show them.
 *
 * Returns 0; -EAGAIN without room now; -EMSGSIZE when they never fit; -EPROTO (the engine's
 * memory broke a rule).
 */
int engine_link_submit(struct engine_link *link, struct journal_table *table,
                       struct journal *const *journals, uint32_t num_journals, struct error *err);

void engine_link_attach(struct engine_link *link, struct journal *journal);
void engine_link_detach(struct engine_link *link, struct journal *journal);

/* The engine may stop computing this choice of a journal that is attached. */
void engine_link_cancel_choice(struct engine_link *link, struct journal *journal, uint32_t choice);

/* The engine forgets the id; its slot is given back once the CANCEL is on the ring. */
void engine_link_cancel(struct engine_link *link, struct journal_table *table, uint64_t id);

/* Put waiting CANCELs on the ring, show everything, ring the doorbell of a sleeping engine. */
void engine_link_publish(struct engine_link *link, struct journal_table *table);

void engine_link_set_corrupt(struct engine_link *link, const char *what);

#endif
