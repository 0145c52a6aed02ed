/* test_program.c - the program as its users meet it: what it says, and how it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/directory.h"
#include "base/file_lock.h"
#include "base/json.h"
#include "base/library.h"
#include "tests/support/program.h"
#include "tests/support/tree.h"

#define MANIFEST(artifacts) "{\"psybuild\": 1, \"artifacts\": {" artifacts "}}"
#define COPY(name, from) "\"" name "\": {\"task\": \"copy\", \"in\": {\"files\": \"" from "\"}}"
#define EXEC(name, command)                                                                        \
    "\"" name "\": {\"task\": \"exec\", \"with\": {\"command\": " command "}}"

static struct arena arena; /* of the running test */

static int end(void **state)
{
    arena_end(&arena);
    return tree_end(state);
}

static struct program run(const char *const *arguments)
{
    static const char *const environment[] = {"TERM", "dumb", NULL};
    return program_run(&arena, arguments, environment);
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static void assert_said(struct program program, int exit_code, const char *want)
{
    assert_string_equal(program.said.bytes, want);
    assert_int_equal(program.exit_code, exit_code);
}

/* What it said without the time at the end of its closing line, which no test knows. */
static void assert_said_timed(struct program program, int exit_code, const char *want)
{
    const char *in = NULL, *said = program.said.bytes;
    for (const char *at = said; (at = strstr(at, " in ")) != NULL; at++)
        in = at;
    assert_non_null(in);
    assert_string_equal(arena_copy(&arena, said, (size_t)(in - said)), want);
    assert_int_equal(program.exit_code, exit_code);
}

static void assert_says(struct program program, int exit_code, const char *part)
{
    if (strstr(program.said.bytes, part) == NULL)
        assert_string_equal(program.said.bytes, part);
    assert_int_equal(program.exit_code, exit_code);
}

static void copy_miniature(void)
{
    char *from = arena_format(&arena, "%s/tests/golden/miniature/source", tree_source());
    struct file_entry *entries;
    size_t count;
    tree_assert_ok(file_list_directory(&arena, from, &entries, &count));
    for (size_t i = 0; i < count; i++) {
        struct text bytes = tree_read(&arena, path_join(&arena, from, entries[i].name));
        tree_write_bytes(
            path_join(&arena, "models/PsyLLM", entries[i].name), bytes.bytes, bytes.length);
    }
}

static const struct json *parse(struct text text)
{
    const struct json_document *document;
    tree_assert_ok(json_parse(&arena, "said", text, JSON_STRICT, &document));
    return &document->root;
}

/* ---- building ---- */

static void a_build_says_what_it_made_and_the_next_finds_nothing_to_do(void **state)
{
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(COPY("out", "in")));
    assert_said_timed(RUN("out"), 0, "[1/1] made out  5 B\npsybuild: 1 node made, 5 B written");
    assert_said(RUN("out"), 0, "psybuild: nothing to do\n");
    assert_said(RUN("-q"), 0, "");
    assert_said_timed(RUN("-B"), 0, "[1/1] made out  5 B\npsybuild: 1 node made, 5 B written");
}

static void a_dry_run_says_why_and_makes_nothing(void **state)
{
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(COPY("out", "in")));
    assert_said(RUN("-n", "-d", "explain"), 0,
        "psybuild explain: out: it was never made\n"
        "copy out  writes 5 B\n"
        "psybuild: 1 node would be made, writing 5 B\n");
    assert_false(tree_has("out"));
    assert_false(tree_has(".psybuild"));
}

static void a_changed_input_is_explained(void **state)
{
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(COPY("out", "in")));
    assert_int_equal(RUN("-q").exit_code, 0);
    tree_write("in", "hello again");
    struct program program = RUN("-d", "explain");
    assert_says(program, 0, "psybuild explain: out: ");
    assert_says(program, 0, "in changed\n[1/1] made out  11 B\n");
}

