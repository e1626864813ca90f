#include "kernels/cpu/blocks.h"

#include <assert.h>

#include "kernels/cpu/linear.h"

static struct weight view_block(const struct weight *weight, int32_t block, int32_t out_dim)
{
    struct weight view = *weight;
    view.rows = out_dim;
    view.num_panels = block_stride(out_dim) / PANEL_ROWS;
    view.next = NULL;
    view.panels += (size_t)block * (size_t)view.num_panels * weight_panel_bytes(weight);
    return view;
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Reading a panel costs about as much as multiplying it by this many rows. */
enum { READ_ROWS = 4 };

/* The rows of an expert that an operation computes. */
static int32_t num_rows(const struct moe_linear_args *args, int32_t expert)
{
    const int64_t first = max_i64(args->plan->first[expert], args->place_from);
    const int64_t end = min_i64(args->plan->first[expert + 1], args->place_to);
    return end > first ? (int32_t)(end - first) : 0;
}

/* Of an expert in all that are joined; 0: nobody chose it. */
static int64_t row_cost(const struct moe_linear_args *args, int32_t expert)
{
    const int32_t rows = num_rows(args, expert);
    return rows > 0 ? READ_ROWS + rows : 0;
}

/* Outputs of one expert in one of the matrices. */
static int32_t own_outputs(const struct moe_linear_args *args, const struct weight *weight)
{
    return args->weight->next == NULL ? args->out_dim : weight->rows / args->plan->num_experts;
}

/* Panels of one expert in `weight`, whose outputs begin at `output`. */
static void run_expert(struct device *device, int32_t thread, const struct moe_linear_args *args,
                       const struct weight *weight, int32_t output, int32_t expert,
                       int32_t panel_from, int32_t panel_to)
{
    const struct weight view = view_block(weight, expert, own_outputs(args, weight));
    const int64_t first = max_i64(args->plan->first[expert], args->place_from);
    struct linear_args linear = {
        .out = args->out + first * args->out_dim + output,
        .weight = &view,
        .x = args->x + first * view.cols,
        .out_stride = args->out_dim,
        .x_stride = view.cols,
        .room = device->threads[thread].room,
        .rows = num_rows(args, expert),
        .row_parts = 1,
    };
    if (dtype_is_quant(view.dtype))
        linear.quants = quant_rows_from(&args->quants, first - args->place_from, view.cols);
    isa_linear(device->isa, &linear, panel_from, panel_to, 0, linear.rows);
}

static void run_experts(struct device *device, const struct op *op, int32_t thread,
                        int32_t num_threads)
{
    const struct moe_linear_args *args = &op->args.moe_linear;
    const int32_t num_experts = args->plan->num_experts;
    const int64_t each = weight_all_bytes(args->weight) / num_experts;
    int64_t rows = 0;
    for (int32_t e = 0; e < num_experts; e++)
        rows += row_cost(args, e);
    struct panel_line line = panel_line_part(rows * each, thread, num_threads);

    for (int32_t e = 0; e < num_experts; e++) {
        const int64_t cost = row_cost(args, e);
        int32_t output = 0, first, end;
        for (const struct weight *w = args->weight; cost > 0 && w != NULL; w = w->next) {
            const int32_t own = own_outputs(args, w);
            if (panel_line_next(&line, block_stride(own) / PANEL_ROWS,
                                cost * (int64_t)w->panel_bytes, &first, &end))
                run_expert(device, thread, args, w, output, e, first, end);
            output += own;
        }
    }
}

static void record_experts(struct device *device, const struct moe_linear_args *args)
{
    const double pairs = args->place_to - args->place_from;
    const double experts = pairs < args->plan->num_experts ? pairs : args->plan->num_experts;
    const double bytes = (double)weight_all_bytes(args->weight) / args->plan->num_experts;
    device_record(device, run_experts, bytes * (0.04 * experts + 0.01 * pairs))->args.moe_linear =
        *args;
}

/* Places in parts that the room for their blocks has. */
static void record_quant_experts(struct device *device, const struct moe_linear_args *whole)
{
    for (int32_t place = 0; place < whole->place_to; place += device->quant_rows) {
        struct moe_linear_args args = *whole;
        args.place_from = place;
        args.place_to = (int32_t)min_i64(whole->place_to, (int64_t)place + device->quant_rows);
        args.quants = device->quants;
        quant_record(device, args.x + (int64_t)place * args.weight->cols,
                     args.place_to - args.place_from, args.weight->cols);
        record_experts(device, &args);
    }
}

void blocks_moe_linear(struct device *device, float *out, const struct weight *weight,
                       int32_t out_dim, const float *x, const struct moe_plan *plan, int32_t rows)
{
    const struct moe_linear_args args = { .out = out,
                                          .weight = weight,
                                          .out_dim = out_dim,
                                          .x = x,
                                          .plan = plan,
                                          .place_to = rows * plan->top_k };
    assert(weight_all_rows(weight) == plan->num_experts * block_stride(out_dim));
    (weight_any_quant(weight) ? record_quant_experts : record_experts)(device, &args);
}

static void run_heads(struct device *device, const struct op *op, int32_t thread,
                      int32_t num_threads)
{
    const struct heads_linear *heads = &op->args.heads.heads;
    const int64_t panels = block_stride(heads->out_dim) / PANEL_ROWS;
    const int64_t units = panels * heads->num_heads;
    const int64_t end = share_of(units, thread + 1, num_threads);

    for (int64_t unit = share_of(units, thread, num_threads); unit < end;) {
        const int64_t head = unit / panels, panel = unit % panels;
        const int64_t num = min_i64(panels - panel, end - unit);
        const struct weight view = view_block(heads->weight, (int32_t)head, heads->out_dim);
        const struct linear_args linear = {
            .out = heads->out + head * heads->out_head,
            .weight = &view,
            .x = heads->x + head * heads->x_head,
            .out_stride = heads->out_row,
            .x_stride = heads->x_row,
            .room = device->threads[thread].room,
            .rows = op->args.heads.rows,
            .row_parts = 1,
        };
        isa_linear(device->isa, &linear, (int32_t)panel, (int32_t)(panel + num), 0, linear.rows);
        unit += num;
    }
}

void blocks_heads_linear(struct device *device, const struct heads_linear *args, int32_t rows)
{
    assert(args->weight->rows == args->num_heads * block_stride(args->out_dim));
    const double cost_ns = (double)weight_bytes(args->weight) * (0.04 + 0.01 * rows);
    device_record(device, run_heads, cost_ns)->args.heads = (struct heads_args){ *args, rows };
}
