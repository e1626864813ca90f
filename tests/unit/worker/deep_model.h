/*
 * deep_model.h - tiny models of DeepForCausalLM, both families, with weights from tensor_file.h
 *
 * V = 11, H = 8, I = 12, L = 2, two query heads, one KV head, three experts, a controller of 4.
 */
#ifndef TESTS_UNIT_WORKER_DEEP_MODEL_H
#define TESTS_UNIT_WORKER_DEEP_MODEL_H

#include <stdbool.h>

#include "tensor_file.h"

enum { DEEP_VOCAB = 11 };

extern const char deep_config_a[], deep_config_b[];

/* A file with all tensors and config.json written: in family A as of version 0.12. */
void deep_model_a(struct tensor_file *file);
void deep_model_b(struct tensor_file *file);

/* A with the names that came before, and without a table: `named` has each expert's matrices for
 * themselves, else gate and up are apart. */
void deep_model_old_a(struct tensor_file *file, bool named);

/* A without its experts, its table or both, or with another table; config.json is not written. */
struct deep_parts {
    bool experts, table;
    const int64_t *other_table; /* [DEEP_VOCAB] or NULL */
};
void deep_model_parts(struct tensor_file *file, const struct deep_parts *parts);

#endif
