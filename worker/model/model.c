#include "worker/model/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "worker/families/family.h"
#include "worker/model/config.h"
#include "worker/model/forward.h"
#include "worker/model/forward_experts.h"
#include "worker/model/forward_latent.h"
#include "worker/model/forward_mu.h"
#include "worker/model/quant_tensors.h"
#include "worker/model/rope.h"

static int check_options(const struct model_options *options, const struct arch *arch,
                         struct error *err)
{
    if (options->max_model_len > arch->max_position_embeddings)
        return error_set_param(err, -EINVAL, "max_model_len",
                               "max_model_len is %d, wanted at most the model's "
                               "max_position_embeddings of %d",
                               options->max_model_len, arch->max_position_embeddings);
    if (options->mu_clamp.enabled && !(options->mu_clamp.low < options->mu_clamp.high))
        return error_set_param(err, -EINVAL, "mu_clamp_min",
                               "mu_clamp_min is %g, wanted less than mu_clamp_max %g",
                               (double)options->mu_clamp.low, (double)options->mu_clamp.high);
    if (options->max_model_len < 0 || options->max_rows < 1 || options->max_logits < 1)
        return error_set(err, -EINVAL,
                         "max_model_len %d, max_rows %d and max_logits %d are no sizes of a step",
                         options->max_model_len, options->max_rows, options->max_logits);
    return 0;
}

static int alloc_rows(struct model *m, float **field, int32_t rows, int32_t cols, struct error *err)
{
    const size_t bytes = (size_t)rows * (size_t)cols * sizeof(float);
    *field = m->backend->alloc(m->device, bytes);
    if (*field == NULL)
        return error_set(err, -ENOMEM, "no memory for activations of %d rows: %zu bytes", rows,
                         bytes);
    return 0;
}

static int alloc_workspace(struct model *m, struct error *err)
{
    struct workspace *ws = &m->workspace;
    const int32_t hidden = m->arch.hidden_size;
    /* Several choices may want the logits of one row. */
    const int32_t most = m->max_rows > m->max_logits ? m->max_rows : m->max_logits;
    const bool beside = m->arch.parallel_residual, is_latent = m->arch.latent.dim > 0;
    const struct {
        float **field;
        int32_t rows, cols; /* 0: this model needs none */
    } buffers[] = {
        { &ws->hidden, m->max_rows, hidden },
        { &ws->delta, most, hidden },
        { &ws->normed, most, hidden },
        { &ws->qkv, m->max_rows, is_latent ? 0 : family_dim(&m->arch, DIM_QKV) },
        { &ws->attn, m->max_rows, family_dim(&m->arch, DIM_ATTN) },
        { &ws->gate_up, most, family_dim(&m->arch, DIM_GATE_UP) },
        { &ws->ffn, most, family_dim(&m->arch, DIM_FFN) },
        { &ws->beside, most, beside ? hidden : 0 },
        { &ws->squares, m->max_rows, m->arch.qk_norm_over_heads ? 2 : 0 },
        { &ws->last_hidden, m->max_logits, hidden },
        { &ws->last_attn, m->max_logits, family_dim(&m->arch, DIM_ATTN) },
        { &ws->last_normed, m->max_logits, beside ? hidden : 0 },
        { &ws->logits, m->max_logits, m->arch.vocab_size },
        { &ws->own_logits, m->max_logits,
          m->communicator != NULL ? family_dim(&m->arch, DIM_VOCAB_SHARE) : 0 },
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(buffers) / sizeof(buffers[0]); i++)
        if (buffers[i].cols > 0)
            r = alloc_rows(m, buffers[i].field, buffers[i].rows, buffers[i].cols, err);
    return r;
}

static void free_workspace(struct model *m)
{
    const struct workspace *ws = &m->workspace;
    float *const buffers[] = { ws->hidden,  ws->delta,       ws->normed,    ws->qkv,
                               ws->attn,    ws->gate_up,     ws->ffn,       ws->beside,
                               ws->squares, ws->last_hidden, ws->last_attn, ws->last_normed,
                               ws->logits,  ws->own_logits };
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
        if (buffers[i] != NULL)
            m->backend->free(m->device, buffers[i]);
}

static int shard_model(struct model *m, struct error *err)
{
    const struct communicator *c = m->communicator;
    return model_shard(&m->whole, c != NULL ? c->rank : 0, c != NULL ? c->num_ranks : 1, &m->arch,
                       err);
}

/* What the checkpoint says beyond config.json, then this rank's part. */
static int settle_arch(struct model *m, const struct model_options *options,
                       const struct family *family, const struct checkpoint *checkpoint,
                       struct error *err)
{
    const int r = family->probe != NULL ? family->probe(checkpoint, &m->whole, err) : 0;
    if (options->no_mu_highway)
        m->whole.mu.highway = false;
    return r < 0 ? r : shard_model(m, err);
}

