#include "worker/model/forward_latent.h"

#include <errno.h>

#include "worker/families/family.h"

static const float low_rank_eps = 1e-6f; /* whatever rms_norm_eps says */

int latent_alloc(struct model *m, int32_t rows, struct error *err)
{
    const struct arch *arch = &m->arch;
    struct latent_space *space = &m->latent;
    const int32_t heads = arch->num_attention_heads;
    if (arch->latent.dim == 0)
        return 0;
    const struct {
        float **field;
        int32_t cols;
    } buffers[] = {
        { &space->q_low, arch->latent.q_rank },
        { &space->q, family_dim(arch, DIM_LATENT_Q) },
        { &space->latents, family_dim(arch, DIM_LATENT_KEY) },
        { &space->absorbed, heads * family_dim(arch, DIM_LATENT_KEY) },
        { &space->mixed, heads * arch->latent.dim },
    };
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
        const size_t bytes = (size_t)rows * (size_t)buffers[i].cols * sizeof(float);
        if (bytes == 0)
            continue;
        *buffers[i].field = m->backend->alloc(m->device, bytes);
        if (*buffers[i].field == NULL)
            return error_set(err, -ENOMEM, "no memory for activations of %d rows: %zu bytes", rows,
                             bytes);
    }
    return 0;
}

size_t latent_row_bytes(const struct arch *arch)
{
    const size_t heads = (size_t)arch->num_attention_heads, dim = (size_t)arch->latent.dim;
    const size_t key = (size_t)family_dim(arch, DIM_LATENT_KEY);
    return arch->latent.dim == 0 ? 0
                                 : sizeof(float) * ((size_t)arch->latent.q_rank +
                                                    (size_t)family_dim(arch, DIM_LATENT_Q) + key +
                                                    heads * (key + dim));
}

void latent_free(struct model *m)
{
    const struct latent_space *space = &m->latent;
    float *const buffers[] = { space->q_low, space->q, space->latents, space->absorbed,
                               space->mixed };
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
        if (buffers[i] != NULL)
            m->backend->free(m->device, buffers[i]);
}

static void make_q(const struct pass *pass, const float *x, int32_t rows)
{
    const struct model *m = pass->m;
    const struct backend *b = m->backend;
    const struct latent_space *space = &m->latent;
    const int32_t rank = m->arch.latent.q_rank;
    if (rank > 0) {
        b->linear(m->device, space->q_low, pass->w->q_a_proj, pass->w->q_a_bias, x, rows);
        b->add_rms_norm(m->device, space->q_low, space->q_low, NULL, pass->w->q_norm, low_rank_eps,
                        rows, rank);
    }
    b->linear(m->device, space->q, pass->w->qkv_proj, NULL, rank > 0 ? space->q_low : x, rows);
}

/* The part of q that is not rotated, as the latent sees it. */
static void absorb_q(const struct pass *pass, int32_t rows)
{
    const struct model *m = pass->m;
    const struct arch *arch = &m->arch;
    const int32_t heads = arch->num_attention_heads;
    const int32_t q_dim = arch->latent.nope_dim + arch->latent.rope_dim;
    const int32_t key_dim = arch->latent.dim + arch->latent.rope_dim;
    const struct heads_linear absorb = {
        .weight = pass->w->k_absorbed,
        .num_heads = heads,
        .out_dim = arch->latent.dim,
        .x = m->latent.q,
        .x_row = (int64_t)heads * q_dim,
        .x_head = q_dim,
        .out = m->latent.absorbed,
        .out_row = (int64_t)heads * key_dim,
        .out_head = key_dim,
    };
    m->backend->heads_linear(m->device, &absorb, rows);
}

static void write_latents(const struct pass *pass, int32_t rows)
{
    const struct model *m = pass->m;
    const struct arch *arch = &m->arch;
    const struct latent_write args = {
        .latents = m->latent.latents,
        .w = pass->w->k_norm,
        .eps = low_rank_eps,
        .q = m->latent.q,
        .absorbed = m->latent.absorbed,
        .num_heads = arch->num_attention_heads,
        .q_dim = arch->latent.nope_dim + arch->latent.rope_dim,
        .rope = &m->ropes[pass->spec->rope],
        .interleaved = arch->latent.interleaved,
        .positions = pass->batch->positions,
        .slots = pass->slots,
        .pool = pass->pool,
        .layer = pass->spec->kv.layer,
    };
    m->backend->latent_write(m->device, &args, rows);
}

static void make_values(const struct pass *pass, int32_t rows)
{
    const struct model *m = pass->m;
    const struct arch *arch = &m->arch;
    const int32_t heads = arch->num_attention_heads;
    const struct heads_linear values = {
        .weight = pass->w->v_absorbed,
        .num_heads = heads,
        .out_dim = arch->latent.value_dim,
        .x = m->latent.mixed,
        .x_row = (int64_t)heads * arch->latent.dim,
        .x_head = arch->latent.dim,
        .out = m->workspace.attn,
        .out_row = (int64_t)heads * arch->latent.value_dim,
        .out_head = arch->latent.value_dim,
    };
    m->backend->heads_linear(m->device, &values, rows);
}

void latent_attend(const struct pass *pass, const float *x, bool wanted)
{
    const struct model *m = pass->m;
    const struct latent_space *space = &m->latent;
    const struct attention_form form = { .scale = m->arch.attention_scale };
    const int32_t rows = pass->batch->num_rows;

    make_q(pass, x, rows);
    m->backend->linear(m->device, space->latents, pass->w->kv_a_proj, pass->w->kv_a_bias, x, rows);
    absorb_q(pass, rows);
    write_latents(pass, rows);
    if (!wanted)
        return;
    m->backend->attention(m->device, space->mixed, space->absorbed, pass->pool,
                          pass->spec->kv.layer, m->arch.num_attention_heads, &form, pass->seqs,
                          pass->batch->num_seqs, rows);
    make_values(pass, rows);
}
