/* test_stale.c - what is made again and why, what is not, and what it costs to find out. */
#include "engine/run/files.h"
#include "engine/stale/stale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#include <cmocka.h>

#include "engine/stale/validity.h"
#include "tasks/registry.h"
#include "tests/support/project.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define HEAD "{\"psybuild\": 1, \"sources\": {\"src\": {\"dir\": \"src\"}}, \"artifacts\": {\n"
#define COPY(from) "{\"task\": \"copy\", \"in\": {\"files\": " from "}}"

static const char manifest[] = HEAD "\"one\": " COPY(
    "\"src/a.txt\"") ",\n"
                     "\"two\": " COPY(
                         "\"one\"") ",\n"
                                    "\"loud\": {\"task\": \"exec\", \"in\": {\"x\": \"two\"}, "
                                    "\"with\": {\"command\": [\"sh\", "
                                    "\"-c\", \"tr a-z A-Z <\\\"$$0\\\" >\\\"$$1\\\"\", "
                                    "\"${in.x}\", \"${out}\"]}},\n"
                                    "\"length\": {\"task\": \"exec\", \"in\": {\"x\": \"loud\"}, "
                                    "\"with\": {\"command\": [\"sh\", "
                                    "\"-c\", \"wc -c <\\\"$$0\\\" >\\\"$$1\\\"\", \"${in.x}\", "
                                    "\"${out}\"]}},\n"
                                    "\"last\": " COPY(
                                        "\"length\"") ",\n"
                                                      "\"chat_template.jinja\": {\"task\": "
                                                      "\"chat-template\", \"in\": {\"config\": "
                                                      "\"src/tokenizer_config.json\"}}}}";

static int begin(void **state)
{
    int result = tree_begin(state);
    if (result != 0)
        return result;
    tree_write("src/a.txt", "hello\n");
    tree_write("src/tokenizer_config.json", "{\"chat_template\": \"{{ a }}\", \"other\": 1}");
    tree_write("psybuild.json", manifest);
    struct project_run run = {0};
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 0);
    assert_int_equal(run.stats.nodes_made, 6);
    assert_non_null(strstr(run.said, "stale one: it was never made\n"));
    project_run_end(&run);
    return 0;
}

/* Runs; what was said, in any order of the nodes, one line each. */
static void check_run(const char *want, uint64_t files_hashed)
{
    struct project_run run = {.threads = 1};
    tree_assert_ok(project_run(&run));
    if (strcmp(run.said, want) != 0)
        print_error("said:\n%swanted:\n%s", run.said, want);
    assert_string_equal(run.said, want);
    assert_int_equal(run.failures, 0);
    assert_int_equal(run.stats.files_hashed, files_hashed);
    project_run_end(&run);
    struct project_run again = {0};
    tree_assert_ok(project_run(&again));
    assert_true(again.is_null); /* whatever it was, once is enough */
    assert_string_equal(again.said, "");
    project_run_end(&again);
}

static void edit_text(const char *manifest_text, const char *from, const char *to)
{
    char text[4096];
    strcpy(text, manifest_text);
    char *place = strstr(text, from);
    assert_non_null(place);
    memmove(place + strlen(to), place + strlen(from), strlen(place + strlen(from)) + 1);
    memcpy(place, to, strlen(to));
    tree_write("psybuild.json", text);
}

static void edit_manifest(const char *from, const char *to)
{
    edit_text(manifest, from, to);
}

/* ---- what costs nothing ---- */

static void a_second_run_finds_nothing_to_do(void **state)
{
    (void)state;
    struct project_run run = {0};
    tree_assert_ok(project_run(&run));
    assert_true(run.is_null);
    project_run_end(&run);
}

static void touch_costs_one_hash_then_nothing(void **state)
{
    static const char *const paths[] = {
        "src/a.txt", "one", "loud", "last", "src/tokenizer_config.json"};
    (void)state;
    for (size_t i = 0; i < COUNT(paths); i++) {
        assert_int_equal(utime(paths[i], &(struct utimbuf){1, 1}), 0);
        check_run("", 1);
    }
    /* The same bytes in another inode, with the old times. */
    struct arena arena = {0};
    struct text text = tree_read(&arena, "two");
    tree_write_bytes("other", text.bytes, text.length);
    tree_assert_ok(file_rename("other", "two"));
    check_run("", 1);
    arena_end(&arena);
}

