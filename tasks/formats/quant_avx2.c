/* quant_avx2.c - the kernels with AVX2 and F16C; equal to the scalar ones bit for bit.
 *
 * Eight groups make a batch: their extrema are found one group after the other, their scales
 * computed side by side, one lane for each, then their codes. */
#include "tasks/formats/quant.h"

#include <stddef.h>

#include "base/cpu.h"

#if defined(__x86_64__) && defined(__AVX2__) && defined(__F16C__)

#define QUANT_BATCH 8
#define QUANT_GROUPS_BEHIND 2 /* at least the 7 bytes that a load of 8 may reach too far */
#include "tasks/formats/quant_vector.h"
#include "tasks/formats/quant_x86.h"

/* 32 small integers, eight a vector, to as many bytes, signed ones saturated. The instructions pack
 * within 128 bits; the permutation puts that in order. */
INLINE __m256i pack_to_bytes(bool is_signed, const __m256i values[4])
{
    __m256i low = _mm256_packs_epi32(values[0], values[1]);
    __m256i high = _mm256_packs_epi32(values[2], values[3]);
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(
        is_signed ? _mm256_packs_epi16(low, high) : _mm256_packus_epi16(low, high), order);
}

/* ---- measuring ---- */

/* Sixteen lanes: the lower eight, and the upper. */
struct lanes16 {
    __m256 errors[2], squares[2], most;
};

INLINE struct lanes16 no_error16(void)
{
    __m256 zero = _mm256_setzero_ps();
    return (struct lanes16){{zero, zero}, {zero, zero}, zero};
}

INLINE void add_error8(struct lanes16 *sums, size_t half, __m256 weights, __m256 values)
{
    __m256 error = _mm256_sub_ps(weights, values);
    __m256 square = _mm256_mul_ps(error, error);
    sums->errors[half] = _mm256_add_ps(sums->errors[half], square);
    sums->squares[half] = _mm256_add_ps(sums->squares[half], _mm256_mul_ps(weights, weights));
    sums->most = _mm256_max_ps(sums->most, square);
}

INLINE __m256 fold_add(const __m256 halves[2])
{
    return _mm256_add_ps(halves[0], halves[1]);
}

/* Eight codes of at most four bits; four bytes are read. Above each code lie others' bits. */
INLINE __m256i load_low_codes8(uint32_t bits, const unsigned char *in)
{
    const int b = (int)bits;
    int32_t all;
    memcpy(&all, in, sizeof all);
    return _mm256_srlv_epi32(
        _mm256_set1_epi32(all), _mm256_setr_epi32(0, b, 2 * b, 3 * b, 4 * b, 5 * b, 6 * b, 7 * b));
}

/* The permutation takes the lowest three bits of each lane; the fourth chooses the table. */
INLINE __m256 look_up8(uint32_t bits, struct code_values values, __m256i codes)
{
    if (bits < 3)
        codes = _mm256_and_si256(codes, _mm256_set1_epi32((1 << bits) - 1));
    __m256 low = _mm256_permutevar8x32_ps(values.low, codes);
    if (bits < 4)
        return low;
    __m256 high = _mm256_permutevar8x32_ps(values.high, codes);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)));
}

INLINE struct lanes8 fp_error8(enum quant_mode mode, enum dtype dtype, const unsigned char *weights,
    const unsigned char *codes, float scale)
{
    const __m256 values_of = _mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6);
    const struct code_values table = {values_of, _mm256_xor_ps(values_of, _mm256_set1_ps(-0.0f))};
    const uint32_t count = mode == QUANT_NVFP4 ? 16 : 32;
    struct lanes16 sums = no_error16();
    for (uint32_t i = 0; i < count; i += 8) {
        __m256 values;
        if (mode == QUANT_MXFP8) {
            __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)(codes + i));
            values = e4m3_values8(_mm_cvtepu8_epi16(eight));
        } else {
            values = look_up8(4, table, load_low_codes8(4, codes + i / 2));
        }
        values = _mm256_mul_ps(values, _mm256_set1_ps(scale));
        add_error8(&sums, i / 8 % 2, load8(dtype, weights + i * size_of(dtype)),
            is_exact(mode, dtype) ? values : rounded(dtype, values));
    }
    return (struct lanes8){fold_add(sums.errors), fold_add(sums.squares), sums.most};
}

