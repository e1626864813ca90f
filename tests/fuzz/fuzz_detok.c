/*
 * fuzz_detok.c - text does not depend on where its tokens were cut
 *
 * Input: a byte, the number of stop bytes behind it (0..7), those, then the text. Each byte of
 * the text has its high bit of a hash as a cut behind it. The text in tokens has to equal the
 * text in one piece up to the first stop string; every character is whole; tokens are neither
 * lost nor doubled.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "frontend/session/held_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

/* The text in one piece, cut at the first place where the stop string ends. */
static void whole_text(const char *bytes, size_t len, const char *stop, size_t stop_len,
                       struct strbuf *out)
{
    struct detokenizer detokenizer = { 0 };
    detokenizer_push(&detokenizer, bytes, len, out);
    detokenizer_flush(&detokenizer, out);
    const char *hit =
        stop_len > 0 && out->len > 0 ? memmem(out->data, out->len, stop, stop_len) : NULL;
    if (hit != NULL)
        out->len = (size_t)(hit - out->data);
}

struct run {
    struct held_text held;
    struct held_text_rule rule;
    struct strbuf out;
    size_t num_pushed, num_taken;
    bool is_cut;
};

static void take(struct run *run, const struct held_text_ready *ready)
{
    must(utf8_valid_prefix(ready->len > 0 ? ready->text : "", ready->len) == ready->len);
    must(ready->num_tokens <= run->held.num_ends);
    strbuf_append(&run->out, ready->text, ready->len);
    run->num_taken += ready->num_tokens;
    run->is_cut = ready->is_cut;
    held_text_take(&run->held, ready);
}

static void run_tokens(struct run *run, const char *bytes, size_t len, uint32_t seed)
{
    struct held_text_ready ready;
    size_t from = 0;
    for (size_t i = 0; i < len && !run->is_cut; i++) {
        seed = seed * 1664525u + 1013904223u;
        if (i + 1 < len && (seed >> 30) != 0)
            continue;
        must(held_text_push(&run->held, &run->rule, bytes + from, i + 1 - from, &ready) == 0);
        run->num_pushed++;
        take(run, &ready);
        from = i + 1;
    }
    if (run->is_cut)
        return;
    must(held_text_end(&run->held, &run->rule, &ready) == 0);
    take(run, &ready);
    must(run->is_cut || run->num_taken == run->num_pushed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || (data[0] & 7u) + 1u > size)
        return 0;
    const size_t stop_len = data[0] & 7u;
    const char *stop = (const char *)data + 1, *bytes = stop + stop_len;
    const size_t len = size - 1 - stop_len;
    struct stop_matcher *matcher = NULL;
    struct strbuf wanted = { 0 };
    if (utf8_valid_prefix(stop, stop_len) != stop_len)
        return 0;
    if (stop_len > 0)
        must(stop_matcher_create(&stop, &stop_len, 1, &matcher) == 0);
    whole_text(bytes, len, stop, stop_len, &wanted);
    for (uint32_t seed = 0; seed < 3; seed++) {
        struct run run = { .rule = { .matcher = matcher, .is_checked = true } };
        run_tokens(&run, bytes, len, seed * 77777u + data[0]);
        must(run.out.len == wanted.len);
        must(wanted.len == 0 || memcmp(run.out.data, wanted.data, wanted.len) == 0);
        must(run.num_taken <= run.num_pushed);
        held_text_finish(&run.held);
        strbuf_finish(&run.out);
    }
    strbuf_finish(&wanted);
    stop_matcher_destroy(matcher);
    return 0;
}
