/* manifest.c - from the text of psybuild.json to checked declarations. */
#include "engine/manifest/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "base/file_whole.h"
#include "base/map.h"
#include "engine/manifest/expand.h"
#include "engine/manifest/recipe.h"
#include "engine/manifest/params.h"

enum { INCLUDES_MAX = 64, MANIFEST_BYTES_MAX = 16 << 20 };
#define CACHE_BYTES_DEFAULT (UINT64_C(20) << 30)

static const char *const top_keys[] = {"psybuild", "vars", "include", "sources", "artifacts",
    "default", "rules", "cache", "pools", "$schema", NULL};
static const char *const node_keys[] = {
    "task", "in", "with", "when", "group", "keep", "hash", "pool", NULL};
static const char *const cache_keys[] = {"path", "size", NULL};
static const char *const use_keys[] = {"recipe", "from", "with", NULL};
static const char *const dir_keys[] = {"dir", NULL};

struct variable {
    const struct json *value;
    bool is_set; /* by --set: taken as it is */
};

struct loader {
    struct arena *arena;
    const struct registry *registry;
    const struct manifest_options *options;
    struct manifest *manifest;
    const struct json *roots[INCLUDES_MAX]; /* the top manifest's first */
    size_t root_count;
    size_t watch_capacity;
    struct map variable_by_name;
    struct variable *variables;
    size_t variable_count, variable_capacity;
    size_t variables_ready; /* expanded: those that texts may use */
    struct manifest_source *sources;
    size_t source_capacity;
    struct manifest_node *nodes;
    size_t node_capacity;
    struct manifest_pool *pools;
    size_t pool_capacity;
    struct recipe *recipes[INCLUDES_MAX];
    size_t recipe_count;
};

/* ---- reading the texts ---- */

/* Whether a text is there; either way its appearing, changing or vanishing is watched. */
static struct error *is_file(struct loader *loader, const char *path, bool *out)
{
    struct manifest *manifest = loader->manifest;
    struct watch watch = {.path = path};
    enum file_kind kind;
    TRY(file_stat(path, &kind, &watch.stamp));
    if (kind == FILE_REGULAR)
        TRY(file_stat_settled(path, &watch.stamp));
    *out = kind == FILE_REGULAR;
    for (size_t i = 0; i < manifest->watch_count; i++)
        if (strcmp(manifest->watches[i].path, path) == 0)
            return NULL;
    manifest->watches = arena_grow(loader->arena, manifest->watches, manifest->watch_count,
        &loader->watch_capacity, sizeof *manifest->watches);
    if (manifest->watches == NULL)
        return error_memory();
    manifest->watches[manifest->watch_count++] = watch;
    return NULL;
}

static struct error *load_root(struct loader *loader, const char *path, const struct json *place);

/* Where an included manifest may lie: beside the one that includes it, within the top manifest's
 * directory, and among the installed ones. Both are normal, so that no file has two names. */
static struct error *place_include(struct loader *loader, const char *path, const struct json *item,
    char **beside, char **installed)
{
    struct arena *arena = loader->arena;
    const char *data = loader->options->data_directory;
    char *directory = path_directory(arena, path), *local, *below;
    if (directory == NULL)
        return error_memory();
    bool is_top = directory[0] == '\0' || (path_is_normal(directory) && !path_is_below(path, data));
    if (!path_normalize(arena, is_top ? directory : "", item->text.bytes, &local) ||
        !path_normalize(arena, "", item->text.bytes, &below))
        return error_memory();
    if (strlen(item->text.bytes) != item->text.length || local == NULL || local[0] == '\0')
        return json_error(
            item, "\"%s\" must be a path inside the manifest's directory", item->text.bytes);
    *beside = is_top ? local : path_join(arena, directory, local);
    *installed = path_join(arena, data, below == NULL ? local : below);
    return *beside == NULL || *installed == NULL ? error_memory() : NULL;
}

