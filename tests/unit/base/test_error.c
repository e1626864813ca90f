#include "base/error.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/runner.h"

START_TEST(the_code_comes_back_beside_the_sentence)
{
    struct error err;
    ck_assert_int_eq(error_set_param(&err, -EINVAL, "port", "--port: %d is too large", 70000),
                     -EINVAL);
    ck_assert_str_eq(err.message, "--port: 70000 is too large");
    ck_assert_str_eq(err.param, "port");
    ck_assert_int_eq(error_set(NULL, -EIO, "nobody listens"), -EIO);
}
END_TEST

START_TEST(control_characters_do_not_reach_a_terminal)
{
    struct error err;
    error_set(&err, -EINVAL, "name \"%s\"", "a\n\x1b[31mb");
    ck_assert_str_eq(err.message, "name \"a??[31mb\"");
}
END_TEST

START_TEST(a_long_sentence_is_cut_between_characters)
{
    for (int shift = 0; shift < 4; shift++) {
        struct error err;
        char text[2 * ERROR_MESSAGE_BYTES];
        memset(text, 'x', sizeof(text));
        for (size_t i = (size_t)shift; i + 4 < sizeof(text); i += 3)
            memcpy(text + i, "\xE2\x82\xAC", 3);
        text[sizeof(text) - 1] = '\0';
        error_set(&err, -EINVAL, "%s", text);
        const size_t len = strlen(err.message);
        ck_assert_uint_ge(len, ERROR_MESSAGE_BYTES - 5);
        ck_assert(len % 3 == (size_t)shift % 3);
    }
}
END_TEST

RUN_SUITE("error", the_code_comes_back_beside_the_sentence,
          control_characters_do_not_reach_a_terminal, a_long_sentence_is_cut_between_characters)
