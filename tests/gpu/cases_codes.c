/*
 * Weights of E4M3 whose checkpoint means its inputs to be E4M3 as well.
 *
 * A device that multiplies so ("FP8 products" in what it is called) rounds x itself; the other side
 * is given x as the device must round it, so that what is compared are two sums of the same
 * products. Where a device does not, both have the same x, of few bits, and scales that are powers
 * of two.
 */
#include "tests/gpu/cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/e4m3.h"
#include "base/half.h"

enum { RUN = 128, MAX_PARTS = 2 };

struct shape {
    int32_t rows, cols, num_parts;
    struct side_codes parts[MAX_PARTS];
    bool has_bias, is_step;
};

/* Outputs, outputs and inputs that share a scale (0: all), and whether it rounds. */
static const struct shape by_products[] = {
    { 66, 203, 1, { { 64, 0, 0, true } }, false, false },
    { 67, 128, 1, { { 48, 1, 0, true } }, true, false },
    { 65, 520, 1, { { 112, 1, 0, true } }, false, false },
    { 68, 640, 1, { { 256, 128, RUN, true } }, false, false },
    { 80, 300, 1, { { 144, 128, RUN, true } }, true, false }, /* whole blocks of neither */
    { 67, 384, 1, { { 144, 128, RUN, true } }, false, true }, /* a step's rows become fours */
    { 101, 100, 1, { { 32, 1, RUN, true } }, true, true },    /* one run: a row's own scale */
    { 66, 256, 2, { { 64, 1, 0, true }, { 32, 0, 0, true } }, true, false },
    { 76, 256, 2, { { 64, 1, 0, true }, { 160, 128, RUN, true } }, false, false },
};

static const struct shape otherwise[] = {
    { 64, 256, 1, { { 64, 1, 0, true } }, false, false }, /* a row less than many */
    { 17, 640, 1, { { 256, 128, RUN, true } }, true, false },
    { 1, 203, 1, { { 40, 0, 0, true } }, false, false },
    { 66, 128, 1, { { 40, 1, 0, true } }, false, false },      /* no whole 16 outputs */
    { 67, 256, 1, { { 160, 128, RUN, true } }, false, false }, /* no fours of rows */
    { 72, 260, 1, { { 96, 48, RUN, true } }, true, false }, /* other blocks than of 128 outputs */
    { 66, 256, 1, { { 64, 1, 32, true } }, false, false },  /* groups that it has no scale for */
    { 66, 256, 1, { { 64, 1, 0, false } }, false, false },  /* of a checkpoint that rounds none */
    { 66, 256, 2, { { 48, 1, 0, false }, { 80, 0, 0, true } }, true, false }, /* not 256 bytes */
};

enum {
    NUM_BY_PRODUCTS = sizeof(by_products) / sizeof(by_products[0]),
    NUM_OTHERWISE = sizeof(otherwise) / sizeof(otherwise[0])
};

/* The second of them by products. */
static const struct shape mixed = { 66,   256,  2, { { 64, 1, 0, false }, { 80, 0, 0, true } },
                                    true, false };

/* As bf16, and then each row or run of it as codes, times their scale. */
static void round_inputs(float *x, int32_t num)
{
    float most = 0.0f;
    bool is_finite = true;
    for (int32_t i = 0; i < num; i++) {
        most = fmaxf(most, fabsf(x[i]));
        is_finite = is_finite && isfinite(x[i]);
    }
    const float scale = most / E4M3_MAX, inverse = scale > 0x1p-120f ? 1.0f / scale : 0.0f;
    for (int32_t i = 0; i < num; i++)
        x[i] = is_finite ? scale * e4m3_decode(e4m3_encode(x[i] * inverse)) : NAN;
}

static void narrow(float *x, size_t num)
{
    for (size_t i = 0; i < num; i++)
        x[i] = half_from_bf16(half_to_bf16(x[i]));
}

/* What a matrix is multiplied with. */
static float *inputs_of(struct side *s, const struct shape *shape, const struct side_codes *part,
                        bool rounds, const float *values)
{
    const size_t num = (size_t)shape->rows * (size_t)shape->cols;
    const bool has_runs = part->group > 0 && shape->cols > RUN;
    const int32_t run = has_runs ? RUN : shape->cols;
    float *x = malloc(num * sizeof(*x));
    if (x == NULL)
        abort();
    memcpy(x, values, num * sizeof(*x));
    if (s->is_oracle && s->has_products && rounds && part->rounds_inputs)
        for (int32_t r = 0; r < shape->rows; r++)
            for (int32_t k = 0; k < shape->cols; k += run)
                round_inputs(x + (size_t)r * (size_t)shape->cols + k,
                             shape->cols - k < run ? shape->cols - k : run);
    float *at = side_put(s, x, num);
    free(x);
    return at;
}

/* Ids of a step come first: a list that has them knows how many rows it has. */
static void begin_step(struct side *s, const struct shape *shape)
{
    static const int32_t ids[RUN]; /* read when the list runs */
    float *out = side_poisoned(s, (size_t)shape->rows);
    struct weight *table = side_weight(s, DTYPE_F32, 1, 1);
    s->backend->embed(s->device, out, table, 1.0f, ids, shape->rows);
}

/* The oracle multiplies by each matrix what that matrix is given, and puts the results side by
 * side. */
