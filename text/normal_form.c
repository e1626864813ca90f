#include "text/normal_form.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "text/unicode.h"

enum { DECOMPOSED_MAX = 18, SMALL_RUN = 32, NUM_CLASSES = 256 };

static const struct {
    int options;
    bool composes;
} forms[] = {
    [NORMAL_FORM_NFC] = { UTF8PROC_DECOMPOSE, true },
    [NORMAL_FORM_NFD] = { UTF8PROC_DECOMPOSE, false },
    [NORMAL_FORM_NFKC] = { UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, true },
    [NORMAL_FORM_NFKD] = { UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, false },
};

void normal_form_work_finish(struct normal_form_work *work)
{
    free(work->codepoints);
    free(work->sorted);
    *work = (struct normal_form_work){ 0 };
}

/* First byte of the last character before the first that may change, as that one may compose
 * with it; len when there is none. */
static size_t find_unsure(const char *text, size_t len, size_t at)
{
    size_t n, before = at;
    for (; at < len; before = at, at += n)
        if ((unicode_class_at(text + at, text + len, &n) & UNICODE_NFC_MAYBE) != 0)
            return before;
    return len;
}

/* End of the segment that begins at `at`: the next character that can change nothing before. */
static size_t segment_end(const char *text, size_t len, size_t at)
{
    size_t n;
    unicode_class_at(text + at, text + len, &n);
    for (at += n; at < len; at += n)
        if ((unicode_class_at(text + at, text + len, &n) & UNICODE_NFC_MAYBE) == 0)
            break;
    return at;
}

static int combining_class(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

static void insertion_sort(int32_t *run, size_t num)
{
    for (size_t i = 1; i < num; i++) {
        const int32_t c = run[i];
        size_t at = i;
        for (; at > 0 && combining_class(run[at - 1]) > combining_class(c); at--)
            run[at] = run[at - 1];
        run[at] = c;
    }
}

static void counting_sort(int32_t *run, size_t num, int32_t *sorted)
{
    size_t starts[NUM_CLASSES + 1] = { 0 };
    for (size_t i = 0; i < num; i++)
        starts[combining_class(run[i]) + 1]++;
    for (size_t i = 1; i < NUM_CLASSES; i++)
        starts[i] += starts[i - 1];
    for (size_t i = 0; i < num; i++)
        sorted[starts[combining_class(run[i])]++] = run[i];
    memcpy(run, sorted, num * sizeof(*run));
}

/* Canonical order: each run of characters with a combining class, stably by class. utf8proc
 * sorts by exchanging neighbours, which a text of a million marks turns into hours. */
static void order(struct normal_form_work *work, size_t num)
{
    for (size_t i = 0, end; i < num; i = end + (end == i)) {
        for (end = i; end < num && combining_class(work->codepoints[end]) != 0;)
            end++;
        if (end - i > SMALL_RUN)
            counting_sort(work->codepoints + i, end - i, work->sorted);
        else
            insertion_sort(work->codepoints + i, end - i);
    }
}

static bool grow(int32_t **list, size_t cap)
{
    void *bigger = reallocarray(*list, cap, sizeof(**list));
    if (bigger == NULL)
        return false;
    *list = bigger;
    return true;
}

/* Room for `num`; what is there stays. */
static int reserve(struct normal_form_work *work, size_t num)
{
    if (num <= work->cap)
        return 0;
    const size_t cap = num < 256 ? 256 : num + num / 2;
    if (!grow(&work->codepoints, cap) || !grow(&work->sorted, cap))
        return -ENOMEM;
    work->cap = cap;
    return 0;
}

/* Decompose valid UTF-8 into `work`; *ret_num becomes the number of code points. */
static int decompose(struct normal_form_work *work, const char *text, size_t len, int options,
                     size_t *ret_num)
{
    const char *end = text + len;
    size_t num = 0;
    while (text < end) {
        size_t n;
        int boundary = 0;
        const int32_t c = (int32_t)unicode_decode(text, end, &n);
        if (reserve(work, num + DECOMPOSED_MAX) < 0)
            return -ENOMEM;
        const utf8proc_ssize_t parts = utf8proc_decompose_char(
            c, work->codepoints + num, DECOMPOSED_MAX, (utf8proc_option_t)options, &boundary);
        if (parts < 1)
            work->codepoints[num] = c;
        num += parts < 1 ? 1 : (size_t)parts;
        text += n;
    }
    *ret_num = num;
    return 0;
}

static int append_form(enum normal_form form, struct normal_form_work *work, const char *text,
                       size_t len, struct strbuf *out)
{
    char bytes[4];
    size_t num = 0;
    const int r = decompose(work, text, len, forms[form].options, &num);
    if (r < 0)
        return r;
    order(work, num);
    if (forms[form].composes) {
        const utf8proc_ssize_t composed = utf8proc_normalize_utf32(
            work->codepoints, (utf8proc_ssize_t)num, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        num = composed < 0 ? num : (size_t)composed;
    }
    for (size_t i = 0; i < num; i++)
        strbuf_append(out, bytes, (size_t)utf8_encode((uint32_t)work->codepoints[i], bytes));
    return out->failed ? -ENOMEM : 0;
}

static int run_nfc(struct normal_form_work *work, struct strbuf *out, const char **text,
                   size_t *len)
{
    size_t done = 0, at = find_unsure(*text, *len, 0);
    int r = 0;
    if (at == *len)
        return 0;
    strbuf_reset(out);
    while (r == 0 && at < *len) {
        strbuf_append(out, *text + done, at - done);
        done = segment_end(*text, *len, at);
        r = append_form(NORMAL_FORM_NFC, work, *text + at, done - at, out);
        at = find_unsure(*text, *len, done);
    }
    strbuf_append(out, *text + done, *len - done);
    *text = out->data;
    *len = out->len;
    return r < 0 || out->failed ? -ENOMEM : 0;
}

/* The other forms are rare and take the whole text at once; ASCII is in every form. */
static int run_other(enum normal_form form, struct normal_form_work *work, struct strbuf *out,
                     const char **text, size_t *len)
{
    size_t at = 0;
    while (at < *len && (uint8_t)(*text)[at] < 0x80)
        at++;
    if (at == *len)
        return 0;
    strbuf_reset(out);
    const int r = append_form(form, work, *text, *len, out);
    *text = out->data;
    *len = out->len;
    return r;
}

int normal_form_run(enum normal_form form, struct normal_form_work *work, struct strbuf *out,
                    const char **text, size_t *len)
{
    if (form == NORMAL_FORM_NFC)
        return run_nfc(work, out, text, len);
    return run_other(form, work, out, text, len);
}
