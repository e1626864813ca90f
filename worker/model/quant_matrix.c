#include "worker/model/quant_matrix.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "worker/model/tensor_place.h"

enum { MAX_NAME = 512, MAX_SIZE = 1 << 24, MAX_RANK = 2 };

int quant_matrix_fail(const struct quant_matrix *m, int result, const char *what)
{
    return error_set(m->err, result, "%.*s: %s", m->base_len > 160 ? 160 : m->base_len, m->base,
                     what);
}

struct checkpoint_tensor *quant_matrix_find(const struct quant_matrix *m, const char *name)
{
    char text[MAX_NAME];
    if (snprintf(text, sizeof(text), "%.*s.%s", m->base_len, m->base, name) >= (int)sizeof(text))
        return NULL;
    struct checkpoint_tensor *found = checkpoint_find(m->checkpoint, text);
    if (found != NULL)
        m->used[found - m->checkpoint->tensors] = true;
    return found;
}

static int need(const struct quant_matrix *m, const char *name,
                struct checkpoint_tensor *ret_tensor)
{
    const struct checkpoint_tensor *found = quant_matrix_find(m, name);
    if (found == NULL)
        return error_set(m->err, -EINVAL, "tensor %.*s.%s is missing, wanted by its values",
                         m->base_len, m->base, name);
    *ret_tensor = *found;
    return 0;
}

static bool is_dtype(const struct checkpoint_tensor *tensor, const char *name)
{
    return strcmp(tensor->info->dtype->name, name) == 0;
}

/* [a][b] of a dtype; b 0: [a]. */
static int check_shape(const struct quant_matrix *m, const struct checkpoint_tensor *tensor,
                       const char *dtype, int64_t a, int64_t b)
{
    const struct safetensors_tensor *info = tensor->info;
    char found[160];
    if ((dtype == NULL || is_dtype(tensor, dtype)) && info->rank == (b > 0 ? 2 : 1) &&
        info->shape[0] == a && (b == 0 || info->shape[1] == b))
        return 0;
    tensor_place_describe(info, found, sizeof(found));
    return error_set(m->err, -EINVAL, "tensor %.120s is %s, wanted %s [%lld]%s%.0lld%s", info->name,
                     found, dtype != NULL ? dtype : "floats", (long long)a, b > 0 ? "[" : "",
                     (long long)b, b > 0 ? "]" : "");
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* The values' tensor: two sizes that can be counted. */
static int check_values(const struct quant_matrix *m, int64_t rows, int64_t cols)
{
    if (m->tensor->values.info->rank != MAX_RANK || rows < 1 || cols < 1 || rows > MAX_SIZE ||
        cols > MAX_SIZE)
        return quant_matrix_fail(m, -ENOTSUP,
                                 "its values are no matrix of sizes that are supported");
    m->tensor->rows = (int32_t)rows;
    m->tensor->cols = (int32_t)cols;
    return 0;
}

/* Floats that are kept as they are, or powers of two. */
static int check_scale_dtype(const struct quant_matrix *m)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } rows[] = {
        { "F32", DTYPE_F32 }, { "F16", DTYPE_F16 }, { "BF16", DTYPE_BF16 }, { "F8_E8M0", DTYPE_F32 }
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (is_dtype(&m->tensor->scales, rows[i].name)) {
            m->tensor->scale_dtype = rows[i].dtype;
            return 0;
        }
    return error_set(m->err, -ENOTSUP,
                     "tensor %.120s is %s, supported are F32, F16, BF16 and F8_E8M0",
                     m->tensor->scales.info->name, m->tensor->scales.info->dtype->name);
}

/* --- which weights share a scale ------------------------------------------------------------ */

/* Scales of a scheme are [rows / scale_rows][num_groups]. */
struct sharing {
    int32_t scale_rows, group_cols;
};

static struct sharing sharing_of(const struct quant_scheme *scheme, const struct quant_tensor *t)
{
    const int32_t group =
        scheme->block_cols > 0 && scheme->block_cols < t->cols ? scheme->block_cols : t->cols;
    switch (scheme->strategy) {
    case QUANT_TENSOR:
        return (struct sharing){ t->rows, t->cols };
    case QUANT_CHANNEL:
        return (struct sharing){ 1, t->cols };
    case QUANT_GROUP:
        return (struct sharing){ 1, group };
    case QUANT_BLOCK:
        return (struct sharing){ scheme->block_rows < t->rows ? scheme->block_rows : t->rows,
                                 group };
    }
    return (struct sharing){ 0, 0 };
}

