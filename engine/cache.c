/* cache.c - entries by name, found through records that the state kept. */
#include "engine/cache.h"

#include <stdlib.h>
#include <string.h>

#include "engine/seal.h"
#include "engine/stale.h"

static const char tag[] = "Signature: 8a477f597d28d172789f06886806bc55\n"
                          "# Outputs that psybuild replaced; they may be removed at any time.\n";
#define LOG_SUFFIX ".pieces"

char *cache_entry_path(struct arena *arena, const char *cache, const struct hash128 *tree)
{
    char hex[HASH_HEX_BYTES];
    return path_join(arena, cache, hash_hex(tree, hex));
}

char *cache_log_path(struct arena *arena, const char *cache, const struct record *record)
{
    char hex[HASH_HEX_BYTES];
    struct hash_stream *stream = hash_stream_new(arena);
    if (stream == NULL)
        return NULL;
    hash_stream_update(stream, record->name, strlen(record->name));
    for (uint32_t i = 0; i < record->made_count; i++)
        hash_stream_update(stream, record->made[i].tree.bytes, sizeof record->made[i].tree.bytes);
    struct hash128 hash = hash_stream_take(stream);
    return arena_format(arena, "%s/%s" LOG_SUFFIX, cache, hash_hex(&hash, hex));
}

struct error *cache_open(struct arena *arena, const char *cache)
{
    enum file_kind kind;
    struct file_stamp stamp;
    char *path = path_join(arena, cache, "CACHEDIR.TAG");
    if (path == NULL)
        return error_memory();
    TRY(file_make_directories(cache));
    TRY(file_stat(path, &kind, &stamp));
    return kind == FILE_ABSENT ? file_replace_whole(path, text_of(tag)) : NULL;
}

/* ---- finding ---- */

static struct error *has_outputs(struct build *build, const struct record *record, bool *out)
{
    *out = true;
    for (uint32_t i = 0; i < record->made_count && *out; i++) {
        enum file_kind kind;
        struct file_stamp stamp;
        char *entry = cache_entry_path(&build->arena, build->cache.path, &record->made[i].tree);
        if (entry == NULL)
            return error_memory();
        TRY(file_stat(entry, &kind, &stamp));
        *out = record->made[i].has_tree && kind == FILE_REGULAR;
    }
    return NULL;
}

struct error *cache_find(struct build *build, uint32_t index, const struct record **out)
{
    const struct node *node = &build->graph->nodes[index];
    *out = NULL;
    if (build->cache.path == NULL || build->runs[index].is_forced || build->runs[index].is_uncached)
        return NULL;
    for (uint32_t i = build->state->past_count; i-- > 0;) {
        struct record *past = &build->state->past[i];
        bool holds = strcmp(past->name, node->name) == 0 && hash_equal(&past->key, &node->key) &&
                     past->made_count > 0;
        if (holds)
            TRY(stale_reads_hold(build, node, past, &holds));
        if (holds)
            TRY(has_outputs(build, past, &holds));
        if (!holds)
            continue;
        *out = past;
        return NULL;
    }
    return NULL;
}

/* ---- restoring ---- */

static struct error *add_output(struct plan *plan, const struct record_made *made)
{
    struct build *build = plan->build;
    enum file_kind kind;
    struct file_stamp stamp;
    uint32_t output;
    struct hash128 now;
    char *entry = cache_entry_path(plan->arena, build->cache.path, &made->tree);
    if (entry == NULL)
        return error_memory();
    TRY(file_stat(entry, &kind, &stamp));
    TRY(plan_output(plan, build->state->files[made->file].path, stamp.size_bytes, &output));
    TRY(stale_look(build, made->file));
    struct plan_output *to = &plan->outputs[output];
    to->has_tree = true;
    to->tree = made->tree;
    to->identity = made->identity;
    to->is_unchanged = build->files[made->file].look == LOOK_CURRENT &&
                       stale_find_tree(build, to->path, &now) && hash_equal(&now, &made->tree);
    plan->is_changed |= !to->is_unchanged;
    plan->bytes_to_read += to->is_unchanged ? 0 : stamp.size_bytes;
    return NULL;
}

struct error *cache_plan(
    struct build *build, uint32_t index, const struct record *record, struct plan **out)
{
    struct node_run *run = &build->runs[index];
    struct plan *plan = arena_alloc(&run->arena, sizeof *plan);
    if (plan == NULL)
        return error_memory();
    *plan = (struct plan){.build = build,
        .index = index,
        .node = &build->graph->nodes[index],
        .arena = &run->arena,
        .restored = record,
        .layout = record->layout,
        .figures = record->figures};
    run->plan = plan;
    TRY(seal_partial_directory(build, plan->arena, plan->node, &plan->directory));
    for (uint32_t i = 0; i < record->made_count; i++)
        TRY(add_output(plan, &record->made[i]));
    *out = plan;
    return NULL;
}

