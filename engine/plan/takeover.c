/* takeover.c - planned pieces against the two logs. */
#include "engine/plan/takeover.h"

#include <stdlib.h>
#include <string.h>

#include "engine/run/files.h"
#include "engine/plan/inputs.h"
#include "engine/plan/staging.h"

enum { COPY_BYTES_MAX = 64 << 20 };

/* Whether an input holds what it held when the previous outputs were made from it. */
static bool is_input_unchanged(const struct plan *plan, const struct plan_input *input)
{
    const struct piece_log *log = plan->previous;
    struct hash128 now;
    if (!files_find_tree(plan->build, input->path, &now))
        return false;
    for (uint32_t i = 0; i < log->input_count; i++)
        if (strcmp(log->inputs[i].path, input->path) == 0)
            return log->inputs[i].has_tree && hash_equal(&log->inputs[i].tree, &now);
    return false;
}

/* The recorded segments of a part against those of the input as hashed in this run. */
static bool has_same_segments(
    const struct plan_input *input, const struct piece_part *part, const struct piece_range *range)
{
    uint32_t begin, end;
    if (!segments_range(input->segments, range->offset, range->size_bytes, &begin, &end) ||
        end - begin != part->hash_count)
        return false;
    for (uint32_t s = begin; s < end; s++)
        if (segments_hash(input->segments, s) == NULL ||
            !hash_equal(segments_hash(input->segments, s), &part->hashes[s - begin]))
            return false;
    return true;
}

/* Whether a recorded piece read the very bytes that the planned one would. `unchanged` tells it for
 * whole inputs; NULL: not known of any. */
static bool has_same_inputs(const struct plan *plan, const struct piece *piece,
    const struct piece_record *record, const bool *unchanged)
{
    const struct piece_file *files = plan->previous->inputs;
    if (record->input_count != piece->input_count || record->output_count != piece->output_count)
        return false;
    for (uint32_t i = 0; i < piece->input_count; i++) {
        const struct piece_range *range = &piece->inputs[i];
        const struct piece_part *part = &record->inputs[i];
        bool is_same = unchanged != NULL && unchanged[range->file] &&
                       strcmp(files[part->file].path, plan->inputs[range->file].path) == 0;
        if (part->size_bytes != range->size_bytes)
            return false;
        if (!is_same && !has_same_segments(&plan->inputs[range->file], part, range))
            return false;
    }
    for (uint32_t i = 0; i < piece->output_count; i++)
        if (record->outputs[i].size_bytes != piece->outputs[i].size_bytes)
            return false;
    return true;
}

/* Which of the previous outputs are still on disk as they were made. */
static struct error *find_current_outputs(
    struct plan *plan, const struct record *record, bool **out)
{
    struct build *build = plan->build;
    bool *current = arena_array(plan->arena, plan->previous->output_count + 1, sizeof *current);
    TRY(memory_check(current));
    for (uint32_t i = 0; i < plan->previous->output_count; i++) {
        for (uint32_t k = 0; k < record->made_count; k++) {
            const struct record_made *made = &record->made[k];
            const struct state_file *file = &build->state->files[made->file];
            if (strcmp(file->path, plan->previous->outputs[i].path) != 0)
                continue;
            TRY(files_look(build, made->file));
            current[i] = build->files[made->file].look == LOOK_CURRENT && made->has_tree &&
                         file->has_tree && hash_equal(&made->tree, &file->tree);
        }
    }
    *out = current;
    return NULL;
}

/* Of the outputs as the record has them, and of no others. */
static struct error *load_previous(
    struct plan *plan, const struct record *record, struct piece_log **out)
{
    const char *path;
    struct hash128 generation;
    struct piece_log *log;
    *out = NULL;
    TRY(places_log(plan->arena, plan->node, &path));
    TRY(state_generation(plan->build->state, record, &generation));
    TRY(pieces_load(plan->arena, path, &log));
    if (pieces_is_of(log, &generation))
        *out = log;
    return NULL;
}