/* A size of 1 behind, or in front of a single one, may be left out. */
static bool has_scales(const struct quant_tensor *t, struct sharing sharing)
{
    const struct safetensors_tensor *info = t->scales.info;
    const int64_t a = divide_up(t->rows, sharing.scale_rows);
    const int64_t b = divide_up(t->cols, sharing.group_cols);
    if (info->rank == 0)
        return a == 1 && b == 1;
    if (info->rank == 1)
        return b == 1 && info->shape[0] == a;
    return info->rank == 2 && info->shape[0] == a && info->shape[1] == b;
}

static void share(struct quant_tensor *t, struct sharing sharing)
{
    t->scale_rows = sharing.scale_rows;
    t->group_cols = sharing.group_cols;
    t->num_groups = (int32_t)divide_up(t->cols, sharing.group_cols);
}

/* What the scales' shape says, among the schemes of such values; if two say it, they say the same.
 */
static int choose_sharing(const struct quant_matrix *m)
{
    const struct config_quant *quant = m->quant;
    struct quant_tensor *t = m->tensor;
    const bool is_float = t->dtype == DTYPE_F8_E4M3, is_packed = t->packing == QUANT_IN_ORDER;
    struct sharing chosen = { 0, 0 };
    t->rounds_inputs = true;
    for (int32_t i = 0; i < quant->num_schemes; i++) {
        const struct quant_scheme *scheme = &quant->schemes[i];
        const struct sharing sharing = sharing_of(scheme, t);
        if (scheme->is_float != is_float || scheme->is_packed != is_packed ||
            scheme->bits != (t->dtype == DTYPE_I4 ? 4 : 8) || !has_scales(t, sharing))
            continue;
        if (chosen.scale_rows != 0 &&
            (chosen.scale_rows != sharing.scale_rows || chosen.group_cols != sharing.group_cols))
            return quant_matrix_fail(m, -ENOTSUP,
                                     "two of config_groups fit its scales with different meaning");
        chosen = sharing;
        t->rounds_inputs = t->rounds_inputs && scheme->rounds_inputs;
    }
    /* Of a tensor's own scale and one for each row the files say which, not the method. */
    const struct sharing rows = { 1, t->cols };
    const struct quant_scheme *first = &quant->schemes[0];
    if (chosen.scale_rows == 0 && quant->method != QUANT_COMPRESSED &&
        first->strategy != QUANT_BLOCK && has_scales(t, rows)) {
        chosen = rows;
        t->rounds_inputs = first->rounds_inputs;
    }
    if (chosen.scale_rows == 0) {
        char found[160];
        tensor_place_describe(t->scales.info, found, sizeof(found));
        return error_set(m->err, -EINVAL,
                         "tensor %.120s is %s, which quantization_config does not say of a matrix "
                         "of [%d][%d]",
                         t->scales.info->name, found, t->rows, t->cols);
    }
    share(t, chosen);
    return 0;
}

/* --- act-order ------------------------------------------------------------------------------ */

/* Each column's group, checked. A list that is -1 throughout says nothing. */
static int read_groups(const struct quant_matrix *m, const struct checkpoint_tensor *g_idx)
{
    struct quant_tensor *t = m->tensor;
    const size_t num = (size_t)t->cols;
    bool is_unset = true;
    int r = check_shape(m, g_idx, "I32", t->cols, 0);
    if (r < 0)
        return r;
    int32_t *groups = arena_alloc_array(&m->checkpoint->arena, num, sizeof(*groups));
    if (groups == NULL)
        return quant_matrix_fail(m, -ENOMEM, "no memory for its groups");
    r = safetensors_read(g_idx->file, g_idx->info, 0, groups, num * sizeof(*groups));
    if (r < 0)
        return error_set(m->err, r, "tensor %.160s cannot be read", g_idx->info->name);
    for (size_t k = 0; k < num; k++)
        is_unset = is_unset && groups[k] == -1;
    for (size_t k = 0; !is_unset && k < num; k++)
        if (groups[k] < 0 || groups[k] >= t->num_groups)
            return error_set(m->err, -EINVAL, "tensor %.120s has %d at %zu, wanted 0 to %d",
                             g_idx->info->name, groups[k], k, t->num_groups - 1);
    t->groups = is_unset ? NULL : groups;
    return 0;
}

