#include "tiny_model.h"

#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/strbuf.h"

enum { WIDTH = 256, HEAD = 128, HEADS = 2, KV_HEADS = 1 };

struct writer {
    struct strbuf header, data;
    uint64_t state;
    bool minus_one; /* norms are stored as their distance from 1 */
};

static double next(struct writer *w) /* splitmix64, from -1 to 1 */
{
    uint64_t z = w->state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-52 - 1.0;
}

/* cols 0: a norm. */
static void add(struct writer *w, const char *name, int rows, int cols, double scale)
{
    const size_t begin = w->data.len;
    for (int i = 0; i < rows * (cols > 0 ? cols : 1); i++) {
        const double sum = next(w) + next(w) + next(w); /* of variance 1 */
        const double value = scale * sum + (cols == 0 && !w->minus_one ? 1.0 : 0.0);
        const uint16_t half = half_to_bf16((float)value);
        strbuf_append(&w->data, &half, sizeof(half));
    }
    strbuf_printf(&w->header, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%d", begin > 0 ? "," : "{",
                  name, rows);
    if (cols > 0)
        strbuf_printf(&w->header, ",%d", cols);
    strbuf_printf(&w->header, "],\"data_offsets\":[%zu,%zu]}", begin, w->data.len);
}

static void add_layer(struct writer *w, const char *name, int rows, int cols)
{
    char text[128];
    snprintf(text, sizeof(text), "model.layers.0.%s.weight", name);
    add(w, text, rows, cols, cols > 0 ? 1.2 / sqrt(cols) : 0.1);
}

static void add_all(struct writer *w, const char *model_type)
{
    const bool is_fused = strcmp(model_type, "phi3") == 0;
    add(w, "model.embed_tokens.weight", TINY_VOCAB, WIDTH, 0.06);
    add(w, "model.norm.weight", WIDTH, 0, 0.1);
    add_layer(w, "input_layernorm", WIDTH, 0);
    add_layer(w, "post_attention_layernorm", WIDTH, 0);
    add_layer(w, "self_attn.o_proj", WIDTH, HEADS * HEAD);
    add_layer(w, "mlp.down_proj", WIDTH, WIDTH);
    if (is_fused) {
        add_layer(w, "self_attn.qkv_proj", (HEADS + 2 * KV_HEADS) * HEAD, WIDTH);
        add_layer(w, "mlp.gate_up_proj", 2 * WIDTH, WIDTH);
        return;
    }
    add_layer(w, "self_attn.q_proj", HEADS * HEAD, WIDTH);
    add_layer(w, "self_attn.k_proj", KV_HEADS * HEAD, WIDTH);
    add_layer(w, "self_attn.v_proj", KV_HEADS * HEAD, WIDTH);
    add_layer(w, "mlp.gate_proj", WIDTH, WIDTH);
    add_layer(w, "mlp.up_proj", WIDTH, WIDTH);
    if (strcmp(model_type, "qwen3") == 0) {
        add_layer(w, "self_attn.q_norm", HEAD, 0);
        add_layer(w, "self_attn.k_norm", HEAD, 0);
    }
}

static FILE *create(const char *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    return file;
}

void tiny_model_write(const char *folder, const char *model_type)
{
    struct writer w = { .state = 7, .minus_one = strcmp(model_type, "gemma") == 0 };
    add_all(&w, model_type);
    strbuf_append_char(&w.header, '}');
    while (w.header.len % 8 != 0)
        strbuf_append_char(&w.header, ' ');
    ck_assert(!w.header.failed && !w.data.failed);
    const uint64_t len = w.header.len;
    FILE *file = create(folder, "model.safetensors");
    ck_assert(fwrite(&len, 8, 1, file) == 1 && fwrite(w.header.data, w.header.len, 1, file) == 1 &&
              fwrite(w.data.data, w.data.len, 1, file) == 1);
    ck_assert_int_eq(fclose(file), 0);
    file = create(folder, "config.json");
    fprintf(file,
            "{\"model_type\": \"%s\", \"hidden_size\": %d, \"num_hidden_layers\": 1, "
            "\"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"head_dim\": %d, "
            "\"intermediate_size\": %d, \"vocab_size\": %d, \"max_position_embeddings\": 256, "
            "\"rms_norm_eps\": 1e-6, \"rope_theta\": 10000.0, \"torch_dtype\": \"bfloat16\", "
            "\"hidden_act\": \"%s\", \"tie_word_embeddings\": true%s}\n",
            model_type, WIDTH, HEADS, KV_HEADS, HEAD, WIDTH, TINY_VOCAB,
            w.minus_one ? "gelu_pytorch_tanh" : "silu",
            strcmp(model_type, "phi3") == 0 ? ", \"original_max_position_embeddings\": 256" : "");
    ck_assert_int_eq(fclose(file), 0);
    strbuf_finish(&w.header);
    strbuf_finish(&w.data);
}
