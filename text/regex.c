#include "text/regex.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "text/regex_syntax.h"

/* \s*[\r\n]+ at a run of blanks takes a step back for each of them, so a match may need as many
 * steps as the text has bytes, and a little; the limits stop a hostile pattern. */
enum { MATCH_LIMIT = 1000000, STEPS_PER_BYTE = 4, DEPTH_LIMIT = 10000, HEAP_LIMIT_KIB = 64 * 1024 };
enum { JIT_STACK_START = 32 * 1024, JIT_STACK_MAX = 512 * 1024, PATTERN_MAX = 64 * 1024 };

struct regex_work {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static int refuse(int code, size_t at, struct error *err)
{
    PCRE2_UCHAR reason[128];
    pcre2_get_error_message(code, reason, sizeof(reason));
    return error_set(err, -EINVAL, "tokenizer.json: split pattern, byte %zu: %s", at,
                     (const char *)reason);
}

/* As in Oniguruma, ^ and $ match at lines and only LF ends one. */
static pcre2_code *compile(const struct strbuf *pattern, int *code, size_t *at)
{
    const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    *code = PCRE2_ERROR_NOMEMORY;
    if (context == NULL)
        return NULL;
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern->data, pattern->len, options, code, at, context);
    pcre2_compile_context_free(context);
    return compiled;
}

int regex_create(const char *pattern, size_t len, struct regex **ret_regex, struct error *err)
{
    int code;
    PCRE2_SIZE at = 0;
    struct strbuf translated = { 0 };
    if (len == 0 || len > PATTERN_MAX)
        return error_set(err, -EINVAL, "tokenizer.json: split pattern of %zu bytes, wanted 1 to %d",
                         len, PATTERN_MAX);
    int r = regex_syntax_translate(pattern, len, &translated, err);
    pcre2_code *compiled = r == 0 ? compile(&translated, &code, &at) : NULL;
    strbuf_finish(&translated);
    if (r == 0 && compiled == NULL)
        r = code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED ? -ENOMEM
                                                                            : refuse(code, at, err);
    if (r < 0)
        return r;
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* where there is no JIT it interprets */
    *ret_regex = (struct regex *)compiled;
    return 0;
}

void regex_destroy(struct regex *regex)
{
    pcre2_code_free((pcre2_code *)regex);
}

int regex_work_create(struct regex_work **ret_work)
{
    struct regex_work *work = calloc(1, sizeof(*work));
    if (work == NULL)
        return -ENOMEM;
    work->data = pcre2_match_data_create(1, NULL);
    work->context = pcre2_match_context_create(NULL);
    work->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, NULL);
    if (work->data == NULL || work->context == NULL) {
        regex_work_destroy(work);
        return -ENOMEM;
    }
    pcre2_set_depth_limit(work->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(work->context, HEAP_LIMIT_KIB);
    if (work->stack != NULL)
        pcre2_jit_stack_assign(work->context, NULL, work->stack);
    *ret_work = work;
    return 0;
}

void regex_work_destroy(struct regex_work *work)
{
    if (work == NULL)
        return;
    pcre2_jit_stack_free(work->stack);
    pcre2_match_context_free(work->context);
    pcre2_match_data_free(work->data);
    free(work);
}

int regex_find(const struct regex *regex, struct regex_work *work, const char *text, size_t len,
               size_t from, size_t *ret_start, size_t *ret_end)
{
    const size_t steps = MATCH_LIMIT + STEPS_PER_BYTE * (len - from);
    pcre2_set_match_limit(work->context, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    const int r = pcre2_match((const pcre2_code *)regex, (PCRE2_SPTR)text, len, from,
                              PCRE2_NO_UTF_CHECK, work->data, work->context);
    if (r == PCRE2_ERROR_NOMATCH)
        return 0;
    if (r < 0)
        return r == PCRE2_ERROR_NOMEMORY ? -ENOMEM : -ERANGE;
    const PCRE2_SIZE *pair = pcre2_get_ovector_pointer(work->data);
    if (pair[0] < from || pair[1] < pair[0] || pair[1] > len)
        return -ERANGE; /* \K in a look-around can turn a match inside out */
    *ret_start = pair[0];
    *ret_end = pair[1];
    return 1;
}
