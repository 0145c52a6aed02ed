/* manifest.c - from the text of psybuild.json to checked declarations. */
#include "engine/manifest/loader.h"

#include <string.h>

#include "base/file_whole.h"
#include "engine/manifest/expand.h"
#include "engine/manifest/recipe.h"
#include "engine/manifest/params.h"

#define CACHE_BYTES_DEFAULT (UINT64_C(20) << 30)

static const char *const cache_keys[] = {"path", "size", NULL};
static const char *const use_keys[] = {"recipe", "from", "with", NULL};

/* ---- recipes ---- */

static struct error *find_recipe(
    struct loader *loader, const struct json *name, struct recipe **out)
{
    for (size_t i = 0; i < loader->recipe_count; i++) {
        if (text_is(name->text, loader->recipes[i]->name)) {
            *out = loader->recipes[i];
            return NULL;
        }
    }
    if (strchr(name->text.bytes, '/') != NULL || loader->recipe_count == INCLUDES_MAX)
        return json_error(name, "no such recipe: \"%s\"", name->text.bytes);
    char *beside = arena_format(loader->arena, "recipes/%s.json", name->text.bytes);
    char *installed = arena_format(
        loader->arena, "%s/recipes/%s.json", loader->options->data_directory, name->text.bytes);
    if (beside == NULL || installed == NULL)
        return error_memory();
    bool is_beside, is_installed;
    TRY(texts_is_file(loader, beside, &is_beside));
    TRY(texts_is_file(loader, installed, &is_installed));
    if (!is_beside && !is_installed)
        return json_error(name, "no such recipe: neither %s nor %s", beside, installed);
    const char *path = is_beside ? beside : installed;
    struct text text;
    TRY(file_read_whole(loader->arena, path, MANIFEST_BYTES_MAX, &text));
    TRY(recipe_parse(loader->arena, name->text.bytes, path, text, out));
    loader->recipes[loader->recipe_count++] = *out;
    return NULL;
}

static struct error *use_recipe(struct loader *loader, const char *name, const struct json *value)
{
    TRY(keys_check(value, use_keys, "a recipe use"));
    struct recipe_use use = {.directory = name,
        .place = value,
        .from = json_get(value, "from"),
        .with = json_get(value, "with")};
    const struct json *recipe_name = json_get(value, "recipe");
    TRY(kind_check(loader->arena, recipe_name, JSON_STRING, "recipe"));
    TRY(kind_check(loader->arena, use.with, JSON_OBJECT, "with"));
    if (use.from == NULL)
        return json_error(value, "a recipe use needs \"from\": the source's name");
    TRY(kind_check(loader->arena, use.from, JSON_STRING, "from"));
    bool is_source = false;
    for (size_t i = 0; i < loader->manifest->source_count; i++) {
        if (!text_is(use.from->text, loader->sources[i].directory))
            continue;
        is_source = true;
        use.from_hub = json_get(loader->sources[i].declaration, "hub");
    }
    for (size_t i = 0; !is_source && i < loader->manifest->node_count; i++)
        is_source = path_is_below(loader->nodes[i].name, use.from->text.bytes);
    if (!is_source)
        return json_error(use.from, "\"%s\" is no source of this manifest", use.from->text.bytes);
    struct recipe *recipe;
    TRY(find_recipe(loader, recipe_name, &recipe));
    const struct json *artifacts;
    TRY(recipe_expand(loader->arena, recipe, &use, &artifacts));
    for (size_t i = 0; i < artifacts->count; i++) {
        const struct json_member *member = &artifacts->members[i];
        if (strlen(member->key.bytes) != member->key.length || !path_is_normal(member->key.bytes))
            return json_error_key(artifacts, member,
                "\"%s\" is no path inside the manifest's directory", member->key.bytes);
        TRY(sections_check_outside_sources(loader, artifacts, member, member->key.bytes));
        TRY(kind_check(loader->arena, &member->value, JSON_OBJECT, member->key.bytes));
        TRY(sections_add_node(loader, member->key.bytes, &member->value, name));
    }
    return NULL;
}

static struct error *add_artifact(
    struct loader *loader, const struct json *artifacts, const struct json_member *member)
{
    const char *name;
    TRY(variables_expand_name(loader, artifacts, member, &name));
    TRY(kind_check(loader->arena, &member->value, JSON_OBJECT, name));
    struct scope scope = {.get = variables_get, .context = loader};
    const struct json *value;
    TRY(expand_node(loader->arena, &scope, &member->value, &value));
    TRY(sections_check_outside_sources(loader, artifacts, member, name));
    if (json_get(value, "recipe") != NULL)
        return use_recipe(loader, name, value);
    return sections_add_node(loader, name, value, NULL);
}

/* ---- the whole ---- */

static struct error *read_sections(struct loader *loader)
{
    for (size_t i = 0; i < loader->root_count; i++) {
        const struct json *sources = json_get(loader->roots[i], "sources");
        TRY(kind_check(loader->arena, sources, JSON_OBJECT, "sources"));
        for (size_t k = 0; sources != NULL && k < sources->count; k++)
            TRY(sections_add_source(loader, sources, &sources->members[k]));
    }
    for (size_t i = 0; i < loader->root_count; i++) {
        const struct json *artifacts = json_get(loader->roots[i], "artifacts");
        TRY(kind_check(loader->arena, artifacts, JSON_OBJECT, "artifacts"));
        for (size_t k = 0; artifacts != NULL && k < artifacts->count; k++)
            TRY(add_artifact(loader, artifacts, &artifacts->members[k]));
    }
    return NULL;
}

