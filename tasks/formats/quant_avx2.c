/* quant_avx2.c - the kernels with AVX2, FMA and F16C; equal to the scalar ones bit for bit.
 *
 * Eight groups make a batch: their extrema are found one group after the other, their scales
 * computed side by side, one lane for each, then their codes. */
#include "tasks/formats/quant.h"

#include <stddef.h>

#include "base/cpu.h"

#if defined(__x86_64__) && defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

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

INLINE void store8(enum dtype dtype, unsigned char *values, __m256 wide) /* no NaN, but in F32 */
{
    if (dtype == DTYPE_F32) {
        store_32_bytes(values, _mm256_castps_si256(wide));
    } else if (dtype == DTYPE_F16) {
        store_16_bytes(values, to_f16(wide));
    } else {
        __m256i high = _mm256_srli_epi32(round_to_bf16(wide), 16);
        __m128i upper = _mm256_extracti128_si256(high, 1);
        store_16_bytes(values, _mm_packus_epi32(_mm256_castsi256_si128(high), upper));
    }
}

/* On bits: clang 14 turns the comparison of widened F16 into one of F16, element by element. */
INLINE bool any_nan(__m256 values)
{
    __m256i magnitudes = _mm256_castps_si256(magnitude_of(values));
    __m256i is_nan = _mm256_cmpgt_epi32(magnitudes, _mm256_set1_epi32(0x7F800000));
    return _mm256_movemask_epi8(is_nan) != 0;
}

/* ---- thirty-two elements ----
 *
 * BF16's lie in a vector of the even ones and one of the odd, of the lower sixteen and then of the
 * upper, which no lane has to be moved for; others in four vectors one after the other. */

INLINE void load32(enum dtype dtype, const unsigned char *values, __m256 out[4])
{
    for (size_t i = 0; i < 4 && dtype != DTYPE_BF16; i++)
        out[i] = load8(dtype, values + 8 * i * size_of(dtype));
    for (size_t i = 0; i < 4 && dtype == DTYPE_BF16; i += 2) {
        __m256i bits = load_32_bytes(values + 16 * i);
        out[i] = _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
        out[i + 1] =
            _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32((int)0xFFFF0000)));
    }
}

/* The codes of what load32 loaded, in its order. */
INLINE void store_codes32(
    enum dtype dtype, uint32_t bits, unsigned char *out, const __m256i codes[4])
{
    if (dtype != DTYPE_BF16) {
        store_codes(bits, out, pack_to_bytes(false, codes));
        return;
    }
    __m256i low = _mm256_or_si256(codes[0], _mm256_slli_epi32(codes[1], 8));
    __m256i high = _mm256_or_si256(codes[2], _mm256_slli_epi32(codes[3], 8));
    store_codes(bits, out, _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xD8));
}

/* ---- measuring ---- */

/* Lanes in load32's order; `most` are magnitudes of errors, of the lower sixteen and the upper. */
struct lanes32 {
    __m256 errors[4], squares[4], most[2];
};

INLINE struct lanes32 no_error32(void)
{
    __m256 zero = _mm256_setzero_ps();
    return (struct lanes32){{zero, zero, zero, zero}, {zero, zero, zero, zero}, {zero, zero}};
}

INLINE void add_error8(struct lanes32 *sums, size_t i, __m256 weights, __m256 values)
{
    __m256 error = _mm256_sub_ps(weights, values);
    sums->errors[i] = _mm256_fmadd_ps(error, error, sums->errors[i]);
    sums->squares[i] = _mm256_fmadd_ps(weights, weights, sums->squares[i]);
    sums->most[i / 2] = _mm256_max_ps(sums->most[i / 2], magnitude_of(error));
}

/* Neighbours of neighbours added: of the lower sixteen lanes the first two, of the upper the first
 * two, of the lower the others, of the upper the others. */
INLINE __m256 add_fours(enum dtype dtype, const __m256 lanes[4])
{
    const __m256i order = _mm256_setr_epi32(0, 4, 2, 6, 1, 5, 3, 7);
    if (dtype == DTYPE_BF16)
        return _mm256_hadd_ps(_mm256_add_ps(lanes[0], lanes[1]), _mm256_add_ps(lanes[2], lanes[3]));
    __m256 fours =
        _mm256_hadd_ps(_mm256_hadd_ps(lanes[0], lanes[1]), _mm256_hadd_ps(lanes[2], lanes[3]));
    return _mm256_permutevar8x32_ps(fours, order);
}

