/* options.c - the table of options, and the reader that walks the words by it. */
#include "cli/options.h"

#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 1024, CONNECTIONS_MAX = 64, FAILURES_MAX = 1000000, FAILURES_UNSET = 1000001 };
#define MEMORY_BYTES_MIN (UINT64_C(1) << 20)
#define RATE_BYTES_MIN (UINT64_C(16) << 10)

enum option_name {
    OPTION_FORCE,
    OPTION_DIRECTORY,
    OPTION_MANIFEST,
    OPTION_THREADS,
    OPTION_FAILURES,
    OPTION_LOAD,
    OPTION_DRY,
    OPTION_VERBOSE,
    OPTION_QUIET,
    OPTION_DEBUG,
    OPTION_TOOL,
    OPTION_SET,
    OPTION_MEMORY,
    OPTION_CONNECTIONS,
    OPTION_LIMIT_RATE,
    OPTION_OFFLINE,
    OPTION_FROZEN,
    OPTION_NO_WAIT,
    OPTION_NO_STATS,
    OPTION_PROGRESS,
    OPTION_COLOR,
    OPTION_VERSION,
    OPTION_HELP,
};

struct option_spec {
    enum option_name name;
    char letter;       /* or 0 */
    const char *word;  /* without "--"; or NULL */
    const char *value; /* what its value is called; NULL: it takes none */
    const char *help;
};

/* clang-format off */
static const struct option_spec specs[] = {
    {OPTION_FORCE, 'B', NULL, NULL, "remake the targets whatever their state"},
    {OPTION_DIRECTORY, 'C', NULL, "DIR", "change to this directory first"},
    {OPTION_MANIFEST, 'f', NULL, "FILE",
        "manifest, or the name of an installed one"},
    {OPTION_THREADS, 'j', NULL, "N", "threads that convert [one a processor]"},
    {OPTION_FAILURES, 'k', NULL, "N", "go on until N nodes failed; 0 is no limit [1]"},
    {OPTION_LOAD, 'l', NULL, "N", "start no job while the load is above N"},
    {OPTION_DRY, 'n', NULL, NULL, "say what would be made, and make nothing"},
    {OPTION_VERBOSE, 'v', "verbose", NULL, "say every node that is made, sealed or confirmed"},
    {OPTION_QUIET, 'q', "quiet", NULL, "say nothing but warnings and errors"},
    {OPTION_DEBUG, 'd', NULL, "WHAT", "explain (why each is made) or stats"},
    {OPTION_TOOL, 't', NULL, "TOOL", "run a tool; what follows is the tool's"},
    {OPTION_SET, 0, "set", "NAME=VALUE", "set a variable of the manifest"},
    {OPTION_MEMORY, 0, "memory", "SIZE", "for buffers [32M and 8M a thread]"},
    {OPTION_CONNECTIONS, 0, "connections", "N", "downloads side by side [8]"},
    {OPTION_LIMIT_RATE, 0, "limit-rate", "SIZE", "a second, of all downloads together"},
    {OPTION_OFFLINE, 0, "offline", NULL, "never use the network"},
    {OPTION_FROZEN, 0, "frozen", NULL, "never change psybuild.lock"},
    {OPTION_NO_WAIT, 0, "no-wait", NULL, "fail when another psybuild is at work here"},
    {OPTION_NO_STATS, 0, "no-stats", NULL, "do not measure what quantizing loses"},
    {OPTION_PROGRESS, 0, "progress", "MODE", "auto, tty, plain, json or none"},
    {OPTION_COLOR, 0, "color", "WHEN", "auto, always or never"},
    {OPTION_VERSION, 0, "version", NULL, "print the version"},
    {OPTION_HELP, 'h', "help", NULL, "print this"},
};
/* clang-format on */
enum { SPEC_COUNT = sizeof specs / sizeof specs[0] };

static const char *const progress_words[] = {"auto", "tty", "plain", "json", "none", NULL};
static const char *const color_words[] = {"auto", "always", "never", NULL};
static const char *const debug_words[] = {"explain", "stats", NULL};

