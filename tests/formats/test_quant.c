/* test_quant.c - every kernel table against the real mlx's vectors, and bit for bit against the
 * scalar one on what the vectors do not hold. Random data print their seed; PSYBUILD_SEED repeats
 * one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "tasks/formats/quant.h"
#include "tests/support/golden.h"

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

static const enum dtype floats[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};

/* Every legal shape: 7 widths by 3 group sizes, and one for each fp mode. */
enum { SHAPES = 7 * 3 + 3 };
static struct quant_shape shape_at(size_t i, enum dtype dtype)
{
    static const uint32_t bits[] = {1, 2, 3, 4, 5, 6, 8}, sizes[] = {32, 64, 128};
    struct quant_shape shape = {.dtype = dtype};
    if (i < 7 * 3) {
        shape.bits = bits[i / 3];
        shape.group_size = sizes[i % 3];
        return shape;
    }
    shape.mode = (enum quant_mode)(QUANT_MXFP4 + (i - 7 * 3));
    quant_mode_defaults(shape.mode, &shape.group_size, &shape.bits);
    return shape;
}

/* The tables that can run here; NULL behind the last. */
static const struct quant_kernels *table_at(unsigned i)
{
    const struct quant_kernels *table;
    for (unsigned at = 0; (table = quant_kernels_at(at)) != NULL; at++)
        if ((table->features & ~cpu_features()) == 0 && i-- == 0)
            return table;
    return NULL;
}

/* ---- modes, shapes, the choice ---- */

static void quant_modes_have_names_and_defaults(void **state)
{
    static const struct {
        const char *name;
        enum quant_mode mode;
        uint32_t group_size, bits;
    } cases[] = {
        {"affine", QUANT_AFFINE, 64, 4},
        {"mxfp4", QUANT_MXFP4, 32, 4},
        {"mxfp8", QUANT_MXFP8, 32, 8},
        {"nvfp4", QUANT_NVFP4, 16, 4},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        enum quant_mode mode = QUANT_MODE_COUNT;
        uint32_t group_size, bits;
        print_message("%s\n", cases[i].name);
        assert_true(quant_mode_parse(text_of(cases[i].name), &mode));
        assert_int_equal(mode, cases[i].mode);
        assert_string_equal(quant_mode_name(mode), cases[i].name);
        quant_mode_defaults(mode, &group_size, &bits);
        assert_int_equal(group_size, cases[i].group_size);
        assert_int_equal(bits, cases[i].bits);
        assert_int_equal(quant_has_biases(mode), mode == QUANT_AFFINE);
    }
    enum quant_mode mode = QUANT_MODE_COUNT;
    assert_false(quant_mode_parse(text_of("affin"), &mode));
    assert_int_equal(mode, QUANT_MODE_COUNT);
}

static void quant_shape_check_names_what_is_wrong(void **state)
{
    static const struct {
        struct quant_shape shape;
        uint64_t columns;
        const char *want; /* NULL: fine */
    } cases[] = {
        {{QUANT_AFFINE, 4, 64, DTYPE_BF16}, 576, NULL},
        {{QUANT_AFFINE, 1, 32, DTYPE_F32}, 32, NULL},
        {{QUANT_AFFINE, 7, 64, DTYPE_BF16}, 64, "bits must be one of 1, 2, 3, 4, 5, 6, 8, not 7"},
        {{QUANT_AFFINE, 0, 64, DTYPE_BF16}, 64, "bits must be one of 1, 2, 3, 4, 5, 6, 8, not 0"},
        {{QUANT_AFFINE, 16, 64, DTYPE_BF16}, 64, "bits must be one of 1, 2, 3, 4, 5, 6, 8, not 16"},
        {{QUANT_AFFINE, 4, 16, DTYPE_BF16}, 64, "group_size must be one of 32, 64, 128, not 16"},
        {{QUANT_AFFINE, 4, 0, DTYPE_BF16}, 64, "group_size must be one of 32, 64, 128, not 0"},
        {{QUANT_AFFINE, 4, 64, DTYPE_BF16}, 100,
            "a row must be a multiple of group_size 64 long, not 100"},
        {{QUANT_AFFINE, 4, 64, DTYPE_I32}, 64,
            "weights to quantize must be F32, F16 or BF16, not I32"},
        {{QUANT_MXFP4, 4, 32, DTYPE_F16}, 96, NULL},
        {{QUANT_MXFP4, 8, 32, DTYPE_F16}, 96, "bits must be 4 in mode mxfp4, not 8"},
        {{QUANT_MXFP8, 8, 64, DTYPE_F16}, 64, "group_size must be 32 in mode mxfp8, not 64"},
        {{QUANT_NVFP4, 4, 16, DTYPE_F32}, 16, NULL},
        {{QUANT_NVFP4, 4, 16, DTYPE_F32}, 24,
            "a row must be a multiple of group_size 16 long, not 24"},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct error *error = quant_shape_check(&cases[i].shape, cases[i].columns);
        print_message("%s\n", cases[i].want != NULL ? cases[i].want : "fine");
        if (cases[i].want == NULL) {
            assert_null(error);
            continue;
        }
        assert_non_null(error);
        assert_int_equal(error_kind_of(error), ERROR_USAGE);
        assert_string_equal(error_text(error), cases[i].want);
        error_free(error);
    }
}

static void quant_sizes_follow_the_shape(void **state)
{
    const struct quant_shape five = {QUANT_AFFINE, 5, 32, DTYPE_F16};
    const struct quant_shape nvfp4 = {QUANT_NVFP4, 4, 16, DTYPE_F16};
    (void)state;
    assert_int_equal(quant_code_bytes(&five, 96), 60);
    assert_int_equal(quant_scale_dtype(&five), DTYPE_F16);
    assert_int_equal(quant_code_bytes(&nvfp4, 16), 8);
    assert_int_equal(quant_scale_dtype(&nvfp4), DTYPE_U8);
}

