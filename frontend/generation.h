/*
 * generation.h - one request for generated text, from its body to the end of its answer
 *
 *     prepare (in the loop, or on the side thread when large) -> submit -> events -> wire
 *
 * Nothing is sent before the engine accepted or refused. A client that leaves cancels, whatever
 * the state. The record frees itself when its answer is complete or its client is gone.
 */
#ifndef FRONTEND_GENERATION_H
#define FRONTEND_GENERATION_H

#include "proto/wire/wire_request.h"

struct frontend;
struct http_request;

/* Take the request on: called in the loop, a turn after it arrived. */
void generation_begin(struct frontend *frontend, struct http_request *request,
                      enum wire_endpoint endpoint);

/* What session_drain() calls once per batch. */
void generation_flush(void *owner);

/* End every answer: streams with an error event, the others with an error. */
void generation_cut_all(struct frontend *frontend);

#endif
