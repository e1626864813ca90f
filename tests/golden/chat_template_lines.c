/*
 * chat_template_lines.c - renders templates for another program to compare
 *
 * Reads a JSON object {"template": text, "context": object} from each line of standard input
 * and answers each with a line: {"text": ...} or {"error": ..., "code": errno, "param": ...}.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lines.h"
#include "text/chat_template.h"

enum { WALL_SECONDS = 1753700000 };

static int render(const json_t *line, struct strbuf *out, struct error *err)
{
    struct chat_template *template;
    const json_t *source = json_object_get(line, "template");
    int r =
        chat_template_create(json_string_value(source), json_string_length(source), &template, err);
    if (r < 0)
        return r;
    r = chat_template_render(template, json_object_get(line, "context"),
                             (int64_t)WALL_SECONDS * 1000000, out, err);
    chat_template_destroy(template);
    return r;
}

static void answer(const json_t *line)
{
    struct strbuf text = { 0 }, out = { 0 };
    struct error err = { 0 };
    const int r = render(line, &text, &err);

    strbuf_append_text(&out, r == 0 ? "{\"text\": " : "{\"error\": ");
    if (r == 0)
        strbuf_append_json_string(&out, text.data == NULL ? "" : text.data, text.len);
    else
        strbuf_append_json_string(&out, err.message, strlen(err.message));
    if (r < 0)
        strbuf_printf(&out, ", \"code\": %d, \"param\": \"%s\"", -r, err.param);
    strbuf_append_text(&out, "}");
    puts(out.data);
    fflush(stdout);
    strbuf_finish(&text);
    strbuf_finish(&out);
}

int main(void)
{
    return lines_answer(answer);
}
