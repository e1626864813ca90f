#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/auth.h"
#include "tests/unit/runner.h"

static char path[] = "/tmp/tokenring-keys-XXXXXX";
static struct auth *auth;
static struct error err;

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static const struct account_limits no_limits;

static struct auth_key find(const char *key)
{
    struct auth_key found = { 0 };
    ck_assert(auth_check(auth, key, strlen(key), &found));
    ck_assert_uint_ne(found.identity, 0);
    return found;
}

/* Number of the key's name, or -1. */
static int32_t check(const char *key)
{
    struct auth_key found;
    return auth_check(auth, key, strlen(key), &found) ? found.tenant : -1;
}

static void setup(void)
{
    strcpy(path + strlen(path) - 6, "XXXXXX");
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    auth = NULL;
    err = (struct error){ 0 };
}

static void teardown(void)
{
    auth_destroy(auth);
    unlink(path);
}

START_TEST(without_keys_none_is_required)
{
    const struct option_list none = { 0 };
    ck_assert_int_eq(auth_create(&none, NULL, &no_limits, &auth, &err), 0);
    ck_assert(!auth_is_required(auth));
    ck_assert_int_eq(check("whatever-it-is"), -1);
}
END_TEST

START_TEST(keys_of_the_command_line_are_known)
{
    const struct option_list keys = { .num = 2,
                                      .items = { { "first-key,rest", 9 }, { "second-key", 10 } } };
    ck_assert_int_eq(auth_create(&keys, NULL, &no_limits, &auth, &err), 0);
    ck_assert(auth_is_required(auth));
    ck_assert_int_eq(check("first-key"), 0);
    ck_assert_int_eq(check("second-key"), 0);
    ck_assert_int_eq(check("first-key,rest"), -1);
    ck_assert_int_eq(check("first-ke"), -1);
    ck_assert_int_eq(check(""), -1);
}
END_TEST

START_TEST(file_lines_carry_names_and_comments)
{
    const struct option_list none = { 0 };
    write_file(
        "# keys\n\n  alice=alice-secret \r\nbob=bob-secret-1\nbob=bob-secret-2\nanonymous-key\n"
        "sk+abc=def==\n");
    ck_assert_int_eq(auth_create(&none, path, &no_limits, &auth, &err), 0);
    ck_assert_int_eq(check("alice-secret"), 1);
    ck_assert_int_eq(check("bob-secret-1"), 2);
    ck_assert_int_eq(check("bob-secret-2"), 2);
    ck_assert_int_eq(check("anonymous-key"), 0);
    ck_assert_int_eq(check("sk+abc=def=="), 0); /* what stands before '=' is no name */
    ck_assert_int_eq(check("alice=alice-secret"), -1);
}
END_TEST

START_TEST(file_of_comments_only_locks_everybody_out)
{
    const struct option_list none = { 0 };
    write_file("# nobody yet\n");
    ck_assert_int_eq(auth_create(&none, path, &no_limits, &auth, &err), 0);
    ck_assert(auth_is_required(auth));
    ck_assert_int_eq(check("whatever-it-is"), -1);
}
END_TEST

START_TEST(short_key_is_refused_with_its_line)
{
    const struct option_list none = { 0 };
    write_file("good-enough-key\nshort\n");
    ck_assert_int_eq(auth_create(&none, path, &no_limits, &auth, &err), -EINVAL);
    ck_assert_ptr_nonnull(strstr(err.message, ":2: a key of 5 characters"));
    ck_assert_ptr_null(strstr(err.message, "short"));
}
END_TEST

START_TEST(missing_file_is_named)
{
    const struct option_list none = { 0 };
    ck_assert_int_eq(auth_create(&none, "/nonexistent/keys", &no_limits, &auth, &err), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.message, "/nonexistent/keys"));
}
END_TEST

START_TEST(changed_file_replaces_keys_and_a_broken_one_does_not)
{
    const struct option_list none = { 0 };
    write_file("old-key-1\n");
    ck_assert_int_eq(auth_create(&none, path, &no_limits, &auth, &err), 0);
    ck_assert_int_eq(auth_refresh(auth, &err), 0);

    write_file("a-new-key-that-is-longer\n");
    ck_assert_int_eq(auth_refresh(auth, &err), 1);
    ck_assert_int_eq(check("old-key-1"), -1);
    ck_assert_int_eq(check("a-new-key-that-is-longer"), 0);

    write_file("bad\n");
    ck_assert_int_eq(auth_refresh(auth, &err), -EINVAL);
    ck_assert_int_eq(check("a-new-key-that-is-longer"), 0);
}
END_TEST