/* --- the formats ---------------------------------------------------------------------------- */

/* "weight" of bytes with "weight_scale", or "weight_scale_inv", which is multiplied too. */
int quant_matrix_fold_bytes(const struct quant_matrix *m)
{
    struct quant_tensor *t = m->tensor;
    const struct safetensors_tensor *info = t->values.info;
    t->packing = QUANT_BYTES;
    t->per = 1;
    t->dtype = is_dtype(&t->values, "F8_E4M3") ? DTYPE_F8_E4M3 : DTYPE_I8;
    int r = check_values(m, info->shape[0], info->rank == 2 ? info->shape[1] : 0);
    if (r < 0)
        return r;
    const struct checkpoint_tensor *inverse = quant_matrix_find(m, "weight_scale_inv");
    if (inverse != NULL)
        t->scales = *inverse;
    else
        r = need(m, "weight_scale", &t->scales);
    if (r == 0)
        r = check_scale_dtype(m);
    if (r == 0)
        r = choose_sharing(m);
    const struct checkpoint_tensor *zeros = quant_matrix_find(m, "weight_zero_point");
    if (r < 0 || zeros == NULL)
        return r;
    t->zeros = *zeros;
    if (t->dtype == DTYPE_F8_E4M3) /* of symmetric weights: written by some, and of no meaning */
        t->zeros.info = NULL;
    else if (t->scale_rows != 1 || zeros->info->rank != 2)
        r = check_shape(m, zeros, "I8", 1, 0);
    else
        r = check_shape(m, zeros, "I8", t->rows, t->num_groups);
    return r;
}

/* AutoGPTQ: "qweight", "qzeros", "scales", "g_idx". */
int quant_matrix_fold_gptq(const struct quant_matrix *m)
{
    struct quant_tensor *t = m->tensor;
    const struct quant_scheme *scheme = &m->quant->schemes[0];
    const struct safetensors_tensor *info = t->values.info;
    t->packing = QUANT_BY_COLS;
    t->per = 32 / scheme->bits;
    t->dtype = scheme->bits == 4 ? DTYPE_I4 : DTYPE_I8;
    t->adds_one = m->quant->adds_one;
    t->is_offset = t->dtype == DTYPE_I8;
    t->scales_by_group = true;
    if (info->shape[0] > MAX_SIZE)
        return quant_matrix_fail(m, -ENOTSUP,
                                 "its values are no matrix of sizes that are supported");
    int r = check_values(m, info->rank == 2 ? info->shape[1] : 0, info->shape[0] * t->per);
    if (r < 0)
        return r;
    share(t, sharing_of(scheme, t));
    if (t->rows % t->per != 0 || t->cols % t->group_cols != 0)
        return error_set(m->err, -EINVAL,
                         "%.*s is [%d][%d], wanted multiples of %d rows and of the group's %d "
                         "columns",
                         m->base_len, m->base, t->rows, t->cols, t->per, t->group_cols);
    r = check_shape(m, &t->values, "I32", t->cols / t->per, t->rows);
    if (r == 0)
        r = need(m, "scales", &t->scales);
    if (r == 0)
        r = check_scale_dtype(m);
    if (r == 0)
        r = check_shape(m, &t->scales, NULL, t->num_groups, t->rows);
    if (r == 0)
        r = need(m, "qzeros", &t->zeros);
    if (r == 0)
        r = check_shape(m, &t->zeros, "I32", t->num_groups, t->rows / t->per);
    const struct checkpoint_tensor *g_idx = quant_matrix_find(m, "g_idx");
    if (r < 0 || !scheme->has_order || t->num_groups == 1)
        return r;
    if (g_idx == NULL)
        return quant_matrix_fail(m, -EINVAL, "g_idx is missing, wanted with desc_act");
    return read_groups(m, g_idx);
}

