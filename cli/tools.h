/* tools.h - the commands behind `-t`, and what each of them is given. */
#ifndef PSYBUILD_CLI_TOOLS_H
#define PSYBUILD_CLI_TOOLS_H

#include "cli/options.h"
#include "cli/place.h"
#include "cli/status.h"
#include "cli/terminal.h"
#include "engine/build.h"

enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_DAMAGED = 3,
};

/* One run of the program. The command's result leaves through `exit_code`. */
struct cli {
    const struct options *options;
    struct terminal *terminal;
    struct status *status;
    struct arena *arena; /* lives as long as the program */
    struct place place;
    struct build_options build_options; /* complete once the manifest is found */
    const struct registry *registry;
    struct jobserver *jobserver; /* make's, or NULL */
    bool has_said_directory;     /* "entering directory" */
    int exit_code;
};

struct tool {
    const char *name;
    const char *usage; /* its words: "REPO|DIR TARGET" */
    const char *help;
    bool needs_manifest; /* runs in the manifest's directory */
    struct error *(*run)(struct cli *cli);
};

const struct tool *tools_find(const char *name); /* or NULL */
/* ERROR_USAGE, with a suggestion. */
struct error *tools_unknown(struct arena *arena, const char *name);
MUST_CHECK struct error *tools_list(struct arena *arena, char **out);

/* ---- what tools share ---- */

/* Fills build_options; the place must be found. */
MUST_CHECK struct error *cli_prepare_build(struct cli *cli);
/* Takes the lock; NULL for -n. */
MUST_CHECK struct error *cli_lock(struct cli *cli, struct file_lock **out);
/* Opens the build, which takes over the lock (or NULL); the status knows it from then on. */
MUST_CHECK struct error *cli_open_build(
    struct cli *cli, struct file_lock *lock, struct build **out);
/* Both: from here on only this process builds here, and the state is what the last one left. */
MUST_CHECK struct error *cli_open_locked(struct cli *cli, struct build **out);
void cli_close_build(struct cli *cli, struct build *build);

/* Before anything is hashed or quantized in bulk: the instruction sets at hand, or PSYBUILD_CPU's.
 */
MUST_CHECK struct error *cli_choose_kernels(void);
/* Recorded under this manifest, and not in it any more. */
bool cli_is_dead(const struct build *build, const struct record *record);

/* The words of a tool that knows one flag, such as "json", or none: NULL. */
struct tool_words {
    const char *const *items; /* but for the flag */
    size_t count;
    bool has_flag;
};
MUST_CHECK struct error *tool_words(struct cli *cli, const char *flag, struct tool_words *out);
/* ERROR_USAGE unless there are so many words. */
MUST_CHECK struct error *tool_expect_words(
    struct cli *cli, const struct tool_words *words, size_t least, size_t most);
/* The words as paths from the manifest's directory. */
MUST_CHECK struct error *tool_targets(
    struct cli *cli, const struct tool_words *words, const char *const **out);

/* Stored bits by the logical weights of the model, as the reference counts them; 0 for what is no
 * model. */
double tool_bits_per_weight(struct arena *arena, const struct record *record);

/* `psybuild help [TASK]` */
MUST_CHECK struct error *help_run(struct cli *cli);
/* The default command. */
MUST_CHECK struct error *make_run(struct cli *cli);

#endif
