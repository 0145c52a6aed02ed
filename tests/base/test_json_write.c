/* test_json_write.c - JSON as Python's json.dumps and the tokenizers library write it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_write.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char *rewrite(struct arena *arena, const char *text, const struct json_style *style)
{
    const struct json_document *document = NULL;
    struct text out = TEXT_EMPTY;
    assert_null(json_parse(arena, "m", text_of(text), JSON_TOLERANT, &document));
    struct json_writer *writer = json_writer_new(arena, style);
    assert_non_null(writer);
    json_write_value(writer, &document->root);
    assert_null(json_writer_finish(writer, &out));
    assert_int_equal(strlen(out.bytes), out.length);
    return out.bytes;
}

/* Python: json.dumps(json.loads(text), indent=4), but for the non-finite numbers. */
static void config_style_is_pythons(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"{}", "{}"},
        {"[]", "[]"},
        {"[[],{}]", "[\n    [],\n    {}\n]"},
        {"[true,false,null]", "[\n    true,\n    false,\n    null\n]"},
        {"{\"b\":1,\"a\":{\"z\":[1,2.50],\"y\":null}}",
            "{\n    \"b\": 1,\n    \"a\": {\n        \"z\": [\n            1,\n            2.5\n"
            "        ],\n        \"y\": null\n    }\n}"},
        {"1e5", "100000.0"},
        {"1.0", "1.0"},
        {"10000000000000000000000000000000000000000", "10000000000000000000000000000000000000000"},
        {"-0", "0"},
        {"-0.0", "-0.0"},
        {"1e-6", "1e-06"},
        {"\"\\u00e9\\ud83d\\ude00\\u007f\\u0000\\u001f/\"",
            "\"\\u00e9\\ud83d\\ude00\\u007f\\u0000\\u001f/\""},
        {"\"\\\"\\\\\\b\\f\\n\\r\\t\"", "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
        {"[NaN,-Infinity,1e999]",
            "[\n    {\n        \"__float__\": \"NaN\"\n    },\n    {\n        \"__float__\": "
            "\"-Infinity\"\n    },\n    {\n        \"__float__\": \"Infinity\"\n    }\n]"},
    };
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("%s\n", cases[i].text);
        assert_string_equal(rewrite(&arena, cases[i].text, &JSON_STYLE_CONFIG), cases[i].want);
    }
    arena_end(&arena);
}

static void other_styles_keep_spellings(void **state)
{
    static const char text[] =
        "{\"b\": [1.50, 1e5, NaN, -0, \"\\u00e9\\u007f\\u2028\\n\"], \"a\": {}, \"B\": []}";
    (void)state;
    struct arena arena = {0};
    assert_string_equal(rewrite(&arena, text, &JSON_STYLE_CANONICAL),
        "{\"B\":[],\"a\":{},\"b\":[1.50,1e5,NaN,-0,\"\xC3\xA9\x7F\xE2\x80\xA8\\n\"]}");
    assert_string_equal(rewrite(&arena, text, &JSON_STYLE_TOKENIZER),
        "{\n  \"B\": [],\n  \"a\": {},\n  \"b\": [\n    1.50,\n    1e5,\n    NaN,\n    -0,\n"
        "    \"\xC3\xA9\x7F\xE2\x80\xA8\\n\"\n  ]\n}");
    assert_string_equal(rewrite(&arena, text, &JSON_STYLE_PRETTY),
        "{\n  \"b\": [\n    1.50,\n    1e5,\n    NaN,\n    -0,\n"
        "    \"\xC3\xA9\x7F\xE2\x80\xA8\\n\"\n  ],\n  \"a\": {},\n  \"B\": []\n}");
    arena_end(&arena);
}

static void canonical_form_is_one_for_equal_texts(void **state)
{
    (void)state;
    struct arena arena = {0};
    const char *a = "{\"x\":{\"q\":1,\"p\":2},\"a\":\"\\u0041\"}";
    const char *b = "{ \"a\": \"A\", \"x\": { \"p\": 2, \"q\": 1 } }";
    assert_string_equal(
        rewrite(&arena, a, &JSON_STYLE_CANONICAL), rewrite(&arena, b, &JSON_STYLE_CANONICAL));
    arena_end(&arena);
}

static void keys_sort_by_code_point_in_large_objects(void **state)
{
    (void)state;
    struct arena arena = {0};
    assert_string_equal(
        rewrite(&arena,
            "{\"t\":1,\"s\":1,\"r\":1,\"q\":1,\"p\":1,\"o\":1,\"n\":1,\"m\":1,\"l\":1,\"k\":1,"
            "\"j\":1,\"i\":1,\"h\":1,\"\\ud83d\\ude00\":1,\"\\uffee\":1,\"c\":1,\"b\":1,\"a\":1}",
            &JSON_STYLE_CANONICAL),
        "{\"a\":1,\"b\":1,\"c\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,\"l\":1,\"m\":1,\"n\":1,\"o\":1,"
        "\"p\":1,\"q\":1,\"r\":1,\"s\":1,\"t\":1,\"\xEF\xBF\xAE\":1,\"\xF0\x9F\x98\x80\":1}");
    arena_end(&arena);
}

