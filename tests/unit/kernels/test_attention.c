#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

enum { MAX_POSITIONS = 1100, MAX_BLOCKS = 400 };

struct model {
    int32_t num_heads, num_kv_heads, head_dim, block_size, rotary_dims;
    enum dtype dtype;
    int32_t window;
    float softcap;
    enum { NORM_NONE, NORM_RMS, NORM_LAYER, NORM_ALL_HEADS } norm;
};

/* Head sizes beside the vector widths, groups of 1 to 40 heads, odd and even pages; windows within
 * a block, across blocks, across spans and wider than all there is. */
static const struct model models[] = {
    { 8, 4, 32, 16, 32, DTYPE_F16 },
    { 3, 3, 64, 16, 64, DTYPE_F16 },
    { 6, 2, 80, 32, 40, DTYPE_F16 },
    { 40, 1, 16, 16, 16, DTYPE_F32 },
    { 2, 1, 128, 128, 128, DTYPE_F32 },
    { 4, 2, 6, 5, 6, DTYPE_F16 },
    { 2, 2, 96, 3, 2, DTYPE_F32 },
    { 4, 1, 256, 48, 256, DTYPE_F16 },
    { 4, 2, 64, 16, 64, DTYPE_F32, 1, 0.0f, NORM_RMS },
    { 8, 4, 80, 16, 32, DTYPE_F16, 20, 0.0f, NORM_LAYER },
    { 40, 1, 32, 16, 32, DTYPE_F32, 100, 2.0f, NORM_NONE },
    { 6, 3, 96, 5, 72, DTYPE_F32, 300, 0.0f, NORM_ALL_HEADS },
    { 4, 2, 256, 16, 256, DTYPE_F16, 64, 1.0f, NORM_RMS },
    { 3, 1, 128, 32, 96, DTYPE_F32, 5000, 50.0f, NORM_ALL_HEADS },
};

enum { NUM_MODELS = sizeof(models) / sizeof(models[0]) };

/* One sequence: its q, k, v before rotation, its pages, a pool. */
struct run {
    struct device *device;
    const struct model *model;
    struct rope_table rope;
    float *cosines, *sines, *qkv; /* qkv: [MAX_POSITIONS][...] */
    float *weights;               /* of norms: q, k, q bias, k bias: [num_heads head_dim] each */
    struct kv_pool *pool;
    int32_t blocks[MAX_BLOCKS];
    float scale;
};

static int32_t row_floats(const struct model *model)
{
    return (model->num_heads + 2 * model->num_kv_heads) * model->head_dim;
}

static void run_open(struct run *run, struct device *device, const struct model *model)
{
    const int32_t half = model->rotary_dims / 2;
    const size_t num_angles = (size_t)MAX_POSITIONS * (size_t)half;
    *run = (struct run){ .device = device, .model = model };
    run->cosines = malloc(num_angles * sizeof(float));
    run->sines = malloc(num_angles * sizeof(float));
    ck_assert(run->cosines && run->sines);
    for (size_t i = 0; i < num_angles; i++) {
        const double angle =
            (double)(i / (size_t)half) * pow(10000.0, -(double)(i % (size_t)half) / half);
        run->cosines[i] = (float)cos(angle);
        run->sines[i] = (float)sin(angle);
    }
    run->rope = (struct rope_table){ run->cosines, run->sines, model->rotary_dims, MAX_POSITIONS };
    run->scale = 2.0f / sqrtf((float)model->head_dim);

    const size_t num = (size_t)MAX_POSITIONS * (size_t)row_floats(model);
    run->qkv = malloc(num * sizeof(float));
    ck_assert_ptr_nonnull(run->qkv);
    fixture_fill(run->qkv, num);

    const size_t num_weights = 4 * (size_t)(model->num_heads * model->head_dim);
    run->weights = malloc(num_weights * sizeof(float));
    ck_assert_ptr_nonnull(run->weights);
    fixture_fill(run->weights, num_weights);

    const struct kv_layout layout = { 2, model->num_kv_heads, model->head_dim, model->block_size,
                                      model->dtype };
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &layout, MAX_BLOCKS, &run->pool, NULL), 0);
    for (int32_t i = 0; i < MAX_BLOCKS; i++)
        run->blocks[i] = (i * 7 + 3) % MAX_BLOCKS; /* 7 and 400 have no common factor */
}

