/* schedule.c - build_run: which node is looked at when, and whose pieces run.
 *
 * Everything here is the main thread. A node becomes ready when all it needs is at hand; it is then
 * checked, planned if stale, and its pieces are fed to the pool a few at a time. Nothing recurses:
 * chains may be 100 000 nodes deep. */
#include "engine/schedule.h"

#include <string.h>

#include "base/jobserver.h"
#include "engine/cache.h"
#include "engine/plan.h"
#include "engine/quick.h"
#include "engine/record.h"
#include "engine/seal.h"
#include "engine/stale.h"
#include "engine/takeover.h"

/* Nodes that are planned or wait for a hash, at a time: planned ones hold files open, waiting ones
 * are looked at again after each hash. */
#define LOAD_NS UINT64_C(1000000000) /* between two looks at the load */
enum { TICK_MS = 100, FOLLOW_BYTES_MAX = 64 << 20, OPEN_NODES_MAX = 64 };

/* ---- readiness ---- */

/* The status from which on a producer serves a reader. What was heard of a large file beforehand
 * serves all that do not insist on the file itself. */
static enum node_status wanted_status(
    const struct build *build, uint32_t producer, const struct reader *reader)
{
    const struct graph *graph = build->graph;
    if (!reader->is_content)
        return STATUS_PLANNED;
    uint32_t group = graph->nodes[producer].group;
    if (group != GROUP_NONE && group == graph->nodes[reader->node].group)
        return STATUS_MADE;
    bool is_heard_of = graph->nodes[producer].is_fetched && build->runs[producer].layout.length > 0;
    return is_heard_of && !build->runs[reader->node].is_patient ? STATUS_HEARD : STATUS_SEALED;
}

static bool serves(enum node_status status, enum node_status wanted)
{
    return status >= wanted && status <= STATUS_FRESH;
}

static bool is_more_urgent(const struct schedule *schedule, uint32_t a, uint32_t b)
{
    if (schedule->priority[a] != schedule->priority[b])
        return schedule->priority[a] > schedule->priority[b];
    return schedule->rank[a] < schedule->rank[b];
}

static void push_ready(struct schedule *schedule, uint32_t index)
{
    uint32_t *heap = schedule->ready, at = schedule->ready_count;
    if (schedule->build->runs[index].is_queued)
        return;
    schedule->build->runs[index].is_queued = true;
    schedule->ready_count++;
    for (; at > 0 && is_more_urgent(schedule, index, heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = index;
}

static uint32_t pop_ready(struct schedule *schedule)
{
    uint32_t *heap = schedule->ready, first = heap[0], at = 0;
    uint32_t last = heap[--schedule->ready_count], count = schedule->ready_count;
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && is_more_urgent(schedule, heap[child + 1], heap[child]))
            child++;
        if (!is_more_urgent(schedule, heap[child], last))
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    schedule->build->runs[first].is_queued = false;
    return first;
}

static void look_at_edge(struct schedule *schedule, uint32_t producer, struct reader *reader)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[reader->node];
    bool is_met = serves(build->runs[producer].status, wanted_status(build, producer, reader));
    if (is_met == reader->is_met)
        return;
    reader->is_met = is_met;
    run->unmet += is_met ? 0u - 1 : 1;
    if (run->unmet == 0 && run->status == STATUS_WAITING)
        push_ready(schedule, reader->node);
}

void schedule_set_status(struct schedule *schedule, uint32_t index, enum node_status status)
{
    schedule->build->runs[index].status = status;
    for (uint32_t k = schedule->first_reader[index]; k < schedule->first_reader[index + 1]; k++)
        look_at_edge(schedule, index, &schedule->readers[k]);
}

/* From now on the node waits for the files themselves. */
static void be_patient(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    build->runs[index].is_patient = true;
    build->runs[index].status = STATUS_WAITING;
    for (uint32_t n = 0; n < node->need_count; n++)
        for (uint32_t p = node->needs[n], k = schedule->first_reader[p];
             k < schedule->first_reader[p + 1]; k++)
            if (schedule->readers[k].node == index)
                look_at_edge(schedule, p, &schedule->readers[k]);
    if (build->runs[index].unmet == 0)
        push_ready(schedule, index);
}

/* ---- the beginning ---- */

/* Critical path first: by the time that nodes took last time, from here to the end. */
static struct error *set_priorities(struct schedule *schedule)
{
    const struct build *build = schedule->build;
    const struct graph *graph = build->graph;
    for (uint32_t at = graph->node_count; at-- > 0;) {
        uint32_t index = graph->order[at];
        uint64_t longest = 0, own = 1;
        schedule->rank[index] = at;
        if (!build->runs[index].is_wanted)
            continue;
        for (uint32_t k = schedule->first_reader[index]; k < schedule->first_reader[index + 1];
             k++) {
            uint64_t way = schedule->priority[schedule->readers[k].node];
            longest = way > longest ? way : longest;
        }
        const struct record *record = state_find_record(build->state, graph->nodes[index].name);
        if (record != NULL && record->duration_ns < UINT64_MAX / 2 - longest)
            own += record->duration_ns;
        schedule->priority[index] = longest + own;
    }
    return NULL;
}

/* Of several wanted files of the same content the first is fetched, and the others copied. */
static struct error *find_alike(struct build *build, const bool *is_wanted)
{
    struct map first_of = {.arena = &build->arena};
    for (uint32_t i = 0; i < build->graph->node_count; i++) {
        const struct node *node = &build->graph->nodes[i];
        build->runs[i].alike = NODE_NONE;
        if (!is_wanted[i] || node->source == NULL)
            continue;
        uint32_t first = map_get(&first_of, node->source->identity);
        if (first == MAP_NONE)
            TRY(map_put(&first_of, node->source->identity, i));
        else
            build->runs[i].alike = first;
    }
    return NULL;
}

