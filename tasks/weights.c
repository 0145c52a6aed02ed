/* weights.c - shards in, shards out (weights.h). */
#include "tasks/weights.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is read ---- */

static struct error *check_not_twice(const struct weights *weights, uint32_t index)
{
    const struct weights_tensor *tensor = &weights->tensors[index];
    uint32_t other = map_get(&weights->by_name, tensor->tensor->name);
    if (other == MAP_NONE)
        return NULL;
    return error_new(ERROR_FORMAT, "tensor \"%s\" must be in one file, not both in %s and in %s",
        tensor->tensor->name, weights->shards[weights->tensors[other].shard].path,
        weights->shards[tensor->shard].path);
}

static bool parse_number(const char **cursor, uint32_t *out)
{
    uint64_t number = 0;
    size_t digits = text_read_u64(text_of(*cursor), &number);
    *cursor += digits;
    *out = (uint32_t)number;
    return digits > 0 && digits <= 9;
}

/* "model-00002-of-00004.safetensors": stem "model", number 2, of 4. */
struct counted_name {
    struct text stem;
    uint32_t number, of;
};

static bool parse_counted_name(const char *name, struct counted_name *out)
{
    for (const char *dash = strchr(name, '-'); dash != NULL; dash = strchr(dash + 1, '-')) {
        const char *cursor = dash + 1;
        struct counted_name parsed = {.stem = {name, (size_t)(dash - name)}};
        if (!parse_number(&cursor, &parsed.number) || strncmp(cursor, "-of-", 4) != 0)
            continue;
        cursor += 4;
        if (!parse_number(&cursor, &parsed.of) || strcmp(cursor, ".safetensors") != 0)
            continue;
        *out = parsed;
        return true;
    }
    return false;
}

static bool has_shard(
    const struct weights_shard *shards, uint32_t count, const struct counted_name *wanted)
{
    struct counted_name name;
    for (uint32_t i = 0; i < count; i++)
        if (parse_counted_name(shards[i].name, &name) && name.number == wanted->number &&
            name.of == wanted->of && text_equal(name.stem, wanted->stem))
            return true;
    return false;
}

/* Checks the successor of each shard, so that the loop is bounded by what is there. */
static struct error *check_complete(const struct weights_shard *shards, uint32_t count)
{
    struct counted_name name;
    for (uint32_t i = 0; i < count; i++) {
        if (!parse_counted_name(shards[i].name, &name))
            continue;
        name.number = name.number < name.of ? name.number + 1 : 1;
        if (!has_shard(shards, count, &name))
            return error_new(ERROR_FORMAT,
                "%s: expected all of its %" PRIu32 " shards, but number %" PRIu32
                " is not among the inputs",
                shards[i].path, name.of, name.number);
    }
    return NULL;
}

struct error *weights_join(
    struct arena *arena, struct weights_shard *shards, uint32_t shard_count, struct weights *out)
{
    TRY(check_complete(shards, shard_count));
    uint64_t count = 0;
    for (uint32_t i = 0; i < shard_count; i++)
        count += shards[i].header->count;
    if (count > WEIGHTS_TENSORS_MAX)
        return error_new(ERROR_FORMAT,
            "%s: expected at most %u tensors in all shards, found %" PRIu64, shards[0].path,
            WEIGHTS_TENSORS_MAX, count);
    struct weights weights = {.shards = shards,
        .shard_count = shard_count,
        .tensors = arena_array(arena, (size_t)count, sizeof *weights.tensors),
        .by_name = {.arena = arena}};
    TRY(memory_check(weights.tensors));
    for (uint32_t i = 0; i < shard_count; i++) {
        for (size_t k = 0; k < shards[i].header->count; k++) {
            uint32_t index = weights.tensor_count;
            weights.tensors[index] = (struct weights_tensor){&shards[i].header->tensors[k], i};
            TRY(check_not_twice(&weights, index));
            TRY(map_put(&weights.by_name, weights.tensors[index].tensor->name, index));
            weights.tensor_count++;
        }
    }
    *out = weights;
    return NULL;
}

static struct error *read_shard(struct plan *plan, size_t index, struct weights_shard *shard)
{
    struct text header;
    uint64_t file_size, header_bytes;
    shard->path = plan_input_path(plan, "weights", index);
    shard->name = path_base(shard->path);
    unsigned char first8[8] = {0};
    TRY(plan_read_header(plan, "weights", index, &header, &file_size));
    memcpy(first8, header.bytes, header.length < sizeof first8 ? header.length : sizeof first8);
    TRY(safetensors_header_size(first8, file_size, shard->path, &header_bytes));
    if (header.length < sizeof first8 || header.length - sizeof first8 < header_bytes)
        return error_new(ERROR_FORMAT, /* the engine found no such header either */
            "%s: expected a valid safetensors header in its first %" PRIu64 " bytes", shard->path,
            header_bytes + sizeof first8);
    struct safetensors *parsed;
    TRY(safetensors_parse(plan_arena(plan), shard->path,
        (struct text){header.bytes + sizeof first8, (size_t)header_bytes}, file_size, &parsed));
    shard->header = parsed;
    shard->input = plan_input(plan, "weights", index);
    return NULL;
}

