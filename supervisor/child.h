/*
 * child.h - one seat of the supervisor and the process that sits in it
 *
 * A seat (frontend 0, worker 0.0) outlives its processes: its doorbell stays, each process gets
 * a control socket and a status page of its own. A process is the program itself, executed anew
 * from the descriptor opened at start: nothing of the supervisor's memory is inherited.
 */
#ifndef SUPERVISOR_CHILD_H
#define SUPERVISOR_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "proto/records/control.h"
#include "shm/status.h"

/* Why a process was killed, where its end does not tell. */
enum child_verdict {
    CHILD_NO_VERDICT,
    CHILD_HANGS,
    CHILD_IS_STOPPED,   /* it did not move because somebody had stopped it */
    CHILD_BREAKS_RULES, /* a peer found so in its memory */
    CHILD_OUT_OF_MEMORY /* it was the kernel that killed it */
};

struct child {
    enum control_role role;
    uint32_t index; /* of the frontend, or the engine's number */
    uint32_t rank;
    char name[32]; /* "frontend 0", "worker 0.0" */
    int doorbell;
    pid_t pid; /* 0 while nobody sits here */
    int pidfd, control;
    int page_read_fd;            /* status page, to hand to others */
    struct segment page_mapping; /* read-only */
    uint64_t incarnation;        /* generation of a frontend, epoch of a worker */
    bool ready, drained;
    bool ever_ready; /* this one or one before it */
    int64_t started_us;
    int64_t restart_us;                   /* when to start again, 0: not waiting */
    int64_t load_done_bytes, progress_us; /* watch.h: seen last, and when that was news */
    enum child_verdict verdict;
    int32_t early_deaths;
    struct control_message last_words; /* FAILED, kind 0: none */
    int kept_weights;                  /* of a worker's seat: for the next one, -1: none */
    struct control_message kept;       /* KEEP, for the next one; kind 0: none */
};

/* What every child gets. */
struct child_start {
    int image_fd;   /* the program */
    int options_fd; /* sealed memory file of settings as lines */
    uint32_t options_bytes;
    int supervisor_page_fd;
    const int *listeners;
    uint32_t num_listeners;
    const uint8_t *tls_ticket_key; /* [80] */
    const uint8_t *salt;           /* [16] */
};

/* Name the seat and make its doorbell. */
int child_init(struct child *child, enum control_role role, uint32_t index, uint32_t rank,
               struct error *err);

/* Start a process in an empty seat and greet it. Returns 0 or a negative errno. */
int child_spawn(struct child *child, const struct child_start *start, uint64_t incarnation,
                struct error *err);

/* Send a message; a child that does not read its socket is taken for hung and killed. */
void child_send(struct child *child, const struct control_message *message, const int *fds,
                size_t num_fds);

/* Close the control socket of a process that closed its own: its end is near. */
void child_hang_up(struct child *child);

/* A worker's KEEP: takes over the descriptor, -1 for none. child_keep(child, NULL, -1) forgets the
 * weights and keeps what was said. */
void child_keep(struct child *child, const struct control_message *message, int weights);

void child_kill(struct child *child);

/* Is it held by a signal or a tracer (state T or t)? */
bool child_is_stopped(const struct child *child);

/* After its pidfd became readable: take the status (waitpid form) and leave the seat empty. */
int child_reap(struct child *child);

const struct status_page *child_page(const struct child *child); /* NULL while empty */

/* "exited with code 3", "was ended by signal 11 (Segmentation fault)". */
void child_describe_end(int wait_status, char *out, size_t size);

/* Did it die by a fault of its own (not by a kill from outside)? */
bool child_end_is_own_fault(int wait_status);

#endif
