#include <math.h>

#include "worker/model/forward.h"

static void attend_heads(const struct pass *pass, const float *x, bool wanted)
{
    const struct model *m = pass->m;
    const struct backend *b = m->backend;
    const struct model_batch *batch = pass->batch;
    const int32_t heads = m->arch.num_attention_heads, layer = pass->spec->kv_layer;
    const struct attention_form form = { .scale = 1.0f / sqrtf((float)m->arch.head_dim) };
    float *qkv = m->workspace.qkv;

    b->linear(m->device, qkv, pass->w->qkv_proj, pass->w->qkv_bias, x, batch->num_rows);
    b->rope_kv_write(m->device, qkv, NULL, &m->ropes[pass->spec->rope], batch->positions,
                     pass->slots, pass->pool, layer, heads, batch->num_rows);
    if (wanted)
        b->attention(m->device, m->workspace.attn, qkv, pass->pool, layer, heads, &form, pass->seqs,
                     batch->num_seqs, batch->num_rows);
}

attention_function *const attention_functions[] = {
    [ATTENTION_HEADS] = attend_heads,
};
