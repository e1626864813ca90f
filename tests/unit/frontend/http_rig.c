#include "http_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "frontend/frontend.h"
#include "proto/records/settings.h"
#include "proto/records/stats.h"
#include "shm/channel.h"
#include "shm/doorbell.h"

enum { PATIENCE_MS = 8000, QUIET_MS = 100, STEP_US = 1000 };

static const struct ring_geometry geometry = { 1024, 1 << 20 };
static _Alignas(8) unsigned char bulk[1 << 19];
static struct record_submit last_submit;

static void must(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "http_rig: %s\n", what);
        abort();
    }
}

/* --- segments ----------------------------------------------------------------------------- */

static struct segment map(int fd, bool writable, const struct segment_header *header)
{
    struct segment segment = { 0 };
    struct error err = { 0 };
    must(segment_map(&segment, fd, writable, header, &err) == 0, err.message);
    return segment;
}

static void make_segment(struct segment_header *header, int fds[2])
{
    struct error err = { 0 };
    must(segment_create(header, &fds[0], &fds[1], &err) == 0, err.message);
}

static void close_pair(const int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

/* --- the frontend process ----------------------------------------------------------------- */

static int seal_options(const char *const *options, uint32_t *ret_bytes)
{
    static char argument[32][256];
    char *args[32];
    struct settings settings;
    struct option_set set = settings_begin(&settings, SETTINGS_SERVE);
    struct strbuf lines = { 0 };
    struct error err = { 0 };
    int n = 0;
    for (; options[n] != NULL; n++) {
        snprintf(argument[n], sizeof(argument[n]), "%s", options[n]);
        args[n] = argument[n];
    }
    must(option_read_args(&set, n, args, NULL, &err) == 0, err.message);
    settings.model = SOURCE_ROOT "/models/ringlet";
    option_write_lines(&set, &lines);
    const int fd = memfd_create("options", MFD_CLOEXEC);
    must(write(fd, lines.data, lines.len) == (ssize_t)lines.len, "options");
    *ret_bytes = (uint32_t)lines.len;
    strbuf_finish(&lines);
    return fd;
}

static int open_listener(uint16_t *ret_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t len = sizeof(address);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    must(listen(fd, 128) == 0, "listen");
    must(getsockname(fd, (struct sockaddr *)&address, &len) == 0, "getsockname");
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void make_pages(struct http_rig *rig, int own[2], int supervisor[2])
{
    struct segment_header header = status_segment_header();
    make_segment(&header, own);
    make_segment(&header, supervisor);
    rig->page = map(own[1], false, &header).base;
    rig->supervisor = map(supervisor[0], true, &header).base;
    atomic_store(&rig->supervisor->state, STATUS_LOADING);
    /* a heart that beats for the length of any test */
    atomic_store(&rig->supervisor->heartbeat_us, (uint64_t)clock_now_us() + 3600000000u);
}

void http_rig_start(struct http_rig *rig, const char *const *options)
{
    struct error err = { 0 };
    struct control_message hello = { .kind = CONTROL_HELLO, .role = CONTROL_ROLE_FRONTEND };
    int control[2], own[2], supervisor[2], fds[5];
    *rig = (struct http_rig){ 0 };
    must(tokenizer_open(SOURCE_ROOT "/models/ringlet", &rig->tokenizer, &err) == 0, err.message);
    must(channel_create(control) == 0, "channel");
    make_pages(rig, own, supervisor);
    must(doorbell_create(&rig->doorbell) == 0, "doorbell");
    fds[0] = seal_options(options, &hello.options_bytes);
    fds[1] = own[0];
    fds[2] = rig->doorbell;
    fds[3] = supervisor[1];
    fds[4] = open_listener(&rig->port);
    hello.num_listeners = 1;
    hello.generation = 7;
    fflush(NULL);
    rig->pid = fork();
    if (rig->pid == 0) {
        close(control[0]);
        _exit(frontend_main(control[1], &hello, fds, 5));
    }
    must(rig->pid > 0, "fork");
    rig->control = control[0];
    close(control[1]);
    close(fds[0]);
    close(fds[4]);
    close_pair(own);
    close_pair(supervisor);
    http_rig_expect(rig, CONTROL_KEEP); /* what its model's files are */
    http_rig_expect(rig, CONTROL_READY);
}

static void drop_engine(struct http_rig *rig)
{
    struct segment page = { rig->engine_page, (size_t)status_segment_header().size };
    if (!rig->engine_is_up)
        return;
    rig->engine_is_up = false;
    ring_end_finish(&rig->engine);
    segment_unmap(&page);
}

void http_rig_finish(struct http_rig *rig)
{
    struct segment page = { rig->page, (size_t)status_segment_header().size };
    if (rig->pid > 0) {
        kill(rig->pid, SIGKILL);
        waitpid(rig->pid, NULL, 0);
    }
    drop_engine(rig);
    segment_unmap(&page);
    page.base = rig->supervisor;
    segment_unmap(&page);
    close(rig->control);
    close(rig->doorbell);
    tokenizer_close(rig->tokenizer);
}

/* --- control ------------------------------------------------------------------------------ */

static void send_control(struct http_rig *rig, const struct control_message *message,
                         const int *fds, size_t num_fds)
{
    must(channel_send(rig->control, message, sizeof(*message), fds, num_fds) == 0, "control");
}

void http_rig_tell(struct http_rig *rig, enum control_kind kind)
{
    const struct control_message message = { .kind = kind };
    send_control(rig, &message, NULL, 0);
}

void http_rig_expect(struct http_rig *rig, enum control_kind kind)
{
    struct pollfd wait = { .fd = rig->control, .events = POLLIN };
    struct control_message message;
    int fds[CHANNEL_FDS_MAX];
    size_t num_fds;
    must(poll(&wait, 1, PATIENCE_MS) == 1, "no message from the frontend");
    const int n = channel_receive(rig->control, &message, sizeof(message), fds, &num_fds);
    must(n == (int)sizeof(message), "the frontend is gone");
    if (message.kind == CONTROL_FAILED)
        fprintf(stderr, "http_rig: the frontend failed: %s\n", message.text);
    must(message.kind == (uint32_t)kind, "another message of the frontend");
}

int http_rig_wait_exit(struct http_rig *rig)
{
    int status;
    for (int waited = 0; waited < PATIENCE_MS; waited++, usleep(STEP_US))
        if (waitpid(rig->pid, &status, WNOHANG) == rig->pid) {
            rig->pid = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        }
    must(false, "the frontend does not end");
    return -1;
}

/* --- the engine --------------------------------------------------------------------------- */

void http_rig_engine_up(struct http_rig *rig)
{
    const uint64_t epoch = ++rig->epoch, generation = 7;
    struct segment_header submit = ring_segment_header(SEGMENT_SUBMIT, geometry, epoch, generation);
    struct segment_header complete =
        ring_segment_header(SEGMENT_COMPLETE, geometry, epoch, generation);
    struct segment_header status = status_segment_header();
    int submit_fds[2], complete_fds[2], page[2], bell;
    make_segment(&submit, submit_fds);
    make_segment(&complete, complete_fds);
    make_segment(&status, page);
    must(doorbell_create(&bell) == 0, "doorbell");
    rig->engine_page = map(page[0], true, &status).base;
    status_set_texts(rig->engine_page,
                     "vocab_size=1024\nmax_model_len=2048\nmax_num_seqs=8\nmax_queued=32\n"
                     "backend=cpu\ntensor_parallel=1\n",
                     "");
    atomic_store(&rig->engine_page->state, STATUS_READY);
    ring_end_init(&rig->engine, map(complete_fds[0], true, &complete), geometry,
                  map(submit_fds[1], false, &submit), geometry, epoch, generation);
    rig->engine_is_up = true;
    const struct control_message message = {
        .kind = CONTROL_ENGINE_LINK,
        .epoch = epoch,
        .generation = generation,
        .submit_cells = geometry.num_cells,
        .submit_bulk = geometry.bulk_bytes,
        .complete_cells = geometry.num_cells,
        .complete_bulk = geometry.bulk_bytes,
    };
    const int fds[] = { submit_fds[0], complete_fds[1], bell, page[1] };
    atomic_store(&rig->supervisor->state, STATUS_READY);
    send_control(rig, &message, fds, 4);
    close_pair(submit_fds);
    close_pair(complete_fds);
    close_pair(page);
    close(bell);
}

void http_rig_engine_down(struct http_rig *rig)
{
    drop_engine(rig);
    http_rig_tell(rig, CONTROL_ENGINE_DOWN);
}

void http_rig_engine_gone(struct http_rig *rig)
{
    const struct control_message message = { .kind = CONTROL_ENGINE_DOWN, .failed = 1 };
    drop_engine(rig);
    send_control(rig, &message, NULL, 0);
}

static bool pop(struct http_rig *rig, struct ring_cell *cell)
{
    struct error err = { 0 };
    const int r = ring_pop(&rig->engine, cell, &err);
    must(r >= 0, err.message);
    if (r == 0)
        return false;
    if (cell->bulk_len > 0) {
        must(cell->bulk_len <= sizeof(bulk), "a large submission");
        ring_pop_bulk(&rig->engine, cell, bulk);
    }
    ring_release(&rig->engine);
    return true;
}

struct ring_cell http_rig_take(struct http_rig *rig)
{
    struct ring_cell cell;
    for (int waited = 0; waited < PATIENCE_MS; waited++, usleep(STEP_US))
        if (pop(rig, &cell))
            return cell;
    must(false, "the frontend submits nothing");
    return cell;
}

uint64_t http_rig_take_submit(struct http_rig *rig)
{
    const struct record_bounds bounds = { .vocab_size = 1024, .max_model_len = 2048 };
    const struct ring_cell cell = http_rig_take(rig);
    struct error err = { 0 };
    must(cell.kind == RECORD_SUBMIT, "not a SUBMIT");
    must(record_submit_decode(bulk, cell.bulk_len, &bounds, &last_submit, &err) == 0, err.message);
    return cell.id;
}

const struct record_params *http_rig_last_params(void)
{
    return last_submit.params;
}

uint32_t http_rig_last_prompt(const int32_t **ret_ids)
{
    *ret_ids = last_submit.prompt;
    return last_submit.num_prompt;
}

void http_rig_expect_cancel(struct http_rig *rig, uint64_t id)
{
    const struct ring_cell cell = http_rig_take(rig);
    must(cell.kind == RECORD_CANCEL && cell.id == id, "not the CANCEL of this request");
}

void http_rig_expect_nothing(struct http_rig *rig)
{
    struct ring_cell cell;
    for (int waited = 0; waited < QUIET_MS; waited++, usleep(STEP_US))
        must(!pop(rig, &cell), "something was submitted or cancelled");
}

static void say(struct http_rig *rig, const struct ring_cell *cell)
{
    for (int waited = 0; ring_push(&rig->engine, cell, NULL, 0) == -EAGAIN; waited++) {
        if (ring_publish(&rig->engine))
            doorbell_ring(rig->doorbell);
        must(waited < PATIENCE_MS, "the ring stays full");
        usleep(STEP_US);
    }
    if (ring_publish(&rig->engine))
        doorbell_ring(rig->doorbell);
}

void http_rig_accept(struct http_rig *rig, uint64_t id)
{
    say(rig, &(struct ring_cell){ .kind = RECORD_ACCEPTED, .id = id });
    say(rig, &(struct ring_cell){ .kind = RECORD_STARTED, .id = id });
}

void http_rig_text(struct http_rig *rig, uint64_t id, uint32_t *pos, const char *text)
{
    struct tokenizer_scratch *scratch;
    struct token_ids ids = { 0 };
    must(tokenizer_scratch_create(rig->tokenizer, &scratch) == 0, "scratch");
    must(tokenizer_encode(rig->tokenizer, scratch, text, strlen(text), 0, 0, &ids) == 0, "encode");
    for (size_t i = 0; i < ids.num; i++) {
        struct ring_cell cell = { .kind = RECORD_TOKENS, .id = id, .pos = ++*pos, .count = 1 };
        cell.tokens[0] = ids.ids[i];
        say(rig, &cell);
    }
    token_ids_finish(&ids);
    tokenizer_scratch_destroy(scratch);
}

void http_rig_done(struct http_rig *rig, uint64_t id, uint32_t reason, uint32_t output)
{
    const struct record_done done = { .reason = reason,
                                      .prompt_tokens = last_submit.num_prompt,
                                      .output_tokens = output,
                                      .stop_id = -1 };
    struct ring_cell cell = { .kind = RECORD_DONE, .id = id };
    memcpy(cell.words, &done, sizeof(done));
    say(rig, &cell);
}

void http_rig_fail(struct http_rig *rig, uint64_t id, enum record_failure failure)
{
    struct ring_cell cell = { .kind = RECORD_FAILED, .id = id };
    cell.words[0] = failure;
    cell.words[1] = 2000;
    say(rig, &cell);
}

/* --- the client --------------------------------------------------------------------------- */

int http_rig_connect(struct http_rig *rig)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(rig->port) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
    return fd;
}

void http_rig_send(int fd, const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        const ssize_t n = send(fd, text + at, len - at, MSG_NOSIGNAL);
        must(n > 0, "the connection is closed while sending");
        at += (size_t)n;
    }
}

