/* test_build_histories.c - builds in sequence, between which something ordinary changes: each must
 * end as if all before it had not been, in the bytes of a build from nothing.
 *
 * What happens while a build runs is in test_build_meanwhile.c, what people do to outputs in
 * test_build_edits.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tasks/registry.h"
#include "tests/support/checkpoint.h"
#include "tests/support/turns.h"

#define CACHE "\"cache\": {\"path\": \"cache\"}, "
#define COPY(from) "{\"task\": \"copy\", \"in\": {\"files\": " from "}}"
#define SHELL(from, script)                                                                        \
    "{\"task\": \"exec\", \"in\": {\"x\": " from "}, \"with\": {\"command\": [\"sh\", \"-c\", "    \
    "\"" script "\", \"${in.x}\", \"${out}\"]}}"
#define LARGE (9 << 20) /* more than two pieces */

/* ---- 1: logs ---- */

/* What makes "out", and whether that is a copy of "in" or what is said. */
struct making {
    const char *artifacts;
    const char *text; /* NULL: the bytes of "in" */
};

static const struct making as_copy = {"\"out\": " COPY("\"in\""), NULL},
                           as_command = {"\"out\": " SHELL("\"in\"", "printf made >$$1"), "made"},
                           as_large_command = {"\"out\": " SHELL("\"in\"",
                                                   "tr '\\\\000-\\\\377' '\\\\001-\\\\377\\\\000' "
                                                   "<$$0 >$$1"),
                               ""};

static void make(const struct making *making, const char *when)
{
    turns_declare("", making->artifacts);
    turns_build(when);
    bool is_right = making->text == NULL      ? turns_is_same("out", "in")
                    : making->text[0] == '\0' ? !turns_is_same("out", "in")
                                              : turns_holds("out", making->text);
    if (!is_right)
        fail_msg("%s: out is not what was to be made", when);
    turns_assert_done(when);
}

static void a_log_of_other_outputs_is_not_believed(void **state)
{
    (void)state;
    turns_write_bytes("in", LARGE, 1);
    make(&as_copy, "by copy");
    make(&as_large_command, "by a command");
    make(&as_copy, "by copy again");
    make(&as_command, "by a command that makes little");
    make(&as_copy, "by copy for the third time");
}

static void a_file_that_was_small_meanwhile_is_copied(void **state)
{
    static const size_t sizes[] = {LARGE, 6, LARGE, 5 << 20, 0, 5 << 20, LARGE};
    (void)state;
    for (unsigned i = 0; i < TURNS_COUNT(sizes); i++) {
        turns_write_bytes("in", sizes[i], 1);
        make(&as_copy, turns_format("turn %u, %zu bytes", i, sizes[i]));
    }
}

/* ---- 2: past records ---- */

/* Nodes of an input each, the second of which takes longer, in a variant that says `word`. */
static void make_three(const char *word, const char *when)
{
    static const char *const names[] = {"a", "b", "c"};
    const char *artifacts = "";
    for (size_t i = 0; i < TURNS_COUNT(names); i++)
        artifacts =
            turns_format("%s%s\"out/%s\": " SHELL("\"in/%s\"", "{ echo %s; cat $$0 %s; } >$$1"),
                artifacts, i == 0 ? "" : ", ", names[i], names[i], word, i == 1 ? "large" : "");
    turns_declare(CACHE, artifacts);
    turns_build(when);
    for (size_t i = 0; i < TURNS_COUNT(names); i++) {
        const char *path = turns_format("out/%s", names[i]);
        struct text in = tree_read(turns_arena(), turns_format("in/%s", names[i]));
        struct text wanted = text_of(turns_format("%s\n%s", word, in.bytes));
        if (!text_starts_with(tree_read(turns_arena(), path), wanted.bytes))
            fail_msg("%s: %s is not what was to be made", when, path);
    }
    turns_assert_done(when);
}

