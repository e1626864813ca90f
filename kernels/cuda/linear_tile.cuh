/*
 * linear_tile.cuh - out = W x for many rows: tiles through shared memory
 *
 *     block : 128 outputs x 128 rows of x, 8 warps of 64 x 32
 *     stage : 64 inputs, two units, as linear_side.cuh brings them to shared memory
 *     unit  : 32 mma of a warp, into sums in registers that at the border of an eighth are added to
 *             the totals, in registers too: the order of linear_units.cuh
 *
 * A unit of plain weights is 16 KB through L2 for 256 mma, 64 operations a byte: 350 TFLOP/s at 5.5
 * TB/s. Shared memory moves 16 KB in and 48 KB out, 512 cycles; mma.sync takes at least 410 (0.62
 * of what wgmma does): 495 TFLOP/s. So L2 is the bound, and 300 to 330 are expected. Opened weights
 * are at most half of their bytes for L2 (460 to 550 TFLOP/s there), and shared memory takes up to
 * 18 KB in; scaling is 64 FMA a unit and lane beside 32 mma. One warp of each two on a scheduler
 * opens before it multiplies, the other behind, so that one has work for the tensor cores: 250 to
 * 300.
 *
 * 64 sums, 64 totals, 32 to 48 words of fragments, up to 16 of weights under way: 193 registers,
 * 246 to 255 with opened weights, one block on an SM. 96 KB of shared memory, or 88. Where a block
 * has 64 rows or fewer, four warps on four schedulers multiply.
 */
#ifndef KERNELS_CUDA_LINEAR_TILE_CUH
#define KERNELS_CUDA_LINEAR_TILE_CUH

#include "kernels/cuda/linear_side.cuh"

/* --- what a block computes -------------------------------------------------------------------- */

/* Experts share the grid: tiles of expert e are slots first[e] / TILE + e and those behind. That is
 * at least as many as it has tiles, whatever the others have; those left over leave at once. */
DEVICE int first_slot(const int32_t *first, int block)
{
    return first[block] / TILE + block;
}

/* The last block whose first slot is not behind this one; 32 of them are looked at together. */
DEVICE int block_of_slot(const int32_t *first, int num, int slot)
{
    int low = 0, size = num;
    while (size > 1) {
        const int step = (size + 31) / 32, at = lane_of() * step;
        const unsigned found = lane_ballot(at < size && first_slot(first, low + at) <= slot);
        const int ahead = (31 - __clz((int)found)) * step;
        low += ahead;
        size = size - ahead < step ? size - ahead : step;
    }
    return low;
}

DEVICE struct tile_place tile_place_of(const struct linear_args &args)
{
    const bool is_shared = args.first != nullptr;
    struct tile_place p;
    int tile = (int)blockIdx.x;
    p.block = (int)blockIdx.z;
    p.out = TILE * (int)(is_shared ? blockIdx.x : blockIdx.y);
    if (is_shared) {
        p.block = block_of_slot(args.first, args.num_blocks, (int)blockIdx.y);
        tile = (int)blockIdx.y - first_slot(args.first, p.block);
    }
    p.first = first_row_of(args, p.block) + TILE * tile;
    p.rows = end_row_of(args, p.block) - p.first;
    p.outs = args.out_dim - p.out;
    return p;
}

/* --- the kernel ------------------------------------------------------------------------------- */

/* Of a warp: what it adds up of this eighth, and of those before. */
struct tile_sums {
    float c[4][4][4], total[4][4][4];
    int eighth; /* this one */
};

DEVICE void begin_eighth(struct tile_sums &s)
{
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int n = 0; n < 4; n++)
            s.c[m][n][0] = s.c[m][n][1] = s.c[m][n][2] = s.c[m][n][3] = 0.0f;
}

DEVICE void end_eighth(struct tile_sums &s)
{
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                s.total[m][n][i] += s.c[m][n][i];
    begin_eighth(s);
    s.eighth++;
}

/* The first is added to -0: that is the first itself. */
DEVICE void begin_sums(struct tile_sums &s)
{
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int n = 0; n < 4; n++)
            s.total[m][n][0] = s.total[m][n][1] = s.total[m][n][2] = s.total[m][n][3] = -0.0f;
    begin_eighth(s);
    s.eighth = 0;
}

/* What a warp multiplies: outputs from 64 times this on, by 32 rows of x from this one on. */
DEVICE int half_of(int thread)
{
    return thread >> 5 & 1;
}

DEVICE int row_of(int thread)
{
    return thread / 64 * 32;
}

/* A lane has 8 neighbours of a row of out with the lanes of its t: 32 bytes. */
DEVICE void store_sums(const struct linear_args &args, const struct tile_sums &s)
{
    const struct tile_place p = tile_place_of(args); /* again: where it lay, loads lie now */
    const int half = half_of((int)threadIdx.x), row = row_of((int)threadIdx.x);
    const int g = lane_of() / 4, t = lane_of() & 3;
    float *out = args.out + p.block * args.out_block + p.out;
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int o = 64 * half + 16 * m + i / 2 * 8 + g;
            if (o >= p.outs)
                continue;
            const float bias = args.bias != nullptr ? args.bias[p.out + o] : 0.0f;
#pragma unroll
            for (int n = 0; n < 4; n++) {
                const int r = row + 8 * n + 2 * t + (i & 1);
                if (r < p.rows)
                    out[(int64_t)(p.first + r) * args.out_row + o] = s.total[m][n][i] + bias;
            }
        }
}

