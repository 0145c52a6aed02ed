/* keys.c - the declaration of a node, of which its key is the hash. */
#include "engine/graph/builder.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"

static void write_refs(struct json_writer *writer, const struct node_input *input)
{
    json_write_key(writer, text_of(input->role));
    json_write_array_begin(writer);
    for (uint32_t k = 0; k < input->ref_count; k++)
        if (!input->refs[k].is_absent)
            json_write_string(writer, input->refs[k].path);
    json_write_array_end(writer);
}

/* The variables that the node's parameters name, under "environment". */
static struct error *write_environment(
    struct builder *builder, struct json_writer *writer, const struct node *node)
{
    struct graph *graph = builder->graph;
    for (const struct param_spec *spec = node->type->params; spec != NULL && spec->name != NULL;
         spec++) {
        const struct json *names =
            spec->type == PARAM_ENVIRONMENT ? json_get(node->with, spec->name) : NULL;
        if (names == NULL)
            continue;
        json_write_key(writer, TEXT_LITERAL("environment"));
        json_write_object_begin(writer);
        for (size_t i = 0; i < names->count; i++) {
            const char *name = names->items[i].text.bytes, *value = getenv(name);
            graph->environment =
                arena_grow(builder->arena, graph->environment, graph->environment_count,
                    &builder->environment_capacity, sizeof *graph->environment);
            TRY(memory_check(graph->environment));
            graph->environment[graph->environment_count++] = (struct setting){name, value};
            json_write_key(writer, text_of(name));
            if (value == NULL)
                json_write_null(writer);
            else
                json_write_string(writer, value);
        }
        json_write_object_end(writer);
    }
    return NULL;
}

static int compare_inputs(const void *a, const void *b)
{
    const struct node_input *x = a, *y = b;
    return strcmp(x->role, y->role);
}

static int compare_hex(const void *a, const void *b)
{
    return memcmp(a, b, HASH_HEX_BYTES);
}

/* By their keys in order, whatever the order of the roles is that name them. */
static struct error *write_views(
    struct builder *builder, struct json_writer *writer, const struct node *node)
{
    char(*keys)[HASH_HEX_BYTES] = arena_array(&builder->scratch, node->need_count, sizeof *keys);
    uint32_t count = 0;
    TRY(memory_check(keys));
    for (uint32_t k = 0; k < node->need_count; k++)
        if (builder->graph->nodes[node->needs[k]].is_view)
            hash_hex(&builder->graph->nodes[node->needs[k]].key, keys[count++]);
    qsort(keys, count, sizeof *keys, compare_hex);
    json_write_array_begin(writer);
    for (uint32_t k = 0; k < count; k++)
        json_write_string(writer, keys[k]);
    json_write_array_end(writer);
    return NULL;
}

/* What is known beforehand, as canonical JSON; the key is its hash. Views are listed by their keys,
 * before they are seen through. */
struct error *keys_declare(struct builder *builder, struct node *node)
{
    struct json_writer *writer = json_writer_new(&builder->scratch, &JSON_STYLE_CANONICAL);
    struct node_input *sorted = arena_array(&builder->scratch, node->input_count, sizeof *sorted);
    if (writer == NULL || sorted == NULL)
        return error_memory();
    if (node->input_count > 0)
        memcpy(sorted, node->inputs, node->input_count * sizeof *sorted);
    qsort(sorted, node->input_count, sizeof *sorted, compare_inputs);
    json_write_object_begin(writer);
    if (node->expected_hash != NULL) {
        json_write_key(writer, TEXT_LITERAL("hash"));
        json_write_string(writer, node->expected_hash);
    }
    json_write_key(writer, TEXT_LITERAL("in"));
    json_write_object_begin(writer);
    for (uint32_t i = 0; i < node->input_count; i++)
        write_refs(writer, &sorted[i]);
    json_write_object_end(writer);
    json_write_key(writer, TEXT_LITERAL("name"));
    json_write_string(writer, node->name);
    if (node->type->lists_rules && builder->manifest->rules != NULL) {
        json_write_key(writer, TEXT_LITERAL("rules"));
        json_write_string(writer, builder->manifest->rules);
    }
    json_write_key(writer, TEXT_LITERAL("task"));
    json_write_string(writer, node->type->name);
    json_write_key(writer, TEXT_LITERAL("version"));
    json_write_u64(writer, node->type->version);
    json_write_key(writer, TEXT_LITERAL("views"));
    TRY(write_views(builder, writer, node));
    json_write_key(writer, TEXT_LITERAL("with"));
    if (node->with != NULL) {
        json_write_value(writer, node->with);
    } else {
        json_write_object_begin(writer);
        if (node->source != NULL) {
            json_write_key(writer, TEXT_LITERAL("identity"));
            json_write_string(writer, node->source->identity);
        }
        json_write_object_end(writer);
    }
    TRY(write_environment(builder, writer, node));
    json_write_object_end(writer);
    struct text written;
    TRY(json_writer_finish(writer, &written));
    char *kept = arena_copy(builder->arena, written.bytes, written.length);
    node->declaration = (struct text){kept, written.length};
    arena_reset(&builder->scratch);
    return memory_check(kept);
}
