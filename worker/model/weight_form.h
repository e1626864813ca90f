/*
 * weight_form.h - what a matrix is kept as, which is put together from parts of tensors
 *
 * A matrix keeps the type of its tensors where they agree and the type can be cut and joined as the
 * parts are; else it becomes the narrowest plain type that is known to hold them: f16 of blocks,
 * f32 of quantized matrices and of types that differ.
 */
#ifndef WORKER_MODEL_WEIGHT_FORM_H
#define WORKER_MODEL_WEIGHT_FORM_H

#include "worker/families/family.h"
#include "worker/model/quant_groups.h"

enum dtype weight_form_dtype(const struct weight_row *row, const struct arch *arch,
                             const struct loader_part *parts, int32_t num_parts);

/* Are quantized parts not kept so? */
bool weight_form_is_widened(enum dtype dtype, const struct loader_part *parts, int32_t num_parts);

/* Of parts that stay quantized: the groups that all share, with scales and zeros as any of them
 * needs; the parts refer to them. Returns 0 or -ENOMEM. */
int weight_form_groups(struct loader_part *parts, int32_t num_parts, int32_t cols,
                       struct quant_groups *ret_groups);

#endif
