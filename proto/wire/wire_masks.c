/* Fields that name tokens and words, and how the prompt is cut and kept apart. */
#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "proto/wire/wire_check.h"

enum { BAD_WORD_BYTES = 1024, SALT_BYTES = 128, REQUEST_ID_BYTES = 128 };

/* ------------------------------------------------------------------ ids */

static int read_ids(struct wire_parser *p, const char *param, const json_t *list, size_t max,
                    int32_t **ret_ids, uint32_t *ret_num)
{
    const int64_t last = p->limits->vocab_size > 0 ? p->limits->vocab_size - 1 : INT32_MAX;
    int r = wire_check_array(p, param, list, max);
    if (r < 0)
        return r;
    const size_t num = json_array_size(list);
    int32_t *ids = arena_alloc_array(p->arena, num, sizeof(*ids));
    if (ids == NULL && num > 0)
        return wire_refuse_memory(p);
    for (size_t i = 0; r == 0 && i < num; i++) {
        int64_t id = 0;
        r = wire_check_int(p, wire_place("%s[%zu]", param, i).text, json_array_get(list, i), 0,
                           last, &id);
        ids[i] = (int32_t)id;
    }
    *ret_ids = ids;
    *ret_num = (uint32_t)num;
    return r;
}

int wire_parse_stop_ids(struct wire_parser *p, const char *param, json_t *value)
{
    return read_ids(p, param, value, RECORD_MAX_STOP_IDS, &p->request->stop_ids,
                    &p->request->num_stop_ids);
}

int wire_parse_allowed_ids(struct wire_parser *p, const char *param, json_t *value)
{
    const size_t most = p->limits->vocab_size > 0 && p->limits->vocab_size < WIRE_MAX_ALLOWED_IDS
                            ? (size_t)p->limits->vocab_size
                            : WIRE_MAX_ALLOWED_IDS;
    const int r =
        read_ids(p, param, value, most, &p->request->allowed_ids, &p->request->num_allowed_ids);
    if (r < 0 || p->request->num_allowed_ids > 0)
        return r;
    return wire_error_set(p->error, WIRE_EMPTY_ARRAY, param,
                          "%s is empty, at least one token is needed.", param);
}

/* ------------------------------------------------------------------ words */

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}

static int read_word(struct wire_parser *p, const char *param, const json_t *value,
                     struct wire_text *ret_word)
{
    const int r = wire_check_name(p, param, value, BAD_WORD_BYTES);
    if (r < 0)
        return r;
    if (is_blank(json_string_value(value)))
        return wire_error_set(p->error, WIRE_INVALID_VALUE, param,
                              "%s is blank, at least 1 character is needed.", param);
    *ret_word = (struct wire_text){ json_string_value(value), json_string_length(value) };
    return 0;
}

int wire_parse_bad_words(struct wire_parser *p, const char *param, json_t *value)
{
    struct wire_request *request = p->request;
    int r = wire_check_array(p, param, value, WIRE_MAX_BAD_WORDS);
    if (r < 0 || json_array_size(value) == 0)
        return r;
    request->num_bad_words = (uint32_t)json_array_size(value);
    request->bad_words =
        arena_alloc_array(p->arena, request->num_bad_words, sizeof(*request->bad_words));
    if (request->bad_words == NULL)
        return wire_refuse_memory(p);
    for (size_t i = 0; r == 0 && i < request->num_bad_words; i++)
        r = read_word(p, wire_place("%s[%zu]", param, i).text, json_array_get(value, i),
                      &request->bad_words[i]);
    return r;
}

/* ------------------------------------------------------------------ the prompt */

int wire_parse_prompt_logprobs(struct wire_parser *p, const char *param, json_t *value)
{
    const int64_t most = p->limits->max_logprobs < RECORD_MAX_LOGPROBS ? p->limits->max_logprobs
                                                                       : RECORD_MAX_LOGPROBS;
    int64_t num = -1;
    const int r = wire_check_int(p, param, value, 0, most, &num);
    p->request->prompt_logprobs = (int32_t)num;
    return r;
}

int wire_parse_truncation(struct wire_parser *p, const char *param, json_t *value)
{
    int64_t num = 0;
    const int r = wire_check_int(p, param, value, -1, INT32_MAX, &num);
    if (r < 0)
        return r;
    if (num == 0)
        return wire_error_set(p->error, WIRE_INTEGER_BELOW_MIN, param,
                              "%s is 0, must be -1 or at least 1.", param);
    p->request->truncate_prompt = (int32_t)num;
    return 0;
}

int wire_parse_truncation_side(struct wire_parser *p, const char *param, json_t *value)
{
    char echo[WIRE_ECHO_ROOM];
    const int r = wire_check_string(p, param, value, 0);
    if (r < 0)
        return r;
    p->request->truncate_right = strcmp(json_string_value(value), "right") == 0;
    if (p->request->truncate_right || strcmp(json_string_value(value), "left") == 0)
        return 0;
    return wire_error_set(p->error, WIRE_INVALID_VALUE, param, "%s is '%s', must be left or right.",
                          param,
                          wire_echo(json_string_value(value), json_string_length(value), echo));
}

int wire_parse_cache_salt(struct wire_parser *p, const char *param, json_t *value)
{
    const int r = wire_check_name(p, param, value, SALT_BYTES);
    if (r < 0)
        return r;
    const char *text = json_string_value(value);
    if (text[0] == '\0' || strpbrk(text, "@/\\") != NULL)
        return wire_error_set(p->error, WIRE_INVALID_VALUE, param,
                              "%s must have 1 to %d bytes, and none of @ / \\.", param, SALT_BYTES);
    p->request->cache_salt = (struct wire_text){ text, json_string_length(value) };
    return 0;
}

/* As the header x-request-id: what cannot be one is replaced, not refused. */
int wire_parse_request_id(struct wire_parser *p, const char *param, json_t *value)
{
    const int r = wire_check_string(p, param, value, 0);
    if (r < 0)
        return r;
    const char *text = json_string_value(value);
    const size_t len = json_string_length(value);
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return 0;
    if (len >= 1 && len <= REQUEST_ID_BYTES)
        p->request->request_id = (struct wire_text){ text, len };
    return 0;
}
