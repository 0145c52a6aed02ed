/* sections.c - "sources" and "artifacts", checked against the tables of kinds and tasks. */
#include "engine/manifest/loader.h"

#include <string.h>

#include "engine/manifest/params.h"

static const char *const node_keys[] = {
    "task", "in", "with", "when", "group", "keep", "hash", "pool", NULL};
static const char *const dir_keys[] = {"dir", NULL};

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
    TRY(memory_check(owner));
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

struct error *sections_add_source(
    struct loader *loader, const struct json *sources, const struct json_member *member)
{
    struct manifest_source source = {0};
    TRY(variables_expand_name(loader, sources, member, &source.directory));
    TRY(kind_check(loader->arena, &member->value, JSON_OBJECT, source.directory));
    TRY(variables_expand(loader, &member->value, &source.declaration));
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
    TRY(memory_check(loader->sources));
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
    TRY(memory_check(paths));
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
    TRY(memory_check(inputs));
    for (size_t i = 0; i < count; i++) {
        const struct json_member *member = &roles->members[i];
        struct text role = member->key;
        inputs[i].is_optional = text_ends_with(role, "?");
        role.length -= inputs[i].is_optional;
        inputs[i].role = arena_copy(loader->arena, role.bytes, role.length);
        TRY(memory_check(inputs[i].role));
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
    return text_starts_with(text, "sha256:") && text_is_hex(text_from(text, 7), 64);
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

struct error *sections_add_node(
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
    TRY(memory_check(loader->nodes));
    loader->nodes[loader->manifest->node_count++] = node;
    return NULL;
}

struct error *sections_check_outside_sources(const struct loader *loader,
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
