/* check.c - one node: is it fresh, can it be had elsewhere, must it wait, and its plan. */
#include "engine/schedule/schedule.h"

#include <string.h>

#include "engine/stale/stale.h"
#include "engine/plan/inputs.h"
#include "engine/plan/staging.h"
#include "engine/plan/takeover.h"
#include "engine/plan/planner.h"
#include "engine/plan/restore.h"

struct error *check_set_fresh(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    const struct record *record = state_find_record(build->state, build->graph->nodes[index].name);
    run->layout = record->layout;
    run->layout_hash = hash_text(run->layout);
    run->files = arena_array(&build->arena, record->made_count, sizeof *run->files);
    TRY(memory_check(run->files));
    run->file_count = record->made_count;
    run->is_given_back = false;
    for (uint32_t i = 0; i < record->made_count; i++) {
        const struct state_file *file = &build->state->files[record->made[i].file];
        run->files[i] = (struct made_file){.path = file->path,
            .location = file->location,
            .size_bytes = file->stamp.size_bytes,
            .has_tree = file->has_tree,
            .tree = file->tree,
            .identity = file->identity};
        run->is_given_back |= build->files[record->made[i].file].look == LOOK_GIVEN_BACK;
    }
    build->stats.nodes_fresh++;
    ready_set_status(schedule, index, STATUS_FRESH);
    advance_seal_if_complete(schedule, index);
    queues_unpark(schedule);
    return build->options->is_dry ? NULL : giveback_node_done(schedule, index);
}

static void begin_phases(struct node_run *run)
{
    run->phase = PHASE_PIECES;
    run->next_piece = run->pieces_queued = run->pieces_wanted = 0;
    run->next_copy = run->copy_count = run->followed = 0;
    run->is_given_up = run->is_following = run->is_begun = false;
}

/* A file that was given back, before or in this run, is wanted again: its node is made once more.
 */
static void demand(struct schedule *schedule, uint32_t index, const char *reader)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    bool is_done = run->status == STATUS_FRESH || run->status == STATUS_SEALED;
    if (!is_done || !run->is_given_back)
        return;
    begin_phases(run);
    run->is_demanded = true;
    run->reason = arena_format(&build->arena, "it was given back, and %s needs it", reader);
    build->stats.nodes_fresh -= run->status == STATUS_FRESH;
    build->stats.nodes_made -= run->status == STATUS_SEALED;
    ready_set_status(schedule, index, STATUS_WAITING);
    if (run->unmet == 0)
        ready_push(schedule, index);
}

static struct error *start_hashes(struct schedule *schedule, const struct staleness *staleness)
{
    struct build *build = schedule->build;
    for (uint32_t i = 0; i < staleness->file_count; i++) {
        uint32_t file = staleness->files[i];
        struct file_run *run = &build->files[file];
        const struct state_file *known = &build->state->files[file];
        struct file *handle;
        struct job *job;
        if (run->is_hashing)
            continue;
        if (run->is_unsteady)
            return error_new(ERROR_FAILED, "%s changed while it was read", known->path);
        TRY(file_stat_settled(known->location, &run->stamp));
        run->is_settled = true;
        TRY(job_new(build, NODE_NONE, JOB_HASH, file, &job));
        job->location = known->location;
        struct error *error = file_open(known->location, &handle);
        if (error == NULL) {
            error = segments_of_file(
                &build->arena, build->registry, handle, known->path, &job->segments);
            file_close(handle);
        }
        if (error == NULL)
            error = segments_reserve(job->segments, 0, job->segments->count);
        if (error != NULL) {
            job_free(job);
            return error;
        }
        run->is_hashing = true;
        build->bytes_total += run->stamp.size_bytes;
        build->stats.files_hashed++;
        build->stats.bytes_hashed += run->stamp.size_bytes;
        TRY(queues_submit(schedule, job));
    }
    return NULL;
}

/* A file of a source that is there already, by whoever's download: adopted when it is the right
 * one. */
static struct error *may_be_there(struct schedule *schedule, uint32_t index, bool *out)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    enum file_kind kind;
    struct file_stamp stamp;
    *out = false;
    if (!node->is_fetched || build->runs[index].is_identified)
        return NULL;
    TRY(file_stat(node->name, &kind, &stamp));
    bool is_sized = node->source->size_bytes != PLAN_SIZE_UNKNOWN;
    if (kind != FILE_REGULAR || (is_sized && stamp.size_bytes != node->source->size_bytes))
        return NULL;
    uint32_t file;
    TRY(run_add_file(build, node->name, NULL, &file));
    TRY(file_stat_settled(node->name, &build->files[file].stamp));
    build->runs[index].is_identified = true;
    *out = true;
    return queues_start_job(schedule, index, JOB_IDENTIFY, file);
}

