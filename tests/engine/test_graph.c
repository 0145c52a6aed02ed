/* test_graph.c - what roles resolve to, what cannot be built, in which order, under which keys. */
#include "engine/graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/project.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define HEAD "{\"psybuild\": 1, \"sources\": {\"src\": {\"dir\": \"src\"}}, \"artifacts\": {\n"
#define COPY(from) "{\"task\": \"copy\", \"in\": {\"files\": " from "}}"
#define IN_GROUP(from, group)                                                                      \
    "{\"task\": \"copy\", \"in\": {\"files\": " from "}, \"group\": \"" group "\"}"

static int begin(void **state)
{
    int result = tree_begin(state);
    if (result != 0)
        return result;
    tree_write("src/a.json", "a");
    tree_write("src/b.json", "b");
    tree_write("src/model-1.safetensors", "1");
    tree_write("src/model-2.safetensors", "2");
    tree_write("src/sub/deep.json", "d");
    tree_write("src/.hidden", "h");
    tree_write("user.txt", "u");
    return 0;
}

/* ---- what cannot be built ---- */

struct row {
    const char *text, *want; /* members of "artifacts", and the whole report */
};

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct project project = {0};
        char text[4096];
        snprintf(text, sizeof text, HEAD "%s\n}}", rows[i].text);
        struct error *error = project_link(&project, text);
        if (error == NULL || strcmp(error_report(error), rows[i].want) != 0)
            print_error("row %zu: %s\n", i, rows[i].text);
        tree_assert_report(error, rows[i].want);
        assert_null(project.graph);
        project_end(&project);
    }
}

