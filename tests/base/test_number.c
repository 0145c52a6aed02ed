/* test_number.c - number.c beside the functions of C's math library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/number.h"

enum { RANDOM_COUNT = 200000 };

static const double special[] = {0.0, -0.0, 0.5, -0.5, 1, -1, 1.5, -1.5, 10, 100, 1e22, 0x1p52,
    -0x1p52, 0x1.8p52, 0x1.fffffffffffffp51, -0x1.fffffffffffffp51, 0x1p53, 0x1p-1074, 0x1p-1022,
    0x1.fffffffffffffp1023, (double)INFINITY, -(double)INFINITY, (double)NAN};
enum { SPECIAL_COUNT = sizeof special / sizeof special[0] };

static uint64_t random_bits(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed ^ (*seed >> 29);
}

/* All bit patterns, NaN and subnormals among them. */
static double random_double(uint64_t *seed)
{
    double value;
    uint64_t bits = random_bits(seed);
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void assert_same(const char *call, double a, double b, double found, double wanted)
{
    if (isnan(found) && isnan(wanted))
        return;
    if (memcmp(&found, &wanted, sizeof found) != 0)
        fail_msg("%s of %a, %a: expected %a, found %a", call, a, b, wanted, found);
}

static void check(double a, double b)
{
    assert_same("floor", a, 0, number_floor(a), floor(a));
    assert_same("round", a, 0, (double)number_round((float)a), (double)rintf((float)a));
    assert_same("remainder", a, b, number_remainder(a, b), fmod(a, b));
    double wanted = log10(a), found = number_log10(a);
    if (!isfinite(wanted))
        assert_same("log10", a, 0, found, wanted);
    else if (fabs(found - wanted) > 1e-14 * fabs(wanted) + 1e-15)
        fail_msg("log10 of %a: expected %.17g, found %.17g", a, wanted, found);
}

/* Numbers of one size. */
static double scale(double number)
{
    return isfinite(number) && number != 0 ? ldexp(number, -ilogb(number)) * 1000 : number;
}

static void numbers_are_those_of_the_math_library(void **state)
{
    uint64_t seed = 1;
    (void)state;
    for (size_t i = 0; i < SPECIAL_COUNT; i++)
        for (size_t j = 0; j < SPECIAL_COUNT; j++)
            check(special[i], special[j]);
    for (unsigned i = 0; i < RANDOM_COUNT; i++) {
        double a = random_double(&seed), b = random_double(&seed);
        check(a, b);
        check(scale(a), scale(b));
    }
}

/* Sums at which the square is rounded, a bit beside the middle of two floats among them. */
static void squares_are_added_with_one_rounding(void **state)
{
    static const float edges[][2] = {{FLT_MAX, 0x1p64f}, {FLT_MAX, 0x1p51f}, {0, 0x1p-75f},
        {0, 0x1.1p-75f}, {0x1p-149f, 0x1p-75f}, {0x1p-148f, 0x1p-75f}, {0, INFINITY}, {INFINITY, 1},
        {0, NAN}};
    uint64_t seed = 1;
    (void)state;
    for (unsigned i = 0; i < RANDOM_COUNT; i++) {
        double random = random_double(&seed);
        float value = (float)scale(random);
        if (!isfinite(value))
            continue;
        if (i % 2 == 0) /* few bits: what is lost is far behind */
            value = (float)(int)value;
        for (int exponent = -60; exponent <= 60; exponent++) {
            float sum = fabsf(ldexpf((float)scale(random_double(&seed)), exponent));
            if (!isfinite(sum))
                continue;
            double found = (double)number_add_square(sum, value);
            assert_same(
                "square", (double)value, (double)sum, found, (double)fmaf(value, value, sum));
        }
    }
    for (unsigned i = 0; i < 10 * RANDOM_COUNT; i++) { /* any size: subnormal, or too large */
        uint64_t bits = random_bits(&seed);
        uint32_t low = (uint32_t)bits, high = (uint32_t)(bits >> 32) & 0x7FFFFFFF;
        float value, sum;
        memcpy(&value, &low, sizeof value);
        memcpy(&sum, &high, sizeof sum);
        assert_same("square", (double)value, (double)sum, (double)number_add_square(sum, value),
            (double)fmaf(value, value, sum));
    }
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        float sum = edges[i][0], value = edges[i][1];
        assert_same("square", (double)value, (double)sum, (double)number_add_square(sum, value),
            (double)fmaf(value, value, sum));
    }
    assert_same("square", 0x1p-12, 1, (double)number_add_square(1, 0x1p-12f), 1);
    assert_same(
        "square", 0x1.000002p-12, 1, (double)number_add_square(1, 0x1.000002p-12f), 0x1.000002p+0);
}

static void powers_of_ten_have_whole_logarithms(void **state)
{
    (void)state;
    double power = 1;
    for (unsigned i = 0; i <= 22; i++, power *= 10)
        assert_true(number_log10(power) == i);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_those_of_the_math_library),
        cmocka_unit_test(squares_are_added_with_one_rounding),
        cmocka_unit_test(powers_of_ten_have_whole_logarithms),
    };
    return cmocka_run_group_tests_name("number", tests, NULL, NULL);
}
