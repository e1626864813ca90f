/*
 * family.h - what a model family says of itself: names in config.json and in the checkpoint
 *
 * A family is one file with a table of tensors and a function that reads its keys of
 * config.json into `struct arch`. It holds no computation: forward.c is steered by the flags.
 * registry.c lists the families.
 */
#ifndef WORKER_FAMILIES_FAMILY_H
#define WORKER_FAMILIES_FAMILY_H

#include <jansson.h>

#include "base/strbuf.h"
#include "worker/model/model.h"
#include "worker/model/weights.h"

/* A length that follows from the configuration. */
enum dim {
    DIM_NONE, /* 0: no such dimension, or row 0 */
    DIM_VOCAB,
    DIM_VOCAB_SHARE, /* what of the vocabulary this rank has logits of */
    DIM_HIDDEN,
    DIM_Q,       /* num_attention_heads * head_dim */
    DIM_KV,      /* num_key_value_heads * head_dim */
    DIM_Q_KV,    /* q and k together: where v begins in the fused matrix */
    DIM_QKV,     /* q, k and v together */
    DIM_FFN,     /* intermediate_size */
    DIM_GATE_UP, /* gate and up together; of a plain MLP the one there is */
    DIM_HEAD,    /* head_dim */
    DIM_EXPERTS,
    DIM_EXPERT_FFN,     /* moe.intermediate_size */
    DIM_EXPERT_GATE_UP, /* gate and up of one expert together */
    DIM_SHARED_FFN,     /* moe.shared_intermediate_size */
    DIM_SHARED_GATE_UP,
    DIM_ONE,
    DIM_ATTN,       /* what o_proj reads: DIM_Q, or the values of all heads */
    DIM_HEADS,      /* num_attention_heads */
    DIM_LATENT,     /* latent.dim */
    DIM_LATENT_KEY, /* the latent and the key that is rotated: a position in the pool */
    DIM_LATENT_Q,   /* of all heads: what is not rotated and what is */
    DIM_Q_RANK,
    DIM_NOPE,
    DIM_VALUE,
    DIM_NOPE_VALUE, /* what a head makes of the latent */
    DIM_CONTROLLER, /* mu.controller_size */
    DIM_HIDDEN_TWICE,
    DIM_HIDDEN_THRICE,
};

int32_t family_dim(const struct arch *arch, enum dim dim);

enum weight_when {
    WHEN_ALWAYS,
    WHEN_ATTENTION_BIAS,
    WHEN_MLP_BIAS,
    WHEN_UNTIED, /* may be absent: then the embedding serves */
    WHEN_QK_LAYERNORM,
    WHEN_MLP_DENSE,
    WHEN_EXPERTS,
    WHEN_ROUTER_BIAS,
    WHEN_SHARED_EXPERT,
    WHEN_SHARED_GATE,
};

/* What else a row may ask for: bits of arch.features, which the family sets. */
enum {
    FEATURE_Q_WHOLE = 1, /* q in one matrix, or in two of a low rank */
    FEATURE_Q_RANK = 1 << 1,
    FEATURE_QK_NORM = 1 << 2,
    FEATURE_DYNAMICS = 1 << 3,
    FEATURE_MU_PROJ = 1 << 4,
    FEATURE_CONTROLLER = 1 << 5,
    FEATURE_OLD_CONTROLLER = 1 << 6, /* the same under other names */
    FEATURE_GUIDANCE = 1 << 7,
    FEATURE_MU_INIT = 1 << 8,
    FEATURE_MU_QK = 1 << 9,
    FEATURE_MU_V = 1 << 10,
    FEATURE_MU_ROUTER = 1 << 11,
    FEATURE_TABLE = 1 << 12, /* of tokens' experts */
    FEATURE_SHARED = 1 << 13,
    FEATURE_EXPERTS_FUSED = 1 << 14,   /* how experts lie: gate and up in one, */
    FEATURE_EXPERTS_STACKED = 1 << 15, /* all experts in one, */
    FEATURE_EXPERTS_W = 1 << 16,       /* so, under other names, */
    FEATURE_EXPERTS_NAMED = 1 << 17,   /* each in tensors of its own */
    FEATURE_KV_WHOLE = 1 << 18,        /* what makes keys and values of a latent in one, */
    FEATURE_KV_SPLIT = 1 << 19,        /* or apart, as GGUF has it */
};

