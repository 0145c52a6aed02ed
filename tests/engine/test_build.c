/* test_build.c - whole builds of the miniature: the reference's bytes, whatever the threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/json_write.h"
#include "base/wire.h"
#include "tasks/formats/digest.h"
#include "tasks/formats/safetensors.h"
#include "tests/support/conversion.h"
#include "tests/support/program.h"
#include "tests/support/snapshot.h"
#include "tests/support/tree.h"

static struct arena arena; /* of the running test */

static int end(void **state)
{
    arena_end(&arena);
    return conversion_end(state);
}

static void start_over(void)
{
    if (tree_has(".psybuild"))
        tree_remove(".psybuild");
    if (tree_has(MODEL))
        tree_remove(MODEL);
}

/* ---- the reference ---- */

static const struct json *parse(const char *path)
{
    const struct json_document *document;
    tree_assert_ok(json_parse(&arena, path, tree_read(&arena, path), JSON_TOLERANT, &document));
    return &document->root;
}

/* The members of an object as a manifest has them between its braces. */
static const char *members_of(const struct json *object)
{
    struct json_writer *writer = json_writer_new(&arena, &JSON_STYLE_CANONICAL);
    struct text text;
    json_write_value(writer, object);
    tree_assert_ok(json_writer_finish(writer, &text));
    return arena_copy(&arena, text.bytes + 1, text.length - 2);
}

static void assert_tensors_equal(const char *name, const struct json *wanted)
{
    struct text file = tree_read(&arena, MODEL "/model.safetensors");
    struct text header = {file.bytes + 8, (size_t)load_le64(file.bytes)};
    struct safetensors *made;
    tree_assert_ok(safetensors_parse(&arena, "made", header, file.length, &made));
    for (size_t i = 0; i < made->count; i++) {
        const struct tensor *tensor = &made->tensors[i];
        const struct json *want = json_get(wanted, tensor->name);
        const struct json *shape = json_get(want, "shape");
        char hex[DIGEST_HEX_MAX];
        if (want == NULL)
            fail_msg("%s: the reference has no %s", name, tensor->name);
        assert_string_equal(dtype_name(tensor->dtype), json_get(want, "dtype")->text.bytes);
        assert_int_equal(tensor->rank, shape->count);
        for (uint32_t k = 0; k < tensor->rank; k++)
            assert_int_equal(tensor->shape[k], (uint64_t)shape->items[k].number);
        tree_assert_ok(
            digest_of(DIGEST_SHA256, file.bytes + tensor->offset, (size_t)tensor->size_bytes, hex));
        if (strcmp(hex, json_get(want, "sha256")->text.bytes) != 0)
            fail_msg("%s: %s is not what the reference makes of it", name, tensor->name);
    }
    assert_int_equal(made->count, wanted->count);
}

/* MODEL by the recipe, from the checkpoint or from another of its conversions. */
static void declare(const struct json *conversions, const struct json *want)
{
    const struct json *of = json_get(want, "of");
    const char *with = members_of(json_get(want, "with"));
    if (of == NULL) {
        conversion_declare(with);
        return;
    }
    const struct json *between = json_get(json_get(conversions, of->text.bytes), "with");
    tree_write("psybuild.json",
        arena_format(&arena,
            "{\"psybuild\": 1, \"sources\": {\"" SOURCE "\": {\"dir\": \"" SOURCE "\"}},\n"
            " \"artifacts\": {\n"
            "  \"models/between\": {\"recipe\": \"mlx\", \"from\": \"" SOURCE
            "\", \"with\": {%s}},\n"
            "  \"" MODEL
            "\": {\"recipe\": \"mlx\", \"from\": \"models/between\", \"with\": {%s}}}}\n",
            members_of(between), with));
}

static void every_tensor_equals_the_references(void **state)
{
    (void)state;
    const struct json *conversions = json_get(
        parse(arena_format(&arena, "%s/tests/golden/miniature/expected.json", tree_source())),
        "conversions");
    assert_true(conversions->count > 0);
    for (size_t i = 0; i < conversions->count; i++) {
        const char *name = conversions->members[i].key.bytes;
        const struct json *want = &conversions->members[i].value;
        start_over();
        declare(conversions, want);
        conversion_make();
        assert_tensors_equal(name, json_get(want, "tensors"));
        assert_string_equal(tree_read(&arena, MODEL "/config.json").bytes,
            json_get(want, "config.json")->text.bytes);
        const struct json *index = parse(MODEL "/model.safetensors.index.json");
        assert_true(json_equal(json_get(index, "metadata"), json_get(want, "index metadata")));
    }
}

/* ---- threads and memory ---- */

static void results_do_not_depend_on_threads_or_memory(void **state)
{
    static const struct conversion rows[] = {
        {.threads = 1},
        {.threads = 8},
        {.threads = 1, .memory_bytes = 1 << 20},
        {.threads = 8, .memory_bytes = 1 << 20},
        {.threads = 64},
    };
    static const char *const with[] = {
        "\"bits\": 4", "\"bits\": 3, \"group_size\": 32, \"max_shard_size\": \"200K\""};
    (void)state;
    for (size_t w = 0; w < sizeof with / sizeof with[0]; w++) {
        struct snapshot first = {0};
        conversion_declare(with[w]);
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            start_over();
            struct report report = conversion_run(&rows[i]);
            assert_string_equal(report.errors, "");
            struct snapshot made = snapshot_take(&arena, MODEL);
            if (i == 0)
                first = made;
            snapshot_assert_equal(
                &made, &first, arena_format(&arena, "with %s, row %zu", with[w], i));
        }
    }
}

static void the_program_makes_the_same_at_any_j(void **state)
{
    static const char *const rows[][5] = {
        {"-j1", "-q", NULL},
        {"-j8", "-q", NULL},
        {"-j8", "-q", "--memory", "1M", NULL},
        {"-j64", "-q", NULL},
        {"-j64", "-q", "--memory", "1M", NULL},
    };
    (void)state;
    conversion_declare("\"bits\": 4");
    conversion_make();
    struct snapshot first = snapshot_take(&arena, MODEL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        start_over();
        struct program program = program_run(&arena, rows[i], NULL);
        assert_string_equal(program.said.bytes, "");
        assert_int_equal(program.exit_code, 0);
        struct snapshot made = snapshot_take(&arena, MODEL);
        snapshot_assert_equal(&made, &first, rows[i][0]);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_tensor_equals_the_references, conversion_begin, end),
        cmocka_unit_test_setup_teardown(
            results_do_not_depend_on_threads_or_memory, conversion_begin, end),
        cmocka_unit_test_setup_teardown(the_program_makes_the_same_at_any_j, conversion_begin, end),
    };
    program_find();
    return cmocka_run_group_tests_name("build", tests, NULL, NULL);
}
