/* test_quantize.c - the task "quantize": what is planned, what bytes are made, and what is refused.
 */
#include "tests/tasks/fake_plan.h"

#include <math.h>

#include "base/cpu.h"
#include "tasks/figures.h"
#include "tasks/formats/quant.h"
#include "tasks/registry.h"

static const char rules[] =
    "{\"types\": [\"toy\"],"
    " \"steps\": [{\"drop\": \"*inv_freq\"}],"
    " \"keep_dtype\": [\"*.bias\"],"
    " \"quant\": {\"special\": [{\"match\": [\"*.gate\"], \"group_size\": 64, \"bits\": 8}]},"
    " \"tensors\": ["
    "  {\"name\": \"embed.weight\", \"shape\": [\"vocab\", \"hidden\"], \"kind\": \"embedding\"},"
    "  {\"for\": {\"i\": \"num_hidden_layers\"}, \"each\": ["
    "   {\"name\": \"layers.{i}.up.weight\", \"shape\": [2, 70, \"hidden\"], \"kind\": \"linear\"},"
    "   {\"name\": \"layers.{i}.gate.weight\", \"shape\": [8, \"hidden\"], \"kind\": \"linear\"},"
    "   {\"name\": \"layers.{i}.gate.bias\", \"shape\": [8]},"
    "   {\"name\": \"layers.{i}.down_proj.weight\", \"shape\": [\"hidden\", 96],"
    "    \"kind\": \"linear\"},"
    "   {\"name\": \"layers.{i}.norm.weight\", \"shape\": [\"hidden\"]}]}]}";

static const char config[] = "{\"model_type\": \"toy\", \"torch_dtype\": \"bfloat16\",\n"
                             " \"vocab\": 200, \"hidden\": 128, \"num_hidden_layers\": 1}";

static const struct fake_tensor shard_1[] = {
    {"embed.weight", DTYPE_BF16, 2, {200, 128}},
    {"layers.0.down_proj.weight", DTYPE_BF16, 2, {128, 96}},
    {"layers.0.rotary.inv_freq", DTYPE_F32, 1, {16}},
    {.name = NULL},
};
static const struct fake_tensor shard_2[] = {
    {"layers.0.gate.bias", DTYPE_F32, 1, {8}},
    {"layers.0.gate.weight", DTYPE_F32, 2, {8, 128}},
    {"layers.0.norm.weight", DTYPE_BF16, 1, {128}},
    {"layers.0.up.weight", DTYPE_BF16, 3, {2, 70, 128}},
    {.name = NULL},
};

static struct plan *begin(const char *with)
{
    struct plan *plan = fake_begin("out/model*.safetensors", with);
    fake_add_rules(plan, "rules/README.md", "no JSON");
    fake_add_rules(plan, "rules/other.json", "{\"types\": [\"other\"]}");
    fake_add_rules(plan, "rules/toy.json", rules);
    fake_add_text(plan, "config", "in/config.json", config);
    fake_add_shard(plan, "in/model-00001-of-00002.safetensors", shard_1);
    fake_add_shard(plan, "in/model-00002-of-00002.safetensors", shard_2);
    return plan;
}

/* The same values as the shards hold, of one tensor, as `dtype`. */
static void *values_of(const char *name, enum dtype dtype, uint64_t count)
{
    unsigned char *values = test_malloc((size_t)count * dtype_size_bytes(dtype));
    for (uint64_t i = 0; i < count; i++)
        fake_set(values, dtype, i, fake_value(name, i));
    return values;
}

static void assert_is_cast(struct plan *plan, const char *name, enum dtype dtype)
{
    const struct tensor *tensor;
    const unsigned char *bytes = fake_tensor_bytes(plan, "out/model.safetensors", name, &tensor);
    assert_int_equal(tensor->dtype, dtype);
    void *want = values_of(name, dtype, tensor->size_bytes / dtype_size_bytes(dtype));
    assert_memory_equal(bytes, want, (size_t)tensor->size_bytes);
    test_free(want);
}

/* Codes, scales and biases are those of all rows at once, quantized as `shape` says. */
static void assert_is_quantized(struct plan *plan, const char *module, uint64_t rows,
    uint64_t columns, const struct quant_shape *shape)
{
    static const char *const parts[] = {"weight", "scales", "biases"};
    const uint64_t sizes[] = {quant_code_bytes(shape, columns) * rows,
        rows * columns / shape->group_size * dtype_size_bytes(quant_scale_dtype(shape)),
        rows * columns / shape->group_size * dtype_size_bytes(quant_scale_dtype(shape))};
    unsigned char *want[3];
    char name[64];
    for (size_t i = 0; i < 3; i++)
        want[i] = test_malloc((size_t)sizes[i]);
    snprintf(name, sizeof name, "%s.weight", module);
    void *values = values_of(name, shape->dtype, rows * columns);
    quant_rows(shape, rows, columns, values, want[0], want[1],
        quant_has_biases(shape->mode) ? want[2] : NULL, NULL);
    for (size_t i = 0; i < (quant_has_biases(shape->mode) ? 3 : 2); i++) {
        const struct tensor *tensor;
        snprintf(name, sizeof name, "%s.%s", module, parts[i]);
        const unsigned char *bytes =
            fake_tensor_bytes(plan, "out/model.safetensors", name, &tensor);
        assert_int_equal(tensor->dtype, i == 0 ? DTYPE_U32 : quant_scale_dtype(shape));
        assert_int_equal(tensor->size_bytes, sizes[i]);
        assert_memory_equal(bytes, want[i], (size_t)sizes[i]);
    }
    test_free(values);
    for (size_t i = 0; i < 3; i++)
        test_free(want[i]);
}

