/* test_expression.c - values of expressions as Python would have them, and every refusal in full.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <inttypes.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_write.h"
#include "tasks/formats/expression.h"
#include "tasks/formats/pattern.h"

static struct arena arena;

static const char config_text[] =
    "{\"heads\": 4, \"eps\": 1e-05, \"half\": 0.5, \"yes\": true, \"no\": false, \"nil\": null,"
    " \"type\": \"llama\", \"empty\": \"\", \"list\": [1, 2.5, \"x\", [7]], \"none\": [],"
    " \"text_config\": {\"n\": 9}, \"big\": 9223372036854775807,"
    " \"huge\": 1000000000000000000000000000000, \"inf\": Infinity, \"obj\": {}}";

static const struct json *parse(const char *text, enum json_mode mode)
{
    const struct json_document *document = NULL;
    assert_null(json_parse(&arena, "r.json", text_of(text), mode, &document));
    return &document->root;
}

/* Names are fields; each look-up is counted. */
static size_t find_count;

static struct error *find(void *context, struct text name, struct value *out)
{
    char *path = arena_copy(&arena, name.bytes, name.length);
    find_count++;
    *out = value_of_json(json_get_path(context, path));
    return NULL;
}

static bool has(void *context, const struct pattern *pattern)
{
    (void)context;
    return pattern_match(pattern, TEXT_LITERAL("lm_head.weight"), NULL);
}

static struct scope config_scope(void)
{
    const struct json *root = parse(config_text, JSON_TOLERANT);
    struct json *config = arena_alloc(&arena, sizeof *config);
    *config = *root;
    return (struct scope){config, find, has};
}

/* An expression as the JSON string that holds it. */
static const struct json *quoted(const char *source)
{
    struct text text = TEXT_EMPTY;
    struct json_writer *writer = json_writer_new(&arena, &JSON_STYLE_CANONICAL);
    json_write_string(writer, source);
    assert_null(json_writer_finish(writer, &text));
    return parse(text.bytes, JSON_STRICT);
}

static const struct expression *expression_of(const char *source)
{
    const struct expression *expression = NULL;
    assert_null(expression_parse(&arena, quoted(source), &expression));
    return expression;
}

static const char *show(const struct value *value)
{
    char buffer[JSON_DOUBLE_MAX];
    switch (value->kind) {
    case VALUE_NULL:
        return "null";
    case VALUE_BOOL:
        return value->boolean ? "true" : "false";
    case VALUE_INTEGER:
        return arena_format(&arena, "%" PRId64, value->integer);
    case VALUE_NUMBER:
        return arena_format(&arena, "%s", json_double_repr(buffer, value->number));
    case VALUE_TEXT:
        return arena_format(&arena, "'%.*s'", (int)value->text.length, value->text.bytes);
    case VALUE_TREE:
        return json_kind_name(value->tree->kind);
    }
    return NULL;
}

