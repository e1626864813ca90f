/*
 * device.cuh - what kernels are written in: launches, lanes, numbers of 16 bits, reductions
 *
 * Kernels use nothing of CUDA's but what stands here and the words __global__, __shared__,
 * threadIdx and blockIdx. Over tests/gpu/emulator/emulator.h the same sources run on the host, so
 * that what they compute is tested where there is no GPU.
 */
#ifndef KERNELS_CUDA_DEVICE_CUH
#define KERNELS_CUDA_DEVICE_CUH

#ifdef CUDA_EMULATED
#include "tests/gpu/emulator/emulator.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

#include <stdint.h>

#include "kernels/cuda/ops.h"

#ifndef CUDA_EMULATED
#define DEVICE               static __device__ __forceinline__
#define DEVICE_MEMBER        __device__ __forceinline__
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
/* The bound keeps a kernel's registers low enough for so many blocks on an SM. */
#define KERNEL(threads, blocks) static __global__ void __launch_bounds__(threads, blocks)

template <typename... Parameters, typename... Arguments>
static void launch_kernel(void (*kernel)(Parameters...), dim3 grid, int threads, int shared_bytes,
                          const struct launch *launch, const Arguments &...arguments)
{
    if (grid.x == 0 || grid.y == 0 || grid.z == 0)
        return;
    if (shared_bytes > 48 * 1024)
        cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             shared_bytes);
    cudaLaunchAttribute overlap = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = dim3((unsigned)threads);
    config.dynamicSmemBytes = (size_t)shared_bytes;
    config.stream = (cudaStream_t)launch->stream;
    config.attrs = &overlap;
    config.numAttrs = launch->overlaps ? 1 : 0;
    cudaLaunchKernelEx(&config, kernel, arguments...);
}

template <typename... Parameters> static int built_for(void (*kernel)(Parameters...))
{
    cudaFuncAttributes attributes;
    const cudaError_t r = cudaFuncGetAttributes(&attributes, (const void *)kernel);
    return r == cudaSuccess ? attributes.ptxVersion : 0;
}

/*
 * What each kernel does first; only weights may be read before. It may have been launched while the
 * kernels before it still run (programmatic dependent launch): here it waits until they have ended
 * and what they wrote is seen. Then the next one may come and wait in its turn.
 */
DEVICE void begin_kernel(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;\n" ::: "memory");
    asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}

DEVICE float lane_xor(float x, int mask)
{
    return __shfl_xor_sync(0xffffffffu, x, mask);
}

DEVICE double lane_xor(double x, int mask)
{
    return __shfl_xor_sync(0xffffffffu, x, mask);
}

DEVICE int lane_xor(int x, int mask)
{
    return __shfl_xor_sync(0xffffffffu, x, mask);
}

DEVICE uint64_t lane_xor(uint64_t x, int mask)
{
    return __shfl_xor_sync(0xffffffffu, (unsigned long long)x, mask);
}

DEVICE uint64_t lane_up(uint64_t x, int delta)
{
    return __shfl_up_sync(0xffffffffu, (unsigned long long)x, delta);
}

DEVICE float lane_at(float x, int lane)
{
    return __shfl_sync(0xffffffffu, x, lane);
}

DEVICE unsigned lane_ballot(bool x)
{
    return __ballot_sync(0xffffffffu, x);
}

DEVICE int count_bits(unsigned x)
{
    return __popc(x);
}

DEVICE void warp_sync(void)
{
    __syncwarp();
}

DEVICE void block_sync(void)
{
    __syncthreads();
}

DEVICE int atomic_add(int *at, int value)
{
    return atomicAdd(at, value);
}

/* What this thread wrote is seen by other blocks before what it writes next. */
DEVICE void fence(void)
{
    __threadfence();
}

/* Two numbers of 16 bits in a word, the first in its low half. */
DEVICE uint32_t pack_bf16(float low, float high)
{
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *(const uint32_t *)&pair;
}

DEVICE uint32_t pack_f16(float low, float high) /* beyond the greatest: the greatest */
{
    const float most = 65504.0f;
    const __half2 pair =
        __floats2half2_rn(fminf(fmaxf(low, -most), most), fminf(fmaxf(high, -most), most));
    return (low != low || high != high) ? 0x7e007e00u : *(const uint32_t *)&pair;
}

DEVICE uint32_t pack_f16_within(float low, float high) /* neither is beyond it */
{
    const __half2 pair = __floats2half2_rn(low, high);
    return *(const uint32_t *)&pair;
}

DEVICE float f16_to_float(uint16_t half)
{
    return __half2float(*(const __half *)&half);
}

DEVICE uint32_t sub_bf16(uint32_t a, uint32_t b)
{
    const __nv_bfloat162 pair = __hsub2(*(const __nv_bfloat162 *)&a, *(const __nv_bfloat162 *)&b);
    return *(const uint32_t *)&pair;
}

