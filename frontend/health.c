#include "frontend/health.h"

#include <string.h>

#include "base/clock.h"
#include "frontend/handlers.h"
#include "frontend/reply.h"
#include "frontend/state.h"

enum {
    SUPERVISOR_LATE_US = 2000000,
    STALL_US = 5000000, /* a step, or STALL_FACTOR times what was expected of it */
    STALL_FACTOR = 10,
};

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static bool is_stalled(const struct status_page *page, int64_t now_us)
{
    const int64_t started = (int64_t)load(&page->step_started_us);
    int64_t limit = (int64_t)load(&page->step_expected_us) * STALL_FACTOR;
    if (limit < STALL_US)
        limit = STALL_US;
    return started != 0 && now_us - started > limit;
}

/* The page of an engine that has died says READY for ever; the supervisor knows better. */
static bool engine_is_down(const struct status_page *supervisor)
{
    const uint64_t state = load(&supervisor->state);
    return state == STATUS_DOWN || state == STATUS_LOADING;
}

/* An engine that is up and moves; *ret_stalled when there is one that is up and does not. */
static bool any_engine_moves(const struct frontend *frontend, int64_t now_us, bool *ret_stalled)
{
    *ret_stalled = false;
    for (int i = 0; i < FRONTEND_MAX_ENGINES; i++) {
        const struct status_page *page = frontend->engines[i].page;
        if (page == NULL || load(&page->state) != STATUS_READY)
            continue;
        if (!is_stalled(page, now_us))
            return true;
        *ret_stalled = true;
    }
    return false;
}

/* Every frontend that serves knows the engine that the supervisor knows: what one answers to a
 * probe holds for the next connection, whoever takes it. */
static bool all_know_the_engine(const struct frontend *frontend)
{
    const uint64_t epoch = load(&frontend->supervisor->epoch);
    if (load(&frontend->own->epoch) < epoch)
        return false;
    for (int i = 0; i < CONTROL_MAX_FRONTENDS; i++) {
        const struct status_page *peer = frontend->peers[i].base;
        if (peer != NULL && load(&peer->state) == STATUS_READY && load(&peer->epoch) < epoch)
            return false;
    }
    return true;
}

struct health health_look(const struct frontend *frontend)
{
    const struct status_page *supervisor = frontend->supervisor;
    const struct status_page *worker = frontend->worker_page.base;
    const int64_t now = clock_now_us();
    struct health health = {
        .live = now - (int64_t)load(&supervisor->heartbeat_us) < SUPERVISOR_LATE_US,
        .load_done_bytes = worker != NULL ? load(&worker->load_done_bytes) : 0,
        .load_total_bytes = worker != NULL ? load(&worker->load_total_bytes) : 0,
    };
    bool stalled;
    const bool moves = any_engine_moves(frontend, now, &stalled);

    if (frontend->draining || load(&supervisor->state) == STATUS_DRAINING) {
        health.state = "draining";
        health.reason = "The server is shutting down";
    } else if (load(&supervisor->state) == STATUS_FAILED) {
        health.state = "failed";
        health.reason = "The engine has failed";
    } else if (stalled && !moves) {
        health.state = "stalled";
        health.reason = "The engine makes no progress";
    } else if (!moves || engine_is_down(supervisor) || !all_know_the_engine(frontend)) {
        health.state = "loading";
        health.reason = "Loading model";
    } else if (session_queue_is_full(frontend->session)) {
        health.state = "overloaded";
        health.reason = "The queue is full";
    } else {
        health.state = "ready";
        health.reason = "";
        health.ready = true;
    }
    return health;
}

static const char *code_of(const struct health *health)
{
    static const char *const rows[][2] = { { "draining", "draining" },
                                           { "failed", "no_worker" },
                                           { "stalled", "no_worker" },
                                           { "overloaded", "queue_full" } };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strcmp(health->state, rows[i][0]) == 0)
            return rows[i][1];
    return "model_loading";
}

static void write_text(struct strbuf *out, const char *text)
{
    strbuf_append_json_string(out, text, strlen(text));
}

void health_handle(struct frontend *frontend, struct http_request *request)
{
    const struct health health = health_look(frontend);
    struct strbuf body = { 0 };

    strbuf_append_text(&body, "{\"status\":");
    write_text(&body, health.ready ? "ok" : health.state);
    strbuf_printf(&body, ",\"model_loaded\":%s,\"model\":", health.ready ? "true" : "false");
    write_text(&body, frontend->card->names[0]);
    strbuf_append_text(&body, ",\"state\":");
    write_text(&body, health.state);
    if (!health.ready) {
        strbuf_printf(&body, ",\"loaded_bytes\":%llu,\"total_bytes\":%llu",
                      (unsigned long long)health.load_done_bytes,
                      (unsigned long long)health.load_total_bytes);
        strbuf_printf(&body,
                      ",\"error\":{\"message\":\"%s\",\"type\":\"service_unavailable_error\","
                      "\"param\":null,\"code\":\"%s\"}",
                      health.reason, code_of(&health));
        http_add_header(request, "retry-after", "1");
    }
    strbuf_append_text(&body, "}\n");
    reply_json(request, health.ready ? 200 : 503, &body);
}

static void answer_probe(struct http_request *request, bool good, const char *state)
{
    struct strbuf body = { 0 };
    strbuf_printf(&body, "{\"status\":\"%s\",\"state\":\"%s\"}\n", good ? "ok" : "unavailable",
                  state);
    reply_json(request, good ? 200 : 503, &body);
}

void health_handle_live(struct frontend *frontend, struct http_request *request)
{
    const struct health health = health_look(frontend);
    answer_probe(request, health.live, health.state);
}

/* Once true, always true: a restart of the engine is no new start. */
void health_handle_startup(struct frontend *frontend, struct http_request *request)
{
    answer_probe(request, frontend->was_ready, health_look(frontend).state);
}
