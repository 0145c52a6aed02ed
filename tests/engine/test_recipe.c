/* test_recipe.c - a recipe's own text, what its parameters fill in, and the recipes we install. */
#include "engine/manifest/recipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_write.h"
#include "engine/manifest/expand.h"
#include "tests/support/project.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void the_recipes_own_text_is_checked(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"[]", "r.json:1:1: a recipe must be an object, not a list\n    []\n    ^\n"},
        {"{}", "r.json:1:1: a recipe needs an object \"artifacts\"\n    {}\n    ^\n"},
        {"{\"artifacts\": []}",
            "r.json:1:1: a recipe needs an object \"artifacts\"\n    {\"artifacts\": []}\n    ^\n"},
        {"{\"artefacts\": {}}",
            "r.json:1:2: unknown key \"artefacts\"\n    {\"artefacts\": {}}\n     ^\n"},
        {"{\"artifacts\": {}, \"params\": 1}", "r.json:1:29: \"params\" must be an object\n"
                                               "    {\"artifacts\": {}, \"params\": 1}\n"
                                               "                                ^\n"},
        {"{\"artifacts\": {}, \"params\":\n{\"a\": 1}}",
            "r.json:2:7: parameter \"a\" must be an object\n    {\"a\": 1}}\n          ^\n"},
        {"{\"artifacts\": {}, \"params\":\n{\"a\": {}}}",
            "r.json:2:7: \"type\" of a parameter must be one of string, integer, number, boolean, "
            "list, path, size\n    {\"a\": {}}}\n          ^\n"},
        {"{\"artifacts\": {}, \"params\":\n{\"a\": {\"type\": \"int\"}}}",
            "r.json:2:16: \"type\" of a parameter must be one of string, integer, number, boolean, "
            "list, path, size\n    {\"a\": {\"type\": \"int\"}}}\n                   ^\n"},
        {"{\"artifacts\": {}, \"params\":\n{\"a\": {\"type\": \"list\", \"hlep\": 1}}}",
            "r.json:2:24: unknown key \"hlep\"\n    {\"a\": {\"type\": \"list\", \"hlep\": "
            "1}}}\n                           ^\n"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        struct recipe *recipe = NULL;
        tree_assert_report(
            recipe_parse(&arena, "r", "r.json", text_of(rows[i].text), &recipe), rows[i].want);
        assert_null(recipe);
        arena_end(&arena);
    }
}

/* ---- expansion ---- */

static const struct json *parse(struct arena *arena, const char *name, const char *text)
{
    const struct json_document *document;
    tree_assert_ok(json_parse(arena, name, text_of(text), JSON_STRICT, &document));
    return &document->root;
}

/* The expansion of `text` in the use `{"from": ..., "with": with}`, as canonical JSON or a report.
 */
static char *expand(
    struct arena *arena, const char *text, const char *with, const struct json *from_hub)
{
    struct recipe *recipe;
    tree_assert_ok(recipe_parse(arena, "r", "r.json", text_of(text), &recipe));
    const struct json *place = parse(arena, "m.json", with);
    struct recipe_use use = {.directory = "models/out",
        .place = place,
        .from = json_new_string(arena, place, "models/in"),
        .from_hub = from_hub,
        .with = place};
    const struct json *artifacts;
    struct error *error = recipe_expand(arena, recipe, &use, &artifacts);
    if (error != NULL) {
        char *report = arena_format(arena, "%s", error_report(error));
        error_free(error);
        return report;
    }
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_CANONICAL);
    struct text out;
    json_write_value(writer, artifacts);
    tree_assert_ok(json_writer_finish(writer, &out));
    return arena_copy(arena, out.bytes, out.length);
}