static struct error *load_includes(
    struct loader *loader, const char *path, const struct json *includes)
{
    if (includes == NULL)
        return NULL;
    TRY(kind_check(loader->arena, includes, JSON_ARRAY, "include"));
    for (size_t i = 0; i < includes->count; i++) {
        const struct json *item = &includes->items[i];
        TRY(kind_check(loader->arena, item, JSON_STRING, "include"));
        char *beside = NULL, *installed = NULL;
        TRY(place_include(loader, path, item, &beside, &installed));
        bool is_beside, is_installed;
        TRY(is_file(loader, beside, &is_beside));
        TRY(is_file(loader, installed, &is_installed));
        if (!is_beside && !is_installed)
            return json_error(item, "no such manifest: neither %s nor %s", beside, installed);
        TRY(load_root(loader, is_beside ? beside : installed, item));
    }
    return NULL;
}

static struct error *load_root(struct loader *loader, const char *path, const struct json *place)
{
    for (size_t i = 0; i < loader->root_count; i++)
        if (strcmp(loader->roots[i]->document->name, path) == 0)
            return json_error(place, "%s is included twice", path);
    if (loader->root_count == INCLUDES_MAX)
        return json_error(place, "more than %d manifests", INCLUDES_MAX);
    struct text text;
    const struct json_document *document;
    TRY(file_read_whole(loader->arena, path, MANIFEST_BYTES_MAX, &text));
    TRY(json_parse(loader->arena, path, text, JSON_STRICT, &document));
    const struct json *root = &document->root, *version = json_get(root, "psybuild");
    if (root->kind != JSON_OBJECT)
        return json_error(root, "a manifest must be an object, not %s", json_kind_name(root->kind));
    TRY(keys_check(root, top_keys, "a manifest"));
    if (version == NULL)
        return json_error(root, "a manifest needs \"psybuild\": 1");
    int64_t number;
    if (!json_to_i64(version, &number) || number != 1)
        return json_error(
            version, "\"psybuild\" must be 1, not %s", json_show(loader->arena, version));
    loader->roots[loader->root_count++] = root;
    return load_includes(loader, path, json_get(root, "include"));
}

/* The top manifest: a file, or the name of an installed one. */
static struct error *load_top(struct loader *loader)
{
    const char *path = loader->options->path;
    bool is_there;
    TRY(is_file(loader, path, &is_there));
    if (is_there)
        return load_root(loader, path, NULL);
    if (strchr(path, '/') == NULL) {
        char *installed =
            arena_format(loader->arena, "%s/%s.json", loader->options->data_directory, path);
        if (installed == NULL)
            return error_memory();
        TRY(is_file(loader, installed, &is_there));
        if (is_there)
            return load_root(loader, installed, NULL);
    }
    return error_new(ERROR_USAGE, "%s: no such manifest", path);
}

static struct error *name_lock(struct loader *loader)
{
    const char *path = loader->options->path;
    bool is_there;
    TRY(is_file(loader, path, &is_there));
    if (!is_there)
        path = "psybuild.json";
    size_t length = strlen(path);
    if (text_ends_with(text_of(path), ".json"))
        length -= 5;
    loader->manifest->lock_path = arena_format(loader->arena, "%.*s.lock", (int)length, path);
    return loader->manifest->lock_path == NULL ? error_memory() : NULL;
}

/* ---- variables ---- */

static struct error *add_variables(struct loader *loader, const struct json *variables)
{
    for (size_t i = 0; variables != NULL && i < variables->count; i++) {
        const struct json_member *member = &variables->members[i];
        if (map_get(&loader->variable_by_name, member->key.bytes) != MAP_NONE)
            return json_error_key(
                variables, member, "variable \"%s\" is declared twice", member->key.bytes);
        loader->variables = arena_grow(loader->arena, loader->variables, loader->variable_count,
            &loader->variable_capacity, sizeof *loader->variables);
        if (loader->variables == NULL)
            return error_memory();
        uint32_t index = (uint32_t)loader->variable_count++;
        TRY(map_put(&loader->variable_by_name, member->key.bytes, index));
        loader->variables[index] = (struct variable){.value = &member->value};
    }
    return NULL;
}

