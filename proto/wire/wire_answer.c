#include "proto/wire/wire_answer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire/wire_chunk.h"

struct wire_answer {
    enum wire_endpoint endpoint;
    bool stream, include_usage, continuous_usage, logprobs;
    bool shows_prompt, has_roles, has_prompt, is_complete, has_failed;
    bool prompt_logprobs;
    uint32_t num_prompt_top;
    struct wire_prompt_facts *prompts; /* [num_prompts] */
    uint32_t num_prompts;
    struct strbuf head;  /* "id":...,"system_fingerprint":...: what all chunks share */
    struct strbuf usage; /* of the event at hand */
    char request_id[WIRE_PARAM_BYTES + 1];
    struct wire_spelling spelling;
    struct wire_error failure;
    uint32_t num_choices, num_finished;
    struct wire_choice choices[];
};

/* ------------------------------------------------------------------ making */

static void append_field(struct strbuf *head, const char *name, const char *value)
{
    strbuf_append_text(head, name);
    strbuf_append_json_string(head, value, strlen(value));
}

static void write_head(const struct wire_answer_options *options, struct strbuf *head)
{
    static const char *const objects[2][2] = {
        [WIRE_CHAT] = { "chat.completion", "chat.completion.chunk" },
        [WIRE_COMPLETIONS] = { "text_completion", "text_completion" },
    };
    append_field(head, "\"id\":", options->id);
    append_field(head, ",\"object\":", objects[options->endpoint][options->stream]);
    strbuf_printf(head, ",\"created\":%lld", (long long)options->created);
    append_field(head, ",\"model\":", options->model);
    append_field(head, ",\"system_fingerprint\":", options->system_fingerprint);
    if (options->service_tier)
        strbuf_append_text(head, ",\"service_tier\":\"default\"");
}

static void write_prompt_ids(const struct wire_prompt *prompt, struct strbuf *out)
{
    strbuf_append_char(out, '[');
    for (uint32_t i = 0; i < prompt->num_ids; i++)
        strbuf_printf(out, i == 0 ? "%d" : ",%d", prompt->ids[i]);
    strbuf_append_char(out, ']');
}

/* What the client is told of prompts: with one of them at the top, in completions in choices. */
static int make_prompts(const struct wire_answer_options *options, struct wire_answer *answer)
{
    answer->num_prompts = options->num_prompts > 0 ? options->num_prompts : 1;
    answer->prompts = calloc(answer->num_prompts, sizeof(*answer->prompts));
    if (answer->prompts == NULL)
        return -ENOMEM;
    const bool shows_ids = options->return_token_ids && options->prompts != NULL;
    for (uint32_t i = 0; shows_ids && i < answer->num_prompts; i++)
        write_prompt_ids(&options->prompts[i], &answer->prompts[i].ids);
    const uint32_t each = answer->num_choices / answer->num_prompts;
    for (uint32_t i = 0; i < answer->num_choices; i++) {
        answer->choices[i].shows_ids = options->return_token_ids;
        if (answer->endpoint == WIRE_COMPLETIONS)
            answer->choices[i].prompt = &answer->prompts[i / each];
    }
    return 0;
}

int wire_answer_create(const struct wire_answer_options *options, struct wire_answer **ret_answer)
{
    const size_t num_choices = options->num_choices;
    struct wire_answer *answer =
        calloc(1, sizeof(*answer) + num_choices * sizeof(answer->choices[0]));
    if (answer == NULL)
        return -ENOMEM;
    answer->endpoint = options->endpoint;
    answer->stream = options->stream;
    answer->include_usage = options->include_usage;
    answer->continuous_usage = options->continuous_usage;
    answer->logprobs = options->logprobs;
    answer->shows_prompt = options->echo || !options->prompt_logprobs;
    answer->prompt_logprobs = options->prompt_logprobs;
    answer->num_prompt_top = options->num_prompt_top;
    answer->spelling =
        (struct wire_spelling){ .num_top = options->prompt_logprobs ? options->num_top
                                                                    : RECORD_MAX_LOGPROBS,
                                .as_ids = options->return_token_ids_as_text,
                                .token_bytes = options->token_bytes,
                                .token_owner = options->token_owner };
    answer->num_choices = options->num_choices;
    for (uint32_t i = 0; i < options->num_choices; i++)
        answer->choices[i].index = i;
    if (options->request_id != NULL)
        strncpy(answer->request_id, options->request_id, sizeof(answer->request_id) - 1);
    write_head(options, &answer->head);
    if (make_prompts(options, answer) < 0 || answer->head.failed) {
        wire_answer_destroy(answer);
        return -ENOMEM;
    }
    *ret_answer = answer;
    return 0;
}

