/* options.c - psybuild's own options. */
#include "cli/options.h"

#include <stdlib.h>
#include <string.h>

#include "cli/option.h"

enum { THREADS_MAX = 1024, CONNECTIONS_MAX = 64, FAILURES_MAX = 1000000, FAILURES_UNSET = 1000001 };
enum { MEMORY_BYTES_MIN = 1 << 20, RATE_BYTES_MIN = 16 << 10 };

/* ---- values of their own kind ---- */

static struct error *set_load(struct option_reader *reader, const char *value)
{
    struct options *out = reader->target;
    char *end;
    double load = strtod(value, &end);
    bool is_number = end != value && *end == '\0' && value[strspn(value, "0123456789.")] == '\0';
    if (!is_number || !(load > 0 && load < 1e6))
        return error_new(
            ERROR_USAGE, "\"-l\" must be a load above 0, such as 2.5, not \"%s\"", value);
    out->load_max = load;
    return NULL;
}

static struct error *add_setting(struct option_reader *reader, const char *value)
{
    struct options *out = reader->target;
    const char *equals = strchr(value, '=');
    if (equals == NULL || equals == value)
        return error_new(ERROR_USAGE, "\"--set\" must be NAME=VALUE, not \"%s\"", value);
    out->settings = arena_grow(reader->arena, out->settings, out->setting_count,
        &out->setting_capacity, sizeof *out->settings);
    const char *name = arena_copy(reader->arena, value, (size_t)(equals - value));
    if (out->settings == NULL || name == NULL)
        return error_memory();
    out->settings[out->setting_count++] = (struct manifest_setting){name, equals + 1};
    return NULL;
}

/* As make has it: each -C is seen from the one before. */
static struct error *add_directory(struct option_reader *reader, const char *value)
{
    struct options *out = reader->target;
    if (value[0] == '\0')
        return error_new(ERROR_USAGE, "\"-C\" must be a directory, not \"\"");
    bool is_first = out->directory == NULL || value[0] == '/';
    out->directory = is_first ? value : arena_format(reader->arena, "%s/%s", out->directory, value);
    return memory_check(out->directory);
}

/* What is asked for adds up. */
static struct error *set_debug(struct option_reader *reader, const char *value)
{
    struct options *out = reader->target;
    if (strcmp(value, "explain") != 0 && strcmp(value, "stats") != 0)
        return error_new(ERROR_USAGE, "\"-d\" must be one of explain, stats, not \"%s\"", value);
    *(value[0] == 'e' ? &out->explains : &out->shows_stats) = true;
    return NULL;
}

static struct error *set_tool(struct option_reader *reader, const char *value)
{
    struct options *out = reader->target;
    out->command = COMMAND_TOOL;
    out->tool = value;
    reader->is_literal = true;
    return NULL;
}

/* ---- the table ---- */

static const char *const progress_words[] = {"auto", "tty", "plain", "json", "none", NULL};
static const char *const color_words[] = {"auto", "always", "never", NULL};

#define AT(field) .offset = offsetof(struct options, field)
#define FLAG(field) OPTION_FLAG, AT(field)
#define NUMBER(field, from, to) OPTION_NUMBER, AT(field), .least = (from), .most = (to)
#define COMMAND(which) OPTION_CONSTANT, AT(command), .least = (which)
#define INDEX(field, words) OPTION_INDEX, AT(field), .choices = (words)
#define CALL(function) OPTION_CALL, .call = (function)
_Static_assert(sizeof(enum command) == sizeof(unsigned) &&
                   sizeof(enum progress) == sizeof(unsigned) &&
                   sizeof(enum color) == sizeof(unsigned),
    "options are stored as unsigned numbers");

