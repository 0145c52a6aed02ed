/* test_build_meanwhile.c - what happens while a build runs: the build stops at the n-th point of a
 * kind, for every n, something is done, and it goes on.
 *
 * Whatever that is, the build says when it could not do its work, nothing is lost, and the next run
 * makes it good. Only the variant "fault" has the points (base/fault.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include <cmocka.h>

#include "engine/state/state.h"
#include "tests/support/turns.h"

/* Words that must be in messages, whatever else they say. */
#define WORD_LOCK ".psybuild" /* of a build that lost it */

#define CACHE "\"cache\": {\"path\": \"cache\"}, "
#define COPY(from) "{\"task\": \"copy\", \"in\": {\"files\": \"" from "\"}}"
#define FOUR "\"bits\": 4"
#define EIGHT "\"bits\": 8"
#define SEVEN_FILES "\"bits\": 4, \"max_shard_size\": \"100K\""

static void forget(const char *path)
{
    if (tree_has(path))
        tree_remove(path);
}

/* A build that failed has said why. */
static void assert_fails_with_words(const struct program *program, const char *when)
{
    if (program->exit_code != 1 || strstr(program->said.bytes, "error: ") == NULL)
        fail_msg("%s: exit code %d: %s", when, program->exit_code, program->said.bytes);
}

/* ---- 6: what is copied from ---- */

enum { TWO_PIECES = (4 << 20) + 100000 };

enum question { IS_RIGHT, IS_NOT_LOST, IS_NOT_CACHED };

static void ask(enum question question, struct text edited, const char *when)
{
    if (question == IS_RIGHT && !turns_is_same("in", "out") &&
        !text_equal(tree_read(turns_arena(), "out"), edited))
        fail_msg("%s: out is neither what was to be made nor what was edited", when);
    if (question == IS_NOT_LOST && !turns_is_somewhere(".", edited))
        fail_msg("%s: the edit is lost", when);
    if (question == IS_NOT_CACHED && turns_is_somewhere("cache", edited))
        fail_msg("%s: what was edited is in the cache", when);
}

/* "out" was copied from "in", whose second piece is another now; the first will come from "out",
 * which is edited there at that point. */
static bool edit_previous_at(const char *kind, unsigned n, enum question question)
{
    const char *when = turns_format("pause:%s:%u", kind, n);
    struct program program;
    forget(".psybuild");
    forget("out");
    turns_write_bytes("in", TWO_PIECES, 1);
    turns_declare(question == IS_NOT_CACHED ? CACHE : "", "\"out\": " COPY("in"));
    turns_build(when);
    turns_flip("in", TWO_PIECES - 1);
    if (!turns_pause(kind, n, &program))
        return false;
    turns_flip("out", 100);
    struct text edited = tree_read(turns_arena(), "out");
    turns_go_on(&program);
    if (program.exit_code != 0)
        assert_fails_with_words(&program, when);
    ask(question, edited, when);
    turns_build(when);
    if (!turns_is_same("in", "out"))
        fail_msg("%s: out is not what was to be made, and known as made", when);
    ask(question, edited, when);
    turns_assert_done(when);
    return true;
}

static void edit_previous(enum question question)
{
    static const char *const kinds[] = {"open", "read", "write", "sync", "rename", "remove"};
    turns_need_faults();
    for (size_t i = 0; i < TURNS_COUNT(kinds); i++) {
        unsigned n = 1;
        while (n < TURNS_POINTS_MAX && edit_previous_at(kinds[i], n, question))
            n++;
        assert_in_range(n, 2, TURNS_POINTS_MAX - 1);
    }
}

static void a_previous_output_edited_while_it_waits_is_looked_at_again(void **state)
{
    (void)state;
    edit_previous(IS_RIGHT);
}

static void an_output_edited_at_any_moment_is_kept(void **state)
{
    (void)state;
    edit_previous(IS_NOT_LOST);
}

static void what_goes_into_the_cache_has_its_hash(void **state)
{
    (void)state;
    edit_previous(IS_NOT_CACHED);
}

