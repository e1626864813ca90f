/*
 * Weights with scales: each code and extreme of the formats, lookups, and what stores make of them.
 */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "scaled_matrix.h"

/* Every code of E4M3 by every sign of scale, none lost; a NaN spoils its row alone. */
static void check_codes(struct device *device)
{
    enum { N = 40, K = 256 };
    static const float scales[] = { 1.0f, -0.5f, 0.0f, 0x1p-149f, 0x1p-120f, 0x1p+100f };
    const struct scaled_form_case form = { DTYPE_F8_E4M3, DTYPE_F32, false, false, 1 << 20, 0 };
    struct scaled_matrix m = scaled_matrix_make(&form, N, K);
    float x[K], out[N];
    for (int32_t n = 0; n < N; n++) {
        unsigned char *row = m.rows + (size_t)n * m.row_bytes;
        for (int32_t k = 0; k < K; k++)
            row[k] = (k & 0x7f) == 0x7f && n % 7 != 6 ? 0 : (unsigned char)k;
        memcpy(row + K, &scales[n % 6], 4);
    }
    scaled_matrix_load(device, &m);
    for (int32_t k = 0; k < K; k++) {
        memset(x, 0, sizeof(x));
        x[k] = 1.0f;
        scaled_matrix_multiply(device, out, m.weight, NULL, x, 1);
        for (int32_t n = 0; n < N; n++) {
            const unsigned char code = (k & 0x7f) == 0x7f ? 0 : (unsigned char)k;
            const float wanted = (float)(scaled_matrix_e4m3(code) * (double)scales[n % 6]);
            if (n % 7 == 6)
                ck_assert(isnan(out[n]));
            else
                ck_assert_msg(out[n] == wanted, "code %d, row %d: %g, wanted %g", k, n,
                              (double)out[n], (double)wanted);
        }
    }
    scaled_matrix_finish(&m);
}

START_TEST(every_code_of_e4m3_is_exact_and_nan_stays_nan)
{
    fixture_each_device(check_codes);
}
END_TEST

/* Scales that are zero, subnormal, largest, negative, infinite or NaN; q and zeros at both ends. */
static void check_extremes(struct device *device)
{
    enum { N = 36, K = 64 };
    static const uint32_t scales[] = { 0x0000, 0x0001, 0x83ff, 0x7bff, 0xc500, 0x7c00, 0x7e00 };
    static const unsigned char ends[] = { 0, 15, 7, 8, 0x80, 0x7f, 0xff };
    static const enum dtype dtypes[] = { DTYPE_I4, DTYPE_I8 };
    float x[2 * K], out[2 * N];
    for (int i = 0; i < 2 * K; i++)
        x[i] = i < K ? 1.0f : i % 2 ? -3.0f : 2.0f;
    for (int d = 0; d < 2; d++) {
        const struct scaled_form_case form = { dtypes[d], DTYPE_F16, true, false, 1 << 20, 0 };
        const unsigned char mask = d == 0 ? 15 : 255;
        struct scaled_matrix m = scaled_matrix_make(&form, N, K);
        for (int32_t n = 0; n < N; n++) {
            unsigned char *row = m.rows + (size_t)n * m.row_bytes;
            const float scale = (float)fixture_decode(DTYPE_F16, scales[n % 7]);
            memset(row, ends[n / 7 % 7] & mask, K);
            memcpy(row + K, &scale, 4);
            row[K + 4] = ends[n % 5] & mask;
        }
        scaled_matrix_load(device, &m);
        scaled_matrix_multiply(device, out, m.weight, NULL, x, 2);
        for (int32_t n = 0; n < 2 * N; n++) {
            const unsigned char *row = m.rows + (size_t)(n % N) * m.row_bytes;
            const double scale = fixture_decode(DTYPE_F16, scales[n % N % 7]);
            const double q = d == 0 ? row[0] : (int8_t)row[0];
            const double zero = d == 0 ? row[K + 4] : (int8_t)row[K + 4];
            const double wanted = (n < N ? K : -K / 2) * scale * (q - zero);
            if (!isfinite(scale))
                ck_assert(!isfinite(out[n]));
            else
                ck_assert_double_le(fabs((double)out[n] - wanted),
                                    1e-6 * 3 * K * fabs(scale * 255));
        }
        scaled_matrix_finish(&m);
    }
}

START_TEST(extreme_groups_are_computed_like_others)
{
    fixture_each_device(check_extremes);
}
END_TEST

