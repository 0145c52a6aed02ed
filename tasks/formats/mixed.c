/* mixed.c - mixed_quant_predicate_builder of the reference's convert.py, in integers. */
#include "tasks/formats/mixed.h"

#include <stdbool.h>
#include <string.h>

const char *const mixed_recipes[MIXED_RECIPE_COUNT + 1] = {
    "mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6", NULL};
static const struct {
    uint32_t low, high;
} recipe_bits[MIXED_RECIPE_COUNT] = {{2, 6}, {3, 4}, {3, 6}, {4, 6}};

static size_t find_recipe(struct text name)
{
    size_t i = 0;
    while (i < MIXED_RECIPE_COUNT && !text_is(name, mixed_recipes[i]))
        i++;
    return i;
}

/* The index-th component of a dotted path; false when it has fewer. */
static bool component(struct text path, size_t index, struct text *out)
{
    for (size_t begin = 0;; index--) {
        const char *dot = memchr(path.bytes + begin, '.', path.length - begin);
        size_t end = dot == NULL ? path.length : (size_t)(dot - path.bytes);
        if (index == 0) {
            *out = (struct text){path.bytes + begin, end - begin};
            return true;
        }
        if (dot == NULL)
            return false;
        begin = end + 1;
    }
}

static bool is_number(struct text text)
{
    for (size_t i = 0; i < text.length; i++)
        if (text.bytes[i] < '0' || text.bytes[i] > '9')
            return false;
    return text.length > 0;
}

/* The first component that is a number; the last one when none is, as the reference's loop ends. */
static size_t find_layer_component(struct text path)
{
    struct text part;
    size_t index = 0;
    while (component(path, index, &part) && !is_number(part))
        index++;
    return component(path, index, &part) ? index : index - 1;
}

struct error *mixed_begin(struct text recipe, const struct text *modules, size_t count,
    uint64_t layer_count, struct mixed *out)
{
    size_t found = find_recipe(recipe);
    if (found == MIXED_RECIPE_COUNT)
        return error_new(ERROR_USAGE, "the mixed recipes are mixed_2_6, mixed_3_4, mixed_3_6 and "
                                      "mixed_4_6");
    for (size_t i = 0; i < count; i++) {
        if (!text_contains(modules[i], "down_proj"))
            continue;
        *out = (struct mixed){.bits_low = recipe_bits[found].low,
            .bits_high = recipe_bits[found].high,
            .layer_count = layer_count,
            .layer_component = find_layer_component(modules[i])};
        return NULL;
    }
    return error_new(ERROR_FORMAT,
        "%s needs a module with \"down_proj\" in its path, and the model has none",
        mixed_recipes[found]);
}

/* False when it is no number. One past 2^64-1 counts as the largest: it is past any layer. */
static bool parse_layer(struct text text, uint64_t *out)
{
    if (!is_number(text))
        return false;
    *out = 0;
    for (size_t i = 0; i < text.length; i++) {
        unsigned digit = (unsigned)(text.bytes[i] - '0');
        *out = *out > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *out * 10 + digit;
    }
    return true;
}

/* The first and last eighth of the layers and every third one between. 7n/8 multiplies first. */
static bool is_sensitive(uint64_t layer, uint64_t layer_count)
{
    uint64_t eighth = layer_count / 8;
    uint64_t last_eighth = layer_count / 8 * 7 + layer_count % 8 * 7 / 8; /* 7n/8 for any n */
    return layer < eighth || layer >= last_eighth || (layer - eighth) % 3 == 2;
}

struct error *mixed_bits(const struct mixed *mixed, struct text module, uint32_t *bits)
{
    uint64_t layer = 0;
    struct text part;
    if (component(module, mixed->layer_component, &part) && !parse_layer(part, &layer))
        return error_new(ERROR_FORMAT,
            "a mixed recipe needs the layer's number in the path of module %.*s, where it has "
            "\"%.*s\"",
            (int)module.length, module.bytes, (int)part.length, part.bytes);
    bool is_projection = text_contains(module, "v_proj") || text_contains(module, "v_a_proj") ||
                         text_contains(module, "v_b_proj") || text_contains(module, "down_proj");
    bool is_high = (is_projection && is_sensitive(layer, mixed->layer_count)) ||
                   text_contains(module, "lm_head");
    *bits = is_high ? mixed->bits_high : mixed->bits_low;
    return NULL;
}