static void a_past_record_is_kept_whole(void **state)
{
    static const char *const words[] = {"one", "two"};
    static const char *const inputs[] = {"in/a", "in/b", "in/c"};
    (void)state;
    turns_write_bytes("large", LARGE, 1);
    for (size_t i = 0; i < TURNS_COUNT(inputs); i++)
        tree_write(inputs[i], inputs[i]);
    for (unsigned i = 0; i < 4; i++)
        make_three(words[i % 2], turns_format("turn %u", i));
    for (size_t i = 0; i < TURNS_COUNT(inputs); i++) {
        tree_write(inputs[i], "edited");
        make_three("two", turns_format("%s edited", inputs[i]));
        make_three("one", turns_format("%s edited", inputs[i]));
        tree_write(inputs[i], inputs[i]);
        make_three("one", turns_format("%s set back", inputs[i]));
    }
}

/* Copies of large files come back with their logs. */
static void inputs_that_change_places_there_and_back_are_seen(void **state)
{
    static const char *const outputs[] = {"a", "b", "c"};
    (void)state;
    turns_write_bytes("in/a", 5 << 20, 1);
    turns_write_bytes("in/b", 5 << 20, 2);
    turns_declare(
        CACHE, "\"a\": " COPY("\"in/b\"") ", \"b\": " COPY("\"in/b\"") ", \"c\": " COPY("\"a\""));
    for (unsigned turn = 0; turn < 10; turn++) {
        const char *when = turns_format("turn %u", turn);
        turns_build(when);
        for (size_t i = 0; i < TURNS_COUNT(outputs); i++)
            if (!turns_is_same(outputs[i], "in/b"))
                fail_msg("%s: %s is not what was copied", when, outputs[i]);
        turns_assert_done(when);
        assert_int_equal(rename("in/a", "in/c"), 0);
        assert_int_equal(rename("in/b", "in/a"), 0);
        assert_int_equal(rename("in/c", "in/b"), 0);
    }
}

static void an_edit_is_seen_after_bits_went_there_and_back(void **state)
{
    static const unsigned bits[] = {4, 8, 4, 8, 4, 8, 4, 8, 4, 8, 4, 8};
    static const char shard[] = TURNS_SOURCE "/model-00002-of-00004.safetensors";
    (void)state;
    for (unsigned i = 0; i < TURNS_COUNT(bits); i++) {
        const char *when = turns_format("turn %u", i);
        turns_declare(CACHE "\"sources\": {\"" TURNS_SOURCE "\": {\"dir\": \"" TURNS_SOURCE
                            "\"}}, ",
            turns_format(
                "\"mlx/a\": {\"recipe\": \"mlx\", \"from\": \"" TURNS_SOURCE
                "\", \"with\": {\"bits\": %u}}, \"mlx/b\": {\"recipe\": \"mlx\", \"from\": "
                "\"" TURNS_SOURCE "\", \"with\": {\"bits\": %u, \"group_size\": 32}}",
                bits[i], bits[i]));
        turns_build(when);
        turns_assert_done(when);
    }
    turns_flip(shard, tree_read(turns_arena(), shard).length - 1);
    turns_build("edited");
    turns_assert_done("edited");
    tree_remove("cache"); /* what comes now is made */
    turns_assert_as_from_nothing("mlx", "edited");
}

/* ---- 3: partials ---- */

/* The rules of the checkpoint's architecture, in which two tensors of a layer may be swapped. */
static void write_rules(bool is_swapped)
{
    static const char steps[] = "\"steps\": [",
                      swap[] = "{\"rename\": [[\"model.layers.{i}.mlp.gate_proj.weight\", "
                               "\"model.layers.{i}.mlp.up_proj.weight\"], "
                               "[\"model.layers.{i}.mlp.up_proj.weight\", "
                               "\"model.layers.{i}.mlp.gate_proj.weight\"]]}, ";
    struct text rules =
        tree_read(turns_arena(), turns_format("%s/manifests/rules/qwen3.json", tree_source()));
    const char *at = strstr(rules.bytes, steps);
    assert_non_null(at);
    at += sizeof steps - 1;
    tree_write("rules/qwen3.json",
        turns_format("%.*s%s%s", (int)(at - rules.bytes), rules.bytes, is_swapped ? swap : "", at));
}

#define RULES "\"rules\": \"rules\", "

/* A build that got so far that all pieces are made, and no further. */
static void build_in_vain(void)
{
    tree_write(TURNS_MODEL "/model.safetensors/in", "the way");
    struct program program = TURNS_RUN(NULL);
    assert_int_equal(program.exit_code, 1);
    tree_remove(TURNS_MODEL "/model.safetensors");
}

