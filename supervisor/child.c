#include "supervisor/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/channel.h"
#include "shm/doorbell.h"

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

extern char **environ;

int child_init(struct child *child, enum control_role role, uint32_t index, uint32_t rank,
               struct error *err)
{
    *child = (struct child){ .role = role,
                             .index = index,
                             .rank = rank,
                             .pidfd = -1,
                             .control = -1,
                             .page_read_fd = -1,
                             .kept_weights = -1,
                             .doorbell = -1 };
    if (role == CONTROL_ROLE_WORKER)
        snprintf(child->name, sizeof(child->name), "worker %u.%u", index, rank);
    else if (control_role_is_command(role))
        snprintf(child->name, sizeof(child->name), "%s",
                 role == CONTROL_ROLE_BENCH ? "bench" : "generate");
    else
        snprintf(child->name, sizeof(child->name), "frontend %u", index);
    const int r = doorbell_create(&child->doorbell);
    return r < 0 ? error_set(err, r, "eventfd: %s", strerror(-r)) : 0;
}

/* In the new process, between fork and exec: only async-signal-safe calls. */
static void become(const struct child *child, const struct child_start *start, int control)
{
    static char role[] = "role", number[16], program[] = "tokenring";
    char *const args[] = { program, role, number, NULL };
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    sigaction(SIGINT, &ignore, NULL); /* the terminal's Ctrl-C is the supervisor's to handle */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (child->role != CONTROL_ROLE_GENERATE) {
        const int null = open("/dev/null", O_RDONLY);
        if (null >= 0)
            dup2(null, STDIN_FILENO);
        if (null > STDERR_FILENO)
            close(null);
    }
    fcntl(control, F_SETFD, 0);
    int at = (int)sizeof(number) - 1;
    for (int n = control; at > 0; n /= 10) {
        number[--at] = (char)('0' + n % 10);
        if (n < 10)
            break;
    }
    char *const with_number[] = { args[0], args[1], number + at, NULL };
    syscall(SYS_execveat, start->image_fd, "", with_number, environ, AT_EMPTY_PATH);
    _exit(EXIT_CODE_DEVICE);
}

static int make_page(struct child *child, int *ret_write_fd, struct error *err)
{
    struct segment_header header = status_segment_header();
    int r = segment_create(&header, ret_write_fd, &child->page_read_fd, err);
    if (r < 0)
        return r;
    r = segment_map(&child->page_mapping, child->page_read_fd, false, &header, err);
    if (r < 0)
        close(*ret_write_fd);
    return r;
}

static void leave(struct child *child)
{
    int *const fds[] = { &child->pidfd, &child->control, &child->page_read_fd };
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
    segment_unmap(&child->page_mapping);
    child->pid = 0;
    child->ready = child->drained = false;
}

static void greet(struct child *child, const struct child_start *start, int page_write_fd)
{
    struct control_message hello = {
        .kind = CONTROL_HELLO,
        .role = child->role,
        .index = child->index,
        .engine = child->index,
        .rank = child->rank,
        .options_bytes = start->options_bytes,
        .tls_keys_set = 1,
    };
    int fds[4 + CONTROL_MAX_LISTENERS] = { start->options_fd, page_write_fd, child->doorbell,
                                           start->supervisor_page_fd };
    size_t num = 4;

    if (child->role == CONTROL_ROLE_WORKER) {
        hello.epoch = child->incarnation;
    } else {
        hello.generation = child->incarnation;
    }
    memcpy(hello.text, child->kept.text, sizeof(hello.text));
    memcpy(hello.tls_ticket_key, start->tls_ticket_key, sizeof(hello.tls_ticket_key));
    memcpy(hello.salt, start->salt, sizeof(hello.salt));
    if (child->role == CONTROL_ROLE_FRONTEND)
        for (uint32_t i = 0; i < start->num_listeners; i++)
            fds[num++] = start->listeners[i];
    hello.num_listeners = (uint32_t)(num - 4);
    if (child->kept_weights >= 0) {
        fds[num++] = child->kept_weights;
        hello.num_weights = 1;
    }
    child_send(child, &hello, fds, num);
}

static int start_process(struct child *child, const struct child_start *start, struct error *err)
{
    int ends[2];
    int r = channel_create(ends);
    if (r < 0)
        return error_set(err, r, "socketpair: %s", strerror(-r));
    const pid_t pid = fork();
    if (pid == 0)
        become(child, start, ends[1]);
    r = pid < 0 ? -errno : 0;
    close(ends[1]);
    if (r < 0) {
        close(ends[0]);
        return error_set(err, r, "fork: %s", strerror(-r));
    }
    child->pid = pid;
    child->control = ends[0];
    child->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (child->pidfd < 0) {
        r = error_set(err, -errno, "pidfd_open: %s", strerror(errno));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return r;
    }
    fcntl(child->pidfd, F_SETFD, FD_CLOEXEC);
    return 0;
}

int child_spawn(struct child *child, const struct child_start *start, uint64_t incarnation,
                struct error *err)
{
    int page_write_fd;
    int r = make_page(child, &page_write_fd, err);
    if (r < 0)
        return r;
    child->incarnation = incarnation;
    child->started_us = clock_now_us();
    child->restart_us = 0;
    child->load_done_bytes = child->progress_us = 0;
    child->verdict = CHILD_NO_VERDICT;
    child->last_words = (struct control_message){ 0 };
    r = start_process(child, start, err);
    if (r == 0)
        greet(child, start, page_write_fd);
    else
        leave(child);
    close(page_write_fd);
    return r;
}

void child_send(struct child *child, const struct control_message *message, const int *fds,
                size_t num_fds)
{
    if (child->control < 0)
        return;
    const int r = channel_send(child->control, message, sizeof(*message), fds, num_fds);
    if (r < 0 && r != -EPIPE && r != -ECONNRESET)
        child_kill(child);
}

void child_hang_up(struct child *child)
{
    if (child->control >= 0)
        close(child->control);
    child->control = -1;
}

void child_keep(struct child *child, const struct control_message *message, int weights)
{
    if (child->kept_weights >= 0)
        close(child->kept_weights);
    child->kept_weights = weights;
    if (message != NULL)
        child->kept = *message;
}

void child_kill(struct child *child)
{
    if (child->pid != 0)
        syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
}

bool child_is_stopped(const struct child *child)
{
    char path[48], text[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)child->pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *name_end = strrchr(text, ')'); /* "PID (name) STATE ..." */
    return name_end != NULL &&
           (strncmp(name_end, ") T", 3) == 0 || strncmp(name_end, ") t", 3) == 0);
}

int child_reap(struct child *child)
{
    int status = 0;
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        ;
    leave(child);
    return status;
}

const struct status_page *child_page(const struct child *child)
{
    return child->page_mapping.base;
}

void child_describe_end(int wait_status, char *out, size_t size)
{
    if (WIFSIGNALED(wait_status))
        snprintf(out, size, "was ended by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(out, size, "exited with code %d", WEXITSTATUS(wait_status));
}

bool child_end_is_own_fault(int wait_status)
{
    if (!WIFSIGNALED(wait_status))
        return WEXITSTATUS(wait_status) != 0;
    return WTERMSIG(wait_status) != SIGKILL && WTERMSIG(wait_status) != SIGTERM;
}
