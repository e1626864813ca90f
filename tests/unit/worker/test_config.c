#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/families/family.h"
#include "worker/model/config.h"

static const char base_text[] =
    "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 100,"
    " \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 3,"
    " \"num_attention_heads\": 4, \"rms_norm_eps\": 1e-5, \"torch_dtype\": \"bfloat16\"}";

static struct arch arch;
static struct error err;

static int parse(const char *text)
{
    err = (struct error){ 0 };
    return config_parse(text, strlen(text), DTYPE_F16, 16, &arch, NULL, &err);
}

/* The base with the keys of `patch` set over it. */
static int parse_patched(const char *patch)
{
    json_t *config = json_loads(base_text, 0, NULL), *over = json_loads(patch, 0, NULL);
    ck_assert_msg(config != NULL && over != NULL, "%s", patch);
    json_object_update(config, over);
    char *text = json_dumps(config, 0);
    const int r = parse(text);
    free(text);
    json_decref(config);
    json_decref(over);
    return r;
}

START_TEST(absent_keys_get_the_defaults_of_llama)
{
    ck_assert_int_eq(parse(base_text), 0);

    ck_assert_str_eq(arch.model_type, "llama");
    ck_assert_int_eq(arch.vocab_size, 100);
    ck_assert_int_eq(arch.num_key_value_heads, 4);
    ck_assert_int_eq(arch.head_dim, 16);
    ck_assert_int_eq(arch.max_position_embeddings, 2048);
    ck_assert(arch.norm_eps == 1e-5f);
    ck_assert(arch.ropes[0].theta == 10000.0 && arch.ropes[0].scaling == ROPE_SCALING_NONE);
    ck_assert(!arch.attention_bias && !arch.mlp_bias && !arch.tie_word_embeddings);
    ck_assert_int_eq(arch.dtype, DTYPE_BF16);
}
END_TEST

START_TEST(given_keys_are_read)
{
    ck_assert_int_eq(parse_patched("{\"num_key_value_heads\": 2.0, \"head_dim\": 24,"
                                   " \"attention_bias\": true, \"mlp_bias\": true,"
                                   " \"tie_word_embeddings\": true, \"torch_dtype\": null,"
                                   " \"dtype\": \"float16\", \"max_position_embeddings\": 131072,"
                                   " \"hidden_act\": \"silu\", \"rope_theta\": 500000}"),
                     0);

    ck_assert_int_eq(arch.num_key_value_heads, 2);
    ck_assert_int_eq(arch.head_dim, 24);
    ck_assert(arch.attention_bias && arch.mlp_bias && arch.tie_word_embeddings);
    ck_assert_int_eq(arch.dtype, DTYPE_F16);
    ck_assert_int_eq(arch.max_position_embeddings, 131072);
    ck_assert(arch.ropes[0].theta == 500000.0);
    ck_assert_int_eq(family_dim(&arch, DIM_QKV), 96 + 2 * 48);
}
END_TEST

START_TEST(without_windows_a_kv_block_holds_all_layers)
{
    ck_assert_int_eq(parse_patched("{\"num_key_value_heads\": 2}"), 0);

    const struct kv_layout *layout = &arch.kv_block;
    ck_assert_int_eq(arch.kv.num_groups, 1);
    ck_assert_int_eq(arch.kv.num_parts, 1);
    ck_assert_int_eq(layout->num_layers, 3);
    ck_assert_int_eq(layout->num_kv_heads, 2);
    ck_assert_int_eq(layout->head_dim, 16);
    ck_assert_int_eq(layout->block_size, 16);
    ck_assert_int_eq(layout->dtype, DTYPE_F16);
}
END_TEST

START_TEST(a_file_without_model_type_is_known_by_its_architecture)
{
    ck_assert_int_eq(parse_patched("{\"model_type\": null}"), 0);
    ck_assert_int_eq(parse_patched("{\"model_type\": null, \"architectures\": [\"XLM\"]}"),
                     -ENOTSUP);
    static const char begin[] = "config.json: architectures is \"XLM\", supported are llama, ";
    ck_assert_msg(strncmp(err.message, begin, sizeof(begin) - 1) == 0, "%s", err.message);
    ck_assert_int_eq(parse_patched("{\"model_type\": null, \"architectures\": 5}"), -EINVAL);
}
END_TEST

