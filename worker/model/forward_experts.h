/*
 * forward_experts.h - layers whose MLP is many, of which each row uses few; private to
 * worker/model/
 */
#ifndef WORKER_MODEL_FORWARD_EXPERTS_H
#define WORKER_MODEL_FORWARD_EXPERTS_H

#include "worker/model/forward.h"

/* How many of a step's `rows` go together, where their memory is to be `bytes` at most (0: as much
 * as is usual): at least one, at most all. */
int32_t experts_part(const struct arch *arch, size_t bytes, int32_t rows);

/* Bytes of experts_alloc(), but for what does not grow with rows. */
size_t experts_bytes(const struct arch *arch, size_t bytes, int32_t rows);

/* Memory of a part of a step's `rows` rows. Returns 0 or -ENOMEM. */
int experts_alloc(struct model *m, size_t bytes, int32_t rows, struct error *err);
void experts_free(struct model *m); /* accepts what is not or half allocated */

/* The mlp_function: a router or the tokens choose, experts compute, a shared one may join. */
void experts_run(const struct pass *pass, float *out, const float *x, int32_t rows);

#endif