static struct error *add_pool(
    struct loader *loader, const struct json *pools, const struct json_member *member)
{
    int64_t depth;
    if (!json_to_i64(&member->value, &depth) || depth < 1 || depth > UINT32_MAX)
        return json_error(&member->value, "pool \"%s\" must have a depth of at least 1, not %s",
            member->key.bytes, json_show(loader->arena, &member->value));
    bool is_taken = text_is(member->key, "console");
    for (size_t i = 0; i < loader->manifest->pool_count; i++)
        is_taken |= text_is(member->key, loader->pools[i].name);
    if (is_taken)
        return json_error_key(pools, member, "there is a pool \"%s\" already", member->key.bytes);
    loader->pools = arena_grow(loader->arena, loader->pools, loader->manifest->pool_count,
        &loader->pool_capacity, sizeof *loader->pools);
    TRY(memory_check(loader->pools));
    loader->pools[loader->manifest->pool_count++] =
        (struct manifest_pool){member->key.bytes, (uint32_t)depth};
    return NULL;
}

static struct error *read_pools(struct loader *loader)
{
    for (size_t i = 0; i < loader->root_count; i++) {
        const struct json *pools = json_get(loader->roots[i], "pools");
        TRY(kind_check(loader->arena, pools, JSON_OBJECT, "pools"));
        for (size_t k = 0; pools != NULL && k < pools->count; k++)
            TRY(add_pool(loader, pools, &pools->members[k]));
    }
    return NULL;
}

static struct error *read_cache_size(
    struct loader *loader, const struct json *size, uint64_t *size_bytes)
{
    int64_t number;
    if (json_to_i64(size, &number) && number > 0)
        *size_bytes = (uint64_t)number;
    else if (size->kind != JSON_STRING || !size_parse(size->text, size_bytes))
        return json_error(size, "\"size\" must be a size such as \"20G\", not %s",
            json_show(loader->arena, size));
    return NULL;
}

/* The top manifest's counts before its includes'. */
static struct error *read_cache(struct loader *loader)
{
    struct manifest_cache *cache = &loader->manifest->cache;
    cache->size_bytes = CACHE_BYTES_DEFAULT;
    for (size_t i = 0; i < loader->root_count && cache->path == NULL; i++) {
        const struct json *object = json_get(loader->roots[i], "cache");
        if (object == NULL)
            continue;
        TRY(variables_expand(loader, object, &object));
        TRY(kind_check(loader->arena, object, JSON_OBJECT, "cache"));
        TRY(keys_check(object, cache_keys, "a cache"));
        const struct json *path = json_get(object, "path"), *size = json_get(object, "size");
        if (path == NULL)
            return json_error(object, "\"cache\" needs a \"path\": a directory");
        TRY(kind_check(loader->arena, path, JSON_STRING, "path"));
        if (path->text.length == 0 || strlen(path->text.bytes) != path->text.length)
            return json_error(path, "\"path\" must be a directory");
        cache->path = path->text.bytes;
        if (size != NULL)
            TRY(read_cache_size(loader, size, &cache->size_bytes));
    }
    return NULL;
}

/* "default" and "rules" count where they come first: the top manifest before its includes. */
static struct error *read_defaults(struct loader *loader)
{
    for (size_t i = 0; i < loader->root_count; i++) {
        const struct json *rules = json_get(loader->roots[i], "rules");
        if (rules != NULL)
            TRY(variables_expand(loader, rules, &rules));
        TRY(kind_check(loader->arena, rules, JSON_STRING, "rules"));
        if (rules != NULL && !path_is_normal(rules->text.bytes))
            return json_error(rules, "\"rules\" must be a path inside the manifest's directory");
        if (rules != NULL && loader->manifest->rules == NULL)
            loader->manifest->rules = rules->text.bytes;
        const struct json *list = json_get(loader->roots[i], "default");
        TRY(kind_check(loader->arena, list, JSON_ARRAY, "default"));
        if (list == NULL || loader->manifest->defaults != NULL)
            continue;
        const struct json **defaults = arena_array(loader->arena, list->count, sizeof *defaults);
        TRY(memory_check(defaults));
        for (size_t k = 0; k < list->count; k++) {
            TRY(variables_expand(loader, &list->items[k], &defaults[k]));
            TRY(kind_check(loader->arena, defaults[k], JSON_STRING, "default"));
        }
        loader->manifest->defaults = defaults;
        loader->manifest->default_count = list->count;
    }
    return NULL;
}

struct error *manifest_load(struct arena *arena, const struct registry *registry,
    const struct manifest_options *options, struct manifest **out)
{
    struct loader *loader = arena_alloc(arena, sizeof *loader);
    struct manifest *manifest = arena_alloc(arena, sizeof *manifest);
    if (loader == NULL || manifest == NULL)
        return error_memory();
    *loader = (struct loader){.arena = arena,
        .registry = registry,
        .options = options,
        .manifest = manifest,
        .variable_by_name = {.arena = arena}};
    manifest->name = options->path;
    TRY(texts_load(loader));
    TRY(texts_name_lock(loader));
    for (size_t i = 0; i < loader->root_count; i++) {
        const struct json *variables = json_get(loader->roots[i], "vars");
        TRY(kind_check(arena, variables, JSON_OBJECT, "vars"));
        TRY(variables_add(loader, variables));
    }
    for (size_t i = 0; i < options->setting_count; i++)
        TRY(variables_set(loader, &options->settings[i]));
    TRY(variables_expand_all(loader));
    TRY(read_pools(loader));
    TRY(read_cache(loader));
    TRY(read_sections(loader));
    TRY(read_defaults(loader));
    manifest->sources = loader->sources;
    manifest->nodes = loader->nodes;
    manifest->pools = loader->pools;
    *out = manifest;
    return NULL;
}
