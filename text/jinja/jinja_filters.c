#include "text/jinja/jinja_filters.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/jinja/jinja_format.h"
#include "text/jinja/jinja_lookup.h"
#include "text/jinja/jinja_math.h"
#include "text/jinja/jinja_number.h"
#include "text/jinja/jinja_print.h"
#include "text/jinja/jinja_strip.h"
#include "text/jinja/jinja_text.h"

/* A filter over text takes any value as its str(). */
enum { TRUNCATE_LENGTH = 255, TRUNCATE_LEEWAY = 5 };

static struct jinja_string *text_of(struct jinja_run *run, struct jinja_value in)
{
    static struct jinja_string empty = { .data = "" };
    const struct jinja_value text = jinja_print_value(run, in);
    return text.type == JINJA_STRING ? text.of.string : &empty;
}

static struct jinja_value convert(struct jinja_run *run, struct jinja_value in, enum jinja_case to)
{
    const struct jinja_string *string = text_of(run, in);
    struct strbuf out = jinja_buffer(run);
    if (jinja_run_charge(run, string->len * 8))
        jinja_text_convert(&out, string->data, string->len, to);
    return jinja_mark(run, jinja_string_take(run, &out), string->markup);
}

static struct jinja_value filter_upper(struct jinja_run *run, struct jinja_value in,
                                       const struct jinja_value *args)
{
    (void)args;
    return convert(run, in, JINJA_UPPER);
}

static struct jinja_value filter_lower(struct jinja_run *run, struct jinja_value in,
                                       const struct jinja_value *args)
{
    (void)args;
    return convert(run, in, JINJA_LOWER);
}

static struct jinja_value filter_capitalize(struct jinja_run *run, struct jinja_value in,
                                            const struct jinja_value *args)
{
    (void)args;
    return convert(run, in, JINJA_CAPITALIZE);
}

/* Bytes up to white space, a hyphen or an opening bracket. */
static size_t word_len(const char *text, size_t len)
{
    size_t end = 0;
    while (end < len && (text[end] == '\0' || strchr("-({[<", text[end]) == NULL) &&
           jinja_text_leading_space(text + end, len - end) == 0)
        end++;
    return end;
}

/* Words begin behind white space, hyphens and opening brackets, unlike str.title(). */
static struct jinja_value filter_title(struct jinja_run *run, struct jinja_value in,
                                       const struct jinja_value *args)
{
    const struct jinja_string *string = text_of(run, in);
    struct strbuf out = jinja_buffer(run);
    (void)args;
    for (size_t at = 0; at < string->len && jinja_run_charge(run, 0) && !out.failed;) {
        const size_t word = word_len(string->data + at, string->len - at);
        size_t first = word > 0;
        while (first < word && ((unsigned char)string->data[at + first] & 0xc0) == 0x80)
            first++;
        jinja_text_convert(&out, string->data + at, first, JINJA_UPPER);
        jinja_text_convert(&out, string->data + at + first, word - first, JINJA_LOWER);
        at += word;
        const size_t space = jinja_text_leading_space(string->data + at, string->len - at);
        const size_t between = space > 0 ? space : at < string->len;
        strbuf_append(&out, string->data + at, between);
        at += between;
    }
    return jinja_string_take(run, &out);
}

static struct jinja_value filter_trim(struct jinja_run *run, struct jinja_value in,
                                      const struct jinja_value *args)
{
    return jinja_strip(run, text_of(run, in), jinja_args_string(run, args[0]), JINJA_BOTH);
}

static struct jinja_value filter_string(struct jinja_run *run, struct jinja_value in,
                                        const struct jinja_value *args)
{
    (void)args;
    return jinja_print_value(run, in);
}

static struct jinja_value filter_safe(struct jinja_run *run, struct jinja_value in,
                                      const struct jinja_value *args)
{
    (void)args;
    return jinja_mark(run, jinja_print_value(run, in), true);
}

static struct jinja_value filter_escape(struct jinja_run *run, struct jinja_value in,
                                        const struct jinja_value *args)
{
    (void)args;
    if (in.type == JINJA_STRING && in.of.string->markup)
        return in;
    return jinja_escape(run, text_of(run, in));
}

static struct jinja_value filter_forceescape(struct jinja_run *run, struct jinja_value in,
                                             const struct jinja_value *args)
{
    (void)args;
    return jinja_escape(run, text_of(run, in));
}

