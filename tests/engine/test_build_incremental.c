/* test_build_incremental.c - after a first conversion, each change redoes just what it names.
 *
 * Whole reports are compared: what is not in them was neither planned, read nor written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/wire.h"
#include "tasks/formats/safetensors.h"
#include "tasks/registry.h"
#include "tests/support/conversion.h"
#include "tests/support/program.h"
#include "tests/support/shard.h"
#include "tests/support/snapshot.h"
#include "tests/support/tree.h"

static struct arena arena; /* of the running test */

static int begin(void **state)
{
    if (conversion_begin(state) != 0)
        return -1;
    conversion_declare("\"bits\": 4");
    return 0;
}

static int end(void **state)
{
    arena_end(&arena);
    return conversion_end(state);
}

/* What is recorded about the model's weights. */
static struct text recorded_figures(void)
{
    struct state *state;
    tree_assert_ok(state_load(&arena, STATE_DIRECTORY, &state));
    struct record *record = state_find_record(state, MODEL "/model*.safetensors");
    assert_non_null(record);
    return record->figures;
}

/* What a build from nothing makes of the sources and the manifest as they are now. */
static struct snapshot make_from_nothing(void)
{
    if (tree_has(".psybuild"))
        tree_remove(".psybuild");
    if (tree_has(MODEL))
        tree_remove(MODEL);
    conversion_make();
    return snapshot_take(&arena, MODEL);
}

/* Makes what is stale, which must be `lines`; bytes and figures are those of a build from nothing.
 */
static struct report assert_redoes(const char *lines)
{
    struct report report = conversion_make();
    assert_string_equal(report.lines, lines);
    assert_true(conversion_is_null());
    snapshot_assert_no_strays(&arena, "after the build");
    struct snapshot incremental = snapshot_take(&arena, MODEL);
    struct text figures = recorded_figures();
    struct snapshot whole = make_from_nothing();
    snapshot_assert_equal(&incremental, &whole, "after the incremental build");
    assert_true(figures.length > 0);
    assert_true(text_equal(figures, recorded_figures()));
    return report;
}

/* ---- the manifest ---- */

static void bits_of_one_layer_remake_that_layer(void **state)
{
    (void)state;
    conversion_make();
    conversion_declare(
        "\"bits\": 4, \"overrides\": [{\"match\": \"model.layers.2.*\", \"bits\": 6}]");
    assert_redoes(
        "config.json: the layout of models/PsyLLM-mlx/model*.safetensors changed; sealed\n"
        "model*.safetensors: \"overrides\" was set to a list; 7 made, 40 kept; sealed\n"
        "model.safetensors.index.json: the layout of models/PsyLLM-mlx/model*.safetensors changed; "
        "sealed\n");
}

static void the_bits_of_an_override_are_named(void **state)
{
    (void)state;
    conversion_declare(
        "\"bits\": 4, \"overrides\": [{\"match\": \"model.layers.2.*\", \"bits\": 6}]");
    conversion_make();
    conversion_declare(
        "\"bits\": 4, \"overrides\": [{\"match\": \"model.layers.2.*\", \"bits\": 5}]");
    assert_redoes(
        "config.json: the layout of models/PsyLLM-mlx/model*.safetensors changed; sealed\n"
        "model*.safetensors: \"overrides[0].bits\" changed: 6 -> 5; 7 made, 40 kept; sealed\n"
        "model.safetensors.index.json: the layout of models/PsyLLM-mlx/model*.safetensors changed; "
        "sealed\n");
}

static void a_group_size_remakes_what_is_quantized(void **state)
{
    (void)state;
    conversion_make();
    conversion_declare("\"bits\": 4, \"group_size\": 32");
    assert_redoes(
        "config.json: the layout of models/PsyLLM-mlx/model*.safetensors changed; sealed\n"
        "model*.safetensors: \"group_size\" was set to 32; 30 made, 17 kept; sealed\n"
        "model.safetensors.index.json: the layout of models/PsyLLM-mlx/model*.safetensors changed; "
        "sealed\n");
}

static void a_shard_size_moves_every_piece_and_makes_none(void **state)
{
    (void)state;
    conversion_make();
    conversion_declare("\"bits\": 4, \"max_shard_size\": \"200K\"");
    assert_redoes(
        "config.json: the layout of models/PsyLLM-mlx/model*.safetensors changed; confirmed\n"
        "model*.safetensors: \"max_shard_size\" was set to \"200K\"; 0 made, 47 kept; sealed\n"
        "model.safetensors.index.json: the layout of models/PsyLLM-mlx/model*.safetensors changed; "
        "sealed\n");
}

