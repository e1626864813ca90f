#include "fake_children.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "supervisor/link.h"
#include "supervisor/rank_link.h"

struct fake_world fake;

/* One for each seat: frontends first, then the ranks. */
static struct fake_child {
    struct status_page page;
    bool was_killed;
    int wait_status; /* -1: alive */
} children[CONTROL_MAX_FRONTENDS + SEATS_MAX_RANKS];

static struct fake_child *of(const struct child *child)
{
    const bool is_worker = child->role == CONTROL_ROLE_WORKER;
    return &children[is_worker ? CONTROL_MAX_FRONTENDS + child->rank : child->index];
}

void fake_reset(void)
{
    fake = (struct fake_world){ .now_us = 1000 * 1000000ll };
    memset(children, 0, sizeof(children));
}

const struct control_message *fake_find(const struct child *to, enum control_kind kind)
{
    for (int i = fake.num_sent - 1; i >= 0; i--)
        if (fake.sent[i].message.kind == kind && (to == NULL || fake.sent[i].to == to))
            return &fake.sent[i].message;
    return NULL;
}

int fake_count(const struct child *to, enum control_kind kind)
{
    int num = 0;
    for (int i = 0; i < fake.num_sent; i++)
        num += fake.sent[i].message.kind == kind && (to == NULL || fake.sent[i].to == to);
    return num;
}

void fake_forget(void)
{
    fake.num_sent = 0;
}

bool fake_was_killed(const struct child *child)
{
    return of(child)->was_killed;
}

void fake_end(struct child *child, int wait_status)
{
    of(child)->wait_status = wait_status;
}

struct status_page *fake_page(const struct child *child)
{
    return &of(child)->page;
}

/* --- in place of the clock ---------------------------------------------------------------- */

int64_t __wrap_clock_now_us(void);

int64_t __wrap_clock_now_us(void)
{
    return fake.now_us;
}

/* --- in place of child.c ------------------------------------------------------------------ */

int child_init(struct child *child, enum control_role role, uint32_t index, uint32_t rank,
               struct error *err)
{
    (void)err;
    *child = (struct child){ .role = role, .index = index, .rank = rank, .kept_weights = -1 };
    snprintf(child->name, sizeof(child->name), "%s %u.%u",
             role == CONTROL_ROLE_WORKER ? "worker" : "frontend", index, rank);
    return 0;
}

int child_spawn(struct child *child, const struct child_start *start, uint64_t incarnation,
                struct error *err)
{
    (void)start;
    const int r = fake.spawn_error;
    fake.spawn_error = 0;
    if (r < 0)
        return error_set(err, r, "no process");
    ck_assert_int_eq(child->pid, 0);
    *of(child) = (struct fake_child){ .wait_status = -1 };
    child->pid = 1;
    child->incarnation = incarnation;
    child->started_us = fake.now_us;
    child->restart_us = child->load_done_bytes = child->progress_us = 0;
    child->verdict = CHILD_NO_VERDICT;
    child->last_words = (struct control_message){ 0 };
    atomic_store(&of(child)->page.heartbeat_us, (uint64_t)fake.now_us);
    return 0;
}

void child_send(struct child *child, const struct control_message *message, const int *fds,
                size_t num_fds)
{
    (void)fds;
    (void)num_fds;
    if (child->pid == 0)
        return;
    ck_assert_int_lt(fake.num_sent, FAKE_MAX_SENT);
    fake.sent[fake.num_sent++] = (struct fake_sent){ child, *message };
}

void child_keep(struct child *child, const struct control_message *message, int weights)
{
    child->kept_weights = weights;
    if (message != NULL)
        child->kept = *message;
}

void child_kill(struct child *child)
{
    if (child->pid == 0)
        return;
    of(child)->was_killed = true;
    of(child)->wait_status = SIGKILL;
}

bool child_is_stopped(const struct child *child)
{
    return child == fake.stopped;
}

int child_reap(struct child *child)
{
    ck_assert_int_ge(of(child)->wait_status, 0);
    child->pid = 0;
    child->ready = child->drained = false;
    return of(child)->wait_status;
}

const struct status_page *child_page(const struct child *child)
{
    return child->pid != 0 ? &of(child)->page : NULL;
}

void child_describe_end(int wait_status, char *out, size_t size)
{
    snprintf(out, size, "ended with %d", wait_status);
}

bool child_end_is_own_fault(int wait_status)
{
    if (!WIFSIGNALED(wait_status))
        return WEXITSTATUS(wait_status) != 0;
    return WTERMSIG(wait_status) != SIGKILL && WTERMSIG(wait_status) != SIGTERM;
}

/* --- in place of link.c, rank_link.c, oom.c ------------------------------------------------- */

int link_join(struct child *frontend, struct child *worker, int64_t context, struct error *err)
{
    (void)context;
    (void)err;
    ck_assert(frontend->pid != 0 && worker->ready);
    fake.num_joins++;
    return 0;
}

int rank_link_join(struct child *leader, struct child followers[], uint32_t num_followers,
                   struct error *err)
{
    (void)err;
    for (uint32_t i = 0; i < num_followers; i++)
        ck_assert_uint_eq(followers[i].incarnation, leader->incarnation);
    fake.num_rank_joins++;
    return 0;
}

void oom_open(struct oom *oom, const char *proc, const char *cgroup)
{
    (void)proc;
    (void)cgroup;
    *oom = (struct oom){ .fd = -1 };
}

bool oom_has_killed(struct oom *oom)
{
    (void)oom;
    const bool rose = fake.oom;
    fake.oom = false;
    return rose;
}
