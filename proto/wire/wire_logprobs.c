#include "proto/wire/wire_logprobs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* ------------------------------------------------------------------ numbers and spelling */

/* The shortest decimal that reads back as the same float; JSON has no infinities, so what the
 * model excludes is -9999.0, as OpenAI writes it. */
static void write_logprob(struct strbuf *out, float logprob)
{
    char text[32];
    if (!(logprob >= -9999.0f)) {
        strbuf_append_text(out, "-9999.0");
        return;
    }
    const float value = logprob < 0.0f ? logprob : 0.0f;
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    strbuf_append_text(out, text);
    if (strpbrk(text, ".e") == NULL)
        strbuf_append_text(out, ".0");
}

/* Bytes as text: what is no UTF-8 becomes U+FFFD, one for each maximal subpart. */
static void append_lossy(struct strbuf *out, const char *bytes, size_t len)
{
    while (len > 0) {
        const size_t good = utf8_valid_prefix(bytes, len);
        strbuf_append(out, bytes, good);
        bytes += good;
        len -= good;
        if (len == 0)
            break;
        const size_t bad = utf8_invalid_len(bytes, len);
        strbuf_append_text(out, "\xef\xbf\xbd");
        bytes += bad;
        len -= bad;
    }
}

static void append_spelled(struct strbuf *out, const struct wire_spelling *spelling, int32_t id,
                           const char *bytes, size_t len)
{
    if (spelling->as_ids || bytes == NULL)
        strbuf_printf(out, "token_id:%d", id);
    else
        append_lossy(out, bytes, len);
}

static const char *token_bytes(const struct wire_spelling *spelling, int32_t id, size_t *ret_len)
{
    *ret_len = 0;
    return spelling->token_bytes == NULL
               ? NULL
               : spelling->token_bytes(spelling->token_owner, id, ret_len);
}

static void write_token(struct strbuf *out, struct wire_spelling *spelling, int32_t id,
                        const char *bytes, size_t len)
{
    strbuf_reset(&spelling->text);
    append_spelled(&spelling->text, spelling, id, bytes, len);
    out->failed |= spelling->text.failed;
    strbuf_append_json_string(out, spelling->text.data == NULL ? "" : spelling->text.data,
                              spelling->text.len);
}

static void separate(struct strbuf *list, uint32_t num_before)
{
    if (num_before > 0)
        strbuf_append_char(list, ',');
}

/* ------------------------------------------------------------------ chat */

static void write_chat_token(struct strbuf *out, struct wire_spelling *spelling, int32_t id,
                             const char *bytes, size_t len, float logprob)
{
    strbuf_append_text(out, "{\"token\":");
    write_token(out, spelling, id, bytes, len);
    strbuf_append_text(out, ",\"logprob\":");
    write_logprob(out, logprob);
    strbuf_append_text(out, ",\"bytes\":[");
    for (size_t i = 0; i < len; i++)
        strbuf_printf(out, i == 0 ? "%d" : ",%d", (unsigned char)bytes[i]);
    strbuf_append_char(out, ']');
}

/* Alternatives that are there and were asked for; a prompt's tokens may bring more. */
static uint32_t num_shown(const struct wire_spelling *spelling, const struct answer_token *token)
{
    const uint32_t most = token->num_top < spelling->num_top ? token->num_top : spelling->num_top;
    uint32_t num = 0;
    while (num < most && num < RECORD_MAX_LOGPROBS && token->top[num].token_id >= 0)
        num++;
    return num;
}

static void add_chat(struct strbuf *out, struct wire_spelling *spelling,
                     const struct answer_token *token)
{
    write_chat_token(out, spelling, token->id, token->bytes, token->len,
                     token->has_logprob ? token->logprob : NAN);
    strbuf_append_text(out, ",\"top_logprobs\":[");
    for (uint32_t i = 0; i < num_shown(spelling, token); i++) {
        size_t len;
        const char *bytes = token_bytes(spelling, token->top[i].token_id, &len);
        separate(out, i);
        write_chat_token(out, spelling, token->top[i].token_id, bytes, len, token->top[i].logprob);
        strbuf_append_char(out, '}');
    }
    strbuf_append_text(out, "]}");
}

/* ------------------------------------------------------------------ completions */

enum { TOKENS, TOKEN_LOGPROBS, TOP_LOGPROBS, TEXT_OFFSET };

/* Texts that name entries of one top_logprobs object; different tokens may look alike. */
struct seen {
    uint32_t num;
    size_t ends[RECORD_MAX_LOGPROBS + 1]; /* in spelling->keys */
};

static bool is_new_key(struct seen *seen, const struct strbuf *keys, size_t start)
{
    const size_t len = keys->len - start;
    for (uint32_t i = 0; i < seen->num; i++) {
        const size_t begin = i == 0 ? 0 : seen->ends[i - 1];
        if (seen->ends[i] - begin == len &&
            memcmp(keys->data + begin, keys->data + start, len) == 0)
            return false;
    }
    return true;
}

