/*
 * Weights in blocks times many rows of activations, on the tiles of AMX. A product of tiles is a
 * sum of integers, exact as that of linear_quant.c, and what follows it is the same: one FMA a
 * block, in the order of blocks. So the bits are those of VNNI, which does the few rows.
 *
 * Of a panel, some blocks are turned into signed bytes and floats of their scales (quants.h), which
 * stay in the first-level cache while all rows pass over them, 16 at a time. A tile of 16 rows x 32
 * inputs times one of 32 inputs x 16 outputs, and its way to memory, take 32 cycles for 8,192
 * multiply-adds; its 256 sums are converted, scaled and added under the next product. The rows of
 * the next 16 are asked for meanwhile. Sums of rows wait in the scratch from one run of blocks to
 * the next: in `out` they would be lines far apart, all of a few sets of the caches.
 */
#include "kernels/cpu/simd/linear_amx.h"

#include "kernels/cpu/simd/quants.h"

enum {
    TILE_ROWS = 16,
    TILE_OUTPUTS = 16,
    DEPTH = QUANTS_DEPTH,
    MANY_ROWS = 512, /* that pass over widened blocks: their sums stay in the second-level cache */
};

/* Numbers of tiles; the intrinsics want them spelled. */
#define TILE_SUMS_0 0
#define TILE_SUMS_1 1
#define TILE_X      2
#define TILE_W      4

struct scratch {
    struct quants_wide wide;
    _Alignas(64) int32_t dots[2 * TILE_ROWS * TILE_OUTPUTS];
    _Alignas(64) float x_scales[DEPTH * TILE_ROWS];   /* of a tile's rows, [block][16] */
    _Alignas(64) float x_sums[2 * DEPTH * TILE_ROWS]; /* [part][16]: minus scale times sum */
    _Alignas(64) float totals[(MANY_ROWS + TILE_ROWS) * PANEL_ROWS];
};

/* Loads of tiles do not say that they read memory, nor stores that they write it. */
static ALWAYS_INLINE void written(void)
{
    __asm__ volatile("" ::: "memory");
}

/* --- the kernel ----------------------------------------------------------------------------- */

/* 16 rows of activations and 16 outputs of a panel, at `num` blocks of a row's. */
struct at_tile {
    const struct linear_args *args;
    struct scratch *scratch;
    int64_t row, next_row;
    int64_t first;       /* block */
    int32_t num;         /* blocks */
    int32_t place;       /* of the first row among totals */
    int32_t panel, half; /* of the panel's outputs */
    bool is_last;        /* no block behind these */
};

/* The same as addresses, which stay in registers. */
struct at_part {
    const int8_t *x, *next_x;
    int64_t stride; /* from row to row of x */
    const unsigned char *w;
    const float *scales, *minima;   /* of the 16 outputs */
    const float *x_scales, *x_sums; /* of the 16 rows */
    int32_t *dots;                  /* of two products */
};

static ALWAYS_INLINE struct at_part first_part(const struct at_tile *at)
{
    struct scratch *scratch = at->scratch;
    const int64_t stride = quant_stride(at->args->weight->cols);
    const int8_t *x = at->args->quants.q + at->first * QUANT_BLOCK;
    const int32_t lane = at->half * TILE_OUTPUTS;
    return (struct at_part){ x + at->row * stride,
                             x + at->next_row * stride,
                             stride,
                             scratch->wide.w + 4 * lane,
                             scratch->wide.scales + lane,
                             scratch->wide.minima + lane,
                             scratch->x_scales,
                             scratch->x_sums,
                             scratch->dots };
}

/* Part `part` into the tile of even or odd parts. */
static ALWAYS_INLINE void multiply(struct at_part at, const int parts, int64_t part, const int odd)
{
    const int inputs = QUANT_BLOCK / parts;

    _tile_loadd(TILE_W, at.w + part * inputs * PANEL_ROWS, QUANTS_GROUP);
    _tile_loadd(TILE_X, at.x + part * inputs, (size_t)at.stride);
    if (odd) {
        _tile_zero(TILE_SUMS_1);
        _tile_dpbssd(TILE_SUMS_1, TILE_X, TILE_W);
    } else {
        _tile_zero(TILE_SUMS_0);
        _tile_dpbssd(TILE_SUMS_0, TILE_X, TILE_W);
    }
}

