/* plan.c - the plan_* calls of task.h, and what the engine adds to a task's plan. */
#include "engine/plan/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/file_whole.h"
#include "engine/machine/behind.h"
#include "engine/stale/stale.h"
#include "engine/plan/takeover.h"

enum { JSON_FILE_BYTES_MAX = 64 << 20, HEADER_SIZE_MAX = 100 << 20, DATA_FILE_BYTES_MAX = 4 << 20 };

struct plan_json {
    struct plan *plan;
    uint32_t file;
    const struct json_document *document;
};

/* ---- what the node is ---- */

struct arena *plan_arena(struct plan *plan)
{
    return plan->arena;
}

const char *plan_name(const struct plan *plan)
{
    return plan->node->name;
}

const char *node_name(const struct node *node)
{
    return node->name;
}

const struct json *node_param(const struct node *node, const char *name)
{
    return json_get(node->source != NULL ? node->source->parameters : node->with, name);
}

const struct json *plan_param(const struct plan *plan, const char *name)
{
    return node_param(plan->node, name);
}

const char *plan_param_text(const struct plan *plan, const char *name, const char *fallback)
{
    const struct json *value = plan_param(plan, name);
    return value == NULL || value->kind != JSON_STRING ? fallback : value->text.bytes;
}

uint64_t plan_param_u64(const struct plan *plan, const char *name, uint64_t fallback)
{
    const struct json *value = plan_param(plan, name);
    int64_t number;
    uint64_t size;
    if (value != NULL && json_to_i64(value, &number) && number >= 0)
        return (uint64_t)number;
    if (value != NULL && value->kind == JSON_STRING && size_parse(value->text, &size))
        return size;
    return fallback;
}

bool plan_param_bool(const struct plan *plan, const char *name, bool fallback)
{
    const struct json *value = plan_param(plan, name);
    return value == NULL || value->kind != JSON_BOOL ? fallback : value->boolean;
}

struct error *plan_param_error(struct plan *plan, const char *name, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *message = arena_format_list(plan->arena, format, list);
    va_end(list);
    const struct json *value = plan_param(plan, name);
    if (message == NULL)
        return error_memory();
    if (value == NULL)
        value = plan->node->place;
    if (value == NULL)
        return error_new(ERROR_USAGE, "%s: %s", plan->node->name, message);
    return json_error(value, "%s", message);
}

void plan_warn(struct plan *plan, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *message = arena_format_list(plan->arena, format, list);
    va_end(list);
    if (message != NULL)
        build_say(plan->build, EVENT_WARNING, plan->node->name, message);
}

/* ---- inputs ---- */

static struct error *add_input(struct plan *plan, size_t *capacity, const struct plan_input *input)
{
    plan->inputs =
        arena_grow(plan->arena, plan->inputs, plan->input_count, capacity, sizeof *plan->inputs);
    if (plan->inputs == NULL)
        return error_memory();
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

static struct error *resolve_inputs(struct plan *plan)
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
        TRY(build_add_file(
            plan->build, input->path, input->is_staged ? NULL : input->location, &input->file));
    }
    return NULL;
}

static struct plan_input *find_input(const struct plan *plan, const char *role, size_t index)
{
    for (uint32_t i = 0; i < plan->input_count; i++)
        if (plan->inputs[i].role_index == index && strcmp(plan->inputs[i].role, role) == 0)
            return &plan->inputs[i];
    return NULL;
}

size_t plan_input_count(const struct plan *plan, const char *role)
{
    size_t count = 0;
    while (find_input(plan, role, count) != NULL)
        count++;
    return count;
}

const char *plan_input_path(const struct plan *plan, const char *role, size_t index)
{
    const struct plan_input *input = find_input(plan, role, index);
    return input == NULL ? NULL : input->path;
}

const char *plan_role(const struct plan *plan, size_t index)
{
    return index < plan->node->input_count ? plan->node->inputs[index].role : NULL;
}

uint32_t plan_input(struct plan *plan, const char *role, size_t index)
{
    struct plan_input *input = find_input(plan, role, index);
    if (input == NULL)
        return UINT32_MAX;
    input->is_numbered = true;
    return (uint32_t)(input - plan->inputs);
}

