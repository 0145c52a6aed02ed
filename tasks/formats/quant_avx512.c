/* quant_avx512.c - the kernels with AVX-512 F, BW, VL and DQ; equal to the scalar ones bit for bit.
 *
 * As quant_avx2.c, with sixteen weights at a time; the scales of the eight groups of a batch are
 * computed by the same code. */
#include "tasks/formats/quant.h"

#include <stddef.h>

#include "base/cpu.h"

#if defined(__x86_64__) && defined(__AVX512F__) && defined(__AVX512BW__) &&                        \
    defined(__AVX512VL__) && defined(__AVX512DQ__) && defined(__F16C__)

#define QUANT_BATCH 8
#define QUANT_GROUPS_BEHIND 4 /* at least the 14 bytes that a load of 16 may reach too far */
#include "tasks/formats/quant_vector.h"
#include "tasks/formats/quant_x86.h"

/* ---- sixteen elements ---- */

INLINE __m512 load16(enum dtype dtype, const unsigned char *values)
{
    if (dtype == DTYPE_F32)
        return _mm512_loadu_ps(values);
    __m256i halves = load_32_bytes(values);
    if (dtype == DTYPE_F16)
        return _mm512_cvtph_ps(halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* To bf16 in the upper halves; the lower ones are what is cut off. No NaN. */
INLINE __m512i round_to_bf16_16(__m512 values)
{
    __m512i bits = _mm512_castps_si512(values);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
}

INLINE __m256i to_f16_16(__m512 values) /* no NaN */
{
    return _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE void store16(enum dtype dtype, unsigned char *values, __m512 wide) /* no NaN, but in F32 */
{
    if (dtype == DTYPE_F32)
        _mm512_storeu_ps(values, wide);
    else if (dtype == DTYPE_F16)
        store_32_bytes(values, to_f16_16(wide));
    else
        store_32_bytes(
            values, _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_to_bf16_16(wide), 16)));
}

INLINE __m512 rounded16(enum dtype dtype, __m512 values) /* no NaN */
{
    if (dtype == DTYPE_F32)
        return values;
    if (dtype == DTYPE_F16)
        return _mm512_cvtph_ps(to_f16_16(values));
    __m512i high = _mm512_set1_epi32((int)0xFFFF0000);
    return _mm512_castsi512_ps(_mm512_and_si512(round_to_bf16_16(values), high));
}

INLINE __m256i join(__m128i low, __m128i high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* ---- codes to values ---- */

INLINE int32_t two_bytes_of(int bits, int lane)
{
    int from = lane * bits / 8;
    return (int32_t)(0x80800000 | (unsigned)((from + 1) << 8) | (unsigned)from);
}

/* Sixteen codes from 2 * bits bytes: each lane gets the two bytes that its code lies in, shifts it
 * down and masks it. */
INLINE __m512i codes16_of(uint32_t bits, __m128i bytes)
{
    const int b = (int)bits;
    const __m512i from = _mm512_setr_epi32(two_bytes_of(b, 0), two_bytes_of(b, 1),
        two_bytes_of(b, 2), two_bytes_of(b, 3), two_bytes_of(b, 4), two_bytes_of(b, 5),
        two_bytes_of(b, 6), two_bytes_of(b, 7), two_bytes_of(b, 8), two_bytes_of(b, 9),
        two_bytes_of(b, 10), two_bytes_of(b, 11), two_bytes_of(b, 12), two_bytes_of(b, 13),
        two_bytes_of(b, 14), two_bytes_of(b, 15));
    const __m512i shift =
        _mm512_setr_epi32(0, b % 8, 2 * b % 8, 3 * b % 8, 4 * b % 8, 5 * b % 8, 6 * b % 8,
            7 * b % 8, 0, b % 8, 2 * b % 8, 3 * b % 8, 4 * b % 8, 5 * b % 8, 6 * b % 8, 7 * b % 8);
    __m512i two = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(bytes), from);
    return _mm512_and_si512(_mm512_srlv_epi32(two, shift), _mm512_set1_epi32((1 << b) - 1));
}

/* E4M3 codes, not NaN, to values: with their fields as F16's they are 2^8 too small. */
INLINE __m512 e4m3_values16(__m256i codes /* 16 bits each */)
{
    __m256i sign = _mm256_slli_epi16(_mm256_and_si256(codes, _mm256_set1_epi16(0x80)), 8);
    __m256i fields = _mm256_slli_epi16(_mm256_and_si256(codes, _mm256_set1_epi16(0x7F)), 7);
    return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_or_si256(sign, fields)), _mm512_set1_ps(256));
}

