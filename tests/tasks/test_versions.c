/* test_versions.c - what each task makes of the miniature, as a hash beside the task's version.
 *
 * A record of an older build is believed as long as the version is the same. So whoever changes the
 * bytes that a task makes must raise its version, and writes the new hash here with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/directory.h"
#include "engine/manifest/params.h"
#include "tasks/formats/digest.h"
#include "tasks/registry.h"
#include "tests/support/conversion.h"
#include "tests/support/tree.h"

enum { MADE_MAX = 256 };

static const struct {
    const char *task;
    unsigned version;
    const char *hash; /* XXH3-128 over the names and bytes of all that it makes below */
} rows[] = {
    {"fetch", 1, "958adf582ec240a7d1470bf54ec2c385"},
    {"copy", 1, "8b918a55986d235a0a57914418b88213"},
    {"merge", 1, "55d1942917d151583fd3df230c68ff4e"},
    {"quantize", 1, "b29710a3138ce1656f7e04148e6f96b3"},
    {"index", 1, "89ba60c07fbe92d04762e1675c641304"},
    {"config", 2, "343f414e04e95b0fff2e0b074cc083c3"},
    {"tokenizer", 2, "80540cb90036a37ee5e9a41f3def83ef"},
    {"chat-template", 2, "0b0f4666a54dbf33acd9858445c48dd1"},
    {"card", 2, "51df7427277b1f62daec783a8267991c"},
    {"exec", 1, "4680a3fb05979ec31b667bbd7cc19750"},
};

static struct arena arena; /* of the running test */

static int end(void **state)
{
    arena_end(&arena);
    return conversion_end(state);
}

/* Every task, and of "quantize" each way that it has. */
static void write_manifest(void)
{
    char hex[DIGEST_HEX_MAX], *here;
    struct text card = TEXT_LITERAL("---\nlicense: mit\ntags: [a]\n---\n# A card\n");
    tree_write_bytes("card/README.md", card.bytes, card.length);
    tree_assert_ok(digest_of(DIGEST_SHA256, card.bytes, card.length, hex));
    tree_assert_ok(file_current_directory(&arena, &here));
    tree_write("psybuild.json",
        arena_format(&arena,
            "{\"psybuild\": 1,\n"
            " \"sources\": {\"" SOURCE "\": {\"dir\": \"" SOURCE "\"},\n"
            "  \"fetched\": {\"files\": {\"README.md\": {\"url\": \"file://%s/card/README.md\",\n"
            "   \"hash\": \"sha256:%s\"}}}},\n"
            " \"artifacts\": {\n"
            "  \"plain\": {\"recipe\": \"mlx\", \"from\": \"" SOURCE "\"},\n"
            "  \"merged\": {\"recipe\": \"merged\", \"from\": \"" SOURCE "\"},\n"
            "  \"half\": {\"recipe\": \"mlx\", \"from\": \"" SOURCE
            "\", \"with\": {\"dtype\": \"float16\"}},\n"
            "  \"four\": {\"recipe\": \"mlx\", \"from\": \"" SOURCE
            "\", \"with\": {\"bits\": 4}},\n"
            "  \"back\": {\"recipe\": \"mlx\", \"from\": \"four\", \"with\": {\"dequantize\": "
            "true}},\n"
            "  \"three\": {\"recipe\": \"mlx\", \"from\": \"" SOURCE "\", \"with\": {\"bits\": 3, "
            "\"group_size\": 32, \"dtype\": \"float32\", \"max_shard_size\": \"200K\"}},\n"
            "  \"mixed\": {\"recipe\": \"mlx\", \"from\": \"" SOURCE
            "\", \"with\": {\"quant_predicate\": \"mixed_2_6\", \"overrides\": [{\"match\": "
            "\"lm_head\", \"bits\": 8, \"group_size\": 128}, {\"match\": \"model.layers.1.*\", "
            "\"quantize\": false}]}},\n"
            "  \"card/mlx.md\": {\"task\": \"card\", \"in\": {\"readme\": \"fetched/README.md\"}, "
            "\"with\": {\"base_model\": \"org/name\"}},\n"
            "  \"said\": {\"task\": \"exec\", \"in\": {\"card\": \"fetched/README.md\"}, \"with\": "
            "{\"command\": [\"cp\", \"${in.card}\", \"${out}\"]}}}}\n",
            here, hex));
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Over all that nodes of that task made, by name. */
static const char *hash_of(const struct build *build, const char *task)
{
    const char *lines[MADE_MAX];
    size_t count = 0;
    for (uint32_t at = 0; at < build->graph->node_count; at++) {
        const struct node *node = &build->graph->nodes[at];
        const struct record *record = state_find_record(build->state, node->name);
        if (strcmp(node->type->name, task) != 0 || record == NULL)
            continue;
        for (uint32_t i = 0; i < record->made_count; i++) {
            const char *path = build->state->files[record->made[i].file].path;
            struct hash128 hash = hash_text(tree_read(&arena, path));
            char hex[HASH_HEX_BYTES];
            assert_true(count < MADE_MAX);
            lines[count++] = arena_format(&arena, "%s %s", path, hash_hex(&hash, hex));
        }
    }
    assert_true(count > 0);
    qsort(lines, count, sizeof lines[0], compare_lines);
    char *all = arena_format(&arena, "%s", ""), *hex = arena_alloc(&arena, HASH_HEX_BYTES);
    for (size_t i = 0; i < count; i++)
        all = arena_format(&arena, "%s%s\n", all, lines[i]);
    struct hash128 hash = hash_text(text_of(all));
    return hash_hex(&hash, hex);
}

static bool is_as_written(const struct build *build, size_t index)
{
    const struct task_type *type = registry_find(&registry, rows[index].task);
    const char *hash = hash_of(build, rows[index].task);
    assert_non_null(type);
    if (type->version != rows[index].version) {
        print_error("task \"%s\" has version %u: write {\"%s\", %u, \"%s\"} in its row of "
                    "tests/tasks/test_versions.c\n",
            type->name, type->version, type->name, type->version, hash);
        return false;
    }
    if (strcmp(hash, rows[index].hash) == 0)
        return true;
    print_error("task \"%s\" makes other bytes than its version %u did: raise the version in its "
                "struct task_type, so that what older builds made is made again, and write "
                "{\"%s\", %u, \"%s\"} in its row of tests/tasks/test_versions.c\n",
        type->name, type->version, type->name, type->version + 1, hash);
    return false;
}

static void other_bytes_are_another_version(void **state)
{
    _Atomic bool cancel = false;
    (void)state;
    write_manifest();
    conversion_make();
    const struct build_options options = {.manifest = "psybuild.json",
        .data_directory = arena_format(&arena, "%s/manifests", tree_source()),
        .registry = &registry,
        .cancel = &cancel};
    struct build *build;
    tree_assert_ok(build_open(&options, NULL, &build));
    bool is_good = true;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        is_good &= is_as_written(build, i);
    build_close(build);
    assert_true(is_good);
}

static void every_task_has_a_row(void **state)
{
    (void)state;
    for (size_t i = 0; registry.types[i] != NULL; i++) {
        bool is_listed = false;
        for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++)
            is_listed |= strcmp(rows[k].task, registry.types[i]->name) == 0;
        if (!is_listed)
            fail_msg("task \"%s\" has no row here", registry.types[i]->name);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_has_a_row),
        cmocka_unit_test_setup_teardown(other_bytes_are_another_version, conversion_begin, end),
    };
    return cmocka_run_group_tests_name("versions", tests, NULL, NULL);
}
