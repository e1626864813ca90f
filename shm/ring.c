#include "shm/ring.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { PAGE = 4096 };

/* The writer's words, each on a page of its own so that no two sides share a cache line or a
 * prefetched neighbour. */
struct ring_words {
    struct segment_header header;
    _Alignas(PAGE) _Atomic uint32_t tail;     /* cells written; pairs with ring_pop()'s load */
    _Alignas(PAGE) _Atomic uint32_t head;     /* cells of the peer's ring taken out */
    _Atomic uint32_t bulk_head;               /* bytes of the peer's bulk taken out */
    _Alignas(PAGE) _Atomic uint32_t sleeping; /* this side waits for its doorbell */
    _Alignas(PAGE) unsigned char cells[];
};

_Static_assert(offsetof(struct ring_words, tail) == PAGE, "layout is shared between processes");
_Static_assert(offsetof(struct ring_words, head) == 2 * PAGE, "layout is shared between processes");
_Static_assert(offsetof(struct ring_words, sleeping) == 3 * PAGE, "layout is shared");
_Static_assert(offsetof(struct ring_words, cells) == 4 * PAGE, "layout is shared");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "atomics work between processes");

static struct ring_words *own_words(struct ring_end *end)
{
    return end->own.base;
}

static struct ring_words *peer_words(struct ring_end *end)
{
    return end->peer.base;
}

static struct ring_cell *cell_at(struct ring_words *words, struct ring_geometry g, uint32_t index)
{
    return (struct ring_cell *)(void *)words->cells + (index & (g.num_cells - 1));
}

static unsigned char *bulk_of(struct ring_words *words, struct ring_geometry g)
{
    return words->cells + (size_t)g.num_cells * sizeof(struct ring_cell);
}

static bool is_power_of_two(uint32_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

size_t ring_segment_bytes(struct ring_geometry g)
{
    return sizeof(struct ring_words) + (size_t)g.num_cells * sizeof(struct ring_cell) +
           g.bulk_bytes;
}

struct segment_header ring_segment_header(enum segment_kind kind, struct ring_geometry g,
                                          uint64_t epoch, uint64_t generation)
{
    return (struct segment_header){ .kind = kind,
                                    .epoch = epoch,
                                    .generation = generation,
                                    .num_cells = g.num_cells,
                                    .bulk_bytes = g.bulk_bytes,
                                    .size = ring_segment_bytes(g) };
}

void ring_end_init(struct ring_end *end, struct segment own, struct ring_geometry out,
                   struct segment peer, struct ring_geometry in, uint64_t epoch,
                   uint64_t generation)
{
    assert(is_power_of_two(out.num_cells) && is_power_of_two(out.bulk_bytes));
    assert(is_power_of_two(in.num_cells) && is_power_of_two(in.bulk_bytes));
    assert(own.size == ring_segment_bytes(out) && peer.size == ring_segment_bytes(in));
    const uint64_t mixed = epoch * 0x9E3779B97F4A7C15u ^ generation * 0xC2B2AE3D27D4EB4Fu;
    *end = (struct ring_end){
        .out = out, .in = in, .own = own, .peer = peer, .tag = (uint32_t)(mixed >> 32)
    };
}

void ring_end_finish(struct ring_end *end)
{
    segment_unmap(&end->own);
    segment_unmap(&end->peer);
    *end = (struct ring_end){ 0 };
}

/* --- producing --- */

uint32_t ring_room(struct ring_end *end)
{
    if (end->corrupt)
        return 0;
    /* acquire: the consumer has copied out what it gives back; pairs with ring_release() */
    const uint32_t head = atomic_load_explicit(&peer_words(end)->head, memory_order_acquire);
    const uint32_t used = end->tail - head;
    if (used > end->out.num_cells) {
        end->corrupt = true;
        return 0;
    }
    return end->out.num_cells - used;
}

bool ring_bulk_fits(struct ring_end *end, uint32_t bulk_len)
{
    if (end->corrupt || bulk_len > end->out.bulk_bytes / 2)
        return false;
    /* acquire: pairs with the store in ring_pop_bulk() */
    const uint32_t head = atomic_load_explicit(&peer_words(end)->bulk_head, memory_order_acquire);
    const uint32_t used = end->bulk_tail - head;
    if (used > end->out.bulk_bytes) {
        end->corrupt = true;
        return false;
    }
    return bulk_len <= end->out.bulk_bytes - used;
}

static void copy_in(struct ring_end *end, const void *bytes, uint32_t len)
{
    unsigned char *bulk = bulk_of(own_words(end), end->out);
    const uint32_t at = end->bulk_tail & (end->out.bulk_bytes - 1);
    const uint32_t room = end->out.bulk_bytes - at, first = len < room ? len : room;
    memcpy(bulk + at, bytes, first);
    memcpy(bulk, (const unsigned char *)bytes + first, len - first);
    end->bulk_tail += len;
}

int ring_push(struct ring_end *end, const struct ring_cell *cell, const void *bulk,
              uint32_t bulk_len)
{
    if (bulk_len % 4 != 0 || bulk_len > end->out.bulk_bytes / 2)
        return -EMSGSIZE;
    const bool room = ring_room(end) > 0 && (bulk_len == 0 || ring_bulk_fits(end, bulk_len));
    if (end->corrupt)
        return -EPROTO;
    if (!room)
        return -EAGAIN;

    struct ring_cell filled = *cell;
    filled.tag = end->tag;
    filled.bulk_pos = end->bulk_tail;
    filled.bulk_len = bulk_len;
    filled.seq = end->tail + 1;
    if (bulk_len > 0)
        copy_in(end, bulk, bulk_len);
    memcpy(cell_at(own_words(end), end->out, end->tail), &filled, sizeof(filled));
    end->tail++;
    return 0;
}

bool ring_publish(struct ring_end *end)
{
    if (end->published == end->tail)
        return false;
    end->published = end->tail;
    /* release: cells and bulk before the index; pairs with ring_pop()'s acquire */
    atomic_store_explicit(&own_words(end)->tail, end->tail, memory_order_release);
    /* Sleep handshake: our tail before our look at their flag; they do the reverse. */
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&peer_words(end)->sleeping, memory_order_relaxed) != 0;
}

