/* test_build_aside.c - files of the user's that lie where an output will be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/state/state.h"
#include "tasks/registry.h"
#include "tests/support/conversion.h"
#include "tests/support/snapshot.h"
#include "tests/support/tree.h"

#define FOUR "\"bits\": 4"
#define ASIDE ".psybuild/aside/"
#define WARNING(path, kept)                                                                        \
    path " was there, and is not known to be psybuild's: kept as " ASIDE kept "\n"

static struct arena arena; /* of the running test */

static int end(void **state)
{
    arena_end(&arena);
    return conversion_end(state);
}

/* "out", a copy of that file. */
static void declare_copy(const char *from)
{
    tree_write("psybuild.json",
        arena_format(&arena,
            "{\"psybuild\": 1, \"artifacts\": {\"out\": {\"task\": \"copy\", \"in\": {\"files\": "
            "\"%s\"}}}}",
            from));
}

static void assert_reads(const char *path, const char *text)
{
    assert_string_equal(tree_read(&arena, path).bytes, text);
}

static void a_file_of_the_users_is_kept_aside(void **state)
{
    (void)state;
    tree_write(MODEL "/README.md", "mine");
    tree_write(MODEL "/model.safetensors", "mine, too");
    tree_write(MODEL "/notes.txt", "of nobody's concern");
    conversion_declare(FOUR);
    struct report report = conversion_make();
    assert_string_equal(report.warnings,
        WARNING(MODEL "/model.safetensors", MODEL "/model.safetensors")
            WARNING(MODEL "/README.md", MODEL "/README.md"));
    assert_reads(ASIDE MODEL "/README.md", "mine");
    assert_reads(ASIDE MODEL "/model.safetensors", "mine, too");
    assert_reads(MODEL "/notes.txt", "of nobody's concern");
    assert_true(conversion_is_null());
}

static void a_name_that_is_taken_gets_a_number(void **state)
{
    static const char *const kept[] = {ASIDE "out", ASIDE "out.1", ASIDE "out.2"};
    (void)state;
    tree_write("in", "made");
    declare_copy("in");
    for (int i = 0; i < 3; i++) {
        const char *text = arena_format(&arena, "version %d of mine", i);
        tree_write("out", text);
        struct report report = conversion_make();
        assert_string_equal(report.warnings,
            arena_format(
                &arena, "out was there, and is not known to be psybuild's: kept as %s\n", kept[i]));
        assert_reads("out", "made");
        assert_reads(kept[i], text);
        tree_remove(".psybuild/state"); /* as if it had never been made */
        tree_remove(".psybuild/compiled");
    }
    assert_reads(kept[0], "version 0 of mine");
}

static void equal_bytes_are_adopted(void **state)
{
    (void)state;
    conversion_declare(FOUR);
    conversion_make();
    struct snapshot made = snapshot_take(&arena, MODEL);
    tree_remove(".psybuild");
    struct report report = conversion_make();
    assert_string_equal(report.warnings, "");
    assert_false(tree_has(".psybuild/aside"));
    struct snapshot adopted = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&adopted, &made, "adopted");
}

static void an_edited_output_of_ours_is_kept_aside(void **state)
{
    (void)state;
    tree_write("in", "made");
    declare_copy("in");
    conversion_make();
    tree_write("out", "edited");
    struct report report = conversion_make();
    assert_string_equal(report.lines, "out: out is not what was made (edited?); sealed\n");
    assert_string_equal(
        report.warnings, "out was edited since it was made: kept as " ASIDE "out\n");
    assert_reads(ASIDE "out", "edited");
    assert_reads("out", "made");
}

