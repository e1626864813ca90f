#include "frontend/session/attach.h"

#include <errno.h>
#include <unistd.h>

enum { FD_SUBMIT, FD_COMPLETE, FD_DOORBELL, FD_PAGE, NUM_FDS };

struct mappings {
    struct segment submit, complete, page;
};

static int map_all(const struct control_message *link, const int *fds, struct mappings *maps,
                   struct error *err)
{
    const struct ring_geometry submit = { link->submit_cells, link->submit_bulk };
    const struct ring_geometry complete = { link->complete_cells, link->complete_bulk };
    struct segment_header header =
        ring_segment_header(SEGMENT_SUBMIT, submit, link->epoch, link->generation);

    int r = segment_map(&maps->submit, fds[FD_SUBMIT], true, &header, err);
    if (r == 0) {
        header = ring_segment_header(SEGMENT_COMPLETE, complete, link->epoch, link->generation);
        r = segment_map(&maps->complete, fds[FD_COMPLETE], false, &header, err);
    }
    if (r == 0) {
        header = status_segment_header();
        r = segment_map(&maps->page, fds[FD_PAGE], false, &header, err);
    }
    return r;
}

static int bring_up(struct session *session, const struct control_message *link, const int *fds,
                    struct mappings *maps, struct error *err)
{
    const struct ring_geometry submit = { link->submit_cells, link->submit_bulk };
    const struct ring_geometry complete = { link->complete_cells, link->complete_bulk };
    struct ring_end end;

    ring_end_init(&end, maps->submit, submit, maps->complete, complete, link->epoch,
                  link->generation);
    return session_engine_up(session, link->engine, link->epoch, link->generation, &end,
                             maps->page.base, fds[FD_DOORBELL], err);
}

int attach_engine(struct session *session, const struct control_message *link, const int *fds,
                  size_t num_fds, struct error *err)
{
    struct mappings maps = { 0 };
    if (num_fds != NUM_FDS) {
        for (size_t i = 0; i < num_fds; i++)
            close(fds[i]);
        return error_set(err, -EPROTO, "engine link: %zu descriptors, expected %d", num_fds,
                         NUM_FDS);
    }
    int r = map_all(link, fds, &maps, err);
    if (r == 0)
        r = bring_up(session, link, fds, &maps, err);
    close(fds[FD_SUBMIT]);
    close(fds[FD_COMPLETE]);
    close(fds[FD_PAGE]);
    if (r == 0)
        return 0;
    close(fds[FD_DOORBELL]);
    segment_unmap(&maps.submit);
    segment_unmap(&maps.complete);
    segment_unmap(&maps.page);
    return r;
}
