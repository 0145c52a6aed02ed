/* quant_scalar.c - the specification: plain loops beside the formulas (docs/formats.md).
 *
 * All arithmetic is float32 with one rounding for each operation; "rounded" is the further rounding
 * to the dtype of the weights. Where a result is NaN its bits are x86's on every machine: the first
 * NaN operand, quiet, else the default NaN, which is negative. */
#include "tasks/formats/quant.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>

#include "base/number.h"

static const float EPSILON = 1e-7f; /* 0x33D6BF95, MLX's least scale */
static const uint32_t NAN_DEFAULT = 0xFFC00000;
static const float FP4_MAX = 6, FP8_MAX = 448;

static float nan_of(float a, float b)
{
    if (isnan(a))
        return float_of_bits(float_bits(a) | 0x400000);
    if (isnan(b))
        return float_of_bits(float_bits(b) | 0x400000);
    return float_of_bits(NAN_DEFAULT);
}

static float add(float a, float b)
{
    float sum = a + b;
    return isnan(sum) ? nan_of(a, b) : sum;
}

static float subtract(float a, float b)
{
    float difference = a - b;
    return isnan(difference) ? nan_of(a, b) : difference;
}

static float multiply(float a, float b)
{
    float product = a * b;
    return isnan(product) ? nan_of(a, b) : product;
}

static float divide(float a, float b)
{
    float quotient = a / b;
    return isnan(quotient) ? nan_of(a, b) : quotient;
}

/* ---- elements ---- */

static float load(enum dtype dtype, const unsigned char *values, size_t i)
{
    uint32_t wide;
    uint16_t half;
    if (dtype == DTYPE_F32) {
        memcpy(&wide, values + 4 * i, sizeof wide);
        return float_of_bits(wide);
    }
    memcpy(&half, values + 2 * i, sizeof half);
    return dtype == DTYPE_BF16 ? dtype_bf16_to_f32(half) : dtype_f16_to_f32(half);
}

static void store(enum dtype dtype, unsigned char *values, size_t i, float value)
{
    if (dtype == DTYPE_F32) {
        memcpy(values + 4 * i, &value, sizeof value);
        return;
    }
    uint16_t half = dtype == DTYPE_BF16 ? dtype_f32_to_bf16(value) : dtype_f32_to_f16(value);
    memcpy(values + 2 * i, &half, sizeof half);
}

static float rounded(enum dtype dtype, float value)
{
    if (dtype == DTYPE_F32)
        return value;
    return dtype == DTYPE_BF16 ? dtype_bf16_to_f32(dtype_f32_to_bf16(value))
                               : dtype_f16_to_f32(dtype_f32_to_f16(value));
}

/* ---- codes: a little-endian bit stream, the first code in the lowest bits ---- */

static void pack(uint32_t bits, uint32_t count, const uint8_t *codes, unsigned char *stream)
{
    uint32_t pending = 0, pending_bits = 0;
    for (uint32_t i = 0; i < count; i++) {
        pending |= (uint32_t)codes[i] << pending_bits;
        for (pending_bits += bits; pending_bits >= 8; pending_bits -= 8) {
            *stream++ = (unsigned char)pending;
            pending >>= 8;
        }
    }
}

static void unpack(uint32_t bits, uint32_t count, const unsigned char *stream, uint8_t *codes)
{
    uint32_t pending = 0, pending_bits = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (pending_bits < bits) {
            pending |= (uint32_t)*stream++ << pending_bits;
            pending_bits += 8;
        }
        codes[i] = (uint8_t)(pending & ((1u << bits) - 1));
        pending >>= bits;
        pending_bits -= bits;
    }
}

/* ---- affine ---- */

struct affine {
    float scale, bias; /* not yet rounded: codes are computed from these */
};

/* A NaN is no extremum: it compares false. */
static void find_extrema(uint32_t count, const float *weights, float *lowest, float *highest)
{
    float low = INFINITY, high = -INFINITY;
    for (uint32_t i = 0; i < count; i++) {
        if (weights[i] > high)
            high = weights[i];
        if (weights[i] < low)
            low = weights[i];
    }
    *lowest = low;
    *highest = high;
}

/* The scale is negative when the highest weight is the farther from zero: code 0 then stands for
 * it. That weight, the edge, is made exact: it is the bias, and q0 codes away from zero. */
static struct affine affine_of(uint32_t bits, float lowest, float highest)
{
    float step = divide(subtract(highest, lowest), (float)((1u << bits) - 1));
    float scale = EPSILON > step ? EPSILON : step;
    if (bits == 1)
        return (struct affine){scale, lowest};
    bool is_low = fabsf(lowest) > fabsf(highest);
    float edge = is_low ? lowest : highest;
    if (!is_low)
        scale = -scale;
    float q0 = number_round(divide(edge, scale));
    if (q0 == 0)
        return (struct affine){scale, 0};
    return (struct affine){divide(edge, q0), edge};
}

