/* test_convert.c - `-t convert` through the program: the recipe's files under the reference's own
 * flags, and nothing left of a run that was killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/directory.h"
#include "base/file_lock.h"
#include "tests/support/hub_server.h"
#include "tests/support/program.h"
#include "tests/support/snapshot.h"
#include "tests/support/tree.h"

#define STAGING "models/x.psybuild-partial"
#define EXISTS                                                                                     \
    "psybuild: error: Cannot save to the path models/x as it already exists. Please delete the "   \
    "file/directory or specify a new path to save to.\n"

enum { FAULTS_MAX = 10000, EXIT_FAULT = 99 };

static struct arena arena; /* of the running test */

static int end(void **state)
{
    arena_end(&arena);
    return tree_end(state);
}

static struct program run(const char *const *arguments)
{
    return program_run(&arena, arguments, (const char *const[]){"TERM", "dumb", NULL});
}
#define CONVERT(...) run((const char *const[]){"-t", "convert", __VA_ARGS__, NULL})

static void assert_said(struct program program, int exit_code, const char *want)
{
    assert_string_equal(program.said.bytes, want);
    assert_int_equal(program.exit_code, exit_code);
}

static void assert_says(struct program program, int exit_code, const char *part)
{
    if (strstr(program.said.bytes, part) == NULL)
        assert_string_equal(program.said.bytes, part);
    assert_int_equal(program.exit_code, exit_code);
}

static const char *miniature(void)
{
    return arena_format(&arena, "%s/tests/golden/miniature/source", tree_source());
}

static void copy_miniature(const char *to)
{
    struct file_entry *entries;
    size_t count;
    tree_assert_ok(file_list_directory(&arena, miniature(), &entries, &count));
    for (size_t i = 0; i < count; i++) {
        struct text bytes = tree_read(&arena, path_join(&arena, miniature(), entries[i].name));
        tree_write_bytes(path_join(&arena, to, entries[i].name), bytes.bytes, bytes.length);
    }
}

/* What the recipe makes of a source, by a manifest. */
static struct snapshot make_by_recipe(
    const char *source, const char *with, const char *const *environment)
{
    struct snapshot made;
    tree_write("recipe/psybuild.json",
        arena_format(&arena,
            "{\"psybuild\": 1, \"sources\": {\"source\": %s}, \"artifacts\": {\"m\": {\"recipe\": "
            "\"mlx\", \"from\": \"source\", \"with\": %s}}}",
            source, with));
    static const char *const arguments[] = {"-C", "recipe", "-q", "m", NULL};
    struct program program = program_run(&arena, arguments, environment);
    assert_said(program, 0, "");
    made = snapshot_take(&arena, "recipe/m");
    tree_remove("recipe");
    return made;
}

static struct snapshot make_here(const char *with)
{
    return make_by_recipe("{\"dir\": \"../models/source\"}", with, NULL);
}

static void assert_made(const struct snapshot *want, const char *when)
{
    struct snapshot found = snapshot_take(&arena, "models/x");
    snapshot_assert_equal(&found, want, when);
    if (tree_has(STAGING))
        fail_msg("%s: %s is left over", when, STAGING);
}

/* ---- the result ---- */

static void it_makes_what_the_recipe_makes_by_the_same_parameters(void **state)
{
    static const struct {
        const char *flags[10], *with;
    } cases[] = {
        {{NULL}, "{}"},
        {{"-q"}, "{\"quantize\": true}"},
        {{"--quantize", "--q-bits", "8", "--q-group-size", "32"},
            "{\"bits\": 8, \"group_size\": 32}"},
        {{"-q", "--q-bits=3", "--dtype=float16"}, "{\"bits\": 3, \"dtype\": \"float16\"}"},
        {{"-q", "--q-mode", "mxfp8"}, "{\"mode\": \"mxfp8\"}"},
        {{"-q", "--q-mode", "affine"}, "{\"mode\": \"affine\"}"},
        {{"-q", "--quant-predicate", "mixed_3_6", "--q-group-size", "128"},
            "{\"quant_predicate\": \"mixed_3_6\", \"group_size\": 128}"},
        {{"--dtype", "float32"}, "{\"dtype\": \"float32\"}"},
    };
    (void)state;
    copy_miniature("models/source");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *arguments[20] = {
            "-q", "-t", "convert", "--hf-path", "models/source", "--mlx-path", "models/x"};
        for (size_t k = 0; cases[i].flags[k] != NULL; k++)
            arguments[7 + k] = cases[i].flags[k];
        struct snapshot want = make_here(cases[i].with);
        assert_said(run(arguments), 0, "");
        assert_made(&want, cases[i].with);
        tree_remove("models/x");
    }
}

