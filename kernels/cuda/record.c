#include "kernels/cuda/record.h"

#include <assert.h>
#include <string.h>

#include "kernels/cuda/ranks.h"

/* --- ids that the device knows ------------------------------------------------------------------
 */

/* Which of the results of the list before `id` stands for, or -1: the host knows it. */
static int32_t result_of(const struct device *d, const int32_t *id)
{
    const struct list *before = &d->lists[!d->recording];
    const bool is_there = device_is_unknown(before) && before->ids != NULL && id >= before->ids &&
                          id < before->ids + before->num_samples;
    return is_there ? (int32_t)(id - before->ids) : -1;
}

void record_move_ids(struct device *d, int32_t *to, const int32_t *from,
                     const struct id_move *moves, int32_t num)
{
    d->pending = (struct pending_move){ .to = to, .from = from, .moves = moves, .num = num };
}

/* The array that a move goes to has its place among the inputs now: do it, or let the host's own
 * copy have what the host knows. */
static void settle_moves(struct device *d, const int32_t *host, const int32_t *ids)
{
    const struct pending_move *p = &d->pending;
    int32_t num = 0;
    int64_t offset;
    if (p->to != host || p->num == 0)
        return;
    int32_t *pairs = inputs_table(&d->inputs, (size_t)p->num * 2 * sizeof(int32_t), &offset);
    unsigned char *own =
        d->inputs.pinned[d->inputs.turn] + ((const unsigned char *)ids - d->inputs.device);
    for (int32_t i = 0; pairs != NULL && i < p->num; i++) {
        const int32_t result = result_of(d, p->from + p->moves[i].from);
        if (result >= 0) {
            pairs[2 * num] = p->moves[i].to;
            pairs[2 * num++ + 1] = result;
        } else {
            memcpy(own + (size_t)p->moves[i].to * sizeof(int32_t), p->from + p->moves[i].from,
                   sizeof(int32_t));
        }
    }
    if (num > 0) {
        struct op *op = device_record(d, rows_move);
        op->place = PLACE_FIRST;
        op->args.move.to = (int32_t *)(uintptr_t)ids;
        op->args.move.results = d->before;
        op->args.move.pairs = (const int32_t *)(void *)(inputs_tables(&d->inputs) + offset);
        op->args.move.num = num;
    }
    d->pending.num = 0;
}

void record_embed(struct device *d, float *out, const struct weight *weight, float scale,
                  const int32_t *ids, int32_t rows)
{
    if (d->step_rows == 0)
        device_set_rows(d, rows);
    const int32_t *staged = device_row_array(d, ids, rows, sizeof(*ids), 0);
    settle_moves(d, ids, staged);
    struct embed_args *a = &device_record(d, rows_embed)->args.embed;
    a->out = out;
    a->table = weight->matrix;
    a->ids = staged;
    a->scale = scale;
    a->rows = device_pad(d, rows);
    device_set_number(d, out, NUMBER_F32);
}

/* --- norms --------------------------------------------------------------------------------- */

static void record_norm(struct device *d, float *out, float *x, const float *delta, const float *w,
                        const float *bias, float eps, int32_t rows, int32_t cols)
{
    assert(device_number(d, x) == NUMBER_F32);
    assert(delta == NULL || device_number(d, delta) == NUMBER_F32);
    struct norm_args *a = &device_record(d, norm_add)->args.norm;
    a->out = out;
    a->x = x;
    a->delta = delta;
    a->w = w;
    a->bias = bias;
    a->eps = eps;
    a->number = out == x ? NUMBER_F32 : device_narrow(d);
    a->rows = device_pad(d, rows);
    a->cols = cols;
    if (out != NULL)
        device_set_number(d, out, a->number);
}

void record_rms_norm(struct device *d, float *out, float *x, const float *delta, const float *w,
                     float eps, int32_t rows, int32_t cols)
{
    record_norm(d, out, x, delta, w, NULL, eps, rows, cols);
}

void record_layer_norm(struct device *d, float *out, float *x, const float *delta, const float *w,
                       const float *bias, float eps, int32_t rows, int32_t cols)
{
    record_norm(d, out, x, delta, w, bias, eps, rows, cols);
}

void record_squares(struct device *d, float *out, const float *qkv, int32_t q_cols, int32_t k_cols,
                    int32_t rows)
{
    struct squares_args *a = &device_record(d, norm_squares)->args.squares;
    a->out = out;
    a->qkv = qkv;
    a->q_cols = q_cols;
    a->k_cols = k_cols;
    a->rows = device_pad(d, rows);
}

/* --- positions ----------------------------------------------------------------------------- */

