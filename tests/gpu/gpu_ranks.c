/*
 * gpu_ranks BACKEND LIBRARIES DIR... - models cut into two ranks, a process each
 *
 * LIBRARIES is the folder of a libnccl.so.2, as --cuda-libs: the imitation of nccl/, or NVIDIA's.
 * Ranks have to hold equal logits, to the bit, and nearly those of a model in one piece. Then one
 * rank ends, or hangs, while the other waits for it in a step, which must fail soon and not hang;
 * and the same while they meet: what had been opened is closed again, and the process ends.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/worker/crew.h"
#include "tests/unit/worker/rig.h"

enum { NUM_TOKENS = 40, CHUNK = 17, BLOCKS = NUM_TOKENS / RIG_BLOCK_SIZE + 1, MAX_VOCAB = 4096 };
enum { AREA_FLOATS = 1 << 14, DEADLINE_US = 8 * 1000 * 1000 };
enum { SOON_US = 500 * 1000, LATE_US = 100 * 1000 * 1000 };

static const double most_off = 0.06;

static struct {
    int num;
    char **names;
} arguments;

/* What processes tell each other. */
static struct board {
    float logits[3][NUM_TOKENS * MAX_VOCAB]; /* of ranks 0 and 1, and of the whole model */
    int32_t vocab;
    _Atomic int num_there;
    int result; /* of the rank that is left */
    char sentence[ERROR_MESSAGE_BYTES];
    int num_left_open, num_left_running; /* descriptors and threads of it */
} * board;

static struct crew crew;

/* --- a rank --------------------------------------------------------------------------------- */

static void open_rank(struct rig *rig, const char *dir, int32_t rank)
{
    struct error err;
    const struct rig_options options = { .backend = arguments.names[1],
                                         .dir = dir,
                                         .kv_dtype = DTYPE_F16,
                                         .is_deterministic = true,
                                         .libraries = arguments.names[2],
                                         .deadline_us = DEADLINE_US,
                                         .communicator =
                                             rank < 2 ? &crew.ranks[rank].communicator : NULL };
    ck_assert_msg(rig_open(rig, &options, &err) == 0, "%s: %s", dir, err.message);
    ck_assert_int_le(rig->vocab_size, MAX_VOCAB);
}

static void make_prompt(const struct rig *rig, int32_t *tokens, int32_t *blocks)
{
    for (int32_t i = 0; i < NUM_TOKENS; i++)
        tokens[i] = (int32_t)((uint32_t)(i + 1) * 2654435761u % (uint32_t)rig->vocab_size);
    for (int32_t i = 0; i < BLOCKS; i++)
        blocks[i] = (i * 5 + 3) % RIG_NUM_BLOCKS;
}

static void compute(const char *dir, int32_t rank)
{
    struct rig rig;
    int32_t tokens[NUM_TOKENS], blocks[BLOCKS];
    open_rank(&rig, dir, rank);
    make_prompt(&rig, tokens, blocks);
    board->vocab = rig.vocab_size;
    rig_run(&rig, tokens, NUM_TOKENS, CHUNK, blocks, board->logits[rank]);
    rig_close(&rig);
}

/* Rank 0 begins a step that the other one does not take part in. */
static void lose(const char *dir, int32_t rank)
{
    struct rig rig;
    int32_t tokens[NUM_TOKENS], blocks[BLOCKS];
    open_rank(&rig, dir, rank);
    make_prompt(&rig, tokens, blocks);
    const struct rig_part part = { .tokens = tokens, .num = 5, .blocks = blocks };
    ck_assert_int_eq(rig_try(&rig, &part), 0);
    atomic_fetch_add(&board->num_there, 1);
    if (rank == 1)
        for (;;)
            pause();
    board->result = rig_try(&rig, &part);
    ck_assert_int_eq(rig_try(&rig, &part), board->result); /* final */
    rig_close(&rig);
}

/* --- ranks that meet ---------------------------------------------------------------------------
 */

static int num_entries(const char *folder)
{
    int num = 0;
    DIR *dir = opendir(folder);
    ck_assert_ptr_nonnull(dir);
    while (readdir(dir) != NULL)
        num++;
    closedir(dir);
    return num;
}

static int num_threads(void)
{
    return num_entries("/proc/self/task");
}

/* A thread that was joined may be seen a little longer. */
static int num_threads_beside(int before)
{
    for (int i = 0; i < 2000 && num_threads() > before; i++)
        usleep(10000);
    return num_threads() - before;
}

static void stay(void)
{
    for (;;)
        pause();
}

