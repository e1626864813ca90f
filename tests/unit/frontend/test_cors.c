#include <string.h>

#include "frontend/cors.h"
#include "tests/unit/runner.h"

static const struct option_list any = { .num = 1, .items = { { "*", 1 } } };
static const struct option_list one = { .num = 1, .items = { { "https://app.example", 19 } } };
static char value[CORS_VALUE_BYTES];

static void ask(const struct option_list *origins, bool credentials, const char *origin)
{
    const struct cors cors = {
        .origins = origins, .methods = &any, .headers = &any, .credentials = credentials
    };
    cors_allow_origin(&cors, origin, strlen(origin), value);
}

START_TEST(any_origin_is_a_star_with_or_without_origin)
{
    ask(&any, false, "https://a.example");
    ck_assert_str_eq(value, "*");
    ask(&any, false, "");
    ck_assert_str_eq(value, "*");
}
END_TEST

START_TEST(credentials_reflect_the_origin_and_never_a_star)
{
    ask(&any, true, "https://a.example");
    ck_assert_str_eq(value, "https://a.example");
    ask(&any, true, "");
    ck_assert_str_eq(value, "");
}
END_TEST

START_TEST(listed_origin_is_reflected_and_others_get_nothing)
{
    ask(&one, false, "https://app.example");
    ck_assert_str_eq(value, "https://app.example");
    ask(&one, false, "https://app.example.evil");
    ck_assert_str_eq(value, "");
    ask(&one, false, "");
    ck_assert_str_eq(value, "");
}
END_TEST

START_TEST(overlong_origin_is_not_reflected)
{
    char origin[CORS_VALUE_BYTES + 8];
    memset(origin, 'a', sizeof(origin));
    origin[sizeof(origin) - 1] = '\0';
    ask(&any, true, origin);
    ck_assert_str_eq(value, "");
}
END_TEST

RUN_SUITE("cors", any_origin_is_a_star_with_or_without_origin,
          credentials_reflect_the_origin_and_never_a_star,
          listed_origin_is_reflected_and_others_get_nothing, overlong_origin_is_not_reflected)
