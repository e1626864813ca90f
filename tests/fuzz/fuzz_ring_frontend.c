/*
 * fuzz_ring_frontend.c - whatever an engine writes, the session neither crashes nor lies
 *
 * Input: steps of 16 bytes. A step is a cell (kind, flags, choice, count, which id, position,
 * words, length of bulk) or, by its first byte, a submission, a cancellation, a drain, or a raw
 * word written over the ring itself. A ring found corrupt is replaced, as the supervisor would.
 * The events of each request have to keep the order of proto/records/answer.h.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "session_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEP_BYTES = 16, MAX_ASKED = 8, NUM_CELLS = 16, BULK_BYTES = 4096 };

/* One request as its owner sees it. */
struct asked {
    struct session_request *handle;
    uint64_t id; /* of its first prompt */
    uint32_t num_choices;
    bool was_accepted, was_started, is_over, cancels;
    bool is_finished[RECORD_MAX_CHOICES * 2];
    uint32_t num_finished;
};

static struct rig rig;
static struct asked asked[MAX_ASKED];
static uint32_t num_asked;

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_tokens(const struct answer_event *event)
{
    must(utf8_valid_prefix(event->text_len > 0 ? event->text : "", event->text_len) ==
         event->text_len);
    for (size_t i = 0; i < event->num_tokens; i++) {
        const struct answer_token *token = &event->tokens[i];
        must(token->id >= 0 && token->id < RIG_VOCAB);
        must(token->num_top <= RECORD_MAX_LOGPROBS);
        for (uint32_t t = 0; t < token->num_top; t++)
            must(token->top[t].token_id < RIG_VOCAB);
    }
}

static void on_event(void *owner, const struct answer_event *event)
{
    struct asked *a = owner;
    must(!a->is_over);
    check_tokens(event);
    if (event->kind == ANSWER_ACCEPTED)
        must(!a->was_accepted);
    if (event->kind == ANSWER_STARTED)
        must(a->was_accepted && !a->was_started);
    if (event->kind >= ANSWER_PROMPT && event->kind <= ANSWER_END)
        must(a->was_started);
    if (event->kind >= ANSWER_PROMPT && event->kind <= ANSWER_FINISHED)
        must(event->choice < a->num_choices && !a->is_finished[event->choice]);
    if (event->kind == ANSWER_END)
        must(a->num_finished == a->num_choices);
    a->was_accepted |= event->kind == ANSWER_ACCEPTED;
    a->was_started |= event->kind == ANSWER_STARTED;
    if (event->kind == ANSWER_FINISHED) {
        a->is_finished[event->choice] = true;
        a->num_finished++;
    }
    a->is_over = event->kind == ANSWER_END || event->kind == ANSWER_FAILED;
    if (a->cancels && event->kind == ANSWER_TEXT) {
        session_cancel(rig.session, a->handle);
        a->is_over = true;
    }
}

static void submit(const uint8_t *step)
{
    struct rig_ask ask;
    struct error err;
    struct ring_cell cell;
    if (num_asked == MAX_ASKED)
        return;
    struct asked *a = &asked[num_asked];
    *a = (struct asked){ .cancels = (step[1] & 1) != 0 };
    rig_ask_init(&ask, &rig);
    ask.submit.callback = on_event;
    ask.submit.owner = a;
    ask.submit.echo = (step[1] & 2) != 0;
    ask.submit.num_prompts = 1 + (step[1] >> 2 & 1);
    ask.params.num_choices = 1 + step[2] % 3;
    ask.params.max_tokens = step[3] % 20;
    ask.params.num_logprobs = step[4] % 4 - 1;
    ask.params.num_prompt_logprobs = step[5] % 3 - 1;
    ask.params.flags = step[1] >> 3 & 1;
    if ((step[1] & 16) != 0)
        rig_ask_stop(&ask, "STOP");
    ask.submit.prompts = ask.prompts;
    ask.submit.params = &ask.params;
    ask.submit.stops = ask.stops;
    ask.submit.stop_lens = ask.stop_lens;
    a->num_choices = ask.submit.num_prompts * ask.params.num_choices;
    if (session_submit(rig.session, &ask.submit, &a->handle, &err) < 0)
        return;
    num_asked++;
    for (uint8_t kind; (kind = rig_take(&rig, &cell, NULL, 0)) != 0;)
        if (kind == RECORD_SUBMIT && a->id == 0)
            a->id = cell.id;
}

