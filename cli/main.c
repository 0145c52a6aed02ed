/* main.c - reads the options, calls the command, prints what went wrong. */
#include <string.h>

#include "config.h"

#include "cli/signals.h"
#include "cli/tools.h"
#include "tasks/registry.h"

static struct error *say_usage(struct cli *cli)
{
    char *tools;
    TRY(tools_list(cli->arena, &tools));
    char *usage = options_usage(cli->arena);
    if (usage == NULL)
        return error_memory();
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
    case ERROR_DAMAGE:
        return EXIT_DAMAGED;
    case ERROR_INTERRUPTED:
        return signals_exit_code();
    default:
        return EXIT_FAILED;
    }
}

/* Reports, frees, and says how the program ends. */
static int finish(struct terminal *terminal, struct error *error, int exit_code)
{
    struct error *unwritten = terminal_finish(terminal);
    if (error != NULL) {
        exit_code = code_of(error);
        terminal_report(terminal, error);
    } else if (unwritten != NULL) {
        exit_code = EXIT_FAILED;
        terminal_report(terminal, unwritten);
    }
    error_free(unwritten);
    error_free(error);
    return exit_code;
}

int main(int argc, char **argv)
{
    struct arena arena = {0};
    struct options options;
    struct terminal terminal;
    struct status status;
    struct error *error = options_parse(&arena, argc, argv, &options);
    struct cli cli = {.options = &options,
        .terminal = &terminal,
        .status = &status,
        .arena = &arena,
        .registry = &registry};
    terminal_open(&terminal, options.color);
    if (error == NULL) {
        status_begin(&status, &terminal, &options);
        error = run_command(&cli);
    }
    int exit_code = finish(&terminal, error, cli.exit_code);
    arena_end(&arena);
    return exit_code;
}