static void expressions_have_these_values(void **state)
{
    static const struct {
        const char *source, *want;
    } cases[] = {
        {"12", "12"},
        {"1.5", "1.5"},
        {"9223372036854775807", "9223372036854775807"},
        {"\"a b\"", "'a b'"},
        {"true", "true"},
        {"null", "null"},
        {"heads", "4"},
        {"eps", "1e-05"},
        {"text_config.n", "9"},
        {"missing", "null"},
        {"text_config.missing.n", "null"},
        {"huge", "a number"},
        {"obj", "an object"},
        {" ( 1+2 ) * 3 ", "9"},
        {"1 + 2 * 3", "7"},
        {"7 - 2 - 1", "4"},
        {"2 * 7 // 4", "3"},
        {"7 / 2", "3.5"},
        {"8 / 2", "4.0"},
        {"7 // 2", "3"},
        {"-7 // 2", "-4"},
        {"7 // -2", "-4"},
        {"-8 // 2", "-4"},
        {"7 % 3", "1"},
        {"-7 % 3", "2"},
        {"7 % -3", "-2"},
        {"-6 % 3", "0"},
        {"(-big - 1) % -1", "0"},
        {"7.5 // 2", "3.0"},
        {"-7.5 // 2", "-4.0"},
        {"-7.5 % 2", "0.5"},
        {"7.5 % -2", "-0.5"},
        {"1 // 0.1", "9.0"},
        {"heads * half", "2.0"},
        {"1 + 0.5", "1.5"},
        {"- - 3", "3"},
        {"-half", "-0.5"},
        {"-missing ?? 3", "-3"},
        {"missing ?? 1 + 2", "3"},
        {"missing ?? nil ?? 5", "5"},
        {"no ?? 5", "false"},
        {"2 * missing ?? 3", "6"},
        {"!missing", "true"},
        {"!missing ?? true", "false"},
        {"!heads", "false"},
        {"!empty", "true"},
        {"!none", "true"},
        {"!list", "false"},
        {"!obj", "true"},
        {"!huge", "false"},
        {"!0", "true"},
        {"!0.0", "true"},
        {"1 < 2", "true"},
        {"2 <= 1.5", "false"},
        {"2 > 1.5", "true"},
        {"1.5 >= 1.5", "true"},
        {"1 == 1.0", "true"},
        {"1 != 1.0", "false"},
        {"1 == true", "false"},
        {"missing == null", "true"},
        {"missing == 0", "false"},
        {"nil == missing", "true"},
        {"type == \"llama\"", "true"},
        {"type != \"llama\"", "false"},
        {"type == \"llam\"", "false"},
        {"list == list", "true"},
        {"list == none", "false"},
        {"yes == true", "true"},
        {"1 + 1 == 2", "true"},
        {"yes && 5", "5"},
        {"no && 1 / 0", "false"},
        {"no || missing", "null"},
        {"empty || none || 8 // 2", "4"},
        {"list[0] || 1 / 0", "1"},
        {"no && missing || yes", "true"},
        {"yes || no && no", "true"},
        {"(yes || no) && no", "false"},
        {"heads % 2 == 0 && heads > 3", "true"},
        {"list[0]", "1"},
        {"list[1 + 1]", "'x'"},
        {"list[3][0] + 1", "8"},
        {"\"x\" in list", "true"},
        {"\"y\" in list", "false"},
        {"1.0 in list && !(2 in list)", "true"},
        {"missing in none", "false"},
        {"len(list)", "4"},
        {"len(none)", "0"},
        {"len(missing)", "null"},
        {"len(missing) ?? heads", "4"},
        {"has(\"lm_head.*\")", "true"},
        {"has(\"lm_{x*}\") && !has(\"model.*\")", "true"},
        {"9223372036854775807 - 1", "9223372036854775806"},
        {"-9223372036854775807 - 1", "-9223372036854775808"},
    };
    (void)state;
    struct scope scope = config_scope();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct value value = {.kind = VALUE_NULL};
        print_message("%s\n", cases[i].source);
        struct error *error = expression_evaluate(expression_of(cases[i].source), &scope, &value);
        assert_null(error);
        assert_string_equal(show(&value), cases[i].want);
    }
    arena_end(&arena);
}

static void check_error(struct error *error, const char *want)
{
    assert_non_null(error);
    assert_string_equal(error_text(error), want);
    error_free(error);
}

