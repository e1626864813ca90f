#include "base/option.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/runner.h"

struct target {
    int64_t max_num_seqs;
    double timeout;
    bool http2;
    const char *dtype;
    struct option_list names;
    const char *model;
};

#define ROW(field) OPTION_FIELD(struct target, field), .commands = 1
static const struct option_row rows[] = {
    { ROW(max_num_seqs), .initial = "256", .min = 1, .max = 4096, .aliases = "-np --parallel",
      .help = "Most." },
    { ROW(timeout), .initial = "30", .min = 0, .max = 60, .help = "Time." },
    { ROW(http2), .initial = "true", .help = "Speak it." },
    { ROW(dtype), .initial = "auto", .choices = "auto|f16|f32", .help = "Type." },
    { ROW(names), .help = "Names." },
};

static struct target target;
static struct option_set set;
static struct error err;

static void begin(void)
{
    target = (struct target){ 0 };
    set = (struct option_set){ .rows = rows, .num_rows = 5, .command = 1, .target = &target };
    option_defaults(&set);
}

static int positional(void *t, const char *text, struct error *e)
{
    (void)e;
    ((struct target *)t)->model = text;
    return 0;
}

static int parse(char *a, char *b)
{
    char *argv[] = { a, b };
    begin();
    return option_read_args(&set, b != NULL ? 2 : 1, argv, positional, &err);
}

START_TEST(defaults_are_parsed_by_the_same_code)
{
    begin();
    ck_assert_int_eq(target.max_num_seqs, 256);
    ck_assert(target.http2);
    ck_assert_str_eq(target.dtype, "auto");
}
END_TEST

START_TEST(values_come_with_a_space_an_equals_sign_or_an_alias)
{
    ck_assert_int_eq(parse("--max-num-seqs", "7"), 0);
    ck_assert_int_eq(target.max_num_seqs, 7);
    ck_assert_int_eq(parse("--max_num_seqs=2K", NULL), 0);
    ck_assert_int_eq(target.max_num_seqs, 2048);
    ck_assert_int_eq(parse("-np", "1k"), 0);
    ck_assert_int_eq(target.max_num_seqs, 1000);
    ck_assert_int_eq(parse("--no-http2", "model"), 0);
    ck_assert(!target.http2);
    ck_assert_str_eq(target.model, "model");
    ck_assert_int_eq(parse("--http2=false", NULL), 0);
    ck_assert(!target.http2);
}
END_TEST

START_TEST(a_bad_value_is_refused_with_what_was_wanted)
{
    static const char *const bad[][2] = {
        { "--max-num-seqs=0", "outside 1 to 4096" }, { "--max-num-seqs=seven", "whole number" },
        { "--max-num-seqs=1.5", "whole number" },    { "--max-num-seqs= 5", "whole number" },
        { "--timeout=nan", "not a number" },         { "--timeout=61", "outside 0 to 60" },
        { "--http2=maybe", "true or false" },        { "--dtype=f64", "auto|f16|f32" },
        { "--max-num-seqs", "wants a value" },       { "--no-http2=true", "" },
    };
    for (size_t i = 0; i + 1 < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[64];
        strcpy(text, bad[i][0]);
        ck_assert_msg(parse(text, NULL) == -EINVAL, "accepted %s", text);
        ck_assert_msg(strstr(err.message, bad[i][1]) != NULL, "%s", err.message);
    }
}
END_TEST

START_TEST(an_unknown_flag_gets_the_nearest_name)
{
    ck_assert_int_eq(parse("--max-num-seq", "5"), -EINVAL);
    ck_assert_str_eq(err.message, "unknown option --max-num-seq; did you mean --max-num-seqs?");
    ck_assert_int_eq(parse("--zzzzzzzz", NULL), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "--help"));
}
END_TEST

START_TEST(lists_collect_from_commas_and_repeats)
{
    char *argv[] = { "--names", "a,b", "--names=c" };
    begin();
    ck_assert_int_eq(option_read_args(&set, 3, argv, positional, &err), 0);
    ck_assert_int_eq(target.names.num, 3);
    ck_assert_int_eq(memcmp(target.names.items[1].text, "b", 1), 0);
}
END_TEST

START_TEST(a_variable_is_used_and_the_command_line_wins)
{
    setenv("TOKENRING_MAX_NUM_SEQS", "12", 1);
    begin();
    ck_assert_int_eq(option_read_env(&set, &err), 0);
    ck_assert_int_eq(target.max_num_seqs, 12);
    char *argv[] = { "--max-num-seqs=13" };
    ck_assert_int_eq(option_read_args(&set, 1, argv, positional, &err), 0);
    ck_assert_int_eq(target.max_num_seqs, 13);
    setenv("TOKENRING_MAX_NUM_SEQS", "x", 1);
    ck_assert_int_eq(option_read_env(&set, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, "TOKENRING_MAX_NUM_SEQS"));
}
END_TEST

START_TEST(lines_carry_every_value_to_another_process)
{
    char *argv[] = { "--names=a,b", "--no-http2", "--dtype=f16", "--timeout=0.25" };
    struct strbuf lines = { 0 };
    begin();
    ck_assert_int_eq(option_read_args(&set, 4, argv, positional, &err), 0);
    option_write_lines(&set, &lines);

    begin();
    ck_assert_int_eq(option_read_lines(&set, lines.data, &err), 0);
    ck_assert_int_eq(target.names.num, 2);
    ck_assert(!target.http2);
    ck_assert_str_eq(target.dtype, "f16");
    ck_assert_double_eq(target.timeout, 0.25);

    char broken[] = "max_num_seqs=5\nelse=1\n";
    begin();
    ck_assert_int_eq(option_read_lines(&set, broken, &err), -EINVAL);
    strbuf_finish(&lines);
}
END_TEST

RUN_SUITE("option", defaults_are_parsed_by_the_same_code,
          values_come_with_a_space_an_equals_sign_or_an_alias,
          a_bad_value_is_refused_with_what_was_wanted, an_unknown_flag_gets_the_nearest_name,
          lists_collect_from_commas_and_repeats, a_variable_is_used_and_the_command_line_wins,
          lines_carry_every_value_to_another_process)
