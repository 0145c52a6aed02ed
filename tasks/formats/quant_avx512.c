/* quant_avx512.c - the kernels with AVX-512 F, BW, VL and DQ; equal to the scalar ones bit for bit.
 *
 * Sixteen groups make a batch; its scales are computed while the codes of an earlier one are
 * (affine_batches). */
#include "tasks/formats/quant.h"

#include <stddef.h>

#include "base/cpu.h"

#if defined(__x86_64__) && defined(__AVX512F__) && defined(__AVX512BW__) &&                        \
    defined(__AVX512VL__) && defined(__AVX512DQ__) && defined(__F16C__)

#define QUANT_BATCH 16
#define QUANT_GROUPS_BEHIND 4 /* at least the 14 bytes that a load of 16 may reach too far */
#include "tasks/formats/quant_vector.h"
#include "tasks/formats/quant_x86.h"

/* ---- sixteen elements ---- */

INLINE __m512 widened16(enum dtype dtype, __m256i halves)
{
    if (dtype == DTYPE_F16)
        return _mm512_cvtph_ps(halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

INLINE __m512 load16(enum dtype dtype, const unsigned char *values)
{
    if (dtype == DTYPE_F32)
        return _mm512_loadu_ps(values);
    return widened16(dtype, load_32_bytes(values));
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

/* ---- thirty-two elements ----
 *
 * BF16's lie in a vector of the even ones and one of the odd, which no lane has to be moved for;
 * others in one of the lower sixteen and one of the upper. */

INLINE void load32(enum dtype dtype, const unsigned char *values, __m512 out[2])
{
    if (dtype != DTYPE_BF16) {
        out[0] = load16(dtype, values);
        out[1] = load16(dtype, values + 16 * size_of(dtype));
        return;
    }
    __m512i bits = _mm512_loadu_si512(values);
    out[0] = _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
    out[1] = _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32((int)0xFFFF0000)));
}

/* The codes of what load32 loaded, in its order. */
INLINE void store_codes32(
    enum dtype dtype, uint32_t bits, unsigned char *out, const __m512i codes[2])
{
    if (dtype != DTYPE_BF16) {
        __m128i low = _mm512_cvtepi32_epi8(codes[0]), high = _mm512_cvtepi32_epi8(codes[1]);
        store_codes(bits, out, join(low, high));
    } else if (bits == 4) {
        __m512i two = _mm512_or_si512(codes[0], _mm512_slli_epi32(codes[1], 4));
        store_16_bytes(out, _mm512_cvtepi32_epi8(two));
    } else {
        __m512i two = _mm512_or_si512(codes[0], _mm512_slli_epi32(codes[1], 8));
        store_codes(bits, out, _mm512_cvtepi32_epi16(two));
    }
}

/* ---- sixteen vectors to one ---- */

enum fold { FOLD_ADD, FOLD_MIN, FOLD_MAX };

INLINE __m512 fold16(enum fold fold, __m512 a, __m512 b)
{
    if (fold == FOLD_ADD)
        return _mm512_add_ps(a, b);
    return fold == FOLD_MIN ? _mm512_min_ps(a, b) : _mm512_max_ps(a, b);
}

/* The neighbours within each 128 bits: two of `a`, two of `b`. */
INLINE __m512 fold_lanes(enum fold fold, __m512 a, __m512 b)
{
    return fold16(fold, _mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));
}

