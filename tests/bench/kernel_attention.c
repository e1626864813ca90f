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

/* Every page of the pool gets random numbers: pages that nobody wrote are all the same one. */
static void fill_pool(const struct attention_bench *bench, int32_t num_blocks)
{
    enum { ROWS = 256 };
    const struct kv_layout *layout = &bench->layout;
    const size_t cols = (size_t)layout->head_dim * (size_t)(3 * layout->num_kv_heads);
    const struct rope_table rope = { NULL, NULL, 0, 1 };
    float *rows = kernel_rig_floats(ROWS * cols);
    int32_t positions[ROWS] = { 0 };
    int64_t slots[ROWS];
    for (int64_t slot = 0; slot < (int64_t)num_blocks * layout->block_size; slot += ROWS) {
        int32_t num = 0;
        while (num < ROWS && slot + num < (int64_t)num_blocks * layout->block_size) {
            slots[num] = slot + num;
            num++;
        }
        backend->begin(device);
        for (int32_t layer = 0; layer < layout->num_layers; layer++)
            backend->rope_kv_write(device, rows, NULL, &rope, positions, slots, bench->pool, layer,
                                   layout->num_kv_heads, num);
        backend->submit(device);
        backend->wait(device);
    }
    backend->free(device, rows);
}

/* `num_seqs` sequences of `length` positions, the last `rows_each` of each computed. */
struct attention_row {
    int32_t num_heads, num_kv_heads, head_dim, num_seqs, length, rows_each, num_layers;
    enum dtype dtype;
};

static void bench_attention(const struct attention_row *row, const struct probe *probe)
{
    const int32_t num_heads = row->num_heads, num_kv_heads = row->num_kv_heads;
    const int32_t head_dim = row->head_dim, num_seqs = row->num_seqs, length = row->length;
    const int32_t rows_each = row->rows_each, num_layers = row->num_layers;
    const int32_t blocks_each = (length + 15) / 16;
    const struct kv_layout layout = { num_layers, num_kv_heads, head_dim, 16, row->dtype };
    struct attention_bench bench = {
        .layout = layout, .num_seqs = num_seqs, .num_heads = num_heads, .rows = num_seqs * rows_each
    };
    int32_t *blocks = malloc((size_t)(num_seqs * blocks_each) * sizeof(*blocks));
    struct error err;
    if (!blocks ||
        backend->kv_alloc(device, &layout, num_seqs * blocks_each, &bench.pool, &err) < 0)
        exit(1);

    fill_pool(&bench, num_seqs * blocks_each);
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
    const double bytes = (double)kv_block_bytes(&layout) / 16 * num_seqs * length;
    char what[96];
    snprintf(what, sizeof(what), "attention %s %d/%d x %d, %d x %d rows at %d",
             dtype_name(row->dtype), num_heads, num_kv_heads, head_dim, num_seqs, rows_each,
             length);
    kernel_rig_print(what, kernel_rig_best_of(record_attention, &bench, 5), bytes, flops, probe);
    backend->kv_free(bench.pool);
    backend->free(device, bench.qkv);
    backend->free(device, bench.out);
    free(blocks);
}

void kernel_attention_bench(const struct probe *probe, bool plain)
{
    static const struct attention_row rows[] = {
        { 16, 8, 128, 1, 4096, 1, 16, DTYPE_F16 },    { 32, 8, 128, 8, 2048, 1, 8, DTYPE_F16 },
        { 32, 8, 128, 8, 2048, 1, 8, DTYPE_BF16 },    { 32, 8, 128, 8, 2048, 1, 8, DTYPE_F8_E4M3 },
        { 32, 8, 128, 8, 2048, 1, 8, DTYPE_Q8_0 },    { 32, 8, 128, 8, 2048, 1, 8, DTYPE_F32 },
        { 8, 4, 32, 64, 150, 1, 4, DTYPE_F16 },       { 16, 16, 64, 16, 512, 1, 8, DTYPE_F16 },
        { 16, 8, 128, 1, 512, 512, 4, DTYPE_F16 },    { 16, 8, 128, 1, 512, 512, 4, DTYPE_Q8_0 },
        { 16, 8, 128, 1, 512, 512, 4, DTYPE_F8_E4M3 }
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct attention_row row = rows[i];
        row.num_layers = plain ? (row.num_layers + 7) / 8 : row.num_layers;
        if (!plain || row.rows_each == 1)
            bench_attention(&row, probe);
    }
}
