/* help.c - `psybuild help TASK`: what its tables say. */
#include "cli/tools.h"

#include <string.h>

#include "engine/manifest/params.h"

static void say_heading(struct cli *cli, const char *text)
{
    terminal_say(cli->terminal, TONE_PLAIN, "%s", "");
    terminal_say(cli->terminal, TONE_PLAIN, "%s", text);
}

/* A switch, so that the compiler misses a type that is new. */
static const char *type_name(const struct param_spec *spec)
{
    switch (spec->type) {
    case PARAM_STRING:
        return "string";
    case PARAM_INTEGER:
        return "integer";
    case PARAM_NUMBER:
        return "number";
    case PARAM_BOOLEAN:
        return "true or false";
    case PARAM_LIST:
        return spec->entries != NULL ? "list of objects" : "list of strings";
    case PARAM_PATH:
        return "path";
    case PARAM_SIZE:
        return "size";
    case PARAM_OBJECT:
        return "object";
    case PARAM_ENVIRONMENT:
        return "list of environment variables";
    }
    return "";
}

/* "integer: 1, 2, 3, required" */
static struct error *describe(struct arena *arena, const struct param_spec *spec, const char **out)
{
    const char *values;
    TRY(param_list_values(arena, spec, &values));
    bool is_word = spec->type == PARAM_STRING && values[0] != '\0'; /* its values say it all */
    const char *between = values[0] == '\0' ? "" : spec->type == PARAM_SIZE ? " or " : ": ";
    *out = arena_format(arena, "%s%s%s%s", is_word ? "" : type_name(spec), is_word ? "" : between,
        values, spec->is_required ? ", required" : "");
    return memory_check(*out);
}

static struct error *say_params(
    struct cli *cli, const struct param_spec *params, const char *indent)
{
    for (const struct param_spec *spec = params; spec != NULL && spec->name != NULL; spec++) {
        const char *description;
        TRY(describe(cli->arena, spec, &description));
        terminal_put(cli->terminal, TONE_BOLD, "%s%s", indent, spec->name);
        terminal_say(cli->terminal, TONE_DIM, "  %s", description);
        if (spec->help != NULL)
            terminal_say(cli->terminal, TONE_PLAIN, "%s    %s", indent, spec->help);
        if (spec->entries != NULL) {
            const char *deeper = arena_format(cli->arena, "%s    ", indent);
            TRY(memory_check(deeper));
            TRY(say_params(cli, spec->entries, deeper));
        }
    }
    return NULL;
}

static void say_roles(struct cli *cli, const struct task_type *type)
{
    if (type->roles == NULL || type->roles[0].name == NULL)
        return;
    say_heading(cli, "in:");
    for (const struct role_spec *role = type->roles; role->name != NULL; role++) {
        terminal_put(cli->terminal, TONE_BOLD, "  %s", role->name);
        terminal_say(cli->terminal, TONE_DIM, "  %s%s%s", role->is_many ? "files" : "a file",
            role->reads == ROLE_LAYOUT ? ", its layout alone" : "",
            role->is_required ? ", required" : "");
        if (role->help != NULL)
            terminal_say(cli->terminal, TONE_PLAIN, "      %s", role->help);
    }
}

static struct error *help_task(struct cli *cli, const struct task_type *type)
{
    terminal_put(cli->terminal, TONE_BOLD, "%s", type->name);
    terminal_say(cli->terminal, TONE_PLAIN, " - %s", type->help == NULL ? "" : type->help);
    if (type->takes_any_role)
        say_heading(cli, "in: roles of your own naming");
    say_roles(cli, type);
    if (type->params == NULL || type->params[0].name == NULL)
        return NULL;
    say_heading(cli, "with:");
    return say_params(cli, type->params, "  ");
}

static struct error *help_overview(struct cli *cli)
{
    terminal_say(cli->terminal, TONE_PLAIN, "tasks (psybuild help TASK):");
    for (const struct task_type *const *type = cli->registry->types; *type != NULL; type++)
        terminal_say(cli->terminal, TONE_PLAIN, "  %-14s %s", (*type)->name,
            (*type)->help == NULL ? "" : (*type)->help);
    say_heading(cli, "Options and tools: psybuild --help. All of it: man psybuild, psybuild.json");
    return NULL;
}

struct error *help_run(struct cli *cli)
{
    const char *names[64];
    size_t count = 0;
    if (cli->options->argument_count == 0)
        return help_overview(cli);
    if (cli->options->argument_count > 1)
        return error_new(ERROR_USAGE, "usage: psybuild help [TASK]");
    const char *name = cli->options->arguments[0];
    for (const struct task_type *const *type = cli->registry->types; *type != NULL; type++) {
        if (strcmp((*type)->name, name) == 0)
            return help_task(cli, *type);
        if (count < sizeof names / sizeof names[0])
            names[count++] = (*type)->name;
    }
    const char *near = text_suggest(name, names, count);
    if (near != NULL)
        return error_new(ERROR_USAGE, "unknown task \"%s\"; did you mean \"%s\"?", name, near);
    return error_new(ERROR_USAGE, "unknown task \"%s\"; psybuild help lists them", name);
}
