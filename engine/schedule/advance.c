/* advance.c - a planned node from its pieces to its seal, and which pieces run. */
#include "engine/schedule/schedule.h"

#include <string.h>

#include "engine/run/files.h"
#include "engine/plan/inputs.h"
#include "engine/plan/staging.h"
#include "engine/plan/record.h"
#include "engine/seal/seal.h"

enum { FOLLOW_BYTES_MAX = 64 << 20 }; /* of a file, in one job */

/* ---- sealing ---- */

static void tell_readers(struct schedule *schedule, uint32_t producer);

/* Notes for others beside a file that has its name now. */
void advance_write_notes(struct build *build, uint32_t index)
{
    const struct node *node = &build->graph->nodes[index];
    if (node->type->sealed == NULL)
        return;
    struct error *error = node->type->sealed(&build->arena, node);
    if (error != NULL)
        run_warn(build, node->name, error);
}

static void finish_sealed(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    advance_write_notes(build, index);
    run_say(build, run->is_changed ? EVENT_SEALED : EVENT_CONFIRMED,
        build->graph->nodes[index].name, NULL);
    for (uint32_t i = 0; i < run->file_count; i++)
        run->files[i].location = run->files[i].path;
    run->is_demanded = run->is_given_back = false;
    ready_set_status(schedule, index, STATUS_SEALED);
    queues_leave_small(schedule, index);
    queues_unpark(schedule);
    staging_discard(run->plan);
    staging_end(run->plan, false);
    run->plan = NULL;
    arena_end(&run->arena);
}

/* Nodes that do not belong together are sealed each alone if they cannot be at once, and only those
 * that cannot be fail. What could be is SEALED; no reader has been told. */