static void run_close(struct run *run)
{
    fixture_backend->kv_free(run->pool);
    free(run->cosines);
    free(run->sines);
    free(run->qkv);
    free(run->weights);
}

static struct attention_form form_of(const struct run *run)
{
    return (struct attention_form){ run->scale, run->model->softcap, run->model->window };
}

/* squares: [rows][2] */
static struct qk_norm norm_of(const struct run *run, const float *squares)
{
    const struct model *m = run->model;
    const int32_t width = m->num_heads * m->head_dim;
    if (m->norm == NORM_NONE)
        return (struct qk_norm){ 0 };
    struct qk_norm norm = { .q = run->weights, .k = run->weights + width, .eps = 1e-5f };
    if (m->norm == NORM_LAYER) {
        norm.q_bias = run->weights + 2 * width;
        norm.k_bias = run->weights + 3 * width;
    } else if (m->norm == NORM_ALL_HEADS) {
        norm.squares = squares;
        norm.q_cols = width;
        norm.k_cols = m->num_kv_heads * m->head_dim;
    }
    return norm;
}

/* What makes qkv ready for attention, layer 1. */
static void record_rope(struct run *run, float *qkv, float *squares, const int32_t *positions,
                        const int64_t *slots, int32_t num)
{
    const struct model *m = run->model;
    const struct qk_norm norm = norm_of(run, squares);
    if (norm.squares)
        fixture_backend->qk_squares(run->device, squares, qkv, norm.q_cols, norm.k_cols, num);
    fixture_backend->rope_kv_write(run->device, qkv, norm.q ? &norm : NULL, &run->rope, positions,
                                   slots, run->pool, 1, m->num_heads, num);
}

/* Positions [from, to) in one step; out: [to - from][num_heads head_dim], layer 1. */
static void run_step(struct run *run, int32_t from, int32_t to, float *out)
{
    static int32_t positions[MAX_POSITIONS];
    static int64_t slots[MAX_POSITIONS];
    static float squares[2 * MAX_POSITIONS];
    const struct attention_form form = form_of(run);
    const struct model *model = run->model;
    const int32_t num = to - from;
    const size_t num_floats = (size_t)num * (size_t)row_floats(model);
    float *qkv = fixture_guarded(num_floats);
    const struct attention_seq seq = { 0, num, from, run->blocks };

    memcpy(qkv, run->qkv + (size_t)from * (size_t)row_floats(model), num_floats * sizeof(float));
    for (int32_t i = 0; i < num; i++) {
        const int32_t pos = from + i;
        positions[i] = pos;
        slots[i] = (int64_t)run->blocks[pos / model->block_size] * model->block_size +
                   pos % model->block_size;
    }
    fixture_backend->begin(run->device);
    record_rope(run, qkv, squares, positions, slots, num);
    fixture_backend->attention(run->device, out, qkv, run->pool, 1, model->num_heads, &form, &seq,
                               1, num);
    fixture_run(run->device);
    fixture_guarded_finish(qkv, num_floats);
}

/* Head `head` of a row after its norm: first all q heads, then all k heads. */
static void norm_expected(const struct run *run, int32_t pos, int32_t head, double *x)
{
    const struct model *m = run->model;
    const int32_t dim = m->head_dim, width = m->num_heads * dim;
    const bool is_key = head >= m->num_heads, all = m->norm == NORM_ALL_HEADS;
    const int32_t first_col = !all ? head * dim : is_key ? width : 0;
    const int32_t num = !all ? dim : is_key ? m->num_kv_heads * dim : width;
    const float *row = run->qkv + (size_t)pos * (size_t)row_floats(m);
    const float *w = run->weights + (is_key ? width : 0) + (all ? head * dim - first_col : 0);
    double mean = 0.0, squares = 0.0;
    for (int32_t i = 0; m->norm == NORM_LAYER && i < dim; i++)
        mean += x[i] / dim;
    for (int32_t i = 0; i < num; i++)
        squares += pow((double)row[first_col + i] - mean, 2.0);
    for (int32_t i = 0; i < dim; i++) {
        x[i] = (x[i] - mean) / sqrt(squares / num + 1e-5) * (double)w[i];
        x[i] += m->norm == NORM_LAYER ? (double)w[2 * width + i] : 0.0;
    }
}

