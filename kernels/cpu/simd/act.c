#include "kernels/cpu/simd/ops.h"

static void silu_part(float *out, const float *gate, const float *up, int64_t num)
{
    const vec one = vec_set(1.0f);
    for (int64_t i = 0; i < num; i += VEC_LANES) {
        const int32_t n = num - i < VEC_LANES ? (int32_t)(num - i) : VEC_LANES;
        const vec g = vec_load_part(gate + i, n), u = vec_load_part(up + i, n);
        const vec e = vec_exp(vec_sub(vec_set(0.0f), g));
        vec_store_part(out + i, vec_mul(vec_div(g, vec_add(one, e)), u), n);
    }
}

void SIMD(silu_mul)(const struct silu_args *args, int64_t from, int64_t to)
{
    const int64_t cols = args->cols;
    while (from < to) {
        const int64_t row = from / cols, col = from % cols;
        const int64_t num = to - from < cols - col ? to - from : cols - col;
        const float *gate = args->gate_up + row * 2 * cols + col;
        silu_part(args->out + from, gate, gate + cols, num);
        from += num;
    }
}
