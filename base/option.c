#include "base/option.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64 };

static void *field_of(const struct option_set *set, const struct option_row *row)
{
    return (char *)set->target + row->offset;
}

static bool row_is_known(const struct option_set *set, const struct option_row *row)
{
    return (row->commands & set->command) != 0;
}

static void flag_name(const struct option_row *row, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "--%s", row->field_name);
    for (char *c = out; *c != '\0'; c++)
        if (*c == '_')
            *c = '-';
}

static void env_name(const struct option_row *row, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "TOKENRING_%s", row->field_name);
    for (char *c = out; *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
}

/* --- values --- */

static double unit_of(char letter)
{
    switch (letter) {
    case 'k':
        return 1e3;
    case 'm':
        return 1e6;
    case 'g':
        return 1e9;
    case 'K':
        return 1024.0;
    case 'M':
        return 1024.0 * 1024;
    case 'G':
        return 1024.0 * 1024 * 1024;
    default:
        return 0;
    }
}

int option_parse_int(const char *text, int64_t *ret_value)
{
    char *end;
    errno = 0;
    const long long whole = strtoll(text, &end, 10);
    if (end == text || isspace((unsigned char)*text))
        return -EINVAL;
    if (*end == '\0' && errno == 0) {
        *ret_value = whole;
        return 0;
    }
    const double real = strtod(text, &end) * unit_of(*end);
    if (*end == '\0' || end[1] != '\0' || unit_of(*end) == 0 || strpbrk(text, "xXnN") != NULL ||
        !(fabs(real) < 9e18))
        return -EINVAL;
    *ret_value = (int64_t)real;
    return 0;
}

static int set_int(int64_t *field, const struct option_row *row, const char *name, const char *text,
                   struct error *err)
{
    int64_t value;
    if (option_parse_int(text, &value) < 0)
        return error_set_param(err, -EINVAL, row->field_name, "%s: \"%.64s\" is not a whole number",
                               name, text);
    if (row->max > row->min && ((double)value < row->min || (double)value > row->max))
        return error_set_param(err, -EINVAL, row->field_name, "%s: %lld is outside %.0f to %.0f",
                               name, (long long)value, row->min, row->max);
    *field = value;
    return 0;
}

static int set_real(double *field, const struct option_row *row, const char *name, const char *text,
                    struct error *err)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value))
        return error_set_param(err, -EINVAL, row->field_name, "%s: \"%.64s\" is not a number", name,
                               text);
    if (row->max > row->min && (value < row->min || value > row->max))
        return error_set_param(err, -EINVAL, row->field_name, "%s: %g is outside %g to %g", name,
                               value, row->min, row->max);
    *field = value;
    return 0;
}

