/* test_build_edits.c - what people do to outputs, to the cache and to directories between builds:
 * no byte of theirs is lost, and no build fails for what is only a hint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/state/store.h"
#include "tasks/registry.h"
#include "tests/support/turns.h"

/* Words that must be in messages, whatever else they say. */
#define WORD_ASIDE "aside"
#define WORD_DAMAGED "damaged"

#define CACHE "\"cache\": {\"path\": \"cache\"}, "
#define COPY(from) "{\"task\": \"copy\", \"in\": {\"files\": \"" from "\"}}"
#define FOUR "\"bits\": 4"

enum { NOBODY = 65534 };

static bool is_root; /* before the running test began */

static int become(uid_t user)
{
#ifdef __APPLE__
    return seteuid(user); /* the real id cannot come back */
#else
    return setresuid(user, user, 0);
#endif
}

/* ---- 10: edits ---- */

/* A line more. */
static void append_line(const char *path)
{
    struct text text = tree_read(turns_arena(), path);
    tree_write(path, turns_format("%s{# mine #}\n", text.bytes));
}

static void add_key(const char *path)
{
    struct text text = tree_read(turns_arena(), path);
    assert_int_equal(text.bytes[0], '{');
    tree_write(path, turns_format("{\n    \"mine\": true,%s", text.bytes + 1));
}

/* Of equal size. */
static void change_byte(const char *path)
{
    turns_flip(path, tree_read(turns_arena(), path).length - 2);
}

static void cut_it(const char *path)
{
    assert_int_equal(truncate(path, 10), 0);
}

struct edit {
    const char *path;
    void (*make)(const char *path);
};

static const struct edit edits[] = {
    {TURNS_MODEL "/chat_template.jinja", append_line},
    {TURNS_MODEL "/config.json", add_key},
    {TURNS_MODEL "/config.json", change_byte},
    {TURNS_MODEL "/README.md", change_byte},
    {TURNS_MODEL "/model.safetensors", change_byte},
    {TURNS_MODEL "/tokenizer.json", cut_it},
};

static void assert_is_said(const char *said, const char *word, const char *path)
{
    if (strstr(said, word) == NULL || strstr(said, path) == NULL)
        fail_msg("neither \"%s\" nor %s in: %s", word, path, said);
}

/* The next run warns, keeps what was edited, and makes the file as before; then all is forgotten
 * that was set aside. */
static void assert_is_set_aside(const char *path, struct text edited, const char *when)
{
    assert_is_said(turns_build(when), WORD_ASIDE, path);
    const char *kept = turns_format(TURNS_ASIDE "%s", path);
    if (!tree_has(kept) || !text_equal(tree_read(turns_arena(), kept), edited))
        fail_msg("%s: the edited %s is not kept", when, path);
    if (turns_is_somewhere("cache", edited))
        fail_msg("%s: the edited %s is in the cache", when, path);
    turns_assert_done(when);
    tree_remove(".psybuild/aside");
}

static void edit_each(const char *members, void (*between)(const char *path))
{
    turns_declare_model(members, FOUR);
    turns_build("at first");
    struct snapshot made = snapshot_take(turns_arena(), TURNS_MODEL);
    for (size_t i = 0; i < TURNS_COUNT(edits); i++) {
        edits[i].make(edits[i].path);
        struct text edited = tree_read(turns_arena(), edits[i].path);
        if (between != NULL)
            between(edits[i].path);
        assert_is_set_aside(edits[i].path, edited, turns_format("edit %zu", i));
        struct snapshot mended = snapshot_take(turns_arena(), TURNS_MODEL);
        snapshot_assert_equal(&mended, &made, turns_format("edit %zu", i));
    }
}

static void an_edited_output_is_set_aside_with_a_warning(void **state)
{
    (void)state;
    edit_each("", NULL);
}

static void an_edited_output_goes_into_no_cache(void **state)
{
    (void)state;
    edit_each(CACHE, NULL);
}

static void say_it_dry(const char *path)
{
    static const char *const arguments[] = {"-n", NULL};
    struct snapshot before = snapshot_take(turns_arena(), ".");
    struct program program = program_run(turns_arena(), arguments, NULL);
    assert_int_equal(program.exit_code, 0);
    assert_is_said(program.said.bytes, WORD_ASIDE, path);
    struct snapshot after = snapshot_take(turns_arena(), ".");
    snapshot_assert_equal(&after, &before, "after -n");
}

