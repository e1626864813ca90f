#include "proto/wire/wire_request.h"

#include <errno.h>
#include <string.h>

#include "proto/wire/wire_check.h"

enum { DEFAULT_MAX_TOKENS = 16 }; /* of completions, as OpenAI's */

static struct wire_request defaults(enum wire_endpoint endpoint, const struct wire_limits *limits)
{
    return (struct wire_request){
        .endpoint = endpoint,
        .model = "",
        .add_generation_prompt = true,
        .add_special_tokens = endpoint == WIRE_COMPLETIONS,
        .prompt_logprobs = -1,
        .params = { .num_choices = 1,
                    .temperature = (float)limits->temperature,
                    .top_p = (float)limits->top_p,
                    .top_k = limits->top_k,
                    .min_p = (float)limits->min_p,
                    .typical_p = 1.0f,
                    .repetition_penalty = (float)limits->repetition_penalty,
                    .num_logprobs = -1,
                    .num_prompt_logprobs = -1 },
    };
}

static int check_required(struct wire_parser *p)
{
    const char *field = p->endpoint == WIRE_CHAT ? "messages" : "prompt";
    if (wire_get(p->body, field) != NULL)
        return 0;
    return wire_error_set(p->error, WIRE_MISSING_REQUIRED_PARAMETER, field, "%s is missing.",
                          field);
}

static int check_rows(struct wire_parser *p)
{
    const struct wire_request *request = p->request;
    if ((uint64_t)request->num_prompts * request->params.num_choices > WIRE_MAX_ROWS)
        return wire_error_set(p->error, WIRE_INTEGER_ABOVE_MAX, "n",
                              "n is %u for each of %u prompts, at most %d in all are allowed.",
                              request->params.num_choices, request->num_prompts, WIRE_MAX_ROWS);
    if (p->best_of > request->params.num_choices)
        return wire_error_set(p->error, WIRE_UNSUPPORTED_PARAMETER, "best_of",
                              "best_of is %lld, more than n (%u) is not supported.",
                              (long long)p->best_of, request->params.num_choices);
    if (p->best_of > 1 && request->stream)
        return wire_error_set(p->error, WIRE_INVALID_VALUE, "best_of",
                              "best_of is %lld, only 1 is allowed with stream.",
                              (long long)p->best_of);
    return 0;
}

static int settle_max_tokens(struct wire_parser *p)
{
    struct wire_request *request = p->request;
    int64_t max = p->max_completion_tokens >= 0 ? p->max_completion_tokens : p->max_tokens;
    if (max < 0 && p->endpoint == WIRE_COMPLETIONS)
        max = DEFAULT_MAX_TOKENS;
    if (max == 0 && !request->echo)
        return wire_error_set(p->error, WIRE_INTEGER_BELOW_MIN, "max_tokens",
                              "max_tokens is 0, at least 1 is allowed without echo.");
    request->has_max_tokens = max >= 0;
    if (request->has_max_tokens)
        request->params.max_tokens = max < INT32_MAX ? (uint32_t)max : INT32_MAX;
    if (request->has_max_tokens && request->params.min_tokens > request->params.max_tokens)
        return wire_error_set(p->error, WIRE_INVALID_VALUE, "min_tokens",
                              "min_tokens is %u, at most max_tokens (%u) is allowed.",
                              request->params.min_tokens, request->params.max_tokens);
    return 0;
}

static int settle_logprobs(struct wire_parser *p)
{
    struct wire_request *request = p->request;
    if (p->top_logprobs > 0 && !request->logprobs)
        return wire_error_set(p->error, WIRE_INVALID_VALUE, "top_logprobs",
                              "top_logprobs is %lld, which needs logprobs to be true.",
                              (long long)p->top_logprobs);
    if (p->endpoint == WIRE_CHAT && request->logprobs)
        request->params.num_logprobs = p->top_logprobs > 0 ? (int32_t)p->top_logprobs : 0;
    request->params.num_prompt_logprobs = request->prompt_logprobs;
    if (request->echo && request->params.num_logprobs > request->prompt_logprobs)
        request->params.num_prompt_logprobs = request->params.num_logprobs;
    if (request->prompt_logprobs >= 0 && request->stream)
        return wire_error_set(p->error, WIRE_INVALID_VALUE, "prompt_logprobs",
                              "prompt_logprobs is not allowed when stream is true.");
    return 0;
}

