/* Linears: whose kernel, and x as it wants it. */
#include <assert.h>
#include <stdatomic.h>

#include "kernels/cuda/lt.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/record.h"

enum { LT_ROWS_PLAIN = 17, LT_ROWS_BLOCKS = 65, EXPANDED_ROWS = 4096 };

/* The kind of number that a weight is multiplied with; f32 takes any. */
static enum number wanted_of(const struct matrix *m, enum number there)
{
    return m->form != MATRIX_PLAIN ? NUMBER_BF16 : m->number == NUMBER_F32 ? there : m->number;
}

/* x as `wanted`: itself, or a copy of `num` numbers. NULL: no memory, the list will not run. */
static const void *narrowed(struct device *d, const float *x, enum number wanted, int64_t num)
{
    const enum number there = device_number(d, x);
    if (there == wanted)
        return x;
    void *space = device_scratch(d, (size_t)num * 2);
    if (space == NULL) {
        d->inputs.is_full = true;
        return NULL;
    }
    struct convert_args *a = &device_record(d, rows_convert)->args.convert;
    a->out = space;
    a->x = x;
    a->from = there;
    a->number = wanted;
    a->num = num;
    return space;
}

/* x in E4M3. */
struct rounded {
    unsigned char *codes; /* NULL: not there */
    float *scales;
    int32_t rows; /* with those of zeros */
    bool has_runs;
};

/* What matrices read: `rows` rows of x, of each block where blocks have their own. */
struct source {
    const float *x;
    enum number there;
    int64_t rows, row, block; /* row, block: from one to the next */
    const void *copy;       /* as the matrix before wanted it, which may do for the next; or NULL */
    enum number number;     /* of the copy */
    struct rounded rounded; /* likewise */
};

/* x in the order of a matrix's columns, of which it has args->w.stride then. */
static const void *ordered(struct device *d, struct linear_args *args, struct source *s)
{
    const struct matrix *m = &args->w;
    const int32_t blocks = s->block > 0 ? args->num_blocks : 1;
    void *space = device_scratch(d, (size_t)s->rows * (size_t)blocks * (size_t)m->stride * 2);
    s->copy = NULL; /* it was there too */
    if (space == NULL) {
        d->inputs.is_full = true;
        return NULL;
    }
    struct order_args *a = &device_record(d, linear_order)->args.order;
    a->out = space;
    a->x = s->x;
    a->from = s->there;
    a->order = m->order;
    a->rows = (int32_t)s->rows;
    a->num_blocks = blocks;
    a->cols = m->stride;
    a->x_row = s->row;
    a->x_block = s->block;
    args->x_row = (int64_t)blocks * m->stride;
    args->x_block = s->block > 0 ? m->stride : 0;
    args->w.cols = m->stride;
    return space;
}

/* x as args->w wants it. False: there is no memory, the list will not run. */
static bool take_x(struct device *d, struct linear_args *args, struct source *s)
{
    args->x_number = wanted_of(&args->w, s->there);
    args->x_row = s->row;
    args->x_block = s->block;
    if (args->w.order != NULL) {
        args->x = ordered(d, args, s);
        return args->x != NULL;
    }
    if (s->copy == NULL || s->number != args->x_number)
        s->copy = narrowed(d, s->x, args->x_number, s->rows * s->row);
    s->number = args->x_number;
    args->x = s->copy;
    return args->x != NULL;
}

static const struct {
    launch_function *multiply, *expand;
} kernels[] = {
    [MATRIX_I8] = { linear_i8, linear_i8_expand },
    [MATRIX_E4M3] = { linear_e4m3, linear_e4m3_expand },
    [MATRIX_U4] = { linear_u4, linear_u4_expand },
    [MATRIX_U5] = { linear_u5, linear_u5_expand },
    [MATRIX_U6] = { linear_u6, linear_u6_expand },
    [MATRIX_U3] = { linear_u3, linear_u3_expand },
    [MATRIX_U2] = { linear_u2, linear_u2_expand },
    [MATRIX_E4M3_ROWS] = { linear_e4m3_rows, linear_e4m3_rows_expand },
};

static launch_function *kernel_of(const struct matrix *m)
{
    if (m->form != MATRIX_PLAIN)
        return kernels[m->form].multiply;
    return m->number == NUMBER_F32 ? linear_f32 : linear_plain;
}

