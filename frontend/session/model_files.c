#include "frontend/session/model_files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "formats/gguf_model.h"

enum {
    MAX_CONFIG_BYTES = 1024 * 1024,
    MAX_TOKENIZER_CONFIG_BYTES = 16 * 1024 * 1024,
    MAX_HASHED_BYTES = 256 * 1024 * 1024,
};

/* A file of the directory that may be absent: *ret is then NULL. */
static int read_config(const char *directory, const char *name, size_t max_bytes, json_t **ret,
                       struct error *err)
{
    char path[PATH_MAX];
    *ret = NULL;
    if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
        return error_set(err, -ENAMETOOLONG, "%s: the path is too long", directory);
    const int r = json_read_file(path, max_bytes, &json_limits_file, ret, err);
    if (r == -ENOENT)
        return 0;
    if (r == 0 && !json_is_object(*ret)) {
        json_decref(*ret);
        *ret = NULL;
        return error_set(err, -EINVAL, "%s: not a JSON object", path);
    }
    return r;
}

static int read_directory(const char *path, struct model_files *files, struct error *err)
{
    int r = read_config(path, "tokenizer_config.json", MAX_TOKENIZER_CONFIG_BYTES,
                        &files->tokenizer, err);
    if (r == 0)
        r = read_config(path, "generation_config.json", MAX_CONFIG_BYTES, &files->generation, err);
    if (r == 0)
        r = read_config(path, "config.json", MAX_CONFIG_BYTES, &files->model, err);
    return r;
}

static int read_gguf_config(const struct gguf_files *gguf, struct model_files *files,
                            struct error *err)
{
    char *text = NULL;
    size_t len;
    int r = gguf_config_json(gguf, &text, &len, err);
    if (r == 0)
        r = json_read(text, len, &json_limits_file, &files->model, err);
    free(text);
    if (r == 0)
        r = gguf_tokenizer_config(&gguf->files[0], &files->tokenizer, err);
    if (r == 0)
        r = gguf_generation_config(&gguf->files[0], &files->generation, err);
    return r;
}

static int read_gguf(const char *path, struct model_files *files, struct error *err)
{
    struct gguf_files gguf;
    struct error why = { 0 };
    int r = gguf_files_open(path, &gguf, err);
    if (r < 0)
        return r;
    r = read_gguf_config(&gguf, files, &why);
    gguf_files_close(&gguf);
    return r < 0 ? error_set(err, r, "%.150s: %s", path, why.message) : 0;
}

int model_files_read(const char *path, struct model_files *files, struct error *err)
{
    *files = (struct model_files){ 0 };
    return (gguf_is_file(path) ? read_gguf : read_directory)(path, files, err);
}

void model_files_finish(struct model_files *files)
{
    json_decref(files->tokenizer);
    json_decref(files->generation);
    json_decref(files->model);
    *files = (struct model_files){ 0 };
}

static int hash_file(const char *directory, const char *name, uint64_t *hash, struct error *err)
{
    char path[PATH_MAX], *text = NULL;
    size_t len = 0;
    if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
        return error_set(err, -ENAMETOOLONG, "%s: the path is too long", directory);
    const int r = file_read(path, MAX_HASHED_BYTES, &text, &len, err);
    if (r == -ENOENT) {
        *hash = file_hash(*hash, name, 1);
        return 0;
    }
    if (r == 0)
        *hash = file_hash(*hash, text, len);
    free(text);
    return r;
}

static int hash_gguf(const char *path, uint64_t *hash, struct error *err)
{
    struct gguf_files gguf;
    const int r = gguf_files_open(path, &gguf, err);
    if (r < 0)
        return r;
    *hash = gguf.files[0].hash;
    gguf_files_close(&gguf);
    return 0;
}

int model_files_hash(const char *path, uint64_t *ret_hash, struct error *err)
{
    static const char *const names[] = { "tokenizer.json", "tokenizer_config.json",
                                         "generation_config.json", "config.json",
                                         "chat_template.jinja" };
    uint64_t hash = FILE_HASH_START;
    int r = 0;
    if (gguf_is_file(path))
        r = hash_gguf(path, &hash, err);
    else
        for (size_t i = 0; r == 0 && i < sizeof(names) / sizeof(names[0]); i++)
            r = hash_file(path, names[i], &hash, err);
    *ret_hash = hash;
    return r;
}

static int read_gguf_tokenizer(const struct gguf *gguf, struct tokenizer **ret_tokenizer,
                               struct error *err)
{
    char *text = NULL;
    size_t len;
    int r = gguf_tokenizer_json(gguf, &text, &len, err);
    if (r == 0)
        r = tokenizer_from_json(text, len, NULL, 0, ret_tokenizer, err);
    free(text);
    return r;
}

int model_files_tokenizer(const char *path, struct tokenizer **ret_tokenizer, struct error *err)
{
    struct gguf_files gguf;
    struct error why = { 0 };
    if (!gguf_is_file(path))
        return tokenizer_open(path, ret_tokenizer, err);
    int r = gguf_files_open(path, &gguf, err);
    if (r < 0)
        return r;
    r = read_gguf_tokenizer(&gguf.files[0], ret_tokenizer, &why);
    gguf_files_close(&gguf);
    return r < 0 ? error_set(err, r, "%.150s: %s", path, why.message) : 0;
}
