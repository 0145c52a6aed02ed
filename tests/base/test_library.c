/* test_library.c - libraries and symbols that are there, and that are not. */
#include "base/library.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

struct table {
    unsigned long (*version)(void);
};
static const struct library_symbol good[] = {
    {"OpenSSL_version_num", offsetof(struct table, version)}, {NULL, 0}};
static const struct library_symbol bad[] = {
    {"no_such_function", offsetof(struct table, version)}, {NULL, 0}};

static void a_symbol_can_be_called(void **state)
{
    static const char *const files[] = {"libno-such.so.1", LIBCRYPTO_SONAME, NULL};
    struct table table = {NULL};
    struct library library = {"tests", files, good, &table, NULL, PTHREAD_MUTEX_INITIALIZER, false};
    (void)state;
    assert_null(library_load(&library));
    assert_true(table.version() >= 0x30000000ul);
}

static int starts;
static struct error *start_at_the_second_time(void)
{
    return starts++ > 0 ? NULL : error_new(ERROR_FAILED, "not yet");
}

static void what_did_not_start_is_tried_again(void **state)
{
    static const char *const files[] = {LIBCRYPTO_SONAME, NULL};
    struct table table = {NULL};
    struct library library = {
        "tests", files, good, &table, start_at_the_second_time, PTHREAD_MUTEX_INITIALIZER, false};
    (void)state;
    struct error *error = library_load(&library);
    assert_non_null(error);
    assert_string_equal(error_text(error), "not yet");
    error_free(error);
    assert_null(library_load(&library));
    assert_null(library_load(&library));
    assert_int_equal(starts, 2);
}

static void errors_name_what_was_looked_for(void **state)
{
    static const char *const one[] = {"libno-such.so.1", NULL};
    static const char *const two[] = {"libno-such.so.1", "libnor-this.so.2", NULL};
    static const char *const crypto[] = {LIBCRYPTO_SONAME, NULL};
    static const struct {
        const char *const *files;
        const struct library_symbol *symbols;
        const char *want;
    } rows[] = {
        {one, good, "libno-such.so.1: no such library on this machine; tests need it"},
        {two, good,
            "libno-such.so.1 or libnor-this.so.2: no such library on this machine; tests need it"},
        {crypto, bad, LIBCRYPTO_SONAME ": has no function no_such_function: too old for psybuild"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct table table = {NULL};
        struct library library = {"tests", rows[i].files, rows[i].symbols, &table, NULL,
            PTHREAD_MUTEX_INITIALIZER, false};
        struct error *error = library_load(&library);
        assert_non_null(error);
        assert_string_equal(error_text(error), rows[i].want);
        assert_int_equal(error_kind_of(error), ERROR_MISSING);
        error_free(error);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_symbol_can_be_called),
        cmocka_unit_test(what_did_not_start_is_tried_again),
        cmocka_unit_test(errors_name_what_was_looked_for),
    };
    return cmocka_run_group_tests_name("library", tests, NULL, NULL);
}
