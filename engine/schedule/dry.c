/* dry.c - `-n`: what would be made, without making it. */
#include "engine/schedule/schedule.h"

#include "engine/stale/stale.h"
#include "engine/plan/staging.h"
#include "engine/plan/planner.h"
#include "engine/plan/restore.h"
#include "engine/seal/ours.h"

/* A need that would be made, and about which nothing is known beforehand; NULL: none. */
static const char *find_unmade(const struct build *build, const struct node *node)
{
    for (uint32_t k = 0; k < node->need_count; k++) {
        const struct node_run *need = &build->runs[node->needs[k]];
        if (need->status == STATUS_PLANNED && (node->needs_content[k] || need->layout.length == 0))
            return build->graph->nodes[node->needs[k]].name;
    }
    return NULL;
}

static void count(struct schedule *schedule, uint32_t index)
{
    schedule->build->stats.nodes_made++;
    ready_set_status(schedule, index, STATUS_PLANNED);
}

/* Sizes are not known before other nodes are made. */
static void say_unknown(struct build *build, uint32_t index)
{
    build->options->on_event(build->options->context, &(struct build_event){.kind = EVENT_STARTED,
                                                          .node = build->graph->nodes[index].name,
                                                          .size_bytes = PLAN_SIZE_UNKNOWN});
}

/* A file that was given back would be fetched once more. */
static void say_fetched_again(struct schedule *schedule, uint32_t index, const char *reader)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    if (build->runs[index].status != STATUS_FRESH || !build->runs[index].is_given_back)
        return;
    run_say(build, EVENT_STALE, node->name,
        arena_format(&build->arena, "it was given back, and %s needs it", reader));
    if (node->source != NULL && node->source->size_bytes != PLAN_SIZE_UNKNOWN)
        build->options->on_event(
            build->options->context, &(struct build_event){.kind = EVENT_STARTED,
                                         .node = node->name,
                                         .bytes_to_download = node->source->size_bytes});
    else
        say_unknown(build, index);
    count(schedule, index);
}

/* Of what a node reads: all that it is planned from, or what the pieces to be made read. */
static void say_demanded(
    struct schedule *schedule, const struct node *node, const struct plan *plan)
{
    const struct build *build = schedule->build;
    for (uint32_t k = 0; k < node->need_count; k++) {
        bool is_planned_from = build->runs[node->needs[k]].layout.length == 0;
        if (node->needs_content[k] && (is_planned_from || plan == NULL))
            say_fetched_again(schedule, node->needs[k], node->name);
    }
    for (uint32_t i = 0; plan != NULL && i < plan->input_count; i++)
        if (plan->inputs[i].is_awaited && plan->inputs[i].pieces_left > 0)
            say_fetched_again(schedule, plan->inputs[i].producer, node->name);
}

/* `*out` stays NULL when it cannot be planned before other nodes are made. */
static struct error *plan_dry(struct build *build, uint32_t index, struct plan **out)
{
    const struct record *past;
    struct plan *plan = NULL;
    TRY(restore_find(build, index, &past));
    struct error *error =
        past != NULL ? restore_plan(build, index, past, &plan) : plan_node(build, index, &plan);
    if (error != NULL && error_kind_of(error) == ERROR_MISSING) {
        error_free(error);
        return NULL;
    }
    TRY(error);
    build->runs[index].layout = plan->layout;
    build->runs[index].layout_hash = hash_text(plan->layout);
    *out = plan;
    return NULL;
}

/* Layouts are planned, contents are not known. */
static struct error *dry_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    struct staleness staleness = {.verdict = VERDICT_STALE};
    struct plan *plan = NULL;
    const char *unmade = find_unmade(build, node);
    if (unmade == NULL)
        TRY(stale_check(build, index, &build->runs[index].arena, &staleness));
    else
        staleness.reason = arena_format(&build->arena, "it needs %s, which would be made", unmade);
    if (staleness.verdict == VERDICT_FRESH)
        return check_set_fresh(schedule, index);
    if (staleness.verdict == VERDICT_HASH_FIRST)
        staleness.reason = arena_format(&build->arena, "%s has another stamp and would be hashed",
            build->state->files[staleness.files[0]].path);
    if (unmade == NULL) {
        struct error *error = plan_dry(build, index, &plan);
        if (error != NULL)
            return error_wrap(error, "planning %s", node->name);
    }
    build->runs[index].reason = staleness.reason;
    say_demanded(schedule, node, plan);
    run_say(build, EVENT_STALE, node->name, staleness.reason);
    if (plan != NULL)
        check_say_started(build, plan);
    else
        say_unknown(build, index);
    count(schedule, index);
    return ours_foretell(build, index);
}

struct error *dry_run(struct schedule *schedule)
{
    struct build *build = schedule->build;
    if (build->state->intent_count > 0)
        run_say(build, EVENT_NOTE, NULL, "an interrupted build's renames would be finished first");
    for (uint32_t at = 0; at < build->graph->node_count; at++) {
        uint32_t index = build->graph->order[at];
        if (!build->runs[index].is_wanted || build->runs[index].status == STATUS_BLOCKED)
            continue;
        struct node_run *run = &build->runs[index];
        struct error *error = dry_node(schedule, index);
        staging_end(run->plan, false); /* its readers ask for its layout only */
        run->plan = NULL;
        arena_end(&run->arena);
        if (error != NULL)
            queues_fail(schedule, index, error);
    }
    return NULL;
}
