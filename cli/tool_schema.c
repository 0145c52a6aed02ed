/* tool_schema.c - `-t schema`: the manifest's JSON Schema, from the tables of the registry.
 *
 * Any value may be a variable: beside each type that is no free string stands the pattern of
 * "${name}". What a schema cannot say (that a path is known, that nodes do not clash) is left to
 * the program. */
#include <assert.h>
#include <string.h>

#include "base/json_write.h"
#include "cli/tool_table.h"

/* ---- pieces of a schema ---- */

static void put_string(struct json_writer *writer, const char *key, const char *value)
{
    json_write_key(writer, text_of(key));
    json_write_string(writer, value);
}

static void put_bool(struct json_writer *writer, const char *key, bool value)
{
    json_write_key(writer, text_of(key));
    json_write_bool(writer, value);
}

static void begin(struct json_writer *writer, const char *key)
{
    json_write_key(writer, text_of(key));
    json_write_object_begin(writer);
}

static void begin_list(struct json_writer *writer, const char *key)
{
    json_write_key(writer, text_of(key));
    json_write_array_begin(writer);
}

static void end(struct json_writer *writer)
{
    json_write_object_end(writer);
}

static void put_reference(struct json_writer *writer, const char *key, const char *definition)
{
    begin(writer, key);
    put_string(writer, "$ref", definition);
    end(writer);
}

static void put_typed(
    struct json_writer *writer, const char *key, const char *type, const char *description)
{
    begin(writer, key);
    put_string(writer, "type", type);
    put_string(writer, "description", description);
    end(writer);
}

static void put_words(struct json_writer *writer, const char *const *words)
{
    begin_list(writer, "enum");
    for (size_t i = 0; words[i] != NULL; i++)
        json_write_string(writer, words[i]);
    json_write_array_end(writer);
}

static void put_variable(struct json_writer *writer)
{
    json_write_object_begin(writer);
    put_string(writer, "$ref", "#/$defs/variable");
    end(writer);
}

/* ---- parameters ---- */

static void put_params(struct json_writer *writer, const struct param_spec *params);

/* A switch, so that the compiler misses a type that is new. */
static const char *type_name(enum param_type type)
{
    switch (type) {
    case PARAM_INTEGER:
        return "integer";
    case PARAM_NUMBER:
        return "number";
    case PARAM_BOOLEAN:
        return "boolean";
    case PARAM_LIST:
    case PARAM_ENVIRONMENT:
        return "array";
    case PARAM_OBJECT:
        return "object";
    case PARAM_STRING:
    case PARAM_PATH:
    case PARAM_SIZE:
        return "string";
    }
    return "string";
}

static void put_type(struct json_writer *writer, const struct param_spec *spec)
{
    if (spec->words != NULL) {
        put_words(writer, spec->words);
        return;
    }
    if (spec->integers != NULL) {
        begin_list(writer, "enum");
        for (size_t i = 0; spec->integers[i] >= 0; i++)
            json_write_i64(writer, spec->integers[i]);
        json_write_array_end(writer);
        return;
    }
    put_string(writer, "type", type_name(spec->type));
    if (spec->type == PARAM_INTEGER) {
        json_write_key(writer, TEXT_LITERAL("minimum"));
        json_write_u64(writer, 0);
    }
    if (spec->type != PARAM_LIST && spec->type != PARAM_ENVIRONMENT)
        return;
    begin(writer, "items");
    if (spec->entries != NULL)
        put_params(writer, spec->entries);
    else
        put_string(writer, "type", "string");
    end(writer);
}