/* "m" is a directory of copies that loads, from in/0 or in/1; its config.json is the same in both,
 * or another. */
static void declare_loading(unsigned which)
{
    turns_declare("", turns_format("\"m/*\": {\"task\": \"copy\", \"in\": {\"files\": "
                                   "[\"in/%u/config.json\", \"in/%u/a\", \"in/%u/b\"]}}",
                          which, which, which));
}

static void begin_loading(bool is_same)
{
    forget("m");
    forget(".psybuild");
    for (unsigned i = 0; i < 2; i++) {
        tree_write(turns_format("in/%u/config.json", i), i == 0 || is_same ? "{}" : "{ }");
        tree_write(turns_format("in/%u/a", i), turns_format("a of %u", i));
        tree_write(turns_format("in/%u/b", i), turns_format("b of %u", i));
    }
    declare_loading(0);
    turns_build("at first");
    declare_loading(1);
}

static void assert_loads(const char *when)
{
    static const char *const names[] = {"config.json", "a", "b"};
    for (size_t i = 0; i < TURNS_COUNT(names); i++)
        if (!turns_is_same(turns_format("in/1/%s", names[i]), turns_format("m/%s", names[i])))
            fail_msg("%s: m/%s is not what was to be made", when, names[i]);
    turns_assert_done(when);
}

/* At any moment of a seal that hides it, what somebody makes of config.json is theirs. */
static void config_json_edited_at_any_moment_is_kept(void **state)
{
    static const char *const kinds[] = {"open", "read", "rename", "sync", "remove"};
    (void)state;
    turns_need_faults();
    for (size_t row = 0; row < 2 * TURNS_COUNT(kinds); row++)
        for (unsigned n = 1; n < TURNS_POINTS_MAX; n++) {
            const char *kind = kinds[row / 2], *when = turns_format("pause:%s:%u", kind, n);
            struct program program;
            begin_loading(row % 2 == 0);
            tree_write("m/a", "a of !"); /* edited, too: it is hashed while the seal is decided */
            if (!turns_pause(kind, n, &program))
                break;
            tree_write("m/config.json", "mine");
            turns_go_on(&program);
            turns_build(when);
            if (!turns_is_somewhere(".psybuild/aside", text_of("mine")))
                fail_msg("%s: the edit is lost", when);
            assert_loads(when);
        }
}

/* Before a death in a seal and after it: both are kept. */
static void edits_on_both_sides_of_a_death_are_kept(void **state)
{
    (void)state;
    turns_need_faults();
    for (unsigned n = 1; n < TURNS_POINTS_MAX; n++) {
        const char *fault = turns_format("exit:rename:%u", n);
        begin_loading(false);
        tree_write("m/config.json", "first");
        bool is_met = turns_run_with_fault(fault).exit_code == TURNS_EXIT_FAULT;
        bool was_there = turns_holds("m/config.json", "first");
        tree_write("m/config.json", "second");
        turns_build(fault);
        if ((!was_there && !turns_is_somewhere(".psybuild/aside", text_of("first"))) ||
            !turns_is_somewhere(".psybuild/aside", text_of("second")))
            fail_msg("%s: an edit is lost", fault);
        assert_loads(fault);
        if (!is_met)
            break;
    }
}

/* ---- models: two of them take turns in one directory ---- */

struct pair {
    const char *with[2];
    struct snapshot made[2];
};

static struct pair begin_pair(const char *first, const char *second)
{
    struct pair pair = {.with = {first, second}};
    turns_need_faults();
    for (unsigned i = 0; i < 2; i++) {
        turns_declare_model("", pair.with[i]);
        turns_build("undisturbed");
        pair.made[i] = snapshot_take(turns_arena(), TURNS_MODEL);
        forget(TURNS_MODEL);
    }
    forget(".psybuild");
    return pair;
}

static void assert_is_made(const struct pair *pair, unsigned which, const char *when)
{
    struct snapshot found = snapshot_take(turns_arena(), TURNS_MODEL);
    snapshot_assert_equal(&found, &pair->made[which], when);
}

