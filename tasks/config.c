/* config.c - task "config": the checkpoint's config.json with what the weights have become
 * (docs/formats.md, "config.json"). One output, one text; readers of the directory wait for it. */
#include "tasks/config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"
#include "engine/task.h"

enum { CONFIG_BYTES_MAX = 16 << 20 };

/* An object in the making: the values are borrowed. */
struct fields {
    struct arena *arena;
    struct json_member *items;
    size_t count, capacity;
};

static struct json_member *find(const struct fields *fields, const char *key)
{
    for (size_t i = 0; i < fields->count; i++)
        if (text_is(fields->items[i].key, key))
            return &fields->items[i];
    return NULL;
}

/* Python's dict: a key that is there keeps its place. */
static struct error *set(struct fields *fields, const char *key, const struct json *value)
{
    struct json_member *member = find(fields, key);
    if (member == NULL) {
        fields->items = arena_grow(
            fields->arena, fields->items, fields->count, &fields->capacity, sizeof *fields->items);
        TRY(memory_check(fields->items));
        member = &fields->items[fields->count++];
        *member = (struct json_member){.key = text_of(key)};
    }
    member->value = *value;
    return NULL;
}

static void drop(struct fields *fields, const char *key)
{
    struct json_member *member = find(fields, key);
    if (member == NULL)
        return;
    size_t after = (size_t)(fields->items + fields->count - (member + 1));
    memmove(member, member + 1, after * sizeof *member);
    fields->count--;
}

/* Room for `more` members behind those that are there. */
static struct error *reserve(struct fields *fields, size_t more)
{
    struct json_member *items = arena_array(fields->arena, fields->count + more, sizeof *items);
    TRY(memory_check(items));
    if (fields->count > 0)
        memcpy(items, fields->items, fields->count * sizeof *items);
    fields->items = items;
    fields->capacity = fields->count + more;
    return NULL;
}

/* All members of an object, whose keys are unique, into an empty one. */
static struct error *copy_members(struct fields *fields, const struct json *object)
{
    assert(fields->count == 0);
    TRY(reserve(fields, object->count));
    if (object->count > 0)
        memcpy(fields->items, object->members, object->count * sizeof *fields->items);
    fields->count = object->count;
    return NULL;
}

static struct json as_object(const struct fields *fields)
{
    return (struct json){
        .kind = JSON_OBJECT, .count = fields->count, .members = fields->items, .document = NULL};
}

/* What Python's `if value:` takes as true. */
static bool is_truthy(const struct json *value)
{
    if (value == NULL)
        return false;
    switch (value->kind) {
    case JSON_NULL:
        return false;
    case JSON_BOOL:
        return value->boolean;
    case JSON_NUMBER:
        return value->number != 0;
    case JSON_STRING:
        return value->text.length > 0;
    case JSON_ARRAY:
    case JSON_OBJECT:
        return value->count > 0;
    }
    return false;
}

/* Where the checkpoint keeps its own quantization when not at the top. */
static struct error *lift_quantization(struct fields *fields, const struct config_sources *sources)
{
    if (find(fields, "quantization_config") != NULL)
        return NULL;
    const struct json *inner = json_get_path(sources->config, "text_config.quantization_config");
    if (inner == NULL)
        inner = sources->quantized;
    return inner == NULL ? NULL : set(fields, "quantization_config", inner);
}

static struct error *parse_own(
    struct arena *arena, const char *what, struct text text, const struct json **out)
{
    const struct json_document *document;
    TRY(json_parse(arena, what, text, JSON_TOLERANT, &document));
    *out = &document->root;
    return NULL;
}

/* Entries are modules, so none of them is called like another or like a member of the head: append
 * without a search through thousands. */
static struct error *append_entries(struct fields *fields, const struct layout *layout)
{
    TRY(reserve(fields, layout->entry_count));
    size_t head_count = fields->count;
    for (uint32_t i = 0; i < layout->entry_count; i++) {
        const struct layout_entry *entry = &layout->entries[i];
        const struct json *value;
        TRY(parse_own(fields->arena, entry->module, entry->json, &value));
        struct fields head = {.items = fields->items, .count = head_count};
        struct json_member *member = find(&head, entry->module);
        if (member == NULL)
            member = &fields->items[fields->count++];
        *member = (struct json_member){.key = text_of(entry->module), .value = *value};
    }
    return NULL;
}

