/* nodes.c - the nodes that the manifest declares, and their groups. */
#include "engine/graph/builder.h"

#include <string.h>

bool nodes_exist(const struct builder *builder, const char *path)
{
    if (!glob_is_pattern(path))
        return map_get(&builder->file_by_path, path) != MAP_NONE ||
               map_get(&builder->graph->node_by_name, path) != MAP_NONE;
    for (size_t i = 0; i < builder->file_count; i++)
        if (glob_match(path, builder->files[i].path))
            return true;
    for (uint32_t i = 0; i < builder->graph->node_count; i++)
        if (!builder->graph->nodes[i].is_pattern && glob_match(path, builder->graph->nodes[i].name))
            return true;
    return false;
}

static struct error *find_group(struct builder *builder, const char *directory, uint32_t *out)
{
    struct graph *graph = builder->graph;
    *out = map_get(&builder->group_by_directory, directory);
    if (*out != MAP_NONE)
        return NULL;
    *out = graph->group_count;
    TRY(map_put(&builder->group_by_directory, directory, *out));
    graph->groups = arena_grow(builder->arena, graph->groups, graph->group_count,
        &builder->group_capacity, sizeof *graph->groups);
    TRY(memory_check(graph->groups));
    graph->groups[graph->group_count++] = (struct group){.directory = directory};
    return NULL;
}

static uint32_t find_pool(const struct graph *graph, const char *name)
{
    for (uint32_t i = 0; name != NULL && i < graph->pool_count; i++)
        if (strcmp(graph->pools[i].name, name) == 0)
            return i;
    return POOL_NONE; /* the manifest was checked: it names none */
}

struct error *nodes_add_declared(struct builder *builder, const struct manifest_node *declared)
{
    struct node node = {.name = declared->name,
        .directory = path_directory(builder->arena, declared->name),
        .is_pattern = glob_is_pattern(declared->name),
        .is_view = declared->keep == KEEP_NEVER,
        .gives_back = declared->keep == KEEP_UNTIL_USED,
        .pool = find_pool(builder->graph, declared->pool),
        .type = declared->type,
        .with = declared->with,
        .place = declared->place,
        .group = GROUP_NONE,
        .expected_hash = declared->hash};
    TRY(memory_check(node.directory));
    if (map_get(&builder->file_by_path, node.name) != MAP_NONE)
        return json_error(node.place, "\"%s\" is a file of a source and cannot be made", node.name);
    if (declared->group != NULL && !node.is_view)
        TRY(find_group(builder, declared->group, &node.group));
    if (node.is_pattern) {
        struct graph *graph = builder->graph;
        graph->patterns = arena_grow(builder->arena, graph->patterns, graph->pattern_count,
            &builder->pattern_capacity, sizeof *graph->patterns);
        TRY(memory_check(graph->patterns));
        graph->patterns[graph->pattern_count++] = graph->node_count;
    }
    return sources_add_node(builder, &node, declared);
}

/* No name may match another node's pattern. */
struct error *nodes_check_patterns(const struct builder *builder)
{
    const struct graph *graph = builder->graph;
    for (uint32_t p = 0; p < graph->pattern_count; p++) {
        const struct node *pattern = &graph->nodes[graph->patterns[p]];
        for (uint32_t i = 0; i < graph->node_count; i++)
            if (i != graph->patterns[p] && glob_match(pattern->name, graph->nodes[i].name))
                return json_error(pattern->place,
                    "two nodes make \"%s\": it matches the pattern \"%s\"", graph->nodes[i].name,
                    pattern->name);
    }
    return NULL;
}

struct error *graph_fill_groups(struct arena *arena, struct graph *graph)
{
    for (uint32_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].group != GROUP_NONE)
            graph->groups[graph->nodes[i].group].node_count++;
    for (uint32_t g = 0; g < graph->group_count; g++) {
        struct group *group = &graph->groups[g];
        group->nodes = arena_array(arena, group->node_count, sizeof *group->nodes);
        TRY(memory_check(group->nodes));
        group->node_count = 0;
    }
    for (uint32_t i = 0; i < graph->node_count; i++) {
        if (graph->nodes[i].group == GROUP_NONE)
            continue;
        struct group *group = &graph->groups[graph->nodes[i].group];
        group->nodes[group->node_count++] = i;
    }
    return NULL;
}
