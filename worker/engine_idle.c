#include "worker/engine_internal.h"

#include <poll.h>

#include "base/clock.h"
#include "shm/doorbell.h"

enum { SPIN_US = 20, BLOCKED_MS = 1 };

static void wake(struct engine *engine, uint32_t num_links)
{
    for (uint32_t i = 0; i < num_links; i++)
        if (engine->links[i].is_up)
            ring_end_sleep(&engine->links[i].end);
}

/* Returns false when there is something to take after all. */
static bool prepare_sleep(struct engine *engine)
{
    for (uint32_t i = 0; i < CONTROL_MAX_FRONTENDS; i++)
        if (engine->links[i].is_up && !ring_prepare_sleep(&engine->links[i].end)) {
            wake(engine, i);
            return false;
        }
    return true;
}

static bool spin(struct engine *engine)
{
    const int64_t end = clock_now_us() + SPIN_US;
    do {
        if (!prepare_sleep(engine))
            return true;
        wake(engine, CONTROL_MAX_FRONTENDS);
    } while (clock_now_us() < end);
    return false;
}

void engine_idle(struct engine *engine, int64_t max_us)
{
    struct pollfd bell = { .fd = engine->options.doorbell, .events = POLLIN };
    const int64_t now = clock_now_us(), deadline = engine->next_deadline_us;
    const int64_t us = deadline < now ? 0 : deadline - now < max_us ? deadline - now : max_us;
    if (engine->is_blocked) { /* nobody rings when a full ring gets room */
        poll(&bell, 1, BLOCKED_MS);
    } else if (!spin(engine) && prepare_sleep(engine)) {
        poll(&bell, 1, (int)(us / 1000) + (us % 1000 != 0));
        wake(engine, CONTROL_MAX_FRONTENDS);
    }
    doorbell_clear(engine->options.doorbell);
    status_beat(engine->options.page);
}
