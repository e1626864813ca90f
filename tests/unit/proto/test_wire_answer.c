#include "proto/wire/wire_answer.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ a small vocabulary */

static const char *const vocabulary[] = {
    "Hi",           " there", "\xe4\xb8", "\xad", "!", " END",
    "\xf0\x9f\x98", "\x80",   "<s>",      " b",   "b", "\xff"
};
enum { HI, THERE, ZH_1, ZH_2, BANG, END_TOKEN, EMOJI_1, EMOJI_2, BOS, SPACE_B, B, BAD, NUM_WORDS };

static const char *word_bytes(const void *owner, int32_t id, size_t *ret_len)
{
    const char *const *words = owner;
    *ret_len = strlen(words[id]);
    return words[id];
}

static struct answer_token token_of(int32_t id, float logprob)
{
    return (struct answer_token){ .id = id,
                                  .bytes = vocabulary[id],
                                  .len = strlen(vocabulary[id]),
                                  .has_logprob = true,
                                  .logprob = logprob };
}

/* ------------------------------------------------------------------ driving */

static struct wire_answer_options options;
static struct wire_answer *answer;
static struct strbuf out;

static void setup(void)
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

static void teardown(void)
{
    wire_answer_destroy(answer);
    strbuf_finish(&out);
}

static void begin(void)
{
    ck_assert_int_eq(wire_answer_create(&options, &answer), 0);
}

static struct answer_event event_of(enum answer_event_kind kind, uint32_t choice)
{
    return (struct answer_event){
        .kind = kind, .choice = choice, .stop_id = -1, .text = "", .usage = { 12, 3, 8 }
    };
}

static void say(enum answer_event_kind kind)
{
    const struct answer_event event = event_of(kind, 0);
    wire_answer_event(answer, &event, &out);
}

static void say_tokens(enum answer_event_kind kind, uint32_t choice, const char *text,
                       const struct answer_token *tokens, size_t num_tokens)
{
    struct answer_event event = event_of(kind, choice);
    event.text = text;
    event.text_len = strlen(text);
    event.tokens = tokens;
    event.num_tokens = num_tokens;
    wire_answer_event(answer, &event, &out);
}

static void say_text(uint32_t choice, const char *text)
{
    say_tokens(ANSWER_TEXT, choice, text, NULL, 0);
}

static void say_finished(uint32_t choice, enum answer_finish finish)
{
    struct answer_event event = event_of(ANSWER_FINISHED, choice);
    event.finish = finish;
    wire_answer_event(answer, &event, &out);
}

static void expect_out(const char *text)
{
    ck_assert(!out.failed);
    ck_assert_str_eq(out.data == NULL ? "" : out.data, text);
    strbuf_reset(&out);
}

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

/* ------------------------------------------------------------------ exact bytes */

