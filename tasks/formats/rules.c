/* rules.c - rules bound to a configuration and applied to a list of tensors. */
#include "tasks/formats/rules.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "tasks/formats/rules_file.h"

enum {
    FIELDS_MAX = 256, /* of config.json that one file may mention */
    UNEXPECTED_SHOWN_MAX = 3,
    SHAPE_TEXT_MAX = 200,
    VISITS_MAX = 2 * RULES_TENSORS_MAX, /* of entries of `tensors`, and rounds of their loops */
};

struct field {
    struct text name;
    bool is_absent;
    struct value value; /* of an absent one its default */
};

/* has("pattern") as it was when the present step began. */
struct presence {
    const struct pattern *pattern;
    unsigned generation;
    bool is_present;
};

struct rules_model {
    struct arena *arena;
    const struct rules *rules;
    struct rules_config config;
    struct value *lets;
    size_t let_count; /* evaluated so far */
    struct field fields[FIELDS_MAX];
    size_t field_count;
    /* the tensors, as the steps have left them */
    const struct rules_input *inputs;
    struct text *names; /* NUL-terminated; bytes is NULL for a dropped one */
    size_t input_count;
    struct map by_name;  /* of the names, to inputs */
    unsigned generation; /* raised by each step */
    struct presence *presences;
    size_t presence_count, presence_capacity;
};

/* ---- what names mean ---- */

struct scene {
    struct rules_model *model;
    const struct captures *captures;  /* or NULL */
    const struct rules_input *tensor; /* whose shape has names, or NULL */
};

static struct error *value_of_capture(const struct capture *capture, struct value *out)
{
    if (!capture->is_number) {
        *out = (struct value){.kind = VALUE_TEXT, .text = capture->text};
        return NULL;
    }
    struct value value = {.kind = VALUE_INTEGER};
    for (size_t i = 0; i < capture->text.length; i++)
        if (__builtin_mul_overflow(value.integer, 10, &value.integer) ||
            __builtin_add_overflow(value.integer, capture->text.bytes[i] - '0', &value.integer))
            return error_new(ERROR_FORMAT, "the number %.*s in a tensor's name is too large",
                (int)capture->text.length, capture->text.bytes);
    *out = value;
    return NULL;
}

/* "ndim", "d0" from the first axis, "e0" from the last; an axis that is not there is null. */
static bool find_shape_name(const struct rules_input *tensor, struct text name, struct value *out)
{
    struct value value = {.kind = VALUE_INTEGER, .integer = tensor->rank};
    if (!text_is(name, "ndim")) {
        if (name.length != 2 || (name.bytes[0] != 'd' && name.bytes[0] != 'e') ||
            name.bytes[1] < '0' || name.bytes[1] > '9')
            return false;
        uint32_t axis = (uint32_t)(name.bytes[1] - '0');
        bool is_there = axis < tensor->rank;
        if (is_there && name.bytes[0] == 'e')
            axis = tensor->rank - 1 - axis;
        if (is_there && tensor->shape[axis] <= INT64_MAX)
            value.integer = (int64_t)tensor->shape[axis];
        else
            value.kind = VALUE_NULL;
    }
    *out = value;
    return true;
}

/* A field that is there has its own value, null too; `defaults` are for those that are not. */
static struct error *find_field(
    struct rules_model *model, struct text name, const struct field **out)
{
    for (size_t i = 0; i < model->field_count; i++)
        if (text_equal(model->fields[i].name, name)) {
            *out = &model->fields[i];
            return NULL;
        }
    if (model->field_count == FIELDS_MAX)
        return error_new(ERROR_USAGE, "%s: more than %d fields of config.json are asked for",
            rules_name(model->rules), FIELDS_MAX);
    const char *path = arena_copy(model->arena, name.bytes, name.length);
    TRY(memory_check(path));
    const struct json *given = model->config.get(model->config.context, path);
    struct field *field = &model->fields[model->field_count++];
    *field = (struct field){.name = name,
        .is_absent = given == NULL,
        .value = value_of_json(given != NULL ? given : json_get(model->rules->defaults, path))};
    *out = field;
    return NULL;
}

static struct error *check_required(struct rules_model *model)
{
    const struct json *required = model->rules->required;
    const char *list = "";
    size_t count = 0;
    for (size_t i = 0; required != NULL && i < required->count; i++) {
        const struct field *field;
        TRY(find_field(model, required->items[i].text, &field));
        if (!field->is_absent)
            continue;
        list = arena_format(model->arena, "%s%s\"%s\"", list, count++ > 0 ? ", " : "",
            required->items[i].text.bytes);
        TRY(memory_check(list));
    }
    if (count == 0)
        return NULL;
    return error_new(ERROR_FORMAT, "%s: %s %s missing: without %s MLX cannot load the model",
        model->config.name, list, count > 1 ? "are" : "is", count > 1 ? "them" : "it");
}

