/* quant_x86.h - eight lanes, for the kernels with AVX2 and those with AVX-512. For them alone. */
#ifndef PSYBUILD_TASKS_FORMATS_QUANT_X86_H
#define PSYBUILD_TASKS_FORMATS_QUANT_X86_H

#include "tasks/formats/quant_vector.h"

#if defined(QUANT_BATCH) && defined(__AVX2__) && defined(__F16C__)

#include <immintrin.h>
#include <math.h>

enum { CHUNK = 32 }; /* weights whose codes are packed together */

/* ---- elements ---- */

INLINE __m128i load_16_bytes(const unsigned char *bytes)
{
    return _mm_loadu_si128((const __m128i *)(const void *)bytes);
}

INLINE __m256i load_32_bytes(const unsigned char *bytes)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)bytes);
}

INLINE void store_16_bytes(unsigned char *bytes, __m128i value)
{
    _mm_storeu_si128((__m128i *)(void *)bytes, value);
}

INLINE void store_32_bytes(unsigned char *bytes, __m256i value)
{
    _mm256_storeu_si256((__m256i *)(void *)bytes, value);
}

INLINE __m256 widened8(enum dtype dtype, __m128i halves)
{
    if (dtype == DTYPE_F16)
        return _mm256_cvtph_ps(halves);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

INLINE __m256 load8(enum dtype dtype, const unsigned char *values)
{
    if (dtype == DTYPE_F32)
        return _mm256_castsi256_ps(load_32_bytes(values));
    return widened8(dtype, load_16_bytes(values));
}

/* To bf16 in the upper halves; the lower ones are what is cut off. No NaN. */
INLINE __m256i round_to_bf16(__m256 values)
{
    __m256i bits = _mm256_castps_si256(values);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
}

INLINE __m128i to_f16(__m256 values) /* no NaN: the hardware's are not MLX's */
{
    return _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE __m256 rounded(enum dtype dtype, __m256 values) /* no NaN */
{
    if (dtype == DTYPE_F32)
        return values;
    if (dtype == DTYPE_F16)
        return _mm256_cvtph_ps(to_f16(values));
    __m256i high = _mm256_set1_epi32((int)0xFFFF0000);
    return _mm256_castsi256_ps(_mm256_and_si256(round_to_bf16(values), high));
}

INLINE __m256 magnitude_of(__m256 values)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), values);
}

INLINE bool all_finite(__m256 values)
{
    __m256 finite = _mm256_cmp_ps(magnitude_of(values), _mm256_set1_ps(INFINITY), _CMP_LT_OQ);
    return _mm256_movemask_ps(finite) == 0xFF;
}

/* For a shuffle: the two bytes that a lane's code lies in, and two zeros. */
INLINE int32_t two_bytes_of(int bits, int lane)
{
    int from = lane * bits / 8;
    return (int32_t)(0x80800000 | (unsigned)((from + 1) << 8) | (unsigned)from);
}

/* ---- codes to bytes ---- */

/* The lowest 2 * bits bytes. */
INLINE void store_bytes(uint32_t bits, unsigned char *out, __m128i value)
{
    uint64_t low = (uint64_t)_mm_cvtsi128_si64(value);
    uint64_t high = (uint64_t)_mm_extract_epi64(value, 1);
    memcpy(out, &low, bits < 4 ? 2 * bits : 8);
    if (bits > 4)
        memcpy(out + 8, &high, 2 * bits - 8);
}

/* For each width, the bytes in use of two times 64 bits; -1 leaves a zero. */
static const int8_t bytes_in_use[7][16] = {
    [2] = {0, 1, 8, 9, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1},
    [3] = {0, 1, 2, 8, 9, 10, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1},
    [4] = {0, 1, 2, 3, 8, 9, 10, 11, -1, -1, -1, -1, -1, -1, -1, -1},
    [5] = {0, 1, 2, 3, 4, 8, 9, 10, 11, 12, -1, -1, -1, -1, -1, -1},
    [6] = {0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, -1, -1, -1, -1},
};

