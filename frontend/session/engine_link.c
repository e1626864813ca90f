#include "frontend/session/engine_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/records/stats.h"
#include "shm/doorbell.h"

struct fact {
    const char *key;
    int64_t min;
    bool is_needed;
};

static int read_fact(const char *text, const struct fact *fact, int64_t *ret_value,
                     struct error *err)
{
    *ret_value = fact->min;
    if (!status_fact_int(text, fact->key, ret_value) && fact->is_needed)
        return error_set(err, -EPROTO, "engine's status page: no fact \"%s\"", fact->key);
    if (*ret_value < fact->min || *ret_value > INT32_MAX)
        return error_set(err, -EPROTO, "engine's status page: %s is %lld, must be in [%lld, %d]",
                         fact->key, (long long)*ret_value, (long long)fact->min, INT32_MAX);
    return 0;
}

static int read_limits(struct engine_link *link, const struct status_page *page, struct error *err)
{
    static const struct fact facts[] = { { "vocab_size", 1, true },
                                         { "max_model_len", 1, true },
                                         { "max_num_seqs", 0, false },
                                         { "max_num_queued_reqs", 0, false } };
    char text[STATUS_TEXT_BYTES], last_words[STATUS_ERROR_BYTES];
    int64_t values[4];
    if (!status_get_texts(page, text, last_words))
        return error_set(err, -EPROTO, "engine's status page: the facts change while being read");
    for (int i = 0; i < 4; i++) {
        const int r = read_fact(text, &facts[i], &values[i], err);
        if (r < 0)
            return r;
    }
    link->bounds = (struct record_bounds){ .vocab_size = (int32_t)values[0],
                                           .max_model_len = (int32_t)values[1] };
    if (status_fact_text(text, "identity", last_words, sizeof(last_words)))
        link->identity = strtoull(last_words, NULL, 16);
    link->max_num_seqs = values[2];
    link->max_queued = values[3];
    return 0;
}

int engine_link_open(struct engine_link *link, uint32_t number, uint64_t epoch, uint64_t generation,
                     struct ring_end *end, const struct status_page *page, int doorbell,
                     struct error *err)
{
    struct engine_link opened = { .is_up = true,
                                  .number = number,
                                  .epoch = epoch,
                                  .generation = generation,
                                  .page = page,
                                  .doorbell = doorbell,
                                  .first_cancel = JOURNAL_TABLE_NONE,
                                  .last_cancel = JOURNAL_TABLE_NONE };
    const int r = read_limits(&opened, page, err);
    if (r < 0)
        return r;
    opened.end = *end;
    *end = (struct ring_end){ 0 };
    *link = opened;
    return 0;
}

void engine_link_close(struct engine_link *link, struct journal_table *table)
{
    if (!link->is_up)
        return;
    while (link->first_cancel != JOURNAL_TABLE_NONE) {
        const struct request_slot *slot = &table->slots[link->first_cancel];
        link->first_cancel = slot->next;
        journal_table_remove(table, slot->id);
    }
    struct segment page = { .base = (void *)(uintptr_t)link->page,
                            .size = (size_t)status_segment_header().size };
    segment_unmap(&page);
    ring_end_finish(&link->end);
    close(link->doorbell);
    link->is_up = false;
}

bool engine_link_takes_requests(const struct engine_link *link)
{
    return link->is_up && !link->is_corrupt;
}

bool engine_link_is_full(const struct engine_link *link)
{
    if (link->max_queued == 0)
        return false;
    const uint64_t waiting = status_get(link->page, stat_word(STAT_NUM_REQUESTS_WAITING));
    return waiting >= (uint64_t)link->max_queued;
}

/* ------------------------------------------------------------------ who is there */

void engine_link_attach(struct engine_link *link, struct journal *journal)
{
    journal->engine = link->number;
    journal->identity = link->identity;
    journal->prev = NULL;
    journal->next = link->journals;
    if (link->journals != NULL)
        link->journals->prev = journal;
    link->journals = journal;
    link->num_journals++;
    for (uint32_t i = 0; i < journal->submit.params->num_choices; i++)
        journal->choices[i].owes_cancel = false; /* of an earlier engine */
}

void engine_link_detach(struct engine_link *link, struct journal *journal)
{
    if (journal->next != NULL)
        journal->next->prev = journal->prev;
    if (journal->prev != NULL)
        journal->prev->next = journal->next;
    else
        link->journals = journal->next;
    journal->prev = journal->next = NULL;
    link->num_journals--;
}

/* ------------------------------------------------------------------ to the engine */