/* The sums of a part of the inputs, scaled, onto those before it. */
static ALWAYS_INLINE void add_part(struct at_part at, const int parts, const bool has_minima,
                                   int64_t part, const int odd, vec *sums)
{
    const int32_t *dots = at.dots + odd * TILE_ROWS * TILE_OUTPUTS;
    const float *x_scales = at.x_scales + part / parts * TILE_ROWS;
    const float *x_sums = at.x_sums + part * TILE_ROWS;

    if (odd)
        _tile_stored(TILE_SUMS_1, at.dots + TILE_ROWS * TILE_OUTPUTS, TILE_OUTPUTS * 4);
    else
        _tile_stored(TILE_SUMS_0, at.dots, TILE_OUTPUTS * 4);
    written();
    const vec scale = vec_load(at.scales + part * PANEL_ROWS);
    const vec minimum = has_minima ? vec_load(at.minima + part * PANEL_ROWS) : vec_set(0.0f);
    UNROLLED
    for (int r = 0; r < TILE_ROWS; r++) {
        const vec both = vec_mul(scale, vec_set(x_scales[r]));
        const __m512i dot = _mm512_load_si512(dots + r * TILE_OUTPUTS);
        sums[r] = vec_fma(_mm512_cvtepi32_ps(dot), both, sums[r]);
        if (has_minima)
            sums[r] = vec_fma(minimum, vec_set(x_sums[r]), sums[r]);
    }
}

/* A line of each of the 16 rows that come next. */
static ALWAYS_INLINE void ask_next(struct at_part at, int64_t byte)
{
    UNROLLED
    for (int r = 0; r < TILE_ROWS; r++)
        __builtin_prefetch(at.next_x + r * at.stride + byte, 0, 3);
}

static ALWAYS_INLINE void load_sums(const struct at_tile *at, vec *sums)
{
    const float *from = at->scratch->totals + at->place * PANEL_ROWS + at->half * TILE_OUTPUTS;
    UNROLLED
    for (int r = 0; r < TILE_ROWS; r++)
        sums[r] = at->first > 0 ? vec_load(from + r * PANEL_ROWS) : vec_set(0.0f);
}

static ALWAYS_INLINE void keep_sums(const struct at_tile *at, const vec *sums)
{
    float *to = at->scratch->totals + at->place * PANEL_ROWS + at->half * TILE_OUTPUTS;
    UNROLLED
    for (int r = 0; r < TILE_ROWS; r++)
        vec_store(to + r * PANEL_ROWS, sums[r]);
}

static ALWAYS_INLINE void store_sums(const struct at_tile *at, const vec *sums)
{
    const int32_t first = at->panel * PANEL_ROWS + at->half * TILE_OUTPUTS;
    const int32_t left = at->args->weight->rows - first;
    const int32_t n = left < TILE_OUTPUTS ? left : TILE_OUTPUTS;
    const float *bias = at->args->bias ? at->args->bias + first : NULL;
    float *out = at->args->out + at->row * at->args->out_stride + first;
    if (n <= 0)
        return;
    const vec more = bias ? vec_load_part(bias, n) : vec_set(0.0f);
    UNROLLED
    for (int r = 0; r < TILE_ROWS; r++)
        vec_store_part(out + r * at->args->out_stride, bias ? vec_add(sums[r], more) : sums[r], n);
}