static void from_below_targets_are_relative_to_the_user(void **state)
{
    (void)state;
    tree_write("in", "hello");
    tree_write("a/b/keep", "");
    tree_write("psybuild.json", MANIFEST(COPY("a/out", "in")));
    struct program program = RUN("-C", "a/b", "../out");
    char *here;
    tree_assert_ok(file_current_directory(&arena, &here));
    assert_said_timed(program, 0,
        arena_format(&arena,
            "psybuild: entering directory '%s'\n"
            "[1/1] made a/out  5 B\npsybuild: 1 node made, 5 B written",
            here));
    assert_said(RUN("-C", "a/b", "../out"), 0, "psybuild: nothing to do\n");
    assert_said(RUN("-C", "a/b", "out"), 2,
        arena_format(&arena,
            "psybuild: entering directory '%s'\n"
            "psybuild: error: unknown target \"a/b/out\": psybuild.json makes nothing there\n",
            here));
}

static void a_failing_command_fails_the_run(void **state)
{
    (void)state;
    tree_write("psybuild.json", MANIFEST(EXEC("out", "[\"false\"]")));
    struct program program = RUN("out");
    assert_says(program, 1, "psybuild: error: ");
    assert_says(program, 1, "psybuild: 0 nodes made, 0 B written, 1 failed in ");
    assert_false(tree_has("out"));
}

static void with_k_the_others_are_still_made(void **state)
{
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(EXEC("a", "[\"false\"]") ", " COPY("b", "in")));
    assert_says(RUN("-k0", "-j1"), 1, "1 node made, 5 B written, 1 failed in ");
    assert_true(tree_has("b"));
}

static void an_interrupt_ends_it_with_130(void **state)
{
    (void)state;
    tree_write("psybuild.json",
        MANIFEST(EXEC("out", "[\"sh\", \"-c\", \"kill -INT $$PPID; echo x >${out}\"]")));
    assert_said(RUN("out"), 130, "psybuild: interrupted\n");
    assert_false(tree_has("out"));
}

static void a_terminate_ends_it_with_143(void **state)
{
    (void)state;
    tree_write("psybuild.json",
        MANIFEST(EXEC("out", "[\"sh\", \"-c\", \"kill -TERM $$PPID; echo x >${out}\"]")));
    assert_said(RUN("out"), 143, "psybuild: interrupted\n");
}

static void a_held_lock_is_waited_for_or_refused(void **state)
{
    struct file_lock *lock;
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(COPY("out", "in")));
    tree_write(".psybuild/lock", "");
    tree_assert_ok(file_lock_take(".psybuild/lock", false, &lock, NULL));
    const char *holder =
        arena_format(&arena, "another psybuild is at work here (process %ld)", (long)getpid());
    assert_said(RUN("--no-wait"), 1, arena_format(&arena, "psybuild: error: %s\n", holder));
    struct program program =
        program_start(&arena, (const char *const[]){"--progress=json", NULL}, NULL);
    assert_true(program_wait_for(&program, arena_format(&arena, "waiting: %s", holder)));
    file_lock_release(lock);
    program_end(&program);
    assert_int_equal(program.exit_code, 0);
    assert_true(tree_has("out"));
}

static void json_progress_is_one_object_a_line(void **state)
{
    static const char *const want[] = {"stale", "started", "done", "sealed", "end"};
    size_t at = 0;
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(COPY("out", "in")));
    struct program program = RUN("--progress=json");
    const char *line = program.said.bytes, *stop;
    for (; (stop = strchr(line, '\n')) != NULL; line = stop + 1) {
        const struct json *object = parse((struct text){line, (size_t)(stop - line)});
        const struct json *event = json_get(object, "event");
        assert_non_null(event);
        if (text_is(event->text, "tick"))
            continue;
        assert_true(at < sizeof want / sizeof want[0]);
        assert_string_equal(event->text.bytes, want[at++]);
    }
    assert_int_equal(at, sizeof want / sizeof want[0]);
    assert_int_equal(*line, '\0');
}

