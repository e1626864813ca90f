#include "frontend/session/chat_prompt.h"

#include <errno.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

enum { FIRST_MARK = 0xE000, LAST_MARK = 0xF8FF, MARK_BYTES = 4 };

/* A private-use character that stands for "a special token that begins here is data". */
struct mark {
    char bytes[MARK_BYTES]; /* and a NUL */
    size_t len;
};

/* --- message text ------------------------------------------------------------------------- */

/* Copy `text` with the mark behind the first character of each special token's literal. */
static void mark_specials(const struct model_card *card, const char *text, size_t len,
                          const struct mark *mark, struct strbuf *out)
{
    uint32_t codepoint;
    for (size_t at = 0; at < len;) {
        int n = utf8_decode(text + at, len - at, &codepoint);
        if (n <= 0)
            n = 1;
        strbuf_append(out, text + at, (size_t)n);
        if (model_card_match_special(card, text + at, len - at) > 0)
            strbuf_append(out, mark->bytes, mark->len);
        at += (size_t)n;
    }
}

static bool holds_special(const struct model_card *card, const char *text, size_t len)
{
    for (size_t at = 0; at < len; at++)
        if (model_card_match_special(card, text + at, len - at) > 0)
            return true;
    return false;
}

static json_t *new_string(const struct strbuf *text)
{
    return text->failed ? NULL : json_stringn(text->data != NULL ? text->data : "", text->len);
}

static json_t *mark_string(const struct model_card *card, const json_t *value,
                           const struct mark *mark)
{
    struct strbuf text = { 0 };
    mark_specials(card, json_string_value(value), json_string_length(value), mark, &text);
    json_t *copy = new_string(&text);
    strbuf_finish(&text);
    return copy;
}

