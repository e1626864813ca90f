/*
 * model.h - a loaded model: configuration, weights on the device, one decoder forward
 *
 * model_open() reads config.json, lets the family (worker/families/) turn it into `struct arch`,
 * loads the checkpoint's tensors through the backend and prepares the tables. The forward
 * (forward.c) walks the layers and enqueues the backend's operations: one code for all
 * families, steered by the flags of struct arch.
 *
 * Source: config.json and safetensors as HF transformers 4.x writes them.
 */
#ifndef WORKER_MODEL_MODEL_H
#define WORKER_MODEL_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/backend.h"
#include "worker/model/config_quant.h"
#include "worker/model/kv_groups.h"
#include "worker/model/read_ahead.h"

enum { ARCH_MAX_LAYERS = 512, ARCH_MAX_ROPES = 2, ROPE_MAX_FACTORS = 256 };

enum rope_scaling {
    ROPE_SCALING_NONE,
    ROPE_SCALING_LINEAR,
    ROPE_SCALING_LLAMA3,
    ROPE_SCALING_YARN,
    ROPE_SCALING_LONGROPE,
};

/* How positions become angles, for the layers that name it. */
struct rope_spec {
    double theta;
    int32_t rotary_dims; /* of head_dim; the others pass through */
    enum rope_scaling scaling;
    double factor, low_freq_factor, high_freq_factor;
    double beta_fast, beta_slow; /* yarn */
    bool no_truncate;
    double mscale, mscale_all_dim;
    double attention_factor; /* of cos and sin; 0: what the scaling says */
    int32_t original_max_position_embeddings;
    double short_factors[ROPE_MAX_FACTORS], long_factors[ROPE_MAX_FACTORS]; /* longrope */
};

enum attention_kind { ATTENTION_HEADS, ATTENTION_LATENT };
enum mlp_kind { MLP_DENSE, MLP_EXPERTS, MLP_TOKEN_EXPERTS };

/* A vector mu of each token beside the stream: made of attention's output by INL dynamics, or of
 * the stream behind the MLP. */
enum mu_kind { MU_NONE, MU_DYNAMICS, MU_GUIDANCE };

/* A soft limit of activations around mu, for models that were trained with it. */
struct mu_clamp {
    bool enabled;
    float mu, low, high; /* low < high bound the distance from mu */
};

/* What differs from layer to layer. A zeroed one is Llama's. */
struct layer_spec {
    enum attention_kind attention;
    enum mlp_kind mlp;
    int32_t window; /* positions a token sees, its own among them; 0: all */
    int32_t rope;   /* index in arch.ropes */
    struct kv_place kv;
};

/* What a family says of a model: names are those of config.json. A zeroed flag means Llama's
 * way. */
struct arch {
    char model_type[32];
    int32_t vocab_size, hidden_size, intermediate_size;
    int32_t num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim;
    int32_t max_position_embeddings;
    float norm_eps;
    bool attention_bias, mlp_bias, tie_word_embeddings;
    bool qk_layernorm;       /* Phi: the tensors are there */
    bool qk_norm_over_heads; /* the norm of q and k is over all heads, not each */
    bool plain_mlp;          /* act(W x) without a gate */
    bool parallel_residual;  /* MLP and attention read the same norm */
    enum activation activation;
    float attention_scale;                   /* 0: 1 / sqrt(head_dim) */
    float attention_softcap, logits_softcap; /* 0: none */
    float embedding_scale;                   /* 0: none */
    enum dtype dtype;                        /* of the checkpoint's matrices */
    struct config_quant quant;               /* and how some of them are quantized */
    struct {
        int32_t num_experts, top_k, intermediate_size; /* of one expert */
        int32_t shared_intermediate_size;              /* 0: no shared expert */
        bool shared_gate, router_bias;
        struct moe_routing routing; /* bias is a layer's own */
    } moe;                          /* of layers whose MLP is MLP_EXPERTS */
    struct {
        int32_t q_rank;                        /* 0: q is made in one step */
        int32_t dim;                           /* of the latent; 0: the model has none */
        int32_t nope_dim, rope_dim, value_dim; /* of a head: not rotated, rotated; of its values */
        bool interleaved;
    } latent; /* of layers whose attention is ATTENTION_LATENT */
    struct {
        enum mu_kind kind;
        bool unguided;     /* config.json says that guidance is off */
        bool of_framework; /* it names an mlp_type, as another exporter's files do */
        bool highway;      /* each layer's mu goes on to all behind it */
        int32_t controller_size;
        float dt;
    } mu;
    float qk_norm_eps; /* 0: norm_eps */
    uint32_t features; /* what tensors there are, beyond the flags above: family.h */
    int32_t num_ropes;
    struct rope_spec ropes[ARCH_MAX_ROPES];
    struct layer_spec layers[ARCH_MAX_LAYERS];
    struct kv_groups kv;       /* Llama has one, of one part */
    struct kv_layout kv_block; /* of the pool: a part's layers */
    /* Of a whole model 0 and 0. In a rank's arch heads, kv_block and intermediate_size are the
     * rank's own; vocab_size and hidden_size are never cut. */
    struct {
        int32_t rank, num_ranks;
    } shard;
};