static void a_quantized_model_becomes_floats_again(void **state)
{
    (void)state;
    copy_miniature("models/origin");
    assert_int_equal(
        CONVERT("--hf-path", "models/origin", "--mlx-path", "models/source", "-q").exit_code, 0);
    struct snapshot want = make_here("{\"dequantize\": true}");
    assert_says(CONVERT("--hf-path", "models/source", "--mlx-path", "models/x", "-d"), 0,
        "psybuild: loading models/source\npsybuild: dequantizing\n");
    assert_made(&want, "-d");
}

static void without_a_path_it_is_mlx_model_here(void **state)
{
    (void)state;
    copy_miniature("models/source");
    struct program program =
        run((const char *const[]){"-C", "models/source", "-t", "convert", "--model", ".", NULL});
    assert_says(program, 0, "psybuild: saved mlx_model\n");
    assert_true(tree_has("models/source/mlx_model/config.json"));
    assert_false(tree_has("models/source/mlx_model.psybuild-partial"));
}

static void it_says_what_it_does(void **state)
{
    static const char *const words[] = {"psybuild: loading models/source\n",
        "psybuild: using dtype float16\n",
        "psybuild: quantizing: affine, 4 bits, group size 64, mixed_4_6\n",
        "] made x/model*.safetensors  ", "psybuild: quantized with 5.074",
        " bits per weight\npsybuild: saved models/x\n"};
    (void)state;
    copy_miniature("models/source");
    struct program program = CONVERT("--hf-path", "models/source", "--mlx-path", "models/x", "-q",
        "--dtype", "float16", "--quant-predicate", "mixed_4_6");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        assert_says(program, 0, words[i]);
}

static void names_that_mean_something_elsewhere_are_fine(void **state)
{
    static const char *const names[] = {"source", "psybuild.json", "a $b*", "model"};
    (void)state;
    copy_miniature("the $source");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_says(CONVERT("--hf-path", "the $source", "--mlx-path", names[i]), 0, "saved");
        assert_true(tree_has(path_join(&arena, names[i], "config.json")));
        assert_false(tree_has(arena_format(&arena, "%s.psybuild-partial", names[i])));
    }
}

static void a_dry_run_leaves_nothing(void **state)
{
    (void)state;
    copy_miniature("models/source");
    struct program program = run((const char *const[]){
        "-n", "-t", "convert", "--hf-path", "models/source", "--mlx-path", "a/b/x", "-q", NULL});
    assert_says(program, 0, "quantize x/model*.safetensors  reads 1.9 MB, writes 524 kB\n");
    assert_false(tree_has("a"));
    assert_false(tree_has("x.psybuild-partial"));
}

/* ---- refusals ---- */

static void an_existing_path_is_refused_and_left(void **state)
{
    (void)state;
    copy_miniature("models/source");
    tree_write("models/x/mine", "my own");
    assert_said(CONVERT("--hf-path", "models/source", "--mlx-path", "models/x"), 1, EXISTS);
    assert_string_equal(tree_read(&arena, "models/x/mine").bytes, "my own");
    tree_remove("models/x");
    tree_write("models/x", "a file");
    assert_said(CONVERT("--hf-path", "models/source", "--mlx-path", "models/x"), 1, EXISTS);
    assert_false(tree_has(STAGING));
}

static void another_ones_directory_is_not_staged_in(void **state)
{
    char *here;
    (void)state;
    copy_miniature("models/source");
    tree_write(STAGING "/source/mine", "my own");
    tree_assert_ok(file_current_directory(&arena, &here));
    assert_said(CONVERT("--hf-path", "models/source", "--mlx-path", "models/x"), 1,
        arena_format(&arena,
            "psybuild: error: %s/" STAGING " is not a directory that psybuild left; move it away, "
            "or specify a new path to save to\n",
            here));
    assert_string_equal(tree_read(&arena, STAGING "/source/mine").bytes, "my own");
}