/* ---- affine ---- */

/* min and max give their second operand when one is NaN: so a NaN weight is skipped. */
INLINE void find_extrema8(enum dtype dtype, uint32_t group_size, const unsigned char *weights,
    __m256 *lowest, __m256 *highest)
{
    __m256 low[QUANT_BATCH], high[QUANT_BATCH];
    for (size_t group = 0; group < QUANT_BATCH; group++) {
        low[group] = _mm256_set1_ps(INFINITY);
        high[group] = _mm256_set1_ps(-INFINITY);
        for (uint32_t i = 0; i < group_size; i += 8) {
            __m256 values = load8(dtype, weights);
            low[group] = _mm256_min_ps(values, low[group]);
            high[group] = _mm256_max_ps(values, high[group]);
            weights += 8 * size_of(dtype);
        }
    }
    *lowest = least_of_each(low);
    *highest = greatest_of_each(high);
}

/* Clamped before it is rounded, which is the same, for the ends are integers. A NaN becomes 0. */
INLINE __m256i affine_codes8(uint32_t bits, __m256 weights, __m256 scale, __m256 bias)
{
    __m256 value = _mm256_div_ps(_mm256_sub_ps(weights, bias), scale);
    value = _mm256_max_ps(value, _mm256_setzero_ps());
    value = _mm256_min_ps(value, _mm256_set1_ps((float)((1u << bits) - 1)));
    return _mm256_cvtps_epi32(value);
}

/* What codes stand for: up to four bits from the table of all codes. */
INLINE __m256 values_of8(uint32_t bits, enum dtype dtype, __m256i codes, struct code_values table,
    __m256 scale, __m256 bias)
{
    if (bits <= 4)
        return look_up8(bits, table, codes);
    __m256 product = rounded(dtype, _mm256_mul_ps(_mm256_cvtepi32_ps(codes), scale));
    return rounded(dtype, _mm256_add_ps(product, bias));
}

/* `stored` is the scale as it is stored. Measures if `sums` is not NULL. */
INLINE void affine_group(enum dtype dtype, uint32_t bits, uint32_t group_size,
    const unsigned char *weights, unsigned char *codes, __m256 scale, __m256 bias, __m256 stored,
    struct lanes16 *sums)
{
    struct code_values table = {stored, bias};
    if (sums != NULL && bits <= 4)
        table = affine_code_values(bits, dtype, stored, bias);
    for (uint32_t i = 0; i < group_size; i += CHUNK) {
        __m256i chunk[4];
        for (size_t j = 0; j < 4; j++) {
            __m256 values = load8(dtype, weights);
            chunk[j] = affine_codes8(bits, values, scale, bias);
            if (sums != NULL)
                add_error8(
                    sums, j % 2, values, values_of8(bits, dtype, chunk[j], table, stored, bias));
            weights += 8 * size_of(dtype);
        }
        store_codes(bits, codes, pack_to_bytes(false, chunk));
        codes += CHUNK / 8 * bits;
    }
}

/* False, and nothing done, if the scalar kernel must do it. At 1 bit a zero bias has the sign of
 * the first zero among the weights, which min does not tell. */