/* A copy of `value` with every string in it marked; keys are the template's words and stay. */
static json_t *mark_value(const struct model_card *card, json_t *value, const struct mark *mark)
{
    json_t *copy, *entry;
    const char *key;
    size_t i;
    if (json_is_string(value))
        return mark_string(card, value, mark);
    if (json_is_array(value)) {
        copy = json_array();
        json_array_foreach(value, i, entry)
        {
            if (json_array_append_new(copy, mark_value(card, entry, mark)) < 0) {
                json_decref(copy);
                return NULL;
            }
        }
        return copy;
    }
    if (!json_is_object(value))
        return json_incref(value);
    copy = json_object();
    json_object_foreach(value, key, entry)
    {
        if (json_object_set_new_nocheck(copy, key, mark_value(card, entry, mark)) < 0) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

static bool any_special(const struct model_card *card, const json_t *value)
{
    const json_t *entry;
    const char *key;
    size_t i;
    if (json_is_string(value))
        return holds_special(card, json_string_value(value), json_string_length(value));
    json_array_foreach(value, i, entry) if (any_special(card, entry)) return true;
    json_object_foreach((json_t *)(uintptr_t)value, key,
                        entry) if (any_special(card, entry)) return true;
    return false;
}

/* --- messages as the template wants them -------------------------------------------------- */

/* Text parts joined with newlines, for templates that take a string. */
static json_t *join_parts(const json_t *parts)
{
    struct strbuf text = { 0 };
    const json_t *part;
    size_t i;
    json_array_foreach(parts, i, part)
    {
        const json_t *piece = json_is_string(part) ? part : json_object_get(part, "text");
        if (!json_is_string(piece))
            continue;
        if (text.len > 0)
            strbuf_append_char(&text, '\n');
        strbuf_append(&text, json_string_value(piece), json_string_length(piece));
    }
    json_t *joined = new_string(&text);
    strbuf_finish(&text);
    return joined;
}

static json_t *one_part(json_t *text)
{
    return json_pack("[{s:s, s:O}]", "type", "text", "text", text);
}

static int set_content(const struct model_card *card, json_t *message)
{
    json_t *content = json_object_get(message, "content");
    const bool parts = chat_template_wants_parts(card->template);
    json_t *wanted = NULL;
    if (json_is_array(content) && !parts)
        wanted = join_parts(content);
    else if (json_is_string(content) && parts)
        wanted = one_part(content);
    else
        return 0;
    return json_object_set_new_nocheck(message, "content", wanted) < 0 ? -ENOMEM : 0;
}

static int set_role(const struct model_card *card, json_t *message)
{
    static const struct {
        const char *from, *to;
    } rows[] = { { "developer", "system" }, { "function", "tool" } };
    const char *role = json_string_value(json_object_get(message, "role"));
    for (size_t i = 0; role != NULL && i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strcmp(role, rows[i].from) == 0 && !(i == 0 && card->template_knows_developer))
            return json_object_set_new_nocheck(message, "role", json_string(rows[i].to)) < 0
                       ? -ENOMEM
                       : 0;
    return 0;
}

/* `arguments` arrives as a text of JSON; templates want the object when it is one. */
static int parse_arguments(json_t *call)
{
    json_t *function = json_object_get(call, "function");
    const json_t *text = json_object_get(function, "arguments");
    json_t *value;
    if (!json_is_string(text) || json_read(json_string_value(text), json_string_length(text),
                                           &json_limits_request, &value, NULL) < 0)
        return 0;
    if (!json_is_object(value)) {
        json_decref(value);
        return 0;
    }
    return json_object_set_new_nocheck(function, "arguments", value) < 0 ? -ENOMEM : 0;
}

static int shape_message(const struct model_card *card, json_t *message)
{
    json_t *call;
    size_t i;
    int r = set_role(card, message);
    if (r == 0)
        r = set_content(card, message);
    json_array_foreach(json_object_get(message, "tool_calls"), i, call)
    {
        if (r == 0)
            r = parse_arguments(call);
    }
    return r;
}

static json_t *shape_messages(const struct model_card *card, const json_t *messages)
{
    json_t *shaped = json_deep_copy(messages), *message;
    size_t i;
    json_array_foreach(shaped, i, message)
    {
        if (shape_message(card, message) < 0) {
            json_decref(shaped);
            return NULL;
        }
    }
    return shaped;
}

/* --- rendering ---------------------------------------------------------------------------- */

static bool set_new(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new_nocheck(object, key, value) == 0;
}

static json_t *make_context(const struct model_card *card,
                            const struct chat_prompt_options *options, json_t *messages)
{
    json_t *context = json_object();
    bool ok = context != NULL;
    if (ok && options->kwargs != NULL)
        ok = json_object_update(context, (json_t *)(uintptr_t)options->kwargs) == 0;
    ok =
        ok && json_object_set_nocheck(context, "messages", messages) == 0 &&
        set_new(context, "add_generation_prompt",
                json_boolean(options->add_generation_prompt && !options->continue_final_message)) &&
        set_new(context, "bos_token", json_string(card->bos_text)) &&
        set_new(context, "eos_token", json_string(card->eos_text));
    if (ok && json_object_get(context, "tools") == NULL)
        ok = set_new(context, "tools", json_null());
    if (!ok) {
        json_decref(context);
        return NULL;
    }
    return context;
}

/* What stands behind the last message's text while it is rendered: the prompt ends there. The
 * space tells whether the template strips what is at the end of a text. */
static const char last_mark[] = "\xef\xa3\xbf\xee\x80\x80 ";

static json_t *append_mark(const json_t *text)
{
    struct strbuf marked = { 0 };
    strbuf_append(&marked, json_string_value(text), json_string_length(text));
    strbuf_append_text(&marked, last_mark);
    json_t *copy = new_string(&marked);
    strbuf_finish(&marked);
    return copy;
}

/* A copy of the messages with the mark behind the last one's text; NULL when it has none. */
static json_t *mark_last(const json_t *messages)
{
    json_t *copy = json_deep_copy(messages);
    json_t *holder = json_array_get(copy, json_array_size(copy) - 1);
    const char *key = "content";
    json_t *content = json_object_get(holder, key);
    if (json_is_array(content)) {
        holder = json_array_get(content, json_array_size(content) - 1);
        key = "text";
        content = json_object_get(holder, key);
    }
    if (!json_is_string(content) ||
        json_object_set_new_nocheck(holder, key, append_mark(content)) < 0) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

static int refuse_continuing(struct error *err)
{
    return error_set_param(err, -EINVAL, "continue_final_message",
                           "continue_final_message: the chat template does not show the last "
                           "message's text, so it cannot be continued");
}

/* Cut the text at the last mark; where the template stripped the mark's space, strip it too. */
static int cut_at_mark(size_t begin, struct strbuf *out, struct error *err)
{
    const size_t mark_len = sizeof(last_mark) - 2;
    for (size_t at = out->len; at >= begin + mark_len; at--) {
        if (memcmp(out->data + at - mark_len, last_mark, mark_len) != 0)
            continue;
        const bool is_stripped = at == out->len || out->data[at] != ' ';
        size_t len = at - mark_len;
        while (is_stripped && len > begin && strchr(" \t\r\n", out->data[len - 1]) != NULL)
            len--;
        out->len = len;
        out->data[len] = '\0';
        return 0;
    }
    return refuse_continuing(err);
}

static int render(const struct model_card *card, const struct chat_prompt_options *options,
                  json_t *messages, struct strbuf *out, struct error *err)
{
    const size_t begin = out->len;
    json_t *marked = options->continue_final_message ? mark_last(messages) : NULL;
    if (options->continue_final_message && marked == NULL)
        return refuse_continuing(err);
    json_t *context = make_context(card, options, marked != NULL ? marked : messages);
    json_decref(marked);
    if (context == NULL)
        return error_set(err, -ENOMEM, "no memory for the chat template's variables");
    int r = chat_template_render(card->template, context, options->wall_us, out, err);
    json_decref(context);
    if (r == 0 && options->continue_final_message)
        r = cut_at_mark(begin, out, err);
    return r;
}

static int shape(const struct model_card *card, const struct chat_prompt_options *options,
                 json_t **ret_messages, struct error *err)
{
    if (card->template == NULL)
        return error_set(err, -EINVAL,
                         "the model has no chat template; use /v1/completions or --chat-template");
    *ret_messages = shape_messages(card, options->messages);
    return *ret_messages == NULL ? error_set(err, -ENOMEM, "no memory for the messages") : 0;
}

int chat_prompt_render(const struct model_card *card, const struct chat_prompt_options *options,
                       struct strbuf *out, struct error *err)
{
    json_t *messages;
    int r = shape(card, options, &messages, err);
    if (r < 0)
        return r;
    r = render(card, options, messages, out, err);
    json_decref(messages);
    return r;
}

/* --- tokens ------------------------------------------------------------------------------- */

/* A private-use character that the text does not use. */
static bool choose_mark(const struct strbuf *text, struct mark *ret_mark)
{
    for (uint32_t codepoint = FIRST_MARK; codepoint <= LAST_MARK; codepoint++) {
        ret_mark->len = (size_t)utf8_encode(codepoint, ret_mark->bytes);
        ret_mark->bytes[ret_mark->len] = '\0';
        if (text->len == 0 || memmem(text->data, text->len, ret_mark->bytes, ret_mark->len) == NULL)
            return true;
    }
    return false;
}

static int encode_text(const struct model_card *card, struct tokenizer_scratch *scratch,
                       const struct strbuf *text, const char *mark, unsigned flags, size_t max_ids,
                       struct token_ids *ids)
{
    const int r = tokenizer_encode_marked(card->tokenizer, scratch, text->len > 0 ? text->data : "",
                                          text->len, mark, flags, max_ids, ids);
    return r == -E2BIG ? -EFBIG : r;
}

/* Render once more with the literals in message text marked. */
static int encode_marked(const struct model_card *card, struct tokenizer_scratch *scratch,
                         const struct chat_prompt_options *options, json_t *messages,
                         const struct strbuf *plain, unsigned flags, size_t max_ids,
                         struct token_ids *ids, struct error *err)
{
    struct mark mark;
    struct strbuf text = { 0 };
    if (!choose_mark(plain, &mark))
        return error_set(err, -EINVAL, "the messages use every private-use character");
    json_t *marked = mark_value(card, messages, &mark);
    if (marked == NULL)
        return error_set(err, -ENOMEM, "no memory for the messages");
    int r = render(card, options, marked, &text, err);
    json_decref(marked);
    if (r == 0)
        r = encode_text(card, scratch, &text, mark.bytes, flags, max_ids, ids);
    strbuf_finish(&text);
    return r;
}

int chat_prompt_encode(const struct model_card *card, struct tokenizer_scratch *scratch,
                       const struct chat_prompt_options *options, bool add_special, size_t max_ids,
                       struct token_ids *ids, struct error *err)
{
    const unsigned flags =
        TOKENIZER_PARSE_SPECIAL | (add_special ? (unsigned)TOKENIZER_ADD_SPECIAL : 0);
    struct strbuf text = { 0 };
    json_t *messages;
    int r = shape(card, options, &messages, err);
    if (r < 0)
        return r;
    r = render(card, options, messages, &text, err);
    if (r == 0 && !options->allow_special && any_special(card, messages))
        r = encode_marked(card, scratch, options, messages, &text, flags, max_ids, ids, err);
    else if (r == 0)
        r = encode_text(card, scratch, &text, NULL, flags, max_ids, ids);
    if (r == -EFBIG)
        r = error_set(err, -EFBIG, "the prompt has more than %zu tokens", max_ids);
    strbuf_finish(&text);
    json_decref(messages);
    return r;
}
