/*
 * fake_children.h - children without processes, for tests of what the supervisor decides
 *
 * Stands in for child.h, link.h, rank_link.h and oom.h: a child is alive from child_spawn() to
 * the end that the test gives it. Every message sent is noted; time is a variable.
 */
#ifndef TESTS_UNIT_SUPERVISOR_FAKE_CHILDREN_H
#define TESTS_UNIT_SUPERVISOR_FAKE_CHILDREN_H

#include "supervisor/seats.h"

enum { FAKE_MAX_SENT = 256 };

struct fake_sent {
    const struct child *to;
    struct control_message message;
};

struct fake_world {
    int64_t now_us;
    struct fake_sent sent[FAKE_MAX_SENT];
    int num_sent;
    int num_joins;               /* of a frontend and the engine */
    int num_rank_joins;          /* of an engine's ranks */
    bool oom;                    /* the counter has risen */
    int spawn_error;             /* what the next child_spawn() returns */
    const struct child *stopped; /* held by a signal */
};

extern struct fake_world fake;

void fake_reset(void);

/* The newest message of that kind, to anybody with NULL; NULL: none was sent. */
const struct control_message *fake_find(const struct child *to, enum control_kind kind);
int fake_count(const struct child *to, enum control_kind kind);
void fake_forget(void); /* what was sent */

bool fake_was_killed(const struct child *child); /* since it was spawned */

/* Its process ends, as waitpid() tells: the test then calls seats_bury(). */
void fake_end(struct child *child, int wait_status);

struct status_page *fake_page(const struct child *child);

#define FAKE_SIGNAL(number) (number)
#define FAKE_EXIT(code)     ((code) << 8)

#endif