/* Opens a device and returns what meeting the others came to. */
static int try_to_meet(int32_t rank, int64_t deadline_us, struct error *err)
{
    const struct backend *backend;
    struct device *device;
    const struct device_options options = { .num_ranks = crew.num_ranks,
                                            .rank = rank,
                                            .max_rows = 16,
                                            .max_logits = 16,
                                            .max_vocab = 64,
                                            .ordinals = "0,0,0",
                                            .libraries = arguments.names[2],
                                            .deadline_us = deadline_us };
    ck_assert_int_eq(backend_open(arguments.names[1], &backend, err), 0);
    ck_assert_msg(backend->device_open(&options, &device, err) == 0, "%s", err->message);
    const int r = backend->device_join(device, &crew.ranks[rank].communicator, err);
    backend->device_close(device);
    return r;
}

/* The one that is left. */
static void meet_in_vain(int64_t deadline_us)
{
    struct error err = { 0 };
    const int fds = num_entries("/proc/self/fd"), threads = num_threads();
    board->result = try_to_meet(0, deadline_us, &err);
    comm_finish(&crew.ranks[0].comm);
    board->num_left_open = num_entries("/proc/self/fd") - fds;
    board->num_left_running =
        getenv("NCCL_IMITATION_ABORT_HANGS") == NULL ? num_threads_beside(threads) : 0;
    snprintf(board->sentence, sizeof(board->sentence), "%s", err.message);
}

static void meet_soon(const char *dir, int32_t rank)
{
    (void)dir;
    crew.ranks[rank].comm.timeout_us = SOON_US;
    meet_in_vain(SOON_US);
}

static void meet_although_abort_hangs(const char *dir, int32_t rank)
{
    (void)dir;
    (void)rank;
    setenv("NCCL_IMITATION_ABORT_HANGS", "1", 1);
    meet_in_vain(SOON_US);
}

static void meet_late(const char *dir, int32_t rank)
{
    (void)dir;
    (void)rank;
    meet_in_vain(LATE_US);
}

static void never_come(const char *dir, int32_t rank)
{
    (void)dir;
    (void)rank;
    stay();
}

/* Knows the ids, and then hangs. */
static void learn_ids(const char *dir, int32_t rank)
{
    const struct communicator *c = &crew.ranks[rank].communicator;
    float ids[256] = { 0 };
    (void)dir;
    ck_assert_int_eq(c->all_reduce(c->context, ids, 256), 0);
    stay();
}

/* Is killed while it waits for one that hangs. */
static void end_while_joining(const char *dir, int32_t rank)
{
    struct error err;
    (void)dir;
    setenv("NCCL_IMITATION_ENDS_JOINING", "1", 1);
    (void)try_to_meet(rank, LATE_US, &err);
}

/* --- processes ------------------------------------------------------------------------------- */

static pid_t start(void (*run)(const char *dir, int32_t rank), const char *dir, int32_t rank)
{
    const pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        run(dir, rank);
        _exit(0);
    }
    return pid;
}

