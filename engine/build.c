/* build.c - opening a run, running it, saving what it found. */
#include "engine/build.h"

#include <string.h>

#include "base/directory.h"
#include "base/file_lock.h"
#include "base/owner.h"
#include "engine/machine/behind.h"
#include "engine/state/cache.h"
#include "engine/run/upgrade.h"
#include "engine/stale/stale.h"
#include "engine/stale/compiled.h"
#include "engine/plan/staging.h"
#include "engine/seal/seal.h"
#include "engine/schedule/schedule.h"

static struct error *begin_runs(struct build *build)
{
    build->runs = arena_array(&build->arena, build->graph->node_count, sizeof *build->runs);
    build->file_capacity = build->state->file_count;
    build->files = arena_array(&build->arena, build->file_capacity, sizeof *build->files);
    if (build->runs == NULL || build->files == NULL)
        return error_memory();
    for (uint32_t i = 0; i < build->graph->node_count; i++)
        build->runs[i].arena.budget = &build->planning;
    return NULL;
}

static void say_note(void *context, const char *line)
{
    run_say(context, EVENT_NOTE, NULL, line);
}

static struct validity make_validity(const struct build_options *options)
{
    return (struct validity){.manifest = options->manifest,
        .data_directory = options->data_directory,
        .settings = options->settings,
        .setting_count = options->setting_count,
        .registry = options->registry};
}

struct error *build_is_null(
    const struct build_options *options, const char *const *targets, size_t target_count, bool *out)
{
    struct validity validity = make_validity(options);
    *out = false;
    TRY(owner_check(STATE_DIRECTORY));
    if (options->is_forced)
        return NULL;
    return compiled_is_null(&validity, STATE_DIRECTORY, targets, target_count, out);
}

static struct error *load_graph(struct build *build)
{
    const struct build_options *options = build->options;
    struct manifest_options manifest_options = {.path = options->manifest,
        .data_directory = options->data_directory,
        .settings = options->settings,
        .setting_count = options->setting_count};
    struct manifest *manifest;
    TRY(manifest_load(&build->arena, options->registry, &manifest_options, &manifest));
    build->cache = manifest->cache;
    if (options->cache != NULL && options->cache[0] != '\0')
        build->cache.path = options->cache;
    struct source_context context = {.arena = &build->arena,
        .lock_path = manifest->lock_path,
        .is_frozen = options->is_frozen,
        .is_offline = options->is_offline,
        .is_dry = options->is_dry,
        .is_refreshing = options->is_refreshing,
        .rate_bytes = options->rate_bytes,
        .connections = options->connections,
        .say = say_note,
        .say_context = build};
    return graph_build(&build->arena, manifest, options->registry, options->data_directory,
        &context, &build->graph);
}

static struct error *open_build(struct build *build)
{
    uint64_t start = clock_now_ns();
    TRY(owner_check(STATE_DIRECTORY));
    TRY(state_load(&build->arena, STATE_DIRECTORY, &build->state));
    build->stats.load_ns = clock_now_ns() - start;
    if (build->state->warning != NULL)
        run_say(build, EVENT_WARNING, NULL, build->state->warning);
    start = clock_now_ns();
    build->arena.budget = &build->planning;
    TRY(memory_budget_check(&build->planning, build->options->manifest, load_graph(build)));
    build->arena.budget = NULL; /* what it holds now stays, and what is found out is written down */
    build->stats.graph_ns = clock_now_ns() - start;
    TRY(begin_runs(build));
    return upgrade_trees(build);
}

struct error *build_open(
    const struct build_options *options, struct file_lock *lock, struct build **out)
{
    struct build *build = memory_alloc(sizeof *build);
    if (build == NULL) {
        file_lock_release(lock);
        return error_memory();
    }
    *build = (struct build){.options = options,
        .registry = options->registry,
        .lock = lock,
        .planning = {.bytes_max = PLANNING_BYTES_MAX}};
    struct error *error = open_build(build);
    if (error != NULL)
        build_close(build);
    else
        *out = build;
    return error;
}

