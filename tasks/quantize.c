/* quantize.c - task "quantize": the weights of an MLX model directory, from those of a checkpoint.
 *
 * Every tensor of the model is quantized, cast or passed through (docs/formats.md, "What gets
 * quantized"). A piece is a row block of one module: the rows of its weight in, the same rows of
 * codes, scales and biases out. With "dequantize" it is the other way round ("Dequantizing").
 *
 *   headers, index --weights_read--> tensors --rules--> the model's tensors --scheme--> jobs
 *   jobs --weights_arrange--> files, layout        jobs --plan_run--> pieces */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/wire.h"
#include "engine/task.h"
#include "tasks/figures.h"
#include "tasks/formats/dtype.h"
#include "tasks/formats/mixed.h"
#include "tasks/formats/quant.h"
#include "tasks/formats/rules.h"
#include "tasks/packed.h"
#include "tasks/registry.h"
#include "tasks/scheme.h"
#include "tasks/weights.h"

enum { JOB_OUTPUTS_MAX = 3 };

/* What becomes of one input tensor. */
struct job {
    const struct weights_tensor *input;
    enum dtype from, to; /* `to`: after the cast; what is quantized is that */
    bool is_quantized, is_dequantized;
    struct quant_shape quant; /* when it is one of both */
    /* When it is dequantized: `from` is the type of the scales, which are cast to that of `quant`;
     * biases in mode affine only. */
    const struct weights_tensor *scales, *biases;
    bool keeps_nonfinite;           /* "nonfinite": "keep" */
    struct weights_output *outputs; /* one, or codes, scales and (affine) biases */
    uint32_t output_count;
};

/* What a piece is: elements of a job's input; rows of the last axis where it is quantized or
 * dequantized. */
struct job_rows {
    const struct job *job;
    uint64_t element_begin;
    uint64_t row_begin, row_end;
};

/* Its parameters are the job; the rest is where its first range lies in the job's tensor. */
static struct job_rows rows_of(const struct piece *piece)
{
    const struct job *job = piece->parameters;
    const struct tensor *tensor = job->input->tensor;
    uint64_t columns = tensor->rank == 0 ? 1 : tensor->shape[tensor->rank - 1];
    uint64_t bytes = dtype_size_bytes(tensor->dtype);
    uint64_t begin = (piece->inputs[0].offset - tensor->offset) / bytes;
    uint64_t end = begin + piece->inputs[0].size_bytes / bytes;
    return (struct job_rows){job, begin, begin / columns, end / columns};
}

/* One plan. */
struct conversion {
    struct plan *plan;
    struct arena *arena;
    struct weights weights;
    struct plan_json *config;
    struct scheme scheme;
    bool is_cast; /* floats are, to `dtype` */
    enum dtype dtype;
    bool keeps_nonfinite;
    const struct json *quantization; /* of config.json, to be undone; NULL: nothing is */
    struct packed_tensor *inputs;    /* what the rules are told */
    size_t input_count;
    struct rules_model *rules;
    struct rules_result result;
    struct job *jobs; /* one for each output of the rules */
    struct weights_output *outputs;
    uint32_t output_count;
    struct layout layout;
};

/* ---- what the checkpoint is ---- */

static bool is_given(const struct json *value)
{
    return value != NULL && !json_is(value, JSON_NULL);
}

/* Where the configuration of a quantized checkpoint says so. */
static struct error *check_config_is_plain(struct conversion *conversion)
{
    static const char other[] = "hf_quant_config";
    if (plan_input_count(conversion->plan, other) > 0)
        return error_new(ERROR_FORMAT,
            "%s: the checkpoint must not be quantized, but has this file: start from the original "
            "weights",
            plan_input_path(conversion->plan, other, 0));
    static const char *const fields[] = {
        "quantization", "quantization_config", "text_config.quantization_config"};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const struct json *value = plan_json_get(conversion->config, fields[i]);
        if (!is_given(value))
            continue;
        const struct json *method = json_get(value, "quant_method");
        return json_error(value,
            "the checkpoint must not be quantized, but has \"%s\"%s%s: start from the original "
            "weights",
            fields[i], method == NULL ? "" : " with \"quant_method\": ",
            method == NULL ? "" : json_show(conversion->arena, method));
    }
    return NULL;
}

/* The reference looks into it for a quantization whatever the type, and fails where it cannot. */
static struct error *check_text_config(struct conversion *conversion)
{
    const struct json *value = plan_json_get(conversion->config, "text_config");
    if (value == NULL || json_is(value, JSON_OBJECT) ||
        plan_json_get(conversion->config, "quantization_config") != NULL)
        return NULL;
    return json_error(
        value, "\"text_config\" must be an object, not %s", json_show(conversion->arena, value));
}

