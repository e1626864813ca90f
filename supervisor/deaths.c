#include "supervisor/seats.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "proto/records/stats.h"

enum {
    EARLY_US = 5 * 1000000,
    EARLY_DEATHS = 3,
    MAX_EARLY_DEATHS = 10,
    FIRST_DELAY_US = 100000,

    DEATHS_WINDOW_US = 600 * 1000000,
    MAX_DEATHS = 5,
};

static void last_words(const struct child *child, int wait_status, char *out, size_t size)
{
    char how[96];
    child_describe_end(wait_status, how, sizeof(how));
    if (child->verdict == CHILD_OUT_OF_MEMORY)
        snprintf(out, size,
                 "%s was killed by the kernel: the memory of its control group is "
                 "exhausted",
                 child->name);
    else if (child->last_words.kind != 0)
        snprintf(out, size, "%s", child->last_words.text);
    else
        snprintf(out, size, "%s %s", child->name, how);
}

static void complain(const struct child *child, int wait_status)
{
    char words[sizeof(child->last_words.text)];
    last_words(child, wait_status, words, sizeof(words));
    log_event(LOG_LEVEL_ERROR, "%s", words);
}

/* A death before the server was ever ready is a failed start: say why, once, and end. */
static void failed_start(struct seats *seats, const struct child *child, int wait_status)
{
    const bool spoke = child->last_words.kind != 0;
    char words[sizeof(child->last_words.text)];
    last_words(child, wait_status, words, sizeof(words));
    fprintf(stderr, "tokenring: %s\n", words);
    seats_end(seats, spoke ? child->last_words.exit_code
                     : WIFEXITED(wait_status) && WEXITSTATUS(wait_status) ? WEXITSTATUS(wait_status)
                                                                          : EXIT_CODE_RESTARTS);
}

static int32_t count_recent(struct seats *seats, int64_t now)
{
    int32_t recent = 0;
    memmove(seats->death_us + 1, seats->death_us, sizeof(seats->death_us) - sizeof(int64_t));
    seats->death_us[0] = now;
    if (seats->num_deaths < SEATS_DEATHS_KEPT)
        seats->num_deaths++;
    for (int32_t i = 0; i < seats->num_deaths; i++)
        recent += now - seats->death_us[i] <= DEATHS_WINDOW_US;
    return recent;
}

/* By a fault of its own, as far as can be told. */
static bool is_own_fault(const struct child *child, int wait_status)
{
    return child->verdict == CHILD_NO_VERDICT ? child_end_is_own_fault(wait_status)
                                              : child->verdict != CHILD_IS_STOPPED;
}

static bool end_if_changed(struct seats *seats)
{
    if (!seats->model_changed)
        return false;
    log_event(LOG_LEVEL_ERROR,
              "the model changed while it was served: start again to serve the new one");
    seats_end(seats, EXIT_CODE_RESTARTS);
    return true;
}

static void worker_died(struct seats *seats, int wait_status, bool was_ready, int64_t now)
{
    static const int64_t delays_s[] = { 0, 0, 1, 2, 4, 8, 16, 30 };
    struct child *worker = &seats->worker;
    const bool own_fault = is_own_fault(worker, wait_status);
    const int32_t recent = own_fault ? count_recent(seats, now) : 0;
    const bool for_good = recent >= MAX_DEATHS || seats->model_changed;
    const struct control_message down = { .kind = CONTROL_ENGINE_DOWN,
                                          .engine = worker->index,
                                          .peer_role = worker->role,
                                          .peer = worker->index,
                                          .epoch = worker->incarnation,
                                          .failed = for_good,
                                          .model_changed = seats->model_changed,
                                          .attributable = was_ready && own_fault &&
                                                          worker->verdict != CHILD_BREAKS_RULES };

    stat_add(seats->page->words, STAT_WORKER_RESTARTS, 1);
    seats_set_state(seats, for_good ? STATUS_FAILED : STATUS_DOWN);
    for (uint32_t i = 0; i < seats->num_frontends; i++)
        child_send(&seats->frontends[i], &down, NULL, 0);
    complain(worker, wait_status);
    if (end_if_changed(seats))
        return;
    if (for_good) {
        log_event(LOG_LEVEL_ERROR, "%s failed by itself %d times in 10 minutes: giving up",
                  worker->name, recent);
        seats_end(seats, EXIT_CODE_RESTARTS);
        return;
    }
    worker->restart_us = now + delays_s[recent] * 1000000;
    log_event(LOG_LEVEL_WARN, "%s is restarted", worker->name);
}