static void a_place_that_was_overwritten_is_not_copied_from(void **state)
{
    (void)state;
    turns_declare_model(RULES, "\"bits\": 4");
    write_rules(false);
    build_in_vain();
    write_rules(true);
    turns_build("swapped");
    write_rules(false);
    turns_build("set back");
    turns_assert_done("set back");
    turns_assert_as_from_nothing(TURNS_MODEL, "set back");
}

/* The same after a death at the n-th write, for some. */
static void killed_while_two_tensors_swap_nothing_is_mixed(void **state)
{
    unsigned met = 0;
    (void)state;
    turns_need_faults();
    turns_declare_model(RULES, "\"bits\": 4");
    for (unsigned n = 20; n < TURNS_POINTS_MAX; n += 20) {
        const char *fault = turns_format("exit:write:%u", n);
        write_rules(false);
        if (turns_run_with_fault(fault).exit_code != TURNS_EXIT_FAULT)
            break;
        write_rules(true);
        turns_build(fault);
        write_rules(false);
        turns_build(fault);
        turns_assert_done(fault);
        turns_assert_as_from_nothing(TURNS_MODEL, fault);
        tree_remove(".psybuild");
        tree_remove(TURNS_MODEL);
        met++;
    }
    assert_true(met > 1);
}

/* ---- 4: names ---- */

static const char *const our_names[] = {"pieces", "old", "log", "files", "new", "state", "journal"};

static void an_output_may_be_called_like_a_file_of_ours(void **state)
{
    const char *artifacts = "";
    (void)state;
    for (size_t i = 0; i < TURNS_COUNT(our_names); i++)
        artifacts = turns_format(
            "%s%s\"sub/%s\": " COPY("\"in\""), artifacts, i == 0 ? "" : ", ", our_names[i]);
    turns_declare("", artifacts);
    for (unsigned turn = 0; turn < 3; turn++) {
        turns_write_bytes("in", LARGE - turn, turn + 1);
        turns_build(turns_format("turn %u", turn));
        for (size_t i = 0; i < TURNS_COUNT(our_names); i++)
            if (!turns_is_same("in", turns_format("sub/%s", our_names[i])))
                fail_msg("turn %u: sub/%s is not what was copied", turn, our_names[i]);
        turns_assert_done(turns_format("turn %u", turn));
    }
}

/* All of them by one node, beside a config.json that moves away meanwhile. */
static void outputs_of_one_node_may_be_called_like_files_of_ours(void **state)
{
    const char *inputs = "\"in/config.json\"";
    (void)state;
    for (size_t i = 0; i < TURNS_COUNT(our_names); i++)
        inputs = turns_format("%s, \"in/%s\"", inputs, our_names[i]);
    turns_declare("", turns_format("\"m/*\": {\"task\": \"copy\", \"in\": {\"files\": [%s]}, "
                                   "\"group\": \"m\"}",
                          inputs));
    for (unsigned turn = 0; turn < 3; turn++) {
        tree_write("in/config.json", turns_format("{\"turn\": %u}", turn));
        for (size_t i = 0; i < TURNS_COUNT(our_names); i++)
            turns_write_bytes(turns_format("in/%s", our_names[i]), (5 << 20) + i, turn * 7 + 1);
        turns_build(turns_format("turn %u", turn));
        struct snapshot made = snapshot_take(turns_arena(), "m");
        struct snapshot wanted = snapshot_take(turns_arena(), "in");
        snapshot_assert_equal(&made, &wanted, turns_format("turn %u", turn));
        turns_assert_done(turns_format("turn %u", turn));
    }
}

/* ---- 5: two readers of what goes when both have had it ---- */

/* A source of the files below `directory`, each by its address and hash. */
static const char *declare_files(const char *directory)
{
    const char *files = "";
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    struct snapshot found = snapshot_take(turns_arena(), directory);
    for (size_t i = 0; i < found.count; i++) {
        char *identity, *path = turns_format("%s/%s", directory, found.files[i].path);
        tree_assert_ok(registry.identify(turns_arena(), path, "sha256:", &identity));
        files = turns_format("%s%s\"%s\": {\"url\": \"file://%s/%s\", \"hash\": \"%s\"}", files,
            i == 0 ? "" : ", ", found.files[i].path, here, path, identity);
    }
    return files;
}

