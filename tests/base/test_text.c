/* test_text.c - bytes, names, paths, globs and sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/text.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void text_compares_by_bytes_and_shorter_first(void **state)
{
    const struct {
        struct text a, b;
        int sign;
    } cases[] = {
        {TEXT_LITERAL(""), TEXT_LITERAL(""), 0},
        {TEXT_LITERAL(""), TEXT_LITERAL("a"), -1},
        {TEXT_LITERAL("a"), TEXT_LITERAL("a\0"), -1},
        {TEXT_LITERAL("a\0b"), TEXT_LITERAL("a\0b"), 0},
        {TEXT_LITERAL("b"), TEXT_LITERAL("ab"), 1},
        {TEXT_LITERAL("\xC3\xA9"), TEXT_LITERAL("z"), 1},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("row %zu\n", i);
        int order = text_compare(cases[i].a, cases[i].b);
        assert_int_equal((order > 0) - (order < 0), cases[i].sign);
        order = text_compare(cases[i].b, cases[i].a);
        assert_int_equal((order > 0) - (order < 0), -cases[i].sign);
        assert_int_equal(text_equal(cases[i].a, cases[i].b), cases[i].sign == 0);
    }
}

static void text_finds_beginnings_ends_and_parts(void **state)
{
    struct text text = TEXT_LITERAL("model.safetensors");
    (void)state;
    assert_true(text_starts_with(text, "") && text_starts_with(text, "model"));
    assert_false(text_starts_with(text, "model.safetensors2"));
    assert_true(text_ends_with(text, "") && text_ends_with(text, ".safetensors"));
    assert_false(text_ends_with(text, "a model.safetensors"));
    assert_true(text_contains(text, "") && text_contains(text, "safe"));
    assert_true(text_contains(text, "ors") && text_contains(text, "model.safetensors"));
    assert_true(text_contains(TEXT_LITERAL("aab"), "ab"));
    assert_false(text_contains(text, "sensors") || text_contains(TEXT_EMPTY, "a"));
    assert_true(text_is(text_of(NULL), "") && text_is(text, "model.safetensors"));
}

static void utf8_is_strict(void **state)
{
    const struct {
        struct text text;
        bool is_utf8;
    } cases[] = {
        {TEXT_LITERAL(""), true},
        {TEXT_LITERAL("a\0b"), true},
        {TEXT_LITERAL("\xC2\x80\xDF\xBF"), true},
        {TEXT_LITERAL("\xE0\xA0\x80\xEF\xBF\xBF"), true},
        {TEXT_LITERAL("\xED\x9F\xBF\xEE\x80\x80"), true},
        {TEXT_LITERAL("\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"), true},
        {TEXT_LITERAL("\x80"), false},             /* a continuation alone */
        {TEXT_LITERAL("\xC1\xBF"), false},         /* overlong */
        {TEXT_LITERAL("\xE0\x9F\xBF"), false},     /* overlong */
        {TEXT_LITERAL("\xF0\x8F\xBF\xBF"), false}, /* overlong */
        {TEXT_LITERAL("\xED\xA0\x80"), false},     /* a surrogate */
        {TEXT_LITERAL("\xF4\x90\x80\x80"), false}, /* past U+10FFFF */
        {TEXT_LITERAL("\xF5\x80\x80\x80"), false},
        {TEXT_LITERAL("a\xC3"), false}, /* cut */
        {TEXT_LITERAL("\xE2\x82"), false},
        {TEXT_LITERAL("\xE2\x82x"), false},
        {TEXT_LITERAL("\xFF"), false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("row %zu\n", i);
        assert_int_equal(text_is_utf8(cases[i].text), cases[i].is_utf8);
    }
}

static void characters_decode_to_code_points(void **state)
{
    static const struct {
        const char *text;
        size_t length;
        uint32_t code_point;
    } cases[] = {
        {"a", 1, 'a'},
        {"\xC3\xA9x", 2, 0xE9},
        {"\xE2\x82\xAC", 3, 0x20AC},
        {"\xF0\x9F\x98\x80", 4, 0x1F600},
        {"\xF4\x8F\xBF\xBF", 4, 0x10FFFF},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint32_t code_point = 0;
        print_message("row %zu\n", i);
        assert_int_equal(text_decode(text_of(cases[i].text), &code_point), cases[i].length);
        assert_int_equal(code_point, cases[i].code_point);
    }
}

