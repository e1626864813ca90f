#include "text/bpe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/bpe_pairs.h"
#include "text/hash.h"

/* A rescan of the ranks costs n^2 / 2 steps without a miss, the heap n log n with them; they
 * meet at some fifty symbols. */
enum { SCAN_MAX = 48 };

/* 16 Ki words of a cache line each: what natural text repeats. Longer words are rare and are
 * merged anew. */
enum { CACHE_WORDS = 1 << 14, CACHE_BYTES = 30, CACHE_IDS = 8 };

struct cached_word {
    uint8_t len; /* 0: free */
    uint8_t num_ids;
    char bytes[CACHE_BYTES];
    int32_t ids[CACHE_IDS];
};

struct symbol {
    int32_t id; /* -1: merged into the one before */
    int32_t next, previous;
};

struct bpe_work {
    struct cached_word *words; /* [CACHE_WORDS] */
    struct symbol *symbols;    /* [cap_symbols] */
    uint64_t *heap;            /* [2 * cap_symbols] of rank << 32 | position */
    size_t cap_symbols;
    size_t heap_len;
};

int bpe_reserve(struct token_ids *ids, size_t num)
{
    if (num <= ids->cap - ids->num)
        return 0;
    size_t cap = ids->cap < 64 ? 64 : ids->cap;
    while (cap - ids->num < num)
        cap *= 2;
    int32_t *bigger = reallocarray(ids->ids, cap, sizeof(*bigger));
    if (bigger == NULL)
        return -ENOMEM;
    ids->ids = bigger;
    ids->cap = cap;
    return 0;
}

int bpe_work_create(struct bpe_work **ret_work)
{
    struct bpe_work *work = calloc(1, sizeof(*work));
    if (work == NULL)
        return -ENOMEM;
    work->words = aligned_alloc(sizeof(*work->words), CACHE_WORDS * sizeof(*work->words));
    if (work->words == NULL) {
        free(work);
        return -ENOMEM;
    }
    memset(work->words, 0, CACHE_WORDS * sizeof(*work->words));
    *ret_work = work;
    return 0;
}

void bpe_work_destroy(struct bpe_work *work)
{
    if (work == NULL)
        return;
    free(work->words);
    free(work->symbols);
    free(work->heap);
    free(work);
}

/* Ids of the bytes before any merge; `out` has room for `len`. Returns their number. */
static size_t first_symbols(const struct bpe *bpe, const char *piece, size_t len, int32_t *out)
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

static size_t find_lowest(const uint32_t *ranks, size_t num)
{
    size_t lowest = 0;
    for (size_t i = 1; i < num; i++)
        if (ranks[i] < ranks[lowest])
            lowest = i;
    return lowest;
}

/* Merge in place by rescanning; returns what is left of `num` <= SCAN_MAX symbols. */
static size_t merge_by_scan(const struct bpe *bpe, int32_t *ids, size_t num)
{
    uint32_t ranks[SCAN_MAX]; /* of (i, i + 1) */
    for (size_t i = 0; i + 1 < num; i++)
        ranks[i] = bpe_pairs_rank(bpe, ids[i], ids[i + 1]);
    while (num > 1) {
        const size_t at = find_lowest(ranks, num - 1);
        if (ranks[at] == BPE_PAIRS_NONE)
            break;
        ids[at] = bpe->merged[ranks[at]];
        memmove(ids + at + 1, ids + at + 2, (num - at - 2) * sizeof(*ids));
        memmove(ranks + at, ranks + at + 1, (num - at - 2) * sizeof(*ranks));
        num--;
        if (at > 0)
            ranks[at - 1] = bpe_pairs_rank(bpe, ids[at - 1], ids[at]);
        if (at + 1 < num)
            ranks[at] = bpe_pairs_rank(bpe, ids[at], ids[at + 1]);
    }
    return num;
}

/* A heap of four children per node: half the levels, and the children share a cache line. */
static void sift_down(uint64_t *heap, size_t len, size_t at)
{
    const uint64_t entry = heap[at];
    for (size_t child; (child = 4 * at + 1) < len; at = child) {
        const size_t last = child + 4 < len ? child + 4 : len;
        for (size_t i = child + 1; i < last; i++)
            if (heap[i] < heap[child])
                child = i;
        if (heap[child] >= entry)
            break;
        heap[at] = heap[child];
    }
    heap[at] = entry;
}

static void push(struct bpe_work *work, uint64_t entry)
{
    size_t at = work->heap_len++;
    for (; at > 0 && work->heap[(at - 1) / 4] > entry; at = (at - 1) / 4)
        work->heap[at] = work->heap[(at - 1) / 4];
    work->heap[at] = entry;
}

static uint64_t pop(struct bpe_work *work)
{
    const uint64_t entry = work->heap[0];
    work->heap[0] = work->heap[--work->heap_len];
    sift_down(work->heap, work->heap_len, 0);
    return entry;
}

static uint32_t rank_at(const struct bpe *bpe, const struct bpe_work *work, int32_t at)
{
    const struct symbol *symbol = &work->symbols[at];
    if (symbol->id < 0 || symbol->next < 0)
        return BPE_PAIRS_NONE;
    return bpe_pairs_rank(bpe, symbol->id, work->symbols[symbol->next].id);
}

