/* cache.c - entries by name, found through records that the state kept. */
#include "engine/plan/cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/file_whole.h"
#include "engine/stale/stale.h"

static const char tag[] = "Signature: 8a477f597d28d172789f06886806bc55\n"
                          "# Outputs that psybuild replaced; they may be removed at any time.\n";
#define TAG_NAME "CACHEDIR.TAG"
#define LOG_SUFFIX ".pieces"
#define ABANDONED_NS (INT64_C(24) * 3600 * 1000000000)

char *cache_entry_path(struct arena *arena, const char *cache, const struct hash128 *tree)
{
    char hex[HASH_HEX_BYTES];
    return path_join(arena, cache, hash_hex(tree, hex));
}

struct error *cache_log_path(struct build *build, const struct record *record, const char **out)
{
    char hex[HASH_HEX_BYTES];
    struct hash128 generation;
    TRY(state_generation(build->state, record, &generation));
    *out = arena_format(
        &build->arena, "%s/%s" LOG_SUFFIX, build->cache.path, hash_hex(&generation, hex));
    return *out == NULL ? error_memory() : NULL;
}

static struct error *open_cache(struct arena *arena, const char *cache)
{
    char *path = path_join(arena, cache, TAG_NAME);
    if (path == NULL)
        return error_memory();
    TRY(file_make_directories(cache));
    return file_create_whole(path, text_of(tag));
}

bool cache_begin(struct build *build)
{
    if (build->cache.path == NULL || build->is_cache_filled)
        return build->cache.path != NULL;
    struct error *error = open_cache(&build->arena, build->cache.path);
    build->is_cache_filled = error == NULL;
    if (error == NULL)
        return true;
    build_warn(build, NULL, error_wrap(error, "the cache is not used"));
    build->cache.path = NULL;
    return false;
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

/* Past records move whenever one is kept or dropped, and a plan lives longer than that. */
static struct error *copy_record(
    struct build *build, const struct record *record, const struct record **out)
{
    struct record *copy = arena_alloc(&build->arena, sizeof *copy);
    struct record_read *reads = arena_array(&build->arena, record->read_count, sizeof *reads);
    if (copy == NULL || reads == NULL)
        return error_memory();
    *copy = *record;
    for (uint32_t i = 0; i < record->read_count; i++)
        reads[i] = record->reads[i];
    copy->reads = reads;
    *out = copy;
    return NULL;
}

struct error *cache_find(struct build *build, uint32_t index, const struct record **out)
{
    const struct node *node = &build->graph->nodes[index];
    *out = NULL;
    if (build->cache.path == NULL || build->runs[index].is_forced || build->runs[index].is_uncached)
        return NULL;
    uint32_t at = map_get(&build->state->past_by_name, node->name);
    for (at = at == MAP_NONE ? RECORD_NONE : at; at != RECORD_NONE;
         at = build->state->past[at].older) {
        struct record *past = &build->state->past[at];
        bool holds = !past->is_gone && hash_equal(&past->key, &node->key) && past->made_count > 0;
        if (holds)
            TRY(stale_reads_hold(build, node, past, &holds));
        if (holds)
            TRY(has_outputs(build, past, &holds));
        if (holds)
            return copy_record(build, past, out);
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
    TRY(places_partial(plan->arena, plan->node, &plan->directory));
    TRY(places_stage(plan->arena, plan->node, &plan->stage));
    for (uint32_t i = 0; i < record->made_count; i++)
        TRY(add_output(plan, &record->made[i]));
    *out = plan;
    return NULL;
}

struct error *cache_stage_log(struct plan *plan)
{
    struct hash128 generation;
    struct piece_log *log;
    const char *entry, *staged = places_partial_log(plan->arena, plan->directory);
    if (staged == NULL)
        return error_memory();
    TRY(state_generation(plan->build->state, plan->restored, &generation));
    TRY(cache_log_path(plan->build, plan->restored, &entry));
    TRY(pieces_load(plan->arena, entry, &log));
    if (!pieces_is_of(log, &generation))
        return NULL;
    struct error *error = file_copy_whole(entry, staged);
    if (error != NULL && error_kind_of(error) == ERROR_MISSING) {
        error_free(error); /* trimmed meanwhile */
        return NULL;
    }
    TRY(error);
    plan->log_path = staged;
    return file_touch(entry);
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

/* What was on its way here when its process died; another may be on its way now. */
static bool is_abandoned(const char *name, const struct file_stamp *stamp)
{
    size_t length = strspn(name, "0123456789abcdef"), tag_length = sizeof TAG_NAME - 1;
    bool is_ours = (length == HASH_HEX_BYTES - 1 && name[length] == '.') ||
                   strncmp(name, TAG_NAME ".", tag_length + 1) == 0;
    return is_ours && text_ends_with(text_of(name), ".tmp") &&
           file_clock_ns() - stamp->mtime_ns > ABANDONED_NS;
}

static struct error *list_entries(
    struct arena *arena, const char *cache, struct entry **out, size_t *count, uint64_t *size_bytes)
{
    struct file_entry *files;
    size_t file_count = 0;
    *count = 0;
    struct error *error = file_list_directory(arena, cache, &files, &file_count);
    if (error != NULL && error_kind_of(error) == ERROR_MISSING) {
        error_free(error);
        error = NULL;
    }
    TRY(error);
    *out = arena_array(arena, file_count, sizeof **out);
    if (*out == NULL)
        return error_memory();
    for (size_t i = 0; i < file_count; i++) {
        enum file_kind kind;
        struct entry entry = {.path = path_join(arena, cache, files[i].name)};
        if (entry.path == NULL)
            return error_memory();
        TRY(file_stat(entry.path, &kind, &entry.stamp));
        if (kind == FILE_REGULAR && is_abandoned(files[i].name, &entry.stamp))
            TRY(file_remove(entry.path));
        if (kind != FILE_REGULAR || !is_entry(files[i].name))
            continue;
        *size_bytes += entry.stamp.size_bytes;
        (*out)[(*count)++] = entry;
    }
    return NULL;
}

struct error *cache_trim(struct arena *arena, const char *cache, uint64_t size_bytes)
{
    struct entry *entries = NULL;
    size_t count;
    uint64_t total = 0;
    TRY(list_entries(arena, cache, &entries, &count, &total));
    if (count > 1)
        qsort(entries, count, sizeof *entries, compare_entries);
    for (size_t i = 0; i < count && total > size_bytes; i++) {
        TRY(file_remove(entries[i].path));
        total -= entries[i].stamp.size_bytes;
    }
    return NULL;
}
