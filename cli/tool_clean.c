/* tool_clean.c - `-t clean`: removing what psybuild made, and nothing else.
 *
 * A file goes only while it still holds what its record says: by its stamp, else by its bytes.
 * Downloaded files go only when they or their source are named; what the user edited stays. */
#include <inttypes.h>
#include <string.h>

#include "cli/content.h"
#include "cli/signals.h"
#include "cli/tool_table.h"
#include "engine/run/files.h"
#include "engine/state/places.h"

struct cleaning {
    struct cli *cli;
    struct build *build;
    uint32_t removed, kept;
    uint64_t bytes;
};

/* ---- which ---- */

static const char *source_of(const struct graph *graph, const char *path)
{
    for (size_t i = 0; i < graph->manifest->source_count; i++)
        if (path_is_below(path, graph->manifest->sources[i].directory))
            return graph->manifest->sources[i].directory;
    return NULL;
}

/* Not through a directory above the source. */
static bool is_source_named(
    const struct graph *graph, const char *path, const char *const *targets, size_t count)
{
    const char *source = source_of(graph, path);
    for (size_t i = 0; i < count && source != NULL; i++)
        if (strcmp(targets[i], source) == 0 || path_is_below(targets[i], source))
            return true;
    return false;
}

static struct error *choose(
    struct cleaning *cleaning, const char *const *targets, size_t count, bool **out)
{
    const struct graph *graph = cleaning->build->graph;
    struct arena *arena = cleaning->cli->arena;
    bool *is_wanted = arena_array(arena, graph->node_count, sizeof *is_wanted);
    bool *is_named = arena_array(arena, graph->node_count, sizeof *is_named);
    if (is_wanted == NULL || is_named == NULL)
        return error_memory();
    if (count > 0)
        TRY(graph_select(graph, targets, count, is_wanted, is_named));
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        if (count == 0)
            is_named[i] = !node->is_fetched;
        else if (node->is_fetched)
            is_named[i] &= is_source_named(graph, node->name, targets, count);
    }
    *out = is_named;
    return NULL;
}

/* ---- removing ---- */

static struct error *is_ours(
    struct cleaning *cleaning, const struct record_made *made, enum content *out)
{
    struct build *build = cleaning->build;
    const struct state_file *file = &build->state->files[made->file];
    const char *found;
    TRY(files_look(build, made->file));
    bool is_current = build->files[made->file].look == LOOK_CURRENT;
    *out = CONTENT_SAME;
    if (is_current && state_is_as_made(file, made))
        return NULL;
    return content_check(cleaning->cli->arena, build->registry, build->state, made, signals_flag(),
        NULL, out, &found);
}

/* A path of a dead record that another node makes now stays. */
static struct error *remove_file(
    struct cleaning *cleaning, const struct record *record, const struct record_made *made)
{
    struct cli *cli = cleaning->cli;
    const struct state_file *file = &cleaning->build->state->files[made->file];
    enum content content;
    if (cli_is_dead(cleaning->build, record) &&
        graph_find_producer(cleaning->build->graph, file->path) != NODE_NONE)
        return NULL;
    TRY(is_ours(cleaning, made, &content));
    if (content == CONTENT_ABSENT)
        return NULL;
    if (content == CONTENT_OTHER) {
        cleaning->kept++;
        terminal_warn(cli->terminal, "%s is not what psybuild made any more: it stays", file->path);
        return NULL;
    }
    cleaning->removed++;
    cleaning->bytes += file->stamp.size_bytes;
    if (cli->options->is_dry)
        terminal_say(cli->terminal, TONE_PLAIN, "would remove %s", file->path);
    else if (cli->options->is_verbose)
        terminal_say(cli->terminal, TONE_PLAIN, "removed %s", file->path);
    return cli->options->is_dry ? NULL : file_remove(file->path);
}

static struct error *remove_bookkeeping(struct cleaning *cleaning, const struct node *node)
{
    struct arena *arena = cleaning->cli->arena;
    const char *log, *partial, *stage;
    TRY(places_log(arena, node, &log));
    TRY(places_partial(arena, node, &partial));
    TRY(places_stage(arena, node, &stage));
    TRY(places_remove_partial(arena, partial, stage));
    return file_remove(log);
}

