/* Fields whose value is more than one number or word. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "proto/wire/wire_check.h"

enum { MODEL_BYTES = 256, STOP_BYTES = 1024 };

int wire_parse_model(struct wire_parser *p, const char *param, json_t *value)
{
    char echo[WIRE_ECHO_ROOM];
    const int r = wire_check_name(p, param, value, 0);
    if (r < 0)
        return r;
    p->request->model = json_string_value(value);
    p->request->model_len = json_string_length(value);
    if (p->request->model_len > MODEL_BYTES)
        return wire_error_set(p->error, WIRE_MODEL_NOT_FOUND, param,
                              "The model '%s' does not exist.",
                              wire_echo(p->request->model, p->request->model_len, echo));
    return 0;
}

/* ------------------------------------------------------------------ numbers */

int wire_parse_max_tokens(struct wire_parser *p, const char *param, json_t *value)
{
    return wire_check_int(p, param, value, p->endpoint == WIRE_CHAT ? 1 : 0, INT64_MAX,
                          &p->max_tokens);
}

int wire_parse_max_completion_tokens(struct wire_parser *p, const char *param, json_t *value)
{
    return wire_check_int(p, param, value, 1, INT64_MAX, &p->max_completion_tokens);
}

int wire_parse_best_of(struct wire_parser *p, const char *param, json_t *value)
{
    return wire_check_int(p, param, value, 1, INT32_MAX, &p->best_of);
}

int wire_parse_seed(struct wire_parser *p, const char *param, json_t *value)
{
    int64_t seed = 0;
    const int r = wire_check_int(p, param, value, INT64_MIN, INT64_MAX, &seed);
    if (r < 0 || seed == -1)
        return r;
    p->request->seed_given = true;
    p->request->params.seed_low = (uint32_t)(uint64_t)seed;
    p->request->params.seed_high = (uint32_t)((uint64_t)seed >> 32);
    return 0;
}

static int64_t max_logprobs(const struct wire_parser *p)
{
    return p->limits->max_logprobs < RECORD_MAX_LOGPROBS ? p->limits->max_logprobs
                                                         : RECORD_MAX_LOGPROBS;
}

int wire_parse_logprobs(struct wire_parser *p, const char *param, json_t *value)
{
    int64_t num = 0;
    if (p->endpoint == WIRE_CHAT)
        return wire_check_bool(p, param, value, &p->request->logprobs);
    const int r = wire_check_int(p, param, value, 0, max_logprobs(p), &num);
    p->request->logprobs = r == 0;
    p->request->params.num_logprobs = (int32_t)num;
    return r;
}

int wire_parse_top_logprobs(struct wire_parser *p, const char *param, json_t *value)
{
    return wire_check_int(p, param, value, 0, max_logprobs(p), &p->top_logprobs);
}

int wire_parse_priority(struct wire_parser *p, const char *param, json_t *value)
{
    int64_t priority = 0;
    if (!p->limits->allow_priority && json_is_number(value) && json_number_value(value) != 0.0)
        return wire_error_set(p->error, WIRE_UNSUPPORTED_PARAMETER, param,
                              "%s is only obeyed by a server with --scheduling-policy priority.",
                              param);
    const int r = wire_check_int(p, param, value, INT32_MIN, INT32_MAX, &priority);
    p->request->params.priority = (int32_t)priority;
    return r;
}

/* ------------------------------------------------------------------ stop */

static int add_stop(struct wire_parser *p, const char *param, const json_t *value)
{
    struct wire_request *request = p->request;
    const int r = wire_check_name(p, param, value, STOP_BYTES);
    if (r < 0)
        return r;
    if (json_string_length(value) == 0)
        return wire_error_set(p->error, WIRE_INVALID_VALUE, param,
                              "%s is empty, at least 1 character is needed.", param);
    request->stops[request->num_stops] = json_string_value(value);
    request->stop_lens[request->num_stops] = json_string_length(value);
    request->num_stops++;
    return 0;
}