static void put_param(struct json_writer *writer, const struct param_spec *spec)
{
    bool is_free = spec->words == NULL && (spec->type == PARAM_STRING || spec->type == PARAM_PATH);
    begin(writer, spec->name);
    if (spec->help != NULL)
        put_string(writer, "description", spec->help);
    if (is_free) {
        put_string(writer, "type", "string");
        end(writer);
        return;
    }
    begin_list(writer, "anyOf");
    if (spec->type != PARAM_SIZE || spec->words != NULL) {
        json_write_object_begin(writer);
        put_type(writer, spec);
        end(writer);
    }
    if (spec->type == PARAM_SIZE) {
        json_write_object_begin(writer);
        put_string(writer, "$ref", "#/$defs/size");
        end(writer);
    }
    put_variable(writer);
    json_write_array_end(writer);
    end(writer);
}

/* The keywords of an object with these members, into an object that is open. */
static void put_params(struct json_writer *writer, const struct param_spec *params)
{
    put_string(writer, "type", "object");
    put_bool(writer, "additionalProperties", false);
    begin(writer, "properties");
    for (const struct param_spec *spec = params; spec != NULL && spec->name != NULL; spec++)
        put_param(writer, spec);
    end(writer);
    bool is_open = false;
    for (const struct param_spec *spec = params; spec != NULL && spec->name != NULL; spec++) {
        if (!spec->is_required)
            continue;
        if (!is_open)
            begin_list(writer, "required");
        is_open = true;
        json_write_string(writer, spec->name);
    }
    if (is_open)
        json_write_array_end(writer);
}

/* ---- sources ---- */

static void put_source_kind(struct json_writer *writer, const struct source_kind *kind)
{
    json_write_object_begin(writer);
    put_string(writer, "type", "object");
    put_bool(writer, "additionalProperties", false);
    begin_list(writer, "required");
    json_write_string(writer, kind->key);
    json_write_array_end(writer);
    begin(writer, "properties");
    begin(writer, kind->key);
    if (kind->help != NULL)
        put_string(writer, "description", kind->help);
    end(writer);
    for (const struct param_spec *spec = kind->params; spec != NULL && spec->name != NULL; spec++)
        put_param(writer, spec);
    end(writer);
    end(writer);
}

static void put_sources(struct json_writer *writer, const struct registry *registry)
{
    static const struct param_spec no_params[] = {{.name = NULL}};
    static const struct source_kind directory = {.key = "dir",
        .params = no_params,
        .help = "a directory on disk, read in place and never written"};
    begin(writer, "source");
    begin_list(writer, "oneOf");
    for (const struct source_kind *const *kind = registry->sources; *kind != NULL; kind++)
        put_source_kind(writer, *kind);
    put_source_kind(writer, &directory);
    json_write_array_end(writer);
    end(writer);
}

/* ---- nodes ---- */

static void put_role(struct json_writer *writer, const struct role_spec *role, const char *mark)
{
    char name[128];
    size_t length = strlen(role->name);
    assert(length + strlen(mark) < sizeof name);
    memcpy(name, role->name, length);
    memcpy(name + length, mark, strlen(mark) + 1);
    begin(writer, name);
    if (role->help != NULL)
        put_string(writer, "description", role->help);
    put_string(writer, "$ref", "#/$defs/paths");
    end(writer);
}

static void put_roles(struct json_writer *writer, const struct task_type *type)
{
    begin(writer, "in");
    put_string(writer, "type", "object");
    if (type->takes_any_role) {
        put_reference(writer, "additionalProperties", "#/$defs/paths");
        end(writer);
        return;
    }
    put_bool(writer, "additionalProperties", false);
    begin(writer, "properties");
    for (const struct role_spec *role = type->roles; role != NULL && role->name != NULL; role++) {
        put_role(writer, role, "");
        put_role(writer, role, "?");
    }
    end(writer);
    end(writer);
}

/* "if the task is this one, then its roles and parameters are these" */
static void put_task(struct json_writer *writer, const struct task_type *type)
{
    json_write_object_begin(writer);
    begin(writer, "if");
    begin(writer, "properties");
    begin(writer, "task");
    put_string(writer, "const", type->name);
    end(writer);
    end(writer);
    end(writer);
    begin(writer, "then");
    put_string(writer, "description", type->help == NULL ? type->name : type->help);
    begin(writer, "properties");
    put_roles(writer, type);
    begin(writer, "with");
    put_params(writer, type->params);
    end(writer);
    end(writer);
    end(writer);
    end(writer);
}

