/* quant_neon.c - the kernels with NEON, which every arm64 has; equal to the scalar ones bit for
 * bit.
 *
 * Four groups make a batch: their extrema are found one group after the other, their scales
 * computed side by side, one lane for each, then their codes. */
#include "tasks/formats/quant.h"

#include <stddef.h>

#include "base/cpu.h"

#if defined(__aarch64__) && defined(__ARM_NEON)

#include <arm_neon.h>
#include <math.h>

#define QUANT_BATCH 4
#define QUANT_GROUPS_BEHIND 2 /* at least the 7 bytes that a load of 8 may reach too far */
#include "tasks/formats/quant_vector.h"

enum { CHUNK = 16 }; /* weights whose codes are packed together */

/* ---- four elements ---- */

INLINE float32x4_t load4(enum dtype dtype, const unsigned char *values)
{
    if (dtype == DTYPE_F32)
        return vreinterpretq_f32_u8(vld1q_u8(values));
    uint16x4_t halves = vreinterpret_u16_u8(vld1_u8(values));
    if (dtype == DTYPE_F16)
        return vcvt_f32_f16(vreinterpret_f16_u16(halves));
    return vreinterpretq_f32_u32(vshll_n_u16(halves, 16));
}

/* To bf16 in the upper halves; the lower ones are what is cut off. No NaN. */
INLINE uint32x4_t round_to_bf16(float32x4_t values)
{
    uint32x4_t bits = vreinterpretq_u32_f32(values);
    uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    return vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
}

INLINE void store4(
    enum dtype dtype, unsigned char *values, float32x4_t wide) /* no NaN, but in F32 */
{
    if (dtype == DTYPE_F32)
        vst1q_u8(values, vreinterpretq_u8_f32(wide));
    else if (dtype == DTYPE_F16)
        vst1_u8(values, vreinterpret_u8_f16(vcvt_f16_f32(wide)));
    else
        vst1_u8(values, vreinterpret_u8_u16(vshrn_n_u32(round_to_bf16(wide), 16)));
}

INLINE float32x4_t rounded(enum dtype dtype, float32x4_t values) /* no NaN */
{
    if (dtype == DTYPE_F32)
        return values;
    if (dtype == DTYPE_F16)
        return vcvt_f32_f16(vcvt_f16_f32(values));
    return vreinterpretq_f32_u32(vandq_u32(round_to_bf16(values), vdupq_n_u32(0xFFFF0000)));
}

INLINE uint32x4_t magnitude_bits(float32x4_t values)
{
    return vandq_u32(vreinterpretq_u32_f32(values), vdupq_n_u32(0x7FFFFFFF));
}

INLINE bool all_finite(float32x4_t values)
{
    return vmaxvq_u32(magnitude_bits(values)) < 0x7F800000;
}

/* ---- codes to bytes ---- */

/* Sixteen codes, a byte each, to 2 * bits bytes: joins two in each 16 bits, four in 32, eight
 * in 64. */
INLINE void store_codes(uint32_t bits, unsigned char *out, uint8x16_t codes)
{
    if (bits == 8) {
        vst1q_u8(out, codes);
        return;
    }
    uint16x8_t one = vreinterpretq_u16_u8(codes);
    uint16x8_t odd = vshlq_u16(vshrq_n_u16(one, 8), vdupq_n_s16((int16_t)bits));
    uint32x4_t two = vreinterpretq_u32_u16(vorrq_u16(vandq_u16(one, vdupq_n_u16(0xFF)), odd));
    uint32x4_t odd_two = vshlq_u32(vshrq_n_u32(two, 16), vdupq_n_s32((int32_t)(2 * bits)));
    uint64x2_t four =
        vreinterpretq_u64_u32(vorrq_u32(vandq_u32(two, vdupq_n_u32(0xFFFF)), odd_two));
    uint64x2_t odd_four = vshlq_u64(vshrq_n_u64(four, 32), vdupq_n_s64((int64_t)(4 * bits)));
    uint64x2_t eight = vorrq_u64(vandq_u64(four, vdupq_n_u64(0xFFFFFFFF)), odd_four);
    uint64_t low = vgetq_lane_u64(eight, 0), high = vgetq_lane_u64(eight, 1);
    memcpy(out, &low, bits);
    memcpy(out + bits, &high, bits);
}

