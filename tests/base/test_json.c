/* test_json.c - trees with positions and spellings, and what cJSON alone would lose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* The root of a text that must parse. */
static const struct json *parse(struct arena *arena, const char *text, enum json_mode mode)
{
    const struct json_document *document = NULL;
    struct error *error = json_parse(arena, "m.json", text_of(text), mode, &document);
    if (error != NULL)
        print_error("%s", error_report(error));
    assert_null(error);
    return &document->root;
}

static void expect_report(struct error *error, const char *want)
{
    assert_non_null(error);
    assert_string_equal(error_report(error), want);
    error_free(error);
}

static void tree_has_kinds_values_and_places(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct json *root =
        parse(&arena, "{\"a\": [1, -2.5, \"x\\ny\", true, false, null],\n \"b\": {}}", JSON_STRICT);
    assert_int_equal(root->kind, JSON_OBJECT);
    assert_int_equal(root->count, 2);
    assert_true(text_is(root->members[0].key, "a"));
    assert_int_equal(root->members[1].key_offset, 45);
    const struct json *items = json_get(root, "a")->items;
    assert_int_equal(json_get(root, "a")->count, 6);
    assert_int_equal(items[0].kind, JSON_NUMBER);
    assert_true(items[0].is_integer);
    assert_int_equal(items[0].offset, 7);
    assert_false(items[1].is_integer);
    assert_true(items[1].number < -2.4 && items[1].number > -2.6);
    assert_string_equal(items[1].text.bytes, "-2.5");
    assert_int_equal(items[2].kind, JSON_STRING);
    assert_string_equal(items[2].text.bytes, "x\ny");
    assert_true(items[3].kind == JSON_BOOL && items[3].boolean);
    assert_true(items[4].kind == JSON_BOOL && !items[4].boolean);
    assert_int_equal(items[5].kind, JSON_NULL);
    assert_int_equal(json_get(root, "b")->kind, JSON_OBJECT);
    assert_int_equal(json_get(root, "b")->count, 0);
    assert_ptr_equal(items[5].document, root->document);
    arena_end(&arena);
}

static void lookups_are_case_sensitive_and_by_path(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct json *root =
        parse(&arena, "{\"Dtype\": 1, \"text_config\": {\"dtype\": \"bf16\"}}", JSON_TOLERANT);
    assert_null(json_get(root, "dtype"));
    assert_non_null(json_get(root, "Dtype"));
    assert_null(json_get(NULL, "a"));
    assert_null(json_get(json_get(root, "Dtype"), "a"));
    assert_string_equal(json_get_path(root, "text_config.dtype")->text.bytes, "bf16");
    assert_null(json_get_path(root, "text_config.x.y"));
    assert_null(json_get_path(root, "Dtype.x"));
    assert_null(json_get_path(root, ""));
    arena_end(&arena);
}

static void large_objects_find_every_member(void **state)
{
    enum { MEMBERS = 50000 };
    (void)state;
    struct arena arena = {0};
    char *text = arena_alloc(&arena, MEMBERS * 24);
    size_t used = 0;
    for (unsigned i = 0; i < MEMBERS; i++)
        used += (size_t)sprintf(text + used, "%s\"k%u\":%u", i == 0 ? "{" : ",",
            i * 7919u % MEMBERS, i * 7919u % MEMBERS);
    text[used] = '}';
    const struct json *root = parse(&arena, text, JSON_STRICT);
    assert_int_equal(root->count, MEMBERS);
    assert_string_equal(root->members[1].key.bytes, "k7919"); /* in order of appearance */
    for (unsigned i = 0; i < MEMBERS; i++) {
        char key[16];
        int64_t value = -1;
        snprintf(key, sizeof key, "k%u", i);
        assert_true(json_to_i64(json_get(root, key), &value));
        assert_int_equal(value, i);
    }
    assert_null(json_get(root, "k50000"));
    assert_null(json_get(root, ""));
    arena_end(&arena);
}

static void strict_blanks_comments_and_keeps_places(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct json *root = parse(&arena,
        "// head \"\n{ /* \xC3\xA9 */ \"a//b\": \"/* no */\\\"//\", // x\n/**/\"c\": 3 }\n// end",
        JSON_STRICT);
    assert_int_equal(root->count, 2);
    assert_string_equal(json_get(root, "a//b")->text.bytes, "/* no */\"//");
    assert_int_equal(json_get(root, "c")->offset, 59);
    assert_int_equal(root->document->text.bytes[59], '3');
    expect_report(json_error(json_get(root, "c"), "no %s", "threes"),
        "m.json:3:10: no threes\n    /**/\"c\": 3 }\n             ^\n");
    arena_end(&arena);
}

