/*
 * stream.h - server-sent events: the headers, the first comment, comments in silence
 */
#ifndef FRONTEND_STREAM_H
#define FRONTEND_STREAM_H

#include <stdint.h>

struct frontend;
struct http_request;

/* Begin an event stream; a first comment carries the headers to the client at once. */
void stream_begin(struct http_request *request);

/* Once a second: a comment into every stream that was silent for the interval. */
void stream_keep_alive(struct frontend *frontend);

#endif
