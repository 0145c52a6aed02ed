/* test_packed.c - the task "quantize" with "dequantize": codes, scales and biases become floats. */
#include "tests/tasks/fake_plan.h"

#include "tasks/formats/quant.h"
#include "tasks/registry.h"

static const char rules[] =
    "{\"types\": [\"toy\"], \"tensors\": ["
    " {\"name\": \"embed.weight\", \"shape\": [\"vocab\", 128], \"kind\": \"embedding\"},"
    " {\"name\": \"layers.0.up.weight\", \"shape\": [2, 70, 128], \"kind\": \"linear\"},"
    " {\"name\": \"layers.0.gate.weight\", \"shape\": [8, 128], \"kind\": \"linear\"},"
    " {\"name\": \"layers.0.gate.bias\", \"shape\": [8]},"
    " {\"name\": \"layers.0.down.weight\", \"shape\": [128, 96], \"kind\": \"linear\"},"
    " {\"name\": \"layers.0.norm.weight\", \"shape\": [128]}]}";

/* The top-level values serve no module: embed is told from its shapes, the others have entries. */
#define QUANTIZATION                                                                               \
    "{\"group_size\": 32, \"bits\": 8, \"mode\": \"affine\","                                      \
    " \"layers.0.up\": {\"group_size\": 32, \"bits\": 3},"                                         \
    " \"layers.0.gate\": {\"mode\": \"mxfp8\", \"bits\": null}, \"layers.0.down\": false}"
static const char config[] = "{\"model_type\": \"toy\", \"vocab\": 5000,"
                             " \"quantization\": " QUANTIZATION "}";

static const struct quant_shape embed = {QUANT_AFFINE, 4, 64, DTYPE_BF16};
static const struct quant_shape up = {QUANT_AFFINE, 3, 32, DTYPE_BF16};
static const struct quant_shape gate = {QUANT_MXFP8, 8, 32, DTYPE_BF16};

/* A module's tensors may lie in different files. */
static const struct fake_tensor shard_1[] = {
    {"embed.weight", DTYPE_U32, 2, {5000, 16}},
    {"layers.0.gate.bias", DTYPE_F32, 1, {8}},
    {"layers.0.gate.scales", DTYPE_U8, 2, {8, 4}},
    {"layers.0.gate.weight", DTYPE_U32, 2, {8, 32}},
    {"layers.0.norm.weight", DTYPE_BF16, 1, {128}},
    {.name = NULL},
};
static const struct fake_tensor shard_2[] = {
    {"embed.biases", DTYPE_BF16, 2, {5000, 2}},
    {"embed.scales", DTYPE_BF16, 2, {5000, 2}},
    {"layers.0.down.weight", DTYPE_BF16, 2, {128, 96}},
    {"layers.0.up.biases", DTYPE_BF16, 3, {2, 70, 4}},
    {"layers.0.up.scales", DTYPE_BF16, 3, {2, 70, 4}},
    {"layers.0.up.weight", DTYPE_U32, 3, {2, 70, 12}},
    {.name = NULL},
};

/* The bytes of an input tensor, or NULL. */
static unsigned char *input_bytes(
    struct plan *plan, const char *module, const char *part, const struct tensor **tensor)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", module, part);
    for (size_t i = 0; i < plan->input_count; i++) {
        struct text bytes = plan->inputs[i].bytes;
        struct safetensors *parsed;
        if (strcmp(plan->inputs[i].role, "weights") != 0)
            continue;
        struct text header = {bytes.bytes + 8, (size_t)load_le64(bytes.bytes)};
        assert_null(safetensors_parse(&plan->arena, "made", header, bytes.length, &parsed));
        *tensor = safetensors_find(parsed, name);
        if (*tensor != NULL)
            return (unsigned char *)(uintptr_t)bytes.bytes + (*tensor)->offset;
    }
    return NULL;
}