static uint8_t affine_code(uint32_t bits, struct affine affine, float weight)
{
    float code = number_round((weight - affine.bias) / affine.scale);
    float highest = (float)((1u << bits) - 1);
    if (!(code > 0)) /* a NaN, too */
        return 0;
    return (uint8_t)(code > highest ? highest : code);
}

static struct affine affine_quantize(
    const struct quant_shape *shape, const float *weights, uint8_t *codes)
{
    float lowest, highest;
    find_extrema(shape->group_size, weights, &lowest, &highest);
    struct affine affine = affine_of(shape->bits, lowest, highest);
    for (uint32_t i = 0; i < shape->group_size; i++)
        codes[i] = affine_code(shape->bits, affine, weights[i]);
    return affine;
}

static float affine_value(enum dtype dtype, uint8_t code, float scale, float bias)
{
    return add(rounded(dtype, multiply(code, scale)), bias); /* a code of 8 bits is exact in all */
}

/* ---- mxfp4, mxfp8, nvfp4 ---- */

static const float fp4_values[16] = {
    0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/* The first of the nearest values: a tie goes towards zero, and -0 never wins. */
static uint8_t fp4_code(float value)
{
    float distance_min = INFINITY;
    uint8_t nearest = 0;
    for (uint8_t i = 0; i < 16; i++) {
        float distance = fabsf(value - fp4_values[i]);
        if (distance < distance_min) {
            distance_min = distance;
            nearest = i;
        }
    }
    return nearest;
}

static uint8_t fp_code(enum quant_mode mode, float value)
{
    return mode == QUANT_MXFP8 ? dtype_f32_to_e4m3(value) : fp4_code(value);
}

/* The largest magnitude; a NaN is larger than all. As bits they are in order. */
static float find_magnitude_max(uint32_t count, const float *weights)
{
    uint32_t highest = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t magnitude = float_bits(weights[i]) & 0x7FFFFFFF;
        highest = magnitude > highest ? magnitude : highest;
    }
    return float_of_bits(highest);
}

/* The power of two at or above a positive finite `value`, by its exponent. */
static int exponent_above(float value)
{
    int exponent;
    return frexpf(value, &exponent) == 0.5f ? exponent - 1 : exponent;
}

/* What the weights are divided by, and the byte that stands for it. In the mx modes the byte is the
 * biased exponent's low one: MLX does not clamp it, though the divisor is right. For a non-finite
 * maximum the reference converts an exponent of -2^31 through the dtype. */
static float fp_divisor(const struct quant_shape *shape, float magnitude_max, uint8_t *scale)
{
    float top = shape->mode == QUANT_MXFP8 ? FP8_MAX : FP4_MAX;
    float value = rounded(shape->dtype, magnitude_max / top);
    if (shape->mode == QUANT_NVFP4) {
        *scale = dtype_f32_to_e4m3(value);
        return dtype_e4m3_to_f32(*scale);
    }
    if (!isfinite(value)) {
        *scale = shape->dtype == DTYPE_F32 ? 128 : 0;
        return 0;
    }
    int exponent = value == 0 ? 0 : exponent_above(value);
    *scale = (uint8_t)(exponent + 127);
    return rounded(shape->dtype, ldexpf(1, exponent));
}

static uint8_t fp_quantize(const struct quant_shape *shape, const float *weights, uint8_t *codes)
{
    uint8_t scale;
    float magnitude_max = find_magnitude_max(shape->group_size, weights);
    float divisor = fp_divisor(shape, magnitude_max, &scale);
    for (uint32_t i = 0; i < shape->group_size; i++)
        codes[i] = fp_code(shape->mode, rounded(shape->dtype, divide(weights[i], divisor)));
    return scale;
}

static float fp_scale_value(const struct quant_shape *shape, uint8_t scale)
{
    float value = shape->mode == QUANT_NVFP4 ? dtype_e4m3_to_f32(scale) : ldexpf(1, scale - 127);
    return rounded(shape->dtype, value);
}

static float fp_code_value(const struct quant_shape *shape, uint8_t code)
{
    float value = shape->mode == QUANT_MXFP8 ? dtype_e4m3_to_f32(code) : fp4_values[code];
    return rounded(shape->dtype, value);
}

/* ---- the table ---- */

