#include "text/tokenizer.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/tokenizer_parts.h"

enum { FILE_BYTES_MAX = 64 << 20, CONFIG_BYTES_MAX = 8 << 20 };

static int read_file(const char *dir, const char *name, size_t max_bytes, char **ret_data,
                     size_t *ret_len, struct error *err)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path))
        return error_set(err, -ENAMETOOLONG, "%.200s...: path is too long", dir);
    return file_read(path, max_bytes, ret_data, ret_len, err);
}

int tokenizer_open(const char *dir, struct tokenizer **ret_tokenizer, struct error *err)
{
    char *json = NULL, *config = NULL;
    size_t json_len = 0, config_len = 0;
    struct error why = { 0 };
    int r = read_file(dir, "tokenizer.json", FILE_BYTES_MAX, &json, &json_len, err);
    if (r < 0)
        return r;
    r = read_file(dir, "tokenizer_config.json", CONFIG_BYTES_MAX, &config, &config_len, err);
    if (r == 0 || r == -ENOENT)
        r = tokenizer_from_json(json, json_len, config, config_len, ret_tokenizer, &why);
    if (why.code != 0)
        error_set(err, r, "%.150s: %s", dir, why.message);
    free(json);
    free(config);
    return r;
}

int tokenizer_from_json(const char *json, size_t json_len, const char *config, size_t config_len,
                        struct tokenizer **ret_tokenizer, struct error *err)
{
    return tokenizer_parts_from_json(json, json_len, config, config_len, true, ret_tokenizer, err);
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    tokenizer_parts_finish(tokenizer);
    free(tokenizer);
}

int tokenizer_scratch_create(const struct tokenizer *tokenizer, struct tokenizer_scratch **ret)
{
    (void)tokenizer; /* every model needs the same */
    struct tokenizer_scratch *scratch = calloc(1, sizeof(*scratch));
    if (scratch == NULL)
        return -ENOMEM;
    int r = pre_tokenizer_work_init(&scratch->pre_tokenizer);
    if (r == 0)
        r = model_work_init(&scratch->model);
    if (r < 0)
        tokenizer_scratch_destroy(scratch);
    else
        *ret = scratch;
    return r;
}

void tokenizer_scratch_destroy(struct tokenizer_scratch *scratch)
{
    if (scratch == NULL)
        return;
    normalizer_work_finish(&scratch->normalizer);
    pre_tokenizer_work_finish(&scratch->pre_tokenizer);
    model_work_finish(&scratch->model);
    strbuf_finish(&scratch->unmarked);
    free(scratch);
}

int32_t tokenizer_num_ids(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab.num_ids;
}

size_t tokenizer_max_token_bytes(const struct tokenizer *tokenizer)
{
    return tokenizer->max_token_bytes;
}

const char *tokenizer_bytes(const struct tokenizer *tokenizer, int32_t id, size_t *ret_len)
{
    return vocab_bytes(&tokenizer->vocab, id, ret_len);
}

bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && id < tokenizer->vocab.num_ids &&
           (tokenizer->vocab.flags[id] & VOCAB_SPECIAL) != 0;
}

int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *text, size_t len)
{
    const int32_t id = pieces_find(&tokenizer->added_texts, text, len);
    return id >= 0 ? id : pieces_find(&tokenizer->pieces, text, len);
}

int32_t tokenizer_bos_id(const struct tokenizer *tokenizer)
{
    return tokenizer->post_processor.num_before > 0 ? tokenizer->post_processor.before[0] : -1;
}
