/*
 * bf16 weights times rows of float, on the tiles of AMX. The unit multiplies bf16 alone, so a
 * float x is cut into three: its first 8 bits, the next 8, the last 8. That is all of it, x = a + b
 * + c, and the product of two bf16 is exact in float: nothing is lost but what sums round.
 *
 * TDPBF16PS adds 32 products to a sum in one order, whatever is in the other rows of its tiles:
 *
 *     even = ((x0 w0 + x2 w2) + x4 w4) ..., odd = ((x1 w1 + x3 w3) + ...), sum += even + odd
 *
 * one FMA each, subnormal numbers zero, nearest even. An output is 32 inputs after 32, a before b
 * before c, so it has the same bits in every number of rows; nothing else multiplies weights in
 * tiles. One row costs the unit less than its weights cost the memory; where they come from memory
 * indeed, vectors take it (linear_bf16_row.c).
 *
 * What is infinite has parts 0 behind the first. A weight that is infinite makes NaN of the sums
 * it is in.
 */
#include "kernels/cpu/simd/linear_bf16.h"

enum {
    PARTS = 3,
    TILE_ROWS = 16,
    OUTPUTS = WEIGHT_TILE_ROWS,
    INPUTS = WEIGHT_TILE_COLS,
    LINE = INPUTS * 2,             /* bytes of a row in a tile of x */
    BLOCK = 2 * WEIGHT_TILE_BYTES, /* of a panel */
    AHEAD_BYTES = 4096,
    NEAR_BLOCKS = 4,      /* of a row that are cut at once: whole lines are read, few are written */
    NEAR_BYTES = 4 << 20, /* of a matrix that may well lie in a cache: streams do not matter */
    MIN_TILES = 8,        /* of rows that share a pass over the weights, where there are as many */
};

/* Numbers of tiles; the intrinsics want them spelled. */
#define SUMS_0 0
#define SUMS_1 1
#define SUMS_2 2
#define SUMS_3 3
#define X_0    4
#define X_1    5
#define W_0    6
#define W_1    7

/* Rows of x, cut into parts, and panels of outputs. In the room: [tile of rows][block of
 * inputs][part][row][32], a tile of `tile_rows`, the last one filled up with zeros. */
struct product {
    const struct linear_args *args;
    unsigned char *room;
    int32_t row, num_rows, tile_rows;
    int32_t first, blocks; /* of 32 inputs */
    bool is_last;          /* no block behind these */
};

static int32_t min_i32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Loads of tiles do not say that they read memory: what was written before is. */
static ALWAYS_INLINE void written(void)
{
    __asm__ volatile("" ::: "memory");
}

/* --- the parts of x ------------------------------------------------------------------------- */

/* The upper halves of 32 floats, whose bits they are then without. */
static ALWAYS_INLINE __m512i cut(__m512 x[2])
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    const __m512i lane = _mm512_setr_epi32(0x30001, 0x70005, 0xb0009, 0xf000d, 0x130011, 0x170015,
                                           0x1b0019, 0x1f001d, 0x230021, 0x270025, 0x2b0029,
                                           0x2f002d, 0x330031, 0x370035, 0x3b0039, 0x3f003d);
    const __m512i part =
        _mm512_permutex2var_epi16(_mm512_castps_si512(x[0]), lane, _mm512_castps_si512(x[1]));
    UNROLLED
    for (int i = 0; i < 2; i++)
        x[i] = _mm512_sub_ps(
            x[i], _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x[i]), upper)));
    return part;
}

/* What is infinite is its first part. */
static ALWAYS_INLINE void cut_line(__m512 x[2], unsigned char *to, int32_t tile_bytes)
{
    enum { INFINITE = 0x18 };
    const __mmask16 infinite[2] = { _mm512_fpclass_ps_mask(x[0], INFINITE),
                                    _mm512_fpclass_ps_mask(x[1], INFINITE) };

    _mm512_store_si512(to, cut(x));
    if (__builtin_expect(infinite[0] | infinite[1], 0))
        for (int i = 0; i < 2; i++)
            x[i] = _mm512_mask_mov_ps(x[i], infinite[i], _mm512_setzero_ps());
    UNROLLED
    for (int part = 1; part < PARTS; part++)
        _mm512_store_si512(to + part * tile_bytes, cut(x));
}