START_TEST(rope_scaling_is_read_in_both_spellings)
{
    static const char *const patches[] = {
        "{\"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8,"
        " \"low_freq_factor\": 1, \"high_freq_factor\": 4,"
        " \"original_max_position_embeddings\": 8192}}",
        "{\"rope_theta\": 7.0, \"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\":"
        " \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0,"
        " \"original_max_position_embeddings\": 8192}}",
    };
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(parse_patched(patches[i]), 0);
        ck_assert_int_eq(arch.ropes[0].scaling, ROPE_SCALING_LLAMA3);
        ck_assert(arch.ropes[0].theta == 500000.0 && arch.ropes[0].factor == 8.0);
        ck_assert(arch.ropes[0].low_freq_factor == 1.0 && arch.ropes[0].high_freq_factor == 4.0);
        ck_assert_int_eq(arch.ropes[0].original_max_position_embeddings, 8192);
    }
    ck_assert_int_eq(parse_patched("{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4.0}}"),
                     0);
    ck_assert(arch.ropes[0].scaling == ROPE_SCALING_LINEAR && arch.ropes[0].factor == 4.0);
    ck_assert_int_eq(parse_patched("{\"rope_theta\": 9.0, \"rope_parameters\": {\"rope_type\":"
                                   " \"default\"}}"),
                     0);
    ck_assert(arch.ropes[0].scaling == ROPE_SCALING_NONE && arch.ropes[0].theta == 9.0);
}
END_TEST

static const struct {
    const char *patch;
    int result;
    const char *message; /* the sentence begins so */
} refused[] = {
    { "{\"model_type\": \"gpt2\"}", -ENOTSUP,
      "config.json: model_type is \"gpt2\", supported are llama" },
    { "{\"model_type\": 5}", -EINVAL, "config.json: model_type is not a string" },
    { "{\"hidden_size\": null}", -EINVAL, "config.json: hidden_size is missing" },
    { "{\"hidden_size\": 0}", -EINVAL, "config.json: hidden_size is 0, wanted 1 to 65536" },
    { "{\"hidden_size\": -64}", -EINVAL, "config.json: hidden_size is -64" },
    { "{\"hidden_size\": \"64\"}", -EINVAL, "config.json: hidden_size is not an integer" },
    { "{\"hidden_size\": 64.5}", -EINVAL, "config.json: hidden_size is not an integer" },
    { "{\"vocab_size\": 4194305}", -EINVAL, "config.json: vocab_size is 4194305" },
    { "{\"intermediate_size\": 9223372036854775807}", -EINVAL, "config.json: intermediate_size" },
    { "{\"num_hidden_layers\": 513}", -EINVAL, "config.json: num_hidden_layers is 513" },
    { "{\"num_attention_heads\": 3}", -EINVAL, "config.json: hidden_size is 64, wanted a multip" },
    { "{\"num_key_value_heads\": 3}", -EINVAL, "config.json: num_key_value_heads is 3" },
    { "{\"num_key_value_heads\": 8}", -EINVAL, "config.json: num_key_value_heads is 8" },
    { "{\"head_dim\": 17}", -EINVAL, "config.json: head_dim is 17" },
    { "{\"head_dim\": 1026}", -EINVAL, "config.json: head_dim is 1026" },
    { "{\"num_attention_heads\": 4096, \"head_dim\": 1024}", -EINVAL, "config.json: heads of" },
    { "{\"max_position_embeddings\": 16777217}", -EINVAL, "config.json: max_position_embeddings" },
    { "{\"rms_norm_eps\": 0}", -EINVAL, "config.json: rms_norm_eps is 0" },
    { "{\"rms_norm_eps\": true}", -EINVAL, "config.json: rms_norm_eps is not a number" },
    { "{\"tie_word_embeddings\": 1}", -EINVAL, "config.json: tie_word_embeddings is neither" },
    { "{\"torch_dtype\": \"float8_e4m3fn\"}", -ENOTSUP, "config.json: dtype is \"float8_e4m3fn\"" },
    { "{\"hidden_act\": \"relu\"}", -ENOTSUP,
      "config.json: hidden_act is \"relu\", supported are silu, gelu, gelu_new and "
      "gelu_pytorch_tanh" },
    { "{\"quantization_config\": {\"quant_method\": \"hqq\"}}", -ENOTSUP,
      "config.json: quantization_config: quant_method is \"hqq\"" },
    { "{\"rope_theta\": 0}", -EINVAL, "config.json: rope_theta is 0" },
    { "{\"rope_scaling\": []}", -EINVAL, "config.json: rope_scaling is not an object" },
    { "{\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2}}", -ENOTSUP,
      "config.json: rope_type is \"dynamic\", whose angles change with the length of the text" },
    { "{\"rope_scaling\": {\"rope_type\": \"spiral\"}}", -ENOTSUP,
      "config.json: rope_type is \"spiral\", supported are default, linear, llama3, yarn" },
    { "{\"rope_scaling\": {\"type\": \"linear\"}}", -EINVAL, "config.json: factor is missing" },
    { "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0.5}}", -EINVAL,
      "config.json: factor is 0.5" },
    { "{\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4,"
      " \"high_freq_factor\": 4, \"original_max_position_embeddings\": 8192}}",
      -EINVAL, "config.json: high_freq_factor is 4" },
    { "{\"rope_parameters\": {\"partial_rotary_factor\": 0.5}}", -ENOTSUP,
      "config.json: partial_rotary_factor is 0.5" },
};