static bool is_for_manifests(const struct registry *registry, const struct task_type *type)
{
    return strcmp(type->name, registry->fetch_task) != 0;
}

static void put_node_keys(struct json_writer *writer, const struct registry *registry)
{
    static const char *const keeps[] = {"always", "until-used", "never", NULL};
    begin(writer, "task");
    begin_list(writer, "enum");
    for (const struct task_type *const *type = registry->types; *type != NULL; type++)
        if (is_for_manifests(registry, *type))
            json_write_string(writer, (*type)->name);
    json_write_array_end(writer);
    end(writer);
    put_typed(writer, "in", "object", "role -> path, list of paths, or glob");
    put_typed(writer, "with", "object", "the task's parameters");
    put_typed(writer, "when", "string", "the node exists only if this path or glob is there");
    put_typed(writer, "group", "string", "a directory whose nodes are sealed together");
    begin(writer, "keep");
    put_string(writer, "description",
        "\"until-used\": removed when every reader has had it; \"never\": a view, which its "
        "readers "
        "see through");
    put_words(writer, keeps);
    end(writer);
    put_typed(writer, "pool", "string", "one of \"pools\", or \"console\"");
    begin(writer, "hash");
    put_string(writer, "description", "expected of the single output");
    put_string(writer, "type", "string");
    put_string(writer, "pattern", "^sha256:[0-9a-f]{64}$");
    end(writer);
}

static void put_node(struct json_writer *writer, const struct registry *registry)
{
    begin(writer, "node");
    put_string(writer, "type", "object");
    put_bool(writer, "additionalProperties", false);
    begin_list(writer, "required");
    json_write_string(writer, "task");
    json_write_array_end(writer);
    begin(writer, "properties");
    put_node_keys(writer, registry);
    end(writer);
    begin_list(writer, "allOf");
    for (const struct task_type *const *type = registry->types; *type != NULL; type++)
        if (is_for_manifests(registry, *type))
            put_task(writer, *type);
    json_write_array_end(writer);
    end(writer);
}

static void put_recipe_use(struct json_writer *writer)
{
    begin(writer, "recipe-use");
    put_string(writer, "type", "object");
    put_bool(writer, "additionalProperties", false);
    begin_list(writer, "required");
    json_write_string(writer, "recipe");
    json_write_string(writer, "from");
    json_write_array_end(writer);
    begin(writer, "properties");
    put_typed(writer, "recipe", "string", "recipes/NAME.json, such as mlx or merged");
    put_typed(writer, "from", "string", "the source's name");
    put_typed(writer, "with", "object", "the recipe's parameters");
    end(writer);
    end(writer);
}

/* ---- the whole ---- */

static void put_map(
    struct json_writer *writer, const char *key, const char *definition, const char *description)
{
    begin(writer, key);
    put_string(writer, "description", description);
    put_string(writer, "type", "object");
    put_reference(writer, "additionalProperties", definition);
    end(writer);
}

static void put_names(struct json_writer *writer, const char *key, const char *description)
{
    begin(writer, key);
    put_string(writer, "description", description);
    put_string(writer, "type", "array");
    begin(writer, "items");
    put_string(writer, "type", "string");
    end(writer);
    end(writer);
}

static void put_cache(struct json_writer *writer)
{
    begin(writer, "cache");
    put_string(writer, "description", "where replaced outputs go, to be had back");
    put_string(writer, "type", "object");
    put_bool(writer, "additionalProperties", false);
    begin_list(writer, "required");
    json_write_string(writer, "path");
    json_write_array_end(writer);
    begin(writer, "properties");
    put_typed(writer, "path", "string", "a directory, made when it is needed");
    put_reference(writer, "size", "#/$defs/size");
    end(writer);
    end(writer);
}

