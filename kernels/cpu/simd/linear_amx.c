/*
 * Weights in blocks times many rows of activations, on the tiles of AMX. A product of tiles is a
 * sum of integers, exact as that of linear_quant.c, and what follows it is the same: one FMA a
 * block, in the order of blocks. So the bits are those of VNNI, which does the few rows.
 *
 * Of a panel, DEPTH blocks are turned into signed bytes, [block][8 groups][32 outputs][4 inputs],
 * and floats of their scales: 20 KB that stay in the first-level cache while all rows pass over
 * them, 16 at a time. A tile of 16 rows x 32 inputs times one of 32 inputs x 16 outputs, and its
 * way to memory, take 32 cycles for 8,192 multiply-adds; to convert, scale and add its 256 sums
 * takes 20 more, for while tiles are at work floats have one port of two. That bounds the kernel:
 * 1.2 times VNNI's peak. Sums of rows wait in the scratch from one run of blocks to the next: in
 * `out` they would be lines far apart, all of a few sets of the caches.
 */
#include "kernels/cpu/simd/linear_amx.h"

enum {
    TILE_ROWS = 16,
    TILE_OUTPUTS = 16,
    DEPTH = 16, /* blocks: a multiple of QUANT_SUPER */
    GROUP_BYTES = PANEL_ROWS * 4,
    BLOCK_BYTES = QUANT_BLOCK * PANEL_ROWS,
    AHEAD_BYTES = 4096,
    MANY_ROWS = 256, /* that pass over widened blocks: their sums stay in the second-level cache */
};

/* Numbers of tiles; the intrinsics want them spelled. */
#define TILE_SUMS      0
#define TILE_LAST_SUMS 1 /* of the rows that are fewer than 16 */
#define TILE_X         2
#define TILE_LAST_X    3
#define TILE_W         4

struct scratch {
    _Alignas(64) float totals[MANY_ROWS * PANEL_ROWS];
    _Alignas(64) int8_t w[DEPTH * BLOCK_BYTES];
    _Alignas(64) float scales[2 * DEPTH * PANEL_ROWS]; /* [part][32]; a part has one scale a row */
    _Alignas(64) float minima[DEPTH * PANEL_ROWS];
    _Alignas(64) int32_t sums[DEPTH][TILE_ROWS * TILE_OUTPUTS];
    _Alignas(64) float x_scales[DEPTH * TILE_ROWS]; /* of a tile's rows, [block][16] */
    _Alignas(64) float x_sums[DEPTH * TILE_ROWS];   /* minus scale times sum, for minima */
};

/* Loads of tiles do not say that they read memory: what was written before is. */
static ALWAYS_INLINE void written(void)
{
    __asm__ volatile("" ::: "memory");
}

/* --- a panel's blocks, widened ------------------------------------------------------------- */

static ALWAYS_INLINE void widen_q8_0(const unsigned char *block, int8_t *to)
{
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    UNROLLED
    for (int i = 0; i < BLOCK_BYTES; i += 64) {
        __builtin_prefetch(block + i + AHEAD_BYTES, 0, 2);
        _mm512_store_si512(to + i, _mm512_xor_si512(_mm512_loadu_si512(block + i), flip));
    }
}

/* Nibbles less `offset`: inputs 0 to 15 below, 16 to 31 above. */
static ALWAYS_INLINE void widen_nibbles(const unsigned char *block, int8_t *to, const char offset)
{
    const __m512i low = _mm512_set1_epi8(15), less = _mm512_set1_epi8(offset);
    UNROLLED
    for (int i = 0; i < BLOCK_BYTES / 2; i += 64) {
        const __m512i bytes = _mm512_loadu_si512(block + i);
        const __m512i above = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low);
        __builtin_prefetch(block + i + AHEAD_BYTES, 0, 2);
        _mm512_store_si512(to + i, _mm512_sub_epi8(_mm512_and_si512(bytes, low), less));
        _mm512_store_si512(to + BLOCK_BYTES / 2 + i, _mm512_sub_epi8(above, less));
    }
}

/* Bits `shift` and up of a byte, as its bits 4 and 5. */
static ALWAYS_INLINE __m512i two_bits(__m512i bytes, const unsigned shift)
{
    const __m512i bits = _mm512_and_si512(_mm512_srli_epi16(bytes, shift), _mm512_set1_epi8(3));
    return _mm512_slli_epi16(bits, 4);
}

