/* Products in plain C for cuBLASLt's. */
#include "base/half.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/lt.h"
#include "tests/gpu/emulator/queue.h"

struct lt {
    int nothing;
};

int lt_open(const char *libraries, struct memory *memory, struct lt **ret_lt, struct error *err)
{
    static struct lt lt;
    (void)libraries;
    (void)memory;
    (void)err;
    *ret_lt = &lt;
    return 0;
}

void lt_close(struct lt *lt)
{
    (void)lt;
}

static float number_of(const void *from, enum number number, int64_t i)
{
    if (number == NUMBER_F32)
        return ((const float *)from)[i];
    const uint16_t half = ((const uint16_t *)from)[i];
    return number == NUMBER_F16 ? half_from_f16(half) : half_from_bf16(half);
}

static void multiply(const void *args)
{
    const struct lt_args *a = args;
    const struct matrix *w = &a->w;
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t n = 0; n < w->rows; n++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < w->cols; k++)
                sum += number_of(w->data, w->number, n * w->stride + k) *
                       number_of(a->x, w->number, r * w->cols + k);
            a->out[r * a->out_row + n] = sum;
        }
}

void lt_multiply(const struct launch *launch, const void *args)
{
    struct queue *queue = launch->stream;
    queue->call(queue, multiply, args, sizeof(struct lt_args));
}