static struct jinja_value filter_length(struct jinja_run *run, struct jinja_value in,
                                        const struct jinja_value *args)
{
    (void)args;
    const int64_t num = jinja_length(in);
    if (num < 0)
        jinja_run_fail(run, -EINVAL, "a %s has no length", jinja_type_name(in));
    return jinja_int(num);
}

static struct jinja_value filter_default(struct jinja_run *run, struct jinja_value in,
                                         const struct jinja_value *args)
{
    const bool any_false = jinja_args_flag(run, args[1], false);
    if (in.type != JINJA_UNDEFINED && !(any_false && !jinja_truth(run, in)))
        return in;
    return args[0].type == JINJA_MISSING ? jinja_string_over(run, "", 0) : args[0];
}

static struct jinja_value filter_replace(struct jinja_run *run, struct jinja_value in,
                                         const struct jinja_value *args)
{
    struct jinja_string plain = *text_of(run, in);
    const int64_t most = jinja_args_int(run, args[2], -1);
    plain.markup = false;
    return jinja_replace(run, &plain, text_of(run, args[0]), text_of(run, args[1]),
                         most < 0 ? -1 : most);
}

/* Lines of the text and one empty line more, as do_indent() makes them. */
static struct jinja_value filter_indent(struct jinja_run *run, struct jinja_value in,
                                        const struct jinja_value *args)
{
    static const struct jinja_string line_end = { .data = "\n", .len = 1, .num_chars = 1 };
    const bool first = jinja_args_flag(run, args[1], false);
    const bool blank = jinja_args_flag(run, args[2], false);
    if (in.type != JINJA_STRING) {
        jinja_run_fail(run, -EINVAL, "indent wants a string, not %s", jinja_type_name(in));
        return in;
    }
    struct jinja_value margin = args[0];
    if (margin.type == JINJA_NONE)
        jinja_run_fail(run, -EINVAL, "indent wants a width, not None");
    if (margin.type != JINJA_STRING)
        margin = jinja_format_pad(run, &(struct jinja_string){ .data = "" },
                                  jinja_args_int(run, args[0], 4), NULL, '<');
    struct jinja_string end = line_end;
    const struct jinja_value text =
        jinja_string_concat(run,
                            &(struct jinja_string){ .data = in.of.string->data,
                                                    .len = in.of.string->len,
                                                    .num_chars = in.of.string->num_chars },
                            &end);
    if (text.type != JINJA_STRING || margin.type != JINJA_STRING)
        return text;
    const struct jinja_value lines = jinja_split_lines(run, text.of.string, false);
    struct strbuf out = jinja_buffer(run);
    for (size_t i = 0; jinja_run_ok(run) && i < lines.of.list->num && !out.failed; i++) {
        const struct jinja_string *line = lines.of.list->items[i].of.string;
        if (i > 0)
            strbuf_append_char(&out, '\n');
        if (i == 0 ? first : blank || line->len > 0)
            strbuf_append(&out, margin.of.string->data, margin.of.string->len);
        strbuf_append(&out, line->data, line->len);
    }
    return jinja_mark(run, jinja_string_take(run, &out), in.of.string->markup);
}

static struct jinja_value filter_center(struct jinja_run *run, struct jinja_value in,
                                        const struct jinja_value *args)
{
    return jinja_format_pad(run, text_of(run, in), jinja_args_plain_int(run, args[0], 80), NULL,
                            'c');
}

static struct jinja_value filter_wordcount(struct jinja_run *run, struct jinja_value in,
                                           const struct jinja_value *args)
{
    const struct jinja_string *string = text_of(run, in);
    int64_t num = 0;
    bool inside = false;

    (void)args;
    jinja_run_charge(run, string->len * 8);
    for (size_t at = 0; at < string->len;) {
        size_t len = 1;
        while (at + len < string->len && ((unsigned char)string->data[at + len] & 0xc0) == 0x80)
            len++;
        const bool word =
            string->data[at] == '_' || jinja_text_is(string->data + at, len, JINJA_ALNUM);
        num += word && !inside;
        inside = word;
        at += len;
    }
    return jinja_int(num);
}

/* What int() refuses, and so leaves to float(), as any base that is no number. */
enum { NO_BASE = 1 };

static struct jinja_value filter_int(struct jinja_run *run, struct jinja_value in,
                                     const struct jinja_value *args)
{
    const struct jinja_value otherwise = args[0].type == JINJA_MISSING ? jinja_int(0) : args[0];
    const int64_t base = args[1].type == JINJA_MISSING ? 10
                         : jinja_is_integral(args[1])  ? args[1].of.integer
                                                       : NO_BASE;
    return jinja_number_int(run, in, otherwise, base);
}

