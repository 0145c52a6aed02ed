/* stale.c - record against world. */
#include "engine/stale/stale.h"

#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "engine/run/files.h"
#include "engine/stale/explain.h"

/* ---- files ---- */

static struct error *is_steady(struct build *build, uint32_t file, bool *out)
{
    const struct file_run *run = &build->files[file];
    *out = true;
    return run->look != LOOK_CURRENT
               ? NULL
               : file_is_still(build->state->files[file].location, &run->stamp, false, out);
}

struct error *stale_find_unsteady(
    struct build *build, const struct record *record, const char **out)
{
    *out = NULL;
    for (uint32_t i = 0; i < record->read_count + record->made_count && *out == NULL; i++) {
        bool is_read = i < record->read_count, is_same = true;
        const struct record_read *read = is_read ? &record->reads[i] : NULL;
        uint32_t file = is_read ? read->file : record->made[i - record->read_count].file;
        bool counts = !is_read || (file != FILE_NONE && read->kind != READ_NAMES);
        if (counts)
            TRY(is_steady(build, file, &is_same));
        if (!is_same)
            *out = build->state->files[file].path;
    }
    return NULL;
}

/* ---- single reads ---- */

/* Where a file's bytes are now: staged by a node of this run, or in place. */
static const char *find_location(const struct build *build, uint32_t file)
{
    const struct made_file *made = files_find_made(build, build->state->files[file].path);
    return made == NULL ? build->state->files[file].location : made->location;
}

static struct error *parse_json(
    struct build *build, uint32_t file, const struct json_document **out)
{
    struct file_run *run = &build->files[file];
    if (run->json == NULL) {
        struct text text;
        TRY(file_read_whole(&build->arena, find_location(build, file), JSON_FILE_BYTES_MAX, &text));
        TRY(json_parse(
            &build->arena, build->state->files[file].path, text, JSON_TOLERANT, &run->json));
    }
    *out = run->json;
    return NULL;
}

static struct error *check_field(
    struct build *build, const struct record_read *read, const char **reason)
{
    const char *path = build->state->files[read->file].path;
    const struct json_document *document = NULL;
    struct error *error = parse_json(build, read->file, &document);
    if (error != NULL && error_kind_of(error) == ERROR_FORMAT) {
        error_free(error); /* no JSON any more: planning will say what is wrong with it */
        *reason = arena_format(&build->arena, "%s is no valid JSON any more", path);
        return memory_check(*reason);
    }
    TRY(error);
    const struct json *value =
        read->detail[0] == '\0' ? &document->root : json_get_path(&document->root, read->detail);
    struct hash128 hash;
    TRY(files_hash_field(&build->arena, value, &hash));
    if (hash_equal(&hash, &read->hash))
        return NULL;
    *reason = explain_field(&build->arena, path, read, value);
    return memory_check(*reason);
}

static struct error *check_header(
    struct build *build, const struct record_read *read, const char **reason)
{
    const struct segments *segments = build->files[read->file].segments;
    const struct hash128 *hash =
        segments == NULL || segments->count == 0 ? NULL : segments_hash(segments, 0);
    if (hash != NULL && hash_equal(hash, &read->hash))
        return NULL;
    bool is_known = segments != NULL && segments->count > 1; /* else the header may be all of it */
    *reason = arena_format(&build->arena, "%s%s changed", is_known ? "the header of " : "",
        build->state->files[read->file].path);
    return memory_check(*reason);
}

/* Whether data files of a kind are still installed where a record has found them; a directory of
 * the manifest's own is in the key. */
static struct error *is_installed_there(
    struct build *build, const struct record *record, const struct record_read *read, bool *out)
{
    const char *installed = path_join(&build->arena, build->options->data_directory, read->detail);
    *out = false;
    TRY(memory_check(installed));
    for (uint32_t i = 0; i < record->read_count; i++)
        *out |= record->reads[i].kind == READ_NAMES &&
                strcmp(build->state->files[record->reads[i].file].path, installed) == 0;
    return NULL;
}

static struct error *check_names(struct build *build, const struct record *record,
    const struct record_read *read, const char **reason)
{
    struct hash128 hash;
    struct file_entry *entries;
    size_t count;
    bool is_there;
    const char *directory = build->state->files[read->file].path;
    TRY(is_installed_there(build, record, read, &is_there));
    if (!is_there) {
        *reason = arena_format(
            &build->arena, "%s are installed elsewhere than in %s", read->detail, directory);
        return memory_check(*reason);
    }
    TRY(files_hash_names(&build->arena, directory, &hash, &entries, &count));
    if (hash_equal(&hash, &read->hash))
        return NULL;
    *reason = arena_format(&build->arena, "the files in %s changed", directory);
    return memory_check(*reason);
}