static void edits_of_the_manifest_that_change_no_key_make_nothing(void **state)
{
    (void)state;
    edit_manifest("\"last\": ", "  // a comment\n  \"last\" :  ");
    check_run("", 0);
    edit_manifest(HEAD, "{\"psybuild\": 1, \"vars\": {\"unused\": 1}, \"sources\": {\"src\": "
                        "{\"dir\": \"src\"}}, \"artifacts\": {\n");
    check_run("", 0);
}

/* ---- what is made again ---- */

static void each_change_has_its_reason_and_goes_as_far_as_it_reaches(void **state)
{
    static const struct {
        const char *path, *text; /* NULL: the file is removed */
        const char *want;
        uint64_t files_hashed;
    } rows[] = {
        /* Another length: all the way. */
        {"src/a.txt", "hello all\n",
            "stale one: src/a.txt changed\nsealed one\n"
            "stale two: one changed\nsealed two\n"
            "stale loud: two changed\nsealed loud\n"
            "stale length: loud changed\nsealed length\n"
            "stale last: length changed\nsealed last\n",
            1},
        /* The same length: it stops where the content is the same. */
        {"src/a.txt", "HELLO all\n",
            "stale one: src/a.txt changed\nsealed one\n"
            "stale two: one changed\nsealed two\n"
            "stale loud: two changed\nsealed loud\n",
            1},
        /* An output that somebody edited is made again, never consumed. */
        {"two", "edited",
            "stale two: two is not what was made (edited?)\n"
            "warning: two was edited since it was made: kept as .psybuild/aside/two\n"
            "sealed two\n",
            1},
        {"one", NULL, "stale one: one is missing\nsealed one\n", 0},
        {"last", NULL, "stale last: last is missing\nsealed last\n", 0},
        {"length", "edited",
            "stale length: length is not what was made (edited?)\n"
            "warning: length was edited since it was made: kept as .psybuild/aside/length\n"
            "sealed length\n",
            1},
        /* A field that is not read; then one that is. */
        {"src/tokenizer_config.json", "{\"other\": 2, \"chat_template\": \"{{ a }}\"}", "", 1},
        {"src/tokenizer_config.json", "{\"chat_template\": \"{{ b }}\", \"other\": 2}",
            "stale chat_template.jinja: \"chat_template\" in src/tokenizer_config.json changed: "
            "\"{{ a }}\" -> \"{{ b }}\"\nsealed chat_template.jinja\n",
            1},
        {"src/tokenizer_config.json", "{\"other\": 2}",
            "stale chat_template.jinja: \"chat_template\" in src/tokenizer_config.json was "
            "removed; it was \"{{ b }}\"\nsealed chat_template.jinja\n",
            1},
        {"src/tokenizer_config.json", "{\"other\": 3}", "", 1},
        {"src/tokenizer_config.json", "{\"chat_template\": \"{{ c }}\"}",
            "stale chat_template.jinja: \"chat_template\" in src/tokenizer_config.json was added: "
            "\"{{ c }}\"\nsealed chat_template.jinja\n",
            1},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (rows[i].text == NULL)
            tree_remove(rows[i].path);
        else
            tree_write(rows[i].path, rows[i].text);
        check_run(rows[i].want, rows[i].files_hashed);
    }
}

static void what_is_no_json_any_more_is_said_by_planning(void **state)
{
    (void)state;
    tree_write("src/tokenizer_config.json", "{\"chat_template\": ");
    struct project_run run = {0};
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 1);
    assert_string_equal(run.said,
        "stale chat_template.jinja: src/tokenizer_config.json is no valid JSON any more\n"
        "failed chat_template.jinja: src/tokenizer_config.json:1:19: expected a value, found end "
        "of text\n");
    project_run_end(&run);
    assert_true(tree_has("chat_template.jinja")); /* the old one */
    tree_write("src/tokenizer_config.json", "{\"chat_template\": \"{{ a }}\"}");
    check_run("", 1);
}