static void parameters_fill_in_the_artifacts(void **state)
{
    static const char recipe[] =
        "{\"params\": {\"bits\": {\"type\": \"integer\"}, \"mode\": {\"type\": \"string\", "
        "\"default\": \"affine\"}, \"more\": {\"type\": \"list\"}, \"t\": {\"type\": \"path\"}},\n"
        "\"artifacts\": {\"${dir}/a\": {\"task\": \"quantize\", \"in\": {\"weights\": "
        "\"${from}/*.safetensors\", \"template\": \"${t}\"}, \"when\": \"${t}\", \"with\": "
        "{\"bits\": \"${bits}\", \"mode\": \"${mode}\", \"overrides\": \"${more}\", \"model\": "
        "\"${from.hub}\"}}}}";
    static const struct {
        const char *with, *hub, *want;
    } rows[] = {
        {"{}", NULL,
            "{\"models/out/a\":{\"in\":{\"weights\":\"models/in/"
            "*.safetensors\"},\"task\":\"quantize\",\"with\":{\"mode\":\"affine\"}}}"},
        {"{\"bits\": 8, \"mode\": \"mxfp4\", \"more\": [{\"match\": \"a\"}], \"t\": \"t.jinja\"}",
            "org/name",
            "{\"models/out/a\":{\"in\":{\"template\":\"t.jinja\",\"weights\":\"models/in/"
            "*.safetensors\"},\"task\":\"quantize\",\"when\":\"t.jinja\",\"with\":{\"bits\":8,"
            "\"mode\":\"mxfp4\",\"model\":\"org/name\",\"overrides\":[{\"match\":\"a\"}]}}}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        const struct json *hub = NULL;
        if (rows[i].hub != NULL)
            hub = json_new_string(&arena, parse(&arena, "h", "1"), rows[i].hub);
        assert_string_equal(expand(&arena, recipe, rows[i].with, hub), rows[i].want);
        arena_end(&arena);
    }
}

static void parameters_have_the_types_that_the_recipe_says(void **state)
{
    static const struct {
        const char *type, *good, *bad, *want;
    } rows[] = {
        {"string", "\"a\"", "1", "must be a string, not 1"},
        {"path", "\"a\"", "[]", "must be a path, not a list"},
        {"integer", "3", "3.5", "must be an integer, not 3.5"},
        {"number", "3.5", "\"3\"", "must be a number, not \"3\""},
        {"boolean", "false", "0", "must be a boolean, not 0"},
        {"list", "[]", "{}", "must be a list, not an object"},
        {"size", "\"5G\"", "1.5", "must be a size, not 1.5"},
        {"size", "5", "null", "must be a size, not null"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        char recipe[256], with[64], want[256];
        snprintf(recipe, sizeof recipe,
            "{\"params\": {\"p\": {\"type\": \"%s\"}}, \"artifacts\": {\"${dir}/a\": {\"x\": "
            "\"${p}\"}}}",
            rows[i].type);
        snprintf(with, sizeof with, "{\"p\": %s}", rows[i].good);
        snprintf(want, sizeof want, "{\"models/out/a\":{\"x\":%s}}", rows[i].good);
        assert_string_equal(expand(&arena, recipe, with, NULL), want);
        snprintf(with, sizeof with, "{\"p\": %s}", rows[i].bad);
        snprintf(
            want, sizeof want, "m.json:1:7: \"p\" %s\n    %s\n          ^\n", rows[i].want, with);
        assert_string_equal(expand(&arena, recipe, with, NULL), want);
        arena_end(&arena);
    }
}

static void names_that_no_recipe_declares_are_errors_in_it(void **state)
{
    static const struct {
        const char *recipe, *want;
    } rows[] = {
        {"{\"artifacts\": {\"${dir}/a\":\n{\"task\": \"${x}\"}}}",
            "r.json:2:10: variable \"x\" is not set\n    {\"task\": \"${x}\"}}}\n             ^\n"},
        {"{\"artifacts\":\n{\"${dri}/a\": {}}}",
            "r.json:2:2: variable \"dri\" is not set\n    {\"${dri}/a\": {}}}\n     ^\n"},
        {"{\"params\": {\"p\": {\"type\": \"string\"}}, \"artifacts\":\n{\"${p}\": {}}}",
            "r.json:2:2: the name of an artifact must be a string\n    {\"${p}\": {}}}\n"
            "     ^\n"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        assert_string_equal(expand(&arena, rows[i].recipe, "{}", NULL), rows[i].want);
        arena_end(&arena);
    }
}

/* ---- what we install ---- */

static const char *const checkpoint[] = {"config.json", "generation_config.json",
    "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "README.md",
    "modeling.py", "vocab.json", "merges.txt"};

static int begin(void **state)
{
    int result = tree_begin(state);
    for (size_t i = 0; result == 0 && i < COUNT(checkpoint); i++) {
        char path[128];
        snprintf(path, sizeof path, "models/in/%s", checkpoint[i]);
        tree_write(path, "{}");
    }
    if (result == 0)
        tree_write("mine.jinja", "{{ messages }}");
    return result;
}

static void load_use(struct project *project, const char *recipe, const char *with)
{
    char text[1024];
    project->data_directory = arena_format(&project->arena, "%s/manifests", tree_source());
    snprintf(text, sizeof text,
        "{\"psybuild\": 1, \"sources\": {\"models/in\": {\"dir\": \"models/in\"}}, \"artifacts\": "
        "{\"models/out\": {\"recipe\": \"%s\", \"from\": \"models/in\", \"with\": %s}}}",
        recipe, with);
    tree_assert_ok(project_link(project, text));
}

static void the_long_form_of_a_recipe_has_the_same_keys(void **state)
{
    static const struct {
        const char *recipe, *with;
    } rows[] = {
        {"merged", "{}"},
        {"mlx", "{}"},
        {"mlx", "{\"bits\": 4, \"group_size\": 64}"},
        {"mlx", "{\"quantize\": true, \"mode\": \"mxfp4\", \"dtype\": \"bfloat16\", "
                "\"max_shard_size\": \"none\", \"nonfinite\": \"keep\"}"},
        {"mlx", "{\"bits\": 3, \"overrides\": [{\"match\": \"lm_head\", \"bits\": 8}, {\"match\": "
                "\"model.embed_tokens\", \"quantize\": false}]}"},
        {"mlx", "{\"quant_predicate\": \"mixed_3_6\", \"chat_template\": \"mine.jinja\"}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct project project = {0}, again = {0};
        struct text text;
        load_use(&project, rows[i].recipe, rows[i].with);
        tree_assert_ok(manifest_expand(&project.arena, project.manifest, NULL, &text));
        assert_null(strstr(text.bytes, "${"));
        assert_null(strstr(text.bytes, "recipe"));
        tree_assert_ok(project_link(&again, text.bytes));
        assert_int_equal(again.graph->node_count, project.graph->node_count);
        for (uint32_t n = 0; n < project.graph->node_count; n++) {
            const struct node *node = &project.graph->nodes[n];
            const struct node *same = project_node(&again, node->name);
            assert_string_equal(same->declaration.bytes, node->declaration.bytes);
            assert_true(hash_equal(&same->key, &node->key));
            assert_int_equal(same->is_view, node->is_view);
            assert_int_equal(same->group == GROUP_NONE, node->group == GROUP_NONE);
        }
        project_end(&project);
        project_end(&again);
    }
}

static void mlx_makes_the_files_that_the_checkpoint_has(void **state)
{
    static const char *const names[] = {".merged", "model*.safetensors",
        "model.safetensors.index.json", "config.json", "generation_config.json", "*.py",
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "chat_template.jinja", "additional_chat_templates/*.jinja", "README.md"};
    struct project project = {0};
    (void)state;
    load_use(&project, "mlx", "{\"bits\": 4}");
    assert_int_equal(project.graph->node_count, COUNT(names));
    assert_int_equal(project.graph->group_count, 1);
    assert_string_equal(project.graph->groups[0].directory, "models/out");
    for (size_t i = 0; i < COUNT(names); i++) {
        char name[128];
        snprintf(name, sizeof name, "models/out/%s", names[i]);
        const struct node *node = project_node(&project, name);
        assert_int_equal(node->is_view, i == 0);
        assert_int_equal(node->group, i == 0 ? GROUP_NONE : 0);
    }
    /* The shards are seen through the view; parameters that are unset stay unset. */
    assert_string_equal(project_refs(&project, "models/out/model*.safetensors", "weights"),
        "models/in/model-00001-of-00002.safetensors models/in/model-00002-of-00002.safetensors");
    assert_int_equal(project_node(&project, "models/out/model*.safetensors")->with->count, 1);
    assert_int_equal(project_node(&project, "models/out/README.md")->with->count, 0);
    assert_string_equal(project_refs(&project, "models/out/tokenizer.json", "sentencepiece"),
        "models/in/tokenizer.model?");
    project_end(&project);

    tree_remove("models/in/special_tokens_map.json");
    tree_remove("models/in/modeling.py");
    load_use(&project, "mlx", "{\"chat_template\": \"mine.jinja\"}");
    assert_int_equal(project.graph->node_count, COUNT(names) - 2);
    assert_string_equal(
        project_refs(&project, "models/out/chat_template.jinja", "template"), "mine.jinja");
    project_end(&project);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_recipes_own_text_is_checked),
        cmocka_unit_test(parameters_fill_in_the_artifacts),
        cmocka_unit_test(parameters_have_the_types_that_the_recipe_says),
        cmocka_unit_test(names_that_no_recipe_declares_are_errors_in_it),
        cmocka_unit_test_setup_teardown(
            the_long_form_of_a_recipe_has_the_same_keys, begin, tree_end),
        cmocka_unit_test_setup_teardown(
            mlx_makes_the_files_that_the_checkpoint_has, begin, tree_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
