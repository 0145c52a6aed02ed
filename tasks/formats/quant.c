/* quant.c - modes and shapes, and the choice of kernels. */
#include "tasks/formats/quant.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>

static const struct {
    const char *name;
    uint32_t group_size, bits;
} modes[QUANT_MODE_COUNT] = {
    [QUANT_AFFINE] = {"affine", 64, 4},
    [QUANT_MXFP4] = {"mxfp4", 32, 4},
    [QUANT_MXFP8] = {"mxfp8", 32, 8},
    [QUANT_NVFP4] = {"nvfp4", 16, 4},
};

const char *quant_mode_name(enum quant_mode mode)
{
    assert(mode < QUANT_MODE_COUNT);
    return modes[mode].name;
}

bool quant_mode_parse(struct text name, enum quant_mode *out)
{
    for (size_t i = 0; i < QUANT_MODE_COUNT; i++) {
        if (text_is(name, modes[i].name)) {
            *out = (enum quant_mode)i;
            return true;
        }
    }
    return false;
}

void quant_mode_defaults(enum quant_mode mode, uint32_t *group_size, uint32_t *bits)
{
    assert(mode < QUANT_MODE_COUNT);
    *group_size = modes[mode].group_size;
    *bits = modes[mode].bits;
}

static struct error *check_affine(const struct quant_shape *shape)
{
    if (shape->bits < 1 || shape->bits > 8 || shape->bits == 7)
        return error_new(
            ERROR_USAGE, "bits must be one of 1, 2, 3, 4, 5, 6, 8, not %u", (unsigned)shape->bits);
    if (shape->group_size != 32 && shape->group_size != 64 && shape->group_size != 128)
        return error_new(ERROR_USAGE, "group_size must be one of 32, 64, 128, not %u",
            (unsigned)shape->group_size);
    return NULL;
}

static struct error *check_fp(const struct quant_shape *shape)
{
    if (shape->bits != modes[shape->mode].bits)
        return error_new(ERROR_USAGE, "bits must be %u in mode %s, not %u",
            (unsigned)modes[shape->mode].bits, modes[shape->mode].name, (unsigned)shape->bits);
    if (shape->group_size != modes[shape->mode].group_size)
        return error_new(ERROR_USAGE, "group_size must be %u in mode %s, not %u",
            (unsigned)modes[shape->mode].group_size, modes[shape->mode].name,
            (unsigned)shape->group_size);
    return NULL;
}

struct error *quant_shape_check(const struct quant_shape *shape, uint64_t columns)
{
    assert(shape->mode < QUANT_MODE_COUNT);
    TRY(shape->mode == QUANT_AFFINE ? check_affine(shape) : check_fp(shape));
    if (!dtype_is_float(shape->dtype))
        return error_new(ERROR_USAGE, "weights to quantize must be F32, F16 or BF16, not %s",
            dtype_name(shape->dtype));
    if (columns % shape->group_size != 0)
        return error_new(ERROR_USAGE, "a row must be a multiple of group_size %u long, not %llu",
            (unsigned)shape->group_size, (unsigned long long)columns);
    return NULL;
}

bool quant_has_biases(enum quant_mode mode)
{
    return mode == QUANT_AFFINE;
}

enum dtype quant_scale_dtype(const struct quant_shape *shape)
{
    return shape->mode == QUANT_AFFINE ? shape->dtype : DTYPE_U8;
}

uint64_t quant_code_bytes(const struct quant_shape *shape, uint64_t columns)
{
    return columns / 8 * shape->bits; /* a group size is a multiple of 8 */
}

/* Fastest first; the scalar ones are always there and need nothing. */
static const struct quant_kernels *const tables[] = {
    &quant_kernels_avx512,
    &quant_kernels_avx2,
    &quant_kernels_neon,
    &quant_kernels_scalar,
};

static const struct quant_kernels *kernels = &quant_kernels_scalar;

const struct quant_kernels *quant_kernels_at(unsigned index)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        if (tables[i]->name != NULL && index-- == 0)
            return tables[i];
    return NULL;
}

void quant_init(unsigned cpu_mask)
{
    const struct quant_kernels *table;
    for (unsigned i = 0; (table = quant_kernels_at(i)) != NULL; i++)
        if ((table->features & ~cpu_mask) == 0)
            break;
    assert(table != NULL);
    kernels = table;
}

const char *quant_kernels_name(void)
{
    return kernels->name;
}

/* A row whose groups are being added. */
struct row_sums {
    uint64_t groups;
    double error_squares, weight_squares;
    float square_max;
};

static void end_row(const struct row_sums *row, struct quant_error *sum)
{
    if (!isfinite(row->error_squares) || !isfinite(row->weight_squares)) {
        sum->rows_left_out++;
        return;
    }
    float error_max = sqrtf(row->square_max);
    sum->error_squares += row->error_squares;
    sum->weight_squares += row->weight_squares;
    sum->error_max = error_max > sum->error_max ? error_max : sum->error_max;
}

static void add_groups(const struct quant_group_errors *errors, size_t count, uint64_t row_groups,
    struct row_sums *row, struct quant_error *sum)
{
    for (size_t i = 0; i < count; i++) {
        row->error_squares += (double)errors->error_squares[i];
        row->weight_squares += (double)errors->weight_squares[i];
        if (errors->square_max[i] > row->square_max)
            row->square_max = errors->square_max[i];
        if (++row->groups < row_groups)
            continue;
        end_row(row, sum);
        *row = (struct row_sums){0, 0, 0, 0};
    }
}

bool quant_rows(const struct quant_shape *shape, uint64_t rows, uint64_t columns,
    const void *weights, void *codes, void *scales, void *biases, struct quant_error *sum)
{
    enum { GROUPS_AT_ONCE = 1024 };
    const uint64_t row_groups = columns / shape->group_size, groups = rows * row_groups;
    if (sum == NULL)
        return kernels->quantize(shape, groups, weights, codes, scales, biases, NULL);
    const size_t scale_bytes = dtype_size_bytes(quant_scale_dtype(shape));
    const unsigned char *w = weights;
    unsigned char *c = codes, *s = scales, *b = biases;
    float floats[3][GROUPS_AT_ONCE];
    const struct quant_group_errors errors = {floats[0], floats[1], floats[2]};
    struct row_sums row = {0, 0, 0, 0};
    bool is_finite = true;
    for (uint64_t left = groups, count; left > 0; left -= count) {
        count = left < GROUPS_AT_ONCE ? left : GROUPS_AT_ONCE;
        is_finite &= kernels->quantize(shape, count, w, c, s, b, &errors);
        add_groups(&errors, (size_t)count, row_groups, &row, sum);
        w += count * shape->group_size * dtype_size_bytes(shape->dtype);
        c += count * quant_code_bytes(shape, shape->group_size);
        s += count * scale_bytes;
        b = b == NULL ? NULL : b + count * scale_bytes;
    }
    return is_finite;
}

void dequant_rows(const struct quant_shape *shape, uint64_t rows, uint64_t columns,
    const void *codes, const void *scales, const void *biases, void *weights)
{
    kernels->dequantize(
        shape, rows * (columns / shape->group_size), codes, scales, biases, weights);
}

void cast_values(
    enum dtype from, enum dtype to, uint64_t count, const void *values_in, void *values_out)
{
    kernels->cast(from, to, count, values_in, values_out);
}

uint64_t quant_find_nonfinite(enum dtype dtype, uint64_t count, const void *values)
{
    return kernels->find_nonfinite(dtype, count, values);
}
