#include <string.h>

#include "frontend/handlers.h"
#include "frontend/health.h"
#include "frontend/reply.h"
#include "frontend/state.h"

static void write_text(struct strbuf *out, const char *text)
{
    strbuf_append_json_string(out, text, strlen(text));
}

static void write_model(const struct frontend *frontend, const char *name, struct strbuf *out)
{
    struct session_limits limits;
    strbuf_append_text(out, "{\"id\":");
    write_text(out, name);
    strbuf_printf(out,
                  ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"tokenring\",\"root\":",
                  (long long)frontend->created);
    write_text(out, frontend->card->names[0]);
    strbuf_append_text(out, ",\"parent\":null,\"max_model_len\":");
    if (session_get_limits(frontend->session, &limits))
        strbuf_printf(out, "%d", limits.max_model_len);
    else
        strbuf_append_text(out, "null");
    strbuf_append_text(out, ",\"architecture\":");
    if (frontend->card->architecture[0] != '\0')
        write_text(out, frontend->card->architecture);
    else
        strbuf_append_text(out, "null");
    strbuf_append_text(out, ",\"tokenring_status\":");
    write_text(out, health_look(frontend).state);
    strbuf_append_char(out, '}');
}

void models_handle_list(struct frontend *frontend, struct http_request *request)
{
    struct strbuf body = { 0 };
    strbuf_append_text(&body, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < frontend->card->num_names; i++) {
        if (i > 0)
            strbuf_append_char(&body, ',');
        write_model(frontend, frontend->card->names[i], &body);
    }
    strbuf_append_text(&body, "]}\n");
    reply_json(request, 200, &body);
}

/* Everything behind /v1/models/ is the id, slashes included. */
void models_handle_one(struct frontend *frontend, struct http_request *request)
{
    static const char prefix[] = "/v1/models/";
    struct http_text path = http_path(request);
    struct strbuf body = { 0 };

    path.data += sizeof(prefix) - 1;
    path.len -= sizeof(prefix) - 1;
    const char *name = model_card_find_name(frontend->card, path.data, path.len);
    if (name == NULL && path.len > 1 && path.data[path.len - 1] == '/')
        name = model_card_find_name(frontend->card, path.data, path.len - 1);
    if (name == NULL) {
        reply_code(request, WIRE_MODEL_NOT_FOUND,
                   "The model '%.*s' does not exist; this server serves '%s'.",
                   path.len < 64 ? (int)path.len : 64, path.data, frontend->card->names[0]);
        return;
    }
    write_model(frontend, name, &body);
    strbuf_append_char(&body, '\n');
    reply_json(request, 200, &body);
}