static struct jinja_value filter_float(struct jinja_run *run, struct jinja_value in,
                                       const struct jinja_value *args)
{
    const struct jinja_value otherwise = args[0].type == JINJA_MISSING ? jinja_float(0.0) : args[0];
    return jinja_number_float(run, in, otherwise);
}

static struct jinja_value filter_abs(struct jinja_run *run, struct jinja_value in,
                                     const struct jinja_value *args)
{
    (void)args;
    if (in.type == JINJA_FLOAT)
        return jinja_float(fabs(in.of.real));
    if (!jinja_is_integral(in))
        jinja_run_fail(run, -EINVAL, "abs wants a number, not %s", jinja_type_name(in));
    if (in.of.integer < 0)
        return jinja_math_unary(run, JINJA_OP_NEGATIVE, in);
    return jinja_int(in.of.integer);
}

static struct jinja_value filter_round(struct jinja_run *run, struct jinja_value in,
                                       const struct jinja_value *args)
{
    return jinja_number_round(run, in, jinja_args_int(run, args[0], 0), args[1]);
}

static struct jinja_value filter_attr(struct jinja_run *run, struct jinja_value in,
                                      const struct jinja_value *args)
{
    struct jinja_string *name = jinja_args_string(run, args[0]);
    if (name == NULL)
        jinja_run_fail(run, -EINVAL, "attr wants the name of an attribute");
    if (!jinja_run_ok(run))
        return in;
    /* Only what Python's getattr() finds: items are not attributes. */
    if (in.type == JINJA_DICT && jinja_dict_find_text(run, in.of.dict, name->data, name->len)) {
        struct jinja_value none = jinja_dict_value(jinja_dict_create(run));
        return jinja_lookup_attribute(run, none, name).type == JINJA_METHOD
                   ? jinja_lookup_attribute(run, in, name)
                   : jinja_undefined(name);
    }
    return jinja_lookup_attribute(run, in, name);
}

static struct jinja_value filter_format(struct jinja_run *run, struct jinja_value in,
                                        const struct jinja_args *args)
{
    struct jinja_list positional = { .items = args->args, .num = args->num, .cap = args->num };
    struct jinja_dict *named = jinja_dict_create(run);

    if (args->num > 0 && args->num_keywords > 0)
        jinja_run_fail(run, -EINVAL, "format takes arguments by position or by name");
    for (size_t i = 0; i < args->num_keywords && jinja_run_ok(run); i++)
        jinja_dict_set(
            run, named,
            (struct jinja_value){ .type = JINJA_STRING, .of.string = args->keywords[i].name },
            args->keywords[i].value);
    if (!jinja_run_ok(run))
        return in;
    return jinja_format_percent(run, text_of(run, in),
                                args->num_keywords > 0
                                    ? jinja_dict_value(named)
                                    : jinja_list_value(&positional, JINJA_TUPLE));
}

/* separators=(item, key), both strings. */
static void take_separators(struct jinja_run *run, struct jinja_value pair,
                            struct jinja_json_style *style)
{
    if (pair.type == JINJA_MISSING || pair.type == JINJA_NONE)
        return;
    const bool list = pair.type == JINJA_TUPLE || pair.type == JINJA_LIST;
    if (!list || pair.of.list->num != 2 || pair.of.list->items[0].type != JINJA_STRING ||
        pair.of.list->items[1].type != JINJA_STRING) {
        jinja_run_fail(run, -EINVAL, "separators of tojson are two strings");
        return;
    }
    style->item_separator = pair.of.list->items[0].of.string->data;
    style->item_separator_len = pair.of.list->items[0].of.string->len;
    style->key_separator = pair.of.list->items[1].of.string->data;
    style->key_separator_len = pair.of.list->items[1].of.string->len;
}

static struct jinja_value filter_tojson(struct jinja_run *run, struct jinja_value in,
                                        const struct jinja_value *args)
{
    struct jinja_json_style style = { .item_separator = ", ",
                                      .item_separator_len = 2,
                                      .key_separator = ": ",
                                      .key_separator_len = 2,
                                      .ensure_ascii = jinja_args_flag(run, args[0], false),
                                      .sort_keys = jinja_args_flag(run, args[3], false) };
    struct jinja_value margin = args[1];
    if (margin.type != JINJA_MISSING && margin.type != JINJA_NONE && in.type != JINJA_STRING) {
        style.item_separator_len = 1;
        if (margin.type != JINJA_STRING)
            margin = jinja_format_pad(run, &(struct jinja_string){ .data = "" },
                                      jinja_args_int(run, margin, 0), NULL, '<');
        style.indent = margin.type == JINJA_STRING ? margin.of.string : NULL;
    }
    take_separators(run, args[2], &style);
    struct strbuf out = jinja_buffer(run);
    if (jinja_run_ok(run))
        jinja_print_json(run, &out, in, &style);
    return jinja_string_take(run, &out);
}

