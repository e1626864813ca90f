#include "convert/fp8.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/e4m3.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "formats/gguf.h"
#include "worker/model/checkpoint.h"
#include "worker/model/config_quant.h"
#include "worker/model/quant_tensors.h"
#include "worker/model/tensor_read.h"

enum {
    PATH_BYTES = 4096,
    PIECE_BYTES = 8 << 20, /* copied at once, or read as floats */
    MAX_CONFIG_BYTES = 1 << 20,
    MAX_BESIDE_BYTES = 256 << 20
};

struct job {
    const struct convert_options *options;
    char path[PATH_BYTES - 64]; /* of the new directory until it is whole */
    struct config_quant quant;  /* of what is read */
    struct checkpoint checkpoint;
    struct strbuf header;
    int fd;
    uint64_t at; /* where the next bytes go */
    struct convert_progress progress;
    struct convert_result result;
    struct error *err;
};

static bool has_part(const char *name, const char *const *parts)
{
    for (; *parts != NULL; parts++)
        if (strstr(name, *parts) != NULL)
            return true;
    return false;
}

/* Matrices of layers, but for those that have a row for each expert, or one. */
static bool is_of_layers(const struct safetensors_tensor *info)
{
    static const char *const others[] = {
        "mlp.gate.", "block_sparse_moe.gate.", "shared_expert_gate.", "norm", "router", NULL
    };
    const size_t len = strlen(info->name);
    return info->rank == 2 && info->dtype->is_weight && len > 7 &&
           strcmp(info->name + len - 7, ".weight") == 0 && strstr(info->name, "layers.") != NULL &&
           !has_part(info->name, others);
}

enum form { COPIED, ROUNDED, WIDENED };

/* A quantized matrix that is not rounded again is written as what it means. */
static enum form form_of(const struct safetensors_tensor *info)
{
    if (is_of_layers(info))
        return ROUNDED;
    return info->quant != NULL ? WIDENED : COPIED;
}

/* --- what is written where ----------------------------------------------------------------- */

static void put_entry(struct job *job, const char *name, const char *suffix, const char *dtype,
                      const struct safetensors_tensor *info, int64_t cols, uint64_t bytes)
{
    struct strbuf *h = &job->header;
    strbuf_append_text(h, h->len == 0 ? "{" : ",");
    char text[512];
    snprintf(text, sizeof(text), "%s%s", name, suffix);
    strbuf_append_json_string(h, text, strlen(text));
    strbuf_printf(h, ":{\"dtype\":\"%s\",\"shape\":[", dtype);
    for (int32_t i = 0; i < info->rank; i++)
        strbuf_printf(h, "%s%lld", i > 0 ? "," : "",
                      (long long)(i == 1 && cols > 0 ? cols : info->shape[i]));
    strbuf_printf(h, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)job->at,
                  (unsigned long long)(job->at + bytes));
    job->at += bytes;
    job->result.num_tensors++;
    job->result.to_bytes += bytes;
}

static void put_entries(struct job *job)
{
    for (int32_t i = 0; i < job->checkpoint.num_tensors; i++) {
        const struct safetensors_tensor *info = job->checkpoint.tensors[i].info;
        const uint64_t bytes = info->end - info->begin;
        job->progress.total += bytes;
        const enum form form = form_of(info);
        if (form == COPIED) {
            put_entry(job, info->name, "", info->dtype->name, info, 0, bytes);
            job->result.elements += (double)bytes * 8.0 / info->dtype->bits;
            continue;
        }
        const uint64_t rows = (uint64_t)info->shape[0], num = rows * (uint64_t)info->shape[1];
        job->result.elements += (double)num;
        if (form == WIDENED) {
            put_entry(job, info->name, "", "F32", info, 0, num * sizeof(float));
            continue;
        }
        put_entry(job, info->name, "", "F8_E4M3", info, 0, num);
        put_entry(job, info->name, "_scale", "F32", info, 1, rows * sizeof(float));
    }
    job->result.from_bytes = job->progress.total;
    strbuf_append_char(&job->header, '}');
    while (job->header.len % 8 != 0)
        strbuf_append_char(&job->header, ' ');
}