START_TEST(what_is_out_of_range_is_refused_by_name)
{
    ck_assert_int_eq(parse_patched(refused[_i].patch), refused[_i].result);
    ck_assert_msg(strncmp(err.message, refused[_i].message, strlen(refused[_i].message)) == 0,
                  "%s: %s", refused[_i].patch, err.message);
    ck_assert_int_eq(err.code, refused[_i].result);
}
END_TEST

static float root(double value)
{
    return (float)sqrt(value);
}

START_TEST(mistral_has_a_window_unless_it_is_null)
{
    ck_assert_int_eq(parse_patched("{\"model_type\": \"mistral\", \"num_key_value_heads\": 2}"), 0);
    ck_assert_int_eq(arch.layers[0].window, 4096);
    ck_assert_int_eq(arch.layers[2].window, 4096);
    ck_assert_int_eq(arch.max_position_embeddings, 131072);
    ck_assert_int_eq(parse_patched("{\"model_type\": \"mistral\", \"num_key_value_heads\": 2,"
                                   " \"sliding_window\": null}"),
                     0);
    ck_assert_int_eq(arch.layers[0].window, 0);
    ck_assert_int_eq(parse_patched("{\"model_type\": \"mistral\", \"num_key_value_heads\": 2,"
                                   " \"max_position_embeddings\": 4096}"),
                     0);
    ck_assert_int_eq(arch.layers[0].window, 0); /* it holds every text */
}
END_TEST

START_TEST(qwen_has_windows_only_where_it_uses_them)
{
    static const char *const kinds[] = { "qwen2", "qwen3" };
    for (int i = 0; i < 2; i++) {
        char patch[256];
        snprintf(patch, sizeof(patch),
                 "{\"model_type\": \"%s\", \"num_key_value_heads\": 2, \"sliding_window\": 16}",
                 kinds[i]);
        ck_assert_int_eq(parse_patched(patch), 0);
        ck_assert_int_eq(arch.layers[2].window, 0);
        ck_assert_int_eq(arch.head_dim, i == 0 ? 16 : 128);
        snprintf(patch, sizeof(patch),
                 "{\"model_type\": \"%s\", \"num_key_value_heads\": 2, \"sliding_window\": 16,"
                 " \"use_sliding_window\": true, \"max_window_layers\": 1}",
                 kinds[i]);
        ck_assert_int_eq(parse_patched(patch), 0);
        ck_assert_int_eq(arch.layers[0].window, 0);
        ck_assert_int_eq(arch.layers[1].window, 16);
    }
}
END_TEST