static struct error *take_over_previous(struct plan *plan)
{
    struct build *build = plan->build;
    const struct record *record = state_find_record(build->state, plan->node->name);
    if (record == NULL || build->runs[plan->index].is_forced)
        return NULL;
    TRY(load_previous(plan, record, &plan->previous));
    if (plan->previous == NULL)
        return NULL;
    bool *current = NULL;
    TRY(find_current_outputs(plan, record, &current));
    bool *unchanged = arena_array(plan->arena, plan->input_count + 1, sizeof *unchanged);
    plan->is_copied_from = arena_array(plan->arena, plan->previous->output_count + 1, sizeof(bool));
    if (unchanged == NULL || plan->is_copied_from == NULL)
        return error_memory();
    for (uint32_t i = 0; i < plan->input_count; i++)
        unchanged[i] = is_input_unchanged(plan, &plan->inputs[i]);
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        struct planned_piece *planned = &plan->pieces[i];
        const struct piece_record *old = pieces_find(plan->previous, &planned->key);
        struct piece piece = plan_piece_of(plan, i);
        if (old == NULL || !has_same_inputs(plan, &piece, old, unchanged))
            continue;
        bool is_there = true;
        for (uint32_t k = 0; k < old->output_count; k++)
            is_there &= current[old->outputs[k].file];
        if (!is_there)
            continue;
        for (uint32_t k = 0; k < old->output_count; k++)
            plan->is_copied_from[old->outputs[k].file] = true;
        planned->action = PIECE_COPY;
        planned->record = old;
    }
    return NULL;
}

static bool is_same_plan(const struct plan *plan, const struct piece_log *log)
{
    if (log->output_count != plan->output_count || log->input_count != plan->input_count)
        return false;
    for (uint32_t i = 0; i < plan->output_count; i++) {
        const struct plan_output *output = &plan->outputs[i];
        struct hash128 head = hash_text(staging_head(output));
        if (log->outputs[i].size_bytes != output->size_bytes ||
            strcmp(log->outputs[i].path, output->path) != 0 ||
            !hash_equal(&log->outputs[i].head, &head))
            return false;
    }
    for (uint32_t i = 0; i < plan->input_count; i++) {
        struct hash128 version = staging_version(plan, &plan->inputs[i]);
        if (strcmp(log->inputs[i].path, plan->inputs[i].path) != 0 ||
            !hash_equal(&log->inputs[i].head, &version))
            return false;
    }
    return true;
}

/* What an interrupted build left counts when it was for the same outputs from the same inputs. */
static struct error *take_up_partial(struct plan *plan)
{
    struct piece_log *log;
    const char *path = places_partial_log(plan->arena, plan->directory);
    TRY(memory_check(path));
    for (uint32_t i = 0; i < plan->input_count; i++) {
        if (plan->inputs[i].is_staged)
            return NULL; /* made anew in this run */
        TRY(inputs_open(plan, &plan->inputs[i]));
    }
    TRY(pieces_load(plan->arena, path, &log));
    if (log->is_older)
        run_say(plan->build, EVENT_NOTE, plan->node->name,
            "begun by an older psybuild in other pieces: it is begun again");
    if (log->count == 0 || plan->build->runs[plan->index].is_forced || !is_same_plan(plan, log))
        return NULL;
    uint32_t found = 0;
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        struct planned_piece *planned = &plan->pieces[i];
        const struct piece_record *record = pieces_find(log, &planned->key);
        struct piece piece = plan_piece_of(plan, i);
        if (record == NULL || record->input_count != piece.input_count ||
            record->output_count != piece.output_count)
            continue;
        bool is_same = true;
        for (uint32_t k = 0; k < record->output_count; k++)
            is_same &= record->outputs[k].file == piece.outputs[k].file &&
                       record->outputs[k].offset == piece.outputs[k].offset &&
                       record->outputs[k].size_bytes == piece.outputs[k].size_bytes;
        if (!is_same)
            continue;
        planned->action = PIECE_VERIFY;
        planned->record = record;
        found++;
    }
    plan->recorded_count = found;
    plan->is_resumed = found > 0;
    return NULL;
}

/* The recorded hashes of a piece that is taken over are those of its segments. */
static struct error *set_hashes(
    struct segments *segments, const struct piece_range *range, const struct piece_part *part)
{
    uint32_t begin, end;
    if (!segments_range(segments, range->offset, range->size_bytes, &begin, &end))
        return NULL;
    TRY(segments_reserve(segments, begin, end));
    for (uint32_t s = begin; s < end && s - begin < part->hash_count; s++)
        segments_set(segments, s, &part->hashes[s - begin]);
    return NULL;
}