/* Its Python code decides what the model is, whatever "model_type" says. */
static struct error *check_class_is_known(struct conversion *conversion)
{
    const struct json *file = plan_json_get(conversion->config, "model_file");
    if (!is_given(file))
        return NULL;
    return json_error(file,
        "the checkpoint must not bring its own model class, but has \"model_file\": %s",
        json_show(conversion->arena, file));
}

static bool is_mlx(const struct safetensors *header)
{
    for (size_t i = 0; i < header->metadata_count; i++)
        if (text_is(header->metadata[i].key, "format") && text_is(header->metadata[i].value, "mlx"))
            return true;
    return false;
}

/* MLX's own files say what they are; then ".scales" are not just a name. */
static struct error *check_tensors_are_plain(const struct weights *weights)
{
    for (uint32_t i = 0; i < weights->tensor_count; i++) {
        const struct weights_tensor *tensor = &weights->tensors[i];
        const struct weights_shard *shard = &weights->shards[tensor->shard];
        if (is_mlx(shard->header) && text_ends_with(text_of(tensor->tensor->name), ".scales"))
            return error_new(ERROR_FORMAT,
                "%s: the checkpoint must not be quantized, but is MLX's with tensor \"%s\": start "
                "from the original weights",
                shard->path, tensor->tensor->name);
    }
    return NULL;
}

/* No parameter that says how to quantize may stand with "dequantize". */
static struct error *check_direction(struct plan *plan)
{
    static const char *const others[] = {
        "bits", "group_size", "mode", "quant_predicate", "overrides"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (plan_param(plan, others[i]) != NULL)
            return plan_param_error(plan, others[i],
                "\"%s\" must not stand with \"dequantize\": the weights become floats", others[i]);
    if (plan_param_bool(plan, "quantize", false))
        return plan_param_error(
            plan, "quantize", "\"quantize\" and \"dequantize\" must not both be true");
    return NULL;
}

/* The model to dequantize says how it is quantized. One that is not has nothing to undo: it is
 * converted as if not asked, like the reference does. */
static struct error *read_quantization(struct conversion *conversion)
{
    const struct json *value = plan_json_get(conversion->config, "quantization");
    if (!is_given(value))
        return check_config_is_plain(conversion);
    if (!json_is(value, JSON_OBJECT))
        return json_error(value, "\"quantization\" must be an object, not %s",
            json_show(conversion->arena, value));
    conversion->quantization = value;
    return NULL;
}

/* MLX cannot read F64, and reads 8-bit floats as plain bytes, which is not what they mean. */
static struct error *check_dtype(const struct weights *weights, const struct weights_tensor *input)
{
    switch (input->tensor->dtype) {
    case DTYPE_F64:
    case DTYPE_F8_E4M3:
    case DTYPE_F8_E5M2:
    case DTYPE_F8_E8M0:
        return error_new(ERROR_FORMAT,
            "%s: tensor \"%s\" must be F32, F16, BF16 or of integers, not %s",
            weights->shards[input->shard].path, input->tensor->name,
            dtype_name(input->tensor->dtype));
    default:
        return NULL;
    }
}

static bool parse_dtype(const struct json *value, enum dtype *out)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } names[] = {{"float16", DTYPE_F16}, {"bfloat16", DTYPE_BF16}, {"float32", DTYPE_F32}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (json_is(value, JSON_STRING) && text_is(value->text, names[i].name)) {
            *out = names[i].dtype;
            return true;
        }
    }
    return false;
}

/* The top-level "dtype" of newer configs does not count: the reference does not read it. */
static void read_dtype(struct conversion *conversion)
{
    const struct json *name = plan_param(conversion->plan, "dtype");
    if (name == NULL)
        name = plan_json_get(conversion->config, "torch_dtype");
    if (!is_given(name))
        name = plan_json_get(conversion->config, "text_config.dtype");
    conversion->is_cast = parse_dtype(name, &conversion->dtype);
}

/* ---- what its architecture says ---- */

static bool is_same_directory(struct arena *arena, const char *a, const char *b)
{
    const char *left = path_directory(arena, a), *right = path_directory(arena, b);
    return left != NULL && right != NULL && strcmp(left, right) == 0;
}

/* The rule file that serves the model: of the first directory that has one, the one that names the
 * architecture before the one that serves the type whatever its architecture. */
static struct error *find_rules(struct conversion *conversion, struct text model_type,
    const struct json *architectures, const char **out)
{
    const char *const *paths;
    size_t count;
    enum rules_service best = RULES_SERVE_NOT;
    *out = NULL;
    TRY(plan_list_data(conversion->plan, "rules", &paths, &count));
    for (size_t i = 0; i < count; i++) {
        struct text text;
        const struct rules *rules;
        if (!text_ends_with(text_of(paths[i]), ".json"))
            continue;
        if (*out != NULL && !is_same_directory(conversion->arena, *out, paths[i]))
            break;
        TRY(plan_peek_data(conversion->plan, paths[i], &text));
        TRY(rules_load(conversion->arena, paths[i], text, &rules));
        enum rules_service service = rules_serves(rules, model_type, architectures);
        if (service == RULES_SERVE_NOT || service < best)
            continue;
        if (service == best)
            return error_new(ERROR_USAGE,
                "model type \"%.*s\" must have one rule file, not both %s and %s",
                (int)model_type.length, model_type.bytes, *out, paths[i]);
        best = service;
        *out = paths[i];
    }
    return NULL;
}

