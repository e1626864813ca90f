#include "worker/model/forward_mu.h"

#include <errno.h>
#include <stdlib.h>

#include "worker/families/family.h"

static bool is_first(const struct pass *pass)
{
    return pass->spec == pass->m->arch.layers;
}

static bool is_last(const struct pass *pass)
{
    return pass->spec == &pass->m->arch.layers[pass->m->arch.num_hidden_layers - 1];
}

int mu_alloc(struct model *m, int32_t rows, struct error *err)
{
    const struct arch *arch = &m->arch;
    struct mu_space *space = &m->mu;
    const bool moves = arch->mu.kind == MU_DYNAMICS;
    const int32_t hidden = arch->hidden_size;
    if (arch->mu.kind == MU_NONE)
        return 0;
    const struct {
        float **field;
        int32_t cols;
    } buffers[] = {
        { &space->mu_prev, hidden },
        { &space->qkv, family_dim(arch, DIM_QKV) },
        { (float **)(void *)&space->zeros, 1 },
        { &space->m, moves ? hidden : 0 },
        { &space->v, moves ? hidden : 0 },
        { &space->last_v, moves ? hidden : 0 },
        { &space->highway, moves ? hidden : 0 },
        { &space->z, moves ? arch->mu.controller_size : 0 },
        { &space->z_of_v, moves ? arch->mu.controller_size : 0 },
        { &space->controller, moves ? 3 * hidden : 0 },
    };
    space->nothing = m->backend->alloc(m->device, (size_t)hidden * sizeof(float));
    int r = space->nothing != NULL ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < sizeof(buffers) / sizeof(buffers[0]); i++) {
        const size_t bytes = (size_t)rows * (size_t)buffers[i].cols * sizeof(float);
        if (bytes == 0)
            continue;
        *buffers[i].field = m->backend->alloc(m->device, bytes);
        r = *buffers[i].field != NULL ? 0 : -ENOMEM;
    }
    return r < 0 ? error_set(err, r, "no memory for mu of %d rows", rows) : 0;
}

size_t mu_row_bytes(const struct arch *arch)
{
    const size_t hidden = (size_t)arch->hidden_size, size = (size_t)arch->mu.controller_size;
    const size_t moves = arch->mu.kind == MU_DYNAMICS ? 7 * hidden + 2 * size : 0;
    return arch->mu.kind == MU_NONE
               ? 0
               : sizeof(float) * (hidden + (size_t)family_dim(arch, DIM_QKV) + 1 + moves);
}

void mu_free(struct model *m)
{
    const struct mu_space *space = &m->mu;
    void *const buffers[] = { space->mu_prev, space->qkv,        space->zeros, space->nothing,
                              space->m,       space->v,          space->z,     space->z_of_v,
                              space->highway, space->controller, space->table, space->last_v };
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
        if (buffers[i] != NULL)
            m->backend->free(m->device, buffers[i]);
}

int mu_prepare(struct model *m, struct error *err)
{
    const size_t num = (size_t)m->arch.vocab_size;
    int32_t *table;
    if (m->arch.layers[0].mlp != MLP_TOKEN_EXPERTS || m->weights.layers[0].expert_table != NULL)
        return 0;
    table = malloc(num * sizeof(*table));
    m->mu.table = m->backend->alloc(m->device, num * sizeof(*table));
    for (size_t i = 0; table != NULL && i < num; i++)
        table[i] = (int32_t)(i % (size_t)m->arch.moe.num_experts);
    if (table != NULL && m->mu.table != NULL)
        m->backend->upload(m->device, m->mu.table, table, num * sizeof(*table));
    const bool done = table != NULL && m->mu.table != NULL;
    free(table);
    for (int32_t l = 0; l < m->weights.num_layers; l++)
        m->weights.layers[l].expert_table = m->mu.table;
    return done ? 0 : error_set(err, -ENOMEM, "no memory for a table of experts");
}

/* One row for all of them. */
static void repeat(const struct model *m, float *to, const float *row, int32_t rows)
{
    m->backend->gather_rows(m->device, to, row, m->mu.zeros, rows, m->arch.hidden_size);
}