START_TEST(gemma2_alternates_windows_and_scales_by_its_own_number)
{
    ck_assert_int_eq(parse_patched("{\"model_type\": \"gemma2\", \"torch_dtype\": \"float32\"}"),
                     0);
    ck_assert_int_eq(arch.layers[0].window, 4096);
    ck_assert_int_eq(arch.layers[1].window, 0);
    ck_assert_int_eq(arch.layers[2].window, 4096);
    ck_assert_int_eq(arch.head_dim, 256);
    ck_assert(arch.tie_word_embeddings && arch.activation == ACTIVATION_GELU_TANH);
    ck_assert(arch.attention_scale == 1.0f / 16 && arch.embedding_scale == 8.0f);
    ck_assert(arch.attention_softcap == 50.0f && arch.logits_softcap == 30.0f);
    ck_assert_int_eq(parse_patched("{\"model_type\": \"gemma2\", \"query_pre_attn_scalar\": 144,"
                                   " \"attn_logit_softcapping\": null, \"hidden_size\": 2304}"),
                     0);
    ck_assert(arch.attention_scale == 1.0f / 12 && arch.attention_softcap == 0.0f);
    ck_assert(arch.embedding_scale == 48.0f);
}
END_TEST

START_TEST(the_embedding_scale_is_rounded_as_the_checkpoint_is)
{
    /* Roots of published widths in bf16. */
    static const struct {
        int32_t width;
        float scale;
    } known[] = { { 640, 25.25f }, { 1152, 34.0f }, { 2048, 45.25f },
                  { 2560, 50.5f }, { 3072, 55.5f }, { 3584, 59.75f },
                  { 3840, 62.0f }, { 4608, 68.0f }, { 5376, 73.5f } };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        char patch[96];
        snprintf(patch, sizeof(patch),
                 "{\"model_type\": \"gemma\", \"num_key_value_heads\": 1, "
                 "\"hidden_size\": %d}",
                 known[i].width);
        ck_assert_int_eq(parse_patched(patch), 0);
        ck_assert_float_eq(arch.embedding_scale, known[i].scale);
    }
    ck_assert_int_eq(parse_patched("{\"model_type\": \"gemma\", \"num_key_value_heads\": 1,"
                                   " \"hidden_size\": 640, \"torch_dtype\": \"float32\"}"),
                     0);
    ck_assert_float_eq(arch.embedding_scale, root(640));
}
END_TEST

START_TEST(a_sparse_text_part_gets_the_defaults_of_gemma3)
{
    const char *text = "{\"model_type\": \"gemma3\", \"torch_dtype\": \"bfloat16\","
                       " \"text_config\": {\"hidden_size\": 2560, \"intermediate_size\": 10240,"
                       " \"num_hidden_layers\": 34, \"model_type\": \"gemma3_text\","
                       " \"rope_scaling\": {\"factor\": 8.0, \"rope_type\": \"linear\"},"
                       " \"sliding_window\": 1024}}";
    ck_assert_msg(parse(text) == 0, "%s", err.message);
    ck_assert_str_eq(arch.model_type, "gemma3_text");
    ck_assert_int_eq(arch.vocab_size, 262208);
    ck_assert_int_eq(arch.num_attention_heads, 8);
    ck_assert_int_eq(arch.num_key_value_heads, 4);
    ck_assert_int_eq(arch.dtype, DTYPE_BF16);
    ck_assert_int_eq(arch.num_ropes, 2);
    ck_assert(arch.ropes[0].theta == 1e6 && arch.ropes[0].factor == 8.0);
    ck_assert(arch.ropes[1].theta == 1e4 && arch.ropes[1].scaling == ROPE_SCALING_NONE);
    for (int32_t l = 0; l < 34; l++) {
        ck_assert_int_eq(arch.layers[l].window, l % 6 == 5 ? 0 : 1024);
        ck_assert_int_eq(arch.layers[l].rope, l % 6 == 5 ? 0 : 1);
    }
    ck_assert_int_eq(parse("{\"model_type\": \"llava\", \"text_config\": {\"model_type\":"
                           " \"llama\"}}"),
                     -ENOTSUP);
}
END_TEST

START_TEST(phi3_reads_the_old_names_of_longrope)
{
    static const char *const kinds[] = { "longrope", "su", "yarn" };
    for (int i = 0; i < 3; i++) {
        char patch[400];
        snprintf(patch, sizeof(patch),
                 "{\"model_type\": \"phi3\", \"max_position_embeddings\": 131072,"
                 " \"partial_rotary_factor\": 0.75, \"rope_scaling\": {\"type\": \"%s\","
                 " \"short_factor\": [1, 1, 1, 1, 1, 1.5], \"long_factor\": [1, 2, 3, 4, 5, 6]}}",
                 kinds[i]);
        ck_assert_msg(parse_patched(patch) == 0, "%s", err.message);
        ck_assert_int_eq(arch.ropes[0].scaling, ROPE_SCALING_LONGROPE);
        ck_assert_int_eq(arch.ropes[0].rotary_dims, 12);
        ck_assert_int_eq(arch.ropes[0].original_max_position_embeddings, 4096);
        ck_assert(arch.ropes[0].factor == 32.0 && arch.ropes[0].long_factors[5] == 6.0);
        ck_assert(arch.norm_eps == 1e-5f);
    }
}
END_TEST

