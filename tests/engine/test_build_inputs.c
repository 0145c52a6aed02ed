/* test_build_inputs.c - what is wrong with a checkpoint is said in full, before the model directory
 * is touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <unistd.h>

#include <cmocka.h>

#include "tests/support/conversion.h"
#include "tests/support/program.h"
#include "tests/support/shard.h"
#include "tests/support/snapshot.h"
#include "tests/support/tree.h"

#define SHARD_1 SOURCE "/model-00001-of-00004.safetensors"
#define SHARD_2 SOURCE "/model-00002-of-00004.safetensors"
#define SHARD_3 SOURCE "/model-00003-of-00004.safetensors"
#define INDEX SOURCE "/model.safetensors.index.json"
#define CONFIG SOURCE "/config.json"
#define UP "model.layers.1.mlp.up_proj.weight"

static struct arena arena; /* of the running test */

static int end(void **state)
{
    arena_end(&arena);
    return conversion_end(state);
}

/* ---- tensors that are not the model's ---- */

static void remove_tensor(void)
{
    struct shard shard = shard_load(&arena, SHARD_2);
    shard_remove(&shard, UP);
    shard_save(&shard, SHARD_2);
}

static void remove_tensor_and_its_entry(void)
{
    remove_tensor();
    conversion_edit(INDEX, "    \"" UP "\": \"model-00002-of-00004.safetensors\",\n", "");
}

static void add_tensor(void)
{
    struct shard shard = shard_load(&arena, SHARD_3);
    struct shard_tensor extra = *shard_find(&shard, "model.norm.weight");
    extra.name = "model.norm.extra";
    shard.tensors[shard.count++] = extra;
    shard_save(&shard, SHARD_3);
}

static void add_tensor_and_its_entry(void)
{
    add_tensor();
    conversion_edit(INDEX, "    \"model.norm.weight\"",
        "    \"model.norm.extra\": \"model-00003-of-00004.safetensors\",\n"
        "    \"model.norm.weight\"");
}

static void add_tensor_twice(void)
{
    struct shard from = shard_load(&arena, SHARD_2), to = shard_load(&arena, SHARD_3);
    to.tensors[to.count++] = *shard_find(&from, UP);
    shard_save(&to, SHARD_3);
}

static void widen_vocabulary(void)
{
    conversion_edit(CONFIG, "\"vocab_size\": 1440", "\"vocab_size\": 1441");
}

static void add_layer(void)
{
    conversion_edit(CONFIG, "\"num_hidden_layers\": 4", "\"num_hidden_layers\": 5");
}

/* ---- offsets ---- */

static void set_offsets(const char *name, int64_t begin_by, int64_t end_by)
{
    struct shard shard = shard_load(&arena, SHARD_2);
    struct shard_tensor *tensor = shard_find(&shard, name);
    for (const struct shard_tensor *before = shard.tensors; before < tensor; before++)
        tensor->begin += before->size_bytes;
    tensor->end = tensor->begin + tensor->size_bytes;
    tensor->begin += (uint64_t)begin_by;
    tensor->end += (uint64_t)end_by;
    tensor->has_offsets = true;
    shard_save(&shard, SHARD_2);
}

static void overlap(void)
{
    set_offsets(UP, -64, -64);
}

static void leave_range(void)
{
    set_offsets(UP, 1 << 30, 1 << 30);
}

static void stretch(void)
{
    set_offsets(UP, 0, 64);
}

/* ---- files ---- */

static void cut(const char *path, long by)
{
    struct text text = tree_read(&arena, path);
    tree_write_bytes(path, text.bytes, by > 0 ? text.length - (size_t)by : (size_t)-by);
}

static void cut_data(void)
{
    cut(SHARD_2, 1000);
}

static void cut_header(void)
{
    cut(SHARD_2, -100);
}

static void cut_length(void)
{
    cut(SHARD_2, -5);
}

static void remove_shard(void)
{
    assert_int_equal(unlink(SHARD_2), 0);
}

