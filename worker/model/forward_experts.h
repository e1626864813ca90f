/*
 * forward_experts.h - layers whose MLP is many, of which each row uses few; private to
 * worker/model/
 */
#ifndef WORKER_MODEL_FORWARD_EXPERTS_H
#define WORKER_MODEL_FORWARD_EXPERTS_H

#include "worker/model/forward.h"

/* Bytes of a step's row; of experts_alloc(), but for what does not grow with rows. */
size_t experts_row_bytes(const struct arch *arch);

/* Memory of a step's `rows` rows. Returns 0 or -ENOMEM. */
int experts_alloc(struct model *m, int32_t rows, struct error *err);
void experts_free(struct model *m); /* accepts what is not or half allocated */

/* The mlp_function: a router chooses, experts compute, a shared one may join. */
void experts_run(const struct pass *pass, float *out, const float *x, int32_t rows);

/* Of rows whose experts are in the plan: what these make of x, and the shared one. */
void experts_compute(const struct pass *pass, float *out, const float *x, int32_t rows);

#endif
