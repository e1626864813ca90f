/*
 * http.h - one HTTP request as the handlers see it, whatever library speaks the protocol
 *
 * A request is answered once: by http_reply(), or by http_stream_begin(), any number of writes
 * into its buffer, and http_stream_end(). It lives until the peer has everything or is gone;
 * after http_reply() or http_stream_end() returned it must not be touched.
 *
 * Somebody who holds on to a request past the handler's return attaches itself as its owner and
 * is told once, through `gone`, when the client left before the answer was complete. After
 * `gone`, and after answering, the owner has no request any more.
 *
 * Everything here is called in callbacks of the event loop.
 */
#ifndef FRONTEND_HTTP_H
#define FRONTEND_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

struct http_request;

struct http_text {
    const char *data; /* len bytes, not NUL-terminated; NULL when absent */
    size_t len;
};

enum http_method {
    HTTP_GET = 1,
    HTTP_HEAD = 2,
    HTTP_POST = 4,
    HTTP_OPTIONS = 8,
    HTTP_OTHER = 16,
};

enum { HTTP_REQUEST_ID_BYTES = 128 };

/* --- what was asked; valid until the request is answered ---------------------------------- */

enum http_method http_method(const struct http_request *request);
struct http_text http_method_text(const struct http_request *request);
struct http_text http_path(const struct http_request *request); /* without query, "%2F" decoded */
struct http_text http_authority(const struct http_request *request); /* host:port asked for */
struct http_text http_body(const struct http_request *request);
struct http_text http_header(const struct http_request *request, const char *lower_case_name);
size_t http_header_bytes(const struct http_request *request);
size_t http_num_headers(const struct http_request *request);
/* What in its head could be read in two ways (HTTP/1), as a sentence; NULL: nothing. */
const char *http_head_fault(const struct http_request *request);
int64_t http_began_us(const struct http_request *request); /* clock_now_us() */

/* The request's id, sent back and put in every log line: set by the dispatcher, and by the body
 * where the client's headers gave none. */
const char *http_request_id(const struct http_request *request);
void http_set_request_id(struct http_request *request, const char *id);

/* Where it came from, as IPv6; false for peers that are not told apart: loopback, unix sockets. */
struct in6_addr;
bool http_address(const struct http_request *request, struct in6_addr *ret_address);

/* Whose key it came with, zeros where none is needed: set once by the dispatcher. */
struct account;
struct http_caller {
    int32_t tenant;          /* number of the key's name, 0: it has none */
    uint64_t identity;       /* of the name or of the key, across processes and re-reading */
    struct account *account; /* valid until the request is admitted */
};
const struct http_caller *http_caller(const struct http_request *request);
void http_set_caller(struct http_request *request, const struct http_caller *caller);

/* --- answering ---------------------------------------------------------------------------- */

/* Add a header to the answer to come. Both texts are copied. */
void http_add_header(struct http_request *request, const char *lower_case_name, const char *value);

/* Close the connection behind this answer (HTTP/1). */
void http_close_after(struct http_request *request);

/* The whole answer. `data` is copied; HEAD sends the headers alone. */
void http_reply(struct http_request *request, int status, const char *content_type,
                const char *data, size_t len);

/*
 * Begin an answer of unknown length. Text appended to http_stream_buffer() goes out with the
 * next http_stream_flush(), unless one piece is still on its way to the client: then it
 * collects and goes out when that piece has left.
 */
void http_stream_begin(struct http_request *request, int status, const char *content_type);
struct strbuf *http_stream_buffer(struct http_request *request);
void http_stream_flush(struct http_request *request);
void http_stream_end(struct http_request *request); /* flushes first */

bool http_is_streaming(const struct http_request *request); /* begun and not ended */

/* Is a piece on its way, and since when does the client not take it (clock_now_us(), 0: no)? */
int64_t http_stream_blocked_since_us(const struct http_request *request);
int64_t http_stream_last_write_us(const struct http_request *request);

/* Cut the connection (with HTTP/2: all of its streams). The owner hears of it through `gone`. */
void http_kick(struct http_request *request);

/* --- holding on --------------------------------------------------------------------------- */

struct http_owner {
    void (*gone)(void *owner);
    void (*writable)(void *owner); /* a piece has left and the next may be made; or NULL */
};
void http_attach(struct http_request *request, const struct http_owner *kind, void *owner);

/* Call `work` in the next turn of the loop, unless the client is gone by then. */
void http_defer(struct http_request *request, void (*work)(void *data, struct http_request *),
                void *data);

/* No log line: probes, and requests whose line the session writes. */
void http_set_quiet(struct http_request *request);

#endif
