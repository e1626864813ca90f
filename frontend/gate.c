#include "frontend/gate.h"

#include <string.h>

#include "base/clock.h"
#include "frontend/account.h"
#include "frontend/state.h"

enum { MOST_MS = 50000 };

/* --- when to come again ------------------------------------------------------------------- */

/* The rest of the model at the speed of what is loaded already. */
static uint32_t loading_ms(const struct frontend *frontend)
{
    const struct status_page *worker = frontend->worker_page.base;
    if (worker == NULL)
        return 0;
    const double done = (double)atomic_load(&worker->load_done_bytes);
    const double total = (double)atomic_load(&worker->load_total_bytes);
    const double ms = (double)(clock_now_us() - frontend->worker_since_us) / 1000;
    if (done <= 0 || total <= done)
        return 0;
    const double left = ms * (total - done) / done;
    return left < MOST_MS ? (uint32_t)left : MOST_MS;
}

uint32_t gate_retry_after_ms(const struct frontend *frontend)
{
    return session_has_engine(frontend->session) ? session_retry_after_ms(frontend->session)
                                                 : loading_ms(frontend);
}

/* --- before the body is read -------------------------------------------------------------- */

static bool has_engine(const struct frontend *frontend)
{
    struct session_limits limits;
    return session_has_engine(frontend->session) &&
           session_get_limits(frontend->session, &limits) && limits.max_model_len >= 1;
}

/* Names share the queue: none may fill more than a quarter of it. */
static uint64_t share_of_queue(const struct frontend *frontend, const struct http_caller *caller)
{
    struct session_limits limits;
    if (caller->tenant == 0 || !session_get_limits(frontend->session, &limits) ||
        limits.max_queued == 0)
        return 0;
    return limits.max_queued < 4 ? 1 : (uint64_t)limits.max_queued / 4;
}

static bool key_may(const struct frontend *frontend, const struct http_caller *caller,
                    struct wire_error *error)
{
    static const struct {
        enum wire_code code;
        const char *message;
    } rows[] = {
        [ACCOUNT_TOO_MANY] = { WIRE_KEY_CONCURRENCY_EXCEEDED,
                               "As many requests with this API key are open as it may have." },
        [ACCOUNT_TOO_MANY_WAIT] = { WIRE_QUEUE_FULL,
                                    "Requests with this API key fill their share of the queue." },
        [ACCOUNT_TOO_FAST] = { WIRE_KEY_RATE_EXCEEDED,
                               "This API key has used up its requests per minute." },
        [ACCOUNT_TOO_MUCH] = { WIRE_KEY_RATE_EXCEEDED,
                               "This API key has used up its tokens per minute." },
    };
    uint32_t wait_ms;
    if (caller->account == NULL)
        return true;
    const enum account_verdict verdict =
        account_check(frontend->accounts, caller->account, share_of_queue(frontend, caller),
                      clock_now_us(), &wait_ms);
    if (verdict == ACCOUNT_OPEN)
        return true;
    wire_error_set(error, rows[verdict].code, "", "%s", rows[verdict].message);
    /* a quarter more: whoever comes a fifth too early would be refused again */
    error->retry_after_ms = wait_ms > 0 ? wait_ms + wait_ms / 4 : gate_retry_after_ms(frontend);
    return false;
}

static bool refuse(const struct frontend *frontend, enum wire_code code, const char *message,
                   struct wire_error *error)
{
    wire_error_set(error, code, "", "%s", message);
    error->retry_after_ms = code == WIRE_DRAINING ? 0 : gate_retry_after_ms(frontend);
    return false;
}

bool gate_admits(const struct frontend *frontend, const struct http_caller *caller,
                 struct wire_error *error)
{
    if (frontend->draining)
        return refuse(frontend, WIRE_DRAINING, "The server is shutting down.", error);
    if (!has_engine(frontend))
        return frontend->was_ready
                   ? refuse(frontend, WIRE_NO_WORKER, "No engine is ready; try again later.", error)
                   : refuse(frontend, WIRE_MODEL_LOADING,
                            "The model is being loaded; try again later.", error);
    if (!key_may(frontend, caller, error))
        return false;
    if (session_queue_is_full(frontend->session))
        return refuse(frontend, WIRE_QUEUE_FULL, "The server's queue is full; try again later.",
                      error);
    return true;
}

/* --- when the prompt is known ------------------------------------------------------------- */

static uint64_t sum_of_engines(const struct frontend *frontend, enum stat_id stat)
{
    uint64_t sum = 0;
    for (int i = 0; i < FRONTEND_MAX_ENGINES; i++)
        if (frontend->engines[i].page != NULL)
            sum += status_get(frontend->engines[i].page, stat_word(stat));
    return sum;
}

/* Does everybody who waits go before this one? By priority and among names others may not. */
static bool is_behind_all(const struct frontend *frontend, const struct http_caller *caller)
{
    const char *policy = frontend->settings.scheduling_policy;
    return strcmp(policy, "fcfs") == 0 || (strcmp(policy, "priority") != 0 && caller->tenant == 0);
}

/* Prompts that are found in the cache cost nothing: as large a part as was found so far. */
static double prompt_us(const struct frontend *frontend, uint64_t num_tokens)
{
    const double looked_up = (double)sum_of_engines(frontend, STAT_PREFIX_QUERY_TOKENS);
    const double found = (double)sum_of_engines(frontend, STAT_PREFIX_HIT_TOKENS);
    const double missed = looked_up > 0 ? 1 - found / looked_up : 1;
    const double ns = (double)sum_of_engines(frontend, STAT_POSITION_NS);
    return (double)num_tokens * ns / 1000 * missed;
}

bool gate_can_meet(const struct frontend *frontend, const struct http_caller *caller,
                   int64_t left_us, uint64_t num_tokens, struct wire_error *error)
{
    const uint32_t queue_ms = session_retry_after_ms(frontend->session);
    double needed_us = prompt_us(frontend, num_tokens);
    if (is_behind_all(frontend, caller))
        needed_us += 1000.0 * queue_ms;
    if (left_us > 0 && needed_us <= (double)left_us)
        return true;
    if (left_us <= 0)
        wire_error_set(error, WIRE_DEADLINE_EXCEEDED, "",
                       "The request did not finish within its timeout.");
    else
        wire_error_set(error, WIRE_DEADLINE_UNREACHABLE, "",
                       "The first token would take about %.1f s, and the request leaves %.1f s.",
                       needed_us / 1e6, (double)left_us / 1e6);
    error->retry_after_ms = queue_ms;
    return false;
}
