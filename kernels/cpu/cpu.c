/* The backend's table: each operation is recorded here and cut into shares. */
#include <assert.h>
#include <string.h>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/device.h"
#include "kernels/cpu/each.h"
#include "kernels/cpu/latent.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/moe.h"
#include "kernels/cpu/weight_store.h"

extern const struct backend cpu_backend;

static void *cpu_alloc(struct device *device, size_t bytes)
{
    (void)device;
    return memory_alloc(bytes);
}

static void cpu_free(struct device *device, void *memory)
{
    (void)device;
    memory_free(memory);
}

static void cpu_copy(struct device *device, void *to, const void *from, size_t bytes)
{
    (void)device;
    if (bytes > 0)
        memcpy(to, from, bytes);
}

/* The host is always there, needs no introduction, and its memory is everybody's. */
static int cpu_probe(struct error *err)
{
    (void)err;
    return 0;
}

static int cpu_join(struct device *device, const struct communicator *communicator,
                    struct error *err)
{
    (void)device;
    (void)communicator;
    (void)err;
    return 0;
}

static int64_t cpu_memory_left(const struct device *device)
{
    (void)device;
    return -1;
}

static int32_t cpu_memory_uses(const struct device *device, struct memory_use *ret_uses,
                               int32_t max)
{
    (void)device;
    (void)ret_uses;
    (void)max;
    return 0;
}

/* Starting an operation costs nothing here. */
static int32_t cpu_graph_rows(const struct device *device, int32_t index)
{
    (void)device;
    (void)index;
    return 0;
}

static void cpu_capture(struct device *device)
{
    (void)device;
}

/* A thousand of them are the work of one thread for a microsecond. */
static void run_move(struct device *device, const struct op *op, int32_t thread,
                     int32_t num_threads)
{
    (void)device;
    (void)thread;
    (void)num_threads;
    const struct move_args *args = &op->args.move;
    for (int32_t i = 0; i < args->num; i++)
        args->to[args->moves[i].to] = args->from[args->moves[i].from];
}

static void cpu_move_ids(struct device *device, int32_t *to, const int32_t *from,
                         const struct id_move *moves, int32_t num)
{
    device_record(device, run_move, 0.0)->args.move = (struct move_args){ to, from, moves, num };
}

enum { EMBED_COLS = 512 }; /* columns of one unit */

static void run_embed(struct device *device, const struct op *op, int32_t thread,
                      int32_t num_threads)
{
    (void)device;
    const struct embed_args *args = &op->args.embed;
    const int32_t cols = args->weight->cols, parts = (cols + EMBED_COLS - 1) / EMBED_COLS;
    const int64_t units = (int64_t)args->rows * parts;
    const int64_t end = share_of(units, thread + 1, num_threads);

    for (int64_t unit = share_of(units, thread, num_threads); unit < end; unit++) {
        const int64_t row = unit / parts;
        const int32_t first = (int32_t)(unit % parts) * EMBED_COLS;
        const int32_t num = cols - first < EMBED_COLS ? cols - first : EMBED_COLS;
        assert(args->ids[row] >= 0 && args->ids[row] < args->weight->rows);
        float *out = args->out + row * cols + first;
        weight_read_row(args->weight, args->ids[row], first, num, out);
        for (int32_t i = 0; args->scale != 1.0f && i < num; i++)
            out[i] *= args->scale;
    }
}

static void cpu_embed(struct device *device, float *out, const struct weight *weight, float scale,
                      const int32_t *ids, int32_t rows)
{
    const double cost_ns = 2.0 * rows * weight->cols;
    device_record(device, run_embed, cost_ns)->args.embed =
        (struct embed_args){ out, weight, scale, ids, rows };
}

static void run_norm(struct device *device, const struct op *op, int32_t thread,
                     int32_t num_threads)
{
    const struct norm_args *args = &op->args.norm;
    device->isa->add_rms_norm(args, (int32_t)share_of(args->rows, thread, num_threads),
                              (int32_t)share_of(args->rows, thread + 1, num_threads));
}

static void cpu_add_rms_norm(struct device *device, float *out, float *x, const float *delta,
                             const float *w, float eps, int32_t rows, int32_t cols)
{
    const double cost_ns = rows > 1 ? 0.25 * rows * cols : 0.0; /* one row is one thread's */
    device_record(device, run_norm, cost_ns)->args.norm =
        (struct norm_args){ out, x, delta, w, NULL, eps, rows, cols };
}

static void run_layer_norm(struct device *device, const struct op *op, int32_t thread,
                           int32_t num_threads)
{
    const struct norm_args *args = &op->args.norm;
    device->isa->add_layer_norm(args, (int32_t)share_of(args->rows, thread, num_threads),
                                (int32_t)share_of(args->rows, thread + 1, num_threads));
}