struct model;

struct model_options {
    const char *dir;
    enum dtype kv_dtype;
    int32_t block_size;
    int32_t max_model_len;                          /* 0: max_position_embeddings */
    int32_t max_rows;                               /* most rows of a step: token budget */
    int32_t max_logits;                             /* most rows with logits in a step */
    _Atomic uint64_t *progress_bytes, *total_bytes; /* may be NULL */
    const struct communicator *communicator;        /* NULL: one rank; outlives the model */
    const int *kept_weights; /* NULL, or a descriptor of an earlier process's weights */
    uint64_t stamp;          /* 0, or what model_stamp() was then */
    struct mu_clamp mu_clamp;
    enum read_io weight_io;
    bool no_mu_highway;       /* leave it out of a model that has it */
    const char *quantization; /* of plain matrices: requant_named(); NULL: as they are */
    size_t expert_bytes;      /* 0, or most that experts' activations take, but for one row's */
};

/*
 * Returns 0; -ENOENT/-EINVAL/-ENOTSUP for the model (exit code 2), -ENOMEM (3): a sentence with
 * the file, the tensor or key, what was found and what was wanted. -ESTALE: another model lies
 * there than the options' stamp says; -EPROTO: kept_weights are of no use.
 */
int model_open(const struct backend *backend, struct device *device,
               const struct model_options *options, struct model **ret_model, struct error *err);
void model_close(struct model *model); /* accepts NULL */

const struct arch *model_arch(const struct model *model); /* the rank's own */
int32_t model_max_len(const struct model *model);
size_t model_weight_bytes(const struct model *model);
bool model_is_attached(const struct model *model); /* to kept_weights */
bool model_used_direct_reads(const struct model *model);
int32_t model_num_widened(const struct model *model); /* quantized matrices that are kept as f32 */
/* A stable 64-bit hash of config, tensor headers, file sizes and times: the model's identity. */
uint64_t model_identity(const struct model *model);
/* The same and the files' devices and inodes: the very files. */
uint64_t model_stamp(const struct model *model);

/* A descriptor for model_options.kept_weights of a later process; the caller's. -1: the weights are
 * such a process's already, or were taken. */
int model_take_weights(struct model *model);

/* The rows of one step, flattened; arrays are the caller's and stay valid until the device's
 * wait(). */
struct model_batch {
    int32_t num_rows;
    const int32_t *token_ids;           /* [num_rows] */
    const int32_t *positions;           /* [num_rows] */
    const int64_t *slots[KV_MAX_PARTS]; /* [num_rows] in the KV blocks of each part */
    int32_t num_seqs;
    const struct attention_seq *seqs[KV_MAX_PARTS]; /* [num_seqs] */
    int32_t num_logits;
    const int32_t *logits_rows; /* [num_logits] rows whose logits are wanted */
};

/*
 * Enqueue the forward pass between the backend's begin() and submit(). The logits lie in
 * *ret_logits [num_logits][vocab_size] (the model's workspace) after wait().
 */
void model_forward(struct model *model, struct kv_pool *pool, const struct model_batch *batch,
                   float **ret_logits);

/*
 * What rank `rank` of `num_ranks` has of a model; one rank has all of it.
 *
 * Returns 0; -EINVAL with parameter "tensor_parallel" when heads cannot be shared out.
 */
int model_shard(const struct arch *whole, int32_t rank, int32_t num_ranks, struct arch *ret_own,
                struct error *err);

/* Most operations one forward enqueues: for device_options.max_ops. From config alone; `rows` are
 * max_rows or max_logits, whichever is more, expert_bytes as in the options. */
int32_t model_max_ops(const struct arch *arch, int32_t rows, size_t expert_bytes);

/* Read and check config.json only: what a device has to be opened with. */
int model_read_arch(const char *dir, enum dtype kv_dtype, int32_t block_size, struct arch *ret_arch,
                    struct error *err);

#endif
