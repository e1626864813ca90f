#include "worker/model/rope.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

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

static double scale(const struct rope_spec *spec, double inv_freq)
{
    switch (spec->scaling) {
    case ROPE_SCALING_NONE:
        return inv_freq;
    case ROPE_SCALING_LINEAR:
        return inv_freq / spec->factor;
    case ROPE_SCALING_LLAMA3:
        return scale_llama3(spec, inv_freq);
    case ROPE_SCALING_YARN:
    case ROPE_SCALING_LONGROPE:
        break;
    }
    return inv_freq;
}

void rope_inv_freq(const struct rope_spec *spec, double *ret_inv_freq)
{
    for (int32_t i = 0; i < spec->rotary_dims / 2; i++)
        ret_inv_freq[i] = scale(spec, pow(spec->theta, -2.0 * i / spec->rotary_dims));
}

static void fill(const double *inv_freq, int32_t half, int32_t max_positions, float *cos_table,
                 float *sin_table)
{
    for (int32_t p = 0; p < max_positions; p++)
        for (int32_t i = 0; i < half; i++) {
            const double angle = (double)p * inv_freq[i];
            *cos_table++ = (float)cos(angle);
            *sin_table++ = (float)sin(angle);
        }
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
        rope_inv_freq(spec, inv_freq);
        fill(inv_freq, half, max_positions, tables, tables + num);
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