/* Before a file is read for the first time in this run: a stamp that no later change can share.
 * What is known of another content is forgotten. */
static struct error *touch_file(struct build *build, uint32_t file)
{
    struct file_run *run = &build->files[file];
    struct state_file *known = &build->state->files[file];
    TRY(stale_look(build, file));
    if (run->look == LOOK_CURRENT || (run->look == LOOK_CHANGED && run->is_settled))
        return NULL;
    TRY(file_stat_settled(known->location, &run->stamp));
    run->is_settled = true;
    run->look = LOOK_CHANGED;
    known->has_tree = false;
    known->identity = "";
    return NULL;
}

struct error *plan_add_read(struct plan *plan, enum read_kind kind, uint32_t file,
    const char *detail, const struct hash128 *hash)
{
    for (uint32_t i = 0; i < plan->read_count; i++)
        if (plan->reads[i].kind == kind && plan->reads[i].file == file &&
            strcmp(plan->reads[i].detail, detail) == 0)
            return NULL;
    plan->reads = arena_grow(
        plan->arena, plan->reads, plan->read_count, &plan->read_capacity, sizeof *plan->reads);
    if (plan->reads == NULL)
        return error_memory();
    plan->reads[plan->read_count++] =
        (struct record_read){.kind = kind, .file = file, .detail = detail, .hash = *hash};
    return NULL;
}

/* The whole text of an input; its tree hash is known afterwards. */
static struct error *read_file(struct plan *plan, uint32_t file, const char *location,
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
    for (uint32_t i = 0; i < segments->count; i++) {
        struct hash128 hash = hash_bytes(
            out->bytes + segments->spans[i].offset, (size_t)segments->spans[i].size_bytes);
        segments_set(segments, i, &hash);
    }
    return stale_set_hashed(build, file, segments);
}

static struct error *need_input(
    const struct plan *plan, const char *role, size_t index, struct plan_input **out)
{
    *out = find_input(plan, role, index);
    if (*out != NULL)
        return NULL;
    return error_new(ERROR_MISSING, "%s: role \"%s\" has no file", plan->node->name, role);
}

struct error *plan_read_text(
    struct plan *plan, const char *role, size_t index, size_t size_max, struct text *out)
{
    struct plan_input *input;
    struct text text;
    TRY(need_input(plan, role, index, &input));
    TRY(read_file(plan, input->file, input->location, input->is_staged, size_max, &text));
    struct hash128 hash = hash_text(text);
    TRY(plan_add_read(plan, READ_CONTENT, input->file, "", &hash));
    *out = text;
    return NULL;
}

struct error *plan_read_json(
    struct plan *plan, const char *role, size_t index, struct plan_json **out)
{
    struct plan_input *input;
    struct text text;
    TRY(need_input(plan, role, index, &input));
    TRY(read_file(
        plan, input->file, input->location, input->is_staged, JSON_FILE_BYTES_MAX, &text));
    struct plan_json *json = arena_alloc(plan->arena, sizeof *json);
    if (json == NULL)
        return error_memory();
    *json = (struct plan_json){.plan = plan, .file = input->file};
    TRY(json_parse(plan->arena, input->path, text, JSON_TOLERANT, &json->document));
    *out = json;
    return NULL;
}

const struct json *plan_json_get(struct plan_json *json, const char *dotted)
{
    const struct json *root = &json->document->root;
    const struct json *value = dotted[0] == '\0' ? root : json_get_path(root, dotted);
    struct hash128 hash;
    struct arena *arena = json->plan->arena;
    char *detail = arena_copy(arena, dotted, strlen(dotted));
    uint32_t count = json->plan->read_count;
    struct error *error = detail == NULL ? error_memory() : stale_hash_field(arena, value, &hash);
    if (error == NULL)
        error = plan_add_read(json->plan, READ_FIELD, json->file, detail, &hash);
    if (error == NULL && json->plan->read_count > count)
        json->plan->reads[count].shown = json_show(arena, value);
    if (json->plan->failure == NULL)
        json->plan->failure = error; /* out of memory: reported when the plan returns */
    else
        error_free(error);
    return value;
}

