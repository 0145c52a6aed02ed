/* packed.c - codes, scales and biases belong together, and how (packed.h). */
#include "tasks/packed.h"

#include <inttypes.h>
#include <string.h>

#include "tasks/scheme.h"

/* ---- which tensors belong together ---- */

/* The tensor "STEM.PART" in `out`, or NULL there. */
static struct error *find_part(struct arena *arena, const struct weights *weights, struct text stem,
    const char *part, const struct weights_tensor **out)
{
    const char *name = arena_format(arena, "%.*s.%s", (int)stem.length, stem.bytes, part);
    TRY(memory_check(name));
    uint32_t index = map_get(&weights->by_name, name);
    *out = index == MAP_NONE ? NULL : &weights->tensors[index];
    return NULL;
}

static bool cut_suffix(struct text name, const char *suffix, struct text *stem)
{
    if (!text_ends_with(name, suffix))
        return false;
    *stem = (struct text){name.bytes, name.length - strlen(suffix)};
    return true;
}

static struct error *is_companion(
    struct arena *arena, const struct weights *weights, struct text name, bool *out)
{
    struct text stem;
    const struct weights_tensor *weight = NULL, *scales = NULL;
    *out = false;
    if (!cut_suffix(name, ".scales", &stem) && !cut_suffix(name, ".biases", &stem))
        return NULL;
    TRY(find_part(arena, weights, stem, "weight", &weight));
    TRY(find_part(arena, weights, stem, "scales", &scales));
    *out = weight != NULL && scales != NULL;
    return NULL;
}

static struct error *gather_one(struct arena *arena, const struct weights *weights,
    const struct weights_tensor *tensor, struct packed_tensor *out)
{
    struct text stem;
    *out = (struct packed_tensor){.tensor = tensor};
    if (!cut_suffix(text_of(tensor->tensor->name), ".weight", &stem))
        return NULL;
    TRY(find_part(arena, weights, stem, "scales", &out->scales));
    if (out->scales == NULL)
        return NULL;
    if (tensor->tensor->dtype != DTYPE_U32)
        return error_new(ERROR_FORMAT,
            "%s: tensor \"%s\" must be U32, as it has \"%s\" beside it, not %s",
            weights->shards[tensor->shard].path, tensor->tensor->name, out->scales->tensor->name,
            dtype_name(tensor->tensor->dtype));
    return find_part(arena, weights, stem, "biases", &out->biases);
}

struct error *packed_gather(
    struct arena *arena, const struct weights *weights, struct packed_tensor **out, size_t *count)
{
    struct packed_tensor *items = arena_array(arena, weights->tensor_count, sizeof *items);
    size_t used = 0;
    TRY(memory_check(items));
    for (uint32_t i = 0; i < weights->tensor_count; i++) {
        const struct weights_tensor *tensor = &weights->tensors[i];
        bool is_taken;
        TRY(is_companion(arena, weights, text_of(tensor->tensor->name), &is_taken));
        if (!is_taken)
            TRY(gather_one(arena, weights, tensor, &items[used++]));
    }
    *out = items;
    *count = used;
    return NULL;
}

/* ---- how they do ---- */

/* One packed tensor on its way to a shape. */
struct unpacking {
    struct arena *arena;
    const struct weights *weights;
    const struct json *quantization; /* of config.json */
    const struct packed_tensor *packed;
    const struct rules_output *output;
    uint64_t words, groups; /* of a row of codes, of scales */
    uint64_t columns;       /* or RULES_AXIS_ANY */
};

static uint64_t last_axis(const struct tensor *tensor)
{
    return tensor->rank == 0 ? 0 : tensor->shape[tensor->rank - 1];
}

static struct error *get_entry(struct arena *arena, const struct json *quantization,
    struct text module, const struct json **out)
{
    const char *key = arena_copy(arena, module.bytes, module.length);
    TRY(memory_check(key));
    *out = json_get(quantization, key);
    return NULL;
}