static void check_embed(struct device *device)
{
    enum { VOCAB = 77, HIDDEN = 600, NUM = 6 };
    const int32_t ids[NUM] = { 0, 76, 31, 32, 33, 0 };
    static float out[NUM * HIDDEN];
    for (int f = 0; f < NUM_SCALED_FORMS; f++) {
        struct scaled_matrix m = scaled_matrix_make(&scaled_forms[f], VOCAB, HIDDEN);
        scaled_matrix_load(device, &m);
        fixture_backend->begin(device);
        fixture_backend->embed(device, out, m.weight, 1.0f, ids, NUM);
        fixture_run(device);
        for (int i = 0; i < NUM * HIDDEN; i++)
            ck_assert(out[i] == (float)m.values[ids[i / HIDDEN] * HIDDEN + i % HIDDEN]);
        scaled_matrix_finish(&m);
    }
}

START_TEST(embed_reads_what_weights_mean)
{
    fixture_each_device(check_embed);
}
END_TEST

START_TEST(memory_is_little_more_than_quants_and_scales)
{
    struct device *device = fixture_open("scalar", 1);
    struct scaled_matrix m =
        scaled_matrix_make(&scaled_forms[6], 33, 244); /* two panels; 20 + 7 groups of 32 */
    scaled_matrix_load(device, &m);
    ck_assert_int_eq(m.object.scaling.num_groups, 8);
    ck_assert_uint_eq(scaling_panel_bytes(&m.object), 32 * (8 * 3 + (24 + 7 * 32) / 2));
    ck_assert_uint_eq(fixture_backend->weight_bytes(m.weight), 2 * scaling_panel_bytes(&m.object));
    scaled_matrix_finish(&m);
    fixture_backend->device_close(device);
}
END_TEST

START_TEST(groups_that_are_none_are_refused)
{
    const struct store_key key = { .identity = 1, .num_ranks = 1 };
    static const int32_t below[] = { 0, -1, 1 }, beyond[] = { 0, 2, 1 }, empty[] = { 0, 0, 0 };
    const int32_t *const lists[] = { below, beyond, empty, NULL };
    struct device *device = fixture_open("scalar", 1);
    struct weight_store *store = NULL;
    struct error err;
    for (int i = 0; i < 4; i++) {
        const struct store_object object = {
            .dtype = DTYPE_I4, .rows = 4, .cols = 3, .scaling = { DTYPE_F16, false, 2, lists[i] }
        };
        ck_assert_int_eq(fixture_backend->store_create(device, &key, &object, 1, &store, &err),
                         -EINVAL);
    }
    fixture_backend->device_close(device);
}
END_TEST

START_TEST(who_attaches_has_the_same_groups_or_is_refused)
{
    const struct store_key key = { .identity = 1, .num_ranks = 1 };
    struct device *device = fixture_open("scalar", 1);
    struct scaled_matrix m = scaled_matrix_make(&scaled_forms[9], 40, 256);
    struct weight_store *other = NULL;
    struct error err;
    float x[256], before[40], after[40];
    int fd = -1;
    fixture_fill(x, 256);
    scaled_matrix_load(device, &m);
    scaled_matrix_multiply(device, before, m.weight, NULL, x, 1);
    ck_assert_int_eq(fixture_backend->store_seal(m.store, &fd, &err), 0);
    ck_assert_int_eq(fixture_backend->store_attach(device, &key, &m.object, 1, fd, &other, &err),
                     0);
    scaled_matrix_multiply(device, after, fixture_backend->store_weight(other, 0), NULL, x, 1);
    ck_assert_mem_eq(before, after, sizeof(before));
    fixture_backend->store_close(other);
    int32_t swap = 1;
    while (m.groups[swap] == m.groups[0])
        swap++;
    m.groups[0] = m.groups[swap];
    m.groups[swap] = (m.groups[0] + 1) % m.object.scaling.num_groups;
    ck_assert_int_eq(fixture_backend->store_attach(device, &key, &m.object, 1, fd, &other, &err),
                     -EPROTO);
    close(fd);
    scaled_matrix_finish(&m);
    fixture_backend->device_close(device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scaled_values");
    TCase *tests = tcase_create("scaled_values");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, every_code_of_e4m3_is_exact_and_nan_stays_nan);
    tcase_add_test(tests, extreme_groups_are_computed_like_others);
    tcase_add_test(tests, embed_reads_what_weights_mean);
    tcase_add_test(tests, memory_is_little_more_than_quants_and_scales);
    tcase_add_test(tests, groups_that_are_none_are_refused);
    tcase_add_test(tests, who_attaches_has_the_same_groups_or_is_refused);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