static void without_parameters_tensors_are_cast(void **state)
{
    (void)state;
    struct plan *plan = begin("{}");
    fake_run_well(plan, &task_quantize);
    assert_int_equal(plan->output_count, 1);
    struct safetensors *made = fake_open(plan, "out/model.safetensors");
    assert_int_equal(made->count, 6);
    assert_int_equal(made->data_start % 4096, 0);
    assert_string_equal(made->metadata[0].value.bytes, "mlx");
    assert_is_cast(plan, "embed.weight", DTYPE_BF16);
    assert_is_cast(plan, "layers.0.gate.weight", DTYPE_BF16);
    assert_is_cast(plan, "layers.0.gate.bias", DTYPE_F32); /* keep_dtype */
    assert_null(safetensors_find(made, "layers.0.rotary.inv_freq"));
    assert_false(plan->layout.is_quantized);
    assert_int_equal(plan->layout.quantization.length, 0);
    assert_int_equal(plan->layout.entry_count, 0);
    assert_int_equal(
        plan->layout.total_parameters, 200 * 128 + 128 * 96 + 8 + 8 * 128 + 128 + 2 * 70 * 128);
    fake_end(plan);
}

static void tensors_lie_in_byte_order_of_their_names(void **state)
{
    (void)state;
    struct plan *plan = begin("{\"bits\": 4}");
    fake_run_well(plan, &task_quantize);
    struct safetensors *made = fake_open(plan, "out/model.safetensors");
    uint64_t end = made->data_start;
    for (size_t i = 0; i < made->count; i++) {
        assert_int_equal(made->tensors[i].offset, end);
        assert_ptr_equal(made->tensors_by_name[i], &made->tensors[i]);
        assert_string_equal(made->tensors[i].name, plan->layout.tensors[i].name);
        end += made->tensors[i].size_bytes;
    }
    assert_int_equal(end, made->file_size);
    fake_end(plan);
}

static void layers_are_quantized_and_the_rest_is_cast(void **state)
{
    (void)state;
    struct plan *plan = begin("{\"bits\": 3, \"group_size\": 32}");
    fake_run_well(plan, &task_quantize);
    const struct quant_shape shape = {QUANT_AFFINE, 3, 32, DTYPE_BF16};
    const struct quant_shape gate = {QUANT_AFFINE, 8, 64, DTYPE_BF16};
    const struct tensor *tensor;
    assert_is_quantized(plan, "embed", 200, 128, &shape);
    assert_is_quantized(plan, "layers.0.up", 140, 128, &shape);
    assert_is_quantized(plan, "layers.0.down_proj", 128, 96, &shape);
    assert_is_quantized(plan, "layers.0.gate", 8, 128, &gate); /* after the cast from F32 */
    assert_is_cast(plan, "layers.0.norm.weight", DTYPE_BF16);
    fake_tensor_bytes(plan, "out/model.safetensors", "layers.0.up.weight", &tensor);
    assert_int_equal(tensor->rank, 3);
    assert_int_equal(tensor->shape[0], 2);
    assert_int_equal(tensor->shape[1], 70);
    assert_int_equal(tensor->shape[2], 12);
    assert_true(plan->layout.is_quantized);
    assert_true(text_is(
        plan->layout.quantization, "{\"group_size\": 32, \"bits\": 3, \"mode\": \"affine\"}"));
    assert_int_equal(plan->layout.entry_count, 1);
    assert_string_equal(plan->layout.entries[0].module, "layers.0.gate");
    assert_true(text_is(plan->layout.entries[0].json, "{\"group_size\": 64, \"bits\": 8}"));
    assert_int_equal(
        plan->layout.total_parameters, 200 * 128 + 128 * 96 + 8 + 8 * 128 + 128 + 2 * 70 * 128);
    fake_end(plan);
}

