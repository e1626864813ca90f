#include "tensor_file.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void tensor_file_init(struct tensor_file *file)
{
    file->num = 0;
    file->num_bytes = 0;
    snprintf(file->dir, sizeof(file->dir), "/tmp/tokenring-model-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(file->dir));
}

void tensor_file_finish(struct tensor_file *file)
{
    static const char *const names[] = { "config.json", "model.safetensors" };
    char path[128];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", file->dir, names[i]);
        unlink(path);
    }
    rmdir(file->dir);
}

static int ends_with(const char *text, const char *end)
{
    const size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

void tensor_file_values(const char *seed, size_t num, float *out)
{
    const int is_norm = ends_with(seed, "norm.weight");
    const int is_mu = ends_with(seed, "mu_guidance.mu");
    const int is_router = ends_with(seed, "mlp.mu_router.weight");
    const double scale = is_norm ? 0.25 : is_router ? 8.0 : is_mu ? 1.5 : 0.75;
    const double offset = is_norm || is_mu ? 1.0 : 0.0;
    uint32_t x = 2166136261U;
    for (const char *c = seed; *c != '\0'; c++)
        x = (x ^ (unsigned char)*c) * 16777619U;
    for (size_t i = 0; i < num; i++) {
        x = 1664525U * x + 1013904223U;
        out[i] = (float)(offset + scale * ((double)(x >> 8) / 8388608.0 - 1.0));
    }
}

static void add(struct tensor_file *file, const char *name, const char *shape, const char *dtype,
                const void *values, size_t bytes)
{
    ck_assert_int_lt(file->num, TENSOR_FILE_MAX);
    ck_assert_uint_le(file->num_bytes + bytes, sizeof(file->data.bytes));
    snprintf(file->tensors[file->num].name, sizeof(file->tensors[0].name), "%s", name);
    snprintf(file->tensors[file->num].shape, sizeof(file->tensors[0].shape), "%s", shape);
    file->tensors[file->num].dtype = dtype;
    file->tensors[file->num].begin = file->num_bytes;
    memcpy(file->data.bytes + file->num_bytes, values, bytes);
    file->num_bytes += bytes;
    file->tensors[file->num++].end = file->num_bytes;
}

void tensor_file_add(struct tensor_file *file, const char *name, const char *shape,
                     const float *values, size_t num)
{
    add(file, name, shape, "F32", values, num * sizeof(*values));
}

void tensor_file_add_table(struct tensor_file *file, const char *name, const int64_t *values,
                           size_t num)
{
    char shape[24];
    snprintf(shape, sizeof(shape), "%zu", num);
    add(file, name, shape, "I64", values, num * sizeof(*values));
}

static FILE *open_file(const struct tensor_file *file, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", file->dir, name);
    FILE *stream = fopen(path, "wb");
    ck_assert_ptr_nonnull(stream);
    return stream;
}

void tensor_file_write(const struct tensor_file *file, const char *config)
{
    static char header[TENSOR_FILE_MAX * 256];
    size_t at = 0;
    for (int32_t i = 0; i < file->num; i++)
        at += (size_t)snprintf(
            header + at, sizeof(header) - at,
            "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
            i > 0 ? "," : "{", file->tensors[i].name, file->tensors[i].dtype,
            file->tensors[i].shape, file->tensors[i].begin, file->tensors[i].end);
    at += (size_t)snprintf(header + at, sizeof(header) - at, "}");
    const uint64_t len = at;
    FILE *stream = open_file(file, "model.safetensors");
    fwrite(&len, sizeof(len), 1, stream);
    fwrite(header, 1, at, stream);
    fwrite(file->data.bytes, 1, file->num_bytes, stream);
    ck_assert_int_eq(fclose(stream), 0);
    stream = open_file(file, "config.json");
    fputs(config, stream);
    ck_assert_int_eq(fclose(stream), 0);
}