static void stats_are_a_table(void **state)
{
    static const char *const rows[] = {"psybuild stats\n", "  loading the state  ",
        "  nodes made                               1\n", "  memory at its peak  "};
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(COPY("out", "in")));
    struct program program = RUN("-d", "stats");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_says(program, 0, rows[i]);
}

/* ---- wrong usage ---- */

static void wrong_usage_ends_with_2_and_says_why(void **state)
{
    static const struct {
        const char *words[4], *want;
    } cases[] = {
        {{"--memroy=1G"}, "unknown option \"--memroy\"; did you mean \"--memory\"?"},
        {{"-t", "lst"}, "unknown tool \"lst\"; did you mean \"list\"?"},
        {{"-t", "xxxxxxxxxx"}, "unknown tool \"xxxxxxxxxx\"; there are init, lock, list, explain, "
                               "verify, clean, inspect, "
                               "convert, expand, graph, schema"},
        {{"-t", "list", "-v"},
            "unknown option \"-v\" of the tool \"list\"; psybuild's own come before -t"},
        {{"-t", "inspect"}, "usage: psybuild -t inspect [--json] FILE|DIR"},
        {{"help", "quantise"}, "unknown task \"quantise\"; did you mean \"quantize\"?"},
        {{"help", "nothing"}, "unknown task \"nothing\"; psybuild help lists them"},
        {{"nothing"}, "unknown target \"nothing\": psybuild.json makes nothing there"},
        {{"--set", "a=1"}, "--set a=1: psybuild.json declares no variable \"a\""},
    };
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(COPY("out", "in")));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_said(
            run(cases[i].words), 2, arena_format(&arena, "psybuild: error: %s\n", cases[i].want));
}

static void without_a_manifest_it_says_how_to_get_one(void **state)
{
    (void)state;
    assert_said(RUN("-q"), 2,
        "psybuild: error: no psybuild.json here or in a directory above; write one with psybuild "
        "-t init, or name one with -f\n");
}

static void a_wrong_manifest_is_shown_with_a_caret_and_where_it_lies(void **state)
{
    char *here;
    (void)state;
    tree_write("a/keep", "");
    tree_write("psybuild.json", "{\n  \"psybuild\": 2\n}\n");
    tree_assert_ok(file_current_directory(&arena, &here));
    assert_said(RUN("-C", "a"), 2,
        arena_format(&arena,
            "psybuild: in directory '%s'\n"
            "psybuild: error: psybuild.json:2:15: \"psybuild\" must be 1, not 2\n"
            "    \"psybuild\": 2\n"
            "                ^\n",
            here));
}

static void names_cannot_move_the_cursor(void **state)
{
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(COPY("out", "in")));
    assert_said(RUN("a\033[2Jb"), 2,
        "psybuild: error: unknown target \"a\\x1B[2Jb\": psybuild.json makes nothing there\n");
}

/* ---- tools ---- */

static void init_writes_a_first_manifest_and_refuses_to_replace_one(void **state)
{
    static const char want[] = "{\n"
                               "  \"psybuild\": 1,\n"
                               "  \"sources\": {\n"
                               "    \"models/PsyLLM\": { \"hub\": \"GMLHUHE/PsyLLM\" }\n"
                               "  },\n"
                               "  \"artifacts\": {\n"
                               "    \"models/PsyLLM-mlx\": { \"recipe\": \"mlx\", \"from\": "
                               "\"models/PsyLLM\", \"with\": { "
                               "\"bits\": 4 } }\n"
                               "  }\n"
                               "}\n";
    (void)state;
    assert_said(RUN("-t", "init", "GMLHUHE/PsyLLM", "models/PsyLLM-mlx"), 0,
        "psybuild: wrote psybuild.json: models/PsyLLM-mlx at 4 bits, from GMLHUHE/PsyLLM\n"
        "psybuild: make it with: psybuild models/PsyLLM-mlx\n");
    assert_string_equal(tree_read(&arena, "psybuild.json").bytes, want);
    assert_said(RUN("-t", "init", "a/b", "c"), 2,
        "psybuild: error: there is a psybuild.json here already; it is left as it is\n");
    assert_string_equal(tree_read(&arena, "psybuild.json").bytes, want);
}