static void a_reformatted_manifest_redoes_nothing(void **state)
{
    (void)state;
    conversion_make();
    tree_write("psybuild.json",
        "// the same\n{\"artifacts\": {\"" MODEL "\": {\"with\": {\"bits\": /* four */ 4},\n"
        "\"from\": \"" SOURCE "\", \"recipe\": \"mlx\"}}, \"psybuild\": 1,\n"
        "\"sources\": {\"" SOURCE "\": {\"dir\": \"./" SOURCE "\"}}}\n");
    assert_redoes("");
}

/* ---- the sources ---- */

/* Flips a bit of a tensor's bytes where they lie. */
static void flip_bit_of(const char *path, const char *name)
{
    struct text file = tree_read(&arena, path);
    struct safetensors *header;
    struct text json = {file.bytes + 8, (size_t)load_le64(file.bytes)};
    tree_assert_ok(safetensors_parse(&arena, path, json, file.length, &header));
    const struct tensor *tensor = safetensors_find(header, name);
    assert_non_null(tensor);
    char *edited = arena_copy(&arena, file.bytes, file.length);
    edited[tensor->offset + tensor->size_bytes / 2] ^= 1;
    tree_write_bytes(path, edited, file.length);
}

static void one_changed_tensor_is_one_piece(void **state)
{
    static const char path[] = SOURCE "/model-00002-of-00004.safetensors";
    (void)state;
    conversion_make();
    flip_bit_of(path, "model.layers.1.mlp.up_proj.weight");
    struct report report = assert_redoes("model*.safetensors: "
                                         "tensor \"model.layers.1.mlp.up_proj.weight\" of "
                                         "models/PsyLLM/model-00002-of-00004.safetensors changed; "
                                         "1 made, 46 kept; sealed\n");
    assert_int_equal(report.stats.files_hashed, 1);
}

static void a_shard_with_its_header_written_anew_makes_no_piece(void **state)
{
    static const char path[] = SOURCE "/model-00002-of-00004.safetensors";
    (void)state;
    conversion_make();
    struct shard shard = shard_load(&arena, path);
    shard_save(&shard, path);
    struct report report = assert_redoes(
        "model*.safetensors: the header of "
        "models/PsyLLM/model-00002-of-00004.safetensors changed; 0 made, 47 kept; confirmed\n");
    assert_int_equal(report.stats.files_hashed, 1);
}

static void a_field_that_quantization_does_not_read_is_config_json_alone(void **state)
{
    (void)state;
    conversion_make();
    conversion_edit(SOURCE "/config.json", "\"max_window_layers\": 4", "\"max_window_layers\": 3");
    assert_redoes("config.json: models/PsyLLM/config.json changed; sealed\n");
}

static void a_field_that_must_be_there_makes_no_piece(void **state)
{
    (void)state;
    conversion_make();
    conversion_edit(SOURCE "/config.json", "\"rope_theta\": 1000000", "\"rope_theta\": 2000000");
    assert_redoes("config.json: models/PsyLLM/config.json changed; sealed\n"
                  "model*.safetensors: \"rope_theta\" in models/PsyLLM/config.json changed: "
                  "1000000 -> 2000000; 0 made, 47 kept; confirmed\n");
}

