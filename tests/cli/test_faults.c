/* test_faults.c - what goes wrong around a build: each time a message that says what, the exit
 * code, nothing left behind that should not be, and a next run that makes it good.
 *
 * A test that needs the system to say no runs as an ordinary user, even if root runs the tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/wire.h"
#include "engine/state/store.h"
#include "tasks/registry.h"
#include "tests/support/program.h"
#include "tests/support/snapshot.h"
#include "tests/support/tree.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { NOBODY = 65534 };

static struct arena arena; /* of the running test */
static bool is_root;       /* before it began */

/* A copy, and a command in a directory of its own: two nodes. */
static const char manifest[] =
    "{\"psybuild\": 1, \"artifacts\": {"
    "\"a\": {\"task\": \"copy\", \"in\": {\"files\": \"in\"}}, "
    "\"sub/b\": {\"task\": \"exec\", \"in\": {\"files\": \"in\"}, \"with\": {\"command\": "
    "[\"sh\", \"-c\", \"echo made >>log; cp in $$0\", \"${out}\"]}}}}";

static int write_project(void)
{
    tree_write("in", "hello\n");
    tree_write("psybuild.json", manifest);
    return 0;
}

static int begin(void **state)
{
    return tree_begin(state) != 0 ? -1 : write_project();
}

static int end(void **state)
{
    arena_end(&arena);
    return tree_end(state);
}

/* Becomes another user and back. Both ids: a program of which they differ is not to be trusted with
 * its environment, and the leak sanitizer cannot look into it. */
static int become(uid_t user)
{
#ifdef __APPLE__
    return seteuid(user); /* the real id cannot come back */
#else
    return setresuid(user, user, 0);
#endif
}

/* The same for a user whom permissions bind. */
static int begin_bound(void **state)
{
    if (tree_begin(state) != 0)
        return -1;
    is_root = geteuid() == 0;
    if (is_root && (chown(".", NOBODY, NOBODY) != 0 || become(NOBODY) != 0))
        return -1;
    return write_project();
}

static int end_bound(void **state)
{
    if (is_root && become(0) != 0)
        return -1;
    return end(state);
}