static void quant_init_takes_what_the_mask_allows(void **state)
{
    (void)state;
    assert_string_equal(quant_kernels_name(), "scalar");
    quant_init(cpu_features());
    assert_string_equal(quant_kernels_name(), table_at(0)->name);
    quant_init(0);
    assert_string_equal(quant_kernels_name(), "scalar");
}

/* A file compiled without its flags has an empty table, which nothing else would notice. */
static void every_instruction_set_at_hand_has_its_table(void **state)
{
    (void)state;
    assert_int_equal((cpu_features() & CPU_AVX2) != 0 && quant_kernels_avx2.name == NULL, 0);
    assert_int_equal((cpu_features() & CPU_AVX512) != 0 && quant_kernels_avx512.name == NULL, 0);
    assert_int_equal((cpu_features() & CPU_NEON) != 0 && quant_kernels_neon.name == NULL, 0);
}

/* ---- golden vectors ---- */

static void expect_bytes(const char *table, const char *file, const char *what, const void *got,
    const void *want, size_t size)
{
    const unsigned char *a = got, *b = want;
    for (size_t i = 0; i < size; i++)
        if (a[i] != b[i])
            fail_msg("%s, %s, %s: byte %zu of %zu is %02x, not %02x", table, file, what, i, size,
                a[i], b[i]);
}

static enum dtype dtype_of(const struct golden_tensor *tensor)
{
    enum dtype dtype = DTYPE_COUNT;
    assert_true(dtype_parse(text_of(tensor->dtype), &dtype));
    return dtype;
}

static void expect_golden_quantize(
    const struct quant_kernels *table, const char *file, struct quant_shape shape)
{
    struct golden golden = golden_open(file);
    struct golden_tensor w = golden_tensor(&golden, "w");
    struct golden_tensor weight = golden_tensor(&golden, "weight");
    struct golden_tensor scales = golden_tensor(&golden, "scales");
    bool has_biases = quant_has_biases(shape.mode);
    struct golden_tensor biases = golden_tensor(&golden, has_biases ? "biases" : "scales");
    uint64_t groups = w.rows * w.columns / shape.group_size;
    assert_int_equal(dtype_of(&w), shape.dtype);
    unsigned char *out = malloc(weight.size_bytes + scales.size_bytes + biases.size_bytes);
    assert_non_null(out);
    unsigned char *out_scales = out + weight.size_bytes;
    unsigned char *out_biases = out_scales + scales.size_bytes;
    table->quantize(&shape, groups, w.bytes, out, out_scales, has_biases ? out_biases : NULL, NULL);
    expect_bytes(table->name, file, "scales", out_scales, scales.bytes, scales.size_bytes);
    if (has_biases)
        expect_bytes(table->name, file, "biases", out_biases, biases.bytes, biases.size_bytes);
    expect_bytes(table->name, file, "weight", out, weight.bytes, weight.size_bytes);
    free(out);
    golden_close(&golden);
}

static void expect_golden_dequantize(
    const struct quant_kernels *table, const char *file, struct quant_shape shape)
{
    struct golden golden = golden_open(file);
    struct golden_tensor weight = golden_tensor(&golden, "weight");
    struct golden_tensor scales = golden_tensor(&golden, "scales");
    struct golden_tensor want = golden_tensor(&golden, "dequantized");
    const void *biases = NULL;
    if (quant_has_biases(shape.mode))
        biases = golden_tensor(&golden, "biases").bytes;
    uint64_t groups = want.rows * want.columns / shape.group_size;
    void *out = malloc(want.size_bytes);
    assert_non_null(out);
    table->dequantize(&shape, groups, weight.bytes, scales.bytes, biases, out);
    expect_bytes(table->name, file, "dequantized", out, want.bytes, want.size_bytes);
    free(out);
    golden_close(&golden);
}

static const char *golden_file(char name[64], const struct quant_shape *shape)
{
    static const char *const names[] = {"f32", "f16", "bf16"};
    const char *dtype = names[shape->dtype == DTYPE_F32 ? 0 : shape->dtype == DTYPE_F16 ? 1 : 2];
    snprintf(name, 64, "%s-b%u-g%u-%s.safetensors", quant_mode_name(shape->mode),
        (unsigned)shape->bits, (unsigned)shape->group_size, dtype);
    return name;
}

static void every_table_quantizes_and_dequantizes_as_mlx_does(void **state)
{
    const struct quant_kernels *table;
    char file[64];
    (void)state;
    for (unsigned t = 0; (table = table_at(t)) != NULL; t++) {
        for (size_t i = 0; i < SHAPES * LENGTH(floats); i++) {
            struct quant_shape shape = shape_at(i / LENGTH(floats), floats[i % LENGTH(floats)]);
            golden_file(file, &shape);
            expect_golden_quantize(table, file, shape);
            expect_golden_dequantize(table, file, shape);
        }
    }
}

static void stacked_matrices_are_quantized_row_by_row(void **state)
{
    const struct quant_kernels *table;
    struct quant_shape shape = {QUANT_AFFINE, 4, 64, DTYPE_BF16};
    (void)state;
    for (unsigned t = 0; (table = table_at(t)) != NULL; t++)
        expect_golden_quantize(table, "affine-3d.safetensors", shape);
}