/* --- values -------------------------------------------------------------------------------- */

static int put_bytes(struct job *job, const void *from, size_t bytes)
{
    const char *at = from;
    while (bytes > 0) {
        const ssize_t n = write(job->fd, at, bytes);
        if (n < 0 && errno != EINTR)
            return -errno;
        at += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static void tell(struct job *job, uint64_t bytes)
{
    job->progress.done += bytes;
    if (job->options->progress != NULL)
        job->options->progress(job->options->context, &job->progress);
}

static int copy_tensor(struct job *job, const struct checkpoint_tensor *tensor, char *buffer)
{
    const uint64_t bytes = tensor->info->end - tensor->info->begin;
    int r = 0;
    for (uint64_t at = 0; r == 0 && at < bytes; at += PIECE_BYTES) {
        const size_t n = bytes - at < PIECE_BYTES ? (size_t)(bytes - at) : PIECE_BYTES;
        r = safetensors_read(tensor->file, tensor->info, at, buffer, n);
        if (r == 0)
            r = put_bytes(job, buffer, n);
        tell(job, n);
    }
    return r;
}

/* A row as codes; its scale, or NaN for a row that is not finite. */
static float round_row(const float *from, int64_t cols, uint8_t *to)
{
    float largest = 0.0f, none = 0.0f;
    for (int64_t i = 0; i < cols; i++) {
        largest = fmaxf(largest, fabsf(from[i]));
        none += 0.0f * from[i];
    }
    const float scale = largest / E4M3_MAX, inverse = scale > 0x1p-120f ? 1.0f / scale : 0.0f;
    for (int64_t i = 0; i < cols; i++)
        to[i] = e4m3_encode(from[i] * inverse);
    return none == 0.0f ? scale : NAN;
}

/* Rows of floats as codes, which lie under them. */
static int round_rows(float *rows, int64_t num, int64_t cols, float *scales)
{
    uint8_t *to = (uint8_t *)rows;
    for (int64_t i = 0; i < num; i++) {
        scales[i] = round_row(rows + i * cols, cols, to + i * cols);
        if (isnan(scales[i]))
            return -ERANGE;
    }
    return 0;
}

/* Some rows at a time: of a quantized matrix these lie across the file. */
static int put_rows(struct job *job, const struct checkpoint_tensor *tensor, bool is_rounded,
                    float *values, float *scales)
{
    const struct safetensors_tensor *info = tensor->info;
    const int64_t rows = info->shape[0], cols = info->shape[1];
    const int64_t most = PIECE_BYTES / (int64_t)sizeof(float) / cols, step = most > 1 ? most : 1;
    const struct loader_part part = { .tensor = tensor, .num_rows = (int32_t)rows };
    const uint64_t bytes = info->end - info->begin;
    int r = 0;
    for (int64_t i = 0; r == 0 && i < rows; i += step) {
        const int64_t num = rows - i < step ? rows - i : step;
        r = tensor_read(&part, (int32_t)cols, (int32_t)i, (int32_t)num, DTYPE_F32, NULL, values);
        if (r == 0 && is_rounded)
            r = round_rows(values, num, cols, scales + i);
        if (r == 0)
            r = put_bytes(job, values, (size_t)(num * cols) * (is_rounded ? 1 : sizeof(float)));
        tell(job, bytes / (uint64_t)rows * (uint64_t)num);
    }
    tell(job, bytes % (uint64_t)rows);
    return r == 0 && is_rounded ? put_bytes(job, scales, (size_t)rows * sizeof(float)) : r;
}

static int read_and_put(struct job *job, const struct checkpoint_tensor *tensor, bool is_rounded)
{
    const struct safetensors_tensor *info = tensor->info;
    if (info->shape[0] < 1 || info->shape[1] < 1 || info->shape[0] > INT32_MAX ||
        info->shape[1] > INT32_MAX)
        return -EINVAL;
    const size_t row = (size_t)info->shape[1] * sizeof(float);
    float *values = malloc(row > PIECE_BYTES ? row : PIECE_BYTES);
    float *scales = malloc((size_t)info->shape[0] * sizeof(float));
    const int r = values != NULL && scales != NULL
                      ? put_rows(job, tensor, is_rounded, values, scales)
                      : -ENOMEM;
    free(values);
    free(scales);
    return r;
}

static int fail_tensor(struct job *job, const char *name, int r)
{
    if (r == -ERANGE)
        return error_set(job->err, -EINVAL, "tensor %.160s has a value that is not finite", name);
    return error_set(job->err, r, "tensor %.160s: %s", name, strerror(-r));
}

static int put_tensors(struct job *job)
{
    char *buffer = malloc(PIECE_BYTES);
    int r = buffer == NULL ? error_set(job->err, -ENOMEM, "no memory to copy weights") : 0;
    for (int32_t i = 0; r == 0 && i < job->checkpoint.num_tensors; i++) {
        const struct checkpoint_tensor *tensor = &job->checkpoint.tensors[i];
        const enum form form = form_of(tensor->info);
        r = form == COPIED ? copy_tensor(job, tensor, buffer)
                           : read_and_put(job, tensor, form == ROUNDED);
        if (r < 0)
            fail_tensor(job, tensor->info->name, r);
    }
    free(buffer);
    return r;
}

static int put_weights(struct job *job)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/model.safetensors", job->path);
    put_entries(job);
    const uint64_t len = job->header.len;
    if (job->header.failed)
        return error_set(job->err, -ENOMEM, "no memory for a header");
    job->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (job->fd < 0)
        return error_set(job->err, -errno, "%.200s: %s", path, strerror(errno));
    int r = put_bytes(job, &len, sizeof(len));
    if (r == 0)
        r = put_bytes(job, job->header.data, job->header.len);
    if (r < 0)
        error_set(job->err, r, "%.200s: %s", path, strerror(-r));
    if (r == 0)
        r = put_tensors(job);
    if (r == 0 && fsync(job->fd) < 0)
        r = error_set(job->err, -errno, "%.200s: %s", path, strerror(errno));
    close(job->fd);
    return r;
}

/* --- what lies beside ---------------------------------------------------------------------- */

static const char quantization[] =
    "{\"quant_method\": \"compressed-tensors\", \"format\": \"float-quantized\","
    " \"quantization_status\": \"compressed\", \"config_groups\": {\"group_0\": {\"targets\":"
    " [\"Linear\"], \"weights\": {\"num_bits\": 8, \"type\": \"float\", \"symmetric\": true,"
    " \"strategy\": \"channel\", \"dynamic\": false}, \"input_activations\": {\"num_bits\": 8,"
    " \"type\": \"float\", \"symmetric\": true, \"strategy\": \"token\", \"dynamic\": true}}},"
    " \"ignore\": [\"lm_head\", \"re:.*mlp.gate$\", \"re:.*block_sparse_moe.gate$\","
    " \"re:.*shared_expert_gate$\"]}";

static int put_file(struct job *job, const char *name, const void *bytes, size_t len)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", job->path, name);
    FILE *file = fopen(path, "wbx");
    const bool good = file != NULL && (len == 0 || fwrite(bytes, len, 1, file) == 1);
    if (file != NULL && fclose(file) == 0 && good)
        return 0;
    return error_set(job->err, -EIO, "%.200s cannot be written", path);
}

