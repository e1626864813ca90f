#include "supervisor/progress.h"

#include <stdlib.h>
#include <string.h>

#include "../runner.h"

START_TEST(a_line_says_share_size_and_rate)
{
    char line[160];
    progress_format(495000000, 990000000, 250000, line, sizeof(line));
    ck_assert_str_eq(line, "loading weights [############------------]  50 % of 0.99 GB, 2.0 GB/s");
    progress_format(2000000, 1000000, 0, line, sizeof(line));
    ck_assert_str_eq(line, "loading weights [########################] 100 % of 0.00 GB, 0.0 GB/s");
    progress_format(0, 0, 1, line, sizeof(line));
    ck_assert(strstr(line, "  0 %") != NULL);
}
END_TEST

START_TEST(nothing_is_shown_where_nobody_looks)
{
    struct progress progress;
    FILE *out = tmpfile();
    progress_begin(&progress, out, 0);
    ck_assert(!progress_wants(&progress));
    progress_show(&progress, 1, 2, 10000000);
    progress_end(&progress);
    ck_assert_int_eq(ftell(out), 0);
    fclose(out);
}
END_TEST

START_TEST(a_load_that_is_short_shows_nothing_and_a_long_one_is_taken_away)
{
    struct progress progress = { .out = tmpfile() };
    FILE *out = progress.out;
    progress_show(&progress, 1, 4, 200000);
    ck_assert_int_eq(ftell(out), 0);
    progress_show(&progress, 2, 4, 400000);
    const long first = ftell(out);
    ck_assert_int_gt(first, 0);
    progress_show(&progress, 3, 4, 450000);
    ck_assert_int_eq(ftell(out), first);
    progress_end(&progress);
    ck_assert(!progress_wants(&progress));
    char text[256] = "";
    rewind(out);
    ck_assert_int_gt(fread(text, 1, sizeof(text) - 1, out), 0);
    ck_assert_msg(strcmp(text + strlen(text) - 4, "\r\033[K") == 0, "%s", text);
    fclose(out);
}
END_TEST

RUN_SUITE("progress", a_line_says_share_size_and_rate, nothing_is_shown_where_nobody_looks,
          a_load_that_is_short_shows_nothing_and_a_long_one_is_taken_away)
