#include <math.h>

#include "frontend/snapshot.h"
#include "tests/unit/runner.h"

static struct snapshot snapshot;
static _Atomic uint64_t words[STATUS_WORDS];

static void take(void)
{
    for (int i = 0; i < STATUS_WORDS; i++)
        snapshot.words[i] = words[i];
}

static void setup(void)
{
    for (int i = 0; i < STATUS_WORDS; i++)
        words[i] = 0;
}

START_TEST(empty_histogram_has_no_quantile)
{
    take();
    ck_assert(snapshot_quantile(&snapshot, STAT_E2E_SECONDS, 0.99) == 0);
}
END_TEST

/* Buckets 0.3, 0.5, 0.8, ...: 4 values at or below 0.3 and 4 in (0.3, 0.5]. */
START_TEST(quantiles_lie_on_lines_within_buckets)
{
    for (int i = 0; i < 4; i++) {
        stat_observe_us(words, STAT_E2E_SECONDS, 100000);
        stat_observe_us(words, STAT_E2E_SECONDS, 400000);
    }
    take();
    ck_assert(fabs(snapshot_quantile(&snapshot, STAT_E2E_SECONDS, 0.25) - 0.15) < 1e-9);
    ck_assert(fabs(snapshot_quantile(&snapshot, STAT_E2E_SECONDS, 0.5) - 0.3) < 1e-9);
    ck_assert(fabs(snapshot_quantile(&snapshot, STAT_E2E_SECONDS, 0.75) - 0.4) < 1e-9);
    ck_assert_int_eq((int)snapshot_count(&snapshot, STAT_E2E_SECONDS), 8);
    ck_assert_int_eq((int)snapshot_sum(&snapshot, STAT_E2E_SECONDS), 2000000);
}
END_TEST

START_TEST(values_beyond_the_last_bucket_give_its_bound)
{
    const struct stat_row *row = &stat_rows[STAT_E2E_SECONDS];
    stat_observe_us(words, STAT_E2E_SECONDS, INT64_C(1) << 50);
    take();
    ck_assert(snapshot_quantile(&snapshot, STAT_E2E_SECONDS, 0.5) ==
              row->buckets[row->num_buckets - 1]);
}
END_TEST

RUN_SUITE_AROUND("snapshot", setup, NULL, empty_histogram_has_no_quantile,
                 quantiles_lie_on_lines_within_buckets,
                 values_beyond_the_last_bucket_give_its_bound)