void build_close(struct build *build)
{
    if (build == NULL)
        return;
    pool_close(build->pool);
    for (uint32_t i = 0; build->runs != NULL && i < build->graph->node_count; i++) {
        staging_end(build->runs[i].plan,
            build->runs[i].status == STATUS_SEALED || build->runs[i].is_sealing);
        arena_end(&build->runs[i].arena);
    }
    behind_close(build->behind);
    if (build->state != NULL)
        file_close(build->state->journal);
    file_lock_release(build->lock);
    arena_end(&build->arena);
    memory_free(build);
}

static struct error *say_waiting(const struct build_options *options, long holder)
{
    const char *line = "another psybuild is at work here";
    struct arena arena = {0};
    struct error *error = NULL;
    if (holder != 0)
        line = arena_format(&arena, "%s (process %ld)", line, holder);
    if (line != NULL && options->no_wait)
        error = error_new(ERROR_BUSY, "%s", line);
    else if (line != NULL)
        line = arena_format(&arena, "waiting: %s", line);
    if (line == NULL)
        error = error_memory();
    else if (error == NULL && options->on_event != NULL)
        options->on_event(
            options->context, &(struct build_event){.kind = EVENT_NOTE, .text = line});
    arena_end(&arena);
    return error;
}

static struct error *take_lock(const struct build_options *options, struct file_lock **out)
{
    const char *path = STATE_DIRECTORY "/lock";
    long holder = 0;
    TRY(owner_check(STATE_DIRECTORY));
    TRY(file_make_directories_synced(STATE_DIRECTORY));
    TRY(file_lock_take(path, false, out, &holder));
    if (*out != NULL)
        return NULL;
    TRY(say_waiting(options, holder));
    return file_lock_take(path, true, out, NULL);
}

/* What was waited for may have been removed meanwhile, with all that is beside it. */
struct error *build_lock(const struct build_options *options, struct file_lock **out)
{
    enum { TRIES_MAX = 100 };
    for (int tries = 0;; tries++) {
        struct file_lock *lock = NULL;
        TRY(take_lock(options, &lock));
        struct error *error = file_lock_check(lock);
        if (error == NULL) {
            *out = lock;
            return NULL;
        }
        file_lock_release(lock);
        if (tries == TRIES_MAX)
            return error;
        error_free(error);
    }
}

/* ---- runs ---- */

struct recovery {
    struct build *build;
    const bool *is_wanted;
    struct error *error; /* the first that counts */
};

static void tell_unfinished(void *context, const struct intent *intent, struct error *error)
{
    struct recovery *recovery = context;
    const struct graph *graph = recovery->build->graph;
    bool is_wanted = false;
    for (uint32_t i = 0; i < intent->record_count; i++) {
        uint32_t node = map_get(&graph->node_by_name, intent->records[i].name);
        is_wanted |= node != MAP_NONE && recovery->is_wanted[node];
    }
    if (is_wanted && recovery->error == NULL)
        recovery->error = error;
    else
        run_warn(recovery->build, NULL, error);
}

struct error *build_recover(struct build *build, const bool *is_wanted)
{
    struct recovery recovery = {.build = build, .is_wanted = is_wanted};
    TRY(journal_open(build->state, STATE_DIRECTORY));
    seal_recover(build, tell_unfinished, &recovery);
    return recovery.error;
}

struct error *build_save(struct build *build)
{
    TRY(run_check_lock(build));
    TRY(compiled_remove(STATE_DIRECTORY)); /* it knows of no record that went */
    return state_save(build->state, STATE_DIRECTORY);
}

/* What the next build can do without does not make this one fail. */
static void tell_hint(struct build *build, struct error *error, const char *doing)
{
    if (error != NULL)
        run_warn(build, NULL, error_wrap(error, "%s", doing));
}

