#include <errno.h>
#include <string.h>

#include "proto/wire/wire_check.h"

enum { MAX_MESSAGES = 4096, MAX_PARTS = 256, MAX_TOOL_CALLS = 256, NAME_BYTES = 64 };

/* How the parts of a content may look. */
enum part_use { PART_TEXT, PART_OTHER };

static const struct part_type {
    const char *type; /* also the key by which a part without a type is known */
    const char *key;  /* that holds its text */
    enum part_use use;
} part_types[] = {
    { "text", "text", PART_TEXT },          { "input_text", "text", PART_TEXT },
    { "output_text", "text", PART_TEXT },   { "refusal", "refusal", PART_TEXT },
    { "thinking", "thinking", PART_OTHER }, { "reasoning", "reasoning", PART_OTHER },
    { "image_url", NULL, PART_OTHER },      { "input_image", NULL, PART_OTHER },
    { "input_audio", NULL, PART_OTHER },    { "audio_url", NULL, PART_OTHER },
    { "video_url", NULL, PART_OTHER },      { "input_video", NULL, PART_OTHER },
    { "file", NULL, PART_OTHER },           { "image_embeds", NULL, PART_OTHER },
    { "audio_embeds", NULL, PART_OTHER },
};
enum { NUM_PART_TYPES = sizeof(part_types) / sizeof(part_types[0]) };

static int refuse_missing(struct wire_parser *p, const char *param)
{
    return wire_error_set(p->error, WIRE_MISSING_REQUIRED_PARAMETER, param, "%s is missing.",
                          param);
}

/* The part's type as written, or the first known key that it has. */
static const char *part_type_name(const json_t *part)
{
    const json_t *type = wire_get(part, "type");
    if (type != NULL)
        return json_string_value(type);
    for (int i = 0; i < NUM_PART_TYPES; i++)
        if (wire_get(part, part_types[i].type) != NULL)
            return part_types[i].type;
    return NULL;
}

static const struct part_type *find_part_type(const char *name)
{
    for (int i = 0; i < NUM_PART_TYPES; i++)
        if (strcmp(part_types[i].type, name) == 0)
            return &part_types[i];
    return NULL;
}

static int refuse_part(struct wire_parser *p, const char *param, const char *name)
{
    char part[WIRE_ECHO_ROOM], model[WIRE_ECHO_ROOM];
    wire_echo(name, strlen(name), part);
    wire_echo(p->request->model, p->request->model_len, model);
    return wire_error_set(p->error, WIRE_UNSUPPORTED_CONTENT_PART, param,
                          "%s is of type '%s'; model '%s' reads text only.", param, part, model);
}

static int check_part(struct wire_parser *p, const char *param, const json_t *part)
{
    int r = wire_check_object(p, param, part);
    const json_t *type = r == 0 ? wire_get(part, "type") : NULL;
    if (r == 0 && type != NULL)
        r = wire_check_name(p, wire_place("%s.type", param).text, type, 0);
    if (r < 0)
        return r;
    const char *name = part_type_name(part);
    if (name == NULL)
        return refuse_missing(p, wire_place("%s.type", param).text);
    const struct part_type *known = find_part_type(name);
    if (known == NULL || known->use != PART_TEXT)
        return refuse_part(p, param, name);
    const json_t *text = wire_get(part, known->key);
    const struct wire_place at = wire_place("%s.%s", param, known->key);
    return text == NULL ? refuse_missing(p, at.text) : wire_check_string(p, at.text, text, 0);
}

static int check_parts(struct wire_parser *p, const char *param, const json_t *parts)
{
    int r = wire_check_array(p, param, parts, MAX_PARTS);
    if (r == 0 && json_array_size(parts) == 0)
        return wire_error_set(p->error, WIRE_EMPTY_ARRAY, param,
                              "%s is empty, at least one part is needed.", param);
    for (size_t i = 0; r == 0 && i < json_array_size(parts); i++)
        r = check_part(p, wire_place("%s[%zu]", param, i).text, json_array_get(parts, i));
    return r;
}

/* Roles whose message says nothing without a content. */
static bool needs_content(const char *role)
{
    static const char *const roles[] = { "system", "developer", "user", "tool" };
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
        if (strcmp(roles[i], role) == 0)
            return true;
    return false;
}

static int check_content(struct wire_parser *p, const char *place, const json_t *message,
                         const char *role)
{
    const json_t *content = wire_get(message, "content");
    const struct wire_place at = wire_place("%s.content", place);
    if (content == NULL)
        return needs_content(role) ? refuse_missing(p, at.text) : 0;
    if (json_is_string(content))
        return 0;
    if (!json_is_array(content))
        return wire_refuse_type(p, at.text, content, "a string or an array of parts");
    p->request->num_content_parts_joined += (uint32_t)json_array_size(content);
    return check_parts(p, at.text, content);
}

