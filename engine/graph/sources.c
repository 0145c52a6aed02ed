/* sources.c - the files of the sources, and what is watched. */
#include "engine/graph/builder.h"

#include <assert.h>
#include <string.h>

#include "base/directory.h"
#include "engine/manifest/params.h"

enum { SOURCE_DEPTH_MAX = 16 };

struct error *sources_add_watch(struct builder *builder, struct watch watch)
{
    struct graph *graph = builder->graph;
    graph->watches = arena_grow(builder->arena, graph->watches, graph->watch_count,
        &builder->watch_capacity, sizeof *graph->watches);
    TRY(memory_check(graph->watches));
    graph->watches[graph->watch_count++] = watch;
    return NULL;
}

/* Before it is read; what a build that died was writing goes. */
struct error *sources_stat_lock(struct builder *builder, struct file_stamp *out)
{
    const char *path = builder->manifest->lock_path;
    char *beside = arena_format(builder->arena, "%s.tmp", path);
    enum file_kind kind;
    TRY(memory_check(beside));
    if (!builder->context->is_dry)
        TRY(file_remove(beside));
    TRY(file_stat(path, &kind, out));
    return kind == FILE_ABSENT ? NULL : file_stat_settled(path, out);
}

/* As it was before the sources were listed, or as that wrote it: what somebody else does to it
 * meanwhile is a change. */
struct error *sources_watch_lock(struct builder *builder, const struct file_stamp *before)
{
    const struct source_context *context = builder->context;
    struct watch watch = {.path = builder->manifest->lock_path, .stamp = *before};
    if (context->has_written_lock)
        watch.stamp = context->lock_stamp;
    return sources_add_watch(builder, watch);
}

/* A directory being listed, and those above it: a link back to one of them is not followed. */
struct level {
    const struct level *above;
    unsigned depth;
    struct file_stamp stamp;
};

static bool is_loop(const struct level *level)
{
    for (const struct level *above = level->above; above != NULL; above = above->above)
        if (file_stamp_equal(&above->stamp, &level->stamp))
            return true;
    return level->depth > SOURCE_DEPTH_MAX;
}

static struct error *list_disk(
    struct builder *builder, const char *name, const char *path, const struct level *above)
{
    struct file_entry *entries;
    size_t count;
    struct level level = {.above = above, .depth = above == NULL ? 0 : above->depth + 1};
    TRY(file_stat_settled(path, &level.stamp));
    if (is_loop(&level))
        return NULL;
    TRY(sources_add_watch(builder, (struct watch){.path = path, .stamp = level.stamp}));
    TRY(file_list_directory(builder->arena, path, &entries, &count));
    for (size_t i = 0; i < count; i++) {
        if (entries[i].name[0] == '.')
            continue; /* bookkeeping of other tools: .git, .cache, .gitattributes */
        char *file = path_join(builder->arena, name, entries[i].name);
        char *location = path_join(builder->arena, path, entries[i].name);
        if (file == NULL || location == NULL)
            return error_memory();
        if (entries[i].kind == FILE_DIRECTORY)
            TRY(list_disk(builder, file, location, &level));
        if (entries[i].kind != FILE_REGULAR)
            continue;
        builder->files = arena_grow(builder->arena, builder->files, builder->file_count,
            &builder->file_capacity, sizeof *builder->files);
        TRY(memory_check(builder->files));
        TRY(map_put(&builder->file_by_path, file, (uint32_t)builder->file_count));
        builder->files[builder->file_count++] = (struct disk_file){file, location};
    }
    return NULL;
}

struct error *sources_reserve_nodes(struct builder *builder, size_t count)
{
    struct graph *graph = builder->graph;
    if (count <= builder->node_capacity - graph->node_count)
        return NULL;
    size_t capacity = graph->node_count + count;
    struct node *nodes = arena_array(builder->arena, capacity, sizeof *nodes);
    const struct manifest_node **declared = arena_array(builder->arena, capacity, sizeof *declared);
    if (nodes == NULL || declared == NULL)
        return error_memory();
    if (graph->node_count > 0) {
        memcpy(nodes, graph->nodes, graph->node_count * sizeof *nodes);
        memcpy(declared, builder->declared, graph->node_count * sizeof *declared);
    }
    graph->nodes = nodes;
    builder->declared = declared;
    builder->node_capacity = capacity;
    return NULL;
}

struct error *sources_add_node(
    struct builder *builder, const struct node *node, const struct manifest_node *declared)
{
    struct graph *graph = builder->graph;
    assert(graph->node_count < builder->node_capacity);
    if (map_get(&graph->node_by_name, node->name) != MAP_NONE) {
        if (node->place != NULL)
            return json_error(node->place, "two nodes make \"%s\"", node->name);
        return error_new(ERROR_FORMAT, "two sources hold \"%s\"", node->name);
    }
    TRY(map_put(&graph->node_by_name, node->name, graph->node_count));
    builder->declared[graph->node_count] = declared;
    graph->nodes[graph->node_count++] = *node;
    return NULL;
}

static struct error *add_fetched(
    struct builder *builder, const struct manifest_source *source, const struct source_file *file)
{
    struct node node = {
        .type = registry_find(builder->graph->registry, builder->graph->registry->fetch_task),
        .group = GROUP_NONE,
        .is_fetched = true,
        .gives_back = source->keep == KEEP_UNTIL_USED,
        .pool = POOL_NONE,
        .source_directory = source->directory,
        .source = file,
        .place = source->place};
    node.name = path_join(builder->arena, source->directory, file->path);
    node.directory = node.name == NULL ? NULL : path_directory(builder->arena, node.name);
    TRY(memory_check(node.directory));
    return sources_add_node(builder, &node, NULL);
}

struct error *sources_list(struct builder *builder, const struct manifest_source *source)
{
    if (source->kind == NULL) {
        struct error *error = list_disk(builder, source->directory, source->path, NULL);
        if (error == NULL || error_kind_of(error) != ERROR_MISSING)
            return error_wrap(error, "listing source %s", source->directory);
        error_free(error);
        return json_error(
            json_get(source->declaration, "dir"), "no such directory: \"%s\"", source->path);
    }
    struct source_file *files = NULL;
    size_t count = 0;
    struct error *error = source->kind->list(
        builder->context, source->directory, source->declaration, &files, &count);
    if (error != NULL)
        return error_wrap(error, "listing source %s", source->directory);
    TRY(sources_reserve_nodes(builder, count));
    for (size_t i = 0; i < count; i++)
        TRY(add_fetched(builder, source, &files[i]));
    return NULL;
}
