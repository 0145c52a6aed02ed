/* test_shadow.c - a graph as bytes. */
#include "engine/stale/shadow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/project.h"
#include "tests/support/tree.h"

static void a_graph_is_read_as_it_was_written(void **state)
{
    struct project project = {0};
    (void)state;
    tree_write("src/a.json", "{}");
    tree_write("src/m.safetensors", "");
    tree_assert_ok(project_link(&project,
        "{\"psybuild\": 1, \"sources\": {\"src\": {\"dir\": \"src\"}}, \"default\": [\"d\"],\n"
        "\"artifacts\": {\"d/b\": {\"task\": \"copy\", \"in\": {\"files\": \"d/a\"}, \"group\": "
        "\"d\"}, \"d/a\": {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"group\": "
        "\"d\"}, \"e/*.json\": {\"task\": \"copy\", \"in\": {\"files\": \"src/*.json\"}}, \".v\": "
        "{\"task\": \"merge\", \"in\": {\"weights\": \"src/m*\"}, \"keep\": \"never\"}}}"));
    const struct graph *graph = project.graph;
    struct graph *shadow = NULL;
    struct buffer bytes = {0};
    shadow_put(&bytes, graph);
    tree_assert_ok(buffer_check(&bytes));
    struct wire_reader reader = {.bytes = bytes.bytes, .length = bytes.count};
    tree_assert_ok(shadow_get(&reader, &project.arena, &shadow));
    assert_non_null(shadow);
    assert_true(wire_reader_done(&reader));
    assert_null(shadow->manifest);
    assert_string_equal(shadow->manifest_name, "psybuild.json");
    assert_int_equal(shadow->default_count, 1);
    assert_string_equal(shadow->defaults[0], "d");
    assert_int_equal(shadow->disk_source_count, 1);
    assert_string_equal(shadow->disk_sources[0], "src");
    assert_int_equal(shadow->group_count, 1);
    assert_int_equal(shadow->groups[0].node_count, 2);
    assert_int_equal(shadow->node_count, graph->node_count);
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct node *a = &graph->nodes[i], *b = &shadow->nodes[i];
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->is_pattern, b->is_pattern);
        assert_int_equal(a->is_view, b->is_view);
        assert_int_equal(a->is_fetched, b->is_fetched);
        assert_int_equal(a->group, b->group);
        assert_int_equal(a->need_count, b->need_count);
        assert_int_equal(shadow->order[i], graph->order[i]);
        for (uint32_t k = 0; k < a->need_count; k++)
            assert_int_equal(a->needs[k], b->needs[k]);
        assert_int_equal(graph_find_producer(shadow, a->name), i);
    }
    assert_int_equal(
        graph_find_producer(shadow, "e/x.json"), map_get(&graph->node_by_name, "e/*.json"));
    for (size_t length = 0; length < bytes.count; length++) {
        struct graph *none = NULL;
        reader = (struct wire_reader){.bytes = bytes.bytes, .length = length};
        tree_assert_ok(shadow_get(&reader, &project.arena, &none));
        assert_null(none);
    }
    buffer_end(&bytes);
    project_end(&project);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_graph_is_read_as_it_was_written, tree_begin, tree_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
