#include "tests/unit/proto/refusal_rig.h"

#include <check.h>
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

const struct wire_limits limits = { .vocab_size = 1000,
                                    .max_model_len = 2048,
                                    .max_logprobs = 20,
                                    .temperature = 1.0,
                                    .top_p = 1.0,
                                    .repetition_penalty = 1.0 };

struct arena arena;
struct wire_error error;

void setup(void)
{
    arena_init(&arena, 1 << 20);
    error = (struct wire_error){ 0 };
}

void teardown(void)
{
    arena_finish(&arena);
}

int parse(enum wire_endpoint endpoint, const char *text, const struct wire_limits *with)
{
    struct wire_request request;
    struct error err = { 0 };
    json_t *body = NULL;
    ck_assert_msg(json_read(text, strlen(text), &json_limits_request, &body, &err) == 0, "%s: %s",
                  text, err.message);
    const int r = wire_request_parse(endpoint, body, with, &arena, &request, &error);
    json_decref(body);
    return r;
}

void expect_refused(enum wire_endpoint endpoint, const char *text, const char *code,
                    const char *param)
{
    const int r = parse(endpoint, text, &limits);
    ck_assert_msg(r == -EINVAL, "accepted: %s", text);
    ck_assert_msg(strcmp(wire_codes[error.code].code, code) == 0, "%s: code %s, message %s", text,
                  wire_codes[error.code].code, error.message);
    ck_assert_msg(strcmp(error.param, param) == 0, "%s: param %s", text, error.param);
    ck_assert_int_eq(wire_codes[error.code].status, 400);
    ck_assert_str_eq(wire_codes[error.code].type, "invalid_request_error");
    const size_t len = strlen(error.message);
    ck_assert_msg(len > 10 && error.message[len - 1] == '.', "%s", error.message);
    ck_assert_uint_eq(utf8_valid_prefix(error.message, len), len);
}
