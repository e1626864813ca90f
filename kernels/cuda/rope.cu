/*
 * rope.cu - norm and rotate q and k, and write k and v to their pages
 *
 * A warp per head of a row: its head_dim values pass through registers (norm), then through shared
 * memory (rotation pairs values that lie apart). q goes back to qkv, k and v to the page, rounded to
 * its type; a negative slot writes nothing. Bytes of a row: 8 (q + k + v) and 2 (k + v); at 1 row it
 * is all latency.
 */
#include "kernels/cuda/e4m3.cuh"

enum { WARPS = 4, MAX_DIM = 576 };

/* LayerNorm or RMS of one head in `head`, shared; `squares` NULL: its own. */
DEVICE void norm_head(float *head, const float *w, const float *bias, int dim, float eps,
                      const float *squares, int num_squares)
{
    float sum = 0.0f, sum_sq = 0.0f, mean = 0.0f;
    if (bias != nullptr) {
        for (int i = lane_of(); i < dim; i += 32)
            sum += head[i];
        mean = warp_sum(sum) / (float)dim;
    }
    for (int i = lane_of(); i < dim; i += 32)
        sum_sq += (head[i] - mean) * (head[i] - mean);
    const float of_all = warp_sum(sum_sq) / (float)dim;
    const float square = squares != nullptr ? *squares / (float)num_squares : of_all;
    const float scale = 1.0f / sqrtf(square + eps);
    for (int i = lane_of(); i < dim; i += 32)
        head[i] = (head[i] - mean) * scale * w[i] + (bias != nullptr ? bias[i] : 0.0f);
    warp_sync();
}

/* Pairs (i, i + half), or (2 i, 2 i + 1). */
DEVICE void rotate(float *head, const float *cos, const float *sin, int half, bool interleaved)
{
    for (int i = lane_of(); i < half; i += 32) {
        const int first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + half;
        const float a = head[first], b = head[second];
        head[first] = a * cos[i] - b * sin[i];
        head[second] = b * cos[i] + a * sin[i];
    }
    warp_sync();
}

/* A block of 32 values, one a lane, with a scale: the largest / 127. */
DEVICE void store_quants(unsigned char *scale_at, unsigned char *at, float value, bool is_there)
{
    const float max = warp_max(fabsf(value));
    const bool is_finite = lane_ballot(!(fabsf(value) < INFINITY)) == 0;
    const uint16_t half = is_finite ? (uint16_t)pack_f16(max / 127.0f, 0.0f) : 0x7e00;
    const float scale = f16_to_float(half), q = scale > 0.0f ? rintf(value / scale) : 0.0f;
    if (lane_of() == 0)
        *(uint16_t *)scale_at = half;
    if (is_there)
        *(signed char *)at = (signed char)fminf(fmaxf(q, -127.0f), 127.0f);
}

/* A head's K (plane 0) or V to its slot. */
DEVICE void store(const struct pages &pages, int64_t slot, int layer, int head, int plane,
                  const float *from)
{
    const int planes = pages.latent_dim > 0 ? 1 : 2, dim = pages.head_dim;
    const int64_t offset = slot % pages.block_size;
    unsigned char *at = pages.blocks + slot / pages.block_size * pages.block_bytes +
                        (((int64_t)layer * pages.num_kv_heads + head) * planes + plane) *
                            pages.plane_bytes;
    unsigned char *values = at + pages.scale_bytes;
    for (int i = lane_of(); i < (dim + 31) / 32 * 32; i += 32) {
        const bool is_there = i < dim;
        const float value = is_there ? from[i] : 0.0f;
        const int64_t to = offset * dim + i;
        if (pages.number == KV_Q8_0)
            store_quants(at + 2 * (offset * pages.num_scales + i / 32), values + to, value,
                         is_there);
        else if (is_there && pages.number == KV_E4M3)
            values[to] = e4m3_of(value);
        else if (is_there)
            number_store(values,
                         pages.number == KV_F32    ? NUMBER_F32
                         : pages.number == KV_BF16 ? NUMBER_BF16
                                                   : NUMBER_F16,
                         to, value);
    }
}