struct error *plan_open_input(struct plan *plan, struct plan_input *input)
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

/* From what was heard beforehand of a file that is not here. */
static struct error *foresee_segments(struct plan *plan, struct plan_input *input)
{
    const struct node *producer = &plan->build->graph->nodes[input->producer];
    struct text head = plan->build->runs[input->producer].layout;
    if (head.length == 0 || producer->source->size_bytes == PLAN_SIZE_UNKNOWN)
        return error_new(ERROR_MISSING, "%s is not here yet", input->path);
    TRY(segments_of_plan(plan->arena, plan->build->registry, input->path, head,
        producer->source->size_bytes, &input->segments));
    if (input->segments->count == 0 || input->segments->spans[0].size_bytes != head.length)
        return error_new(ERROR_FORMAT, "%s: what was heard of it is no header", input->path);
    struct hash128 hash = hash_text(head);
    segments_set(input->segments, 0, &hash);
    return NULL;
}

struct error *plan_arrive(struct plan *plan, struct plan_input *input, bool *is_same)
{
    struct build *build = plan->build;
    const struct node_run *producer = &build->runs[input->producer];
    *is_same = producer->file_count == 1;
    if (!*is_same)
        return NULL;
    input->is_awaited = false;
    input->location = producer->files[0].location;
    TRY(build_add_file(build, input->path, input->location, &input->file));
    TRY(plan_open_input(plan, input));
    if (input->segments == NULL)
        return NULL;
    struct segments *found;
    TRY(segments_of_file(plan->arena, build->registry, input->handle, input->path, &found));
    *is_same =
        found->count == input->segments->count &&
        memcmp(found->spans, input->segments->spans, found->count * sizeof *found->spans) == 0;
    uint64_t size = found->count == 0 ? 0 : found->spans[0].size_bytes;
    if (!*is_same || size > HEADER_SIZE_MAX || !input->segments->is_known[0])
        return NULL;
    char *bytes = arena_alloc(plan->arena, (size_t)size + 1);
    if (bytes == NULL)
        return error_memory();
    TRY(file_read_at(input->handle, 0, bytes, (size_t)size));
    struct hash128 hash = hash_bytes(bytes, (size_t)size);
    *is_same = hash_equal(&hash, &input->segments->hashes[0]);
    return NULL;
}

bool plan_is_awaiting(const struct plan *plan)
{
    for (uint32_t i = 0; i < plan->input_count; i++)
        if (plan->inputs[i].is_awaited)
            return true;
    return false;
}

static struct error *need_segments(struct plan *plan, struct plan_input *input)
{
    if (input->segments != NULL)
        return NULL;
    if (input->is_awaited)
        return foresee_segments(plan, input);
    TRY(plan_open_input(plan, input));
    const struct segments *known = plan->build->files[input->file].segments;
    TRY(segments_of_file(
        plan->arena, plan->build->registry, input->handle, input->path, &input->segments));
    for (uint32_t i = 0; known != NULL && known->count == input->segments->count &&
                         !input->is_staged && i < known->count;
         i++)
        segments_set(input->segments, i, &known->hashes[i]);
    return NULL;
}

struct error *plan_read_header(
    struct plan *plan, const char *role, size_t index, struct text *out, uint64_t *file_bytes)
{
    struct plan_input *input;
    TRY(need_input(plan, role, index, &input));
    TRY(need_segments(plan, input));
    uint64_t size = input->segments->count == 0 ? 0 : input->segments->spans[0].size_bytes;
    if (size > HEADER_SIZE_MAX)
        return error_new(ERROR_FORMAT, "%s: its header of %llu bytes is too large", input->path,
            (unsigned long long)size);
    char *bytes = arena_alloc(plan->arena, (size_t)size + 1);
    if (bytes == NULL)
        return error_memory();
    if (input->is_awaited)
        memcpy(bytes, plan->build->runs[input->producer].layout.bytes, (size_t)size);
    else
        TRY(file_read_at(input->handle, 0, bytes, (size_t)size));
    struct hash128 hash = hash_bytes(bytes, (size_t)size);
    if (size > 0)
        segments_set(input->segments, 0, &hash);
    TRY(plan_add_read(plan, READ_HEADER, input->file, "", &hash));
    *out = (struct text){bytes, (size_t)size};
    const struct node *producer = &plan->build->graph->nodes[input->producer];
    *file_bytes = input->is_awaited ? producer->source->size_bytes : file_size(input->handle);
    return NULL;
}