void wire_answer_destroy(struct wire_answer *answer)
{
    if (answer == NULL)
        return;
    for (uint32_t i = 0; i < answer->num_choices; i++)
        wire_choice_finish(&answer->choices[i]);
    for (uint32_t i = 0; answer->prompts != NULL && i < answer->num_prompts; i++) {
        strbuf_finish(&answer->prompts[i].ids);
        strbuf_finish(&answer->prompts[i].logprobs);
    }
    free(answer->prompts);
    strbuf_finish(&answer->spelling.text);
    strbuf_finish(&answer->spelling.keys);
    strbuf_finish(&answer->usage);
    strbuf_finish(&answer->head);
    free(answer);
}

/* ------------------------------------------------------------------ streaming */

static void begin_chunk(struct wire_answer *answer, struct strbuf *out)
{
    const bool shows = !answer->has_prompt && answer->num_prompts == 1;
    wire_chunk_begin(&answer->head, shows ? answer->prompts : NULL, out);
    answer->has_prompt = true;
}

/* What stands behind "usage" in a chunk beside choices: the running counts, null or nothing. */
static const char *chunk_usage(struct wire_answer *answer, const struct answer_event *event,
                               struct strbuf *out)
{
    if (!answer->continuous_usage)
        return answer->include_usage ? "null" : NULL;
    strbuf_reset(&answer->usage);
    wire_usage_write(&event->usage, &answer->usage);
    out->failed |= answer->usage.failed;
    return answer->usage.data;
}

/* All of them before any content: clients append a choice when they first see it. */
static void write_roles(struct wire_answer *answer, const struct answer_event *event,
                        struct strbuf *out)
{
    if (answer->has_roles || answer->endpoint != WIRE_CHAT)
        return;
    answer->has_roles = true;
    for (uint32_t i = 0; i < answer->num_choices; i++) {
        begin_chunk(answer, out);
        wire_choice_write_role(&answer->choices[i], out);
        wire_chunk_end(chunk_usage(answer, event, out), out);
    }
}

static void write_delta(struct wire_answer *answer, struct wire_choice *choice,
                        const struct answer_event *event, struct strbuf *out)
{
    write_roles(answer, event, out);
    begin_chunk(answer, out);
    wire_choice_write_delta(choice, answer->endpoint, answer->logprobs, out);
    wire_chunk_end(chunk_usage(answer, event, out), out);
}

static void write_stream_end(struct wire_answer *answer, const struct answer_event *event,
                             struct strbuf *out)
{
    if (answer->include_usage) {
        strbuf_reset(&answer->usage);
        wire_usage_write(&event->usage, &answer->usage);
        out->failed |= answer->usage.failed;
        begin_chunk(answer, out);
        wire_chunk_end(answer->usage.data, out);
    }
    strbuf_append_text(out, "data: [DONE]\n\n");
}

/* ------------------------------------------------------------------ folding */

static void write_whole(struct wire_answer *answer, const struct answer_event *event,
                        struct strbuf *out)
{
    strbuf_append_char(out, '{');
    strbuf_append(out, answer->head.data, answer->head.len);
    strbuf_append_text(out, ",\"choices\":[");
    for (uint32_t i = 0; i < answer->num_choices; i++) {
        strbuf_append_text(out, i == 0 ? "" : ",");
        wire_choice_write_whole(&answer->choices[i], answer->endpoint, answer->logprobs, out);
    }
    strbuf_append_text(out, "],\"usage\":");
    wire_usage_write(&event->usage, out);
    if (answer->num_prompts == 1)
        wire_prompt_write(answer->prompts, out);
    strbuf_append_char(out, '}');
}

/* ------------------------------------------------------------------ events */

