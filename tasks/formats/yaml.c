/* yaml.c - nodes, and what makes two of them equal (yaml.h). */
#include "tasks/formats/yaml.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/number.h"

enum { NAME_BYTES_MAX = 64 }; /* of the keys that yaml_get is asked for */

struct yaml *yaml_new(struct arena *arena, enum yaml_kind kind, struct text text)
{
    struct yaml *node = arena_alloc(arena, sizeof *node);
    if (node == NULL)
        return NULL;
    *node = (struct yaml){.kind = kind, .text = text};
    if (kind != YAML_MAP)
        return node;
    node->index = arena_alloc(arena, sizeof *node->index);
    if (node->index == NULL)
        return NULL;
    node->index->arena = arena;
    return node;
}

struct yaml *yaml_string(struct arena *arena, const char *string)
{
    return yaml_new(arena, YAML_STRING, text_of(string));
}

bool yaml_is_true(const struct yaml *value)
{
    switch (value->kind) {
    case YAML_NULL:
        return false;
    case YAML_BOOL:
        return text_is(value->text, "true");
    case YAML_INTEGER:
        return !text_is(value->text, "0");
    case YAML_FLOAT:
        return !text_is(value->text, "0.0") && !text_is(value->text, "-0.0");
    case YAML_STRING:
        return value->text.length > 0;
    case YAML_LIST:
    case YAML_MAP:
        return value->count > 0;
    case YAML_TIME:
    case YAML_MERGE:
    case YAML_VALUE:
        break;
    }
    return true;
}

/* ---- what is equal ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* No text holds a NUL: it is written as UTF-8 never writes it. */
static void put_text(struct buffer *buffer, char kind, struct text text)
{
    buffer_put(buffer, &kind, 1);
    for (size_t i = 0, end; i < text.length; i = end + 1) {
        end = i;
        while (end < text.length && text.bytes[end] != '\0')
            end++;
        buffer_put(buffer, text.bytes + i, end - i);
        if (end < text.length)
            buffer_put(buffer, "\xC0\x80", 2);
    }
}

/* A whole float is written as the integer that it equals. */
static void put_number(struct buffer *buffer, const struct yaml *value)
{
    char digits[512] = "";
    if (value->kind == YAML_BOOL) {
        put_text(buffer, 'n', text_of(text_is(value->text, "true") ? "1" : "0"));
        return;
    }
    double number = value->kind == YAML_FLOAT ? strtod(value->text.bytes, NULL) : 0.5;
    if (number == number_floor(number) && char_is_digit(value->text.bytes[value->text.length - 1]))
        snprintf(digits, sizeof digits, "%.0f", number == 0 ? 0.0 : number);
    put_text(buffer, 'n', digits[0] == '\0' ? value->text : text_of(digits));
}

struct identifier {
    struct arena *arena;
    size_t *bytes_left;
    unsigned depth;
};

static struct error *identify(
    struct identifier *identifier, const struct yaml *value, const char **out);

/* The items, those of a map sorted: their order does not count. */
static struct error *put_items(
    struct identifier *identifier, const struct yaml *value, struct buffer *buffer, bool *fits)
{
    bool is_map = value->kind == YAML_MAP;
    const char **names = arena_array(identifier->arena, value->count + 1, sizeof *names);
    TRY(memory_check(names));
    for (size_t i = 0; i < value->count && *fits; i++) {
        struct yaml *both[] = {is_map ? value->keys[i] : NULL, value->values[i]};
        const struct yaml pair = {.kind = YAML_LIST, .values = both, .count = 2};
        TRY(identify(identifier, is_map ? &pair : value->values[i], &names[i]));
        *fits = names[i] != NULL;
    }
    if (is_map && *fits)
        qsort(names, value->count, sizeof *names, compare_names);
    for (size_t i = 0; i < value->count && *fits; i++)
        buffer_put_string(buffer, names[i]);
    return NULL;
}

