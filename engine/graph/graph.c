/* graph.c - resolving declarations against each other and the files that are there. */
#include "engine/graph/graph.h"

#include <stdlib.h>
#include <string.h>

#include "base/directory.h"
#include "base/json_write.h"

enum { SOURCE_DEPTH_MAX = 16 };

/* A file of a source on disk. */
struct disk_file {
    const char *path, *location;
};

struct builder {
    struct arena *arena;
    struct graph *graph;
    const struct manifest *manifest;
    struct source_context *context;
    struct disk_file *files;
    size_t file_count, file_capacity;
    struct map file_by_path, group_by_directory;
    size_t node_capacity, watch_capacity, group_capacity, environment_capacity;
    const struct manifest_node **declared; /* by node index; NULL for fetched files */
    size_t declared_capacity;
    size_t pattern_capacity;
};

/* ---- sources ---- */

static struct error *add_watch(struct builder *builder, struct watch watch)
{
    struct graph *graph = builder->graph;
    graph->watches = arena_grow(builder->arena, graph->watches, graph->watch_count,
        &builder->watch_capacity, sizeof *graph->watches);
    if (graph->watches == NULL)
        return error_memory();
    graph->watches[graph->watch_count++] = watch;
    return NULL;
}

/* Before it is read; what a build that died was writing goes. */
static struct error *stat_lock(struct builder *builder, struct file_stamp *out)
{
    const char *path = builder->manifest->lock_path;
    char *beside = arena_format(builder->arena, "%s.tmp", path);
    enum file_kind kind;
    if (beside == NULL)
        return error_memory();
    if (!builder->context->is_dry)
        TRY(file_remove(beside));
    TRY(file_stat(path, &kind, out));
    return kind == FILE_ABSENT ? NULL : file_stat_settled(path, out);
}

/* As it was before the sources were listed, or as that wrote it: what somebody else does to it
 * meanwhile is a change. */
static struct error *watch_lock(struct builder *builder, const struct file_stamp *before)
{
    const struct source_context *context = builder->context;
    struct watch watch = {.path = builder->manifest->lock_path, .stamp = *before};
    if (context->has_written_lock)
        watch.stamp = context->lock_stamp;
    return add_watch(builder, watch);
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
    TRY(add_watch(builder, (struct watch){.path = path, .stamp = level.stamp}));
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
        if (builder->files == NULL)
            return error_memory();
        TRY(map_put(&builder->file_by_path, file, (uint32_t)builder->file_count));
        builder->files[builder->file_count++] = (struct disk_file){file, location};
    }
    return NULL;
}

static struct error *add_node(
    struct builder *builder, const struct node *node, const struct manifest_node *declared)
{
    struct graph *graph = builder->graph;
    graph->nodes = arena_grow(builder->arena, graph->nodes, graph->node_count,
        &builder->node_capacity, sizeof *graph->nodes);
    builder->declared = arena_grow(builder->arena, builder->declared, graph->node_count,
        &builder->declared_capacity, sizeof *builder->declared);
    if (graph->nodes == NULL || builder->declared == NULL)
        return error_memory();
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
    if (node.directory == NULL)
        return error_memory();
    return add_node(builder, &node, NULL);
}

static struct error *list_source(struct builder *builder, const struct manifest_source *source)
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
    for (size_t i = 0; i < count; i++)
        TRY(add_fetched(builder, source, &files[i]));
    return NULL;
}

/* ---- nodes of the manifest ---- */

static bool exists(const struct builder *builder, const char *path)
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
    if (graph->groups == NULL)
        return error_memory();
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

static struct error *add_declared(struct builder *builder, const struct manifest_node *declared)
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
    if (node.directory == NULL)
        return error_memory();
    if (map_get(&builder->file_by_path, node.name) != MAP_NONE)
        return json_error(node.place, "\"%s\" is a file of a source and cannot be made", node.name);
    if (declared->group != NULL && !node.is_view)
        TRY(find_group(builder, declared->group, &node.group));
    if (node.is_pattern) {
        struct graph *graph = builder->graph;
        graph->patterns = arena_grow(builder->arena, graph->patterns, graph->pattern_count,
            &builder->pattern_capacity, sizeof *graph->patterns);
        if (graph->patterns == NULL)
            return error_memory();
        graph->patterns[graph->pattern_count++] = graph->node_count;
    }
    return add_node(builder, &node, declared);
}

