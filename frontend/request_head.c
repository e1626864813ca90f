/* What was asked: everything that a handler may read of a request. */
#include <stdio.h>
#include <string.h>

#include "frontend/raw_head.h"
#include "frontend/request_internal.h"

static struct http_text text_of(h2o_iovec_t v)
{
    return (struct http_text){ v.base, v.base == NULL ? 0 : v.len };
}

enum http_method request_method_of(h2o_iovec_t text)
{
    static const struct {
        const char *name;
        enum http_method method;
    } rows[] = { { "GET", HTTP_GET },
                 { "HEAD", HTTP_HEAD },
                 { "POST", HTTP_POST },
                 { "OPTIONS", HTTP_OPTIONS } };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (h2o_memis(text.base, text.len, rows[i].name, strlen(rows[i].name)))
            return rows[i].method;
    return HTTP_OTHER;
}

enum http_method http_method(const struct http_request *request)
{
    return request->method;
}

struct http_text http_method_text(const struct http_request *request)
{
    return text_of(request->req->input.method);
}

struct http_text http_path(const struct http_request *request)
{
    return text_of(request->req->path_normalized);
}

struct http_text http_authority(const struct http_request *request)
{
    return text_of(request->req->input.authority);
}

struct http_text http_body(const struct http_request *request)
{
    return text_of(request->req->entity);
}

struct http_text http_header(const struct http_request *request, const char *lower_case_name)
{
    const h2o_headers_t *headers = &request->req->headers;
    const size_t len = strlen(lower_case_name);
    for (size_t i = 0; i < headers->size; i++)
        if (h2o_memis(headers->entries[i].name->base, headers->entries[i].name->len,
                      lower_case_name, len))
            return text_of(headers->entries[i].value);
    return (struct http_text){ NULL, 0 };
}

size_t http_header_bytes(const struct http_request *request)
{
    const h2o_headers_t *headers = &request->req->headers;
    size_t bytes = request->req->input.path.len;
    for (size_t i = 0; i < headers->size; i++)
        bytes += headers->entries[i].name->len + headers->entries[i].value.len + 4;
    return bytes;
}

size_t http_num_headers(const struct http_request *request)
{
    return request->req->headers.size;
}

/* The library leaves the head in the socket's buffer until the request has been answered. */
const char *http_head_fault(const struct http_request *request)
{
    const h2o_req_t *req = request->req;
    const h2o_socket_t *socket = request->connection->socket;
    const h2o_buffer_t *input = socket->input;
    const size_t n = req->input.method.len;
    if (req->version >= 0x200 || input->size <= n ||
        memcmp(input->bytes, req->input.method.base, n) != 0)
        return NULL;
    return raw_head_fault(input->bytes, input->size);
}

int64_t http_began_us(const struct http_request *request)
{
    return request->began_us;
}

const char *http_request_id(const struct http_request *request)
{
    return request->id;
}

void http_set_request_id(struct http_request *request, const char *id)
{
    snprintf(request->id, sizeof(request->id), "%s", id);
}

bool http_address(const struct http_request *request, struct in6_addr *ret_address)
{
    *ret_address = request->connection->address;
    return request->connection->counted;
}

const struct http_caller *http_caller(const struct http_request *request)
{
    return &request->caller;
}

void http_set_caller(struct http_request *request, const struct http_caller *caller)
{
    request->caller = *caller;
}