static const struct json *get_field(void *context, const char *dotted_path)
{
    return plan_json_get(context, dotted_path);
}

static struct error *bind_rules(struct conversion *conversion)
{
    const struct json *type = plan_json_get(conversion->config, "model_type");
    const char *path;
    struct text text;
    const struct rules *rules;
    if (!is_given(type))
        return error_new(ERROR_FORMAT, "%s: expected a \"model_type\", found nothing",
            plan_input_path(conversion->plan, "config", 0));
    if (!json_is(type, JSON_STRING))
        return json_error(
            type, "\"model_type\" must be a string, not %s", json_show(conversion->arena, type));
    TRY(find_rules(
        conversion, type->text, plan_json_get(conversion->config, "architectures"), &path));
    if (path == NULL)
        return json_error(type,
            "there are no rules for model type %s: add a rule file for it, see "
            "manifests/rules/README.md",
            json_show(conversion->arena, type));
    TRY(plan_read_data(conversion->plan, path, &text));
    TRY(rules_load(conversion->arena, path, text, &rules));
    const struct rules_config config = {
        plan_input_path(conversion->plan, "config", 0), get_field, conversion->config};
    return rules_bind(conversion->arena, rules, &config, &conversion->rules);
}

/* The rules know no files. */
static struct error *name_files(const struct conversion *conversion, struct error *error)
{
    const struct weights *weights = &conversion->weights;
    char more[32] = "";
    if (weights->shard_count > 1)
        snprintf(more, sizeof more, " and %" PRIu32 " more", weights->shard_count - 1);
    return error_wrap(error, "matching the tensors of %s%s with %s", weights->shards[0].path, more,
        plan_input_path(conversion->plan, "config", 0));
}

/* One by one, or packed modules in one. */
static struct error *take_inputs(struct conversion *conversion)
{
    const struct weights *weights = &conversion->weights;
    if (conversion->quantization != NULL)
        return packed_gather(
            conversion->arena, weights, &conversion->inputs, &conversion->input_count);
    conversion->input_count = weights->tensor_count;
    conversion->inputs =
        arena_array(conversion->arena, weights->tensor_count, sizeof *conversion->inputs);
    TRY(memory_check(conversion->inputs));
    for (uint32_t i = 0; i < weights->tensor_count; i++)
        conversion->inputs[i] = (struct packed_tensor){.tensor = &weights->tensors[i]};
    return NULL;
}

/* Rules describe the model with floats: codes are shown as such, of rows of any length. */
static struct error *describe_packed(struct arena *arena, struct rules_input *input)
{
    if (input->rank == 0)
        return NULL;
    uint64_t *shape = arena_array(arena, input->rank, sizeof *shape);
    TRY(memory_check(shape));
    memcpy(shape, input->shape, input->rank * sizeof *shape);
    shape[input->rank - 1] = RULES_AXIS_ANY;
    input->shape = shape;
    input->dtype = DTYPE_BF16;
    return NULL;
}

static struct error *apply_rules(struct conversion *conversion)
{
    TRY(take_inputs(conversion));
    size_t count = conversion->input_count;
    struct rules_input *inputs = arena_array(conversion->arena, count, sizeof *inputs);
    TRY(memory_check(inputs));
    for (size_t i = 0; i < count; i++) {
        const struct tensor *tensor = conversion->inputs[i].tensor->tensor;
        inputs[i] =
            (struct rules_input){text_of(tensor->name), tensor->dtype, tensor->rank, tensor->shape};
        if (conversion->inputs[i].scales != NULL)
            TRY(describe_packed(conversion->arena, &inputs[i]));
    }
    struct error *error = rules_apply(conversion->rules, inputs, count, &conversion->result);
    return error == NULL ? NULL : name_files(conversion, error);
}

/* ---- jobs ---- */

/* The shape of a tensor but for its last axis. */
static uint64_t *shape_with_last(
    struct arena *arena, const struct rules_output *output, uint64_t last)
{
    uint64_t *shape = arena_array(arena, output->rank, sizeof *shape);
    if (shape == NULL)
        return NULL;
    memcpy(shape, output->shape, output->rank * sizeof *shape);
    shape[output->rank - 1] = last;
    return shape;
}