/* ---- measuring what was quantized just now ---- */

struct measuring {
    const struct quant_shape *shape;
    const unsigned char *weights, *codes, *scales, *biases;
};

struct group_error {
    float error_squares, weight_squares, square_max;
};

/* Of the next group; codes of QUANT_GROUPS_BEHIND more may be read. NaN if it has a NaN. */
INLINE struct group_error group_error(
    enum quant_mode mode, uint32_t bits, enum dtype dtype, const struct measuring *at);

/* The errors of the groups of a batch, one after the other, from codes with room behind them. */
INLINE void measure_batch(enum quant_mode mode, uint32_t bits, enum dtype dtype,
    const struct quantizing *quantized, uint32_t groups)
{
    enum { BATCH_BYTES = 512, BYTES_BEHIND = 16 };
    const uint32_t group_size = quantized->shape->group_size;
    unsigned char codes[BATCH_BYTES + BYTES_BEHIND] = {0};
    assert(groups * group_size / 8 * bits <= BATCH_BYTES);
    memcpy(codes, quantized->codes, groups * group_size / 8 * bits);
    struct measuring at = {
        quantized->shape, quantized->weights, codes, quantized->scales, quantized->biases};
    for (uint32_t i = 0; i < groups; i++) {
        struct group_error error = group_error(mode, bits, dtype, &at);
        quantized->errors.error_squares[i] = error.error_squares;
        quantized->errors.weight_squares[i] = error.weight_squares;
        quantized->errors.square_max[i] = error.square_max;
        at.weights += group_size * size_of(dtype);
        at.codes += group_size / 8 * bits;
        at.scales += mode == QUANT_AFFINE ? size_of(dtype) : 1;
        if (mode == QUANT_AFFINE)
            at.biases += size_of(dtype);
    }
}

/* ---- affine ---- */

/* Compared, for the instructions for min and max give NaN when a weight is one. */
INLINE void find_extrema4(enum dtype dtype, uint32_t group_size, const unsigned char *weights,
    float32x4_t *lowest, float32x4_t *highest)
{
    float32x4_t low[QUANT_BATCH], high[QUANT_BATCH];
    for (size_t group = 0; group < QUANT_BATCH; group++) {
        low[group] = vdupq_n_f32(INFINITY);
        high[group] = vdupq_n_f32(-INFINITY);
        for (uint32_t i = 0; i < group_size; i += 4) {
            float32x4_t values = load4(dtype, weights);
            low[group] = vbslq_f32(vcltq_f32(values, low[group]), values, low[group]);
            high[group] = vbslq_f32(vcgtq_f32(values, high[group]), values, high[group]);
            weights += 4 * size_of(dtype);
        }
    }
    *lowest = vpminq_f32(vpminq_f32(low[0], low[1]), vpminq_f32(low[2], low[3]));
    *highest = vpmaxq_f32(vpmaxq_f32(high[0], high[1]), vpmaxq_f32(high[2], high[3]));
}

struct affine4 {
    float32x4_t scale, bias; /* of four groups */
};

/* affine_of in quant_scalar.c, line by line. */
INLINE struct affine4 affine_of4(uint32_t bits, float32x4_t lowest, float32x4_t highest)
{
    float32x4_t count = vdupq_n_f32((float)((1u << bits) - 1)), epsilon = vdupq_n_f32(1e-7f);
    float32x4_t step = vdivq_f32(vsubq_f32(highest, lowest), count);
    float32x4_t scale = vbslq_f32(vcgtq_f32(epsilon, step), epsilon, step);
    if (bits == 1)
        return (struct affine4){scale, lowest};
    uint32x4_t is_low = vcgtq_f32(vabsq_f32(lowest), vabsq_f32(highest));
    float32x4_t edge = vbslq_f32(is_low, lowest, highest);
    scale = vbslq_f32(is_low, scale, vnegq_f32(scale));
    float32x4_t q0 = vrndnq_f32(vdivq_f32(edge, scale));
    uint32x4_t is_zero = vceqzq_f32(q0);
    return (struct affine4){
        vbslq_f32(is_zero, scale, vdivq_f32(edge, q0)),
        vbslq_f32(is_zero, vdupq_n_f32(0), edge),
    };
}

