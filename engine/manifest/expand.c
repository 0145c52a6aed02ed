/* expand.c - copies JSON trees with their variables filled in. */
#include "engine/manifest/expand.h"

#include <string.h>

#include "base/buffer.h"

const struct json *json_new_string(
    struct arena *arena, const struct json *place, const char *string)
{
    struct json *value = arena_alloc(arena, sizeof *value);
    if (value == NULL)
        return NULL;
    *value = (struct json){.kind = JSON_STRING,
        .offset = place->offset,
        .text = text_of(string),
        .document = place->document};
    return value;
}

enum { STRING_BYTES_MAX = 1 << 20 }; /* of a string with variables in it */

static bool is_runtime_name(struct text name)
{
    return text_is(name, "out") || text_starts_with(name, "in.");
}

/* The name in "${name}" at `position`; an error when the brace is not closed. */
static struct error *read_name(
    const struct json *value, size_t position, struct text *name, size_t *after)
{
    const char *begin = value->text.bytes + position + 2;
    const char *end = memchr(begin, '}', value->text.length - position - 2);
    if (end == NULL)
        return json_error(value, "expected '}' after \"${\" (a dollar sign is written \"$$\")");
    *name = (struct text){begin, (size_t)(end - begin)};
    *after = position + 2 + name->length + 1;
    return NULL;
}

static struct error *look_up(const struct scope *scope, const struct json *value, struct text name,
    const struct json **found, bool *is_kept)
{
    bool is_known = false;
    *is_kept = scope->is_exec && is_runtime_name(name);
    *found = NULL;
    if (*is_kept)
        return NULL;
    *found = scope->get(scope->context, name, &is_known);
    if (*found == NULL && !(is_known && scope->drops_unset))
        return json_error(value, "variable \"%.*s\" is not set", (int)name.length, name.bytes);
    return NULL;
}

static void put_quoted(struct buffer *parts, struct text text)
{
    for (size_t i = 0; i < text.length; i++) {
        buffer_put(parts, text.bytes + i, 1);
        if (text.bytes[i] == '$')
            buffer_put(parts, "$", 1);
    }
}

static struct error *put_value(struct buffer *parts, const struct scope *scope,
    const struct json *value, struct text name, const struct json *found)
{
    switch (found->kind) {
    case JSON_STRING:
    case JSON_NUMBER:
        if (scope->is_exec)
            put_quoted(parts, found->text);
        else
            buffer_put_text(parts, found->text);
        return NULL;
    case JSON_BOOL:
        buffer_put_string(parts, found->boolean ? "true" : "false");
        return NULL;
    default:
        return json_error(value, "variable \"%.*s\" is %s and can only be a whole string",
            (int)name.length, name.bytes, json_kind_name(found->kind));
    }
}

static struct error *finish_string(
    struct buffer *parts, const struct json *value, const struct json **out)
{
    struct json *made = arena_alloc(parts->arena, sizeof *made);
    TRY(memory_check(made));
    *made = *value;
    if (parts->count > STRING_BYTES_MAX)
        return json_error(
            value, "its variables make more than %d bytes of this string", STRING_BYTES_MAX);
    TRY(buffer_text(parts, &made->text));
    *out = made;
    return NULL;
}

/* A string that is one variable: its value as it is. What it holds is no text of exec's. */
static struct error *expand_whole(struct arena *arena, const struct scope *scope,
    const struct json *found, const struct json **out)
{
    if (found != NULL && scope->is_exec)
        return expand_value(arena, &(struct scope){.is_quoting = true}, found, out);
    *out = found;
    return NULL;
}

