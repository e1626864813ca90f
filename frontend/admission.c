#include "frontend/admission.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "frontend/dispatch.h"
#include "frontend/gate.h"
#include "frontend/generation.h"
#include "frontend/hints.h"
#include "frontend/prepare.h"
#include "frontend/reply.h"
#include "frontend/state.h"

enum { SIDE_BODY_BYTES = 64 * 1024 };

/* What the side thread works on: copies only. */
struct job {
    struct side_job side;          /* first */
    struct generation *generation; /* NULL: the client left meanwhile */
    struct prepare_options options;
    struct tokenizer_scratch *scratch;
    enum wire_endpoint endpoint;
    char *body;
    size_t len;
    int result;
    struct prepared prepared;
};

/* --- submission --------------------------------------------------------------------------- */

/* clock_now_us() to end by; 0: no limit. */
static int64_t deadline_of(const struct generation *g, const struct wire_request *request,
                           const struct hints *hints)
{
    const double most = g->frontend->settings.request_timeout;
    double seconds = hints->timeout > 0 ? hints->timeout : request->timeout;
    if (most > 0 && !(seconds > 0 && seconds < most))
        seconds = most;
    return seconds > 0 ? http_began_us(g->http) + (int64_t)(seconds * 1e6) : 0;
}

/* Deadlines of the answer and of its first token: a refusal while it can be early. */
static int check_deadlines(const struct generation *g, struct prepared *prepared,
                           const struct hints *hints)
{
    const int64_t deadline = deadline_of(g, &prepared->request, hints);
    const int64_t first = http_began_us(g->http) + (int64_t)(hints->first_token * 1e6);
    int64_t left = deadline != 0 ? deadline - clock_now_us() : INT64_MAX;
    prepared->request.params.deadline_low = (uint32_t)deadline;
    prepared->request.params.deadline_high = (uint32_t)((uint64_t)deadline >> 32);
    if (hints->first_token > 0 && first - clock_now_us() < left)
        left = first - clock_now_us();
    if (left == INT64_MAX)
        return 0;
    return gate_can_meet(g->frontend, http_caller(g->http), left, prepared->ids.num,
                         &prepared->error)
               ? 0
               : -EINVAL;
}

/* Prompts of different tenants or salts have different keys; 0 is that of nobody in particular. */
static int set_cache_key(const struct generation *g, struct wire_request *request)
{
    struct strbuf text = { 0 };
    unsigned char digest[EVP_MAX_MD_SIZE];
    uint32_t key[2];
    const struct http_caller *caller = http_caller(g->http);
    const uint64_t tenant = caller->tenant > 0 ? caller->identity : 0;
    if (tenant == 0 && request->cache_salt.data == NULL)
        return 0;
    strbuf_printf(&text, "%016llx/", (unsigned long long)tenant); /* a salt has no slash */
    if (request->cache_salt.data != NULL)
        strbuf_append(&text, request->cache_salt.data, request->cache_salt.len);
    const bool ok =
        !text.failed && EVP_Digest(text.data, text.len, digest, NULL, EVP_sha256(), NULL) == 1;
    strbuf_finish(&text);
    if (!ok)
        return -ENOMEM;
    memcpy(key, digest, sizeof(key));
    request->params.cache_low = key[0];
    request->params.cache_high = key[1];
    return 0;
}

static void set_request_id(const struct generation *g, const struct wire_request *request)
{
    char id[HTTP_REQUEST_ID_BYTES + 1];
    if (request->request_id.data == NULL ||
        dispatch_is_usable_id(http_header(g->http, "x-request-id")))
        return;
    snprintf(id, sizeof(id), "%.*s", (int)request->request_id.len, request->request_id.data);
    http_set_request_id(g->http, id);
}