static void cpu_add_layer_norm(struct device *device, float *out, float *x, const float *delta,
                               const float *w, const float *bias, float eps, int32_t rows,
                               int32_t cols)
{
    const double cost_ns = rows > 1 ? 0.4 * rows * cols : 0.0;
    device_record(device, run_layer_norm, cost_ns)->args.norm =
        (struct norm_args){ out, x, delta, w, bias, eps, rows, cols };
}

static void run_rope(struct device *device, const struct op *op, int32_t thread,
                     int32_t num_threads)
{
    const struct rope_args *args = &op->args.rope;
    const int64_t units = (int64_t)args->rows * args->pool->layout.num_kv_heads;
    device->isa->rope_kv_write(args, share_of(units, thread, num_threads),
                               share_of(units, thread + 1, num_threads));
}

static void cpu_rope_kv_write(struct device *device, float *qkv, const struct qk_norm *norm,
                              const struct rope_table *rope, const int32_t *positions,
                              const int64_t *slots, struct kv_pool *pool, int32_t layer,
                              int32_t num_heads, int32_t rows)
{
    const struct kv_layout *layout = &pool->layout;
    assert(rope->rotary_dims <= layout->head_dim && rope->rotary_dims % 2 == 0);
    assert(num_heads % layout->num_kv_heads == 0 && layer < layout->num_layers);

    const double cost_ns = rows * (0.2 * num_heads + 1.0 * layout->num_kv_heads) * layout->head_dim;
    device_record(device, run_rope, cost_ns)->args.rope =
        (struct rope_args){ qkv,   norm != NULL ? *norm : (struct qk_norm){ 0 },
                            rope,  positions,
                            slots, pool,
                            layer, num_heads,
                            rows };
}

static void run_squares(struct device *device, const struct op *op, int32_t thread,
                        int32_t num_threads)
{
    const struct squares_args *args = &op->args.squares;
    device->isa->qk_squares(args, (int32_t)share_of(args->rows, thread, num_threads),
                            (int32_t)share_of(args->rows, thread + 1, num_threads));
}

static void cpu_qk_squares(struct device *device, float *out, const float *qkv, int32_t q_cols,
                           int32_t k_cols, int32_t rows)
{
    const double cost_ns = rows > 1 ? 0.1 * rows * (q_cols + k_cols) : 0.0;
    device_record(device, run_squares, cost_ns)->args.squares =
        (struct squares_args){ out, qkv, q_cols, k_cols, rows };
}

static void run_activate(struct device *device, const struct op *op, int32_t thread,
                         int32_t num_threads)
{
    const struct activate_args *args = &op->args.activate;
    const int64_t units = (int64_t)args->rows * args->cols;
    device->isa->activate(args, share_of(units, thread, num_threads),
                          share_of(units, thread + 1, num_threads));
}

static void cpu_activate(struct device *device, float *out, const float *in,
                         enum activation activation, bool gated, int32_t rows, int32_t cols)
{
    const double cost_ns = 0.5 * rows * cols;
    device_record(device, run_activate, cost_ns)->args.activate =
        (struct activate_args){ out, in, activation, gated, rows, cols };
}

static void run_cap(struct device *device, const struct op *op, int32_t thread, int32_t num_threads)
{
    const struct cap_args *args = &op->args.cap;
    device->isa->soft_cap(args, share_of(args->num, thread, num_threads),
                          share_of(args->num, thread + 1, num_threads));
}

static void cpu_soft_cap(struct device *device, float *x, float cap, int32_t rows, int32_t cols)
{
    device_record(device, run_cap, 0.5 * rows * cols)->args.cap =
        (struct cap_args){ x, cap, (int64_t)rows * cols };
}

static void run_gather(struct device *device, const struct op *op, int32_t thread,
                       int32_t num_threads)
{
    (void)device;
    const struct gather_args *args = &op->args.gather;
    const int64_t end = share_of(args->num, thread + 1, num_threads);
    for (int64_t i = share_of(args->num, thread, num_threads); i < end; i++)
        memcpy(args->out + i * args->cols, args->x + (int64_t)args->indices[i] * args->cols,
               (size_t)args->cols * sizeof(float));
}

static void cpu_gather_rows(struct device *device, float *out, const float *x,
                            const int32_t *indices, int32_t num, int32_t cols)
{
    device_record(device, run_gather, 0.2 * num * cols)->args.gather =
        (struct gather_args){ out, x, indices, num, cols };
}