static int alloc_step(struct model *m, const struct model_options *options, struct error *err)
{
    const int32_t most = m->max_rows > m->max_logits ? m->max_rows : m->max_logits;
    int r = 0;
    for (int32_t i = 0; r == 0 && i < m->arch.num_ropes; i++)
        r = rope_init(m->backend, m->device, &m->arch.ropes[i], m->max_len, &m->ropes[i], err);
    if (r == 0)
        r = alloc_workspace(m, err);
    if (r == 0)
        r = experts_alloc(m, options->expert_bytes, most, err);
    if (r == 0)
        r = latent_alloc(m, m->max_rows, err);
    return r < 0 ? r : mu_alloc(m, most, err);
}

static int open_checkpoint(struct model *m, const struct model_options *options,
                           const struct family *family, struct checkpoint *checkpoint,
                           struct error *err)
{
    checkpoint->stamp = file_hash(m->stamp, &checkpoint->stamp, sizeof(checkpoint->stamp));
    m->stamp = checkpoint->stamp;
    m->identity = file_hash(m->identity, &checkpoint->hash, sizeof(checkpoint->hash));
    if (options->stamp != 0 && options->stamp != m->stamp)
        return error_set(err, -ESTALE, "%.300s: its files are not those that were loaded at first",
                         options->dir);
    int r = quant_tensors_fold(&m->whole.quant, checkpoint, err);
    if (r == 0)
        r = settle_arch(m, options, family, checkpoint, err);
    if (r == 0)
        r = alloc_step(m, options, err);
    if (r == 0)
        r = weights_load(m->backend, m->device, options, &m->whole, &m->arch, family, checkpoint,
                         &m->weights, err);
    return r < 0 ? r : mu_prepare(m, err);
}

/* What changes weights or activations belongs to the model's identity. */
static void take_changes(struct model *m, const struct model_options *options)
{
    m->mu_clamp = options->mu_clamp;
    if (options->quantization != NULL)
        m->identity = file_hash(m->identity, options->quantization, strlen(options->quantization));
    if (options->mu_clamp.enabled) {
        const float values[] = { options->mu_clamp.mu, options->mu_clamp.low,
                                 options->mu_clamp.high };
        m->identity = file_hash(m->identity, values, sizeof(values));
    }
    if (options->no_mu_highway)
        m->identity = file_hash(m->identity, "no highway", 10);
}

static int open_model(struct model *m, const struct model_options *options, struct error *err)
{
    const struct family *family;
    struct checkpoint checkpoint;
    int r = config_read(options->dir, options->kv_dtype, options->block_size, &m->whole, &family,
                        &m->identity, err);
    if (r == 0)
        r = check_options(options, &m->whole, err);
    if (r < 0)
        return r;
    m->stamp = m->identity; /* of config.json; the checkpoint's is added */
    take_changes(m, options);
    m->max_len =
        options->max_model_len > 0 ? options->max_model_len : m->whole.max_position_embeddings;
    m->max_rows = options->max_rows;
    m->max_logits = options->max_logits;
    r = checkpoint_open(options->dir, &checkpoint, err);
    if (r < 0)
        return r;
    r = open_checkpoint(m, options, family, &checkpoint, err);
    checkpoint_close(&checkpoint);
    return r;
}

int model_open(const struct backend *backend, struct device *device,
               const struct model_options *options, struct model **ret_model, struct error *err)
{
    struct model *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return error_set(err, -ENOMEM, "no memory for a model");
    m->backend = backend;
    m->device = device;
    if (options->communicator != NULL && options->communicator->num_ranks > 1)
        m->communicator = options->communicator;
    const int r = open_model(m, options, err);
    if (r < 0) {
        model_close(m);
        return r;
    }
    *ret_model = m;
    return 0;
}

void model_close(struct model *model)
{
    if (model == NULL)
        return;
    weights_finish(model->backend, &model->weights);
    for (int32_t i = 0; i < ARCH_MAX_ROPES; i++)
        rope_finish(model->backend, model->device, &model->ropes[i]);
    free_workspace(model);
    experts_free(model);
    latent_free(model);
    mu_free(model);
    free(model);
}

const struct arch *model_arch(const struct model *model)
{
    return &model->arch;
}

int32_t model_max_len(const struct model *model)
{
    return model->max_len;
}

size_t model_weight_bytes(const struct model *model)
{
    return model->weights.bytes;
}

bool model_is_attached(const struct model *model)
{
    return model->weights.is_attached;
}

bool model_used_direct_reads(const struct model *model)
{
    return model->weights.used_direct;
}

int32_t model_num_widened(const struct model *model)
{
    return model->weights.num_widened;
}

uint64_t model_identity(const struct model *model)
{
    return model->identity;
}

uint64_t model_stamp(const struct model *model)
{
    return model->stamp;
}

int model_take_weights(struct model *model)
{
    const int fd = model->weights.sealed_fd;
    model->weights.sealed_fd = -1;
    return fd;
}