static ALWAYS_INLINE void widen_q6_k(const unsigned char *block, int8_t *to)
{
    const unsigned char *high = block + quant_bytes(DTYPE_Q4_K);
    const __m512i low = _mm512_set1_epi8(15), less = _mm512_set1_epi8(32);
    UNROLLED
    for (int i = 0; i < BLOCK_BYTES / 2; i += 64) {
        const int g = i / GROUP_BYTES;
        const __m512i bytes = _mm512_loadu_si512(block + i);
        const __m512i above = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low);
        const __m512i bits = _mm512_loadu_si512(high + g / 2 * GROUP_BYTES + i % GROUP_BYTES);
        const __m512i a =
            _mm512_or_si512(_mm512_and_si512(bytes, low), two_bits(bits, (unsigned)(g % 2 * 2)));
        const __m512i z = _mm512_or_si512(above, two_bits(bits, (unsigned)(g % 2 * 2 + 4)));
        __builtin_prefetch(block + i + AHEAD_BYTES, 0, 2);
        _mm512_store_si512(to + i, _mm512_sub_epi8(a, less));
        _mm512_store_si512(to + BLOCK_BYTES / 2 + i, _mm512_sub_epi8(z, less));
    }
}

static ALWAYS_INLINE void widen(const enum dtype dtype, const unsigned char *block, int8_t *to)
{
    if (dtype == DTYPE_Q8_0)
        widen_q8_0(block, to);
    else if (dtype == DTYPE_Q6_K)
        widen_q6_k(block, to);
    else
        widen_nibbles(block, to, dtype == DTYPE_Q4_0 ? 8 : 0);
}

/* Lanes [lane, lane + 16) of block `b`'s scales, and minima. */
static ALWAYS_INLINE void widen_scales(const enum dtype dtype, const unsigned char *head,
                                       const unsigned char *scales, int32_t b, int32_t lane,
                                       struct scratch *scratch)
{
    const uint16_t *whole = (const uint16_t *)(const void *)head + lane;
    if (dtype == DTYPE_Q6_K) {
        float *to = scratch->scales + 2 * b * PANEL_ROWS + lane;
        const vec scale = vec_load_f16(whole);
        vec_store(to, vec_mul(scale, vec_load_s8(scales + lane)));
        vec_store(to + PANEL_ROWS, vec_mul(scale, vec_load_s8(scales + PANEL_ROWS + lane)));
        return;
    }
    float *to = scratch->scales + b * PANEL_ROWS + lane;
    if (dtype != DTYPE_Q4_K) {
        vec_store(to, vec_load_f16((const uint16_t *)(const void *)scales + lane));
        return;
    }
    vec_store(to, vec_mul(vec_load_f16(whole), vec_load_u8(scales + lane)));
    vec_store(scratch->minima + b * PANEL_ROWS + lane,
              vec_mul(vec_load_f16(whole + PANEL_ROWS), vec_load_u8(scales + PANEL_ROWS + lane)));
}

static ALWAYS_INLINE void widen_panel(const enum dtype dtype, const unsigned char *panel,
                                      int64_t first, int32_t num, struct scratch *scratch)
{
    for (int32_t b = 0; b < num; b++) {
        const unsigned char *block = panel + quant_block_at(dtype, first + b);
        const unsigned char *head = panel + quant_head_at(dtype, first + b);
        widen(dtype, block, scratch->w + b * BLOCK_BYTES);
        __builtin_prefetch(block + quant_bytes(dtype) + AHEAD_BYTES, 0, 2);
        for (int32_t lane = 0; lane < PANEL_ROWS; lane += VEC_LANES)
            widen_scales(dtype, head, block + quant_bytes(dtype), b, lane, scratch);
    }
}

/* --- the kernel ----------------------------------------------------------------------------- */

/* Rows of activations and 16 outputs of a panel, at `num` blocks of a row's. */
struct at_tile {
    const struct linear_args *args;
    struct scratch *scratch;
    int64_t row, first;  /* first block */
    int32_t rows, num;   /* rows: at most 16 */
    int32_t place;       /* of the first row among totals */
    int32_t panel, half; /* of the panel's outputs */
    bool is_last;        /* no block behind these */
};

