/*
 * llama.c - Llama 2 and 3, CodeLlama, SmolLM2 (model_type "llama")
 *
 * The common pre-norm decoder itself: RMSNorm, grouped-query attention with rotary positions in
 * half style over the whole head, SiLU-gated MLP, sequential residuals. Biases exist only where
 * the configuration asks for them, and then on o_proj too.
 *
 * Source: "The Llama 3 Herd of Models", arXiv:2407.21783, section 3.2; HF LlamaConfig.
 */
#include <errno.h>
#include <string.h>

#include "worker/families/family.h"
#include "worker/model/config.h"

/* clang-format off */
static const struct weight_row rows[] = {
    { "embed_tokens.weight", IN_MODEL(embed_tokens), DIM_VOCAB, DIM_HIDDEN, DIM_NONE, DIM_VOCAB },
    { "norm.weight", IN_MODEL(norm), DIM_HIDDEN, DIM_NONE, DIM_NONE, DIM_HIDDEN },
    { "lm_head.weight", IN_MODEL(lm_head), DIM_VOCAB_SHARE, DIM_HIDDEN, DIM_NONE, DIM_VOCAB_SHARE, WHEN_UNTIED },

    { "input_layernorm.weight", IN_LAYER(attn_norm), DIM_HIDDEN, DIM_NONE, DIM_NONE, DIM_HIDDEN },
    { "self_attn.q_proj.weight", IN_LAYER(qkv_proj), DIM_Q, DIM_HIDDEN, DIM_NONE, DIM_QKV },
    { "self_attn.k_proj.weight", IN_LAYER(qkv_proj), DIM_KV, DIM_HIDDEN, DIM_Q, DIM_QKV },
    { "self_attn.v_proj.weight", IN_LAYER(qkv_proj), DIM_KV, DIM_HIDDEN, DIM_Q_KV, DIM_QKV },
    { "self_attn.o_proj.weight", IN_LAYER(o_proj), DIM_HIDDEN, DIM_Q, DIM_NONE, DIM_HIDDEN },
    { "self_attn.q_proj.bias", IN_LAYER(qkv_bias), DIM_Q, DIM_NONE, DIM_NONE, DIM_QKV, WHEN_ATTENTION_BIAS },
    { "self_attn.k_proj.bias", IN_LAYER(qkv_bias), DIM_KV, DIM_NONE, DIM_Q, DIM_QKV, WHEN_ATTENTION_BIAS },
    { "self_attn.v_proj.bias", IN_LAYER(qkv_bias), DIM_KV, DIM_NONE, DIM_Q_KV, DIM_QKV, WHEN_ATTENTION_BIAS },
    { "self_attn.o_proj.bias", IN_LAYER(o_bias), DIM_HIDDEN, DIM_NONE, DIM_NONE, DIM_HIDDEN, WHEN_ATTENTION_BIAS, true },
    { "post_attention_layernorm.weight", IN_LAYER(mlp_norm), DIM_HIDDEN, DIM_NONE, DIM_NONE, DIM_HIDDEN },
    { "mlp.gate_proj.weight", IN_LAYER(gate_up_proj), DIM_FFN, DIM_HIDDEN, DIM_NONE, DIM_GATE_UP },
    { "mlp.up_proj.weight", IN_LAYER(gate_up_proj), DIM_FFN, DIM_HIDDEN, DIM_FFN, DIM_GATE_UP },
    { "mlp.down_proj.weight", IN_LAYER(down_proj), DIM_HIDDEN, DIM_FFN, DIM_NONE, DIM_HIDDEN },
    { "mlp.gate_proj.bias", IN_LAYER(gate_up_bias), DIM_FFN, DIM_NONE, DIM_NONE, DIM_GATE_UP, WHEN_MLP_BIAS },
    { "mlp.up_proj.bias", IN_LAYER(gate_up_bias), DIM_FFN, DIM_NONE, DIM_FFN, DIM_GATE_UP, WHEN_MLP_BIAS },
    { "mlp.down_proj.bias", IN_LAYER(down_bias), DIM_HIDDEN, DIM_NONE, DIM_NONE, DIM_HIDDEN, WHEN_MLP_BIAS, true },
};
/* clang-format on */

static const char *const ignored[] = { ".rotary_emb.inv_freq", NULL };

static int read_config(const json_t *config, struct arch *arch, struct error *err)
{
    const char *act = "silu";
    int r = config_text(config, "hidden_act", &act, err);
    if (r == 0 && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        return error_set(err, -ENOTSUP, "config.json: hidden_act is \"%.40s\", llama uses \"silu\"",
                         act);
    if (r == 0)
        r = config_bool(config, "attention_bias", &arch->attention_bias, err);
    if (r == 0)
        r = config_bool(config, "mlp_bias", &arch->mlp_bias, err);
    if (r == 0)
        r = config_rope(config, arch, err);
    return r;
}

const struct family family_llama = {
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .prefixes = family_prefixes,
    .rows = rows,
    .num_rows = sizeof(rows) / sizeof(rows[0]),
    .read_config = read_config,
    .ignored = ignored,
};