/* 32 codes, a byte each, to 4 * bits bytes: joins two codes in each 16 bits, four in 32 and eight
 * in 64, then moves the bytes in use together. */
INLINE void store_codes(uint32_t bits, unsigned char *out, __m256i codes)
{
    if (bits == 8) {
        store_32_bytes(out, codes);
        return;
    }
    if (bits == 1) {
        int32_t lowest = _mm256_movemask_epi8(_mm256_slli_epi16(codes, 7));
        memcpy(out, &lowest, sizeof lowest);
        return;
    }
    __m256i two = _mm256_maddubs_epi16(codes, _mm256_set1_epi16((short)(1 | 1 << (bits + 8))));
    if (bits == 4) { /* two are a byte */
        store_16_bytes(
            out, _mm_packus_epi16(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1)));
        return;
    }
    __m256i four = _mm256_madd_epi16(two, _mm256_set1_epi32(1 | 1 << (2 * bits + 16)));
    __m256i low = _mm256_and_si256(four, _mm256_set1_epi64x(0xFFFFFFFF));
    __m256i high = _mm256_slli_epi64(_mm256_srli_epi64(four, 32), (int)(4 * bits));
    __m128i in_use = load_16_bytes((const unsigned char *)bytes_in_use[bits]);
    __m256i eight =
        _mm256_shuffle_epi8(_mm256_or_si256(low, high), _mm256_broadcastsi128_si256(in_use));
    store_bytes(bits, out, _mm256_castsi256_si128(eight));
    store_bytes(bits, out + 2 * bits, _mm256_extracti128_si256(eight, 1));
}

/* ---- mxfp4, mxfp8, nvfp4 ---- */

/* The bits of the largest magnitude, as F32's: magnitudes are in the order of their bits. */
INLINE uint32_t magnitude_max(enum dtype dtype, uint32_t group_size, const unsigned char *weights)
{
    if (dtype == DTYPE_F32) {
        __m256i most = _mm256_setzero_si256(), mask = _mm256_set1_epi32(0x7FFFFFFF);
        for (uint32_t i = 0; i < group_size; i += 8)
            most = _mm256_max_epu32(most, _mm256_and_si256(load_32_bytes(weights + 4 * i), mask));
        __m128i four =
            _mm_max_epu32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
        four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4E));
        four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0xB1));
        return (uint32_t)_mm_cvtsi128_si32(four);
    }
    __m256i most = _mm256_setzero_si256(), mask = _mm256_set1_epi16(0x7FFF);
    for (uint32_t i = 0; i < group_size; i += 16)
        most = _mm256_max_epu16(most, _mm256_and_si256(load_32_bytes(weights + 2 * i), mask));
    __m128i eight = _mm_max_epu16(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    __m128i least = _mm_minpos_epu16(_mm_xor_si128(eight, _mm_set1_epi16(-1)));
    uint32_t half = (uint32_t)_mm_cvtsi128_si32(least) & 0xFFFF;
    return half ^ 0xFFFF;
}

INLINE __m256 magnitude_max8(enum dtype dtype, uint32_t group_size, const unsigned char *weights)
{
    uint32_t wide[8];
    uint16_t halves[8];
    for (size_t group = 0; group < 8; group++) {
        wide[group] = magnitude_max(dtype, group_size, weights);
        halves[group] = (uint16_t)wide[group];
        weights += group_size * size_of(dtype);
    }
    return load8(
        dtype, dtype == DTYPE_F32 ? (const unsigned char *)wide : (const unsigned char *)halves);
}

