/* explain.c - differences to words. */
#include "engine/stale/explain.h"

#include <string.h>

#include "engine/state/places.h"

/* ---- keys ---- */

static bool has_same_member(
    const struct json_document *a, const struct json_document *b, const char *key)
{
    const struct json *in_a = json_get(&a->root, key), *in_b = json_get(&b->root, key);
    return in_a == NULL || in_b == NULL ? in_a == in_b : json_equal(in_a, in_b);
}

/* The members or entries at `*place`, from where on they differ; NULL: there is none. */
static void find_difference(const struct json *before, const struct json *after, size_t *place,
    const struct json **was, const struct json **is)
{
    *was = *is = NULL;
    for (*place = 0; *place < after->count; ++*place) {
        bool is_list = after->kind == JSON_ARRAY;
        *is = is_list ? &after->items[*place] : &after->members[*place].value;
        *was = !is_list                 ? json_get(before, after->members[*place].key.bytes)
               : *place < before->count ? &before->items[*place]
                                        : NULL;
        if (*was == NULL || !json_equal(*was, *is))
            return;
    }
    *is = NULL;
    for (*place = 0; *place < before->count; ++*place) {
        bool is_list = before->kind == JSON_ARRAY;
        *was = is_list ? &before->items[*place] : &before->members[*place].value;
        if (is_list ? *place >= after->count
                    : json_get(after, before->members[*place].key.bytes) == NULL)
            return;
    }
    *was = NULL;
}

/* Down to the first parameter, entry or field that differs: "overrides[0].bits". */
static const char *explain_value(
    struct arena *arena, const struct json *before, const struct json *after)
{
    const struct json *was = before, *is = after;
    char *path = arena_format(arena, "%s", "");
    while (path != NULL && was != NULL && is != NULL && was->kind == is->kind &&
           (is->kind == JSON_OBJECT || is->kind == JSON_ARRAY)) {
        const struct json *in_before = was, *in_after = is;
        size_t place;
        find_difference(in_before, in_after, &place, &was, &is);
        if (was == NULL && is == NULL)
            return "its parameters changed";
        const struct json *in = is == NULL ? in_before : in_after;
        path = in->kind == JSON_ARRAY
                   ? arena_format(arena, "%s[%zu]", path, place)
                   : arena_format(arena, "%s%s%s", path, path[0] == '\0' ? "" : ".",
                         in->members[place].key.bytes);
    }
    if (path == NULL)
        return NULL;
    if (was == NULL)
        return arena_format(arena, "\"%s\" was set to %s", path, json_show(arena, is));
    if (is == NULL)
        return arena_format(arena, "\"%s\" was unset", path);
    return arena_format(
        arena, "\"%s\" changed: %s -> %s", path, json_show(arena, was), json_show(arena, is));
}

const char *explain_key(struct arena *arena, const struct record *record, const struct node *node)
{
    const struct json_document *old = NULL, *new = NULL;
    struct error *error = json_parse(arena, "record", record->declaration, JSON_TOLERANT, &old);
    if (error == NULL)
        error = json_parse(arena, "node", node->declaration, JSON_TOLERANT, &new);
    if (error != NULL) {
        error_free(error);
        return "its declaration changed";
    }
    const struct json *before = json_get(&old->root, "with"), *after = json_get(&new->root, "with");
    if (before != NULL && after != NULL && !json_equal(before, after))
        return explain_value(arena, before, after);
    if (!json_equal(json_get(&old->root, "task"), json_get(&new->root, "task")))
        return "its task changed";
    if (!json_equal(json_get(&old->root, "version"), json_get(&new->root, "version")))
        return "the task's version changed";
    if (!has_same_member(old, new, "environment"))
        return "an environment variable that it names changed";
    if (!has_same_member(old, new, "rules"))
        return "the directory of the manifest's own rules changed";
    if (!has_same_member(old, new, "hash"))
        return "the hash that it must have changed";
    if (!has_same_member(old, new, "in"))
        return "its list of inputs changed";
    return "a view that it sees through changed";
}

/* ---- fields ---- */

const char *explain_field(
    struct arena *arena, const char *path, const struct record_read *read, const struct json *value)
{
    static const struct hash128 absent;
    bool was_absent = hash_equal(&read->hash, &absent);
    if (read->detail[0] == '\0')
        return arena_format(arena, "%s changed", path);
    if (value == NULL)
        return arena_format(
            arena, "\"%s\" in %s was removed; it was %s", read->detail, path, read->shown);
    if (was_absent)
        return arena_format(
            arena, "\"%s\" in %s was added: %s", read->detail, path, json_show(arena, value));
    return arena_format(arena, "\"%s\" in %s changed: %s -> %s", read->detail, path, read->shown,
        json_show(arena, value));
}

/* ---- tensors ---- */

/* Where the first byte lies of what pieces read and is other bytes now; false: nowhere. */
static bool find_changed(const struct piece_log *log, const char *path,
    const struct segments *segments, uint64_t *offset)
{
    bool is_found = false;
    for (uint32_t i = 0; i < log->count; i++) {
        const struct piece_record *record = &log->records[i];
        for (uint32_t k = 0; k < record->input_count; k++) {
            const struct piece_part *part = &record->inputs[k];
            uint32_t begin, end;
            if (strcmp(log->inputs[part->file].path, path) != 0 ||
                !segments_range(segments, part->offset, part->size_bytes, &begin, &end) ||
                end - begin != part->hash_count)
                continue;
            for (uint32_t s = begin; s < end; s++) {
                uint64_t at = segments_at(segments, s).offset;
                if (hash_equal(segments_hash(segments, s), &part->hashes[s - begin]) ||
                    (is_found && at >= *offset))
                    continue;
                *offset = at;
                is_found = true;
            }
        }
    }
    return is_found;
}

/* What the file's format calls the part at that place; NULL: nothing. */
static struct error *name_part(
    struct build *build, uint32_t file, uint64_t offset, const char **out)
{
    const struct state_file *known = &build->state->files[file];
    struct file *handle;
    *out = NULL;
    TRY(file_open(known->location, &handle));
    struct error *error =
        segments_name_part(&build->arena, build->registry, handle, known->path, offset, out);
    file_close(handle);
    return error;
}

struct error *explain_data(
    struct build *build, const struct node *node, uint32_t file, const char **out)
{
    const char *path = build->state->files[file].path, *name = NULL;
    const struct segments *segments = build->files[file].segments;
    struct piece_log *log;
    uint64_t offset = 0;
    const char *log_path;
    if (segments != NULL && segments_are_known(segments)) {
        TRY(places_log(&build->arena, node, &log_path));
        TRY(pieces_load(&build->arena, log_path, &log));
        if (find_changed(log, path, segments, &offset))
            TRY(name_part(build, file, offset, &name));
    }
    *out = name == NULL ? arena_format(&build->arena, "%s changed", path)
                        : arena_format(&build->arena, "%s of %s changed", name, path);
    return memory_check(*out);
}