/* A product is under way while the one before it is scaled and added. */
static ALWAYS_INLINE void run_tile(const struct at_tile *at, const int parts, const bool has_minima)
{
    enum { LINE = 64 };
    const struct at_part here = first_part(at);
    const int64_t num = at->num * parts;
    const int inputs = QUANT_BLOCK / parts;
    const bool asks = at->half == 0;
    vec sums[TILE_ROWS];

    load_sums(at, sums);
    multiply(here, parts, 0, 0);
    int64_t part = 0;
    for (; part + 2 < num; part += 2) {
        if (asks && part * inputs % LINE == 0)
            ask_next(here, part * inputs);
        multiply(here, parts, part + 1, 1);
        add_part(here, parts, has_minima, part, 0, sums);
        multiply(here, parts, part + 2, 0);
        add_part(here, parts, has_minima, part + 1, 1, sums);
    }
    if (part + 1 < num) {
        multiply(here, parts, part + 1, 1);
        add_part(here, parts, has_minima, part, 0, sums);
        add_part(here, parts, has_minima, part + 1, 1, sums);
    } else {
        add_part(here, parts, has_minima, part, 0, sums);
    }
    if (at->is_last)
        store_sums(at, sums);
    else
        keep_sums(at, sums);
}

/* Whole numbers 2 i and 2 i + 1 of `from` together, for i < num. */
static ALWAYS_INLINE vec pair_sums(const int32_t *from, int32_t num)
{
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const int32_t low = 2 * num < 16 ? 2 * num : 16, high = 2 * num - low;
    const __m512i a = _mm512_maskz_loadu_epi32(vec_mask(low), from);
    const __m512i z = _mm512_maskz_loadu_epi32(vec_mask(high), from + 16);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_permutex2var_epi32(a, even, z),
                                               _mm512_permutex2var_epi32(a, odd, z)));
}

/* Scales of the tile's rows, and what minima are multiplied by, with a block's side by side. */
static ALWAYS_INLINE void turn_scales(const struct at_tile *at)
{
    const int64_t blocks = at->args->weight->cols / QUANT_BLOCK;
    const float *from = at->args->quants.scales + at->row * blocks + at->first;
    vec scales[TILE_ROWS];
    UNROLLED
    for (int r = 0; r < TILE_ROWS; r++)
        scales[r] = vec_load_part(from + r * blocks, at->num);
    vec_transpose(scales);
    UNROLLED
    for (int b = 0; b < DEPTH; b++)
        vec_store(at->scratch->x_scales + b * TILE_ROWS, scales[b]);
}

/* Minus scale times sum, of each part. */
static ALWAYS_INLINE void turn_sums(const struct at_tile *at, const int parts)
{
    const int64_t blocks = at->args->weight->cols / QUANT_BLOCK;
    const int32_t num = at->num * parts;
    const int32_t *from = at->args->quants.sums + 2 * (at->row * blocks + at->first);
    for (int32_t i = 0; i < num; i += TILE_ROWS) {
        vec sums[TILE_ROWS];
        UNROLLED
        for (int r = 0; r < TILE_ROWS; r++) {
            const int32_t left = num - i < TILE_ROWS ? num - i : TILE_ROWS;
            const int32_t *row = from + 2 * r * blocks;
            sums[r] = parts == 1
                          ? pair_sums(row, left)
                          : _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(vec_mask(left), row + i));
        }
        vec_transpose(sums);
        UNROLLED
        for (int p = 0; p < TILE_ROWS; p++) {
            const vec scale = vec_load(at->scratch->x_scales + (i + p) / parts * TILE_ROWS);
            vec_store(at->scratch->x_sums + (i + p) * TILE_ROWS,
                      vec_sub(vec_set(-0.0f), vec_mul(scale, sums[p])));
        }
    }
}

static ALWAYS_INLINE void run_rows(struct at_tile *at, const int parts, const bool has_minima)
{
    turn_scales(at);
    if (has_minima)
        turn_sums(at, parts);
    for (at->half = 0; at->half < 2; at->half++)
        run_tile(at, parts, has_minima);
}

/* Where a tile's rows begin: the last ones, of which there are fewer than 16, are computed with
 * some before them, to the same bits. */
static ALWAYS_INLINE int64_t tile_row(int64_t row, int32_t row_to)
{
    return row + TILE_ROWS <= row_to ? row : row_to - TILE_ROWS;
}