/* One stage, by a warp that has outputs and rows. x: the stage's place in shared memory. */
template <class SIDE>
DEVICE void multiply_stage(const SIDE &side, const struct matrix &w, int stage, int place,
                           const unsigned char *x, struct tile_sums &s)
{
    const int steps = w.stride / (32 * SIDE::UNITS), thread = afresh((int)threadIdx.x);
    x += 64 * row_of(thread);
#pragma unroll 1
    for (int j = 0; j < TILE_UNITS; j++) {
        const int u = TILE_UNITS * stage + j;
        if (u >= steps * SIDE::UNITS)
            break;
        while (u == first_of_eighth(steps, s.eighth + 1, SIDE::UNITS))
            end_eighth(s);
        side.multiply(w, stage, place, j, half_of(thread), x + j * UNIT_BYTES, s.c);
    }
}

/*
 * Of stage i, x (and plain W) is a group of copies, the i-th of each thread, empty behind the last.
 * At the top of turn i groups 0 .. i + 1 are under way; all but one have arrived, so that of stage
 * i has, and behind the barrier everybody's. That barrier also ends turn i - 1 for all warps: what
 * they opened of stage i is there, and place (i + 2) % 3 of copies, and place (i + 1) % 2 of opened
 * weights, which stage i - 1 had, are free for those of stages i + 2 and i + 1.
 */
template <class SIDE> KERNEL(LINEAR_THREADS, 1) tile_kernel(const struct linear_args args)
{
    DYNAMIC_SHARED(shared);
    begin_kernel();
    const struct tile_place p = tile_place_of(args);
    if (p.rows <= 0)
        return;
    const bool is_idle =
        row_of((int)threadIdx.x) >= p.rows || 64 * half_of((int)threadIdx.x) >= p.outs;
    const struct rows_copy x =
        rows_copy_of(p.block * args.x_block + p.first * args.x_row, args.x_row, p.rows);
    SIDE side;
    struct tile_sums sums;
    side.begin(args, p, shared + TILE_STAGES * STAGE_BYTES);
    begin_sums(sums);

    for (int i = 0; i < TILE_STAGES - 1; i++) {
        if (i * STAGE_INPUTS < args.w.stride) {
            copy_rows(x, args.x, args.x_row, args.w.cols, i * STAGE_INPUTS,
                      shared + i * STAGE_BYTES);
            side.bring(args.w, i, i);
        }
        copy_commit();
    }
    if constexpr (SIDE::OPENS) {
        for (int i = 0; i < FETCHED_STAGES; i++)
            side.fetch(args.w, i);
        side.load(args.w, 0);
        side.open(args.w, 0);
        side.load(args.w, 1);
    }
#pragma unroll 1
    for (int i = 0; i * STAGE_INPUTS < args.w.stride; i++) {
        const int next = i + TILE_STAGES - 1, place = i % TILE_STAGES;
        copy_wait<TILE_STAGES - 2>();
        block_sync();
        if (next * STAGE_INPUTS < args.w.stride) {
            const int free = next % TILE_STAGES;
            copy_rows(x, args.x, args.x_row, args.w.cols, next * STAGE_INPUTS,
                      shared + free * STAGE_BYTES);
            side.bring(args.w, next, free);
        }
        copy_commit();
        const unsigned char *rows = shared + place * STAGE_BYTES;
        if constexpr (SIDE::OPENS) {
#pragma unroll 1
            for (int turn = 0; turn < 2; turn++)
                if (turn == afresh((int)threadIdx.x) / 128) {
                    side.open(args.w, i + 1);
                    side.load(args.w, i + 2);
                    side.fetch(args.w, i + FETCHED_STAGES);
                } else if (!is_idle) {
                    multiply_stage(side, args.w, i, place, rows, sums);
                }
        } else if (!is_idle) {
            multiply_stage(side, args.w, i, place, rows, sums);
        }
    }
    if (is_idle)
        return;
    while (sums.eighth < EIGHTHS)
        end_eighth(sums);
    store_sums(args, sums);
}

/* --- launching -------------------------------------------------------------------------------- */

/* No more than 16 rows a block, as is likely; of experts the hint is twice the mean. */
static bool has_few_rows(const struct linear_args *a)
{
    return a->rows_hint <= (a->first != nullptr ? 32 : 16);
}

/* Whether tiles are the faster way, and x can come by cp.async. A tile takes an SM 12 ns for each
 * input, 9 where it has 64 rows or fewer, whatever its neighbours do; the narrow kernel moves 3 and
 * 2 bytes through L2 for each of 32 or 64 rows and output, at 5.5 TB/s of the whole device. They
 * are equal where tiles of 64 rows are between half of the SMs and two thirds. */
static bool suits_tiles(const struct launch *launch, const struct linear_args *a)
{
    const int64_t rows = ceil_div(a->rows_hint, 64), outs = ceil_div(a->out_dim, TILE);
    const bool is_even =
        a->w.cols % 8 == 0 && a->x_row % 8 == 0 && a->x_block % 8 == 0 && (uintptr_t)a->x % 16 == 0;
    return is_even && !has_few_rows(a) &&
           3 * rows * outs * a->num_blocks >= 2 * (int64_t)launch->num_sms;
}

template <class SIDE>
static void launch_tiles(const struct launch *launch, const struct linear_args *a)
{
    const int outs = ceil_div(a->out_dim, TILE);
    const dim3 grid = a->first != nullptr ? dim3(outs, a->all_rows / TILE + a->num_blocks)
                                          : dim3(ceil_div(a->rows, TILE), outs, a->num_blocks);
    static_assert(TILE_STAGES * STAGE_BYTES + SIDE::BYTES <= 100 << 10, "");
    launch_kernel(tile_kernel<SIDE>, grid, LINEAR_THREADS, TILE_STAGES * STAGE_BYTES + SIDE::BYTES,
                  launch, *a);
}

#endif
