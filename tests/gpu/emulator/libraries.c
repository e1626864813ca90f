/*
 * libraries.c - what the module uses of cuBLASLt, over the emulated queue
 *
 * Products are plain C. What NVIDIA's documentation asks is asked here too, and refused in the same
 * place: dimensions, strides and pointers of 16 bytes where tensor cores want them, all of E4M3
 * turned and plain in the one way that Hopper takes, pairs of scalings that go together, scales
 * that are there when an algorithm is chosen, buffers of 256 bytes' alignment, which algorithms are
 * chosen for. An algorithm belongs to the shape that it was chosen for.
 *
 * $TOKENRING_EMULATED_LT is the version that it says it has; scalings begin with 12.9 (120900).
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/e4m3.h"
#include "base/half.h"
#include "kernels/cuda/lt_api.h"
#include "tests/gpu/emulator/queue.h"

enum { VERSION = 130100, ALIGNED = 16, BUFFER = 256, WORKSPACE = 1 << 20 };

struct operation {
    int transforms[2], scalings[2];
    const float *scales[2];
    int8_t is_fast;
};

struct layout {
    int type;
    int64_t rows, cols, stride;
};

struct preference {
    uint64_t workspace_bytes;
};

/* One product, by columns: d [m x n] = a' [k x m] b [k x n]. */
struct product {
    int type, scalings[2];
    int64_t m, n, k, strides[3];
    const void *a, *b;
    const float *scales[2];
    float *d;
};

static size_t version(void)
{
    const char *wished = getenv("TOKENRING_EMULATED_LT");
    return wished != NULL ? strtoul(wished, NULL, 10) : VERSION;
}

static int make(void **ret, size_t bytes)
{
    *ret = calloc(1, bytes);
    return *ret != NULL ? LT_SUCCESS : LT_INVALID_VALUE;
}

static int destroy(void *what)
{
    free(what);
    return LT_SUCCESS;
}

static int create(void **ret_handle)
{
    return make(ret_handle, 1);
}

static int operation_create(void **ret_operation, int compute, int scale_type)
{
    if (compute != LT_COMPUTE_F32 || scale_type != LT_F32)
        return LT_NOT_SUPPORTED;
    return make(ret_operation, sizeof(struct operation));
}

static int operation_set(void *operation, int attribute, const void *value, size_t bytes)
{
    struct operation *o = operation;
    const bool is_new = attribute == LT_SCALING_A || attribute == LT_SCALING_B;
    const struct {
        int attribute;
        void *to;
        size_t bytes;
    } rows[] = {
        { LT_TRANSFORM_A, &o->transforms[0], sizeof(int) },
        { LT_TRANSFORM_B, &o->transforms[1], sizeof(int) },
        { LT_SCALES_A, &o->scales[0], sizeof(void *) },
        { LT_SCALES_B, &o->scales[1], sizeof(void *) },
        { LT_SCALING_A, &o->scalings[0], sizeof(int) },
        { LT_SCALING_B, &o->scalings[1], sizeof(int) },
        { LT_FAST_ACCUMULATION, &o->is_fast, sizeof(int8_t) },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].attribute == attribute && rows[i].bytes == bytes &&
            (!is_new || version() >= LT_VERSION_OF_SCALINGS)) {
            memcpy(rows[i].to, value, bytes);
            return LT_SUCCESS;
        }
    return LT_INVALID_VALUE;
}

static int layout_create(void **ret_layout, int type, uint64_t rows, uint64_t cols, int64_t stride)
{
    const int r = make(ret_layout, sizeof(struct layout));
    if (r == LT_SUCCESS)
        *(struct layout *)*ret_layout =
            (struct layout){ type, (int64_t)rows, (int64_t)cols, stride };
    return r;
}

static int preference_create(void **ret_preference)
{
    return make(ret_preference, sizeof(struct preference));
}

static int preference_set(void *preference, int attribute, const void *value, size_t bytes)
{
    struct preference *p = preference;
    if (attribute != LT_WORKSPACE_BYTES || bytes != sizeof(p->workspace_bytes))
        return LT_INVALID_VALUE;
    memcpy(&p->workspace_bytes, value, bytes);
    return LT_SUCCESS;
}

/* --- what is asked -----------------------------------------------------------------------------
 */