static struct error *begin_schedule(struct schedule *schedule, const bool *is_wanted)
{
    struct build *build = schedule->build;
    const struct graph *graph = build->graph;
    uint32_t count = graph->node_count;
    struct arena *arena = &build->arena;
    schedule->first_reader = arena_array(arena, (size_t)count + 2, sizeof(uint32_t));
    schedule->priority = arena_array(arena, count, sizeof *schedule->priority);
    schedule->rank = arena_array(arena, count, sizeof *schedule->rank);
    schedule->pool_used = arena_array(arena, graph->pool_count, sizeof(uint32_t));
    schedule->ready = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->hashing = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->blocking = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->active = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->sealing = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->parked = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->heard = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->is_group_failed = arena_array(arena, graph->group_count, sizeof(bool));
    if (schedule->priority == NULL || schedule->rank == NULL || schedule->pool_used == NULL ||
        schedule->first_reader == NULL || schedule->ready == NULL || schedule->hashing == NULL ||
        schedule->blocking == NULL || schedule->active == NULL || schedule->sealing == NULL ||
        schedule->parked == NULL || schedule->heard == NULL || schedule->is_group_failed == NULL)
        return error_memory();
    uint32_t *first = schedule->first_reader;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; is_wanted[i] && k < graph->nodes[i].need_count; k++)
            first[graph->nodes[i].needs[k] + 2]++;
    for (uint32_t i = 0; i < count; i++)
        first[i + 2] += first[i + 1];
    schedule->readers = arena_array(arena, first[count + 1], sizeof *schedule->readers);
    if (schedule->readers == NULL)
        return error_memory();
    for (uint32_t at = 0; at < count; at++) {
        uint32_t i = graph->order[at];
        if (!is_wanted[i])
            continue;
        const struct node *node = &graph->nodes[i];
        for (uint32_t k = 0; k < node->need_count; k++)
            schedule->readers[first[node->needs[k] + 1]++] =
                (struct reader){.node = i, .is_content = node->needs_content[k]};
        build->runs[i].is_wanted = true;
        build->runs[i].unmet = node->need_count;
        schedule->wanted++;
    }
    TRY(set_priorities(schedule));
    for (uint32_t at = 0; at < count; at++)
        if (is_wanted[graph->order[at]] && graph->nodes[graph->order[at]].need_count == 0)
            push_ready(schedule, graph->order[at]);
    return find_alike(build, is_wanted);
}

/* ---- failing ---- */

/* A planned reader that waits for a file of the failed one; what it made stays in its log. */
static bool is_waiting_for(const struct node_run *run, uint32_t producer)
{
    for (uint32_t i = 0; run->plan != NULL && i < run->plan->input_count; i++)
        if (run->plan->inputs[i].is_awaited && run->plan->inputs[i].producer == producer)
            return true;
    return false;
}

static void leave_active(struct schedule *schedule, uint32_t index);

static void leave_small(struct schedule *schedule, uint32_t index)
{
    schedule->small_count -= schedule->build->runs[index].is_small;
    schedule->build->runs[index].is_small = false;
}

static void block(struct schedule *schedule, uint32_t start)
{
    struct build *build = schedule->build;
    uint32_t *stack = schedule->blocking, depth = 0; /* each node is pushed once */
    stack[depth++] = start;
    while (depth > 0) {
        uint32_t index = stack[--depth];
        uint32_t group = build->graph->nodes[index].group;
        for (uint32_t k = schedule->first_reader[index]; k < schedule->first_reader[index + 1];
             k++) {
            uint32_t reader = schedule->readers[k].node;
            struct node_run *run = &build->runs[reader];
            bool is_planned = run->status == STATUS_PLANNED && is_waiting_for(run, index);
            if (run->status != STATUS_WAITING && !is_planned)
                continue;
            run->status = STATUS_BLOCKED;
            if (is_planned)
                leave_active(schedule, reader);
            stack[depth++] = reader;
        }
        if (group == GROUP_NONE || schedule->is_group_failed[group])
            continue;
        schedule->is_group_failed[group] = true; /* it will not be sealed */
        const struct group *members = &build->graph->groups[group];
        for (uint32_t m = 0; m < members->node_count; m++)
            for (uint32_t k = schedule->first_reader[members->nodes[m]];
                 k < schedule->first_reader[members->nodes[m] + 1]; k++) {
                uint32_t reader = schedule->readers[k].node;
                if (build->graph->nodes[reader].group == group ||
                    build->runs[reader].status != STATUS_WAITING)
                    continue;
                build->runs[reader].status = STATUS_BLOCKED;
                stack[depth++] = reader;
            }
    }
}

/* Nodes that wait for another's file look again. */
static void unpark(struct schedule *schedule)
{
    for (uint32_t i = 0; i < schedule->parked_count; i++)
        push_ready(schedule, schedule->parked[i]);
    schedule->parked_count = 0;
}

static void leave_active(struct schedule *schedule, uint32_t index)
{
    for (uint32_t i = 0; i < schedule->active_count; i++)
        if (schedule->active[i] == index) {
            memmove(schedule->active + i, schedule->active + i + 1,
                (schedule->active_count - i - 1) * sizeof *schedule->active);
            schedule->active_count--;
            break;
        }
    uint32_t pool = schedule->build->graph->nodes[index].pool;
    if (schedule->build->runs[index].has_slot)
        schedule->pool_used[pool]--;
    schedule->build->runs[index].has_slot = false;
}

/* Takes over the error. */
void schedule_fail(struct schedule *schedule, uint32_t index, struct error *error)
{
    struct build *build = schedule->build;
    if (error_kind_of(error) == ERROR_INTERRUPTED) {
        schedule->is_stopping = true;
        if (schedule->interrupted == NULL)
            schedule->interrupted = error;
        else
            error_free(error);
        return;
    }
    if (build->runs[index].status != STATUS_FAILED) {
        build->runs[index].status = STATUS_FAILED;
        leave_active(schedule, index);
        leave_small(schedule, index);
        schedule->failures++;
        build->stats.nodes_failed++;
        if (build->options->on_event != NULL)
            build->options->on_event(build->options->context,
                &(struct build_event){
                    .kind = EVENT_FAILED, .node = build->graph->nodes[index].name, .error = error});
        block(schedule, index);
        unpark(schedule);
    }
    error_free(error);
    if (build->options->failures_max > 0 && schedule->failures >= build->options->failures_max)
        schedule->is_stopping = true;
}

/* ---- sealing ---- */

static void tell_readers(struct schedule *schedule, uint32_t producer);

/* Notes for others beside a file that has its name now. */
static void write_notes(struct build *build, uint32_t index)
{
    const struct node *node = &build->graph->nodes[index];
    if (node->type->sealed == NULL)
        return;
    struct error *error = node->type->sealed(&build->arena, node);
    if (error != NULL)
        build_say(build, EVENT_WARNING, node->name, error_report(error));
    error_free(error);
}

