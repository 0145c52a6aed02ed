/* run.c - events, and files that are new to the tables. */
#include "engine/run/run.h"

#include <string.h>

#include "base/file_lock.h"

void run_say(struct build *build, enum build_event_kind kind, const char *node, const char *text)
{
    if (build->options->on_event != NULL)
        build->options->on_event(build->options->context,
            &(struct build_event){.kind = kind, .node = node, .text = text});
}

void run_warn(struct build *build, const char *node, struct error *error)
{
    struct text report = text_of(error_report(error));
    report.length -= text_ends_with(report, "\n");
    char *line = arena_copy(&build->arena, report.bytes, report.length);
    for (char *at = line; at != NULL && (at = strstr(at, "\n    ")) != NULL;) {
        at[0] = ','; /* what was being done, on the same line */
        memmove(at + 1, at + 4, strlen(at + 4) + 1);
    }
    run_say(build, EVENT_WARNING, node, line == NULL ? "out of memory" : line);
    error_free(error);
}

struct error *run_add_file(
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
        TRY(memory_check(build->files));
    }
    return NULL;
}

struct error *run_check_lock(const struct build *build)
{
    return build->lock == NULL ? NULL : file_lock_check(build->lock);
}