static struct error *find_name(void *context, struct text name, struct value *out)
{
    const struct scene *scene = context;
    struct rules_model *model = scene->model;
    for (size_t i = 0; scene->captures != NULL && i < scene->captures->count; i++)
        if (text_equal(scene->captures->items[i].name, name))
            return value_of_capture(&scene->captures->items[i], out);
    if (scene->tensor != NULL && find_shape_name(scene->tensor, name, out))
        return NULL;
    for (size_t i = 0; i < model->let_count; i++)
        if (text_equal(model->rules->lets[i].name, name)) {
            *out = model->lets[i];
            return NULL;
        }
    const struct field *field;
    TRY(find_field(model, name, &field));
    *out = field->value;
    return NULL;
}

static bool search_names(const struct rules_model *model, const struct pattern *pattern)
{
    for (size_t i = 0; i < model->input_count; i++)
        if (model->names[i].bytes != NULL && pattern_match(pattern, model->names[i], NULL))
            return true;
    return false;
}

/* Each pattern is searched once for each state of the tensors, however many of them ask. */
static bool has_name(void *context, const struct pattern *pattern)
{
    const struct scene *scene = context;
    struct rules_model *model = scene->model;
    for (size_t i = 0; i < model->presence_count; i++) {
        struct presence *presence = &model->presences[i];
        if (presence->pattern != pattern)
            continue;
        if (presence->generation != model->generation) {
            presence->generation = model->generation;
            presence->is_present = search_names(model, pattern);
        }
        return presence->is_present;
    }
    struct presence presence = {pattern, model->generation, search_names(model, pattern)};
    struct presence *presences = arena_grow(model->arena, model->presences, model->presence_count,
        &model->presence_capacity, sizeof *presences);
    if (presences == NULL)
        return presence.is_present; /* unremembered, but right */
    presences[model->presence_count++] = presence;
    model->presences = presences;
    return presence.is_present;
}

static struct scope scope_of(struct scene *scene)
{
    return (struct scope){.context = scene, .find = find_name, .has = has_name};
}

/* An absent condition holds. */
static struct error *holds(const struct expression *condition, struct scene scene, bool *out)
{
    struct scope scope = scope_of(&scene);
    *out = true;
    return condition == NULL ? NULL : expression_condition(condition, &scope, out);
}

static struct error *evaluate_lets(struct rules_model *model)
{
    const struct rules *rules = model->rules;
    for (size_t i = 0; i < rules->let_count; i++) {
        struct scene scene = {.model = model};
        struct scope scope = scope_of(&scene);
        TRY(expression_evaluate(rules->lets[i].expression, &scope, &model->lets[i]));
        model->let_count = i + 1;
    }
    return NULL;
}

static struct error *check_refusals(struct rules_model *model)
{
    for (size_t i = 0; i < model->rules->refusal_count; i++) {
        const struct expression *refusal = model->rules->refusals[i];
        bool is_refused;
        TRY(holds(refusal, (struct scene){.model = model}, &is_refused));
        if (is_refused)
            return error_new(
                ERROR_FORMAT, "MLX cannot load a model with %s", expression_source(refusal).bytes);
    }
    return NULL;
}

struct error *rules_bind(struct arena *arena, const struct rules *rules,
    const struct rules_config *config, struct rules_model **out)
{
    struct rules_model *model = arena_alloc(arena, sizeof *model);
    TRY(memory_check(model));
    *model = (struct rules_model){.arena = arena, .rules = rules, .config = *config};
    TRY(check_required(model));
    model->lets = arena_array(arena, rules->let_count, sizeof *model->lets);
    TRY(memory_check(model->lets));
    struct error *error = evaluate_lets(model);
    if (error == NULL)
        error = check_refusals(model);
    if (error != NULL)
        return error_wrap(error, "matching the rules with %s", config->name);
    *out = model;
    return NULL;
}

/* ---- steps ---- */

static bool matches_any(
    const struct pattern_list *patterns, struct text name, struct captures *captures, size_t *out)
{
    for (size_t i = 0; i < patterns->count; i++) {
        if (!pattern_match(patterns->items[i], name, captures))
            continue;
        if (out != NULL)
            *out = i;
        return true;
    }
    return false;
}

