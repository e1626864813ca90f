#include "frontend/hints.h"

#include <stdio.h>
#include <stdlib.h>

/* The header's number within bounds; an absent header is none. */
static int read_number(const struct http_request *request, const char *name, double min, double max,
                       bool *ret_given, double *ret_value, struct wire_error *error)
{
    const struct http_text header = http_header(request, name);
    char text[24], *end;
    *ret_given = false;
    if (header.len == 0)
        return 0;
    snprintf(text, sizeof(text), "%.*s", header.len < sizeof(text) ? (int)header.len : 0,
             header.data);
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= min && value <= max))
        return wire_error_set(error, WIRE_INVALID_VALUE, name,
                              "The header %s must be a number from %.0f to %.0f.", name, min, max);
    *ret_given = true;
    *ret_value = value;
    return 0;
}

static int read_seconds(const struct http_request *request, const char *name, double *seconds,
                        struct wire_error *error)
{
    const double week_ms = 7 * 86400e3;
    bool given;
    double ms;
    const int r = read_number(request, name, 1, week_ms, &given, &ms, error);
    if (r == 0 && given)
        *seconds = ms / 1000;
    return r;
}

int hints_read(const struct http_request *request, struct hints *ret_hints,
               struct wire_error *error)
{
    struct hints hints = { 0 };
    double priority = 0;
    int r = read_seconds(request, "x-request-timeout-ms", &hints.timeout, error);
    if (r == 0)
        r = read_seconds(request, "x-llm-d-slo-ttft-ms", &hints.first_token, error);
    if (r == 0)
        r = read_seconds(request, "x-slo-ttft-ms", &hints.first_token, error);
    if (r == 0)
        r = read_number(request, "x-priority", INT32_MIN, INT32_MAX, &hints.has_priority, &priority,
                        error);
    hints.priority = (int32_t)priority;
    *ret_hints = hints;
    return r;
}