static void multiply(struct side *s, const struct shape *shape, bool rounds, const float *values)
{
    struct weight *parts[MAX_PARTS];
    int32_t outs = 0;
    for (int32_t i = 0; i < shape->num_parts; i++)
        outs += shape->parts[i].rows;
    side_codes(s, shape->parts, shape->num_parts, shape->cols, s->is_oracle, parts);
    float *bias = shape->has_bias ? side_random(s, (size_t)outs, 1.0f) : NULL;
    const size_t num = (size_t)shape->rows * (size_t)outs;
    float *out = side_poisoned(s, num + 3 * (size_t)outs); /* room for fours of rows */
    if (!s->is_oracle) {
        float *x = side_put(s, values, (size_t)shape->rows * (size_t)shape->cols);
        s->backend->begin(s->device);
        if (shape->is_step)
            begin_step(s, shape);
        s->backend->linear(s->device, out, parts[0], bias, x, shape->rows);
        side_run(s);
        side_keep(s, out, num);
        return;
    }
    float *all = calloc(num, sizeof(*all)), *some = calloc(num, sizeof(*some));
    if (all == NULL || some == NULL)
        abort();
    for (int32_t i = 0, from = 0; i < shape->num_parts; i++) {
        const int32_t own = shape->parts[i].rows;
        float *x = inputs_of(s, shape, &shape->parts[i], rounds, values);
        s->backend->begin(s->device);
        s->backend->linear(s->device, out, parts[i], bias != NULL ? bias + from : NULL, x,
                           shape->rows);
        side_run(s);
        s->backend->download(s->device, some, out, (size_t)(shape->rows * own) * sizeof(float));
        for (int32_t r = 0; r < shape->rows; r++)
            memcpy(all + (size_t)r * (size_t)outs + from, some + (size_t)r * (size_t)own,
                   (size_t)own * sizeof(float));
        from += own;
    }
    for (size_t i = 0; i < num; i++)
        side_keep_value(s, all[i]);
    free(all);
    free(some);
}

typedef void spoil_function(float *x, int32_t cols);

static void multiply_random(struct side *s, const struct shape *shape, bool rounds,
                            spoil_function *spoil)
{
    const size_t num = (size_t)shape->rows * (size_t)shape->cols;
    float *values = malloc(num * sizeof(*values));
    if (values == NULL)
        abort();
    for (size_t i = 0; i < num; i++)
        values[i] = side_float(s);
    if (spoil != NULL)
        spoil(values, shape->cols);
    narrow(values, num);
    multiply(s, shape, rounds, values);
    free(values);
}

static void products(struct side *s, int32_t variant)
{
    multiply_random(s, &by_products[variant], true, NULL);
}

static void others(struct side *s, int32_t variant)
{
    if (variant == NUM_OTHERWISE)
        multiply_random(s, &mixed, true, NULL);
    else
        multiply_random(s, &otherwise[variant], false, NULL);
}

/* Rows that are not finite, zero, tiny, large, or one value among zeros. */
static void spoil_rows(float *x, int32_t cols)
{
    const size_t n = (size_t)cols;
    x[2 * n + 5] = NAN;
    x[3 * n + n - 1] = INFINITY;
    x[4 * n] = -INFINITY;
    for (size_t k = 0; k < n; k++) {
        x[6 * n + k] = 0.0f;
        x[7 * n + k] *= 1e-30f;
        x[8 * n + k] *= 1e30f;
        x[9 * n + k] = k == n / 2 ? -3.0f : 0.0f;
        x[10 * n + k] *= k < n / 2 ? 1e-8f : 1e4f; /* most of it below the smallest code */
        x[11 * n + k] = 0.0f * x[11 * n + k];
    }
}

static void spoiled(struct side *s, int32_t variant)
{
    static const struct shape shapes[] = {
        { 68, 203, 1, { { 64, 1, 0, true } }, true, false },
        { 68, 300, 1, { { 144, 128, RUN, true } }, false, false },
        { 68, 300, 1, { { 160, 128, RUN, true, true } }, false, false },
        { 68, 203, 1, { { 64, 1, 0, true, true } }, false, false },
        { 33, 300, 1, { { 160, 128, RUN, true, true } }, false, false }, /* too few rows */
    };
    multiply_random(s, &shapes[variant], shapes[variant].rows > 64, spoil_rows);
}

/* Each element's value, of rows and of tiles. */
static void embedded(struct side *s, int32_t variant)
{
    static const struct side_codes forms[] = { { 70, 1, 0, true },
                                               { 150, 128, RUN, true },
                                               { 70, 1, 64, true } };
    const int32_t cols = side_whole(s, 1, 300);
    int32_t ids[20];
    struct weight *w;
    side_codes(s, &forms[variant], 1, cols, false, &w);
    for (int32_t i = 0; i < 20; i++)
        ids[i] = side_whole(s, 0, forms[variant].rows - 1);
    float *out = side_poisoned(s, (size_t)(20 * cols));
    s->backend->begin(s->device);
    s->backend->embed(s->device, out, w, 1.0f, ids, 20);
    side_run(s);
    side_keep(s, out, (size_t)(20 * cols));
}

/* Rounding alone is 2.5e-2 of an output's usual size: rounded where it must not be, or otherwise,
 * an element of hundreds is beyond 4e-3. Tensor cores sum E4M3 in some 14 bits, 128 inputs at a
 * time. */
const struct gpu_case cases_codes[] = {
    { "FP8 products", products, NUM_BY_PRODUCTS, 4e-3 },
    { "FP8 products, odd x", spoiled, 5, 4e-3 },
    { "FP8 otherwise", others, NUM_OTHERWISE + 1, 1.2e-2 },
    { "FP8, embed", embedded, 3, 1e-6 },
    { NULL, NULL, 0, 0 },
};