int wire_parse_stop(struct wire_parser *p, const char *param, json_t *value)
{
    if (json_is_string(value))
        return add_stop(p, param, value);
    if (!json_is_array(value))
        return wire_refuse_type(p, param, value, "a string or an array of strings");
    int r = wire_check_array(p, param, value, WIRE_MAX_STOPS);
    for (size_t i = 0; r == 0 && i < json_array_size(value); i++)
        r = add_stop(p, wire_place("%s[%zu]", param, i).text, json_array_get(value, i));
    return r;
}

/* ------------------------------------------------------------------ logit_bias */

/* A decimal without sign or leading zeros, so that no two keys name one token. */
static bool read_token_id(const char *key, int32_t *ret_id)
{
    int64_t id = 0;
    if (key[0] == '\0' || (key[0] == '0' && key[1] != '\0'))
        return false;
    for (const char *c = key; *c != '\0'; c++) {
        if (*c < '0' || *c > '9' || id > INT32_MAX)
            return false;
        id = id * 10 + (*c - '0');
    }
    *ret_id = (int32_t)id;
    return id <= INT32_MAX;
}

static int read_bias(struct wire_parser *p, const char *param, const char *key, const json_t *value,
                     struct record_bias *ret_bias)
{
    static const struct wire_range range = { -100, 100, false };
    char echo[WIRE_ECHO_ROOM];
    double bias = 0.0;
    int32_t id = -1;
    if (!read_token_id(key, &id))
        return wire_error_set(p->error, WIRE_INVALID_VALUE, param,
                              "%s has the key '%s', must be a token id as a decimal number.", param,
                              wire_echo(key, strlen(key), echo));
    if (p->limits->vocab_size > 0 && id >= p->limits->vocab_size)
        return wire_error_set(p->error, WIRE_INVALID_VALUE, param,
                              "%s has the key %d, the vocabulary ends at %d.", param, id,
                              p->limits->vocab_size - 1);
    const int r = wire_check_real(p, wire_place("%s.%d", param, id).text, value, &range, &bias);
    *ret_bias = (struct record_bias){ .token_id = id, .bias = (float)bias };
    return r;
}

int wire_parse_logit_bias(struct wire_parser *p, const char *param, json_t *value)
{
    const char *key;
    json_t *bias;
    int r = wire_check_object(p, param, value);
    if (r < 0)
        return r;
    if (json_object_size(value) > RECORD_MAX_BIASES)
        return wire_error_set(p->error, WIRE_ARRAY_ABOVE_MAX_LENGTH, param,
                              "%s has %zu entries, at most %d are allowed.", param,
                              json_object_size(value), RECORD_MAX_BIASES);
    if (json_object_size(value) == 0)
        return 0;
    p->request->biases =
        arena_alloc_array(p->arena, json_object_size(value), sizeof(*p->request->biases));
    if (p->request->biases == NULL)
        return wire_refuse_memory(p);
    json_object_foreach(value, key, bias)
    {
        r = read_bias(p, param, key, bias, &p->request->biases[p->request->num_biases]);
        if (r < 0)
            return r;
        p->request->num_biases++;
    }
    return 0;
}

/* ------------------------------------------------------------------ objects */

static int read_flag(struct wire_parser *p, const char *param, const json_t *object,
                     const char *key, bool *flag)
{
    const json_t *value = wire_get(object, key);
    return value == NULL ? 0
                         : wire_check_bool(p, wire_place("%s.%s", param, key).text, value, flag);
}

int wire_parse_stream_options(struct wire_parser *p, const char *param, json_t *value)
{
    bool obfuscation;
    int r = wire_check_object(p, param, value);
    p->stream_options_given = true;
    if (r == 0)
        r = read_flag(p, param, value, "include_usage", &p->request->include_usage);
    if (r == 0)
        r = read_flag(p, param, value, "continuous_usage_stats", &p->request->continuous_usage);
    return r < 0 ? r : read_flag(p, param, value, "include_obfuscation", &obfuscation);
}