static void evaluation_errors_name_what_is_wrong(void **state)
{
    static const struct {
        const char *source, *want;
    } cases[] = {
        {"missing", "\"missing\" must be an integer of at least 0, not null"},
        {"half", "\"half\" must be an integer of at least 0, not 0.5"},
        {"heads - 5", "\"heads - 5\" must be an integer of at least 0, not -1"},
        {"type", "\"type\" must be an integer of at least 0, not a string"},
        {"yes", "\"yes\" must be an integer of at least 0, not true"},
        {"heads * missing  + 1", "\"missing\" is null, not a number, in \"heads * missing  + 1\""},
        {"(heads * 2) + missing.dim",
            "\"missing.dim\" is null, not a number, in \"(heads * 2) + missing.dim\""},
        {"yes + 1", "\"yes\" is true, not a number, in \"yes + 1\""},
        {"1 + type", "\"type\" is a string, not a number, in \"1 + type\""},
        {"-list", "\"list\" is a list, not a number, in \"-list\""},
        {"missing < 1", "\"missing\" is null, not a number, in \"missing < 1\""},
        {"huge + 1", "\"huge\" is an integer past 64 bits, not a number, in \"huge + 1\""},
        {"inf + 1", "\"inf\" is not finite, not a number, in \"inf + 1\""},
        {"big + 1", "a number that is too large in \"big + 1\""},
        {"-big - 2", "a number that is too large in \"-big - 2\""},
        {"-(-big - 1)", "a number that is too large in \"-(-big - 1)\""},
        {"(-big - 1) // -1", "a number that is too large in \"(-big - 1) // -1\""},
        {"big * 2", "a number that is too large in \"big * 2\""},
        {"1 / 0", "division by zero in \"1 / 0\""},
        {"1 // 0.0", "division by zero in \"1 // 0.0\""},
        {"1 % (heads - 4)", "division by zero in \"1 % (heads - 4)\""},
        {"missing[0]", "\"missing\" is null, not a list, in \"missing[0]\""},
        {"obj[0]", "\"obj\" is an object, not a list, in \"obj[0]\""},
        {"list[4]", "\"4\" is 4, not an index of the list, in \"list[4]\""},
        {"list[-1]", "\"-1\" is -1, not an index of the list, in \"list[-1]\""},
        {"list[half]", "\"half\" is 0.5, not an index of the list, in \"list[half]\""},
        {"1 in missing", "\"missing\" is null, not a list, in \"1 in missing\""},
        {"1 in obj", "\"obj\" is an object, not a list, in \"1 in obj\""},
        {"len(type)", "\"type\" is a string, not a list, in \"len(type)\""},
    };
    (void)state;
    struct scope scope = config_scope();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t integer = 77;
        print_message("%s\n", cases[i].source);
        check_error(expression_integer(expression_of(cases[i].source), &scope, 0, &integer),
            arena_format(&arena, "r.json:1:1: %s", cases[i].want));
        assert_int_equal(integer, 77);
    }
    arena_end(&arena);
}

static void parse_errors_name_the_character(void **state)
{
    static const struct {
        const char *source, *want;
    } cases[] = {
        {"", "expected a value at character 1"},
        {"  ", "expected a value at character 3"},
        {"1 +", "expected a value at character 4"},
        {"heads 4", "expected an operator or the end at character 7"},
        {"a = 4", "expected an operator or the end at character 3"},
        {"1 < 2 < 3", "comparisons do not chain at character 8"},
        {"1 in list in list", "comparisons do not chain at character 14"},
        {"1 in", "expected an operator or the end at character 3"},
        {"(1", "expected \")\" at character 3"},
        {"1)", "expected an operator or the end at character 2"},
        {"list[1", "expected \"]\" at character 7"},
        {"len 4", "expected \"(\" after len at character 5"},
        {"len(x", "expected \")\" at character 6"},
        {"has(x)", "expected (\"pattern\") after has at character 5"},
        {"has", "expected (\"pattern\") after has at character 4"},
        {"1.", "expected an operator or the end at character 2"},
        {"1.x", "expected digits after the point at character 3"},
        {".5", "expected a value at character 1"},
        {"9223372036854775808", "an integer past 64 bits at character 20"},
        {"a.", "expected an operator or the end at character 2"},
        {"a ?? ", "expected a value at character 6"},
        {"f(1)", "expected an operator or the end at character 2"},
        {"a\t+ 1", "it holds a control character"},
        {"#", "expected a value at character 1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct expression *expression = NULL;
        const struct json *value = quoted(cases[i].source);
        char *want = arena_format(
            &arena, "r.json:1:1: %s is no expression: %s", json_show(&arena, value), cases[i].want);
        print_message("%s\n", cases[i].source);
        check_error(expression_parse(&arena, value, &expression), want);
        assert_null(expression);
    }
    arena_end(&arena);
}

static void strings_and_patterns_are_checked_when_parsed(void **state)
{
    static const struct {
        const char *source, *tail;
    } cases[] = {
        {"\"open", ": a string without its closing quote at character 2"},
        {"has(\"a}\")", ": \"}\" has no \"{\" before it at character 9"},
        {"has(\"a\"", ": expected \")\" at character 8"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct expression *expression = NULL;
        struct error *error = expression_parse(&arena, quoted(cases[i].source), &expression);
        assert_non_null(error);
        assert_string_equal(strstr(error_text(error), " is no expression") + 17, cases[i].tail);
        error_free(error);
    }
    arena_end(&arena);
}

static void expressions_are_bounded_in_depth_and_length(void **state)
{
    static char source[EXPRESSION_BYTES_MAX + 2];
    static const char *const units[] = {"(", "-", "!", "1+", "1??", "a[", "len("};
    (void)state;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        const struct expression *expression = NULL;
        source[0] = '\0';
        for (size_t n = 0; n < 200; n++)
            strcat(source, units[i]);
        strcat(source, "1");
        print_message("%s\n", units[i]);
        struct error *error = expression_parse(&arena, quoted(source), &expression);
        assert_non_null(error);
        assert_non_null(strstr(error_text(error), ": it is nested too deeply at character "));
        error_free(error);
    }
    const struct expression *expression = NULL;
    memset(source, '1', sizeof source - 1);
    struct error *error = expression_parse(&arena, quoted(source), &expression);
    assert_non_null(strstr(error_text(error), " is no expression: it is longer than 4096 bytes"));
    error_free(error);
    arena_end(&arena);
}

static void sides_that_do_not_count_are_not_read(void **state)
{
    static const struct {
        const char *source;
        size_t reads;
    } cases[] = {
        {"heads ?? missing", 1},
        {"missing ?? heads", 2},
        {"no && heads", 1},
        {"yes && heads", 2},
        {"yes || heads", 1},
        {"no || heads", 2},
        {"heads + heads", 2},
    };
    (void)state;
    struct scope scope = config_scope();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct value value;
        print_message("%s\n", cases[i].source);
        find_count = 0;
        assert_null(expression_evaluate(expression_of(cases[i].source), &scope, &value));
        assert_int_equal(find_count, cases[i].reads);
    }
    arena_end(&arena);
}

