#include "kernels/cpu/attention.h"

#include <assert.h>

#include "kernels/cpu/device.h"

/* Walks the tiles of a batch in a fixed order: sequence, kv head, rows, heads of its group. So a
 * head's K and V stay in the second-level cache for all rows. */
struct tile_walk {
    const struct attention_args *args;
    int32_t seq, first_row, kv_head, head_in_group;
};

static int32_t min_i32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static bool walk_next(struct tile_walk *walk, struct attention_tile *ret_tile)
{
    const struct attention_args *args = walk->args;
    if (walk->seq == args->num_seqs)
        return false;

    const struct attention_seq *seq = &args->seqs[walk->seq];
    *ret_tile = (struct attention_tile){
        .seq = seq,
        .first_row = walk->first_row,
        .num_rows = min_i32(args->rows_per_tile, seq->num_rows - walk->first_row),
        .kv_head = walk->kv_head,
        .first_head = walk->kv_head * args->group + walk->head_in_group,
        .num_heads = min_i32(args->heads_per_tile, args->group - walk->head_in_group),
    };

    walk->head_in_group += args->heads_per_tile;
    if (walk->head_in_group < args->group)
        return true;
    walk->head_in_group = 0;
    walk->first_row += args->rows_per_tile;
    if (walk->first_row < seq->num_rows)
        return true;
    walk->first_row = 0;
    if (++walk->kv_head < args->pool->layout.num_kv_heads)
        return true;
    walk->kv_head = 0;
    walk->seq++;
    return true;
}

/* The spans of which a tile sees something: [from, to). */
struct span_range {
    int32_t from, to;
};

static struct span_range spans_of(const struct attention_args *args,
                                  const struct attention_tile *tile)
{
    return (struct span_range){ attention_low(args, tile, 0) / BACKEND_SPAN,
                                attention_pos(tile, tile->num_rows - 1) / BACKEND_SPAN + 1 };
}

static struct attention_sum scratch_sum(struct attention_scratch *scratch, int32_t index)
{
    return (struct attention_sum){ scratch->max[index], scratch->sum[index], scratch->acc[index] };
}

static void combine_span(const struct isa *isa, const struct attention_args *args,
                         const struct attention_tile *tile, int32_t span,
                         const struct attention_sum *total, const struct attention_sum *sum)
{
    const int32_t first = attention_first_row(tile, span * BACKEND_SPAN);
    const int32_t end = attention_row_end(args, tile, (span + 1) * BACKEND_SPAN - 1);
    isa->attention_combine(args, total, sum, first * tile->num_heads, end * tile->num_heads);
}

static void run_tile(struct device *device, const struct attention_args *args,
                     const struct attention_tile *tile, struct attention_scratch *scratch)
{
    const struct attention_sum total = scratch_sum(scratch, 0), sum = scratch_sum(scratch, 1);

    const struct span_range spans = spans_of(args, tile);
    device->isa->attention_begin(args, tile, scratch);
    device->isa->attention_span(args, tile, spans.from, scratch, &total);
    for (int32_t span = spans.from + 1; span < spans.to; span++) {
        device->isa->attention_span(args, tile, span, scratch, &sum);
        combine_span(device->isa, args, tile, span, &total, &sum);
    }
    device->isa->attention_end(args, tile, &total);
}

/* Tiles are dealt out in turn, so that each thread gets its part of the long rows. */
static void run_tiles(struct device *device, const struct op *op, int32_t thread,
                      int32_t num_threads)
{
    struct tile_walk walk = { .args = &op->args.attention };
    struct attention_tile tile;
    for (int32_t i = 0; walk_next(&walk, &tile); i++)
        if (i % num_threads == thread)
            run_tile(device, walk.args, &tile, device->threads[thread].attention);
}

/* Floats of one span's sum. */
static int64_t partial_floats(const struct attention_args *args)
{
    return (int64_t)args->rows_per_tile * args->heads_per_tile * (args->padded_dim + 2);
}

static struct attention_sum partial_sum(struct device *device, const struct attention_args *args,
                                        int64_t index)
{
    const int64_t queries = (int64_t)args->rows_per_tile * args->heads_per_tile;
    float *at = device->partials + index * partial_floats(args);
    return (struct attention_sum){ at, at + queries, at + 2 * queries };
}

