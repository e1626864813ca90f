#include "session_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "shm/doorbell.h"

static void must(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "session_rig: %s\n", what);
        abort();
    }
}

/* ------------------------------------------------------------------ the tokenizer */

/* The byte-level alphabet: printable bytes are themselves, others follow from U+0100 on. */
static void append_byte(struct strbuf *out, uint8_t byte)
{
    char text[4];
    uint32_t codepoint = byte;
    const bool plain = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    if (!plain)
        codepoint = 0x100 + (byte <= 0x20 ? byte : byte <= 0xA0 ? 0x21u + (byte - 0x7Fu) : 0x43u);
    const int len = utf8_encode(codepoint, text);
    if (byte == '"' || byte == '\\')
        strbuf_append_char(out, '\\');
    strbuf_append(out, text, (size_t)len);
}

static void append_entry(struct strbuf *out, int32_t id, const char *bytes, size_t len)
{
    strbuf_append_text(out, id == 0 ? "\"" : ",\"");
    for (size_t i = 0; i < len; i++)
        append_byte(out, (uint8_t)bytes[i]);
    strbuf_printf(out, "\":%d", id);
}

static struct tokenizer *make_tokenizer(void)
{
    static const char *const words[] = { "Hello",    " world", "xST",   "OPy",
                                         "\xE4\xBD", "\xA0!",  "aSTOPb" };
    struct strbuf json = { 0 };
    struct tokenizer *tokenizer = NULL;
    struct error err = { 0 };
    strbuf_printf(&json,
                  "{\"version\":\"1.0\",\"added_tokens\":["
                  "{\"id\":%d,\"content\":\"<eos>\",\"special\":true,\"normalized\":false,"
                  "\"lstrip\":false,\"rstrip\":false,\"single_word\":false},"
                  "{\"id\":%d,\"content\":\"<mark>\",\"special\":true,\"normalized\":false,"
                  "\"lstrip\":false,\"rstrip\":false,\"single_word\":false}],"
                  "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                  "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
                  "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},"
                  "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{",
                  RIG_EOS, RIG_MARK);
    for (int32_t id = 0; id < 256; id++) {
        const char byte = (char)id;
        append_entry(&json, id, &byte, 1);
    }
    for (int32_t i = 0; i < RIG_EOS - 256; i++)
        append_entry(&json, 256 + i, words[i], strlen(words[i]));
    strbuf_append_text(&json, "}}}");
    const int r = tokenizer_from_json(json.data, json.len, NULL, 0, &tokenizer, &err);
    must(r == 0, err.message);
    strbuf_finish(&json);
    return tokenizer;
}

/* ------------------------------------------------------------------ segments */

static struct segment map(int fd, bool writable, const struct segment_header *header)
{
    struct segment segment = { 0 };
    struct error err = { 0 };
    must(segment_map(&segment, fd, writable, header, &err) == 0, err.message);
    close(fd);
    return segment;
}

/* One segment, mapped by its writer and by its reader. */
static void make_segment(struct segment_header header, struct segment *ret_writer,
                         struct segment *ret_reader)
{
    int write_fd, read_fd;
    struct error err = { 0 };
    must(segment_create(&header, &write_fd, &read_fd, &err) == 0, err.message);
    *ret_writer = map(write_fd, true, &header);
    *ret_reader = map(read_fd, false, &header);
}

static void unmap_page(struct status_page *page)
{
    struct segment segment = { page, (size_t)status_segment_header().size };
    if (page != NULL)
        segment_unmap(&segment);
}

