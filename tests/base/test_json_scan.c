/* test_json_scan.c - RFC 8259 token by token: what is accepted, and what is said of the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/json_scan.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* One letter a token; "E" ends a text with an error, "." one without. */
static void spell_tokens(struct json_scan *scan, char *out, size_t size)
{
    static const char letters[] = "E.{}[]ksntfz";
    size_t used = 0;
    enum json_token token;
    do {
        token = json_scan_next(scan);
        assert_true(used + 1 < size);
        out[used++] = letters[token];
    } while (token != JSON_TOKEN_ERROR && token != JSON_TOKEN_END);
    out[used] = '\0';
}

static void every_value_has_its_token(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"null", "z."},
        {" true\r\n\t", "t."},
        {"false", "f."},
        {"\"\"", "s."},
        {"0", "n."},
        {"-0.5e+10", "n."},
        {"1E5", "n."},
        {"[]", "[]."},
        {"{}", "{}."},
        {"[ 1 , [ ] , { } ]", "[n[]{}]."},
        {"{\"a\":{\"b\":[true,null]},\"c\":\"d\"}", "{k{k[tz]}ks}."},
        {"[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\ude00\"]", "[s]."},
        {"\"\x7F\xC3\xA9\xF0\x9F\x98\x80\"", "s."},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char tokens[64];
        struct json_scan scan;
        print_message("%s\n", cases[i].text);
        json_scan_begin(&scan, "m.json", text_of(cases[i].text));
        spell_tokens(&scan, tokens, sizeof tokens);
        assert_string_equal(tokens, cases[i].want);
    }
}

static void errors_say_what_was_expected_and_found(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "m.json:1:1: expected a value, found end of text"},
        {" \n ", "m.json:2:2: expected a value, found end of text"},
        {"{\"psybuild\": 1", "m.json:1:15: expected ',' or '}', found end of text"},
        {"[1", "m.json:1:3: expected ',' or ']', found end of text"},
        {"[1 2]", "m.json:1:4: expected ',' or ']', found '2'"},
        {"[1}", "m.json:1:3: expected ',' or ']', found '}'"},
        {"[1,]", "m.json:1:4: expected a value, found ']'"},
        {"[,1]", "m.json:1:2: expected a value or ']', found ','"},
        {"{\"a\":1,}", "m.json:1:8: expected a key, found '}'"},
        {"{a:1}", "m.json:1:2: expected a key or '}', found 'a'"},
        {"{1:1}", "m.json:1:2: expected a key or '}', found '1'"},
        {"{\"a\" 1}", "m.json:1:6: expected ':', found '1'"},
        {"{\"a\":}", "m.json:1:6: expected a value, found '}'"},
        {"{\"a\":True}", "m.json:1:6: expected a value, found 'True'"},
        {"nul", "m.json:1:1: expected a value, found 'nul'"},
        {"truex", "m.json:1:5: expected end of text, found 'x'"},
        {"1 2", "m.json:1:3: expected end of text, found '2'"},
        {"]", "m.json:1:1: expected a value, found ']'"},
        {"'a'", "m.json:1:1: expected a value, found '''"},
        {"NaN", "m.json:1:1: expected a value, found 'NaN'"},
        {"-Infinity", "m.json:1:2: expected a digit, found 'Infinity'"},
        {"01", "m.json:1:1: expected a number without leading zeros, found '01'"},
        {"-", "m.json:1:2: expected a digit, found end of text"},
        {"+1", "m.json:1:1: expected a value, found '+1'"},
        {".5", "m.json:1:1: expected a value, found '.5'"},
        {"1.", "m.json:1:3: expected a digit after the decimal point, found end of text"},
        {"1.e5", "m.json:1:3: expected a digit after the decimal point, found 'e5'"},
        {"1e", "m.json:1:3: expected a digit of the exponent, found end of text"},
        {"0x10", "m.json:1:2: expected end of text, found 'x10'"},
        {"\"a", "m.json:1:3: expected '\"' at the end of the string, found end of text"},
        {"\"a\nb\"", "m.json:1:3: expected '\"' at the end of the string, found end of line"},
        {"\"a\tb\"", "m.json:1:3: expected '\"' at the end of the string, found byte 0x09"},
        {"\"\\x41\"",
            "m.json:1:3: expected one of \" \\ / b f n r t u after a backslash, found 'x41'"},
        {"\"\\", "m.json:1:3: expected one of \" \\ / b f n r t u after a backslash, found end of "
                 "text"},
        {"\"\\u12G4\"", "m.json:1:6: expected four hexadecimal digits after \\u, found 'G4'"},
        {"\"\\u12\"", "m.json:1:6: expected four hexadecimal digits after \\u, found '\"'"},
        {"\"\xFF\"", "m.json:1:2: expected UTF-8, found byte 0xFF"},
        {"\"\xED\xA0\x80\"", "m.json:1:2: expected UTF-8, found byte 0xED"},
        {"\xEF\xBB\xBF{}", "m.json:1:1: expected a value, found U+FEFF"},
        {"[\n  1,\n  x\n]", "m.json:3:3: expected a value, found 'x'"},
        {"// x", "m.json:1:1: expected a value, found '/'"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char tokens[64];
        struct json_scan scan;
        print_message("%s\n", cases[i].text);
        json_scan_begin(&scan, "m.json", text_of(cases[i].text));
        spell_tokens(&scan, tokens, sizeof tokens);
        assert_int_equal(tokens[strlen(tokens) - 1], 'E');
        assert_int_equal(json_scan_next(&scan), JSON_TOKEN_ERROR); /* and it stays one */
        struct error *error = json_scan_error(&scan);
        assert_string_equal(error_text(error), cases[i].want);
        assert_int_equal(error_kind_of(error), ERROR_FORMAT);
        error_free(error);
    }
}

