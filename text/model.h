/*
 * model.h - the part of a tokenizer that turns a piece into ids: BPE or Unigram
 */
#ifndef TEXT_MODEL_H
#define TEXT_MODEL_H

#include "text/bpe.h"
#include "text/component.h"
#include "text/unigram.h"

enum model_type { MODEL_BPE, MODEL_UNIGRAM };

struct model {
    enum model_type type;
    struct bpe bpe;
    struct unigram unigram;
};

/* Per thread. */
struct model_work {
    struct word_cache cache;
    struct bpe_work *bpe;
    struct unigram_work unigram;
};

/* Which model is it? Returns 0, -EINVAL, -ENOTSUP. */
int model_read_type(const struct component *c, enum model_type *ret_type);

/* Read the rest of a model of `model->type`, as bpe_read() or unigram_read(). */
int model_read(struct model *model, const struct component *c, const struct pieces *texts,
               bool byte_level);
void model_finish(struct model *model);

int model_work_init(struct model_work *work);
void model_work_finish(struct model_work *work);

/* Append the ids of a piece of 1 to INT32_MAX bytes. Returns 0, -ENOMEM. */
int model_encode(const struct model *model, const struct pieces *pieces, struct model_work *work,
                 const char *piece, size_t len, struct token_ids *ids);

/* The id for text that has no token, or -1. */
int32_t model_unk_id(const struct model *model);

/* Can more text than the longest token has vanish into one id or none? */
bool model_loses_text(const struct model *model);

#endif
