/*
 * linear.cuh - out = W x on tensor cores, for every form of weights and any number of rows
 *
 *     block    : 16 MT rows of W  x  8 NT rows of x, 8 warps
 *     warp w   : all of that for the w-th eighth of the inputs, in units of 32
 *     unit     : two mma.m16n8k16 per 16 x 8; weights come from memory straight into the registers
 *                that A wants, made 16-bit on the way; x likewise from L2
 *     the end  : the eight partial sums are added in order in shared memory, then bias
 *
 * The weights stand on the side of 16, so that few rows of x (decode) waste only the side of 8. An
 * output is the sum of eight sums, each over its units in order, whatever MT, NT and the number of
 * rows are: that is what makes it the same for one row and for a thousand.
 *
 * Bytes of W dominate below about 50 rows: 16-byte loads, eight in flight per thread before the
 * first is used, two to four blocks on an SM. Expected 80 to 90 % of the bandwidth for matrices of
 * more than 500 tiles of 16 rows; smaller ones leave SMs idle. With NT = 8, MT = 4 a block moves
 * 8 KB through L2 for 64 mma: about 170 TFLOP/s.
 *
 * A form of weights is a class with
 *     unit                : what a lane holds of a unit
 *     load(w, tile, u)    : from memory
 *     apply<NT>(...)      : to the sums
 * and says how a lane's eight inputs of x lie in a unit (x_first, x_second: two runs of four).
 */
#ifndef KERNELS_CUDA_LINEAR_CUH
#define KERNELS_CUDA_LINEAR_CUH

#include "kernels/cuda/mma.cuh"

enum { LINEAR_WARPS = 8, LINEAR_THREADS = 32 * LINEAR_WARPS };

/* A lane's part of a unit of x for one n-tile: inputs as b0, b1 of the first mma and of the second. */
struct x_unit {
    uint32_t b[4];
};

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