/* Rounds to even; what is too large saturates, and a NaN becomes 0. */
INLINE int32x4_t affine_codes4(float32x4_t weights, float32x4_t scale, float32x4_t bias)
{
    return vcvtnq_s32_f32(vdivq_f32(vsubq_f32(weights, bias), scale));
}

INLINE uint8x16_t clamp_to_bytes(const int32x4_t values[4], uint8_t highest)
{
    uint16x8_t low = vcombine_u16(vqmovun_s32(values[0]), vqmovun_s32(values[1]));
    uint16x8_t high = vcombine_u16(vqmovun_s32(values[2]), vqmovun_s32(values[3]));
    return vminq_u8(vcombine_u8(vqmovn_u16(low), vqmovn_u16(high)), vdupq_n_u8(highest));
}

INLINE void affine_group(enum dtype dtype, uint32_t bits, uint32_t group_size,
    const unsigned char *weights, unsigned char *codes, float32x4_t scale, float32x4_t bias)
{
    for (uint32_t i = 0; i < group_size; i += CHUNK) {
        int32x4_t chunk[4];
        for (int j = 0; j < 4; j++) {
            chunk[j] = affine_codes4(load4(dtype, weights), scale, bias);
            weights += 4 * size_of(dtype);
        }
        store_codes(bits, codes, clamp_to_bytes(chunk, (uint8_t)((1u << bits) - 1)));
        codes += CHUNK / 8 * bits;
    }
}

/* False, and nothing done, if the scalar kernel must do it. At 1 bit a zero bias has the sign of
 * the first zero among the weights, which the extrema do not tell. */
INLINE bool affine_batch(
    enum dtype dtype, uint32_t bits, uint32_t group_size, const struct quantizing *at)
{
    float32x4_t lowest, highest;
    find_extrema4(dtype, group_size, at->weights, &lowest, &highest);
    struct affine4 affine = affine_of4(bits, lowest, highest);
    if (!all_finite(affine.scale) || !all_finite(affine.bias))
        return false;
    if (bits == 1 && vmaxvq_u32(vceqzq_f32(lowest)) != 0)
        return false;
    store4(dtype, at->scales, affine.scale);
    store4(dtype, at->biases, affine.bias);
    float scales[QUANT_BATCH], biases[QUANT_BATCH];
    vst1q_f32(scales, affine.scale);
    vst1q_f32(biases, affine.bias);
    for (size_t group = 0; group < QUANT_BATCH; group++)
        affine_group(dtype, bits, group_size, at->weights + group * group_size * size_of(dtype),
            at->codes + group * group_size / 8 * bits, vdupq_n_f32(scales[group]),
            vdupq_n_f32(biases[group]));
    if (at->errors.error_squares != NULL)
        measure_batch(QUANT_AFFINE, bits, dtype, at, QUANT_BATCH);
    return true;
}

INLINE uint64_t affine_batches(
    enum dtype dtype, uint32_t bits, uint32_t group_size, struct quantizing *at, uint64_t groups)
{
    at->is_finite = false; /* the comparisons skip a NaN */
    for (; groups >= QUANT_BATCH; groups -= QUANT_BATCH) {
        if (!affine_batch(dtype, bits, group_size, at))
            quantize_scalar(at, QUANT_BATCH);
        step_quantizing(QUANT_AFFINE, bits, dtype, at, QUANT_BATCH);
    }
    return groups;
}

/* ---- mxfp4, mxfp8, nvfp4 ---- */

/* The bits of the largest magnitude: magnitudes are in the order of their bits. */
INLINE uint32_t magnitude_max(enum dtype dtype, uint32_t group_size, const unsigned char *weights)
{
    if (dtype == DTYPE_F32) {
        uint32x4_t most = vdupq_n_u32(0);
        for (uint32_t i = 0; i < group_size; i += 4)
            most = vmaxq_u32(most, magnitude_bits(load4(DTYPE_F32, weights + 4 * i)));
        return vmaxvq_u32(most);
    }
    uint16x8_t most = vdupq_n_u16(0), mask = vdupq_n_u16(0x7FFF);
    for (uint32_t i = 0; i < group_size; i += 8)
        most = vmaxq_u16(most, vandq_u16(vreinterpretq_u16_u8(vld1q_u8(weights + 2 * i)), mask));
    return vmaxvq_u16(most);
}