struct error *plan_read_layout(struct plan *plan, const char *role, struct text *out)
{
    struct build *build = plan->build;
    for (uint32_t i = 0; i < plan->node->input_count; i++) {
        const struct node_input *input = &plan->node->inputs[i];
        if (strcmp(input->role, role) != 0 || input->ref_count == 0)
            continue;
        uint32_t producer = input->refs[0].producer;
        if (producer == NODE_NONE || build->runs[producer].layout.length == 0)
            return error_new(ERROR_USAGE,
                "%s: role \"%s\" must name weights that a node makes, not %s", plan->node->name,
                role, input->refs[0].path);
        *out = build->runs[producer].layout;
        return plan_add_read(plan, READ_LAYOUT, FILE_NONE, build->graph->nodes[producer].name,
            &build->runs[producer].layout_hash);
    }
    return error_new(ERROR_USAGE, "%s needs the role \"%s\"", plan->node->name, role);
}

/* ---- data files ---- */

static struct error *list_data(struct plan *plan, const char *kind, const char *directory,
    const char ***paths, size_t *count, size_t *capacity)
{
    struct build *build = plan->build;
    struct file_entry *entries;
    struct hash128 hash;
    size_t entry_count;
    uint32_t file;
    TRY(stale_hash_names(plan->arena, directory, &hash, &entries, &entry_count));
    char *kept = arena_copy(&build->arena, directory, strlen(directory));
    if (kept == NULL)
        return error_memory();
    TRY(build_add_file(build, kept, NULL, &file));
    TRY(plan_add_read(plan, READ_NAMES, file, kind, &hash));
    for (size_t i = 0; i < entry_count; i++) {
        if (entries[i].kind != FILE_REGULAR)
            continue;
        *paths = arena_grow(plan->arena, *paths, *count, capacity, sizeof **paths);
        char *path = path_join(&build->arena, directory, entries[i].name);
        if (*paths == NULL || path == NULL)
            return error_memory();
        (*paths)[(*count)++] = path;
    }
    return NULL;
}

struct error *plan_list_data(
    struct plan *plan, const char *directory, const char *const **paths, size_t *count)
{
    const struct graph *graph = plan->build->graph;
    const char **list = NULL;
    size_t capacity = 0;
    *count = 0;
    if (graph->manifest->rules != NULL && plan->node->type->lists_rules)
        TRY(list_data(plan, directory, graph->manifest->rules, &list, count, &capacity));
    char *installed = path_join(plan->arena, graph->data_directory, directory);
    if (installed == NULL)
        return error_memory();
    TRY(list_data(plan, directory, installed, &list, count, &capacity));
    *paths = list;
    return NULL;
}

struct error *plan_peek_data(struct plan *plan, const char *path, struct text *out)
{
    return file_read_whole(plan->arena, path, DATA_FILE_BYTES_MAX, out);
}

struct error *plan_read_data(struct plan *plan, const char *path, struct text *out)
{
    uint32_t file;
    struct text text;
    TRY(build_add_file(plan->build, path, NULL, &file));
    TRY(read_file(plan, file, path, false, DATA_FILE_BYTES_MAX, &text));
    struct hash128 hash = hash_text(text);
    TRY(plan_add_read(plan, READ_CONTENT, file, "", &hash));
    *out = text;
    return NULL;
}

/* ---- outputs ---- */

