#include "worker/model/forward.h"
#include "worker/model/forward_experts.h"

static void mlp_dense(const struct pass *pass, float *out, const float *x, int32_t rows)
{
    const struct model *m = pass->m;
    const struct backend *b = m->backend;
    const struct workspace *ws = &m->workspace;

    b->linear(m->device, ws->gate_up, pass->w->gate_up_proj, pass->w->gate_up_bias, x, rows);
    b->activate(m->device, ws->ffn, ws->gate_up, m->arch.activation, !m->arch.plain_mlp, rows,
                m->arch.intermediate_size);
    b->linear(m->device, out, pass->w->down_proj, pass->w->down_bias, ws->ffn, rows);
}

mlp_function *const mlp_functions[] = {
    [MLP_DENSE] = mlp_dense,
    [MLP_EXPERTS] = experts_run,
    [MLP_TOKEN_EXPERTS] = experts_run,
};