static void run_copy(struct device *device, const struct op *op, int32_t thread,
                     int32_t num_threads)
{
    (void)device;
    const struct copy_args *args = &op->args.copy;
    const size_t bytes = args->pool->block_bytes;
    const int64_t end = share_of(args->num, thread + 1, num_threads);
    for (int64_t i = share_of(args->num, thread, num_threads); i < end; i++)
        memcpy(args->pool->blocks + (size_t)args->to[i] * bytes,
               args->pool->blocks + (size_t)args->from[i] * bytes, bytes);
}

static void cpu_copy_blocks(struct device *device, struct kv_pool *pool, const int32_t *from,
                            const int32_t *to, int32_t num)
{
    const double cost_ns = 0.1 * num * (double)pool->block_bytes;
    device_record(device, run_copy, cost_ns)->args.copy = (struct copy_args){ pool, from, to, num };
}

/* Thread 0 meets the other ranks; this device's other threads wait at the next barrier. */
static void run_meet(struct device *device, const struct op *op, int32_t thread,
                     int32_t num_threads)
{
    (void)thread;
    (void)num_threads;
    const struct meet_args *args = &op->args.meet;
    const struct communicator *c = args->communicator;
    if (device->error != 0)
        return;
    device->error = args->own == NULL
                        ? c->all_reduce(c->context, args->out, (int64_t)args->rows * args->cols)
                        : c->all_gather(c->context, args->out, args->own, args->rows, args->cols);
}

static void cpu_all_reduce(struct device *device, const struct communicator *communicator, float *x,
                           int32_t rows, int32_t cols)
{
    device_record(device, run_meet, 0.0)->args.meet =
        (struct meet_args){ communicator, x, NULL, rows, cols };
}

static void cpu_all_gather(struct device *device, const struct communicator *communicator,
                           float *out, const float *own, int32_t rows, int32_t total_cols)
{
    device_record(device, run_meet, 0.0)->args.meet =
        (struct meet_args){ communicator, out, own, rows, total_cols };
}

static void run_sample(struct device *device, const struct op *op, int32_t thread,
                       int32_t num_threads)
{
    const struct sample_args *args = &op->args.sample;
    for (int32_t i = thread; i < args->num; i += num_threads)
        sample_run(device->threads[thread].sample, args->logits + (int64_t)i * args->num_vocab,
                   args->num_vocab, &args->rows[i]);
}

static void cpu_sample(struct device *device, float *logits, int32_t num_vocab,
                       const struct sample_row *rows, int32_t num)
{
    const double cost_ns = num > 1 ? 2.0 * num * num_vocab : 0.0;
    device_record(device, run_sample, cost_ns)->args.sample =
        (struct sample_args){ logits, num_vocab, rows, num };
}

const struct backend cpu_backend = {
    .abi = BACKEND_ABI,
    .name = "cpu",
    .probe = cpu_probe,
    .device_open = device_open,
    .device_close = device_close,
    .device_isa = device_isa,
    .device_threads = device_threads,
    .device_join = cpu_join,
    .memory_left = cpu_memory_left,
    .memory_uses = cpu_memory_uses,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_copy,
    .download = cpu_copy,
    .weight_alloc = weight_alloc,
    .weight_load = weight_load,
    .weight_free = weight_free,
    .weight_bytes = weight_bytes,
    .store_create = weight_store_create,
    .store_attach = weight_store_attach,
    .store_weight = weight_store_weight,
    .store_vector = weight_store_vector,
    .store_seal = weight_store_seal,
    .store_close = weight_store_close,
    .kv_alloc = kv_alloc,
    .kv_free = kv_free,
    .begin = device_begin,
    .submit = device_submit,
    .wait = device_wait,
    .wait_for = device_wait_for,
    .graph_rows = cpu_graph_rows,
    .capture = cpu_capture,
    .move_ids = cpu_move_ids,
    .embed = cpu_embed,
    .add_rms_norm = cpu_add_rms_norm,
    .add_layer_norm = cpu_add_layer_norm,
    .linear = linear_record,
    .rope_kv_write = cpu_rope_kv_write,
    .attention = attention_record,
    .qk_squares = cpu_qk_squares,
    .activate = cpu_activate,
    .soft_cap = cpu_soft_cap,
    .gather_rows = cpu_gather_rows,
    .copy_blocks = cpu_copy_blocks,
    .all_reduce = cpu_all_reduce,
    .all_gather = cpu_all_gather,
    .sample = cpu_sample,
    .moe_route = moe_route,
    .moe_route_tokens = moe_route_tokens,
    .moe_linear = blocks_moe_linear,
    .moe_combine = moe_combine,
    .heads_linear = blocks_heads_linear,
    .latent_write = latent_write,
    .inl_dynamics = each_inl_dynamics,
    .add_silu = each_add_silu,
    .clamp = each_clamp,
    .mu_clamp = each_mu_clamp,
};