static struct error *add_output(struct conversion *conversion, struct job *job, const char *name,
    enum dtype dtype, uint32_t rank, const uint64_t *shape)
{
    if (name == NULL || shape == NULL)
        return error_memory();
    struct weights_output *output = &conversion->outputs[conversion->output_count];
    TRY(weights_output_make(name, dtype, rank, shape, output));
    if (job->output_count == 0)
        job->outputs = output;
    job->output_count++;
    conversion->output_count++;
    return NULL;
}

static struct error *add_companion(struct conversion *conversion, struct job *job,
    const struct rules_output *output, const char *suffix)
{
    uint64_t columns = output->shape[output->rank - 1];
    const char *name = arena_format(
        conversion->arena, "%.*s.%s", (int)output->module.length, output->module.bytes, suffix);
    return add_output(conversion, job, name, quant_scale_dtype(&job->quant), output->rank,
        shape_with_last(conversion->arena, output, columns / job->quant.group_size));
}

/* Inside a module the reference's order is weight, scales, biases; then what else it has. */
static struct error *add_quantized(
    struct conversion *conversion, struct job *job, const struct rules_output *output)
{
    uint64_t code_bytes = quant_code_bytes(&job->quant, output->shape[output->rank - 1]);
    TRY(add_output(conversion, job, output->name.bytes, DTYPE_U32, output->rank,
        shape_with_last(conversion->arena, output, code_bytes / dtype_size_bytes(DTYPE_U32))));
    TRY(add_companion(conversion, job, output, "scales"));
    if (quant_has_biases(job->quant.mode))
        TRY(add_companion(conversion, job, output, "biases"));
    return NULL;
}

static struct error *add_entry(
    struct conversion *conversion, const struct rules_output *output, struct text json)
{
    char *module = arena_copy(conversion->arena, output->module.bytes, output->module.length);
    TRY(memory_check(module));
    conversion->layout.entries[conversion->layout.entry_count++] =
        (struct layout_entry){module, json};
    return NULL;
}

static struct error *choose_quantization(
    struct conversion *conversion, struct job *job, const struct rules_output *output)
{
    struct scheme_choice choice;
    if (!scheme_is_layer(output))
        return NULL;
    TRY(scheme_choose(conversion->arena, &conversion->scheme, conversion->rules, output, &choice));
    if (!choice.is_quantized)
        return NULL;
    if (!dtype_is_float(job->to))
        return error_new(ERROR_FORMAT,
            "%s: tensor \"%s\" must be F32, F16 or BF16 to be quantized, not %s",
            conversion->weights.shards[job->input->shard].path, job->input->tensor->name,
            dtype_name(job->from));
    job->is_quantized = true;
    job->quant = choice.shape;
    job->quant.dtype = job->to;
    return choice.json.bytes == NULL ? NULL : add_entry(conversion, output, choice.json);
}

/* The scales are cast like every float; what they scale is of their type then, but in the modes
 * without biases, where the reference's dequantize makes bfloat16 whatever the model's type. */
static struct error *add_dequantized(struct conversion *conversion, struct job *job,
    const struct packed_tensor *packed, const struct rules_output *output)
{
    uint64_t columns;
    *job = (struct job){.input = packed->tensor,
        .scales = packed->scales,
        .biases = packed->biases,
        .is_dequantized = true,
        .from = packed->scales->tensor->dtype,
        .to = packed->scales->tensor->dtype,
        .keeps_nonfinite = conversion->keeps_nonfinite};
    TRY(packed_shape(conversion->arena, &conversion->weights, conversion->quantization, packed,
        output, &job->quant, &columns));
    if (!quant_has_biases(job->quant.mode))
        job->to = DTYPE_BF16;
    else if (conversion->is_cast && !output->keeps_dtype)
        job->to = conversion->dtype;
    job->quant.dtype = job->to;
    return add_output(conversion, job, output->name.bytes, job->to, output->rank,
        shape_with_last(conversion->arena, output, columns));
}

static struct error *add_job(
    struct conversion *conversion, struct job *job, const struct rules_output *output)
{
    const struct packed_tensor *packed = &conversion->inputs[output->input];
    const struct weights_tensor *input = packed->tensor;
    if (packed->scales != NULL)
        return add_dequantized(conversion, job, packed, output);
    if (conversion->quantization != NULL)
        TRY(packed_check_plain(conversion->arena, conversion->quantization, output));
    TRY(check_dtype(&conversion->weights, input));
    *job = (struct job){.input = input,
        .from = input->tensor->dtype,
        .to = input->tensor->dtype,
        .keeps_nonfinite = conversion->keeps_nonfinite};
    if (conversion->is_cast && dtype_is_float(job->from) && !output->keeps_dtype)
        job->to = conversion->dtype;
    TRY(choose_quantization(conversion, job, output));
    if (job->is_quantized)
        return add_quantized(conversion, job, output);
    return add_output(conversion, job, output->name.bytes, job->to, output->rank, output->shape);
}