/* No name may match another node's pattern. */
static struct error *check_patterns(const struct builder *builder)
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
        if (group->nodes == NULL)
            return error_memory();
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
    if (refs->items == NULL)
        return error_memory();
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
        TRY(add_watch(builder, (struct watch){.path = path, .stamp = stamp}));
    if (ref.is_absent && !is_optional)
        return json_error(place,
            "no such file: \"%s\" is neither in a source, nor made by a node, "
            "nor on disk",
            path);
    return add_ref(builder, refs, ref);
}

static struct error *resolve_inputs(struct builder *builder, uint32_t index)
{
    struct node *node = &builder->graph->nodes[index];
    const struct manifest_node *declared = builder->declared[index];
    if (declared == NULL)
        return NULL;
    node->inputs = arena_array(builder->arena, declared->input_count, sizeof *node->inputs);
    if (node->inputs == NULL)
        return error_memory();
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

/* ---- order ---- */

static struct error *collect_needs(struct builder *builder, uint32_t index)
{
    struct node *node = &builder->graph->nodes[index];
    uint32_t most = 0;
    for (uint32_t i = 0; i < node->input_count; i++)
        most += node->inputs[i].ref_count;
    node->needs = arena_array(builder->arena, most, sizeof *node->needs);
    node->needs_content = arena_array(builder->arena, most, sizeof *node->needs_content);
    if (node->needs == NULL || node->needs_content == NULL)
        return error_memory();
    struct map seen = {.arena = builder->arena};
    for (uint32_t i = 0; i < node->input_count; i++) {
        for (uint32_t k = 0; k < node->inputs[i].ref_count; k++) {
            uint32_t producer = node->inputs[i].refs[k].producer;
            if (producer == NODE_NONE)
                continue;
            const char *name = builder->graph->nodes[producer].name;
            uint32_t at = map_get(&seen, name);
            if (at == MAP_NONE) {
                at = node->need_count++;
                node->needs[at] = producer;
                TRY(map_put(&seen, name, at));
            }
            if (node->inputs[i].reads == ROLE_CONTENT)
                node->needs_content[at] = true;
        }
    }
    return NULL;
}

/* The first need that is still blocked: every blocked node has one. */
static uint32_t step_along_cycle(const struct graph *graph, const uint32_t *blocked, uint32_t at)
{
    for (uint32_t k = 0; k < graph->nodes[at].need_count; k++)
        if (blocked[graph->nodes[at].needs[k]] > 0)
            return graph->nodes[at].needs[k];
    return at;
}

/* "a -> b -> a": follows needs that are still blocked until one repeats. */
static struct error *cycle_error(
    struct builder *builder, const uint32_t *blocked, uint32_t start, const char *hint)
{
    enum { SHOWN_MAX = 100 };
    const struct graph *graph = builder->graph;
    uint32_t at = start;
    for (uint32_t step = 0; step < graph->node_count; step++) /* certainly on the cycle now */
        at = step_along_cycle(graph, blocked, at);
    char *path = arena_format(builder->arena, "%s", graph->nodes[at].name);
    uint32_t first = at, length = 0;
    do {
        at = step_along_cycle(graph, blocked, at);
        if (path != NULL && ++length <= SHOWN_MAX)
            path = arena_format(builder->arena, "%s -> %s", path, graph->nodes[at].name);
    } while (at != first);
    if (path != NULL && length > SHOWN_MAX)
        path = arena_format(builder->arena, "%s -> ... (%u nodes in all)", path, length);
    if (path == NULL)
        return error_memory();
    return json_error(graph->nodes[first].place, "%s: %s", hint, path);
}

/* Kahn's algorithm with an explicit queue: chains may be 100 000 deep. */
static struct error *sort_nodes(struct builder *builder)
{
    struct graph *graph = builder->graph;
    uint32_t count = graph->node_count;
    uint32_t *blocked = arena_array(builder->arena, count, sizeof *blocked);
    uint32_t *first = arena_array(builder->arena, (size_t)count + 1, sizeof *first);
    graph->order = arena_array(builder->arena, count, sizeof *graph->order);
    if (blocked == NULL || first == NULL || graph->order == NULL)
        return error_memory();
    for (uint32_t i = 0; i < count; i++) {
        blocked[i] = graph->nodes[i].need_count;
        for (uint32_t k = 0; k < blocked[i]; k++)
            first[graph->nodes[i].needs[k] + 1]++;
    }
    for (uint32_t i = 0; i < count; i++)
        first[i + 1] += first[i];
    uint32_t *readers = arena_array(builder->arena, first[count], sizeof *readers);
    uint32_t *filled = arena_array(builder->arena, count, sizeof *filled);
    if (readers == NULL || filled == NULL)
        return error_memory();
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < graph->nodes[i].need_count; k++) {
            uint32_t producer = graph->nodes[i].needs[k];
            readers[first[producer] + filled[producer]++] = i;
        }
    uint32_t done = 0;
    for (uint32_t i = 0; i < count; i++)
        if (blocked[i] == 0)
            graph->order[done++] = i;
    for (uint32_t at = 0; at < done; at++)
        for (uint32_t k = first[graph->order[at]]; k < first[graph->order[at] + 1]; k++)
            if (--blocked[readers[k]] == 0)
                graph->order[done++] = readers[k];
    for (uint32_t i = 0; done < count && i < count; i++)
        if (blocked[i] > 0)
            return cycle_error(builder, blocked, i, "these nodes need each other");
    return NULL;
}