INLINE float32x4_t magnitude_max4(
    enum dtype dtype, uint32_t group_size, const unsigned char *weights)
{
    uint32_t wide[QUANT_BATCH];
    uint16_t halves[QUANT_BATCH];
    for (size_t group = 0; group < QUANT_BATCH; group++) {
        wide[group] = magnitude_max(dtype, group_size, weights);
        halves[group] = (uint16_t)wide[group];
        weights += group_size * size_of(dtype);
    }
    return load4(
        dtype, dtype == DTYPE_F32 ? (const unsigned char *)wide : (const unsigned char *)halves);
}

/* dtype_f32_to_e4m3 of four values. */
INLINE int32x4_t e4m3_of4(float32x4_t values)
{
    uint32x4_t m = magnitude_bits(values);
    float32x4_t shifted = vaddq_f32(vreinterpretq_f32_u32(m), vdupq_n_f32(16384.0f));
    uint32x4_t low = vsubq_u32(vreinterpretq_u32_f32(shifted), vdupq_n_u32(0x46800000));
    uint32x4_t odd = vandq_u32(vshrq_n_u32(m, 20), vdupq_n_u32(1));
    uint32x4_t half = vsubq_u32(vaddq_u32(m, odd), vdupq_n_u32((120u << 23) - 0x7FFFF));
    uint32x4_t high = vshrq_n_u32(half, 20);
    uint32x4_t code = vbslq_u32(vcltq_u32(m, vdupq_n_u32(0x3C800000)), low, high);
    code = vbslq_u32(vcgeq_u32(m, vdupq_n_u32(0x43E00000)), vdupq_n_u32(0x7E), code);
    uint32x4_t sign = vandq_u32(vshrq_n_u32(vreinterpretq_u32_f32(values), 24), vdupq_n_u32(0x80));
    return vreinterpretq_s32_u32(vorrq_u32(code, sign));
}

/* E4M3 codes, not NaN, to values: with their fields as F16's they are 2^8 too small. */
INLINE float32x4_t e4m3_values4(uint16x4_t codes)
{
    uint16x4_t sign = vshl_n_u16(vand_u16(codes, vdup_n_u16(0x80)), 8);
    uint16x4_t fields = vshl_n_u16(vand_u16(codes, vdup_n_u16(0x7F)), 7);
    float32x4_t small = vcvt_f32_f16(vreinterpret_f16_u16(vorr_u16(sign, fields)));
    return vmulq_f32(small, vdupq_n_f32(256));
}

INLINE void store_scale_bytes(unsigned char *out, uint16x4_t scales)
{
    uint32_t bytes = vget_lane_u32(vreinterpret_u32_u8(vmovn_u16(vcombine_u16(scales, scales))), 0);
    memcpy(out, &bytes, sizeof bytes);
}

/* fp_divisor in quant_scalar.c; stores the scale bytes. False, and nothing done, for what only the
 * scalar kernel knows: not finite, subnormal, and the large ones of nvfp4, whose codes depend on
 * how differences from them round. A decoded scale of 0 gives codes of 0, as dividing by infinity
 * does. */
