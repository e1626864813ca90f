#include "worker/model/forward_experts.h"

#include <errno.h>

#include "worker/families/family.h"
#include "worker/model/forward_mu.h"

enum { USUAL_BYTES = 256 << 20 };

static int alloc(struct model *m, void **field, size_t num, size_t size, struct error *err)
{
    *field = m->backend->alloc(m->device, num * size);
    if (*field == NULL)
        return error_set(err, -ENOMEM, "no memory for experts' activations: %zu bytes", num * size);
    return 0;
}

int experts_alloc(struct model *m, size_t bytes, int32_t rows, struct error *err)
{
    const struct arch *arch = &m->arch;
    struct expert_space *space = &m->experts;
    const int32_t num = arch->moe.num_experts, width = arch->moe.intermediate_size;
    const size_t n = (size_t)experts_part(arch, bytes, rows), pairs = n * (size_t)arch->moe.top_k;
    const size_t shared = (size_t)arch->moe.shared_intermediate_size;
    if (num == 0)
        return 0;
    space->rows = (int32_t)n;
    space->plan.num_experts = num;
    space->plan.top_k = arch->moe.top_k;
    const struct {
        void **field;
        size_t num, size;
    } buffers[] = {
        { (void **)&space->plan.experts, pairs, sizeof(int32_t) },
        { (void **)&space->plan.weights, pairs, sizeof(float) },
        { (void **)&space->plan.first, (size_t)num + 1, sizeof(int32_t) },
        { (void **)&space->plan.rows, pairs, sizeof(int32_t) },
        { (void **)&space->plan.places, pairs, sizeof(int32_t) },
        { (void **)&space->logits, n * (size_t)num, sizeof(float) },
        { (void **)&space->x, pairs * (size_t)arch->hidden_size, sizeof(float) },
        { (void **)&space->gate_up, pairs * 2 * (size_t)width, sizeof(float) },
        { (void **)&space->ffn, pairs * (size_t)width, sizeof(float) },
        { (void **)&space->shared_gate_up, n * 2 * shared, sizeof(float) },
        { (void **)&space->shared_ffn, n * shared, sizeof(float) },
        { (void **)&space->shared, n * (shared > 0 ? (size_t)arch->hidden_size : 0),
          sizeof(float) },
        { (void **)&space->shared_gate, arch->moe.shared_gate ? n : 0, sizeof(float) },
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(buffers) / sizeof(buffers[0]); i++)
        if (buffers[i].num > 0)
            r = alloc(m, buffers[i].field, buffers[i].num, buffers[i].size, err);
    return r;
}

static size_t row_bytes(const struct arch *arch)
{
    const size_t hidden = (size_t)arch->hidden_size, top_k = (size_t)arch->moe.top_k;
    const size_t shared = (size_t)arch->moe.shared_intermediate_size;
    const size_t pair = 4 + hidden + 3 * (size_t)arch->moe.intermediate_size; /* 4 of the plan */
    const size_t beside = (shared > 0 ? 3 * shared + hidden : 0) + arch->moe.shared_gate;
    return arch->moe.num_experts == 0
               ? 0
               : sizeof(float) * ((size_t)arch->moe.num_experts + top_k * pair + beside);
}

/* Devices round rows up to such numbers: what has room for so many is not written behind. */
static int32_t whole(size_t rows)
{
    int32_t few = 8;
    while ((size_t)few > rows && few > 1)
        few /= 2;
    return rows < 16 ? few : (int32_t)(rows / 16 * 16);
}

int32_t experts_part(const struct arch *arch, size_t bytes, int32_t rows)
{
    const size_t each = row_bytes(arch), most = bytes > 0 ? bytes : USUAL_BYTES;
    if (each == 0 || each * (size_t)rows <= most)
        return rows;
    return whole(most / each);
}

size_t experts_bytes(const struct arch *arch, size_t bytes, int32_t rows)
{
    return row_bytes(arch) * (size_t)experts_part(arch, bytes, rows);
}

void experts_free(struct model *m)
{
    const struct expert_space *space = &m->experts;
    void *const buffers[] = {
        space->plan.experts, space->plan.weights, space->plan.first, space->plan.rows,
        space->plan.places,  space->logits,       space->x,          space->gate_up,
        space->ffn,          space->shared,       space->shared_ffn, space->shared_gate_up,
        space->shared_gate
    };
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
        if (buffers[i] != NULL)
            m->backend->free(m->device, buffers[i]);
}

/* Into space->shared; the gate is the logit of its weight. */
static void run_shared(const struct pass *pass, const float *x, int32_t rows)
{
    const struct model *m = pass->m;
    const struct backend *b = m->backend;
    const struct expert_space *space = &m->experts;
    b->linear(m->device, space->shared_gate_up, pass->w->shared_gate_up_proj, NULL, x, rows);
    b->activate(m->device, space->shared_ffn, space->shared_gate_up, m->arch.activation, true, rows,
                m->arch.moe.shared_intermediate_size);
    b->linear(m->device, space->shared, pass->w->shared_down_proj, NULL, space->shared_ffn, rows);
    if (m->arch.moe.shared_gate)
        b->linear(m->device, space->shared_gate, pass->w->shared_gate, NULL, x, rows);
}

static void compute(const struct pass *pass, float *out, const float *x, int32_t rows)
{
    const struct model *m = pass->m;
    const struct backend *b = m->backend;
    const struct expert_space *space = &m->experts;
    const int32_t width = m->arch.moe.intermediate_size, hidden = m->arch.hidden_size;
    const int32_t pairs = rows * m->arch.moe.top_k;
    const bool shared = m->arch.moe.shared_intermediate_size > 0;

    if (shared)
        run_shared(pass, x, rows);
    b->gather_rows(m->device, space->x, x, space->plan.rows, pairs, hidden);
    b->moe_linear(m->device, space->gate_up, pass->w->experts_gate_up, 2 * width, space->x,
                  &space->plan, rows);
    b->activate(m->device, space->ffn, space->gate_up, m->arch.activation, true, pairs, width);
    b->moe_linear(m->device, space->x, pass->w->experts_down, hidden, space->ffn, &space->plan,
                  rows);
    b->moe_combine(m->device, out, space->x, &space->plan, shared ? space->shared : NULL,
                   m->arch.moe.shared_gate ? space->shared_gate : NULL, rows, hidden);
}

static void route(const struct pass *pass, const float *x, int32_t rows)
{
    const struct model *m = pass->m;
    struct moe_routing routing = m->arch.moe.routing;
    routing.bias = pass->w->router_bias;
    m->backend->linear(m->device, m->experts.logits, pass->w->router, NULL, x, rows);
    m->backend->moe_route(m->device, &m->experts.plan, m->experts.logits, &routing, rows);
}

/* No row's result depends on another, so the parts change no bit. */
void experts_run(const struct pass *pass, float *out, const float *x, int32_t rows)
{
    const struct model *m = pass->m;
    for (int32_t from = 0; from < rows; from += m->experts.rows) {
        const int32_t num = rows - from < m->experts.rows ? rows - from : m->experts.rows;
        const size_t at = (size_t)from * (size_t)m->arch.hidden_size;
        if (pass->spec->mlp == MLP_TOKEN_EXPERTS)
            mu_route_tokens(pass, from, num);
        else
            route(pass, x + at, num);
        compute(pass, out + at, x + at, num);
    }
}