/* ---- units: a group, or a node without one ---- */

static uint32_t unit_of(const struct graph *graph, uint32_t index)
{
    uint32_t group = graph->nodes[index].group;
    return group == GROUP_NONE ? graph->group_count + index : group;
}

/* The nodes of a unit. */
static const uint32_t *unit_nodes(
    const struct graph *graph, uint32_t unit, const uint32_t *own, uint32_t *count)
{
    if (unit < graph->group_count) {
        *count = graph->groups[unit].node_count;
        return graph->groups[unit].nodes;
    }
    *count = 1;
    return &own[unit - graph->group_count];
}

/* A need of a blocked unit that lies in another blocked one: a step along the cycle. */
static bool find_blocked_need(const struct graph *graph, const uint32_t *blocked,
    const uint32_t *own, uint32_t unit, uint32_t *reader, uint32_t *need)
{
    uint32_t count;
    const uint32_t *nodes = unit_nodes(graph, unit, own, &count);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < graph->nodes[nodes[i]].need_count; k++) {
            uint32_t other = unit_of(graph, graph->nodes[nodes[i]].needs[k]);
            if (other == unit || blocked[other] == 0)
                continue;
            *reader = nodes[i];
            *need = graph->nodes[nodes[i]].needs[k];
            return true;
        }
    return false;
}

static struct error *group_cycle_error(
    const struct graph *graph, const uint32_t *blocked, const uint32_t *own, uint32_t unit)
{
    uint32_t reader = 0, need = 0, units = graph->group_count + graph->node_count;
    for (uint32_t step = 0; step < units; step++) /* certainly on the cycle now */
        if (find_blocked_need(graph, blocked, own, unit, &reader, &need))
            unit = unit_of(graph, need);
    while (unit >= graph->group_count) { /* nodes alone are in order: a group is on the cycle */
        if (!find_blocked_need(graph, blocked, own, unit, &reader, &need))
            break;
        unit = unit_of(graph, need);
    }
    find_blocked_need(graph, blocked, own, unit, &reader, &need);
    return json_error(graph->nodes[reader].place,
        "\"%s\" needs \"%s\", which itself needs files of the group \"%s\": a group is sealed as "
        "one",
        graph->nodes[reader].name, graph->nodes[need].name,
        unit < graph->group_count ? graph->groups[unit].directory : "");
}

/* A path that leaves a group and enters it again could never be sealed: Kahn's algorithm once more,
 * over units. An edge counts as often as nodes of the one need nodes of the other. */
