/* test_expand.c - `${name}` in strings, alone, inside longer ones, and where it must stay. */
#include "engine/manifest/expand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_write.h"
#include "tests/support/tree.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct json *parse(struct arena *arena, const char *name, const char *text)
{
    const struct json_document *document;
    tree_assert_ok(json_parse(arena, name, text_of(text), JSON_STRICT, &document));
    return &document->root;
}

/* Members of a JSON object; one that is null is declared, but unset. */
static const struct json *get_member(const void *context, struct text name, bool *is_known)
{
    const struct json *variables = context;
    for (size_t i = 0; i < variables->count; i++) {
        if (!text_equal(variables->members[i].key, name))
            continue;
        const struct json *value = &variables->members[i].value;
        *is_known = true;
        return value->kind == JSON_NULL ? NULL : value;
    }
    *is_known = false;
    return NULL;
}

static const char variables[] = "{\"text\": \"a$b\", \"empty\": \"\", \"number\": 1.50, \"yes\": "
                                "true, \"no\": false, \"list\": [\"$\", 1], \"object\": {\"k\": "
                                "\"$v\"}, \"nul\": \"x\\u0000y\", \"unset\": null}";

struct row {
    const char *text, *want; /* JSON; "dropped"; or the report */
};

static void check_rows(const struct row *rows, size_t count, struct scope scope)
{
    for (size_t i = 0; i < count; i++) {
        struct arena arena = {0};
        const struct json *value = parse(&arena, "t", rows[i].text), *found = NULL;
        scope.get = get_member;
        scope.context = parse(&arena, "variables", variables);
        struct error *error = expand_node(&arena, &scope, value, &found);
        const char *got = "dropped";
        if (error != NULL) {
            got = error_report(error);
        } else if (found != NULL) {
            struct json_writer *writer = json_writer_new(&arena, &JSON_STYLE_CANONICAL);
            struct text text;
            json_write_value(writer, found);
            tree_assert_ok(json_writer_finish(writer, &text));
            got = text.bytes;
        }
        if (strcmp(got, rows[i].want) != 0)
            print_error("row %zu: %s\n", i, rows[i].text);
        assert_string_equal(got, rows[i].want);
        error_free(error);
        arena_end(&arena);
    }
}

static void names_are_filled_in_with_their_type(void **state)
{
    static const struct row rows[] = {
        {"\"plain\"", "\"plain\""},
        {"\"\"", "\"\""},
        {"12", "12"},
        {"[null, true]", "[null,true]"},
        {"\"${text}\"", "\"a$b\""},
        {"\"${number}\"", "1.50"},
        {"\"${yes}\"", "true"},
        {"\"${list}\"", "[\"$\",1]"},
        {"\"${object}\"", "{\"k\":\"$v\"}"},
        {"\"<${text}|${number}|${yes}|${no}|${empty}>\"", "\"<a$b|1.50|true|false|>\""},
        {"\"${text}${text}\"", "\"a$ba$b\""},
        {"\"$$\"", "\"$\""},
        {"\"$${text}\"", "\"${text}\""},
        {"\"$$$$${text}$$\"", "\"$$a$b$\""},
        {"\"${nul}!\"", "\"x\\u0000y!\""},
        {"{\"${text}\": [\"${text}\", {\"a\": \"${list}\"}]}",
            "{\"${text}\":[\"a$b\",{\"a\":[\"$\",1]}]}"},
    };
    (void)state;
    check_rows(rows, COUNT(rows), (struct scope){0});
}