static void writer_puts_commas_and_colons(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct text out = TEXT_EMPTY;
    struct json_writer *writer = json_writer_new(&arena, &JSON_STYLE_CANONICAL);
    json_write_object_begin(writer);
    json_write_key(writer, TEXT_LITERAL("z"));
    json_write_array_begin(writer);
    json_write_u64(writer, UINT64_MAX);
    json_write_i64(writer, INT64_MIN);
    json_write_double(writer, 0.1);
    json_write_double(writer, (double)INFINITY);
    json_write_bool(writer, true);
    json_write_bool(writer, false);
    json_write_null(writer);
    json_write_string(writer, "a\xFF\xC3");
    json_write_text(writer, (struct text){"\0", 1});
    json_write_raw(writer, TEXT_LITERAL("1.00"));
    json_write_array_end(writer);
    json_write_key(writer, TEXT_LITERAL("a"));
    json_write_object_begin(writer);
    json_write_object_end(writer);
    json_write_object_end(writer);
    assert_null(json_writer_finish(writer, &out));
    assert_string_equal(out.bytes,
        "{\"z\":[18446744073709551615,-9223372036854775808,0.1,Infinity,true,false,null,"
        "\"a\xEF\xBF\xBD\xEF\xBF\xBD\",\"\\u0000\",1.00],\"a\":{}}");
    arena_end(&arena);
}

static void lone_surrogates_are_written_as_they_were_read(void **state)
{
    static const char text[] = "{\"\\ud800\":\"a\\udfff\\ud83d\\ud83d\\ude00\\udc00\\uffff\"}";
    static const char *const wants[] = {
        text, "{\"\\ud800\":\"a\\udfff\\ud83d\xF0\x9F\x98\x80\\udc00\xEF\xBF\xBF\"}"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct arena arena = {0};
        struct text out;
        const struct json_document *document;
        assert_null(json_parse(&arena, "t.json", text_of(text), JSON_TOLERANT, &document));
        struct json_writer *writer =
            json_writer_new(&arena, &(struct json_style){.is_ascii = i == 0});
        json_write_value(writer, &document->root);
        assert_null(json_writer_finish(writer, &out));
        assert_string_equal(out.bytes, wants[i]);
        arena_end(&arena);
    }
}

static void writer_holds_long_and_deep_texts(void **state)
{
    enum { DEPTH = 300, ITEMS = 20000 };
    (void)state;
    struct arena arena = {0};
    struct text out = TEXT_EMPTY;
    struct json_writer *writer = json_writer_new(&arena, &JSON_STYLE_CANONICAL);
    for (size_t i = 0; i < DEPTH; i++)
        json_write_array_begin(writer);
    for (size_t i = 0; i < ITEMS; i++)
        json_write_string(writer, "item");
    for (size_t i = 0; i < DEPTH; i++)
        json_write_array_end(writer);
    assert_null(json_writer_finish(writer, &out));
    assert_int_equal(out.length, 2 * DEPTH + ITEMS * 7 - 1);
    arena_end(&arena);
}

static void nothing_written_is_the_empty_text(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct text out = {NULL, 1};
    assert_null(json_writer_finish(json_writer_new(&arena, &JSON_STYLE_PRETTY), &out));
    assert_int_equal(out.length, 0);
    assert_string_equal(out.bytes, "");
    arena_end(&arena);
}

/* The right column is Python's repr of the left one. */
static void doubles_are_spelled_as_python_does(void **state)
{
    static const struct {
        double number;
        const char *want;
    } cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-1.5, "-1.5"},
        {10000.0, "10000.0"},
        {1000000.0, "1000000.0"},
        {0.1, "0.1"},
        {0.02, "0.02"},
        {1e-4, "0.0001"},
        {0.00012345, "0.00012345"},
        {1e-5, "1e-05"},
        {1.5e-5, "1.5e-05"},
        {1e-6, "1e-06"},
        {1.0 / 24.0, "0.041666666666666664"},
        {1.0 / 3.0, "0.3333333333333333"},
        {123456789.125, "123456789.125"},
        {1e15, "1000000000000000.0"},
        {123456789012345680.0, "1.2345678901234568e+17"},
        {9999999999999998.0, "9999999999999998.0"},
        {1e16, "1e+16"},
        {1e22, "1e+22"},
        {1e23, "1e+23"},
        {1e100, "1e+100"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {5e-324, "5e-324"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {0x1p-44, "5.684341886080802e-14"}, /* the nearest of 16 digits does not read back */
        {0x1p-1022, "2.2250738585072014e-308"},
        {0x1p60, "1.152921504606847e+18"},
        {0x1p89, "6.189700196426902e+26"},
        {(double)INFINITY, "Infinity"},
        {-(double)INFINITY, "-Infinity"},
        {(double)NAN, "NaN"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char buffer[JSON_DOUBLE_MAX];
        assert_string_equal(json_double_repr(buffer, cases[i].number), cases[i].want);
    }
}

static void doubles_read_back(void **state)
{
    uint64_t seed = UINT64_C(0x9E3779B97F4A7C15);
    (void)state;
    for (size_t i = 0; i < 20000; i++) {
        char buffer[JSON_DOUBLE_MAX];
        double number, again;
        seed ^= seed << 13; /* xorshift64 */
        seed ^= seed >> 7;
        seed ^= seed << 17;
        uint64_t bits = i % 4 == 0 ? seed & UINT64_C(0xFFF0000000000000) : seed;
        memcpy(&number, &bits, sizeof number);
        if (!isfinite(number))
            continue;
        json_double_repr(buffer, number);
        again = strtod(buffer, NULL);
        if (memcmp(&again, &number, sizeof number) != 0)
            fail_msg("%s is not %a", buffer, number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_style_is_pythons),
        cmocka_unit_test(other_styles_keep_spellings),
        cmocka_unit_test(canonical_form_is_one_for_equal_texts),
        cmocka_unit_test(keys_sort_by_code_point_in_large_objects),
        cmocka_unit_test(writer_puts_commas_and_colons),
        cmocka_unit_test(lone_surrogates_are_written_as_they_were_read),
        cmocka_unit_test(writer_holds_long_and_deep_texts),
        cmocka_unit_test(nothing_written_is_the_empty_text),
        cmocka_unit_test(doubles_are_spelled_as_python_does),
        cmocka_unit_test(doubles_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
