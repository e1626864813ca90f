#include "supervisor/seats.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "proto/records/stats.h"
#include "supervisor/link.h"
#include "supervisor/rank_link.h"
#include "supervisor/watch.h"

struct child *seats_next(struct seats *seats, struct child *child)
{
    struct child *end = seats->followers + seats->num_followers;
    if (child == &seats->worker)
        return seats->num_followers > 0 ? seats->followers : NULL;
    if (child >= seats->followers && child < end)
        return child + 1 < end ? child + 1 : NULL;
    child++;
    return child < seats->frontends + seats->num_frontends ? child : &seats->worker;
}

bool seats_is_follower(const struct child *child)
{
    return child->role == CONTROL_ROLE_WORKER && child->rank > 0;
}

void seats_set_state(struct seats *seats, enum status_state state)
{
    if (atomic_load(&seats->page->state) == STATUS_DRAINING && state != STATUS_FAILED)
        return; /* an engine that is replaced meanwhile does not make the server ready */
    atomic_store_explicit(&seats->page->state, state, memory_order_release);
}

void seats_end(struct seats *seats, int exit_code)
{
    if (seats->exit_code < 0)
        seats->exit_code = exit_code;
    seats->ending = true;
}

/* --- telling each other --- */

static void show_page(struct child *to, const struct child *of)
{
    const struct control_message message = { .kind = CONTROL_PEER_STATUS,
                                             .peer_role = of->role,
                                             .peer = of->index };
    if (to->role != CONTROL_ROLE_WORKER && of->pid != 0 && !seats_is_follower(of))
        child_send(to, &message, &of->page_read_fd, 1);
}

static void join(struct seats *seats, struct child *frontend)
{
    char facts[STATUS_TEXT_BYTES], words[STATUS_ERROR_BYTES];
    struct error err;
    int64_t context = 0;

    if (frontend->pid == 0 || !seats->worker.ready)
        return;
    if (status_get_texts(child_page(&seats->worker), facts, words))
        (void)status_fact_int(facts, "max_model_len", &context);
    if (link_join(frontend, &seats->worker, context, &err) == 0)
        return;
    log_event(LOG_LEVEL_ERROR, "%s", err.message);
    seats_end(seats, EXIT_CODE_MEMORY);
}

void seats_tell_all(struct seats *seats, enum control_kind kind)
{
    const struct control_message message = { .kind = kind };
    SEATS_FOR_EACH(seats, child)
    child_send(child, &message, NULL, 0);
}

/* --- convictions --- */

/* What is known to be deadly is known to frontends that start later, too. */
static void tell_convictions(struct seats *seats, struct child *frontend)
{
    const uint32_t num = seats->num_convictions;
    for (uint32_t i = num > SEATS_CONVICTIONS_KEPT ? num - SEATS_CONVICTIONS_KEPT : 0; i < num; i++)
        child_send(frontend, &seats->convictions[i % SEATS_CONVICTIONS_KEPT], NULL, 0);
}

static void convicted(struct seats *seats, const struct child *by, const uint8_t *digest)
{
    struct control_message *kept =
        &seats->convictions[seats->num_convictions++ % SEATS_CONVICTIONS_KEPT];
    *kept = (struct control_message){ .kind = CONTROL_CONVICTED };
    memcpy(kept->digest, digest, sizeof(kept->digest));
    seats->num_deaths = 0; /* the engine was not to blame */
    for (uint32_t i = 0; i < seats->num_frontends; i++)
        if (&seats->frontends[i] != by)
            child_send(&seats->frontends[i], kept, NULL, 0);
}

/* --- sitting down --- */

/* The leader's epoch is theirs. One that cannot be started takes the leader with it. */
static int sit_followers(struct seats *seats, struct error *err)
{
    const uint64_t epoch = seats->worker.incarnation;
    int r = 0;
    seats->follower_status = -1;
    if (seats->num_followers == 0)
        return 0;
    for (uint32_t i = 0; r == 0 && i < seats->num_followers; i++)
        r = child_spawn(&seats->followers[i], &seats->start, epoch, err);
    if (r == 0)
        r = rank_link_join(&seats->worker, seats->followers, seats->num_followers, err);
    if (r < 0)
        child_kill(&seats->worker);
    return r;
}

static int sit(struct seats *seats, struct child *child, struct error *err)
{
    const int r = child_spawn(child, &seats->start, seats->next_incarnation++, err);
    if (r < 0)
        return r;
    SEATS_FOR_EACH(seats, other)
    {
        show_page(other, child);
        if (other != child)
            show_page(child, other);
    }
    if (child->role == CONTROL_ROLE_WORKER) {
        if (!seats->ending)
            seats_set_state(seats, STATUS_LOADING);
        return sit_followers(seats, err);
    }
    tell_convictions(seats, child);
    join(seats, child);
    if (atomic_load(&seats->page->state) == STATUS_DRAINING)
        child_send(child, &(struct control_message){ .kind = CONTROL_DRAIN }, NULL, 0);
    return 0;
}

int seats_open(struct seats *seats, enum control_role seat, struct error *err)
{
    oom_open(&seats->oom, "/proc", "/sys/fs/cgroup");
    int r = child_init(&seats->worker, CONTROL_ROLE_WORKER, 0, 0, err);
    for (uint32_t i = 0; r == 0 && i < seats->num_followers; i++)
        r = child_init(&seats->followers[i], CONTROL_ROLE_WORKER, 0, i + 1, err);
    for (uint32_t i = 0; r == 0 && i < seats->num_frontends; i++)
        r = child_init(&seats->frontends[i], seat, i, 0, err);
    if (r == 0)
        r = sit(seats, &seats->worker, err);
    for (uint32_t i = 0; r == 0 && i < seats->num_frontends; i++)
        r = sit(seats, &seats->frontends[i], err);
    return r;
}

