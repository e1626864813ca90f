#include "text/jinja/jinja_print.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/jinja_functions.h"
#include "text/jinja/jinja_loop.h"
#include "text/jinja/jinja_text.h"

/* "d.ddde+xx" with the fewest digits that read back as `real`. */
static void shortest(double real, char text[40])
{
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, 40, "%.*e", precision, real);
        if (strtod(text, NULL) == real)
            return;
    }
}

static void print_fixed(struct strbuf *out, const char *digits, int num, int exponent)
{
    for (int i = exponent < 0 ? exponent : 0; i < num || i <= exponent + 1; i++) {
        if (i == exponent + 1)
            strbuf_append_char(out, '.');
        strbuf_append_char(out, i >= 0 && i < num ? digits[i] : '0');
    }
}

void jinja_print_float(struct strbuf *out, double real)
{
    char text[40], digits[20];
    int num = 0;

    if (isnan(real) || isinf(real)) {
        strbuf_append_text(out, isnan(real) ? "nan" : real < 0 ? "-inf" : "inf");
        return;
    }
    shortest(real, text);
    const char *mark = strchr(text, 'e');
    const int exponent = atoi(mark + 1);
    for (const char *c = text; c < mark; c++)
        if (*c >= '0' && *c <= '9')
            digits[num++] = *c;
    if (signbit(real))
        strbuf_append_char(out, '-');
    if (exponent >= -4 && exponent < 16) {
        print_fixed(out, digits, num, exponent);
        return;
    }
    strbuf_append_char(out, digits[0]);
    if (num > 1)
        strbuf_append_char(out, '.');
    strbuf_append(out, digits + 1, (size_t)num - 1);
    strbuf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
}

static void print_escaped(struct strbuf *out, uint32_t codepoint)
{
    static const char from[] = "\n\r\t", to[] = "nrt";
    const char *hit = codepoint == 0 || codepoint > 0x7f ? NULL : strchr(from, (int)codepoint);
    if (hit != NULL)
        strbuf_append(out, (const char[]){ '\\', to[hit - from] }, 2);
    else if (codepoint < 0x100)
        strbuf_printf(out, "\\x%02x", codepoint);
    else
        strbuf_printf(out, codepoint < 0x10000 ? "\\u%04x" : "\\U%08x", codepoint);
}

static void repr_string(struct strbuf *out, const struct jinja_string *string)
{
    const bool single = memchr(string->data, '\'', string->len) != NULL;
    const bool twice = single && memchr(string->data, '"', string->len) == NULL;
    const char quote = twice ? '"' : '\'';

    strbuf_append_text(out, string->markup ? "Markup(" : "");
    strbuf_append_char(out, quote);
    for (size_t at = 0; at < string->len && !out->failed;) {
        uint32_t codepoint;
        const int n = utf8_decode(string->data + at, string->len - at, &codepoint);
        const size_t len = n < 1 ? 1 : (size_t)n;
        if (codepoint == '\\' || codepoint == (unsigned char)quote)
            strbuf_append_char(out, '\\');
        if (n > 0 && !jinja_text_is_printable(codepoint))
            print_escaped(out, codepoint);
        else
            strbuf_append(out, string->data + at, len);
        at += len;
    }
    strbuf_append_char(out, quote);
    strbuf_append_text(out, string->markup ? ")" : "");
}

static void repr_list(struct jinja_run *run, struct strbuf *out, const struct jinja_list *list,
                      const char *open, const char *close)
{
    strbuf_append_text(out, open);
    for (size_t i = 0; i < list->num && jinja_run_ok(run) && !out->failed; i++) {
        strbuf_append_text(out, i > 0 ? ", " : "");
        jinja_print_repr(run, out, list->items[i]);
    }
    strbuf_append_text(out, close);
}

static void repr_dict(struct jinja_run *run, struct strbuf *out, const struct jinja_dict *dict)
{
    strbuf_append_char(out, '{');
    for (size_t i = 0; i < dict->num && jinja_run_ok(run) && !out->failed; i++) {
        strbuf_append_text(out, i > 0 ? ", " : "");
        jinja_print_repr(run, out, dict->entries[i].key);
        strbuf_append_text(out, ": ");
        jinja_print_repr(run, out, dict->entries[i].value);
    }
    strbuf_append_char(out, '}');
}

