#include <check.h>
#include <stdlib.h>

#include "frontend/account.h"
#include "tests/unit/runner.h"

enum { SECOND = 1000000 };

static struct status_page *own, *other;
static struct segment peers[3];
static struct account_book *book;
static uint32_t wait_ms;
static int64_t now;

static struct status_page *make_page(void)
{
    struct status_page *page = aligned_alloc(64, sizeof(*page));
    ck_assert_ptr_nonnull(page);
    for (size_t i = 0; i < sizeof(*page); i++)
        ((unsigned char *)page)[i] = 0;
    return page;
}

static void setup(void)
{
    own = make_page();
    other = make_page();
    peers[1] = (struct segment){ .base = other };
    book = account_book_create(own, peers, 3);
    ck_assert_ptr_nonnull(book);
    now = 1000 * SECOND;
}

static void teardown(void)
{
    account_book_destroy(book);
    free(own);
    free(other);
}

static enum account_verdict check_one(struct account *account)
{
    return account_check(book, account, 0, now, &wait_ms);
}

START_TEST(without_limits_all_pass)
{
    struct account *account = account_get(book, 7, &(struct account_limits){ 0 }, now);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(check_one(account), ACCOUNT_OPEN);
        account_begin(account);
        account_charge(account, 100000);
    }
    ck_assert_uint_eq(account_use(book, 7).open, 1000);
    ck_assert_uint_eq(account_use(book, 8).open, 0);
}
END_TEST

START_TEST(what_is_open_counts_until_it_ends)
{
    struct account *account =
        account_get(book, 7, &(struct account_limits){ .concurrent = 2 }, now);
    account_begin(account);
    account_begin(account);
    ck_assert_int_eq(check_one(account), ACCOUNT_TOO_MANY);
    ck_assert_uint_eq(wait_ms, 0);
    account_start(account);
    ck_assert_int_eq(check_one(account), ACCOUNT_TOO_MANY);
    account_end(account, true);
    ck_assert_int_eq(check_one(account), ACCOUNT_OPEN);
    account_end(account, false);
    const struct account_use use = account_use(book, 7);
    ck_assert_uint_eq(use.open, 0);
    ck_assert_uint_eq(use.waiting, 0);
    ck_assert_uint_eq(use.requests, 2);
}
END_TEST

START_TEST(a_share_of_the_queue_counts_those_that_wait)
{
    struct account *account = account_get(book, 7, &(struct account_limits){ 0 }, now);
    account_begin(account);
    account_begin(account);
    ck_assert_int_eq(account_check(book, account, 2, now, &wait_ms), ACCOUNT_TOO_MANY_WAIT);
    ck_assert_int_eq(account_check(book, account, 3, now, &wait_ms), ACCOUNT_OPEN);
    account_start(account);
    ck_assert_int_eq(account_check(book, account, 2, now, &wait_ms), ACCOUNT_OPEN);
}
END_TEST

START_TEST(requests_of_a_minute_come_back_evenly)
{
    struct account *account =
        account_get(book, 7, &(struct account_limits){ .requests_per_minute = 6 }, now);
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(check_one(account), ACCOUNT_OPEN);
        account_begin(account);
    }
    ck_assert_int_eq(check_one(account), ACCOUNT_TOO_FAST);
    ck_assert_uint_ge(wait_ms, 9990);
    ck_assert_uint_le(wait_ms, 10010);
    now += 9 * SECOND;
    ck_assert_int_eq(check_one(account), ACCOUNT_TOO_FAST);
    ck_assert_uint_ge(wait_ms, 990);
    ck_assert_uint_le(wait_ms, 1010);
    now += SECOND + SECOND / 100;
    ck_assert_int_eq(check_one(account), ACCOUNT_OPEN);
    now += 3600ll * SECOND; /* who rests saves a minute's worth, no more */
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(check_one(account), ACCOUNT_OPEN);
        account_begin(account);
    }
    ck_assert_int_eq(check_one(account), ACCOUNT_TOO_FAST);
}
END_TEST

START_TEST(tokens_are_taken_when_they_are_known_and_made_up_for)
{
    struct account *account =
        account_get(book, 7, &(struct account_limits){ .tokens_per_minute = 600 }, now);
    ck_assert_int_eq(check_one(account), ACCOUNT_OPEN);
    account_charge(account, 1200);
    ck_assert_int_eq(check_one(account), ACCOUNT_TOO_MUCH);
    ck_assert_uint_ge(wait_ms, 60050); /* 600 below zero and one above, at 10 a second */
    ck_assert_uint_le(wait_ms, 60150);
    now += 61 * SECOND;
    ck_assert_int_eq(check_one(account), ACCOUNT_OPEN);
}
END_TEST

