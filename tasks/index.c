/* index.c - task "index": model.safetensors.index.json, from the weights' layout alone
 * (docs/formats.md, "Index"). One output, one text. */
#include "tasks/index.h"

#include "base/json_write.h"
#include "engine/task.h"

struct error *index_render(struct arena *arena, const struct layout *layout, struct text *out)
{
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_CONFIG);
    TRY(memory_check(writer));
    uint64_t total_size = 0;
    for (uint32_t i = 0; i < layout->tensor_count; i++)
        total_size += layout->tensors[i].size_bytes;
    json_write_object_begin(writer);
    json_member_object_begin(writer, "metadata");
    json_member_u64(writer, "total_size", total_size);
    json_member_u64(writer, "total_parameters", layout->total_parameters);
    json_write_object_end(writer);
    json_member_object_begin(writer, "weight_map");
    for (uint32_t i = 0; i < layout->tensor_count; i++) { /* they come by name */
        json_member_string(writer, layout->tensors[i].name, layout->files[layout->tensors[i].file]);
    }
    json_write_object_end(writer);
    json_write_object_end(writer);
    return json_writer_finish(writer, out);
}

static struct error *index_plan(struct plan *plan, const struct node *node)
{
    (void)node;
    struct text bytes, text;
    struct layout layout;
    TRY(plan_read_layout(plan, "weights", &bytes));
    TRY(layout_decode(plan_arena(plan), plan_name(plan), bytes, &layout));
    TRY(index_render(plan_arena(plan), &layout, &text));
    return plan_output_text(plan, plan_name(plan), text);
}

static const struct role_spec index_roles[] = {
    {.name = "weights",
        .is_many = true,
        .is_required = true,
        .reads = ROLE_LAYOUT,
        .help = "the node that makes the weights"},
    {.name = NULL},
};

const struct task_type task_index = {
    .name = "index",
    .help = "model.safetensors.index.json of a model directory",
    .version = 1,
    .roles = index_roles,
    .plan = index_plan,
};
