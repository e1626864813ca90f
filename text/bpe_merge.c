/* The merging half of bpe.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/bpe.h"
#include "text/bpe_pairs.h"

/* A rescan of the ranks costs n^2 / 2 steps without a miss, the heap n log n with them; they
 * meet at some fifty symbols. */
enum { SCAN_MAX = 48 };

struct symbol {
    int32_t id; /* -1: merged into the one before */
    int32_t next, previous;
};

struct bpe_work {
    struct symbol *symbols; /* [cap_symbols] */
    uint64_t *heap;         /* [2 * cap_symbols] of rank << 32 | position */
    size_t cap_symbols;
    size_t heap_len;
};

int bpe_work_create(struct bpe_work **ret_work)
{
    *ret_work = calloc(1, sizeof(**ret_work));
    return *ret_work != NULL ? 0 : -ENOMEM;
}

void bpe_work_destroy(struct bpe_work *work)
{
    if (work == NULL)
        return;
    free(work->symbols);
    free(work->heap);
    free(work);
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

int bpe_merge(const struct bpe *bpe, struct bpe_work *work, int32_t *ids, size_t *num)
{
    if (*num > SCAN_MAX)
        return merge_by_heap(bpe, work, ids, num);
    *num = merge_by_scan(bpe, ids, *num);
    return 0;
}