static void nul_is_no_end(void **state)
{
    struct json_scan scan;
    (void)state;
    json_scan_begin(&scan, "m", (struct text){"1\0", 2});
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_NUMBER);
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_ERROR);
    struct error *error = json_scan_error(&scan);
    assert_string_equal(error_text(error), "m:1:2: expected end of text, found byte 0x00");
    error_free(error);
}

static void pythons_numbers_are_accepted_when_asked_for(void **state)
{
    struct json_scan scan;
    (void)state;
    json_scan_begin(&scan, "m", TEXT_LITERAL("[NaN, Infinity, -Infinity, -1]"));
    scan.allow_nonfinite = true;
    char tokens[16];
    spell_tokens(&scan, tokens, sizeof tokens);
    assert_string_equal(tokens, "[nnnn].");
    json_scan_begin(&scan, "m", TEXT_LITERAL("-Infinite"));
    scan.allow_nonfinite = true;
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_ERROR);
}

static void tokens_have_place_and_spelling(void **state)
{
    struct json_scan scan;
    (void)state;
    json_scan_begin(&scan, "m", TEXT_LITERAL("{ \"a\\n\" : -1.50 }"));
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_OBJECT_BEGIN);
    assert_int_equal(scan.depth, 1);
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_KEY);
    assert_int_equal(scan.token_begin, 2);
    assert_true(text_is(scan.raw, "a\\n"));
    assert_true(scan.has_escapes);
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_NUMBER);
    assert_int_equal(scan.token_begin, 10);
    assert_true(text_is(scan.raw, "-1.50"));
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_OBJECT_END);
    assert_int_equal(scan.depth, 0);
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_END);
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_END);
}

static void values_can_be_skipped(void **state)
{
    struct json_scan scan;
    (void)state;
    json_scan_begin(
        &scan, "m", TEXT_LITERAL("{\"a\":{\"b\":[1,{}]},\"c\":[[]],\"d\":1,\"e\":[[2],3]}"));
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_OBJECT_BEGIN);
    for (const char *key = "abcd"; *key != 'd'; key++) {
        print_message("%c\n", *key);
        assert_int_equal(json_scan_next(&scan), JSON_TOKEN_KEY);
        assert_int_equal(scan.raw.bytes[0], *key == 'b' ? 'c' : *key == 'c' ? 'd' : 'a');
        assert_true(json_scan_skip(&scan));
    }
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_KEY);
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_ARRAY_BEGIN);
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_ARRAY_BEGIN);
    assert_true(json_scan_skip(&scan));
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_NUMBER);
    assert_true(text_is(scan.raw, "3"));
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_ARRAY_END);
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_OBJECT_END);
    assert_int_equal(json_scan_next(&scan), JSON_TOKEN_END);
}