INLINE bool affine_batch(enum dtype dtype, uint32_t bits, const struct quantizing *at)
{
    uint32_t group_size = at->shape->group_size;
    __m256 lowest, highest;
    find_extrema8(dtype, group_size, at->weights, &lowest, &highest);
    struct affine8 affine = affine_of8(bits, lowest, highest);
    if (!all_finite(affine.scale) || !all_finite(affine.bias))
        return false;
    if (bits == 1 &&
        _mm256_movemask_ps(_mm256_cmp_ps(lowest, _mm256_setzero_ps(), _CMP_EQ_OQ)) != 0)
        return false;
    store8(dtype, at->scales, affine.scale);
    store8(dtype, at->biases, affine.bias);
    float scales[QUANT_BATCH], biases[QUANT_BATCH], stored[QUANT_BATCH];
    _mm256_storeu_ps(scales, affine.scale);
    _mm256_storeu_ps(biases, affine.bias);
    _mm256_storeu_ps(stored, rounded(dtype, affine.scale));
    const bool is_measured = at->errors.error_squares != NULL;
    __m256 errors[QUANT_BATCH], squares[QUANT_BATCH], most[QUANT_BATCH];
    for (size_t group = 0; group < QUANT_BATCH; group++) {
        const unsigned char *weights = at->weights + group * group_size * size_of(dtype);
        unsigned char *codes = at->codes + group * group_size / 8 * bits;
        const __m256 scale = _mm256_set1_ps(scales[group]), bias = _mm256_set1_ps(biases[group]);
        struct lanes16 sums = no_error16();
        if (!is_measured) {
            affine_group(dtype, bits, group_size, weights, codes, scale, bias, scale, NULL);
            continue;
        }
        affine_group(dtype, bits, group_size, weights, codes, scale, bias,
            _mm256_set1_ps(stored[group]), &sums);
        errors[group] = fold_add(sums.errors);
        squares[group] = fold_add(sums.squares);
        most[group] = sums.most;
    }
    if (is_measured)
        store_errors8(&at->errors, errors, squares, most);
    return true;
}

/* ---- mxfp4, mxfp8, nvfp4 ---- */

/* How many quarters a magnitude reaches, rounded up, with the sign of the value. */
INLINE __m256i quarters8(__m256 values)
{
    __m256 magnitude = _mm256_mul_ps(magnitude_of(values), _mm256_set1_ps(4));
    __m256i quarters = _mm256_cvtps_epi32(_mm256_ceil_ps(magnitude));
    return _mm256_sign_epi32(quarters, _mm256_castps_si256(values));
}

/* The quotients are not rounded to the dtype, as the scalar kernel does: that changes no code, for
 * the borders times a divisor are exact in each dtype, and the next weight is farther away than
 * rounding reaches; what underflows has code 0 either way. */
INLINE bool fp_batch_wide(enum quant_mode mode, enum dtype dtype, const struct quantizing *at)
{
    const uint32_t group_size = mode == QUANT_NVFP4 ? 16 : 32;
    const uint32_t bits = mode == QUANT_MXFP8 ? 8 : 4;
    __m256 divisors;
    if (!fp_divisor8(
            mode, dtype, magnitude_max8(dtype, group_size, at->weights), at->scales, &divisors))
        return false;
    float divisor[QUANT_BATCH];
    _mm256_storeu_ps(divisor, divisors);
    for (size_t i = 0; i < QUANT_BATCH * group_size; i += CHUNK) {
        __m256i chunk[4];
        for (size_t j = 0; j < 4; j++) {
            __m256 values = load8(dtype, at->weights + (i + 8 * j) * size_of(dtype));
            values = _mm256_div_ps(values, _mm256_set1_ps(divisor[(i + 8 * j) / group_size]));
            chunk[j] = mode == QUANT_MXFP8 ? e4m3_of8(values) : quarters8(values);
        }
        __m256i codes = pack_to_bytes(mode != QUANT_MXFP8, chunk);
        if (mode != QUANT_MXFP8)
            codes = fp4_codes32(codes);
        store_codes(bits, at->codes + i / 8 * bits, codes);
    }
    return true;
}

/* ---- dequantizing ---- */

INLINE int32_t two_bytes_of(uint32_t bits, uint32_t lane)
{
    uint32_t from = lane * bits / 8;
    return (int32_t)(0x80800000 | (from + 1) << 8 | from);
}

/* Eight codes from `bits` bytes, of which eight are read: each lane gets the two bytes that its
 * code lies in, shifts it down and masks it. */
INLINE __m256i load_codes8(uint32_t bits, const unsigned char *in)
{
    const int b = (int)bits;
    const __m256i from = _mm256_setr_epi32(two_bytes_of(bits, 0), two_bytes_of(bits, 1),
        two_bytes_of(bits, 2), two_bytes_of(bits, 3), two_bytes_of(bits, 4), two_bytes_of(bits, 5),
        two_bytes_of(bits, 6), two_bytes_of(bits, 7));
    const __m256i shift = _mm256_setr_epi32(
        0, b % 8, 2 * b % 8, 3 * b % 8, 4 * b % 8, 5 * b % 8, 6 * b % 8, 7 * b % 8);
    int64_t eight;
    memcpy(&eight, in, sizeof eight);
    __m256i two = _mm256_shuffle_epi8(_mm256_set1_epi64x(eight), from);
    return _mm256_and_si256(_mm256_srlv_epi32(two, shift), _mm256_set1_epi32((1 << b) - 1));
}

