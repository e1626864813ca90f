/* The fields of a request body: one row each. */
#include <errno.h>
#include <float.h>
#include <string.h>

#include "proto/wire/wire_check.h"

enum { CHAT = 1 << WIRE_CHAT, TEXT = 1 << WIRE_COMPLETIONS, BOTH = CHAT | TEXT };

enum param_class {
    HONOURED, /* checked and stored */
    ACCEPTED, /* checked and ignored: it changes nothing in the answer */
    REFUSED,  /* it would change the answer and is not built: only its off value passes */
};

enum param_type { ANY, BOOL, INT, REAL, STRING, NAME, ARRAY, OBJECT, OWN };

enum param_store { NOWHERE, TO_BOOL, TO_INVERSE, TO_U32, TO_I32, TO_FLOAT, TO_DOUBLE };

/* What a refused field may hold beside null. */
enum param_off {
    OFF_NOTHING,
    OFF_FALSE,
    OFF_TRUE,
    OFF_EMPTY,  /* "", [] or {} */
    OFF_NUMBER, /* row.min */
    OFF_WORD,   /* row.word */
};

struct param {
    const char *name;
    uint8_t endpoints;
    enum param_class class;
    enum param_type type;
    double min, max; /* of a number; `max` bytes of a string or elements of an array */
    bool open;       /* min itself is not allowed */
    enum param_store store;
    size_t offset; /* in struct wire_request */
    int (*parse)(struct wire_parser *p, const char *param, json_t *value); /* type OWN */
    enum param_off off;
    const char *word;
};

#define STORE(field)                                                                               \
    .offset = offsetof(struct wire_request, field),                                                \
    .store = _Generic(((struct wire_request *)0)->field, bool                                      \
                      : TO_BOOL, uint32_t                                                          \
                      : TO_U32, int32_t                                                            \
                      : TO_I32, float                                                              \
                      : TO_FLOAT, double                                                           \
                      : TO_DOUBLE)
#define INVERSE(field) .offset = offsetof(struct wire_request, field), .store = TO_INVERSE

#define RANGE(low, high) .min = (low), .max = (high)
#define ABOVE(low, high) .min = (low), .max = (high), .open = true
#define MOST(high)       .max = (high)

// clang-format off
#define HONOUR(name, where, type, ...)         { name, where, HONOURED, type, __VA_ARGS__ }
#define OWN_FORM(name, where, parser)          { name, where, HONOURED, OWN, .parse = (parser) }
#define ACCEPT(name, ...)                      { name, BOTH, ACCEPTED, __VA_ARGS__ }
#define REFUSE(name, where)                    { name, where, REFUSED, ANY }
#define REFUSE_BUT(name, where, value)         { name, where, REFUSED, ANY, .off = (value) }
#define REFUSE_BUT_NUMBER(name, where, value)  { name, where, REFUSED, ANY, .off = OFF_NUMBER, .min = (value) }
#define REFUSE_BUT_WORD(name, where, value)    { name, where, REFUSED, ANY, .off = OFF_WORD, .word = (value) }

#define INT32 2147483647.0
#define WEEK  604800.0