/* Spans dealt out in turn, each with a place of its own for the sum. */
static void run_spans(struct device *device, const struct op *op, int32_t thread,
                      int32_t num_threads)
{
    struct tile_walk walk = { .args = &op->args.attention };
    struct attention_scratch *scratch = device->threads[thread].attention;
    struct attention_tile tile;
    int64_t index = 0;

    while (walk_next(&walk, &tile)) {
        const struct span_range spans = spans_of(walk.args, &tile);
        bool begun = false;
        for (int32_t span = spans.from; span < spans.to; span++, index++) {
            if (index % num_threads != thread)
                continue;
            if (!begun)
                device->isa->attention_begin(walk.args, &tile, scratch);
            begun = true;
            const struct attention_sum sum = partial_sum(device, walk.args, index);
            device->isa->attention_span(walk.args, &tile, span, scratch, &sum);
        }
    }
}

static void run_combine(struct device *device, const struct op *op, int32_t thread,
                        int32_t num_threads)
{
    struct tile_walk walk = { .args = &op->args.attention };
    struct attention_tile tile;
    int64_t index = 0;

    for (int32_t i = 0; walk_next(&walk, &tile); i++) {
        const struct span_range spans = spans_of(walk.args, &tile);
        const int64_t first = index;
        index += spans.to - spans.from;
        if (i % num_threads != thread)
            continue;
        const struct attention_sum total = partial_sum(device, walk.args, first);
        for (int32_t span = spans.from + 1; span < spans.to; span++) {
            const struct attention_sum sum =
                partial_sum(device, walk.args, first + span - spans.from);
            combine_span(device->isa, walk.args, &tile, span, &total, &sum);
        }
        device->isa->attention_end(walk.args, &tile, &total);
    }
}

/* What decides between tiles and spans, and about solo. */
struct work {
    int64_t num_tiles, num_spans;
    double cost_ns;
};

static struct work measure(const struct attention_args *args)
{
    struct tile_walk walk = { .args = args };
    struct attention_tile tile;
    struct work work = { 0 };
    while (walk_next(&walk, &tile)) {
        const double positions =
            attention_pos(&tile, tile.num_rows - 1) + 1 - attention_low(args, &tile, 0);
        const struct span_range spans = spans_of(args, &tile);
        const double queries = (double)tile.num_rows * tile.num_heads;
        work.num_tiles++;
        work.num_spans += spans.to - spans.from;
        work.cost_ns += 100 + positions * args->padded_dim * (0.1 + 0.04 * queries);
    }
    return work;
}

void attention_record(struct device *device, float *out, const float *qkv,
                      const struct kv_pool *pool, int32_t layer, int32_t num_heads,
                      const struct attention_form *form, const struct attention_seq *seqs,
                      int32_t num_seqs, int32_t rows)
{
    (void)rows;
    const struct kv_layout *layout = &pool->layout;
    assert(num_heads % layout->num_kv_heads == 0 && layer < layout->num_layers);

    struct attention_args args = {
        .out = out,
        .qkv = qkv,
        .pool = pool,
        .layer = layer,
        .num_heads = num_heads,
        .form = *form,
        .seqs = seqs,
        .num_seqs = num_seqs,
        .group = num_heads / layout->num_kv_heads,
        .value_dim = layout->latent_dim > 0 ? layout->latent_dim : layout->head_dim,
        .q_stride = (int64_t)layout->head_dim *
                    (num_heads + (layout->latent_dim > 0 ? 0 : 2 * layout->num_kv_heads)),
    };
    args.padded_dim = (args.value_dim + PANEL_ROWS - 1) / PANEL_ROWS * PANEL_ROWS;
    args.heads_per_tile = min_i32(args.group, ATTENTION_MAX_QUERIES);
    args.rows_per_tile = ATTENTION_MAX_QUERIES / args.heads_per_tile;
    const struct work work = measure(&args);

    const bool by_spans = device->num_threads > 1 && work.num_tiles < 3 * device->num_threads &&
                          work.num_spans > work.num_tiles &&
                          work.num_spans * partial_floats(&args) <= ATTENTION_PARTIAL_FLOATS;
    if (by_spans) {
        device_record(device, run_spans, work.cost_ns)->args.attention = args;
        device_record(device, run_combine, 0.1 * work.cost_ns)->args.attention = args;
    } else {
        device_record(device, run_tiles, work.cost_ns)->args.attention = args;
    }
}
