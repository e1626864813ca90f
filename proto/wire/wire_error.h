/*
 * wire_error.h - the error objects that clients see, one row per code
 */
#ifndef PROTO_WIRE_WIRE_ERROR_H
#define PROTO_WIRE_WIRE_ERROR_H

#include <stdint.h>

#include "base/strbuf.h"
#include "proto/records/record.h"

enum wire_code {
    WIRE_INVALID_JSON,
    WIRE_INVALID_UTF8,
    WIRE_MISSING_REQUIRED_PARAMETER,
    WIRE_INVALID_TYPE,
    WIRE_INVALID_VALUE,
    WIRE_UNKNOWN_PARAMETER,
    WIRE_UNSUPPORTED_PARAMETER,
    WIRE_UNSUPPORTED_VALUE,
    WIRE_INTEGER_BELOW_MIN,
    WIRE_INTEGER_ABOVE_MAX,
    WIRE_DECIMAL_BELOW_MIN,
    WIRE_DECIMAL_ABOVE_MAX,
    WIRE_STRING_ABOVE_MAX_LENGTH,
    WIRE_ARRAY_ABOVE_MAX_LENGTH,
    WIRE_EMPTY_ARRAY,
    WIRE_EMPTY_PROMPT,
    WIRE_CONTEXT_LENGTH_EXCEEDED,
    WIRE_UNSUPPORTED_CONTENT_PART,
    WIRE_CHAT_TEMPLATE_ERROR,
    WIRE_INVALID_API_KEY,
    WIRE_MODEL_NOT_FOUND,
    WIRE_NOT_FOUND,
    WIRE_METHOD_NOT_ALLOWED,
    WIRE_UNSUPPORTED_MEDIA_TYPE,
    WIRE_REQUEST_TOO_LARGE,
    WIRE_HEADERS_TOO_LARGE,
    WIRE_QUEUE_FULL,
    WIRE_QUEUED_TOKENS_EXCEEDED,
    WIRE_KEY_CONCURRENCY_EXCEEDED,
    WIRE_KEY_RATE_EXCEEDED,
    WIRE_DEADLINE_UNREACHABLE,
    WIRE_DEADLINE_EXCEEDED,
    WIRE_INTERNAL_ERROR,
    WIRE_NAN_LOGITS,
    WIRE_WORKER_FAILED,
    WIRE_MODEL_LOADING,
    WIRE_DRAINING,
    WIRE_NO_WORKER,
    WIRE_MODEL_CHANGED,
    WIRE_NUM_CODES,
};

struct wire_code_row {
    const char *code;
    const char *type;
    int32_t status;
};
extern const struct wire_code_row wire_codes[WIRE_NUM_CODES];

enum { WIRE_MESSAGE_BYTES = 512, WIRE_PARAM_BYTES = 128 };

struct wire_error {
    enum wire_code code;
    char message[WIRE_MESSAGE_BYTES]; /* one sentence; at most 64 bytes of input are echoed */
    char param[WIRE_PARAM_BYTES];     /* "" means null */
    uint32_t retry_after_ms;          /* 429, 503 */
};

/* Fill in and return -EINVAL. */
__attribute__((format(printf, 4, 5))) int wire_error_set(struct wire_error *error,
                                                         enum wire_code code, const char *param,
                                                         const char *format, ...);

/* {"error":{"message","type","param","code"}} */
void wire_error_write(const struct wire_error *error, struct strbuf *out);

/* What the engine's or session's failure is to a client. `request_id` goes into the message of
 * our own faults. */
void wire_error_from_failure(struct wire_error *error, enum record_failure failure,
                             const char *request_id);

#endif