/* Head `head` (of all in a row) of a position; q and k normed and rotated; rounded to what the
 * pool holds. */
static void expect_head(const struct run *run, int32_t pos, int32_t head, bool rotated,
                        bool rounded, double *out)
{
    const int32_t dim = run->model->head_dim, half = run->model->rotary_dims / 2;
    const float *x = run->qkv + (size_t)pos * (size_t)row_floats(run->model) + head * dim;

    for (int32_t d = 0; d < dim; d++)
        out[d] = (double)x[d];
    if (rotated && run->model->norm != NORM_NONE)
        norm_expected(run, pos, head, out);
    for (int32_t i = 0; rotated && i < half; i++) {
        const double c = (double)run->cosines[pos * half + i];
        const double s = (double)run->sines[pos * half + i];
        const double a = out[i], b = out[i + half];
        out[i] = a * c - b * s;
        out[i + half] = b * c + a * s;
    }
    for (int32_t d = 0; rounded && d < dim; d++)
        out[d] =
            fixture_decode(run->model->dtype, fixture_encode(run->model->dtype, (float)out[d]));
}

static double expect_score(const struct run *run, const double *q, int32_t head, int32_t pos)
{
    const double cap = (double)run->model->softcap;
    double k[256], score = 0.0;
    expect_head(run, pos, head, true, true, k);
    for (int32_t d = 0; d < run->model->head_dim; d++)
        score += q[d] * k[d];
    score *= (double)run->scale;
    return cap > 0.0 ? cap * tanh(score / cap) : score;
}

static void expect_attention(const struct run *run, int32_t pos, int32_t head, double *out)
{
    const struct model *model = run->model;
    const int32_t dim = model->head_dim;
    const int32_t kv = head / (model->num_heads / model->num_kv_heads);
    const int32_t low = model->window > 0 && pos >= model->window ? pos - model->window + 1 : 0;
    double q[256], x[256], *scores = malloc((size_t)(pos + 1) * sizeof(double));
    double max = -INFINITY, sum = 0.0;

    expect_head(run, pos, head, true, false, q);
    for (int32_t p = low; p <= pos; p++) {
        scores[p] = expect_score(run, q, model->num_heads + kv, p);
        max = fmax(max, scores[p]);
    }
    memset(out, 0, (size_t)dim * sizeof(double));
    for (int32_t p = low; p <= pos; p++) {
        const double weight = exp(scores[p] - max);
        expect_head(run, p, model->num_heads + model->num_kv_heads + kv, false, true, x);
        for (int32_t d = 0; d < dim; d++)
            out[d] += weight * x[d];
        sum += weight;
    }
    for (int32_t d = 0; d < dim; d++)
        out[d] /= sum;
    free(scores);
}

/* An f16 K may round to the other side when its float is one ulp off: a hundredth of 1 %. */
static double tolerance(enum dtype dtype)
{
    return dtype == DTYPE_F16 ? 1e-4 : 5e-6;
}

static void check_oracle(struct device *device)
{
    static const int32_t checked[] = { 0, 1, 15, 16, 62, 63, 64, 65, 130, 255, 256, 299 };
    enum { POSITIONS = 300 };

    for (int32_t m = 0; m < NUM_MODELS; m++) {
        struct run run;
        double wanted[256];
        run_open(&run, device, &models[m]);
        const int32_t row = models[m].num_heads * models[m].head_dim, dim = models[m].head_dim;
        float *out = fixture_guarded((size_t)(POSITIONS * row));
        run_step(&run, 0, POSITIONS, out);
        for (size_t i = 0; i < sizeof(checked) / sizeof(checked[0]); i++) {
            const int32_t head = (int32_t)i % models[m].num_heads;
            expect_attention(&run, checked[i], head, wanted);
            fixture_compare(fixture_backend->device_isa(device),
                            out + checked[i] * row + head * dim, wanted, (size_t)dim,
                            tolerance(models[m].dtype), 1e-5);
        }
        fixture_guarded_finish(out, (size_t)(POSITIONS * row));
        run_close(&run);
    }
}

