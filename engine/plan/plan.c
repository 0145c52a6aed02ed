/* plan.c - the plan_* calls of task.h, and what the engine adds to a task's plan. */
#include "engine/plan/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "engine/machine/behind.h"
#include "engine/run/files.h"
#include "engine/plan/inputs.h"

enum { DATA_FILE_BYTES_MAX = 4 << 20 };

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

const struct source_file *node_source(const struct node *node)
{
    return node->source;
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
    TRY(memory_check(message));
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
        run_say(plan->build, EVENT_WARNING, plan->node->name, message);
}

/* ---- inputs ---- */

size_t plan_input_count(const struct plan *plan, const char *role)
{
    size_t count = 0;
    while (inputs_find(plan, role, count) != NULL)
        count++;
    return count;
}

const char *plan_input_path(const struct plan *plan, const char *role, size_t index)
{
    const struct plan_input *input = inputs_find(plan, role, index);
    return input == NULL ? NULL : input->path;
}

const char *plan_role(const struct plan *plan, size_t index)
{
    return index < plan->node->input_count ? plan->node->inputs[index].role : NULL;
}

uint32_t plan_input(struct plan *plan, const char *role, size_t index)
{
    struct plan_input *input = inputs_find(plan, role, index);
    if (input == NULL)
        return UINT32_MAX;
    input->is_numbered = true;
    return (uint32_t)(input - plan->inputs);
}

struct error *plan_read_text(
    struct plan *plan, const char *role, size_t index, size_t size_max, struct text *out)
{
    struct plan_input *input;
    struct text text;
    TRY(inputs_need(plan, role, index, &input));
    TRY(inputs_read_file(plan, input->file, input->location, input->is_staged, size_max, &text));
    struct hash128 hash = hash_text(text);
    TRY(inputs_add_read(plan, READ_CONTENT, input->file, "", &hash));
    *out = text;
    return NULL;
}

struct error *plan_read_json(
    struct plan *plan, const char *role, size_t index, struct plan_json **out)
{
    struct plan_input *input;
    struct text text;
    TRY(inputs_need(plan, role, index, &input));
    TRY(inputs_read_file(
        plan, input->file, input->location, input->is_staged, JSON_FILE_BYTES_MAX, &text));
    struct plan_json *json = arena_alloc(plan->arena, sizeof *json);
    TRY(memory_check(json));
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
    struct error *error = detail == NULL ? error_memory() : files_hash_field(arena, value, &hash);
    if (error == NULL)
        error = inputs_add_read(json->plan, READ_FIELD, json->file, detail, &hash);
    if (error == NULL && json->plan->read_count > count)
        json->plan->reads[count].shown = json_show(arena, value);
    if (json->plan->failure == NULL)
        json->plan->failure = error; /* out of memory: reported when the plan returns */
    else
        error_free(error);
    return value;
}

