#include "text/trie.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_SLOTS = 1024 };

int trie_init(struct trie *trie)
{
    struct trie t = { .num_slots = FIRST_SLOTS, .num_nodes = 1, .cap_nodes = FIRST_SLOTS / 2 };
    t.edges = malloc(t.num_slots * sizeof(*t.edges));
    t.ids = malloc((size_t)t.cap_nodes * sizeof(*t.ids));
    if (t.edges == NULL || t.ids == NULL) {
        trie_finish(&t);
        return -ENOMEM;
    }
    memset(t.edges, 0xFF, t.num_slots * sizeof(*t.edges));
    t.ids[0] = -1;
    *trie = t;
    return 0;
}

void trie_finish(struct trie *trie)
{
    free(trie->edges);
    free(trie->ids);
    *trie = (struct trie){ 0 };
}

static void put_edge(uint64_t *edges, size_t num_slots, uint64_t edge)
{
    size_t at = hash_mix(0, edge >> 32) & (num_slots - 1);
    while (edges[at] != TRIE_FREE)
        at = (at + 1) & (num_slots - 1);
    edges[at] = edge;
}

/* Twice the room; at most half of the slots are ever taken. */
static int grow(struct trie *trie)
{
    const size_t num_slots = trie->num_slots * 2;
    uint64_t *edges = malloc(num_slots * sizeof(*edges));
    int32_t *ids = reallocarray(trie->ids, num_slots / 2, sizeof(*ids));
    trie->ids = ids != NULL ? ids : trie->ids;
    if (edges == NULL || ids == NULL) {
        free(edges);
        return -ENOMEM;
    }
    memset(edges, 0xFF, num_slots * sizeof(*edges));
    for (size_t i = 0; i < trie->num_slots; i++)
        if (trie->edges[i] != TRIE_FREE)
            put_edge(edges, num_slots, trie->edges[i]);
    free(trie->edges);
    trie->edges = edges;
    trie->num_slots = num_slots;
    trie->cap_nodes = (int32_t)(num_slots / 2);
    return 0;
}

static int new_node(struct trie *trie)
{
    if (trie->num_nodes == TRIE_NODES_MAX)
        return -E2BIG;
    if (trie->num_nodes == trie->cap_nodes && grow(trie) < 0)
        return -ENOMEM;
    trie->ids[trie->num_nodes] = -1;
    return trie->num_nodes++;
}

static int child_for(struct trie *trie, int32_t node, uint8_t byte)
{
    const int32_t known = node == 0 ? trie->roots[byte] : trie_child(trie, node, byte);
    const int child = known > 0 ? known : new_node(trie);
    if (known > 0 || child < 0)
        return child;
    if (node == 0)
        trie->roots[byte] = child;
    else
        put_edge(trie->edges, trie->num_slots,
                 (uint64_t)((uint32_t)node << 8 | byte) << 32 | (uint32_t)child);
    return child;
}

int trie_add(struct trie *trie, const char *bytes, size_t len, int32_t id)
{
    int node = 0;
    for (size_t i = 0; node >= 0 && i < len; i++)
        node = child_for(trie, node, (uint8_t)bytes[i]);
    if (node < 0)
        return node;
    trie->ids[node] = id;
    return 0;
}