static struct error *check_index(struct plan *plan, const struct weights *weights)
{
    struct plan_json *index;
    if (plan_input_count(plan, "index") == 0)
        return NULL;
    TRY(plan_read_json(plan, "index", 0, &index));
    return weights_check_map(plan_arena(plan), weights, plan_json_get(index, "weight_map"),
        plan_input_path(plan, "index", 0));
}

struct error *weights_read(struct plan *plan, struct weights *out)
{
    size_t count = plan_input_count(plan, "weights");
    struct weights_shard *shards = arena_array(plan_arena(plan), count, sizeof *shards);
    TRY(memory_check(shards));
    if (count == 0 || count > UINT32_MAX)
        return error_new(ERROR_USAGE, "%s: expected at least one file of weights, found %zu",
            plan_name(plan), count);
    for (size_t i = 0; i < count; i++)
        TRY(read_shard(plan, i, &shards[i]));
    TRY(weights_join(plan_arena(plan), shards, (uint32_t)count, out));
    return check_index(plan, out);
}

static struct error *check_map_entry(struct arena *arena, const struct weights *weights,
    const struct map *shard_by_name, const struct json_member *member)
{
    const struct json *value = &member->value;
    const char *name = text_of(member->key.bytes).length == member->key.length
                           ? member->key.bytes
                           : NULL; /* a NUL within: no tensor is called so */
    char *shown = text_printable(arena, member->key);
    TRY(memory_check(shown));
    if (!json_is(value, JSON_STRING))
        return json_error(value, "tensor \"%s\" must have the name of a file, not %s", shown,
            json_show(arena, value));
    if (!path_is_normal(value->text.bytes) || strlen(value->text.bytes) != value->text.length ||
        strchr(value->text.bytes, '/') != NULL)
        return json_error(value, "tensor \"%s\" must be in a file of the same directory, not in %s",
            shown, json_show(arena, value));
    uint32_t shard = map_get(shard_by_name, value->text.bytes);
    if (shard == MAP_NONE)
        return json_error(value, "tensor \"%s\" is to be in %s, which is not among the inputs",
            shown, json_show(arena, value));
    uint32_t index = name == NULL ? MAP_NONE : map_get(&weights->by_name, name);
    if (index == MAP_NONE)
        return json_error(value, "tensor \"%s\" is to be in %s, but no file has it", shown,
            json_show(arena, value));
    if (weights->tensors[index].shard != shard)
        return json_error(value, "tensor \"%s\" is to be in %s, but it is in %s", shown,
            json_show(arena, value), weights->shards[weights->tensors[index].shard].path);
    return NULL;
}

struct error *weights_check_map(struct arena *arena, const struct weights *weights,
    const struct json *weight_map, const char *path)
{
    if (weight_map == NULL)
        return error_new(ERROR_FORMAT, "%s: expected \"weight_map\", found nothing", path);
    if (!json_is(weight_map, JSON_OBJECT))
        return json_error(
            weight_map, "\"weight_map\" must be an object, not %s", json_show(arena, weight_map));
    struct map shard_by_name = {.arena = arena};
    for (uint32_t i = 0; i < weights->shard_count; i++)
        TRY(map_put(&shard_by_name, weights->shards[i].name, i));
    for (size_t i = 0; i < weight_map->count; i++)
        TRY(check_map_entry(arena, weights, &shard_by_name, &weight_map->members[i]));
    for (uint32_t i = 0; i < weights->tensor_count; i++)
        if (json_get(weight_map, weights->tensors[i].tensor->name) == NULL)
            return json_error(weight_map,
                "\"weight_map\" must list every tensor, but not \"%s\" of %s",
                weights->tensors[i].tensor->name, weights->shards[weights->tensors[i].shard].path);
    return NULL;
}

/* ---- what is written ---- */

struct error *weights_output_make(const char *name, enum dtype dtype, uint32_t rank,
    const uint64_t *shape, struct weights_output *out)
{
    struct tensor tensor = {.name = name, .dtype = dtype, .rank = rank, .shape = shape};
    if (!safetensors_shape_size(dtype, rank, shape, &tensor.size_bytes))
        return error_new(ERROR_FORMAT, "tensor \"%s\" must have a size that fits 64 bits", name);
    *out = (struct weights_output){.tensor = tensor};
    return NULL;
}

