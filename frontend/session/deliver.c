#include <stdlib.h>

#include "frontend/session/session_internal.h"

bool deliver_is_over(const struct session_request *request)
{
    return request->is_closed || request->is_cancelled;
}

/* Hand one event over. Returns false when the request is over behind it. */
static bool hand_over(struct session_request *request, struct answer_event *event)
{
    event->usage = request->usage;
    if (event->text == NULL)
        event->text = "";
    if (event->kind == ANSWER_END || event->kind == ANSWER_FAILED)
        request->is_closed = true;
    session_touch(request);
    request->callback(request->owner, event);
    return !deliver_is_over(request);
}

static void release_all(struct session_request *request)
{
    for (uint32_t i = 0; i < request->num_journals; i++)
        session_release_journal(request->session, request->journals[i]);
}

void deliver_failure(struct session_request *request, enum record_failure failure,
                     uint32_t retry_after_ms)
{
    struct answer_event event = {
        .kind = ANSWER_FAILED, .stop_id = -1, .failure = failure, .retry_after_ms = retry_after_ms
    };
    if (deliver_is_over(request))
        return;
    release_all(request);
    request_stats_fail(request, failure);
    hand_over(request, &event);
}

/* ------------------------------------------------------------------ tokens of an event */

static struct answer_token *token_room(struct session *session, size_t n)
{
    if (n > session->cap_tokens) {
        struct answer_token *grown = realloc(session->tokens, n * sizeof(*grown));
        if (grown == NULL)
            return NULL;
        session->tokens = grown;
        session->cap_tokens = n;
    }
    return session->tokens;
}

/* `entries` is [1 + k]: the token's own, then the best; NULL when none were asked for. */
static struct answer_token describe(const struct session *session, int32_t id,
                                    const struct record_logprob *entries, int32_t k)
{
    struct answer_token token = { .id = id };
    token.bytes = tokenizer_bytes(session->tokenizer, id, &token.len);
    if (entries == NULL)
        return token;
    token.has_logprob = true;
    token.logprob = entries[0].logprob;
    token.rank = entries[0].rank;
    token.top = entries + 1;
    while ((int32_t)token.num_top < k && token.top[token.num_top].token_id >= 0)
        token.num_top++;
    return token;
}

static uint32_t choice_number(const struct journal *journal, uint32_t choice)
{
    return journal->index * journal->submit.params->num_choices + choice;
}

/* ------------------------------------------------------------------ the prompt */

static bool has_text(const struct session_request *request, int32_t id)
{
    return request->keep_special || !tokenizer_is_special(request->session->tokenizer, id);
}

static bool prompt_tokens(const struct session_request *request, const struct journal *journal,
                          struct answer_event *event)
{
    const int32_t k = journal->submit.params->num_prompt_logprobs;
    struct answer_token *tokens = token_room(request->session, journal->submit.num_prompt);
    if (tokens == NULL)
        return false;
    for (uint32_t i = 0; i < journal->submit.num_prompt; i++) {
        const struct record_logprob *entries =
            k < 0 || i == 0 ? NULL : journal->prompt_logprobs + i * (1 + (size_t)k);
        tokens[i] = describe(request->session, journal->submit.prompt[i], entries, k);
    }
    event->tokens = tokens;
    event->num_tokens = journal->submit.num_prompt;
    return true;
}

static void prompt_text(const struct session_request *request, const struct journal *journal,
                        struct strbuf *text)
{
    const struct record_submit *submit = &journal->submit;
    if (tokenizer_decode(request->session->tokenizer, submit->prompt, submit->num_prompt,
                         request->keep_special, text) < 0)
        text->failed = true;
}

/* The prompt of a journal once for each of its choices. */
static bool deliver_prompt(struct session_request *request, struct journal *journal)
{
    struct answer_event event = { .kind = ANSWER_PROMPT, .stop_id = -1 };
    struct strbuf text = { 0 };
    bool goes_on = true;
    journal->is_echoed = true;
    prompt_text(request, journal, &text);
    if (text.failed || !prompt_tokens(request, journal, &event)) {
        strbuf_finish(&text);
        deliver_failure(request, RECORD_FAILURE_INTERNAL, 0);
        return false;
    }
    event.text = text.data;
    event.text_len = text.len;
    for (uint32_t i = 0; goes_on && i < journal->submit.params->num_choices; i++) {
        event.choice = choice_number(journal, i);
        goes_on = hand_over(request, &event);
    }
    strbuf_finish(&text);
    return goes_on;
}