/* Heads of a row in order: those of q, of k, of v. */
KERNEL(32 * WARPS, 4) rope_kernel(const struct rope_args args)
{
    __shared__ float heads[WARPS][MAX_DIM];
    begin_kernel();
    const int kv_heads = args.pages.num_kv_heads, dim = args.pages.head_dim;
    const int num = args.num_heads + 2 * kv_heads, warp = (int)threadIdx.x / 32;
    const int64_t unit = (int64_t)blockIdx.x * WARPS + warp;
    if (unit >= (int64_t)args.rows * num)
        return;
    const int64_t row = unit / num, slot = args.slots[row];
    const int h = (int)(unit % num), kv = h - args.num_heads;
    const bool is_q = kv < 0, is_v = kv >= kv_heads;
    const int half = args.rotary_dims / 2, position = args.positions[row];
    float *at = args.qkv + (row * num + h) * dim, *head = heads[warp];

    for (int i = lane_of(); i < dim; i += 32)
        head[i] = at[i];
    warp_sync();
    if (!is_v && args.q_norm != nullptr) {
        const float *squares =
            args.squares != nullptr ? args.squares + 2 * row + (is_q ? 0 : 1) : nullptr;
        const int64_t offset = squares != nullptr ? (int64_t)(is_q ? h : kv) * dim : 0;
        norm_head(head, (is_q ? args.q_norm : args.k_norm) + offset,
                  is_q ? args.q_bias : args.k_bias, dim, args.eps, squares,
                  is_q ? args.q_cols : args.k_cols);
    }
    if (!is_v)
        rotate(head, args.cos + (int64_t)position * half, args.sin + (int64_t)position * half,
               half, false);
    if (is_q) {
        for (int i = lane_of(); i < dim; i += 32)
            at[i] = head[i];
    } else if (slot >= 0) {
        store(args.pages, slot, args.layer, is_v ? kv - kv_heads : kv, is_v, head);
    }
}

/* Unit 0 of a row is its latent, the others are the rotated part of each head of q. */
KERNEL(32 * WARPS, 4) latent_kernel(const struct latent_args args)
{
    __shared__ float heads[WARPS][MAX_DIM];
    begin_kernel();
    const int num = args.num_heads + 1, warp = (int)threadIdx.x / 32;
    const int64_t unit = (int64_t)blockIdx.x * WARPS + warp;
    if (unit >= (int64_t)args.rows * num)
        return;
    const int64_t row = unit / num;
    const int h = (int)(unit % num) - 1, dim = args.pages.head_dim, latent = args.pages.latent_dim;
    const int dims = args.rotary_dims, half = dims / 2;
    const float *cos = args.cos + (int64_t)args.positions[row] * half;
    const float *sin = args.sin + (int64_t)args.positions[row] * half;
    float *head = heads[warp];

    if (h >= 0) {
        const float *q = args.q + (row * args.num_heads + h + 1) * args.q_dim - dims;
        float *to = args.absorbed + (row * args.num_heads + h) * dim + latent;
        for (int i = lane_of(); i < dims; i += 32)
            head[i] = q[i];
        warp_sync();
        rotate(head, cos, sin, half, args.interleaved);
        for (int i = lane_of(); i < dims; i += 32)
            to[i] = head[i];
        return;
    }
    float *at = args.latents + row * dim;
    for (int i = lane_of(); i < dim; i += 32)
        head[i] = at[i];
    warp_sync();
    norm_head(head, args.w, nullptr, latent, args.eps, nullptr, 0);
    rotate(head + latent, cos, sin, half, args.interleaved);
    for (int i = lane_of(); i < dim; i += 32)
        at[i] = head[i];
    if (args.slots[row] >= 0)
        store(args.pages, args.slots[row], args.layer, 0, 0, head);
}

extern "C" void rope_write(const struct launch *launch, const void *args)
{
    const struct rope_args *a = (const struct rope_args *)args;
    const int64_t units = (int64_t)a->rows * (a->num_heads + 2 * a->pages.num_kv_heads);
    launch_kernel(rope_kernel, dim3(ceil_div(units, WARPS)), 32 * WARPS, 0, launch, *a);
}

extern "C" void rope_latent_write(const struct launch *launch, const void *args)
{
    const struct latent_args *a = (const struct latent_args *)args;
    launch_kernel(latent_kernel, dim3(ceil_div((int64_t)a->rows * (a->num_heads + 1), WARPS)),
                  32 * WARPS, 0, launch, *a);
}
