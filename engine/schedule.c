/* schedule.c - build_run: which node is looked at when, and whose pieces run.
 *
 * Everything here is the main thread. A node becomes ready when all it needs is at hand; it is then
 * checked, planned if stale, and its pieces are fed to the pool a few at a time. Nothing recurses:
 * chains may be 100 000 nodes deep. */
#include "engine/build.h"

#include <stdlib.h>
#include <string.h>

#include "engine/plan.h"
#include "engine/quick.h"
#include "engine/seal.h"
#include "engine/stale.h"
#include "engine/work.h"

/* Nodes that are planned or wait for a hash, at a time: planned ones hold files open, waiting ones
 * are looked at again after each hash. */
enum {
    TICK_MS = 100,
    COPY_BYTES_MAX = 64 << 20,
    FOLLOW_BYTES_MAX = 64 << 20,
    OPEN_NODES_MAX = 64,
};

struct reader {
    uint32_t node;
    bool is_content;
};

struct schedule {
    struct build *build;
    uint32_t *first_reader; /* readers of node i: readers[first_reader[i] .. first_reader[i + 1]) */
    struct reader *readers;
    uint32_t *ready, ready_first, ready_count; /* to be checked: a ring of node_count + 1 */
    uint32_t *hashing, hashing_count;          /* wait for files to be hashed */
    uint32_t *blocking;                        /* block()'s own */
    uint32_t *active, active_count;            /* planned, not made: in order of planning */
    uint32_t *sealing, sealing_count; /* made, without a group: sealed together in each round */
    uint32_t *parked, parked_count;   /* wait for another node that fetches the same content */
    bool *is_group_failed;
    uint32_t failures;
    bool is_stopping;
    uint32_t wanted;
    size_t window; /* jobs in the pool at a time */
    struct error *interrupted;
};

/* ---- readiness ---- */

/* The status from which on a producer serves a reader. */
static enum node_status wanted_status(
    const struct graph *graph, uint32_t producer, const struct reader *reader)
{
    if (!reader->is_content)
        return STATUS_PLANNED;
    uint32_t group = graph->nodes[producer].group;
    bool is_inside = group != GROUP_NONE && group == graph->nodes[reader->node].group;
    return is_inside ? STATUS_MADE : STATUS_SEALED;
}

static bool serves(enum node_status status, enum node_status wanted)
{
    return status >= wanted && status <= STATUS_FRESH;
}

static void push_ready(struct schedule *schedule, uint32_t index)
{
    uint32_t capacity = schedule->build->graph->node_count + 1;
    schedule->ready[(schedule->ready_first + schedule->ready_count++) % capacity] = index;
}

static uint32_t pop_ready(struct schedule *schedule)
{
    uint32_t index = schedule->ready[schedule->ready_first];
    schedule->ready_first = (schedule->ready_first + 1) % (schedule->build->graph->node_count + 1);
    schedule->ready_count--;
    return index;
}

static void set_status(struct schedule *schedule, uint32_t index, enum node_status status)
{
    struct build *build = schedule->build;
    enum node_status before = build->runs[index].status;
    build->runs[index].status = status;
    for (uint32_t k = schedule->first_reader[index]; k < schedule->first_reader[index + 1]; k++) {
        const struct reader *reader = &schedule->readers[k];
        enum node_status wanted = wanted_status(build->graph, index, reader);
        struct node_run *run = &build->runs[reader->node];
        if (serves(before, wanted) || !serves(status, wanted) || --run->unmet > 0)
            continue;
        if (run->status == STATUS_WAITING)
            push_ready(schedule, reader->node);
    }
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
    schedule->ready = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->hashing = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->blocking = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->active = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->sealing = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->parked = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->is_group_failed = arena_array(arena, graph->group_count, sizeof(bool));
    if (schedule->first_reader == NULL || schedule->ready == NULL || schedule->hashing == NULL ||
        schedule->blocking == NULL || schedule->active == NULL || schedule->sealing == NULL ||
        schedule->parked == NULL || schedule->is_group_failed == NULL)
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
                (struct reader){i, node->needs_content[k]};
        build->runs[i].is_wanted = true;
        build->runs[i].unmet = node->need_count;
        schedule->wanted++;
        if (node->need_count == 0)
            push_ready(schedule, i);
    }
    return find_alike(build, is_wanted);
}

