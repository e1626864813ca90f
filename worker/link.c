#include "worker/link.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/doorbell.h"

static bool is_ring_size(uint32_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/* Half of the bulk ring has to hold the largest message. */
static int check_geometry(struct ring_geometry g, const char *name, size_t largest,
                          struct error *err)
{
    if (!is_ring_size(g.num_cells) || !is_ring_size(g.bulk_bytes) || g.bulk_bytes / 2 < largest)
        return error_set(err, -EPROTO,
                         "%s ring of %u cells and %u bytes, must be powers of two and %zu at least",
                         name, g.num_cells, g.bulk_bytes, 2 * largest);
    return 0;
}

int link_open(struct link *link, const struct control_message *message, const int *fds,
              size_t num_fds, struct error *err)
{
    const uint64_t epoch = message->epoch, generation = message->generation;
    const struct ring_geometry in = { message->submit_cells, message->submit_bulk };
    const struct ring_geometry out = { message->complete_cells, message->complete_bulk };
    struct segment submit = { 0 }, complete = { 0 };
    int r;

    if (num_fds < LINK_NUM_FDS)
        return error_set(err, -EPROTO, "FRONTEND_LINK with %zu descriptors, expected %d", num_fds,
                         LINK_NUM_FDS);
    if ((r = check_geometry(in, "submit", sizeof(struct record_params), err)) < 0 ||
        (r = check_geometry(out, "complete", LINK_MAX_LOGPROBS_BYTES, err)) < 0)
        return r;
    const struct segment_header peer = ring_segment_header(SEGMENT_SUBMIT, in, epoch, generation);
    const struct segment_header own = ring_segment_header(SEGMENT_COMPLETE, out, epoch, generation);
    void *bulk = malloc(in.bulk_bytes / 2);
    if (bulk == NULL) {
        r = error_set(err, -ENOMEM, "no memory for %u bytes of a submission", in.bulk_bytes / 2);
        goto fail;
    }
    if ((r = segment_map(&submit, fds[0], false, &peer, err)) < 0 ||
        (r = segment_map(&complete, fds[1], true, &own, err)) < 0)
        goto fail;

    *link =
        (struct link){ .is_up = true, .doorbell = fds[2], .generation = generation, .bulk = bulk };
    ring_end_init(&link->end, complete, out, submit, in, epoch, generation);
    link->read_us = clock_now_us();
    TAILQ_INIT(&link->unpublished);
    return 0;

fail:
    segment_unmap(&submit);
    segment_unmap(&complete);
    free(bulk);
    return r;
}

void link_close(struct link *link)
{
    if (!link->is_up)
        return;
    ring_end_finish(&link->end);
    close(link->doorbell);
    free(link->bulk);
    *link = (struct link){ 0 };
}

static int read_submit(struct link *link, const struct ring_cell *cell,
                       const struct record_bounds *bounds, struct record_submit *ret_submit,
                       struct error *err)
{
    ring_pop_bulk(&link->end, cell, link->bulk);
    return record_submit_decode(link->bulk, cell->bulk_len, bounds, ret_submit, err);
}

static unsigned allowed_flags(uint8_t kind)
{
    return kind == RECORD_CANCEL ? RECORD_FLAG_CHOICE : 0;
}

int link_take(struct link *link, const struct record_bounds *bounds,
              struct link_message *ret_message, struct error *err)
{
    struct ring_cell cell;
    if (ring_room(&link->end) == 0 && !link->end.corrupt)
        return 0;
    int r = ring_pop(&link->end, &cell, err);
    if (r <= 0)
        return r;
    if ((cell.flags & ~allowed_flags(cell.kind)) != 0)
        r = error_set(err, -EPROTO, "cell with flags %u, must be 0", cell.flags);
    else if (cell.kind == RECORD_SUBMIT)
        r = read_submit(link, &cell, bounds, &ret_message->submit, err);
    else if (cell.kind == RECORD_CANCEL && cell.bulk_len == 0)
        r = 0;
    else
        r = error_set(err, -EPROTO, "cell of kind %u with %u bytes is no SUBMIT and no CANCEL",
                      cell.kind, cell.bulk_len);
    if (r < 0) {
        link->end.corrupt = true;
        return r;
    }
    ret_message->kind = cell.kind;
    ret_message->id = cell.id;
    ret_message->choice = (cell.flags & RECORD_FLAG_CHOICE) != 0 ? cell.choice : -1;
    return 1;
}

void link_release(struct link *link)
{
    ring_release(&link->end);
}

bool link_push(struct link *link, const struct ring_cell *cell, const void *bulk, size_t len)
{
    return ring_push(&link->end, cell, bulk, (uint32_t)len) == 0;
}

/* link_take() saw room for one answer. */
static void push_answer(struct link *link, const struct ring_cell *cell)
{
    (void)ring_push(&link->end, cell, NULL, 0);
}

void link_push_accepted(struct link *link, uint64_t id, uint32_t num_waiting)
{
    push_answer(link,
                &(struct ring_cell){ .kind = RECORD_ACCEPTED, .id = id, .words = { num_waiting } });
}

void link_push_refused(struct link *link, uint64_t id, enum record_failure failure,
                       uint32_t retry_after_ms)
{
    push_answer(link, &(struct ring_cell){
                          .kind = RECORD_FAILED, .id = id, .words = { failure, retry_after_ms } });
}

void link_publish(struct link *link)
{
    if (ring_publish(&link->end))
        doorbell_ring(link->doorbell);
}