static void take_text(struct wire_answer *answer, const struct answer_event *event,
                      struct strbuf *out)
{
    struct wire_choice *choice = &answer->choices[event->choice];
    wire_choice_add_ids(choice, event);
    strbuf_append(&choice->text, event->text, event->text_len);
    if (answer->logprobs)
        wire_logprobs_add(&choice->logprobs, answer->endpoint, event, &answer->spelling);
    if (answer->stream && (choice->text.len > 0 || choice->logprobs.num_waiting > 0))
        write_delta(answer, choice, event, out);
}

/* The first choice of each prompt tells of it; all are told for echo. */
static void take_prompt(struct wire_answer *answer, const struct answer_event *event,
                        struct strbuf *out)
{
    const uint32_t each = answer->num_choices / answer->num_prompts;
    struct wire_choice *choice = &answer->choices[event->choice];
    const bool shows_ids = choice->shows_ids;
    if (answer->prompt_logprobs && event->choice % each == 0)
        wire_prompt_logprobs_write(event, answer->num_prompt_top, &answer->spelling,
                                   &answer->prompts[event->choice / each].logprobs);
    choice->shows_ids = false; /* they are no output */
    if (answer->shows_prompt)
        take_text(answer, event, out);
    choice->shows_ids = shows_ids;
}

static void take_finish(struct wire_answer *answer, const struct answer_event *event,
                        struct strbuf *out)
{
    struct wire_choice *choice = &answer->choices[event->choice];
    choice->is_finished = true;
    choice->finish = event->finish;
    wire_choice_add_ids(choice, event);
    if (event->stop_text != NULL)
        strbuf_append_json_string(&choice->stop_reason, event->stop_text, event->stop_text_len);
    else if (event->stop_id >= 0)
        strbuf_printf(&choice->stop_reason, "%d", event->stop_id);
    answer->num_finished++;
    if (answer->stream)
        write_delta(answer, choice, event, out);
}

static void fail(struct wire_answer *answer, const struct wire_error *error, struct strbuf *out)
{
    answer->is_complete = answer->has_failed = true;
    answer->failure = *error;
    if (!answer->stream)
        return;
    strbuf_append_text(out, "data: ");
    wire_error_write(error, out);
    strbuf_append_text(out, "\n\ndata: [DONE]\n\n");
}

static void take_failure(struct wire_answer *answer, enum record_failure failure,
                         uint32_t retry_after_ms, struct strbuf *out)
{
    struct wire_error error;
    wire_error_from_failure(&error, failure, answer->request_id);
    error.retry_after_ms = retry_after_ms;
    fail(answer, &error, out);
}

static void take_end(struct wire_answer *answer, const struct answer_event *event,
                     struct strbuf *out)
{
    if (answer->num_finished != answer->num_choices) { /* a choice never ends without a reason */
        take_failure(answer, RECORD_FAILURE_INTERNAL, 0, out);
        return;
    }
    answer->is_complete = true;
    if (answer->stream)
        write_stream_end(answer, event, out);
    else
        write_whole(answer, event, out);
}

void wire_answer_event(struct wire_answer *answer, const struct answer_event *event,
                       struct strbuf *out)
{
    if (answer->is_complete)
        return;
    switch (event->kind) {
    case ANSWER_ACCEPTED:
        break;
    case ANSWER_STARTED:
        if (answer->stream)
            write_roles(answer, event, out);
        break;
    case ANSWER_PROMPT:
        assert(event->choice < answer->num_choices && !answer->choices[event->choice].is_finished);
        take_prompt(answer, event, out);
        break;
    case ANSWER_TEXT:
        assert(event->choice < answer->num_choices && !answer->choices[event->choice].is_finished);
        take_text(answer, event, out);
        break;
    case ANSWER_FINISHED:
        assert(event->choice < answer->num_choices && !answer->choices[event->choice].is_finished);
        take_finish(answer, event, out);
        break;
    case ANSWER_END:
        take_end(answer, event, out);
        break;
    case ANSWER_FAILED:
        take_failure(answer, event->failure, event->retry_after_ms, out);
        break;
    }
}

void wire_answer_error(struct wire_answer *answer, const struct wire_error *error,
                       struct strbuf *out)
{
    if (!answer->is_complete)
        fail(answer, error, out);
}

bool wire_answer_is_complete(const struct wire_answer *answer)
{
    return answer->is_complete;
}

const struct wire_error *wire_answer_failure(const struct wire_answer *answer)
{
    return answer->has_failed ? &answer->failure : NULL;
}
