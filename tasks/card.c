/* card.c - task "card": README.md of a model directory (docs/formats.md, "Model card"). One output,
 * one text. The card's "model-index" stays as it is, where the reference sorts its keys anew. */
#include "tasks/card.h"

#include <string.h>

#include "engine/task.h"
#include "tasks/formats/yaml.h"

enum { CARD_BYTES_MAX = 16 << 20 };

static const char card_of_nothing[] = "---\n"
                                      "language: en\n"
                                      "library_name: mlx\n"
                                      "pipeline_tag: text-generation\n"
                                      "tags:\n"
                                      "- mlx\n"
                                      "---\n";

static size_t skip_break(struct text text, size_t position)
{
    if (position + 1 < text.length && text.bytes[position] == '\r' &&
        text.bytes[position + 1] == '\n')
        return position + 2;
    bool is_break =
        position < text.length && (text.bytes[position] == '\r' || text.bytes[position] == '\n');
    return position + is_break;
}

/* "---", then blanks, then a line feed (the hub takes no lone CR here) or the end. */
static bool is_fence(struct text text, size_t position)
{
    if (text.length - position < 3 || memcmp(text.bytes + position, "---", 3) != 0)
        return false;
    position += 3;
    while (position < text.length && (text.bytes[position] == ' ' || text.bytes[position] == '\t'))
        position++;
    size_t next = skip_break(text, position);
    return position == text.length || (next > position && text.bytes[next - 1] == '\n');
}

/* The text between the fences, as the hub finds it; empty when there is none. */
static struct text find_front_matter(struct text card)
{
    size_t begin = 0;
    if (text_starts_with(card, "\xEF\xBB\xBF"))
        begin = 3;
    while (begin < card.length && strchr(" \t\r\n\v\f", card.bytes[begin]) != NULL)
        begin++;
    if (card.length - begin < 4 || memcmp(card.bytes + begin, "---", 3) != 0)
        return TEXT_EMPTY;
    begin = skip_break(card, begin + 3);
    if (begin == 0 || (card.bytes[begin - 1] != '\n' && card.bytes[begin - 1] != '\r'))
        return TEXT_EMPTY;
    for (size_t i = begin; i < card.length; i++) {
        size_t next = skip_break(card, i);
        if (next > i && is_fence(card, next))
            return (struct text){card.bytes + begin, i - begin};
    }
    return TEXT_EMPTY;
}

/* The hub's own rule. */
static const char *find_line_break(struct text card)
{
    size_t returns = 0, feeds = 0, pairs = 0;
    for (size_t i = 0; i < card.length; i++) {
        returns += card.bytes[i] == '\r';
        feeds += card.bytes[i] == '\n';
        pairs += i > 0 && card.bytes[i] == '\n' && card.bytes[i - 1] == '\r';
    }
    if (returns + feeds == 0)
        return "\n";
    if (pairs == returns && pairs == feeds)
        return "\r\n";
    return returns > feeds ? "\r" : "\n";
}

static bool has_string(const struct yaml *list, const struct yaml *value)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->values[i].kind == value->kind && text_equal(list->values[i].text, value->text) &&
            (value->kind == YAML_STRING || value->kind == YAML_OTHER))
            return true;
    return false;
}

/* A list, each tag once, "mlx" among them. */
static struct error *set_tags(struct arena *arena, struct yaml *map, bool *is_understood)
{
    const struct yaml *old = yaml_get(map, "tags");
    struct yaml tags = {.kind = YAML_LIST}, mlx = yaml_string("mlx");
    if (old != NULL && old->kind != YAML_LIST && old->kind != YAML_STRING && !yaml_is_null(old)) {
        *is_understood = false;
        return NULL;
    }
    if (old != NULL && old->kind == YAML_STRING)
        TRY(yaml_append(arena, &tags, *old));
    for (size_t i = 0; old != NULL && old->kind == YAML_LIST && i < old->count; i++)
        if (!has_string(&tags, &old->values[i]))
            TRY(yaml_append(arena, &tags, old->values[i]));
    if (!has_string(&tags, &mlx))
        TRY(yaml_append(arena, &tags, mlx));
    return yaml_set(arena, map, "tags", tags);
}

/* Keys without a value are left out, as the hub's library does. */
static void drop_nulls(struct yaml *map)
{
    size_t count = 0;
    for (size_t i = 0; i < map->count; i++) {
        if (yaml_is_null(&map->values[i]))
            continue;
        map->keys[count] = map->keys[i];
        map->values[count++] = map->values[i];
    }
    map->count = count;
}

struct error *card_render(struct arena *arena, struct text source, const char *base_model,
    struct text *out, bool *is_understood)
{
    *is_understood = true;
    if (base_model == NULL) {
        *out = text_of(card_of_nothing);
        return NULL;
    }
    struct yaml map;
    const char *line_break = find_line_break(source);
    TRY(yaml_parse_map(arena, find_front_matter(source), &map, is_understood));
    TRY(yaml_set(arena, &map, "base_model", yaml_string(base_model)));
    TRY(yaml_set(arena, &map, "library_name", yaml_string("mlx")));
    TRY(yaml_set(arena, &map, "pipeline_tag", yaml_string("text-generation")));
    TRY(set_tags(arena, &map, is_understood));
    drop_nulls(&map);
    struct text yaml;
    TRY(yaml_write_map(arena, &map, line_break, &yaml));
    char *card =
        arena_format(arena, "---%s%s%s---%s", line_break, yaml.bytes, line_break, line_break);
    TRY(memory_check(card));
    *out = text_of(card);
    return NULL;
}

static struct error *card_plan(struct plan *plan, const struct node *node)
{
    (void)node;
    const char *base_model = plan_param_text(plan, "base_model", NULL);
    struct text source = TEXT_EMPTY, card;
    bool is_understood;
    if (base_model != NULL && plan_input_count(plan, "readme") > 0)
        TRY(plan_read_text(plan, "readme", 0, CARD_BYTES_MAX, &source));
    TRY(card_render(plan_arena(plan), source, base_model, &card, &is_understood));
    if (!is_understood)
        plan_warn(plan, "%s: its front matter is not taken over as a whole: it is no plain YAML",
            plan_input_path(plan, "readme", 0));
    return plan_output_text(plan, plan_name(plan), card);
}

static const struct role_spec card_roles[] = {
    {.name = "readme", .help = "the checkpoint's README.md"},
    {.name = NULL},
};

static const struct param_spec card_params[] = {
    {.name = "base_model",
        .type = PARAM_STRING,
        .help = "the repository the model comes from, \"org/name\"; without it the readme is "
                "ignored"},
    {.name = NULL},
};

const struct task_type task_card = {
    .name = "card",
    .help = "README.md of a model directory: the checkpoint's front matter with MLX's keys",
    .version = 1,
    .roles = card_roles,
    .params = card_params,
    .plan = card_plan,
};
