#include "tests/gpu/cases.h"

#include <string.h>

static const enum dtype dtypes[] = { DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0,
                                     DTYPE_Q4_K, DTYPE_Q6_K, DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1,
                                     DTYPE_Q2_K, DTYPE_Q3_K, DTYPE_Q5_K };

enum { NUM_PLAIN = 3 }; /* the others are in blocks: the CPU rounds what they multiply to bytes */
enum { NUM_DTYPES = sizeof(dtypes) / sizeof(dtypes[0]), MAX_ROWS = 80 };

/* Columns of whole blocks: 1 to `most` of them. */
static int32_t whole_cols(struct side *s, enum dtype dtype, int32_t most)
{
    const int32_t block = dtype_block(dtype);
    return block == 1 ? side_whole(s, 1, most) : block * side_whole(s, 1, most / block + 1);
}

static void embed(struct side *s, int32_t variant)
{
    int32_t ids[MAX_ROWS];
    const enum dtype dtype = dtypes[variant];
    const int32_t vocab = side_whole(s, 1, 100), cols = whole_cols(s, dtype, 300);
    const int32_t rows = side_whole(s, 1, MAX_ROWS);
    struct weight *w = side_weight(s, dtype, vocab, cols);
    for (int32_t i = 0; i < rows; i++)
        ids[i] = side_whole(s, 0, vocab - 1);
    float *out = side_poisoned(s, (size_t)(rows * cols));
    s->backend->begin(s->device);
    s->backend->embed(s->device, out, w, 1.7f, ids, rows);
    side_run(s);
    side_keep(s, out, (size_t)(rows * cols));
}

static int32_t some_rows(struct side *s)
{
    static const int32_t rows[] = { 1, 2, 7, 8, 9, 16, 17, 33, 64, 65, 80 };
    return rows[side_whole(s, 0, 10)];
}

static void multiply(struct side *s, const struct weight *w, int32_t outs, int32_t cols)
{
    side_multiply(s, w, outs, cols, some_rows(s));
}

static void linear(struct side *s, int32_t variant)
{
    const enum dtype dtype = dtypes[variant];
    const int32_t outs = side_whole(s, 1, 150), cols = whole_cols(s, dtype, 500);
    multiply(s, side_weight(s, dtype, outs, cols), outs, cols);
}

/* Groups of whole units and of none, in order and not. */
static void linear_scales(struct side *s, int32_t variant)
{
    static const enum dtype types[] = { DTYPE_F8_E4M3, DTYPE_I8, DTYPE_I4 };
    static const int32_t groups[] = { 0, 32, 128, 96, 24, -1 };
    const int32_t group = groups[variant / 3];
    const int32_t outs = side_whole(s, 1, 100), cols = side_whole(s, 1, 450);
    multiply(s, side_scaled(s, types[variant % 3], 0, outs, cols, group), outs, cols);
}

/* Rows of them as they are: what embed() reads is each element's value. */
static void embed_scales(struct side *s, int32_t variant)
{
    static const enum dtype types[] = { DTYPE_F8_E4M3, DTYPE_I8, DTYPE_I4 };
    const int32_t vocab = side_whole(s, 1, 70), cols = side_whole(s, 1, 300);
    struct weight *w = side_scaled(s, types[variant % 3], 0, vocab, cols, variant < 3 ? 64 : -1);
    int32_t ids[MAX_ROWS];
    for (int32_t i = 0; i < 20; i++)
        ids[i] = side_whole(s, 0, vocab - 1);
    float *out = side_poisoned(s, (size_t)(20 * cols));
    s->backend->begin(s->device);
    s->backend->embed(s->device, out, w, 1.0f, ids, 20);
    side_run(s);
    side_keep(s, out, (size_t)(20 * cols));
}

static void linear_blocks(struct side *s, int32_t variant)
{
    linear(s, NUM_PLAIN + variant);
}

/* A norm writes what a linear reads, narrowed where the device likes. */
static void norm_linear(struct side *s, int32_t variant)
{
    const enum dtype dtype = dtypes[variant];
    const int32_t rows = side_whole(s, 1, 40), outs = side_whole(s, 1, 100);
    const int32_t cols = whole_cols(s, dtype, 300);
    struct weight *w = side_weight(s, dtype, outs, cols);
    const size_t num = (size_t)(rows * cols);
    float *x = side_random(s, num, 2.0f), *delta = side_random(s, num, 1.0f);
    float *g = side_random(s, (size_t)cols, 1.0f), *normed = side_poisoned(s, num);
    float *out = side_poisoned(s, (size_t)(rows * outs));
    s->backend->begin(s->device);
    s->backend->add_rms_norm(s->device, normed, x, delta, g, 1e-6f, rows, cols);
    s->backend->linear(s->device, out, w, NULL, normed, rows);
    side_run(s);
    side_keep(s, normed, num);
    side_keep(s, x, num);
    side_keep(s, out, (size_t)(rows * outs));
}

static void norm_blocks(struct side *s, int32_t variant)
{
    norm_linear(s, NUM_PLAIN + variant);
}

static void norm(struct side *s, int32_t variant)
{
    const int32_t rows = side_whole(s, 1, 20);
    const int32_t cols = variant >= 4 ? side_whole(s, 4000, 9000) : side_whole(s, 1, 600);
    const size_t num = (size_t)(rows * cols);
    const bool in_place = side_coin(s);
    float *x = side_random(s, num, 3.0f), *out = in_place ? x : side_poisoned(s, num);
    float *delta = side_coin(s) ? side_random(s, num, 1.0f) : NULL;
    float *w = side_random(s, (size_t)cols, 1.0f), *bias = side_random(s, (size_t)cols, 1.0f);
    s->backend->begin(s->device);
    if (variant % 2 == 0)
        s->backend->add_rms_norm(s->device, out, x, delta, w, 1e-5f, rows, cols);
    else
        s->backend->add_layer_norm(s->device, out, x, delta, w, bias, 1e-5f, rows, cols);
    side_run(s);
    side_keep(s, out, num);
    side_keep(s, x, num);
}