/* Blocks [b, end) of a row; where x ends, or is NULL, zeros. */
static void cut_row(const struct product *p, const float *x, int32_t b, int32_t end,
                    unsigned char *to)
{
    const int32_t tile_bytes = p->tile_rows * LINE;
    const int32_t cols = x != NULL ? p->args->weight->cols - p->first * INPUTS : 0;

    to += b * PARTS * tile_bytes;
    for (; b < end && (b + 1) * INPUTS <= cols; b++, to += PARTS * tile_bytes) {
        __m512 whole[2] = { vec_load(x + b * INPUTS), vec_load(x + b * INPUTS + VEC_LANES) };
        cut_line(whole, to, tile_bytes);
    }
    for (; b < end; b++, to += PARTS * tile_bytes) {
        const int32_t num = cols - b * INPUTS;
        __m512 part[2] = { vec_set(0.0f), vec_set(0.0f) };
        if (num > 0)
            part[0] = vec_load_part(x + b * INPUTS, min_i32(num, VEC_LANES));
        if (num > VEC_LANES)
            part[1] = vec_load_part(x + b * INPUTS + VEC_LANES, num - VEC_LANES);
        cut_line(part, to, tile_bytes);
    }
}

static void cut_rows(const struct product *p)
{
    const struct linear_args *args = p->args;
    const int64_t parts_bytes = (int64_t)PARTS * p->tile_rows * LINE * p->blocks;
    unsigned char *to = p->room;

    for (int32_t tile = 0; tile < p->num_rows; tile += p->tile_rows, to += parts_bytes)
        for (int32_t b = 0; b < p->blocks; b += NEAR_BLOCKS)
            for (int32_t r = 0; r < p->tile_rows; r++) {
                const float *x = args->x + (p->row + tile + r) * args->x_stride + p->first * INPUTS;
                cut_row(p, tile + r < p->num_rows ? x : NULL, b,
                        min_i32(b + NEAR_BLOCKS, p->blocks), to + r * LINE);
            }
    written();
}

/* --- sums ----------------------------------------------------------------------------------- */

/* Where the sums of a tile belong; no rows: nowhere. */
struct place {
    float *out;
    const float *bias; /* what is added at the end, or NULL */
    int32_t rows, num; /* outputs */
    bool is_whole;     /* of a tile */
};

static ALWAYS_INLINE struct place find_place(const struct product *p, int32_t row_tile,
                                             int32_t panel, int32_t half)
{
    const struct linear_args *args = p->args;
    const int32_t row = row_tile * p->tile_rows, column = panel * PANEL_ROWS + half * OUTPUTS;
    const int32_t rows = min_i32(p->num_rows - row, p->tile_rows);
    const int32_t num = min_i32(args->weight->rows - column, OUTPUTS);
    return (struct place){ args->out + (p->row + row) * args->out_stride + column,
                           args->bias != NULL && p->is_last ? args->bias + column : NULL,
                           num > 0 ? rows : 0, num, rows == p->tile_rows && num == OUTPUTS };
}

static void fetch_sums(const struct place *place, int64_t stride, float *sums)
{
    for (int32_t r = 0; r < place->rows; r++)
        vec_store(sums + r * OUTPUTS, vec_load_part(place->out + r * stride, place->num));
    written();
}

static void put_sums(const struct place *place, int64_t stride, const float *sums)
{
    for (int32_t r = 0; r < place->rows; r++) {
        const vec sum = vec_load(sums + r * OUTPUTS);
        vec_store_part(place->out + r * stride,
                       place->bias ? vec_add(sum, vec_load_part(place->bias, place->num)) : sum,
                       place->num);
    }
}

#define BEGIN_SUMS(tile, p, place, scratch)                                                        \
    do {                                                                                           \
        if ((p)->first == 0) {                                                                     \
            _tile_zero(tile);                                                                      \
        } else if ((place).is_whole) {                                                             \
            _tile_loadd(tile, (place).out, (size_t)(p)->args->out_stride * sizeof(float));         \
        } else {                                                                                   \
            fetch_sums(&(place), (p)->args->out_stride, scratch);                                  \
            _tile_loadd(tile, scratch, OUTPUTS * sizeof(float));                                   \
        }                                                                                          \
    } while (0)