/* Of four of those, what the lower and the upper sixteen lanes of each come to. */
INLINE __m256 add_to_sixteens(const __m256 fours[4])
{
    __m256 low = _mm256_hadd_ps(fours[0], fours[1]), high = _mm256_hadd_ps(fours[2], fours[3]);
    return _mm256_add_ps(
        _mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
}

/* Of eight, what all their lanes come to. */
INLINE __m256 add_to_ones(const __m256 fours[8])
{
    __m256 sums = _mm256_hadd_ps(add_to_sixteens(fours), add_to_sixteens(fours + 4));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(sums), 0xD8));
}

INLINE __m256 join_max(__m256 a, __m256 b)
{
    return _mm256_max_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
}

INLINE __m256 unpack_pairs(__m256 a, __m256 b, bool is_high)
{
    __m256d x = _mm256_castps_pd(a), y = _mm256_castps_pd(b);
    return _mm256_castpd_ps(is_high ? _mm256_unpackhi_pd(x, y) : _mm256_unpacklo_pd(x, y));
}

/* The greatest of each of eight vectors: three steps of exchanging halves. */
INLINE __m256 greatest_of_each(const __m256 v[8])
{
    __m256 quarter[4], half[2];
    for (int i = 0; i < 4; i++)
        quarter[i] = join_max(v[2 * i], v[2 * i + 1]);
    for (int i = 0; i < 2; i++)
        half[i] = _mm256_max_ps(unpack_pairs(quarter[2 * i], quarter[2 * i + 1], false),
            unpack_pairs(quarter[2 * i], quarter[2 * i + 1], true));
    return _mm256_max_ps(_mm256_permute2f128_ps(half[0], half[1], 0x20),
        _mm256_permute2f128_ps(half[0], half[1], 0x31));
}

/* What eight groups have lost; two of nvfp4 share fours. */
struct errors8 {
    __m256 errors[8], squares[8], most[8];
};

INLINE void store_errors8(
    bool is_shared, const struct errors8 *kept, const struct quant_group_errors *out)
{
    __m256 most = greatest_of_each(kept->most);
    _mm256_storeu_ps(
        out->error_squares, is_shared ? add_to_sixteens(kept->errors) : add_to_ones(kept->errors));
    _mm256_storeu_ps(out->weight_squares,
        is_shared ? add_to_sixteens(kept->squares) : add_to_ones(kept->squares));
    _mm256_storeu_ps(out->square_max, _mm256_mul_ps(most, most));
}

/* The values of up to 16 codes: those of codes 0 to 7, and of 8 to 15. */
struct code_values {
    __m256 low, high;
};

/* The permutation takes the lowest three bits of each lane; the fourth chooses the table. */
INLINE __m256 look_up8(uint32_t bits, struct code_values values, __m256i codes)
{
    __m256 low = _mm256_permutevar8x32_ps(values.low, codes);
    if (bits < 4)
        return low;
    __m256 high = _mm256_permutevar8x32_ps(values.high, codes);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)));
}

/* Eight codes of four bits, with others' bits above each. */
INLINE __m256i load_fours8(const unsigned char *in)
{
    int32_t all;
    memcpy(&all, in, sizeof all);
    return _mm256_srlv_epi32(
        _mm256_set1_epi32(all), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
}

/* The values of 32 codes before they are scaled, in load32's order. */
INLINE void fp_values32(
    enum quant_mode mode, enum dtype dtype, const unsigned char *codes, __m256 out[4])
{
    const __m256 values = _mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6);
    const struct code_values table = {values, _mm256_xor_ps(values, _mm256_set1_ps(-0.0f))};
    for (size_t i = 0; i < 4; i += 2) {
        if (mode == QUANT_MXFP8) {
            __m128i bytes = load_16_bytes(codes + 8 * i), zero = _mm_setzero_si128();
            const bool is_split = dtype == DTYPE_BF16;
            out[i] = e4m3_values8(is_split ? _mm_and_si128(bytes, _mm_set1_epi16(0xFF))
                                           : _mm_unpacklo_epi8(bytes, zero));
            out[i + 1] =
                e4m3_values8(is_split ? _mm_srli_epi16(bytes, 8) : _mm_unpackhi_epi8(bytes, zero));
        } else if (dtype == DTYPE_BF16) {
            __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)(codes + 4 * i));
            __m256i two = _mm256_cvtepu8_epi32(bytes);
            out[i] = look_up8(4, table, two);
            out[i + 1] = look_up8(4, table, _mm256_srli_epi32(two, 4));
        } else {
            out[i] = look_up8(4, table, load_fours8(codes + 4 * i));
            out[i + 1] = look_up8(4, table, load_fours8(codes + 4 * i + 4));
        }
    }
}

