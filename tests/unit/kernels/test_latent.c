/* Attention over latents: one KV head whose values are the first part of its keys. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

enum { POSITIONS = 330, MAX_BLOCKS = 64, LATENT = 40, ROTARY = 8, KEY = LATENT + ROTARY };
enum { HEADS = 5, Q_DIM = 24 };

struct run {
    struct device *device;
    enum dtype dtype;
    bool interleaved;
    int32_t block_size;
    struct kv_pool *pool;
    int32_t blocks[MAX_BLOCKS];
    struct rope_table rope;
    float cosines[POSITIONS * ROTARY / 2], sines[POSITIONS * ROTARY / 2];
    float latents[POSITIONS * KEY], q[POSITIONS * HEADS * Q_DIM], w[LATENT];
    float absorbed[POSITIONS * HEADS * KEY]; /* the part that is not rotated */
};

static void run_open(struct run *run, struct device *device, enum dtype dtype, bool interleaved,
                     int32_t block_size)
{
    const struct kv_layout layout = { 2, 1, KEY, block_size, dtype, LATENT };
    run->device = device;
    run->dtype = dtype;
    run->interleaved = interleaved;
    run->block_size = block_size;
    for (int32_t i = 0; i < POSITIONS * ROTARY / 2; i++) {
        const double angle = (i / (ROTARY / 2)) * pow(100.0, -(i % (ROTARY / 2)) / 4.0);
        run->cosines[i] = (float)cos(angle);
        run->sines[i] = (float)sin(angle);
    }
    run->rope = (struct rope_table){
        .cos = run->cosines, .sin = run->sines, .rotary_dims = ROTARY, .max_positions = POSITIONS
    };
    fixture_fill(run->latents, POSITIONS * KEY);
    fixture_fill(run->q, POSITIONS * HEADS * Q_DIM);
    fixture_fill(run->w, LATENT);
    fixture_fill(run->absorbed, POSITIONS * HEADS * KEY);
    for (int32_t i = 0; i < MAX_BLOCKS; i++)
        run->blocks[i] = (i * 7 + 3) % MAX_BLOCKS;
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &layout, MAX_BLOCKS, &run->pool, NULL), 0);
}

/* Positions [from, to) in one step, layer 1; out: [to - from][HEADS][LATENT]. */
static void run_step(struct run *run, int32_t from, int32_t to, float *out)
{
    const struct attention_form form = { .scale = 0.3f };
    static int32_t positions[POSITIONS];
    static int64_t slots[POSITIONS];
    static float latents[POSITIONS * KEY], absorbed[POSITIONS * HEADS * KEY];
    const struct attention_seq seq = { 0, to - from, from, run->blocks, 0 };
    for (int32_t pos = from; pos < to; pos++) {
        positions[pos - from] = pos;
        slots[pos - from] =
            (int64_t)run->blocks[pos / run->block_size] * run->block_size + pos % run->block_size;
    }
    memcpy(latents, run->latents + from * KEY, (size_t)((to - from) * KEY) * sizeof(float));
    memcpy(absorbed, run->absorbed + from * HEADS * KEY,
           (size_t)((to - from) * HEADS * KEY) * sizeof(float));
    const struct latent_write args = {
        .latents = latents,
        .w = run->w,
        .eps = 1e-6f,
        .q = run->q + from * HEADS * Q_DIM,
        .absorbed = absorbed,
        .num_heads = HEADS,
        .q_dim = Q_DIM,
        .rope = &run->rope,
        .interleaved = run->interleaved,
        .positions = positions,
        .slots = slots,
        .pool = run->pool,
        .layer = 1,
    };
    fixture_backend->begin(run->device);
    fixture_backend->latent_write(run->device, &args, to - from);
    fixture_backend->attention(run->device, out, absorbed, run->pool, 1, HEADS, &form, &seq, 1,
                               to - from);
    fixture_run(run->device);
}

static void expect_rotated(const struct run *run, const float *x, int32_t pos, double *out)
{
    for (int32_t i = 0; i < ROTARY / 2; i++) {
        const int32_t a = run->interleaved ? 2 * i : i;
        const int32_t b = run->interleaved ? 2 * i + 1 : i + ROTARY / 2;
        const double c = (double)run->cosines[pos * ROTARY / 2 + i];
        const double s = (double)run->sines[pos * ROTARY / 2 + i];
        out[a] = (double)x[a] * c - (double)x[b] * s;
        out[b] = (double)x[a] * s + (double)x[b] * c;
    }
}

static void expect_key(const struct run *run, int32_t pos, double *out)
{
    const float *x = run->latents + pos * KEY;
    double sum = 0.0;
    for (int32_t d = 0; d < LATENT; d++)
        sum += (double)x[d] * (double)x[d];
    for (int32_t d = 0; d < LATENT; d++)
        out[d] = (double)x[d] / sqrt(sum / LATENT + 1e-6) * (double)run->w[d];
    expect_rotated(run, x + LATENT, pos, out + LATENT);
    fixture_round(run->dtype, out, KEY);
}