/* How the blocks of a row lie in a tensor that has them all. */
enum tensor_lie {
    LIES_STACKED, /* [blocks][rows][cols] */
    LIES_FLAT,    /* [blocks rows][cols] */
};

/*
 * One tensor of the checkpoint: [rows][cols], or [rows] where cols is DIM_NONE. It becomes the
 * rows from `first` on of the matrix or vector that has `total` rows: q, k and v go into one. Of a
 * dimension that is cut (shard.h) a rank has its part.
 */
struct weight_row {
    const char *name; /* behind the prefix, and "layers.N." when it belongs to a layer */
    bool in_layer;
    size_t offset; /* of the pointer in struct layer_weights or struct model_weights */
    enum dim rows, cols;
    enum dim first, total;
    enum weight_when when;
    bool once;     /* a sum over ranks contains it: rank 0 alone has it */
    bool plus_one; /* a vector stored as its distance from 1 */
    float high;    /* a vector whose values are limited to [0, high]; 0: they are not */

    /* Several matrices in one weight, block_stride(total) rows apart: `first` and `total` are
     * within one. Where the name has a %d each block is a tensor of its own. */
    enum dim blocks;
    enum tensor_lie lie;
    /* The tensor has more rows or columns (0: just these), of which these begin at ... */
    enum dim in_rows, from_row, in_cols, from_col;
    bool turned;          /* the tensor holds the transpose: [cols][rows] */
    uint32_t needs;       /* features of the arch, all of them */
    enum dim table_below; /* whole numbers from 0 to below this: the field is an int32_t * */
};

/* Place of the weight: a row names the struct's field. */
#define IN_LAYER(field) .in_layer = true, .offset = offsetof(struct layer_weights, field)
#define IN_MODEL(field) .in_layer = false, .offset = offsetof(struct model_weights, field)

struct family {
    const char *model_type;
    const char *architecture;    /* as in "architectures", for files without model_type */
    const char *const *aliases;  /* other model_types; NULL-terminated, or NULL */
    const char *wrapper;         /* model_type of models whose text_config is of this family */
    const char *defaults;        /* a JSON object: of keys that config.json may leave out */
    const char *const *prefixes; /* of all names, tried in order; NULL-terminated */
    const struct weight_row *rows;
    int32_t num_rows;
    /* Read the family's keys; the sizes that all families share are read already. */
    int (*read_config)(const json_t *config, struct arch *arch, struct error *err);
    /* What only the checkpoint tells: flags of an arch that is read. May be NULL. */
    int (*probe)(const struct checkpoint *checkpoint, struct arch *arch, struct error *err);
    /* Tensors of old checkpoints that carry nothing: a name ends so. NULL-terminated. */
    const char *const *ignored;
    bool further_layers; /* the checkpoint may have layers beyond num_hidden_layers, for training */
};

/* "model.", then none: where nothing else is usual. And those of a family that has a wrapper. */
extern const char *const family_prefixes[], *const family_wrapped_prefixes[];

/* Inverse frequencies, as old checkpoints have them. */
extern const char *const family_ignored[];

extern const struct family family_deep, family_deepseek_v2, family_deepseek_v3, family_mixtral,
    family_qwen2_moe, family_qwen3_moe;
extern const struct family family_gemma, family_gemma2, family_gemma3_text, family_llama,
    family_mistral, family_olmo2, family_phi, family_phi3, family_qwen2, family_qwen3;

/* By model_type (preferred) or architecture, either may be NULL; NULL when there is none. */
const struct family *family_find(const char *model_type, const char *architecture);

/* By the model_type of the model around it. */
const struct family *family_find_wrapped(const char *model_type);

/* "llama, ...": for messages. */
void family_list(struct strbuf *out);

#endif