struct reader {
    struct arena *arena;
    struct options *out;
    char *const *words;
    int count, at; /* the word to be read next */
    const char **arguments;
    size_t setting_capacity;
};

/* ---- values ---- */

struct error *options_parse_number(
    const char *name, const char *value, unsigned least, unsigned most, unsigned *out)
{
    unsigned long number = 0;
    size_t length = strlen(value);
    bool is_number = length > 0 && length < 10 && strspn(value, "0123456789") == length;
    if (is_number)
        number = strtoul(value, NULL, 10);
    if (!is_number || number < least || number > most)
        return error_new(ERROR_USAGE, "\"%s\" must be a number from %u to %u, not \"%s\"", name,
            least, most, value);
    *out = (unsigned)number;
    return NULL;
}

struct error *options_parse_word(struct arena *arena, const char *name, const char *value,
    const char *const *words, unsigned *out)
{
    char *list = arena_format(arena, "%s", "");
    for (unsigned i = 0; list != NULL && words[i] != NULL; i++) {
        if (strcmp(words[i], value) == 0) {
            *out = i;
            return NULL;
        }
        list = arena_format(arena, "%s%s%s", list, i > 0 ? ", " : "", words[i]);
    }
    if (list == NULL)
        return error_memory();
    return error_new(ERROR_USAGE, "\"%s\" must be one of %s, not \"%s\"", name, list, value);
}

static struct error *read_load(const char *value, double *out)
{
    char *end;
    double load = strtod(value, &end);
    bool is_number = end != value && *end == '\0' && value[strspn(value, "0123456789.")] == '\0';
    if (!is_number || !(load > 0 && load < 1e6))
        return error_new(
            ERROR_USAGE, "\"-l\" must be a load above 0, such as 2.5, not \"%s\"", value);
    *out = load;
    return NULL;
}

static struct error *read_memory(const char *value, uint64_t *out)
{
    if (size_parse(text_of(value), out) && *out >= MEMORY_BYTES_MIN)
        return NULL;
    return error_new(ERROR_USAGE,
        "\"--memory\" must be a size of at least 1M such as 256M or 2G, not \"%s\"", value);
}

static struct error *read_rate(const char *value, uint64_t *out)
{
    if (size_parse(text_of(value), out) && *out >= RATE_BYTES_MIN)
        return NULL;
    return error_new(ERROR_USAGE,
        "\"--limit-rate\" must be a size of at least 16K a second such as 500K or 20M, not \"%s\"",
        value);
}

static struct error *add_setting(struct reader *reader, const char *value)
{
    struct options *out = reader->out;
    const char *equals = strchr(value, '=');
    if (equals == NULL || equals == value)
        return error_new(ERROR_USAGE, "\"--set\" must be NAME=VALUE, not \"%s\"", value);
    out->settings = arena_grow(reader->arena, out->settings, out->setting_count,
        &reader->setting_capacity, sizeof *out->settings);
    const char *name = arena_copy(reader->arena, value, (size_t)(equals - value));
    if (out->settings == NULL || name == NULL)
        return error_memory();
    out->settings[out->setting_count++] = (struct manifest_setting){name, equals + 1};
    return NULL;
}

/* As make has it: each -C is seen from the one before. */
static struct error *add_directory(struct reader *reader, const char *value)
{
    struct options *out = reader->out;
    if (value[0] == '\0')
        return error_new(ERROR_USAGE, "\"-C\" must be a directory, not \"\"");
    bool is_first = out->directory == NULL || value[0] == '/';
    out->directory = is_first ? value : arena_format(reader->arena, "%s/%s", out->directory, value);
    return out->directory == NULL ? error_memory() : NULL;
}

static struct error *set_debug(struct reader *reader, const char *value)
{
    unsigned index;
    TRY(options_parse_word(reader->arena, "-d", value, debug_words, &index));
    if (index == 0)
        reader->out->explains = true;
    else
        reader->out->shows_stats = true;
    return NULL;
}

