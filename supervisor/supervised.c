#include "supervisor/supervised.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "shm/channel.h"

enum { FD_OPTIONS, FD_PAGE, FD_DOORBELL, FD_SUPERVISOR, FD_LISTENERS };

/* A private copy, because reading cuts the text into strings in place. */
static int read_settings(int fd, size_t bytes, enum settings_command command,
                         struct settings *settings, struct error *err)
{
    char *text = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (text == MAP_FAILED)
        return error_set(err, -ENOMEM, "no memory for the settings");
    if (pread(fd, text, bytes, 0) != (ssize_t)bytes)
        return error_set(err, -EPROTO, "the settings cannot be read");
    struct option_set set = settings_begin(settings, command);
    return option_read_lines(&set, text, err);
}

static enum log_level level_of(const char *name)
{
    static const char letters[] = "ewid";
    const char *hit = strchr(letters, name[0]);
    return hit != NULL ? (enum log_level)(hit - letters) : LOG_LEVEL_INFO;
}

static void name_logs(const struct control_message *hello, const struct settings *settings)
{
    static char area[32];
    if (hello->role == CONTROL_ROLE_WORKER)
        snprintf(area, sizeof(area), "worker %u.%u", hello->engine, hello->rank);
    else
        snprintf(area, sizeof(area), "%s %u",
                 hello->role == CONTROL_ROLE_FRONTEND ? "frontend" : "generate", hello->index);
    log_init(level_of(settings->log_level), strcmp(settings->log_format, "json") == 0, area);
}

static int map_pages(struct supervised *child, const int *fds, struct error *err)
{
    const struct segment_header header = status_segment_header();
    struct segment own, supervisor;
    int r = segment_map(&own, fds[FD_PAGE], true, &header, err);
    if (r < 0)
        return r;
    r = segment_map(&supervisor, fds[FD_SUPERVISOR], false, &header, err);
    if (r < 0)
        return r;
    child->page = own.base;
    child->supervisor = supervisor.base;
    atomic_store(&child->page->pid, (uint64_t)getpid());
    status_beat(child->page);
    return 0;
}

/* When memory runs out a worker is the one to take: nothing is lost with it. Raising needs no
 * right; what the system has raised already stays. */
static void offer_to_oom_killer(bool is_worker)
{
    char text[16] = "";
    const int least = is_worker ? 200 : 0,
              fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, text, sizeof(text) - 1) > 0 && strtol(text, NULL, 10) < least &&
        dprintf(fd, "%d", least) < 0)
        log_event(LOG_LEVEL_DEBUG, "oom_score_adj stays %s", text);
    close(fd);
}

/* It may have died before this process asked to die with it. */
static bool supervisor_is_gone(int control_fd)
{
    struct pollfd peer = { .fd = control_fd };
    return poll(&peer, 1, 0) == 1 && (peer.revents & (POLLHUP | POLLERR)) != 0;
}

int supervised_open(struct supervised *child, int control_fd, const struct control_message *hello,
                    const int *fds, size_t num_fds, enum settings_command command,
                    struct settings *settings, struct error *err)
{
    *child = (struct supervised){ .control = control_fd, .doorbell = -1, .kept_weights = -1 };
    if (hello->num_listeners > CONTROL_MAX_LISTENERS || hello->num_weights > 1 ||
        num_fds != FD_LISTENERS + hello->num_listeners + hello->num_weights)
        return error_set(err, -EPROTO,
                         "greeting: %zu descriptors with %u listeners and %u files of weights",
                         num_fds, hello->num_listeners, hello->num_weights);
    child->doorbell = fds[FD_DOORBELL];
    child->num_listeners = hello->num_listeners;
    memcpy(child->listeners, fds + FD_LISTENERS, hello->num_listeners * sizeof(int));
    if (hello->num_weights == 1)
        child->kept_weights = fds[num_fds - 1];
    snprintf(child->kept_text, sizeof(child->kept_text), "%.*s", (int)sizeof(hello->text) - 1,
             hello->text);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (supervisor_is_gone(control_fd))
        return error_set(err, -EPIPE, "the supervisor is gone");
    int r = read_settings(fds[FD_OPTIONS], hello->options_bytes, command, settings, err);
    if (r == 0)
        r = map_pages(child, fds, err);
    close(fds[FD_OPTIONS]);
    close(fds[FD_PAGE]);
    close(fds[FD_SUPERVISOR]);
    offer_to_oom_killer(hello->role == CONTROL_ROLE_WORKER);
    if (r == 0)
        name_logs(hello, settings);
    return r;
}

static void send_words(const struct supervised *child, struct control_message *message,
                       const char *sentence)
{
    snprintf(message->text, sizeof(message->text), "%s", sentence);
    (void)channel_send(child->control, message, sizeof(*message), NULL, 0);
}

void supervised_tell(const struct supervised *child, enum control_kind kind)
{
    struct control_message message = { .kind = kind };
    send_words(child, &message, "");
}

int supervised_keep(const struct supervised *child, const char *text, int weights)
{
    struct control_message message = { .kind = CONTROL_KEEP };
    snprintf(message.text, sizeof(message.text), "%s", text);
    return channel_send(child->control, &message, sizeof(message), &weights, weights >= 0);
}

static int fail(const struct supervised *child, int exit_code, const char *sentence, bool changed)
{
    struct control_message message = { .kind = CONTROL_FAILED,
                                       .exit_code = exit_code,
                                       .model_changed = changed };
    send_words(child, &message, sentence);
    if (child->page != NULL)
        status_set_texts(child->page, NULL, sentence);
    return exit_code;
}

int supervised_fail(const struct supervised *child, int exit_code, const char *sentence)
{
    return fail(child, exit_code, sentence, false);
}

int supervised_fail_changed(const struct supervised *child, int exit_code, const char *sentence)
{
    return fail(child, exit_code, sentence, true);
}

void supervised_report(const struct supervised *child, enum control_role role, uint32_t peer,
                       const char *sentence)
{
    struct control_message message = { .kind = CONTROL_REPORT, .peer_role = role, .peer = peer };
    send_words(child, &message, sentence);
}
