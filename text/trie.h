/*
 * trie.h - all tokens that a text begins with
 *
 * Bytes lead from node to node through one table with open addressing (node, byte and child in
 * a word), so a step is one probe. Filled while loading, then immutable.
 */
#ifndef TEXT_TRIE_H
#define TEXT_TRIE_H

#include <stddef.h>
#include <stdint.h>

#include "text/hash.h"

enum { TRIE_NODES_MAX = 1 << 24 };

#define TRIE_FREE UINT64_MAX

struct trie {
    uint64_t *edges; /* [num_slots]: node in 24 bits, byte in 8, child in 32 */
    size_t num_slots;
    int32_t *ids; /* [cap_nodes], of the token that ends at the node, or -1; node 0 is the root */
    int32_t num_nodes, cap_nodes;
    int32_t roots[256]; /* children of the root; 0: none */
};

/* Returns 0 or -ENOMEM. */
int trie_init(struct trie *trie);
void trie_finish(struct trie *trie);

/* Add a token of at least one byte; one with the same bytes is replaced. Returns 0, -ENOMEM, or
 * -E2BIG when the nodes run out. */
int trie_add(struct trie *trie, const char *bytes, size_t len, int32_t id);

/* The node behind `node` (not the root, whose children are roots[]) for `byte`, or 0. */
static inline int32_t trie_child(const struct trie *trie, int32_t node, uint8_t byte)
{
    const uint32_t key = (uint32_t)node << 8 | byte;
    size_t at = hash_mix(0, key) & (trie->num_slots - 1);
    for (; trie->edges[at] != TRIE_FREE; at = (at + 1) & (trie->num_slots - 1))
        if (trie->edges[at] >> 32 == key)
            return (int32_t)(uint32_t)trie->edges[at];
    return 0;
}

#endif
