/* record.c - from plan and run to record. */
#include "engine/plan/record.h"

#include <string.h>

#include "engine/run/files.h"

static struct error *copy_reads(struct build *build, const struct plan *plan, struct record *record)
{
    record->reads = arena_array(&build->arena, plan->read_count, sizeof *record->reads);
    TRY(memory_check(record->reads));
    for (uint32_t i = 0; i < plan->read_count; i++) {
        struct record_read *read = &record->reads[i];
        *read = plan->reads[i];
        read->detail = arena_copy(&build->arena, read->detail, strlen(read->detail));
        if (read->shown != NULL)
            read->shown = arena_copy(&build->arena, read->shown, strlen(read->shown));
        if (read->detail == NULL || (plan->reads[i].shown != NULL && read->shown == NULL))
            return error_memory();
        if (read->file == FILE_NONE || read->kind == READ_NAMES || read->kind == READ_ABSENT)
            continue;
        const char *path = build->state->files[read->file].path;
        if (!files_find_tree(build, path, &read->seen))
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
        TRY(run_add_file(build, output->path, NULL, &file));
        run->record.made[i] = (struct record_made){.file = file,
            .has_tree = output->has_tree,
            .tree = output->tree,
            .identity = output->identity};
        const char *staged = output->is_unchanged ? output->path
                                                  : arena_copy(&build->arena, output->staged,
                                                        strlen(output->staged));
        TRY(memory_check(staged));
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

/* A restored node's record is the one it was restored by: what it read is the same. */
static void take_past(struct build *build, const struct record *past, struct record *record)
{
    record->reads = past->reads;
    record->read_count = past->read_count;
    for (uint32_t i = 0; i < record->read_count; i++) {
        struct record_read *read = &record->reads[i];
        if (read->file != FILE_NONE && read->kind != READ_NAMES && read->kind != READ_ABSENT)
            (void)files_find_tree(build, build->state->files[read->file].path, &read->seen);
    }
}

struct error *record_make(struct build *build, uint32_t index)
{
    const struct node *node = &build->graph->nodes[index];
    struct node_run *run = &build->runs[index];
    run->record = (struct record){.name = node->name,
        .manifest = build->options->manifest,
        .declaration = node->declaration,
        .key = node->key,
        .layout = node->is_fetched && !node->gives_back ? TEXT_EMPTY : run->layout,
        .figures = run->plan->figures,
        .duration_ns = clock_now_ns() - run->started_ns};
    if (run->plan->restored != NULL)
        take_past(build, run->plan->restored, &run->record);
    else
        TRY(copy_reads(build, run->plan, &run->record));
    return list_made(build, run);
}

struct error *record_check_input(struct build *build, const struct plan_input *input)
{
    bool is_same;
    if (input->is_staged || input->handle == NULL)
        return NULL;
    TRY(file_is_still(input->location, &build->files[input->file].stamp, false, &is_same));
    return is_same ? NULL : error_new(ERROR_FAILED, "%s changed while it was read", input->path);
}

struct error *record_check_copied(struct build *build, const struct plan *plan)
{
    for (uint32_t i = 0; plan->previous != NULL && i < plan->previous->output_count; i++) {
        const char *path = plan->previous->outputs[i].path;
        uint32_t file = map_get(&build->state->file_by_path, path);
        bool is_same = false;
        if (!plan->is_copied_from[i])
            continue;
        if (file != MAP_NONE)
            TRY(file_is_still(path, &build->files[file].stamp, false, &is_same));
        if (!is_same)
            return error_new(ERROR_FAILED, "%s changed while it was read", path);
    }
    return NULL;
}

struct error *record_end_log(struct build *build, uint32_t index)
{
    struct plan *plan = build->runs[index].plan;
    struct hash128 generation;
    if (plan->log == NULL)
        return NULL;
    struct piece_file *inputs = arena_array(plan->arena, plan->input_count, sizeof *inputs);
    TRY(memory_check(inputs));
    for (uint32_t i = 0; i < plan->input_count; i++)
        inputs[i].has_tree = files_find_tree(build, plan->inputs[i].path, &inputs[i].tree);
    TRY(state_generation(build->state, &build->runs[index].record, &generation));
    return pieces_end(plan->log, &generation, inputs);
}

struct error *record_keep_tree(struct build *build, const struct plan_input *input)
{
    struct hash128 now;
    if (input->segments == NULL || input->is_staged || input->is_awaited ||
        !segments_are_known(input->segments))
        return NULL;
    struct hash128 tree = segments_tree(input->segments);
    if (files_find_tree(build, input->path, &now))
        return hash_equal(&now, &tree)
                   ? NULL
                   : error_new(ERROR_FAILED, "%s changed while it was read", input->path);
    struct file_run *run = &build->files[input->file];
    struct state_file *known = &build->state->files[input->file];
    known->tree = tree;
    known->has_tree = true;
    known->stamp = run->stamp;
    run->look = LOOK_CURRENT;
    return journal_put_file(build->state, input->file);
}
