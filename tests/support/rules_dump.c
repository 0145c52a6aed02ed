/* rules_dump.c - what a rule file makes of a model, as lines of JSON, for tests/conformance.
 * usage: rules_dump RULES.json CONFIG.json TENSORS.json
 *
 * TENSORS is a list of [name, dtype, shape]. One line for each tensor of the MLX model, in order:
 *   {"name":"lm_head.weight","input":7,"shape":[512,64],"kind":"linear","keeps_dtype":false,
 *    "decision":{"group_size":64,"bits":8},"mixed_3_6":6}
 * ("decision" is "quantize", "leave" or what an override gives; the last two keys of linear and
 * embedding only, and a mixed recipe is 0 bits where it refuses), then one with the rest:
 *   {"dropped":["x"],"reads":["hidden_size"],"layers":2,"total_parameters":1234} */
#include <stdio.h>
#include <string.h>

#include "base/file_whole.h"
#include "base/json.h"
#include "base/json_write.h"
#include "tasks/formats/mixed.h"
#include "tasks/formats/rules.h"

enum { READS_MAX = 256 };

struct dump {
    struct arena arena;
    const struct json *config;
    const char *reads[READS_MAX];
    size_t read_count;
    struct rules_model *model;
    struct rules_input *inputs;
    size_t input_count;
    struct rules_result result;
};

static const struct json *get_field(void *context, const char *path)
{
    struct dump *dump = context;
    if (dump->read_count < READS_MAX)
        dump->reads[dump->read_count++] = path;
    return json_get_path(dump->config, path);
}

static struct error *read_json(struct dump *dump, const char *path, const struct json **out)
{
    struct text text;
    const struct json_document *document = NULL;
    TRY(file_read_whole(&dump->arena, path, JSON_BYTES_MAX, &text));
    TRY(json_parse(&dump->arena, path, text, JSON_TOLERANT, &document));
    *out = &document->root;
    return NULL;
}

static struct error *read_tensor(
    struct dump *dump, const struct json *item, struct rules_input *input)
{
    if (!json_is(item, JSON_ARRAY) || item->count != 3 || !json_is(&item->items[0], JSON_STRING) ||
        !json_is(&item->items[1], JSON_STRING) || !json_is(&item->items[2], JSON_ARRAY) ||
        !dtype_parse(item->items[1].text, &input->dtype))
        return json_error(item, "a tensor is [name, dtype, shape]");
    const struct json *axes = &item->items[2];
    uint64_t *shape = arena_array(&dump->arena, axes->count, sizeof *shape);
    if (shape == NULL)
        return error_memory();
    for (size_t i = 0; i < axes->count; i++) {
        int64_t length = 0;
        if (!json_to_i64(&axes->items[i], &length) || length < 0)
            return json_error(&axes->items[i], "an axis is an integer");
        shape[i] = (uint64_t)length;
    }
    input->name = item->items[0].text;
    input->rank = (uint32_t)axes->count;
    input->shape = shape;
    return NULL;
}

static struct error *read_tensors(struct dump *dump, const char *path)
{
    const struct json *list = NULL;
    TRY(read_json(dump, path, &list));
    dump->inputs = arena_array(&dump->arena, list->count, sizeof *dump->inputs);
    if (dump->inputs == NULL)
        return error_memory();
    for (size_t i = 0; i < list->count; i++)
        TRY(read_tensor(dump, &list->items[i], &dump->inputs[i]));
    dump->input_count = list->count;
    return NULL;
}

static struct error *apply(struct dump *dump, const char *path)
{
    struct text text;
    const struct rules *rules = NULL;
    TRY(file_read_whole(&dump->arena, path, JSON_BYTES_MAX, &text));
    TRY(rules_load(&dump->arena, path, text, &rules));
    const struct json *type = json_get(dump->config, "model_type");
    if (!json_is(type, JSON_STRING) ||
        rules_serves(rules, type->text, json_get(dump->config, "architectures")) == RULES_SERVE_NOT)
        return error_new(ERROR_USAGE, "%s does not serve this model", path);
    struct rules_config config = {"config.json", get_field, dump};
    TRY(rules_bind(&dump->arena, rules, &config, &dump->model));
    return rules_apply(dump->model, dump->inputs, dump->input_count, &dump->result);
}

static uint64_t count_elements(const struct rules_output *output)
{
    uint64_t elements = 1;
    for (uint32_t i = 0; i < output->rank; i++)
        elements *= output->shape[i];
    return elements;
}

static void write_decision(struct json_writer *writer, const struct rules_decision *decision)
{
    json_write_key(writer, TEXT_LITERAL("decision"));
    if (decision->choice != RULES_OVERRIDE) {
        json_write_string(writer, decision->choice == RULES_LEAVE ? "leave" : "quantize");
        return;
    }
    json_write_object_begin(writer);
    if (decision->has_group_size) {
        json_write_key(writer, TEXT_LITERAL("group_size"));
        json_write_u64(writer, decision->group_size);
    }
    if (decision->has_bits) {
        json_write_key(writer, TEXT_LITERAL("bits"));
        json_write_u64(writer, decision->bits);
    }
    json_write_object_end(writer);
}

