/*
 * One answer, two forms: what a client puts together from the stream is what the whole object says.
 *
 * Random answers are written both ways; the stream is taken apart as a client does it.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire/wire_answer.h"
#include "tests/unit/runner.h"

enum { NUM_ROUNDS = 400, MAX_CHOICES = 4, MAX_TOKENS = 6 };

static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(state >> 33) % below;
}

static const char *const vocabulary[] = { "a",        " the",     "\xc3", "\xa4",
                                          "\xe4\xb8", "\xad",     "\"\\", "\n\n",
                                          "\xf0\x9f", "\x98\x80", "<s>",  " ",
                                          "",         "\xff",     "\x01", "data: [DONE]" };
enum { NUM_WORDS = sizeof(vocabulary) / sizeof(vocabulary[0]) };

/* Runs of text with the tokens they are made of, as a session hands them over. */
static const struct {
    const char *text;
    int num_tokens;
    int32_t ids[3];
} runs[] = {
    { "a", 1, { 0 } },
    { " the", 1, { 1 } },
    { "\xc3\xa4", 2, { 2, 3 } },
    { "\xe4\xb8\xad", 2, { 4, 5 } },
    { "\"\\", 1, { 6 } },
    { "\n\n", 1, { 7 } },
    { "\xf0\x9f\x98\x80", 2, { 8, 9 } },
    { "", 1, { 10 } },
    { " ", 1, { 11 } },
    { "", 1, { 12 } },
    { "\xef\xbf\xbd", 1, { 13 } },
    { "\x01", 1, { 14 } },
    { "data: [DONE]", 1, { 15 } },
    { " t", 0, { 0 } },
    { "a the a", 3, { 0, 1, 0 } },
};
enum { NUM_RUNS = sizeof(runs) / sizeof(runs[0]) };

static const char *word_bytes(const void *owner, int32_t id, size_t *ret_len)
{
    const char *const *words = owner;
    *ret_len = strlen(words[id]);
    return words[id];
}

/* The same events go to both writers. */
struct pair {
    struct wire_answer *stream, *whole;
    struct strbuf stream_out, whole_out;
    struct answer_usage usage;
};

static void say(struct pair *pair, struct answer_event *event)
{
    event->usage = pair->usage;
    wire_answer_event(pair->stream, event, &pair->stream_out);
    wire_answer_event(pair->whole, event, &pair->whole_out);
}

static void say_run(struct pair *pair, enum answer_event_kind kind, uint32_t choice,
                    uint32_t num_top)
{
    const uint32_t run = draw(NUM_RUNS);
    struct record_logprob top[3][4];
    struct answer_token tokens[3];
    for (int i = 0; i < runs[run].num_tokens; i++) {
        const int32_t id = runs[run].ids[i];
        for (uint32_t k = 0; k < num_top; k++)
            top[i][k] = (struct record_logprob){ (int32_t)draw(NUM_WORDS), -(float)(k + 1) * 0.37f,
                                                 (int32_t)k };
        tokens[i] = (struct answer_token){ .id = id,
                                           .bytes = vocabulary[id],
                                           .len = strlen(vocabulary[id]),
                                           .has_logprob = kind == ANSWER_TEXT || draw(4) > 0,
                                           .logprob = -(float)draw(1000000) / 7777.0f,
                                           .num_top = num_top,
                                           .top = top[i] };
    }
    struct answer_event event = { .kind = kind,
                                  .choice = choice,
                                  .stop_id = -1,
                                  .text = runs[run].text,
                                  .text_len = strlen(runs[run].text),
                                  .tokens = tokens,
                                  .num_tokens = (size_t)runs[run].num_tokens };
    pair->usage.completion_tokens += event.num_tokens;
    say(pair, &event);
}

static void say_finished(struct pair *pair, uint32_t choice)
{
    struct answer_event event = { .kind = ANSWER_FINISHED,
                                  .choice = choice,
                                  .stop_id = -1,
                                  .text = "",
                                  .finish = draw(2) ? ANSWER_FINISH_STOP : ANSWER_FINISH_LENGTH };
    if (event.finish == ANSWER_FINISH_STOP && draw(3) == 0)
        event.stop_id = (int32_t)draw(100);
    else if (event.finish == ANSWER_FINISH_STOP && draw(3) == 0) {
        event.stop_text = "\"stop\"";
        event.stop_text_len = 6;
    }
    say(pair, &event);
}

static void say_all(struct pair *pair, const struct wire_answer_options *options)
{
    uint32_t left[MAX_CHOICES], num_open = options->num_choices;
    struct answer_event event = { .kind = ANSWER_STARTED, .text = "", .stop_id = -1 };
    say(pair, &event);
    for (uint32_t i = 0; i < options->num_choices; i++) {
        left[i] = draw(MAX_TOKENS);
        if (options->endpoint == WIRE_COMPLETIONS && draw(3) == 0)
            say_run(pair, ANSWER_PROMPT, i, options->num_top);
    }
    while (num_open > 0) {
        const uint32_t choice = draw(options->num_choices);
        if (left[choice] == UINT32_MAX)
            continue;
        if (left[choice]-- > 0) {
            say_run(pair, ANSWER_TEXT, choice, options->num_top);
            continue;
        }
        say_finished(pair, choice);
        num_open--;
    }
    event.kind = ANSWER_END;
    say(pair, &event);
}

/* ------------------------------------------------------------------ a client */