static void seal(struct schedule *schedule, const uint32_t *nodes, uint32_t count)
{
    struct build *build = schedule->build;
    uint32_t pending = build->state->intent_count;
    struct error *error = seal_nodes(build, nodes, count);
    bool is_batch = count > 1 && build->graph->nodes[nodes[0]].group == GROUP_NONE;
    if (error != NULL && is_batch && build->state->intent_count == pending) {
        error_free(error);
        for (uint32_t i = 0; i < count; i++)
            seal(schedule, &nodes[i], 1);
        return;
    }
    if (error != NULL) {
        const char *directory = build->graph->nodes[nodes[0]].directory;
        error = error_wrap(error, "sealing %s", directory[0] == '\0' ? "." : directory);
        queues_fail(schedule, nodes[0], error);
        for (uint32_t i = 1; i < count; i++)
            queues_give_up(schedule, nodes[i]);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        finish_sealed(schedule, nodes[i]);
}

/* Readers are told when all are at their names: one may be planned anew for what another's layout
 * turned out to be, and is told of when it is sealed again. */
void advance_seal(struct schedule *schedule, const uint32_t *nodes, uint32_t count)
{
    const struct node_run *runs = schedule->build->runs;
    seal(schedule, nodes, count);
    for (uint32_t i = 0; i < count; i++)
        if (runs[nodes[i]].status == STATUS_SEALED)
            tell_readers(schedule, nodes[i]);
    for (uint32_t i = 0; i < count; i++) {
        if (runs[nodes[i]].status != STATUS_SEALED)
            continue;
        struct error *error = giveback_node_done(schedule, nodes[i]);
        if (error != NULL)
            queues_fail(schedule, nodes[i], error);
    }
}

/* Seals a group when each of its nodes is made or fresh. */
void advance_seal_if_complete(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    uint32_t group = build->graph->nodes[index].group;
    if (group == GROUP_NONE) {
        if (build->runs[index].status == STATUS_MADE)
            schedule->sealing[schedule->sealing_count++] = index;
        return;
    }
    const struct group *members = &build->graph->groups[group];
    uint32_t *made = arena_array(&build->arena, members->node_count, sizeof *made);
    uint32_t count = 0;
    if (made == NULL) {
        queues_fail(schedule, index, error_memory());
        return;
    }
    for (uint32_t i = 0; i < members->node_count; i++) {
        enum node_status status = build->runs[members->nodes[i]].status;
        if (status == STATUS_MADE)
            made[count++] = members->nodes[i];
        else if (status != STATUS_FRESH && status != STATUS_SEALED)
            return;
    }
    if (count > 0)
        advance_seal(schedule, made, count);
}

/* ---- the phases of a planned node ---- */

struct error *advance_start_fill(struct schedule *schedule, uint32_t node, uint32_t input)
{
    TRY(queues_start_job(schedule, node, JOB_FILL, input));
    schedule->build->runs[node].plan->inputs[input].is_filling = true;
    return NULL;
}

static struct error *hash_streamed(struct build *build, struct plan_output *output)
{
    enum file_kind kind;
    TRY(file_stat(
        output->staged, &kind, &output->stamp)); /* whoever goes on writing is found out */
    if (output->segments != NULL || output->identity[0] != '\0')
        return NULL;
    struct segments *segments;
    TRY(segments_hash_file(build->runs == NULL ? NULL : &build->arena, build->registry,
        output->path, output->staged, build->options->cancel, NULL, &segments));
    output->segments = segments;
    return NULL;
}

/* Whether an input's tree hash is known only when what no piece read of it is hashed, too. */
bool advance_wants_fill(struct build *build, const struct plan_input *input)
{
    struct hash128 known;
    return input->segments != NULL && !input->is_staged && !input->is_done &&
           !segments_are_known(input->segments) && !files_find_tree(build, input->path, &known);
}

static struct error *start_phase(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    struct plan *plan = run->plan;
    if (run->phase == PHASE_FILL) {
        for (uint32_t i = 0; i < plan->input_count; i++)
            if (advance_wants_fill(build, &plan->inputs[i]))
                TRY(advance_start_fill(schedule, index, i));
        for (uint32_t i = 0; plan->is_streamed && i < plan->output_count; i++)
            TRY(hash_streamed(build, &plan->outputs[i]));
    }
    if (run->phase == PHASE_SYNC)
        for (uint32_t i = 0; i < plan->output_count; i++)
            if (!plan->outputs[i].is_unchanged)
                TRY(queues_start_job(schedule, index, JOB_SYNC, i));
    return NULL;
}

static void say_done(struct build *build, uint32_t index)
{
    const struct node_run *run = &build->runs[index];
    const struct plan *plan = run->plan;
    uint64_t written = 0;
    for (uint32_t i = 0; i < plan->output_count; i++)
        if (!plan->outputs[i].is_unchanged && plan->outputs[i].size_bytes != PLAN_SIZE_UNKNOWN)
            written += plan->outputs[i].size_bytes;
    if (build->options->on_event != NULL)
        build->options->on_event(
            build->options->context, &(struct build_event){.kind = EVENT_DONE,
                                         .node = plan->node->name,
                                         .is_restored = plan->restored != NULL,
                                         .size_bytes = written,
                                         .pieces_made = plan->pieces_to_make,
                                         .pieces_kept = plan->piece_count - plan->pieces_to_make,
                                         .duration_ns = run->record.duration_ns});
}

/* What is sealed is what was made and synced. A command may have replaced the file; that of pieces
 * is the one that was written to, and as long as it was planned. */
static struct error *take_stamps(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->output_count; i++) {
        struct plan_output *output = &plan->outputs[i];
        bool is_it;
        if (output->is_unchanged)
            continue;
        if (!plan->is_streamed)
            TRY(file_stamp_now(output->handle, &output->stamp));
        TRY(file_is_still(output->staged, &output->stamp, false, &is_it));
        bool is_whole = output->size_bytes == PLAN_SIZE_UNKNOWN ||
                        output->size_bytes == output->stamp.size_bytes;
        if (!is_it || !is_whole)
            return error_new(ERROR_FAILED,
                "%s: what was made for it was removed or changed by others", output->path);
    }
    return NULL;
}

