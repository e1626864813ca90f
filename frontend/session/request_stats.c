#include <stdio.h>

#include "base/clock.h"
#include "frontend/session/session_internal.h"
#include "proto/records/stats.h"

static int64_t now_us(void)
{
    const int64_t now = clock_now_us();
    return now > 0 ? now : 1; /* 0 means "not yet" */
}

static void count(const struct session *session, enum stat_id stat, uint64_t n)
{
    if (session->words != NULL)
        stat_add(session->words, stat, n);
}

static void observe(const struct session *session, enum stat_id stat, uint64_t value)
{
    if (session->words != NULL)
        stat_observe(session->words, stat, value);
}

static void observe_us(const struct session *session, enum stat_id stat, int64_t from, int64_t to)
{
    if (session->words != NULL && from != 0 && to >= from)
        stat_observe_us(session->words, stat, to - from);
}

/* --- events of a request's life --- */

void request_stats_begin(struct session_request *request)
{
    request->submitted_us = now_us(); /* before the doorbell: the engine may run at once, here */
}

void request_stats_submit(struct session_request *request)
{
    count(request->session, STAT_SUBMITS, request->num_journals);
}

void request_stats_start(struct session_request *request)
{
    if (request->started_us != 0)
        return;
    request->started_us = now_us();
    observe_us(request->session, STAT_QUEUE_SECONDS, request->submitted_us, request->started_us);
}

void request_stats_tokens(struct session_request *request, struct journal_choice *choice,
                          uint32_t num_tokens)
{
    const struct session *session = request->session;
    const int64_t now = now_us();
    count(session, STAT_GENERATION_TOKENS, num_tokens);
    if (request->first_token_us == 0) {
        request->first_token_us = now;
        observe_us(session, STAT_TTFT_SECONDS, request->submitted_us, now);
        observe_us(session, STAT_PREFILL_SECONDS, request->started_us, now);
    }
    observe_us(session, STAT_ITL_SECONDS, choice->last_token_us, now);
    choice->last_token_us = request->last_token_us = now;
}

/* --- the end --- */

/* What is known of every request that ended, however it did. */
static void observe_sizes(const struct session_request *request)
{
    const struct session *session = request->session;
    const struct record_params *params = request->journals[0]->submit.params;
    count(session, STAT_PROMPT_TOKENS, request->usage.prompt_tokens);
    observe(session, STAT_REQUEST_PROMPT_TOKENS, request->usage.prompt_tokens);
    observe(session, STAT_REQUEST_GENERATION_TOKENS, request->usage.completion_tokens);
    observe(session, STAT_REQUEST_MAX_TOKENS,
            request->journals[0]->wants_output ? params->max_tokens : 0);
    observe(session, STAT_REQUEST_N, params->num_choices);
}

static void observe_times(const struct session_request *request, int64_t now)
{
    const struct session *session = request->session;
    const uint64_t num_tokens = request->usage.completion_tokens;
    observe_us(session, STAT_E2E_SECONDS, request->submitted_us, now);
    observe_us(session, STAT_INFERENCE_SECONDS, request->started_us, now);
    observe_us(session, STAT_DECODE_SECONDS, request->first_token_us, request->last_token_us);
    if (session->words != NULL && num_tokens > request->num_choices)
        stat_observe_us(session->words, STAT_REQUEST_TPOT_SECONDS,
                        (request->last_token_us - request->first_token_us) *
                            (int64_t)request->num_choices /
                            (int64_t)(num_tokens - request->num_choices));
}

static double tokens_per_second(const struct session_request *request, int64_t now)
{
    const int64_t us = now - request->submitted_us;
    return us > 0 ? (double)request->usage.completion_tokens * 1e6 / (double)us : 0.0;
}

static void write_line(const struct session_request *request, const char *reason, int64_t now)
{
    const struct session *session = request->session;
    char line[512], ttft[32] = "-";
    if (session->log == NULL)
        return;
    if (request->first_token_us != 0)
        snprintf(ttft, sizeof(ttft), "%.1f",
                 (double)(request->first_token_us - request->submitted_us) / 1e3);
    snprintf(line, sizeof(line),
             "request id=%.200s prompt=%llu cached=%llu output=%llu ttft_ms=%s total_ms=%.1f "
             "tokens_per_s=%.1f reason=%s",
             request->request_id, (unsigned long long)request->usage.prompt_tokens,
             (unsigned long long)request->usage.cached_tokens,
             (unsigned long long)request->usage.completion_tokens, ttft,
             (double)(now - request->submitted_us) / 1e3, tokens_per_second(request, now), reason);
    session->log(line);
}

void request_stats_end(struct session_request *request)
{
    const int64_t now = now_us();
    count(request->session, request->hit_length ? STAT_SUCCESS_LENGTH : STAT_SUCCESS_STOP, 1);
    observe_sizes(request);
    observe_times(request, now);
    write_line(request, request->hit_length ? "length" : "stop", now);
}

void request_stats_fail(struct session_request *request, enum record_failure failure)
{
    if (request->has_said_accepted) { /* else it is a refusal, counted by who answers it */
        count(request->session, STAT_SUCCESS_ERROR, 1);
        observe_sizes(request);
    }
    write_line(request, record_failure_name(failure), now_us());
}

void request_stats_cancel(struct session_request *request)
{
    count(request->session, STAT_SUCCESS_ABORT, 1);
    observe_sizes(request);
    write_line(request, "abort", now_us());
}
