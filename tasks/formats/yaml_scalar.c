/* yaml_scalar.c - the implicit types of YAML 1.1, by PyYAML's expressions, and what Python makes of
 * them (yaml_scalar.h). */
#include "tasks/formats/yaml_scalar.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json_write.h"

/* ---- kinds ---- */

static bool is_one_of(struct text text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (text_is(text, *words))
            return true;
    return false;
}

static const char *const trues[] = {
    "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", NULL};
static const char *const falses[] = {
    "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", NULL};
static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
static const char *const infinities[] = {
    ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", NULL};
static const char *const nans[] = {".nan", ".NaN", ".NAN", NULL};

static size_t skip(struct text text, size_t at, const char *set)
{
    while (at < text.length && text.bytes[at] != '\0' && strchr(set, text.bytes[at]) != NULL)
        at++;
    return at;
}

static bool at(struct text text, size_t index, char c)
{
    return index < text.length && text.bytes[index] == c;
}

/* ":[0-5]?[0-9]" once or more, from `*position`. */
static bool skip_sixties(struct text text, size_t *position)
{
    size_t i = *position, count = 0;
    while (at(text, i, ':') && i + 1 < text.length && char_is_digit(text.bytes[i + 1])) {
        bool is_pair =
            text.bytes[i + 1] <= '5' && i + 2 < text.length && char_is_digit(text.bytes[i + 2]);
        i += is_pair ? 3 : 2;
        count++;
    }
    *position = i;
    return count > 0;
}

static bool is_integer(struct text text)
{
    static const char digits[] = "0123456789_";
    size_t i = at(text, 0, '-') || at(text, 0, '+');
    if (i == text.length || !char_is_digit(text.bytes[i]))
        return false;
    if (text.bytes[i] == '0') {
        size_t next = i + 1;
        if (next == text.length)
            return true;
        if (text.bytes[next] == 'b')
            return next + 1 < text.length && skip(text, next + 1, "01_") == text.length;
        if (text.bytes[next] == 'x')
            return next + 1 < text.length &&
                   skip(text, next + 1, "0123456789abcdefABCDEF_") == text.length;
        return skip(text, next, "01234567_") == text.length;
    }
    i = skip(text, i, digits);
    return i == text.length || (skip_sixties(text, &i) && i == text.length);
}

static bool skip_exponent(struct text text, size_t *position)
{
    size_t i = *position;
    if (i == text.length)
        return true;
    if (!at(text, i, 'e') && !at(text, i, 'E'))
        return false;
    i++;
    if (!at(text, i, '-') && !at(text, i, '+'))
        return false;
    size_t end = skip(text, i + 1, "0123456789");
    *position = end;
    return end > i + 1 && end == text.length;
}

static bool is_float(struct text text)
{
    static const char digits[] = "0123456789_";
    size_t sign = at(text, 0, '-') || at(text, 0, '+'), i = sign;
    if (at(text, 0, '.') && text.length > 1 && char_is_digit(text.bytes[1])) {
        i = skip(text, 1, digits);
        return skip_exponent(text, &i);
    }
    if (i == text.length || !char_is_digit(text.bytes[i]))
        return false;
    i = skip(text, i, digits);
    if (at(text, i, ':'))
        return skip_sixties(text, &i) && at(text, i, '.') &&
               skip(text, i + 1, digits) == text.length;
    if (!at(text, i, '.'))
        return false;
    i = skip(text, i + 1, digits);
    return skip_exponent(text, &i);
}

struct moment {
    unsigned year, month, day, hour, minute, second, microsecond;
    bool has_time, has_zone;
    int zone_minutes; /* east of Greenwich */
};

/* A number of `min` to `max` digits at `*position`. */
static bool read_digits(struct text text, size_t *position, size_t min, size_t max, unsigned *out)
{
    size_t begin = *position, end = begin;
    *out = 0;
    while (end < text.length && end < begin + max && char_is_digit(text.bytes[end]))
        *out = 10 * *out + (unsigned)(text.bytes[end++] - '0');
    *position = end;
    return end >= begin + min;
}

static bool take(struct text text, size_t *position, char c)
{
    bool is_there = at(text, *position, c);
    *position += is_there;
    return is_there;
}

/* "", "Z", "+1", "-05:30", and nothing behind. */
static bool read_zone(struct text text, size_t i, struct moment *out)
{
    unsigned hours, minutes = 0;
    out->has_zone = i < text.length;
    if (i == text.length)
        return true;
    if (take(text, &i, 'Z'))
        return i == text.length;
    bool is_west = at(text, i, '-');
    if (!take(text, &i, '-') && !take(text, &i, '+'))
        return false;
    if (!read_digits(text, &i, 1, 2, &hours) ||
        (take(text, &i, ':') && !read_digits(text, &i, 2, 2, &minutes)))
        return false;
    out->zone_minutes = (is_west ? -1 : 1) * (int)(60 * hours + minutes);
    return i == text.length;
}

/* "2001-12-14", or "2001-12-14t21:59:43.10-05:00" and its kin, where a month may have one digit. */
static bool read_moment(struct text text, struct moment *out)
{
    size_t i = 0, month, day;
    *out = (struct moment){0};
    if (!read_digits(text, &i, 4, 4, &out->year) || !take(text, &i, '-'))
        return false;
    month = i;
    if (!read_digits(text, &i, 1, 2, &out->month) || !take(text, &i, '-'))
        return false;
    day = i;
    if (!read_digits(text, &i, 1, 2, &out->day))
        return false;
    if (i == text.length)
        return day - month == 3 && i - day == 2;
    out->has_time = true;
    size_t gap = skip(text, i, " \t");
    if (gap == i && !take(text, &gap, 'T') && !take(text, &gap, 't'))
        return false;
    i = gap;
    if (!read_digits(text, &i, 1, 2, &out->hour) || !take(text, &i, ':') ||
        !read_digits(text, &i, 2, 2, &out->minute) || !take(text, &i, ':') ||
        !read_digits(text, &i, 2, 2, &out->second))
        return false;
    if (take(text, &i, '.')) {
        size_t end = skip(text, i, "0123456789"), begin = i;
        read_digits(text, &i, 0, 6, &out->microsecond);
        for (size_t digits = i - begin; digits < 6; digits++)
            out->microsecond *= 10;
        i = end;
    }
    return read_zone(text, skip(text, i, " \t"), out);
}

enum yaml_kind yaml_scalar_kind(struct text text)
{
    struct moment moment;
    if (is_one_of(text, nulls))
        return YAML_NULL;
    if (is_one_of(text, trues) || is_one_of(text, falses))
        return YAML_BOOL;
    if (is_integer(text))
        return YAML_INTEGER;
    if (is_float(text) || is_one_of(text, infinities) || is_one_of(text, nans))
        return YAML_FLOAT;
    if (text_is(text, "<<") || text_is(text, "="))
        return text.length == 2 ? YAML_MERGE : YAML_VALUE;
    return read_moment(text, &moment) ? YAML_TIME : YAML_STRING;
}

/* ---- integers ---- */

/* Of any size: limbs of nine digits, the lowest first. */
struct integer {
    uint32_t limbs[YAML_DIGITS_MAX / 9 + 2];
    size_t count;
    bool is_too_large;
};
#define LIMB UINT32_C(1000000000)

static void multiply_add(struct integer *number, uint32_t factor, uint32_t addend)
{
    uint64_t carry = addend;
    for (size_t i = 0; i < number->count; i++) {
        carry += (uint64_t)number->limbs[i] * factor;
        number->limbs[i] = (uint32_t)(carry % LIMB);
        carry /= LIMB;
    }
    if (carry == 0)
        return;
    number->is_too_large |= number->count == sizeof number->limbs / sizeof number->limbs[0];
    if (!number->is_too_large)
        number->limbs[number->count++] = (uint32_t)carry; /* factor and addend are below a limb */
}

/* Digits of a base, with underscores, and ":" before sixtieths; how many digits there are. */
static size_t read_integer(struct text digits, uint32_t base, struct integer *out)
{
    uint32_t factor = 1, addend = 0;
    size_t count = 0;
    for (size_t i = 0; i < digits.length && !out->is_too_large; i++) {
        if (digits.bytes[i] == '_')
            continue;
        count++;
        bool is_colon = digits.bytes[i] == ':';
        if (is_colon || factor > UINT32_C(1) << 20) {
            multiply_add(out, factor, addend);
            factor = 1;
            addend = 0;
        }
        if (is_colon) {
            bool is_pair = i + 2 < digits.length && digits.bytes[i + 2] != ':';
            uint32_t tens = is_pair ? (uint32_t)(digits.bytes[i + 1] - '0') : 0;
            i += is_pair ? 2 : 1;
            factor = 60;
            addend = 10 * tens + (uint32_t)(digits.bytes[i] - '0');
        } else {
            factor *= base;
            addend = addend * base + (uint32_t)char_hex_value(digits.bytes[i]);
        }
    }
    multiply_add(out, factor, addend);
    return count;
}

static struct error *spell_integer(
    struct arena *arena, struct text text, struct text *out, const char **problem)
{
    struct integer number = {.count = 0};
    bool is_negative = at(text, 0, '-');
    struct text digits = text_from(text, is_negative || at(text, 0, '+'));
    bool is_binary = at(digits, 0, '0') && at(digits, 1, 'b');
    bool is_hex = at(digits, 0, '0') && at(digits, 1, 'x');
    if (is_binary || is_hex)
        digits = text_from(digits, 2);
    uint32_t base = is_binary ? 2 : is_hex ? 16 : at(digits, 0, '0') ? 8 : 10;
    bool has_digits = read_integer(digits, base, &number) > 0;
    if (!has_digits)
        *problem = "a number without digits";
    struct buffer buffer = {0};
    buffer_put_string(&buffer, number.count == 0 ? "0" : is_negative ? "-" : "");
    for (size_t i = number.count; i-- > 0;) {
        char limb[16];
        snprintf(
            limb, sizeof limb, i + 1 == number.count ? "%u" : "%09u", (unsigned)number.limbs[i]);
        buffer_put_string(&buffer, limb);
    }
    TRY(buffer_take(&buffer, arena, out));
    if (number.is_too_large || out->length - is_negative > (size_t)YAML_DIGITS_MAX)
        *problem = "an integer of more than 4300 digits";
    return NULL;
}

/* ---- floats ---- */

/* As Python adds them up: the last part first, in a double. */
static double add_sixties(char *digits)
{
    double value = 0, base = 1;
    for (char *colon = strrchr(digits, ':'); colon != NULL; colon = strrchr(digits, ':')) {
        value += strtod(colon + 1, NULL) * base;
        base *= 60;
        *colon = '\0';
    }
    return value + strtod(digits, NULL) * base;
}

static struct error *spell_float(struct arena *arena, struct text text, struct text *out)
{
    bool is_negative = at(text, 0, '-');
    size_t length = 0;
    char spelled[JSON_DOUBLE_MAX], *digits = arena_copy(arena, text.bytes, text.length);
    TRY(memory_check(digits));
    for (size_t i = is_negative || at(text, 0, '+'); i < text.length; i++)
        if (text.bytes[i] != '_')
            digits[length++] = text.bytes[i];
    digits[length] = '\0';
    double number = is_one_of(text, infinities) ? (double)INFINITY : add_sixties(digits);
    if (is_one_of(text, nans) || isinf(number)) {
        *out = text_of(is_one_of(text, nans) ? ".nan" : is_negative ? "-.inf" : ".inf");
        return NULL;
    }
    json_double_repr(spelled, is_negative ? -number : number);
    const char *exponent = strchr(spelled, 'e');
    bool needs_point = exponent != NULL && strchr(spelled, '.') == NULL;
    char *made = needs_point
                     ? arena_format(arena, "%.*s.0%s", (int)(exponent - spelled), spelled, exponent)
                     : arena_format(arena, "%s", spelled);
    *out = text_of(made);
    return memory_check(made);
}

/* ---- dates and times ---- */

static bool is_of_calendar(const struct moment *moment)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year = moment->year;
    if (year == 0 || moment->month < 1 || moment->month > 12 || moment->day < 1)
        return false;
    bool is_leap = moment->month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return moment->day <= days[moment->month - 1] + (unsigned)is_leap && moment->hour < 24 &&
           moment->minute < 60 && moment->second < 60 && abs(moment->zone_minutes) < 24 * 60;
}