/* "rules/qwen3.json:12:6". NULL when out of memory. */
static const char *place_of(struct arena *arena, const struct json *value)
{
    const struct json_document *document = value->document;
    size_t line = 1, column = 1;
    for (size_t i = 0; i < value->offset && i < document->text.length; i++) {
        column = document->text.bytes[i] == '\n' ? 1 : column + 1;
        line += document->text.bytes[i] == '\n';
    }
    return arena_format(arena, "%s:%zu:%zu", document->name, line, column);
}

static struct error *name_too_long(struct arena *arena, struct text name)
{
    const char *printable = text_printable(arena, name);
    TRY(memory_check(printable));
    return error_new(ERROR_FORMAT, "a tensor's name is longer than %d bytes: \"%s\"",
        PATTERN_NAME_MAX, printable);
}

/* A name is printed as it is from here on. */
static struct error *check_name(struct arena *arena, struct text name)
{
    if (name.length > PATTERN_NAME_MAX)
        return name_too_long(arena, name);
    bool is_plain = name.length > 0 && text_is_utf8(name);
    for (size_t i = 0; i < name.length && is_plain; i++)
        is_plain = (unsigned char)name.bytes[i] >= 0x20 && name.bytes[i] != 0x7F;
    if (!is_plain)
        return error_new(ERROR_FORMAT, "a tensor's name is empty or holds control characters");
    return NULL;
}

static size_t count_occurrences(struct text text, struct text part)
{
    size_t count = 0;
    for (size_t i = 0; i + part.length <= text.length;) {
        bool is_here = memcmp(text.bytes + i, part.bytes, part.length) == 0;
        count += is_here;
        i += is_here ? part.length : 1;
    }
    return count;
}

static struct error *replace_all(
    struct arena *arena, struct text *name, struct text from, struct text to)
{
    size_t count = count_occurrences(*name, from);
    if (count == 0)
        return NULL;
    size_t length = name->length - count * from.length + count * to.length;
    if (length > PATTERN_NAME_MAX)
        return name_too_long(arena, *name);
    char *bytes = arena_alloc(arena, length + 1);
    TRY(memory_check(bytes));
    size_t filled = 0;
    for (size_t i = 0; i < name->length;) {
        bool is_here = from.length <= name->length - i &&
                       memcmp(name->bytes + i, from.bytes, from.length) == 0;
        struct text part = is_here ? to : (struct text){name->bytes + i, 1};
        memcpy(bytes + filled, part.bytes, part.length);
        filled += part.length;
        i += is_here ? from.length : 1;
    }
    *name = (struct text){bytes, filled};
    return NULL;
}

static struct error *apply_replace(
    struct rules_model *model, const struct step *step, struct text *name)
{
    for (size_t i = 0; i < step->replacement_count; i++)
        TRY(replace_all(model->arena, name, step->replacements[i][0], step->replacements[i][1]));
    return NULL;
}

/* The name after the step: itself, another one, or one without bytes when it is dropped. */
static struct error *apply_to_tensor(
    struct rules_model *model, const struct step *step, size_t input, struct text *name)
{
    struct captures captures = {.count = 0};
    size_t which = 0;
    bool applies;
    if (step->kind != STEP_REPLACE && !matches_any(&step->patterns, *name, &captures, &which))
        return NULL;
    if (matches_any(&step->except, *name, NULL, NULL))
        return NULL;
    TRY(holds(step->where, (struct scene){model, &captures, &model->inputs[input]}, &applies));
    if (!applies)
        return NULL;
    if (step->kind == STEP_DROP) {
        *name = (struct text){NULL, 0};
        return NULL;
    }
    if (step->kind == STEP_REPLACE) {
        TRY(apply_replace(model, step, name));
    } else {
        *name = target_expand(model->arena, step->targets[which], &captures);
        TRY(memory_check(name->bytes));
    }
    return check_name(model->arena, *name);
}

/* The map from names to inputs. `step` is what made them, or NULL. */
static struct error *index_names(struct rules_model *model, const struct step *step)
{
    model->by_name = (struct map){.arena = model->arena};
    for (size_t i = 0; i < model->input_count; i++) {
        struct text name = model->names[i];
        if (name.bytes == NULL)
            continue;
        uint32_t other = map_get(&model->by_name, name.bytes);
        if (other != MAP_NONE && step == NULL)
            return error_new(ERROR_FORMAT, "there are two tensors \"%s\"", name.bytes);
        if (other != MAP_NONE)
            return error_new(ERROR_FORMAT, "two tensors, \"%.*s\" and \"%.*s\", become \"%s\" (%s)",
                (int)model->inputs[other].name.length, model->inputs[other].name.bytes,
                (int)model->inputs[i].name.length, model->inputs[i].name.bytes, name.bytes,
                place_of(model->arena, step->origin));
        TRY(map_put(&model->by_name, name.bytes, (uint32_t)i));
    }
    return NULL;
}

