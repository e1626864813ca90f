/*
 * fuzz_quant.c - the input is a quantization_config and a file of tensors: JSON, NUL, file
 *
 * What is accepted must say of each matrix what can be read: every row of it is.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/json.h"
#include "worker/model/loader.h"
#include "worker/model/quant_groups.h"
#include "worker/model/quant_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_VALUES = 1 << 16 };

static const struct json_limits limits = {
    .depth = 16, .values = 10000, .keys_per_object = 1024, .number_chars = 64
};

static void read_matrix(const struct checkpoint_tensor *tensor)
{
    const struct quant_tensor *q = tensor->info->quant;
    struct quant_groups groups;
    struct loader_part part = { .tensor = tensor, .num_rows = q->rows };
    if ((int64_t)q->rows * q->cols > MAX_VALUES || quant_groups_init(&part, q->cols, &groups) < 0)
        return;
    const size_t rows = (size_t)q->rows, cols = (size_t)q->cols;
    const size_t loaded = rows * scaling_row_bytes(&groups.scaling, q->cols);
    void *buffer = malloc(loaded > rows * cols * 4 ? loaded : rows * cols * 4);
    part.groups = &groups;
    if (buffer != NULL && (quant_read(&part, q->cols, 0, q->rows, q->dtype, NULL, buffer) < 0 ||
                           quant_read(&part, q->cols, 0, q->rows, DTYPE_F32, NULL, buffer) < 0))
        abort();
    free(buffer);
    quant_groups_finish(&groups);
}

static void fold(const struct config_quant *quant, const uint8_t *data, size_t size)
{
    struct safetensors file = { .fd = -1 };
    struct checkpoint checkpoint = { .num_files = 1 };
    struct error err;
    const int dir = memfd_create("fuzz", MFD_CLOEXEC);
    char name[64];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", dir);
    if (dir < 0 || write(dir, data, size) != (ssize_t)size ||
        safetensors_open(AT_FDCWD, name, &file, &err) < 0) {
        close(dir);
        return;
    }
    checkpoint.tensors = calloc((size_t)file.num_tensors + 1, sizeof(*checkpoint.tensors));
    for (int32_t i = 0; checkpoint.tensors != NULL && i < file.num_tensors; i++)
        checkpoint.tensors[checkpoint.num_tensors++] =
            (struct checkpoint_tensor){ .info = &file.tensors[i], .file = &file };
    checkpoint_sort(&checkpoint);
    if (quant_tensors_fold(quant, &checkpoint, &err) == 0)
        for (int32_t i = 0; i < checkpoint.num_tensors; i++)
            if (checkpoint.tensors[i].info->quant != NULL)
                read_matrix(&checkpoint.tensors[i]);
    free(checkpoint.tensors);
    arena_finish(&checkpoint.arena);
    safetensors_close(&file);
    close(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    const size_t len = end != NULL ? (size_t)(end - data) : size;
    struct config_quant quant;
    struct error err;
    json_t *config;
    if (json_read((const char *)data, len, &limits, &config, &err) < 0)
        return 0;
    const int r = config_quant_read(config, &quant, &err);
    json_decref(config);
    if (r == 0 && quant.method != QUANT_NONE && len < size)
        fold(&quant, data + len + 1, size - len - 1);
    return 0;
}
