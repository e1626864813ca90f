#include <string.h>

#include "frontend/handlers.h"
#include "frontend/reply.h"
#include "frontend/state.h"

void version_handle(struct frontend *frontend, struct http_request *request)
{
    struct strbuf body = { 0 };
    strbuf_append_text(&body, "{\"version\":\"" TOKENRING_VERSION "\",\"backend\":");
    if (frontend->backend[0] != '\0')
        strbuf_append_json_string(&body, frontend->backend, strlen(frontend->backend));
    else
        strbuf_append_text(&body, "null");
    strbuf_append_text(&body, ",\"system_fingerprint\":");
    if (frontend->fingerprint[0] != '\0')
        strbuf_append_json_string(&body, frontend->fingerprint, strlen(frontend->fingerprint));
    else
        strbuf_append_text(&body, "null");
    strbuf_append_text(&body, "}\n");
    reply_json(request, 200, &body);
}
