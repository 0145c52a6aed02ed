/* test_chat_template.c - templates in tokenizer_config.json, and names that may become files. */
#include "tasks/chat_template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/project.h"

/* "name=text;" for each, "!" behind a named set; or the error. */
static const char *read(struct arena *arena, const char *json)
{
    const struct json_document *document;
    struct chat_templates set;
    assert_null(json_parse(arena, "t.json", text_of(json), JSON_TOLERANT, &document));
    struct error *error = chat_templates_from_config(arena, &document->root, &set);
    if (error != NULL) {
        const char *message = arena_format(arena, "%s", error_text(error));
        error_free(error);
        return message;
    }
    const char *got = "";
    for (size_t i = 0; i < set.count; i++)
        got = arena_format(arena, "%s%s=%s;", got, set.items[i].name, set.items[i].text.bytes);
    assert_int_equal(chat_templates_single(&set) != NULL, !set.is_set && set.count == 1);
    return arena_format(arena, "%s%s", got, set.is_set ? "!" : "");
}

static void templates_come_as_string_list_or_object(void **state)
{
    static const struct {
        const char *json, *want;
    } rows[] = {
        {"null", ""},
        {"\"{{ x }}\"", "default={{ x }};"},
        {"\"\"", "default=;"},
        {"[{\"name\":\"default\",\"template\":\"a\"},{\"name\":\"tool_use\",\"template\":\"b\"}]",
            "default=a;tool_use=b;!"},
        {"[{\"name\":\"default\",\"template\":\"a\"},{\"name\":\"default\",\"template\":\"b\"}]",
            "default=b;!"},
        {"{\"rag\":\"r\"}", "rag=r;!"},
        {"[]", "!"},
        {"\"a\\ud800\"",
            "t.json:1:1: the template \"default\" must be text that UTF-8 has, and holds "
            "a lone surrogate"},
        {"{\"a\":\"\\udfff\"}",
            "t.json:1:6: the template \"a\" must be text that UTF-8 has, and holds "
            "a lone surrogate"},
        {"7",
            "t.json:1:1: \"chat_template\" must be a string, a list or an object of templates, not "
            "7"},
        {"[1]", "t.json:1:2: an entry of \"chat_template\" must have a \"name\""},
        {"[{\"name\":\"a\"}]", "t.json:1:2: the template \"a\" must be a string, not nothing"},
        {"{\"a\":[]}", "t.json:1:6: the template \"a\" must be a string, not a list"},
        {"[{\"name\":\"../../x\",\"template\":\"a\"}]",
            "t.json:1:2: the name of a chat template must be usable as a file name, not "
            "\"../../x\""},
        {"{\"a/b\":\"\"}", "t.json:1:8: the name of a chat template must be usable as a file name, "
                           "not \"a/b\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena = {0};
        const char *got = read(&arena, rows[i].json);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("%s: %s", rows[i].json, got);
        arena_end(&arena);
    }
}

static void names_that_leave_the_directory_are_unsafe(void **state)
{
    static const struct {
        struct text name;
        bool is_safe;
    } rows[] = {
        {{"tool_use", 8}, true},
        {{"a b", 3}, true},
        {{"\xC3\xA9", 2}, true},
        {{"", 0}, false},
        {{".", 1}, false},
        {{"..", 2}, false},
        {{".hidden", 7}, false},
        {{"a/b", 3}, false},
        {{"a\\b", 3}, false},
        {{"a\0b", 3}, false},
        {{"a\nb", 3}, false},
        {{"a*", 2}, false},
        {{"\xFF", 1}, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (chat_template_name_is_safe(rows[i].name) != rows[i].is_safe)
            fail_msg("row %zu", i);
}

static void too_many_templates_are_refused(void **state)
{
    struct arena arena = {0};
    const char *json = "{\"0\":\"\"";
    (void)state;
    for (int i = 1; i <= CHAT_TEMPLATES_MAX; i++)
        json = arena_format(&arena, "%s,\"%d\":\"\"", json, i);
    json = arena_format(&arena, "%s}", json);
    assert_non_null(strstr(read(&arena, json), ": more than 256 chat templates"));
    arena_end(&arena);
}

static void a_template_that_is_no_text_is_refused(void **state)
{
    static const char *const roles[] = {"template", "chat_template", "additional_chat_templates"};
    (void)state;
    tree_write("bad.jinja", "{{ x }}\xFF");
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        struct project_run run = {0};
        tree_write("psybuild.json",
            arena_format(&run.arena,
                "{\"psybuild\": 1, \"artifacts\": {\"chat_template.jinja\": {\"task\": "
                "\"chat-template\", \"in\": {\"%s\": \"bad.jinja\"}}}}",
                roles[i]));
        tree_assert_ok(project_run(&run));
        assert_string_equal(run.said,
            "stale chat_template.jinja: it was never made\n"
            "failed chat_template.jinja: bad.jinja: expected a chat template in UTF-8, found other "
            "bytes\n");
        project_run_end(&run);
    }
}

/* Python reads the file as text; what is written are its bytes. */
static void line_ends_of_a_file_are_line_feeds_for_what_is_recognised(void **state)
{
    static const char *const ends[] = {"\n", "\r\n", "\r", "\n\r", "\r\r"};
    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct project_run run = {0};
        tree_write(
            "in.jinja", arena_format(&run.arena, "a\r\nb<tool_call>%s<function=\r", ends[i]));
        tree_write("psybuild.json",
            "{\"psybuild\": 1, \"artifacts\": {\"tokenizer_config.json\": {\"task\": "
            "\"tokenizer\", \"in\": {\"chat_template\": \"in.jinja\"}}, \"chat_template.jinja\": {"
            "\"task\": \"chat-template\", \"in\": {\"chat_template\": \"in.jinja\"}}}}");
        tree_assert_ok(project_run(&run));
        bool is_one = i < 3;
        assert_string_equal(tree_read(&run.arena, "tokenizer_config.json").bytes,
            is_one ? "{\n  \"tool_parser_type\": \"qwen3_coder\"\n}\n" : "{}\n");
        assert_true(text_equal(
            tree_read(&run.arena, "chat_template.jinja"), tree_read(&run.arena, "in.jinja")));
        project_run_end(&run);
    }
}

static void a_file_with_an_unsafe_name_is_refused(void **state)
{
    (void)state;
    struct project_run run = {0};
    tree_write("in/.rag.jinja", "{{ x }}");
    tree_write("psybuild.json",
        "{\"psybuild\": 1, \"artifacts\": {\"out/*.jinja\": {\"task\": \"chat-template\", "
        "\"in\": {\"additional_chat_templates\": \"in/.rag.jinja\"}}}}");
    tree_assert_ok(project_run(&run));
    assert_string_equal(run.said,
        "stale out/*.jinja: it was never made\n"
        "failed out/*.jinja: in/.rag.jinja: the name of a chat template must be usable as a file "
        "name everywhere\n");
    project_run_end(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_come_as_string_list_or_object),
        cmocka_unit_test(names_that_leave_the_directory_are_unsafe),
        cmocka_unit_test(too_many_templates_are_refused),
        cmocka_unit_test_setup_teardown(
            a_template_that_is_no_text_is_refused, tree_begin, tree_end),
        cmocka_unit_test_setup_teardown(
            line_ends_of_a_file_are_line_feeds_for_what_is_recognised, tree_begin, tree_end),
        cmocka_unit_test_setup_teardown(
            a_file_with_an_unsafe_name_is_refused, tree_begin, tree_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
