#include "frontend/stream.h"

#include "base/clock.h"
#include "frontend/state.h"

void stream_begin(struct http_request *request)
{
    http_add_header(request, "cache-control", "no-cache");
    http_add_header(request, "x-accel-buffering", "no");
    http_stream_begin(request, 200, "text/event-stream; charset=utf-8");
    strbuf_append_text(http_stream_buffer(request), ": ok\n\n");
}

enum { RECOVERING_US = 5 * 1000000 };

struct sweep {
    struct frontend *frontend;
    const char *comment;
    int64_t now_us, interval_us;
};

static void visit(void *data, struct http_request *request)
{
    const struct sweep *sweep = data;
    if (!http_is_streaming(request) || http_stream_blocked_since_us(request) != 0 ||
        sweep->now_us - http_stream_last_write_us(request) < sweep->interval_us)
        return;
    stat_add(sweep->frontend->own->words, STAT_KEEPALIVES, 1);
    strbuf_append_text(http_stream_buffer(request), sweep->comment);
    http_stream_flush(request);
}

void stream_keep_alive(struct frontend *frontend)
{
    struct sweep sweep = {
        .frontend = frontend,
        .comment = ": keep-alive\n\n",
        .now_us = clock_now_us(),
        .interval_us = (int64_t)(frontend->settings.sse_keep_alive_interval * 1e6),
    };
    if (session_num_held(frontend->session) > 0 && sweep.interval_us > 0) {
        sweep.comment = ": wait\n\n"; /* for the engine's successor */
        if (sweep.interval_us > RECOVERING_US)
            sweep.interval_us = RECOVERING_US;
    }
    if (sweep.interval_us > 0)
        server_each_request(frontend->server, visit, &sweep);
}