static void every_table_casts_as_mlx_does(void **state)
{
    static const char *const cases[][3] = {
        {"cast-f32.safetensors", "to_bf16", "to_f16"},
        {"cast-bf16.safetensors", "to_f32", "to_f16"},
        {"cast-f16.safetensors", "to_f32", "to_bf16"},
    };
    const struct quant_kernels *table;
    (void)state;
    for (unsigned t = 0; (table = table_at(t)) != NULL; t++) {
        for (size_t i = 0; i < 2 * LENGTH(cases); i++) {
            struct golden golden = golden_open(cases[i / 2][0]);
            struct golden_tensor in = golden_tensor(&golden, "in");
            struct golden_tensor want = golden_tensor(&golden, cases[i / 2][1 + i % 2]);
            void *out = malloc(want.size_bytes);
            assert_non_null(out);
            table->cast(dtype_of(&in), dtype_of(&want), in.columns, in.bytes, out);
            expect_bytes(table->name, cases[i / 2][0], cases[i / 2][1 + i % 2], out, want.bytes,
                want.size_bytes);
            free(out);
            golden_close(&golden);
        }
    }
}

/* ---- all tables against the scalar one ---- */

static uint64_t random_state;

static uint64_t random_bits(void) /* splitmix64 */
{
    uint64_t x = random_state += 0x9E3779B97F4A7C15;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
    x = (x ^ x >> 27) * 0x94D049BB133111EB;
    return x ^ x >> 31;
}

static void seed_random(void)
{
    const char *seed = getenv("PSYBUILD_SEED");
    random_state = seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
    print_message("PSYBUILD_SEED=%llu\n", (unsigned long long)random_state);
}

static float random_unit(void)
{
    return (float)(random_bits() >> 40) * 0x1p-24f;
}

/* About normal: the sum of four. */
static float random_normal(void)
{
    return (random_unit() + random_unit() + random_unit() + random_unit() - 2) * 1.7f;
}

static void put(enum dtype dtype, unsigned char *values, size_t i, float value)
{
    quant_kernels_scalar.cast(DTYPE_F32, dtype, 1, &value, values + i * dtype_size_bytes(dtype));
}

/* What the weights of one group may be like. */
enum input_class {
    RANDOM_BITS,
    NORMAL,
    SCALED,     /* normal, times a power of two of the whole range */
    TIES,       /* multiples of half a step, and of an eighth */
    NEIGHBOURS, /* a tie, or one step of the last bit beside it */
    MIDDLES,    /* the same, and no step is a power of two */
    ALL_EQUAL,
    ZEROS, /* of both signs */
    SUBNORMAL,
    NEAR_EPSILON,
    LARGEST,   /* finite, but their differences overflow */
    INFINITE,  /* a few infinities */
    WITH_NAN,  /* a few NaN */
    ONE_SPIKE, /* zeros and one weight */
    INPUT_CLASSES
};

static void put_random_bits(enum dtype dtype, unsigned char *values, size_t i)
{
    uint64_t bits = random_bits();
    memcpy(values + i * dtype_size_bytes(dtype), &bits, dtype_size_bytes(dtype));
}

static float random_weight(enum input_class class, float scale, uint32_t bits, uint32_t i)
{
    static const float ends[] = {INFINITY, -INFINITY, NAN, -NAN};
    float steps = (float)(random_bits() % (2 * ((1u << bits) - 1) + 1));
    float sign = random_bits() % 2 ? 1.0f : -1.0f;
    switch (class) {
    case NORMAL:
        return random_normal() * 0.02f;
    case SCALED:
        return random_normal() * scale;
    case TIES:
        return i == 0 ? 0 : i == 1 ? (float)((1u << bits) - 1) : steps * 0.5f;
    case NEIGHBOURS:
        return float_of_bits(
                   float_bits(i == 0 ? 6 : sign * (1 + 2 * (float)(random_bits() % 8)) * 0.25f) +
                   (uint32_t)(random_bits() % 3) - 1) *
               (scale > 1 ? 1 : 32);
    case MIDDLES:
        if (i < 2)
            return i == 0 ? 0 : scale;
        return float_of_bits(
            float_bits(scale * ((float)(random_bits() % ((1u << bits) - 1)) + 0.5f) /
                       (float)((1u << bits) - 1)) +
            (uint32_t)(random_bits() % 5) - 2);
    case ALL_EQUAL:
        return scale;
    case ZEROS:
        return sign * 0.0f;
    case SUBNORMAL:
        return sign * float_of_bits((uint32_t)random_bits() & 0xFFFFFF) *
               (scale > 1 ? 1 : 0x1p103f);
    case NEAR_EPSILON:
        return sign * random_unit() * 2e-7f * (scale > 1 ? 1 : 16);
    case LARGEST:
        return sign * (scale > 1 ? 3.4e38f : 65504.0f) * (random_bits() % 4 ? 1 : random_unit());
    case INFINITE:
        return random_bits() % 16 ? random_normal() : ends[random_bits() % 2];
    case WITH_NAN:
        return random_bits() % 16 ? random_normal() : ends[random_bits() % 4];
    case ONE_SPIKE:
        return i == 7 ? scale : 0;
    default:
        return 0;
    }
}

static void put_group(
    const struct quant_shape *shape, enum input_class class, unsigned char *values, size_t group)
{
    float scale = random_normal() * float_of_bits((uint32_t)(random_bits() % 254 + 1) << 23);
    if (shape->dtype == DTYPE_F16)
        scale = random_normal() * float_of_bits((uint32_t)(random_bits() % 40 + 100) << 23);
    for (uint32_t i = 0; i < shape->group_size; i++) {
        size_t at = group * shape->group_size + i;
        if (class == RANDOM_BITS)
            put_random_bits(shape->dtype, values, at);
        else
            put(shape->dtype, values, at, random_weight(class, scale, shape->bits, i));
    }
}

