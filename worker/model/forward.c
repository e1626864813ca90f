#include "worker/model/forward.h"

#include <assert.h>

#include "worker/families/family.h"
#include "worker/model/forward_experts.h"
#include "worker/model/forward_mu.h"

enum { OPS_PER_LAYER = 64, OPS_PER_PART = 36, OPS_AROUND = 12 }; /* at most */

int32_t model_max_ops(const struct arch *arch, int32_t rows, size_t expert_bytes)
{
    const int32_t part = experts_part(arch, expert_bytes, rows);
    const int32_t more = (rows + part - 1) / part - 1;
    return (OPS_PER_LAYER + OPS_PER_PART * more) * arch->num_hidden_layers + OPS_AROUND;
}

/* The rows that a layer's second half computes. */
struct stream {
    float *hidden, *attn;
    const float *normed; /* what attention has read */
    int32_t rows;
};

static struct pass layer_pass(struct model *m, struct kv_pool *pool,
                              const struct model_batch *batch, int32_t l)
{
    const struct layer_spec *spec = &m->arch.layers[l];
    return (struct pass){ .m = m,
                          .spec = spec,
                          .w = &m->weights.layers[l],
                          .pool = pool,
                          .slots = batch->slots[spec->kv.part],
                          .seqs = batch->seqs[spec->kv.part],
                          .batch = batch,
                          .velocity = m->mu.v };
}

/* hidden += delta; what the layer's next part reads: the norm of it, or itself. */
static const float *add_norm(struct model *m, float *hidden, const float *delta, const float *w,
                             const float *bias, int32_t rows)
{
    float *normed = w != NULL ? m->workspace.normed : NULL;
    if (bias != NULL)
        m->backend->add_layer_norm(m->device, normed, hidden, delta, w, bias, m->arch.norm_eps,
                                   rows, m->arch.hidden_size);
    else if (delta != NULL || normed != NULL)
        m->backend->add_rms_norm(m->device, normed, hidden, delta, w, m->arch.norm_eps, rows,
                                 m->arch.hidden_size);
    if (normed == NULL)
        return hidden;
    mu_soften(m, normed, rows);
    return normed;
}

/* Each rank has multiplied its columns by its part of the inputs. */
static void add_ranks(struct model *m, float *x, int32_t rows)
{
    if (m->communicator != NULL)
        m->backend->all_reduce(m->device, m->communicator, x, rows, m->arch.hidden_size);
}

/* What a part of the layer adds to the stream is whole: some models norm it first. */
static void finish_delta(struct model *m, const float *out_norm, int32_t rows)
{
    float *delta = m->workspace.delta;
    add_ranks(m, delta, rows);
    mu_soften(m, delta, rows);
    if (out_norm != NULL)
        m->backend->add_rms_norm(m->device, delta, delta, NULL, out_norm, m->arch.norm_eps, rows,
                                 m->arch.hidden_size);
}

/* Is the stream whole at the end of each layer? Else the next norm adds delta. */
static bool settles(const struct model *m)
{
    return m->mu_clamp.enabled || m->arch.mu.kind != MU_NONE;
}

static void attend(const struct pass *pass, bool is_first, bool wanted)
{
    struct model *m = pass->m;
    const float *x =
        add_norm(m, m->workspace.hidden, is_first || settles(m) ? NULL : m->workspace.delta,
                 pass->w->attn_norm, pass->w->attn_norm_bias, pass->batch->num_rows);
    attention_functions[pass->spec->attention](pass, x, wanted);
}

/* o_proj, then the MLP on what that has made of the stream. */
static void transform_after(const struct pass *pass, const struct stream *s)
{
    struct model *m = pass->m;
    float *delta = m->workspace.delta;

    m->backend->linear(m->device, delta, pass->w->o_proj, pass->w->o_bias, s->attn, s->rows);
    finish_delta(m, pass->w->attn_out_norm, s->rows);
    mu_move(pass, delta, s->rows);
    const float *x = add_norm(m, s->hidden, delta, pass->w->mlp_norm, NULL, s->rows);
    mlp_functions[pass->spec->mlp](pass, delta, x, s->rows);
    finish_delta(m, pass->w->mlp_out_norm, s->rows);
}

/* Attention's and the MLP's parts go into one sum over ranks. */
static void transform_beside(const struct pass *pass, const struct stream *s)
{
    struct model *m = pass->m;
    float *delta = m->workspace.delta, *beside = m->workspace.beside;

    m->backend->linear(m->device, delta, pass->w->o_proj, pass->w->o_bias, s->attn, s->rows);
    mlp_functions[pass->spec->mlp](pass, beside, s->normed, s->rows);
    if (m->mu_clamp.enabled) { /* each part by itself */
        add_ranks(m, beside, s->rows);
        mu_soften(m, beside, s->rows);
        finish_delta(m, NULL, s->rows);
        add_norm(m, delta, beside, NULL, NULL, s->rows);
        return;
    }
    add_norm(m, delta, beside, NULL, NULL, s->rows);
    finish_delta(m, NULL, s->rows);
}