INLINE bool fp_divisor4(enum quant_mode mode, enum dtype dtype, float32x4_t magnitudes,
    unsigned char *scales, float32x4_t *divisor)
{
    float32x4_t top = vdupq_n_f32(mode == QUANT_MXFP8 ? 448 : 6);
    float32x4_t value = rounded(dtype, vdivq_f32(magnitudes, top));
    uint32x4_t bits = vreinterpretq_u32_f32(value);
    if (!all_finite(magnitudes) || !all_finite(value))
        return false;
    if (mode == QUANT_NVFP4) {
        if (vmaxvq_f32(value) >= 0x1p20f)
            return false;
        uint16x4_t codes = vmovn_u32(vreinterpretq_u32_s32(e4m3_of4(value)));
        float32x4_t decoded = e4m3_values4(codes);
        *divisor = vbslq_f32(vceqzq_f32(decoded), vdupq_n_f32(INFINITY), decoded);
        store_scale_bytes(scales, codes);
        return true;
    }
    uint32x4_t is_zero = vceqzq_u32(bits);
    uint32x4_t is_small = vcltq_u32(bits, vdupq_n_u32(0x00800000));
    if (vmaxvq_u32(vbicq_u32(is_small, is_zero)) != 0)
        return false;
    uint32x4_t exponent = vshrq_n_u32(vaddq_u32(bits, vdupq_n_u32(0x007FFFFF)), 23);
    exponent = vbslq_u32(is_zero, vdupq_n_u32(127), exponent);
    *divisor = vreinterpretq_f32_u32(vshlq_n_u32(exponent, 23));
    store_scale_bytes(scales, vmovn_u32(exponent));
    return true;
}

/* How many quarters a magnitude reaches, rounded up, with the sign of the value. */
INLINE int32x4_t quarters4(float32x4_t values)
{
    int32x4_t quarters = vcvtpq_s32_f32(vmulq_f32(vabsq_f32(values), vdupq_n_f32(4)));
    uint32x4_t is_negative = vcltzq_s32(vreinterpretq_s32_f32(values));
    return vbslq_s32(is_negative, vnegq_s32(quarters), quarters);
}

/* The borders between E2M1 codes are 1, 3, 5, 7, 10, 14 and 20 quarters, each with the code below.
 */
INLINE uint8x16_t fp4_codes16(const int32x4_t quarters[4])
{
    static const uint8_t code_of[32] = {
        0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 7};
    int16x8_t low = vcombine_s16(vqmovn_s32(quarters[0]), vqmovn_s32(quarters[1]));
    int16x8_t high = vcombine_s16(vqmovn_s32(quarters[2]), vqmovn_s32(quarters[3]));
    int8x16_t all = vcombine_s8(vqmovn_s16(low), vqmovn_s16(high));
    uint8x16_t count = vminq_u8(vreinterpretq_u8_s8(vabsq_s8(all)), vdupq_n_u8(21));
    uint8x16x2_t table = {{vld1q_u8(code_of), vld1q_u8(code_of + 16)}};
    uint8x16_t is_negative = vcltq_s8(all, vdupq_n_s8(-1)); /* by two quarters: not code 0 */
    return vorrq_u8(vqtbl2q_u8(table, count), vandq_u8(is_negative, vdupq_n_u8(8)));
}

INLINE uint32_t fp_batch_groups(enum quant_mode mode, enum dtype dtype)
{
    (void)mode, (void)dtype;
    return QUANT_BATCH;
}

/* The quotients are not rounded to the dtype, as the scalar kernel does: that changes no code, for
 * the borders times a divisor are exact in each dtype, and the next weight is farther away than
 * rounding reaches; what underflows has code 0 either way. */
INLINE bool fp_batch(enum quant_mode mode, enum dtype dtype, const struct quantizing *at)
{
    const uint32_t group_size = mode == QUANT_NVFP4 ? 16 : 32;
    const uint32_t bits = mode == QUANT_MXFP8 ? 8 : 4;
    float32x4_t divisors;
    if (!fp_divisor4(
            mode, dtype, magnitude_max4(dtype, group_size, at->weights), at->scales, &divisors))
        return false;
    float divisor[QUANT_BATCH];
    vst1q_f32(divisor, divisors);
    for (size_t i = 0; i < QUANT_BATCH * group_size; i += CHUNK) {
        int32x4_t chunk[4];
        for (size_t j = 0; j < 4; j++) {
            float32x4_t values = load4(dtype, at->weights + (i + 4 * j) * size_of(dtype));
            values = vdivq_f32(values, vdupq_n_f32(divisor[i / group_size]));
            chunk[j] = mode == QUANT_MXFP8 ? e4m3_of4(values) : quarters4(values);
        }
        store_codes(bits, at->codes + i / 8 * bits,
            mode == QUANT_MXFP8 ? clamp_to_bytes(chunk, 255) : fp4_codes16(chunk));
    }
    if (at->errors.error_squares != NULL)
        measure_batch(mode, bits, dtype, at, QUANT_BATCH);
    return true;
}

