/* merge.c - task "merge": the shards of a checkpoint as one safetensors file, the tensors
 * unchanged.
 *
 * As a view ("keep": "never") it is never written out: its readers see the shards. A piece is a run
 * of rows of one tensor, copied. */
#include <string.h>

#include "base/wire.h"
#include "engine/task.h"
#include "tasks/formats/dtype.h"
#include "tasks/registry.h"
#include "tasks/weights.h"

static struct error *make_outputs(
    struct arena *arena, const struct weights *weights, struct weights_output **out)
{
    struct weights_output *outputs = arena_array(arena, weights->tensor_count, sizeof *outputs);
    TRY(memory_check(outputs));
    for (uint32_t i = 0; i < weights->tensor_count; i++) {
        const struct tensor *tensor = weights->tensors[i].tensor;
        TRY(weights_output_make(
            tensor->name, tensor->dtype, tensor->rank, tensor->shape, &outputs[i]));
    }
    *out = outputs;
    return NULL;
}

static struct error *plan_tensor(struct plan *plan, const struct weights *weights,
    const struct weights_tensor *input, const struct weights_files *files,
    const struct weights_output *output)
{
    struct weights_run run = weights_begin_run(input->tensor);
    while (weights_next_run(&run)) {
        struct piece piece = {.input_count = 1, .output_count = 1};
        piece.inputs[0] = weights_range(input->tensor, weights->shards[input->shard].input, &run);
        piece.outputs[0] = weights_range(&output->tensor, files->items[output->file].output, &run);
        struct buffer key = {0}; /* what the rows hold is the input's */
        weights_put_rows(&key, input->tensor, &run);
        TRY(weights_plan_piece(plan, &key, &piece));
    }
    return NULL;
}

static uint64_t count_elements(const struct weights *weights)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < weights->tensor_count; i++)
        count += weights->tensors[i].tensor->size_bytes /
                 dtype_size_bytes(weights->tensors[i].tensor->dtype);
    return count;
}

static struct error *merge_plan(struct plan *plan, const struct node *node)
{
    (void)node;
    struct weights weights;
    struct weights_output *outputs = NULL;
    struct weights_files files;
    uint64_t size_bytes_max;
    TRY(weights_read(plan, &weights));
    TRY(make_outputs(plan_arena(plan), &weights, &outputs));
    TRY(weights_shard_limit(plan, WEIGHTS_SHARD_BYTES_NONE, &size_bytes_max));
    TRY(weights_arrange(plan_arena(plan), plan_name(plan), outputs, weights.tensor_count,
        size_bytes_max, "pt", &files));
    struct layout layout = {
        .total_parameters = count_elements(&weights), .quantization = TEXT_EMPTY};
    TRY(weights_publish(plan, &files, weights.tensor_count, &layout));
    for (uint32_t i = 0; i < weights.tensor_count; i++)
        TRY(plan_tensor(plan, &weights, &weights.tensors[i], &files, &outputs[i]));
    return NULL;
}

static struct error *merge_make(struct work *work, const struct piece *piece)
{
    const void *bytes;
    TRY(work_read(work, 0, &bytes));
    memcpy(work_buffer(work, 0), bytes, (size_t)piece->inputs[0].size_bytes);
    return NULL;
}

static const struct role_spec merge_roles[] = {
    {.name = "weights",
        .is_many = true,
        .is_required = true,
        .help = "the checkpoint's safetensors files"},
    {.name = "index", .help = "its model.safetensors.index.json, to check the files against"},
    {.name = NULL},
};

static const char *const shard_words[] = {"none", NULL};
static const struct param_spec merge_params[] = {
    {.name = "max_shard_size",
        .type = PARAM_SIZE,
        .words = shard_words,
        .help = "tensor data of a file at most; default none: one file"},
    {.name = NULL},
};

const struct task_type task_merge = {
    .name = "merge",
    .help = "the shards of a checkpoint as one file, the tensors unchanged",
    .version = 1,
    .can_be_view = true,
    .roles = merge_roles,
    .params = merge_params,
    .plan = merge_plan,
    .make = merge_make,
};