static int set_bool(bool *field, const struct option_row *row, const char *name, const char *text,
                    struct error *err)
{
    static const char *const words[][2] = {
        { "true", "false" }, { "1", "0" }, { "yes", "no" }, { "on", "off" }
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        for (int no = 0; no < 2; no++)
            if (strcmp(text, words[i][no]) == 0) {
                *field = no == 0;
                return 0;
            }
    return error_set_param(err, -EINVAL, row->field_name, "%s: \"%.64s\" is not true or false",
                           name, text);
}

static bool is_choice(const char *choices, const char *text)
{
    const size_t len = strlen(text);
    for (const char *c = choices; c != NULL; c = strchr(c, '|')) {
        c += *c == '|';
        const size_t n = strcspn(c, "|");
        if (n == len && memcmp(c, text, len) == 0)
            return true;
    }
    return false;
}

static int set_text(const char **field, const struct option_row *row, const char *name,
                    const char *text, struct error *err)
{
    if (row->choices != NULL && *text != '\0' && !is_choice(row->choices, text))
        return error_set_param(err, -EINVAL, row->field_name, "%s: \"%.64s\" is not one of %s",
                               name, text, row->choices);
    if (strpbrk(text, "\r\n") != NULL)
        return error_set_param(err, -EINVAL, row->field_name, "%s: a line break is not allowed",
                               name);
    *field = text;
    return 0;
}

static int add_items(struct option_list *list, const struct option_row *row, const char *name,
                     const char *text, struct error *err)
{
    if (strpbrk(text, "\r\n") != NULL)
        return error_set_param(err, -EINVAL, row->field_name, "%s: a line break is not allowed",
                               name);
    for (const char *at = text; at != NULL;) {
        const size_t len = strcspn(at, ",");
        if (list->num == OPTION_LIST_MAX)
            return error_set_param(err, -E2BIG, row->field_name, "%s: more than %d values", name,
                                   OPTION_LIST_MAX);
        if (len > 0) {
            list->items[list->num].text = at;
            list->items[list->num++].len = len;
        }
        at = at[len] == ',' ? at + len + 1 : NULL;
    }
    return 0;
}

static int set_value(struct option_set *set, const struct option_row *row, const char *name,
                     const char *text, enum option_source source, struct error *err)
{
    uint8_t *from = &set->sources[row - set->rows];
    void *field = field_of(set, row);
    int r = -EINVAL;

    switch (row->type) {
    case OPTION_BOOL:
        r = set_bool(field, row, name, text, err);
        break;
    case OPTION_INT:
        r = set_int(field, row, name, text, err);
        break;
    case OPTION_REAL:
        r = set_real(field, row, name, text, err);
        break;
    case OPTION_TEXT:
        r = set_text(field, row, name, text, err);
        break;
    case OPTION_LIST:
        if (*from != (uint8_t)source) /* a nearer source replaces, the same one adds */
            ((struct option_list *)field)->num = 0;
        r = add_items(field, row, name, text, err);
        break;
    }
    if (r == 0)
        *from = (uint8_t)source;
    return r;
}

void option_defaults(struct option_set *set)
{
    for (int32_t i = 0; i < set->num_rows; i++) {
        const struct option_row *row = &set->rows[i];
        set->sources[i] = OPTION_FROM_DEFAULT;
        if (row->initial != NULL)
            (void)set_value(set, row, row->field_name, row->initial, OPTION_FROM_DEFAULT, NULL);
    }
}

int option_read_env(struct option_set *set, struct error *err)
{
    for (int32_t i = 0; i < set->num_rows; i++) {
        const struct option_row *row = &set->rows[i];
        char name[NAME_BYTES];
        env_name(row, name);
        const char *text = getenv(name);
        if (text == NULL || row->no_env || !row_is_known(set, row))
            continue;
        const int r = set_value(set, row, name, text, OPTION_FROM_ENV, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- arguments --- */

/* One argument taken apart: name with '-' for '_', and what stands behind '='. */
struct argument {
    char name[NAME_BYTES];
    const char *value;
};

static bool split_argument(const char *text, struct argument *arg)
{
    const size_t len = strcspn(text, "=");
    if (len >= sizeof(arg->name))
        return false;
    memcpy(arg->name, text, len);
    arg->name[len] = '\0';
    for (char *c = arg->name; *c != '\0'; c++)
        if (*c == '_')
            *c = '-';
    arg->value = text[len] == '=' ? text + len + 1 : NULL;
    return true;
}

static bool has_alias(const struct option_row *row, const char *name)
{
    const size_t len = strlen(name);
    for (const char *a = row->aliases; a != NULL && *a != '\0'; a += strspn(a, " ")) {
        const size_t n = strcspn(a, " ");
        if (n == len && memcmp(a, name, len) == 0)
            return true;
        a += n;
    }
    return false;
}

static const struct option_row *find_row(const struct option_set *set, const char *name,
                                         bool *ret_negated)
{
    for (int32_t i = 0; i < set->num_rows; i++) {
        const struct option_row *row = &set->rows[i];
        char flag[NAME_BYTES];
        if (!row_is_known(set, row))
            continue;
        flag_name(row, flag);
        *ret_negated = false;
        if (strcmp(flag, name) == 0 || has_alias(row, name))
            return row;
        *ret_negated = row->type == OPTION_BOOL && strncmp(name, "--no-", 5) == 0;
        if (!*ret_negated)
            continue;
        char plain[2 * NAME_BYTES];
        snprintf(plain, sizeof(plain), "--%s", name + 5);
        if (strcmp(flag, plain) == 0 || has_alias(row, plain))
            return row;
    }
    return NULL;
}

static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_BYTES + 1];
    const size_t la = strlen(a), lb = strnlen(b, NAME_BYTES);
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            const size_t above = row[j];
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            best = above + 1 < best ? above + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = above;
        }
    }
    return row[lb];
}

const char *option_nearest(const char *text, const char *const *words, size_t num_words)
{
    const char *best = NULL;
    size_t least = 1 + strlen(text) / 3;
    for (size_t i = 0; i < num_words; i++) {
        const size_t d = distance(text, words[i]);
        if (d < least || (d == least && best == NULL)) {
            least = d;
            best = words[i];
        }
    }
    return best;
}

static int unknown(const struct option_set *set, const char *name, struct error *err)
{
    char flags[OPTION_ROWS_MAX][NAME_BYTES];
    const char *words[OPTION_ROWS_MAX];
    size_t n = 0;
    for (int32_t i = 0; i < set->num_rows && i < OPTION_ROWS_MAX; i++)
        if (row_is_known(set, &set->rows[i])) {
            flag_name(&set->rows[i], flags[n]);
            words[n] = flags[n];
            n++;
        }
    const char *near = option_nearest(name, words, n);
    if (near == NULL)
        return error_set_param(err, -EINVAL, name, "unknown option %s; see --help=all", name);
    return error_set_param(err, -EINVAL, name, "unknown option %s; did you mean %s?", name, near);
}

