#include "frontend/dispatch.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/clock.h"
#include "frontend/reply.h"
#include "frontend/route.h"
#include "frontend/state.h"

enum { MAX_HEADER_BYTES = 64 * 1024, MAX_HEADERS = 100 };

void dispatch_make_id(struct frontend *frontend, const char *prefix, char *out, size_t size)
{
    uint64_t *s = frontend->random_state;
    uint32_t tail;
    if (getrandom(s, 2 * sizeof(*s), GRND_NONBLOCK) != (ssize_t)(2 * sizeof(*s)))
        s[0]++; /* not guessable is wanted, unique is needed */
    tail = (uint32_t)s[1];
    snprintf(out, size, "%s%016llx%08x", prefix, (unsigned long long)s[0], tail);
}

bool dispatch_is_usable_id(struct http_text id)
{
    if (id.len == 0 || id.len > HTTP_REQUEST_ID_BYTES)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!isgraph((unsigned char)id.data[i]))
            return false;
    return true;
}

static void name_request(struct frontend *frontend, struct http_request *request)
{
    char id[HTTP_REQUEST_ID_BYTES + 1];
    const struct http_text given = http_header(request, "x-request-id");
    if (dispatch_is_usable_id(given))
        snprintf(id, sizeof(id), "%.*s", (int)given.len, given.data);
    else
        dispatch_make_id(frontend, "req-", id, sizeof(id));
    http_set_request_id(request, id);
}

/* --- keys --------------------------------------------------------------------------------- */

static bool find_key(const struct auth *auth, const struct http_request *request,
                     struct auth_key *ret_key)
{
    size_t len = 0;
    const struct http_text authorization = http_header(request, "authorization");
    const char *bearer =
        authorization.len > 0 ? auth_bearer(authorization.data, authorization.len, &len) : NULL;
    if (bearer != NULL && auth_check(auth, bearer, len, ret_key))
        return true;
    static const char *const names[] = { "x-api-key", "api-key" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct http_text key = http_header(request, names[i]);
        if (key.len > 0 && auth_check(auth, key.data, key.len, ret_key))
            return true;
    }
    return false;
}

static bool needs_key(const struct frontend *frontend, const struct route *route)
{
    if (!auth_is_required(frontend->auth))
        return false;
    return route->access == ROUTE_KEY ||
           (route->access == ROUTE_METRICS && frontend->settings.metrics_auth);
}

/* --- bodies ------------------------------------------------------------------------------- */

static bool is_json_type(struct http_text type)
{
    static const char json[] = "application/json";
    const size_t n = sizeof(json) - 1;
    if (type.len == 0)
        return true; /* a missing type is accepted */
    if (type.len < n || strncasecmp(type.data, json, n) != 0)
        return false;
    return type.len == n || type.data[n] == ';' || type.data[n] == ' ';
}

static bool body_is_acceptable(struct frontend *frontend, struct http_request *request)
{
    const struct http_text type = http_header(request, "content-type");
    const struct http_text encoding = http_header(request, "content-encoding");
    if (http_body(request).len > (size_t)frontend->settings.max_body_size) {
        reply_code(request, WIRE_REQUEST_TOO_LARGE,
                   "The request body has %zu bytes; at most %lld are accepted.",
                   http_body(request).len, (long long)frontend->settings.max_body_size);
        return false;
    }
    if (!is_json_type(type)) {
        reply_code(request, WIRE_UNSUPPORTED_MEDIA_TYPE,
                   "The content type must be application/json.");
        return false;
    }
    if (encoding.len > 0 &&
        !(encoding.len == 8 && strncasecmp(encoding.data, "identity", 8) == 0)) {
        reply_code(request, WIRE_UNSUPPORTED_MEDIA_TYPE,
                   "Compressed request bodies are not accepted.");
        return false;
    }
    return true;
}

/* --- the order of checks ------------------------------------------------------------------ */

static void handle_admitted(void *data, struct http_request *request)
{
    const struct http_text path = http_path(request);
    route_find(path.data, path.len)->handle(data, request);
}

