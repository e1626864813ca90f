/*
 * The instruction set `scalar`: each operation as its formula reads, in plain C. It is what the
 * others are held to, runs anywhere, and is never made clever.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/cpu/op.h"
#include "kernels/cpu/scalar_quant.h"
#include "kernels/cpu/scalar_scaled.h"

static bool is_supported(void)
{
    return true;
}

static void norm_row(const struct norm_args *args, int64_t row)
{
    float *x = args->x + row * args->cols;

    if (args->delta)
        for (int32_t i = 0; i < args->cols; i++)
            x[i] += args->delta[row * args->cols + i];
    if (!args->out)
        return;

    float sum_sq = 0.0f;
    for (int32_t i = 0; i < args->cols; i++)
        sum_sq += x[i] * x[i];

    const float scale = 1.0f / sqrtf(sum_sq / (float)args->cols + args->eps);
    for (int32_t i = 0; i < args->cols; i++)
        args->out[row * args->cols + i] = x[i] * scale * args->w[i];
}

static void add_rms_norm(const struct norm_args *args, int32_t row_from, int32_t row_to)
{
    for (int32_t row = row_from; row < row_to; row++)
        norm_row(args, row);
}

static void layer_norm_row(const struct norm_args *args, int64_t row)
{
    float *x = args->x + row * args->cols;
    float sum = 0.0f, sum_sq = 0.0f;

    for (int32_t i = 0; i < args->cols; i++) {
        x[i] = args->delta ? x[i] + args->delta[row * args->cols + i] : x[i];
        sum += x[i];
    }
    if (!args->out)
        return;

    const float mean = sum / (float)args->cols;
    for (int32_t i = 0; i < args->cols; i++)
        sum_sq += (x[i] - mean) * (x[i] - mean);

    const float scale = 1.0f / sqrtf(sum_sq / (float)args->cols + args->eps);
    for (int32_t i = 0; i < args->cols; i++)
        args->out[row * args->cols + i] = (x[i] - mean) * scale * args->w[i] + args->bias[i];
}

static void add_layer_norm(const struct norm_args *args, int32_t row_from, int32_t row_to)
{
    for (int32_t row = row_from; row < row_to; row++)
        layer_norm_row(args, row);
}

/* Column k of a panel, in the order of its storage. */
static void read_column(enum dtype dtype, const void *panel, int32_t k, float out[PANEL_ROWS])
{
    const uint16_t *halves = (const uint16_t *)panel + (size_t)k * PANEL_ROWS;
    const float *floats = (const float *)panel + (size_t)k * PANEL_ROWS;

    for (int32_t i = 0; i < PANEL_ROWS; i++)
        out[i] = dtype == DTYPE_F32   ? floats[i]
                 : dtype == DTYPE_F16 ? half_from_f16(halves[i])
                                      : half_from_bf16(halves[i]);
}

static void linear_panel(const struct linear_args *args, int32_t panel, int64_t row)
{
    const struct weight *weight = args->weight;
    const float *x = args->x + row * args->x_stride;
    float *out = args->out + row * args->out_stride;
    float sums[PANEL_ROWS] = { 0 }, column[PANEL_ROWS];

    for (int32_t k = 0; k < weight->cols; k++) {
        read_column(weight->dtype, weight_panel(weight, panel), k, column);
        for (int32_t i = 0; i < PANEL_ROWS; i++)
            sums[i] += column[i] * x[k];
    }

    for (int32_t i = 0; i < PANEL_ROWS && panel * PANEL_ROWS + i < weight->rows; i++) {
        const int32_t n = panel * PANEL_ROWS + i;
        const float sum = sums[weight_lane(weight->dtype, i)];
        out[n] = args->bias ? sum + args->bias[n] : sum;
    }
}

static void linear(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                   int32_t row_from, int32_t row_to)
{
    for (int32_t panel = panel_from; panel < panel_to; panel++)
        for (int32_t row = row_from; row < row_to; row++)
            linear_panel(args, panel, row);
}

static void rotate(float *head, const float *cosines, const float *sines, int32_t half)
{
    for (int32_t i = 0; i < half; i++) {
        const float a = head[i], b = head[i + half];
        head[i] = a * cosines[i] - b * sines[i];
        head[i + half] = b * cosines[i] + a * sines[i];
    }
}

static void write_kv(const struct rope_args *args, int64_t slot, int32_t kv_head, const float *k,
                     const float *v)
{
    const struct kv_line key = kv_key_line(args->pool, slot, args->layer, kv_head);
    const struct kv_line value = kv_value_line(args->pool, slot, args->layer, kv_head);
    kv_line_write(&key, k);
    kv_line_write(&value, v);
}

