/*
 * segment.h - sealed anonymous shared memory, and descriptors that travel
 *
 * A segment is a memory file: no name, fixed size, every page taken at creation, written by
 * one process only. Its creator (the supervisor) hands a read-write descriptor to the writer
 * and a read-only one to the readers; it writes the header with pwrite() and maps nothing.
 * Once the writer has mapped its segment it seals it against any further writable mapping.
 */
#ifndef SHM_SEGMENT_H
#define SHM_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { SEGMENT_HEADER_BYTES = 64, SEGMENT_LAYOUT_VERSION = 1 };

enum segment_kind {
    SEGMENT_SUBMIT = 1,
    SEGMENT_COMPLETE = 2,
    SEGMENT_STATUS = 3,
    SEGMENT_OPTIONS = 4,
    SEGMENT_COMM = 5
};

/* First bytes of every segment; constant once made; checked by whoever maps it. */
struct segment_header {
    uint32_t magic;
    uint32_t version;
    uint32_t kind;
    uint32_t cell_bytes;
    uint64_t epoch;      /* the engine's incarnation, 0 where there is none */
    uint64_t generation; /* the frontend's incarnation, 0 where there is none */
    uint32_t num_cells;
    uint32_t bulk_bytes;
    uint64_t size; /* of the whole segment */
    uint32_t reserved[3];
    uint32_t crc; /* CRC-32 of the bytes before it */
};
_Static_assert(sizeof(struct segment_header) == SEGMENT_HEADER_BYTES, "layout is shared");

struct segment {
    void *base; /* NULL while not mapped */
    size_t size;
};

/*
 * Make a segment: `header` carries kind, epoch, generation, num_cells, bulk_bytes and size;
 * magic, version, cell_bytes and crc are filled in. All pages are allocated now.
 *
 * Returns 0 and two new close-on-exec descriptors; -ENOMEM or -ENOSPC with a sentence when
 * memory is short.
 */
int segment_create(struct segment_header *header, int *ret_write_fd, int *ret_read_fd,
                   struct error *err);

/*
 * Map a segment and check its header against `expected` (kind, epoch, generation, num_cells,
 * bulk_bytes, size). A writer also seals it. The descriptor can be closed afterwards.
 *
 * Returns 0; -EPROTO with what differed; -ENOMEM.
 */
int segment_map(struct segment *segment, int fd, bool writable,
                const struct segment_header *expected, struct error *err);
void segment_unmap(struct segment *segment);

#endif
