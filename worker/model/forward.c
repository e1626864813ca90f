#include "worker/model/forward.h"

#include <assert.h>
#include <math.h>

#include "worker/families/family.h"

enum { OPS_PER_LAYER = 11, OPS_AROUND = 6 }; /* around: embed, three gathers, norm, lm_head */

int32_t model_max_ops(int32_t num_hidden_layers)
{
    return OPS_PER_LAYER * num_hidden_layers + OPS_AROUND;
}

/* The rows that a layer's second half computes. */
struct stream {
    float *hidden, *attn;
    int32_t rows;
};

static void attend(struct model *m, struct kv_pool *pool, const struct model_batch *batch,
                   int32_t l, bool attention_wanted)
{
    const struct backend *b = m->backend;
    const struct arch *arch = &m->arch;
    const struct layer_weights *w = &m->weights.layers[l];
    const struct workspace *ws = &m->workspace;
    const int32_t rows = batch->num_rows, heads = arch->num_attention_heads;

    b->add_rms_norm(m->device, ws->normed, ws->hidden, l > 0 ? ws->delta : NULL, w->input_layernorm,
                    arch->rms_norm_eps, rows, arch->hidden_size);
    b->linear(m->device, ws->qkv, w->qkv_proj, w->qkv_bias, ws->normed, rows);
    b->rope_kv_write(m->device, ws->qkv, &m->rope, batch->positions, batch->slots[0], pool, l,
                     heads, rows);
    if (attention_wanted)
        b->attention(m->device, ws->attn, ws->qkv, pool, l, heads,
                     1.0f / sqrtf((float)arch->head_dim), batch->seqs[0], batch->num_seqs, rows);
}

/* Each rank has multiplied its columns by its part of the inputs. */
static void add_ranks(struct model *m, float *x, int32_t rows)
{
    if (m->communicator != NULL)
        m->backend->all_reduce(m->device, m->communicator, x, rows, m->arch.hidden_size);
}

/* o_proj and the MLP; what it gives is left in delta. */
static void transform(struct model *m, int32_t l, const struct stream *s)
{
    const struct backend *b = m->backend;
    const struct arch *arch = &m->arch;
    const struct layer_weights *w = &m->weights.layers[l];
    const struct workspace *ws = &m->workspace;

    b->linear(m->device, ws->delta, w->o_proj, w->o_bias, s->attn, s->rows);
    add_ranks(m, ws->delta, s->rows);
    b->add_rms_norm(m->device, ws->normed, s->hidden, ws->delta, w->post_attention_layernorm,
                    arch->rms_norm_eps, s->rows, arch->hidden_size);
    b->linear(m->device, ws->gate_up, w->gate_up_proj, w->gate_up_bias, ws->normed, s->rows);
    b->silu_mul(m->device, ws->ffn, ws->gate_up, s->rows, arch->intermediate_size);
    b->linear(m->device, ws->delta, w->down_proj, w->down_bias, ws->ffn, s->rows);
    add_ranks(m, ws->delta, s->rows);
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
static struct stream narrow(struct model *m, const struct model_batch *batch)
{
    const struct workspace *ws = &m->workspace;
    if (wants_every_row(batch))
        return (struct stream){ ws->hidden, ws->attn, batch->num_rows };
    m->backend->gather_rows(m->device, ws->last_hidden, ws->hidden, batch->logits_rows,
                            batch->num_logits, m->arch.hidden_size);
    m->backend->gather_rows(m->device, ws->last_attn, ws->attn, batch->logits_rows,
                            batch->num_logits, family_dim(&m->arch, DIM_Q));
    return (struct stream){ ws->last_hidden, ws->last_attn, batch->num_logits };
}

static void give_logits(struct model *m, const struct stream *s)
{
    const struct workspace *ws = &m->workspace;
    const struct model_weights *w = &m->weights;
    m->backend->add_rms_norm(m->device, ws->normed, s->hidden, ws->delta, w->norm,
                             m->arch.rms_norm_eps, s->rows, m->arch.hidden_size);
    float *own = m->communicator != NULL ? ws->own_logits : ws->logits;
    m->backend->linear(m->device, own, w->lm_head != NULL ? w->lm_head : w->embed_tokens, NULL,
                       ws->normed, s->rows);
    if (m->communicator != NULL)
        m->backend->all_gather(m->device, m->communicator, ws->logits, own, s->rows,
                               m->arch.vocab_size);
}

void model_forward(struct model *model, struct kv_pool *const *pools,
                   const struct model_batch *batch, float **ret_logits)
{
    const struct workspace *ws = &model->workspace;
    const int32_t last = model->arch.num_hidden_layers - 1;
    assert(batch->num_rows > 0 && batch->num_rows <= model->max_rows);
    assert(batch->num_logits >= 0 && batch->num_logits <= model->max_logits);

    model->backend->embed(model->device, ws->hidden, model->weights.embed_tokens, batch->token_ids,
                          batch->num_rows);
    for (int32_t l = 0; l < last; l++) {
        const struct stream all = { ws->hidden, ws->attn, batch->num_rows };
        attend(model, pools[0], batch, l, true);
        transform(model, l, &all);
    }
    attend(model, pools[0], batch, last, batch->num_logits > 0);
    if (batch->num_logits > 0) {
        const struct stream s = narrow(model, batch);
        transform(model, last, &s);
        give_logits(model, &s);
    }
    *ret_logits = ws->logits;
}
