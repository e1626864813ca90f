#include <check.h>
#include <string.h>

#include "frontend/guess.h"
#include "tests/unit/runner.h"

enum { SECOND = 1000000 };

static struct guess_table table;
static int64_t now;

static void setup(void)
{
    memset(&table, 0, sizeof(table));
    now = 100 * SECOND;
}

static struct in6_addr address(uint32_t n)
{
    struct in6_addr a = { 0 };
    memcpy(a.s6_addr + 4, &n, sizeof(n));
    return a;
}

static void be_wrong(struct in6_addr a, int times)
{
    for (int i = 0; i < times; i++)
        ck_assert_uint_eq(guess_refuse(&table, &a, now), 0);
}

START_TEST(ten_wrong_keys_are_let_pass_and_no_more)
{
    const struct in6_addr a = address(1), b = address(2);
    be_wrong(a, 10);
    for (int i = 0; i < 3; i++) {
        const uint32_t ms = guess_refuse(&table, &a, now);
        ck_assert_uint_ge(ms, 6000);
        ck_assert_uint_le(ms, 6001);
    }
    be_wrong(b, 10);
}
END_TEST

START_TEST(one_comes_back_every_six_seconds)
{
    const struct in6_addr a = address(1);
    be_wrong(a, 10);
    now += 3 * SECOND;
    ck_assert_uint_gt(guess_refuse(&table, &a, now), 2900);
    now += 3 * SECOND + 1000;
    be_wrong(a, 1);
    ck_assert_uint_gt(guess_refuse(&table, &a, now), 0);
    now += 3600ll * SECOND; /* who rests saves ten, no more */
    be_wrong(a, 10);
    ck_assert_uint_gt(guess_refuse(&table, &a, now), 0);
}
END_TEST

START_TEST(many_addresses_take_the_place_of_the_oldest)
{
    enum { NUM = 100000 };
    int num_known = 0;
    for (uint32_t i = 1; i <= NUM; i++, now++)
        be_wrong(address(i), 10);
    for (uint32_t i = NUM; i > NUM - GUESS_ADDRESSES / 2; i--) {
        const struct in6_addr a = address(i);
        num_known += guess_refuse(&table, &a, now) > 0;
    }
    ck_assert_int_gt(num_known, GUESS_ADDRESSES / 4);
    be_wrong(address(1), 10); /* forgotten long ago */
}
END_TEST

RUN_SUITE_AROUND("guess", setup, NULL, ten_wrong_keys_are_let_pass_and_no_more,
                 one_comes_back_every_six_seconds, many_addresses_take_the_place_of_the_oldest)