static void what_would_be_set_aside_is_said_beforehand(void **state)
{
    (void)state;
    edit_each("", say_it_dry);
}

static void verify(const char *path)
{
    struct program program = TURNS_RUN("-t", "verify");
    turns_assert_ended(&program, 3, path);
}

static void an_edit_that_verify_has_seen_is_set_aside(void **state)
{
    (void)state;
    edit_each("", verify);
}

static void an_edit_is_set_aside_whatever_else_is_new(void **state)
{
    static const char *const with[] = {"\"bits\": 8", FOUR, "\"bits\": 8", FOUR};
    (void)state;
    turns_declare_model(CACHE, FOUR);
    turns_build("at first");
    for (size_t i = 0; i < TURNS_COUNT(with); i++) { /* in the end it comes from the cache */
        add_key(TURNS_MODEL "/config.json");
        struct text edited = tree_read(turns_arena(), TURNS_MODEL "/config.json");
        turns_declare_model(CACHE, with[i]);
        assert_is_set_aside(TURNS_MODEL "/config.json", edited, turns_format("turn %zu", i));
    }
}

static void an_edit_is_set_aside_though_the_target_is_forced(void **state)
{
    (void)state;
    turns_declare_model("", FOUR);
    turns_build("at first");
    append_line(TURNS_MODEL "/chat_template.jinja");
    struct text edited = tree_read(turns_arena(), TURNS_MODEL "/chat_template.jinja");
    assert_int_equal(TURNS_RUN("-B").exit_code, 0);
    assert_true(text_equal(
        tree_read(turns_arena(), TURNS_ASIDE TURNS_MODEL "/chat_template.jinja"), edited));
}

/* What people put in an output's place is not always a file. */
static void a_link_in_the_place_of_an_output_is_set_aside(void **state)
{
    char found[64] = "";
    (void)state;
    tree_write("in", "made");
    turns_declare("", "\"out\": " COPY("in"));
    turns_build("at first");
    tree_write("theirs", "theirs");
    tree_remove("out");
    assert_int_equal(symlink("theirs", "out"), 0);
    assert_is_said(turns_build("linked"), WORD_ASIDE, "out");
    assert_true(readlink(TURNS_ASIDE "out", found, sizeof found - 1) > 0);
    assert_string_equal(found, "theirs");
    assert_true(turns_holds("theirs", "theirs"));
    assert_true(turns_holds("out", "made"));
}

static void what_lies_where_a_file_was_given_back_is_set_aside(void **state)
{
    (void)state;
    tree_write("in", "one");
    turns_declare("", "\"middle\": {\"task\": \"copy\", \"in\": {\"files\": \"in\"}, \"keep\": "
                      "\"until-used\"}, \"out\": " COPY("middle"));
    turns_build("at first");
    assert_false(tree_has("middle"));
    tree_write("middle", "mine");
    tree_write("in", "two");
    turns_build("with one of the user's");
    assert_true(turns_holds("out", "two"));
    assert_true(turns_is_somewhere(".", text_of("mine")));
}

/* A source of one file, by its address. */
static void declare_far(void)
{
    char here[4096], *identity;
    assert_non_null(getcwd(here, sizeof here));
    tree_write("far.jinja", "{{ messages }}\n");
    tree_assert_ok(registry.identify(turns_arena(), "far.jinja", "sha256:", &identity));
    turns_declare(turns_format("\"sources\": {\"near\": {\"files\": {\"x.jinja\": {\"url\": "
                               "\"file://%s/far.jinja\", \"hash\": \"%s\"}}}}, ",
                      here, identity),
        "\"out\": " COPY("near/x.jinja"));
}

static void an_edited_download_is_set_aside(void **state)
{
    static const struct edit rows[] = {
        {"near/x.jinja", append_line}, {"near/x.jinja", change_byte}, {"near/x.jinja", cut_it}};
    (void)state;
    declare_far();
    turns_build("at first");
    for (size_t i = 0; i < TURNS_COUNT(rows); i++) {
        rows[i].make(rows[i].path);
        struct text edited = tree_read(turns_arena(), rows[i].path);
        assert_is_set_aside(rows[i].path, edited, turns_format("edit %zu", i));
        assert_true(turns_is_same("near/x.jinja", "far.jinja"));
        assert_true(turns_is_same("out", "far.jinja"));
    }
}

