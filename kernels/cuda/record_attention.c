/* Attention's work: which rows and which positions each block of threads takes. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/cuda/record.h"

enum { SPAN = ATTENTION_TILE * ATTENTION_SPAN_TILES, WIDE_HEAD = 128, MAX_GRID = 65535 };
enum { LATENT_QUERIES = 32 };

static int32_t min_of(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t ceil_of(int32_t a, int32_t b)
{
    return (a + b - 1) / b;
}

/* What all parts of a call have in common. */
struct form {
    const struct pages *pages;
    int32_t window, heads_per_tile, tiles; /* tiles of heads: the grid's y */
    int32_t decode_rows, prefill_rows;     /* of a part */
    int32_t least_rows;                    /* of a sequence, for parts of prefill */
    int32_t num_slots;                     /* that there is room for */
    int32_t slots_used;
};

/* Values that a slot's sums have room for: as wide as the kernel. */
static int32_t kernel_dim(const struct pages *p)
{
    return p->latent_dim > 0 ? 512 : p->head_dim <= 64 ? 64 : p->head_dim <= 128 ? 128 : 256;
}

/* Rows of latents, all of whose heads read the same tiles, from which parts of prefill leave no SM
 * idle: below, spans side by side are faster. The bits are the same. */
static int32_t least_latent_rows(const struct device *d, int32_t num_heads, int32_t decode_rows)
{
    const int32_t rows = ceil_of(d->launch.num_sms * LATENT_QUERIES, num_heads);
    if (d->launch.max_shared_bytes < WIDE_SHARED_BYTES)
        return INT32_MAX;
    return rows > decode_rows ? rows : decode_rows + 1;
}

static struct form form_of(const struct device *d, const struct pages *pages, int32_t num_heads,
                           int32_t window)
{
    const int32_t group = num_heads / pages->num_kv_heads;
    const int32_t heads = min_of(group, ATTENTION_QUERIES);
    const bool is_latent = pages->latent_dim > 0;
    const int32_t queries = is_latent ? LATENT_QUERIES : pages->head_dim > WIDE_HEAD ? 32 : 64;
    struct form f = { .pages = pages,
                      .window = window,
                      .heads_per_tile = heads,
                      .tiles = pages->num_kv_heads * ceil_of(group, heads),
                      .decode_rows = ATTENTION_QUERIES / heads,
                      .prefill_rows = queries / heads };
    f.least_rows = is_latent ? least_latent_rows(d, num_heads, f.decode_rows) : f.decode_rows + 1;
    const size_t slot = (size_t)f.tiles * 16 * (size_t)(kernel_dim(pages) + 2) * sizeof(float);
    f.num_slots = (int32_t)(DEVICE_PARTIAL_BYTES / slot);
    return f;
}

/* Where position 0's block would be: before a window none are read. */
static int64_t stage_blocks(struct device *d, const struct form *f, const struct attention_seq *seq)
{
    const int32_t end = seq->first_pos + seq->num_rows;
    const int32_t num = ceil_of(end, f->pages->block_size) - seq->first_block;
    const size_t bytes = (size_t)num * sizeof(int32_t);
    int64_t offset;
    void *to = inputs_table(&d->inputs, bytes, &offset);
    if (to != NULL)
        memcpy(to, seq->blocks, bytes);
    return offset - (int64_t)seq->first_block * (int64_t)sizeof(int32_t);
}

static struct attention_part part_of(const struct form *f, const struct attention_seq *seq,
                                     int64_t blocks, int32_t row, int32_t rows)
{
    const int32_t pos = seq->first_pos + row;
    const int32_t low = f->window > 0 && pos - f->window + 1 > 0 ? pos - f->window + 1 : 0;
    return (struct attention_part){ .first_row = seq->first_row,
                                    .num_rows = seq->num_rows,
                                    .first_pos = seq->first_pos,
                                    .row = row,
                                    .rows = rows,
                                    .span_from = low / SPAN,
                                    .span_to = (pos + rows - 1) / SPAN + 1,
                                    .slot = -1,
                                    .num_slots = 1,
                                    .blocks = blocks };
}

static bool add_part(struct device *d, const struct attention_part *part)
{
    int64_t offset;
    struct attention_part *to = inputs_table(&d->inputs, sizeof(*to), &offset);
    if (to != NULL)
        *to = *part;
    return to != NULL;
}

/* A part for each span where there is room for their sums, else one for all. */
static int32_t add_spans(struct device *d, struct form *f, struct attention_part part)
{
    const int32_t num = part.span_to - part.span_from, first = part.span_from;
    if (num == 1 || num > f->num_slots - f->slots_used)
        return add_part(d, &part);
    part.first_slot = f->slots_used;
    part.num_slots = num;
    for (int32_t i = 0; i < num; i++) {
        part.slot = part.first_slot + i;
        part.span_from = first + i;
        part.span_to = first + i + 1;
        if (!add_part(d, &part))
            return i;
    }
    f->slots_used += num;
    return num;
}

