#include "proto/wire/wire_error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

#define INVALID     "invalid_request_error"
#define RATE        "rate_limit_error"
#define SERVER      "server_error"
#define UNAVAILABLE "service_unavailable_error"

// clang-format off
const struct wire_code_row wire_codes[WIRE_NUM_CODES] = {
    [WIRE_INVALID_JSON]               = { "invalid_json", INVALID, 400 },
    [WIRE_INVALID_UTF8]               = { "invalid_utf8", INVALID, 400 },
    [WIRE_MISSING_REQUIRED_PARAMETER] = { "missing_required_parameter", INVALID, 400 },
    [WIRE_INVALID_TYPE]               = { "invalid_type", INVALID, 400 },
    [WIRE_INVALID_VALUE]              = { "invalid_value", INVALID, 400 },
    [WIRE_UNKNOWN_PARAMETER]          = { "unknown_parameter", INVALID, 400 },
    [WIRE_UNSUPPORTED_PARAMETER]      = { "unsupported_parameter", INVALID, 400 },
    [WIRE_UNSUPPORTED_VALUE]          = { "unsupported_value", INVALID, 400 },
    [WIRE_INTEGER_BELOW_MIN]          = { "integer_below_min_value", INVALID, 400 },
    [WIRE_INTEGER_ABOVE_MAX]          = { "integer_above_max_value", INVALID, 400 },
    [WIRE_DECIMAL_BELOW_MIN]          = { "decimal_below_min_value", INVALID, 400 },
    [WIRE_DECIMAL_ABOVE_MAX]          = { "decimal_above_max_value", INVALID, 400 },
    [WIRE_STRING_ABOVE_MAX_LENGTH]    = { "string_above_max_length", INVALID, 400 },
    [WIRE_ARRAY_ABOVE_MAX_LENGTH]     = { "array_above_max_length", INVALID, 400 },
    [WIRE_EMPTY_ARRAY]                = { "empty_array", INVALID, 400 },
    [WIRE_EMPTY_PROMPT]               = { "empty_prompt", INVALID, 400 },
    [WIRE_CONTEXT_LENGTH_EXCEEDED]    = { "context_length_exceeded", INVALID, 400 },
    [WIRE_UNSUPPORTED_CONTENT_PART]   = { "unsupported_content_part", INVALID, 400 },
    [WIRE_CHAT_TEMPLATE_ERROR]        = { "chat_template_error", INVALID, 400 },
    [WIRE_INVALID_API_KEY]            = { "invalid_api_key", INVALID, 401 },
    [WIRE_MODEL_NOT_FOUND]            = { "model_not_found", INVALID, 404 },
    [WIRE_NOT_FOUND]                  = { "not_found", INVALID, 404 },
    [WIRE_METHOD_NOT_ALLOWED]         = { "method_not_allowed", INVALID, 405 },
    [WIRE_UNSUPPORTED_MEDIA_TYPE]     = { "unsupported_media_type", INVALID, 415 },
    [WIRE_REQUEST_TOO_LARGE]          = { "request_too_large", INVALID, 413 },
    [WIRE_HEADERS_TOO_LARGE]          = { "headers_too_large", INVALID, 431 },
    [WIRE_QUEUE_FULL]                 = { "queue_full", RATE, 429 },
    [WIRE_QUEUED_TOKENS_EXCEEDED]     = { "queued_tokens_exceeded", RATE, 429 },
    [WIRE_KEY_CONCURRENCY_EXCEEDED]   = { "key_concurrency_exceeded", RATE, 429 },
    [WIRE_KEY_RATE_EXCEEDED]          = { "key_rate_exceeded", RATE, 429 },
    [WIRE_DEADLINE_UNREACHABLE]       = { "deadline_unreachable", RATE, 429 },
    [WIRE_DEADLINE_EXCEEDED]          = { "deadline_exceeded", "timeout_error", 504 },
    [WIRE_INTERNAL_ERROR]             = { "internal_error", SERVER, 500 },
    [WIRE_NAN_LOGITS]                 = { "nan_logits", SERVER, 500 },
    [WIRE_WORKER_FAILED]              = { "worker_failed", SERVER, 500 },
    [WIRE_MODEL_LOADING]              = { "model_loading", UNAVAILABLE, 503 },
    [WIRE_DRAINING]                   = { "draining", UNAVAILABLE, 503 },
    [WIRE_NO_WORKER]                  = { "no_worker", UNAVAILABLE, 503 },
    [WIRE_MODEL_CHANGED]              = { "model_changed", UNAVAILABLE, 503 },
};
// clang-format on

