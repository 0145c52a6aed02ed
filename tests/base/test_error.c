/* test_error.c - what an error says, and where it points. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void error_is_one_line_of_its_kind(void **state)
{
    (void)state;
    struct error *error = error_new(ERROR_USAGE, "expected %d, found %s", 1, "two");
    assert_int_equal(error_kind_of(error), ERROR_USAGE);
    assert_string_equal(error_text(error), "expected 1, found two");
    assert_string_equal(error_report(error), "expected 1, found two\n");
    error_free(error);
    error_free(NULL);
}

static void layers_add_what_they_were_doing(void **state)
{
    (void)state;
    struct error *error = error_new(ERROR_FORMAT, "bad");
    error = error_wrap(error, "reading %s", "a");
    error = error_wrap(error, "planning %s", "b");
    assert_int_equal(error_kind_of(error), ERROR_FORMAT);
    assert_string_equal(error_text(error), "bad");
    assert_string_equal(error_report(error), "bad\n    while reading a\n    while planning b\n");
    error_free(error);
    assert_null(error_wrap(NULL, "nothing"));
}

static void error_points_at_line_and_column(void **state)
{
    static const char text[] = "{\n    \"bits\": 7,\n\t\"\xC3\xA9\": 8\n}";
    static const struct {
        const char *at, *want;
    } cases[] = {
        {"{", "m.json:1:1: bad\n    {\n    ^\n"},
        {"7", "m.json:2:13: bad\n    \"bits\": 7,\n            ^\n"},
        {"8", "m.json:3:8: bad\n    \"\xC3\xA9\": 8\n         ^\n"}, /* under the character */
        {"}", "m.json:4:1: bad\n    }\n    ^\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("at %s\n", cases[i].at);
        size_t offset = (size_t)(strstr(text, cases[i].at) - text);
        struct error *error =
            error_new_at(ERROR_USAGE, "m.json", text, sizeof text - 1, offset, "bad");
        assert_string_equal(error_report(error), cases[i].want);
        error_free(error);
    }
}

static void error_past_the_end_points_at_the_end(void **state)
{
    (void)state;
    struct error *error = error_new_at(ERROR_USAGE, "m", "ab", 2, 99, "expected %s", "more");
    assert_string_equal(error_report(error), "m:1:3: expected more\n    ab\n      ^\n");
    error_free(error);
    error = error_new_at(ERROR_USAGE, "m", "", 0, 0, "empty");
    assert_string_equal(error_report(error), "m:1:1: empty\n");
    error_free(error);
}

static void excerpt_of_a_long_line_is_cut_around_the_caret(void **state)
{
    char text[4001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    text[2000] = '!';
    (void)state;
    struct error *error = error_new_at(ERROR_FORMAT, "m", text, sizeof text - 1, 2000, "bad");
    assert_string_equal(error_text(error), "m:1:2001: bad");
    const char *line = strchr(error_report(error), '\n') + 1;
    const char *caret_line = strchr(line, '\n') + 1;
    assert_true(strlen(error_report(error)) < 500);
    assert_int_equal(line[strcspn(caret_line, "^")], '!');
    error_free(error);
}

static void excerpt_shows_no_control_characters(void **state)
{
    static const char text[] = "a\x1B[31m\x7F?";
    (void)state;
    struct error *error = error_new_at(ERROR_FORMAT, "m", text, sizeof text - 1, 7, "bad");
    assert_string_equal(error_report(error), "m:1:8: bad\n    a [31m ?\n           ^\n");
    error_free(error);
}

/* A key of a manifest may hold a newline. */
static void messages_are_one_line(void **state)
{
    (void)state;
    struct error *error = error_new(ERROR_FORMAT, "a\nb\n");
    assert_string_equal(error_text(error), "a b ");
    error = error_wrap(error, "reading \"%s\"", "\n");
    assert_string_equal(error_report(error), "a b \n    while reading \" \"\n");
    error_free(error);
    error = error_new_at(ERROR_FORMAT, "m", "x", 1, 0, "unknown key \"%s\"", "i\n");
    assert_string_equal(error_report(error), "m:1:1: unknown key \"i \"\n    x\n    ^\n");
    error_free(error);
}

static void errno_becomes_kind_and_words(void **state)
{
    static const struct {
        int code;
        enum error_kind kind;
    } cases[] = {
        {ENOENT, ERROR_MISSING},
        {ENOTDIR, ERROR_MISSING},
        {ENOMEM, ERROR_MEMORY},
        {EACCES, ERROR_IO},
        {ENOSPC, ERROR_IO},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char want[200];
        snprintf(want, sizeof want, "a/b: cannot open: %s", strerror(cases[i].code));
        struct error *error = error_new_errno(cases[i].code, "a/b", "open");
        assert_int_equal(error_kind_of(error), cases[i].kind);
        assert_string_equal(error_text(error), want);
        error_free(error);
    }
}

static void out_of_memory_needs_no_memory(void **state)
{
    (void)state;
    struct error *error = error_wrap(error_memory(), "working");
    assert_ptr_equal(error, error_memory());
    assert_int_equal(error_kind_of(error), ERROR_MEMORY);
    assert_string_equal(error_report(error), "out of memory\n");
    error_free(error);
    error_free(error); /* it is never given back */
}

static void one_kind_is_forgiven(void **state)
{
    (void)state;
    assert_null(error_forgive(NULL, ERROR_MISSING));
    assert_null(error_forgive(error_new(ERROR_MISSING, "no such file"), ERROR_MISSING));
    struct error *error = error_forgive(error_new(ERROR_IO, "no space"), ERROR_MISSING);
    assert_non_null(error);
    assert_string_equal(error_text(error), "no space");
    error_free(error);
}

static void a_secret_is_hidden_in_all_parts(void **state)
{
    (void)state;
    const char text[] = "{\"token\"]";
    struct error *error =
        error_new_at(ERROR_FORMAT, "token", text, strlen(text), 8, "a token is no comma");
    error = error_hide(error_wrap(error, "reading a token"), "token");
    assert_string_equal(error_text(error), "*****:1:9: a ***** is no comma");
    assert_string_equal(error_report(error), "*****:1:9: a ***** is no comma\n    {\"*****\"]\n"
                                             "            ^\n    while reading a *****\n");
    struct error *same = error_hide(error_wrap(error_hide(error, NULL), "at work"), "token");
    assert_ptr_equal(same, error);
    assert_int_equal(error_kind_of(same), ERROR_FORMAT);
    error_free(same);
    assert_null(error_hide(NULL, "token"));
    assert_ptr_equal(error_hide(error_memory(), "memory"), error_memory());
    assert_string_equal(error_text(error_memory()), "out of memory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_is_one_line_of_its_kind),
        cmocka_unit_test(layers_add_what_they_were_doing),
        cmocka_unit_test(error_points_at_line_and_column),
        cmocka_unit_test(error_past_the_end_points_at_the_end),
        cmocka_unit_test(excerpt_of_a_long_line_is_cut_around_the_caret),
        cmocka_unit_test(excerpt_shows_no_control_characters),
        cmocka_unit_test(messages_are_one_line),
        cmocka_unit_test(errno_becomes_kind_and_words),
        cmocka_unit_test(out_of_memory_needs_no_memory),
        cmocka_unit_test(one_kind_is_forgiven),
        cmocka_unit_test(a_secret_is_hidden_in_all_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