static int put_config(struct job *job)
{
    char path[PATH_BYTES];
    json_t *config = NULL;
    snprintf(path, sizeof(path), "%.4000s/config.json", job->options->from);
    const int r = json_read_file(path, MAX_CONFIG_BYTES, &json_limits_file, &config, job->err);
    if (r < 0)
        return r;
    uint64_t hash = 0;
    int known = config_quant_read(config, &job->quant, job->err);
    if (known == 0 && job->quant.method == QUANT_NONE)
        known = config_quant_read_beside(job->options->from, &job->quant, &hash, job->err);
    if (known < 0) {
        json_decref(config);
        return known;
    }
    json_object_del(config, "compression_config");
    json_object_set_new(config, "quantization_config", json_loads(quantization, 0, NULL));
    char *text = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    json_decref(config);
    if (text == NULL)
        return error_set(job->err, -ENOMEM, "no memory for config.json");
    const int written = put_file(job, "config.json", text, strlen(text));
    free(text);
    return written;
}

static bool is_beside(const char *name)
{
    static const char *const endings[] = { ".json", ".jinja", ".model", ".txt", NULL };
    static const char *const others[] = { "config.json", "model.safetensors.index.json",
                                          "quantize_config.json", "quant_config.json", NULL };
    for (const char *const *other = others; *other != NULL; other++)
        if (name[0] == '.' || strcmp(name, *other) == 0)
            return false;
    const char *dot = strrchr(name, '.');
    for (const char *const *ending = endings; dot != NULL && *ending != NULL; ending++)
        if (strcmp(dot, *ending) == 0)
            return true;
    return false;
}

