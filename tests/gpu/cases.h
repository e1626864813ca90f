/*
 * cases.h - what is compared: a row for each operation
 */
#ifndef TESTS_GPU_CASES_H
#define TESTS_GPU_CASES_H

#include "tests/gpu/side.h"

struct gpu_case {
    const char *name;
    void (*run)(struct side *side, int32_t variant);
    int32_t num_variants; /* a type, a head size ...; each is run with several seeds */
    double tolerance;     /* side.h */
};

/* A row without a name ends each. */
extern const struct gpu_case cases_rows[], cases_attention[], cases_experts[], cases_sample[],
    cases_edges[], cases_joined[], cases_law[], cases_codes[];

#endif