static void expect_out(const struct run *run, int32_t pos, int32_t head, double *out)
{
    double q[KEY], k[KEY], scores[POSITIONS], max = -INFINITY, sum = 0.0;
    for (int32_t d = 0; d < LATENT; d++)
        q[d] = (double)run->absorbed[(pos * HEADS + head) * KEY + d];
    expect_rotated(run, run->q + (pos * HEADS + head + 1) * Q_DIM - ROTARY, pos, q + LATENT);
    for (int32_t p = 0; p <= pos; p++) {
        expect_key(run, p, k);
        scores[p] = 0.0;
        for (int32_t d = 0; d < KEY; d++)
            scores[p] += 0.3 * q[d] * k[d];
        max = fmax(max, scores[p]);
    }
    for (int32_t d = 0; d < LATENT; d++)
        out[d] = 0.0;
    for (int32_t p = 0; p <= pos; p++) {
        const double weight = exp(scores[p] - max);
        expect_key(run, p, k);
        for (int32_t d = 0; d < LATENT; d++)
            out[d] += weight * k[d];
        sum += weight;
    }
    for (int32_t d = 0; d < LATENT; d++)
        out[d] /= sum;
}

static const enum dtype types[] = { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_F8_E4M3, DTYPE_Q8_0 };
enum { NUM_TYPES = sizeof(types) / sizeof(types[0]) };
/* A key that was computed may round to the other side. */
static const double tolerances[NUM_TYPES] = { 1e-5, 2e-4, 1e-3, 1e-2, 3e-3 };

static struct run run;
static float whole[POSITIONS * HEADS * LATENT], out[POSITIONS * HEADS * LATENT];

static void check_oracle(struct device *device)
{
    static const int32_t checked[] = { 0, 1, 17, 63, 64, 255, 256, 329 };
    for (int variant = 0; variant < 2 * NUM_TYPES; variant++) {
        const int type = variant % NUM_TYPES;
        double wanted[LATENT];
        run_open(&run, device, types[type], variant / NUM_TYPES, variant % 3 == 1 ? 11 : 16);
        run_step(&run, 0, POSITIONS, whole);
        for (size_t i = 0; i < sizeof(checked) / sizeof(checked[0]); i++) {
            const int32_t head = (int32_t)i % HEADS;
            expect_out(&run, checked[i], head, wanted);
            fixture_compare("latents", whole + (checked[i] * HEADS + head) * LATENT, wanted, LATENT,
                            tolerances[type], 1e-5);
        }
        fixture_backend->kv_free(run.pool);
    }
}

START_TEST(attention_over_latents_equals_softmax_in_double)
{
    fixture_each_device(check_oracle);
}
END_TEST

static void check_chunks(struct device *device)
{
    static const int32_t chunks[] = { 1, 7, 64, 300 };
    for (int t = 0; t < NUM_TYPES; t++) {
        run_open(&run, device, types[t], true, 16);
        run_step(&run, 0, POSITIONS, whole);
        for (size_t c = 0; c < sizeof(chunks) / sizeof(chunks[0]); c++) {
            for (int32_t from = 0; from < POSITIONS; from += chunks[c]) {
                const int32_t to = from + chunks[c] < POSITIONS ? from + chunks[c] : POSITIONS;
                run_step(&run, from, to, out + from * HEADS * LATENT);
            }
            ck_assert(fixture_equal_bits(whole, out, POSITIONS * HEADS * LATENT));
        }
        fixture_backend->kv_free(run.pool);
    }
}

START_TEST(latents_give_the_same_bits_for_any_chunking)
{
    fixture_each_device(check_chunks);
}
END_TEST

START_TEST(a_page_of_latents_is_as_small_as_they_are)
{
    const struct kv_layout latents = { 3, 1, 576, 16, DTYPE_F16, 512 };
    const struct kv_layout heads = { 3, 2, 128, 16, DTYPE_F32, 0 };
    ck_assert_uint_eq(kv_block_bytes(&latents), (size_t)3 * 576 * 16 * 2);
    ck_assert_uint_eq(kv_block_bytes(&heads), (size_t)3 * 2 * 2 * 128 * 16 * 4);
}
END_TEST

START_TEST(latents_of_several_heads_are_refused)
{
    struct device *device = fixture_open("scalar", 1);
    struct kv_pool *pool = NULL;
    struct error err = { 0 };
    const struct kv_layout two = { 1, 2, 64, 16, DTYPE_F16, 32 };
    const struct kv_layout wide = { 1, 1, 64, 16, DTYPE_F16, 65 };
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &two, 4, &pool, &err), -22);
    ck_assert_int_eq(fixture_backend->kv_alloc(device, &wide, 4, &pool, &err), -22);
    ck_assert_ptr_null(pool);
    fixture_backend->device_close(device);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("latent");
    TCase *tests = tcase_create("latent");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, attention_over_latents_equals_softmax_in_double);
    tcase_add_test(tests, latents_give_the_same_bits_for_any_chunking);
    tcase_add_test(tests, a_page_of_latents_is_as_small_as_they_are);
    tcase_add_test(tests, latents_of_several_heads_are_refused);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