struct error *cache_stage_log(struct plan *plan)
{
    enum file_kind kind, sealed_kind;
    struct file_stamp stamp;
    char *sealed;
    char *staged = path_join(plan->arena, plan->directory, "pieces");
    char *entry = cache_log_path(plan->arena, plan->build->cache.path, plan->restored);
    TRY(seal_log_path(plan->arena, plan->node, &sealed));
    if (staged == NULL || entry == NULL)
        return error_memory();
    TRY(file_stat(sealed, &sealed_kind, &stamp));
    TRY(file_stat(entry, &kind, &stamp));
    if (kind != FILE_REGULAR)
        return sealed_kind == FILE_ABSENT
                   ? NULL
                   : pieces_begin(plan->arena, staged, NULL, 0, NULL, 0, &plan->log);
    TRY(file_copy_whole(entry, staged));
    TRY(file_touch(entry));
    TRY(pieces_load(plan->arena, staged, &plan->log));
    return pieces_resume(plan->log, staged);
}

static struct error *copy_entry(struct plan *plan, const char *entry, uint32_t output)
{
    const struct plan_output *to = &plan->outputs[output];
    struct file *from;
    TRY(file_open(entry, &from));
    struct error *error = NULL;
    if (file_size(from) != to->size_bytes)
        error = error_new(ERROR_DAMAGE, "%s has another size", entry);
    if (error == NULL)
        error = file_copy_range(from, 0, to->handle, 0, to->size_bytes, NULL);
    file_close(from);
    return error;
}

struct error *cache_restore(
    struct plan *plan, uint32_t output, const _Atomic bool *cancel, bool *is_wrong)
{
    const struct plan_output *to = &plan->outputs[output];
    const struct build *build = plan->build;
    struct arena arena = {0};
    struct segments *segments = NULL;
    char *entry = cache_entry_path(&arena, build->cache.path, &to->tree);
    struct error *error = entry == NULL ? error_memory() : copy_entry(plan, entry, output);
    if (error == NULL)
        error = segments_hash_file(
            &arena, build->registry, to->path, to->staged, cancel, NULL, &segments);
    if (error == NULL) {
        struct hash128 tree = segments_tree(segments);
        *is_wrong = !hash_equal(&tree, &to->tree);
        error = *is_wrong ? file_remove(entry) : file_touch(entry);
    } else if (error_kind_of(error) == ERROR_DAMAGE || error_kind_of(error) == ERROR_MISSING) {
        error_free(error); /* another psybuild may have trimmed it */
        *is_wrong = true;
        error = NULL;
    }
    arena_end(&arena);
    return error;
}

/* ---- bounds ---- */

struct entry {
    const char *path;
    struct file_stamp stamp;
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->stamp.mtime_ns < y->stamp.mtime_ns ? -1 : x->stamp.mtime_ns > y->stamp.mtime_ns;
}

/* Nothing else in the directory is ours. */
static bool is_entry(const char *name)
{
    size_t length = strspn(name, "0123456789abcdef");
    return length == HASH_HEX_BYTES - 1 &&
           (name[length] == '\0' || strcmp(name + length, LOG_SUFFIX) == 0);
}

struct error *cache_trim(struct arena *arena, const char *cache, uint64_t size_bytes)
{
    struct file_entry *files;
    size_t count, kept = 0;
    uint64_t total = 0;
    TRY(file_list_directory(arena, cache, &files, &count));
    struct entry *entries = arena_array(arena, count, sizeof *entries);
    if (entries == NULL)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        enum file_kind kind;
        if (!is_entry(files[i].name))
            continue;
        entries[kept].path = path_join(arena, cache, files[i].name);
        if (entries[kept].path == NULL)
            return error_memory();
        TRY(file_stat(entries[kept].path, &kind, &entries[kept].stamp));
        if (kind == FILE_REGULAR)
            total += entries[kept++].stamp.size_bytes;
    }
    if (kept > 1)
        qsort(entries, kept, sizeof *entries, compare_entries);
    for (size_t i = 0; i < kept && total > size_bytes; i++) {
        TRY(file_remove(entries[i].path));
        total -= entries[i].stamp.size_bytes;
    }
    return NULL;
}
