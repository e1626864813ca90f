/*
 * memory.h - how much memory is free for this process, and how large the KV cache gets
 */
#ifndef WORKER_MEMORY_H
#define WORKER_MEMORY_H

#include <stdint.h>

#include "kernels/backend.h"
#include "worker/model/kv_groups.h"

/*
 * Bytes that can be taken without swapping or being killed: the least of MemAvailable and what
 * the control group and its parents (v2, or v1's memory controller) leave. -1 when /proc does
 * not tell.
 */
int64_t memory_available(void);

/* The same from given places, for tests: `proc` and `cgroup` are the mount points. */
int64_t memory_available_at(const char *proc, const char *cgroup);

/* Type of KV pages by a name of --kv-cache-dtype. */
enum dtype memory_kv_dtype(const char *name);

struct memory_kv {
    int64_t block_bytes;
    int64_t blocks_per_seq; /* of a sequence of full length */
    int64_t least_blocks;   /* of one that is computed in small chunks: fewer behind windows */
    int32_t max_num_seqs;
    int64_t wanted_bytes;    /* --kv-cache-memory; 0: from what is free */
    int64_t available_bytes; /* -1: not known */
    bool is_device;          /* of a device of its own, which nothing else wants */

    /* What memory_count_blocks() was told; NULL: nothing. */
    const struct kv_groups *groups;
    int32_t chunk, max_model_len;
};

/* Fill in what a sequence of `max_model_len` takes in chunks of at most `chunk`; `groups` stay. */
void memory_count_blocks(struct memory_kv *kv, const struct kv_groups *groups, int32_t chunk,
                         int32_t max_model_len);

/* Positions that `num_blocks` hold, of sequences of full length. */
int64_t memory_kv_tokens(const struct kv_groups *groups, int32_t num_blocks, int32_t chunk,
                         int32_t max_model_len);

/*
 * Blocks of the KV cache: as many as max_num_seqs sequences of full length need, at most what
 * was wanted, a quarter of what is free or, of a device of its own, all of it; at least one
 * sequence of full length.
 *
 * Returns 0; -ENOMEM with what is needed, what is free, the option to change and the longest
 * sequence that fits.
 */
int memory_size_kv(const struct memory_kv *kv, int32_t *ret_num_blocks, struct error *err);

#endif
