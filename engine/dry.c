/* dry.c - `-n`: what would be made, without making it. */
#include "engine/schedule.h"

#include "engine/cache.h"
#include "engine/stale.h"

/* Layouts are planned, contents are not known. */
static struct error *dry_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    struct node_run *run = &build->runs[index];
    struct staleness staleness = {.verdict = VERDICT_STALE};
    struct build_event event = {.kind = EVENT_STARTED, .node = node->name};
    for (uint32_t k = 0; k < node->need_count; k++)
        if (build->runs[node->needs[k]].status == STATUS_PLANNED &&
            (node->needs_content[k] || build->runs[node->needs[k]].layout.length == 0))
            staleness.reason = arena_format(&build->arena, "it needs %s, which would be made",
                build->graph->nodes[node->needs[k]].name);
    bool is_known = staleness.reason == NULL;
    if (is_known)
        TRY(stale_check(build, index, &run->arena, &staleness));
    if (staleness.verdict == VERDICT_FRESH)
        return schedule_set_fresh(schedule, index);
    if (staleness.verdict == VERDICT_HASH_FIRST)
        staleness.reason = arena_format(&build->arena, "%s has another stamp and would be hashed",
            build->state->files[staleness.files[0]].path);
    build_say(build, EVENT_STALE, node->name, staleness.reason);
    struct plan *plan = NULL;
    const struct record *past = NULL;
    if (is_known)
        TRY(cache_find(build, index, &past));
    struct error *error = past != NULL ? cache_plan(build, index, past, &plan)
                          : is_known   ? plan_node(build, index, &plan)
                                       : NULL;
    if (error != NULL && error_kind_of(error) != ERROR_MISSING)
        return error_wrap(error, "planning %s", node->name);
    error_free(error);
    event.size_bytes = PLAN_SIZE_UNKNOWN;
    if (plan != NULL && error == NULL) {
        event.is_restored = past != NULL;
        run->layout = plan->layout;
        run->layout_hash = hash_text(run->layout);
        event.size_bytes = plan->bytes_to_read;
        event.pieces_made = plan->pieces_to_make;
        event.pieces_kept = plan->piece_count - plan->pieces_to_make;
    }
    build->options->on_event(build->options->context, &event);
    build->stats.nodes_made++;
    run->status = STATUS_PLANNED;
    return NULL;
}

struct error *dry_run(struct schedule *schedule)
{
    struct build *build = schedule->build;
    if (build->state->intent != NULL)
        build_say(
            build, EVENT_NOTE, NULL, "an interrupted build's renames would be finished first");
    for (uint32_t at = 0; at < build->graph->node_count; at++) {
        uint32_t index = build->graph->order[at];
        if (!build->runs[index].is_wanted)
            continue;
        struct error *error = dry_node(schedule, index);
        if (error != NULL)
            schedule_fail(schedule, index, error);
    }
    return NULL;
}
