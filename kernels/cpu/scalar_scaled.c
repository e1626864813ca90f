/* Products by weights with scales as their formula reads, in plain C: part of the instruction set
 * `scalar`. */
#include "kernels/cpu/scalar_scaled.h"
#include "kernels/cpu/scaled.h"

static float sum_columns(const struct weight *weight, const unsigned char *panel, int32_t lane,
                         const float *x)
{
    const struct scaled_form *form = weight->form;
    float total = 0.0f;
    for (int32_t g = 0; g < form->num_groups; g++) {
        const unsigned char *group = panel + form->groups[g].at;
        const unsigned char *quants = group + scaled_head_bytes(form);
        const int32_t first = form->groups[g].first, end = form->groups[g + 1].first;
        const float scale = scaled_scale_of(form, group, lane);
        const float zero = (float)scaled_zero_of(weight, group, lane);
        for (int32_t k = first; k < end; k++) {
            const float w = scale * (scaled_q_of(weight, quants, lane, k - first) - zero);
            total += w * x[form->order != NULL ? form->order[k] : k];
        }
    }
    return total;
}

void scalar_linear_scaled(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                          int32_t row_from, int32_t row_to)
{
    const struct weight *weight = args->weight;
    const int32_t end = panel_to * PANEL_ROWS < weight->rows ? panel_to * PANEL_ROWS : weight->rows;
    for (int64_t row = row_from; row < row_to; row++)
        for (int32_t n = panel_from * PANEL_ROWS; n < end; n++) {
            const float sum = sum_columns(weight, weight_panel(weight, n / PANEL_ROWS),
                                          n % PANEL_ROWS, args->x + row * args->x_stride);
            args->out[row * args->out_stride + n] = args->bias ? sum + args->bias[n] : sum;
        }
}
