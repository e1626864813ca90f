/*
 * scaled_matrix.h - random matrices of weights with scales, and what they mean
 */
#ifndef TESTS_UNIT_KERNELS_SCALED_MATRIX_H
#define TESTS_UNIT_KERNELS_SCALED_MATRIX_H

#include "fixture.h"

/* How columns belong to groups: so many in each, after `skip` of the first are cut off; mixed: each
 * column's group is drawn. */
struct scaled_form_case {
    enum dtype dtype, scales;
    bool has_zeros, is_mixed;
    int32_t group, skip;
};
enum { NUM_SCALED_FORMS = 11 };
extern const struct scaled_form_case scaled_forms[NUM_SCALED_FORMS];

/* A matrix as it is handed over, and what it means. */
struct scaled_matrix {
    struct store_object object;
    int32_t *groups;
    unsigned char *rows;
    size_t row_bytes;
    double *values;
    struct weight_store *store;
    struct weight *weight;
};

/* The formula of the format, not its table. */
double scaled_matrix_e4m3(unsigned char code);

struct scaled_matrix scaled_matrix_make(const struct scaled_form_case *form, int32_t rows,
                                        int32_t cols);
/* Into a store of one object, in uneven parts and from an odd address. */
void scaled_matrix_load(struct device *device, struct scaled_matrix *m);
void scaled_matrix_unload(struct scaled_matrix *m);
void scaled_matrix_finish(struct scaled_matrix *m);

/* linear() in a list of its own. */
void scaled_matrix_multiply(struct device *device, float *out, const struct weight *weight,
                            const float *bias, const float *x, int32_t rows);

#endif