void rig_engine_up(struct rig *rig, uint32_t engine, uint32_t num_cells, uint32_t bulk_bytes)
{
    const struct ring_geometry g = { num_cells, bulk_bytes };
    const uint64_t epoch = ++rig->epoch, generation = RIG_GENERATION;
    struct segment submit[2], complete[2], page[2];
    struct ring_end end;
    char facts[256];
    struct error err = { 0 };
    make_segment(ring_segment_header(SEGMENT_SUBMIT, g, epoch, generation), &submit[0], &submit[1]);
    make_segment(ring_segment_header(SEGMENT_COMPLETE, g, epoch, generation), &complete[0],
                 &complete[1]);
    make_segment(status_segment_header(), &page[0], &page[1]);
    rig->engine_page[engine] = page[0].base;
    snprintf(facts, sizeof(facts),
             "vocab_size=%d\nmax_model_len=1024\nmax_num_seqs=8\nmax_num_queued_reqs=32\n"
             "identity=%016llx\n",
             tokenizer_num_ids(rig->tokenizer), (unsigned long long)rig->identity);
    status_set_texts(rig->engine_page[engine], facts, "");
    ring_end_init(&end, submit[0], g, complete[1], g, epoch, generation);
    ring_end_init(&rig->engine[engine], complete[0], g, submit[1], g, epoch, generation);
    must(doorbell_create(&rig->doorbell[engine]) == 0, "doorbell");
    must(session_engine_up(rig->session, engine, epoch, generation, &end, page[1].base,
                           fcntl(rig->doorbell[engine], F_DUPFD_CLOEXEC, 3), &err) == 0,
         err.message);
}

static void drop_engine(struct rig *rig, uint32_t engine)
{
    if (rig->engine_page[engine] == NULL)
        return;
    ring_end_finish(&rig->engine[engine]);
    unmap_page(rig->engine_page[engine]);
    rig->engine_page[engine] = NULL;
    close(rig->doorbell[engine]);
}

void rig_start(struct rig *rig, uint32_t num_cells, uint32_t bulk_bytes)
{
    struct tokenizer *tokenizer = make_tokenizer();
    rig_start_with(rig, tokenizer, num_cells, bulk_bytes);
    rig->own_tokenizer = tokenizer;
}

void rig_start_with(struct rig *rig, struct tokenizer *tokenizer, uint32_t num_cells,
                    uint32_t bulk_bytes)
{
    *rig = (struct rig){ .tokenizer = tokenizer, .prompt_tokens = 2 };
    rig->page = calloc(1, sizeof(*rig->page));
    must(rig->page != NULL, "memory");
    const struct session_options options = { .tokenizer = rig->tokenizer, .status = rig->page };
    must(session_create(&options, &rig->session) == 0, "session_create");
    rig_engine_up(rig, 0, num_cells, bulk_bytes);
}

void rig_finish(struct rig *rig)
{
    session_destroy(rig->session);
    drop_engine(rig, 0);
    drop_engine(rig, 1);
    tokenizer_close(rig->own_tokenizer);
    free(rig->page);
    strbuf_finish(&rig->events);
    strbuf_finish(&rig->text);
}

/* ------------------------------------------------------------------ events */

static void write_tokens(struct strbuf *out, const struct answer_event *event)
{
    strbuf_append_text(out, " [");
    for (size_t i = 0; i < event->num_tokens; i++) {
        const struct answer_token *token = &event->tokens[i];
        strbuf_printf(out, "%s%d", i > 0 ? " " : "", token->id);
        if (token->has_logprob)
            strbuf_printf(out, ":%g", (double)token->logprob);
        for (uint32_t t = 0; t < token->num_top; t++)
            strbuf_printf(out, "/%d:%g", token->top[t].token_id, (double)token->top[t].logprob);
    }
    strbuf_append_text(out, "]");
}

static void write_text(struct strbuf *out, const char *word, const struct answer_event *event)
{
    strbuf_printf(out, "%s %u \"", word, event->choice);
    strbuf_append(out, event->text, event->text_len);
    strbuf_append_text(out, "\"");
    write_tokens(out, event);
}