/* ---- dequantizing ---- */

/* For each width the two bytes that each of eight codes lies in, and how far down to shift them. */
#define TWO_BYTES(lane, bits) (lane) * (bits) / 8, (lane) * (bits) / 8 + 1
#define CODES_OF(bits)                                                                             \
    {                                                                                              \
        {TWO_BYTES(0, bits), TWO_BYTES(1, bits), TWO_BYTES(2, bits), TWO_BYTES(3, bits),           \
            TWO_BYTES(4, bits), TWO_BYTES(5, bits), TWO_BYTES(6, bits), TWO_BYTES(7, bits)},       \
        {                                                                                          \
            0, -(1 * bits % 8), -(2 * bits % 8), -(3 * bits % 8), -(4 * bits % 8),                 \
                -(5 * bits % 8), -(6 * bits % 8), -(7 * bits % 8)                                  \
        }                                                                                          \
    }
static const struct {
    uint8_t from[16];
    int16_t shift[8];
} codes_of[9] = {
    [1] = CODES_OF(1),
    [2] = CODES_OF(2),
    [3] = CODES_OF(3),
    [4] = CODES_OF(4),
    [5] = CODES_OF(5),
    [6] = CODES_OF(6),
    [8] = CODES_OF(8),
};

/* Eight codes from `bits` bytes, of which eight are read. */
INLINE uint16x8_t load_codes8(uint32_t bits, const unsigned char *in)
{
    uint8x16_t eight = vcombine_u8(vld1_u8(in), vdup_n_u8(0));
    uint16x8_t two = vreinterpretq_u16_u8(vqtbl1q_u8(eight, vld1q_u8(codes_of[bits].from)));
    uint16x8_t code = vshlq_u16(two, vld1q_s16(codes_of[bits].shift));
    return vandq_u16(code, vdupq_n_u16((uint16_t)((1u << bits) - 1)));
}

INLINE float load1(enum dtype dtype, const unsigned char *value)
{
    uint32_t wide;
    uint16_t half;
    if (dtype == DTYPE_F32) {
        memcpy(&wide, value, sizeof wide);
        return float_of_bits(wide);
    }
    memcpy(&half, value, sizeof half);
    return dtype == DTYPE_BF16 ? dtype_bf16_to_f32(half) : dtype_f16_to_f32(half);
}

INLINE float32x4_t affine_values4(
    enum dtype dtype, uint32x4_t codes, float32x4_t scale, float32x4_t bias)
{
    return vaddq_f32(rounded(dtype, vmulq_f32(vcvtq_f32_u32(codes), scale)), bias);
}

/* False, and nothing done, if a NaN may come of it. */
INLINE bool affine_values(enum dtype dtype, uint32_t bits, const struct dequantizing *at)
{
    float scale = load1(dtype, at->scales), bias = load1(dtype, at->biases);
    if (!isfinite(scale) || !isfinite(bias))
        return false;
    float32x4_t scales = vdupq_n_f32(scale), biases = vdupq_n_f32(bias);
    const unsigned char *codes = at->codes;
    unsigned char *weights = at->weights;
    for (uint32_t i = 0; i < at->shape->group_size; i += 8) {
        uint16x8_t eight = load_codes8(bits, codes);
        uint32x4_t low = vmovl_u16(vget_low_u16(eight)), high = vmovl_u16(vget_high_u16(eight));
        store4(dtype, weights, affine_values4(dtype, low, scales, biases));
        store4(dtype, weights + 4 * size_of(dtype), affine_values4(dtype, high, scales, biases));
        codes += bits;
        weights += 8 * size_of(dtype);
    }
    return true;
}

INLINE bool any_e4m3_nan(const unsigned char *codes32)
{
    uint8x16_t mask = vdupq_n_u8(0x7F);
    uint8x16_t most =
        vmaxq_u8(vandq_u8(vld1q_u8(codes32), mask), vandq_u8(vld1q_u8(codes32 + 16), mask));
    return vmaxvq_u8(most) == 0x7F;
}

