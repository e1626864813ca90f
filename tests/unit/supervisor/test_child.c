/* Real processes: this program itself, executed again in the role of a child. */
#include "supervisor/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../runner.h"
#include "shm/channel.h"

static struct child child;
static struct child_start start;
static uint8_t ticket_key[80] = { 1, 2, 3 }, salt[16] = { 4, 5, 6 };
static struct error err;

static void setup(void)
{
    static int listeners[2];
    listeners[0] = memfd_create("listener", MFD_CLOEXEC);
    listeners[1] = memfd_create("listener", MFD_CLOEXEC);
    start = (struct child_start){ .image_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC),
                                  .options_fd = memfd_create("options", MFD_CLOEXEC),
                                  .options_bytes = 7,
                                  .supervisor_page_fd = memfd_create("page", MFD_CLOEXEC),
                                  .listeners = listeners,
                                  .num_listeners = 2,
                                  .tls_ticket_key = ticket_key,
                                  .salt = salt };
    ck_assert_int_ge(start.image_fd, 0);
    for (int fd = STDERR_FILENO + 1; fd < 256; fd++) /* what the test itself inherited */
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void teardown(void)
{
    if (child.pid != 0) {
        child_kill(&child);
        (void)child_reap(&child);
    }
}

static void spawn(enum control_role role, uint32_t rank)
{
    ck_assert_int_eq(child_init(&child, role, 3, rank, &err), 0);
    ck_assert_msg(child_spawn(&child, &start, 4711, &err) == 0, "%s", err.message);
}

static struct control_message answer(void)
{
    struct control_message message = { 0 };
    struct pollfd wait = { .fd = child.control, .events = POLLIN };
    int fds[CHANNEL_FDS_MAX];
    size_t num_fds;
    ck_assert_int_eq(poll(&wait, 1, 30000), 1);
    ck_assert_int_eq(channel_receive(child.control, &message, sizeof(message), fds, &num_fds),
                     (int)sizeof(message));
    return message;
}

static void order(const char *what)
{
    struct control_message message = { .kind = CONTROL_DRAIN };
    snprintf(message.text, sizeof(message.text), "%s", what);
    child_send(&child, &message, NULL, 0);
}

static int await_end(void)
{
    struct pollfd wait = { .fd = child.pidfd, .events = POLLIN };
    ck_assert_int_eq(poll(&wait, 1, 30000), 1);
    return child_reap(&child);
}

START_TEST(a_frontend_is_greeted_with_all_it_needs)
{
    spawn(CONTROL_ROLE_FRONTEND, 0);
    ck_assert_str_eq(child.name, "frontend 3");
    ck_assert_str_eq(answer().text,
                     "role 1 index 3 rank 0 epoch 0 generation 4711 options 7 listeners 2 "
                     "weights 0 fds 6 keys 1 4 open 0 text ");
}
END_TEST

START_TEST(a_worker_is_greeted_with_what_its_predecessor_left)
{
    struct control_message kept = { .kind = CONTROL_KEEP, .text = "notes" };
    ck_assert_int_eq(child_init(&child, CONTROL_ROLE_WORKER, 3, 1, &err), 0);
    child_keep(&child, &kept, memfd_create("weights", MFD_CLOEXEC));
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(child_spawn(&child, &start, 4711, &err), 0);
        ck_assert_str_eq(answer().text,
                         "role 2 index 3 rank 1 epoch 4711 generation 0 options 7 listeners 0 "
                         "weights 1 fds 5 keys 1 4 open 0 text notes");
        child_kill(&child);
        (void)await_end();
    }
    child_keep(&child, NULL, -1);
    ck_assert_int_eq(child_spawn(&child, &start, 4712, &err), 0);
    ck_assert_ptr_nonnull(strstr(answer().text, "weights 0 fds 4"));
    ck_assert_str_eq(child.kept.text, "notes");
}
END_TEST

static const struct {
    const char *order;
    const char *how;
    bool own_fault;
} ends[] = {
    { "exit 0", "exited with code 0", false },
    { "exit 3", "exited with code 3", true },
    { "signal 11", "was ended by signal 11 (Segmentation fault)", true },
    { "signal 6", "was ended by signal 6 (Aborted)", true },
    { "signal 9", "was ended by signal 9 (Killed)", false },
    { "signal 15", "was ended by signal 15 (Terminated)", false },
};

START_TEST(an_end_is_described_and_judged)
{
    char how[96];
    spawn(CONTROL_ROLE_WORKER, 0);
    (void)answer();
    order(ends[_i].order);
    const int status = await_end();
    child_describe_end(status, how, sizeof(how));
    ck_assert_str_eq(how, ends[_i].how);
    ck_assert_int_eq(child_end_is_own_fault(status), ends[_i].own_fault);
    ck_assert(child.pid == 0 && child.control == -1 && child.pidfd == -1 &&
              child_page(&child) == NULL);
}
END_TEST

