/*
 * seats.h - all seats of the supervisor, and what happens when somebody sits down or dies
 */
#ifndef SUPERVISOR_SEATS_H
#define SUPERVISOR_SEATS_H

#include "proto/records/settings.h"
#include "supervisor/child.h"
#include "supervisor/oom.h"

enum { SEATS_MAX_RANKS = 8, SEATS_DEATHS_KEPT = 8, SEATS_CONVICTIONS_KEPT = 16 };

struct seats {
    const struct settings *settings;
    struct child_start start;
    struct status_page *page; /* the supervisor's own */
    struct child frontends[CONTROL_MAX_FRONTENDS];
    uint32_t num_frontends;
    struct child worker;                         /* engine 0, rank 0 */
    struct child followers[SEATS_MAX_RANKS - 1]; /* its other ranks: they live and die with it */
    uint32_t num_followers;
    int follower_status; /* how the first of them ended, if that was the cause; -1: none did */
    uint64_t next_incarnation;
    bool ever_ready;    /* the engine was ready once */
    bool ending;        /* nobody is started any more */
    bool model_changed; /* a worker or frontend found other files than the first one */
    struct oom oom;
    int64_t death_us[SEATS_DEATHS_KEPT]; /* the worker's own-fault deaths, newest first */
    int32_t num_deaths;
    struct control_message convictions[SEATS_CONVICTIONS_KEPT]; /* for frontends to come */
    uint32_t num_convictions;                                   /* ever */
    int exit_code;                                              /* -1 while running */
};

/* Lay out the seats and start everybody. Returns 0 or a negative errno with a sentence. */
int seats_open(struct seats *seats, enum control_role seat, struct error *err);

/* A child's message; takes over the descriptor that came with it, -1: none. */
void seats_receive(struct seats *seats, struct child *child, const struct control_message *message,
                   int fd);

/* A child's process ended: clean up, tell the others, plan the successor. */
void seats_bury(struct seats *seats, struct child *child);

/* Once a turn: start who waits to be restarted, kill who hangs. Returns the time of the next
 * planned start, or 0. */
int64_t seats_tick(struct seats *seats, int64_t now_us);

/* The machine slept: nobody is to blame for the time. */
void seats_rearm(struct seats *seats, int64_t now_us);

void seats_tell_all(struct seats *seats, enum control_kind kind);
bool seats_all_ready(const struct seats *seats);
bool seats_all_drained(const struct seats *seats);
bool seats_all_empty(const struct seats *seats);
uint64_t seats_num_inflight(const struct seats *seats);

/* Between seats.c and deaths.c. */
void seats_set_state(struct seats *seats, enum status_state state);
void seats_end(struct seats *seats, int exit_code);
bool seats_is_follower(const struct child *child);

/* Visit every seat. */
#define SEATS_FOR_EACH(seats, it)                                                                  \
    for (struct child *it = (seats)->frontends; it != NULL; it = seats_next((seats), it))
struct child *seats_next(struct seats *seats, struct child *child);

#endif
