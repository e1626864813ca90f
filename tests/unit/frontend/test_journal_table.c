#include "frontend/session/journal_table.h"
#include "tests/unit/runner.h"

#include <errno.h>
#include <stdlib.h>

enum { NUM_SLOTS = 4 };

static struct journal_table table;
static int things[NUM_SLOTS + 1];

static struct journal *thing(int i)
{
    return (struct journal *)(void *)&things[i]; /* only its address matters */
}

static void setup(void)
{
    ck_assert_int_eq(journal_table_init(&table, NUM_SLOTS), 0);
}

static void teardown(void)
{
    journal_table_finish(&table);
}

START_TEST(a_live_id_finds_its_journal)
{
    uint64_t ids[NUM_SLOTS];
    struct journal *found;
    for (int i = 0; i < NUM_SLOTS; i++)
        ids[i] = journal_table_add(&table, thing(i));
    ck_assert_uint_eq(table.num_used, NUM_SLOTS);
    for (int i = 0; i < NUM_SLOTS; i++) {
        ck_assert_int_eq(journal_table_find(&table, ids[i], &found), 1);
        ck_assert_ptr_eq(found, thing(i));
    }
}
END_TEST

START_TEST(an_id_is_never_given_twice_though_its_slot_is)
{
    const uint64_t first = journal_table_add(&table, thing(0));
    struct journal *found = NULL;
    journal_table_remove(&table, first);
    const uint64_t second = journal_table_add(&table, thing(1));

    ck_assert_ptr_eq(journal_table_slot(&table, first), journal_table_slot(&table, second));
    ck_assert_uint_lt(first, second);
    ck_assert_int_eq(journal_table_find(&table, first, &found), 0);
    ck_assert_int_eq(journal_table_find(&table, second, &found), 1);
    ck_assert_ptr_eq(found, thing(1));
}
END_TEST

START_TEST(an_id_that_was_never_given_is_told_from_one_of_the_past)
{
    struct journal *found = NULL;
    const uint64_t id = journal_table_add(&table, thing(0));
    journal_table_remove(&table, id);
    ck_assert_int_eq(journal_table_find(&table, id, &found), 0);
    ck_assert_int_eq(journal_table_find(&table, 0, &found), -ENOENT);
    ck_assert_int_eq(journal_table_find(&table, id + (1ull << JOURNAL_TABLE_SLOT_BITS), &found),
                     -ENOENT);
    ck_assert_int_eq(journal_table_find(&table, id + NUM_SLOTS, &found), -ENOENT);
    ck_assert_int_eq(journal_table_find(&table, UINT64_MAX, &found), -ENOENT);
}
END_TEST

RUN_SUITE_AROUND("journal_table", setup, teardown, a_live_id_finds_its_journal,
                 an_id_is_never_given_twice_though_its_slot_is,
                 an_id_that_was_never_given_is_told_from_one_of_the_past)
