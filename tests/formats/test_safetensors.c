/* test_safetensors.c - headers read, refused, laid out and cut into segments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/directory.h"
#include "base/file.h"
#include "base/file_whole.h"
#include "base/wire.h"
#include "tasks/formats/safetensors.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A header of a file that has `data_bytes` behind it. */
static struct error *parse(
    struct arena *arena, const char *json, uint64_t data_bytes, struct safetensors **out)
{
    struct text text = text_of(json);
    return safetensors_parse(arena, "x.safetensors", text, 8 + text.length + data_bytes, out);
}

static struct safetensors *parse_good(struct arena *arena, const char *json, uint64_t data_bytes)
{
    struct safetensors *file = NULL;
    struct error *error = parse(arena, json, data_bytes, &file);
    if (error != NULL)
        print_error("%s", error_report(error));
    assert_null(error);
    return file;
}

static void expect_text(struct error *error, const char *want)
{
    assert_non_null(error);
    assert_string_equal(error_text(error), want);
    assert_int_equal(error_kind_of(error), ERROR_FORMAT);
    error_free(error);
}

static void header_gives_tensors_in_order_of_offset(void **state)
{
    static const char json[] =
        " {\"z\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
        "\"__metadata__\":{\"format\":\"mlx\",\"a\\u00e9\":\"b\\n\"},"
        "\"a\\\"\\u00e9\":{\"data_offsets\":[12,16],\"extra\":[{}],\"shape\":[],\"dtype\":\"F32\"}}"
        "  \n ";
    (void)state;
    struct arena arena = {0};
    struct safetensors *file = parse_good(&arena, json, 16);
    assert_string_equal(file->path, "x.safetensors");
    assert_int_equal(file->data_start, 8 + strlen(json));
    assert_int_equal(file->file_size, file->data_start + 16);
    assert_int_equal(file->count, 2);
    assert_string_equal(file->tensors[0].name, "z");
    assert_int_equal(file->tensors[0].dtype, DTYPE_BF16);
    assert_int_equal(file->tensors[0].rank, 2);
    assert_int_equal(file->tensors[0].shape[0], 2);
    assert_int_equal(file->tensors[0].shape[1], 3);
    assert_int_equal(file->tensors[0].offset, file->data_start);
    assert_int_equal(file->tensors[0].size_bytes, 12);
    assert_string_equal(file->tensors[1].name, "a\"\xC3\xA9");
    assert_int_equal(file->tensors[1].rank, 0);
    assert_int_equal(file->tensors[1].offset, file->data_start + 12);
    assert_int_equal(file->metadata_count, 2);
    assert_string_equal(file->metadata[0].key.bytes, "format");
    assert_string_equal(file->metadata[0].value.bytes, "mlx");
    assert_string_equal(file->metadata[1].key.bytes, "a\xC3\xA9");
    assert_string_equal(file->metadata[1].value.bytes, "b\n");
    arena_end(&arena);
}

static void tensors_are_found_by_name(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct safetensors *file = parse_good(&arena,
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
        "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},"
        "\"ab\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}",
        3);
    assert_ptr_equal(safetensors_find(file, "b"), &file->tensors[0]);
    assert_ptr_equal(safetensors_find(file, "a"), &file->tensors[1]);
    assert_ptr_equal(safetensors_find(file, "ab"), &file->tensors[2]);
    assert_null(safetensors_find(file, ""));
    assert_null(safetensors_find(file, "abc"));
    assert_string_equal(file->tensors_by_name[0]->name, "a");
    arena_end(&arena);
}

static void a_file_without_tensors_is_fine(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct safetensors *file = parse_good(&arena, "{}", 0);
    assert_int_equal(file->count, 0);
    assert_null(safetensors_find(file, "a"));
    arena_end(&arena);
}

