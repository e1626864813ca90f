#include "text/normalizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "text/component.h"
#include "text/regex.h"
#include "text/unicode.h"

/* No composition of NFC shortens text to less than a third (Hangul jamo, 9 bytes to 3; U+212A,
 * 3 to 1); four leaves room for what later versions add. */
enum { NFC_SHRINK_MAX = 4 };

/* --- reading ------------------------------------------------------------------------------ */

static int add_stage(const struct component *c, struct normalizer *normalizer,
                     enum normalizer_type type, struct normalizer_stage **ret_stage)
{
    if (normalizer->num_stages == NORMALIZER_STAGES_MAX)
        return error_set(c->err, -EINVAL, "tokenizer.json: %s: more than %d stages", c->where,
                         NORMALIZER_STAGES_MAX);
    *ret_stage = &normalizer->stages[normalizer->num_stages++];
    (*ret_stage)->type = type;
    return 0;
}

static int read_nfc(const struct component *c, void *target)
{
    struct normalizer_stage *stage;
    return add_stage(c, target, NORMALIZER_NFC, &stage);
}

static int read_nfd(const struct component *c, void *target)
{
    struct normalizer_stage *stage;
    return add_stage(c, target, NORMALIZER_NFD, &stage);
}

static int read_nfkc(const struct component *c, void *target)
{
    struct normalizer_stage *stage;
    return add_stage(c, target, NORMALIZER_NFKC, &stage);
}

static int read_nfkd(const struct component *c, void *target)
{
    struct normalizer_stage *stage;
    return add_stage(c, target, NORMALIZER_NFKD, &stage);
}

static int read_lowercase(const struct component *c, void *target)
{
    struct normalizer_stage *stage;
    return add_stage(c, target, NORMALIZER_LOWERCASE, &stage);
}

static int read_strip_accents(const struct component *c, void *target)
{
    struct normalizer_stage *stage;
    return add_stage(c, target, NORMALIZER_STRIP_ACCENTS, &stage);
}

static int read_strip(const struct component *c, void *target)
{
    struct normalizer_stage *stage = NULL;
    int r = add_stage(c, target, NORMALIZER_STRIP, &stage);
    if (r == 0)
        r = component_bool(c, "strip_left", false, &stage->left);
    return r < 0 ? r : component_bool(c, "strip_right", false, &stage->right);
}

static int read_prepend(const struct component *c, void *target)
{
    struct normalizer_stage *stage = NULL;
    json_t *text;
    int r = add_stage(c, target, NORMALIZER_PREPEND, &stage);
    if (r == 0)
        r = component_get(c, "prepend", JSON_STRING, &text);
    if (r < 0)
        return r;
    stage->replace.content_len = json_string_length(text);
    stage->replace.content = malloc(stage->replace.content_len + 1);
    if (stage->replace.content == NULL)
        return -ENOMEM;
    memcpy(stage->replace.content, json_string_value(text), stage->replace.content_len);
    return 0;
}

static int read_replace(const struct component *c, void *target)
{
    struct normalizer_stage *stage = NULL;
    const int r = add_stage(c, target, NORMALIZER_REPLACE, &stage);
    return r < 0 ? r : replace_read(c, &stage->replace);
}

static const struct component_row rows[] = {
    { "NFC", read_nfc },
    { "NFD", read_nfd },
    { "NFKC", read_nfkc },
    { "NFKD", read_nfkd },
    { "Lowercase", read_lowercase },
    { "Strip", read_strip },
    { "StripAccents", read_strip_accents },
    { "Prepend", read_prepend },
    { "Replace", read_replace },
};

int normalizer_read(struct normalizer *normalizer, const json_t *root, struct error *err)
{
    return component_read(root, "normalizer", "normalizers", rows, sizeof(rows) / sizeof(rows[0]),
                          normalizer, err);
}

void normalizer_finish(struct normalizer *normalizer)
{
    for (int32_t i = 0; i < normalizer->num_stages; i++)
        replace_finish(&normalizer->stages[i].replace);
    *normalizer = (struct normalizer){ 0 };
}

void normalizer_work_finish(struct normalizer_work *work)
{
    strbuf_finish(&work->out[0]);
    strbuf_finish(&work->out[1]);
    normal_form_work_finish(&work->form);
    regex_work_destroy(work->regex);
    *work = (struct normalizer_work){ 0 };
}

size_t normalizer_shrinks(const struct normalizer *normalizer)
{
    size_t factor = 1;
    for (int32_t i = 0; i < normalizer->num_stages; i++) {
        const struct normalizer_stage *stage = &normalizer->stages[i];
        if (stage->type == NORMALIZER_NFC)
            factor *= NFC_SHRINK_MAX;
        else if (stage->type != NORMALIZER_PREPEND &&
                 !(stage->type == NORMALIZER_REPLACE && replace_keeps_length(&stage->replace)))
            return 0;
    }
    return factor;
}