static struct error *set_progress(struct reader *reader, const char *value)
{
    unsigned index;
    TRY(options_parse_word(reader->arena, "--progress", value, progress_words, &index));
    reader->out->progress = (enum progress)index;
    return NULL;
}

static struct error *set_color(struct reader *reader, const char *value)
{
    unsigned index;
    TRY(options_parse_word(reader->arena, "--color", value, color_words, &index));
    reader->out->color = (enum color)index;
    return NULL;
}

static struct error *apply(struct reader *reader, enum option_name name, const char *value)
{
    struct options *out = reader->out;
    switch (name) {
    case OPTION_FORCE:
        out->is_forced = true;
        return NULL;
    case OPTION_DIRECTORY:
        return add_directory(reader, value);
    case OPTION_MANIFEST:
        out->manifest = value;
        return NULL;
    case OPTION_THREADS:
        return options_parse_number("-j", value, 1, THREADS_MAX, &out->threads);
    case OPTION_FAILURES:
        return options_parse_number("-k", value, 0, FAILURES_MAX, &out->failures_max);
    case OPTION_LOAD:
        return read_load(value, &out->load_max);
    case OPTION_DRY:
        out->is_dry = true;
        return NULL;
    case OPTION_VERBOSE:
        out->is_verbose = true;
        return NULL;
    case OPTION_QUIET:
        out->is_quiet = true;
        return NULL;
    case OPTION_DEBUG:
        return set_debug(reader, value);
    case OPTION_TOOL:
        out->command = COMMAND_TOOL;
        out->tool = value;
        return NULL;
    case OPTION_SET:
        return add_setting(reader, value);
    case OPTION_MEMORY:
        return read_memory(value, &out->memory_bytes);
    case OPTION_CONNECTIONS:
        return options_parse_number("--connections", value, 1, CONNECTIONS_MAX, &out->connections);
    case OPTION_LIMIT_RATE:
        return read_rate(value, &out->rate_bytes);
    case OPTION_OFFLINE:
        out->is_offline = true;
        return NULL;
    case OPTION_FROZEN:
        out->is_frozen = true;
        return NULL;
    case OPTION_NO_WAIT:
        out->no_wait = true;
        return NULL;
    case OPTION_NO_STATS:
        out->no_stats = true;
        return NULL;
    case OPTION_PROGRESS:
        return set_progress(reader, value);
    case OPTION_COLOR:
        return set_color(reader, value);
    case OPTION_VERSION:
        out->command = COMMAND_VERSION;
        return NULL;
    case OPTION_HELP:
        out->command = COMMAND_USAGE;
        return NULL;
    }
    return NULL;
}

/* ---- words ---- */

static const struct option_spec *find_letter(char letter)
{
    for (size_t i = 0; i < SPEC_COUNT; i++)
        if (specs[i].letter == letter)
            return &specs[i];
    return NULL;
}

static const struct option_spec *find_word(struct text word)
{
    for (size_t i = 0; i < SPEC_COUNT; i++)
        if (specs[i].word != NULL && text_is(word, specs[i].word))
            return &specs[i];
    return NULL;
}

static struct error *unknown_word(struct reader *reader, struct text word)
{
    const char *names[SPEC_COUNT];
    size_t count = 0;
    for (size_t i = 0; i < SPEC_COUNT; i++)
        if (specs[i].word != NULL)
            names[count++] = specs[i].word;
    const char *given = arena_copy(reader->arena, word.bytes, word.length);
    if (given == NULL)
        return error_memory();
    const char *near = text_suggest(given, names, count);
    if (near != NULL)
        return error_new(
            ERROR_USAGE, "unknown option \"--%s\"; did you mean \"--%s\"?", given, near);
    return error_new(ERROR_USAGE, "unknown option \"--%s\"; see psybuild --help", given);
}

