/* The fourth law: after the first steps a step neither allocates nor makes a system call but a
 * futex and the doorbell's write. A process of its own runs them with an allocator that counts
 * and a filter that kills. */
#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "world.h"

static bool is_counting;
static int num_calls;

void *__real_malloc(size_t size);
void *__real_calloc(size_t num, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
int __real_posix_memalign(void **ret, size_t align, size_t size);
void __real_free(void *memory);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t num, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
int __wrap_posix_memalign(void **ret, size_t align, size_t size);
void __wrap_free(void *memory);

void *__wrap_malloc(size_t size)
{
    num_calls += is_counting;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t num, size_t size)
{
    num_calls += is_counting;
    return __real_calloc(num, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    num_calls += is_counting;
    return __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    num_calls += is_counting;
    return __real_aligned_alloc(align, size);
}

int __wrap_posix_memalign(void **ret, size_t align, size_t size)
{
    num_calls += is_counting;
    return __real_posix_memalign(ret, align, size);
}

void __wrap_free(void *memory)
{
    num_calls += is_counting;
    __real_free(memory);
}

#define ALLOW(number)                                                                              \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                           \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* For this thread; the device's threads were started before. */
static bool forbid_system_calls(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(__NR_futex),
        ALLOW(__NR_write),
        ALLOW(__NR_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum { QUIET = 10, CALLED_ALLOCATOR, CANNOT_FILTER };

/* Admission, chunks, forks, preemption, log-probabilities, ends, cancellation. */
static int run_steps(void)
{
    struct world_setup setup = world_usual;
    setup.budget = 64;
    setup.num_seqs = 8;
    setup.num_blocks = 24;
    world_open(&setup);
    world_submit(0);
    world_run(0, 1);
    for (unsigned i = 1; i < WORLD_NUM_REQUESTS / 2; i++)
        world_submit(i);
    seat_cancel(&world.seat, 5);

    if (!forbid_system_calls())
        return CANNOT_FILTER;
    for (unsigned i = 1; i < WORLD_NUM_REQUESTS / 2; i++)
        while (i != 5 && !seat_is_finished(&world.seat, i)) {
            is_counting = true;
            engine_step(world.engine);
            is_counting = false;
            seat_take(&world.seat);
        }
    return num_calls == 0 ? QUIET : CALLED_ALLOCATOR;
}

START_TEST(a_step_neither_allocates_nor_calls_the_kernel)
{
    int status;
    const pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(run_steps());

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);

    ck_assert_msg(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
    ck_assert_int_eq(WEXITSTATUS(status), QUIET);
}
END_TEST

int main(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 77; /* a sanitizer makes calls of its own */
#endif
    Suite *suite = suite_create("step");
    TCase *tc = tcase_create("step");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_step_neither_allocates_nor_calls_the_kernel);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
