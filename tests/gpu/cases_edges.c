/* Borders: of pages, spans, windows and tiles; lists with nothing in them. */
#include "tests/gpu/cases.h"

enum { BLOCK = 16, MAX_BLOCKS = 40, POOL = 48, POSITIONS = BLOCK * MAX_BLOCKS, CHUNK = 256 };
enum { HEAD = 64, KV_HEADS = 2, HEADS = 4 };

/* One sequence whose pages lie in no order. */
struct sequence {
    struct kv_pool *pool;
    struct rope_table rope;
    int32_t table[MAX_BLOCKS];
    int32_t positions[CHUNK];
    int64_t slots[CHUNK];
};

static void make_sequence(struct side *s, struct sequence *q)
{
    const struct kv_layout layout = { .num_layers = 1,
                                      .num_kv_heads = KV_HEADS,
                                      .head_dim = HEAD,
                                      .block_size = BLOCK,
                                      .dtype = DTYPE_F16 };
    const size_t num = (size_t)POSITIONS * HEAD / 2;
    q->pool = side_pool(s, &layout, POOL);
    q->rope = (struct rope_table){ .cos = side_random(s, num, 1.0f),
                                   .sin = side_random(s, num, 1.0f),
                                   .rotary_dims = HEAD,
                                   .max_positions = POSITIONS };
    for (int32_t i = 0; i < MAX_BLOCKS; i++)
        q->table[i] = (i * 7 + 3) % POOL;
}

/* Rows from `first` on: written, and attending to what the window shows them. Pages before those
 * that the first row sees are not named, and what they were is not there. */
static void attend(struct side *s, struct sequence *q, int32_t first, int32_t num, int32_t window,
                   bool keep)
{
    const size_t cols = (HEADS + 2 * KV_HEADS) * HEAD, num_out = (size_t)num * HEADS * HEAD;
    const int32_t skipped = window > 0 && first >= window ? (first - window + 1) / BLOCK : 0;
    for (int32_t i = 0; i < num; i++) {
        q->positions[i] = first + i;
        q->slots[i] = (int64_t)q->table[(first + i) / BLOCK] * BLOCK + (first + i) % BLOCK;
    }
    const struct attention_seq seq = {
        .num_rows = num, .first_pos = first, .blocks = q->table + skipped, .first_block = skipped
    };
    const struct attention_form form = { .scale = 0.125f, .window = window };
    float *qkv = side_random(s, (size_t)num * cols, 2.0f), *out = side_poisoned(s, num_out);
    s->backend->begin(s->device);
    s->backend->rope_kv_write(s->device, qkv, NULL, &q->rope, q->positions, q->slots, q->pool, 0,
                              HEADS, num);
    s->backend->attention(s->device, out, qkv, q->pool, 0, HEADS, &form, &seq, 1, num);
    side_run(s);
    if (keep)
        side_keep(s, out, num_out);
}

/* Up to a border, then the row that steps over it, then a chunk that does. */
static void borders(struct side *s, int32_t variant)
{
    static const int32_t ends[] = { 1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 511, 512, 513 };
    static const int32_t windows[] = { 0, 1, 15, 16, 17, 64, 255, 256, 257 };
    const int32_t end = ends[variant], window = windows[side_whole(s, 0, 8)];
    static struct sequence q;
    make_sequence(s, &q);
    for (int32_t pos = 0; pos < end; pos += CHUNK)
        attend(s, &q, pos, end - pos < CHUNK ? end - pos : CHUNK, window, end <= CHUNK);
    attend(s, &q, end, 1, window, true);
    attend(s, &q, end + 1, 33, window, true);
}

/* Rows, outputs and inputs one beside each tile. */
static void tiles(struct side *s, int32_t variant)
{
    static const int32_t sizes[] = { 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257 };
    static const enum dtype dtypes[] = { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0 };
    enum { NUM = sizeof(sizes) / sizeof(sizes[0]) };
    const enum dtype dtype = dtypes[variant % 5];
    const int32_t block = dtype_block(dtype);
    const int32_t rows = sizes[side_whole(s, 0, NUM - 1)], outs = sizes[side_whole(s, 0, NUM - 1)];
    const int32_t cols = (sizes[side_whole(s, 0, NUM - 1)] + block - 1) / block * block;
    struct weight *w = side_weight(s, dtype, outs, cols);
    float *x = side_random(s, (size_t)(rows * cols), 1.0f);
    float *out = side_poisoned(s, (size_t)(rows * outs));
    s->backend->begin(s->device);
    s->backend->linear(s->device, out, w, NULL, x, rows);
    side_run(s);
    side_keep(s, out, (size_t)(rows * outs));
}

/* An empty list, nothing copied, nothing moved; and what is there stays as it was. */
static void nothing(struct side *s, int32_t variant)
{
    (void)variant;
    static struct sequence q;
    const int32_t none = 0;
    float *x = side_random(s, 100, 1.0f);
    make_sequence(s, &q);
    s->backend->begin(s->device);
    side_run(s);
    s->backend->begin(s->device);
    s->backend->copy_blocks(s->device, q.pool, &none, &none, 0);
    side_run(s);
    side_keep(s, x, 100);
}

const struct gpu_case cases_edges[] = {
    { "attention, borders", borders, 13, 1e-2 },
    { "linear, borders", tiles, 20, 6e-2 },
    { "nothing", nothing, 1, 0 },
    { NULL, NULL, 0, 0 },
};