/* What Python's `value or default` takes as no value. */
static const struct json *or_default(const struct json *value)
{
    bool is_none = json_is(value, JSON_NULL) || (json_is(value, JSON_NUMBER) && value->number == 0);
    return is_none ? NULL : value;
}

static struct error *read_entry(const struct json *entry, struct quant_shape *out)
{
    return scheme_read_shape(json_get(entry, "mode"), or_default(json_get(entry, "bits")),
        or_default(json_get(entry, "group_size")), out);
}

/* An entry as Python has it: true and filled objects mean that the module is quantized. */
static bool is_quantized(const struct json *entry)
{
    return json_is(entry, JSON_BOOL) ? entry->boolean
                                     : json_is(entry, JSON_OBJECT) && entry->count > 0;
}

/* From the shapes alone; the modes with byte scales have one pair of bits and group size each. */
static struct error *infer_shape(const struct unpacking *unpacking, struct quant_shape *out)
{
    const struct tensor *scales = unpacking->packed->scales->tensor;
    uint64_t columns = unpacking->columns, words = unpacking->words;
    struct quant_shape shape = {.mode = QUANT_AFFINE, .dtype = DTYPE_F32};
    if (unpacking->groups > 0 && columns > 0 && words <= columns) {
        uint64_t group_size = columns / unpacking->groups;
        shape.bits = (uint32_t)(words * 32 / columns);
        shape.group_size = group_size > QUANT_GROUP_SIZE_MAX ? 0 : (uint32_t)group_size;
    }
    if (scales->dtype == DTYPE_U8)
        shape.mode = shape.bits == 8          ? QUANT_MXFP8
                     : shape.group_size == 32 ? QUANT_MXFP4
                                              : QUANT_NVFP4;
    struct error *error = quant_shape_check(&shape, columns);
    if (error != NULL)
        return error_wrap(error, "telling from the shapes how %.*s is quantized",
            (int)unpacking->output->module.length, unpacking->output->module.bytes);
    *out = shape;
    return NULL;
}

static struct error *choose_shape(const struct unpacking *unpacking, struct quant_shape *out)
{
    const struct json *entry = NULL;
    TRY(get_entry(unpacking->arena, unpacking->quantization, unpacking->output->module, &entry));
    if (entry == NULL && unpacking->columns != RULES_AXIS_ANY)
        return infer_shape(unpacking, out);
    if (entry == NULL || (json_is(entry, JSON_BOOL) && entry->boolean))
        return read_entry(unpacking->quantization, out);
    if (is_quantized(entry))
        return read_entry(entry, out);
    return json_error(entry, "%.*s must be quantized, as it has \"%s\", not %s",
        (int)unpacking->output->module.length, unpacking->output->module.bytes,
        unpacking->packed->scales->tensor->name, json_show(unpacking->arena, entry));
}

/* A companion must be of the codes' rows, `columns` long, and of `dtype`. */
static struct error *check_part(const struct unpacking *unpacking,
    const struct weights_tensor *part, uint64_t columns, enum dtype dtype)
{
    const struct tensor *tensor = part->tensor, *codes = unpacking->packed->tensor->tensor;
    const struct rules_output *output = unpacking->output;
    uint64_t want[SAFETENSORS_RANK_MAX];
    memcpy(want, codes->shape, codes->rank * sizeof *want);
    want[codes->rank - 1] = columns;
    if (tensor->dtype == dtype && tensor->rank == codes->rank &&
        memcmp(tensor->shape, want, codes->rank * sizeof *want) == 0)
        return NULL;
    const char *have_text = safetensors_shape_text(unpacking->arena, tensor->rank, tensor->shape);
    const char *want_text = safetensors_shape_text(unpacking->arena, codes->rank, want);
    if (have_text == NULL || want_text == NULL)
        return error_memory();
    return error_new(ERROR_FORMAT,
        "%s: tensor \"%s\" must be %s %s for the quantization of %.*s, not %s %s",
        unpacking->weights->shards[part->shard].path, tensor->name, dtype_name(dtype), want_text,
        (int)output->module.length, output->module.bytes, dtype_name(tensor->dtype), have_text);
}