static int check_stream(struct wire_parser *p)
{
    if (!p->stream_options_given || p->request->stream)
        return 0;
    return wire_error_set(p->error, WIRE_INVALID_VALUE, "stream_options",
                          "stream_options is only allowed when stream is true.");
}

static int check_turn(struct wire_parser *p)
{
    if (!p->request->continue_final_message)
        return 0;
    if (wire_get(p->body, "add_generation_prompt") == NULL)
        p->request->add_generation_prompt = false;
    if (p->request->add_generation_prompt)
        return wire_error_set(p->error, WIRE_INVALID_VALUE, "continue_final_message",
                              "continue_final_message and add_generation_prompt are both true, "
                              "only one is allowed.");
    return 0;
}

/* What values mean: docs/api.md. */
static void settle_sampling(struct wire_parser *p)
{
    struct record_params *params = &p->request->params;
    if (params->temperature < 1e-5f)
        params->temperature = 0.0f;
    else if (params->temperature < 0.01f)
        params->temperature = 0.01f;
    if (params->top_k <= 0 || (p->limits->vocab_size > 0 && params->top_k >= p->limits->vocab_size))
        params->top_k = -1;
    if (p->request->ignore_eos)
        params->flags |= RECORD_IGNORE_EOS;
}

static int add_default(json_t *object, const char *key, json_t *value)
{
    if (json_object_get(object, key) == NULL)
        return json_object_set_new(object, key, value);
    json_decref(value);
    return 0;
}

/* reasoning_effort reaches the template as the variables it may know; those given by name win. */
static int settle_reasoning(struct wire_parser *p)
{
    json_t *given = p->request->chat_template_kwargs;
    if (p->reasoning_effort == NULL)
        return 0;
    const bool think = strcmp(p->reasoning_effort, "none") != 0;
    json_t *merged = given != NULL ? json_copy(given) : json_object();
    if (merged == NULL)
        return wire_refuse_memory(p);
    if (add_default(merged, "enable_thinking", json_boolean(think)) < 0 ||
        (think && add_default(merged, "reasoning_effort", json_string(p->reasoning_effort)) < 0)) {
        json_decref(merged);
        return wire_refuse_memory(p);
    }
    if (json_object_set_new(p->body, "chat_template_kwargs", merged) < 0)
        return wire_refuse_memory(p);
    p->request->chat_template_kwargs = merged;
    return 0;
}

static int parse(struct wire_parser *p)
{
    static int (*const checks[])(struct wire_parser *) = {
        wire_params_read, check_required, check_rows, settle_max_tokens,
        settle_logprobs,  check_stream,   check_turn, settle_reasoning,
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(checks) / sizeof(checks[0]); i++)
        r = checks[i](p);
    if (r == 0)
        settle_sampling(p);
    return r;
}

int wire_request_parse(enum wire_endpoint endpoint, json_t *body, const struct wire_limits *limits,
                       struct arena *arena, struct wire_request *ret_request,
                       struct wire_error *error)
{
    struct wire_request request = defaults(endpoint, limits);
    struct wire_parser p = { .endpoint = endpoint,
                             .body = body,
                             .limits = limits,
                             .arena = arena,
                             .request = &request,
                             .error = error,
                             .max_tokens = -1,
                             .max_completion_tokens = -1,
                             .top_logprobs = -1 };
    if (!json_is_object(body))
        return wire_error_set(error, WIRE_INVALID_TYPE, "", "The body must be a JSON object.");
    const int r = parse(&p);
    if (r == 0)
        *ret_request = request;
    return r;
}
