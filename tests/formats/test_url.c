/* test_url.c - which URLs are taken, and where references lead. */
#include "tasks/formats/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void only_unambiguous_urls_are_valid(void **state)
{
    static const struct {
        const char *url;
        enum url_scheme want;
    } rows[] = {
        {"https://huggingface.co", URL_HTTPS},
        {"HTTP://127.0.0.1:8080/a?b#c", URL_HTTP},
        {"http://[::1]:80/", URL_HTTP},
        {"file:///a/b", URL_FILE},
        {"file://localhost/a", URL_FILE},
        {"file://other/a", URL_NONE},
        {"file://", URL_NONE},
        {"ftp://a/b", URL_NONE},
        {"//a/b", URL_NONE},
        {"", URL_NONE},
        {"http://", URL_NONE},
        {"http:///a", URL_NONE},
        {"http://user@host/", URL_NONE},
        {"http://user:secret@host/", URL_NONE},
        {"http://a\\@b/", URL_NONE},
        {"http://a b/", URL_NONE},
        {"http://a/b c", URL_NONE},
        {"http://a/\x01", URL_NONE},
        {"http://a/\xC3\xA9", URL_NONE},
        {"http://a:0/", URL_NONE},
        {"http://a:65536/", URL_NONE},
        {"http://a:/", URL_HTTP},
        {"http://[::1]:", URL_HTTP},
        {"https://a:?b", URL_HTTPS},
        {"http://:/", URL_NONE},
        {"http://a::/", URL_NONE},
        {"http://a:x/", URL_NONE},
        {"http://a:80x/", URL_NONE},
        {"http://a:99999999999999999999/", URL_NONE},
        {"http://[::1/", URL_NONE},
        {"http://a%2Fb/", URL_NONE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (url_scheme_of(rows[i].url) != rows[i].want)
            fail_msg("%s", rows[i].url);
}

/* PREFIX, so many letters, and SUFFIX. */
static enum url_scheme scheme_of_long(const char *prefix, int count, const char *suffix)
{
    char url[URL_BYTES_MAX + 2], letters[URL_BYTES_MAX + 1];
    memset(letters, 'a', sizeof letters);
    snprintf(url, sizeof url, "%s%.*s%s", prefix, count, letters, suffix);
    return url_scheme_of(url);
}

static void long_hosts_and_urls_are_refused(void **state)
{
    (void)state;
    assert_int_equal(scheme_of_long("http://", 255, "/"), URL_HTTP);
    assert_int_equal(scheme_of_long("http://", 256, "/"), URL_NONE);
    assert_int_equal(scheme_of_long("https://", 255, ":443"), URL_HTTPS);
    assert_int_equal(scheme_of_long("https://", 256, ":443"), URL_NONE);
    assert_int_equal(scheme_of_long("http://[", 253, "]"), URL_HTTP);
    assert_int_equal(scheme_of_long("http://[", 254, "]"), URL_NONE);
    assert_int_equal(scheme_of_long("file:///", URL_BYTES_MAX - 8, ""), URL_FILE);
    assert_int_equal(scheme_of_long("file:///", URL_BYTES_MAX - 7, ""), URL_NONE);
}

static void origin_is_scheme_host_and_port(void **state)
{
    static const struct {
        const char *a, *b;
        bool want;
    } rows[] = {
        {"https://huggingface.co/a", "https://HuggingFace.co:443/b", true},
        {"http://a", "HTTP://a:80?x", true},
        {"http://a:/", "http://a:80", true},
        {"https://a:/b", "https://a", true},
        {"https://a:", "https://a:80", false},
        {"http://a", "https://a", false},
        {"http://a", "http://a:81", false},
        {"http://a", "http://a.b", false},
        {"https://hf.co", "https://hf.co.evil", false},
        {"https://hf.co", "https://hf.co@evil", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (url_same_origin(rows[i].a, rows[i].b) != rows[i].want)
            fail_msg("%s and %s", rows[i].a, rows[i].b);
}

static void only_the_same_host_is_an_upgrade(void **state)
{
    static const struct {
        const char *from, *to;
        bool want;
    } rows[] = {
        {"http://a/b", "https://A/c", true},
        {"http://a:80", "https://a:443/", true},
        {"http://a:/", "https://a:", true},
        {"http://a", "https://b", false},
        {"http://a", "https://a:444", false},
        {"http://a:81", "https://a", false},
        {"https://a", "https://a", false},
        {"https://a", "http://a", false},
        {"http://a", "http://a", false},
        {"http://a", "https://u@a", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (url_is_upgrade(rows[i].from, rows[i].to) != rows[i].want)
            fail_msg("%s and %s", rows[i].from, rows[i].to);
}

static void references_are_joined(void **state)
{
    static const struct {
        const char *base, *reference, *want;
    } rows[] = {
        {"http://a/b/c?d#e", "/x?y", "http://a/x?y"},
        {"http://a/b/c?d", "x", "http://a/b/x"},
        {"http://a/b/c?d", "?y", "http://a/b/c?y"},
        {"http://a/b/c?d#e", "", "http://a/b/c?d"},
        {"http://a", "x", "http://a/x"},
        {"http://a?q", "x", "http://a/x"},
        {"https://a/b", "//c/d", "https://c/d"},
        {"https://a/b", "http://c/d#f", "http://c/d"},
        {"http://a/b", "/x y\xC3\xA9", "http://a/x%20y%C3%A9"},
        {"http://a/b", "/x%2Fy", "http://a/x%2Fy"},
        {"http://a/b", "file:///etc/passwd", NULL},
        {"http://a/b", "javascript:alert(1)", NULL},
        {"http://a/b", "http://u:p@c/", NULL},
        {"http://a/b", "/x\ry", NULL},
        {"file:///a", "http://b/", NULL},
    };
    struct arena arena = {0};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *joined = NULL;
        assert_true(url_join(&arena, rows[i].base, text_of(rows[i].reference), &joined));
        const char *want = rows[i].want == NULL ? "none" : rows[i].want;
        if (strcmp(joined == NULL ? "none" : joined, want) != 0)
            fail_msg("%s at %s: %s", rows[i].reference, rows[i].base, joined);
    }
    arena_end(&arena);
}

static void encoding_and_its_way_back(void **state)
{
    struct arena arena = {0};
    bool is_good = false;
    (void)state;
    assert_string_equal(
        url_encode(&arena, "a b+c#?%/\xC3\xA9~._-", true), "a%20b%2Bc%23%3F%25/%C3%A9~._-");
    assert_string_equal(url_encode(&arena, "refs/pr/1", false), "refs%2Fpr%2F1");
    assert_string_equal(url_decode(&arena, text_of("/a%20b%2f"), &is_good), "/a b/");
    assert_true(is_good);
    static const char *const broken[] = {"%", "%4", "%4x", "a%00b"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        url_decode(&arena, text_of(broken[i]), &is_good);
        assert_false(is_good);
    }
    arena_end(&arena);
}

static void parts_are_cut(void **state)
{
    struct arena arena = {0};
    (void)state;
    assert_string_equal(url_shown(&arena, "https://a:1/b?Signature=secret"), "https://a:1/b");
    assert_string_equal(url_origin(&arena, "https://a:1/b?c"), "https://a:1");
    assert_string_equal(url_after_origin("https://a:1/b?c"), "/b?c");
    arena_end(&arena);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_unambiguous_urls_are_valid),
        cmocka_unit_test(long_hosts_and_urls_are_refused),
        cmocka_unit_test(origin_is_scheme_host_and_port),
        cmocka_unit_test(only_the_same_host_is_an_upgrade),
        cmocka_unit_test(references_are_joined),
        cmocka_unit_test(encoding_and_its_way_back),
        cmocka_unit_test(parts_are_cut),
    };
    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
