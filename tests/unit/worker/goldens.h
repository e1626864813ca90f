/*
 * goldens.h - checkpoints with what HF transformers computes from them: tests/golden/
 *
 * Each has tokens.i32 [num_tokens] and logits.f32 [num_tokens][vocab_size]; of those with a prompt
 * the tokens behind it are what follows greedily.
 */
#ifndef TESTS_UNIT_WORKER_GOLDENS_H
#define TESTS_UNIT_WORKER_GOLDENS_H

#include <stdint.h>

enum { GOLDEN_MAX_TOKENS = 128, GOLDEN_MAX_VOCAB = 1024, GOLDEN_PROMPT = 96 };

struct golden {
    const char *dir;
    int32_t num_tokens, num_prompt; /* num_prompt 0: nothing was written behind */
};

#define GOLDEN_LLAMA(name)                                                                         \
    {                                                                                              \
        GOLDEN "/llama/" name, 64, 0                                                               \
    }
#define GOLDEN_FAMILY(name)                                                                        \
    {                                                                                              \
        GOLDEN "/families/" name, GOLDEN_MAX_TOKENS, GOLDEN_PROMPT                                 \
    }
/* Whose weights are made while this tree is built: tests/golden/made.py. */
#define GOLDEN_MADE(name)                                                                          \
    {                                                                                              \
        GOLDEN_MADE_DIR "/" name, GOLDEN_MAX_TOKENS, GOLDEN_PROMPT                                 \
    }

#define GOLDEN_QUANTIZED(name)                                                                     \
    {                                                                                              \
        GOLDEN "/quantized/" name, 64, 0                                                           \
    }

static const struct golden goldens[] = {
    GOLDEN_LLAMA("mha_f32_sharded"),
    GOLDEN_LLAMA("gqa_bf16_llama3"),
    GOLDEN_LLAMA("mqa_f16_biases"),
    GOLDEN_LLAMA("gqa_mixed"),
    GOLDEN_FAMILY("qwen2_window"),
    GOLDEN_FAMILY("qwen2_yarn"),
    GOLDEN_FAMILY("mistral_window"),
    GOLDEN_FAMILY("mistral_wrapped"),
    GOLDEN_FAMILY("qwen3_linear"),
    GOLDEN_MADE("qwen3_layer_types"),
    GOLDEN_FAMILY("phi3_long"),
    GOLDEN_FAMILY("phi3_short"),
    GOLDEN_MADE("phi_partial"),
    GOLDEN_MADE("phi_qk_layernorm"),
    GOLDEN_FAMILY("gemma_mqa"),
    GOLDEN_FAMILY("gemma_bias"),
    GOLDEN_MADE("gemma2_caps"),
    GOLDEN_MADE("gemma2_plain"),
    GOLDEN_MADE("qwen2_moe_plain"),
    GOLDEN_MADE("gemma2_layer_types"),
    GOLDEN_FAMILY("olmo2_gqa"),
    GOLDEN_MADE("olmo2_bias"),
    GOLDEN_FAMILY("gemma3_two_ropes"),
    GOLDEN_FAMILY("gemma3_wrapped"),
    GOLDEN_FAMILY("mixtral_gqa_bf16"),
    GOLDEN_MADE("mixtral_odd_window"),
    GOLDEN_FAMILY("qwen2_moe_sparse_step"),
    GOLDEN_FAMILY("qwen2_moe_mlp_only"),
    GOLDEN_FAMILY("qwen3_moe_norm"),
    GOLDEN_FAMILY("qwen3_moe_mlp_only"),
    GOLDEN_FAMILY("deepseek_v2_lite"),
    GOLDEN_MADE("deepseek_v2_groups"),
    GOLDEN_FAMILY("deepseek_v3"),
    GOLDEN_MADE("deepseek_v3_half_rope"),
    GOLDEN_MADE("deep_a"),
    GOLDEN_MADE("deep_a_dense_window"),
    GOLDEN_MADE("deep_a_early"),
    GOLDEN_MADE("deep_a_first"),
    GOLDEN_MADE("deep_a_mu_to_qk"),
    GOLDEN_MADE("deep_b"),
    GOLDEN_MADE("deep_b_alone"),
    GOLDEN_MADE("deep_b_dense"),
    GOLDEN_MADE("llama_yarn"),
    GOLDEN_MADE("llama_tied"),
    GOLDEN_MADE("mistral_tied_yarn"),
    GOLDEN_MADE("qwen2_layer_types"),
    GOLDEN_MADE("qwen3_window"),
    GOLDEN_MADE("phi_gqa"),
    GOLDEN_MADE("phi3_window"),
    GOLDEN_MADE("phi3_beyond"),
    GOLDEN_MADE("gemma_linear"),
    GOLDEN_MADE("gemma2_bias"),
    GOLDEN_MADE("gemma3_caps"),
    GOLDEN_MADE("olmo2_tied"),
    GOLDEN_MADE("mixtral_one"),
    GOLDEN_MADE("qwen2_moe_window"),
    GOLDEN_MADE("qwen2_moe_layer_types"),
    GOLDEN_MADE("qwen3_moe_window"),
    GOLDEN_MADE("deepseek_v2_normed"),
    GOLDEN_MADE("deepseek_v2_wide"),
    GOLDEN_MADE("deepseek_v3_raw"),
    GOLDEN_QUANTIZED("fp8_tensor"),
    GOLDEN_QUANTIZED("fp8_block_128"),
    GOLDEN_QUANTIZED("fp8_fbgemm"),
    GOLDEN_QUANTIZED("ct_fp8_channel"),
    GOLDEN_QUANTIZED("ct_int8"),
    GOLDEN_QUANTIZED("ct_int4_group"),
    GOLDEN_QUANTIZED("ct_int4_order"),
    GOLDEN_QUANTIZED("gptq_128"),
    GOLDEN_QUANTIZED("gptq_order"),
    GOLDEN_QUANTIZED("gptq_v2_8bit"),
    GOLDEN_QUANTIZED("awq_32"),
    GOLDEN_QUANTIZED("mixtral_awq"),
    GOLDEN_QUANTIZED("deepseek_fp8"),
    GOLDEN_QUANTIZED("gptq_orders_apart"),
    GOLDEN_QUANTIZED("awq_some"),
    GOLDEN_QUANTIZED("ct_fp8_some"),
    GOLDEN_QUANTIZED("mixtral_awq_some"),
};
enum { NUM_GOLDENS = sizeof(goldens) / sizeof(goldens[0]) };

#endif
