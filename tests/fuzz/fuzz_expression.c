/* fuzz_expression.c - any bytes as an expression of a rule file, over a configuration of every kind
 * of value: an error in one line, or a value. What is parsed is evaluated twice, to the same value
 * with the same names asked for, all of which it mentions. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"
#include "tasks/formats/expression.h"
#include "tasks/formats/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char config_text[] =
    "{\"a\": 4, \"b\": 0.5, \"c\": true, \"d\": false, \"e\": null, \"f\": \"x\", \"g\": \"\","
    " \"h\": [1, 2.5, \"x\", [7], null], \"i\": [], \"j\": {\"k\": 9, \"l\": null}, \"m\": {},"
    " \"n\": 9223372036854775807, \"o\": 1e400, \"p\": 1000000000000000000000000000000}";

static void must(bool holds)
{
    if (!holds)
        abort();
}

struct asked {
    const struct json *config;
    const struct expression *expression;
    size_t count;
};

static bool is_mentioned(const struct expression *expression, struct text name)
{
    struct text mentioned;
    for (size_t i = 0; (mentioned = expression_name(expression, i)).length > 0; i++)
        if (text_equal(mentioned, name))
            return true;
    return false;
}

static struct error *find(void *context, struct text name, struct value *out)
{
    struct asked *asked = context;
    struct arena arena = {0};
    const char *path = arena_copy(&arena, name.bytes, name.length);
    must(path != NULL && is_mentioned(asked->expression, name));
    *out = value_of_json(json_get_path(asked->config, path));
    asked->count++;
    arena_end(&arena);
    return NULL;
}

static bool has(void *context, const struct pattern *pattern)
{
    (void)context;
    return pattern_match(pattern, TEXT_LITERAL("model.layers.3.q_proj.weight"), NULL);
}

static bool is_fine(struct error *error)
{
    if (error == NULL)
        return true;
    must(error_kind_of(error) == ERROR_FORMAT || error_kind_of(error) == ERROR_USAGE);
    must(error_text(error)[0] != '\0' && strchr(error_text(error), '\n') == NULL);
    error_free(error);
    return false;
}

static bool is_same(const struct value *a, const struct value *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case VALUE_NULL:
        return true;
    case VALUE_BOOL:
        return a->boolean == b->boolean;
    case VALUE_INTEGER:
        return a->integer == b->integer;
    case VALUE_NUMBER:
        return memcmp(&a->number, &b->number, sizeof a->number) == 0 && isfinite(a->number);
    case VALUE_TEXT:
        return text_equal(a->text, b->text);
    case VALUE_TREE:
        return a->tree == b->tree;
    }
    return false;
}

static void evaluate(const struct json *config, const struct expression *expression)
{
    struct asked first = {config, expression, 0}, second = first;
    struct scope scope = {&first, find, has}, again = {&second, find, has};
    struct value value = {.kind = VALUE_NULL}, same = value;
    bool is_true = false;
    int64_t length = -1;
    bool is_valued = is_fine(expression_evaluate(expression, &scope, &value));
    must(is_fine(expression_evaluate(expression, &again, &same)) == is_valued);
    must(is_same(&value, &same) && first.count == second.count);
    must(is_fine(expression_condition(expression, &scope, &is_true)) == is_valued);
    must(is_true == (is_valued && value_is_true(&value)));
    bool is_length = is_fine(expression_integer(expression, &scope, 0, &length));
    must(is_length == (is_valued && value.kind == VALUE_INTEGER && value.integer >= 0));
    must(length == (is_length ? value.integer : -1));
}

/* The bytes as a JSON string; what is no UTF-8 cannot be one. */
static const struct json *quote(struct arena *arena, struct text source)
{
    struct text text;
    const struct json_document *document = NULL;
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_CANONICAL);
    must(writer != NULL);
    json_write_text(writer, source);
    must(json_writer_finish(writer, &text) == NULL);
    must(json_parse(arena, "fuzz.json", text, JSON_STRICT, &document) == NULL);
    return &document->root;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena arena = {0};
    const struct json_document *config = NULL;
    const struct expression *expression = NULL;
    struct text source = {(const char *)bytes, size};
    if (!text_is_utf8(source))
        return -1;
    must(json_parse(&arena, "config.json", text_of(config_text), JSON_TOLERANT, &config) == NULL);
    if (is_fine(expression_parse(&arena, quote(&arena, source), &expression))) {
        must(text_equal(expression_source(expression), source));
        evaluate(&config->root, expression);
    }
    arena_end(&arena);
    return 0;
}
