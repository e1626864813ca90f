#include "text/jinja/jinja_methods.h"

#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/jinja_format.h"
#include "text/jinja/jinja_loop.h"
#include "text/jinja/jinja_print.h"
#include "text/jinja/jinja_strip.h"
#include "text/jinja/jinja_text.h"

typedef struct jinja_value raw_method_fn(struct jinja_run *run, struct jinja_value self,
                                         const struct jinja_args *args);

struct jinja_method {
    enum jinja_type type;
    const char *name, *params;
    size_t num_required;
    jinja_method_fn *call; /* NULL: would change its object, unless there is */
    raw_method_fn *call_raw;
};

static struct jinja_value convert(struct jinja_run *run, struct jinja_value self,
                                  enum jinja_case to)
{
    const struct jinja_string *string = self.of.string;
    struct strbuf out = jinja_buffer(run);
    if (!jinja_run_charge(run, string->len * 8))
        return self;
    jinja_text_convert(&out, string->data, string->len, to);
    return jinja_mark(run, jinja_string_take(run, &out), string->markup);
}

static struct jinja_value str_upper(struct jinja_run *run, struct jinja_value self,
                                    const struct jinja_value *args)
{
    (void)args;
    return convert(run, self, JINJA_UPPER);
}

static struct jinja_value str_lower(struct jinja_run *run, struct jinja_value self,
                                    const struct jinja_value *args)
{
    (void)args;
    return convert(run, self, JINJA_LOWER);
}

static struct jinja_value str_capitalize(struct jinja_run *run, struct jinja_value self,
                                         const struct jinja_value *args)
{
    (void)args;
    return convert(run, self, JINJA_CAPITALIZE);
}

static struct jinja_value str_title(struct jinja_run *run, struct jinja_value self,
                                    const struct jinja_value *args)
{
    (void)args;
    return convert(run, self, JINJA_TITLE);
}

static struct jinja_value str_swapcase(struct jinja_run *run, struct jinja_value self,
                                       const struct jinja_value *args)
{
    (void)args;
    return convert(run, self, JINJA_SWAPCASE);
}

static struct jinja_value str_strip(struct jinja_run *run, struct jinja_value self,
                                    const struct jinja_value *args)
{
    return jinja_strip(run, self.of.string, jinja_args_string(run, args[0]), JINJA_BOTH);
}

static struct jinja_value str_lstrip(struct jinja_run *run, struct jinja_value self,
                                     const struct jinja_value *args)
{
    return jinja_strip(run, self.of.string, jinja_args_string(run, args[0]), JINJA_LEFT);
}

static struct jinja_value str_rstrip(struct jinja_run *run, struct jinja_value self,
                                     const struct jinja_value *args)
{
    return jinja_strip(run, self.of.string, jinja_args_string(run, args[0]), JINJA_RIGHT);
}

static struct jinja_value str_split(struct jinja_run *run, struct jinja_value self,
                                    const struct jinja_value *args)
{
    const int64_t most = jinja_args_plain_int(run, args[1], -1);
    return jinja_split(run, self.of.string, jinja_args_string(run, args[0]), most < 0 ? -1 : most,
                       JINJA_LEFT);
}

static struct jinja_value str_rsplit(struct jinja_run *run, struct jinja_value self,
                                     const struct jinja_value *args)
{
    const int64_t most = jinja_args_plain_int(run, args[1], -1);
    return jinja_split(run, self.of.string, jinja_args_string(run, args[0]), most < 0 ? -1 : most,
                       JINJA_RIGHT);
}

static struct jinja_value str_splitlines(struct jinja_run *run, struct jinja_value self,
                                         const struct jinja_value *args)
{
    return jinja_split_lines(run, self.of.string, jinja_args_plain_int(run, args[0], 0) != 0);
}

/* A string that must be given. */
const struct jinja_string *jinja_method_need_string(struct jinja_run *run, struct jinja_value arg)
{
    static const struct jinja_string empty = { .data = "" };
    if (arg.type == JINJA_STRING)
        return arg.of.string;
    jinja_run_fail(run, -EINVAL, "an argument is %s, a string is wanted", jinja_type_name(arg));
    return &empty;
}

static struct jinja_value str_replace(struct jinja_run *run, struct jinja_value self,
                                      const struct jinja_value *args)
{
    const int64_t most = jinja_args_plain_int(run, args[2], -1);
    return jinja_replace(run, self.of.string, jinja_method_need_string(run, args[0]),
                         jinja_method_need_string(run, args[1]), most < 0 ? -1 : most);
}

