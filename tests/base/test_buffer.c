/* test_buffer.c - buffers that grow, in an arena and by themselves. */
#include "base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void what_is_put_stands_in_order(void **state)
{
    struct arena arena = {0};
    struct buffer buffers[] = {{0}, {.arena = &arena}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct text text;
        assert_null(buffer_text(&buffers[i], &text));
        assert_int_equal(text.length, 0);
        for (int n = 0; n < 1000; n++)
            buffer_put_text(&buffers[i], TEXT_LITERAL("abc"));
        buffer_put(&buffers[i], NULL, 0);
        buffer_put_code_point(&buffers[i], 0x20AC);
        memcpy(buffer_extend(&buffers[i], 2), "de", 2);
        buffer_put_string(&buffers[i], "f");
        assert_null(buffer_text(&buffers[i], &text));
        assert_int_equal(text.length, 3006);
        assert_memory_equal(text.bytes, "abcabc", 6);
        assert_string_equal(text.bytes + 2997, "abc\xE2\x82\xAC"
                                               "def");
        buffer_end(&buffers[i]);
        assert_int_equal(buffers[i].count, 0);
    }
    arena_end(&arena);
}

static void one_that_failed_stays_so(void **state)
{
    struct arena arena = {0};
    struct buffer buffer = {0};
    struct text text = TEXT_LITERAL("untouched");
    (void)state;
    buffer_put_string(&buffer, "kept");
    assert_null(buffer_extend(&buffer, SIZE_MAX - 2));
    buffer_put_string(&buffer, "dropped");
    assert_int_equal(buffer.count, 4);
    assert_int_equal(error_kind_of(buffer_check(&buffer)), ERROR_MEMORY);
    assert_int_equal(error_kind_of(buffer_text(&buffer, &text)), ERROR_MEMORY);
    assert_int_equal(error_kind_of(buffer_take(&buffer, &arena, &text)), ERROR_MEMORY);
    assert_string_equal(text.bytes, "untouched");
    assert_null(buffer.bytes);
    arena_end(&arena);
}

static void what_is_taken_outlives_the_buffer(void **state)
{
    struct arena arena = {0};
    struct buffer buffer = {0};
    struct text text;
    (void)state;
    buffer_put_string(&buffer, "here");
    assert_null(buffer_take(&buffer, &arena, &text));
    assert_null(buffer.bytes);
    assert_string_equal(text.bytes, "here");
    arena_end(&arena);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_stands_in_order),
        cmocka_unit_test(one_that_failed_stays_so),
        cmocka_unit_test(what_is_taken_outlives_the_buffer),
    };
    return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