static struct error *apply_setting(struct loader *loader, const struct manifest_setting *setting)
{
    uint32_t index = map_get(&loader->variable_by_name, setting->name);
    if (index == MAP_NONE)
        return error_new(ERROR_USAGE, "--set %s=%s: %s declares no variable \"%s\"", setting->name,
            setting->value, loader->manifest->name, setting->name);
    struct variable *variable = &loader->variables[index];
    const struct json *declared = variable->value;
    char *name = arena_format(loader->arena, "--set %s", setting->name);
    if (name == NULL)
        return error_memory();
    variable->is_set = true;
    if (declared->kind == JSON_STRING) {
        variable->value = json_new_string(loader->arena, declared, setting->value);
        return variable->value == NULL ? error_memory() : NULL;
    }
    const struct json_document *document;
    TRY(json_parse(loader->arena, name, text_of(setting->value), JSON_STRICT, &document));
    if (document->root.kind != declared->kind)
        return error_new(ERROR_USAGE, "--set %s: expected %s, found %s", setting->name,
            json_kind_name(declared->kind), json_show(loader->arena, &document->root));
    variable->value = &document->root;
    return NULL;
}

static const struct json *get_variable(const void *context, struct text name, bool *is_known)
{
    const struct loader *loader = context;
    char *copy = arena_copy(loader->arena, name.bytes, name.length);
    uint32_t index = copy == NULL ? MAP_NONE : map_get(&loader->variable_by_name, copy);
    *is_known = index != MAP_NONE && index < loader->variables_ready;
    return *is_known ? loader->variables[index].value : NULL;
}

static struct error *expand(
    struct loader *loader, const struct json *value, const struct json **out)
{
    struct scope scope = {.get = get_variable, .context = loader};
    return expand_value(loader->arena, &scope, value, out);
}

/* A variable may use those declared before it. */
static struct error *expand_variables(struct loader *loader)
{
    for (; loader->variables_ready < loader->variable_count; loader->variables_ready++) {
        struct variable *variable = &loader->variables[loader->variables_ready];
        if (!variable->is_set)
            TRY(expand(loader, variable->value, &variable->value));
    }
    return NULL;
}

/* A key of "sources" or "artifacts": a normal path, "*" allowed in its last component. */
static struct error *expand_name(struct loader *loader, const struct json *object,
    const struct json_member *member, const char **out)
{
    struct json key = {.kind = JSON_STRING,
        .text = member->key,
        .offset = member->key_offset,
        .document = member->value.document};
    const struct json *expanded;
    TRY(expand(loader, &key, &expanded));
    if (expanded->kind != JSON_STRING || expanded->text.length == 0)
        return json_error_key(object, member, "a name must be a path");
    const char *name = expanded->text.bytes;
    if (strlen(name) != expanded->text.length || !path_is_normal(name))
        return json_error_key(object, member,
            "\"%s\" must be a path inside the manifest's directory, without \".\", \"..\" or a "
            "slash at its ends",
            name);
    *out = name;
    return NULL;
}

/* ---- sources ---- */

static const struct source_kind *find_kind(const struct loader *loader, const struct json *value)
{
    for (const struct source_kind *const *kind = loader->registry->sources; *kind != NULL; kind++)
        if (json_get(value, (*kind)->key) != NULL)
            return *kind;
    return NULL;
}

