/*
 * tensor_file.h - a model's directory with weights from a generator that any language can repeat
 *
 * A tensor's values follow from its name alone: seed x is FNV-1a of the name, 32 bits; each value
 * takes x = 1664525 x + 1013904223 and is offset + scale ((x >> 8) / 8388608 - 1), as float32.
 */
#ifndef TESTS_UNIT_WORKER_TENSOR_FILE_H
#define TESTS_UNIT_WORKER_TENSOR_FILE_H

#include <stddef.h>
#include <stdint.h>

enum { TENSOR_FILE_MAX = 128, TENSOR_FILE_FLOATS = 1 << 16 };

struct tensor_file {
    char dir[64];
    int32_t num;
    struct {
        char name[96], shape[48];
        const char *dtype; /* "F32" or "I64" */
        size_t begin, end; /* of its bytes */
    } tensors[TENSOR_FILE_MAX];
    union {
        float floats[TENSOR_FILE_FLOATS];
        unsigned char bytes[TENSOR_FILE_FLOATS * sizeof(float)];
    } data;
    size_t num_bytes;
};

/* A new directory; removed with tensor_file_finish(). */
void tensor_file_init(struct tensor_file *file);
void tensor_file_finish(struct tensor_file *file);

/* `num` values of the tensor called `seed`. */
void tensor_file_values(const char *seed, size_t num, float *out);

/* Append a tensor; shape as in JSON: "3,4". */
void tensor_file_add(struct tensor_file *file, const char *name, const char *shape,
                     const float *values, size_t num);
void tensor_file_add_table(struct tensor_file *file, const char *name, const int64_t *values,
                           size_t num);

/* Write model.safetensors and config.json. */
void tensor_file_write(const struct tensor_file *file, const char *config);

#endif
