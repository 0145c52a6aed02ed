/* chat_template.c - task "chat-template": the .jinja files of a model directory (docs/formats.md,
 * "Chat templates"). A node named NAME.jinja makes the default template, one named with a pattern
 * all the others; either may have nothing to make. */
#include "tasks/chat_template.h"

#include <string.h>

enum { NAME_BYTES_MAX = 100 };

bool chat_template_name_is_safe(struct text name)
{
    if (name.length == 0 || name.length > NAME_BYTES_MAX || name.bytes[0] == '.')
        return false;
    for (size_t i = 0; i < name.length; i++)
        if ((unsigned char)name.bytes[i] < 0x20 || strchr("/\\*?\x7f", name.bytes[i]) != NULL)
            return false;
    return text_is_utf8(name);
}

static struct error *add(
    struct arena *arena, struct chat_templates *set, const struct chat_template *template)
{
    if (set->items == NULL)
        set->items = arena_array(arena, CHAT_TEMPLATES_MAX, sizeof *set->items);
    TRY(memory_check(set->items));
    for (size_t i = 0; i < set->count; i++) {
        if (strcmp(set->items[i].name, template->name) == 0) { /* Python's dict: the last counts */
            set->items[i] = *template;
            return NULL;
        }
    }
    set->items[set->count++] = *template;
    return NULL;
}

/* A template of tokenizer_config.json; half of a pair could not be written to its file. */
static struct error *add_value(
    struct arena *arena, struct chat_templates *set, const char *name, const struct json *template)
{
    if (!text_is_utf8(template->text))
        return json_error(template,
            "the template \"%s\" must be text that UTF-8 has, and holds a lone surrogate", name);
    return add(arena, set, &(struct chat_template){name, template->text, template->text});
}

static struct error *add_named(struct arena *arena, struct chat_templates *set,
    const struct json *place, struct text name, const struct json *template)
{
    if (!json_is(template, JSON_STRING))
        return json_error(place, "the template \"%s\" must be a string, not %s",
            text_printable(arena, name), json_show(arena, template));
    if (!chat_template_name_is_safe(name))
        return json_error(place,
            "the name of a chat template must be usable as a file name, not \"%s\"",
            text_printable(arena, name));
    if (set->count == CHAT_TEMPLATES_MAX)
        return json_error(place, "more than %d chat templates", CHAT_TEMPLATES_MAX);
    return add_value(arena, set, name.bytes, template);
}

struct error *chat_templates_from_config(
    struct arena *arena, const struct json *value, struct chat_templates *out)
{
    struct chat_templates set = {0};
    if (value == NULL || value->kind == JSON_NULL) {
        *out = set;
        return NULL;
    }
    if (value->kind == JSON_STRING)
        TRY(add_value(arena, &set, "default", value));
    else if (value->kind != JSON_ARRAY && value->kind != JSON_OBJECT)
        return json_error(value,
            "\"chat_template\" must be a string, a list or an object of templates, not %s",
            json_show(arena, value));
    set.is_set = value->kind != JSON_STRING;
    for (size_t i = 0; value->kind == JSON_ARRAY && i < value->count; i++) {
        const struct json *item = &value->items[i], *name = json_get(item, "name");
        if (!json_is(name, JSON_STRING))
            return json_error(item, "an entry of \"chat_template\" must have a \"name\"");
        TRY(add_named(arena, &set, item, name->text, json_get(item, "template")));
    }
    for (size_t i = 0; value->kind == JSON_OBJECT && i < value->count; i++) {
        const struct json_member *member = &value->members[i];
        TRY(add_named(arena, &set, &member->value, member->key, &member->value));
    }
    *out = set;
    return NULL;
}

const struct chat_template *chat_templates_single(const struct chat_templates *templates)
{
    return templates->count == 1 && !templates->is_set ? &templates->items[0] : NULL;
}

/* Python's universal newlines. */
static struct error *read_lines(struct arena *arena, struct text text, struct text *out)
{
    char *read = arena_copy(arena, text.bytes, text.length);
    TRY(memory_check(read));
    size_t used = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.bytes[i] == '\n' && i > 0 && text.bytes[i - 1] == '\r')
            continue;
        read[used++] = text.bytes[i] == '\r' ? '\n' : text.bytes[i];
    }
    read[used] = '\0';
    *out = (struct text){read, used};
    return NULL;
}

