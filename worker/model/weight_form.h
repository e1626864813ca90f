/*
 * weight_form.h - what the matrices of a plan are kept as
 *
 * A matrix keeps the type of its tensors. Where those of one field (q, k and v; gate and up) agree
 * in type and groups they become one matrix; where they differ each run of equals stays what it is
 * and is joined to the one before it, so that no file's mixture of types costs memory or a barrier.
 *
 * What cannot be kept becomes the narrowest plain type that is known to hold it: f16 of blocks that
 * lie turned, in heads, or are cut within a block; f32 of quantized matrices that lie turned, and
 * of experts whose own tensors differ in type or groups.
 */
#ifndef WORKER_MODEL_WEIGHT_FORM_H
#define WORKER_MODEL_WEIGHT_FORM_H

#include "worker/model/requant.h"
#include "worker/model/weight_plan.h"

/* Give the plan's targets their types, and make one of those that become one; plain matrices are
 * rounded as `quantization` says (requant.h). */
void weight_form_settle(struct weight_plan *plan, const char *quantization);

/* Are quantized parts not kept so? */
bool weight_form_is_widened(const struct weight_plan *plan, const struct weight_target *target);

/* What a settled target is in a store; with scales, its groups are made. Returns 0 or -ENOMEM. */
int weight_form_object(const struct weight_plan *plan, struct weight_target *target,
                       struct store_object *ret_object);

#endif