/* Neighbouring 128 bits: two of `a`, two of `b`. */
INLINE __m512 fold_quarters(enum fold fold, __m512 a, __m512 b)
{
    return fold16(fold, _mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
}

/* What becomes of the lanes of each vector when neighbours are folded until one is left. */
INLINE __m512 fold_each(enum fold fold, const __m512 v[16])
{
    __m512 eight[8], four[4];
    for (int i = 0; i < 8; i++)
        eight[i] = fold_lanes(fold, v[2 * i], v[2 * i + 1]);
    for (int i = 0; i < 4; i++)
        four[i] = fold_lanes(fold, eight[2 * i], eight[2 * i + 1]);
    return fold_quarters(
        fold, fold_quarters(fold, four[0], four[1]), fold_quarters(fold, four[2], four[3]));
}

/* The same of vectors whose halves are folded each by itself. */
INLINE __m512 fold_each_half(enum fold fold, const __m512 v[8])
{
    const __m512i order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    __m512 four[4], two[2];
    for (int i = 0; i < 4; i++)
        four[i] = fold_lanes(fold, v[2 * i], v[2 * i + 1]);
    for (int i = 0; i < 2; i++)
        two[i] = fold_lanes(fold, four[2 * i], four[2 * i + 1]);
    return _mm512_permutexvar_ps(order, fold_quarters(fold, two[0], two[1]));
}

/* ---- measuring ---- */

/* Lanes in load32's order; `most` are magnitudes of errors. */
struct lanes32 {
    __m512 errors[2], squares[2], most[2];
};

INLINE struct lanes32 no_error32(void)
{
    __m512 zero = _mm512_setzero_ps();
    return (struct lanes32){{zero, zero}, {zero, zero}, {zero, zero}};
}

INLINE void add_error32(struct lanes32 *sums, const __m512 weights[2], const __m512 values[2])
{
    enum { MAGNITUDE_MAX = 0xB }; /* without signs */
    for (int i = 0; i < 2; i++) {
        __m512 error = _mm512_sub_ps(weights[i], values[i]);
        sums->errors[i] = _mm512_fmadd_ps(error, error, sums->errors[i]);
        sums->squares[i] = _mm512_fmadd_ps(weights[i], weights[i], sums->squares[i]);
        sums->most[i] = _mm512_range_ps(sums->most[i], error, MAGNITUDE_MAX);
    }
}

/* Neighbours, which lie in two vectors or in one, folded: in order. */
INLINE __m512 fold_neighbours(enum fold fold, enum dtype dtype, const __m512 lanes[2])
{
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    if (dtype == DTYPE_BF16)
        return fold16(fold, lanes[0], lanes[1]);
    __m512d two = _mm512_castps_pd(fold_lanes(fold, lanes[0], lanes[1]));
    return _mm512_castpd_ps(_mm512_permutexvar_pd(order, two));
}

INLINE __m512 affine_values16(enum dtype dtype, __m512 codes, __m512 scale, __m512 bias)
{
    return rounded16(dtype, _mm512_add_ps(rounded16(dtype, _mm512_mul_ps(codes, scale)), bias));
}

/* The values of 32 codes before they are scaled, in load32's order. */
INLINE void fp_values32(
    enum quant_mode mode, enum dtype dtype, const unsigned char *codes, __m512 out[2])
{
    const __m512 table =
        _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6);
    if (mode == QUANT_MXFP8 && dtype == DTYPE_BF16) {
        __m256i two = load_32_bytes(codes);
        out[0] = e4m3_values16(_mm256_and_si256(two, _mm256_set1_epi16(0xFF)));
        out[1] = e4m3_values16(_mm256_srli_epi16(two, 8));
    } else if (mode == QUANT_MXFP8) {
        out[0] = e4m3_values16(_mm256_cvtepu8_epi16(load_16_bytes(codes)));
        out[1] = e4m3_values16(_mm256_cvtepu8_epi16(load_16_bytes(codes + 16)));
    } else if (dtype == DTYPE_BF16) { /* the permutation takes the lowest four bits */
        __m512i two = _mm512_cvtepu8_epi32(load_16_bytes(codes));
        out[0] = _mm512_permutexvar_ps(two, table);
        out[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(two, 4), table);
    } else {
        __m128i bytes = load_16_bytes(codes);
        out[0] = _mm512_permutexvar_ps(codes16_of(4, bytes), table);
        out[1] = _mm512_permutexvar_ps(codes16_of(4, _mm_srli_si128(bytes, 8)), table);
    }
}

