/* test_hub_files.c - hostile names, patterns, selections. */
#include "tasks/formats/hub_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define NAME(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

static void hostile_names_are_refused(void **state)
{
    static const struct {
        struct text path;
        const char *want; /* NULL: taken */
    } rows[] = {
        {NAME("config.json"), NULL},
        {NAME("a/b c/\xC3\xA9.txt"), NULL},
        {NAME("..a/b..c/.hidden"), NULL},
        {NAME(".gitattributes"), NULL},
        {NAME(".cache/huggingface2/x"), NULL},
        {NAME(""), "the hub's file name \"\" is empty: refused"},
        {NAME("/etc/passwd"), "the hub's file name \"/etc/passwd\" is absolute: refused"},
        {NAME("../x"), "the hub's file name \"../x\" has a component \".\" or \"..\": refused"},
        {NAME("a/./b"), "the hub's file name \"a/./b\" has a component \".\" or \"..\": refused"},
        {NAME("a/.."), "the hub's file name \"a/..\" has a component \".\" or \"..\": refused"},
        {NAME("a//b"), "the hub's file name \"a//b\" has an empty component: refused"},
        {NAME("a/"), "the hub's file name \"a/\" has an empty component: refused"},
        {NAME("a\\..\\b"), "the hub's file name \"a\\..\\b\" holds a backslash: refused"},
        {NAME("a\0b"), "the hub's file name \"a\\x00b\" holds a control character: refused"},
        {NAME("a\nb"), "the hub's file name \"a\\x0Ab\" holds a control character: refused"},
        {NAME("a\x7F"), "the hub's file name \"a\\x7F\" holds a control character: refused"},
        {NAME("a\xFF"), "the hub's file name \"a\\xFF\" is not UTF-8: refused"},
        {NAME("C:x"), "the hub's file name \"C:x\" begins with a drive letter: refused"},
        {NAME(".git/hooks/x"),
            "the hub's file name \".git/hooks/x\" lies in a \".git\" directory: refused"},
        {NAME("a/.GIT"), "the hub's file name \"a/.GIT\" lies in a \".git\" directory: refused"},
        {NAME(".Cache/HuggingFace/x"),
            "the hub's file name \".Cache/HuggingFace/x\" lies in \".cache/huggingface\": refused"},
        {NAME(".cache/huggingface"),
            "the hub's file name \".cache/huggingface\" lies in \".cache/huggingface\": refused"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error *error = hub_path_check(rows[i].path);
        const char *got = error == NULL ? "taken" : error_text(error);
        if (strcmp(got, rows[i].want == NULL ? "taken" : rows[i].want) != 0)
            fail_msg("row %zu: %s", i, got);
        error_free(error);
    }
}

static void long_names_are_refused(void **state)
{
    char path[5000];
    (void)state;
    memset(path, 'a', sizeof path);
    assert_null(hub_path_check((struct text){path, 246}));
    struct error *error = hub_path_check((struct text){path, 247});
    assert_non_null(error);
    assert_true(
        text_ends_with(text_of(error_text(error)), "\" has a component that is too long: refused"));
    error_free(error);
    for (size_t i = 100; i < sizeof path; i += 100)
        path[i] = '/';
    assert_null(hub_path_check((struct text){path, 4080}));
    error = hub_path_check((struct text){path, 4090});
    assert_non_null(error);
    assert_true(text_ends_with(text_of(error_text(error)), "\" is too long: refused"));
    error_free(error);
}

static void patterns_are_those_of_the_hub_client(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool want;
    } rows[] = {
        {"*.safetensors", "model.safetensors", true},
        {"*.safetensors", "a/b/model.safetensors", true},
        {"*.safetensors", "model.safetensors.bak", false},
        {"data/*.json", "data/a/b.json", true},
        {"data/*.json", "x/data/a.json", false},
        {"*", ".hidden/x", true},
        {"**", "a", true},
        {"", "", true},
        {"", "a", false},
        {"config.json", "Config.json", false},
        {"dir/", "dir/a/b", true},
        {"dir/", "dir", false},
        {"dir/", "xdir/a", false},
        {"*/", "a/b", true},
        {"*/", "a", false},
        {"a\\b", "a/b", true},
        {"?.txt", "a.txt", true},
        {"?.txt", "\xC3\xA9.txt", true},
        {"?.txt", "ab.txt", false},
        {"a?b", "a/b", true},
        {"[abc]", "b", true},
        {"[abc]", "d", false},
        {"[a-c]x", "bx", true},
        {"[!a-c]x", "bx", false},
        {"[!a-c]x", "dx", true},
        {"[^a]", "^", true},
        {"[^a]", "b", false},
        {"[]]", "]", true},
        {"[!]]", "]", false},
        {"[!]]", "a", true},
        {"[c-a]", "b", false},
        {"[bz-ac]", "c", true},
        {"[a-]", "-", true},
        {"[-a]", "-", true},
        {"[a-c-e]", "d", false},
        {"[a-c-e]", "-", true},
        {"[--0]", ".", true},
        {"[a", "[a", true},
        {"[!]", "[!]", true},
        {"[]", "[]", true},
        {"a[/]b", "a/b", true},
        {"[\xC3\xA0-\xC3\xBF]", "\xC3\xA9", true},
        {"model-*-of-*.safetensors", "model-00001-of-00004.safetensors", true},
        {"*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
        {"a.b", "axb", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (hub_pattern_matches(rows[i].pattern, rows[i].path) != rows[i].want)
            fail_msg("%s on %s", rows[i].pattern, rows[i].path);
}

static void filter_includes_first_and_then_excludes(void **state)
{
    static const char *const include[] = {"*.json", "model*"}, *const exclude[] = {"sub/*"};
    struct hub_filter filter = {
        .include = include, .exclude = exclude, .include_count = 2, .exclude_count = 1};
    struct hub_filter all = {0};
    (void)state;
    assert_true(hub_filter_keeps(&filter, "config.json"));
    assert_true(hub_filter_keeps(&filter, "model.safetensors"));
    assert_false(hub_filter_keeps(&filter, "sub/config.json"));
    assert_false(hub_filter_keeps(&filter, "README.md"));
    assert_true(hub_filter_keeps(&all, "README.md"));
}

static void selection_refuses_files_that_clash(void **state)
{
    static const char *const json[] = {"*.json"}, *const none[] = {"*.gguf"};
    static const struct hub_filter only_json = {.include = json, .include_count = 1};
    static const struct hub_filter only_none = {.include = none, .include_count = 1};
    static const struct {
        const char *paths[4];
        const struct hub_filter *filter;
        bool folds_case;
        const char *want; /* the paths chosen, or the error */
    } rows[] = {
        {{"b", "a/c", "a-b", NULL}, NULL, false, "a-b a/c b"},
        {{"B", "a", NULL}, NULL, true, "B a"},
        {{"b.json", "../x", NULL}, &only_json, false, "b.json"},
        {{"a", "b", "a", NULL}, NULL, false,
            "the hub's files \"a\" and \"a\" cannot both be written: refused"},
        {{"a", "a-b", "a/b", NULL}, NULL, false,
            "the hub's files \"a\" and \"a/b\" cannot both be written: refused"},
        {{"x/y", "x/y-z", "x/y/z/w", NULL}, NULL, false,
            "the hub's files \"x/y\" and \"x/y/z/w\" cannot both be written: refused"},
        {{"a", "A", NULL}, NULL, false, "A a"},
        {{"A/b", "a", NULL}, NULL, true,
            "the hub's files \"a\" and \"A/b\" cannot both be written: refused"},
        {{"a", "../x", NULL}, NULL, false,
            "the hub's file name \"../x\" has a component \".\" or \"..\": refused"},
        {{NULL}, NULL, false, "the repository holds no file"},
        {{"a.json", NULL}, &only_none, false,
            "no file of the repository matches \"include\" and \"exclude\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena = {0};
        struct hub_file items[4] = {{.path = NULL}};
        struct hub_files files = {.items = items}, chosen = {0};
        while (rows[i].paths[files.count] != NULL) {
            items[files.count].path = rows[i].paths[files.count];
            files.count++;
        }
        struct error *error =
            hub_select(&arena, &files, rows[i].filter, rows[i].folds_case, &chosen);
        const char *got = error == NULL ? "" : error_text(error);
        for (size_t k = 0; error == NULL && k < chosen.count; k++)
            got = arena_format(&arena, "%s%s%s", got, k > 0 ? " " : "", chosen.items[k].path);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("row %zu: %s", i, got);
        error_free(error);
        arena_end(&arena);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_names_are_refused),
        cmocka_unit_test(long_names_are_refused),
        cmocka_unit_test(patterns_are_those_of_the_hub_client),
        cmocka_unit_test(filter_includes_first_and_then_excludes),
        cmocka_unit_test(selection_refuses_files_that_clash),
    };
    return cmocka_run_group_tests_name("hub_files", tests, NULL, NULL);
}