DEVICE uint32_t mul_bf16(uint32_t a, uint32_t b)
{
    const __nv_bfloat162 pair = __hmul2(*(const __nv_bfloat162 *)&a, *(const __nv_bfloat162 *)&b);
    return *(const uint32_t *)&pair;
}

/* 16 bytes from global to shared memory, or zeros; complete after copy_wait(). */
DEVICE void copy_async(void *shared, const void *global, bool there)
{
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(shared);
    const int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(at), "l"(global),
                 "r"(bytes)
                 : "memory");
}

DEVICE void copy_commit(void)
{
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}

/* All but the newest `left` groups have arrived, of this thread's. */
template <int left> DEVICE void copy_wait(void)
{
    asm volatile("cp.async.wait_group %0;\n" ::"n"(left) : "memory");
}

/* Weights are read once: they need no place in L1. */
DEVICE uint4 load_once(const uint4 *at)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at));
    return v;
}

DEVICE uint32_t float_bits(float x)
{
    return __float_as_uint(x);
}

DEVICE float bits_float(uint32_t x)
{
    return __uint_as_float(x);
}

/* Memory that will be wanted comes to L2; of any address, and nobody waits for it. */
DEVICE void fetch_ahead(const void *at)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}

/* x, but the compiler cannot see that: what depends on it is computed where it is wanted, and takes
 * no register before. */
DEVICE int afresh(int x)
{
    asm volatile("" : "+r"(x));
    return x;
}

DEVICE uint32_t mul_high(uint32_t a, uint32_t b)
{
    return __umulhi(a, b);
}

DEVICE float exp_of(float x)
{
    return __expf(x);
}

DEVICE float divide_of(float a, float b)
{
    return __fdividef(a, b);
}

/* Four bytes, each chosen by a nibble of `which`: 0 to 3 are the word's, 4 is zero. */
DEVICE uint32_t pick_bytes(uint32_t word, uint32_t which)
{
    return __byte_perm(word, 0, which);
}
#endif

/* --- the same everywhere ---------------------------------------------------------------------- */

DEVICE int lane_of(void)
{
    return (int)threadIdx.x & 31;
}

DEVICE float bf16_to_float(uint16_t half)
{
    return bits_float((uint32_t)half << 16);
}

/* Number `i` of an array of a kind. */
DEVICE float number_at(const void *array, enum number number, int64_t i)
{
    if (number == NUMBER_F32)
        return ((const float *)array)[i];
    const uint16_t half = ((const uint16_t *)array)[i];
    return number == NUMBER_F16 ? f16_to_float(half) : bf16_to_float(half);
}

DEVICE void number_store(void *array, enum number number, int64_t i, float value)
{
    if (number == NUMBER_F32)
        ((float *)array)[i] = value;
    else
        ((uint16_t *)array)[i] =
            (uint16_t)(number == NUMBER_F16 ? pack_f16(value, 0.0f) : pack_bf16(value, 0.0f));
}

/* To 2^-23 of 1, by a few instructions. */
DEVICE float tanh_of(float x)
{
    const float e = exp_of(-2.0f * fabsf(x));
    return copysignf(divide_of(1.0f - e, 1.0f + e), x);
}

DEVICE float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* Sums over a warp: every lane gets it, and the order is the same whatever the values. */
template <typename T> DEVICE T warp_sum(T x)
{
    for (int mask = 16; mask > 0; mask /= 2)
        x += lane_xor(x, mask);
    return x;
}

DEVICE float warp_max(float x)
{
    for (int mask = 16; mask > 0; mask /= 2)
        x = fmaxf(x, lane_xor(x, mask));
    return x;
}

enum { MAX_WARPS = 32 };

/* Over a block of whole warps; `space` [MAX_WARPS] is shared and free before and after. */
template <typename T> DEVICE T block_sum(T x, T *space)
{
    const int warps = (int)blockDim.x / 32;
    x = warp_sum(x);
    block_sync();
    if (lane_of() == 0)
        space[threadIdx.x / 32] = x;
    block_sync();
    T sum = space[0];
    for (int i = 1; i < warps; i++)
        sum += space[i];
    block_sync();
    return sum;
}

DEVICE float block_max(float x, float *space)
{
    const int warps = (int)blockDim.x / 32;
    x = warp_max(x);
    block_sync();
    if (lane_of() == 0)
        space[threadIdx.x / 32] = x;
    block_sync();
    float max = space[0];
    for (int i = 1; i < warps; i++)
        max = fmaxf(max, space[i]);
    block_sync();
    return max;
}

static inline int ceil_div(int64_t a, int64_t b)
{
    return (int)((a + b - 1) / b);
}

#endif