static struct jinja_value str_join(struct jinja_run *run, struct jinja_value self,
                                   const struct jinja_value *args)
{
    struct strbuf out = jinja_buffer(run);
    struct jinja_cursor cursor = jinja_cursor(run, args[0]);
    struct jinja_value item;

    for (bool first = true; jinja_cursor_next(run, &cursor, &item) && !out.failed; first = false) {
        if (!first)
            strbuf_append(&out, self.of.string->data, self.of.string->len);
        const struct jinja_string *string = jinja_method_need_string(run, item);
        strbuf_append(&out, string->data, string->len);
    }
    return jinja_string_take(run, &out);
}

static struct jinja_value str_ljust(struct jinja_run *run, struct jinja_value self,
                                    const struct jinja_value *args)
{
    return jinja_format_pad(run, self.of.string, jinja_args_plain_int(run, args[0], 0),
                            jinja_args_string(run, args[1]), '<');
}

static struct jinja_value str_rjust(struct jinja_run *run, struct jinja_value self,
                                    const struct jinja_value *args)
{
    return jinja_format_pad(run, self.of.string, jinja_args_plain_int(run, args[0], 0),
                            jinja_args_string(run, args[1]), '>');
}

static struct jinja_value str_center(struct jinja_run *run, struct jinja_value self,
                                     const struct jinja_value *args)
{
    return jinja_format_pad(run, self.of.string, jinja_args_plain_int(run, args[0], 0),
                            jinja_args_string(run, args[1]), 'c');
}

static struct jinja_value str_zfill(struct jinja_run *run, struct jinja_value self,
                                    const struct jinja_value *args)
{
    return jinja_format_pad(run, self.of.string, jinja_args_plain_int(run, args[0], 0), NULL, '0');
}

static struct jinja_value str_format(struct jinja_run *run, struct jinja_value self,
                                     const struct jinja_args *args)
{
    return jinja_format_braces(run, self.of.string, args);
}

static struct jinja_value is_class(struct jinja_value self, enum jinja_class wanted)
{
    return jinja_bool(jinja_text_is(self.of.string->data, self.of.string->len, wanted));
}

#define CLASS_METHOD(name, wanted)                                                                 \
    static struct jinja_value str_##name(struct jinja_run *run, struct jinja_value self,           \
                                         const struct jinja_value *args)                           \
    {                                                                                              \
        (void)args;                                                                                \
        jinja_run_charge(run, self.of.string->len * 8);                                            \
        return is_class(self, wanted);                                                             \
    }
CLASS_METHOD(isalpha, JINJA_ALPHA)
CLASS_METHOD(isalnum, JINJA_ALNUM)
CLASS_METHOD(isdigit, JINJA_DIGIT)
CLASS_METHOD(isspace, JINJA_SPACE)
CLASS_METHOD(islower, JINJA_IS_LOWER)
CLASS_METHOD(isupper, JINJA_IS_UPPER)
CLASS_METHOD(istitle, JINJA_IS_TITLE)
CLASS_METHOD(isascii, JINJA_ASCII)
CLASS_METHOD(isprintable, JINJA_PRINTABLE)

static struct jinja_value dict_get(struct jinja_run *run, struct jinja_value self,
                                   const struct jinja_value *args)
{
    if (args[0].type == JINJA_LIST || args[0].type == JINJA_DICT)
        jinja_run_fail(run, -EINVAL, "a %s cannot be a key", jinja_type_name(args[0]));
    const struct jinja_entry *entry = jinja_dict_find(run, self.of.dict, args[0]);
    if (entry != NULL)
        return entry->value;
    return args[1].type == JINJA_MISSING ? jinja_none() : args[1];
}

static struct jinja_value view(struct jinja_run *run, struct jinja_value self,
                               enum jinja_view_kind kind)
{
    struct jinja_view *view = jinja_run_alloc(run, 1, sizeof(*view));
    if (view == NULL)
        return jinja_undefined(NULL);
    *view = (struct jinja_view){ .dict = self.of.dict, .kind = kind };
    return (struct jinja_value){ .type = JINJA_VIEW, .of.view = view };
}

static struct jinja_value dict_keys(struct jinja_run *run, struct jinja_value self,
                                    const struct jinja_value *args)
{
    (void)args;
    return view(run, self, JINJA_VIEW_KEYS);
}

static struct jinja_value dict_values(struct jinja_run *run, struct jinja_value self,
                                      const struct jinja_value *args)
{
    (void)args;
    return view(run, self, JINJA_VIEW_VALUES);
}

