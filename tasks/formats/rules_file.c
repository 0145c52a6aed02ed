/* rules_file.c - reading a rule file: every key known, every expression and pattern checked. */
#include "tasks/formats/rules_file.h"

#include <stdio.h>
#include <string.h>

enum {
    GROUP_DEPTH_MAX = 16, /* of groups within groups in `tensors` */
    DEFAULT_GROUP_SIZE = 64,
    DEFAULT_BITS = 4,
};

struct key_list {
    const char *const *names;
    size_t count;
};
#define KEYS(...)                                                                                  \
    (struct key_list)                                                                              \
    {                                                                                              \
        (const char *const[]){__VA_ARGS__},                                                        \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)                      \
    }

/* ---- small readers ---- */

static bool is_listed(struct key_list keys, struct text name)
{
    for (size_t i = 0; i < keys.count; i++)
        if (text_is(name, keys.names[i]))
            return true;
    return false;
}

/* Of a foreign word only what is safe in a message. */
static const char *quote(struct arena *arena, struct text text)
{
    const char *printable = text_printable(arena, text);
    return printable == NULL ? "?" : printable;
}

static struct error *unknown_key(struct arena *arena, const struct json *object,
    const struct json_member *member, struct key_list keys)
{
    const char *name = quote(arena, member->key);
    const char *nearest = text_suggest(name, keys.names, keys.count);
    if (nearest != NULL)
        return json_error_key(
            object, member, "unknown key \"%s\", did you mean \"%s\"?", name, nearest);
    return json_error_key(object, member, "unknown key \"%s\"", name);
}

static struct error *check_object(
    struct arena *arena, const struct json *value, const char *what, struct key_list keys)
{
    if (!json_is(value, JSON_OBJECT))
        return json_error(value, "%s must be an object, not %s", what, json_show(arena, value));
    for (size_t i = 0; i < value->count; i++)
        if (!is_listed(keys, value->members[i].key))
            return unknown_key(arena, value, &value->members[i], keys);
    return NULL;
}

static struct error *check_list(struct arena *arena, const struct json *value, const char *what)
{
    if (!json_is(value, JSON_ARRAY))
        return json_error(value, "%s must be a list, not %s", what, json_show(arena, value));
    return NULL;
}

static struct error *check_strings(struct arena *arena, const struct json *value, const char *what)
{
    TRY(check_list(arena, value, what));
    if (value->count == 0)
        return json_error(value, "%s must not be empty", what);
    for (size_t i = 0; i < value->count; i++)
        if (value->items[i].kind != JSON_STRING)
            return json_error(&value->items[i], "%s must hold strings, not %s", what,
                json_show(arena, &value->items[i]));
    return NULL;
}

/* A pattern or a list of patterns; absent (NULL): none. */
static struct error *read_patterns(
    struct arena *arena, const struct json *value, struct pattern_list *out)
{
    if (value == NULL)
        return NULL;
    const struct json *items = value->kind == JSON_ARRAY ? value->items : value;
    size_t count = value->kind == JSON_ARRAY ? value->count : 1;
    const struct pattern **patterns = arena_array(arena, count, sizeof(struct pattern *));
    TRY(memory_check(patterns));
    for (size_t i = 0; i < count; i++)
        TRY(pattern_parse(arena, &items[i], &patterns[i]));
    *out = (struct pattern_list){patterns, count};
    return NULL;
}

static struct error *read_expression(
    struct arena *arena, const struct json *value, const struct expression **out)
{
    return value == NULL ? NULL : expression_parse(arena, value, out);
}

/* What is evaluated once for many tensors must not ask for what one of them captured. */
static struct error *check_sees_no_capture(
    const struct expression *condition, struct pattern_list patterns)
{
    struct text name;
    for (size_t i = 0; condition != NULL && i < patterns.count; i++)
        for (size_t n = 0; (name = expression_name(condition, n)).length > 0; n++)
            if (pattern_has_capture(patterns.items[i], name))
                return json_error(expression_origin(condition),
                    "\"if\" is evaluated once and sees no capture \"%.*s\"; \"where\" does",
                    (int)name.length, name.bytes);
    return NULL;
}

/* ---- the fields of config.json ---- */

/* As expressions can name it: "text_config.hidden_size". */
static bool is_field(struct text name)
{
    for (;;) {
        const char *dot = memchr(name.bytes, '.', name.length);
        if (dot == NULL)
            return name_is_identifier(name);
        size_t length = (size_t)(dot - name.bytes);
        if (!name_is_identifier(text_cut(name, 0, length)))
            return false;
        name = text_cut(name, length + 1, name.length);
    }
}

