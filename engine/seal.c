/* seal.c - the intent first, then the renames, then the records. */
#include "engine/seal.h"

#include <stdlib.h>
#include <string.h>

#include "engine/cache.h"
#include "engine/plan.h"
#include "engine/stale.h"

struct error *seal_partial_directory(
    struct build *build, struct arena *arena, const struct node *node, const char **out)
{
    char hex[HASH_HEX_BYTES];
    struct hash128 hash = hash_text(text_of(node->name));
    bool is_same;
    if (node->source != NULL && node->source->partial != NULL) {
        *out = arena_format(
            arena, "%s/%s/%s", node->source_directory, node->source->partial, hash_hex(&hash, hex));
        return *out == NULL ? error_memory() : NULL;
    }
    TRY(file_same_device(STATE_DIRECTORY, node->directory, &is_same));
    char *base = is_same ? arena_format(arena, "%s", STATE_DIRECTORY)
                         : path_join(arena, node->directory, STATE_DIRECTORY);
    (void)build;
    if (base == NULL)
        return error_memory();
    *out = arena_format(arena, "%s/partial/%s", base, hash_hex(&hash, hex));
    return *out == NULL ? error_memory() : NULL;
}

struct error *seal_log_path(struct arena *arena, const struct node *node, char **out)
{
    char hex[HASH_HEX_BYTES];
    struct hash128 hash = hash_text(text_of(node->name));
    *out = arena_format(arena, "%s/pieces/%s", STATE_DIRECTORY, hash_hex(&hash, hex));
    return *out == NULL ? error_memory() : NULL;
}

/* ---- partials ---- */

struct error *seal_empty_partial(struct arena *arena, const char *directory)
{
    struct file_entry *entries;
    size_t count;
    struct error *error = file_list_directory(arena, directory, &entries, &count);
    if (error != NULL && error_kind_of(error) == ERROR_MISSING) {
        error_free(error);
        return NULL;
    }
    TRY(error);
    for (size_t i = 0; i < count; i++) {
        char *path = path_join(arena, directory, entries[i].name);
        if (path == NULL)
            return error_memory();
        TRY(file_remove(path));
    }
    return file_remove_directory(directory);
}

/* Only where there is any partial at all is a path made for each node. */
static struct error *has_partials(struct build *build, const char *base, bool *out)
{
    struct file_entry *entries;
    size_t count = 0;
    char *path = path_join(&build->arena, base, "partial");
    if (path == NULL)
        return error_memory();
    struct error *error = file_list_directory(&build->arena, path, &entries, &count);
    if (error != NULL && error_kind_of(error) != ERROR_MISSING)
        return error;
    error_free(error);
    *out = count > 0;
    return NULL;
}

struct error *seal_remove_partials(struct build *build)
{
    bool has_any = false;
    TRY(has_partials(build, STATE_DIRECTORY, &has_any));
    for (uint32_t i = 0; i < build->graph->node_count; i++) {
        enum node_status status = build->runs[i].status;
        const struct source_file *source = build->graph->nodes[i].source;
        bool is_elsewhere = source != NULL && source->partial != NULL;
        const char *directory;
        if ((status != STATUS_FRESH && status != STATUS_SEALED) || !(has_any || is_elsewhere))
            continue;
        TRY(seal_partial_directory(build, &build->arena, &build->graph->nodes[i], &directory));
        TRY(seal_empty_partial(&build->arena, directory));
    }
    return NULL;
}

/* ---- the intent ---- */

struct sealing {
    struct build *build;
    struct intent intent;
    size_t file_capacity, removed_capacity, removed_to_capacity;
    uint32_t visible; /* renames and removals that a reader of the directory would see */
};

static struct error *add_file(struct sealing *sealing, const struct intent_file *file)
{
    struct intent *intent = &sealing->intent;
    intent->files = arena_grow(&sealing->build->arena, intent->files, intent->file_count,
        &sealing->file_capacity, sizeof *intent->files);
    if (intent->files == NULL)
        return error_memory();
    intent->files[intent->file_count] = *file;
    enum file_kind kind;
    return file_stat(file->staged, &kind, &intent->files[intent->file_count++].stamp);
}

static const char *copy_path(struct build *build, const char *path)
{
    return arena_copy(&build->arena, path, strlen(path));
}

/* ---- what becomes of a file that is replaced ---- */

