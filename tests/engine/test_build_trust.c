/* test_build_trust.c - what others left: a journal that names anything, and a directory of another
 * user's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/directory.h"
#include "engine/state/journal.h"
#include "engine/state/store.h"
#include "tests/support/project.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define MANIFEST                                                                                   \
    "{\"psybuild\": 1, \"sources\": {\"src\": {\"dir\": \"src\"}}, \"artifacts\": {\"out/a\": "    \
    "{\"task\": \"copy\", \"in\": {\"files\": \"src/a\"}}}}"
enum { STRANGER = 54321 };

static void begin_project(void)
{
    tree_write("psybuild.json", MANIFEST);
    tree_write("src/a", "a");
    tree_write("src/precious", "precious");
    tree_write("notes.txt", "mine");
}

static struct file_stamp stamp_of(const char *path)
{
    struct file_stamp stamp;
    enum file_kind kind;
    tree_assert_ok(file_stat_itself(path, &kind, &stamp));
    return stamp;
}

static void assert_holds(const char *path, const char *want)
{
    struct arena arena = {0};
    assert_string_equal(tree_read(&arena, path).bytes, want);
    arena_end(&arena);
}

/* As if a build had been killed before that move. */
static void forge(struct move move)
{
    struct arena arena = {0};
    struct state *state = NULL;
    struct record record = {.name = "out/a", .manifest = "psybuild.json"};
    struct intent intent = {.moves = &move, .move_count = 1, .records = &record, .record_count = 1};
    move.to = move.to == NULL ? "" : move.to;
    move.place = move.place == NULL ? "" : move.place;
    tree_assert_ok(file_make_directories(".psybuild"));
    tree_assert_ok(state_load(&arena, ".psybuild", &state));
    tree_assert_ok(journal_open(state, ".psybuild"));
    tree_assert_ok(journal_put_intent(state, ".psybuild", &intent));
    file_close(state->journal);
    arena_end(&arena);
}

/* ---- a journal ---- */

static void a_forged_journal_moves_nothing_of_others(void **state)
{
    char outside[4096];
    (void)state;
    begin_project();
    tree_write("outside/file", "of others");
    tree_write("tree/psybuild.json", MANIFEST);
    tree_write("tree/src/a", "a");
    tree_write("tree/src/precious", "precious");
    assert_non_null(getcwd(outside, sizeof outside - 20));
    strcat(outside, "/outside/file");
    assert_int_equal(chdir("tree"), 0);
    const struct move moves[] = {
        {.kind = MOVE_AWAY, .from = "../outside/file"},
        {.kind = MOVE_AWAY, .from = outside},
        {.kind = MOVE_AWAY, .from = ".psybuild/../../outside/file"},
        {.kind = MOVE_AWAY, .from = "src/precious"},
        {.kind = MOVE_AWAY, .from = "src/a"},
        {.kind = MOVE_IN, .from = "src/a", .to = "../outside/file"},
        {.kind = MOVE_IN, .from = ".psybuild/partial/x", .to = "../outside/file"},
        {.kind = MOVE_IN, .from = ".psybuild/partial/x", .to = "src/precious"},
        {.kind = MOVE_LAST, .from = ".psybuild/partial/x", .to = outside},
        {.kind = MOVE_HIDE, .from = "src/precious", .to = ".psybuild/partial/old"},
        {.kind = MOVE_HIDE, .from = "src/a", .to = "../outside/new"},
        {.kind = MOVE_END, .from = "../outside/file"},
        {.kind = MOVE_IN, .from = ".psybuild/partial/x", .to = "out/a", .place = outside},
    };
    for (size_t i = 0; i < COUNT(moves); i++) {
        struct move move = moves[i];
        struct project_run run = {0};
        print_message("row %zu\n", i);
        if (strncmp(move.from, ".psybuild/partial/", 18) == 0)
            tree_write(".psybuild/partial/x", "forged");
        move.stamp = stamp_of(move.from);
        forge(move);
        tree_assert_ok(project_run(&run));
        assert_int_equal(run.failures, 1); /* out/a: its rename is not finished */
        assert_non_null(strstr(run.said, ".psybuild/journal: an unfinished rename names \""));
        project_run_end(&run);
        assert_holds("../outside/file", "of others");
        assert_holds("src/precious", "precious");
        assert_holds("src/a", "a");
        assert_false(tree_has("../outside/new"));
        tree_remove(".psybuild");
    }
    project_assert_run("stale out/a: it was never made\n"
                       "sealed out/a\n");
}

/* ---- owners ---- */

static void need_root(void)
{
    if (geteuid() == 0)
        return;
    print_message("skipped: only root can give a directory to another user\n");
    skip();
}

static uid_t owner_of(const char *path)
{
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    return status.st_uid;
}

static void the_directory_of_another_user_is_not_obeyed(void **state)
{
    struct project_run run = {0}, dry = {.is_dry = true};
    (void)state;
    need_root();
    begin_project();
    tree_assert_ok(project_run(&run));
    project_run_end(&run);
    assert_int_equal(lchown(".psybuild", STRANGER, STRANGER), 0);
    run = (struct project_run){0};
    static const char said[] =
        ".psybuild belongs to another user (54321, you are 0): what it says is not obeyed; remove "
        "it, or run psybuild as that user\n";
    tree_assert_report(project_run(&run), said);
    tree_assert_report(project_run(&dry), said);
    project_run_end(&run);
    project_run_end(&dry);
}

static void what_root_makes_belongs_to_the_owner_of_the_directory(void **state)
{
    struct project_run run = {0};
    (void)state;
    need_root();
    begin_project();
    assert_int_equal(lchown(".", STRANGER, STRANGER), 0);
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 0);
    project_run_end(&run);
    static const char *const made[] = {
        ".psybuild", ".psybuild/state", ".psybuild/lock", ".psybuild/compiled", "out", "out/a"};
    for (size_t i = 0; i < COUNT(made); i++) {
        print_message("%s\n", made[i]);
        assert_int_equal(owner_of(made[i]), STRANGER);
    }
    run = (struct project_run){0}; /* root again: the directory is his who has the tree */
    tree_assert_ok(project_run(&run));
    assert_true(run.is_null);
    project_run_end(&run);
}

#define TREE_TEST(test) cmocka_unit_test_setup_teardown(test, tree_begin, tree_end)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TREE_TEST(a_forged_journal_moves_nothing_of_others),
        TREE_TEST(the_directory_of_another_user_is_not_obeyed),
        TREE_TEST(what_root_makes_belongs_to_the_owner_of_the_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
