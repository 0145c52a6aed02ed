/* files.c - each file at most once: looked at, hashed, found. */
#include "engine/run/files.h"

#include <string.h>

#include "base/directory.h"
#include "base/json_write.h"

struct error *files_look(struct build *build, uint32_t file)
{
    struct file_run *run = &build->files[file];
    struct state_file *known = &build->state->files[file];
    if (run->look != LOOK_NONE)
        return NULL;
    enum file_kind kind;
    build->stats.files_looked_at++;
    TRY(file_stat(known->location, &kind, &run->stamp));
    if (kind != FILE_REGULAR) /* a directory in a file's place is no file */
        run->look = known->is_given_back ? LOOK_GIVEN_BACK : LOOK_ABSENT;
    else if (file_stamp_equal(&run->stamp, &known->stamp) &&
             (known->has_tree || known->identity[0] != '\0'))
        run->look = known->is_damaged ? LOOK_DAMAGED : LOOK_CURRENT;
    else
        run->look = LOOK_CHANGED;
    if (run->look == LOOK_CURRENT)
        known->is_given_back = false; /* killed before it could go: it is there like any other */
    return NULL;
}

struct error *files_set_hashed(struct build *build, uint32_t file, struct segments *segments)
{
    struct state_file *known = &build->state->files[file];
    struct file_run *run = &build->files[file];
    struct hash128 tree = segments_tree(segments);
    bool is_same =
        run->look == LOOK_CURRENT || (known->has_tree && hash_equal(&known->tree, &tree));
    if (!is_same)
        known->identity = ""; /* an identity belongs to its content */
    known->tree = tree;
    known->has_tree = true;
    known->is_given_back = known->is_damaged = false;
    known->stamp = run->stamp;
    run->look = LOOK_CURRENT;
    run->segments = segments;
    build->is_state_changed = true;
    return build->state->journal == NULL ? NULL : journal_put_file(build->state, file);
}

const struct made_file *files_find_made(const struct build *build, const char *path)
{
    uint32_t producer = graph_find_producer(build->graph, path);
    if (producer == NODE_NONE)
        return NULL;
    const struct node_run *run = &build->runs[producer];
    if (run->status != STATUS_MADE && run->status != STATUS_SEALED)
        return NULL;
    for (uint32_t i = 0; i < run->file_count; i++)
        if (strcmp(run->files[i].path, path) == 0)
            return &run->files[i];
    return NULL;
}

/* A file that this run is known to fetch, and not only again: what was there before says nothing of
 * it. */
static bool will_change(const struct build *build, const char *path)
{
    uint32_t producer = map_get(&build->graph->node_by_name, path);
    if (producer == MAP_NONE || !build->graph->nodes[producer].is_fetched)
        return false;
    const struct node_run *run = &build->runs[producer];
    return run->is_wanted && run->reason != NULL && run->status < STATUS_MADE &&
           !run->is_demanded && !run->is_given_back;
}

bool files_find_tree(struct build *build, const char *path, struct hash128 *out)
{
    const struct made_file *made = files_find_made(build, path);
    uint32_t file = map_get(&build->state->file_by_path, path);
    if (made != NULL && made->has_tree) {
        *out = made->tree;
        return true;
    }
    if (file == MAP_NONE || !build->state->files[file].has_tree || will_change(build, path))
        return false;
    enum file_look look = build->files[file].look;
    if (look != LOOK_CURRENT && look != LOOK_GIVEN_BACK)
        return false;
    *out = build->state->files[file].tree;
    return true;
}

struct error *files_hash_field(struct arena *arena, const struct json *value, struct hash128 *out)
{
    *out = (struct hash128){{0}};
    if (value == NULL)
        return NULL;
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_CANONICAL);
    struct text text;
    TRY(memory_check(writer));
    json_write_value(writer, value);
    TRY(json_writer_finish(writer, &text));
    *out = hash_text(text);
    return NULL;
}

struct error *files_hash_names(struct arena *arena, const char *directory, struct hash128 *out,
    struct file_entry **entries, size_t *count)
{
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_CANONICAL);
    struct text text;
    *entries = NULL;
    *count = 0;
    TRY(error_forgive(file_list_directory(arena, directory, entries, count), ERROR_MISSING));
    TRY(memory_check(writer));
    json_write_array_begin(writer);
    for (size_t i = 0; i < *count; i++)
        if ((*entries)[i].kind == FILE_REGULAR)
            json_write_string(writer, (*entries)[i].name);
    json_write_array_end(writer);
    TRY(json_writer_finish(writer, &text));
    *out = hash_text(text);
    return NULL;
}