static struct error *read_required(
    struct arena *arena, const struct json *value, struct rules *rules)
{
    if (value == NULL)
        return NULL;
    TRY(check_strings(arena, value, "\"required\""));
    for (size_t i = 0; i < value->count; i++)
        if (!is_field(value->items[i].text))
            return json_error(
                &value->items[i], "%s is no name of a field", json_show(arena, &value->items[i]));
    rules->required = value;
    return NULL;
}

static struct error *read_defaults(
    struct arena *arena, const struct json *value, struct rules *rules)
{
    if (value == NULL)
        return NULL;
    if (value->kind != JSON_OBJECT)
        return json_error(value, "\"defaults\" must be an object, not %s", json_show(arena, value));
    for (size_t i = 0; i < value->count; i++) {
        const struct json_member *member = &value->members[i];
        if (!is_field(member->key))
            return json_error_key(
                value, member, "\"%s\" is no name of a field", quote(arena, member->key));
        for (size_t r = 0; rules->required != NULL && r < rules->required->count; r++)
            if (text_equal(rules->required->items[r].text, member->key))
                return json_error_key(value, member, "\"%s\" is required, so it has no default",
                    quote(arena, member->key));
    }
    rules->defaults = value;
    return NULL;
}

/* ---- let ---- */

static struct error *read_lets(struct arena *arena, const struct json *value, struct rules *rules)
{
    if (value == NULL)
        return NULL;
    if (value->kind != JSON_OBJECT)
        return json_error(value, "\"let\" must be an object, not %s", json_show(arena, value));
    rules->lets = arena_array(arena, value->count, sizeof *rules->lets);
    TRY(memory_check(rules->lets));
    for (size_t i = 0; i < value->count; i++) {
        const struct json_member *member = &value->members[i];
        if (!name_is_identifier(member->key))
            return json_error_key(
                value, member, "\"%s\" cannot be a name in \"let\"", quote(arena, member->key));
        rules->lets[i].name = member->key;
        TRY(expression_parse(arena, &member->value, &rules->lets[i].expression));
    }
    rules->let_count = value->count;
    return NULL;
}

static struct error *read_refusals(
    struct arena *arena, const struct json *value, struct rules *rules)
{
    if (value == NULL)
        return NULL;
    TRY(check_list(arena, value, "\"refuse\""));
    rules->refusals = arena_array(arena, value->count, sizeof *rules->refusals);
    TRY(memory_check(rules->refusals));
    for (size_t i = 0; i < value->count; i++)
        TRY(expression_parse(arena, &value->items[i], &rules->refusals[i]));
    rules->refusal_count = value->count;
    return NULL;
}

/* ---- steps ---- */

static const struct {
    const char *name;
    enum step_kind kind;
} operations[] = {{"drop", STEP_DROP}, {"rename", STEP_RENAME}, {"replace", STEP_REPLACE}};

/* The rest of the vocabulary, which this version does not apply. */
static const char *const later_operations[] = {"stack", "split", "concat", "transpose", "reshape",
    "slice", "view", "copy", "add", "mul", "mulvec", "scale_by", "dequant_fp8", "rownorm",
    "builtin"};

static bool find_kind(struct text name, enum step_kind *kind)
{
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        if (!text_is(name, operations[i].name))
            continue;
        *kind = operations[i].kind;
        return true;
    }
    return false;
}

static struct error *unknown_operation(
    struct arena *arena, const struct json *step, const struct json_member *member)
{
    return json_error_key(
        step, member, "operation \"%s\" is not known to this version", quote(arena, member->key));
}

/* The one member that is the step's operation. Another operation of the vocabulary comes first in
 * the complaint; without any, the first word that is no modifier is taken for one. */
static struct error *find_operation(struct arena *arena, const struct json *value,
    const struct json_member **out, enum step_kind *kind)
{
    struct key_list modifiers = KEYS("to", "if", "where", "except");
    struct key_list later = {
        later_operations, sizeof later_operations / sizeof later_operations[0]};
    const struct json_member *found = NULL, *stranger = NULL;
    for (size_t i = 0; i < value->count; i++) {
        const struct json_member *member = &value->members[i];
        if (is_listed(later, member->key))
            return unknown_operation(arena, value, member);
        if (find_kind(member->key, kind)) {
            if (found != NULL)
                return json_error_key(value, member,
                    "a step has one operation, not \"%s\" and \"%s\"", found->key.bytes,
                    member->key.bytes);
            found = member;
        } else if (stranger == NULL && !is_listed(modifiers, member->key)) {
            stranger = member;
        }
    }
    if (found == NULL && stranger != NULL)
        return unknown_operation(arena, value, stranger);
    if (found == NULL)
        return json_error(value, "a step needs an operation: drop, rename or replace");
    *out = found;
    return NULL;
}