static bool is_aligned(const void *pointer, uintptr_t bytes)
{
    return pointer != NULL && (uintptr_t)pointer % bytes == 0;
}

/* Rows of both, or runs of one with runs or blocks of the other. */
static bool go_together(int a, int b)
{
    if (a == LT_SCALING_ROWS || b == LT_SCALING_ROWS)
        return a == b;
    return (a == LT_SCALING_RUNS && (b == LT_SCALING_RUNS || b == LT_SCALING_BLOCKS)) ||
           (a == LT_SCALING_BLOCKS && b == LT_SCALING_RUNS);
}

static int check_e4m3(const struct product *p, const struct operation *o)
{
    const bool by_rows = p->scalings[0] == LT_SCALING_ROWS;
    if (o->transforms[0] != LT_TURNED || o->transforms[1] != LT_PLAIN || o->is_fast)
        return LT_NOT_SUPPORTED;
    if (p->k % ALIGNED != 0 || p->strides[0] % ALIGNED != 0 || p->strides[1] % ALIGNED != 0 ||
        p->m * 4 % ALIGNED != 0 || p->strides[2] * 4 % ALIGNED != 0)
        return LT_NOT_SUPPORTED;
    if (!go_together(p->scalings[0], p->scalings[1]) ||
        (!by_rows && (p->m % 4 != 0 || p->n % 4 != 0)))
        return LT_NOT_SUPPORTED;
    return is_aligned(p->scales[0], ALIGNED) && is_aligned(p->scales[1], ALIGNED)
               ? LT_SUCCESS
               : LT_INVALID_VALUE;
}

/* The product that all of it says, or why there is none. */
static int understand(const struct operation *o, const struct layout *a, const struct layout *b,
                      const struct layout *c, const struct layout *d, struct product *ret_product)
{
    const bool turned = o->transforms[0] == LT_TURNED;
    struct product p = { .type = a->type,
                         .scalings = { o->scalings[0], o->scalings[1] },
                         .m = turned ? a->cols : a->rows,
                         .n = b->cols,
                         .k = b->rows,
                         .strides = { a->stride, b->stride, d->stride },
                         .scales = { o->scales[0], o->scales[1] } };
    if ((turned ? a->rows : a->cols) != p.k || d->rows != p.m || d->cols != p.n ||
        memcmp(c, d, sizeof(*c)) != 0 || a->stride < a->rows || b->stride < b->rows ||
        d->stride < d->rows || p.m < 1 || p.n < 1 || p.k < 1)
        return LT_INVALID_VALUE;
    if (!turned || o->transforms[1] != LT_PLAIN || a->type != b->type || d->type != LT_F32)
        return LT_NOT_SUPPORTED; /* not so by it, but nothing else is wanted */
    *ret_product = p;
    if (a->type == LT_E4M3)
        return check_e4m3(&p, o);
    return p.scalings[0] == LT_SCALING_TENSOR && p.scalings[1] == LT_SCALING_TENSOR &&
                   p.scales[0] == NULL && p.scales[1] == NULL
               ? LT_SUCCESS
               : LT_INVALID_VALUE;
}

static struct lt_algorithm algorithm_of(const struct product *p)
{
    return (struct lt_algorithm){
        { (uint64_t)p->type + 1, (uint64_t)p->scalings[0], (uint64_t)p->scalings[1], (uint64_t)p->m,
          (uint64_t)p->n, (uint64_t)p->k, (uint64_t)p->strides[0], (uint64_t)p->strides[2] }
    };
}

static int choose(void *handle, void *operation, void *a, void *b, void *c, void *d,
                  void *preference, int wanted, struct lt_choice *ret_choices, int *ret_num)
{
    const struct preference *likes = preference;
    struct product p;
    *ret_num = 0;
    if (handle == NULL || likes == NULL || wanted < 1)
        return LT_INVALID_VALUE;
    const int r = understand(operation, a, b, c, d, &p);
    if (r != LT_SUCCESS || likes->workspace_bytes < WORKSPACE)
        return r != LT_SUCCESS ? r : LT_NOT_SUPPORTED;
    *ret_num = 1;
    ret_choices[0] =
        (struct lt_choice){ .algorithm = algorithm_of(&p), .workspace_bytes = WORKSPACE };
    return LT_SUCCESS;
}

