/*
 * candidates.h - the tokens of a row that may still be drawn, and the filters that drop some
 *
 * Candidates lie in the order of their ids. A filter keeps those that its order puts first, as
 * many as reach its target; of equal ones the lower id comes first; one is always kept. Nothing
 * is sorted: the last key to keep is found digit by digit, so that a filter costs a few passes
 * however wide the vocabulary is.
 */
#ifndef KERNELS_CANDIDATES_H
#define KERNELS_CANDIDATES_H

#include <stdint.h>

struct candidates {
    int32_t num;
    int32_t *ids;      /* [max_vocab], as all below */
    float *scores;     /* logits after bias and penalties */
    float *weights;    /* exp((score - best) / temperature), once set */
    uint32_t *keys;    /* order of a filter: a greater key is kept first */
    double *digit_sum; /* of a search */
};

/* Returns 0 or -ENOMEM. */
int candidates_init(struct candidates *c, int32_t max_vocab);
void candidates_finish(struct candidates *c); /* accepts a zeroed or half-built struct */

/* Drop what is -INFINITY of scores[0 .. num_vocab), which lie in c->scores. */
void candidates_begin(struct candidates *c, int32_t num_vocab);

/* Off for top_k <= 0. Before the weights are set. */
void candidates_top_k(struct candidates *c, int32_t top_k);

void candidates_set_weights(struct candidates *c, float best, float temperature);

/* Off for 1 and more, and min_p for 0 and less.
 * Source of typical_p: Meister et al., "Locally typical sampling", arXiv:2202.00666. */
void candidates_typical_p(struct candidates *c, float typical_p, float best, float temperature);
void candidates_top_p(struct candidates *c, float top_p);
void candidates_min_p(struct candidates *c, float min_p);

/* The token at which the running sum of the weights passes (uniform + 2^-25) of the whole. */
int32_t candidates_draw(const struct candidates *c, float uniform);

#endif
