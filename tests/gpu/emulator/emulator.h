/*
 * emulator.h - kernels of kernels/cuda/ as C++ of the host
 *
 * Each thread of a block is a fiber with a stack of its own; blocks run one after the other. A
 * barrier, a shuffle, a product of the tensor cores: the fiber gives way until those that take part
 * have come. Products and conversions follow the PTX manual: fragments lie in lanes as they do on
 * the device, numbers of 16 bits are rounded to the nearest, ties to even. So indices, layouts,
 * barriers and arithmetic are tested; speed and what a compiler does of it are not.
 *
 * Dynamic shared memory is full of NaN when a block begins, and so is what a copy has not brought
 * yet: it comes when it is waited for. A warp goes as far as the block's barrier before the next
 * one begins, and launches run blocks and warps forwards and backwards in turn: a barrier that is
 * missing, or a copy waited for too little, gives itself away.
 */
#ifndef TESTS_GPU_EMULATOR_H
#define TESTS_GPU_EMULATOR_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#include "base/half.h"
#include "kernels/cuda/ops.h"
#include "tests/gpu/emulator/queue.h"

using std::copysignf;
using std::fmaxf;
using std::fminf;
using std::isnan;

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

struct uint2 {
    unsigned x, y;
};

struct uint4 {
    unsigned x, y, z, w;
};

static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return uint2{ x, y };
}

static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return uint4{ x, y, z, w };
}

/* Of the fiber that runs. */
extern dim3 threadIdx, blockIdx, blockDim, gridDim;
extern unsigned char *emulator_shared;

void emulator_run(dim3 grid, int threads, int shared_bytes, const std::function<void()> &kernel);
void emulator_block_sync(void);

/* All lanes of a warp give `num` words; the last to come calls `all` with those of every lane,
 * [32][num], and each takes those of lane `from` with it. */
void emulator_meet(uint32_t *words, int num, int from, void (*all)(uint32_t *lanes, int num));

#define DEVICE                  static inline __attribute__((unused))
#define DEVICE_MEMBER           inline
#define __shared__              static
#define DYNAMIC_SHARED(name)    unsigned char *name = emulator_shared
#define KERNEL(threads, blocks) static void

template <typename... Parameters, typename... Arguments>
static void launch_kernel(void (*kernel)(Parameters...), dim3 grid, int threads, int shared_bytes,
                          const struct launch *launch, const Arguments &...arguments)
{
    if (shared_bytes > launch->max_shared_bytes)
        __builtin_trap();
    queue_add((struct queue *)launch->stream, [=]() {
        emulator_run(grid, threads, shared_bytes, [=]() { kernel(arguments...); });
    });
}

template <typename... Parameters> static int built_for(void (*)(Parameters...))
{
    return 90;
}

void begin_kernel(void);

/* --- lanes ---------------------------------------------------------------------------------- */

template <typename T> static inline T emulator_from(T x, int lane)
{
    constexpr int num = (sizeof(T) + 3) / 4;
    uint32_t words[num] = { 0 };
    std::memcpy(words, &x, sizeof(x));
    emulator_meet(words, num, lane, nullptr);
    std::memcpy(&x, words, sizeof(x));
    return x;
}

static inline int emulator_lane(void)
{
    return (int)threadIdx.x & 31;
}

template <typename T> static inline T lane_xor(T x, int mask)
{
    return emulator_from(x, emulator_lane() ^ mask);
}

template <typename T> static inline T lane_up(T x, int delta)
{
    const int lane = emulator_lane();
    return emulator_from(x, lane >= delta ? lane - delta : lane);
}

unsigned lane_ballot(bool x);

static inline float lane_at(float x, int lane)
{
    return emulator_from(x, lane);
}

void warp_sync(void);

static inline void block_sync(void)
{
    emulator_block_sync();
}

static inline int atomic_add(int *at, int value)
{
    const int old = *at;
    *at += value;
    return old;
}

static inline void fence(void)
{
}

static inline int count_bits(unsigned x)
{
    return __builtin_popcount(x);
}

static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

static inline int __clz(int x)
{
    return x == 0 ? 32 : __builtin_clz((unsigned)x);
}

/* --- numbers -------------------------------------------------------------------------------- */

static inline uint32_t float_bits(float x)
{
    return float_to_bits(x);
}

static inline float bits_float(uint32_t x)
{
    return float_from_bits(x);
}

static inline uint32_t emulator_bf16(float x)
{
    const uint32_t bits = float_to_bits(x);
    if (x != x)
        return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static inline uint32_t pack_bf16(float low, float high)
{
    return emulator_bf16(low) | emulator_bf16(high) << 16;
}

static inline uint32_t pack_f16(float low, float high)
{
    if (low != low || high != high)
        return 0x7e007e00u;
    const float most = 65504.0f;
    return half_to_f16(fminf(fmaxf(low, -most), most)) |
           (uint32_t)half_to_f16(fminf(fmaxf(high, -most), most)) << 16;
}

static inline uint32_t pack_f16_within(float low, float high)
{
    return half_to_f16(low) | (uint32_t)half_to_f16(high) << 16;
}

static inline float f16_to_float(uint16_t half)
{
    return half_from_f16(half);
}

static inline uint32_t sub_bf16(uint32_t a, uint32_t b)
{
    return pack_bf16(half_from_bf16((uint16_t)a) - half_from_bf16((uint16_t)b),
                     half_from_bf16((uint16_t)(a >> 16)) - half_from_bf16((uint16_t)(b >> 16)));
}

static inline uint32_t mul_bf16(uint32_t a, uint32_t b)
{
    return pack_bf16(half_from_bf16((uint16_t)a) * half_from_bf16((uint16_t)b),
                     half_from_bf16((uint16_t)(a >> 16)) * half_from_bf16((uint16_t)(b >> 16)));
}

static inline void fetch_ahead(const void *)
{
}

static inline int afresh(int x)
{
    return x;
}

static inline uint32_t mul_high(uint32_t a, uint32_t b)
{
    return (uint32_t)((uint64_t)a * b >> 32);
}

static inline float exp_of(float x)
{
    return std::exp(x);
}

static inline float divide_of(float a, float b)
{
    return a / b;
}

static inline uint32_t pick_bytes(uint32_t word, uint32_t which)
{
    const uint64_t bytes = word; /* and zeros */
    uint32_t picked = 0;
    for (int i = 0; i < 4; i++)
        picked |= (uint32_t)(bytes >> 8 * (which >> 4 * i & 7) & 255) << 8 * i;
    return picked;
}

static inline uint4 load_once(const uint4 *at)
{
    return *at;
}

/* --- copies: done when they are waited for ------------------------------------------------- */

void copy_async(void *shared, const void *global, bool there);
void copy_commit(void);
void emulator_copy_wait(int left);

template <int left> static inline void copy_wait(void)
{
    emulator_copy_wait(left);
}

/* --- tensor cores --------------------------------------------------------------------------- */

void mma_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1);
void mma_f16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1);
typedef const unsigned char *shared_place;

static inline shared_place place_of(const void *at)
{
    return (shared_place)at;
}

void load_rows(uint32_t to[4], shared_place row);
void load_turned(uint32_t to[4], shared_place row);

#endif