void http_rig_post(int fd, const char *path, const char *body)
{
    char head[256];
    const int n = snprintf(head, sizeof(head),
                           "POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                           "content-length: %zu\r\n\r\n",
                           path, strlen(body));
    http_rig_send(fd, head, (size_t)n);
    http_rig_send(fd, body, strlen(body));
}

static bool wait_readable(int fd, int ms)
{
    struct pollfd wait = { .fd = fd, .events = POLLIN };
    return poll(&wait, 1, ms) == 1;
}

void http_rig_read_until(int fd, struct strbuf *in, const char *wanted)
{
    char piece[65536];
    while (wanted == NULL || in->data == NULL || strstr(in->data, wanted) == NULL) {
        if (!wait_readable(fd, PATIENCE_MS))
            fprintf(stderr, "http_rig: so far: %s\n", in->data != NULL ? in->data : "");
        must(wait_readable(fd, 0), "nothing more comes");
        const ssize_t n = recv(fd, piece, sizeof(piece), 0);
        if (n <= 0) {
            if (wanted != NULL)
                fprintf(stderr, "http_rig: so far: %s\n", in->data != NULL ? in->data : "");
            must(wanted == NULL, "the connection ends early");
            return;
        }
        strbuf_append(in, piece, (size_t)n);
    }
}