/* AutoAWQ's "gemm". */
int quant_matrix_fold_awq(const struct quant_matrix *m)
{
    struct quant_tensor *t = m->tensor;
    const struct safetensors_tensor *info = t->values.info;
    t->packing = QUANT_BY_ROWS;
    t->per = 8;
    t->dtype = DTYPE_I4;
    t->scales_by_group = true;
    if (info->shape[1] > MAX_SIZE)
        return quant_matrix_fail(m, -ENOTSUP,
                                 "its values are no matrix of sizes that are supported");
    int r = check_values(m, info->rank == 2 ? info->shape[1] * t->per : 0, info->shape[0]);
    if (r < 0)
        return r;
    share(t, sharing_of(&m->quant->schemes[0], t));
    if (t->cols % t->group_cols != 0)
        return error_set(m->err, -EINVAL,
                         "%.*s has %d columns, wanted a multiple of the group's %d", m->base_len,
                         m->base, t->cols, t->group_cols);
    r = check_shape(m, &t->values, "I32", t->cols, t->rows / t->per);
    if (r == 0)
        r = need(m, "scales", &t->scales);
    if (r == 0)
        r = check_scale_dtype(m);
    if (r == 0)
        r = check_shape(m, &t->scales, NULL, t->num_groups, t->rows);
    if (r == 0)
        r = need(m, "qzeros", &t->zeros);
    return r < 0 ? r : check_shape(m, &t->zeros, "I32", t->num_groups, t->rows / t->per);
}

/* The shape that a packed matrix has, in a tensor of its own. */
static int read_shape(const struct quant_matrix *m, const struct checkpoint_tensor *tensor,
                      int64_t shape[2])
{
    int32_t narrow[2];
    const bool is_wide = is_dtype(tensor, "I64");
    int r = check_shape(m, tensor, is_wide ? "I64" : "I32", 2, 0);
    if (r == 0)
        r = safetensors_read(tensor->file, tensor->info, 0, is_wide ? (void *)shape : narrow,
                             is_wide ? 2 * sizeof(shape[0]) : sizeof(narrow));
    for (int i = 0; r == 0 && !is_wide && i < 2; i++)
        shape[i] = narrow[i];
    return r;
}

/* Zeros are packed along rows, or not there. */
static int find_packed_zeros(const struct quant_matrix *m)
{
    struct quant_tensor *t = m->tensor;
    const struct checkpoint_tensor *zeros = quant_matrix_find(m, "weight_zero_point");
    if (zeros == NULL)
        return 0;
    t->zeros = *zeros;
    return check_shape(m, zeros, "I32", divide_up(t->rows, t->per), t->num_groups);
}

/* compressed-tensors: "weight_packed", "weight_scale", "weight_shape". */
int quant_matrix_fold_packed(const struct quant_matrix *m)
{
    struct quant_tensor *t = m->tensor;
    const struct safetensors_tensor *info = t->values.info;
    struct checkpoint_tensor shape_tensor = { 0 };
    int64_t shape[2] = { 0, 0 };
    int r = need(m, "weight_shape", &shape_tensor);
    if (r == 0)
        r = read_shape(m, &shape_tensor, shape);
    if (r == 0)
        r = check_values(m, shape[0], shape[1]);
    if (r < 0)
        return r;
    t->packing = QUANT_IN_ORDER;
    t->dtype = info->shape[1] == divide_up(t->cols, 8) ? DTYPE_I4 : DTYPE_I8;
    t->per = t->dtype == DTYPE_I4 ? 8 : 4;
    t->is_offset = t->dtype == DTYPE_I8;
    r = check_shape(m, &t->values, "I32", t->rows, divide_up(t->cols, t->per));
    if (r == 0)
        r = need(m, "weight_scale", &t->scales);
    if (r == 0)
        r = check_scale_dtype(m);
    if (r == 0)
        r = choose_sharing(m);
    if (r == 0)
        r = find_packed_zeros(m);
    const struct checkpoint_tensor *g_idx = quant_matrix_find(m, "weight_g_idx");
    return r < 0 || g_idx == NULL ? r : read_groups(m, g_idx);
}