static void empty_tensors_share_an_offset(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct safetensors *file = parse_good(&arena,
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
        "\"z\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[0,0]},"
        "\"y\":{\"dtype\":\"F32\",\"shape\":[5,0],\"data_offsets\":[0,0]},"
        "\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[2,2]}}",
        2);
    static const char *const names[] = {"y", "z", "a", "x"};
    for (size_t i = 0; i < COUNT(names); i++)
        assert_string_equal(file->tensors[i].name, names[i]);
    arena_end(&arena);
}

#define TENSOR(name, dtype, shape, offsets)                                                        \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void bad_headers_are_refused(void **state)
{
    static const struct {
        const char *json;
        uint64_t data_bytes;
        const char *want;
    } cases[] = {
        {"", 0, "x.safetensors: byte 8: expected a value, found end of text"},
        {"[]", 0, "x.safetensors: expected the header to be an object, found a list"},
        {"{\"a\"", 0, "x.safetensors: byte 12: expected ':', found end of text"},
        {"{} {}", 0, "x.safetensors: byte 11: expected end of text, found '{'"},
        {"{\"\xFF\":{}}", 0, "x.safetensors: byte 10: expected UTF-8, found byte 0xFF"},
        {"{\"a\":1}", 0, "x.safetensors: tensor \"a\": expected an object, found a number"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4,
            "x.safetensors: tensor \"a\": \"data_offsets\" is missing"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
            "x.safetensors: tensor \"a\": \"dtype\" is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4,
            "x.safetensors: tensor \"a\": \"shape\" is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 4,
            "x.safetensors: tensor \"a\": duplicate key \"dtype\""},
        {"{" TENSOR("a.b", "BF16", "[2,3]", "[0,8]") "}", 8,
            "x.safetensors: tensor \"a.b\": data_offsets [0, 8] do not fit shape [2, 3] of BF16: "
            "expected 12 bytes, found 8"},
        {"{" TENSOR("a", "F4", "[2]", "[0,1]") "}", 1,
            "x.safetensors: tensor \"a\": expected a dtype that psybuild knows, found \"F4\""},
        {"{\"a\":{\"dtype\":5}}", 0,
            "x.safetensors: tensor \"a\": expected \"dtype\" to be a string, found a number"},
        {"{" TENSOR("a", "U8", "3", "[0,3]") "}", 3,
            "x.safetensors: tensor \"a\": expected \"shape\" to be a list, found a number"},
        {"{" TENSOR("a", "U8", "[-1]", "[0,3]") "}", 3,
            "x.safetensors: tensor \"a\": expected integers from 0 to 2^64 - 1 in \"shape\", "
            "found -1"},
        {"{" TENSOR("a", "U8", "[1.0]", "[0,1]") "}", 1,
            "x.safetensors: tensor \"a\": expected integers from 0 to 2^64 - 1 in \"shape\", "
            "found 1.0"},
        {"{" TENSOR("a", "U8", "[\"1\"]", "[0,1]") "}", 1,
            "x.safetensors: tensor \"a\": expected integers in \"shape\", found a string"},
        {"{" TENSOR("a", "U8", "[18446744073709551616]", "[0,1]") "}", 1,
            "x.safetensors: tensor \"a\": expected integers from 0 to 2^64 - 1 in \"shape\", "
            "found 18446744073709551616"},
        {"{" TENSOR("a", "U8", "[4294967296,4294967296]", "[0,1]") "}", 1,
            "x.safetensors: tensor \"a\": expected fewer than 2^64 bytes, found shape "
            "[4294967296, 4294967296] of U8"},
        {"{" TENSOR("a", "U16", "[0,9223372036854775808]", "[0,0]") "}", 0,
            "x.safetensors: tensor \"a\": expected fewer than 2^64 bytes, found shape "
            "[0, 9223372036854775808] of U16"},
        {"{" TENSOR("a", "U8",
             "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,1]") "}",
            1,
            "x.safetensors: tensor \"a\": expected at most 32 integers in \"shape\", found more"},
        {"{" TENSOR("a", "U8", "[1]", "[1]") "}", 1,
            "x.safetensors: tensor \"a\": expected 2 integers in \"data_offsets\", found 1"},
        {"{" TENSOR("a", "U8", "[1]", "[0,1,2]") "}", 1,
            "x.safetensors: tensor \"a\": expected at most 2 integers in \"data_offsets\", found "
            "more"},
        {"{" TENSOR("a", "U8", "[8]", "[8,0]") "}", 8,
            "x.safetensors: tensor \"a\": expected \"data_offsets\" in order, found [8, 0]"},
        {"{" TENSOR("a", "U8", "[8]", "[0,8]") "}", 7,
            "x.safetensors: truncated: the header describes 69 bytes, the file has 68"},
        {"{" TENSOR("a", "U8", "[1]", "[18446744073709551614,18446744073709551615]") "}", 1,
            "x.safetensors: truncated: the header describes 18446744073709551615 bytes of data, "
            "the file has 1"},
        {"{" TENSOR("a", "U8", "[8]", "[0,8]") "}", 9,
            "x.safetensors: expected the file to end with its last tensor at byte 69, found 70 "
            "bytes"},
        {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[2]", "[3,5]") "}", 5,
            "x.safetensors: tensor \"b\": expected data_offsets without a hole, from 2 on, found "
            "3"},
        {"{" TENSOR("a", "U8", "[2]", "[1,3]") "}", 3,
            "x.safetensors: tensor \"a\": expected data_offsets without a hole, from 0 on, found "
            "1"},
        {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[2]", "[1,3]") "}", 3,
            "x.safetensors: tensor \"b\": data_offsets overlap tensor \"a\": expected 2 or more, "
            "found 1"},
        {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[0]", "[1,1]") "}", 2,
            "x.safetensors: tensor \"b\": data_offsets overlap tensor \"a\": expected 2 or more, "
            "found 1"},
        {"{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("\\u0061", "U8", "[1]", "[1,2]") "}", 2,
            "x.safetensors: tensor \"a\": expected once, found twice"},
        {"{" TENSOR("a\\u0000", "U8", "[1]", "[0,1]") "}", 1,
            "x.safetensors: tensor \"a\\x00\": expected a name without control characters"},
        {"{" TENSOR("\\n", "U8", "[1]", "[0,1]") "}", 1,
            "x.safetensors: tensor \"\\x0A\": expected a name without control characters"},
        {"{\"__metadata__\":[]}", 0,
            "x.safetensors: expected \"__metadata__\" to be an object, found a list"},
        {"{\"__metadata__\":{\"a\":1}}", 0,
            "x.safetensors: expected the values of \"__metadata__\" to be strings, found a number"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0,
            "x.safetensors: duplicate key \"__metadata__\""},
        {"{\"__metadata__\":{\"a\":}}", 0, "x.safetensors: byte 29: expected a value, found '}'"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena arena = {0};
        struct safetensors *file = NULL;
        print_message("%s\n", cases[i].json);
        struct error *error = parse(&arena, cases[i].json, cases[i].data_bytes, &file);
        assert_null(file);
        arena_end(&arena);
        expect_text(error, cases[i].want);
    }
}