/* Where two rows are wrong the first is named: what everybody sends comes first. */
static const struct param params[] = {
    OWN_FORM("model", BOTH, wire_parse_model),
    OWN_FORM("messages", CHAT, wire_parse_messages),
    OWN_FORM("prompt", TEXT, wire_parse_prompt),
    OWN_FORM("max_completion_tokens", CHAT, wire_parse_max_completion_tokens),
    OWN_FORM("max_tokens", BOTH, wire_parse_max_tokens),
    HONOUR("n", BOTH, INT, RANGE(1, RECORD_MAX_CHOICES), STORE(params.num_choices)),
    HONOUR("stream", BOTH, BOOL, STORE(stream)),
    OWN_FORM("stream_options", BOTH, wire_parse_stream_options),

    /* sampling */
    HONOUR("temperature", BOTH, REAL, RANGE(0, 2), STORE(params.temperature)),
    HONOUR("top_p", BOTH, REAL, ABOVE(0, 1), STORE(params.top_p)),
    HONOUR("top_k", BOTH, INT, RANGE(-1, INT32), STORE(params.top_k)),
    HONOUR("min_p", BOTH, REAL, RANGE(0, 1), STORE(params.min_p)),
    HONOUR("typical_p", BOTH, REAL, ABOVE(0, 1), STORE(params.typical_p)),
    HONOUR("presence_penalty", BOTH, REAL, RANGE(-2, 2), STORE(params.presence_penalty)),
    HONOUR("frequency_penalty", BOTH, REAL, RANGE(-2, 2), STORE(params.frequency_penalty)),
    HONOUR("repetition_penalty", BOTH, REAL, ABOVE(0, 10), STORE(params.repetition_penalty)),
    OWN_FORM("seed", BOTH, wire_parse_seed),
    OWN_FORM("logit_bias", BOTH, wire_parse_logit_bias),
    OWN_FORM("stop", BOTH, wire_parse_stop),
    OWN_FORM("stop_token_ids", BOTH, wire_parse_stop_ids),
    OWN_FORM("allowed_token_ids", BOTH, wire_parse_allowed_ids),
    OWN_FORM("bad_words", BOTH, wire_parse_bad_words),
    HONOUR("ignore_eos", BOTH, BOOL, STORE(ignore_eos)),
    HONOUR("min_tokens", BOTH, INT, RANGE(0, INT32), STORE(params.min_tokens)),

    /* what the answer shows */
    OWN_FORM("logprobs", BOTH, wire_parse_logprobs),
    OWN_FORM("top_logprobs", CHAT, wire_parse_top_logprobs),
    OWN_FORM("prompt_logprobs", BOTH, wire_parse_prompt_logprobs),
    HONOUR("echo", TEXT, BOOL, STORE(echo)),
    HONOUR("include_stop_str_in_output", BOTH, BOOL, STORE(include_stop_in_output)),
    HONOUR("skip_special_tokens", BOTH, BOOL, INVERSE(keep_special_tokens)),
    HONOUR("return_token_ids", BOTH, BOOL, STORE(return_token_ids)),
    HONOUR("return_tokens_as_token_ids", BOTH, BOOL, STORE(return_token_ids_as_text)),
    HONOUR("timeout", BOTH, REAL, RANGE(0, WEEK), STORE(timeout)),
    OWN_FORM("best_of", TEXT, wire_parse_best_of),

    /* the prompt */
    HONOUR("add_special_tokens", BOTH, BOOL, STORE(add_special_tokens)),
    HONOUR("add_generation_prompt", CHAT, BOOL, STORE(add_generation_prompt)),
    HONOUR("continue_final_message", CHAT, BOOL, STORE(continue_final_message)),
    OWN_FORM("chat_template_kwargs", CHAT, wire_parse_template_kwargs),
    OWN_FORM("reasoning_effort", CHAT, wire_parse_reasoning_effort),
    OWN_FORM("truncate_prompt_tokens", BOTH, wire_parse_truncation),
    OWN_FORM("truncation_side", BOTH, wire_parse_truncation_side),
    OWN_FORM("cache_salt", BOTH, wire_parse_cache_salt),
    OWN_FORM("request_id", BOTH, wire_parse_request_id),
    OWN_FORM("response_format", BOTH, wire_parse_response_format),
    OWN_FORM("modalities", CHAT, wire_parse_modalities),

    ACCEPT("user", STRING, MOST(512)),
    { "metadata", BOTH, ACCEPTED, OWN, .parse = wire_parse_metadata },
    ACCEPT("store", BOOL),
    { "service_tier", BOTH, ACCEPTED, STRING, STORE(service_tier_given) },
    ACCEPT("safety_identifier", STRING),
    ACCEPT("prompt_cache_key", STRING),
    ACCEPT("prompt_cache_retention", STRING),
    ACCEPT("prompt_cache_options", OBJECT),
    ACCEPT("prediction", OBJECT),
    ACCEPT("verbosity", STRING),
    ACCEPT("moderation", OBJECT),
    ACCEPT("web_search_options", OBJECT),
    ACCEPT("parallel_tool_calls", BOOL), /* there are no tools to call */
    ACCEPT("spaces_between_special_tokens", BOOL), /* tokens are bytes here: none are added */
    ACCEPT("session_id", NAME, MOST(256)),

    /* numbers of samplers that are off by another field */
    ACCEPT("dry_base", REAL, RANGE(-FLT_MAX, FLT_MAX)),
    ACCEPT("dry_allowed_length", INT, RANGE(-INT32, INT32)),
    ACCEPT("dry_penalty_last_n", INT, RANGE(-INT32, INT32)),
    ACCEPT("dry_sequence_breakers", ARRAY, MOST(1024)),
    ACCEPT("xtc_threshold", REAL, RANGE(-FLT_MAX, FLT_MAX)),
    ACCEPT("mirostat_tau", REAL, RANGE(-FLT_MAX, FLT_MAX)),
    ACCEPT("mirostat_eta", REAL, RANGE(-FLT_MAX, FLT_MAX)),
    ACCEPT("dynatemp_exponent", REAL, RANGE(-FLT_MAX, FLT_MAX)),

    REFUSE_BUT_NUMBER("dry_multiplier", BOTH, 0),
    REFUSE_BUT_NUMBER("xtc_probability", BOTH, 0),
    REFUSE_BUT_NUMBER("mirostat", BOTH, 0),
    REFUSE_BUT_NUMBER("dynatemp_range", BOTH, 0),
    REFUSE_BUT_NUMBER("top_n_sigma", BOTH, -1),
    REFUSE_BUT_NUMBER("repeat_penalty", BOTH, 1),
    REFUSE_BUT_NUMBER("repeat_last_n", BOTH, 64),
    REFUSE_BUT_NUMBER("length_penalty", BOTH, 1),
    OWN_FORM("priority", BOTH, wire_parse_priority),
    REFUSE_BUT_NUMBER("thinking_token_budget", CHAT, -1),
    REFUSE_BUT("use_beam_search", BOTH, OFF_FALSE),
    REFUSE_BUT("return_prompt_text", BOTH, OFF_FALSE),
    REFUSE_BUT("return_hidden_states", BOTH, OFF_FALSE),
    REFUSE_BUT("timings_per_token", BOTH, OFF_FALSE),
    REFUSE_BUT("echo", CHAT, OFF_FALSE),
    REFUSE_BUT("include_reasoning", CHAT, OFF_TRUE),
    REFUSE_BUT("detokenize", BOTH, OFF_TRUE),
    REFUSE_BUT("documents", CHAT, OFF_EMPTY),
    REFUSE_BUT("suffix", TEXT, OFF_EMPTY),
    REFUSE_BUT("logits_processors", BOTH, OFF_EMPTY),
    REFUSE_BUT("vllm_xargs", BOTH, OFF_EMPTY),
    REFUSE_BUT("mm_processor_kwargs", BOTH, OFF_EMPTY),
    REFUSE_BUT_WORD("tool_choice", CHAT, "none"),
    REFUSE_BUT_WORD("function_call", CHAT, "none"),
    REFUSE("tools", CHAT),
    REFUSE("functions", CHAT),
    REFUSE("audio", CHAT),
    REFUSE("chat_template", CHAT),
    REFUSE("structured_outputs", BOTH),
    REFUSE("guided_json", BOTH),
    REFUSE("guided_regex", BOTH),
    REFUSE("guided_choice", BOTH),
    REFUSE("guided_grammar", BOTH),
    REFUSE("json_schema", BOTH),
    REFUSE("regex", BOTH),
    REFUSE("ebnf", BOTH),
    REFUSE("grammar", BOTH),
    REFUSE("samplers", BOTH),
    REFUSE("repetition_detection", BOTH),
    REFUSE("kv_transfer_params", BOTH),
    REFUSE("prompt_embeds", BOTH),
};
// clang-format on

