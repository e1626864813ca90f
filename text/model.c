#include "text/model.h"

#include <errno.h>
#include <string.h>

int model_read_type(const struct component *c, enum model_type *ret_type)
{
    const json_t *type = json_object_get(c->json, "type");
    *ret_type = MODEL_BPE;
    if (type == NULL || json_is_null(type)) /* files older than the field are BPE with merges */
        return 0;
    if (!json_is_string(type))
        return component_wrong(c, "type", type, "a string");
    if (strcmp(json_string_value(type), "BPE") == 0)
        return 0;
    *ret_type = MODEL_UNIGRAM;
    if (strcmp(json_string_value(type), "Unigram") == 0)
        return 0;
    return error_set(c->err, -ENOTSUP,
                     "tokenizer.json: model.type is \"%.80s\", supported are BPE, Unigram",
                     json_string_value(type));
}

int model_read(struct model *model, const struct component *c, const struct pieces *texts,
               bool byte_level)
{
    if (model->type == MODEL_BPE)
        return bpe_read(&model->bpe, c->json, texts, byte_level, c->err);
    if (byte_level)
        return error_set(c->err, -ENOTSUP,
                         "tokenizer.json: pre_tokenizer has a ByteLevel, wanted none before a "
                         "Unigram model");
    return unigram_read(&model->unigram, c->json, texts, c->err);
}

void model_finish(struct model *model)
{
    bpe_finish(&model->bpe);
    unigram_finish(&model->unigram);
}

int model_work_init(struct model_work *work)
{
    *work = (struct model_work){ 0 };
    const int r = word_cache_init(&work->cache);
    return r < 0 ? r : bpe_work_create(&work->bpe);
}

void model_work_finish(struct model_work *work)
{
    word_cache_finish(&work->cache);
    bpe_work_destroy(work->bpe);
    unigram_work_finish(&work->unigram);
}

int model_encode(const struct model *model, const struct pieces *pieces, struct model_work *work,
                 const char *piece, size_t len, struct token_ids *ids)
{
    if (model->type == MODEL_BPE)
        return bpe_encode(&model->bpe, pieces, &work->cache, work->bpe, piece, len, ids);
    return unigram_encode(&model->unigram, pieces, &work->cache, &work->unigram, piece, len, ids);
}

int32_t model_unk_id(const struct model *model)
{
    return model->type == MODEL_BPE ? model->bpe.unk_id : model->unigram.unk_id;
}

bool model_loses_text(const struct model *model)
{
    return model->type == MODEL_BPE ? bpe_loses_text(&model->bpe)
                                    : unigram_loses_text(&model->unigram);
}