/* A file that is no text could be copied, but not loaded. */
static struct error *read_file(
    struct plan *plan, const char *role, size_t index, const char *name, struct chat_template *out)
{
    struct text text;
    TRY(plan_read_text(plan, role, index, CHAT_TEMPLATE_BYTES_MAX, &text));
    if (!text_is_utf8(text))
        return error_new(ERROR_FORMAT, "%s: expected a chat template in UTF-8, found other bytes",
            plan_input_path(plan, role, index));
    *out = (struct chat_template){.name = name, .text = text};
    return read_lines(plan_arena(plan), text, &out->read);
}

static struct error *read_additional(struct plan *plan, struct chat_templates *set)
{
    static const char role[] = "additional_chat_templates";
    size_t count = plan_input_count(plan, role);
    for (size_t i = 0; i < count; i++) {
        const char *path = plan_input_path(plan, role, i), *base = path_base(path);
        size_t length = strlen(base);
        if (text_ends_with(text_of(base), ".jinja"))
            length -= strlen(".jinja");
        char *name = arena_copy(plan_arena(plan), base, length);
        TRY(memory_check(name));
        if (!chat_template_name_is_safe((struct text){name, length}))
            return error_new(ERROR_FORMAT,
                "%s: the name of a chat template must be usable as a file name everywhere", path);
        if (set->count == CHAT_TEMPLATES_MAX)
            return error_new(
                ERROR_FORMAT, "%s: more than %d chat templates", path, CHAT_TEMPLATES_MAX);
        struct chat_template template;
        TRY(read_file(plan, role, i, name, &template));
        TRY(add(plan_arena(plan), set, &template));
        set->is_set = true;
    }
    return NULL;
}

struct error *chat_templates_read(struct plan *plan, struct chat_templates *out)
{
    struct chat_templates set = {0};
    struct chat_template template;
    if (plan_input_count(plan, "template") > 0) {
        TRY(read_file(plan, "template", 0, "default", &template));
        TRY(add(plan_arena(plan), &set, &template));
        *out = set;
        return NULL;
    }
    if (plan_input_count(plan, "chat_template") > 0) {
        TRY(read_file(plan, "chat_template", 0, "default", &template));
        TRY(add(plan_arena(plan), &set, &template));
    }
    TRY(read_additional(plan, &set));
    if (set.count == 1 && strcmp(set.items[0].name, "default") == 0)
        set.is_set = false; /* wherever the file lies */
    if (set.count == 0 && plan_input_count(plan, "config") > 0) {
        struct plan_json *config;
        TRY(plan_read_json(plan, "config", 0, &config));
        TRY(chat_templates_from_config(
            plan_arena(plan), plan_json_get(config, "chat_template"), &set));
    }
    *out = set;
    return NULL;
}

static struct error *chat_template_plan(struct plan *plan, const struct node *node)
{
    (void)node;
    const char *node_name = plan_name(plan);
    struct chat_templates set;
    TRY(chat_templates_read(plan, &set));
    bool makes_others = glob_is_pattern(node_name);
    for (size_t i = 0; i < set.count; i++) {
        const struct chat_template *item = &set.items[i];
        bool is_other = strcmp(item->name, "default") != 0;
        if (is_other != makes_others)
            continue;
        const char *path = node_name;
        if (is_other) {
            char *directory = path_directory(plan_arena(plan), node_name);
            char *file = arena_format(plan_arena(plan), "%s.jinja", item->name);
            path = directory == NULL || file == NULL ? NULL
                                                     : path_join(plan_arena(plan), directory, file);
            TRY(memory_check(path));
        }
        TRY(plan_output_text(plan, path, item->text));
    }
    return NULL;
}

static const struct role_spec chat_template_roles[] = {
    CHAT_TEMPLATE_ROLES,
    {.name = "config", .help = "the checkpoint's tokenizer_config.json"},
    {.name = NULL},
};

const struct task_type task_chat_template = {
    .name = "chat-template",
    .help = "the chat template (chat_template.jinja) or, for a pattern, the additional ones",
    .version = 2,
    .roles = chat_template_roles,
    .plan = chat_template_plan,
};