/* Whoever can write beside the target could leave a journal there. */
static void the_staging_directory_of_another_user_is_not_obeyed(void **state)
{
    enum { STRANGER = 54321 };
    char *here;
    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: only root can give a directory to another user\n");
        skip();
    }
    copy_miniature("models/source");
    tree_write(STAGING "/.psybuild/journal", "forged");
    assert_int_equal(lchown(STAGING, STRANGER, STRANGER), 0);
    assert_int_equal(lchown(STAGING "/.psybuild", STRANGER, STRANGER), 0);
    tree_assert_ok(file_current_directory(&arena, &here));
    assert_said(CONVERT("--hf-path", "models/source", "--mlx-path", "models/x"), 2,
        arena_format(&arena,
            "psybuild: error: %s/" STAGING " belongs to another user (54321, you are 0): what it "
            "says is not obeyed; remove it, or run psybuild as that user\n",
            here));
}

static void wrong_flags_end_with_2_and_say_why(void **state)
{
    static const struct {
        const char *flags[6], *want;
    } cases[] = {
        {{"--mlx-path", "y"},
            "\"--hf-path\" is missing: the model's directory, or its repository's name"},
        {{"--hf-pth", "s"},
            "unknown option \"--hf-pth\" of the tool \"convert\"; did you mean \"--hf-path\"?"},
        {{"-x"}, "unknown option \"-x\" of the tool \"convert\"; see psybuild -t convert --help"},
        {{"-qx"}, "unknown option \"-x\" of the tool \"convert\"; see psybuild -t convert --help"},
        {{"s"}, "the tool \"convert\" takes options only, not \"s\"; see psybuild -t convert "
                "--help"},
        {{"--hf-path"}, "\"--hf-path\" needs a value: --hf-path PATH"},
        {{"--hf-path", "-q"}, "\"--hf-path\" needs a value: --hf-path PATH"},
        {{"--quantize=yes"}, "\"--quantize\" takes no value"},
        {{"--hf-path", "s", "--upload-repo", "org/name"},
            "\"--upload-repo\" is not for psybuild: psybuild uploads nothing; upload the finished "
            "directory with the hub's own tool"},
        {{"--hf-path", "s", "--trust-remote-code"},
            "\"--trust-remote-code\" is not for psybuild: psybuild runs no code that comes with a "
            "model"},
        {{"--hf-path", "s", "-qd"}, "Choose either quantize or dequantize, not both."},
        {{"--hf-path", "s", "--q-mode", "int4"},
            "\"--q-mode\" must be one of affine, mxfp4, nvfp4, mxfp8, not \"int4\""},
        {{"--hf-path", "s", "--dtype", "float64"},
            "\"--dtype\" must be one of float16, bfloat16, float32, not \"float64\""},
        {{"--hf-path", "s", "--quant-predicate", "mixed"},
            "\"--quant-predicate\" must be one of mixed_2_6, mixed_3_4, mixed_3_6, mixed_4_6, not "
            "\"mixed\""},
        {{"--hf-path", "s", "--q-mode=mxfp4", "--quant-predicate=mixed_2_6"},
            "Quant predicates only support 'affine' quantization."},
        {{"--hf-path", "s", "--q-bits", "four"},
            "\"--q-bits\" must be a number from 1 to 8, not \"four\""},
        {{"--hf-path", "s", "-q", "--q-bits", "7"},
            "bits must be one of 1, 2, 3, 4, 5, 6, 8, not 7\n"
            "    while checking --q-mode, --q-bits and --q-group-size"},
        {{"--hf-path", "s", "-q", "--q-mode=mxfp4", "--q-bits=8"},
            "bits must be 4 in mode mxfp4, not 8\n"
            "    while checking --q-mode, --q-bits and --q-group-size"},
        {{"--hf-path", "no/such/s"},
            "\"no/such/s\" is neither a directory nor a repository such as GMLHUHE/PsyLLM"},
        {{"--hf-path", "s", "--mlx-path", "a/.."},
            "\"--mlx-path\" must be a directory that is to be made, not \"a/..\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *arguments[10] = {"-t", "convert"};
        for (size_t k = 0; k < 6 && cases[i].flags[k] != NULL; k++)
            arguments[2 + k] = cases[i].flags[k];
        assert_said(
            run(arguments), 2, arena_format(&arena, "psybuild: error: %s\n", cases[i].want));
    }
}

/* The reference, too, takes no notice of them. */
static void flags_of_quantization_do_nothing_without_q(void **state)
{
    (void)state;
    copy_miniature("models/source");
    struct snapshot want = make_here("{}");
    assert_says(CONVERT("--hf-path", "models/source", "--mlx-path", "models/x", "--q-bits", "8"), 0,
        "psybuild: warning: \"--q-bits\" does nothing without -q\n");
    assert_made(&want, "without -q");
}

static void a_source_that_is_no_model_leaves_nothing(void **state)
{
    (void)state;
    tree_write("models/source/README.md", "nothing else");
    assert_says(CONVERT("--hf-path", "models/source", "--mlx-path", "models/x"), 2,
        "role \"weights\": \"source/model*.safetensors\" matches no file\n");
    copy_miniature("models/source");
    tree_write("models/source/model-00002-of-00004.safetensors", "no header");
    assert_says(CONVERT("--hf-path", "models/source", "--mlx-path", "models/x"), 1,
        "model-00002-of-00004.safetensors");
    assert_false(tree_has("models/x"));
}

/* ---- interruption ---- */

static const char *const convert_words[] = {"--progress=plain", "-t", "convert", "--hf-path",
    "models/source", "--mlx-path", "models/x", "-q", NULL};

/* The same command once more; it may have been whole already. */
static void finish_and_check(const struct snapshot *want, const char *when)
{
    bool is_whole = tree_has("models/x");
    struct program program = run(convert_words);
    if (program.exit_code != (is_whole ? 1 : 0))
        fail_msg("%s: exit code %d: %s", when, program.exit_code, program.said.bytes);
    assert_made(want, when);
    tree_remove("models/x");
}

static void a_killed_run_goes_on_to_the_same_result(void **state)
{
    static const char *const moments[] = {"loading", "made x/tokenizer.json", "made x/config.json",
        "made x/model*.safetensors", "nodes made", "quantized with", "saved"};
    (void)state;
    copy_miniature("models/source");
    struct snapshot want = make_here("{\"quantize\": true}");
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        struct program program = program_start(&arena, convert_words, NULL);
        assert_true(program_wait_for(&program, moments[i]));
        kill(program.id, SIGKILL);
        program_end(&program);
        finish_and_check(&want, moments[i]);
    }
}