/* One head; `squares` is NULL where it has a norm of its own. */
static void norm_head(float *head, const float *w, const float *bias, int32_t dim, float eps,
                      const float *squares, int32_t num_squares)
{
    float mean = 0.0f, sum_sq = 0.0f;
    for (int32_t i = 0; bias && i < dim; i++)
        mean += head[i] / (float)dim;
    for (int32_t i = 0; i < dim; i++)
        sum_sq += (head[i] - mean) * (head[i] - mean);

    const float of_all = squares ? *squares / (float)num_squares : sum_sq / (float)dim;
    const float scale = 1.0f / sqrtf(of_all + eps);
    for (int32_t i = 0; i < dim; i++)
        head[i] = (head[i] - mean) * scale * w[i] + (bias ? bias[i] : 0.0f);
}

/* The query heads of a group, and its key. */
static void norm_group(const struct rope_args *args, int64_t row, int32_t kv_head, float *queries,
                       float *k)
{
    const struct qk_norm *n = &args->norm;
    const int32_t dim = args->pool->layout.head_dim;
    const int32_t group = args->num_heads / args->pool->layout.num_kv_heads;
    const float *squares = n->squares ? n->squares + 2 * row : NULL;

    for (int32_t i = 0; i < group; i++)
        norm_head(queries + i * dim, n->q + (squares ? (kv_head * group + i) * dim : 0), n->q_bias,
                  dim, n->eps, squares, n->q_cols);
    norm_head(k, n->k + (squares ? kv_head * dim : 0), n->k_bias, dim, n->eps,
              squares ? squares + 1 : NULL, n->k_cols);
}

static void rope_unit(const struct rope_args *args, int64_t row, int32_t kv_head)
{
    const struct kv_layout *layout = &args->pool->layout;
    const int32_t dim = layout->head_dim, half = args->rope->rotary_dims / 2;
    const int32_t group = args->num_heads / layout->num_kv_heads;
    const int32_t position = args->positions[row];
    float *heads = args->qkv + row * (args->num_heads + 2 * layout->num_kv_heads) * dim;
    float *k = heads + (args->num_heads + kv_head) * dim, *v = k + layout->num_kv_heads * dim;

    assert(position >= 0 && position < args->rope->max_positions);
    const float *cosines = args->rope->cos + (int64_t)position * half;
    const float *sines = args->rope->sin + (int64_t)position * half;
    if (args->norm.q)
        norm_group(args, row, kv_head, heads + kv_head * group * dim, k);
    for (int32_t i = 0; i < group; i++)
        rotate(heads + (kv_head * group + i) * dim, cosines, sines, half);
    rotate(k, cosines, sines, half);
    write_kv(args, args->slots[row], kv_head, k, v);
}

static void rope_kv_write(const struct rope_args *args, int64_t unit_from, int64_t unit_to)
{
    const int32_t kv_heads = args->pool->layout.num_kv_heads;
    for (int64_t unit = unit_from; unit < unit_to; unit++)
        rope_unit(args, unit / kv_heads, (int32_t)(unit % kv_heads));
}

static void attention_begin(const struct attention_args *args, const struct attention_tile *tile,
                            struct attention_scratch *scratch)
{
    const int32_t dim = args->pool->layout.head_dim;

    for (int32_t i = 0; i < tile->num_rows * tile->num_heads; i++) {
        const int64_t row = tile->seq->first_row + tile->first_row + i / tile->num_heads;
        const int32_t head = tile->first_head + i % tile->num_heads;
        for (int32_t d = 0; d < dim; d++)
            scratch->queries[i * dim + d] =
                args->qkv[row * args->q_stride + head * dim + d] * args->form.scale;
    }
}

/* Of position `pos` of the tile's sequence. */
static int64_t slot_of(const struct attention_args *args, const struct attention_tile *tile,
                       int32_t pos)
{
    const int32_t block_size = args->pool->layout.block_size;
    return (int64_t)attention_block(args, tile, pos) * block_size + pos % block_size;
}

static float score(const struct attention_args *args, const struct attention_tile *tile,
                   const float *query, int32_t pos)
{
    const struct kv_line key =
        kv_key_line(args->pool, slot_of(args, tile, pos), args->layer, tile->kv_head);
    float k[KV_MAX_HEAD_DIM], sum = 0.0f;

    kv_line_read(&key, k);
    for (int32_t d = 0; d < key.num; d++)
        sum += query[d] * k[d];
    if (args->form.softcap > 0.0f)
        return args->form.softcap * tanhf(sum / args->form.softcap);
    return sum;
}

static void add_value(const struct attention_args *args, const struct attention_tile *tile,
                      float *acc, float p, int32_t pos)
{
    const struct kv_line value = (args->pool->layout.latent_dim > 0 ? kv_key_line : kv_value_line)(
        args->pool, slot_of(args, tile, pos), args->layer, tile->kv_head);
    float v[KV_MAX_HEAD_DIM];

    kv_line_read(&value, v);
    for (int32_t d = 0; d < args->value_dim; d++)
        acc[d] += p * v[d];
}

