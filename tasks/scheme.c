/* scheme.c - parameters, overrides, recipe and rules become one choice a layer (scheme.h). */
#include "tasks/scheme.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/formats/pattern.h"

const char *const scheme_modes[] = {"affine", "mxfp4", "mxfp8", "nvfp4", NULL};
const int64_t scheme_bits[] = {1, 2, 3, 4, 5, 6, 8, -1};
const int64_t scheme_group_sizes[] = {16, 32, 64, 128, -1};

const struct param_spec scheme_override_params[] = {
    {.name = "match",
        .type = PARAM_STRING,
        .is_required = true,
        .help = "pattern of the layers' paths"},
    {.name = "bits", .type = PARAM_INTEGER, .integers = scheme_bits, .help = "bits of a weight"},
    {.name = "group_size",
        .type = PARAM_INTEGER,
        .integers = scheme_group_sizes,
        .help = "weights that share a scale"},
    {.name = "mode", .type = PARAM_STRING, .words = scheme_modes, .help = "kind of quantization"},
    {.name = "quantize", .type = PARAM_BOOLEAN, .help = "false leaves the layers as they are"},
    {.name = NULL},
};

/* ---- parameters ---- */

/* Moves what quant_shape_check says to the value that is to blame. */
static struct error *at_value(struct error *cause, const struct json *value)
{
    struct error *error = json_error(value, "%s", error_text(cause));
    error_free(cause);
    return error;
}

/* A shape without tensor: only whether mode, bits and group size go together. */
static struct error *check_shape(struct quant_shape shape)
{
    shape.dtype = DTYPE_F32;
    return quant_shape_check(&shape, shape.group_size);
}

/* Reads mode, bits and group_size of `object` with the mode's defaults; each one alone is checked
 * against the mode, so that the error is at the right one. Any of the three may be NULL. */
struct error *scheme_read_shape(const struct json *mode, const struct json *bits,
    const struct json *group_size, struct quant_shape *out)
{
    struct quant_shape shape = {.mode = QUANT_AFFINE};
    int64_t number;
    if (mode != NULL && !(json_is(mode, JSON_STRING) && quant_mode_parse(mode->text, &shape.mode)))
        return json_error(mode, "\"mode\" must be one of affine, mxfp4, mxfp8, nvfp4");
    quant_mode_defaults(shape.mode, &shape.group_size, &shape.bits);
    if (bits != NULL) {
        shape.bits = json_to_i64(bits, &number) && number > 0 && number < 256 ? (uint32_t)number
                                                                              : UINT32_MAX;
        struct error *error = check_shape(shape);
        if (error != NULL)
            return at_value(error, bits);
    }
    if (group_size != NULL) {
        shape.group_size = json_to_i64(group_size, &number) && number > 0 && number < 65536
                               ? (uint32_t)number
                               : UINT32_MAX;
        struct error *error = check_shape(shape);
        if (error != NULL)
            return at_value(error, group_size);
    }
    *out = shape;
    return NULL;
}

/* The entry without "match", in the order written, as the reference's json.dump would put it. */
static struct error *render_entry(struct arena *arena, const struct json *entry, struct text *out)
{
    char *json = arena_format(arena, "{");
    for (size_t i = 0; i < entry->count && json != NULL; i++) {
        const struct json_member *member = &entry->members[i];
        if (text_is(member->key, "match"))
            continue;
        const char *quote = json_is(&member->value, JSON_STRING) ? "\"" : "";
        json = arena_format(arena, "%s%s\"%s\": %s%.*s%s", json, json[1] == '\0' ? "" : ", ",
            member->key.bytes, quote, (int)member->value.text.length, member->value.text.bytes,
            quote);
    }
    if (json != NULL)
        json = arena_format(arena, "%s}", json);
    TRY(memory_check(json));
    *out = text_of(json);
    return NULL;
}

static struct error *read_override(
    struct arena *arena, const struct json *entry, struct scheme_override *out)
{
    const struct json *bits = json_get(entry, "bits"), *mode = json_get(entry, "mode"),
                      *group_size = json_get(entry, "group_size"),
                      *quantize = json_get(entry, "quantize");
    bool has_shape = bits != NULL || mode != NULL || group_size != NULL;
    *out = (struct scheme_override){.place = entry, .leaves = quantize != NULL};
    if (quantize != NULL && (!json_is(quantize, JSON_BOOL) || quantize->boolean || has_shape))
        return json_error(
            quantize, "\"quantize\" of an override must be false, and stand with \"match\" alone");
    if (quantize == NULL && !has_shape)
        return json_error(entry,
            "an override must have \"bits\", \"group_size\", \"mode\" or \"quantize\": false");
    TRY(pattern_parse(arena, json_get(entry, "match"), &out->match));
    if (quantize != NULL)
        return NULL;
    TRY(scheme_read_shape(mode, bits, group_size, &out->shape));
    return render_entry(arena, entry, &out->json);
}