static struct error *save(struct build *build)
{
    struct validity validity = make_validity(build->options);
    TRY(run_check_lock(build));
    for (uint32_t i = 0; i < build->graph->node_count; i++)
        build->is_state_changed |= build->runs[i].status == STATUS_SEALED;
    file_wait_tick(build->stamped_ns); /* no change from now on can share a stamp that is saved */
    /* not believed as long as there is a journal, which goes now */
    tell_hint(build, compiled_write(build, &validity, STATE_DIRECTORY),
        "noting that there is nothing to do");
    if (!build->is_state_changed && build->state->journal_sequence == 0)
        return journal_remove(build->state, STATE_DIRECTORY);
    TRY(state_save(build->state, STATE_DIRECTORY));
    if (build->is_cache_filled && build->cache.path != NULL)
        tell_hint(build, cache_trim(&build->arena, build->cache.path, build->cache.size_bytes),
            "trimming the cache");
    return NULL;
}

/* What was made is of one moment, but that may be over. */
static struct error *check_steady(struct build *build)
{
    TRY(run_check_lock(build));
    for (uint32_t i = 0; i < build->graph->node_count; i++) {
        const struct record *record = state_find_record(build->state, build->graph->nodes[i].name);
        const char *path = NULL;
        if (build->runs[i].status == STATUS_SEALED && record != NULL)
            TRY(stale_find_unsteady(build, record, &path));
        if (path != NULL)
            return error_new(ERROR_FAILED,
                "%s changed while the build was at work, after it was used: run psybuild again",
                path);
    }
    return NULL;
}

struct error *build_run(
    struct build *build, const char *const *targets, size_t target_count, uint32_t *failures)
{
    const struct graph *graph = build->graph;
    uint64_t start = clock_now_ns();
    bool *is_wanted = arena_array(&build->arena, 3 * (size_t)graph->node_count, sizeof *is_wanted);
    TRY(memory_check(is_wanted));
    bool *is_named = is_wanted + graph->node_count, *is_itself = is_named + graph->node_count;
    graph_find_itself(graph, targets, target_count, is_itself);
    TRY(graph_select(graph, targets, target_count, is_wanted, is_named));
    for (uint32_t i = 0; i < graph->node_count; i++) {
        build->runs[i].is_itself = is_itself[i];
        build->runs[i].is_forced =
            build->options->is_forced && is_named[i] && !graph->nodes[i].is_fetched;
    }
    *failures = 0;
    if (!build->options->is_dry)
        TRY(journal_open(build->state, STATE_DIRECTORY));
    struct error *error = schedule_run(build, is_wanted, failures);
    build->stats.run_ns = clock_now_ns() - start;
    if (build->options->is_dry)
        return error;
    start = clock_now_ns();
    struct error *saving = save(build);
    if (error == NULL)
        error = saving;
    else
        error_free(saving);
    if (error == NULL && *failures == 0)
        error = check_steady(build);
    build->stats.save_ns = clock_now_ns() - start;
    return error;
}

size_t build_list_downloads(
    const struct build *build, struct build_download *downloads, size_t count_max)
{
    size_t count = 0;
    for (uint32_t i = 0; i < build->graph->node_count && count < count_max; i++) {
        const struct node_run *run = &build->runs[i];
        if (!build->graph->nodes[i].is_fetched || run->status != STATUS_PLANNED ||
            run->plan == NULL)
            continue;
        uint64_t done = atomic_load_explicit(&run->bytes_done, memory_order_relaxed);
        uint64_t wanted = run->plan->bytes_to_read, size = run->plan->outputs[0].size_bytes;
        if (done == 0 || (wanted > 0 && done >= wanted))
            continue;
        bool is_sized = size != PLAN_SIZE_UNKNOWN && wanted <= size;
        downloads[count++] = (struct build_download){.node = build->graph->nodes[i].name,
            .bytes_done = is_sized ? size - wanted + done : done,
            .bytes_total = is_sized ? size : 0};
    }
    return count;
}
