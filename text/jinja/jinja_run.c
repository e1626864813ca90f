#include "text/jinja/jinja_run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void jinja_run_fail(struct jinja_run *run, int code, const char *format, ...)
{
    char text[ERROR_MESSAGE_BYTES];
    va_list args;

    if (run->status != 0)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    run->status = error_set(run->err, code, "chat template, line %u: %s", run->line, text);
}

void jinja_run_raise(struct jinja_run *run, const char *text, size_t len)
{
    const int shown = len < ERROR_MESSAGE_BYTES ? (int)len : ERROR_MESSAGE_BYTES;
    if (run->status == 0)
        run->status = error_set_param(run->err, -EINVAL, "raise", "%.*s", shown, text);
}

bool jinja_run_charge(struct jinja_run *run, size_t bytes)
{
    if (run->status != 0)
        return false;
    run->steps_left -= 1 + (int64_t)(bytes / JINJA_BYTES_PER_STEP);
    if (run->steps_left < 0)
        jinja_run_fail(run, -E2BIG, "more than %d steps", JINJA_MAX_STEPS);
    return run->status == 0;
}

bool jinja_run_enter(struct jinja_run *run)
{
    if (!jinja_run_charge(run, 0))
        return false;
    if (run->nesting >= JINJA_MAX_NESTING) {
        jinja_run_fail(run, -E2BIG, "nested deeper than %d levels", JINJA_MAX_NESTING);
        return false;
    }
    run->nesting++;
    return true;
}

void jinja_run_leave(struct jinja_run *run)
{
    run->nesting--;
}

void *jinja_run_alloc(struct jinja_run *run, size_t num, size_t size)
{
    size_t bytes;
    if (run->status != 0)
        return NULL;
    if (__builtin_mul_overflow(num, size, &bytes) ||
        bytes > run->arena.limit_bytes - run->arena.used_bytes) {
        jinja_run_fail(run, -E2BIG, "values take more than %d bytes", JINJA_MAX_MEMORY);
        return NULL;
    }
    if (!jinja_run_charge(run, bytes / 16)) /* clearing memory is fast */
        return NULL;
    void *memory = arena_alloc(&run->arena, bytes);
    if (memory == NULL && run->arena.limit_bytes - run->arena.used_bytes < bytes + 16)
        jinja_run_fail(run, -E2BIG, "values take more than %d bytes", JINJA_MAX_MEMORY);
    else if (memory == NULL)
        jinja_run_fail(run, -ENOMEM, "no memory for %zu bytes", bytes);
    return memory;
}

void *jinja_run_grow(struct jinja_run *run, void *old, size_t num, size_t *cap, size_t size)
{
    if (num < *cap)
        return old;
    const size_t wider = *cap < 4 ? 4 : *cap * 2;
    void *memory = jinja_run_alloc(run, wider, size);
    if (memory == NULL)
        return NULL;
    if (num > 0)
        memcpy(memory, old, num * size);
    *cap = wider;
    return memory;
}
