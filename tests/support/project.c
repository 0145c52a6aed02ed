/* project.c - what cli/ does around the engine, without a command line. */
#include "tests/support/project.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include <cmocka.h>

#include "tasks/registry.h"

struct error *project_load(struct project *project, const char *text)
{
    if (text != NULL)
        tree_write("psybuild.json", text);
    if (project->data_directory == NULL)
        project->data_directory = "data";
    struct manifest_options options = {.path = "psybuild.json",
        .data_directory = project->data_directory,
        .settings = project->settings,
        .setting_count = project->setting_count};
    return manifest_load(&project->arena, &registry, &options, &project->manifest);
}

struct error *project_link(struct project *project, const char *text)
{
    TRY(project_load(project, text));
    struct source_context context = {
        .arena = &project->arena, .lock_path = project->manifest->lock_path, .is_offline = true};
    return graph_build(&project->arena, project->manifest, &registry, project->data_directory,
        &context, &project->graph);
}

void project_end(struct project *project)
{
    arena_end(&project->arena);
    *project = (struct project){0};
}

const struct node *project_node(const struct project *project, const char *name)
{
    uint32_t index = map_get(&project->graph->node_by_name, name);
    if (index == MAP_NONE)
        print_error("there is no node %s\n", name);
    assert_true(index < project->graph->node_count);
    return &project->graph->nodes[index];
}

const char *project_refs(struct project *project, const char *name, const char *role)
{
    const struct node *node = project_node(project, name);
    const char *list = "";
    for (uint32_t i = 0; i < node->input_count; i++) {
        const struct node_input *input = &node->inputs[i];
        for (uint32_t k = 0; strcmp(input->role, role) == 0 && k < input->ref_count; k++) {
            list = arena_format(&project->arena, "%s%s%s%s", list, list[0] == '\0' ? "" : " ",
                input->refs[k].path, input->refs[k].is_absent ? "?" : "");
            assert_non_null(list);
        }
    }
    return list;
}

/* ---- runs ---- */

static void say(struct project_run *run, const char *word, const struct build_event *event)
{
    const char *text = event->error != NULL  ? error_text(event->error)
                       : event->text != NULL ? event->text
                                             : "";
    run->said =
        arena_format(&run->arena, "%s%s%s%s%s%s\n", run->said, word, event->node == NULL ? "" : " ",
            event->node == NULL ? "" : event->node, text[0] == '\0' ? "" : ": ", text);
    assert_non_null(run->said);
}

static void on_event(void *context, const struct build_event *event)
{
    static const char *const words[] = {[EVENT_STALE] = "stale",
        [EVENT_SEALED] = "sealed",
        [EVENT_GIVEN_BACK] = "given back",
        [EVENT_CONFIRMED] = "confirmed",
        [EVENT_WARNING] = "warning",
        [EVENT_NOTE] = "note",
        [EVENT_FAILED] = "failed"};
    struct project_run *run = context;
    if (event->kind != EVENT_STARTED && event->kind != EVENT_DONE)
        say(run, words[event->kind], event);
    if (run->on_event != NULL)
        run->on_event(run, event);
}

static struct error *run_build(struct project_run *run, struct build *build)
{
    const char *const *targets = &run->target;
    size_t count = run->target == NULL ? 0 : 1;
    struct error *error = build_run(build, targets, count, &run->failures);
    run->stats = build->stats;
    return error;
}

struct error *project_run(struct project_run *run)
{
    _Atomic bool cancel = false;
    struct build_options options = {.manifest = "psybuild.json",
        .data_directory = "data",
        .registry = &registry,
        .threads = run->threads == 0 ? 2 : run->threads,
        .connections = 1,
        .memory_bytes = run->memory_bytes == 0 ? 16 << 20 : run->memory_bytes,
        .load_max = run->load_max,
        .is_dry = run->is_dry,
        .is_forced = run->is_forced,
        .no_wait = true,
        .cancel = &cancel,
        .on_event = on_event,
        .context = run};
    run->said = arena_format(&run->arena, "%s", "");
    assert_non_null(run->said);
    struct build *build = NULL;
    struct file_lock *lock = NULL;
    TRY(build_is_null(&options, &run->target, run->target != NULL, &run->is_null));
    if (run->is_null)
        return NULL;
    if (!run->is_dry)
        TRY(build_lock(&options, &lock));
    TRY(build_open(&options, lock, &build));
    struct error *error = run_build(run, build);
    build_close(build);
    return error;
}

void project_run_end(struct project_run *run)
{
    arena_end(&run->arena);
    *run = (struct project_run){0};
}

void project_assert_run(const char *want)
{
    struct project_run run = {0};
    tree_assert_ok(project_run(&run));
    assert_string_equal(run.said, want);
    assert_int_equal(run.failures, 0);
    project_run_end(&run);
}