#define END_SUMS(tile, p, place, scratch)                                                          \
    do {                                                                                           \
        if ((place).is_whole && (place).bias == NULL) {                                            \
            _tile_stored(tile, (place).out, (size_t)(p)->args->out_stride * sizeof(float));        \
        } else {                                                                                   \
            _tile_stored(tile, scratch, OUTPUTS * sizeof(float));                                  \
            put_sums(&(place), (p)->args->out_stride, scratch);                                    \
        }                                                                                          \
    } while (0)

/* --- the kernel ------------------------------------------------------------------------------ */

static ALWAYS_INLINE void ask_for(const unsigned char *w)
{
    UNROLLED
    for (int i = 0; i < BLOCK; i += 64)
        __builtin_prefetch(w + AHEAD_BYTES + i, 0, 2);
}

static ALWAYS_INLINE void load_weights(const unsigned char *w)
{
    _tile_loadd(W_0, w, 64);
    _tile_loadd(W_1, w + WEIGHT_TILE_BYTES, 64);
}

/* A part of a tile of rows times both halves of a panel's block. */
#define MULTIPLY(x_tile, from, one, two)                                                           \
    do {                                                                                           \
        _tile_loadd(x_tile, from, LINE);                                                           \
        _tile_dpbf16ps(one, x_tile, W_0);                                                          \
        _tile_dpbf16ps(two, x_tile, W_1);                                                          \
    } while (0)

/* Two tiles of rows, one panel. */
static ALWAYS_INLINE void multiply_rows(const struct product *p, const unsigned char *w,
                                        int32_t row_tile, const bool is_first)
{
    const int32_t tile_bytes = p->tile_rows * LINE, parts_bytes = PARTS * tile_bytes;
    const unsigned char *x = p->room + (int64_t)row_tile * p->blocks * parts_bytes;
    const unsigned char *below = x + (int64_t)p->blocks * parts_bytes;

    for (int32_t b = 0; b < p->blocks; b++, w += BLOCK, x += parts_bytes, below += parts_bytes) {
        if (is_first)
            ask_for(w);
        load_weights(w);
        UNROLLED
        for (int part = 0; part < PARTS; part++) {
            MULTIPLY(X_0, x + part * tile_bytes, SUMS_0, SUMS_1);
            MULTIPLY(X_1, below + part * tile_bytes, SUMS_2, SUMS_3);
        }
    }
}

/* One tile of rows, one panel or two. */
static ALWAYS_INLINE void multiply_panels(const struct product *p, const unsigned char *w,
                                          const unsigned char *next, int32_t row_tile,
                                          const int panels)
{
    const int32_t tile_bytes = p->tile_rows * LINE, parts_bytes = PARTS * tile_bytes;
    const unsigned char *x = p->room + (int64_t)row_tile * p->blocks * parts_bytes;

    for (int32_t b = 0; b < p->blocks; b++, w += BLOCK, next += BLOCK, x += parts_bytes) {
        ask_for(w);
        load_weights(w);
        UNROLLED
        for (int part = 0; part < PARTS; part++)
            MULTIPLY(X_0, x + part * tile_bytes, SUMS_0, SUMS_1);
        if (panels == 1)
            continue;
        ask_for(next);
        load_weights(next);
        UNROLLED
        for (int part = 0; part < PARTS; part++)
            MULTIPLY(X_1, x + part * tile_bytes, SUMS_2, SUMS_3);
    }
}