INLINE __m256 fold_min(__m512 values)
{
    return _mm256_min_ps(_mm512_castps512_ps256(values), _mm512_extractf32x8_ps(values, 1));
}

INLINE __m256 fold_max(__m512 values)
{
    return _mm256_max_ps(_mm512_castps512_ps256(values), _mm512_extractf32x8_ps(values, 1));
}

/* ---- measuring ---- */

struct lanes16 {
    __m512 errors, squares, most;
};

INLINE struct lanes16 no_error16(void)
{
    return (struct lanes16){_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
}

INLINE void add_error16(struct lanes16 *sums, __m512 weights, __m512 values)
{
    __m512 error = _mm512_sub_ps(weights, values);
    __m512 square = _mm512_mul_ps(error, error);
    sums->errors = _mm512_add_ps(sums->errors, square);
    sums->squares = _mm512_add_ps(sums->squares, _mm512_mul_ps(weights, weights));
    sums->most = _mm512_max_ps(sums->most, square);
}

INLINE __m256 fold_add(__m512 values)
{
    return _mm256_add_ps(_mm512_castps512_ps256(values), _mm512_extractf32x8_ps(values, 1));
}

INLINE __m512 affine_values16(enum dtype dtype, __m512 codes, __m512 scale, __m512 bias)
{
    return rounded16(dtype, _mm512_add_ps(rounded16(dtype, _mm512_mul_ps(codes, scale)), bias));
}

INLINE struct lanes8 fp_error8(enum quant_mode mode, enum dtype dtype, const unsigned char *weights,
    const unsigned char *codes, float scale)
{
    const __m512 table =
        _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6);
    const uint32_t count = mode == QUANT_NVFP4 ? 16 : 32;
    struct lanes16 sums = no_error16();
    for (uint32_t i = 0; i < count; i += 16) {
        __m512 values;
        if (mode == QUANT_MXFP8) {
            values = e4m3_values16(_mm256_cvtepu8_epi16(load_16_bytes(codes + i)));
        } else {
            __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)(codes + i / 2));
            values = _mm512_permutexvar_ps(codes16_of(4, eight), table);
        }
        values = _mm512_mul_ps(values, _mm512_set1_ps(scale));
        add_error16(&sums, load16(dtype, weights + i * size_of(dtype)),
            is_exact(mode, dtype) ? values : rounded16(dtype, values));
    }
    return (struct lanes8){fold_add(sums.errors), fold_add(sums.squares), fold_max(sums.most)};
}

/* ---- affine ---- */

/* min and max give their second operand when one is NaN: so a NaN weight is skipped. */
INLINE void find_extrema8(enum dtype dtype, uint32_t group_size, const unsigned char *weights,
    __m256 *lowest, __m256 *highest)
{
    __m256 lows[QUANT_BATCH], highs[QUANT_BATCH];
    for (size_t group = 0; group < QUANT_BATCH; group++) {
        __m512 low = _mm512_set1_ps(INFINITY), high = _mm512_set1_ps(-INFINITY);
        for (uint32_t i = 0; i < group_size; i += 16) {
            __m512 values = load16(dtype, weights);
            low = _mm512_min_ps(values, low);
            high = _mm512_max_ps(values, high);
            weights += 16 * size_of(dtype);
        }
        lows[group] = fold_min(low);
        highs[group] = fold_max(high);
    }
    *lowest = least_of_each(lows);
    *highest = greatest_of_each(highs);
}

/* Clamped before it is rounded, which is the same, for the ends are integers. A NaN becomes 0. */
INLINE __m512i affine_codes16(uint32_t bits, __m512 weights, __m512 scale, __m512 bias)
{
    __m512 value = _mm512_div_ps(_mm512_sub_ps(weights, bias), scale);
    value = _mm512_max_ps(value, _mm512_setzero_ps());
    value = _mm512_min_ps(value, _mm512_set1_ps((float)((1u << bits) - 1)));
    return _mm512_cvtps_epi32(value);
}

/* What codes stand for: up to four bits from the table of all codes. */
INLINE __m512 values_of16(
    uint32_t bits, enum dtype dtype, __m512i codes, __m512 table, __m512 scale, __m512 bias)
{
    if (bits <= 4)
        return _mm512_permutexvar_ps(codes, table);
    return affine_values16(dtype, _mm512_cvtepi32_ps(codes), scale, bias);
}