START_TEST(chat_stream_is_role_content_finish_done)
{
    begin();
    say(ANSWER_ACCEPTED);
    expect_out("");
    say(ANSWER_STARTED);
    expect_out(HEAD ROLE("0") "]}\n\n");
    say_text(0, "Hi");
    expect_out(HEAD "{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"logprobs\":null,"
                    "\"finish_reason\":null}]}\n\n");
    say_text(0, "");
    expect_out("");
    say_text(0, "a \"q\"\n\xc3\xa4\x01");
    expect_out(HEAD "{\"index\":0,\"delta\":{\"content\":\"a \\\"q\\\"\\n\xc3\xa4\\u0001\"},"
                    "\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    say_finished(0, ANSWER_FINISH_STOP);
    expect_out(HEAD "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\","
                    "\"stop_reason\":null}]}\n\n");
    ck_assert(!wire_answer_is_complete(answer));
    say(ANSWER_END);
    expect_out(DONE);
    ck_assert(wire_answer_is_complete(answer));
    ck_assert_ptr_null(wire_answer_failure(answer));
    say(ANSWER_END);
    expect_out("");
}
END_TEST

START_TEST(usage_is_null_until_the_last_chunk)
{
    options.include_usage = true;
    begin();
    say(ANSWER_STARTED);
    expect_out(HEAD ROLE("0") "],\"usage\":null}\n\n");
    say_text(0, "Hi");
    expect_out(HEAD "{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"logprobs\":null,"
                    "\"finish_reason\":null}],\"usage\":null}\n\n");
    say_finished(0, ANSWER_FINISH_LENGTH);
    expect_out(HEAD "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\","
                    "\"stop_reason\":null}],\"usage\":null}\n\n");
    say(ANSWER_END);
    expect_out(HEAD "]," USAGE "}\n\n" DONE);
}
END_TEST

START_TEST(continuous_usage_is_in_every_chunk)
{
    options.continuous_usage = true;
    options.include_usage = true;
    begin();
    say_text(0, "Hi");
    expect_out(HEAD ROLE("0") "]," USAGE "}\n\n" HEAD
                              "{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"logprobs\":null,"
                              "\"finish_reason\":null}]," USAGE "}\n\n");
    say_finished(0, ANSWER_FINISH_STOP);
    strbuf_reset(&out);
    say(ANSWER_END);
    expect_out(HEAD "]," USAGE "}\n\n" DONE);
}
END_TEST

START_TEST(roles_of_all_choices_come_before_any_content)
{
    options.num_choices = 3;
    begin();
    say_text(2, "Hi"); /* as if STARTED had been missed */
    expect_out(HEAD ROLE("0") "]}\n\n" HEAD ROLE("1") "]}\n\n" HEAD ROLE(
        "2") "]}\n\n" HEAD "{\"index\":2,\"delta\":{\"content\":\"Hi\"},\"logprobs\":null,"
             "\"finish_reason\":null}]}\n\n");
    say(ANSWER_STARTED);
    expect_out("");
}
END_TEST

START_TEST(stop_reason_tells_what_matched)
{
    struct answer_event event = event_of(ANSWER_FINISHED, 0);
    options.num_choices = 2;
    begin();
    say(ANSWER_STARTED);
    strbuf_reset(&out);
    event.stop_text = "a\"b";
    event.stop_text_len = 3;
    wire_answer_event(answer, &event, &out);
    expect_out(HEAD "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\","
                    "\"stop_reason\":\"a\\\"b\"}]}\n\n");
    event = event_of(ANSWER_FINISHED, 1);
    event.stop_id = 42;
    wire_answer_event(answer, &event, &out);
    expect_out(HEAD "{\"index\":1,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\","
                    "\"stop_reason\":42}]}\n\n");
}
END_TEST

START_TEST(chat_object_is_whole)
{
    options.stream = false;
    options.num_choices = 2;
    options.service_tier = true;
    begin();
    say(ANSWER_STARTED);
    say_text(1, "yes");
    say_text(0, "Hi");
    say_text(0, " there");
    say_finished(1, ANSWER_FINISH_LENGTH);
    say_finished(0, ANSWER_FINISH_STOP);
    expect_out("");
    say(ANSWER_END);
    expect_out("{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,"
               "\"model\":\"ringlet\",\"system_fingerprint\":\"fp\",\"service_tier\":\"default\","
               "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi "
               "there\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\","
               "\"stop_reason\":null},{\"index\":1,\"message\":{\"role\":\"assistant\","
               "\"content\":\"yes\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":"
               "\"length\",\"stop_reason\":null}]," USAGE "}");
}
END_TEST

START_TEST(completions_stream_has_no_role)
{
    options.endpoint = WIRE_COMPLETIONS;
    options.include_usage = true;
    begin();
    say(ANSWER_STARTED);
    expect_out("");
    say_text(0, "Hi");
    expect_out(TEXT_HEAD "{\"index\":0,\"text\":\"Hi\",\"logprobs\":null,\"finish_reason\":null}],"
                         "\"usage\":null}\n\n");
    say_finished(0, ANSWER_FINISH_STOP);
    expect_out(TEXT_HEAD "{\"index\":0,\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"stop\","
                         "\"stop_reason\":null}],\"usage\":null}\n\n");
    say(ANSWER_END);
    expect_out(TEXT_HEAD "]," USAGE "}\n\n" DONE);
}
END_TEST

/* Prompt <s> b of which b has a value and the alternatives given, one without id. */
static void say_prompt(void)
{
    static const struct record_logprob top[] = { { BANG, -0.25f, 1 },
                                                 { B, -2.0f, 2 },
                                                 { -1, -INFINITY, 0 } };
    struct answer_token tokens[2] = { token_of(BOS, 0.0f), token_of(B, -2.0f) };
    tokens[0].has_logprob = false;
    tokens[1].rank = 2;
    tokens[1].top = top;
    tokens[1].num_top = 3;
    say_tokens(ANSWER_PROMPT, 0, "b", tokens, 2);
}

static const int32_t prompt_ids[] = { BOS, B };
static const struct wire_prompt prompt_of_ids = { .ids = prompt_ids, .num_ids = 2 };

START_TEST(prompt_logprobs_are_keyed_by_id_and_are_no_text)
{
    options.stream = false;
    options.prompt_logprobs = true;
    options.num_prompt_top = 3;
    begin();
    say_prompt();
    say_text(0, "Hi");
    say_finished(0, ANSWER_FINISH_STOP);
    say(ANSWER_END);
    ck_assert_ptr_nonnull(strstr(out.data, "\"content\":\"Hi\""));
    ck_assert_ptr_nonnull(
        strstr(out.data, "}},\"prompt_logprobs\":[null,{"
                         "\"10\":{\"logprob\":-2.0,\"rank\":2,\"decoded_token\":\"b\"},"
                         "\"4\":{\"logprob\":-0.25,\"rank\":1,\"decoded_token\":\"!\"}}]}"));
}
END_TEST

START_TEST(prompt_logprobs_of_a_completion_stand_in_its_choice_too)
{
    options.endpoint = WIRE_COMPLETIONS;
    options.stream = false;
    options.prompt_logprobs = options.echo = true;
    begin();
    say_prompt();
    say_text(0, "Hi");
    say_finished(0, ANSWER_FINISH_STOP);
    say(ANSWER_END);
    ck_assert_ptr_nonnull(strstr(out.data,
                                 "\"text\":\"bHi\",\"logprobs\":null,\"prompt_logprobs\":[null,{"
                                 "\"10\":{\"logprob\":-2.0,\"rank\":2,\"decoded_token\":\"b\"}}],"
                                 "\"finish_reason\""));
}
END_TEST

START_TEST(token_ids_ride_in_every_chunk_and_the_prompts_in_the_first)
{
    const struct answer_token hi = token_of(HI, 0.0f), end = token_of(END_TOKEN, 0.0f);
    options.return_token_ids = true;
    options.prompts = &prompt_of_ids;
    options.num_prompts = 1;
    begin();
    say(ANSWER_STARTED);
    ck_assert_ptr_nonnull(strstr(out.data, "\"fp\",\"prompt_token_ids\":[8,10],\"choices\":["));
    strbuf_reset(&out);
    say_tokens(ANSWER_TEXT, 0, "Hi", &hi, 1);
    ck_assert_ptr_nonnull(
        strstr(out.data, "{\"content\":\"Hi\"},\"logprobs\":null,\"token_ids\":[0],"));
    ck_assert_ptr_null(strstr(out.data, "prompt_token_ids"));
    strbuf_reset(&out);
    struct answer_event event = event_of(ANSWER_FINISHED, 0);
    event.tokens = &end;
    event.num_tokens = 1;
    wire_answer_event(answer, &event, &out);
    ck_assert_ptr_nonnull(strstr(out.data, "\"token_ids\":[5],\"finish_reason\":\"stop\""));
}
END_TEST

START_TEST(token_ids_of_the_whole_are_those_of_all_chunks)
{
    const struct answer_token hi = token_of(HI, 0.0f), end = token_of(END_TOKEN, 0.0f);
    options.endpoint = WIRE_COMPLETIONS;
    options.stream = false;
    options.return_token_ids = true;
    options.prompts = &prompt_of_ids;
    options.num_prompts = 1;
    begin();
    say_tokens(ANSWER_TEXT, 0, "Hi", &hi, 1);
    say_tokens(ANSWER_TEXT, 0, "Hi", &hi, 1);
    struct answer_event event = event_of(ANSWER_FINISHED, 0);
    event.tokens = &end;
    event.num_tokens = 1;
    wire_answer_event(answer, &event, &out);
    say(ANSWER_END);
    ck_assert_ptr_nonnull(strstr(out.data, "\"text\":\"HiHi\",\"logprobs\":null,\"token_ids\":"
                                           "[0,0,5],\"prompt_token_ids\":[8,10],\"finish"));
}
END_TEST

START_TEST(completions_object_is_whole)
{
    options.endpoint = WIRE_COMPLETIONS;
    options.stream = false;
    begin();
    say_tokens(ANSWER_PROMPT, 0, "Q:", NULL, 0);
    say_text(0, "Hi");
    say_finished(0, ANSWER_FINISH_STOP);
    say(ANSWER_END);
    expect_out("{\"id\":\"chatcmpl-1\",\"object\":\"text_completion\",\"created\":1700000000,"
               "\"model\":\"ringlet\",\"system_fingerprint\":\"fp\",\"choices\":[{\"index\":0,"
               "\"text\":\"Q:Hi\",\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":"
               "null}]," USAGE "}");
}
END_TEST

/* ------------------------------------------------------------------ log-probabilities */

START_TEST(chat_logprobs_ride_with_their_text)
{
    const struct record_logprob top[] = { { THERE, -0.25f, 0 }, { ZH_1, -INFINITY, 1 } };
    struct answer_token token = token_of(HI, -0.5f);
    token.top = top;
    token.num_top = 2;
    options.logprobs = true;
    begin();
    say(ANSWER_STARTED);
    strbuf_reset(&out);

    say_tokens(ANSWER_TEXT, 0, "Hi", &token, 1);

    expect_out(HEAD
               "{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"logprobs\":{\"content\":[{\"token\":"
               "\"Hi\",\"logprob\":-0.5,\"bytes\":[72,105],\"top_logprobs\":[{\"token\":\" "
               "there\",\"logprob\":-0.25,\"bytes\":[32,116,104,101,114,101]},{\"token\":"
               "\"\xef\xbf\xbd\",\"logprob\":-9999.0,\"bytes\":[228,184]}]}],\"refusal\":null},"
               "\"finish_reason\":null}]}\n\n");
    say_finished(0, ANSWER_FINISH_STOP);
    expect_out(HEAD "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\","
                    "\"stop_reason\":null}]}\n\n");
}
END_TEST

START_TEST(tokens_of_one_character_come_with_it)
{
    const struct answer_token tokens[] = { token_of(ZH_1, -1.0f), token_of(ZH_2, -0.1f) };
    options.logprobs = true;
    begin();
    say(ANSWER_STARTED);
    strbuf_reset(&out);

    say_tokens(ANSWER_TEXT, 0, "\xe4\xb8\xad", tokens, 2);

    expect_out(HEAD "{\"index\":0,\"delta\":{\"content\":\"\xe4\xb8\xad\"},\"logprobs\":{"
                    "\"content\":[{\"token\":\"\xef\xbf\xbd\",\"logprob\":-1.0,\"bytes\":[228,184],"
                    "\"top_logprobs\":[]},{\"token\":\"\xef\xbf\xbd\",\"logprob\":-0.1,\"bytes\":"
                    "[173],\"top_logprobs\":[]}],\"refusal\":null},\"finish_reason\":null}]}\n\n");
}
END_TEST

START_TEST(token_without_text_has_a_chunk_of_its_own)
{
    const struct answer_token token = token_of(BOS, -2.0f);
    options.logprobs = true;
    begin();
    say(ANSWER_STARTED);
    strbuf_reset(&out);

    say_tokens(ANSWER_TEXT, 0, "", &token, 1);

    expect_out(HEAD "{\"index\":0,\"delta\":{},\"logprobs\":{\"content\":[{\"token\":\"<s>\","
                    "\"logprob\":-2.0,\"bytes\":[60,115,62],\"top_logprobs\":[]}],\"refusal\":null}"
                    ",\"finish_reason\":null}]}\n\n");
}
END_TEST

START_TEST(choice_without_tokens_has_an_empty_list)
{
    options.logprobs = true;
    options.stream = false;
    begin();
    say_finished(0, ANSWER_FINISH_STOP);
    say(ANSWER_END);
    ck_assert_ptr_nonnull(strstr(out.data, "\"logprobs\":{\"content\":[],\"refusal\":null}"));
}
END_TEST

START_TEST(completions_logprobs_are_four_lists_over_echo)
{
    const struct record_logprob top[] = { { B, -0.125f, 0 }, { THERE, -3.0f, 1 } };
    struct answer_token prompt[] = { token_of(BOS, 0.0f), token_of(B, 0.0f),
                                     token_of(THERE, -0.75f) };
    struct answer_token output = token_of(SPACE_B, -4.5f);
    prompt[0].has_logprob = false;
    prompt[1].has_logprob = false;
    output.top = top;
    output.num_top = 2;
    options.endpoint = WIRE_COMPLETIONS;
    options.logprobs = true;
    begin();

    say_tokens(ANSWER_PROMPT, 0, "b there", prompt, 3);
    expect_out(TEXT_HEAD
               "{\"index\":0,\"text\":\"b there\",\"logprobs\":{\"tokens\":[\"<s>\",\"b\",\" "
               "there\"],\"token_logprobs\":[null,null,-0.75],\"top_logprobs\":[null,null,{\" "
               "there\":-0.75}],\"text_offset\":[0,0,1]},\"finish_reason\":null}]}\n\n");
    say_tokens(ANSWER_TEXT, 0, " b", &output, 1);
    expect_out(TEXT_HEAD
               "{\"index\":0,\"text\":\" b\",\"logprobs\":{\"tokens\":[\" b\"],"
               "\"token_logprobs\":[-4.5],\"top_logprobs\":[{\"b\":-0.125,\" there\":-3.0,"
               "\" b\":-4.5}],\"text_offset\":[7]},\"finish_reason\":null}]}\n\n");
}
END_TEST

START_TEST(alternatives_that_look_alike_keep_the_likeliest)
{
    const struct record_logprob top[] = { { ZH_1, -0.5f, 0 }, { EMOJI_1, -1.5f, 1 } };
    struct answer_token token = token_of(BAD, -2.0f); /* all three are U+FFFD */
    token.top = top;
    token.num_top = 2;
    options.endpoint = WIRE_COMPLETIONS;
    options.logprobs = true;
    begin();

    say_tokens(ANSWER_TEXT, 0, "\xef\xbf\xbd", &token, 1);

    ck_assert_ptr_nonnull(strstr(out.data, "\"top_logprobs\":[{\"\xef\xbf\xbd\":-0.5}]"));
}
END_TEST

START_TEST(tokens_can_be_spelled_as_ids)
{
    const struct record_logprob top[] = { { B, -0.5f, 0 } };
    struct answer_token token = token_of(HI, -2.0f);
    token.top = top;
    token.num_top = 1;
    options.endpoint = WIRE_COMPLETIONS;
    options.logprobs = options.return_token_ids_as_text = true;
    begin();

    say_tokens(ANSWER_TEXT, 0, "Hi", &token, 1);

    ck_assert_ptr_nonnull(
        strstr(out.data, "\"tokens\":[\"token_id:0\"],\"token_logprobs\":[-2.0],\"top_logprobs\":["
                         "{\"token_id:10\":-0.5,\"token_id:0\":-2.0}]"));
}
END_TEST

static void expect_offsets(const char *list)
{
    char text[128];
    snprintf(text, sizeof(text), "\"text_offset\":[%s]", list);
    ck_assert_msg(strstr(out.data, text) != NULL, "wanted %s in %s", text, out.data);
    strbuf_reset(&out);
}

START_TEST(offsets_count_characters_across_chunks)
{
    const struct answer_token zh[] = { token_of(ZH_1, 0), token_of(ZH_2, 0), token_of(BANG, 0) };
    const struct answer_token held = token_of(END_TOKEN, 0);
    const struct answer_token broken[] = { token_of(EMOJI_1, 0), token_of(BANG, 0) };
    const struct answer_token cut = token_of(THERE, 0);
    options.endpoint = WIRE_COMPLETIONS;
    options.logprobs = true;
    begin();

    say_tokens(ANSWER_TEXT, 0, "\xe4\xb8\xad!", zh, 3);
    expect_offsets("0,0,1");
    say_text(0, " E"); /* the rest is held back: it may become a stop string */
    strbuf_reset(&out);
    say_tokens(ANSWER_TEXT, 0, "ND", &held, 1);
    expect_offsets("2");
    say_tokens(ANSWER_TEXT, 0, "\xef\xbf\xbd!", broken, 2);
    expect_offsets("6,7");
    say_tokens(ANSWER_TEXT, 0, " th", &cut, 1); /* a stop string took the rest */
    expect_offsets("8");
}
END_TEST

START_TEST(offsets_recover_from_a_space_that_a_text_does_not_begin_with)
{
    const struct answer_token tokens[] = { token_of(BOS, 0), token_of(THERE, 0),
                                           token_of(BANG, 0) };
    options.endpoint = WIRE_COMPLETIONS;
    options.logprobs = true;
    begin();

    say_tokens(ANSWER_PROMPT, 0, "there!", tokens, 3);

    expect_offsets("0,0,5");
}
END_TEST

START_TEST(logprobs_are_written_short_and_exact)
{
    static const struct {
        float value;
        const char *text;
    } rows[] = { { -0.1f, "-0.1" },
                 { -1.0f, "-1.0" },
                 { 0.0f, "0.0" },
                 { -0.0f, "0.0" },
                 { 1e-9f, "0.0" },
                 { NAN, "-9999.0" },
                 { -INFINITY, "-9999.0" },
                 { -20000.0f, "-9999.0" },
                 { -1e-7f, "-1e-07" },
                 { -3.4028235f, "-3.4028234" },
                 { -12.345678f, "-12.345678" } };
    options.logprobs = true;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct answer_token token = token_of(HI, rows[i].value);
        char text[64];
        begin();
        say_tokens(ANSWER_TEXT, 0, "Hi", &token, 1);
        snprintf(text, sizeof(text), "\"logprob\":%s,", rows[i].text);
        ck_assert_msg(strstr(out.data, text) != NULL, "%s: %s", text, out.data);
        strbuf_reset(&out);
        wire_answer_destroy(answer);
        answer = NULL;
    }
}
END_TEST