static struct error *expand_string(struct arena *arena, const struct scope *scope,
    const struct json *value, const struct json **out)
{
    struct text text = value->text;
    *out = value;
    if (text.length == 0 || memchr(text.bytes, '$', text.length) == NULL)
        return NULL;
    struct buffer parts = {.arena = arena};
    if (scope->is_quoting) {
        put_quoted(&parts, text);
        return finish_string(&parts, value, out);
    }
    for (size_t i = 0; i < text.length;) {
        bool is_kept = false;
        struct text name = TEXT_EMPTY;
        const struct json *found = NULL;
        if (text.bytes[i] != '$') {
            buffer_put(&parts, text.bytes + i++, 1);
            continue;
        }
        if (i + 1 < text.length && text.bytes[i + 1] == '$') {
            buffer_put(&parts, "$$", scope->is_exec ? 2 : 1);
            i += 2;
            continue;
        }
        if (i + 1 == text.length || text.bytes[i + 1] != '{')
            return json_error(value, "expected \"${name}\" or \"$$\" after '$'");
        size_t after = 0;
        TRY(read_name(value, i, &name, &after));
        TRY(look_up(scope, value, name, &found, &is_kept));
        if (is_kept) {
            buffer_put(&parts, text.bytes + i, after - i);
        } else if (found == NULL || (i == 0 && after == text.length)) {
            return expand_whole(arena, scope, found, out);
        } else {
            TRY(put_value(&parts, scope, value, name, found));
        }
        i = after;
    }
    return finish_string(&parts, value, out);
}

/* What holds no variables is not copied. */
static struct error *expand_array(struct arena *arena, const struct scope *scope,
    const struct json *value, const struct json **out)
{
    struct json *made = NULL, *items = NULL;
    *out = value;
    for (size_t i = 0; i < value->count; i++) {
        const struct json *item;
        TRY(expand_value(arena, scope, &value->items[i], &item));
        if (item == NULL) {
            *out = NULL; /* a list with an unset variable is unset */
            return NULL;
        }
        if (made == NULL && item == &value->items[i])
            continue;
        if (made == NULL) {
            made = arena_alloc(arena, sizeof *made);
            items = arena_array(arena, value->count, sizeof *items);
            if (made == NULL || items == NULL)
                return error_memory();
            if (i > 0)
                memcpy(items, value->items, i * sizeof *items);
            *made = *value;
            made->items = items;
            *out = made;
        }
        items[i] = *item;
    }
    return NULL;
}

/* `with` is the scope of the member of that name. */
static struct error *expand_members(struct arena *arena, const struct scope *scope,
    const struct scope *with, const struct json *value, const struct json **out)
{
    struct json *made = NULL;
    struct json_member *members = NULL;
    *out = value;
    for (size_t i = 0; i < value->count; i++) {
        const struct json_member *member = &value->members[i];
        const struct json *item;
        bool is_with = text_is(member->key, "with");
        TRY(expand_value(arena, is_with ? with : scope, &member->value, &item));
        if (made == NULL && item == &member->value)
            continue;
        if (made == NULL) {
            made = arena_alloc(arena, sizeof *made);
            members = arena_array(arena, value->count, sizeof *members);
            if (made == NULL || members == NULL)
                return error_memory();
            if (i > 0)
                memcpy(members, value->members, i * sizeof *members);
            *made = *value;
            made->members = members;
            made->sorted = NULL;
            made->count = i;
            *out = made;
        }
        if (item == NULL)
            continue;
        members[made->count] = *member;
        members[made->count++].value = *item;
    }
    return NULL;
}

struct error *expand_value(struct arena *arena, const struct scope *scope, const struct json *value,
    const struct json **out)
{
    switch (value->kind) {
    case JSON_STRING:
        return expand_string(arena, scope, value, out);
    case JSON_ARRAY:
        return expand_array(arena, scope, value, out);
    case JSON_OBJECT:
        return expand_members(arena, scope, scope, value, out);
    default:
        *out = value;
        return NULL;
    }
}

struct error *expand_node(struct arena *arena, const struct scope *scope, const struct json *node,
    const struct json **out)
{
    const struct json *task = json_get(node, "task");
    if (task != NULL)
        TRY(expand_value(arena, scope, task, &task));
    if (node->kind != JSON_OBJECT)
        return expand_value(arena, scope, node, out);
    struct scope with = *scope;
    with.is_exec = json_is(task, JSON_STRING) && text_is(task->text, "exec");
    return expand_members(arena, scope, &with, node, out);
}
