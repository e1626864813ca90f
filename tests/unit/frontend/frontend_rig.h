/*
 * frontend_rig.h - one frontend under test, and questions about what it answered last
 *
 * Around http_rig.h: `rig` is started by one of the set-ups, `in` holds the last answer.
 */
#ifndef TESTS_FRONTEND_RIG_H
#define TESTS_FRONTEND_RIG_H

#include <check.h>

#include "http_rig.h"

#define QUESTION                                                                                   \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"What is the capital of France?\"}]"
#define STREAMED QUESTION ",\"stream\":true}"
#define FOLDED   QUESTION "}"
#define CHAT     "/v1/chat/completions"

extern struct http_rig rig;
extern struct strbuf in;

void begin(const char *const *options); /* ended by NULL */
void setup_loading(void);               /* no engine is up */
void setup(void);
void teardown(void);

int ask(const char *head, const char *body); /* its status */
const char *body_of(void);
bool holds(const char *text);

/* A request without a body has this status, and this in its answer. */
void expect_answer(const char *head, int status, const char *text);

/* Has the error of the last answer this code? */
void expect_error(const char *code);

/* Both headers name that time, a fifth more or less. */
void expect_retry_after(long ms);

/* The contents of all chunks, joined. */
void expect_streamed(const char *text);

/* Wait until the engine of http_rig_engine_up() is known: the frontend answers by itself. */
void wait_ready(void);

int start_chat(const char *body); /* the connection */

/* A chat that one client waits for, and that the engine has taken. */
struct chat {
    int fd;
    uint64_t id;
    uint32_t pos; /* tokens said so far */
};

/* Once the frontend is ready, with `in` empty. */
struct chat begin_chat(const char *body);
void accept_chat(const struct chat *chat);
void say_chat(struct chat *chat, const char *text);
void end_chat(const struct chat *chat); /* for its length */
/* Read until the answer holds this, or its end when it is NULL. */
void read_chat(const struct chat *chat, const char *wanted);
/* A stream of which this text has come, in part at least. */
struct chat begin_stream(const char *text);
/* All of it: the engine says this text, and the answer is read until it holds that. */
void answer_chat(struct chat *chat, const char *text, const char *wanted);

struct frontend_case {
    const char *name;
    void (*setup)(void);
    const TTest *const *tests; /* ended by NULL */
};

/* The main of a program of such cases. */
int run_cases(const char *name, const struct frontend_case *cases, size_t num);

#endif
