/*
 * What the emulator has in place of cuBLASLt: right products, and the refusals of NVIDIA's
 * documentation, one wish at a time. A module that asks for what is refused here would be refused
 * by the library, and one whose mistakes are not refused here is not tested.
 */
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/e4m3.h"
#include "kernels/cuda/lt_api.h"
#include "tests/gpu/emulator/queue.h"
#include "tests/unit/runner.h"

enum { M = 144, N = 12, K = 272, RUNS = 3, RUNS_4 = 4, WORKSPACE = 32 << 20 };

/* A product in the words of the library, and what is wrong with it. */
struct wish {
    int32_t compute, scale_type, type_a, type_b, type_d;
    int32_t transform_a, transform_b, scaling_a, scaling_b, fast;
    int32_t m, n, k, stride_a, stride_b, stride_d;
    int32_t workspace;
    int32_t scales_off, buffers_off; /* bytes beside what is aligned */
    int32_t no_scales_a, no_scales_b, other_algorithm;
};

static const struct wish blocks = { .compute = LT_COMPUTE_F32,
                                    .scale_type = LT_F32,
                                    .type_a = LT_E4M3,
                                    .type_b = LT_E4M3,
                                    .type_d = LT_F32,
                                    .transform_a = LT_TURNED,
                                    .transform_b = LT_PLAIN,
                                    .scaling_a = LT_SCALING_BLOCKS,
                                    .scaling_b = LT_SCALING_RUNS,
                                    .m = M,
                                    .n = N,
                                    .k = K,
                                    .stride_a = K + 16,
                                    .stride_b = K,
                                    .stride_d = M + 4,
                                    .workspace = WORKSPACE };

static struct lt_api api;
static unsigned char a[M * (K + 16) + 512], b[N * K + 512];
static float scales_a[M * RUNS_4 + 8], scales_b[N * RUNS_4 + 8], out[N * (M + 4) + 128];

static void call(struct queue *queue, void (*function)(const void *), const void *args,
                 size_t bytes)
{
    (void)queue;
    (void)bytes;
    function(args);
}

static void *aligned(void *memory, uintptr_t bytes)
{
    return (void *)(((uintptr_t)memory + bytes - 1) / bytes * bytes);
}

static void fill(unsigned char *codes, size_t num)
{
    for (size_t i = 0; i < num; i++)
        codes[i] = (unsigned char)(rand() % 0x7f | (rand() & 128));
}

static void fill_floats(float *values, size_t num)
{
    for (size_t i = 0; i < num; i++)
        values[i] = (float)(1 + rand() % 1000) / 1024.0f;
}

static bool set(void *operation, int attribute, int32_t value)
{
    return api.operation_set(operation, attribute, &value, sizeof(value)) == LT_SUCCESS;
}

static bool describe(void *operation, const struct wish *w)
{
    const int8_t fast = (int8_t)w->fast;
    const void *of_a = w->no_scales_a ? NULL : (char *)aligned(scales_a, 16) + w->scales_off;
    const void *of_b = w->no_scales_b ? NULL : aligned(scales_b, 16);
    return set(operation, LT_TRANSFORM_A, w->transform_a) &&
           set(operation, LT_TRANSFORM_B, w->transform_b) &&
           set(operation, LT_SCALING_A, w->scaling_a) &&
           set(operation, LT_SCALING_B, w->scaling_b) &&
           api.operation_set(operation, LT_FAST_ACCUMULATION, &fast, 1) == LT_SUCCESS &&
           api.operation_set(operation, LT_SCALES_A, &of_a, sizeof(of_a)) == LT_SUCCESS &&
           api.operation_set(operation, LT_SCALES_B, &of_b, sizeof(of_b)) == LT_SUCCESS;
}

/* Asks for an algorithm and multiplies. */
static bool is_granted(const struct wish *w)
{
    struct queue queue = { .call = call };
    void *handle, *operation = NULL, *of_a, *of_b, *of_d, *preference;
    const uint64_t bytes = (uint64_t)w->workspace;
    const bool turned = w->transform_a == LT_TURNED;
    const float one = 1.0f, zero = 0.0f;
    struct lt_choice choice;
    int num = 0;
    ck_assert_int_eq(api.create(&handle), LT_SUCCESS);
    if (api.operation_create(&operation, w->compute, w->scale_type) != LT_SUCCESS) {
        api.destroy(handle);
        return false;
    }
    api.layout_create(&of_a, w->type_a, (uint64_t)(turned ? w->k : w->m),
                      (uint64_t)(turned ? w->m : w->k), w->stride_a);
    api.layout_create(&of_b, w->type_b, (uint64_t)w->k, (uint64_t)w->n, w->stride_b);
    api.layout_create(&of_d, w->type_d, (uint64_t)w->m, (uint64_t)w->n, w->stride_d);
    api.preference_create(&preference);
    api.preference_set(preference, LT_WORKSPACE_BYTES, &bytes, sizeof(bytes));
    void *space = aligned_alloc(256, WORKSPACE);
    bool granted = describe(operation, w) &&
                   api.choose(handle, operation, of_a, of_b, of_d, of_d, preference, 1, &choice,
                              &num) == LT_SUCCESS &&
                   num == 1;
    if (granted && w->other_algorithm)
        choice.algorithm.data[3] += 16; /* of another shape */
    granted = granted &&
              api.multiply(handle, operation, &one, (char *)aligned(a, 256) + w->buffers_off, of_a,
                           aligned(b, 256), of_b, &zero, aligned(out, 256), of_d, aligned(out, 256),
                           of_d, &choice.algorithm, space, WORKSPACE, &queue) == LT_SUCCESS;
    free(space);
    api.operation_destroy(operation);
    api.layout_destroy(of_a);
    api.layout_destroy(of_b);
    api.layout_destroy(of_d);
    api.preference_destroy(preference);
    api.destroy(handle);
    return granted;
}