static struct error *read_overrides(struct plan *plan, struct scheme *scheme)
{
    const struct json *list = plan_param(plan, "overrides");
    if (list == NULL)
        return NULL;
    scheme->overrides = arena_array(plan_arena(plan), list->count, sizeof *scheme->overrides);
    TRY(memory_check(scheme->overrides));
    scheme->override_count = list->count;
    for (size_t i = 0; i < list->count; i++)
        TRY(read_override(plan_arena(plan), &list->items[i], &scheme->overrides[i]));
    return NULL;
}

struct error *scheme_read(struct plan *plan, struct scheme *out)
{
    const struct json *bits = plan_param(plan, "bits"), *mode = plan_param(plan, "mode"),
                      *group_size = plan_param(plan, "group_size"),
                      *recipe = plan_param(plan, "quant_predicate");
    bool is_asked_for = bits != NULL || mode != NULL || group_size != NULL || recipe != NULL ||
                        plan_param(plan, "overrides") != NULL;
    struct scheme scheme = {.is_on = plan_param_bool(plan, "quantize", is_asked_for),
        .has_group_size = group_size != NULL,
        .recipe = recipe == NULL ? TEXT_EMPTY : recipe->text};
    TRY(scheme_read_shape(mode, bits, group_size, &scheme.shape));
    if (recipe != NULL && scheme.shape.mode != QUANT_AFFINE)
        return json_error(recipe, "%.*s is for mode affine only, not %s", (int)recipe->text.length,
            recipe->text.bytes, quant_mode_name(scheme.shape.mode));
    TRY(read_overrides(plan, &scheme));
    *out = scheme;
    return NULL;
}

struct text scheme_quantization(struct arena *arena, const struct scheme *scheme)
{
    return text_of(arena_format(arena,
        "{\"group_size\": %" PRIu32 ", \"bits\": %" PRIu32 ", \"mode\": \"%s\"}",
        scheme->shape.group_size, scheme->shape.bits, quant_mode_name(scheme->shape.mode)));
}

/* ---- choices ---- */

bool scheme_is_layer(const struct rules_output *output)
{
    return output->kind != RULES_KIND_OTHER && output->rank >= 2 &&
           text_ends_with(output->name, ".weight");
}

struct error *scheme_begin(struct plan *plan, struct scheme *scheme, struct rules_model *rules,
    const struct rules_output *outputs, size_t count)
{
    if (!scheme->is_on || scheme->recipe.length == 0)
        return NULL;
    uint64_t layer_count;
    TRY(rules_layer_count(rules, &layer_count));
    struct text *modules = arena_array(plan_arena(plan), count, sizeof *modules);
    TRY(memory_check(modules));
    for (size_t i = 0; i < count; i++)
        modules[i] = outputs[i].module;
    struct error *error = mixed_begin(scheme->recipe, modules, count, layer_count, &scheme->mixed);
    return error == NULL ? NULL : at_value(error, plan_param(plan, "quant_predicate"));
}

static struct error *choose_override(const struct scheme_override *override,
    const struct rules_output *output, uint64_t columns, struct scheme_choice *out)
{
    if (override->leaves)
        return NULL;
    if (columns % override->shape.group_size != 0)
        return json_error(override->place,
            "the group size %" PRIu32 " of this override does not divide the %" PRIu64
            " columns of %.*s",
            override->shape.group_size, columns, (int)output->module.length, output->module.bytes);
    *out = (struct scheme_choice){
        .is_quantized = true, .shape = override->shape, .json = override->json};
    return NULL;
}

/* "group_size" is what was given on the command line, null for nothing: so the reference records
 * it. */
static struct error *choose_mixed(struct arena *arena, const struct scheme *scheme,
    const struct rules_output *output, struct scheme_choice *out)
{
    struct quant_shape shape = scheme->shape;
    TRY(mixed_bits(&scheme->mixed, output->module, &shape.bits));
    const char *group_size =
        scheme->has_group_size ? arena_format(arena, "%" PRIu32, shape.group_size) : "null";
    const char *json = group_size == NULL ? NULL
                                          : arena_format(arena,
                                                "{\"group_size\": %s, \"bits\": %" PRIu32
                                                ", \"mode\": \"affine\"}",
                                                group_size, shape.bits);
    TRY(memory_check(json));
    *out = (struct scheme_choice){.is_quantized = true, .shape = shape, .json = text_of(json)};
    return NULL;
}

