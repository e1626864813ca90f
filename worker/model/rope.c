#include "worker/model/rope.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum { MAX_THREADS = 16, LEAST_POSITIONS = 1024 }; /* of a thread */

static const double two_pi = 6.283185307179586476925;

/* Long waves are stretched by `factor`, short ones kept, those between blended. */
static double scale_llama3(const struct rope_spec *spec, double inv_freq)
{
    const double original = (double)spec->original_max_position_embeddings;
    const double low = spec->low_freq_factor, high = spec->high_freq_factor;
    const double wavelength = two_pi / inv_freq;
    if (wavelength < original / high)
        return inv_freq;
    if (wavelength > original / low)
        return inv_freq / spec->factor;
    const double kept = (original / wavelength - low) / (high - low);
    return (1.0 - kept) * inv_freq / spec->factor + kept * inv_freq;
}

/* The place, among the frequencies, of the one that turns `rotations` times over the length the
 * model was trained with. */
static double yarn_place(const struct rope_spec *spec, double rotations)
{
    const double original = (double)spec->original_max_position_embeddings;
    return spec->rotary_dims * log(original / (rotations * two_pi)) / (2.0 * log(spec->theta));
}

/* Fast frequencies are kept, slow ones stretched, with a ramp between. */
static double scale_yarn(const struct rope_spec *spec, double inv_freq, int32_t i)
{
    double low = yarn_place(spec, spec->beta_fast), high = yarn_place(spec, spec->beta_slow);
    low = fmax(spec->no_truncate ? low : floor(low), 0.0);
    high = fmin(spec->no_truncate ? high : ceil(high), spec->rotary_dims - 1.0);
    if (low == high)
        high += 0.001;
    const double ramp = fmin(fmax((i - low) / (high - low), 0.0), 1.0);
    return inv_freq / spec->factor * ramp + inv_freq * (1.0 - ramp);
}

static double scale(const struct rope_spec *spec, double inv_freq, int32_t i, bool is_long)
{
    switch (spec->scaling) {
    case ROPE_SCALING_NONE:
        return inv_freq;
    case ROPE_SCALING_LINEAR:
        return inv_freq / spec->factor;
    case ROPE_SCALING_LLAMA3:
        return scale_llama3(spec, inv_freq);
    case ROPE_SCALING_YARN:
        return scale_yarn(spec, inv_freq, i);
    case ROPE_SCALING_LONGROPE:
        return inv_freq / (is_long ? spec->long_factors[i] : spec->short_factors[i]);
    }
    return inv_freq;
}

void rope_inv_freq(const struct rope_spec *spec, int32_t max_positions, double *ret_inv_freq)
{
    const bool is_long = max_positions > spec->original_max_position_embeddings;
    for (int32_t i = 0; i < spec->rotary_dims / 2; i++)
        ret_inv_freq[i] = scale(spec, pow(spec->theta, -2.0 * i / spec->rotary_dims), i, is_long);
}

static double mscale_of(double factor, double mscale)
{
    return factor <= 1.0 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

double rope_attention_factor(const struct rope_spec *spec)
{
    const double factor = spec->factor;
    if (spec->attention_factor > 0.0)
        return spec->attention_factor;
    if (spec->scaling == ROPE_SCALING_LONGROPE && factor > 1.0)
        return sqrt(1.0 + log(factor) / log(spec->original_max_position_embeddings));
    if (spec->scaling != ROPE_SCALING_YARN)
        return 1.0;
    if (spec->mscale > 0.0 && spec->mscale_all_dim > 0.0)
        return mscale_of(factor, spec->mscale) / mscale_of(factor, spec->mscale_all_dim);
    return mscale_of(factor, 1.0);
}

/* Tables on the host, and the positions of them that a thread fills. */
struct fill {
    const double *inv_freq;
    int32_t half;
    double factor;
    float *cos_table, *sin_table;
    int32_t first, end;
};

static void *fill_positions(void *argument)
{
    const struct fill *f = argument;
    const size_t first = (size_t)f->first * (size_t)f->half;
    float *cos_at = f->cos_table + first, *sin_at = f->sin_table + first;
    for (int32_t p = f->first; p < f->end; p++)
        for (int32_t i = 0; i < f->half; i++) {
            const double angle = (double)p * f->inv_freq[i];
            *cos_at++ = (float)(f->factor * cos(angle));
            *sin_at++ = (float)(f->factor * sin(angle));
        }
    return NULL;
}

static int32_t min_of(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* All but the last share by threads of their own; the last by this one, and what they cannot. */
static void fill_all(struct fill whole, int32_t max_positions, int32_t num_threads)
{
    struct fill fills[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    const int32_t most = min_of(min_of(num_threads, MAX_THREADS), max_positions / LEAST_POSITIONS);
    const int32_t n = most > 1 ? most : 1;
    int32_t started = 0;
    for (int32_t t = 0; t < n; t++) {
        fills[t] = whole;
        fills[t].first = (int32_t)((int64_t)max_positions * t / n);
        fills[t].end = (int32_t)((int64_t)max_positions * (t + 1) / n);
    }
    while (started < n - 1 &&
           pthread_create(&threads[started], NULL, fill_positions, &fills[started]) == 0)
        started++;
    for (int32_t t = started; t < n; t++)
        (void)fill_positions(&fills[t]);
    while (started > 0)
        pthread_join(threads[--started], NULL);
}

/* Publish the host's tables on the device. */
static int upload(const struct backend *backend, struct device *device, const float *tables,
                  size_t bytes, struct rope_table *rope)
{
    float *cos_table = backend->alloc(device, bytes), *sin_table = backend->alloc(device, bytes);
    rope->cos = cos_table;
    rope->sin = sin_table;
    if (cos_table == NULL || sin_table == NULL)
        return -ENOMEM;
    backend->upload(device, cos_table, tables, bytes);
    backend->upload(device, sin_table, tables + bytes / sizeof(float), bytes);
    return 0;
}

int rope_init(const struct backend *backend, struct device *device, const struct rope_spec *spec,
              int32_t max_positions, struct rope_table *ret_rope, struct error *err)
{
    struct rope_table rope = { .rotary_dims = spec->rotary_dims, .max_positions = max_positions };
    const int32_t half = rope.rotary_dims / 2;
    const size_t num = (size_t)max_positions * (size_t)half;
    double *inv_freq = malloc((size_t)half * sizeof(*inv_freq));
    float *tables = malloc(2 * num * sizeof(*tables));
    int r = -ENOMEM;
    if (inv_freq != NULL && tables != NULL) {
        rope_inv_freq(spec, max_positions, inv_freq);
        const struct fill whole = { .inv_freq = inv_freq,
                                    .half = half,
                                    .factor = rope_attention_factor(spec),
                                    .cos_table = tables,
                                    .sin_table = tables + num };
        fill_all(whole, max_positions, backend->device_threads(device));
        r = upload(backend, device, tables, num * sizeof(float), &rope);
    }
    free(inv_freq);
    free(tables);
    if (r < 0) {
        rope_finish(backend, device, &rope);
        return error_set(err, r, "no memory for rotary tables of %d positions", max_positions);
    }
    *ret_rope = rope;
    return 0;
}

void rope_finish(const struct backend *backend, struct device *device, struct rope_table *rope)
{
    if (rope->cos != NULL)
        backend->free(device, (void *)(uintptr_t)rope->cos);
    if (rope->sin != NULL)
        backend->free(device, (void *)(uintptr_t)rope->sin);
    *rope = (struct rope_table){ 0 };
}
