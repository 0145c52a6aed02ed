/* giveback.c - files with "keep": "until-used": when they may come, and when they go.
 *
 * A file goes as soon as every reader in the manifest has what it wants of it on disk: its pieces
 * synced and in its log, or itself sealed. Until the journal says so on disk the file stays; from
 * then on its absence is no reason to make it again. */
#include "engine/schedule/schedule.h"

#include "base/directory.h"
#include "engine/run/files.h"
#include "engine/stale/stale.h"
#include "engine/plan/plan.h"
#include "engine/plan/inputs.h"
#include "engine/plan/record.h"

/* For logs, the journal and the state beside what is planned. */
#define SPACE_SPARE_BYTES (UINT64_C(8) << 20)

/* ---- coming ---- */

/* What planned outputs will still write; what is written already is no longer free. */
static uint64_t bytes_unwritten(const struct schedule *schedule)
{
    uint64_t total = 0;
    for (uint32_t a = 0; a < schedule->active_count; a++) {
        const struct plan *plan = schedule->build->runs[schedule->active[a]].plan;
        for (uint32_t i = 0; i < plan->piece_count; i++) {
            const struct planned_piece *planned = &plan->pieces[i];
            struct piece piece = plan_piece_of(plan, i);
            bool is_open = !planned->is_done && planned->action == PIECE_MAKE;
            for (uint32_t k = 0; is_open && k < piece.output_count; k++)
                total += piece.outputs[k].size_bytes;
        }
    }
    return total;
}

/* All that is to come at once, or only this one when others are given back before. */
static uint64_t bytes_to_come(const struct schedule *schedule, uint32_t index)
{
    const struct graph *graph = schedule->build->graph;
    uint64_t total = graph->nodes[index].source->size_bytes;
    for (uint32_t h = 0; h < schedule->heard_count; h++) {
        const struct node *node = &graph->nodes[schedule->heard[h]];
        if (schedule->heard[h] != index && !node->gives_back)
            total += node->source->size_bytes;
    }
    return total;
}

struct error *giveback_admits(
    struct schedule *schedule, uint32_t index, bool is_last_chance, bool *out)
{
    const struct node *node = &schedule->build->graph->nodes[index];
    bool must_check = node->gives_back || !schedule->is_space_checked;
    *out = true;
    if (!must_check || node->source->size_bytes == PLAN_SIZE_UNKNOWN)
        return NULL;
    uint64_t planned = bytes_unwritten(schedule), coming = bytes_to_come(schedule, index), found;
    schedule->is_space_checked = true;
    TRY(file_space_free(node->directory, &found));
    uint64_t wanted = planned + coming + (node->gives_back ? SPACE_SPARE_BYTES : 0);
    if (wanted <= found)
        return NULL;
    *out = false;
    if (node->gives_back && !is_last_chance)
        return NULL; /* what is at work may give something back */
    char download[SIZE_TEXT_MAX], outputs[SIZE_TEXT_MAX], have[SIZE_TEXT_MAX];
    return error_new(ERROR_IO, "%s: needs %s of disk space, and planned outputs %s; %s are free",
        node->name, size_print(download, coming), size_print(outputs, planned),
        size_print(have, found));
}

/* ---- going ---- */

/* All that the reader's pieces wanted of the producer's files is staged. */
static bool has_read(struct build *build, const struct plan *plan, uint32_t producer)
{
    if (plan->is_streamed || plan->restored != NULL)
        return false; /* a command names no pieces; a restored node may have to be planned yet */
    for (uint32_t i = 0; i < plan->input_count; i++) {
        const struct plan_input *input = &plan->inputs[i];
        struct hash128 known;
        if (input->producer != producer || input->is_done)
            continue;
        bool is_known = files_find_tree(build, input->path, &known);
        if (input->is_filling || !is_known || (!input->is_awaited && input->pieces_left > 0))
            return false;
    }
    return true;
}

static struct error *is_served(
    struct schedule *schedule, uint32_t reader, uint32_t producer, bool *out)
{
    struct build *build = schedule->build;
    const struct node_run *run = &build->runs[reader];
    *out =
        run->status == STATUS_SEALED || run->status == STATUS_FRESH || run->status == STATUS_MADE;
    if (run->status == STATUS_PLANNED && !run->is_given_up)
        *out = has_read(build, run->plan, producer);
    if (run->is_wanted || build->graph->nodes[reader].is_view)
        return NULL;
    return stale_is_fresh_by_stamps(build, &build->graph->nodes[reader], false, out);
}

static bool needs_content(const struct node *reader, uint32_t producer)
{
    for (uint32_t k = 0; k < reader->need_count; k++)
        if (reader->needs[k] == producer && reader->needs_content[k])
            return true;
    return false;
}

