/* test_schedule.c - whole runs of a few small nodes: who waits for whom, and what a failure, a dry
 * run and an interruption leave behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/pieces.h"
#include "engine/seal.h"
#include "tasks/registry.h"
#include "tests/support/project.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define COPY(from) "{\"task\": \"copy\", \"in\": {\"files\": \"" from "\"}}"
#define RUN(from, command)                                                                         \
    "{\"task\": \"exec\", \"in\": {\"x\": \"" from                                                 \
    "\"}, \"with\": {\"command\": [\"sh\", \"-c\", "                                               \
    "\"" command "\", \"${out}\", \"${in.x}\"]}}"

static bool has_line(const char *text, const char *line)
{
    const char *found = strstr(text, line);
    size_t length = strlen(line);
    return found != NULL && (found == text || found[-1] == '\n') && found[length] == '\n';
}

static void a_failure_stops_its_readers_and_nobody_else(void **state)
{
    struct project_run run = {0};
    (void)state;
    tree_write("in", "x");
    tree_write("psybuild.json",
        "{\"psybuild\": 1, \"artifacts\": {\"bad\": " RUN("in", "exit 3") ", \"after\": " COPY(
            "bad") ", \"later\": " COPY("after") ", \"good\": " COPY("in") "}}");
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 1);
    assert_true(has_line(run.said, "sealed good"));
    assert_null(strstr(run.said, "after"));
    assert_null(strstr(run.said, "later"));
    assert_false(tree_has("bad"));
    assert_true(tree_has("good"));
    project_run_end(&run);
    tree_write("psybuild.json",
        "{\"psybuild\": 1, \"artifacts\": {\"bad\": " COPY("in") ", \"after\": " COPY(
            "bad") ", \"later\": " COPY("after") ", \"good\": " COPY("in") "}}");
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 0);
    assert_int_equal(run.stats.nodes_made, 3);
    project_run_end(&run);
}

static void a_group_is_sealed_whole_or_not_at_all(void **state)
{
    static const char text[] =
        "{\"psybuild\": 1, \"artifacts\": {\"g/a\": {\"task\": \"copy\", \"in\": {\"files\": "
        "\"in\"}, \"group\": \"g\"}, \"g/b\": {\"task\": \"exec\", \"in\": {\"x\": \"g/a\"}, "
        "\"with\": {\"command\": [\"sh\", \"-c\", \"%s\", \"${out}\", \"${in.x}\"]}, \"group\": "
        "\"g\"}, \"outside\": " COPY("g/a") "}}";
    struct project_run run = {0};
    char manifest[1024];
    (void)state;
    tree_write("in", "x");
    snprintf(manifest, sizeof manifest, text, "exit 1");
    tree_write("psybuild.json", manifest);
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 1);
    assert_false(tree_has("g/a") || tree_has("g/b") || tree_has("outside"));
    project_run_end(&run);
    snprintf(manifest, sizeof manifest, text, "cat $$1 $$1 >$$0");
    tree_write("psybuild.json", manifest);
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 0);
    struct arena arena = {0};
    assert_true(text_is(tree_read(&arena, "g/b"), "xx"));
    assert_true(text_is(tree_read(&arena, "outside"), "x"));
    project_run_end(&run);
    arena_end(&arena);
}

/* While the first two wait for their inputs' hashes, planning another node has the first input
 * changed: that hash fails, and with it its node and its readers. The second must be made. */
static void change_input(struct project_run *run, const struct build_event *event)
{
    (void)run;
    struct file *file;
    if (event->kind != EVENT_STALE || strcmp(event->node, "trigger") != 0)
        return;
    tree_assert_ok(file_open_staged("in/1", &file));
    tree_assert_ok(file_write_at(file, file_size(file), "!", 1)); /* what is being read stays */
    file_close(file);
}

static void a_hash_that_fails_leaves_the_others_that_wait(void **state)
{
    static const char
        text[] = "{\"psybuild\": 1, \"artifacts\": {\"h1\": " COPY("in/1") ", \"h2\": " COPY("in/2") ", %s\"r1\": " COPY(
            "h1") ", \"r2\": " COPY("h1") ", \"r3\": " COPY("h1") ", \"r4\": " COPY("r1") ", "
                                                                                          "\"s\":"
                                                                                          " " COPY(
                                                                                              "h2") "}}";
    struct project_run run = {0};
    char manifest[1024];
    (void)state;
    tree_write("in/1", "one");
    tree_write("in/2", "two");
    snprintf(manifest, sizeof manifest, text, "");
    tree_write("psybuild.json", manifest);
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 0);
    project_run_end(&run);
    tree_write("in/1", "other");
    tree_write("in/2", "another");
    snprintf(manifest, sizeof manifest, text, "\"trigger\": " COPY("psybuild.json") ", ");
    tree_write("psybuild.json", manifest);
    run.on_event = change_input;
    run.threads = 1; /* in the order in which they were asked for */
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 1);
    assert_true(has_line(run.said, "failed h1: in/1 changed while it was read"));
    assert_true(has_line(run.said, "sealed h2"));
    assert_true(has_line(run.said, "sealed s"));
    assert_null(strstr(run.said, "r1"));
    project_run_end(&run);
}

/* ---- a partial that an interrupted build left ---- */

enum { BLOCK = 4 << 20, BLOCKS = 3 };

static void write_large(void)
{
    unsigned char *bytes = test_malloc(BLOCK * BLOCKS);
    for (size_t i = 0; i < BLOCK * BLOCKS; i++)
        bytes[i] = (unsigned char)(i * 13 + (i >> 12));
    tree_write_bytes("in", bytes, BLOCK * BLOCKS);
    test_free(bytes);
}