/* A key that is nearly one of "hub", "dir", "files". */
static struct error *suggest_kind(const struct loader *loader, const struct json *value)
{
    const char *names[16] = {"dir"};
    size_t count = 1;
    for (; count < 15 && loader->registry->sources[count - 1] != NULL; count++)
        names[count] = loader->registry->sources[count - 1]->key;
    for (size_t i = 0; i < value->count; i++)
        if (text_suggest(value->members[i].key.bytes, names, count) != NULL)
            return key_unknown(value, &value->members[i], names, "a source");
    return NULL;
}

static struct error *check_source(struct loader *loader, const struct source_kind *kind,
    const struct json *value, const char *name)
{
    if (kind == NULL)
        return keys_check(value, dir_keys, "a source with \"dir\"");
    const char *known[16] = {kind->key};
    size_t count = 1;
    for (; count < 15 && kind->params[count - 1].name != NULL; count++)
        known[count] = kind->params[count - 1].name;
    char *owner = arena_format(loader->arena, "a source with \"%s\"", kind->key);
    if (owner == NULL)
        return error_memory();
    TRY(keys_check(value, known, owner));
    for (const struct param_spec *spec = kind->params; spec->name != NULL; spec++) {
        const struct json *given = json_get(value, spec->name);
        if (given != NULL)
            TRY(param_check(loader->arena, spec, given));
        else if (spec->is_required)
            return json_error(value, "source \"%s\" needs \"%s\"", name, spec->name);
    }
    return NULL;
}

static struct error *add_source(
    struct loader *loader, const struct json *sources, const struct json_member *member)
{
    struct manifest_source source = {0};
    TRY(expand_name(loader, sources, member, &source.directory));
    TRY(kind_check(loader->arena, &member->value, JSON_OBJECT, source.directory));
    TRY(expand(loader, &member->value, &source.declaration));
    source.place = &member->value;
    source.kind = find_kind(loader, source.declaration);
    const struct json *dir = json_get(source.declaration, "dir");
    if (source.kind == NULL && dir == NULL)
        TRY(suggest_kind(loader, source.declaration));
    if (source.kind == NULL && dir == NULL)
        return json_error(&member->value, "source \"%s\" needs one of \"hub\", \"dir\", \"files\"",
            source.directory);
    TRY(check_source(loader, source.kind, source.declaration, source.directory));
    TRY(kind_check(loader->arena, dir, JSON_STRING, "dir"));
    source.path = dir == NULL ? NULL : dir->text.bytes;
    const struct json *keep = json_get(source.declaration, "keep");
    source.keep = keep != NULL && text_is(keep->text, "until-used") ? KEEP_UNTIL_USED : KEEP_ALWAYS;
    for (size_t i = 0; i < loader->manifest->source_count; i++) {
        const char *other = loader->sources[i].directory;
        if (strcmp(other, source.directory) == 0 || path_is_below(other, source.directory) ||
            path_is_below(source.directory, other))
            return json_error_key(sources, member, "source \"%s\" overlaps with source \"%s\"",
                source.directory, other);
    }
    loader->sources = arena_grow(loader->arena, loader->sources, loader->manifest->source_count,
        &loader->source_capacity, sizeof *loader->sources);
    if (loader->sources == NULL)
        return error_memory();
    loader->sources[loader->manifest->source_count++] = source;
    return NULL;
}

/* ---- nodes ---- */

static const struct role_spec *find_role(const struct task_type *type, const char *name)
{
    for (const struct role_spec *role = type->roles; role != NULL && role->name != NULL; role++)
        if (strcmp(role->name, name) == 0)
            return role;
    return NULL;
}

static struct error *unknown_role(
    const struct task_type *type, const struct json *object, const struct json_member *member)
{
    const char *names[16];
    size_t count = 0;
    while (type->roles != NULL && type->roles[count].name != NULL && count < 15) {
        names[count] = type->roles[count].name;
        count++;
    }
    const char *near = text_suggest(member->key.bytes, names, count);
    if (near != NULL)
        return json_error_key(object, member,
            "task \"%s\" has no role \"%s\"; did you mean \"%s\"?", type->name, member->key.bytes,
            near);
    return json_error_key(
        object, member, "task \"%s\" has no role \"%s\"", type->name, member->key.bytes);
}

