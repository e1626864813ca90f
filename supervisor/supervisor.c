#include "supervisor/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "shm/channel.h"
#include "supervisor/banner.h"
#include "supervisor/listener.h"
#include "supervisor/progress.h"
#include "supervisor/seats.h"

enum {
    TICK_MS = 500,
    STOP_US = 1500000,
    MAX_POLL = 2 * (CONTROL_MAX_FRONTENDS + SEATS_MAX_RANKS) + 1
};

struct supervisor {
    struct seats seats;
    const struct settings *settings;
    enum control_role seat;
    int signals;
    int listeners[CONTROL_MAX_LISTENERS];
    uint8_t ticket_key[80], salt[16];
    int64_t started_us, last_tick_us;
    int64_t drain_deadline_us; /* 0: not draining */
    int64_t kill_us;           /* 0: nobody was told to stop */
    bool announced;
    struct progress progress;
};

/* --- start --- */

static int seal_options(const struct option_set *set, struct child_start *start, struct error *err)
{
    struct strbuf lines = { 0 };
    option_write_lines(set, &lines);
    const int fd = memfd_create("tokenring-options", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
    const bool written = fd >= 0 && !lines.failed &&
                         write(fd, lines.data, lines.len) == (ssize_t)lines.len &&
                         fcntl(fd, F_ADD_SEALS, seals) == 0;
    start->options_fd = fd;
    start->options_bytes = (uint32_t)lines.len;
    strbuf_finish(&lines);
    return written ? 0 : error_set(err, -ENOMEM, "no memory file for the options");
}

static int make_own_page(struct seats *seats, struct error *err)
{
    struct segment_header header = status_segment_header();
    struct segment mapping;
    int write_fd;
    int r = segment_create(&header, &write_fd, &seats->start.supervisor_page_fd, err);
    if (r < 0)
        return r;
    r = segment_map(&mapping, write_fd, true, &header, err);
    close(write_fd);
    if (r < 0)
        return r;
    seats->page = mapping.base;
    atomic_store(&seats->page->pid, (uint64_t)getpid());
    status_beat(seats->page);
    return 0;
}

static int watch_signals(struct error *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    const int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? error_set(err, -errno, "signalfd: %s", strerror(errno)) : fd;
}

static void allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static uint32_t count_frontends(const struct settings *settings)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (settings->frontends > 0)
        return (uint32_t)settings->frontends;
    return cores / 8 < 1 ? 1 : cores / 8 > 4 ? 4 : (uint32_t)(cores / 8);
}

static int open_listeners(struct supervisor *s, struct error *err)
{
    if (s->seat != CONTROL_ROLE_FRONTEND)
        return 0;
    const int num = listener_open(s->settings->host, (int)s->settings->port, s->listeners,
                                  CONTROL_MAX_LISTENERS, err);
    if (num < 0)
        return num;
    s->seats.start.listeners = s->listeners;
    s->seats.start.num_listeners = (uint32_t)num;
    return 0;
}

static int open_all(struct supervisor *s, const struct option_set *set, struct error *err)
{
    struct seats *seats = &s->seats;

    allow_descriptors();
    seats->start.image_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (seats->start.image_fd < 0)
        return error_set(err, -errno, "/proc/self/exe: %s", strerror(errno));
    int r = s->signals = watch_signals(err);
    if (r >= 0)
        r = seal_options(set, &seats->start, err);
    if (r >= 0)
        r = make_own_page(seats, err);
    if (r < 0)
        return r;
    if (getrandom(s->ticket_key, sizeof(s->ticket_key), 0) != sizeof(s->ticket_key) ||
        getrandom(s->salt, sizeof(s->salt), 0) != sizeof(s->salt))
        return error_set(err, -EIO, "getrandom: %s", strerror(errno));
    seats->start.tls_ticket_key = s->ticket_key;
    seats->start.salt = s->salt;
    seats->next_incarnation = (uint64_t)(clock_wall_us() / 1000000) << 20 | 1;
    seats->num_frontends = s->seat == CONTROL_ROLE_FRONTEND ? count_frontends(s->settings) : 1;
    seats->num_followers = (uint32_t)s->settings->tensor_parallel - 1;
    seats->exit_code = -1;
    return seats_open(seats, s->seat, err);
}