/* Not in jinja2: templates of DeepSeek V3.2 call it on arguments that came as text. */
static struct jinja_value filter_from_json(struct jinja_run *run, struct jinja_value in,
                                           const struct jinja_value *args)
{
    struct error why;
    json_t *json = NULL;

    (void)args;
    if (in.type != JINJA_STRING)
        jinja_run_fail(run, -EINVAL, "from_json wants a string, not %s", jinja_type_name(in));
    else if (jinja_run_charge(run, in.of.string->len * 8) &&
             json_read(in.of.string->data, in.of.string->len, &json_limits_request, &json, &why) <
                 0)
        jinja_run_fail(run, -EINVAL, "from_json: %.200s", why.message);
    if (json == NULL)
        return jinja_undefined(NULL);
    const struct jinja_value value = jinja_from_json(run, json, true);
    json_decref(json);
    return value;
}

static struct jinja_value filter_urlencode(struct jinja_run *run, struct jinja_value in,
                                           const struct jinja_value *args)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~/";
    struct strbuf out = jinja_buffer(run);

    (void)args;
    if (in.type != JINJA_STRING && jinja_is_iterable(in)) {
        jinja_run_fail(run, -ENOTSUP, "urlencode of a %s is not supported", jinja_type_name(in));
        return in;
    }
    const struct jinja_string *string = text_of(run, in);
    jinja_run_charge(run, string->len);
    for (size_t i = 0; i < string->len && !out.failed; i++) {
        if (string->data[i] != '\0' && strchr(plain, string->data[i]) != NULL)
            strbuf_append_char(&out, string->data[i]);
        else
            strbuf_printf(&out, "%%%02X", (unsigned char)string->data[i]);
    }
    return jinja_string_take(run, &out);
}

/* A limit of truncate, which may be a float as long as nothing is cut at it. */
static double truncate_limit(struct jinja_run *run, struct jinja_value arg, int otherwise)
{
    if (arg.type == JINJA_MISSING)
        return otherwise;
    if (!jinja_is_number(arg))
        jinja_run_fail(run, -EINVAL, "an argument is %s, a number is wanted", jinja_type_name(arg));
    return jinja_is_number(arg) ? jinja_to_double(arg) : otherwise;
}

static struct jinja_value cut_text(struct jinja_run *run, const struct jinja_string *text,
                                   const struct jinja_value *args, struct jinja_string *end)
{
    const struct jinja_string space = { .data = " ", .len = 1, .num_chars = 1 };
    const int64_t length = jinja_args_plain_int(run, args[0], TRUNCATE_LENGTH);
    if (!jinja_run_ok(run))
        return jinja_undefined(NULL);
    struct jinja_value head = jinja_substring(run, text, 0, (size_t)length - end->num_chars);
    if (head.type == JINJA_STRING && !jinja_args_flag(run, args[1], false)) {
        const int64_t at = jinja_find(run, head.of.string, &space, JINJA_RIGHT);
        head = at < 0 ? head : jinja_bytes(run, head.of.string, 0, (size_t)at);
    }
    return head.type == JINJA_STRING ? jinja_string_concat(run, head.of.string, end) : head;
}

static struct jinja_value filter_truncate(struct jinja_run *run, struct jinja_value in,
                                          const struct jinja_value *args)
{
    static struct jinja_string dots = { .data = "...", .len = 3, .num_chars = 3 };
    const double length = truncate_limit(run, args[0], TRUNCATE_LENGTH);
    const double leeway = truncate_limit(
        run, args[3].type == JINJA_NONE ? jinja_missing() : args[3], TRUNCATE_LEEWAY);
    struct jinja_string *end = jinja_args_string(run, args[2]);
    if (end == NULL)
        end = &dots;
    const int64_t num = jinja_length(in);
    if (num < 0 || length < (double)end->num_chars || leeway < 0)
        jinja_run_fail(run, -EINVAL, "truncate wants a string and room for its end");
    if (!jinja_run_ok(run) || (double)num <= length + leeway)
        return in;
    if (in.type == JINJA_STRING)
        return cut_text(run, in.of.string, args, end);
    jinja_run_fail(run, -EINVAL, "truncate wants a string, not %s", jinja_type_name(in));
    return in;
}

