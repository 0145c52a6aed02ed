/* test_copy.c - where files are cut to be copied, and which cannot be. */
#include "tasks/copy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/project.h"

#define MIB (UINT64_C(1) << 20)

static void other_files_are_cut_into_blocks(void **state)
{
    static const struct {
        uint64_t size_bytes;
        size_t count;
        uint64_t last;
    } rows[] = {
        {0, 0, 0}, {1, 1, 1}, {4 * MIB, 1, 4 * MIB}, {4 * MIB + 1, 2, 1}, {9 * MIB, 3, MIB}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena = {0};
        struct span_run *runs;
        size_t count;
        assert_null(copy_segments(
            &arena, "vocab.bin", TEXT_LITERAL("12345678"), rows[i].size_bytes, &runs, &count));
        assert_int_equal(count, rows[i].count > 0);
        if (count > 0) {
            assert_int_equal(span_run_count(runs), rows[i].count);
            struct span last = span_run_at(runs, rows[i].count - 1);
            assert_int_equal(last.offset, (rows[i].count - 1) * 4 * MIB);
            assert_int_equal(last.size_bytes, rows[i].last);
        }
        arena_end(&arena);
    }
}

static void safetensors_are_cut_where_tensors_are(void **state)
{
    static const char header[] =
        "\x40\0\0\0\0\0\0\0"
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[65,1000],\"data_offsets\":[0,65000]}} ";
    struct arena arena = {0};
    struct span_run *runs;
    size_t count;
    (void)state;
    assert_int_equal(sizeof header - 1, 8 + 0x40);
    assert_null(copy_segments(&arena, "a.safetensors", (struct text){header, sizeof header - 1},
        72 + 65000, &runs, &count));
    assert_int_equal(count, 2);
    assert_int_equal(runs[0].size_bytes, 72);
    assert_int_equal(span_run_count(&runs[1]), 2);
    assert_int_equal(span_run_at(&runs[1], 0).size_bytes, 64000);
    assert_int_equal(span_run_at(&runs[1], 1).size_bytes, 1000);
    assert_null(copy_segments(&arena, "a.safetensors", (struct text){header, sizeof header - 1},
        72 + 64999, &runs, &count));
    assert_int_equal(count, 1); /* no such file after all: a block */
    arena_end(&arena);
}

static void pieces_are_whole_segments_up_to_a_limit(void **state)
{
    /* Segments of 1, 3 and 0 MiB and a byte, 7 and 7, 4, 1 and 1, and a byte again. */
    static const struct span_run runs[] = {{0, MIB, MIB, MIB}, {MIB, 3 * MIB, 3 * MIB, 3 * MIB},
        {4 * MIB, 1, 1, 1}, {4 * MIB + 1, 14 * MIB, 7 * MIB, 7 * MIB},
        {18 * MIB + 1, 6 * MIB, 5 * MIB, 4 * MIB}, {24 * MIB + 1, 1, 1, 1}};
    static const uint64_t want[] = {4 * MIB, 1, 7 * MIB, 7 * MIB, 4 * MIB, 2 * MIB + 1};
    struct span piece;
    size_t run = 0, count = 0;
    uint64_t end = 0;
    (void)state;
    while (copy_next_piece(runs, 6, &run, &end, &piece)) {
        assert_int_equal(piece.size_bytes, want[count++]);
        assert_int_equal(piece.offset + piece.size_bytes, end);
    }
    assert_int_equal(count, 6);
    assert_int_equal(run, 6);
    run = end = 0;
    assert_false(copy_next_piece(runs, 0, &run, &end, &piece));
}

/* What the one node of the manifest says when it is made. */
static const char *copied(struct project_run *run, const char *node, const char *from)
{
    tree_write("psybuild.json",
        arena_format(&run->arena,
            "{\"psybuild\": 1, \"artifacts\": {\"%s\": {\"task\": \"copy\", \"in\": "
            "{\"files\": \"%s\"}}}}",
            node, from));
    tree_assert_ok(project_run(run));
    return run->said;
}

static void a_large_file_keeps_its_suffix(void **state)
{
    (void)state;
    struct project_run run = {0};
    size_t size = (4 << 20) + 1;
    void *bytes = test_calloc(1, size);
    tree_write_bytes("a.bin", bytes, size);
    tree_write("b.bin", "small");
    assert_string_equal(copied(&run, "x.safetensors", "a.bin"),
        "stale x.safetensors: it was never made\n"
        "failed x.safetensors: a.bin: a file of more than 4194304 bytes must keep its suffix when "
        "it is copied, not become x.safetensors\n");
    assert_non_null(strstr(copied(&run, "y.bin", "a.bin"), "sealed y.bin"));
    assert_memory_equal(tree_read(&run.arena, "y.bin").bytes, bytes, size);
    assert_non_null(strstr(copied(&run, "z.safetensors", "b.bin"), "sealed z.safetensors"));
    assert_string_equal(tree_read(&run.arena, "z.safetensors").bytes, "small");
    test_free(bytes);
    project_run_end(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_files_are_cut_into_blocks),
        cmocka_unit_test(safetensors_are_cut_where_tensors_are),
        cmocka_unit_test(pieces_are_whole_segments_up_to_a_limit),
        cmocka_unit_test_setup_teardown(a_large_file_keeps_its_suffix, tree_begin, tree_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
