/*
 * hints.h - what a request's headers ask of the scheduler
 *
 *     x-request-timeout-ms                      the whole answer, from the request's arrival on
 *     x-slo-ttft-ms, x-llm-d-slo-ttft-ms        its first token
 *     x-priority                                as the field `priority`
 */
#ifndef FRONTEND_HINTS_H
#define FRONTEND_HINTS_H

#include "frontend/http.h"
#include "proto/wire/wire_error.h"

struct hints {
    double timeout, first_token; /* seconds, 0: not asked */
    bool has_priority;
    int32_t priority;
};

/* Returns 0, or -EINVAL with the error filled in. */
int hints_read(const struct http_request *request, struct hints *ret_hints,
               struct wire_error *error);

#endif