/* --- ending --- */

static void stop_all(struct supervisor *s, int exit_code)
{
    struct seats *seats = &s->seats;
    seats->ending = true;
    if (seats->exit_code < 0)
        seats->exit_code = exit_code;
    if (s->kill_us != 0)
        return;
    s->kill_us = clock_now_us() + STOP_US;
    seats_tell_all(seats, CONTROL_STOP);
}

static void start_drain(struct supervisor *s)
{
    const double seconds = s->settings->shutdown_grace + s->settings->shutdown_timeout;
    log_event(LOG_LEVEL_INFO, "draining: running requests have %.0f s", seconds);
    s->drain_deadline_us = clock_now_us() + (int64_t)(seconds * 1e6);
    atomic_store(&s->seats.page->state, STATUS_DRAINING);
    seats_tell_all(&s->seats, CONTROL_DRAIN);
}

static void take_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP) {
            seats_tell_all(&s->seats, CONTROL_RELOAD);
            continue;
        }
        const bool idle = seats_num_inflight(&s->seats) == 0;
        if (info.ssi_signo == SIGTERM && s->drain_deadline_us == 0 &&
            s->seat == CONTROL_ROLE_FRONTEND)
            start_drain(s);
        else
            stop_all(s, idle && s->seat == CONTROL_ROLE_FRONTEND ? EXIT_CODE_OK
                                                                 : 128 + (int)info.ssi_signo);
    }
}

static void check_end(struct supervisor *s, int64_t now)
{
    struct seats *seats = &s->seats;
    if (seats->ending && s->kill_us == 0)
        stop_all(s, seats->exit_code);
    if (s->drain_deadline_us != 0 && s->kill_us == 0) {
        if (seats_all_drained(seats))
            stop_all(s, EXIT_CODE_OK);
        else if (now >= s->drain_deadline_us)
            stop_all(s, 128 + SIGTERM);
    }
    if (s->kill_us != 0 && now >= s->kill_us)
        SEATS_FOR_EACH(seats, child)
    child_kill(child);
}

/* --- the loop --- */

static void take_messages(struct seats *seats, struct child *child)
{
    struct control_message message;
    int fds[CHANNEL_FDS_MAX];
    size_t num_fds;
    int r = 0;
    while (child->control >= 0 &&
           (r = channel_receive(child->control, &message, sizeof(message), fds, &num_fds)) > 0) {
        if (r == (int)sizeof(message))
            seats_receive(seats, child, &message, num_fds == 1 ? fds[0] : -1);
        else
            child_kill(child);
        for (size_t i = num_fds == 1 && r == (int)sizeof(message); i < num_fds; i++)
            close(fds[i]);
    }
    if (r != -EAGAIN)
        child_hang_up(child);
}

static void announce(struct supervisor *s, int64_t now)
{
    char facts[STATUS_TEXT_BYTES], words[STATUS_ERROR_BYTES];
    if (s->announced || s->seat != CONTROL_ROLE_FRONTEND || !seats_all_ready(&s->seats))
        return;
    s->announced = true;
    if (status_get_texts(child_page(&s->seats.worker), facts, words))
        banner_print(s->settings, facts, now - s->started_us, stdout);
}

