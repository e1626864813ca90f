/*
 * kv_groups.h - how the layers' keys and values are cut into blocks of equal bytes
 *
 * Layers that see equally far back form a group: those with one window need the same positions.
 * A group's layers lie in parts of equal size, the last one padded, and a block holds one part's
 * keys and values of `block_size` consecutive positions. So all blocks have equal bytes, whatever
 * the group, and come from one pool.
 *
 *     page          positions [page * block_size, (page + 1) * block_size) of a sequence
 *     block         a page's share of one part: the pool's unit
 *     block table   of one part: the block of each page
 *
 * A group without a window keeps all pages of a sequence. Of the others a sequence holds those
 * that its next row reads, the window - 1 positions before it, and those of two chunks: one that
 * runs and one that is planned.
 */
#ifndef WORKER_MODEL_KV_GROUPS_H
#define WORKER_MODEL_KV_GROUPS_H

#include <stdbool.h>
#include <stdint.h>

enum { KV_MAX_GROUPS = 4, KV_MAX_PARTS = 16 };

struct kv_group {
    int32_t window; /* positions that a row sees, its own among them; 0: all */
    int32_t first_part, num_parts;
};

struct kv_groups {
    int32_t block_size, num_groups, num_parts;
    struct kv_group groups[KV_MAX_GROUPS]; /* their parts in order */
};

/* Where a layer's keys and values are: the part, and the layer's number in its blocks. */
struct kv_place {
    int32_t part, layer;
};

/*
 * Groups and parts of layers with these windows (0: none), at most KV_MAX_GROUPS different ones.
 * A part has as many layers as make padding, above all of layers without a window, and block tables
 * fewest together.
 *
 * Returns the number of layers of a part.
 */
int32_t kv_groups_cut(const int32_t *windows, int32_t num_layers, int32_t block_size,
                      struct kv_groups *ret_groups, struct kv_place *ret_places);

/* Pages that hold `num_positions`. */
static inline int32_t kv_pages(const struct kv_groups *kv, int32_t num_positions)
{
    return (int32_t)(((int64_t)num_positions + kv->block_size - 1) / kv->block_size);
}

/* The first page of group `g` that the row at position `pos` reads. */
static inline int32_t kv_first_page(const struct kv_groups *kv, int32_t g, int32_t pos)
{
    const int32_t window = kv->groups[g].window;
    return window > 0 && pos >= window ? (pos - window + 1) / kv->block_size : 0;
}

/* Most pages of group `g` that a sequence of `num_positions` holds, in chunks of `chunk`. */
int32_t kv_most_pages(const struct kv_groups *kv, int32_t g, int32_t chunk, int32_t num_positions);

/* Most blocks that it holds, of all groups. */
int64_t kv_most_blocks(const struct kv_groups *kv, int32_t chunk, int32_t num_positions);

/* The largest chunk, from 1 to `chunk`, in which a sequence of `num_positions` fits in
 * `num_blocks`; 1 also when none does. Without windows it is `chunk`: all need the same. */
int32_t kv_fitting_chunk(const struct kv_groups *kv, int32_t num_blocks, int32_t chunk,
                         int32_t num_positions);

/* Has every group a window, so that the oldest pages of a long sequence have no block at all? */
bool kv_forgets(const struct kv_groups *kv);

#endif
