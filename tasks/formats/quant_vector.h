/* quant_vector.h - what the kernels of all instruction sets have in common: the walk over the
 * groups, and the choice of code by mode, width and dtype.
 *
 * For quant_avx2.c and its like alone. Each defines QUANT_BATCH and QUANT_GROUPS_BEHIND, includes
 * this, and defines the functions declared below. They are inlined with constant arguments,
 * so a dtype or a width there chooses code, not paths. The groups behind the last batch, and the
 * batches that a function leaves, go through the scalar kernels: what becomes of a NaN is written
 * there alone. */
#ifndef PSYBUILD_TASKS_FORMATS_QUANT_VECTOR_H
#define PSYBUILD_TASKS_FORMATS_QUANT_VECTOR_H

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasks/formats/quant.h"

#define INLINE static inline __attribute__((always_inline))

/* What a call works on: the front of the buffers that the scalar kernels have not had. */
struct quantizing {
    const struct quant_shape *shape;
    const unsigned char *weights;
    unsigned char *codes, *scales, *biases;
    struct quant_group_errors errors; /* NULLs: not wanted */
    bool is_finite;                   /* no weight so far is infinite or NaN; false: not known */
};

struct dequantizing {
    const struct quant_shape *shape;
    const unsigned char *codes, *scales, *biases;
    unsigned char *weights;
};

INLINE size_t size_of(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? 4 : 2;
}

#if defined(QUANT_BATCH)

/* Quantizes batches of QUANT_BATCH groups, with their errors if they are wanted, and returns how
 * many groups are left behind the last. Clears is_finite if it may not see a NaN. */
INLINE uint64_t affine_batches(
    enum dtype dtype, uint32_t bits, uint32_t group_size, struct quantizing *at, uint64_t groups);

/* The next fp_batch_groups, with their errors if they are wanted. False if the scalar kernel must
 * do them; true tells that they are finite. */
INLINE uint32_t fp_batch_groups(enum quant_mode mode, enum dtype dtype);
INLINE bool fp_batch(enum quant_mode mode, enum dtype dtype, const struct quantizing *at);

/* The next group; there are codes of QUANT_GROUPS_BEHIND more behind it, which may be read. False,
 * and nothing done, if the scalar kernel must do it. */
INLINE bool affine_values(enum dtype dtype, uint32_t bits, const struct dequantizing *at);
INLINE bool fp_values(enum quant_mode mode, enum dtype dtype, const struct dequantizing *at);

/* Casts values from the first on and returns how many. */
INLINE size_t cast_front(
    enum dtype from, enum dtype to, size_t count, const unsigned char *in, unsigned char *out);

/* How many bytes at the front hold no value of 2 or 4 bytes whose bits `exponent` are all set, as
 * they are in what is not finite; may stop early. */
INLINE size_t finite_front(
    bool is_wide, uint32_t exponent, size_t size, const unsigned char *bytes);

/* ---- quantizing, batch by batch ---- */

static void quantize_scalar(struct quantizing *at, uint64_t groups)
{
    if (!quant_kernels_scalar.quantize(at->shape, groups, at->weights, at->codes, at->scales,
            at->biases, at->errors.error_squares == NULL ? NULL : &at->errors))
        at->is_finite = false;
}

INLINE void step_quantizing(
    enum quant_mode mode, uint32_t bits, enum dtype dtype, struct quantizing *at, uint32_t groups)
{
    at->weights += groups * at->shape->group_size * size_of(dtype);
    at->codes += groups * at->shape->group_size / 8 * bits;
    at->scales += groups * (mode == QUANT_AFFINE ? size_of(dtype) : 1);
    if (mode == QUANT_AFFINE)
        at->biases += groups * size_of(dtype);
    if (at->errors.error_squares == NULL)
        return;
    at->errors.error_squares += groups;
    at->errors.weight_squares += groups;
    at->errors.square_max += groups;
}

INLINE bool fp_quantize_as(
    enum quant_mode mode, uint32_t bits, enum dtype dtype, struct quantizing at, uint64_t groups)
{
    const uint32_t batch = fp_batch_groups(mode, dtype);
    for (; groups >= batch; groups -= batch) {
        if (!fp_batch(mode, dtype, &at))
            quantize_scalar(&at, batch);
        step_quantizing(mode, bits, dtype, &at, batch);
    }
    quantize_scalar(&at, groups);
    return at.is_finite;
}