static struct error *adopt_hashes(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        struct planned_piece *planned = &plan->pieces[i];
        if (planned->action == PIECE_MAKE)
            continue;
        struct piece piece = plan_piece_of(plan, i);
        planned->result = &planned->record->result;
        for (uint32_t k = 0; k < piece.output_count; k++)
            TRY(set_hashes(plan->outputs[piece.outputs[k].file].segments, &piece.outputs[k],
                &planned->record->outputs[k]));
        for (uint32_t k = 0; k < piece.input_count; k++)
            TRY(set_hashes(plan->inputs[piece.inputs[k].file].segments, &piece.inputs[k],
                &planned->record->inputs[k]));
    }
    return NULL;
}

/* ---- copies: runs of pieces that lie together in both files ---- */

static int compare_copies(const void *a, const void *b)
{
    const struct copy_run *x = a, *y = b;
    if (x->output != y->output)
        return x->output < y->output ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static struct error *collect_copies(struct build *build, struct node_run *run)
{
    struct plan *plan = run->plan;
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->piece_count; i++)
        if (plan->pieces[i].action == PIECE_COPY)
            count += plan->pieces[i].record->output_count;
    struct copy_run *copies = arena_array(plan->arena, count, sizeof *copies);
    TRY(memory_check(copies));
    count = 0;
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        const struct planned_piece *planned = &plan->pieces[i];
        struct piece piece = plan_piece_of(plan, i);
        for (uint32_t k = 0; planned->action == PIECE_COPY && k < piece.output_count; k++) {
            const struct piece_part *old = &planned->record->outputs[k];
            const struct piece_range *range = &piece.outputs[k];
            if (!plan->outputs[range->file].is_unchanged)
                copies[count++] = (struct copy_run){.output = range->file,
                    .from_path = plan->previous->outputs[old->file].path,
                    .from_offset = old->offset,
                    .offset = range->offset,
                    .size_bytes = range->size_bytes};
        }
    }
    if (count > 1)
        qsort(copies, count, sizeof *copies, compare_copies);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct copy_run *last = kept > 0 ? &copies[kept - 1] : NULL;
        if (last != NULL && last->output == copies[i].output &&
            strcmp(last->from_path, copies[i].from_path) == 0 &&
            last->offset + last->size_bytes == copies[i].offset &&
            last->from_offset + last->size_bytes == copies[i].from_offset &&
            last->size_bytes + copies[i].size_bytes <= COPY_BYTES_MAX)
            last->size_bytes += copies[i].size_bytes;
        else
            copies[kept++] = copies[i];
        build->stats.bytes_copied += copies[i].size_bytes;
    }
    run->copies = copies;
    run->copy_count = kept;
    return NULL;
}

/* What is taken over belongs into the new log, at its places in this plan. */
static struct error *log_taken_over(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        const struct planned_piece *planned = &plan->pieces[i];
        if (planned->action == PIECE_MAKE)
            continue;
        struct piece piece = plan_piece_of(plan, i);
        struct piece_record record = *planned->record;
        for (uint32_t k = 0; k < record.input_count; k++) {
            record.inputs[k].file = piece.inputs[k].file;
            record.inputs[k].offset = piece.inputs[k].offset;
        }
        for (uint32_t k = 0; k < record.output_count; k++) {
            record.outputs[k].file = piece.outputs[k].file;
            record.outputs[k].offset = piece.outputs[k].offset;
        }
        pieces_put(plan->log, &record);
    }
    return pieces_publish(plan->log);
}

struct error *takeover_find(struct plan *plan)
{
    if (!plan->outputs[0].is_blocks) /* a download is not made of what was there before */
        TRY(take_over_previous(plan));
    TRY(take_up_partial(plan));
    TRY(adopt_hashes(plan));
    return NULL;
}

struct error *takeover_start(struct plan *plan)
{
    TRY(collect_copies(plan->build, &plan->build->runs[plan->index]));
    return plan->log == NULL ? NULL : log_taken_over(plan);
}
