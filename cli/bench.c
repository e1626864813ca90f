#include "cli/bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/seat.h"
#include "proto/records/stats.h"

enum { MAX_CASES = OPTION_LIST_MAX, MAX_REPEATS = 100, MAX_SEQUENCES = 4096 };

/* One kind of load: prompts that are computed, or sequences that go on together. */
struct bench_case {
    bool is_decode;
    int32_t prompt_len, output_len, num_sequences;
};

struct bench_trial {
    double tokens_per_s;
    double cpu_share; /* CPU time of all workers over wall time */
};

/* Output tokens that were known at a moment. */
struct bench_mark {
    uint64_t num_tokens;
    int64_t now_us;
    int64_t cpu_us;
};

struct bench {
    struct seat seat;
    struct session_limits limits;
    uint64_t random;
    uint64_t base_tokens;
    int32_t num_open; /* requests without an end */
    struct bench_case cases[2 * MAX_CASES];
    int32_t num_cases;
};

/* --- marks ----------------------------------------------------------------------------------- */

/* User and system time of one process; 0 when it is gone. */
static int64_t cpu_of_us(long pid)
{
    char path[64], line[1024];
    unsigned long long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    const bool has_line = file != NULL && fgets(line, sizeof(line), file) != NULL;
    const char *behind_name = has_line ? strrchr(line, ')') : NULL;
    if (behind_name != NULL)
        (void)sscanf(behind_name, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
                     &system);
    if (file != NULL)
        fclose(file);
    return (int64_t)((user + system) * 1000000 / (unsigned long long)sysconf(_SC_CLK_TCK));
}

/* Of all children of the supervisor: this one sleeps. */
static int64_t cpu_us(void)
{
    char path[64];
    long pid;
    int64_t sum = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)getppid(), (int)getppid());
    FILE *file = fopen(path, "re");
    while (file != NULL && fscanf(file, "%ld", &pid) == 1)
        sum += cpu_of_us(pid);
    if (file != NULL)
        fclose(file);
    return sum;
}

static uint64_t num_tokens(const struct bench *bench)
{
    return status_get(bench->seat.child.page, stat_word(STAT_GENERATION_TOKENS)) -
           bench->base_tokens;
}

static struct bench_mark mark(const struct bench *bench)
{
    return (struct bench_mark){ .num_tokens = num_tokens(bench),
                                .now_us = clock_now_us(),
                                .cpu_us = cpu_us() };
}

static struct bench_trial rate(const struct bench_mark *from, const struct bench_mark *to,
                               double tokens)
{
    const double seconds = (double)(to->now_us - from->now_us) / 1e6;
    return (struct bench_trial){ .tokens_per_s = tokens / seconds,
                                 .cpu_share = (double)(to->cpu_us - from->cpu_us) / 1e6 / seconds };
}

/* --- requests -------------------------------------------------------------------------------- */

static void on_event(void *owner, const struct answer_event *event)
{
    struct bench *bench = owner;
    if (event->kind == ANSWER_END)
        bench->num_open--;
    if (event->kind == ANSWER_FAILED)
        seat_fail(&bench->seat, EXIT_CODE_DEVICE, record_failure_name(event->failure));
}

/* Numbers without structure that are the same in each run. */
static int32_t random_token(struct bench *bench)
{
    bench->random ^= bench->random << 13;
    bench->random ^= bench->random >> 7;
    bench->random ^= bench->random << 17;
    return (int32_t)(bench->random % (uint64_t)bench->limits.vocab_size);
}

