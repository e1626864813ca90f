#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/session/session_internal.h"
#include "proto/records/stats.h"

/* What an engine may say, and what such a cell may carry. */
struct rule {
    int (*handle)(struct session *session, struct engine_link *link, struct journal *journal,
                  const struct ring_cell *cell, struct error *err);
    uint8_t flags;
    bool has_bulk;
    bool names_choice;
    bool needs_start; /* STARTED came before */
};

static int handle_accepted(struct session *session, struct engine_link *link,
                           struct journal *journal, const struct ring_cell *cell, struct error *err)
{
    struct session_request *request = journal->request;
    (void)session;
    (void)link;
    (void)cell;
    if (journal->stage != JOURNAL_SUBMITTED)
        return error_set(err, -EPROTO, "ACCEPTED: a second time");
    journal->stage = JOURNAL_ACCEPTED;
    request->num_accepted += !journal->is_accepted; /* an earlier engine may have */
    journal->is_accepted = true;
    deliver_request(request);
    return 1;
}

static int handle_started(struct session *session, struct engine_link *link,
                          struct journal *journal, const struct ring_cell *cell, struct error *err)
{
    const uint32_t cached_tokens = cell->words[0]; /* struct record_started */
    (void)session;
    (void)link;
    if (journal->stage != JOURNAL_ACCEPTED)
        return error_set(err, -EPROTO, "STARTED: %s",
                         journal->stage == JOURNAL_STARTED ? "a second time" : "before ACCEPTED");
    if (cached_tokens > journal->submit.num_prompt)
        return error_set(err, -EPROTO, "STARTED: %u cached tokens, the prompt has %u",
                         cached_tokens, journal->submit.num_prompt);
    journal->stage = JOURNAL_STARTED;
    if (!journal->is_started) { /* what is computed again is not counted again */
        journal->cached_tokens = cached_tokens;
        journal->request->usage.cached_tokens += cached_tokens;
    }
    journal->is_started = true;
    request_stats_start(journal->request);
    deliver_request(journal->request);
    return 1;
}

static int handle_tokens(struct session *session, struct engine_link *link, struct journal *journal,
                         const struct ring_cell *cell, struct error *err)
{
    struct journal_choice *choice = &journal->choices[cell->choice];
    (void)session;
    if (cell->count < 1 || cell->count > RECORD_TOKENS_PER_CELL)
        return error_set(err, -EPROTO, "TOKENS: count %u, must be in [1, %d]", cell->count,
                         RECORD_TOKENS_PER_CELL);
    if (choice->is_finished) {
        session->counters.late_cells++;
        return 1;
    }
    if (!journal_has_prompt_logprobs(journal))
        return error_set(err, -EPROTO, "TOKENS: before all LOGPROBS of the prompt");
    const int r = journal_accept_tokens(journal, cell->choice, cell->pos, cell->tokens, cell->count,
                                        link->bounds.vocab_size, err);
    if (r <= 0)
        return r;
    request_stats_tokens(journal->request, choice, cell->count);
    deliver_choice(journal->request, journal, cell->choice);
    return 1;
}

static int handle_done(struct session *session, struct engine_link *link, struct journal *journal,
                       const struct ring_cell *cell, struct error *err)
{
    struct record_done done;
    (void)session;
    (void)link;
    memcpy(&done, cell->words, sizeof(done));
    const int r = journal_accept_done(journal, cell->choice, &done, err);
    if (r <= 0)
        return r;
    deliver_choice(journal->request, journal, cell->choice);
    return 1;
}

static int handle_failed(struct session *session, struct engine_link *link, struct journal *journal,
                         const struct ring_cell *cell, struct error *err)
{
    struct record_failed failed;
    (void)session;
    (void)link;
    memcpy(&failed, cell->words, sizeof(failed));
    if (failed.code < RECORD_FAILURE_QUEUE_FULL || failed.code > RECORD_FAILURE_INTERNAL)
        return error_set(err, -EPROTO, "FAILED: code %u is not known", failed.code);
    journal->num_at_engine = 0; /* all of it ended there */
    deliver_failure(journal->request, (enum record_failure)failed.code, failed.retry_after_ms);
    return 1;
}

/* A private copy of the cell's bulk, or NULL without memory. */
static const void *fetch_bulk(struct session *session, struct engine_link *link,
                              const struct ring_cell *cell)
{
    if (cell->bulk_len > session->bulk_cap) {
        void *grown = realloc(session->bulk, cell->bulk_len);
        if (grown == NULL)
            return NULL;
        session->bulk = grown;
        session->bulk_cap = cell->bulk_len;
    }
    if (cell->bulk_len > 0)
        ring_pop_bulk(&link->end, cell, session->bulk);
    return session->bulk;
}

