/*
 * answer_rig.h - an answer writer fed with events of a small vocabulary; what it wrote is compared
 *
 * setup() and teardown() stand around each test. Threads: none.
 */
#ifndef TESTS_UNIT_PROTO_ANSWER_RIG_H
#define TESTS_UNIT_PROTO_ANSWER_RIG_H

#include "proto/wire/wire_answer.h"

enum { HI, THERE, ZH_1, ZH_2, BANG, END_TOKEN, EMOJI_1, EMOJI_2, BOS, SPACE_B, B, BAD, NUM_WORDS };

/* Of the test that runs: a streamed chat of one choice, unless it changes that before begin(). */
extern struct wire_answer_options options;
extern struct wire_answer *answer;
extern struct strbuf out;

void setup(void);
void teardown(void);

struct answer_token token_of(int32_t id, float logprob);

void begin(void);
struct answer_event event_of(enum answer_event_kind kind, uint32_t choice);
void say(enum answer_event_kind kind);
void say_tokens(enum answer_event_kind kind, uint32_t choice, const char *text,
                const struct answer_token *tokens, size_t num_tokens);
void say_text(uint32_t choice, const char *text);
void say_finished(uint32_t choice, enum answer_finish finish);

/* All that was written since the last call. */
void expect_out(const char *text);

#define HEAD                                                                                       \
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"    \
    "\"model\":\"ringlet\",\"system_fingerprint\":\"fp\",\"choices\":["
#define TEXT_HEAD                                                                                  \
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"text_completion\",\"created\":1700000000,"          \
    "\"model\":\"ringlet\",\"system_fingerprint\":\"fp\",\"choices\":["
#define USAGE                                                                                      \
    "\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,\"total_tokens\":15,"                 \
    "\"prompt_tokens_details\":{\"cached_tokens\":8},"                                             \
    "\"completion_tokens_details\":{\"reasoning_tokens\":0}}"
#define ROLE(index)                                                                                \
    "{\"index\":" index ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"  \
    "\"finish_reason\":null}"
#define DONE "data: [DONE]\n\n"

#endif
