/* test_wire.c - little-endian fields, written and read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/wire.h"

static void fields_have_fixed_bytes(void **state)
{
    static const unsigned char want[] = {0xAB, 0x04, 0x03, 0x02, 0x01, 0x88, 0x77, 0x66, 0x55, 0x44,
        0x33, 0x22, 0x11, 2, 0, 0, 0, 'h', 'i', 0, 0, 0, 0, 'x'};
    (void)state;
    struct buffer writer = {0};
    wire_put_u8(&writer, 0xAB);
    wire_put_u32(&writer, 0x01020304);
    wire_put_u64(&writer, UINT64_C(0x1122334455667788));
    wire_put_text(&writer, TEXT_LITERAL("hi"));
    wire_put_string(&writer, NULL);
    buffer_put(&writer, "x", 1);
    assert_null(buffer_check(&writer));
    assert_int_equal(writer.count, sizeof want);
    assert_memory_equal(writer.bytes, want, sizeof want);
    buffer_end(&writer);
    assert_null(writer.bytes);
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct buffer writer = {0};
    for (uint32_t i = 0; i < 1000; i++) { /* beyond the first buffer */
        wire_put_u8(&writer, (uint8_t)i);
        wire_put_u32(&writer, i * 7);
        wire_put_u64(&writer, UINT64_MAX - i);
        wire_put_string(&writer, "name");
        wire_put_text(&writer, TEXT_LITERAL("a\0b"));
    }
    assert_null(buffer_check(&writer));
    struct wire_reader reader = {.bytes = writer.bytes, .length = writer.count};
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(wire_get_u8(&reader), (uint8_t)i);
        assert_int_equal(wire_get_u32(&reader), i * 7);
        assert_true(wire_get_u64(&reader) == UINT64_MAX - i);
        assert_string_equal(wire_get_string(&reader, &arena), "name");
        assert_true(text_equal(wire_get_text(&reader), TEXT_LITERAL("a\0b")));
    }
    assert_true(wire_reader_done(&reader));
    buffer_end(&writer);
    arena_end(&arena);
}

static void a_writer_is_taken_into_an_arena(void **state)
{
    struct arena arena = {0};
    struct buffer writer = {0}, failed = {.failed = true};
    struct text text = TEXT_EMPTY;
    (void)state;
    wire_put_u32(&writer, 0x04030201);
    assert_null(buffer_take(&writer, &arena, &text));
    assert_int_equal(text.length, 4);
    assert_memory_equal(text.bytes, "\1\2\3\4", 4);
    assert_null(writer.bytes);
    struct error *error = buffer_take(&failed, &arena, &text);
    assert_int_equal(error_kind_of(error), ERROR_MEMORY);
    error_free(error);
    arena_end(&arena);
}

static void a_short_field_ends_the_reading(void **state)
{
    static const unsigned char bytes[] = {1, 2, 3};
    (void)state;
    struct wire_reader reader = {.bytes = bytes, .length = sizeof bytes};
    assert_int_equal(wire_get_u32(&reader), 0);
    assert_false(wire_reader_good(&reader));
    assert_int_equal(wire_get_u8(&reader), 0); /* although a byte is there */
    assert_int_equal(wire_get_text(&reader).length, 0);
    assert_null(wire_get_bytes(&reader, 1));
    assert_false(wire_reader_done(&reader));
}

static void a_length_past_the_end_is_refused(void **state)
{
    static const unsigned char bytes[] = {0xFF, 0xFF, 0xFF, 0xFF, 'a', 'b'};
    (void)state;
    struct arena arena = {0};
    struct wire_reader reader = {.bytes = bytes, .length = sizeof bytes};
    assert_int_equal(wire_get_text(&reader).length, 0);
    assert_false(wire_reader_good(&reader));
    reader = (struct wire_reader){.bytes = bytes, .length = sizeof bytes};
    assert_string_equal(wire_get_string(&reader, &arena), "");
    assert_false(wire_reader_good(&reader));
    arena_end(&arena);
}

static void a_string_with_nul_is_refused(void **state)
{
    static const unsigned char bytes[] = {3, 0, 0, 0, 'a', 0, 'b'};
    (void)state;
    struct arena arena = {0};
    struct wire_reader reader = {.bytes = bytes, .length = sizeof bytes};
    assert_string_equal(wire_get_string(&reader, &arena), "");
    assert_false(wire_reader_good(&reader));
    arena_end(&arena);
}

static void a_count_is_bounded_by_what_is_left(void **state)
{
    static const unsigned char bytes[] = {2, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
    (void)state;
    struct wire_reader reader = {.bytes = bytes, .length = sizeof bytes};
    assert_int_equal(wire_get_count(&reader, 4), 2);
    assert_true(wire_reader_good(&reader));
    reader = (struct wire_reader){.bytes = bytes, .length = sizeof bytes};
    assert_int_equal(wire_get_count(&reader, 5), 0);
    assert_false(wire_reader_good(&reader));
}

static void what_is_left_over_is_not_done(void **state)
{
    static const unsigned char bytes[] = {1, 2};
    (void)state;
    struct wire_reader reader = {.bytes = bytes, .length = sizeof bytes};
    assert_int_equal(wire_get_u8(&reader), 1);
    assert_true(wire_reader_good(&reader));
    assert_false(wire_reader_done(&reader));
    assert_int_equal(wire_get_u8(&reader), 2);
    assert_true(wire_reader_done(&reader));
}

static void loads_and_stores_take_any_alignment(void **state)
{
    unsigned char bytes[16] = {0};
    (void)state;
    store_le64(bytes + 1, UINT64_C(0x0102030405060708));
    assert_int_equal(bytes[1], 8);
    assert_int_equal(bytes[8], 1);
    assert_true(load_le64(bytes + 1) == UINT64_C(0x0102030405060708));
    store_le32(bytes + 3, 0xFFEEDDCC);
    assert_true(load_le32(bytes + 3) == 0xFFEEDDCC);
    assert_int_equal(load_le16(bytes + 3), 0xDDCC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_have_fixed_bytes),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(a_writer_is_taken_into_an_arena),
        cmocka_unit_test(a_short_field_ends_the_reading),
        cmocka_unit_test(a_length_past_the_end_is_refused),
        cmocka_unit_test(a_string_with_nul_is_refused),
        cmocka_unit_test(a_count_is_bounded_by_what_is_left),
        cmocka_unit_test(what_is_left_over_is_not_done),
        cmocka_unit_test(loads_and_stores_take_any_alignment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
