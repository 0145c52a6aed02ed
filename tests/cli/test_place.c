/* test_place.c - finding the manifest, and typed paths seen from it. */
#include "cli/place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/tree.h"

static struct arena arena;

static int end(void **state)
{
    arena_end(&arena);
    return tree_end(state);
}

static struct place find(const char *directory, const char *manifest)
{
    struct options options = {.directory = directory, .manifest = manifest};
    struct place place;
    tree_assert_ok(place_open(&arena, &options, &place));
    tree_assert_ok(place_find_manifest(&arena, &options, &place));
    return place;
}

static void paths_are_made_absolute_by_text(void **state)
{
    static const struct {
        const char *base, *path, *want;
    } cases[] = {
        {"/a/b", "c", "/a/b/c"},
        {"/a/b", "./c//d/", "/a/b/c/d"},
        {"/a/b", "../c", "/a/c"},
        {"/a", "../../..", "/"},
        {"/a", "/b/./c/../d", "/b/d"},
        {"/", "a", "/a"},
        {"/a", ".", "/a"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *out;
        tree_assert_ok(place_absolute(&arena, cases[i].base, cases[i].path, &out));
        assert_string_equal(out, cases[i].want);
    }
}

static void the_nearest_manifest_upward_counts(void **state)
{
    (void)state;
    tree_write("psybuild.json", "{}");
    tree_write("a/psybuild.json", "{}");
    tree_write("a/b/c/file", "");
    struct place place = find("a/b/c", NULL);
    assert_string_equal(path_base(place.directory), "a");
    assert_string_equal(place.manifest, "psybuild.json");
    assert_true(place.is_elsewhere);
    assert_int_equal(access("b/c/file", R_OK), 0); /* it is the working directory now */
}

static void a_named_manifest_is_used_where_it_lies(void **state)
{
    (void)state;
    tree_write("a/other.json", "{}");
    struct place place = find(NULL, "a/other.json");
    assert_string_equal(path_base(place.directory), "a");
    assert_string_equal(place.manifest, "other.json");
}

static void a_name_that_is_no_file_is_an_installed_manifest(void **state)
{
    (void)state;
    struct place place = find(NULL, "PsyLLM-mlx");
    assert_string_equal(place.manifest, "PsyLLM-mlx");
    assert_string_equal(place.directory, place.origin);
    assert_false(place.is_elsewhere);
}

static void targets_are_seen_from_where_the_user_is(void **state)
{
    static const struct {
        const char *path, *want;
    } cases[] = {
        {"m", "models/m"},
        {"./m/", "models/m"},
        {"../models/m/a*.json", "models/m/a*.json"},
        {"..", ""},
        {"../other", "other"},
    };
    (void)state;
    tree_write("psybuild.json", "{}");
    tree_write("models/m/file", "");
    struct place place = find("models", NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *target;
        tree_assert_ok(place_target(&arena, &place, cases[i].path, &target));
        assert_string_equal(target, cases[i].want);
    }
}

static void a_target_may_be_absolute_and_pass_through_links(void **state)
{
    const char *target;
    (void)state;
    tree_write("real/psybuild.json", "{}");
    assert_int_equal(symlink("real", "link"), 0);
    struct place place = find("real", NULL);
    const char *top = path_directory(&arena, place.directory);
    tree_assert_ok(place_target(&arena, &place, arena_format(&arena, "%s/real/m", top), &target));
    assert_string_equal(target, "m");
    tree_assert_ok(place_target(&arena, &place, arena_format(&arena, "%s/link/x/y", top), &target));
    assert_string_equal(target, "x/y");
}

static void a_target_outside_is_refused(void **state)
{
    const char *target;
    (void)state;
    tree_write("a/psybuild.json", "{}");
    struct place place = find("a", NULL);
    struct error *error = place_target(&arena, &place, "../b", &target);
    tree_assert_report(
        error, arena_format(&arena, "target \"../b\" lies outside of the manifest's directory %s\n",
                   place.directory));
    tree_assert_report(place_target(&arena, &place, "", &target), "a target must not be empty\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(paths_are_made_absolute_by_text, tree_begin, end),
        cmocka_unit_test_setup_teardown(the_nearest_manifest_upward_counts, tree_begin, end),
        cmocka_unit_test_setup_teardown(a_named_manifest_is_used_where_it_lies, tree_begin, end),
        cmocka_unit_test_setup_teardown(
            a_name_that_is_no_file_is_an_installed_manifest, tree_begin, end),
        cmocka_unit_test_setup_teardown(targets_are_seen_from_where_the_user_is, tree_begin, end),
        cmocka_unit_test_setup_teardown(
            a_target_may_be_absolute_and_pass_through_links, tree_begin, end),
        cmocka_unit_test_setup_teardown(a_target_outside_is_refused, tree_begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
