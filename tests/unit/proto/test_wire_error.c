#include "proto/wire/wire_error.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "tests/unit/runner.h"

static struct wire_error error;
static struct strbuf out;

static void setup(void)
{
    error = (struct wire_error){ 0 };
    out = (struct strbuf){ 0 };
}

static void teardown(void)
{
    strbuf_finish(&out);
}

START_TEST(object_has_all_four_keys)
{
    ck_assert_int_eq(
        wire_error_set(&error, WIRE_DECIMAL_ABOVE_MAX, "temperature", "It is %d \"hot\".", 3),
        -EINVAL);
    wire_error_write(&error, &out);
    ck_assert_str_eq(out.data, "{\"error\":{\"message\":\"It is 3 \\\"hot\\\".\",\"type\":"
                               "\"invalid_request_error\",\"param\":\"temperature\",\"code\":"
                               "\"decimal_above_max_value\"}}");

    strbuf_reset(&out);
    wire_error_set(&error, WIRE_QUEUE_FULL, NULL, "Full.");
    wire_error_write(&error, &out);
    ck_assert_str_eq(out.data, "{\"error\":{\"message\":\"Full.\",\"type\":\"rate_limit_error\","
                               "\"param\":null,\"code\":\"queue_full\"}}");
}
END_TEST

START_TEST(every_code_has_a_row)
{
    for (int code = 0; code < WIRE_NUM_CODES; code++) {
        ck_assert_ptr_nonnull(wire_codes[code].code);
        ck_assert_ptr_nonnull(wire_codes[code].type);
        ck_assert_int_ge(wire_codes[code].status, 400);
        ck_assert_int_le(wire_codes[code].status, 504);
        for (int other = 0; other < code; other++)
            ck_assert_str_ne(wire_codes[code].code, wire_codes[other].code);
    }
    ck_assert_int_eq(wire_codes[WIRE_INVALID_API_KEY].status, 401);
    ck_assert_int_eq(wire_codes[WIRE_MODEL_NOT_FOUND].status, 404);
    ck_assert_int_eq(wire_codes[WIRE_REQUEST_TOO_LARGE].status, 413);
    ck_assert_int_eq(wire_codes[WIRE_QUEUE_FULL].status, 429);
    ck_assert_int_eq(wire_codes[WIRE_NAN_LOGITS].status, 500);
    ck_assert_int_eq(wire_codes[WIRE_MODEL_LOADING].status, 503);
    ck_assert_int_eq(wire_codes[WIRE_DEADLINE_EXCEEDED].status, 504);
}
END_TEST

START_TEST(long_sentences_are_cut_between_characters)
{
    char text[2 * WIRE_MESSAGE_BYTES + 1];
    for (size_t i = 0; i < WIRE_MESSAGE_BYTES; i++)
        memcpy(text + 2 * i, "\xc3\xa4", 2);
    text[2 * WIRE_MESSAGE_BYTES] = '\0';

    for (int shift = 0; shift < 2; shift++) {
        wire_error_set(&error, WIRE_INVALID_VALUE, text + 2, "%.*s%s", shift, "x", text);
        const size_t len = strlen(error.message), param_len = strlen(error.param);
        ck_assert_uint_ge(len, WIRE_MESSAGE_BYTES - 2);
        ck_assert_uint_eq(utf8_valid_prefix(error.message, len), len);
        ck_assert_uint_eq(utf8_valid_prefix(error.param, param_len), param_len);
    }
}
END_TEST

START_TEST(failures_of_the_engine_have_their_status)
{
    static const struct {
        enum record_failure failure;
        int status;
        bool ours; /* the message has the request's id */
    } rows[] = {
        { RECORD_FAILURE_QUEUE_FULL, 429, false },    { RECORD_FAILURE_QUEUED_TOKENS, 429, false },
        { RECORD_FAILURE_DEADLINE, 504, false },      { RECORD_FAILURE_DRAINING, 503, false },
        { RECORD_FAILURE_TOO_LONG, 400, false },      { RECORD_FAILURE_NAN_LOGITS, 500, true },
        { RECORD_FAILURE_INTERNAL, 500, true },       { RECORD_FAILURE_WORKER, 500, true },
        { RECORD_FAILURE_MODEL_CHANGED, 503, false }, { (enum record_failure)0, 500, true },
        { (enum record_failure)1234, 500, true },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        wire_error_from_failure(&error, rows[i].failure, "req-7");
        ck_assert_int_eq(wire_codes[error.code].status, rows[i].status);
        ck_assert_int_eq(strstr(error.message, "req-7") != NULL, rows[i].ours);
        ck_assert_ptr_null(strstr(error.message, "429"));
        ck_assert_str_eq(error.param, "");
    }
    wire_error_from_failure(&error, RECORD_FAILURE_TOO_LONG, "");
    ck_assert_int_eq(strncmp(error.message, "This model's maximum context length is", 38), 0);
}
END_TEST

RUN_SUITE_AROUND("wire_error", setup, teardown, object_has_all_four_keys, every_code_has_a_row,
                 long_sentences_are_cut_between_characters,
                 failures_of_the_engine_have_their_status)
