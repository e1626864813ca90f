#include "text/pieces.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/hash.h"

int pieces_init(struct pieces *pieces, int32_t num_ids, size_t num)
{
    struct pieces p = { .num_ids = num_ids, .num_slots = 16, .bytes.limit = INT32_MAX };
    while (p.num_slots < 2 * num)
        p.num_slots *= 2;
    p.spans = calloc((size_t)num_ids + 1, sizeof(*p.spans));
    p.slots = malloc(p.num_slots * sizeof(*p.slots));
    strbuf_append(&p.bytes, "", 0);
    if (p.spans == NULL || p.slots == NULL || p.bytes.failed) {
        pieces_finish(&p);
        return -ENOMEM;
    }
    memset(p.slots, 0xFF, p.num_slots * sizeof(*p.slots));
    *pieces = p;
    return 0;
}

void pieces_finish(struct pieces *pieces)
{
    free(pieces->spans);
    free(pieces->slots);
    strbuf_finish(&pieces->bytes);
    *pieces = (struct pieces){ 0 };
}

/* The slot of these bytes, or the free one where they belong. */
static size_t find_slot(const struct pieces *pieces, const char *bytes, size_t len)
{
    size_t at = hash_bytes(bytes, len) & (pieces->num_slots - 1);
    while (pieces->slots[at] >= 0) {
        const struct pieces_span *span = &pieces->spans[pieces->slots[at]];
        if (span->len == len && memcmp(pieces->bytes.data + span->offset, bytes, len) == 0)
            break;
        at = (at + 1) & (pieces->num_slots - 1);
    }
    return at;
}

int pieces_add(struct pieces *pieces, int32_t id, const char *bytes, size_t len)
{
    const size_t offset = pieces->bytes.len, at = find_slot(pieces, bytes, len);
    strbuf_append(&pieces->bytes, bytes, len);
    if (pieces->bytes.failed)
        return -ENOMEM;
    pieces->spans[id] = (struct pieces_span){ (uint32_t)offset, (uint32_t)len };
    pieces->slots[at] = id;
    pieces->max_bytes = len > pieces->max_bytes ? len : pieces->max_bytes;
    return 0;
}

int32_t pieces_find(const struct pieces *pieces, const char *bytes, size_t len)
{
    return pieces->slots[find_slot(pieces, bytes, len)];
}

const char *pieces_bytes(const struct pieces *pieces, int32_t id, size_t *ret_len)
{
    const struct pieces_span span =
        id >= 0 && id < pieces->num_ids ? pieces->spans[id] : (struct pieces_span){ 0 };
    *ret_len = span.len;
    return pieces->bytes.data + span.offset;
}
