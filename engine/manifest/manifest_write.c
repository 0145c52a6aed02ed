/* manifest_write.c - the long form of a manifest, itself a valid one (`-t expand`). */
#include "engine/manifest/manifest.h"

#include <string.h>

#include "base/json_write.h"

/* As the manifest writes it: "$" doubled. */
static struct error *double_dollars(struct arena *arena, struct text text, struct text *out)
{
    char *doubled = arena_alloc(arena, 2 * text.length + 1);
    TRY(memory_check(doubled));
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        doubled[length++] = text.bytes[i];
        if (text.bytes[i] == '$')
            doubled[length++] = '$';
    }
    *out = (struct text){doubled, length};
    return NULL;
}

static struct error *write_name(struct arena *arena, struct json_writer *writer, const char *name)
{
    struct text text;
    TRY(double_dollars(arena, text_of(name), &text));
    json_write_key(writer, text);
    return NULL;
}

/* exec's runtime names stay as they are. */
static struct error *write_string(
    struct arena *arena, struct json_writer *writer, struct text text, bool is_exec)
{
    if (!is_exec)
        TRY(double_dollars(arena, text, &text));
    json_write_text(writer, text);
    return NULL;
}

static struct error *write_value(
    struct arena *arena, struct json_writer *writer, const struct json *value, bool is_exec)
{
    switch (value->kind) {
    case JSON_STRING:
        return write_string(arena, writer, value->text, is_exec);
    case JSON_ARRAY:
        json_write_array_begin(writer);
        for (size_t i = 0; i < value->count; i++)
            TRY(write_value(arena, writer, &value->items[i], is_exec));
        json_write_array_end(writer);
        return NULL;
    case JSON_OBJECT:
        json_write_object_begin(writer);
        for (size_t i = 0; i < value->count; i++) {
            json_write_key(writer, value->members[i].key);
            TRY(write_value(arena, writer, &value->members[i].value, is_exec));
        }
        json_write_object_end(writer);
        return NULL;
    default:
        json_write_value(writer, value);
        return NULL;
    }
}

static struct error *write_node(
    struct arena *arena, struct json_writer *writer, const struct manifest_node *node)
{
    TRY(write_name(arena, writer, node->name));
    json_write_object_begin(writer);
    for (size_t i = 0; i < node->place->count; i++) {
        const struct json_member *member = &node->place->members[i];
        bool is_exec = node->type->takes_any_role && text_is(member->key, "with");
        json_write_key(writer, member->key);
        TRY(write_value(arena, writer, &member->value, is_exec));
    }
    if (node->group != NULL && json_get(node->place, "group") == NULL) {
        json_write_key(writer, TEXT_LITERAL("group"));
        TRY(write_string(arena, writer, text_of(node->group), false));
    }
    json_write_object_end(writer);
    return NULL;
}

static bool is_of_interest(const char *path, const char *only)
{
    return only == NULL || strcmp(path, only) == 0 || path_is_below(path, only);
}

struct error *manifest_expand(
    struct arena *arena, const struct manifest *manifest, const char *only, struct text *out)
{
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_PRETTY);
    TRY(memory_check(writer));
    json_write_object_begin(writer);
    json_write_key(writer, TEXT_LITERAL("psybuild"));
    json_write_u64(writer, 1);
    json_write_key(writer, TEXT_LITERAL("sources"));
    json_write_object_begin(writer);
    for (size_t i = 0; i < manifest->source_count; i++) {
        TRY(write_name(arena, writer, manifest->sources[i].directory));
        TRY(write_value(arena, writer, manifest->sources[i].declaration, false));
    }
    json_write_object_end(writer);
    json_write_key(writer, TEXT_LITERAL("artifacts"));
    json_write_object_begin(writer);
    for (size_t i = 0; i < manifest->node_count; i++) {
        const char *name = manifest->nodes[i].name;
        if (is_of_interest(name, only))
            TRY(write_node(arena, writer, &manifest->nodes[i]));
    }
    json_write_object_end(writer);
    if (manifest->rules != NULL) {
        json_write_key(writer, TEXT_LITERAL("rules"));
        TRY(write_string(arena, writer, text_of(manifest->rules), false));
    }
    if (manifest->default_count > 0) {
        json_write_key(writer, TEXT_LITERAL("default"));
        json_write_array_begin(writer);
        for (size_t i = 0; i < manifest->default_count; i++)
            if (is_of_interest(manifest->defaults[i]->text.bytes, only))
                TRY(write_value(arena, writer, manifest->defaults[i], false));
        json_write_array_end(writer);
    }
    json_write_object_end(writer);
    return json_writer_finish(writer, out);
}