INLINE bool fp_quantize(enum quant_mode mode, uint32_t bits, struct quantizing at, uint64_t groups)
{
    if (at.shape->dtype == DTYPE_BF16)
        return fp_quantize_as(mode, bits, DTYPE_BF16, at, groups);
    if (at.shape->dtype == DTYPE_F16)
        return fp_quantize_as(mode, bits, DTYPE_F16, at, groups);
    return fp_quantize_as(mode, bits, DTYPE_F32, at, groups);
}

/* A group size of 64 is nearly all there is, and the loops over it are worth their own code. */
INLINE bool affine_quantize(uint32_t bits, struct quantizing at, uint64_t groups)
{
    const uint32_t group_size = at.shape->group_size;
    if (at.shape->dtype == DTYPE_BF16 && group_size == 64)
        groups = affine_batches(DTYPE_BF16, bits, 64, &at, groups);
    else if (at.shape->dtype == DTYPE_BF16)
        groups = affine_batches(DTYPE_BF16, bits, group_size, &at, groups);
    else if (at.shape->dtype == DTYPE_F16)
        groups = affine_batches(DTYPE_F16, bits, group_size, &at, groups);
    else
        groups = affine_batches(DTYPE_F32, bits, group_size, &at, groups);
    quantize_scalar(&at, groups);
    return at.is_finite;
}

static bool quantize_affine(struct quantizing at, uint64_t groups)
{
    switch (at.shape->bits) {
    case 1:
        return affine_quantize(1, at, groups);
    case 2:
        return affine_quantize(2, at, groups);
    case 3:
        return affine_quantize(3, at, groups);
    case 4:
        return affine_quantize(4, at, groups);
    case 5:
        return affine_quantize(5, at, groups);
    case 6:
        return affine_quantize(6, at, groups);
    default:
        return affine_quantize(8, at, groups);
    }
}

static bool quantize(const struct quant_shape *shape, uint64_t groups, const void *weights,
    void *codes, void *scales, void *biases, const struct quant_group_errors *errors)
{
    struct quantizing at = {shape, weights, codes, scales, biases, {NULL, NULL, NULL}, true};
    if (errors != NULL)
        at.errors = *errors;
    switch (shape->mode) {
    case QUANT_MXFP4:
        return fp_quantize(QUANT_MXFP4, 4, at, groups);
    case QUANT_MXFP8:
        return fp_quantize(QUANT_MXFP8, 8, at, groups);
    case QUANT_NVFP4:
        return fp_quantize(QUANT_NVFP4, 4, at, groups);
    default:
        return quantize_affine(at, groups);
    }
}

/* ---- dequantizing ---- */

/* The decoded scale in the dtype: of the mx modes infinity from 255 on (F16: 143), and in F16 zero
 * below 103. */
INLINE float fp_scale_value(enum quant_mode mode, enum dtype dtype, uint8_t scale)
{
    if (mode == QUANT_NVFP4)
        return dtype_e4m3_to_f32(scale);
    if (dtype == DTYPE_F16 && scale < 103)
        return 0;
    if (dtype == DTYPE_F16 && scale > 142)
        return INFINITY;
    return float_of_bits(scale == 0 ? 0x00400000 : (uint32_t)scale << 23);
}

static void dequantize_scalar(struct dequantizing *at, uint64_t groups)
{
    quant_kernels_scalar.dequantize(
        at->shape, groups, at->codes, at->scales, at->biases, at->weights);
}

INLINE void dequantize_as(
    enum quant_mode mode, uint32_t bits, enum dtype dtype, struct dequantizing at, uint64_t groups)
{
    const uint32_t group_size = at.shape->group_size;
    for (; groups > QUANT_GROUPS_BEHIND; groups--) {
        bool is_done =
            mode == QUANT_AFFINE ? affine_values(dtype, bits, &at) : fp_values(mode, dtype, &at);
        if (!is_done)
            dequantize_scalar(&at, 1);
        at.codes += group_size / 8 * bits;
        at.scales += mode == QUANT_AFFINE ? size_of(dtype) : 1;
        if (mode == QUANT_AFFINE)
            at.biases += size_of(dtype);
        at.weights += group_size * size_of(dtype);
    }
    dequantize_scalar(&at, groups);
}

