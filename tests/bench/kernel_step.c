#include <stdio.h>
#include <stdlib.h>

#include "kernel_rig.h"

struct rows_bench {
    float *a, *b, *w;
    int32_t rows, cols, times;
};

static void record_norm(void *argument)
{
    const struct rows_bench *bench = argument;
    for (int32_t i = 0; i < bench->times; i++)
        backend->add_rms_norm(device, bench->b, bench->a, NULL, bench->w, 1e-5f, bench->rows,
                              bench->cols);
}

static void record_silu(void *argument)
{
    const struct rows_bench *bench = argument;
    for (int32_t i = 0; i < bench->times; i++)
        backend->activate(device, bench->b, bench->a, ACTIVATION_SILU, true, bench->rows,
                          bench->cols);
}

static void bench_rows(int32_t rows, int32_t cols, const struct probe *probe)
{
    struct rows_bench bench = { kernel_rig_floats((size_t)rows * (size_t)cols * 2),
                                kernel_rig_floats((size_t)rows * (size_t)cols),
                                kernel_rig_floats((size_t)cols),
                                rows,
                                cols,
                                32 };
    const double num = 4.0 * rows * cols * bench.times;
    char what[96];
    snprintf(what, sizeof(what), "add_rms_norm %d x %d, 32 times", rows, cols);
    kernel_rig_print(what, kernel_rig_best_of(record_norm, &bench, TRIALS), 2 * num, 0.0, probe);
    snprintf(what, sizeof(what), "silu times up %d x %d, 32 times", rows, cols);
    kernel_rig_print(what, kernel_rig_best_of(record_silu, &bench, TRIALS), 3 * num, 0.0, probe);
    backend->free(device, bench.a);
    backend->free(device, bench.b);
    backend->free(device, bench.w);
}

/* A step of a tiny model (hidden 256, 4 layers, 1024 tokens): what the meetings cost. */
struct step_bench {
    struct weight *qkv_proj[4], *o_proj[4], *gate_up_proj[4], *down_proj[4], *embed;
    struct kv_pool *pool;
    struct attention_seq seq;
    struct rope_table rope;
    float *x, *normed, *qkv, *attn, *gate_up, *act, *delta, *logits, *w;
    int32_t rows, positions[64], ids[64], blocks[64];
    int64_t slots[64];
};

static void record_step(void *argument)
{
    struct step_bench *b = argument;
    const struct attention_form form = { .scale = 0.17f };
    backend->embed(device, b->x, b->embed, 1.0f, b->ids, b->rows);
    for (int32_t l = 0; l < 4; l++) {
        backend->add_rms_norm(device, b->normed, b->x, l ? b->delta : NULL, b->w, 1e-5f, b->rows,
                              256);
        backend->linear(device, b->qkv, b->qkv_proj[l], NULL, b->normed, b->rows);
        backend->rope_kv_write(device, b->qkv, NULL, &b->rope, b->positions, b->slots, b->pool, l,
                               8, b->rows);
        backend->attention(device, b->attn, b->qkv, b->pool, l, 8, &form, &b->seq, 1, b->rows);
        backend->linear(device, b->delta, b->o_proj[l], NULL, b->attn, b->rows);
        backend->add_rms_norm(device, b->normed, b->x, b->delta, b->w, 1e-5f, b->rows, 256);
        backend->linear(device, b->gate_up, b->gate_up_proj[l], NULL, b->normed, b->rows);
        backend->activate(device, b->act, b->gate_up, ACTIVATION_SILU, true, b->rows, 512);
        backend->linear(device, b->delta, b->down_proj[l], NULL, b->act, b->rows);
    }
    backend->add_rms_norm(device, b->normed, b->x, b->delta, b->w, 1e-5f, b->rows, 256);
    backend->linear(device, b->logits, b->embed, NULL, b->normed, b->rows);
}

static void record_nothing(void *argument)
{
    (void)argument;
}

static void bench_step(int32_t rows, int32_t pos, const struct probe *probe)
{
    struct step_bench b = { .rows = rows };
    for (int l = 0; l < 4; l++) {
        b.qkv_proj[l] = kernel_rig_weight(DTYPE_BF16, 512, 256);
        b.o_proj[l] = kernel_rig_weight(DTYPE_BF16, 256, 256);
        b.gate_up_proj[l] = kernel_rig_weight(DTYPE_BF16, 1024, 256);
        b.down_proj[l] = kernel_rig_weight(DTYPE_BF16, 256, 512);
    }
    b.embed = kernel_rig_weight(DTYPE_BF16, 1024, 256);
    const struct kv_layout layout = { 4, 4, 32, 16, DTYPE_F16 };
    if (backend->kv_alloc(device, &layout, 64, &b.pool, NULL) < 0)
        exit(1);
    float *tables = kernel_rig_floats(2048 * 16);
    b.rope = (struct rope_table){ tables, tables, 32, 2048 };
    b.seq = (struct attention_seq){ 0, rows, pos, b.blocks, 0 };
    for (int32_t i = 0; i < 64; i++) {
        b.positions[i] = pos + i;
        b.slots[i] = pos + i;
        b.blocks[i] = i;
    }
    const size_t n = (size_t)rows;
    float **buffers[] = {
        &b.x, &b.normed, &b.qkv, &b.attn, &b.gate_up, &b.act, &b.delta, &b.logits
    };
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
        *buffers[i] = kernel_rig_floats(n * 1024);
    b.w = kernel_rig_floats(256);

    char what[96];
    const double weights = 2.0 * (4 * (512 + 256 + 1024 + 512) * 256 + 1024 * 256);
    kernel_rig_print("empty list: submit and wait", kernel_rig_best_of(record_nothing, NULL, 2000),
                     0, 0, probe);
    snprintf(what, sizeof(what), "step of a tiny model, %d rows at %d", rows, pos);
    kernel_rig_print(what, kernel_rig_best_of(record_step, &b, 2000), weights, weights * rows,
                     probe);

    for (int l = 0; l < 4; l++) {
        backend->weight_free(b.qkv_proj[l]);
        backend->weight_free(b.o_proj[l]);
        backend->weight_free(b.gate_up_proj[l]);
        backend->weight_free(b.down_proj[l]);
    }
    backend->weight_free(b.embed);
    backend->kv_free(b.pool);
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
        backend->free(device, *buffers[i]);
    backend->free(device, tables);
    backend->free(device, b.w);
}

void kernel_step_rows(const struct probe *probe, bool plain)
{
    (void)plain;
    bench_rows(1, 1024, probe);
    bench_rows(64, 4096, probe);
}

void kernel_step_bench(const struct probe *probe, bool plain)
{
    (void)plain;
    bench_step(1, 100, probe);
    bench_step(32, 100, probe);
}