static void printable_text_cannot_harm_a_terminal(void **state)
{
    const struct {
        struct text text;
        const char *want;
    } cases[] = {
        {TEXT_LITERAL("model \xC3\xA9"), "model \xC3\xA9"},
        {TEXT_LITERAL("a\x1B[31m\nb\0c\x7F"), "a\\x1B[31m\\x0Ab\\x00c\\x7F"},
        {TEXT_LITERAL("\xFFz\xC3"), "\\xFFz\\xC3"},
        {TEXT_LITERAL("\xC2\x9B"), "\\xC2\\x9B"},
        {TEXT_LITERAL("a\xE2\x80\xAE"
                      "b"),
            "a\\xE2\\x80\\xAE"
            "b"},
    };
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(text_printable(&arena, cases[i].text), cases[i].want);
    arena_end(&arena);
}

static void printable_text_is_cut_between_characters(void **state)
{
    char bytes[203];
    (void)state;
    struct arena arena = {0};
    memset(bytes, 'x', sizeof bytes);
    char *whole = text_printable(&arena, (struct text){bytes, 200});
    assert_int_equal(strlen(whole), 200);
    char *cut = text_printable(&arena, (struct text){bytes, 201});
    assert_int_equal(strlen(cut), 203);
    assert_string_equal(cut + 200, "...");
    memcpy(bytes + 199, "\xC3\xA9", 2);
    cut = text_printable(&arena, (struct text){bytes, 202});
    assert_int_equal(strlen(cut), 202);
    assert_string_equal(cut + 199, "...");
    arena_end(&arena);
}

static void nearest_word_is_suggested(void **state)
{
    static const char *const words[] = {"bits", "group_size", "mode", "overrides"};
    static const struct {
        const char *word, *want;
    } cases[] = {
        {"bit", "bits"},
        {"btis", "bits"},
        {"groupsize", "group_size"},
        {"group-size", "group_size"},
        {"modes", "mode"},
        {"override", "overrides"},
        {"x", NULL},
        {"", NULL},
        {"quantize", NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *found = text_suggest(cases[i].word, words, COUNT(words));
        print_message("%s\n", cases[i].word);
        if (cases[i].want == NULL)
            assert_null(found);
        else
            assert_string_equal(found, cases[i].want);
    }
    char endless[400];
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_null(text_suggest(endless, words, COUNT(words)));
    assert_null(text_suggest("bits", (const char *const[]){endless}, 1));
}

static void normal_paths_are_told_from_others(void **state)
{
    static const char *const normal[] = {"a", "a/b", ".a", "a/..b/c...", "a b", "*"};
    static const char *const others[] = {
        "", "/", "/a", "a/", "a//b", ".", "..", "a/.", "./a", "a/../b"};
    (void)state;
    for (size_t i = 0; i < COUNT(normal); i++) {
        print_message("\"%s\"\n", normal[i]);
        assert_true(path_is_normal(normal[i]));
    }
    for (size_t i = 0; i < COUNT(others); i++) {
        print_message("\"%s\"\n", others[i]);
        assert_false(path_is_normal(others[i]));
    }
}

static void paths_become_normal_and_stay_inside(void **state)
{
    static const struct {
        const char *base, *path, *want;
    } cases[] = {
        {"", "a", "a"},
        {"", "a//b/./c/", "a/b/c"},
        {"m", "../n/x", "n/x"},
        {"m/n", "..", "m"},
        {"m/n", "../..", ""},
        {"m", "", "m"},
        {"", ".", ""},
        {"m", "../../m", NULL},
        {"", "..", NULL},
        {"", "a/../../a", NULL},
        {"m", "/etc/passwd", NULL},
        {"m", "..a/...", "m/..a/..."},
    };
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *out = NULL;
        print_message("\"%s\" + \"%s\"\n", cases[i].base, cases[i].path);
        assert_true(path_normalize(&arena, cases[i].base, cases[i].path, &out));
        if (cases[i].want == NULL)
            assert_null(out);
        else
            assert_string_equal(out, cases[i].want);
    }
    arena_end(&arena);
}

