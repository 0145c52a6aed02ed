/* inputs.c - files to be read: found, opened with a stamp, foreseen, read. */
#include "engine/plan/inputs.h"

#include <string.h>

#include "base/file_whole.h"
#include "engine/run/files.h"

static struct error *add_input(struct plan *plan, size_t *capacity, const struct plan_input *input)
{
    plan->inputs =
        arena_grow(plan->arena, plan->inputs, plan->input_count, capacity, sizeof *plan->inputs);
    TRY(memory_check(plan->inputs));
    plan->inputs[plan->input_count++] = *input;
    return NULL;
}

/* A file that is fetched in this run and has not its name yet, or was given back: what is known of
 * it is its size and header. */
static bool is_elsewhere(const struct node_run *run, const struct node *producer)
{
    return producer->is_fetched && (run->status < STATUS_SEALED || run->is_given_back);
}

/* The files that a reference stands for now; a producer may have made none. */
static struct error *add_ref_inputs(struct plan *plan, size_t *capacity,
    const struct node_input *role, const struct node_ref *ref, uint32_t *next)
{
    struct plan_input input = {.role = role->role,
        .path = ref->path,
        .location = ref->location,
        .producer = ref->producer};
    if (ref->producer == NODE_NONE) {
        input.role_index = (*next)++;
        return ref->is_absent ? ((*next)--, NULL) : add_input(plan, capacity, &input);
    }
    const struct node_run *run = &plan->build->runs[ref->producer];
    const struct node *producer = &plan->build->graph->nodes[ref->producer];
    if (is_elsewhere(run, producer)) {
        input.location = producer->name;
        input.is_awaited = true;
        input.role_index = (*next)++;
        return add_input(plan, capacity, &input);
    }
    for (uint32_t i = 0; i < run->file_count; i++) {
        const struct made_file *made = &run->files[i];
        if (strcmp(ref->path, producer->name) != 0 && strcmp(ref->path, made->path) != 0)
            continue;
        input.path = made->path;
        input.location = made->location;
        input.is_staged = run->status == STATUS_MADE && strcmp(made->location, made->path) != 0;
        input.role_index = (*next)++;
        TRY(add_input(plan, capacity, &input));
    }
    return NULL;
}

struct error *inputs_resolve(struct plan *plan)
{
    size_t capacity = 0;
    for (uint32_t i = 0; i < plan->node->input_count; i++) {
        const struct node_input *role = &plan->node->inputs[i];
        uint32_t next = 0;
        for (uint32_t k = 0; role->reads == ROLE_CONTENT && k < role->ref_count; k++)
            TRY(add_ref_inputs(plan, &capacity, role, &role->refs[k], &next));
    }
    for (uint32_t i = 0; i < plan->input_count; i++) {
        struct plan_input *input = &plan->inputs[i];
        TRY(run_add_file(
            plan->build, input->path, input->is_staged ? NULL : input->location, &input->file));
    }
    return NULL;
}

struct plan_input *inputs_find(const struct plan *plan, const char *role, size_t index)
{
    for (uint32_t i = 0; i < plan->input_count; i++)
        if (plan->inputs[i].role_index == index && strcmp(plan->inputs[i].role, role) == 0)
            return &plan->inputs[i];
    return NULL;
}

struct error *inputs_need(
    const struct plan *plan, const char *role, size_t index, struct plan_input **out)
{
    *out = inputs_find(plan, role, index);
    if (*out != NULL)
        return NULL;
    return error_new(ERROR_MISSING, "%s: role \"%s\" has no file", plan->node->name, role);
}

/* Before a file is read for the first time in this run: a stamp that no later change can share.
 * What is known of another content is forgotten. */
static struct error *touch_file(struct build *build, uint32_t file)
{
    struct file_run *run = &build->files[file];
    struct state_file *known = &build->state->files[file];
    TRY(files_look(build, file));
    if (run->look == LOOK_CURRENT || (run->look == LOOK_CHANGED && run->is_settled))
        return NULL;
    TRY(file_stat_settled(known->location, &run->stamp));
    run->is_settled = true;
    run->look = LOOK_CHANGED;
    known->has_tree = false;
    known->identity = "";
    return NULL;
}

struct error *inputs_open(struct plan *plan, struct plan_input *input)
{
    if (input->handle != NULL || input->is_awaited)
        return NULL;
    if (!input->is_staged)
        TRY(touch_file(plan->build, input->file));
    TRY(file_open(input->location, &input->handle));
    if (plan->spares_cache)
        file_spare_cache(input->handle);
    return NULL;
}

void inputs_close(struct plan_input *input)
{
    file_close(input->handle);
    input->handle = NULL;
}

/* What is planned of weights grows with them: each file that is read in pieces adds to what
 * planning may hold, once in a run. */
static void allow_for(struct build *build, const struct plan_input *input, uint64_t size_bytes)
{
    uint64_t more = size_bytes / PLANNING_SHARE;
    if (!build->files[input->file].is_allowed_for)
        build->planning.bytes_max +=
            (size_t)(more < PLANNING_FILE_BYTES_MAX ? more : PLANNING_FILE_BYTES_MAX);
    build->files[input->file].is_allowed_for = true;
}

