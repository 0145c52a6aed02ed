/* tool_lock.c - `-t lock`: every hub source asked anew, psybuild.lock brought up to date, and what
 * changed in it: commits, and files with their sizes. Nothing is downloaded. */
#include <string.h>

#include "cli/tool_table.h"
#include "engine/manifest/manifest.h"
#include "tasks/lock.h"

static bool is_same_file(const struct hub_file *a, const struct hub_file *b)
{
    return a->size_bytes == b->size_bytes && strcmp(a->sha256, b->sha256) == 0 &&
           strcmp(a->git, b->git) == 0;
}

/* "  + model.safetensors  1.2 GB", "  - old.bin  3 kB", "  * config.json  1 kB -> 2 kB" */
static void say_file(
    struct terminal *terminal, const struct hub_file *before, const struct hub_file *after)
{
    char old_size[SIZE_TEXT_MAX], new_size[SIZE_TEXT_MAX];
    if (before != NULL)
        size_print(old_size, before->size_bytes);
    if (after != NULL)
        size_print(new_size, after->size_bytes);
    if (before == NULL)
        terminal_say(terminal, TONE_PLAIN, "  + %s  %s", after->path, new_size);
    else if (after == NULL)
        terminal_say(terminal, TONE_PLAIN, "  - %s  %s", before->path, old_size);
    else
        terminal_say(terminal, TONE_PLAIN, "  * %s  %s -> %s", after->path, old_size, new_size);
}

/* Both lists are in byte order of their paths. */
static void say_files(
    struct terminal *terminal, const struct hub_files *before, const struct hub_files *after)
{
    size_t b = 0, a = 0;
    while (b < before->count || a < after->count) {
        const struct hub_file *old = b < before->count ? &before->items[b] : NULL;
        const struct hub_file *new = a < after->count ? &after->items[a] : NULL;
        int order = old == NULL ? 1 : new == NULL ? -1 : strcmp(old->path, new->path);
        b += order <= 0;
        a += order >= 0;
        if (order != 0 || !is_same_file(old, new))
            say_file(terminal, order <= 0 ? old : NULL, order >= 0 ? new : NULL);
    }
}

static void say_source(
    struct terminal *terminal, const struct lock_source *before, const struct lock_source *after)
{
    static const struct hub_files none = {0};
    uint64_t size_bytes = 0;
    char size[SIZE_TEXT_MAX];
    for (size_t i = 0; i < after->files.count; i++)
        size_bytes += after->files.items[i].size_bytes;
    size_print(size, size_bytes);
    terminal_put(terminal, TONE_BOLD, "%s", after->directory);
    terminal_put(terminal, TONE_PLAIN, ": %s at %s", after->repo.id, after->revision);
    if (before == NULL)
        terminal_put(terminal, TONE_PLAIN, ": locked at %.12s", after->commit);
    else if (strcmp(before->commit, after->commit) == 0)
        terminal_put(terminal, TONE_PLAIN, ": still %.12s", after->commit);
    else
        terminal_put(terminal, TONE_PLAIN, ": %.12s -> %.12s", before->commit, after->commit);
    terminal_say(terminal, TONE_PLAIN, ", %zu file%s, %s", after->files.count,
        after->files.count == 1 ? "" : "s", size);
    say_files(terminal, before == NULL ? &none : &before->files, &after->files);
}

static struct error *find_lock(struct cli *cli, struct manifest **out)
{
    struct manifest_options options = {.path = cli->build_options.manifest,
        .data_directory = cli->build_options.data_directory,
        .settings = cli->build_options.settings,
        .setting_count = cli->build_options.setting_count};
    return manifest_load(cli->arena, cli->registry, &options, out);
}

/* What the lock holds of sources that left the manifest stays there, untold. */
static void say_changes(struct cli *cli, const struct manifest *manifest, const struct lock *before,
    const struct lock *after)
{
    for (size_t i = 0; i < manifest->source_count && !cli->options->is_quiet; i++) {
        const char *directory = manifest->sources[i].directory;
        const struct lock_source *source = lock_find(after, directory);
        if (source != NULL)
            say_source(cli->terminal, lock_find(before, directory), source);
    }
}

static struct error *run(struct cli *cli)
{
    struct tool_words words;
    struct manifest *manifest;
    struct build *build = NULL;
    struct lock before, after;
    TRY(tool_words(cli, NULL, &words));
    TRY(tool_expect_words(cli, &words, 0, 0));
    if (cli->options->is_dry)
        return error_new(ERROR_USAGE, "\"-n\" and the tool \"lock\" exclude each other");
    TRY(find_lock(cli, &manifest));
    TRY(lock_read(cli->arena, manifest->lock_path, &before));
    cli->build_options.is_refreshing = true;
    TRY(cli_open_locked(cli, &build)); /* lists every source, and writes the lock */
    cli_close_build(cli, build);
    TRY(lock_read(cli->arena, manifest->lock_path, &after));
    say_changes(cli, manifest, &before, &after);
    return NULL;
}

const struct tool tool_lock = {.name = "lock",
    .usage = "",
    .help = "ask the hub anew; what changed in psybuild.lock",
    .needs_manifest = true,
    .run = run};