/* Whether some record says that we made a file of that name. */
static bool was_made(const struct state *state, const char *path)
{
    uint32_t file = map_get(&state->file_by_path, path);
    for (uint32_t i = 0; file != MAP_NONE && i < state->record_count; i++)
        for (uint32_t k = 0; k < state->records[i].made_count; k++)
            if (state->records[i].made[k].file == file)
                return true;
    return false;
}

/* As a record says that it was made, and as it still is. */
static struct error *find_made(
    struct build *build, const struct node *node, const char *path, const struct record_made **out)
{
    const struct record *record = state_find_record(build->state, node->name);
    *out = NULL;
    for (uint32_t i = 0; record != NULL && i < record->made_count; i++) {
        const struct record_made *made = &record->made[i];
        const struct state_file *file = &build->state->files[made->file];
        if (strcmp(file->path, path) != 0)
            continue;
        TRY(stale_look(build, made->file));
        if (build->files[made->file].look == LOOK_CURRENT && made->has_tree && file->has_tree &&
            hash_equal(&made->tree, &file->tree))
            *out = made;
    }
    return NULL;
}

/* Under the same path within `aside` of the state's directory, by a name that is free. */
static struct error *set_aside(
    struct build *build, const struct node *node, const char *path, const char **out)
{
    enum { TRIES_MAX = 1000 };
    bool is_same;
    TRY(file_same_device(STATE_DIRECTORY, node->directory, &is_same));
    char *base = is_same ? arena_format(&build->arena, STATE_DIRECTORY "/aside/%s", path)
                         : arena_format(&build->arena, "%s/" STATE_DIRECTORY "/aside/%s",
                               node->directory, path_base(path));
    char *name = base;
    enum file_kind kind = FILE_OTHER;
    for (unsigned i = 1; name != NULL && i <= TRIES_MAX; i++) {
        TRY(file_kind_itself(name, &kind));
        if (kind == FILE_ABSENT)
            break;
        name = arena_format(&build->arena, "%s.%u", base, i);
    }
    if (name == NULL)
        return error_memory();
    if (kind != FILE_ABSENT)
        return error_new(ERROR_FAILED, "%s: its directory is full of files set aside", path);
    char *note = arena_format(
        &build->arena, "%s was there, and is not known to be psybuild's: kept as %s", path, name);
    if (note == NULL)
        return error_memory();
    build_say(build, EVENT_WARNING, NULL, note);
    *out = name;
    return NULL;
}

/* Not ours, but the very bytes that will be there: nothing is lost with it. */
static struct error *is_the_same(
    struct build *build, const struct plan_output *output, uint64_t size_bytes, bool *out)
{
    struct segments *found;
    *out = false;
    bool may_be = output->size_bytes == size_bytes || output->size_bytes == PLAN_SIZE_UNKNOWN;
    if (!output->has_tree || !may_be)
        return NULL;
    TRY(segments_hash_file(&build->arena, build->registry, output->path, output->path,
        build->options->cancel, NULL, &found));
    struct hash128 tree = segments_tree(found);
    *out = hash_equal(&tree, &output->tree);
    return NULL;
}

/* Into the cache when it is what we made; aside when somebody else did; else nowhere (""). `output`
 * is what replaces it, NULL for a leftover. */
static struct error *choose_place(struct build *build, const struct node *node, const char *path,
    const struct plan_output *output, const char **out)
{
    const struct record_made *made;
    enum file_kind itself, kind;
    struct file_stamp stamp;
    *out = "";
    TRY(file_kind_itself(path, &itself));
    if (itself == FILE_ABSENT)
        return NULL;
    if (itself == FILE_DIRECTORY)
        return error_new(ERROR_FAILED, "%s: expected a file or nothing, found a directory", path);
    TRY(file_stat(path, &kind, &stamp));
    TRY(find_made(build, node, path, &made));
    if (made != NULL && itself == FILE_REGULAR && build->cache.path != NULL && !node->is_fetched) {
        TRY(cache_open(&build->arena, build->cache.path));
        *out = cache_entry_path(&build->arena, build->cache.path, &made->tree);
        build->is_cache_filled = true;
        return *out == NULL ? error_memory() : NULL;
    }
    bool is_ours = made != NULL || was_made(build->state, path);
    if (!is_ours && output != NULL && kind == FILE_REGULAR)
        TRY(is_the_same(build, output, stamp.size_bytes, &is_ours));
    return is_ours ? NULL : set_aside(build, node, path, out);
}

