#include "supervisor/watch.h"

enum {
    HEARTBEAT_US = 5 * 1000000,
    STEP_FACTOR = 20,
    MAX_EXPECTED_US = 1800 * 1000000, /* what a page says is not believed beyond that */
    PROGRESS_US = 60 * 1000000,
    WARM_UP_US = 600 * 1000000,
    PER_GIB_US = 1000000,
};

static int64_t load(const _Atomic uint64_t *word)
{
    return (int64_t)atomic_load((_Atomic uint64_t *)word);
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* It is expected to be slow: pages are taken, files read, steps measured. */
static bool start_hangs(struct child *child, const struct status_page *page, int64_t now)
{
    const int64_t done = load(&page->load_done_bytes), total = load(&page->load_total_bytes);
    if (done != child->load_done_bytes) {
        child->load_done_bytes = done;
        child->progress_us = now;
    }
    const int64_t limit = total > 0 && done >= total
                              ? WARM_UP_US
                              : PROGRESS_US + (int64_t)((uint64_t)total >> 30) * PER_GIB_US;
    return now - later(child->progress_us, child->started_us) > limit;
}

bool watch_hangs(struct child *child, int64_t stall_us, int64_t now)
{
    const struct status_page *page = child_page(child);
    if (control_role_is_command(child->role))
        return false;
    if (!child->ready)
        return start_hangs(child, page, now);
    const int64_t began = load(&page->step_started_us);
    if (began != 0) {
        const int64_t told = load(&page->step_expected_us);
        const int64_t expected = told < 0 || told > MAX_EXPECTED_US ? MAX_EXPECTED_US : told;
        return now - later(began, child->progress_us) > later(expected * STEP_FACTOR, stall_us);
    }
    return now - later(load(&page->heartbeat_us), child->progress_us) > HEARTBEAT_US;
}

void watch_rearm(struct child *child, int64_t now)
{
    child->progress_us = now;
}