static void cancel(const uint8_t *step)
{
    if (num_asked == 0)
        return;
    struct asked *a = &asked[step[1] % num_asked];
    if (a->is_over)
        return;
    session_cancel(rig.session, a->handle);
    a->is_over = true;
}

static void flush(void *owner)
{
    const struct asked *a = owner;
    must(a >= asked && a < asked + MAX_ASKED);
}

static void drain(void)
{
    char text[ERROR_MESSAGE_BYTES];
    (void)ring_publish(&rig.engine[0]);
    (void)session_drain(rig.session, 1000, flush);
    if (session_take_report(rig.session, text, sizeof(text)) < 0)
        return;
    rig_engine_down(&rig, 0);
    rig_engine_up(&rig, 0, NUM_CELLS, BULK_BYTES);
}

static void say(const uint8_t *step)
{
    static uint8_t bulk[BULK_BYTES]; /* more than the ring takes, too */
    struct ring_cell cell = { .kind = (uint8_t)(step[0] % 8 + RECORD_ACCEPTED),
                              .flags = step[1],
                              .choice = step[2],
                              .count = step[3] };
    uint32_t bulk_len = step[7] * 12u;
    if (num_asked > 0)
        cell.id = asked[step[4] % num_asked].id + ((uint64_t)(step[4] >> 6) << 20 | step[4] >> 6);
    cell.pos = step[5];
    for (int i = 0; i < 8; i++)
        cell.words[i] = (uint32_t)step[8 + i] + (step[6] == 255 ? 0xFFFFFF00u : 0);
    if (cell.kind != RECORD_LOGPROBS && step[6] < 250)
        bulk_len = 0;
    for (uint32_t i = 0; i < bulk_len; i++) /* small ids and ordinary floats come up often */
        bulk[i] = i % 4 == 0 ? step[8 + i / 12 % 8] : (uint8_t)(step[6] == 254 ? 0xFF : 0);
    (void)ring_push(&rig.engine[0], &cell, bulk, bulk_len);
}

/* A stray write of the engine into its own segment: indices, cells, bulk. */
static void scribble(const uint8_t *step)
{
    uint32_t at;
    memcpy(&at, step + 1, sizeof(at));
    const size_t room = rig.engine[0].own.size - SEGMENT_HEADER_BYTES - 4;
    memcpy((uint8_t *)rig.engine[0].own.base + SEGMENT_HEADER_BYTES + at % room / 4 * 4, step + 5,
           4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (rig.session == NULL)
        rig_start(&rig, NUM_CELLS, BULK_BYTES);
    memset(asked, 0, sizeof(asked));
    num_asked = 0;
    for (size_t at = 0; at + STEP_BYTES <= size; at += STEP_BYTES) {
        const uint8_t *step = data + at;
        switch (step[0] >> 3) {
        case 0:
            submit(step);
            break;
        case 1:
            cancel(step);
            break;
        case 2:
            drain();
            break;
        case 3:
            scribble(step);
            break;
        default:
            say(step);
        }
    }
    drain();
    for (uint32_t i = 0; i < num_asked; i++) /* what lives would go on with the next engine */
        if (!asked[i].is_over)
            session_cancel(rig.session, asked[i].handle);
    must(session_num_requests(rig.session) == 0);
    rig_engine_down(&rig, 0);
    rig_engine_up(&rig, 0, NUM_CELLS, BULK_BYTES);
    return 0;
}