static void modes_have_their_own_defaults(void **state)
{
    static const struct {
        const char *with, *quantization;
        struct quant_shape shape;
    } cases[] = {
        {"{\"quantize\": true}", "{\"group_size\": 64, \"bits\": 4, \"mode\": \"affine\"}",
            {QUANT_AFFINE, 4, 64, DTYPE_BF16}},
        {"{\"mode\": \"mxfp4\"}", "{\"group_size\": 32, \"bits\": 4, \"mode\": \"mxfp4\"}",
            {QUANT_MXFP4, 4, 32, DTYPE_BF16}},
        {"{\"mode\": \"mxfp8\", \"bits\": 8, \"dtype\": \"float16\"}",
            "{\"group_size\": 32, \"bits\": 8, \"mode\": \"mxfp8\"}",
            {QUANT_MXFP8, 8, 32, DTYPE_F16}},
        {"{\"mode\": \"nvfp4\", \"dtype\": \"float32\"}",
            "{\"group_size\": 16, \"bits\": 4, \"mode\": \"nvfp4\"}",
            {QUANT_NVFP4, 4, 16, DTYPE_F32}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = begin(cases[i].with);
        fake_run_well(plan, &task_quantize);
        assert_is_quantized(plan, "embed", 200, 128, &cases[i].shape);
        assert_true(text_is(plan->layout.quantization, cases[i].quantization));
        fake_end(plan);
    }
}

static void a_width_that_the_group_size_does_not_divide_is_left_alone(void **state)
{
    (void)state;
    struct plan *plan = begin("{\"group_size\": 64}");
    fake_run_well(plan, &task_quantize);
    assert_is_cast(plan, "layers.0.down_proj.weight", DTYPE_BF16);
    assert_null(
        safetensors_find(fake_open(plan, "out/model.safetensors"), "layers.0.down_proj.scales"));
    fake_end(plan);
}

static void overrides_come_before_the_rules(void **state)
{
    (void)state;
    struct plan *plan = begin("{\"group_size\": 32, \"overrides\": ["
                              "{\"match\": \"*.gate\", \"quantize\": false},"
                              "{\"bits\": 6, \"match\": \"embed\", \"group_size\": 128},"
                              "{\"match\": \"layers.{i}.{p:up|gate}\", \"mode\": \"mxfp8\"},"
                              "{\"match\": \"*.up\", \"bits\": 2}]}");
    fake_run_well(plan, &task_quantize);
    const struct quant_shape embed = {QUANT_AFFINE, 6, 128, DTYPE_BF16};
    const struct quant_shape up = {QUANT_MXFP8, 8, 32, DTYPE_BF16};
    assert_is_cast(plan, "layers.0.gate.weight", DTYPE_BF16);
    assert_is_quantized(plan, "embed", 200, 128, &embed);
    assert_is_quantized(plan, "layers.0.up", 140, 128, &up);
    assert_int_equal(plan->layout.entry_count, 2); /* in the order of the model */
    assert_string_equal(plan->layout.entries[0].module, "embed");
    assert_true(text_is(plan->layout.entries[0].json, "{\"bits\": 6, \"group_size\": 128}"));
    assert_string_equal(plan->layout.entries[1].module, "layers.0.up");
    assert_true(text_is(plan->layout.entries[1].json, "{\"mode\": \"mxfp8\"}"));
    fake_end(plan);
}

static void a_recipe_replaces_the_rules_predicate(void **state)
{
    static const struct {
        const char *with, *embed, *down;
    } cases[] = {
        {"{\"quant_predicate\": \"mixed_3_6\", \"group_size\": 32}",
            "{\"group_size\": 32, \"bits\": 3, \"mode\": \"affine\"}",
            "{\"group_size\": 32, \"bits\": 6, \"mode\": \"affine\"}"},
        {"{\"quant_predicate\": \"mixed_4_6\"}",
            "{\"group_size\": null, \"bits\": 4, \"mode\": \"affine\"}", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = begin(cases[i].with);
        fake_run_well(plan, &task_quantize);
        const struct layout *layout = &plan->layout;
        assert_int_equal(layout->entry_count, cases[i].down == NULL ? 3 : 4);
        assert_string_equal(layout->entries[0].module, "embed");
        assert_true(text_is(layout->entries[0].json, cases[i].embed));
        assert_string_equal(layout->entries[2].module, "layers.0.gate");
        assert_true(text_is(layout->entries[2].json, cases[i].embed));
        if (cases[i].down != NULL)
            assert_true(text_is(layout->entries[3].json, cases[i].down));
        fake_end(plan);
    }
}

static void the_dtype_is_the_reference_s_choice(void **state)
{
    static const struct {
        const char *with, *fields;
        enum dtype dtype; /* of layers.0.gate.weight, which is F32 */
    } cases[] = {
        {"{}", "\"torch_dtype\": \"float16\"", DTYPE_F16},
        {"{\"dtype\": \"bfloat16\"}", "\"torch_dtype\": \"float16\"", DTYPE_BF16},
        {"{}", "\"dtype\": \"float16\"", DTYPE_F32},
        {"{}", "\"torch_dtype\": \"auto\", \"text_config\": {\"dtype\": \"float16\"}", DTYPE_F32},
        {"{}", "\"torch_dtype\": null, \"text_config\": {\"dtype\": \"float16\"}", DTYPE_F16},
        {"{}", "\"text_config\": {\"torch_dtype\": \"float16\"}", DTYPE_F32},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = begin(cases[i].with);
        char text[256];
        snprintf(text, sizeof text,
            "{\"model_type\": \"toy\", \"vocab\": 200, \"hidden\": 128, "
            "\"num_hidden_layers\": 1, %s}",
            cases[i].fields);
        plan->inputs[0].bytes = text_of(text);
        fake_run_well(plan, &task_quantize);
        assert_is_cast(plan, "layers.0.gate.weight", cases[i].dtype);
        fake_end(plan);
    }
}

static void dequantize_changes_nothing_of_a_model_that_is_not_quantized(void **state)
{
    static const char *const names[] = {
        "embed.weight", "layers.0.up.weight", "layers.0.gate.weight", "layers.0.norm.weight"};
    (void)state;
    struct plan *plan = begin("{\"dequantize\": true}");
    fake_run_well(plan, &task_quantize);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_is_cast(plan, names[i], DTYPE_BF16);
    assert_int_equal(fake_open(plan, "out/model.safetensors")->count, 6);
    assert_false(plan->layout.is_quantized);
    assert_true(plan->layout.is_dequantized); /* a "quantization" of null goes, too */
    fake_end(plan);
}

static void files_are_split_in_the_order_of_the_model(void **state)
{
    (void)state;
    /* embed 51200; up 35840, gate 2048 and 32; down_proj 24576, norm 256 */
    struct plan *plan = begin("{\"max_shard_size\": 50000}");
    fake_run_well(plan, &task_quantize);
    assert_int_equal(plan->output_count, 3);
    assert_string_equal(plan->outputs[0].path, "out/model-00001-of-00003.safetensors");
    assert_int_equal(fake_open(plan, "out/model-00001-of-00003.safetensors")->count, 1);
    assert_int_equal(fake_open(plan, "out/model-00002-of-00003.safetensors")->count, 3);
    assert_int_equal(fake_open(plan, "out/model-00003-of-00003.safetensors")->count, 2);
    assert_int_equal(plan->layout.file_count, 3);
    assert_string_equal(plan->layout.files[2], "model-00003-of-00003.safetensors");
    assert_string_equal(plan->layout.tensors[0].name, "embed.weight");
    assert_int_equal(plan->layout.tensors[0].file, 0);
    assert_string_equal(plan->layout.tensors[1].name, "layers.0.down_proj.weight");
    assert_int_equal(plan->layout.tensors[1].file, 2);
    fake_end(plan);
}

static void only_fields_that_count_are_read(void **state)
{
    (void)state;
    struct plan *plan = begin("{\"bits\": 4, \"dtype\": \"float16\"}");
    fake_run_well(plan, &task_quantize);
    assert_true(fake_has_read(plan, "model_type"));
    assert_true(fake_has_read(plan, "hidden"));
    assert_true(fake_has_read(plan, "quantization_config"));
    assert_true(fake_has_read(plan, "rules/toy.json"));
    assert_false(fake_has_read(plan, "torch_dtype"));
    assert_false(fake_has_read(plan, "rules/other.json"));
    assert_false(fake_has_read(plan, ""));
    fake_end(plan);
}

static void a_piece_s_key_covers_what_decides_its_bytes(void **state)
{
    static const struct {
        const char *with;
        bool is_same; /* the key of the embedding's first piece as with {"bits": 4} */
    } cases[] = {
        {"{\"bits\": 4}", true},
        {"{\"quantize\": true}", true},
        {"{\"bits\": 4, \"max_shard_size\": \"10K\"}", true},
        {"{\"bits\": 4, \"overrides\": [{\"match\": \"*.up\", \"bits\": 8}]}", true},
        {"{\"bits\": 5}", false},
        {"{\"bits\": 4, \"group_size\": 32}", false},
        {"{\"mode\": \"mxfp4\"}", false},
        {"{\"bits\": 4, \"dtype\": \"float16\"}", false},
        {"{\"bits\": 4, \"nonfinite\": \"keep\"}", false},
        {"{}", false},
    };
    (void)state;
    struct plan *first = begin(cases[0].with);
    fake_run_well(first, &task_quantize);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = begin(cases[i].with);
        fake_run_well(plan, &task_quantize);
        if (text_equal(plan->pieces[0].key, first->pieces[0].key) != cases[i].is_same)
            fail_msg("%s", cases[i].with);
        fake_end(plan);
    }
    fake_end(first);
}

/* Puts a value into an input tensor. */
static void poke(struct plan *plan, const char *path, const char *name, uint64_t index, float value)
{
    for (size_t i = 0; i < plan->input_count; i++) {
        const struct fake_file *file = &plan->inputs[i];
        struct safetensors *parsed;
        if (strcmp(file->path, path) != 0)
            continue;
        unsigned char *bytes = (unsigned char *)(uintptr_t)file->bytes.bytes;
        struct text json = {file->bytes.bytes + 8, (size_t)load_le64(bytes)};
        assert_null(safetensors_parse(&plan->arena, path, json, file->bytes.length, &parsed));
        const struct tensor *tensor = safetensors_find(parsed, name);
        fake_set(bytes + tensor->offset, tensor->dtype, index, value);
        return;
    }
}

static void non_finite_weights_are_reported_with_their_place(void **state)
{
    static const struct {
        const char *with, *shard, *name;
        uint64_t index;
        uint32_t bits; /* of the float */
        const char *want;
    } cases[] = {
        {"{\"bits\": 4}", "in/model-00001-of-00002.safetensors", "embed.weight", 130 * 128 + 77,
            0x7FC00000,
            "tensor \"embed.weight\" holds NaN at index [130, 77] "
            "(in/model-00001-of-00002.safetensors, byte 37530)"},
        {"{}", "in/model-00002-of-00002.safetensors", "layers.0.up.weight", (70 + 3) * 128,
            0xFF800000,
            "tensor \"layers.0.up.weight\" holds -infinity at index [1, 3, 0] "
            "(in/model-00002-of-00002.safetensors, byte 27168)"},
        {"{}", "in/model-00002-of-00002.safetensors", "layers.0.norm.weight", 5, 0x7F800000,
            "tensor \"layers.0.norm.weight\" holds infinity at index [5] "
            "(in/model-00002-of-00002.safetensors, byte 8234)"},
        {"{\"dtype\": \"float16\"}", "in/model-00002-of-00002.safetensors", "layers.0.norm.weight",
            5, 0x478F0000,
            "tensor \"layers.0.norm.weight\" must fit float16, but holds 73216 at index [5] "
            "(in/model-00002-of-00002.safetensors, byte 8234)"},
        {"{\"dtype\": \"float16\", \"bits\": 8}", "in/model-00001-of-00002.safetensors",
            "embed.weight", 1, 0x478F0000,
            "tensor \"embed.weight\" must fit float16, but holds 73216 at index [0, 1] "
            "(in/model-00001-of-00002.safetensors, byte 4098)"},
        {"{\"bits\": 8}", "in/model-00002-of-00002.safetensors", "layers.0.gate.weight", 128,
            0x7F7FFFFF,
            "tensor \"layers.0.gate.weight\" must fit bfloat16, but holds 3.40282347e+38 at "
            "index [1, 0] (in/model-00002-of-00002.safetensors, byte 4640)"},
    };
    (void)state;
    for (size_t i = 0; i < 2 * (sizeof cases / sizeof cases[0]); i++) {
        quant_init(i % 2 == 0 ? 0 : cpu_features()); /* the fastest kernels know less at once */
        struct plan *plan = begin(cases[i / 2].with);
        poke(plan, cases[i / 2].shard, cases[i / 2].name, cases[i / 2].index,
            float_of_bits(cases[i / 2].bits));
        struct error *error = fake_run(plan, &task_quantize);
        assert_non_null(error);
        assert_string_equal(error_text(error), cases[i / 2].want);
        assert_int_equal(error_kind_of(error), ERROR_FAILED);
        error_free(error);
        fake_end(plan);
    }
    quant_init(0);
}

/* Two weights that are finite, but too far apart. */
static void scales_that_overflow_are_reported_with_their_place(void **state)
{
    static const struct {
        const char *with, *shard, *name;
        uint64_t index;
        float weight;
        const char *want;
    } cases[] = {
        {"{\"bits\": 4}", "in/model-00001-of-00002.safetensors", "embed.weight", 130 * 128 + 77,
            0x1.8p127f,
            "tensor \"embed.weight\" must have scales that fit bfloat16, but its weights at "
            "index [130, 64] and after it are too far apart "
            "(in/model-00001-of-00002.safetensors, byte 37504)"},
        {"{\"bits\": 1, \"dtype\": \"float16\", \"group_size\": 32}",
            "in/model-00002-of-00002.safetensors", "layers.0.up.weight", (70 + 3) * 128, 60000,
            "tensor \"layers.0.up.weight\" must have scales that fit float16, but its weights at "
            "index [1, 3, 0] and after it are too far apart "
            "(in/model-00002-of-00002.safetensors, byte 27168)"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = begin(cases[i].with);
        poke(plan, cases[i].shard, cases[i].name, cases[i].index, cases[i].weight);
        poke(plan, cases[i].shard, cases[i].name, cases[i].index + 1, -cases[i].weight);
        struct error *error = fake_run(plan, &task_quantize);
        assert_non_null(error);
        assert_string_equal(error_text(error), cases[i].want);
        assert_int_equal(error_kind_of(error), ERROR_FAILED);
        error_free(error);
        fake_end(plan);
    }
    struct plan *plan = begin("{\"bits\": 4, \"nonfinite\": \"keep\"}");
    poke(plan, cases[0].shard, cases[0].name, 0, cases[0].weight);
    poke(plan, cases[0].shard, cases[0].name, 1, -cases[0].weight);
    fake_run_well(plan, &task_quantize);
    fake_end(plan);
}

static void non_finite_weights_can_be_kept(void **state)
{
    (void)state;
    struct plan *plan = begin("{\"nonfinite\": \"keep\", \"dtype\": \"float16\"}");
    const struct tensor *tensor;
    poke(plan, "in/model-00001-of-00002.safetensors", "embed.weight", 0, float_of_bits(0x7FC00000));
    poke(plan, "in/model-00001-of-00002.safetensors", "embed.weight", 1, 1e30f);
    fake_run_well(plan, &task_quantize);
    const unsigned char *bytes =
        fake_tensor_bytes(plan, "out/model.safetensors", "embed.weight", &tensor);
    assert_int_equal(load_le16(bytes), 0x7D00);
    assert_int_equal(load_le16(bytes + 2), 0x7C00);
    fake_end(plan);
}

static void empty_and_integer_tensors_pass_through(void **state)
{
    static const struct fake_tensor tensors[] = {
        {"empty", DTYPE_BF16, 2, {0, 64}},
        {"ids", DTYPE_I64, 1, {3}},
        {"scalar", DTYPE_F32, 0, {0}},
        {.name = NULL},
    };
    (void)state;
    struct plan *plan = fake_begin("out/model.safetensors", "{\"quantize\": true}");
    fake_add_rules(plan, "rules/bare.json", "{\"types\": [\"bare\"]}");
    fake_add_text(plan, "config", "in/config.json",
        "{\"model_type\": \"bare\", \"torch_dtype\": \"float16\"}");
    fake_add_shard(plan, "in/model.safetensors", tensors);
    fake_run_well(plan, &task_quantize);
    const struct tensor *tensor;
    const unsigned char *bytes = fake_tensor_bytes(plan, "out/model.safetensors", "ids", &tensor);
    assert_int_equal(tensor->dtype, DTYPE_I64);
    for (size_t i = 0; i < 24; i++)
        assert_int_equal(bytes[i], (unsigned char)(i * 7 + 1));
    fake_tensor_bytes(plan, "out/model.safetensors", "empty", &tensor);
    assert_int_equal(tensor->dtype, DTYPE_F16);
    assert_int_equal(tensor->size_bytes, 0);
    assert_is_cast(plan, "scalar", DTYPE_F16);
    assert_int_equal(plan->piece_count, 2);
    fake_end(plan);
}

/* ---- what is refused ---- */

static void assert_refused(struct plan *plan, const char *want)
{
    struct error *error = fake_run(plan, &task_quantize);
    if (error == NULL)
        fail_msg("expected: %s", want);
    assert_string_equal(error_text(error), want);
    error_free(error);
    fake_end(plan);
}

static void wrong_parameters_are_refused_at_their_place(void **state)
{
    static const struct {
        const char *with, *want;
    } cases[] = {
        {"{\"mode\": \"mxfp4\", \"bits\": 8}",
            "psybuild.json:1:27: bits must be 4 in mode mxfp4, not 8"},
        {"{\"mode\": \"nvfp4\", \"group_size\": 64}",
            "psybuild.json:1:33: group_size must be 16 in mode nvfp4, not 64"},
        {"{\"group_size\": 16}",
            "psybuild.json:1:16: group_size must be one of 32, 64, 128, not 16"},
        {"{\"quant_predicate\": \"mixed_2_6\", \"mode\": \"mxfp4\"}",
            "psybuild.json:1:21: mixed_2_6 is for mode affine only, not mxfp4"},
        {"{\"max_shard_size\": 0}", "psybuild.json:1:20: \"max_shard_size\" must be at least 1"},
        {"{\"overrides\": [{\"match\": \"embed\"}]}",
            "psybuild.json:1:16: an override must have \"bits\", \"group_size\", \"mode\" or "
            "\"quantize\": false"},
        {"{\"overrides\": [{\"match\": \"embed\", \"quantize\": true}]}",
            "psybuild.json:1:47: \"quantize\" of an override must be false, and stand with "
            "\"match\" alone"},
        {"{\"overrides\": [{\"match\": \"embed\", \"bits\": 4, \"mode\": \"mxfp8\"}]}",
            "psybuild.json:1:43: bits must be 8 in mode mxfp8, not 4"},
        {"{\"overrides\": [{\"match\": \"layers.0.ub\", \"bits\": 4}]}",
            "psybuild.json:1:26: \"match\" must match a layer of the model, but \"layers.0.ub\" "
            "matches none; did you mean \"layers.0.up\"?"},
        {"{\"overrides\": [{\"match\": \"*.norm\", \"quantize\": false}]}",
            "psybuild.json:1:26: \"match\" must match a layer of the model, but \"*.norm\" "
            "matches none"},
        {"{\"group_size\": 32, \"overrides\": [{\"match\": \"*.down_proj\", \"bits\": 8}]}",
            "psybuild.json:1:34: the group size 64 of this override does not divide the 96 "
            "columns of layers.0.down_proj"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(begin(cases[i].with), cases[i].want);
}

static void a_recipe_needs_down_projections(void **state)
{
    static const struct fake_tensor tensors[] = {
        {"layers.0.up.weight", DTYPE_F32, 2, {4, 64}},
        {.name = NULL},
    };
    (void)state;
    struct plan *plan = fake_begin("out/model.safetensors", "{\"quant_predicate\": \"mixed_2_6\"}");
    fake_add_rules(plan, "rules/bare.json", "{\"types\": [\"bare\"]}");
    fake_add_text(
        plan, "config", "in/config.json", "{\"model_type\": \"bare\", \"num_hidden_layers\": 1}");
    fake_add_shard(plan, "in/model.safetensors", tensors);
    assert_refused(plan, "psybuild.json:1:21: mixed_2_6 needs a module with \"down_proj\" in its "
                         "path, and the model has none");
}

static void integers_cannot_be_quantized(void **state)
{
    (void)state;
    struct plan *plan = fake_begin("out/model.safetensors", "{\"bits\": 4}");
    static const struct fake_tensor tensors[] = {
        {"head.weight", DTYPE_I32, 2, {4, 64}}, {.name = NULL}};
    fake_add_rules(plan, "rules/bare.json",
        "{\"types\": [\"bare\"], \"tensors\": [{\"name\": \"head.weight\", \"shape\": [4, 64], "
        "\"kind\": \"linear\"}]}");
    fake_add_text(plan, "config", "in/config.json", "{\"model_type\": \"bare\"}");
    fake_add_shard(plan, "in/model.safetensors", tensors);
    assert_refused(plan, "in/model.safetensors: tensor \"head.weight\" must be F32, F16 or BF16 to "
                         "be quantized, not I32");
}

/* Only rules without a list of tensors let it come so far. */
static void a_name_that_would_be_written_twice_is_refused(void **state)
{
    static const struct fake_tensor tensors[] = {{"head.biases", DTYPE_BF16, 2, {4, 1}},
        {"head.weight", DTYPE_BF16, 2, {4, 64}}, {.name = NULL}};
    (void)state;
    struct plan *plan = fake_begin("out/model.safetensors", "{\"bits\": 4}");
    fake_add_rules(plan, "rules/bare.json", "{\"types\": [\"bare\"]}");
    fake_add_text(plan, "config", "in/config.json", "{\"model_type\": \"bare\"}");
    fake_add_shard(plan, "in/model.safetensors", tensors);
    assert_refused(plan, "tensor \"head.biases\" must be written once, not twice");
}

static void wrong_configurations_are_refused(void **state)
{
    static const struct {
        const char *config, *want;
    } cases[] = {
        {"{}", "in/config.json: expected a \"model_type\", found nothing"},
        {"{\"model_type\": 3}", "in/config.json:1:16: \"model_type\" must be a string, not 3"},
        {"{\"model_type\": \"toi\"}",
            "in/config.json:1:16: there are no rules for model type \"toi\": add a rule file for "
            "it, see manifests/rules/README.md"},
        {"{\"quantization\": {\"bits\": 4}}",
            "in/config.json:1:18: the checkpoint must not be quantized, but has \"quantization\": "
            "start from the original weights"},
        {"{\"quantization_config\": {\"quant_method\": \"fp8\"}}",
            "in/config.json:1:25: the checkpoint must not be quantized, but has "
            "\"quantization_config\" with \"quant_method\": \"fp8\": start from the original "
            "weights"},
        {"{\"text_config\": {\"quantization_config\": {}}}",
            "in/config.json:1:41: the checkpoint must not be quantized, but has "
            "\"text_config.quantization_config\": start from the original weights"},
        {"{\"text_config\": null}",
            "in/config.json:1:17: \"text_config\" must be an object, not null"},
        {"{\"text_config\": 3}", "in/config.json:1:17: \"text_config\" must be an object, not 3"},
        {"{\"text_config\": null, \"quantization_config\": null}",
            "in/config.json: expected a \"model_type\", found nothing"},
        {"{\"model_type\": \"toy\", \"model_file\": \"toy.py\"}",
            "in/config.json:1:37: the checkpoint must not bring its own model class, but has "
            "\"model_file\": \"toy.py\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = begin("{}");
        plan->inputs[0].bytes = text_of(cases[i].config);
        assert_refused(plan, cases[i].want);
    }
}

static void a_checkpoint_of_modelopt_is_refused(void **state)
{
    (void)state;
    struct plan *plan = begin("{}");
    fake_add_text(plan, "hf_quant_config", "in/hf_quant_config.json", "{}");
    assert_refused(plan, "in/hf_quant_config.json: the checkpoint must not be quantized, but has "
                         "this file: start from the original weights");
}

static void two_rule_files_for_one_type_are_refused(void **state)
{
    (void)state;
    struct plan *plan = begin("{}");
    fake_add_rules(plan, "rules/toys.json", "{\"types\": [\"toy\"]}");
    assert_refused(plan,
        "model type \"toy\" must have one rule file, not both rules/toy.json and rules/toys.json");
}

static void rules_of_the_first_directory_count(void **state)
{
    (void)state;
    struct plan *plan = begin("{}");
    fake_add_rules(plan, "installed/rules/toy.json", "{\"types\": [\"toy\"]}");
    fake_run_well(plan, &task_quantize);
    assert_true(fake_has_read(plan, "rules/toy.json"));
    fake_end(plan);
}

static void tensors_that_do_not_fit_the_config_are_refused(void **state)
{
    (void)state;
    struct plan *plan = begin("{}");
    plan->inputs[0].bytes = text_of("{\"model_type\": \"toy\", \"vocab\": 201, \"hidden\": 128, "
                                    "\"num_hidden_layers\": 1}");
    struct error *error = fake_run(plan, &task_quantize);
    assert_non_null(error);
    assert_true(text_contains(text_of(error_text(error)), "embed.weight"));
    assert_true(text_contains(text_of(error_text(error)), "[201, 128]"));
    assert_non_null(strstr(error_report(error),
        "    while matching the tensors of in/model-00001-of-00002.safetensors and 1 more with "
        "in/config.json\n"));
    error_free(error);
    fake_end(plan);
}

static void quantized_tensors_of_mlx_are_refused(void **state)
{
    static const struct fake_tensor tensors[] = {
        {"embed.scales", DTYPE_BF16, 2, {200, 2}},
        {.name = NULL},
    };
    (void)state;
    struct plan *plan = begin("{}");
    fake_add_bytes(plan, "weights", "in/model-mlx.safetensors", fake_shard(plan, tensors, "mlx"));
    assert_refused(plan,
        "in/model-mlx.safetensors: the checkpoint must not be quantized, but is MLX's with tensor "
        "\"embed.scales\": start from the original weights");
}

static void types_that_mlx_cannot_hold_are_refused(void **state)
{
    static const enum dtype dtypes[] = {DTYPE_F64, DTYPE_F8_E4M3, DTYPE_F8_E5M2, DTYPE_F8_E8M0};
    (void)state;
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        const struct fake_tensor tensors[] = {{"x", dtypes[i], 1, {4}}, {.name = NULL}};
        char want[128];
        struct plan *plan = fake_begin("out/model.safetensors", "{}");
        fake_add_rules(plan, "rules/bare.json", "{\"types\": [\"bare\"]}");
        fake_add_text(plan, "config", "in/config.json", "{\"model_type\": \"bare\"}");
        fake_add_shard(plan, "in/model.safetensors", tensors);
        snprintf(want, sizeof want,
            "in/model.safetensors: tensor \"x\" must be F32, F16, BF16 or of integers, not %s",
            dtype_name(dtypes[i]));
        assert_refused(plan, want);
    }
}

static void a_missing_shard_is_refused(void **state)
{
    (void)state;
    struct plan *plan = begin("{}");
    plan->input_count--;
    assert_refused(plan,
        "in/model-00001-of-00002.safetensors: expected all of its 2 shards, but number 2 is not "
        "among the inputs");
}

static void damaged_files_are_refused(void **state)
{
    static const struct {
        size_t length;
        const char *want;
    } cases[] = {
        {0, "in/model-00002-of-00002.safetensors: expected a safetensors file of at least 8 bytes, "
            "found 0"},
        {100, "in/model-00002-of-00002.safetensors: truncated: the header takes 4096 bytes, the "
              "file has 100"},
        {5000, "in/model-00002-of-00002.safetensors: truncated: the header describes 44320 bytes, "
               "the file has 5000"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = begin("{}");
        plan->inputs[2].bytes.length = cases[i].length;
        assert_refused(plan, cases[i].want);
    }
}

static void an_index_that_disagrees_is_refused(void **state)
{
    (void)state;
    struct plan *plan = begin("{}");
    fake_add_text(plan, "index", "in/model.safetensors.index.json",
        "{\"weight_map\": {\"embed.weight\": \"model-00002-of-00002.safetensors\"}}");
    assert_refused(plan,
        "in/model.safetensors.index.json:1:33: tensor \"embed.weight\" is to be in "
        "\"model-00002-of-00002.safetensors\", but it is in in/model-00001-of-00002.safetensors");
}

/* ---- what is lost ---- */

/* As of all rows at once, by the definition in quant.h. */
static void assert_is_measured(const struct figures_module *module, const char *name, uint64_t rows,
    uint64_t columns, const struct quant_shape *shape)
{
    const uint64_t groups = rows * columns / shape->group_size;
    unsigned char *codes = test_malloc((size_t)(quant_code_bytes(shape, columns) * rows));
    unsigned char *scales = test_malloc((size_t)groups * 4), *biases = test_malloc(groups * 4);
    void *values = values_of(name, shape->dtype, rows * columns);
    struct quant_error want = {0, 0, 0, 0};
    quant_rows(shape, rows, columns, values, codes, scales, biases, &want);
    assert_string_equal(module->name, name);
    assert_int_equal(module->weights, rows * columns);
    assert_int_equal(module->weights_measured, rows * columns);
    assert_true(module->error_squares == want.error_squares);
    assert_true(module->weight_squares == want.weight_squares);
    assert_true(module->error_max == want.error_max);
    assert_true(want.error_squares > 0);
    test_free(values);
    test_free(biases);
    test_free(scales);
    test_free(codes);
}

static void what_is_lost_is_measured_by_module(void **state)
{
    static const struct {
        const char *name;
        uint64_t rows, columns;
        struct quant_shape shape;
    } modules[] = {
        {"embed.weight", 200, 128, {QUANT_AFFINE, 4, 32, DTYPE_BF16}},
        {"layers.0.up.weight", 140, 128, {QUANT_AFFINE, 4, 32, DTYPE_BF16}},
        {"layers.0.gate.weight", 8, 128, {QUANT_AFFINE, 8, 64, DTYPE_BF16}},
        {"layers.0.down_proj.weight", 128, 96, {QUANT_AFFINE, 4, 32, DTYPE_BF16}},
    };
    struct figures figures;
    (void)state;
    struct plan *plan = begin("{\"bits\": 4, \"group_size\": 32}");
    fake_run_well(plan, &task_quantize);
    assert_null(figures_decode(&plan->arena, "out", plan->figures, &figures));
    assert_int_equal(figures.count, sizeof modules / sizeof modules[0]);
    for (uint32_t i = 0; i < figures.count; i++)
        assert_is_measured(&figures.modules[i], modules[i].name, modules[i].rows,
            modules[i].columns, &modules[i].shape);
    fake_end(plan);
}

static void rows_that_are_kept_non_finite_are_not_measured(void **state)
{
    static const char shard[] = "in/model-00001-of-00002.safetensors";
    struct figures figures;
    (void)state;
    struct plan *plan = begin("{\"bits\": 4, \"group_size\": 32, \"nonfinite\": \"keep\"}");
    poke(plan, shard, "embed.weight", 128, float_of_bits(0x7FC00000));
    poke(plan, shard, "embed.weight", 199 * 128 + 5, INFINITY);
    fake_run_well(plan, &task_quantize);
    assert_null(figures_decode(&plan->arena, "out", plan->figures, &figures));
    assert_string_equal(figures.modules[0].name, "embed.weight");
    assert_int_equal(figures.modules[0].weights, 200 * 128);
    assert_int_equal(figures.modules[0].weights_measured, 198 * 128);
    assert_true(figures_sqnr(&figures.modules[0]) > 10);
    assert_int_equal(figures.modules[1].weights_measured, figures.modules[1].weights);
    fake_end(plan);
}

static void nothing_is_measured_unless_it_is_quantized_and_wanted(void **state)
{
    (void)state;
    struct plan *plan = begin("{}");
    fake_run_well(plan, &task_quantize);
    assert_int_equal(plan->figures.length, 0);
    fake_end(plan);
    plan = begin("{\"bits\": 4}");
    plan->no_stats = true;
    fake_run_well(plan, &task_quantize);
    assert_int_equal(plan->figures.length, 0);
    fake_end(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_parameters_tensors_are_cast),
        cmocka_unit_test(tensors_lie_in_byte_order_of_their_names),
        cmocka_unit_test(layers_are_quantized_and_the_rest_is_cast),
        cmocka_unit_test(modes_have_their_own_defaults),
        cmocka_unit_test(a_width_that_the_group_size_does_not_divide_is_left_alone),
        cmocka_unit_test(overrides_come_before_the_rules),
        cmocka_unit_test(a_recipe_replaces_the_rules_predicate),
        cmocka_unit_test(the_dtype_is_the_reference_s_choice),
        cmocka_unit_test(dequantize_changes_nothing_of_a_model_that_is_not_quantized),
        cmocka_unit_test(files_are_split_in_the_order_of_the_model),
        cmocka_unit_test(only_fields_that_count_are_read),
        cmocka_unit_test(a_piece_s_key_covers_what_decides_its_bytes),
        cmocka_unit_test(non_finite_weights_are_reported_with_their_place),
        cmocka_unit_test(scales_that_overflow_are_reported_with_their_place),
        cmocka_unit_test(non_finite_weights_can_be_kept),
        cmocka_unit_test(empty_and_integer_tensors_pass_through),
        cmocka_unit_test(wrong_parameters_are_refused_at_their_place),
        cmocka_unit_test(a_recipe_needs_down_projections),
        cmocka_unit_test(integers_cannot_be_quantized),
        cmocka_unit_test(a_name_that_would_be_written_twice_is_refused),
        cmocka_unit_test(wrong_configurations_are_refused),
        cmocka_unit_test(a_checkpoint_of_modelopt_is_refused),
        cmocka_unit_test(two_rule_files_for_one_type_are_refused),
        cmocka_unit_test(rules_of_the_first_directory_count),
        cmocka_unit_test(tensors_that_do_not_fit_the_config_are_refused),
        cmocka_unit_test(quantized_tensors_of_mlx_are_refused),
        cmocka_unit_test(types_that_mlx_cannot_hold_are_refused),
        cmocka_unit_test(a_missing_shard_is_refused),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(an_index_that_disagrees_is_refused),
        cmocka_unit_test(what_is_lost_is_measured_by_module),
        cmocka_unit_test(rows_that_are_kept_non_finite_are_not_measured),
        cmocka_unit_test(nothing_is_measured_unless_it_is_quantized_and_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
