/* schedule.c - which node is looked at when, and whose pieces run.
 *
 * Everything here is the main thread. A node becomes ready when all it needs is at hand; it is then
 * checked, planned if stale, and its pieces are fed to the pool a few at a time. Nothing recurses:
 * chains may be 100 000 nodes deep. */
#include "engine/schedule/schedule.h"

#include <string.h>

#include "base/jobserver.h"
#include "engine/run/files.h"
#include "engine/run/upgrade.h"
#include "engine/stale/stale.h"
#include "engine/plan/plan.h"
#include "engine/plan/inputs.h"
#include "engine/seal/seal.h"

#define LOAD_NS UINT64_C(1000000000) /* between two looks at the load */
/* Nodes that are planned or wait for a hash, at a time: planned ones hold files open, waiting ones
 * are looked at again after each hash. */
enum { TICK_MS = 100, OPEN_NODES_MAX = 64 };

/* ---- results ---- */

static struct error *keep_result(
    struct plan *plan, struct planned_piece *planned, struct text found)
{
    planned->result = NULL;
    if (found.length == 0)
        return NULL;
    struct text *result = arena_alloc(plan->arena, sizeof *result);
    char *bytes = arena_copy(plan->arena, found.bytes, found.length);
    if (result == NULL || bytes == NULL)
        return error_memory();
    *result = (struct text){bytes, found.length};
    planned->result = result;
    return NULL;
}

