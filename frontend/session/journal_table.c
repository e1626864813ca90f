#include "frontend/session/journal_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static uint32_t slot_of(uint64_t id)
{
    return (uint32_t)(id & (JOURNAL_TABLE_MAX - 1));
}

int journal_table_init(struct journal_table *table, uint32_t num_slots)
{
    assert(num_slots > 0 && num_slots <= JOURNAL_TABLE_MAX);
    struct request_slot *slots = calloc(num_slots, sizeof(*slots));
    if (slots == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < num_slots; i++)
        slots[i].next = i + 1 < num_slots ? i + 1 : JOURNAL_TABLE_NONE;
    *table = (struct journal_table){ .slots = slots, .num_slots = num_slots };
    return 0;
}

void journal_table_finish(struct journal_table *table)
{
    free(table->slots);
    *table = (struct journal_table){ 0 };
}

uint64_t journal_table_add(struct journal_table *table, struct journal *journal)
{
    const uint32_t slot = table->free;
    assert(slot != JOURNAL_TABLE_NONE);
    table->free = table->slots[slot].next;
    table->num_used++;
    const uint64_t id = ++table->last_count << JOURNAL_TABLE_SLOT_BITS | slot;
    table->slots[slot] =
        (struct request_slot){ .id = id, .journal = journal, .next = JOURNAL_TABLE_NONE };
    return id;
}

void journal_table_remove(struct journal_table *table, uint64_t id)
{
    const uint32_t slot = slot_of(id);
    assert(table->slots[slot].id == id);
    table->slots[slot] = (struct request_slot){ .next = table->free };
    table->free = slot;
    table->num_used--;
}

struct request_slot *journal_table_slot(struct journal_table *table, uint64_t id)
{
    return &table->slots[slot_of(id)];
}

int journal_table_find(const struct journal_table *table, uint64_t id, struct journal **ret_journal)
{
    const uint64_t count = id >> JOURNAL_TABLE_SLOT_BITS;
    if (count == 0 || count > table->last_count || slot_of(id) >= table->num_slots)
        return -ENOENT;
    const struct request_slot *slot = &table->slots[slot_of(id)];
    if (slot->id != id || slot->journal == NULL)
        return 0;
    *ret_journal = slot->journal;
    return 1;
}