/* The value of an option is `attached`, or else the next word. */
static struct error *take_value(
    struct reader *reader, const struct option_spec *spec, const char *shown, const char *attached)
{
    const char *value = attached;
    if (spec->value != NULL && value == NULL) {
        if (reader->at == reader->count)
            return error_new(ERROR_USAGE, "\"%s\" needs a value: %s %s", shown, shown, spec->value);
        value = reader->words[reader->at++];
    }
    return apply(reader, spec->name, value);
}

static struct error *read_long(struct reader *reader, const char *word)
{
    const char *equals = strchr(word + 2, '=');
    size_t length = equals == NULL ? strlen(word + 2) : (size_t)(equals - word - 2);
    struct text name = {word + 2, length};
    const struct option_spec *spec = find_word(name);
    if (spec == NULL)
        return unknown_word(reader, name);
    const char *shown = arena_format(reader->arena, "--%s", spec->word);
    if (shown == NULL)
        return error_memory();
    if (spec->value == NULL && equals != NULL)
        return error_new(ERROR_USAGE, "\"%s\" takes no value", shown);
    return take_value(reader, spec, shown, equals == NULL ? NULL : equals + 1);
}

static struct error *read_letters(struct reader *reader, const char *letters)
{
    while (*letters != '\0') {
        const struct option_spec *spec = find_letter(*letters);
        char shown[3] = {'-', *letters++, '\0'};
        if (spec == NULL)
            return error_new(ERROR_USAGE, "unknown option \"%s\"; see psybuild --help", shown);
        if (spec->value != NULL)
            return take_value(reader, spec, shown, *letters == '\0' ? NULL : letters);
        TRY(apply(reader, spec->name, NULL));
    }
    return NULL;
}

static struct error *read_words(struct reader *reader)
{
    struct options *out = reader->out;
    bool is_literal = false;
    while (reader->at < reader->count) {
        const char *word = reader->words[reader->at++];
        if (is_literal || word[0] != '-' || word[1] == '\0')
            reader->arguments[out->argument_count++] = word;
        else if (strcmp(word, "--") == 0)
            is_literal = true;
        else if (word[1] == '-')
            TRY(read_long(reader, word));
        else
            TRY(read_letters(reader, word + 1));
        is_literal |= out->tool != NULL;
    }
    return NULL;
}

struct error *options_parse(
    struct arena *arena, int count, char *const *arguments, struct options *out)
{
    *out = (struct options){.connections = 8, .failures_max = FAILURES_UNSET};
    struct reader reader = {
        .arena = arena, .out = out, .words = arguments, .count = count, .at = count > 0 ? 1 : 0};
    reader.arguments = arena_array(arena, (size_t)count + 1, sizeof *reader.arguments);
    if (reader.arguments == NULL)
        return error_memory();
    out->arguments = reader.arguments;
    TRY(read_words(&reader));
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

/* ---- help ---- */

char *options_usage(struct arena *arena)
{
    char *text = arena_format(arena, "%s",
        "usage: psybuild [options] [target...]     make files and model directories\n"
        "       psybuild [options] -t TOOL [...]   run a tool\n"
        "       psybuild help [TASK]               what a task reads and takes\n\n"
        "A target is a file, or a directory for all below it [the manifest's default].\n\n"
        "options:\n");
    for (size_t i = 0; i < SPEC_COUNT && text != NULL; i++) {
        const struct option_spec *spec = &specs[i];
        char letter[3] = {spec->letter == 0 ? ' ' : '-', spec->letter == 0 ? ' ' : spec->letter};
        char *name = arena_format(arena, "%s%s%s%s%s", letter,
            spec->letter == 0 || spec->word == NULL ? "" : ", ", spec->word == NULL ? "" : "--",
            spec->word == NULL ? "" : spec->word, spec->value == NULL ? "" : " ");
        if (name != NULL)
            name = arena_format(arena, "%s%s", name, spec->value == NULL ? "" : spec->value);
        if (name != NULL)
            text = arena_format(arena, "%s  %-22s %s\n", text, name, spec->help);
    }
    return text;
}
