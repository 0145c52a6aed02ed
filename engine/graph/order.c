/* order.c - who needs whom, and in which order: of nodes, and of groups. */
#include "engine/graph/builder.h"

/* ---- order ---- */

struct error *order_collect_needs(struct builder *builder, uint32_t index)
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
    TRY(memory_check(path));
    return json_error(graph->nodes[first].place, "%s: %s", hint, path);
}

/* Kahn's algorithm with an explicit queue: chains may be 100 000 deep. */
struct error *order_sort(struct builder *builder)
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
struct error *order_check_groups(struct builder *builder)
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
    TRY(memory_check(readers));
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
