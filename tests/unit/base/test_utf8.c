#include "base/utf8.h"

#include <string.h>

#include "tests/unit/runner.h"

START_TEST(every_code_point_comes_back)
{
    for (uint32_t c = 0; c <= 0x110000; c++) {
        char bytes[4];
        uint32_t found = 0;
        const int len = utf8_encode(c, bytes);
        if (c >= 0xD800 && c < 0xE000) {
            ck_assert_int_eq(len, 0);
            continue;
        }
        ck_assert_int_eq(len, c > 0x10FFFF  ? 0
                              : c < 0x80    ? 1
                              : c < 0x800   ? 2
                              : c < 0x10000 ? 3
                                            : 4);
        if (len == 0)
            continue;
        ck_assert_int_eq(utf8_decode(bytes, (size_t)len, &found), len);
        ck_assert_uint_eq(found, c);
        for (int cut = 1; cut < len; cut++)
            ck_assert_int_eq(utf8_decode(bytes, (size_t)cut, &found), UTF8_INCOMPLETE);
    }
}
END_TEST

START_TEST(what_is_not_utf8_is_invalid)
{
    static const char *const bad[] = {
        "\x80",         "\xBF",         "\xC0\xAF",         "\xC1\xBF",
        "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80",
        "\xF5",         "\xFF",         "\xE2\x28\xA1",     "\xC3("
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint32_t c;
        ck_assert_int_eq(utf8_decode(bad[i], strlen(bad[i]), &c), UTF8_INVALID);
        ck_assert_uint_eq(utf8_valid_prefix(bad[i], strlen(bad[i])), 0);
    }
}
END_TEST

START_TEST(one_replacement_stands_for_a_maximal_subpart)
{
    ck_assert_uint_eq(utf8_invalid_len("\xE2\x82(", 3), 2);
    ck_assert_uint_eq(utf8_invalid_len("\xF0\x9F\x98z", 4), 3);
    ck_assert_uint_eq(utf8_invalid_len("\xED\xA0\x80", 3), 1);
    ck_assert_uint_eq(utf8_invalid_len("\xFF\xFF", 2), 1);
}
END_TEST

START_TEST(the_valid_prefix_and_the_count_are_by_characters)
{
    const char *text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x90\xB1";
    ck_assert_uint_eq(utf8_valid_prefix(text, 10), 10);
    ck_assert_uint_eq(utf8_valid_prefix(text, 9), 6);
    ck_assert_uint_eq(utf8_count(text, 10), 4);
}
END_TEST

RUN_SUITE("utf8", every_code_point_comes_back, what_is_not_utf8_is_invalid,
          one_replacement_stands_for_a_maximal_subpart,
          the_valid_prefix_and_the_count_are_by_characters)
