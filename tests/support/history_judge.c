/* history_judge.c - comparison of what lies there with references, unit by unit. */
#include "tests/support/history_judge.h"

#include <string.h>

#include "base/text.h"

enum { EXIT_FAULT = 99 };

void judge_note(struct referee *referee, const char *kind, const char *words, ...)
{
    struct arena *arena = referee->world->arena;
    if (referee->finding.kind != NULL ||
        strstr(referee->tolerated, arena_format(arena, " %s ", kind)) != NULL)
        return;
    va_list list;
    va_start(list, words);
    referee->finding =
        (struct finding){.kind = kind, .text = arena_format_list(arena, words, list)};
    va_end(list);
}

/* ---- files ---- */

static bool is_in(const struct unit *unit, const char *path)
{
    return unit->is_directory ? path_is_below(path, unit->path) : strcmp(path, unit->path) == 0;
}

static bool has_same(const struct made *made, const struct made_file *file)
{
    const struct made_file *other = made_find(made, file->path);
    return other != NULL && hash_equal(&other->hash, &file->hash);
}

/* An output that was edited meanwhile may be as the edit left it. */
static bool is_edit(const struct trial *trial, const char *path, const struct made_file *found)
{
    if (!path_set_has(&trial->edited, path))
        return false;
    return found == NULL || has_same(&trial->edits, found);
}

/* Of the files that one node makes as many as it wants. */
static bool is_counted(const char *path)
{
    const char *base = path_base(path);
    return path_is_below(path, "many") ||
           (strncmp(base, "model", 5) == 0 && text_ends_with(text_of(base), ".safetensors"));
}

/* The first path at which the unit is not what `wanted` says; NULL: it is. */
static const char *find_difference(const struct trial *trial, const struct unit *unit,
    const struct made *found, const struct made *wanted, bool is_whole)
{
    for (size_t i = 0; i < wanted->count; i++) {
        const struct made_file *file = &wanted->files[i];
        const struct made_file *is = made_find(found, file->path);
        bool is_right = (is != NULL && hash_equal(&is->hash, &file->hash)) ||
                        (is == NULL && unit->may_go) || is_edit(trial, file->path, is);
        if (is_in(unit, file->path) && !is_right)
            return file->path;
    }
    for (size_t i = 0; i < found->count; i++) {
        const char *path = found->files[i].path;
        bool may_stay = !is_whole || !is_counted(path) || made_find(wanted, path) != NULL ||
                        path_set_has(&trial->referee->world->edited, path);
        if (is_in(unit, path) && !may_stay)
            return path;
    }
    return NULL;
}

/* ---- a run that ended well ---- */

bool judge_wants_unit(const struct trial *trial, const struct unit *unit)
{
    bool is_wanted = trial->targets[0] == NULL && unit->is_chosen;
    for (size_t i = 0; trial->targets[i] != NULL; i++) {
        const char *target = trial->targets[i];
        is_wanted |= strcmp(target, unit->path) == 0 || path_is_below(unit->path, target) ||
                     (unit->is_directory && path_is_below(target, unit->path));
    }
    return is_wanted;
}

static bool has_any(const struct made *made, const struct unit *unit)
{
    for (size_t i = 0; i < made->count; i++)
        if (is_in(unit, made->files[i].path))
            return true;
    return false;
}

static void judge_success(const struct trial *trial, const struct made *found)
{
    struct unit units[UNITS_MAX];
    struct world *world = trial->referee->world;
    size_t count = declaration_units(&world->now, units);
    bool is_whole = !world->has_forgotten && !trial->is_other;
    for (size_t i = 0; i < count; i++) {
        if (!judge_wants_unit(trial, &units[i]))
            continue;
        if (!has_any(trial->now, &units[i]) && !has_any(trial->before, &units[i])) {
            judge_note(trial->referee, "wrong", "%s: made, though a build from nothing cannot",
                units[i].path);
            continue;
        }
        const char *path = find_difference(trial, &units[i], found, trial->now, is_whole);
        if (path == NULL ||
            find_difference(trial, &units[i], found, trial->before, is_whole) == NULL)
            continue;
        bool is_idle = strstr(trial->said, "nothing to do") != NULL;
        const char *kind = is_idle                               ? "stale"
                           : made_find(trial->now, path) == NULL ? "leftover"
                                                                 : "wrong";
        judge_note(trial->referee, kind, "%s: exit status 0%s, and %s is %s", trial->line,
            is_idle ? " and \"nothing to do\"" : "", path,
            made_find(found, path) == NULL ? "missing" : "not what a build from nothing makes");
    }
}

/* ---- one that did not ---- */

/* All that may lie there: what did, and what this build or an interrupted one makes. */
static size_t list_possible(
    const struct trial *trial, const struct made *possible[POSSIBLE_MAX + 3])
{
    size_t count = 0;
    possible[count++] = &trial->old;
    possible[count++] = trial->now;
    possible[count++] = trial->before;
    for (size_t i = 0; i < trial->referee->possible_count; i++)
        possible[count++] = trial->referee->possible[i];
    return count;
}

static void judge_file(const struct trial *trial, const struct made_file *file)
{
    const struct made *possible[POSSIBLE_MAX + 3];
    size_t count = list_possible(trial, possible);
    bool is_possible = is_edit(trial, file->path, file) ||
                       !path_set_has(&trial->referee->world->known, file->path);
    for (size_t i = 0; i < count && !is_possible; i++)
        is_possible = has_same(possible[i], file);
    if (!is_possible)
        judge_note(trial->referee, "torn", "%s: exit status %d, and %s is neither old nor new",
            trial->line, trial->exit_code, file->path);
}