static struct error *add_jobs(struct conversion *conversion)
{
    const struct rules_result *result = &conversion->result;
    size_t count = result->output_count;
    conversion->jobs = arena_array(conversion->arena, count, sizeof *conversion->jobs);
    conversion->outputs =
        arena_array(conversion->arena, count, JOB_OUTPUTS_MAX * sizeof *conversion->outputs);
    conversion->layout.entries =
        arena_array(conversion->arena, count, sizeof *conversion->layout.entries);
    if (conversion->jobs == NULL || conversion->outputs == NULL ||
        conversion->layout.entries == NULL)
        return error_memory();
    TRY(scheme_begin(
        conversion->plan, &conversion->scheme, conversion->rules, result->outputs, count));
    for (size_t i = 0; i < count; i++)
        TRY(add_job(conversion, &conversion->jobs[i], &result->outputs[i]));
    return scheme_finish(&conversion->scheme, result->outputs, count);
}

static struct error *count_parameters(struct conversion *conversion)
{
    const struct rules_result *result = &conversion->result;
    struct rules_parameter *parameters =
        arena_array(conversion->arena, result->output_count, sizeof *parameters);
    TRY(memory_check(parameters));
    for (size_t i = 0; i < result->output_count; i++) {
        const struct job *job = &conversion->jobs[i];
        const struct tensor *tensor =
            job->is_dequantized ? &job->outputs[0].tensor : job->input->tensor;
        parameters[i] = (struct rules_parameter){
            result->outputs[i].name, tensor->size_bytes / dtype_size_bytes(tensor->dtype)};
    }
    return rules_count_parameters(
        conversion->arena, parameters, result->output_count, &conversion->layout.total_parameters);
}

/* ---- pieces ---- */

/* Whether a dequantized module's scales and biases are not of the type to come. */
static bool needs_cast(const struct job *job)
{
    return dtype_is_float(job->from) && job->from != job->to;
}

/* All that decides the bytes of the rows, but what the input holds. */
static void put_key(struct buffer *key, const struct job *job, const struct weights_run *run)
{
    weights_put_rows(key, job->input->tensor, run);
    wire_put_string(key, dtype_name(job->to));
    wire_put_u8(key, job->keeps_nonfinite);
    wire_put_u8(key, job->is_dequantized ? 2 : job->is_quantized);
    if (job->is_quantized || job->is_dequantized) {
        wire_put_string(key, quant_mode_name(job->quant.mode));
        wire_put_u32(key, job->quant.bits);
        wire_put_u32(key, job->quant.group_size);
    }
    if (job->is_dequantized) {
        wire_put_string(key, dtype_name(job->from));
        wire_put_string(key, job->scales->tensor->name);
    }
    for (uint32_t i = 0; i < job->output_count; i++)
        wire_put_string(key, job->outputs[i].tensor.name);
}

static void add_companions(const struct conversion *conversion, const struct job *job,
    const struct weights_run *run, struct piece *piece)
{
    const struct weights_tensor *const companions[] = {job->scales, job->biases};
    for (size_t i = 0; i < 2 && companions[i] != NULL; i++) {
        uint32_t input = conversion->weights.shards[companions[i]->shard].input;
        struct piece_range range = weights_range(companions[i]->tensor, input, run);
        piece->inputs[piece->input_count++] = range;
        if (needs_cast(job))
            piece->scratch_bytes +=
                range.size_bytes / dtype_size_bytes(job->from) * dtype_size_bytes(job->to);
    }
}

static struct error *plan_run(struct conversion *conversion, const struct weights_files *files,
    const struct job *job, const struct weights_run *run)
{
    const struct tensor *tensor = job->input->tensor;
    uint32_t input = conversion->weights.shards[job->input->shard].input;
    struct buffer key = {0};
    struct piece piece = {.parameters = job,
        .input_count = 1,
        .inputs = {weights_range(tensor, input, run)},
        .output_count = job->output_count};
    for (uint32_t i = 0; i < job->output_count; i++) {
        const struct weights_output *output = &job->outputs[i];
        piece.outputs[i] = weights_range(&output->tensor, files->items[output->file].output, run);
    }
    if (job->is_quantized && job->from != job->to)
        piece.scratch_bytes =
            piece.inputs[0].size_bytes / dtype_size_bytes(job->from) * dtype_size_bytes(job->to);
    if (job->is_dequantized)
        add_companions(conversion, job, run, &piece);
    put_key(&key, job, run);
    return weights_plan_piece(conversion->plan, &key, &piece);
}

static struct error *plan_pieces(struct conversion *conversion, const struct weights_files *files)
{
    for (size_t i = 0; i < conversion->result.output_count; i++) {
        const struct job *job = &conversion->jobs[i];
        /* Of a dequantized module the result is the larger one. */
        const struct tensor *tensor =
            job->is_dequantized ? &job->outputs[0].tensor : job->input->tensor;
        struct weights_run run = weights_begin_run(tensor);
        weights_fit_run(&run, job->input->tensor);
        for (uint32_t k = 0; k < job->output_count; k++)
            weights_fit_run(&run, &job->outputs[k].tensor);
        if (job->is_dequantized)
            weights_fit_run(&run, job->scales->tensor); /* biases are as large */
        while (weights_next_run(&run))
            TRY(plan_run(conversion, files, job, &run));
    }
    return NULL;
}

