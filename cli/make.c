/* make.c - the default command: making the targets. */
#include "cli/tools.h"

#include <inttypes.h>

#include "cli/signals.h"

static void say_directory(struct cli *cli)
{
    if (!cli->place.is_elsewhere || cli->options->is_quiet || cli->status->mode == PROGRESS_JSON)
        return;
    terminal_say(
        cli->terminal, TONE_PLAIN, "psybuild: entering directory '%s'", cli->place.directory);
    cli->has_said_directory = true;
}

/* What left the manifest is told of, never removed unasked. */
static void say_dead(struct cli *cli, const struct build *build)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < build->state->record_count; i++) {
        const struct record *record = &build->state->records[i];
        for (uint32_t k = 0; k < record->made_count && cli_is_dead(build, record); k++)
            count += graph_find_producer(
                         build->graph, build->state->files[record->made[k].file].path) == NODE_NONE;
    }
    if (count > 0 && !cli->options->is_quiet && cli->status->mode != PROGRESS_JSON)
        terminal_say(cli->terminal, TONE_PLAIN,
            "psybuild: %" PRIu32 " file%s left the manifest; psybuild -t clean --dead removes %s",
            count, count == 1 ? "" : "s", count == 1 ? "it" : "them");
}

static struct error *run(struct cli *cli, struct build *build, const char *const *targets)
{
    uint32_t failures = 0;
    TRY(cli_choose_kernels());
    signals_catch();
    say_directory(cli);
    TRY(build_run(build, targets, cli->options->argument_count, &failures));
    status_close(cli->status);
    say_dead(cli, build);
    if (failures > 0)
        cli->exit_code = cli->status->nodes_unusable == failures ? EXIT_USAGE : EXIT_FAILED;
    return NULL;
}

struct error *make_run(struct cli *cli)
{
    const char *const *targets;
    size_t count = cli->options->argument_count;
    struct build *build = NULL;
    bool is_null = false;
    TRY(place_targets(cli->arena, &cli->place, cli->options->arguments, count, &targets));
    TRY(build_is_null(&cli->build_options, targets, count, &is_null));
    if (is_null) {
        status_close(cli->status);
        return NULL;
    }
    TRY(cli_open_locked(cli, &build));
    struct error *error = run(cli, build, targets);
    cli_close_build(cli, build);
    return error;
}