/* ------------------------------------------------------------------ failures */

#define WORKER_ERROR                                                                               \
    "{\"error\":{\"message\":\"The process that computed this request ended (request req-7).\","   \
    "\"type\":\"server_error\",\"param\":null,\"code\":\"worker_failed\"}}"

START_TEST(failed_stream_ends_in_an_error_and_done)
{
    struct answer_event event = event_of(ANSWER_FAILED, 0);
    event.failure = RECORD_FAILURE_WORKER;
    begin();
    say_text(0, "Hi");
    strbuf_reset(&out);

    wire_answer_event(answer, &event, &out);

    expect_out("data: " WORKER_ERROR "\n\n" DONE);
    ck_assert(wire_answer_is_complete(answer));
    wire_answer_event(answer, &event, &out);
    say_text(0, "more");
    say(ANSWER_END);
    expect_out("");
}
END_TEST

START_TEST(failed_fold_writes_nothing_and_tells_why)
{
    struct answer_event event = event_of(ANSWER_FAILED, 0);
    event.failure = RECORD_FAILURE_QUEUE_FULL;
    event.retry_after_ms = 1500;
    options.stream = false;
    begin();
    say_text(0, "Hi");

    wire_answer_event(answer, &event, &out);

    expect_out("");
    ck_assert(wire_answer_is_complete(answer));
    ck_assert_int_eq(wire_answer_failure(answer)->code, WIRE_QUEUE_FULL);
    ck_assert_uint_eq(wire_answer_failure(answer)->retry_after_ms, 1500);
}
END_TEST

