/*
 * status.h - the page on which a process tells how it is
 *
 * One page per process, written by that process alone, read by the supervisor and every
 * frontend: probes, metrics and `tokenring top` ask no process anything. Single words are
 * atomic; texts lie under a sequence lock that readers try at most three times.
 */
#ifndef SHM_STATUS_H
#define SHM_STATUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/segment.h"

enum {
    STATUS_WORDS = 1536,
    STATUS_TEXT_BYTES = 2048,
    STATUS_ERROR_BYTES = 512,
    STATUS_STEPS = 3,
    STATUS_STEP_REQUESTS = 4096,
    STATUS_ACCOUNTS = 1024,
};

enum status_state {
    STATUS_STARTING = 0, /* moves only downwards in this list, */
    STATUS_LOADING,
    STATUS_READY,
    STATUS_DRAINING,
    STATUS_DOWN, /* except that the supervisor's page says DOWN, then LOADING again */
    STATUS_FAILED,
};

/* Who takes part in a step: written before it begins, read when its process has ended in it. */
struct status_step {
    _Atomic uint64_t number; /* 0: not whole */
    uint32_t num_requests, reserved;
    struct status_request {
        uint64_t id, generation; /* of its frontend */
    } requests[STATUS_STEP_REQUESTS];
};

/* What an API key has at a frontend, in a table of open addressing by `identity`. */
struct status_account {
    _Atomic uint64_t identity; /* 0: free */
    _Atomic uint64_t open, waiting;
    _Atomic uint64_t requests, tokens; /* since the row was taken */
    /* What is left of a minute's worth, in thousandths, signed, and when that was so. */
    _Atomic uint64_t requests_left, tokens_left, looked_us;
};

struct status_page {
    struct segment_header header;
    _Atomic uint64_t heartbeat_us; /* clock_now_us() of the last loop turn */
    _Atomic uint64_t state;        /* enum status_state */
    _Atomic uint64_t pid;
    _Atomic uint64_t epoch;           /* of the engine a frontend knows, the supervisor saw ready */
    _Atomic uint64_t step;            /* finished steps */
    _Atomic uint64_t step_sent;       /* up to here the device was given: step + 1, or + 2 */
    _Atomic uint64_t step_started_us; /* 0 while no step runs */
    _Atomic uint64_t step_expected_us;
    _Atomic uint64_t load_done_bytes, load_total_bytes;
    _Atomic uint32_t text_seq;
    uint32_t reserved;
    char text[STATUS_TEXT_BYTES];                      /* "key=value" lines: facts of the role */
    char error[STATUS_ERROR_BYTES];                    /* last words before exit */
    _Alignas(64) _Atomic uint64_t words[STATUS_WORDS]; /* counters: proto/records/stats.h */
    struct status_step steps[STATUS_STEPS];            /* step n at n % STATUS_STEPS */
    struct status_account accounts[STATUS_ACCOUNTS];
};

struct segment_header status_segment_header(void);

const char *status_state_name(enum status_state state); /* "loading", ... */

/* Writer: one thread. */
void status_beat(struct status_page *page);
void status_add(struct status_page *page, int word, uint64_t n); /* relaxed, no lock prefix */
void status_set(struct status_page *page, int word, uint64_t value);
void status_set_texts(struct status_page *page, const char *text, const char *error);

/* Step `number` (from 1) begins with these requests, at most STATUS_STEP_REQUESTS. */
void status_step_open(struct status_page *page, uint64_t number);
void status_step_add(struct status_page *page, uint64_t number, uint64_t id, uint64_t generation);
void status_step_close(struct status_page *page, uint64_t number);

/* The requests of a step that an ended process had announced; NULL when it had not. The number
 * of them is checked, their content is the writer's word. */
const struct status_step *status_find_step(const struct status_page *page, uint64_t number);

/* The steps that a process may have ended in: `step` + 1, and what its device had behind it.
 * Returns their number. */
enum { STATUS_MAX_SENT = 2 };
int status_sent_steps(const struct status_page *page,
                      const struct status_step *ret_steps[STATUS_MAX_SENT]);

/* Readers, any process. */
uint64_t status_get(const struct status_page *page, int word);

/* Copy both texts, NUL-terminated. Returns false after three torn reads. */
bool status_get_texts(const struct status_page *page, char text[STATUS_TEXT_BYTES],
                      char error[STATUS_ERROR_BYTES]);

/* The value of "key=" in a facts text as a number or a copy; false when absent. */
bool status_fact_int(const char *text, const char *key, int64_t *ret_value);
bool status_fact_text(const char *text, const char *key, char *out, size_t size);

#endif
