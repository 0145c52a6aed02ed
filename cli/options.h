/* options.h - the command line to a struct (option.h says how). What follows `-t TOOL` belongs to
 * the tool. */
#ifndef PSYBUILD_CLI_OPTIONS_H
#define PSYBUILD_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/manifest/manifest.h"

enum command { COMMAND_BUILD, COMMAND_TOOL, COMMAND_HELP, COMMAND_USAGE, COMMAND_VERSION };
enum progress { PROGRESS_AUTO, PROGRESS_TTY, PROGRESS_PLAIN, PROGRESS_JSON, PROGRESS_NONE };
enum color { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

struct options {
    enum command command;
    const char *directory;        /* -C, several joined; NULL: stay */
    const char *manifest;         /* -f; NULL: the nearest psybuild.json upward */
    const char *tool;             /* of COMMAND_TOOL */
    const char *const *arguments; /* targets, the tool's words, or what help is asked for */
    size_t argument_count;
    struct manifest_setting *settings;
    size_t setting_count, setting_capacity;
    unsigned threads; /* 0: one a processor */
    unsigned connections;
    unsigned failures_max; /* 0: no limit */
    double load_max;       /* -l; 0: no limit */
    uint64_t memory_bytes; /* 0: by the number of threads */
    uint64_t rate_bytes;   /* a second, of all downloads; 0: no limit */
    enum progress progress;
    enum color color;
    bool is_forced, is_dry, is_verbose, is_quiet;
    bool explains, shows_stats; /* -d */
    bool is_failures_given;     /* -k */
    bool is_offline, is_frozen, no_wait, no_stats;
};

/* ERROR_USAGE says what is wrong with which word. Strings are borrowed from `arguments`. */
MUST_CHECK struct error *options_parse(
    struct arena *arena, int count, char *const *arguments, struct options *out);

/* What --help prints, but for the list of tools. NULL when out of memory. */
char *options_usage(struct arena *arena);

#endif