static void header_size_is_checked_first(void **state)
{
    static const struct {
        unsigned char first8[9];
        uint64_t file_size;
        const char *want;
    } cases[] = {
        {"", 3, "m: expected a safetensors file of at least 8 bytes, found 3"},
        {"version ", 130, "m: expected a safetensors file, found a Git LFS pointer"},
        {"\x01\xE1\xF5\x05", UINT64_MAX,
            "m: expected a safetensors header of at most 100000000 bytes, found 100000001"},
        {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", UINT64_MAX,
            "m: expected a safetensors header of at most 100000000 bytes, found "
            "18446744073709551615"},
        {"\x0A", 17, "m: truncated: the header takes 18 bytes, the file has 17"},
    };
    uint64_t size = 0;
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("row %zu\n", i);
        expect_text(safetensors_header_size(cases[i].first8, cases[i].file_size, "m", &size),
            cases[i].want);
    }
    assert_null(
        safetensors_header_size((const unsigned char *)"\x0A\0\0\0\0\0\0\0", 18, "m", &size));
    assert_int_equal(size, 10);
    assert_null(safetensors_header_size(
        (const unsigned char *)"\0\xE1\xF5\x05\0\0\0\0", UINT64_MAX, "m", &size));
    assert_int_equal(size, SAFETENSORS_HEADER_MAX);
}