/* Files without which nothing loads a directory go first, in a pass of their own. */
static struct error *remove_outputs(
    struct cleaning *cleaning, const struct record *record, bool is_first_pass)
{
    const struct state *state = cleaning->build->state;
    for (uint32_t i = 0; i < record->made_count; i++) {
        const char *path = state->files[record->made[i].file].path;
        bool is_first = strcmp(path_base(path), cleaning->build->registry->seal_last) == 0;
        if (is_first == is_first_pass)
            TRY(remove_file(cleaning, record, &record->made[i]));
        if (atomic_load(signals_flag()))
            return error_new(ERROR_INTERRUPTED, "interrupted");
    }
    return NULL;
}

static struct error *remove_node(
    struct cleaning *cleaning, const struct node *node, bool is_first_pass)
{
    const struct record *record = state_find_record(cleaning->build->state, node->name);
    if (record != NULL)
        TRY(remove_outputs(cleaning, record, is_first_pass));
    if (is_first_pass || cleaning->cli->options->is_dry)
        return NULL;
    TRY(remove_bookkeeping(cleaning, node));
    if (record != NULL)
        state_drop_record(cleaning->build->state, node->name);
    if (node->directory[0] != '\0')
        TRY(file_remove_directory(node->directory));
    return NULL;
}

static struct error *remove_named(struct cleaning *cleaning, const bool *is_named)
{
    const struct graph *graph = cleaning->build->graph;
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < graph->node_count; i++)
            if (is_named[i] && !graph->nodes[i].is_view)
                TRY(remove_node(cleaning, &graph->nodes[i], pass == 0));
    for (uint32_t i = 0; i < graph->group_count && !cleaning->cli->options->is_dry; i++)
        if (graph->groups[i].node_count > 0 && is_named[graph->groups[i].nodes[0]] &&
            graph->groups[i].directory[0] != '\0')
            TRY(file_remove_directory(graph->groups[i].directory));
    return NULL;
}

static struct error *remove_dead(struct cleaning *cleaning)
{
    struct build *build = cleaning->build;
    uint32_t count = build->state->record_count;
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < count; i++) {
            const struct record *record = &build->state->records[i];
            struct node node = {.name = record->name};
            if (!cli_is_dead(build, record))
                continue;
            node.directory = path_directory(cleaning->cli->arena, node.name);
            TRY(memory_check(node.directory));
            TRY(remove_node(cleaning, &node, pass == 0));
        }
    return NULL;
}

/* ---- the whole ---- */

static void say_end(const struct cleaning *cleaning)
{
    struct cli *cli = cleaning->cli;
    char size[SIZE_TEXT_MAX];
    if (cli->options->is_quiet)
        return;
    terminal_say(cli->terminal, TONE_PLAIN, "psybuild: %" PRIu32 " file%s %s, %s",
        cleaning->removed, cleaning->removed == 1 ? "" : "s",
        cli->options->is_dry ? "would be removed" : "removed", size_print(size, cleaning->bytes));
}

static struct error *clean(struct cleaning *cleaning, const struct tool_words *words)
{
    struct build *build = cleaning->build;
    bool is_dry = cleaning->cli->options->is_dry, *is_named = NULL;
    const char *const *targets;
    TRY(tool_targets(cleaning->cli, words, &targets));
    TRY(choose(cleaning, targets, words->count, &is_named));
    if (!is_dry)
        TRY(build_recover(build, is_named));
    struct error *error =
        words->has_flag ? remove_dead(cleaning) : remove_named(cleaning, is_named);
    if (!is_dry) {
        struct error *saving = build_save(build);
        if (error == NULL)
            error = saving;
        else
            error_free(saving);
    }
    if (error == NULL)
        say_end(cleaning);
    return error;
}

static struct error *run(struct cli *cli)
{
    struct tool_words words;
    struct cleaning cleaning = {.cli = cli};
    TRY(tool_words(cli, "dead", &words));
    if (words.has_flag)
        TRY(tool_expect_words(cli, &words, 0, 0));
    TRY(cli_open_locked(cli, &cleaning.build));
    TRY(cli_choose_kernels());
    signals_catch();
    struct error *error = clean(&cleaning, &words);
    cli_close_build(cli, cleaning.build);
    return error;
}

const struct tool tool_clean = {.name = "clean",
    .usage = "[--dead] [TARGET...]",
    .help = "remove what was made",
    .needs_manifest = true,
    .run = run};