static void frontend_died(struct seats *seats, struct child *child, int wait_status, int64_t now)
{
    const struct control_message down = { .kind = CONTROL_FRONTEND_DOWN,
                                          .peer_role = child->role,
                                          .peer = child->index,
                                          .generation = child->incarnation };
    child_send(&seats->worker, &down, NULL, 0);
    stat_add(seats->page->words, STAT_FRONTEND_RESTARTS, 1);
    complain(child, wait_status);
    if (end_if_changed(seats))
        return;
    if (now - child->started_us >= EARLY_US)
        child->early_deaths = 0;
    else if (is_own_fault(child, wait_status))
        child->early_deaths++;
    if (child->early_deaths >= MAX_EARLY_DEATHS) {
        log_event(LOG_LEVEL_ERROR, "%s dies at every start: giving up", child->name);
        seats_end(seats, EXIT_CODE_RESTARTS);
        return;
    }
    int64_t delay = 0;
    if (child->early_deaths >= EARLY_DEATHS) {
        delay = (int64_t)FIRST_DELAY_US << (child->early_deaths - EARLY_DEATHS);
        delay = delay > EARLY_US ? EARLY_US : delay;
    }
    child->restart_us = now + delay;
    log_event(LOG_LEVEL_WARN, "%s is restarted", child->name);
}

/* An engine lives with all its ranks or not at all: the leader's death is the engine's. */
static void follower_died(struct seats *seats, const struct child *child, int wait_status)
{
    if (seats->worker.pid == 0 || seats->follower_status >= 0)
        return; /* it went with the others */
    complain(child, wait_status);
    seats->follower_status = wait_status;
    seats->worker.verdict = child->verdict;
    child_kill(&seats->worker);
}

static void kill_followers(struct seats *seats)
{
    for (uint32_t i = 0; i < seats->num_followers; i++)
        child_kill(&seats->followers[i]);
}

/* What fails before it was ever ready would fail again. */
static bool is_first_start(const struct seats *seats, const struct child *child)
{
    return child->role == CONTROL_ROLE_FRONTEND ? !child->ever_ready : !seats->ever_ready;
}

void seats_bury(struct seats *seats, struct child *child)
{
    const int64_t now = clock_now_us();
    stat_keep(seats->page->words, child_page(child)->words);
    const bool was_ready = child->ready;
    const int own_status = child_reap(child);
    if (oom_has_killed(&seats->oom) && WIFSIGNALED(own_status) && WTERMSIG(own_status) == SIGKILL &&
        child->verdict == CHILD_NO_VERDICT)
        child->verdict = CHILD_OUT_OF_MEMORY;
    const bool by_follower = child == &seats->worker && seats->follower_status >= 0;
    const int wait_status = by_follower ? seats->follower_status : own_status;

    if (child == &seats->worker) {
        kill_followers(seats);
        seats->follower_status = -1;
    }
    if (!was_ready && is_own_fault(child, own_status))
        child_keep(child, NULL, -1); /* perhaps what it was given is to blame: load afresh */
    if (seats->ending)
        return;
    if (control_role_is_command(child->role))
        failed_start(seats, child, wait_status);
    else if (is_first_start(seats, child))
        failed_start(seats, child, wait_status);
    else if (seats_is_follower(child))
        follower_died(seats, child, wait_status);
    else if (child->role == CONTROL_ROLE_WORKER)
        worker_died(seats, wait_status, was_ready, now);
    else
        frontend_died(seats, child, wait_status, now);
}