static void finish_sealed(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    write_notes(build, index);
    build_say(build, run->is_changed ? EVENT_SEALED : EVENT_CONFIRMED,
        build->graph->nodes[index].name, NULL);
    for (uint32_t i = 0; i < run->file_count; i++)
        run->files[i].location = run->files[i].path;
    run->is_demanded = run->is_given_back = false;
    schedule_set_status(schedule, index, STATUS_SEALED);
    leave_small(schedule, index);
    unpark(schedule);
    plan_end(run->plan, true);
    run->plan = NULL;
    arena_end(&run->arena);
    tell_readers(schedule, index);
}

static void seal(struct schedule *schedule, const uint32_t *nodes, uint32_t count)
{
    struct error *error = seal_nodes(schedule->build, nodes, count);
    if (error != NULL) {
        error = error_wrap(error, "sealing %s", schedule->build->graph->nodes[nodes[0]].directory);
        schedule_fail(schedule, nodes[0], error);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        finish_sealed(schedule, nodes[i]);
    for (uint32_t i = 0; i < count && error == NULL; i++) {
        error = giveback_node_done(schedule, nodes[i]);
        if (error != NULL)
            schedule_fail(schedule, nodes[i], error);
    }
}

/* Seals a group when each of its nodes is made or fresh. */
static void seal_if_complete(struct schedule *schedule, uint32_t index)
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
        schedule_fail(schedule, index, error_memory());
        return;
    }
    for (uint32_t i = 0; i < members->node_count; i++) {
        enum node_status status = build->runs[members->nodes[i]].status;
        if (status == STATUS_MADE)
            made[count++] = members->nodes[i];
        else if (status != STATUS_FRESH)
            return;
    }
    if (count > 0)
        seal(schedule, made, count);
}

/* ---- the phases of a planned node ---- */

static void plan_anew(struct schedule *schedule, uint32_t index);

struct error *schedule_submit(struct schedule *schedule, struct job *job)
{
    struct error *error = pool_submit(schedule->build->pool, &job->pool);
    if (error != NULL) {
        job_free(job);
        return error;
    }
    schedule->pending[job->pool.is_network ? LANE_NETWORK : LANE_WORK]++;
    if (job->node != NODE_NONE)
        schedule->build->runs[job->node].jobs_left++;
    return NULL;
}

static struct error *start_job(
    struct schedule *schedule, uint32_t node, enum job_kind kind, uint32_t index)
{
    struct job *job;
    TRY(job_new(schedule->build, node, kind, index, &job));
    return schedule_submit(schedule, job);
}

static struct error *hash_streamed(struct build *build, struct plan_output *output)
{
    if (output->segments != NULL || output->identity[0] != '\0')
        return NULL;
    struct segments *segments;
    TRY(segments_hash_file(build->runs == NULL ? NULL : &build->arena, build->registry,
        output->path, output->staged, build->options->cancel, NULL, &segments));
    output->segments = segments;
    return NULL;
}

/* Whether an input's tree hash is known only when what no piece read of it is hashed, too. */
static bool wants_fill(struct build *build, const struct plan_input *input)
{
    struct hash128 known;
    return input->segments != NULL && !input->is_staged && !input->is_done &&
           input->segments->known_count != input->segments->count &&
           !stale_find_tree(build, input->path, &known);
}

static struct error *start_phase(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    struct plan *plan = run->plan;
    if (run->phase == PHASE_FILL) {
        for (uint32_t i = 0; i < plan->input_count; i++)
            if (wants_fill(build, &plan->inputs[i]))
                TRY(start_job(schedule, index, JOB_FILL, i));
        for (uint32_t i = 0; plan->is_streamed && i < plan->output_count; i++)
            TRY(hash_streamed(build, &plan->outputs[i]));
    }
    if (run->phase == PHASE_SYNC)
        for (uint32_t i = 0; i < plan->output_count; i++)
            if (!plan->outputs[i].is_unchanged)
                TRY(start_job(schedule, index, JOB_SYNC, i));
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

static struct error *finish_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    struct plan *plan = run->plan;
    for (uint32_t i = 0; i < plan->input_count; i++) {
        TRY(record_check_input(build, &plan->inputs[i]));
        TRY(record_keep_tree(build, &plan->inputs[i]));
    }
    for (uint32_t i = 0; i < plan->input_count; i++)
        if (plan->inputs[i].is_numbered)
            TRY(plan_add_read(plan, READ_DATA, plan->inputs[i].file, "", &(struct hash128){{0}}));
    if (plan->node->type->sum != NULL)
        TRY(plan->node->type->sum(plan, plan->node));
    TRY(record_make(build, index));
    run->is_changed = plan->is_changed;
    build->stats.nodes_made++;
    say_done(build, index);
    plan_close_files(plan);
    leave_active(schedule, index);
    schedule_set_status(schedule, index, STATUS_MADE);
    seal_if_complete(schedule, index);
    return run->status == STATUS_MADE ? giveback_node_done(schedule, index) : NULL;
}

/* Hands what is whole of the beginning of output 0 to the task's follow, one run at a time. */
static struct error *follow(struct schedule *schedule, uint32_t index)
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
        const struct piece_range *range = &plan->pieces[run->followed].piece.outputs[0];
        span = (struct span){span.size_bytes == 0 ? range->offset : span.offset,
            span.size_bytes + range->size_bytes};
    }
    if (span.size_bytes == 0)
        return NULL;
    TRY(job_new(schedule->build, index, JOB_FOLLOW, 0, &job));
    job->span = span;
    run->is_following = true;
    return schedule_submit(schedule, job);
}

/* Whether pieces or copies are left to be handed out. */
static bool is_piecing(struct build *build, const struct node_run *run)
{
    if (run->pieces_queued < run->pieces_wanted || run->next_copy < run->copy_count)
        return true;
    for (uint32_t i = 0; i < run->plan->input_count; i++) { /* to be hashed when it is here */
        struct hash128 known;
        const struct plan_input *input = &run->plan->inputs[i];
        if (input->is_awaited && !stale_find_tree(build, input->path, &known))
            return true;
    }
    return run->next_piece < run->pieces_queued;
}

/* Goes on while nothing of the current phase is left to do. */
static void advance(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    while (run->status == STATUS_PLANNED && run->jobs_left == 0 && !run->is_given_up) {
        if (run->phase == PHASE_PIECES && is_piecing(build, run))
            return; /* fed by feed() */
        struct error *error = NULL;
        if (run->phase == PHASE_SYNC) {
            error = finish_node(schedule, index);
        } else {
            run->phase++;
            error = start_phase(schedule, index);
        }
        if (error != NULL)
            schedule_fail(
                schedule, index, error_wrap(error, "making %s", build->graph->nodes[index].name));
        if (schedule->is_stopping)
            return;
    }
}

