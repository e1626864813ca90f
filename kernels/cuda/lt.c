#include "kernels/cuda/lt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/device.h"
#include "kernels/cuda/lt_api.h"

enum { WORKSPACE_BYTES = 32 << 20, NUM_SETS = 256, SET_PLANS = 4, ALIGNED = 16 };

/* What a plan is made for; compared by bytes. */
struct shape {
    int32_t type, scaling; /* of f32 and 16 bits no scaling: LT_SCALING_TENSOR */
    int32_t outs, inputs, rows;
    int32_t w_row, x_row, out_row; /* from one to the next */
};

/* How one shape is computed. The heuristic is asked once, and again when another shape has had its
 * place meanwhile. */
struct plan {
    struct shape shape; /* zeros: nobody's */
    void *operation, *w, *x, *out;
    struct lt_algorithm algorithm;
    bool is_good;
};

/* Prompts have any number of rows. */
struct plan_set {
    struct plan plans[SET_PLANS];
    uint32_t next; /* to be given away */
};

struct lt {
    struct lt_api call;
    void *handle;
    struct memory *memory;
    void *workspace;
    struct plan_set *sets; /* [NUM_SETS] */
};

static int start(struct lt *lt, struct error *err)
{
    lt->sets = calloc(NUM_SETS, sizeof(*lt->sets));
    lt->workspace = memory_take(lt->memory, MEMORY_WORKSPACE, WORKSPACE_BYTES);
    if (lt->sets == NULL || lt->workspace == NULL)
        return error_set(err, -ENOMEM, "no memory for cuBLASLt");
    if (lt->call.create(&lt->handle) != LT_SUCCESS)
        return error_set(err, -EPROTO, "cuBLASLt was found but does not start");
    return 0;
}

int lt_open(const char *libraries, struct memory *memory, struct lt **ret_lt, struct error *err)
{
    *ret_lt = NULL;
    struct lt *lt = calloc(1, sizeof(*lt));
    if (lt == NULL)
        return error_set(err, -ENOMEM, "no memory for cuBLASLt");
    lt->memory = memory;
    int r = lt_api_open(libraries, &lt->call, err);
    const bool is_there = r != 0;
    if (r > 0)
        r = start(lt, err);
    if (r < 0 || !is_there) {
        lt_close(lt);
        return r;
    }
    *ret_lt = lt;
    return 0;
}

static void forget(const struct lt *lt, struct plan *p)
{
    if (p->operation != NULL)
        lt->call.operation_destroy(p->operation);
    void *const layouts[] = { p->w, p->x, p->out };
    for (int i = 0; i < 3; i++)
        if (layouts[i] != NULL)
            lt->call.layout_destroy(layouts[i]);
    *p = (struct plan){ 0 };
}

void lt_close(struct lt *lt)
{
    if (lt == NULL)
        return;
    for (int32_t i = 0; lt->sets != NULL && i < NUM_SETS * SET_PLANS; i++)
        forget(lt, &lt->sets[i / SET_PLANS].plans[i % SET_PLANS]);
    if (lt->handle != NULL)
        lt->call.destroy(lt->handle);
    memory_give(lt->memory, lt->workspace);
    free(lt->sets);
    free(lt);
}

bool lt_rounds(const struct lt *lt, int32_t arch)
{
    return arch == 90 && lt->call.version() >= LT_VERSION_OF_SCALINGS;
}

/* --- plans -------------------------------------------------------------------------------------
 */

static enum lt_scaling scaling_of(const struct matrix *w)
{
    return w->num_groups == 1 ? LT_SCALING_ROWS : LT_SCALING_BLOCKS;
}

static struct shape shape_of(const struct lt_args *a)
{
    const struct matrix *w = &a->w;
    struct shape shape = { .outs = w->rows,
                           .inputs = w->cols,
                           .rows = a->rows,
                           .w_row = w->stride,
                           .x_row = w->cols,
                           .out_row = a->out_row };
    if (a->codes != NULL) { /* with the padding, which is zeros in both */
        shape.type = LT_E4M3;
        shape.scaling = (int32_t)scaling_of(w);
        shape.inputs = shape.x_row = w->stride;
    } else {
        shape.type = w->number == NUMBER_F32 ? LT_F32 : w->number == NUMBER_F16 ? LT_F16 : LT_BF16;
        shape.scaling = LT_SCALING_TENSOR;
    }
    return shape;
}

static bool set(const struct lt *lt, const struct plan *p, enum lt_attribute attribute,
                int32_t value)
{
    return lt->call.operation_set(p->operation, (int)attribute, &value, sizeof(value)) ==
           LT_SUCCESS;
}

/* Where the scales are differs from weight to weight of a shape. */
static bool set_scales(const struct lt *lt, const struct plan *p, const struct lt_args *a)
{
    const void *scales = p->shape.scaling == LT_SCALING_BLOCKS ? a->w.blocks : a->w.scales;
    const void *const pointers[] = { scales, a->scales };
    return lt->call.operation_set(p->operation, LT_SCALES_A, &pointers[0], sizeof(void *)) ==
               LT_SUCCESS &&
           lt->call.operation_set(p->operation, LT_SCALES_B, &pointers[1], sizeof(void *)) ==
               LT_SUCCESS;
}