/* Of the pieces in outputs that go into the cache. */
static struct error *choose_log_place(
    struct build *build, const struct node *node, const char **out)
{
    const struct record *record = state_find_record(build->state, node->name);
    *out = "";
    if (record == NULL || build->cache.path == NULL)
        return NULL;
    *out = cache_log_path(&build->arena, build->cache.path, record);
    return *out == NULL ? error_memory() : NULL;
}

static struct error *add_leftovers(struct sealing *sealing, const struct plan *plan)
{
    struct build *build = sealing->build;
    struct intent *intent = &sealing->intent;
    const struct record *record = state_find_record(build->state, plan->node->name);
    for (uint32_t i = 0; record != NULL && i < record->made_count; i++) {
        const char *path = build->state->files[record->made[i].file].path;
        const struct record_made *made;
        bool is_kept = false;
        for (uint32_t k = 0; k < plan->output_count; k++)
            is_kept |= strcmp(plan->outputs[k].path, path) == 0;
        if (is_kept)
            continue;
        TRY(find_made(build, plan->node, path, &made));
        if (made == NULL)
            continue; /* not ours any more */
        intent->removed = arena_grow(&build->arena, intent->removed, intent->removed_count,
            &sealing->removed_capacity, sizeof *intent->removed);
        intent->removed_to = arena_grow(&build->arena, intent->removed_to, intent->removed_count,
            &sealing->removed_to_capacity, sizeof *intent->removed_to);
        if (intent->removed == NULL || intent->removed_to == NULL)
            return error_memory();
        TRY(choose_place(
            build, plan->node, path, NULL, &intent->removed_to[intent->removed_count]));
        intent->removed[intent->removed_count++] = path;
        sealing->visible++;
    }
    return NULL;
}

static struct error *add_node(struct sealing *sealing, uint32_t index)
{
    struct build *build = sealing->build;
    struct plan *plan = build->runs[index].plan;
    for (uint32_t i = 0; i < plan->output_count; i++) {
        struct plan_output *output = &plan->outputs[i];
        if (output->is_unchanged)
            continue;
        struct intent_file file = {.staged = copy_path(build, output->staged),
            .path = output->path,
            .has_tree = output->has_tree,
            .tree = output->tree,
            .identity = output->identity};
        if (file.staged == NULL)
            return error_memory();
        TRY(choose_place(build, plan->node, output->path, output, &file.kept));
        TRY(add_file(sealing, &file));
        sealing->visible++;
    }
    TRY(add_leftovers(sealing, plan));
    if (plan->log == NULL || plan->outputs[0].is_blocks)
        return NULL;
    char *log, *staged = path_join(&build->arena, plan->directory, "pieces");
    TRY(seal_log_path(&build->arena, plan->node, &log));
    struct intent_file file = {.staged = staged, .path = log, .identity = ""};
    if (staged == NULL)
        return error_memory();
    TRY(choose_log_place(build, plan->node, &file.kept));
    return add_file(sealing, &file);
}

static bool is_last(const struct build *build, const char *path)
{
    return strcmp(path_base(path), build->registry->seal_last) == 0;
}

/* The file without which nothing loads the directory is moved away first and comes back last. */
static struct error *hide_last(struct sealing *sealing, const uint32_t *nodes)
{
    struct build *build = sealing->build;
    struct intent *intent = &sealing->intent;
    uint32_t group = build->graph->nodes[nodes[0]].group;
    if (group == GROUP_NONE || sealing->visible < 2)
        return NULL;
    for (uint32_t i = 0; i < build->graph->groups[group].node_count; i++) {
        const struct node *node = &build->graph->nodes[build->graph->groups[group].nodes[i]];
        enum file_kind kind;
        struct file_stamp stamp;
        if (!is_last(build, node->name))
            continue;
        TRY(file_stat(node->name, &kind, &stamp));
        if (kind != FILE_REGULAR)
            return NULL;
        const char *directory;
        TRY(seal_partial_directory(build, &build->arena, node, &directory));
        TRY(file_make_directories(directory));
        intent->moved_from = node->name;
        intent->moved_to = path_join(&build->arena, directory, "old");
        if (intent->moved_to == NULL)
            return error_memory();
        TRY(file_remove(intent->moved_to)); /* of a seal that was given up: not what is moved now */
        for (uint32_t k = 0; k < intent->file_count; k++)
            if (strcmp(intent->files[k].path, node->name) == 0) { /* a new one will come */
                intent->moved_on = intent->files[k].kept;
                intent->files[k].kept = "";
                return NULL;
            }
        uint32_t file;
        TRY(build_add_file(build, node->name, NULL, &file));
        const struct state_file *known = &build->state->files[file];
        TRY(add_file(sealing, &(struct intent_file){.staged = intent->moved_to,
                                  .path = node->name,
                                  .has_tree = known->has_tree,
                                  .tree = known->tree,
                                  .identity = known->identity}));
        intent->files[intent->file_count - 1].stamp = stamp;
        return NULL;
    }
    return NULL;
}

