#include <string.h>

#include "worker/families/family.h"
#include "worker/model/shard.h"

static const struct family *const families[] = {
    &family_llama,     &family_mistral,     &family_olmo2,       &family_qwen2,
    &family_qwen3,     &family_phi,         &family_phi3,        &family_gemma,
    &family_gemma2,    &family_gemma3_text, &family_mixtral,     &family_qwen2_moe,
    &family_qwen3_moe, &family_deepseek_v2, &family_deepseek_v3, &family_deep,
};

const char *const family_prefixes[] = { "model.", "", NULL };
const char *const family_wrapped_prefixes[] = {
    "model.", "language_model.model.", "language_model.", "model.language_model.", "", NULL
};
const char *const family_ignored[] = { ".rotary_emb.inv_freq", NULL };

enum { NUM_FAMILIES = sizeof(families) / sizeof(families[0]) };

static bool equal(const char *text, const char *name)
{
    return text != NULL && strcmp(text, name) == 0;
}

static bool has_type(const struct family *family, const char *model_type)
{
    if (equal(model_type, family->model_type))
        return true;
    for (const char *const *alias = family->aliases; alias != NULL && *alias != NULL; alias++)
        if (equal(model_type, *alias))
            return true;
    return false;
}

const struct family *family_find(const char *model_type, const char *architecture)
{
    for (int32_t i = 0; i < NUM_FAMILIES; i++) {
        const struct family *family = families[i];
        if (model_type != NULL ? has_type(family, model_type)
                               : equal(architecture, family->architecture))
            return family;
    }
    return NULL;
}

const struct family *family_find_wrapped(const char *model_type)
{
    for (int32_t i = 0; i < NUM_FAMILIES; i++)
        if (families[i]->wrapper != NULL && equal(model_type, families[i]->wrapper))
            return families[i];
    return NULL;
}

void family_list(struct strbuf *out)
{
    for (int32_t i = 0; i < NUM_FAMILIES; i++)
        strbuf_printf(out, "%s%s", i > 0 ? ", " : "", families[i]->model_type);
}

int32_t family_dim(const struct arch *arch, enum dim dim)
{
    const int32_t q = arch->num_attention_heads * arch->head_dim;
    const int32_t kv = arch->num_key_value_heads * arch->head_dim;
    const bool is_latent = arch->latent.dim > 0;
    switch (dim) {
    case DIM_NONE:
        return 0;
    case DIM_VOCAB:
        return arch->vocab_size;
    case DIM_VOCAB_SHARE:
        return shard_cut(arch->vocab_size, arch->shard.rank + 1, arch->shard.num_ranks) -
               shard_cut(arch->vocab_size, arch->shard.rank, arch->shard.num_ranks);
    case DIM_HIDDEN:
        return arch->hidden_size;
    case DIM_Q:
        return q;
    case DIM_KV:
        return kv;
    case DIM_Q_KV:
        return q + kv;
    case DIM_QKV:
        return q + 2 * kv;
    case DIM_ATTN:
        return is_latent ? arch->num_attention_heads * arch->latent.value_dim : q;
    case DIM_HEADS:
        return arch->num_attention_heads;
    case DIM_LATENT:
        return arch->latent.dim;
    case DIM_LATENT_KEY:
        return arch->latent.dim + arch->latent.rope_dim;
    case DIM_LATENT_Q:
        return arch->num_attention_heads * (arch->latent.nope_dim + arch->latent.rope_dim);
    case DIM_Q_RANK:
        return arch->latent.q_rank;
    case DIM_NOPE:
        return arch->latent.nope_dim;
    case DIM_VALUE:
        return arch->latent.value_dim;
    case DIM_NOPE_VALUE:
        return arch->latent.nope_dim + arch->latent.value_dim;
    case DIM_CONTROLLER:
        return arch->mu.controller_size;
    case DIM_HIDDEN_TWICE:
        return 2 * arch->hidden_size;
    case DIM_HIDDEN_THRICE:
        return 3 * arch->hidden_size;
    case DIM_FFN:
        return arch->intermediate_size;
    case DIM_GATE_UP:
        return arch->plain_mlp ? arch->intermediate_size : 2 * arch->intermediate_size;
    case DIM_HEAD:
        return arch->head_dim;
    case DIM_EXPERTS:
        return arch->moe.num_experts;
    case DIM_EXPERT_FFN:
        return arch->moe.intermediate_size;
    case DIM_EXPERT_GATE_UP:
        return 2 * arch->moe.intermediate_size;
    case DIM_SHARED_FFN:
        return arch->moe.shared_intermediate_size;
    case DIM_SHARED_GATE_UP:
        return 2 * arch->moe.shared_intermediate_size;
    case DIM_ONE:
        return 1;
    }
    return 0;
}
