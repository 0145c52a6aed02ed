/* main.c - reads the options, calls the command, prints what went wrong. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#include "base/file.h"
#include "base/jobserver.h"
#include "cli/signals.h"
#include "cli/tools.h"
#include "tasks/registry.h"
#include "tasks/formats/hub_settings.h"

static struct error *say_usage(struct cli *cli)
{
    char *tools;
    TRY(tools_list(cli->arena, &tools));
    char *usage = options_usage(cli->arena);
    TRY(memory_check(usage));
    terminal_put_text(cli->terminal, text_of(usage));
    terminal_put_text(cli->terminal, text_of(tools));
    return NULL;
}

static struct error *find_manifest(struct cli *cli)
{
    TRY(place_find_manifest(cli->arena, cli->options, &cli->place));
    return cli_prepare_build(cli);
}

static struct error *run_tool(struct cli *cli)
{
    const struct tool *tool = tools_find(cli->options->tool);
    if (tool == NULL)
        return tools_unknown(cli->arena, cli->options->tool);
    if (tool->needs_manifest)
        TRY(find_manifest(cli));
    return tool->run(cli);
}

static struct error *run_command(struct cli *cli)
{
    switch (cli->options->command) {
    case COMMAND_VERSION:
        terminal_say(cli->terminal, TONE_PLAIN, "psybuild %s", PSYBUILD_VERSION);
        return NULL;
    case COMMAND_USAGE:
        return say_usage(cli);
    case COMMAND_HELP:
        return help_run(cli);
    case COMMAND_TOOL:
        TRY(place_open(cli->arena, cli->options, &cli->place));
        return run_tool(cli);
    case COMMAND_BUILD:
        TRY(place_open(cli->arena, cli->options, &cli->place));
        TRY(find_manifest(cli));
        return make_run(cli);
    }
    return NULL;
}

static int code_of(const struct error *error)
{
    switch (error_kind_of(error)) {
    case ERROR_USAGE:
        return EXIT_USAGE;
    case ERROR_INTERRUPTED:
        return signals_exit_code();
    default:
        return EXIT_FAILED;
    }
}

/* Reports the error, saying where its paths start; frees it. */
static void report(struct cli *cli, struct error *error)
{
    if (error_kind_of(error) == ERROR_INTERRUPTED) {
        terminal_note(cli->terminal, "%s", error_text(error));
    } else {
        if (cli->place.is_elsewhere && !cli->has_said_directory)
            terminal_note(cli->terminal, "in directory '%s'", cli->place.directory);
        terminal_report(cli->terminal, error);
    }
    error_free(error);
}

static int finish(struct cli *cli, struct error *error)
{
    int exit_code = error == NULL ? cli->exit_code : code_of(error);
    if (error != NULL)
        report(cli, error);
    struct error *unwritten = terminal_finish(cli->terminal);
    if (unwritten == NULL)
        return exit_code;
    if (terminal_has_no_reader(cli->terminal)) {
        error_free(unwritten);
        return 128 + SIGPIPE;
    }
    report(cli, unwritten);
    return exit_code == EXIT_DONE ? EXIT_FAILED : exit_code;
}

/* The hub's own variables say --offline, too, and make's say -n. */
static struct error *read_environment(struct arena *arena, struct options *options)
{
    bool is_offline;
    TRY(hub_settings_read_offline(arena, &is_offline));
    if (is_offline && !options->is_offline && !options->is_failures_given)
        options->failures_max = 0;
    options->is_offline |= is_offline;
    options->is_dry |= make_only_says(getenv("MAKEFLAGS"));
    return NULL;
}

int main(int argc, char **argv)
{
    struct arena arena = {0};
    struct options options = {.color = COLOR_AUTO};
    struct terminal terminal;
    struct status status;
    struct jobserver *jobserver = NULL; /* first of all: see jobserver_open */
    struct error *error = jobserver_open(&arena, getenv("MAKEFLAGS"), &jobserver);
    file_open_standard();
    signals_survive_limits();
    if (error == NULL)
        error = options_parse(&arena, argc, argv, &options);
    if (error == NULL)
        error = read_environment(&arena, &options);
    struct cli cli = {.options = &options,
        .terminal = &terminal,
        .status = &status,
        .arena = &arena,
        .registry = &registry,
        .jobserver = jobserver};
    terminal_open(&terminal, options.color);
    if (error == NULL) {
        status_begin(&status, &terminal, &options);
        error = run_command(&cli);
    }
    int exit_code = finish(&cli, error);
    jobserver_close(jobserver);
    arena_end(&arena);
    return exit_code;
}
