/* tool_explain.c - `-t explain`: why each node is stale. */
#include <inttypes.h>

#include "cli/survey.h"
#include "cli/tool_table.h"

static void say_node(struct cli *cli, const char *name, const char *reason)
{
    terminal_put(cli->terminal, TONE_BOLD, "%s", name);
    terminal_say(cli->terminal, TONE_PLAIN, ": %s", reason);
}

static void say_all(struct cli *cli, const struct survey *survey)
{
    const struct graph *graph = survey->build->graph;
    uint32_t stale = 0, fresh = 0;
    for (uint32_t at = 0; at < graph->node_count; at++) {
        uint32_t index = graph->order[at];
        const char *reason = survey->reasons[index];
        enum survey_state state = survey_state_of(survey, index);
        if (state == SURVEY_UNASKED)
            continue;
        stale += state != SURVEY_FRESH;
        fresh += state == SURVEY_FRESH;
        if (state != SURVEY_FRESH)
            say_node(cli, graph->nodes[index].name, reason == NULL ? "stale" : reason);
        else if (cli->options->is_verbose)
            say_node(cli, graph->nodes[index].name, "fresh");
    }
    if (stale == 0)
        terminal_say(cli->terminal, TONE_PLAIN, "psybuild: %" PRIu32 " node%s fresh, none stale",
            fresh, fresh == 1 ? "" : "s");
}

static struct error *run(struct cli *cli)
{
    struct tool_words words;
    const char *const *targets;
    struct survey survey;
    TRY(tool_words(cli, NULL, &words));
    TRY(tool_targets(cli, &words, &targets));
    TRY(survey_take(cli, targets, words.count, &survey));
    say_all(cli, &survey);
    survey_end(&survey);
    return NULL;
}

const struct tool tool_explain = {.name = "explain",
    .usage = "[TARGET...]",
    .help = "why each node is stale",
    .needs_manifest = true,
    .run = run};