static void each_edit_of_a_declaration_has_its_reason(void **state)
{
    static const struct {
        const char *from, *to, *want;
    } rows[] = {
        {"A-Z <", "x-z <",
            "stale loud: \"command[2]\" changed: \"tr a-z A-Z <\\\"$$0\\\" >\\\"$$1\\\"\" -> \"tr "
            "a-z "
            "x-z <\\\"$$0\\\" >\\\"$$1\\\"\"\nsealed loud\n"},
        {"\"command\": [\"sh\", \"-c\", \"tr",
            "\"env\": [\"PSY_A\"], \"command\": [\"sh\", \"-c\", "
            "\"tr",
            "stale loud: \"env\" was set to a list\nsealed loud\n"},
        {"\"src/a.txt\"", "[\"src/a.txt\"]", ""},
        {", \"${out}\"]}},\n\"length\"", ", \"${out}\", \"more\"]}},\n\"length\"",
            "stale loud: \"command[5]\" was set to \"more\"\nsealed loud\n"},
        {"\"sh\", \"-c\", \"wc -c <\\\"$$0\\\" >\\\"$$1\\\"\", \"${in.x}\", \"${out}\"",
            "\"cp\", \"${in.x}\", \"${out}\"",
            "stale length: \"command[0]\" changed: \"sh\" -> \"cp\"\nsealed length\n"},
        {"\"two\": {\"task\": \"copy\", \"in\": {\"files\": \"one\"}",
            "\"two\": {\"task\": "
            "\"copy\", \"in\": "
            "{\"files\": "
            "\"src/a.txt\"}",
            "stale two: its list of inputs changed\nconfirmed two\n"},
        {"\"two\": {\"task\": \"copy\", \"in\": {\"files\": \"one\"}",
            "\"two\": {\"task\": \"exec\", \"in\": {\"x\": \"one\"}, \"with\": {\"command\": "
            "[\"cp\", \"${in.x}\", \"${out}\"]}",
            "stale two: \"command\" was set to a list\nsealed two\n"},
    };
    (void)state;
    setenv("PSY_A", "1", 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        edit_manifest(rows[i].from, rows[i].to);
        struct project_run run = {.threads = 1};
        tree_assert_ok(project_run(&run));
        run.said[strnlen(run.said, strlen(rows[i].want))] = '\0'; /* its readers come after it */
        assert_string_equal(run.said, rows[i].want);
        project_run_end(&run);
        tree_write("psybuild.json", manifest);
        tree_assert_ok(project_run(&run));
        project_run_end(&run);
    }
}

static void an_environment_variable_that_is_named_counts(void **state)
{
    static const char text[] =
        "{\"psybuild\": 1, \"artifacts\": {\"out\": {\"task\": \"exec\", \"with\": {\"command\": "
        "[\"sh\", \"-c\", \"echo $$PSY_A >$$0\", \"${out}\"], \"env\": [\"PSY_A\"]}}}}";
    (void)state;
    tree_write("psybuild.json", text);
    setenv("PSY_A", "1", 1);
    check_run("stale out: it was never made\nsealed out\n", 0);
    setenv("PSY_A", "2", 1);
    check_run("stale out: an environment variable that it names changed\nsealed out\n", 0);
    unsetenv("PSY_A");
    check_run("stale out: an environment variable that it names changed\nsealed out\n", 0);
    edit_text(text, ", \"env\": [\"PSY_A\"]", "");
    check_run("stale out: \"env\" was unset\nsealed out\n", 0);
}

static void forced_targets_are_made_whatever_is_known(void **state)
{
    struct project_run run = {.is_forced = true, .target = "two", .threads = 1};
    (void)state;
    tree_assert_ok(project_run(&run));
    assert_string_equal(run.said, "stale two: -B remakes every target\nsealed two\n");
    project_run_end(&run);
    check_run("", 0); /* its readers see the same content */
}

static void a_dry_run_says_the_same_and_changes_nothing(void **state)
{
    (void)state;
    tree_write("src/a.txt", "another\n");
    struct project_run run = {.is_dry = true};
    tree_assert_ok(project_run(&run));
    assert_string_equal(run.said, "stale one: src/a.txt has another stamp and would be hashed\n"
                                  "stale two: it needs one, which would be made\n"
                                  "stale loud: it needs two, which would be made\n"
                                  "stale length: it needs loud, which would be made\n"
                                  "stale last: it needs length, which would be made\n");
    assert_int_equal(run.failures, 0);
    project_run_end(&run);
    struct arena arena = {0};
    assert_true(text_is(tree_read(&arena, "one"), "hello\n"));
    arena_end(&arena);
}

/* ---- reads that only larger tasks have: put into a record by hand ---- */

