#include <math.h>

#include "worker/families/family.h"
#include "worker/model/forward.h"
#include "worker/model/forward_latent.h"
#include "worker/model/forward_mu.h"

static struct attention_form form_of(const struct pass *pass)
{
    const struct arch *arch = &pass->m->arch;
    const float usual = 1.0f / sqrtf((float)arch->head_dim);
    return (struct attention_form){
        .scale = arch->attention_scale > 0.0f ? arch->attention_scale : usual,
        .softcap = arch->attention_softcap,
        .window = pass->spec->window,
    };
}

/* A norm over all heads needs the squares of all ranks. */
static void sum_squares(const struct pass *pass, struct qk_norm *norm)
{
    const struct model *m = pass->m;
    const int32_t num_ranks = m->communicator != NULL ? m->communicator->num_ranks : 1;
    const int32_t q_cols = family_dim(&m->arch, DIM_Q), k_cols = family_dim(&m->arch, DIM_KV);
    const int32_t rows = pass->batch->num_rows;
    m->backend->qk_squares(m->device, m->workspace.squares, m->workspace.qkv, q_cols, k_cols, rows);
    if (m->communicator != NULL)
        m->backend->all_reduce(m->device, m->communicator, m->workspace.squares, rows, 2);
    norm->squares = m->workspace.squares;
    norm->q_cols = num_ranks * q_cols;
    norm->k_cols = num_ranks * k_cols; /* a head that ranks share is counted by each */
}

static void rope_heads(const struct pass *pass)
{
    const struct model *m = pass->m;
    const struct layer_weights *w = pass->w;
    const struct model_batch *batch = pass->batch;
    struct qk_norm norm = { .q = w->q_norm,
                            .k = w->k_norm,
                            .q_bias = w->q_norm_bias,
                            .k_bias = w->k_norm_bias,
                            .eps = m->arch.qk_norm_eps > 0.0f ? m->arch.qk_norm_eps
                                                              : m->arch.norm_eps };
    if (m->arch.qk_norm_over_heads)
        sum_squares(pass, &norm);
    m->backend->rope_kv_write(m->device, m->workspace.qkv, w->q_norm != NULL ? &norm : NULL,
                              &m->ropes[pass->spec->rope], batch->positions, pass->slots,
                              pass->pool, pass->spec->kv.layer, m->arch.num_attention_heads,
                              batch->num_rows);
}

static void attend_heads(const struct pass *pass, const float *x, bool wanted)
{
    const struct model *m = pass->m;
    const int32_t rows = pass->batch->num_rows;
    const struct attention_form form = form_of(pass);
    float *qkv = m->workspace.qkv;

    m->backend->linear(m->device, qkv, pass->w->qkv_proj, pass->w->qkv_bias, x, rows);
    mu_guide(pass, qkv);
    rope_heads(pass);
    if (wanted)
        m->backend->attention(m->device, m->workspace.attn, qkv, pass->pool, pass->spec->kv.layer,
                              m->arch.num_attention_heads, &form, pass->seqs, pass->batch->num_seqs,
                              rows);
}

attention_function *const attention_functions[] = {
    [ATTENTION_HEADS] = attend_heads,
    [ATTENTION_LATENT] = latent_attend,
};