/* dtype_f32_to_e4m3 of eight values. */
INLINE __m256i e4m3_of8(__m256 values)
{
    __m256i bits = _mm256_castps_si256(values);
    __m256 magnitude = magnitude_of(values);
    __m256i m = _mm256_castps_si256(magnitude);
    __m256i low =
        _mm256_sub_epi32(_mm256_castps_si256(_mm256_add_ps(magnitude, _mm256_set1_ps(16384.0f))),
            _mm256_set1_epi32(0x46800000));
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(m, 20), _mm256_set1_epi32(1));
    __m256i high = _mm256_add_epi32(m, _mm256_set1_epi32(0x7FFFF - (120 << 23)));
    high = _mm256_srli_epi32(_mm256_add_epi32(high, odd), 20);
    __m256i is_low = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x3C800000), m);
    __m256i is_most = _mm256_cmpgt_epi32(m, _mm256_set1_epi32(0x43DFFFFF));
    __m256i code = _mm256_blendv_epi8(high, low, is_low);
    code = _mm256_blendv_epi8(code, _mm256_set1_epi32(0x7E), is_most);
    __m256i sign = _mm256_and_si256(_mm256_srli_epi32(bits, 24), _mm256_set1_epi32(0x80));
    return _mm256_or_si256(code, sign);
}

/* E4M3 codes, not NaN, to values: with their fields as F16's they are 2^8 too small. */
INLINE __m256 e4m3_values8(__m128i codes /* 16 bits each */)
{
    __m128i sign = _mm_slli_epi16(_mm_and_si128(codes, _mm_set1_epi16(0x80)), 8);
    __m128i fields = _mm_slli_epi16(_mm_and_si128(codes, _mm_set1_epi16(0x7F)), 7);
    return _mm256_mul_ps(_mm256_cvtph_ps(_mm_or_si128(sign, fields)), _mm256_set1_ps(256));
}

INLINE __m128i pack_to_16_bits(__m256i values)
{
    return _mm_packus_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
}

INLINE void store_scale_bytes(unsigned char *out, __m128i scales /* 16 bits each */)
{
    _mm_storel_epi64((__m128i *)(void *)out, _mm_packus_epi16(scales, scales));
}

/* fp_divisor in quant_scalar.c; stores the scale bytes. False for what only the scalar kernel
 * knows: not finite, subnormal, and the large ones of nvfp4, whose codes depend on
 * how differences from them round. A decoded scale of 0 gives codes of 0, as dividing by infinity
 * does. */
INLINE bool fp_divisor8(enum quant_mode mode, enum dtype dtype, __m256 magnitudes,
    unsigned char *scales, __m256 *divisor)
{
    __m256 top = _mm256_set1_ps(mode == QUANT_MXFP8 ? 448 : 6);
    __m256 value = rounded(dtype, _mm256_div_ps(magnitudes, top));
    __m256 limit = _mm256_set1_ps(mode == QUANT_NVFP4 ? 0x1p20f : INFINITY);
    if (_mm256_movemask_ps(_mm256_cmp_ps(value, limit, _CMP_LT_OQ)) != 0xFF ||
        !all_finite(magnitudes))
        return false;
    if (mode == QUANT_NVFP4) {
        __m128i codes = pack_to_16_bits(e4m3_of8(value));
        __m256 decoded = e4m3_values8(codes);
        __m256 is_zero = _mm256_cmp_ps(decoded, _mm256_setzero_ps(), _CMP_EQ_OQ);
        *divisor = _mm256_blendv_ps(decoded, _mm256_set1_ps(INFINITY), is_zero);
        store_scale_bytes(scales, codes);
        return true;
    }
    __m256i bits = _mm256_castps_si256(value);
    __m256i is_zero = _mm256_cmpeq_epi32(bits, _mm256_setzero_si256());
    __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x00800000), bits);
    if (_mm256_movemask_epi8(_mm256_andnot_si256(is_zero, is_small)) != 0)
        return false;
    __m256i exponent = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x007FFFFF)), 23);
    exponent = _mm256_blendv_epi8(exponent, _mm256_set1_epi32(127), is_zero);
    *divisor = _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
    store_scale_bytes(scales, pack_to_16_bits(exponent));
    return true;
}

/* 32 E2M1 codes from how many quarters each magnitude reaches, rounded up and with its sign: the
 * borders between codes are 1, 3, 5, 7, 10, 14 and 20 quarters, each with the code below. */
