/* survey.c - a dry run whose events are kept instead of printed. */
#include "cli/survey.h"

#include <string.h>

static void keep_reason(struct survey *survey, const char *node, const char *reason)
{
    uint32_t index = map_get(&survey->build->graph->node_by_name, node);
    if (index != MAP_NONE && survey->reasons[index] == NULL)
        survey->reasons[index] = reason;
}

static void on_event(void *context, const struct build_event *event)
{
    struct survey *survey = context;
    if (event->kind == EVENT_WARNING || event->kind == EVENT_NOTE) {
        status_on_event(survey->cli->status, event);
        return;
    }
    if (survey->build == NULL || event->node == NULL)
        return;
    if (event->kind == EVENT_STALE)
        keep_reason(survey, event->node, event->text);
    if (event->kind == EVENT_FAILED) {
        const char *reason = arena_format(survey->cli->arena, "%s", error_text(event->error));
        keep_reason(survey, event->node, reason);
    }
}

static struct error *run(struct survey *survey, const char *const *targets, size_t target_count)
{
    struct arena *arena = survey->cli->arena;
    uint32_t count = survey->build->graph->node_count, failures;
    bool *is_wanted = arena_array(arena, count, sizeof *is_wanted);
    survey->is_named = arena_array(arena, count, sizeof *survey->is_named);
    survey->reasons = arena_array(arena, count, sizeof *survey->reasons);
    if (is_wanted == NULL || survey->is_named == NULL || survey->reasons == NULL)
        return error_memory();
    TRY(graph_select(survey->build->graph, targets, target_count, is_wanted, survey->is_named));
    return build_run(survey->build, targets, target_count, &failures);
}

struct error *survey_take(
    struct cli *cli, const char *const *targets, size_t target_count, struct survey *out)
{
    *out = (struct survey){.cli = cli};
    cli->build_options.is_dry = true;
    cli->build_options.is_forced = false;
    cli->build_options.failures_max = 0;
    cli->build_options.on_event = on_event;
    cli->build_options.on_tick = NULL;
    cli->build_options.context = out;
    cli->build_options.is_dry = true; /* reading tools write nothing */
    TRY(cli_open_build(cli, NULL, &out->build));
    struct error *error = run(out, targets, target_count);
    if (error != NULL)
        survey_end(out);
    return error;
}

enum survey_state survey_state_of(const struct survey *survey, uint32_t node)
{
    const struct node_run *run = &survey->build->runs[node];
    if (run->status == STATUS_FRESH)
        return SURVEY_FRESH;
    if (!run->is_wanted)
        return SURVEY_UNASKED;
    const char *name = survey->build->graph->nodes[node].name;
    bool is_recorded = state_find_record(survey->build->state, name) != NULL;
    return is_recorded ? SURVEY_STALE : SURVEY_NEVER_MADE;
}

void survey_end(struct survey *survey)
{
    cli_close_build(survey->cli, survey->build);
    survey->build = NULL;
}