static struct error *check_groups(struct builder *builder)
{
    struct graph *graph = builder->graph;
    uint32_t units = graph->group_count + graph->node_count, done = 0;
    uint32_t *blocked = arena_array(builder->arena, units, sizeof *blocked);
    uint32_t *first = arena_array(builder->arena, (size_t)units + 2, sizeof *first);
    uint32_t *queue = arena_array(builder->arena, units, sizeof *queue);
    uint32_t *own = arena_array(builder->arena, graph->node_count, sizeof *own);
    if (blocked == NULL || first == NULL || queue == NULL || own == NULL)
        return error_memory();
    for (uint32_t i = 0; i < graph->node_count; i++) {
        own[i] = i;
        for (uint32_t k = 0; k < graph->nodes[i].need_count; k++) {
            uint32_t from = unit_of(graph, graph->nodes[i].needs[k]), to = unit_of(graph, i);
            if (from == to)
                continue;
            blocked[to]++;
            first[from + 2]++;
        }
    }
    for (uint32_t u = 0; u < units; u++)
        first[u + 2] += first[u + 1];
    uint32_t *readers = arena_array(builder->arena, first[units + 1], sizeof *readers);
    if (readers == NULL)
        return error_memory();
    for (uint32_t i = 0; i < graph->node_count; i++)
        for (uint32_t k = 0; k < graph->nodes[i].need_count; k++) {
            uint32_t from = unit_of(graph, graph->nodes[i].needs[k]), to = unit_of(graph, i);
            if (from != to)
                readers[first[from + 1]++] = to;
        }
    for (uint32_t u = 0; u < units; u++)
        if (blocked[u] == 0)
            queue[done++] = u;
    for (uint32_t at = 0; at < done; at++)
        for (uint32_t k = first[queue[at]]; k < first[queue[at] + 1]; k++)
            if (--blocked[readers[k]] == 0)
                queue[done++] = readers[k];
    for (uint32_t u = 0; done < units && u < units; u++)
        if (blocked[u] > 0)
            return group_cycle_error(graph, blocked, own, u);
    return NULL;
}

/* ---- views ---- */