/* A buffer with bytes around it that nobody may write. */
enum { GUARD_BYTES = 64, GUARD = 0xA5, BUFFER_BYTES = 64 * 1024 };

struct guarded {
    unsigned char *block, *bytes;
    size_t size;
};

/* Behind the end lies nothing more, so that a sanitizer sees reads, too. */
static struct guarded guarded_new(size_t size, size_t misalignment)
{
    struct guarded guarded = {.size = size};
    guarded.block = malloc(GUARD_BYTES + misalignment + size + GUARD_BYTES);
    assert_non_null(guarded.block);
    memset(guarded.block, GUARD, GUARD_BYTES + misalignment + size + GUARD_BYTES);
    guarded.bytes = guarded.block + GUARD_BYTES + misalignment;
    return guarded;
}

static bool guarded_end(struct guarded *guarded)
{
    bool is_whole = true;
    for (unsigned char *byte = guarded->block; byte < guarded->bytes; byte++)
        is_whole = is_whole && *byte == GUARD;
    for (size_t i = 0; i < GUARD_BYTES; i++)
        is_whole = is_whole && guarded->bytes[guarded->size + i] == GUARD;
    free(guarded->block);
    return is_whole;
}

/* Copies to the end of an allocation of its own, at any alignment. */
static unsigned char *exact_copy(const void *bytes, size_t size, size_t misalignment, void **block)
{
    *block = malloc(misalignment + size + (misalignment + size == 0));
    assert_non_null(*block);
    unsigned char *copy = (unsigned char *)*block + misalignment;
    if (size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

struct quantized {
    unsigned char codes[BUFFER_BYTES], scales[BUFFER_BYTES], biases[BUFFER_BYTES];
};

static void fail_row(const struct quant_kernels *table, const struct quant_shape *shape,
    uint64_t groups, unsigned class, const char *what)
{
    fail_msg("%s: %s, %u bits, group size %u, %s, %llu groups, input class %u: %s", table->name,
        quant_mode_name(shape->mode), (unsigned)shape->bits, (unsigned)shape->group_size,
        dtype_name(shape->dtype), (unsigned long long)groups, class, what);
}

static bool same_floats(const float *a, const float *b, uint64_t count)
{
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

/* Where the sums are not finite, which of them is not is open. */
static bool same_errors(
    const struct quant_group_errors *a, const struct quant_group_errors *b, uint64_t groups)
{
    for (size_t i = 0; i < groups; i++) {
        bool is_finite = isfinite(a->error_squares[i]) && isfinite(a->weight_squares[i]);
        if (!is_finite && isfinite(b->error_squares[i]) && isfinite(b->weight_squares[i]))
            return false;
        if (is_finite && !(same_floats(&a->error_squares[i], &b->error_squares[i], 1) &&
                             same_floats(&a->weight_squares[i], &b->weight_squares[i], 1) &&
                             same_floats(&a->square_max[i], &b->square_max[i], 1)))
            return false;
    }
    return true;
}

/* Group counts around a batch of groups (4, 8, 16, 32 or 64), and one with several. */
static const uint64_t group_counts[] = {
    0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 23, 24, 31, 32, 33, 50, 63, 64, 65, 131};
enum { GROUPS_MAX = 131 };

static void compare_quantize(const struct quant_kernels *table, const struct quant_shape *shape,
    uint64_t groups, unsigned class, const void *weights, bool is_measured, struct quantized *want)
{
    static float wanted[3][GROUPS_MAX], got[3][GROUPS_MAX];
    const struct quant_group_errors want_errors = {wanted[0], wanted[1], wanted[2]};
    const struct quant_group_errors errors = {got[0], got[1], got[2]};
    size_t misalignment = (size_t)(random_bits() % 8);
    size_t code_bytes = (size_t)quant_code_bytes(shape, groups * shape->group_size);
    size_t scale_bytes = (size_t)groups * dtype_size_bytes(quant_scale_dtype(shape));
    void *block;
    unsigned char *in = exact_copy(weights,
        (size_t)groups * shape->group_size * dtype_size_bytes(shape->dtype), misalignment, &block);
    struct guarded codes = guarded_new(code_bytes, misalignment);
    struct guarded scales = guarded_new(scale_bytes, misalignment);
    struct guarded biases = guarded_new(scale_bytes, misalignment);
    bool has_biases = quant_has_biases(shape->mode);
    bool are_all_finite = quant_kernels_scalar.quantize(shape, groups, in, want->codes,
        want->scales, has_biases ? want->biases : NULL, &want_errors);
    bool is_finite = table->quantize(shape, groups, in, codes.bytes, scales.bytes,
        has_biases ? biases.bytes : NULL, is_measured ? &errors : NULL);
    if (is_finite && !are_all_finite)
        fail_row(table, shape, groups, class, "an infinity or NaN is taken for finite");
    if (memcmp(scales.bytes, want->scales, scale_bytes) != 0)
        fail_row(table, shape, groups, class, "scales differ");
    if (has_biases && memcmp(biases.bytes, want->biases, scale_bytes) != 0)
        fail_row(table, shape, groups, class, "biases differ");
    if (memcmp(codes.bytes, want->codes, code_bytes) != 0)
        fail_row(table, shape, groups, class, "codes differ");
    if (is_measured && !same_errors(&errors, &want_errors, groups))
        fail_row(table, shape, groups, class, "errors differ");
    bool is_whole = guarded_end(&codes);
    is_whole = guarded_end(&scales) && is_whole;
    is_whole = guarded_end(&biases) && is_whole;
    if (!is_whole)
        fail_row(table, shape, groups, class, "wrote outside its output");
    free(block);
}

static void compare_dequantize(const struct quant_kernels *table, const struct quant_shape *shape,
    uint64_t groups, unsigned class, const struct quantized *quantized)
{
    static unsigned char want[4 * BUFFER_BYTES];
    size_t misalignment = (size_t)(random_bits() % 8);
    size_t scale_bytes = (size_t)groups * dtype_size_bytes(quant_scale_dtype(shape));
    size_t weight_bytes = (size_t)groups * shape->group_size * dtype_size_bytes(shape->dtype);
    void *blocks[3];
    unsigned char *codes = exact_copy(quantized->codes,
        (size_t)quant_code_bytes(shape, groups * shape->group_size), misalignment, &blocks[0]);
    unsigned char *scales = exact_copy(quantized->scales, scale_bytes, misalignment, &blocks[1]);
    unsigned char *biases = exact_copy(quantized->biases, scale_bytes, misalignment, &blocks[2]);
    if (!quant_has_biases(shape->mode))
        biases = NULL;
    struct guarded out = guarded_new(weight_bytes, misalignment);
    quant_kernels_scalar.dequantize(shape, groups, codes, scales, biases, want);
    table->dequantize(shape, groups, codes, scales, biases, out.bytes);
    if (memcmp(out.bytes, want, weight_bytes) != 0)
        fail_row(table, shape, groups, class, "dequantized weights differ");
    if (!guarded_end(&out))
        fail_row(table, shape, groups, class, "wrote outside its output");
    for (size_t i = 0; i < LENGTH(blocks); i++)
        free(blocks[i]);
}

/* Each group's for itself, or all classes mixed, or now and then a batch that cannot be done by
 * vectors. */
static enum input_class class_of_group(unsigned class)
{
    if (class < INPUT_CLASSES)
        return (enum input_class) class;
    if (class == INPUT_CLASSES)
        return (enum input_class)(random_bits() % INPUT_CLASSES);
    return random_bits() % 40 == 0 ? WITH_NAN : TIES;
}

/* Each count with each class, and with the classes mixed from group to group. */
static void compare_shape(const struct quant_kernels *table, const struct quant_shape *shape)
{
    static unsigned char weights[GROUPS_MAX * QUANT_GROUP_SIZE_MAX * 4];
    static struct quantized quantized;
    for (size_t c = 0; c < LENGTH(group_counts); c++) {
        for (unsigned class = 0; class < INPUT_CLASSES + 2; class ++) {
            for (size_t group = 0; group < group_counts[c]; group++)
                put_group(shape, class_of_group(class), weights, group);
            compare_quantize(table, shape, group_counts[c], class, weights, false, &quantized);
            compare_quantize(table, shape, group_counts[c], class, weights, true, &quantized);
            compare_dequantize(table, shape, group_counts[c], class, &quantized);
        }
        for (size_t i = 0; i < BUFFER_BYTES; i++) { /* codes, scales and biases of any bits */
            quantized.codes[i] = (unsigned char)random_bits();
            quantized.scales[i] = (unsigned char)random_bits();
            quantized.biases[i] = (unsigned char)random_bits();
        }
        compare_dequantize(table, shape, group_counts[c], INPUT_CLASSES, &quantized);
    }
}

static void every_table_equals_the_scalar_one(void **state)
{
    const struct quant_kernels *table;
    (void)state;
    seed_random();
    for (unsigned t = 0; (table = table_at(t)) != NULL; t++) {
        for (size_t i = 0; i < SHAPES * LENGTH(floats) && table != &quant_kernels_scalar; i++) {
            struct quant_shape shape = shape_at(i / LENGTH(floats), floats[i % LENGTH(floats)]);
            compare_shape(table, &shape);
        }
    }
}

/* Fills groups whose first weight is `first` with all 16-bit patterns of at most its magnitude. */
static uint64_t put_all_below(
    const struct quant_shape *shape, float first, unsigned char *weights, size_t count)
{
    float limit = first;
    uint32_t pattern = 0;
    for (size_t i = 0; i < count; i++) {
        if (i % shape->group_size == 0) {
            put(shape->dtype, weights, i, first);
            continue;
        }
        uint16_t half = (uint16_t)pattern++;
        float weight = shape->dtype == DTYPE_F16 ? dtype_f16_to_f32(half) : dtype_bf16_to_f32(half);
        if (!(weight <= limit && weight >= -limit))
            half = 0;
        memcpy(weights + 2 * i, &half, sizeof half);
    }
    return count / shape->group_size;
}

static void compare_all_below(const struct quant_shape *shape, float first)
{
    enum { COUNT = 65536 + 65536 / 15 + 128 - 65536 / 15 % 128 };
    static unsigned char weights[2 * COUNT];
    static struct {
        unsigned char codes[COUNT], scales[COUNT / 16];
    } want, got;
    const struct quant_kernels *table;
    uint64_t groups = put_all_below(shape, first, weights, COUNT);
    memset(&want, 0, sizeof want);
    quant_kernels_scalar.quantize(shape, groups, weights, want.codes, want.scales, NULL, NULL);
    for (unsigned t = 0; (table = table_at(t)) != NULL && table != &quant_kernels_scalar; t++) {
        memset(&got, 0, sizeof got);
        table->quantize(shape, groups, weights, got.codes, got.scales, NULL, NULL);
        if (memcmp(&got, &want, sizeof got) != 0)
            fail_msg("%s: %s of %s, groups of at most %a: differs", table->name,
                quant_mode_name(shape->mode), dtype_name(shape->dtype), (double)first);
    }
}

/* The vector kernels do not round quotients to the dtype: no 16-bit weight tells, at any scale. */
static void every_16_bit_weight_has_the_scalar_fp_code_at_every_scale(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct quant_shape shape = shape_at(SHAPES - 1, floats[1 + i]);
        assert_int_equal(shape.mode, QUANT_NVFP4);
        for (unsigned code = 1; code < 0x7F; code++)
            compare_all_below(&shape, 6 * dtype_e4m3_to_f32((uint8_t)code));
        for (enum quant_mode mode = QUANT_MXFP4; mode <= QUANT_MXFP8; mode++) {
            int lowest = shape.dtype == DTYPE_F16 ? -24 : -133;
            int step = shape.dtype == DTYPE_F16 ? 3 : 13, highest = -lowest * 7 / 24;
            struct quant_shape mx = {.mode = mode, .dtype = shape.dtype};
            quant_mode_defaults(mode, &mx.group_size, &mx.bits);
            for (int exponent = lowest; exponent <= highest; exponent += step)
                compare_all_below(&mx, ldexpf(mode == QUANT_MXFP8 ? 448 : 6, exponent));
        }
    }
}

static void compare_cast(const struct quant_kernels *table, enum dtype from, enum dtype to,
    size_t count, const void *values)
{
    static unsigned char want[4 * 65536];
    size_t misalignment = (size_t)(random_bits() % 8);
    void *block;
    unsigned char *in = exact_copy(values, count * dtype_size_bytes(from), misalignment, &block);
    struct guarded out = guarded_new(count * dtype_size_bytes(to), misalignment);
    quant_kernels_scalar.cast(from, to, count, in, want);
    table->cast(from, to, count, in, out.bytes);
    if (memcmp(out.bytes, want, out.size) != 0)
        fail_msg("%s: %zu values from %s to %s differ", table->name, count, dtype_name(from),
            dtype_name(to));
    if (!guarded_end(&out))
        fail_msg("%s: %zu values from %s to %s: wrote outside", table->name, count,
            dtype_name(from), dtype_name(to));
    free(block);
}

static void every_table_casts_like_the_scalar_one(void **state)
{
    static uint16_t halves[65536];
    static uint32_t wide[65536];
    const struct quant_kernels *table;
    (void)state;
    seed_random();
    for (uint32_t i = 0; i < 65536; i++)
        halves[i] = (uint16_t)i;
    for (unsigned t = 0; (table = table_at(t)) != NULL; t++) {
        for (size_t i = 0; i < 9; i++) {
            enum dtype from = floats[i / 3], to = floats[i % 3];
            for (uint32_t w = 0; w < 65536; w++) {
                wide[w] = (uint32_t)random_bits();
                if (w % 2) /* where f16 rounds */
                    wide[w] = (wide[w] & 0x80FFFFFF) | (uint32_t)(90 + random_bits() % 56) << 23;
                if (w % 8 == 1) /* ties of f16 */
                    wide[w] = (wide[w] & 0xFFFFE000) | 0x1000;
                if (w % 8 == 2) /* ties of bf16 */
                    wide[w] = (wide[w] & 0xFFFF0000) | 0x8000;
            }
            const void *values = from == DTYPE_F32 ? (const void *)wide : halves;
            compare_cast(table, from, to, 65536, values);
            for (size_t count = 0; count < 70; count++)
                compare_cast(table, from, to, count, values);
        }
    }
}

static void nonfinite_values_are_found_at_every_place(void **state)
{
    static const float bad[] = {INFINITY, -INFINITY, NAN, -NAN};
    static const float good[] = {65504.0f, -65504.0f, 0.0f, -0.0f, 1.0f, 0x1p-24f, -1.5f};
    enum { COUNT = 300 };
    const struct quant_kernels *table;
    (void)state;
    for (unsigned t = 0; (table = table_at(t)) != NULL; t++) {
        for (size_t d = 0; d < LENGTH(floats); d++) {
            unsigned char values[4 * COUNT + 3], *start = values + d;
            for (size_t i = 0; i < COUNT; i++)
                put(floats[d], start, i, good[i % LENGTH(good)]);
            for (size_t count = 0; count <= COUNT; count++)
                assert_int_equal(table->find_nonfinite(floats[d], count, start), count);
            for (size_t i = 0; i < COUNT; i++) {
                put(floats[d], start, i, bad[i % LENGTH(bad)]);
                put(floats[d], start, COUNT - 1, INFINITY);
                assert_int_equal(table->find_nonfinite(floats[d], COUNT, start), i);
                assert_int_equal(table->find_nonfinite(floats[d], i, start), i);
                put(floats[d], start, i, good[i % LENGTH(good)]);
            }
        }
    }
}

/* An infinity or a NaN must never be taken for finite; that finite weights are known to be so is
 * what spares a look at all of them, in the vector kernels that can tell. */
static void quantizing_tells_whether_weights_are_finite(void **state)
{
    static const float bad[] = {INFINITY, -INFINITY, NAN, -NAN};
    static const float good[] = {65504.0f, -65504.0f, 0.0f, -0.0f, 1.0f, 0x1p-24f, -1.5f};
    static const struct quant_shape shapes[] = {
        {QUANT_AFFINE, 1, 64, DTYPE_F32},
        {QUANT_AFFINE, 4, 32, DTYPE_F32},
        {QUANT_AFFINE, 4, 64, DTYPE_F32},
        {QUANT_AFFINE, 6, 128, DTYPE_F32},
        {QUANT_MXFP4, 4, 32, DTYPE_F32},
        {QUANT_MXFP8, 8, 32, DTYPE_F32},
        {QUANT_NVFP4, 4, 16, DTYPE_F32},
    };
    enum { GROUPS = 75, COUNT = GROUPS * QUANT_GROUP_SIZE_MAX, STEP = 41 };
    static unsigned char weights[4 * COUNT], codes[COUNT], scales[4 * GROUPS], biases[4 * GROUPS];
    const struct quant_kernels *table;
    (void)state;
    for (unsigned t = 0; (table = table_at(t)) != NULL; t++) {
        for (size_t i = 0; i < LENGTH(shapes) * LENGTH(floats); i++) {
            struct quant_shape shape = shapes[i / LENGTH(floats)];
            shape.dtype = floats[i % LENGTH(floats)];
            const uint32_t count = GROUPS * shape.group_size;
            for (size_t w = 0; w < count; w++)
                put(shape.dtype, weights, w, good[w % LENGTH(good)]);
            bool is_finite = table->quantize(&shape, GROUPS, weights, codes, scales, biases, NULL);
            bool is_known = shape.mode != QUANT_AFFINE || table == &quant_kernels_scalar ||
                            (shape.dtype != DTYPE_F32 && table != &quant_kernels_neon);
            assert_true(is_finite || !is_known);
            for (size_t w = i; w < count; w += STEP) {
                put(shape.dtype, weights, w, bad[w % LENGTH(bad)]);
                assert_false(table->quantize(&shape, GROUPS, weights, codes, scales, biases, NULL));
                put(shape.dtype, weights, w, good[w % LENGTH(good)]);
            }
        }
    }
}

/* In the first of the calls that a large block is quantized by. */
static void an_early_infinity_is_not_forgotten(void **state)
{
    enum { GROUPS = 5000, GROUP_SIZE = 64 };
    static uint16_t weights[GROUPS * GROUP_SIZE], scales[GROUPS], biases[GROUPS];
    static unsigned char codes[GROUPS * GROUP_SIZE / 2];
    const struct quant_shape shape = {QUANT_AFFINE, 4, GROUP_SIZE, DTYPE_BF16};
    struct quant_error error = {0, 0, 0, 0};
    const struct quant_kernels *table;
    (void)state;
    for (unsigned t = 0; (table = table_at(t)) != NULL; t++) {
        quant_init(table->features);
        for (size_t i = 0; i < GROUPS * GROUP_SIZE; i++)
            weights[i] = (uint16_t)(0x3C00 + i % 511);
        bool is_finite =
            quant_rows(&shape, 1, GROUPS * GROUP_SIZE, weights, codes, scales, biases, &error);
        assert_true(is_finite || table == &quant_kernels_neon);
        weights[3] = 0xFF80;
        assert_false(
            quant_rows(&shape, 1, GROUPS * GROUP_SIZE, weights, codes, scales, biases, &error));
        assert_false(
            quant_rows(&shape, 1, GROUPS * GROUP_SIZE, weights, codes, scales, biases, NULL));
    }
    quant_init(0);
}

static void the_finite_16_bit_values_are_not_reported(void **state)
{
    const struct quant_kernels *table;
    (void)state;
    for (unsigned t = 0; (table = table_at(t)) != NULL; t++) {
        for (uint32_t i = 0; i < 65536; i++) {
            uint16_t values[40];
            for (size_t v = 0; v < LENGTH(values); v++)
                values[v] = (uint16_t)i;
            assert_int_equal(table->find_nonfinite(DTYPE_F16, LENGTH(values), values),
                (i & 0x7C00) == 0x7C00 ? 0 : LENGTH(values));
            assert_int_equal(table->find_nonfinite(DTYPE_BF16, LENGTH(values), values),
                (i & 0x7F80) == 0x7F80 ? 0 : LENGTH(values));
        }
    }
}

static void rows_are_groups_one_after_the_other(void **state)
{
    enum { ROWS = 3, COLUMNS = 192 };
    struct quant_shape shape = {QUANT_AFFINE, 3, 64, DTYPE_F32};
    float weights[ROWS * COLUMNS];
    unsigned char codes[2][ROWS * COLUMNS * 3 / 8], scales[2][ROWS * 12], biases[2][ROWS * 12];
    (void)state;
    seed_random();
    for (size_t i = 0; i < LENGTH(weights); i++)
        weights[i] = random_normal();
    quant_init(cpu_features());
    quant_rows(&shape, ROWS, COLUMNS, weights, codes[0], scales[0], biases[0], NULL);
    for (size_t row = 0; row < ROWS; row++)
        quant_rows(&shape, 1, COLUMNS, weights + row * COLUMNS, codes[1] + row * COLUMNS * 3 / 8,
            scales[1] + row * 12, biases[1] + row * 12, NULL);
    assert_memory_equal(codes[0], codes[1], sizeof codes[0]);
    assert_memory_equal(scales[0], scales[1], sizeof scales[0]);
    assert_memory_equal(biases[0], biases[1], sizeof biases[0]);
    float back[ROWS * COLUMNS], step[ROWS * 3];
    memcpy(step, scales[0], sizeof step);
    dequant_rows(&shape, ROWS, COLUMNS, codes[0], scales[0], biases[0], back);
    for (size_t i = 0; i < LENGTH(weights); i++) {
        float error = weights[i] - back[i], width = step[i / 64];
        assert_true((error < 0 ? -error : error) < (width < 0 ? -width : width));
    }
    quant_init(0);
}

/* ---- how far off the rows are ---- */

enum { ROWS = 5, COLUMNS = 384 };
struct rows {
    unsigned char weights[ROWS * COLUMNS * 4], codes[ROWS * COLUMNS];
    unsigned char scales[ROWS * COLUMNS], biases[ROWS * COLUMNS];
};

static void put_rows_at_random(const struct quant_shape *shape, struct rows *rows)
{
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        put(shape->dtype, rows->weights, i, random_normal());
}

static struct quant_error error_of(const struct quant_shape *shape, struct rows *rows)
{
    struct quant_error error = {0, 0, 0, 0};
    quant_rows(shape, ROWS, COLUMNS, rows->weights, rows->codes, rows->scales,
        quant_has_biases(shape->mode) ? rows->biases : NULL, &error);
    return error;
}

static bool same_error(const struct quant_error *a, const struct quant_error *b)
{
    return a->error_squares == b->error_squares && a->weight_squares == b->weight_squares &&
           a->error_max == b->error_max && a->rows_left_out == b->rows_left_out;
}

static bool is_near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * fabs(b);
}

static void the_error_is_that_of_the_dequantized_rows(void **state)
{
    static struct rows rows;
    static unsigned char back[ROWS * COLUMNS * 4];
    (void)state;
    seed_random();
    for (size_t i = 0; i < SHAPES * LENGTH(floats); i++) {
        struct quant_shape shape = shape_at(i / LENGTH(floats), floats[i % LENGTH(floats)]);
        put_rows_at_random(&shape, &rows);
        struct quant_error error = error_of(&shape, &rows);
        dequant_rows(&shape, ROWS, COLUMNS, rows.codes, rows.scales,
            quant_has_biases(shape.mode) ? rows.biases : NULL, back);
        double error_squares = 0, weight_squares = 0;
        float error_max = 0;
        for (size_t at = 0; at < ROWS * COLUMNS; at++) {
            float weight, value;
            const size_t from = at * dtype_size_bytes(shape.dtype);
            quant_kernels_scalar.cast(shape.dtype, DTYPE_F32, 1, rows.weights + from, &weight);
            quant_kernels_scalar.cast(shape.dtype, DTYPE_F32, 1, back + from, &value);
            error_squares += (double)(weight - value) * (double)(weight - value);
            weight_squares += (double)weight * (double)weight;
            error_max = fmaxf(error_max, fabsf(weight - value));
        }
        assert_true(is_near(error.error_squares, error_squares));
        assert_true(is_near(error.weight_squares, weight_squares));
        assert_true(error.error_max == error_max);
        assert_int_equal(error.rows_left_out, 0);
        assert_true(error_squares > 0);
    }
}

static void what_is_exact_has_no_error(void **state)
{
    static struct rows rows;
    const struct quant_shape shape = {QUANT_AFFINE, 4, 64, DTYPE_BF16};
    (void)state;
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        put(shape.dtype, rows.weights, i, (float)(i % 16) - 8);
    struct quant_error error = error_of(&shape, &rows);
    assert_true(error.error_squares == 0 && error.error_max == 0);
    assert_true(error.weight_squares == ROWS * COLUMNS / 16 * (2 * 140 + 64));
}

static void rows_that_are_not_finite_are_left_out(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, 1e30f};
    static struct rows rows;
    const struct quant_kernels *table;
    const struct quant_shape shape = {QUANT_AFFINE, 4, 64, DTYPE_F32};
    (void)state;
    seed_random();
    for (unsigned t = 0; (table = table_at(t)) != NULL; t++) {
        quant_init(table->features);
        for (size_t i = 0; i < LENGTH(bad); i++) {
            put_rows_at_random(&shape, &rows);
            struct quant_error want = {0, 0, 0, 2};
            quant_rows(
                &shape, 1, COLUMNS, rows.weights, rows.codes, rows.scales, rows.biases, &want);
            quant_rows(&shape, 2, COLUMNS, rows.weights + 2 * COLUMNS * 4, rows.codes, rows.scales,
                rows.biases, &want);
            put(shape.dtype, rows.weights, COLUMNS + 7, bad[i]);
            put(shape.dtype, rows.weights, 4 * COLUMNS + 100, bad[i]);
            struct quant_error error = error_of(&shape, &rows);
            assert_int_equal(error.rows_left_out, 2);
            assert_true(same_error(&error, &want));
        }
    }
    quant_init(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quant_modes_have_names_and_defaults),
        cmocka_unit_test(quant_shape_check_names_what_is_wrong),
        cmocka_unit_test(quant_sizes_follow_the_shape),
        cmocka_unit_test(quant_init_takes_what_the_mask_allows),
        cmocka_unit_test(every_instruction_set_at_hand_has_its_table),
        cmocka_unit_test(every_table_quantizes_and_dequantizes_as_mlx_does),
        cmocka_unit_test(stacked_matrices_are_quantized_row_by_row),
        cmocka_unit_test(every_table_casts_as_mlx_does),
        cmocka_unit_test(every_table_equals_the_scalar_one),
        cmocka_unit_test(every_16_bit_weight_has_the_scalar_fp_code_at_every_scale),
        cmocka_unit_test(every_table_casts_like_the_scalar_one),
        cmocka_unit_test(nonfinite_values_are_found_at_every_place),
        cmocka_unit_test(quantizing_tells_whether_weights_are_finite),
        cmocka_unit_test(an_early_infinity_is_not_forgotten),
        cmocka_unit_test(the_finite_16_bit_values_are_not_reported),
        cmocka_unit_test(rows_are_groups_one_after_the_other),
        cmocka_unit_test(the_error_is_that_of_the_dequantized_rows),
        cmocka_unit_test(what_is_exact_has_no_error),
        cmocka_unit_test(rows_that_are_not_finite_are_left_out),
    };
    return cmocka_run_group_tests_name("quant", tests, NULL, NULL);
}