/* The pieces that can run at once: all that wait for no input, and those to be verified. */
static struct error *queue_pieces(struct node_run *run)
{
    struct plan *plan = run->plan;
    /* a piece may come twice: found wrong, it is made */
    run->queue = arena_array(plan->arena, 2 * (size_t)plan->piece_count, sizeof *run->queue);
    if (run->queue == NULL)
        return error_memory();
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        enum piece_action action = plan->pieces[i].action;
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
        bool reads_it = false;
        for (uint32_t k = 0; planned->awaited > 0 && k < planned->piece.input_count; k++)
            reads_it |= planned->piece.inputs[k].file == input;
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
        TRY(plan_arrive(plan, &plan->inputs[i], &is_same));
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
            schedule_fail(
                schedule, reader, error_wrap(error, "making %s", build->graph->nodes[reader].name));
        else if (run->is_given_up)
            plan_anew(schedule, reader);
    }
}

/* ---- feeding ---- */

static void tick(struct schedule *schedule);

static bool has_window(const struct schedule *schedule, enum lane lane)
{
    return schedule->pending[lane] < schedule->window[lane];
}

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
        tick(schedule); /* the status line makes way */
    return true;
}

static struct error *feed_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    enum lane lane = build->graph->nodes[index].type->is_network ? LANE_NETWORK : LANE_WORK;
    if (!take_slot(schedule, index))
        return NULL;
    while (run->next_copy < run->copy_count && has_window(schedule, LANE_WORK)) {
        struct job *job;
        TRY(job_new(build, index, JOB_COPY, run->next_copy, &job));
        job->copy = &run->copies[run->next_copy++];
        TRY(schedule_submit(schedule, job));
    }
    while (run->next_piece < run->pieces_queued && has_window(schedule, lane)) {
        uint32_t piece = run->queue[run->next_piece++];
        bool is_made = run->plan->pieces[piece].action == PIECE_MAKE;
        TRY(start_job(schedule, index, is_made ? JOB_MAKE : JOB_VERIFY, piece));
    }
    return NULL;
}

static void feed_or_fail(struct schedule *schedule, uint32_t index)
{
    struct error *error = feed_node(schedule, index);
    if (error != NULL)
        schedule_fail(schedule, index, error);
    else if (schedule->build->runs[index].jobs_left == 0)
        advance(schedule, index);
}

/* Submits pieces of planned nodes, the most urgent first, while the pool's windows have room. */
static void feed(struct schedule *schedule)
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
        feed_or_fail(schedule, index);
        if (a < schedule->active_count && schedule->active[a] == index)
            a++; /* it has not left */
    }
}

/* ---- one node ---- */

struct error *schedule_set_fresh(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    const struct record *record = state_find_record(build->state, build->graph->nodes[index].name);
    run->layout = record->layout;
    run->layout_hash = hash_text(run->layout);
    run->files = arena_array(&build->arena, record->made_count, sizeof *run->files);
    if (run->files == NULL)
        return error_memory();
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
    schedule_set_status(schedule, index, STATUS_FRESH);
    seal_if_complete(schedule, index);
    return build->options->is_dry ? NULL : giveback_node_done(schedule, index);
}

/* A file that was given back is wanted again: its node is made once more. */
static void demand(struct schedule *schedule, uint32_t index, const char *reader)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    if (run->status != STATUS_FRESH || !run->is_given_back)
        return;
    run->is_demanded = true;
    run->reason = arena_format(&build->arena, "it was given back, and %s needs it", reader);
    build->stats.nodes_fresh--;
    schedule_set_status(schedule, index, STATUS_WAITING);
    if (run->unmet == 0)
        push_ready(schedule, index);
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
        if (error != NULL) {
            job_free(job);
            return error;
        }
        run->is_hashing = true;
        build->bytes_total += run->stamp.size_bytes;
        build->stats.files_hashed++;
        build->stats.bytes_hashed += run->stamp.size_bytes;
        TRY(schedule_submit(schedule, job));
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
    TRY(build_add_file(build, node->name, NULL, &file));
    TRY(file_stat_settled(node->name, &build->files[file].stamp));
    build->runs[index].is_identified = true;
    *out = true;
    return start_job(schedule, index, JOB_IDENTIFY, file);
}

static struct error *adopt_file(struct schedule *schedule, uint32_t index, uint32_t file)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    struct state_file *known = &build->state->files[file];
    struct record record = {.name = node->name,
        .manifest = build->options->manifest,
        .declaration = node->declaration,
        .key = node->key};
    record.made = arena_array(&build->arena, 1, sizeof *record.made);
    if (record.made == NULL)
        return error_memory();
    known->stamp = build->files[file].stamp;
    known->identity = node->source->identity;
    known->has_tree = false;
    build->files[file].look = LOOK_CURRENT;
    record.made[0] = (struct record_made){.file = file, .identity = known->identity};
    record.made_count = 1;
    TRY(state_put_record(build->state, &record));
    TRY(journal_put_record(build->state, &record));
    build->is_state_changed = true;
    write_notes(build, index);
    return schedule_set_fresh(schedule, index);
}

static void insert_urgent(
    const struct schedule *schedule, uint32_t *list, uint32_t count, uint32_t index)
{
    uint32_t at = count;
    for (; at > 0 && is_more_urgent(schedule, index, list[at - 1]); at--)
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
        TRY(plan_stage(plan));
        TRY(plan->restored != NULL ? cache_stage_log(plan) : takeover_start(plan));
    }
    TRY(queue_pieces(run));
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

void schedule_say_started(struct build *build, const struct plan *plan)
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
static void demand_inputs(struct schedule *schedule, uint32_t index, bool all)
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
        for (uint32_t k = 0; is_made && k < planned->piece.input_count; k++) {
            const struct plan_input *input = &plan->inputs[planned->piece.inputs[k].file];
            if (input->is_awaited)
                demand(schedule, input->producer, node->name);
        }
    }
}

static void forget_plan(struct build *build, uint32_t index)
{
    struct node_run *run = &build->runs[index];
    plan_end(run->plan, false);
    run->plan = NULL;
    arena_end(&run->arena);
    run->phase = PHASE_PIECES;
    run->next_piece = run->pieces_queued = run->pieces_wanted = 0;
    run->next_copy = run->copy_count = run->followed = 0;
    run->is_given_up = run->is_following = false;
    run->status = STATUS_CHECKING;
}