static ALWAYS_INLINE void multiply(const struct at_tile *at, const int inputs, int32_t part)
{
    const int64_t stride = quant_stride(at->args->weight->cols);
    const int8_t *x =
        at->args->quants.q + at->row * stride + at->first * QUANT_BLOCK + part * inputs;
    const int8_t *w = at->scratch->w + part * inputs * PANEL_ROWS + at->half * TILE_OUTPUTS * 4;
    int32_t *sums = at->scratch->sums[part % DEPTH];

    _tile_loadd(TILE_W, w, GROUP_BYTES);
    if (at->rows == TILE_ROWS) {
        _tile_loadd(TILE_X, x, (size_t)stride);
        _tile_zero(TILE_SUMS);
        _tile_dpbssd(TILE_SUMS, TILE_X, TILE_W);
        _tile_stored(TILE_SUMS, sums, TILE_OUTPUTS * 4);
    } else {
        _tile_loadd(TILE_LAST_X, x, (size_t)stride);
        _tile_zero(TILE_LAST_SUMS);
        _tile_dpbssd(TILE_LAST_SUMS, TILE_LAST_X, TILE_W);
        _tile_stored(TILE_LAST_SUMS, sums, TILE_OUTPUTS * 4);
    }
}

/* The sums of a part of the inputs, scaled, onto those before it. */
static ALWAYS_INLINE void add_part(const struct at_tile *at, const int rows, const int parts,
                                   const bool has_minima, int32_t part, vec *sums)
{
    const struct scratch *scratch = at->scratch;
    const int32_t lane = at->half * TILE_OUTPUTS, block = part / parts;
    const vec scale = vec_load(scratch->scales + part * PANEL_ROWS + lane);
    const vec minimum =
        has_minima ? vec_load(scratch->minima + block * PANEL_ROWS + lane) : vec_set(0.0f);

    UNROLLED
    for (int r = 0; r < rows; r++) {
        const __m512i dots = _mm512_load_si512(scratch->sums[part % DEPTH] + r * TILE_OUTPUTS);
        const vec both = vec_mul(scale, vec_set(scratch->x_scales[block * TILE_ROWS + r]));
        sums[r] = vec_fma(_mm512_cvtepi32_ps(dots), both, sums[r]);
        if (has_minima)
            sums[r] = vec_fma(minimum, vec_set(scratch->x_sums[block * TILE_ROWS + r]), sums[r]);
    }
}

static ALWAYS_INLINE void load_sums(const struct at_tile *at, const int rows, vec *sums)
{
    const float *from = at->scratch->totals + at->place * PANEL_ROWS + at->half * TILE_OUTPUTS;
    UNROLLED
    for (int r = 0; r < rows; r++)
        sums[r] = at->first > 0 ? vec_load(from + r * PANEL_ROWS) : vec_set(0.0f);
}

static ALWAYS_INLINE void keep_sums(const struct at_tile *at, const int rows, const vec *sums)
{
    float *to = at->scratch->totals + at->place * PANEL_ROWS + at->half * TILE_OUTPUTS;
    UNROLLED
    for (int r = 0; r < rows; r++)
        vec_store(to + r * PANEL_ROWS, sums[r]);
}

static ALWAYS_INLINE void store_sums(const struct at_tile *at, const int rows, const vec *sums)
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
    for (int r = 0; r < rows; r++)
        if (r < at->rows)
            vec_store_part(out + r * at->args->out_stride, bias ? vec_add(sums[r], more) : sums[r],
                           n);
}

/* `rows`: at->rows or more. All tiles of a run are multiplied before any is added: while
 * tiles are at work, floats have one port instead of two. */
