#if defined(__AVX512F__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/simd/linear_amx.h"
#include "kernels/cpu/simd/linear_bf16.h"
#else
#include "kernels/cpu/simd/ops.h"
#endif

#if defined(__aarch64__)
#include <sys/auxv.h>
#elif !defined(__AVX512F__)
#include <cpuid.h>

/* Not every compiler knows it by name. It uses the registers of AVX. */
static bool has_f16c(void)
{
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

/* __builtin_cpu_supports() asks the processor and, through XGETBV, whether the system saves the
 * registers. */
static bool is_supported(void)
{
#if defined(__aarch64__)
    return true;
#elif defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
#endif
}

/* All but what depends on the integer instructions. */
#define COMMON                                                                                     \
    .add_rms_norm = SIMD(add_rms_norm), .add_layer_norm = SIMD(add_layer_norm),                    \
    .linear = SIMD(linear), .linear_scaled = SIMD(linear_scaled), .quantize = SIMD(quantize),      \
    .rope_kv_write = SIMD(rope_kv_write), .attention_begin = SIMD(attention_begin),                \
    .attention_span = SIMD(attention_span), .attention_combine = SIMD(attention_combine),          \
    .attention_end = SIMD(attention_end), .qk_squares = SIMD(qk_squares),                          \
    .activate = SIMD(activate), .soft_cap = SIMD(soft_cap)

const struct isa SIMD(isa) = {
    .name = SIMD_NAME,
    .is_supported = is_supported,
    .linear_quant = SIMD(linear_quant),
    COMMON,
};

#if defined(__AVX512F__)
static bool has_vnni(void)
{
    return is_supported() && __builtin_cpu_supports("avx512vnni");
}

const struct isa isa_avx512_vnni = {
    .name = "avx512_vnni",
    .is_supported = has_vnni,
    .linear_quant = linear_quant_avx512_vnni,
    COMMON,
};

/* The system gives the tiles' registers to a process that asks for them. */
static bool has_amx(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    const unsigned wanted = 1u << 22 | 1u << 24 | 1u << 25; /* bf16, tiles, int8 */
    unsigned a, b, c, d = 0;
    return has_vnni() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & wanted) == wanted &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

const struct isa isa_avx512_amx = {
    .name = "avx512_amx",
    .is_supported = has_amx,
    .linear_quant = linear_quant_avx512_amx,
    .linear_tiles = linear_bf16_avx512_amx,
    COMMON,
};

#elif defined(__aarch64__)
static bool has_dot(void)
{
    enum { DOT_PRODUCTS = 1 << 20 }; /* HWCAP_ASIMDDP */
    return (getauxval(AT_HWCAP) & DOT_PRODUCTS) != 0;
}

const struct isa isa_neon_dot = {
    .name = "neon_dot",
    .is_supported = has_dot,
    .linear_quant = linear_quant_neon_dot,
    COMMON,
};
#endif
