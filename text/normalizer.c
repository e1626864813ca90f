#include "text/normalizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "text/component.h"
#include "text/unicode.h"

enum { DECOMPOSED_MAX = 18, SMALL_RUN = 32, NUM_CLASSES = 256 };

static int add_stage(const struct component *c, void *target, enum normalizer_type type)
{
    struct normalizer *normalizer = target;
    if (normalizer->num_stages == NORMALIZER_STAGES_MAX)
        return error_set(c->err, -EINVAL, "tokenizer.json: %s: more than %d stages", c->where,
                         NORMALIZER_STAGES_MAX);
    normalizer->stages[normalizer->num_stages++].type = type;
    return 0;
}

static int read_nfc(const struct component *c, void *target)
{
    return add_stage(c, target, NORMALIZER_NFC);
}

static const struct component_row rows[] = {
    { "NFC", read_nfc },
};

int normalizer_read(struct normalizer *normalizer, const json_t *root, struct error *err)
{
    return component_read(root, "normalizer", "normalizers", rows, sizeof(rows) / sizeof(rows[0]),
                          normalizer, err);
}

void normalizer_work_finish(struct normalizer_work *work)
{
    strbuf_finish(&work->out[0]);
    strbuf_finish(&work->out[1]);
    free(work->codepoints);
    free(work->sorted);
    *work = (struct normalizer_work){ 0 };
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
static void order(struct normalizer_work *work, size_t num)
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

static int reserve(struct normalizer_work *work, size_t num)
{
    if (num <= work->cap)
        return 0;
    const size_t cap = num < 256 ? 256 : num + num / 2;
    free(work->codepoints);
    free(work->sorted);
    work->codepoints = calloc(cap, sizeof(*work->codepoints));
    work->sorted = calloc(cap, sizeof(*work->sorted));
    work->cap = work->codepoints != NULL && work->sorted != NULL ? cap : 0;
    return work->cap > 0 ? 0 : -ENOMEM;
}

/* Canonical decomposition of a segment in `work`. Returns the number of code points. */
static size_t decompose(struct normalizer_work *work, const char *text, size_t len)
{
    const char *end = text + len;
    size_t num = 0;
    while (text < end) {
        size_t n;
        int boundary = 0;
        const int32_t c = (int32_t)unicode_decode(text, end, &n);
        const utf8proc_ssize_t parts = utf8proc_decompose_char(
            c, work->codepoints + num, DECOMPOSED_MAX, UTF8PROC_DECOMPOSE, &boundary);
        if (parts < 1)
            work->codepoints[num] = c;
        num += parts < 1 ? 1 : (size_t)parts;
        text += n;
    }
    return num;
}

/* No canonical decomposition has more than four code points. */
static int compose_segment(struct normalizer_work *work, const char *text, size_t len,
                           struct strbuf *out)
{
    char bytes[4];
    const int r = reserve(work, 4 * len + DECOMPOSED_MAX);
    if (r < 0)
        return r;
    size_t num = decompose(work, text, len);
    order(work, num);
    const utf8proc_ssize_t composed = utf8proc_normalize_utf32(
        work->codepoints, (utf8proc_ssize_t)num, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    num = composed < 0 ? num : (size_t)composed;
    for (size_t i = 0; i < num; i++)
        strbuf_append(out, bytes, (size_t)utf8_encode((uint32_t)work->codepoints[i], bytes));
    return out->failed ? -ENOMEM : 0;
}

static int run_nfc(struct normalizer_work *work, struct strbuf *out, const char **text, size_t *len)
{
    size_t done = 0, at = find_unsure(*text, *len, 0);
    int r = 0;
    if (at == *len)
        return 0;
    strbuf_reset(out);
    while (r == 0 && at < *len) {
        strbuf_append(out, *text + done, at - done);
        done = segment_end(*text, *len, at);
        r = compose_segment(work, *text + at, done - at, out);
        at = find_unsure(*text, *len, done);
    }
    strbuf_append(out, *text + done, *len - done);
    *text = out->data;
    *len = out->len;
    return r < 0 || out->failed ? -ENOMEM : 0;
}

int normalizer_run(const struct normalizer *normalizer, struct normalizer_work *work,
                   const char *text, size_t len, const char **ret_text, size_t *ret_len)
{
    int r = 0;
    for (int32_t i = 0; r == 0 && i < normalizer->num_stages; i++)
        r = run_nfc(work, &work->out[i % 2], &text, &len);
    *ret_text = text;
    *ret_len = len;
    return r;
}
