/*
 * forward_latent.h - attention whose keys and values are one latent per position (MLA); private to
 *                    worker/model/
 *
 * The matrices that make each head's keys and values of a latent are taken to the other side: q is
 * turned into what the latent itself is multiplied with, and what attention mixes of latents
 * becomes values afterwards. So the pool holds the latent alone, and one form serves prompt and
 * decode, with the same bits.
 */
#ifndef WORKER_MODEL_FORWARD_LATENT_H
#define WORKER_MODEL_FORWARD_LATENT_H

#include "worker/model/forward.h"

/* Bytes of a step's row. */
size_t latent_row_bytes(const struct arch *arch);

/* Returns 0 or -ENOMEM. */
int latent_alloc(struct model *m, int32_t rows, struct error *err);
void latent_free(struct model *m); /* accepts what is not or half allocated */

/* The attention_function. */
void latent_attend(const struct pass *pass, const float *x, bool wanted);

#endif