static struct hash128 hash_of_names(const char *directory)
{
    struct arena arena = {0};
    struct hash128 hash;
    struct file_entry *entries;
    size_t count;
    tree_assert_ok(files_hash_names(&arena, directory, &hash, &entries, &count));
    arena_end(&arena);
    return hash;
}

/* The reason why "one" is stale, with that read besides its own; NULL when it is fresh. */
static const char *check_with_read(struct arena *arena, struct record_read read, const char *path)
{
    _Atomic bool cancel = false;
    struct build_options options = {.manifest = "psybuild.json",
        .data_directory = "data",
        .registry = &registry,
        .cancel = &cancel};
    struct build *build;
    struct staleness staleness;
    tree_assert_ok(build_open(&options, NULL, &build));
    struct record *record = state_find_record(build->state, "one");
    struct record_read *reads = arena_array(&build->arena, record->read_count + 1, sizeof *reads);
    memcpy(reads, record->reads, record->read_count * sizeof *reads);
    read.file = FILE_NONE;
    if (path != NULL)
        tree_assert_ok(run_add_file(build, path, NULL, &read.file));
    reads[record->read_count++] = read;
    record->reads = reads;
    uint32_t index = map_get(&build->graph->node_by_name, "one");
    tree_assert_ok(stale_check(build, index, &build->arena, &staleness));
    const char *reason = NULL;
    if (staleness.verdict == VERDICT_STALE)
        reason = arena_format(arena, "%s", staleness.reason);
    assert_int_equal(staleness.file_count, 0);
    bool is_fresh;
    tree_assert_ok(stale_is_fresh_by_stamps(build, &build->graph->nodes[index], false, &is_fresh));
    assert_int_equal(is_fresh, reason == NULL);
    build_close(build);
    return reason;
}

static void lists_absences_and_layouts_count_too(void **state)
{
    struct arena arena = {0};
    struct record_read names = {
        .kind = READ_NAMES, .detail = "rules", .hash = hash_of_names("data/rules")};
    struct record_read absent = {.kind = READ_ABSENT, .detail = ""};
    struct record_read layout = {.kind = READ_LAYOUT, .detail = "two", .hash = {{1}}};
    (void)state;
    assert_null(check_with_read(&arena, names, "data/rules")); /* not there, as it was */
    tree_write("data/rules/a.json", "{}");
    assert_string_equal(
        check_with_read(&arena, names, "data/rules"), "the files in data/rules changed");
    names.hash = hash_of_names("data/rules");
    assert_null(check_with_read(&arena, names, "data/rules"));
    tree_write("data/rules/sub/b.json", "{}"); /* directories do not count */
    tree_write("data/rules/a.json", "{\"other\": \"content\"}");
    assert_null(check_with_read(&arena, names, "data/rules"));
    tree_write("data/rules/b.json", "{}");
    assert_string_equal(
        check_with_read(&arena, names, "data/rules"), "the files in data/rules changed");
    names.hash = hash_of_names("rules");
    assert_string_equal(
        check_with_read(&arena, names, "rules"), "rules are installed elsewhere than in rules");

    assert_null(check_with_read(&arena, absent, "new.json"));
    tree_write("new.json", "{}");
    assert_string_equal(check_with_read(&arena, absent, "new.json"), "new.json appeared");

    assert_string_equal(check_with_read(&arena, layout, NULL), "the layout of two changed");
    layout.detail = "nosuch";
    assert_string_equal(check_with_read(&arena, layout, NULL), "the layout of nosuch changed");
    arena_end(&arena);
}

static void what_was_read_and_is_gone_is_named(void **state)
{
    (void)state;
    tree_write("psybuild.json",
        "{\"psybuild\": 1, \"artifacts\": {\"out\": {\"task\": \"exec\", \"with\": {\"command\": "
        "[\"sh\", \"-c\", \"echo x >$$0; echo $$0: dep.txt >$$0.d\", \"${out}\"], \"depfile\": "
        "\"${out}.d\"}}}}");
    tree_write("dep.txt", "1");
    check_run("stale out: it was never made\nsealed out\n", 0);
    tree_write("dep.txt", "2");
    check_run("stale out: dep.txt changed\nsealed out\n", 1);
    tree_remove("dep.txt");
    struct project_run run = {.is_dry = true};
    tree_assert_ok(project_run(&run));
    assert_string_equal(run.said, "stale out: dep.txt is gone\n");
    project_run_end(&run);
}