/* ---- failing ---- */

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
            if (build->runs[reader].status != STATUS_WAITING)
                continue;
            build->runs[reader].status = STATUS_BLOCKED;
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
            return;
        }
}

/* Takes over the error. */
static void fail_node(struct schedule *schedule, uint32_t index, struct error *error)
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

/* ---- records ---- */

static struct error *copy_reads(struct build *build, const struct plan *plan, struct record *record)
{
    record->reads = arena_array(&build->arena, plan->read_count, sizeof *record->reads);
    if (record->reads == NULL)
        return error_memory();
    for (uint32_t i = 0; i < plan->read_count; i++) {
        struct record_read *read = &record->reads[i];
        *read = plan->reads[i];
        read->detail = arena_copy(&build->arena, read->detail, strlen(read->detail));
        if (read->detail == NULL)
            return error_memory();
        if (read->file == FILE_NONE || read->kind == READ_NAMES || read->kind == READ_ABSENT)
            continue;
        const char *path = build->state->files[read->file].path;
        if (!stale_find_tree(build, path, &read->seen))
            return error_new(ERROR_FAILED, "%s: its content was not hashed", path);
        if (read->kind == READ_DATA)
            read->hash = read->seen;
    }
    record->read_count = plan->read_count;
    return NULL;
}

static struct error *list_made(struct build *build, struct node_run *run)
{
    struct plan *plan = run->plan;
    run->files = arena_array(&build->arena, plan->output_count, sizeof *run->files);
    run->record.made = arena_array(&build->arena, plan->output_count, sizeof *run->record.made);
    if (run->files == NULL || run->record.made == NULL)
        return error_memory();
    for (uint32_t i = 0; i < plan->output_count; i++) {
        struct plan_output *output = &plan->outputs[i];
        if (!output->has_tree && output->segments != NULL && !output->is_blocks) {
            output->tree = segments_tree(output->segments);
            output->has_tree = true;
        }
        uint32_t file;
        TRY(build_add_file(build, output->path, NULL, &file));
        run->record.made[i] = (struct record_made){.file = file,
            .has_tree = output->has_tree,
            .tree = output->tree,
            .identity = output->identity};
        const char *staged = output->is_unchanged ? output->path
                                                  : arena_copy(&build->arena, output->staged,
                                                        strlen(output->staged));
        if (staged == NULL)
            return error_memory();
        run->files[i] = (struct made_file){.path = output->path,
            .location = staged,
            .size_bytes = output->size_bytes,
            .has_tree = output->has_tree,
            .tree = output->tree,
            .identity = output->identity};
    }
    run->record.made_count = run->file_count = plan->output_count;
    return NULL;
}

static struct error *make_record(struct build *build, uint32_t index)
{
    const struct node *node = &build->graph->nodes[index];
    struct node_run *run = &build->runs[index];
    run->record = (struct record){.name = node->name,
        .manifest = build->options->manifest,
        .declaration = node->declaration,
        .key = node->key,
        .layout = run->layout,
        .figures = run->plan->figures,
        .duration_ns = clock_now_ns() - run->started_ns};
    TRY(copy_reads(build, run->plan, &run->record));
    return list_made(build, run);
}

/* ---- sealing ---- */

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
    set_status(schedule, index, STATUS_SEALED);
    unpark(schedule);
    plan_end(run->plan, true);
    run->plan = NULL;
    arena_end(&run->arena);
}

