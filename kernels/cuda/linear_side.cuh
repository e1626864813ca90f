/*
 * linear_side.cuh - how W and x come to shared memory for a tile, and from there to tensor cores
 *
 *     x      : by cp.async, three stages in turn; a unit of it is 128 rows of 64 bytes
 *     plain  : W likewise, beside x
 *     opened : all other forms. A warp loads 16 outputs of a stage into registers, opens them a
 *              stage later and writes them to shared memory, two stages in turn: as fragments in
 *              the order of lanes, 16 bytes being the A of a product, scales and minima behind.
 *              Once for 128 rows of x. A stage of them is few bytes, 4 to 9 KB: to keep memory
 *              busy, what comes later is on its way to L2
 *
 * Of a unit's rows, those with bit 1 set have their halves exchanged. So what reads it meets each
 * bank once: a quarter of a warp 16 bytes each of two rows (plain), half of one 8 bytes each of
 * four (opened weights take x in runs of four).
 */
#ifndef KERNELS_CUDA_LINEAR_SIDE_CUH
#define KERNELS_CUDA_LINEAR_SIDE_CUH

#include "kernels/cuda/linear_units.cuh"

constexpr int TILE = 128;     /* outputs, and rows */
constexpr int TILE_UNITS = 2; /* of a stage */
constexpr int STAGE_INPUTS = 32 * TILE_UNITS;
constexpr int TILE_STAGES = 3;    /* of what comes by cp.async */
constexpr int FETCHED_STAGES = 6; /* of opened weights that are on their way to L2 or used */
constexpr int UNIT_BYTES = X_UNIT_BYTES, STAGE_BYTES = TILE_UNITS * UNIT_BYTES;
constexpr int FACTOR_BYTES = 256; /* of 16 outputs and a unit: scales and minima of both halves */
constexpr int STAGE_FACTOR_BYTES = TILE_UNITS * TILE / 16 * FACTOR_BYTES;

/* What a block computes. */
struct tile_place {
    int block;
    int first, rows; /* of x: the first row, and how many there are from it on */
    int out, outs;   /* likewise of its block's outputs */
};

/* --- rows of numbers by cp.async -------------------------------------------------------------- */

/* A thread brings 8 numbers of each of four rows, 32 apart. Eight neighbours write two rows of a
 * unit, which are all banks. */
DEVICE int copy_row(int thread)
{
    return thread / 16 * 2 + (thread >> 2 & 1);
}

DEVICE int copy_col(int thread)
{
    return 32 * (thread >> 3 & 1) + 8 * (thread & 3);
}

struct rows_copy {
    uint32_t from; /* a thread's first row, in chunks of 16 bytes from the first of all rows on */
    int num_rows;  /* that there are of its four; others are zeros */
};

DEVICE struct rows_copy rows_copy_of(int64_t first, int64_t stride, int num_rows)
{
    const int row = copy_row((int)threadIdx.x);
    struct rows_copy c;
    c.num_rows = (num_rows - row + 31) / 32;
    c.from = (uint32_t)((first + (c.num_rows > 0 ? row * stride : 0)) / 8);
    return c;
}

/* Columns from k on of rows that have `cols`; zeros behind. */
DEVICE void copy_rows(const struct rows_copy &c, const void *rows, int64_t stride, int cols, int k,
                      unsigned char *stage)
{
    const int thread = afresh((int)threadIdx.x), row = copy_row(thread), col = copy_col(thread);
    const uint16_t *first = (const uint16_t *)rows + (int64_t)c.from * 8, *at = first + k + col;
    stage += col / 32 * UNIT_BYTES + 64 * row + 16 * ((thread & 3) ^ (row & 2));
#pragma unroll
    for (int i = 0; i < TILE / 32; i++, at += 32 * stride) {
        const bool there = i < c.num_rows && k + col < cols;
        copy_async(stage + 32 * 64 * i, there ? at : first, there);
    }
}

/* --- weights ---------------------------------------------------------------------------------- */

/* A side is how W comes to shared memory and from there to the sums:
 *     begin()     : for a block; `shared` is BYTES
 *     bring()     : what cp.async brings of a stage
 *     fetch()     : what load() will want of a stage comes to L2
 *     load()      : what registers take of a stage, after open() of the one before
 *     open()      : from there to shared memory; read behind the next barrier
 *     multiply()  : unit j of a stage, for outputs from 64 `half` on, by rows of x at `x` */