/* The hashes of a made piece into plan and log. */
static struct error *keep_piece(struct build *build, const struct job *job)
{
    struct plan *plan = build->runs[job->node].plan;
    struct planned_piece *planned = &plan->pieces[job->index];
    const struct piece piece = plan_piece_of(plan, job->index);
    struct piece_record record = {.key = planned->key,
        .input_count = piece.input_count,
        .output_count = piece.output_count,
        .result = {(const char *)job->result, job->result_bytes}};
    TRY(keep_result(plan, planned, record.result));
    uint32_t place = 0;
    for (uint32_t i = 0; i < piece.input_count + piece.output_count; i++) {
        bool is_input = i < piece.input_count;
        const struct piece_range *range =
            is_input ? &piece.inputs[i] : &piece.outputs[i - piece.input_count];
        struct segments *segments =
            is_input ? plan->inputs[range->file].segments : plan->outputs[range->file].segments;
        uint32_t begin, end;
        if (!segments_range(segments, range->offset, range->size_bytes, &begin, &end))
            return error_new(ERROR_FAILED, "a piece lost its segments");
        for (uint32_t s = begin; s < end; s++)
            segments_set(segments, s, &job->hashes[place + s - begin]);
        struct piece_part *part =
            is_input ? &record.inputs[i] : &record.outputs[i - piece.input_count];
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
        TRY(memory_check(plan->outputs[0].identity));
    }
    for (uint32_t i = 0; i < job->read_count; i++) {
        uint32_t file;
        struct segments *segments;
        char *path = arena_copy(&build->arena, job->reads[i], strlen(job->reads[i]));
        TRY(memory_check(path));
        TRY(run_add_file(build, path, NULL, &file));
        TRY(files_look(build, file));
        if (build->files[file].stamp.ctime_ns > job->started_ns)
            return error_new(ERROR_FAILED, "%s changed while the command that read it ran", path);
        if (build->files[file].look != LOOK_CURRENT || !build->state->files[file].has_tree) {
            TRY(file_stat_settled(path, &build->files[file].stamp));
            TRY(segments_hash_file(&build->arena, build->registry, path, path,
                build->options->cancel, NULL, &segments));
            TRY(files_set_hashed(build, file, segments));
        }
        TRY(inputs_add_read(plan, READ_CONTENT, file, "", &build->state->files[file].tree));
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
        check_demand_inputs(schedule, job->node, false);
}

/* A piece is made or found good: inputs that no other piece reads may go. */
static struct error *release_inputs(struct schedule *schedule, uint32_t index, uint32_t piece)
{
    struct build *build = schedule->build;
    struct plan *plan = build->runs[index].plan;
    const struct piece made = plan_piece_of(plan, piece);
    for (uint32_t k = 0; k < made.input_count; k++) {
        struct plan_input *input = &plan->inputs[made.inputs[k].file];
        bool is_again = false;
        for (uint32_t m = 0; m < k; m++)
            is_again |= made.inputs[m].file == made.inputs[k].file;
        if (is_again || --input->pieces_left > 0 || input->is_awaited ||
            input->producer == NODE_NONE || !build->graph->nodes[input->producer].gives_back)
            continue;
        if (advance_wants_fill(build, input))
            TRY(advance_start_fill(schedule, index, made.inputs[k].file));
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

/* What was heard of a file. If its beginning was not, or there is no room for it, its readers wait
 * for the file. */
static struct error *take_heard(struct schedule *schedule, struct job *job)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[job->node];
    schedule->hint_count--;
    if (job->pool.error != NULL && error_kind_of(job->pool.error) == ERROR_INTERRUPTED)
        return NULL;
    error_free(job->pool.error); /* the download will say what is wrong */
    job->pool.error = NULL;
    run->size_heard = job->hint_size;
    if (job->hint_bytes > 0 && memory_budget_take(&build->planning, job->hint_bytes)) {
        char *copy = arena_copy(&build->arena, job->hint, job->hint_bytes);
        TRY(memory_check(copy));
        run->layout = (struct text){copy, job->hint_bytes};
    }
    struct error *error = check_begin_stale(schedule, job->node);
    if (error != NULL)
        queues_fail(schedule, job->node, error);
    return NULL;
}

static struct error *take_node_result(struct schedule *schedule, struct job *job)
{
    struct build *build = schedule->build;
    struct plan *plan = build->runs[job->node].plan;
    switch (job->kind) {
    case JOB_MAKE:
        TRY(plan->is_streamed ? keep_streamed(build, job) : keep_piece(build, job));
        plan->pieces[job->index].is_done = true;
        TRY(release_inputs(schedule, job->node, job->index));
        return advance_follow(schedule, job->node);
    case JOB_VERIFY:
        if (job->is_wrong) {
            remake(schedule, job);
            return NULL;
        }
        plan->pieces[job->index].is_done = true;
        TRY(release_inputs(schedule, job->node, job->index));
        return advance_follow(schedule, job->node);
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
        return advance_follow(schedule, job->node);
    case JOB_IDENTIFY:
        return job->is_wrong ? check_begin_stale(schedule, job->node)
                             : check_adopt_file(schedule, job->node, job->index);
    default:
        return NULL;
    }
}

static void take_hash_result(struct schedule *schedule, struct job *job)
{
    struct build *build = schedule->build;
    struct error *error = job->pool.error;
    bool is_steady = true;
    job->pool.error = NULL;
    build->files[job->index].is_hashing = false;
    if (error == NULL)
        error = file_is_still(job->location, &build->files[job->index].stamp, false, &is_steady);
    build->files[job->index].is_unsteady = !is_steady; /* whoever wants it will find that */
    if (error == NULL && is_steady)
        error = files_set_hashed(build, job->index, job->segments);
    uint32_t count = schedule->hashing_count;
    schedule->hashing_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = schedule->hashing[i];
        if (build->runs[index].status != STATUS_CHECKING)
            continue;
        if (error != NULL) {
            queues_fail(schedule, index, error);
            error = NULL; /* the others look again, and find it themselves */
        } else {
            ready_push(schedule, index);
        }
    }
    error_free(error);
}

/* Whether the task asks for another plan, for a reason that it has not had before. */
static bool wants_again(struct schedule *schedule, struct job *job)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[job->node];
    if (job->pool.error == NULL || (job->again & ~run->again) == 0 || schedule->is_stopping)
        return false;
    run_warn(
        build, build->graph->nodes[job->node].name, error_wrap(job->pool.error, "beginning anew"));
    job->pool.error = NULL;
    run->again |= job->again;
    return true;
}

/* A job of a node whose plan does not count any more, or of a build that stops: a piece that was
 * made is kept in the log all the same. */