static void add_alternative(struct strbuf *out, struct wire_spelling *spelling, struct seen *seen,
                            int32_t id, const char *bytes, size_t len, float logprob)
{
    struct strbuf *keys = &spelling->keys;
    const size_t start = keys->len;
    append_spelled(keys, spelling, id, bytes, len);
    out->failed |= keys->failed;
    if (keys->failed || seen->num > RECORD_MAX_LOGPROBS)
        return;
    if (keys->data == NULL || !is_new_key(seen, keys, start)) {
        keys->len = start; /* the likelier one stands there already */
        return;
    }
    separate(out, seen->num);
    strbuf_append_json_string(out, keys->data + start, keys->len - start);
    strbuf_append_char(out, ':');
    write_logprob(out, logprob);
    seen->ends[seen->num++] = keys->len;
}

/* The best in order and the token itself, which is seldom likelier than they. */
static void add_alternatives(struct strbuf *out, struct wire_spelling *spelling,
                             const struct answer_token *token)
{
    struct seen seen = { 0 };
    strbuf_reset(&spelling->keys);
    strbuf_append(&spelling->keys, "", 0);
    strbuf_append_char(out, '{');
    for (uint32_t i = 0; i < num_shown(spelling, token); i++) {
        size_t len;
        const char *bytes = token_bytes(spelling, token->top[i].token_id, &len);
        add_alternative(out, spelling, &seen, token->top[i].token_id, bytes, len,
                        token->top[i].logprob);
    }
    add_alternative(out, spelling, &seen, token->id, token->bytes, token->len, token->logprob);
    strbuf_append_char(out, '}');
}

static void add_completions(struct strbuf lists[WIRE_LOGPROB_LISTS], struct wire_spelling *spelling,
                            const struct answer_token *token, uint64_t offset)
{
    write_token(&lists[TOKENS], spelling, token->id, token->bytes, token->len);
    if (token->has_logprob) {
        write_logprob(&lists[TOKEN_LOGPROBS], token->logprob);
        add_alternatives(&lists[TOP_LOGPROBS], spelling, token);
    } else {
        strbuf_append_text(&lists[TOKEN_LOGPROBS], "null");
        strbuf_append_text(&lists[TOP_LOGPROBS], "null");
    }
    strbuf_printf(&lists[TEXT_OFFSET], "%llu", (unsigned long long)offset);
}

/* ------------------------------------------------------------------ prompt_logprobs */

static void write_prompt_entry(struct strbuf *out, struct wire_spelling *spelling, int32_t id,
                               float logprob, int32_t rank)
{
    size_t len;
    const char *bytes = token_bytes(spelling, id, &len);
    strbuf_printf(out, "\"%d\":{\"logprob\":", id);
    write_logprob(out, logprob);
    strbuf_printf(out, ",\"rank\":%d,\"decoded_token\":", rank);
    write_token(out, spelling, id, bytes, len);
    strbuf_append_char(out, '}');
}

static void write_prompt_position(struct strbuf *out, struct wire_spelling *spelling,
                                  const struct answer_token *token, uint32_t num_top)
{
    if (!token->has_logprob) {
        strbuf_append_text(out, "null");
        return;
    }
    strbuf_append_char(out, '{');
    write_prompt_entry(out, spelling, token->id, token->logprob, token->rank);
    for (uint32_t i = 0; i < num_top && i < token->num_top && token->top[i].token_id >= 0; i++) {
        if (token->top[i].token_id == token->id)
            continue;
        strbuf_append_char(out, ',');
        write_prompt_entry(out, spelling, token->top[i].token_id, token->top[i].logprob,
                           (int32_t)i + 1);
    }
    strbuf_append_char(out, '}');
}

void wire_prompt_logprobs_write(const struct answer_event *event, uint32_t num_top,
                                struct wire_spelling *spelling, struct strbuf *out)
{
    strbuf_append_char(out, '[');
    for (size_t i = 0; i < event->num_tokens; i++) {
        separate(out, (uint32_t)(i > 0));
        write_prompt_position(out, spelling, &event->tokens[i], num_top);
    }
    strbuf_append_char(out, ']');
}

/* ------------------------------------------------------------------ text offsets */

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* Characters that begin in text[0, len). */
static uint64_t count_chars(const char *text, size_t len)
{
    uint64_t num = 0;
    for (size_t i = 0; i < len; i++)
        num += !is_continuation(text[i]);
    return num;
}

/* Number of the character in which byte `at` of the event's text lies. */
static uint64_t char_at(const struct wire_logprobs *logprobs, const struct answer_event *event,
                        size_t at)
{
    const bool inside = at < event->text_len && is_continuation(event->text[at]);
    return logprobs->num_chars + count_chars(event->text, at) - inside;
}