struct error *check_adopt_file(struct schedule *schedule, uint32_t index, uint32_t file)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    struct state_file *known = &build->state->files[file];
    struct record record = {.name = node->name,
        .manifest = build->options->manifest,
        .declaration = node->declaration,
        .key = node->key};
    record.made = arena_array(&build->arena, 1, sizeof *record.made);
    TRY(memory_check(record.made));
    known->stamp = build->files[file].stamp;
    known->identity = node->source->identity;
    known->has_tree = known->is_damaged = false;
    build->files[file].look = LOOK_CURRENT;
    record.made[0] = (struct record_made){.file = file, .identity = known->identity};
    record.made_count = 1;
    TRY(state_put_record(build->state, &record));
    TRY(journal_put_record(build->state, &record));
    build->is_state_changed = true;
    advance_write_notes(build, index);
    return check_set_fresh(schedule, index);
}

static void insert_urgent(
    const struct schedule *schedule, uint32_t *list, uint32_t count, uint32_t index)
{
    uint32_t at = count;
    for (; at > 0 && ready_is_more_urgent(schedule, index, list[at - 1]); at--)
        list[at] = list[at - 1];
    list[at] = index;
}

static void enter_active(struct schedule *schedule, uint32_t index)
{
    insert_urgent(schedule, schedule->active, schedule->active_count++, index);
}

static struct error *start_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    struct plan *plan = run->plan;
    if (plan->is_changed) {
        TRY(staging_begin(plan));
        TRY(plan->restored != NULL ? restore_stage_log(plan) : takeover_start(plan));
    }
    TRY(advance_queue_pieces(run));
    build->bytes_total += plan->bytes_to_read;
    build->stats.pieces_made += plan->pieces_to_make;
    build->stats.pieces_kept += plan->piece_count - plan->pieces_to_make;
    enter_active(schedule, index);
    return NULL;
}

static void set_layout(struct build *build, uint32_t index, struct text layout)
{
    build->runs[index].layout = layout;
    build->runs[index].layout_hash = hash_text(layout);
}

void check_say_started(struct build *build, const struct plan *plan)
{
    struct build_event event = {.kind = EVENT_STARTED,
        .node = plan->node->name,
        .is_restored = plan->restored != NULL,
        .size_bytes = plan->bytes_to_read - plan->bytes_to_download,
        .bytes_to_write = plan->bytes_to_write,
        .bytes_to_download = plan->bytes_to_download,
        .pieces_made = plan->pieces_to_make,
        .pieces_kept = plan->piece_count - plan->pieces_to_make};
    if (build->options->on_event != NULL)
        build->options->on_event(build->options->context, &event);
}

/* Asks again for the given-back files that a plan's pieces read, or all that a node reads. */
void check_demand_inputs(struct schedule *schedule, uint32_t index, bool all)
{
    const struct graph *graph = schedule->build->graph;
    const struct node *node = &graph->nodes[index];
    const struct plan *plan = schedule->build->runs[index].plan;
    for (uint32_t k = 0; all && k < node->need_count; k++)
        if (node->needs_content[k])
            demand(schedule, node->needs[k], node->name);
    for (uint32_t i = 0; !all && i < plan->piece_count; i++) {
        const struct planned_piece *planned = &plan->pieces[i];
        bool is_made = planned->action == PIECE_MAKE && planned->awaited > 0;
        struct piece piece = plan_piece_of(plan, i);
        for (uint32_t k = 0; is_made && k < piece.input_count; k++) {
            const struct plan_input *input = &plan->inputs[piece.inputs[k].file];
            if (input->is_awaited)
                demand(schedule, input->producer, node->name);
        }
    }
}

static void forget_plan(struct schedule *schedule, uint32_t index)
{
    struct node_run *run = &schedule->build->runs[index];
    staging_end(run->plan, false);
    run->plan = NULL;
    arena_end(&run->arena);
    begin_phases(run);
    ready_set_status(schedule, index, STATUS_CHECKING);
}

/* What was planned from a layout that was not the right one is planned from the right one, sealed
 * as it may be. */