static void tying_the_embeddings_drops_the_head_and_keeps_the_rest(void **state)
{
    (void)state;
    conversion_make();
    conversion_edit(
        SOURCE "/config.json", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    assert_redoes("config.json: models/PsyLLM/config.json changed; sealed\n"
                  "model*.safetensors: \"tie_word_embeddings\" in models/PsyLLM/config.json "
                  "changed: false -> true; 0 made, 46 kept; sealed\n"
                  "model.safetensors.index.json: the layout of "
                  "models/PsyLLM-mlx/model*.safetensors changed; sealed\n");
}

static void a_chat_template_of_the_users_is_one_file(void **state)
{
    (void)state;
    tree_write("mine.jinja", "{{ messages }}");
    conversion_declare("\"bits\": 4, \"chat_template\": \"mine.jinja\"");
    conversion_make();
    tree_write("mine.jinja", "{{ messages }}!");
    assert_redoes("additional_chat_templates/*.jinja: mine.jinja changed; confirmed\n"
                  "chat_template.jinja: mine.jinja changed; sealed\n"
                  "tokenizer_config.json: mine.jinja changed; confirmed\n");
}

static void the_checkpoints_chat_template_is_one_file(void **state)
{
#define WAS "\"{%- if tools %}\\n    {{- '<|im_start|>system\\\\n' }}\\n    {%-...\""
#define IS "\"{# edited #}{%- if tools %}\\n    {{- '<|im_start|>system\\\\n'...\""
    (void)state;
    conversion_make();
    conversion_edit(SOURCE "/tokenizer_config.json", "\"chat_template\": \"",
        "\"chat_template\": \"{# edited #}");
    assert_redoes(
        "additional_chat_templates/*.jinja: \"chat_template\" in "
        "models/PsyLLM/tokenizer_config.json changed: " WAS " -> " IS "; confirmed\n"
        "chat_template.jinja: \"chat_template\" in models/PsyLLM/tokenizer_config.json "
        "changed: " WAS " -> " IS "; sealed\n"
        "tokenizer_config.json: models/PsyLLM/tokenizer_config.json changed; confirmed\n");
}

static void a_touched_source_is_hashed_once(void **state)
{
    (void)state;
    conversion_make();
    assert_int_equal(utimensat(AT_FDCWD, SOURCE "/model-00001-of-00004.safetensors", NULL, 0), 0);
    assert_false(conversion_is_null());
    struct report report = conversion_make();
    assert_string_equal(report.lines, "");
    assert_int_equal(report.stats.files_hashed, 1);
    assert_int_equal(report.stats.bytes_written, 0);
    assert_true(conversion_is_null());
    assert_int_equal(conversion_make().stats.files_hashed, 0);
}

/* ---- the outputs ---- */

static void a_deleted_output_is_that_output(void **state)
{
    static const struct {
        const char *name, *lines;
    } rows[] = {
        {"README.md", "README.md: " MODEL "/README.md is missing; sealed\n"},
        {"chat_template.jinja",
            "chat_template.jinja: " MODEL "/chat_template.jinja is missing; sealed\n"},
        {"config.json", "config.json: " MODEL "/config.json is missing; sealed\n"},
        {"generation_config.json",
            "generation_config.json: " MODEL "/generation_config.json is missing; sealed\n"},
        {"model.safetensors", "model*.safetensors: " MODEL
                              "/model.safetensors is missing; 47 made, 0 kept; sealed\n"},
        {"model.safetensors.index.json", "model.safetensors.index.json: " MODEL
                                         "/model.safetensors.index.json is missing; sealed\n"},
        {"tokenizer.json", "tokenizer.json: " MODEL "/tokenizer.json is missing; sealed\n"},
        {"tokenizer_config.json",
            "tokenizer_config.json: " MODEL "/tokenizer_config.json is missing; sealed\n"},
    };
    (void)state;
    conversion_make();
    struct snapshot before = snapshot_take(&arena, MODEL);
    assert_int_equal(before.count, sizeof rows / sizeof rows[0]);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(unlink(arena_format(&arena, MODEL "/%s", rows[i].name)), 0);
        assert_false(conversion_is_null());
        assert_string_equal(conversion_make().lines, rows[i].lines);
        struct snapshot after = snapshot_take(&arena, MODEL);
        snapshot_assert_equal(&after, &before, rows[i].name);
        assert_true(conversion_is_null());
    }
    snapshot_assert_no_strays(&arena, "after all");
}

/* One byte in the middle, in place: same size, another stamp. */
static void damage(const char *path)
{
    struct stat status;
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &status), 0);
    assert_int_equal(fseek(file, (long)(status.st_size / 2), SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, (long)(status.st_size / 2), SEEK_SET), 0);
    assert_true(fputc(byte ^ 1, file) != EOF);
    assert_int_equal(fclose(file), 0);
    const struct timespec times[2] = {status.st_atim, status.st_mtim}; /* as if nothing had been */
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void an_edited_output_is_found_and_mended(void **state)
{
    static const struct {
        const char *name, *lines;
    } rows[] = {
        {"config.json", "config.json: " MODEL "/config.json is not what was made (edited?); "
                        "sealed\n"},
        {"generation_config.json",
            "generation_config.json: " MODEL "/generation_config.json is not what was made "
            "(edited?); sealed\n"},
        {"model.safetensors", "model*.safetensors: " MODEL "/model.safetensors is not what was "
                              "made (edited?); 47 made, 0 kept; sealed\n"},
        {"tokenizer.json", "tokenizer.json: " MODEL "/tokenizer.json is not what was made "
                           "(edited?); sealed\n"},
    };
    static const char *const verify[] = {"-t", "verify", NULL};
    (void)state;
    conversion_make();
    struct snapshot before = snapshot_take(&arena, MODEL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *path = arena_format(&arena, MODEL "/%s", rows[i].name);
        damage(path);
        struct program program = program_run(&arena, verify, NULL);
        assert_int_equal(program.exit_code, 3);
        assert_non_null(strstr(program.said.bytes, arena_format(&arena, "edited: %s: ", path)));
        assert_string_equal(conversion_make().lines, rows[i].lines);
        struct snapshot after = snapshot_take(&arena, MODEL);
        snapshot_assert_equal(&after, &before, rows[i].name);
        assert_int_equal(program_run(&arena, verify, NULL).exit_code, 0);
        assert_true(tree_has(arena_format(&arena, STATE_DIRECTORY "/aside/%s", path)));
    }
    tree_remove(STATE_DIRECTORY "/aside");
    snapshot_assert_no_strays(&arena, "after all");
}

