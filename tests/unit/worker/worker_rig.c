#include "worker_rig.h"

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "proto/records/settings.h"
#include "shm/channel.h"
#include "shm/doorbell.h"

enum { EPOCH = 3, GENERATION = 4, WAIT_MS = 60 * 1000 };

const char *const ringlet[] = { "--model",           RINGLET, "--threads", "2",
                                "--kv-cache-memory", "8M",    NULL };

static const struct ring_geometry to_worker = { 64, 1 << 16 }, from_worker = { 64, 1 << 16 };

struct child child;

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

const struct status_page *page(void)
{
    return child.page.base;
}

struct control_message kept;
int kept_weights = -1;

void spawn(const char *const *options)
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

void teardown(void)
{
    if (child.pid > 0) {
        kill(child.pid, SIGKILL);
        waitpid(child.pid, NULL, 0);
    }
    segment_unmap(&child.page);
    ring_end_finish(&child.end);
    child = (struct child){ 0 };
}

void forget(void)
{
    teardown();
    if (kept_weights >= 0)
        close(kept_weights);
    kept_weights = -1;
    kept = (struct control_message){ 0 };
}

struct control_message next_message(void)
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

void await_ready(void)
{
    struct control_message message = next_message();
    if (message.kind == CONTROL_KEEP)
        message = next_message();
    ck_assert_msg(message.kind == CONTROL_READY, "%s", message.text);
}

void tell(enum control_kind kind)
{
    const struct control_message message = { .kind = kind };
    ck_assert_int_eq(channel_send(child.control, &message, sizeof(message), NULL, 0), 0);
}

int exit_code(void)
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

void join(void)
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

void push_submit(uint64_t id, uint32_t max_tokens)
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

struct ring_cell next_cell(void)
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