INLINE struct lanes32 fp_error32(enum quant_mode mode, enum dtype dtype,
    const unsigned char *weights, const unsigned char *codes, const __m512 scales[2])
{
    struct lanes32 sums = no_error32();
    __m512 values[2], originals[2];
    fp_values32(mode, dtype, codes, values);
    load32(dtype, weights, originals);
    for (int i = 0; i < 2; i++) {
        values[i] = _mm512_mul_ps(values[i], scales[i]);
        if (!is_exact(mode, dtype))
            values[i] = rounded16(dtype, values[i]);
    }
    add_error32(&sums, originals, values);
    return sums;
}

/* What the vectors of sixteen groups come to. */
struct errors16 {
    __m512 errors[16], squares[16], most[16];
};

INLINE void keep_errors(
    enum dtype dtype, const struct lanes32 *sums, size_t i, struct errors16 *kept)
{
    kept->errors[i] = fold_neighbours(FOLD_ADD, dtype, sums->errors);
    kept->squares[i] = fold_neighbours(FOLD_ADD, dtype, sums->squares);
    kept->most[i] = fold_neighbours(FOLD_MAX, dtype, sums->most);
}

/* is_half: two groups lie in each of eight vectors. */
INLINE __m512 fold_groups(bool is_half, enum fold fold, const __m512 *kept)
{
    return is_half ? fold_each_half(fold, kept) : fold_each(fold, kept);
}

INLINE void store_errors16(
    bool is_half, const struct errors16 *kept, const struct quant_group_errors *out)
{
    __m512 most = fold_groups(is_half, FOLD_MAX, kept->most);
    _mm512_storeu_ps(out->error_squares, fold_groups(is_half, FOLD_ADD, kept->errors));
    _mm512_storeu_ps(out->weight_squares, fold_groups(is_half, FOLD_ADD, kept->squares));
    _mm512_storeu_ps(out->square_max, _mm512_mul_ps(most, most));
}

INLINE void measure_fp(enum quant_mode mode, enum dtype dtype, const struct quantizing *at)
{
    const bool is_half = mode == QUANT_NVFP4;
    const size_t bits = mode == QUANT_MXFP8 ? 8 : 4;
    __m128i bytes = load_16_bytes(at->scales);
    __m512i exponents = _mm512_slli_epi32(_mm512_cvtepu8_epi32(bytes), 23);
    float scales[16];
    _mm512_storeu_ps(scales, mode == QUANT_NVFP4 ? e4m3_values16(_mm256_cvtepu8_epi16(bytes))
                                                 : _mm512_castsi512_ps(exponents));
    struct errors16 kept;
    for (size_t i = 0; i < (is_half ? 8 : 16); i++) {
        const float *scale = scales + (is_half ? 2 * i : i);
        __m512 first_16 = _mm512_set1_ps(scale[0]), second_16 = first_16;
        if (is_half)
            second_16 = _mm512_set1_ps(scale[1]);
        if (is_half && dtype == DTYPE_BF16)
            first_16 = second_16 = _mm512_mask_mov_ps(first_16, 0xFF00, second_16);
        struct lanes32 sums = fp_error32(mode, dtype, at->weights + 32 * i * size_of(dtype),
            at->codes + 4 * i * bits, (const __m512[2]){first_16, second_16});
        keep_errors(dtype, &sums, i, &kept);
    }
    store_errors16(is_half, &kept, &at->errors);
}

/* ---- affine ---- */

struct affine16 {
    __m512 scale, bias; /* of sixteen groups */
};

