#include "worker/families/moe_keys.h"

#include <errno.h>
#include <string.h>

#include "worker/model/config.h"

int moe_keys_int(const json_t *config, const char *key, int64_t min, int64_t max, int32_t *value,
                 struct error *err)
{
    const json_t *found = json_object_get(config, key);
    if (found == NULL || json_is_null(found))
        return error_set(err, -EINVAL, "config.json: %s is missing", key);
    return config_int(config, key, min, max, value, err);
}

int moe_keys_experts(const json_t *config, const char *key, const char *alias, struct arch *arch,
                     struct error *err)
{
    if (alias != NULL && json_object_get(config, key) == NULL &&
        json_object_get(config, alias) != NULL)
        key = alias;
    int r = moe_keys_int(config, key, 1, MOE_MAX_EXPERTS, &arch->moe.num_experts, err);
    if (r == 0)
        r = moe_keys_int(config, "num_experts_per_tok", 1, MOE_MAX_EXPERTS, &arch->moe.top_k, err);
    if (r == 0 && arch->moe.top_k > arch->moe.num_experts)
        return error_set(err, -EINVAL,
                         "config.json: num_experts_per_tok is %d, wanted at most the %d of %s",
                         arch->moe.top_k, arch->moe.num_experts, key);
    arch->moe.routing.scale = 1.0f;
    return r;
}

int moe_keys_narrow(const json_t *config, const char *key, const char *alias, struct arch *arch,
                    struct error *err)
{
    int r = moe_keys_activation(config, err);
    if (r == 0)
        r = moe_keys_experts(config, key, alias, arch, err);
    if (r == 0)
        r = moe_keys_int(config, "moe_intermediate_size", 1, MOE_KEYS_MAX_WIDTH,
                         &arch->moe.intermediate_size, err);
    return r < 0 ? r : config_bool(config, "norm_topk_prob", &arch->moe.routing.normalize, err);
}

/* The layers of a list become dense. */
static int read_dense(const json_t *layers, struct arch *arch, struct error *err)
{
    size_t i;
    json_t *value;
    json_array_foreach(layers, i, value)
    {
        const json_int_t l = json_integer_value(value);
        if (!json_is_integer(value) || l < 0 || l >= arch->num_hidden_layers)
            return error_set(err, -EINVAL,
                             "config.json: mlp_only_layers[%zu] is no layer, wanted 0 to %d", i,
                             arch->num_hidden_layers - 1);
        arch->layers[l].mlp = MLP_DENSE;
    }
    return 0;
}

int moe_keys_layers(const json_t *config, struct arch *arch, struct error *err)
{
    const json_t *dense = json_object_get(config, "mlp_only_layers");
    int32_t step = 1;
    int r = config_int(config, "decoder_sparse_step", 1, ARCH_MAX_LAYERS, &step, err);
    if (r < 0)
        return r;
    if (dense != NULL && !json_is_null(dense) && !json_is_array(dense))
        return error_set(err, -EINVAL, "config.json: mlp_only_layers is not a list");
    for (int32_t l = 0; l < arch->num_hidden_layers; l++)
        arch->layers[l].mlp = (l + 1) % step == 0 ? MLP_EXPERTS : MLP_DENSE;
    return read_dense(dense, arch, err);
}

int moe_keys_activation(const json_t *config, struct error *err)
{
    const char *act = "silu";
    const int r = config_text(config, "hidden_act", &act, err);
    if (r == 0 && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        return error_set(err, -ENOTSUP,
                         "config.json: hidden_act is \"%.40s\", experts use \"silu\"", act);
    return r;
}