/* Makes the module's tensors what quantized values are. */
static void pack(struct plan *plan, const char *module, const struct quant_shape *shape)
{
    const struct tensor *codes, *other;
    unsigned char *bytes = input_bytes(plan, module, "weight", &codes);
    uint64_t count = codes->size_bytes * 8 / shape->bits;
    unsigned char *values = test_malloc((size_t)count * dtype_size_bytes(shape->dtype));
    for (uint64_t i = 0; i < count; i++)
        fake_set(values, shape->dtype, i, fake_value(module, i));
    quant_rows(shape, count / 128, 128, values, bytes, input_bytes(plan, module, "scales", &other),
        input_bytes(plan, module, "biases", &other), NULL);
    test_free(values);
}

static struct plan *begin_with(const char *with, const char *text, const struct fake_tensor *first)
{
    struct plan *plan = fake_begin("out/model*.safetensors", with);
    fake_add_rules(plan, "rules/toy.json", rules);
    fake_add_text(plan, "config", "in/config.json", text);
    fake_add_bytes(plan, "weights", "in/model-1.safetensors", fake_shard(plan, first, "mlx"));
    fake_add_bytes(plan, "weights", "in/model-2.safetensors", fake_shard(plan, shard_2, "mlx"));
    return plan;
}

static struct plan *begin(const char *with)
{
    struct plan *plan = begin_with(with, config, shard_1);
    pack(plan, "embed", &embed);
    pack(plan, "layers.0.up", &up);
    pack(plan, "layers.0.gate", &gate);
    return plan;
}

/* That the module's weight is what the input's codes stand for, with scales cast to `shape`'s type;
 * `from` is what they have in the file. */
static void assert_is_dequantized(
    struct plan *plan, const char *module, struct quant_shape shape, enum dtype from)
{
    static const char *const parts[] = {"scales", "biases"};
    const struct tensor *codes, *tensor, *made;
    char name[64];
    snprintf(name, sizeof name, "%s.weight", module);
    const unsigned char *bytes = fake_tensor_bytes(plan, "out/model.safetensors", name, &made);
    const unsigned char *inputs[3] = {input_bytes(plan, module, "weight", &codes)};
    uint64_t count = codes->size_bytes * 8 / shape.bits;
    unsigned char *cast[2] = {NULL, NULL}, *want = test_malloc((size_t)count * 4);
    for (size_t i = 0; i < 2; i++) {
        inputs[i + 1] = input_bytes(plan, module, parts[i], &tensor);
        if (inputs[i + 1] == NULL || !dtype_is_float(from))
            continue;
        cast[i] = test_malloc((size_t)tensor->size_bytes * 2);
        cast_values(
            from, shape.dtype, tensor->size_bytes / dtype_size_bytes(from), inputs[i + 1], cast[i]);
        inputs[i + 1] = cast[i];
    }
    dequant_rows(&shape, count / 128, 128, inputs[0], inputs[1], inputs[2], want);
    assert_int_equal(made->dtype, shape.dtype);
    assert_int_equal(made->rank, codes->rank);
    assert_int_equal(made->shape[made->rank - 1], 128);
    assert_int_equal(made->size_bytes, count * dtype_size_bytes(shape.dtype));
    assert_memory_equal(bytes, want, (size_t)made->size_bytes);
    test_free(want);
    test_free(cast[0]);
    test_free(cast[1]);
}

static struct quant_shape as(struct quant_shape shape, enum dtype dtype)
{
    shape.dtype = dtype;
    return shape;
}

static void packed_modules_become_floats(void **state)
{
    (void)state;
    struct plan *plan = begin("{\"dequantize\": true}");
    fake_run_well(plan, &task_quantize);
    assert_int_equal(fake_open(plan, "out/model.safetensors")->count, 6);
    assert_is_dequantized(plan, "embed", embed, DTYPE_BF16);
    assert_is_dequantized(plan, "layers.0.up", up, DTYPE_BF16);
    assert_is_dequantized(plan, "layers.0.gate", gate, DTYPE_U8);
    assert_true(plan->layout.is_dequantized);
    assert_false(plan->layout.is_quantized);
    assert_int_equal(plan->layout.entry_count, 0);
    assert_int_equal(
        plan->layout.total_parameters, 5000 * 128 + 2 * 70 * 128 + 8 * 128 + 8 + 128 * 96 + 128);
    assert_true(plan->piece_count > 6);
    fake_end(plan);
}