static void two_hundred_thousand_tensors_are_no_trouble(void **state)
{
    enum { TENSORS = 200000 };
    (void)state;
    struct arena arena = {0};
    struct tensor *tensors = arena_array(&arena, TENSORS, sizeof *tensors);
    static const uint64_t shape[] = {3, 5};
    for (unsigned i = 0; i < TENSORS; i++)
        tensors[i] = (struct tensor){.name = arena_format(&arena, "model.layers.%06u.weight", i),
            .dtype = DTYPE_F16,
            .rank = 2,
            .shape = shape};
    struct text header;
    assert_null(safetensors_layout(&arena, "x", tensors, TENSORS, NULL, 0, &header));
    struct text json = {header.bytes + 8, header.length - 8};
    struct safetensors *file = NULL;
    assert_null(
        safetensors_parse(&arena, "x", json, header.length + UINT64_C(30) * TENSORS, &file));
    assert_int_equal(file->count, TENSORS);
    for (unsigned i = 0; i < TENSORS; i++)
        assert_ptr_equal(safetensors_find(file, tensors[i].name), &file->tensors[i]);
    arena_end(&arena);
}

static void layout_is_compact_sorted_and_aligned(void **state)
{
    static const uint64_t matrix[] = {2, 3}, empty[] = {0};
    struct tensor tensors[] = {
        {.name = "a\"\xC3\xA9", .dtype = DTYPE_BF16, .rank = 2, .shape = matrix},
        {.name = "b", .dtype = DTYPE_U32, .rank = 1, .shape = empty},
        {.name = "c", .dtype = DTYPE_F32, .rank = 0},
    };
    const struct safetensors_pair metadata[] = {{TEXT_LITERAL("format"), TEXT_LITERAL("mlx")}};
    static const char want[] = "{\"__metadata__\":{\"format\":\"mlx\"},"
                               "\"a\\\"\xC3\xA9\":{\"data_offsets\":[0,12],\"dtype\":\"BF16\","
                               "\"shape\":[2,3]},"
                               "\"b\":{\"data_offsets\":[12,12],\"dtype\":\"U32\",\"shape\":[0]},"
                               "\"c\":{\"data_offsets\":[12,16],\"dtype\":\"F32\",\"shape\":[]}}";
    (void)state;
    struct arena arena = {0};
    struct text header;
    assert_null(safetensors_layout(&arena, "x", tensors, COUNT(tensors), metadata, 1, &header));
    assert_int_equal(header.length, SAFETENSORS_ALIGNMENT);
    assert_true(load_le64(header.bytes) == SAFETENSORS_ALIGNMENT - 8);
    assert_memory_equal(header.bytes + 8, want, sizeof want - 1);
    for (size_t i = 8 + sizeof want - 1; i < header.length; i++)
        assert_int_equal(header.bytes[i], ' ');
    assert_int_equal(tensors[0].offset, 4096);
    assert_int_equal(tensors[1].offset, 4108);
    assert_int_equal(tensors[1].size_bytes, 0);
    assert_int_equal(tensors[2].offset, 4108);
    assert_int_equal(tensors[2].size_bytes, 4);
    struct safetensors *file = NULL;
    struct text json = {header.bytes + 8, header.length - 8};
    assert_null(safetensors_parse(&arena, "x", json, 4112, &file));
    assert_int_equal(file->count, 3);
    assert_string_equal(file->metadata[0].value.bytes, "mlx");
    arena_end(&arena);
}

