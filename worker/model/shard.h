/*
 * shard.h - what of a model belongs to one rank of several
 *
 * Cut by rows, whose results stay with the rank: q, k and v by heads, gate and up, the output
 * matrix by vocabulary. Cut by columns, followed by a sum over the ranks: o_proj and down_proj.
 * With more ranks than KV heads each KV head is whole in several ranks. Everything else is in all.
 */
#ifndef WORKER_MODEL_SHARD_H
#define WORKER_MODEL_SHARD_H

#include "worker/families/family.h"

/* Where the part of `rank` begins; num_ranks 0 is 1. */
int32_t shard_cut(int32_t total, int32_t rank, int32_t num_ranks);

/* Where the rank's part of a tensor's dimension begins; 0 for one that is not cut. */
int32_t shard_first(const struct arch *whole, const struct arch *own, enum dim dim);

#endif