INLINE void measure_fp(enum quant_mode mode, enum dtype dtype, const struct quantizing *at)
{
    const bool is_shared = mode == QUANT_NVFP4;
    const size_t bits = mode == QUANT_MXFP8 ? 8 : 4;
    __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)at->scales);
    __m256i exponents = _mm256_slli_epi32(_mm256_cvtepu8_epi32(bytes), 23);
    float scales[8];
    _mm256_storeu_ps(scales, mode == QUANT_NVFP4 ? e4m3_values8(_mm_cvtepu8_epi16(bytes))
                                                 : _mm256_castsi256_ps(exponents));
    struct errors8 kept;
    for (size_t i = 0; i < (is_shared ? 4 : 8); i++) {
        __m256 originals[4], values[4];
        struct lanes32 sums = no_error32();
        load32(dtype, at->weights + 32 * i * size_of(dtype), originals);
        fp_values32(mode, dtype, at->codes + 4 * i * bits, values);
        for (size_t j = 0; j < 4; j++) {
            values[j] =
                _mm256_mul_ps(values[j], _mm256_set1_ps(scales[is_shared ? 2 * i + j / 2 : i]));
            if (!is_exact(mode, dtype))
                values[j] = rounded(dtype, values[j]);
            add_error8(&sums, j, originals[j], values[j]);
        }
        kept.errors[i] = add_fours(dtype, sums.errors);
        kept.squares[i] = add_fours(dtype, sums.squares);
        for (size_t j = 0; j < 2 && is_shared; j++)
            kept.most[2 * i + j] = sums.most[j];
        if (!is_shared)
            kept.most[i] = _mm256_max_ps(sums.most[0], sums.most[1]);
    }
    store_errors8(is_shared, &kept, &at->errors);
}

/* ---- affine ---- */

struct affine8 {
    __m256 scale, bias; /* of eight groups */
};

/* affine_of in quant_scalar.c, line by line. */
INLINE struct affine8 affine_of8(uint32_t bits, __m256 lowest, __m256 highest)
{
    __m256 count = _mm256_set1_ps((float)((1u << bits) - 1));
    __m256 step = _mm256_div_ps(_mm256_sub_ps(highest, lowest), count);
    __m256 scale = _mm256_max_ps(_mm256_set1_ps(1e-7f), step);
    if (bits == 1)
        return (struct affine8){scale, lowest};
    __m256 is_low = _mm256_cmp_ps(magnitude_of(lowest), magnitude_of(highest), _CMP_GT_OQ);
    __m256 edge = _mm256_blendv_ps(highest, lowest, is_low);
    scale = _mm256_xor_ps(scale, _mm256_andnot_ps(is_low, _mm256_set1_ps(-0.0f)));
    __m256 q0 =
        _mm256_round_ps(_mm256_div_ps(edge, scale), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 is_used = _mm256_cmp_ps(q0, _mm256_setzero_ps(), _CMP_NEQ_UQ);
    scale = _mm256_blendv_ps(scale, _mm256_div_ps(edge, q0), is_used);
    return (struct affine8){scale, _mm256_and_ps(edge, is_used)};
}

/* Floats of 16 bits to integers in their order, and back. */
INLINE __m256i in_order(__m256i halves)
{
    __m256i negative = _mm256_srai_epi16(halves, 15);
    return _mm256_xor_si256(halves, _mm256_and_si256(negative, _mm256_set1_epi16(0x7FFF)));
}

INLINE __m256i farther(bool is_least, __m256i a, __m256i b)
{
    return is_least ? _mm256_min_epi16(a, b) : _mm256_max_epi16(a, b);
}

/* The least or greatest of the 16 integers of each of eight vectors. */
INLINE __m128i farthest_of_each(bool is_least, const __m256i v[8])
{
    __m256i four[4], two[2];
    for (int i = 0; i < 4; i++)
        four[i] = farther(is_least, _mm256_unpacklo_epi16(v[2 * i], v[2 * i + 1]),
            _mm256_unpackhi_epi16(v[2 * i], v[2 * i + 1]));
    for (int i = 0; i < 2; i++)
        two[i] = farther(is_least, _mm256_unpacklo_epi32(four[2 * i], four[2 * i + 1]),
            _mm256_unpackhi_epi32(four[2 * i], four[2 * i + 1]));
    __m256i one = farther(
        is_least, _mm256_unpacklo_epi64(two[0], two[1]), _mm256_unpackhi_epi64(two[0], two[1]));
    __m128i low = _mm256_castsi256_si128(one), high = _mm256_extracti128_si256(one, 1);
    return is_least ? _mm_min_epi16(low, high) : _mm_max_epi16(low, high);
}

struct extrema8 {
    __m256 lowest, highest; /* of eight groups */
};

/* By integers: a NaN is lower or higher than all, and where there is one an extremum is one. */
INLINE struct extrema8 find_extrema_halves(
    enum dtype dtype, uint32_t group_size, const unsigned char *weights)
{
    __m256i lows[8], highs[8];
    for (size_t group = 0; group < 8; group++) {
        lows[group] = highs[group] = in_order(load_32_bytes(weights));
        weights += 32;
        for (uint32_t i = 16; i < group_size; i += 16) {
            __m256i values = in_order(load_32_bytes(weights));
            lows[group] = _mm256_min_epi16(lows[group], values);
            highs[group] = _mm256_max_epi16(highs[group], values);
            weights += 32;
        }
    }
    __m256i both =
        in_order(_mm256_setr_m128i(farthest_of_each(true, lows), farthest_of_each(false, highs)));
    return (struct extrema8){widened8(dtype, _mm256_castsi256_si128(both)),
        widened8(dtype, _mm256_extracti128_si256(both, 1))};
}

/* min and max give their second operand when one is NaN: so a NaN weight is skipped. */
INLINE struct extrema8 find_extrema_f32(uint32_t group_size, const unsigned char *weights)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 minus_lows[8], highs[8];
    for (size_t group = 0; group < 8; group++) {
        minus_lows[group] = highs[group] = _mm256_set1_ps(-INFINITY);
        for (uint32_t i = 0; i < group_size; i += 8) {
            __m256 values = load8(DTYPE_F32, weights);
            minus_lows[group] = _mm256_max_ps(_mm256_xor_ps(values, sign), minus_lows[group]);
            highs[group] = _mm256_max_ps(values, highs[group]);
            weights += 32;
        }
    }
    return (struct extrema8){
        _mm256_xor_ps(greatest_of_each(minus_lows), sign), greatest_of_each(highs)};
}

