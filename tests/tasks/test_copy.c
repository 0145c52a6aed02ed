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
        struct span *spans;
        size_t count;
        assert_null(copy_segments(
            &arena, "vocab.bin", TEXT_LITERAL("12345678"), rows[i].size_bytes, &spans, &count));
        assert_int_equal(count, rows[i].count);
        if (count > 0) {
            assert_int_equal(spans[count - 1].offset, (count - 1) * 4 * MIB);
            assert_int_equal(spans[count - 1].size_bytes, rows[i].last);
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
    struct span *spans;
    size_t count;
    (void)state;
    assert_int_equal(sizeof header - 1, 8 + 0x40);
    assert_null(copy_segments(&arena, "a.safetensors", (struct text){header, sizeof header - 1},
        72 + 65000, &spans, &count));
    assert_int_equal(count, 3);
    assert_int_equal(spans[0].size_bytes, 72);
    assert_int_equal(spans[1].size_bytes, 64000);
    assert_int_equal(spans[2].size_bytes, 1000);
    assert_null(copy_segments(&arena, "a.safetensors", (struct text){header, sizeof header - 1},
        72 + 64999, &spans, &count));
    assert_int_equal(count, 1); /* no such file after all: a block */
    arena_end(&arena);
}

static void runs_are_whole_segments_up_to_a_limit(void **state)
{
    static const struct span spans[] = {{0, MIB}, {MIB, 3 * MIB}, {4 * MIB, 1},
        {4 * MIB + 1, 7 * MIB}, {11 * MIB + 1, 4 * MIB}, {15 * MIB + 1, 1}};
    static const uint64_t want[] = {4 * MIB, 1, 7 * MIB, 4 * MIB, 1};
    struct span run;
    size_t next = 0, count = 0;
    uint64_t end = 0;
    (void)state;
    while (copy_next_run(spans, 6, &next, &run)) {
        assert_int_equal(run.offset, end);
        assert_int_equal(run.size_bytes, want[count++]);
        end += run.size_bytes;
    }
    assert_int_equal(count, 5);
    assert_int_equal(next, 6);
    assert_false(copy_next_run(spans, 0, &(size_t){0}, &run));
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
        cmocka_unit_test(runs_are_whole_segments_up_to_a_limit),
        cmocka_unit_test_setup_teardown(a_large_file_keeps_its_suffix, tree_begin, tree_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
