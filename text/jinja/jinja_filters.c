#include "text/jinja/jinja_filters.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "text/jinja/jinja_format.h"
#include "text/jinja/jinja_lookup.h"
#include "text/jinja/jinja_math.h"
#include "text/jinja/jinja_number.h"
#include "text/jinja/jinja_print.h"

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

static const struct jinja_filter filters[] = {
    { "abs", .call = filter_abs },
    { "attr", .params = "name", .num_required = 1, .call = filter_attr },
    { "batch", .params = "linecount,fill_with", .num_required = 1, .call = jinja_filter_batch,
      .deferred = "generator object do_batch" },
    { "capitalize", .call = jinja_filter_capitalize },
    { "center", .params = "width", .call = jinja_filter_center },
    { "count", .call = filter_length },
    { "d", .params = "default_value,boolean", .call = filter_default },
    { "default", .params = "default_value,boolean", .call = filter_default },
    { "dictsort", .params = "case_sensitive,by,reverse", .call = jinja_filter_dictsort },
    { "e", .call = jinja_filter_escape },
    { "escape", .call = jinja_filter_escape },
    { "first", .call = jinja_filter_first },
    { "float", .params = "default", .call = filter_float },
    { "forceescape", .call = jinja_filter_forceescape },
    { "format", .call_raw = jinja_filter_format },
    { "from_json", .call = filter_from_json },
    { "groupby", .params = "attribute,default,case_sensitive", .num_required = 1,
      .call = jinja_filter_groupby },
    { "indent", .params = "width,first,blank", .call = jinja_filter_indent },
    { "int", .params = "default,base", .call = filter_int },
    { "items", .call = jinja_filter_items, .deferred = "generator object do_items" },
    { "join", .params = "d,attribute", .call = jinja_filter_join },
    { "last", .call = jinja_filter_last },
    { "length", .call = filter_length },
    { "list", .call = jinja_filter_list },
    { "lower", .call = jinja_filter_lower },
    { "map", .call_raw = jinja_lazy_map },
    { "max", .params = "case_sensitive,attribute", .call = jinja_filter_max },
    { "min", .params = "case_sensitive,attribute", .call = jinja_filter_min },
    { "reject", .call_raw = jinja_lazy_reject },
    { "rejectattr", .call_raw = jinja_lazy_rejectattr },
    { "replace", .params = "old,new,count", .num_required = 2, .call = jinja_filter_replace },
    { "reverse", .call = jinja_filter_reverse },
    { "round", .params = "precision,method", .call = filter_round },
    { "safe", .call = jinja_filter_safe },
    { "select", .call_raw = jinja_lazy_select },
    { "selectattr", .call_raw = jinja_lazy_selectattr },
    { "slice", .params = "slices,fill_with", .num_required = 1, .call = jinja_filter_slice,
      .deferred = "generator object sync_do_slice" },
    { "sort", .params = "reverse,case_sensitive,attribute", .call = jinja_filter_sort },
    { "string", .call = jinja_filter_string },
    { "sum", .params = "attribute,start", .call = jinja_filter_sum },
    { "title", .call = jinja_filter_title },
    { "tojson", .params = "ensure_ascii,indent,separators,sort_keys", .call = filter_tojson },
    { "trim", .params = "chars", .call = jinja_filter_trim },
    { "truncate", .params = "length,killwords,end,leeway", .call = jinja_filter_truncate },
    { "unique", .params = "case_sensitive,attribute", .call = jinja_filter_unique,
      .deferred = "generator object do_unique" },
    { "upper", .call = jinja_filter_upper },
    { "urlencode", .call = jinja_filter_urlencode },
    { "wordcount", .call = jinja_filter_wordcount },
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