/* Whether every reader in the manifest has what it needs; files that nobody reads stay. */
static struct error *may_go(struct schedule *schedule, uint32_t producer, bool *out)
{
    const struct graph *graph = schedule->build->graph;
    bool is_read = false;
    *out = true;
    for (uint32_t i = 0; i < graph->node_count && *out; i++) {
        if (graph->nodes[i].is_view || !needs_content(&graph->nodes[i], producer))
            continue;
        is_read = true;
        TRY(is_served(schedule, i, producer, out));
    }
    *out &= is_read;
    return NULL;
}

/* Whether the files are still what the state knows: readers could not be compared with them without
 * a tree hash, and what somebody has edited is not ours to remove. */
static struct error *is_as_known(struct build *build, const struct node_run *run, bool *out)
{
    *out = true;
    for (uint32_t i = 0; i < run->file_count && *out; i++) {
        uint32_t file;
        struct hash128 known;
        struct file_stamp now;
        enum file_kind kind;
        TRY(run_add_file(build, run->files[i].path, NULL, &file));
        TRY(file_stat(run->files[i].path, &kind, &now));
        *out = files_find_tree(build, run->files[i].path, &known) &&
               file_stamp_equal(&now, &build->state->files[file].stamp);
    }
    return NULL;
}

/* The journal says it on disk before the file goes. */
static struct error *give_back(struct schedule *schedule, uint32_t producer)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[producer];
    bool may;
    TRY(is_as_known(build, run, &may));
    if (!may)
        return NULL;
    for (uint32_t i = 0; i < run->file_count; i++) {
        uint32_t file;
        TRY(run_add_file(build, run->files[i].path, NULL, &file));
        build->state->files[file].is_given_back = true;
        TRY(journal_put_file(build->state, file));
    }
    TRY(file_sync(build->state->journal));
    for (uint32_t i = 0; i < run->file_count; i++) {
        uint32_t file;
        TRY(run_add_file(build, run->files[i].path, NULL, &file));
        TRY(file_remove(run->files[i].path));
        build->files[file].look = LOOK_GIVEN_BACK;
        build->stats.bytes_given_back += build->state->files[file].stamp.size_bytes;
    }
    run->is_given_back = true;
    build->is_state_changed = true;
    run_say(build, EVENT_GIVEN_BACK, build->graph->nodes[producer].name, NULL);
    return NULL;
}

/* The reader will not look at the producer's files again: open ones would keep their space. */
static struct error *let_go(struct build *build, struct plan *plan, uint32_t producer)
{
    for (uint32_t i = 0; i < plan->input_count; i++) {
        struct plan_input *input = &plan->inputs[i];
        if (input->producer != producer || input->is_done || input->is_awaited)
            continue;
        TRY(record_check_input(build, input));
        TRY(record_keep_tree(build, input));
        inputs_close(input);
        input->is_done = true;
    }
    return NULL;
}

/* Readers whose pieces are not on disk yet bring them there first. */
static struct error *flush_readers(struct schedule *schedule, uint32_t producer)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[producer];
    for (uint32_t k = schedule->first_reader[producer]; k < schedule->first_reader[producer + 1];
         k++) {
        struct node_run *reader = &build->runs[schedule->readers[k].node];
        struct job *job;
        if (reader->status == STATUS_MADE && reader->plan != NULL)
            TRY(pieces_sync(reader->plan->log)); /* its outputs are synced already */
        if (reader->status != STATUS_PLANNED)
            continue;
        TRY(let_go(build, reader->plan, producer));
        TRY(job_new(build, schedule->readers[k].node, JOB_FLUSH, producer, &job));
        TRY(queues_submit(schedule, job));
        run->flushes_left++;
    }
    return NULL;
}

static struct error *look(struct schedule *schedule, uint32_t producer)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[producer];
    bool is_there = run->status == STATUS_SEALED || run->status == STATUS_FRESH;
    bool may = build->graph->nodes[producer].gives_back && is_there && !run->is_given_back &&
               run->flushes_left == 0 && !run->is_itself && !schedule->is_stopping;
    if (may)
        TRY(may_go(schedule, producer, &may));
    if (!may)
        return NULL;
    TRY(flush_readers(schedule, producer));
    return run->flushes_left == 0 ? give_back(schedule, producer) : NULL;
}

struct error *giveback_flushed(struct schedule *schedule, uint32_t producer)
{
    struct node_run *run = &schedule->build->runs[producer];
    bool may = false;
    if (run->flushes_left > 0)
        return NULL;
    TRY(may_go(schedule, producer, &may)); /* nobody has failed, or begun, meanwhile */
    return may ? give_back(schedule, producer) : NULL;
}

struct error *giveback_input_done(struct schedule *schedule, struct plan_input *input)
{
    TRY(record_check_input(schedule->build, input));
    TRY(record_keep_tree(schedule->build, input));
    return look(schedule, input->producer);
}

struct error *giveback_node_done(struct schedule *schedule, uint32_t reader)
{
    const struct node *node = &schedule->build->graph->nodes[reader];
    for (uint32_t k = 0; k < node->need_count; k++)
        if (node->needs_content[k])
            TRY(look(schedule, node->needs[k]));
    return NULL;
}