static void append_text(json_t *object, const char *key, const json_t *more)
{
    struct strbuf joined = { 0 };
    strbuf_append_text(&joined, json_string_value(json_object_get(object, key)));
    strbuf_append_text(&joined, json_string_value(more));
    json_object_set_new(object, key, json_string(joined.data));
    strbuf_finish(&joined);
}

static void append_logprobs(json_t *choice, const json_t *more)
{
    const char *key;
    json_t *list;
    if (json_is_null(more))
        return;
    if (json_is_null(json_object_get(choice, "logprobs"))) {
        json_object_set_new(choice, "logprobs", json_deep_copy(more));
        return;
    }
    json_object_foreach((json_t *)more, key, list) if (json_is_array(list))
        json_array_extend(json_object_get(json_object_get(choice, "logprobs"), key), list);
}

static json_t *new_choice(enum wire_endpoint endpoint, int index)
{
    return endpoint == WIRE_CHAT ? json_pack("{s:i,s:{s:s,s:s,s:n},s:n,s:n,s:n}", "index", index,
                                             "message", "role", "assistant", "content", "",
                                             "refusal", "logprobs", "finish_reason", "stop_reason")
                                 : json_pack("{s:i,s:s,s:n,s:n,s:n}", "index", index, "text", "",
                                             "logprobs", "finish_reason", "stop_reason");
}

static void add_chunk(json_t *choice, enum wire_endpoint endpoint, const json_t *part)
{
    ck_assert(json_is_null(json_object_get(choice, "finish_reason"))); /* nothing after the end */
    if (endpoint == WIRE_CHAT) {
        const json_t *content = json_object_get(json_object_get(part, "delta"), "content");
        if (content != NULL)
            append_text(json_object_get(choice, "message"), "content", content);
    } else {
        append_text(choice, "text", json_object_get(part, "text"));
    }
    append_logprobs(choice, json_object_get(part, "logprobs"));
    json_object_set(choice, "finish_reason", json_object_get(part, "finish_reason"));
    if (json_object_get(part, "stop_reason") != NULL)
        json_object_set(choice, "stop_reason", json_object_get(part, "stop_reason"));
}

/* Put the object together from the events of a stream, as a client would. */
static json_t *put_together(const char *text, const struct wire_answer_options *options)
{
    json_t *choices = json_array(), *object = NULL;
    bool done = false;
    for (uint32_t i = 0; i < options->num_choices; i++)
        json_array_append_new(choices, new_choice(options->endpoint, (int)i));
    while (*text != '\0') {
        const char *end = strstr(text, "\n\n");
        ck_assert(!done && end != NULL && strncmp(text, "data: ", 6) == 0);
        done = strncmp(text, "data: [DONE]\n\n", 14) == 0;
        json_t *chunk =
            done ? json_object()
                 : json_loadb(text + 6, (size_t)(end - text - 6), JSON_REJECT_DUPLICATES, NULL);
        ck_assert_msg(chunk != NULL, "%s", text);
        size_t i;
        json_t *part;
        json_array_foreach(json_object_get(chunk, "choices"), i, part) add_chunk(
            json_array_get(choices, (size_t)json_integer_value(json_object_get(part, "index"))),
            options->endpoint, part);
        if (!done) {
            json_decref(object);
            object = json_incref(chunk);
        }
        json_decref(chunk);
        text = end + 2;
    }
    ck_assert(done);
    json_object_set_new(object, "choices", choices);
    if (options->endpoint == WIRE_CHAT)
        json_object_set_new(object, "object", json_string("chat.completion"));
    return object;
}

/* ------------------------------------------------------------------ tests */

static struct wire_answer_options random_options(void)
{
    return (struct wire_answer_options){ .endpoint = draw(2) ? WIRE_CHAT : WIRE_COMPLETIONS,
                                         .include_usage = true,
                                         .continuous_usage = draw(2),
                                         .logprobs = draw(2),
                                         .num_top = draw(4),
                                         .num_choices = 1 + draw(MAX_CHOICES),
                                         .return_token_ids_as_text = draw(4) == 0,
                                         .service_tier = draw(2),
                                         .id = "id-1",
                                         .model = "ringlet",
                                         .system_fingerprint = "fp",
                                         .created = 1700000000,
                                         .token_bytes = word_bytes,
                                         .token_owner = vocabulary };
}

static void run_round(uint64_t seed)
{
    state = seed;
    struct pair pair = { .usage = { 5, 0, 2 } };
    struct wire_answer_options options = random_options();
    options.stream = true;
    ck_assert_int_eq(wire_answer_create(&options, &pair.stream), 0);
    options.stream = false;
    ck_assert_int_eq(wire_answer_create(&options, &pair.whole), 0);

    say_all(&pair, &options);

    json_t *whole =
        json_loadb(pair.whole_out.data, pair.whole_out.len, JSON_REJECT_DUPLICATES, NULL);
    json_t *folded = put_together(pair.stream_out.data, &options);
    ck_assert_ptr_nonnull(whole);
    ck_assert_msg(json_equal(whole, folded), "seed %llu: %.400s", (unsigned long long)seed,
                  pair.whole_out.data);
    json_decref(whole);
    json_decref(folded);
    strbuf_finish(&pair.stream_out);
    strbuf_finish(&pair.whole_out);
    wire_answer_destroy(pair.stream);
    wire_answer_destroy(pair.whole);
}

START_TEST(stream_put_together_is_the_whole_object)
{
    for (uint64_t seed = 1; seed <= NUM_ROUNDS; seed++)
        run_round(seed);
}
END_TEST

RUN_SUITE("wire_fold", stream_put_together_is_the_whole_object)