/* ------------------------------------------------------------------ the end of a choice */

static void deliver_end(struct session_request *request)
{
    struct answer_event event = { .kind = ANSWER_END, .stop_id = -1 };
    request_stats_end(request);
    hand_over(request, &event);
}

/* The id of the request's own that ended the choice, or -1. */
static int32_t stop_id_of(const struct journal *journal, const struct journal_choice *choice)
{
    const int32_t last = choice->num_decoded > 0 ? choice->tokens[choice->num_decoded - 1] : -1;
    return choice->finish == RECORD_FINISH_EOS && record_is_stop(&journal->submit, last) ? last
                                                                                         : -1;
}

/* Tokens that went out with no text: what ended the choice, and what a stop string cut off. */
static void last_tokens(const struct session_request *request, const struct journal_choice *choice,
                        struct answer_event *event)
{
    const size_t num_tokens = choice->num_decoded - choice->num_sent;
    struct answer_token *tokens = token_room(request->session, num_tokens);
    for (size_t i = 0; tokens != NULL && i < num_tokens; i++)
        tokens[i] = describe(request->session, choice->tokens[choice->num_sent + i], NULL, -1);
    event->tokens = tokens;
    event->num_tokens = tokens != NULL ? num_tokens : 0;
}

static void finish_choice(struct session_request *request, struct journal *journal, uint32_t number,
                          enum answer_finish finish, const struct held_text_ready *cut)
{
    struct journal_choice *choice = &journal->choices[number];
    struct answer_event event = { .kind = ANSWER_FINISHED,
                                  .choice = choice_number(journal, number),
                                  .finish = finish,
                                  .stop_id = cut == NULL ? stop_id_of(journal, choice) : -1 };
    if (cut != NULL)
        event.stop_text = stop_matcher_text(request->matcher, cut->stop, &event.stop_text_len);
    last_tokens(request, choice, &event);
    choice->is_finished = true;
    journal->num_live--;
    request->num_finished++;
    request->hit_length |= finish == ANSWER_FINISH_LENGTH;
    if (journal->num_live == 0)
        session_release_journal(request->session, journal);
    else if (choice->finish == 0)
        session_release_choice(request->session, journal, number);
    if (hand_over(request, &event) && request->num_finished == request->num_choices)
        deliver_end(request);
}

/* ------------------------------------------------------------------ text of a choice */

static bool piece_tokens(const struct session_request *request, const struct journal *journal,
                         const struct journal_choice *choice, size_t num_tokens,
                         struct answer_event *event)
{
    const int32_t k = journal->submit.params->num_logprobs;
    struct answer_token *tokens = token_room(request->session, num_tokens);
    if (tokens == NULL)
        return num_tokens == 0;
    for (size_t i = 0; i < num_tokens; i++) {
        const size_t at = choice->num_sent + i;
        const struct record_logprob *entries =
            k < 0 ? NULL : choice->logprobs + at * (1 + (size_t)k);
        tokens[i] = describe(request->session, choice->tokens[at], entries, k);
    }
    event->tokens = tokens;
    event->num_tokens = num_tokens;
    return true;
}

/* Hand over what is ready. Returns false when the request is over. */
static bool deliver_piece(struct session_request *request, struct journal *journal, uint32_t number,
                          const struct held_text_ready *ready)
{
    struct journal_choice *choice = &journal->choices[number];
    struct answer_event event = { .kind = ANSWER_TEXT,
                                  .choice = choice_number(journal, number),
                                  .text = ready->text,
                                  .text_len = ready->len,
                                  .stop_id = -1 };
    const bool wants_entries = journal->submit.params->num_logprobs >= 0;
    if (ready->len == 0 && (ready->num_tokens == 0 || !wants_entries))
        return true;
    if (!piece_tokens(request, journal, choice, ready->num_tokens, &event)) {
        deliver_failure(request, RECORD_FAILURE_INTERNAL, 0);
        return false;
    }
    choice->num_sent += (uint32_t)ready->num_tokens;
    if (!hand_over(request, &event))
        return false;
    held_text_take(&choice->text, ready);
    return true;
}