static void a_forced_target_is_made_again_and_equal(void **state)
{
    (void)state;
    conversion_make();
    struct snapshot before = snapshot_take(&arena, MODEL);
    struct report report = conversion_run(&(struct conversion){.target = MODEL, .is_forced = true});
    assert_string_equal(report.errors, "");
    assert_non_null(strstr(
        report.lines, "model*.safetensors: -B remakes every target; 47 made, 0 kept; sealed\n"));
    struct snapshot after = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&after, &before, "after -B");
}

/* ---- the program ---- */

/* The program's registry, but with a task at its next version. */
struct raised {
    struct registry registry;
    struct task_type type;
    const struct task_type *types[32];
};

static void raise_version(struct raised *raised, const char *task)
{
    raised->registry = registry;
    raised->registry.types = raised->types;
    for (size_t i = 0; registry.types[i] != NULL; i++) {
        assert_true(i + 1 < sizeof raised->types / sizeof raised->types[0]);
        raised->types[i] = registry.types[i];
        raised->types[i + 1] = NULL;
        if (strcmp(registry.types[i]->name, task) != 0)
            continue;
        raised->type = *registry.types[i];
        raised->type.version++;
        raised->types[i] = &raised->type;
    }
    assert_non_null(raised->type.name);
}

static void a_raised_version_redoes_the_nodes_of_that_task(void **state)
{
    static const struct {
        const char *task, *lines;
    } rows[] = {
        {"config", "config.json: the task's version changed; confirmed\n"},
        {"copy", "generation_config.json: the task's version changed; confirmed\n"},
        {"quantize", "model*.safetensors: the task's version changed; 47 made, 0 kept; sealed\n"},
        {"tokenizer", "tokenizer.json: the task's version changed; confirmed\n"
                      "tokenizer_config.json: the task's version changed; confirmed\n"},
        {"merge", "model*.safetensors: a view that it sees through changed; 0 made, 47 kept; "
                  "confirmed\n"},
        {"exec", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct raised raised = {.types = {NULL}};
        struct snapshot before = make_from_nothing();
        raise_version(&raised, rows[i].task);
        struct conversion conversion = {.registry = &raised.registry};
        struct report report = conversion_run(&conversion);
        assert_string_equal(report.errors, "");
        assert_string_equal(report.lines, rows[i].lines);
        assert_string_equal(conversion_run(&conversion).lines, ""); /* once */
        struct snapshot after = snapshot_take(&arena, MODEL);
        snapshot_assert_equal(&after, &before, rows[i].task);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, begin, end)
        ROW(bits_of_one_layer_remake_that_layer),
        ROW(the_bits_of_an_override_are_named),
        ROW(a_group_size_remakes_what_is_quantized),
        ROW(a_shard_size_moves_every_piece_and_makes_none),
        ROW(a_reformatted_manifest_redoes_nothing),
        ROW(one_changed_tensor_is_one_piece),
        ROW(a_shard_with_its_header_written_anew_makes_no_piece),
        ROW(a_field_that_quantization_does_not_read_is_config_json_alone),
        ROW(a_field_that_must_be_there_makes_no_piece),
        ROW(tying_the_embeddings_drops_the_head_and_keeps_the_rest),
        ROW(a_chat_template_of_the_users_is_one_file),
        ROW(the_checkpoints_chat_template_is_one_file),
        ROW(a_touched_source_is_hashed_once),
        ROW(a_deleted_output_is_that_output),
        ROW(an_edited_output_is_found_and_mended),
        ROW(a_forced_target_is_made_again_and_equal),
        ROW(a_raised_version_redoes_the_nodes_of_that_task),
#undef ROW
    };
    program_find();
    return cmocka_run_group_tests_name("build, incremental", tests, NULL, NULL);
}