/* ---- plan ---- */

static struct error *read_inputs(struct conversion *conversion)
{
    struct plan *plan = conversion->plan;
    bool is_back = plan_param_bool(plan, "dequantize", false);
    if (is_back)
        TRY(check_direction(plan));
    TRY(scheme_read(plan, &conversion->scheme));
    conversion->keeps_nonfinite = strcmp(plan_param_text(plan, "nonfinite", "error"), "keep") == 0;
    TRY(plan_read_json(plan, "config", 0, &conversion->config));
    TRY(is_back ? read_quantization(conversion) : check_config_is_plain(conversion));
    TRY(check_text_config(conversion));
    TRY(check_class_is_known(conversion));
    read_dtype(conversion);
    TRY(bind_rules(conversion));
    TRY(weights_read(plan, &conversion->weights));
    return conversion->quantization != NULL ? NULL : check_tensors_are_plain(&conversion->weights);
}

static struct error *quantize_plan(struct plan *plan, const struct node *node)
{
    (void)node;
    struct conversion conversion = {.plan = plan, .arena = plan_arena(plan)};
    uint64_t size_bytes_max;
    struct weights_files files;
    TRY(read_inputs(&conversion));
    TRY(apply_rules(&conversion));
    TRY(add_jobs(&conversion));
    TRY(weights_shard_limit(plan, WEIGHTS_SHARD_BYTES_DEFAULT, &size_bytes_max));
    TRY(weights_arrange(conversion.arena, plan_name(plan), conversion.outputs,
        conversion.output_count, size_bytes_max, "mlx", &files));
    TRY(count_parameters(&conversion));
    conversion.layout.is_quantized = conversion.scheme.is_on;
    conversion.layout.is_dequantized = plan_param_bool(plan, "dequantize", false);
    conversion.layout.quantization = TEXT_EMPTY;
    if (conversion.scheme.is_on)
        conversion.layout.quantization = scheme_quantization(conversion.arena, &conversion.scheme);
    TRY(memory_check(conversion.layout.quantization.bytes));
    TRY(weights_publish(plan, &files, conversion.output_count, &conversion.layout));
    return plan_pieces(&conversion, &files);
}

/* ---- make ---- */

static float value_at(enum dtype dtype, const void *values, uint64_t index)
{
    float value;
    cast_values(dtype, DTYPE_F32, 1,
        (const unsigned char *)values + index * dtype_size_bytes(dtype), &value);
    return value;
}

static const char *nonfinite_text(float value)
{
    if (isnan(value))
        return "NaN";
    return value > 0 ? "infinity" : "-infinity";
}

/* "[12, 77]": where element `flat` of the tensor is. */
static const char *index_text(struct arena *arena, const struct tensor *tensor, uint64_t flat)
{
    uint64_t index[SAFETENSORS_RANK_MAX];
    for (uint32_t axis = tensor->rank; axis-- > 0; flat /= tensor->shape[axis])
        index[axis] = flat % tensor->shape[axis];
    return safetensors_shape_text(arena, tensor->rank, index);
}

static const char *float_name(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? "float32" : dtype == DTYPE_F16 ? "float16" : "bfloat16";
}

static uint64_t columns_of(const struct job *job)
{
    const struct tensor *tensor = job->input->tensor;
    return tensor->shape[tensor->rank - 1];
}

/* Where element `at` of the rows lies in the file. */
static uint64_t byte_of(const struct piece *piece, const struct job *job, uint64_t at)
{
    return piece->inputs[0].offset + at * dtype_size_bytes(job->from);
}

/* The error for element `at` of the rows, which the values before and after the cast explain. */
static struct error *nonfinite_error(struct work *work, const struct piece *piece,
    const struct job_rows *rows, uint64_t at, const void *values_in)
{
    const struct job *job = rows->job;
    const struct tensor *tensor = job->input->tensor;
    const char *index = index_text(work_arena(work), tensor, rows->element_begin + at);
    TRY(memory_check(index));
    float value = value_at(job->from, values_in, at);
    uint64_t byte = byte_of(piece, job, at);
    if (isfinite(value))
        return error_new(ERROR_FAILED,
            "tensor \"%s\" must fit %s, but holds %.9g at index %s (%s, byte %" PRIu64 ")",
            tensor->name, float_name(job->to), (double)value, index, work_input_path(work, 0),
            byte);
    return error_new(ERROR_FAILED, "tensor \"%s\" holds %s at index %s (%s, byte %" PRIu64 ")",
        tensor->name, nonfinite_text(value), index, work_input_path(work, 0), byte);
}