static void draw_seed(struct wire_request *request)
{
    uint32_t seed[2];
    if (request->seed_given || getrandom(seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
        return;
    request->params.seed_low = seed[0];
    request->params.seed_high = seed[1] & 0x7FFFFFFF; /* as one that a client could give */
}

/* What the body does not say: seed, key, headers. -EINVAL: prepared->error says why. */
static int complete_params(const struct generation *g, struct prepared *prepared)
{
    struct wire_request *request = &prepared->request;
    struct hints hints;
    int r = hints_read(g->http, &hints, &prepared->error);
    if (r == 0)
        r = check_deadlines(g, prepared, &hints);
    if (r < 0)
        return r;
    if (hints.has_priority && g->frontend->obeys_priority)
        request->params.priority = hints.priority;
    draw_seed(request);
    request->params.tenant = (uint32_t)http_caller(g->http)->tenant;
    set_request_id(g, request);
    return set_cache_key(g, request);
}

static const char *token_bytes(const void *owner, int32_t id, size_t *ret_len)
{
    return tokenizer_bytes(owner, id, ret_len);
}

static int create_answer(struct generation *g, const struct prepared *prepared)
{
    const struct wire_request *request = &prepared->request;
    char id[64];
    dispatch_make_id(g->frontend, g->endpoint == WIRE_CHAT ? "chatcmpl-" : "cmpl-", id, sizeof(id));
    const int32_t num_top = request->params.num_logprobs;
    struct wire_prompt prompts[WIRE_MAX_PROMPTS];
    for (uint32_t i = 0; i < prepared->num_prompts; i++)
        prompts[i] = (struct wire_prompt){ .ids = prepared->prompts[i].ids,
                                           .num_ids = prepared->prompts[i].num_ids };
    const struct wire_answer_options options = {
        .endpoint = g->endpoint,
        .stream = request->stream,
        .include_usage = request->include_usage,
        .continuous_usage = request->continuous_usage,
        .logprobs = request->logprobs,
        .num_top = num_top > 0 ? (uint32_t)num_top : 0,
        .num_choices = prepared->num_prompts * request->params.num_choices,
        .echo = request->echo,
        .prompt_logprobs = request->prompt_logprobs >= 0,
        .num_prompt_top = request->prompt_logprobs > 0 ? (uint32_t)request->prompt_logprobs : 0,
        .prompts = prompts,
        .num_prompts = prepared->num_prompts,
        .return_token_ids = request->return_token_ids,
        .id = id,
        .model = prepared->model,
        .system_fingerprint = g->frontend->fingerprint,
        .created = clock_wall_us() / 1000000,
        .token_bytes = token_bytes,
        .token_owner = g->frontend->card->tokenizer,
        .return_token_ids_as_text = request->return_token_ids_as_text,
        .service_tier = request->service_tier_given,
        .request_id = http_request_id(g->http),
    };
    return wire_answer_create(&options, &g->answer);
}

static int submit_to_session(struct generation *g, const struct prepared *prepared,
                             struct error *why)
{
    const struct wire_request *request = &prepared->request;
    const struct session_submit submit = {
        .prompts = prepared->prompts,
        .num_prompts = prepared->num_prompts,
        .params = &request->params,
        .biases = request->biases,
        .num_biases = request->num_biases,
        .eos_ids = g->frontend->card->eos_ids,
        .num_eos_ids = g->frontend->card->num_eos_ids,
        .stop_ids = request->stop_ids,
        .num_stop_ids = request->num_stop_ids,
        .allowed_ids = request->allowed_ids,
        .num_allowed_ids = request->num_allowed_ids,
        .bad_words = prepared->bad_words.ids,
        .bad_words_len = (uint32_t)prepared->bad_words.num,
        .stops = request->stops,
        .stop_lens = request->stop_lens,
        .num_stops = request->num_stops,
        .include_stop_in_output = request->include_stop_in_output,
        .keep_special_tokens = request->keep_special_tokens,
        .echo = request->echo || request->prompt_logprobs >= 0,
        .callback = generation_on_event,
        .owner = g,
        .request_id = http_request_id(g->http),
    };
    const int r = session_submit(g->frontend->session, &submit, &g->session, why);
    if (r == 0)
        http_set_quiet(g->http); /* the session writes the line when the request is over */
    return r;
}

static void refuse_submit(struct generation *g, int code, const struct error *why)
{
    struct wire_error error;
    if (code == -EAGAIN)
        wire_error_set(&error, WIRE_QUEUE_FULL, "", "The server's queue is full; try again later.");
    else if (code == -ENOTCONN)
        wire_error_set(&error, WIRE_NO_WORKER, "", "No engine is ready; try again later.");
    else if (code == -EPERM)
        wire_error_set(&error, WIRE_WORKER_FAILED, "",
                       "A request like this one has ended the model's process; it is refused.");
    else if (code == -EMSGSIZE || code == -EINVAL)
        wire_error_set(&error, code == -EINVAL ? WIRE_INVALID_VALUE : WIRE_REQUEST_TOO_LARGE, "",
                       "The request cannot be run: %s.", why->message);
    else
        wire_error_set(&error, WIRE_NO_WORKER, "", "The server is out of memory; try again later.");
    error.retry_after_ms = gate_retry_after_ms(g->frontend);
    generation_refuse(g, &error);
}

static void refuse_prepared(struct generation *g, struct prepared *prepared)
{
    const struct wire_error error = prepared->error;
    prepared_finish(prepared);
    generation_refuse(g, &error);
}

/* `prepared` is used up. */
static void submit(struct generation *g, struct prepared *prepared, int result)
{
    struct error why = { 0 };
    char value[24];
    int r = result < 0 ? -EINVAL : complete_params(g, prepared);
    if (r == -EINVAL) {
        refuse_prepared(g, prepared);
        return;
    }
    stat_add(g->frontend->own->words, STAT_UNKNOWN_FIELDS, prepared->request.num_unknown);
    g->stream = prepared->request.stream;
    g->log.drop_tokens = !prepared->request.logprobs && !prepared->request.return_token_ids;
    g->phase = GENERATION_QUEUED;
    if (prepared->clamped > 0) {
        snprintf(value, sizeof(value), "%u", (unsigned)prepared->clamped);
        http_add_header(g->http, "x-max-tokens-clamped", value);
    }
    if (r == 0)
        r = create_answer(g, prepared);
    if (r == 0)
        r = submit_to_session(g, prepared, &why);
    if (r == 0 && g->account != NULL)
        account_charge(g->account, prepared->ids.num);
    prepared_finish(prepared);
    if (r < 0)
        refuse_submit(g, r, &why);
}

/* --- preparation -------------------------------------------------------------------------- */

static struct prepare_options options_of(const struct frontend *frontend)
{
    const struct settings *settings = &frontend->settings;
    const struct model_card_sampling *sampling = &frontend->card->sampling;
    struct session_limits engine = { 0 };
    (void)session_get_limits(frontend->session, &engine);
    return (struct prepare_options){
        .card = frontend->card,
        .limits = {
            .strict = settings->strict_requests,
            .vocab_size = engine.vocab_size,
            .max_model_len = engine.max_model_len,
            .max_logprobs = (int32_t)settings->max_logprobs,
            .allow_priority = frontend->obeys_priority,
            .default_max_tokens = settings->default_max_tokens,
            .temperature = sampling->temperature,
            .top_p = sampling->top_p,
            .min_p = sampling->min_p,
            .repetition_penalty = sampling->repetition_penalty,
            .top_k = sampling->top_k,
        },
        .strict_max_tokens = settings->strict_max_tokens,
        .accept_any_model = settings->accept_any_model,
        .allow_special = settings->allow_special_in_content,
    };
}

static void job_free(struct job *job)
{
    prepared_finish(&job->prepared);
    free(job->body);
    free(job);
}

static void job_run(struct side_job *side)
{
    struct job *job = (struct job *)(void *)side;
    job->result = prepare_request(&job->options, job->scratch, job->endpoint, job->body, job->len,
                                  &job->prepared);
}

static void job_done(struct side_job *side)
{
    struct job *job = (struct job *)(void *)side;
    struct generation *g = job->generation;
    if (g != NULL) {
        g->aside = NULL;
        submit(g, &job->prepared, job->result);
    }
    job_free(job);
}

static struct job *job_create(struct generation *g, struct http_text body)
{
    struct job *job = calloc(1, sizeof(*job));
    char *copy = malloc(body.len);
    if (job == NULL || copy == NULL) {
        free(job);
        free(copy);
        return NULL;
    }
    memcpy(copy, body.data, body.len);
    *job = (struct job){
        .side = { .run = job_run, .done = job_done, .bytes = body.len },
        .generation = g,
        .options = options_of(g->frontend),
        .scratch = g->frontend->side_scratch,
        .endpoint = g->endpoint,
        .body = copy,
        .len = body.len,
    };
    return job;
}

static void prepare_aside(struct generation *g, struct http_text body)
{
    struct wire_error error;
    struct job *job = job_create(g, body);
    if (job != NULL && side_submit(g->frontend->side, &job->side)) {
        g->aside = &job->generation;
        return;
    }
    if (job != NULL)
        job_free(job);
    wire_error_set(&error, WIRE_QUEUE_FULL, "",
                   "Too many large requests at once; try again later.");
    error.retry_after_ms = gate_retry_after_ms(g->frontend);
    generation_refuse(g, &error);
}

static void prepare_here(struct generation *g, struct http_text body)
{
    const struct prepare_options options = options_of(g->frontend);
    struct prepared prepared = { 0 };
    const int r = prepare_request(&options, g->frontend->scratch, g->endpoint,
                                  body.data != NULL ? body.data : "", body.len, &prepared);
    submit(g, &prepared, r);
}

/* --- admission ---------------------------------------------------------------------------- */

void admission_begin(struct frontend *frontend, struct http_request *request,
                     enum wire_endpoint endpoint)
{
    struct wire_error error = { 0 };
    const struct http_text body = http_body(request);

    if (!gate_admits(frontend, http_caller(request), &error)) {
        generation_count_refusal(frontend, error.code);
        reply_error(request, &error);
        return;
    }
    struct generation *g = generation_create(frontend, request, endpoint);
    if (g == NULL) {
        reply_code(request, WIRE_NO_WORKER, "The server is out of memory; try again later.");
        return;
    }
    if (body.len > SIDE_BODY_BYTES)
        prepare_aside(g, body);
    else
        prepare_here(g, body);
}