/* --- messages --- */

static void worker_ready(struct seats *seats)
{
    seats->worker.ready = true;
    seats->ever_ready = true;
    atomic_store(&seats->page->epoch, seats->worker.incarnation);
    if (!seats->ending)
        seats_set_state(seats, STATUS_READY);
    for (uint32_t i = 0; i < seats->num_frontends; i++)
        join(seats, &seats->frontends[i]);
}

static void reported(struct seats *seats, const struct control_message *report)
{
    struct child *accused = NULL;
    if (report->peer_role == CONTROL_ROLE_WORKER)
        accused = &seats->worker;
    else if (report->peer < seats->num_frontends)
        accused = &seats->frontends[report->peer];
    if (accused == NULL)
        return;
    log_event(LOG_LEVEL_ERROR, "%s broke a rule of shared memory and is ended: %.400s",
              accused->name, report->text);
    accused->verdict = CHILD_BREAKS_RULES;
    child_kill(accused);
}

void seats_receive(struct seats *seats, struct child *child, const struct control_message *message,
                   int fd)
{
    if (message->kind == CONTROL_KEEP && child->role == CONTROL_ROLE_WORKER) {
        child_keep(child, message, fd);
        return;
    }
    if (message->kind == CONTROL_KEEP && child->role == CONTROL_ROLE_FRONTEND && fd < 0) {
        child_keep(child, message, -1);
        return;
    }
    if (fd >= 0) /* nobody else is asked for any */
        close(fd);
    switch (message->kind) {
    case CONTROL_READY:
        if (child == &seats->worker)
            worker_ready(seats);
        child->ready = child->ever_ready = true;
        child->progress_us = 0;
        break;
    case CONTROL_FAILED:
        seats->model_changed |= message->model_changed != 0;
        child->last_words = *message;
        child->last_words.text[sizeof(message->text) - 1] = '\0';
        break;
    case CONTROL_REPORT:
        reported(seats, message);
        break;
    case CONTROL_CONVICTED:
        convicted(seats, child, message->digest);
        break;
    case CONTROL_DRAINED:
        child->drained = true;
        break;
    case CONTROL_FINISHED:
        seats_end(seats, message->exit_code);
        break;
    default:
        log_event(LOG_LEVEL_ERROR, "%s sent a control message of unknown kind %u and is ended",
                  child->name, message->kind);
        child_kill(child);
    }
}

/* --- watching --- */

/* A leader that waits for a rank which somebody stopped is not to blame. */
static bool is_stopped(const struct seats *seats, const struct child *child)
{
    bool stopped = child_is_stopped(child);
    for (uint32_t i = 0; child == &seats->worker && i < seats->num_followers; i++)
        stopped =
            stopped || (seats->followers[i].pid != 0 && child_is_stopped(&seats->followers[i]));
    return stopped;
}

static void end_who_hangs(const struct seats *seats, struct child *child)
{
    const bool stopped = is_stopped(seats, child);
    child->verdict = stopped ? CHILD_IS_STOPPED : CHILD_HANGS;
    log_event(LOG_LEVEL_ERROR, "%s %s and is ended", child->name,
              stopped        ? "was stopped by somebody"
              : child->ready ? "hangs"
                             : "gets on with its start no more");
    child_kill(child);
}

static bool has_follower(const struct seats *seats)
{
    for (uint32_t i = 0; i < seats->num_followers; i++)
        if (seats->followers[i].pid != 0)
            return true;
    return false;
}

int64_t seats_tick(struct seats *seats, int64_t now)
{
    const int64_t stall_us = (int64_t)(seats->settings->stall_kill * 1e6);
    int64_t next = 0;
    SEATS_FOR_EACH(seats, child)
    {
        struct error err;
        if (child->pid != 0 && !seats->ending && child->verdict == CHILD_NO_VERDICT &&
            watch_hangs(child, stall_us, now))
            end_who_hangs(seats, child);
        if (child->pid != 0 || child->restart_us == 0 || seats->ending)
            continue;
        if (child == &seats->worker && has_follower(seats))
            continue; /* their ends are near */
        if (child->restart_us <= now && sit(seats, child, &err) < 0) {
            log_event(LOG_LEVEL_ERROR, "%s", err.message);
            child->restart_us = now + 1000000;
        }
        if (child->pid == 0 && (next == 0 || child->restart_us < next))
            next = child->restart_us;
    }
    return next;
}

void seats_rearm(struct seats *seats, int64_t now)
{
    SEATS_FOR_EACH(seats, child)
    watch_rearm(child, now);
}

bool seats_all_ready(const struct seats *seats)
{
    for (uint32_t i = 0; i < seats->num_frontends; i++)
        if (!seats->frontends[i].ready)
            return false;
    return seats->worker.ready;
}

bool seats_all_drained(const struct seats *seats)
{
    for (uint32_t i = 0; i < seats->num_frontends; i++)
        if (seats->frontends[i].pid != 0 && !seats->frontends[i].drained)
            return false;
    return true;
}

bool seats_all_empty(const struct seats *seats)
{
    for (uint32_t i = 0; i < seats->num_frontends; i++)
        if (seats->frontends[i].pid != 0)
            return false;
    return seats->worker.pid == 0 && !has_follower(seats);
}

uint64_t seats_num_inflight(const struct seats *seats)
{
    uint64_t num = 0;
    for (uint32_t i = 0; i < seats->num_frontends; i++)
        if (seats->frontends[i].pid != 0)
            num += status_get(child_page(&seats->frontends[i]), stat_word(STAT_INFLIGHT));
    return num;
}
