#include "kernels/cpu/each.h"

#include <math.h>

#include "kernels/cpu/device.h"

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static float softplus(float x)
{
    return x > 20.0f ? x : log1pf(expf(x));
}

static float limit(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

/* One element; c: its row of the controller, column and number of columns. */
static void move(const struct inl_dynamics *args, int64_t i, const float *c, int64_t cols)
{
    enum { VELOCITY = 10, BETA = 2 };
    const float alpha = sigmoid(c[0]), gate = sigmoid(c[2 * cols]);
    const float beta = fminf(softplus(c[cols]), BETA);
    const float error = args->a[i] - args->m[i];
    const float v = limit(alpha * args->v[i] - beta * error, -VELOCITY, VELOCITY);

    args->v[i] = v;
    args->a[i] += args->dt * gate * v;
    if (args->highway == NULL) {
        args->mu_prev[i] = args->m[i];
        return;
    }
    args->highway[i] += args->m[i];
    args->mu_prev[i] = args->m[i] + 0.1f * args->highway[i];
}

static void run_inl(struct device *device, const struct op *op, int32_t thread, int32_t num_threads)
{
    (void)device;
    const struct inl_args *args = &op->args.inl;
    const int64_t cols = args->cols, num = args->rows * cols;
    const int64_t end = share_of(num, thread + 1, num_threads);
    for (int64_t i = share_of(num, thread, num_threads); i < end; i++)
        move(&args->inl, i, args->inl.controller + i / cols * 3 * cols + i % cols, cols);
}

void each_inl_dynamics(struct device *device, const struct inl_dynamics *args, int32_t rows,
                       int32_t cols)
{
    device_record(device, run_inl, 40.0 * rows * cols)->args.inl =
        (struct inl_args){ *args, rows, cols };
}

static void run_add_silu(struct device *device, const struct op *op, int32_t thread,
                         int32_t num_threads)
{
    (void)device;
    const struct each_args *args = &op->args.each;
    const int64_t end = share_of(args->num, thread + 1, num_threads);
    for (int64_t i = share_of(args->num, thread, num_threads); i < end; i++) {
        const float x = args->x[i] + args->delta[i];
        args->x[i] = x * sigmoid(x);
    }
}

void each_add_silu(struct device *device, float *x, const float *delta, int32_t rows, int32_t cols)
{
    device_record(device, run_add_silu, 8.0 * rows * cols)->args.each =
        (struct each_args){ .x = x, .delta = delta, .num = (int64_t)rows * cols };
}

static void run_clamp(struct device *device, const struct op *op, int32_t thread,
                      int32_t num_threads)
{
    (void)device;
    const struct each_args *args = &op->args.each;
    const int64_t end = share_of(args->num, thread + 1, num_threads);
    for (int64_t i = share_of(args->num, thread, num_threads); i < end; i++)
        args->x[i] = limit(args->x[i], args->low, args->high);
}

void each_clamp(struct device *device, float *x, float low, float high, int32_t rows, int32_t cols)
{
    device_record(device, run_clamp, 0.5 * rows * cols)->args.each =
        (struct each_args){ .x = x, .low = low, .high = high, .num = (int64_t)rows * cols };
}

static void run_mu_clamp(struct device *device, const struct op *op, int32_t thread,
                         int32_t num_threads)
{
    (void)device;
    const struct each_args *args = &op->args.each;
    const float half = (args->high - args->low) / 2.0f, middle = (args->high + args->low) / 2.0f;
    const int64_t end = share_of(args->num, thread + 1, num_threads);
    for (int64_t i = share_of(args->num, thread, num_threads); i < end; i++) {
        const float deviation = args->x[i] - args->mu;
        const float soft =
            half > 0.0f ? tanhf((deviation - middle) / half) * half + middle : middle;
        args->x[i] = args->mu + soft;
    }
}

void each_mu_clamp(struct device *device, float *x, float mu, float low, float high, int32_t rows,
                   int32_t cols)
{
    device_record(device, run_mu_clamp, 15.0 * rows * cols)->args.each = (struct each_args){
        .x = x, .mu = mu, .low = low, .high = high, .num = (int64_t)rows * cols
    };
}
