/* Soft clamp, clamp and INL dynamics against values computed in double precision elsewhere. */
#include <math.h>
#include <string.h>

#include "fixture.h"

static const struct {
    float x, mu, low, high;
    double wanted;
} clamps[] = {
    { 0.0f, 0.0f, -10.0f, 10.0f, 0.0 },
    { 5.0f, 0.0f, -10.0f, 10.0f, 4.621171572600 },
    { -5.0f, 0.0f, -10.0f, 10.0f, -4.621171572600 },
    { 100.0f, 0.0f, -10.0f, 10.0f, 9.999999958777 },
    { -50.0f, 0.0f, -10.0f, 10.0f, -9.999092042626 },
    { 1.0f, 0.0f, -1.0f, 3.0f, 1.0 },
    { 2.5f, 0.0f, -1.0f, 3.0f, 2.270297904775 },
    { 0.3f, 0.0f, 2.0f, 2.0f, 2.0 },
    { 0.0f, 0.5f, -10.0f, 10.0f, 0.000416250421 },
    { 5.0f, 2.0f, -10.0f, 10.0f, 4.913126124516 },
    { -7.0f, 2.0f, -10.0f, 10.0f, -5.162978701990 },
    { 3.0f, 1.0f, -1.0f, 3.0f, 2.924234314520 },
    { 0.0f, 1.0f, -1.0f, 3.0f, 0.476811688088 },
};
enum { NUM_CLAMPS = sizeof(clamps) / sizeof(clamps[0]) };

static void check_mu_clamp(struct device *device)
{
    for (int32_t i = 0; i < NUM_CLAMPS; i++) {
        float *x = fixture_guarded(6);
        const double wanted[6] = { clamps[i].wanted, clamps[i].wanted, clamps[i].wanted,
                                   clamps[i].wanted, clamps[i].wanted, clamps[i].wanted };
        for (int32_t k = 0; k < 6; k++)
            x[k] = clamps[i].x;
        fixture_backend->begin(device);
        fixture_backend->mu_clamp(device, x, clamps[i].mu, clamps[i].low, clamps[i].high, 2, 3);
        fixture_run(device);
        fixture_compare("soft clamp", x, wanted, 6, 1e-6, 2e-7);
        fixture_guarded_finish(x, 6);
    }
}

START_TEST(mu_clamp_bends_deviations_towards_mu)
{
    fixture_each_device(check_mu_clamp);
}
END_TEST

/* H = 2, C = 1, dt = 0.1, mu = [0.5, -0.25]. */
static const struct {
    float a[2], v[2], m[2];
    double moved[2], velocity[2];
} steps[] = {
    { { 1.5f, -2.0f },
      { 0.0f, 0.0f },
      { 1.05f, 0.10f },
      { 1.4970887884, -1.7353785154 },
      { -0.0680395719, 4.2 } },
    { { 1.5f, -2.0f },
      { 0.8f, -0.6f },
      { 1.05f, 0.10f },
      { 1.5269092227, -1.7626872704 },
      { 0.6609060840, 3.6747639782 } },
    { { 30.0f, -40.0f },
      { 9.5f, -9.9f },
      { 11.5f, 6.75f },
      { 29.9997246943, -39.0010500336 },
      { -10.0, 10.0 } },
};

static void make_controller(const float *a, const float *v, float out[6])
{
    static const double w[] = { 0.5, -0.5, 1.0, 0.25, -0.75, 0.6 };
    static const double b[] = { 2.2, 2.2, -2.2, 5.0, 0.0, 0.3 };
    const double sum =
        0.2 * (double)a[0] - 0.1 * (double)a[1] + 0.4 * (double)v[0] + 0.3 * (double)v[1] + 0.1;
    for (int i = 0; i < 6; i++)
        out[i] = (float)(sum / (1.0 + exp(-sum)) * w[i] + b[i]);
}

static void check_inl(struct device *device)
{
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        float a[2], v[2], controller[6], mu_prev[2], highway[2] = { 0.5f, -0.5f };
        memcpy(a, steps[i].a, sizeof(a));
        memcpy(v, steps[i].v, sizeof(v));
        make_controller(a, v, controller);
        const struct inl_dynamics args = { a, v, steps[i].m, controller, highway, mu_prev, 0.1f };
        fixture_backend->begin(device);
        fixture_backend->inl_dynamics(device, &args, 1, 2);
        fixture_run(device);
        fixture_compare("a", a, steps[i].moved, 2, 2e-6, 1e-6);
        fixture_compare("v", v, steps[i].velocity, 2, 2e-6, 1e-6);
        for (int k = 0; k < 2; k++) {
            const double sum = (k == 0 ? 0.5 : -0.5) + (double)steps[i].m[k];
            const double mu = (double)steps[i].m[k] + 0.1 * sum;
            fixture_compare("highway", &highway[k], &sum, 1, 1e-6, 1e-6);
            fixture_compare("mu", &mu_prev[k], &mu, 1, 1e-6, 1e-6);
        }
    }
}

START_TEST(inl_dynamics_move_attention_and_velocity)
{
    fixture_each_device(check_inl);
}
END_TEST

static void check_plain_mu(struct device *device)
{
    float a[] = { 1.0f }, v[] = { 0.0f }, mu_prev[] = { 9.0f };
    const float m[] = { 0.25f }, controller[] = { 0.0f, 90.0f, -90.0f };
    const struct inl_dynamics args = { a, v, m, controller, NULL, mu_prev, 0.1f };
    fixture_backend->begin(device);
    fixture_backend->inl_dynamics(device, &args, 1, 1);
    fixture_run(device);
    ck_assert_float_eq(mu_prev[0], 0.25f);
    ck_assert_float_eq(v[0], -1.5f); /* beta is at most 2 */
    ck_assert_float_eq(a[0], 1.0f);  /* a closed gate, without overflow */
}

START_TEST(without_a_highway_mu_is_passed_on_as_it_is)
{
    fixture_each_device(check_plain_mu);
}
END_TEST

static void check_small(struct device *device)
{
    float x[] = { -3.0f, 0.5f, 2.5f, -1.0f }, y[] = { 1.0f, -2.0f, 0.0f };
    const float delta[] = { 0.5f, -1.0f, -100.0f };
    const double wanted[] = { 1.5 / (1.0 + exp(-1.5)), -3.0 / (1.0 + exp(3.0)),
                              -100.0 / (1.0 + exp(100.0)) };
    fixture_backend->begin(device);
    fixture_backend->clamp(device, x, -1.5f, 2.0f, 2, 2);
    fixture_backend->add_silu(device, y, delta, 1, 3);
    fixture_run(device);
    ck_assert_float_eq(x[0], -1.5f);
    ck_assert_float_eq(x[1], 0.5f);
    ck_assert_float_eq(x[2], 2.0f);
    ck_assert_float_eq(x[3], -1.0f);
    fixture_compare("silu", y, wanted, 3, 1e-12, 1e-6);
}

START_TEST(clamp_and_add_silu_take_each_element)
{
    fixture_each_device(check_small);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("each");
    TCase *tests = tcase_create("each");
    tcase_add_test(tests, mu_clamp_bends_deviations_towards_mu);
    tcase_add_test(tests, inl_dynamics_move_attention_and_velocity);
    tcase_add_test(tests, without_a_highway_mu_is_passed_on_as_it_is);
    tcase_add_test(tests, clamp_and_add_silu_take_each_element);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