static struct error *read_paths(
    struct loader *loader, const struct json *value, struct manifest_input *input)
{
    size_t count = value->kind == JSON_ARRAY ? value->count : 1;
    const struct json **paths = arena_array(loader->arena, count, sizeof *paths);
    if (paths == NULL)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        const struct json *path = value->kind == JSON_ARRAY ? &value->items[i] : value;
        if (path->kind != JSON_STRING)
            return json_error(path, "role \"%s\" must be a path or a list of paths, not %s",
                input->role, json_show(loader->arena, path));
        if (strlen(path->text.bytes) != path->text.length || !path_is_normal(path->text.bytes))
            return json_error(path,
                "\"%s\" must be a path inside the manifest's directory, without \".\", \"..\" or a "
                "slash at its ends",
                path->text.bytes);
        paths[i] = path;
    }
    if (count == 0 && !input->is_optional)
        return json_error(value, "role \"%s\" must name at least one path", input->role);
    input->paths = paths;
    input->count = count;
    return NULL;
}

static struct error *read_inputs(
    struct loader *loader, const struct json *roles, struct manifest_node *node)
{
    size_t count = roles == NULL ? 0 : roles->count;
    struct manifest_input *inputs = arena_array(loader->arena, count, sizeof *inputs);
    if (inputs == NULL)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        const struct json_member *member = &roles->members[i];
        struct text role = member->key;
        inputs[i].is_optional = text_ends_with(role, "?");
        role.length -= inputs[i].is_optional;
        inputs[i].role = arena_copy(loader->arena, role.bytes, role.length);
        if (inputs[i].role == NULL)
            return error_memory();
        inputs[i].spec = find_role(node->type, inputs[i].role);
        if (inputs[i].spec == NULL && !node->type->takes_any_role)
            return unknown_role(node->type, roles, member);
        for (size_t k = 0; k < i; k++)
            if (strcmp(inputs[k].role, inputs[i].role) == 0)
                return json_error_key(roles, member, "role \"%s\" is given twice", inputs[i].role);
        TRY(read_paths(loader, &member->value, &inputs[i]));
    }
    node->inputs = inputs;
    node->input_count = count;
    for (const struct role_spec *spec = node->type->roles; spec != NULL && spec->name != NULL;
         spec++) {
        size_t k = 0;
        while (k < count && strcmp(inputs[k].role, spec->name) != 0)
            k++;
        if (k == count && spec->is_required)
            return json_error(node->place, "task \"%s\" needs the role \"%s\": %s",
                node->type->name, spec->name, spec->help);
    }
    return NULL;
}

static struct error *find_task(
    struct loader *loader, const struct json *value, const struct task_type **out)
{
    const char *names[64];
    size_t count = 0;
    for (const struct task_type *const *type = loader->registry->types; *type != NULL; type++)
        if (strcmp((*type)->name, loader->registry->fetch_task) != 0 && count < 64)
            names[count++] = (*type)->name;
    for (size_t i = 0; i < count; i++) {
        if (!text_is(value->text, names[i]))
            continue;
        *out = registry_find(loader->registry, names[i]);
        return NULL;
    }
    const char *near = text_suggest(value->text.bytes, names, count);
    if (near != NULL)
        return json_error(
            value, "unknown task \"%s\"; did you mean \"%s\"?", value->text.bytes, near);
    return json_error(value, "unknown task \"%s\"", value->text.bytes);
}

