/* make.c - the default command: making the targets. */
#include "cli/tools.h"

#include <string.h>

#include "base/cpu.h"
#include "cli/signals.h"
#include "tasks/formats/quant.h"

/* The targets are fresh by their stamps alone: the path of a run that finds nothing to do, which
 * parses nothing and loads nothing. */
static struct error *look(
    struct cli *cli, struct build *build, const char *const *targets, bool *out)
{
    *out = false;
    if (cli->options->is_forced)
        return NULL;
    return build_is_null(build, targets, cli->options->argument_count, out);
}

/* From here on only this process builds here, and the state is read again: another may just have
 * changed it. */
static struct error *reopen_locked(struct cli *cli, struct build *build, struct build **out)
{
    struct file_lock *lock = NULL;
    struct error *error = cli->options->is_dry ? NULL : build_lock(build);
    if (error == NULL) {
        lock = build->lock;
        build->lock = NULL;
    }
    cli_close_build(cli, build);
    TRY(error);
    error = cli_open_build(cli, false, out);
    if (error == NULL)
        (*out)->lock = lock;
    else
        file_lock_release(lock);
    return error;
}

static struct error *run(struct cli *cli, struct build *build, const char *const *targets)
{
    unsigned cpu_mask;
    uint32_t failures = 0;
    TRY(cpu_mask_from_environment(&cpu_mask));
    quant_init(cpu_mask);
    signals_catch();
    if (cli->place.is_elsewhere && !cli->options->is_quiet && cli->status->mode != PROGRESS_JSON)
        terminal_say(
            cli->terminal, TONE_PLAIN, "psybuild: entering directory '%s'", cli->place.directory);
    TRY(build_run(build, targets, cli->options->argument_count, &failures));
    status_close(cli->status);
    if (failures > 0)
        cli->exit_code = cli->status->nodes_unusable == failures ? EXIT_USAGE : EXIT_FAILED;
    return NULL;
}

struct error *make_run(struct cli *cli)
{
    const char *const *targets;
    struct build *build;
    bool is_null;
    TRY(place_targets(
        cli->arena, &cli->place, cli->options->arguments, cli->options->argument_count, &targets));
    TRY(cli_open_build(cli, true, &build));
    struct error *error = look(cli, build, targets, &is_null);
    if (error == NULL && is_null) {
        status_close(cli->status);
        cli_close_build(cli, build);
        return NULL;
    }
    if (error != NULL) {
        cli_close_build(cli, build);
        return error;
    }
    TRY(reopen_locked(cli, build, &build));
    error = run(cli, build, targets);
    cli_close_build(cli, build);
    return error;
}
