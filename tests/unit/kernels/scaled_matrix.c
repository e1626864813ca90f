#include "scaled_matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct scaled_form_case scaled_forms[NUM_SCALED_FORMS] = {
    { DTYPE_F8_E4M3, DTYPE_F32, false, false, 1 << 20, 0 },
    { DTYPE_F8_E4M3, DTYPE_F32, false, false, 128, 0 },
    { DTYPE_F8_E4M3, DTYPE_BF16, false, false, 128, 77 },
    { DTYPE_I8, DTYPE_F16, true, false, 64, 0 },
    { DTYPE_I8, DTYPE_BF16, false, false, 1 << 20, 0 },
    { DTYPE_I4, DTYPE_F16, false, false, 128, 0 },
    { DTYPE_I4, DTYPE_F16, true, false, 32, 12 },
    { DTYPE_I4, DTYPE_BF16, true, false, 128, 64 },
    { DTYPE_I4, DTYPE_F32, false, false, 1 << 20, 0 },
    { DTYPE_I4, DTYPE_F16, true, true, 64, 0 },
    { DTYPE_I4, DTYPE_F32, false, true, 32, 0 },
};

double scaled_matrix_e4m3(unsigned char code)
{
    const int e = code >> 3 & 15, m = code & 7;
    const double magnitude = (code & 0x7f) == 0x7f ? (double)NAN
                             : e == 0              ? ldexp(m, -9)
                                                   : ldexp(1.0 + m / 8.0, e - 7);
    return code & 0x80 ? -magnitude : magnitude;
}

static void make_groups(struct scaled_matrix *m, const struct scaled_form_case *form)
{
    const int32_t cols = m->object.cols;
    const int32_t num = (form->skip + cols - 1) / form->group + 1;
    m->groups = malloc((size_t)cols * sizeof(*m->groups));
    ck_assert_ptr_nonnull(m->groups);
    for (int32_t k = 0; k < cols; k++)
        m->groups[k] = form->is_mixed && k >= num ? fixture_random_below(num)
                       : form->is_mixed           ? num - 1 - k
                                                  : (form->skip + k) / form->group;
    m->object.scaling.groups = m->groups;
    m->object.scaling.num_groups = num;
}

static unsigned char random_q(enum dtype dtype)
{
    const int32_t q = fixture_random_below(256);
    if (dtype == DTYPE_F8_E4M3 && (q & 0x7f) == 0x7f)
        return 0x7e;
    return (unsigned char)(dtype == DTYPE_I4 ? q & 15 : q);
}

/* A scale that is kept exactly. */
static float random_scale(const struct scaled_form_case *form)
{
    const float wide = form->dtype == DTYPE_I4 ? 32.0f : form->dtype == DTYPE_I8 ? 512.0f : 1024.0f;
    return (float)fixture_decode(form->scales,
                                 fixture_encode(form->scales, fixture_random() / wide));
}

static double value_of(const struct scaled_form_case *form, unsigned char q, int32_t zero,
                       float scale)
{
    if (form->dtype == DTYPE_F8_E4M3)
        return scaled_matrix_e4m3(q) * (double)scale;
    return (double)((form->dtype == DTYPE_I8 ? (int8_t)q : q) - zero) * (double)scale;
}

static void make_row(struct scaled_matrix *m, const struct scaled_form_case *form, int32_t row)
{
    const int32_t cols = m->object.cols, num = m->object.scaling.num_groups;
    unsigned char *q = m->rows + (size_t)row * m->row_bytes, *scales = q + cols;
    unsigned char *zeros = scales + 4 * num;
    for (int32_t g = 0; g < num; g++) {
        const float scale = random_scale(form);
        memcpy(scales + 4 * g, &scale, 4);
        if (form->has_zeros)
            zeros[g] = random_q(form->dtype);
    }
    for (int32_t k = 0; k < cols; k++) {
        const int32_t g = m->groups[k];
        float scale;
        q[k] = random_q(form->dtype);
        memcpy(&scale, scales + 4 * g, 4);
        const int32_t zero = !form->has_zeros          ? (form->dtype == DTYPE_I4 ? 8 : 0)
                             : form->dtype == DTYPE_I8 ? (int8_t)zeros[g]
                                                       : zeros[g];
        m->values[(size_t)row * (size_t)cols + (size_t)k] = value_of(form, q[k], zero, scale);
    }
}

struct scaled_matrix scaled_matrix_make(const struct scaled_form_case *form, int32_t rows,
                                        int32_t cols)
{
    struct scaled_matrix m = { .object = { .dtype = form->dtype,
                                           .rows = rows,
                                           .cols = cols,
                                           .scaling = { .scales = form->scales,
                                                        .has_zeros = form->has_zeros } } };
    make_groups(&m, form);
    m.row_bytes = scaling_row_bytes(&m.object.scaling, cols);
    m.rows = malloc((size_t)rows * m.row_bytes);
    m.values = malloc((size_t)rows * (size_t)cols * sizeof(double));
    ck_assert(m.rows != NULL && m.values != NULL);
    for (int32_t r = 0; r < rows; r++)
        make_row(&m, form, r);
    return m;
}

void scaled_matrix_load(struct device *device, struct scaled_matrix *m)
{
    const struct store_key key = { .identity = 1, .num_ranks = 1 };
    const int32_t rows = m->object.rows, cut = rows / 3;
    struct error err = { 0 };
    ck_assert_msg(fixture_backend->store_create(device, &key, &m->object, 1, &m->store, &err) == 0,
                  "%s", err.message);
    m->weight = fixture_backend->store_weight(m->store, 0);
    unsigned char *odd = malloc((size_t)rows * m->row_bytes + 1);
    ck_assert_ptr_nonnull(odd);
    memcpy(odd + 1, m->rows, (size_t)rows * m->row_bytes);
    fixture_backend->weight_load(m->weight, cut, rows - cut, odd + 1 + (size_t)cut * m->row_bytes);
    fixture_backend->weight_load(m->weight, 0, cut, odd + 1);
    free(odd);
}

void scaled_matrix_unload(struct scaled_matrix *m)
{
    fixture_backend->store_close(m->store);
    m->store = NULL;
}

void scaled_matrix_finish(struct scaled_matrix *m)
{
    if (m->store != NULL)
        scaled_matrix_unload(m);
    free(m->groups);
    free(m->rows);
    free(m->values);
}

void scaled_matrix_multiply(struct device *device, float *out, const struct weight *weight,
                            const float *bias, const float *x, int32_t rows)
{
    fixture_backend->begin(device);
    fixture_backend->linear(device, out, weight, bias, x, rows);
    fixture_run(device);
}