static struct error *check_target(
    const struct json *value, const struct target *target, const struct pattern *pattern)
{
    struct text name;
    for (size_t i = 0; (name = target_variable(target, i)).length > 0; i++)
        if (!pattern_has_capture(pattern, name))
            return json_error(value, "the pattern \"%s\" captures no \"%.*s\"",
                pattern_source(pattern).bytes, (int)name.length, name.bytes);
    return NULL;
}

static struct error *read_pair(struct arena *arena, const struct json *pattern,
    const struct json *target, struct step *step, size_t index)
{
    TRY(pattern_parse(arena, pattern, &step->patterns.items[index]));
    TRY(target_parse(arena, target, &step->targets[index]));
    return check_target(target, step->targets[index], step->patterns.items[index]);
}

static struct error *check_pair(struct arena *arena, const struct json *value, const char *what)
{
    if (json_is(value, JSON_ARRAY) && value->count == 2)
        return NULL;
    return json_error(value, "%s must be a list of two, not %s", what, json_show(arena, value));
}

/* `rename`: a pattern with `to`, or a list of [pattern, target]. */
static struct error *read_rename(
    struct arena *arena, const struct json *value, const struct json *to, struct step *step)
{
    bool is_list = value->kind == JSON_ARRAY;
    if (is_list == (to != NULL))
        return json_error(is_list ? to : value,
            "\"rename\" takes a pattern and \"to\", or a list of [pattern, name] without it");
    size_t count = is_list ? value->count : 1;
    step->patterns.items = arena_array(arena, count, sizeof(struct pattern *));
    step->targets = arena_array(arena, count, sizeof(struct target *));
    if (step->patterns.items == NULL || step->targets == NULL)
        return error_memory();
    step->patterns.count = count;
    if (!is_list)
        return read_pair(arena, value, to, step, 0);
    for (size_t i = 0; i < count; i++) {
        const struct json *pair = &value->items[i];
        TRY(check_pair(arena, pair, "a pair of \"rename\""));
        TRY(read_pair(arena, &pair->items[0], &pair->items[1], step, i));
    }
    return NULL;
}

static struct error *read_replacement(
    struct arena *arena, const struct json *pair, struct text out[2])
{
    TRY(check_pair(arena, pair, "a pair of \"replace\""));
    for (size_t i = 0; i < 2; i++) {
        const struct json *item = &pair->items[i];
        if (item->kind != JSON_STRING || item->text.length > PATTERN_NAME_MAX)
            return json_error(item, "\"replace\" takes strings of at most 1024 bytes, not %s",
                json_show(arena, item));
        out[i] = item->text;
    }
    if (out[0].length == 0)
        return json_error(&pair->items[0], "\"replace\" cannot replace the empty text");
    return NULL;
}

static struct error *read_replace(struct arena *arena, const struct json *value, struct step *step)
{
    TRY(check_list(arena, value, "\"replace\""));
    step->replacements = arena_array(arena, value->count, sizeof *step->replacements);
    TRY(memory_check(step->replacements));
    for (size_t i = 0; i < value->count; i++)
        TRY(read_replacement(arena, &value->items[i], step->replacements[i]));
    step->replacement_count = value->count;
    return NULL;
}

static struct error *read_step(struct arena *arena, const struct json *value, struct step *step)
{
    if (!json_is(value, JSON_OBJECT))
        return json_error(value, "a step must be an object, not %s", json_show(arena, value));
    const struct json_member *operation = NULL;
    TRY(find_operation(arena, value, &operation, &step->kind));
    const char *name = operations[step->kind].name;
    struct key_list keys = step->kind == STEP_RENAME ? KEYS("if", "where", "except", name, "to")
                                                     : KEYS("if", "where", "except", name);
    TRY(check_object(arena, value, "a step", keys));
    step->origin = &operation->value;
    if (step->kind == STEP_DROP)
        TRY(read_patterns(arena, step->origin, &step->patterns));
    else if (step->kind == STEP_RENAME)
        TRY(read_rename(arena, step->origin, json_get(value, "to"), step));
    else
        TRY(read_replace(arena, step->origin, step));
    TRY(read_expression(arena, json_get(value, "if"), &step->condition));
    TRY(read_expression(arena, json_get(value, "where"), &step->where));
    TRY(read_patterns(arena, json_get(value, "except"), &step->except));
    return check_sees_no_capture(step->condition, step->patterns);
}