static struct program run(const char *const *arguments)
{
    return program_run(&arena, arguments, NULL);
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

/* With -q, what is said is errors and warnings alone. */
static void assert_said(struct program program, int exit_code, const char *want)
{
    assert_string_equal(program.said.bytes, want);
    assert_int_equal(program.exit_code, exit_code);
}

static void assert_holds(const char *path, const char *want)
{
    assert_string_equal(tree_read(&arena, path).bytes, want);
}

static unsigned commands_run(void)
{
    unsigned lines = 0;
    if (tree_has("log"))
        for (const char *at = tree_read(&arena, "log").bytes; *at != '\0'; at++)
            lines += *at == '\n';
    return lines;
}

/* The next run makes both, the one after it has nothing to do, and nothing lies around. */
static void assert_heals_saying(const char *warnings)
{
    assert_said(RUN("-q"), 0, warnings);
    assert_said(RUN(NULL), 0, "psybuild: nothing to do\n");
    const char *in = tree_read(&arena, "in").bytes;
    assert_holds("a", in);
    assert_holds("sub/b", in);
    snapshot_assert_no_strays(&arena, "healed");
}

static void assert_heals(void)
{
    assert_heals_saying("");
}

/* ---- permissions ---- */

/* Another user may not reach a program that was built in root's own directory. */
static void need_program(void)
{
    if (RUN("--version").exit_code == 0)
        return;
    print_message("skipped: an ordinary user cannot run psybuild where it lies\n");
    skip();
}

static void a_source_that_may_not_be_read_fails_its_readers(void **state)
{
    (void)state;
    need_program();
    assert_int_equal(chmod("in", 0), 0);
    assert_said(RUN("-q", "a"), 1,
        "psybuild: error: in: cannot open: Permission denied\n    while planning a\n");
    assert_false(tree_has("a"));
    snapshot_assert_no_strays(&arena, "refused");
    assert_int_equal(chmod("in", 0644), 0);
    assert_heals();
}

static void a_directory_that_may_not_be_written_keeps_its_files(void **state)
{
    (void)state;
    need_program();
    assert_heals();
    tree_write("in", "changed\n");
    assert_int_equal(chmod("sub", 0555), 0);
    struct program program = RUN("-q", "sub/b");
    assert_int_equal(program.exit_code, 1);
    assert_non_null(
        strstr(program.said.bytes, "psybuild: error: sub/b: cannot replace: Permission denied\n"));
    assert_holds("sub/b", "hello\n");
    assert_int_equal(chmod("sub", 0755), 0);
    assert_int_equal(RUN("-q").exit_code, 0); /* says that it finishes what was begun */
    assert_heals();
}

static void a_read_only_psybuild_directory_is_enough_for_a_null_run(void **state)
{
    static const char denied[] =
        "psybuild: error: .psybuild/lock: cannot open: Permission denied\n";
    (void)state;
    need_program();
    assert_heals();
    assert_int_equal(chmod(".psybuild", 0555), 0);
    assert_int_equal(chmod(".psybuild/lock", 0444), 0);
    assert_said(RUN(NULL), 0, "psybuild: nothing to do\n");
    tree_write("in", "changed\n");
    assert_said(RUN(NULL), 1, denied);
    assert_holds("a", "hello\n");
    assert_int_equal(chmod(".psybuild", 0755), 0);
    assert_int_equal(chmod(".psybuild/lock", 0644), 0);
    assert_heals();
}

static void a_read_only_directory_is_left_as_it_is(void **state)
{
    (void)state;
    need_program();
    assert_int_equal(chmod(".", 0555), 0);
    assert_said(
        RUN(NULL), 1, "psybuild: error: .psybuild: cannot make the directory: Permission denied\n");
    assert_int_equal(chmod(".", 0755), 0);
    assert_heals();
}

static void a_state_that_may_not_be_read_stops_the_build(void **state)
{
    (void)state;
    need_program();
    assert_heals();
    tree_write("in", "changed\n");
    assert_int_equal(chmod(".psybuild/state", 0), 0);
    assert_said(RUN(NULL), 1, "psybuild: error: .psybuild/state: cannot open: Permission denied\n");
    assert_holds("a", "hello\n");
    assert_int_equal(chmod(".psybuild/state", 0644), 0);
    assert_heals();
}

/* ---- what is known ---- */

/* Another version or byte order in the header of a state. */
static void set_version(const char *path, uint32_t version)
{
    struct text text = tree_read(&arena, path);
    char *bytes = arena_copy(&arena, text.bytes, text.length);
    store_le32(bytes + 16, version);
    tree_write_bytes(path, bytes, text.length);
}

static void of_another_byte_order(void)
{
    set_version(".psybuild/state", UINT32_C(1) << 24);
}

static void of_no_version(void)
{
    set_version(".psybuild/state", 0);
}

static void cut_short(void)
{
    struct text text = tree_read(&arena, ".psybuild/state");
    tree_write_bytes(".psybuild/state", text.bytes, text.length / 2);
}

static void empty(void)
{
    tree_write(".psybuild/state", "");
}

static void garbage(void)
{
    tree_write(".psybuild/state", "garbage, longer than a header, and none that anybody wrote");
}

/* Nothing is made again of which the content can tell; a command can only be run again. */
static void a_damaged_state_is_told_of_and_replaced(void **state)
{
    static void (*const damages[])(void) = {
        of_another_byte_order, of_no_version, cut_short, empty, garbage};
    (void)state;
    assert_heals();
    for (size_t i = 0; i < COUNT(damages); i++) {
        struct file_stamp before, after;
        enum file_kind kind;
        unsigned commands = commands_run();
        damages[i]();
        tree_remove(".psybuild/compiled");
        tree_assert_ok(file_stat("a", &kind, &before));
        assert_said(RUN("-q"), 0,
            "psybuild: warning: the build state is damaged: outputs are compared by content or "
            "made again\n");
        tree_assert_ok(file_stat("a", &kind, &after));
        assert_true(file_stamp_equal(&before, &after));
        assert_int_equal(commands_run(), commands + 1);
        assert_heals();
    }
}

static void a_newer_state_is_refused_by_every_command_and_kept(void **state)
{
    static const char *const commands[][3] = {{"-q", "a", NULL}, {"-n", "a", NULL},
        {"-t", "verify", NULL}, {"-t", "list", NULL}, {"-t", "clean", NULL},
        {"-t", "explain", NULL}, {"-t", "graph", NULL}};
    (void)state;
    assert_heals();
    set_version(".psybuild/state", 4);
    tree_write("in", "changed\n");
    struct snapshot before = snapshot_take(&arena, ".");
    for (size_t i = 0; i < COUNT(commands); i++) {
        assert_said(run(commands[i]), 2,
            "psybuild: error: .psybuild/state: written by a newer psybuild (format 4, this one "
            "knows up to 3); remove it to start afresh\n");
        struct snapshot after = snapshot_take(&arena, ".");
        snapshot_assert_equal(&after, &before, commands[i][1]);
    }
    tree_remove(".psybuild/state");
    /* Nothing says any more whose the old files are: they are kept. */
    struct program program = RUN("-q");
    assert_int_equal(program.exit_code, 0);
    assert_non_null(strstr(program.said.bytes,
        "psybuild: warning: a was there, and is not known to be psybuild's: kept as "
        ".psybuild/aside/a\n"));
    assert_holds(".psybuild/aside/a", "hello\n");
    assert_holds(".psybuild/aside/sub/b", "hello\n");
    tree_remove(".psybuild/aside");
    assert_heals();
}

static void a_damaged_journal_is_told_of_and_removed(void **state)
{
    (void)state;
    assert_heals();
    tree_write(".psybuild/journal", "garbage");
    assert_said(RUN("-q"), 0,
        "psybuild: warning: the journal of the last build is damaged: what it had made is compared "
        "by content or made again\n");
    assert_heals();
}

static void a_damaged_compiled_file_costs_a_closer_look(void **state)
{
    (void)state;
    assert_heals();
    unsigned commands = commands_run();
    tree_write(".psybuild/compiled", "garbage");
    assert_heals();
    set_version(".psybuild/compiled", 2);
    assert_heals();
    assert_int_equal(commands_run(), commands);
}

static void without_psybuild_nothing_of_the_users_is_touched(void **state)
{
    (void)state;
    assert_heals();
    tree_write("sub/mine", "my own");
    tree_remove(".psybuild");
    struct snapshot before = snapshot_take(&arena, "sub");
    assert_heals();
    struct snapshot after = snapshot_take(&arena, "sub");
    snapshot_assert_equal(&after, &before, "made again");
}

static void what_lies_in_the_place_of_psybuild_is_left(void **state)
{
    (void)state;
    tree_write(".psybuild", "my own");
    assert_said(
        RUN(NULL), 1, "psybuild: error: .psybuild: cannot make the directory: File exists\n");
    assert_holds(".psybuild", "my own");
    tree_remove(".psybuild");
    assert_heals();
}

/* ---- other manifests ---- */

#define OTHER                                                                                      \
    "{\"psybuild\": 1, \"artifacts\": {\"c\": {\"task\": \"copy\", \"in\": {\"files\": \"in\"}}}}"

static void another_manifest_leaves_what_the_first_made(void **state)
{
    (void)state;
    assert_heals();
    tree_write("other.json", OTHER);
    assert_said(RUN("-q", "-f", "other.json"), 0, "");
    assert_said(
        RUN("-f", "other.json", "-t", "clean", "--dead"), 0, "psybuild: 0 files removed, 0 B\n");
    assert_said(RUN("-t", "clean", "--dead"), 0, "psybuild: 0 files removed, 0 B\n");
    unsigned commands = commands_run();
    assert_heals();
    assert_int_equal(commands_run(), commands);
    assert_holds("c", "hello\n");
    assert_said(RUN("-f", "other.json"), 0, "psybuild: nothing to do\n");
}

static void a_line_removed_removes_no_file(void **state)
{
    (void)state;
    assert_heals();
    tree_write("psybuild.json", OTHER);
    struct program program = RUN(NULL);
    assert_int_equal(program.exit_code, 0);
    assert_non_null(strstr(program.said.bytes,
        "psybuild: 2 files left the manifest; psybuild -t clean --dead removes them\n"));
    assert_holds("a", "hello\n");
    assert_holds("sub/b", "hello\n");
}

static void clean_dead_leaves_what_was_edited(void **state)
{
    (void)state;
    assert_heals();
    tree_write("psybuild.json", OTHER);
    assert_int_equal(RUN("-q").exit_code, 0);
    tree_write("sub/b", "my own");
    assert_said(RUN("-t", "clean", "--dead"), 0,
        "psybuild: warning: sub/b is not what psybuild made any more: it stays\n"
        "psybuild: 1 file removed, 6 B\n");
    assert_false(tree_has("a"));
    assert_holds("sub/b", "my own");
}

static void a_source_that_vanished_is_named_and_its_reader_kept(void **state)
{
    (void)state;
    assert_heals();
    tree_remove("in");
    struct program program = RUN(NULL);
    assert_int_equal(program.exit_code, 2);
    assert_non_null(strstr(program.said.bytes,
        "psybuild: error: psybuild.json:1:69: no such file: \"in\" is neither in a source, nor "
        "made by a node, nor on disk\n"));
    assert_holds("a", "hello\n");
    tree_write("in", "back\n");
    assert_heals();
}

/* ---- times ---- */

static void set_mtime(const char *path, time_t seconds)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* As after a clock that went backwards, or a file unpacked from an archive. */
static void a_change_counts_whatever_its_time(void **state)
{
    static const time_t times[] = {86400, 4102444800, 0, 86400};
    (void)state;
    assert_heals();
    for (size_t i = 0; i < COUNT(times); i++) {
        tree_write("in", arena_format(&arena, "change %zu\n", i)); /* always of one length */
        set_mtime("in", times[i]);
        assert_heals();
        unsigned commands = commands_run();
        set_mtime("in", times[i] + 1);
        set_mtime("a", times[COUNT(times) - 1 - i]);
        assert_heals();
        assert_int_equal(commands_run(), commands);
    }
}

/* As a fault of the disk leaves it: other bytes, the same stamp. */
static void damage_unseen(const char *path)
{
    struct text text = tree_read(&arena, path);
    char *bytes = arena_copy(&arena, text.bytes, text.length);
    struct state *known;
    enum file_kind kind;
    bytes[0] ^= 1;
    tree_write_bytes(path, bytes, text.length);
    tree_assert_ok(state_load(&arena, STATE_DIRECTORY, &known));
    uint32_t file = map_get(&known->file_by_path, path);
    assert_int_not_equal(file, MAP_NONE);
    tree_assert_ok(file_stat(path, &kind, &known->files[file].stamp));
    tree_assert_ok(state_save(known, STATE_DIRECTORY));
    tree_remove(".psybuild/compiled");
}

static void damage_under_the_same_stamp_is_found_by_verify_and_mended(void **state)
{
    static const char *const paths[] = {"a", "sub/b"};
    (void)state;
    assert_heals();
    for (size_t i = 0; i < COUNT(paths); i++) {
        damage_unseen(paths[i]);
        assert_said(RUN(NULL), 0, "psybuild: nothing to do\n");
        struct program program = RUN("-t", "verify");
        assert_int_equal(program.exit_code, 3);
        assert_non_null(
            strstr(program.said.bytes, arena_format(&arena, "damaged: %s: tree hash ", paths[i])));
        assert_heals_saying(arena_format(&arena,
            "psybuild: warning: %s: %s is damaged: it has the stamp of what was made, and other "
            "bytes; it is made again\n",
            paths[i], paths[i]));
        assert_false(tree_has(".psybuild/aside"));
        assert_int_equal(RUN("-t", "verify").exit_code, 0);
    }
}

/* ---- standard descriptors ---- */

/* What is said must not go into a file that got such a number: the lock, the journal, an output. */
static void without_standard_descriptors_no_file_is_written_to(void **state)
{
    static const char *const plain[] = {"--progress=plain", "-v", NULL};
    (void)state;
    for (unsigned closed = 1; closed < 8; closed++) {
        char *in = arena_format(&arena, "change %u\n", closed);
        tree_write("in", in);
        tree_write("sub/mine", "my own\n");
        struct program program = program_start_closed(&arena, plain, closed);
        program_end(&program);
        if (program.exit_code != 0)
            fail_msg("without %u: %d, %s", closed, program.exit_code, program.said.bytes);
        assert_holds(".psybuild/lock", "");
        assert_holds("a", in);
        assert_holds("sub/b", in);
        assert_holds("in", in);
        assert_holds("sub/mine", "my own\n");
        assert_holds("psybuild.json", manifest);
        snapshot_assert_no_strays(&arena, "closed");
        assert_int_equal(RUN("-t", "verify").exit_code, 0);
        assert_int_equal(commands_run(), closed);
        assert_heals();
    }
}

/* ---- two at once ---- */

static void the_second_of_two_waits_and_finds_nothing_to_do(void **state)
{
    static const char *const plain[] = {"--progress=plain", NULL};
    (void)state;
    tree_write("psybuild.json",
        "{\"psybuild\": 1, \"artifacts\": {\"a\": {\"task\": \"exec\", \"in\": {\"files\": "
        "\"in\"}, "
        "\"with\": {\"command\": [\"sh\", \"-c\", \"echo made >>log; until test -e go; do sleep "
        "0.01; done; cp in $$0\", \"${out}\"]}}}}");
    struct program first = program_start(&arena, plain, NULL);
    while (!tree_has("log"))
        assert_true(program_is_running(&first));
    const char *holder =
        arena_format(&arena, "another psybuild is at work here (process %ld)", (long)first.id);
    assert_said(RUN("--no-wait"), 1, arena_format(&arena, "psybuild: error: %s\n", holder));
    struct program second = program_start(&arena, plain, NULL);
    assert_true(program_wait_for(&second, holder));
    tree_write("go", "");
    program_end(&first);
    program_end(&second);
    assert_int_equal(first.exit_code, 0);
    assert_said(second, 0,
        arena_format(&arena, "psybuild: waiting: %s\npsybuild: nothing to do\n", holder));
    assert_int_equal(commands_run(), 1);
    assert_holds("a", "hello\n");
    snapshot_assert_no_strays(&arena, "both");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, begin, end)
#define BOUND(name) cmocka_unit_test_setup_teardown(name, begin_bound, end_bound)
        BOUND(a_source_that_may_not_be_read_fails_its_readers),
        BOUND(a_directory_that_may_not_be_written_keeps_its_files),
        BOUND(a_read_only_psybuild_directory_is_enough_for_a_null_run),
        BOUND(a_read_only_directory_is_left_as_it_is),
        BOUND(a_state_that_may_not_be_read_stops_the_build),
        ROW(a_damaged_state_is_told_of_and_replaced),
        ROW(a_newer_state_is_refused_by_every_command_and_kept),
        ROW(a_damaged_journal_is_told_of_and_removed),
        ROW(a_damaged_compiled_file_costs_a_closer_look),
        ROW(without_psybuild_nothing_of_the_users_is_touched),
        ROW(what_lies_in_the_place_of_psybuild_is_left),
        ROW(another_manifest_leaves_what_the_first_made),
        ROW(a_line_removed_removes_no_file),
        ROW(clean_dead_leaves_what_was_edited),
        ROW(a_source_that_vanished_is_named_and_its_reader_kept),
        ROW(a_change_counts_whatever_its_time),
        ROW(damage_under_the_same_stamp_is_found_by_verify_and_mended),
        ROW(without_standard_descriptors_no_file_is_written_to),
        ROW(the_second_of_two_waits_and_finds_nothing_to_do),
#undef BOUND
#undef ROW
    };
    program_find();
    return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