/* The rule for output token `pos`: in the first min_tokens no stop string ends. */
static struct held_text_rule rule_at(const struct session_request *request,
                                     const struct journal *journal, uint32_t pos)
{
    return (struct held_text_rule){ .matcher = request->matcher,
                                    .is_checked = pos > journal->submit.params->min_tokens,
                                    .include_stop = request->include_stop };
}

/* Decode the next accepted token. Returns false when choice or request are over. */
static bool deliver_token(struct session_request *request, struct journal *journal, uint32_t number)
{
    struct journal_choice *choice = &journal->choices[number];
    struct held_text_ready ready;
    const int32_t id = choice->tokens[choice->num_decoded++];
    const struct held_text_rule rule = rule_at(request, journal, choice->num_decoded);
    size_t len = 0;
    request->usage.completion_tokens++;
    if (record_is_eos(&journal->submit, id) ||
        (record_is_stop(&journal->submit, id) && !request->include_stop))
        return true; /* neither text nor an entry */
    const char *bytes = tokenizer_bytes(request->session->tokenizer, id, &len);
    if (held_text_push(&choice->text, &rule, bytes, has_text(request, id) ? len : 0, &ready) < 0) {
        deliver_failure(request, RECORD_FAILURE_INTERNAL, 0);
        return false;
    }
    if (!deliver_piece(request, journal, number, &ready))
        return false;
    if (ready.is_cut)
        finish_choice(request, journal, number, ANSWER_FINISH_STOP, &ready);
    return !ready.is_cut;
}

/* The engine is through with the choice: let go what was held. */
static void deliver_rest(struct session_request *request, struct journal *journal, uint32_t number)
{
    struct journal_choice *choice = &journal->choices[number];
    const struct held_text_rule rule = rule_at(request, journal, choice->num_decoded);
    struct held_text_ready ready;
    if (held_text_end(&choice->text, &rule, &ready) < 0) {
        deliver_failure(request, RECORD_FAILURE_INTERNAL, 0);
        return;
    }
    if (!deliver_piece(request, journal, number, &ready))
        return;
    const bool stops = ready.is_cut || choice->finish == RECORD_FINISH_EOS;
    finish_choice(request, journal, number, stops ? ANSWER_FINISH_STOP : ANSWER_FINISH_LENGTH,
                  ready.is_cut ? &ready : NULL);
}

/* Nothing but the prompt was asked for: the choice is through when that is. */
static void deliver_no_output(struct session_request *request, struct journal *journal,
                              uint32_t number)
{
    if (journal_has_prompt_logprobs(journal))
        finish_choice(request, journal, number, ANSWER_FINISH_LENGTH, NULL);
}

void deliver_choice(struct session_request *request, struct journal *journal, uint32_t number)
{
    const struct journal_choice *choice = &journal->choices[number];
    if (deliver_is_over(request) || !request->has_said_started || choice->is_finished)
        return;
    if (!journal->wants_output) {
        deliver_no_output(request, journal, number);
        return;
    }
    while (choice->num_decoded < choice->num_accepted)
        if (!deliver_token(request, journal, number))
            return;
    if (choice->finish != 0)
        deliver_rest(request, journal, number);
}

/* ------------------------------------------------------------------ the request */

static bool say(struct session_request *request, enum answer_event_kind kind, bool *has_said)
{
    struct answer_event event = { .kind = kind, .stop_id = -1 };
    if (*has_said)
        return true;
    *has_said = true;
    return hand_over(request, &event);
}

static void deliver_journal(struct session_request *request, struct journal *journal)
{
    if (!journal->is_started)
        return;
    if (request->echo && !journal->is_echoed && journal_has_prompt_logprobs(journal) &&
        !deliver_prompt(request, journal))
        return;
    for (uint32_t i = 0; i < journal->submit.params->num_choices; i++)
        deliver_choice(request, journal, i);
}

void deliver_request(struct session_request *request)
{
    if (deliver_is_over(request) || request->num_accepted < request->num_journals)
        return;
    if (!say(request, ANSWER_ACCEPTED, &request->has_said_accepted))
        return;
    if (request->started_us == 0 || !say(request, ANSWER_STARTED, &request->has_said_started))
        return;
    for (uint32_t i = 0; i < request->num_journals && !deliver_is_over(request); i++)
        deliver_journal(request, request->journals[i]);
}
