#include "worker/model/weight_form.h"

/* Can the matrix be kept in the blocks that the parts are stored in? Heads cannot, nor
 * columns cut within a block. */
static bool keeps_blocks(const struct weight_row *row, const struct arch *arch,
                         const struct loader_part *parts, int32_t num_parts)
{
    const int32_t block = dtype_block(parts[0].tensor->info->dtype->dtype);
    bool keeps = (row->blocks == DIM_NONE || row->blocks == DIM_EXPERTS) &&
                 family_dim(arch, row->cols) % block == 0;
    for (int32_t i = 0; i < num_parts; i++)
        keeps = keeps && !parts[i].turned && parts[i].tensor_col % block == 0;
    return keeps;
}

/* Can quantized parts be kept so? Their columns need the same groups. */
static bool keeps_scales(const struct weight_row *row, const struct arch *arch,
                         const struct loader_part *parts, int32_t num_parts)
{
    const int32_t cols = family_dim(arch, row->cols);
    bool keeps = !parts[0].turned;
    for (int32_t i = 1; keeps && i < num_parts; i++)
        keeps = !parts[i].turned && quant_groups_are_equal(&parts[0], &parts[i], cols);
    return keeps;
}

static bool keeps_type(const struct weight_row *row, const struct arch *arch,
                       const struct loader_part *parts, int32_t num_parts)
{
    const enum dtype dtype = parts[0].tensor->info->dtype->dtype;
    if (dtype_is_scaled(dtype))
        return keeps_scales(row, arch, parts, num_parts);
    return !dtype_is_quant(dtype) || keeps_blocks(row, arch, parts, num_parts);
}

/* What is not kept as it is becomes f16, or f32 where that alone holds it. */
static enum dtype plain_dtype(const struct safetensors_dtype *dtype)
{
    if (dtype_is_scaled(dtype->dtype))
        return DTYPE_F32;
    return dtype->block != NULL ? DTYPE_F16 : dtype->dtype;
}

enum dtype weight_form_dtype(const struct weight_row *row, const struct arch *arch,
                             const struct loader_part *parts, int32_t num_parts)
{
    const struct safetensors_dtype *first = parts[0].tensor->info->dtype;
    bool equal = true, plain_equal = true;
    for (int32_t i = 1; i < num_parts; i++) {
        const struct safetensors_dtype *other = parts[i].tensor->info->dtype;
        equal = equal && other->dtype == first->dtype;
        plain_equal = plain_equal && plain_dtype(other) == plain_dtype(first);
    }
    if (equal && keeps_type(row, arch, parts, num_parts))
        return first->dtype;
    return plain_equal ? plain_dtype(first) : DTYPE_F32;
}

bool weight_form_is_widened(enum dtype dtype, const struct loader_part *parts, int32_t num_parts)
{
    for (int32_t i = 0; !dtype_is_scaled(dtype) && i < num_parts; i++)
        if (parts[i].tensor->info->quant != NULL)
            return true;
    return false;
}

int weight_form_groups(struct loader_part *parts, int32_t num_parts, int32_t cols,
                       struct quant_groups *ret_groups)
{
    struct scaling *scaling = &ret_groups->scaling;
    const int r = quant_groups_init(&parts[0], cols, ret_groups);
    for (int32_t i = 0; r == 0 && i < num_parts; i++) {
        const struct quant_tensor *tensor = parts[i].tensor->info->quant;
        parts[i].groups = ret_groups;
        scaling->has_zeros = scaling->has_zeros || tensor->zeros.info != NULL;
        if (tensor->scale_dtype != scaling->scales)
            scaling->scales = DTYPE_F32;
    }
    return r;
}