static void init_refuses_what_cannot_be_a_source_or_a_target(void **state)
{
    static const struct {
        const char *words[5], *want;
    } cases[] = {
        {{"-t", "init", "nothing", "a"},
            "\"nothing\" is neither a directory nor a repository such as GMLHUHE/PsyLLM"},
        {{"-t", "init", "a/b/c", "a"},
            "\"a/b/c\" is neither a directory nor a repository such as GMLHUHE/PsyLLM"},
        {{"-t", "init", "org/model", "model"},
            "the target \"model\" must be another directory than the source \"model\""},
        {{"-t", "init", "org/model", "."},
            "the target must be a directory of its own, not this one"},
        {{"-t", "init", "org/model"}, "usage: psybuild -t init REPO|DIR TARGET"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_said(
            run(cases[i].words), 2, arena_format(&arena, "psybuild: error: %s\n", cases[i].want));
    assert_false(tree_has("psybuild.json"));
}

/* init on a directory, then everything that tells about the model that comes of it. */
static void a_model_is_made_listed_verified_inspected_and_cleaned(void **state)
{
    (void)state;
    copy_miniature();
    assert_int_equal(RUN("-t", "init", "models/PsyLLM/", "models/PsyLLM-mlx").exit_code, 0);
    assert_says(RUN("-t", "list"), 0, "never made");
    assert_int_equal(RUN("-q").exit_code, 0);

    struct program program = RUN("-t", "list", "--json");
    const struct json *list = parse(program.said);
    assert_int_equal(list->kind, JSON_ARRAY);
    for (size_t i = 0; i < list->count; i++)
        assert_string_equal(json_get(&list->items[i], "state")->text.bytes, "fresh");

    assert_said(RUN("-t", "explain"), 0,
        arena_format(&arena, "psybuild: %zu nodes fresh, none stale\n", list->count));
    assert_says(RUN("-t", "inspect", "models/PsyLLM-mlx"), 0, "bits 4, group size 64");
    program = RUN("-t", "inspect", "--json", "models/PsyLLM-mlx");
    assert_non_null(json_get(parse(program.said), "bits_per_weight"));
    assert_non_null(json_get(parse(program.said), "sqnr_db"));
    assert_says(RUN("-t", "verify"), 0, "all as they were made\n");

    tree_write("models/PsyLLM-mlx/README.md", "my own");
    assert_says(RUN("-t", "verify"), 3, "edited: models/PsyLLM-mlx/README.md: tree hash ");
    assert_says(RUN("-t", "clean"), 0,
        "psybuild: warning: models/PsyLLM-mlx/README.md is not what psybuild made any more: it "
        "stays\n");
    assert_false(tree_has("models/PsyLLM-mlx/config.json"));
    assert_true(tree_has("models/PsyLLM-mlx/README.md"));
    assert_true(tree_has("models/PsyLLM/config.json"));
}

/* Figures come with the pieces that are made with them; a record says how much that is. */
static void quality_is_measured_where_it_is_wanted(void **state)
{
    static const char manifest[] =
        "{\"psybuild\": 1, \"sources\": {\"models/PsyLLM\": {\"dir\": \"models/PsyLLM\"}},\n"
        " \"artifacts\": {\"models/PsyLLM-mlx\": {\"recipe\": \"mlx\", \"from\": "
        "\"models/PsyLLM\",\n"
        "  \"with\": {\"bits\": 4%s}}}}\n";
    static const char other[] = ", \"overrides\": [{\"match\": \"model.layers.2.*\", \"bits\": 6}]";
    (void)state;
    copy_miniature();
    tree_write("psybuild.json", arena_format(&arena, manifest, ""));
    assert_int_equal(RUN("-q", "--no-stats").exit_code, 0);
    struct program program = RUN("-t", "inspect", "--json", "models/PsyLLM-mlx");
    assert_null(json_get(parse(program.said), "sqnr_db"));
    assert_null(strstr(RUN("-t", "list").said.bytes, "dB"));

    tree_write("psybuild.json", arena_format(&arena, manifest, other));
    assert_int_equal(RUN("-q").exit_code, 0);
    assert_says(RUN("-t", "list"), 0, " ~");
    assert_says(
        RUN("-t", "inspect", "models/PsyLLM-mlx/model.safetensors"), 0, " dB, relative RMSE ");

    assert_int_equal(RUN("-q", "-B").exit_code, 0);
    assert_says(RUN("-t", "list"), 0, " dB");
    assert_null(strstr(RUN("-t", "list").said.bytes, "~"));
    assert_int_equal(rename("models/PsyLLM-mlx", "moved"), 0); /* psybuild did not make that file */
    assert_null(strstr(RUN("-t", "inspect", "moved").said.bytes, "dB"));
}

static void the_long_form_builds_the_same(void **state)
{
    (void)state;
    copy_miniature();
    assert_int_equal(RUN("-t", "init", "models/PsyLLM", "models/PsyLLM-mlx").exit_code, 0);
    assert_int_equal(RUN("-q").exit_code, 0);
    struct program program = RUN("-t", "expand");
    tree_write_bytes("long.json", program.said.bytes, program.said.length);
    assert_said(RUN("-f", "long.json"), 0, "psybuild: nothing to do\n");
}

static void what_left_the_manifest_is_told_of_and_removed_when_asked(void **state)
{
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(COPY("a", "in") ", " COPY("b", "in")));
    assert_int_equal(RUN("-q").exit_code, 0);
    tree_write("psybuild.json", MANIFEST(COPY("a", "in")));
    tree_remove("a");
    assert_says(
        RUN("a"), 0, "psybuild: 1 file left the manifest; psybuild -t clean --dead removes it\n");
    assert_true(tree_has("b"));
    assert_said(RUN("-n", "-t", "clean", "--dead"), 0,
        "would remove b\npsybuild: 1 file would be removed, 5 B\n");
    assert_true(tree_has("b"));
    assert_said(
        RUN("-v", "-t", "clean", "--dead"), 0, "removed b\npsybuild: 1 file removed, 5 B\n");
    assert_false(tree_has("b"));
    assert_true(tree_has("a"));
}

static void the_graph_marks_what_is_stale(void **state)
{
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(COPY("a", "in")));
    assert_said(RUN("-t", "graph"), 0,
        "digraph psybuild {\n"
        "  rankdir=LR;\n"
        "  node [shape=box, fontname=\"sans\"];\n"
        "  subgraph cluster_0 {\n"
        "    label=\"\";\n"
        "    \"a\" [label=\"a\\ncopy\", color=gray, style=dashed, xlabel=\"never made\"];\n"
        "  }\n"
        "  \"in\" -> \"a\";\n"
        "}\n");
}