/* Clamped before it is rounded, which is the same, for the end is an integer. No quotient
 * rounds below 0: the bias is the extremum that code 0 stands for, or all are too small for code 1.
 * Only in F32 can there be a NaN here, which becomes 0. */
INLINE __m256i affine_codes8(
    enum dtype dtype, uint32_t bits, __m256 weights, __m256 scale, __m256 bias)
{
    __m256 value = _mm256_div_ps(_mm256_sub_ps(weights, bias), scale);
    if (dtype == DTYPE_F32)
        value = _mm256_max_ps(value, _mm256_setzero_ps());
    return _mm256_cvtps_epi32(_mm256_min_ps(value, _mm256_set1_ps((float)((1u << bits) - 1))));
}

INLINE __m256 affine_values8(enum dtype dtype, __m256 codes, __m256 scale, __m256 bias)
{
    return rounded(dtype, _mm256_add_ps(rounded(dtype, _mm256_mul_ps(codes, scale)), bias));
}

INLINE struct code_values affine_table(uint32_t bits, enum dtype dtype, __m256 scale, __m256 bias)
{
    const __m256 low = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 high = _mm256_setr_ps(8, 9, 10, 11, 12, 13, 14, 15);
    struct code_values values = {scale, bias};
    if (bits <= 4)
        values.low = affine_values8(dtype, low, scale, bias);
    if (bits == 4)
        values.high = affine_values8(dtype, high, scale, bias);
    return values;
}

/* What codes stand for: up to four bits from the table of all codes. */
INLINE __m256 values_of8(uint32_t bits, enum dtype dtype, __m256i codes, struct code_values table,
    __m256 scale, __m256 bias)
{
    if (bits <= 4)
        return look_up8(bits, table, codes);
    return affine_values8(dtype, _mm256_cvtepi32_ps(codes), scale, bias);
}