static void strict_refuses(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"{\"a\": 1,\n \"bits\": 1,\n    \"bits\": 2}", "m.json:3:5: duplicate key \"bits\"\n"
                                                        "    \"bits\": 2}\n    ^\n"},
        {"{\"a\":1,\"b\":2,\"\\u0062\":3,\"a\":4}",
            "m.json:1:14: duplicate key \"b\"\n"
            "    {\"a\":1,\"b\":2,\"\\u0062\":3,\"a\":4}\n                 ^\n"},
        {"{\"psybuild\": 1 /* x */", "m.json:1:23: expected ',' or '}', found end of text\n"
                                     "    {\"psybuild\": 1 /* x */\n                          ^\n"},
        {"[1, /* x */ 2 3]", "m.json:1:15: expected ',' or ']', found '3'\n"
                             "    [1, /* x */ 2 3]\n                  ^\n"},
        {"[1, /* x ]", "m.json:1:5: expected \"*/\" at the end of the comment, found end of text\n"
                       "    [1, /* x ]\n        ^\n"},
        {"[1] /", "m.json:1:5: expected end of text, found '/'\n    [1] /\n        ^\n"},
        {"[/*/ 1]", "m.json:1:2: expected \"*/\" at the end of the comment, found end of text\n"
                    "    [/*/ 1]\n     ^\n"},
        {"NaN", "m.json:1:1: expected a value, found 'NaN'\n    NaN\n    ^\n"},
        {"[9007199254740993]", "m.json:1:2: expected an integer of at most 2^53, found "
                               "9007199254740993\n    [9007199254740993]\n     ^\n"},
        {"[-9007199254740993]", "m.json:1:2: expected an integer of at most 2^53, found "
                                "-9007199254740993\n    [-9007199254740993]\n     ^\n"},
        {"[19007199254740992]", "m.json:1:2: expected an integer of at most 2^53, found "
                                "19007199254740992\n    [19007199254740992]\n     ^\n"},
        {"[1e999]", "m.json:1:2: expected a number that a double can hold, found 1e999\n"
                    "    [1e999]\n     ^\n"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena arena = {0};
        const struct json_document *document = NULL;
        print_message("%s\n", cases[i].text);
        struct error *error =
            json_parse(&arena, "m.json", text_of(cases[i].text), JSON_STRICT, &document);
        assert_non_null(error);
        assert_int_equal(error_kind_of(error), ERROR_USAGE);
        assert_null(document);
        arena_end(&arena); /* an error outlives the arena */
        expect_report(error, cases[i].want);
    }
}

static void strict_accepts_the_largest_exact_integers(void **state)
{
    int64_t number = 0;
    (void)state;
    struct arena arena = {0};
    const struct json *root = parse(&arena, "[9007199254740992, -9007199254740992]", JSON_STRICT);
    assert_true(json_to_i64(&root->items[0], &number));
    assert_true(number == INT64_C(9007199254740992));
    arena_end(&arena);
}

static void tolerant_takes_the_last_duplicate_at_the_place_of_the_first(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct json *root =
        parse(&arena, "{\"a\":1,\"b\":2,\"a\":3,\"c\":4,\"b\":5,\"a\":6}", JSON_TOLERANT);
    assert_int_equal(root->count, 3);
    assert_string_equal(root->members[0].key.bytes, "a");
    assert_string_equal(root->members[0].value.text.bytes, "6");
    assert_string_equal(root->members[1].key.bytes, "b");
    assert_string_equal(root->members[1].value.text.bytes, "5");
    assert_string_equal(root->members[2].key.bytes, "c");
    arena_end(&arena);
}

static void tolerant_refuses_comments_as_bad_format(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct json_document *document = NULL;
    struct error *error =
        json_parse(&arena, "c.json", TEXT_LITERAL("{} // x"), JSON_TOLERANT, &document);
    assert_non_null(error);
    assert_int_equal(error_kind_of(error), ERROR_FORMAT);
    expect_report(error, "c.json:1:4: expected end of text, found '/'\n    {} // x\n       ^\n");
    arena_end(&arena);
}