static bool is_decode(const struct form *f, const struct attention_seq *seq)
{
    return seq->num_rows < f->least_rows;
}

/* Parts lie one behind the other: nothing else is staged between them. A prompt's last rows, which
 * see most, come first: what is left for the end is small. */
static int32_t add_parts(struct device *d, struct form *f, const struct attention_seq *seqs,
                         const int64_t *blocks, int32_t num_seqs, bool decode)
{
    const int32_t step = decode ? f->decode_rows : f->prefill_rows;
    int32_t num = 0;
    for (int32_t s = 0; s < num_seqs; s++)
        for (int32_t row = (seqs[s].num_rows - 1) / step * step;
             is_decode(f, &seqs[s]) == decode && row >= 0 && row < seqs[s].num_rows; row -= step) {
            const struct attention_part part =
                part_of(f, &seqs[s], blocks[s], row, min_of(step, seqs[s].num_rows - row));
            num += decode ? add_spans(d, f, part) : add_part(d, &part);
        }
    return num;
}

/* The work of these sequences, in the inputs. */
static void make_plan(struct device *d, struct attention_plan *plan, struct form *f,
                      const struct attention_seq *seqs, int32_t num_seqs)
{
    void *device;
    int64_t offset;
    struct attention_work *work = inputs_fixed(&d->inputs, sizeof(*work), &device);
    int64_t *blocks = inputs_table(&d->inputs, (size_t)num_seqs * sizeof(*blocks), &offset);
    plan->work = device;
    if (work == NULL || blocks == NULL)
        return;
    for (int32_t s = 0; s < num_seqs; s++)
        blocks[s] = stage_blocks(d, f, &seqs[s]);
    work->decode = (int64_t)d->inputs.tables_used;
    work->num_decode = add_parts(d, f, seqs, blocks, num_seqs, true);
    work->prefill = (int64_t)d->inputs.tables_used;
    work->num_prefill = add_parts(d, f, seqs, blocks, num_seqs, false);
    plan->has_decode = work->num_decode > 0;
    plan->num_prefill = work->num_prefill;
}

/* Layers of one kind share it. */
static const struct attention_plan *plan_of(struct device *d, struct form *f,
                                            const struct attention_seq *seqs, int32_t num_seqs)
{
    const int32_t most = (int32_t)(sizeof(d->plans) / sizeof(d->plans[0]));
    for (int32_t i = 0; i < d->num_plans; i++) {
        const struct attention_plan *p = &d->plans[i];
        if (p->seqs == seqs && p->window == f->window && p->heads_per_tile == f->heads_per_tile &&
            p->queries == f->prefill_rows)
            return p;
    }
    struct attention_plan *plan = &d->plans[d->num_plans < most ? d->num_plans++ : most - 1];
    *plan = (struct attention_plan){ .seqs = seqs,
                                     .window = f->window,
                                     .heads_per_tile = f->heads_per_tile,
                                     .queries = f->prefill_rows };
    make_plan(d, plan, f, seqs, num_seqs);
    return plan;
}

/* As many blocks as run at once, twice: the same for every batch, so that lists are equal. */
static int32_t decode_grid(const struct device *d, const struct form *f)
{
    return ceil_of(2 * d->launch.num_sms, f->tiles);
}

void record_attention(struct device *d, float *out, const float *qkv, const struct kv_pool *pool,
                      int32_t layer, int32_t num_heads, const struct attention_form *form,
                      const struct attention_seq *seqs, int32_t num_seqs, int32_t rows)
{
    (void)rows;
    const struct pages *pages = &pool->pages;
    struct form f = form_of(d, pages, num_heads, form->window);
    const struct attention_plan *plan = plan_of(d, &f, seqs, num_seqs);
    const bool is_latent = pages->latent_dim > 0;
    const int32_t kv_cols = is_latent ? 0 : 2 * pages->num_kv_heads;
    const enum number number = device_narrow(d);
    struct attention_args args;

    memset(&args, 0, sizeof(args));
    args.out = out;
    args.number = number;
    args.qkv = qkv;
    args.q_stride = (int64_t)(num_heads + kv_cols) * pages->head_dim;
    args.pages = *pages;
    args.layer = layer;
    args.num_heads = num_heads;
    args.heads_per_tile = f.heads_per_tile;
    args.scale = form->scale;
    args.softcap = form->softcap;
    args.window = form->window;
    args.work = plan->work;
    args.tables = inputs_tables(&d->inputs);
    args.partials = d->partials;
    args.counters = d->counters;
    if (plan->has_decode) {
        args.grid = decode_grid(d, &f);
        struct op *op = device_record(d, is_latent ? attention_latent : attention_decode);
        memcpy(&op->args.attention, &args, sizeof(args));
    }
    if (plan->num_prefill > 0) {
        args.grid = min_of(plan->num_prefill, MAX_GRID);
        struct op *op = device_record(d, is_latent ? attention_latent_prefill : attention_prefill);
        memcpy(&op->args.attention, &args, sizeof(args));
    }
    device_set_number(d, out, number);
}
