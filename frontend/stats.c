/* /stats: one JSON object from one snapshot of the counters. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "frontend/handlers.h"
#include "frontend/health.h"
#include "frontend/reply.h"
#include "frontend/snapshot.h"
#include "frontend/state.h"

typedef unsigned long long ull; /* what %llu takes */

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void write_text(struct strbuf *out, const char *text)
{
    strbuf_append_json_string(out, text, strlen(text));
}

static void write_requests(struct strbuf *out, const struct snapshot *s)
{
    const uint64_t finished =
        snapshot_value(s, STAT_SUCCESS_STOP) + snapshot_value(s, STAT_SUCCESS_LENGTH);
    const uint64_t rejected =
        snapshot_value(s, STAT_REJECTED_QUEUE_FULL) +
        snapshot_value(s, STAT_REJECTED_QUEUED_TOKENS) +
        snapshot_value(s, STAT_REJECTED_KEY_CONCURRENCY) +
        snapshot_value(s, STAT_REJECTED_KEY_RATE) + snapshot_value(s, STAT_REJECTED_DEADLINE) +
        snapshot_value(s, STAT_REJECTED_LOADING) + snapshot_value(s, STAT_REJECTED_DRAINING) +
        snapshot_value(s, STAT_REJECTED_INVALID) + snapshot_value(s, STAT_REJECTED_AUTH);
    strbuf_printf(out,
                  ",\"requests\":{\"running\":%llu,\"waiting\":%llu,\"queued_tokens\":%llu,"
                  "\"retry_after_ms\":%llu,\"finished\":%llu,\"aborted\":%llu,\"failed\":%llu,"
                  "\"rejected\":%llu}",
                  (ull)snapshot_value(s, STAT_NUM_REQUESTS_RUNNING),
                  (ull)snapshot_value(s, STAT_NUM_REQUESTS_WAITING),
                  (ull)snapshot_value(s, STAT_QUEUED_TOKENS),
                  (ull)snapshot_value(s, STAT_RETRY_AFTER_MS), (ull)finished,
                  (ull)snapshot_value(s, STAT_SUCCESS_ABORT),
                  (ull)snapshot_value(s, STAT_SUCCESS_ERROR), (ull)rejected);
}

/* Rates are over the process's life: a scraper takes differences of the totals itself. */
static void write_tokens(struct strbuf *out, const struct snapshot *s, double uptime)
{
    const uint64_t prompt = snapshot_value(s, STAT_PROMPT_TOKENS);
    const uint64_t generated = snapshot_value(s, STAT_GENERATION_TOKENS);
    strbuf_printf(out,
                  ",\"tokens\":{\"prompt_total\":%llu,\"generated_total\":%llu,"
                  "\"prompt_per_second\":%.3f,\"generated_per_second\":%.3f}",
                  (ull)prompt, (ull)generated, (double)prompt / uptime, (double)generated / uptime);
}

static void write_quantiles(struct strbuf *out, const char *name, const struct snapshot *s,
                            enum stat_id stat)
{
    strbuf_printf(out, "\"%s\":{\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f}", name,
                  1000 * snapshot_quantile(s, stat, 0.5), 1000 * snapshot_quantile(s, stat, 0.9),
                  1000 * snapshot_quantile(s, stat, 0.99));
}

static void write_latency(struct strbuf *out, const struct snapshot *s)
{
    strbuf_append_text(out, ",\"latency\":{");
    write_quantiles(out, "ttft_ms", s, STAT_TTFT_SECONDS);
    strbuf_append_char(out, ',');
    write_quantiles(out, "itl_ms", s, STAT_ITL_SECONDS);
    strbuf_append_char(out, ',');
    write_quantiles(out, "e2e_ms", s, STAT_E2E_SECONDS);
    strbuf_append_char(out, '}');
}

static void write_kv(struct strbuf *out, const struct frontend *frontend, const struct snapshot *s)
{
    const uint64_t used = snapshot_value(s, STAT_KV_BLOCKS_USED);
    const uint64_t total = snapshot_value(s, STAT_KV_BLOCKS_TOTAL);
    const uint64_t queries = snapshot_value(s, STAT_PREFIX_QUERY_TOKENS);
    const uint64_t hits = snapshot_value(s, STAT_PREFIX_HIT_TOKENS);
    strbuf_printf(out,
                  ",\"kv\":{\"block_size\":%lld,\"blocks_total\":%llu,\"blocks_used\":%llu,"
                  "\"usage\":%.6f,\"prefix_hit_rate\":%.6f}",
                  (long long)frontend->settings.block_size, (ull)total, (ull)used,
                  total > 0 ? (double)used / (double)total : 0,
                  queries > 0 ? (double)hits / (double)queries : 0);
}