static struct error *plan_stale(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    const struct node *node = &build->graph->nodes[index];
    struct text heard = run->layout; /* of a file that is not here yet */
    struct plan *plan;
    run->started_ns = clock_now_ns();
    struct error *error = plan_node(build, index, &plan);
    if (error != NULL && plan_is_awaiting(run->plan)) {
        error_free(error); /* what was heard of its inputs does not do: with the files it may */
        forget_plan(build, index);
        demand_inputs(schedule, index, true);
        be_patient(schedule, index);
        return NULL;
    }
    build_say(build, EVENT_STALE, node->name, run->reason);
    if (error != NULL)
        return error_wrap(error, "planning %s", node->name);
    set_layout(build, index, node->is_fetched && plan->layout.length == 0 ? heard : plan->layout);
    schedule_say_started(build, plan);
    TRY(start_node(schedule, index));
    schedule_set_status(schedule, index, STATUS_PLANNED);
    demand_inputs(schedule, index, false);
    advance(schedule, index);
    return NULL;
}

/* Plans a node again, from nothing, as soon as the last job of its plan is back. */
static void plan_anew(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    if (run->jobs_left > 0)
        return;
    build->bytes_total -= run->plan->bytes_to_read;
    atomic_fetch_sub(&build->bytes_done, atomic_exchange(&run->bytes_done, 0));
    build->stats.pieces_made -= run->plan->pieces_to_make;
    build->stats.pieces_kept -= run->plan->piece_count - run->plan->pieces_to_make;
    leave_active(schedule, index);
    plan_discard(run->plan);
    forget_plan(build, index);
    struct error *error = plan_stale(schedule, index);
    if (error != NULL)
        schedule_fail(schedule, index, error);
}

/* A file that another node fetches at this moment is not fetched twice: it is looked at again when
 * that one is done. */
static bool waits_for_alike(struct schedule *schedule, uint32_t index)
{
    const struct node_run *runs = schedule->build->runs;
    uint32_t alike = runs[index].alike;
    if (alike == NODE_NONE || runs[alike].status >= STATUS_SEALED)
        return false;
    schedule->parked[schedule->parked_count++] = index;
    return true;
}

/* Large files are heard of before they are fetched: their readers can be planned meanwhile. */
static struct error *listen(struct schedule *schedule, uint32_t index, bool *out)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    struct node_run *run = &build->runs[index];
    *out = node->type->hint != NULL && !run->is_listened && run->layout.length == 0 &&
           schedule->first_reader[index] < schedule->first_reader[index + 1] &&
           segments_has_format(build->registry, node->name);
    if (!*out)
        return NULL;
    run->is_listened = true;
    schedule->hint_count++;
    return start_job(schedule, index, JOB_HINT, 0);
}

/* Whether a need is there as what was heard of it only, or as a promise to fetch it again. */
static bool lacks_files(const struct build *build, const struct node *node)
{
    for (uint32_t k = 0; k < node->need_count; k++) {
        const struct node_run *run = &build->runs[node->needs[k]];
        if (node->needs_content[k] && (run->status < STATUS_MADE || run->is_given_back))
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
    TRY(cache_find(build, index, &past));
    *out = past != NULL;
    if (past == NULL)
        return NULL;
    run->started_ns = clock_now_ns();
    build_say(build, EVENT_STALE, build->graph->nodes[index].name, run->reason);
    TRY(cache_plan(build, index, past, &plan));
    set_layout(build, index, plan->layout);
    schedule_say_started(build, plan);
    TRY(start_node(schedule, index));
    for (uint32_t i = 0; i < plan->output_count; i++)
        if (!plan->outputs[i].is_unchanged)
            TRY(start_job(schedule, index, JOB_RESTORE, i));
    schedule_set_status(schedule, index, STATUS_PLANNED);
    advance(schedule, index);
    return NULL;
}

/* Small files that were given back are needed to plan at all. */
static bool waits_for_small(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    for (uint32_t k = 0; k < node->need_count; k++)
        if (node->needs_content[k] && build->runs[node->needs[k]].layout.length == 0)
            demand(schedule, node->needs[k], node->name);
    if (build->runs[index].unmet == 0)
        return false;
    build->runs[index].status = STATUS_WAITING;
    return true;
}

/* A large download: it waits for its turn, and its readers need not. */
static void wait_for_turn(struct schedule *schedule, uint32_t index)
{
    insert_urgent(schedule, schedule->heard, schedule->heard_count++, index);
    schedule_set_status(schedule, index, STATUS_HEARD);
}

static struct error *begin_stale(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    bool is_busy;
    if (waits_for_alike(schedule, index))
        return NULL;
    TRY(may_be_there(schedule, index, &is_busy));
    if (!is_busy)
        TRY(listen(schedule, index, &is_busy));
    if (!is_busy)
        TRY(restore(schedule, index, &is_busy));
    if (is_busy || waits_for_small(schedule, index))
        return NULL;
    bool is_fetched = build->graph->nodes[index].is_fetched;
    if (is_fetched && run->layout.length > 0) {
        wait_for_turn(schedule, index);
        return NULL;
    }
    schedule->small_count += is_fetched;
    run->is_small = is_fetched;
    return plan_stale(schedule, index);
}

static struct error *check_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    struct staleness staleness;
    run->status = STATUS_CHECKING;
    if (run->is_demanded)
        return begin_stale(schedule, index);
    if (lacks_files(build, &build->graph->nodes[index])) {
        const char *reason;
        TRY(stale_is_certain(build, index, &reason));
        if (reason != NULL) {
            run->reason = reason;
            return begin_stale(schedule, index);
        }
        if (!run->is_patient) {
            be_patient(schedule, index); /* what the files hold decides */
            return NULL;
        }
    }
    TRY(stale_check(build, index, &run->arena, &staleness));
    if (staleness.verdict == VERDICT_HASH_FIRST) {
        schedule->hashing[schedule->hashing_count++] = index;
        return start_hashes(schedule, &staleness);
    }
    if (staleness.verdict == VERDICT_FRESH)
        return schedule_set_fresh(schedule, index);
    run->reason = staleness.reason;
    return begin_stale(schedule, index);
}

/* ---- results ---- */

