#include "kernels/cpu/simd/ops.h"
#include "kernels/cpu/simd/tile.h"

/*
 * Many rows are bound by FMA when what the inner loop reads is near: the rows' part of x
 * (TILE_ROWS * BLOCK_K floats, 24 KiB) in the first-level cache, the panels' part of w
 * (BLOCK_PANELS * BLOCK_K columns, 256 KiB of bf16) in the second. Up to STREAM_ROWS the whole of
 * x is near, and panels are read from end to end.
 */
enum { BLOCK_PANELS = 8, BLOCK_K = 512, STREAM_ROWS = 3 };

static struct tile_job make_job(const struct linear_args *args, int32_t panel, int32_t row_from)
{
    const struct weight *weight = args->weight;
    const int32_t column = panel * PANEL_ROWS;
    return (struct tile_job){
        .dtype = weight->dtype,
        .num_k = weight->cols,
        .x = args->x + row_from * args->x_stride,
        .x_stride = args->x_stride,
        .w = weight_panel(weight, panel),
        .k_stride = PANEL_ROWS,
        .panel_stride = (int64_t)weight->cols * PANEL_ROWS,
        .prefetch_bytes = 4096, /* the next page: hardware stops at the end of this one */
        .out = args->out + row_from * args->out_stride + column,
        .out_stride = args->out_stride,
        .bias = args->bias ? args->bias + column : NULL,
    };
}

/* Part [k_from, k_from + num) of the sums; the bias belongs to the last. */
static void run_part(const struct linear_args *args, const struct tile_job *whole, int32_t k_from,
                     int32_t num_k, int32_t num_rows, int32_t num_panels)
{
    struct tile_job job = *whole;
    job.accumulate = k_from > 0;
    job.x += k_from;
    job.w = (const unsigned char *)job.w +
            (size_t)k_from * PANEL_ROWS * dtype_bytes(args->weight->dtype);
    job.num_k = num_k;
    if (k_from + num_k < args->weight->cols)
        job.bias = NULL;
    SIMD(tile_run)(&job, num_rows, num_panels);
}

static void run_panels(const struct linear_args *args, int32_t panel, int32_t num_panels,
                       int32_t row_from, int32_t num_rows)
{
    const struct tile_job job = make_job(args, panel, row_from);
    const int32_t cols = args->weight->cols;
    const int32_t block = num_rows <= STREAM_ROWS ? cols : BLOCK_K;

    for (int32_t k = 0; k < cols; k += block)
        run_part(args, &job, k, cols - k < block ? cols - k : block, num_rows, num_panels);
}

/* A last panel that out has only a part of: through a whole one. */
static void run_edge(const struct linear_args *args, int32_t panel, int32_t row, int32_t num_rows)
{
    const int32_t num = args->weight->rows - panel * PANEL_ROWS;
    float whole[TILE_ROWS * PANEL_ROWS];
    struct tile_job job = make_job(args, panel, row);
    float *out = job.out;
    const float *bias = job.bias;

    job.out = whole;
    job.out_stride = PANEL_ROWS;
    job.bias = NULL;
    SIMD(tile_run)(&job, num_rows, 1);
    for (int32_t r = 0; r < num_rows; r++)
        for (int32_t i = 0; i < num; i++) {
            const float sum = whole[r * PANEL_ROWS + i];
            out[r * args->out_stride + i] = bias ? sum + bias[i] : sum;
        }
}

static int32_t min_i32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

void SIMD(linear)(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                  int32_t row_from, int32_t row_to)
{
    const int32_t num_rows = row_to - row_from;
    const int32_t whole_to = min_i32(panel_to, args->weight->rows / PANEL_ROWS);
    const int32_t block = num_rows <= TILE_ROWS ? INT32_MAX : BLOCK_PANELS;

    for (int32_t panel = panel_from; panel < whole_to;) {
        const int32_t num = min_i32(block, whole_to - panel);
        run_panels(args, panel, num, row_from, num_rows);
        panel += num;
    }
    for (int32_t panel = whole_to > panel_from ? whole_to : panel_from; panel < panel_to; panel++)
        for (int32_t row = row_from; row < row_to; row += TILE_ROWS)
            run_edge(args, panel, row, min_i32(TILE_ROWS, row_to - row));
}
