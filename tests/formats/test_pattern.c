/* test_pattern.c - what patterns match and capture, what targets make of it, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tasks/formats/pattern.h"

static struct arena arena;

static const struct pattern *compile(const char *source)
{
    const struct pattern *pattern = NULL;
    const char *complaint = NULL;
    assert_null(pattern_compile(&arena, text_of(source), &pattern, &complaint));
    assert_null(complaint);
    assert_non_null(pattern);
    return pattern;
}

/* "i=3 p=up_proj", as the test's rows have it. */
static const char *show_captures(const struct captures *captures)
{
    const char *shown = "";
    for (size_t i = 0; i < captures->count; i++) {
        const struct capture *capture = &captures->items[i];
        shown = arena_format(&arena, "%s%s%.*s%s%.*s", shown, i > 0 ? " " : "",
            (int)capture->name.length, capture->name.bytes, capture->is_number ? "=#" : "=",
            (int)capture->text.length, capture->text.bytes);
    }
    return shown;
}

static void pattern_matches_whole_names_and_captures(void **state)
{
    static const struct {
        const char *pattern, *name, *captures; /* NULL: no match */
    } cases[] = {
        {"lm_head.weight", "lm_head.weight", ""},
        {"lm_head.weight", "lm_head.weights", NULL},
        {"lm_head.weight", "xlm_head.weight", NULL},
        {"lm_head", "", NULL},
        {"*", "", ""},
        {"*", "a.b", ""},
        {"a*", "a", ""},
        {"*a", "ba", ""},
        {"*inv_freq*", "model.layers.0.self_attn.rotary_emb.inv_freq", ""},
        {"*inv_freq*", "inv_freq", ""},
        {"*inv_freq*", "inv_fre", NULL},
        {"*a*b*c*", "xaxbxcx", ""},
        {"*a*b*c*", "xcxbxax", NULL},
        {"layers.{i}.w", "layers.12.w", "i=#12"},
        {"layers.{i}.w", "layers.007.w", "i=#007"},
        {"layers.{i}.w", "layers..w", NULL},
        {"layers.{i}.w", "layers.1a.w", NULL},
        {"layers.{i}.w", "layers.-1.w", NULL},
        {"{i}5", "15", NULL}, /* a number takes every digit */
        {"{i}.{e}", "3.14", "i=#3 e=#14"},
        {"{p:gate|up}_proj", "up_proj", "p=up"},
        {"{p:gate|up}_proj", "down_proj", NULL},
        {"x{p:|.a}.w", "x.w", "p="},
        {"x{p:|.a}.w", "x.a.w", "p=.a"},
        {"{p:a|ab}c", "abc", "p=ab"},
        {"{p:a|ab}{q:bc|c}", "abc", "p=a q=bc"},
        {"{x*}.weight", "a.b.weight", "x=a.b"},
        {"{x*}.weight", ".weight", "x="},
        {"{x*}.{y*}", "a.b.c", "x=a.b y=c"}, /* as much as it can */
        {"{x*}_{y*}b", "a_a_ab", "x=a_a y=a"},
        {"{p:a|b}.{p}", "b.b", "p=b"},
        {"{p:a|b}.{p}", "a.b", NULL},
        {"{i}.{i}", "1.01", NULL},
        {"{x*}.{x}", "ab.ab", "x=ab"},
        {"{x*}{x}", "aaaa", "x=aa"},
        {"{x*}{x}", "aaa", NULL},
        {"m{x*}{x}{y*}", "mababc", "x=ab y=c"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct captures captures = {.count = 99};
        print_message("%s on %s\n", cases[i].pattern, cases[i].name);
        const struct pattern *pattern = compile(cases[i].pattern);
        bool matches = pattern_match(pattern, text_of(cases[i].name), &captures);
        assert_int_equal(matches, pattern_match(pattern, text_of(cases[i].name), NULL));
        assert_int_equal(matches, cases[i].captures != NULL);
        if (matches)
            assert_string_equal(show_captures(&captures), cases[i].captures);
        else
            assert_int_equal(captures.count, 99);
    }
    arena_end(&arena);
}

static void pattern_refuses_what_it_cannot_match(void **state)
{
    static const char braces[] = "a capture is \"{i}\", \"{x*}\" or \"{p:a|b}\"";
    const struct {
        const char *source, *complaint;
    } cases[] = {
        {"", "it must have 1 to 1024 bytes"},
        {"a}", "\"}\" has no \"{\" before it"},
        {"a{i", "\"{\" has no \"}\" after it"},
        {"{}", braces},
        {"{1}", braces},
        {"{x**}", braces},
        {"{x*y}", braces},
        {"{len}", braces},
        {"{a b}", braces},
        {"{p:a*}", "alternatives are plain text"},
        {"{p:a|{q}}", "alternatives are plain text"},
        {"{p:a|b}{p:a|b}", "a capture is described once and then repeated as \"{p}\""},
        {"{x*}{x*}", "a capture is described once and then repeated as \"{p}\""},
        {"*********", "it has more than 8 of \"*\", \"{x*}\" and \"{p:a|b}\""},
        {"{a}{b}{c}{d}{e}{f}{g}{h}{i}", "it has more than 8 captures"},
        {"*{x*}*{x}", "beside a repeated capture it may have 2 of \"*\", \"{x*}\" and "
                      "\"{p:a|b}\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct pattern *pattern = NULL;
        const char *complaint = NULL;
        print_message("%s\n", cases[i].source);
        assert_null(pattern_compile(&arena, text_of(cases[i].source), &pattern, &complaint));
        assert_null(pattern);
        assert_non_null(complaint);
        assert_string_equal(complaint, cases[i].complaint);
    }
    arena_end(&arena);
}

static void pattern_refuses_nul_and_too_many_parts(void **state)
{
    const struct pattern *pattern = NULL;
    const char *complaint = NULL;
    char alternatives[512] = "{p:", parts[256] = "";
    (void)state;
    assert_null(pattern_compile(&arena, (struct text){"a\0b", 3}, &pattern, &complaint));
    assert_string_equal(complaint, "it holds a NUL character");
    for (int i = 0; i < 64; i++)
        strcat(alternatives, "a|");
    strcat(alternatives, "a}");
    assert_null(pattern_compile(&arena, text_of(alternatives), &pattern, &complaint));
    assert_string_equal(complaint, "it has more than 64 alternatives");
    strcat(parts, "{i}");
    for (int i = 0; i < 32; i++)
        strcat(parts, ".{i}");
    assert_null(pattern_compile(&arena, text_of(parts), &pattern, &complaint));
    assert_string_equal(complaint, "it has too many parts");
    assert_null(pattern);
    arena_end(&arena);
}

/* Without a memory of what failed these would take longer than the universe has. */
static void pattern_match_is_bounded(void **state)
{
    static char name[PATTERN_NAME_MAX + 2];
    (void)state;
    memset(name, 'a', PATTERN_NAME_MAX);
    assert_false(pattern_match(compile("*a*a*a*a*a*a*a*b"), text_of(name), NULL));
    assert_true(pattern_match(compile("*a*a*a*a*a*a*a*a"), text_of(name), NULL));
    assert_false(pattern_match(
        compile("{a:a|a|aa}{b:a|a|aa}{c:a|a|aa}{d:a|a|aa}{e:a|a|aa}*b"), text_of(name), NULL));
    assert_false(pattern_match(compile("{x*}{y*}{x}b"), text_of(name), NULL));
    name[PATTERN_NAME_MAX] = 'a';
    assert_false(pattern_match(compile("*"), text_of(name), NULL));
    arena_end(&arena);
}

static const struct json *parse(const char *text)
{
    const struct json_document *document = NULL;
    assert_null(json_parse(&arena, "r.json", text_of(text), JSON_STRICT, &document));
    return &document->root;
}

static void check_error(struct error *error, const char *want)
{
    assert_non_null(error);
    assert_string_equal(error_text(error), want);
    error_free(error);
}

static void errors_name_the_place(void **state)
{
    const struct pattern *pattern = NULL;
    const struct target *target = NULL;
    (void)state;
    check_error(pattern_parse(&arena, &parse("[\n 5]")->items[0], &pattern),
        "r.json:2:2: a pattern must be a string, not 5");
    check_error(pattern_parse(&arena, parse("\"a{\""), &pattern),
        "r.json:1:1: \"a{\" is no pattern: \"{\" has no \"}\" after it");
    check_error(target_parse(&arena, parse("null"), &target),
        "r.json:1:1: a name must be a string, not null");
    assert_null(pattern);
    assert_null(target);
    arena_end(&arena);
}

static void target_puts_captures_in(void **state)
{
    static const struct {
        const char *pattern, *name, *target, *want;
    } cases[] = {
        {"a.{i}.{x*}", "a.7.b.c", "\"m.{x}.{i}\"", "m.b.c.7"},
        {"a.{i}.{x*}", "a.7.", "\"{x}{x}{i}{i}\"", "77"},
        {"a.{i}.{x*}", "a.7.b", "\"plain\"", "plain"},
        {"{p:|.q}w", ".qw", "\"w{p}\"", "w.q"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct captures captures;
        const struct target *target = NULL;
        print_message("%s\n", cases[i].target);
        assert_true(pattern_match(compile(cases[i].pattern), text_of(cases[i].name), &captures));
        assert_null(target_parse(&arena, parse(cases[i].target), &target));
        struct text name = target_expand(&arena, target, &captures);
        assert_string_equal(name.bytes, cases[i].want);
        assert_int_equal(name.length, strlen(cases[i].want));
    }
    arena_end(&arena);
}

static void target_lists_its_variables(void **state)
{
    const struct target *target = NULL;
    (void)state;
    assert_null(target_parse(&arena, parse("\"a.{i}.b.{x}{i}\""), &target));
    assert_true(text_is(target_variable(target, 0), "i"));
    assert_true(text_is(target_variable(target, 1), "x"));
    assert_true(text_is(target_variable(target, 2), "i"));
    assert_int_equal(target_variable(target, 3).length, 0);
    assert_true(text_is(target_source(target), "a.{i}.b.{x}{i}"));
    assert_true(pattern_has_capture(compile("{i}.{x*}"), TEXT_LITERAL("x")));
    assert_false(pattern_has_capture(compile("{i}.{x*}"), TEXT_LITERAL("y")));
    assert_string_equal(pattern_source(compile("{i}.*")).bytes, "{i}.*");
    arena_end(&arena);
}

static void target_refuses_what_is_no_name(void **state)
{
    static const struct {
        const char *json, *want;
    } cases[] = {
        {"\"\"", "r.json:1:1: \"\" is no name: it must have 1 to 1024 bytes"},
        {"\"a*\"", "r.json:1:1: \"a*\" is no name: it may not hold \"*\", \"}\" or NUL"},
        {"\"a}\"", "r.json:1:1: \"a}\" is no name: it may not hold \"*\", \"}\" or NUL"},
        {"\"a\\u0000\"",
            "r.json:1:1: \"a\\u0000\" is no name: it may not hold \"*\", \"}\" or NUL"},
        {"\"a{i\"", "r.json:1:1: \"a{i\" is no name: \"{\" has no \"}\" after it"},
        {"\"{i{j}}\"", "r.json:1:1: \"{i{j}}\" is no name: \"{\" has no \"}\" after it"},
        {"\"{x*}\"",
            "r.json:1:1: \"{x*}\" is no name: a variable is a name in braces, such as \"{i}\""},
        {"\"{a}{b}{a}{b}{a}{b}{a}{b}{a}{b}{a}{b}{a}{b}{a}{b}{a}{b}\"",
            "r.json:1:1: \"{a}{b}{a}{b}{a}{b}{a}{b}{a}{b}{a}{b}{a}{b}{a}{b}{a}{b}\" is no name: it "
            "has too many parts"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct target *target = NULL;
        print_message("%s\n", cases[i].json);
        check_error(target_parse(&arena, parse(cases[i].json), &target), cases[i].want);
        assert_null(target);
    }
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pattern_matches_whole_names_and_captures),
        cmocka_unit_test(pattern_refuses_what_it_cannot_match),
        cmocka_unit_test(pattern_refuses_nul_and_too_many_parts),
        cmocka_unit_test(pattern_match_is_bounded),
        cmocka_unit_test(errors_name_the_place),
        cmocka_unit_test(target_puts_captures_in),
        cmocka_unit_test(target_lists_its_variables),
        cmocka_unit_test(target_refuses_what_is_no_name),
    };
    return cmocka_run_group_tests_name("pattern", tests, NULL, NULL);
}