START_TEST(limits_stand_behind_a_key_and_hold_for_its_name)
{
    const struct option_list none = { 0 };
    const struct account_limits usual = { .concurrent = 9, .tokens_per_minute = 5000 };
    write_file("alice=alice-secret-1 concurrent=2  requests-per-minute=60\n"
               "alice=alice-secret-2\n"
               "bob=bob-secret\ttokens-per-minute=0\n"
               "free-key-1 concurrent=1\nfree-key-2\n");
    ck_assert_int_eq(auth_create(&none, path, &usual, &auth, &err), 0);
    const struct account_limits alice = find("alice-secret-2").limits;
    ck_assert_int_eq(alice.concurrent, 2);
    ck_assert_int_eq(alice.requests_per_minute, 60);
    ck_assert_int_eq(alice.tokens_per_minute, 5000);
    ck_assert_int_eq(find("bob-secret").limits.tokens_per_minute, 0);
    ck_assert_int_eq(find("bob-secret").limits.concurrent, 9);
    ck_assert_int_eq(find("free-key-1").limits.concurrent, 1);
    ck_assert_int_eq(find("free-key-2").limits.concurrent, 9);
}
END_TEST

START_TEST(an_identity_is_the_names_or_the_keys_whatever_the_order)
{
    const struct option_list none = { 0 };
    write_file("alice=alice-secret-1\nalice=alice-secret-2\nfree-key-1\nfree-key-2\n");
    ck_assert_int_eq(auth_create(&none, path, &no_limits, &auth, &err), 0);
    const uint64_t alice = find("alice-secret-1").identity, first = find("free-key-1").identity;
    ck_assert_uint_eq(find("alice-secret-2").identity, alice);
    ck_assert_uint_eq(auth_identity_of("alice"), alice);
    ck_assert_str_eq(auth_name(auth, 1), "alice");
    ck_assert_ptr_null(auth_name(auth, 2));
    ck_assert_uint_ne(find("free-key-2").identity, first);

    write_file("free-key-1\nzoe=zoe-secret-1\nalice=alice-secret-3\n");
    ck_assert_int_eq(auth_refresh(auth, &err), 1);
    ck_assert_uint_eq(find("alice-secret-3").identity, alice);
    ck_assert_int_eq(find("alice-secret-3").tenant, 2);
    ck_assert_uint_eq(find("free-key-1").identity, first);
}
END_TEST

START_TEST(what_is_no_limit_is_refused_with_its_line)
{
    static const char *const lines[] = {
        "a=good-enough-key concurrent=x\n",   "a=good-enough-key concurrent=\n",
        "a=good-enough-key limit=3\n",        "a=good-enough-key concurrent=-1\n",
        "good-enough-key another-good-key\n", "good-enough-key concurrent=9999999999999\n",
    };
    const struct option_list none = { 0 };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        write_file(lines[i]);
        ck_assert_int_eq(auth_create(&none, path, &no_limits, &auth, &err), -EINVAL);
        ck_assert_ptr_nonnull(strstr(err.message, ":1: "));
        ck_assert_ptr_null(strstr(err.message, "good-enough"));
    }
}
END_TEST

START_TEST(bearer_scheme_may_be_written_in_any_case)
{
    size_t len;
    const char *key = auth_bearer("bEaReR   sk-1 ", 14, &len);
    ck_assert_ptr_nonnull(key);
    ck_assert_int_eq((int)len, 4);
    ck_assert(memcmp(key, "sk-1", 4) == 0);
    ck_assert_ptr_null(auth_bearer("Basic abc", 9, &len));
    ck_assert_ptr_null(auth_bearer("Bearer", 6, &len));
}
END_TEST

RUN_SUITE_AROUND("auth", setup, teardown, without_keys_none_is_required,
                 keys_of_the_command_line_are_known, file_lines_carry_names_and_comments,
                 file_of_comments_only_locks_everybody_out, short_key_is_refused_with_its_line,
                 missing_file_is_named, changed_file_replaces_keys_and_a_broken_one_does_not,
                 limits_stand_behind_a_key_and_hold_for_its_name,
                 an_identity_is_the_names_or_the_keys_whatever_the_order,
                 what_is_no_limit_is_refused_with_its_line,
                 bearer_scheme_may_be_written_in_any_case)