static struct error *finish_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    struct plan *plan = run->plan;
    for (uint32_t i = 0; i < plan->input_count; i++) {
        TRY(record_check_input(build, &plan->inputs[i]));
        TRY(record_keep_tree(build, &plan->inputs[i]));
    }
    TRY(record_check_copied(build, plan));
    TRY(take_stamps(plan));
    for (uint32_t i = 0; i < plan->input_count; i++)
        if (plan->inputs[i].is_numbered)
            TRY(inputs_add_read(plan, READ_DATA, plan->inputs[i].file, "", &(struct hash128){{0}}));
    if (plan->node->type->sum != NULL)
        TRY(plan->node->type->sum(plan, plan->node));
    TRY(record_make(build, index));
    TRY(record_end_log(build, index));
    run->is_changed = plan->is_changed;
    build->stats.nodes_made++;
    say_done(build, index);
    staging_close(plan);
    queues_leave_active(schedule, index);
    ready_set_status(schedule, index, STATUS_MADE);
    advance_seal_if_complete(schedule, index);
    return run->status == STATUS_MADE ? giveback_node_done(schedule, index) : NULL;
}

/* Hands what is whole of the beginning of output 0 to the task's follow, one run at a time. */
struct error *advance_follow(struct schedule *schedule, uint32_t index)
{
    struct node_run *run = &schedule->build->runs[index];
    struct plan *plan = run->plan;
    struct span span = {0};
    struct job *job;
    if (plan->node->type->follow == NULL || plan->is_streamed || run->is_following)
        return NULL;
    for (; run->followed < plan->piece_count && plan->pieces[run->followed].is_done &&
           span.size_bytes < FOLLOW_BYTES_MAX;
         run->followed++) {
        struct piece piece = plan_piece_of(plan, run->followed);
        const struct piece_range *range = &piece.outputs[0];
        span = (struct span){span.size_bytes == 0 ? range->offset : span.offset,
            span.size_bytes + range->size_bytes};
    }
    if (span.size_bytes == 0)
        return NULL;
    TRY(job_new(schedule->build, index, JOB_FOLLOW, 0, &job));
    job->span = span;
    run->is_following = true;
    return queues_submit(schedule, job);
}

/* Whether pieces or copies are left to be handed out. */
static bool is_piecing(struct build *build, const struct node_run *run)
{
    if (run->pieces_queued < run->pieces_wanted || run->next_copy < run->copy_count)
        return true;
    for (uint32_t i = 0; i < run->plan->input_count; i++) { /* to be hashed when it is here */
        struct hash128 known;
        const struct plan_input *input = &run->plan->inputs[i];
        if (input->is_awaited && !files_find_tree(build, input->path, &known))
            return true;
    }
    return run->next_piece < run->pieces_queued;
}

/* Goes on while nothing of the current phase is left to do. */
void advance_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    while (run->status == STATUS_PLANNED && run->jobs_left == 0 && !run->is_given_up) {
        if (run->phase == PHASE_PIECES && is_piecing(build, run))
            return; /* fed by advance_feed() */
        struct error *error = NULL;
        if (run->phase == PHASE_SYNC) {
            error = finish_node(schedule, index);
        } else {
            run->phase++;
            error = start_phase(schedule, index);
        }
        if (error != NULL)
            queues_fail(
                schedule, index, error_wrap(error, "making %s", build->graph->nodes[index].name));
        if (schedule->is_stopping)
            return;
    }
}

/* The pieces that can run at once: all that wait for no input, and those to be verified. */
struct error *advance_queue_pieces(struct node_run *run)
{
    struct plan *plan = run->plan;
    /* a piece may come twice: found wrong, it is made */
    run->queue = arena_array(plan->arena, 2 * (size_t)plan->piece_count, sizeof *run->queue);
    TRY(memory_check(run->queue));
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        enum piece_action action = (enum piece_action)plan->pieces[i].action;
        if (action != PIECE_MAKE && action != PIECE_VERIFY)
            continue;
        run->pieces_wanted++;
        if (action == PIECE_VERIFY || plan->pieces[i].awaited == 0)
            run->queue[run->pieces_queued++] = i;
    }
    return NULL;
}

/* The pieces that waited for this input last. */
static void queue_arrived(struct node_run *run, uint32_t input)
{
    struct plan *plan = run->plan;
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        struct planned_piece *planned = &plan->pieces[i];
        struct piece piece = plan_piece_of(plan, i);
        bool reads_it = false;
        for (uint32_t k = 0; planned->awaited > 0 && k < piece.input_count; k++)
            reads_it |= piece.inputs[k].file == input;
        if (reads_it && --planned->awaited == 0 && planned->action == PIECE_MAKE)
            run->queue[run->pieces_queued++] = i;
    }
}

