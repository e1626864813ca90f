/*
 * supervised.h - the child's half: what a role does with the supervisor's greeting
 *
 * A library of its own (base, shm, proto records) that frontend, worker and `generate` link.
 */
#ifndef SUPERVISOR_SUPERVISED_H
#define SUPERVISOR_SUPERVISED_H

#include <stddef.h>

#include "base/error.h"
#include "proto/records/control.h"
#include "proto/records/settings.h"
#include "shm/status.h"

struct supervised {
    int control;                          /* control socket, non-blocking */
    int doorbell;                         /* own */
    struct status_page *page;             /* own, writable */
    const struct status_page *supervisor; /* read-only */
    int listeners[CONTROL_MAX_LISTENERS];
    uint32_t num_listeners;
    int kept_weights;    /* worker: left by its predecessor; -1: none */
    char kept_text[512]; /* worker, frontend: likewise, "" when there is none */
};

/*
 * Take HELLO apart: settings are read from their memory file (which stays mapped: their texts
 * lie in it), pages mapped, this process tied to the supervisor's life. Takes over `fds`.
 *
 * Returns 0; -EPROTO or -EINVAL with a sentence.
 */
int supervised_open(struct supervised *child, int control_fd, const struct control_message *hello,
                    const int *fds, size_t num_fds, enum settings_command command,
                    struct settings *settings, struct error *err);

/* Send a message without descriptors: READY, DRAINED, FINISHED, ... */
void supervised_tell(const struct supervised *child, enum control_kind kind);

/* Worker, frontend: leave this to the successors; `weights` -1: none. Keeps the descriptor open. */
int supervised_keep(const struct supervised *child, const char *text, int weights);

/* As supervised_fail(), because the model is not the one that was loaded at first. */
int supervised_fail_changed(const struct supervised *child, int exit_code, const char *sentence);

/* Hand over the last words and return `exit_code`, so that a failing role is one statement. */
int supervised_fail(const struct supervised *child, int exit_code, const char *sentence);

/* Report that a peer's memory broke a rule. */
void supervised_report(const struct supervised *child, enum control_role role, uint32_t peer,
                       const char *sentence);

#endif
