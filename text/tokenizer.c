#include "text/tokenizer.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/tokenizer_parts.h"

enum { FILE_BYTES_MAX = 64 << 20, CONFIG_BYTES_MAX = 8 << 20 };

struct tokenizer_scratch {
    struct normalizer_work normalizer;
    struct pre_tokenizer_work pre_tokenizer;
    struct model_work model;
};

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
    free(scratch);
}

struct encoding {
    const struct tokenizer *tokenizer;
    struct tokenizer_scratch *scratch;
    struct token_ids *ids;
    size_t max_ids;
    bool parse_special;
};

static int check_max(const struct encoding *e)
{
    if (e->ids->num <= e->max_ids)
        return 0;
    e->ids->num = e->max_ids;
    return -E2BIG;
}

static int add_ids(const struct encoding *e, const int32_t *ids, int32_t num)
{
    const int r = token_ids_append(e->ids, ids, (size_t)num);
    return r < 0 ? r : check_max(e);
}

static int encode_piece(void *context, const char *piece, size_t len)
{
    const struct encoding *e = context;
    const int r = model_encode(&e->tokenizer->model, &e->tokenizer->pieces, &e->scratch->model,
                               piece, len, e->ids);
    return r < 0 ? r : check_max(e);
}

/* Text between the tokens found before normalizing: a string of its own. */
static int encode_between(struct encoding *e, const char *text, size_t len, bool first)
{
    const struct tokenizer *t = e->tokenizer;
    struct added_tokens_cursor cursor;
    struct added_tokens_segment segment;
    int r = normalizer_run(&t->normalizer, &e->scratch->normalizer, text, len, &text, &len);
    if (r < 0)
        return r;
    added_tokens_begin(&cursor, &t->added_normalized, text, len, e->parse_special);
    while (r == 0 && added_tokens_next(&cursor, &segment))
        r = segment.id >= 0 ? add_ids(e, &segment.id, 1)
                            : pre_tokenizer_run(&t->pre_tokenizer, &e->scratch->pre_tokenizer,
                                                text + segment.start, segment.len,
                                                first && segment.start == 0, encode_piece, e);
    return r;
}

static int encode_text(struct encoding *e, const char *text, size_t len)
{
    struct added_tokens_cursor cursor;
    struct added_tokens_segment segment;
    int r = 0;
    added_tokens_begin(&cursor, &e->tokenizer->added_raw, text, len, e->parse_special);
    while (r == 0 && added_tokens_next(&cursor, &segment))
        r = segment.id >= 0
                ? add_ids(e, &segment.id, 1)
                : encode_between(e, text + segment.start, segment.len, segment.start == 0);
    return r;
}

int tokenizer_encode(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                     const char *text, size_t len, unsigned flags, size_t max_ids,
                     struct token_ids *ids)
{
    const struct post_processor *post = &tokenizer->post_processor;
    const bool add_special = (flags & TOKENIZER_ADD_SPECIAL) != 0;
    struct encoding e = { .tokenizer = tokenizer,
                          .scratch = scratch,
                          .ids = ids,
                          .max_ids = max_ids > 0 ? max_ids : SIZE_MAX,
                          .parse_special = (flags & TOKENIZER_PARSE_SPECIAL) != 0 };
    if (len > INT32_MAX / 4) /* positions are 32 bits, and normalizing may lengthen */
        return -E2BIG;
    int r = add_special ? add_ids(&e, post->before, post->num_before) : 0;
    if (r == 0)
        r = encode_text(&e, text, len);
    if (r == 0 && add_special)
        r = add_ids(&e, post->behind, post->num_behind);
    return r;
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