/* As a killed build leaves it: the first piece staged and recorded. */
static void leave_partial(struct arena *arena)
{
    struct node node = {.name = "out", .directory = ""};
    const char *directory;
    struct text in = tree_read(arena, "in");
    tree_assert_ok(file_make_directories(".psybuild"));
    tree_assert_ok(seal_partial_directory(NULL, arena, &node, &directory));
    tree_assert_ok(file_make_directories(directory));
    struct file *staged;
    tree_assert_ok(file_open_staged(path_join(arena, directory, "out"), &staged));
    tree_assert_ok(file_set_size(staged, BLOCK * BLOCKS));
    tree_assert_ok(file_write_at(staged, 0, in.bytes, BLOCK));
    file_close(staged);
    struct piece_file input = {.path = "in"}, output = {.path = "out",
                                                  .size_bytes = BLOCK * BLOCKS,
                                                  .head = hash_text(TEXT_EMPTY)};
    struct file_stamp stamp;
    tree_assert_ok(file_stat_settled("in", &stamp));
    input.head = hash_bytes(&stamp, sizeof stamp);
    struct hash128 hash = hash_bytes(in.bytes, BLOCK);
    char key[64];
    snprintf(key, sizeof key, "copy %u 0 %d", task_copy.version, BLOCK);
    struct piece_part part = {.size_bytes = BLOCK, .hash_count = 1, .hashes = &hash};
    struct piece_record record = {.key = hash_text(text_of(key)),
        .input_count = 1,
        .output_count = 1,
        .inputs = {part},
        .outputs = {part}};
    struct piece_log *log;
    tree_assert_ok(
        pieces_begin(arena, path_join(arena, directory, "pieces"), &input, 1, &output, 1, &log));
    tree_assert_ok(pieces_append(log, &record));
    pieces_close(log);
}

static void a_dry_run_leaves_a_partial_to_be_taken_up(void **state)
{
    struct arena arena = {0};
    struct project_run run = {.is_dry = true};
    (void)state;
    write_large();
    leave_partial(&arena);
    tree_write("psybuild.json", "{\"psybuild\": 1, \"artifacts\": {\"out\": " COPY("in") "}}");
    for (int i = 0; i < 2; i++) {
        tree_assert_ok(project_run(&run));
        assert_string_equal(run.said, "stale out: it was never made\n");
        assert_int_equal(run.failures, 0);
        project_run_end(&run);
        run.is_dry = true;
    }
    run.is_dry = false;
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 0);
    assert_int_equal(run.stats.pieces_kept, 1);
    assert_int_equal(run.stats.pieces_made, BLOCKS - 1);
    assert_int_equal(run.stats.bytes_written, (uint64_t)BLOCK * (BLOCKS - 1));
    project_run_end(&run);
    assert_true(text_equal(tree_read(&arena, "out"), tree_read(&arena, "in")));
    assert_false(tree_has(".psybuild/partial/x"));
    arena_end(&arena);
}

static void staged_bytes_that_are_not_what_was_recorded_are_made_again(void **state)
{
    struct arena arena = {0};
    struct node node = {.name = "out", .directory = ""};
    struct project_run run = {0};
    const char *directory;
    struct file *staged;
    (void)state;
    write_large();
    leave_partial(&arena);
    tree_assert_ok(seal_partial_directory(NULL, &arena, &node, &directory));
    tree_assert_ok(file_open_staged(path_join(&arena, directory, "out"), &staged));
    tree_assert_ok(file_write_at(staged, 1000, "!", 1));
    file_close(staged);
    tree_write("psybuild.json", "{\"psybuild\": 1, \"artifacts\": {\"out\": " COPY("in") "}}");
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 0);
    project_run_end(&run);
    assert_true(text_equal(tree_read(&arena, "out"), tree_read(&arena, "in")));
    tree_assert_ok(project_run(&run));
    assert_true(run.is_null);
    project_run_end(&run);
    arena_end(&arena);
}

static void a_fetched_file_that_is_there_is_adopted(void **state)
{
    struct arena arena = {0};
    struct project_run run = {0};
    struct file_stamp before, after;
    char *identity;
    (void)state;
    tree_write("far/there.json", "{}");
    tree_assert_ok(registry.identify(&arena, "far/there.json", "sha256:", &identity));
    tree_write("psybuild.json",
        arena_format(&arena,
            "{\"psybuild\": 1, \"sources\": {\"far\": {\"files\": {\"there.json\": {\"url\": "
            "\"file:///no/such/file\", \"hash\": \"%s\"}}}}, \"artifacts\": {\"out\": " COPY(
                "far/there.json") "}}",
            identity));
    tree_assert_ok(file_stat_settled("far/there.json", &before));
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 0);
    project_run_end(&run);
    tree_assert_ok(file_stat_settled("far/there.json", &after));
    assert_true(file_stamp_equal(&before, &after)); /* neither fetched nor touched */
    assert_true(text_is(tree_read(&arena, "out"), "{}"));
    tree_assert_ok(project_run(&run));
    assert_true(run.is_null);
    project_run_end(&run);
    arena_end(&arena);
}

#define TREE_TEST(test) cmocka_unit_test_setup_teardown(test, tree_begin, tree_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TREE_TEST(a_failure_stops_its_readers_and_nobody_else),
        TREE_TEST(a_group_is_sealed_whole_or_not_at_all),
        TREE_TEST(a_hash_that_fails_leaves_the_others_that_wait),
        TREE_TEST(a_fetched_file_that_is_there_is_adopted),
        TREE_TEST(a_dry_run_leaves_a_partial_to_be_taken_up),
        TREE_TEST(staged_bytes_that_are_not_what_was_recorded_are_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
