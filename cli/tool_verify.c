/* tool_verify.c - `-t verify`: every byte of every recorded output, read again.
 *
 * The state alone is asked, so what was built can be verified whatever became of its manifest. It
 * is written only where other bytes lie under the recorded stamp, as after a fault of the disk: a
 * build would believe the stamp. They are damage; under another stamp they are somebody's edit. */
#include <inttypes.h>
#include <string.h>

#include "base/directory.h"
#include "base/file_lock.h"
#include "cli/content.h"
#include "cli/signals.h"
#include "cli/tool_table.h"

struct verification {
    struct cli *cli;
    struct state *state;
    uint32_t files, damaged;
    uint64_t bytes;
    const char **disguised; /* damaged files */
    size_t disguised_count, disguised_capacity;
};

static bool is_named(const char *const *targets, size_t count, const char *path, const char *node)
{
    if (count == 0)
        return true;
    for (size_t i = 0; i < count; i++)
        if (strcmp(targets[i], path) == 0 || strcmp(targets[i], node) == 0 ||
            path_is_below(path, targets[i]))
            return true;
    return false;
}

/* The stamp is that of what was made; of an edit that a build has looked at already it is not. */
static struct error *note_disguised(
    struct verification *verification, const struct record_made *made, bool *is_disguised)
{
    const struct state_file *file = &verification->state->files[made->file];
    TRY(file_is_still(file->location, &file->stamp, false, is_disguised));
    *is_disguised &= file->is_damaged || state_is_as_made(file, made);
    if (!*is_disguised)
        return NULL;
    verification->disguised =
        arena_grow(verification->cli->arena, verification->disguised, verification->disguised_count,
            &verification->disguised_capacity, sizeof *verification->disguised);
    TRY(memory_check(verification->disguised));
    verification->disguised[verification->disguised_count++] = file->path;
    return NULL;
}

/* So that the next build does not believe the stamps. */
static struct error *mark_damaged(const struct verification *verification, struct state *state)
{
    TRY(file_remove(STATE_DIRECTORY "/compiled")); /* it knows no marks */
    TRY(journal_open(state, STATE_DIRECTORY));
    struct error *error = NULL;
    for (size_t i = 0; i < verification->disguised_count && error == NULL; i++) {
        uint32_t file = map_get(&state->file_by_path, verification->disguised[i]);
        uint32_t before = map_get(&verification->state->file_by_path, verification->disguised[i]);
        if (file == MAP_NONE ||
            !file_stamp_equal(&state->files[file].stamp, &verification->state->files[before].stamp))
            continue; /* made again meanwhile */
        state->files[file].is_damaged = true;
        error = journal_put_file(state, file);
    }
    file_close(state->journal);
    return error;
}

/* Under the lock, from the state as it is then: a build that is at work is waited for. */
static struct error *unmask(const struct verification *verification)
{
    struct arena arena = {0};
    struct file_lock *lock;
    struct state *state;
    TRY(file_lock_take(STATE_DIRECTORY "/lock", true, &lock, NULL));
    struct error *error = state_load(&arena, STATE_DIRECTORY, &state);
    if (error == NULL)
        error = mark_damaged(verification, state);
    file_lock_release(lock);
    arena_end(&arena);
    return error;
}

