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

static void put_reference(struct json_writer *writer, const char *key, const char *definition)
{
    json_member_object_begin(writer, key);
    json_member_string(writer, "$ref", definition);
    json_write_object_end(writer);
}

static void put_typed(
    struct json_writer *writer, const char *key, const char *type, const char *description)
{
    json_member_object_begin(writer, key);
    json_member_string(writer, "type", type);
    json_member_string(writer, "description", description);
    json_write_object_end(writer);
}

static void put_words(struct json_writer *writer, const char *const *words)
{
    json_member_array_begin(writer, "enum");
    for (size_t i = 0; words[i] != NULL; i++)
        json_write_string(writer, words[i]);
    json_write_array_end(writer);
}

static void put_variable(struct json_writer *writer)
{
    json_write_object_begin(writer);
    json_member_string(writer, "$ref", "#/$defs/variable");
    json_write_object_end(writer);
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
        json_member_array_begin(writer, "enum");
        for (size_t i = 0; spec->integers[i] >= 0; i++)
            json_write_i64(writer, spec->integers[i]);
        json_write_array_end(writer);
        return;
    }
    json_member_string(writer, "type", type_name(spec->type));
    if (spec->type == PARAM_INTEGER) {
        json_member_u64(writer, "minimum", 0);
    }
    if (spec->type != PARAM_LIST && spec->type != PARAM_ENVIRONMENT)
        return;
    json_member_object_begin(writer, "items");
    if (spec->entries != NULL)
        put_params(writer, spec->entries);
    else
        json_member_string(writer, "type", "string");
    json_write_object_end(writer);
}

static void put_param(struct json_writer *writer, const struct param_spec *spec)
{
    bool is_free = spec->words == NULL && (spec->type == PARAM_STRING || spec->type == PARAM_PATH);
    json_member_object_begin(writer, spec->name);
    if (spec->help != NULL)
        json_member_string(writer, "description", spec->help);
    if (is_free) {
        json_member_string(writer, "type", "string");
        json_write_object_end(writer);
        return;
    }
    json_member_array_begin(writer, "anyOf");
    if (spec->type != PARAM_SIZE || spec->words != NULL) {
        json_write_object_begin(writer);
        put_type(writer, spec);
        json_write_object_end(writer);
    }
    if (spec->type == PARAM_SIZE) {
        json_write_object_begin(writer);
        json_member_string(writer, "$ref", "#/$defs/size");
        json_write_object_end(writer);
    }
    put_variable(writer);
    json_write_array_end(writer);
    json_write_object_end(writer);
}

