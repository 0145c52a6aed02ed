/* test_schedule.c - whole runs of a few small nodes: who waits for whom, and what a failure, a dry
 * run and an interruption leave behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/directory.h"
#include "base/jobserver.h"
#include "engine/state/pieces.h"
#include "engine/seal/seal.h"
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

/* ---- how many at once, and which first ---- */

enum { COMMANDS = 6 };

/* Nodes "o1" to "o6" that need nothing of each other, each with these members; their command notes
 * in "counts" how many run as it does. */
static void declare_counting(const char *members, const char *member)
{
    static const char job[] = "mkdir -p running/$$; ls running | wc -l >>counts; sleep 0.03; "
                              "rmdir running/$$; : >\"$1\"\n";
    struct arena arena = {0};
    const char *artifacts = "";
    tree_write("job.sh", job);
    for (int i = 1; i <= COMMANDS; i++)
        artifacts = arena_format(&arena,
            "%s%s\"o%d\": {\"task\": \"exec\", \"in\": {\"job\": \"job.sh\"}, \"with\": "
            "{\"command\": "
            "[\"sh\", \"${in.job}\", \"${out}\"]}%s}",
            artifacts, i == 1 ? "" : ", ", i, member);
    tree_write("psybuild.json",
        arena_format(&arena, "{\"psybuild\": 1, %s\"artifacts\": {%s}}", members, artifacts));
    arena_end(&arena);
}

/* Runs them, and says how many ran at once. */
static long most_at_once(struct project_run run)
{
    struct arena arena = {0};
    long most = 0;
    int lines = 0;
    run.threads = COMMANDS;
    tree_assert_ok(project_run(&run));
    if (run.failures > 0)
        fail_msg("%s", run.said);
    for (const char *at = tree_read(&arena, "counts").bytes; *at != '\0'; lines++) {
        char *end;
        long count = strtol(at, &end, 10);
        most = count > most ? count : most;
        at = end + strspn(end, " \n");
    }
    assert_int_equal(lines, COMMANDS);
    project_run_end(&run);
    arena_end(&arena);
    return most;
}

static void a_pool_bounds_what_runs_at_once(void **state)
{
    static const struct {
        const char *members, *member;
        long least, most;
    } rows[] = {
        {"", "", 3, COMMANDS}, /* else the others would prove nothing */
        {"\"pools\": {\"gpu\": 1}, ", ", \"pool\": \"gpu\"", 1, 1},
        {"\"pools\": {\"gpu\": 2}, ", ", \"pool\": \"gpu\"", 2, 2},
        {"\"pools\": {\"gpu\": 1}, ", "", 3, COMMANDS},
        {"", ", \"pool\": \"console\"", 1, 1},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        declare_counting(rows[i].members, rows[i].member);
        long most = most_at_once((struct project_run){0});
        if (most < rows[i].least || most > rows[i].most)
            fail_msg("row %zu: %ld ran at once", i, most);
        tree_remove("counts");
        tree_remove(".psybuild");
    }
}

static void pools_do_not_wait_for_each_other(void **state)
{
    struct project_run run = {.threads = 2};
    (void)state;
    tree_write("in", "x");
    tree_write("psybuild.json", /* each waits, for 5 s at most, until the other runs as well */
        "{\"psybuild\": 1, \"pools\": {\"a\": 1, \"b\": 1}, \"artifacts\": {"
        "\"one\": {\"pool\": \"a\", \"task\": \"exec\", \"in\": {\"x\": \"in\"}, \"with\": "
        "{\"command\": "
        "[\"sh\", \"-c\", \": >1; i=0; while [ ! -e 2 ]; do i=$$((i+1)); [ $$i -lt 500 ] || exit "
        "1; "
        "sleep 0.01; done; : >$$0\", \"${out}\"]}}, "
        "\"two\": {\"pool\": \"b\", \"task\": \"exec\", \"in\": {\"x\": \"in\"}, \"with\": "
        "{\"command\": "
        "[\"sh\", \"-c\", \": >2; i=0; while [ ! -e 1 ]; do i=$$((i+1)); [ $$i -lt 500 ] || exit "
        "1; "
        "sleep 0.01; done; : >$$0\", \"${out}\"]}}}}");
    tree_assert_ok(project_run(&run));
    if (run.failures > 0)
        fail_msg("%s", run.said);
    project_run_end(&run);
}