static struct error *read_steps(struct arena *arena, const struct json *value, struct rules *rules)
{
    if (value == NULL)
        return NULL;
    TRY(check_list(arena, value, "\"steps\""));
    rules->steps = arena_array(arena, value->count, sizeof *rules->steps);
    TRY(memory_check(rules->steps));
    for (size_t i = 0; i < value->count; i++)
        TRY(read_step(arena, &value->items[i], &rules->steps[i]));
    rules->step_count = value->count;
    return NULL;
}

/* ---- quant ---- */

/* One of a few numbers; absent: not given, and `*out` stays. */
static struct error *read_choice(struct arena *arena, const struct json *value, const char *what,
    const uint32_t *choices, size_t count, bool *is_given, uint32_t *out)
{
    int64_t number = 0;
    if (value == NULL)
        return NULL;
    bool is_integer = json_to_i64(value, &number);
    for (size_t i = 0; is_integer && i < count; i++) {
        if (number != choices[i])
            continue;
        *is_given = true;
        *out = choices[i];
        return NULL;
    }
    return json_error(value, "%s, not %s", what, json_show(arena, value));
}

static struct error *read_special(
    struct arena *arena, const struct json *value, bool is_only, struct special *special)
{
    static const uint32_t group_sizes[] = {32, 64, 128};
    static const uint32_t widths[] = {1, 2, 3, 4, 5, 6, 8};
    struct rules_decision *decision = &special->decision;
    struct key_list keys =
        is_only ? KEYS("match", "where") : KEYS("match", "where", "if", "group_size", "bits");
    TRY(check_object(
        arena, value, is_only ? "an entry of \"only\"" : "an entry of \"special\"", keys));
    if (json_get(value, "match") == NULL)
        return json_error(value, "\"match\" is missing");
    TRY(read_patterns(arena, json_get(value, "match"), &special->match));
    TRY(read_expression(arena, json_get(value, "where"), &special->where));
    TRY(read_expression(arena, json_get(value, "if"), &special->condition));
    TRY(check_sees_no_capture(special->condition, special->match));
    decision->group_size = DEFAULT_GROUP_SIZE;
    decision->bits = DEFAULT_BITS;
    TRY(read_choice(arena, json_get(value, "group_size"), "\"group_size\" must be 32, 64 or 128",
        group_sizes, sizeof group_sizes / sizeof group_sizes[0], &decision->has_group_size,
        &decision->group_size));
    TRY(read_choice(arena, json_get(value, "bits"), "\"bits\" must be one of 1, 2, 3, 4, 5, 6, 8",
        widths, sizeof widths / sizeof widths[0], &decision->has_bits, &decision->bits));
    decision->choice =
        decision->has_group_size || decision->has_bits ? RULES_OVERRIDE : RULES_LEAVE;
    return NULL;
}

static struct error *read_specials(struct arena *arena, const struct json *value, bool is_only,
    struct special **out, size_t *count)
{
    if (value == NULL)
        return NULL;
    TRY(check_list(arena, value, is_only ? "\"only\"" : "\"special\""));
    struct special *specials = arena_array(arena, value->count, sizeof *specials);
    TRY(memory_check(specials));
    for (size_t i = 0; i < value->count; i++)
        TRY(read_special(arena, &value->items[i], is_only, &specials[i]));
    *out = specials;
    *count = value->count;
    return NULL;
}

/* With `tensors` each tensor says its kind; `raw` and `linear` would contradict it or be ignored.
 */
static struct error *check_no_kinds(const struct json *value, bool has_tensors)
{
    for (size_t i = 0; has_tensors && i < value->count; i++) {
        const struct json_member *member = &value->members[i];
        if (text_is(member->key, "raw") || text_is(member->key, "linear"))
            return json_error_key(value, member,
                "\"%s\" has no meaning beside \"tensors\", where each tensor has a \"kind\"",
                member->key.bytes);
    }
    return NULL;
}

