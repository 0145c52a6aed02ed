/* params.c - what a value may be, and the words when it is not. */
#include "engine/manifest/params.h"

#include <string.h>

/* ---- keys ---- */

struct error *key_unknown(const struct json *object, const struct json_member *member,
    const char *const *known, const char *owner)
{
    size_t count = 0;
    while (known[count] != NULL)
        count++;
    const char *near = text_suggest(member->key.bytes, known, count);
    if (near != NULL)
        return json_error_key(object, member, "unknown key \"%s\" in %s; did you mean \"%s\"?",
            member->key.bytes, owner, near);
    return json_error_key(object, member, "unknown key \"%s\" in %s", member->key.bytes, owner);
}

struct error *keys_check(const struct json *object, const char *const *known, const char *owner)
{
    for (size_t i = 0; i < object->count; i++) {
        size_t k = 0;
        while (known[k] != NULL && !text_is(object->members[i].key, known[k]))
            k++;
        if (known[k] == NULL)
            return key_unknown(object, &object->members[i], known, owner);
    }
    return NULL;
}

struct error *kind_check(
    struct arena *arena, const struct json *value, enum json_kind kind, const char *name)
{
    if (value == NULL || value->kind == kind)
        return NULL;
    return json_error(
        value, "\"%s\" must be %s, not %s", name, json_kind_name(kind), json_show(arena, value));
}

/* ---- parameters ---- */

struct error *param_list_values(
    struct arena *arena, const struct param_spec *spec, const char **out)
{
    char *list = arena_format(arena, "%s", "");
    for (size_t i = 0; list != NULL && spec->words != NULL && spec->words[i] != NULL; i++)
        list = arena_format(arena, "%s%s\"%s\"", list, i > 0 ? ", " : "", spec->words[i]);
    for (size_t i = 0; list != NULL && spec->integers != NULL && spec->integers[i] >= 0; i++)
        list =
            arena_format(arena, "%s%s%lld", list, i > 0 ? ", " : "", (long long)spec->integers[i]);
    *out = list;
    return memory_check(list);
}

static bool is_word(const struct param_spec *spec, const struct json *value)
{
    for (size_t i = 0; spec->words != NULL && spec->words[i] != NULL; i++)
        if (value->kind == JSON_STRING && text_is(value->text, spec->words[i]))
            return true;
    return false;
}

static bool is_listed(const struct param_spec *spec, const struct json *value)
{
    int64_t number;
    if (!json_to_i64(value, &number))
        return false;
    for (size_t i = 0; spec->integers[i] >= 0; i++)
        if (spec->integers[i] == number)
            return true;
    return false;
}

static bool has_type(const struct param_spec *spec, const struct json *value)
{
    int64_t number;
    uint64_t size;
    switch (spec->type) {
    case PARAM_STRING:
    case PARAM_PATH:
        return value->kind == JSON_STRING;
    case PARAM_INTEGER:
        return json_to_i64(value, &number) && number >= 0;
    case PARAM_NUMBER:
        return value->kind == JSON_NUMBER;
    case PARAM_BOOLEAN:
        return value->kind == JSON_BOOL;
    case PARAM_LIST:
    case PARAM_ENVIRONMENT:
        return value->kind == JSON_ARRAY;
    case PARAM_OBJECT:
        return value->kind == JSON_OBJECT;
    case PARAM_SIZE:
        return is_word(spec, value) || (json_to_i64(value, &number) && number >= 0) ||
               (value->kind == JSON_STRING && size_parse(value->text, &size));
    }
    return false;
}

static const char *const type_words[] = {[PARAM_STRING] = "a string",
    [PARAM_INTEGER] = "an integer of at least 0",
    [PARAM_NUMBER] = "a number",
    [PARAM_BOOLEAN] = "true or false",
    [PARAM_LIST] = "a list",
    [PARAM_ENVIRONMENT] = "a list",
    [PARAM_PATH] = "a path",
    [PARAM_SIZE] = "a size such as 4096, \"512M\" or \"5G\"",
    [PARAM_OBJECT] = "an object"};

struct error *param_check(
    struct arena *arena, const struct param_spec *spec, const struct json *value)
{
    const char *words;
    TRY(param_list_values(arena, spec, &words));
    if (spec->type != PARAM_SIZE && spec->words != NULL && !is_word(spec, value))
        return json_error(
            value, "\"%s\" must be one of %s, not %s", spec->name, words, json_show(arena, value));
    if (spec->integers != NULL && !is_listed(spec, value))
        return json_error(
            value, "\"%s\" must be one of %s, not %s", spec->name, words, json_show(arena, value));
    if (!has_type(spec, value))
        return json_error(value, "\"%s\" must be %s%s%s, not %s", spec->name,
            type_words[spec->type], words[0] != '\0' ? " or " : "", words, json_show(arena, value));
    for (size_t i = 0; value->kind == JSON_ARRAY && i < value->count; i++) {
        const struct json *item = &value->items[i];
        enum json_kind kind = spec->entries != NULL ? JSON_OBJECT : JSON_STRING;
        if (item->kind != kind)
            return json_error(item, "an entry of \"%s\" must be %s, not %s", spec->name,
                json_kind_name(kind), json_show(arena, item));
        if (spec->entries != NULL)
            TRY(params_check(spec->entries, item, spec->name));
    }
    return NULL;
}

static struct error *check_all(
    struct arena *arena, const struct param_spec *specs, const struct json *with, const char *owner)
{
    static const char *no_names[1];
    size_t count = 0;
    while (specs != NULL && specs[count].name != NULL)
        count++;
    const char **names = arena_array(arena, count + 1, sizeof *names);
    TRY(memory_check(names));
    for (size_t i = 0; i < count; i++)
        names[i] = specs[i].name;
    TRY(keys_check(with, count > 0 ? names : no_names,
        arena_format(arena, "the parameters of \"%s\"", owner)));
    for (size_t i = 0; i < count; i++) {
        const struct json *value = json_get(with, specs[i].name);
        if (value != NULL)
            TRY(param_check(arena, &specs[i], value));
        else if (specs[i].is_required)
            return json_error(with, "\"%s\" needs \"%s\"", owner, specs[i].name);
    }
    return NULL;
}

struct error *params_check(
    const struct param_spec *specs, const struct json *with, const char *owner)
{
    struct arena arena = {0};
    struct error *error = check_all(&arena, specs, with, owner);
    arena_end(&arena);
    return error;
}

const struct task_type *registry_find(const struct registry *registry, const char *name)
{
    for (const struct task_type *const *type = registry->types; *type != NULL; type++)
        if (strcmp((*type)->name, name) == 0)
            return *type;
    return NULL;
}
