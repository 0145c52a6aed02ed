/* test_layout.c - a weights node's layout, written and read back, and hostile bytes refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire.h"
#include "tasks/layout.h"

static const char *files[] = {
    "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
static struct layout_tensor tensors[] = {
    {"embed.scales", DTYPE_BF16, 2, (const uint64_t[]){200, 2}, 0, 800},
    {"embed.weight", DTYPE_U32, 2, (const uint64_t[]){200, 16}, 1, 12800},
    {"scalar", DTYPE_F32, 0, NULL, 1, 4},
};
static struct layout_entry entries[] = {
    {"layers.1.gate", {"{\"bits\": 8}", 11}}, {"layers.0.gate", {"{\"bits\": 8}", 11}}};
static const struct layout example = {.files = files,
    .file_count = 2,
    .tensors = tensors,
    .tensor_count = 3,
    .total_parameters = UINT64_C(1) << 40,
    .is_quantized = true,
    .quantization = {"{\"bits\": 4}", 11},
    .entries = entries,
    .entry_count = 2};

static void what_is_encoded_is_decoded(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct text bytes;
    struct layout layout;
    assert_null(layout_encode(&arena, &example, &bytes));
    assert_null(layout_decode(&arena, "model", bytes, &layout));
    memset((char *)(uintptr_t)bytes.bytes, 0xAA, bytes.length); /* nothing is borrowed */
    assert_int_equal(layout.file_count, 2);
    assert_string_equal(layout.files[1], files[1]);
    assert_int_equal(layout.tensor_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_string_equal(layout.tensors[i].name, tensors[i].name);
        assert_int_equal(layout.tensors[i].dtype, tensors[i].dtype);
        assert_int_equal(layout.tensors[i].rank, tensors[i].rank);
        for (uint32_t axis = 0; axis < tensors[i].rank; axis++)
            assert_int_equal(layout.tensors[i].shape[axis], tensors[i].shape[axis]);
        assert_int_equal(layout.tensors[i].file, tensors[i].file);
        assert_int_equal(layout.tensors[i].size_bytes, tensors[i].size_bytes);
    }
    assert_true(layout.total_parameters == UINT64_C(1) << 40);
    assert_true(layout.is_quantized);
    assert_false(layout.is_dequantized);
    assert_true(text_is(layout.quantization, "{\"bits\": 4}"));
    assert_int_equal(layout.entry_count, 2);
    assert_string_equal(layout.entries[0].module, "layers.1.gate");
    assert_true(text_is(layout.entries[1].json, "{\"bits\": 8}"));
    arena_end(&arena);
}

static void equal_layouts_have_equal_bytes(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct text a, b;
    assert_null(layout_encode(&arena, &example, &a));
    assert_null(layout_encode(&arena, &example, &b));
    assert_true(text_equal(a, b));
    arena_end(&arena);
}

static void an_empty_layout_is_one(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct text bytes;
    struct layout layout, empty = {.quantization = TEXT_EMPTY};
    assert_null(layout_encode(&arena, &empty, &bytes));
    assert_null(layout_decode(&arena, "model", bytes, &layout));
    assert_int_equal(layout.tensor_count, 0);
    arena_end(&arena);
}

static void assert_refused(struct arena *arena, struct text bytes)
{
    struct layout layout = {.file_count = 77};
    struct error *error = layout_decode(arena, "dir/model", bytes, &layout);
    char want[128];
    assert_non_null(error);
    snprintf(want, sizeof want,
        "dir/model: its layout must be a weights layout of version 1, not %zu other bytes",
        bytes.length);
    assert_string_equal(error_text(error), want);
    assert_int_equal(error_kind_of(error), ERROR_FORMAT);
    assert_int_equal(layout.file_count, 77);
    error_free(error);
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct text bytes;
    assert_null(layout_encode(&arena, &example, &bytes));
    for (size_t length = 0; length < bytes.length; length++)
        assert_refused(&arena, (struct text){bytes.bytes, length});
    char *longer = arena_copy(&arena, bytes.bytes, bytes.length + 1);
    assert_refused(&arena, (struct text){longer, bytes.length + 1});
    arena_end(&arena);
}

static void no_changed_byte_is_read_past(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct text bytes;
    assert_null(layout_encode(&arena, &example, &bytes));
    for (size_t i = 0; i < bytes.length; i++) {
        struct arena scratch = {0};
        struct layout layout;
        char *copy = arena_copy(&scratch, bytes.bytes, bytes.length);
        copy[i] = (char)(copy[i] ^ 0xFF);
        error_free(layout_decode(&scratch, "model", (struct text){copy, bytes.length}, &layout));
        arena_end(&scratch);
    }
    arena_end(&arena);
}

static void what_readers_rely_on_is_checked(void **state)
{
    static const char *one_file[] = {"model.safetensors"};
    const struct {
        struct layout_tensor tensors[2];
    } cases[] = {
        {{{"a", DTYPE_F32, 0, NULL, 1, 4}, {"b", DTYPE_F32, 0, NULL, 0, 4}}}, /* no such file */
        {{{"b", DTYPE_F32, 0, NULL, 0, 4}, {"a", DTYPE_F32, 0, NULL, 0, 4}}}, /* not in order */
        {{{"a", DTYPE_F32, 0, NULL, 0, 4}, {"a", DTYPE_F32, 0, NULL, 0, 4}}}, /* twice */
        {{{"a", DTYPE_F32, 0, NULL, 0, 4}, {"b", DTYPE_COUNT, 0, NULL, 0, 4}}},
    };
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct layout_tensor pair[2];
        struct text bytes;
        memcpy(pair, cases[i].tensors, sizeof pair);
        const struct layout layout = {.files = one_file,
            .file_count = 1,
            .tensors = pair,
            .tensor_count = 2,
            .quantization = TEXT_EMPTY};
        assert_null(layout_encode(&arena, &layout, &bytes));
        assert_refused(&arena, bytes);
    }
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(equal_layouts_have_equal_bytes),
        cmocka_unit_test(an_empty_layout_is_one),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(no_changed_byte_is_read_past),
        cmocka_unit_test(what_readers_rely_on_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