/* Plain rows of bf16 or f16: a lane's eight inputs are neighbours, 16 bytes. */
template <enum number NUMBER> struct plain_weights {
    struct unit {
        uint4 low, high; /* of rows g and g + 8 */
    };
    static DEVICE_MEMBER int x_first(int t) { return 8 * t; }
    static DEVICE_MEMBER int x_second(int t) { return 8 * t + 4; }

    static DEVICE_MEMBER unit load(const struct matrix &w, int64_t row, int u, int lane)
    {
        const uint16_t *at = (const uint16_t *)w.data + (row + lane / 4) * w.stride + 32 * u;
        unit v;
        v.low = load_once((const uint4 *)(at + 8 * (lane & 3)));
        v.high = load_once((const uint4 *)(at + 8 * (int64_t)w.stride + 8 * (lane & 3)));
        return v;
    }

    static DEVICE_MEMBER void multiply(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
    {
        if (NUMBER == NUMBER_BF16)
            mma_bf16(c, a, b0, b1);
        else
            mma_f16(c, a, b0, b1);
    }

    template <int NT>
    static DEVICE_MEMBER void apply(const struct matrix &w, int64_t row, int u, int lane,
                                    const unit &v, const struct x_unit *x, float (*c)[4])
    {
        (void)w, (void)row, (void)u, (void)lane;
        const uint32_t first[4] = { v.low.x, v.high.x, v.low.y, v.high.y };
        const uint32_t second[4] = { v.low.z, v.high.z, v.low.w, v.high.w };
#pragma unroll
        for (int n = 0; n < NT; n++) {
            multiply(c[n], first, x[n].b[0], x[n].b[1]);
            multiply(c[n], second, x[n].b[2], x[n].b[3]);
        }
    }
};

/* Four signed bytes as two words of bf16, exactly. */
DEVICE void widen_bytes(uint32_t bytes, uint32_t *low, uint32_t *high)
{
    float f[4];
    bytes ^= 0x80808080u; /* q + 128 */
#pragma unroll
    for (int i = 0; i < 4; i++) /* 2^23 + q + 128 */
        f[i] = bits_float(0x4b000000u | (bytes >> 8 * i & 255u)) - 8388736.0f;
    *low = pack_bf16(f[0], f[1]);
    *high = pack_bf16(f[2], f[3]);
}

/* Sums of a group come out of zero and are scaled once: the quants are exact in bf16. */
DEVICE void add_scaled(float c[4], const float part[4], float scale_low, float scale_high)
{
    c[0] += scale_low * part[0];
    c[1] += scale_low * part[1];
    c[2] += scale_high * part[2];
    c[3] += scale_high * part[3];
}

/* Blocks of bytes: Q8_0 (GROUP 32), Q6_K (16). */
template <int GROUP> struct i8_weights {
    struct unit {
        uint4 q; /* row g: first, second mma; row g + 8 */
    };
    static DEVICE_MEMBER int x_first(int t) { return 4 * t; }
    static DEVICE_MEMBER int x_second(int t) { return 16 + 4 * t; }

    static DEVICE_MEMBER int64_t index(const struct matrix &w, int64_t row, int u)
    {
        return row / 16 * (w.stride / 32) + u;
    }

    static DEVICE_MEMBER unit load(const struct matrix &w, int64_t row, int u, int lane)
    {
        unit v;
        v.q = load_once((const uint4 *)w.data + index(w, row, u) * 32 + lane);
        return v;
    }

    template <int NT>
    static DEVICE_MEMBER void apply(const struct matrix &w, int64_t row, int u, int lane,
                                    const unit &v, const struct x_unit *x, float (*c)[4])
    {
        const uint16_t *scales = w.scales + index(w, row, u) * (32 / GROUP) * 16 + lane / 4;
        uint32_t first[4], second[4];
        widen_bytes(v.q.x, &first[0], &first[2]);
        widen_bytes(v.q.y, &second[0], &second[2]);
        widen_bytes(v.q.z, &first[1], &first[3]);
        widen_bytes(v.q.w, &second[1], &second[3]);
        const float low = f16_to_float(scales[0]), high = f16_to_float(scales[8]);
#pragma unroll
        for (int n = 0; n < NT; n++) {
            float part[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            mma_bf16(part, first, x[n].b[0], x[n].b[1]);
            if (GROUP == 16) {
                add_scaled(c[n], part, low, high);
                part[0] = part[1] = part[2] = part[3] = 0.0f;
            }
            mma_bf16(part, second, x[n].b[2], x[n].b[3]);
            add_scaled(c[n], part, GROUP == 16 ? f16_to_float(scales[16]) : low,
                       GROUP == 16 ? f16_to_float(scales[24]) : high);
        }
    }
};

/* Nibbles i and i + 4 of a word as bf16, less `bias` (in both halves). */
DEVICE uint32_t widen_nibbles(uint32_t word, int i, uint32_t bias)
{
    return sub_bf16((word >> 4 * i & 0x000f000fu) | 0x43004300u, bias); /* 128 + q */
}

/* Blocks of nibbles: Q4_0 (no minima: q - 8), and with minima (scale q - min) Q4_K and groups with
 * zero points. */
template <bool HAS_MIN> struct u4_weights {
    struct unit {
        uint2 q; /* rows g and g + 8 */
    };
    static DEVICE_MEMBER int x_first(int t) { return 4 * t; }
    static DEVICE_MEMBER int x_second(int t) { return 16 + 4 * t; }

    static DEVICE_MEMBER int64_t index(const struct matrix &w, int64_t row, int u)
    {
        return row / 16 * (w.stride / 32) + u;
    }

    static DEVICE_MEMBER unit load(const struct matrix &w, int64_t row, int u, int lane)
    {
        const int64_t i = index(w, row, u);
        unit v;
        v.q = *((const uint2 *)w.data + i / 2 * 64 + lane * 2 + (i & 1));
        return v;
    }

    template <int NT>
    static DEVICE_MEMBER void apply(const struct matrix &w, int64_t row, int u, int lane,
                                    const unit &v, const struct x_unit *x, float (*c)[4])
    {
        const int64_t at = index(w, row, u) * 16 + lane / 4;
        const uint32_t bias = HAS_MIN ? 0x43004300u : 0x43084308u; /* 128, 136 */
        const uint32_t first[4] = { widen_nibbles(v.q.x, 0, bias), widen_nibbles(v.q.y, 0, bias),
                                    widen_nibbles(v.q.x, 1, bias), widen_nibbles(v.q.y, 1, bias) };
        const uint32_t second[4] = { widen_nibbles(v.q.x, 2, bias), widen_nibbles(v.q.y, 2, bias),
                                     widen_nibbles(v.q.x, 3, bias), widen_nibbles(v.q.y, 3, bias) };
        const uint32_t ones[4] = { 0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u };
        const float low = f16_to_float(w.scales[at]), high = f16_to_float(w.scales[at + 8]);
        const float min_low = HAS_MIN ? f16_to_float(w.mins[at]) : 0.0f;
        const float min_high = HAS_MIN ? f16_to_float(w.mins[at + 8]) : 0.0f;
#pragma unroll
        for (int n = 0; n < NT; n++) {
            float part[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
            mma_bf16(part, first, x[n].b[0], x[n].b[1]);
            mma_bf16(part, second, x[n].b[2], x[n].b[3]);
            add_scaled(c[n], part, low, high);
            if (HAS_MIN) { /* the sum of x over the block */
                float sums[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
                mma_bf16(sums, ones, x[n].b[0], x[n].b[1]);
                mma_bf16(sums, ones, x[n].b[2], x[n].b[3]);
                add_scaled(c[n], sums, -min_low, -min_high);
            }
        }
    }
};

/* Rows of x that a block of W is multiplied with. */
DEVICE int first_row_of(const struct linear_args &args, int block)
{
    return args.first != nullptr ? args.first[block] : 0;
}

DEVICE int end_row_of(const struct linear_args &args, int block)
{
    return args.first != nullptr ? args.first[block + 1] : args.rows;
}

template <class WEIGHTS, int NT, int MT>
KERNEL(LINEAR_THREADS, (NT * MT > 8 ? 1 : 2)) linear_kernel(const struct linear_args args)
{
    __shared__ float total[8 * NT][16 * MT + 1];
    const int warp = (int)threadIdx.x / 32, lane = lane_of(), g = lane / 4, t = lane & 3;
    const int block = (int)blockIdx.z, tile_rows = 16 * MT;
    const int first = first_row_of(args, block) + (int)blockIdx.x * 8 * NT;
    const int rows = end_row_of(args, block) - first;
    if (rows <= 0)
        return;

    const int units = args.w.stride / 32, cols = args.w.cols;
    const int from = units * warp / LINEAR_WARPS, to = units * (warp + 1) / LINEAR_WARPS;
    const int64_t w_row = (int64_t)block * args.block_rows + (int64_t)blockIdx.y * tile_rows;
    const uint16_t *x = (const uint16_t *)args.x + block * args.x_block;
    const bool is_aligned = args.x_row % 4 == 0 && args.x_block % 4 == 0;
    float c[MT][NT][4];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
            c[m][n][0] = c[m][n][1] = c[m][n][2] = c[m][n][3] = 0.0f;

    constexpr int AHEAD = NT * MT > 8 ? 1 : 4; /* units loaded before the first is used */
    for (int u = from; u < to; u += AHEAD) {
        typename WEIGHTS::unit w[AHEAD][MT];
#pragma unroll
        for (int a = 0; a < AHEAD; a++)
#pragma unroll
            for (int m = 0; m < MT; m++)
                if (u + a < to)
                    w[a][m] = WEIGHTS::load(args.w, w_row + 16 * m, u + a, lane);
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            if (u + a >= to)
                break;
            struct x_unit xs[NT];
#pragma unroll
            for (int n = 0; n < NT; n++) {
                uint2 p = make_uint2(0, 0), q = make_uint2(0, 0);
                if (8 * n + g < rows) {
                    const uint16_t *row = x + (int64_t)(first + 8 * n + g) * args.x_row;
                    const int k = 32 * (u + a);
                    p = load_x4(row, k + WEIGHTS::x_first(t), cols, is_aligned);
                    q = load_x4(row, k + WEIGHTS::x_second(t), cols, is_aligned);
                }
                xs[n].b[0] = p.x;
                xs[n].b[1] = p.y;
                xs[n].b[2] = q.x;
                xs[n].b[3] = q.y;
            }
#pragma unroll
            for (int m = 0; m < MT; m++)
                WEIGHTS::template apply<NT>(args.w, w_row + 16 * m, u + a, lane, w[a][m], xs, c[m]);
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

/* Few rows: narrow blocks, so that there are many. The bits are the same. */
template <class WEIGHTS> static void launch_linear(const struct launch *launch, const void *args)
{
    const struct linear_args *a = (const struct linear_args *)args;
    if (a->rows_hint <= 8)
        launch_linear_as<WEIGHTS, 1, 1>(launch, a);
    else if (a->rows_hint <= 16)
        launch_linear_as<WEIGHTS, 2, 2>(launch, a);
    else
        launch_linear_as<WEIGHTS, 8, 2>(launch, a);
}

#endif
