/*
 * link.h - the engine's ring ends, one to each frontend
 *
 * A link takes cells out of a frontend's submit ring, copies and checks them, and puts answers
 * on its complete ring. It takes a cell only while there is room to answer it at once, so that
 * a frontend that does not read stops only itself. Once a link is corrupt nothing is read or
 * written any more.
 *
 * Engine thread only. link_take(), link_push() and link_publish() do not allocate.
 */
#ifndef WORKER_LINK_H
#define WORKER_LINK_H

#include "proto/records/control.h"
#include "shm/ring.h"
#include "worker/request.h"
#include "worker/sequence.h"

enum {
    LINK_NUM_FDS = 3,
    LINK_MAX_LOGPROBS_BYTES =
        SEQUENCE_WINDOW * SEQUENCE_LOGPROB_STRIDE * (int)sizeof(struct record_logprob),
};

struct link {
    bool is_up;
    struct ring_end end;
    int doorbell;
    uint64_t generation; /* of the frontend */
    void *bulk;          /* [half of the submit bulk ring] the private copy of a cell's bulk */
    int64_t read_us;     /* when its complete ring last took something, or all */
    uint32_t last_tail;  /* of the complete ring, at the last publishing */
    struct request_list unpublished;
};

/* What was taken from a submit ring: a CANCEL (of one choice, or of all: -1), or a SUBMIT whose
 * pointers are valid until the next link_take(). */
struct link_message {
    enum record_kind kind;
    uint64_t id;
    int32_t choice;
    struct record_submit submit;
};

/* Map the segments named by a FRONTEND_LINK. The descriptors stay the caller's, but the doorbell
 * is taken over. Returns 0; -EPROTO or -ENOMEM with a sentence. */
int link_open(struct link *link, const struct control_message *message, const int *fds,
              size_t num_fds, struct error *err);
void link_close(struct link *link); /* accepts a zeroed one */

/* Returns 1; 0 when there is nothing to take now; -EPROTO with the rule that was broken. */
int link_take(struct link *link, const struct record_bounds *bounds,
              struct link_message *ret_message, struct error *err);

/* Give what was taken back to the producer: once per step. */
void link_release(struct link *link);

/* Returns false when there is no room now. */
bool link_push(struct link *link, const struct ring_cell *cell, const void *bulk, size_t len);
void link_push_accepted(struct link *link, uint64_t id, uint32_t num_waiting);
void link_push_refused(struct link *link, uint64_t id, enum record_failure failure,
                       uint32_t retry_after_ms);

/* Show all that was pushed, and ring if the frontend sleeps. */
void link_publish(struct link *link);

#endif
