#include "supervisor/progress.h"

#include <unistd.h>

enum { SHOW_AFTER_US = 300 * 1000, BAR_WIDTH = 24 };

void progress_begin(struct progress *progress, FILE *out, int64_t now_us)
{
    *progress =
        (struct progress){ .out = isatty(fileno(out)) != 0 ? out : NULL, .begin_us = now_us };
}

bool progress_wants(const struct progress *progress)
{
    return progress->out != NULL;
}

void progress_format(uint64_t done, uint64_t total, int64_t us, char *out, size_t size)
{
    static const char full[] = "########################", rest[] = "------------------------";
    const double share = total == 0 ? 0 : done < total ? (double)done / (double)total : 1;
    const int marks = (int)(share * BAR_WIDTH);
    snprintf(out, size, "loading weights [%.*s%.*s] %3.0f %% of %.2f GB, %.1f GB/s", marks, full,
             BAR_WIDTH - marks, rest, 100 * share, (double)total / 1e9,
             us > 0 ? (double)done / (double)us / 1e3 : 0.0);
}

void progress_show(struct progress *progress, uint64_t done, uint64_t total, int64_t now_us)
{
    char line[160];
    if (progress->out == NULL || total == 0 || now_us - progress->begin_us < SHOW_AFTER_US ||
        now_us - progress->shown_us < PROGRESS_STEP_US)
        return;
    progress->shown_us = now_us;
    progress->is_shown = true;
    progress_format(done, total, now_us - progress->begin_us, line, sizeof(line));
    fprintf(progress->out, "\r%s", line);
    fflush(progress->out);
}

void progress_end(struct progress *progress)
{
    if (progress->is_shown) {
        fprintf(progress->out, "\r\033[K");
        fflush(progress->out);
    }
    progress->out = NULL;
    progress->is_shown = false;
}