/* One query over positions [from, to) of a span. */
static void attend(const struct attention_args *args, const struct attention_tile *tile, int32_t i,
                   int32_t from, int32_t to, struct attention_scratch *scratch,
                   const struct attention_sum *sum)
{
    float *acc = sum->acc + i * args->padded_dim, *scores = scratch->scores;
    float max = -INFINITY, total = 0.0f;

    for (int32_t pos = from; pos < to; pos++) {
        scores[pos - from] =
            score(args, tile, scratch->queries + i * args->pool->layout.head_dim, pos);
        max = fmaxf(max, scores[pos - from]);
    }
    for (int32_t pos = from; pos < to; pos++) {
        const float p = expf(scores[pos - from] - max);
        total += p;
        add_value(args, tile, acc, p, pos);
    }
    sum->max[i] = max;
    sum->sum[i] = total;
}

static void attention_span(const struct attention_args *args, const struct attention_tile *tile,
                           int32_t span, struct attention_scratch *scratch,
                           const struct attention_sum *sum)
{
    const int32_t begin = span * BACKEND_SPAN, last = begin + BACKEND_SPAN - 1;
    const int32_t row_end = attention_row_end(args, tile, last);
    for (int32_t i = 0; i < tile->num_rows * tile->num_heads; i++) {
        sum->max[i] = -INFINITY;
        sum->sum[i] = 0.0f;
        memset(sum->acc + i * args->padded_dim, 0, (size_t)args->padded_dim * sizeof(float));
    }
    for (int32_t row = attention_first_row(tile, begin); row < row_end; row++) {
        const int32_t low = attention_low(args, tile, row), pos = attention_pos(tile, row);
        const int32_t from = low > begin ? low : begin, to = (pos < last ? pos : last) + 1;
        for (int32_t head = 0; head < tile->num_heads; head++)
            attend(args, tile, row * tile->num_heads + head, from, to, scratch, sum);
    }
}

static void attention_combine(const struct attention_args *args, const struct attention_sum *total,
                              const struct attention_sum *sum, int32_t query_from, int32_t query_to)
{
    for (int32_t i = query_from; i < query_to; i++) {
        const float max = fmaxf(total->max[i], sum->max[i]);
        const float a = expf(total->max[i] - max), b = expf(sum->max[i] - max);
        for (int32_t d = i * args->padded_dim; d < (i + 1) * args->padded_dim; d++)
            total->acc[d] = total->acc[d] * a + sum->acc[d] * b;
        total->sum[i] = total->sum[i] * a + sum->sum[i] * b;
        total->max[i] = max;
    }
}

static void attention_end(const struct attention_args *args, const struct attention_tile *tile,
                          const struct attention_sum *total)
{
    const int32_t dim = args->value_dim;
    for (int32_t i = 0; i < tile->num_rows * tile->num_heads; i++) {
        const int64_t row = tile->seq->first_row + tile->first_row + i / tile->num_heads;
        const int32_t head = tile->first_head + i % tile->num_heads;
        for (int32_t d = 0; d < dim; d++)
            args->out[(row * args->num_heads + head) * dim + d] =
                total->acc[i * args->padded_dim + d] / total->sum[i];
    }
}

static void qk_squares(const struct squares_args *args, int32_t row_from, int32_t row_to)
{
    const int32_t cols = args->q_cols + 2 * args->k_cols;
    for (int64_t row = row_from; row < row_to; row++) {
        const float *x = args->qkv + row * cols;
        float sums[2] = { 0.0f, 0.0f };
        for (int32_t i = 0; i < args->q_cols + args->k_cols; i++)
            sums[i >= args->q_cols] += x[i] * x[i];
        args->out[2 * row] = sums[0];
        args->out[2 * row + 1] = sums[1];
    }
}

static float act(enum activation activation, float x)
{
    switch (activation) {
    case ACTIVATION_SILU:
        return x / (1.0f + expf(-x));
    case ACTIVATION_GELU_TANH: /* (1 + tanh(u)) / 2 = 1 / (1 + exp(-2 u)) */
        return x / (1.0f + expf(-1.5957691216f * (x + 0.044715f * x * x * x)));
    case ACTIVATION_GELU:
        return 0.5f * x * erfcf(-0.70710678119f * x);
    }
    return x;
}

static void activate(const struct activate_args *args, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) {
        const int64_t row = i / args->cols, col = i % args->cols;
        const float *in = args->in + row * args->cols * (args->gated ? 2 : 1);
        const float value = act(args->activation, in[col]);
        args->out[i] = args->gated ? value * in[args->cols + col] : value;
    }
}

static void soft_cap(const struct cap_args *args, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++)
        args->x[i] = args->cap * tanhf(args->x[i] / args->cap);
}

const struct isa isa_scalar = {
    .name = "scalar",
    .is_supported = is_supported,
    .add_rms_norm = add_rms_norm,
    .add_layer_norm = add_layer_norm,
    .linear = linear,
    .quantize = scalar_quantize,
    .linear_quant = scalar_linear_quant,
    .linear_scaled = scalar_linear_scaled,
    .rope_kv_write = rope_kv_write,
    .attention_begin = attention_begin,
    .attention_span = attention_span,
    .attention_combine = attention_combine,
    .attention_end = attention_end,
    .qk_squares = qk_squares,
    .activate = activate,
    .soft_cap = soft_cap,
};
