/* tools.c - the table of tools, and what they share. */
#include "cli/tools.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/file_lock.h"
#include "base/jobserver.h"
#include "cli/option.h"
#include "cli/signals.h"
#include "cli/tool_table.h"
#include "tasks/formats/quant.h"

#define MEMORY_BYTES_BASE (UINT64_C(32) << 20)
#define MEMORY_BYTES_THREAD (UINT64_C(8) << 20)

static const struct tool *const tools[] = {&tool_init, &tool_lock, &tool_list, &tool_explain,
    &tool_verify, &tool_clean, &tool_inspect, &tool_convert, &tool_expand, &tool_graph,
    &tool_schema, NULL};

const struct tool *tools_find(const char *name)
{
    for (const struct tool *const *tool = tools; *tool != NULL; tool++)
        if (strcmp((*tool)->name, name) == 0)
            return *tool;
    return NULL;
}

struct error *tools_unknown(struct arena *arena, const char *name)
{
    const char *names[sizeof tools / sizeof tools[0]];
    size_t count = 0;
    char *list = arena_format(arena, "%s", "");
    for (const struct tool *const *tool = tools; *tool != NULL && list != NULL; tool++) {
        list = arena_format(arena, "%s%s%s", list, count > 0 ? ", " : "", (*tool)->name);
        names[count++] = (*tool)->name;
    }
    TRY(memory_check(list));
    const char *near = text_suggest(name, names, count);
    if (near != NULL)
        return error_new(ERROR_USAGE, "unknown tool \"%s\"; did you mean \"%s\"?", name, near);
    return error_new(ERROR_USAGE, "unknown tool \"%s\"; there are %s", name, list);
}

struct error *tools_list(struct arena *arena, char **out)
{
    *out = arena_format(arena, "%s", "\ntools (psybuild -t TOOL):\n");
    for (const struct tool *const *tool = tools; *tool != NULL && *out != NULL; tool++) {
        char *usage = arena_format(arena, "%s %s", (*tool)->name, (*tool)->usage);
        *out = usage == NULL ? NULL
                             : arena_format(arena, "%s  %-26s %s\n", *out, usage, (*tool)->help);
    }
    return memory_check(*out);
}

/* ---- building ---- */

static unsigned count_processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > 1024 ? 1024 : (unsigned)count;
}

/* Within a make its tokens bound the jobs, so there must be as many threads as there may be tokens.
 */
static unsigned count_threads(const struct jobserver *jobserver)
{
    unsigned processors = count_processors(), jobs_max = jobserver_jobs_max(jobserver);
    return jobs_max > processors ? jobs_max : processors;
}

/* What only a run that works asks the system for. */
static void choose_resources(struct build_options *options)
{
    if (options->threads == 0)
        options->threads = count_threads(options->jobserver);
    if (options->memory_bytes == 0)
        options->memory_bytes = MEMORY_BYTES_BASE + options->threads * MEMORY_BYTES_THREAD;
    options->page_cache_bytes = file_page_cache_bytes();
}

struct error *cli_prepare_build(struct cli *cli)
{
    const struct options *options = cli->options;
    struct build_options *out = &cli->build_options;
    *out = (struct build_options){.manifest = cli->place.manifest,
        .settings = options->settings,
        .setting_count = options->setting_count,
        .registry = cli->registry,
        .threads = options->threads,
        .connections = options->connections,
        .memory_bytes = options->memory_bytes,
        .rate_bytes = options->rate_bytes,
        .failures_max = options->failures_max,
        .load_max = options->load_max,
        .jobserver = options->threads > 0 ? NULL : cli->jobserver,
        .is_dry = options->is_dry,
        .is_forced = options->is_forced,
        .is_frozen = options->is_frozen,
        .is_offline = options->is_offline,
        .no_wait = options->no_wait,
        .no_stats = options->no_stats,
        .cache = getenv("PSYBUILD_CACHE"),
        .cancel = signals_flag(),
        .on_event = status_on_event,
        .on_tick = status_on_tick,
        .context = cli->status};
    return place_data_directory(cli->arena, &cli->place, &out->data_directory);
}

struct error *cli_open_build(struct cli *cli, struct file_lock *lock, struct build **out)
{
    choose_resources(&cli->build_options);
    TRY(build_open(&cli->build_options, lock, out));
    cli->status->build = *out;
    return NULL;
}

struct error *cli_lock(struct cli *cli, struct file_lock **out)
{
    *out = NULL;
    return cli->options->is_dry ? NULL : build_lock(&cli->build_options, out);
}

struct error *cli_open_locked(struct cli *cli, struct build **out)
{
    struct file_lock *lock;
    TRY(cli_lock(cli, &lock));
    return cli_open_build(cli, lock, out);
}

void cli_close_build(struct cli *cli, struct build *build)
{
    cli->status->build = NULL;
    build_close(build);
}

struct error *cli_choose_kernels(void)
{
    unsigned cpu_mask;
    TRY(cpu_mask_from_environment(&cpu_mask));
    hash_init(cpu_mask);
    quant_init(cpu_mask);
    return NULL;
}

bool cli_is_dead(const struct build *build, const struct record *record)
{
    uint32_t index = map_get(&build->graph->node_by_name, record->name);
    bool is_there = index != MAP_NONE && !build->graph->nodes[index].is_view;
    return !is_there && !record->is_gone && strcmp(record->manifest, build->options->manifest) == 0;
}

/* ---- words ---- */

struct error *tool_words(struct cli *cli, const char *flag, struct tool_words *out)
{
    const struct option option = {
        .word = flag, .kind = OPTION_FLAG, .offset = offsetof(struct tool_words, has_flag)};
    char *whose = arena_format(cli->arena, " of the tool \"%s\"", cli->options->tool);
    const struct option_table table = {.options = &option,
        .count = flag == NULL ? 0 : 1,
        .whose = whose,
        .advice = "psybuild's own come before -t"};
    struct option_reader reader = {.arena = cli->arena,
        .table = &table,
        .words = cli->options->arguments,
        .count = cli->options->argument_count,
        .target = out};
    TRY(memory_check(whose));
    *out = (struct tool_words){0};
    TRY(option_read(&reader));
    out->items = reader.rest;
    out->count = reader.rest_count;
    return NULL;
}

struct error *tool_expect_words(
    struct cli *cli, const struct tool_words *words, size_t least, size_t most)
{
    if (words->count >= least && words->count <= most)
        return NULL;
    const struct tool *tool = tools_find(cli->options->tool);
    return error_new(ERROR_USAGE, "usage: psybuild -t %s %s", tool->name, tool->usage);
}

struct error *tool_targets(struct cli *cli, const struct tool_words *words, const char *const **out)
{
    return place_targets(cli->arena, &cli->place, words->items, words->count, out);
}
