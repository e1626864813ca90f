#include "frontend/session/held_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int push_end(struct held_text *held, uint64_t end)
{
    if (held->num_ends == held->cap_ends) {
        const size_t cap = held->cap_ends == 0 ? 4 : held->cap_ends * 2;
        uint64_t *ends = realloc(held->ends, cap * sizeof(*ends));
        if (ends == NULL)
            return -ENOMEM;
        held->ends = ends;
        held->cap_ends = cap;
    }
    held->ends[held->num_ends++] = end;
    return 0;
}

static size_t tokens_up_to(const struct held_text *held, uint64_t cut)
{
    size_t n = 0;
    while (n < held->num_ends && held->ends[n] <= cut)
        n++;
    return n;
}

/* The match, in bytes of the whole text, cuts what is ready. */
static void cut_at(struct held_text *held, const struct held_text_rule *rule,
                   const struct stop_match *match, uint64_t match_end,
                   struct held_text_ready *ready)
{
    const uint64_t cut = rule->include_stop ? match_end : match_end - match->stop_len;
    size_t n = tokens_up_to(held, cut);
    const uint64_t begin = n > 0 ? held->ends[n - 1] : held->sent_end;
    if (n < held->num_ends && begin < cut)
        n++; /* partly cut */
    *ready = (struct held_text_ready){ .text = held->text.data,
                                       .len = (size_t)(cut - held->num_sent),
                                       .num_tokens = n,
                                       .is_cut = true,
                                       .stop = match->stop };
}

/* Look for stop strings in the text behind `old_len`. */
static void look(struct held_text *held, const struct held_text_rule *rule, size_t old_len,
                 struct held_text_ready *ready)
{
    struct stop_match match;
    size_t keep = 0;
    if (rule->matcher != NULL && held->text.len > old_len) {
        if (stop_matcher_feed(rule->matcher, &held->state, held->text.data + old_len,
                              held->text.len - old_len, &match) &&
            rule->is_checked) {
            cut_at(held, rule, &match, held->num_sent + old_len + match.end, ready);
            return;
        }
    }
    if (rule->matcher != NULL)
        keep = stop_matcher_held(rule->matcher, held->state);
    const size_t len = held->text.len - keep;
    *ready = (struct held_text_ready){
        .text = held->text.data,
        .len = len,
        .num_tokens = len == 0 ? 0 : tokens_up_to(held, held->num_sent + len),
    };
}

int held_text_push(struct held_text *held, const struct held_text_rule *rule, const char *bytes,
                   size_t len, struct held_text_ready *ret_ready)
{
    const size_t old_len = held->text.len;
    detokenizer_push(&held->detokenizer, bytes, len, &held->text);
    const uint64_t end = held->num_sent + held->text.len + (held->detokenizer.num_held > 0);
    if (held->text.failed || push_end(held, end) < 0)
        return -ENOMEM;
    look(held, rule, old_len, ret_ready);
    return 0;
}

int held_text_end(struct held_text *held, const struct held_text_rule *rule,
                  struct held_text_ready *ret_ready)
{
    const size_t old_len = held->text.len;
    detokenizer_flush(&held->detokenizer, &held->text);
    if (held->text.failed)
        return -ENOMEM;
    look(held, rule, old_len, ret_ready);
    if (!ret_ready->is_cut) {
        ret_ready->len = held->text.len;
        ret_ready->num_tokens = held->num_ends;
    }
    return 0;
}

void held_text_take(struct held_text *held, const struct held_text_ready *ready)
{
    if (ready->num_tokens > 0) {
        held->sent_end = held->ends[ready->num_tokens - 1];
        held->num_ends -= ready->num_tokens;
        memmove(held->ends, held->ends + ready->num_tokens, held->num_ends * sizeof(*held->ends));
    }
    held->num_sent += ready->len;
    strbuf_consume(&held->text, ready->len);
}

void held_text_finish(struct held_text *held)
{
    strbuf_finish(&held->text);
    free(held->ends);
    *held = (struct held_text){ 0 };
}
