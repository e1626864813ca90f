/*
 * attention_pages.cuh - a tile of keys or values, from pages to shared memory
 *
 * It is f16 there, whatever it is in pages: f16, bf16 and FP8 come as they are, by cp.async, and
 * each thread widens in place what it brought itself, so that nothing waits for it but the barrier
 * that is there anyway. FP8 is exact, bf16 where it is not below 2^-14 (then to 2^-25) or above
 * 65,504. f32 and Q8_0 are converted on the way, without cp.async.
 *
 * Positions that nobody sees are zeros: 0 times garbage never occurs.
 */
#ifndef KERNELS_CUDA_ATTENTION_PAGES_CUH
#define KERNELS_CUDA_ATTENTION_PAGES_CUH

#include "kernels/cuda/e4m3.cuh"

/* Rows of shared memory are 16 bytes longer than they need be: neighbours begin in other banks. */
enum { PAD = 8 };

/* What a part sees of one kv head and one tile of heads. */
struct scope {
    struct attention_part part;
    const int32_t *blocks;
    const unsigned char *keys; /* of the layer and head, in page 0 */
    int first_head, num_heads, queries;
    int low, end; /* positions that its rows see: [low, end) */
};

DEVICE struct scope scope_of(const struct attention_args &args, const struct attention_part &part,
                             int y)
{
    const struct pages &pages = args.pages;
    const int group = args.num_heads / pages.num_kv_heads;
    const int tiles = (group + args.heads_per_tile - 1) / args.heads_per_tile;
    const int kv_head = y / tiles, in_group = y % tiles * args.heads_per_tile;
    const int planes = pages.latent_dim > 0 ? 1 : 2;
    struct scope s;
    s.part = part;
    s.blocks = (const int32_t *)(args.tables + part.blocks);
    s.keys = pages.blocks +
             ((int64_t)args.layer * pages.num_kv_heads + kv_head) * planes * pages.plane_bytes;
    s.first_head = kv_head * group + in_group;
    s.num_heads = group - in_group < args.heads_per_tile ? group - in_group : args.heads_per_tile;
    s.queries = part.rows * s.num_heads;
    const int first = part.first_pos + part.row;
    s.low = args.window > 0 && first - args.window + 1 > 0 ? first - args.window + 1 : 0;
    s.end = first + part.rows;
    return s;
}

/* Values of a position that 16 bytes are, or 0: they do not come by cp.async. */
DEVICE int chunk_of(const struct pages &pages)
{
    const bool is_wide = pages.number == KV_F16 || pages.number == KV_BF16;
    return is_wide ? 8 : pages.number == KV_E4M3 && pages.head_dim % 16 == 0 ? 16 : 0;
}

/* One head's plane (0: K, 1: V) in the page of a position that is seen. */
DEVICE const unsigned char *plane_of(const struct attention_args &args, const struct scope &s,
                                     int at, int plane)
{
    const struct pages &pages = args.pages;
    return s.keys + s.blocks[at / pages.block_size] * pages.block_bytes + plane * pages.plane_bytes;
}

DEVICE bool is_seen(const struct scope &s, int at)
{
    return at >= s.low && at < s.end;
}

/* Of f32, Q8_0 and FP8: values i and i + 1, i even, of the position `offset` of a page. */
DEVICE uint32_t pair_of_values(const struct pages &pages, const unsigned char *plane, int offset,
                               int i)
{
    const int at = offset * pages.head_dim + i;
    if (pages.number == KV_F32) {
        const float *values = (const float *)plane + at;
        return pack_f16(values[0], values[1]);
    }
    const uint16_t pair = *(const uint16_t *)(plane + pages.scale_bytes + at);
    if (pages.number == KV_E4M3)
        return e4m3_pair(pair);
    const float scale = f16_to_float(((const uint16_t *)plane)[offset * pages.num_scales + i / 32]);
    return pack_f16(scale * (float)(signed char)pair, scale * (float)(signed char)(pair >> 8));
}

