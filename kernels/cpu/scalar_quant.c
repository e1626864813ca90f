/* Products over blocks as their formula reads, in plain C: part of the instruction set `scalar`. */
#include <math.h>

#include "kernels/cpu/scalar_quant.h"

static void quantize_block(const float *x, int8_t *q, float *scale, int32_t sums[2])
{
    float largest = 0.0f, none = 0.0f;
    for (int32_t k = 0; k < QUANT_BLOCK; k++) {
        largest = fmaxf(largest, fabsf(x[k]));
        none += 0.0f * x[k]; /* NaN where x is not finite */
    }
    const bool is_finite = none == 0.0f, is_zero = !is_finite || largest < QUANT_TINY;
    const float inverse = is_zero ? 0.0f : 127.0f / largest;
    *scale = !is_finite ? NAN : is_zero ? 0.0f : largest / 127.0f;
    sums[0] = sums[1] = 0;
    for (int32_t k = 0; k < QUANT_BLOCK; k++) {
        q[k] = is_zero ? 0 : (int8_t)lrintf(x[k] * inverse);
        sums[k / 16] += q[k];
    }
}

void scalar_quantize(const struct quantize_args *args, int32_t row_from, int32_t row_to)
{
    const int64_t cols = args->cols, blocks = cols / QUANT_BLOCK;
    for (int64_t i = row_from * blocks; i < row_to * blocks; i++) {
        int8_t *q = args->out.q + i / blocks * quant_stride(cols) + i % blocks * QUANT_BLOCK;
        quantize_block(args->x + i * QUANT_BLOCK, q, &args->out.scales[i], &args->out.sums[2 * i]);
    }
}

/* A part of a block in lane `lane`, of the inputs that have one scale: its integers times those of
 * x, what that is worth, less what the minimum is. */
static float add_part(enum dtype dtype, const unsigned char *head, const unsigned char *block,
                      int32_t lane, const int8_t *q, float x_scale, const int32_t *sums,
                      int32_t part, float total)
{
    const struct quant_form *form = &quant_forms[dtype];
    const int32_t num = QUANT_BLOCK / form->terms;
    float scale, minimum;
    int32_t sum = 0;
    quant_scale_of(dtype, head, block, lane, part * num, &scale, &minimum);
    for (int32_t k = part * num; k < (part + 1) * num; k++)
        sum += quant_of(dtype, block, lane, k) * q[k];
    total += (float)sum * (scale * x_scale);
    if (form->minimum == QUANT_MINIMUM_NONE)
        return total;
    return total - minimum * (x_scale * (float)(form->terms == 2 ? sums[part] : sums[0] + sums[1]));
}

static float sum_blocks(const struct linear_args *args, const unsigned char *panel, int32_t lane,
                        int64_t row)
{
    const enum dtype dtype = args->weight->dtype;
    const int32_t blocks = args->weight->cols / QUANT_BLOCK;
    float total = 0.0f;
    for (int32_t b = 0; b < blocks; b++) {
        const int64_t at = row * blocks + b;
        const int8_t *q = args->quants.q + row * quant_stride(args->weight->cols) + b * QUANT_BLOCK;
        const unsigned char *head = panel + quant_head_at(dtype, b);
        const unsigned char *block = panel + quant_block_at(dtype, b);
        for (int32_t part = 0; part < quant_forms[dtype].terms; part++)
            total = add_part(dtype, head, block, lane, q, args->quants.scales[at],
                             args->quants.sums + 2 * at, part, total);
    }
    return total;
}

void scalar_linear_quant(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                         int32_t row_from, int32_t row_to)
{
    const int32_t first = panel_from * PANEL_ROWS;
    const int32_t end =
        panel_to * PANEL_ROWS < args->weight->rows ? panel_to * PANEL_ROWS : args->weight->rows;
    for (int64_t row = row_from; row < row_to; row++)
        for (int32_t n = first; n < end; n++) {
            const unsigned char *panel = weight_panel(args->weight, n / PANEL_ROWS);
            const float sum = sum_blocks(args, panel, n % PANEL_ROWS, row);
            args->out[row * args->out_stride + n] = args->bias ? sum + args->bias[n] : sum;
        }
}