/* Four tiles of 8 rows of a unit of x: a lane's runs lie at `first` and `second`. */
DEVICE void take_x(struct x_unit *x, const unsigned char *first, const unsigned char *second)
{
#pragma unroll
    for (int n = 0; n < 4; n++) {
        const uint2 p = *(const uint2 *)(first + 512 * n), q = *(const uint2 *)(second + 512 * n);
        x[n].b[0] = p.x;
        x[n].b[1] = p.y;
        x[n].b[2] = q.x;
        x[n].b[3] = q.y;
    }
}

template <enum number NUMBER> struct plain_side {
    typedef plain_weights<NUMBER> weights;
    static constexpr int UNITS = 1, BYTES = TILE_STAGES * STAGE_BYTES;
    static constexpr bool OPENS = false;
    struct rows_copy copy;
    unsigned char *stages;
    int lane_at; /* inputs 8 t .. 8 t + 7 of row g */

    DEVICE_MEMBER void begin(const struct linear_args &args, const struct tile_place &p,
                             unsigned char *shared)
    {
        const int g = lane_of() / 4, t = lane_of() & 3;
        const int64_t row = (int64_t)p.block * args.block_rows + p.out;
        copy = rows_copy_of(row * args.w.stride, args.w.stride, p.outs);
        stages = shared;
        lane_at = 64 * g + 16 * (t ^ (g & 2));
    }

    DEVICE_MEMBER void bring(const struct matrix &w, int stage, int place) const
    {
        copy_rows(copy, w.data, w.stride, w.stride, STAGE_INPUTS * stage,
                  stages + place * STAGE_BYTES);
    }

    DEVICE_MEMBER void multiply(const struct matrix &w, int, int place, int j, int half,
                                const unsigned char *x, float (*c)[4][4]) const
    {
        const unsigned char *at = stages + place * STAGE_BYTES + j * UNIT_BYTES + half * 64 * 64;
        struct x_unit xs[4];
#pragma unroll
        for (int n = 0; n < 4; n++) {
            const uint4 v = *(const uint4 *)(x + lane_at + 512 * n);
            xs[n].b[0] = v.x;
            xs[n].b[1] = v.y;
            xs[n].b[2] = v.z;
            xs[n].b[3] = v.w;
        }
#pragma unroll
        for (int m = 0; m < 4; m++) {
            typename weights::unit v;
            v.low = *(const uint4 *)(at + lane_at + 1024 * m);
            v.high = *(const uint4 *)(at + lane_at + 1024 * m + 512);
            weights::template apply<4>(w, v, 0, xs, c[m]);
        }
    }
};

DEVICE void take_words(uint32_t words[4], const unsigned char *at)
{
    const uint4 v = *(const uint4 *)at;
    words[0] = v.x;
    words[1] = v.y;
    words[2] = v.z;
    words[3] = v.w;
}

DEVICE void take_pair(float pair[2], const unsigned char *at)
{
    const uint2 v = *(const uint2 *)at;
    pair[0] = bits_float(v.x);
    pair[1] = bits_float(v.y);
}

DEVICE void keep_pair(unsigned char *at, const float pair[2])
{
    *(uint2 *)at = make_uint2(float_bits(pair[0]), float_bits(pair[1]));
}