int wire_parse_template_kwargs(struct wire_parser *p, const char *param, json_t *value)
{
    p->request->chat_template_kwargs = value;
    return wire_check_object(p, param, value);
}

int wire_parse_reasoning_effort(struct wire_parser *p, const char *param, json_t *value)
{
    static const char *const efforts[] = { "none", "minimal", "low", "medium",
                                           "high", "xhigh",   "max" };
    char echo[WIRE_ECHO_ROOM];
    const int r = wire_check_string(p, param, value, 0);
    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof(efforts) / sizeof(efforts[0]); i++)
        if (strcmp(json_string_value(value), efforts[i]) == 0) {
            p->reasoning_effort = efforts[i];
            return 0;
        }
    return wire_error_set(p->error, WIRE_INVALID_VALUE, param,
                          "%s is '%s', must be none, minimal, low, medium, high, xhigh or max.",
                          param,
                          wire_echo(json_string_value(value), json_string_length(value), echo));
}

int wire_parse_response_format(struct wire_parser *p, const char *param, json_t *value)
{
    static const char *const known[] = { "json_object", "json_schema", "json",
                                         "regex",       "grammar",     "structural_tag" };
    char echo[WIRE_ECHO_ROOM];
    const struct wire_place at = wire_place("%s.type", param);
    int r = wire_check_object(p, param, value);
    if (r < 0)
        return r;
    const json_t *type = wire_get(value, "type");
    if (type == NULL)
        return wire_error_set(p->error, WIRE_MISSING_REQUIRED_PARAMETER, at.text, "%s is missing.",
                              at.text);
    r = wire_check_string(p, at.text, type, 0);
    if (r < 0 || strcmp(json_string_value(type), "text") == 0)
        return r;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(json_string_value(type), known[i]) == 0)
            return wire_error_set(p->error, WIRE_UNSUPPORTED_PARAMETER, param,
                                  "%s of type '%s' is not supported by this server, only 'text'.",
                                  param, known[i]);
    return wire_error_set(p->error, WIRE_INVALID_VALUE, at.text, "%s is '%s', must be 'text'.",
                          at.text,
                          wire_echo(json_string_value(type), json_string_length(type), echo));
}

int wire_parse_modalities(struct wire_parser *p, const char *param, json_t *value)
{
    int r = wire_check_array(p, param, value, 16);
    for (size_t i = 0; r == 0 && i < json_array_size(value); i++) {
        const json_t *word = json_array_get(value, i);
        const struct wire_place at = wire_place("%s[%zu]", param, i);
        r = wire_check_string(p, at.text, word, 64);
        if (r < 0 || strcmp(json_string_value(word), "text") == 0)
            continue;
        r = wire_error_set(p->error, WIRE_UNSUPPORTED_PARAMETER, param,
                           "%s is not supported by this server, only 'text' is.", at.text);
    }
    return r;
}

int wire_parse_metadata(struct wire_parser *p, const char *param, json_t *value)
{
    enum { MAX_PAIRS = 16, KEY_BYTES = 64, VALUE_BYTES = 512 };
    const char *key;
    json_t *text;
    int r = wire_check_object(p, param, value);
    if (r == 0 && json_object_size(value) > MAX_PAIRS)
        return wire_error_set(p->error, WIRE_ARRAY_ABOVE_MAX_LENGTH, param,
                              "%s has %zu pairs, at most %d are allowed.", param,
                              json_object_size(value), MAX_PAIRS);
    if (r < 0)
        return r;
    json_object_foreach(value, key, text)
    {
        char echo[WIRE_ECHO_ROOM];
        if (strlen(key) > KEY_BYTES)
            return wire_error_set(p->error, WIRE_STRING_ABOVE_MAX_LENGTH, param,
                                  "%s has a key of %zu bytes, at most %d are allowed.", param,
                                  strlen(key), KEY_BYTES);
        wire_echo(key, strlen(key), echo);
        r = wire_check_string(p, wire_place("%s.%s", param, echo).text, text, VALUE_BYTES);
        if (r < 0)
            return r;
    }
    return 0;
}