static void what_cjson_loses_is_kept(void **state)
{
    static const char text[] =
        "[1.0, 1e30, 1000000000000000019884624838656, 12345678901234567890, \"a\\u0000b\", NaN,"
        " Infinity, -Infinity, \"\\ud83d \\ude00 \\ud83d\\ude00\", 1e999,"
        " 1000000000000000000000000000000000000000000000000000000000000000000000000000, {\"\\u0000"
        "k\": 1, \"\\udc00\": \"\\\\ud800\"}]";
    (void)state;
    struct arena arena = {0};
    const struct json *root = parse(&arena, text, JSON_TOLERANT);
    const struct json *items = root->items;
    assert_int_equal(root->count, 12);
    assert_string_equal(items[0].text.bytes, "1.0");
    assert_false(items[0].is_integer);
    assert_string_equal(items[1].text.bytes, "1e30");
    assert_true(items[2].is_integer);
    assert_string_equal(items[2].text.bytes, "1000000000000000019884624838656");
    assert_string_equal(items[3].text.bytes, "12345678901234567890");
    assert_true(text_equal(items[4].text, (struct text){"a\0b", 3}));
    assert_true(isnan(items[5].number) && !items[5].is_integer);
    assert_string_equal(items[5].text.bytes, "NaN");
    assert_true(isinf(items[6].number) && items[6].number > 0);
    assert_true(isinf(items[7].number) && items[7].number < 0);
    assert_string_equal(items[8].text.bytes, "\xED\xA0\xBD \xED\xB8\x80 \xF0\x9F\x98\x80");
    assert_true(isinf(items[9].number));
    assert_true(items[10].is_integer && items[10].number > 1e74);
    assert_int_equal(items[10].text.length, 76);
    assert_true(text_equal(items[11].members[0].key, (struct text){"\0k", 2}));
    assert_string_equal(items[11].members[1].key.bytes, "\xED\xB0\x80");
    assert_string_equal(items[11].members[1].value.text.bytes, "\\ud800");
    arena_end(&arena);
}

static void text_and_name_are_copied(void **state)
{
    char name[] = "m.json", text[] = "{\"key\": \"value\"}";
    const struct json_document *document = NULL;
    (void)state;
    struct arena arena = {0};
    assert_null(json_parse(&arena, name, text_of(text), JSON_STRICT, &document));
    memset(name, 'x', sizeof name - 1);
    memset(text, 'x', sizeof text - 1);
    assert_string_equal(document->name, "m.json");
    assert_string_equal(json_get(&document->root, "key")->text.bytes, "value");
    expect_report(json_error_key(&document->root, &document->root.members[0], "unknown key"),
        "m.json:1:2: unknown key\n    {\"key\": \"value\"}\n     ^\n");
    arena_end(&arena);
}

static void trees_of_too_many_values_are_refused(void **state)
{
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        struct arena arena = {0};
        const struct json_document *document;
        size_t items = 600000 - 1 + more; /* the list is one, too */
        char *text = arena_alloc(&arena, 2 * items + 2);
        assert_non_null(text);
        for (size_t i = 0; i < items; i++)
            memcpy(text + 2 * i, ",1", 2);
        text[0] = '[';
        text[2 * items] = ']';
        struct error *error = json_parse(&arena, "m.json", text_of(text), JSON_TOLERANT, &document);
        if (more == 0) {
            assert_null(error);
            assert_int_equal(document->root.count, items);
        } else {
            assert_non_null(error);
            assert_string_equal(
                error_text(error), "m.json: expected at most 600000 values of JSON, found more");
            error_free(error);
        }
        arena_end(&arena);
    }
}

static void too_long_documents_are_refused(void **state)
{
    const struct json_document *document = NULL;
    (void)state;
    struct arena arena = {0};
    struct text text = {"", (size_t)JSON_BYTES_MAX + 1}; /* refused before a byte is read */
    struct error *error = json_parse(&arena, "m.json", text, JSON_TOLERANT, &document);
    expect_report(error, "m.json: expected at most 67108864 bytes of JSON, found 67108865\n");
    arena_end(&arena);
}

static void integers_are_read_exactly(void **state)
{
    static const struct {
        const char *text;
        bool is_read;
        int64_t want;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"-17", true, -17},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"-9223372036854775808", true, INT64_MIN},
        {"-9223372036854775809", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"NaN", false, 0},
        {"\"1\"", false, 0},
        {"true", false, 0},
    };
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t number = 0;
        print_message("%s\n", cases[i].text);
        const struct json *value = parse(&arena, cases[i].text, JSON_TOLERANT);
        assert_int_equal(json_to_i64(value, &number), cases[i].is_read);
        assert_true(number == cases[i].want);
    }
    assert_false(json_to_i64(NULL, &(int64_t){0}));
    arena_end(&arena);
}