enum { NUM_PARAMS = sizeof(params) / sizeof(params[0]) };

/* A number of the open end of a range may become the end itself as a float. */
static float to_float(const struct param *row, double value)
{
    const float rounded = (float)value;
    return row->open && rounded <= (float)row->min ? (float)row->min + FLT_MIN : rounded;
}

static void store(const struct param *row, struct wire_request *request, double real,
                  int64_t integer)
{
    char *field = (char *)request + row->offset;
    switch (row->store) {
    case NOWHERE:
        break;
    case TO_BOOL:
        *(bool *)field = integer != 0;
        break;
    case TO_INVERSE:
        *(bool *)field = integer == 0;
        break;
    case TO_U32:
        *(uint32_t *)field = (uint32_t)integer;
        break;
    case TO_I32:
        *(int32_t *)field = (int32_t)integer;
        break;
    case TO_FLOAT:
        *(float *)field = to_float(row, real);
        break;
    case TO_DOUBLE:
        *(double *)field = real;
        break;
    }
}

static int read_number(struct wire_parser *p, const struct param *row, const json_t *value)
{
    const struct wire_range range = { row->min, row->max, row->open };
    double real = 0.0;
    int64_t integer = 0;
    const int r = row->type == INT ? wire_check_int(p, row->name, value, (int64_t)row->min,
                                                    (int64_t)row->max, &integer)
                                   : wire_check_real(p, row->name, value, &range, &real);
    if (r == 0)
        store(row, p->request, real, integer);
    else if (row->open && json_is_number(value) && json_number_value(value) == 0.0 &&
             strcmp(row->name, "top_p") == 0)
        return wire_error_set(p->error, WIRE_DECIMAL_BELOW_MIN, row->name,
                              "top_p is 0, only more than 0 is allowed; for the most likely "
                              "token use temperature 0.");
    return r;
}