static void put_last_at_the_end(struct sealing *sealing)
{
    struct intent *intent = &sealing->intent;
    for (uint32_t i = 0; i + 1 < intent->file_count; i++) {
        if (!is_last(sealing->build, intent->files[i].path))
            continue;
        struct intent_file last = intent->files[i];
        memmove(
            &intent->files[i], &intent->files[i + 1], (intent->file_count - i - 1) * sizeof last);
        intent->files[intent->file_count - 1] = last;
        return;
    }
}

/* ---- carrying it out; every step may have been done already ---- */

static bool is_same_file(const struct file_stamp *a, const struct file_stamp *b)
{
    return a->inode == b->inode && a->size_bytes == b->size_bytes && a->mtime_ns == b->mtime_ns;
}

static struct error *stat_file(const char *path, bool *is_there, struct file_stamp *stamp)
{
    enum file_kind kind;
    TRY(file_stat(path, &kind, stamp));
    *is_there = kind == FILE_REGULAR;
    return NULL;
}

static struct error *move_away(struct build *build, const struct intent *intent)
{
    if (intent->moved_from == NULL || intent->moved_from[0] == '\0')
        return NULL;
    bool is_there, is_moved;
    struct file_stamp stamp, moved;
    TRY(stat_file(intent->moved_from, &is_there, &stamp));
    TRY(stat_file(intent->moved_to, &is_moved, &moved));
    /* Already the new one? Then all renames before it are done, too. */
    for (uint32_t i = 0; is_there && i < intent->file_count; i++)
        if (strcmp(intent->files[i].path, intent->moved_from) == 0 &&
            strcmp(intent->files[i].staged, intent->moved_to) != 0 &&
            is_same_file(&intent->files[i].stamp, &stamp))
            return NULL;
    if (is_there && is_moved)
        return NULL; /* moved back already */
    if (!is_there)
        return NULL;
    TRY(file_rename(intent->moved_from, intent->moved_to));
    char *directory = path_directory(&build->arena, intent->moved_from);
    return directory == NULL ? error_memory() : file_sync_directory(directory);
}

static bool is_kept(const char *place)
{
    return place != NULL && place[0] != '\0';
}

/* To the cache, which may be on another file system, or aside. */
static struct error *move_file(struct build *build, const char *from, const char *to)
{
    bool is_same;
    enum file_kind kind;
    char *directory = path_directory(&build->arena, to);
    char *from_directory = path_directory(&build->arena, from); /* a link may lead elsewhere */
    char *beside = arena_format(&build->arena, "%s.tmp", to);
    TRY(file_kind_itself(from, &kind));
    if (directory == NULL || from_directory == NULL || beside == NULL)
        return error_memory();
    if (kind == FILE_ABSENT)
        return NULL; /* done already */
    TRY(file_make_directories(directory));
    TRY(file_same_device(from_directory, directory, &is_same));
    if (!is_same) {
        TRY(file_copy_whole(from, beside));
        TRY(file_rename(beside, to));
        return file_remove(from);
    }
    TRY(file_rename(from, to));
    return file_touch(to); /* for the cache: the order in which entries go */
}

/* A file that is to be kept takes the staged one's place and goes on from there (keep_old); where
 * the system cannot exchange two files it goes first. */
static bool is_aside(const char *place)
{
    return strstr(place, STATE_DIRECTORY "/aside/") != NULL;
}

/* What is not ours must be kept; the cache may be full, or gone: then the old file is, too. */
static struct error *keep_file(struct build *build, const char *from, const char *to)
{
    struct error *error = move_file(build, from, to);
    if (error == NULL || is_aside(to))
        return error;
    char *beside = arena_format(&build->arena, "%s.tmp", to);
    build_warn(build, NULL, error_wrap(error, "keeping what %s was in the cache", path_base(from)));
    if (beside == NULL)
        return error_memory();
    error_free(file_remove(beside)); /* as far as it can be */
    return file_remove(from);
}

