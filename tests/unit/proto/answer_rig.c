#include "tests/unit/proto/answer_rig.h"

#include <check.h>
#include <string.h>

static const char *const vocabulary[] = {
    "Hi",           " there", "\xe4\xb8", "\xad", "!", " END",
    "\xf0\x9f\x98", "\x80",   "<s>",      " b",   "b", "\xff"
};

static const char *word_bytes(const void *owner, int32_t id, size_t *ret_len)
{
    const char *const *words = owner;
    *ret_len = strlen(words[id]);
    return words[id];
}

struct answer_token token_of(int32_t id, float logprob)
{
    return (struct answer_token){ .id = id,
                                  .bytes = vocabulary[id],
                                  .len = strlen(vocabulary[id]),
                                  .has_logprob = true,
                                  .logprob = logprob };
}

struct wire_answer_options options;
struct wire_answer *answer;
struct strbuf out;

void setup(void)
{
    options = (struct wire_answer_options){ .endpoint = WIRE_CHAT,
                                            .stream = true,
                                            .num_choices = 1,
                                            .id = "chatcmpl-1",
                                            .model = "ringlet",
                                            .system_fingerprint = "fp",
                                            .created = 1700000000,
                                            .token_bytes = word_bytes,
                                            .token_owner = vocabulary,
                                            .request_id = "req-7" };
    answer = NULL;
    out = (struct strbuf){ 0 };
}

void teardown(void)
{
    wire_answer_destroy(answer);
    strbuf_finish(&out);
}

void begin(void)
{
    ck_assert_int_eq(wire_answer_create(&options, &answer), 0);
}

struct answer_event event_of(enum answer_event_kind kind, uint32_t choice)
{
    return (struct answer_event){
        .kind = kind, .choice = choice, .stop_id = -1, .text = "", .usage = { 12, 3, 8 }
    };
}

void say(enum answer_event_kind kind)
{
    const struct answer_event event = event_of(kind, 0);
    wire_answer_event(answer, &event, &out);
}

void say_tokens(enum answer_event_kind kind, uint32_t choice, const char *text,
                const struct answer_token *tokens, size_t num_tokens)
{
    struct answer_event event = event_of(kind, choice);
    event.text = text;
    event.text_len = strlen(text);
    event.tokens = tokens;
    event.num_tokens = num_tokens;
    wire_answer_event(answer, &event, &out);
}

void say_text(uint32_t choice, const char *text)
{
    say_tokens(ANSWER_TEXT, choice, text, NULL, 0);
}

void say_finished(uint32_t choice, enum answer_finish finish)
{
    struct answer_event event = event_of(ANSWER_FINISHED, choice);
    event.finish = finish;
    wire_answer_event(answer, &event, &out);
}

void expect_out(const char *text)
{
    ck_assert(!out.failed);
    ck_assert_str_eq(out.data == NULL ? "" : out.data, text);
    strbuf_reset(&out);
}