static void an_unknown_pool_is_an_error_with_the_nearest_name(void **state)
{
    static const struct {
        const char *pool, *want;
    } rows[] = {
        {"gpus", "psybuild.json:1:107: unknown pool \"gpus\"; did you mean \"gpu\"?"},
        {"consol", "psybuild.json:1:107: unknown pool \"consol\"; did you mean \"console\"?"},
        {"other", "psybuild.json:1:107: unknown pool \"other\""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct project_run run = {0};
        char text[256];
        snprintf(text, sizeof text,
            "{\"psybuild\": 1, \"pools\": {\"gpu\": 1}, \"artifacts\": {\"out\": {\"task\": "
            "\"copy\", \"in\": {\"files\": \"in\"}, \"pool\": \"%s\"}}}",
            rows[i].pool);
        tree_write("psybuild.json", text);
        struct error *error = project_run(&run);
        assert_non_null(error);
        assert_string_equal(error_text(error), rows[i].want);
        error_free(error);
        project_run_end(&run);
    }
}

static void under_any_load_one_at_a_time_goes_on(void **state)
{
    (void)state;
    if (load_average() <= 0) {
        print_message("skipped: nothing loads this machine\n");
        skip();
    }
    declare_counting("", "");
    assert_int_equal(most_at_once((struct project_run){.load_max = 1e-9}), 1);
    tree_remove("counts");
    tree_remove(".psybuild");
    assert_true(most_at_once((struct project_run){.load_max = 1e9}) > 1);
}

/* Three quick nodes in a chain, and one that takes longer than all of them. */
static void declare_chain_and_slow(const char *stamp)
{
    char manifest[2048];
#define NOTE(name, in, more) "\"" name "\": " RUN(in, "echo " name " >>order; " more "echo %s >$$0")
    snprintf(manifest, sizeof manifest,
        "{\"psybuild\": 1, \"artifacts\": {" NOTE("c1", "in", "") ", " NOTE(
            "c2", "c1", "") ", " NOTE("c3", "c2", "") ", " NOTE("slow", "in", "sleep 0.3; ") "}}",
        stamp, stamp, stamp, stamp);
#undef NOTE
    tree_write("psybuild.json", manifest);
}

static void what_took_longest_is_begun_first(void **state)
{
    static const struct {
        unsigned threads;
        const char *stamp, *first;
    } rows[] = {
        {1, "one", "c1\n"}, /* nothing is known: the longest chain */
        {2, "two", ""},     /* measured: nobody waits for a thread */
        {1, "three", "slow\n"},
    };
    struct arena arena = {0};
    (void)state;
    tree_write("in", "x");
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct project_run run = {.threads = rows[i].threads};
        declare_chain_and_slow(rows[i].stamp);
        tree_assert_ok(project_run(&run));
        if (run.failures > 0)
            fail_msg("%s", run.said);
        if (!text_starts_with(tree_read(&arena, "order"), rows[i].first))
            fail_msg("row %zu: %s", i, tree_read(&arena, "order").bytes);
        tree_remove("order");
        project_run_end(&run);
    }
    arena_end(&arena);
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
    tree_assert_ok(places_partial(arena, &node, &directory));
    tree_assert_ok(file_make_directories(places_files(arena, directory)));
    struct file *staged;
    tree_assert_ok(file_open_staged(places_staged(arena, directory, "out"), &staged));
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
    snprintf(key, sizeof key, "copy %u out 0 %d", task_copy.version, BLOCK);
    struct piece_part part = {.size_bytes = BLOCK, .hash_count = 1, .hashes = &hash};
    struct piece_record record = {.key = hash_text(text_of(key)),
        .input_count = 1,
        .output_count = 1,
        .inputs = {part},
        .outputs = {part}};
    struct piece_log *log;
    tree_assert_ok(
        pieces_begin(arena, places_partial_log(arena, directory), &input, 1, &output, 1, &log));
    tree_assert_ok(pieces_publish(log));
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
    tree_assert_ok(places_partial(&arena, &node, &directory));
    tree_assert_ok(file_open_staged(places_staged(&arena, directory, "out"), &staged));
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

/* ---- fetched files ---- */

/* A source "name" of one file "f", which is fetched from "far"; `more` are its other members. */
static const char *far_source(struct arena *arena, const char *name, const char *more)
{
    char here[4096], *identity;
    assert_non_null(getcwd(here, sizeof here));
    tree_assert_ok(registry.identify(arena, "far", "sha256:", &identity));
    return arena_format(arena,
        "\"%s\": {\"files\": {\"f\": {\"url\": \"file://%s/far\", \"hash\": \"%s\"}}%s}", name,
        here, identity, more);
}

static void declare(struct arena *arena, const char *sources, const char *artifacts)
{
    tree_write("psybuild.json",
        arena_format(arena, "{\"psybuild\": 1, \"sources\": {%s}, \"artifacts\": {%s}}", sources,
            artifacts));
}

static void assert_run_of(const char *target, const char *want)
{
    struct project_run run = {.target = target};
    tree_assert_ok(project_run(&run));
    assert_string_equal(run.said, want);
    project_run_end(&run);
}

/* "out" alone is asked for, and reads a file that only "copy" declares. */
static void what_a_depfile_names_need_not_be_wanted(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_write("far", "far");
    tree_write("in", "one");
    declare(&arena, far_source(&arena, "dl", ""),
        "\"copy\": " COPY("dl/f") ", \"out\": {\"task\": \"exec\", \"in\": {\"x\": \"in\"}, "
                                  "\"with\": {\"command\": [\"sh\", \"-c\", \"cat $$1 dl/f >$$0; "
                                  "echo $$0: dl/f >$$0.d\", "
                                  "\"${out}\", \"${in.x}\"], \"depfile\": \"${out}.d\"}}");
    assert_run_of("copy", "stale dl/f: it was never made\nsealed dl/f\n"
                          "stale copy: it was never made\nsealed copy\n");
    assert_run_of("out", "stale out: it was never made\nsealed out\n");
    tree_write("in", "two");
    assert_run_of("out", "stale out: in changed\nsealed out\n");
    assert_true(text_is(tree_read(&arena, "out"), "twofar"));
    arena_end(&arena);
}

/* "read" waits for a hash when "late" has the file fetched again that both read. */
static void who_waits_for_a_hash_comes_again_when_a_need_was_given_up(void **state)
{
    static const char keep[] = ", \"keep\": \"until-used\"", read[] = "\"read\": " COPY("dl/f");
    struct arena arena = {0};
    struct project_run run = {0};
    (void)state;
    tree_write("far", "far");
    declare(&arena, far_source(&arena, "dl", keep), read);
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 0);
    project_run_end(&run);
    assert_false(tree_has("dl/f"));
    tree_write("read", "far"); /* with another stamp */
    declare(&arena, far_source(&arena, "dl", keep),
        arena_format(&arena, "%s, \"late\": " COPY("dl/f"), read));
    tree_assert_ok(project_run(&run));
    assert_int_equal(run.failures, 0);
    assert_true(has_line(run.said, "stale dl/f: it was given back, and late needs it"));
    assert_true(has_line(run.said, "sealed late"));
    assert_null(strstr(run.said, " read"));
    project_run_end(&run);
    assert_false(tree_has("dl/f"));
    arena_end(&arena);
}

