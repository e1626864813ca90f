/* /metrics in Prometheus' text form: the rows of stats.h, then what is derived from them. One
 * series per gauge with engine="0", summed over all processes. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "frontend/handlers.h"
#include "frontend/health.h"
#include "frontend/reply.h"
#include "frontend/snapshot.h"
#include "frontend/state.h"

struct page {
    struct strbuf out;
    struct strbuf model; /* model_name="...",engine="0" */
    const struct snapshot *snapshot;
};

static void append_label_value(struct strbuf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\' || *text == '"')
            strbuf_append_char(out, '\\');
        if (*text == '\n')
            strbuf_append_text(out, "\\n");
        else
            strbuf_append_char(out, *text);
    }
}

static void write_head(struct page *page, const char *name, const char *type, const char *help)
{
    strbuf_printf(&page->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* {a,b,c} of those that are not empty. */
static void write_labels(struct page *page, bool model, const char *labels, const char *more)
{
    const char *parts[] = { model ? page->model.data : NULL, labels, more };
    bool open = false;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i] == NULL || parts[i][0] == '\0')
            continue;
        strbuf_append_char(&page->out, open ? ',' : '{');
        strbuf_append_text(&page->out, parts[i]);
        open = true;
    }
    if (open)
        strbuf_append_char(&page->out, '}');
}

static void write_series(struct page *page, const char *name, const char *suffix,
                         const struct stat_row *row, const char *more)
{
    strbuf_printf(&page->out, "%s%s", name, suffix);
    write_labels(page, row->per_model, row->labels, more);
}

static void write_histogram(struct page *page, const char *name, enum stat_id stat)
{
    const struct stat_row *row = &stat_rows[stat];
    const double unit = row->type == STAT_HISTOGRAM_SECONDS ? 1e-6 : 1;
    uint64_t below = 0;
    char le[40];
    for (int32_t i = 0; i <= row->num_buckets; i++) {
        below += snapshot_bucket(page->snapshot, stat, i);
        if (i < row->num_buckets)
            snprintf(le, sizeof(le), "le=\"%.10g\"", row->buckets[i]);
        else
            snprintf(le, sizeof(le), "le=\"+Inf\"");
        write_series(page, name, "_bucket", row, le);
        strbuf_printf(&page->out, " %llu\n", (unsigned long long)below);
    }
    write_series(page, name, "_sum", row, NULL);
    strbuf_printf(&page->out, " %.10g\n", (double)snapshot_sum(page->snapshot, stat) * unit);
    write_series(page, name, "_count", row, NULL);
    strbuf_printf(&page->out, " %llu\n", (unsigned long long)below); /* equals the +Inf bucket */
}

static void write_row(struct page *page, const char *name, enum stat_id stat, bool head)
{
    static const char *const types[] = {
        [STAT_COUNTER] = "counter",
        [STAT_GAUGE] = "gauge",
        [STAT_HISTOGRAM_SECONDS] = "histogram",
        [STAT_HISTOGRAM_COUNT] = "histogram",
    };
    const struct stat_row *row = &stat_rows[stat];
    if (head)
        write_head(page, name, types[row->type], row->help);
    if (row->buckets != NULL) {
        write_histogram(page, name, stat);
        return;
    }
    write_series(page, name, "", row, NULL);
    strbuf_printf(&page->out, " %llu\n", (unsigned long long)snapshot_value(page->snapshot, stat));
}

static void write_rows(struct page *page)
{
    for (int stat = 0; stat < STAT_NUM; stat++)
        write_row(page, stat_rows[stat].name, (enum stat_id)stat,
                  stat == 0 || strcmp(stat_rows[stat].name, stat_rows[stat - 1].name) != 0);
}

/* --- derived ------------------------------------------------------------------------------ */

static void write_gauge(struct page *page, const char *name, const char *help, bool model,
                        const char *labels, double value)
{
    write_head(page, name, "gauge", help);
    strbuf_append_text(&page->out, name);
    write_labels(page, model, labels, NULL);
    strbuf_printf(&page->out, " %.10g\n", value);
}

