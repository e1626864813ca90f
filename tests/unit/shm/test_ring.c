#include "shm/ring.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/runner.h"
#include "tests/unit/shm/link_pair.h"

enum { CELLS = 8, BULK = 4096, PAGE = 4096 };

static const struct ring_geometry geometry = { CELLS, BULK };
static struct link_pair pair;

static void push(uint64_t id, const void *bulk, uint32_t len)
{
    const struct ring_cell cell = {
        .kind = 3, .choice = 1, .id = id, .pos = (uint32_t)id, .words = { 5 }
    };
    ck_assert_int_eq(ring_push(&pair.a, &cell, bulk, len), 0);
}

START_TEST(cells_arrive_in_order_once_published)
{
    struct ring_cell cell;
    link_pair_open(&pair, geometry);
    push(1, NULL, 0);
    push(2, NULL, 0);
    ck_assert_int_eq(ring_pop(&pair.b, &cell, NULL), 0);
    ring_publish(&pair.a);

    ck_assert_int_eq(ring_pop(&pair.b, &cell, NULL), 1);
    ck_assert_uint_eq(cell.id, 1);
    ck_assert_uint_eq(cell.words[0], 5);
    ck_assert_int_eq(ring_pop(&pair.b, &cell, NULL), 1);
    ck_assert_uint_eq(cell.id, 2);
    ck_assert_int_eq(ring_pop(&pair.b, &cell, NULL), 0);
    link_pair_close(&pair);
}
END_TEST

START_TEST(a_full_ring_takes_no_more_until_released)
{
    struct ring_cell cell;
    link_pair_open(&pair, geometry);
    for (int i = 0; i < CELLS; i++)
        push((uint64_t)i, NULL, 0);
    ring_publish(&pair.a);
    const struct ring_cell more = { .kind = 1 };
    ck_assert_int_eq(ring_push(&pair.a, &more, NULL, 0), -EAGAIN);
    ck_assert_int_eq(ring_pop(&pair.b, &cell, NULL), 1);
    ck_assert_int_eq(ring_push(&pair.a, &more, NULL, 0), -EAGAIN);
    ring_release(&pair.b);
    ck_assert_uint_eq(ring_room(&pair.a), 1);
    ck_assert_int_eq(ring_push(&pair.a, &more, NULL, 0), 0);
    link_pair_close(&pair);
}
END_TEST

START_TEST(bulk_of_any_size_survives_many_wraps)
{
    static unsigned char in[BULK / 2], out[BULK / 2];
    struct ring_cell cell;
    link_pair_open(&pair, geometry);
    for (uint32_t round = 0; round < 5000; round++) {
        const uint32_t len = round * 52 % (BULK / 2 + 4) & ~3u;
        for (uint32_t i = 0; i < len; i++)
            in[i] = (unsigned char)(round + i);
        push(round, in, len);
        ring_publish(&pair.a);
        ck_assert_int_eq(ring_pop(&pair.b, &cell, NULL), 1);
        ck_assert_uint_eq(cell.bulk_len, len);
        if (round % 3 != 0) { /* now and then nobody fetches it */
            ring_pop_bulk(&pair.b, &cell, out);
            ck_assert_int_eq(memcmp(in, out, len), 0);
        }
        ring_release(&pair.b);
    }
    link_pair_close(&pair);
}
END_TEST

START_TEST(bulk_without_room_waits_and_too_large_is_refused)
{
    static unsigned char bytes[BULK];
    const struct ring_cell cell = { .kind = 1 };
    struct ring_cell got;
    link_pair_open(&pair, geometry);
    ck_assert_int_eq(ring_push(&pair.a, &cell, bytes, BULK / 2 + 4), -EMSGSIZE);
    ck_assert_int_eq(ring_push(&pair.a, &cell, bytes, 6), -EMSGSIZE);
    push(1, bytes, BULK / 2);
    push(2, bytes, BULK / 2);
    ck_assert_int_eq(ring_push(&pair.a, &cell, bytes, 4), -EAGAIN);
    ck_assert(!ring_bulk_fits(&pair.a, 4));
    ring_publish(&pair.a);
    ck_assert_int_eq(ring_pop(&pair.b, &got, NULL), 1);
    ring_pop_bulk(&pair.b, &got, bytes);
    ck_assert(ring_bulk_fits(&pair.a, BULK / 2));
    link_pair_close(&pair);
}
END_TEST