static struct error *apply_step(struct rules_model *model, const struct step *step)
{
    bool applies;
    TRY(holds(step->condition, (struct scene){.model = model}, &applies));
    if (!applies)
        return NULL;
    struct text *names = arena_array(model->arena, model->input_count, sizeof *names);
    TRY(memory_check(names));
    bool is_renamed = false;
    for (size_t i = 0; i < model->input_count; i++) {
        names[i] = model->names[i];
        if (names[i].bytes != NULL)
            TRY(apply_to_tensor(model, step, i, &names[i]));
        is_renamed |= names[i].bytes != NULL && names[i].bytes != model->names[i].bytes;
    }
    model->names = names;
    model->generation++;
    return is_renamed ? index_names(model, step) : NULL;
}

static struct error *take_inputs(
    struct rules_model *model, const struct rules_input *inputs, size_t count)
{
    if (count > RULES_TENSORS_MAX)
        return error_new(ERROR_FORMAT, "the model has more than %u tensors", RULES_TENSORS_MAX);
    model->inputs = inputs;
    model->input_count = count;
    model->names = arena_array(model->arena, count, sizeof *model->names);
    TRY(memory_check(model->names));
    for (size_t i = 0; i < count; i++) {
        TRY(check_name(model->arena, inputs[i].name));
        const char *copy = arena_copy(model->arena, inputs[i].name.bytes, inputs[i].name.length);
        TRY(memory_check(copy));
        model->names[i] = (struct text){copy, inputs[i].name.length};
    }
    return index_names(model, NULL);
}

/* ---- results ---- */

static struct text module_of(struct text name)
{
    size_t end = name.length;
    while (end > 0 && name.bytes[end - 1] != '.')
        end--;
    return (struct text){name.bytes, end > 0 ? end - 1 : 0};
}

static struct rules_output make_output(
    const struct rules_model *model, size_t input, enum rules_kind kind)
{
    struct text name = model->names[input];
    return (struct rules_output){.name = name,
        .module = module_of(name),
        .input = input,
        .rank = model->inputs[input].rank,
        .shape = model->inputs[input].shape,
        .kind = kind,
        .keeps_dtype = matches_any(&model->rules->keep_dtype, name, NULL, NULL)};
}

/* ---- expected tensors ---- */

struct expectation {
    struct rules_model *model;
    struct rules_output *outputs; /* room for every input: each is expected at most once */
    size_t output_count;
    bool *is_used; /* for each input */
    size_t visit_count;
    struct captures variables;
    const char *first_problem; /* NULL: none so far */
    size_t problem_count;
};

/* "[64, 128]", cut to what a message can hold. */
static void print_shape(char buffer[SHAPE_TEXT_MAX], const uint64_t *shape, uint32_t rank)
{
    size_t length = 0;
    length += (size_t)snprintf(buffer, SHAPE_TEXT_MAX, "[");
    for (uint32_t i = 0; i < rank && length + 32 < SHAPE_TEXT_MAX; i++) {
        const char *comma = i > 0 ? ", " : "";
        if (shape[i] == RULES_AXIS_ANY)
            length += (size_t)snprintf(buffer + length, SHAPE_TEXT_MAX - length, "%s?", comma);
        else
            length += (size_t)snprintf(
                buffer + length, SHAPE_TEXT_MAX - length, "%s%" PRIu64, comma, shape[i]);
    }
    snprintf(buffer + length, SHAPE_TEXT_MAX - length, "]");
}

static const char *print_formulas(struct arena *arena, const struct entry *entry)
{
    const char *text = "";
    for (uint32_t i = 0; i < entry->rank && text != NULL; i++)
        text = arena_format(
            arena, "%s%s%s", text, i > 0 ? ", " : "", expression_source(entry->shape[i]).bytes);
    return text == NULL ? NULL : arena_format(arena, "[%s]", text);
}

/* Remembers a missing or misshapen tensor; the first one in full. */
static struct error *note_problem(struct expectation *expectation, const struct entry *entry,
    struct text name, const uint64_t *shape, uint32_t input)
{
    struct rules_model *model = expectation->model;
    if (expectation->problem_count++ > 0)
        return NULL;
    char want[SHAPE_TEXT_MAX], have[SHAPE_TEXT_MAX];
    print_shape(want, shape, entry->rank);
    const char *formulas = print_formulas(model->arena, entry);
    const char *place = place_of(model->arena, entry->origin);
    if (formulas == NULL || place == NULL)
        return error_memory();
    if (input == MAP_NONE) {
        expectation->first_problem = arena_format(model->arena,
            "tensor \"%s\" is missing: expected %s = %s (%s)", name.bytes, formulas, want, place);
    } else {
        print_shape(have, model->inputs[input].shape, model->inputs[input].rank);
        expectation->first_problem =
            arena_format(model->arena, "tensor \"%s\" has shape %s, expected %s = %s (%s)",
                name.bytes, have, formulas, want, place);
    }
    return memory_check(expectation->first_problem);
}