static void numbers_and_booleans_stand_for_themselves(void **state)
{
    static const struct {
        const char *json, *want; /* a value, or an error */
    } cases[] = {
        {"5", "5"},
        {"-1", "-1"},
        {"2.5", "2.5"},
        {"true", "true"},
        {"null", "r.json:1:1: an expression must be a string, not null"},
        {"[1]", "r.json:1:1: an expression must be a string, not a list"},
        {"{}", "r.json:1:1: an expression must be a string, not an object"},
    };
    (void)state;
    struct scope scope = config_scope();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct expression *expression = NULL;
        print_message("%s\n", cases[i].json);
        struct error *error =
            expression_parse(&arena, parse(cases[i].json, JSON_STRICT), &expression);
        if (error != NULL) {
            check_error(error, cases[i].want);
            continue;
        }
        struct value value;
        assert_null(expression_evaluate(expression, &scope, &value));
        assert_string_equal(show(&value), cases[i].want);
        assert_true(text_is(expression_source(expression), cases[i].json));
    }
    arena_end(&arena);
}

static void expression_lists_its_names(void **state)
{
    (void)state;
    const struct expression *expression = expression_of("a + text_config.b * len(c) - true + a");
    static const char *const names[] = {"a", "text_config.b", "c", "a", ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_true(text_is(expression_name(expression, i), names[i]));
    assert_true(name_is_identifier(TEXT_LITERAL("a_1")));
    assert_true(name_is_identifier(TEXT_LITERAL("_")));
    static const char *const others[] = {
        "", "1a", "a.b", "a-b", "true", "false", "null", "has", "len"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(name_is_identifier(text_of(others[i])));
    arena_end(&arena);
}

static void condition_is_the_truth_of_the_value(void **state)
{
    bool holds = false;
    (void)state;
    struct scope scope = config_scope();
    assert_null(expression_condition(expression_of("heads"), &scope, &holds));
    assert_true(holds);
    assert_null(expression_condition(expression_of("missing"), &scope, &holds));
    assert_false(holds);
    check_error(expression_condition(expression_of("missing > 1"), &scope, &holds),
        "r.json:1:1: \"missing\" is null, not a number, in \"missing > 1\"");
    assert_false(holds);
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions_have_these_values),
        cmocka_unit_test(evaluation_errors_name_what_is_wrong),
        cmocka_unit_test(parse_errors_name_the_character),
        cmocka_unit_test(strings_and_patterns_are_checked_when_parsed),
        cmocka_unit_test(expressions_are_bounded_in_depth_and_length),
        cmocka_unit_test(sides_that_do_not_count_are_not_read),
        cmocka_unit_test(numbers_and_booleans_stand_for_themselves),
        cmocka_unit_test(expression_lists_its_names),
        cmocka_unit_test(condition_is_the_truth_of_the_value),
    };
    return cmocka_run_group_tests_name("expression", tests, NULL, NULL);
}