static struct error *read_keep(struct loader *loader, struct manifest_node *node)
{
    const struct json *keep = json_get(node->place, "keep");
    node->keep = KEEP_ALWAYS;
    if (keep == NULL)
        return NULL;
    TRY(kind_check(loader->arena, keep, JSON_STRING, "keep"));
    if (text_is(keep->text, "never")) {
        if (!node->type->can_be_view)
            return json_error(keep,
                "task \"%s\" cannot be a view: \"keep\" must be \"always\" or \"until-used\"",
                node->type->name);
        node->keep = KEEP_NEVER;
        return NULL;
    }
    if (text_is(keep->text, "until-used"))
        node->keep = KEEP_UNTIL_USED;
    else if (!text_is(keep->text, "always"))
        return json_error(keep,
            "\"keep\" must be one of \"always\", \"until-used\", \"never\", not %s",
            json_show(loader->arena, keep));
    return NULL;
}

static struct error *read_pool(struct loader *loader, struct manifest_node *node)
{
    enum { NAMES_MAX = 64 };
    const struct json *pool = json_get(node->place, "pool");
    const char *names[NAMES_MAX] = {"console"};
    size_t count = 1;
    if (pool == NULL)
        return NULL;
    TRY(kind_check(loader->arena, pool, JSON_STRING, "pool"));
    node->pool = pool->text.bytes;
    for (size_t i = 0; i < loader->manifest->pool_count && count < NAMES_MAX; i++)
        names[count++] = loader->pools[i].name;
    for (size_t i = 0; i < count; i++)
        if (text_is(pool->text, names[i]))
            return NULL;
    const char *near = text_suggest(pool->text.bytes, names, count);
    if (near != NULL)
        return json_error(
            pool, "unknown pool \"%s\"; did you mean \"%s\"?", pool->text.bytes, near);
    return json_error(pool, "unknown pool \"%s\"", pool->text.bytes);
}

static struct error *read_path_key(
    struct loader *loader, const struct manifest_node *node, const char *key, const char **out)
{
    const struct json *value = json_get(node->place, key);
    *out = NULL;
    if (value == NULL)
        return NULL;
    TRY(kind_check(loader->arena, value, JSON_STRING, key));
    if (!path_is_normal(value->text.bytes))
        return json_error(value, "\"%s\" must be a path inside the manifest's directory", key);
    *out = value->text.bytes;
    return NULL;
}

static bool is_sha256(struct text text)
{
    if (text.length != 7 + 64 || !text_starts_with(text, "sha256:"))
        return false;
    return strspn(text.bytes + 7, "0123456789abcdef") == 64;
}

static struct error *read_hash(struct loader *loader, struct manifest_node *node)
{
    const struct json *hash = json_get(node->place, "hash");
    if (hash == NULL)
        return NULL;
    if (hash->kind != JSON_STRING || !is_sha256(hash->text))
        return json_error(hash, "\"hash\" must be \"sha256:\" and 64 lower-case hex digits, not %s",
            json_show(loader->arena, hash));
    node->hash = hash->text.bytes;
    return NULL;
}

static struct error *check_node_name(const struct json *place, const char *name)
{
    const char *star = strchr(name, '*');
    if (strchr(name, '?') != NULL || (star != NULL && strchr(star, '/') != NULL))
        return json_error(place,
            "\"%s\": a node's name may hold \"*\" in its last component only, and no \"?\"", name);
    return NULL;
}

