/*
 * admission.h - from the body of a request to its place on the ring, or to a refusal
 *
 * What can be refused without reading the body is refused first; a large body is prepared on the
 * side thread, a small one at once.
 */
#ifndef FRONTEND_ADMISSION_H
#define FRONTEND_ADMISSION_H

#include "proto/wire/wire_request.h"

struct frontend;
struct http_request;

/* Take the request on: called in the loop, a turn after it arrived. */
void admission_begin(struct frontend *frontend, struct http_request *request,
                     enum wire_endpoint endpoint);

#endif