static struct error *evaluate_shape(
    struct expectation *expectation, const struct entry *entry, uint64_t shape[])
{
    struct scene scene = {expectation->model, &expectation->variables, NULL};
    struct scope scope = scope_of(&scene);
    for (uint32_t i = 0; i < entry->rank; i++) {
        int64_t length = 0;
        TRY(expression_integer(entry->shape[i], &scope, 0, &length));
        shape[i] = (uint64_t)length;
    }
    return NULL;
}

static struct error *count_visit(struct expectation *expectation, const struct entry *entry)
{
    if (expectation->visit_count++ < VISITS_MAX)
        return NULL;
    return json_error(entry->origin, "more than %u tensors are expected", RULES_TENSORS_MAX);
}

static bool has_shape(const struct rules_input *tensor, const uint64_t *shape, uint32_t rank)
{
    bool is_equal = tensor->rank == rank;
    for (uint32_t i = 0; i < rank && is_equal; i++)
        is_equal = tensor->shape[i] == shape[i] || tensor->shape[i] == RULES_AXIS_ANY;
    return is_equal;
}

static bool is_whole(const struct rules_input *tensor)
{
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (tensor->shape[i] == RULES_AXIS_ANY)
            return false;
    return true;
}

static struct error *expect_tensor(struct expectation *expectation, const struct entry *entry)
{
    struct rules_model *model = expectation->model;
    uint64_t shape[RULES_RANK_MAX] = {0};
    struct text name = target_expand(model->arena, entry->name, &expectation->variables);
    TRY(memory_check(name.bytes));
    TRY(evaluate_shape(expectation, entry, shape));
    uint32_t input = map_get(&model->by_name, name.bytes);
    if (input != MAP_NONE && model->names[input].bytes == NULL)
        input = MAP_NONE; /* indexed before it was dropped */
    if (input == MAP_NONE)
        return note_problem(expectation, entry, name, shape, input);
    const struct rules_input *tensor = &model->inputs[input];
    if (expectation->is_used[input])
        return json_error(entry->origin, "tensor \"%s\" is listed twice", name.bytes);
    expectation->is_used[input] = true;
    if (!has_shape(tensor, shape, entry->rank))
        return note_problem(expectation, entry, name, shape, input);
    struct rules_output *output = &expectation->outputs[expectation->output_count++];
    *output = make_output(model, input, entry->kind);
    if (is_whole(tensor))
        return NULL;
    uint64_t *told = arena_array(model->arena, entry->rank, sizeof *told);
    TRY(memory_check(told));
    memcpy(told, shape, entry->rank * sizeof *told);
    output->shape = told;
    return NULL;
}

static struct error *expect_entries(
    struct expectation *expectation, const struct entry *entries, size_t count);

static struct error *expect_group(struct expectation *expectation, const struct entry *entry)
{
    struct captures *variables = &expectation->variables;
    if (entry->variable.length == 0)
        return expect_entries(expectation, entry->entries, entry->entry_count);
    struct scene scene = {expectation->model, variables, NULL};
    struct scope scope = scope_of(&scene);
    int64_t count = 0;
    TRY(expression_integer(entry->count, &scope, 0, &count));
    if (count > (int64_t)RULES_TENSORS_MAX)
        return json_error(expression_origin(entry->count),
            "\"%s\" is %" PRId64 ", and a model has at most %u tensors",
            expression_source(entry->count).bytes, count, RULES_TENSORS_MAX);
    size_t index = variables->count++;
    for (int64_t i = 0; i < count; i++) {
        char digits[24];
        int length = snprintf(digits, sizeof digits, "%" PRId64, i);
        variables->items[index] = (struct capture){
            .name = entry->variable, .text = {digits, (size_t)length}, .is_number = true};
        TRY(count_visit(expectation, entry));
        TRY(expect_entries(expectation, entry->entries, entry->entry_count));
    }
    variables->count--;
    return NULL;
}