static void paths_are_taken_apart_and_put_together(void **state)
{
    (void)state;
    struct arena arena = {0};
    assert_string_equal(path_base("a/b/c"), "c");
    assert_string_equal(path_base("c"), "c");
    assert_string_equal(path_directory(&arena, "a/b/c"), "a/b");
    assert_string_equal(path_directory(&arena, "c"), "");
    assert_string_equal(path_join(&arena, "a/b", "c"), "a/b/c");
    assert_string_equal(path_join(&arena, "", "c"), "c");
    assert_true(path_is_below("a/b", "a") && path_is_below("a", ""));
    assert_false(path_is_below("a", "a") || path_is_below("ab", "a"));
    assert_false(path_is_below("a/", "a") || path_is_below("", ""));
    arena_end(&arena);
}

static void globs_match_within_a_component(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool matches;
    } cases[] = {
        {"model*.safetensors", "model.safetensors", true},
        {"model*.safetensors", "model-00001-of-00002.safetensors", true},
        {"model*.safetensors", "model/x.safetensors", false},
        {"a/*", "a/b", true},
        {"a/*", "a/b/c", false},
        {"*/*", "a/b", true},
        {"*", "", true},
        {"*", "a/b", false},
        {"?", "\xC3\xA9", true},
        {"?", "/", false},
        {"?", "", false},
        {"??", "\xC3\xA9", false},
        {"a*b*c", "aXbXbXc", true},
        {"a*b*c", "aXbXbX", false},
        {"*.py", "x.pyc", false},
        {"[a]", "[a]", true},
        {"[a]", "a", false},
        {"", "", true},
        {"", "a", false},
        {"**", "abc", true},
        {"a*/c", "ab/d", false},
        {"*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("%s: %s\n", cases[i].pattern, cases[i].path);
        assert_int_equal(glob_match(cases[i].pattern, cases[i].path), cases[i].matches);
    }
    assert_true(glob_is_pattern("a*") && glob_is_pattern("?"));
    assert_false(glob_is_pattern("a[b]") || glob_is_pattern(""));
}

static void sizes_are_printed_for_people(void **state)
{
    static const struct {
        uint64_t size_bytes;
        const char *want;
    } cases[] = {
        {0, "0 B"},
        {17, "17 B"},
        {999, "999 B"},
        {1000, "1.0 kB"},
        {1499, "1.5 kB"},
        {9949, "9.9 kB"},
        {9950, "10 kB"},
        {312000, "312 kB"},
        {999499, "999 kB"},
        {999500, "1.0 MB"},
        {1500000000, "1.5 GB"},
        {16381516688, "16 GB"},
        {UINT64_MAX, "18 EB"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char buffer[SIZE_TEXT_MAX];
        assert_string_equal(size_print(buffer, cases[i].size_bytes), cases[i].want);
    }
}

static void sizes_are_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t want;
    } cases[] = {
        {"0", 0},
        {"4096", 4096},
        {"17B", 17},
        {"32M", UINT64_C(32) << 20},
        {"1k", 1024},
        {"5GiB", UINT64_C(5) << 30},
        {"5GB", UINT64_C(5) << 30},
        {"20 GB", UINT64_C(20) << 30},
        {"8192T", UINT64_C(1) << 53},
        {"9007199254740992", UINT64_C(1) << 53},
    };
    static const char *const refused[] = {"", " ", "G", "-1", "1.5G", "5X", "5Gi", "5 ", " 5",
        "5GBB", "5iB", "8193T", "9007199254740993", "99999999999999999999999", "5  G", "0x10"};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t size = 1;
        print_message("%s\n", cases[i].text);
        assert_true(size_parse(text_of(cases[i].text), &size));
        assert_true(size == cases[i].want);
    }
    for (size_t i = 0; i < COUNT(refused); i++) {
        uint64_t size = 1;
        print_message("\"%s\"\n", refused[i]);
        assert_false(size_parse(text_of(refused[i]), &size));
        assert_true(size == 1);
    }
}

