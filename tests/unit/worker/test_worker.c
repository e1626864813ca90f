/* The role as a process of its own, with this test as its supervisor and its frontend. */
#include "worker/worker.h"

#include <check.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "proto/records/record.h"
#include "proto/records/settings.h"
#include "shm/channel.h"
#include "shm/doorbell.h"
#include "shm/ring.h"
#include "shm/status.h"

enum { EPOCH = 3, GENERATION = 4, WAIT_MS = 60 * 1000 };

static const struct ring_geometry to_worker = { 64, 1 << 16 }, from_worker = { 64, 1 << 16 };

struct child {
    pid_t pid;
    int control;
    int worker_doorbell, own_doorbell;
    struct segment page;
    struct ring_end end;
};

static struct child child;

/* --- a supervisor ------------------------------------------------------------------------- */

static int options_file(const char *const *lines, uint32_t *ret_bytes)
{
    struct settings settings;
    struct option_set set = settings_begin(&settings, SETTINGS_SERVE);
    struct strbuf text = { 0 };
    struct error err;
    char *args[16];
    int argc = 0;
    for (; lines[argc] != NULL; argc++)
        args[argc] = (char *)lines[argc];
    ck_assert_msg(option_read_args(&set, argc, args, NULL, &err) == 0, "%s", err.message);
    option_write_lines(&set, &text);
    const int fd = memfd_create("options", MFD_CLOEXEC);
    ck_assert_int_eq(write(fd, text.data, text.len), (ssize_t)text.len);
    *ret_bytes = (uint32_t)text.len;
    strbuf_finish(&text);
    return fd;
}

static void make_page(int ret_fds[2])
{
    struct segment_header header = status_segment_header();
    struct error err;
    ck_assert_int_eq(segment_create(&header, &ret_fds[0], &ret_fds[1], &err), 0);
}

static const struct status_page *page(void)
{
    return child.page.base;
}

/* What the worker wants kept for its successors. */
static struct control_message kept;
static int kept_weights = -1;

static void spawn(const char *const *options)
{
    struct control_message hello = { .kind = CONTROL_HELLO,
                                     .role = CONTROL_ROLE_WORKER,
                                     .num_weights = kept_weights >= 0,
                                     .epoch = EPOCH };
    const struct segment_header header = status_segment_header();
    int ends[2], own[2], supervisor[2];
    struct error err;

    child = (struct child){ 0 };
    const int file = options_file(options, &hello.options_bytes);
    make_page(own);
    make_page(supervisor);
    ck_assert_int_eq(segment_map(&child.page, own[1], false, &header, &err), 0);
    ck_assert_int_eq(channel_create(ends), 0);
    ck_assert_int_eq(doorbell_create(&child.worker_doorbell), 0);
    const int fds[] = { file, own[0], dup(child.worker_doorbell), supervisor[1], kept_weights };
    memcpy(hello.text, kept.text, sizeof(hello.text));
    child.pid = fork();
    ck_assert_int_ge(child.pid, 0);
    if (child.pid == 0) {
        close(ends[0]);
        _exit(worker_main(ends[1], &hello, fds, 4 + hello.num_weights));
    }
    close(ends[1]);
    child.control = ends[0];
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    close(own[1]);
    close(supervisor[0]);
}

static void teardown(void)
{
    if (child.pid > 0) {
        kill(child.pid, SIGKILL);
        waitpid(child.pid, NULL, 0);
    }
    segment_unmap(&child.page);
    ring_end_finish(&child.end);
    child = (struct child){ 0 };
}

static void forget(void)
{
    teardown();
    if (kept_weights >= 0)
        close(kept_weights);
    kept_weights = -1;
    kept = (struct control_message){ 0 };
}