/* Eight E2M1 codes from 4 bytes to values: through the upper bytes of F16, whose lower ones are 0.
 */
INLINE void load_fp4_values8(const unsigned char *in, float32x4_t values[2])
{
    static const uint8_t upper_of[16] = {0x00, 0x38, 0x3C, 0x3E, 0x40, 0x42, 0x44, 0x46, 0x80, 0xB8,
        0xBC, 0xBE, 0xC0, 0xC2, 0xC4, 0xC6};
    uint32_t bytes;
    memcpy(&bytes, in, sizeof bytes);
    uint8x8_t pairs = vreinterpret_u8_u32(vdup_n_u32(bytes));
    uint8x8_t codes = vzip1_u8(vand_u8(pairs, vdup_n_u8(15)), vshr_n_u8(pairs, 4));
    uint8x8_t upper = vqtbl1_u8(vld1q_u8(upper_of), codes);
    float16x8_t halves = vreinterpretq_f16_u16(vshll_n_u8(upper, 8));
    values[0] = vcvt_f32_f16(vget_low_f16(halves));
    values[1] = vcvt_f32_f16(vget_high_f16(halves));
}

INLINE bool fp_values(enum quant_mode mode, enum dtype dtype, const struct dequantizing *at)
{
    float scale = fp_scale_value(mode, dtype, at->scales[0]);
    if (!isfinite(scale) || (mode == QUANT_MXFP8 && any_e4m3_nan(at->codes)))
        return false;
    for (size_t i = 0; i < at->shape->group_size; i += 8) {
        float32x4_t values[2];
        if (mode == QUANT_MXFP8) {
            uint16x8_t codes = vmovl_u8(vld1_u8(at->codes + i));
            values[0] = e4m3_values4(vget_low_u16(codes));
            values[1] = e4m3_values4(vget_high_u16(codes));
        } else {
            load_fp4_values8(at->codes + i / 2, values);
        }
        for (size_t j = 0; j < 2; j++)
            store4(dtype, at->weights + (i + 4 * j) * size_of(dtype),
                vmulq_f32(values[j], vdupq_n_f32(scale)));
    }
    return true;
}

/* ---- measuring ---- */

/* The values of the eight codes at `codes`, as they are stored. */
INLINE void load_values8(enum quant_mode mode, uint32_t bits, enum dtype dtype,
    const unsigned char *codes, float32x4_t scale, float32x4_t bias, float32x4_t values[2])
{
    if (mode == QUANT_AFFINE) {
        uint16x8_t eight = load_codes8(bits, codes);
        values[0] = affine_values4(dtype, vmovl_u16(vget_low_u16(eight)), scale, bias);
        values[1] = affine_values4(dtype, vmovl_u16(vget_high_u16(eight)), scale, bias);
    } else if (mode == QUANT_MXFP8) {
        uint16x8_t eight = vmovl_u8(vld1_u8(codes));
        values[0] = vmulq_f32(e4m3_values4(vget_low_u16(eight)), scale);
        values[1] = vmulq_f32(e4m3_values4(vget_high_u16(eight)), scale);
    } else {
        load_fp4_values8(codes, values);
        values[0] = vmulq_f32(values[0], scale);
        values[1] = vmulq_f32(values[1], scale);
    }
    values[0] = rounded(dtype, values[0]);
    values[1] = rounded(dtype, values[1]);
}

/* The lanes of eight vectors, neighbours added until one is left. */
INLINE float sum_of_lanes(const float32x4_t lanes[8])
{
    float32x4_t low = vpaddq_f32(vpaddq_f32(lanes[0], lanes[1]), vpaddq_f32(lanes[2], lanes[3]));
    float32x4_t high = vpaddq_f32(vpaddq_f32(lanes[4], lanes[5]), vpaddq_f32(lanes[6], lanes[7]));
    float32x4_t four = vpaddq_f32(low, high);
    float32x2_t two = vpadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vpadds_f32(two);
}