/* `stored` is the scale as it is stored. Measures if `sums` is not NULL. */
INLINE void affine_group(enum dtype dtype, uint32_t bits, uint32_t group_size,
    const unsigned char *weights, unsigned char *codes, __m512 scale, __m512 bias, __m512 stored,
    struct lanes16 *sums)
{
    const __m512 all_codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512 table = stored;
    if (sums != NULL && bits <= 4)
        table = affine_values16(dtype, all_codes, stored, bias);
    for (uint32_t i = 0; i < group_size; i += CHUNK) {
        __m128i chunk[2];
        for (int j = 0; j < 2; j++) {
            __m512 values = load16(dtype, weights);
            __m512i sixteen = affine_codes16(bits, values, scale, bias);
            if (sums != NULL)
                add_error16(sums, values, values_of16(bits, dtype, sixteen, table, stored, bias));
            chunk[j] = _mm512_cvtepi32_epi8(sixteen);
            weights += 16 * size_of(dtype);
        }
        store_codes(bits, codes, join(chunk[0], chunk[1]));
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
    if (bits == 1 && _mm256_cmp_ps_mask(lowest, _mm256_setzero_ps(), _CMP_EQ_OQ) != 0)
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
        const __m512 scale = _mm512_set1_ps(scales[group]), bias = _mm512_set1_ps(biases[group]);
        struct lanes16 sums = no_error16();
        if (!is_measured) {
            affine_group(dtype, bits, group_size, weights, codes, scale, bias, scale, NULL);
            continue;
        }
        affine_group(dtype, bits, group_size, weights, codes, scale, bias,
            _mm512_set1_ps(stored[group]), &sums);
        errors[group] = fold_add(sums.errors);
        squares[group] = fold_add(sums.squares);
        most[group] = fold_max(sums.most);
    }
    if (is_measured)
        store_errors8(&at->errors, errors, squares, most);
    return true;
}

/* ---- mxfp4, mxfp8, nvfp4 ---- */

/* dtype_f32_to_e4m3 of sixteen values. */
INLINE __m128i e4m3_of16(__m512 values)
{
    __m512i bits = _mm512_castps_si512(values);
    __m512i m = _mm512_and_si512(bits, _mm512_set1_epi32(0x7FFFFFFF));
    __m512 shifted = _mm512_add_ps(_mm512_castsi512_ps(m), _mm512_set1_ps(16384.0f));
    __m512i low = _mm512_sub_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(0x46800000));
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(m, 20), _mm512_set1_epi32(1));
    __m512i high = _mm512_add_epi32(m, _mm512_set1_epi32(0x7FFFF - (120 << 23)));
    high = _mm512_srli_epi32(_mm512_add_epi32(high, odd), 20);
    __mmask16 is_low = _mm512_cmplt_epi32_mask(m, _mm512_set1_epi32(0x3C800000));
    __mmask16 is_most = _mm512_cmpge_epi32_mask(m, _mm512_set1_epi32(0x43E00000));
    __m512i code = _mm512_mask_mov_epi32(high, is_low, low);
    code = _mm512_mask_mov_epi32(code, is_most, _mm512_set1_epi32(0x7E));
    __m512i sign = _mm512_and_si512(_mm512_srli_epi32(bits, 24), _mm512_set1_epi32(0x80));
    return _mm512_cvtepi32_epi8(_mm512_or_si512(code, sign));
}

/* How many quarters a magnitude reaches, rounded up, with the sign of the value; saturated. */
INLINE __m128i quarters16(__m512 values)
{
    __m512 magnitude = _mm512_mul_ps(_mm512_abs_ps(values), _mm512_set1_ps(4));
    __m512i quarters =
        _mm512_cvt_roundps_epi32(magnitude, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    __mmask16 is_negative = _mm512_movepi32_mask(_mm512_castps_si512(values));
    quarters = _mm512_mask_sub_epi32(quarters, is_negative, _mm512_setzero_si512(), quarters);
    return _mm512_cvtsepi32_epi8(quarters);
}

/* What sixteen weights become before they are packed: E4M3 codes, or quarters. The quotients are
 * not rounded to the dtype, as the scalar kernel does: that changes no code, for the borders times
 * a divisor are exact in each dtype, and the next weight is farther away than rounding reaches;
 * what underflows has code 0 either way. */
INLINE __m128i fp_bytes16(
    enum quant_mode mode, enum dtype dtype, const unsigned char *weights, float divisor)
{
    __m512 values = _mm512_div_ps(load16(dtype, weights), _mm512_set1_ps(divisor));
    return mode == QUANT_MXFP8 ? e4m3_of16(values) : quarters16(values);
}

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
        const unsigned char *weights = at->weights + i * size_of(dtype);
        __m256i codes = join(fp_bytes16(mode, dtype, weights, divisor[i / group_size]),
            fp_bytes16(mode, dtype, weights + 16 * size_of(dtype), divisor[(i + 16) / group_size]));
        if (mode != QUANT_MXFP8)
            codes = fp4_codes32(codes);
        store_codes(bits, at->codes + i / 8 * bits, codes);
    }
    return true;
}