static void layout_refuses_what_no_file_can_hold(void **state)
{
    static const uint64_t large[] = {UINT64_C(1) << 62};
    struct tensor tensors[] = {
        {.name = "a", .dtype = DTYPE_U8, .rank = 1, .shape = large},
        {.name = "b", .dtype = DTYPE_U8, .rank = 1, .shape = large},
    };
    (void)state;
    struct arena arena = {0};
    struct text header;
    expect_text(safetensors_layout(&arena, "x", tensors, 2, NULL, 0, &header),
        "x: tensor \"b\": expected a file of fewer than 2^63 bytes up to here, found more");
    arena_end(&arena);
}

/* The run in bytes and the walk by rows have the same borders. */
static void assert_same_borders(const struct tensor *tensor, const struct tensor_rows *rows)
{
    uint64_t row = 0, index = 0;
    struct span_run run = {tensor->offset, tensor->size_bytes, rows->period * rows->row_bytes,
        rows->segment * rows->row_bytes};
    for (; row < rows->count; index++) {
        struct span span = span_run_at(&run, index);
        uint64_t next = safetensors_next_border(rows, row);
        assert_int_equal(span.offset, tensor->offset + row * rows->row_bytes);
        assert_int_equal(span.size_bytes, (next - row) * rows->row_bytes);
        assert_int_equal(span_run_find(&run, span.offset), index);
        assert_int_equal(
            span_run_find(&run, span.offset + 1), span.size_bytes == 1 ? index + 1 : UINT64_MAX);
        row = next;
    }
    assert_int_equal(index, span_run_count(&run));
    assert_int_equal(span_run_find(&run, tensor->offset + tensor->size_bytes), index);
    assert_int_equal(span_run_find(&run, tensor->offset + tensor->size_bytes + 1), UINT64_MAX);
    assert_int_equal(span_run_find(&run, tensor->offset - 1), UINT64_MAX);
}

static void segments_are_powers_of_two_of_rows(void **state)
{
    enum { MIB = 1 << 20 };
    static const struct {
        uint32_t rank;
        uint64_t shape[4];
        struct tensor_rows want; /* bytes of a row, rows, until the cut begins anew, of a segment */
    } cases[] = {
        {0, {0}, {2, 1, 1, 2 * MIB}},
        {1, {1000}, {2, 1000, 1000, 2 * MIB}},
        {1, {0}, {0, 0, 0, 0}},
        {2, {64, 32}, {64, 64, 64, 64}},
        {2, {300, 32}, {64, 300, 300, 64}},
        {2, {300, 31}, {62, 300, 300, 128}}, /* doubled until it has 4 KiB */
        {2, {300, 1}, {2, 300, 300, 300}},   /* one matrix is a segment at most */
        {2, {5000, 1}, {2, 5000, 5000, 2048}},
        {2, {300, 32 << 10}, {64 << 10, 300, 300, 64}},
        {2, {300, (32 << 10) + 2}, {(64 << 10) + 4, 300, 300, 32}}, /* halved while over 4 MiB */
        {2, {3, MIB}, {2 * MIB, 3, 3, 2}},
        {2, {3, MIB + 1}, {2, 3 * MIB + 3, 3 * MIB + 3, 2 * MIB}}, /* cut by elements */
        {3, {3, 100, 32}, {64, 300, 100, 64}},
        {3, {7, 64, 32}, {64, 448, 64, 64}},
        {3, {7, 33, 32}, {64, 231, 33, 33}}, /* two would be too many */
        {3, {7, 20, 32}, {64, 140, 40, 40}}, /* two of three that have room */
        {3, {3, 7, 32}, {64, 21, 21, 21}},
        {3, {4096, 1, 4}, {8, 4096, 512, 512}},
        {4, {32, 5760, 9, 16}, {288, 184320, 5760, 64}}, /* axes past the second are a row */
        {3, {4, 0, 8}, {0, 0, 0, 0}},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("row %zu\n", i);
        struct tensor tensor = {.name = "a",
            .dtype = DTYPE_BF16,
            .rank = cases[i].rank,
            .shape = cases[i].shape,
            .offset = 4096};
        assert_true(
            safetensors_shape_size(DTYPE_BF16, tensor.rank, tensor.shape, &tensor.size_bytes));
        struct tensor_rows rows = safetensors_rows(&tensor);
        assert_memory_equal(&rows, &cases[i].want, sizeof rows);
        if (rows.count > 0)
            assert_same_borders(&tensor, &rows);
    }
}

