/*
 * mma.cuh - the tensor cores' product of 16 x 16 by 16 x 8, and the loads that fit it
 *
 * A lane is (g, t) = (lane / 4, lane % 4). It holds of
 *     A [16][16] : a0 (g, 2t), a1 (g + 8, 2t), a2 (g, 2t + 8), a3 (g + 8, 2t + 8), two columns each
 *     B [16][8]  : b0 (2t, g), b1 (2t + 8, g), two rows each
 *     C [16][8]  : c0 c1 (g, 2t), c2 c3 (g + 8, 2t), two columns
 * The order in which the 16 inputs are counted is free as long as A and B agree.
 */
#ifndef KERNELS_CUDA_MMA_CUH
#define KERNELS_CUDA_MMA_CUH

#include "kernels/cuda/device.cuh"

#ifndef CUDA_EMULATED
DEVICE void mma_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

DEVICE void mma_f16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* A place in shared memory, in bytes: what is added to it costs nothing. */
typedef uint32_t shared_place;

DEVICE shared_place place_of(const void *at)
{
    return (uint32_t)__cvta_generic_to_shared(at);
}

/* Four matrices of 8 x 8 from shared memory; lanes 8 m to 8 m + 7 name the rows of matrix m, 16 bytes
 * each. A lane gets of each row g, columns 2t, 2t + 1 ... */
DEVICE void load_rows(uint32_t to[4], shared_place row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row)
                 : "memory");
}

/* ... or, turned over, rows 2t, 2t + 1 of column g. */
DEVICE void load_turned(uint32_t to[4], shared_place row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row)
                 : "memory");
}
#endif

#endif