static struct error *check_layout(
    struct build *build, const struct record_read *read, const char **reason)
{
    uint32_t producer = map_get(&build->graph->node_by_name, read->detail);
    if (producer != MAP_NONE && hash_equal(&build->runs[producer].layout_hash, &read->hash))
        return NULL;
    *reason = arena_format(&build->arena, "the layout of %s changed", read->detail);
    return memory_check(*reason);
}

/* A read whose file has other content than when it was recorded. */
static struct error *check_changed(struct build *build, const struct node *node,
    const struct record_read *read, const char **reason)
{
    switch (read->kind) {
    case READ_FIELD:
        return check_field(build, read, reason);
    case READ_HEADER:
        return check_header(build, read, reason);
    case READ_CONTENT:
    case READ_DATA:
        return explain_data(build, node, read->file, reason);
    default:
        return NULL;
    }
}

/* ---- a whole node ---- */

struct check {
    struct build *build;
    const struct node *node;
    struct record *record;
    struct arena *arena;
    struct staleness *out;
    bool is_itself; /* a target names it */
};

static struct error *say_stale(struct check *check, const char *reason)
{
    TRY(memory_check(reason));
    if (check->out->verdict == VERDICT_STALE)
        return NULL; /* the first reason is the nearest to the root */
    check->out->verdict = VERDICT_STALE;
    check->out->reason = reason;
    return NULL;
}

static struct error *want_hash(struct check *check, uint32_t file)
{
    struct staleness *out = check->out;
    if (out->files == NULL)
        out->files = arena_array(check->arena,
            check->record->read_count + check->record->made_count, sizeof *out->files);
    TRY(memory_check(out->files));
    for (uint32_t i = 0; i < out->file_count; i++)
        if (out->files[i] == file)
            return NULL;
    out->files[out->file_count++] = file;
    return NULL;
}

static struct error *check_read(struct check *check, struct record_read *read)
{
    struct build *build = check->build;
    const char *reason = NULL;
    if (read->kind == READ_LAYOUT || read->kind == READ_NAMES) {
        TRY(read->kind == READ_LAYOUT ? check_layout(build, read, &reason)
                                      : check_names(build, check->record, read, &reason));
        return reason == NULL ? NULL : say_stale(check, reason);
    }
    const struct state_file *file = &build->state->files[read->file];
    const struct made_file *made = files_find_made(build, file->path);
    if (made == NULL) {
        TRY(files_look(build, read->file));
        enum file_look look = build->files[read->file].look;
        if (read->kind == READ_ABSENT)
            return look == LOOK_ABSENT
                       ? NULL
                       : say_stale(check, arena_format(&build->arena, "%s appeared", file->path));
        if (look == LOOK_ABSENT)
            return say_stale(check, arena_format(&build->arena, "%s is gone", file->path));
        if (look == LOOK_CHANGED || !file->has_tree)
            return want_hash(check, read->file);
    }
    struct hash128 now;
    if (!files_find_tree(build, file->path, &now))
        return want_hash(check, read->file); /* just fetched: known by another identity only */
    if (hash_equal(&now, &read->seen))
        return NULL;
    TRY(check_changed(build, check->node, read, &reason));
    if (reason != NULL)
        return say_stale(check, reason);
    read->seen = now; /* another content, the same to this reader */
    build->is_state_changed = true;
    return NULL;
}

/* Nobody who wrote to it: that is worth more than a reason. */
static struct error *say_damaged(struct check *check, const char *path)
{
    struct build *build = check->build;
    char *line = arena_format(&build->arena,
        "%s is damaged: it has the stamp of what was made, and "
        "other bytes; it %s made again",
        path, build->options->is_dry ? "would be" : "is");
    TRY(memory_check(line));
    run_say(build, EVENT_WARNING, check->node->name, line);
    return say_stale(check, arena_format(&build->arena, "%s is damaged", path));
}

static struct error *check_made(struct check *check, const struct record_made *made)
{
    struct build *build = check->build;
    const struct state_file *file = &build->state->files[made->file];
    TRY(files_look(build, made->file));
    if (build->files[made->file].look == LOOK_GIVEN_BACK && check->node->gives_back &&
        !check->is_itself)
        return NULL;
    if (build->files[made->file].look == LOOK_GIVEN_BACK)
        return say_stale(check, arena_format(&build->arena, "%s was given back, and is %s",
                                    file->path, check->is_itself ? "asked for" : "to be kept now"));
    if (build->files[made->file].look == LOOK_ABSENT)
        return say_stale(check, arena_format(&build->arena, "%s is missing", file->path));
    if (build->files[made->file].look == LOOK_CHANGED)
        return want_hash(check, made->file);
    if (build->files[made->file].look == LOOK_DAMAGED)
        return say_damaged(check, file->path);
    if (state_is_as_made(file, made))
        return NULL;
    return say_stale(
        check, arena_format(&build->arena, "%s is not what was made (edited?)", file->path));
}