static int submit(struct bench *bench, const struct bench_case *load, struct error *err)
{
    int32_t *ids = malloc((size_t)load->prompt_len * sizeof(*ids));
    if (ids == NULL)
        return error_set(err, -ENOMEM, "no memory for a prompt of %d tokens", load->prompt_len);
    for (int32_t i = 0; i < load->prompt_len; i++)
        ids[i] = random_token(bench);
    const struct record_params params = {
        .max_tokens = (uint32_t)load->output_len,
        .num_choices = 1,
        .flags = RECORD_IGNORE_EOS,
        .top_p = 1,
        .typical_p = 1,
        .repetition_penalty = 1,
        .num_logprobs = -1,
        .num_prompt_logprobs = -1,
    };
    const struct session_prompt prompt = { ids, (uint32_t)load->prompt_len };
    const struct session_submit what = { .prompts = &prompt,
                                         .num_prompts = 1,
                                         .params = &params,
                                         .callback = on_event,
                                         .owner = bench,
                                         .request_id = "bench" };
    struct session_request *request;
    const int r = session_submit(bench->seat.session, &what, &request, err);
    free(ids);
    bench->num_open += r == 0;
    return r;
}

/* Returns false when everything ends. */
static bool wait_for_tokens(struct bench *bench, uint64_t num)
{
    while (num_tokens(bench) < num)
        if (!seat_wait(&bench->seat) || bench->seat.exit_code != 0)
            return false;
    return true;
}

static bool wait_for_ends(struct bench *bench)
{
    while (bench->num_open > 0)
        if (!seat_wait(&bench->seat) || bench->seat.exit_code != 0)
            return false;
    return true;
}

/*
 * A prompt: from its submission to its first token. Sequences together: from a quarter of their
 * tokens, when all prompts are computed, to seven eighths, before the first of them ends; where
 * both are seen at once, because so few tokens took no time, from the submission too.
 */
static bool run_trial(struct bench *bench, const struct bench_case *load, struct bench_trial *trial)
{
    struct error err;
    const uint64_t total = (uint64_t)load->num_sequences * (uint64_t)load->output_len;
    bench->base_tokens += num_tokens(bench);
    const struct bench_mark submitted = mark(bench);
    struct bench_mark from = submitted;
    for (int32_t i = 0; i < load->num_sequences; i++)
        if (submit(bench, load, &err) < 0) {
            seat_fail(&bench->seat, EXIT_CODE_USAGE, err.message);
            return false;
        }
    if (load->is_decode && !wait_for_tokens(bench, total / 4))
        return false;
    if (load->is_decode)
        from = mark(bench);
    if (!wait_for_tokens(bench, load->is_decode ? total - total / 8 : total))
        return false;
    const struct bench_mark to = mark(bench);
    if (load->is_decode && from.num_tokens == to.num_tokens)
        from = submitted;
    *trial = rate(&from, &to,
                  load->is_decode ? (double)(to.num_tokens - from.num_tokens)
                                  : (double)load->prompt_len);
    return wait_for_ends(bench);
}

/* --- what is printed ------------------------------------------------------------------------- */

static int compare_rates(const void *a, const void *b)
{
    const double left = ((const struct bench_trial *)a)->tokens_per_s;
    const double right = ((const struct bench_trial *)b)->tokens_per_s;
    return (left > right) - (left < right);
}

static void print_json(const struct bench_case *load, const struct bench_trial *trials, int32_t num)
{
    printf("{\"kind\":\"%s\",\"prompt_len\":%d,\"output_len\":%d,\"sequences\":%d,"
           "\"tokens_per_s\":[",
           load->is_decode ? "decode" : "prefill", load->prompt_len, load->output_len,
           load->num_sequences);
    for (int32_t i = 0; i < num; i++)
        printf("%s%.3f", i > 0 ? "," : "", trials[i].tokens_per_s);
    printf("],\"cpu\":[");
    for (int32_t i = 0; i < num; i++)
        printf("%s%.3f", i > 0 ? "," : "", trials[i].cpu_share);
    printf("]}\n");
}

static void print_row(const struct bench_case *load, struct bench_trial *trials, int32_t num)
{
    qsort(trials, (size_t)num, sizeof(*trials), compare_rates);
    printf("%-8s %7d %10d %12.1f %10.1f %10.1f %6.2f\n", load->is_decode ? "decode" : "prefill",
           load->prompt_len, load->num_sequences, trials[num / 2].tokens_per_s,
           trials[num - 1].tokens_per_s, trials[0].tokens_per_s, trials[num / 2].cpu_share);
}

