/* test_http_header.c - status lines, ranges, dates and waits, good and bad. */
#include "tasks/formats/http_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void fields_are_found_in_any_case(void **state)
{
    struct text block = text_of(
        "HTTP/1.1 200 OK\r\nX-A:\r\nX-A: 1\r\nX-A: \r\nx-b:  two words \t\r\nX-A: 3\r\nEmpty:\r\n");
    struct arena arena = {0};
    (void)state;
    assert_true(text_is(http_header_find(block, "x-a"), "1"));
    assert_true(text_is(http_header_find(block, "X-B"), "two words"));
    assert_int_equal(http_header_find(block, "Empty").length, 0);
    assert_int_equal(http_header_find(block, "X").length, 0);
    assert_int_equal(http_header_find(block, "X-Long-Name-That-Is-Not-There").length, 0);
    assert_int_equal(http_header_find(TEXT_EMPTY, "X").length, 0);
    assert_string_equal(http_header_list(&arena, block, "x-a"), "1,3");
    assert_string_equal(http_header_list(&arena, block, "X-B"), "two words");
    assert_string_equal(http_header_list(&arena, block, "Empty"), "");
    assert_string_equal(http_header_list(&arena, TEXT_EMPTY, "X"), "");
    arena_end(&arena);
}

static void status_lines_are_read(void **state)
{
    static const struct {
        const char *line;
        unsigned want;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\n", 200},
        {"HTTP/2 404 \r\n", 404},
        {"HTTP/1.0 503", 503},
        {"HTTP/1.1 20\r\n", 0},
        {"HTTP/1.1 2000\r\n", 0},
        {"HTTP/1.1 099\r\n", 0},
        {"HTTP/1.1 600\r\n", 0},
        {"HTTP/1.1\r\n", 0},
        {"SSH-2.0 200", 0},
        {"", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (http_parse_status(text_of(rows[i].line)) != rows[i].want)
            fail_msg("%s", rows[i].line);
}

static void content_ranges_are_half_open(void **state)
{
    static const struct {
        const char *field;
        bool want;
        uint64_t begin, end, size;
    } rows[] = {
        {"bytes 0-0/1", true, 0, 1, 1},
        {"Bytes 10-19/20", true, 10, 20, 20},
        {"bytes */7", true, 0, 0, 7},
        {"bytes 0-18446744073709551614/18446744073709551615", true, 0, UINT64_MAX, UINT64_MAX},
        {"bytes 0-18446744073709551615/18446744073709551615", false, 0, 0, 0},
        {"bytes 0-18446744073709551616/18446744073709551617", false, 0, 0, 0},
        {"bytes 5-4/9", false, 0, 0, 0},
        {"bytes 0-9/9", false, 0, 0, 0},
        {"bytes 10-19/*", true, 10, 20, HTTP_SIZE_UNKNOWN},
        {"bytes  10-19/20", true, 10, 20, 20},
        {"bytes */*", false, 0, 0, 0},
        {"bytes 5-4/*", false, 0, 0, 0},
        {"bytes 0-1/**", false, 0, 0, 0},
        {"bytes 0-1/2x", false, 0, 0, 0},
        {"bytes 0-1", false, 0, 0, 0},
        {"bytes -1/2", false, 0, 0, 0},
        {"0-1/2", false, 0, 0, 0},
        {"", false, 0, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t begin = 0, end = 0, size = 0;
        bool got = http_parse_content_range(text_of(rows[i].field), &begin, &end, &size);
        if (got != rows[i].want || begin != rows[i].begin || end != rows[i].end ||
            size != rows[i].size)
            fail_msg("%s", rows[i].field);
    }
}

static void dates_are_seconds(void **state)
{
    static const struct {
        const char *field;
        int64_t want; /* -1: no date */
    } rows[] = {
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Tue, 29 Feb 2000 23:59:59 GMT", 951868799},
        {"Wed, 01 Mar 2000 00:00:00 GMT", 951868800},
        {"Mon, 01 Mar 2100 00:00:00 GMT", 4107542400},
        {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
        {"Sun, 06 Nov 1994 08:49:37 CET", -1},
        {"Sun, 06 Nov 1994 24:49:37 GMT", -1},
        {"Sun, 00 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 Nix 1994 08:49:37 GMT", -1},
        {"Sunday, 06-Nov-94 08:49:37 GMT", -1},
        {"soon", -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t seconds = -1;
        bool got = http_parse_date(text_of(rows[i].field), &seconds);
        if (got != (rows[i].want >= 0) || seconds != rows[i].want)
            fail_msg("%s: %lld", rows[i].field, (long long)seconds);
    }
}

static void a_wait_is_what_the_server_asks_for(void **state)
{
    static const struct {
        const char *block;
        unsigned status;
        uint64_t want;
    } rows[] = {
        {"Retry-After: 0\r\n", 429, 1},
        {"Retry-After: 7\r\n", 503, 8},
        {"Retry-After: 99999999999\r\n", 503, UINT32_MAX},
        {"Retry-After: Thu, 01 Jan 1970 00:02:00 GMT\r\n", 503, 21}, /* now is 100 */
        {"Retry-After: Thu, 01 Jan 1970 00:02:00 GMT\r\nDate: Thu, 01 Jan 1970 00:01:00 GMT\r\n",
            503, 61},
        {"Retry-After: Thu, 01 Jan 1970 00:00:10 GMT\r\n", 503, 0},
        {"Retry-After: -5\r\n", 503, 0},
        {"RateLimit: \"api\";r=0;t=172\r\n", 429, 173},
        {"RateLimit: \"api\";r=0;t=172\r\n", 503, 0},
        {"RateLimit: \"api\";r=1;t=172\r\n", 429, 0},
        {"RateLimit: \"a\";r=3;t=9, \"b\";r=0;t=20\r\nRetry-After: 1\r\n", 429, 21},
        {"RateLimit: \"a\";r=0;t=9, \"b\";r=3;t=20\r\n", 429, 10},
        {"RateLimit: ;r=;t=;;,\r\n", 429, 0},
        {"", 429, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t got = http_wait_seconds(text_of(rows[i].block), rows[i].status, 100);
        if (got != rows[i].want)
            fail_msg("%s: %llu", rows[i].block, (unsigned long long)got);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_in_any_case),
        cmocka_unit_test(status_lines_are_read),
        cmocka_unit_test(content_ranges_are_half_open),
        cmocka_unit_test(dates_are_seconds),
        cmocka_unit_test(a_wait_is_what_the_server_asks_for),
    };
    return cmocka_run_group_tests_name("http_header", tests, NULL, NULL);
}
