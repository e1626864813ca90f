#include "base/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strbuf.h"

enum { LINE_BYTES = 1024 };

static enum log_level limit = LOG_LEVEL_INFO;
static bool as_json;
static const char *area_name = "";
static atomic_ulong num_dropped;

void log_init(enum log_level level, bool json, const char *area)
{
    limit = level;
    as_json = json;
    area_name = area;
}

bool log_enabled(enum log_level level)
{
    return level <= limit;
}

uint64_t log_num_dropped(void)
{
    return atomic_load_explicit(&num_dropped, memory_order_relaxed);
}

static void stamp(char *out, size_t size)
{
    const int64_t now = clock_wall_us();
    const time_t seconds = (time_t)(now / 1000000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    const size_t n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + n, size - n, ".%03dZ", (int)(now / 1000 % 1000));
}

static void escape(char *text)
{
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
}

/* A pipe nobody reads must not stop the server, and O_NONBLOCK would change the terminal for
 * everybody who shares it: so ask first. */
static bool writable(void)
{
    struct pollfd fd = { .fd = STDERR_FILENO, .events = POLLOUT };
    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLOUT) != 0;
}

void log_event(enum log_level level, const char *format, ...)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    char sentence[LINE_BYTES - 160], line[2 * LINE_BYTES], when[40];
    va_list args;
    int len;

    if (!log_enabled(level))
        return;
    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    escape(sentence);
    stamp(when, sizeof(when));
    if (as_json) {
        struct strbuf quoted = { 0 };
        strbuf_append_json_string(&quoted, sentence, strlen(sentence));
        len = snprintf(line, sizeof(line),
                       "{\"time\":\"%s\",\"level\":\"%s\",\"area\":\"%s\",\"message\":%s}\n", when,
                       names[level], area_name, quoted.data ? quoted.data : "\"\"");
        strbuf_finish(&quoted);
    } else {
        len = snprintf(line, sizeof(line), "%s %-5s %s: %s\n", when, names[level], area_name,
                       sentence);
    }
    if (len >= (int)sizeof(line))
        len = (int)sizeof(line) - 1;
    if (!writable() || write(STDERR_FILENO, line, (size_t)len) < 0)
        atomic_fetch_add_explicit(&num_dropped, 1, memory_order_relaxed);
}
