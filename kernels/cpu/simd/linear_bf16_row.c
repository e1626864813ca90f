/*
 * One row of float times bf16 weights in tiles, by the FMAs that the matrix unit makes in the order
 * in which it makes them (linear_bf16.c): the same bits. A row alone is bound by the weights'
 * bytes, and vectors of four panels at a time are more streams of memory than tiles of two.
 */
#include "kernels/cpu/simd/linear_bf16.h"

enum {
    PARTS = 3,
    INPUTS = WEIGHT_TILE_COLS,
    BLOCK = 2 * WEIGHT_TILE_BYTES, /* of a panel */
    BLOCK_FLOATS = PARTS * INPUTS,
    MOST_BLOCKS = LINEAR_TILES_ROOM / (BLOCK_FLOATS * 4),
    PANELS = 4, /* side by side */
    AHEAD_BYTES = 4096,
};

/* Some blocks of the inputs. In the room: [block][part][32]. */
struct row {
    const struct linear_args *args;
    int64_t row;
    int32_t first, blocks;
};

/* --- the parts of x ------------------------------------------------------------------------- */

static void cut_row(const struct row *row)
{
    const int32_t cols = row->args->weight->cols - row->first * INPUTS;
    const float *x = row->args->x + row->row * row->args->x_stride + row->first * INPUTS;
    const vec upper = _mm512_castsi512_ps(_mm512_set1_epi32((int)0xffff0000));
    float *to = row->args->room;

    for (int32_t k = 0; k < row->blocks * INPUTS; k += VEC_LANES) {
        const int32_t left = cols - k;
        const vec value = left >= VEC_LANES ? vec_load(x + k)
                          : left > 0        ? vec_load_part(x + k, left)
                                            : vec_set(0.0f);
        const vec a = _mm512_and_ps(value, upper);
        const vec rest = _mm512_mask_mov_ps(vec_sub(value, a), _mm512_fpclass_ps_mask(value, 0x18),
                                            vec_set(0.0f)); /* of what is infinite nothing */
        const vec b = _mm512_and_ps(rest, upper);
        float *at = to + k / INPUTS * BLOCK_FLOATS + k % INPUTS;
        vec_store(at, a);
        vec_store(at + INPUTS, b);
        vec_store(at + 2 * INPUTS, _mm512_and_ps(vec_sub(rest, b), upper));
    }
}

/* --- the kernel ----------------------------------------------------------------------------- */

/* A block of a panel: even and odd inputs of 16 outputs twice, for each part of x. */
static ALWAYS_INLINE void add_block(const unsigned char *w, const float *x, vec totals[2])
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    vec sums[PARTS][2][2];

    UNROLLED
    for (int i = 0; i < PARTS * 4; i++)
        sums[i / 4][i / 2 % 2][i % 2] = vec_set(0.0f);
    for (int pair = 0; pair < INPUTS / 2; pair++) {
        vec weights[2][2];
        UNROLLED
        for (int half = 0; half < 2; half++) {
            const unsigned char *at = w + half * WEIGHT_TILE_BYTES + pair * 64;
            const __m512i both = _mm512_loadu_si512(at);
            __builtin_prefetch(at + AHEAD_BYTES, 0, 2);
            weights[half][0] = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
            weights[half][1] = _mm512_castsi512_ps(_mm512_and_si512(both, upper));
        }
        UNROLLED
        for (int part = 0; part < PARTS; part++) {
            UNROLLED
            for (int odd = 0; odd < 2; odd++) {
                const vec value = vec_set(x[part * INPUTS + 2 * pair + odd]);
                sums[part][0][odd] = vec_fma(value, weights[0][odd], sums[part][0][odd]);
                sums[part][1][odd] = vec_fma(value, weights[1][odd], sums[part][1][odd]);
            }
        }
    }
    UNROLLED
    for (int part = 0; part < PARTS; part++) {
        totals[0] = vec_add(totals[0], vec_add(sums[part][0][0], sums[part][0][1]));
        totals[1] = vec_add(totals[1], vec_add(sums[part][1][0], sums[part][1][1]));
    }
}

static ALWAYS_INLINE void run(const struct row *row, int32_t panel, const int panels)
{
    const struct linear_args *args = row->args;
    const size_t panel_bytes = weight_panel_bytes(args->weight);
    const unsigned char *w =
        (const unsigned char *)weight_panel(args->weight, panel) + (size_t)row->first * BLOCK;
    const float *x = args->room;
    float *out = args->out + row->row * args->out_stride;
    vec totals[PANELS][2];

    for (int i = 0; i < 2 * panels; i++) {
        const int32_t at = panel * PANEL_ROWS + i * VEC_LANES;
        const int32_t left = args->weight->rows - at;
        totals[i / 2][i % 2] = row->first == 0 || left <= 0
                                   ? vec_set(0.0f)
                                   : vec_load_part(out + at, left < VEC_LANES ? left : VEC_LANES);
    }
    for (int32_t b = 0; b < row->blocks; b++, w += BLOCK, x += BLOCK_FLOATS) {
        UNROLLED
        for (int p = 0; p < panels; p++)
            add_block(w + (size_t)p * panel_bytes, x, totals[p]);
    }
    for (int i = 0; i < 2 * panels; i++) {
        const int32_t at = panel * PANEL_ROWS + i * VEC_LANES;
        const int32_t left = args->weight->rows - at;
        if (left > 0)
            vec_store_part(out + at, totals[i / 2][i % 2], left < VEC_LANES ? left : VEC_LANES);
    }
}

/* Not inlined: no sum may leave the place where subnormal numbers are zero. */
static __attribute__((noinline)) void run_panels(const struct row *row, int32_t panel, int32_t to)
{
    for (; panel + PANELS <= to; panel += PANELS)
        run(row, panel, PANELS);
    for (; panel < to; panel++)
        run(row, panel, 1);
}

static void add_bias(const struct linear_args *args, int64_t row, int32_t from, int32_t to)
{
    float *out = args->out + row * args->out_stride;
    for (int32_t n = from; args->bias != NULL && n < to; n++)
        out[n] += args->bias[n];
}

void linear_bf16_row(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                     int32_t row)
{
    enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x40 };
    const int32_t blocks = weight_tile_blocks(args->weight->cols);
    const int32_t end = panel_to * PANEL_ROWS;
    const unsigned csr = _mm_getcsr();

    for (int32_t first = 0; first < blocks; first += MOST_BLOCKS) {
        const int32_t left = blocks - first;
        const struct row part = { args, row, first, left < MOST_BLOCKS ? left : MOST_BLOCKS };
        cut_row(&part);
        _mm_setcsr(csr | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
        run_panels(&part, panel_from, panel_to);
        _mm_setcsr(csr);
    }
    add_bias(args, row, panel_from * PANEL_ROWS,
             end < args->weight->rows ? end : args->weight->rows);
}
