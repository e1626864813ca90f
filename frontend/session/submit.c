/* May a request come in, and where does it go? */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "frontend/session/session_internal.h"
#include "proto/records/stats.h"

enum { MAX_PROMPTS = 256 };

/* ------------------------------------------------------------------ engines */

bool session_has_engine(const struct session *session)
{
    for (uint32_t i = 0; i < SESSION_MAX_ENGINES; i++)
        if (engine_link_takes_requests(&session->links[i]))
            return true;
    return false;
}

bool session_get_limits(const struct session *session, struct session_limits *ret_limits)
{
    if (session->last_bounds.vocab_size == 0)
        return false;
    *ret_limits = (struct session_limits){
        .max_model_len = session->last_bounds.max_model_len,
        .vocab_size = session->last_bounds.vocab_size,
        .max_num_seqs = (int32_t)session->last_max_num_seqs,
        .max_queued = (int32_t)session->last_max_queued,
    };
    return true;
}

bool session_queue_is_full(const struct session *session)
{
    bool is_full = false;
    for (uint32_t i = 0; i < SESSION_MAX_ENGINES; i++) {
        if (!engine_link_takes_requests(&session->links[i]))
            continue;
        if (!engine_link_is_full(&session->links[i]))
            return false;
        is_full = true;
    }
    return is_full;
}

uint32_t session_retry_after_ms(const struct session *session)
{
    uint64_t least = 0;
    for (uint32_t i = 0; i < SESSION_MAX_ENGINES; i++) {
        const struct engine_link *link = &session->links[i];
        const uint64_t ms = engine_link_takes_requests(link)
                                ? status_get(link->page, stat_word(STAT_RETRY_AFTER_MS))
                                : 0;
        if (ms != 0 && (least == 0 || ms < least))
            least = ms;
    }
    return least < UINT32_MAX ? (uint32_t)least : UINT32_MAX;
}

struct engine_link *session_choose_link(struct session *session)
{
    struct engine_link *best = NULL;
    for (uint32_t i = 0; i < SESSION_MAX_ENGINES; i++) {
        struct engine_link *link = &session->links[i];
        if (engine_link_takes_requests(link) &&
            (best == NULL || link->num_journals < best->num_journals))
            best = link;
    }
    return best;
}

/* ------------------------------------------------------------------ a request */

static int check_submit(const struct session *session, const struct session_submit *submit,
                        struct error *err)
{
    if (submit->num_prompts == 0 || submit->num_prompts > MAX_PROMPTS)
        return error_set_param(err, -EINVAL, "prompt", "%u prompts, must be in [1, %d]",
                               submit->num_prompts, MAX_PROMPTS);
    if (submit->num_prompts > session->table.num_slots - session->table.num_used)
        return error_set(err, -EAGAIN, "%u requests are in flight, as many as there may be",
                         session->table.num_used);
    return 0;
}

static int build_journals(struct session_request *request, const struct session_submit *submit,
                          const struct record_bounds *bounds, struct error *err)
{
    request->journals = calloc(submit->num_prompts, sizeof(*request->journals));
    if (request->journals == NULL)
        return error_set(err, -ENOMEM, "no memory for %u prompts", submit->num_prompts);
    for (uint32_t i = 0; i < submit->num_prompts; i++) {
        const int r = journal_create(submit, i, bounds, &request->journals[i], err);
        if (r < 0)
            return r;
        request->journals[i]->request = request;
        request->num_journals++;
        request->usage.prompt_tokens += submit->prompts[i].num_ids;
    }
    request->num_choices = submit->num_prompts * submit->params->num_choices;
    return 0;
}

static int build_request(struct session *session, const struct session_submit *submit,
                         const struct record_bounds *bounds, struct session_request **ret_request,
                         struct error *err)
{
    struct session_request *request = calloc(1, sizeof(*request));
    if (request == NULL)
        return error_set(err, -ENOMEM, "no memory for a request");
    request->session = session;
    request->callback = submit->callback;
    request->owner = submit->owner;
    request->include_stop = submit->include_stop_in_output;
    request->keep_special = submit->keep_special_tokens;
    request->echo = submit->echo;
    request->request_id = strdup(submit->request_id != NULL ? submit->request_id : "-");
    int r = request->request_id != NULL ? 0 : error_set(err, -ENOMEM, "no memory for a request");
    if (r == 0 && submit->num_stops > 0) {
        r = stop_matcher_create(submit->stops, submit->stop_lens, submit->num_stops,
                                &request->matcher);
        if (r < 0)
            error_set_param(err, r, "stop", "stop: at most %d strings of 1 to %d bytes",
                            STOP_MATCHER_MAX_STRINGS, STOP_MATCHER_MAX_BYTES);
    }
    if (r == 0)
        r = build_journals(request, submit, bounds, err);
    if (r < 0) {
        session_destroy_request(request);
        return r;
    }
    *ret_request = request;
    return 0;
}

static int check_conviction(const struct session *session, const struct session_request *request,
                            struct error *err)
{
    for (uint32_t i = 0; session->convicted.num > 0 && i < request->num_journals; i++)
        if (suspect_is_refused(session, request->journals[i], clock_now_us()))
            return error_set(err, -EPERM, "a request like this one ended the engine three times");
    return 0;
}

static int send_request(struct session *session, struct engine_link *link,
                        struct session_request *request, struct error *err)
{
    for (uint32_t i = 0; i < request->num_journals; i++)
        request->journals[i]->id = journal_table_add(&session->table, request->journals[i]);
    const int r =
        engine_link_submit(link, &session->table, request->journals, request->num_journals, err);
    for (uint32_t i = 0; i < request->num_journals; i++) {
        if (r == 0)
            engine_link_attach(link, request->journals[i]);
        else
            journal_table_remove(&session->table, request->journals[i]->id);
    }
    return r == -EPROTO ? error_set(err, -ENOTCONN, "no engine takes requests") : r;
}

int session_submit(struct session *session, const struct session_submit *submit,
                   struct session_request **ret_request, struct error *err)
{
    struct engine_link *link = session_choose_link(session);
    struct session_request *request = NULL;
    if (link == NULL)
        return error_set(err, -ENOTCONN, "no engine takes requests");
    if (session->held != NULL)
        return error_set(err, -EAGAIN, "%u requests that are older wait for room at the engine",
                         session->num_held);
    int r = check_submit(session, submit, err);
    if (r < 0)
        return r;
    r = build_request(session, submit, &link->bounds, &request, err);
    if (r < 0)
        return r;
    request_stats_begin(request);
    r = check_conviction(session, request, err);
    if (r == 0)
        r = send_request(session, link, request, err);
    if (r < 0) {
        session_destroy_request(request);
        return r;
    }
    session_list_request(request);
    request_stats_submit(request);
    *ret_request = request;
    return 0;
}