/* A tile of such, two values in turn: registers are what sums need. */
DEVICE void convert_tile(const struct attention_args &args, const struct scope &s, int pos,
                         int plane, uint16_t *to, int stride, int thread, int threads)
{
    const struct pages &pages = args.pages;
    const int pairs = pages.head_dim / 2;
#pragma unroll 1
    for (int i = thread; i < ATTENTION_TILE * pairs; i += threads) {
        const int at = pos + i / pairs, d = i % pairs * 2, offset = at % pages.block_size;
        uint32_t word = 0;
        if (is_seen(s, at))
            word = pair_of_values(pages, plane_of(args, s, at, plane), offset, d);
        *(uint32_t *)(to + i / pairs * stride + d) = word;
    }
}

/* f(row of the tile, chunk of the row) for this thread's chunks of 16 bytes of a page's. `run`:
 * positions that are sure to lie in one page, from each multiple of it on. */
template <typename F>
DEVICE void each_chunk(int chunks, int run, int first_row, int thread, int threads, F f)
{
    const int rows = threads / chunks, left = threads % chunks;
    int row = thread / chunks, k = thread % chunks;
    while (row < run) {
        f(first_row + row, k);
        k += left;
        row += rows + (k >= chunks ? 1 : 0);
        k -= k >= chunks ? chunks : 0;
    }
}

DEVICE int run_of(const struct pages &pages)
{
    return pages.block_size % 16 == 0 ? 16 : 1;
}

/* One tile of a plane into [64][stride]; what nobody sees becomes zero. It is f16 when copy_wait()
 * and then widen_tile() are over. */
DEVICE void load_tile(const struct attention_args &args, const struct scope &s, int pos, int plane,
                      uint16_t *to, int stride, int thread, int threads)
{
    const struct pages &pages = args.pages;
    const int chunk = chunk_of(pages), run = run_of(pages);
    if (chunk == 0) {
        convert_tile(args, s, pos, plane, to, stride, thread, threads);
        return;
    }
    const int chunks = pages.head_dim / chunk;
#pragma unroll 1
    for (int first = 0; first < ATTENTION_TILE; first += run) {
        const int at = pos + first;
        const unsigned char *from = s.keys;
        if (at + run > s.low && at < s.end)
            from = plane_of(args, s, at, plane) + (int64_t)(at % pages.block_size) * chunks * 16;
        each_chunk(chunks, run, first, thread, threads, [&](int row, int k) {
            const bool there = is_seen(s, pos + row);
            const int64_t offset = there ? ((int64_t)(row - first) * chunks + k) * 16 : 0;
            copy_async(to + row * stride + k * chunk, from + offset, there);
        });
    }
}

DEVICE uint32_t f16_of_bf16(uint32_t pair)
{
    return pack_f16(bits_float(pair << 16), bits_float(pair & 0xffff0000u));
}

/* What this thread's load_tile() brought becomes f16, where it lies. */
DEVICE void widen_tile(const struct pages &pages, uint16_t *tile, int stride, int thread,
                       int threads)
{
    const int chunk = chunk_of(pages), run = run_of(pages);
    if (pages.number == KV_F16 || chunk == 0)
        return;
#pragma unroll 1
    for (int first = 0; first < ATTENTION_TILE; first += run)
        each_chunk(pages.head_dim / chunk, run, first, thread, threads, [&](int row, int k) {
            uint4 *at = (uint4 *)(tile + row * stride + k * chunk);
            const uint4 v = *at;
            if (chunk == 8) {
                *at = make_uint4(f16_of_bf16(v.x), f16_of_bf16(v.y), f16_of_bf16(v.z),
                                 f16_of_bf16(v.w));
            } else {
                at[0] = make_uint4(e4m3_pair(v.x), e4m3_pair(v.x >> 16), e4m3_pair(v.y),
                                   e4m3_pair(v.y >> 16));
                at[1] = make_uint4(e4m3_pair(v.z), e4m3_pair(v.z >> 16), e4m3_pair(v.w),
                                   e4m3_pair(v.w >> 16));
            }
        });
}

/* Columns [head_dim, dim) of [64][stride], that loads leave alone. */
DEVICE void clear_tail(uint16_t *tile, int rows, int head_dim, int dim, int stride, int thread,
                       int threads)
{
    const int tail = dim - head_dim;
    for (int i = thread; i < rows * tail; i += threads)
        tile[i / tail * stride + head_dim + i % tail] = 0;
}

#endif
