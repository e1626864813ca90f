#include "tests/gpu/cases.h"

#include <math.h>
#include <string.h>

enum { MAX_SEQS = 6, MAX_ROWS = 300, BLOCK = 16, MAX_BLOCKS = 64, POOL = 400, POSITIONS = 1024 };

/* Sequences, some rows of each; all pages are of their own and in no order. */
struct batch {
    struct attention_seq seqs[MAX_SEQS];
    int32_t tables[MAX_SEQS][MAX_BLOCKS];
    int32_t positions[MAX_ROWS], num_seqs, num_rows;
    int64_t slots[MAX_ROWS];
};

static void add_seq(struct side *s, struct batch *b, int32_t first_pos, int32_t num_rows,
                    int32_t *next_block)
{
    int32_t *table = b->tables[b->num_seqs];
    const int32_t end = first_pos + num_rows;
    for (int32_t i = 0; i < (end + BLOCK - 1) / BLOCK; i++)
        table[i] = (int32_t)(((int64_t)(*next_block)++ * 7) % POOL);
    (void)s;
    b->seqs[b->num_seqs++] = (struct attention_seq){
        .first_row = b->num_rows, .num_rows = num_rows, .first_pos = first_pos, .blocks = table
    };
    for (int32_t i = 0; i < num_rows; i++) {
        const int32_t pos = first_pos + i;
        b->positions[b->num_rows] = pos;
        b->slots[b->num_rows++] = (int64_t)table[pos / BLOCK] * BLOCK + pos % BLOCK;
    }
}

struct setup {
    struct kv_layout layout;
    int32_t num_heads, num_layers;
    struct rope_table rope;
    struct kv_pool *pool;
};

static void make_rope(struct side *s, struct setup *u, int32_t dims)
{
    const size_t num = (size_t)POSITIONS * (size_t)dims / 2;
    u->rope = (struct rope_table){ .cos = side_random(s, num, 1.0f),
                                   .sin = side_random(s, num, 1.0f),
                                   .rotary_dims = dims,
                                   .max_positions = POSITIONS };
}

static void make_setup(struct side *s, struct setup *u, enum dtype dtype, int32_t head_dim,
                       int32_t kv_heads, int32_t group)
{
    u->layout = (struct kv_layout){ .num_layers = 2,
                                    .num_kv_heads = kv_heads,
                                    .head_dim = head_dim,
                                    .block_size = BLOCK,
                                    .dtype = dtype };
    u->num_heads = kv_heads * group;
    u->pool = side_pool(s, &u->layout, POOL);
    make_rope(s, u, side_coin(s) ? head_dim : head_dim / 2);
}

static int32_t qkv_cols(const struct setup *u)
{
    return (u->num_heads + 2 * u->layout.num_kv_heads) * u->layout.head_dim;
}

/* One step: write what is new, attend. */
static void step(struct side *s, const struct setup *u, const struct batch *b,
                 const struct attention_form *form, const struct qk_norm *norm, bool keep)
{
    const size_t num_out = (size_t)(b->num_rows * u->num_heads * u->layout.head_dim);
    const size_t num_qkv = (size_t)(b->num_rows * qkv_cols(u));
    float *qkv = side_random(s, num_qkv, 2.0f), *out = side_poisoned(s, num_out);
    s->backend->begin(s->device);
    s->backend->rope_kv_write(s->device, qkv, norm, &u->rope, b->positions, b->slots, u->pool, 1,
                              u->num_heads, b->num_rows);
    s->backend->attention(s->device, out, qkv, u->pool, 1, u->num_heads, form, b->seqs, b->num_seqs,
                          b->num_rows);
    side_run(s);
    if (!keep)
        return;
    for (int32_t r = 0; r < b->num_rows; r++) { /* k and v have gone to the pages */
        float *q = qkv + (size_t)r * (size_t)qkv_cols(u);
        side_keep(s, q, (size_t)(u->num_heads * u->layout.head_dim));
    }
    side_keep(s, out, num_out);
}

static struct attention_form random_form(struct side *s, int32_t head_dim)
{
    struct attention_form form = { .scale = 1.0f / sqrtf((float)head_dim) };
    if (side_coin(s))
        form.window = side_whole(s, 1, 300);
    if (side_coin(s))
        form.softcap = 3.0f;
    return form;
}

