/*
 * act.cu - what happens to each element by itself: activations, soft caps, clamps, INL dynamics
 *
 * Threads take elements in turn. Gated activation reads 8 bytes of an output element and writes 2:
 * with 2,048 rows of 14,336 that is 294 MB, 75 us at 90 % of the bandwidth.
 */
#include "kernels/backend.h"
#include "kernels/cuda/each.cuh"

DEVICE float activation_of(int activation, float x)
{
    if (activation == ACTIVATION_SILU)
        return x * sigmoid(x);
    if (activation == ACTIVATION_GELU_TANH) /* (1 + tanh(u)) / 2 = sigmoid(2 u) */
        return x * sigmoid(1.5957691216f * (x + 0.044715f * x * x * x));
    return 0.5f * x * erfcf(-0.70710678119f * x);
}

KERNEL(THREADS, 4) activate_kernel(const struct activate_args args)
{
    begin_kernel();
    const int64_t cols = args.cols, width = args.gated ? 2 * cols : cols;
    EACH_CELL(row, col, args.rows, args.cols)
    {
        const float *in = args.in + row * width + col;
        const float value = activation_of(args.activation, in[0]);
        number_store(args.out, args.number, row * cols + col,
                     args.gated ? value * in[cols] : value);
    }
}

DEVICE float limit(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

/* a, b, c: mu, low, high; or the cap. */
DEVICE float soften(const struct each_args &args, float x)
{
    const float half = (args.c - args.b) / 2.0f, middle = (args.c + args.b) / 2.0f;
    return args.a + (half > 0.0f ? tanhf((x - args.a - middle) / half) * half + middle : middle);
}

KERNEL(THREADS, 4) each_kernel(const struct each_args args)
{
    begin_kernel();
    EACH(i, args.num)
    {
        float x = number_at(args.x, args.number, i);
        switch (args.kind) {
        case EACH_SOFT_CAP:
            x = args.a * tanhf(x / args.a);
            break;
        case EACH_ADD_SILU:
            x += args.delta[i];
            x *= sigmoid(x);
            break;
        case EACH_CLAMP:
            x = limit(x, args.b, args.c);
            break;
        case EACH_MU_CLAMP:
            x = soften(args, x);
            break;
        case EACH_BIAS:
            x += args.delta[i % args.cols];
            break;
        }
        number_store(args.x, args.number, i, x);
    }
}

KERNEL(THREADS, 4) inl_kernel(const struct inl_args args)
{
    begin_kernel();
    const int64_t cols = args.cols;
    EACH_CELL(row, col, args.rows, args.cols)
    {
        const int64_t i = row * cols + col;
        const float *c = args.controller + row * 3 * cols + col;
        const float alpha = sigmoid(c[0]), gate = sigmoid(c[2 * cols]), b = c[cols];
        const float beta = fminf(b > 20.0f ? b : log1pf(expf(b)), 2.0f);
        const float m = args.m[i], error = args.a[i] - m;
        const float v = limit(alpha * args.v[i] - beta * error, -10.0f, 10.0f);
        args.v[i] = v;
        args.a[i] += args.dt * gate * v;
        if (args.highway == nullptr) {
            args.mu_prev[i] = m;
        } else {
            const float highway = args.highway[i] + m;
            args.highway[i] = highway;
            args.mu_prev[i] = m + 0.1f * highway;
        }
    }
}

extern "C" void act_activate(const struct launch *launch, const void *args)
{
    const struct activate_args *a = (const struct activate_args *)args;
    launch_kernel(activate_kernel, grid_of_cells(a->rows, a->cols), THREADS, 0, launch, *a);
}

extern "C" void act_each(const struct launch *launch, const void *args)
{
    const struct each_args *a = (const struct each_args *)args;
    launch_kernel(each_kernel, grid_of(a->num), THREADS, 0, launch, *a);
}

extern "C" void act_inl(const struct launch *launch, const void *args)
{
    const struct inl_args *a = (const struct inl_args *)args;
    launch_kernel(inl_kernel, grid_of_cells(a->rows, a->cols), THREADS, 0, launch, *a);
}