static void parts_are_cut_out_and_trimmed(void **state)
{
    (void)state;
    struct text text = TEXT_LITERAL(" \tab c\n ");
    assert_true(text_is(text_cut(text, 2, 4), "ab"));
    assert_true(text_is(text_from(text, 5), "c\n "));
    assert_int_equal(text_from(text, text.length).length, 0);
    assert_true(text_is(text_trim(text, TEXT_BLANKS), "ab c"));
    assert_true(text_is(text_trim(text, " "), "\tab c\n"));
    assert_int_equal(text_trim(TEXT_LITERAL("  "), " ").length, 0);
    assert_int_equal(text_trim(TEXT_LITERAL("\0"), TEXT_BLANKS).length, 1);
}

static void digits_are_told_from_others(void **state)
{
    (void)state;
    for (int c = -128; c < 256; c++) {
        const char *place = c > 0 ? strchr("0123456789abcdefABCDEF", c) : NULL;
        assert_int_equal(char_hex_value(c) >= 0, place != NULL);
        assert_int_equal(char_is_digit(c), c > 0 && strchr("0123456789", c) != NULL);
        assert_int_equal(char_is_blank(c), c > 0 && strchr(TEXT_BLANKS, c) != NULL);
    }
    assert_int_equal(char_hex_value('f'), 15);
    assert_int_equal(char_hex_value('A'), 10);
    char hex[7];
    assert_string_equal(text_write_hex(hex, "\x01\xAB\xF0", 3), "01abf0");
    assert_true(text_is_hex(TEXT_LITERAL("01abf0"), 6));
    assert_false(text_is_hex(TEXT_LITERAL("01abf0"), 5));
    assert_false(text_is_hex(TEXT_LITERAL("01ABF0"), 6));
    assert_false(text_is_hex(TEXT_LITERAL("01abg0"), 6));
}

static void numbers_at_the_beginning_are_read(void **state)
{
    uint64_t number = 7;
    (void)state;
    assert_int_equal(text_read_u64(TEXT_LITERAL("0042x"), &number), 4);
    assert_int_equal(number, 42);
    assert_int_equal(text_read_u64(TEXT_LITERAL(""), &number), 0);
    assert_int_equal(text_read_u64(TEXT_LITERAL("x1"), &number), 0);
    assert_int_equal(text_read_u64(TEXT_LITERAL("18446744073709551616"), &number), 0);
    assert_false(text_to_u64(TEXT_LITERAL("1x"), &number));
    assert_int_equal(number, 42);
}

static void secrets_are_hidden(void **state)
{
    static const struct {
        const char *text, *secret, *want;
    } cases[] = {
        {"a token", "token", "a *****"},
        {"tokentoken, toke", "token", "**********, toke"},
        {"aaaaa", "aa", "****a"},
        {"ttoken", "token", "t*****"},
        {"token", NULL, "token"},
        {"token", "", "token"},
        {"", "token", ""},
        {"tok", "token", "tok"},
    };
    struct arena arena = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(
            text_hide(&arena, text_of(cases[i].text), cases[i].secret), cases[i].want);
    struct text with_nul = {"\0token\0", 7};
    assert_memory_equal(text_hide(&arena, with_nul, "token"), "\0*****\0", 7);
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_compares_by_bytes_and_shorter_first),
        cmocka_unit_test(text_finds_beginnings_ends_and_parts),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(characters_decode_to_code_points),
        cmocka_unit_test(printable_text_cannot_harm_a_terminal),
        cmocka_unit_test(printable_text_is_cut_between_characters),
        cmocka_unit_test(nearest_word_is_suggested),
        cmocka_unit_test(normal_paths_are_told_from_others),
        cmocka_unit_test(paths_become_normal_and_stay_inside),
        cmocka_unit_test(paths_are_taken_apart_and_put_together),
        cmocka_unit_test(globs_match_within_a_component),
        cmocka_unit_test(sizes_are_printed_for_people),
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(parts_are_cut_out_and_trimmed),
        cmocka_unit_test(digits_are_told_from_others),
        cmocka_unit_test(numbers_at_the_beginning_are_read),
        cmocka_unit_test(secrets_are_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
