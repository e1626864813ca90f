#include "kernels/cpu/simd/tile.h"

enum { TILE_PANELS = VEC_LANES == 16 ? 4 : 2 };

/*
 * The loop over k, for constant `rows`, `panels` and `dtype`: the compiler makes a straight run
 * of FMAs of it with all sums in registers. Bound by bytes of w for one to three rows, where
 * several panels are as many streams of memory; by FMA for more. Fewer streams than four leave
 * the processor's own prefetcher short of requests: a line is asked for a page ahead.
 */
static ALWAYS_INLINE void tile_kernel(const struct tile_job *job, int64_t first_row,
                                      int64_t first_panel, const int rows, const int panels,
                                      const enum dtype dtype)
{
    const float *x = job->x + first_row * job->x_stride;
    const float *bias = job->bias ? job->bias + first_panel * PANEL_ROWS : NULL;
    float *out = job->out + first_row * job->out_stride + first_panel * PANEL_ROWS;
    const int64_t x_stride = job->x_stride, out_stride = job->out_stride;
    const int64_t panel_stride = job->panel_stride, k_stride = job->k_stride;
    const size_t size = dtype == DTYPE_F32 ? 4 : 2, prefetch = job->prefetch_bytes;
    const unsigned char *w =
        (const unsigned char *)job->w + (size_t)(first_panel * panel_stride) * size;
    vec sums[TILE_ROWS][TILE_PANELS * PANEL_VECS];

    UNROLLED
    for (int r = 0; r < rows; r++) {
        UNROLLED
        for (int i = 0; i < panels * PANEL_VECS; i++)
            sums[r][i] =
                job->accumulate ? vec_load(out + r * out_stride + i * VEC_LANES) : vec_set(0.0f);
    }

    for (int32_t k = 0; k < job->num_k; k++) {
        UNROLLED
        for (int p = 0; p < panels; p++) {
            const unsigned char *ahead = w + (size_t)(p * panel_stride) * size + prefetch;
            vec column[PANEL_VECS];
            __builtin_prefetch(ahead, 0, 2);
            if (size == 4)
                __builtin_prefetch(ahead + 64, 0, 2);
            vec_load_panel(dtype, w, p * panel_stride, column);
            UNROLLED
            for (int r = 0; r < rows; r++) {
                const vec value = vec_set(x[r * x_stride + k]);
                UNROLLED
                for (int i = 0; i < PANEL_VECS; i++)
                    sums[r][p * PANEL_VECS + i] =
                        vec_fma(column[i], value, sums[r][p * PANEL_VECS + i]);
            }
        }
        w += (size_t)k_stride * size;
    }

    UNROLLED
    for (int r = 0; r < rows; r++) {
        UNROLLED
        for (int i = 0; i < panels * PANEL_VECS; i++) {
            const vec sum = bias ? vec_add(sums[r][i], vec_load(bias + i * VEC_LANES)) : sums[r][i];
            vec_store(out + r * out_stride + i * VEC_LANES, sum);
        }
    }
}

typedef void kernel_function(const struct tile_job *job, int64_t first_row, int64_t first_panel);

/* One function per shape and type. */
#define KERNEL(rows, panels, type)                                                                 \
    static void kernel_##rows##x##panels##_##type(const struct tile_job *job, int64_t first_row,   \
                                                  int64_t first_panel)                             \
    {                                                                                              \
        tile_kernel(job, first_row, first_panel, rows, panels, DTYPE_##type);                      \
    }
#define KERNELS(rows, panels)                                                                      \
    KERNEL(rows, panels, F32) KERNEL(rows, panels, F16) KERNEL(rows, panels, BF16)
#define ROW(rows, panels)                                                                          \
    {                                                                                              \
        [DTYPE_F32] = kernel_##rows##x##panels##_F32,                                              \
        [DTYPE_F16] = kernel_##rows##x##panels##_F16,                                              \
        [DTYPE_BF16] = kernel_##rows##x##panels##_BF16                                             \
    }

enum { NUM_DTYPES = 3 };

KERNELS(1, 1)
KERNELS(2, 1)
KERNELS(3, 1)
KERNELS(1, 2)

/* [log2 of panels][rows - 1]; an empty entry would need more registers than there are. */
#if defined(__AVX512F__)
KERNELS(4, 1)
KERNELS(5, 1)
KERNELS(6, 1)
KERNELS(2, 2)
KERNELS(3, 2)
KERNELS(4, 2)
KERNELS(5, 2)
KERNELS(6, 2)
KERNELS(1, 4)
KERNELS(2, 4)
KERNELS(3, 4)
KERNELS(7, 1)
KERNELS(8, 1)
KERNELS(9, 1)
KERNELS(10, 1)
KERNELS(11, 1)
KERNELS(12, 1)

static kernel_function *const kernels[3][TILE_ROWS][NUM_DTYPES] = {
    { ROW(1, 1), ROW(2, 1), ROW(3, 1), ROW(4, 1), ROW(5, 1), ROW(6, 1), ROW(7, 1), ROW(8, 1),
      ROW(9, 1), ROW(10, 1), ROW(11, 1), ROW(12, 1) },
    { ROW(1, 2), ROW(2, 2), ROW(3, 2), ROW(4, 2), ROW(5, 2), ROW(6, 2) },
    { ROW(1, 4), ROW(2, 4), ROW(3, 4) },
};
static const int32_t most_panels_log2[TILE_ROWS] = { 2, 2, 2, 1, 1, 1 };
enum { MANY_ROWS = 6 };
#else
static kernel_function *const kernels[2][TILE_ROWS][NUM_DTYPES] = {
    { ROW(1, 1), ROW(2, 1), ROW(3, 1) },
    { ROW(1, 2) },
};
static const int32_t most_panels_log2[TILE_ROWS] = { 1, 0, 0 };
enum { MANY_ROWS = TILE_ROWS };
#endif

void SIMD(tile_run)(const struct tile_job *job, int32_t num_rows, int32_t num_panels)
{
    int32_t rows;
    for (int32_t row = 0; row < num_rows; row += rows) {
        rows = num_rows - row <= TILE_ROWS ? num_rows - row : MANY_ROWS;
        int32_t log2 = most_panels_log2[rows - 1];

        for (int32_t panel = 0; panel < num_panels; panel += 1 << log2) {
            while (1 << log2 > num_panels - panel)
                log2--;
            kernels[log2][rows - 1][job->dtype](job, row, panel);
        }
    }
}