static void skipping_stops_at_an_error(void **state)
{
    static const char *const texts[] = {"{\"a\":[1,}]}", "{\"a\" 1}", "{\"a\":", "{\"a\":[[[[["};
    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct json_scan scan;
        print_message("%s\n", texts[i]);
        json_scan_begin(&scan, "m", text_of(texts[i]));
        assert_int_equal(json_scan_next(&scan), JSON_TOKEN_OBJECT_BEGIN);
        assert_int_equal(json_scan_next(&scan), JSON_TOKEN_KEY);
        assert_false(json_scan_skip(&scan));
        assert_false(json_scan_skip(&scan));
        error_free(json_scan_error(&scan));
    }
}

static void nesting_has_a_limit(void **state)
{
    char text[2 * JSON_DEPTH_MAX + 2], tokens[2 * JSON_DEPTH_MAX + 8];
    struct json_scan scan;
    (void)state;
    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    json_scan_begin(&scan, "m", (struct text){text, 2 * JSON_DEPTH_MAX});
    spell_tokens(&scan, tokens, sizeof tokens);
    assert_int_equal(tokens[strlen(tokens) - 1], '.');
    memset(text, '[', sizeof text);
    json_scan_begin(&scan, "m", (struct text){text, sizeof text});
    spell_tokens(&scan, tokens, sizeof tokens);
    struct error *error = json_scan_error(&scan);
    assert_string_equal(
        error_text(error), "m:1:129: expected at most 128 levels of nesting, found '['");
    error_free(error);
}

static void escapes_are_resolved(void **state)
{
    const struct {
        const char *raw;
        struct text want;
    } cases[] = {
        {"", TEXT_LITERAL("")},
        {"\\\"\\\\\\/\\b\\f\\n\\r\\t", TEXT_LITERAL("\"\\/\b\f\n\r\t")},
        {"\\u0041\\u00e9\\u20AC", TEXT_LITERAL("A\xC3\xA9\xE2\x82\xAC")},
        {"\\ud83d\\uDE00!", TEXT_LITERAL("\xF0\x9F\x98\x80!")},
        {"a\\u0000b", TEXT_LITERAL("a\0b")},
        {"\\ud83d", TEXT_LITERAL("\xEF\xBF\xBD")},
        {"\\ude00x", TEXT_LITERAL("\xEF\xBF\xBDx")},
        {"\\ud83d\\u0041", TEXT_LITERAL("\xEF\xBF\xBD"
                                        "A")},
        {"\\ud83d\\ud83d\\ude00", TEXT_LITERAL("\xEF\xBF\xBD\xF0\x9F\x98\x80")},
        {"\\ud83d\\n\\ude00", TEXT_LITERAL("\xEF\xBF\xBD\n\xEF\xBF\xBD")},
    };
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("%s\n", cases[i].raw);
        struct text text = json_unescape(&arena, text_of(cases[i].raw), true);
        assert_true(text_equal(text, cases[i].want));
        assert_int_equal(text.bytes[text.length], '\0');
    }
    struct text raw = TEXT_LITERAL("plain");
    assert_ptr_equal(json_unescape(&arena, raw, false).bytes, raw.bytes);
    arena_end(&arena);
}

static void unsigned_integers_are_exact(void **state)
{
    static const char *const refused[] = {
        "", "-0", "-1", "1.0", "1e3", "18446744073709551616", "99999999999999999999", "NaN"};
    uint64_t number = 7;
    (void)state;
    for (size_t i = 0; i < COUNT(refused); i++) {
        print_message("\"%s\"\n", refused[i]);
        assert_false(text_to_u64(text_of(refused[i]), &number));
        assert_true(number == 7);
    }
    assert_true(text_to_u64(TEXT_LITERAL("18446744073709551615"), &number));
    assert_true(number == UINT64_MAX);
    assert_true(text_to_u64(TEXT_LITERAL("0"), &number));
    assert_true(number == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_has_its_token),
        cmocka_unit_test(errors_say_what_was_expected_and_found),
        cmocka_unit_test(nul_is_no_end),
        cmocka_unit_test(pythons_numbers_are_accepted_when_asked_for),
        cmocka_unit_test(tokens_have_place_and_spelling),
        cmocka_unit_test(values_can_be_skipped),
        cmocka_unit_test(skipping_stops_at_an_error),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(escapes_are_resolved),
        cmocka_unit_test(unsigned_integers_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
