/* variables.c - "vars" and --set, and what ${...} stands for. */
#include "engine/manifest/loader.h"

#include <string.h>

#include "engine/manifest/expand.h"

struct error *variables_add(struct loader *loader, const struct json *variables)
{
    for (size_t i = 0; variables != NULL && i < variables->count; i++) {
        const struct json_member *member = &variables->members[i];
        if (map_get(&loader->variable_by_name, member->key.bytes) != MAP_NONE)
            return json_error_key(
                variables, member, "variable \"%s\" is declared twice", member->key.bytes);
        loader->variables = arena_grow(loader->arena, loader->variables, loader->variable_count,
            &loader->variable_capacity, sizeof *loader->variables);
        TRY(memory_check(loader->variables));
        uint32_t index = (uint32_t)loader->variable_count++;
        TRY(map_put(&loader->variable_by_name, member->key.bytes, index));
        loader->variables[index] = (struct variable){.value = &member->value};
    }
    return NULL;
}

struct error *variables_set(struct loader *loader, const struct manifest_setting *setting)
{
    uint32_t index = map_get(&loader->variable_by_name, setting->name);
    if (index == MAP_NONE)
        return error_new(ERROR_USAGE, "--set %s=%s: %s declares no variable \"%s\"", setting->name,
            setting->value, loader->manifest->name, setting->name);
    struct variable *variable = &loader->variables[index];
    const struct json *declared = variable->value;
    char *name = arena_format(loader->arena, "--set %s", setting->name);
    TRY(memory_check(name));
    variable->is_set = true;
    if (declared->kind == JSON_STRING) {
        variable->value = json_new_string(loader->arena, declared, setting->value);
        return memory_check(variable->value);
    }
    const struct json_document *document;
    TRY(json_parse(loader->arena, name, text_of(setting->value), JSON_STRICT, &document));
    if (document->root.kind != declared->kind)
        return error_new(ERROR_USAGE, "--set %s: expected %s, found %s", setting->name,
            json_kind_name(declared->kind), json_show(loader->arena, &document->root));
    variable->value = &document->root;
    return NULL;
}

const struct json *variables_get(const void *context, struct text name, bool *is_known)
{
    const struct loader *loader = context;
    char *copy = arena_copy(loader->arena, name.bytes, name.length);
    uint32_t index = copy == NULL ? MAP_NONE : map_get(&loader->variable_by_name, copy);
    *is_known = index != MAP_NONE && index < loader->variables_ready;
    return *is_known ? loader->variables[index].value : NULL;
}

struct error *variables_expand(
    struct loader *loader, const struct json *value, const struct json **out)
{
    struct scope scope = {.get = variables_get, .context = loader};
    return expand_value(loader->arena, &scope, value, out);
}

/* A variable may use those declared before it. */
struct error *variables_expand_all(struct loader *loader)
{
    for (; loader->variables_ready < loader->variable_count; loader->variables_ready++) {
        struct variable *variable = &loader->variables[loader->variables_ready];
        if (!variable->is_set)
            TRY(variables_expand(loader, variable->value, &variable->value));
    }
    return NULL;
}

/* A key of "sources" or "artifacts": a normal path, "*" allowed in its last component. */
struct error *variables_expand_name(struct loader *loader, const struct json *object,
    const struct json_member *member, const char **out)
{
    struct json key = {.kind = JSON_STRING,
        .text = member->key,
        .offset = member->key_offset,
        .document = member->value.document};
    const struct json *expanded;
    TRY(variables_expand(loader, &key, &expanded));
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