/* Weights, codes and scales have the same matrices and rows of other sizes. */
static void borders_of_the_coarser_cut_are_borders_of_the_finer(void **state)
{
    static const uint64_t matrices[] = {1, 2, 3, 5, 8, 40, 700};
    static const uint64_t heights[] = {1, 2, 3, 31, 64, 65, 90, 128, 720, 2049};
    static const uint64_t widths[] = {1, 2, 3, 8, 16, 31, 32, 64, 90, 512, 4096, 40000, 1 << 20};
    (void)state;
    for (size_t i = 0; i < COUNT(matrices) * COUNT(heights); i++) {
        uint64_t matrix_count = matrices[i % COUNT(matrices)],
                 height = heights[i / COUNT(matrices)];
        for (size_t k = 0; k < COUNT(widths) * COUNT(widths); k++) {
            const uint64_t fine_shape[] = {matrix_count, height, widths[k / COUNT(widths)]};
            const uint64_t coarse_shape[] = {matrix_count, height, widths[k % COUNT(widths)]};
            struct tensor fine = {.rank = 3, .shape = fine_shape, .dtype = DTYPE_F32};
            struct tensor coarse = {.rank = 3, .shape = coarse_shape, .dtype = DTYPE_U8};
            assert_true(safetensors_shape_size(fine.dtype, 3, fine_shape, &fine.size_bytes));
            assert_true(safetensors_shape_size(coarse.dtype, 3, coarse_shape, &coarse.size_bytes));
            struct tensor_rows a = safetensors_rows(&fine), b = safetensors_rows(&coarse);
            assert_int_equal(a.count, b.count);
            if (a.segment > b.segment)
                continue;
            for (uint64_t row = 0, border = 0; border < b.count && border < 50000;) {
                border = safetensors_next_border(&b, border);
                while (row < border)
                    row = safetensors_next_border(&a, row);
                assert_int_equal(row, border);
            }
        }
    }
}

static void segments_cover_the_file_in_order(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct safetensors *file = parse_good(&arena,
        "{" TENSOR("m", "U8", "[2,65,3]", "[4,394]") "," TENSOR(
            "a", "F32", "[]", "[0,4]") "," TENSOR("e", "F32", "[0,4]", "[4,4]") "}",
        394);
    struct span_run *runs = NULL;
    size_t count = 0;
    assert_null(safetensors_segments(file, &arena, &count, &runs));
    static const uint64_t sizes[] = {0, 4, 390};
    assert_int_equal(count, COUNT(sizes));
    uint64_t end = file->data_start;
    assert_int_equal(runs[0].offset, 0);
    assert_int_equal(runs[0].size_bytes, end);
    assert_int_equal(span_run_count(&runs[0]), 1);
    for (size_t i = 1; i < count; i++) {
        print_message("run %zu\n", i);
        assert_int_equal(runs[i].offset, end);
        assert_int_equal(runs[i].size_bytes, sizes[i]);
        assert_int_equal(span_run_count(&runs[i]), 1);
        end += runs[i].size_bytes;
    }
    assert_int_equal(end, file->file_size);
    arena_end(&arena);
}

