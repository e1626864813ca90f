#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "text/jinja/jinja_print.h"
#include "text/jinja/jinja_sort.h"

struct writer {
    struct jinja_run *run;
    struct strbuf *out;
    const struct jinja_json_style *style;
    int level;
};

static void write_value(struct writer *w, struct jinja_value value);

static void write_escaped(struct strbuf *out, const char *text, size_t len)
{
    char utf8[4];
    uint32_t codepoint;
    for (size_t at = 0; at < len && !out->failed;) {
        const int n = utf8_decode(text + at, len - at, &codepoint);
        at += n < 1 ? 1 : (size_t)n;
        if (codepoint >= 0x10000)
            strbuf_printf(out, "\\u%04x\\u%04x", 0xd800 + ((codepoint - 0x10000) >> 10),
                          0xdc00 + ((codepoint - 0x10000) & 0x3ff));
        else if (codepoint >= 0x80)
            strbuf_printf(out, "\\u%04x", codepoint);
        else
            strbuf_append(out, utf8, (size_t)utf8_encode(codepoint, utf8));
    }
}

/* The escapes that JSON demands first, then all that is not ASCII. */
static void write_string(struct writer *w, const struct jinja_string *string)
{
    if (!jinja_run_charge(w->run, string->len))
        return;
    if (!w->style->ensure_ascii || string->num_chars == string->len) {
        strbuf_append_json_string(w->out, string->data, string->len);
        return;
    }
    struct strbuf plain = jinja_buffer(w->run);
    strbuf_append_json_string(&plain, string->data, string->len);
    if (plain.failed)
        jinja_run_fail(w->run, -ENOMEM, "no memory for a string");
    else
        write_escaped(w->out, plain.data, plain.len);
    strbuf_finish(&plain);
}

static void write_float(struct strbuf *out, double real)
{
    if (isnan(real))
        strbuf_append_text(out, "NaN");
    else if (isinf(real))
        strbuf_append_text(out, real < 0 ? "-Infinity" : "Infinity");
    else
        jinja_print_float(out, real);
}

static void write_line(struct writer *w)
{
    if (w->style->indent == NULL)
        return;
    strbuf_append_char(w->out, '\n');
    for (int i = 0; i < w->level && !w->out->failed; i++)
        strbuf_append(w->out, w->style->indent->data, w->style->indent->len);
}

static void write_separator(struct writer *w, size_t index)
{
    if (index > 0)
        strbuf_append(w->out, w->style->item_separator, w->style->item_separator_len);
    write_line(w);
}

static void write_list(struct writer *w, const struct jinja_list *list)
{
    strbuf_append_char(w->out, '[');
    w->level++;
    for (size_t i = 0; i < list->num && jinja_run_ok(w->run) && !w->out->failed; i++) {
        write_separator(w, i);
        write_value(w, list->items[i]);
    }
    w->level--;
    if (list->num > 0)
        write_line(w);
    strbuf_append_char(w->out, ']');
}

static void write_key(struct writer *w, struct jinja_value key)
{
    switch (key.type) {
    case JINJA_STRING:
        write_string(w, key.of.string);
        break;
    case JINJA_NONE:
    case JINJA_BOOL:
    case JINJA_INT:
    case JINJA_FLOAT:
        strbuf_append_char(w->out, '"');
        write_value(w, key);
        strbuf_append_char(w->out, '"');
        break;
    default:
        jinja_run_fail(w->run, -EINVAL, "a key of JSON cannot be a %s", jinja_type_name(key));
        break;
    }
    strbuf_append(w->out, w->style->key_separator, w->style->key_separator_len);
}

static const struct jinja_dict *sorted(struct writer *w, const struct jinja_dict *dict)
{
    struct jinja_dict *copy = jinja_dict_create(w->run);
    struct jinja_list keys = { 0 };
    for (size_t i = 0; i < dict->num; i++)
        jinja_list_push(w->run, &keys, dict->entries[i].key);
    jinja_sort(w->run, &keys, NULL, false);
    for (size_t i = 0; i < keys.num && jinja_run_ok(w->run); i++)
        jinja_dict_set(w->run, copy, keys.items[i],
                       jinja_dict_find(w->run, dict, keys.items[i])->value);
    return jinja_run_ok(w->run) ? copy : dict;
}

static void write_dict(struct writer *w, const struct jinja_dict *dict)
{
    if (w->style->sort_keys)
        dict = sorted(w, dict);
    strbuf_append_char(w->out, '{');
    w->level++;
    for (size_t i = 0; i < dict->num && jinja_run_ok(w->run) && !w->out->failed; i++) {
        write_separator(w, i);
        write_key(w, dict->entries[i].key);
        write_value(w, dict->entries[i].value);
    }
    w->level--;
    if (dict->num > 0)
        write_line(w);
    strbuf_append_char(w->out, '}');
}

static void write_container(struct writer *w, struct jinja_value value)
{
    if (!jinja_run_enter(w->run))
        return;
    if (value.type == JINJA_DICT)
        write_dict(w, value.of.dict);
    else
        write_list(w, value.of.list);
    jinja_run_leave(w->run);
}

static void write_value(struct writer *w, struct jinja_value value)
{
    jinja_run_charge(w->run, 0);
    switch (value.type) {
    case JINJA_NONE:
        strbuf_append_text(w->out, "null");
        break;
    case JINJA_BOOL:
        strbuf_append_text(w->out, value.of.integer ? "true" : "false");
        break;
    case JINJA_INT:
        strbuf_printf(w->out, "%" PRId64, value.of.integer);
        break;
    case JINJA_FLOAT:
        write_float(w->out, value.of.real);
        break;
    case JINJA_STRING:
        write_string(w, value.of.string);
        break;
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
        write_container(w, value);
        break;
    default:
        jinja_run_fail(w->run, -EINVAL, "a %s cannot be written as JSON", jinja_type_name(value));
        break;
    }
}

void jinja_print_json(struct jinja_run *run, struct strbuf *out, struct jinja_value value,
                      const struct jinja_json_style *style)
{
    struct writer w = { .run = run, .out = out, .style = style };
    write_value(&w, value);
}
