/*
 * forward_mu.h - a vector mu of each token that runs down the layers beside the stream (families/
 *                deep.c), and the soft clamp that any model may have; private to worker/model/
 *
 * mu and velocity begin anew with each token and pass from layer to layer: they are a step's, not
 * a sequence's.
 */
#ifndef WORKER_MODEL_FORWARD_MU_H
#define WORKER_MODEL_FORWARD_MU_H

#include "worker/model/forward.h"

/* Bytes of a step's row; of mu_alloc(), but for what does not grow with rows. */
size_t mu_row_bytes(const struct arch *arch);

/* `rows` of a step, or as many as have logits, whichever is more. Returns 0 or -ENOMEM. */
int mu_alloc(struct model *m, int32_t rows, struct error *err);
void mu_free(struct model *m); /* accepts what is not or half allocated */

/* Behind the loading: a table of experts where the checkpoint has none. Returns 0 or -ENOMEM. */
int mu_prepare(struct model *m, struct error *err);

/* Before the first layer. */
void mu_begin(struct model *m, int32_t rows);

/* mu's part of q, k and v. */
void mu_guide(const struct pass *pass, float *qkv);

/* Attention's output, whole, goes through the dynamics. */
void mu_move(const struct pass *pass, float *a, int32_t rows);

/* Behind a layer, of which `hidden` is the stream: mu for the next. */
void mu_end_layer(const struct pass *pass, const float *hidden, int32_t rows);

/* The velocity of the rows with logits, for the second half of the last layer. */
void mu_narrow(struct pass *pass);

/* Into the plan of experts: those that `num` rows from `from` on have by their tokens and mu. */
void mu_route_tokens(const struct pass *pass, int32_t from, int32_t num);

/* The soft clamp, where it is enabled. */
void mu_soften(struct model *m, float *x, int32_t rows);

#endif
