/* test_merge.c - the task "merge", and what both weights tasks share: shards and indexes checked
 * together, files split, runs of blocks. */
#include "tests/tasks/fake_plan.h"

#include "tasks/registry.h"
#include "tasks/weights.h"

static const struct fake_tensor shard_1[] = {
    {"b", DTYPE_BF16, 3, {2, 70, 6}},
    {"d", DTYPE_I64, 1, {3}},
    {"e", DTYPE_F8_E4M3, 2, {4, 4}},
    {.name = NULL},
};
static const struct fake_tensor shard_2[] = {
    {"a", DTYPE_F32, 2, {200, 1000}},
    {"c", DTYPE_BOOL, 2, {0, 5}},
    {"f", DTYPE_F64, 0, {0}},
    {.name = NULL},
};
#define PART_1 "in/model-00001-of-00002.safetensors"
#define PART_2 "in/model-00002-of-00002.safetensors"

static struct plan *begin(const char *name, const char *with)
{
    struct plan *plan = fake_begin(name, with);
    fake_add_shard(plan, PART_1, shard_1);
    fake_add_shard(plan, PART_2, shard_2);
    return plan;
}

static void assert_is_copied(struct plan *plan, const char *path, size_t input, const char *name)
{
    const struct tensor *made;
    struct safetensors *source;
    const struct fake_file *file = &plan->inputs[input];
    struct text json = {file->bytes.bytes + 8, (size_t)load_le64(file->bytes.bytes)};
    const unsigned char *bytes = fake_tensor_bytes(plan, path, name, &made);
    assert_null(safetensors_parse(&plan->arena, file->path, json, file->bytes.length, &source));
    const struct tensor *tensor = safetensors_find(source, name);
    assert_non_null(tensor);
    assert_int_equal(made->dtype, tensor->dtype);
    assert_int_equal(made->rank, tensor->rank);
    assert_memory_equal(made->shape, tensor->shape, tensor->rank * sizeof(uint64_t));
    assert_memory_equal(bytes, file->bytes.bytes + tensor->offset, (size_t)tensor->size_bytes);
}

static void merging_leaves_every_tensor_as_it_is(void **state)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    (void)state;
    struct plan *plan = begin("out/model.safetensors", "{}");
    fake_run_well(plan, &task_merge);
    struct safetensors *made = fake_open(plan, "out/model.safetensors");
    assert_int_equal(plan->output_count, 1);
    assert_int_equal(made->count, 6);
    assert_int_equal(made->data_start, 4096);
    assert_string_equal(made->metadata[0].key.bytes, "format");
    assert_string_equal(made->metadata[0].value.bytes, "pt");
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(made->tensors_by_name[i]->name, names[i]);
        assert_is_copied(plan, "out/model.safetensors",
            names[i][0] == 'a' || names[i][0] == 'c' || names[i][0] == 'f', names[i]);
    }
    assert_int_equal(plan->layout.tensor_count, 6);
    assert_int_equal(plan->layout.total_parameters, 840 + 3 + 16 + 200000 + 0 + 1);
    assert_false(plan->layout.is_quantized);
    fake_end(plan);
}

static void merging_can_split(void **state)
{
    (void)state;
    struct plan *plan = begin("out/model*.safetensors", "{\"max_shard_size\": \"1700\"}");
    fake_run_well(plan, &task_merge);
    assert_int_equal(plan->output_count, 4); /* b; d, e; a alone; c, f */
    assert_string_equal(plan->outputs[3].path, "out/model-00004-of-00004.safetensors");
    assert_is_copied(plan, "out/model-00001-of-00004.safetensors", 0, "b");
    assert_is_copied(plan, "out/model-00002-of-00004.safetensors", 0, "d");
    assert_is_copied(plan, "out/model-00003-of-00004.safetensors", 1, "a");
    assert_is_copied(plan, "out/model-00004-of-00004.safetensors", 1, "f");
    fake_end(plan);
}

