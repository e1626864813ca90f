/*
 * refusal_rig.h - bodies that are parsed and refused
 *
 * setup() and teardown() stand around each test. Threads: none.
 */
#ifndef TESTS_UNIT_PROTO_REFUSAL_RIG_H
#define TESTS_UNIT_PROTO_REFUSAL_RIG_H

#include "base/arena.h"
#include "proto/wire/wire_request.h"

#define A_CHAT     "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define A_PROMPT   "\"prompt\":\"hi\""
#define NUM(array) (sizeof(array) / sizeof((array)[0]))

extern const struct wire_limits limits;
extern struct arena arena;
extern struct wire_error error; /* of the last parse */

void setup(void);
void teardown(void);

/* The JSON itself must be well-formed. Returns what wire_request_parse() does. */
int parse(enum wire_endpoint endpoint, const char *text, const struct wire_limits *with);

/* Refused with 400, this code and field, in one sentence. */
void expect_refused(enum wire_endpoint endpoint, const char *text, const char *code,
                    const char *param);

#endif