/* False, and nothing done, if a NaN may come of it. */
INLINE bool affine_values(enum dtype dtype, uint32_t bits, const struct dequantizing *at)
{
    float scale = load1(dtype, at->scales), bias = load1(dtype, at->biases);
    if (!isfinite(scale) || !isfinite(bias))
        return false;
    const unsigned char *codes = at->codes;
    unsigned char *weights = at->weights;
    for (uint32_t i = 0; i < at->shape->group_size; i += 8) {
        __m256 code = _mm256_cvtepi32_ps(load_codes8(bits, codes));
        __m256 product = rounded(dtype, _mm256_mul_ps(code, _mm256_set1_ps(scale)));
        store8(dtype, weights, _mm256_add_ps(product, _mm256_set1_ps(bias)));
        codes += bits;
        weights += 8 * size_of(dtype);
    }
    return true;
}

INLINE bool fp_values(enum quant_mode mode, enum dtype dtype, const struct dequantizing *at)
{
    float scale = fp_scale_value(mode, dtype, at->scales[0]);
    if (!isfinite(scale) || (mode == QUANT_MXFP8 && any_e4m3_nan(at->codes)))
        return false;
    for (size_t i = 0; i < at->shape->group_size; i += 16) {
        __m256 values[2];
        if (mode == QUANT_MXFP8) {
            __m256i codes = _mm256_cvtepu8_epi16(load_16_bytes(at->codes + i));
            values[0] = e4m3_values8(_mm256_castsi256_si128(codes));
            values[1] = e4m3_values8(_mm256_extracti128_si256(codes, 1));
        } else {
            __m128i upper = fp4_upper_bytes16(at->codes + i / 2), zero = _mm_setzero_si128();
            values[0] = _mm256_cvtph_ps(_mm_unpacklo_epi8(zero, upper));
            values[1] = _mm256_cvtph_ps(_mm_unpackhi_epi8(zero, upper));
        }
        for (size_t j = 0; j < 2; j++)
            store8(dtype, at->weights + (i + 8 * j) * size_of(dtype),
                _mm256_mul_ps(values[j], _mm256_set1_ps(scale)));
    }
    return true;
}

INLINE size_t cast_front(
    enum dtype from, enum dtype to, size_t count, const unsigned char *in, unsigned char *out)
{
    size_t i = 0;
    for (; count - i >= 8; i += 8) {
        __m256 values = load8(from, in + i * size_of(from));
        if (to != DTYPE_F32 && any_nan(values))
            quant_kernels_scalar.cast(from, to, 8, in + i * size_of(from), out + i * size_of(to));
        else
            store8(to, out + i * size_of(to), values);
    }
    return i;
}

INLINE size_t finite_front(bool is_wide, uint32_t exponent, size_t size, const unsigned char *bytes)
{
    const __m256i mask =
        is_wide ? _mm256_set1_epi32((int)exponent) : _mm256_set1_epi16((short)exponent);
    size_t at = 0;
    for (; size - at >= 128; at += 128) {
        __m256i is_bad = _mm256_setzero_si256();
        for (size_t i = 0; i < 128; i += 32) {
            __m256i bits = _mm256_and_si256(load_32_bytes(bytes + at + i), mask);
            __m256i equal =
                is_wide ? _mm256_cmpeq_epi32(bits, mask) : _mm256_cmpeq_epi16(bits, mask);
            is_bad = _mm256_or_si256(is_bad, equal);
        }
        if (_mm256_movemask_epi8(is_bad) != 0)
            break;
    }
    return at;
}

const struct quant_kernels quant_kernels_avx2 = {
    .name = "avx2",
    .features = CPU_AVX2,
    .quantize = quantize,
    .dequantize = dequantize,
    .cast = cast,
    .find_nonfinite = find_nonfinite,
};

#else

const struct quant_kernels quant_kernels_avx2 = {.name = NULL};

#endif
