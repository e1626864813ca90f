/* How long lists and strings may be, and what a refusal says. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tests/unit/proto/refusal_rig.h"
#include "tests/unit/runner.h"

/* A body with `num` times `element` in the array that `before` opens. */
static char *repeated(const char *before, const char *element, size_t num, const char *after)
{
    struct strbuf text = { 0 };
    strbuf_append_text(&text, before);
    for (size_t i = 0; i < num; i++) {
        strbuf_append_text(&text, i == 0 ? "" : ",");
        strbuf_append_text(&text, element);
    }
    strbuf_append_text(&text, after);
    ck_assert(!text.failed);
    return text.data;
}

START_TEST(lists_may_be_as_long_as_their_limit_and_no_longer)
{
    static const struct {
        enum wire_endpoint endpoint;
        const char *before, *element, *after;
        size_t most;
        const char *param;
    } lists[] = {
        { WIRE_CHAT, "{\"messages\":[", "{\"role\":\"user\",\"content\":\"\"}", "]}", 4096,
          "messages" },
        { WIRE_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[",
          "{\"type\":\"text\",\"text\":\"a\"}", "]}]}", 256, "messages[0].content" },
        { WIRE_COMPLETIONS, "{\"prompt\":[", "\"a\"", "]}", 256, "prompt" },
        { WIRE_COMPLETIONS, "{\"prompt\":[", "[1]", "]}", 256, "prompt" },
        { WIRE_COMPLETIONS, "{\"prompt\":\"a\",\"stop\":[", "\"x\"", "]}", 64, "stop" },
    };
    for (size_t i = 0; i < NUM(lists); i++) {
        char *good = repeated(lists[i].before, lists[i].element, lists[i].most, lists[i].after);
        ck_assert_int_eq(parse(lists[i].endpoint, good, &limits), 0);
        free(good);
        char *bad = repeated(lists[i].before, lists[i].element, lists[i].most + 1, lists[i].after);
        expect_refused(lists[i].endpoint, bad, "array_above_max_length", lists[i].param);
        free(bad);
    }
}
END_TEST

START_TEST(logit_bias_has_at_most_1024_entries)
{
    const struct wire_limits any_id = { .max_logprobs = 20 };
    struct wire_request request;
    json_t *body = json_pack("{s:s,s:{}}", "prompt", "a", "logit_bias");
    for (int i = 0; i < 1025; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%d", i);
        json_object_set_new(json_object_get(body, "logit_bias"), key, json_integer(1));
    }

    ck_assert_int_eq(wire_request_parse(WIRE_COMPLETIONS, body, &any_id, &arena, &request, &error),
                     -EINVAL);
    ck_assert_int_eq(error.code, WIRE_ARRAY_ABOVE_MAX_LENGTH);
    json_object_del(json_object_get(body, "logit_bias"), "7");
    ck_assert_int_eq(wire_request_parse(WIRE_COMPLETIONS, body, &any_id, &arena, &request, &error),
                     0);
    ck_assert_uint_eq(request.num_biases, 1024);
    json_decref(body);
}
END_TEST

START_TEST(strings_may_be_as_long_as_their_limit_and_no_longer)
{
    static const struct {
        const char *field;
        size_t most;
        enum wire_code code;
    } strings[] = { { "stop", 1024, WIRE_STRING_ABOVE_MAX_LENGTH },
                    { "user", 512, WIRE_STRING_ABOVE_MAX_LENGTH },
                    { "cache_salt", 128, WIRE_STRING_ABOVE_MAX_LENGTH },
                    { "model", 256, WIRE_MODEL_NOT_FOUND } };
    for (size_t i = 0; i < NUM(strings); i++)
        for (size_t more = 0; more < 2; more++) {
            char text[2048], value[1100];
            memset(value, 'a', sizeof(value));
            snprintf(text, sizeof(text), "{\"prompt\":\"a\",\"%s\":\"%.*s\"}", strings[i].field,
                     (int)(strings[i].most + more), value);
            ck_assert_int_eq(parse(WIRE_COMPLETIONS, text, &limits), more == 0 ? 0 : -EINVAL);
            if (more > 0)
                ck_assert_int_eq(error.code, strings[i].code);
        }
}
END_TEST

START_TEST(metadata_has_limits)
{
    char text[2048];
    json_t *body = json_pack("{s:s,s:{}}", "prompt", "a", "metadata");
    for (int i = 0; i < 17; i++) {
        snprintf(text, sizeof(text), "k%d", i);
        json_object_set_new(json_object_get(body, "metadata"), text, json_string("v"));
    }
    struct wire_request request;
    ck_assert_int_eq(wire_request_parse(WIRE_COMPLETIONS, body, &limits, &arena, &request, &error),
                     -EINVAL);
    ck_assert_int_eq(error.code, WIRE_ARRAY_ABOVE_MAX_LENGTH);
    json_decref(body);

    snprintf(text, sizeof(text), "{\"prompt\":\"a\",\"metadata\":{\"%065d\":\"v\"}}", 0);
    expect_refused(WIRE_COMPLETIONS, text, "string_above_max_length", "metadata");
    snprintf(text, sizeof(text), "{\"prompt\":\"a\",\"metadata\":{\"k\":\"%0513d\"}}", 0);
    expect_refused(WIRE_COMPLETIONS, text, "string_above_max_length", "metadata.k");
}
END_TEST

START_TEST(strict_servers_refuse_fields_nobody_knows)
{
    struct wire_limits strict = limits;
    strict.strict = true;

    ck_assert_int_eq(parse(WIRE_CHAT, "{" A_CHAT ",\"zaphod\":1}", &strict), -EINVAL);
    ck_assert_int_eq(error.code, WIRE_UNKNOWN_PARAMETER);
    ck_assert_str_eq(error.param, "zaphod");
    ck_assert_int_eq(parse(WIRE_CHAT, "{" A_CHAT ",\"prompt\":\"x\"}", &strict), -EINVAL);
    ck_assert_str_eq(error.param, "prompt");
    ck_assert_int_eq(parse(WIRE_CHAT, "{" A_CHAT ",\"user\":\"x\"}", &strict), 0);
}
END_TEST

START_TEST(messages_say_field_found_and_limit)
{
    static const struct {
        const char *body, *message;
    } rows[] = {
        { "{" A_CHAT ",\"temperature\":2.5}", "temperature is 2.5, at most 2 is allowed." },
        { "{" A_CHAT ",\"n\":\"2\"}", "n is the string '2', must be an integer." },
        { "{" A_CHAT ",\"n\":5.5}", "n is 5.5, must be an integer." },
        { "{" A_CHAT ",\"n\":true}", "n is true, must be an integer." },
        { "{" A_CHAT ",\"stop\":[\"a\",\"\"]}",
          "stop[1] is empty, at least 1 character is needed." },
        { "{" A_CHAT ",\"top_p\":0}", "top_p is 0, only more than 0 is allowed; for the most "
                                      "likely token use temperature 0." },
        { "{" A_CHAT ",\"tools\":[]}", "tools is not supported by this server." },
        { "{" A_CHAT ",\"top_k\":\"a\\nb\\u0001\\u0000c\"}",
          "top_k is the string 'a\\x0ab\\x01\\x00c', must be an integer." },
        { "{\"model\":\"ringlet\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"file\"}"
          "]"
          "}]}",
          "messages[0].content[0] is of type 'file'; model 'ringlet' reads text only." },
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        ck_assert_int_eq(parse(WIRE_CHAT, rows[i].body, &limits), -EINVAL);
        ck_assert_str_eq(error.message, rows[i].message);
    }
}
END_TEST

START_TEST(at_most_64_bytes_of_input_are_echoed)
{
    char text[512];
    ck_assert_int_eq(parse(WIRE_COMPLETIONS,
                           "{\"prompt\":\"a\",\"n\":\"" /* 63 bytes and an a-umlaut */
                           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                           "aaaaaaaaa\xc3\xa4tail\"}",
                           &limits),
                     -EINVAL);
    snprintf(text, sizeof(text), "n is the string '%s...', must be an integer.",
             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    ck_assert_str_eq(error.message, text);
}
END_TEST

START_TEST(failed_parse_leaves_the_request_as_it_was)
{
    struct wire_request request = { .num_unknown = 77 };
    json_t *body = json_pack("{s:s,s:f}", "prompt", "a", "temperature", 9.0);

    ck_assert_int_eq(wire_request_parse(WIRE_COMPLETIONS, body, &limits, &arena, &request, &error),
                     -EINVAL);

    ck_assert_uint_eq(request.num_unknown, 77);
    json_decref(body);
}
END_TEST

START_TEST(lack_of_memory_is_our_fault_not_the_clients)
{
    arena_finish(&arena);
    arena_init(&arena, 8);

    ck_assert_int_eq(parse(WIRE_COMPLETIONS, "{\"prompt\":[1,2,3]}", &limits), -EINVAL);
    ck_assert_int_eq(wire_codes[error.code].status, 500);
}
END_TEST

RUN_SUITE_AROUND("wire_limits", setup, teardown, lists_may_be_as_long_as_their_limit_and_no_longer,
                 logit_bias_has_at_most_1024_entries,
                 strings_may_be_as_long_as_their_limit_and_no_longer, metadata_has_limits,
                 strict_servers_refuse_fields_nobody_knows, messages_say_field_found_and_limit,
                 at_most_64_bytes_of_input_are_echoed, failed_parse_leaves_the_request_as_it_was,
                 lack_of_memory_is_our_fault_not_the_clients)