static void put_pools(struct json_writer *writer)
{
    begin(writer, "pools");
    put_string(writer, "description", "name -> how many of its nodes may be at work at a time");
    put_string(writer, "type", "object");
    begin(writer, "additionalProperties");
    put_string(writer, "type", "integer");
    json_write_key(writer, TEXT_LITERAL("minimum"));
    json_write_u64(writer, 1);
    end(writer);
    end(writer);
}

static void put_top(struct json_writer *writer)
{
    begin_list(writer, "required");
    json_write_string(writer, "psybuild");
    json_write_array_end(writer);
    put_bool(writer, "additionalProperties", false);
    begin(writer, "properties");
    put_typed(writer, "$schema", "string", "for editors; ignored");
    begin(writer, "psybuild");
    put_string(writer, "description", "version of this format");
    json_write_key(writer, TEXT_LITERAL("const"));
    json_write_u64(writer, 1);
    end(writer);
    put_typed(writer, "vars", "object", "name -> value, for \"${name}\" in any string");
    put_names(writer, "include", "other manifests, merged");
    put_map(writer, "sources", "#/$defs/source", "directory -> where its files come from");
    put_map(writer, "artifacts", "#/$defs/artifact", "path -> what makes it");
    put_names(writer, "default", "what is made when no target is given");
    put_typed(
        writer, "rules", "string", "a directory of rules that comes before the installed ones");
    put_cache(writer);
    put_pools(writer);
    end(writer);
}

static void put_common(struct json_writer *writer)
{
    begin(writer, "variable");
    put_string(writer, "type", "string");
    put_string(writer, "pattern", "^\\$\\{[^}]+\\}$");
    end(writer);
    begin(writer, "size");
    put_string(writer, "description", "bytes, or a number with K, M, G or T: powers of 1024");
    begin_list(writer, "type");
    json_write_string(writer, "integer");
    json_write_string(writer, "string");
    json_write_array_end(writer);
    json_write_key(writer, TEXT_LITERAL("minimum"));
    json_write_u64(writer, 0);
    put_string(writer, "pattern", "^[0-9]+(\\.[0-9]+)? ?([KMGTkmgt]?(i?[Bb])?)$");
    end(writer);
    begin(writer, "paths");
    begin_list(writer, "type");
    json_write_string(writer, "string");
    json_write_string(writer, "array");
    json_write_array_end(writer);
    begin(writer, "items");
    put_string(writer, "type", "string");
    end(writer);
    end(writer);
    begin(writer, "artifact");
    begin(writer, "if");
    begin_list(writer, "required");
    json_write_string(writer, "recipe");
    json_write_array_end(writer);
    end(writer);
    put_reference(writer, "then", "#/$defs/recipe-use");
    put_reference(writer, "else", "#/$defs/node");
    end(writer);
}

static struct error *run(struct cli *cli)
{
    struct tool_words words;
    struct json_writer *writer = json_writer_new(cli->arena, &JSON_STYLE_PRETTY);
    struct text text;
    TRY(tool_words(cli, NULL, &words));
    TRY(tool_expect_words(cli, &words, 0, 0));
    if (writer == NULL)
        return error_memory();
    json_write_object_begin(writer);
    put_string(writer, "$schema", "https://json-schema.org/draft/2020-12/schema");
    put_string(writer, "title", "psybuild manifest");
    put_string(writer, "type", "object");
    put_top(writer);
    begin(writer, "$defs");
    put_common(writer);
    put_sources(writer, cli->registry);
    put_recipe_use(writer);
    put_node(writer, cli->registry);
    end(writer);
    end(writer);
    TRY(json_writer_finish(writer, &text));
    terminal_put_text(cli->terminal, text);
    terminal_say(cli->terminal, TONE_PLAIN, "%s", "");
    return NULL;
}

const struct tool tool_schema = {
    .name = "schema", .usage = "", .help = "the manifest's JSON Schema", .run = run};