static struct error *replace_file(struct build *build, const struct intent_file *file)
{
    bool is_done = false;
    enum file_kind kind;
    TRY(file_kind_itself(file->path, &kind));
    if (kind != FILE_ABSENT && is_kept(file->kept)) {
        TRY(file_exchange(file->staged, file->path, &is_done));
        if (!is_done)
            TRY(keep_file(build, file->path, file->kept));
    }
    return is_done ? NULL : file_rename(file->staged, file->path);
}

static struct error *rename_file(struct build *build, const struct intent_file *file, bool *is_good)
{
    bool is_staged, is_there;
    struct file_stamp staged, there;
    TRY(stat_file(file->staged, &is_staged, &staged));
    TRY(stat_file(file->path, &is_there, &there));
    if (is_staged && is_same_file(&staged, &file->stamp))
        return replace_file(build, file);
    *is_good &= is_there && is_same_file(&there, &file->stamp);
    return NULL;
}

/* What was replaced goes where it is kept; without a place it is gone already. */
static struct error *keep_old(struct build *build, const struct intent *intent, bool is_good)
{
    for (uint32_t i = 0; i < intent->file_count; i++) {
        const struct intent_file *file = &intent->files[i];
        bool is_there;
        struct file_stamp stamp;
        if (!is_kept(file->kept))
            continue;
        TRY(stat_file(file->staged, &is_there, &stamp));
        if (!is_there || !is_same_file(&stamp, &file->stamp)) /* else it is the new one still */
            TRY(keep_file(build, file->staged, file->kept));
    }
    if (!is_kept(intent->moved_to))
        return NULL;
    if (is_kept(intent->moved_on))
        return keep_file(build, intent->moved_to, intent->moved_on);
    return is_good ? file_remove(intent->moved_to) : NULL;
}

static struct error *remove_leftovers(struct build *build, const struct intent *intent)
{
    for (uint32_t i = 0; i < intent->removed_count; i++) {
        const char *to = intent->removed_to == NULL ? "" : intent->removed_to[i];
        TRY(is_kept(to) ? keep_file(build, intent->removed[i], to)
                        : file_remove(intent->removed[i]));
    }
    return NULL;
}

static struct error *make_directories(struct build *build, const struct intent *intent)
{
    for (uint32_t i = 0; i < intent->file_count; i++) {
        char *directory = path_directory(&build->arena, intent->files[i].path);
        if (directory == NULL)
            return error_memory();
        TRY(file_make_directories(directory));
    }
    return NULL;
}

/* Each directory once, of the files from `first` on. */
static struct error *sync_directories(
    struct build *build, const struct intent *intent, uint32_t first)
{
    struct map seen = {.arena = &build->arena};
    for (uint32_t i = first; i < intent->file_count; i++) {
        char *directory = path_directory(&build->arena, intent->files[i].path);
        if (directory == NULL)
            return error_memory();
        if (map_get(&seen, directory) != MAP_NONE)
            continue;
        TRY(map_put(&seen, directory, i));
        TRY(file_sync_directory(directory));
    }
    return NULL;
}

/* The stamps that count are taken now: a rename moves ctime. That no later change can share them is
 * seen to once, when the state is saved. */
static struct error *take_stamps(struct build *build, const struct intent *intent)
{
    for (uint32_t i = 0; i < intent->file_count; i++) {
        const struct intent_file *file = &intent->files[i];
        uint32_t index;
        if (!file->has_tree && file->identity[0] == '\0')
            continue; /* a log */
        TRY(build_add_file(build, file->path, NULL, &index));
        struct state_file *known = &build->state->files[index];
        enum file_kind kind;
        TRY(file_stat(known->location, &kind, &known->stamp));
        /* Fetched again, a file has the content that was hashed before. */
        bool is_again = !file->has_tree && known->has_tree && file->identity[0] != '\0' &&
                        strcmp(known->identity, file->identity) == 0;
        known->has_tree = is_again || file->has_tree;
        known->is_given_back = false;
        known->tree = is_again ? known->tree : file->tree;
        known->identity = file->identity;
        build->files[index] = (struct file_run){.look = LOOK_CURRENT, .stamp = known->stamp};
    }
    build->stamped_ns = file_clock_ns();
    return NULL;
}

static struct error *record_nodes(struct build *build, const struct intent *intent, bool is_good)
{
    for (uint32_t i = 0; i < intent->record_count; i++) {
        if (!is_good) {
            state_drop_record(build->state, intent->records[i].name);
            continue;
        }
        TRY(state_put_record(build->state, &intent->records[i]));
        TRY(journal_put_record(build->state, &intent->records[i]));
    }
    build->is_state_changed = true;
    return NULL;
}