static ALWAYS_INLINE void run_tile(const struct at_tile *at, const int rows, const int parts,
                                   const bool has_minima)
{
    const int32_t num = at->num * parts;
    vec sums[TILE_ROWS];

    load_sums(at, rows, sums);
    for (int32_t first = 0; first < num; first += DEPTH) {
        const int32_t end = num - first < DEPTH ? num : first + DEPTH;
        for (int32_t part = first; part < end; part++)
            multiply(at, QUANT_BLOCK / parts, part);
        for (int32_t part = first; part < end; part++)
            add_part(at, rows, parts, has_minima, part, sums);
    }
    if (at->is_last)
        store_sums(at, rows, sums);
    else
        keep_sums(at, rows, sums);
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
static ALWAYS_INLINE void turn_scales(const struct at_tile *at, const bool has_minima)
{
    const int64_t blocks = at->args->weight->cols / QUANT_BLOCK;
    const struct quant_rows *quants = &at->args->quants;
    vec scales[TILE_ROWS], sums[TILE_ROWS];
    UNROLLED
    for (int r = 0; r < TILE_ROWS; r++) {
        const int64_t first = (at->row + (r < at->rows ? r : at->rows - 1)) * blocks + at->first;
        scales[r] = vec_load_part(quants->scales + first, at->num);
        if (has_minima)
            sums[r] = vec_sub(vec_set(-0.0f),
                              vec_mul(scales[r], pair_sums(quants->sums + 2 * first, at->num)));
    }
    vec_transpose(scales);
    if (has_minima)
        vec_transpose(sums);
    UNROLLED
    for (int b = 0; b < DEPTH; b++) {
        vec_store(at->scratch->x_scales + b * TILE_ROWS, scales[b]);
        if (has_minima)
            vec_store(at->scratch->x_sums + b * TILE_ROWS, sums[b]);
    }
}

static ALWAYS_INLINE void run_rows(struct at_tile *at, const int parts, const bool has_minima)
{
    turn_scales(at, has_minima);
    for (at->half = 0; at->half < 2; at->half++)
        if (at->rows > TILE_ROWS / 2)
            run_tile(at, TILE_ROWS, parts, has_minima);
        else
            run_tile(at, TILE_ROWS / 2, parts, has_minima);
}

static ALWAYS_INLINE void run_panel(const struct linear_args *args, int32_t panel, int32_t row_from,
                                    int32_t row_to, struct scratch *scratch, const enum dtype dtype)
{
    const int parts = dtype == DTYPE_Q6_K ? 2 : 1;
    const bool has_minima = dtype == DTYPE_Q4_K;
    const int64_t blocks = args->weight->cols / QUANT_BLOCK;

    for (int64_t first = 0; first < blocks; first += DEPTH) {
        const int32_t num = blocks - first < DEPTH ? (int32_t)(blocks - first) : DEPTH;
        widen_panel(dtype, weight_panel(args->weight, panel), first, num, scratch);
        written();
        for (int32_t row = row_from; row < row_to; row += TILE_ROWS) {
            struct at_tile at = {
                .args = args,
                .scratch = scratch,
                .row = row,
                .place = row - row_from,
                .first = first,
                .rows = row_to - row < TILE_ROWS ? row_to - row : TILE_ROWS,
                .num = num,
                .panel = panel,
                .is_last = first + num == blocks,
            };
            run_rows(&at, parts, has_minima);
        }
    }
}

/* --- the door ------------------------------------------------------------------------------- */

static void configure(int32_t last_rows, int32_t inputs)
{
    _Alignas(64) struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = { .palette = 1 };
    const uint8_t last = (uint8_t)(last_rows > 0 ? last_rows : 1);

    shapes.rows[TILE_SUMS] = shapes.rows[TILE_X] = TILE_ROWS;
    shapes.rows[TILE_LAST_SUMS] = shapes.rows[TILE_LAST_X] = last;
    shapes.rows[TILE_W] = (uint8_t)(inputs / 4);
    shapes.row_bytes[TILE_SUMS] = shapes.row_bytes[TILE_LAST_SUMS] = TILE_OUTPUTS * 4;
    shapes.row_bytes[TILE_X] = shapes.row_bytes[TILE_LAST_X] = (uint16_t)inputs;
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
            for (int32_t row = row_from; row < row_to; row += MANY_ROWS)                           \
                run_panel(args, panel, row, row_to - row < MANY_ROWS ? row_to : row + MANY_ROWS,   \
                          scratch, DTYPE_##type);                                                  \
    }
PANELS(Q8_0)
PANELS(Q4_0)
PANELS(Q4_K)
PANELS(Q6_K)

static void (*const panels[])(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                              int32_t row_from, int32_t row_to, struct scratch *scratch) = {
    [DTYPE_Q8_0] = panels_Q8_0,
    [DTYPE_Q4_0] = panels_Q4_0,
    [DTYPE_Q4_K] = panels_Q4_K,
    [DTYPE_Q6_K] = panels_Q6_K,
};

void linear_quant_avx512_amx(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                             int32_t row_from, int32_t row_to)
{
    const enum dtype dtype = args->weight->dtype;
    struct scratch scratch;

    if (row_to - row_from < AMX_MIN_ROWS || dtype > DTYPE_Q6_K) {
        linear_quant_avx512_vnni(args, panel_from, panel_to, row_from, row_to);
        return;
    }
    configure((row_to - row_from) % TILE_ROWS, dtype == DTYPE_Q6_K ? 16 : 32);
    panels[dtype](args, panel_from, panel_to, row_from, row_to, &scratch);
    _tile_release();
}
