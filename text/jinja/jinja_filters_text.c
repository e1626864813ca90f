/* The filters over text; each takes any value as its str(). */
#include "text/jinja/jinja_filters.h"

#include <errno.h>
#include <string.h>

#include "text/jinja/jinja_format.h"
#include "text/jinja/jinja_print.h"
#include "text/jinja/jinja_strip.h"
#include "text/jinja/jinja_text.h"

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

struct jinja_value jinja_filter_upper(struct jinja_run *run, struct jinja_value in,
                                      const struct jinja_value *args)
{
    (void)args;
    return convert(run, in, JINJA_UPPER);
}

struct jinja_value jinja_filter_lower(struct jinja_run *run, struct jinja_value in,
                                      const struct jinja_value *args)
{
    (void)args;
    return convert(run, in, JINJA_LOWER);
}

struct jinja_value jinja_filter_capitalize(struct jinja_run *run, struct jinja_value in,
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
struct jinja_value jinja_filter_title(struct jinja_run *run, struct jinja_value in,
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

struct jinja_value jinja_filter_trim(struct jinja_run *run, struct jinja_value in,
                                     const struct jinja_value *args)
{
    return jinja_strip(run, text_of(run, in), jinja_args_string(run, args[0]), JINJA_BOTH);
}

struct jinja_value jinja_filter_string(struct jinja_run *run, struct jinja_value in,
                                       const struct jinja_value *args)
{
    (void)args;
    return jinja_print_value(run, in);
}

struct jinja_value jinja_filter_safe(struct jinja_run *run, struct jinja_value in,
                                     const struct jinja_value *args)
{
    (void)args;
    return jinja_mark(run, jinja_print_value(run, in), true);
}

struct jinja_value jinja_filter_escape(struct jinja_run *run, struct jinja_value in,
                                       const struct jinja_value *args)
{
    (void)args;
    if (in.type == JINJA_STRING && in.of.string->markup)
        return in;
    return jinja_escape(run, text_of(run, in));
}

struct jinja_value jinja_filter_forceescape(struct jinja_run *run, struct jinja_value in,
                                            const struct jinja_value *args)
{
    (void)args;
    return jinja_escape(run, text_of(run, in));
}

struct jinja_value jinja_filter_replace(struct jinja_run *run, struct jinja_value in,
                                        const struct jinja_value *args)
{
    struct jinja_string plain = *text_of(run, in);
    const int64_t most = jinja_args_int(run, args[2], -1);
    plain.markup = false;
    return jinja_replace(run, &plain, text_of(run, args[0]), text_of(run, args[1]),
                         most < 0 ? -1 : most);
}

/* Lines of the text and one empty line more, as do_indent() makes them. */
struct jinja_value jinja_filter_indent(struct jinja_run *run, struct jinja_value in,
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

struct jinja_value jinja_filter_center(struct jinja_run *run, struct jinja_value in,
                                       const struct jinja_value *args)
{
    return jinja_format_pad(run, text_of(run, in), jinja_args_plain_int(run, args[0], 80), NULL,
                            'c');
}

struct jinja_value jinja_filter_wordcount(struct jinja_run *run, struct jinja_value in,
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

struct jinja_value jinja_filter_urlencode(struct jinja_run *run, struct jinja_value in,
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

struct jinja_value jinja_filter_truncate(struct jinja_run *run, struct jinja_value in,
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

struct jinja_value jinja_filter_format(struct jinja_run *run, struct jinja_value in,
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