INLINE __m256i fp4_codes32(__m256i quarters)
{
    const __m256i code_of = _mm256_setr_epi8(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 6, 0, 0,
        1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 6);
    __m256i count = _mm256_abs_epi8(quarters);
    __m256i code = _mm256_shuffle_epi8(code_of, _mm256_min_epu8(count, _mm256_set1_epi8(15)));
    __m256i is_most = _mm256_cmpeq_epi8(_mm256_max_epu8(count, _mm256_set1_epi8(21)), count);
    code = _mm256_sub_epi8(code, is_most); /* a saturated count of -128 has the magnitude 128 */
    __m256i is_negative = _mm256_cmpgt_epi8(_mm256_set1_epi8(-1), quarters); /* by two quarters */
    return _mm256_or_si256(code, _mm256_and_si256(is_negative, _mm256_set1_epi8(8)));
}

/* ---- mxfp4 and nvfp4 of 16-bit weights ----
 *
 * Without dividing and without widening. Sixteen runs of sixteen weights are transposed, so that a
 * lane has a run, and a vector the weights at one place of all of them. A weight's code is the
 * number of borders between codes, each times the divisor, that its magnitude is above. The
 * quotient tells the same: a border times a divisor is exact in F32, so a weight that equals it has
 * the border as its quotient; the next weight's quotient is more than half a last place above the
 * border (the border's mantissa is at least 1, the product's below 2, in F32 and in the dtype), so
 * it rounds to what is above; and what underflows is below all borders. Magnitudes are in the
 * order of their bits, so a border that the dtype does not hold serves cut off to its 16 bits. */

enum {
    RUN = 16,  /* weights of a lane: a group of nvfp4, half a group of mxfp4 */
    TILES = 4, /* of sixteen runs in a batch: the borders of one are found beside another's */
};