static void a_stale_chain_is_explained_from_its_root(void **state)
{
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(COPY("b", "a") ", " COPY("a", "in")));
    assert_int_equal(RUN("-q").exit_code, 0);
    assert_said(RUN("-t", "explain"), 0, "psybuild: 2 nodes fresh, none stale\n");
    tree_write("in", "hello again");
    static const char why[] = "a: in has another stamp and would be hashed\n"
                              "b: it needs a, which would be made\n";
    assert_said(RUN("-t", "explain"), 0, why);
    assert_said(RUN("-t", "explain", "b"), 0, why);
    assert_said(RUN("-t", "graph"), 0,
        "digraph psybuild {\n"
        "  rankdir=LR;\n"
        "  node [shape=box, fontname=\"sans\"];\n"
        "  subgraph cluster_0 {\n"
        "    label=\"\";\n"
        "    \"b\" [label=\"b\\ncopy\", color=red, penwidth=2, xlabel=stale];\n"
        "    \"a\" [label=\"a\\ncopy\", color=red, penwidth=2, xlabel=stale];\n"
        "  }\n"
        "  \"a\" -> \"b\";\n"
        "  \"in\" -> \"a\";\n"
        "}\n");
    struct program program = RUN("-t", "list", "--json");
    const struct json *list = parse(program.said);
    assert_int_equal(list->count, 2);
    assert_string_equal(json_get(&list->items[1], "name")->text.bytes, "a");
    assert_string_equal(json_get(&list->items[1], "state")->text.bytes, "stale");
    assert_string_equal(json_get(&list->items[1], "size_bytes")->text.bytes, "5");
}

