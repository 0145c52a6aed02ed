/* fuzz_rules.c - any bytes as a rule file, applied to a small model: an error, or outputs that are
 * what the inputs were. The file's own expressions are evaluated against the configuration below.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/formats/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char config_text[] =
    "{\"hidden_size\": 8, \"num_attention_heads\": 2, \"num_hidden_layers\": 2, \"vocab_size\": 10,"
    " \"intermediate_size\": 12, \"head_dim\": null, \"layer_types\": [\"a\", \"b\"], \"eps\": "
    "1e-05,"
    " \"big\": 9223372036854775807, \"attention_bias\": true, \"text_config\": {\"n\": 3}}";
static const uint64_t axes[] = {10, 8, 4, 2};
static const struct {
    const char *name;
    enum dtype dtype;
    uint32_t rank;
} tensors[] = {
    {"model.embed_tokens.weight", DTYPE_BF16, 2},
    {"model.layers.0.self_attn.q_proj.weight", DTYPE_BF16, 2},
    {"model.layers.0.self_attn.q_proj.bias", DTYPE_F32, 1},
    {"model.layers.0.mlp.down_proj.weight", DTYPE_F16, 2},
    {"model.layers.1.mlp.experts.0.w1.weight", DTYPE_BF16, 3},
    {"model.layers.1.mlp.gate.weight", DTYPE_U32, 2},
    {"model.layers.1.mlp.gate.scales", DTYPE_BF16, 2},
    {"model.layers.1.self_attn.rotary_emb.inv_freq", DTYPE_F32, 1},
    {"model.norm.weight", DTYPE_BF16, 1},
    {"lm_head.weight", DTYPE_BF16, 2},
    {"scale", DTYPE_F32, 0},
};
enum { TENSOR_COUNT = sizeof tensors / sizeof tensors[0] };

static void must(bool holds)
{
    if (!holds)
        abort();
}

static const struct json *get_field(void *context, const char *path)
{
    return json_get_path(context, path);
}

static bool is_fine(struct error *error)
{
    if (error == NULL)
        return true;
    must(error_kind_of(error) == ERROR_USAGE || error_kind_of(error) == ERROR_FORMAT);
    must(error_text(error)[0] != '\0' && strchr(error_text(error), '\n') == NULL);
    error_free(error);
    return false;
}

static void check_result(
    struct arena *arena, struct rules_model *model, const struct rules_result *result)
{
    struct rules_parameter parameters[TENSOR_COUNT];
    bool is_seen[TENSOR_COUNT] = {false};
    uint64_t total = 0, layers = 0;
    must(result->output_count <= TENSOR_COUNT);
    for (size_t i = 0; i < result->output_count; i++) {
        const struct rules_output *output = &result->outputs[i];
        struct rules_decision decision;
        must(output->input < TENSOR_COUNT && !is_seen[output->input]);
        must(!result->is_dropped[output->input] && output->shape == axes);
        must(output->rank == tensors[output->input].rank &&
             output->module.length < output->name.length);
        is_seen[output->input] = true;
        parameters[i] = (struct rules_parameter){output->name, i};
        if (output->kind != RULES_KIND_OTHER)
            is_fine(rules_decide(model, output, &decision));
    }
    for (size_t i = 0; i < TENSOR_COUNT; i++)
        must(is_seen[i] != result->is_dropped[i]);
    must(is_fine(rules_count_parameters(arena, parameters, result->output_count, &total)));
    is_fine(rules_layer_count(model, &layers));
}

static void apply(struct arena *arena, const struct rules *rules, struct json *config)
{
    struct rules_config accessor = {"config.json", get_field, config};
    struct rules_input inputs[TENSOR_COUNT];
    struct rules_model *model = NULL;
    struct rules_result result;
    for (size_t i = 0; i < TENSOR_COUNT; i++)
        inputs[i] =
            (struct rules_input){text_of(tensors[i].name), tensors[i].dtype, tensors[i].rank, axes};
    if (is_fine(rules_bind(arena, rules, &accessor, &model)) &&
        is_fine(rules_apply(model, inputs, TENSOR_COUNT, &result)))
        check_result(arena, model, &result);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena arena = {0};
    const struct rules *rules = NULL;
    const struct json_document *config = NULL;
    must(json_parse(&arena, "config.json", text_of(config_text), JSON_TOLERANT, &config) == NULL);
    struct json root = config->root;
    if (is_fine(
            rules_load(&arena, "fuzz.json", (struct text){(const char *)bytes, size}, &rules))) {
        rules_serves(rules, TEXT_LITERAL("llama"), json_get(&root, "layer_types"));
        apply(&arena, rules, &root);
    }
    arena_end(&arena);
    return 0;
}
