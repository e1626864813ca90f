#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "tests/unit/runner.h"

static int read_text(const char *text, struct error *err)
{
    json_t *value = NULL;
    const int r = json_read(text, strlen(text), &json_limits_request, &value, err);
    json_decref(value);
    return r;
}

START_TEST(what_json_does_not_allow_is_refused)
{
    static const char *const bad[] = {
        "",
        "{",
        "[1,]",
        "{\"a\":1,\"a\":2}",
        "{} x",
        "NaN",
        "[Infinity]",
        "/*c*/1",
        "01",
        "'a'",
        "{\"a\"}",
        "[1 2]",
        "\"\\ud800\"",
        "\"\\udc00x\"",
        "\xEF\xBB\xBF{}",
        "\"\x01\"",
        "tru",
        "99999999999999999999",
        "1e999",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err;
        ck_assert_msg(read_text(bad[i], &err) == -EINVAL, "accepted: %s", bad[i]);
        ck_assert_uint_gt(strlen(err.message), 10);
    }
}
END_TEST

START_TEST(bad_utf8_is_told_apart)
{
    struct error err;
    ck_assert_int_eq(read_text("{\"a\":\"\xC3(\"}", &err), -EINVAL);
    ck_assert_str_eq(err.param, "utf8");
    ck_assert_int_eq(read_text("\"\\ud83d\"", &err), -EINVAL);
    ck_assert_str_eq(err.param, "utf8");
}
END_TEST

START_TEST(u0000_in_a_string_is_a_character_like_others)
{
    json_t *value;
    ck_assert_int_eq(json_read("\"a\\u0000b\"", 10, &json_limits_request, &value, NULL), 0);
    ck_assert_uint_eq(json_string_length(value), 3);
    json_decref(value);
}
END_TEST

static void nest(struct strbuf *buf, int depth)
{
    for (int i = 0; i < depth; i++)
        strbuf_append_char(buf, '[');
    for (int i = 0; i < depth; i++)
        strbuf_append_char(buf, ']');
}

START_TEST(depth_values_keys_and_digits_are_limited)
{
    struct strbuf buf = { 0 };
    struct error err;

    nest(&buf, 64);
    ck_assert_int_eq(read_text(buf.data, &err), 0);
    strbuf_reset(&buf);
    nest(&buf, 65);
    ck_assert_int_eq(read_text(buf.data, &err), -EINVAL);
    strbuf_reset(&buf);
    nest(&buf, 100000);
    ck_assert_int_eq(read_text(buf.data, &err), -EINVAL);

    strbuf_reset(&buf);
    strbuf_append_char(&buf, '{');
    for (int i = 0; i < 1025; i++)
        strbuf_printf(&buf, "%s\"k%d\":1", i > 0 ? "," : "", i);
    strbuf_append_char(&buf, '}');
    ck_assert_int_eq(read_text(buf.data, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "1024 keys"));

    strbuf_reset(&buf);
    strbuf_append_text(&buf, "0.");
    for (int i = 0; i < 63; i++)
        strbuf_append_char(&buf, '1');
    ck_assert_int_eq(read_text(buf.data, &err), -EINVAL);

    strbuf_reset(&buf);
    strbuf_append_char(&buf, '[');
    for (int i = 0; i < 1000001; i++)
        strbuf_append_text(&buf, i > 0 ? ",1" : "1");
    strbuf_append_char(&buf, ']');
    ck_assert_int_eq(read_text(buf.data, &err), -EINVAL);
    strbuf_finish(&buf);
}
END_TEST

START_TEST(an_integer_may_be_written_with_a_zero_fraction)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t value;
    } cases[] = { { "5", true, 5 },      { "5.0", true, 5 },    { "-3e2", true, -300 },
                  { "5.5", false, 0 },   { "\"5\"", false, 0 }, { "true", false, 0 },
                  { "1e300", false, 0 }, { "null", false, 0 } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *value;
        int64_t found = 0;
        ck_assert_int_eq(
            json_read(cases[i].text, strlen(cases[i].text), &json_limits_request, &value, NULL), 0);
        ck_assert_int_eq(json_get_int64(value, &found), cases[i].ok);
        ck_assert_int_eq(found, cases[i].value);
        json_decref(value);
    }
}
END_TEST

START_TEST(files_are_refused_with_their_name)
{
    struct error err;
    json_t *value;
    ck_assert_int_eq(json_read_file("/nonexistent/x.json", 100, &json_limits_file, &value, &err),
                     -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.message, "/nonexistent/x.json"));
    ck_assert_int_eq(json_read_file("/", 100, &json_limits_file, &value, &err), -EINVAL);
    ck_assert_int_eq(json_read_file("/proc/self/exe", 100, &json_limits_file, &value, &err),
                     -EFBIG);
}
END_TEST

RUN_SUITE("json", what_json_does_not_allow_is_refused, bad_utf8_is_told_apart,
          u0000_in_a_string_is_a_character_like_others, depth_values_keys_and_digits_are_limited,
          an_integer_may_be_written_with_a_zero_fraction, files_are_refused_with_their_name)