static struct error *expect_entries(
    struct expectation *expectation, const struct entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool applies;
        TRY(count_visit(expectation, &entries[i]));
        TRY(holds(entries[i].condition,
            (struct scene){expectation->model, &expectation->variables, NULL}, &applies));
        if (!applies)
            continue;
        if (entries[i].name != NULL)
            TRY(expect_tensor(expectation, &entries[i]));
        else
            TRY(expect_group(expectation, &entries[i]));
    }
    return NULL;
}

/* "unexpected tensor "y"", "unexpected tensors "a", "b", "c" and 5 more"; "" when there is none;
 * NULL when out of memory. */
static const char *describe_unexpected(const struct expectation *expectation)
{
    const struct rules_model *model = expectation->model;
    const char *list = "";
    size_t count = 0;
    for (size_t i = 0; i < model->input_count && list != NULL; i++) {
        if (model->names[i].bytes == NULL || expectation->is_used[i])
            continue;
        if (count++ < UNEXPECTED_SHOWN_MAX)
            list = arena_format(
                model->arena, "%s%s\"%s\"", list, count > 1 ? ", " : "", model->names[i].bytes);
    }
    if (list == NULL || count == 0)
        return list;
    if (count > UNEXPECTED_SHOWN_MAX)
        return arena_format(
            model->arena, "unexpected tensors %s and %zu more", list, count - UNEXPECTED_SHOWN_MAX);
    return arena_format(model->arena, "unexpected tensor%s %s", count > 1 ? "s" : "", list);
}

static struct error *report_problems(const struct expectation *expectation)
{
    const char *unexpected = describe_unexpected(expectation);
    TRY(memory_check(unexpected));
    bool has_unexpected = unexpected[0] != '\0';
    if (expectation->problem_count == 0)
        return has_unexpected ? error_new(ERROR_FORMAT, "%s", unexpected) : NULL;
    char more[64] = "";
    if (expectation->problem_count > 1)
        snprintf(more, sizeof more, ", and %zu more are missing or of another shape",
            expectation->problem_count - 1);
    return error_new(ERROR_FORMAT, "%s%s%s%s", expectation->first_problem, more,
        has_unexpected ? "; " : "", unexpected);
}

static struct error *expect_all(
    struct rules_model *model, const struct rules_output **outputs, size_t *count)
{
    struct expectation expectation = {.model = model,
        .outputs = arena_array(model->arena, model->input_count, sizeof(struct rules_output)),
        .is_used = arena_array(model->arena, model->input_count, sizeof(bool))};
    if (expectation.outputs == NULL || expectation.is_used == NULL)
        return error_memory();
    TRY(expect_entries(&expectation, model->rules->entries, model->rules->entry_count));
    TRY(report_problems(&expectation));
    *outputs = expectation.outputs;
    *count = expectation.output_count;
    return NULL;
}

/* ---- without expected tensors ---- */

static struct text last_component(struct text path)
{
    struct text parent = module_of(path);
    size_t begin = memchr(path.bytes, '.', path.length) == NULL ? 0 : parent.length + 1;
    return (struct text){path.bytes + begin, path.length - begin};
}

static struct error *is_packed(struct rules_model *model, struct text module, bool *out)
{
    const char *scales =
        arena_format(model->arena, "%.*s.scales", (int)module.length, module.bytes);
    TRY(memory_check(scales));
    uint32_t input = map_get(&model->by_name, scales);
    *out = input != MAP_NONE && model->names[input].bytes != NULL;
    return NULL;
}

/* Which tensors are layers can be told from name, type and rank (README, "Without tensors"). */
static struct error *guess_kind(struct rules_model *model, size_t input, enum rules_kind *out)
{
    struct text name = model->names[input], module = module_of(name);
    const struct rules_input *tensor = &model->inputs[input];
    *out = RULES_KIND_OTHER;
    if (!text_ends_with(name, ".weight"))
        return NULL;
    bool packed = false;
    TRY(is_packed(model, module, &packed));
    struct text last = last_component(module);
    bool is_layer = dtype_is_float(tensor->dtype) && (tensor->rank == 2 || tensor->rank == 3) &&
                    !packed && !text_contains(last, "norm") && !text_contains(last, "conv") &&
                    !matches_any(&model->rules->raw, module, NULL, NULL);
    if (is_layer || matches_any(&model->rules->linear, module, NULL, NULL))
        *out = RULES_KIND_LINEAR;
    return NULL;
}

/* What stands before the numbers of layers and experts: "model.layers." */
struct numbered {
    const char *prefix;
    uint64_t count, end; /* distinct numbers, and one more than the largest */
};
struct numbering {
    struct arena *arena;
    struct map seen; /* "model.layers." to its index; "model.layers.7" to anything */
    struct numbered *items;
    size_t count, capacity;
};

