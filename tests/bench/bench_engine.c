/* What a step costs beside the forward pass, and what planning ahead gains.
 *
 * The first table is scheduler_plan() alone, by policy (`fair` for 16 tenants; `windows` too, with
 * a model of two KV groups in seven parts), sequences that decode. The second is the whole of
 * engine_step() without the forward: cells taken from a real ring, checked and admitted, plan,
 * arrays of the batch, recording of Ringlet's forward, results and cells for the ring. Operations
 * are recorded and never run; every token drawn is the same. Answers end after 128 tokens and
 * others take their place, so there are starts and ends in it. "idle" is the part of it that a
 * device waits for: from the end of one list to the next. Both count CPU time of this thread alone:
 * a busy machine does not tell.
 *
 * The third is Ringlet itself, tokens per second of wall time, with steps planned ahead and in
 * turn: the median of rounds that alternate.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine_rig.h"
#include "worker/batch.h"

enum { PROMPT = 100, STEPS = 400, WARM = 20, BLOCK = 16, MAX_LEN = 1024 };

static const int32_t sizes[] = { 1, 64, 256, 1024 };
enum { NUM_SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static int compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static double quantile_us(int64_t *ns, size_t num, double q)
{
    qsort(ns, num, sizeof(*ns), compare);
    return (double)ns[(size_t)(q * (double)(num - 1))] / 1000;
}

/* --- plan --------------------------------------------------------------------------------- */

static void admit(struct scheduler *s, int32_t i)
{
    int32_t prompt[PROMPT];
    const struct record_params params = { .max_tokens = MAX_LEN - PROMPT,
                                          .num_choices = 1,
                                          .num_logprobs = -1,
                                          .num_prompt_logprobs = -1,
                                          .tenant = (uint32_t)(i % 16) };
    struct record_submit submit = {
        .params = &params, .prompt = prompt, .num_prompt = PROMPT, .num_choices = 1
    };
    struct request *request;
    for (int32_t t = 0; t < PROMPT; t++)
        prompt[t] = i * PROMPT + t;
    if (scheduler_admit(s, 0, (uint64_t)i, &submit, &request) != 0)
        abort();
}

static void take_results(struct scheduler *s, const struct plan *plan)
{
    for (int32_t i = 0; i < plan->num_rows; i++) {
        const struct plan_row *row = &plan->rows[i];
        struct sequence *q = row->sequence;
        (void)scheduler_end_row(s, row);
        if (row->samples)
            sequence_append(q, 1);
        scheduler_filled(s, q, row->first_pos + row->num_tokens);
        q->num_published = q->num_logprobs_published = sequence_num_output(q);
    }
}

/* Plans a step and takes the results of the one before. */
static const struct plan *plan_step(struct scheduler *s, const struct plan *before, int64_t *ret_ns)
{
    const int64_t started = engine_rig_now_ns();
    scheduler_tell_time(s, started / 1000);
    const struct plan *plan = scheduler_plan(s);
    *ret_ns = engine_rig_now_ns() - started;
    if (before != NULL)
        take_results(s, before);
    return plan;
}

/* 26 layers; with `period` each period-th sees all, the others 128 positions. */
static struct kv_groups cut_layers(int32_t period)
{
    enum { LAYERS = 26, WINDOW = 128 };
    int32_t windows[LAYERS];
    struct kv_place places[LAYERS];
    struct kv_groups kv;
    for (int32_t l = 0; l < LAYERS; l++)
        windows[l] = period > 0 && (l + 1) % period != 0 ? WINDOW : 0;
    kv_groups_cut(windows, LAYERS, BLOCK, &kv, places);
    return kv;
}

static int bench_plan(int32_t num_seqs, enum wait_policy policy, int32_t period, const char *name)
{
    static struct scheduler s;
    static int64_t ns[STEPS];
    struct reserve reserve = { 0 };
    const struct kv_groups kv = cut_layers(period);
    const struct scheduler_limits limits = { .max_num_seqs = num_seqs,
                                             .max_num_batched_tokens = 8192,
                                             .max_logits = num_seqs + SEQUENCE_WINDOW,
                                             .max_model_len = MAX_LEN,
                                             .kv = kv,
                                             .num_blocks =
                                                 num_seqs * MAX_LEN / BLOCK * 2 * kv.num_parts,
                                             .max_num_queued_reqs = 4 * num_seqs,
                                             .max_num_queued_tokens = 10000000,
                                             .vocab_size = 200000,
                                             .enable_prefix_caching = true,
                                             .policy = policy };
    const struct plan *plan = NULL;
    if (scheduler_init(&s, &limits, &reserve) < 0)
        return -ENOMEM;
    for (int32_t i = 0; i < num_seqs; i++)
        admit(&s, i);
    for (int32_t i = 0; i < WARM || plan->num_rows < num_seqs; i++)
        plan = plan_step(&s, plan, &ns[0]);
    for (int32_t i = 0; i < STEPS; i++)
        plan = plan_step(&s, plan, &ns[i]);
    printf("%6d  %-8s  %8.1f %8.1f\n", num_seqs, name, quantile_us(ns, STEPS, 0.5),
           quantile_us(ns, STEPS, 0.99));
    reserve_finish(&reserve);
    return 0;
}

