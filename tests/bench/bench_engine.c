/* What a step costs beside the forward pass: admission, plan, arrays of the batch, and cells for
 * the rings, with 1 to 1,024 sequences that decode. The device is none: every sampled token is the
 * same. `fair` is planned for 16 tenants. Time of this thread alone: a busy machine does not tell.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/batch.h"
#include "worker/publish.h"

enum { PROMPT = 100, STEPS = 400, WARM = 20, BLOCK = 16, MAX_LEN = 1024, CELLS = 1 << 14 };

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct bench {
    struct reserve reserve;
    struct scheduler s;
    struct batch batch;
    int64_t plan_ns[STEPS], all_ns[STEPS];
    struct ring_cell cells[CELLS];
};

static int compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static double quantile_us(int64_t *ns, double q)
{
    qsort(ns, STEPS, sizeof(*ns), compare);
    return (double)ns[(size_t)(q * (STEPS - 1))] / 1000;
}

static void admit(struct bench *b, int32_t i)
{
    int32_t prompt[PROMPT];
    const struct record_params params = { .max_tokens = MAX_LEN - PROMPT,
                                          .num_choices = 1,
                                          .top_p = 1,
                                          .typical_p = 1,
                                          .repetition_penalty = 1,
                                          .num_logprobs = -1,
                                          .num_prompt_logprobs = -1,
                                          .tenant = (uint32_t)(i % 16) };
    struct record_submit submit = {
        .params = &params, .prompt = prompt, .num_prompt = PROMPT, .num_choices = 1
    };
    struct request *request;
    for (int32_t t = 0; t < PROMPT; t++)
        prompt[t] = i * PROMPT + t;
    if (scheduler_admit(&b->s, 0, (uint64_t)i, &submit, &request) != 0)
        abort();
}

static void take_results(struct bench *b, const struct plan *plan)
{
    for (int32_t i = 0; i < plan->num_rows; i++) {
        const struct plan_row *row = &plan->rows[i];
        (void)scheduler_end_row(&b->s, row);
        if (row->samples)
            sequence_append(row->sequence, 1);
        scheduler_filled(&b->s, row->sequence, row->first_pos + row->num_tokens);
    }
}

/* As publish.c does for each sequence, into memory instead of a ring. */
static void write_cells(struct bench *b, const struct plan *plan)
{
    for (int32_t i = 0; i < plan->num_rows; i++) {
        struct sequence *q = plan->rows[i].sequence;
        const int32_t num = sequence_num_output(q) - q->num_published;
        struct ring_cell cell = { .kind = RECORD_TOKENS,
                                  .id = q->request->id,
                                  .pos = (uint32_t)q->num_published + 1,
                                  .count = (uint8_t)num };
        if (num == 0)
            continue;
        memcpy(cell.tokens, q->tokens + q->num_prompt + q->num_published,
               (size_t)num * sizeof(int32_t));
        b->cells[i % CELLS] = cell;
        q->num_published = q->num_logprobs_published = sequence_num_output(q);
    }
}

static int32_t run_step(struct bench *b, int64_t *ret_plan_ns, int64_t *ret_all_ns)
{
    const int64_t started = now_ns();
    scheduler_tell_time(&b->s, started / 1000);
    const struct plan *plan = scheduler_plan(&b->s);
    *ret_plan_ns = now_ns() - started;
    batch_build(&b->batch, plan, &b->batch);
    take_results(b, plan);
    write_cells(b, plan);
    *ret_all_ns = now_ns() - started;
    return plan->num_rows;
}

static int run(int32_t num_seqs, enum wait_policy policy, const char *name)
{
    static struct bench b;
    const struct scheduler_limits limits = { .max_num_seqs = num_seqs,
                                             .max_num_batched_tokens = 8192,
                                             .max_logits = num_seqs + SEQUENCE_WINDOW,
                                             .max_model_len = MAX_LEN,
                                             .block_size = BLOCK,
                                             .num_groups = 1,
                                             .num_blocks = num_seqs * MAX_LEN / BLOCK * 2,
                                             .max_num_queued_reqs = 4 * num_seqs,
                                             .max_num_queued_tokens = 10000000,
                                             .vocab_size = 200000,
                                             .enable_prefix_caching = true,
                                             .policy = policy };
    int64_t plan_ns, all_ns;
    b = (struct bench){ 0 };
    if (scheduler_init(&b.s, &limits, &b.reserve) < 0 ||
        batch_init(&b.batch, &limits, &b.reserve) < 0)
        return -ENOMEM;
    for (int32_t i = 0; i < num_seqs; i++)
        admit(&b, i);
    for (int32_t i = 0, rows = 0; i < WARM || rows < num_seqs; i++)
        rows = run_step(&b, &plan_ns, &all_ns);
    for (int32_t i = 0; i < STEPS; i++)
        run_step(&b, &b.plan_ns[i], &b.all_ns[i]);
    printf("%6d  %-8s  %8.1f %8.1f  %8.1f %8.1f\n", num_seqs, name, quantile_us(b.plan_ns, 0.5),
           quantile_us(b.plan_ns, 0.99), quantile_us(b.all_ns, 0.5), quantile_us(b.all_ns, 0.99));
    reserve_finish(&b.reserve);
    return 0;
}

int main(void)
{
    static const int32_t sizes[] = { 1, 64, 256, 1024 };
    static const char *const names[] = { "fcfs", "priority", "fair" };
    printf("time of a step beside the forward, in us; goal: plan of 256 within 50, 150 at p99\n");
    printf("  seqs  policy    plan p50      p99   all p50      p99\n");
    for (int policy = WAIT_FCFS; policy <= WAIT_FAIR; policy++)
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            if (run(sizes[i], (enum wait_policy)policy, names[policy]) < 0)
                return EXIT_FAILURE;
    return EXIT_SUCCESS;
}
