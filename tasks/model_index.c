/* model_index.c - model_index_to_eval_results and eval_results_to_model_index of huggingface_hub's
 * repocard_data.py, in one go (model_index.h). */
#include "tasks/model_index.h"

#include "base/buffer.h"
#include "base/map.h"

struct builder {
    struct arena *arena;
    struct yaml *name;    /* of the last element; NULL when it has none */
    struct yaml *results; /* a list of maps */
    struct map places;    /* what makes results one, to places in `results` */
    size_t values_left;   /* copies make of an alias what it stands for */
};

static struct error *refuse(const char *what)
{
    return error_new(ERROR_FORMAT, "\"model-index\": %s", what);
}

/* A member that must be there. */
static struct error *get(const struct yaml *map, const char *key, const struct yaml **out)
{
    if (map->kind != YAML_MAP)
        return error_new(ERROR_FORMAT, "\"model-index\": expected a map with \"%s\"", key);
    if (!yaml_has(map, key))
        return error_new(ERROR_FORMAT, "\"model-index\": expected \"%s\", found none", key);
    *out = yaml_get(map, key);
    return NULL;
}

/* What Python can go through: of a text or a map, nothing but an empty one is of any use. */
static struct error *get_list(const struct yaml *map, const char *key, const struct yaml **out)
{
    static const struct yaml empty = {.kind = YAML_LIST};
    TRY(get(map, key, out));
    const struct yaml *value = *out;
    bool is_empty = value != NULL && (value->kind == YAML_STRING || value->kind == YAML_MAP) &&
                    !yaml_is_true(value);
    if (is_empty)
        *out = &empty;
    else if (value == NULL || value->kind != YAML_LIST)
        return error_new(ERROR_FORMAT, "\"model-index\": \"%s\" must be a list", key);
    return NULL;
}

/* Without null, and without sharing: what comes twice is written twice. */
static struct error *copy(
    struct builder *builder, struct yaml *value, unsigned depth, struct yaml **out)
{
    *out = value;
    if (depth > YAML_DEPTH_MAX || builder->values_left == 0)
        return error_new(ERROR_FORMAT,
            "\"model-index\": must hold at most %d values, and %d in each other", YAML_NODES_MAX,
            YAML_DEPTH_MAX);
    builder->values_left--;
    if (value->kind < YAML_LIST)
        return NULL;
    struct yaml *made = yaml_new(builder->arena, value->kind, TEXT_EMPTY);
    TRY(memory_check(made));
    for (size_t i = 0; i < value->count; i++) {
        struct yaml *item;
        if (value->values[i]->kind == YAML_NULL ||
            (value->kind == YAML_MAP && value->keys[i]->kind == YAML_NULL))
            continue;
        TRY(copy(builder, value->values[i], depth + 1, &item));
        if (value->kind == YAML_LIST)
            TRY(yaml_append(builder->arena, made, item));
        else
            TRY(yaml_put(builder->arena, made, value->keys[i], item));
    }
    *out = made;
    return NULL;
}

/* `to[to_key] = from[from_key]`, unless that is null or not there. */
static struct error *take(struct builder *builder, struct yaml *to, const char *to_key,
    const struct yaml *from, const char *from_key)
{
    struct yaml *value = yaml_get(from, from_key);
    if (value == NULL)
        return NULL;
    TRY(copy(builder, value, 0, &value));
    return yaml_set(builder->arena, to, to_key, value);
}

static struct error *take_all(struct builder *builder, struct yaml *to, const char *to_key,
    const struct yaml *from, const char *const *keys)
{
    struct yaml *made = yaml_new(builder->arena, YAML_MAP, TEXT_EMPTY);
    TRY(memory_check(made));
    for (; *keys != NULL; keys++)
        TRY(take(builder, made, *keys, from, *keys));
    return to->kind == YAML_LIST ? yaml_append(builder->arena, to, made)
                                 : yaml_set(builder->arena, to, to_key, made);
}

/* ---- one result ---- */

struct result {
    const struct yaml *task, *dataset, *metrics, *source; /* source: NULL for none */
};

static struct error *read_source(const struct yaml *result, const struct yaml **out)
{
    const struct yaml *source = yaml_get(result, "source");
    *out = source != NULL && yaml_is_true(source) ? source : NULL;
    if (*out == NULL)
        return NULL;
    return source->kind == YAML_MAP ? NULL : refuse("\"source\" must be a map");
}

static struct error *read_result(const struct yaml *result, struct result *out)
{
    const struct yaml *value;
    TRY(get(result, "task", &out->task));
    if (out->task == NULL)
        return refuse("\"task\" must be a map");
    TRY(get(out->task, "type", &value));
    TRY(get(result, "dataset", &out->dataset));
    if (out->dataset == NULL)
        return refuse("\"dataset\" must be a map");
    TRY(get(out->dataset, "type", &value));
    TRY(get(out->dataset, "name", &value));
    TRY(read_source(result, &out->source));
    TRY(get_list(result, "metrics", &out->metrics));
    for (size_t i = 0; i < out->metrics->count; i++) {
        TRY(get(out->metrics->values[i], "type", &value));
        TRY(get(out->metrics->values[i], "value", &value));
    }
    return NULL;
}

