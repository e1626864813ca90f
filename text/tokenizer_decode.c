/* The decoding half of tokenizer.h, for whole texts. */
#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "text/tokenizer_parts.h"

static const char replacement[] = "\xEF\xBF\xBD";

/* Each maximal ill-formed subpart becomes U+FFFD. */
static void append_lossy(struct strbuf *out, const char *bytes, size_t len)
{
    while (len > 0) {
        const size_t valid = utf8_valid_prefix(bytes, len);
        strbuf_append(out, bytes, valid);
        bytes += valid;
        len -= valid;
        if (len == 0)
            break;
        const size_t bad = utf8_invalid_len(bytes, len);
        strbuf_append(out, replacement, 3);
        bytes += bad;
        len -= bad;
    }
}

/* What a run of byte tokens stands for: text, or U+FFFD for each of them. */
static void append_run(struct strbuf *out, struct strbuf *run)
{
    const bool is_text = run->len > 0 && utf8_valid_prefix(run->data, run->len) == run->len;
    for (size_t i = 0; !is_text && i < run->len; i++)
        strbuf_append(out, replacement, 3);
    if (is_text)
        strbuf_append(out, run->data, run->len);
    strbuf_reset(run);
}

static int append_first(const struct tokenizer *t, int32_t id, struct strbuf *out)
{
    struct decoder_work work = { 0 };
    size_t len;
    const char *bytes = pieces_bytes(&t->pieces, id, &len);
    if (len == 0)
        bytes = pieces_bytes(&t->added_texts, id, &len);
    const int r = decoder_run(&t->decoder, &work, true, bytes, len, &bytes, &len);
    if (r >= 0)
        strbuf_append(out, bytes, len);
    decoder_work_finish(&work);
    return r < 0 ? r : 0;
}

static int append_all(const struct tokenizer *t, const int32_t *ids, size_t num, bool keep_special,
                      struct strbuf *run, struct strbuf *out)
{
    bool first = t->decoder.first_has_no_marks;
    int r = 0;
    for (size_t i = 0; r == 0 && i < num; i++) {
        size_t len;
        const char *bytes = vocab_bytes(&t->vocab, ids[i], &len);
        if (bytes == NULL || (!keep_special && tokenizer_is_special(t, ids[i])))
            continue;
        if ((t->vocab.flags[ids[i]] & VOCAB_BYTE) != 0) {
            strbuf_append(run, bytes, len);
            first = false;
            continue;
        }
        append_run(out, run);
        if (first)
            r = append_first(t, ids[i], out);
        else
            strbuf_append(out, bytes, len);
        first = false;
    }
    append_run(out, run);
    return r;
}

static void drop_lead(const struct decoder *decoder, struct strbuf *text)
{
    const size_t n = decoder->lead_len;
    size_t at = 0;
    for (int64_t i = 0; i < decoder->lead_max && text->len - at >= n &&
                        memcmp(text->data + at, decoder->lead, n) == 0;
         i++)
        at += n;
    strbuf_consume(text, at);
}

int tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t num,
                     bool keep_special, struct strbuf *out)
{
    struct strbuf text = { 0 }, run = { 0 };
    int r = append_all(tokenizer, ids, num, keep_special, &run, &text);
    if (r == 0 && (text.failed || run.failed))
        r = -ENOMEM;
    if (r == 0 && text.len > 0) {
        drop_lead(&tokenizer->decoder, &text);
        append_lossy(out, text.data, text.len);
        r = out->failed ? -ENOMEM : 0;
    }
    strbuf_finish(&text);
    strbuf_finish(&run);
    return r;
}
