/*
 * linear.cuh - out = W x on tensor cores, for every form of weights and any number of rows
 *
 * Many rows: linear_tile.cuh. The bits are the same (linear_units.cuh). Few rows, or few outputs:
 *
 *     block  : 16 MT rows of W  x  8 NT rows of x, 8 warps
 *     warp w : all of that for the w-th eighth of the inputs, in units of 32, or of a load
 *     unit   : two mma.m16n8k16 per 16 x 8; weights come from memory straight into the registers
 *              that A wants, made 16-bit on the way; x likewise from L2
 *     end    : the eight sums are added in order in shared memory, then bias
 *
 * The weights stand on the side of 16, so that few rows of x (decode) waste only the side of 8.
 *
 * Bytes of W dominate below about 50 rows: 16-byte loads, up to eight in flight per thread, the
 * next as soon as one is used, the first before the kernels in front have ended; two to four blocks
 * on an SM. Expected 80 to 90 % of the bandwidth for matrices of more than 500 tiles of 16 rows;
 * smaller ones leave SMs idle. With NT = 8, MT = 2 a block moves 6 KB through L2 for 32 mma, 21
 * operations a byte: about 118 TFLOP/s.
 */
#ifndef KERNELS_CUDA_LINEAR_CUH
#define KERNELS_CUDA_LINEAR_CUH

#include "kernels/cuda/linear_tile.cuh"

DEVICE uint32_t pack_x(const uint16_t *x, int64_t i, int k, int cols)
{
    const uint32_t low = k < cols ? x[i] : 0, high = k + 1 < cols ? x[i + 1] : 0;
    return low | high << 16;
}

/* Four inputs from column k on. */
DEVICE uint2 load_x4(const uint16_t *row, int k, int cols, bool is_aligned)
{
    if (is_aligned && k + 4 <= cols)
        return *(const uint2 *)(row + k);
    return make_uint2(pack_x(row, k, k, cols), pack_x(row, k + 2, k + 2, cols));
}

/* A lane's inputs of x in unit j of a load, whose first is k. */
template <class WEIGHTS>
DEVICE struct x_unit load_x(const uint16_t *row, int k, int j, int cols, bool is_aligned)
{
    const int t = lane_of() & 3;
    const uint2 p = load_x4(row, k + WEIGHTS::x_first(t, j), cols, is_aligned);
    const uint2 q = load_x4(row, k + WEIGHTS::x_second(t, j), cols, is_aligned);
    return x_unit{ { p.x, p.y, q.x, q.y } };
}

template <class WEIGHTS, int NT, int MT>
KERNEL(LINEAR_THREADS, (NT * MT >= 8 ? 1 : 2))
linear_kernel(const struct linear_args args)
{
    __shared__ float total[8 * NT][16 * MT + 1];
    const int warp = (int)threadIdx.x / 32, lane = lane_of(), g = lane / 4, t = lane & 3;
    const int block = (int)blockIdx.z, tile_rows = 16 * MT;
    const bool waits = args.first != nullptr || args.is_made;
    if (waits)
        begin_kernel();
    const int first = first_row_of(args, block) + (int)blockIdx.x * 8 * NT;
    const int rows = end_row_of(args, block) - first;
    if (rows <= 0)
        return;

    constexpr int UNITS = WEIGHTS::UNITS;
    /* Loads under way. */
    constexpr int AHEAD = NT * MT >= 8 ? 1 : MT > 1 ? WEIGHTS::AHEAD : 4;
    const int steps = args.w.stride / (32 * UNITS), cols = args.w.cols;
    const int from = first_of_eighth(steps, warp, UNITS);
    const int to = first_of_eighth(steps, warp + 1, UNITS);
    const int64_t w_row = (int64_t)block * args.block_rows + (int64_t)blockIdx.y * tile_rows;
    typename WEIGHTS::unit w[AHEAD][MT];
#pragma unroll
    for (int a = 0; a < AHEAD; a++)
#pragma unroll
        for (int m = 0; m < MT; m++)
            if (from + a * UNITS < to)
                w[a][m] = WEIGHTS::load(args.w, w_row + 16 * m, from + a * UNITS, lane);
    if (!waits)
        begin_kernel(); /* weights are already on their way */

    const uint16_t *x = (const uint16_t *)args.x + block * args.x_block;
    const bool is_aligned = args.x_row % 4 == 0 && args.x_block % 4 == 0;
    float c[MT][NT][4];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
            c[m][n][0] = c[m][n][1] = c[m][n][2] = c[m][n][3] = 0.0f;

    for (int u = from; u < to; u += AHEAD * UNITS) {
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            const int at = u + a * UNITS, next = at + AHEAD * UNITS;
            if (at >= to)
                break;
#pragma unroll
            for (int j = 0; j < UNITS; j++) {
                struct x_unit xs[NT];
#pragma unroll
                for (int n = 0; n < NT; n++) {
                    const uint16_t *row = x + (int64_t)(first + 8 * n + g) * args.x_row;
                    xs[n] = x_unit{ { 0, 0, 0, 0 } };
                    if (8 * n + g < rows)
                        xs[n] = load_x<WEIGHTS>(row, 32 * (at + j), j, cols, is_aligned);
                }
#pragma unroll
                for (int m = 0; m < MT; m++)
                    WEIGHTS::template apply<NT>(args.w, w[a][m], j, xs, c[m]);
            }
#pragma unroll
            for (int m = 0; m < MT; m++)
                if (next < to)
                    w[a][m] = WEIGHTS::load(args.w, w_row + 16 * m, next, lane);
        }
    }

    for (int turn = 0; turn < LINEAR_WARPS; turn++) {
        if (turn == warp) {
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int n = 0; n < NT; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        float *at = &total[8 * n + 2 * t + (i & 1)][16 * m + g + i / 2 * 8];
                        *at = turn == 0 ? c[m][n][i] : *at + c[m][n][i];
                    }
        }
        block_sync();
    }
    const int outs = args.out_dim - (int)blockIdx.y * tile_rows;
    float *out = args.out + block * args.out_block + (int64_t)blockIdx.y * tile_rows;
    for (int i = (int)threadIdx.x; i < 8 * NT * tile_rows; i += LINEAR_THREADS) {
        const int n = i / tile_rows, m = i % tile_rows;
        if (n >= rows || m >= outs)
            continue;
        const float bias =
            args.bias != nullptr ? args.bias[(int64_t)blockIdx.y * tile_rows + m] : 0.0f;
        out[(int64_t)(first + n) * args.out_row + m] = total[n][m] + bias;
    }
}

