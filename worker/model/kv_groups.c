#include "worker/model/kv_groups.h"

#include <assert.h>

/* --- layers into groups and parts --------------------------------------------------------- */

static int32_t group_of(const struct kv_groups *kv, int32_t window)
{
    int32_t g = 0;
    while (g < kv->num_groups && kv->groups[g].window != window)
        g++;
    return g;
}

/* Groups in the order of their first layers; counts: layers of each. */
static void find_groups(const int32_t *windows, int32_t num_layers, struct kv_groups *kv,
                        int32_t *counts)
{
    for (int32_t l = 0; l < num_layers; l++) {
        const int32_t g = group_of(kv, windows[l]);
        if (g == kv->num_groups) {
            assert(g < KV_MAX_GROUPS);
            kv->groups[kv->num_groups++] = (struct kv_group){ .window = windows[l] };
            counts[g] = 0;
        }
        counts[g]++;
    }
}

static int32_t parts_of(int32_t num_layers, int32_t per_part)
{
    return (num_layers + per_part - 1) / per_part;
}

/* Padding is memory for nothing, a table is work for every page: a layer's place and a table count
 * alike, but a place that lasts, since it grows with the text, as four. */
static int32_t cost_of(const struct kv_groups *kv, const int32_t *counts, int32_t per_part,
                       int32_t *ret_parts)
{
    int32_t cost = 0;
    *ret_parts = 0;
    for (int32_t g = 0; g < kv->num_groups; g++) {
        const int32_t parts = parts_of(counts[g], per_part);
        cost += parts * ((kv->groups[g].window == 0 ? 4 : 1) * per_part + 1);
        *ret_parts += parts;
    }
    return cost;
}

/* One part for each group always fits. */
static int32_t choose_part(const struct kv_groups *kv, const int32_t *counts, int32_t num_layers)
{
    int32_t best = num_layers, least = INT32_MAX;
    for (int32_t per_part = num_layers; per_part > 0; per_part--) {
        int32_t parts;
        const int32_t cost = cost_of(kv, counts, per_part, &parts);
        if (parts <= KV_MAX_PARTS && cost < least) {
            best = per_part;
            least = cost;
        }
    }
    return best;
}

int32_t kv_groups_cut(const int32_t *windows, int32_t num_layers, int32_t block_size,
                      struct kv_groups *ret_groups, struct kv_place *ret_places)
{
    struct kv_groups kv = { .block_size = block_size };
    int32_t counts[KV_MAX_GROUPS], next[KV_MAX_GROUPS] = { 0 };
    find_groups(windows, num_layers, &kv, counts);
    const int32_t per_part = choose_part(&kv, counts, num_layers);
    for (int32_t g = 0; g < kv.num_groups; g++) {
        kv.groups[g].first_part = kv.num_parts;
        kv.groups[g].num_parts = parts_of(counts[g], per_part);
        kv.num_parts += kv.groups[g].num_parts;
    }
    for (int32_t l = 0; l < num_layers; l++) {
        const int32_t g = group_of(&kv, windows[l]), nth = next[g]++;
        ret_places[l] = (struct kv_place){ .part = kv.groups[g].first_part + nth / per_part,
                                           .layer = nth % per_part };
    }
    *ret_groups = kv;
    return per_part;
}

/* --- what a sequence holds ---------------------------------------------------------------- */

int32_t kv_most_pages(const struct kv_groups *kv, int32_t g, int32_t chunk, int32_t num_positions)
{
    const int32_t pages = kv_pages(kv, num_positions);
    const int64_t seen = kv->groups[g].window - 1 + 2 * (int64_t)chunk;
    const int64_t most = (seen + kv->block_size - 2) / kv->block_size + 1; /* wherever they begin */
    return kv->groups[g].window > 0 && most < pages ? (int32_t)most : pages;
}

int64_t kv_most_blocks(const struct kv_groups *kv, int32_t chunk, int32_t num_positions)
{
    int64_t num = 0;
    for (int32_t g = 0; g < kv->num_groups; g++)
        num += (int64_t)kv->groups[g].num_parts * kv_most_pages(kv, g, chunk, num_positions);
    return num;
}

static bool has_window(const struct kv_groups *kv)
{
    for (int32_t g = 0; g < kv->num_groups; g++)
        if (kv->groups[g].window > 0)
            return true;
    return false;
}

int32_t kv_fitting_chunk(const struct kv_groups *kv, int32_t num_blocks, int32_t chunk,
                         int32_t num_positions)
{
    int32_t low = has_window(kv) ? 1 : chunk, high = chunk; /* what fits lies in [low, high] */
    while (low < high) {
        const int32_t middle = low + (high - low + 1) / 2;
        if (kv_most_blocks(kv, middle, num_positions) <= num_blocks)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

bool kv_forgets(const struct kv_groups *kv)
{
    for (int32_t g = 0; g < kv->num_groups; g++)
        if (kv->groups[g].window == 0)
            return false;
    return true;
}
