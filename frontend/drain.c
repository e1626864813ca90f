#include "frontend/drain.h"

#include "base/clock.h"
#include "base/log.h"
#include "frontend/generation.h"
#include "frontend/state.h"

enum { STOP_US = 500000 };

void drain_begin(struct frontend *frontend)
{
    if (frontend->drain_us != 0)
        return;
    frontend->drain_us = clock_now_us() + (int64_t)(frontend->settings.shutdown_grace * 1e6);
    atomic_store(&frontend->own->state, STATUS_DRAINING);
    log_event(LOG_LEVEL_INFO, "draining requests=%u", server_num_requests(frontend->server));
}

static void stop_taking(struct frontend *frontend)
{
    if (frontend->draining)
        return;
    frontend->draining = true;
    server_request_shutdown(frontend->server);
}

void drain_stop(struct frontend *frontend)
{
    if (frontend->stop_us != 0)
        return;
    frontend->stop_us = clock_now_us() + STOP_US;
    stop_taking(frontend);
    server_stop_accepting(frontend->server);
    generation_cut_all(frontend);
}

static void tell_drained(struct frontend *frontend)
{
    if (frontend->drained_told)
        return;
    frontend->drained_told = true;
    supervised_tell(&frontend->child, CONTROL_DRAINED);
}

bool drain_continue(struct frontend *frontend)
{
    const int64_t now = clock_now_us();
    const bool empty = server_num_requests(frontend->server) == 0;
    if (frontend->drain_us != 0 && now >= frontend->drain_us)
        stop_taking(frontend);
    if (frontend->draining) {
        server_close_idle(frontend->server);
        if (empty)
            tell_drained(frontend);
    }
    return frontend->stop_us == 0 ||
           (now < frontend->stop_us && server_num_connections(frontend->server) > 0);
}