struct error *plan_output(struct plan *plan, const char *path, uint64_t size_bytes, uint32_t *out)
{
    const struct node *node = plan->node;
    bool is_ours = node->is_pattern ? glob_match(node->name, path) : strcmp(node->name, path) == 0;
    if (!is_ours)
        return error_new(ERROR_USAGE, "%s: task \"%s\" would make %s, which is not its name",
            node->name, node->type->name, path);
    plan->outputs = arena_grow(plan->arena, plan->outputs, plan->output_count,
        &plan->output_capacity, sizeof *plan->outputs);
    char *copy = arena_copy(&plan->build->arena, path, strlen(path));
    if (plan->outputs == NULL || copy == NULL)
        return error_memory();
    plan->outputs[plan->output_count] =
        (struct plan_output){.path = copy, .size_bytes = size_bytes, .identity = ""};
    *out = plan->output_count++;
    return NULL;
}

struct error *plan_output_bytes(
    struct plan *plan, uint32_t output, uint64_t offset, struct text bytes)
{
    struct plan_output *to = &plan->outputs[output];
    to->bytes =
        arena_grow(plan->arena, to->bytes, to->byte_count, &to->byte_capacity, sizeof *to->bytes);
    if (to->bytes == NULL)
        return error_memory();
    to->bytes[to->byte_count++] = (struct plan_bytes){offset, bytes};
    return NULL;
}

struct error *plan_output_text(struct plan *plan, const char *path, struct text text)
{
    uint32_t output;
    TRY(plan_output(plan, path, text.length, &output));
    plan->outputs[output].is_text = true;
    return plan_output_bytes(plan, output, 0, text);
}

struct error *plan_output_identity(struct plan *plan, uint32_t output, const char *identity)
{
    plan->outputs[output].identity = arena_copy(&plan->build->arena, identity, strlen(identity));
    return plan->outputs[output].identity == NULL ? error_memory() : NULL;
}

void plan_output_blocks(struct plan *plan, uint32_t output)
{
    plan->outputs[output].is_blocks = true;
}

void plan_context(struct plan *plan, void *context, void (*end)(void *context))
{
    plan->context = context;
    plan->end_context = end;
}

unsigned plan_again(const struct plan *plan)
{
    return plan->build->runs[plan->index].again;
}

struct error *plan_hint_size(struct plan *plan, uint64_t *out)
{
    uint64_t heard = plan->build->runs[plan->index].size_heard;
    struct piece_log *log;
    if (heard != 0) {
        *out = heard;
        return NULL;
    }
    const char *path = places_partial_log(plan->arena, plan->directory);
    if (path == NULL)
        return error_memory();
    TRY(pieces_load(plan->arena, path, &log));
    if (log->output_count == 1)
        *out = log->outputs[0].size_bytes;
    return NULL;
}

const char *plan_alike(struct plan *plan)
{
    const struct build *build = plan->build;
    uint32_t alike = build->runs[plan->index].alike;
    if (alike == NODE_NONE)
        return NULL;
    const struct node_run *run = &build->runs[alike];
    bool is_there = run->status == STATUS_SEALED || run->status == STATUS_FRESH;
    return is_there && !run->is_given_back && run->file_count == 1 ? run->files[0].location : NULL;
}

struct error *plan_layout(struct plan *plan, struct text layout)
{
    char *copy = arena_copy(&plan->build->arena, layout.bytes, layout.length);
    plan->layout = (struct text){copy, layout.length};
    return copy == NULL ? error_memory() : NULL;
}

size_t plan_piece_count(const struct plan *plan)
{
    return plan->piece_count;
}

const struct piece *plan_piece_at(const struct plan *plan, size_t index, struct text *result)
{
    *result = plan->pieces[index].result;
    return &plan->pieces[index].piece;
}

struct error *plan_figures(struct plan *plan, struct text figures)
{
    char *copy = arena_copy(&plan->build->arena, figures.bytes, figures.length);
    plan->figures = (struct text){copy, figures.length};
    return copy == NULL ? error_memory() : NULL;
}

