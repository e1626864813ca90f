/*
 * gpu_ranks BACKEND LIBRARIES DIR... - models cut into two ranks, a process each
 *
 * LIBRARIES is the folder of a libnccl.so.2, as --cuda-libs: the imitation of nccl/, or NVIDIA's.
 * Ranks have to hold equal logits, to the bit, and nearly those of a model in one piece. Then one
 * rank ends, or hangs, while the other waits for it in a step, which must fail soon and not hang.
 */
#include <check.h>
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
    int result; /* of the rank whose step fails */
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
