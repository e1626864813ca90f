/*
 * weight_plan.h - which tensors become which weights: the rows of a family, found in a checkpoint
 *
 * Every row is held against its tensor, and every tensor has to be asked for. What shares a field
 * of struct layer_weights is one target at first; weight_form.h cuts it where types differ.
 */
#ifndef WORKER_MODEL_WEIGHT_PLAN_H
#define WORKER_MODEL_WEIGHT_PLAN_H

#include "worker/families/family.h"
#include "worker/model/quant_groups.h"

/* A matrix or vector of the store. */
struct weight_target {
    const struct weight_row *row; /* the first of its rows */
    void *field;                  /* struct weight ** or float ** */
    int32_t layer;
    int32_t first_part, num_parts;
    int32_t first, num;         /* its outputs among those of the field, or of one block of it */
    enum dtype dtype;           /* of a matrix */
    bool is_made;               /* rounded to its type while it is loaded */
    bool is_joined;             /* to the target before it (backend.h) */
    struct quant_groups groups; /* of a matrix with scales */
};

/* Parts of one target lie next to each other, and so do targets of one field. */
struct weight_plan {
    const struct arch *whole, *arch; /* of the checkpoint; of this rank */
    const struct family *family;
    struct checkpoint *checkpoint;
    struct model_weights *weights; /* whose fields targets are */
    struct loader_part *parts;
    int32_t num_parts;
    struct weight_target *targets; /* in the order of the family's rows */
    int32_t num_targets;
};

/* Find everything; the first five fields are given. Returns 0, -EINVAL, -ENOTSUP, -ENOMEM; finish
 * it in every case. */
int weight_plan_fill(struct weight_plan *plan, struct error *err);
void weight_plan_finish(struct weight_plan *plan);

/* Are all its parts plain values, so that they may be kept in another type? */
bool weight_plan_is_plain(const struct weight_plan *plan, const struct weight_target *target);

#endif