/* --- the cases ------------------------------------------------------------------------------- */

static int read_numbers(const struct option_list *list, const char *option, int64_t max,
                        int32_t *ret_numbers, struct error *err)
{
    int32_t num = 0;
    for (int32_t i = 0; i < list->num; i++) {
        char text[32];
        int64_t value;
        snprintf(text, sizeof(text), "%.*s",
                 list->items[i].len < sizeof(text) ? (int)list->items[i].len : 0,
                 list->items[i].text);
        if (option_parse_int(text, &value) < 0 || value < 0 || value > max)
            return error_set(err, -EINVAL, "%s: %.*s, wanted numbers from 0 to %lld", option,
                             (int)(list->items[i].len < 64 ? list->items[i].len : 64),
                             list->items[i].text, (long long)max);
        if (value > 0)
            ret_numbers[num++] = (int32_t)value;
    }
    return num;
}

static int add_cases(struct bench *bench, struct error *err)
{
    const struct settings *settings = &bench->seat.settings;
    int32_t numbers[OPTION_LIST_MAX];
    int num = read_numbers(&settings->input_len, "--input-len", bench->limits.max_model_len - 1,
                           numbers, err);
    for (int32_t i = 0; i < num; i++)
        bench->cases[bench->num_cases++] =
            (struct bench_case){ .prompt_len = numbers[i], .output_len = 1, .num_sequences = 1 };
    if (num < 0)
        return num;
    const int64_t together = settings->context_len + settings->output_len;
    num = read_numbers(&settings->batch_size, "--batch-size", settings->max_num_seqs, numbers, err);
    if (num > 0 && together > bench->limits.max_model_len)
        return error_set(err, -EINVAL,
                         "--context-len and --output-len are %lld tokens, the model's maximum "
                         "context length is %d",
                         (long long)together, bench->limits.max_model_len);
    for (int32_t i = 0; i < num; i++)
        bench->cases[bench->num_cases++] =
            (struct bench_case){ .is_decode = true,
                                 .prompt_len = (int32_t)settings->context_len,
                                 .output_len = (int32_t)settings->output_len,
                                 .num_sequences = numbers[i] };
    return num < 0 ? num : 0;
}

static bool run_case(struct bench *bench, const struct bench_case *load)
{
    const struct settings *settings = &bench->seat.settings;
    struct bench_trial trials[MAX_REPEATS];
    const int32_t num = (int32_t)settings->repeat;
    for (int32_t i = 0; i < num; i++)
        if (!run_trial(bench, load, &trials[i]))
            return false;
    if (settings->json)
        print_json(load, trials, num);
    else
        print_row(load, trials, num);
    fflush(stdout);
    return true;
}

static bool run(struct bench *bench)
{
    static const struct bench_case warm_up = {
        .is_decode = true, .prompt_len = 8, .output_len = 8, .num_sequences = 2
    };
    struct bench_trial ignored;
    struct error err;
    if (!session_get_limits(bench->seat.session, &bench->limits) || add_cases(bench, &err) < 0) {
        seat_fail(&bench->seat, EXIT_CODE_USAGE, err.message);
        return false;
    }
    if (!run_trial(bench, &warm_up, &ignored))
        return false;
    if (!bench->seat.settings.json)
        printf("%-8s %7s %10s %12s %10s %10s %6s\n", "", "prompt", "sequences", "tokens/s", "best",
               "worst", "CPUs");
    for (int32_t i = 0; i < bench->num_cases; i++)
        if (!run_case(bench, &bench->cases[i]))
            return false;
    return true;
}

int bench_main(int control_fd, const struct control_message *hello, const int *fds, size_t num_fds)
{
    static struct bench bench;
    bench = (struct bench){ .random = 0x9e3779b97f4a7c15ULL };
    int r = seat_open(&bench.seat, control_fd, hello, fds, num_fds, SETTINGS_BENCH);
    if (r == 0 && run(&bench))
        seat_finish(&bench.seat);
    r = r != 0 ? r : bench.seat.exit_code;
    seat_close(&bench.seat);
    return r;
}