/* The bits of every recipe, 0 where it refuses the model or the module. */
static void write_mixed(struct dump *dump, struct json_writer *writer, const struct text *modules,
    uint64_t layers, struct text module)
{
    for (size_t i = 0; i < MIXED_RECIPE_COUNT; i++) {
        struct mixed mixed;
        uint32_t bits = 0;
        struct error *error = mixed_begin(
            text_of(mixed_recipes[i]), modules, dump->result.output_count, layers, &mixed);
        if (error == NULL)
            error = mixed_bits(&mixed, module, &bits);
        error_free(error);
        json_write_key(writer, text_of(mixed_recipes[i]));
        json_write_u64(writer, bits);
    }
}

static struct error *print_line(struct json_writer *writer)
{
    struct text line;
    TRY(json_writer_finish(writer, &line));
    printf("%s\n", line.bytes);
    return NULL;
}

static struct error *print_output(struct dump *dump, const struct rules_output *output,
    const struct text *modules, uint64_t layers)
{
    static const char *const kinds[] = {"other", "linear", "embedding"};
    struct json_writer *writer = json_writer_new(&dump->arena, &JSON_STYLE_CANONICAL);
    if (writer == NULL)
        return error_memory();
    json_write_object_begin(writer);
    json_write_key(writer, TEXT_LITERAL("name"));
    json_write_text(writer, output->name);
    json_write_key(writer, TEXT_LITERAL("input"));
    json_write_u64(writer, output->input);
    json_write_key(writer, TEXT_LITERAL("shape"));
    json_write_array_begin(writer);
    for (uint32_t i = 0; i < output->rank; i++)
        json_write_u64(writer, output->shape[i]);
    json_write_array_end(writer);
    json_write_key(writer, TEXT_LITERAL("kind"));
    json_write_string(writer, kinds[output->kind]);
    json_write_key(writer, TEXT_LITERAL("keeps_dtype"));
    json_write_bool(writer, output->keeps_dtype);
    if (output->kind != RULES_KIND_OTHER) {
        struct rules_decision decision;
        TRY(rules_decide(dump->model, output, &decision));
        write_decision(writer, &decision);
        write_mixed(dump, writer, modules, layers, output->module);
    }
    json_write_object_end(writer);
    return print_line(writer);
}

static struct error *print_rest(struct dump *dump, uint64_t layers, uint64_t parameters)
{
    struct json_writer *writer = json_writer_new(&dump->arena, &JSON_STYLE_CANONICAL);
    if (writer == NULL)
        return error_memory();
    json_write_object_begin(writer);
    json_write_key(writer, TEXT_LITERAL("dropped"));
    json_write_array_begin(writer);
    for (size_t i = 0; i < dump->input_count; i++)
        if (dump->result.is_dropped[i])
            json_write_text(writer, dump->inputs[i].name);
    json_write_array_end(writer);
    json_write_key(writer, TEXT_LITERAL("reads"));
    json_write_array_begin(writer);
    for (size_t i = 0; i < dump->read_count; i++)
        json_write_string(writer, dump->reads[i]);
    json_write_array_end(writer);
    json_write_key(writer, TEXT_LITERAL("layers"));
    json_write_u64(writer, layers);
    json_write_key(writer, TEXT_LITERAL("total_parameters"));
    json_write_u64(writer, parameters);
    json_write_object_end(writer);
    return print_line(writer);
}

static struct error *print_all(struct dump *dump)
{
    size_t count = dump->result.output_count;
    struct text *modules = arena_array(&dump->arena, count, sizeof *modules);
    struct rules_parameter *parameters = arena_array(&dump->arena, count, sizeof *parameters);
    uint64_t layers = 0, total = 0;
    if (modules == NULL || parameters == NULL)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        const struct rules_output *output = &dump->result.outputs[i];
        modules[i] = output->module;
        parameters[i] = (struct rules_parameter){output->name, count_elements(output)};
    }
    TRY(rules_layer_count(dump->model, &layers));
    TRY(rules_count_parameters(&dump->arena, parameters, count, &total));
    for (size_t i = 0; i < count; i++)
        TRY(print_output(dump, &dump->result.outputs[i], modules, layers));
    return print_rest(dump, layers, total);
}

static struct error *run(struct dump *dump, char **arguments)
{
    TRY(read_json(dump, arguments[2], &dump->config));
    TRY(read_tensors(dump, arguments[3]));
    TRY(apply(dump, arguments[1]));
    return print_all(dump);
}

int main(int argument_count, char **arguments)
{
    if (argument_count != 4) {
        fprintf(stderr, "usage: rules_dump RULES.json CONFIG.json TENSORS.json\n");
        return 2;
    }
    struct dump dump = {.read_count = 0};
    struct error *error = run(&dump, arguments);
    int status = error == NULL ? 0 : 1;
    if (error != NULL)
        fprintf(stderr, "%s", error_report(error));
    error_free(error);
    arena_end(&dump.arena);
    return status;
}
