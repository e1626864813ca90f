#include "worker/model/measure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/families/family.h"
#include "worker/model/checkpoint.h"
#include "worker/model/config.h"
#include "worker/model/forward_experts.h"
#include "worker/model/forward_latent.h"
#include "worker/model/forward_mu.h"
#include "worker/model/quant_tensors.h"

static int read_whole(const struct model_options *options, struct measure *m,
                      const struct family **ret_family, struct error *err)
{
    const int r = config_read(options->dir, options->kv_dtype, options->block_size, &m->whole,
                              ret_family, NULL, err);
    if (r == 0 && options->max_model_len > m->whole.max_position_embeddings)
        return error_set_param(err, -EINVAL, "max_model_len",
                               "max_model_len is %d, wanted at most the model's "
                               "max_position_embeddings %d",
                               options->max_model_len, m->whole.max_position_embeddings);
    return r;
}

/* Types beyond the last place are counted there. */
static void add_share(struct measure_share *shares, const char *name, uint64_t bytes)
{
    int i = 0;
    while (i < MEASURE_MAX_TYPES - 1 && shares[i].name != NULL && strcmp(shares[i].name, name) != 0)
        i++;
    shares[i].name = name;
    shares[i].bytes += bytes;
}

static int compare_shares(const void *a, const void *b)
{
    const uint64_t x = ((const struct measure_share *)a)->bytes;
    const uint64_t y = ((const struct measure_share *)b)->bytes;
    return (x < y) - (x > y);
}

static void measure_kept(const size_t bytes[WEIGHTS_NUM_DTYPES], struct measure *m)
{
    for (int dtype = 0; dtype < WEIGHTS_NUM_DTYPES; dtype++)
        if (bytes[dtype] > 0)
            add_share(m->kept, dtype_name((enum dtype)dtype), bytes[dtype]);
    for (int i = 0; i < MEASURE_MAX_TYPES; i++)
        m->weight_bytes += (size_t)m->kept[i].bytes;
    qsort(m->kept, MEASURE_MAX_TYPES, sizeof(m->kept[0]), compare_shares);
}

static void measure_stored(const struct checkpoint *checkpoint, struct measure *m)
{
    for (int32_t i = 0; i < checkpoint->num_tensors; i++) {
        const struct safetensors_tensor *info = checkpoint->tensors[i].info;
        add_share(m->stored, info->dtype->name, info->end - info->begin);
        m->checkpoint_bytes += info->end - info->begin;
    }
    qsort(m->stored, MEASURE_MAX_TYPES, sizeof(m->stored[0]), compare_shares);
}

static int measure_weights(const struct model_options *options, const struct family *family,
                           int32_t num_ranks, struct measure *m, struct error *err)
{
    struct checkpoint checkpoint;
    size_t bytes[WEIGHTS_NUM_DTYPES];
    int r = checkpoint_open(options->dir, &checkpoint, err);
    if (r < 0)
        return r;
    m->num_files = checkpoint.num_files;
    m->num_tensors = checkpoint.num_tensors;
    measure_stored(&checkpoint, m);
    r = quant_tensors_fold(&m->whole.quant, &checkpoint, err);
    if (r == 0 && family->probe != NULL)
        r = family->probe(&checkpoint, &m->whole, err);
    if (r == 0)
        r = model_shard(&m->whole, 0, num_ranks, &m->own, err);
    if (r == 0)
        r = weights_measure(&m->whole, &m->own, family, &checkpoint, options->quantization, bytes,
                            err);
    if (r == 0)
        measure_kept(bytes, m);
    checkpoint_close(&checkpoint);
    return r;
}

/* The wide buffers of a step, and what some kinds of layers add. */
static size_t measure_activations(const struct model_options *options, const struct arch *arch)
{
    static const enum dim dims[] = { DIM_HIDDEN, DIM_HIDDEN,  DIM_HIDDEN, DIM_QKV,
                                     DIM_ATTN,   DIM_GATE_UP, DIM_FFN };
    size_t cols = 0;
    for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++)
        cols += (size_t)family_dim(arch, dims[i]);
    const size_t row_bytes = cols * sizeof(float) + latent_row_bytes(arch) + mu_row_bytes(arch);
    return row_bytes * (size_t)options->max_rows +
           experts_bytes(arch, options->expert_bytes, options->max_rows) +
           (size_t)arch->vocab_size * (size_t)options->max_logits * sizeof(float);
}

static void measure_rest(const struct model_options *options, struct measure *m)
{
    const int32_t longest = m->whole.max_position_embeddings;
    m->max_len = options->max_model_len > 0 ? options->max_model_len : longest;
    for (int32_t i = 0; i < m->own.num_ropes; i++)
        m->table_bytes += sizeof(float) * (size_t)m->own.ropes[i].rotary_dims * (size_t)m->max_len;
    m->kv_block_bytes = kv_block_bytes(&m->own.kv_block);
    m->activation_bytes = measure_activations(options, &m->own);
}

int measure_model(const struct model_options *options, int32_t num_ranks,
                  struct measure *ret_measure, struct error *err)
{
    const struct family *family = NULL;
    struct measure *m = ret_measure;
    *m = (struct measure){ 0 };
    int r = read_whole(options, m, &family, err);
    if (r == 0)
        r = measure_weights(options, family, num_ranks, m, err);
    if (r == 0)
        measure_rest(options, m);
    return r;
}