static int copy_file(struct job *job, const char *name)
{
    char path[PATH_BYTES], *data = NULL;
    size_t len = 0;
    snprintf(path, sizeof(path), "%.3700s/%.256s", job->options->from, name);
    int r = file_read(path, MAX_BESIDE_BYTES, &data, &len, job->err);
    if (r == 0)
        r = put_file(job, name, data, len);
    free(data);
    return r;
}

static int copy_beside(struct job *job)
{
    DIR *dir = opendir(job->options->from);
    const struct dirent *entry;
    int r = dir == NULL
                ? error_set(job->err, -errno, "%.200s: %s", job->options->from, strerror(errno))
                : 0;
    while (r == 0 && (entry = readdir(dir)) != NULL)
        if (is_beside(entry->d_name))
            r = copy_file(job, entry->d_name);
    if (dir != NULL)
        closedir(dir);
    return r;
}

/* --- the whole ----------------------------------------------------------------------------- */

/* What was written of a directory that is given up. */
static void remove_directory(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
    rmdir(path);
}

static int fill(struct job *job)
{
    int r = put_config(job);
    if (r == 0)
        r = checkpoint_open(job->options->from, &job->checkpoint, job->err);
    if (r < 0)
        return r;
    r = quant_tensors_fold(&job->quant, &job->checkpoint, job->err);
    if (r == 0)
        r = put_weights(job);
    if (r == 0)
        r = copy_beside(job);
    checkpoint_close(&job->checkpoint);
    return r;
}

static int make_directory(struct job *job)
{
    const struct convert_options *o = job->options;
    const int len = snprintf(job->path, sizeof(job->path), "%s.%ld.part", o->to, (long)getpid());
    if (len >= (int)sizeof(job->path) || strlen(o->from) > 3600)
        return error_set(job->err, -ENAMETOOLONG, "%.200s...: the path is too long", o->to);
    if (mkdir(job->path, 0777) < 0)
        return error_set(job->err, -errno, "%.200s: %s", job->path, strerror(errno));
    int r = fill(job);
    if (r == 0 && rename(job->path, o->to) < 0)
        r = error_set(job->err, -errno, "%.200s: %s", o->to, strerror(errno));
    if (r < 0)
        remove_directory(job->path);
    return r;
}

int convert_fp8_run(const struct convert_options *options, struct convert_result *ret_result,
                    struct error *err)
{
    struct job job = { .options = options, .fd = -1, .err = err };
    if (access(options->to, F_OK) == 0)
        return error_set(err, -EEXIST, "%.200s is there already", options->to);
    if (gguf_is_file(options->from))
        return error_set(err, -ENOTSUP, "%.200s: fp8 is made of a directory of safetensors",
                         options->from);
    const int r = make_directory(&job);
    strbuf_finish(&job.header);
    if (r == 0)
        *ret_result = job.result;
    return r;
}