/* A link is the user's, too; what it leads to is left alone. */
static void a_link_is_kept_and_not_followed(void **state)
{
    static const char *const targets[] = {"theirs", "/absolute", "nowhere"};
    char real[4096];
    (void)state;
    assert_non_null(getcwd(real, sizeof real));
    tree_write("in", "made");
    declare_copy("in");
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        bool is_absolute = targets[i][0] == '/';
        const char *target = is_absolute ? arena_format(&arena, "%s/theirs", real) : targets[i];
        struct stat status;
        char found[4096] = "";
        tree_write("theirs", "theirs");
        assert_int_equal(symlink(target, "out"), 0);
        struct report report = conversion_run(&(struct conversion){0});
        assert_string_equal(report.errors, "");
        assert_string_equal(report.warnings, WARNING("out", "out"));
        assert_reads("out", "made");
        assert_int_equal(lstat("out", &status), 0);
        assert_true(S_ISREG(status.st_mode));
        assert_reads("theirs", "theirs");
        assert_true(readlink(ASIDE "out", found, sizeof found - 1) > 0);
        assert_string_equal(found, target);
        tree_remove(".psybuild");
        tree_remove("out");
    }
}

static void a_file_in_the_place_of_a_download_is_kept(void **state)
{
    char here[4096], *identity;
    (void)state;
    assert_non_null(getcwd(here, sizeof here));
    tree_write("far.json", "{}");
    tree_assert_ok(registry.identify(&arena, "far.json", "sha256:", &identity));
    tree_write("m/config.json", "mine");
    tree_write("psybuild.json",
        arena_format(&arena,
            "{\"psybuild\": 1, \"sources\": {\"m\": {\"files\": {\"config.json\": {\"url\": "
            "\"file://%s/far.json\", \"hash\": \"%s\"}}}}}",
            here, identity));
    struct report report = conversion_run(&(struct conversion){.target = "m"});
    assert_string_equal(report.errors, "");
    assert_string_equal(report.warnings, WARNING("m/config.json", "m/config.json"));
    assert_reads("m/config.json", "{}");
    assert_reads(ASIDE "m/config.json", "mine");
}

/* Seven weights files become one: those that are still as they were made go. */
static void a_leftover_that_was_edited_stays(void **state)
{
    (void)state;
    conversion_declare("\"bits\": 4, \"max_shard_size\": \"100K\"");
    conversion_make();
    assert_true(tree_has(MODEL "/model-00001-of-00007.safetensors"));
    tree_write(MODEL "/model-00002-of-00007.safetensors", "mine now");
    conversion_declare(FOUR);
    struct report report = conversion_make();
    assert_string_equal(report.warnings, "");
    assert_false(tree_has(MODEL "/model-00001-of-00007.safetensors"));
    assert_false(tree_has(MODEL "/model-00003-of-00007.safetensors"));
    assert_reads(MODEL "/model-00002-of-00007.safetensors", "mine now");
    assert_true(conversion_is_null());
}

static void a_directory_in_an_outputs_place_stops_that_output_alone(void **state)
{
    (void)state;
    tree_write("in", "made");
    tree_write("out/mine", "mine");
    tree_write("psybuild.json",
        "{\"psybuild\": 1, \"artifacts\": {\"out\": {\"task\": \"copy\", \"in\": {\"files\": "
        "\"in\"}}, \"other\": {\"task\": \"copy\", \"in\": {\"files\": \"in\"}}}}");
    for (int i = 0; i < 2; i++) {
        struct report report = conversion_run(&(struct conversion){.target = "out"});
        assert_string_equal(report.errors,
            "out: expected a file or nothing, found a directory\n    while sealing .\n");
        report = conversion_run(&(struct conversion){.target = "other"});
        assert_string_equal(report.errors, "");
        assert_reads("other", "made");
        assert_reads("out/mine", "mine");
    }
    tree_remove("out");
    conversion_make();
    assert_reads("out", "made");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, conversion_begin, end)
        ROW(a_file_of_the_users_is_kept_aside),
        ROW(a_name_that_is_taken_gets_a_number),
        ROW(equal_bytes_are_adopted),
        ROW(an_edited_output_of_ours_is_kept_aside),
        ROW(a_link_is_kept_and_not_followed),
        ROW(a_file_in_the_place_of_a_download_is_kept),
        ROW(a_leftover_that_was_edited_stays),
        ROW(a_directory_in_an_outputs_place_stops_that_output_alone),
#undef ROW
    };
    return cmocka_run_group_tests_name("build, aside", tests, NULL, NULL);
}