static struct error *keep_late(struct build *build, const struct job *job)
{
    const struct plan *plan = build->runs[job->node].plan;
    bool is_piece = job->kind == JOB_MAKE && plan != NULL && plan->log != NULL;
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
    if (job->kind == JOB_FLUSH)
        build->runs[job->index].flushes_left--; /* whatever becomes of its node */
    if (job->kind == JOB_FILL)
        run->plan->inputs[job->index].is_filling = false;
    if (run->status == STATUS_PLANNED && wants_again(schedule, job))
        run->is_given_up = true;
    if (run->is_given_up && !schedule->is_stopping) {
        error_free(job->pool.error);
        job_free(job);
        check_plan_anew(schedule, index);
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
        queues_fail(
            schedule, index, error_wrap(error, "making %s", build->graph->nodes[index].name));
    else if (run->is_given_up && !schedule->is_stopping)
        check_plan_anew(schedule, index);
    else if (run->status == STATUS_PLANNED && !schedule->is_stopping)
        advance_node(schedule, index);
}

/* ---- the loop ---- */

/* Nodes that wait for files do not count: those that bring the files must find room. Half of what
 * plans may hold is left to the next one. */
static bool has_room(const struct schedule *schedule)
{
    const struct memory_budget *budget = &schedule->build->planning;
    uint32_t count = schedule->hashing_count;
    for (uint32_t a = 0; a < schedule->active_count; a++)
        count += !inputs_are_awaited(schedule->build->runs[schedule->active[a]].plan);
    return count < OPEN_NODES_MAX && (count == 0 || budget->bytes < budget->bytes_max / 2);
}

static void check_ready(struct schedule *schedule)
{
    struct build *build = schedule->build;
    for (uint32_t looked = 1;
         schedule->ready_count > 0 && has_room(schedule) && !schedule->is_stopping; looked++) {
        uint32_t index = ready_pop(schedule);
        enum node_status status = build->runs[index].status;
        if (status != STATUS_WAITING && status != STATUS_CHECKING)
            continue;                       /* failed or blocked meanwhile */
        if (build->runs[index].unmet > 0) { /* a need was given up meanwhile: it comes again */
            ready_set_status(schedule, index, STATUS_WAITING);
            continue;
        }
        struct error *error = check_node(schedule, index);
        if (error != NULL)
            queues_fail(schedule, index, error);
        if (looked % 256 == 0)
            queues_tick(schedule);
    }
}

/* What was planned from something that turned out to be another is planned from that. */
static void plan_anew(struct schedule *schedule)
{
    while (schedule->again_count > 0 && !schedule->is_stopping) {
        uint32_t index = schedule->again[--schedule->again_count];
        const struct node_run *run = &schedule->build->runs[index];
        if (run->is_given_up && run->status == STATUS_PLANNED)
            check_plan_anew(schedule, index);
    }
}

/* Large downloads begin when all is planned that can be; each when there is a thread for it and
 * room on the disk. */
static void begin_downloads(struct schedule *schedule, bool is_last_chance)
{
    bool is_early = schedule->hint_count > 0 || schedule->small_count > 0 ||
                    (schedule->ready_count > 0 && has_room(schedule));
    if (is_early && !is_last_chance)
        return;
    while (schedule->heard_count > 0 && !schedule->is_stopping &&
           queues_have_window(schedule, LANE_NETWORK)) {
        uint32_t index = schedule->heard[0];
        bool is_admitted = false;
        struct error *error = giveback_admits(schedule, index, is_last_chance, &is_admitted);
        if (error == NULL && !is_admitted)
            return;
        memmove(schedule->heard, schedule->heard + 1,
            --schedule->heard_count * sizeof *schedule->heard);
        if (error == NULL)
            error = check_plan(schedule, index);
        if (error != NULL)
            queues_fail(schedule, index, error);
        else
            advance_feed_node(schedule, index);
    }
}

/* As many jobs as make's jobserver and the load let run. */
static void throttle(struct schedule *schedule)
{
    const struct build_options *options = schedule->build->options;
    unsigned wanted = options->threads;
    if (options->jobserver == NULL && options->load_max <= 0)
        return;
    uint64_t now_ns = clock_now_ns();
    if (options->load_max > 0 && now_ns - schedule->load_ns >= LOAD_NS) {
        schedule->load_ns = now_ns;
        schedule->is_loaded = load_average() > options->load_max;
    }
    if (schedule->pending[LANE_WORK] < wanted)
        wanted = (unsigned)schedule->pending[LANE_WORK];
    if (schedule->is_loaded)
        wanted = 1;
    if (options->jobserver != NULL)
        wanted = jobserver_adjust(options->jobserver, wanted);
    pool_allow(schedule->build->pool, wanted == 0 ? 1 : wanted);
}

/* What a sealed node lets go on may be made at once: it waits in the other list, for the next
 * round. */
static void seal_batch(struct schedule *schedule)
{
    uint32_t *nodes = schedule->sealing;
    uint32_t count = schedule->sealing_count;
    schedule->sealing = schedule->sealing_next;
    schedule->sealing_next = nodes;
    schedule->sealing_count = 0;
    advance_seal(schedule, nodes, count);
}

static void loop(struct schedule *schedule)
{
    struct build *build = schedule->build;
    for (;;) {
        if (atomic_load(build->options->cancel) && schedule->interrupted == NULL) {
            schedule->interrupted = error_new(ERROR_INTERRUPTED, "interrupted");
            schedule->is_stopping = true;
        }
        plan_anew(schedule);
        check_ready(schedule);
        begin_downloads(schedule, false);
        advance_feed(schedule);
        if (schedule->sealing_count > 0) {
            seal_batch(schedule);
            continue; /* its readers first */
        }
        if (schedule->is_stopping)
            queues_withdraw_all(schedule);
        else if (schedule->again_count > 0)
            continue;
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
        queues_tick(schedule);
    }
}

/* One job until jobserver and load were asked, in the loop. */
static void begin_throttle(struct build *build)
{
    const char *warning = jobserver_warning(build->options->jobserver);
    if (warning != NULL)
        run_say(build, EVENT_WARNING, NULL, warning);
    if (build->options->jobserver != NULL || build->options->load_max > 0)
        pool_allow(build->pool, 1);
}

/* What cannot be finished stays unfinished, and its nodes cannot be made: they fail, and no others.
 */
static void fail_unfinished(void *context, const struct intent *intent, struct error *error)
{
    struct schedule *schedule = context;
    struct build *build = schedule->build;
    error = error_wrap(error, "finishing what an interrupted build had begun to rename");
    for (uint32_t i = 0; i < intent->record_count; i++) {
        uint32_t node = map_get(&build->graph->node_by_name, intent->records[i].name);
        if (node == MAP_NONE || !build->runs[node].is_wanted)
            continue;
        if (error != NULL)
            queues_fail(schedule, node, error);
        else
            queues_give_up(schedule, node);
        error = NULL;
    }
    if (error != NULL)
        run_warn(build, NULL, error);
}

static struct error *run_real(struct schedule *schedule)
{
    struct build *build = schedule->build;
    bool is_recovering = build->state->intent_count > 0;
    seal_recover(build, fail_unfinished, schedule);
    if (is_recovering)
        TRY(upgrade_trees(build)); /* what now has its name */
    TRY(pool_open(build->options->threads, build->options->connections,
        build->options->memory_bytes, &build->pool));
    begin_throttle(build);
    loop(schedule);
    if (build->options->jobserver != NULL)
        jobserver_adjust(build->options->jobserver, 1);
    TRY(schedule->interrupted);
    for (uint32_t i = 0; i < build->graph->node_count && schedule->failures == 0; i++)
        if (build->runs[i].is_wanted && build->runs[i].status < STATUS_SEALED)
            return error_new(ERROR_FAILED, "%s was left undone", build->graph->nodes[i].name);
    return seal_remove_partials(build);
}

struct error *schedule_run(struct build *build, const bool *is_wanted, uint32_t *failures)
{
    struct schedule schedule = {.build = build,
        .window = {
            4 * (size_t)build->options->threads + 24, 2 * (size_t)build->options->connections + 2}};
    TRY(ready_begin(&schedule, is_wanted));
    struct error *error = build->options->is_dry ? dry_run(&schedule) : run_real(&schedule);
    *failures = schedule.failures;
    return error;
}