static int read_bool(struct wire_parser *p, const struct param *row, const json_t *value)
{
    bool flag;
    const int r = wire_check_bool(p, row->name, value, &flag);
    if (r == 0)
        store(row, p->request, 0.0, flag);
    return r;
}

static int read_string(struct wire_parser *p, const struct param *row, const json_t *value)
{
    const size_t most = (size_t)row->max;
    const int r = row->type == NAME ? wire_check_name(p, row->name, value, most)
                                    : wire_check_string(p, row->name, value, most);
    if (r == 0)
        store(row, p->request, 0.0, 1);
    return r;
}

static bool is_empty(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return json_string_length(value) == 0;
    case JSON_ARRAY:
        return json_array_size(value) == 0;
    case JSON_OBJECT:
        return json_object_size(value) == 0;
    default:
        return false;
    }
}

static bool is_off(const struct param *row, const json_t *value)
{
    switch (row->off) {
    case OFF_FALSE:
        return json_is_false(value);
    case OFF_TRUE:
        return json_is_true(value);
    case OFF_EMPTY:
        return is_empty(value);
    case OFF_NUMBER:
        return json_is_number(value) && json_number_value(value) == row->min;
    case OFF_WORD:
        return json_is_string(value) && strcmp(json_string_value(value), row->word) == 0;
    default:
        return false;
    }
}

static int read_param(struct wire_parser *p, const struct param *row, json_t *value)
{
    if (row->class == REFUSED)
        return is_off(row, value) ? 0 : wire_refuse_unsupported(p, row->name);
    switch (row->type) {
    case BOOL:
        return read_bool(p, row, value);
    case INT:
    case REAL:
        return read_number(p, row, value);
    case STRING:
    case NAME:
        return read_string(p, row, value);
    case ARRAY:
        return wire_check_array(p, row->name, value, (size_t)row->max);
    case OBJECT:
        return wire_check_object(p, row->name, value);
    case OWN:
        return row->parse(p, row->name, value);
    default:
        return 0;
    }
}

static bool knows(const struct param *row, enum wire_endpoint endpoint)
{
    return (row->endpoints & 1 << endpoint) != 0;
}

static bool is_known(const char *name, enum wire_endpoint endpoint)
{
    for (int i = 0; i < NUM_PARAMS; i++)
        if (knows(&params[i], endpoint) && strcmp(params[i].name, name) == 0)
            return true;
    return false;
}

static int read_unknown(struct wire_parser *p)
{
    const char *name;
    json_t *value;
    json_object_foreach(p->body, name, value)
    {
        char echo[WIRE_ECHO_ROOM];
        if (is_known(name, p->endpoint))
            continue;
        p->request->num_unknown++;
        if (!p->limits->strict)
            continue;
        wire_echo(name, strlen(name), echo);
        return wire_error_set(p->error, WIRE_UNKNOWN_PARAMETER, echo,
                              "%s is not a field of this endpoint.", echo);
    }
    return 0;
}

int wire_params_read(struct wire_parser *p)
{
    size_t num_known = 0;
    for (int i = 0; i < NUM_PARAMS; i++) {
        json_t *value =
            knows(&params[i], p->endpoint) ? json_object_get(p->body, params[i].name) : NULL;
        if (value == NULL)
            continue;
        num_known++;
        const int r = json_is_null(value) ? 0 : read_param(p, &params[i], value);
        if (r < 0)
            return r;
    }
    return num_known == json_object_size(p->body) ? 0 : read_unknown(p);
}
