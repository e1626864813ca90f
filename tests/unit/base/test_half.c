#include "base/half.h"

#include <math.h>

#include "tests/unit/runner.h"

/* What the 16 bits mean, by the definition of IEEE 754 binary16. */
static double meaning(uint16_t half)
{
    const int exponent = half >> 10 & 31, mantissa = half & 1023;
    const double sign = half & 0x8000 ? -1.0 : 1.0;
    if (exponent == 31)
        return mantissa ? (double)NAN : sign * (double)INFINITY;
    return exponent ? sign * ldexp(1024 + mantissa, exponent - 25) : sign * ldexp(mantissa, -24);
}

START_TEST(every_f16_means_what_the_standard_says)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        const double value = (double)half_from_f16((uint16_t)h), wanted = meaning((uint16_t)h);
        ck_assert(isnan(wanted) ? isnan(value) : value == wanted);
        ck_assert_int_eq(signbit(value) != 0, h >> 15);
        if (!isnan(wanted))
            ck_assert_uint_eq(half_to_f16((float)value), h);
    }
}
END_TEST

START_TEST(halfway_between_two_f16_goes_to_the_even_one)
{
    for (uint32_t h = 0; h < 0x7c00; h++) {
        const double low = meaning((uint16_t)h);
        const double high = h == 0x7bff ? 65536.0 : meaning((uint16_t)(h + 1));
        const float middle = (float)((low + high) / 2); /* exact: 12 bits */
        ck_assert_uint_eq(half_to_f16(middle), h + (h & 1));
        ck_assert_uint_eq(half_to_f16(nextafterf(middle, 0.0f)), h);
        ck_assert_uint_eq(half_to_f16(nextafterf(middle, INFINITY)), h + 1);
        ck_assert_uint_eq(half_to_f16(-middle), 0x8000 + h + (h & 1));
    }
}
END_TEST

START_TEST(what_is_not_finite_stays_so)
{
    ck_assert_uint_eq(half_to_f16(INFINITY), 0x7c00);
    ck_assert_uint_eq(half_to_f16(-INFINITY), 0xfc00);
    ck_assert_uint_eq(half_to_f16(3e38f), 0x7c00);
    ck_assert(isnan(half_from_f16(half_to_f16(NAN))));
    ck_assert(isnan(half_from_bf16(0x7fc0)));
    ck_assert_float_eq(half_from_bf16(0x3f80), 1.0f);
}
END_TEST

RUN_SUITE("half", every_f16_means_what_the_standard_says,
          halfway_between_two_f16_goes_to_the_even_one, what_is_not_finite_stays_so)
