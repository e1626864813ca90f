#include "worker/room.h"

#include <assert.h>
#include <string.h>

int32_t room_blocks_of(const struct scheduler *s, int32_t num_positions)
{
    return (num_positions + s->limits.block_size - 1) / s->limits.block_size;
}

int32_t room_num_places(const struct scheduler *s)
{
    const int32_t num = s->limits.max_num_seqs - s->num_running - s->num_preempted;
    return num > 0 ? num : 0;
}

void room_drop_blocks(struct scheduler *s, struct sequence *sequence)
{
    while (sequence->tables[0].num > 0)
        prefix_cache_drop_last(&s->prefixes, sequence->tables);
    sequence->num_kept = 0;
}

bool room_has_blocks(const struct scheduler *s, int32_t num)
{
    for (int g = 0; g < s->limits.num_groups; g++)
        if (s->blocks[g].num_free < num)
            return false;
    return true;
}

void room_add_blocks(struct scheduler *s, struct sequence *sequence, int32_t num)
{
    prefix_cache_make_room(&s->prefixes, num);
    for (int g = 0; g < s->limits.num_groups; g++) {
        struct block_table *table = &sequence->tables[g];
        const int r = block_pool_alloc(&s->blocks[g], num, table->ids + table->num);
        assert(r == 0);
        table->num += num;
    }
}

void room_remove(struct sequence **array, int32_t *num, const struct sequence *sequence)
{
    int32_t at = 0;
    while (array[at] != sequence)
        at++;
    memmove(array + at, array + at + 1, (size_t)(*num - at - 1) * sizeof(struct sequence *));
    --*num;
}

static bool goes_before(const struct sequence *a, const struct sequence *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->age < b->age);
}

void room_insert(struct sequence **array, int32_t *num, struct sequence *sequence)
{
    int32_t at = (*num)++;
    for (; at > 0 && goes_before(sequence, array[at - 1]); at--)
        array[at] = array[at - 1];
    array[at] = sequence;
}

void room_preempt(struct scheduler *s, struct sequence *sequence)
{
    plan_remove(s->plan, sequence);
    room_drop_blocks(s, sequence);
    sequence->num_computed = 0;
    sequence->state = SEQUENCE_PREEMPTED;
    room_remove(s->running, &s->num_running, sequence);
    room_insert(s->preempted, &s->num_preempted, sequence);
    s->plan->num_preempted++;
}

/* Blocks for all known tokens of a running sequence. Returns false when it was preempted itself. */
bool room_grow(struct scheduler *s, struct sequence *sequence)
{
    const int32_t missing = room_blocks_of(s, sequence_length(sequence)) - sequence->tables[0].num;
    while (missing > 0 && !room_has_blocks(s, missing)) {
        struct sequence *victim = s->running[s->num_running - 1]; /* the last in order */
        room_preempt(s, victim);
        if (victim == sequence)
            return false;
    }
    if (missing > 0)
        room_add_blocks(s, sequence, missing);
    return true;
}