bool http_rig_is_silent(int fd)
{
    return !wait_readable(fd, QUIET_MS);
}

int http_rig_ask(struct http_rig *rig, const char *head, const char *body, struct strbuf *in)
{
    const int fd = http_rig_connect(rig);
    static const char tail[] = "host: x\r\nconnection: close\r\n\r\n";
    char length[64] = "";
    if (body != NULL)
        snprintf(length, sizeof(length), "content-length: %zu\r\n", strlen(body));
    strbuf_reset(in);
    http_rig_send(fd, head, strlen(head));
    http_rig_send(fd, length, strlen(length));
    http_rig_send(fd, tail, sizeof(tail) - 1);
    if (body != NULL)
        http_rig_send(fd, body, strlen(body));
    http_rig_read_until(fd, in, NULL);
    close(fd);
    must(in->data != NULL && in->len > 12, "no answer");
    return atoi(in->data + 9);
}

/* --- counters ----------------------------------------------------------------------------- */

uint64_t http_rig_stat(const struct http_rig *rig, int stat)
{
    return status_get(rig->page, stat_word((enum stat_id)stat));
}

void http_rig_wait_stat(const struct http_rig *rig, int stat, uint64_t value)
{
    for (int waited = 0; http_rig_stat(rig, stat) != value; waited++, usleep(STEP_US))
        must(waited < PATIENCE_MS, "a counter does not get there");
}