static void sum_only(struct side *s, int32_t variant)
{
    (void)variant;
    const int32_t rows = side_whole(s, 1, 20), cols = side_whole(s, 1, 600);
    const size_t num = (size_t)(rows * cols);
    float *x = side_random(s, num, 3.0f), *delta = side_random(s, num, 1.0f);
    s->backend->begin(s->device);
    s->backend->add_rms_norm(s->device, NULL, x, delta, NULL, 0.0f, rows, cols);
    side_run(s);
    side_keep(s, x, num);
}

static void activate(struct side *s, int32_t variant)
{
    const int32_t rows = side_whole(s, 1, 20), cols = side_whole(s, 1, 600);
    const bool gated = side_coin(s);
    const size_t num = (size_t)(rows * cols);
    float *in = side_random(s, num * (gated ? 2 : 1), 6.0f), *out = side_poisoned(s, num);
    s->backend->begin(s->device);
    s->backend->activate(s->device, out, in, (enum activation)variant, gated, rows, cols);
    side_run(s);
    side_keep(s, out, num);
}

static void each(struct side *s, int32_t variant)
{
    const int32_t rows = side_whole(s, 1, 20), cols = side_whole(s, 1, 300);
    const size_t num = (size_t)(rows * cols);
    float *x = side_random(s, num, 9.0f), *delta = side_random(s, num, 2.0f);
    s->backend->begin(s->device);
    if (variant == 0)
        s->backend->soft_cap(s->device, x, 5.0f, rows, cols);
    else if (variant == 1)
        s->backend->add_silu(s->device, x, delta, rows, cols);
    else if (variant == 2)
        s->backend->clamp(s->device, x, -2.0f, 3.0f, rows, cols);
    else
        s->backend->mu_clamp(s->device, x, 0.5f, -4.0f, 6.0f, rows, cols);
    side_run(s);
    side_keep(s, x, num);
}

static void inl(struct side *s, int32_t variant)
{
    const int32_t rows = side_whole(s, 1, 20), cols = side_whole(s, 1, 300);
    const size_t num = (size_t)(rows * cols);
    struct inl_dynamics args = { .a = side_random(s, num, 1.0f),
                                 .v = side_random(s, num, 12.0f),
                                 .m = side_random(s, num, 1.0f),
                                 .controller = side_random(s, 3 * num, 4.0f),
                                 .highway = variant == 0 ? NULL : side_random(s, num, 1.0f),
                                 .mu_prev = side_poisoned(s, num),
                                 .dt = 0.1f };
    s->backend->begin(s->device);
    s->backend->inl_dynamics(s->device, &args, rows, cols);
    side_run(s);
    side_keep(s, args.a, num);
    side_keep(s, args.v, num);
    side_keep(s, args.mu_prev, num);
    if (args.highway != NULL)
        side_keep(s, args.highway, num);
}

static void squares(struct side *s, int32_t variant)
{
    (void)variant;
    const int32_t rows = side_whole(s, 1, 20), q = side_whole(s, 1, 700), k = side_whole(s, 1, 90);
    float *qkv = side_random(s, (size_t)(rows * (q + 2 * k)), 1.0f);
    float *out = side_poisoned(s, 2 * (size_t)rows);
    s->backend->begin(s->device);
    s->backend->qk_squares(s->device, out, qkv, q, k, rows);
    side_run(s);
    side_keep(s, out, 2 * (size_t)rows);
}

static void gather(struct side *s, int32_t variant)
{
    int32_t indices[MAX_ROWS];
    const int32_t rows = side_whole(s, 1, 30), num = side_whole(s, 1, MAX_ROWS);
    const int32_t cols = side_whole(s, 1, 300);
    float *x = side_random(s, (size_t)(rows * cols), 1.0f);
    float *out = side_poisoned(s, (size_t)(num * cols));
    for (int32_t i = 0; i < num; i++)
        indices[i] = side_whole(s, 0, rows - 1);
    const int32_t *at = variant == 0 ? indices : side_ints(s, (size_t)num, indices);
    s->backend->begin(s->device);
    s->backend->gather_rows(s->device, out, x, at, num, cols);
    side_run(s);
    side_keep(s, out, (size_t)(num * cols));
}

const struct gpu_case cases_rows[] = {
    { "embed", embed, NUM_DTYPES, 6e-3 },
    { "linear", linear, NUM_PLAIN, 2e-2 },
    { "linear, blocks", linear_blocks, NUM_DTYPES - NUM_PLAIN, 6e-2 },
    { "linear, scales", linear_scales, 18, 2e-2 },
    { "embed, scales", embed_scales, 6, 1e-6 },
    { "norm, linear", norm_linear, NUM_PLAIN, 2e-2 },
    { "norm, blocks", norm_blocks, NUM_DTYPES - NUM_PLAIN, 1e-1 },
    { "norm", norm, 6, 1e-2 },
    { "sum", sum_only, 1, 1e-6 },
    { "activate", activate, 3, 1e-2 },
    { "each", each, 4, 1e-5 },
    { "inl_dynamics", inl, 2, 1e-5 },
    { "qk_squares", squares, 1, 1e-5 },
    { "gather_rows", gather, 2, 0 },
    { NULL, NULL, 0, 0 },
};
