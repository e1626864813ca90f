/*
 * Weights with scales (scaled.h) times activations as they are: a weight is widened to the float
 * that it means, then multiplied; a lane sums its own row over the stored columns in order, one FMA
 * each. Few rows widen in registers, while four panels come as so many streams; for more rows a
 * piece of a panel is widened once, into the first-level cache, and multiplied as a panel of f32
 * is. Both have the same terms in the same order, hence equal bits.
 */
#include "kernels/cpu/scaled.h"
#include "kernels/cpu/simd/ints.h"
#include "kernels/cpu/simd/ops.h"
#include "kernels/cpu/simd/tile.h"

enum { PIECE = 256, AHEAD_BYTES = 2048, MAX_UNIT = 8 };

/* --- widening ------------------------------------------------------------------------------- */

/* Scales of a panel's group, and what is added: w = q scale + offset. */
struct head {
    vec scale[PANEL_VECS], offset[PANEL_VECS];
};

static ALWAYS_INLINE vec load_scale(const struct scaled_form *form, const unsigned char *group,
                                    const int i)
{
    const size_t lane = (size_t)(i * VEC_LANES);
    if (form->scales == DTYPE_F32)
        return vec_load((const float *)(const void *)group + lane);
    return form->scales == DTYPE_F16 ? vec_load_f16((const uint16_t *)(const void *)group + lane)
                                     : vec_load_bf16((const uint16_t *)(const void *)group + lane);
}

static ALWAYS_INLINE void load_head(const struct scaled_form *form, const unsigned char *group,
                                    const enum dtype dtype, struct head *head)
{
    const unsigned char *zeros = group + PANEL_ROWS * dtype_bytes(form->scales);
    UNROLLED
    for (int i = 0; i < PANEL_VECS; i++) {
        const vec scale = load_scale(form, group, i);
        vec zero = vec_set(dtype == DTYPE_I4 ? 8.0f : 0.0f);
        if (form->has_zeros)
            zero = dtype == DTYPE_I4 ? vec_load_u8(zeros + i * VEC_LANES)
                                     : vec_load_s8(zeros + i * VEC_LANES);
        head->scale[i] = dtype == DTYPE_F8_E4M3 ? vec_mul(scale, vec_set(256.0f)) : scale;
        head->offset[i] = vec_sub(vec_set(0.0f), vec_mul(zero, scale));
    }
}

/* The unit's vectors as they are stored. */
static ALWAYS_INLINE void load_unit(const unsigned char *unit, const enum dtype dtype,
                                    ivec raw[PANEL_VECS])
{
    const int num = dtype == DTYPE_I4 ? PANEL_VECS : PANEL_VECS / 2;
    UNROLLED
    for (int i = 0; i < PANEL_VECS; i++)
        if (i < num)
            raw[i] = ivec_load(unit + (size_t)i * sizeof(ivec));
}

/* Column `j` of a unit. */
static ALWAYS_INLINE void widen_column(const ivec raw[PANEL_VECS], const int j,
                                       const enum dtype dtype, const struct head *head,
                                       vec out[PANEL_VECS])
{
    if (dtype == DTYPE_I4) {
        UNROLLED
        for (int i = 0; i < PANEL_VECS; i++)
            out[i] = nibble(raw[i], j);
    } else {
        UNROLLED
        for (int i = 0; i < PANEL_VECS / 2; i++)
            bytes_of(raw[i], j, dtype, out + 2 * i);
    }
    UNROLLED
    for (int i = 0; i < PANEL_VECS; i++)
        out[i] = dtype == DTYPE_F8_E4M3 ? vec_mul(out[i], head->scale[i])
                                        : vec_fma(out[i], head->scale[i], head->offset[i]);
}

/* --- few rows ------------------------------------------------------------------------------- */

/* Up to `num` columns of one unit of one panel, added to the sums of its rows. */
static ALWAYS_INLINE void add_unit(const unsigned char *quants, const struct head *head,
                                   const float *const *x, int32_t k, const int num, const int rows,
                                   const int width, const enum dtype dtype, vec *sums)
{
    const int unit = dtype == DTYPE_I4 ? 8 : 2;
    ivec raw[PANEL_VECS];
    load_unit(quants, dtype, raw);
    UNROLLED
    for (int j = 0; j < unit; j++) {
        vec w[PANEL_VECS];
        if (j >= num)
            break;
        widen_column(raw, j, dtype, head, w);
        UNROLLED
        for (int r = 0; r < rows; r++) {
            const vec value = vec_set(x[r][k + j]);
            UNROLLED
            for (int i = 0; i < PANEL_VECS; i++)
                sums[r * width + i] = vec_fma(w[i], value, sums[r * width + i]);
        }
    }
}