static struct error *check_biases(
    const struct unpacking *unpacking, const struct quant_shape *shape)
{
    const struct weights_tensor *scales = unpacking->packed->scales,
                                *biases = unpacking->packed->biases;
    const char *path = unpacking->weights->shards[scales->shard].path;
    if (biases != NULL && quant_has_biases(shape->mode))
        return check_part(unpacking, biases, unpacking->groups, scales->tensor->dtype);
    if (biases != NULL)
        return error_new(ERROR_FORMAT, "%s: tensor \"%s\" must not be there in mode %s",
            unpacking->weights->shards[biases->shard].path, biases->tensor->name,
            quant_mode_name(shape->mode));
    if (quant_has_biases(shape->mode))
        return error_new(ERROR_FORMAT, "%s: tensor \"%s\" must have biases beside it in mode %s",
            path, scales->tensor->name, quant_mode_name(shape->mode));
    return NULL;
}

/* That all tensors are what `shape` makes of rows of `columns` weights. */
static struct error *check_parts(
    const struct unpacking *unpacking, const struct quant_shape *shape, uint64_t columns)
{
    const struct weights_tensor *scales = unpacking->packed->scales;
    enum dtype dtype = scales->tensor->dtype;
    TRY(check_part(unpacking, unpacking->packed->tensor,
        quant_code_bytes(shape, columns) / dtype_size_bytes(DTYPE_U32), DTYPE_U32));
    if (!quant_has_biases(shape->mode))
        dtype = DTYPE_U8;
    else if (!dtype_is_float(dtype))
        return error_new(ERROR_FORMAT,
            "%s: tensor \"%s\" must be F32, F16 or BF16 in mode %s, not %s",
            unpacking->weights->shards[scales->shard].path, scales->tensor->name,
            quant_mode_name(shape->mode), dtype_name(dtype));
    TRY(check_part(unpacking, scales, columns / shape->group_size, dtype));
    return check_biases(unpacking, shape);
}

struct error *packed_shape(struct arena *arena, const struct weights *weights,
    const struct json *quantization, const struct packed_tensor *packed,
    const struct rules_output *output, struct quant_shape *shape, uint64_t *columns)
{
    struct unpacking unpacking = {arena, weights, quantization, packed, output,
        last_axis(packed->tensor->tensor), last_axis(packed->scales->tensor),
        output->rank == 0 ? 0 : output->shape[output->rank - 1]};
    if (!scheme_is_layer(output))
        return error_new(ERROR_FORMAT,
            "%s: tensor \"%s\" must not be quantized, but has \"%s\" beside it",
            weights->shards[packed->tensor->shard].path, packed->tensor->tensor->name,
            packed->scales->tensor->name);
    struct quant_shape chosen;
    TRY(choose_shape(&unpacking, &chosen));
    uint64_t length = unpacking.columns;
    if (length == RULES_AXIS_ANY) /* within 64 bits: a scale has a byte, a group 128 weights */
        length = unpacking.groups * chosen.group_size;
    TRY(check_parts(&unpacking, &chosen, length));
    *shape = chosen;
    *columns = length;
    return NULL;
}

struct error *packed_check_plain(
    struct arena *arena, const struct json *quantization, const struct rules_output *output)
{
    const struct json *entry = NULL;
    if (!scheme_is_layer(output))
        return NULL;
    TRY(get_entry(arena, quantization, output->module, &entry));
    if (!is_quantized(entry))
        return NULL;
    return json_error(entry, "%.*s must have \"%.*s.scales\" to be quantized so, but has none",
        (int)output->module.length, output->module.bytes, (int)output->module.length,
        output->module.bytes);
}