static void graph_rejects_a_cycle(void **state)
{
    static const struct row rows[] = {
        {"\"a\": " COPY("\"a\""), "psybuild.json:2:6: these nodes need each other: a -> a\n"
                                  "    \"a\": {\"task\": \"copy\", \"in\": {\"files\": \"a\"}}\n"
                                  "         ^\n"},
        {"\"a\": " COPY("\"b\"") ",\n\"b\": " COPY("[\"user.txt\", \"a\"]"),
            "psybuild.json:2:6: these nodes need each other: a -> b -> a\n"
            "    \"a\": {\"task\": \"copy\", \"in\": {\"files\": \"b\"}},\n"
            "         ^\n"},
        {"\"d/1\": " COPY("\"d/3\"") ",\n\"d/2\": " COPY("\"d/1\"") ",\n\"d/3\": " COPY(
             "\"d/2\"") ",\n\"e\": " COPY("\"d/1\""),
            "psybuild.json:4:8: these nodes need each other: d/3 -> d/2 -> d/1 -> d/3\n"
            "    \"d/3\": {\"task\": \"copy\", \"in\": {\"files\": \"d/2\"}},\n"
            "           ^\n"},
        {"\"all.json\": " COPY("\"*.json\""),
            "psybuild.json:2:13: these nodes need each other: all.json -> all.json\n"
            "    \"all.json\": {\"task\": \"copy\", \"in\": {\"files\": \"*.json\"}}\n"
            "                ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows));
}

static void a_long_cycle_is_shown_whole(void **state)
{
    enum { LENGTH = 40 };
    struct project project = {0};
    struct arena arena = {0};
    const char *text = HEAD, *path = "n00";
    (void)state;
    for (unsigned i = 0; i < LENGTH; i++) {
        unsigned next = (i + 1) % LENGTH;
        text = arena_format(&arena, "%s\"n%02u\": " COPY("\"n%02u\"") "%s", text, i, next,
            next == 0 ? "\n}}" : ",\n");
        path = arena_format(&arena, "%s -> n%02u", path, next);
    }
    struct error *error = project_link(&project, text);
    assert_non_null(error);
    assert_string_equal(error_text(error),
        arena_format(&arena, "psybuild.json:2:8: these nodes need each other: %s", path));
    error_free(error);
    project_end(&project);
    arena_end(&arena);
}

static void graph_rejects_two_nodes_with_one_output(void **state)
{
    static const struct row rows[] = {
        {"\"d/*\": " COPY("\"src/a.json\"") ",\n\"d/a\": " COPY("\"src/a.json\""),
            "psybuild.json:2:8: two nodes make \"d/a\": it matches the pattern \"d/*\"\n"
            "    \"d/*\": {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}},\n"
            "           ^\n"},
        {"\"d/a.json\": " COPY("\"src/a.json\"") ",\n\"d/*.json\": " COPY("\"src/*.json\""),
            "psybuild.json:3:13: two nodes make \"d/a.json\": it matches the pattern \"d/*.json\"\n"
            "    \"d/*.json\": {\"task\": \"copy\", \"in\": {\"files\": \"src/*.json\"}}\n"
            "                ^\n"},
        {"\"d/m*.txt\": " COPY("\"src/a.json\"") ",\n\"d/m1*.txt\": " COPY("\"src/a.json\""),
            "psybuild.json:2:13: two nodes make \"d/m1*.txt\": it matches the pattern "
            "\"d/m*.txt\"\n"
            "    \"d/m*.txt\": {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}},\n"
            "                ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows));
    struct project project = {0};
    tree_write("i.json", "{\"psybuild\": 1, \"artifacts\": {\n\"d/a\": " COPY("\"user.txt\"") "}}");
    tree_assert_report(
        project_link(&project, "{\"psybuild\": 1, \"include\": [\"i.json\"], \"artifacts\": "
                               "{\"d/a\": " COPY("\"user.txt\"") "}}"),
        "i.json:2:8: two nodes make \"d/a\"\n"
        "    \"d/a\": {\"task\": \"copy\", \"in\": {\"files\": \"user.txt\"}}}}\n"
        "           ^\n");
    project_end(&project);
}

static void graph_rejects_groups_that_wait_for_themselves(void **state)
{
    static const struct row rows[] = {
        {"\"g/a\": " IN_GROUP("\"user.txt\"", "g") ",\n\"x\": " COPY(
             "\"g/a\"") ",\n\"g/b\": " IN_GROUP("\"x\"", "g"),
            "psybuild.json:4:8: \"g/b\" needs \"x\", which itself needs files of the group \"g\": "
            "a group is sealed as one\n"
            "    \"g/b\": {\"task\": \"copy\", \"in\": {\"files\": \"x\"}, \"group\": \"g\"}\n"
            "           ^\n"},
        {"\"g/a\": " IN_GROUP("\"user.txt\"", "g") ",\n\"x\": " COPY("\"g/a\"") ",\n\"y\": " COPY(
             "\"x\"") ",\n\"g/b\": " IN_GROUP("\"y\"", "g"),
            "psybuild.json:5:8: \"g/b\" needs \"y\", which itself needs files of the group \"g\": "
            "a group is sealed as one\n"
            "    \"g/b\": {\"task\": \"copy\", \"in\": {\"files\": \"y\"}, \"group\": \"g\"}\n"
            "           ^\n"},
        {"\"g/a\": " IN_GROUP("\"h/b\"", "g") ",\n\"g/c\": " IN_GROUP(
             "\"user.txt\"", "g") ",\n\"h/b\": " IN_GROUP("\"user.txt\"",
             "h") ",\n\"h/d\": " IN_GROUP("\"g/c\"", "h"),
            "psybuild.json:2:8: \"g/a\" needs \"h/b\", which itself needs files of the group "
            "\"g\": a group is sealed as one\n"
            "    \"g/a\": {\"task\": \"copy\", \"in\": {\"files\": \"h/b\"}, \"group\": \"g\"},\n"
            "           ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows));
}

static void roles_that_find_nothing_are_errors(void **state)
{
    static const struct row rows[] = {
        {"\"out\":\n" COPY("\"src/nosuch\""),
            "psybuild.json:3:34: no such file: \"src/nosuch\" is neither in a source, nor made by "
            "a node, nor on disk\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/nosuch\"}}\n"
            "                                     ^\n"},
        {"\"out\":\n" COPY("\"nosuch\""),
            "psybuild.json:3:34: no such file: \"nosuch\" is neither in a source, nor made by a "
            "node, nor on disk\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"nosuch\"}}\n"
            "                                     ^\n"},
        {"\"out\":\n" COPY("\"src\""), "psybuild.json:3:34: no such file: \"src\" is neither in a "
                                       "source, nor made by a node, nor on disk\n"
                                       "    {\"task\": \"copy\", \"in\": {\"files\": \"src\"}}\n"
                                       "                                     ^\n"},
        {"\"out\":\n" COPY("\"src/.hidden\""),
            "psybuild.json:3:34: no such file: \"src/.hidden\" is neither in a source, nor made by "
            "a node, nor on disk\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/.hidden\"}}\n"
            "                                     ^\n"},
        {"\"out\":\n" COPY("\"src/*.txt\""),
            "psybuild.json:3:34: role \"files\": \"src/*.txt\" matches no file\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/*.txt\"}}\n"
            "                                     ^\n"},
        {"\"out\":\n" COPY("\"*.txt\""),
            "psybuild.json:3:34: role \"files\": \"*.txt\" matches no file\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"*.txt\"}}\n"
            "                                     ^\n"},
        {"\"out\":\n" COPY("[\"src/*.txt\", \"src/??\"]"),
            "psybuild.json:3:35: role \"files\": \"src/*.txt\" matches no file\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": [\"src/*.txt\", \"src/??\"]}}\n"
            "                                      ^\n"},
        {"\"out\": {\"task\": \"quantize\", \"in\":\n{\"weights\": \"user.txt\", \"config\": "
         "\"src/?.json\"}}",
            "psybuild.json:3:35: role \"config\" takes one file, found 2\n"
            "    {\"weights\": \"user.txt\", \"config\": \"src/?.json\"}}\n"
            "                                      ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows));
}

static void sources_must_be_there(void **state)
{
    struct project project = {0};
    (void)state;
    tree_assert_report(
        project_link(&project, "{\"psybuild\": 1, \"sources\": {\"s\":\n{\"dir\": \"no/such\"}}}"),
        "psybuild.json:2:9: no such directory: \"no/such\"\n"
        "    {\"dir\": \"no/such\"}}}\n"
        "            ^\n");
    project_end(&project);
    tree_assert_report(
        project_link(&project, "{\"psybuild\": 1, \"sources\": {\"s\":\n{\"dir\": \"user.txt\"}}}"),
        "psybuild.json:2:9: no such directory: \"user.txt\"\n"
        "    {\"dir\": \"user.txt\"}}}\n"
        "            ^\n");
    project_end(&project);
}

/* ---- what roles resolve to ---- */

static void roles_resolve_to_sorted_files(void **state)
{
    static const struct {
        const char *role, *paths, *want;
    } rows[] = {
        {"x", "\"src/a.json\"", "src/a.json"},
        {"x", "\"user.txt\"", "user.txt"},
        {"x", "[\"src/b.json\", \"src/a.json\"]", "src/b.json src/a.json"},
        {"x", "\"src/*.json\"", "src/a.json src/b.json"},
        {"x", "\"src/?.json\"", "src/a.json src/b.json"},
        {"x", "\"src/*/*\"", "src/sub/deep.json"},
        {"x", "[\"src/b.json\", \"src/*.json\"]", "src/b.json src/a.json"},
        {"x", "[\"src/nosuch*\", \"user.txt\"]", "user.txt"},
        {"x", "\"made/*\"", "made/one made/two"},
        {"x", "\"many/*.bin\"", "many/*.bin"},
        {"x", "\"many/one.bin\"", "many/one.bin"},
        {"x?", "\"nosuch\"", "nosuch?"},
        {"x?", "\"src/nosuch\"", "src/nosuch?"},
        {"x?", "\"src/*.nosuch\"", ""},
        {"x?", "[]", ""},
        {"x?", "\"src/a.json\"", "src/a.json"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct project project = {0};
        char text[1024];
        snprintf(text, sizeof text,
            HEAD "\"made/two\": " COPY("\"user.txt\"") ", \"made/one\": " COPY(
                "\"user.txt\"") ", \"many/*.bin\": " COPY("\"src/*.json\"") ",\n\"out\": "
                                                                            "{\"task\": \"exec\", "
                                                                            "\"with\": "
                                                                            "{\"command\": "
                                                                            "[\"x\"]}, \"in\": "
                                                                            "{\"%s\": %s}}}}",
            rows[i].role, rows[i].paths);
        tree_assert_ok(project_link(&project, text));
        const char *got = project_refs(&project, "out", "x");
        if (strcmp(got, rows[i].want) != 0)
            print_error("row %zu: %s\n", i, rows[i].paths);
        assert_string_equal(got, rows[i].want);
        project_end(&project);
    }
}

static void a_source_elsewhere_is_read_under_its_own_name(void **state)
{
    struct project project = {0};
    (void)state;
    tree_write("store/blobs/1", "{}");
    tree_write("store/snapshot/x", "");
    assert_int_equal(symlink("../blobs/1", "store/snapshot/config.json"), 0);
    assert_int_equal(symlink("nowhere", "store/snapshot/dangling.json"), 0);
    tree_assert_ok(project_link(&project,
        "{\"psybuild\": 1, \"sources\": {\"models/m\": {\"dir\": \"store/snapshot\"}}, "
        "\"artifacts\": {\"out\": " COPY("\"models/m/*.json\"") "}}"));
    assert_string_equal(project_refs(&project, "out", "files"), "models/m/config.json");
    const struct node_ref *ref = &project_node(&project, "out")->inputs[0].refs[0];
    assert_int_equal(ref->producer, NODE_NONE);
    assert_string_equal(ref->location, "store/snapshot/config.json");
    project_end(&project);
}

static void when_tells_whether_a_node_exists(void **state)
{
    static const struct {
        const char *when;
        bool want;
    } rows[] = {
        {"src/a.json", true}, {"src/nosuch", false}, {"src/*.json", true}, {"src/*.nosuch", false},
        {"made", true}, {"later", true},            /* declared after it */
        {"chained", true},                          /* whose own "when" is fulfilled */
        {"never", false}, {"many/*", false},        /* patterns are no plain names */
        {"many/a.bin", false}, {"user.txt", false}, /* neither a source's nor a node's */
        {"out", false},                             /* itself */
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct project project = {0};
        char text[1024];
        snprintf(text, sizeof text,
            HEAD "\"made\": " COPY("\"user.txt\"") ", \"many/*.bin\": " COPY(
                "\"user.txt\"") ",\n"
                                "\"out\": {\"task\": \"copy\", \"in\": {\"files\": \"user.txt\"}, "
                                "\"when\": \"%s\"},\n"
                                "\"chained\": {\"task\": \"copy\", \"in\": {\"files\": "
                                "\"user.txt\"}, \"when\": "
                                "\"later\"},\n"
                                "\"never\": {\"task\": \"copy\", \"in\": {\"files\": "
                                "\"user.txt\"}, \"when\": "
                                "\"nosuch\"},\n"
                                "\"later\": " COPY("\"user.txt\"") "}}",
            rows[i].when);
        tree_assert_ok(project_link(&project, text));
        bool is_there = map_get(&project.graph->node_by_name, "out") != MAP_NONE;
        if (is_there != rows[i].want)
            print_error("row %zu: %s\n", i, rows[i].when);
        assert_int_equal(is_there, rows[i].want);
        project_end(&project);
    }
}

static const char views[] = HEAD
    "\"g/.one\": {\"task\": \"merge\", \"in\": {\"weights\": \"src/model*\"}, \"keep\": "
    "\"never\"},\n"
    "\"g/.two\": {\"task\": \"merge\", \"in\": {\"weights\": \"g/.one\"}, \"keep\": "
    "\"never\", \"group\": \"g\"},\n"
    "\"g/made.safetensors\": " IN_GROUP("\"src/model-1.safetensors\"",
        "g") ",\n"
             "\".three\": {\"task\": \"merge\", \"in\": {\"weights\": \"g/made.safetensors\"}, "
             "\"keep\": \"never\"},\n"
             "\"g/out\": {\"task\": \"merge\", \"in\": {\"weights\": [\"user.txt\", \"g/.two\", "
             "\".three\"]}, \"group\": \"g\"}}}";

static void views_are_seen_through(void **state)
{
    struct project project = {0};
    (void)state;
    tree_assert_ok(project_link(&project, views));
    const struct node *node = project_node(&project, "g/out");
    assert_string_equal(project_refs(&project, "g/out", "weights"),
        "user.txt src/model-1.safetensors src/model-2.safetensors g/made.safetensors");
    assert_int_equal(node->need_count, 1); /* within its group, though the view lies outside */
    assert_string_equal(project.graph->nodes[node->needs[0]].name, "g/made.safetensors");
    assert_true(node->needs_content[0]);
    bool is_wanted[8] = {false}, is_named[8] = {false};
    tree_assert_ok(graph_select(project.graph, NULL, 0, is_wanted, is_named));
    for (uint32_t i = 0; i < project.graph->node_count; i++)
        assert_int_equal(is_wanted[i], !project.graph->nodes[i].is_view);
    project_end(&project);
}

/* ---- order and targets ---- */

static const char chain[] = HEAD "\"e/last\": " COPY("\"g/b\"") ",\n\"g/b\": " IN_GROUP(
    "\"g/a\"", "g") ",\n\"g/a\": " IN_GROUP("\"first\"",
    "g") ",\n\"first\": " COPY("\"user.txt\"") ",\n\"alone\": " COPY("\"user.txt\"") "}, "
                                                                                     "\"default\": "
                                                                                     "[\"e\", "
                                                                                     "\"alone\"]}";

static void producers_come_first(void **state)
{
    struct project project = {0};
    uint32_t place[8];
    (void)state;
    tree_assert_ok(project_link(&project, chain));
    const struct graph *graph = project.graph;
    assert_int_equal(graph->node_count, 5);
    for (uint32_t at = 0; at < graph->node_count; at++)
        place[graph->order[at]] = at;
    for (uint32_t i = 0; i < graph->node_count; i++)
        for (uint32_t k = 0; k < graph->nodes[i].need_count; k++)
            assert_true(place[graph->nodes[i].needs[k]] < place[i]);
    project_end(&project);
}

static void a_chain_may_be_very_long(void **state)
{
    enum { LENGTH = 20000 };
    struct project project = {0};
    (void)state;
    char *text = test_malloc(LENGTH * 80), *end = text;
    end += sprintf(end, "{\"psybuild\": 1, \"artifacts\": {\"n0\": " COPY("\"user.txt\""));
    for (unsigned i = 1; i < LENGTH; i++)
        end += sprintf(end, ",\n\"n%u\": " COPY("\"n%u\""), i, i - 1);
    sprintf(end, "}}");
    tree_assert_ok(project_link(&project, text));
    test_free(text);
    assert_int_equal(project.graph->order[LENGTH - 1], LENGTH - 1);
    bool *is_wanted = arena_alloc(&project.arena, LENGTH),
         *is_named = arena_alloc(&project.arena, LENGTH);
    const char *target = "n19999";
    tree_assert_ok(graph_select(project.graph, &target, 1, is_wanted, is_named));
    assert_true(is_wanted[0] && !is_named[0] && is_named[LENGTH - 1]);
    project_end(&project);
}

static void targets_bring_what_they_need_and_their_groups(void **state)
{
    static const struct {
        const char *target, *wanted, *named;
    } rows[] = {
        {NULL, "e/last g/b g/a first alone ", "e/last alone "},
        {"first", "first ", "first "},
        {"g/a", "g/b g/a first ", "g/a "},
        {"g", "g/b g/a first ", "g/b g/a "},
        {"e", "e/last g/b g/a first ", "e/last "},
        {"", "e/last g/b g/a first alone ", "e/last g/b g/a first alone "},
        {"src", "", ""}, /* there already */
        {"src/a.json", "", ""},
    };
    struct project project = {0};
    (void)state;
    tree_assert_ok(project_link(&project, chain));
    for (size_t i = 0; i < COUNT(rows); i++) {
        bool is_wanted[5] = {false}, is_named[5] = {false};
        char wanted[128] = "", named[128] = "";
        tree_assert_ok(graph_select(
            project.graph, &rows[i].target, rows[i].target != NULL, is_wanted, is_named));
        for (uint32_t n = 0; n < project.graph->node_count; n++) {
            const char *name = project.graph->nodes[n].name;
            if (is_wanted[n])
                strcat(strcat(wanted, name), " ");
            if (is_named[n])
                strcat(strcat(named, name), " ");
        }
        assert_string_equal(wanted, rows[i].wanted);
        assert_string_equal(named, rows[i].named);
    }
    const char *target = "nosuch";
    bool is_wanted[5] = {false}, is_named[5] = {false};
    tree_assert_report(graph_select(project.graph, &target, 1, is_wanted, is_named),
        "unknown target \"nosuch\": psybuild.json makes nothing there\n");
    project_end(&project);
}

static void groups_take_memory_by_their_nodes(void **state)
{
    enum { GROUPS = 8000 };
    struct arena arena = {0};
    struct graph graph = {.node_count = 2 * GROUPS, .group_count = GROUPS};
    (void)state;
    graph.nodes = arena_array(&arena, graph.node_count, sizeof *graph.nodes);
    graph.groups = arena_array(&arena, graph.group_count, sizeof *graph.groups);
    assert_true(graph.nodes != NULL && graph.groups != NULL);
    for (uint32_t i = 0; i < graph.node_count; i++)
        graph.nodes[i].group = i % GROUPS;
    size_t before = arena.size_bytes;
    tree_assert_ok(graph_fill_groups(&arena, &graph));
    assert_true(arena.size_bytes - before < 1 << 20);
    for (uint32_t g = 0; g < GROUPS; g++) {
        assert_int_equal(graph.groups[g].node_count, 2);
        assert_true(graph.groups[g].nodes[0] == g && graph.groups[g].nodes[1] == GROUPS + g);
    }
    arena_end(&arena);
}

static void a_path_belongs_to_its_node_or_a_pattern(void **state)
{
    static const struct {
        const char *path, *want;
    } rows[] = {
        {"d/a", "d/a"},
        {"d/*.bin", "d/*.bin"},
        {"d/x.bin", "d/*.bin"},
        {"d/e/x.bin", NULL},
        {"d", NULL},
        {"user.txt", NULL},
    };
    struct project project = {0};
    (void)state;
    tree_assert_ok(project_link(
        &project, HEAD "\"d/*.bin\": " COPY("\"src/*\"") ", \"d/a\": " COPY("\"user.txt\"") "}}"));
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint32_t found = graph_find_producer(project.graph, rows[i].path);
        if (rows[i].want == NULL)
            assert_int_equal(found, NODE_NONE);
        else
            assert_string_equal(project.graph->nodes[found].name, rows[i].want);
    }
    project_end(&project);
}

/* ---- keys ---- */

static const char keyed[] =
    HEAD "\"v1\": {\"task\": \"merge\", \"in\": {\"weights\": \"src/model-1*\"}, \"keep\": "
         "\"never\"},\n"
         "\"v2\": {\"task\": \"merge\", \"in\": {\"weights\": \"src/model-2*\"}, \"keep\": "
         "\"never\"},\n"
         "\"q\": {\"task\": \"quantize\", \"in\": {\"weights\": [\"v1\", \"v2\"], \"config\": "
         "\"src/a.json\"}, \"with\": {\"bits\": 4, \"mode\": \"affine\"}},\n"
         "\"x\": {\"task\": \"exec\", \"in\": {\"a\": \"v1\", \"b\": \"v2\", \"c?\": \"nosuch\"}, "
         "\"with\": {\"command\": [\"a\"]}},\n"
         "\"out\": " COPY("\"q\"") "}}";

/* Names of the nodes whose keys differ, or that only one of the two has. */
static void check_changed_keys(const char *text, const char *want)
{
    struct project before = {0}, after = {0};
    char changed[256] = "";
    tree_assert_ok(project_link(&before, keyed));
    tree_assert_ok(project_link(&after, text));
    for (uint32_t i = 0; i < before.graph->node_count; i++) {
        const struct node *node = &before.graph->nodes[i];
        uint32_t other = map_get(&after.graph->node_by_name, node->name);
        if (other == MAP_NONE || !hash_equal(&after.graph->nodes[other].key, &node->key))
            strcat(strcat(changed, node->name), " ");
    }
    assert_string_equal(changed, want);
    project_end(&before);
    project_end(&after);
}

static void replace(char *text, const char *from, const char *to)
{
    char *place = strstr(text, from);
    assert_non_null(place);
    memmove(place + strlen(to), place + strlen(from), strlen(place + strlen(from)) + 1);
    memcpy(place, to, strlen(to));
}

static void an_edit_changes_the_key_of_its_node_alone(void **state)
{
    static const struct {
        const char *from, *to, *want;
    } rows[] = {
        {"\"bits\": 4", "\"bits\": 8", "q "},
        {"\"mode\": \"affine\"", "\"group_size\": 64", "q "},
        {", \"mode\": \"affine\"", "", "q "}, /* the default, spelled out, is another declaration */
        {"\"src/a.json\"", "\"src/b.json\"", "q "},
        {"[\"v1\", \"v2\"]", "[\"v2\", \"v1\"]", "q "},
        {"\"src/model-1*\"", "\"src/model-1.safetensors\"", ""}, /* resolves to the same */
        {"\"src/model-1*\"", "\"src/model*\"", "v1 q x "},
        {"\"c?\": \"nosuch\"", "\"c?\": \"user.txt\"", "x "},
        {", \"c?\": \"nosuch\"", "", "x "},
        {"\"nosuch\"", "\"nosuch2\"", ""}, /* absent either way */
        {"\"a\": \"v1\", \"b\": \"v2\"", "\"b\": \"v2\", \"a\": \"v1\"", ""},
        {"\"a\": \"v1\"", "\"d\": \"v1\"", "x "},
        {"\"bits\": 4, \"mode\": \"affine\"", "\"mode\":\"affine\" , \"bits\":4", ""},
        {"\"out\": {\"task\": \"copy\"", "\"out\": {\"keep\": \"always\", \"task\": \"copy\"", ""},
    };
    (void)state;
    check_changed_keys(keyed, "");
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[2048];
        strcpy(text, keyed);
        replace(text, rows[i].from, rows[i].to);
        check_changed_keys(text, rows[i].want);
    }
}

static void another_layout_of_the_manifest_changes_no_key(void **state)
{
    (void)state;
    check_changed_keys(
        "// the same, backwards and through variables\n"
        "{\"artifacts\": {\n"
        "  \"out\": {\"in\": {\"files\": \"${q}\"}, \"task\": \"copy\"},\n"
        "  \"x\": {\"with\": {\"command\": [\"a\"]}, \"in\": {\"c?\": \"nosuch\", \"b\": \"v2\", "
        "\"a\": \"v1\"}, \"task\": \"exec\"},\n"
        "  \"q\": {\"with\": {\"mode\": \"${mode}\", \"bits\": \"${bits}\"}, \"in\": {\"config\": "
        "\"src/a.json\", \"weights\": [\"v1\", \"v2\"]}, \"task\": \"quantize\"},\n"
        "  \"v2\": {\"keep\": \"never\", \"task\": \"merge\", \"in\": {\"weights\": "
        "[\"src/model-2*\"]}},\n"
        "  \"v1\": {\"keep\": \"never\", \"task\": \"merge\", \"in\": {\"weights\": "
        "[\"src/model-1*\"]}}},\n"
        "\"vars\": {\"bits\": 4, \"mode\": \"affine\", \"q\": \"q\"},\n"
        "\"sources\": {\"src\": {\"dir\": \"src\"}}, \"psybuild\": 1}",
        "");
}

static void a_declaration_says_what_the_key_covers(void **state)
{
    struct project project = {0};
    char want[512], hex[HASH_HEX_BYTES];
    (void)state;
    tree_assert_ok(project_link(&project,
        HEAD "\"v\": {\"task\": \"merge\", \"in\": {\"weights\": \"src/model*\"}, \"keep\": "
             "\"never\"},\n"
             "\"q\": {\"task\": \"quantize\", \"in\": {\"weights\": \"v\", \"index?\": "
             "\"src/nosuch\", \"config\": \"src/a.json\"}, \"with\": {\"bits\": 4}, \"hash\": "
             "\"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}}}"));
    const struct node *view = project_node(&project, "v"), *node = project_node(&project, "q");
    snprintf(want, sizeof want,
        "{\"hash\":\"sha256:"
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"in\":{\"config\":["
        "\"src/a.json\"],\"index\":[],\"weights\":[\"v\"]},\"name\":\"q\","
        "\"task\":\"quantize\",\"version\":%u,\"views\":[\"%s\"],\"with\":{\"bits\":4}}",
        node->type->version, hash_hex(&view->key, hex));
    assert_string_equal(node->declaration.bytes, want);
    struct hash128 key = hash_text(text_of(want));
    assert_true(hash_equal(&node->key, &key));
    project_end(&project);
}

#define TREE_TEST(test) cmocka_unit_test_setup_teardown(test, begin, tree_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TREE_TEST(graph_rejects_a_cycle),
        TREE_TEST(a_long_cycle_is_shown_whole),
        TREE_TEST(graph_rejects_two_nodes_with_one_output),
        TREE_TEST(graph_rejects_groups_that_wait_for_themselves),
        TREE_TEST(roles_that_find_nothing_are_errors),
        TREE_TEST(sources_must_be_there),
        TREE_TEST(roles_resolve_to_sorted_files),
        TREE_TEST(a_source_elsewhere_is_read_under_its_own_name),
        TREE_TEST(when_tells_whether_a_node_exists),
        TREE_TEST(views_are_seen_through),
        TREE_TEST(producers_come_first),
        TREE_TEST(a_chain_may_be_very_long),
        TREE_TEST(targets_bring_what_they_need_and_their_groups),
        TREE_TEST(groups_take_memory_by_their_nodes),
        TREE_TEST(a_path_belongs_to_its_node_or_a_pattern),
        TREE_TEST(an_edit_changes_the_key_of_its_node_alone),
        TREE_TEST(another_layout_of_the_manifest_changes_no_key),
        TREE_TEST(a_declaration_says_what_the_key_covers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