/* As a fault of the disk leaves it: other bytes, the same stamp. */
static void damage(const char *path)
{
    struct state *known;
    enum file_kind kind;
    turns_flip(path, 0);
    tree_assert_ok(state_load(turns_arena(), STATE_DIRECTORY, &known));
    uint32_t file = map_get(&known->file_by_path, path);
    assert_int_not_equal(file, MAP_NONE);
    tree_assert_ok(file_stat(path, &kind, &known->files[file].stamp));
    tree_assert_ok(state_save(known, STATE_DIRECTORY));
    tree_remove(".psybuild/compiled");
}

static void damage_is_mended_and_said_to_be_damage(void **state)
{
    static const char *const explain[] = {"-d", "explain", NULL};
    static const char *const paths[] = {"near/x.jinja", "out"};
    (void)state;
    declare_far();
    for (size_t i = 0; i < TURNS_COUNT(paths); i++) {
        turns_build("before");
        damage(paths[i]);
        verify(paths[i]);
        struct program program = program_run(turns_arena(), explain, NULL);
        assert_int_equal(program.exit_code, 0);
        assert_is_said(program.said.bytes, WORD_DAMAGED, paths[i]);
        assert_true(turns_is_same(paths[i], "far.jinja"));
        assert_false(tree_has(".psybuild/aside"));
        turns_assert_done("mended");
    }
}

static void an_edit_of_what_was_damaged_is_an_edit(void **state)
{
    (void)state;
    tree_write("in", "made\n");
    turns_declare("", "\"out\": " COPY("in"));
    turns_build("before");
    damage("out");
    verify("out");
    tree_write("out", "mine\n");
    assert_is_set_aside("out", text_of("mine\n"), "edited after the damage");
    assert_true(turns_holds("out", "made\n"));
}

/* What is known without a look at the state knows nothing of what verify found. */
static void a_mark_counts_whatever_becomes_of_its_record(void **state)
{
    (void)state;
    tree_write("in", "made\n");
    turns_declare("", "\"out\": " COPY("in"));
    turns_build("before");
    damage("out");
    turns_build("unseen");
    turns_assert_done("unseen");
    verify("out");
    struct program program = TURNS_RUN("-t", "clean", "out");
    assert_int_equal(program.exit_code, 0);
    turns_build("after clean");
    assert_true(turns_is_same("in", "out"));
}

/* ---- 13: what is set aside ---- */

static void what_is_set_aside_keeps_its_times(void **state)
{
    enum { LONG_AGO = 1000000000 };
    (void)state;
    tree_write("in", "made");
    tree_write("out", "mine");
    turns_set_mtime("out", LONG_AGO);
    turns_declare("", "\"out\": " COPY("in"));
    turns_build("over a file of the user's");
    assert_true(turns_holds(TURNS_ASIDE "out", "mine"));
    assert_int_equal(turns_mtime(TURNS_ASIDE "out"), LONG_AGO);
}

/* ---- 9: hints that fail ---- */

/* As a user whom permissions bind, even if root runs the tests. */
static int begin_bound(void **state)
{
    if (turns_begin(state) != 0)
        return -1;
    is_root = geteuid() == 0;
    return is_root && (chown(".", NOBODY, NOBODY) != 0 || become(NOBODY) != 0) ? -1 : 0;
}

static int end_bound(void **state)
{
    return is_root && become(0) != 0 ? -1 : turns_end(state);
}

/* After two turns that have filled it, something becomes of the cache; two more follow. What was
 * made is known to be made. */
static void build_on(void (*spoil)(void), bool has_null_run)
{
    for (unsigned turn = 0; turn < 4; turn++) {
        const char *when = turns_format("turn %u", turn);
        tree_write("in", when);
        turns_declare(CACHE, "\"out\": " COPY("in") ", \"other\": " COPY("in"));
        if (turn == 2)
            spoil();
        turns_build(when);
        assert_true(turns_is_same("in", "out"));
        assert_true(turns_is_same("in", "other"));
        if (has_null_run)
            turns_assert_done(when);
    }
}

static void put_a_file_there(void)
{
    tree_remove("cache");
    tree_write("cache", "mine");
}

/* ---- nodes that take another name ---- */

#define BOTH "{\"task\": \"copy\", \"in\": {\"files\": [\"in/x.txt\", \"in/y.txt\"]}}"