static struct error *read_quant(struct arena *arena, const struct json *value, struct rules *rules)
{
    if (value == NULL)
        return NULL;
    TRY(check_object(arena, value, "\"quant\"", KEYS("raw", "linear", "special", "only")));
    TRY(check_no_kinds(value, rules->has_tensors));
    TRY(read_patterns(arena, json_get(value, "raw"), &rules->raw));
    TRY(read_patterns(arena, json_get(value, "linear"), &rules->linear));
    TRY(read_specials(
        arena, json_get(value, "special"), false, &rules->specials, &rules->special_count));
    rules->has_only = json_get(value, "only") != NULL;
    return read_specials(arena, json_get(value, "only"), true, &rules->only, &rules->only_count);
}

/* ---- tensors ---- */

/* The variables of the groups around an entry, innermost last. */
struct variables {
    struct text names[PATTERN_CAPTURES_MAX];
    size_t count;
    unsigned depth;
};

static struct error *read_entries(struct arena *arena, const struct json *value,
    struct variables variables, struct entry **out, size_t *count);

static bool is_variable(const struct variables *variables, struct text name)
{
    for (size_t i = 0; i < variables->count; i++)
        if (text_equal(variables->names[i], name))
            return true;
    return false;
}

static struct error *read_kind(struct arena *arena, const struct json *value, struct entry *entry)
{
    static const char *const names[] = {"other", "linear", "embedding"};
    if (value == NULL)
        return NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!json_is(value, JSON_STRING) || !text_is(value->text, names[i]))
            continue;
        entry->kind = (enum rules_kind)i;
        if (i > 0 && !text_ends_with(target_source(entry->name), ".weight"))
            return json_error(value, "a %s tensor is named \"....weight\"", names[i]);
        return NULL;
    }
    return json_error(value, "\"kind\" must be \"linear\", \"embedding\" or \"other\", not %s",
        json_show(arena, value));
}
_Static_assert(RULES_KIND_OTHER == 0 && RULES_KIND_LINEAR == 1 && RULES_KIND_EMBEDDING == 2,
    "the names of the kinds are listed in this order");

static struct error *read_tensor(struct arena *arena, const struct json *value,
    const struct variables *variables, struct entry *entry)
{
    TRY(check_object(arena, value, "a tensor", KEYS("name", "shape", "kind", "if")));
    const struct json *name = json_get(value, "name"), *shape = json_get(value, "shape");
    if (name == NULL || shape == NULL)
        return json_error(value, "\"%s\" is missing", name == NULL ? "name" : "shape");
    TRY(target_parse(arena, name, &entry->name));
    struct text variable;
    for (size_t i = 0; (variable = target_variable(entry->name, i)).length > 0; i++)
        if (!is_variable(variables, variable))
            return json_error(
                name, "there is no variable \"%.*s\" here", (int)variable.length, variable.bytes);
    TRY(check_list(arena, shape, "\"shape\""));
    if (shape->count > RULES_RANK_MAX)
        return json_error(shape, "\"shape\" has more than 8 axes");
    entry->rank = (uint32_t)shape->count;
    entry->shape = arena_array(arena, shape->count, sizeof(struct expression *));
    TRY(memory_check(entry->shape));
    for (size_t i = 0; i < shape->count; i++)
        TRY(expression_parse(arena, &shape->items[i], &entry->shape[i]));
    TRY(read_kind(arena, json_get(value, "kind"), entry));
    return read_expression(arena, json_get(value, "if"), &entry->condition);
}

static struct error *read_loop(
    struct arena *arena, const struct json *value, struct variables *variables, struct entry *entry)
{
    if (value == NULL)
        return NULL;
    if (value->kind != JSON_OBJECT || value->count != 1)
        return json_error(
            value, "\"for\" must be an object with one variable, not %s", json_show(arena, value));
    const struct json_member *member = &value->members[0];
    if (!name_is_identifier(member->key) || is_variable(variables, member->key))
        return json_error_key(
            value, member, "\"%s\" cannot be a variable here", quote(arena, member->key));
    if (variables->count == PATTERN_CAPTURES_MAX)
        return json_error_key(value, member, "there are more than 8 variables");
    TRY(expression_parse(arena, &member->value, &entry->count));
    entry->variable = member->key;
    variables->names[variables->count++] = member->key;
    return NULL;
}