static struct error *check_file(struct verification *verification, const struct record_made *made)
{
    struct cli *cli = verification->cli;
    const struct state_file *file = &verification->state->files[made->file];
    if (file->is_given_back)
        return NULL; /* gone with our will */
    _Atomic uint64_t bytes_read = 0;
    enum content content = CONTENT_SAME;
    struct arena arena = {0};
    const char *found = "";
    char *line = arena_format(&arena, "verifying %s", file->path);
    if (line != NULL && cli->status->mode == PROGRESS_TTY)
        terminal_draw(cli->terminal, line);
    bool is_disguised = false;
    struct error *error = content_check(&arena, cli->registry, verification->state, made,
        signals_flag(), &bytes_read, &content, &found);
    if (error == NULL && content == CONTENT_OTHER)
        error = note_disguised(verification, made, &is_disguised);
    if (error == NULL) {
        verification->files++;
        verification->damaged += content != CONTENT_SAME;
        verification->bytes += content == CONTENT_ABSENT ? 0 : file->stamp.size_bytes;
        if (content == CONTENT_OTHER)
            terminal_say(cli->terminal, TONE_BAD, "%s: %s: %s", is_disguised ? "damaged" : "edited",
                file->path, found);
        else if (content == CONTENT_ABSENT)
            terminal_say(cli->terminal, TONE_BAD, "missing: %s", file->path);
        else if (cli->options->is_verbose)
            terminal_say(cli->terminal, TONE_PLAIN, "good: %s", file->path);
    }
    arena_end(&arena);
    return error;
}

static struct error *check_records(
    struct verification *verification, const char *const *targets, size_t count)
{
    for (uint32_t i = 0; i < verification->state->record_count; i++) {
        const struct record *record = &verification->state->records[i];
        for (uint32_t k = 0; k < record->made_count && !record->is_gone; k++) {
            const char *path = verification->state->files[record->made[k].file].path;
            if (is_named(targets, count, path, record->name))
                TRY(check_file(verification, &record->made[k]));
            if (atomic_load(signals_flag()))
                return error_new(ERROR_INTERRUPTED, "interrupted");
        }
    }
    return NULL;
}

static struct error *check_targets(
    const struct verification *verification, const char *const *targets, size_t count)
{
    for (size_t t = 0; t < count; t++) {
        bool is_known = false;
        for (uint32_t i = 0; i < verification->state->record_count && !is_known; i++) {
            const struct record *record = &verification->state->records[i];
            is_known = is_named(&targets[t], 1, record->name, record->name);
            for (uint32_t k = 0; k < record->made_count; k++)
                is_known |= is_named(&targets[t], 1,
                    verification->state->files[record->made[k].file].path, record->name);
        }
        if (!is_known)
            return error_new(ERROR_USAGE, "nothing was made at \"%s\" yet", targets[t]);
    }
    return NULL;
}

static void say_end(const struct verification *verification)
{
    struct cli *cli = verification->cli;
    char size[SIZE_TEXT_MAX];
    const char *plural = verification->files == 1 ? "" : "s";
    size_print(size, verification->bytes);
    if (verification->damaged > 0)
        cli->exit_code = EXIT_DAMAGED;
    if (cli->options->is_quiet)
        return;
    if (verification->damaged == 0)
        terminal_say(cli->terminal, TONE_PLAIN,
            "psybuild: %" PRIu32 " file%s verified, %s, all as they were made", verification->files,
            plural, size);
    else
        terminal_say(cli->terminal, TONE_PLAIN,
            "psybuild: %" PRIu32 " of %" PRIu32 " file%s not as made; psybuild remakes them",
            verification->damaged, verification->files, plural);
}

static struct error *run(struct cli *cli)
{
    struct tool_words words;
    const char *const *targets;
    struct verification verification = {.cli = cli};
    TRY(tool_words(cli, NULL, &words));
    TRY(tool_targets(cli, &words, &targets));
    TRY(state_load(cli->arena, STATE_DIRECTORY, &verification.state));
    if (verification.state->warning != NULL)
        terminal_warn(cli->terminal, "%s", verification.state->warning);
    TRY(check_targets(&verification, targets, words.count));
    TRY(cli_choose_kernels());
    signals_catch();
    TRY(check_records(&verification, targets, words.count));
    say_end(&verification);
    struct error *error = verification.disguised_count > 0 ? unmask(&verification) : NULL;
    if (error != NULL) /* the damage is what counts */
        terminal_warn(cli->terminal, "a build will not see the damage: %s", error_text(error));
    error_free(error);
    return NULL;
}

const struct tool tool_verify = {.name = "verify",
    .usage = "[TARGET...]",
    .help = "read every byte again, against the records",
    .needs_manifest = true,
    .run = run};