START_TEST(end_without_a_reason_for_each_choice_is_an_error)
{
    options.num_choices = 2;
    begin();
    say_finished(0, ANSWER_FINISH_STOP);
    strbuf_reset(&out);

    say(ANSWER_END);

    ck_assert_ptr_nonnull(strstr(out.data, "\"code\":\"internal_error\""));
    ck_assert_ptr_nonnull(strstr(out.data, DONE));
}
END_TEST

START_TEST(own_error_closes_the_stream)
{
    struct wire_error error;
    wire_error_set(&error, WIRE_DRAINING, "", "This server stops.");
    begin();

    wire_answer_error(answer, &error, &out);

    expect_out("data: {\"error\":{\"message\":\"This server stops.\",\"type\":"
               "\"service_unavailable_error\",\"param\":null,\"code\":\"draining\"}}\n\n" DONE);
    wire_answer_error(answer, &error, &out);
    expect_out("");
}
END_TEST

START_TEST(lack_of_memory_is_told_at_any_length)
{
    const struct answer_token token = token_of(HI, -0.5f);
    size_t whole = 1;
    options.logprobs = options.include_usage = true;
    for (size_t limit = 1; limit <= whole; limit++) {
        strbuf_finish(&out);
        out.limit = limit > 1 ? limit : 0; /* the first turn measures */
        begin();
        say(ANSWER_STARTED);
        say_tokens(ANSWER_TEXT, 0, "Hi", &token, 1);
        say_finished(0, ANSWER_FINISH_STOP);
        say(ANSWER_END);
        if (limit == 1)
            whole = out.len;
        ck_assert_int_eq(out.failed, limit > 1 && limit < whole);
        wire_answer_destroy(answer);
        answer = NULL;
    }
    ck_assert_uint_gt(whole, 500);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wire_answer");
    TCase *tc = tcase_create("wire_answer");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, chat_stream_is_role_content_finish_done);
    tcase_add_test(tc, usage_is_null_until_the_last_chunk);
    tcase_add_test(tc, continuous_usage_is_in_every_chunk);
    tcase_add_test(tc, roles_of_all_choices_come_before_any_content);
    tcase_add_test(tc, stop_reason_tells_what_matched);
    tcase_add_test(tc, chat_object_is_whole);
    tcase_add_test(tc, completions_stream_has_no_role);
    tcase_add_test(tc, prompt_logprobs_are_keyed_by_id_and_are_no_text);
    tcase_add_test(tc, prompt_logprobs_of_a_completion_stand_in_its_choice_too);
    tcase_add_test(tc, token_ids_ride_in_every_chunk_and_the_prompts_in_the_first);
    tcase_add_test(tc, token_ids_of_the_whole_are_those_of_all_chunks);
    tcase_add_test(tc, completions_object_is_whole);
    tcase_add_test(tc, chat_logprobs_ride_with_their_text);
    tcase_add_test(tc, tokens_of_one_character_come_with_it);
    tcase_add_test(tc, token_without_text_has_a_chunk_of_its_own);
    tcase_add_test(tc, choice_without_tokens_has_an_empty_list);
    tcase_add_test(tc, completions_logprobs_are_four_lists_over_echo);
    tcase_add_test(tc, alternatives_that_look_alike_keep_the_likeliest);
    tcase_add_test(tc, tokens_can_be_spelled_as_ids);
    tcase_add_test(tc, offsets_count_characters_across_chunks);
    tcase_add_test(tc, offsets_recover_from_a_space_that_a_text_does_not_begin_with);
    tcase_add_test(tc, logprobs_are_written_short_and_exact);
    tcase_add_test(tc, failed_stream_ends_in_an_error_and_done);
    tcase_add_test(tc, failed_fold_writes_nothing_and_tells_why);
    tcase_add_test(tc, end_without_a_reason_for_each_choice_is_an_error);
    tcase_add_test(tc, own_error_closes_the_stream);
    tcase_add_test(tc, lack_of_memory_is_told_at_any_length);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