static struct error *read_group(
    struct arena *arena, const struct json *value, struct variables variables, struct entry *entry)
{
    TRY(check_object(arena, value, "a group of tensors", KEYS("for", "if", "each")));
    if (variables.depth == GROUP_DEPTH_MAX)
        return json_error(value, "groups are nested too deeply");
    variables.depth++;
    TRY(read_expression(arena, json_get(value, "if"), &entry->condition));
    TRY(read_loop(arena, json_get(value, "for"), &variables, entry));
    const struct json *each = json_get(value, "each");
    if (each == NULL)
        return json_error(value, "\"each\" is missing");
    return read_entries(arena, each, variables, &entry->entries, &entry->entry_count);
}

static struct error *read_entries(struct arena *arena, const struct json *value,
    struct variables variables, struct entry **out, size_t *count)
{
    TRY(check_list(arena, value, "a list of tensors"));
    struct entry *entries = arena_array(arena, value->count, sizeof *entries);
    TRY(memory_check(entries));
    for (size_t i = 0; i < value->count; i++) {
        const struct json *item = &value->items[i];
        entries[i].origin = item;
        if (json_get(item, "each") != NULL || json_get(item, "for") != NULL)
            TRY(read_group(arena, item, variables, &entries[i]));
        else
            TRY(read_tensor(arena, item, &variables, &entries[i]));
    }
    *out = entries;
    *count = value->count;
    return NULL;
}

/* ---- the file ---- */

static struct error *read_types(struct arena *arena, const struct json *root, struct rules *rules)
{
    rules->types = json_get(root, "types");
    rules->architectures = json_get(root, "architectures");
    if (rules->types == NULL)
        return json_error(root, "\"types\" is missing");
    TRY(check_strings(arena, rules->types, "\"types\""));
    if (rules->architectures != NULL)
        TRY(check_strings(arena, rules->architectures, "\"architectures\""));
    return NULL;
}

static struct error *read_rules(struct arena *arena, const struct json *root, struct rules *rules)
{
    TRY(check_object(arena, root, "a rule file",
        KEYS("types", "architectures", "required", "defaults", "let", "refuse", "steps",
            "keep_dtype", "quant", "layers", "tensors")));
    TRY(read_types(arena, root, rules));
    TRY(read_required(arena, json_get(root, "required"), rules));
    TRY(read_defaults(arena, json_get(root, "defaults"), rules));
    TRY(read_lets(arena, json_get(root, "let"), rules));
    TRY(read_refusals(arena, json_get(root, "refuse"), rules));
    TRY(read_steps(arena, json_get(root, "steps"), rules));
    TRY(read_patterns(arena, json_get(root, "keep_dtype"), &rules->keep_dtype));
    const struct json *tensors = json_get(root, "tensors");
    rules->has_tensors = tensors != NULL;
    TRY(read_quant(arena, json_get(root, "quant"), rules));
    TRY(read_expression(arena, json_get(root, "layers"), &rules->layers));
    if (tensors == NULL)
        return NULL;
    return read_entries(
        arena, tensors, (struct variables){.count = 0}, &rules->entries, &rules->entry_count);
}

struct error *rules_load(
    struct arena *arena, const char *name, struct text json, const struct rules **out)
{
    struct rules *rules = arena_alloc(arena, sizeof *rules);
    TRY(memory_check(rules));
    TRY(json_parse(arena, name, json, JSON_STRICT, &rules->document));
    TRY(read_rules(arena, &rules->document->root, rules));
    *out = rules;
    return NULL;
}

const char *rules_name(const struct rules *rules)
{
    return rules->document->name;
}

static bool list_holds(const struct json *list, struct text text)
{
    for (size_t i = 0; i < list->count; i++)
        if (text_equal(list->items[i].text, text))
            return true;
    return false;
}

enum rules_service rules_serves(
    const struct rules *rules, struct text model_type, const struct json *architectures)
{
    if (!list_holds(rules->types, model_type))
        return RULES_SERVE_NOT;
    if (rules->architectures == NULL)
        return RULES_SERVE_TYPE;
    if (json_is(architectures, JSON_STRING) &&
        list_holds(rules->architectures, architectures->text))
        return RULES_SERVE_ARCHITECTURE;
    for (size_t i = 0; json_is(architectures, JSON_ARRAY) && i < architectures->count; i++)
        if (architectures->items[i].kind == JSON_STRING &&
            list_holds(rules->architectures, architectures->items[i].text))
            return RULES_SERVE_ARCHITECTURE;
    return RULES_SERVE_NOT;
}