/* The second is looked at when the first is found to be what it should be, and nobody else is at
 * work. */
static void a_file_is_copied_from_a_source_that_has_it_already(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_write("far", "far");
    tree_write("a/f", "far");
    declare(&arena,
        arena_format(&arena, "%s, %s", far_source(&arena, "a", ""), far_source(&arena, "b", "")),
        "\"out\": {\"task\": \"exec\", \"in\": {\"x\": \"a/f\", \"y\": \"b/f\"}, \"with\": "
        "{\"command\": [\"cp\", \"${in.y}\", \"${out}\"]}}");
    project_assert_run("stale b/f: it was never made\nsealed b/f\nstale out: it was never made\n"
                       "sealed out\n");
    arena_end(&arena);
}

/* ---- dry runs ---- */

static void a_dry_run_says_one_error_for_one_failure(void **state)
{
    struct project_run run = {.is_dry = true};
    (void)state;
    tree_write("bad.safetensors", "no shard");
    tree_write("psybuild.json",
        "{\"psybuild\": 1, \"artifacts\": {\"one.safetensors\": {\"task\": \"merge\", \"in\": "
        "{\"weights\": \"bad.safetensors\"}}, \"two.safetensors\": {\"task\": \"merge\", \"in\": "
        "{\"weights\": \"one.safetensors\"}}}}");
    tree_assert_ok(project_run(&run));
    assert_string_equal(run.said,
        "failed one.safetensors: bad.safetensors: expected a safetensors header of at most "
        "100000000 bytes, found 7237954652373806958\n");
    assert_int_equal(run.failures, 1);
    project_run_end(&run);
}

enum { COPIES = 64, OPEN_MAX_HERE = 48 };

static void a_dry_run_needs_few_open_files(void **state)
{
    struct arena arena = {0};
    struct rlimit limit, low;
    const char *artifacts = "";
    (void)state;
    write_large();
    for (int i = 0; i < COPIES; i++)
        artifacts =
            arena_format(&arena, "%s%s\"o%d\": " COPY("in"), artifacts, i == 0 ? "" : ", ", i);
    declare(&arena, "", artifacts);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    low.rlim_cur = OPEN_MAX_HERE;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    struct project_run run = {.is_dry = true};
    struct error *error = project_run(&run);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    tree_assert_ok(error);
    if (run.failures > 0)
        fail_msg("%s", run.said);
    project_run_end(&run);
    arena_end(&arena);
}