/* The text that is the same for results that are written as one. */
static struct error *name_result(
    struct builder *builder, const struct result *result, const char **out)
{
    const struct yaml *const values[] = {yaml_get(result->task, "type"),
        yaml_get(result->dataset, "type"), yaml_get(result->dataset, "config"),
        yaml_get(result->dataset, "split"), yaml_get(result->dataset, "revision")};
    static const struct yaml null = {.kind = YAML_NULL};
    struct buffer buffer = {.arena = builder->arena};
    size_t bytes_left = SIZE_MAX;
    struct text text;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        const struct yaml *value = values[i] == NULL ? &null : values[i];
        const char *name;
        if (value->kind >= YAML_LIST)
            return refuse(
                "types, \"config\", \"split\" and \"revision\" must be no lists and no maps");
        TRY(yaml_identity(builder->arena, value, &bytes_left, &name));
        buffer_put_string(&buffer, name);
    }
    TRY(buffer_text(&buffer, &text));
    *out = text.bytes;
    return NULL;
}

static struct error *begin_result(
    struct builder *builder, const struct result *result, struct yaml *made)
{
    static const char *const task_keys[] = {"type", "name", NULL};
    static const char *const dataset_keys[] = {
        "name", "type", "config", "split", "revision", "args", NULL};
    static const char *const source_keys[] = {"url", "name", NULL};
    struct yaml *metrics = yaml_new(builder->arena, YAML_LIST, TEXT_EMPTY);
    TRY(take_all(builder, made, "task", result->task, task_keys));
    TRY(take_all(builder, made, "dataset", result->dataset, dataset_keys));
    TRY(yaml_set(builder->arena, made, "metrics", metrics));
    if (result->source == NULL || yaml_get(result->source, "url") == NULL)
        return NULL;
    return take_all(builder, made, "source", result->source, source_keys);
}

static struct error *add_result(struct builder *builder, const struct yaml *value)
{
    static const char *const metric_keys[] = {
        "type", "value", "name", "config", "args", "verified", "verifyToken", NULL};
    struct result result;
    const char *name = NULL;
    TRY(read_result(value, &result));
    if (result.metrics->count == 0)
        return NULL;
    if (result.source != NULL && yaml_get(result.source, "name") != NULL &&
        yaml_get(result.source, "url") == NULL)
        return refuse("a \"source\" with a \"name\" must have a \"url\"");
    TRY(name_result(builder, &result, &name));
    uint32_t place = map_get(&builder->places, name);
    if (place == MAP_NONE) {
        struct yaml *made = yaml_new(builder->arena, YAML_MAP, TEXT_EMPTY);
        place = (uint32_t)builder->results->count;
        TRY(yaml_append(builder->arena, builder->results, made));
        TRY(map_put(&builder->places, name, place));
        TRY(begin_result(builder, &result, made));
    }
    struct yaml *metrics = yaml_get(builder->results->values[place], "metrics");
    for (size_t i = 0; i < result.metrics->count; i++)
        TRY(take_all(builder, metrics, NULL, result.metrics->values[i], metric_keys));
    return NULL;
}

/* ---- all of them ---- */

static struct error *finish(struct builder *builder, struct yaml **out)
{
    struct yaml *list = yaml_new(builder->arena, YAML_LIST, TEXT_EMPTY);
    struct yaml *element = yaml_new(builder->arena, YAML_MAP, TEXT_EMPTY);
    if (list == NULL || element == NULL)
        return error_memory();
    if (builder->name != NULL) {
        struct yaml *name;
        TRY(copy(builder, builder->name, 0, &name));
        TRY(yaml_set(builder->arena, element, "name", name));
    }
    TRY(yaml_set(builder->arena, element, "results", builder->results));
    *out = list;
    return yaml_append(builder->arena, list, element);
}

struct error *model_index_render(struct arena *arena, const struct yaml *index, struct yaml **out)
{
    struct builder builder = {.arena = arena, .places.arena = arena, .values_left = YAML_NODES_MAX};
    builder.results = yaml_new(arena, YAML_LIST, TEXT_EMPTY);
    TRY(memory_check(builder.results));
    if (index->kind != YAML_LIST)
        return refuse("must be a list");
    for (size_t i = 0; i < index->count; i++) {
        const struct yaml *name, *results;
        TRY(get(index->values[i], "name", &name));
        TRY(get_list(index->values[i], "results", &results));
        builder.name = yaml_get(index->values[i], "name");
        for (size_t j = 0; j < results->count; j++)
            TRY(add_result(&builder, results->values[j]));
    }
    if (builder.results->count > 0 && builder.name == NULL)
        return refuse("\"name\" must not be null");
    return finish(&builder, out);
}

struct error *model_index_of_nothing(
    struct arena *arena, struct yaml *model_name, struct yaml **out)
{
    struct builder builder = {.arena = arena, .name = model_name, .values_left = YAML_NODES_MAX};
    builder.results = yaml_new(arena, YAML_LIST, TEXT_EMPTY);
    TRY(memory_check(builder.results));
    return finish(&builder, out);
}