/* Every point at which it may die; only the variant "fault" has them. */
static void wherever_it_dies_it_goes_on_to_the_same_result(void **state)
{
    static const char *const kinds[] = {"rename", "remove"};
    (void)state;
#ifndef PSYBUILD_FAULT
    print_message("skipped: only the variant \"fault\" can die on demand\n");
    skip();
#endif
    copy_miniature("models/source");
    struct snapshot want = make_here("{\"quantize\": true}");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        int exit_code = EXIT_FAULT;
        for (unsigned n = 1; exit_code == EXIT_FAULT && n < FAULTS_MAX; n++) {
            const char *at = arena_format(&arena, "exit:%s:%u", kinds[i], n);
            struct program program = program_run(
                &arena, convert_words, (const char *const[]){"PSYBUILD_FAULT_AT", at, NULL});
            exit_code = program.exit_code;
            finish_and_check(&want, at);
        }
        assert_int_equal(exit_code, 0);
    }
}

static void other_flags_redo_what_a_killed_run_began(void **state)
{
    (void)state;
    copy_miniature("models/source");
    struct snapshot want = make_here("{\"bits\": 8}");
    struct program program = program_start(&arena, convert_words, NULL);
    assert_true(program_wait_for(&program, "made x/"));
    kill(program.id, SIGKILL);
    program_end(&program);
    if (tree_has("models/x"))
        tree_remove("models/x");
    assert_int_equal(
        CONVERT("--hf-path", "models/source", "--mlx-path", "models/x", "-q", "--q-bits", "8")
            .exit_code,
        0);
    assert_made(&want, "8 bits after 4");
}

/* The other one finishes in the meantime, here played by the test. */
static void who_waited_for_the_same_target_is_refused(void **state)
{
    struct file_lock *lock;
    (void)state;
    copy_miniature("models/source");
    tree_write(STAGING "/.psybuild/lock", "");
    tree_assert_ok(file_lock_take(STAGING "/.psybuild/lock", false, &lock, NULL));
    assert_said(run((const char *const[]){"--no-wait", "-t", "convert", "--hf-path",
                    "models/source", "--mlx-path", "models/x", NULL}),
        1,
        arena_format(&arena, "psybuild: error: another psybuild is at work here (process %ld)\n",
            (long)getpid()));
    struct program program = program_start(&arena, convert_words, NULL);
    assert_true(program_wait_for(&program, "waiting: another psybuild is at work here"));
    tree_write("models/x/config.json", "{}");
    tree_write(STAGING "/psybuild.done", "");
    file_lock_release(lock);
    program_end(&program);
    assert_says(program, 1, EXISTS);
    assert_false(tree_has(STAGING));
}

