/*
 * ring.h - one producer, one consumer, 64-byte cells in shared memory, bulk bytes beside them
 *
 * A link between two processes is two segments, each written by one of them:
 *
 *     segment of A: header | tail of A's cells | A's heads of B's ring (cells, bulk) | A's sleeping
 *                   flag | A's cells | A's bulk bytes
 *     segment of B: likewise
 *
 * Indices are free-running 32-bit counts; a cell's place is index & (num_cells - 1). The
 * producer writes cells [tail, head + num_cells) and bulk, then publishes all of a step with
 * one release store of tail; the consumer loads tail with acquire, copies a cell out, checks
 * the copy, and gives the space back with a release store of head. Bulk is written and read
 * in the order of the cells, so a cell's bulk position must equal the reader's own count.
 *
 * The peer may be hostile: a side keeps its own positions and sizes in private memory and
 * believes the peer's only after checking them; nothing shared is read twice.
 *
 * Sleeping: consumer: sleeping = 1; fence seq_cst; look at tail again; wait for the doorbell.
 * Producer: store tail; fence seq_cst; look at sleeping; ring the doorbell if set.
 *
 * A struct ring_end is used by one thread.
 */
#ifndef SHM_RING_H
#define SHM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "shm/segment.h"

struct ring_cell {
    uint8_t kind;
    uint8_t flags;
    uint8_t choice;
    uint8_t count;
    uint32_t tag; /* of epoch and generation; set and checked by the ring */
    uint64_t id;
    uint32_t pos;
    uint32_t bulk_pos; /* set and checked by the ring */
    uint32_t bulk_len; /* bytes, a multiple of 4; set by the ring */
    union {
        int32_t tokens[8];
        uint32_t words[8];
    };
    uint32_t seq; /* index + 1; set and checked by the ring */
};
_Static_assert(sizeof(struct ring_cell) == 64, "layout is shared between processes");

/* Sizes of one direction: both powers of two, bulk_bytes >= 4096. */
struct ring_geometry {
    uint32_t num_cells;
    uint32_t bulk_bytes;
};

/* Size of a segment whose owner produces with geometry `g`. */
size_t ring_segment_bytes(struct ring_geometry g);

/* What segment_create() and segment_map() want for such a segment. */
struct segment_header ring_segment_header(enum segment_kind kind, struct ring_geometry g,
                                          uint64_t epoch, uint64_t generation);

struct ring_end {
    /* producing */
    struct ring_geometry out;
    uint32_t tail;      /* next index to write */
    uint32_t published; /* what the peer has been shown */
    uint32_t bulk_tail;
    /* consuming */
    struct ring_geometry in;
    uint32_t head;
    uint32_t bulk_head;
    uint32_t tag;
    bool corrupt; /* the peer broke a rule; nothing is read or written any more */
    struct segment own, peer;
};

/*
 * Join the two directions. Takes over the two mappings (of ring_segment_bytes(out) and (in)
 * bytes), unmapped by ring_end_finish().
 */
void ring_end_init(struct ring_end *end, struct segment own, struct ring_geometry out,
                   struct segment peer, struct ring_geometry in, uint64_t epoch,
                   uint64_t generation);
void ring_end_finish(struct ring_end *end); /* accepts a zeroed one */

/* Cells that can be pushed now, and whether `bulk_len` bytes of bulk fit beside them. */
uint32_t ring_room(struct ring_end *end);
bool ring_bulk_fits(struct ring_end *end, uint32_t bulk_len);

/*
 * Write one cell (kind, flags, choice, count, id, pos, payload are the caller's) and its bulk;
 * the peer sees it after ring_publish(). Never blocks, never allocates.
 *
 * Returns 0; -EAGAIN when there is no room now (ordinary); -EMSGSIZE for bulk over half of the
 * bulk ring or not a multiple of 4; -EPROTO when the peer's head is impossible.
 */
int ring_push(struct ring_end *end, const struct ring_cell *cell, const void *bulk,
              uint32_t bulk_len);

/* Show everything pushed to the peer. Returns true when the peer sleeps: ring its doorbell. */
bool ring_publish(struct ring_end *end);

/*
 * Copy the next cell out. Its bulk, if any, is to be fetched by ring_pop_bulk() before the
 * next pop (a bulk not fetched is skipped).
 *
 * Returns 1; 0 when empty (ordinary); -EPROTO with what was wrong.
 */
int ring_pop(struct ring_end *end, struct ring_cell *ret_cell, struct error *err);

/* Copy the bulk of the cell just popped (cell->bulk_len bytes) and give its space back. */
void ring_pop_bulk(struct ring_end *end, const struct ring_cell *cell, void *ret_bytes);

/* Give the popped cells back to the producer: once per batch. */
void ring_release(struct ring_end *end);

/* Say that this side is going to sleep; returns false when there is something to read after
 * all (then it does not count as asleep). */
bool ring_prepare_sleep(struct ring_end *end);
void ring_end_sleep(struct ring_end *end);

#endif
