/* tool_graph.c - `-t graph`: the nodes and what they need, in Graphviz's language. */
#include <inttypes.h>
#include <string.h>

#include "cli/survey.h"
#include "cli/tool_table.h"

/* A quoted DOT string: quotes and backslashes are escaped, all else is as it is. */
static char *quote(struct arena *arena, const char *string)
{
    size_t length = strlen(string), used = 0;
    char *out = arena_alloc(arena, 2 * length + 3);
    if (out == NULL)
        return NULL;
    out[used++] = '"';
    for (size_t i = 0; i < length; i++) {
        if (string[i] == '"' || string[i] == '\\')
            out[used++] = '\\';
        out[used++] = string[i];
    }
    out[used] = '"';
    return out;
}

static struct error *say_node(const struct survey *survey, uint32_t index)
{
    static const char *const looks[] = {[SURVEY_UNASKED] = "",
        [SURVEY_FRESH] = ", color=green4",
        [SURVEY_STALE] = ", color=red, penwidth=2, xlabel=stale",
        [SURVEY_NEVER_MADE] = ", color=gray, style=dashed, xlabel=\"never made\""};
    const struct node *node = &survey->build->graph->nodes[index];
    struct arena *arena = survey->cli->arena;
    char *name = quote(arena, node->name);
    char *label = quote(arena, path_base(node->name));
    if (name == NULL || label == NULL)
        return error_memory();
    const char *look = node->is_view ? ", style=dotted" : looks[survey_state_of(survey, index)];
    label[strlen(label) - 1] = '\0'; /* the task stands below the name */
    terminal_say(survey->cli->terminal, TONE_PLAIN, "    %s [label=%s\\n%s\"%s];", name, label,
        node->type->name, look);
    return NULL;
}

static struct error *say_cluster(
    const struct survey *survey, uint32_t number, const char *directory, bool *is_said)
{
    const struct graph *graph = survey->build->graph;
    char *label = quote(survey->cli->arena, directory);
    TRY(memory_check(label));
    terminal_say(survey->cli->terminal, TONE_PLAIN, "  subgraph cluster_%" PRIu32 " {", number);
    terminal_say(survey->cli->terminal, TONE_PLAIN, "    label=%s;", label);
    for (uint32_t i = 0; i < graph->node_count; i++) {
        if (is_said[i] || strcmp(graph->nodes[i].directory, directory) != 0)
            continue;
        is_said[i] = true;
        TRY(say_node(survey, i));
    }
    terminal_say(survey->cli->terminal, TONE_PLAIN, "  }");
    return NULL;
}

static struct error *say_edge(
    const struct survey *survey, const char *from, const char *to, bool is_content)
{
    char *from_name = quote(survey->cli->arena, from), *to_name = quote(survey->cli->arena, to);
    if (from_name == NULL || to_name == NULL)
        return error_memory();
    terminal_say(survey->cli->terminal, TONE_PLAIN, "  %s -> %s%s;", from_name, to_name,
        is_content ? "" : " [style=dashed, label=layout]");
    return NULL;
}

static struct error *say_edges(const struct survey *survey, const struct node *node)
{
    const struct graph *graph = survey->build->graph;
    for (uint32_t k = 0; k < node->need_count; k++)
        TRY(say_edge(
            survey, graph->nodes[node->needs[k]].name, node->name, node->needs_content[k]));
    for (uint32_t i = 0; i < node->input_count; i++)
        for (uint32_t k = 0; k < node->inputs[i].ref_count; k++) {
            const struct node_ref *ref = &node->inputs[i].refs[k];
            if (ref->producer == NODE_NONE && !ref->is_absent)
                TRY(say_edge(survey, ref->path, node->name, true));
        }
    return NULL;
}

static struct error *say_graph(const struct survey *survey)
{
    const struct graph *graph = survey->build->graph;
    bool *is_said = arena_array(survey->cli->arena, graph->node_count, sizeof *is_said);
    TRY(memory_check(is_said));
    terminal_say(survey->cli->terminal, TONE_PLAIN, "digraph psybuild {");
    terminal_say(survey->cli->terminal, TONE_PLAIN, "  rankdir=LR;");
    terminal_say(survey->cli->terminal, TONE_PLAIN, "  node [shape=box, fontname=\"sans\"];");
    for (uint32_t i = 0; i < graph->node_count; i++) {
        if (survey_state_of(survey, i) == SURVEY_UNASKED)
            is_said[i] = true;
    }
    for (uint32_t i = 0; i < graph->node_count; i++)
        if (!is_said[i])
            TRY(say_cluster(survey, i, graph->nodes[i].directory, is_said));
    for (uint32_t i = 0; i < graph->node_count; i++)
        if (survey_state_of(survey, i) != SURVEY_UNASKED)
            TRY(say_edges(survey, &graph->nodes[i]));
    terminal_say(survey->cli->terminal, TONE_PLAIN, "}");
    return NULL;
}

static struct error *run(struct cli *cli)
{
    struct tool_words words;
    const char *const *targets;
    struct survey survey;
    TRY(tool_words(cli, NULL, &words));
    TRY(tool_targets(cli, &words, &targets));
    TRY(survey_take(cli, targets, words.count, &survey));
    struct error *error = say_graph(&survey);
    survey_end(&survey);
    return error;
}

const struct tool tool_graph = {.name = "graph",
    .usage = "[TARGET...]",
    .help = "what needs what, for Graphviz's dot",
    .needs_manifest = true,
    .run = run};
