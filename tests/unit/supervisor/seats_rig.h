/*
 * seats_rig.h - a server whose children are no processes, in the hand of a test
 */
#ifndef TESTS_SEATS_RIG_H
#define TESTS_SEATS_RIG_H

#include "fake_children.h"
#include "tests/unit/runner.h"

enum { SECOND = 1000000 };

extern struct seats seats;
extern struct settings settings;
extern struct status_page own_page; /* the supervisor's */

extern struct child *const worker, *const frontend, *const other;

/* Two frontends and an engine of so many ranks, all started. */
void begin(uint32_t num_ranks);
void say(struct child *child, enum control_kind kind);
void all_ready(void);
void setup(void); /* one rank; all are ready */

void dies(struct child *child, int wait_status); /* it ends by itself */
void bury_killed(struct child *child);           /* the supervisor had killed it */
void pass(int64_t us);
void pass_alive(int64_t us); /* and everybody beats meanwhile */

/* What both frontends were told of an engine that is down. */
const struct control_message *down(void);
enum status_state state(void);

#endif