void record_rope(struct device *d, float *qkv, const struct qk_norm *norm,
                 const struct rope_table *rope, const int32_t *positions, const int64_t *slots,
                 struct kv_pool *pool, int32_t layer, int32_t num_heads, int32_t rows)
{
    const int32_t *staged = device_row_array(d, positions, rows, sizeof(*positions), 0);
    const int64_t *own = device_row_array(d, slots, rows, sizeof(*slots), 0xff);
    struct rope_args *a = &device_record(d, rope_write)->args.rope;
    assert(pool->pages.head_dim <= 576 && layer < pool->pages.num_layers);
    a->qkv = qkv;
    if (norm != NULL) {
        a->q_norm = norm->q;
        a->k_norm = norm->k;
        a->q_bias = norm->q_bias;
        a->k_bias = norm->k_bias;
        a->squares = norm->squares;
        a->eps = norm->eps;
        a->q_cols = norm->q_cols;
        a->k_cols = norm->k_cols;
    }
    a->cos = rope->cos;
    a->sin = rope->sin;
    a->rotary_dims = rope->rotary_dims;
    a->positions = staged;
    a->slots = own;
    a->pages = pool->pages;
    a->layer = layer;
    a->num_heads = num_heads;
    a->rows = device_pad(d, rows);
}

void record_latent(struct device *d, const struct latent_write *args, int32_t rows)
{
    const int32_t *staged = device_row_array(d, args->positions, rows, sizeof(int32_t), 0);
    const int64_t *own = device_row_array(d, args->slots, rows, sizeof(int64_t), 0xff);
    struct latent_args *a = &device_record(d, rope_latent_write)->args.latent;
    a->latents = args->latents;
    a->w = args->w;
    a->q = args->q;
    a->absorbed = args->absorbed;
    a->eps = args->eps;
    a->num_heads = args->num_heads;
    a->q_dim = args->q_dim;
    a->rotary_dims = args->rope->rotary_dims;
    a->cos = args->rope->cos;
    a->sin = args->rope->sin;
    a->interleaved = args->interleaved;
    a->positions = staged;
    a->slots = own;
    a->pages = args->pool->pages;
    a->layer = args->layer;
    a->rows = device_pad(d, rows);
}

/* --- elements ------------------------------------------------------------------------------ */

void record_activate(struct device *d, float *out, const float *in, enum activation activation,
                     bool gated, int32_t rows, int32_t cols)
{
    struct activate_args *a = &device_record(d, act_activate)->args.activate;
    a->out = out;
    a->in = in;
    a->activation = (int32_t)activation;
    a->gated = gated;
    a->number = out == in ? NUMBER_F32 : device_narrow(d);
    a->rows = device_pad(d, rows);
    a->cols = cols;
    device_set_number(d, out, a->number);
}

static struct each_args *record_each(struct device *d, enum each_kind kind, float *x, int32_t rows,
                                     int32_t cols)
{
    struct each_args *a = &device_record(d, act_each)->args.each;
    a->kind = kind;
    a->number = device_number(d, x);
    a->x = x;
    a->num = (int64_t)device_pad(d, rows) * cols;
    a->cols = cols;
    return a;
}

void record_soft_cap(struct device *d, float *x, float cap, int32_t rows, int32_t cols)
{
    record_each(d, EACH_SOFT_CAP, x, rows, cols)->a = cap;
}

void record_add_silu(struct device *d, float *x, const float *delta, int32_t rows, int32_t cols)
{
    record_each(d, EACH_ADD_SILU, x, rows, cols)->delta = delta;
}

void record_clamp(struct device *d, float *x, float low, float high, int32_t rows, int32_t cols)
{
    struct each_args *a = record_each(d, EACH_CLAMP, x, rows, cols);
    a->b = low;
    a->c = high;
}

void record_mu_clamp(struct device *d, float *x, float mu, float low, float high, int32_t rows,
                     int32_t cols)
{
    struct each_args *a = record_each(d, EACH_MU_CLAMP, x, rows, cols);
    a->a = mu;
    a->b = low;
    a->c = high;
}

void record_inl(struct device *d, const struct inl_dynamics *args, int32_t rows, int32_t cols)
{
    struct inl_args *a = &device_record(d, act_inl)->args.inl;
    a->a = args->a;
    a->v = args->v;
    a->m = args->m;
    a->controller = args->controller;
    a->highway = args->highway;
    a->mu_prev = args->mu_prev;
    a->dt = args->dt;
    a->rows = device_pad(d, rows);
    a->cols = cols;
}

/* --- rows and pages ------------------------------------------------------------------------ */

