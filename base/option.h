/*
 * option.h - one row per command-line option; parser, environment, help and checks derive from it
 *
 * The field, the option and the variable have one name: max_num_seqs, --max-num-seqs,
 * $TOKENRING_MAX_NUM_SEQS. In names typed by a person `_` and `-` are the same. A value is
 * parsed in full or refused with the option, the text and what was wanted.
 *
 * Texts are kept by pointer: into argv, the environment or the text given to
 * option_read_lines(), which must outlive the target struct. One thread.
 */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/strbuf.h"

enum option_type {
    OPTION_BOOL, /* --flag, --no-flag, --flag=true|false */
    OPTION_INT,  /* int64_t; 1k = 1000, 1K = 1024, likewise m, M, g, G */
    OPTION_REAL, /* double */
    OPTION_TEXT, /* const char * */
    OPTION_LIST, /* struct option_list: repeatable, and each value split at commas */
};

enum { OPTION_LIST_MAX = 64 };

struct option_list {
    int32_t num;
    struct {
        const char *text; /* len bytes, not NUL-terminated */
        size_t len;
    } items[OPTION_LIST_MAX];
};

/* The row takes its type from the field, so the two cannot disagree. */
#define OPTION_FIELD(type_name, field)                                                             \
    .field_name = #field, .offset = offsetof(type_name, field),                                   \
    .type = _Generic(((type_name *)0)->field,                                                     \
                     bool: OPTION_BOOL,                                                           \
                     int64_t: OPTION_INT,                                                         \
                     double: OPTION_REAL,                                                         \
                     const char *: OPTION_TEXT,                                                   \
                     struct option_list: OPTION_LIST)

struct option_row {
    const char *field_name;
    size_t offset;
    enum option_type type;
    const char *aliases; /* other spellings separated by spaces, with their dashes: "--tp -tp" */
    double min, max;     /* inclusive; OPTION_INT and OPTION_REAL, when max > min */
    const char *initial; /* default, parsed by the same code as a person's text; NULL: zero */
    const char *choices; /* OPTION_TEXT: allowed words separated by '|' */
    const char *value;   /* what the help calls the value: "N", "PATH" */
    const char *help;    /* one sentence; NULL: accepted but not listed */
    unsigned commands;   /* bits of the subcommands that know it */
    bool brief;          /* shown by --help; the others by --help=all */
    bool no_env;
};

enum option_source { OPTION_FROM_DEFAULT, OPTION_FROM_ENV, OPTION_FROM_COMMAND_LINE };

enum { OPTION_ROWS_MAX = 128 };

struct option_set {
    const struct option_row *rows;
    int32_t num_rows;
    unsigned command; /* the bit of the subcommand */
    void *target;     /* the struct the fields lie in */
    uint8_t sources[OPTION_ROWS_MAX];
};

/* Give every field its default. */
void option_defaults(struct option_set *set);

/* Take what $TOKENRING_* holds. Returns 0 or -EINVAL. */
int option_read_env(struct option_set *set, struct error *err);

/*
 * Take the arguments. What is no option is handed to `positional` in order.
 *
 * Returns 0, or -EINVAL with a sentence that names the argument; an unknown one gets the
 * nearest name.
 */
int option_read_args(struct option_set *set, int argc, char **argv,
                     int (*positional)(void *target, const char *text, struct error *err),
                     struct error *err);

/* Write all rows as lines "name=value" / read them back (the text is cut at its newlines in
 * place). For handing checked options to another process. */
void option_write_lines(const struct option_set *set, struct strbuf *out);
int option_read_lines(struct option_set *set, char *text, struct error *err);

/* Help: one line per row, `all` or only the brief ones. */
void option_print_help(const struct option_set *set, bool all, FILE *out);

/* Every effective value with where it came from; secrets (fields called *key*) as "***". */
void option_print_config(const struct option_set *set, FILE *out);

/* Parse 5, 1k, 1K, 2.5g ... in full. Returns 0 or -EINVAL. */
int option_parse_int(const char *text, int64_t *ret_value);

/* Of words separated by spaces the one nearest to `text`, or NULL when none is near. */
const char *option_nearest(const char *text, const char *const *words, size_t num_words);

#endif