/* ---- repositories ---- */

#define SHARD "model-00004-of-00004.safetensors"
#define SHARD_ADDRESS "/storage/762b1f4bcefea5c9" /* its SHA-256 begins so */

static void a_repository_is_downloaded_once_whatever_happens(void **state)
{
    (void)state;
    struct hub_server *server = hub_server_start(&(struct hub_server_options){.root = miniature()});
    const char *const environment[] = {
        "HF_ENDPOINT", hub_server_url(server), "HF_HOME", "/nonexistent", "no_proxy", "*", NULL};
    static const char *const words[] = {"-v", "--progress=plain", "-t", "convert", "--hf-path",
        "test/model", "--mlx-path", "models/x", "-q", NULL};
    struct snapshot want =
        make_by_recipe("{\"hub\": \"test/model\"}", "{\"quantize\": true}", environment);

    hub_server_add_fault(
        server, &(struct hub_fault){.kind = HUB_FAULT_STALL, .target = SHARD_ADDRESS, .at = 1000});
    struct program program = program_start(&arena, words, environment);
    for (unsigned i = 1; i < 4; i++)
        assert_true(
            program_wait_for(&program, arena_format(&arena, "sealed source/model-0000%u-of-", i)));
    kill(program.id, SIGKILL);
    program_end(&program);
    assert_true(tree_has(STAGING "/source/model-00001-of-00004.safetensors"));
    hub_server_clear_faults(server);

    program = program_run(&arena, words, environment);
    assert_says(program, 0, "fetched source/" SHARD);
    assert_null(strstr(program.said.bytes, "fetched source/model-00001"));
    assert_made(&want, "after a kill");
    hub_server_stop(server);
}

static void what_an_interrupted_download_left_is_told_of(void **state)
{
    (void)state;
    struct hub_server *server = hub_server_start(&(struct hub_server_options){.root = miniature()});
    const char *const environment[] = {
        "HF_ENDPOINT", hub_server_url(server), "HF_HOME", "/nonexistent", "no_proxy", "*", NULL};
    static const char *const words[] = {"--progress=plain", "-t", "convert", "--hf-path",
        "test/model", "--mlx-path", "models/x", NULL};
    hub_server_add_fault(
        server, &(struct hub_fault){.kind = HUB_FAULT_STALL, .target = SHARD_ADDRESS, .at = 1000});
    struct program program = program_start(&arena, words, environment);
    assert_true(program_wait_for(&program, "fetched source/model-00001-of-"));
    kill(program.id, SIGINT);
    program_end(&program);
    assert_says(program, 130, "/" STAGING "; the same command goes on from there\n");
    assert_says(program, 130, "psybuild: interrupted\n");
    hub_server_stop(server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_makes_what_the_recipe_makes_by_the_same_parameters),
        TEST(a_quantized_model_becomes_floats_again),
        TEST(without_a_path_it_is_mlx_model_here),
        TEST(it_says_what_it_does),
        TEST(names_that_mean_something_elsewhere_are_fine),
        TEST(a_dry_run_leaves_nothing),
        TEST(an_existing_path_is_refused_and_left),
        TEST(another_ones_directory_is_not_staged_in),
        TEST(the_staging_directory_of_another_user_is_not_obeyed),
        TEST(wrong_flags_end_with_2_and_say_why),
        TEST(flags_of_quantization_do_nothing_without_q),
        TEST(a_source_that_is_no_model_leaves_nothing),
        TEST(a_killed_run_goes_on_to_the_same_result),
        TEST(wherever_it_dies_it_goes_on_to_the_same_result),
        TEST(other_flags_redo_what_a_killed_run_began),
        TEST(who_waited_for_the_same_target_is_refused),
        TEST(a_repository_is_downloaded_once_whatever_happens),
        TEST(what_an_interrupted_download_left_is_told_of),
    };
    program_find();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