static const struct {
    const char *patch;
    int result;
    const char *message;
} refused_of_families[] = {
    { "{\"model_type\": \"mistral\", \"num_key_value_heads\": 2, \"sliding_window\": 0}", -EINVAL,
      "config.json: sliding_window is 0, wanted 1 to" },
    { "{\"model_type\": \"qwen2\", \"num_key_value_heads\": 2, \"use_sliding_window\": true,"
      " \"layer_types\": [\"full_attention\"]}",
      -EINVAL, "config.json: layer_types has 1 values, wanted one for each of the 3" },
    { "{\"model_type\": \"gemma2\", \"layer_types\": [\"full_attention\", \"linear_attention\","
      " \"full_attention\"]}",
      -ENOTSUP, "config.json: layer_types[1] is \"linear_attention\", supported are" },
    { "{\"model_type\": \"gemma2\", \"layer_types\": [1, 2, 3]}", -ENOTSUP,
      "config.json: layer_types[0] is \"no string\"" },
    { "{\"model_type\": \"gemma2\", \"sliding_window\": null}", -EINVAL,
      "config.json: sliding_window is missing, wanted by layer 0" },
    { "{\"model_type\": \"gemma2\", \"attn_logit_softcapping\": -1}", -EINVAL,
      "config.json: attn_logit_softcapping is -1" },
    { "{\"model_type\": \"gemma2\", \"query_pre_attn_scalar\": 0}", -EINVAL,
      "config.json: query_pre_attn_scalar is 0" },
    { "{\"model_type\": \"gemma2\", \"hidden_activation\": \"relu\"}", -ENOTSUP,
      "config.json: hidden_activation is \"relu\", supported are silu" },
    { "{\"model_type\": \"gemma\", \"num_key_value_heads\": 1,"
      " \"use_bidirectional_attention\": true}",
      -ENOTSUP, "config.json: use_bidirectional_attention is true" },
    { "{\"model_type\": \"gemma3_text\", \"rope_parameters\": {\"rope_type\": \"linear\"}}",
      -EINVAL, "config.json: rope_parameters.full_attention is missing" },
    { "{\"model_type\": \"gemma3_text\", \"_sliding_window_pattern\": 0}", -EINVAL,
      "config.json: _sliding_window_pattern is 0" },
    { "{\"model_type\": \"phi\", \"partial_rotary_factor\": 0.3}", 0, "" },
    { "{\"model_type\": \"phi\", \"partial_rotary_factor\": 0.2}", -EINVAL,
      "config.json: partial_rotary_factor is 0.2, 3 of the 16 dimensions of a head" },
    { "{\"model_type\": \"phi\", \"partial_rotary_factor\": 1.5}", -EINVAL,
      "config.json: partial_rotary_factor is 1.5" },
    { "{\"model_type\": \"phi\", \"layer_norm_eps\": 0}", -EINVAL,
      "config.json: layer_norm_eps is 0" },
    { "{\"model_type\": \"phi3\", \"rope_scaling\": {\"type\": \"longrope\", \"long_factor\": []}}",
      -EINVAL, "config.json: short_factor is not a list" },
    { "{\"model_type\": \"phi3\", \"rope_scaling\": {\"type\": \"longrope\", \"short_factor\":"
      " [1, 1]}}",
      -EINVAL, "config.json: short_factor has 2 values, wanted 8" },
    { "{\"model_type\": \"phi3\", \"rope_scaling\": {\"type\": \"longrope\", \"short_factor\":"
      " [1, 1, 1, 1, 1, 1, 1, \"1\"]}}",
      -EINVAL, "config.json: short_factor[7] is not a number" },
    { "{\"model_type\": \"qwen2\", \"num_key_value_heads\": 2, \"rope_scaling\": {\"type\":"
      " \"yarn\", \"factor\": -4}}",
      -EINVAL, "config.json: factor is -4" },
    { "{\"model_type\": \"qwen2\", \"num_key_value_heads\": 2, \"rope_theta\": 1, \"rope_scaling\":"
      " {\"type\": \"yarn\", \"factor\": 4}}",
      -EINVAL, "config.json: rope_theta is 1, wanted more than 1" },
    { "{\"model_type\": \"qwen2\", \"num_key_value_heads\": 2, \"rope_parameters\": {\"rope_type\":"
      " \"mrope\"}}",
      -ENOTSUP, "config.json: rope_type is \"mrope\", supported are" },
};