#define OF_FAR(name, bits)                                                                         \
    "\"" name "\": {\"recipe\": \"mlx\", \"from\": \"near\", \"with\": {\"bits\": " bits "}}"

/* Its lm_head is another name of its embeddings: no piece reads it, and its hashes are wanted. */
static void what_no_piece_reads_is_hashed_before_it_goes(void **state)
{
    enum { ROUNDS = 12 };
    static const char *const arguments[] = {"-q", "-j4", NULL};
    (void)state;
    checkpoint_write(&(struct checkpoint){1, 256, 256, 8192}, "far");
    const char *config = tree_read(turns_arena(), "far/config.json").bytes;
    const char *tied = strstr(config, "\"tie_word_embeddings\": false");
    assert_non_null(tied);
    tree_write("far/config.json",
        turns_format("%.*s\"tie_word_embeddings\": true}\n", (int)(tied - config), config));
    turns_declare(turns_format("\"sources\": {\"near\": {\"files\": {%s}, \"keep\": "
                               "\"until-used\"}}, ",
                      declare_files("far")),
        OF_FAR("mlx/four", "4") ", " OF_FAR("mlx/eight", "8") ", " OF_FAR("mlx/six", "6"));
    struct snapshot wanted = {.count = 0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        const char *when = turns_format("round %u", round);
        struct program program = program_run(turns_arena(), arguments, NULL);
        if (program.exit_code != 0)
            fail_msg("%s: exit code %d: %s", when, program.exit_code, program.said.bytes);
        struct snapshot made = snapshot_take(turns_arena(), "mlx");
        if (round == 0)
            wanted = made;
        snapshot_assert_equal(&made, &wanted, when);
        turns_assert_done(when);
        tree_remove("mlx");
        tree_remove("near");
        tree_remove(".psybuild");
    }
}

/* ---- 7: no mixture loads ---- */

/* One group in two versions: their inputs are in/0 and in/1. */
struct versions {
    const char *artifacts[2];   /* NULL: the same */
    const char *directories[3]; /* each loads, or not, by a config.json of its own */
};

static void declare_version(const struct versions *versions, unsigned which)
{
    bool has_own = which == 1 && versions->artifacts[1] != NULL;
    turns_declare(
        turns_format("\"vars\": {\"v\": \"%u\"}, ", which), versions->artifacts[has_own ? 1 : 0]);
}

static void assert_no_mixture(
    const struct versions *versions, struct snapshot made[2][3], const char *when)
{
    for (size_t i = 0; versions->directories[i] != NULL; i++) {
        struct snapshot found = snapshot_take(turns_arena(), versions->directories[i]);
        if (snapshot_find(&found, "config.json") != NULL && !snapshot_equal(&found, &made[0][i]) &&
            !snapshot_equal(&found, &made[1][i]))
            fail_msg("%s: %s/config.json stands beside files of another version", when,
                versions->directories[i]);
    }
}

/* From version `now` to the other, dying at that point; false if there was none. */
static bool kill_at(
    const struct versions *versions, struct snapshot made[2][3], unsigned now, const char *fault)
{
    const char *when = turns_format("%s, %u -> %u", fault, now, !now);
    declare_version(versions, !now);
    bool is_met = turns_run_with_fault(fault).exit_code == TURNS_EXIT_FAULT;
    assert_no_mixture(versions, made, when);
    turns_build(when);
    for (size_t i = 0; versions->directories[i] != NULL; i++) {
        struct snapshot found = snapshot_take(turns_arena(), versions->directories[i]);
        snapshot_assert_equal(&found, &made[!now][i], when);
    }
    return is_met;
}

static void write_versions(void)
{
    static const char *const names[] = {"aa", "config.json", "w", "zz"};
    for (size_t i = 0; i < 2 * TURNS_COUNT(names); i++)
        for (unsigned sub = 0; sub < 2; sub++)
            tree_write(turns_format("in/%zu/%s/%s", i % 2, sub == 0 ? "a" : "b", names[i / 2]),
                turns_format("%s, %zu", names[i / 2], i % 2));
}