/* The source's own values stay (a model that is quantized already, further), new ones follow. */
static struct error *set_quantization(struct fields *fields, const struct layout *layout)
{
    if (layout->is_dequantized) {
        drop(fields, "quantization");
        drop(fields, "quantization_config");
    }
    if (layout->is_quantized) {
        struct fields quantization = {.arena = fields->arena};
        const struct json_member *old = find(fields, "quantization");
        const struct json *head;
        if (old != NULL && old->value.kind == JSON_OBJECT) {
            TRY(copy_members(&quantization, &old->value));
        } else {
            TRY(parse_own(fields->arena, "quantization", layout->quantization, &head));
            TRY(copy_members(&quantization, head));
        }
        TRY(append_entries(&quantization, layout));
        struct json object = as_object(&quantization);
        TRY(set(fields, "quantization", &object));
    }
    const struct json_member *made = find(fields, "quantization");
    if (made == NULL)
        return NULL;
    struct json copy = made->value; /* set may move the members */
    return set(fields, "quantization_config", &copy);
}

static int compare_keys(const void *a, const void *b)
{
    return text_compare(((const struct json_member *)a)->key, ((const struct json_member *)b)->key);
}

static struct error *check_object(const struct json *value)
{
    if (value == NULL || value->kind == JSON_OBJECT)
        return NULL;
    return json_error(value, "expected an object, not %s", json_kind_name(value->kind));
}

struct error *config_render(struct arena *arena, const struct config_sources *sources,
    const struct layout *layout, struct text *out)
{
    TRY(check_object(sources->config));
    TRY(check_object(sources->generation));
    struct fields fields = {.arena = arena};
    TRY(copy_members(&fields, sources->config));
    const struct json *eos = json_get(sources->generation, "eos_token_id");
    if (is_truthy(eos))
        TRY(set(&fields, "eos_token_id", eos));
    TRY(lift_quantization(&fields, sources));
    TRY(set_quantization(&fields, layout));
    drop(&fields, "_name_or_path");
    drop(&fields, "vision_config"); /* no text model keeps its vision tower */
    if (fields.count > 0)
        qsort(fields.items, fields.count, sizeof *fields.items, compare_keys);
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_CONFIG);
    TRY(memory_check(writer));
    struct json object = as_object(&fields);
    json_write_value(writer, &object);
    return json_writer_finish(writer, out);
}

/* A generation_config.json that does not parse counts as absent, as the reference has it. */
static struct error *read_generation(struct plan *plan, const struct json **out)
{
    *out = NULL;
    if (plan_input_count(plan, "generation") == 0)
        return NULL;
    struct text text;
    const struct json_document *document;
    TRY(plan_read_text(plan, "generation", 0, CONFIG_BYTES_MAX, &text));
    struct error *error = json_parse(
        plan_arena(plan), plan_input_path(plan, "generation", 0), text, JSON_TOLERANT, &document);
    if (error == NULL) {
        *out = &document->root;
        return NULL;
    }
    if (error_kind_of(error) != ERROR_FORMAT)
        return error;
    plan_warn(plan, "ignored: %s", error_text(error));
    error_free(error);
    return NULL;
}

static struct error *config_plan(struct plan *plan, const struct node *node)
{
    (void)node;
    struct config_sources sources = {0};
    struct plan_json *json;
    TRY(plan_read_json(plan, "config", 0, &json));
    sources.config = plan_json_get(json, "");
    TRY(read_generation(plan, &sources.generation));
    if (plan_input_count(plan, "hf_quant_config") > 0) {
        TRY(plan_read_json(plan, "hf_quant_config", 0, &json));
        sources.quantized = plan_json_get(json, "");
    }
    struct text bytes, text;
    struct layout layout;
    TRY(plan_read_layout(plan, "weights", &bytes));
    TRY(layout_decode(plan_arena(plan), plan_name(plan), bytes, &layout));
    TRY(config_render(plan_arena(plan), &sources, &layout, &text));
    return plan_output_text(plan, plan_name(plan), text);
}

static const struct role_spec config_roles[] = {
    {.name = "config", .is_required = true, .help = "the checkpoint's config.json"},
    {.name = "generation", .help = "generation_config.json: its eos_token_id counts"},
    {.name = "hf_quant_config", .help = "hf_quant_config.json of a ModelOpt checkpoint"},
    {.name = "weights",
        .is_many = true,
        .is_required = true,
        .reads = ROLE_LAYOUT,
        .help = "the node that makes the weights: its quantization is recorded"},
    {.name = NULL},
};

const struct task_type task_config = {
    .name = "config",
    .help = "config.json of an MLX model directory",
    .version = 2,
    .roles = config_roles,
    .plan = config_plan,
};