static struct control_message next_message(void)
{
    struct control_message message = { 0 };
    struct pollfd wait = { .fd = child.control, .events = POLLIN };
    int fds[CHANNEL_FDS_MAX];
    size_t num_fds;
    ck_assert_int_eq(poll(&wait, 1, WAIT_MS), 1);
    ck_assert_int_eq(channel_receive(child.control, &message, sizeof(message), fds, &num_fds),
                     (int)sizeof(message));
    ck_assert_uint_le(num_fds, 1);
    if (message.kind == CONTROL_KEEP) {
        kept = message;
        kept_weights = num_fds == 1 ? fds[0] : -1;
    }
    return message;
}

static void await_ready(void)
{
    struct control_message message = next_message();
    if (message.kind == CONTROL_KEEP)
        message = next_message();
    ck_assert_msg(message.kind == CONTROL_READY, "%s", message.text);
}

static void tell(enum control_kind kind)
{
    const struct control_message message = { .kind = kind };
    ck_assert_int_eq(channel_send(child.control, &message, sizeof(message), NULL, 0), 0);
}

/* Within a second, says the protocol; the test allows for a busy machine. */
static int exit_code(void)
{
    int status = 0;
    const int64_t end = clock_now_us() + (int64_t)WAIT_MS * 1000;
    while (waitpid(child.pid, &status, WNOHANG) == 0) {
        ck_assert_int_lt(clock_now_us(), end);
        poll(NULL, 0, 5);
    }
    ck_assert(WIFEXITED(status));
    child.pid = 0;
    return WEXITSTATUS(status);
}

/* --- a frontend --------------------------------------------------------------------------- */

static struct segment map(int fd, bool writable, enum segment_kind kind, struct ring_geometry g)
{
    const struct segment_header header = ring_segment_header(kind, g, EPOCH, GENERATION);
    struct segment segment;
    struct error err;
    ck_assert_msg(segment_map(&segment, fd, writable, &header, &err) == 0, "%s", err.message);
    return segment;
}

static void join(void)
{
    struct segment_header submit =
        ring_segment_header(SEGMENT_SUBMIT, to_worker, EPOCH, GENERATION);
    struct segment_header complete =
        ring_segment_header(SEGMENT_COMPLETE, from_worker, EPOCH, GENERATION);
    const struct control_message message = { .kind = CONTROL_FRONTEND_LINK,
                                             .peer = 2,
                                             .epoch = EPOCH,
                                             .generation = GENERATION,
                                             .submit_cells = to_worker.num_cells,
                                             .submit_bulk = to_worker.bulk_bytes,
                                             .complete_cells = from_worker.num_cells,
                                             .complete_bulk = from_worker.bulk_bytes };
    int s[2], c[2];
    struct error err;
    ck_assert_int_eq(segment_create(&submit, &s[0], &s[1], &err), 0);
    ck_assert_int_eq(segment_create(&complete, &c[0], &c[1], &err), 0);
    ck_assert_int_eq(doorbell_create(&child.own_doorbell), 0);
    ring_end_init(&child.end, map(s[0], true, SEGMENT_SUBMIT, to_worker), to_worker,
                  map(c[1], false, SEGMENT_COMPLETE, from_worker), from_worker, EPOCH, GENERATION);
    const int fds[] = { s[1], c[0], child.own_doorbell };
    ck_assert_int_eq(channel_send(child.control, &message, sizeof(message), fds, 3), 0);
}

static void push_submit(uint64_t id, uint32_t max_tokens)
{
    static const int32_t prompt[4] = { 1019, 5, 6, 7 };
    const struct record_params params = { .max_tokens = max_tokens,
                                          .num_choices = 1,
                                          .top_p = 1,
                                          .typical_p = 1,
                                          .repetition_penalty = 1,
                                          .num_logprobs = -1,
                                          .num_prompt_logprobs = -1 };
    struct record_submit submit = {
        .params = &params, .prompt = prompt, .num_prompt = 4, .num_choices = 1
    };
    _Alignas(8) char bulk[512];
    const struct ring_cell cell = { .kind = RECORD_SUBMIT, .id = id };
    ck_assert_uint_le(record_submit_bytes(&submit), sizeof(bulk));
    record_submit_encode(&submit, bulk);
    ck_assert_int_eq(ring_push(&child.end, &cell, bulk, (uint32_t)record_submit_bytes(&submit)), 0);
    if (ring_publish(&child.end))
        doorbell_ring(child.worker_doorbell);
}

