/* staging.c - staged files and their log, from the first byte until the plan ends. */
#include "engine/plan/staging.h"

#include <string.h>

#include "base/directory.h"
#include "engine/machine/behind.h"
#include "engine/run/files.h"
#include "engine/plan/inputs.h"

struct text staging_head(const struct plan_output *output)
{
    for (uint32_t i = 0; i < output->byte_count; i++)
        if (output->bytes[i].offset == 0)
            return output->bytes[i].bytes;
    return TEXT_EMPTY;
}

/* The identity of a file of a source, which may come and go; the content of one made in this run;
 * the stamp of others. */
struct hash128 staging_version(const struct plan *plan, const struct plan_input *input)
{
    struct build *build = plan->build;
    struct hash128 tree;
    if (input->is_staged && files_find_tree(build, input->path, &tree))
        return tree; /* its stamp is that of the file it will replace */
    const struct node *producer =
        input->producer == NODE_NONE ? NULL : &build->graph->nodes[input->producer];
    if (producer != NULL && producer->source != NULL)
        return hash_text(text_of(producer->source->identity));
    return hash_bytes(&build->files[input->file].stamp, sizeof(struct file_stamp));
}

static struct error *stage_output(struct plan *plan, struct plan_output *output)
{
    output->staged = places_staged(plan->arena, plan->stage, output->path);
    TRY(memory_check(output->staged));
    if (!plan->is_resumed || output->is_text)
        TRY(file_remove(output->staged)); /* left by a killed build: never written through */
    TRY(file_open_staged(output->staged, &output->handle));
    if (output->size_bytes != PLAN_SIZE_UNKNOWN && file_size(output->handle) != output->size_bytes)
        TRY(file_set_size(output->handle, output->size_bytes));
    for (uint32_t i = 0; i < output->byte_count; i++)
        TRY(file_write_at(output->handle, output->bytes[i].offset, output->bytes[i].bytes.bytes,
            output->bytes[i].bytes.length));
    return NULL;
}

static struct error *begin_log(struct plan *plan)
{
    const char *path = places_partial_log(plan->arena, plan->directory);
    struct piece_file *inputs = arena_array(plan->arena, plan->input_count, sizeof *inputs);
    struct piece_file *outputs = arena_array(plan->arena, plan->output_count, sizeof *outputs);
    if (path == NULL || inputs == NULL || outputs == NULL)
        return error_memory();
    for (uint32_t i = 0; i < plan->input_count; i++)
        inputs[i] = (struct piece_file){
            .path = plan->inputs[i].path, .head = staging_version(plan, &plan->inputs[i])};
    for (uint32_t i = 0; i < plan->output_count; i++)
        outputs[i] = (struct piece_file){.path = plan->outputs[i].path,
            .size_bytes = plan->outputs[i].size_bytes,
            .head = hash_text(staging_head(&plan->outputs[i]))};
    TRY(pieces_begin(
        plan->arena, path, inputs, plan->input_count, outputs, plan->output_count, &plan->log));
    if (!plan->outputs[0].is_blocks) /* what is downloaded is not taken over */
        plan->log_path = path;
    return NULL;
}

static struct error *check_space(struct plan *plan)
{
    uint64_t wanted = 0, found;
    for (uint32_t i = 0; i < plan->output_count; i++) {
        const struct plan_output *output = &plan->outputs[i];
        if (!output->is_unchanged && output->size_bytes != PLAN_SIZE_UNKNOWN)
            wanted += output->size_bytes;
    }
    if (plan->is_resumed)
        return NULL; /* most of it may be there already; writing will tell */
    TRY(file_space_free(plan->stage, &found));
    if (wanted <= found)
        return NULL;
    char want[SIZE_TEXT_MAX], have[SIZE_TEXT_MAX];
    return error_new(ERROR_IO, "%s: needs %s of disk space, %s are free", plan->node->name,
        size_print(want, wanted), size_print(have, found));
}

static struct error *write_behind(struct build *build, struct plan_output *output)
{
    uint64_t memory_bytes = build->options->memory_bytes;
    if (build->behind == NULL) {
        TRY(behind_open(memory_bytes, &build->behind));
        pool_give_up(build->pool, behind_memory(memory_bytes));
    }
    return behind_add(build->behind, output->handle, &output->behind);
}

/* What is downloaded is read again soon, at least by its digest; so are outputs that a hash is
 * declared of, and those that the cache has. */
static struct error *spare_cache(struct plan *plan)
{
    uint64_t limit = plan->build->options->page_cache_bytes;
    uint64_t moved = plan->bytes_to_read + plan->bytes_to_write;
    if (limit == 0 || moved <= limit || plan->node->type->is_network)
        return NULL;
    plan->spares_cache = true;
    for (uint32_t i = 0; i < plan->input_count; i++)
        if (plan->inputs[i].handle != NULL)
            file_spare_cache(plan->inputs[i].handle);
    if (plan->node->expected_hash != NULL || plan->restored != NULL)
        return NULL;
    for (uint32_t i = 0; i < plan->output_count; i++) {
        struct plan_output *output = &plan->outputs[i];
        if (output->handle == NULL || output->size_bytes == PLAN_SIZE_UNKNOWN)
            continue;
        file_spare_cache(output->handle);
        if (file_spares_cache(output->handle) && !output->is_text)
            TRY(write_behind(plan->build, output));
    }
    return NULL;
}

struct error *staging_begin(struct plan *plan)
{
    const char *files = places_files(plan->arena, plan->stage);
    TRY(memory_check(files));
    TRY(check_space(plan));
    if (!plan->is_resumed)
        TRY(places_remove_partial(plan->arena, plan->directory, plan->stage)); /* of another plan */
    if (strcmp(plan->directory, plan->stage) != 0)
        TRY(file_make_directories(plan->directory));
    TRY(file_make_directories(files));
    for (uint32_t i = 0; i < plan->output_count; i++)
        if (!plan->outputs[i].is_unchanged)
            TRY(stage_output(plan, &plan->outputs[i]));
    if (!plan->is_streamed && plan->piece_count > 0)
        TRY(begin_log(plan));
    return spare_cache(plan);
}

void staging_close(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->input_count; i++)
        inputs_close(&plan->inputs[i]);
    for (uint32_t i = 0; i < plan->output_count; i++) {
        behind_remove(plan->outputs[i].behind);
        plan->outputs[i].behind = NULL;
        file_close(plan->outputs[i].handle);
        plan->outputs[i].handle = NULL;
    }
}

void staging_discard(struct plan *plan)
{
    plan->recorded_count = 0;
}

void staging_end(struct plan *plan, bool is_sealing)
{
    if (plan == NULL)
        return;
    staging_close(plan);
    if (plan->end_context != NULL)
        plan->end_context(plan->context);
    bool is_staged = plan->log != NULL || plan->log_path != NULL;
    for (uint32_t i = 0; i < plan->output_count; i++)
        is_staged |= plan->outputs[i].staged != NULL;
    pieces_close(plan->log);
    memory_free(plan->pieces);
    memory_free(plan->piece_runs);
    memory_budget_give(
        &plan->build->planning, plan->piece_capacity * sizeof *plan->pieces +
                                    plan->piece_run_capacity * sizeof *plan->piece_runs);
    if (is_staged && !is_sealing && plan->recorded_count == 0)
        /* or it is cleaned later */
        error_free(places_remove_partial(plan->arena, plan->directory, plan->stage));
}