struct error *plan_piece(struct plan *plan, const struct piece *piece)
{
    const struct task_type *type = plan->node->type;
    struct planned_piece *planned;
    plan->pieces = arena_grow(
        plan->arena, plan->pieces, plan->piece_count, &plan->piece_capacity, sizeof *plan->pieces);
    if (plan->pieces == NULL)
        return error_memory();
    planned = &plan->pieces[plan->piece_count++];
    *planned = (struct planned_piece){.piece = *piece, .action = PIECE_MAKE};
    char *whole = memory_alloc(piece->key.length + 64);
    if (whole == NULL)
        return error_memory();
    size_t length = (size_t)snprintf(whole, 64, "%.40s %u ", type->name, type->version);
    if (piece->key.length > 0)
        memcpy(whole + length, piece->key.bytes, piece->key.length);
    planned->key = hash_bytes(whole, length + piece->key.length);
    memory_free(whole);
    planned->piece.key = TEXT_EMPTY; /* the caller's buffer may go */
    plan->is_streamed |= piece->is_streamed;
    return NULL;
}

/* ---- what the engine adds ---- */

static struct error *cut_output(struct plan *plan, struct plan_output *output)
{
    if (output->size_bytes == PLAN_SIZE_UNKNOWN || plan->is_streamed)
        return NULL;
    if (output->is_blocks)
        return segments_of_blocks(plan->arena, output->size_bytes, &output->segments);
    TRY(segments_of_plan(plan->arena, plan->build->registry, output->path, takeover_head(output),
        output->size_bytes, &output->segments));
    for (uint32_t i = 0; i < output->segments->count; i++) {
        const struct span *span = &output->segments->spans[i];
        for (uint32_t k = 0; k < output->byte_count; k++) {
            const struct plan_bytes *bytes = &output->bytes[k];
            if (span->offset < bytes->offset ||
                span->offset + span->size_bytes > bytes->offset + bytes->bytes.length)
                continue;
            struct hash128 hash = hash_bytes(
                bytes->bytes.bytes + (span->offset - bytes->offset), (size_t)span->size_bytes);
            segments_set(output->segments, i, &hash);
        }
    }
    return NULL;
}

/* An own mistake of a task, not of its input: still an error with words, not an abort. */
static struct error *task_mistake(const struct plan *plan, const char *what, const char *path)
{
    return error_new(
        ERROR_FAILED, "task \"%s\" planned %s of %s", plan->node->type->name, what, path);
}

static struct error *check_piece(struct plan *plan, const struct piece *piece)
{
    uint32_t begin, end;
    for (uint32_t i = 0; i < piece->input_count; i++) {
        if (piece->inputs[i].file >= plan->input_count)
            return task_mistake(plan, "a piece from an unknown input", plan->node->name);
        struct plan_input *input = &plan->inputs[piece->inputs[i].file];
        TRY(need_segments(plan, input));
        if (!segments_range(input->segments, piece->inputs[i].offset, piece->inputs[i].size_bytes,
                &begin, &end))
            return task_mistake(plan, "a piece that is no run of segments", input->path);
    }
    for (uint32_t i = 0; i < piece->output_count && !piece->is_streamed; i++) {
        struct plan_output *output = &plan->outputs[piece->outputs[i].file];
        if (!segments_range(output->segments, piece->outputs[i].offset,
                piece->outputs[i].size_bytes, &begin, &end))
            return task_mistake(plan, "a piece that is no run of segments", output->path);
        for (uint32_t s = begin; s < end; s++) {
            if (output->segments->is_known[s])
                return task_mistake(plan, "two pieces for one segment", output->path);
            output->segments->is_known[s] = true; /* taken; unknown again below */
        }
    }
    return NULL;
}

static struct error *check_pieces(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->piece_count; i++)
        TRY(check_piece(plan, &plan->pieces[i].piece));
    for (uint32_t i = 0; i < plan->input_count; i++)
        if (plan->inputs[i].is_numbered)
            TRY(need_segments(plan, &plan->inputs[i])); /* hashed in any case */
    for (uint32_t i = 0; i < plan->output_count; i++) {
        const struct segments *segments = plan->outputs[i].segments;
        for (uint32_t s = 0; segments != NULL && s < segments->count; s++)
            if (!segments->is_known[s])
                return task_mistake(plan, "no piece for some bytes", plan->outputs[i].path);
    }
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        const struct piece *piece = &plan->pieces[i].piece;
        for (uint32_t k = 0; k < piece->output_count && !piece->is_streamed; k++) {
            struct segments *segments = plan->outputs[piece->outputs[k].file].segments;
            uint32_t begin, end;
            if (segments_range(
                    segments, piece->outputs[k].offset, piece->outputs[k].size_bytes, &begin, &end))
                memset(segments->is_known + begin, 0, (end - begin) * sizeof *segments->is_known);
        }
    }
    return NULL;
}

