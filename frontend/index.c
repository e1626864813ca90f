#include "frontend/index.h"

#include <string.h>

#include "frontend/handlers.h"
#include "frontend/health.h"
#include "frontend/reply.h"
#include "frontend/state.h"

static const char style[] =
    "body{font:16px/1.5 system-ui,sans-serif;max-width:44em;margin:3em auto;padding:0 1em;"
    "color:#222;background:#fff}h1{font-size:1.4em}pre{background:#f4f4f4;padding:1em;"
    "overflow-x:auto;border-radius:4px}td{padding:.1em 1em .1em 0}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}pre{background:#242424}"
    "a{color:#8ab4f8}}";

static void append_escaped(struct strbuf *out, const char *text)
{
    static const struct {
        char from;
        const char *to;
    } rows[] = {
        { '&', "&amp;" }, { '<', "&lt;" }, { '>', "&gt;" }, { '"', "&quot;" }, { '\'', "&#39;" }
    };
    for (; *text != '\0'; text++) {
        const char *to = NULL;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
            if (rows[i].from == *text)
                to = rows[i].to;
        if (to != NULL)
            strbuf_append_text(out, to);
        else
            strbuf_append_char(out, *text);
    }
}

static void append_row(struct strbuf *out, const char *name, const char *value)
{
    strbuf_printf(out, "<tr><td>%s</td><td><b>", name);
    append_escaped(out, value);
    strbuf_append_text(out, "</b></td></tr>");
}

static void append_json_escaped(struct strbuf *out, const char *text)
{
    struct strbuf quoted = { 0 };
    strbuf_append_json_string(&quoted, text, strlen(text));
    if (!quoted.failed)
        append_escaped(out, quoted.data);
    strbuf_finish(&quoted);
}

void index_write_html(const struct index_facts *facts, struct strbuf *out)
{
    static const char *const links[] = { "/v1/models", "/health", "/stats", "/metrics",
                                         "/version" };
    strbuf_printf(out,
                  "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
                  "<meta name=\"viewport\" content=\"width=device-width\">"
                  "<title>Tokenring</title><style>%s</style></head><body><h1>Tokenring</h1><table>",
                  style);
    append_row(out, "version", TOKENRING_VERSION);
    append_row(out, "model", facts->model);
    append_row(out, "state", facts->state);
    strbuf_append_text(out, "</table><pre>curl ");
    append_escaped(out, facts->scheme);
    strbuf_append_text(out, "://");
    append_escaped(out, facts->address);
    strbuf_append_text(out, "/v1/chat/completions -H 'content-type: application/json' \\\n  -d '{"
                            "\"model\":");
    append_json_escaped(out, facts->model);
    strbuf_append_text(out,
                       ",\"messages\":[{\"role\":\"user\",\"content\":\"What is the capital of "
                       "France?\"}]}'</pre><p>");
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
        strbuf_printf(out, "<a href=\"%s\">%s</a> ", links[i], links[i]);
    strbuf_append_text(out, "</p></body></html>\n");
}

void index_write_json(const struct index_facts *facts, struct strbuf *out)
{
    strbuf_append_text(out,
                       "{\"name\":\"tokenring\",\"version\":\"" TOKENRING_VERSION "\",\"model\":");
    strbuf_append_json_string(out, facts->model, strlen(facts->model));
    strbuf_append_text(out, ",\"state\":");
    strbuf_append_json_string(out, facts->state, strlen(facts->state));
    strbuf_append_text(out,
                       ",\"links\":[\"/v1/chat/completions\",\"/v1/completions\",\"/v1/models\","
                       "\"/health\",\"/stats\",\"/metrics\",\"/version\"]}\n");
}

/* What the browser called us; anything odd is not echoed. */
static bool usable_address(struct http_text host)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]";
    for (size_t i = 0; i < host.len; i++)
        if (host.data[i] == '\0' || strchr(allowed, host.data[i]) == NULL)
            return false;
    return host.len > 0 && host.len < 256;
}

void index_handle(struct frontend *frontend, struct http_request *request)
{
    const struct http_text accept = http_header(request, "accept");
    const struct http_text host = http_authority(request);
    char address[256] = "localhost:8000";
    struct strbuf body = { 0 };

    if (usable_address(host)) {
        memcpy(address, host.data, host.len);
        address[host.len] = '\0';
    }
    const struct index_facts facts = {
        .model = frontend->card->names[0],
        .state = health_look(frontend).state,
        .address = address,
        .scheme = frontend->settings.ssl_certfile != NULL ? "https" : "http",
    };
    http_add_header(request, "vary", "accept");
    if (accept.len == 0 || memmem(accept.data, accept.len, "text/html", 9) == NULL) {
        index_write_json(&facts, &body);
        reply_json(request, 200, &body);
        return;
    }
    index_write_html(&facts, &body);
    http_add_header(request, "content-security-policy",
                    "default-src 'none'; style-src 'unsafe-inline'");
    if (body.failed)
        reply_code(request, WIRE_NO_WORKER, "The server is out of memory.");
    else
        http_reply(request, 200, "text/html; charset=utf-8", body.data, body.len);
    strbuf_finish(&body);
}
