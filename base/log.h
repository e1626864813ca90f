/*
 * log.h - one line per event on standard error
 *
 * Writes never block and never fail the caller: a line that cannot be written at once is
 * dropped and counted. Lines are at most 1 KiB; control characters are escaped. Prompts,
 * answers and keys never go in. Any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* `area` is the process title's tail, as "frontend 0"; kept by pointer. */
void log_init(enum log_level level, bool json, const char *area);

/* One event. `format` makes the sentence, with key=value pairs behind it. */
__attribute__((format(printf, 2, 3))) void log_event(enum log_level level, const char *format, ...);

bool log_enabled(enum log_level level);

/* Lines dropped since start. */
uint64_t log_num_dropped(void);

#endif
