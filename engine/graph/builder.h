/* builder.h - a graph that is being built: of this folder only, whose files are, from low to high:
 * sources, nodes, roles, order, keys, graph, select. */
#ifndef PSYBUILD_ENGINE_GRAPH_BUILDER_H
#define PSYBUILD_ENGINE_GRAPH_BUILDER_H

#include "base/map.h"
#include "engine/graph/graph.h"

/* A file of a source on disk. */
struct disk_file {
    const char *path, *location;
};

struct builder {
    struct arena *arena, scratch; /* of one node's declaration */
    struct graph *graph;
    const struct manifest *manifest;
    struct source_context *context;
    struct disk_file *files;
    size_t file_count, file_capacity;
    struct map file_by_path, group_by_directory;
    size_t node_capacity, watch_capacity, group_capacity, environment_capacity;
    const struct manifest_node **declared; /* by node index; NULL for fetched files */
    size_t pattern_capacity;
};

/* ---- sources.c ---- */
MUST_CHECK struct error *sources_add_watch(struct builder *builder, struct watch watch);
MUST_CHECK struct error *sources_stat_lock(struct builder *builder, struct file_stamp *out);
MUST_CHECK struct error *sources_watch_lock(
    struct builder *builder, const struct file_stamp *before);
/* Room for so many nodes more. */
MUST_CHECK struct error *sources_reserve_nodes(struct builder *builder, size_t count);
MUST_CHECK struct error *sources_add_node(
    struct builder *builder, const struct node *node, const struct manifest_node *declared);
MUST_CHECK struct error *sources_list(
    struct builder *builder, const struct manifest_source *source);

/* ---- nodes.c ---- */
bool nodes_exist(const struct builder *builder, const char *path);
MUST_CHECK struct error *nodes_add_declared(
    struct builder *builder, const struct manifest_node *declared);
MUST_CHECK struct error *nodes_check_patterns(const struct builder *builder);

/* ---- roles.c: what a node's roles stand for ---- */
MUST_CHECK struct error *roles_resolve(struct builder *builder, uint32_t index);
/* Views among them are replaced by what they stand for. */
MUST_CHECK struct error *roles_see_through(struct builder *builder, struct node *node);

/* ---- order.c ---- */
/* What the node needs: once before views are seen through, and again after. */
MUST_CHECK struct error *order_collect_needs(struct builder *builder, uint32_t index);
/* The graph's order; a cycle is named as a path. */
MUST_CHECK struct error *order_sort(struct builder *builder);
/* No path may leave a group and enter it again. */
MUST_CHECK struct error *order_check_groups(struct builder *builder);

/* ---- keys.c ---- */
/* The node's declaration, canonical. */
MUST_CHECK struct error *keys_declare(struct builder *builder, struct node *node);

#endif