/* What vsnprintf() cut off may have taken the end of a character along. */
static void drop_broken_end(char *text)
{
    text[utf8_valid_prefix(text, strlen(text))] = '\0';
}

int wire_error_set(struct wire_error *error, enum wire_code code, const char *param,
                   const char *format, ...)
{
    va_list args;
    error->code = code;
    error->retry_after_ms = 0;
    snprintf(error->param, sizeof(error->param), "%s", param == NULL ? "" : param);
    va_start(args, format);
    vsnprintf(error->message, sizeof(error->message), format, args);
    va_end(args);
    drop_broken_end(error->param);
    drop_broken_end(error->message);
    return -EINVAL;
}

void wire_error_write(const struct wire_error *error, struct strbuf *out)
{
    const struct wire_code_row *row = &wire_codes[error->code];
    strbuf_append_text(out, "{\"error\":{\"message\":");
    strbuf_append_json_string(out, error->message, strlen(error->message));
    strbuf_append_text(out, ",\"type\":\"");
    strbuf_append_text(out, row->type);
    strbuf_append_text(out, "\",\"param\":");
    if (error->param[0] == '\0')
        strbuf_append_text(out, "null");
    else
        strbuf_append_json_string(out, error->param, strlen(error->param));
    strbuf_append_text(out, ",\"code\":\"");
    strbuf_append_text(out, row->code);
    strbuf_append_text(out, "\"}}");
}

void wire_error_from_failure(struct wire_error *error, enum record_failure failure,
                             const char *request_id)
{
    /* The id in the sentence finds the log line of a fault of ours. */
    static const struct {
        enum wire_code code;
        const char *before_id, *after_id;
    } rows[] = {
        [RECORD_FAILURE_QUEUE_FULL] = { WIRE_QUEUE_FULL,
                                        "The queue of waiting requests is full, try again later." },
        [RECORD_FAILURE_QUEUED_TOKENS] = { WIRE_QUEUED_TOKENS_EXCEEDED,
                                           "Too many prompt tokens are waiting already, try again "
                                           "later." },
        [RECORD_FAILURE_DEADLINE] = { WIRE_DEADLINE_EXCEEDED,
                                      "The request did not finish within its timeout." },
        [RECORD_FAILURE_DRAINING] = { WIRE_DRAINING,
                                      "This server is shutting down, send the request again." },
        [RECORD_FAILURE_TOO_LONG] = { WIRE_CONTEXT_LENGTH_EXCEEDED,
                                      "This model's maximum context length is more than the KV "
                                      "cache of this server holds, and this request needs more "
                                      "than that; shorten the prompt or lower max_tokens." },
        [RECORD_FAILURE_NAN_LOGITS] = { WIRE_NAN_LOGITS,
                                        "The model computed something that is not a number "
                                        "(request ",
                                        ")." },
        [RECORD_FAILURE_INTERNAL] = { WIRE_INTERNAL_ERROR,
                                      "The server failed to answer this request (request ", ")." },
        [RECORD_FAILURE_WORKER] = { WIRE_WORKER_FAILED,
                                    "The process that computed this request ended (request ",
                                    ")." },
        [RECORD_FAILURE_MODEL_CHANGED] = { WIRE_MODEL_CHANGED,
                                           "The model was replaced while this answer was being "
                                           "written, and another model cannot continue it." },
    };
    size_t row = failure;
    if (row >= sizeof(rows) / sizeof(rows[0]) || rows[row].before_id == NULL)
        row = RECORD_FAILURE_INTERNAL;
    const char *after = rows[row].after_id;
    wire_error_set(error, rows[row].code, "", "%s%.128s%s", rows[row].before_id,
                   after == NULL ? "" : request_id, after == NULL ? "" : after);
}