static ALWAYS_INLINE void run_panel(const struct linear_args *args, int32_t panel, int32_t row_from,
                                    int32_t row_to, struct scratch *scratch, const enum dtype dtype)
{
    const int64_t blocks = args->weight->cols / QUANT_BLOCK;

    for (int64_t first = 0; first < blocks; first += DEPTH) {
        const int32_t num = blocks - first < DEPTH ? (int32_t)(blocks - first) : DEPTH;
        quants_widen(dtype, weight_panel(args->weight, panel), first, num, true, &scratch->wide);
        written();
        for (int32_t row = row_from; row < row_to; row += TILE_ROWS) {
            struct at_tile at = {
                .args = args,
                .scratch = scratch,
                .row = tile_row(row, row_to),
                .next_row = tile_row(row + TILE_ROWS, row_to),
                .place = row - row_from,
                .first = first,
                .num = num,
                .panel = panel,
                .is_last = first + num == blocks,
            };
            run_rows(&at, quant_forms[dtype].terms, quants_has_minima(dtype));
        }
    }
}

/* --- the door ------------------------------------------------------------------------------- */

static void configure(int32_t inputs)
{
    _Alignas(64) struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = { .palette = 1 };

    shapes.rows[TILE_SUMS_0] = shapes.rows[TILE_SUMS_1] = shapes.rows[TILE_X] = TILE_ROWS;
    shapes.rows[TILE_W] = (uint8_t)(inputs / 4);
    shapes.row_bytes[TILE_SUMS_0] = shapes.row_bytes[TILE_SUMS_1] = TILE_OUTPUTS * 4;
    shapes.row_bytes[TILE_X] = (uint16_t)inputs;
    shapes.row_bytes[TILE_W] = TILE_OUTPUTS * 4;
    __asm__ volatile("" ::"r"(&shapes) : "memory"); /* gcc 12 believes that 8 bytes are read */
    _tile_loadconfig(&shapes);
}

#define PANELS(type)                                                                               \
    static void panels_##type(const struct linear_args *args, int32_t panel_from,                  \
                              int32_t panel_to, int32_t row_from, int32_t row_to,                  \
                              struct scratch *scratch)                                             \
    {                                                                                              \
        for (int32_t panel = panel_from; panel < panel_to; panel++)                                \
            run_panel(args, panel, row_from, row_to, scratch, DTYPE_##type);                       \
    }
PANELS(Q8_0)
PANELS(Q4_0)
PANELS(Q4_1)
PANELS(Q5_0)
PANELS(Q5_1)
PANELS(Q2_K)
PANELS(Q3_K)
PANELS(Q4_K)
PANELS(Q5_K)
PANELS(Q6_K)

static void (*const panels[])(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                              int32_t row_from, int32_t row_to, struct scratch *scratch) = {
    [DTYPE_Q8_0] = panels_Q8_0, [DTYPE_Q4_0] = panels_Q4_0, [DTYPE_Q4_1] = panels_Q4_1,
    [DTYPE_Q5_0] = panels_Q5_0, [DTYPE_Q5_1] = panels_Q5_1, [DTYPE_Q2_K] = panels_Q2_K,
    [DTYPE_Q3_K] = panels_Q3_K, [DTYPE_Q4_K] = panels_Q4_K, [DTYPE_Q5_K] = panels_Q5_K,
    [DTYPE_Q6_K] = panels_Q6_K,
};

void linear_quant_avx512_amx(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                             int32_t row_from, int32_t row_to)
{
    const enum dtype dtype = args->weight->dtype;
    struct scratch scratch;
    int32_t end;

    if (row_to - row_from < AMX_MIN_ROWS) {
        linear_quant_avx512_vnni(args, panel_from, panel_to, row_from, row_to);
        return;
    }
    configure(QUANT_BLOCK / quant_forms[dtype].terms);
    for (int32_t row = row_from; row < row_to; row = end) {
        end = row_to - row <= MANY_ROWS + TILE_ROWS ? row_to : row + MANY_ROWS;
        panels[dtype](args, panel_from, panel_to, row, end, &scratch);
    }
    _tile_release();
}