static void assert_no_mixture(const struct pair *pair, const char *when)
{
    struct snapshot found = snapshot_take(turns_arena(), TURNS_MODEL);
    if (snapshot_find(&found, "config.json") != NULL && !snapshot_equal(&found, &pair->made[0]) &&
        !snapshot_equal(&found, &pair->made[1]))
        fail_msg("%s: config.json stands beside files of another build", when);
}

static void assert_heals(const struct pair *pair, unsigned which, const char *when)
{
    turns_build(when);
    assert_is_made(pair, which, when);
    turns_assert_done(when);
}

/* The first of the pair lies there, and the manifest wants the second. */
static void prepare(const struct pair *pair)
{
    forget(".psybuild");
    forget(TURNS_MODEL);
    turns_declare_model("", pair->with[0]);
    turns_build("before");
    turns_declare_model("", pair->with[1]);
}

/* ---- 8: staged files ---- */

static void remove_it(const char *path)
{
    tree_remove(path);
}

static void touch_it(const char *path)
{
    turns_set_mtime(path, 1000000000);
}

static void lengthen_it(const char *path)
{
    FILE *file = fopen(path, "ab");
    assert_non_null(file);
    assert_true(fputs("mine", file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* The staged file of that name; NULL: there is none now. */
static const char *find_staged(const char *name)
{
    struct snapshot staged = snapshot_take(turns_arena(), ".psybuild/partial");
    for (size_t i = 0; i < staged.count; i++)
        if (text_ends_with(text_of(staged.files[i].path), name))
            return turns_format(".psybuild/partial/%s", staged.files[i].path);
    return NULL;
}

static void spoil_staged_at_each(const char *kind, const char *name, void (*spoil)(const char *))
{
    struct pair pair = begin_pair(FOUR, EIGHT);
    struct program program;
    unsigned spoiled = 0;
    for (unsigned n = 1; n < TURNS_POINTS_MAX; n++) {
        const char *when = turns_format("pause:%s:%u, %s", kind, n, name);
        prepare(&pair);
        if (!turns_pause(kind, n, &program))
            break;
        const char *path = find_staged(name);
        if (path != NULL)
            spoil(path);
        spoiled += path != NULL;
        turns_go_on(&program);
        if (program.exit_code == 0) {
            assert_is_made(&pair, 1, when);
        } else {
            assert_fails_with_words(&program, when);
            assert_no_mixture(&pair, when);
        }
        assert_heals(&pair, 1, when);
    }
    assert_true(spoiled > 0);
}

static void a_staged_file_that_was_removed_fails_the_build(void **state)
{
    (void)state;
    spoil_staged_at_each("rename", "/model.safetensors", remove_it);
    spoil_staged_at_each("sync", "/config.json", remove_it);
}

static void a_staged_file_that_was_touched_fails_the_build(void **state)
{
    (void)state;
    spoil_staged_at_each("rename", "/model.safetensors", touch_it);
    spoil_staged_at_each("sync", "/config.json", touch_it);
}

static void a_staged_file_that_grew_fails_the_build(void **state)
{
    (void)state;
    spoil_staged_at_each("sync", "/model.safetensors", lengthen_it);
    spoil_staged_at_each("rename", "/config.json", lengthen_it);
}

/* ---- 8: the lock ---- */

#define SIX "\"bits\": 6"

/* `.psybuild` goes under a build, another build is whole, and the first goes on. */
static void lose_the_lock_at_each(const char *kind)
{
    struct pair pair = begin_pair(EIGHT, SIX);
    struct program program;
    unsigned failed = 0;
    for (unsigned n = 1; n < TURNS_POINTS_MAX; n++) {
        const char *when = turns_format("pause:%s:%u", kind, n);
        forget(".psybuild");
        forget(TURNS_MODEL);
        turns_declare_model("", FOUR);
        turns_build("before");
        turns_declare_model("", pair.with[0]);
        if (!turns_pause(kind, n, &program))
            break;
        tree_remove(".psybuild");
        turns_declare_model("", pair.with[1]);
        turns_build(when);
        turns_go_on(&program);
        if (program.exit_code != 0)
            turns_assert_ended(&program, 1, WORD_LOCK);
        failed += program.exit_code == 1;
        assert_is_made(&pair, 1, when);
        assert_heals(&pair, 1, when);
    }
    assert_true(failed > 0);
}

static void a_build_that_lost_its_lock_says_so_and_leaves_the_others_model(void **state)
{
    (void)state;
    lose_the_lock_at_each("sync");
    lose_the_lock_at_each("rename");
    lose_the_lock_at_each("write");
}

/* ---- 9: the cache goes meanwhile ---- */

static void a_cache_removed_meanwhile_fails_no_build(void **state)
{
    static const char *const kinds[] = {"rename", "sync", "open", "write", "remove"};
    (void)state;
    turns_need_faults();
    for (size_t i = 0; i < TURNS_COUNT(kinds); i++)
        for (unsigned n = 1; n < TURNS_POINTS_MAX; n++) {
            const char *when = turns_format("pause:%s:%u", kinds[i], n);
            struct program program;
            for (unsigned turn = 0; turn < 2; turn++) {
                tree_write("in", turns_format("%s, %u", when, turn));
                turns_declare(CACHE, "\"out\": " COPY("in") ", \"other\": " COPY("in"));
                turns_build(when);
            }
            tree_write("in", when);
            if (!turns_pause(kinds[i], n, &program))
                break;
            forget("cache");
            turns_go_on(&program);
            if (program.exit_code != 0)
                fail_msg("%s: exit code %d: %s", when, program.exit_code, program.said.bytes);
            assert_true(turns_is_same("in", "out"));
            assert_true(turns_is_same("in", "other"));
            turns_assert_done(when);
        }
}

/* ---- 13: between a death and the recovery ---- */

/* Every file of the model whose name begins so gets a line more, in place. */
static struct snapshot edit_all(const char *begin)
{
    struct snapshot found = snapshot_take(turns_arena(), TURNS_MODEL);
    for (size_t i = 0; i < found.count; i++)
        if (text_starts_with(text_of(found.files[i].path), begin))
            lengthen_it(turns_format(TURNS_MODEL "/%s", found.files[i].path));
    struct snapshot edited = snapshot_take(turns_arena(), TURNS_MODEL);
    size_t count = 0;
    for (size_t i = 0; i < edited.count; i++)
        if (text_starts_with(text_of(edited.files[i].path), begin))
            edited.files[count++] = edited.files[i];
    edited.count = count;
    return edited;
}

static bool holds(const struct snapshot *directory, const struct snapshot_file *file)
{
    for (size_t i = 0; i < directory->count; i++)
        if (directory->files[i].size_bytes == file->size_bytes &&
            hash_equal(&directory->files[i].hash, &file->hash))
            return true;
    return false;
}

static void edit_after_each(
    const char *first, const char *second, const char *kind, const char *begin)
{
    struct pair pair = begin_pair(first, second);
    for (unsigned n = 1; n < TURNS_POINTS_MAX; n++) {
        const char *fault = turns_format("exit:%s:%u", kind, n);
        prepare(&pair);
        if (turns_run_with_fault(fault).exit_code != TURNS_EXIT_FAULT)
            break;
        struct snapshot edited = edit_all(begin);
        TURNS_RUN(NULL); /* it may say that it cannot */
        turns_build(fault);
        struct snapshot all = snapshot_take(turns_arena(), ".");
        for (size_t i = 0; i < edited.count; i++)
            if (!holds(&all, &edited.files[i]))
                fail_msg("%s: the edited %s is lost", fault, edited.files[i].path);
        for (size_t i = 0; i < pair.made[1].count; i++)
            if (!holds(&all, &pair.made[1].files[i]))
                fail_msg("%s: %s was not made", fault, pair.made[1].files[i].path);
    }
}

static void a_leftover_edited_after_a_death_is_kept(void **state)
{
    (void)state;
    edit_after_each(SEVEN_FILES, FOUR, "rename", "model-0000");
    edit_after_each(SEVEN_FILES, FOUR, "remove", "model-0000");
}

static void an_output_edited_after_a_death_is_kept(void **state)
{
    (void)state;
    edit_after_each(FOUR, EIGHT, "rename", "");
}

/* ---- 13: what is on disk for good ---- */

/* Each sync in its turn fails; of which directory it was is in the message. Those that lead to a
 * new directory, and that of the journal, come before those that follow renames there. */
static void what_is_new_is_on_disk_before_anything_is_renamed(void **state)
{
    static const char *const before[] = {".psybuild", "models"};
    unsigned first[TURNS_COUNT(before)] = {0}, renamed = 0;
    (void)state;
    turns_need_faults();
    turns_declare_model("", FOUR);
    for (unsigned n = 1; n < TURNS_POINTS_MAX && renamed == 0; n++) {
        forget(".psybuild");
        forget(TURNS_MODEL);
        struct program program = turns_run_with_fault(turns_format("sync:%u", n));
        for (size_t i = 0; i < TURNS_COUNT(before); i++)
            if (strstr(program.said.bytes, turns_format(" %s: cannot sync", before[i])) != NULL)
                first[i] = n;
        if (strstr(program.said.bytes, " " TURNS_MODEL ": cannot sync") != NULL)
            renamed = n;
    }
    assert_int_not_equal(renamed, 0);
    for (size_t i = 0; i < TURNS_COUNT(before); i++)
        if (first[i] == 0)
            fail_msg("%s is not synced before the model's directory is", before[i]);
}

/* A file system that gives a file another inode number at each look: right bytes, though at worst
 * everything is hashed again. */
static void without_stable_inodes_builds_are_right(void **state)
{
    static const char *const with[] = {FOUR, EIGHT, SEVEN_FILES, FOUR};
    struct snapshot wanted[TURNS_COUNT(with)];
    (void)state;
    turns_need_faults();
    for (size_t i = 0; i < TURNS_COUNT(with); i++) {
        turns_declare_model(CACHE, with[i]);
        turns_build("undisturbed");
        wanted[i] = snapshot_take(turns_arena(), TURNS_MODEL);
    }
    forget(".psybuild");
    forget(TURNS_MODEL);
    forget("cache");
    setenv("PSYBUILD_FAULT_INODES", "1", 1);
    for (unsigned round = 0; round < 5; round++)
        for (size_t i = 0; i < TURNS_COUNT(with); i++) {
            const char *when = turns_format("round %u, turn %zu", round, i);
            turns_declare_model(CACHE, with[i]);
            for (unsigned again = 0; again < 2; again++) {
                turns_build(when);
                struct snapshot made = snapshot_take(turns_arena(), TURNS_MODEL);
                snapshot_assert_equal(&made, &wanted[i], when);
            }
        }
    assert_false(tree_has(".psybuild/aside"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, turns_begin, turns_end)
        ROW(a_previous_output_edited_while_it_waits_is_looked_at_again),
        ROW(config_json_edited_at_any_moment_is_kept),
        ROW(edits_on_both_sides_of_a_death_are_kept),
        ROW(an_output_edited_at_any_moment_is_kept),
        ROW(what_goes_into_the_cache_has_its_hash),
        ROW(a_staged_file_that_was_removed_fails_the_build),
        ROW(a_staged_file_that_was_touched_fails_the_build),
        ROW(a_staged_file_that_grew_fails_the_build),
        ROW(a_build_that_lost_its_lock_says_so_and_leaves_the_others_model),
        ROW(a_cache_removed_meanwhile_fails_no_build),
        ROW(a_leftover_edited_after_a_death_is_kept),
        ROW(an_output_edited_after_a_death_is_kept),
        ROW(what_is_new_is_on_disk_before_anything_is_renamed),
        ROW(without_stable_inodes_builds_are_right),
#undef ROW
    };
    program_find();
    /* Hundreds of builds: a disk would take most of the time to sync them. */
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    return cmocka_run_group_tests_name("build, meanwhile", tests, NULL, NULL);
}