/* In order, so that a view of a view is already resolved. */
static struct error *see_through(struct builder *builder, struct node *node)
{
    for (uint32_t i = 0; i < node->input_count; i++) {
        struct node_input *input = &node->inputs[i];
        struct refs refs = {0};
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

/* ---- keys ---- */

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
            if (graph->environment == NULL)
                return error_memory();
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
    char(*keys)[HASH_HEX_BYTES] = arena_array(builder->arena, node->need_count, sizeof *keys);
    uint32_t count = 0;
    if (keys == NULL)
        return error_memory();
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
static struct error *declare(struct builder *builder, struct node *node)
{
    struct json_writer *writer = json_writer_new(builder->arena, &JSON_STYLE_CANONICAL);
    struct node_input *sorted = arena_array(builder->arena, node->input_count, sizeof *sorted);
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
    TRY(json_writer_finish(writer, &node->declaration));
    return NULL;
}

/* ---- the whole ---- */

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
    if (is_added == NULL)
        return error_memory();
    for (bool is_growing = true; is_growing;) {
        is_growing = false;
        for (size_t i = 0; i < manifest->node_count; i++) {
            const struct manifest_node *declared = &manifest->nodes[i];
            if (is_added[i] || (declared->when != NULL && !exists(builder, declared->when)))
                continue;
            TRY(add_declared(builder, declared));
            is_added[i] = is_growing = true;
        }
    }
    return NULL;
}

static struct error *add_all(struct builder *builder)
{
    struct file_stamp lock;
    TRY(copy_names(builder));
    TRY(stat_lock(builder, &lock));
    for (size_t i = 0; i < builder->manifest->source_count; i++)
        TRY(list_source(builder, &builder->manifest->sources[i]));
    TRY(watch_lock(builder, &lock));
    for (size_t i = 0; i < builder->manifest->watch_count; i++)
        TRY(add_watch(builder, builder->manifest->watches[i]));
    return add_all_declared(builder);
}

struct error *graph_build(struct arena *arena, const struct manifest *manifest,
    const struct registry *registry, const char *data_directory, struct source_context *context,
    struct graph **out)
{
    struct graph *graph = arena_alloc(arena, sizeof *graph);
    if (graph == NULL)
        return error_memory();
    *graph = (struct graph){.manifest = manifest,
        .registry = registry,
        .node_by_name = {.arena = arena},
        .data_directory = data_directory};
    struct builder builder = {.arena = arena,
        .graph = graph,
        .manifest = manifest,
        .context = context,
        .file_by_path = {.arena = arena},
        .group_by_directory = {.arena = arena}};
    TRY(add_all(&builder));
    TRY(check_patterns(&builder));
    TRY(graph_fill_groups(arena, builder.graph));
    for (uint32_t i = 0; i < graph->node_count; i++)
        TRY(resolve_inputs(&builder, i));
    for (uint32_t i = 0; i < graph->node_count; i++)
        TRY(collect_needs(&builder, i));
    TRY(sort_nodes(&builder));
    for (uint32_t at = 0; at < graph->node_count; at++) {
        struct node *node = &graph->nodes[graph->order[at]];
        TRY(declare(&builder, node));
        node->key = hash_text(node->declaration);
        TRY(see_through(&builder, node));
        node->need_count = 0;
        TRY(collect_needs(&builder, graph->order[at]));
    }
    TRY(check_groups(&builder)); /* what is seen through a view of the group stays inside */
    *out = graph;
    return NULL;
}

/* ---- targets ---- */

static struct error *name_target(const struct graph *graph, const char *target, bool *is_named)
{
    bool found = false;
    uint32_t producer = graph_find_producer(graph, target);
    if (producer != NODE_NONE)
        is_named[producer] = found = true;
    for (uint32_t i = 0; producer == NODE_NONE && i < graph->node_count; i++)
        if (target[0] == '\0' || path_is_below(graph->nodes[i].name, target))
            is_named[i] = found = true;
    for (uint32_t i = 0; i < graph->disk_source_count; i++) {
        const char *source = graph->disk_sources[i];
        found |= strcmp(source, target) == 0 || path_is_below(target, source); /* there already */
    }
    if (found)
        return NULL;
    return error_new(
        ERROR_USAGE, "unknown target \"%s\": %s makes nothing there", target, graph->manifest_name);
}

void graph_find_itself(
    const struct graph *graph, const char *const *targets, size_t target_count, bool *is_itself)
{
    for (size_t t = 0; t < target_count; t++) {
        uint32_t producer = graph_find_producer(graph, targets[t]);
        bool is_source = false;
        for (uint32_t s = 0; s < graph->source_count; s++)
            is_source |= strcmp(graph->sources[s], targets[t]) == 0;
        if (producer != NODE_NONE)
            is_itself[producer] = true;
        for (uint32_t i = 0; is_source && i < graph->node_count; i++)
            is_itself[i] |=
                graph->nodes[i].is_fetched && path_is_below(graph->nodes[i].name, targets[t]);
    }
}

/* Marks what a wanted node brings along; true if anything was new. */
static bool want_more(const struct graph *graph, uint32_t index, bool *is_wanted)
{
    const struct node *node = &graph->nodes[index];
    bool is_new = false;
    if (node->is_view)
        return false; /* its readers need what they see through it */
    for (uint32_t k = 0; k < node->need_count; k++) {
        is_new |= !is_wanted[node->needs[k]];
        is_wanted[node->needs[k]] = true;
    }
    const struct group *group = node->group == GROUP_NONE ? NULL : &graph->groups[node->group];
    for (uint32_t k = 0; group != NULL && k < group->node_count; k++) {
        is_new |= !is_wanted[group->nodes[k]];
        is_wanted[group->nodes[k]] = true;
    }
    return is_new;
}

struct error *graph_select(const struct graph *graph, const char *const *targets,
    size_t target_count, bool *is_wanted, bool *is_named)
{
    for (size_t i = 0; i < target_count; i++)
        TRY(name_target(graph, targets[i], is_named));
    for (uint32_t i = 0; target_count == 0 && i < graph->default_count; i++)
        TRY(name_target(graph, graph->defaults[i], is_named));
    for (uint32_t i = 0; i < graph->node_count; i++) {
        if (target_count == 0 && graph->default_count == 0)
            is_named[i] = !graph->nodes[i].is_fetched;
        is_wanted[i] = is_named[i];
    }
    /* Backwards through the order, needs are marked before they are met; only a group's earlier
     * members may call for another round. */
    for (bool is_growing = true; is_growing;) {
        is_growing = false;
        for (uint32_t at = graph->node_count; at-- > 0;)
            if (is_wanted[graph->order[at]])
                is_growing |= want_more(graph, graph->order[at], is_wanted);
    }
    for (uint32_t i = 0; i < graph->node_count; i++)
        is_wanted[i] &= !graph->nodes[i].is_view; /* seen through, never made */
    return NULL;
}
