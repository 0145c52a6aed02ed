/* number.c - in terms of the basic operations, all of them exact but in the logarithm. */
#include "base/number.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define FRACTION_MAX 0x1p52 /* a double of this size or more is whole */
#define LN_10 0x1.26bb1bbb55516p+1

double number_floor(double value)
{
    if (!(fabs(value) < FRACTION_MAX))
        return value;
    double whole = (double)(int64_t)value;
    return copysign(whole > value ? whole - 1 : whole, value); /* -0.0 stays -0.0 */
}

float number_round(float value)
{
    const float whole = 8388608; /* 2^23: from there on there are integers only */
    if (!(value > -whole && value < whole))
        return value;
    float rounded = value < 0 ? (value - whole) + whole : (value + whole) - whole;
    return copysignf(rounded, value);
}

/* The square is exact as a double. Its sum is rounded to odd, and so rounds to float as if it were
 * exact (Boldo and Melquiond, "Emulation of a FMA and Correctly Rounded Sums: Proved Algorithms
 * Using Rounding to Odd", 2008). */
float number_add_square(float sum, float value)
{
    const double square = (double)value * (double)value, addend = (double)sum;
    double total = square + addend;
    const double added = total - square;
    const double lost = (square - (total - added)) + (addend - added); /* Knuth's two-sum */
    uint64_t bits;
    memcpy(&bits, &total, sizeof bits);
    if (isfinite(total) && lost != 0 && bits % 2 == 0)
        bits = lost > 0 ? bits + 1 : bits - 1; /* no total is negative */
    memcpy(&total, &bits, sizeof total);
    return (float)total;
}

/* What is taken off is b * 2^n, at most the rest and more than half of it: no step rounds. */
double number_remainder(double a, double b)
{
    double rest = fabs(a), unit = fabs(b);
    if (!isfinite(a) || isnan(b) || unit == 0)
        return (double)NAN;
    while (rest >= unit) {
        int exponent_rest, exponent_unit;
        double left = frexp(rest, &exponent_rest), right = frexp(unit, &exponent_unit);
        rest -= ldexp(unit, exponent_rest - exponent_unit - (left < right));
    }
    return copysign(rest, a);
}

double number_log10(double value)
{
    if (!(value > 0))
        return value < 0 || isnan(value) ? (double)NAN : -(double)INFINITY;
    if (isinf(value)) /* dividing it leaves it as it is */
        return value;
    double whole = 0;
    for (; value >= 10; value /= 10)
        whole++;
    for (; value < 1; value *= 10)
        whole--;
    /* ln(value) = 2 (y + y^3 / 3 + y^5 / 5 + ...); y is less than 9 / 11 */
    double y = (value - 1) / (value + 1), power = y, sum = 0;
    for (double n = 1; power / n > sum * 0x1p-60; n += 2, power *= y * y)
        sum += power / n;
    return whole + 2 * sum / LN_10;
}