static struct jinja_value dict_items(struct jinja_run *run, struct jinja_value self,
                                     const struct jinja_value *args)
{
    (void)args;
    return view(run, self, JINJA_VIEW_ITEMS);
}

/* Nothing changes a list or dict, so a copy is as good as the thing. */
static struct jinja_value same(struct jinja_run *run, struct jinja_value self,
                               const struct jinja_value *args)
{
    (void)run;
    (void)args;
    return self;
}

static struct jinja_value list_count(struct jinja_run *run, struct jinja_value self,
                                     const struct jinja_value *args)
{
    int64_t num = 0;
    for (size_t i = 0; i < self.of.list->num && jinja_run_charge(run, 0); i++)
        num += jinja_equal(run, self.of.list->items[i], args[0]);
    return jinja_int(num);
}

static struct jinja_value list_index(struct jinja_run *run, struct jinja_value self,
                                     const struct jinja_value *args)
{
    struct jinja_value item = self;
    const struct jinja_value bounds[3] = { jinja_int(jinja_args_int(run, args[1], 0)),
                                           jinja_int(jinja_args_int(run, args[2], INT64_MAX)),
                                           jinja_none() };
    const int64_t num = (int64_t)self.of.list->num;
    const int64_t first = bounds[0].of.integer < -num ? 0
                          : bounds[0].of.integer < 0  ? bounds[0].of.integer + num
                                                      : bounds[0].of.integer;
    struct jinja_cursor cursor = jinja_cursor(run, jinja_slice(run, self, bounds));
    for (int64_t i = 0; jinja_cursor_next(run, &cursor, &item); i++)
        if (jinja_equal(run, item, args[0]))
            return jinja_int(first + i);
    jinja_run_fail(run, -EINVAL, "the value is not in the list");
    return jinja_undefined(NULL);
}

static struct jinja_value cycler_next(struct jinja_run *run, struct jinja_value self,
                                      const struct jinja_value *args)
{
    struct jinja_cycler *cycler = self.of.cycler;
    const struct jinja_value item = cycler->items.items[cycler->at];
    (void)run;
    (void)args;
    cycler->at = (cycler->at + 1) % cycler->items.num;
    return item;
}

static struct jinja_value cycler_reset(struct jinja_run *run, struct jinja_value self,
                                       const struct jinja_value *args)
{
    (void)run;
    (void)args;
    self.of.cycler->at = 0;
    return jinja_none();
}

static struct jinja_value loop_cycle(struct jinja_run *run, struct jinja_value self,
                                     const struct jinja_args *args)
{
    return jinja_loop_cycle(run, self.of.loop, args);
}

static struct jinja_value loop_changed(struct jinja_run *run, struct jinja_value self,
                                       const struct jinja_args *args)
{
    return jinja_bool(jinja_loop_changed(run, self.of.loop, args));
}

