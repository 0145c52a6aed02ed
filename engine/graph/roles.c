/* roles.c - what the roles of a node stand for: files, or other nodes, but views are seen through.
 */
#include "engine/graph/builder.h"

#include <stdlib.h>
#include <string.h>

/* ---- roles ---- */

struct refs {
    struct node_ref *items;
    uint32_t count;
    size_t capacity;
};

static struct error *add_ref(struct builder *builder, struct refs *refs, struct node_ref ref)
{
    for (uint32_t i = 0; i < refs->count; i++)
        if (strcmp(refs->items[i].path, ref.path) == 0)
            return NULL;
    refs->items =
        arena_grow(builder->arena, refs->items, refs->count, &refs->capacity, sizeof *refs->items);
    TRY(memory_check(refs->items));
    refs->items[refs->count++] = ref;
    return NULL;
}

static int compare_refs(const void *a, const void *b)
{
    const struct node_ref *x = a, *y = b;
    return strcmp(x->path, y->path);
}

static struct error *resolve_glob(
    struct builder *builder, const struct json *place, struct refs *refs)
{
    const char *pattern = place->text.bytes;
    struct graph *graph = builder->graph;
    uint32_t before = refs->count;
    uint32_t same = map_get(&graph->node_by_name, pattern);
    if (same != MAP_NONE)
        return add_ref(
            builder, refs, (struct node_ref){.path = pattern, .producer = same, .place = place});
    for (size_t i = 0; i < builder->file_count; i++)
        if (glob_match(pattern, builder->files[i].path))
            TRY(add_ref(builder, refs,
                (struct node_ref){.path = builder->files[i].path,
                    .producer = NODE_NONE,
                    .location = builder->files[i].location,
                    .place = place}));
    for (uint32_t i = 0; i < graph->node_count; i++)
        if (!graph->nodes[i].is_pattern && glob_match(pattern, graph->nodes[i].name))
            TRY(add_ref(builder, refs,
                (struct node_ref){.path = graph->nodes[i].name, .producer = i, .place = place}));
    if (refs->count > before + 1)
        qsort(refs->items + before, refs->count - before, sizeof *refs->items, compare_refs);
    return NULL;
}

uint32_t graph_find_producer(const struct graph *graph, const char *path)
{
    uint32_t same = map_get(&graph->node_by_name, path);
    if (same != MAP_NONE)
        return same;
    for (uint32_t p = 0; p < graph->pattern_count; p++)
        if (glob_match(graph->nodes[graph->patterns[p]].name, path))
            return graph->patterns[p];
    return NODE_NONE;
}

/* Whether a path lies in a source that is listed: then nothing else can bring it. */
static bool is_in_source(const struct builder *builder, const char *path)
{
    for (size_t i = 0; i < builder->manifest->source_count; i++)
        if (path_is_below(path, builder->manifest->sources[i].directory))
            return true;
    return false;
}

static struct error *resolve_path(
    struct builder *builder, const struct json *place, bool is_optional, struct refs *refs)
{
    const char *path = place->text.bytes;
    struct node_ref ref = {.path = path, .place = place};
    ref.producer = graph_find_producer(builder->graph, path);
    if (ref.producer != NODE_NONE)
        return add_ref(builder, refs, ref);
    uint32_t file = map_get(&builder->file_by_path, path);
    if (file != MAP_NONE) {
        ref.location = builder->files[file].location;
        return add_ref(builder, refs, ref);
    }
    enum file_kind kind = FILE_ABSENT;
    struct file_stamp stamp = {0};
    if (!is_in_source(builder, path))
        TRY(file_stat(path, &kind, &stamp));
    ref.location = path;
    ref.is_absent = kind != FILE_REGULAR;
    if (ref.is_absent && is_optional)
        TRY(sources_add_watch(builder, (struct watch){.path = path, .stamp = stamp}));
    if (ref.is_absent && !is_optional)
        return json_error(place,
            "no such file: \"%s\" is neither in a source, nor made by a node, "
            "nor on disk",
            path);
    return add_ref(builder, refs, ref);
}

struct error *roles_resolve(struct builder *builder, uint32_t index)
{
    struct node *node = &builder->graph->nodes[index];
    const struct manifest_node *declared = builder->declared[index];
    if (declared == NULL)
        return NULL;
    node->inputs = arena_array(builder->arena, declared->input_count, sizeof *node->inputs);
    TRY(memory_check(node->inputs));
    node->input_count = (uint32_t)declared->input_count;
    for (uint32_t i = 0; i < node->input_count; i++) {
        const struct manifest_input *input = &declared->inputs[i];
        struct refs refs = {0};
        for (size_t k = 0; k < input->count; k++) {
            if (glob_is_pattern(input->paths[k]->text.bytes))
                TRY(resolve_glob(builder, input->paths[k], &refs));
            else
                TRY(resolve_path(builder, input->paths[k], input->is_optional, &refs));
        }
        if (refs.count == 0 && !input->is_optional && input->count > 0)
            return json_error(input->paths[0], "role \"%s\": \"%s\" matches no file", input->role,
                input->paths[0]->text.bytes);
        bool is_many = input->spec == NULL || input->spec->is_many;
        if (refs.count > 1 && !is_many)
            return json_error(
                input->paths[0], "role \"%s\" takes one file, found %u", input->role, refs.count);
        node->inputs[i] = (struct node_input){.role = input->role,
            .reads = input->spec == NULL ? ROLE_CONTENT : input->spec->reads,
            .refs = refs.items,
            .ref_count = refs.count};
    }
    return NULL;
}

/* ---- views ---- */

static bool has_view(const struct builder *builder, const struct node_input *input)
{
    for (uint32_t k = 0; k < input->ref_count; k++) {
        uint32_t producer = input->refs[k].producer;
        if (producer != NODE_NONE && builder->graph->nodes[producer].is_view)
            return true;
    }
    return false;
}

/* In order, so that a view of a view is already resolved. */
struct error *roles_see_through(struct builder *builder, struct node *node)
{
    for (uint32_t i = 0; i < node->input_count; i++) {
        struct node_input *input = &node->inputs[i];
        struct refs refs = {0};
        if (!has_view(builder, input))
            continue;
        for (uint32_t k = 0; k < input->ref_count; k++) {
            const struct node_ref *ref = &input->refs[k];
            const struct node *view =
                ref->producer == NODE_NONE ? NULL : &builder->graph->nodes[ref->producer];
            if (view == NULL || !view->is_view) {
                TRY(add_ref(builder, &refs, *ref));
                continue;
            }
            for (uint32_t m = 0; m < view->input_count; m++)
                for (uint32_t n = 0; n < view->inputs[m].ref_count && m == 0; n++)
                    TRY(add_ref(builder, &refs, view->inputs[m].refs[n]));
        }
        input->refs = refs.items;
        input->ref_count = refs.count;
    }
    return NULL;
}
