#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/runner.h"
#include "worker/meter.h"

enum { MS = 1000 };

static struct status_page *page;
static struct meter meter;
static struct plan plan;
static int64_t now;

static void setup(void)
{
    page = aligned_alloc(64, sizeof(*page));
    ck_assert_ptr_nonnull(page);
    memset((void *)page, 0, sizeof(*page));
    meter = (struct meter){ .page = page, .first_us = 1000, .each_us = 10 };
    plan = (struct plan){ .num_tokens = 1 };
    now = 5000000;
}

static void teardown(void)
{
    free(page);
}

/* A step of so long, at the end of which so many requests ended. */
static void step(int64_t us, int32_t num_ends)
{
    meter_begin_step(&meter, &plan, now);
    now += us;
    meter_end_step(&meter, &plan, now);
    meter_note_ends(&meter, num_ends, now);
}

START_TEST(nothing_is_known_before_the_first_step)
{
    ck_assert_uint_eq(meter_retry_after_ms(&meter, 10), 0);
    step(100 * MS, 1);
    ck_assert_uint_eq(meter_retry_after_ms(&meter, 0), 0);
    ck_assert_uint_eq(meter_retry_after_ms(&meter, 1), 100);
}
END_TEST

START_TEST(who_waits_goes_at_the_rate_at_which_requests_end)
{
    for (int i = 0; i < 100; i++) /* 4 requests in 20 ms */
        step(20 * MS, 4);
    ck_assert_uint_eq(meter_retry_after_ms(&meter, 200), 1000);
    ck_assert_uint_eq(meter_retry_after_ms(&meter, 100), 500);
    ck_assert_uint_eq(meter_retry_after_ms(&meter, 20), 100);
}
END_TEST

START_TEST(time_without_work_does_not_count)
{
    for (int i = 0; i < 50; i++) {
        step(20 * MS, 1);
        now += 3600ll * 1000 * MS;
    }
    ck_assert_uint_eq(meter_retry_after_ms(&meter, 10), 200);
}
END_TEST

START_TEST(bursts_are_as_good_as_an_even_flow)
{
    for (int i = 0; i < 400; i++)
        step(20 * MS, i % 20 == 19 ? 20 : 0);
    const uint32_t ms = meter_retry_after_ms(&meter, 100);
    ck_assert_uint_ge(ms, 1600);
    ck_assert_uint_le(ms, 2400);
}
END_TEST

START_TEST(what_was_long_ago_is_forgotten)
{
    for (int i = 0; i < 200; i++)
        step(100 * MS, 1);
    ck_assert_uint_eq(meter_retry_after_ms(&meter, 100), 10000);
    for (int i = 0; i < 2000; i++)
        step(10 * MS, 1);
    const uint32_t ms = meter_retry_after_ms(&meter, 100);
    ck_assert_uint_ge(ms, 1000);
    ck_assert_uint_le(ms, 1100);
}
END_TEST

START_TEST(nobody_is_sent_away_for_longer_than_clients_wait)
{
    step(600ll * 1000 * MS, 1);
    ck_assert_uint_eq(meter_retry_after_ms(&meter, 1000), 50000);
    meter = (struct meter){ .page = page };
    for (int i = 0; i < 300; i++)
        step(1, 100);
    ck_assert_uint_eq(meter_retry_after_ms(&meter, 1), 1);
}
END_TEST

RUN_SUITE_AROUND("meter", setup, teardown, nothing_is_known_before_the_first_step,
                 who_waits_goes_at_the_rate_at_which_requests_end, time_without_work_does_not_count,
                 bursts_are_as_good_as_an_even_flow, what_was_long_ago_is_forgotten,
                 nobody_is_sent_away_for_longer_than_clients_wait)