template <class FORM> struct opened_side {
    static constexpr int UNITS = FORM::UNITS, BYTES = 2 * (STAGE_BYTES + STAGE_FACTOR_BYTES);
    static constexpr int LOADS = UNITS < TILE_UNITS ? TILE_UNITS / UNITS : 1;
    static constexpr bool OPENS = true, HALVES = FORM::HALVES;
    typename FORM::loaded loads[LOADS];
    int row; /* the first of 16 that this warp opens; -1: there are none */
    unsigned char *stages;

    DEVICE_MEMBER void begin(const struct linear_args &args, const struct tile_place &p,
                             unsigned char *shared)
    {
        const int warp = (int)threadIdx.x / 32;
        row = 16 * warp < p.outs ? p.block * args.block_rows + p.out + 16 * warp : -1;
        stages = shared;
    }

    /* Fragments of 16 outputs and a unit, and what they are scaled by. */
    DEVICE_MEMBER unsigned char *fragments(int place, int j, int tile) const
    {
        return stages + place * STAGE_BYTES + j * UNIT_BYTES + tile * 1024;
    }

    DEVICE_MEMBER unsigned char *factors(int place, int j, int tile) const
    {
        return stages + 2 * STAGE_BYTES + place * STAGE_FACTOR_BYTES +
               (j * TILE / 16 + tile) * FACTOR_BYTES;
    }

    DEVICE_MEMBER void bring(const struct matrix &, int, int) const
    {
    }

    /* f(i, unit) of the loads that a stage begins, where this lane has a row. */
    template <typename F> DEVICE_MEMBER void each_load(const struct matrix &w, int stage, F f) const
    {
        const int u = afresh(TILE_UNITS * stage);
        if (u % UNITS != 0 || afresh(row) < 0)
            return;
#pragma unroll
        for (int i = 0; i < LOADS; i++)
            if (u + i * UNITS < w.stride / 32)
                f(i, u + i * UNITS);
    }

    DEVICE_MEMBER void fetch(const struct matrix &w, int stage) const
    {
        each_load(w, stage, [&](int, int u) { FORM::fetch(w, afresh(row), u, lane_of()); });
    }

    DEVICE_MEMBER void load(const struct matrix &w, int stage)
    {
        each_load(w, stage,
                  [&](int i, int u) { loads[i] = FORM::load(w, afresh(row), u, lane_of()); });
    }

    /* FIRST: unit of a load that the stage begins with. */
    template <int FIRST> DEVICE_MEMBER void open_from(const struct matrix &w, int stage) const
    {
        const int thread = afresh((int)threadIdx.x), warp = thread / 32;
        const int lane = thread & 31, g = lane / 4, t = lane & 3;
#pragma unroll
        for (int j = 0; j < TILE_UNITS; j++) {
            if (TILE_UNITS * stage + j >= w.stride / 32 || row < 0)
                return;
            const struct opened o = FORM::open(w, loads[j / UNITS], (FIRST + j) % UNITS);
            unsigned char *to = fragments(stage & 1, j, warp) + 16 * lane;
            *(uint4 *)to = make_uint4(o.first[0], o.first[1], o.first[2], o.first[3]);
            *(uint4 *)(to + 512) = make_uint4(o.second[0], o.second[1], o.second[2], o.second[3]);
            to = factors(stage & 1, j, warp) + 8 * g;
            if (t == 0)
                keep_pair(to, o.scale[1]);
            if (HALVES && t == 1)
                keep_pair(to + 64, o.scale[0]);
            if (FORM::has_min(w) && t == 2)
                keep_pair(to + 128, o.min[1]);
            if (HALVES && FORM::has_min(w) && t == 3)
                keep_pair(to + 192, o.min[0]);
        }
    }

    DEVICE_MEMBER void open(const struct matrix &w, int stage) const
    {
        if (UNITS > TILE_UNITS && (stage & 1) != 0)
            open_from<TILE_UNITS % UNITS>(w, stage);
        else
            open_from<0>(w, stage);
    }

    DEVICE_MEMBER void multiply(const struct matrix &w, int stage, int, int j, int half,
                                const unsigned char *x, float (*c)[4][4]) const
    {
        const int lane = afresh(lane_of()), g = lane / 4;
        const unsigned char *at = fragments(stage & 1, j, 4 * half) + 16 * lane;
        const unsigned char *factor = factors(stage & 1, j, 4 * half) + 8 * g;
        const int first = FORM::x_byte(lane, j);
        struct x_unit xs[4];
        take_x(xs, x + first, x + (first ^ FORM::X_NEXT));
#pragma unroll
        for (int m = 0; m < 4; m++) {
            struct opened o;
            take_words(o.first, at + 1024 * m);
            take_words(o.second, at + 1024 * m + 512);
            take_pair(o.scale[1], factor + FACTOR_BYTES * m);
            if (HALVES)
                take_pair(o.scale[0], factor + FACTOR_BYTES * m + 64);
#pragma unroll
            for (int n = 0; n < 4; n++)
                multiply_opened<HALVES>(c[m][n], o, xs[n]);
        }
        if (!FORM::has_min(w))
            return;
        warp_sync(); /* or loads of what follows come before, and there are no registers */
        struct x_sums sums[4];
#pragma unroll
        for (int n = 0; n < 4; n++)
            sums[n] = sums_of<HALVES>(xs[n]);
#pragma unroll
        for (int m = 0; m < 4; m++) {
            struct opened o;
            take_pair(o.min[1], factor + FACTOR_BYTES * m + 128);
            if (HALVES)
                take_pair(o.min[0], factor + FACTOR_BYTES * m + 192);
#pragma unroll
            for (int n = 0; n < 4; n++)
                take_mins<HALVES>(c[m][n], sums[n], o);
        }
    }
};

#endif