static struct error *add_node(
    struct loader *loader, const char *name, const struct json *value, const char *group)
{
    struct manifest_node node = {.name = name, .place = value};
    TRY(check_node_name(value, name));
    TRY(keys_check(value, node_keys, "a node"));
    const struct json *task = json_get(value, "task"), *roles = json_get(value, "in");
    if (task == NULL)
        return json_error(value, "\"%s\" needs a \"task\" or a \"recipe\"", name);
    TRY(kind_check(loader->arena, task, JSON_STRING, "task"));
    TRY(find_task(loader, task, &node.type));
    TRY(kind_check(loader->arena, roles, JSON_OBJECT, "in"));
    TRY(read_inputs(loader, roles, &node));
    node.with = json_get(value, "with");
    TRY(kind_check(loader->arena, node.with, JSON_OBJECT, "with"));
    if (node.with != NULL)
        TRY(params_check(node.type->params, node.with, node.type->name));
    else
        for (const struct param_spec *spec = node.type->params; spec != NULL && spec->name != NULL;
             spec++)
            if (spec->is_required)
                return json_error(value, "\"%s\" needs \"%s\"", node.type->name, spec->name);
    TRY(read_path_key(loader, &node, "when", &node.when));
    TRY(read_path_key(loader, &node, "group", &node.group));
    if (node.group == NULL)
        node.group = group;
    if (node.group != NULL && !path_is_below(name, node.group))
        return json_error(value, "\"%s\" lies outside of its group \"%s\"", name, node.group);
    TRY(read_keep(loader, &node));
    TRY(read_pool(loader, &node));
    TRY(read_hash(loader, &node));
    loader->nodes = arena_grow(loader->arena, loader->nodes, loader->manifest->node_count,
        &loader->node_capacity, sizeof *loader->nodes);
    if (loader->nodes == NULL)
        return error_memory();
    loader->nodes[loader->manifest->node_count++] = node;
    return NULL;
}

static struct error *check_outside_sources(const struct loader *loader,
    const struct json *artifacts, const struct json_member *member, const char *name)
{
    for (size_t i = 0; i < loader->manifest->source_count; i++) {
        const char *source = loader->sources[i].directory;
        if (strcmp(name, source) == 0 || path_is_below(name, source))
            return json_error_key(artifacts, member,
                "artifact \"%s\" lies in source \"%s\": psybuild makes no files there", name,
                source);
    }
    return NULL;
}

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
    TRY(is_file(loader, beside, &is_beside));
    TRY(is_file(loader, installed, &is_installed));
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
        TRY(check_outside_sources(loader, artifacts, member, member->key.bytes));
        TRY(kind_check(loader->arena, &member->value, JSON_OBJECT, member->key.bytes));
        TRY(add_node(loader, member->key.bytes, &member->value, name));
    }
    return NULL;
}

static struct error *add_artifact(
    struct loader *loader, const struct json *artifacts, const struct json_member *member)
{
    const char *name;
    TRY(expand_name(loader, artifacts, member, &name));
    TRY(kind_check(loader->arena, &member->value, JSON_OBJECT, name));
    struct scope scope = {.get = get_variable, .context = loader};
    const struct json *value;
    TRY(expand_node(loader->arena, &scope, &member->value, &value));
    TRY(check_outside_sources(loader, artifacts, member, name));
    if (json_get(value, "recipe") != NULL)
        return use_recipe(loader, name, value);
    return add_node(loader, name, value, NULL);
}

/* ---- the whole ---- */

static struct error *read_sections(struct loader *loader)
{
    for (size_t i = 0; i < loader->root_count; i++) {
        const struct json *sources = json_get(loader->roots[i], "sources");
        TRY(kind_check(loader->arena, sources, JSON_OBJECT, "sources"));
        for (size_t k = 0; sources != NULL && k < sources->count; k++)
            TRY(add_source(loader, sources, &sources->members[k]));
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
    if (loader->pools == NULL)
        return error_memory();
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
        TRY(expand(loader, object, &object));
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
            TRY(expand(loader, rules, &rules));
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
        if (defaults == NULL)
            return error_memory();
        for (size_t k = 0; k < list->count; k++) {
            TRY(expand(loader, &list->items[k], &defaults[k]));
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
    TRY(load_top(loader));
    TRY(name_lock(loader));
    for (size_t i = 0; i < loader->root_count; i++) {
        const struct json *variables = json_get(loader->roots[i], "vars");
        TRY(kind_check(arena, variables, JSON_OBJECT, "vars"));
        TRY(add_variables(loader, variables));
    }
    for (size_t i = 0; i < options->setting_count; i++)
        TRY(apply_setting(loader, &options->settings[i]));
    TRY(expand_variables(loader));
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