static void record_own(struct device *d, const struct linear_args *args)
{
    struct linear_args *a = &device_record(d, kernel_of(&args->w))->args.linear;
    a->w = args->w;
    a->bias = args->bias;
    a->x = args->x;
    a->out = args->out;
    a->x_number = args->x_number;
    a->rows = args->rows;
    a->out_dim = args->out_dim;
    a->num_blocks = args->num_blocks;
    a->block_rows = args->block_rows;
    a->x_row = args->x_row;
    a->x_block = args->x_block;
    a->out_row = args->out_row;
    a->out_block = args->out_block;
    a->first = args->first;
    a->rows_hint = args->rows_hint;
    a->all_rows = args->all_rows;
}

static void record_lt(struct device *d, const struct lt_args *args)
{
    struct lt_args *a = &device_record(d, lt_multiply)->args.lt;
    a->lt = d->lt;
    a->w = args->w;
    a->x = args->x;
    a->codes = args->codes;
    a->scales = args->scales;
    a->out = args->out;
    a->rows = args->rows;
    a->out_row = args->out_row;
    a->x_rows = args->x_rows;
}

/* --- inputs in E4M3 --------------------------------------------------------------------------- */

/* Scales of runs lie by fours of rows. A whole step's outputs have room behind the last row, in
 * rows that are nobody's: then as many more, which are zeros. */
static int32_t rows_in_fours(struct device *d, const struct linear_args *args)
{
    const int32_t rows = (args->rows + 3) / 4 * 4;
    const size_t wanted = ((size_t)(rows - 1) * (size_t)args->out_row + (size_t)args->w.rows) * 4;
    const bool has_room =
        args->rows == d->step_rows && memory_behind(&d->memory, args->out) >= wanted;
    return has_room ? rows : args->rows;
}

/* Where `rows` of them will be: codes, then scales. */
static bool place_rounded(struct device *d, int32_t stride, struct rounded *r)
{
    const size_t rows = (size_t)r->rows, codes = (rows * (size_t)stride + 255) / 256 * 256;
    const size_t runs = r->has_runs ? (size_t)stride / PACK_BLOCK : 1;
    void *at = d->rounded;
    if (!device_grow(d, &at, &d->rounded_bytes, codes + runs * rows * sizeof(float)))
        return false;
    d->rounded = at;
    r->codes = d->rounded;
    r->scales = (float *)(void *)(d->rounded + codes);
    return true;
}

static void record_rounding(struct device *d, const struct linear_args *args,
                            const struct rounded *r)
{
    struct round_args *a = &device_record(d, linear_round)->args.round;
    a->out = r->codes;
    a->scales = r->scales;
    a->x = args->x;
    a->from = args->x_number;
    a->rows = r->rows;
    a->num = args->rows;
    a->cols = args->w.cols;
    a->stride = args->w.stride;
    a->has_runs = r->has_runs;
}

static bool are_equal(const struct rounded *a, const struct rounded *b)
{
    return a->codes == b->codes && a->rows == b->rows && a->has_runs == b->has_runs;
}

/* Both in E4M3. False: not of this shape, or there is no memory. */
static bool record_codes(struct device *d, const struct linear_args *args, struct source *s)
{
    const bool has_runs = args->w.num_groups > 1;
    struct rounded r = { .rows = has_runs ? rows_in_fours(d, args) : args->rows,
                         .has_runs = has_runs };
    if (args->w.form != MATRIX_E4M3_ROWS || !place_rounded(d, args->w.stride, &r))
        return false;
    const struct lt_args lt = { .lt = d->lt,
                                .w = args->w,
                                .x = args->x,
                                .codes = r.codes,
                                .scales = r.scales,
                                .out = args->out,
                                .rows = r.rows,
                                .out_row = (int32_t)args->out_row,
                                .x_rows = args->rows };
    if (!lt_suits(d->lt, &lt))
        return false;
    if (!are_equal(&r, &s->rounded))
        record_rounding(d, args, &r);
    s->rounded = r;
    record_lt(d, &lt);
    return true;
}

/* --- products ---------------------------------------------------------------------------------
 */