void mu_begin(struct model *m, int32_t rows)
{
    if (m->arch.mu.kind == MU_GUIDANCE)
        repeat(m, m->mu.mu_prev, m->weights.mu_init, rows);
    if (m->arch.mu.kind != MU_DYNAMICS)
        return;
    repeat(m, m->mu.v, m->mu.nothing, rows);
    if (m->arch.mu.highway)
        repeat(m, m->mu.highway, m->mu.nothing, rows);
}

void mu_guide(const struct pass *pass, float *qkv)
{
    const struct model *m = pass->m;
    const int32_t rows = pass->batch->num_rows;
    if (pass->w->mu_qkv_proj == NULL || (m->arch.mu.kind == MU_DYNAMICS && is_first(pass)))
        return;
    m->backend->linear(m->device, m->mu.qkv, pass->w->mu_qkv_proj, NULL, m->mu.mu_prev, rows);
    m->backend->add_rms_norm(m->device, NULL, qkv, m->mu.qkv, NULL, 0.0f, rows,
                             family_dim(&m->arch, DIM_QKV));
}

void mu_move(const struct pass *pass, float *a, int32_t rows)
{
    const struct model *m = pass->m;
    const struct backend *b = m->backend;
    const struct layer_weights *w = pass->w;
    const struct mu_space *space = &m->mu;
    if (m->arch.mu.kind != MU_DYNAMICS)
        return;
    if (w->mu_proj != NULL)
        b->linear(m->device, space->m, w->mu_proj, w->mu, a, rows);
    else
        repeat(m, space->m, w->mu, rows);
    b->linear(m->device, space->z, w->controller_of_a, w->controller_bias, a, rows);
    b->linear(m->device, space->z_of_v, w->controller_of_v, NULL, pass->velocity, rows);
    b->add_silu(m->device, space->z, space->z_of_v, rows, m->arch.mu.controller_size);
    b->linear(m->device, space->controller, w->controller_out, w->controller_out_bias, space->z,
              rows);
    const struct inl_dynamics inl = {
        .a = a,
        .v = pass->velocity,
        .m = space->m,
        .controller = space->controller,
        .highway = m->arch.mu.highway && !is_last(pass) ? space->highway : NULL,
        .mu_prev = space->mu_prev,
        .dt = m->arch.mu.dt,
    };
    b->inl_dynamics(m->device, &inl, rows, m->arch.hidden_size);
}

void mu_end_layer(const struct pass *pass, const float *hidden, int32_t rows)
{
    const struct model *m = pass->m;
    if (m->arch.mu.kind != MU_GUIDANCE || is_last(pass))
        return;
    m->backend->linear(m->device, m->mu.mu_prev, pass->w->mu_proj, pass->w->mu, hidden, rows);
    m->backend->clamp(m->device, m->mu.mu_prev, -2.0f, 2.0f, rows, m->arch.hidden_size);
}

void mu_narrow(struct pass *pass)
{
    const struct model *m = pass->m;
    if (pass->velocity != NULL)
        m->backend->gather_rows(m->device, m->mu.last_v, pass->velocity, pass->rows,
                                pass->batch->num_logits, m->arch.hidden_size);
    pass->velocity = m->mu.last_v;
}

void mu_route_tokens(const struct pass *pass, int32_t from, int32_t num)
{
    const struct model *m = pass->m;
    const struct model_batch *batch = pass->batch;
    const struct moe_tokens tokens = {
        .table = pass->w->expert_table,
        .token_ids = pass->rows != NULL ? batch->token_ids : batch->token_ids + from,
        .rows = pass->rows != NULL ? pass->rows + from : NULL,
        .logits = pass->w->router != NULL ? m->experts.logits : NULL,
    };
    if (pass->w->router != NULL)
        m->backend->linear(m->device, m->experts.logits, pass->w->router, NULL,
                           m->mu.m + (size_t)from * (size_t)m->arch.hidden_size, num);
    m->backend->moe_route_tokens(m->device, &m->experts.plan, &tokens, num);
}

void mu_soften(struct model *m, float *x, int32_t rows)
{
    const struct mu_clamp *clamp = &m->mu_clamp;
    if (clamp->enabled)
        m->backend->mu_clamp(m->device, x, clamp->mu, clamp->low, clamp->high, rows,
                             m->arch.hidden_size);
}
