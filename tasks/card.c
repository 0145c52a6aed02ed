/* card.c - task "card": README.md of a model directory (docs/formats.md, "Model card"). One output,
 * one text. What Python's ModelCardData makes of a front matter, its strange sides included. */
#include "tasks/card.h"

#include <string.h>

#include "base/buffer.h"
#include "engine/task.h"
#include "tasks/formats/yaml.h"
#include "tasks/formats/yaml_read.h"
#include "tasks/formats/yaml_write.h"
#include "tasks/model_index.h"

enum {
    CARD_BYTES_MAX = 16 << 20,
    FRONT_MATTER_BYTES_MAX = 4 << 20, /* the largest that are published have under 1 MiB */
    IDENTITIES_BYTES_MAX = 16 << 20,  /* of tags, which are compared with each other */
};

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

/* ---- the keys ---- */

struct card {
    struct arena *arena;
    const char *name;
    struct text source;
    const struct yaml *old; /* a map */
    struct yaml *new;
};

static struct error *refuse(const struct card *card, const struct yaml *where, const char *what)
{
    return error_new_at(ERROR_FORMAT, card->name, card->source.bytes, card->source.length,
        where->offset, "%s", what);
}

/* The same of an error that knows no place. */
static struct error *place(const struct card *card, const struct yaml *where, struct error *cause)
{
    if (cause == NULL || error_kind_of(cause) != ERROR_FORMAT)
        return cause;
    struct error *error = refuse(card, where, error_text(cause));
    error_free(cause);
    return error;
}

/* The members become arguments and attributes of a Python object, some of whose names are taken. */
static struct error *check_keys(const struct card *card)
{
    static const char *const taken[] = {
        "self", "ignore_metadata_errors", "to_dict", "_to_dict", "to_yaml"};
    for (size_t i = 0; i < card->old->count; i++) {
        const struct yaml *key = card->old->keys[i];
        if (key->kind != YAML_STRING)
            return refuse(card, key, "the keys of a front matter must be texts");
        for (size_t j = 0; j < sizeof taken / sizeof taken[0]; j++)
            if (text_is(key->text, taken[j]))
                return refuse(card, key, "a front matter must not have this key");
    }
    return NULL;
}

/* Adds those tags that are not there yet. */
static struct error *add_tags(const struct card *card, struct yaml *const *tags, size_t count,
    struct map *known, size_t *bytes_left, struct yaml *out)
{
    for (size_t i = 0; i < count; i++) {
        const char *name;
        TRY(yaml_identity(card->arena, tags[i], bytes_left, &name));
        if (name == NULL)
            return refuse(card, tags[i], "\"tags\" must hold less in each other");
        if (map_get(known, name) != MAP_NONE)
            continue;
        TRY(map_put(known, name, 0));
        TRY(yaml_append(card->arena, out, tags[i]));
    }
    return NULL;
}

/* A list, each tag once, "mlx" among them. The tags of a map are its keys. */
static struct error *make_tags(const struct card *card, struct yaml **out)
{
    struct yaml *old = yaml_get(card->old, "tags"), *mlx = yaml_string(card->arena, "mlx");
    struct yaml *tags = yaml_new(card->arena, YAML_LIST, TEXT_EMPTY);
    struct map known = {.arena = card->arena};
    size_t bytes_left = IDENTITIES_BYTES_MAX;
    if (tags == NULL || mlx == NULL)
        return error_memory();
    if (old != NULL && old->kind < YAML_LIST && old->kind != YAML_STRING)
        return refuse(card, old, "\"tags\" must be a list");
    if (old != NULL && old->kind == YAML_STRING)
        TRY(add_tags(card, &old, 1, &known, &bytes_left, tags));
    else if (old != NULL)
        TRY(add_tags(card, old->kind == YAML_MAP ? old->keys : old->values, old->count, &known,
            &bytes_left, tags));
    *out = tags;
    return add_tags(card, &mlx, 1, &known, &bytes_left, tags);
}

/* Written anew; NULL when there is none. "eval_results" stands for it in the library, and may be
 * there as long as it is empty. */
static struct error *make_model_index(const struct card *card, struct yaml **out)
{
    struct yaml *index = yaml_get(card->old, "model-index");
    struct yaml *results = yaml_get(card->old, "eval_results");
    *out = NULL;
    if (index != NULL && yaml_is_true(index))
        return place(card, index, model_index_render(card->arena, index, out));
    if (results == NULL)
        return NULL;
    bool is_empty = !yaml_is_true(results) && results->kind >= YAML_STRING;
    if (!is_empty)
        return refuse(card, results, "\"eval_results\" must be empty");
    return model_index_of_nothing(card->arena, yaml_get(card->old, "model_name"), out);
}