static void prepare(void)
{
    struct error err;
    srand(7);
    ck_assert_int_eq(lt_api_open("", &api, &err), 1);
    fill(a, sizeof(a));
    fill(b, sizeof(b));
    fill_floats(scales_a, sizeof(scales_a) / sizeof(scales_a[0]));
    fill_floats(scales_b, sizeof(scales_b) / sizeof(scales_b[0]));
}

/* Scales as the documentation lays them out, of a row and a run. */
static double scale_of(int32_t scaling, const float *scales, int32_t rows, int32_t row, int32_t k)
{
    if (scaling == LT_SCALING_ROWS)
        return (double)scales[row];
    return (double)(scaling == LT_SCALING_RUNS ? scales[k / 128 * rows + row]
                                               : scales[row / 128 * RUNS_4 + k / 128]);
}

static void check_product(const struct wish *w)
{
    const unsigned char *codes_a = aligned(a, 256), *codes_b = aligned(b, 256);
    const float *of_a = aligned(scales_a, 16), *of_b = aligned(scales_b, 16);
    const float *got = aligned(out, 256);
    ck_assert(is_granted(w));
    for (int32_t j = 0; j < N; j++)
        for (int32_t i = 0; i < M; i++) {
            double sum = 0.0, size = 0.0;
            for (int32_t k = 0; k < K; k++) {
                const double term = (double)e4m3_decode(codes_a[i * w->stride_a + k]) *
                                    (double)e4m3_decode(codes_b[j * w->stride_b + k]) *
                                    scale_of(w->scaling_a, of_a, M, i, k) *
                                    scale_of(w->scaling_b, of_b, N, j, k);
                sum += term;
                size += fabs(term);
            }
            ck_assert_double_le(fabs((double)got[j * w->stride_d + i] - sum), 1e-5 * size);
        }
}

START_TEST(products_are_sums_of_codes_with_their_scales)
{
    static const int32_t pairs[][2] = { { LT_SCALING_ROWS, LT_SCALING_ROWS },
                                        { LT_SCALING_RUNS, LT_SCALING_RUNS },
                                        { LT_SCALING_BLOCKS, LT_SCALING_RUNS } };
    prepare();
    for (size_t i = 0; i < 3; i++) {
        struct wish w = blocks;
        w.scaling_a = pairs[i][0];
        w.scaling_b = pairs[i][1];
        check_product(&w);
    }
}
END_TEST

#define WRONG(field, value) offsetof(struct wish, field), value

static const struct {
    size_t field;
    int32_t value;
    bool by_rows_too; /* refused there as well */
} wrong[] = {
    { WRONG(compute, 70), true },
    { WRONG(scale_type, LT_F16), true },
    { WRONG(type_b, LT_BF16), true },
    { WRONG(type_d, LT_E4M3), true },
    { WRONG(transform_a, LT_PLAIN), true },
    { WRONG(transform_b, LT_TURNED), true },
    { WRONG(scaling_a, LT_SCALING_TENSOR), true },
    { WRONG(scaling_b, LT_SCALING_BLOCKS),
      true }, /* blocks of both: of neither Hopper nor others */
    { WRONG(scaling_b, LT_SCALING_TENSOR), true },
    { WRONG(fast, 1), true },
    { WRONG(m, M - 2), true },
    { WRONG(n, N - 1), false }, /* of runs alone */
    { WRONG(k, K - 8), true },
    { WRONG(stride_a, K + 8), true },
    { WRONG(stride_a, K - 16), true },
    { WRONG(stride_b, K + 8), true },
    { WRONG(stride_d, M + 2), true },
    { WRONG(workspace, 0), true },
    { WRONG(scales_off, 4), true },
    { WRONG(buffers_off, 16), true },
    { WRONG(no_scales_a, 1), true },
    { WRONG(no_scales_b, 1), true },
    { WRONG(other_algorithm, 1), true },
};
enum { NUM_WRONG = sizeof(wrong) / sizeof(wrong[0]) };

START_TEST(what_the_library_refuses_is_refused)
{
    prepare();
    for (int i = 0; i < NUM_WRONG; i++)
        for (int by_rows = 0; by_rows < 2; by_rows++) {
            struct wish w = blocks;
            if (by_rows)
                w.scaling_a = w.scaling_b = LT_SCALING_ROWS;
            ck_assert(is_granted(&w));
            memcpy((char *)&w + wrong[i].field, &wrong[i].value, sizeof(int32_t));
            ck_assert_msg(is_granted(&w) == (by_rows && !wrong[i].by_rows_too),
                          "wish %d, %s, value %d", i, by_rows ? "rows" : "blocks", wrong[i].value);
        }
}
END_TEST

START_TEST(scalings_are_of_a_later_version)
{
    prepare();
    setenv("TOKENRING_EMULATED_LT", "120800", 1);
    ck_assert_int_eq(api.version(), 120800);
    ck_assert(!is_granted(&blocks));
    unsetenv("TOKENRING_EMULATED_LT");
    ck_assert(is_granted(&blocks));
}
END_TEST

RUN_SUITE("gpu_lt", products_are_sums_of_codes_with_their_scales,
          what_the_library_refuses_is_refused, scalings_are_of_a_later_version)