static void write_event(struct strbuf *out, const struct answer_event *event)
{
    switch (event->kind) {
    case ANSWER_ACCEPTED:
        strbuf_append_text(out, "accepted");
        break;
    case ANSWER_STARTED:
        strbuf_append_text(out, "started");
        break;
    case ANSWER_PROMPT:
        write_text(out, "prompt", event);
        break;
    case ANSWER_TEXT:
        write_text(out, "text", event);
        break;
    case ANSWER_FINISHED:
        strbuf_printf(out, "finished %u %s", event->choice,
                      event->finish == ANSWER_FINISH_STOP ? "stop" : "length");
        if (event->stop_text != NULL)
            strbuf_printf(out, " \"%.*s\"", (int)event->stop_text_len, event->stop_text);
        if (event->stop_id >= 0)
            strbuf_printf(out, " id %d", event->stop_id);
        break;
    case ANSWER_END:
        strbuf_printf(out, "end prompt=%d output=%d cached=%d", (int)event->usage.prompt_tokens,
                      (int)event->usage.completion_tokens, (int)event->usage.cached_tokens);
        break;
    case ANSWER_FAILED:
        strbuf_printf(out, "failed %s", record_failure_name(event->failure));
        break;
    }
    strbuf_append_text(out, "\n");
}

static void on_event(void *owner, const struct answer_event *event)
{
    struct rig *rig = owner;
    write_event(&rig->events, event);
    if (event->kind == ANSWER_TEXT)
        strbuf_append(&rig->text, event->text, event->text_len);
    if (event->kind == ANSWER_TEXT && rig->cancel_at_text != NULL) {
        session_cancel(rig->session, rig->cancel_at_text);
        rig->cancel_at_text = NULL;
    }
}

static void on_flush(void *owner)
{
    struct rig *rig = owner;
    strbuf_append_text(&rig->events, "flush\n");
}

static void end_engine(struct rig *rig, uint32_t engine, const struct session_death *death)
{
    if (rig->engine_page[engine] != NULL)
        (void)ring_publish(&rig->engine[engine]);
    session_engine_down(rig->session, engine, death, on_flush);
    drop_engine(rig, engine);
}

void rig_engine_down(struct rig *rig, uint32_t engine)
{
    end_engine(rig, engine, &(struct session_death){ .for_good = false });
}

void rig_engine_gone(struct rig *rig, uint32_t engine)
{
    end_engine(rig, engine, &(struct session_death){ .for_good = true });
}

void rig_engine_crash(struct rig *rig, uint32_t engine, const uint64_t *ids, uint32_t num_ids)
{
    struct status_page *page = rig->engine_page[engine];
    status_step_open(page, page->step + 1);
    for (uint32_t i = 0; i < num_ids; i++)
        status_step_add(page, page->step + 1, ids[i], RIG_GENERATION);
    status_step_close(page, page->step + 1);
    end_engine(rig, engine, &(struct session_death){ .is_attributable = true });
}

void rig_tick(struct rig *rig, int64_t now_us)
{
    session_tick(rig->session, now_us, on_flush);
}

const char *rig_events(struct rig *rig)
{
    static char kept[1 << 16];
    snprintf(kept, sizeof(kept), "%s", rig->events.len > 0 ? rig->events.data : "");
    strbuf_reset(&rig->events);
    return kept;
}

uint32_t rig_drain(struct rig *rig)
{
    for (int i = 0; i < 2; i++)
        if (rig->engine_page[i] != NULL)
            (void)ring_publish(&rig->engine[i]);
    return session_drain(rig->session, 1000, on_flush);
}

const char *rig_report(struct rig *rig)
{
    static char text[512];
    return session_take_report(rig->session, text, sizeof(text)) < 0 ? NULL : text;
}

uint64_t rig_stat(const struct rig *rig, enum stat_id stat)
{
    const int word = stat_word(stat);
    const bool is_histogram = stat_rows[stat].buckets != NULL; /* its last word counts */
    return status_get(rig->page, is_histogram ? word + stat_num_words(stat) - 1 : word);
}

/* ------------------------------------------------------------------ asking */

