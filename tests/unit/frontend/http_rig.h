/*
 * http_rig.h - a real frontend process, with supervisor, engine and client in the test's hand
 *
 * The frontend runs frontend_main() in a child process over a loopback listener and serves the
 * embedded model's tokenizer and template. The test plays the other ends: it sends control
 * messages, takes what was submitted from the ring, writes the engine's records, and speaks
 * HTTP through plain sockets. Every wait ends after a few seconds by failing the test.
 */
#ifndef TESTS_HTTP_RIG_H
#define TESTS_HTTP_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/strbuf.h"
#include "proto/records/control.h"
#include "proto/records/record.h"
#include "shm/ring.h"
#include "shm/status.h"
#include "text/tokenizer.h"

struct http_rig {
    pid_t pid;
    int control;
    uint16_t port;
    int doorbell;             /* the frontend's */
    struct status_page *page; /* the frontend's, read */
    struct status_page *supervisor;
    struct status_page *engine_page;
    struct ring_end engine;
    bool engine_is_up;
    uint64_t epoch;
    struct tokenizer *tokenizer;
};

/* Options are those of `tokenring serve`, ended by NULL. Waits until the frontend is ready. */
void http_rig_start(struct http_rig *rig, const char *const *options);
void http_rig_finish(struct http_rig *rig);

void http_rig_engine_up(struct http_rig *rig);
void http_rig_engine_down(struct http_rig *rig); /* another will come */
void http_rig_engine_gone(struct http_rig *rig); /* none will */
void http_rig_tell(struct http_rig *rig, enum control_kind kind);
void http_rig_expect(struct http_rig *rig, enum control_kind kind); /* from the frontend */
int http_rig_wait_exit(struct http_rig *rig);                       /* its exit code */

/* What the frontend sent; waits for it. SUBMIT's bulk lands in `bulk`. */
struct ring_cell http_rig_take(struct http_rig *rig);
uint64_t http_rig_take_submit(struct http_rig *rig);
const struct record_params *http_rig_last_params(void); /* of the SUBMIT taken last */
uint32_t http_rig_last_prompt(const int32_t **ret_ids);
void http_rig_expect_cancel(struct http_rig *rig, uint64_t id);
void http_rig_expect_nothing(struct http_rig *rig); /* for a tenth of a second */

/* The engine says. */
void http_rig_accept(struct http_rig *rig, uint64_t id); /* ACCEPTED and STARTED */
void http_rig_text(struct http_rig *rig, uint64_t id, uint32_t *pos, const char *text);
void http_rig_done(struct http_rig *rig, uint64_t id, uint32_t reason, uint32_t output);
void http_rig_fail(struct http_rig *rig, uint64_t id, enum record_failure failure);

/* A client. */
int http_rig_connect(struct http_rig *rig);
void http_rig_send(int fd, const char *text, size_t len);
void http_rig_post(int fd, const char *path, const char *body);

/* Read until `wanted` has been seen, or the end when it is NULL; appends to `in`. */
void http_rig_read_until(int fd, struct strbuf *in, const char *wanted);
bool http_rig_is_silent(int fd); /* nothing to read for a tenth of a second */

/* One request on a connection of its own: status, the whole answer left in `in`. */
int http_rig_ask(struct http_rig *rig, const char *head, const char *body, struct strbuf *in);

uint64_t http_rig_stat(const struct http_rig *rig, int stat);
/* Wait until the counter has that value. */
void http_rig_wait_stat(const struct http_rig *rig, int stat, uint64_t value);

#endif