/* The hashes of a made piece into plan and log. */
static struct error *keep_piece(struct build *build, const struct job *job)
{
    struct plan *plan = build->runs[job->node].plan;
    struct planned_piece *planned = &plan->pieces[job->index];
    const struct piece *piece = &planned->piece;
    struct piece_record record = {.key = planned->key,
        .input_count = piece->input_count,
        .output_count = piece->output_count,
        .result = {(const char *)job->result, job->result_bytes}};
    char *result = arena_copy(plan->arena, record.result.bytes, record.result.length);
    if (result == NULL)
        return error_memory();
    planned->result = (struct text){result, record.result.length};
    uint32_t place = 0;
    for (uint32_t i = 0; i < piece->input_count + piece->output_count; i++) {
        bool is_input = i < piece->input_count;
        const struct piece_range *range =
            is_input ? &piece->inputs[i] : &piece->outputs[i - piece->input_count];
        struct segments *segments =
            is_input ? plan->inputs[range->file].segments : plan->outputs[range->file].segments;
        uint32_t begin, end;
        if (!segments_range(segments, range->offset, range->size_bytes, &begin, &end))
            return error_new(ERROR_FAILED, "a piece lost its segments");
        for (uint32_t s = begin; s < end; s++)
            segments_set(segments, s, &job->hashes[place + s - begin]);
        struct piece_part *part =
            is_input ? &record.inputs[i] : &record.outputs[i - piece->input_count];
        *part = (struct piece_part){.file = range->file,
            .offset = range->offset,
            .size_bytes = range->size_bytes,
            .hash_count = end - begin,
            .hashes = &job->hashes[place]};
        place += end - begin;
    }
    plan->recorded_count++;
    return pieces_append(plan->log, &record);
}

static struct error *keep_streamed(struct build *build, const struct job *job)
{
    struct plan *plan = build->runs[job->node].plan;
    if (job->identity != NULL) {
        plan->outputs[0].identity = arena_copy(&build->arena, job->identity, strlen(job->identity));
        if (plan->outputs[0].identity == NULL)
            return error_memory();
    }
    for (uint32_t i = 0; i < job->read_count; i++) {
        uint32_t file;
        struct segments *segments;
        char *path = arena_copy(&build->arena, job->reads[i], strlen(job->reads[i]));
        if (path == NULL)
            return error_memory();
        TRY(build_add_file(build, path, NULL, &file));
        TRY(stale_look(build, file));
        if (build->files[file].look != LOOK_CURRENT || !build->state->files[file].has_tree) {
            TRY(file_stat_settled(path, &build->files[file].stamp));
            TRY(segments_hash_file(&build->arena, build->registry, path, path,
                build->options->cancel, NULL, &segments));
            TRY(stale_set_hashed(build, file, segments));
        }
        TRY(plan_add_read(plan, READ_CONTENT, file, "", &build->state->files[file].tree));
    }
    return NULL;
}

/* A wrong staged piece is made after all, as soon as its inputs are here. */
static void remake(struct schedule *schedule, const struct job *job)
{
    struct node_run *run = &schedule->build->runs[job->node];
    struct planned_piece *planned = &run->plan->pieces[job->index];
    planned->action = PIECE_MAKE;
    run->plan->pieces_to_make++;
    run->pieces_wanted++;
    if (planned->awaited == 0)
        run->queue[run->pieces_queued++] = job->index;
    else
        demand_inputs(schedule, job->node, false);
}

/* A piece is made or found good: inputs that no other piece reads may go. */
static struct error *release_inputs(struct schedule *schedule, uint32_t index, uint32_t piece)
{
    struct build *build = schedule->build;
    struct plan *plan = build->runs[index].plan;
    const struct piece *made = &plan->pieces[piece].piece;
    for (uint32_t k = 0; k < made->input_count; k++) {
        struct plan_input *input = &plan->inputs[made->inputs[k].file];
        bool is_again = false;
        for (uint32_t m = 0; m < k; m++)
            is_again |= made->inputs[m].file == made->inputs[k].file;
        if (is_again || --input->pieces_left > 0 || input->is_awaited ||
            input->producer == NODE_NONE || !build->graph->nodes[input->producer].gives_back)
            continue;
        if (wants_fill(build, input))
            TRY(start_job(schedule, index, JOB_FILL, made->inputs[k].file));
        else
            TRY(giveback_input_done(schedule, input));
    }
    return NULL;
}

static struct error *take_filled(struct schedule *schedule, const struct job *job)
{
    struct build *build = schedule->build;
    struct plan_input *input = &build->runs[job->node].plan->inputs[job->index];
    bool may_go = input->producer != NODE_NONE && build->graph->nodes[input->producer].gives_back;
    return may_go ? giveback_input_done(schedule, input) : NULL;
}

/* What was heard of a large file. If nothing was, its readers wait for the file. */
static struct error *take_heard(struct schedule *schedule, struct job *job)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[job->node];
    schedule->hint_count--;
    if (job->pool.error != NULL && error_kind_of(job->pool.error) == ERROR_INTERRUPTED)
        return NULL;
    error_free(job->pool.error); /* the download will say what is wrong */
    job->pool.error = NULL;
    if (job->hint_bytes > 0) {
        char *copy = arena_copy(&build->arena, job->hint, job->hint_bytes);
        if (copy == NULL)
            return error_memory();
        run->layout = (struct text){copy, job->hint_bytes};
    }
    return begin_stale(schedule, job->node);
}

static struct error *take_node_result(struct schedule *schedule, struct job *job)
{
    struct build *build = schedule->build;
    struct plan *plan = build->runs[job->node].plan;
    switch (job->kind) {
    case JOB_MAKE:
        TRY(plan->pieces[job->index].piece.is_streamed ? keep_streamed(build, job)
                                                       : keep_piece(build, job));
        plan->pieces[job->index].is_done = true;
        TRY(release_inputs(schedule, job->node, job->index));
        return follow(schedule, job->node);
    case JOB_VERIFY:
        if (job->is_wrong) {
            remake(schedule, job);
            return NULL;
        }
        plan->pieces[job->index].is_done = true;
        TRY(release_inputs(schedule, job->node, job->index));
        return follow(schedule, job->node);
    case JOB_RESTORE:
        build->runs[job->node].is_given_up |= job->is_wrong;
        build->runs[job->node].is_uncached |= job->is_wrong;
        return NULL;
    case JOB_FILL:
        return take_filled(schedule, job);
    case JOB_FLUSH:
        return giveback_flushed(schedule, job->index);
    case JOB_FOLLOW:
        build->runs[job->node].is_following = false;
        return follow(schedule, job->node);
    case JOB_IDENTIFY:
        return job->is_wrong ? plan_stale(schedule, job->node)
                             : adopt_file(schedule, job->node, job->index);
    default:
        return NULL;
    }
}