static const struct jinja_filter filters[] = {
    { "abs", .call = filter_abs },
    { "attr", .params = "name", .num_required = 1, .call = filter_attr },
    { "batch", .params = "linecount,fill_with", .num_required = 1, .call = jinja_filter_batch,
      .deferred = "generator object do_batch" },
    { "capitalize", .call = filter_capitalize },
    { "center", .params = "width", .call = filter_center },
    { "count", .call = filter_length },
    { "d", .params = "default_value,boolean", .call = filter_default },
    { "default", .params = "default_value,boolean", .call = filter_default },
    { "dictsort", .params = "case_sensitive,by,reverse", .call = jinja_filter_dictsort },
    { "e", .call = filter_escape },
    { "escape", .call = filter_escape },
    { "first", .call = jinja_filter_first },
    { "float", .params = "default", .call = filter_float },
    { "forceescape", .call = filter_forceescape },
    { "format", .call_raw = filter_format },
    { "from_json", .call = filter_from_json },
    { "groupby", .params = "attribute,default,case_sensitive", .num_required = 1,
      .call = jinja_filter_groupby },
    { "indent", .params = "width,first,blank", .call = filter_indent },
    { "int", .params = "default,base", .call = filter_int },
    { "items", .call = jinja_filter_items, .deferred = "generator object do_items" },
    { "join", .params = "d,attribute", .call = jinja_filter_join },
    { "last", .call = jinja_filter_last },
    { "length", .call = filter_length },
    { "list", .call = jinja_filter_list },
    { "lower", .call = filter_lower },
    { "map", .call_raw = jinja_lazy_map },
    { "max", .params = "case_sensitive,attribute", .call = jinja_filter_max },
    { "min", .params = "case_sensitive,attribute", .call = jinja_filter_min },
    { "reject", .call_raw = jinja_lazy_reject },
    { "rejectattr", .call_raw = jinja_lazy_rejectattr },
    { "replace", .params = "old,new,count", .num_required = 2, .call = filter_replace },
    { "reverse", .call = jinja_filter_reverse },
    { "round", .params = "precision,method", .call = filter_round },
    { "safe", .call = filter_safe },
    { "select", .call_raw = jinja_lazy_select },
    { "selectattr", .call_raw = jinja_lazy_selectattr },
    { "slice", .params = "slices,fill_with", .num_required = 1, .call = jinja_filter_slice,
      .deferred = "generator object sync_do_slice" },
    { "sort", .params = "reverse,case_sensitive,attribute", .call = jinja_filter_sort },
    { "string", .call = filter_string },
    { "sum", .params = "attribute,start", .call = jinja_filter_sum },
    { "title", .call = filter_title },
    { "tojson", .params = "ensure_ascii,indent,separators,sort_keys", .call = filter_tojson },
    { "trim", .params = "chars", .call = filter_trim },
    { "truncate", .params = "length,killwords,end,leeway", .call = filter_truncate },
    { "unique", .params = "case_sensitive,attribute", .call = jinja_filter_unique,
      .deferred = "generator object do_unique" },
    { "upper", .call = filter_upper },
    { "urlencode", .call = filter_urlencode },
    { "wordcount", .call = filter_wordcount },
};

const struct jinja_filter *jinja_filter_find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
        if (strlen(filters[i].name) == len && memcmp(filters[i].name, name, len) == 0)
            return &filters[i];
    return NULL;
}

bool jinja_filter_is_left_out(const char *name, size_t len)
{
    static const char *const names[] = { "filesizeformat", "pprint",   "random", "striptags",
                                         "urlize",         "wordwrap", "xmlattr" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return true;
    return false;
}

struct jinja_value jinja_filter_apply(struct jinja_run *run, const struct jinja_filter *filter,
                                      struct jinja_value in, const struct jinja_args *args)
{
    struct jinja_value in_order[JINJA_MAX_PARAMS];
    if (filter->call_raw != NULL)
        return filter->call_raw(run, in, args);
    if (!jinja_args_bind(run, filter->name, filter->params != NULL ? filter->params : "",
                         filter->num_required, args, in_order))
        return jinja_undefined(NULL);
    if (filter->deferred != NULL)
        return jinja_lazy_defer(run, filter, in, in_order);
    return filter->call(run, in, in_order);
}