struct error *weights_shard_limit(struct plan *plan, uint64_t fallback, uint64_t *size_bytes_max)
{
    const struct json *given = plan_param(plan, "max_shard_size");
    if (given == NULL)
        *size_bytes_max = glob_is_pattern(plan_name(plan)) ? fallback : WEIGHTS_SHARD_BYTES_NONE;
    else if (json_is(given, JSON_STRING) && text_is(given->text, "none"))
        *size_bytes_max = WEIGHTS_SHARD_BYTES_NONE;
    else
        *size_bytes_max = plan_param_u64(plan, "max_shard_size", fallback);
    if (*size_bytes_max == 0)
        return plan_param_error(plan, "max_shard_size", "\"max_shard_size\" must be at least 1");
    return NULL;
}

/* Fills each output's file and gives the number of files, at least one. */
static uint32_t split(struct weights_output *outputs, uint32_t count, uint64_t size_bytes_max)
{
    uint32_t files = 1;
    uint64_t size_bytes = 0;
    bool is_first = true;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t more = outputs[i].tensor.size_bytes;
        if (!is_first && (more > size_bytes_max || size_bytes > size_bytes_max - more)) {
            files++;
            size_bytes = 0;
        }
        is_first = false;
        /* Past 2^64 only without a limit: then nothing depends on it. */
        size_bytes += more;
        outputs[i].file = files - 1;
    }
    return files;
}

static const char *file_path_of(
    struct arena *arena, const char *name, uint32_t index, uint32_t count)
{
    const char *star = strrchr(name, '*');
    if (star == NULL)
        return name;
    if (count == 1)
        return arena_format(arena, "%.*s%s", (int)(star - name), name, star + 1);
    return arena_format(arena, "%.*s-%05" PRIu32 "-of-%05" PRIu32 "%s", (int)(star - name), name,
        index + 1, count, star + 1);
}

static int compare_names(const void *a, const void *b)
{
    const struct weights_output *const *left = a, *const *right = b;
    return strcmp((*left)->tensor.name, (*right)->tensor.name);
}

static int compare_files(const void *a, const void *b)
{
    const struct weights_output *const *left = a, *const *right = b;
    if ((*left)->file != (*right)->file)
        return (*left)->file < (*right)->file ? -1 : 1;
    return compare_names(a, b);
}

/* Lays out the file that holds `outputs`, which come by name; `tensors` has room for them. */
static struct error *lay_out_file(struct arena *arena, struct weights_file *file,
    struct weights_output **outputs, uint32_t count, const struct safetensors_pair *metadata,
    struct tensor *tensors)
{
    for (uint32_t i = 0; i < count; i++)
        tensors[i] = outputs[i]->tensor;
    TRY(safetensors_layout(arena, file->path, tensors, count, metadata, 1, &file->header));
    file->size_bytes = file->header.length;
    for (uint32_t i = 0; i < count; i++) {
        outputs[i]->tensor = tensors[i];
        file->size_bytes = tensors[i].offset + tensors[i].size_bytes;
    }
    return NULL;
}

/* `sorted` comes by file and name. */
static struct error *lay_out_files(struct arena *arena, const char *name, const char *format,
    struct weights_files *files, struct weights_output **sorted, uint32_t count)
{
    const struct safetensors_pair metadata = {TEXT_LITERAL("format"), text_of(format)};
    struct tensor *tensors = arena_array(arena, count, sizeof *tensors);
    files->items = arena_array(arena, files->count, sizeof *files->items);
    if (tensors == NULL || files->items == NULL)
        return error_memory();
    for (uint32_t i = 0, begin = 0, end = 0; i < files->count; i++, begin = end) {
        while (end < count && sorted[end]->file == i)
            end++;
        files->items[i].path = file_path_of(arena, name, i, files->count);
        TRY(memory_check(files->items[i].path));
        TRY(lay_out_file(arena, &files->items[i], sorted + begin, end - begin, &metadata, tensors));
    }
    return NULL;
}

static struct error *check_names_differ(struct weights_output *const *by_name, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++)
        if (strcmp(by_name[i - 1]->tensor.name, by_name[i]->tensor.name) == 0)
            return error_new(ERROR_FORMAT, "tensor \"%s\" must be written once, not twice",
                by_name[i]->tensor.name);
    return NULL;
}

