/*
 * worker_rig.h - the role of a worker as a process, with its supervisor and a frontend in the hand
 * of a test
 */
#ifndef TESTS_WORKER_RIG_H
#define TESTS_WORKER_RIG_H

#include <sys/types.h>

#include "proto/records/control.h"
#include "proto/records/record.h"
#include "shm/ring.h"
#include "shm/status.h"
#include "worker/worker.h"

struct child {
    pid_t pid;
    int control;
    int worker_doorbell, own_doorbell;
    struct segment page;
    struct ring_end end;
};

extern struct child child;
extern const char *const ringlet[]; /* options with which it serves the embedded model */

/* What the worker wants kept for its successors, which spawn() hands to the next. */
extern struct control_message kept;
extern int kept_weights;

/* The supervisor's end. Every wait ends after a minute by failing the test. */
void spawn(const char *const *options); /* ended by NULL */
void teardown(void);                    /* kills it; what it wanted kept stays */
void forget(void);                      /* and that goes, too */
const struct status_page *page(void);
struct control_message next_message(void);
void await_ready(void);
void tell(enum control_kind kind);
int exit_code(void); /* once it has ended */

/* The frontend's. */
void join(void);
void push_submit(uint64_t id, uint32_t max_tokens);
struct ring_cell next_cell(void);

#endif