/* Keys keep their places, new ones come last; those without a value go. */
static struct error *make_members(
    struct card *card, const char *base_model, struct yaml *tags, struct yaml *index)
{
    struct arena *arena = card->arena;
    const struct {
        const char *key;
        struct yaml *value;
    } own[] = {{"base_model", yaml_string(arena, base_model)},
        {"library_name", yaml_string(arena, "mlx")},
        {"pipeline_tag", yaml_string(arena, "text-generation")}, {"tags", tags}};
    for (size_t i = 0; i < card->old->count; i++) {
        struct yaml *key = card->old->keys[i], *value = card->old->values[i];
        bool is_of_index = index != NULL &&
                           (text_is(key->text, "eval_results") || text_is(key->text, "model_name"));
        for (size_t j = 0; j < sizeof own / sizeof own[0]; j++)
            if (text_is(key->text, own[j].key))
                value = own[j].value;
        if (value != NULL &&
            (value->kind == YAML_NULL || is_of_index || text_is(key->text, "model-index")))
            continue;
        TRY(yaml_put(arena, card->new, key, value));
    }
    for (size_t j = 0; j < sizeof own / sizeof own[0]; j++)
        if (!yaml_has(card->new, own[j].key))
            TRY(yaml_set(arena, card->new, own[j].key, own[j].value));
    return index == NULL ? NULL : yaml_set(arena, card->new, "model-index", index);
}

/* ---- the whole ---- */

/* Of Python's str.strip. */
static bool is_blank(uint32_t code)
{
    return (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
           code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

static struct text strip(struct text text)
{
    uint32_t code;
    size_t begin = 0, end = 0, length;
    while ((length = text_decode(text_from(text, begin), &code)) > 0 && is_blank(code))
        begin += length;
    for (size_t i = begin; (length = text_decode(text_from(text, i), &code)) > 0; i += length)
        if (!is_blank(code))
            end = i + length;
    return text_cut(text, begin, end < begin ? begin : end);
}

/* The map of the front matter; an empty one when there is none. */
static struct error *read_front_matter(struct card *card)
{
    struct text text = find_front_matter(card->source);
    struct yaml *root = NULL;
    size_t begin = text.length == 0 ? 0 : (size_t)(text.bytes - card->source.bytes);
    if (text.length > FRONT_MATTER_BYTES_MAX)
        return error_new(ERROR_FORMAT, "%s: its front matter must have at most %d bytes, not %zu",
            card->name, FRONT_MATTER_BYTES_MAX, text.length);
    if (text.length > 0)
        TRY(yaml_read(card->arena, card->name, card->source, begin, begin + text.length, &root));
    if (root != NULL && root->kind != YAML_NULL && root->kind != YAML_MAP)
        return refuse(card, root, "a front matter must be a map");
    card->old =
        root != NULL && root->kind == YAML_MAP ? root : yaml_new(card->arena, YAML_MAP, TEXT_EMPTY);
    return memory_check(card->old);
}

struct error *card_render(struct arena *arena, const char *name, struct text source,
    const char *base_model, struct text *out)
{
    struct card card = {.arena = arena, .name = name, .source = source};
    struct yaml *tags = NULL, *index = NULL;
    struct text yaml;
    if (base_model == NULL) {
        *out = text_of(card_of_nothing);
        return NULL;
    }
    if (!text_is_utf8(source))
        return error_new(ERROR_FORMAT, "%s: must be UTF-8", name);
    TRY(read_front_matter(&card));
    TRY(check_keys(&card));
    TRY(make_tags(&card, &tags));
    TRY(make_model_index(&card, &index));
    card.new = yaml_new(arena, YAML_MAP, TEXT_EMPTY);
    TRY(memory_check(card.new));
    TRY(make_members(&card, base_model, tags, index));
    const char *line_break = find_line_break(source);
    TRY(place(&card, card.old, yaml_write_map(arena, card.new, line_break, &yaml)));
    struct buffer buffer = {.arena = arena};
    buffer_put_string(&buffer, "---");
    buffer_put_string(&buffer, line_break);
    buffer_put_text(&buffer, strip(yaml));
    buffer_put_string(&buffer, line_break);
    buffer_put_string(&buffer, "---");
    buffer_put_string(&buffer, line_break);
    return buffer_text(&buffer, out);
}

static struct error *card_plan(struct plan *plan, const struct node *node)
{
    (void)node;
    const char *base_model = plan_param_text(plan, "base_model", NULL), *name = NULL;
    struct text source = TEXT_EMPTY, card;
    if (base_model != NULL && plan_input_count(plan, "readme") > 0) {
        name = plan_input_path(plan, "readme", 0);
        TRY(plan_read_text(plan, "readme", 0, CARD_BYTES_MAX, &source));
    }
    TRY(card_render(plan_arena(plan), name, source, base_model, &card));
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
    .version = 2,
    .roles = card_roles,
    .params = card_params,
    .plan = card_plan,
};