static bool method_is_served(struct http_request *request, const struct route *route)
{
    char allow[64];
    const struct http_text method = http_method_text(request);
    if (route_allows(route, http_method(request)))
        return true;
    route_allow_text(route, allow, sizeof(allow));
    http_add_header(request, "allow", allow);
    if (http_method(request) == HTTP_OPTIONS)
        http_reply(request, 204, NULL, "", 0);
    else
        reply_code(request, WIRE_METHOD_NOT_ALLOWED, "%s does not answer to %.*s, only to %s.",
                   route->path, method.len < 16 ? (int)method.len : 16, method.data, allow);
    return false;
}

/* A right key passes from wherever it comes: others may share the address with who is guessing. */
static void refuse_key(struct frontend *frontend, struct http_request *request)
{
    struct wire_error error = { 0 };
    struct in6_addr address;
    const int64_t now = clock_now_us();
    const uint32_t wait_ms =
        http_address(request, &address) ? guess_refuse(&frontend->guesses, &address, now) : 0;
    if (wait_ms == 0)
        wire_error_set(&error, WIRE_INVALID_API_KEY, "",
                       "Incorrect API key provided: send it as 'Authorization: Bearer KEY'.");
    else
        wire_error_set(&error, WIRE_KEY_RATE_EXCEEDED, "",
                       "Too many incorrect API keys came from this address.");
    error.retry_after_ms = wait_ms + wait_ms / 4;
    reply_error(request, &error);
}

static bool key_is_good(struct frontend *frontend, struct http_request *request,
                        const struct route *route)
{
    if (!needs_key(frontend, route))
        return true;
    struct auth_key key;
    if (find_key(frontend->auth, request, &key)) {
        const struct http_caller caller = {
            .tenant = key.tenant,
            .identity = key.identity,
            .account = account_get(frontend->accounts, key.identity, &key.limits, clock_now_us()),
        };
        http_set_caller(request, &caller);
        return true;
    }
    stat_add(frontend->own->words, STAT_REJECTED_AUTH, 1);
    refuse_key(frontend, request);
    return false;
}

static void route_request(struct frontend *frontend, struct http_request *request,
                          const struct route *route)
{
    if (route->quiet)
        http_set_quiet(request);
    if (!method_is_served(request, route) || !key_is_good(frontend, request, route))
        return;
    if (route->methods & HTTP_POST) {
        if (body_is_acceptable(frontend, request))
            http_defer(request, handle_admitted, frontend);
        return;
    }
    route->handle(frontend, request);
}

/* Is the path one that was switched off? */
static bool is_off(const struct frontend *frontend, const struct route *route)
{
    return route->access == ROUTE_METRICS && !frontend->settings.metrics;
}

void dispatch_request(void *data, struct http_request *request)
{
    struct frontend *frontend = data;
    const struct http_text path = http_path(request);

    name_request(frontend, request);
    if (cors_is_preflight(request)) {
        cors_answer_preflight(&frontend->cors, request);
        return;
    }
    cors_add_headers(&frontend->cors, request);
    if (frontend->draining)
        http_close_after(request);
    if (http_header_bytes(request) > MAX_HEADER_BYTES || http_num_headers(request) > MAX_HEADERS) {
        http_close_after(request);
        reply_code(request, WIRE_HEADERS_TOO_LARGE,
                   "The request's headers are larger than %d bytes or more than %d.",
                   MAX_HEADER_BYTES, MAX_HEADERS);
        return;
    }
    const char *fault = http_head_fault(request);
    if (fault != NULL) {
        http_close_after(request);
        reply_code(request, WIRE_INVALID_VALUE, "%s", fault);
        return;
    }
    const struct route *route = route_find(path.data, path.len);
    if (route == NULL || is_off(frontend, route)) {
        reply_code(request, WIRE_NOT_FOUND, "There is nothing at %.*s.",
                   path.len < 64 ? (int)path.len : 64, path.data);
        return;
    }
    route_request(frontend, request, route);
}