static void write_page_over_shard(void)
{
    tree_write(SHARD_2, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n");
}

static void point_index_outside(void)
{
    conversion_edit(INDEX, "\"" UP "\": \"model-00002-of-00004.safetensors\"",
        "\"" UP "\": \"../secret.safetensors\"");
}

static void point_index_at_nothing(void)
{
    conversion_edit(INDEX, "\"" UP "\": \"model-00002-of-00004.safetensors\"",
        "\"" UP "\": \"model-00009-of-00004.safetensors\"");
}

static void point_index_at_another(void)
{
    conversion_edit(INDEX, "\"" UP "\": \"model-00002-of-00004.safetensors\"",
        "\"" UP "\": \"model-00003-of-00004.safetensors\"");
}

static void break_index(void)
{
    tree_write(INDEX, "{\"weight_map\": [1, 2");
}

static void break_config(void)
{
    conversion_edit(CONFIG, "\"vocab_size\": 1440", "\"vocab_size\": ");
}

/* ---- what it is ---- */

static void change_type(void)
{
    conversion_edit(CONFIG, "\"model_type\": \"qwen3\"", "\"model_type\": \"qwen99\"");
}

static void remove_type(void)
{
    conversion_edit(CONFIG, "  \"model_type\": \"qwen3\",\n", "");
}

static void remove_fields(void)
{
    conversion_edit(CONFIG, "  \"max_position_embeddings\": 40960,\n", "");
    conversion_edit(CONFIG, "  \"rms_norm_eps\": 1e-06,\n", "");
}

static void remove_tie(void)
{
    conversion_edit(CONFIG, "  \"tie_word_embeddings\": false,\n", "");
}

static void remove_rope(void)
{
    conversion_edit(CONFIG, "  \"rope_theta\": 1000000,\n", "");
}

static void null_eps(void)
{
    conversion_edit(CONFIG, "\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": null");
}

static void null_width(void)
{
    conversion_edit(CONFIG, "\"hidden_size\": 128", "\"hidden_size\": null");
}

static void say_quantized(void)
{
    conversion_edit(CONFIG, "\"vocab_size\": 1440",
        "\"vocab_size\": 1440, \"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4}");
}

static void say_mlx(void)
{
    conversion_edit(CONFIG, "\"vocab_size\": 1440",
        "\"vocab_size\": 1440, \"quantization\": {\"group_size\": 64, \"bits\": 4}");
}

/* ---- values ---- */

static void set_value(const char *path, const char *name, size_t index, uint16_t bits)
{
    struct shard shard = shard_load(&arena, path);
    struct shard_tensor *tensor = shard_find(&shard, name);
    tensor->bytes[2 * index] = (unsigned char)bits;
    tensor->bytes[2 * index + 1] = (unsigned char)(bits >> 8);
    shard_save(&shard, path);
}

static void put_nan(void)
{
    set_value(SHARD_2, UP, 5 * 128 + 77, 0x7FC1);
}

static void put_infinity(void)
{
    set_value(SHARD_2, UP, 255 * 128 + 127, 0x7F80);
}

static void put_minus_infinity_in_norm(void)
{
    set_value(SHARD_3, "model.norm.weight", 3, 0xFF80);
}

#define PLANNING "    while planning " MODEL "/model*.safetensors\n"
#define MATCHING                                                                                   \
    "    while matching the tensors of " SHARD_1 " and 3 more with " CONFIG "\n" PLANNING
#define MAKING "    while making " MODEL "/model*.safetensors\n"

static const struct {
    const char *name;
    void (*damage)(void);
    const char *want;
} rows[] = {
#define ROW(name, want)                                                                            \
    {                                                                                              \
#name, name, want                                                                          \
    }
    ROW(remove_tensor,
        "models/PsyLLM/model.safetensors.index.json:22:42: tensor "
        "\"model.layers.1.mlp.up_proj.weight\" is to be in \"model-00002-of-00004.safetensors\", "
        "but no file has it\n"
        "    \"model.layers.1.mlp.up_proj.weight\": \"model-00002-of-00004.safetensors\",\n"
        "                                         ^\n" PLANNING),
    ROW(remove_tensor_and_its_entry,
        "tensor \"model.layers.1.mlp.up_proj.weight\" is missing: expected [intermediate_size, "
        "hidden_size] = [256, 128] (manifests/rules/qwen3.json:21:7)\n" MATCHING),
    ROW(add_tensor,
        "models/PsyLLM/model.safetensors.index.json:5:17: \"weight_map\" must list every tensor, "
        "but not \"model.norm.extra\" of models/PsyLLM/model-00003-of-00004.safetensors\n"
        "    \"weight_map\": {\n"
        "                  ^\n" PLANNING),
    ROW(add_tensor_and_its_entry, "unexpected tensor \"model.norm.extra\"\n" MATCHING),
    ROW(add_tensor_twice, "tensor \"model.layers.1.mlp.up_proj.weight\" must be in one file, not "
                          "both in models/PsyLLM/model-00002-of-00004.safetensors and in "
                          "models/PsyLLM/model-00003-of-00004.safetensors\n" PLANNING),
    ROW(widen_vocabulary,
        "tensor \"model.embed_tokens.weight\" has shape [1440, 128], expected [vocab_size, "
        "hidden_size] = [1441, 128] (manifests/rules/qwen3.json:11:5), and 1 more are missing or "
        "of "
        "another shape\n" MATCHING),
    ROW(add_layer, "tensor \"model.layers.4.self_attn.q_proj.weight\" is missing: expected "
                   "[num_attention_heads * head_dim, hidden_size] = [128, 128] "
                   "(manifests/rules/qwen3.json:13:7), and 10 more are missing or of another "
                   "shape\n" MATCHING),
    ROW(overlap, "models/PsyLLM/model-00002-of-00004.safetensors: tensor "
                 "\"model.layers.1.mlp.up_proj.weight\": data_offsets overlap tensor "
                 "\"model.layers.1.mlp.gate_proj.weight\": expected 262912 or more, found "
                 "262848\n" PLANNING),
    ROW(leave_range, "models/PsyLLM/model-00002-of-00004.safetensors: truncated: the header "
                     "describes 1074072522 bytes, the file has 495050\n" PLANNING),
    ROW(stretch, "models/PsyLLM/model-00002-of-00004.safetensors: tensor "
                 "\"model.layers.1.mlp.up_proj.weight\": data_offsets [262912, 328512] do not fit "
                 "shape [256, 128] of BF16: expected 65536 bytes, found 65600\n" PLANNING),
    ROW(cut_data, "models/PsyLLM/model-00002-of-00004.safetensors: truncated: the header describes "
                  "495032 bytes, the file has 494032\n" PLANNING),
    ROW(cut_header, "models/PsyLLM/model-00002-of-00004.safetensors: truncated: the header takes "
                    "2232 bytes, the file has 100\n" PLANNING),
    ROW(cut_length, "models/PsyLLM/model-00002-of-00004.safetensors: expected a safetensors file "
                    "of at least 8 bytes, found 5\n" PLANNING),
    ROW(remove_shard, "models/PsyLLM/model-00001-of-00004.safetensors: expected all of its 4 "
                      "shards, but number 2 is not among the inputs\n" PLANNING),
    ROW(write_page_over_shard, "models/PsyLLM/model-00002-of-00004.safetensors: expected a "
                               "safetensors file, found a Git LFS pointer\n" PLANNING),
    ROW(point_index_outside,
        "models/PsyLLM/model.safetensors.index.json:22:42: tensor "
        "\"model.layers.1.mlp.up_proj.weight\" must be in a file of the same directory, not in "
        "\"../secret.safetensors\"\n"
        "    \"model.layers.1.mlp.up_proj.weight\": \"../secret.safetensors\",\n"
        "                                         ^\n" PLANNING),
    ROW(point_index_at_nothing,
        "models/PsyLLM/model.safetensors.index.json:22:42: tensor "
        "\"model.layers.1.mlp.up_proj.weight\" is to be in \"model-00009-of-00004.safetensors\", "
        "which is not among the inputs\n"
        "    \"model.layers.1.mlp.up_proj.weight\": \"model-00009-of-00004.safetensors\",\n"
        "                                         ^\n" PLANNING),
    ROW(point_index_at_another,
        "models/PsyLLM/model.safetensors.index.json:22:42: tensor "
        "\"model.layers.1.mlp.up_proj.weight\" is to be in \"model-00003-of-00004.safetensors\", "
        "but it is in models/PsyLLM/model-00002-of-00004.safetensors\n"
        "    \"model.layers.1.mlp.up_proj.weight\": \"model-00003-of-00004.safetensors\",\n"
        "                                         ^\n" PLANNING),
    ROW(break_index,
        "models/PsyLLM/model.safetensors.index.json:1:21: expected ',' or ']', found end of text\n"
        "    {\"weight_map\": [1, 2\n"
        "                        ^\n" PLANNING),
    ROW(break_config, "models/PsyLLM/config.json:30:1: expected a value, found '}'\n"
                      "    }\n"
                      "    ^\n" PLANNING),
    ROW(change_type, "models/PsyLLM/config.json:16:17: there are no rules for model type "
                     "\"qwen99\": add a rule file for it, see manifests/rules/README.md\n"
                     "    \"model_type\": \"qwen99\",\n"
                     "                  ^\n" PLANNING),
    ROW(remove_type,
        "models/PsyLLM/config.json: expected a \"model_type\", found nothing\n" PLANNING),
    ROW(remove_fields, "models/PsyLLM/config.json: \"rms_norm_eps\", \"max_position_embeddings\" "
                       "are missing: without them MLX cannot load the model\n" PLANNING),
    ROW(remove_tie, "models/PsyLLM/config.json: \"tie_word_embeddings\" is missing: without it MLX "
                    "cannot load the model\n" PLANNING),
    ROW(remove_rope,
        "MLX cannot load a model with rope_theta == null && rope_parameters.rope_theta == null\n"
        "    while matching the rules with models/PsyLLM/config.json\n" PLANNING),
    ROW(null_eps, "manifests/rules/qwen3.json:6:14: \"rms_norm_eps\" is null, not a number, in "
                  "\"rms_norm_eps <= 0\"\n"
                  "    \"refuse\": [\"rms_norm_eps <= 0\", \"rope_theta == null && "
                  "rope_parameters.rope_theta == null\"],\n"
                  "               ^\n"
                  "    while matching the rules with models/PsyLLM/config.json\n" PLANNING),
    ROW(null_width,
        "manifests/rules/qwen3.json:11:67: \"hidden_size\" must be an integer of at least 0, not "
        "null\n"
        "    {\"name\": \"model.embed_tokens.weight\", \"shape\": [\"vocab_size\", "
        "\"hidden_size\"], \"kind\": \"embedding\"},\n"
        "                                                                  ^\n"
        "    while matching the tensors of models/PsyLLM/model-00001-of-00004.safetensors and 3 "
        "more with models/PsyLLM/config.json\n" PLANNING),
    ROW(say_quantized,
        "models/PsyLLM/config.json:29:46: the checkpoint must not be quantized, but has "
        "\"quantization_config\" with \"quant_method\": \"gptq\": start from the original weights\n"
        "    \"vocab_size\": 1440, \"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": "
        "4}\n"
        "                                               ^\n" PLANNING),
    ROW(say_mlx, "models/PsyLLM/config.json:29:39: the checkpoint must not be quantized, but has "
                 "\"quantization\": start from the original weights\n"
                 "    \"vocab_size\": 1440, \"quantization\": {\"group_size\": 64, \"bits\": 4}\n"
                 "                                        ^\n" PLANNING),
    ROW(put_nan, "tensor \"model.layers.1.mlp.up_proj.weight\" holds NaN at index [5, 77] "
                 "(models/PsyLLM/model-00002-of-00004.safetensors, byte 266588)\n" MAKING),
    ROW(put_infinity,
        "tensor \"model.layers.1.mlp.up_proj.weight\" holds infinity at index [255, 127] "
        "(models/PsyLLM/model-00002-of-00004.safetensors, byte 330688)\n" MAKING),
    ROW(put_minus_infinity_in_norm,
        "tensor \"model.norm.weight\" holds -infinity at index [3] "
        "(models/PsyLLM/model-00003-of-00004.safetensors, byte 478089)\n" MAKING),
#undef ROW
};

/* The text without the place of the installed rules. */
static const char *without_source(const char *text)
{
    const char *source = arena_format(&arena, "%s/", tree_source()), *found;
    while ((found = strstr(text, source)) != NULL)
        text = arena_format(&arena, "%.*s%s", (int)(found - text), text, found + strlen(source));
    return text;
}

static void copy_files(const struct snapshot *files, const char *from, const char *to)
{
    for (size_t i = 0; i < files->count; i++) {
        const char *path = files->files[i].path;
        struct text bytes = tree_read(&arena, arena_format(&arena, "%s/%s", from, path));
        tree_write_bytes(arena_format(&arena, "%s/%s", to, path), bytes.bytes, bytes.length);
    }
}

static void a_wrong_checkpoint_is_refused_and_nothing_touched(void **state)
{
    (void)state;
    conversion_declare("\"bits\": 4");
    conversion_make();
    struct snapshot source = snapshot_take(&arena, SOURCE), model = snapshot_take(&arena, MODEL);
    assert_int_equal(rename(SOURCE, "whole"), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        copy_files(&source, "whole", SOURCE);
        rows[i].damage();
        struct report report = conversion_run(&(struct conversion){0});
        const char *found = without_source(report.errors);
        if (strcmp(found, rows[i].want) != 0)
            fail_msg("%s says\n%sinstead of\n%s", rows[i].name, found, rows[i].want);
        struct snapshot after = snapshot_take(&arena, MODEL);
        snapshot_assert_equal(&after, &model, rows[i].name);
    }
    copy_files(&source, "whole", SOURCE);
    conversion_make();
    struct snapshot after = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&after, &model, "mended");
    snapshot_assert_no_strays(&arena, "mended");
}

static void a_wrong_checkpoint_makes_no_directory(void **state)
{
    static const char *const arguments[] = {"-j2", "-q", NULL};
    (void)state;
    conversion_declare("\"bits\": 4");
    put_nan();
    struct program program = program_run(&arena, arguments, NULL);
    assert_int_equal(program.exit_code, 1);
    assert_string_equal(program.said.bytes,
        "psybuild: error: tensor \"" UP "\" holds NaN at index [5, 77] (" SHARD_2
        ", byte 266588)\n" MAKING);
    assert_false(tree_has(MODEL));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_wrong_checkpoint_is_refused_and_nothing_touched, conversion_begin, end),
        cmocka_unit_test_setup_teardown(
            a_wrong_checkpoint_makes_no_directory, conversion_begin, end),
    };
    program_find();
    return cmocka_run_group_tests_name("build, inputs", tests, NULL, NULL);
}