struct error *plan_read_header(
    struct plan *plan, const char *role, size_t index, struct text *out, uint64_t *file_bytes)
{
    struct plan_input *input;
    TRY(inputs_need(plan, role, index, &input));
    TRY(inputs_need_segments(plan, input));
    uint64_t size = input->segments->count == 0 ? 0 : segments_at(input->segments, 0).size_bytes;
    if (size > HEADER_BYTES_MAX)
        return error_new(ERROR_FORMAT, "%s: its header of %llu bytes is too large", input->path,
            (unsigned long long)size);
    char *bytes = arena_alloc(plan->arena, (size_t)size + 1);
    TRY(memory_check(bytes));
    if (input->is_awaited)
        memcpy(bytes, plan->build->runs[input->producer].layout.bytes, (size_t)size);
    else
        TRY(file_read_at(input->handle, 0, bytes, (size_t)size));
    struct hash128 hash = hash_bytes(bytes, (size_t)size);
    if (size > 0) {
        TRY(segments_reserve(input->segments, 0, 1));
        segments_set(input->segments, 0, &hash);
    }
    TRY(inputs_add_read(plan, READ_HEADER, input->file, "", &hash));
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
        return inputs_add_read(plan, READ_LAYOUT, FILE_NONE, build->graph->nodes[producer].name,
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
    TRY(files_hash_names(plan->arena, directory, &hash, &entries, &entry_count));
    char *kept = arena_copy(&build->arena, directory, strlen(directory));
    TRY(memory_check(kept));
    TRY(run_add_file(build, kept, NULL, &file));
    TRY(inputs_add_read(plan, READ_NAMES, file, kind, &hash));
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
    TRY(memory_check(installed));
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
    TRY(run_add_file(plan->build, path, NULL, &file));
    TRY(inputs_read_file(plan, file, path, false, DATA_FILE_BYTES_MAX, &text));
    struct hash128 hash = hash_text(text);
    TRY(inputs_add_read(plan, READ_CONTENT, file, "", &hash));
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
    TRY(memory_check(to->bytes));
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
    return memory_check(plan->outputs[output].identity);
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
    TRY(memory_check(path));
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
    return memory_check(copy);
}

size_t plan_piece_count(const struct plan *plan)
{
    return plan->piece_count;
}

struct piece plan_piece_at(const struct plan *plan, size_t index, struct text *result)
{
    const struct text *found = plan->pieces[index].result;
    *result = found == NULL ? TEXT_EMPTY : *found;
    return plan_piece_of(plan, (uint32_t)index);
}

struct error *plan_figures(struct plan *plan, struct text figures)
{
    char *copy = arena_copy(&plan->build->arena, figures.bytes, figures.length);
    plan->figures = (struct text){copy, figures.length};
    return memory_check(copy);
}

static void move_ranges(struct piece_range *ranges, uint32_t count, uint32_t steps)
{
    for (uint32_t i = 0; i < count; i++)
        ranges[i].offset += steps * ranges[i].size_bytes;
}

static struct piece piece_of_run(const struct piece_run *run, uint32_t index)
{
    struct piece piece = run->first;
    move_ranges(piece.inputs, piece.input_count, index - run->begin);
    move_ranges(piece.outputs, piece.output_count, index - run->begin);
    return piece;
}

struct piece plan_piece_of(const struct plan *plan, uint32_t index)
{
    return piece_of_run(&plan->piece_runs[plan->pieces[index].run], index);
}

static bool are_equal(const struct piece_range *a, const struct piece_range *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (a[i].file != b[i].file || a[i].offset != b[i].offset ||
            a[i].size_bytes != b[i].size_bytes)
            return false;
    return true;
}

/* Whether the run, gone on with, has this very piece next. */
static bool run_goes_on(const struct piece_run *run, uint32_t index, const struct piece *piece)
{
    struct piece next = piece_of_run(run, index);
    return next.parameters == piece->parameters && next.input_count == piece->input_count &&
           next.output_count == piece->output_count && next.scratch_bytes == piece->scratch_bytes &&
           next.weight_bytes == piece->weight_bytes && next.is_streamed == piece->is_streamed &&
           next.is_in_order == piece->is_in_order &&
           are_equal(next.inputs, piece->inputs, piece->input_count) &&
           are_equal(next.outputs, piece->outputs, piece->output_count);
}

static struct error *add_to_run(struct plan *plan, const struct piece *piece)
{
    uint32_t count = plan->piece_run_count;
    if (count > 0 && run_goes_on(&plan->piece_runs[count - 1], plan->piece_count, piece))
        return NULL;
    struct piece_run *runs = memory_grow(
        &plan->build->planning, plan->piece_runs, count, &plan->piece_run_capacity, sizeof *runs);
    TRY(memory_check(runs));
    plan->piece_runs = runs;
    plan->piece_runs[count] = (struct piece_run){.first = *piece, .begin = plan->piece_count};
    plan->piece_runs[count].first.key = TEXT_EMPTY; /* the caller's buffer may go */
    plan->piece_run_count++;
    return NULL;
}

static struct error *hash_key(const struct plan *plan, struct text key, struct hash128 *out)
{
    const struct task_type *type = plan->node->type;
    char *whole = memory_alloc(key.length + 64);
    TRY(memory_check(whole));
    size_t length = (size_t)snprintf(whole, 64, "%.40s %u ", type->name, type->version);
    if (key.length > 0)
        memcpy(whole + length, key.bytes, key.length);
    *out = hash_bytes(whole, length + key.length);
    memory_free(whole);
    return NULL;
}

struct error *plan_piece(struct plan *plan, const struct piece *piece)
{
    struct planned_piece planned = {.action = PIECE_MAKE};
    TRY(hash_key(plan, piece->key, &planned.key));
    TRY(add_to_run(plan, piece));
    struct planned_piece *pieces = memory_grow(&plan->build->planning, plan->pieces,
        plan->piece_count, &plan->piece_capacity, sizeof *pieces);
    TRY(memory_check(pieces));
    plan->pieces = pieces;
    planned.run = plan->piece_run_count - 1;
    plan->pieces[plan->piece_count++] = planned;
    plan->is_streamed |= piece->is_streamed;
    return NULL;
}

bool plan_has_output(const struct plan *plan, const char *path)
{
    for (uint32_t i = 0; i < plan->output_count; i++)
        if (strcmp(plan->outputs[i].path, path) == 0)
            return true;
    return false;
}