/* An early plan's file is here: its pieces may run, unless it is another file than was foreseen. */
static struct error *arrive(struct schedule *schedule, uint32_t reader, uint32_t producer)
{
    struct node_run *run = &schedule->build->runs[reader];
    struct plan *plan = run->plan;
    for (uint32_t i = 0; i < plan->input_count && !run->is_given_up; i++) {
        bool is_same;
        if (!plan->inputs[i].is_awaited || plan->inputs[i].producer != producer)
            continue;
        TRY(inputs_arrive(plan, &plan->inputs[i], &is_same));
        if (is_same)
            queue_arrived(run, i);
        else
            run->is_given_up = true;
    }
    return NULL;
}

/* Readers that were planned before the file was here. */
static void tell_readers(struct schedule *schedule, uint32_t producer)
{
    struct build *build = schedule->build;
    for (uint32_t k = schedule->first_reader[producer]; k < schedule->first_reader[producer + 1];
         k++) {
        uint32_t reader = schedule->readers[k].node;
        struct node_run *run = &build->runs[reader];
        if (run->status != STATUS_PLANNED || run->is_given_up)
            continue;
        struct error *error = arrive(schedule, reader, producer);
        if (error != NULL)
            queues_fail(
                schedule, reader, error_wrap(error, "making %s", build->graph->nodes[reader].name));
        else if (run->is_given_up)
            queues_add_again(schedule, reader);
    }
}

/* ---- feeding ---- */

/* A node of a pool works when the pool has a place for it. */
static bool take_slot(struct schedule *schedule, uint32_t index)
{
    const struct graph *graph = schedule->build->graph;
    struct node_run *run = &schedule->build->runs[index];
    uint32_t pool = graph->nodes[index].pool;
    if (pool == POOL_NONE || run->has_slot)
        return true;
    if (schedule->pool_used[pool] >= graph->pools[pool].depth)
        return false;
    schedule->pool_used[pool]++;
    run->has_slot = true;
    if (pool == POOL_CONSOLE)
        queues_tick(schedule); /* the status line makes way */
    return true;
}

static struct error *feed_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    enum lane lane = build->graph->nodes[index].type->is_network ? LANE_NETWORK : LANE_WORK;
    bool has_work = run->next_copy < run->copy_count || run->next_piece < run->pieces_queued;
    if (!has_work || !take_slot(schedule, index))
        return NULL;
    if (!run->is_begun) /* what it took: without the wait for its turn */
        run->started_ns = clock_now_ns();
    run->is_begun = true;
    while (run->next_copy < run->copy_count && queues_have_window(schedule, LANE_WORK)) {
        struct job *job;
        TRY(job_new(build, index, JOB_COPY, run->next_copy, &job));
        job->copy = &run->copies[run->next_copy++];
        TRY(queues_submit(schedule, job));
    }
    while (run->next_piece < run->pieces_queued && queues_have_window(schedule, lane)) {
        uint32_t piece = run->queue[run->next_piece++];
        bool is_made = run->plan->pieces[piece].action == PIECE_MAKE;
        TRY(queues_start_job(schedule, index, is_made ? JOB_MAKE : JOB_VERIFY, piece));
    }
    return NULL;
}

void advance_feed_node(struct schedule *schedule, uint32_t index)
{
    struct error *error = feed_node(schedule, index);
    if (error != NULL)
        queues_fail(schedule, index, error);
    else if (schedule->build->runs[index].jobs_left == 0)
        advance_node(schedule, index);
}

/* Submits pieces of planned nodes, the most urgent first, while the pool's windows have room. */
void advance_feed(struct schedule *schedule)
{
    struct build *build = schedule->build;
    uint32_t a = 0;
    while (a < schedule->active_count && !schedule->is_stopping) {
        uint32_t index = schedule->active[a];
        struct node_run *run = &build->runs[index];
        if (run->status != STATUS_PLANNED || run->phase != PHASE_PIECES || run->is_given_up) {
            a++;
            continue;
        }
        advance_feed_node(schedule, index);
        if (a < schedule->active_count && schedule->active[a] == index)
            a++; /* it has not left */
    }
}