static void assert_refused(struct plan *plan, const char *want)
{
    struct error *error = fake_run(plan, &task_merge);
    if (error == NULL)
        fail_msg("expected: %s", want);
    assert_string_equal(error_text(error), want);
    error_free(error);
    fake_end(plan);
}

static void a_split_needs_a_pattern(void **state)
{
    (void)state;
    assert_refused(begin("out/model.safetensors", "{\"max_shard_size\": \"100K\"}"),
        "out/model.safetensors: max_shard_size splits the weights into 3 files, which needs a name "
        "with \"*\" in it");
}

static void a_tensor_in_two_shards_is_refused(void **state)
{
    (void)state;
    struct plan *plan = begin("out/model.safetensors", "{}");
    fake_add_shard(plan, "in/model-extra.safetensors", shard_2);
    assert_refused(plan, "tensor \"a\" must be in one file, not both in " PART_2 " and in "
                         "in/model-extra.safetensors");
}

static void a_missing_shard_is_refused(void **state)
{
    static const struct {
        const char *paths[3], *want;
    } cases[] = {
        {{PART_1}, PART_1 ": expected all of its 2 shards, but number 2 is not among the inputs"},
        {{PART_2}, PART_2 ": expected all of its 2 shards, but number 1 is not among the inputs"},
        {{"in/a-b-1-of-3.safetensors", "in/a-b-3-of-3.safetensors"},
            "in/a-b-1-of-3.safetensors: expected all of its 3 shards, but number 2 is not among "
            "the inputs"},
        {{"in/a-1-of-2.safetensors", "in/b-2-of-2.safetensors"},
            "in/a-1-of-2.safetensors: expected all of its 2 shards, but number 2 is not among the "
            "inputs"},
    };
    static const struct fake_tensor nothing[] = {{.name = NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = fake_begin("out/model.safetensors", "{}");
        for (size_t k = 0; cases[i].paths[k] != NULL; k++)
            fake_add_shard(plan, cases[i].paths[k], nothing);
        assert_refused(plan, cases[i].want);
    }
}

static void names_that_count_nothing_are_taken_as_they_are(void **state)
{
    static const char *const paths[] = {"in/model-of-2.safetensors", "in/model-1-of-.safetensors",
        "in/model-1-of-2.bin", "in/consolidated.safetensors"};
    static const struct fake_tensor nothing[] = {{.name = NULL}};
    (void)state;
    struct plan *plan = fake_begin("out/model.safetensors", "{}");
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        fake_add_shard(plan, paths[i], nothing);
    fake_run_well(plan, &task_merge);
    assert_int_equal(plan->piece_count, 0);
    fake_end(plan);
}

#define MAP_BUT_F                                                                                  \
    "\"a\": \"model-00002-of-00002.safetensors\", \"b\": \"model-00001-of-00002.safetensors\", "   \
    "\"c\": \"model-00002-of-00002.safetensors\", \"d\": \"model-00001-of-00002.safetensors\", "   \
    "\"e\": \"model-00001-of-00002.safetensors\""

static void an_index_must_say_what_the_shards_hold(void **state)
{
    static const struct {
        const char *index, *want;
    } cases[] = {
        {"{\"metadata\": {\"total_size\": 1}, \"weight_map\": {" MAP_BUT_F
         ", \"f\": \"model-00002-of-00002.safetensors\"}}",
            NULL},
        {"{\"metadata\": {}}", "in/index.json: expected \"weight_map\", found nothing"},
        {"{\"weight_map\": []}",
            "in/index.json:1:16: \"weight_map\" must be an object, not a list"},
        {"{\"weight_map\": {" MAP_BUT_F "}}",
            "in/index.json:1:16: \"weight_map\" must list every tensor, but not \"f\" of " PART_2},
        {"{\"weight_map\": {\"a\": 7}}",
            "in/index.json:1:22: tensor \"a\" must have the name of a file, not 7"},
        {"{\"weight_map\": {\"a\": \"../model-00002-of-00002.safetensors\"}}",
            "in/index.json:1:22: tensor \"a\" must be in a file of the same directory, not in "
            "\"../model-00002-of-00002.safetensors\""},
        {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}",
            "in/index.json:1:22: tensor \"a\" must be in a file of the same directory, not in "
            "\"/etc/passwd\""},
        {"{\"weight_map\": {\"a\": \"sub/x.safetensors\"}}",
            "in/index.json:1:22: tensor \"a\" must be in a file of the same directory, not in "
            "\"sub/x.safetensors\""},
        {"{\"weight_map\": {\"a\": \"..\"}}",
            "in/index.json:1:22: tensor \"a\" must be in a file of the same directory, not in "
            "\"..\""},
        {"{\"weight_map\": {\"a\": \"\"}}",
            "in/index.json:1:22: tensor \"a\" must be in a file of the same directory, not in "
            "\"\""},
        {"{\"weight_map\": {\"a\": \"model-00003-of-00003.safetensors\"}}",
            "in/index.json:1:22: tensor \"a\" is to be in \"model-00003-of-00003.safetensors\", "
            "which is not among the inputs"},
        {"{\"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\"}}",
            "in/index.json:1:22: tensor \"a\" is to be in \"model-00001-of-00002.safetensors\", "
            "but it is in " PART_2},
        {"{\"weight_map\": {\"x\": \"model-00001-of-00002.safetensors\"}}",
            "in/index.json:1:22: tensor \"x\" is to be in \"model-00001-of-00002.safetensors\", "
            "but no file has it"},
        {"{\"weight_map\": {\"a\\u0000\": \"model-00002-of-00002.safetensors\"}}",
            "in/index.json:1:28: tensor \"a\\x00\" is to be in "
            "\"model-00002-of-00002.safetensors\", but no file has it"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = begin("out/model.safetensors", "{}");
        fake_add_text(plan, "index", "in/index.json", cases[i].index);
        if (cases[i].want != NULL) {
            assert_refused(plan, cases[i].want);
            continue;
        }
        fake_run_well(plan, &task_merge);
        assert_false(fake_has_read(plan, "metadata"));
        fake_end(plan);
    }
}

/* ---- files ---- */

static void files_are_filled_up_to_the_limit(void **state)
{
    static const struct {
        uint64_t sizes[5]; /* ended by 0 */
        uint64_t size_bytes_max;
        uint32_t files[5];
    } cases[] = {
        {{4, 4, 4, 4}, 8, {0, 0, 1, 1}},
        {{4, 4, 4, 4}, 7, {0, 1, 2, 3}},
        {{4, 100, 4, 4}, 8, {0, 1, 2, 2}}, /* a larger one is alone */
        {{100, 4, 4}, 8, {0, 1, 1}},
        {{8, 4, 4, 8}, WEIGHTS_SHARD_BYTES_NONE, {0, 0, 0, 0}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena = {0};
        struct weights_output outputs[5];
        struct weights_files files;
        uint64_t shapes[5];
        uint32_t count = 0;
        for (; cases[i].sizes[count] > 0; count++) {
            char *name = arena_format(&arena, "t%u", (unsigned)(9 - count)); /* against the names */
            shapes[count] = cases[i].sizes[count] / 4;
            assert_null(weights_output_make(name, DTYPE_F32, 1, &shapes[count], &outputs[count]));
        }
        assert_null(weights_arrange(&arena, "d/model*.safetensors", outputs, count,
            cases[i].size_bytes_max, "mlx", &files));
        for (uint32_t k = 0; k < count; k++)
            assert_int_equal(outputs[k].file, cases[i].files[k]);
        assert_int_equal(files.count, cases[i].files[count - 1] + 1);
        for (uint32_t k = 1; k < count; k++)
            assert_true(
                strcmp(files.by_name[k - 1]->tensor.name, files.by_name[k]->tensor.name) < 0);
        arena_end(&arena);
    }
}

static void a_tensor_is_written_once(void **state)
{
    static const uint64_t shape[] = {1};
    (void)state;
    struct arena arena = {0};
    struct weights_output outputs[2];
    struct weights_files files;
    assert_null(weights_output_make("x", DTYPE_F32, 1, shape, &outputs[0]));
    outputs[1] = outputs[0];
    struct error *error =
        weights_arrange(&arena, "d/model*.safetensors", outputs, 2, 4, "mlx", &files);
    assert_non_null(error);
    assert_string_equal(error_text(error), "tensor \"x\" must be written once, not twice");
    error_free(error);
    arena_end(&arena);
}

/* ---- runs ---- */

static void runs_are_whole_segments_of_about_half_a_megabyte(void **state)
{
    static const struct {
        struct fake_tensor tensor;
        uint64_t row_ends[6]; /* ended by 0 */
    } cases[] = {
        {{"norm", DTYPE_BF16, 1, {4096}}, {4096}},
        {{"huge", DTYPE_F32, 1, {2500000}}, {1 << 20, 2 << 20, 2500000}}, /* 4 MiB each */
        {{"long", DTYPE_F32, 2, {2, 1500000}}, {1 << 20, 2 << 20, 3000000}},
        {{"scalar", DTYPE_F32, 0, {0}}, {1}},
        {{"empty", DTYPE_F32, 2, {0, 8}}, {0}},
        {{"small", DTYPE_BF16, 2, {200, 128}}, {200}},
        {{"wide", DTYPE_BF16, 2, {130, 4096}}, {64, 128, 130}}, /* a segment is 512 KiB */
        {{"wider", DTYPE_BF16, 2, {130, 5000}}, {64, 128, 130}},
        {{"half", DTYPE_BF16, 2, {256, 2048}}, {128, 256}},
        {{"experts", DTYPE_BF16, 3, {2, 70, 2048}}, {70, 140}}, /* segments end with a matrix */
        {{"many", DTYPE_BF16, 3, {4, 3, 8}}, {12}},
        {{"packed", DTYPE_U8, 4, {2, 600, 90, 16}}, {320, 664, 984, 1200}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tensor tensor = {.name = cases[i].tensor.name,
            .dtype = cases[i].tensor.dtype,
            .rank = cases[i].tensor.rank,
            .shape = cases[i].tensor.shape,
            .offset = 100};
        assert_true(
            safetensors_shape_size(tensor.dtype, tensor.rank, tensor.shape, &tensor.size_bytes));
        struct weights_run run = weights_begin_run(&tensor);
        uint64_t begin = 0, offset = tensor.offset;
        size_t count = 0;
        for (; weights_next_run(&run); count++) {
            struct piece_range range = weights_range(&tensor, 3, &run);
            assert_int_equal(run.row_begin, begin);
            assert_int_equal(run.row_end, cases[i].row_ends[count]);
            assert_int_equal(range.file, 3);
            assert_int_equal(range.offset, offset);
            begin = run.row_end;
            offset += range.size_bytes;
        }
        assert_int_equal(cases[i].row_ends[count], 0);
        assert_int_equal(offset, tensor.offset + tensor.size_bytes);
        assert_false(weights_next_run(&run));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merging_leaves_every_tensor_as_it_is),
        cmocka_unit_test(merging_can_split),
        cmocka_unit_test(a_split_needs_a_pattern),
        cmocka_unit_test(a_tensor_in_two_shards_is_refused),
        cmocka_unit_test(a_missing_shard_is_refused),
        cmocka_unit_test(names_that_count_nothing_are_taken_as_they_are),
        cmocka_unit_test(an_index_must_say_what_the_shards_hold),
        cmocka_unit_test(files_are_filled_up_to_the_limit),
        cmocka_unit_test(a_tensor_is_written_once),
        cmocka_unit_test(runs_are_whole_segments_of_about_half_a_megabyte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
