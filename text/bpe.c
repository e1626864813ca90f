#include "text/bpe.h"

#include <errno.h>
#include <string.h>

#include "text/char_ids.h"
#include "text/unicode.h"

/* Ids of the bytes before any merge; `out` has room for `len`. Returns their number. */
static size_t first_bytes(const struct bpe *bpe, const char *piece, size_t len, int32_t *out)
{
    size_t num = 0;
    bool unknown = false;
    for (size_t i = 0; i < len; i++) {
        int32_t id = bpe->byte_ids[(uint8_t)piece[i]];
        const bool fused = id < 0 && unknown && bpe->fuse_unk;
        unknown = id < 0;
        id = id < 0 ? bpe->unk_id : id;
        if (id >= 0 && !fused)
            out[num++] = id;
    }
    return num;
}

/* Write the ids of a character's bytes; false when one of them has none. */
static bool fall_back(const struct bpe *bpe, const char *bytes, size_t len, int32_t *out)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = bpe->byte_ids[(uint8_t)bytes[i]];
        if (out[i] < 0)
            return false;
    }
    return bpe->byte_fallback;
}

/* The same for characters. As in HF an unk waits for the next character with a token of its
 * own, past such that become bytes. */
static size_t first_chars(const struct bpe *bpe, const char *piece, size_t len, int32_t *out)
{
    const char *end = piece + len;
    size_t num = 0, n;
    bool waiting = false;
    for (; piece < end; piece += n) {
        const int32_t id = char_ids_get(bpe->chars, unicode_decode(piece, end, &n));
        if (id < 0 && fall_back(bpe, piece, n, out + num)) {
            num += n;
            continue;
        }
        if (waiting && (id >= 0 || !bpe->fuse_unk))
            out[num++] = bpe->unk_id;
        waiting = id < 0 && bpe->unk_id >= 0;
        if (id >= 0)
            out[num++] = id;
    }
    if (waiting)
        out[num++] = bpe->unk_id;
    return num;
}

static int merge_piece(const struct bpe *bpe, struct bpe_work *work, const char *piece, size_t len,
                       struct token_ids *ids)
{
    int r = token_ids_reserve(ids, len);
    if (r < 0)
        return r;
    int32_t *out = ids->ids + ids->num;
    size_t num =
        bpe->chars != NULL ? first_chars(bpe, piece, len, out) : first_bytes(bpe, piece, len, out);
    r = bpe_merge(bpe, work, out, &num);
    if (r == 0)
        ids->num += num;
    return r;
}

static int encode_word(const struct bpe *bpe, struct word_cache *cache, struct bpe_work *work,
                       const char *piece, size_t len, struct token_ids *ids)
{
    if (len > WORD_CACHE_BYTES)
        return merge_piece(bpe, work, piece, len, ids);
    int r = token_ids_reserve(ids, WORD_CACHE_IDS);
    struct word_cache_word *word = word_cache_at(cache, piece, len);
    if (r < 0 || word_cache_get(word, piece, len, ids))
        return r;
    const size_t before = ids->num;
    r = merge_piece(bpe, work, piece, len, ids);
    if (r == 0)
        word_cache_put(word, piece, len, ids->ids + before, ids->num - before);
    return r;
}

/* The next U+2581 behind `at` that no token joins with what is before it, or `end`. */
static const char *next_cut(const struct bpe *bpe, const char *at, const char *end)
{
    while ((at = memchr(at + 1, 0xE2, (size_t)(end - at - 1))) != NULL)
        if (end - at >= 3 && at[1] == '\x96' && at[2] == '\x81' && !bpe->joins[(uint8_t)at[-1]])
            return at;
    return end;
}

static int encode_cuts(const struct bpe *bpe, struct word_cache *cache, struct bpe_work *work,
                       const char *piece, size_t len, struct token_ids *ids)
{
    const char *end = piece + len;
    int r = 0;
    while (r == 0 && piece < end) {
        const char *next = next_cut(bpe, piece, end);
        r = encode_word(bpe, cache, work, piece, (size_t)(next - piece), ids);
        piece = next;
    }
    return r;
}

int bpe_encode(const struct bpe *bpe, const struct pieces *pieces, struct word_cache *cache,
               struct bpe_work *work, const char *piece, size_t len, struct token_ids *ids)
{
    if (bpe->ignore_merges) {
        const int32_t id = pieces_find(pieces, piece, len);
        if (id >= 0)
            return token_ids_append(ids, &id, 1);
    }
    return (bpe->cuts ? encode_cuts : encode_word)(bpe, cache, work, piece, len, ids);
}

bool bpe_loses_text(const struct bpe *bpe)
{
    bool missing = false;
    for (int byte = 0; byte < 256; byte++)
        missing = missing || bpe->byte_ids[byte] < 0;
    missing = missing || (bpe->chars != NULL && !bpe->byte_fallback);
    return missing && (bpe->unk_id < 0 || bpe->fuse_unk);
}
