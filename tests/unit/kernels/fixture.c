#include "fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"

enum { GUARD_FLOATS = 64 };

const char *const fixture_isas[] = { "scalar", "avx2", "avx512", "neon", NULL }; /* scalar first */
const char *const fixture_linear_isas[] = {
    "scalar", "avx2", "avx512", "avx512_amx", "neon", NULL
};
const struct backend *fixture_backend;

static uint64_t random_state = 88172645463325252u;

struct device *fixture_open(const char *isa, int32_t num_threads)
{
    const struct device_options options = {
        .num_threads = num_threads, .isa = isa, .max_rows = 512, .max_ops = 64, .max_vocab = 4096
    };
    struct device *device = NULL;
    struct error err;
    if (!fixture_backend)
        ck_assert_int_eq(backend_open("cpu", &fixture_backend, &err), 0);
    const int r = fixture_backend->device_open(&options, &device, &err);
    ck_assert_msg(r == 0 || r == -95, "%s: %s", isa, err.message);
    return r == 0 ? device : NULL;
}

bool fixture_is_sampled(void)
{
    return getenv("TEST_SAMPLE") != NULL;
}

static void each_of(const char *const *isas, void (*test)(struct device *device))
{
    const bool is_sampled = fixture_is_sampled();
    for (int i = is_sampled; isas[i]; i++)
        for (int32_t num_threads = is_sampled || i == 0 ? 3 : 1; num_threads <= 3;
             num_threads += 2) {
            struct device *device = fixture_open(isas[i], num_threads);
            if (device)
                test(device);
            if (device)
                fixture_backend->device_close(device);
        }
}

void fixture_each_device(void (*test)(struct device *device))
{
    each_of(fixture_isas, test);
}

void fixture_each_linear(void (*test)(struct device *device))
{
    each_of(fixture_linear_isas, test);
}

static uint64_t random_next(void) /* xorshift64 */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

float fixture_random(void)
{
    return (float)(random_next() >> 40) * 0x1p-23f - 1.0f;
}

int32_t fixture_random_below(int32_t bound)
{
    return (int32_t)((random_next() >> 33) % (uint64_t)bound);
}

void fixture_fill(float *out, size_t num)
{
    for (size_t i = 0; i < num; i++)
        out[i] = fixture_random();
}

float *fixture_guarded(size_t num)
{
    const size_t total = num + 2 * GUARD_FLOATS;
    float *memory = malloc(total * sizeof(float));
    ck_assert_ptr_nonnull(memory);
    memset(memory, 0xa5, total * sizeof(float));
    return memory + GUARD_FLOATS;
}

void fixture_guarded_finish(float *data, size_t num)
{
    unsigned char pattern[GUARD_FLOATS * sizeof(float)];
    memset(pattern, 0xa5, sizeof(pattern));
    ck_assert_mem_eq(data - GUARD_FLOATS, pattern, sizeof(pattern));
    ck_assert_mem_eq(data + num, pattern, sizeof(pattern));
    free(data - GUARD_FLOATS);
}

void fixture_compare(const char *what, const float *got, const double *wanted, size_t num,
                     double absolute, double relative)
{
    for (size_t i = 0; i < num; i++) {
        const double limit = absolute + relative * fabs(wanted[i]);
        const double distance = fabs((double)got[i] - wanted[i]);
        ck_assert_msg(distance <= limit, "%s: element %zu of %zu is %.9g, wanted %.9g +- %.2g",
                      what, i, num, (double)got[i], wanted[i], limit);
    }
}

bool fixture_equal_bits(const float *a, const float *b, size_t num)
{
    return memcmp(a, b, num * sizeof(float)) == 0;
}

uint32_t fixture_encode(enum dtype dtype, float value)
{
    const uint32_t bits = float_to_bits(value);
    if (dtype == DTYPE_F32)
        return bits;
    return dtype == DTYPE_F16 ? half_to_f16(value) : bits >> 16;
}

double fixture_decode(enum dtype dtype, uint32_t bits)
{
    if (dtype == DTYPE_F32)
        return (double)float_from_bits(bits);
    return (double)(dtype == DTYPE_F16 ? half_from_f16((uint16_t)bits)
                                       : half_from_bf16((uint16_t)bits));
}

/* `bits` behind the point, exponents from `low` on, at most `max`. */
static double nearest(double x, int bits, int low, double max)
{
    if (x == 0.0 || !isfinite(x))
        return x;
    const int exponent = ilogb(x) > low ? ilogb(x) : low;
    const double step = ldexp(1.0, exponent - bits), rounded = nearbyint(x / step) * step;
    return fabs(rounded) <= max ? rounded : copysign(max, x);
}

static void round_quants(double *x, int32_t num)
{
    double max = 0.0;
    for (int32_t i = 0; i < num; i++)
        max = fmax(max, fabs(x[i]));
    const double scale = nearest((double)((float)max / 127.0f), 10, -14, 65504.0);
    for (int32_t i = 0; i < num; i++) {
        const double q = scale > 0.0 ? nearbyint((double)((float)x[i] / (float)scale)) : 0.0;
        x[i] = scale * fmin(fmax(q, -127.0), 127.0);
    }
}

void fixture_round(enum dtype dtype, double *x, int32_t num)
{
    static const struct {
        int bits, low;
        double max;
    } rows[] = { [DTYPE_F32] = { 23, -126, 0x1.fffffep127 },
                 [DTYPE_F16] = { 10, -14, 65504.0 },
                 [DTYPE_BF16] = { 7, -126, 0x1.fep127 },
                 [DTYPE_F8_E4M3] = { 3, -6, 448.0 } };
    for (int32_t i = 0; i < num; i++)
        x[i] = (double)(float)x[i];
    for (int32_t i = 0; dtype == DTYPE_Q8_0 && i < num; i += 32)
        round_quants(x + i, num - i < 32 ? num - i : 32);
    for (int32_t i = 0; dtype != DTYPE_Q8_0 && i < num; i++)
        x[i] = nearest(x[i], rows[dtype].bits, rows[dtype].low, rows[dtype].max);
}

void *fixture_matrix(enum dtype dtype, size_t num, float scale, double **ret_values)
{
    const size_t size = dtype_bytes(dtype);
    unsigned char *data = malloc(num * size);
    double *values = malloc(num * sizeof(double));
    ck_assert(data && values);
    for (size_t i = 0; i < num; i++) {
        const uint32_t bits = fixture_encode(dtype, fixture_random() * scale);
        memcpy(data + i * size, &bits, size); /* the low bytes: little-endian hosts */
        values[i] = fixture_decode(dtype, bits);
    }
    *ret_values = values;
    return data;
}

void fixture_run(struct device *device)
{
    ck_assert_int_eq(fixture_backend->submit(device), 0);
    ck_assert_int_eq(fixture_backend->wait(device), 0);
}

int fixture_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