static void other_tensors_are_as_without(void **state)
{
    static const char *const names[] = {
        "layers.0.gate.bias", "layers.0.down.weight", "layers.0.norm.weight"};
    (void)state;
    struct plan *plan = begin("{\"dequantize\": true}");
    fake_run_well(plan, &task_quantize);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct tensor *tensor;
        const unsigned char *bytes =
            fake_tensor_bytes(plan, "out/model.safetensors", names[i], &tensor);
        uint64_t count = tensor->size_bytes / dtype_size_bytes(tensor->dtype);
        unsigned char *want = test_malloc((size_t)tensor->size_bytes);
        for (uint64_t k = 0; k < count; k++)
            fake_set(want, tensor->dtype, k, fake_value(names[i], k));
        assert_memory_equal(bytes, want, (size_t)tensor->size_bytes);
        test_free(want);
    }
    fake_end(plan);
}

/* The reference's dequantize gives bfloat16 where the scales have no float type. */
static void scales_are_cast_before(void **state)
{
    static const struct {
        const char *with;
        enum dtype dtype;
    } cases[] = {
        {"{\"dequantize\": true, \"dtype\": \"float16\"}", DTYPE_F16},
        {"{\"dequantize\": true, \"dtype\": \"float32\"}", DTYPE_F32},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = begin(cases[i].with);
        const struct tensor *tensor;
        fake_run_well(plan, &task_quantize);
        assert_is_dequantized(plan, "embed", as(embed, cases[i].dtype), DTYPE_BF16);
        assert_is_dequantized(plan, "layers.0.up", as(up, cases[i].dtype), DTYPE_BF16);
        assert_is_dequantized(plan, "layers.0.gate", gate, DTYPE_U8);
        fake_tensor_bytes(plan, "out/model.safetensors", "layers.0.norm.weight", &tensor);
        assert_int_equal(tensor->dtype, cases[i].dtype);
        fake_end(plan);
    }
}