/* `num` columns from the beginning of a unit on, in as many panels. */
static ALWAYS_INLINE void add_columns(const unsigned char *quants, size_t panel_bytes, int32_t num,
                                      const struct head *heads, const float *const *x,
                                      const int rows, const int panels, const enum dtype dtype,
                                      vec *sums)
{
    const int unit = dtype == DTYPE_I4 ? 8 : 2, width = panels * PANEL_VECS;
    const size_t bytes = (dtype == DTYPE_I4 ? 4u : 2u) * PANEL_ROWS;
    int32_t k = 0;
    for (; k + unit <= num; k += unit, quants += bytes) {
        UNROLLED
        for (int p = 0; p < panels; p++) {
            const unsigned char *at = quants + (size_t)p * panel_bytes;
            __builtin_prefetch(at + AHEAD_BYTES, 0, 2);
            if (dtype == DTYPE_I4)
                __builtin_prefetch(at + AHEAD_BYTES + 64, 0, 2);
            add_unit(at, &heads[p], x, k, unit, rows, width, dtype, sums + p * PANEL_VECS);
        }
    }
    if (k == num)
        return;
    UNROLLED
    for (int p = 0; p < panels; p++)
        add_unit(quants + (size_t)p * panel_bytes, &heads[p], x, k, (int)(num - k), rows, width,
                 dtype, sums + p * PANEL_VECS);
}

/* Values of stored columns [first, first + num) of a row. */
static void gather(const int32_t *order, const float *x, int32_t first, int32_t num, float *to)
{
    for (int32_t k = 0; k < num; k++)
        to[k] = x[order[first + k]];
}

static ALWAYS_INLINE void store(const struct linear_args *args, int64_t row, int32_t panel,
                                const int rows, const int width, const vec *sums)
{
    const int32_t first = panel * PANEL_ROWS;
    UNROLLED
    for (int r = 0; r < rows; r++) {
        float *out = args->out + (row + r) * args->out_stride + first;
        UNROLLED
        for (int i = 0; i < width; i++) {
            const int32_t left = args->weight->rows - first - i * VEC_LANES;
            const int32_t n = left < VEC_LANES ? left : VEC_LANES;
            if (n <= 0)
                break;
            const float *bias = args->bias ? args->bias + first + i * VEC_LANES : NULL;
            const vec sum = sums[r * width + i];
            vec_store_part(out + i * VEC_LANES, bias ? vec_add(sum, vec_load_part(bias, n)) : sum,
                           n);
        }
    }
}

static ALWAYS_INLINE void kernel(const struct linear_args *args, int64_t row, int32_t panel,
                                 const int rows, const int panels, const enum dtype dtype)
{
    const struct weight *weight = args->weight;
    const struct scaled_form *form = weight->form;
    const unsigned char *w = weight_panel(weight, panel);
    const size_t unit_bytes = (dtype == DTYPE_I4 ? 4u : 2u) * PANEL_ROWS;
    vec sums[3 * 4 * PANEL_VECS];
    struct head heads[4];
    float gathered[3][PIECE];

    UNROLLED
    for (int i = 0; i < rows * panels * PANEL_VECS; i++)
        sums[i] = vec_set(0.0f);
    for (int32_t g = 0; g < form->num_groups; g++) {
        const unsigned char *group = w + form->groups[g].at;
        const int32_t first = form->groups[g].first, num = form->groups[g + 1].first - first;
        UNROLLED
        for (int p = 0; p < panels; p++)
            load_head(form, group + (size_t)p * weight->panel_bytes, dtype, &heads[p]);
        group += scaled_head_bytes(form);
        for (int32_t k = 0; k < num; k += PIECE) {
            const int32_t n = num - k < PIECE ? num - k : PIECE;
            const float *x[3];
            UNROLLED
            for (int r = 0; r < rows; r++) {
                x[r] = args->x + (row + r) * args->x_stride;
                if (form->order != NULL) {
                    gather(form->order, x[r], first + k, n, gathered[r]);
                    x[r] = gathered[r];
                } else {
                    x[r] += first + k;
                }
            }
            add_columns(group + (size_t)(k / (dtype == DTYPE_I4 ? 8 : 2)) * unit_bytes,
                        weight->panel_bytes, n, heads, x, rows, panels, dtype, sums);
        }
    }
    store(args, row, panel, rows, panels * PANEL_VECS, sums);
}