/* Prompts of any length, then chunks and single rows behind them in one batch. */
static void attend(struct side *s, enum dtype dtype, int32_t head_dim)
{
    static const int32_t groups[] = { 1, 2, 4, 5, 8, 17 };
    struct setup u;
    struct batch first = { .num_seqs = 0 }, second = { .num_seqs = 0 };
    int32_t block = 0, lengths[MAX_SEQS];
    make_setup(s, &u, dtype, head_dim, side_whole(s, 1, 2), groups[side_whole(s, 0, 5)]);
    const struct attention_form form = random_form(s, head_dim);
    const int32_t num = side_whole(s, 1, 3);
    for (int32_t i = 0; i < num; i++) {
        lengths[i] = side_whole(s, 1, 90);
        add_seq(s, &first, 0, lengths[i], &block);
    }
    step(s, &u, &first, &form, NULL, true);
    for (int32_t i = 0; i < num; i++) {
        const int32_t rows = side_coin(s) ? 1 : side_whole(s, 1, 20);
        memcpy(second.tables[i], first.tables[i], sizeof(second.tables[i]));
        const int32_t had = (lengths[i] + BLOCK - 1) / BLOCK;
        add_seq(s, &second, lengths[i], rows, &block);
        memcpy(second.tables[i], first.tables[i], (size_t)had * sizeof(int32_t));
        for (int32_t r = 0; r < rows; r++) {
            const int32_t pos = lengths[i] + r, row = second.num_rows - rows + r;
            second.slots[row] = (int64_t)second.tables[i][pos / BLOCK] * BLOCK + pos % BLOCK;
        }
    }
    step(s, &u, &second, &form, NULL, true);
}

static void heads(struct side *s, int32_t variant)
{
    static const int32_t dims[] = { 8, 16, 64, 80, 96, 128, 256 };
    attend(s, DTYPE_F16, dims[variant]);
}

static const enum dtype kv_types[] = { DTYPE_BF16, DTYPE_F8_E4M3, DTYPE_Q8_0, DTYPE_F32 };

/* Heads of whole chunks of 16 bytes and of none. */
static void types(struct side *s, int32_t variant)
{
    static const int32_t dims[] = { 64, 40, 256 };
    attend(s, kv_types[variant % 4], dims[variant / 4]);
}

/* A long context, across spans: single rows, and a chunk. */
static void spans(struct side *s, int32_t variant)
{
    struct setup u;
    const int32_t head_dim = variant % 2 == 0 ? 64 : 128;
    make_setup(s, &u, variant == 1 ? DTYPE_F8_E4M3 : DTYPE_F16, head_dim, 1, 4);
    const struct attention_form form = { .scale = 0.1f, .window = variant >= 2 ? 300 : 0 };
    const int32_t length = side_whole(s, 500, 800);
    int32_t table[MAX_BLOCKS], block = 0;
    for (int32_t pos = 0; pos < length;) {
        const int32_t left = length - pos, rows = left < MAX_ROWS ? left : MAX_ROWS;
        struct batch b = { .num_seqs = 0 };
        int32_t from = 0;
        add_seq(s, &b, pos, rows, &from);
        if (pos == 0)
            for (int32_t i = 0; i < MAX_BLOCKS; i++)
                table[i] = (block++ * 7) % POOL;
        memcpy(b.tables[0], table, sizeof(table));
        for (int32_t r = 0; r < rows; r++)
            b.slots[r] = (int64_t)table[(pos + r) / BLOCK] * BLOCK + (pos + r) % BLOCK;
        step(s, &u, &b, &form, NULL, pos + rows == length);
        pos += rows;
    }
    struct batch one = { .num_seqs = 0 };
    int32_t from = 0;
    add_seq(s, &one, length, 1, &from);
    memcpy(one.tables[0], table, sizeof(table));
    one.slots[0] = (int64_t)table[length / BLOCK] * BLOCK + length % BLOCK;
    step(s, &u, &one, &form, NULL, true);
}

static void rope_norms(struct side *s, int32_t variant)
{
    struct setup u;
    struct batch b = { .num_seqs = 0 };
    int32_t block = 0;
    const int32_t head_dim = 8 * side_whole(s, 1, 16);
    make_setup(s, &u, DTYPE_F16, head_dim, side_whole(s, 1, 3), side_whole(s, 1, 3));
    add_seq(s, &b, side_whole(s, 0, 9), side_whole(s, 1, 20), &block);
    const size_t heads_q = variant == 2 ? (size_t)u.num_heads : 1;
    const size_t heads_k = variant == 2 ? (size_t)u.layout.num_kv_heads : 1;
    struct qk_norm norm = { .q = side_random(s, heads_q * (size_t)head_dim, 1.0f),
                            .k = side_random(s, heads_k * (size_t)head_dim, 1.0f),
                            .eps = 1e-5f };
    if (variant == 1) {
        norm.q_bias = side_random(s, (size_t)head_dim, 1.0f);
        norm.k_bias = side_random(s, (size_t)head_dim, 1.0f);
    }
    if (variant == 2) {
        float *squares = side_random(s, 2 * (size_t)b.num_rows, 1.0f);
        s->backend->begin(s->device);
        s->backend->activate(s->device, squares, squares, ACTIVATION_GELU, false, 2 * b.num_rows,
                             1);
        s->backend->clamp(s->device, squares, 0.5f, 9.0f, 2 * b.num_rows, 1);
        side_run(s);
        norm.squares = squares;
        norm.q_cols = 7;
        norm.k_cols = 3;
    }
    const struct attention_form form = { .scale = 0.2f };
    step(s, &u, &b, &form, &norm, true);
}