static size_t common_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t n = 0;
    while (n < a_len && n < b_len && a[n] == b[n])
        n++;
    return n;
}

/* How many bytes of `text` the token's bytes account for; 0 when they do not stand there. */
static size_t covered(const char *text, size_t text_len, const char *bytes, size_t len)
{
    static const char replacement[] = "\xef\xbf\xbd";
    uint32_t codepoint;
    const size_t same = common_bytes(text, text_len, bytes, len);
    if (same == len || same == text_len) /* a stop string may have cut the text */
        return same;
    const bool broken = utf8_decode(bytes + same, len - same, &codepoint) <= 0;
    if (broken && text_len - same >= 3 && memcmp(text + same, replacement, 3) == 0)
        return same + 3;
    return 0;
}

/*
 * Where in the event's text a token that begins at `at` ends. Its first open_bytes may have been
 * said before. A token that does not stand there (a special one) covers nothing, one that lost
 * its space at the beginning of a text covers the rest.
 */
static size_t token_end(struct wire_logprobs *logprobs, const struct answer_event *event,
                        const struct answer_token *token, size_t at)
{
    const char *text = event->text + at;
    const size_t text_len = event->text_len - at;
    const size_t said = logprobs->open_bytes < token->len ? logprobs->open_bytes : 0;
    logprobs->open_bytes = logprobs->open_chars = 0;
    size_t len = covered(text, text_len, token->bytes + said, token->len - said);
    if (len == 0 && said > 0)
        len = covered(text, text_len, token->bytes, token->len);
    if (len == 0 && token->len > 1 && token->bytes[0] == ' ')
        len = covered(text, text_len, token->bytes + 1, token->len - 1);
    return at + len;
}

/* Offset of the next token, which begins at `*at` of the event's text; moves *at behind it. */
static uint64_t place_token(struct wire_logprobs *logprobs, const struct answer_event *event,
                            const struct answer_token *token, size_t *at)
{
    const uint64_t offset = char_at(logprobs, event, *at) - logprobs->open_chars;
    if (event->text_len > 0)
        *at = token_end(logprobs, event, token, *at);
    return offset;
}

static void leave_text(struct wire_logprobs *logprobs, const struct answer_event *event, size_t at)
{
    logprobs->open_bytes += event->text_len - at;
    logprobs->open_chars += count_chars(event->text + at, event->text_len - at);
    logprobs->num_chars += count_chars(event->text, event->text_len);
}

/* ------------------------------------------------------------------ the object */

void wire_logprobs_add(struct wire_logprobs *logprobs, enum wire_endpoint endpoint,
                       const struct answer_event *event, struct wire_spelling *spelling)
{
    size_t at = 0;
    for (size_t i = 0; i < event->num_tokens; i++) {
        const struct answer_token *token = &event->tokens[i];
        if (endpoint == WIRE_CHAT) {
            separate(&logprobs->lists[0], logprobs->num_waiting);
            add_chat(&logprobs->lists[0], spelling, token);
        } else {
            for (int list = 0; list < WIRE_LOGPROB_LISTS; list++)
                separate(&logprobs->lists[list], logprobs->num_waiting);
            add_completions(logprobs->lists, spelling, token,
                            place_token(logprobs, event, token, &at));
        }
        logprobs->num_waiting++;
    }
    leave_text(logprobs, event, at);
}

static void write_list(struct strbuf *list, const char *before, struct strbuf *out)
{
    strbuf_append_text(out, before);
    strbuf_append(out, list->data, list->len);
    strbuf_append_char(out, ']');
    out->failed |= list->failed;
    strbuf_reset(list);
}

void wire_logprobs_write(struct wire_logprobs *logprobs, enum wire_endpoint endpoint,
                         struct strbuf *out)
{
    if (endpoint == WIRE_CHAT) {
        write_list(&logprobs->lists[0], "{\"content\":[", out);
        strbuf_append_text(out, ",\"refusal\":null}");
    } else {
        write_list(&logprobs->lists[TOKENS], "{\"tokens\":[", out);
        write_list(&logprobs->lists[TOKEN_LOGPROBS], ",\"token_logprobs\":[", out);
        write_list(&logprobs->lists[TOP_LOGPROBS], ",\"top_logprobs\":[", out);
        write_list(&logprobs->lists[TEXT_OFFSET], ",\"text_offset\":[", out);
        strbuf_append_char(out, '}');
    }
    logprobs->num_written += logprobs->num_waiting;
    logprobs->num_waiting = 0;
}

void wire_logprobs_finish(struct wire_logprobs *logprobs)
{
    for (int list = 0; list < WIRE_LOGPROB_LISTS; list++)
        strbuf_finish(&logprobs->lists[list]);
}