typedef void kernel_function(const struct linear_args *args, int64_t row, int32_t panel);

#define ONE(rows, panels, type)                                                                    \
    static void type##_##rows##x##panels(const struct linear_args *args, int64_t row,              \
                                         int32_t panel)                                            \
    {                                                                                              \
        kernel(args, row, panel, rows, panels, DTYPE_##type);                                      \
    }
#define KERNEL(rows, panels) ONE(rows, panels, F8_E4M3) ONE(rows, panels, I8) ONE(rows, panels, I4)
#define ENTRY(rows, panels)                                                                        \
    {                                                                                              \
        F8_E4M3_##rows##x##panels, I8_##rows##x##panels, I4_##rows##x##panels                      \
    }
enum { NUM_TYPES = 3 };

KERNEL(1, 1)

/* [rows - 1]: one panel, and as many at once as the registers allow. */
#if defined(__AVX512F__)
KERNEL(2, 1)
KERNEL(3, 1)
KERNEL(1, 4)
KERNEL(2, 2)
KERNEL(3, 2)
enum { FEW_ROWS = 3 };
static kernel_function *const single[FEW_ROWS][NUM_TYPES] = { ENTRY(1, 1), ENTRY(2, 1),
                                                              ENTRY(3, 1) };
static kernel_function *const several[FEW_ROWS][NUM_TYPES] = { ENTRY(1, 4), ENTRY(2, 2),
                                                               ENTRY(3, 2) };
static const int32_t num_several[FEW_ROWS] = { 4, 2, 2 };
#else
enum { FEW_ROWS = 1 };
static kernel_function *const single[FEW_ROWS][NUM_TYPES] = { ENTRY(1, 1) };
static kernel_function *const several[FEW_ROWS][NUM_TYPES] = { ENTRY(1, 1) };
static const int32_t num_several[FEW_ROWS] = { 1 };
#endif

static void run_few(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                    int32_t row, int32_t rows)
{
    const int type = (int)args->weight->dtype - DTYPE_F8_E4M3;
    const int32_t step = num_several[rows - 1];
    int32_t panel = panel_from;
    for (; panel + step <= panel_to; panel += step)
        several[rows - 1][type](args, row, panel);
    for (; panel < panel_to; panel++)
        single[rows - 1][type](args, row, panel);
}

/* --- many rows ------------------------------------------------------------------------------ */

/* Where the next piece of a panel begins. */
struct cursor {
    int32_t group, column; /* stored column */
};

/* `num` columns of a group, as float. */
static ALWAYS_INLINE void widen_columns(const unsigned char *quants, int32_t num,
                                        const struct head *head, const enum dtype dtype, float *to)
{
    const int unit = dtype == DTYPE_I4 ? 8 : 2;
    const size_t bytes = (dtype == DTYPE_I4 ? 4u : 2u) * PANEL_ROWS;
    for (int32_t k = 0; k < num; k += unit, quants += bytes) {
        ivec raw[PANEL_VECS];
        load_unit(quants, dtype, raw);
        __builtin_prefetch(quants + AHEAD_BYTES, 0, 2);
        UNROLLED
        for (int j = 0; j < unit; j++) {
            vec w[PANEL_VECS];
            if (k + j >= num)
                break;
            widen_column(raw, j, dtype, head, w);
            UNROLLED
            for (int i = 0; i < PANEL_VECS; i++)
                vec_store(to + (size_t)(k + j) * PANEL_ROWS + i * VEC_LANES, w[i]);
        }
    }
}

/* A piece of a panel: the rest of its group and those behind it, in whole units, as far as there is
 * room. Returns its columns. */
static ALWAYS_INLINE int32_t widen_piece(const struct weight *weight, const unsigned char *panel,
                                         struct cursor *at, const enum dtype dtype, float *to)
{
    const struct scaled_form *form = weight->form;
    const int32_t unit = dtype == DTYPE_I4 ? 8 : 2;
    int32_t filled = 0;
    while (at->group < form->num_groups) {
        const unsigned char *group = panel + form->groups[at->group].at;
        const int32_t skip = at->column - form->groups[at->group].first;
        const int32_t left = form->groups[at->group + 1].first - at->column;
        const int32_t room = (PIECE - filled) / unit * unit, num = left < room ? left : room;
        struct head head;
        if (num == 0)
            break;
        load_head(form, group, dtype, &head);
        widen_columns(group + scaled_head_bytes(form) +
                          (size_t)(skip / unit) * scaled_unit_bytes(dtype),
                      num, &head, dtype, to + (size_t)filled * PANEL_ROWS);
        filled += num;
        at->column += num;
        at->group += num == left;
    }
    return filled;
}

static int32_t widen(const struct weight *weight, const unsigned char *panel, struct cursor *at,
                     float *to)
{
    switch (weight->dtype) {
    case DTYPE_F8_E4M3:
        return widen_piece(weight, panel, at, DTYPE_F8_E4M3, to);
    case DTYPE_I8:
        return widen_piece(weight, panel, at, DTYPE_I8, to);
    default:
        return widen_piece(weight, panel, at, DTYPE_I4, to);
    }
}

/* All rows of a job by a piece; of columns in another order, some rows at a time. */
static void multiply(const struct tile_job *whole, const int32_t *order, int32_t first,
                     int32_t num_rows)
{
    struct tile_job job = *whole;
    float gathered[TILE_ROWS * PIECE];
    if (order == NULL) {
        job.x += first;
        SIMD(tile_run)(&job, num_rows, 1);
        return;
    }
    job.x = gathered;
    job.x_stride = PIECE;
    for (int32_t row = 0; row < num_rows; row += TILE_ROWS) {
        const int32_t rows = num_rows - row < TILE_ROWS ? num_rows - row : TILE_ROWS;
        for (int32_t r = 0; r < rows; r++)
            gather(order, whole->x + (row + r) * whole->x_stride, first, job.num_k,
                   gathered + r * PIECE);
        job.out = whole->out + row * whole->out_stride;
        SIMD(tile_run)(&job, rows, 1);
    }
}

/* A panel, of which `out` has all 32 columns. */
static void run_panel(const struct linear_args *args, int32_t panel, const float *bias,
                      const float *x, float *out, int64_t out_stride, int32_t num_rows)
{
    _Alignas(64) float piece[PIECE * PANEL_ROWS];
    const struct weight *weight = args->weight;
    struct cursor at = { 0, 0 };
    while (at.column < weight->cols) {
        const int32_t first = at.column;
        const int32_t num = widen(weight, weight_panel(weight, panel), &at, piece);
        const struct tile_job job = { .dtype = DTYPE_F32,
                                      .accumulate = first > 0,
                                      .num_k = num,
                                      .x = x,
                                      .x_stride = args->x_stride,
                                      .w = piece,
                                      .k_stride = PANEL_ROWS,
                                      .out = out,
                                      .out_stride = out_stride,
                                      .bias = at.column == weight->cols ? bias : NULL };
        multiply(&job, weight->form->order, first, num_rows);
    }
}

enum { EDGE_ROWS = 96 };

/* A last panel that out has only a part of: through a whole one. */
static void run_edge(const struct linear_args *args, int32_t panel, int32_t row, int32_t num_rows)
{
    const int32_t first = panel * PANEL_ROWS, num = args->weight->rows - first;
    float whole[EDGE_ROWS * PANEL_ROWS];
    run_panel(args, panel, NULL, args->x + row * args->x_stride, whole, PANEL_ROWS, num_rows);
    for (int32_t r = 0; r < num_rows; r++)
        for (int32_t i = 0; i < num; i++) {
            const float sum = whole[r * PANEL_ROWS + i];
            args->out[(row + r) * args->out_stride + first + i] =
                args->bias ? sum + args->bias[first + i] : sum;
        }
}

static void run_many(const struct linear_args *args, int32_t panel, int32_t row_from,
                     int32_t row_to)
{
    const int32_t first = panel * PANEL_ROWS;
    if (first + PANEL_ROWS <= args->weight->rows) {
        run_panel(args, panel, args->bias ? args->bias + first : NULL,
                  args->x + row_from * args->x_stride,
                  args->out + row_from * args->out_stride + first, args->out_stride,
                  row_to - row_from);
        return;
    }
    for (int32_t row = row_from; row < row_to; row += EDGE_ROWS)
        run_edge(args, panel, row, row_to - row < EDGE_ROWS ? row_to - row : EDGE_ROWS);
}

void SIMD(linear_scaled)(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                         int32_t row_from, int32_t row_to)
{
    const int32_t rows = row_to - row_from;
    if (rows < 1)
        return;
    if (rows <= FEW_ROWS) {
        run_few(args, panel_from, panel_to, row_from, rows);
        return;
    }
    for (int32_t panel = panel_from; panel < panel_to; panel++)
        run_many(args, panel, row_from, row_to);
}