START_TEST(a_stopped_process_is_seen_and_can_be_killed)
{
    spawn(CONTROL_ROLE_WORKER, 0);
    (void)answer();
    ck_assert(!child_is_stopped(&child));
    ck_assert_int_eq(kill(child.pid, SIGSTOP), 0);
    for (int i = 0; i < 3000 && !child_is_stopped(&child); i++)
        poll(NULL, 0, 10);
    ck_assert(child_is_stopped(&child));
    child_kill(&child);
    ck_assert(WIFSIGNALED(await_end()));
}
END_TEST

START_TEST(a_child_that_does_not_read_is_killed)
{
    spawn(CONTROL_ROLE_WORKER, 0);
    (void)answer();
    order("sleep");
    for (int i = 0;
         i < 100000 && poll(&(struct pollfd){ .fd = child.pidfd, .events = POLLIN }, 1, 0) == 0;
         i++)
        order("more");
    ck_assert_int_eq(WTERMSIG(await_end()), SIGKILL);
}
END_TEST

START_TEST(its_page_is_its_own_to_write_and_ours_to_read)
{
    spawn(CONTROL_ROLE_WORKER, 0);
    (void)answer();
    ck_assert_uint_eq(atomic_load((_Atomic uint64_t *)&child_page(&child)->pid),
                      (uint64_t)child.pid);
}
END_TEST

START_TEST(nothing_can_be_sent_to_an_empty_seat)
{
    ck_assert_int_eq(child_init(&child, CONTROL_ROLE_WORKER, 0, 0, &err), 0);
    order("nothing");
    child_kill(&child);
    child_hang_up(&child);
    ck_assert_ptr_null(child_page(&child));
}
END_TEST

/* --- the child ---------------------------------------------------------------------------- */

static void obey(const char *what)
{
    int number = 0;
    if (sscanf(what, "exit %d", &number) == 1)
        _exit(number);
    if (sscanf(what, "signal %d", &number) == 1) {
        (void)signal(number, SIG_DFL); /* a sanitizer may have taken it */
        raise(number);
    }
    while (strcmp(what, "sleep") == 0)
        pause();
}

/* Descriptors beyond the three and the socket's that came through exec. */
static int count_open(int control)
{
    int num = 0;
    for (int fd = 3; fd < 256; fd++)
        num += fd != control && fcntl(fd, F_GETFD) >= 0;
    return num;
}

static bool take(int control, struct control_message *message, int *fds, size_t *num_fds)
{
    struct pollfd wait = { .fd = control, .events = POLLIN };
    return poll(&wait, 1, 30000) == 1 && channel_receive(control, message, sizeof(*message), fds,
                                                         num_fds) == (int)sizeof(*message);
}

static int be_child(int control)
{
    struct control_message hello, told = { .kind = CONTROL_READY };
    int fds[CHANNEL_FDS_MAX], parent_death = 0;
    size_t num_fds;
    const int num_open = count_open(control);
    const struct segment_header header = status_segment_header();
    struct segment page;
    prctl(PR_GET_PDEATHSIG, &parent_death);
    if (!take(control, &hello, fds, &num_fds) || num_fds < 4 || parent_death != SIGKILL ||
        segment_map(&page, fds[1], true, &header, NULL) < 0)
        return 99;
    atomic_store(&((struct status_page *)page.base)->pid, (uint64_t)getpid());
    snprintf(told.text, sizeof(told.text),
             "role %u index %u rank %u epoch %llu generation %llu options %u listeners %u weights "
             "%u fds "
             "%zu keys %d %d open %d text %.32s",
             hello.role, hello.index, hello.rank, (unsigned long long)hello.epoch,
             (unsigned long long)hello.generation, hello.options_bytes, hello.num_listeners,
             hello.num_weights, num_fds, hello.tls_ticket_key[0], hello.salt[0], num_open,
             hello.text);
    if (channel_send(control, &told, sizeof(told), NULL, 0) < 0)
        return 98;
    while (take(control, &hello, fds, &num_fds))
        obey(hello.text);
    return 97;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "role") == 0)
        return be_child(atoi(argv[2]));

    Suite *suite = suite_create("child");
    TCase *tc = tcase_create("child");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_frontend_is_greeted_with_all_it_needs);
    tcase_add_test(tc, a_worker_is_greeted_with_what_its_predecessor_left);
    tcase_add_loop_test(tc, an_end_is_described_and_judged, 0,
                        (int)(sizeof(ends) / sizeof(ends[0])));
    tcase_add_test(tc, a_stopped_process_is_seen_and_can_be_killed);
    tcase_add_test(tc, a_child_that_does_not_read_is_killed);
    tcase_add_test(tc, its_page_is_its_own_to_write_and_ours_to_read);
    tcase_add_test(tc, nothing_can_be_sent_to_an_empty_seat);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
