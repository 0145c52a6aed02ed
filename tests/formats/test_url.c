/* test_url.c - which URLs are taken, and where references lead. */
#include "tasks/formats/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
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
        {"http://a:/", URL_NONE},
        {"http://a:80x/", URL_NONE},
        {"http://[::1/", URL_NONE},
        {"http://a%2Fb/", URL_NONE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (url_scheme_of(rows[i].url) != rows[i].want)
            fail_msg("%s", rows[i].url);
}

static void origin_is_scheme_host_and_port(void **state)
{
    static const struct {
        const char *a, *b;
        bool want;
    } rows[] = {
        {"https://huggingface.co/a", "https://HuggingFace.co:443/b", true},
        {"http://a", "HTTP://a:80?x", true},
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
    assert_true(text_is(url_host("https://a:1/b?c"), "a"));
    arena_end(&arena);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_unambiguous_urls_are_valid),
        cmocka_unit_test(origin_is_scheme_host_and_port),
        cmocka_unit_test(references_are_joined),
        cmocka_unit_test(encoding_and_its_way_back),
        cmocka_unit_test(parts_are_cut),
    };
    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