static struct ring_cell next_cell(void)
{
    struct ring_cell cell = { 0 };
    struct pollfd bell = { .fd = child.own_doorbell, .events = POLLIN };
    const int64_t end = clock_now_us() + (int64_t)WAIT_MS * 1000;
    while (ring_pop(&child.end, &cell, NULL) == 0) {
        ck_assert_int_lt(clock_now_us(), end);
        if (ring_prepare_sleep(&child.end))
            poll(&bell, 1, WAIT_MS);
        ring_end_sleep(&child.end);
        doorbell_clear(child.own_doorbell);
    }
    ring_release(&child.end);
    return cell;
}

/* --- tests -------------------------------------------------------------------------------- */

static const char *const ringlet[] = { "--model",           RINGLET, "--threads", "2",
                                       "--kv-cache-memory", "8M",    NULL };

START_TEST(it_loads_tells_its_facts_answers_and_stops)
{
    char text[STATUS_TEXT_BYTES], words[STATUS_ERROR_BYTES], value[64];
    int64_t number;
    spawn(ringlet);
    await_ready();

    ck_assert_uint_eq(atomic_load((_Atomic uint64_t *)&page()->state), STATUS_READY);
    ck_assert(status_get_texts(page(), text, words));
    ck_assert(status_fact_int(text, "max_model_len", &number) && number == 2048);
    ck_assert(status_fact_int(text, "vocab_size", &number) && number == 1024);
    /* 4 layers, K and V, 4 heads, 16 positions, 32 dimensions, 2 bytes */
    ck_assert(status_fact_int(text, "num_blocks", &number) &&
              number == (8 << 20) / (4 * 2 * 4 * 16 * 32 * 2));
    ck_assert(status_fact_int(text, "threads", &number) && number == 2);
    ck_assert(status_fact_int(text, "max_num_queued_reqs", &number) && number == 4 * 256);
    ck_assert(status_fact_int(text, "max_num_batched_tokens", &number) && number >= 64);
    ck_assert(status_fact_text(text, "kv_dtype", value, sizeof(value)));
    ck_assert_str_eq(value, "f16");
    ck_assert(status_fact_text(text, "identity", value, sizeof(value)));
    ck_assert_uint_eq(strspn(value, "0123456789abcdef"), 16);
    ck_assert_uint_gt(atomic_load((_Atomic uint64_t *)&page()->load_done_bytes), 4000000);

    join();
    push_submit(11, 3);
    ck_assert_int_eq(next_cell().kind, RECORD_ACCEPTED);
    ck_assert_int_eq(next_cell().kind, RECORD_STARTED);
    for (uint32_t pos = 1; pos <= 3; pos++) {
        const struct ring_cell cell = next_cell();
        ck_assert_int_eq(cell.kind, RECORD_TOKENS);
        ck_assert_uint_eq(cell.pos, pos);
    }
    ck_assert_int_eq(next_cell().kind, RECORD_DONE);
    ck_assert_uint_ge(atomic_load((_Atomic uint64_t *)&page()->step), 3);

    tell(CONTROL_STOP);
    ck_assert_int_eq(exit_code(), EXIT_CODE_OK);
}
END_TEST

START_TEST(it_ends_when_the_supervisor_is_gone)
{
    spawn(ringlet);
    await_ready();

    close(child.control);

    ck_assert_int_eq(exit_code(), EXIT_CODE_OK);
}
END_TEST

START_TEST(it_stops_while_it_loads)
{
    spawn(ringlet);
    tell(CONTROL_STOP);
    ck_assert_int_eq(exit_code(), EXIT_CODE_OK);
}
END_TEST