/* Rows of blocks become bf16, as many as there is room for, and are multiplied. */
static bool record_expanded(struct device *d, const struct linear_args *args)
{
    const struct matrix *w = &args->w;
    void *at = d->expanded;
    if (!device_grow(d, &at, &d->expanded_bytes, EXPANDED_ROWS * (size_t)w->stride * 2))
        return false;
    d->expanded = at;
    for (int32_t row = 0; row < w->rows; row += EXPANDED_ROWS) {
        const int32_t num = w->rows - row < EXPANDED_ROWS ? w->rows - row : EXPANDED_ROWS;
        struct expand_args *a = &device_record(d, kernels[w->form].expand)->args.expand;
        a->w = *w;
        a->out = d->expanded;
        a->first_row = row;
        a->num_rows = num;
        const struct matrix part = { .form = MATRIX_PLAIN,
                                     .number = NUMBER_BF16,
                                     .rows = num,
                                     .cols = w->cols,
                                     .stride = w->stride,
                                     .data = d->expanded };
        record_lt(d, &(struct lt_args){ .w = part,
                                        .x = args->x,
                                        .out = args->out + row,
                                        .rows = args->rows,
                                        .out_row = (int32_t)args->out_row,
                                        .x_rows = args->rows });
    }
    return true;
}

static void record_bias(struct device *d, float *out, const float *bias, int32_t rows, int32_t cols)
{
    if (bias == NULL)
        return;
    struct each_args *a = &device_record(d, act_each)->args.each;
    a->kind = EACH_BIAS;
    a->number = NUMBER_F32;
    a->x = out;
    a->delta = bias;
    a->num = (int64_t)rows * cols;
    a->cols = cols;
}

/* cuBLASLt takes it that what it writes begins at a multiple of 256 bytes. */
static bool suits_lt(const struct linear_args *args)
{
    return (uintptr_t)args->out % 256 == 0;
}

/* By cuBLASLt, without the bias. */
static bool record_by_lt(struct device *d, const struct linear_args *args, struct source *s)
{
    const struct matrix *w = &args->w;
    const bool is_plain = w->form == MATRIX_PLAIN && args->x_number == w->number;
    if (d->lt == NULL || !suits_lt(args))
        return false;
    if (is_plain && args->rows >= LT_ROWS_PLAIN) {
        record_lt(d, &(struct lt_args){ .w = *w,
                                        .x = args->x,
                                        .out = args->out,
                                        .rows = args->rows,
                                        .out_row = (int32_t)args->out_row,
                                        .x_rows = args->rows });
        return true;
    }
    return w->form != MATRIX_PLAIN && args->rows >= LT_ROWS_BLOCKS &&
           (record_codes(d, args, s) || record_expanded(d, args));
}

/* All rows by a matrix and those joined to it; these get their bias together. */
void record_linear(struct device *d, float *out, const struct weight *weight, const float *bias,
                   const float *x, int32_t rows)
{
    const int32_t padded = device_pad(d, rows), outputs = weight_all_rows(weight);
    struct source source = {
        .x = x, .there = device_number(d, x), .rows = padded, .row = weight->matrix.cols
    };
    bool owes_bias = weight->next != NULL;
    struct linear_args args = { .out = out,
                                .bias = owes_bias ? NULL : bias,
                                .rows = padded,
                                .num_blocks = 1,
                                .out_row = outputs,
                                .rows_hint = padded };
    device_set_number(d, out, NUMBER_F32);
    for (; weight != NULL; weight = weight->next) {
        args.w = weight->matrix;
        if (atomic_load(&weight->blocks_differ))
            args.w.blocks = NULL;
        args.out_dim = args.w.rows;
        if (!take_x(d, &args, &source))
            return;
        if (record_by_lt(d, &args, &source))
            owes_bias = true;
        else
            record_own(d, &args);
        args.out += args.w.rows;
    }
    if (owes_bias)
        record_bias(d, out, bias, padded, outputs);
}

void record_heads(struct device *d, const struct heads_linear *h, int32_t rows)
{
    struct linear_args args = { .w = h->weight->matrix,
                                .out = h->out,
                                .rows = device_pad(d, rows),
                                .out_dim = h->out_dim,
                                .num_blocks = h->num_heads,
                                .block_rows = block_stride(h->out_dim),
                                .out_row = h->out_row,
                                .out_block = h->out_head };
    args.rows_hint = args.rows;
    struct source source = { .x = h->x,
                             .there = device_number(d, h->x),
                             .rows = args.rows,
                             .row = h->x_row,
                             .block = h->x_head };
    if (take_x(d, &args, &source))
        record_own(d, &args);
    device_set_number(d, h->out, NUMBER_F32);
}

/* --- experts ------------------------------------------------------------------------------- */

