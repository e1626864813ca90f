#include "cli/quantize.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/option.h"
#include "convert/convert.h"
#include "convert/fp8.h"
#include "formats/block_choice.h"
#include "proto/records/control.h"

struct quantize {
    const char *from, *to, *type;
    int64_t threads;
    bool force, quiet;
};

#define ROW(field) OPTION_FIELD(struct quantize, field)
static const struct option_row rows[] = {
    { ROW(type), .commands = 1, .initial = "q8_0", .brief = true,
      .choices = "f32|f16|bf16|q8_0|q4_0|q4_1|q5_0|q5_1|q2_k|q3_k|q3_k_s|q3_k_m|q3_k_l|"
                 "q4_k|q4_k_s|q4_k_m|q5_k|q5_k_s|q5_k_m|q6_k|fp8",
      .help = "Type of the matrices; vectors stay f32, the output of small types is q6_k. "
              "q2_k, _s, _m and _l are llama.cpp's mixtures." },
    { ROW(threads), .commands = 1, .initial = "0", .min = 0, .max = 64, .value = "N", .brief = true,
      .help = "Threads; 0: one for each core." },
    { ROW(force), .commands = 1, .initial = "false", .brief = true,
      .help = "Write over what lies at OUT." },
    { ROW(quiet), .commands = 1, .initial = "false", .brief = true,
      .help = "Say nothing but errors." },
};

static int take_path(void *target, const char *text, struct error *err)
{
    struct quantize *q = target;
    if (q->to != NULL)
        return error_set(err, -EINVAL, "a third path, \"%.64s\"; IN and OUT are wanted", text);
    *(q->from == NULL ? &q->from : &q->to) = text;
    return 0;
}

static int print_help(const struct option_set *set)
{
    printf("tokenring quantize IN OUT --type TYPE [options]\n"
           "Write a model (a directory of safetensors, or a .gguf file) as a .gguf file of another "
           "type;\nas fp8 a directory of safetensors.\n\n");
    option_print_help(set, true, stdout);
    return EXIT_CODE_OK;
}

/* --- progress ------------------------------------------------------------------------------ */

struct display {
    bool is_terminal, quiet;
    int64_t begin_us;
    int shown; /* tens of per cent, where no line can be written over */
};

static void show_progress(void *context, const struct convert_progress *progress)
{
    struct display *d = context;
    const double part =
        progress->total > 0 ? (double)progress->done / (double)progress->total : 1.0;
    if (d->quiet || !d->is_terminal)
        return;
    fprintf(stderr, "\r  %3.0f %%  %.2f of %.2f GB ", 100.0 * part, (double)progress->done * 1e-9,
            (double)progress->total * 1e-9);
    d->shown = 1;
}

static void show_note(void *context, const char *text)
{
    const struct display *d = context;
    if (!d->quiet)
        fprintf(stderr, "  %s\n", text);
}

static int exit_code_of(int result)
{
    return result == -ENOMEM ? EXIT_CODE_MEMORY : EXIT_CODE_MODEL;
}

static void print_result(const struct quantize *q, const struct convert_result *result,
                         const struct display *display)
{
    const double seconds = (double)(clock_now_us() - display->begin_us) * 1e-6;
    printf("%s: %d tensors, %.1f MB instead of %.1f, %.2f bits a weight, %.1f s\n", q->to,
           result->num_tensors, (double)result->to_bytes * 1e-6, (double)result->from_bytes * 1e-6,
           8.0 * (double)result->to_bytes / result->elements, seconds);
}

static int run(const struct quantize *q)
{
    struct display display = { .is_terminal = isatty(STDERR_FILENO) != 0,
                               .quiet = q->quiet,
                               .begin_us = clock_now_us() };
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const int64_t threads = q->threads > 0 ? q->threads : cores > 0 ? cores : 1;
    const struct convert_options options = {
        .from = q->from,
        .to = q->to,
        .choice = block_choice_named(q->type),
        .num_threads = (int32_t)(threads < 64 ? threads : 64),
        .overwrite = q->force,
        .progress = show_progress,
        .note = show_note,
        .context = &display,
    };
    struct convert_result result = { 0 };
    struct error err = { 0 };
    const bool is_fp8 = strcmp(q->type, "fp8") == 0;
    const int r = (is_fp8 ? convert_fp8_run : convert_run)(&options, &result, &err);
    if (display.shown)
        fprintf(stderr, "\r%40s\r", "");
    if (r < 0) {
        fprintf(stderr, "tokenring: %s\n", err.message);
        return exit_code_of(r);
    }
    if (!q->quiet)
        print_result(q, &result, &display);
    return EXIT_CODE_OK;
}

int quantize_main(int argc, char **argv)
{
    struct quantize q = { 0 };
    struct option_set set = {
        .rows = rows, .num_rows = sizeof(rows) / sizeof(rows[0]), .command = 1, .target = &q
    };
    struct error err = { 0 };
    option_defaults(&set);
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return print_help(&set);
    int r = option_read_args(&set, argc, argv, take_path, &err);
    if (r == 0 && q.to == NULL)
        r = error_set(&err, -EINVAL, "quantize wants two paths, IN and OUT");
    if (r < 0) {
        fprintf(stderr, "tokenring: %s\n", err.message);
        return EXIT_CODE_USAGE;
    }
    return run(&q);
}