START_TEST(it_drops_a_frontend_that_is_down_and_takes_the_next)
{
    spawn(ringlet);
    await_ready();
    join();
    push_submit(11, 2000);
    ck_assert_int_eq(next_cell().kind, RECORD_ACCEPTED);

    const struct control_message down = { .kind = CONTROL_FRONTEND_DOWN, .peer = 2 };
    ck_assert_int_eq(channel_send(child.control, &down, sizeof(down), NULL, 0), 0);
    ring_end_finish(&child.end);
    join();
    push_submit(11, 1);

    ck_assert_int_eq(next_cell().kind, RECORD_ACCEPTED);
    ck_assert_int_eq(next_cell().kind, RECORD_STARTED);
    ck_assert_int_eq(next_cell().kind, RECORD_TOKENS);
    ck_assert_int_eq(next_cell().kind, RECORD_DONE);
}
END_TEST

START_TEST(it_reports_a_frontend_that_breaks_a_rule)
{
    const struct ring_cell wrong = { .kind = 99, .id = 1 };
    spawn(ringlet);
    await_ready();
    join();
    ck_assert_int_eq(ring_push(&child.end, &wrong, NULL, 0), 0);
    if (ring_publish(&child.end))
        doorbell_ring(child.worker_doorbell);

    const struct control_message report = next_message();

    ck_assert_int_eq(report.kind, CONTROL_REPORT);
    ck_assert_int_eq(report.peer_role, CONTROL_ROLE_FRONTEND);
    ck_assert_uint_eq(report.peer, 2);
    ck_assert_ptr_nonnull(strstr(report.text, "99"));
}
END_TEST

/* --- what a worker leaves to the next -------------------------------------------------------- */

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

static const struct {
    const char *options[8];
    int exit_code;
    const char *word;
} failures[] = {
    { { "--model", "/nowhere", NULL }, EXIT_CODE_MODEL, "/nowhere" },
    { { "--model", RINGLET, "--max-model-len", "4096", NULL }, EXIT_CODE_USAGE, "max_model_len" },
    { { "--model", RINGLET, "--kv-cache-memory", "1M", NULL },
      EXIT_CODE_MEMORY,
      "--kv-cache-memory" },
    { { "--model", RINGLET, "--kv-cache-memory", "900000G", NULL }, EXIT_CODE_MEMORY, "free" },
};

START_TEST(a_failed_start_is_told_in_a_sentence_and_an_exit_code)
{
    spawn(failures[_i].options);

    const struct control_message message = next_message();

    ck_assert_int_eq(message.kind, CONTROL_FAILED);
    ck_assert_int_eq(message.exit_code, failures[_i].exit_code);
    ck_assert_msg(strstr(message.text, failures[_i].word) != NULL, "%s", message.text);
    ck_assert_int_eq(exit_code(), failures[_i].exit_code);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("worker");
    TCase *tc = tcase_create("worker");

    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, NULL, forget);
    tcase_add_test(tc, it_loads_tells_its_facts_answers_and_stops);
    tcase_add_test(tc, it_ends_when_the_supervisor_is_gone);
    tcase_add_test(tc, it_stops_while_it_loads);
    tcase_add_test(tc, it_drops_a_frontend_that_is_down_and_takes_the_next);
    tcase_add_test(tc, it_reports_a_frontend_that_breaks_a_rule);
    tcase_add_test(tc, a_successor_attaches_the_weights_and_measures_nothing_again);
    tcase_add_test(tc, what_was_measured_is_believed_when_it_can_be);
    tcase_add_test(tc, another_model_than_at_first_is_not_served);
    tcase_add_test(tc, weights_of_no_use_are_refused_in_a_sentence);
    tcase_add_loop_test(tc, a_failed_start_is_told_in_a_sentence_and_an_exit_code, 0,
                        (int)(sizeof(failures) / sizeof(failures[0])));
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
