/* queues.c - the lists in which nodes wait, the jobs on their way, and how a node leaves them. */
#include "engine/schedule/schedule.h"

#include <string.h>

/* ---- lists ---- */

void queues_remove(uint32_t *list, uint32_t *count, uint32_t node)
{
    for (uint32_t i = 0; i < *count; i++)
        if (list[i] == node) {
            memmove(list + i, list + i + 1, (*count - i - 1) * sizeof *list);
            (*count)--;
            return;
        }
}

void queues_leave_active(struct schedule *schedule, uint32_t index)
{
    queues_remove(schedule->active, &schedule->active_count, index);
    uint32_t pool = schedule->build->graph->nodes[index].pool;
    if (schedule->build->runs[index].has_slot)
        schedule->pool_used[pool]--;
    schedule->build->runs[index].has_slot = false;
}

void queues_leave_small(struct schedule *schedule, uint32_t index)
{
    schedule->small_count -= schedule->build->runs[index].is_small;
    schedule->build->runs[index].is_small = false;
}

/* Nodes that wait for another's file look again. */
void queues_unpark(struct schedule *schedule)
{
    for (uint32_t i = 0; i < schedule->parked_count; i++)
        ready_push(schedule, schedule->parked[i]);
    schedule->parked_count = 0;
}

void queues_add_again(struct schedule *schedule, uint32_t node)
{
    queues_remove(schedule->again, &schedule->again_count, node); /* it is there at most once */
    schedule->again[schedule->again_count++] = node;
}

/* ---- jobs ---- */

struct error *queues_submit(struct schedule *schedule, struct job *job)
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

struct error *queues_start_job(
    struct schedule *schedule, uint32_t node, enum job_kind kind, uint32_t index)
{
    struct job *job;
    TRY(job_new(schedule->build, node, kind, index, &job));
    return queues_submit(schedule, job);
}

bool queues_have_window(const struct schedule *schedule, enum lane lane)
{
    return schedule->pending[lane] < schedule->window[lane];
}

static bool is_of_node(const void *context, const struct pool_job *job)
{
    return ((const struct job *)job)->node == *(const uint32_t *)context;
}

/* Jobs that have not begun never will. */
static void forget_jobs(struct schedule *schedule, struct pool_job *first)
{
    struct node_run *runs = schedule->build->runs;
    for (struct pool_job *job = first, *next; job != NULL; job = next) {
        const struct job *forgotten = (struct job *)job;
        next = job->next;
        schedule->pending[job->is_network ? LANE_NETWORK : LANE_WORK]--;
        if (forgotten->node != NODE_NONE)
            runs[forgotten->node].jobs_left--;
        if (forgotten->kind == JOB_FLUSH)
            runs[forgotten->index].flushes_left--;
        if (forgotten->kind == JOB_FILL)
            runs[forgotten->node].plan->inputs[forgotten->index].is_filling = false;
        job_free((struct job *)job);
    }
}

void queues_withdraw(struct schedule *schedule, uint32_t index)
{
    forget_jobs(schedule, pool_withdraw(schedule->build->pool, is_of_node, &index));
}

void queues_withdraw_all(struct schedule *schedule)
{
    forget_jobs(schedule, pool_withdraw(schedule->build->pool, NULL, NULL));
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
            ready_set_status(schedule, reader, STATUS_BLOCKED);
            if (is_planned)
                queues_leave_active(schedule, reader);
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
                ready_set_status(schedule, reader, STATUS_BLOCKED);
                stack[depth++] = reader;
            }
    }
}

/* It cannot be sealed with others of which one failed; what it made stays in its log. */
void queues_give_up(struct schedule *schedule, uint32_t index)
{
    ready_set_status(schedule, index, STATUS_BLOCKED);
    queues_leave_active(schedule, index);
    queues_leave_small(schedule, index);
    block(schedule, index);
    queues_unpark(schedule);
}

/* Takes over the error. */
void queues_fail(struct schedule *schedule, uint32_t index, struct error *error)
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
        ready_set_status(schedule, index, STATUS_FAILED);
        queues_leave_active(schedule, index);
        queues_leave_small(schedule, index);
        schedule->failures++;
        build->stats.nodes_failed++;
        if (build->options->on_event != NULL)
            build->options->on_event(build->options->context,
                &(struct build_event){
                    .kind = EVENT_FAILED, .node = build->graph->nodes[index].name, .error = error});
        block(schedule, index);
        queues_unpark(schedule);
    }
    error_free(error);
    if (build->options->failures_max > 0 && schedule->failures >= build->options->failures_max)
        schedule->is_stopping = true;
}

/* ---- telling ---- */

void queues_tick(struct schedule *schedule)
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
