/* restore.c - a plan without pieces. */
#include "engine/plan/restore.h"

#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "engine/state/cache.h"
#include "engine/run/files.h"
#include "engine/stale/stale.h"

static struct error *has_outputs(struct build *build, const struct record *record, bool *out)
{
    *out = true;
    for (uint32_t i = 0; i < record->made_count && *out; i++) {
        enum file_kind kind;
        struct file_stamp stamp;
        char *entry = cache_entry_path(&build->arena, build->cache.path, &record->made[i].tree);
        TRY(memory_check(entry));
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

struct error *restore_find(struct build *build, uint32_t index, const struct record **out)
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
    TRY(memory_check(entry));
    TRY(file_stat(entry, &kind, &stamp));
    TRY(plan_output(plan, build->state->files[made->file].path, stamp.size_bytes, &output));
    TRY(files_look(build, made->file));
    struct plan_output *to = &plan->outputs[output];
    to->has_tree = true;
    to->tree = made->tree;
    to->identity = made->identity;
    to->is_unchanged = build->files[made->file].look == LOOK_CURRENT &&
                       files_find_tree(build, to->path, &now) && hash_equal(&now, &made->tree);
    plan->is_changed |= !to->is_unchanged;
    plan->bytes_to_read += to->is_unchanged ? 0 : stamp.size_bytes;
    return NULL;
}

struct error *restore_plan(
    struct build *build, uint32_t index, const struct record *record, struct plan **out)
{
    struct node_run *run = &build->runs[index];
    struct plan *plan = arena_alloc(&run->arena, sizeof *plan);
    TRY(memory_check(plan));
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

struct error *restore_stage_log(struct plan *plan)
{
    struct hash128 generation;
    struct piece_log *log;
    const char *entry, *staged = places_partial_log(plan->arena, plan->directory);
    TRY(memory_check(staged));
    TRY(state_generation(plan->build->state, plan->restored, &generation));
    TRY(cache_log_path(plan->arena, plan->build->cache.path, &generation, &entry));
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

struct error *restore_output(
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