static const struct jinja_method methods[] = {
    { JINJA_STRING, "capitalize", "", 0, str_capitalize },
    { JINJA_STRING, "center", "/width,fillchar", 1, str_center },
    { JINJA_STRING, "count", "/sub,start,end", 1, jinja_method_count },
    { JINJA_STRING, "endswith", "/suffix,start,end", 1, jinja_method_endswith },
    { JINJA_STRING, "format", NULL, 0, NULL, str_format },
    { JINJA_STRING, "find", "/sub,start,end", 1, jinja_method_find },
    { JINJA_STRING, "index", "/sub,start,end", 1, jinja_method_index },
    { JINJA_STRING, "isalnum", "", 0, str_isalnum },
    { JINJA_STRING, "isalpha", "", 0, str_isalpha },
    { JINJA_STRING, "isascii", "", 0, str_isascii },
    { JINJA_STRING, "isdecimal", "", 0, str_isdigit },
    { JINJA_STRING, "isdigit", "", 0, str_isdigit },
    { JINJA_STRING, "islower", "", 0, str_islower },
    { JINJA_STRING, "isprintable", "", 0, str_isprintable },
    { JINJA_STRING, "isspace", "", 0, str_isspace },
    { JINJA_STRING, "istitle", "", 0, str_istitle },
    { JINJA_STRING, "isupper", "", 0, str_isupper },
    { JINJA_STRING, "join", "/iterable", 1, str_join },
    { JINJA_STRING, "ljust", "/width,fillchar", 1, str_ljust },
    { JINJA_STRING, "lower", "", 0, str_lower },
    { JINJA_STRING, "lstrip", "/chars", 0, str_lstrip },
    { JINJA_STRING, "partition", "/sep", 1, jinja_method_partition },
    { JINJA_STRING, "removeprefix", "/prefix", 1, jinja_method_removeprefix },
    { JINJA_STRING, "removesuffix", "/suffix", 1, jinja_method_removesuffix },
    { JINJA_STRING, "replace", "/old,new,count", 2, str_replace },
    { JINJA_STRING, "rfind", "/sub,start,end", 1, jinja_method_rfind },
    { JINJA_STRING, "rindex", "/sub,start,end", 1, jinja_method_rindex },
    { JINJA_STRING, "rjust", "/width,fillchar", 1, str_rjust },
    { JINJA_STRING, "rpartition", "/sep", 1, jinja_method_rpartition },
    { JINJA_STRING, "rsplit", "sep,maxsplit", 0, str_rsplit },
    { JINJA_STRING, "rstrip", "/chars", 0, str_rstrip },
    { JINJA_STRING, "split", "sep,maxsplit", 0, str_split },
    { JINJA_STRING, "splitlines", "keepends", 0, str_splitlines },
    { JINJA_STRING, "startswith", "/prefix,start,end", 1, jinja_method_startswith },
    { JINJA_STRING, "strip", "/chars", 0, str_strip },
    { JINJA_STRING, "swapcase", "", 0, str_swapcase },
    { JINJA_STRING, "title", "", 0, str_title },
    { JINJA_STRING, "upper", "", 0, str_upper },
    { JINJA_STRING, "zfill", "/width", 1, str_zfill },
    { JINJA_CYCLER, "next", "", 0, cycler_next },
    { JINJA_CYCLER, "reset", "", 0, cycler_reset },
    { JINJA_LOOP, "cycle", NULL, 0, NULL, loop_cycle },
    { JINJA_LOOP, "changed", NULL, 0, NULL, loop_changed },
    { JINJA_DICT, "copy", "", 0, same },
    { JINJA_DICT, "get", "/key,default", 1, dict_get },
    { JINJA_DICT, "items", "", 0, dict_items },
    { JINJA_DICT, "keys", "", 0, dict_keys },
    { JINJA_DICT, "values", "", 0, dict_values },
    { JINJA_DICT, "clear", "", 0, NULL },
    { JINJA_DICT, "pop", "", 0, NULL },
    { JINJA_DICT, "popitem", "", 0, NULL },
    { JINJA_DICT, "setdefault", "", 0, NULL },
    { JINJA_DICT, "update", "", 0, NULL },
    { JINJA_LIST, "copy", "", 0, same },
    { JINJA_LIST, "count", "/value", 1, list_count },
    { JINJA_LIST, "index", "/value,start,stop", 1, list_index },
    { JINJA_LIST, "append", "", 0, NULL },
    { JINJA_LIST, "clear", "", 0, NULL },
    { JINJA_LIST, "extend", "", 0, NULL },
    { JINJA_LIST, "insert", "", 0, NULL },
    { JINJA_LIST, "pop", "", 0, NULL },
    { JINJA_LIST, "remove", "", 0, NULL },
    { JINJA_LIST, "reverse", "", 0, NULL },
    { JINJA_LIST, "sort", "", 0, NULL },
    { JINJA_TUPLE, "count", "/value", 1, list_count },
    { JINJA_TUPLE, "index", "/value,start,stop", 1, list_index },
};

struct jinja_value jinja_method_of(struct jinja_run *run, struct jinja_value self,
                                   const struct jinja_string *name)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        const struct jinja_method *row = &methods[i];
        if (row->type != self.type || strlen(row->name) != name->len ||
            memcmp(row->name, name->data, name->len) != 0)
            continue;
        if (row->call == NULL && row->call_raw == NULL)
            return jinja_undefined(NULL);
        struct jinja_bound *bound = jinja_run_alloc(run, 1, sizeof(*bound));
        if (bound == NULL)
            return jinja_undefined(NULL);
        *bound = (struct jinja_bound){ .self = self, .method = row };
        return (struct jinja_value){ .type = JINJA_METHOD, .of.bound = bound };
    }
    return jinja_missing();
}

struct jinja_value jinja_method_call(struct jinja_run *run, const struct jinja_bound *bound,
                                     const struct jinja_args *args)
{
    struct jinja_value in_order[JINJA_MAX_PARAMS];
    const struct jinja_method *method = bound->method;
    if (method->call_raw != NULL)
        return method->call_raw(run, bound->self, args);
    if (!jinja_args_bind(run, method->name, method->params, method->num_required, args, in_order))
        return jinja_undefined(NULL);
    return method->call(run, bound->self, in_order);
}