/* --- running ------------------------------------------------------------------------------ */

/* As Rust's char::to_lowercase: of each character alone, and U+0130 keeps its dot. */
static int run_lowercase(const char *text, size_t len, struct strbuf *out)
{
    const char *end = text + len;
    char bytes[4];
    size_t n;
    for (; text < end; text += n) {
        const uint32_t c = unicode_decode(text, end, &n);
        const int32_t lower = c == 0x130 ? 'i' : utf8proc_tolower((int32_t)c);
        strbuf_append(out, bytes, (size_t)utf8_encode((uint32_t)lower, bytes));
        if (c == 0x130)
            strbuf_append_text(out, "\xCC\x87");
    }
    return out->failed ? -ENOMEM : 0;
}

static bool is_mark(uint32_t c)
{
    const utf8proc_category_t category = utf8proc_category((int32_t)c);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
           category == UTF8PROC_CATEGORY_ME;
}

static int run_strip_accents(const char *text, size_t len, struct strbuf *out)
{
    const char *end = text + len;
    size_t n;
    for (; text < end; text += n)
        if (!is_mark(unicode_decode(text, end, &n)))
            strbuf_append(out, text, n);
    return out->failed ? -ENOMEM : 0;
}

static void strip(const struct normalizer_stage *stage, const char **text, size_t *len)
{
    const char *begin = *text, *end = *text + *len;
    size_t n;
    while (stage->left && begin < end && (unicode_class_at(begin, end, &n) & UNICODE_SPACE) != 0)
        begin += n;
    while (stage->right && begin < end) {
        const char *last = end - 1;
        while (last > begin && ((uint8_t)*last & 0xC0) == 0x80)
            last--;
        if ((unicode_class_at(last, end, &n) & UNICODE_SPACE) == 0)
            break;
        end = last;
    }
    *text = begin;
    *len = (size_t)(end - begin);
}

static int run_replace(const struct normalizer_stage *stage, struct normalizer_work *work,
                       const char *text, size_t len, struct strbuf *out)
{
    if (stage->replace.splitter.type == SPLITTER_REGEX && work->regex == NULL &&
        regex_work_create(&work->regex) < 0)
        return -ENOMEM;
    return replace_run(&stage->replace, work->regex, text, len, out);
}

/* A stage that writes its result to `out`. */
static int run_writer(const struct normalizer_stage *stage, struct normalizer_work *work,
                      const char *text, size_t len, struct strbuf *out)
{
    strbuf_reset(out);
    strbuf_append(out, "", 0);
    switch (stage->type) {
    case NORMALIZER_LOWERCASE:
        return run_lowercase(text, len, out);
    case NORMALIZER_STRIP_ACCENTS:
        return run_strip_accents(text, len, out);
    case NORMALIZER_REPLACE:
        return run_replace(stage, work, text, len, out);
    default: /* NORMALIZER_PREPEND */
        strbuf_append(out, stage->replace.content, len > 0 ? stage->replace.content_len : 0);
        strbuf_append(out, text, len);
        return out->failed ? -ENOMEM : 0;
    }
}

static int run_stage(const struct normalizer_stage *stage, struct normalizer_work *work,
                     struct strbuf *out, const char **text, size_t *len)
{
    if (stage->type <= NORMALIZER_NFKD)
        return normal_form_run((enum normal_form)stage->type, &work->form, out, text, len);
    if (stage->type == NORMALIZER_STRIP) {
        strip(stage, text, len);
        return 0;
    }
    const int r = run_writer(stage, work, *text, *len, out);
    *text = out->data;
    *len = out->len;
    return r;
}

/* Does the text lie in this buffer? Strip leaves it where it was, behind the beginning. */
static bool lies_in(const struct strbuf *buf, const char *text)
{
    return buf->data != NULL && (uintptr_t)text >= (uintptr_t)buf->data &&
           (uintptr_t)text <= (uintptr_t)buf->data + buf->len;
}

int normalizer_run(const struct normalizer *normalizer, struct normalizer_work *work,
                   const char *text, size_t len, const char **ret_text, size_t *ret_len)
{
    int r = 0;
    for (int32_t i = 0; r == 0 && i < normalizer->num_stages; i++)
        r = run_stage(&normalizer->stages[i], work, &work->out[lies_in(&work->out[0], text)], &text,
                      &len);
    *ret_text = text;
    *ret_len = len;
    return r;
}
