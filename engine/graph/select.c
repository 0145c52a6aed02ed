/* select.c - what targets stand for. */
#include "engine/graph/graph.h"

#include <string.h>

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