/* Without a list of tensors nobody but config.json knows how long a row is. */
static void top_level_values_serve_where_nothing_else_tells(void **state)
{
    static const char *const quantizations[] = {
        "{\"group_size\": 64, \"bits\": 4}",
        "{\"group_size\": 64, \"bits\": 4, \"embed\": true}",
        "{\"group_size\": 32, \"bits\": 8, \"embed\": {\"bits\": 4, \"group_size\": null}}",
    };
    static const struct fake_tensor tensors[] = {{"embed.biases", DTYPE_BF16, 2, {70, 2}},
        {"embed.scales", DTYPE_BF16, 2, {70, 2}}, {"embed.weight", DTYPE_U32, 2, {70, 16}},
        {.name = NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof quantizations / sizeof quantizations[0]; i++) {
        struct plan *plan = fake_begin("out/model.safetensors", "{\"dequantize\": true}");
        fake_add_rules(plan, "rules/bare.json", "{\"types\": [\"bare\"]}");
        fake_add_text(plan, "config", "in/config.json",
            arena_format(&plan->arena, "{\"model_type\": \"bare\", \"quantization\": %s}",
                quantizations[i]));
        fake_add_bytes(plan, "weights", "in/model.safetensors", fake_shard(plan, tensors, "mlx"));
        pack(plan, "embed", &embed);
        fake_run_well(plan, &task_quantize);
        assert_is_dequantized(plan, "embed", embed, DTYPE_BF16);
        fake_end(plan);
    }
}

/* ---- what is refused ---- */

static void assert_refused(struct plan *plan, const char *name, const char *want)
{
    struct error *error = fake_run(plan, &task_quantize);
    if (error == NULL)
        fail_msg("%s: expected: %s", name, want);
    assert_string_equal(error_text(error), want);
    error_free(error);
    fake_end(plan);
}

static void wrong_parameters_are_refused_at_their_place(void **state)
{
    static const struct {
        const char *with, *want;
    } cases[] = {
        {"{\"dequantize\": true, \"bits\": 4}",
            "psybuild.json:1:30: \"bits\" must not stand with \"dequantize\": the weights become "
            "floats"},
        {"{\"mode\": \"mxfp4\", \"bits\": 8, \"dequantize\": true}",
            "psybuild.json:1:27: \"bits\" must not stand with \"dequantize\": the weights become "
            "floats"},
        {"{\"dequantize\": true, \"overrides\": []}",
            "psybuild.json:1:35: \"overrides\" must not stand with \"dequantize\": the weights "
            "become floats"},
        {"{\"dequantize\": true, \"quantize\": true}",
            "psybuild.json:1:34: \"quantize\" and \"dequantize\" must not both be true"},
        {"{\"dequantize\": false}",
            "in/config.json:1:54: the checkpoint must not be quantized, but has \"quantization\": "
            "start from the original weights"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(begin(cases[i].with), cases[i].with, cases[i].want);
}

static void wrong_configurations_are_refused(void **state)
{
    static const struct {
        const char *quantization, *want;
    } cases[] = {
        {"null", "in/model-1.safetensors: the checkpoint must not be quantized, but is MLX's with "
                 "tensor \"layers.0.gate.scales\": start from the original weights"},
        {"[4]", "in/config.json:1:54: \"quantization\" must be an object, not a list"},
        {"{\"embed\": {\"bits\": 7}}",
            "in/config.json:1:73: bits must be one of 1, 2, 3, 4, 5, 6, 8, not 7"},
        {"{\"embed\": {\"mode\": \"int4\"}}",
            "in/config.json:1:73: \"mode\" must be one of affine, mxfp4, mxfp8, nvfp4"},
        {"{\"embed\": {\"bits\": 8}}",
            "in/model-1.safetensors: tensor \"embed.weight\" must be U32 [5000, 32] for the "
            "quantization of embed, not U32 [5000, 16]"},
        {"{\"embed\": {\"group_size\": 32}}",
            "in/model-2.safetensors: tensor \"embed.scales\" must be BF16 [5000, 4] for the "
            "quantization of embed, not BF16 [5000, 2]"},
        {"{\"embed\": {\"mode\": \"mxfp4\"}}",
            "in/model-2.safetensors: tensor \"embed.scales\" must be U8 [5000, 4] for the "
            "quantization of embed, not BF16 [5000, 2]"},
        {"{\"layers.0.gate\": {\"bits\": 8, \"group_size\": 32}}",
            "in/model-1.safetensors: tensor \"layers.0.gate.scales\" must be F32, F16 or BF16 in "
            "mode affine, not U8"},
        {"{\"embed\": false}", "in/config.json:1:64: embed must be quantized, as it has "
                               "\"embed.scales\", not false"},
        {"{\"layers.0.down\": {\"bits\": 4}}",
            "in/config.json:1:72: layers.0.down must have \"layers.0.down.scales\" to be quantized "
            "so, but has none"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = begin("{\"dequantize\": true}");
        plan->inputs[0].bytes = text_of(arena_format(&plan->arena,
            "{\"model_type\": \"toy\", \"vocab\": 5000, \"quantization\": %s}",
            cases[i].quantization));
        assert_refused(plan, cases[i].quantization, cases[i].want);
    }
}

static void tensors_that_do_not_belong_together_are_refused(void **state)
{
    static const struct {
        const char *name;
        struct fake_tensor tensors[6];
        const char *want;
    } cases[] = {
        {"codes of another type", {{"embed.weight", DTYPE_I32, 2, {5000, 16}}, {.name = NULL}},
            "in/model-1.safetensors: tensor \"embed.weight\" must be U32, as it has "
            "\"embed.scales\" beside it, not I32"},
        {"biases where the mode has none",
            {{"embed.weight", DTYPE_U32, 2, {5000, 16}}, {"layers.0.gate.bias", DTYPE_F32, 1, {8}},
                {"layers.0.gate.biases", DTYPE_BF16, 2, {8, 4}},
                {"layers.0.gate.scales", DTYPE_U8, 2, {8, 4}},
                {"layers.0.gate.weight", DTYPE_U32, 2, {8, 32}},
                {"layers.0.norm.weight", DTYPE_BF16, 1, {128}}},
            "in/model-1.safetensors: tensor \"layers.0.gate.biases\" must not be there in mode "
            "mxfp8"},
        {"no biases where the mode has them",
            {{"embed.weight", DTYPE_U32, 2, {5000, 16}}, {"layers.0.gate.bias", DTYPE_F32, 1, {8}},
                {"layers.0.gate.scales", DTYPE_BF16, 2, {8, 4}},
                {"layers.0.gate.weight", DTYPE_U32, 2, {8, 32}},
                {"layers.0.norm.weight", DTYPE_BF16, 1, {128}}},
            "in/model-1.safetensors: tensor \"layers.0.gate.scales\" must be U8 [8, 4] for the "
            "quantization of layers.0.gate, not BF16 [8, 4]"},
        {"scales of no layer",
            {{"embed.weight", DTYPE_U32, 2, {5000, 16}}, {"layers.0.gate.bias", DTYPE_F32, 1, {8}},
                {"layers.0.gate.weight", DTYPE_F32, 2, {8, 128}},
                {"layers.0.norm.scales", DTYPE_U8, 1, {4}},
                {"layers.0.norm.weight", DTYPE_U32, 1, {32}}},
            "in/model-1.safetensors: tensor \"layers.0.norm.weight\" must not be quantized, but "
            "has \"layers.0.norm.scales\" beside it"},
        {"rows that are not the model's",
            {{"embed.weight", DTYPE_U32, 2, {5001, 16}}, {"layers.0.gate.bias", DTYPE_F32, 1, {8}},
                {"layers.0.gate.weight", DTYPE_F32, 2, {8, 128}},
                {"layers.0.norm.weight", DTYPE_BF16, 1, {128}}, {.name = NULL}},
            "tensor \"embed.weight\" has shape [5001, ?], expected [vocab, 128] = [5000, 128] "
            "(rules/toy.json:1:33)"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fake_tensor tensors[7] = {{.name = NULL}};
        memcpy(tensors, cases[i].tensors, sizeof cases[i].tensors);
        bool is_layer_plain = i >= 3; /* then the entry of the gate goes */
        struct plan *plan = begin_with("{\"dequantize\": true}",
            is_layer_plain ? "{\"model_type\": \"toy\", \"vocab\": 5000, \"quantization\": {}}"
                           : config,
            tensors);
        assert_refused(plan, cases[i].name, cases[i].want);
    }
}

static void values_that_are_not_finite_are_named(void **state)
{
    static const struct {
        const char *with;
        uint16_t scale; /* of row 4500, group 1 */
        const char *want;
    } cases[] = {
        {"{\"dequantize\": true}", 0x7FC0,
            "tensor \"embed.weight\" dequantizes to NaN at index [4500, 64] "
            "(in/model-1.safetensors)"},
        {"{\"dequantize\": true, \"dtype\": \"float16\"}", 0x4F00,
            "tensor \"embed.weight\" dequantizes to infinity at index [4500, 64] "
            "(in/model-1.safetensors)"},
        {"{\"dequantize\": true, \"nonfinite\": \"keep\"}", 0x7FC0, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = begin(cases[i].with);
        const struct tensor *tensor;
        unsigned char *scales = input_bytes(plan, "embed", "scales", &tensor);
        unsigned char *codes = input_bytes(plan, "embed", "weight", &tensor);
        memset(codes + 4500 * 64 + 32, 0xFF, 32); /* no code is 0 */
        scales[(4500 * 2 + 1) * 2] = (unsigned char)cases[i].scale;
        scales[(4500 * 2 + 1) * 2 + 1] = (unsigned char)(cases[i].scale >> 8);
        if (cases[i].want != NULL) {
            assert_refused(plan, cases[i].with, cases[i].want);
            continue;
        }
        fake_run_well(plan, &task_quantize);
        assert_is_dequantized(plan, "embed", embed, DTYPE_BF16);
        fake_end(plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_modules_become_floats),
        cmocka_unit_test(other_tensors_are_as_without),
        cmocka_unit_test(scales_are_cast_before),
        cmocka_unit_test(top_level_values_serve_where_nothing_else_tells),
        cmocka_unit_test(wrong_parameters_are_refused_at_their_place),
        cmocka_unit_test(wrong_configurations_are_refused),
        cmocka_unit_test(tensors_that_do_not_belong_together_are_refused),
        cmocka_unit_test(values_that_are_not_finite_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