static void what_cannot_be_filled_in_is_an_error(void **state)
{
    static const struct row rows[] = {
        {"[\"${nosuch}\"]", "t:1:2: variable \"nosuch\" is not set\n    [\"${nosuch}\"]\n     ^\n"},
        {"\"${unset}\"", "t:1:1: variable \"unset\" is not set\n    \"${unset}\"\n    ^\n"},
        {"\"a${list}\"", "t:1:1: variable \"list\" is a list and can only be a whole string\n"
                         "    \"a${list}\"\n    ^\n"},
        {"\"${object}a\"",
            "t:1:1: variable \"object\" is an object and can only be a whole string\n"
            "    \"${object}a\"\n    ^\n"},
        {"\"${text\"", "t:1:1: expected '}' after \"${\" (a dollar sign is written \"$$\")\n"
                       "    \"${text\"\n    ^\n"},
        {"\"$\"", "t:1:1: expected \"${name}\" or \"$$\" after '$'\n    \"$\"\n    ^\n"},
        {"\"$ {text}\"",
            "t:1:1: expected \"${name}\" or \"$$\" after '$'\n    \"$ {text}\"\n    ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows), (struct scope){0});
}

static void a_recipe_leaves_out_what_names_an_unset_parameter(void **state)
{
    static const struct row rows[] = {
        {"\"${unset}\"", "dropped"},
        {"\"a${unset}b\"", "dropped"},
        {"[\"a\", \"${unset}\"]", "dropped"},
        {"{\"a\": \"${unset}\", \"b\": [\"${unset}\"], \"c\": {\"d\": \"${unset}\"}, \"e\": 1}",
            "{\"c\":{},\"e\":1}"},
        {"\"${nosuch}\"", "t:1:1: variable \"nosuch\" is not set\n    \"${nosuch}\"\n    ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows), (struct scope){.drops_unset = true});
}

static void exec_keeps_its_own_names_in_its_parameters_only(void **state)
{
    static const struct row rows[] = {
        {"{\"task\": \"exec\", \"with\": {\"command\": [\"${out}\", \"${in.x}\", \"$$\", "
         "\"${text}\", \"${list}\", \"${out}${text}\"]}}",
            "{\"task\":\"exec\",\"with\":{\"command\":[\"${out}\",\"${in.x}\",\"$$\",\"a$$b\","
            "[\"$$\",1],\"${out}a$$b\"]}}"},
        {"{\"task\": \"exec\", \"in\": {\"x\": \"$$${text}\"}}",
            "{\"in\":{\"x\":\"$a$b\"},\"task\":\"exec\"}"},
        {"{\"task\": \"exec\", \"in\": \"${out}\"}",
            "t:1:24: variable \"out\" is not set\n"
            "    {\"task\": \"exec\", \"in\": \"${out}\"}\n"
            "                           ^\n"},
        {"{\"task\": \"copy\", \"with\": \"${in.x}\"}",
            "t:1:26: variable \"in.x\" is not set\n"
            "    {\"task\": \"copy\", \"with\": \"${in.x}\"}\n"
            "                             ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows), (struct scope){0});
}

static void values_keep_the_place_where_they_were_written(void **state)
{
    struct arena arena = {0};
    const struct json *value = parse(&arena, "t", "[\"${number}\", \"${number}x\"]"), *found;
    struct scope scope = {
        .get = get_member, .context = parse(&arena, "variables", "{\"number\": 12}")};
    (void)state;
    tree_assert_ok(expand_value(&arena, &scope, value, &found));
    tree_assert_report(json_error(&found->items[0], "wrong"), "variables:1:12: wrong\n"
                                                              "    {\"number\": 12}\n"
                                                              "               ^\n");
    tree_assert_report(json_error(&found->items[1], "wrong"),
        "t:1:15: wrong\n"
        "    [\"${number}\", \"${number}x\"]\n"
        "                  ^\n");
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_filled_in_with_their_type),
        cmocka_unit_test(what_cannot_be_filled_in_is_an_error),
        cmocka_unit_test(a_recipe_leaves_out_what_names_an_unset_parameter),
        cmocka_unit_test(exec_keeps_its_own_names_in_its_parameters_only),
        cmocka_unit_test(values_keep_the_place_where_they_were_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
