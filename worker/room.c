#include "worker/room.h"

#include <assert.h>
#include <string.h>

int32_t room_num_places(const struct scheduler *s)
{
    const int32_t num = s->limits.max_num_seqs - s->num_running - s->num_preempted;
    return num > 0 ? num : 0;
}

void room_drop_blocks(struct scheduler *s, struct sequence *sequence)
{
    prefix_cache_drop(&s->prefixes, sequence->tables, &sequence->path);
    sequence->num_covered = 0;
}

/* --- how many blocks ---------------------------------------------------------------------- */

int32_t room_chunk(const struct scheduler *s)
{
    const int32_t budget = s->limits.max_num_batched_tokens;
    return s->max_chunk < budget ? s->max_chunk : budget;
}

bool room_has_blocks(const struct scheduler *s, int64_t num)
{
    return s->blocks.num_free >= num;
}

/* Where the pages of group `g` should end that begin with `first`. */
static int32_t wanted_end(const struct scheduler *s, int32_t g, int32_t first, int32_t length)
{
    const int32_t pages = kv_pages(&s->limits.kv, length);
    const int32_t most = kv_most_pages(&s->limits.kv, g, room_chunk(s), length);
    return first + most < pages ? first + most : pages;
}

int64_t room_num_wanted(const struct scheduler *s, int32_t pos, int32_t length)
{
    const struct kv_groups *kv = &s->limits.kv;
    int64_t num = 0;
    for (int32_t g = 0; g < kv->num_groups; g++) {
        const int32_t end = wanted_end(s, g, kv_first_page(kv, g, pos), length);
        num += (int64_t)kv->groups[g].num_parts * (end - pos / kv->block_size);
    }
    return num;
}

/* Of group `g`, in pages. */
static int32_t missing_pages(const struct scheduler *s, const struct sequence *sequence, int32_t g,
                             int32_t length)
{
    const struct block_table *table = &sequence->tables[g];
    const int32_t num = wanted_end(s, g, table->first, length) - table->num;
    return num > 0 ? num : 0;
}

static int32_t missing_blocks(const struct scheduler *s, const struct sequence *sequence,
                              int32_t length)
{
    const struct kv_groups *kv = &s->limits.kv;
    int32_t num = 0;
    for (int32_t g = 0; g < kv->num_groups; g++)
        num += kv->groups[g].num_parts * missing_pages(s, sequence, g, length);
    return num;
}

void room_add_blocks(struct scheduler *s, struct sequence *sequence, int32_t length)
{
    const struct kv_groups *kv = &s->limits.kv;
    int32_t covered = INT32_MAX;
    prefix_cache_make_room(&s->prefixes, missing_blocks(s, sequence, length));
    for (int32_t g = 0; g < kv->num_groups; g++) {
        struct block_table *table = &sequence->tables[g];
        const int32_t num = missing_pages(s, sequence, g, length);
        for (int32_t part = 0; part < kv->groups[g].num_parts; part++) {
            const int r =
                block_pool_alloc(&s->blocks, num, block_table_ids(table, part) + table->num);
            assert(r == 0);
        }
        table->num += num;
        covered = table->num < covered ? table->num : covered;
    }
    sequence->num_covered = covered * kv->block_size;
}

/* Choices that have not started yet may begin with what lies before the prompt's last position: for
 * a while it waits for them. */
static bool waits_for_choices(const struct scheduler *s, const struct sequence *sequence,
                              int32_t end)
{
    return sequence->request->num_seated < sequence->request->num_choices &&
           end >= sequence->num_prompt && end < sequence->num_prompt + room_chunk(s);
}

void room_give_back(struct scheduler *s, struct sequence *sequence, int32_t end)
{
    const struct kv_groups *kv = &s->limits.kv;
    const int32_t pos = waits_for_choices(s, sequence, end) ? sequence->num_prompt - 1 : end;
    for (int32_t g = 0; g < kv->num_groups; g++)
        prefix_cache_give_back(&s->prefixes, sequence->tables, g, kv_first_page(kv, g, pos));
}

/* --- running and preempted ---------------------------------------------------------------- */

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

bool room_grow(struct scheduler *s, struct sequence *sequence)
{
    int32_t length = sequence_length(sequence);
    if (sequence->num_covered >= length)
        return true;
    int32_t missing = missing_blocks(s, sequence, length);
    if (!room_has_blocks(s, missing)) {
        length = sequence->num_computed + 1;
        missing = missing_blocks(s, sequence, length);
    }
    while (!room_has_blocks(s, missing)) {
        struct sequence *victim = s->running[s->num_running - 1]; /* the last in order */
        room_preempt(s, victim);
        if (victim == sequence)
            return false;
    }
    if (missing > 0)
        room_add_blocks(s, sequence, length);
    return true;
}
