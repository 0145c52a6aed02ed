/* test_index.c - the index, byte for byte as mlx_lm's save_model writes it. */
#include "tasks/index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void index_names_each_tensor_s_file(void **state)
{
    static const char *files[] = {
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
    static struct layout_tensor tensors[] = {
        {.name = "a.weight", .file = 1, .size_bytes = 5368709120},
        {.name = "b\xC3\xA9", .file = 0, .size_bytes = 2},
    };
    struct layout layout = {.files = files,
        .file_count = 2,
        .tensors = tensors,
        .tensor_count = 2,
        .total_parameters = 123456789012};
    struct arena arena = {0};
    struct text text;
    (void)state;
    assert_null(index_render(&arena, &layout, &text));
    assert_string_equal(text.bytes,
        "{\n    \"metadata\": {\n        \"total_size\": 5368709122,\n        "
        "\"total_parameters\": 123456789012\n    },\n    \"weight_map\": {\n        \"a.weight\": "
        "\"model-00002-of-00002.safetensors\",\n        \"b\\u00e9\": "
        "\"model-00001-of-00002.safetensors\"\n    }\n}");
    assert_int_equal(text.length, strlen(text.bytes));
    arena_end(&arena);
}

static void index_of_nothing_is_well_formed(void **state)
{
    struct layout layout = {0};
    struct arena arena = {0};
    struct text text;
    (void)state;
    assert_null(index_render(&arena, &layout, &text));
    assert_string_equal(text.bytes, "{\n    \"metadata\": {\n        \"total_size\": 0,\n        "
                                    "\"total_parameters\": 0\n    },\n    \"weight_map\": {}\n}");
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_names_each_tensor_s_file),
        cmocka_unit_test(index_of_nothing_is_well_formed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