struct error *weights_arrange(struct arena *arena, const char *name, struct weights_output *outputs,
    uint32_t count, uint64_t size_bytes_max, const char *format, struct weights_files *out)
{
    struct weights_files files = {.count = split(outputs, count, size_bytes_max),
        .by_name = arena_array(arena, count, sizeof *files.by_name)};
    struct weights_output **by_file = arena_array(arena, count, sizeof *by_file);
    if (files.by_name == NULL || by_file == NULL)
        return error_memory();
    if (files.count > 1 && !glob_is_pattern(name))
        return error_new(ERROR_USAGE,
            "%s: max_shard_size splits the weights into %" PRIu32
            " files, which needs a name with \"*\" in it",
            name, files.count);
    for (uint32_t i = 0; i < count; i++)
        files.by_name[i] = by_file[i] = &outputs[i];
    qsort(files.by_name, count, sizeof files.by_name[0], compare_names);
    TRY(check_names_differ(files.by_name, count));
    qsort(by_file, count, sizeof by_file[0], compare_files);
    TRY(lay_out_files(arena, name, format, &files, by_file, count));
    *out = files;
    return NULL;
}

static struct error *publish_layout(struct plan *plan, const struct weights_files *files,
    uint32_t output_count, struct layout *layout)
{
    struct arena *arena = plan_arena(plan);
    layout->files = arena_array(arena, files->count, sizeof *layout->files);
    layout->tensors = arena_array(arena, output_count, sizeof *layout->tensors);
    if (layout->files == NULL || layout->tensors == NULL)
        return error_memory();
    layout->file_count = files->count;
    for (uint32_t i = 0; i < files->count; i++)
        layout->files[i] = path_base(files->items[i].path);
    layout->tensor_count = output_count;
    for (uint32_t i = 0; i < output_count; i++) {
        const struct tensor *tensor = &files->by_name[i]->tensor;
        layout->tensors[i] = (struct layout_tensor){.name = tensor->name,
            .dtype = tensor->dtype,
            .rank = tensor->rank,
            .shape = tensor->shape,
            .file = files->by_name[i]->file,
            .size_bytes = tensor->size_bytes};
    }
    struct text bytes;
    TRY(layout_encode(arena, layout, &bytes));
    return plan_layout(plan, bytes);
}

struct error *weights_publish(
    struct plan *plan, struct weights_files *files, uint32_t output_count, struct layout *layout)
{
    for (uint32_t i = 0; i < files->count; i++) {
        struct weights_file *file = &files->items[i];
        TRY(plan_output(plan, file->path, file->size_bytes, &file->output));
        TRY(plan_output_bytes(plan, file->output, 0, file->header));
    }
    return publish_layout(plan, files, output_count, layout);
}

/* ---- pieces ---- */

struct weights_run weights_begin_run(const struct tensor *largest)
{
    struct tensor_rows rows = safetensors_rows(largest);
    return (struct weights_run){
        .rows = rows, .rows_max = rows.count == 0 ? 0 : WEIGHTS_RUN_BYTES / rows.row_bytes};
}

void weights_fit_run(struct weights_run *run, const struct tensor *tensor)
{
    struct tensor_rows rows = safetensors_rows(tensor);
    if (rows.count != run->rows.count)
        run->rows.period = run->rows.segment = run->rows.count;
    else if (rows.segment > run->rows.segment)
        run->rows.period = rows.period, run->rows.segment = rows.segment;
}

bool weights_next_run(struct weights_run *run)
{
    if (run->row_end >= run->rows.count)
        return false;
    run->row_begin = run->row_end;
    run->row_end = safetensors_next_border(&run->rows, run->row_begin);
    while (run->row_end < run->rows.count) {
        uint64_t next = safetensors_next_border(&run->rows, run->row_end);
        if (next - run->row_begin > run->rows_max)
            break;
        run->row_end = next;
    }
    return true;
}

struct piece_range weights_range(
    const struct tensor *tensor, uint32_t file, const struct weights_run *run)
{
    uint64_t row_bytes = safetensors_rows(tensor).row_bytes;
    if (run->row_begin == 0 && run->row_end == run->rows.count)
        return (struct piece_range){file, tensor->offset, tensor->size_bytes};
    return (struct piece_range){.file = file,
        .offset = tensor->offset + run->row_begin * row_bytes,
        .size_bytes = (run->row_end - run->row_begin) * row_bytes};
}

void weights_put_rows(
    struct buffer *key, const struct tensor *tensor, const struct weights_run *run)
{
    wire_put_string(key, tensor->name);
    wire_put_string(key, dtype_name(tensor->dtype));
    wire_put_u32(key, tensor->rank);
    for (uint32_t axis = 0; axis < tensor->rank; axis++)
        wire_put_u64(key, tensor->shape[axis]);
    wire_put_u64(key, run->row_begin);
    wire_put_u64(key, run->row_end);
}

struct error *weights_plan_piece(struct plan *plan, struct buffer *key, struct piece *piece)
{
    struct error *error = buffer_check(key);
    piece->key = (struct text){(const char *)key->bytes, key->count};
    if (error == NULL)
        error = plan_piece(plan, piece);
    buffer_end(key);
    return error;
}
