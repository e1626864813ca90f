/*
 * Bytes: a template, a zero byte, its variables as JSON. Without the zero byte or where the rest
 * is no JSON object, a small conversation. What was compiled must render the same twice.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/chat_template.h"

static const char small_context[] = "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{"
                                    "\"role\":\"user\",\"content\":\"\xc3\xa9 a b\"},"
                                    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{"
                                    "\"function\":{\"name\":\"f\",\"arguments\":"
                                    "{\"x\":[1,2.5,true,null]}}}]}],\"tools\":null,\"add_"
                                    "generation_prompt\":true,\"bos_token\":\"<s>\"}";

static json_t *read_context(const uint8_t *data, size_t size)
{
    json_t *context = NULL;
    struct error err;
    const uint8_t *end = size == 0 ? NULL : memchr(data, 0, size);

    if (end != NULL &&
        json_read((const char *)end + 1, size - (size_t)(end - data) - 1, &json_limits_request,
                  &context, &err) == 0 &&
        json_is_object(context))
        return context;
    json_decref(context);
    context = NULL;
    if (json_read(small_context, strlen(small_context), &json_limits_request, &context, &err) < 0)
        abort();
    return context;
}

static void check_rendering(const struct chat_template *template, const json_t *context)
{
    struct strbuf first = { 0 }, second = { 0 };
    struct error err = { 0 };

    strbuf_append_text(&first, "kept");
    const int r = chat_template_render(template, context, 0, &first, &err);
    if (r < 0 && (first.len != 4 || err.message[0] == '\0' || err.code != r))
        abort();
    const int again = chat_template_render(template, context, 0, &second, &err);
    if (again != r ||
        (r == 0 && (second.len != first.len - 4 ||
                    (second.len > 0 && memcmp(second.data, first.data + 4, second.len) != 0))))
        abort();
    strbuf_finish(&first);
    strbuf_finish(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size == 0 ? NULL : memchr(data, 0, size);
    const size_t len = end == NULL ? size : (size_t)(end - data);
    struct chat_template *template = NULL;
    struct error err = { 0 };

    const int r = chat_template_create((const char *)data, len, &template, &err);
    if (r < 0) {
        if (template != NULL || err.message[0] == '\0' || err.code != r)
            abort();
        return 0;
    }
    json_t *context = read_context(data, size);
    (void)chat_template_wants_parts(template);
    (void)chat_template_uses(template, "tools");
    check_rendering(template, context);
    json_decref(context);
    chat_template_destroy(template);
    return 0;
}