/* An output whose tree hash is known before anything is made, and is what lies on disk. */
static struct error *find_unchanged(struct plan *plan)
{
    struct build *build = plan->build;
    for (uint32_t i = 0; i < plan->output_count; i++) {
        struct plan_output *output = &plan->outputs[i];
        if (output->segments == NULL || output->is_blocks ||
            output->segments->known_count != output->segments->count)
            continue;
        uint32_t file;
        struct hash128 tree = segments_tree(output->segments), now;
        TRY(build_add_file(build, output->path, NULL, &file));
        TRY(stale_look(build, file));
        if (build->runs[plan->index].is_forced || plan->is_resumed ||
            build->files[file].look == LOOK_ABSENT || build->files[file].look == LOOK_GIVEN_BACK)
            continue;
        if (output->is_text && build->files[file].look == LOOK_CHANGED &&
            build->files[file].stamp.size_bytes == output->size_bytes) {
            struct segments *found; /* such as made by hand, or before the state was lost */
            TRY(file_stat_settled(output->path, &build->files[file].stamp));
            TRY(segments_hash_file(
                &build->arena, build->registry, output->path, output->path, NULL, NULL, &found));
            TRY(stale_set_hashed(build, file, found));
        }
        output->is_unchanged =
            stale_find_tree(build, output->path, &now) && hash_equal(&tree, &now);
    }
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        struct planned_piece *planned = &plan->pieces[i];
        uint32_t unchanged = 0;
        for (uint32_t k = 0; k < planned->piece.output_count; k++)
            unchanged += plan->outputs[planned->piece.outputs[k].file].is_unchanged;
        if (planned->action == PIECE_COPY && unchanged == planned->piece.output_count)
            planned->action = PIECE_KEEP;
    }
    return NULL;
}

static void count_bytes(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        const struct planned_piece *planned = &plan->pieces[i];
        const struct piece *piece = &planned->piece;
        uint64_t in = piece->is_streamed ? piece->weight_bytes : 0, out = 0;
        for (uint32_t k = 0; k < piece->input_count; k++)
            in += piece->inputs[k].size_bytes;
        for (uint32_t k = 0; k < piece->output_count && !piece->is_streamed; k++)
            out += piece->outputs[k].size_bytes;
        if (piece->is_in_order && piece->input_count == 0)
            in = out;
        if (planned->action == PIECE_MAKE) {
            plan->bytes_to_read += in;
            plan->bytes_to_download += plan->node->type->is_network ? in : 0;
            plan->bytes_to_write += out;
            plan->pieces_to_make++;
        } else {
            plan->bytes_kept += out;
        }
    }
    for (uint32_t i = 0; i < plan->output_count; i++) {
        const struct plan_output *output = &plan->outputs[i];
        plan->is_changed |= !output->is_unchanged;
        if (!output->is_unchanged && output->is_text)
            plan->bytes_to_write += output->size_bytes;
    }
}

/* Which inputs each piece reads that has to be made, or may have to be. */
static void count_readers(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        struct planned_piece *planned = &plan->pieces[i];
        bool may_read = planned->action == PIECE_MAKE || planned->action == PIECE_VERIFY;
        for (uint32_t k = 0; may_read && k < planned->piece.input_count; k++) {
            struct plan_input *input = &plan->inputs[planned->piece.inputs[k].file];
            bool is_again = false;
            for (uint32_t m = 0; m < k; m++)
                is_again |= planned->piece.inputs[m].file == planned->piece.inputs[k].file;
            input->pieces_left += !is_again;
            planned->awaited += !is_again && input->is_awaited;
        }
    }
}