static void plan_layout_readers_anew(struct schedule *schedule, uint32_t producer)
{
    struct build *build = schedule->build;
    const struct graph *graph = build->graph;
    for (uint32_t k = schedule->first_reader[producer]; k < schedule->first_reader[producer + 1];
         k++) {
        uint32_t index = schedule->readers[k].node;
        struct node_run *run = &build->runs[index];
        enum node_status status = run->status;
        if (schedule->readers[k].is_content || status < STATUS_PLANNED)
            continue;
        run->reason = arena_format(
            &build->arena, "the layout of %s is another one", graph->nodes[producer].name);
        build->stats.nodes_made -= status == STATUS_MADE || status == STATUS_SEALED;
        build->stats.nodes_fresh -= status == STATUS_FRESH;
        if (status == STATUS_PLANNED || status == STATUS_MADE) {
            queues_remove(schedule->sealing, &schedule->sealing_count, index);
            ready_set_status(schedule, index, STATUS_PLANNED);
            run->is_given_up = true;
            queues_add_again(schedule, index);
        } else {
            begin_phases(run);
            struct error *error = check_plan(schedule, index);
            if (error != NULL)
                queues_fail(schedule, index, error);
        }
    }
}

struct error *check_plan(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    const struct node *node = &build->graph->nodes[index];
    struct text heard = run->layout; /* of a file that is not here yet */
    struct hash128 before = run->layout_hash;
    struct plan *plan;
    run->started_ns = clock_now_ns();
    struct error *error = plan_node(build, index, &plan);
    if (error != NULL && run->plan != NULL && inputs_are_awaited(run->plan)) {
        error_free(error); /* what was heard of its inputs does not do: with the files it may */
        forget_plan(schedule, index);
        check_demand_inputs(schedule, index, true);
        ready_be_patient(schedule, index);
        return NULL;
    }
    run_say(build, EVENT_STALE, node->name, run->reason);
    if (error != NULL)
        return error_wrap(error, "planning %s", node->name);
    set_layout(build, index, node->is_fetched && plan->layout.length == 0 ? heard : plan->layout);
    check_say_started(build, plan);
    TRY(start_node(schedule, index));
    ready_set_status(schedule, index, STATUS_PLANNED);
    check_demand_inputs(schedule, index, false);
    if (!hash_equal(&before, &run->layout_hash))
        plan_layout_readers_anew(schedule, index);
    advance_node(schedule, index);
    return NULL;
}

static bool has_failed_need(const struct build *build, uint32_t index)
{
    const struct node *node = &build->graph->nodes[index];
    for (uint32_t k = 0; k < node->need_count; k++)
        if (build->runs[node->needs[k]].status < STATUS_WAITING)
            return true;
    return false;
}

/* Plans a node again, from nothing, as soon as the last job of its plan is back. */
void check_plan_anew(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    queues_withdraw(schedule, index);
    if (run->jobs_left > 0)
        return;
    build->bytes_total -= run->plan->bytes_to_read;
    atomic_fetch_sub(&build->bytes_done, atomic_exchange(&run->bytes_done, 0));
    build->stats.pieces_made -= run->plan->pieces_to_make;
    build->stats.pieces_kept -= run->plan->piece_count - run->plan->pieces_to_make;
    queues_leave_active(schedule, index);
    staging_discard(run->plan);
    forget_plan(schedule, index);
    if (has_failed_need(build, index)) {
        queues_give_up(schedule, index);
        return;
    }
    struct error *error = check_plan(schedule, index);
    if (error != NULL)
        queues_fail(schedule, index, error);
}

/* A file that another node fetches at this moment is not fetched twice: it is looked at again when
 * that one is done. */
static bool waits_for_alike(struct schedule *schedule, uint32_t index)
{
    const struct node_run *runs = schedule->build->runs;
    uint32_t alike = runs[index].alike;
    bool may_come = alike != NODE_NONE && runs[alike].status >= STATUS_WAITING;
    if (!may_come || runs[alike].status >= STATUS_SEALED)
        return false;
    schedule->parked[schedule->parked_count++] = index;
    return true;
}

/* Another node has the content: it is copied. */
static bool has_alike(const struct build *build, const struct node_run *run)
{
    if (run->alike == NODE_NONE)
        return false;
    enum node_status status = build->runs[run->alike].status;
    return status == STATUS_SEALED || status == STATUS_FRESH;
}

/* Large files are heard of before they are fetched, so that their readers can be planned meanwhile;
 * files of unknown size, so that they can come in ranges. */
static struct error *listen(struct schedule *schedule, uint32_t index, bool *out)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    struct node_run *run = &build->runs[index];
    bool has_layout = schedule->first_reader[index] < schedule->first_reader[index + 1] &&
                      segments_has_format(build->registry, node->name);
    bool has_size = node->source == NULL || node->source->size_bytes != PLAN_SIZE_UNKNOWN ||
                    has_alike(build, run);
    *out = node->type->hint != NULL && !run->is_listened && run->layout.length == 0 &&
           (has_layout || !has_size);
    if (!*out)
        return NULL;
    run->is_listened = true;
    TRY(queues_start_job(schedule, index, JOB_HINT, 0));
    schedule->hint_count++;
    return NULL;
}