/* `stored` is the scale as it is stored. Measures if `sums` is not NULL. */
INLINE void affine_group(enum dtype dtype, uint32_t bits, uint32_t group_size,
    const unsigned char *weights, unsigned char *codes, __m256 scale, __m256 bias, __m256 stored,
    struct lanes32 *sums)
{
    struct code_values table = {stored, bias};
    if (sums != NULL)
        table = affine_table(bits, dtype, stored, bias);
    for (uint32_t i = 0; i < group_size; i += CHUNK) {
        __m256 values[4];
        __m256i chunk[4];
        load32(dtype, weights, values);
        for (size_t j = 0; j < 4; j++) {
            chunk[j] = affine_codes8(dtype, bits, values[j], scale, bias);
            if (sums != NULL)
                add_error8(
                    sums, j, values[j], values_of8(bits, dtype, chunk[j], table, stored, bias));
        }
        store_codes32(dtype, bits, codes, chunk);
        weights += CHUNK * size_of(dtype);
        codes += CHUNK / 8 * bits;
    }
}

/* Infinite and NaN are of no use as a scale, and 0 makes NaN of 0. */
INLINE bool are_usable(struct affine8 affine)
{
    __m256 is_zero = _mm256_cmp_ps(affine.scale, _mm256_setzero_ps(), _CMP_EQ_OQ);
    return all_finite(affine.scale) && all_finite(affine.bias) && _mm256_movemask_ps(is_zero) == 0;
}

/* False, and nothing done, if the scalar kernel must do it. At 1 bit a zero bias has the sign of
 * the first zero among the weights, which the extrema do not tell. */
INLINE bool affine_batch(
    enum dtype dtype, uint32_t bits, uint32_t group_size, const struct quantizing *at)
{
    struct extrema8 extrema = dtype == DTYPE_F32
                                  ? find_extrema_f32(group_size, at->weights)
                                  : find_extrema_halves(dtype, group_size, at->weights);
    struct affine8 affine = affine_of8(bits, extrema.lowest, extrema.highest);
    if (!are_usable(affine))
        return false;
    if (bits == 1 &&
        _mm256_movemask_ps(_mm256_cmp_ps(extrema.lowest, _mm256_setzero_ps(), _CMP_EQ_OQ)) != 0)
        return false;
    store8(dtype, at->scales, affine.scale);
    store8(dtype, at->biases, affine.bias);
    float scales[QUANT_BATCH], biases[QUANT_BATCH], stored[QUANT_BATCH];
    _mm256_storeu_ps(scales, affine.scale);
    _mm256_storeu_ps(biases, affine.bias);
    _mm256_storeu_ps(stored, rounded(dtype, affine.scale));
    const bool is_measured = at->errors.error_squares != NULL;
    struct errors8 kept;
    for (size_t group = 0; group < QUANT_BATCH; group++) {
        const unsigned char *weights = at->weights + group * group_size * size_of(dtype);
        unsigned char *codes = at->codes + group * group_size / 8 * bits;
        const __m256 scale = _mm256_set1_ps(scales[group]), bias = _mm256_set1_ps(biases[group]);
        struct lanes32 sums = no_error32();
        if (!is_measured) {
            affine_group(dtype, bits, group_size, weights, codes, scale, bias, scale, NULL);
            continue;
        }
        affine_group(dtype, bits, group_size, weights, codes, scale, bias,
            _mm256_set1_ps(stored[group]), &sums);
        kept.errors[group] = add_fours(dtype, sums.errors);
        kept.squares[group] = add_fours(dtype, sums.squares);
        kept.most[group] = _mm256_max_ps(sums.most[0], sums.most[1]);
    }
    if (is_measured)
        store_errors8(false, &kept, &at->errors);
    return true;
}

INLINE uint64_t affine_batches(
    enum dtype dtype, uint32_t bits, uint32_t group_size, struct quantizing *at, uint64_t groups)
{
    if (dtype == DTYPE_F32)
        at->is_finite = false; /* a NaN is skipped */
    for (; groups >= QUANT_BATCH; groups -= QUANT_BATCH) {
        if (!affine_batch(dtype, bits, group_size, at))
            quantize_scalar(at, QUANT_BATCH);
        step_quantizing(QUANT_AFFINE, bits, dtype, at, QUANT_BATCH);
    }
    return groups;
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

/* Eight codes from `bits` bytes, of which eight are read: each lane gets the two bytes that its
 * code lies in, shifts it down and masks it. */
INLINE __m256i load_codes8(uint32_t bits, const unsigned char *in)
{
    const int b = (int)bits;
    const __m256i from = _mm256_setr_epi32(two_bytes_of(b, 0), two_bytes_of(b, 1),
        two_bytes_of(b, 2), two_bytes_of(b, 3), two_bytes_of(b, 4), two_bytes_of(b, 5),
        two_bytes_of(b, 6), two_bytes_of(b, 7));
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
