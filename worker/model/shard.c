#include "worker/model/shard.h"

#include <errno.h>

int32_t shard_cut(int32_t total, int32_t rank, int32_t num_ranks)
{
    return num_ranks > 1 ? rank_share(total, rank, num_ranks) : rank > 0 ? total : 0;
}

static int refuse(struct error *err, int32_t num_ranks, const char *what, int32_t found,
                  const char *wanted)
{
    return error_set_param(err, -EINVAL, "tensor_parallel",
                           "tensor_parallel is %d, but the model's %s is %d, wanted %s", num_ranks,
                           what, found, wanted);
}

static int check(const struct arch *whole, int32_t num_ranks, struct error *err)
{
    const int32_t heads = whole->num_attention_heads, kv_heads = whole->num_key_value_heads;
    if (heads % num_ranks != 0)
        return refuse(err, num_ranks, "num_attention_heads", heads, "a multiple of it");
    if (whole->latent.dim == 0 && kv_heads % num_ranks != 0 && num_ranks % kv_heads != 0)
        return refuse(err, num_ranks, "num_key_value_heads", kv_heads, "a multiple or a divisor");
    if (whole->intermediate_size < num_ranks)
        return refuse(err, num_ranks, "intermediate_size", whole->intermediate_size,
                      "at least as many");
    if (whole->moe.num_experts > 0 && whole->moe.intermediate_size < num_ranks)
        return refuse(err, num_ranks, "moe_intermediate_size", whole->moe.intermediate_size,
                      "at least as many");
    if (whole->moe.shared_intermediate_size > 0 && whole->moe.shared_intermediate_size < num_ranks)
        return refuse(err, num_ranks, "shared expert's width", whole->moe.shared_intermediate_size,
                      "at least as many");
    if (whole->vocab_size < num_ranks)
        return refuse(err, num_ranks, "vocab_size", whole->vocab_size, "at least as many");
    return 0;
}

static int32_t share(int32_t total, int32_t rank, int32_t num_ranks)
{
    return shard_cut(total, rank + 1, num_ranks) - shard_cut(total, rank, num_ranks);
}

int model_shard(const struct arch *whole, int32_t rank, int32_t num_ranks, struct arch *ret_own,
                struct error *err)
{
    const int r = num_ranks > 1 ? check(whole, num_ranks, err) : 0;
    if (r < 0)
        return r;
    struct arch own = *whole;
    if (num_ranks > 1) {
        const int32_t kv_heads = whole->num_key_value_heads;
        own.shard.rank = rank;
        own.shard.num_ranks = num_ranks;
        own.num_attention_heads /= num_ranks;
        own.num_key_value_heads = kv_heads > num_ranks ? kv_heads / num_ranks : 1;
        own.intermediate_size = share(whole->intermediate_size, rank, num_ranks);
        own.moe.intermediate_size = share(whole->moe.intermediate_size, rank, num_ranks);
        own.moe.shared_intermediate_size =
            share(whole->moe.shared_intermediate_size, rank, num_ranks);
        own.kv_block.num_kv_heads = own.num_key_value_heads;
    }
    *ret_own = own;
    return 0;
}

int32_t shard_first(const struct arch *whole, const struct arch *own, enum dim dim)
{
    const int32_t rank = own->shard.rank, num_ranks = own->shard.num_ranks;
    switch (dim) {
    case DIM_Q:
        return shard_cut(whole->num_attention_heads, rank, num_ranks) * whole->head_dim;
    case DIM_KV: /* also where ranks share a head: rounded down to it */
        return shard_cut(whole->num_key_value_heads, rank, num_ranks) * whole->head_dim;
    case DIM_FFN:
        return shard_cut(whole->intermediate_size, rank, num_ranks);
    case DIM_EXPERT_FFN:
        return shard_cut(whole->moe.intermediate_size, rank, num_ranks);
    case DIM_SHARED_FFN:
        return shard_cut(whole->moe.shared_intermediate_size, rank, num_ranks);
    case DIM_HEADS:
        return shard_cut(whole->num_attention_heads, rank, num_ranks);
    case DIM_LATENT_Q:
        return shard_cut(whole->num_attention_heads, rank, num_ranks) *
               (whole->latent.nope_dim + whole->latent.rope_dim);
    case DIM_ATTN:
        return shard_cut(whole->num_attention_heads, rank, num_ranks) *
               (whole->latent.dim > 0 ? whole->latent.value_dim : whole->head_dim);
    case DIM_VOCAB_SHARE:
        return shard_cut(whole->vocab_size, rank, num_ranks);
    default:
        return 0;
    }
}
