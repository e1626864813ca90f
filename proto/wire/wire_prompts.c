#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "proto/wire/wire_check.h"

/* Where a prompt stands: the whole field, or prompt[i]. */
static struct wire_place prompt_place(const char *param, size_t i, bool in_list)
{
    return in_list ? wire_place("%s[%zu]", param, i) : wire_place("%s", param);
}

static int check_id(struct wire_parser *p, const struct wire_place *place, size_t i,
                    const json_t *value, int32_t *ret_id)
{
    const int32_t vocab_size = p->limits->vocab_size;
    const int64_t max = vocab_size > 0 ? vocab_size - 1 : INT32_MAX;
    int64_t id;
    if (json_get_int64(value, &id) && id >= 0 && id <= max) {
        *ret_id = (int32_t)id;
        return 0;
    }
    const struct wire_place at = wire_place("%s[%zu]", place->text, i);
    if (!json_is_number(value))
        return wire_error_set(p->error, WIRE_INVALID_TYPE, at.text,
                              "%s must be a token id, as what comes before it.", at.text);
    return wire_check_int(p, at.text, value, 0, max, &id);
}

static int read_ids(struct wire_parser *p, const struct wire_place *place, const json_t *list,
                    struct wire_prompt *ret_prompt)
{
    const size_t num_ids = json_array_size(list);
    if (num_ids == 0)
        return wire_error_set(p->error, WIRE_EMPTY_ARRAY, place->text,
                              "%s is empty, at least one token is needed.", place->text);
    int32_t *ids = arena_alloc_array(p->arena, num_ids, sizeof(*ids));
    if (ids == NULL)
        return wire_refuse_memory(p);
    for (size_t i = 0; i < num_ids; i++) {
        const int r = check_id(p, place, i, json_array_get(list, i), &ids[i]);
        if (r < 0)
            return r;
    }
    *ret_prompt = (struct wire_prompt){ .ids = ids, .num_ids = (uint32_t)num_ids };
    return 0;
}

static void read_text(const json_t *value, struct wire_prompt *ret_prompt)
{
    *ret_prompt = (struct wire_prompt){ .text = json_string_value(value),
                                        .text_len = json_string_length(value) };
}

/* One element of a list whose first element says what all are. */
static int read_element(struct wire_parser *p, const char *param, const json_t *list, size_t i)
{
    const json_t *value = json_array_get(list, i);
    const bool strings = json_is_string(json_array_get(list, 0));
    const struct wire_place place = prompt_place(param, i, true);
    struct wire_prompt *prompt = &p->request->prompts[i];
    if (strings ? !json_is_string(value) : !json_is_array(value))
        return wire_refuse_type(p, place.text, value,
                                strings ? "a string, as prompt[0] is"
                                        : "an array of token ids, as prompt[0] is");
    if (!strings)
        return read_ids(p, &place, value, prompt);
    read_text(value, prompt);
    return 0;
}

static int read_list(struct wire_parser *p, const char *param, const json_t *list)
{
    int r = wire_check_array(p, param, list, WIRE_MAX_PROMPTS);
    if (r < 0)
        return r;
    p->request->num_prompts = (uint32_t)json_array_size(list);
    p->request->prompts =
        arena_alloc_array(p->arena, p->request->num_prompts, sizeof(*p->request->prompts));
    if (p->request->prompts == NULL)
        return wire_refuse_memory(p);
    for (size_t i = 0; r == 0 && i < p->request->num_prompts; i++)
        r = read_element(p, param, list, i);
    return r;
}

static int read_one(struct wire_parser *p, const char *param, const json_t *value)
{
    const struct wire_place place = prompt_place(param, 0, false);
    p->request->num_prompts = 1;
    p->request->prompts = arena_alloc(p->arena, sizeof(*p->request->prompts));
    if (p->request->prompts == NULL)
        return wire_refuse_memory(p);
    if (json_is_array(value))
        return read_ids(p, &place, value, p->request->prompts);
    read_text(value, p->request->prompts);
    return 0;
}

int wire_parse_prompt(struct wire_parser *p, const char *param, json_t *value)
{
    if (json_is_string(value))
        return read_one(p, param, value);
    if (!json_is_array(value))
        return wire_refuse_type(p, param, value,
                                "a string, an array of strings, or one or several arrays of "
                                "token ids");
    const json_t *first = json_array_get(value, 0);
    if (first == NULL)
        return wire_error_set(p->error, WIRE_EMPTY_ARRAY, param,
                              "%s is empty, at least one prompt is needed.", param);
    if (json_is_string(first) || json_is_array(first))
        return read_list(p, param, value);
    if (json_is_number(first))
        return read_one(p, param, value);
    return wire_refuse_type(p, wire_place("%s[0]", param).text, first,
                            "a string, a token id or an array of token ids");
}