INLINE void dequantize_bits(
    enum quant_mode mode, uint32_t bits, struct dequantizing at, uint64_t groups)
{
    if (at.shape->dtype == DTYPE_BF16)
        dequantize_as(mode, bits, DTYPE_BF16, at, groups);
    else if (at.shape->dtype == DTYPE_F16)
        dequantize_as(mode, bits, DTYPE_F16, at, groups);
    else
        dequantize_as(mode, bits, DTYPE_F32, at, groups);
}

static void dequantize_affine(struct dequantizing at, uint64_t groups)
{
    switch (at.shape->bits) {
    case 1:
        dequantize_bits(QUANT_AFFINE, 1, at, groups);
        break;
    case 2:
        dequantize_bits(QUANT_AFFINE, 2, at, groups);
        break;
    case 3:
        dequantize_bits(QUANT_AFFINE, 3, at, groups);
        break;
    case 4:
        dequantize_bits(QUANT_AFFINE, 4, at, groups);
        break;
    case 5:
        dequantize_bits(QUANT_AFFINE, 5, at, groups);
        break;
    case 6:
        dequantize_bits(QUANT_AFFINE, 6, at, groups);
        break;
    default:
        dequantize_bits(QUANT_AFFINE, 8, at, groups);
        break;
    }
}

static void dequantize(const struct quant_shape *shape, uint64_t groups, const void *codes,
    const void *scales, const void *biases, void *weights)
{
    struct dequantizing at = {shape, codes, scales, biases, weights};
    switch (shape->mode) {
    case QUANT_MXFP4:
        dequantize_bits(QUANT_MXFP4, 4, at, groups);
        break;
    case QUANT_MXFP8:
        dequantize_bits(QUANT_MXFP8, 8, at, groups);
        break;
    case QUANT_NVFP4:
        dequantize_bits(QUANT_NVFP4, 4, at, groups);
        break;
    default:
        dequantize_affine(at, groups);
        break;
    }
}

/* ---- casts, and what is not finite ---- */

INLINE void cast_as(
    enum dtype from, enum dtype to, size_t count, const unsigned char *in, unsigned char *out)
{
    size_t done = cast_front(from, to, count, in, out);
    quant_kernels_scalar.cast(
        from, to, count - done, in + done * size_of(from), out + done * size_of(to));
}

static void cast(
    enum dtype from, enum dtype to, uint64_t count, const void *values_in, void *values_out)
{
    assert(dtype_is_float(from) && dtype_is_float(to));
    if (from == DTYPE_F32 && to == DTYPE_BF16)
        cast_as(DTYPE_F32, DTYPE_BF16, count, values_in, values_out);
    else if (from == DTYPE_F32 && to == DTYPE_F16)
        cast_as(DTYPE_F32, DTYPE_F16, count, values_in, values_out);
    else if (from == DTYPE_BF16 && to == DTYPE_F32)
        cast_as(DTYPE_BF16, DTYPE_F32, count, values_in, values_out);
    else if (from == DTYPE_BF16 && to == DTYPE_F16)
        cast_as(DTYPE_BF16, DTYPE_F16, count, values_in, values_out);
    else if (from == DTYPE_F16 && to == DTYPE_F32)
        cast_as(DTYPE_F16, DTYPE_F32, count, values_in, values_out);
    else if (from == DTYPE_F16 && to == DTYPE_BF16)
        cast_as(DTYPE_F16, DTYPE_BF16, count, values_in, values_out);
    else
        quant_kernels_scalar.cast(from, to, count, values_in, values_out);
}

static uint64_t find_nonfinite(enum dtype dtype, uint64_t count, const void *values)
{
    assert(dtype_is_float(dtype));
    size_t each = size_of(dtype), size = (size_t)count * each, begin;
    if (dtype == DTYPE_F32)
        begin = finite_front(true, 0x7F800000, size, values);
    else
        begin = finite_front(false, dtype == DTYPE_BF16 ? 0x7F80 : 0x7C00, size, values);
    const unsigned char *rest = (const unsigned char *)values + begin;
    return begin / each + quant_kernels_scalar.find_nonfinite(dtype, count - begin / each, rest);
}

#endif

#endif