static struct error *carry_out(struct build *build, const struct intent *intent)
{
    bool is_good = true;
    TRY(make_directories(build, intent));
    TRY(move_away(build, intent));
    TRY(remove_leftovers(build, intent));
    uint32_t unsynced = 0;
    for (uint32_t i = 0; i < intent->file_count; i++) {
        /* All others must be durable before the directory loads again. */
        if (i > 0 && i + 1 == intent->file_count && is_last(build, intent->files[i].path)) {
            TRY(sync_directories(build, intent, 0));
            unsynced = i;
        }
        if (is_good || !is_last(build, intent->files[i].path))
            TRY(rename_file(build, &intent->files[i], &is_good));
    }
    TRY(sync_directories(build, intent, unsynced));
    if (is_good)
        TRY(take_stamps(build, intent));
    TRY(record_nodes(build, intent, is_good));
    TRY(keep_old(build, intent, is_good));
    return journal_put_sealed(build->state);
}

/* ---- the two entries ---- */

static struct error *remove_partials(struct build *build, const struct intent *intent)
{
    for (uint32_t i = 0; i < intent->file_count; i++) {
        char *directory = path_directory(&build->arena, intent->files[i].staged);
        if (directory == NULL)
            return error_memory();
        TRY(file_remove_directory(directory));
        char *above = path_directory(&build->arena, directory);
        if (above == NULL)
            return error_memory();
        TRY(file_remove_directory(above)); /* as long as nothing else is unfinished */
    }
    return NULL;
}

struct error *seal_finish_intent(struct build *build)
{
    struct intent *intent = build->state->intent;
    if (intent == NULL)
        return NULL;
    build_say(build, EVENT_NOTE, NULL, "finishing what an interrupted build had begun to rename");
    TRY(carry_out(build, intent));
    build->state->intent = NULL;
    return remove_partials(build, intent);
}

static struct error *record_only(struct build *build, const struct intent *intent)
{
    for (uint32_t i = 0; i < intent->record_count; i++) {
        TRY(state_put_record(build->state, &intent->records[i]));
        TRY(journal_put_record(build->state, &intent->records[i]));
    }
    build->is_state_changed = true;
    return NULL;
}

static void mark_sealing(
    struct build *build, const uint32_t *nodes, uint32_t count, bool is_sealing)
{
    for (uint32_t i = 0; i < count; i++)
        build->runs[nodes[i]].is_sealing = is_sealing;
}

/* What the cache will hold can be found by its record. */
static struct error *keep_past(struct build *build, uint32_t index)
{
    const struct record *record = state_find_record(build->state, build->graph->nodes[index].name);
    if (record == NULL || build->cache.path == NULL || build->graph->nodes[index].is_fetched)
        return NULL;
    return state_keep_past(build->state, record);
}

struct error *seal_nodes(struct build *build, const uint32_t *nodes, uint32_t count)
{
    TRY(seal_finish_intent(build)); /* one that failed in this run, under -k */
    struct sealing *sealing = arena_alloc(&build->arena, sizeof *sealing);
    struct record *records = arena_array(&build->arena, count, sizeof *records);
    if (sealing == NULL || records == NULL)
        return error_memory();
    *sealing = (struct sealing){.build = build, .intent = {.records = records}};
    for (uint32_t i = 0; i < count; i++) {
        TRY(keep_past(build, nodes[i]));
        records[sealing->intent.record_count++] = build->runs[nodes[i]].record;
        if (build->runs[nodes[i]].plan != NULL && build->runs[nodes[i]].is_changed)
            TRY(add_node(sealing, nodes[i]));
    }
    struct intent *intent = &sealing->intent;
    if (intent->file_count == 0 && intent->removed_count == 0)
        return record_only(build, intent);
    TRY(hide_last(sealing, nodes));
    put_last_at_the_end(sealing);
    TRY(file_make_directories(STATE_DIRECTORY "/pieces"));
    TRY(journal_put_intent(build->state, intent));
    /* From here on it must be carried out, now or by the next build. */
    build->state->intent = intent;
    mark_sealing(build, nodes, count, true);
    TRY(file_sync(build->state->journal));
    TRY(carry_out(build, intent));
    build->state->intent = NULL;
    mark_sealing(build, nodes, count, false);
    return remove_partials(build, intent);
}
