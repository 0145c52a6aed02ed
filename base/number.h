/* number.h - the functions of C's math library that psybuild needs, and that are not one
 * instruction: without them it need not be loaded, which every start of the program would pay for.
 * The results do not depend on the machine. */
#ifndef PSYBUILD_BASE_NUMBER_H
#define PSYBUILD_BASE_NUMBER_H

double number_floor(double value);
/* As rintf: to the nearest integer, of two the even one; the sign stays, NaN and infinity, too. */
float number_round(float value);
/* As fmaf(value, value, sum), for a sum that is not negative; not finite if a number or what comes
 * of it is not. */
float number_add_square(float sum, float value);
/* As fmod: exact, with the sign of `a`; NaN when `b` is zero, or when `a` is not finite. */
double number_remainder(double a, double b);
/* As log10: to a few units in the last place, exact for 1, 10, 100, ...; -infinity of zero, NaN of
 * what is negative. */
double number_log10(double value);

#endif