static struct error *check_finite(struct work *work, const struct piece *piece,
    const struct job_rows *rows, enum dtype dtype, const void *values, const void *values_in)
{
    uint64_t count = piece->inputs[0].size_bytes / dtype_size_bytes(rows->job->from);
    if (rows->job->keeps_nonfinite || !dtype_is_float(dtype))
        return NULL;
    uint64_t at = quant_find_nonfinite(dtype, count, values);
    return at == count ? NULL : nonfinite_error(work, piece, rows, at, values_in);
}

/* Finite weights have finite biases, but their range over the codes may be too wide for a scale. */
static struct error *check_scales(
    struct work *work, const struct piece *piece, const struct job_rows *rows)
{
    const struct job *job = rows->job;
    const struct tensor *tensor = job->input->tensor;
    uint64_t groups = (rows->row_end - rows->row_begin) * columns_of(job) / job->quant.group_size;
    if (job->keeps_nonfinite || !quant_has_biases(job->quant.mode))
        return NULL;
    uint64_t group = quant_find_nonfinite(job->to, groups, work_buffer(work, 1));
    if (group == groups)
        return NULL;
    uint64_t at = group * job->quant.group_size;
    const char *index = index_text(work_arena(work), tensor, rows->element_begin + at);
    TRY(memory_check(index));
    return error_new(ERROR_FAILED,
        "tensor \"%s\" must have scales that fit %s, but its weights at index %s and after it are "
        "too far apart (%s, byte %" PRIu64 ")",
        tensor->name, float_name(job->to), index, work_input_path(work, 0),
        byte_of(piece, job, at));
}

static struct error *check_dequantized(
    struct work *work, const struct job_rows *rows, uint64_t columns, const void *values)
{
    const struct job *job = rows->job;
    uint64_t count = (rows->row_end - rows->row_begin) * columns;
    uint64_t at = job->keeps_nonfinite ? count : quant_find_nonfinite(job->to, count, values);
    if (at == count)
        return NULL;
    const char *index =
        index_text(work_arena(work), &job->outputs[0].tensor, rows->row_begin * columns + at);
    TRY(memory_check(index));
    float value = value_at(job->to, values, at);
    return error_new(ERROR_FAILED, "tensor \"%s\" dequantizes to %s at index %s (%s)",
        job->input->tensor->name, nonfinite_text(value), index, work_input_path(work, 0));
}

static struct error *dequantize_make(
    struct work *work, const struct piece *piece, const struct job_rows *rows)
{
    const struct job *job = rows->job;
    const struct tensor *tensor = &job->outputs[0].tensor;
    uint64_t columns = tensor->shape[tensor->rank - 1];
    const void *inputs[3] = {NULL};
    unsigned char *cast = work_scratch(work);
    for (uint32_t i = 0; i < piece->input_count; i++) {
        TRY(work_read(work, i, &inputs[i]));
        if (i == 0 || !needs_cast(job))
            continue;
        uint64_t count = piece->inputs[i].size_bytes / dtype_size_bytes(job->from);
        cast_values(job->from, job->to, count, inputs[i], cast);
        inputs[i] = cast;
        cast += count * dtype_size_bytes(job->to);
    }
    void *values = work_buffer(work, 0);
    dequant_rows(&job->quant, rows->row_end - rows->row_begin, columns, inputs[0], inputs[1],
        inputs[2], values);
    return check_dequantized(work, rows, columns, values);
}

/* The weights as they were read first, for that is where the cause lies. */
static struct error *check_weights(struct work *work, const struct piece *piece,
    const struct job_rows *rows, const void *values_in, const void *values)
{
    const struct job *job = rows->job;
    TRY(check_finite(work, piece, rows, job->from, values_in, values_in));
    return job->from == job->to ? NULL
                                : check_finite(work, piece, rows, job->to, values, values_in);
}

/* Makes the outputs and the figures. Whether the weights are known to be finite. */
static bool make_quantized(struct work *work, const struct job_rows *rows, const void *values)
{
    const struct job *job = rows->job;
    struct quant_error error = {0, 0, 0, 0};
    unsigned char figures[FIGURES_PIECE_BYTES];
    bool is_finite = quant_rows(&job->quant, rows->row_end - rows->row_begin, columns_of(job),
        values, work_buffer(work, 0), work_buffer(work, 1),
        job->output_count > 2 ? work_buffer(work, 2) : NULL,
        work_wants_figures(work) ? &error : NULL);
    figures_encode_piece(&error, figures);
    if (work_wants_figures(work))
        work_result(work, figures, sizeof figures);
    return is_finite;
}