INLINE struct group_error group_error(
    enum quant_mode mode, uint32_t bits, enum dtype dtype, const struct measuring *at)
{
    const uint32_t group_size = mode == QUANT_NVFP4 ? 16 : at->shape->group_size;
    float scale = mode == QUANT_AFFINE ? load1(dtype, at->scales)
                                       : fp_scale_value(mode, dtype, at->scales[0]);
    float bias = mode == QUANT_AFFINE ? load1(dtype, at->biases) : 0;
    if (!isfinite(scale) || !isfinite(bias) || (mode == QUANT_MXFP8 && any_e4m3_nan(at->codes)))
        return (struct group_error){NAN, NAN, 0};
    const float32x4_t scales = vdupq_n_f32(scale), biases = vdupq_n_f32(bias);
    const float32x4_t zero = vdupq_n_f32(0);
    float32x4_t errors[8] = {zero, zero, zero, zero, zero, zero, zero, zero};
    float32x4_t squares[8] = {zero, zero, zero, zero, zero, zero, zero, zero};
    float32x4_t most = zero;
    for (uint32_t i = 0; i < group_size; i += 32) {
        float32x4_t values[2];
        for (uint32_t j = 0; j < (mode == QUANT_NVFP4 ? 4 : 8); j++) {
            if (j % 2 == 0)
                load_values8(
                    mode, bits, dtype, at->codes + (i / 8 + j / 2) * bits, scales, biases, values);
            float32x4_t weight = load4(dtype, at->weights + (i + 4 * j) * size_of(dtype));
            float32x4_t error = vsubq_f32(weight, values[j % 2]);
            errors[j] = vfmaq_f32(errors[j], error, error);
            squares[j] = vfmaq_f32(squares[j], weight, weight);
            most = vmaxq_f32(most, vabsq_f32(error));
        }
    }
    const float error_max = vmaxvq_f32(most);
    return (struct group_error){sum_of_lanes(errors), sum_of_lanes(squares), error_max * error_max};
}

/* ---- casts, and what is not finite ---- */

INLINE size_t cast_front(
    enum dtype from, enum dtype to, size_t count, const unsigned char *in, unsigned char *out)
{
    size_t i = 0;
    for (; count - i >= 4; i += 4) {
        float32x4_t values = load4(from, in + i * size_of(from));
        if (to != DTYPE_F32 && vmaxvq_u32(magnitude_bits(values)) > 0x7F800000)
            quant_kernels_scalar.cast(from, to, 4, in + i * size_of(from), out + i * size_of(to));
        else
            store4(to, out + i * size_of(to), values);
    }
    return i;
}

INLINE uint8x16_t all_set(bool is_wide, uint8x16_t bytes, uint8x16_t mask)
{
    uint8x16_t bits = vandq_u8(bytes, mask);
    if (is_wide)
        return vreinterpretq_u8_u32(
            vceqq_u32(vreinterpretq_u32_u8(bits), vreinterpretq_u32_u8(mask)));
    return vreinterpretq_u8_u16(vceqq_u16(vreinterpretq_u16_u8(bits), vreinterpretq_u16_u8(mask)));
}

INLINE size_t finite_front(bool is_wide, uint32_t exponent, size_t size, const unsigned char *bytes)
{
    uint8x16_t mask = is_wide ? vreinterpretq_u8_u32(vdupq_n_u32(exponent))
                              : vreinterpretq_u8_u16(vdupq_n_u16((uint16_t)exponent));
    size_t at = 0;
    for (; size - at >= 64; at += 64) {
        uint8x16_t is_bad = vdupq_n_u8(0);
        for (size_t i = 0; i < 64; i += 16)
            is_bad = vorrq_u8(is_bad, all_set(is_wide, vld1q_u8(bytes + at + i), mask));
        if (vmaxvq_u8(is_bad) != 0)
            break;
    }
    return at;
}

const struct quant_kernels quant_kernels_neon = {
    .name = "neon",
    .features = CPU_NEON,
    .quantize = quantize,
    .dequantize = dequantize,
    .cast = cast,
    .find_nonfinite = find_nonfinite,
};

#else

const struct quant_kernels quant_kernels_neon = {.name = NULL};

#endif