/* From what was heard beforehand of a file that is not here. */
static struct error *foresee_segments(struct plan *plan, struct plan_input *input)
{
    const struct node *producer = &plan->build->graph->nodes[input->producer];
    struct text head = plan->build->runs[input->producer].layout;
    if (head.length == 0 || producer->source->size_bytes == PLAN_SIZE_UNKNOWN)
        return error_new(ERROR_MISSING, "%s is not here yet", input->path);
    allow_for(plan->build, input, producer->source->size_bytes);
    TRY(segments_of_plan(plan->arena, plan->build->registry, input->path, head,
        producer->source->size_bytes, &input->segments));
    if (input->segments->count == 0 || segments_at(input->segments, 0).size_bytes != head.length)
        return error_new(ERROR_FORMAT, "%s: what was heard of it is no header", input->path);
    struct hash128 hash = hash_text(head);
    TRY(segments_reserve(input->segments, 0, 1));
    segments_set(input->segments, 0, &hash);
    return NULL;
}

struct error *inputs_arrive(struct plan *plan, struct plan_input *input, bool *is_same)
{
    struct build *build = plan->build;
    const struct node_run *producer = &build->runs[input->producer];
    *is_same = producer->file_count == 1;
    if (!*is_same)
        return NULL;
    input->is_awaited = false;
    input->location = producer->files[0].location;
    TRY(run_add_file(build, input->path, input->location, &input->file));
    TRY(inputs_open(plan, input));
    if (input->segments == NULL)
        return NULL;
    struct segments *found;
    TRY(segments_of_file(plan->arena, build->registry, input->handle, input->path, &found));
    *is_same = segments_have_same_cut(found, input->segments);
    const struct hash128 *wanted = found->count == 0 ? NULL : segments_hash(input->segments, 0);
    if (!*is_same || wanted == NULL || segments_at(found, 0).size_bytes > HEADER_BYTES_MAX)
        return NULL;
    size_t size = (size_t)segments_at(found, 0).size_bytes;
    char *bytes = arena_alloc(plan->arena, size + 1);
    TRY(memory_check(bytes));
    TRY(file_read_at(input->handle, 0, bytes, size));
    struct hash128 hash = hash_bytes(bytes, size);
    *is_same = hash_equal(&hash, wanted);
    return NULL;
}

bool inputs_are_awaited(const struct plan *plan)
{
    for (uint32_t i = 0; i < plan->input_count; i++)
        if (plan->inputs[i].is_awaited)
            return true;
    return false;
}

struct error *inputs_need_segments(struct plan *plan, struct plan_input *input)
{
    if (input->segments != NULL)
        return NULL;
    if (input->is_awaited)
        return foresee_segments(plan, input);
    TRY(inputs_open(plan, input));
    allow_for(plan->build, input, file_size(input->handle));
    const struct segments *known = plan->build->files[input->file].segments;
    TRY(segments_of_file(
        plan->arena, plan->build->registry, input->handle, input->path, &input->segments));
    if (known == NULL || input->is_staged || !segments_have_same_cut(known, input->segments))
        return NULL;
    TRY(segments_reserve(input->segments, 0, known->count));
    for (uint32_t i = 0; i < known->count; i++)
        segments_set(input->segments, i, segments_hash(known, i));
    return NULL;
}

struct error *inputs_add_read(struct plan *plan, enum read_kind kind, uint32_t file,
    const char *detail, const struct hash128 *hash)
{
    for (uint32_t i = 0; i < plan->read_count; i++)
        if (plan->reads[i].kind == kind && plan->reads[i].file == file &&
            strcmp(plan->reads[i].detail, detail) == 0)
            return NULL;
    plan->reads = arena_grow(
        plan->arena, plan->reads, plan->read_count, &plan->read_capacity, sizeof *plan->reads);
    TRY(memory_check(plan->reads));
    plan->reads[plan->read_count++] =
        (struct record_read){.kind = kind, .file = file, .detail = detail, .hash = *hash};
    return NULL;
}

/* The whole text of an input; its tree hash is known afterwards. */
struct error *inputs_read_file(struct plan *plan, uint32_t file, const char *location,
    bool is_staged, size_t size_max, struct text *out)
{
    struct build *build = plan->build;
    const char *path = build->state->files[file].path;
    for (uint32_t i = 0; i < plan->input_count; i++)
        if (plan->inputs[i].file == file && plan->inputs[i].is_awaited)
            return error_new(ERROR_MISSING, "%s is not here yet", path);
    if (!is_staged)
        TRY(touch_file(build, file));
    TRY(file_read_whole(plan->arena, location, size_max, out));
    bool is_same = true;
    if (!is_staged) /* all of a run read one and the same file, or fail */
        TRY(file_is_still(location, &build->files[file].stamp, false, &is_same));
    if (!is_same)
        return error_new(ERROR_FAILED, "%s changed while it was read", path);
    if (is_staged ||
        (build->files[file].look == LOOK_CURRENT && build->state->files[file].has_tree))
        return NULL;
    struct segments *segments;
    TRY(segments_of_plan(&build->arena, build->registry, path, *out, out->length, &segments));
    TRY(segments_reserve(segments, 0, segments->count));
    for (uint32_t i = 0; i < segments->count; i++) {
        struct span span = segments_at(segments, i);
        struct hash128 hash = hash_bytes(out->bytes + span.offset, (size_t)span.size_bytes);
        segments_set(segments, i, &hash);
    }
    return files_set_hashed(build, file, segments);
}
