/*
 * moe_keys.h - keys of config.json that families with experts share
 */
#ifndef WORKER_FAMILIES_MOE_KEYS_H
#define WORKER_FAMILIES_MOE_KEYS_H

#include "worker/families/family.h"

enum { MOE_KEYS_MAX_WIDTH = 1 << 19 };

/* As config_int(), of a key that must be there. */
int moe_keys_int(const json_t *config, const char *key, int64_t min, int64_t max, int32_t *value,
                 struct error *err);

/*
 * num_experts_per_tok, and the number of experts under `key` (or `alias`, which may be NULL).
 *
 * Returns 0, -EINVAL: also where more are used than there are, or than are supported.
 */
int moe_keys_experts(const json_t *config, const char *key, const char *alias, struct arch *arch,
                     struct error *err);

/* hidden_act, the number of experts as above, moe_intermediate_size and norm_topk_prob. Returns as
 * those do. */
int moe_keys_narrow(const json_t *config, const char *key, const char *alias, struct arch *arch,
                    struct error *err);

/* Experts in the layers l with (l + 1) % decoder_sparse_step == 0 that are not in
 * mlp_only_layers. Returns 0 or -EINVAL. */
int moe_keys_layers(const json_t *config, struct arch *arch, struct error *err);

/* hidden_act, of which experts support silu alone. Returns 0, -EINVAL or -ENOTSUP. */
int moe_keys_activation(const json_t *config, struct error *err);

#endif