static void what_another_node_made_is_ours(void **state)
{
    static const char apart[] = "\"d/x*\": " COPY("in/x.txt") ", \"d/y.txt\": " COPY("in/y.txt");
    (void)state;
    tree_write("in/x.txt", "x\n");
    tree_write("in/y.txt", "y\n");
    turns_declare("", "\"d/*.txt\": " BOTH);
    turns_build("together");
    turns_declare("", apart);
    tree_write("in/x.txt", "x, too\n");
    turns_build("apart");
    struct program program = TURNS_RUN("-t", "clean", "--dead");
    assert_int_equal(program.exit_code, 0);
    assert_true(turns_is_same("in/x.txt", "d/x.txt") && turns_is_same("in/y.txt", "d/y.txt"));
    turns_declare("", "\"d/*.txt\": " BOTH);
    assert_string_equal(turns_build("together again"), "");
    assert_true(turns_is_same("in/x.txt", "d/x.txt"));
    assert_false(tree_has(".psybuild/aside"));
    turns_assert_done("together again");
}

static void a_file_in_the_place_of_the_cache_fails_no_build(void **state)
{
    (void)state;
    build_on(put_a_file_there, true);
    assert_true(turns_holds("cache", "mine"));
}

static void put_a_link_to_nowhere_there(void)
{
    tree_remove("cache");
    assert_int_equal(symlink("/nonexistent/cache", "cache"), 0);
}

static void a_link_to_nowhere_in_the_place_of_the_cache_fails_no_build(void **state)
{
    (void)state;
    build_on(put_a_link_to_nowhere_there, true);
}

static void forbid_the_tag(void)
{
    tree_remove("cache/CACHEDIR.TAG");
    tree_write("cache/CACHEDIR.TAG.tmp/in", "the way"); /* today's name of its temporary */
}

static void a_cache_without_a_tag_fails_no_build(void **state)
{
    (void)state;
    build_on(forbid_the_tag, true);
}

static void forbid_the_compiled_file(void)
{
    tree_remove(".psybuild/compiled");
    tree_write(".psybuild/compiled/in", "the way");
}

static void a_compiled_file_that_cannot_be_written_fails_no_build(void **state)
{
    static const char *const dry[] = {"-n", NULL};
    (void)state;
    build_on(forbid_the_compiled_file, false);
    struct program program = program_run(turns_arena(), dry, NULL);
    turns_assert_ended(&program, 0, "nothing to do");
}

static void forbid_the_cache(void)
{
    tree_remove("cache/CACHEDIR.TAG");
    assert_int_equal(chmod("cache", 0555), 0);
}

/* As a directory of another user's is. */
static void a_cache_that_may_not_be_written_fails_no_build(void **state)
{
    (void)state;
    if (TURNS_RUN("--version").exit_code != 0) {
        print_message("skipped: an ordinary user cannot run psybuild where it lies\n");
        skip();
    }
    build_on(forbid_the_cache, true);
}

/* ---- 13: a cache's leftovers, and neighbours ---- */

static void leftovers_in_a_cache_go_after_a_day(void **state)
{
    static const struct {
        const char *name;
        int64_t age_s;
        bool goes;
    } rows[] = {
        {"0123456789abcdef0123456789abcdef.tmp", 2 * 86400, true},
        {"0123456789abcdef0123456789abcdef.pieces.tmp", 2 * 86400, true},
        {"fedcba9876543210fedcba9876543210.tmp", 60, false}, /* somebody's at work */
        {"notes.tmp", 2 * 86400, false},                     /* not ours */
        {"fedcba9876543210.tmp", 2 * 86400, false},
        {"fedcba9876543210fedcba9876543210.txt", 2 * 86400, false},
    };
    struct stat now;
    (void)state;
    tree_write("now", "");
    assert_int_equal(stat("now", &now), 0);
    for (size_t i = 0; i < TURNS_COUNT(rows); i++) {
        const char *path = turns_format("cache/%s", rows[i].name);
        tree_write(path, "left");
        turns_set_mtime(path, (int64_t)now.st_mtime - rows[i].age_s);
    }
    turns_declare(CACHE, "\"out\": " COPY("in"));
    for (unsigned turn = 0; turn < 3; turn++) {
        tree_write("in", turns_format("turn %u", turn));
        turns_build("filling the cache");
    }
    for (size_t i = 0; i < TURNS_COUNT(rows); i++)
        if (tree_has(turns_format("cache/%s", rows[i].name)) == rows[i].goes)
            fail_msg("%s %s", rows[i].name, rows[i].goes ? "is still there" : "is gone");
}