/* `row_tiles` x `panels` is 2 x 1, 1 x 2 or 1 x 1. */
static ALWAYS_INLINE void run(const struct product *p, int32_t panel, int32_t row_tile,
                              const int row_tiles, const int panels)
{
    const size_t at = (size_t)p->first * BLOCK;
    const unsigned char *w = (const unsigned char *)weight_panel(p->args->weight, panel) + at;
    const struct place one = find_place(p, row_tile, panel, 0);
    const struct place two = find_place(p, row_tile, panel, 1);
    const bool has_more = row_tiles + panels > 2;
    const int32_t more_tile = row_tile + row_tiles - 1, more_panel = panel + panels - 1;
    const struct place three = find_place(p, more_tile, more_panel, 0);
    const struct place four = find_place(p, more_tile, more_panel, 1);
    _Alignas(64) float scratch[TILE_ROWS * OUTPUTS];

    BEGIN_SUMS(SUMS_0, p, one, scratch);
    BEGIN_SUMS(SUMS_1, p, two, scratch);
    if (has_more) {
        BEGIN_SUMS(SUMS_2, p, three, scratch);
        BEGIN_SUMS(SUMS_3, p, four, scratch);
    }
    if (row_tiles == 2)
        multiply_rows(p, w, row_tile, row_tile == 0);
    else
        multiply_panels(p, w, w + weight_panel_bytes(p->args->weight), row_tile, panels);
    END_SUMS(SUMS_0, p, one, scratch);
    END_SUMS(SUMS_1, p, two, scratch);
    if (has_more) {
        END_SUMS(SUMS_2, p, three, scratch);
        END_SUMS(SUMS_3, p, four, scratch);
    }
}

static void run_few(const struct product *p, int32_t panel_from, int32_t panel_to)
{
    int32_t panel = panel_from;
    for (; panel + 1 < panel_to; panel += 2)
        run(p, panel, 0, 1, 2);
    if (panel < panel_to)
        run(p, panel, 0, 1, 1);
}

static void run_many(const struct product *p, int32_t panel_from, int32_t panel_to)
{
    const int32_t tiles = (p->num_rows + p->tile_rows - 1) / p->tile_rows;
    for (int32_t panel = panel_from; panel < panel_to; panel++) {
        int32_t tile = 0;
        for (; tile + 1 < tiles; tile += 2)
            run(p, panel, tile, 2, 1);
        if (tile < tiles)
            run(p, panel, tile, 1, 1);
    }
}

/* --- the door ------------------------------------------------------------------------------- */

static void configure(int32_t rows)
{
    _Alignas(64) struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = { .palette = 1 };

    for (int i = 0; i < 8; i++) {
        shapes.row_bytes[i] = 64;
        shapes.rows[i] = i < W_0 ? (uint8_t)rows : INPUTS / 2;
    }
    __asm__ volatile("" ::"r"(&shapes) : "memory"); /* gcc 12 believes that 8 bytes are read */
    _tile_loadconfig(&shapes);
}

/* Rows pass over the weights as many at once as have all of their inputs in the room, or some
 * tiles of them with a part of the inputs after another. */
void linear_bf16_avx512_amx(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                            int32_t row_from, int32_t row_to)
{
    const int32_t blocks = weight_tile_blocks(args->weight->cols), num_rows = row_to - row_from;
    const int32_t tile_rows = min_i32(num_rows, TILE_ROWS);
    if (panel_from >= panel_to || num_rows <= 0)
        return;
    if (num_rows == 1 && weight_bytes(args->weight) > NEAR_BYTES) {
        linear_bf16_row(args, panel_from, panel_to, row_from);
        return;
    }
    const int32_t room = LINEAR_TILES_ROOM / (PARTS * tile_rows * LINE);
    const int32_t most = room / blocks > MIN_TILES ? room / blocks : MIN_TILES;
    const int32_t tiles = min_i32((num_rows + tile_rows - 1) / tile_rows, most);

    configure(tile_rows);
    for (int32_t row = row_from; row < row_to; row += tiles * tile_rows)
        for (int32_t first = 0; first < blocks; first += room / tiles) {
            const struct product p = { .args = args,
                                       .room = args->room,
                                       .row = row,
                                       .num_rows = min_i32(row_to - row, tiles * tile_rows),
                                       .tile_rows = tile_rows,
                                       .first = first,
                                       .blocks = min_i32(blocks - first, room / tiles),
                                       .is_last = blocks - first <= room / tiles };
            cut_rows(&p);
            (p.num_rows > tile_rows ? run_many : run_few)(&p, panel_from, panel_to);
        }
    _tile_release();
}