/* The keywords of an object with these members, into an object that is open. */
static void put_params(struct json_writer *writer, const struct param_spec *params)
{
    json_member_string(writer, "type", "object");
    json_member_bool(writer, "additionalProperties", false);
    json_member_object_begin(writer, "properties");
    for (const struct param_spec *spec = params; spec != NULL && spec->name != NULL; spec++)
        put_param(writer, spec);
    json_write_object_end(writer);
    bool is_open = false;
    for (const struct param_spec *spec = params; spec != NULL && spec->name != NULL; spec++) {
        if (!spec->is_required)
            continue;
        if (!is_open)
            json_member_array_begin(writer, "required");
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
    json_member_string(writer, "type", "object");
    json_member_bool(writer, "additionalProperties", false);
    json_member_array_begin(writer, "required");
    json_write_string(writer, kind->key);
    json_write_array_end(writer);
    json_member_object_begin(writer, "properties");
    json_member_object_begin(writer, kind->key);
    if (kind->help != NULL)
        json_member_string(writer, "description", kind->help);
    json_write_object_end(writer);
    for (const struct param_spec *spec = kind->params; spec != NULL && spec->name != NULL; spec++)
        put_param(writer, spec);
    json_write_object_end(writer);
    json_write_object_end(writer);
}

static void put_sources(struct json_writer *writer, const struct registry *registry)
{
    static const struct param_spec no_params[] = {{.name = NULL}};
    static const struct source_kind directory = {.key = "dir",
        .params = no_params,
        .help = "a directory on disk, read in place and never written"};
    json_member_object_begin(writer, "source");
    json_member_array_begin(writer, "oneOf");
    for (const struct source_kind *const *kind = registry->sources; *kind != NULL; kind++)
        put_source_kind(writer, *kind);
    put_source_kind(writer, &directory);
    json_write_array_end(writer);
    json_write_object_end(writer);
}

/* ---- nodes ---- */

static void put_role(struct json_writer *writer, const struct role_spec *role, const char *mark)
{
    char name[128];
    size_t length = strlen(role->name);
    assert(length + strlen(mark) < sizeof name);
    memcpy(name, role->name, length);
    memcpy(name + length, mark, strlen(mark) + 1);
    json_member_object_begin(writer, name);
    if (role->help != NULL)
        json_member_string(writer, "description", role->help);
    json_member_string(writer, "$ref", "#/$defs/paths");
    json_write_object_end(writer);
}

static void put_roles(struct json_writer *writer, const struct task_type *type)
{
    json_member_object_begin(writer, "in");
    json_member_string(writer, "type", "object");
    if (type->takes_any_role) {
        put_reference(writer, "additionalProperties", "#/$defs/paths");
        json_write_object_end(writer);
        return;
    }
    json_member_bool(writer, "additionalProperties", false);
    json_member_object_begin(writer, "properties");
    for (const struct role_spec *role = type->roles; role != NULL && role->name != NULL; role++) {
        put_role(writer, role, "");
        put_role(writer, role, "?");
    }
    json_write_object_end(writer);
    json_write_object_end(writer);
}

/* "if the task is this one, then its roles and parameters are these" */
static void put_task(struct json_writer *writer, const struct task_type *type)
{
    json_write_object_begin(writer);
    json_member_object_begin(writer, "if");
    json_member_object_begin(writer, "properties");
    json_member_object_begin(writer, "task");
    json_member_string(writer, "const", type->name);
    json_write_object_end(writer);
    json_write_object_end(writer);
    json_write_object_end(writer);
    json_member_object_begin(writer, "then");
    json_member_string(writer, "description", type->help == NULL ? type->name : type->help);
    json_member_object_begin(writer, "properties");
    put_roles(writer, type);
    json_member_object_begin(writer, "with");
    put_params(writer, type->params);
    json_write_object_end(writer);
    json_write_object_end(writer);
    json_write_object_end(writer);
    json_write_object_end(writer);
}

static bool is_for_manifests(const struct registry *registry, const struct task_type *type)
{
    return strcmp(type->name, registry->fetch_task) != 0;
}

static void put_node_keys(struct json_writer *writer, const struct registry *registry)
{
    static const char *const keeps[] = {"always", "until-used", "never", NULL};
    json_member_object_begin(writer, "task");
    json_member_array_begin(writer, "enum");
    for (const struct task_type *const *type = registry->types; *type != NULL; type++)
        if (is_for_manifests(registry, *type))
            json_write_string(writer, (*type)->name);
    json_write_array_end(writer);
    json_write_object_end(writer);
    put_typed(writer, "in", "object", "role -> path, list of paths, or glob");
    put_typed(writer, "with", "object", "the task's parameters");
    put_typed(writer, "when", "string", "the node exists only if this path or glob is there");
    put_typed(writer, "group", "string", "a directory whose nodes are sealed together");
    json_member_object_begin(writer, "keep");
    json_member_string(writer, "description",
        "\"until-used\": removed when every reader has had it; \"never\": a view, which its "
        "readers "
        "see through");
    put_words(writer, keeps);
    json_write_object_end(writer);
    put_typed(writer, "pool", "string", "one of \"pools\", or \"console\"");
    json_member_object_begin(writer, "hash");
    json_member_string(writer, "description", "expected of the single output");
    json_member_string(writer, "type", "string");
    json_member_string(writer, "pattern", "^sha256:[0-9a-f]{64}$");
    json_write_object_end(writer);
}

static void put_node(struct json_writer *writer, const struct registry *registry)
{
    json_member_object_begin(writer, "node");
    json_member_string(writer, "type", "object");
    json_member_bool(writer, "additionalProperties", false);
    json_member_array_begin(writer, "required");
    json_write_string(writer, "task");
    json_write_array_end(writer);
    json_member_object_begin(writer, "properties");
    put_node_keys(writer, registry);
    json_write_object_end(writer);
    json_member_array_begin(writer, "allOf");
    for (const struct task_type *const *type = registry->types; *type != NULL; type++)
        if (is_for_manifests(registry, *type))
            put_task(writer, *type);
    json_write_array_end(writer);
    json_write_object_end(writer);
}

static void put_recipe_use(struct json_writer *writer)
{
    json_member_object_begin(writer, "recipe-use");
    json_member_string(writer, "type", "object");
    json_member_bool(writer, "additionalProperties", false);
    json_member_array_begin(writer, "required");
    json_write_string(writer, "recipe");
    json_write_string(writer, "from");
    json_write_array_end(writer);
    json_member_object_begin(writer, "properties");
    put_typed(writer, "recipe", "string", "recipes/NAME.json, such as mlx or merged");
    put_typed(writer, "from", "string", "the source's name");
    put_typed(writer, "with", "object", "the recipe's parameters");
    json_write_object_end(writer);
    json_write_object_end(writer);
}

/* ---- the whole ---- */

static void put_map(
    struct json_writer *writer, const char *key, const char *definition, const char *description)
{
    json_member_object_begin(writer, key);
    json_member_string(writer, "description", description);
    json_member_string(writer, "type", "object");
    put_reference(writer, "additionalProperties", definition);
    json_write_object_end(writer);
}

static void put_names(struct json_writer *writer, const char *key, const char *description)
{
    json_member_object_begin(writer, key);
    json_member_string(writer, "description", description);
    json_member_string(writer, "type", "array");
    json_member_object_begin(writer, "items");
    json_member_string(writer, "type", "string");
    json_write_object_end(writer);
    json_write_object_end(writer);
}

static void put_cache(struct json_writer *writer)
{
    json_member_object_begin(writer, "cache");
    json_member_string(writer, "description", "where replaced outputs go, to be had back");
    json_member_string(writer, "type", "object");
    json_member_bool(writer, "additionalProperties", false);
    json_member_array_begin(writer, "required");
    json_write_string(writer, "path");
    json_write_array_end(writer);
    json_member_object_begin(writer, "properties");
    put_typed(writer, "path", "string", "a directory, made when it is needed");
    put_reference(writer, "size", "#/$defs/size");
    json_write_object_end(writer);
    json_write_object_end(writer);
}

static void put_pools(struct json_writer *writer)
{
    json_member_object_begin(writer, "pools");
    json_member_string(
        writer, "description", "name -> how many of its nodes may be at work at a time");
    json_member_string(writer, "type", "object");
    json_member_object_begin(writer, "additionalProperties");
    json_member_string(writer, "type", "integer");
    json_member_u64(writer, "minimum", 1);
    json_write_object_end(writer);
    json_write_object_end(writer);
}

static void put_top(struct json_writer *writer)
{
    json_member_array_begin(writer, "required");
    json_write_string(writer, "psybuild");
    json_write_array_end(writer);
    json_member_bool(writer, "additionalProperties", false);
    json_member_object_begin(writer, "properties");
    put_typed(writer, "$schema", "string", "for editors; ignored");
    json_member_object_begin(writer, "psybuild");
    json_member_string(writer, "description", "version of this format");
    json_member_u64(writer, "const", 1);
    json_write_object_end(writer);
    put_typed(writer, "vars", "object", "name -> value, for \"${name}\" in any string");
    put_names(writer, "include", "other manifests, merged");
    put_map(writer, "sources", "#/$defs/source", "directory -> where its files come from");
    put_map(writer, "artifacts", "#/$defs/artifact", "path -> what makes it");
    put_names(writer, "default", "what is made when no target is given");
    put_typed(
        writer, "rules", "string", "a directory of rules that comes before the installed ones");
    put_cache(writer);
    put_pools(writer);
    json_write_object_end(writer);
}

static void put_common(struct json_writer *writer)
{
    json_member_object_begin(writer, "variable");
    json_member_string(writer, "type", "string");
    json_member_string(writer, "pattern", "^\\$\\{[^}]+\\}$");
    json_write_object_end(writer);
    json_member_object_begin(writer, "size");
    json_member_string(
        writer, "description", "bytes, or a number with K, M, G or T: powers of 1024");
    json_member_array_begin(writer, "type");
    json_write_string(writer, "integer");
    json_write_string(writer, "string");
    json_write_array_end(writer);
    json_member_u64(writer, "minimum", 0);
    json_member_string(writer, "pattern", "^[0-9]+(\\.[0-9]+)? ?([KMGTkmgt]?(i?[Bb])?)$");
    json_write_object_end(writer);
    json_member_object_begin(writer, "paths");
    json_member_array_begin(writer, "type");
    json_write_string(writer, "string");
    json_write_string(writer, "array");
    json_write_array_end(writer);
    json_member_object_begin(writer, "items");
    json_member_string(writer, "type", "string");
    json_write_object_end(writer);
    json_write_object_end(writer);
    json_member_object_begin(writer, "artifact");
    json_member_object_begin(writer, "if");
    json_member_array_begin(writer, "required");
    json_write_string(writer, "recipe");
    json_write_array_end(writer);
    json_write_object_end(writer);
    put_reference(writer, "then", "#/$defs/recipe-use");
    put_reference(writer, "else", "#/$defs/node");
    json_write_object_end(writer);
}

static struct error *run(struct cli *cli)
{
    struct tool_words words;
    struct json_writer *writer = json_writer_new(cli->arena, &JSON_STYLE_PRETTY);
    struct text text;
    TRY(tool_words(cli, NULL, &words));
    TRY(tool_expect_words(cli, &words, 0, 0));
    TRY(memory_check(writer));
    json_write_object_begin(writer);
    json_member_string(writer, "$schema", "https://json-schema.org/draft/2020-12/schema");
    json_member_string(writer, "title", "psybuild manifest");
    json_member_string(writer, "type", "object");
    put_top(writer);
    json_member_object_begin(writer, "$defs");
    put_common(writer);
    put_sources(writer, cli->registry);
    put_recipe_use(writer);
    put_node(writer, cli->registry);
    json_write_object_end(writer);
    json_write_object_end(writer);
    TRY(json_writer_finish(writer, &text));
    terminal_put_text(cli->terminal, text);
    terminal_say(cli->terminal, TONE_PLAIN, "%s", "");
    return NULL;
}

const struct tool tool_schema = {
    .name = "schema", .usage = "", .help = "the manifest's JSON Schema", .run = run};