/* All ranks load their parts at once. Once somebody is ready there is nothing to look at. */
static void show_progress(struct supervisor *s, int64_t now)
{
    uint64_t done = 0, total = 0;
    if (!progress_wants(&s->progress))
        return;
    for (uint32_t i = 0; i <= s->seats.num_followers; i++) {
        const struct child *child = i == 0 ? &s->seats.worker : &s->seats.followers[i - 1];
        if (child->pid == 0)
            continue;
        done += atomic_load(&child_page(child)->load_done_bytes);
        total += atomic_load(&child_page(child)->load_total_bytes);
    }
    if (s->seats.worker.ready || s->seats.ending || (total > 0 && done >= total))
        progress_end(&s->progress);
    else
        progress_show(&s->progress, done, total, now);
}

/* A machine that slept must not find everybody hung. */
static int64_t tick(struct supervisor *s, int64_t now)
{
    const bool slept = now - s->last_tick_us > 5 * 1000000;
    s->last_tick_us = now;
    status_beat(s->seats.page);
    if (slept)
        seats_rearm(&s->seats, now);
    return seats_tick(&s->seats, now);
}

static void turn(struct supervisor *s)
{
    struct pollfd fds[MAX_POLL] = { { .fd = s->signals, .events = POLLIN } };
    struct child *owners[MAX_POLL] = { NULL };
    nfds_t num = 1;
    int64_t now = clock_now_us(), wait_ms = TICK_MS;

    const int64_t next = tick(s, now);
    check_end(s, now);
    show_progress(s, now);
    SEATS_FOR_EACH(&s->seats, child)
    {
        if (child->pid == 0)
            continue;
        owners[num] = owners[num + 1] = child;
        fds[num++] = (struct pollfd){ .fd = child->control, .events = POLLIN };
        fds[num++] = (struct pollfd){ .fd = child->pidfd, .events = POLLIN };
    }
    if (next != 0 && (next - now) / 1000 < wait_ms)
        wait_ms = next > now ? (next - now) / 1000 + 1 : 0;
    if (s->kill_us != 0 && wait_ms > 50)
        wait_ms = 50;
    if (progress_wants(&s->progress) && wait_ms > PROGRESS_STEP_US / 1000)
        wait_ms = PROGRESS_STEP_US / 1000;
    if (poll(fds, num, (int)wait_ms) < 0)
        return;
    if (fds[0].revents != 0)
        take_signals(s);
    for (nfds_t i = 1; i < num; i += 2) {
        if (fds[i].revents != 0 || fds[i + 1].revents != 0)
            take_messages(&s->seats, owners[i]);
        if (fds[i + 1].revents != 0)
            seats_bury(&s->seats, owners[i]);
    }
    announce(s, clock_now_us());
}

static int exit_code_of(int r)
{
    static const struct {
        int error, code;
    } table[] = {
        { -ENOMEM, EXIT_CODE_MEMORY },   { -ENOSPC, EXIT_CODE_MEMORY },
        { -EADDRINUSE, EXIT_CODE_PORT }, { -EADDRNOTAVAIL, EXIT_CODE_PORT },
        { -EACCES, EXIT_CODE_PORT },
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].error == r)
            return table[i].code;
    return EXIT_CODE_DEVICE;
}

int supervisor_run(const struct option_set *set, const struct settings *settings,
                   enum control_role seat)
{
    static struct supervisor s; /* large, and there is one in a process */
    struct error err = { 0 };

    s = (struct supervisor){ .settings = settings, .seat = seat, .started_us = clock_now_us() };
    s.seats.settings = settings;
    s.last_tick_us = s.started_us;
    progress_begin(&s.progress, stderr, s.started_us);
    int r = open_listeners(&s, &err);
    if (r >= 0)
        r = open_all(&s, set, &err);
    if (r < 0) {
        fprintf(stderr, "tokenring: %s\n", err.message);
        SEATS_FOR_EACH(&s.seats, child)
        child_kill(child);
        return exit_code_of(r);
    }
    while (!(s.seats.ending && seats_all_empty(&s.seats)))
        turn(&s);
    return s.seats.exit_code < 0 ? EXIT_CODE_OK : s.seats.exit_code;
}