static int read_one(struct option_set *set, int argc, char **argv, int *i, struct error *err)
{
    struct argument arg;
    bool negated;
    const struct option_row *row;

    if (!split_argument(argv[*i], &arg))
        return error_set(err, -EINVAL, "unknown option %.60s...; see --help=all", argv[*i]);
    row = find_row(set, arg.name, &negated);
    if (row == NULL)
        return unknown(set, arg.name, err);
    if (row->type == OPTION_BOOL && arg.value == NULL)
        arg.value = negated ? "false" : "true";
    else if (negated)
        return error_set_param(err, -EINVAL, row->field_name, "%s takes no value", arg.name);
    if (arg.value == NULL && *i + 1 < argc)
        arg.value = argv[++*i];
    if (arg.value == NULL)
        return error_set_param(err, -EINVAL, row->field_name, "%s wants a value", arg.name);
    return set_value(set, row, arg.name, arg.value, OPTION_FROM_COMMAND_LINE, err);
}

int option_read_args(struct option_set *set, int argc, char **argv,
                     int (*positional)(void *target, const char *text, struct error *err),
                     struct error *err)
{
    bool only_positional = false;
    for (int i = 0; i < argc; i++) {
        int r;
        if (!only_positional && strcmp(argv[i], "--") == 0) {
            only_positional = true;
            continue;
        }
        if (only_positional || argv[i][0] != '-' || argv[i][1] == '\0')
            r = positional(set->target, argv[i], err);
        else
            r = read_one(set, argc, argv, &i, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- lines, help --- */

static void write_value(const struct option_set *set, const struct option_row *row,
                        struct strbuf *out)
{
    const void *field = field_of(set, row);
    const struct option_list *list = field;
    switch (row->type) {
    case OPTION_BOOL:
        strbuf_append_text(out, *(const bool *)field ? "true" : "false");
        break;
    case OPTION_INT:
        strbuf_printf(out, "%lld", (long long)*(const int64_t *)field);
        break;
    case OPTION_REAL:
        strbuf_printf(out, "%.17g", *(const double *)field);
        break;
    case OPTION_TEXT:
        if (*(const char *const *)field != NULL)
            strbuf_append_text(out, *(const char *const *)field);
        break;
    case OPTION_LIST:
        for (int32_t i = 0; i < list->num; i++) {
            strbuf_append(out, ",", i > 0);
            strbuf_append(out, list->items[i].text, list->items[i].len);
        }
        break;
    }
}

void option_write_lines(const struct option_set *set, struct strbuf *out)
{
    for (int32_t i = 0; i < set->num_rows; i++) {
        strbuf_printf(out, "%s=", set->rows[i].field_name);
        write_value(set, &set->rows[i], out);
        strbuf_append_char(out, '\n');
    }
}

int option_read_lines(struct option_set *set, char *text, struct error *err)
{
    for (int32_t i = 0; i < set->num_rows; i++) {
        const struct option_row *row = &set->rows[i];
        char *end = strchr(text, '\n'), *value = strchr(text, '=');
        if (end == NULL || value == NULL || value > end ||
            (size_t)(value - text) != strlen(row->field_name) ||
            memcmp(text, row->field_name, (size_t)(value - text)) != 0)
            return error_set(err, -EINVAL, "options: line %d is not %s=...", i + 1,
                             row->field_name);
        *end = '\0';
        const bool absent = value[1] == '\0' && row->type >= OPTION_TEXT;
        if (!absent) {
            const int r =
                set_value(set, row, row->field_name, value + 1, OPTION_FROM_COMMAND_LINE, err);
            if (r < 0)
                return r;
        }
        text = end + 1;
    }
    return 0;
}

void option_print_help(const struct option_set *set, bool all, FILE *out)
{
    for (int32_t i = 0; i < set->num_rows; i++) {
        const struct option_row *row = &set->rows[i];
        char flag[NAME_BYTES], left[2 * NAME_BYTES];
        if (!row_is_known(set, row) || row->help == NULL || (!all && !row->brief))
            continue;
        flag_name(row, flag);
        snprintf(left, sizeof(left), "%s %s", flag,
                 row->value != NULL     ? row->value
                 : row->choices != NULL ? row->choices
                                        : "");
        fprintf(out, "  %-34s %s", left, row->help);
        if (row->initial != NULL && row->type != OPTION_BOOL)
            fprintf(out, " [%s]", row->initial);
        fprintf(out, "\n");
        if (all && row->value != NULL && row->choices != NULL)
            fprintf(out, "  %-34s %s\n", "", row->choices);
        if (all && row->aliases != NULL)
            fprintf(out, "  %-34s also %s\n", "", row->aliases);
    }
}

void option_print_config(const struct option_set *set, FILE *out)
{
    static const char *const from[] = { "default", "environment", "command line" };
    for (int32_t i = 0; i < set->num_rows; i++) {
        const struct option_row *row = &set->rows[i];
        struct strbuf value = { 0 };
        char flag[NAME_BYTES];
        if (!row_is_known(set, row))
            continue;
        flag_name(row, flag);
        write_value(set, row, &value);
        const bool secret = strstr(row->field_name, "api_key") != NULL && value.len > 0 &&
                            strstr(row->field_name, "file") == NULL;
        fprintf(out, "%-32s %-24s (%s)\n", flag + 2,
                secret               ? "***"
                : value.data != NULL ? value.data
                                     : "",
                from[set->sources[i]]);
        strbuf_finish(&value);
    }
}