/* Scales of both sides, and sums that are promoted from the tensor cores' own precision. */
static bool describe_scaling(const struct lt *lt, const struct plan *p, const struct lt_args *a)
{
    const enum lt_scaling w = (enum lt_scaling)p->shape.scaling;
    const enum lt_scaling x = w == LT_SCALING_ROWS ? LT_SCALING_ROWS : LT_SCALING_RUNS;
    const int8_t fast = 0;
    return set(lt, p, LT_SCALING_A, (int32_t)w) && set(lt, p, LT_SCALING_B, (int32_t)x) &&
           lt->call.operation_set(p->operation, LT_FAST_ACCUMULATION, &fast, sizeof(fast)) ==
               LT_SUCCESS &&
           set_scales(lt, p, a);
}

/* In its own words, by columns: out [outs x rows] = W' [outs x inputs] x [inputs x rows]. */
static bool describe(const struct lt *lt, struct plan *p, const struct lt_args *a)
{
    const struct lt_api *call = &lt->call;
    const struct shape *s = &p->shape;
    const uint64_t outs = (uint64_t)s->outs, inputs = (uint64_t)s->inputs, rows = (uint64_t)s->rows;
    return call->operation_create(&p->operation, LT_COMPUTE_F32, LT_F32) == LT_SUCCESS &&
           set(lt, p, LT_TRANSFORM_A, LT_TURNED) && set(lt, p, LT_TRANSFORM_B, LT_PLAIN) &&
           call->layout_create(&p->w, s->type, inputs, outs, s->w_row) == LT_SUCCESS &&
           call->layout_create(&p->x, s->type, inputs, rows, s->x_row) == LT_SUCCESS &&
           call->layout_create(&p->out, LT_F32, outs, rows, s->out_row) == LT_SUCCESS &&
           (s->type != LT_E4M3 || describe_scaling(lt, p, a));
}

static bool choose(struct lt *lt, struct plan *p)
{
    const uint64_t bytes = WORKSPACE_BYTES;
    void *preference = NULL;
    struct lt_choice found;
    int num = 0;
    const bool done = lt->call.preference_create(&preference) == LT_SUCCESS &&
                      lt->call.preference_set(preference, LT_WORKSPACE_BYTES, &bytes,
                                              sizeof(bytes)) == LT_SUCCESS &&
                      lt->call.choose(lt->handle, p->operation, p->w, p->x, p->out, p->out,
                                      preference, 1, &found, &num) == LT_SUCCESS &&
                      num > 0 && found.status == LT_SUCCESS;
    if (preference != NULL)
        lt->call.preference_destroy(preference);
    if (done)
        p->algorithm = found.algorithm;
    return done;
}

static uint32_t set_of(const struct shape *shape)
{
    const int32_t words[] = { shape->type, shape->scaling, shape->outs,  shape->inputs,
                              shape->rows, shape->w_row,   shape->x_row, shape->out_row };
    uint32_t hash = 0;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        hash = (hash ^ (uint32_t)words[i]) * 2654435761u;
    return hash >> 16 & (NUM_SETS - 1);
}

static const struct plan *plan_of(struct lt *lt, const struct lt_args *a)
{
    const struct shape shape = shape_of(a);
    struct plan_set *set = &lt->sets[set_of(&shape)];
    for (int i = 0; i < SET_PLANS; i++)
        if (memcmp(&set->plans[i].shape, &shape, sizeof(shape)) == 0)
            return &set->plans[i];
    struct plan *p = &set->plans[set->next++ % SET_PLANS];
    forget(lt, p);
    p->shape = shape;
    p->is_good = describe(lt, p, a) && choose(lt, p);
    return p;
}

/* What the library asks of E4M3: 16 bytes everywhere, and fours where scales lie by row. */
bool lt_suits(struct lt *lt, const struct lt_args *a)
{
    const struct matrix *w = &a->w;
    const bool by_rows = scaling_of(w) == LT_SCALING_ROWS;
    if (w->rows % ALIGNED != 0 || a->out_row % 4 != 0 ||
        (!by_rows && (w->blocks == NULL || a->rows % 4 != 0)))
        return false;
    return plan_of(lt, a)->is_good;
}

/* --- products ----------------------------------------------------------------------------------
 */

/* A shape that it does not know: by the kernels of our own. */
static void multiply_ourselves(const struct launch *launch, const struct lt_args *a)
{
    struct linear_args own = { .w = a->w,
                               .x = a->x,
                               .out = a->out,
                               .x_number = a->codes != NULL ? NUMBER_BF16 : a->w.number,
                               .rows = a->x_rows,
                               .out_dim = a->w.rows,
                               .num_blocks = 1,
                               .x_row = a->w.cols,
                               .out_row = a->out_row,
                               .rows_hint = a->x_rows,
                               .is_made = true };
    launch_function *multiply = a->codes != NULL            ? linear_e4m3_rows
                                : a->w.number == NUMBER_F32 ? linear_f32
                                                            : linear_plain;
    multiply(launch, &own);
}

void lt_multiply(const struct launch *launch, const void *args)
{
    const struct lt_args *a = args;
    struct lt *lt = a->lt;
    const float one = 1.0f, zero = 0.0f;
    const void *x = a->codes != NULL ? (const void *)a->codes : a->x;
    const struct plan *p = plan_of(lt, a);
    if (!p->is_good || (a->codes != NULL && !set_scales(lt, p, a)) ||
        lt->call.multiply(lt->handle, p->operation, &one, a->w.data, p->w, x, p->x, &zero, a->out,
                          p->out, a->out, p->out, &p->algorithm, lt->workspace, WORKSPACE_BYTES,
                          launch->stream) != LT_SUCCESS)
        multiply_ourselves(launch, a);
}
