#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_rig.h"

/* Head sizes beside the vector widths, groups of 1 to 40 heads, odd and even pages, every type of
 * these; windows within a block, across blocks, across spans and wider than all there is. */
const struct attention_model attention_models[NUM_ATTENTION_MODELS] = {
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
    { 8, 4, 32, 16, 0, DTYPE_BF16 },
    { 3, 3, 64, 16, 0, DTYPE_F8_E4M3 },
    { 8, 4, 32, 16, 0, DTYPE_Q8_0 },
    { 6, 2, 80, 32, 40, DTYPE_Q8_0, 20, 0.0f, NORM_LAYER },
    { 5, 1, 6, 5, 0, DTYPE_Q8_0, 70, 0.0f, NORM_NONE },
    { 2, 2, 96, 3, 0, DTYPE_F8_E4M3, 0, 2.0f, NORM_NONE },
    { 4, 1, 256, 48, 256, DTYPE_F8_E4M3, 300, 0.0f, NORM_RMS },
    { 7, 1, 112, 16, 112, DTYPE_BF16, 33, 0.0f, NORM_RMS },
    { 18, 2, 48, 16, 0, DTYPE_Q8_0 },
    { 12, 4, 40, 8, 0, DTYPE_F16 },
};

int32_t attention_rig_row(const struct attention_model *model)
{
    return (model->num_heads + 2 * model->num_kv_heads) * model->head_dim;
}

void attention_rig_open(struct attention_rig *run, struct device *device,
                        const struct attention_model *model)
{
    const int32_t half = model->rotary_dims / 2;
    const size_t num_angles = (size_t)ATTENTION_POSITIONS * (size_t)half;
    *run = (struct attention_rig){ .device = device, .model = model };
    run->cosines = malloc(num_angles * sizeof(float));
    run->sines = malloc(num_angles * sizeof(float));
    ck_assert(run->cosines && run->sines);
    for (size_t i = 0; i < num_angles; i++) {
        const double angle =
            (double)(i / (size_t)half) * pow(10000.0, -(double)(i % (size_t)half) / half);
        run->cosines[i] = (float)cos(angle);
        run->sines[i] = (float)sin(angle);
    }
    run->rope =
        (struct rope_table){ run->cosines, run->sines, model->rotary_dims, ATTENTION_POSITIONS };
    run->scale = 2.0f / sqrtf((float)model->head_dim);

    const size_t num = (size_t)ATTENTION_POSITIONS * (size_t)attention_rig_row(model);
    run->qkv = malloc(num * sizeof(float));
    ck_assert_ptr_nonnull(run->qkv);
    fixture_fill(run->qkv, num);

    const size_t num_weights = 4 * (size_t)(model->num_heads * model->head_dim);
    run->weights = malloc(num_weights * sizeof(float));
    ck_assert_ptr_nonnull(run->weights);
    fixture_fill(run->weights, num_weights);

    const struct kv_layout layout = { 2, model->num_kv_heads, model->head_dim, model->block_size,
                                      model->dtype };
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &layout, ATTENTION_BLOCKS, &run->pool, NULL),
                     0);
    for (int32_t i = 0; i < ATTENTION_BLOCKS; i++)
        run->blocks[i] = (i * 7 + 3) % ATTENTION_BLOCKS; /* 7 and 400 have no common factor */
}

void attention_rig_close(struct attention_rig *run)
{
    fixture_backend->kv_free(run->pool);
    free(run->cosines);
    free(run->sines);
    free(run->qkv);
    free(run->weights);
}

struct attention_form attention_rig_form(const struct attention_rig *run)
{
    return (struct attention_form){ run->scale, run->model->softcap, run->model->window };
}

/* squares: [rows][2] */
static struct qk_norm norm_of(const struct attention_rig *run, const float *squares)
{
    const struct attention_model *m = run->model;
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

void attention_rig_rope(struct attention_rig *run, float *qkv, float *squares,
                        const int32_t *positions, const int64_t *slots, int32_t num)
{
    const struct attention_model *m = run->model;
    const struct qk_norm norm = norm_of(run, squares);
    if (norm.squares)
        fixture_backend->qk_squares(run->device, squares, qkv, norm.q_cols, norm.k_cols, num);
    fixture_backend->rope_kv_write(run->device, qkv, norm.q ? &norm : NULL, &run->rope, positions,
                                   slots, run->pool, 1, m->num_heads, num);
}

void attention_rig_step(struct attention_rig *run, int32_t from, int32_t to, float *out)
{
    static int32_t positions[ATTENTION_POSITIONS];
    static int64_t slots[ATTENTION_POSITIONS];
    static float squares[2 * ATTENTION_POSITIONS];
    const struct attention_form form = attention_rig_form(run);
    const struct attention_model *model = run->model;
    const int32_t num = to - from;
    const size_t num_floats = (size_t)num * (size_t)attention_rig_row(model);
    float *qkv = fixture_guarded(num_floats);
    const int32_t low = from - model->window + 1; /* blocks before it are not there */
    const int32_t first_block = model->window > 0 && low > 0 ? low / model->block_size : 0;
    const struct attention_seq seq = { 0, num, from, run->blocks + first_block, first_block };

    memcpy(qkv, run->qkv + (size_t)from * (size_t)attention_rig_row(model),
           num_floats * sizeof(float));
    for (int32_t i = 0; i < num; i++) {
        const int32_t pos = from + i;
        positions[i] = pos;
        slots[i] = (int64_t)run->blocks[pos / model->block_size] * model->block_size +
                   pos % model->block_size;
    }
    fixture_backend->begin(run->device);
    attention_rig_rope(run, qkv, squares, positions, slots, num);
    fixture_backend->attention(run->device, out, qkv, run->pool, 1, model->num_heads, &form, &seq,
                               1, num);
    fixture_run(run->device);
    fixture_guarded_finish(qkv, num_floats);
}

/* Head `head` of a row after its norm: first all q heads, then all k heads. */
static void norm_expected(const struct attention_rig *run, int32_t pos, int32_t head, double *x)
{
    const struct attention_model *m = run->model;
    const int32_t dim = m->head_dim, width = m->num_heads * dim;
    const bool is_key = head >= m->num_heads, all = m->norm == NORM_ALL_HEADS;
    const int32_t first_col = !all ? head * dim : is_key ? width : 0;
    const int32_t num = !all ? dim : is_key ? m->num_kv_heads * dim : width;
    const float *row = run->qkv + (size_t)pos * (size_t)attention_rig_row(m);
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
static void expect_head(const struct attention_rig *run, int32_t pos, int32_t head, bool rotated,
                        bool rounded, double *out)
{
    const int32_t dim = run->model->head_dim, half = run->model->rotary_dims / 2;
    const float *x = run->qkv + (size_t)pos * (size_t)attention_rig_row(run->model) + head * dim;

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
    if (rounded)
        fixture_round(run->model->dtype, out, dim);
}

static double expect_score(const struct attention_rig *run, const double *q, int32_t head,
                           int32_t pos)
{
    const double cap = (double)run->model->softcap;
    double k[256], score = 0.0;
    expect_head(run, pos, head, true, true, k);
    for (int32_t d = 0; d < run->model->head_dim; d++)
        score += q[d] * k[d];
    score *= (double)run->scale;
    return cap > 0.0 ? cap * tanh(score / cap) : score;
}

void attention_rig_expect(const struct attention_rig *run, int32_t pos, int32_t head, double *out)
{
    const struct attention_model *model = run->model;
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