static void write_front(struct strbuf *out, const struct status_page *page, bool *first)
{
    if (page == NULL)
        return;
    strbuf_printf(out, "%s{\"pid\":%llu,\"connections\":%llu,\"inflight\":%llu}", *first ? "" : ",",
                  (ull)load(&page->pid), (ull)status_get(page, stat_word(STAT_CONNECTIONS)),
                  (ull)status_get(page, stat_word(STAT_INFLIGHT)));
    *first = false;
}

static void write_fronts(struct strbuf *out, const struct frontend *frontend)
{
    bool first = true;
    strbuf_append_text(out, ",\"fronts\":[");
    write_front(out, frontend->own, &first);
    for (int i = 0; i < CONTROL_MAX_FRONTENDS; i++)
        write_front(out, frontend->peers[i].base, &first);
    strbuf_append_char(out, ']');
}

/* What the named keys have open and have used, at all frontends that run. */
static void write_keys(struct strbuf *out, const struct frontend *frontend)
{
    const char *name;
    strbuf_append_text(out, ",\"keys\":[");
    for (int32_t i = 1; (name = auth_name(frontend->auth, i)) != NULL; i++) {
        const struct account_use use = account_use(frontend->accounts, auth_identity_of(name));
        strbuf_append_text(out, i > 1 ? ",{\"name\":" : "{\"name\":");
        write_text(out, name);
        strbuf_printf(out, ",\"open\":%llu,\"waiting\":%llu,\"requests\":%llu,\"tokens\":%llu}",
                      (ull)use.open, (ull)use.waiting, (ull)use.requests, (ull)use.tokens);
    }
    strbuf_append_char(out, ']');
}

static long long host_memory_bytes(void)
{
    return (long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

static void write_worker(struct strbuf *out, const struct frontend *frontend, int i, int64_t now)
{
    const struct status_page *page = frontend->engines[i].page;
    const uint64_t state = load(&page->state);
    const int64_t began = (int64_t)load(&page->step_started_us);
    int64_t weights = 0, kv = 0;
    (void)status_fact_int(frontend->facts, "weight_bytes", &weights);
    (void)status_fact_int(frontend->facts, "kv_bytes", &kv);
    strbuf_printf(out, "{\"id\":%d,\"pid\":%llu,\"device\":", i, (ull)load(&page->pid));
    write_text(out, frontend->backend);
    strbuf_append_text(out, ",\"role\":\"leader\",\"state\":");
    write_text(out,
               state <= STATUS_FAILED ? status_state_name((enum status_state)state) : "unknown");
    strbuf_printf(out,
                  ",\"step\":%llu,\"last_step_age_ms\":%.3f,\"mem_used\":%lld,\"mem_total\":%lld,"
                  "\"restarts\":%llu}",
                  (ull)load(&page->step),
                  began > 0 && now > began ? (double)(now - began) / 1000 : 0,
                  (long long)(weights + kv), host_memory_bytes(),
                  (ull)status_get(frontend->supervisor, stat_word(STAT_WORKER_RESTARTS)));
}

static void write_workers(struct strbuf *out, const struct frontend *frontend, int64_t now)
{
    bool first = true;
    strbuf_append_text(out, ",\"workers\":[");
    for (int i = 0; i < FRONTEND_MAX_ENGINES; i++) {
        if (frontend->engines[i].page == NULL)
            continue;
        if (!first)
            strbuf_append_char(out, ',');
        write_worker(out, frontend, i, now);
        first = false;
    }
    strbuf_append_char(out, ']');
}

static void write_stats(struct strbuf *out, const struct frontend *frontend,
                        const struct snapshot *snapshot)
{
    const int64_t now = clock_now_us();
    const double uptime = (double)(now - frontend->started_us) * 1e-6 + 1e-3;
    strbuf_printf(
        out, "{\"version\":\"" TOKENRING_VERSION "\",\"uptime_seconds\":%.3f,\"model\":", uptime);
    write_text(out, frontend->card->names[0]);
    strbuf_append_text(out, ",\"backend\":");
    write_text(out, frontend->backend);
    strbuf_append_text(out, ",\"state\":");
    write_text(out, health_look(frontend).state);
    write_requests(out, snapshot);
    write_tokens(out, snapshot, uptime);
    write_latency(out, snapshot);
    write_kv(out, frontend, snapshot);
    write_keys(out, frontend);
    write_fronts(out, frontend);
    write_workers(out, frontend, now);
    strbuf_append_text(out, "}\n");
}

void stats_handle(struct frontend *frontend, struct http_request *request)
{
    struct snapshot *snapshot = malloc(sizeof(*snapshot));
    struct strbuf body = { 0 };
    if (snapshot == NULL) {
        reply_code(request, WIRE_NO_WORKER, "The server is out of memory.");
        return;
    }
    snapshot_take(frontend, snapshot);
    write_stats(&body, frontend, snapshot);
    free(snapshot);
    reply_json(request, 200, &body);
}
