#include "kernels/cpu/linear.h"

static int64_t clip(int64_t value, int64_t high)
{
    return value < 0 ? 0 : value < high ? value : high;
}

bool panel_line_next(struct panel_line *line, int64_t panels, int64_t cost, int32_t *ret_first,
                     int32_t *ret_end)
{
    *ret_first = (int32_t)clip((line->from - line->at + cost - 1) / cost, panels);
    *ret_end = (int32_t)clip((line->to - line->at + cost - 1) / cost, panels);
    line->at += panels * cost;
    return *ret_first < *ret_end;
}

/* A panel costs its bytes: to read, and nearly so to multiply. */
static void run(struct device *device, const struct op *op, int32_t thread, int32_t num_threads)
{
    struct linear_args args = op->args.linear;
    const int32_t row_parts = num_threads == 1 ? 1 : args.row_parts;
    const int32_t panel_parts = num_threads / row_parts;
    const int32_t part = thread % panel_parts, row_part = thread / panel_parts;
    const int32_t row_from = (int32_t)share_of(args.rows, row_part, row_parts);
    const int32_t row_to = (int32_t)share_of(args.rows, row_part + 1, row_parts);
    struct panel_line line = panel_line_part(weight_all_bytes(args.weight), part, panel_parts);

    args.room = device->threads[thread].room;
    for (; args.weight != NULL; args.weight = args.weight->next) {
        int32_t first, end;
        if (panel_line_next(&line, args.weight->num_panels, (int64_t)args.weight->panel_bytes,
                            &first, &end))
            isa_linear(device->isa, &args, first, end, row_from, row_to);
        args.out += args.weight->rows;
        args.bias = args.bias != NULL ? args.bias + args.weight->rows : NULL;
    }
}

/* A narrow matrix has too few panels for many threads: let them share out the rows too. For tiles
 * each thread cuts its rows first, which should serve many panels. */
static int32_t choose_row_parts(int32_t num_threads, const struct weight *weight, int32_t rows)
{
    const int32_t panels = weight->in_tiles ? 32 : 4, many = weight->in_tiles ? 128 : 24;
    int32_t parts = 1, num_panels = 0;
    for (; weight != NULL; weight = weight->next)
        num_panels += weight->num_panels;
    while (num_panels < panels * (num_threads / parts) && rows >= many * parts &&
           num_threads % (2 * parts) == 0)
        parts *= 2;
    return parts;
}

static void record(struct device *device, const struct linear_args *args)
{
    const double cost_ns = (double)weight_all_bytes(args->weight) * (0.04 + 0.01 * args->rows);
    device_record(device, run, cost_ns)->args.linear = *args;
}

/* Rows in parts that the room for their blocks has. */
static void record_quant(struct device *device, const struct linear_args *whole)
{
    for (int32_t row = 0; row < whole->rows; row += device->quant_rows) {
        struct linear_args args = *whole;
        const int32_t left = whole->rows - row;
        args.rows = left < device->quant_rows ? left : device->quant_rows;
        args.x += row * args.x_stride;
        args.out += row * args.out_stride;
        args.quants = device->quants;
        quant_record(device, args.x, args.rows, args.weight->cols);
        record(device, &args);
    }
}

void linear_record(struct device *device, float *out, const struct weight *weight,
                   const float *bias, const float *x, int32_t rows)
{
    const struct linear_args args = {
        .out = out,
        .weight = weight,
        .bias = bias,
        .x = x,
        .out_stride = weight_all_rows(weight),
        .x_stride = weight->cols,
        .rows = rows,
        .row_parts = choose_row_parts(device->num_threads, weight, rows),
    };
    (weight_any_quant(weight) ? record_quant : record)(device, &args);
}