static void judge_directory(
    const struct trial *trial, const struct unit *unit, const struct made *found)
{
    const struct made *possible[POSSIBLE_MAX + 3];
    size_t count = list_possible(trial, possible);
    const char *config = arena_format(trial->referee->world->arena, "%s/config.json", unit->path);
    bool is_possible = made_find(found, config) == NULL;
    for (size_t i = 0; i < trial->edited.count; i++)
        is_possible |= is_in(unit, trial->edited.paths[i]);
    for (size_t i = 0; i < count && !is_possible; i++)
        is_possible = made_find(possible[i], config) != NULL &&
                      find_difference(trial, unit, found, possible[i],
                          !trial->referee->world->has_forgotten) == NULL;
    if (!is_possible)
        judge_note(trial->referee, "mixture",
            "%s: exit status %d, and %s has a config.json beside files of another build",
            trial->line, trial->exit_code, unit->path);
}

static void judge_gone(const struct trial *trial, const struct unit *unit, const struct made *found)
{
    const struct made_file *old = made_find(&trial->old, unit->path);
    if (old != NULL && made_find(found, unit->path) == NULL && !unit->may_go &&
        !path_set_has(&trial->edited, unit->path))
        judge_note(trial->referee, "gone", "%s: exit status %d, and %s is gone", trial->line,
            trial->exit_code, unit->path);
}

static void judge_failure(const struct trial *trial, const struct made *found)
{
    struct unit units[UNITS_MAX];
    size_t count = declaration_units(&trial->referee->world->now, units);
    for (size_t i = 0; i < found->count; i++)
        judge_file(trial, &found->files[i]);
    for (size_t i = 0; i < count; i++)
        if (units[i].is_directory)
            judge_directory(trial, &units[i], found);
        else
            judge_gone(trial, &units[i], found);
}

/* ---- both ---- */

void judge_end(const struct trial *trial)
{
    static const char *const cries[] = {
        "AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "Assertion"};
    bool is_sent =
        trial->is_stopped && (trial->exit_code == 128 + 9 || trial->exit_code == 128 + 2);
    if (trial->exit_code >= 128 && !is_sent)
        judge_note(trial->referee, "crash", "%s: it died by signal %d:\n%s", trial->line,
            trial->exit_code - 128, trial->said);
    for (size_t i = 0; i < sizeof cries / sizeof cries[0]; i++)
        if (strstr(trial->said, cries[i]) != NULL)
            judge_note(trial->referee, "crash", "%s:\n%s", trial->line, trial->said);
    if (trial->exit_code != 0 && trial->exit_code != EXIT_FAULT && !is_sent &&
        strstr(trial->said, "error: ") == NULL && strstr(trial->said, "psybuild: ") == NULL &&
        strstr(trial->said, "verify") == NULL)
        judge_note(trial->referee, "silent", "%s: exit status %d without a message", trial->line,
            trial->exit_code);
}

void judge_marks(const struct trial *trial)
{
    struct world *world = trial->referee->world;
    for (size_t i = 0; i < world->mark_count; i++)
        if (!world_has_mark(world, &world->marks[i], trial->exit_code != 0))
            judge_note(trial->referee, "lost",
                "%s: \"%s\", which a user wrote into %s, is neither there nor set aside",
                trial->line, world->marks[i].words, world->marks[i].path);
}

/* What a run that died was writing beside the manifest goes with the next one. */
static bool is_a_place(const struct trial *trial, const char *name)
{
    static const char *const names[] = {"psybuild.json", "more.json", "psybuild.lock", ".psybuild",
        "src", "raw", "rules", "cache", NULL};
    for (size_t i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    for (size_t i = 0; world_roots[i] != NULL; i++)
        if (strcmp(world_roots[i], name) == 0)
            return true;
    return trial->exit_code != 0 && strcmp(name, "psybuild.lock.tmp") == 0;
}

static bool is_of_source(const char *path)
{
    return path_is_below(path, "far") || path_is_below(path, "hub");
}

void judge_strays(const struct trial *trial)
{
    struct world *world = trial->referee->world;
    struct made found = made_look(world->arena);
    for (size_t i = 0; i < found.count; i++)
        if (!is_of_source(found.files[i].path) && !path_set_has(&world->known, found.files[i].path))
            judge_note(
                trial->referee, "stray", "%s: %s is left over", trial->line, found.files[i].path);
    struct disk_list top = disk_walk(world->arena, ".", NULL);
    for (size_t i = 0; i < top.count; i++)
        if (strchr(top.entries[i].path + 2, '/') == NULL &&
            !is_a_place(trial, top.entries[i].path + 2))
            judge_note(trial->referee, "stray", "%s: %s is left over", trial->line,
                top.entries[i].path + 2);
}

void judge(const struct trial *trial)
{
    struct made found = made_look(trial->referee->world->arena);
    judge_end(trial);
    if (trial->exit_code == 0)
        judge_success(trial, &found);
    else if (!trial->is_other)
        judge_failure(trial, &found);
    if (trial->exit_code != 0 && !trial->may_fail)
        judge_note(
            trial->referee, "failed", "%s: it had to succeed:\n%s", trial->line, trial->said);
    if (!trial->is_other) {
        judge_strays(trial);
        judge_marks(trial);
    }
}