/* --- products ----------------------------------------------------------------------------------
 */

static float number_of(const void *from, int type, int64_t i)
{
    if (type == LT_F32)
        return ((const float *)from)[i];
    const uint16_t half = ((const uint16_t *)from)[i];
    return type == LT_F16 ? half_from_f16(half) : half_from_bf16(half);
}

static void multiply_numbers(const struct product *p)
{
    for (int64_t j = 0; j < p->n; j++)
        for (int64_t i = 0; i < p->m; i++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < p->k; k++)
                sum += number_of(p->a, p->type, i * p->strides[0] + k) *
                       number_of(p->b, p->type, j * p->strides[1] + k);
            p->d[j * p->strides[2] + i] = sum;
        }
}

/* Of side 0 (a) or 1 (b): row i, the run that begins at k. */
static float scale_at(const struct product *p, int side, int64_t i, int64_t k)
{
    const int64_t rows = side == 0 ? p->m : p->n, runs = (p->k + LT_RUN - 1) / LT_RUN;
    switch (p->scalings[side]) {
    case LT_SCALING_RUNS:
        return p->scales[side][k / LT_RUN * rows + i];
    case LT_SCALING_BLOCKS:
        return p->scales[side][i / LT_RUN * ((runs + 3) / 4 * 4) + k / LT_RUN];
    default:
        return 1.0f; /* of rows: at the end */
    }
}

static void multiply_codes(const struct product *p)
{
    const uint8_t *a = p->a, *b = p->b;
    const bool by_rows = p->scalings[0] == LT_SCALING_ROWS;
    float value[256];
    for (int code = 0; code < 256; code++)
        value[code] = e4m3_decode((uint8_t)code);
    for (int64_t j = 0; j < p->n; j++)
        for (int64_t i = 0; i < p->m; i++) {
            float total = 0.0f;
            for (int64_t from = 0; from < p->k; from += LT_RUN) {
                const int64_t end = from + LT_RUN < p->k ? from + LT_RUN : p->k;
                float sum = 0.0f;
                for (int64_t k = from; k < end; k++)
                    sum += value[a[i * p->strides[0] + k]] * value[b[j * p->strides[1] + k]];
                total += sum * (scale_at(p, 0, i, from) * scale_at(p, 1, j, from));
            }
            p->d[j * p->strides[2] + i] =
                by_rows ? total * (p->scales[0][i] * p->scales[1][j]) : total;
        }
}

static void run(const void *args)
{
    const struct product *p = args;
    (p->type == LT_E4M3 ? multiply_codes : multiply_numbers)(p);
}

static int multiply(void *handle, void *operation, const void *alpha, const void *a, void *a_layout,
                    const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                    void *d, void *d_layout, const struct lt_algorithm *algorithm, void *workspace,
                    size_t workspace_bytes, void *stream)
{
    struct queue *queue = stream;
    struct product p;
    const int r = understand(operation, a_layout, b_layout, c_layout, d_layout, &p);
    if (r != LT_SUCCESS)
        return r;
    const struct lt_algorithm own = algorithm_of(&p);
    if (handle == NULL || *(const float *)alpha != 1.0f || *(const float *)beta != 0.0f || c != d ||
        algorithm == NULL || memcmp(algorithm, &own, sizeof(own)) != 0 ||
        workspace_bytes < WORKSPACE || !is_aligned(workspace, BUFFER) || !is_aligned(a, BUFFER) ||
        !is_aligned(b, BUFFER) || !is_aligned(d, BUFFER))
        return LT_INVALID_VALUE;
    p.a = a;
    p.b = b;
    p.d = d;
    queue->call(queue, run, &p, sizeof(p));
    return LT_SUCCESS;
}

int lt_api_open(const char *libraries, struct lt_api *ret_api, struct error *err)
{
    (void)libraries;
    (void)err;
    *ret_api = (struct lt_api){ .version = version,
                                .create = create,
                                .destroy = destroy,
                                .operation_create = operation_create,
                                .operation_destroy = destroy,
                                .operation_set = operation_set,
                                .layout_create = layout_create,
                                .layout_destroy = destroy,
                                .preference_create = preference_create,
                                .preference_destroy = destroy,
                                .preference_set = preference_set,
                                .choose = choose,
                                .multiply = multiply };
    return 1;
}