template <class WEIGHTS, int NT, int MT>
static void launch_linear_as(const struct launch *launch, const struct linear_args *a)
{
    const dim3 grid(ceil_div(a->rows, 8 * NT), ceil_div(a->out_dim, 16 * MT), a->num_blocks);
    launch_kernel(linear_kernel<WEIGHTS, NT, MT>, grid, LINEAR_THREADS, 0, launch, *a);
}

/* Few rows: narrow blocks, so that there are many. The bits are the same. FEW: two shapes for fewer
 * than 17 rows, for forms that matter most. */
template <class WEIGHTS, class SIDE, bool FEW>
static void launch_linear_by(const struct launch *launch, const void *args)
{
    const struct linear_args *a = (const struct linear_args *)args;
    if (a->rows_hint <= 8)
        launch_linear_as<WEIGHTS, 1, 1>(launch, a);
    else if (suits_tiles(launch, a))
        launch_tiles<SIDE>(launch, a);
    else if constexpr (!FEW)
        launch_linear_as<WEIGHTS, 4, 2>(launch, a);
    else if (has_few_rows(a))
        launch_linear_as<WEIGHTS, 2, 2>(launch, a);
    else
        launch_linear_as<WEIGHTS, 8, 2>(launch, a);
}

template <enum number NUMBER>
static void launch_plain(const struct launch *launch, const void *args)
{
    launch_linear_by<plain_weights<NUMBER>, plain_side<NUMBER>, true>(launch, args);
}

template <class FORM> static void launch_packed(const struct launch *launch, const void *args)
{
    launch_linear_by<packed_weights<FORM>, opened_side<FORM>, true>(launch, args);
}

/* The same with fewer shapes: where tiles are too few, W of many rows comes twice as often. */
template <class FORM> static void launch_packed_rare(const struct launch *launch, const void *args)
{
    launch_linear_by<packed_weights<FORM>, opened_side<FORM>, false>(launch, args);
}

/* --- as rows of bf16, for cuBLASLt ------------------------------------------------------------ */

enum { EXPAND_THREADS = 256 };

/* Two numbers times a scale, less a minimum. */
DEVICE uint32_t scaled_pair(uint32_t pair, float scale, float min)
{
    return pack_bf16(scale * bits_float(pair << 16) - min,
                     scale * bits_float(pair & 0xffff0000u) - min);
}

/* A warp takes a load of 16 rows: 512 bytes become 1 to 4 KB, in runs of 32 bytes. */
template <class FORM> KERNEL(EXPAND_THREADS, 2) expand_kernel(const struct expand_args args)
{
    begin_kernel();
    const int lane = lane_of(), g = lane / 4, t = lane & 3;
    const int steps = args.w.stride / (32 * FORM::UNITS);
    const int64_t num = (int64_t)((args.num_rows + 15) / 16) * steps;
    const bool has_min = FORM::has_min(args.w);
    for (int64_t i = ((int64_t)blockIdx.x * EXPAND_THREADS + threadIdx.x) / 32; i < num;
         i += (int64_t)gridDim.x * (EXPAND_THREADS / 32)) {
        const int tile = (int)(i / steps) * 16, u = (int)(i % steps) * FORM::UNITS;
        const typename FORM::loaded v = FORM::load(args.w, args.first_row + tile, u, lane);
#pragma unroll
        for (int j = 0; j < FORM::UNITS; j++) {
            const struct opened o = FORM::open(args.w, v, j);
#pragma unroll
            for (int r = 0; r < 2; r++) {
                if (tile + g + 8 * r >= args.num_rows)
                    continue;
                uint16_t *to =
                    args.out + (int64_t)(tile + g + 8 * r) * args.w.stride + 32 * (u + j);
                const float low = has_min ? o.min[0][r] : 0.0f, high = has_min ? o.min[1][r] : 0.0f;
                *(uint2 *)(to + FORM::x_first(t, j)) =
                    make_uint2(scaled_pair(o.first[r], o.scale[0][r], low),
                               scaled_pair(o.first[r + 2], o.scale[0][r], low));
                *(uint2 *)(to + FORM::x_second(t, j)) =
                    make_uint2(scaled_pair(o.second[r], o.scale[1][r], high),
                               scaled_pair(o.second[r + 2], o.scale[1][r], high));
            }
        }
    }
}

template <class FORM> static void launch_expand(const struct launch *launch, const void *args)
{
    const struct expand_args *a = (const struct expand_args *)args;
    const int64_t num = (int64_t)ceil_div(a->num_rows, 16) * (a->w.stride / (32 * FORM::UNITS));
    launch_kernel(expand_kernel<FORM>, dim3(ceil_div(num, 2 * EXPAND_THREADS / 32)), EXPAND_THREADS,
                  0, launch, *a);
}

#endif