/* Indices of the host's are those of rows with logits: behind them nothing is padded. */
void record_gather(struct device *d, float *out, const float *x, const int32_t *indices,
                   int32_t num, int32_t cols)
{
    d->is_narrow |= !device_is_own(d, indices);
    const int32_t *staged = device_row_array(d, indices, num, sizeof(*indices), 0);
    const enum number number = device_number(d, x);
    struct gather_args *a = &device_record(d, rows_gather)->args.gather;
    a->out = out;
    a->x = x;
    a->indices = staged;
    a->num = device_pad(d, num);
    a->cols = cols;
    a->element_bytes = number == NUMBER_F32 ? 4 : 2;
    device_set_number(d, out, number);
}

void record_copy_blocks(struct device *d, struct kv_pool *pool, const int32_t *from,
                        const int32_t *to, int32_t num)
{
    int64_t offset;
    int32_t *pairs = inputs_table(&d->inputs, (size_t)num * 2 * sizeof(int32_t), &offset);
    if (pairs == NULL || num == 0)
        return;
    memcpy(pairs, from, (size_t)num * sizeof(*from));
    memcpy(pairs + num, to, (size_t)num * sizeof(*to));
    struct op *op = device_record(d, rows_copy_blocks);
    op->place = PLACE_FIRST;
    op->args.copy_blocks.blocks = (unsigned char *)pool->pages.blocks;
    op->args.copy_blocks.block_bytes = (int64_t)pool->block_bytes;
    op->args.copy_blocks.from = (const int32_t *)(const void *)(inputs_tables(&d->inputs) + offset);
    op->args.copy_blocks.to = op->args.copy_blocks.from + num;
    op->args.copy_blocks.num = num;
}

/* --- ranks --------------------------------------------------------------------------------- */

void record_all_reduce(struct device *d, const struct communicator *communicator, float *x,
                       int32_t rows, int32_t cols)
{
    (void)communicator; /* met in device_join() */
    assert(d->ranks != NULL && device_number(d, x) == NUMBER_F32);
    struct meet_args *a = &device_record(d, ranks_all_reduce)->args.meet;
    a->ranks = d->ranks;
    a->x = x;
    a->num = (int64_t)device_pad(d, rows) * cols;
}

static void record_share(struct device *d, launch_function *launch, float *sums, int32_t num)
{
    struct op *op = device_record(d, launch);
    op->place = PLACE_LAST;
    op->args.share.results = d->results;
    op->args.share.sums = sums;
    op->args.share.num = num;
    op->args.share.is_first = d->rank == 0;
}

/* Floats have room for any id. */
void record_share_ids(struct device *d)
{
    struct list *list = &d->lists[d->recording];
    const int32_t num = list->num_samples;
    float *sums = device_scratch(d, (size_t)num * sizeof(*sums));
    assert(d->ranks != NULL && d->max_vocab < 1 << 24);
    if (sums == NULL) {
        d->inputs.is_full = true;
        return;
    }
    list->shares_ids = num > 0;
    if (num == 0)
        return;
    record_share(d, rows_give_ids, sums, num);
    struct op *op = device_record(d, ranks_all_reduce);
    op->place = PLACE_LAST;
    op->args.meet.ranks = d->ranks;
    op->args.meet.x = sums;
    op->args.meet.num = num;
    record_share(d, rows_take_ids, sums, num);
}

/* Parts differ by a column: all ranks send as many as the widest has, from where theirs begin. The
 * few numbers behind a part are room of the buffer's own: [max_logits] rows or more. */
void record_all_gather(struct device *d, const struct communicator *communicator, float *out,
                       const float *own, int32_t rows, int32_t total_cols)
{
    const int32_t num_ranks = communicator->num_ranks, padded = device_pad(d, rows);
    const int32_t begin = rank_share(total_cols, communicator->rank, num_ranks);
    const int32_t cols = rank_share(total_cols, communicator->rank + 1, num_ranks) - begin;
    const int32_t most = (total_cols + num_ranks - 1) / num_ranks;
    const int64_t part = (int64_t)padded * most;
    float *space = device_scratch(d, (size_t)part * (size_t)(num_ranks + 1) * sizeof(float));
    assert(d->ranks != NULL);
    if (space == NULL) {
        d->inputs.is_full = true;
        return;
    }
    float *gathered = space + part;
    struct spread_args *widen = &device_record(d, rows_spread)->args.spread;
    widen->out = space; /* rows of `cols` become rows of `most` */
    widen->in = own;
    widen->num_ranks = 1;
    widen->rows = padded;
    widen->most = cols;
    widen->total = most;
    struct meet_args *a = &device_record(d, ranks_all_gather)->args.meet;
    a->ranks = d->ranks;
    a->x = space;
    a->gathered = gathered;
    a->num = part;
    struct spread_args *s = &device_record(d, rows_spread)->args.spread;
    s->out = out;
    s->in = gathered;
    s->num_ranks = num_ranks;
    s->rows = padded;
    s->most = most;
    s->total = total_cols;
    device_set_number(d, out, NUMBER_F32);
}
