/* recipe.c - parameters checked, then filled into the recipe's artifacts (expand.h). */
#include "engine/manifest/recipe.h"

#include <string.h>

#include "engine/manifest/expand.h"

static const char *const types[] = {
    "string", "integer", "number", "boolean", "list", "path", "size", NULL};

static size_t count_words(const char *const *words)
{
    size_t count = 0;
    while (words[count] != NULL)
        count++;
    return count;
}

static struct error *check_param(const struct json_member *param)
{
    const struct json *value = &param->value, *type = json_get(value, "type");
    if (value->kind != JSON_OBJECT)
        return json_error(value, "parameter \"%s\" must be an object", param->key.bytes);
    for (size_t i = 0; i < value->count; i++) {
        const char *key = value->members[i].key.bytes;
        if (strcmp(key, "type") != 0 && strcmp(key, "default") != 0 && strcmp(key, "help") != 0)
            return json_error_key(value, &value->members[i], "unknown key \"%s\"", key);
    }
    for (size_t i = 0; json_is(type, JSON_STRING) && i < count_words(types); i++)
        if (text_is(type->text, types[i]))
            return NULL;
    return json_error(type == NULL ? value : type, "\"type\" of a parameter must be one of string, "
                                                   "integer, number, boolean, list, path, size");
}

struct error *recipe_parse(
    struct arena *arena, const char *name, const char *path, struct text text, struct recipe **out)
{
    const struct json_document *document;
    TRY(json_parse(arena, path, text, JSON_STRICT, &document));
    const struct json *root = &document->root;
    if (root->kind != JSON_OBJECT)
        return json_error(root, "a recipe must be an object, not %s", json_kind_name(root->kind));
    for (size_t i = 0; i < root->count; i++) {
        const char *key = root->members[i].key.bytes;
        if (strcmp(key, "params") != 0 && strcmp(key, "artifacts") != 0 &&
            strcmp(key, "help") != 0 && strcmp(key, "$schema") != 0)
            return json_error_key(root, &root->members[i], "unknown key \"%s\"", key);
    }
    struct recipe *recipe = arena_alloc(arena, sizeof *recipe);
    TRY(memory_check(recipe));
    *recipe = (struct recipe){name, path, json_get(root, "params"), json_get(root, "artifacts")};
    if (!json_is(recipe->artifacts, JSON_OBJECT))
        return json_error(root, "a recipe needs an object \"artifacts\"");
    if (recipe->params != NULL && recipe->params->kind != JSON_OBJECT)
        return json_error(recipe->params, "\"params\" must be an object");
    for (size_t i = 0; recipe->params != NULL && i < recipe->params->count; i++)
        TRY(check_param(&recipe->params->members[i]));
    *out = recipe;
    return NULL;
}

static bool has_type(const struct json *value, struct text type)
{
    if (text_is(type, "string") || text_is(type, "path"))
        return value->kind == JSON_STRING;
    if (text_is(type, "integer"))
        return value->kind == JSON_NUMBER && value->is_integer;
    if (text_is(type, "number"))
        return value->kind == JSON_NUMBER;
    if (text_is(type, "boolean"))
        return value->kind == JSON_BOOL;
    if (text_is(type, "list"))
        return value->kind == JSON_ARRAY;
    return value->kind == JSON_STRING ||
           (value->kind == JSON_NUMBER && value->is_integer); /* size */
}

static struct error *check_use(
    struct arena *arena, const struct recipe *recipe, const struct json *with)
{
    size_t known = recipe->params == NULL ? 0 : recipe->params->count;
    const char **names = arena_array(arena, known + 1, sizeof *names);
    TRY(memory_check(names));
    for (size_t i = 0; i < known; i++)
        names[i] = recipe->params->members[i].key.bytes;
    for (size_t i = 0; with != NULL && i < with->count; i++) {
        const struct json_member *member = &with->members[i];
        const struct json *param = json_get(recipe->params, member->key.bytes);
        const char *near = text_suggest(member->key.bytes, names, known);
        if (param == NULL && near != NULL)
            return json_error_key(with, member,
                "recipe \"%s\" has no parameter \"%s\"; did you mean \"%s\"?", recipe->name,
                member->key.bytes, near);
        if (param == NULL)
            return json_error_key(with, member, "recipe \"%s\" has no parameter \"%s\"",
                recipe->name, member->key.bytes);
        struct text type = json_get(param, "type")->text;
        if (!has_type(&member->value, type))
            return json_error(&member->value, "\"%s\" must be %s %s, not %s", member->key.bytes,
                text_is(type, "integer") ? "an" : "a", type.bytes,
                json_show(arena, &member->value));
    }
    return NULL;
}

struct recipe_scope {
    const struct recipe *recipe;
    const struct recipe_use *use;
    const struct json *directory;
};

static const struct json *get_variable(const void *context, struct text name, bool *is_known)
{
    const struct recipe_scope *scope = context;
    *is_known = true;
    if (text_is(name, "dir"))
        return scope->directory;
    if (text_is(name, "from"))
        return scope->use->from;
    if (text_is(name, "from.hub"))
        return scope->use->from_hub;
    const struct json *params = scope->recipe->params;
    for (size_t i = 0; params != NULL && i < params->count; i++) {
        if (!text_equal(params->members[i].key, name))
            continue;
        const struct json *given = json_get(scope->use->with, params->members[i].key.bytes);
        return given != NULL ? given : json_get(&params->members[i].value, "default");
    }
    *is_known = false;
    return NULL;
}

/* The path of an artifact: "${dir}/config.json". */
static struct error *expand_key(struct arena *arena, const struct scope *scope,
    const struct json_member *member, struct text *out)
{
    struct json key = {.kind = JSON_STRING,
        .text = member->key,
        .offset = member->key_offset,
        .document = member->value.document};
    const struct json *expanded;
    TRY(expand_value(arena, scope, &key, &expanded));
    if (!json_is(expanded, JSON_STRING))
        return json_error(&key, "the name of an artifact must be a string");
    *out = expanded->text;
    return NULL;
}

struct error *recipe_expand(struct arena *arena, const struct recipe *recipe,
    const struct recipe_use *use, const struct json **artifacts)
{
    TRY(check_use(arena, recipe, use->with));
    struct recipe_scope variables = {
        recipe, use, json_new_string(arena, use->place, use->directory)};
    struct json *made = arena_alloc(arena, sizeof *made);
    struct json_member *members = arena_array(arena, recipe->artifacts->count, sizeof *members);
    if (variables.directory == NULL || made == NULL || members == NULL)
        return error_memory();
    size_t count = 0;
    for (size_t i = 0; i < recipe->artifacts->count; i++) {
        const struct json_member *member = &recipe->artifacts->members[i];
        const struct json *value;
        struct scope scope = {.get = get_variable, .context = &variables, .drops_unset = true};
        members[count] = *member;
        TRY(expand_key(arena, &scope, member, &members[count].key));
        TRY(expand_node(arena, &scope, &member->value, &value));
        if (value == NULL)
            continue;
        members[count++].value = *value;
    }
    *made = *recipe->artifacts;
    made->members = members;
    made->count = count;
    made->sorted = NULL;
    *artifacts = made;
    return NULL;
}