void rig_ask_init(struct rig_ask *ask, struct rig *rig)
{
    static const int32_t prompt[] = { RIG_HELLO, RIG_WORLD };
    static const int32_t eos = RIG_EOS;
    *ask = (struct rig_ask){
        .params = { .max_tokens = 16,
                    .num_choices = 1,
                    .temperature = 1.0f,
                    .top_p = 1.0f,
                    .typical_p = 1.0f,
                    .repetition_penalty = 1.0f,
                    .num_logprobs = -1,
                    .num_prompt_logprobs = -1 },
        .prompts = { { prompt, 2 }, { prompt, 1 } },
    };
    ask->submit = (struct session_submit){
        .num_prompts = 1,
        .eos_ids = &eos,
        .num_eos_ids = 1,
        .callback = on_event,
        .owner = rig,
        .request_id = "req-1",
    };
}

void rig_ask_stop(struct rig_ask *ask, const char *stop)
{
    ask->stops[ask->submit.num_stops] = stop;
    ask->stop_lens[ask->submit.num_stops++] = strlen(stop);
}

struct session_request *rig_submit(struct rig *rig, struct rig_ask *ask)
{
    struct session_request *request = NULL;
    struct error err = { 0 };
    ask->submit.prompts = ask->prompts;
    ask->submit.params = &ask->params;
    ask->submit.stops = ask->stops;
    ask->submit.stop_lens = ask->stop_lens;
    must(session_submit(rig->session, &ask->submit, &request, &err) == 0, err.message);
    return request;
}

/* ------------------------------------------------------------------ the engine */

uint8_t rig_take(struct rig *rig, struct ring_cell *ret_cell, uint32_t *bulk, size_t size)
{
    struct error err = { 0 };
    const int r = ring_pop(&rig->engine[0], ret_cell, &err);
    must(r >= 0, err.message);
    if (r == 0)
        return 0;
    must(bulk == NULL || ret_cell->bulk_len <= size, "bulk is larger than expected");
    if (bulk != NULL)
        ring_pop_bulk(&rig->engine[0], ret_cell, bulk);
    ring_release(&rig->engine[0]);
    return ret_cell->kind;
}

uint64_t rig_take_submit(struct rig *rig)
{
    struct ring_cell cell;
    must(rig_take(rig, &cell, NULL, 0) == RECORD_SUBMIT, "no SUBMIT came");
    return cell.id;
}

void rig_say(struct rig *rig, struct ring_cell cell, const void *bulk, uint32_t bulk_len)
{
    must(ring_push(&rig->engine[0], &cell, bulk, bulk_len) == 0, "no room on the ring");
}

void rig_accept(struct rig *rig, uint64_t id)
{
    rig_say(rig, (struct ring_cell){ .kind = RECORD_ACCEPTED, .id = id }, NULL, 0);
}

void rig_begin(struct rig *rig, uint64_t id, uint32_t cached)
{
    struct ring_cell started = { .kind = RECORD_STARTED, .id = id };
    started.words[0] = cached;
    rig_accept(rig, id);
    rig_say(rig, started, NULL, 0);
}

void rig_tokens(struct rig *rig, uint64_t id, uint8_t choice, uint32_t pos, uint8_t count,
                const int32_t *ids)
{
    struct ring_cell cell = {
        .kind = RECORD_TOKENS, .id = id, .choice = choice, .pos = pos, .count = count
    };
    memcpy(cell.tokens, ids, (count < 8 ? count : 8u) * sizeof(*ids));
    rig_say(rig, cell, NULL, 0);
}

void rig_text(struct rig *rig, uint64_t id, uint8_t choice, uint32_t pos, const char *bytes)
{
    for (; *bytes != '\0'; bytes++, pos++) {
        const int32_t token = (uint8_t)*bytes;
        rig_tokens(rig, id, choice, pos, 1, &token);
    }
}

void rig_done(struct rig *rig, uint64_t id, uint8_t choice, uint32_t reason, uint32_t output,
              int32_t stop_id)
{
    struct ring_cell cell = { .kind = RECORD_DONE, .id = id, .choice = choice };
    const struct record_done done = { .reason = reason,
                                      .prompt_tokens = rig->prompt_tokens,
                                      .output_tokens = output,
                                      .stop_id = stop_id };
    memcpy(cell.words, &done, sizeof(done));
    rig_say(rig, cell, NULL, 0);
}