START_TEST(attention_equals_softmax_in_double)
{
    fixture_each_device(check_oracle);
}
END_TEST

static void check_long_context(struct device *device)
{
    const struct model *model = &models[0];
    const int32_t row = model->num_heads * model->head_dim;
    struct run run;
    double wanted[256];
    run_open(&run, device, model);
    float *out = fixture_guarded((size_t)(MAX_POSITIONS * row));
    run_step(&run, 0, MAX_POSITIONS - 1, out);
    run_step(&run, MAX_POSITIONS - 1, MAX_POSITIONS, out);
    for (int32_t head = 0; head < model->num_heads; head++) {
        expect_attention(&run, MAX_POSITIONS - 1, head, wanted);
        fixture_compare("long", out + head * model->head_dim, wanted, (size_t)model->head_dim, 1e-4,
                        1e-5);
    }
    fixture_guarded_finish(out, (size_t)(MAX_POSITIONS * row));
    run_close(&run);
}

START_TEST(attention_combines_many_spans)
{
    fixture_each_device(check_long_context);
}
END_TEST

/* Law 1: the same bits in whatever chunks the positions came. */
static void check_chunks(struct device *device)
{
    static const int32_t chunks[] = { 1, 7, 16, 63, 64, 65, 256, 300 };
    enum { POSITIONS = 600 };

    const bool is_scalar = strcmp(fixture_backend->device_isa(device), "scalar") == 0;
    for (int32_t m = 0; m < NUM_MODELS; m++) {
        if (is_scalar && m != 0 && m != 5 && m != 9) /* it is slow */
            continue;
        struct run run;
        run_open(&run, device, &models[m]);
        const int32_t row = models[m].num_heads * models[m].head_dim;
        const size_t num = (size_t)(POSITIONS * row);
        float *whole = fixture_guarded(num), *out = fixture_guarded(num);
        run_step(&run, 0, POSITIONS, whole);
        for (size_t c = m % 4; c < sizeof(chunks) / sizeof(chunks[0]); c += 4) {
            for (int32_t from = 0; from < POSITIONS; from += chunks[c]) {
                const int32_t to = from + chunks[c] < POSITIONS ? from + chunks[c] : POSITIONS;
                run_step(&run, from, to, out + from * row);
            }
            ck_assert_msg(fixture_equal_bits(out, whole, num), "%s: model %d, chunks of %d",
                          fixture_backend->device_isa(device), m, chunks[c]);
        }
        fixture_guarded_finish(out, num);
        fixture_guarded_finish(whole, num);
        run_close(&run);
    }
}

START_TEST(attention_gives_the_same_bits_for_any_chunking)
{
    fixture_each_device(check_chunks);
}
END_TEST

START_TEST(attention_gives_the_same_bits_for_any_number_of_threads)
{
    enum { POSITIONS = 700 };
    const struct model *model = &models[2];
    const int32_t row = model->num_heads * model->head_dim;
    struct run run;
    float *outs[8];

    for (int i = 0; fixture_isas[i]; i++) {
        float *qkv = NULL;
        for (int32_t num_threads = 1; num_threads <= 8; num_threads++) {
            struct device *device = fixture_open(fixture_isas[i], num_threads);
            outs[num_threads - 1] = fixture_guarded((size_t)(POSITIONS * row));
            if (!device)
                continue;
            run_open(&run, device, model);
            const size_t num = (size_t)(POSITIONS * row_floats(model));
            if (!qkv) {
                qkv = malloc(num * sizeof(float));
                memcpy(qkv, run.qkv, num * sizeof(float));
            }
            memcpy(run.qkv, qkv, num * sizeof(float));
            run_step(&run, 0, POSITIONS - 1, outs[num_threads - 1]);
            run_step(&run, POSITIONS - 1, POSITIONS, outs[num_threads - 1] + (POSITIONS - 1) * row);
            run_close(&run);
            fixture_backend->device_close(device);
            ck_assert(
                fixture_equal_bits(outs[0], outs[num_threads - 1], (size_t)(POSITIONS * row)));
        }
        for (int32_t t = 0; t < 8; t++)
            fixture_guarded_finish(outs[t], (size_t)(POSITIONS * row));
        free(qkv);
    }
}
END_TEST