static void take_hash_result(struct schedule *schedule, struct job *job)
{
    struct build *build = schedule->build;
    struct error *error = job->pool.error;
    struct file_stamp now;
    enum file_kind kind;
    job->pool.error = NULL;
    build->files[job->index].is_hashing = false;
    if (error == NULL)
        error = file_stat(job->location, &kind, &now);
    bool is_steady = error != NULL || file_stamp_equal(&now, &build->files[job->index].stamp);
    build->files[job->index].is_unsteady = !is_steady; /* whoever wants it will find that */
    if (error == NULL && is_steady)
        error = stale_set_hashed(build, job->index, job->segments);
    uint32_t count = schedule->hashing_count;
    schedule->hashing_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = schedule->hashing[i];
        if (build->runs[index].status != STATUS_CHECKING)
            continue;
        if (error != NULL) {
            schedule_fail(schedule, index, error);
            error = NULL; /* the others look again, and find it themselves */
        } else {
            push_ready(schedule, index);
        }
    }
    error_free(error);
}

/* Whether the task asks for another plan, for a reason that it has not had before. */
static bool wants_again(struct schedule *schedule, const struct job *job)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[job->node];
    if (job->pool.error == NULL || (job->again & ~run->again) == 0 || schedule->is_stopping)
        return false;
    char *line = arena_format(&build->arena, "once more: %s", error_report(job->pool.error));
    build_say(build, EVENT_WARNING, build->graph->nodes[job->node].name, line);
    run->again |= job->again;
    return true;
}

/* A job of a node whose plan does not count any more, or of a build that stops: a piece that was
 * made is kept in the log all the same. */
static struct error *keep_late(struct build *build, const struct job *job)
{
    const struct plan *plan = build->runs[job->node].plan;
    bool is_piece = job->kind == JOB_MAKE && plan != NULL && plan->log != NULL &&
                    !plan->pieces[job->index].piece.is_streamed;
    return is_piece ? keep_piece(build, job) : NULL;
}

static struct error *take_of_node(struct schedule *schedule, struct job *job)
{
    struct build *build = schedule->build;
    const struct node_run *run = &build->runs[job->node];
    if (job->kind == JOB_HINT && !schedule->is_stopping && run->status == STATUS_CHECKING)
        return take_heard(schedule, job);
    if (job->pool.error != NULL)
        return NULL;
    bool counts = run->status == STATUS_PLANNED || run->status == STATUS_CHECKING;
    return counts && !schedule->is_stopping ? take_node_result(schedule, job)
                                            : keep_late(build, job);
}

static void take_result(struct schedule *schedule, struct job *job)
{
    struct build *build = schedule->build;
    uint32_t index = job->node;
    schedule->pending[job->pool.is_network ? LANE_NETWORK : LANE_WORK]--;
    build->stats.bytes_read += job->bytes_read;
    build->stats.bytes_written += job->bytes_written;
    if (index == NODE_NONE) {
        take_hash_result(schedule, job);
        job_free(job);
        return;
    }
    struct node_run *run = &build->runs[index];
    run->jobs_left--;
    if (run->status == STATUS_PLANNED && wants_again(schedule, job))
        run->is_given_up = true;
    if (run->is_given_up && !schedule->is_stopping) {
        error_free(job->pool.error);
        job_free(job);
        plan_anew(schedule, index);
        return;
    }
    struct error *error = take_of_node(schedule, job);
    if (error == NULL) {
        error = job->pool.error;
        job->pool.error = NULL;
    }
    error_free(job->pool.error);
    job_free(job);
    if (error != NULL)
        schedule_fail(
            schedule, index, error_wrap(error, "making %s", build->graph->nodes[index].name));
    else if (run->is_given_up && !schedule->is_stopping)
        plan_anew(schedule, index);
    else if (run->status == STATUS_PLANNED && !schedule->is_stopping)
        advance(schedule, index);
}

/* ---- the loop ---- */

static void tick(struct schedule *schedule)
{
    struct build *build = schedule->build;
    if (build->options->on_tick == NULL)
        return;
    struct build_progress progress = {.nodes_total = schedule->wanted,
        .bytes_done = atomic_load_explicit(&build->bytes_done, memory_order_relaxed),
        .bytes_total = build->bytes_total};
    progress.nodes_done = build->stats.nodes_fresh + build->stats.nodes_made;
    progress.is_console = schedule->pool_used[POOL_CONSOLE] > 0;
    if (schedule->active_count > 0)
        progress.node = build->graph->nodes[schedule->active[0]].name;
    build->options->on_tick(build->options->context, &progress);
}

/* Nodes that wait for files do not count: those that bring the files must find room. */
static bool has_room(const struct schedule *schedule)
{
    uint32_t count = schedule->hashing_count;
    for (uint32_t a = 0; a < schedule->active_count; a++)
        count += !plan_is_awaiting(schedule->build->runs[schedule->active[a]].plan);
    return count < OPEN_NODES_MAX;
}

static void check_ready(struct schedule *schedule)
{
    struct build *build = schedule->build;
    for (uint32_t looked = 1;
         schedule->ready_count > 0 && has_room(schedule) && !schedule->is_stopping; looked++) {
        uint32_t index = pop_ready(schedule);
        if (build->runs[index].unmet > 0)
            continue; /* a need was given up meanwhile: it comes again */
        struct error *error = check_node(schedule, index);
        if (error != NULL)
            schedule_fail(schedule, index, error);
        if (looked % 256 == 0)
            tick(schedule);
    }
}

static void stop(struct schedule *schedule)
{
    for (struct pool_job *job = pool_withdraw(schedule->build->pool), *next; job != NULL;
         job = next) {
        next = job->next;
        schedule->pending[job->is_network ? LANE_NETWORK : LANE_WORK]--;
        if (((struct job *)job)->node != NODE_NONE)
            schedule->build->runs[((struct job *)job)->node].jobs_left--;
        job_free((struct job *)job);
    }
}

/* Large downloads begin when all is planned that can be; each when there is a thread for it and
 * room on the disk. */
