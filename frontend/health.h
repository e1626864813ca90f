/*
 * health.h - how the server is, from the status pages alone
 */
#ifndef FRONTEND_HEALTH_H
#define FRONTEND_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

struct frontend;

struct health {
    bool live;          /* the supervisor's heart beats */
    bool ready;         /* an engine takes requests and makes progress */
    const char *state;  /* "loading", "ready", "draining", "failed", "stalled", "overloaded" */
    const char *reason; /* a sentence */
    uint64_t load_done_bytes, load_total_bytes;
};

struct health health_look(const struct frontend *frontend);

#endif