/* --- consuming --- */

static int corrupt(struct ring_end *end, struct error *err, const char *field, uint32_t found,
                   uint32_t wanted)
{
    end->corrupt = true;
    return error_set(err, -EPROTO, "ring: %s is %u, expected %u at cell %u", field, found, wanted,
                     end->head);
}

static int check_cell(struct ring_end *end, const struct ring_cell *cell, struct error *err)
{
    if (cell->seq != end->head + 1)
        return corrupt(end, err, "sequence number", cell->seq, end->head + 1);
    if (cell->tag != end->tag)
        return corrupt(end, err, "tag", cell->tag, end->tag);
    if (cell->bulk_pos != end->bulk_head)
        return corrupt(end, err, "bulk position", cell->bulk_pos, end->bulk_head);
    if (cell->bulk_len % 4 != 0 || cell->bulk_len > end->in.bulk_bytes / 2)
        return corrupt(end, err, "bulk length", cell->bulk_len, end->in.bulk_bytes / 2);
    return 0;
}

/* Give the bulk of the last cell back if nobody fetched it. */
static void give_bulk(struct ring_end *end)
{
    /* release: our copying out is done; pairs with ring_bulk_fits() */
    atomic_store_explicit(&own_words(end)->bulk_head, end->bulk_head, memory_order_release);
}

int ring_pop(struct ring_end *end, struct ring_cell *ret_cell, struct error *err)
{
    if (end->corrupt)
        return error_set(err, -EPROTO, "ring: was found corrupt before");
    const uint32_t tail = atomic_load_explicit(&peer_words(end)->tail, memory_order_acquire);
    const uint32_t waiting = tail - end->head;
    if (waiting > end->in.num_cells)
        return corrupt(end, err, "tail", tail, end->head);
    if (waiting == 0)
        return 0;

    struct ring_cell cell;
    memcpy(&cell, cell_at(peer_words(end), end->in, end->head), sizeof(cell));
    const int r = check_cell(end, &cell, err);
    if (r < 0)
        return r;
    end->head++;
    end->bulk_head += cell.bulk_len;
    *ret_cell = cell;
    return 1;
}

void ring_pop_bulk(struct ring_end *end, const struct ring_cell *cell, void *ret_bytes)
{
    const unsigned char *bulk = bulk_of(peer_words(end), end->in);
    const uint32_t at = cell->bulk_pos & (end->in.bulk_bytes - 1);
    const uint32_t room = end->in.bulk_bytes - at;
    const uint32_t first = cell->bulk_len < room ? cell->bulk_len : room;
    memcpy(ret_bytes, bulk + at, first);
    memcpy((unsigned char *)ret_bytes + first, bulk, cell->bulk_len - first);
    give_bulk(end);
}

void ring_release(struct ring_end *end)
{
    give_bulk(end);
    /* release: the cells are copied out; pairs with ring_room() */
    atomic_store_explicit(&own_words(end)->head, end->head, memory_order_release);
}

bool ring_prepare_sleep(struct ring_end *end)
{
    atomic_store_explicit(&own_words(end)->sleeping, 1, memory_order_relaxed);
    /* Our flag before our look at their tail; ring_publish() does the reverse. */
    atomic_thread_fence(memory_order_seq_cst);
    const uint32_t tail = atomic_load_explicit(&peer_words(end)->tail, memory_order_relaxed);
    if (tail == end->head || end->corrupt)
        return true;
    ring_end_sleep(end);
    return false;
}

void ring_end_sleep(struct ring_end *end)
{
    atomic_store_explicit(&own_words(end)->sleeping, 0, memory_order_relaxed);
}