static const char *render_decision(struct arena *arena, const struct rules_decision *decision)
{
    if (!decision->has_bits)
        return arena_format(arena, "{\"group_size\": %" PRIu32 "}", decision->group_size);
    if (!decision->has_group_size)
        return arena_format(arena, "{\"bits\": %" PRIu32 "}", decision->bits);
    return arena_format(arena, "{\"group_size\": %" PRIu32 ", \"bits\": %" PRIu32 "}",
        decision->group_size, decision->bits);
}

static struct error *choose_decision(struct arena *arena, const struct rules_decision *decision,
    const struct rules_output *output, uint64_t columns, struct scheme_choice *out)
{
    struct quant_shape shape = {.mode = QUANT_AFFINE};
    quant_mode_defaults(shape.mode, &shape.group_size, &shape.bits);
    if (decision->has_bits)
        shape.bits = decision->bits;
    if (decision->has_group_size)
        shape.group_size = decision->group_size;
    shape.dtype = DTYPE_F32;
    struct error *error = quant_shape_check(&shape, columns);
    if (error != NULL)
        return error_wrap(error, "quantizing %.*s as the rules of its architecture say",
            (int)output->module.length, output->module.bytes);
    const char *json = render_decision(arena, decision);
    TRY(memory_check(json));
    *out = (struct scheme_choice){.is_quantized = true, .shape = shape, .json = text_of(json)};
    return NULL;
}

/* All that match count as used, but the first one decides. */
static const struct scheme_override *find_override(struct scheme *scheme, struct text module)
{
    const struct scheme_override *found = NULL;
    for (size_t i = 0; i < scheme->override_count; i++) {
        if (!pattern_match(scheme->overrides[i].match, module, NULL))
            continue;
        scheme->overrides[i].is_used = true;
        if (found == NULL)
            found = &scheme->overrides[i];
    }
    return found;
}

struct error *scheme_choose(struct arena *arena, struct scheme *scheme, struct rules_model *rules,
    const struct rules_output *output, struct scheme_choice *out)
{
    *out = (struct scheme_choice){.is_quantized = false};
    if (!scheme->is_on)
        return NULL;
    uint64_t columns = output->shape[output->rank - 1];
    const struct scheme_override *override = find_override(scheme, output->module);
    if (columns % scheme->shape.group_size != 0)
        return NULL;
    if (override != NULL)
        return choose_override(override, output, columns, out);
    if (scheme->recipe.length > 0)
        return choose_mixed(arena, scheme, output, out);
    struct rules_decision decision;
    TRY(rules_decide(rules, output, &decision));
    if (decision.choice == RULES_OVERRIDE)
        return choose_decision(arena, &decision, output, columns, out);
    out->is_quantized = decision.choice == RULES_QUANTIZE;
    out->shape = scheme->shape;
    return NULL;
}

/* A layer whose path is nearly the pattern, for people who mistyped it; or NULL. */
static struct error *suggest(struct arena *arena, struct text pattern,
    const struct rules_output *outputs, size_t count, const char **out)
{
    const char **words = arena_array(arena, count, sizeof *words);
    TRY(memory_check(words));
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (!scheme_is_layer(&outputs[i]))
            continue;
        words[used] = arena_copy(arena, outputs[i].module.bytes, outputs[i].module.length);
        TRY(memory_check(words[used++]));
    }
    char *word = arena_copy(arena, pattern.bytes, pattern.length);
    TRY(memory_check(word));
    *out = text_suggest(word, words, used);
    return NULL;
}

static struct error *unused_override(
    const struct scheme_override *override, const struct rules_output *outputs, size_t count)
{
    struct arena arena = {0};
    const char *near = NULL;
    struct text pattern = pattern_source(override->match);
    struct error *error = suggest(&arena, pattern, outputs, count, &near);
    if (error == NULL)
        error = json_error(json_get(override->place, "match"),
            "\"match\" must match a layer of the model, but \"%.*s\" matches none%s%s%s",
            (int)pattern.length, pattern.bytes, near == NULL ? "" : "; did you mean \"",
            near == NULL ? "" : near, near == NULL ? "" : "\"?");
    arena_end(&arena);
    return error;
}

struct error *scheme_finish(
    const struct scheme *scheme, const struct rules_output *outputs, size_t count)
{
    for (size_t i = 0; i < scheme->override_count && scheme->is_on; i++)
        if (!scheme->overrides[i].is_used)
            return unused_override(&scheme->overrides[i], outputs, count);
    return NULL;
}