static void push_pair(const struct bpe *bpe, struct bpe_work *work, int32_t at)
{
    const uint32_t rank = at >= 0 ? rank_at(bpe, work, at) : BPE_PAIRS_NONE;
    if (rank != BPE_PAIRS_NONE)
        push(work, (uint64_t)rank << 32 | (uint32_t)at);
}

static void fill_heap(const struct bpe *bpe, struct bpe_work *work, const int32_t *ids, size_t num)
{
    for (size_t i = 0; i < num; i++)
        work->symbols[i] =
            (struct symbol){ ids[i], i + 1 < num ? (int32_t)i + 1 : -1, (int32_t)i - 1 };
    work->heap_len = 0;
    for (size_t i = 0; i + 1 < num; i++) {
        const uint32_t rank = bpe_pairs_rank(bpe, ids[i], ids[i + 1]);
        if (rank != BPE_PAIRS_NONE)
            work->heap[work->heap_len++] = (uint64_t)rank << 32 | i;
    }
    for (size_t i = work->heap_len / 4 + 1; i-- > 0;)
        if (i < work->heap_len)
            sift_down(work->heap, work->heap_len, i);
}

static int reserve_symbols(struct bpe_work *work, size_t num)
{
    if (num <= work->cap_symbols)
        return 0;
    free(work->symbols);
    free(work->heap);
    work->symbols = calloc(num, sizeof(*work->symbols));
    work->heap = calloc(num, 2 * sizeof(*work->heap));
    work->cap_symbols = work->symbols != NULL && work->heap != NULL ? num : 0;
    return work->cap_symbols > 0 ? 0 : -ENOMEM;
}

/* Each merge takes one entry and adds two at most, and there are fewer merges than symbols, so
 * the heap stays below twice their number. An entry counts only while its pair still stands. */
static int merge_by_heap(const struct bpe *bpe, struct bpe_work *work, int32_t *ids, size_t *num)
{
    const int r = reserve_symbols(work, *num);
    if (r < 0)
        return r;
    struct symbol *symbols = work->symbols;
    fill_heap(bpe, work, ids, *num);
    while (work->heap_len > 0) {
        const uint64_t entry = pop(work);
        const int32_t at = (int32_t)(entry & 0xFFFFFFFFu);
        if (rank_at(bpe, work, at) != entry >> 32)
            continue;
        const int32_t right = symbols[at].next, after = symbols[right].next;
        symbols[at].id = bpe->merged[entry >> 32];
        symbols[at].next = after;
        symbols[right].id = -1;
        if (after >= 0)
            symbols[after].previous = at;
        push_pair(bpe, work, symbols[at].previous);
        push_pair(bpe, work, at);
    }
    size_t left = 0;
    for (int32_t i = 0; i >= 0; i = symbols[i].next)
        ids[left++] = symbols[i].id;
    *num = left;
    return 0;
}

static int merge_piece(const struct bpe *bpe, struct bpe_work *work, const char *piece, size_t len,
                       struct token_ids *ids)
{
    int r = bpe_reserve(ids, len);
    if (r < 0)
        return r;
    int32_t *out = ids->ids + ids->num;
    size_t num = first_symbols(bpe, piece, len, out);
    if (num <= SCAN_MAX)
        num = merge_by_scan(bpe, out, num);
    else
        r = merge_by_heap(bpe, work, out, &num);
    if (r == 0)
        ids->num += num;
    return r;
}

static void keep(struct cached_word *word, const char *piece, size_t len, const int32_t *ids,
                 size_t num)
{
    if (num > CACHE_IDS)
        return;
    word->len = (uint8_t)len;
    word->num_ids = (uint8_t)num;
    memcpy(word->bytes, piece, len);
    memcpy(word->ids, ids, num * sizeof(*ids));
}

static int encode_short(const struct bpe *bpe, struct bpe_work *work, const char *piece, size_t len,
                        struct token_ids *ids)
{
    struct cached_word *word = &work->words[hash_bytes(piece, len) % CACHE_WORDS];
    int r = bpe_reserve(ids, CACHE_IDS);
    if (r < 0)
        return r;
    if (word->len == len && memcmp(word->bytes, piece, len) == 0) {
        memcpy(ids->ids + ids->num, word->ids, sizeof(word->ids));
        ids->num += word->num_ids;
        return 0;
    }
    const size_t before = ids->num;
    r = merge_piece(bpe, work, piece, len, ids);
    if (r == 0)
        keep(word, piece, len, ids->ids + before, ids->num - before);
    return r;
}

int bpe_encode(const struct bpe *bpe, const struct vocab *vocab, struct bpe_work *work,
               const char *piece, size_t len, struct token_ids *ids)
{
    if (bpe->ignore_merges) {
        const int32_t id = vocab_find_piece(vocab, piece, len);
        if (id >= 0) {
            const int r = bpe_reserve(ids, 1);
            if (r == 0)
                ids->ids[ids->num++] = id;
            return r;
        }
    }
    if (len <= CACHE_BYTES)
        return encode_short(bpe, work, piece, len, ids);
    return merge_piece(bpe, work, piece, len, ids);
}