/* affine_of in quant_scalar.c, line by line. */
INLINE struct affine16 affine_of16(uint32_t bits, __m512 lowest, __m512 highest)
{
    __m512 count = _mm512_set1_ps((float)((1u << bits) - 1));
    __m512 step = _mm512_div_ps(_mm512_sub_ps(highest, lowest), count);
    __m512 scale = _mm512_max_ps(_mm512_set1_ps(1e-7f), step);
    if (bits == 1)
        return (struct affine16){scale, lowest};
    __mmask16 is_low =
        _mm512_cmp_ps_mask(_mm512_abs_ps(lowest), _mm512_abs_ps(highest), _CMP_GT_OQ);
    __m512 edge = _mm512_mask_mov_ps(highest, is_low, lowest);
    scale = _mm512_mask_xor_ps(scale, _knot_mask16(is_low), scale, _mm512_set1_ps(-0.0f));
    __m512 q0 = _mm512_roundscale_ps(
        _mm512_div_ps(edge, scale), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __mmask16 is_used = _mm512_cmp_ps_mask(q0, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    return (struct affine16){
        _mm512_mask_div_ps(scale, is_used, edge, q0), _mm512_maskz_mov_ps(is_used, edge)};
}

/* Floats of 16 bits to integers in their order, and back. */
INLINE __m512i in_order(__m512i halves)
{
    __m512i negative = _mm512_srai_epi16(halves, 15);
    return _mm512_xor_si512(halves, _mm512_and_si512(negative, _mm512_set1_epi16(0x7FFF)));
}

INLINE __m512i farther(enum fold fold, __m512i a, __m512i b)
{
    return fold == FOLD_MIN ? _mm512_min_epi16(a, b) : _mm512_max_epi16(a, b);
}

/* The least or greatest of the 32 integers of each of sixteen vectors. */
INLINE __m256i farthest_of_each(enum fold fold, const __m512i v[16])
{
    __m512i eight[8], four[4], two[2];
    for (int i = 0; i < 8; i++)
        eight[i] = farther(fold, _mm512_unpacklo_epi16(v[2 * i], v[2 * i + 1]),
            _mm512_unpackhi_epi16(v[2 * i], v[2 * i + 1]));
    for (int i = 0; i < 4; i++)
        four[i] = farther(fold, _mm512_unpacklo_epi32(eight[2 * i], eight[2 * i + 1]),
            _mm512_unpackhi_epi32(eight[2 * i], eight[2 * i + 1]));
    for (int i = 0; i < 2; i++)
        two[i] = farther(fold, _mm512_unpacklo_epi64(four[2 * i], four[2 * i + 1]),
            _mm512_unpackhi_epi64(four[2 * i], four[2 * i + 1]));
    __m512i halves = farther(fold, _mm512_shuffle_i32x4(two[0], two[1], 0x44),
        _mm512_shuffle_i32x4(two[0], two[1], 0xEE));
    return _mm512_castsi512_si256(farther(fold, _mm512_shuffle_i32x4(halves, halves, 0x88),
        _mm512_shuffle_i32x4(halves, halves, 0xDD)));
}

/* The lowest and the highest weights of each group of a batch, in lanes; integers but in F32. */
struct extrema_lanes {
    __m512i lowest[QUANT_BATCH], highest[QUANT_BATCH];
};

/* F32: min and max give their second operand when one is NaN, so a NaN is skipped. Others by
 * integers: a NaN is lower or higher than all. */
INLINE void find_lanes(enum dtype dtype, uint32_t group_size, const unsigned char *weights,
    size_t group, struct extrema_lanes *out)
{
    weights += group * group_size * size_of(dtype);
    if (dtype == DTYPE_F32) {
        __m512 lowest = _mm512_set1_ps(INFINITY), highest = _mm512_set1_ps(-INFINITY);
        for (uint32_t i = 0; i < group_size; i += 16) {
            __m512 values = _mm512_loadu_ps(weights + 4 * i);
            lowest = _mm512_min_ps(values, lowest);
            highest = _mm512_max_ps(values, highest);
        }
        out->lowest[group] = _mm512_castps_si512(lowest);
        out->highest[group] = _mm512_castps_si512(highest);
        return;
    }
    __m512i lowest = in_order(_mm512_loadu_si512(weights)), highest = lowest;
    for (uint32_t i = 32; i < group_size; i += 32) {
        __m512i values = in_order(_mm512_loadu_si512(weights + 2 * i));
        lowest = _mm512_min_epi16(lowest, values);
        highest = _mm512_max_epi16(highest, values);
    }
    out->lowest[group] = lowest;
    out->highest[group] = highest;
}

INLINE void find_all_lanes(
    enum dtype dtype, uint32_t group_size, const unsigned char *weights, struct extrema_lanes *out)
{
    for (size_t group = 0; group < QUANT_BATCH; group++)
        find_lanes(dtype, group_size, weights, group, out);
}

struct extrema16 {
    __m512 lowest, highest; /* of sixteen groups */
};

INLINE struct extrema16 extrema_of(enum dtype dtype, const struct extrema_lanes *lanes)
{
    if (dtype == DTYPE_F32) {
        __m512 lows[16], highs[16];
        for (size_t i = 0; i < 16; i++) {
            lows[i] = _mm512_castsi512_ps(lanes->lowest[i]);
            highs[i] = _mm512_castsi512_ps(lanes->highest[i]);
        }
        return (struct extrema16){fold_each(FOLD_MIN, lows), fold_each(FOLD_MAX, highs)};
    }
    __m256i lowest = farthest_of_each(FOLD_MIN, lanes->lowest);
    __m256i highest = farthest_of_each(FOLD_MAX, lanes->highest);
    __m512i both = in_order(_mm512_inserti64x4(_mm512_castsi256_si512(lowest), highest, 1));
    return (struct extrema16){widened16(dtype, _mm512_castsi512_si256(both)),
        widened16(dtype, _mm512_extracti64x4_epi64(both, 1))};
}

/* Clamped before it is rounded, which is the same, for the end is an integer. No quotient
 * rounds below 0: the bias is the extremum that code 0 stands for, or all are too small for code 1.
 * Only in F32 can there be a NaN here, which becomes 0. */
INLINE __m512i affine_codes16(
    enum dtype dtype, uint32_t bits, __m512 weights, __m512 scale, __m512 bias)
{
    __m512 value = _mm512_div_ps(_mm512_sub_ps(weights, bias), scale);
    if (dtype == DTYPE_F32)
        value = _mm512_max_ps(value, _mm512_setzero_ps());
    return _mm512_cvtps_epi32(_mm512_min_ps(value, _mm512_set1_ps((float)((1u << bits) - 1))));
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
    struct lanes32 *sums)
{
    const __m512 all_codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512 table = stored;
    if (sums != NULL && bits <= 4)
        table = affine_values16(dtype, all_codes, stored, bias);
    for (uint32_t i = 0; i < group_size; i += CHUNK) {
        __m512 values[2], back[2];
        __m512i chunk[2];
        load32(dtype, weights, values);
        for (int j = 0; j < 2; j++) {
            chunk[j] = affine_codes16(dtype, bits, values[j], scale, bias);
            if (sums != NULL)
                back[j] = values_of16(bits, dtype, chunk[j], table, stored, bias);
        }
        if (sums != NULL)
            add_error32(sums, values, back);
        store_codes32(dtype, bits, codes, chunk);
        weights += CHUNK * size_of(dtype);
        codes += CHUNK / 8 * bits;
    }
}

/* Infinite and NaN are of no use as a scale, and 0 makes NaN of 0. */
INLINE bool are_usable(struct affine16 affine)
{
    enum { NOT_FINITE = 0x99, ZERO = 0x06 };
    return (_mm512_fpclass_ps_mask(affine.scale, NOT_FINITE | ZERO) |
               _mm512_fpclass_ps_mask(affine.bias, NOT_FINITE)) == 0;
}

/* What a batch's groups are quantized with. */
struct affine_plan {
    float scales[QUANT_BATCH], biases[QUANT_BATCH]; /* not yet rounded */
    bool is_left;                                   /* to the scalar kernel */
};

/* At 1 bit a zero bias has the sign of the first zero among the weights, which the extrema do not
 * tell. */
INLINE struct affine_plan plan_of(
    enum dtype dtype, uint32_t bits, const struct extrema_lanes *lanes)
{
    struct extrema16 extrema = extrema_of(dtype, lanes);
    struct affine16 affine = affine_of16(bits, extrema.lowest, extrema.highest);
    struct affine_plan plan;
    _mm512_storeu_ps(plan.scales, affine.scale);
    _mm512_storeu_ps(plan.biases, affine.bias);
    plan.is_left = !are_usable(affine) || (bits == 1 && _mm512_cmp_ps_mask(extrema.lowest,
                                                            _mm512_setzero_ps(), _CMP_EQ_OQ) != 0);
    return plan;
}

/* Finds the extrema of the batch at `ahead` on the way. */
INLINE void affine_batch(enum dtype dtype, uint32_t bits, uint32_t group_size,
    const struct quantizing *at, const struct affine_plan *plan, const unsigned char *ahead,
    struct extrema_lanes *lanes)
{
    const bool is_measured = at->errors.error_squares != NULL;
    __m512 all_scales = _mm512_loadu_ps(plan->scales);
    float stored[QUANT_BATCH];
    struct errors16 kept;
    _mm512_storeu_ps(stored, rounded16(dtype, all_scales));
    store16(dtype, at->scales, all_scales);
    store16(dtype, at->biases, _mm512_loadu_ps(plan->biases));
    for (size_t group = 0; group < QUANT_BATCH; group++) {
        const unsigned char *weights = at->weights + group * group_size * size_of(dtype);
        unsigned char *codes = at->codes + group * group_size / 8 * bits;
        const __m512 scale = _mm512_set1_ps(plan->scales[group]);
        const __m512 bias = _mm512_set1_ps(plan->biases[group]);
        find_lanes(dtype, group_size, ahead, group, lanes);
        if (!is_measured) {
            affine_group(dtype, bits, group_size, weights, codes, scale, bias, scale, NULL);
            continue;
        }
        struct lanes32 sums = no_error32();
        affine_group(dtype, bits, group_size, weights, codes, scale, bias,
            _mm512_set1_ps(stored[group]), &sums);
        keep_errors(dtype, &sums, group, &kept);
    }
    if (is_measured)
        store_errors16(false, &kept, &at->errors);
}

/* While the divisions of a batch's codes go on, the scales of the next are computed, which is one
 * long chain, and the extrema found of the one after that. */
INLINE uint64_t affine_batches(
    enum dtype dtype, uint32_t bits, uint32_t group_size, struct quantizing *at, uint64_t groups)
{
    const size_t batch_bytes = QUANT_BATCH * group_size * size_of(dtype);
    struct extrema_lanes lanes;
    if (groups < QUANT_BATCH)
        return groups;
    if (dtype == DTYPE_F32)
        at->is_finite = false; /* a NaN is skipped */
    find_all_lanes(dtype, group_size, at->weights, &lanes);
    struct affine_plan plan = plan_of(dtype, bits, &lanes);
    if (groups >= 2 * QUANT_BATCH)
        find_all_lanes(dtype, group_size, at->weights + batch_bytes, &lanes);
    for (; groups >= QUANT_BATCH; groups -= QUANT_BATCH) {
        /* behind the last batch, what is found again of this one serves as well as any */
        const unsigned char *ahead =
            at->weights + (groups >= 3 * QUANT_BATCH ? 2 * batch_bytes : 0);
        struct affine_plan next = plan_of(dtype, bits, &lanes);
        if (plan.is_left) {
            quantize_scalar(at, QUANT_BATCH);
            find_all_lanes(dtype, group_size, ahead, &lanes);
        } else {
            affine_batch(dtype, bits, group_size, at, &plan, ahead, &lanes);
        }
        plan = next;
        step_quantizing(QUANT_AFFINE, bits, dtype, at, QUANT_BATCH);
    }
    return groups;
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
    float divisor[QUANT_BATCH];
    for (size_t i = 0; i < QUANT_BATCH; i += 8) {
        const unsigned char *weights = at->weights + i * group_size * size_of(dtype);
        __m256 magnitudes = magnitude_max8(dtype, group_size, weights), divisors;
        if (!fp_divisor8(mode, dtype, magnitudes, at->scales + i, &divisors))
            return false;
        _mm256_storeu_ps(divisor + i, divisors);
    }
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

INLINE bool any_nan16(__m512 values) /* on bits, as in quant_avx2.c */
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