START_TEST(indices_wrap_at_two_to_the_32)
{
    struct ring_cell cell;
    link_pair_open(&pair, geometry);
    const uint32_t start = UINT32_MAX - 5;
    pair.a.tail = pair.a.published = pair.b.head = start;
    *(uint32_t *)(void *)((char *)pair.a_writable.base + PAGE) = start;
    *(uint32_t *)(void *)((char *)pair.b_writable.base + 2 * PAGE) = start;
    for (uint64_t i = 0; i < 20; i++) {
        push(i, NULL, 0);
        ring_publish(&pair.a);
        ck_assert_int_eq(ring_pop(&pair.b, &cell, NULL), 1);
        ck_assert_uint_eq(cell.id, i);
        ring_release(&pair.b);
    }
    link_pair_close(&pair);
}
END_TEST

/* Every field that the ring vouches for, spoiled in the producer's memory. */
START_TEST(a_spoiled_cell_is_refused_and_the_ring_is_dead)
{
    static const struct {
        size_t offset;
        const char *field;
    } spoils[] = {
        { offsetof(struct ring_cell, seq), "sequence" },
        { offsetof(struct ring_cell, tag), "tag" },
        { offsetof(struct ring_cell, bulk_pos), "bulk position" },
        { offsetof(struct ring_cell, bulk_len), "bulk length" },
    };
    struct error err;
    struct ring_cell cell;
    link_pair_open(&pair, geometry);
    push(1, NULL, 0);
    ring_publish(&pair.a);
    unsigned char *cells = (unsigned char *)pair.a_writable.base + 4 * PAGE;
    cells[spoils[_i].offset] ^= 0x81;
    ck_assert_int_eq(ring_pop(&pair.b, &cell, &err), -EPROTO);
    ck_assert_ptr_nonnull(strstr(err.message, spoils[_i].field));
    cells[spoils[_i].offset] ^= 0x81;
    ck_assert_int_eq(ring_pop(&pair.b, &cell, &err), -EPROTO);
    link_pair_close(&pair);
}
END_TEST

START_TEST(an_impossible_tail_or_head_is_refused)
{
    struct error err;
    struct ring_cell cell = { .kind = 1 };
    link_pair_open(&pair, geometry);
    *(uint32_t *)(void *)((char *)pair.a_writable.base + PAGE) = CELLS + 1;
    ck_assert_int_eq(ring_pop(&pair.b, &cell, &err), -EPROTO);
    *(uint32_t *)(void *)((char *)pair.b_writable.base + 2 * PAGE) = 1;
    ck_assert_int_eq(ring_push(&pair.a, &cell, NULL, 0), -EPROTO);
    link_pair_close(&pair);
}
END_TEST

START_TEST(a_sleeper_is_reported_and_does_not_sleep_beside_news)
{
    link_pair_open(&pair, geometry);
    push(1, NULL, 0);
    ck_assert(!ring_publish(&pair.a));
    ck_assert(!ring_prepare_sleep(&pair.b));
    struct ring_cell cell;
    ck_assert_int_eq(ring_pop(&pair.b, &cell, NULL), 1);
    ring_release(&pair.b);
    ck_assert(ring_prepare_sleep(&pair.b));
    push(2, NULL, 0);
    ck_assert(ring_publish(&pair.a));
    ck_assert(!ring_publish(&pair.a)); /* nothing new to show */
    ring_end_sleep(&pair.b);
    link_pair_close(&pair);
}
END_TEST

RUN_ROWS("ring", NULL, NULL, 60, ONCE(cells_arrive_in_order_once_published),
         ONCE(a_full_ring_takes_no_more_until_released), ONCE(bulk_of_any_size_survives_many_wraps),
         ONCE(bulk_without_room_waits_and_too_large_is_refused),
         ONCE(indices_wrap_at_two_to_the_32),
         TIMES(a_spoiled_cell_is_refused_and_the_ring_is_dead, 4),
         ONCE(an_impossible_tail_or_head_is_refused),
         ONCE(a_sleeper_is_reported_and_does_not_sleep_beside_news))