/* ---- pieces of several large files ---- */

/* `count` blocks of which each byte tells file, block and edit. */
static void write_blocks(const char *path, unsigned count, unsigned char value)
{
    unsigned char *bytes = test_malloc((size_t)BLOCK * count);
    memset(bytes, value, (size_t)BLOCK * count);
    tree_write_bytes(path, bytes, (size_t)BLOCK * count);
    test_free(bytes);
}

static void assert_same_file(const char *one, const char *other)
{
    struct arena arena = {0};
    if (!text_equal(tree_read(&arena, one), tree_read(&arena, other)))
        fail_msg("%s is not %s", one, other);
    arena_end(&arena);
}

/* Both have a piece of each offset and size, and one input more stands before them. */
static void a_piece_is_taken_over_from_its_own_file(void **state)
{
    static const char *const files[] = {"\"b\", \"c\"", "\"a\", \"b\", \"c\""};
    struct arena arena = {0};
    (void)state;
    tree_write("a", "small");
    write_blocks("b", 2, 'b');
    write_blocks("c", 2, 'c');
    for (size_t i = 0; i < COUNT(files); i++) {
        struct project_run run = {0};
        declare(&arena, "",
            arena_format(
                &arena, "\"out/*\": {\"task\": \"copy\", \"in\": {\"files\": [%s]}}", files[i]));
        tree_assert_ok(project_run(&run));
        if (run.failures > 0)
            fail_msg("%s", run.said);
        assert_int_equal(run.stats.pieces_made, i == 0 ? 4 : 0);
        project_run_end(&run);
        assert_same_file("out/b", "b");
        assert_same_file("out/c", "c");
    }
    arena_end(&arena);
}

/* "g/b" is made of the staged "g/a", and stays in its partial when the group fails; then "in" is
 * what it was, the old "g/a" is good, and "g/b" is missing. */
static void what_was_made_of_another_staged_file_is_not_taken_up(void **state)
{
    static const char text[] =
        "{\"psybuild\": 1, \"artifacts\": {\"g/a\": {\"task\": \"copy\", \"in\": {\"files\": "
        "\"in\"}, \"group\": \"g\"}, \"g/b\": {\"task\": \"copy\", \"in\": {\"files\": \"g/a\"}, "
        "\"group\": \"g\"}, \"g/c\": {\"task\": \"exec\", \"in\": {\"x\": \"g/b\"}, \"with\": "
        "{\"command\": [\"sh\", \"-c\", \"test ! -e fails && : >$$0\", \"${out}\"]}, \"group\": "
        "\"g\"}}}";
    struct project_run run = {0};
    (void)state;
    tree_write("psybuild.json", text);
    for (unsigned i = 0; i < 3; i++) {
        write_blocks("in", 2, i == 1 ? 'y' : 'x');
        if (i == 1)
            tree_write("fails", "");
        if (i == 2)
            tree_remove("g/b");
        tree_assert_ok(project_run(&run));
        assert_int_equal(run.failures, i == 1);
        project_run_end(&run);
        if (i == 1)
            tree_remove("fails");
    }
    assert_same_file("g/a", "in");
    assert_same_file("g/b", "in");
}

#define TREE_TEST(test) cmocka_unit_test_setup_teardown(test, tree_begin, tree_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TREE_TEST(a_failure_stops_its_readers_and_nobody_else),
        TREE_TEST(a_group_is_sealed_whole_or_not_at_all),
        TREE_TEST(a_hash_that_fails_leaves_the_others_that_wait),
        TREE_TEST(a_pool_bounds_what_runs_at_once),
        TREE_TEST(pools_do_not_wait_for_each_other),
        TREE_TEST(an_unknown_pool_is_an_error_with_the_nearest_name),
        TREE_TEST(under_any_load_one_at_a_time_goes_on),
        TREE_TEST(what_took_longest_is_begun_first),
        TREE_TEST(a_fetched_file_that_is_there_is_adopted),
        TREE_TEST(what_a_depfile_names_need_not_be_wanted),
        TREE_TEST(who_waits_for_a_hash_comes_again_when_a_need_was_given_up),
        TREE_TEST(a_file_is_copied_from_a_source_that_has_it_already),
        TREE_TEST(a_dry_run_says_one_error_for_one_failure),
        TREE_TEST(a_dry_run_needs_few_open_files),
        TREE_TEST(a_dry_run_leaves_a_partial_to_be_taken_up),
        TREE_TEST(a_piece_is_taken_over_from_its_own_file),
        TREE_TEST(what_was_made_of_another_staged_file_is_not_taken_up),
        TREE_TEST(staged_bytes_that_are_not_what_was_recorded_are_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