static int bench_plans(void)
{
    static const char *const names[] = { "fcfs", "priority", "fair" };
    printf("scheduler_plan(), us of CPU; goal: 256 within 50, 150 at p99\n");
    printf("  seqs  policy         p50      p99\n");
    for (int policy = WAIT_FCFS; policy <= WAIT_FAIR; policy++)
        for (size_t i = 0; i < NUM_SIZES; i++)
            if (bench_plan(sizes[i], (enum wait_policy)policy, 0, names[policy]) < 0)
                return -ENOMEM;
    for (size_t i = 0; i < NUM_SIZES; i++)
        if (bench_plan(sizes[i], WAIT_FAIR, 6, "windows") < 0)
            return -ENOMEM;
    return 0;
}

/* --- steps without the forward ------------------------------------------------------------ */

enum { ANSWER = 128, NUM_TIMED = 1500, SETTLE = 2 * ANSWER };

static void bench_steps(int32_t num_seqs, bool without_overlap)
{
    static int64_t ns[NUM_TIMED], gap_ns[NUM_TIMED];
    struct engine_rig rig;
    engine_rig_open(&rig, &(struct engine_rig_options){ .num_seqs = num_seqs,
                                                        .is_dry = true,
                                                        .without_overlap = without_overlap });
    for (int32_t i = 0; i < num_seqs; i++) /* so that they end one after another */
        engine_rig_submit(&rig, PROMPT, 1 + i % ANSWER);
    for (int32_t i = -SETTLE; i < NUM_TIMED; i++) {
        const int64_t started = engine_rig_now_ns();
        engine_step(rig.engine);
        if (i >= 0) {
            ns[i] = engine_rig_now_ns() - started;
            gap_ns[i] = engine_rig_gap_ns();
        }
        for (int32_t ended = engine_rig_take(&rig); ended > 0; ended--)
            engine_rig_submit(&rig, PROMPT, ANSWER);
    }
    const double p50 = quantile_us(ns, NUM_TIMED, 0.5);
    printf("%6d  %-8s %8.1f %8.1f  %8.2f  %8.1f %8.1f\n", num_seqs,
           without_overlap ? "in turn" : "ahead", p50, quantile_us(ns, NUM_TIMED, 0.99),
           p50 / num_seqs, quantile_us(gap_ns, NUM_TIMED, 0.5),
           quantile_us(gap_ns, NUM_TIMED, 0.99));
    engine_rig_close(&rig);
}

/* --- Ringlet ------------------------------------------------------------------------------ */

enum { ROUNDS = 7, LENGTH = 200, TAKE_EVERY = 16 };

static double tokens_per_second(int32_t num_seqs, bool without_overlap)
{
    struct engine_rig rig;
    int32_t left = num_seqs;
    engine_rig_open(&rig, &(struct engine_rig_options){ .num_seqs = num_seqs,
                                                        .without_overlap = without_overlap });
    for (int32_t i = 0; i < num_seqs; i++)
        engine_rig_submit(&rig, 16, LENGTH);
    engine_step(rig.engine);
    const int64_t started = clock_now_us();
    for (int32_t i = 0; left > 0; i++) {
        engine_step(rig.engine);
        if (i % TAKE_EVERY == 0)
            left -= engine_rig_take(&rig);
    }
    const int64_t us = clock_now_us() - started;
    engine_rig_close(&rig);
    return (double)num_seqs * LENGTH * 1e6 / (double)us;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void bench_ringlet(int32_t num_seqs)
{
    double in_turn[ROUNDS], ahead[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        in_turn[i] = tokens_per_second(num_seqs, true);
        ahead[i] = tokens_per_second(num_seqs, false);
    }
    qsort(in_turn, ROUNDS, sizeof(*in_turn), compare_doubles);
    qsort(ahead, ROUNDS, sizeof(*ahead), compare_doubles);
    const double a = in_turn[ROUNDS / 2], b = ahead[ROUNDS / 2];
    printf("%6d  %10.0f  %10.0f  %8.3f\n", num_seqs, a, b, b / a);
}

int main(void)
{
    static const int32_t streams[] = { 1, 8, 64 };
    if (bench_plans() < 0)
        return EXIT_FAILURE;
    printf("\nengine_step() without the forward, us of CPU\n");
    printf("  seqs  planned       p50      p99   per seq  idle p50      p99\n");
    for (size_t i = 0; i < 2 * NUM_SIZES; i++)
        bench_steps(sizes[i / 2], i % 2 == 0);
    printf("\nRinglet, tokens/s, median of %d rounds\n", ROUNDS);
    printf("  seqs     in turn       ahead     ratio\n");
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++)
        bench_ringlet(streams[i]);
    return EXIT_SUCCESS;
}
