#include "frontend/snapshot.h"

#include "frontend/state.h"

static void add_page(struct snapshot *snapshot, const struct status_page *page)
{
    if (page == NULL)
        return;
    for (int i = 0; i < STATUS_WORDS; i++)
        snapshot->words[i] += status_get(page, i);
}

void snapshot_take(const struct frontend *frontend, struct snapshot *ret_snapshot)
{
    *ret_snapshot = (struct snapshot){ 0 };
    add_page(ret_snapshot, frontend->own);
    add_page(ret_snapshot, frontend->supervisor);
    for (int i = 0; i < CONTROL_MAX_FRONTENDS; i++)
        add_page(ret_snapshot, frontend->peers[i].base);
    for (int i = 0; i < FRONTEND_MAX_ENGINES; i++)
        add_page(ret_snapshot, frontend->engines[i].page);
}

uint64_t snapshot_value(const struct snapshot *snapshot, enum stat_id stat)
{
    return snapshot->words[stat_word(stat)];
}

uint64_t snapshot_bucket(const struct snapshot *snapshot, enum stat_id stat, int32_t bucket)
{
    return snapshot->words[stat_word(stat) + bucket];
}

uint64_t snapshot_sum(const struct snapshot *snapshot, enum stat_id stat)
{
    return snapshot_bucket(snapshot, stat, stat_rows[stat].num_buckets + 1);
}

uint64_t snapshot_count(const struct snapshot *snapshot, enum stat_id stat)
{
    return snapshot_bucket(snapshot, stat, stat_rows[stat].num_buckets + 2);
}

double snapshot_quantile(const struct snapshot *snapshot, enum stat_id stat, double fraction)
{
    const struct stat_row *row = &stat_rows[stat];
    const double wanted = fraction * (double)snapshot_count(snapshot, stat);
    double below = 0, low = 0;
    if (wanted <= 0)
        return 0;
    for (int32_t i = 0; i < row->num_buckets; i++) {
        const double n = (double)snapshot_bucket(snapshot, stat, i);
        if (n > 0 && below + n >= wanted)
            return low + (row->buckets[i] - low) * (wanted - below) / n;
        below += n;
        low = row->buckets[i];
    }
    return low;
}