static int handle_logprobs(struct session *session, struct engine_link *link,
                           struct journal *journal, const struct ring_cell *cell, struct error *err)
{
    const bool of_prompt = (cell->flags & RECORD_FLAG_PROMPT) != 0;
    if (cell->bulk_len == 0)
        return error_set(err, -EPROTO, "LOGPROBS: without any");
    if (!of_prompt && journal->choices[cell->choice].is_finished) {
        session->counters.late_cells++;
        return 1;
    }
    const void *bulk = fetch_bulk(session, link, cell);
    if (bulk == NULL)
        return -ENOMEM;
    if (!of_prompt)
        return journal_accept_logprobs(journal, cell->choice, cell->pos, bulk, cell->bulk_len,
                                       link->bounds.vocab_size, err);
    const int r = journal_accept_prompt_logprobs(journal, cell->pos, bulk, cell->bulk_len,
                                                 link->bounds.vocab_size, err);
    if (r > 0)
        deliver_request(journal->request);
    return r;
}

static const struct rule rules[] = {
    [RECORD_ACCEPTED] = { handle_accepted, 0, false, false, false },
    [RECORD_STARTED] = { handle_started, 0, false, false, false },
    [RECORD_TOKENS] = { handle_tokens, 0, false, true, true },
    [RECORD_LOGPROBS] = { handle_logprobs, RECORD_FLAG_PROMPT, true, true, true },
    [RECORD_DONE] = { handle_done, 0, false, true, true },
    [RECORD_FAILED] = { handle_failed, 0, false, false, false },
};

static int check_form(const struct ring_cell *cell, const struct rule **ret_rule, struct error *err)
{
    const struct rule *rule =
        &rules[cell->kind < sizeof(rules) / sizeof(rules[0]) ? cell->kind : 0];
    if (rule->handle == NULL)
        return error_set(err, -EPROTO, "kind %u is not known", cell->kind);
    if ((cell->flags & ~rule->flags) != 0)
        return error_set(err, -EPROTO, "kind %u: flags 0x%x are not known", cell->kind,
                         cell->flags & ~rule->flags);
    if (cell->bulk_len > 0 && !rule->has_bulk)
        return error_set(err, -EPROTO, "kind %u: %u bytes of bulk, none belong there", cell->kind,
                         cell->bulk_len);
    *ret_rule = rule;
    return 0;
}

/* 1 and the journal; 0 for an id of the past. */
static int find_journal(struct session *session, const struct engine_link *link,
                        const struct ring_cell *cell, struct journal **ret_journal,
                        struct error *err)
{
    const int r = journal_table_find(&session->table, cell->id, ret_journal);
    if (r < 0)
        return error_set(err, -EPROTO, "id %llu was never given", (unsigned long long)cell->id);
    if (r > 0 && (*ret_journal)->engine != link->number)
        return error_set(err, -EPROTO, "id %llu belongs to engine %u", (unsigned long long)cell->id,
                         (*ret_journal)->engine);
    return r;
}

static int check_state(const struct journal *journal, const struct rule *rule,
                       const struct ring_cell *cell, struct error *err)
{
    const uint32_t num_choices = journal->submit.params->num_choices;
    if (rule->names_choice && cell->choice >= num_choices)
        return error_set(err, -EPROTO, "kind %u: choice %u, the request has %u", cell->kind,
                         cell->choice, num_choices);
    if (rule->needs_start && journal->stage != JOURNAL_STARTED)
        return error_set(err, -EPROTO, "kind %u: before STARTED", cell->kind);
    return 0;
}

static int receive(struct session *session, struct engine_link *link, const struct ring_cell *cell,
                   struct journal **ret_journal, struct error *err)
{
    const struct rule *rule = NULL;
    int r = check_form(cell, &rule, err);
    if (r < 0)
        return r;
    r = find_journal(session, link, cell, ret_journal, err);
    if (r == 0) {
        session->counters.late_cells++;
        return 1;
    }
    if (r > 0)
        r = check_state(*ret_journal, rule, cell, err);
    return r < 0 ? r : rule->handle(session, link, *ret_journal, cell, err);
}

void receive_cell(struct session *session, struct engine_link *link, const struct ring_cell *cell)
{
    struct journal *journal = NULL;
    struct error err = { 0 };
    const int r = receive(session, link, cell, &journal, &err);
    if (r > 0)
        return;
    if (r == 0) {
        session->counters.duplicate_cells++;
        if (session->words != NULL)
            stat_add(session->words, STAT_RING_DROPPED, 1);
    } else if (r == -ENOMEM) {
        deliver_failure(journal->request, RECORD_FAILURE_INTERNAL, 0);
    } else {
        session->counters.corrupt_cells++;
        engine_link_set_corrupt(link, err.message);
    }
}
