/*
 * raw_head.h - what in the head of an HTTP/1 request would let two readers see two requests
 *
 * The library's parser takes the last of several lengths, prefers chunked coding to a length, and
 * shows handlers neither. A proxy that decides otherwise would find another request in the same
 * bytes (request smuggling), so such heads are refused.
 */
#ifndef FRONTEND_RAW_HEAD_H
#define FRONTEND_RAW_HEAD_H

#include <stddef.h>

/*
 * `bytes` begin with a request line; the head ends at the first empty line, or with the bytes.
 *
 * Returns a sentence about the first ambiguity, or NULL.
 */
const char *raw_head_fault(const char *bytes, size_t len);

#endif
