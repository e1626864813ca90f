#include "gguf_maker.h"

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/strbuf.h"

enum { WIDTH = 256, FFN = 512, VOCAB = 96, HEADS = 4, KV_HEADS = 2, HEAD = 64, LAYERS = 2 };

struct maker {
    struct strbuf infos, data;
    enum block_type type; /* of the tensor that is being written */
    bool widened;
    uint64_t state;
    uint64_t num;
};

static void put(struct strbuf *to, uint64_t value, size_t bytes)
{
    strbuf_append(to, &value, bytes);
}

static void put_text(struct strbuf *to, const char *text)
{
    put(to, strlen(text), 8);
    strbuf_append_text(to, text);
}

static uint64_t next(struct maker *m) /* splitmix64 */
{
    uint64_t z = m->state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Where a block's 16-bit floats lie, and what makes its values about 1 / 16. */
static void set_scales(struct maker *m, unsigned char *block)
{
    static const struct {
        enum block_type type;
        size_t at[2];
        float size[2];
    } rows[] = {
        { BLOCK_Q8_0, { 0, 0 }, { 0.0005f, 0.0005f } },
        { BLOCK_Q4_0, { 0, 0 }, { 0.01f, 0.01f } },
        { BLOCK_Q4_1, { 0, 2 }, { 0.01f, -0.07f } },
        { BLOCK_Q5_0, { 0, 0 }, { 0.005f, 0.005f } },
        { BLOCK_Q5_1, { 0, 2 }, { 0.005f, -0.07f } },
        { BLOCK_Q2_K, { 80, 82 }, { 0.006f, 0.009f } },
        { BLOCK_Q3_K, { 108, 108 }, { 0.001f, 0.001f } },
        { BLOCK_Q4_K, { 0, 2 }, { 0.0002f, 0.0016f } },
        { BLOCK_Q5_K, { 0, 2 }, { 0.0001f, 0.0016f } },
        { BLOCK_Q6_K, { 208, 208 }, { 0.00005f, 0.00005f } },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int s = 0; rows[i].type == m->type && s < 2; s++) {
            const float vary = 0.75f + (float)(next(m) % 512) / 1024.0f;
            const uint16_t half = half_to_f16(rows[i].size[s] * vary);
            memcpy(block + rows[i].at[s], &half, 2);
        }
}

static void begin_tensor(struct maker *m, const char *name, uint64_t cols, uint64_t rows,
                         uint32_t type)
{
    static const char zeros[32];
    strbuf_append(&m->data, zeros, (32 - m->data.len % 32) % 32);
    put_text(&m->infos, name);
    put(&m->infos, rows > 0 ? 2 : 1, 4);
    put(&m->infos, cols, 8);
    if (rows > 0)
        put(&m->infos, rows, 8);
    put(&m->infos, type, 4);
    put(&m->infos, m->data.len, 8);
    m->num++;
}

static void add_matrix(struct maker *m, const char *name, uint64_t rows, uint64_t cols)
{
    const struct block_info *info = block_info(m->type);
    begin_tensor(m, name, cols, rows, m->widened ? BLOCK_F32 : m->type);
    for (uint64_t i = 0; i < rows * cols / (uint64_t)info->elements; i++) {
        unsigned char block[256];
        float values[BLOCK_MAX_ELEMENTS];
        for (size_t at = 0; at < sizeof(block); at += 8) {
            const uint64_t word = next(m);
            memcpy(block + at, &word, 8);
        }
        set_scales(m, block);
        block_widen(m->type, block, values, 1);
        if (m->widened)
            strbuf_append(&m->data, values, (size_t)info->elements * sizeof(float));
        else
            strbuf_append(&m->data, block, (size_t)info->bytes);
    }
}

static void add_ones(struct maker *m, const char *name)
{
    const float one = 1.0f;
    begin_tensor(m, name, WIDTH, 0, BLOCK_F32);
    for (int i = 0; i < WIDTH; i++)
        strbuf_append(&m->data, &one, sizeof(one));
}

/* Of a mixture: all of q, k and v differ in the first layer, k joins q in the second. */
static void add_layer(struct maker *m, int layer, bool is_mixture)
{
    static const struct {
        const char *name;
        uint64_t rows, cols;
        enum block_type types[LAYERS];
    } matrices[] = {
        { "attn_q", HEADS * HEAD, WIDTH, { BLOCK_Q4_K, BLOCK_Q4_K } },
        { "attn_k", KV_HEADS * HEAD, WIDTH, { BLOCK_Q8_0, BLOCK_Q4_K } },
        { "attn_v", KV_HEADS * HEAD, WIDTH, { BLOCK_Q6_K, BLOCK_Q6_K } },
        { "attn_output", WIDTH, HEADS * HEAD, { BLOCK_Q5_K, BLOCK_Q4_K } },
        { "ffn_gate", FFN, WIDTH, { BLOCK_Q4_K, BLOCK_Q3_K } },
        { "ffn_up", FFN, WIDTH, { BLOCK_Q4_K, BLOCK_Q5_1 } },
        { "ffn_down", WIDTH, FFN, { BLOCK_Q6_K, BLOCK_Q4_K } },
    };
    char name[64];
    for (size_t i = 0; i < sizeof(matrices) / sizeof(matrices[0]); i++) {
        snprintf(name, sizeof(name), "blk.%d.%s.weight", layer, matrices[i].name);
        m->type = is_mixture ? matrices[i].types[layer] : m->type;
        add_matrix(m, name, matrices[i].rows, matrices[i].cols);
    }
    snprintf(name, sizeof(name), "blk.%d.attn_norm.weight", layer);
    add_ones(m, name);
    snprintf(name, sizeof(name), "blk.%d.ffn_norm.weight", layer);
    add_ones(m, name);
}

static void put_head(const struct maker *m, struct strbuf *head)
{
    static const struct {
        const char *key;
        uint32_t value;
    } keys[] = {
        { "llama.context_length", 256 },         { "llama.embedding_length", WIDTH },
        { "llama.block_count", LAYERS },         { "llama.feed_forward_length", FFN },
        { "llama.attention.head_count", HEADS }, { "llama.attention.head_count_kv", KV_HEADS }
    };
    const size_t num = sizeof(keys) / sizeof(keys[0]);
    strbuf_append_text(head, "GGUF");
    put(head, 3, 4);
    put(head, m->num, 8);
    put(head, 1 + num, 8);
    put_text(head, "general.architecture");
    put(head, 8, 4);
    put_text(head, "llama");
    for (size_t i = 0; i < num; i++) {
        put_text(head, keys[i].key);
        put(head, 4, 4);
        put(head, keys[i].value, 4);
    }
}

static void write_model(const char *path, enum block_type type, bool is_mixture, bool widened)
{
    static const char zeros[32];
    struct maker m = { .type = type, .widened = widened, .state = 7 };
    struct strbuf head = { 0 };
    add_matrix(&m, "token_embd.weight", VOCAB, WIDTH);
    add_ones(&m, "output_norm.weight");
    for (int layer = 0; layer < LAYERS; layer++)
        add_layer(&m, layer, is_mixture);
    put_head(&m, &head);
    strbuf_append(&head, m.infos.data, m.infos.len);
    strbuf_append(&head, zeros, (32 - head.len % 32) % 32);
    FILE *file = fopen(path, "wb");
    ck_assert(file != NULL && !head.failed && !m.data.failed);
    ck_assert_uint_eq(fwrite(head.data, 1, head.len, file), head.len);
    ck_assert_uint_eq(fwrite(m.data.data, 1, m.data.len, file), m.data.len);
    fclose(file);
    strbuf_finish(&head);
    strbuf_finish(&m.infos);
    strbuf_finish(&m.data);
}

void gguf_maker_write(const char *path, enum block_type type, bool widened)
{
    write_model(path, type, false, widened);
}

void gguf_maker_write_mixture(const char *path, bool widened)
{
    write_model(path, BLOCK_Q6_K, true, widened);
}