START_TEST(what_a_family_cannot_do_is_refused_by_name)
{
    ck_assert_msg(parse_patched(refused_of_families[_i].patch) == refused_of_families[_i].result,
                  "%s: %s", refused_of_families[_i].patch, err.message);
    ck_assert_msg(strncmp(err.message, refused_of_families[_i].message,
                          strlen(refused_of_families[_i].message)) == 0,
                  "%s: %s", refused_of_families[_i].patch, err.message);
}
END_TEST

START_TEST(a_number_that_is_none_is_refused_where_it_stands)
{
    ck_assert_int_eq(parse("{\"model_type\": \"llama\",\n \"rms_norm_eps\": NaN}"), -EINVAL);
    ck_assert_str_eq(err.message, "config.json: rms_norm_eps is not a number");
    ck_assert_int_eq(parse("{\"a\": \"NaN\", \"x\": {\"rope_theta\" :\n -Infinity}}"), -EINVAL);
    ck_assert_str_eq(err.message, "config.json: rope_theta is not a number");
    ck_assert_int_eq(parse("NaN"), -EINVAL);
    ck_assert_int_eq(parse(":NaN"), -EINVAL);
    ck_assert_int_eq(parse("\":NaN"), -EINVAL);
    ck_assert_int_eq(parse("{\"model_type\": \"llama\",\n \"rope_theta\": 1e999}"), -EINVAL);
}
END_TEST

START_TEST(text_that_is_no_object_is_refused)
{
    ck_assert_int_eq(parse("[]"), -EINVAL);
    ck_assert_int_eq(parse("{"), -EINVAL);
    ck_assert_int_eq(parse(""), -EINVAL);
    ck_assert_int_eq(parse("{\"vocab_size\": 1, \"vocab_size\": 2}"), -EINVAL);
    ck_assert_int_eq(model_read_arch("/nonexistent", DTYPE_F16, 16, &arch, &err), -ENOENT);
}
END_TEST

START_TEST(ringlet_is_read)
{
    ck_assert_int_eq(model_read_arch(RINGLET, DTYPE_F16, 16, &arch, &err), 0);
    ck_assert_int_eq(arch.vocab_size, 1024);
    ck_assert_int_eq(arch.num_key_value_heads, 4);
    ck_assert(arch.tie_word_embeddings);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tc = tcase_create("config");

    tcase_add_test(tc, absent_keys_get_the_defaults_of_llama);
    tcase_add_test(tc, given_keys_are_read);
    tcase_add_test(tc, without_windows_a_kv_block_holds_all_layers);
    tcase_add_test(tc, a_file_without_model_type_is_known_by_its_architecture);
    tcase_add_test(tc, rope_scaling_is_read_in_both_spellings);
    tcase_add_loop_test(tc, what_is_out_of_range_is_refused_by_name, 0,
                        sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(tc, mistral_has_a_window_unless_it_is_null);
    tcase_add_test(tc, qwen_has_windows_only_where_it_uses_them);
    tcase_add_test(tc, gemma2_alternates_windows_and_scales_by_its_own_number);
    tcase_add_test(tc, the_embedding_scale_is_rounded_as_the_checkpoint_is);
    tcase_add_test(tc, a_sparse_text_part_gets_the_defaults_of_gemma3);
    tcase_add_test(tc, phi3_reads_the_old_names_of_longrope);
    tcase_add_loop_test(tc, what_a_family_cannot_do_is_refused_by_name, 0,
                        sizeof(refused_of_families) / sizeof(refused_of_families[0]));
    tcase_add_test(tc, a_number_that_is_none_is_refused_where_it_stands);
    tcase_add_test(tc, text_that_is_no_object_is_refused);
    tcase_add_test(tc, ringlet_is_read);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