/* Sequences of different lengths in one batch: each has the bits it has alone. */
static void check_batch_of(struct device *device, const struct model *model)
{
    enum { NUM_SEQS = 3, POSITIONS = 80 };
    static const int32_t lengths[NUM_SEQS] = { 40, 1, 25 }, first[NUM_SEQS] = { 40, 70, 0 };
    const int32_t row = model->num_heads * model->head_dim, wide = row_floats(model);
    struct run run;
    run_open(&run, device, model);
    const struct attention_form form = form_of(&run);
    float squares[2 * 66];
    float *alone = fixture_guarded((size_t)(POSITIONS * row));
    float *out = fixture_guarded((size_t)(66 * row)), *qkv = fixture_guarded((size_t)(66 * wide));
    run_step(&run, 0, POSITIONS, alone);

    struct attention_seq seqs[NUM_SEQS];
    int32_t positions[66], num = 0;
    int64_t slots[66];
    for (int32_t s = 0; s < NUM_SEQS; s++) {
        seqs[s] = (struct attention_seq){ num, lengths[s], first[s], run.blocks };
        for (int32_t i = 0; i < lengths[s]; i++, num++) {
            positions[num] = first[s] + i;
            slots[num] = (int64_t)run.blocks[positions[num] / 16] * 16 + positions[num] % 16;
            ck_assert_int_eq(model->block_size, 16);
            memcpy(qkv + num * wide, run.qkv + positions[num] * wide, (size_t)wide * sizeof(float));
        }
    }
    fixture_backend->begin(device);
    record_rope(&run, qkv, squares, positions, slots, num);
    fixture_backend->attention(device, out, qkv, run.pool, 1, model->num_heads, &form, seqs,
                               NUM_SEQS, num);
    fixture_run(device);
    for (int32_t i = 0; i < num; i++)
        ck_assert(fixture_equal_bits(out + i * row, alone + positions[i] * row, (size_t)row));

    fixture_guarded_finish(qkv, (size_t)(66 * wide));
    fixture_guarded_finish(out, (size_t)(66 * row));
    fixture_guarded_finish(alone, (size_t)(POSITIONS * row));
    run_close(&run);
}

static void check_batch(struct device *device)
{
    static const int32_t chosen[] = { 0, 8, 9, 10, 12 };
    for (size_t i = 0; i < sizeof(chosen) / sizeof(chosen[0]); i++)
        check_batch_of(device, &models[chosen[i]]);
}

START_TEST(attention_gives_a_sequence_the_same_bits_alone_and_in_a_batch)
{
    fixture_each_device(check_batch);
}
END_TEST

/* Slots behind a row's position may hold anything, even what is no number. */
static void check_garbage(struct device *device)
{
    enum { POSITIONS = 20 };
    const struct model *model = &models[1];
    const int32_t row = model->num_heads * model->head_dim;
    struct run run;
    run_open(&run, device, model);
    float *clean = fixture_guarded((size_t)(POSITIONS * row));
    float *out = fixture_guarded((size_t)(70 * row));
    run_step(&run, 0, POSITIONS, clean);

    for (int32_t i = POSITIONS * row_floats(model); i < 70 * row_floats(model); i++)
        run.qkv[i] = i % 2 ? INFINITY : NAN;
    run_step(&run, 0, 70, out);
    ck_assert(fixture_equal_bits(out, clean, (size_t)(POSITIONS * row)));
    run_step(&run, 0, POSITIONS, out);
    ck_assert(fixture_equal_bits(out, clean, (size_t)(POSITIONS * row)));

    fixture_guarded_finish(out, (size_t)(70 * row));
    fixture_guarded_finish(clean, (size_t)(POSITIONS * row));
    run_close(&run);
}

START_TEST(attention_is_blind_to_what_lies_behind_a_row)
{
    fixture_each_device(check_garbage);
}
END_TEST

