#include "kernels/cpu/simd/ops.h"

/* erfc(z) e^(z^2) as a polynomial in t = 1 / (1 + z / 2), least squares for z in [0, 10]: within
 * 2e-7 of the value. */
static const float erfc_terms[] = {
    -0x1.fcdeeap-5f, 0x1.31615cp-2f, -0x1.06a026p-1f, 0x1.37feb2p-2f, -0x1.60c03ep-5f,
    0x1.abc2c8p-3f,  0x1.ef0e50p-3f, 0x1.215270p-2f,  0x1.20d91ap-2f,
};

/* x P(N < x) by the tail below -|x|, which loses no digits there. */
static ALWAYS_INLINE vec gelu(vec x)
{
    const vec zero = vec_set(0.0f), one = vec_set(1.0f);
    const vec z = vec_mul(vec_max(x, vec_sub(zero, x)), vec_set(0x1.6a09e6p-1f));
    const vec t = vec_div(one, vec_fma(z, vec_set(0.5f), one));
    vec p = vec_set(erfc_terms[0]);
    UNROLLED
    for (int i = 1; i < 9; i++)
        p = vec_fma(p, t, vec_set(erfc_terms[i]));
    const vec gauss = vec_exp(vec_sub(zero, vec_mul(z, z)));
    const vec tail = vec_mul(vec_mul(vec_mul(p, t), gauss), vec_set(0.5f));
    return vec_mul(x, vec_below(x, zero, tail, vec_sub(one, tail)));
}

static ALWAYS_INLINE vec silu(vec x)
{
    return vec_div(x, vec_add(vec_set(1.0f), vec_exp(vec_sub(vec_set(0.0f), x))));
}

/* (1 + tanh(u)) / 2 = 1 / (1 + e^(-2 u)) */
static ALWAYS_INLINE vec gelu_tanh(vec x)
{
    const vec cubic = vec_fma(vec_mul(vec_mul(x, x), x), vec_set(0.044715f), x);
    const vec e = vec_exp(vec_mul(cubic, vec_set(-1.5957691216f)));
    return vec_div(x, vec_add(vec_set(1.0f), e));
}

static ALWAYS_INLINE vec act(enum activation activation, vec x)
{
    return activation == ACTIVATION_SILU        ? silu(x)
           : activation == ACTIVATION_GELU_TANH ? gelu_tanh(x)
                                                : gelu(x);
}

/* For a constant `activation`; `up` is NULL where nothing is multiplied. */
static ALWAYS_INLINE void act_part(enum activation activation, float *out, const float *in,
                                   const float *up, int64_t num)
{
    for (int64_t i = 0; i < num; i += VEC_LANES) {
        const int32_t n = num - i < VEC_LANES ? (int32_t)(num - i) : VEC_LANES;
        const vec value = act(activation, vec_load_part(in + i, n));
        vec_store_part(out + i, up ? vec_mul(value, vec_load_part(up + i, n)) : value, n);
    }
}

static void act_row(const struct activate_args *args, float *out, const float *in, int64_t num)
{
    const float *up = args->gated ? in + args->cols : NULL;
    switch (args->activation) {
    case ACTIVATION_SILU:
        act_part(ACTIVATION_SILU, out, in, up, num);
        break;
    case ACTIVATION_GELU_TANH:
        act_part(ACTIVATION_GELU_TANH, out, in, up, num);
        break;
    case ACTIVATION_GELU:
        act_part(ACTIVATION_GELU, out, in, up, num);
        break;
    }
}

void SIMD(activate)(const struct activate_args *args, int64_t from, int64_t to)
{
    const int64_t cols = args->cols, in_cols = args->gated ? 2 * cols : cols;
    while (from < to) {
        const int64_t row = from / cols, col = from % cols;
        const int64_t num = to - from < cols - col ? to - from : cols - col;
        act_row(args, args->out + from, args->in + row * in_cols + col, num);
        from += num;
    }
}

void SIMD(soft_cap)(const struct cap_args *args, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i += VEC_LANES) {
        const int32_t n = to - i < VEC_LANES ? (int32_t)(to - i) : VEC_LANES;
        vec_store_part(args->x + i, vec_soft_cap(vec_load_part(args->x + i, n), args->cap), n);
    }
}
