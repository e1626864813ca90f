/*
 * journal_table.h - ids of submissions: slot and count in one number
 *
 *     id = count << 20 | slot
 *
 * The count rises with every id and never repeats, so an id of the past is told from one that
 * was never given by a comparison, and a live one is found by its slot: no search, no hash.
 */
#ifndef FRONTEND_SESSION_JOURNAL_TABLE_H
#define FRONTEND_SESSION_JOURNAL_TABLE_H

#include <stdint.h>

struct journal;

enum { JOURNAL_TABLE_SLOT_BITS = 20, JOURNAL_TABLE_MAX = 1 << JOURNAL_TABLE_SLOT_BITS };
#define JOURNAL_TABLE_NONE UINT32_MAX

struct request_slot {
    uint64_t id;             /* 0: free */
    struct journal *journal; /* NULL while only its CANCEL waits for room on the ring */
    uint32_t next;           /* of the free slots, or of the waiting CANCELs */
};

struct journal_table {
    struct request_slot *slots;
    uint32_t num_slots, num_used;
    uint32_t free; /* first free slot */
    uint64_t last_count;
};

int journal_table_init(struct journal_table *table, uint32_t num_slots); /* 0 or -ENOMEM */
void journal_table_finish(struct journal_table *table);

/* A new id for `journal`; there must be a free slot (num_used < num_slots). */
uint64_t journal_table_add(struct journal_table *table, struct journal *journal);

/* The slot is free again. */
void journal_table_remove(struct journal_table *table, uint64_t id);

struct request_slot *journal_table_slot(struct journal_table *table, uint64_t id);

/*
 * Returns 1 and the journal of a live id; 0 for one that was given and is gone (ordinary);
 * -ENOENT for one that was never given.
 */
int journal_table_find(const struct journal_table *table, uint64_t id,
                       struct journal **ret_journal);

#endif