/* The values that the codes of one group stand for, not yet rounded to the dtype. */
static void dequantize_group(const struct quant_shape *shape, size_t group,
    const unsigned char *codes, const void *scales, const void *biases, float *values)
{
    const unsigned char *scale_bytes = scales;
    uint32_t count = shape->group_size;
    bool is_affine = shape->mode == QUANT_AFFINE;
    uint8_t group_codes[QUANT_GROUP_SIZE_MAX];
    float scale =
        is_affine ? load(shape->dtype, scales, group) : fp_scale_value(shape, scale_bytes[group]);
    float bias = is_affine ? load(shape->dtype, biases, group) : 0;
    unpack(shape->bits, count, codes + group * count / 8 * shape->bits, group_codes);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t code = group_codes[i];
        values[i] = is_affine ? affine_value(shape->dtype, code, scale, bias)
                              : multiply(fp_code_value(shape, code), scale);
    }
}

enum { LANES = 32 };

static float sum_of_lanes(float *lanes)
{
    for (size_t width = 1; width < LANES; width *= 2)
        for (size_t lane = 0; lane < LANES; lane += 2 * width)
            lanes[lane] += lanes[lane + width];
    return lanes[0];
}

/* What the group's codes stand for against its weights. */
static void measure_group(const struct quant_shape *shape, size_t group, const float *weights,
    const float *values, const struct quant_group_errors *out)
{
    float errors[LANES] = {0}, squares[LANES] = {0}, square_max = 0;
    for (uint32_t i = 0; i < shape->group_size; i++) {
        float error = weights[i] - rounded(shape->dtype, values[i]);
        errors[i % LANES] = number_add_square(errors[i % LANES], error);
        squares[i % LANES] = number_add_square(squares[i % LANES], weights[i]);
        square_max = error * error > square_max ? error * error : square_max;
    }
    out->error_squares[group] = sum_of_lanes(errors);
    out->weight_squares[group] = sum_of_lanes(squares);
    out->square_max[group] = square_max;
}

static bool quantize(const struct quant_shape *shape, uint64_t groups, const void *weights,
    void *codes, void *scales, void *biases, const struct quant_group_errors *errors)
{
    const unsigned char *in = weights;
    unsigned char *out = codes, *scale_bytes = scales;
    uint32_t count = shape->group_size;
    bool is_finite = true;
    for (size_t group = 0; group < groups; group++) {
        float values[QUANT_GROUP_SIZE_MAX];
        uint8_t group_codes[QUANT_GROUP_SIZE_MAX];
        for (uint32_t i = 0; i < count; i++) {
            values[i] = load(shape->dtype, in, group * count + i);
            is_finite = is_finite && isfinite(values[i]);
        }
        if (shape->mode == QUANT_AFFINE) {
            struct affine affine = affine_quantize(shape, values, group_codes);
            store(shape->dtype, scales, group, affine.scale);
            store(shape->dtype, biases, group, affine.bias);
        } else {
            scale_bytes[group] = fp_quantize(shape, values, group_codes);
        }
        pack(shape->bits, count, group_codes, out + group * count / 8 * shape->bits);
        if (errors != NULL) {
            float back[QUANT_GROUP_SIZE_MAX];
            dequantize_group(shape, group, codes, scales, biases, back);
            measure_group(shape, group, values, back, errors);
        }
    }
    return is_finite;
}

static void dequantize(const struct quant_shape *shape, uint64_t groups, const void *codes,
    const void *scales, const void *biases, void *weights)
{
    for (size_t group = 0; group < groups; group++) {
        float values[QUANT_GROUP_SIZE_MAX];
        dequantize_group(shape, group, codes, scales, biases, values);
        for (uint32_t i = 0; i < shape->group_size; i++)
            store(shape->dtype, weights, group * shape->group_size + i, values[i]);
    }
}

static void cast(
    enum dtype from, enum dtype to, uint64_t count, const void *values_in, void *values_out)
{
    assert(dtype_is_float(from) && dtype_is_float(to));
    if (from == to) {
        memcpy(values_out, values_in, (size_t)count * dtype_size_bytes(from));
        return;
    }
    for (size_t i = 0; i < count; i++)
        store(to, values_out, i, load(from, values_in, i));
}

static uint64_t find_nonfinite(enum dtype dtype, uint64_t count, const void *values)
{
    assert(dtype_is_float(dtype));
    size_t i = 0;
    while (i < count && isfinite(load(dtype, values, i)))
        i++;
    return i;
}

const struct quant_kernels quant_kernels_scalar = {
    .name = "scalar",
    .features = 0,
    .quantize = quantize,
    .dequantize = dequantize,
    .cast = cast,
    .find_nonfinite = find_nonfinite,
};
