/* dtype.h - element types of safetensors files, and the float conversions of MLX.
 *
 * The conversions work on bits and never trap: the rules are MLX's (docs/formats.md, "Dtype
 * casts"), which differ from most hardware in what becomes of a NaN. bf16, f16 and E4M3 travel as
 * bits. */
#ifndef PSYBUILD_TASKS_FORMATS_DTYPE_H
#define PSYBUILD_TASKS_FORMATS_DTYPE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"

enum dtype {
    DTYPE_BOOL,
    DTYPE_U8,
    DTYPE_I8,
    DTYPE_F8_E5M2,
    DTYPE_F8_E4M3,
    DTYPE_F8_E8M0,
    DTYPE_I16,
    DTYPE_U16,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I32,
    DTYPE_U32,
    DTYPE_F32,
    DTYPE_C64,
    DTYPE_F64,
    DTYPE_I64,
    DTYPE_U64,
    DTYPE_COUNT
};

const char *dtype_name(enum dtype dtype); /* as safetensors writes it: "BF16", "F8_E4M3" */
bool dtype_parse(struct text name, enum dtype *out); /* false, `*out` untouched: not a known name */
uint32_t dtype_size_bytes(enum dtype dtype);         /* 1, 2, 4 or 8 */
bool dtype_is_float(enum dtype dtype);               /* F16, BF16, F32: what a converter casts */

uint16_t dtype_f32_to_bf16(float value); /* nearest even; every NaN becomes 0x7FC0 */
uint16_t dtype_f32_to_f16(float value);  /* nearest even, subnormals kept; NaN: sign and 0x7D00 */
float dtype_bf16_to_f32(uint16_t bits);  /* exact, the NaN payload kept as it is */
float dtype_f16_to_f32(uint16_t bits);   /* exact; NaN: payload shifted, quiet bit set */
uint8_t dtype_f32_to_e4m3(float value);  /* nearest even; 448 and up, inf and NaN give +-448 */
float dtype_e4m3_to_f32(uint8_t code);   /* exact; 0x7F and 0xFF are the NaN of their sign */

/* A float by its bits, and back. */
static inline uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
