/* test_terminal.c - nothing printed can move the cursor, and lines keep to the width. */
#include "cli/terminal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;

static void foreign_text_is_made_harmless(void **state)
{
    static const struct {
        const char *text, *want;
        bool keeps_lines;
    } cases[] = {
        {"models/a.json", "models/a.json", false},
        {"h\xc3\xa9llo \xe2\x82\xac", "h\xc3\xa9llo \xe2\x82\xac", false},
        {"red\033[31m", "red\\x1B[31m", false},
        {"two\nlines\r", "two\\x0Alines\\x0D", false},
        {"two\nlines\r", "two\nlines\\x0D", true},
        {"\t", "\\x09", false},
        {"bad\xff\xc3", "bad\\xFF\\xC3", false},
        {"turned \xe2\x80\xae around", "turned \\xE2\\x80\\xAE around", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct text clean;
        assert_null(terminal_clean(&arena, text_of(cases[i].text), cases[i].keeps_lines, &clean));
        assert_int_equal(clean.length, strlen(cases[i].want));
        assert_memory_equal(clean.bytes, cases[i].want, clean.length);
    }
}

static void long_text_is_not_cut_when_it_is_cleaned(void **state)
{
    char *text = arena_alloc(&arena, 100001);
    struct text clean;
    (void)state;
    memset(text, 'x', 100000);
    assert_null(terminal_clean(&arena, text_of(text), false, &clean));
    assert_int_equal(clean.length, 100000);
}

static void a_line_is_cut_between_characters(void **state)
{
    (void)state;
    assert_int_equal(terminal_cut(text_of("abc"), 5), 3);
    assert_int_equal(terminal_cut(text_of("abc"), 2), 2);
    assert_int_equal(terminal_cut(text_of("\xe2\x82\xac\xe2\x82\xac"), 1), 3);
    assert_int_equal(terminal_cut(text_of(""), 5), 0);
}

/* A terminal whose streams are files. */
static struct terminal open_files(void)
{
    struct terminal terminal = {.out = tmpfile(), .err = tmpfile()};
    assert_non_null(terminal.out);
    assert_non_null(terminal.err);
    return terminal;
}

static void assert_written(FILE *stream, const char *want)
{
    char found[4096];
    rewind(stream);
    size_t length = fread(found, 1, sizeof found - 1, stream);
    found[length] = '\0';
    assert_string_equal(found, want);
    assert_int_equal(fclose(stream), 0);
}

static void a_status_line_is_wiped_before_anything_else(void **state)
{
    struct terminal terminal = open_files();
    (void)state;
    terminal_draw(&terminal, "[1/2] a\033b");
    terminal_say(&terminal, TONE_BOLD, "made %s", "a");
    assert_null(terminal_finish(&terminal));
    assert_written(terminal.out, "\r[1/2] a\\x1Bb\033[K\r\033[Kmade a\n");
    assert_written(terminal.err, "");
}

static void warnings_and_errors_are_marked_and_coloured(void **state)
{
    struct terminal terminal = open_files();
    struct error *error = error_wrap(error_new(ERROR_IO, "disk \033 full"), "making %s", "a");
    (void)state;
    terminal.has_error_color = true;
    terminal_warn(&terminal, "odd %d", 1);
    terminal_report(&terminal, error);
    terminal_note(&terminal, "in directory '%s'", "/a");
    error_free(error);
    assert_null(terminal_finish(&terminal));
    assert_written(terminal.out, "");
    assert_written(terminal.err, "psybuild: \033[35mwarning: \033[0modd 1\n"
                                 "psybuild: \033[1;31merror: \033[0mdisk \\x1B full\n"
                                 "    while making a\n"
                                 "psybuild: in directory '/a'\n");
}

static int forget(void **state)
{
    (void)state;
    arena_end(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(foreign_text_is_made_harmless),
        cmocka_unit_test(long_text_is_not_cut_when_it_is_cleaned),
        cmocka_unit_test(a_line_is_cut_between_characters),
        cmocka_unit_test(a_status_line_is_wiped_before_anything_else),
        cmocka_unit_test(warnings_and_errors_are_marked_and_coloured),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