void record_moe_linear(struct device *d, float *out, const struct weight *weight, int32_t out_dim,
                       const float *x, const struct moe_plan *plan, int32_t rows)
{
    const int32_t padded = device_pad(d, rows);
    const int64_t pairs = (int64_t)padded * plan->top_k;
    struct source source = {
        .x = x, .there = device_number(d, x), .rows = pairs, .row = weight->matrix.cols
    };
    const bool is_joined = weight->next != NULL;
    struct linear_args args = { .out = out,
                                .rows = padded,
                                .num_blocks = plan->num_experts,
                                .out_row = out_dim,
                                .first = plan->first,
                                .all_rows = (int32_t)pairs };
    args.rows_hint = (int32_t)(2 * pairs / plan->num_experts);
    device_set_number(d, out, NUMBER_F32);
    for (; weight != NULL; weight = weight->next) {
        args.w = weight->matrix;
        args.out_dim = is_joined ? args.w.rows / plan->num_experts : out_dim;
        args.block_rows = block_stride(args.out_dim);
        if (!take_x(d, &args, &source))
            return;
        record_own(d, &args);
        args.out += args.out_dim;
    }
}

static void record_choice(struct device *d, const struct route_args *args)
{
    struct route_args *a = &device_record(d, moe_choose)->args.route;
    a->experts = args->experts;
    a->weights = args->weights;
    a->first = args->first;
    a->place_rows = args->place_rows;
    a->places = args->places;
    a->num_experts = args->num_experts;
    a->top_k = args->top_k;
    a->rows = args->rows;
    a->logits = args->logits;
    a->bias = args->bias;
    a->scores = args->scores;
    a->num_groups = args->num_groups;
    a->top_groups = args->top_groups;
    a->group_top = args->group_top;
    a->normalize = args->normalize;
    a->scale = args->scale;
    a->table = args->table;
    a->token_ids = args->token_ids;
    a->token_rows = args->token_rows;
    struct op *sort = device_record(d, moe_sort);
    sort->args.route = *a;
}

static struct route_args route_of(struct device *d, const struct moe_plan *plan, int32_t rows)
{
    assert(plan->num_experts <= MOE_MAX_EXPERTS && plan->top_k >= 1);
    d->top_k = plan->top_k;
    return (struct route_args){ .experts = plan->experts,
                                .weights = plan->weights,
                                .first = plan->first,
                                .place_rows = plan->rows,
                                .places = plan->places,
                                .num_experts = plan->num_experts,
                                .top_k = plan->top_k,
                                .rows = device_pad(d, rows) };
}

void record_route(struct device *d, const struct moe_plan *plan, const float *logits,
                  const struct moe_routing *routing, int32_t rows)
{
    struct route_args args = route_of(d, plan, rows);
    args.logits = logits;
    args.bias = routing->bias;
    args.scores = routing->scores;
    args.num_groups = routing->num_groups;
    args.top_groups = routing->top_groups;
    args.group_top = routing->group_top;
    args.normalize = routing->normalize;
    args.scale = routing->scale;
    record_choice(d, &args);
}

/* Tokens of the whole step, of which `rows` names some. */
static int32_t num_tokens(const struct device *d, const struct moe_tokens *tokens, int32_t rows)
{
    int32_t num = rows;
    if (tokens->rows == NULL || d->step_rows > 0)
        return d->step_rows > 0 ? d->step_rows : rows;
    for (int32_t i = 0; i < rows; i++)
        num = tokens->rows[i] + 1 > num ? tokens->rows[i] + 1 : num;
    return num;
}

void record_route_tokens(struct device *d, const struct moe_plan *plan,
                         const struct moe_tokens *tokens, int32_t rows)
{
    const int32_t num = num_tokens(d, tokens, rows);
    const int32_t *ids = device_row_array(d, tokens->token_ids, num, sizeof(*ids), 0);
    struct route_args args = route_of(d, plan, rows);
    assert(plan->top_k == 1);
    args.logits = tokens->logits;
    args.table = tokens->table;
    args.token_ids = ids;
    if (tokens->rows != NULL)
        args.token_rows = device_row_array(d, tokens->rows, rows, sizeof(int32_t), 0);
    record_choice(d, &args);
}

void record_combine(struct device *d, float *out, const float *y, const struct moe_plan *plan,
                    const float *shared, const float *gate, int32_t rows, int32_t cols)
{
    struct combine_args *a = &device_record(d, moe_add)->args.combine;
    a->out = out;
    a->y = y;
    a->weights = plan->weights;
    a->places = plan->places;
    a->shared = shared;
    a->gate = gate;
    a->top_k = plan->top_k;
    a->rows = device_pad(d, rows);
    a->cols = cols;
    device_set_number(d, out, NUMBER_F32);
}
