/* build.c - opening a run, and the run that finds nothing to do. */
#include "engine/build.h"

#include <string.h>

#include "base/file_lock.h"
#include "engine/machine/behind.h"
#include "engine/plan/plan.h"
#include "engine/stale/quick.h"
#include "engine/stale/stale.h"

const struct task_type *registry_find(const struct registry *registry, const char *name)
{
    for (const struct task_type *const *type = registry->types; *type != NULL; type++)
        if (strcmp((*type)->name, name) == 0)
            return *type;
    return NULL;
}

void build_say(struct build *build, enum build_event_kind kind, const char *node, const char *text)
{
    if (build->options->on_event != NULL)
        build->options->on_event(build->options->context,
            &(struct build_event){.kind = kind, .node = node, .text = text});
}

void build_warn(struct build *build, const char *node, struct error *error)
{
    struct text report = text_of(error_report(error));
    report.length -= text_ends_with(report, "\n");
    char *line = arena_copy(&build->arena, report.bytes, report.length);
    for (char *at = line; at != NULL && (at = strstr(at, "\n    ")) != NULL;) {
        at[0] = ','; /* what was being done, on the same line */
        memmove(at + 1, at + 4, strlen(at + 4) + 1);
    }
    build_say(build, EVENT_WARNING, node, line == NULL ? "out of memory" : line);
    error_free(error);
}

struct error *build_add_file(
    struct build *build, const char *path, const char *location, uint32_t *out)
{
    const struct state_file *before = build->state->files;
    uint32_t known = map_get(&build->state->file_by_path, path);
    const char *was = known == MAP_NONE ? NULL : before[known].location;
    TRY(state_add_file(build->state, path, location, out));
    if (known != MAP_NONE && strcmp(was, build->state->files[known].location) != 0)
        build->files[known] = (struct file_run){0};
    while (build->file_capacity < build->state->file_count) {
        size_t count = build->file_capacity;
        build->files = arena_grow(
            &build->arena, build->files, count, &build->file_capacity, sizeof *build->files);
        if (build->files == NULL)
            return error_memory();
    }
    return NULL;
}

static struct error *begin_runs(struct build *build)
{
    build->runs = arena_array(&build->arena, build->graph->node_count, sizeof *build->runs);
    build->file_capacity = build->state->file_count;
    build->files = arena_array(&build->arena, build->file_capacity, sizeof *build->files);
    return build->runs == NULL || build->files == NULL ? error_memory() : NULL;
}

struct error *build_check_lock(const struct build *build)
{
    return build->lock == NULL ? NULL : file_lock_check(build->lock);
}

static void say_note(void *context, const char *line)
{
    build_say(context, EVENT_NOTE, NULL, line);
}

static struct validity make_validity(const struct build_options *options)
{
    return (struct validity){.manifest = options->manifest,
        .data_directory = options->data_directory,
        .settings = options->settings,
        .setting_count = options->setting_count,
        .registry = options->registry};
}

struct error *build_is_null_at_once(const struct build_options *options, bool *out)
{
    struct validity validity = make_validity(options);
    *out = false;
    if (options->is_forced)
        return NULL;
    return quick_check(STATE_DIRECTORY, &validity, out);
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

static struct error *open_build(struct build *build, bool only_shadow)
{
    const struct build_options *options = build->options;
    uint64_t start = clock_now_ns();
    TRY(state_load(&build->arena, STATE_DIRECTORY, &build->state));
    bool is_current;
    TRY(validity_is_current(&build->validity, build->state->validity, &is_current));
    is_current &= build->state->graph != NULL;
    build->stats.load_ns = clock_now_ns() - start;
    if (build->state->warning != NULL)
        build_say(build, EVENT_WARNING, NULL, build->state->warning);
    start = clock_now_ns();
    build->is_compiled_current = is_current;
    if (only_shadow && !is_current)
        return NULL;
    if (only_shadow) {
        build->graph = build->state->graph;
        build->graph->registry = options->registry;
    } else {
        TRY(load_graph(build));
    }
    build->stats.graph_ns = clock_now_ns() - start;
    return begin_runs(build);
}

struct error *build_open(const struct build_options *options, bool only_shadow, struct build **out)
{
    struct build *build = memory_alloc(sizeof *build);
    if (build == NULL)
        return error_memory();
    *build = (struct build){
        .options = options, .registry = options->registry, .validity = make_validity(options)};
    struct error *error = open_build(build, only_shadow);
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
        plan_end(build->runs[i].plan,
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

static struct error *take_lock(struct build *build)
{
    TRY(file_make_directories_synced(STATE_DIRECTORY));
    const char *path = STATE_DIRECTORY "/lock";
    long holder = 0;
    TRY(file_lock_take(path, false, &build->lock, &holder));
    if (build->lock != NULL)
        return NULL;
    const char *line = "another psybuild is at work here";
    if (holder != 0)
        line = arena_format(&build->arena, "%s (process %ld)", line, holder);
    if (line != NULL && build->options->no_wait)
        return error_new(ERROR_BUSY, "%s", line);
    line = line == NULL ? NULL : arena_format(&build->arena, "waiting: %s", line);
    if (line == NULL)
        return error_memory();
    build_say(build, EVENT_NOTE, NULL, line);
    return file_lock_take(path, true, &build->lock, NULL);
}

/* What was waited for may have been removed meanwhile, with all that is beside it. */
struct error *build_lock(struct build *build)
{
    enum { TRIES_MAX = 100 };
    for (int tries = 0;; tries++) {
        TRY(take_lock(build));
        struct error *error = build_check_lock(build);
        if (error == NULL || tries == TRIES_MAX)
            return error;
        error_free(error);
        file_lock_release(build->lock);
        build->lock = NULL;
    }
}

struct error *build_is_null(
    struct build *build, const char *const *targets, size_t target_count, bool *out)
{
    const struct graph *graph = build->graph;
    *out = false;
    if (!build->is_compiled_current) /* the graph is to be compiled into the state again */
        return NULL;
    bool *is_wanted = arena_array(&build->arena, graph->node_count, sizeof *is_wanted);
    bool *is_named = arena_array(&build->arena, graph->node_count, sizeof *is_named);
    bool *is_itself = arena_array(&build->arena, graph->node_count, sizeof *is_itself);
    if (is_wanted == NULL || is_named == NULL || is_itself == NULL)
        return error_memory();
    graph_find_itself(graph, targets, target_count, is_itself);
    if (build->state->has_journal || build->options->is_forced)
        return NULL;
    struct error *error = graph_select(graph, targets, target_count, is_wanted, is_named);
    if (error != NULL) {
        error_free(error); /* the closer look will say it again, with the manifest at hand */
        return NULL;
    }
    for (uint32_t i = 0; i < graph->node_count; i++) {
        bool is_fresh = true;
        if (is_wanted[i])
            TRY(stale_is_fresh_by_stamps(build, &graph->nodes[i], is_itself[i], &is_fresh));
        if (!is_fresh)
            return NULL;
    }
    *out = true;
    return NULL;
}