static void kill_at_each(const struct versions *versions, const char *kind)
{
    struct snapshot made[2][3];
    unsigned met = 2;
    write_versions();
    for (unsigned which = 0; which < 2; which++) {
        declare_version(versions, which);
        turns_build("undisturbed");
        for (size_t i = 0; versions->directories[i] != NULL; i++)
            made[which][i] = snapshot_take(turns_arena(), versions->directories[i]);
    }
    for (unsigned n = 1; met > 0; n++) {
        assert_true(n < TURNS_POINTS_MAX);
        met = kill_at(versions, made, 1, turns_format("exit:%s:%u", kind, n));
        met += kill_at(versions, made, 0, turns_format("exit:%s:%u", kind, n));
    }
}

#define OF(sub, name) "\"in/${v}/" sub "/" name "\""
#define NODE(path, files)                                                                          \
    "\"" path "\": {\"task\": \"copy\", \"in\": {\"files\": [" files "]}, \"group\": \"m\"}"
#define ALL(sub) OF(sub, "aa") ", " OF(sub, "config.json") ", " OF(sub, "w") ", " OF(sub, "zz")

static void killed_while_a_pattern_makes_config_json_nothing_is_mixed(void **state)
{
    static const struct versions versions = {{NODE("m/*", ALL("a")), NULL}, {"m", NULL}};
    (void)state;
    turns_need_faults();
    kill_at_each(&versions, "rename");
    kill_at_each(&versions, "remove");
}

static void killed_while_another_node_makes_config_json_nothing_is_mixed(void **state)
{
    static const struct versions versions = {
        {NODE("m/w", OF("a", "w")) ", " NODE("m/c*.json", OF("a", "config.json")), NULL},
        {"m", NULL}};
    (void)state;
    turns_need_faults();
    kill_at_each(&versions, "rename");
}

static void killed_while_two_directories_change_neither_is_mixed(void **state)
{
    static const struct versions versions = {
        {NODE("m/a/*", ALL("a")) ", " NODE("m/b/*", ALL("b")), NULL}, {"m/a", "m/b", NULL}};
    static const struct versions named = {
        {NODE("m/a/w", OF("a", "w")) ", " NODE("m/a/config.json", OF("a", "config.json")) ", " NODE(
             "m/b/w", OF("b", "w")) ", " NODE("m/b/config.json", OF("b", "config.json")),
            NULL},
        {"m/a", "m/b", NULL}};
    (void)state;
    turns_need_faults();
    kill_at_each(&named, "rename");
    kill_at_each(&versions, "rename");
}

static void killed_while_config_json_leaves_nothing_is_mixed(void **state)
{
    static const struct versions versions = {
        {NODE("m/*", ALL("a")), NODE("m/*", OF("a", "w"))}, {"m", NULL}};
    (void)state;
    turns_need_faults();
    kill_at_each(&versions, "rename");
    kill_at_each(&versions, "remove");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, turns_begin, turns_end)
        ROW(a_log_of_other_outputs_is_not_believed),
        ROW(a_file_that_was_small_meanwhile_is_copied),
        ROW(a_past_record_is_kept_whole),
        ROW(inputs_that_change_places_there_and_back_are_seen),
        ROW(an_edit_is_seen_after_bits_went_there_and_back),
        ROW(a_place_that_was_overwritten_is_not_copied_from),
        ROW(killed_while_two_tensors_swap_nothing_is_mixed),
        ROW(an_output_may_be_called_like_a_file_of_ours),
        ROW(outputs_of_one_node_may_be_called_like_files_of_ours),
        ROW(what_no_piece_reads_is_hashed_before_it_goes),
        ROW(killed_while_a_pattern_makes_config_json_nothing_is_mixed),
        ROW(killed_while_another_node_makes_config_json_nothing_is_mixed),
        ROW(killed_while_two_directories_change_neither_is_mixed),
        ROW(killed_while_config_json_leaves_nothing_is_mixed),
#undef ROW
    };
    program_find();
    /* Hundreds of builds: a disk would take most of the time to sync them. */
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    return cmocka_run_group_tests_name("build, histories", tests, NULL, NULL);
}