static void seal(struct schedule *schedule, const uint32_t *nodes, uint32_t count)
{
    struct error *error = seal_nodes(schedule->build, nodes, count);
    if (error != NULL) {
        error = error_wrap(error, "sealing %s", schedule->build->graph->nodes[nodes[0]].directory);
        fail_node(schedule, nodes[0], error);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        finish_sealed(schedule, nodes[i]);
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
        fail_node(schedule, index, error_memory());
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

static struct error *submit(struct schedule *schedule, struct job *job)
{
    struct error *error = pool_submit(schedule->build->pool, &job->pool);
    if (error != NULL)
        job_free(job);
    else if (job->node != NODE_NONE)
        schedule->build->runs[job->node].jobs_left++;
    return error;
}

static struct error *start_job(
    struct schedule *schedule, uint32_t node, enum job_kind kind, uint32_t index)
{
    struct job *job;
    TRY(job_new(schedule->build, node, kind, index, &job));
    return submit(schedule, job);
}

/* An input must be the same file before and after it was read. */
static struct error *check_inputs(struct build *build, const struct plan *plan)
{
    for (uint32_t i = 0; i < plan->input_count; i++) {
        const struct plan_input *input = &plan->inputs[i];
        struct file_stamp now;
        enum file_kind kind;
        if (input->is_staged || input->handle == NULL)
            continue;
        TRY(file_stat(input->location, &kind, &now));
        if (!file_stamp_equal(&now, &build->files[input->file].stamp))
            return error_new(ERROR_FAILED, "%s changed while it was read", input->path);
    }
    return NULL;
}

/* The tree of an input whose segments are all known becomes the state's. */
static struct error *keep_input_trees(struct build *build, struct plan *plan)
{
    for (uint32_t i = 0; i < plan->input_count; i++) {
        struct plan_input *input = &plan->inputs[i];
        struct hash128 now;
        if (input->segments == NULL || input->is_staged ||
            input->segments->known_count != input->segments->count)
            continue;
        struct hash128 tree = segments_tree(input->segments);
        if (stale_find_tree(build, input->path, &now)) {
            if (!hash_equal(&now, &tree))
                return error_new(ERROR_FAILED, "%s changed while it was read", input->path);
            continue;
        }
        struct file_run *run = &build->files[input->file];
        struct state_file *known = &build->state->files[input->file];
        known->tree = tree;
        known->has_tree = true;
        known->stamp = run->stamp;
        run->look = LOOK_CURRENT;
        TRY(journal_put_file(build->state, input->file));
    }
    return NULL;
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

static struct error *start_phase(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    struct plan *plan = run->plan;
    if (run->phase == PHASE_FILL) {
        for (uint32_t i = 0; i < plan->input_count; i++) {
            struct plan_input *input = &plan->inputs[i];
            struct hash128 known;
            if (input->segments != NULL && !input->is_staged &&
                input->segments->known_count != input->segments->count &&
                !stale_find_tree(build, input->path, &known))
                TRY(start_job(schedule, index, JOB_FILL, i));
        }
        for (uint32_t i = 0; plan->is_streamed && i < plan->output_count; i++)
            TRY(hash_streamed(build, &plan->outputs[i]));
    }
    if (run->phase == PHASE_SYNC)
        for (uint32_t i = 0; i < plan->output_count; i++)
            if (!plan->outputs[i].is_unchanged)
                TRY(start_job(schedule, index, JOB_SYNC, i));
    return NULL;
}

static struct error *finish_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    struct plan *plan = run->plan;
    TRY(check_inputs(build, plan));
    TRY(keep_input_trees(build, plan));
    for (uint32_t i = 0; i < plan->input_count; i++)
        if (plan->inputs[i].is_numbered)
            TRY(plan_add_read(plan, READ_DATA, plan->inputs[i].file, "", &(struct hash128){{0}}));
    if (plan->node->type->sum != NULL)
        TRY(plan->node->type->sum(plan, plan->node));
    TRY(make_record(build, index));
    run->is_changed = plan->is_changed;
    uint64_t written = 0;
    for (uint32_t i = 0; i < plan->output_count; i++)
        if (!plan->outputs[i].is_unchanged && plan->outputs[i].size_bytes != PLAN_SIZE_UNKNOWN)
            written += plan->outputs[i].size_bytes;
    build->stats.nodes_made++;
    if (build->options->on_event != NULL)
        build->options->on_event(
            build->options->context, &(struct build_event){.kind = EVENT_DONE,
                                         .node = plan->node->name,
                                         .size_bytes = written,
                                         .pieces_made = plan->pieces_to_make,
                                         .pieces_kept = plan->piece_count - plan->pieces_to_make,
                                         .duration_ns = run->record.duration_ns});
    plan_close_files(plan);
    leave_active(schedule, index);
    set_status(schedule, index, STATUS_MADE);
    seal_if_complete(schedule, index);
    return NULL;
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
    return submit(schedule, job);
}

/* Goes on while nothing of the current phase is left to do. */
static void advance(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    while (run->status == STATUS_PLANNED && run->jobs_left == 0) {
        bool is_piecing =
            run->next_piece < run->plan->piece_count || run->next_copy < run->copy_count;
        if (run->phase == PHASE_PIECES && is_piecing)
            return; /* fed by feed() */
        struct error *error = NULL;
        if (run->phase == PHASE_SYNC) {
            error = finish_node(schedule, index);
        } else {
            run->phase++;
            error = start_phase(schedule, index);
        }
        if (error != NULL)
            fail_node(
                schedule, index, error_wrap(error, "making %s", build->graph->nodes[index].name));
        if (schedule->is_stopping)
            return;
    }
}

/* Submits pieces of planned nodes while the pool's window has room. */
static void feed(struct schedule *schedule)
{
    struct build *build = schedule->build;
    uint32_t a = 0;
    while (a < schedule->active_count && !schedule->is_stopping) {
        uint32_t index = schedule->active[a];
        struct node_run *run = &build->runs[index];
        struct error *error = NULL;
        if (run->status != STATUS_PLANNED || run->phase != PHASE_PIECES || run->is_given_up) {
            a++;
            continue;
        }
        while (error == NULL && run->next_copy < run->copy_count &&
               pool_pending(build->pool) < schedule->window) {
            struct job *job;
            error = job_new(build, index, JOB_COPY, run->next_copy, &job);
            if (error == NULL) {
                job->copy = &run->copies[run->next_copy++];
                error = submit(schedule, job);
            }
        }
        while (error == NULL && run->next_piece < run->plan->piece_count &&
               pool_pending(build->pool) < schedule->window) {
            enum piece_action action = run->plan->pieces[run->next_piece].action;
            if (action == PIECE_MAKE || action == PIECE_VERIFY)
                error = start_job(
                    schedule, index, action == PIECE_MAKE ? JOB_MAKE : JOB_VERIFY, run->next_piece);
            run->next_piece++;
        }
        if (error != NULL)
            fail_node(schedule, index, error);
        else if (run->jobs_left == 0)
            advance(schedule, index);
        if (a < schedule->active_count && schedule->active[a] == index)
            a++; /* it has not left */
    }
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
            count += plan->pieces[i].piece.output_count;
    struct copy_run *copies = arena_array(plan->arena, count, sizeof *copies);
    if (copies == NULL)
        return error_memory();
    count = 0;
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        const struct planned_piece *planned = &plan->pieces[i];
        for (uint32_t k = 0; planned->action == PIECE_COPY && k < planned->piece.output_count;
             k++) {
            const struct piece_part *old = &planned->record->outputs[k];
            const struct piece_range *range = &planned->piece.outputs[k];
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

/* Pieces that are copied belong into the new log with their new places. */
static struct error *log_copied(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->piece_count && plan->log != NULL; i++) {
        const struct planned_piece *planned = &plan->pieces[i];
        if (planned->action != PIECE_COPY && planned->action != PIECE_KEEP)
            continue;
        struct piece_record record = *planned->record;
        uint32_t outputs = 0;
        for (uint32_t k = 0; k < record.input_count; k++) {
            record.inputs[k].file = planned->piece.inputs[k].file;
            record.inputs[k].offset = planned->piece.inputs[k].offset;
        }
        for (uint32_t k = 0; k < record.output_count; k++, outputs++) {
            record.outputs[k].file = planned->piece.outputs[k].file;
            record.outputs[k].offset = planned->piece.outputs[k].offset;
        }
        TRY(pieces_append(plan->log, &record));
    }
    return NULL;
}

/* ---- one node ---- */

static struct error *set_fresh(struct schedule *schedule, uint32_t index)
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
    for (uint32_t i = 0; i < record->made_count; i++) {
        const struct state_file *file = &build->state->files[record->made[i].file];
        run->files[i] = (struct made_file){.path = file->path,
            .location = file->location,
            .size_bytes = file->stamp.size_bytes,
            .has_tree = file->has_tree,
            .tree = file->tree,
            .identity = file->identity};
    }
    build->stats.nodes_fresh++;
    set_status(schedule, index, STATUS_FRESH);
    seal_if_complete(schedule, index);
    return NULL;
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
        TRY(submit(schedule, job));
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
    return set_fresh(schedule, index);
}

static struct error *start_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    struct plan *plan = run->plan;
    if (plan->is_changed) {
        TRY(plan_stage(plan));
        TRY(collect_copies(build, run));
        if (plan->recorded_count == 0)
            TRY(log_copied(plan));
    }
    build->bytes_total += plan->bytes_to_read;
    build->stats.pieces_made += plan->pieces_to_make;
    build->stats.pieces_kept += plan->piece_count - plan->pieces_to_make;
    schedule->active[schedule->active_count++] = index;
    return NULL;
}

static struct error *plan_stale(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    const struct node *node = &build->graph->nodes[index];
    run->started_ns = clock_now_ns();
    build_say(build, EVENT_STALE, node->name, run->reason);
    struct plan *plan;
    struct error *error = plan_node(build, index, &plan);
    if (error != NULL)
        return error_wrap(error, "planning %s", node->name);
    run->layout = plan->layout;
    run->layout_hash = hash_text(run->layout);
    if (build->options->on_event != NULL)
        build->options->on_event(
            build->options->context, &(struct build_event){.kind = EVENT_STARTED,
                                         .node = node->name,
                                         .size_bytes = plan->bytes_to_read,
                                         .pieces_made = plan->pieces_to_make,
                                         .pieces_kept = plan->piece_count - plan->pieces_to_make});
    TRY(start_node(schedule, index));
    set_status(schedule, index, STATUS_PLANNED);
    advance(schedule, index);
    return NULL;
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

static struct error *check_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[index];
    struct staleness staleness;
    run->status = STATUS_CHECKING;
    TRY(stale_check(build, index, &run->arena, &staleness));
    if (staleness.verdict == VERDICT_HASH_FIRST) {
        schedule->hashing[schedule->hashing_count++] = index;
        return start_hashes(schedule, &staleness);
    }
    if (staleness.verdict == VERDICT_FRESH)
        return set_fresh(schedule, index);
    run->reason = staleness.reason;
    if (waits_for_alike(schedule, index))
        return NULL;
    bool is_looking;
    TRY(may_be_there(schedule, index, &is_looking));
    return is_looking ? NULL : plan_stale(schedule, index);
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

/* A wrong staged piece is made after all. */
static struct error *remake(struct schedule *schedule, const struct job *job)
{
    struct plan *plan = schedule->build->runs[job->node].plan;
    plan->pieces[job->index].action = PIECE_MAKE;
    plan->pieces_to_make++;
    return start_job(schedule, job->node, JOB_MAKE, job->index);
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
        return follow(schedule, job->node);
    case JOB_VERIFY:
        if (job->is_wrong)
            return remake(schedule, job);
        plan->pieces[job->index].is_done = true;
        return follow(schedule, job->node);
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
    const char *path = build->state->files[job->index].path;
    job->pool.error = NULL;
    build->files[job->index].is_hashing = false;
    if (error == NULL)
        error = file_stat(job->location, &kind, &now);
    if (error == NULL && !file_stamp_equal(&now, &build->files[job->index].stamp))
        error = error_new(ERROR_FAILED, "%s changed while it was read", path);
    if (error == NULL)
        error = stale_set_hashed(build, job->index, job->segments);
    uint32_t count = schedule->hashing_count;
    schedule->hashing_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = schedule->hashing[i];
        if (build->runs[index].status != STATUS_CHECKING)
            continue;
        if (error != NULL) {
            fail_node(schedule, index, error);
            error = NULL; /* the others look again, and find it themselves */
        } else {
            push_ready(schedule, index);
        }
    }
    error_free(error);
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
    plan_end(run->plan, false);
    run->plan = NULL;
    arena_end(&run->arena);
    run->phase = PHASE_PIECES;
    run->next_piece = run->next_copy = run->copy_count = run->followed = 0;
    run->is_given_up = run->is_following = false;
    run->status = STATUS_CHECKING;
    struct error *error = plan_stale(schedule, index);
    if (error != NULL)
        fail_node(schedule, index, error);
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

static void take_result(struct schedule *schedule, struct job *job)
{
    struct build *build = schedule->build;
    build->stats.bytes_read += job->bytes_read;
    build->stats.bytes_written += job->bytes_written;
    if (job->node == NODE_NONE) {
        take_hash_result(schedule, job);
        job_free(job);
        return;
    }
    uint32_t index = job->node;
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
    struct error *error = job->pool.error;
    if (error == NULL && run->status != STATUS_FAILED && !schedule->is_stopping)
        error = take_node_result(schedule, job);
    else if (error == NULL && job->kind == JOB_MAKE && run->plan->log != NULL)
        error = keep_piece(build, job); /* stopping: what is made is kept */
    job_free(job);
    if (error != NULL)
        fail_node(schedule, index, error_wrap(error, "making %s", build->graph->nodes[index].name));
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
    if (schedule->active_count > 0)
        progress.node = build->graph->nodes[schedule->active[0]].name;
    build->options->on_tick(build->options->context, &progress);
}

static bool has_room(const struct schedule *schedule)
{
    return schedule->active_count + schedule->hashing_count < OPEN_NODES_MAX;
}

static void check_ready(struct schedule *schedule)
{
    for (uint32_t looked = 1;
         schedule->ready_count > 0 && has_room(schedule) && !schedule->is_stopping; looked++) {
        uint32_t index = pop_ready(schedule);
        struct error *error = check_node(schedule, index);
        if (error != NULL)
            fail_node(schedule, index, error);
        if (looked % 256 == 0)
            tick(schedule);
    }
}

static void stop(struct schedule *schedule)
{
    for (struct pool_job *job = pool_withdraw(schedule->build->pool), *next; job != NULL;
         job = next) {
        next = job->next;
        if (((struct job *)job)->node != NODE_NONE)
            schedule->build->runs[((struct job *)job)->node].jobs_left--;
        job_free((struct job *)job);
    }
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
        feed(schedule);
        if (schedule->sealing_count > 0) {
            uint32_t count = schedule->sealing_count;
            schedule->sealing_count = 0;
            seal(schedule, schedule->sealing, count);
        }
        if (schedule->is_stopping)
            stop(schedule);
        if (schedule->ready_count > 0 && has_room(schedule) && !schedule->is_stopping)
            continue;
        if (pool_pending(build->pool) == 0)
            return;
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
    file_wait_tick(); /* no change from now on can share a stamp that is saved */
    TRY(quick_write(build, STATE_DIRECTORY)); /* not believed as long as there is a journal */
    return state_save(build->state, STATE_DIRECTORY, build->graph, &build->validity);
}

static struct error *run_real(struct schedule *schedule)
{
    struct build *build = schedule->build;
    TRY(seal_finish_intent(build));
    TRY(pool_open(build->options->threads, build->options->connections,
        build->options->memory_bytes, &build->pool));
    loop(schedule);
    TRY(schedule->interrupted);
    return seal_remove_partials(build);
}

/* ---- -n ---- */

/* What would be made, without making it: layouts are planned, contents are not known. */
static struct error *dry_node(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    struct node_run *run = &build->runs[index];
    struct staleness staleness = {.verdict = VERDICT_STALE};
    struct build_event event = {.kind = EVENT_STARTED, .node = node->name};
    for (uint32_t k = 0; k < node->need_count; k++)
        if (build->runs[node->needs[k]].status == STATUS_PLANNED &&
            (node->needs_content[k] || build->runs[node->needs[k]].layout.length == 0))
            staleness.reason = arena_format(&build->arena, "it needs %s, which would be made",
                build->graph->nodes[node->needs[k]].name);
    bool is_known = staleness.reason == NULL;
    if (is_known)
        TRY(stale_check(build, index, &run->arena, &staleness));
    if (staleness.verdict == VERDICT_FRESH)
        return set_fresh(schedule, index);
    if (staleness.verdict == VERDICT_HASH_FIRST)
        staleness.reason = arena_format(&build->arena, "%s has another stamp and would be hashed",
            build->state->files[staleness.files[0]].path);
    build_say(build, EVENT_STALE, node->name, staleness.reason);
    struct plan *plan = NULL;
    struct error *error = is_known ? plan_node(build, index, &plan) : NULL;
    if (error != NULL && error_kind_of(error) != ERROR_MISSING)
        return error_wrap(error, "planning %s", node->name);
    error_free(error);
    event.size_bytes = PLAN_SIZE_UNKNOWN;
    if (plan != NULL && error == NULL) {
        run->layout = plan->layout;
        run->layout_hash = hash_text(run->layout);
        event.size_bytes = plan->bytes_to_read;
        event.pieces_made = plan->pieces_to_make;
        event.pieces_kept = plan->piece_count - plan->pieces_to_make;
    }
    build->options->on_event(build->options->context, &event);
    build->stats.nodes_made++;
    run->status = STATUS_PLANNED;
    return NULL;
}

static struct error *run_dry(struct schedule *schedule)
{
    struct build *build = schedule->build;
    if (build->state->intent != NULL)
        build_say(
            build, EVENT_NOTE, NULL, "an interrupted build's renames would be finished first");
    for (uint32_t at = 0; at < build->graph->node_count; at++) {
        uint32_t index = build->graph->order[at];
        if (!build->runs[index].is_wanted)
            continue;
        struct error *error = dry_node(schedule, index);
        if (error != NULL)
            fail_node(schedule, index, error);
    }
    return NULL;
}

struct error *build_run(
    struct build *build, const char *const *targets, size_t target_count, uint32_t *failures)
{
    const struct graph *graph = build->graph;
    struct schedule schedule = {.build = build, .window = 4 * (size_t)build->options->threads + 8};
    bool *is_wanted = arena_array(&build->arena, graph->node_count, sizeof *is_wanted);
    bool *is_named = arena_array(&build->arena, graph->node_count, sizeof *is_named);
    uint64_t start = clock_now_ns();
    if (is_wanted == NULL || is_named == NULL)
        return error_memory();
    TRY(graph_select(graph, targets, target_count, is_wanted, is_named));
    TRY(begin_schedule(&schedule, is_wanted));
    for (uint32_t i = 0; i < graph->node_count; i++)
        build->runs[i].is_forced =
            build->options->is_forced && is_named[i] && !graph->nodes[i].is_fetched;
    struct error *error;
    if (build->options->is_dry) {
        error = run_dry(&schedule);
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