/* A decimal number without leading zeros, below RULES_TENSORS_MAX. */
static bool parse_index(struct text text, uint64_t *out)
{
    uint64_t number = 0;
    if (text.length == 0 || text.length > 7 || (text.length > 1 && text.bytes[0] == '0'))
        return false;
    for (size_t i = 0; i < text.length; i++) {
        if (text.bytes[i] < '0' || text.bytes[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(text.bytes[i] - '0');
    }
    *out = number;
    return number < RULES_TENSORS_MAX;
}

static struct error *find_numbered(
    struct numbering *numbering, const char *prefix, struct numbered **out)
{
    uint32_t index = map_get(&numbering->seen, prefix);
    if (index == MAP_NONE) {
        struct numbered *items = arena_grow(numbering->arena, numbering->items, numbering->count,
            &numbering->capacity, sizeof *items);
        TRY(memory_check(items));
        numbering->items = items;
        index = (uint32_t)numbering->count++;
        items[index] = (struct numbered){.prefix = prefix};
        TRY(map_put(&numbering->seen, prefix, index));
    }
    *out = &numbering->items[index];
    return NULL;
}

/* Notes that `name` has `number` at begin..end, after a list's name. */
static struct error *note_number(
    struct numbering *numbering, struct text name, size_t begin, size_t end, uint64_t number)
{
    char path[PATTERN_NAME_MAX + 1];
    memcpy(path, name.bytes, end);
    path[end] = '\0';
    if (map_get(&numbering->seen, path) != MAP_NONE)
        return NULL;
    const char *whole = arena_copy(numbering->arena, name.bytes, end);
    const char *prefix = arena_copy(numbering->arena, name.bytes, begin);
    if (whole == NULL || prefix == NULL)
        return error_memory();
    struct numbered *numbered = NULL;
    TRY(map_put(&numbering->seen, whole, 0));
    TRY(find_numbered(numbering, prefix, &numbered));
    numbered->count++;
    if (number >= numbered->end)
        numbered->end = number + 1;
    return NULL;
}

static bool is_list_name(struct text name)
{
    return text_is(name, "layers") || text_is(name, "h") || text_is(name, "blocks") ||
           text_is(name, "experts");
}

static struct error *note_numbers(struct numbering *numbering, struct text name)
{
    struct text before = TEXT_EMPTY;
    for (size_t begin = 0; begin < name.length;) {
        const char *dot = memchr(name.bytes + begin, '.', name.length - begin);
        size_t end = dot == NULL ? name.length : (size_t)(dot - name.bytes);
        struct text part = {name.bytes + begin, end - begin};
        uint64_t number;
        if (is_list_name(before) && parse_index(part, &number))
            TRY(note_number(numbering, name, begin, end, number));
        before = part;
        begin = end + 1;
    }
    return NULL;
}

static struct error *check_numbered(
    const struct numbering *numbering, const struct numbered *numbered)
{
    for (uint64_t i = 0; numbered->count < numbered->end && i < numbered->end; i++) {
        const char *path = arena_format(numbering->arena, "%s%" PRIu64, numbered->prefix, i);
        TRY(memory_check(path));
        if (map_get(&numbering->seen, path) == MAP_NONE)
            return error_new(ERROR_FORMAT,
                "no tensor of %s is there, but there is one of %s%" PRIu64, path, numbered->prefix,
                numbered->end - 1);
    }
    return NULL;
}

static struct error *check_numbering(struct rules_model *model)
{
    struct numbering numbering = {.arena = model->arena, .seen = {.arena = model->arena}};
    for (size_t i = 0; i < model->input_count; i++)
        if (model->names[i].bytes != NULL)
            TRY(note_numbers(&numbering, model->names[i]));
    for (size_t i = 0; i < numbering.count; i++)
        TRY(check_numbered(&numbering, &numbering.items[i]));
    return NULL;
}

static struct error *take_all(
    struct rules_model *model, const struct rules_output **out, size_t *count)
{
    struct rules_output *outputs = arena_array(model->arena, model->input_count, sizeof *outputs);
    TRY(memory_check(outputs));
    TRY(check_numbering(model));
    size_t output_count = 0;
    for (size_t i = 0; i < model->input_count; i++) {
        if (model->names[i].bytes == NULL)
            continue;
        enum rules_kind kind;
        TRY(guess_kind(model, i, &kind));
        outputs[output_count++] = make_output(model, i, kind);
    }
    *out = outputs;
    *count = output_count;
    return NULL;
}

struct error *rules_apply(struct rules_model *model, const struct rules_input *inputs,
    size_t input_count, struct rules_result *out)
{
    struct rules_result result = {0};
    TRY(take_inputs(model, inputs, input_count));
    for (size_t i = 0; i < model->rules->step_count; i++)
        TRY(apply_step(model, &model->rules->steps[i]));
    if (model->rules->has_tensors)
        TRY(expect_all(model, &result.outputs, &result.output_count));
    else
        TRY(take_all(model, &result.outputs, &result.output_count));
    bool *is_dropped = arena_array(model->arena, input_count, sizeof *is_dropped);
    TRY(memory_check(is_dropped));
    for (size_t i = 0; i < input_count; i++)
        is_dropped[i] = model->names[i].bytes == NULL;
    result.is_dropped = is_dropped;
    *out = result;
    return NULL;
}

/* ---- quantization ---- */

static struct error *special_matches(struct rules_model *model, const struct special *special,
    const struct rules_output *output, bool *out)
{
    struct captures captures = {.count = 0};
    *out = matches_any(&special->match, output->module, &captures, NULL);
    if (*out)
        TRY(holds(special->condition, (struct scene){.model = model}, out));
    if (!*out)
        return NULL;
    struct scene scene = {model, &captures, &model->inputs[output->input]};
    return holds(special->where, scene, out);
}

static struct error *find_special(struct rules_model *model, const struct special *specials,
    size_t count, const struct rules_output *output, const struct special **out)
{
    *out = NULL;
    for (size_t i = 0; i < count; i++) {
        bool matches;
        TRY(special_matches(model, &specials[i], output, &matches));
        if (!matches)
            continue;
        *out = &specials[i];
        return NULL;
    }
    return NULL;
}

struct error *rules_decide(
    struct rules_model *model, const struct rules_output *output, struct rules_decision *out)
{
    const struct rules *rules = model->rules;
    const struct special *special = NULL;
    if (rules->has_only) {
        TRY(find_special(model, rules->only, rules->only_count, output, &special));
        if (special == NULL) {
            *out = (struct rules_decision){.choice = RULES_LEAVE};
            return NULL;
        }
    }
    TRY(find_special(model, rules->specials, rules->special_count, output, &special));
    *out = special == NULL ? (struct rules_decision){.choice = RULES_QUANTIZE} : special->decision;
    return NULL;
}

struct error *rules_layer_count(struct rules_model *model, uint64_t *out)
{
    struct scene scene = {.model = model};
    struct scope scope = scope_of(&scene);
    const struct field *field;
    int64_t count = 0;
    if (model->rules->layers != NULL) {
        TRY(expression_integer(model->rules->layers, &scope, 0, &count));
    } else {
        TRY(find_field(model, TEXT_LITERAL("num_hidden_layers"), &field));
        if (field->value.kind != VALUE_INTEGER || field->value.integer < 0)
            return error_new(ERROR_FORMAT,
                "%s: \"num_hidden_layers\" must be an integer of at least 0", model->config.name);
        count = field->value.integer;
    }
    *out = (uint64_t)count;
    return NULL;
}

/* ---- counting ---- */

/* Puts every path above the module into `inner`, up to the first that is there already: then so are
 * those above it. The root is "". */
static struct error *mark_inner(struct map *inner, char *path, size_t length)
{
    while (length > 0) {
        while (length > 0 && path[length - 1] != '.')
            length--;
        length -= length > 0;
        path[length] = '\0';
        if (map_get(inner, path) != MAP_NONE)
            return NULL;
        const char *copy = arena_copy(inner->arena, path, length);
        TRY(memory_check(copy));
        TRY(map_put(inner, copy, 0));
    }
    return NULL;
}

static bool cut_module(char path[PATTERN_NAME_MAX + 1], struct text name, size_t *length)
{
    *length = module_of(name).length;
    if (*length > PATTERN_NAME_MAX)
        return false;
    memcpy(path, name.bytes, *length);
    path[*length] = '\0';
    return true;
}

struct error *rules_count_parameters(
    struct arena *arena, const struct rules_parameter *parameters, size_t count, uint64_t *out)
{
    struct map inner = {.arena = arena};
    char path[PATTERN_NAME_MAX + 1];
    size_t length;
    for (size_t i = 0; i < count; i++) {
        if (!cut_module(path, parameters[i].name, &length))
            return name_too_long(arena, parameters[i].name);
        TRY(mark_inner(&inner, path, length));
    }
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        if (!cut_module(path, parameters[i].name, &length) || map_get(&inner, path) != MAP_NONE)
            continue;
        if (__builtin_add_overflow(total, parameters[i].elements, &total))
            return error_new(ERROR_FORMAT, "the model has more than 2^64 parameters");
    }
    *out = total;
    return NULL;
}