static struct error *spell_moment(
    struct arena *arena, struct text text, struct text *out, const char **problem)
{
    struct moment moment;
    char time[48] = "", fraction[24] = "", zone[24] = "";
    if (!read_moment(text, &moment) || !is_of_calendar(&moment))
        *problem = "a date or time that does not exist";
    unsigned east = (unsigned)abs(moment.zone_minutes);
    if (moment.has_time)
        snprintf(time, sizeof time, " %02u:%02u:%02u", moment.hour, moment.minute, moment.second);
    if (moment.microsecond > 0)
        snprintf(fraction, sizeof fraction, ".%06u", moment.microsecond);
    if (moment.has_zone)
        snprintf(zone, sizeof zone, "%c%02u:%02u", moment.zone_minutes < 0 ? '-' : '+', east / 60,
            east % 60);
    char *made = arena_format(
        arena, "%04u-%02u-%02u%s%s%s", moment.year, moment.month, moment.day, time, fraction, zone);
    *out = text_of(made);
    return memory_check(made);
}

struct error *yaml_scalar_spell(struct arena *arena, enum yaml_kind kind, struct text text,
    struct text *out, const char **problem)
{
    *problem = NULL;
    *out = text;
    switch (kind) {
    case YAML_NULL:
        *out = text_of("null");
        return NULL;
    case YAML_BOOL:
        *out = text_of(is_one_of(text, trues) ? "true" : "false");
        return NULL;
    case YAML_INTEGER:
        return spell_integer(arena, text, out, problem);
    case YAML_FLOAT:
        return spell_float(arena, text, out);
    case YAML_TIME:
        return spell_moment(arena, text, out, problem);
    default:
        return NULL;
    }
}