/* Latents: a prompt in two chunks, then a row. */
static void latents(struct side *s, int32_t variant)
{
    static const struct {
        int32_t latent, rope, heads;
    } sizes[] = { { 32, 8, 4 },    { 64, 16, 3 }, { 512, 64, 20 }, { 256, 32, 16 },
                  { 512, 64, 16 }, { 64, 16, 3 }, { 64, 8, 5 } };
    static const enum dtype types[] = { DTYPE_F16,     DTYPE_F16,  DTYPE_F16, DTYPE_F16,
                                        DTYPE_F8_E4M3, DTYPE_BF16, DTYPE_Q8_0 };
    const int32_t latent = sizes[variant].latent, dims = sizes[variant].rope;
    const int32_t heads = sizes[variant].heads, q_dim = dims + 24, key = latent + dims;
    const struct kv_layout layout = { .num_layers = 2,
                                      .num_kv_heads = 1,
                                      .head_dim = key,
                                      .block_size = BLOCK,
                                      .dtype = types[variant],
                                      .latent_dim = latent };
    struct setup u = { .pool = side_pool(s, &layout, POOL) };
    make_rope(s, &u, dims);
    const int32_t cuts[] = { 0, 40, latent == 512 ? 70 : 290, latent == 512 ? 71 : 291 };
    float *w = side_random(s, (size_t)latent, 1.0f);
    for (int32_t c = 0; c < 3; c++) {
        struct batch b = { .num_seqs = 0 };
        int32_t block = 0;
        add_seq(s, &b, cuts[c], cuts[c + 1] - cuts[c], &block);
        const size_t rows = (size_t)b.num_rows;
        float *absorbed = side_random(s, rows * (size_t)(heads * key), 1.0f);
        float *mixed = side_poisoned(s, rows * (size_t)(heads * latent));
        const struct latent_write args = { .latents = side_random(s, rows * (size_t)key, 2.0f),
                                           .w = w,
                                           .eps = 1e-6f,
                                           .q =
                                               side_random(s, rows * (size_t)(heads * q_dim), 1.0f),
                                           .absorbed = absorbed,
                                           .num_heads = heads,
                                           .q_dim = q_dim,
                                           .rope = &u.rope,
                                           .interleaved = variant % 2 == 0,
                                           .positions = b.positions,
                                           .slots = b.slots,
                                           .pool = u.pool,
                                           .layer = 1 };
        const struct attention_form form = { .scale = 0.1f };
        s->backend->begin(s->device);
        s->backend->latent_write(s->device, &args, b.num_rows);
        s->backend->attention(s->device, mixed, absorbed, u.pool, 1, heads, &form, b.seqs,
                              b.num_seqs, b.num_rows);
        side_run(s);
        side_keep(s, args.latents, rows * (size_t)key);
        side_keep(s, absorbed, rows * (size_t)(heads * key));
        side_keep(s, mixed, rows * (size_t)(heads * latent));
    }
}

/* A sequence that parts: its pages are copied, and read in the same list. */
static void copies(struct side *s, int32_t variant)
{
    struct setup u;
    struct batch b = { .num_seqs = 0 }, one = { .num_seqs = 0 };
    int32_t block = 0;
    make_setup(s, &u, variant == 0 ? DTYPE_F16 : DTYPE_Q8_0, 64, 2, 2);
    const struct attention_form form = { .scale = 0.1f };
    add_seq(s, &b, 0, 20, &block);
    step(s, &u, &b, &form, NULL, false);
    add_seq(s, &one, 20, 1, &block);
    const int32_t from[] = { b.tables[0][0], b.tables[0][1] };
    const int32_t *to = one.tables[0];
    const size_t num_out = (size_t)(u.num_heads * 64);
    float *qkv = side_random(s, (size_t)qkv_cols(&u), 1.0f), *out = side_poisoned(s, num_out);
    s->backend->begin(s->device);
    s->backend->copy_blocks(s->device, u.pool, from, to, 2);
    s->backend->rope_kv_write(s->device, qkv, NULL, &u.rope, one.positions, one.slots, u.pool, 1,
                              u.num_heads, 1);
    s->backend->attention(s->device, out, qkv, u.pool, 1, u.num_heads, &form, one.seqs, 1, 1);
    side_run(s);
    side_keep(s, out, num_out);
}

const struct gpu_case cases_attention[] = {
    { "attention", heads, 7, 1e-2 },
    { "attention, types", types, 12, 2e-2 },
    { "attention, spans", spans, 4, 1e-2 },
    { "rope and norms", rope_norms, 3, 1e-2 },
    { "latents", latents, 7, 2e-2 },
    { "copy_blocks", copies, 2, 1e-2 },
    { NULL, NULL, 0, 0 },
};