static void a_missing_output_is_damage(void **state)
{
    (void)state;
    tree_write("in", "hello");
    tree_write("psybuild.json", MANIFEST(COPY("a", "in")));
    assert_int_equal(RUN("-q").exit_code, 0);
    tree_remove("a");
    assert_said(RUN("-t", "verify", "a"), 3,
        "missing: a\npsybuild: 1 of 1 file not as made; psybuild remakes them\n");
    assert_said(RUN("-t", "verify", "b"), 2, "psybuild: error: nothing was made at \"b\" yet\n");
}

static void what_is_no_safetensors_file_cannot_be_inspected(void **state)
{
    (void)state;
    tree_write("a/b", "hello");
    assert_said(RUN("-t", "inspect", "a"), 1, "psybuild: error: a: no safetensors file in it\n");
    assert_says(RUN("-t", "inspect", "a/b"), 1, "psybuild: error: a/b: ");
    assert_says(RUN("-t", "inspect", "a/c"), 1,
        "psybuild: error: a/c: cannot open: No such file or directory\n");
}

static void help_and_version_need_no_manifest(void **state)
{
    (void)state;
    assert_says(RUN("--help"), 0, "usage: psybuild [options] [target...]");
    assert_says(RUN("--version"), 0, "psybuild 0.");
    assert_says(RUN("help"), 0, "  quantize       ");
    assert_says(RUN("help", "quantize"), 0, "integer: 1, 2, 3, 4, 5, 6, 8");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_begin, end)

/* Another libyaml lies where the program looks first, and is none. */
static void a_card_without_libyaml_names_it(void **state)
{
    static const char *const arguments[] = {"-q", "card/README.md", NULL};
    static const char *const environment[] = {"LD_LIBRARY_PATH", "broken", NULL};
    (void)state;
#ifdef __APPLE__ /* hands no such variable on */
    skip();
#endif
    tree_write("broken/" LIBYAML_SONAME, "no library");
    tree_write("README.md", "---\nlicense: mit\n---\n");
    tree_write("psybuild.json",
        MANIFEST("\"card/README.md\": {\"task\": \"card\", \"in\": {\"readme\": \"README.md\"},"
                 " \"with\": {\"base_model\": \"org/name\"}}"));
    assert_said(program_run(&arena, arguments, environment), 1,
        "psybuild: error: " LIBYAML_SONAME
        ": no such library on this machine; model cards (Debian's"
        " package libyaml-0-2, brew's libyaml) need it\n"
        "    while planning card/README.md\n");
}

/* ---- where its output goes, and limits ---- */

/* The exit code of a shell that knows the program as $P. */
static int shell(const char *script)
{
    char *command = arena_format(&arena, "P='%s'; export PSYBUILD_DATA_DIR='%s/manifests'; %s",
        program_path(), tree_source(), script);
    assert_non_null(command);
    int status = system(command);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void output_that_cannot_be_written_is_a_failure(void **state)
{
    static const char *const scripts[] = {"$P >/dev/full 2>said", "$P -n >/dev/full 2>said",
        "$P -B --progress=json >/dev/full 2>said"};
    (void)state;
    tree_write("from", "text");
    tree_write("psybuild.json", MANIFEST(COPY("to", "from")));
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0] && access("/dev/full", W_OK) == 0;
         i++) {
        if (i == 1)
            tree_write("from", "another text");
        assert_int_equal(shell(scripts[i]), 1);
        assert_string_equal(tree_read(&arena, "said").bytes,
            "psybuild: error: standard output: not everything could be written\n");
    }
}

