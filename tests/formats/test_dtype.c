/* test_dtype.c - names and sizes, and conversions against vectors of the real mlx. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tasks/formats/dtype.h"
#include "tests/support/golden.h"

static void dtype_names_and_sizes_are_those_of_safetensors(void **state)
{
    static const struct {
        const char *name;
        enum dtype dtype;
        uint32_t size_bytes;
        bool is_float;
    } cases[] = {
        {"BOOL", DTYPE_BOOL, 1, false},
        {"U8", DTYPE_U8, 1, false},
        {"I8", DTYPE_I8, 1, false},
        {"F8_E5M2", DTYPE_F8_E5M2, 1, false},
        {"F8_E4M3", DTYPE_F8_E4M3, 1, false},
        {"F8_E8M0", DTYPE_F8_E8M0, 1, false},
        {"I16", DTYPE_I16, 2, false},
        {"U16", DTYPE_U16, 2, false},
        {"F16", DTYPE_F16, 2, true},
        {"BF16", DTYPE_BF16, 2, true},
        {"I32", DTYPE_I32, 4, false},
        {"U32", DTYPE_U32, 4, false},
        {"F32", DTYPE_F32, 4, true},
        {"C64", DTYPE_C64, 8, false},
        {"F64", DTYPE_F64, 8, false},
        {"I64", DTYPE_I64, 8, false},
        {"U64", DTYPE_U64, 8, false},
    };
    (void)state;
    assert_int_equal(sizeof cases / sizeof cases[0], DTYPE_COUNT);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum dtype dtype = DTYPE_COUNT;
        print_message("%s\n", cases[i].name);
        assert_true(dtype_parse(text_of(cases[i].name), &dtype));
        assert_int_equal(dtype, cases[i].dtype);
        assert_string_equal(dtype_name(dtype), cases[i].name);
        assert_int_equal(dtype_size_bytes(dtype), cases[i].size_bytes);
        assert_int_equal(dtype_is_float(dtype), cases[i].is_float);
    }
}

static void dtype_refuses_other_names(void **state)
{
    static const char *const names[] = {"", "F", "F1", "F160", "bf16", "BF16 ", "F4", "F8_E8M0X"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        enum dtype dtype = DTYPE_COUNT;
        print_message("\"%s\"\n", names[i]);
        assert_false(dtype_parse(text_of(names[i]), &dtype));
        assert_int_equal(dtype, DTYPE_COUNT);
    }
}

static uint32_t bits_at(const struct golden_tensor *tensor, size_t i)
{
    const unsigned char *bytes = tensor->bytes;
    uint32_t wide;
    uint16_t half;
    if (tensor->dtype[0] == 'U')
        return bytes[i];
    if (tensor->dtype[0] == 'B' || tensor->dtype[1] == '1') {
        memcpy(&half, bytes + 2 * i, sizeof half);
        return half;
    }
    memcpy(&wide, bytes + 4 * i, sizeof wide);
    return wide;
}

static float widened(const char *dtype, uint32_t bits)
{
    if (dtype[0] == 'B')
        return dtype_bf16_to_f32((uint16_t)bits);
    return dtype[1] == '1' ? dtype_f16_to_f32((uint16_t)bits) : float_of_bits(bits);
}

static uint32_t narrowed(const char *dtype, float value)
{
    if (dtype[0] == 'B')
        return dtype_f32_to_bf16(value);
    return dtype[1] == '1' ? dtype_f32_to_f16(value) : float_bits(value);
}

static void conversions_equal_those_of_mlx(void **state)
{
    static const struct {
        const char *file, *to;
    } cases[] = {
        {"cast-f32.safetensors", "to_bf16"},
        {"cast-f32.safetensors", "to_f16"},
        {"cast-bf16.safetensors", "to_f32"},
        {"cast-bf16.safetensors", "to_f16"},
        {"cast-f16.safetensors", "to_f32"},
        {"cast-f16.safetensors", "to_bf16"},
    };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct golden golden = golden_open(cases[c].file);
        struct golden_tensor in = golden_tensor(&golden, "in");
        struct golden_tensor want = golden_tensor(&golden, cases[c].to);
        assert_int_equal(in.columns, want.columns);
        assert_true(in.columns > 4000);
        for (size_t i = 0; i < in.columns; i++) {
            uint32_t bits = bits_at(&in, i);
            uint32_t got = narrowed(want.dtype, widened(in.dtype, bits));
            if (got != bits_at(&want, i))
                fail_msg("%s %s: %08x gave %08x, not %08x", cases[c].file, cases[c].to,
                    (unsigned)bits, (unsigned)got, (unsigned)bits_at(&want, i));
        }
        golden_close(&golden);
    }
}

static void e4m3_is_encoded_as_mlx_does(void **state)
{
    (void)state;
    struct golden golden = golden_open("fp8-e4m3.safetensors");
    struct golden_tensor in = golden_tensor(&golden, "f32_in");
    struct golden_tensor want = golden_tensor(&golden, "f32_codes");
    assert_true(in.columns > 600);
    for (size_t i = 0; i < in.columns; i++) {
        unsigned got = dtype_f32_to_e4m3(float_of_bits(bits_at(&in, i)));
        if (got != bits_at(&want, i))
            fail_msg("%08x gave %02x, not %02x", (unsigned)bits_at(&in, i), got,
                (unsigned)bits_at(&want, i));
    }
    golden_close(&golden);
}

static void e4m3_is_decoded_as_mlx_does(void **state)
{
    static const char *const names[] = {"decoded_f32", "decoded_f16", "decoded_bf16"};
    (void)state;
    struct golden golden = golden_open("fp8-e4m3.safetensors");
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        struct golden_tensor want = golden_tensor(&golden, names[n]);
        assert_int_equal(want.columns, 256);
        for (unsigned code = 0; code < 256; code++) {
            uint32_t got = narrowed(want.dtype, dtype_e4m3_to_f32((uint8_t)code));
            if (got != bits_at(&want, code))
                fail_msg("%s: %02x gave %08x, not %08x", names[n], code, (unsigned)got,
                    (unsigned)bits_at(&want, code));
        }
    }
    golden_close(&golden);
}

static void every_16_bit_value_survives_the_way_there_and_back(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 65536; bits++) {
        uint16_t half = (uint16_t)bits;
        if ((bits & 0x7FFF) <= 0x7C00)
            assert_int_equal(dtype_f32_to_f16(dtype_f16_to_f32(half)), half);
        if ((bits & 0x7FFF) <= 0x7F80)
            assert_int_equal(dtype_f32_to_bf16(dtype_bf16_to_f32(half)), half);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtype_names_and_sizes_are_those_of_safetensors),
        cmocka_unit_test(dtype_refuses_other_names),
        cmocka_unit_test(conversions_equal_those_of_mlx),
        cmocka_unit_test(e4m3_is_encoded_as_mlx_does),
        cmocka_unit_test(e4m3_is_decoded_as_mlx_does),
        cmocka_unit_test(every_16_bit_value_survives_the_way_there_and_back),
    };
    return cmocka_run_group_tests_name("dtype", tests, NULL, NULL);
}
