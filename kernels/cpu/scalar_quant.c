/* Products over blocks as their formula reads, in plain C: part of the instruction set `scalar`. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/cpu/scalar_quant.h"

static void quantize_block(const float *x, int8_t *q, float *scale, int32_t *sum)
{
    float largest = 0.0f, none = 0.0f;
    for (int32_t k = 0; k < QUANT_BLOCK; k++) {
        largest = fmaxf(largest, fabsf(x[k]));
        none += 0.0f * x[k]; /* NaN where x is not finite */
    }
    const bool is_finite = none == 0.0f, is_zero = !is_finite || largest < QUANT_TINY;
    const float inverse = is_zero ? 0.0f : 127.0f / largest;
    *scale = !is_finite ? NAN : is_zero ? 0.0f : largest / 127.0f;
    *sum = 0;
    for (int32_t k = 0; k < QUANT_BLOCK; k++) {
        q[k] = is_zero ? 0 : (int8_t)lrintf(x[k] * inverse);
        *sum += q[k];
    }
}

void scalar_quantize(const struct quantize_args *args, int32_t row_from, int32_t row_to)
{
    const int64_t blocks = args->cols / QUANT_BLOCK;
    for (int64_t i = row_from * blocks; i < row_to * blocks; i++)
        quantize_block(args->x + i * QUANT_BLOCK, args->out.q + i * QUANT_BLOCK,
                       &args->out.scales[i], &args->out.sums[i]);
}

/* The sum of q times q of one block, for one row of the panel. */
static int32_t dot_q8_0(const unsigned char *block, int32_t lane, const int8_t *q)
{
    int32_t sum = 0;
    for (int32_t k = 0; k < QUANT_BLOCK; k++)
        sum += (block[k / 4 * PANEL_ROWS * 4 + lane * 4 + k % 4] - 128) * q[k];
    return sum;
}

static int32_t dot_q4_0(const unsigned char *block, int32_t lane, const int8_t *q)
{
    int32_t sum = 0;
    for (int32_t k = 0; k < QUANT_BLOCK / 2; k++) {
        const unsigned char pair = block[k / 4 * PANEL_ROWS * 4 + lane * 4 + k % 4];
        sum += ((pair & 15) - 8) * q[k] + ((pair >> 4) - 8) * q[16 + k];
    }
    return sum;
}

static float sum_blocks(const struct linear_args *args, const unsigned char *block, int32_t lane,
                        int64_t row)
{
    const enum dtype dtype = args->weight->dtype;
    const int32_t blocks = args->weight->cols / QUANT_BLOCK;
    float total = 0.0f;
    for (int32_t b = 0; b < blocks; b++) {
        const int64_t at = row * blocks + b;
        const int8_t *q = args->quants.q + at * QUANT_BLOCK;
        uint16_t half;
        memcpy(&half, block + quant_bytes(dtype) + (size_t)lane * 2, sizeof(half));
        const int32_t sum = (dtype == DTYPE_Q8_0 ? dot_q8_0 : dot_q4_0)(block, lane, q);
        total += (float)sum * (half_from_f16(half) * args->quants.scales[at]);
        block += quant_block_bytes(dtype);
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