static struct error *quantize_make(struct work *work, const struct piece *piece)
{
    const struct job_rows rows = rows_of(piece);
    const struct job *job = rows.job;
    if (job->is_dequantized)
        return dequantize_make(work, piece, &rows);
    const void *values_in, *values;
    TRY(work_read(work, 0, &values_in));
    values = values_in;
    if (job->from != job->to) {
        void *cast = job->is_quantized ? work_scratch(work) : work_buffer(work, 0);
        cast_values(job->from, job->to, piece->inputs[0].size_bytes / dtype_size_bytes(job->from),
            values_in, cast);
        values = cast;
    } else if (!job->is_quantized) {
        memcpy(work_buffer(work, 0), values, (size_t)piece->inputs[0].size_bytes);
    }
    bool is_known_finite = job->is_quantized && make_quantized(work, &rows, values);
    if (!is_known_finite)
        TRY(check_weights(work, piece, &rows, values_in, values));
    return job->is_quantized ? check_scales(work, piece, &rows) : NULL;
}

/* ---- sum ---- */

static struct error *add_module(
    struct plan *plan, struct figures *figures, size_t *capacity, const char *name)
{
    figures->modules = arena_grow(
        plan_arena(plan), figures->modules, figures->count, capacity, sizeof *figures->modules);
    TRY(memory_check(figures->modules));
    figures->modules[figures->count++] = (struct figures_module){.name = name};
    return NULL;
}

/* The pieces of a job follow each other, in the order of its rows. */
static struct error *quantize_sum(struct plan *plan, const struct node *node)
{
    (void)node;
    const size_t piece_count = plan_piece_count(plan);
    const struct job *job = NULL;
    struct figures figures = {0};
    struct text encoded;
    size_t capacity = 0;
    for (size_t i = 0; i < piece_count; i++) {
        struct text result;
        const struct piece piece = plan_piece_at(plan, i, &result);
        const struct job_rows rows = rows_of(&piece);
        if (!rows.job->is_quantized)
            continue;
        if (rows.job != job)
            TRY(add_module(plan, &figures, &capacity, rows.job->outputs[0].tensor.name));
        job = rows.job;
        figures_add_piece(&figures.modules[figures.count - 1], rows.row_end - rows.row_begin,
            columns_of(job), result);
    }
    if (figures_total(&figures).weights_measured == 0)
        return NULL;
    TRY(figures_encode(plan_arena(plan), &figures, &encoded));
    return plan_figures(plan, encoded);
}

/* ---- tables ---- */

static const struct role_spec quantize_roles[] = {
    {.name = "weights",
        .is_many = true,
        .is_required = true,
        .help = "the checkpoint's safetensors files"},
    {.name = "config", .is_required = true, .help = "its config.json"},
    {.name = "index", .help = "its model.safetensors.index.json, to check the files against"},
    {.name = "hf_quant_config", .help = "its hf_quant_config.json: with one it is refused"},
    {.name = NULL},
};

static const char *const dtype_words[] = {"float16", "bfloat16", "float32", NULL};
static const char *const shard_words[] = {"none", NULL};
static const char *const nonfinite_words[] = {"error", "keep", NULL};

static const struct param_spec quantize_params[] = {
    {.name = "quantize",
        .type = PARAM_BOOLEAN,
        .help = "whether to quantize; default: if any of the five below is given"},
    {.name = "bits",
        .type = PARAM_INTEGER,
        .integers = scheme_bits,
        .help = "bits of a weight; default by mode, 4 for affine"},
    {.name = "group_size",
        .type = PARAM_INTEGER,
        .integers = scheme_group_sizes,
        .help = "weights that share a scale; default by mode, 64 for affine"},
    {.name = "mode",
        .type = PARAM_STRING,
        .words = scheme_modes,
        .help = "kind of quantization; default affine"},
    {.name = "quant_predicate",
        .type = PARAM_STRING,
        .words = mixed_recipes,
        .help = "recipe that gives sensitive layers more bits"},
    {.name = "overrides",
        .type = PARAM_LIST,
        .entries = scheme_override_params,
        .help = "layers that are quantized differently, or not; the first match counts"},
    {.name = "dtype",
        .type = PARAM_STRING,
        .words = dtype_words,
        .help = "type of what is not quantized; default the checkpoint's torch_dtype"},
    {.name = "dequantize",
        .type = PARAM_BOOLEAN,
        .help = "true: back to floats, from a quantized model of MLX"},
    {.name = "max_shard_size",
        .type = PARAM_SIZE,
        .words = shard_words,
        .help = "tensor data of a file at most; default 5G"},
    {.name = "nonfinite",
        .type = PARAM_STRING,
        .words = nonfinite_words,
        .help = "what a NaN or infinite weight is: error (default) or keep"},
    {.name = NULL},
};

const struct task_type task_quantize = {
    .name = "quantize",
    .help = "the weights of an MLX model: quantized, cast, dequantized or passed through",
    .version = 1,
    .lists_rules = true,
    .roles = quantize_roles,
    .params = quantize_params,
    .plan = quantize_plan,
    .make = quantize_make,
    .sum = quantize_sum,
};
