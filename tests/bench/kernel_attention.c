#include <stdio.h>
#include <stdlib.h>

#include "kernel_rig.h"

struct attention_bench {
    struct kv_pool *pool;
    struct kv_layout layout;
    struct attention_seq seqs[64];
    int32_t num_seqs, num_heads, rows;
    float *qkv, *out;
};

static void record_attention(void *argument)
{
    const struct attention_bench *bench = argument;
    const struct attention_form form = { .scale = 0.1f };
    for (int32_t layer = 0; layer < bench->layout.num_layers; layer++)
        backend->attention(device, bench->out, bench->qkv, bench->pool, layer, bench->num_heads,
                           &form, bench->seqs, bench->num_seqs, bench->rows);
}

/* `num_seqs` sequences of `length` positions, the last `rows_each` of each computed. */
static void bench_attention(int32_t num_heads, int32_t num_kv_heads, int32_t head_dim,
                            int32_t num_seqs, int32_t length, int32_t rows_each, int32_t num_layers,
                            const struct probe *probe)
{
    const int32_t blocks_each = (length + 15) / 16;
    const struct kv_layout layout = { num_layers, num_kv_heads, head_dim, 16, DTYPE_F16 };
    struct attention_bench bench = {
        .layout = layout, .num_seqs = num_seqs, .num_heads = num_heads, .rows = num_seqs * rows_each
    };
    int32_t *blocks = malloc((size_t)(num_seqs * blocks_each) * sizeof(*blocks));
    struct error err;
    if (!blocks ||
        backend->kv_alloc(device, &layout, num_seqs * blocks_each, &bench.pool, &err) < 0)
        exit(1);

    for (int32_t i = 0; i < num_seqs * blocks_each; i++)
        blocks[i] = i;
    for (int32_t i = 0; i < num_seqs; i++)
        bench.seqs[i] = (struct attention_seq){ i * rows_each, rows_each, length - rows_each,
                                                blocks + i * blocks_each, 0 };
    bench.qkv =
        kernel_rig_floats((size_t)bench.rows * (size_t)((num_heads + 2 * num_kv_heads) * head_dim));
    bench.out = kernel_rig_floats((size_t)bench.rows * (size_t)(num_heads * head_dim));

    const double positions = (length - rows_each + (rows_each + 1) / 2.0);
    const double flops = 4.0 * num_seqs * rows_each * positions * num_heads * head_dim * num_layers;
    const double bytes = 4.0 * num_seqs * length * num_kv_heads * head_dim * num_layers;
    char what[96];
    snprintf(what, sizeof(what), "attention %d/%d x %d, %d x %d rows at %d", num_heads,
             num_kv_heads, head_dim, num_seqs, rows_each, length);
    kernel_rig_print(what, kernel_rig_best_of(record_attention, &bench, 5), bytes, flops, probe);
    backend->kv_free(bench.pool);
    backend->free(device, bench.qkv);
    backend->free(device, bench.out);
    free(blocks);
}

void kernel_attention_bench(const struct probe *probe, bool plain)
{
    bench_attention(16, 8, 128, 1, 4096, 1, plain ? 2 : 16, probe);
    bench_attention(32, 8, 128, 8, 2048, 1, plain ? 1 : 8, probe);
    if (!plain)
        bench_attention(16, 8, 128, 1, 512, 512, 4, probe);
}