START_TEST(what_other_frontends_count_counts)
{
    struct account_book *theirs = account_book_create(other, NULL, 0);
    const struct account_limits limits = { .concurrent = 3, .requests_per_minute = 5 };
    struct account *mine = account_get(book, 7, &limits, now);
    struct account *same = account_get(theirs, 7, &limits, now);
    struct account *another = account_get(theirs, 7 + STATUS_ACCOUNTS, &limits, now);
    account_begin(same);
    account_begin(another); /* stands in the place behind */
    account_begin(same);
    ck_assert_int_eq(check_one(mine), ACCOUNT_OPEN);
    account_begin(mine);
    ck_assert_int_eq(check_one(mine), ACCOUNT_TOO_MANY);
    account_end(same, false);
    account_end(same, false);
    account_begin(same);
    account_end(same, true);
    account_begin(same);
    account_end(same, false);
    ck_assert_int_eq(check_one(mine), ACCOUNT_TOO_FAST);
    account_book_destroy(theirs);
}
END_TEST

START_TEST(a_frontend_that_ended_is_no_use)
{
    const struct account_limits limits = { .requests_per_minute = 5 };
    struct account_book *theirs = account_book_create(other, NULL, 0);
    struct account *mine = account_get(book, 7, &limits, now);
    for (int i = 0; i < 4; i++)
        account_begin(account_get(theirs, 7, &limits, now));
    ck_assert_int_eq(check_one(mine), ACCOUNT_OPEN);
    peers[1] = (struct segment){ 0 };
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(check_one(mine), ACCOUNT_OPEN);
    account_begin(mine);
    ck_assert_int_eq(check_one(mine), ACCOUNT_TOO_FAST);
    account_book_destroy(theirs);
}
END_TEST

START_TEST(who_knows_an_account_newly_asks_the_others_what_is_left)
{
    const struct account_limits limits = { .requests_per_minute = 5, .tokens_per_minute = 50 };
    struct account_book *theirs = account_book_create(other, NULL, 0);
    struct account *same = account_get(theirs, 7, &limits, now);
    for (int i = 0; i < 5; i++)
        account_begin(same);
    ck_assert_int_eq(check_one(account_get(book, 7, &limits, now)), ACCOUNT_TOO_FAST);
    now += 13 * SECOND;
    ck_assert_int_eq(check_one(account_get(book, 7, &limits, now)), ACCOUNT_OPEN);

    struct account *free = account_get(theirs, 8, &(struct account_limits){ 0 }, now);
    account_begin(free); /* before the limit was */
    account_charge(free, 1000000);
    ck_assert_int_eq(check_one(account_get(book, 8, &limits, now)), ACCOUNT_OPEN);
    account_book_destroy(theirs);
}
END_TEST

START_TEST(a_new_limit_begins_full)
{
    struct account *account = account_get(book, 7, &(struct account_limits){ 0 }, now);
    account_charge(account, 1000000);
    ck_assert_int_eq(check_one(account), ACCOUNT_OPEN);
    (void)account_get(book, 7, &(struct account_limits){ .tokens_per_minute = 100 }, now);
    ck_assert_int_eq(check_one(account), ACCOUNT_OPEN);
    account_charge(account, 101);
    ck_assert_int_eq(check_one(account), ACCOUNT_TOO_MUCH);
}
END_TEST

START_TEST(more_keys_than_rows_are_limited_all_the_same)
{
    enum { NUM = 3 * STATUS_ACCOUNTS };
    const struct account_limits limits = { .concurrent = 1 };
    for (uint64_t i = 1; i <= NUM; i++) {
        struct account *account = account_get(book, i * 977, &limits, now);
        ck_assert_ptr_nonnull(account);
        account_begin(account);
        ck_assert_int_eq(check_one(account), ACCOUNT_TOO_MANY);
    }
    for (uint64_t i = 1; i <= NUM; i++) /* who is away for long gives up the place */
        account_end(account_get(book, i * 977, &limits, now), false);
    now += 3600ll * SECOND;
    account_begin(account_get(book, 5, &limits, now));
    ck_assert_uint_eq(account_use(book, 5).open, 1);
    ck_assert_uint_eq(account_use(book, 977).requests, 0);
}
END_TEST

RUN_SUITE_AROUND("account", setup, teardown, without_limits_all_pass,
                 what_is_open_counts_until_it_ends, a_share_of_the_queue_counts_those_that_wait,
                 requests_of_a_minute_come_back_evenly,
                 tokens_are_taken_when_they_are_known_and_made_up_for,
                 what_other_frontends_count_counts, a_frontend_that_ended_is_no_use,
                 who_knows_an_account_newly_asks_the_others_what_is_left, a_new_limit_begins_full,
                 more_keys_than_rows_are_limited_all_the_same)