static void too_many_segments_are_refused(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct safetensors *file = parse_good(
        &arena, "{" TENSOR("m", "U8", "[68719476736,1]", "[0,68719476736]") "}", UINT64_C(1) << 36);
    struct span_run *runs = NULL;
    size_t count = 0;
    expect_text(safetensors_segments(file, &arena, &count, &runs),
        "x.safetensors: expected at most 16777216 segments, found more in its tensors");
    assert_null(runs);
    arena_end(&arena);
}

static void shapes_are_spelled(void **state)
{
    static const uint64_t shape[] = {2, UINT64_MAX, 3};
    (void)state;
    struct arena arena = {0};
    assert_string_equal(safetensors_shape_text(&arena, 0, NULL), "[]");
    assert_string_equal(safetensors_shape_text(&arena, 1, shape), "[2]");
    assert_string_equal(safetensors_shape_text(&arena, 3, shape), "[2, 18446744073709551615, 3]");
    arena_end(&arena);
}

static struct error *read_file(struct arena *arena, const char *path, struct safetensors **out)
{
    struct file *file = NULL;
    struct error *error = file_open(path, &file);
    if (error == NULL)
        error = safetensors_read(arena, file, out);
    file_close(file);
    return error;
}

static void files_of_the_reference_are_read(void **state)
{
    const char *root = getenv("PSYBUILD_SOURCE");
    (void)state;
    struct arena arena = {0};
    const char *path =
        arena_format(&arena, "%s/tests/golden/cast-bf16.safetensors", root == NULL ? "." : root);
    struct safetensors *file = NULL;
    struct error *error = read_file(&arena, path, &file);
    if (error != NULL)
        print_error("%s", error_report(error));
    assert_null(error);
    assert_true(file->count > 0);
    struct span_run *runs = NULL;
    size_t count = 0;
    assert_null(safetensors_segments(file, &arena, &count, &runs));
    assert_int_equal(runs[count - 1].offset + runs[count - 1].size_bytes, file->file_size);
    arena_end(&arena);
}

static void short_files_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *want;
    } cases[] = {
        {"", 0, "expected a safetensors file of at least 8 bytes, found 0"},
        {"\2\0\0\0\0\0\0\0{", 9, "truncated: the header takes 10 bytes, the file has 9"},
        {"\2\0\0\0\0\0\0\0[]", 10, "expected the header to be an object, found a list"},
    };
    (void)state;
    struct arena arena = {0};
    const char *top = getenv("TMPDIR");
    char *directory = arena_format(&arena, "%s/psybuild-XXXXXX", top == NULL ? "/tmp" : top);
    assert_non_null(mkdtemp(directory));
    const char *path = path_join(&arena, directory, "x.safetensors");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct safetensors *file = NULL;
        print_message("row %zu\n", i);
        assert_null(file_replace_whole(path, (struct text){cases[i].bytes, cases[i].size}));
        struct error *error = read_file(&arena, path, &file);
        assert_null(file);
        expect_text(error, arena_format(&arena, "%s: %s", path, cases[i].want));
    }
    assert_null(file_remove(path));
    assert_null(file_remove_directory(directory));
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_gives_tensors_in_order_of_offset),
        cmocka_unit_test(tensors_are_found_by_name),
        cmocka_unit_test(a_file_without_tensors_is_fine),
        cmocka_unit_test(empty_tensors_share_an_offset),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(header_size_is_checked_first),
        cmocka_unit_test(two_hundred_thousand_tensors_are_no_trouble),
        cmocka_unit_test(layout_is_compact_sorted_and_aligned),
        cmocka_unit_test(layout_refuses_what_no_file_can_hold),
        cmocka_unit_test(segments_are_powers_of_two_of_rows),
        cmocka_unit_test(borders_of_the_coarser_cut_are_borders_of_the_finer),
        cmocka_unit_test(segments_cover_the_file_in_order),
        cmocka_unit_test(too_many_segments_are_refused),
        cmocka_unit_test(shapes_are_spelled),
        cmocka_unit_test(files_of_the_reference_are_read),
        cmocka_unit_test(short_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