static void repr_view(struct jinja_run *run, struct strbuf *out, struct jinja_value view)
{
    static const char *const opens[] = { [JINJA_VIEW_KEYS] = "dict_keys([",
                                         [JINJA_VIEW_VALUES] = "dict_values([",
                                         [JINJA_VIEW_ITEMS] = "dict_items([" };
    const struct jinja_list *list = jinja_to_list(run, view);
    if (list != NULL)
        repr_list(run, out, list, opens[view.of.view->kind], "])");
}

static void repr_range(struct strbuf *out, const struct jinja_range *range)
{
    strbuf_printf(out, "range(%" PRId64 ", %" PRId64, range->start, range->stop);
    if (range->step != 1)
        strbuf_printf(out, ", %" PRId64, range->step);
    strbuf_append_char(out, ')');
}

static void repr_container(struct jinja_run *run, struct strbuf *out, struct jinja_value value)
{
    if (!jinja_run_enter(run))
        return;
    if (value.type == JINJA_LIST)
        repr_list(run, out, value.of.list, "[", "]");
    else if (value.type == JINJA_TUPLE)
        repr_list(run, out, value.of.list, "(", value.of.list->num == 1 ? ",)" : ")");
    else if (value.type == JINJA_VIEW)
        repr_view(run, out, value);
    else if (value.type == JINJA_DICT)
        repr_dict(run, out, value.of.dict);
    else {
        strbuf_append_text(out, "<Namespace ");
        repr_dict(run, out, value.of.dict);
        strbuf_append_char(out, '>');
    }
    jinja_run_leave(run);
}

/* Objects that Python shows with their address, which nobody can rely on. */
static void repr_object(struct strbuf *out, struct jinja_value value)
{
    const struct jinja_string *name;
    switch (value.type) {
    case JINJA_MACRO:
        name = jinja_macro_name(value.of.macro);
        strbuf_append_text(out, "<Macro ");
        if (name == NULL)
            strbuf_append_text(out, "anonymous");
        else
            repr_string(out, name);
        strbuf_append_char(out, '>');
        break;
    case JINJA_ITERATOR:
        strbuf_printf(out, "<%s>", value.of.iterator->name);
        break;
    default:
        strbuf_printf(out, "<%s>", jinja_type_name(value));
        break;
    }
}

void jinja_print_repr(struct jinja_run *run, struct strbuf *out, struct jinja_value value)
{
    switch (value.type) {
    case JINJA_UNDEFINED:
    case JINJA_MISSING:
        strbuf_append_text(out, "Undefined");
        break;
    case JINJA_NONE:
        strbuf_append_text(out, "None");
        break;
    case JINJA_BOOL:
        strbuf_append_text(out, value.of.integer ? "True" : "False");
        break;
    case JINJA_INT:
        strbuf_printf(out, "%" PRId64, value.of.integer);
        break;
    case JINJA_FLOAT:
        jinja_print_float(out, value.of.real);
        break;
    case JINJA_STRING:
        if (jinja_run_charge(run, value.of.string->len))
            repr_string(out, value.of.string);
        break;
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
    case JINJA_VIEW:
    case JINJA_NAMESPACE:
        repr_container(run, out, value);
        break;
    case JINJA_RANGE:
        repr_range(out, value.of.range);
        break;
    case JINJA_LOOP:
        jinja_loop_print(run, out, value.of.loop);
        break;
    default:
        repr_object(out, value);
        break;
    }
}

void jinja_print_str(struct jinja_run *run, struct strbuf *out, struct jinja_value value)
{
    if (value.type == JINJA_STRING) {
        if (jinja_run_charge(run, value.of.string->len / 4))
            strbuf_append(out, value.of.string->data, value.of.string->len);
    } else if (value.type != JINJA_UNDEFINED)
        jinja_print_repr(run, out, value);
}

struct jinja_value jinja_print_value(struct jinja_run *run, struct jinja_value value)
{
    if (value.type == JINJA_STRING)
        return value;
    struct strbuf out = jinja_buffer(run);
    jinja_print_str(run, &out, value);
    return jinja_string_take(run, &out);
}
