#include "frontend/event_log.h"

#include <stdint.h>
#include <string.h>

/*
 * A record: struct record, tokens[num_tokens], the alternatives of each token, then text,
 * stop text and the tokens' bytes; padded to RECORD_ALIGN. Pointers are set when it is handed out.
 */
struct record {
    size_t size;
    struct answer_event event;
};

enum { RECORD_ALIGN = 16, COMPACT_BYTES = 256 * 1024 };

static size_t padded(size_t size)
{
    return (size + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1);
}

bool event_log_is_empty(const struct event_log *log)
{
    return log->head == log->records.len;
}

static struct record record_at(const struct event_log *log, size_t at)
{
    struct record record;
    memcpy(&record, log->records.data + at, sizeof(record));
    return record;
}

/* --- writing ------------------------------------------------------------------------------ */

static void append_payload(struct strbuf *out, const struct answer_event *event)
{
    strbuf_append(out, event->tokens, event->num_tokens * sizeof(*event->tokens));
    for (size_t i = 0; i < event->num_tokens; i++)
        strbuf_append(out, event->tokens[i].top,
                      event->tokens[i].num_top * sizeof(*event->tokens[i].top));
    strbuf_append(out, event->text, event->text_len);
    strbuf_append(out, event->stop_text, event->stop_text_len);
    for (size_t i = 0; i < event->num_tokens; i++)
        strbuf_append(out, event->tokens[i].bytes, event->tokens[i].len);
}

/* Pad the record that begins at `at` and write down its size. */
static bool close_record(struct event_log *log, size_t at, struct record record)
{
    static const char zeros[RECORD_ALIGN];
    struct strbuf *out = &log->records;
    strbuf_append(out, zeros, padded(out->len - at) - (out->len - at));
    if (out->failed)
        return false;
    record.size = out->len - at;
    memcpy(out->data + at, &record, sizeof(record));
    log->last = at;
    return true;
}

static bool can_join(const struct event_log *log, const struct answer_event *event)
{
    if (event_log_is_empty(log) || event->kind != ANSWER_TEXT || event->num_tokens > 0)
        return false;
    const struct record last = record_at(log, log->last);
    return last.event.kind == ANSWER_TEXT && last.event.choice == event->choice &&
           last.event.num_tokens == 0;
}

static bool join(struct event_log *log, const struct answer_event *event)
{
    struct record last = record_at(log, log->last);
    log->records.len = log->last + sizeof(last) + last.event.text_len; /* padding goes */
    strbuf_append(&log->records, event->text, event->text_len);
    last.event.text_len += event->text_len;
    last.event.usage = event->usage;
    return close_record(log, log->last, last);
}

bool event_log_push(struct event_log *log, const struct answer_event *event)
{
    struct record record = { .event = *event };
    const size_t at = log->records.len;
    if (log->drop_tokens) {
        record.event.tokens = NULL;
        record.event.num_tokens = 0;
    }
    if (can_join(log, &record.event))
        return join(log, &record.event);
    strbuf_append(&log->records, &record, sizeof(record));
    append_payload(&log->records, &record.event);
    return close_record(log, at, record);
}

/* --- reading ------------------------------------------------------------------------------ */

static void compact(struct event_log *log)
{
    if (log->head < COMPACT_BYTES && log->head != log->records.len)
        return;
    strbuf_consume(&log->records, log->head);
    log->last = log->last > log->head ? log->last - log->head : 0;
    log->head = 0;
}

static const char *take(char **at, size_t len)
{
    const char *taken = *at;
    *at += len;
    return taken;
}

static void point(struct answer_event *event, char *at)
{
    struct answer_token *tokens = (struct answer_token *)(void *)at;
    at += event->num_tokens * sizeof(*tokens);
    for (size_t i = 0; i < event->num_tokens; i++)
        tokens[i].top = (const void *)take(&at, tokens[i].num_top * sizeof(struct record_logprob));
    event->text = take(&at, event->text_len);
    event->stop_text = event->stop_text != NULL ? take(&at, event->stop_text_len) : NULL;
    for (size_t i = 0; i < event->num_tokens; i++)
        tokens[i].bytes = take(&at, tokens[i].len);
    event->tokens = tokens;
}

bool event_log_pop(struct event_log *log, struct answer_event *ret_event)
{
    compact(log);
    if (event_log_is_empty(log))
        return false;
    const struct record record = record_at(log, log->head);
    *ret_event = record.event;
    point(ret_event, log->records.data + log->head + sizeof(record));
    log->head += record.size;
    return true;
}

void event_log_finish(struct event_log *log)
{
    strbuf_finish(&log->records);
    *log = (struct event_log){ 0 };
}