static void end_well(pid_t pid)
{
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

static void check_model(const char *dir)
{
    pid_t pids[3];
    double sum = 0, off = 0;
    crew_join(&crew, 2, AREA_FLOATS);
    for (int32_t rank = 0; rank < 3; rank++)
        pids[rank] = start(compute, dir, rank);
    for (int32_t rank = 0; rank < 3; rank++)
        end_well(pids[rank]);
    const size_t num = NUM_TOKENS * (size_t)board->vocab;
    for (size_t i = 0; i < num; i++) {
        const double wanted = (double)board->logits[2][i];
        sum += wanted * wanted;
        off += ((double)board->logits[0][i] - wanted) * ((double)board->logits[0][i] - wanted);
    }
    printf("%-60s off %.1e\n", dir, sqrt(off / sum));
    ck_assert_msg(memcmp(board->logits[0], board->logits[1], num * sizeof(float)) == 0,
                  "%s: ranks differ", dir);
    ck_assert_msg(sqrt(off / sum) <= most_off, "%s: %g off", dir, sqrt(off / sum));
    crew_leave(&crew);
}

START_TEST(ranks_hold_equal_logits)
{
    for (int i = 3; i < arguments.num; i++)
        check_model(arguments.names[i]);
}
END_TEST

static void end_rank(pid_t pid, int signal)
{
    while (atomic_load(&board->num_there) < 2)
        usleep(1000);
    ck_assert_int_eq(kill(pid, signal), 0);
}

static void check_loss(int signal, int wanted)
{
    crew_join(&crew, 2, AREA_FLOATS);
    atomic_store(&board->num_there, 0);
    const pid_t left = start(lose, arguments.names[3], 0);
    const pid_t lost = start(lose, arguments.names[3], 1);
    end_rank(lost, signal);
    end_well(left);
    ck_assert_int_eq(board->result, wanted);
    if (signal == 0)
        kill(lost, SIGKILL);
    waitpid(lost, NULL, 0);
    crew_leave(&crew);
}

/* The library says so before the deadline. */
START_TEST(a_rank_that_ended_fails_the_step_of_the_others)
{
    check_loss(SIGKILL, -EPIPE);
}
END_TEST

START_TEST(a_rank_that_hangs_fails_the_step_at_the_deadline)
{
    check_loss(0, -ETIMEDOUT);
}
END_TEST

typedef void rank_function(const char *dir, int32_t rank);

/* Rank 0 is the one that is left. What an id takes that nobody joins by is NCCL's for good: as many
 * may stay open. */
static void check_start(rank_function *const functions[], int32_t num, int wanted,
                        const char *words, int num_unused_ids)
{
    pid_t pids[CREW_MAX_RANKS];
    crew_join(&crew, num, AREA_FLOATS);
    board->result = 0;
    for (int32_t rank = 0; rank < num; rank++)
        pids[rank] = start(functions[rank], "", rank);
    end_well(pids[0]);
    for (int32_t rank = 1; rank < num; rank++) {
        kill(pids[rank], SIGKILL);
        waitpid(pids[rank], NULL, 0);
    }
    crew_leave(&crew);
    ck_assert_msg(board->result == wanted, "%d: %s", board->result, board->sentence);
    ck_assert_msg(strstr(board->sentence, words) != NULL, "%s", board->sentence);
    ck_assert_int_eq(board->num_left_running, 0);
    if (num_unused_ids >= 0)
        ck_assert_int_eq(board->num_left_open, num_unused_ids);
}

START_TEST(a_rank_that_never_comes_fails_the_start_of_the_others)
{
    rank_function *const functions[] = { meet_soon, never_come };
    check_start(functions, 2, -ETIMEDOUT, "s for the other ranks to open their GPUs", 2);
}
END_TEST

START_TEST(a_rank_that_hangs_before_it_joins_fails_the_start_at_the_deadline)
{
    rank_function *const functions[] = { meet_soon, learn_ids };
    check_start(functions, 2, -ETIMEDOUT, "s for all 2 ranks to join: not all of them did", 1);
}
END_TEST

START_TEST(a_library_that_cannot_abort_does_not_keep_the_process)
{
    rank_function *const functions[] = { meet_although_abort_hangs, learn_ids };
    check_start(functions, 2, -ETIMEDOUT, "s for all 2 ranks to join: not all of them did", -1);
}
END_TEST

/* Of three: rank 1 hangs, rank 2 ends in the middle of joining, and rank 0 learns it at once. */
START_TEST(a_rank_that_ends_while_it_joins_fails_the_start_of_the_others)
{
    rank_function *const functions[] = { meet_late, learn_ids, end_while_joining };
    check_start(functions, 3, -EPIPE, "NCCL: rank 0 cannot join 3 ranks after", 1);
}
END_TEST

int main(int argc, char **argv)
{
    const struct backend *backend;
    struct error err;
    if (argc < 4) {
        fprintf(stderr, "usage: gpu_ranks BACKEND LIBRARIES DIR...\n");
        return 2;
    }
    arguments.num = argc;
    arguments.names = argv;
    if (backend_open(argv[1], &backend, &err) < 0 || backend->probe(&err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 77;
    }
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        return 1;
    Suite *suite = suite_create("ranks");
    TCase *tests = tcase_create("ranks");
    tcase_add_test(tests, ranks_hold_equal_logits);
    tcase_add_test(tests, a_rank_that_ended_fails_the_step_of_the_others);
    tcase_add_test(tests, a_rank_that_hangs_fails_the_step_at_the_deadline);
    tcase_add_test(tests, a_rank_that_never_comes_fails_the_start_of_the_others);
    tcase_add_test(tests, a_rank_that_hangs_before_it_joins_fails_the_start_at_the_deadline);
    tcase_add_test(tests, a_library_that_cannot_abort_does_not_keep_the_process);
    tcase_add_test(tests, a_rank_that_ends_while_it_joins_fails_the_start_of_the_others);
    tcase_set_timeout(tests, 0); /* the build has one */
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner,
                            CK_FORK); /* ranks that fail end, and nothing else of them runs */
    srunner_run_all(runner, CK_NORMAL);
    const bool failed = srunner_ntests_failed(runner) > 0;
    srunner_free(runner);
    return failed ? 1 : 0;
}