/* o_proj and the MLP; what they give is left in delta. */
static void transform(const struct pass *pass, const struct stream *s)
{
    if (pass->m->arch.parallel_residual)
        transform_beside(pass, s);
    else
        transform_after(pass, s);
}

static void end_layer(const struct pass *pass, const struct stream *s)
{
    struct model *m = pass->m;
    if (!settles(m))
        return;
    add_norm(m, s->hidden, m->workspace.delta, NULL, NULL, s->rows);
    mu_end_layer(pass, s->hidden, s->rows);
    mu_soften(m, s->hidden, s->rows);
}

static bool wants_every_row(const struct model_batch *batch)
{
    if (batch->num_logits != batch->num_rows)
        return false;
    for (int32_t i = 0; i < batch->num_logits; i++)
        if (batch->logits_rows[i] != i)
            return false;
    return true;
}

/* Behind the last attention only rows with logits count. No row's result depends on another, so
 * computing fewer changes no bit. */
static struct stream narrow(struct pass *pass)
{
    struct model *m = pass->m;
    const struct model_batch *batch = pass->batch;
    const struct workspace *ws = &m->workspace;
    if (wants_every_row(batch))
        return (struct stream){ ws->hidden, ws->attn, ws->normed, batch->num_rows };
    m->backend->gather_rows(m->device, ws->last_hidden, ws->hidden, batch->logits_rows,
                            batch->num_logits, m->arch.hidden_size);
    m->backend->gather_rows(m->device, ws->last_attn, ws->attn, batch->logits_rows,
                            batch->num_logits, family_dim(&m->arch, DIM_ATTN));
    if (ws->last_normed != NULL)
        m->backend->gather_rows(m->device, ws->last_normed, ws->normed, batch->logits_rows,
                                batch->num_logits, m->arch.hidden_size);
    pass->rows = batch->logits_rows;
    mu_narrow(pass);
    return (struct stream){ ws->last_hidden, ws->last_attn, ws->last_normed, batch->num_logits };
}

static void give_logits(struct model *m, const struct stream *s)
{
    const struct workspace *ws = &m->workspace;
    const struct model_weights *w = &m->weights;
    const float *x =
        add_norm(m, s->hidden, settles(m) ? NULL : ws->delta, w->norm, w->norm_bias, s->rows);
    float *own = m->communicator != NULL ? ws->own_logits : ws->logits;
    m->backend->linear(m->device, own, w->lm_head != NULL ? w->lm_head : w->embed_tokens,
                       w->lm_head_bias, x, s->rows);
    if (m->arch.logits_softcap > 0.0f)
        m->backend->soft_cap(m->device, own, m->arch.logits_softcap, s->rows,
                             family_dim(&m->arch, DIM_VOCAB_SHARE));
    if (m->communicator != NULL)
        m->backend->all_gather(m->device, m->communicator, ws->logits, own, s->rows,
                               m->arch.vocab_size);
}

static void finish_last(const struct pass *pass)
{
    struct pass last = *pass;
    const struct stream s = narrow(&last);
    transform(&last, &s);
    end_layer(&last, &s);
    give_logits(last.m, &s);
}

void model_forward(struct model *model, struct kv_pool *pool, const struct model_batch *batch,
                   float **ret_logits)
{
    const struct workspace *ws = &model->workspace;
    const struct arch *arch = &model->arch;
    const int32_t last = arch->num_hidden_layers - 1;
    assert(batch->num_rows > 0 && batch->num_rows <= model->max_rows);
    assert(batch->num_logits >= 0 && batch->num_logits <= model->max_logits);

    model->backend->embed(model->device, ws->hidden, model->weights.embed_tokens,
                          arch->embedding_scale > 0.0f ? arch->embedding_scale : 1.0f,
                          batch->token_ids, batch->num_rows);
    mu_soften(model, ws->hidden, batch->num_rows);
    mu_begin(model, batch->num_rows);
    for (int32_t l = 0; l <= last; l++) {
        const struct pass pass = layer_pass(model, pool, batch, l);
        const struct stream all = { ws->hidden, ws->attn, ws->normed, batch->num_rows };
        attend(&pass, l == 0, l < last || batch->num_logits > 0);
        if (l < last) {
            transform(&pass, &all);
            end_layer(&pass, &all);
        } else if (batch->num_logits > 0) {
            finish_last(&pass);
        }
    }
    *ret_logits = ws->logits;
}
