/* shadow.c - the graph's names, needs and groups as bytes. */
#include "engine/stale/shadow.h"

enum { NODE_FETCHED = 1, NODE_PATTERN = 2, NODE_VIEW = 4, NODE_GIVES_BACK = 8 };

void shadow_put(struct buffer *writer, const struct graph *graph)
{
    wire_put_name(writer, graph->manifest_name);
    wire_put_u32(writer, graph->default_count);
    for (uint32_t i = 0; i < graph->default_count; i++)
        wire_put_name(writer, graph->defaults[i]);
    wire_put_u32(writer, graph->disk_source_count);
    for (uint32_t i = 0; i < graph->disk_source_count; i++)
        wire_put_name(writer, graph->disk_sources[i]);
    wire_put_u32(writer, graph->source_count);
    for (uint32_t i = 0; i < graph->source_count; i++)
        wire_put_name(writer, graph->sources[i]);
    wire_put_u32(writer, graph->group_count);
    for (uint32_t i = 0; i < graph->group_count; i++)
        wire_put_name(writer, graph->groups[i].directory);
    wire_put_u32(writer, graph->node_count);
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        wire_put_name(writer, node->name);
        wire_put_u8(writer,
            (uint8_t)((node->is_fetched ? NODE_FETCHED : 0) |
                      (node->is_pattern ? NODE_PATTERN : 0) | (node->is_view ? NODE_VIEW : 0) |
                      (node->gives_back ? NODE_GIVES_BACK : 0)));
        wire_put_u32(writer, node->group);
        wire_put_u32(writer, node->need_count);
        for (uint32_t k = 0; k < node->need_count; k++)
            wire_put_u32(writer, node->needs[k]);
    }
    for (uint32_t i = 0; i < graph->node_count; i++)
        wire_put_u32(writer, graph->order[i]);
}

static struct error *get_names(
    struct wire_reader *reader, struct arena *arena, const char ***names, uint32_t *count)
{
    *count = wire_get_count(reader, 5);
    *names = arena_array(arena, *count, sizeof **names);
    for (uint32_t i = 0; *names != NULL && i < *count; i++)
        (*names)[i] = wire_get_name(reader);
    return memory_check(*names);
}

static uint32_t get_index(struct wire_reader *reader, uint32_t count)
{
    uint32_t index = wire_get_u32(reader);
    if (index >= count)
        reader->failed = true;
    return reader->failed ? 0 : index;
}

static struct error *get_node(
    struct wire_reader *reader, struct arena *arena, const struct graph *graph, struct node *node)
{
    node->name = wire_get_name(reader);
    uint8_t flags = wire_get_u8(reader);
    node->is_fetched = (flags & NODE_FETCHED) != 0;
    node->is_pattern = (flags & NODE_PATTERN) != 0;
    node->is_view = (flags & NODE_VIEW) != 0;
    node->gives_back = (flags & NODE_GIVES_BACK) != 0;
    node->group = wire_get_u32(reader);
    if (node->group != GROUP_NONE && node->group >= graph->group_count)
        reader->failed = true;
    node->need_count = wire_get_count(reader, 4);
    node->needs = arena_array(arena, node->need_count, sizeof *node->needs);
    TRY(memory_check(node->needs));
    for (uint32_t k = 0; k < node->need_count; k++)
        node->needs[k] = get_index(reader, graph->node_count);
    return NULL;
}

static struct error *fill_lists(struct arena *arena, struct graph *graph)
{
    graph->patterns = arena_array(arena, graph->node_count, sizeof *graph->patterns);
    TRY(memory_check(graph->patterns));
    for (uint32_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].is_pattern)
            graph->patterns[graph->pattern_count++] = i;
    return graph_fill_groups(arena, graph);
}

struct error *shadow_get(struct wire_reader *reader, struct arena *arena, struct graph **out)
{
    enum { NODE_BYTES_MIN = 5 + 1 + 4 + 4 };
    struct graph *graph = arena_alloc(arena, sizeof *graph);
    TRY(memory_check(graph));
    const char **directories;
    graph->manifest_name = wire_get_name(reader);
    TRY(get_names(reader, arena, &graph->defaults, &graph->default_count));
    TRY(get_names(reader, arena, &graph->disk_sources, &graph->disk_source_count));
    TRY(get_names(reader, arena, &graph->sources, &graph->source_count));
    TRY(get_names(reader, arena, &directories, &graph->group_count));
    graph->groups = arena_array(arena, graph->group_count, sizeof *graph->groups);
    graph->node_count = wire_get_count(reader, NODE_BYTES_MIN);
    graph->nodes = arena_array(arena, graph->node_count, sizeof *graph->nodes);
    graph->order = arena_array(arena, graph->node_count, sizeof *graph->order);
    if (graph->groups == NULL || graph->nodes == NULL || graph->order == NULL)
        return error_memory();
    for (uint32_t i = 0; i < graph->group_count; i++)
        graph->groups[i].directory = directories[i];
    graph->node_by_name.arena = arena;
    for (uint32_t i = 0; i < graph->node_count && wire_reader_good(reader); i++) {
        TRY(get_node(reader, arena, graph, &graph->nodes[i]));
        TRY(map_put(&graph->node_by_name, graph->nodes[i].name, i));
    }
    for (uint32_t i = 0; i < graph->node_count; i++)
        graph->order[i] = get_index(reader, graph->node_count);
    if (!wire_reader_good(reader))
        return NULL;
    *out = graph;
    return fill_lists(arena, graph);
}
