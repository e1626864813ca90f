#include "base/strbuf.h"

#include <jansson.h>
#include <string.h>

#include "tests/unit/runner.h"

START_TEST(appends_grow_and_keep_a_nul_behind)
{
    struct strbuf buf = { 0 };
    for (int i = 0; i < 1000; i++)
        strbuf_printf(&buf, "%d,", i);
    ck_assert(!buf.failed);
    ck_assert_uint_eq(strlen(buf.data), buf.len);
    ck_assert_int_eq(memcmp(buf.data, "0,1,2,3,", 8), 0);
    strbuf_consume(&buf, 4);
    ck_assert_int_eq(memcmp(buf.data, "2,3,", 4), 0);
    strbuf_finish(&buf);
}
END_TEST

START_TEST(a_passed_limit_marks_the_buffer_failed)
{
    struct strbuf buf = { .limit = 10 };
    strbuf_append_text(&buf, "0123456789");
    ck_assert(!buf.failed);
    strbuf_append_char(&buf, 'x');
    ck_assert(buf.failed);
    ck_assert_uint_eq(buf.len, 10);
    strbuf_reset(&buf);
    ck_assert(!buf.failed);
    strbuf_finish(&buf);
}
END_TEST

START_TEST(json_strings_are_read_back_by_jansson_unchanged)
{
    char text[400];
    size_t len = 0;
    for (int c = 0; c < 128; c++)
        text[len++] = (char)c;
    memcpy(text + len, "\xE2\x80\xA8 \xF0\x9F\x90\xB1 \"\\", 12);
    len += 12;

    struct strbuf buf = { 0 };
    strbuf_append_json_string(&buf, text, len);
    json_t *value = json_loadb(buf.data, buf.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    ck_assert_ptr_nonnull(value);
    ck_assert_uint_eq(json_string_length(value), len);
    ck_assert_int_eq(memcmp(json_string_value(value), text, len), 0);
    json_decref(value);
    strbuf_finish(&buf);
}
END_TEST

START_TEST(short_escapes_are_the_ones_of_json)
{
    struct strbuf buf = { 0 };
    strbuf_append_json_string(&buf, "\b\f\n\r\t\"\\/bfnrt", 13);
    ck_assert_str_eq(buf.data, "\"\\b\\f\\n\\r\\t\\\"\\\\/bfnrt\"");
    strbuf_finish(&buf);
}
END_TEST

RUN_SUITE("strbuf", appends_grow_and_keep_a_nul_behind, a_passed_limit_marks_the_buffer_failed,
          json_strings_are_read_back_by_jansson_unchanged, short_escapes_are_the_ones_of_json)