static void begin_downloads(struct schedule *schedule, bool is_last_chance)
{
    if (schedule->hint_count > 0 || schedule->small_count > 0 ||
        (schedule->ready_count > 0 && has_room(schedule)))
        return;
    while (
        schedule->heard_count > 0 && !schedule->is_stopping && has_window(schedule, LANE_NETWORK)) {
        uint32_t index = schedule->heard[0];
        bool is_admitted = false;
        struct error *error = giveback_admits(schedule, index, is_last_chance, &is_admitted);
        if (error == NULL && !is_admitted)
            return;
        memmove(schedule->heard, schedule->heard + 1,
            --schedule->heard_count * sizeof *schedule->heard);
        schedule->build->runs[index].status = STATUS_CHECKING;
        if (error == NULL)
            error = plan_stale(schedule, index);
        if (error != NULL)
            schedule_fail(schedule, index, error);
        else
            feed_or_fail(schedule, index);
    }
}

/* As many jobs as make's jobserver and the load let run. */
static void throttle(struct schedule *schedule)
{
    const struct build_options *options = schedule->build->options;
    unsigned wanted = options->threads;
    if (schedule->jobserver == NULL && options->load_max <= 0)
        return;
    uint64_t now_ns = clock_now_ns();
    if (options->load_max > 0 && now_ns - schedule->load_ns >= LOAD_NS) {
        schedule->load_ns = now_ns;
        schedule->is_loaded = load_average() > options->load_max;
    }
    if (schedule->pending[LANE_WORK] < wanted)
        wanted = (unsigned)schedule->pending[LANE_WORK];
    if (schedule->jobserver != NULL)
        wanted = jobserver_adjust(schedule->jobserver, wanted);
    pool_allow(schedule->build->pool, schedule->is_loaded || wanted == 0 ? 1 : wanted);
}

static void loop(struct schedule *schedule)
{
    struct build *build = schedule->build;
    for (;;) {
        if (atomic_load(build->options->cancel) && schedule->interrupted == NULL) {
            schedule->interrupted = error_new(ERROR_INTERRUPTED, "interrupted");
            schedule->is_stopping = true;
        }
        check_ready(schedule);
        begin_downloads(schedule, false);
        feed(schedule);
        if (schedule->sealing_count > 0) {
            uint32_t count = schedule->sealing_count;
            schedule->sealing_count = 0;
            seal(schedule, schedule->sealing, count);
            continue; /* its readers first */
        }
        if (schedule->is_stopping)
            stop(schedule);
        if (schedule->ready_count > 0 && has_room(schedule) && !schedule->is_stopping)
            continue;
        if (pool_pending(build->pool) == 0) {
            if (schedule->heard_count == 0 || schedule->is_stopping)
                return;
            begin_downloads(schedule, true); /* nothing will be given back any more */
            continue;
        }
        throttle(schedule);
        struct pool_job *done = pool_collect(build->pool, TICK_MS);
        for (struct pool_job *job = done, *next; job != NULL; job = next) {
            next = job->next;
            take_result(schedule, (struct job *)job);
        }
        tick(schedule);
    }
}

static struct error *save(struct build *build)
{
    if (build->state->intent != NULL)
        return NULL; /* sealing failed: the next build carries it out, and the journal says how */
    for (uint32_t i = 0; i < build->graph->node_count; i++)
        build->is_state_changed |= build->runs[i].status == STATUS_SEALED;
    if (!build->is_state_changed && build->is_compiled_current &&
        build->state->journal_sequence == 0)
        return journal_remove(build->state, STATE_DIRECTORY);
    if (build->is_cache_filled)
        TRY(cache_trim(&build->arena, build->cache.path, build->cache.size_bytes));
    file_wait_tick(); /* no change from now on can share a stamp that is saved */
    TRY(quick_write(build, STATE_DIRECTORY)); /* not believed as long as there is a journal */
    return state_save(build->state, STATE_DIRECTORY, build->graph, &build->validity);
}

static struct error *open_jobserver(struct schedule *schedule)
{
    struct build *build = schedule->build;
    const char *warning;
    TRY(jobserver_open(&build->arena, build->options->make_flags, &schedule->jobserver, &warning));
    if (warning != NULL)
        build_say(build, EVENT_WARNING, NULL, warning);
    return NULL;
}

static struct error *run_real(struct schedule *schedule)
{
    struct build *build = schedule->build;
    TRY(seal_finish_intent(build));
    TRY(pool_open(build->options->threads, build->options->connections,
        build->options->memory_bytes, &build->pool));
    TRY(open_jobserver(schedule));
    loop(schedule);
    jobserver_close(schedule->jobserver);
    TRY(schedule->interrupted);
    for (uint32_t i = 0; i < build->graph->node_count && schedule->failures == 0; i++)
        if (build->runs[i].is_wanted && build->runs[i].status < STATUS_SEALED)
            return error_new(ERROR_FAILED, "%s was left undone", build->graph->nodes[i].name);
    return seal_remove_partials(build);
}

struct error *build_run(
    struct build *build, const char *const *targets, size_t target_count, uint32_t *failures)
{
    const struct graph *graph = build->graph;
    struct schedule schedule = {.build = build,
        .window = {
            4 * (size_t)build->options->threads + 8, 2 * (size_t)build->options->connections + 2}};
    bool *is_wanted = arena_array(&build->arena, graph->node_count, sizeof *is_wanted);
    bool *is_named = arena_array(&build->arena, graph->node_count, sizeof *is_named);
    uint64_t start = clock_now_ns();
    bool *is_itself = arena_array(&build->arena, graph->node_count, sizeof *is_itself);
    if (is_wanted == NULL || is_named == NULL || is_itself == NULL)
        return error_memory();
    graph_find_itself(graph, targets, target_count, is_itself);
    TRY(graph_select(graph, targets, target_count, is_wanted, is_named));
    TRY(begin_schedule(&schedule, is_wanted));
    for (uint32_t i = 0; i < graph->node_count; i++) {
        build->runs[i].is_itself = is_itself[i];
        build->runs[i].is_forced =
            build->options->is_forced && is_named[i] && !graph->nodes[i].is_fetched;
    }
    struct error *error;
    if (build->options->is_dry) {
        error = dry_run(&schedule);
    } else {
        TRY(journal_open(build->state, STATE_DIRECTORY));
        error = run_real(&schedule);
    }
    build->stats.run_ns = clock_now_ns() - start;
    start = clock_now_ns();
    if (!build->options->is_dry) {
        struct error *saving = save(build);
        if (error == NULL)
            error = saving;
        else
            error_free(saving);
    }
    build->stats.save_ns = clock_now_ns() - start;
    *failures = schedule.failures;
    return error;
}