/* ---- dequantizing ---- */

/* False, and nothing done, if a NaN may come of it. */
INLINE bool affine_values(enum dtype dtype, uint32_t bits, const struct dequantizing *at)
{
    float scale = load1(dtype, at->scales), bias = load1(dtype, at->biases);
    if (!isfinite(scale) || !isfinite(bias))
        return false;
    const unsigned char *codes = at->codes;
    unsigned char *weights = at->weights;
    for (uint32_t i = 0; i < at->shape->group_size; i += 16) {
        __m512 code = _mm512_cvtepi32_ps(codes16_of(bits, load_16_bytes(codes)));
        __m512 product = rounded16(dtype, _mm512_mul_ps(code, _mm512_set1_ps(scale)));
        store16(dtype, weights, _mm512_add_ps(product, _mm512_set1_ps(bias)));
        codes += 2 * bits;
        weights += 16 * size_of(dtype);
    }
    return true;
}

INLINE bool fp_values(enum quant_mode mode, enum dtype dtype, const struct dequantizing *at)
{
    float scale = fp_scale_value(mode, dtype, at->scales[0]);
    if (!isfinite(scale) || (mode == QUANT_MXFP8 && any_e4m3_nan(at->codes)))
        return false;
    for (size_t i = 0; i < at->shape->group_size; i += 16) {
        __m512 values;
        if (mode == QUANT_MXFP8)
            values = e4m3_values16(_mm256_cvtepu8_epi16(load_16_bytes(at->codes + i)));
        else
            values = _mm512_cvtph_ps(
                _mm256_slli_epi16(_mm256_cvtepu8_epi16(fp4_upper_bytes16(at->codes + i / 2)), 8));
        store16(
            dtype, at->weights + i * size_of(dtype), _mm512_mul_ps(values, _mm512_set1_ps(scale)));
    }
    return true;
}

/* ---- casts, and what is not finite ---- */

INLINE bool any_nan16(__m512 values) /* on bits, as any_nan */
{
    __m512i magnitudes = _mm512_castps_si512(_mm512_abs_ps(values));
    return _mm512_cmpgt_epi32_mask(magnitudes, _mm512_set1_epi32(0x7F800000)) != 0;
}

INLINE size_t cast_front(
    enum dtype from, enum dtype to, size_t count, const unsigned char *in, unsigned char *out)
{
    size_t i = 0;
    for (; count - i >= 16; i += 16) {
        __m512 values = load16(from, in + i * size_of(from));
        if (to != DTYPE_F32 && any_nan16(values))
            quant_kernels_scalar.cast(from, to, 16, in + i * size_of(from), out + i * size_of(to));
        else
            store16(to, out + i * size_of(to), values);
    }
    return i;
}

INLINE size_t finite_front(bool is_wide, uint32_t exponent, size_t size, const unsigned char *bytes)
{
    const __m512i mask =
        is_wide ? _mm512_set1_epi32((int)exponent) : _mm512_set1_epi16((short)exponent);
    size_t at = 0;
    for (; size - at >= 128; at += 128) {
        __m512i first = _mm512_and_si512(_mm512_loadu_si512(bytes + at), mask);
        __m512i second = _mm512_and_si512(_mm512_loadu_si512(bytes + at + 64), mask);
        bool is_bad = is_wide ? (_mm512_cmpeq_epi32_mask(first, mask) |
                                    _mm512_cmpeq_epi32_mask(second, mask)) != 0
                              : (_mm512_cmpeq_epi16_mask(first, mask) |
                                    _mm512_cmpeq_epi16_mask(second, mask)) != 0;
        if (is_bad)
            break;
    }
    return at;
}

const struct quant_kernels quant_kernels_avx512 = {
    .name = "avx512",
    .features = CPU_AVX512,
    .quantize = quantize,
    .dequantize = dequantize,
    .cast = cast,
    .find_nonfinite = find_nonfinite,
};

#else

const struct quant_kernels quant_kernels_avx512 = {.name = NULL};

#endif