/* Whether a need is there as what was heard of it only, or as a promise to fetch it again. */
static bool lacks_files(const struct build *build, const struct node *node)
{
    for (uint32_t k = 0; k < node->need_count; k++) {
        const struct node_run *run = &build->runs[node->needs[k]];
        bool is_fetched = build->graph->nodes[node->needs[k]].is_fetched;
        enum node_status there = is_fetched ? STATUS_SEALED : STATUS_MADE; /* in a group: staged */
        if (node->needs_content[k] && (run->status < there || run->is_given_back))
            return true;
    }
    return false;
}

/* What the node is to make, it has made before, and the cache has it. */
static struct error *restore(struct schedule *schedule, uint32_t index, bool *out)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    const struct record *past;
    struct plan *plan;
    TRY(restore_find(build, index, &past));
    *out = past != NULL;
    if (past == NULL)
        return NULL;
    struct hash128 before = run->layout_hash;
    run->started_ns = clock_now_ns();
    run_say(build, EVENT_STALE, build->graph->nodes[index].name, run->reason);
    TRY(restore_plan(build, index, past, &plan));
    set_layout(build, index, plan->layout);
    check_say_started(build, plan);
    TRY(start_node(schedule, index));
    for (uint32_t i = 0; i < plan->output_count; i++)
        if (!plan->outputs[i].is_unchanged)
            TRY(queues_start_job(schedule, index, JOB_RESTORE, i));
    ready_set_status(schedule, index, STATUS_PLANNED);
    if (!hash_equal(&before, &run->layout_hash))
        plan_layout_readers_anew(schedule, index);
    advance_node(schedule, index);
    return NULL;
}

/* Small files that were given back are needed to plan at all, and so are files that nodes made:
 * only what is fetched can be heard of. */
static bool waits_for_small(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    for (uint32_t k = 0; k < node->need_count; k++)
        if (node->needs_content[k] && (build->runs[node->needs[k]].layout.length == 0 ||
                                          !build->graph->nodes[node->needs[k]].is_fetched))
            demand(schedule, node->needs[k], node->name);
    if (build->runs[index].unmet == 0)
        return false;
    ready_set_status(schedule, index, STATUS_WAITING);
    return true;
}

/* A large download: it waits for its turn, and its readers need not. */
static void wait_for_turn(struct schedule *schedule, uint32_t index)
{
    insert_urgent(schedule, schedule->heard, schedule->heard_count++, index);
    ready_set_status(schedule, index, STATUS_HEARD);
}

struct error *check_begin_stale(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    bool is_busy;
    if (waits_for_alike(schedule, index))
        return NULL;
    TRY(may_be_there(schedule, index, &is_busy));
    if (!is_busy)
        TRY(restore(schedule, index, &is_busy));
    if (!is_busy)
        TRY(listen(schedule, index, &is_busy));
    if (is_busy || waits_for_small(schedule, index))
        return NULL;
    bool is_fetched = build->graph->nodes[index].is_fetched;
    if (is_fetched && run->layout.length > 0) {
        wait_for_turn(schedule, index);
        return NULL;
    }
    schedule->small_count += is_fetched;
    run->is_small = is_fetched;
    return check_plan(schedule, index);
}

struct error *check_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    struct staleness staleness;
    ready_set_status(schedule, index, STATUS_CHECKING);
    if (run->is_demanded)
        return check_begin_stale(schedule, index);
    if (lacks_files(build, &build->graph->nodes[index])) {
        const char *reason;
        TRY(stale_is_certain(build, index, &reason));
        if (reason != NULL) {
            run->reason = reason;
            return check_begin_stale(schedule, index);
        }
        if (!run->is_patient) {
            ready_be_patient(schedule, index); /* what the files hold decides */
            return NULL;
        }
    }
    TRY(stale_check(build, index, &run->arena, &staleness));
    if (staleness.verdict == VERDICT_HASH_FIRST) {
        TRY(start_hashes(schedule, &staleness));
        schedule->hashing[schedule->hashing_count++] = index;
        return NULL;
    }
    if (staleness.verdict == VERDICT_FRESH)
        return check_set_fresh(schedule, index);
    run->reason = staleness.reason;
    return check_begin_stale(schedule, index);
}