/* Nor to what lies before its window: those slots may hold anything, their blocks be gone. */
static void check_garbage_before(struct device *device)
{
    enum { POSITIONS = 420, FROM = 333 };
    const bool is_scalar = strcmp(fixture_backend->device_isa(device), "scalar") == 0;
    for (int32_t m = 0; m < NUM_MODELS; m += is_scalar ? 3 : 1) {
        const struct model *model = &models[m];
        const int32_t row = model->num_heads * model->head_dim;
        const int32_t first = FROM - model->window + 1;
        const size_t num = (size_t)((POSITIONS - FROM) * row);
        if (model->window == 0 || first <= 0)
            continue;
        struct run run;
        run_open(&run, device, model);
        float *clean = fixture_guarded(num), *out = fixture_guarded(num);
        float *before = fixture_guarded((size_t)(FROM * row));
        run_step(&run, 0, FROM, before);
        run_step(&run, FROM, POSITIONS, clean);

        for (int32_t i = 0; i < first * row_floats(model); i++)
            run.qkv[i] = i % 2 ? INFINITY : NAN;
        run_step(&run, 0, first, before);
        for (int32_t i = 0; i < first / model->block_size; i++)
            run.blocks[i] = -1;
        run_step(&run, FROM, POSITIONS, out);
        ck_assert_msg(fixture_equal_bits(out, clean, num), "model %d", m);

        fixture_guarded_finish(before, (size_t)(FROM * row));
        fixture_guarded_finish(out, num);
        fixture_guarded_finish(clean, num);
        run_close(&run);
    }
}

START_TEST(attention_is_blind_to_what_lies_before_a_window)
{
    fixture_each_device(check_garbage_before);
}
END_TEST

static void check_copy(struct device *device)
{
    enum { POSITIONS = 40 };
    static const int32_t to[] = { 390, 391, 392 };
    const struct model *model = &models[0];
    const int32_t row = model->num_heads * model->head_dim;
    struct run run;
    int32_t moved[3];
    run_open(&run, device, model);
    float *first = fixture_guarded((size_t)row), *out = fixture_guarded((size_t)(POSITIONS * row));
    run_step(&run, 0, POSITIONS, out);
    memcpy(first, out + (POSITIONS - 1) * row, (size_t)row * sizeof(float));

    memcpy(moved, run.blocks, sizeof(moved));
    fixture_backend->begin(device);
    fixture_backend->copy_blocks(device, run.pool, moved, to, 3);
    fixture_run(device);
    memcpy(run.blocks, to, sizeof(to));
    run_step(&run, POSITIONS - 1, POSITIONS, out);
    ck_assert(fixture_equal_bits(out, first, (size_t)row));

    fixture_guarded_finish(out, (size_t)(POSITIONS * row));
    fixture_guarded_finish(first, (size_t)row);
    run_close(&run);
}

START_TEST(copy_blocks_moves_a_sequence_to_other_pages)
{
    fixture_each_device(check_copy);
}
END_TEST

START_TEST(kv_alloc_refuses_what_it_cannot_hold)
{
    struct device *device = fixture_open("scalar", 1);
    struct kv_pool *pool = NULL;
    struct error err = { 0 };
    const struct kv_layout empty = { 0, 1, 64, 16, DTYPE_F16 };
    const struct kv_layout bf16 = { 1, 1, 64, 16, DTYPE_BF16 };
    const struct kv_layout huge = { 1 << 20, 1 << 20, 512, 1 << 20, DTYPE_F32 };
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &empty, 4, &pool, &err), -22);
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &bf16, 4, &pool, &err), -95);
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &huge, 1 << 30, &pool, &err), -12);
    ck_assert_ptr_null(pool);
    fixture_backend->device_close(device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attention");
    TCase *tests = tcase_create("attention");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, attention_equals_softmax_in_double);
    tcase_add_test(tests, attention_combines_many_spans);
    tcase_add_test(tests, attention_gives_the_same_bits_for_any_chunking);
    tcase_add_test(tests, attention_gives_the_same_bits_for_any_number_of_threads);
    tcase_add_test(tests, attention_gives_a_sequence_the_same_bits_alone_and_in_a_batch);
    tcase_add_test(tests, attention_is_blind_to_what_lies_behind_a_row);
    tcase_add_test(tests, attention_is_blind_to_what_lies_before_a_window);
    tcase_add_test(tests, copy_blocks_moves_a_sequence_to_other_pages);
    tcase_add_test(tests, kv_alloc_refuses_what_it_cannot_hold);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