struct error *stale_is_certain(struct build *build, uint32_t index, const char **reason)
{
    struct staleness staleness = {.verdict = VERDICT_FRESH};
    struct check check = {.build = build,
        .node = &build->graph->nodes[index],
        .record = state_find_record(build->state, build->graph->nodes[index].name),
        .out = &staleness};
    if (build->runs[index].is_forced)
        TRY(say_stale(&check, "-B remakes every target"));
    else if (check.record == NULL)
        TRY(say_stale(&check, "it was never made"));
    else if (!hash_equal(&check.record->key, &check.node->key))
        TRY(say_stale(&check, explain_key(&build->arena, check.record, check.node)));
    *reason = staleness.reason;
    return NULL;
}

struct error *stale_check(
    struct build *build, uint32_t index, struct arena *arena, struct staleness *out)
{
    const struct node *node = &build->graph->nodes[index];
    struct check check = {.build = build,
        .node = node,
        .record = state_find_record(build->state, node->name),
        .arena = arena,
        .out = out,
        .is_itself = build->runs[index].is_itself};
    *out = (struct staleness){.verdict = VERDICT_FRESH};
    if (build->runs[index].is_forced)
        return say_stale(&check, "-B remakes every target");
    if (check.record == NULL)
        return say_stale(&check, "it was never made");
    if (!hash_equal(&check.record->key, &node->key))
        TRY(say_stale(&check, explain_key(&build->arena, check.record, check.node)));
    for (uint32_t i = 0; i < check.record->read_count; i++)
        TRY(check_read(&check, &check.record->reads[i]));
    for (uint32_t i = 0; i < check.record->made_count; i++)
        TRY(check_made(&check, &check.record->made[i]));
    if (out->file_count > 0)
        out->verdict = VERDICT_HASH_FIRST;
    return NULL;
}

static struct error *read_holds(struct build *build, const struct node *node,
    const struct record *record, struct record_read *read, bool *out)
{
    const char *reason = NULL;
    struct hash128 now;
    if (read->kind == READ_LAYOUT || read->kind == READ_NAMES) {
        TRY(read->kind == READ_LAYOUT ? check_layout(build, read, &reason)
                                      : check_names(build, record, read, &reason));
        *out = reason == NULL;
        return NULL;
    }
    const struct state_file *file = &build->state->files[read->file];
    TRY(files_look(build, read->file));
    if (read->kind == READ_ABSENT) {
        *out = build->files[read->file].look == LOOK_ABSENT;
        return NULL;
    }
    *out = files_find_tree(build, file->path, &now);
    bool is_same = *out && hash_equal(&now, &read->seen);
    if (*out && !is_same && build->files[read->file].look != LOOK_GIVEN_BACK) {
        TRY(check_changed(build, node, read, &reason));
        is_same = reason == NULL;
        if (is_same)
            read->seen = now;
    }
    *out &= is_same;
    return NULL;
}

struct error *stale_reads_hold(
    struct build *build, const struct node *node, struct record *record, bool *out)
{
    *out = true;
    for (uint32_t i = 0; i < record->read_count && *out; i++)
        TRY(read_holds(build, node, record, &record->reads[i], out));
    return NULL;
}

/* The file is the recorded one, or was and is given back. */
static bool holds(enum file_look look, bool may_be_given_back)
{
    return look == LOOK_CURRENT || (look == LOOK_GIVEN_BACK && may_be_given_back);
}

struct error *stale_is_fresh_by_stamps(
    struct build *build, const struct node *node, bool is_itself, bool *out)
{
    const struct record *record = state_find_record(build->state, node->name);
    *out = false;
    if (record == NULL || !hash_equal(&record->key, &node->key))
        return NULL;
    for (uint32_t i = 0; i < record->read_count; i++) {
        const struct record_read *read = &record->reads[i];
        const char *reason = NULL;
        if (read->kind == READ_LAYOUT) {
            const struct record *producer = state_find_record(build->state, read->detail);
            struct hash128 layout = hash_text(producer == NULL ? TEXT_EMPTY : producer->layout);
            if (!hash_equal(&layout, &read->hash))
                return NULL;
            continue;
        }
        if (read->kind == READ_NAMES) {
            TRY(check_names(build, record, read, &reason));
            if (reason != NULL)
                return NULL;
            continue;
        }
        const struct state_file *file = &build->state->files[read->file];
        TRY(files_look(build, read->file));
        enum file_look look = build->files[read->file].look;
        bool is_same = read->kind == READ_ABSENT ? look == LOOK_ABSENT
                                                 : holds(look, true) && file->has_tree &&
                                                       hash_equal(&file->tree, &read->seen);
        if (!is_same)
            return NULL;
    }
    for (uint32_t i = 0; i < record->made_count; i++) {
        const struct record_made *made = &record->made[i];
        const struct state_file *file = &build->state->files[made->file];
        TRY(files_look(build, made->file));
        bool is_same = holds(build->files[made->file].look, node->gives_back && !is_itself) &&
                       state_is_as_made(file, made);
        if (!is_same)
            return NULL;
    }
    *out = true;
    return NULL;
}