/* clang-format off */
static const struct option specs[] = {
    {'B', NULL, NULL, NULL, "remake the targets whatever their state", FLAG(is_forced)},
    {'C', NULL, NULL, "DIR", "change to this directory first", CALL(add_directory)},
    {'f', NULL, NULL, "FILE", "manifest, or the name of an installed one",
        OPTION_TEXT, AT(manifest)},
    {'j', NULL, NULL, "N", "threads that convert [one a processor]",
        NUMBER(threads, 1, THREADS_MAX)},
    {'k', NULL, NULL, "N", "go on until N nodes failed; 0 is no limit [1]",
        NUMBER(failures_max, 0, FAILURES_MAX)},
    {'l', NULL, NULL, "N", "start no job while the load is above N", CALL(set_load)},
    {'n', NULL, NULL, NULL, "say what would be made, and make nothing", FLAG(is_dry)},
    {'v', "verbose", NULL, NULL, "say every node that is made, sealed or confirmed",
        FLAG(is_verbose)},
    {'q', "quiet", NULL, NULL, "say nothing but warnings and errors", FLAG(is_quiet)},
    {'d', NULL, NULL, "WHAT", "explain (why each is made) or stats", CALL(set_debug)},
    {'t', NULL, NULL, "TOOL", "run a tool; what follows is the tool's", CALL(set_tool)},
    {0, "set", NULL, "NAME=VALUE", "set a variable of the manifest", CALL(add_setting)},
    {0, "memory", NULL, "SIZE", "for buffers [32M and 8M a thread]",
        OPTION_SIZE, AT(memory_bytes), .least = MEMORY_BYTES_MIN,
        .wanted = "a size of at least 1M such as 256M or 2G"},
    {0, "connections", NULL, "N", "downloads side by side [8]",
        NUMBER(connections, 1, CONNECTIONS_MAX)},
    {0, "limit-rate", NULL, "SIZE", "a second, of all downloads together",
        OPTION_SIZE, AT(rate_bytes), .least = RATE_BYTES_MIN,
        .wanted = "a size of at least 16K a second such as 500K or 20M"},
    {0, "offline", NULL, NULL, "never use the network", FLAG(is_offline)},
    {0, "frozen", NULL, NULL, "never change psybuild.lock", FLAG(is_frozen)},
    {0, "no-wait", NULL, NULL, "fail when another psybuild is at work here", FLAG(no_wait)},
    {0, "no-stats", NULL, NULL, "do not measure what quantizing loses", FLAG(no_stats)},
    {0, "progress", NULL, "MODE", "auto, tty, plain, json or none", INDEX(progress, progress_words)},
    {0, "color", NULL, "WHEN", "auto, always or never", INDEX(color, color_words)},
    {0, "version", NULL, NULL, "print the version", COMMAND(COMMAND_VERSION)},
    {'h', "help", NULL, NULL, "print this", COMMAND(COMMAND_USAGE)},
};
/* clang-format on */
static const struct option_table table = {.options = specs,
    .count = sizeof specs / sizeof specs[0],
    .whose = "",
    .advice = "see psybuild --help"};

struct error *options_parse(
    struct arena *arena, int count, char *const *arguments, struct options *out)
{
    *out = (struct options){.connections = 8, .failures_max = FAILURES_UNSET};
    struct option_reader reader = {.arena = arena,
        .table = &table,
        .words = (const char *const *)arguments,
        .count = (size_t)count,
        .at = count > 0 ? 1 : 0,
        .target = out};
    TRY(option_read(&reader));
    out->arguments = reader.rest;
    out->argument_count = reader.rest_count;
    out->is_failures_given = out->failures_max != FAILURES_UNSET;
    if (!out->is_failures_given) /* offline: all that is missing is to be named */
        out->failures_max = out->is_offline ? 0 : 1;
    if (out->is_verbose && out->is_quiet)
        return error_new(ERROR_USAGE, "\"-v\" and \"-q\" exclude each other");
    if (out->command == COMMAND_BUILD && out->argument_count > 0 &&
        strcmp(out->arguments[0], "help") == 0) {
        out->command = COMMAND_HELP;
        out->arguments++;
        out->argument_count--;
    }
    return NULL;
}

char *options_usage(struct arena *arena)
{
    char *list = option_list(arena, &table, 22, "  ");
    return list == NULL
               ? NULL
               : arena_format(arena,
                     "usage: psybuild [options] [target...]     make files and model directories\n"
                     "       psybuild [options] -t TOOL [...]   run a tool\n"
                     "       psybuild help [TASK]               what a task reads and takes\n\n"
                     "A target is a file, or a directory for all below it [the manifest's "
                     "default].\n\n"
                     "options:\n%s",
                     list);
}
