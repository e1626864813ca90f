#include "kernels/cpu/latent.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/device.h"

enum { LANES = 8 }; /* sums side by side, that a compiler may keep in a vector */

static void norm_in_place(float *x, const float *w, float eps, int32_t num)
{
    float sums[LANES] = { 0 };
    for (int32_t i = 0; i < num; i++)
        sums[i % LANES] += x[i] * x[i];
    float sum = 0.0f;
    for (int32_t i = 0; i < LANES; i++)
        sum += sums[i];
    const float scale = 1.0f / sqrtf(sum / (float)num + eps);
    for (int32_t i = 0; i < num; i++)
        x[i] = x[i] * scale * w[i];
}

/* to and from may be the same. */
static void rotate(const struct latent_write *args, float *to, const float *from, int32_t position)
{
    const int32_t half = args->rope->rotary_dims / 2;
    const float *cosines = args->rope->cos + (int64_t)position * half;
    const float *sines = args->rope->sin + (int64_t)position * half;
    for (int32_t i = 0; i < half; i++) {
        const int32_t first = args->interleaved ? 2 * i : i;
        const int32_t second = args->interleaved ? first + 1 : i + half;
        const float a = from[first], b = from[second];
        to[first] = a * cosines[i] - b * sines[i];
        to[second] = b * cosines[i] + a * sines[i];
    }
}

static void write_row(const struct latent_write *args, int64_t row)
{
    const struct kv_layout *layout = &args->pool->layout;
    const int32_t position = args->positions[row], dims = args->rope->rotary_dims;
    float *latent = args->latents + row * layout->head_dim;
    const float *q = args->q + row * args->num_heads * args->q_dim;
    float *absorbed = args->absorbed + row * args->num_heads * layout->head_dim;

    assert(position >= 0 && position < args->rope->max_positions);
    norm_in_place(latent, args->w, args->eps, layout->latent_dim);
    rotate(args, latent + layout->latent_dim, latent + layout->latent_dim, position);
    const struct kv_line key = kv_key_line(args->pool, args->slots[row], args->layer, 0);
    kv_line_write(&key, latent);
    for (int32_t h = 0; h < args->num_heads; h++)
        rotate(args, absorbed + (int64_t)h * layout->head_dim + layout->latent_dim,
               q + (int64_t)(h + 1) * args->q_dim - dims, position);
}

static void run_latent(struct device *device, const struct op *op, int32_t thread,
                       int32_t num_threads)
{
    (void)device;
    const struct latent_args *args = &op->args.latent;
    const int64_t end = share_of(args->rows, thread + 1, num_threads);
    for (int64_t row = share_of(args->rows, thread, num_threads); row < end; row++)
        write_row(&args->latent, row);
}

void latent_write(struct device *device, const struct latent_write *args, int32_t rows)
{
    const struct kv_layout *layout = &args->pool->layout;
    const int32_t dims = args->rope->rotary_dims;
    assert(layout->latent_dim > 0 && layout->latent_dim + dims == layout->head_dim);
    assert(dims % 2 == 0 && dims <= args->q_dim && args->layer < layout->num_layers);

    const double row_ns = 4.0 * layout->head_dim + 1.0 * args->num_heads * dims;
    device_record(device, run_latent, rows > 1 ? rows * row_ns : 0.0)->args.latent =
        (struct latent_args){ *args, rows };
}