void engine_link_set_corrupt(struct engine_link *link, const char *what)
{
    if (link->is_corrupt)
        return;
    link->is_corrupt = true;
    snprintf(link->report, sizeof(link->report), "%s", what);
}

/* 0, -EAGAIN, or -EPROTO with the link marked. */
static int push(struct engine_link *link, const struct ring_cell *cell, const void *bulk,
                uint32_t len)
{
    const int r = ring_push(&link->end, cell, bulk, len);
    if (r == -EPROTO)
        engine_link_set_corrupt(link, "ring: the engine's head is behind or ahead of what it "
                                      "was sent");
    return r;
}

static int push_choice_cancel(struct engine_link *link, struct journal *journal, uint32_t choice)
{
    const struct ring_cell cell = { .kind = RECORD_CANCEL,
                                    .flags = RECORD_FLAG_CHOICE,
                                    .choice = (uint8_t)choice,
                                    .id = journal->id };
    struct journal_choice *owing = &journal->choices[choice];
    const bool is_needed = owing->owes_cancel && owing->finish == 0;
    const int r = is_needed ? push(link, &cell, NULL, 0) : 0;
    owing->owes_cancel = r < 0;
    return r;
}

static void push_choice_cancels(struct engine_link *link)
{
    for (struct journal *journal = link->journals; link->owes_choices && journal != NULL;
         journal = journal->next)
        for (uint32_t i = 0; i < journal->submit.params->num_choices; i++)
            if (push_choice_cancel(link, journal, i) < 0)
                return;
    link->owes_choices = false;
}

static void push_cancels(struct engine_link *link, struct journal_table *table)
{
    push_choice_cancels(link);
    while (link->first_cancel != JOURNAL_TABLE_NONE) {
        const struct request_slot *slot = &table->slots[link->first_cancel];
        const struct ring_cell cell = { .kind = RECORD_CANCEL, .id = slot->id };
        if (push(link, &cell, NULL, 0) < 0)
            return;
        link->first_cancel = slot->next;
        journal_table_remove(table, slot->id);
    }
}

void engine_link_cancel(struct engine_link *link, struct journal_table *table, uint64_t id)
{
    struct request_slot *slot = journal_table_slot(table, id);
    const uint32_t index = (uint32_t)(slot - table->slots);
    slot->journal = NULL;
    slot->next = JOURNAL_TABLE_NONE;
    if (link->first_cancel == JOURNAL_TABLE_NONE)
        link->first_cancel = index;
    else
        table->slots[link->last_cancel].next = index;
    link->last_cancel = index;
}

void engine_link_cancel_choice(struct engine_link *link, struct journal *journal, uint32_t choice)
{
    journal->choices[choice].owes_cancel = true;
    if (push_choice_cancel(link, journal, choice) < 0)
        link->owes_choices = true;
}

void engine_link_publish(struct engine_link *link, struct journal_table *table)
{
    if (!engine_link_takes_requests(link))
        return;
    push_cancels(link, table);
    if (ring_publish(&link->end))
        doorbell_ring(link->doorbell);
}

static int check_room(struct engine_link *link, uint32_t num_journals, size_t num_bytes,
                      struct error *err)
{
    const size_t most = link->end.out.bulk_bytes / 2;
    if (num_bytes > most || num_journals > link->end.out.num_cells)
        return error_set(err, -EMSGSIZE,
                         "the request takes %zu bytes for the engine, at most %zu fit", num_bytes,
                         most);
    if (link->first_cancel != JOURNAL_TABLE_NONE || ring_room(&link->end) < num_journals ||
        !ring_bulk_fits(&link->end, (uint32_t)num_bytes))
        return error_set(err, -EAGAIN, "the engine has not taken the requests before this one");
    return 0;
}

int engine_link_submit(struct engine_link *link, struct journal_table *table,
                       struct journal *const *journals, uint32_t num_journals, struct error *err)
{
    size_t num_bytes = 0;
    for (uint32_t i = 0; i < num_journals; i++)
        num_bytes += journals[i]->num_bytes;
    push_cancels(link, table);
    int r = check_room(link, num_journals, num_bytes, err);
    if (link->end.corrupt)
        r = -EPROTO;
    for (uint32_t i = 0; r == 0 && i < num_journals; i++) {
        const struct ring_cell cell = { .kind = RECORD_SUBMIT, .id = journals[i]->id };
        r = push(link, &cell, journals[i]->bytes, (uint32_t)journals[i]->num_bytes);
    }
    if (r == -EPROTO) {
        engine_link_set_corrupt(link, "ring: the engine gave back what it was not sent");
        return error_set(err, -EPROTO, "the engine broke its ring");
    }
    if (r < 0)
        return r;
    engine_link_publish(link, table);
    return 0;
}
