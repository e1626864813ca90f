/* What a worker leaves to the next one: weights and what it measured. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/runner.h"
#include "worker_rig.h"

static int64_t fact(const char *key)
{
    char text[STATUS_TEXT_BYTES], words[STATUS_ERROR_BYTES];
    int64_t value = -1;
    ck_assert(status_get_texts(page(), text, words));
    ck_assert(status_fact_int(text, key, &value));
    return value;
}

static uint32_t first_token(void)
{
    join();
    push_submit(11, 1);
    ck_assert_int_eq(next_cell().kind, RECORD_ACCEPTED);
    ck_assert_int_eq(next_cell().kind, RECORD_STARTED);
    return next_cell().words[0];
}

static bool maps(const char *name)
{
    char path[64], line[512];
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)child.pid);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file) != NULL)
        if (strstr(line, name) != NULL) {
            ck_assert_msg(strstr(line, " r--s ") != NULL, "weights can be written: %s", line);
            found = true;
        }
    fclose(file);
    return found;
}

START_TEST(a_successor_attaches_the_weights_and_measures_nothing_again)
{
    spawn(ringlet);
    await_ready();
    ck_assert_int_ge(kept_weights, 0);
    ck_assert(maps("tokenring-weights"));
    const int64_t blocks = fact("num_blocks"), budget = fact("max_num_batched_tokens");
    const uint32_t token = first_token();
    teardown();

    spawn(ringlet);
    ck_assert_int_eq(next_message().kind, CONTROL_READY); /* and nothing to keep */

    ck_assert(maps("tokenring-weights"));
    ck_assert_int_eq(fact("num_blocks"), blocks);
    ck_assert_int_eq(fact("max_num_batched_tokens"), budget);
    ck_assert_uint_eq(atomic_load((_Atomic uint64_t *)&page()->load_done_bytes),
                      atomic_load((_Atomic uint64_t *)&page()->load_total_bytes));
    ck_assert_uint_eq(first_token(), token);
}
END_TEST

START_TEST(what_was_measured_is_believed_when_it_can_be)
{
    static const struct {
        const char *text;
        bool is_believed;
    } cases[] = {
        { "stamp=%s\nnum_blocks=256\nmax_num_batched_tokens=77\nfirst_ns=1\neach_ns=1\n", true },
        { "stamp=%s\nnum_blocks=256\nmax_num_batched_tokens=4000\nfirst_ns=1\neach_ns=1\n", false },
        { "stamp=%s\nnum_blocks=256\nmax_num_batched_tokens=0\nfirst_ns=1\neach_ns=1\n", false },
        { "stamp=%s\nnum_blocks=256\nmax_num_batched_tokens=77\nfirst_ns=-1\neach_ns=1\n", false },
    };
    char stamp[32];
    spawn(ringlet);
    await_ready();
    ck_assert(status_fact_text(kept.text, "stamp", stamp, sizeof(stamp)));
    teardown();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(kept.text, sizeof(kept.text), cases[i].text, stamp);
        spawn(ringlet);
        await_ready();
        ck_assert_int_eq(fact("max_num_batched_tokens") == 77, cases[i].is_believed);
        teardown();
    }
}
END_TEST

START_TEST(another_model_than_at_first_is_not_served)
{
    spawn(ringlet);
    await_ready();
    teardown();
    char *digit = strstr(kept.text, "stamp=") + 6;
    *digit = *digit == '0' ? '1' : '0';

    spawn(ringlet);
    const struct control_message message = next_message();

    ck_assert_int_eq(message.kind, CONTROL_FAILED);
    ck_assert_uint_eq(message.model_changed, 1);
    ck_assert_int_eq(message.exit_code, EXIT_CODE_MODEL);
    ck_assert_int_eq(exit_code(), EXIT_CODE_MODEL);
}
END_TEST

START_TEST(weights_of_no_use_are_refused_in_a_sentence)
{
    spawn(ringlet);
    await_ready();
    teardown();
    close(kept_weights);
    kept_weights = memfd_create("empty", MFD_CLOEXEC);

    spawn(ringlet);
    const struct control_message message = next_message();

    ck_assert_int_eq(message.kind, CONTROL_FAILED);
    ck_assert_uint_eq(message.model_changed, 0);
    ck_assert_ptr_nonnull(strstr(message.text, "kept weights"));
}
END_TEST

RUN_ROWS("worker_successor", NULL, forget, 120,
         ONCE(a_successor_attaches_the_weights_and_measures_nothing_again),
         ONCE(what_was_measured_is_believed_when_it_can_be),
         ONCE(another_model_than_at_first_is_not_served),
         ONCE(weights_of_no_use_are_refused_in_a_sentence))