static void values_are_shown_short_and_harmless(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"7", "7"},
        {"1.50", "1.50"},
        {"true", "true"},
        {"null", "null"},
        {"\"a\\n\\\"b\"", "\"a\\n\\\"b\""},
        {"\"\x7F\"", "\"\\x7F\""},
        {"[1]", "a list"},
        {"{\"a\":1}", "an object"},
        {"\"0123456789012345678901234567890123456789012345678901234567\xE2\x82\xAC\"",
            "\"0123456789012345678901234567890123456789012345678901234567...\""},
    };
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("%s\n", cases[i].text);
        const struct json *value = parse(&arena, cases[i].text, JSON_TOLERANT);
        assert_string_equal(json_show(&arena, value), cases[i].want);
    }
    assert_string_equal(json_show(&arena, NULL), "nothing");
    arena_end(&arena);
}

static void equality_ignores_order_of_keys_only(void **state)
{
    static const struct {
        const char *a, *b;
        bool is_equal;
    } cases[] = {
        {"{\"a\":1,\"b\":[2,3]}", "{ \"b\": [2, 3], \"a\": 1 }", true},
        {"[1,2]", "[2,1]", false},
        {"[1]", "[1,1]", false},
        {"1", "1.0", false},
        {"1.0", "1e0", true},
        {"0", "-0", true},
        {"0.0", "-0.0", false},
        {"12345678901234567890", "12345678901234567891", false},
        {"NaN", "NaN", true},
        {"\"a\"", "\"\\u0061\"", true},
        {"null", "false", false},
        {"{\"a\":1}", "{\"b\":1}", false},
        {"{\"a\":1}", "{}", false},
        {"[true]", "[true]", true},
        {"null", "null", true},
    };
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("%s, %s\n", cases[i].a, cases[i].b);
        const struct json *a = parse(&arena, cases[i].a, JSON_TOLERANT);
        const struct json *b = parse(&arena, cases[i].b, JSON_TOLERANT);
        assert_int_equal(json_equal(a, b), cases[i].is_equal);
        assert_int_equal(json_equal(b, a), cases[i].is_equal);
    }
    arena_end(&arena);
}

static void deep_nesting_is_an_error(void **state)
{
    char text[1000];
    const struct json_document *document = NULL;
    (void)state;
    struct arena arena = {0};
    memset(text, '[', sizeof text);
    struct error *error =
        json_parse(&arena, "m", (struct text){text, sizeof text}, JSON_TOLERANT, &document);
    assert_non_null(error);
    assert_string_equal(
        error_text(error), "m:1:129: expected at most 128 levels of nesting, found '['");
    error_free(error);
    arena_end(&arena);
}

static void *parse_many(void *argument)
{
    size_t *failures = argument;
    for (size_t i = 0; i < 200; i++) {
        struct arena arena = {0};
        const struct json_document *document = NULL;
        struct error *error = json_parse(
            &arena, "m", TEXT_LITERAL("{\"a\": [1, 2, {\"b\": null}]}"), JSON_STRICT, &document);
        *failures += error != NULL;
        error_free(error);
        arena_end(&arena);
    }
    return NULL;
}

static void threads_may_parse_at_once(void **state)
{
    pthread_t threads[4];
    size_t failures[4] = {0};
    (void)state;
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, parse_many, &failures[i]), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(failures[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_has_kinds_values_and_places),
        cmocka_unit_test(lookups_are_case_sensitive_and_by_path),
        cmocka_unit_test(large_objects_find_every_member),
        cmocka_unit_test(strict_blanks_comments_and_keeps_places),
        cmocka_unit_test(strict_refuses),
        cmocka_unit_test(strict_accepts_the_largest_exact_integers),
        cmocka_unit_test(tolerant_takes_the_last_duplicate_at_the_place_of_the_first),
        cmocka_unit_test(tolerant_refuses_comments_as_bad_format),
        cmocka_unit_test(what_cjson_loses_is_kept),
        cmocka_unit_test(text_and_name_are_copied),
        cmocka_unit_test(trees_of_too_many_values_are_refused),
        cmocka_unit_test(too_long_documents_are_refused),
        cmocka_unit_test(integers_are_read_exactly),
        cmocka_unit_test(values_are_shown_short_and_harmless),
        cmocka_unit_test(equality_ignores_order_of_keys_only),
        cmocka_unit_test(deep_nesting_is_an_error),
        cmocka_unit_test(threads_may_parse_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
