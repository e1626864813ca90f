#include "proto/wire/wire_chunk.h"

static void write_fact(const char *name, const struct strbuf *json, struct strbuf *out)
{
    out->failed |= json->failed;
    if (json->len == 0)
        return;
    strbuf_append_text(out, name);
    strbuf_append(out, json->data, json->len);
}

void wire_prompt_write(const struct wire_prompt_facts *prompt, struct strbuf *out)
{
    write_fact(",\"prompt_token_ids\":", &prompt->ids, out);
    write_fact(",\"prompt_logprobs\":", &prompt->logprobs, out);
}

void wire_chunk_begin(const struct strbuf *head, const struct wire_prompt_facts *prompt,
                      struct strbuf *out)
{
    strbuf_append_text(out, "data: {");
    strbuf_append(out, head->data, head->len);
    if (prompt != NULL)
        wire_prompt_write(prompt, out);
    strbuf_append_text(out, ",\"choices\":[");
}

void wire_chunk_end(const char *usage, struct strbuf *out)
{
    strbuf_append_char(out, ']');
    if (usage != NULL) {
        strbuf_append_text(out, ",\"usage\":");
        strbuf_append_text(out, usage);
    }
    strbuf_append_text(out, "}\n\n");
}

void wire_usage_write(const struct answer_usage *usage, struct strbuf *out)
{
    strbuf_printf(out,
                  "{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":%llu},"
                  "\"completion_tokens_details\":{\"reasoning_tokens\":0}}",
                  (unsigned long long)usage->prompt_tokens,
                  (unsigned long long)usage->completion_tokens,
                  (unsigned long long)(usage->prompt_tokens + usage->completion_tokens),
                  (unsigned long long)usage->cached_tokens);
}

/* The text collected as a JSON string; empties it. */
static void write_text(struct wire_choice *choice, struct strbuf *out)
{
    out->failed |= choice->text.failed;
    strbuf_append_json_string(out, choice->text.data == NULL ? "" : choice->text.data,
                              choice->text.len);
    strbuf_reset(&choice->text);
}

static void write_index(const struct wire_choice *choice, struct strbuf *out)
{
    strbuf_printf(out, "{\"index\":%u,", choice->index);
}

static void write_finish(const struct wire_choice *choice, struct strbuf *out)
{
    static const char *const words[] = {
        [ANSWER_FINISH_STOP] = "stop", [ANSWER_FINISH_LENGTH] = "length"
    };
    if (!choice->is_finished) {
        strbuf_append_text(out, ",\"finish_reason\":null}");
        return;
    }
    out->failed |= choice->stop_reason.failed;
    strbuf_printf(out, ",\"finish_reason\":\"%s\",\"stop_reason\":", words[choice->finish]);
    if (choice->stop_reason.len == 0)
        strbuf_append_text(out, "null");
    else
        strbuf_append(out, choice->stop_reason.data, choice->stop_reason.len);
    strbuf_append_char(out, '}');
}

/* A finished choice that never had an entry has an empty object, so that the client finds one. */
static void write_logprobs(struct wire_choice *choice, enum wire_endpoint endpoint, bool logprobs,
                           struct strbuf *out)
{
    const struct wire_logprobs *entries = &choice->logprobs;
    strbuf_append_text(out, ",\"logprobs\":");
    if (logprobs &&
        (entries->num_waiting > 0 || (choice->is_finished && entries->num_written == 0)))
        wire_logprobs_write(&choice->logprobs, endpoint, out);
    else
        strbuf_append_text(out, "null");
}

/* Token ids since the last chunk, and what the client is told of the prompt. */
static void write_ids(struct wire_choice *choice, struct strbuf *out)
{
    if (choice->shows_ids) {
        out->failed |= choice->ids.failed;
        strbuf_append_text(out, ",\"token_ids\":[");
        strbuf_append(out, choice->ids.data, choice->ids.len);
        strbuf_append_char(out, ']');
        strbuf_reset(&choice->ids);
    }
    if (choice->prompt != NULL)
        wire_prompt_write(choice->prompt, out);
    choice->prompt = NULL;
}

void wire_choice_add_ids(struct wire_choice *choice, const struct answer_event *event)
{
    for (size_t i = 0; choice->shows_ids && i < event->num_tokens; i++)
        strbuf_printf(&choice->ids, choice->ids.len == 0 ? "%d" : ",%d", event->tokens[i].id);
}

void wire_choice_write_role(const struct wire_choice *choice, struct strbuf *out)
{
    write_index(choice, out);
    strbuf_append_text(out, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
                            "\"finish_reason\":null}");
}

void wire_choice_write_delta(struct wire_choice *choice, enum wire_endpoint endpoint, bool logprobs,
                             struct strbuf *out)
{
    write_index(choice, out);
    if (endpoint == WIRE_COMPLETIONS) {
        strbuf_append_text(out, "\"text\":");
        write_text(choice, out);
    } else if (choice->text.len > 0) {
        strbuf_append_text(out, "\"delta\":{\"content\":");
        write_text(choice, out);
        strbuf_append_char(out, '}');
    } else {
        out->failed |= choice->text.failed;
        strbuf_append_text(out, "\"delta\":{}");
    }
    write_logprobs(choice, endpoint, logprobs, out);
    write_ids(choice, out);
    write_finish(choice, out);
}

void wire_choice_write_whole(struct wire_choice *choice, enum wire_endpoint endpoint, bool logprobs,
                             struct strbuf *out)
{
    write_index(choice, out);
    strbuf_append_text(out, endpoint == WIRE_CHAT
                                ? "\"message\":{\"role\":\"assistant\",\"content\":"
                                : "\"text\":");
    write_text(choice, out);
    if (endpoint == WIRE_CHAT)
        strbuf_append_text(out, ",\"refusal\":null}");
    write_logprobs(choice, endpoint, logprobs, out);
    write_ids(choice, out);
    write_finish(choice, out);
}

void wire_choice_finish(struct wire_choice *choice)
{
    strbuf_finish(&choice->text);
    wire_logprobs_finish(&choice->logprobs);
    strbuf_finish(&choice->stop_reason);
    strbuf_finish(&choice->ids);
}
