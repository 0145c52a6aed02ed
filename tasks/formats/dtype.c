/* dtype.c - the table of types, and conversions on bits (docs/formats.md, "Dtype casts"). */
#include "tasks/formats/dtype.h"

#include <assert.h>
#include <stddef.h>

/* Tensors are little-endian in the file, and read and written without swapping. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "psybuild needs a little-endian machine");

static const struct {
    const char *name;
    uint32_t size_bytes;
} types[DTYPE_COUNT] = {
    [DTYPE_BOOL] = {"BOOL", 1},
    [DTYPE_U8] = {"U8", 1},
    [DTYPE_I8] = {"I8", 1},
    [DTYPE_F8_E5M2] = {"F8_E5M2", 1},
    [DTYPE_F8_E4M3] = {"F8_E4M3", 1},
    [DTYPE_F8_E8M0] = {"F8_E8M0", 1},
    [DTYPE_I16] = {"I16", 2},
    [DTYPE_U16] = {"U16", 2},
    [DTYPE_F16] = {"F16", 2},
    [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_I32] = {"I32", 4},
    [DTYPE_U32] = {"U32", 4},
    [DTYPE_F32] = {"F32", 4},
    [DTYPE_C64] = {"C64", 8},
    [DTYPE_F64] = {"F64", 8},
    [DTYPE_I64] = {"I64", 8},
    [DTYPE_U64] = {"U64", 8},
};

const char *dtype_name(enum dtype dtype)
{
    assert(dtype < DTYPE_COUNT);
    return types[dtype].name;
}

bool dtype_parse(struct text name, enum dtype *out)
{
    for (size_t i = 0; i < DTYPE_COUNT; i++) {
        if (text_is(name, types[i].name)) {
            *out = (enum dtype)i;
            return true;
        }
    }
    return false;
}

uint32_t dtype_size_bytes(enum dtype dtype)
{
    assert(dtype < DTYPE_COUNT);
    return types[dtype].size_bytes;
}

bool dtype_is_float(enum dtype dtype)
{
    return dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype == DTYPE_F32;
}

enum { F32_MAGNITUDE = 0x7FFFFFFF, F32_INFINITY = 0x7F800000 };

uint16_t dtype_f32_to_bf16(float value)
{
    uint32_t bits = float_bits(value);
    if ((bits & F32_MAGNITUDE) > F32_INFINITY)
        return 0x7FC0;
    /* Half a unit of the kept part, less one when it is even: a carry is a step up, or infinity. */
    return (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

uint16_t dtype_f32_to_f16(float value)
{
    uint32_t bits = float_bits(value), magnitude = bits & F32_MAGNITUDE, half;
    if (magnitude > F32_INFINITY)
        half = 0x7D00;
    else if (magnitude >= 0x477FF000) /* 65520: half way between the largest f16 and 2^16 */
        half = 0x7C00;
    else if (magnitude < 0x38800000) /* 2^-14, below it units of 2^-24: so has 0.5f */
        half = float_bits(float_of_bits(magnitude) + 0.5f) - 0x3F000000;
    else /* the exponent's bias goes from 127 to 15 */
        half = (magnitude - (112u << 23) + 0xFFF + ((magnitude >> 13) & 1)) >> 13;
    return (uint16_t)(half | ((bits >> 16) & 0x8000));
}

float dtype_bf16_to_f32(uint16_t bits)
{
    return float_of_bits((uint32_t)bits << 16);
}

float dtype_f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, magnitude = bits & 0x7FFF, wide;
    if (magnitude > 0x7C00)
        wide = F32_INFINITY | 0x400000 | (magnitude & 0x3FF) << 13;
    else if (magnitude == 0x7C00)
        wide = F32_INFINITY;
    else if (magnitude < 0x400) /* subnormal: a multiple of 2^-24 */
        wide = float_bits((float)magnitude * 0x1p-24f);
    else
        wide = (magnitude << 13) + (112u << 23);
    return float_of_bits(wide | sign);
}

uint8_t dtype_f32_to_e4m3(float value)
{
    uint32_t bits = float_bits(value), magnitude = bits & F32_MAGNITUDE, code;
    if (magnitude >= 0x43E00000) /* 448, the largest */
        code = 0x7E;
    else if (magnitude < 0x3C800000) /* 2^-6, below it units of 2^-9: so has 16384.0f */
        code = float_bits(float_of_bits(magnitude) + 16384.0f) - 0x46800000;
    else /* the exponent's bias goes from 127 to 7 */
        code = (magnitude - (120u << 23) + 0x7FFFF + ((magnitude >> 20) & 1)) >> 20;
    return (uint8_t)(code | ((bits >> 24) & 0x80));
}

float dtype_e4m3_to_f32(uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 0x80) << 24, magnitude = code & 0x7F, wide;
    if (magnitude == 0x7F)
        wide = 0x7FF00000;
    else if (magnitude < 8) /* subnormal: a multiple of 2^-9 */
        wide = float_bits((float)magnitude * 0x1p-9f);
    else
        wide = (magnitude << 20) + (120u << 23);
    return float_of_bits(wide | sign);
}
