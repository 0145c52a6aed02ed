/* graph.c - the whole: declarations resolved against each other and the files that are there. */
#include "engine/graph/builder.h"

static struct error *copy_names(struct builder *builder)
{
    const struct manifest *manifest = builder->manifest;
    struct graph *graph = builder->graph;
    graph->manifest_name = manifest->name;
    graph->defaults = arena_array(builder->arena, manifest->default_count, sizeof *graph->defaults);
    graph->disk_sources =
        arena_array(builder->arena, manifest->source_count, sizeof *graph->disk_sources);
    graph->sources = arena_array(builder->arena, manifest->source_count, sizeof *graph->sources);
    graph->pools = arena_array(builder->arena, manifest->pool_count + 1, sizeof *graph->pools);
    if (graph->defaults == NULL || graph->disk_sources == NULL || graph->sources == NULL ||
        graph->pools == NULL)
        return error_memory();
    graph->pools[graph->pool_count++] = (struct graph_pool){"console", 1};
    for (size_t i = 0; i < manifest->pool_count; i++)
        graph->pools[graph->pool_count++] =
            (struct graph_pool){manifest->pools[i].name, manifest->pools[i].depth};
    for (size_t i = 0; i < manifest->default_count; i++)
        graph->defaults[graph->default_count++] = manifest->defaults[i]->text.bytes;
    for (size_t i = 0; i < manifest->source_count; i++)
        if (manifest->sources[i].kind == NULL)
            graph->disk_sources[graph->disk_source_count++] = manifest->sources[i].directory;
        else
            graph->sources[graph->source_count++] = manifest->sources[i].directory;
    return NULL;
}

/* Whatever the order of the manifest: a "when" may name a node that is declared after it and has a
 * "when" of its own. */
static struct error *add_all_declared(struct builder *builder)
{
    const struct manifest *manifest = builder->manifest;
    bool *is_added = arena_array(builder->arena, manifest->node_count, sizeof *is_added);
    TRY(memory_check(is_added));
    TRY(sources_reserve_nodes(builder, manifest->node_count));
    for (bool is_growing = true; is_growing;) {
        is_growing = false;
        for (size_t i = 0; i < manifest->node_count; i++) {
            const struct manifest_node *declared = &manifest->nodes[i];
            if (is_added[i] || (declared->when != NULL && !nodes_exist(builder, declared->when)))
                continue;
            TRY(nodes_add_declared(builder, declared));
            is_added[i] = is_growing = true;
        }
    }
    return NULL;
}

static struct error *add_all(struct builder *builder)
{
    struct file_stamp lock;
    TRY(copy_names(builder));
    TRY(sources_stat_lock(builder, &lock));
    for (size_t i = 0; i < builder->manifest->source_count; i++)
        TRY(sources_list(builder, &builder->manifest->sources[i]));
    TRY(sources_watch_lock(builder, &lock));
    for (size_t i = 0; i < builder->manifest->watch_count; i++)
        TRY(sources_add_watch(builder, builder->manifest->watches[i]));
    return add_all_declared(builder);
}

static struct error *build_all(struct builder *builder)
{
    struct graph *graph = builder->graph;
    TRY(add_all(builder));
    TRY(nodes_check_patterns(builder));
    TRY(graph_fill_groups(builder->arena, graph));
    for (uint32_t i = 0; i < graph->node_count; i++)
        TRY(roles_resolve(builder, i));
    for (uint32_t i = 0; i < graph->node_count; i++)
        TRY(order_collect_needs(builder, i));
    TRY(order_sort(builder));
    for (uint32_t at = 0; at < graph->node_count; at++) {
        struct node *node = &graph->nodes[graph->order[at]];
        TRY(keys_declare(builder, node));
        node->key = hash_text(node->declaration);
        TRY(roles_see_through(builder, node));
        node->need_count = 0;
        TRY(order_collect_needs(builder, graph->order[at]));
    }
    return order_check_groups(builder); /* what is seen through a view of the group stays inside */
}

struct error *graph_build(struct arena *arena, const struct manifest *manifest,
    const struct registry *registry, const char *data_directory, struct source_context *context,
    struct graph **out)
{
    struct graph *graph = arena_alloc(arena, sizeof *graph);
    TRY(memory_check(graph));
    *graph = (struct graph){.manifest = manifest,
        .registry = registry,
        .node_by_name = {.arena = arena},
        .data_directory = data_directory};
    struct builder builder = {.arena = arena,
        .graph = graph,
        .manifest = manifest,
        .context = context,
        .scratch = {.budget = arena->budget},
        .file_by_path = {.arena = arena},
        .group_by_directory = {.arena = arena}};
    struct error *error = build_all(&builder);
    arena_end(&builder.scratch);
    TRY(error);
    *out = graph;
    return NULL;
}