static void a_reader_that_has_gone_is_no_error_to_tell(void **state)
{
    int ends[2];
    (void)state;
    tree_write("from", "text");
    tree_write("psybuild.json", MANIFEST(COPY("to", "from")));
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    char *ignored = arena_format(&arena, "trap '' PIPE; $P -n >&%d 2>said", ends[1]);
    char *deadly = arena_format(&arena, "$P -n >&%d 2>said", ends[1]);
    assert_int_equal(shell(ignored), 128 + SIGPIPE);
    assert_string_equal(tree_read(&arena, "said").bytes, "");
    assert_int_equal(shell(deadly), 128 + SIGPIPE);
    assert_string_equal(tree_read(&arena, "said").bytes, "");
    close(ends[1]);
}

static void a_file_beyond_the_limit_of_its_size_is_told(void **state)
{
    (void)state;
    char *text = arena_alloc(&arena, 64001);
    assert_non_null(text);
    memset(text, 'x', 64000);
    text[64000] = '\0';
    tree_write("from", text);
    tree_write("psybuild.json", MANIFEST(COPY("to", "from")));
    assert_int_equal(shell("ulimit -f 16; $P -q 2>said"), 1);
    assert_non_null(strstr(tree_read(&arena, "said").bytes, "File too large"));
    assert_false(tree_has("to"));
    assert_int_equal(shell("$P -q"), 0);
    assert_string_equal(tree_read(&arena, "to").bytes, text);
}

static void every_standard_descriptor_may_be_closed(void **state)
{
    (void)state;
    tree_write("psybuild.json", MANIFEST(COPY("to", "from")));
    for (unsigned closed = 1; closed < 8; closed++) {
        char *text = arena_format(&arena, "text %u", closed);
        tree_write("from", text);
        struct program program =
            program_start_closed(&arena, (const char *const[]){"-B", NULL}, closed);
        program_end(&program);
        assert_int_equal(program.exit_code, 0);
        assert_string_equal(tree_read(&arena, "to").bytes, text);
        assert_int_equal(shell("$P >said"), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_build_says_what_it_made_and_the_next_finds_nothing_to_do),
        TEST(a_dry_run_says_why_and_makes_nothing),
        TEST(a_changed_input_is_explained),
        TEST(from_below_targets_are_relative_to_the_user),
        TEST(a_failing_command_fails_the_run),
        TEST(with_k_the_others_are_still_made),
        TEST(an_interrupt_ends_it_with_130),
        TEST(a_terminate_ends_it_with_143),
        TEST(a_held_lock_is_waited_for_or_refused),
        TEST(json_progress_is_one_object_a_line),
        TEST(stats_are_a_table),
        TEST(wrong_usage_ends_with_2_and_says_why),
        TEST(without_a_manifest_it_says_how_to_get_one),
        TEST(a_wrong_manifest_is_shown_with_a_caret_and_where_it_lies),
        TEST(names_cannot_move_the_cursor),
        TEST(init_writes_a_first_manifest_and_refuses_to_replace_one),
        TEST(init_refuses_what_cannot_be_a_source_or_a_target),
        TEST(a_model_is_made_listed_verified_inspected_and_cleaned),
        TEST(quality_is_measured_where_it_is_wanted),
        TEST(the_long_form_builds_the_same),
        TEST(what_left_the_manifest_is_told_of_and_removed_when_asked),
        TEST(the_graph_marks_what_is_stale),
        TEST(a_stale_chain_is_explained_from_its_root),
        TEST(a_missing_output_is_damage),
        TEST(what_is_no_safetensors_file_cannot_be_inspected),
        TEST(output_that_cannot_be_written_is_a_failure),
        TEST(a_reader_that_has_gone_is_no_error_to_tell),
        TEST(a_file_beyond_the_limit_of_its_size_is_told),
        TEST(every_standard_descriptor_may_be_closed),
        TEST(help_and_version_need_no_manifest),
        TEST(a_card_without_libyaml_names_it),
    };
    program_find();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