static void write_kv(struct page *page, const struct frontend *frontend)
{
    const uint64_t used = snapshot_value(page->snapshot, STAT_KV_BLOCKS_USED);
    const uint64_t total = snapshot_value(page->snapshot, STAT_KV_BLOCKS_TOTAL);
    char labels[256], dtype[32] = "auto";
    int64_t block_size = frontend->settings.block_size;

    (void)status_fact_text(frontend->facts, "kv_dtype", dtype, sizeof(dtype));
    (void)status_fact_int(frontend->facts, "block_size", &block_size);
    write_gauge(page, "vllm:kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1.", true,
                NULL, total > 0 ? (double)used / (double)total : 0);
    snprintf(labels, sizeof(labels),
             "block_size=\"%lld\",num_gpu_blocks=\"%llu\",cache_dtype=\"%s\","
             "enable_prefix_caching=\"%s\",gpu_memory_utilization=\"0.9\"",
             (long long)block_size, (unsigned long long)total, dtype,
             frontend->settings.enable_prefix_caching ? "True" : "False");
    write_gauge(page, "vllm:cache_config_info", "Layout of the KV cache.", true, labels, 1);
}

static void write_state(struct page *page, const struct frontend *frontend)
{
    static const char *const states[] = { "loading",    "ready",   "draining",
                                          "overloaded", "stalled", "failed" };
    const struct health health = health_look(frontend);
    write_head(page, "tokenring_state", "gauge", "1 for the state that the server is in.");
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        strbuf_printf(&page->out, "tokenring_state{state=\"%s\"} %d\n", states[i],
                      strcmp(states[i], health.state) == 0);
}

static void write_workers(struct page *page, const struct frontend *frontend)
{
    const int64_t now = clock_now_us();
    write_head(page, "tokenring_worker_up", "gauge", "1 while the engine takes requests.");
    for (int i = 0; i < FRONTEND_MAX_ENGINES; i++)
        if (frontend->engines[i].epoch != 0)
            strbuf_printf(&page->out, "tokenring_worker_up{worker=\"%d\",device=\"%s\"} %d\n", i,
                          frontend->backend, frontend->engines[i].page != NULL);
    write_head(page, "tokenring_worker_last_step_age_seconds", "gauge",
               "Time since the running step began; 0 while idle.");
    for (int i = 0; i < FRONTEND_MAX_ENGINES; i++) {
        const struct status_page *engine = frontend->engines[i].page;
        if (engine == NULL)
            continue;
        const int64_t began =
            (int64_t)atomic_load_explicit(&engine->step_started_us, memory_order_relaxed);
        strbuf_printf(&page->out, "tokenring_worker_last_step_age_seconds{worker=\"%d\"} %.6f\n", i,
                      began > 0 && now > began ? (double)(now - began) * 1e-6 : 0);
    }
}

static void write_derived(struct page *page, const struct frontend *frontend)
{
    write_kv(page, frontend);
    write_row(page, "vllm:time_per_output_token_seconds", STAT_ITL_SECONDS, true);
    write_gauge(page, "tokenring_build_info", "What was built.", false,
                "version=\"" TOKENRING_VERSION "\"", 1);
    write_state(page, frontend);
    write_workers(page, frontend);
    write_gauge(page, "process_start_time_seconds", "Start, in seconds since the epoch.", false,
                NULL, (double)frontend->created);
}

void metrics_handle(struct frontend *frontend, struct http_request *request)
{
    struct snapshot *snapshot = malloc(sizeof(*snapshot));
    struct page page = { .snapshot = snapshot };
    if (snapshot == NULL) {
        reply_code(request, WIRE_NO_WORKER, "The server is out of memory.");
        return;
    }
    snapshot_take(frontend, snapshot);
    strbuf_append_text(&page.model, "model_name=\"");
    append_label_value(&page.model, frontend->card->names[0]);
    strbuf_append_text(&page.model, "\",engine=\"0\"");
    write_rows(&page);
    write_derived(&page, frontend);
    if (page.out.failed)
        reply_code(request, WIRE_NO_WORKER, "The server is out of memory.");
    else
        http_reply(request, 200, "text/plain; version=0.0.4; charset=utf-8", page.out.data,
                   page.out.len);
    strbuf_finish(&page.out);
    strbuf_finish(&page.model);
    free(snapshot);
}