static struct error *identify(
    struct identifier *identifier, const struct yaml *value, const char **out)
{
    struct buffer buffer = {0};
    struct error *error = NULL;
    bool fits = identifier->depth < 2 * YAML_DEPTH_MAX;
    switch (value->kind) {
    case YAML_BOOL:
    case YAML_INTEGER:
    case YAML_FLOAT:
        put_number(&buffer, value);
        break;
    case YAML_LIST:
    case YAML_MAP:
        buffer_put(&buffer, value->kind == YAML_MAP ? "{" : "[", 1);
        identifier->depth++;
        if (fits)
            error = put_items(identifier, value, &buffer, &fits);
        identifier->depth--;
        break;
    case YAML_TIME:
        put_text(&buffer, 't', value->text);
        break;
    default:
        put_text(&buffer, value->kind == YAML_NULL ? '0' : 's', value->text);
    }
    buffer_put(&buffer, "\xFF", 1); /* where it ends: no text has such a byte */
    struct text text = TEXT_EMPTY;
    struct error *unkept = buffer_take(&buffer, identifier->arena, &text);
    if (error == NULL)
        error = unkept;
    if (error != NULL)
        return error;
    fits = fits && text.length < *identifier->bytes_left;
    if (fits)
        *identifier->bytes_left -= text.length;
    *out = fits ? text.bytes : NULL;
    return NULL;
}

struct error *yaml_identity(
    struct arena *arena, const struct yaml *value, size_t *bytes_left, const char **out)
{
    struct identifier identifier = {arena, bytes_left, 0};
    return identify(&identifier, value, out);
}

/* ---- collections ---- */

struct error *yaml_add_pair(
    struct arena *arena, struct yaml *pairs, struct yaml *key, struct yaml *value)
{
    size_t count = pairs->count, capacity = pairs->capacity;
    if (value == NULL)
        return error_memory();
    if (pairs->kind != YAML_LIST) {
        struct yaml **keys = arena_grow(arena, pairs->keys, count, &capacity, sizeof *keys);
        TRY(memory_check(keys));
        pairs->keys = keys;
        pairs->keys[count] = key;
    }
    struct yaml **values =
        arena_grow(arena, pairs->values, count, &pairs->capacity, sizeof *values);
    TRY(memory_check(values));
    pairs->values = values;
    pairs->values[pairs->count++] = value;
    return NULL;
}

struct error *yaml_append(struct arena *arena, struct yaml *list, struct yaml *value)
{
    return yaml_add_pair(arena, list, NULL, value);
}

struct error *yaml_put(struct arena *arena, struct yaml *map, struct yaml *key, struct yaml *value)
{
    size_t bytes_left = SIZE_MAX; /* keys are scalars: no longer than their text */
    const char *name;
    TRY(memory_check(key));
    TRY(yaml_identity(arena, key, &bytes_left, &name));
    uint32_t place = map_get(map->index, name);
    if (place != MAP_NONE) {
        map->values[place] = value;
        return memory_check(value);
    }
    TRY(yaml_add_pair(arena, map, key, value));
    return map_put(map->index, name, (uint32_t)map->count - 1);
}

struct error *yaml_set(struct arena *arena, struct yaml *map, const char *key, struct yaml *value)
{
    return yaml_put(arena, map, yaml_string(arena, key), value);
}

static uint32_t find(const struct yaml *map, const char *key)
{
    char name[NAME_BYTES_MAX];
    snprintf(name, sizeof name, "s%s\xFF", key);
    return map_get(map->index, name);
}

bool yaml_has(const struct yaml *map, const char *key)
{
    return find(map, key) != MAP_NONE;
}

struct yaml *yaml_get(const struct yaml *map, const char *key)
{
    uint32_t place = find(map, key);
    bool is_there = place != MAP_NONE && map->values[place]->kind != YAML_NULL;
    return is_there ? map->values[place] : NULL;
}