enum { TREES = 4, FILES = 8, INPUTS = 4 };

static struct program start_in(unsigned tree)
{
    const char *const arguments[] = {"-q", "-C", turns_format("tree%u", tree), NULL};
    return program_start(turns_arena(), arguments, NULL);
}

/* All outputs are to be copies of that input. */
static void declare_in(unsigned tree, unsigned input, const char *artifacts)
{
    tree_write(turns_format("tree%u/psybuild.json", tree),
        turns_format("{\"psybuild\": 1, \"cache\": {\"path\": \"../cache\", \"size\": \"25K\"}, "
                     "\"vars\": {\"v\": \"%u\"}, \"artifacts\": {%s}}",
            input, artifacts));
}

static bool is_made_in(unsigned tree, unsigned input)
{
    bool is_good = true;
    for (unsigned k = 0; k < FILES && is_good; k++)
        is_good = turns_is_same(
            turns_format("tree%u/in/%u", tree, input), turns_format("tree%u/out/%u", tree, k));
    return is_good;
}

static void trees_that_share_a_cache_do_not_fail_each_other(void **state)
{
    enum { ROUNDS = 100 };
    unsigned failed = 0;
    const char *said = "", *artifacts = "";
    (void)state;
    for (unsigned i = 0; i < FILES; i++)
        artifacts =
            turns_format("%s%s\"out/%u\": " COPY("in/${v}"), artifacts, i == 0 ? "" : ", ", i);
    for (unsigned i = 0; i < TREES * INPUTS; i++)
        turns_write_bytes(turns_format("tree%u/in/%u", i / INPUTS, i % INPUTS), 10000, i % INPUTS);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct program programs[TREES];
        if (round % 2 == 0 && tree_has("cache"))
            tree_remove("cache");
        for (unsigned i = 0; i < TREES; i++)
            declare_in(i, (round + i) % INPUTS, artifacts);
        for (unsigned i = 0; i < TREES; i++)
            programs[i] = start_in(i);
        for (unsigned i = 0; i < TREES; i++) {
            program_end(&programs[i]);
            if (programs[i].exit_code == 0 && is_made_in(i, (round + i) % INPUTS))
                continue;
            failed++;
            said = programs[i].said.bytes;
        }
    }
    if (failed > 0)
        fail_msg("%u of %u builds failed, the last: %s", failed, TREES * ROUNDS, said);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, turns_begin, turns_end)
#define BOUND(name) cmocka_unit_test_setup_teardown(name, begin_bound, end_bound)
        ROW(an_edited_output_is_set_aside_with_a_warning),
        ROW(an_edited_output_goes_into_no_cache),
        ROW(what_would_be_set_aside_is_said_beforehand),
        ROW(an_edit_that_verify_has_seen_is_set_aside),
        ROW(an_edit_is_set_aside_whatever_else_is_new),
        ROW(an_edit_is_set_aside_though_the_target_is_forced),
        ROW(a_link_in_the_place_of_an_output_is_set_aside),
        ROW(what_lies_where_a_file_was_given_back_is_set_aside),
        ROW(an_edited_download_is_set_aside),
        ROW(damage_is_mended_and_said_to_be_damage),
        ROW(an_edit_of_what_was_damaged_is_an_edit),
        ROW(a_mark_counts_whatever_becomes_of_its_record),
        ROW(what_another_node_made_is_ours),
        ROW(what_is_set_aside_keeps_its_times),
        ROW(a_file_in_the_place_of_the_cache_fails_no_build),
        ROW(a_link_to_nowhere_in_the_place_of_the_cache_fails_no_build),
        ROW(a_cache_without_a_tag_fails_no_build),
        ROW(a_compiled_file_that_cannot_be_written_fails_no_build),
        BOUND(a_cache_that_may_not_be_written_fails_no_build),
        ROW(leftovers_in_a_cache_go_after_a_day),
        ROW(trees_that_share_a_cache_do_not_fail_each_other),
#undef BOUND
#undef ROW
    };
    program_find();
    /* Hundreds of builds: a disk would take most of the time to sync them. */
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    return cmocka_run_group_tests_name("build, edits", tests, NULL, NULL);
}