static int check_role(struct wire_parser *p, const char *place, const json_t *message,
                      const char **ret_role)
{
    const json_t *role = wire_get(message, "role");
    const struct wire_place at = wire_place("%s.role", place);
    if (role == NULL)
        return refuse_missing(p, at.text);
    const int r = wire_check_name(p, at.text, role, NAME_BYTES);
    if (r == 0 && json_string_length(role) == 0)
        return wire_error_set(p->error, WIRE_INVALID_VALUE, at.text, "%s is empty.", at.text);
    *ret_role = json_string_value(role);
    return r;
}

/* Members that a template may read as strings. */
static int check_texts(struct wire_parser *p, const char *place, const json_t *message)
{
    static const struct {
        const char *key;
        size_t max_len;
    } texts[] = { { "name", NAME_BYTES },
                  { "tool_call_id", 256 },
                  { "refusal", 0 },
                  { "reasoning_content", 0 },
                  { "reasoning", 0 } };
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(texts) / sizeof(texts[0]); i++) {
        const json_t *value = wire_get(message, texts[i].key);
        const struct wire_place at = wire_place("%s.%s", place, texts[i].key);
        if (value != NULL)
            r = texts[i].max_len > 0 ? wire_check_name(p, at.text, value, texts[i].max_len)
                                     : wire_check_string(p, at.text, value, 0);
    }
    return r;
}

/* {"name": string, "arguments": string or object} */
static int check_function(struct wire_parser *p, const char *place, const json_t *function)
{
    int r = wire_check_object(p, place, function);
    if (r < 0)
        return r;
    const json_t *name = wire_get(function, "name");
    const struct wire_place at = wire_place("%s.name", place);
    if (name == NULL)
        return refuse_missing(p, at.text);
    r = wire_check_name(p, at.text, name, NAME_BYTES);
    const json_t *arguments = wire_get(function, "arguments");
    if (r < 0 || arguments == NULL || json_is_string(arguments) || json_is_object(arguments))
        return r;
    return wire_refuse_type(p, wire_place("%s.arguments", place).text, arguments,
                            "a string of JSON");
}

static int check_tool_call(struct wire_parser *p, const char *place, const json_t *call)
{
    int r = wire_check_object(p, place, call);
    if (r < 0)
        return r;
    const json_t *id = wire_get(call, "id");
    const json_t *function = wire_get(call, "function");
    if (id != NULL)
        r = wire_check_name(p, wire_place("%s.id", place).text, id, 256);
    if (r < 0)
        return r;
    const struct wire_place at = wire_place("%s.function", place);
    return function == NULL ? refuse_missing(p, at.text) : check_function(p, at.text, function);
}

static int check_calls(struct wire_parser *p, const char *place, const json_t *message)
{
    const json_t *calls = wire_get(message, "tool_calls");
    const json_t *function = wire_get(message, "function_call");
    const struct wire_place at = wire_place("%s.tool_calls", place);
    int r = calls == NULL ? 0 : wire_check_array(p, at.text, calls, MAX_TOOL_CALLS);
    for (size_t i = 0; r == 0 && calls != NULL && i < json_array_size(calls); i++)
        r = check_tool_call(p, wire_place("%s[%zu]", at.text, i).text, json_array_get(calls, i));
    if (r == 0 && function != NULL)
        r = check_function(p, wire_place("%s.function_call", place).text, function);
    return r;
}

static int check_message(struct wire_parser *p, const char *place, const json_t *message)
{
    const char *role = NULL;
    int r = wire_check_object(p, place, message);
    if (r == 0)
        r = check_role(p, place, message, &role);
    if (r == 0)
        r = check_content(p, place, message, role);
    if (r == 0)
        r = check_texts(p, place, message);
    if (r == 0)
        r = check_calls(p, place, message);
    if (r == 0 && strcmp(role, "tool") == 0 && wire_get(message, "tool_call_id") == NULL)
        r = refuse_missing(p, wire_place("%s.tool_call_id", place).text);
    if (r == 0 && wire_get(message, "audio") != NULL)
        r = wire_refuse_unsupported(p, wire_place("%s.audio", place).text);
    return r;
}

int wire_parse_messages(struct wire_parser *p, const char *param, json_t *value)
{
    int r = wire_check_array(p, param, value, MAX_MESSAGES);
    if (r == 0 && json_array_size(value) == 0)
        return wire_error_set(p->error, WIRE_EMPTY_ARRAY, param,
                              "%s is empty, at least one message is needed.", param);
    for (size_t i = 0; r == 0 && i < json_array_size(value); i++)
        r = check_message(p, wire_place("%s[%zu]", param, i).text, json_array_get(value, i));
    p->request->messages = value;
    return r;
}