/* Eight by eight, in both halves of the vectors. */
INLINE void transpose8(const __m256i in[8], __m256i out[8])
{
    __m256i two[8], four[8];
    for (int i = 0; i < 4; i++) {
        two[i] = _mm256_unpacklo_epi16(in[2 * i], in[2 * i + 1]);
        two[4 + i] = _mm256_unpackhi_epi16(in[2 * i], in[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        four[2 * i] = _mm256_unpacklo_epi32(two[2 * i], two[2 * i + 1]);
        four[2 * i + 1] = _mm256_unpackhi_epi32(two[2 * i], two[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2; j++) {
            __m256i low = four[4 * i + j], high = four[4 * i + j + 2];
            out[4 * i + 2 * j] = _mm256_unpacklo_epi64(low, high);
            out[4 * i + 2 * j + 1] = _mm256_unpackhi_epi64(low, high);
        }
    }
}

INLINE void load_transposed(const unsigned char *weights, __m256i out[RUN])
{
    for (int half = 0; half < 2; half++) {
        __m256i rows[8];
        for (int i = 0; i < 8; i++) {
            const unsigned char *row = weights + 2 * RUN * i + RUN * half;
            rows[i] = _mm256_inserti128_si256(
                _mm256_castsi128_si256(load_16_bytes(row)), load_16_bytes(row + 2 * RUN * 8), 1);
        }
        transpose8(rows, out + 8 * half);
    }
}

/* Cut off to 16 bits. */
INLINE __m128i truncated8(enum dtype dtype, __m256 values)
{
    if (dtype == DTYPE_F16)
        return _mm256_cvtps_ph(values, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    return pack_to_16_bits(_mm256_srli_epi32(_mm256_castps_si256(values), 16));
}

/* The borders of each lane, from the largest magnitude of each; stores the scales. */
INLINE bool find_borders(
    enum quant_mode mode, enum dtype dtype, __m256i most, unsigned char *scales, __m256i borders[7])
{
    static const float quotients[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};
    __m256 divisors[2];
    if (mode == QUANT_NVFP4) {
        for (int half = 0; half < 2; half++) {
            __m128i eight =
                half == 0 ? _mm256_castsi256_si128(most) : _mm256_extracti128_si256(most, 1);
            if (!fp_divisor8(
                    mode, dtype, widened8(dtype, eight), scales + 8 * half, &divisors[half]))
                return false;
        }
    } else {
        most = _mm256_max_epu16(most, _mm256_srli_epi32(most, 16));
        __m128i eight = pack_to_16_bits(_mm256_and_si256(most, _mm256_set1_epi32(0xFFFF)));
        if (!fp_divisor8(mode, dtype, widened8(dtype, eight), scales, &divisors[0]))
            return false;
        divisors[1] = divisors[0];
    }
    for (int i = 0; i < 7; i++) {
        __m256 border = _mm256_set1_ps(quotients[i]);
        __m128i low = truncated8(dtype, _mm256_mul_ps(border, divisors[0]));
        __m128i high = low;
        if (mode == QUANT_NVFP4)
            high = truncated8(dtype, _mm256_mul_ps(border, divisors[1]));
        borders[i] = mode == QUANT_NVFP4 ? _mm256_setr_m128i(low, high)
                                         : _mm256_setr_m128i(_mm_unpacklo_epi16(low, low),
                                               _mm_unpackhi_epi16(low, low));
    }
    return true;
}

/* The codes of four places of each lane. */
INLINE __m256i fp4_words(const __m256i weights[4], const __m256i borders[7])
{
    __m256i words = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++) {
        __m256i magnitudes = _mm256_and_si256(weights[i], _mm256_set1_epi16(0x7FFF));
        __m256i is_above = _mm256_cmpgt_epi16(magnitudes, borders[0]), minus = is_above;
        for (int j = 1; j < 7; j++)
            minus = _mm256_add_epi16(minus, _mm256_cmpgt_epi16(magnitudes, borders[j]));
        __m256i sign = _mm256_and_si256(_mm256_srli_epi16(weights[i], 12), _mm256_set1_epi16(8));
        __m256i codes = _mm256_sub_epi16(_mm256_and_si256(sign, is_above), minus);
        words = _mm256_or_si256(words, _mm256_slli_epi16(codes, 4 * i));
    }
    return words;
}

/* Four words of each lane, lane after lane. */
INLINE void store_fp4_words(unsigned char *out, const __m256i words[4])
{
    __m256i pairs[4];
    for (int i = 0; i < 2; i++) {
        pairs[i] = _mm256_unpacklo_epi16(words[2 * i], words[2 * i + 1]);
        pairs[2 + i] = _mm256_unpackhi_epi16(words[2 * i], words[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        __m256i first = _mm256_unpacklo_epi32(pairs[2 * i], pairs[2 * i + 1]);
        __m256i second = _mm256_unpackhi_epi32(pairs[2 * i], pairs[2 * i + 1]);
        store_16_bytes(out + 32 * i, _mm256_castsi256_si128(first));
        store_16_bytes(out + 32 * i + 16, _mm256_castsi256_si128(second));
        store_16_bytes(out + 32 * i + 64, _mm256_extracti128_si256(first, 1));
        store_16_bytes(out + 32 * i + 80, _mm256_extracti128_si256(second, 1));
    }
}

INLINE bool fp4_batch(enum quant_mode mode, enum dtype dtype, const struct quantizing *at)
{
    __m256i weights[TILES][RUN], borders[TILES][7];
    for (int tile = 0; tile < TILES; tile++) {
        const __m256i mask = _mm256_set1_epi16(0x7FFF);
        load_transposed(at->weights + tile * 2 * RUN * 16, weights[tile]);
        __m256i most[2];
        for (int i = 0; i < 2; i++) {
            most[i] = _mm256_and_si256(weights[tile][i], mask);
            for (int j = 2 + i; j < RUN; j += 2)
                most[i] = _mm256_max_epu16(most[i], _mm256_and_si256(weights[tile][j], mask));
        }
        unsigned char *scales = at->scales + tile * (mode == QUANT_NVFP4 ? 16 : 8);
        if (!find_borders(mode, dtype, _mm256_max_epu16(most[0], most[1]), scales, borders[tile]))
            return false;
    }
    for (int tile = 0; tile < TILES; tile++) {
        __m256i words[4];
        for (int i = 0; i < 4; i++)
            words[i] = fp4_words(weights[tile] + 4 * i, borders[tile]);
        store_fp4_words(at->codes + tile * RUN * 16 / 2, words);
    }
    return true;
}

INLINE uint32_t fp_batch_groups(enum quant_mode mode, enum dtype dtype)
{
    if (mode == QUANT_MXFP8 || dtype == DTYPE_F32)
        return QUANT_BATCH;
    return TILES * (mode == QUANT_NVFP4 ? 16 : 8);
}

/* Whether codes times scales need no rounding to the dtype: of what the vector kernels quantize,
 * the codes' values have two bits, a nvfp4 scale four, and subnormals end the exponents of F16
 * alone. */
INLINE bool is_exact(enum quant_mode mode, enum dtype dtype)
{
    return mode == QUANT_NVFP4 || (mode == QUANT_MXFP4 && dtype != DTYPE_F16);
}

/* ---- the fp modes ---- */

/* The others, by dividing: each instruction set's own. */
INLINE bool fp_batch_wide(enum quant_mode mode, enum dtype dtype, const struct quantizing *at);

/* The errors of the next QUANT_BATCH groups, which were quantized just now and whose scales are
 * finite and normal: each instruction set's own. */
INLINE void measure_fp(enum quant_mode mode, enum dtype dtype, const struct quantizing *at);

INLINE bool fp_batch(enum quant_mode mode, enum dtype dtype, const struct quantizing *at)
{
    bool is_done = mode == QUANT_MXFP8 || dtype == DTYPE_F32 ? fp_batch_wide(mode, dtype, at)
                                                             : fp4_batch(mode, dtype, at);
    if (!is_done || at->errors.error_squares == NULL)
        return is_done;
    struct quantizing part = *at;
    for (uint32_t i = 0; i < fp_batch_groups(mode, dtype); i += QUANT_BATCH) {
        measure_fp(mode, dtype, &part);
        step_quantizing(mode, mode == QUANT_MXFP8 ? 8 : 4, dtype, &part, QUANT_BATCH);
    }
    return true;
}

/* ---- dequantizing ---- */

INLINE float load1(enum dtype dtype, const unsigned char *value)
{
    uint32_t wide;
    uint16_t half;
    if (dtype == DTYPE_F32) {
        memcpy(&wide, value, sizeof wide);
        return float_of_bits(wide);
    }
    memcpy(&half, value, sizeof half);
    if (dtype == DTYPE_BF16)
        return float_of_bits((uint32_t)half << 16);
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
}

INLINE bool any_e4m3_nan(const unsigned char *codes32)
{
    __m256i most = _mm256_set1_epi8(0x7F);
    __m256i is_nan = _mm256_cmpeq_epi8(_mm256_and_si256(load_32_bytes(codes32), most), most);
    return _mm256_movemask_epi8(is_nan) != 0;
}

/* 16 E2M1 codes from 8 bytes to the upper bytes of their values in F16, whose lower ones are 0. */
INLINE __m128i fp4_upper_bytes16(const unsigned char *in)
{
    const __m128i upper_of =
        _mm_setr_epi8(0x00, 0x38, 0x3C, 0x3E, 0x40, 0x42, 0x44, 0x46, (char)0x80, (char)0xB8,
            (char)0xBC, (char)0xBE, (char)0xC0, (char)0xC2, (char)0xC4, (char)0xC6);
    __m128i pairs = _mm_loadl_epi64((const __m128i *)(const void *)in);
    __m128i even = _mm_and_si128(pairs, _mm_set1_epi8(15));
    __m128i odd = _mm_and_si128(_mm_srli_epi16(pairs, 4), _mm_set1_epi8(15));
    return _mm_shuffle_epi8(upper_of, _mm_unpacklo_epi8(even, odd));
}

#endif

#endif
