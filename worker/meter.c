#include "worker/meter.h"

#include "proto/records/stats.h"

enum {
    MAX_RETRY_MS = 50 * 1000, /* a fifth more is still within what clients sit out */
    MAX_RATIO = 4,
    WINDOW_US = 5 * 1000 * 1000,
    WINDOW_ENDS = 16,
};

static const double step_weight = 0.05;

static double expected_us(const struct meter *meter, const struct plan *plan)
{
    return meter->first_us + meter->each_us * (plan->num_tokens - 1);
}

uint64_t meter_expected_us(const struct meter *meter, const struct plan *plan)
{
    return (uint64_t)expected_us(meter, plan);
}

void meter_begin_step(struct meter *meter, const struct plan *plan, int64_t now)
{
    struct status_page *page = meter->page;
    meter->step_started_us = now;
    atomic_store_explicit(&page->step_expected_us, meter_expected_us(meter, plan),
                          memory_order_relaxed);
    atomic_store_explicit(&page->step_started_us, (uint64_t)now, memory_order_relaxed);
    stat_add(page->words, STAT_PREEMPTIONS, (uint64_t)plan->num_preempted);
    stat_add(page->words, STAT_PREFIX_QUERY_TOKENS, (uint64_t)plan->num_queried);
    stat_add(page->words, STAT_PREFIX_HIT_TOKENS, (uint64_t)plan->num_hit);
}

int64_t meter_near_end_us(const struct meter *meter)
{
    const uint64_t expected =
        atomic_load_explicit(&meter->page->step_expected_us, memory_order_relaxed);
    return meter->step_started_us + (int64_t)(expected / 4 * 3);
}

/* The cost grows with the contexts; one slow step (a busy machine) does not count for much. */
static void learn(struct meter *meter, const struct plan *plan, int64_t us)
{
    const double expected = expected_us(meter, plan);
    const double ratio = expected > 0 ? (double)us / expected : 1;
    const double factor = 1 + step_weight * ((ratio < MAX_RATIO ? ratio : MAX_RATIO) - 1);
    meter->first_us *= factor;
    meter->each_us *= factor;
}

/* Time without a step does not count: nobody waited in it. */
static void count_busy(struct meter *meter, int64_t now)
{
    const int64_t last = meter->busy_until_us, began = meter->step_started_us;
    meter->busy_us += (double)(now - (last > began ? last : began));
    meter->busy_until_us = now;
}

void meter_end_step(struct meter *meter, const struct plan *plan, int64_t now)
{
    struct status_page *page = meter->page;
    const int64_t us = now - meter->step_started_us;
    learn(meter, plan, us);
    count_busy(meter, now);
    /* In this order: whoever sees that no step runs looks at the heartbeat instead. */
    status_beat(page);
    atomic_store_explicit(&page->step_started_us, 0, memory_order_release);
    atomic_fetch_add_explicit(&page->step, 1, memory_order_relaxed);
    stat_observe_us(page->words, STAT_STEP_SECONDS, us);
    stat_observe(page->words, STAT_ITERATION_TOKENS, (uint64_t)plan->num_tokens);
}

void meter_show(struct meter *meter, const struct scheduler *s)
{
    _Atomic uint64_t *words = meter->page->words;
    const struct block_pool *blocks = &s->blocks;
    stat_set(words, STAT_NUM_REQUESTS_RUNNING, (uint64_t)s->num_running);
    stat_set(words, STAT_NUM_REQUESTS_WAITING, (uint64_t)(s->num_waiting + s->num_preempted));
    stat_set(words, STAT_QUEUED_TOKENS, (uint64_t)s->num_queued_tokens);
    stat_set(words, STAT_RETRY_AFTER_MS, meter_retry_after_ms(meter, s->num_waiting));
    stat_set(words, STAT_POSITION_NS, (uint64_t)(meter->each_us * 1000));
    stat_set(words, STAT_KV_BLOCKS_TOTAL, (uint64_t)blocks->num_blocks);
    stat_set(words, STAT_KV_BLOCKS_USED, (uint64_t)(blocks->num_blocks - blocks->num_free));
    status_beat(meter->page);
}

/* The older half of what was counted is forgotten when there is enough of it. */
void meter_note_ends(struct meter *meter, int32_t num_requests, int64_t now)
{
    (void)now;
    meter->num_ends += num_requests;
    if (meter->busy_us < WINDOW_US || meter->num_ends < WINDOW_ENDS)
        return;
    meter->busy_us /= 2;
    meter->num_ends /= 2;
}

uint32_t meter_retry_after_ms(const struct meter *meter, int32_t num_waiting)
{
    const double us = meter->busy_us / (meter->num_ends > 1 ? meter->num_ends : 1);
    const double ms = us * num_waiting / 1000;
    if (num_waiting == 0 || meter->busy_us <= 0)
        return 0;
    return ms < 1 ? 1 : ms < MAX_RETRY_MS ? (uint32_t)ms : MAX_RETRY_MS;
}