bool plan_has_output(const struct plan *plan, const char *path)
{
    for (uint32_t i = 0; i < plan->output_count; i++)
        if (strcmp(plan->outputs[i].path, path) == 0)
            return true;
    return false;
}

/* Files of the previous plan that this one no longer has: the node changes by losing them. */
static void find_leftovers(struct plan *plan)
{
    const struct record *record = state_find_record(plan->build->state, plan->node->name);
    for (uint32_t i = 0; record != NULL && i < record->made_count; i++) {
        const char *path = plan->build->state->files[record->made[i].file].path;
        plan->is_changed |= !plan_has_output(plan, path);
    }
}

static struct error *run_task(struct plan *plan)
{
    struct error *error = plan->node->type->plan(plan, plan->node);
    if (error == NULL) {
        error = plan->failure;
        plan->failure = NULL;
    }
    error_free(plan->failure);
    plan->failure = NULL;
    return error;
}

struct error *plan_node(struct build *build, uint32_t index, struct plan **out)
{
    struct node_run *run = &build->runs[index];
    struct plan *plan = arena_alloc(&run->arena, sizeof *plan);
    if (plan == NULL)
        return error_memory();
    *plan = (struct plan){
        .build = build, .index = index, .node = &build->graph->nodes[index], .arena = &run->arena};
    run->plan = plan; /* its files are closed with the run, whatever happens here */
    TRY(places_partial(plan->arena, plan->node, &plan->directory));
    TRY(places_stage(plan->arena, plan->node, &plan->stage));
    TRY(resolve_inputs(plan));
    TRY(run_task(plan));
    for (uint32_t i = 0; i < plan->output_count; i++)
        TRY(cut_output(plan, &plan->outputs[i]));
    TRY(check_pieces(plan));
    if (!plan->is_streamed && plan->piece_count > 0)
        TRY(takeover_find(plan));
    TRY(find_unchanged(plan));
    find_leftovers(plan);
    count_bytes(plan);
    count_readers(plan);
    *out = plan;
    return NULL;
}

/* ---- staging ---- */

static struct error *stage_output(struct plan *plan, struct plan_output *output)
{
    output->staged = places_staged(plan->arena, plan->stage, output->path);
    if (output->staged == NULL)
        return error_memory();
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
            .path = plan->inputs[i].path, .head = takeover_version(plan, &plan->inputs[i])};
    for (uint32_t i = 0; i < plan->output_count; i++)
        outputs[i] = (struct piece_file){.path = plan->outputs[i].path,
            .size_bytes = plan->outputs[i].size_bytes,
            .head = hash_text(takeover_head(&plan->outputs[i]))};
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

struct error *plan_stage(struct plan *plan)
{
    const char *files = places_files(plan->arena, plan->stage);
    if (files == NULL)
        return error_memory();
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

void plan_close_input(struct plan_input *input)
{
    file_close(input->handle);
    input->handle = NULL;
}

void plan_close_files(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->input_count; i++)
        plan_close_input(&plan->inputs[i]);
    for (uint32_t i = 0; i < plan->output_count; i++) {
        behind_remove(plan->outputs[i].behind);
        plan->outputs[i].behind = NULL;
        file_close(plan->outputs[i].handle);
        plan->outputs[i].handle = NULL;
    }
}

void plan_discard(struct plan *plan)
{
    plan->recorded_count = 0;
}

void plan_end(struct plan *plan, bool is_sealing)
{
    if (plan == NULL)
        return;
    plan_close_files(plan);
    if (plan->end_context != NULL)
        plan->end_context(plan->context);
    bool is_staged = plan->log != NULL || plan->log_path != NULL;
    for (uint32_t i = 0; i < plan->output_count; i++)
        is_staged |= plan->outputs[i].staged != NULL;
    pieces_close(plan->log);
    if (is_staged && !is_sealing && plan->recorded_count == 0)
        /* or it is cleaned later */
        error_free(places_remove_partial(plan->arena, plan->directory, plan->stage));
}