/* ---- hashes ---- */

static void fields_are_hashed_by_value(void **state)
{
    static const struct {
        const char *a, *b;
        bool is_same;
    } rows[] = {
        {"{\"a\": 1, \"b\": [true]}", "{\"b\":[true],\"a\":1}", true},
        {"\"\\u0061\"", "\"a\"", true},
        {"1", "1.0", false},
        {"[1, 2]", "[2, 1]", false},
        {"\"1\"", "1", false},
        {"null", "false", false},
        {"{}", "[]", false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        const struct json_document *a, *b;
        struct hash128 hash_a, hash_b, absent, zero = {{0}};
        tree_assert_ok(json_parse(&arena, "a", text_of(rows[i].a), JSON_TOLERANT, &a));
        tree_assert_ok(json_parse(&arena, "b", text_of(rows[i].b), JSON_TOLERANT, &b));
        tree_assert_ok(files_hash_field(&arena, &a->root, &hash_a));
        tree_assert_ok(files_hash_field(&arena, &b->root, &hash_b));
        tree_assert_ok(files_hash_field(&arena, NULL, &absent));
        assert_int_equal(hash_equal(&hash_a, &hash_b), rows[i].is_same);
        assert_true(hash_equal(&absent, &zero));
        assert_false(hash_equal(&hash_a, &zero)); /* null is a value, too */
        arena_end(&arena);
    }
}

/* A source of addresses: what is fetched anew is hashed only when its readers ask. */
static void a_fetched_file_with_the_same_field_stops_there(void **state)
{
    static const char *const texts[] = {"{\"chat_template\": \"{{ a }}\", \"other\": 1}",
        "{\"chat_template\": \"{{ a }}\", \"other\": 2}"};
    struct arena arena = {0};
    char *here;
    (void)state;
    tree_assert_ok(file_current_directory(&arena, &here));
    for (unsigned i = 0; i < COUNT(texts); i++) {
        char path[16], *identity;
        snprintf(path, sizeof path, "up/%u.json", i);
        tree_write(path, texts[i]);
        tree_assert_ok(registry.identify(&arena, path, "sha256:", &identity));
        tree_write("psybuild.json",
            arena_format(&arena,
                "{\"psybuild\": 1, \"sources\": {\"far\": {\"files\": {\"c.json\": {\"url\": "
                "\"file://%s/%s\", \"hash\": \"%s\"}}}}, \"artifacts\": {\"t.jinja\": {\"task\": "
                "\"chat-template\", \"in\": {\"config\": \"far/c.json\"}}}}",
                here, path, identity));
        struct project_run run = {.threads = 1};
        tree_assert_ok(project_run(&run));
        assert_int_equal(run.failures, 0);
        if (i == 0)
            assert_string_equal(run.said, "stale far/c.json: it was never made\nsealed far/c.json\n"
                                          "stale t.jinja: it was never made\nsealed t.jinja\n");
        else
            assert_int_equal(strncmp(run.said, "stale far/c.json: \"identity\" changed: ", 38), 0);
        assert_int_equal(run.stats.nodes_made, i == 0 ? 2 : 1);
        project_run_end(&run);
        tree_assert_ok(project_run(&run));
        assert_true(run.is_null);
        project_run_end(&run);
    }
    arena_end(&arena);
}

#define TREE_TEST(test) cmocka_unit_test_setup_teardown(test, begin, tree_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TREE_TEST(a_second_run_finds_nothing_to_do),
        TREE_TEST(touch_costs_one_hash_then_nothing),
        TREE_TEST(edits_of_the_manifest_that_change_no_key_make_nothing),
        TREE_TEST(each_change_has_its_reason_and_goes_as_far_as_it_reaches),
        TREE_TEST(what_is_no_json_any_more_is_said_by_planning),
        TREE_TEST(each_edit_of_a_declaration_has_its_reason),
        TREE_TEST(an_environment_variable_that_is_named_counts),
        TREE_TEST(forced_targets_are_made_whatever_is_known),
        TREE_TEST(a_dry_run_says_the_same_and_changes_nothing),
        TREE_TEST(lists_absences_and_layouts_count_too),
        TREE_TEST(what_was_read_and_is_gone_is_named),
        cmocka_unit_test(fields_are_hashed_by_value),
        TREE_TEST(a_fetched_file_with_the_same_field_stops_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
