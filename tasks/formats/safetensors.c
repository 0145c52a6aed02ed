/* safetensors.c - headers read with the JSON scanner, never as a tree (safetensors.h). */
#include "tasks/formats/safetensors.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json_scan.h"
#include "base/json_write.h"
#include "base/wire.h"

enum { LENGTH_BYTES = 8 };
static const char METADATA_KEY[] = "__metadata__";

struct parser {
    struct arena *arena;
    const char *path;
    struct json_scan scan;
    struct tensor *tensors;
    size_t count, capacity;
    struct safetensors_pair *pairs;
    size_t pair_count, pair_capacity;
    bool has_metadata;
};

/* A tensor's entry while it is read; offsets count from the data's start, as in the header. */
struct entry {
    struct text name;
    bool has_dtype, has_shape, has_offsets;
    enum dtype dtype;
    uint64_t shape[SAFETENSORS_RANK_MAX], offsets[2];
    size_t rank;
};

/* ---- errors ---- */

PRINTF_LIKE(3, 4)
static struct error *tensor_error(const char *path, struct text name, const char *format, ...)
{
    struct arena arena = {0};
    va_list list;
    va_start(list, format);
    const char *message = arena_format_list(&arena, format, list);
    va_end(list);
    const char *shown = text_printable(&arena, name);
    struct error *error =
        message == NULL || shown == NULL
            ? error_memory()
            : error_new(ERROR_FORMAT, "%s: tensor \"%s\": %s", path, shown, message);
    arena_end(&arena);
    return error;
}

/* The scanner's own complaint, with the byte of the file. */
static struct error *scan_error(const struct parser *parser)
{
    const struct json_scan *scan = &parser->scan;
    char found[JSON_FOUND_MAX];
    return error_new(ERROR_FORMAT, "%s: byte %zu: expected %s, found %s", parser->path,
        scan->position + LENGTH_BYTES, scan->complaint, json_scan_found(scan, found));
}

static const char *token_name(enum json_token token)
{
    static const char *const names[] = {
        [JSON_TOKEN_ERROR] = "an error",
        [JSON_TOKEN_END] = "end of text",
        [JSON_TOKEN_OBJECT_BEGIN] = "an object",
        [JSON_TOKEN_OBJECT_END] = "'}'",
        [JSON_TOKEN_ARRAY_BEGIN] = "a list",
        [JSON_TOKEN_ARRAY_END] = "']'",
        [JSON_TOKEN_KEY] = "a key",
        [JSON_TOKEN_STRING] = "a string",
        [JSON_TOKEN_NUMBER] = "a number",
        [JSON_TOKEN_TRUE] = "true",
        [JSON_TOKEN_FALSE] = "false",
        [JSON_TOKEN_NULL] = "null",
    };
    return names[token];
}

/* ---- the header's JSON ---- */

static struct error *unescape(struct parser *parser, struct text *out)
{
    struct text text = json_unescape(parser->arena, parser->scan.raw, parser->scan.has_escapes);
    if (text.bytes != NULL && !parser->scan.has_escapes)
        text.bytes = arena_copy(parser->arena, text.bytes, text.length);
    TRY(memory_check(text.bytes));
    *out = text;
    return NULL;
}

static struct error *read_metadata(struct parser *parser)
{
    if (parser->has_metadata)
        return error_new(ERROR_FORMAT, "%s: duplicate key \"%s\"", parser->path, METADATA_KEY);
    parser->has_metadata = true;
    enum json_token token = json_scan_next(&parser->scan);
    if (token == JSON_TOKEN_ERROR)
        return scan_error(parser);
    if (token != JSON_TOKEN_OBJECT_BEGIN)
        return error_new(ERROR_FORMAT, "%s: expected \"%s\" to be an object, found %s",
            parser->path, METADATA_KEY, token_name(token));
    while ((token = json_scan_next(&parser->scan)) == JSON_TOKEN_KEY) {
        struct safetensors_pair *pairs = arena_grow(parser->arena, parser->pairs,
            parser->pair_count, &parser->pair_capacity, sizeof *pairs);
        TRY(memory_check(pairs));
        parser->pairs = pairs;
        struct safetensors_pair *pair = &pairs[parser->pair_count++];
        TRY(unescape(parser, &pair->key));
        token = json_scan_next(&parser->scan);
        if (token != JSON_TOKEN_STRING && token != JSON_TOKEN_ERROR)
            return error_new(ERROR_FORMAT,
                "%s: expected the values of \"%s\" to be strings, found %s", parser->path,
                METADATA_KEY, token_name(token));
        if (token == JSON_TOKEN_STRING)
            TRY(unescape(parser, &pair->value));
    }
    return token == JSON_TOKEN_OBJECT_END ? NULL : scan_error(parser);
}

/* A list of at most `count_max` integers. */
static struct error *read_integers(struct parser *parser, const struct entry *entry,
    const char *field, uint64_t *out, size_t count_max, size_t *count)
{
    enum json_token token = json_scan_next(&parser->scan);
    if (token == JSON_TOKEN_ERROR)
        return scan_error(parser);
    if (token != JSON_TOKEN_ARRAY_BEGIN)
        return tensor_error(parser->path, entry->name, "expected \"%s\" to be a list, found %s",
            field, token_name(token));
    *count = 0;
    while ((token = json_scan_next(&parser->scan)) != JSON_TOKEN_ARRAY_END) {
        if (token == JSON_TOKEN_ERROR)
            return scan_error(parser);
        if (*count == count_max)
            return tensor_error(parser->path, entry->name,
                "expected at most %zu integers in \"%s\", found more", count_max, field);
        if (token != JSON_TOKEN_NUMBER)
            return tensor_error(parser->path, entry->name, "expected integers in \"%s\", found %s",
                field, token_name(token));
        struct text raw = parser->scan.raw;
        if (!text_to_u64(raw, &out[*count]))
            return tensor_error(parser->path, entry->name,
                "expected integers from 0 to 2^64 - 1 in \"%s\", found %.*s%s", field,
                raw.length > 40 ? 40 : (int)raw.length, raw.bytes, raw.length > 40 ? "..." : "");
        (*count)++;
    }
    return NULL;
}

static struct error *read_dtype(struct parser *parser, struct entry *entry)
{
    enum json_token token = json_scan_next(&parser->scan);
    if (token == JSON_TOKEN_ERROR)
        return scan_error(parser);
    if (token != JSON_TOKEN_STRING)
        return tensor_error(parser->path, entry->name,
            "expected \"dtype\" to be a string, found %s", token_name(token));
    struct text raw = parser->scan.raw;
    if (dtype_parse(raw, &entry->dtype))
        return NULL;
    const char *shown = text_printable(parser->arena, raw);
    return shown == NULL ? error_memory()
                         : tensor_error(parser->path, entry->name,
                               "expected a dtype that psybuild knows, found \"%s\"", shown);
}

static struct error *read_offsets(struct parser *parser, struct entry *entry)
{
    size_t count;
    TRY(read_integers(parser, entry, "data_offsets", entry->offsets, 2, &count));
    if (count != 2)
        return tensor_error(
            parser->path, entry->name, "expected 2 integers in \"data_offsets\", found %zu", count);
    if (entry->offsets[0] > entry->offsets[1])
        return tensor_error(parser->path, entry->name,
            "expected \"data_offsets\" in order, found [%" PRIu64 ", %" PRIu64 "]",
            entry->offsets[0], entry->offsets[1]);
    return NULL;
}

/* One member of a tensor's object. Unknown ones are passed over, as the library does. */
static struct error *read_field(struct parser *parser, struct entry *entry)
{
    struct text key = parser->scan.raw;
    bool *has_field = text_is(key, "dtype")          ? &entry->has_dtype
                      : text_is(key, "shape")        ? &entry->has_shape
                      : text_is(key, "data_offsets") ? &entry->has_offsets
                                                     : NULL;
    if (has_field == NULL)
        return json_scan_skip(&parser->scan) ? NULL : scan_error(parser);
    if (*has_field)
        return tensor_error(
            parser->path, entry->name, "duplicate key \"%.*s\"", (int)key.length, key.bytes);
    *has_field = true;
    if (has_field == &entry->has_dtype)
        return read_dtype(parser, entry);
    if (has_field == &entry->has_shape)
        return read_integers(
            parser, entry, "shape", entry->shape, SAFETENSORS_RANK_MAX, &entry->rank);
    return read_offsets(parser, entry);
}

static struct error *check_name(const struct parser *parser, struct text name)
{
    for (size_t i = 0; i < name.length; i++)
        if ((unsigned char)name.bytes[i] < 0x20 || name.bytes[i] == 0x7F)
            return tensor_error(parser->path, name, "expected a name without control characters");
    return NULL;
}

static struct error *check_entry(const struct parser *parser, const struct entry *entry)
{
    const char *missing = !entry->has_dtype     ? "dtype"
                          : !entry->has_shape   ? "shape"
                          : !entry->has_offsets ? "data_offsets"
                                                : NULL;
    if (missing != NULL)
        return tensor_error(parser->path, entry->name, "\"%s\" is missing", missing);
    uint64_t wanted, found = entry->offsets[1] - entry->offsets[0];
    bool fits = safetensors_shape_size(entry->dtype, (uint32_t)entry->rank, entry->shape, &wanted);
    if (fits && wanted == found)
        return NULL;
    const char *shape = safetensors_shape_text(parser->arena, (uint32_t)entry->rank, entry->shape);
    const char *dtype = dtype_name(entry->dtype);
    TRY(memory_check(shape));
    if (!fits)
        return tensor_error(parser->path, entry->name,
            "expected fewer than 2^64 bytes, found shape %s of %s", shape, dtype);
    return tensor_error(parser->path, entry->name,
        "data_offsets [%" PRIu64 ", %" PRIu64 "] do not fit shape %s of %s: expected %" PRIu64
        " bytes, found %" PRIu64,
        entry->offsets[0], entry->offsets[1], shape, dtype, wanted, found);
}

static struct error *add_tensor(struct parser *parser, const struct entry *entry)
{
    struct tensor *tensors = arena_grow(
        parser->arena, parser->tensors, parser->count, &parser->capacity, sizeof *tensors);
    uint64_t *shape = arena_array(parser->arena, entry->rank, sizeof *shape);
    if (tensors == NULL || shape == NULL)
        return error_memory();
    memcpy(shape, entry->shape, entry->rank * sizeof *shape);
    parser->tensors = tensors;
    tensors[parser->count++] = (struct tensor){.name = entry->name.bytes,
        .dtype = entry->dtype,
        .rank = (uint32_t)entry->rank,
        .shape = shape,
        .offset = entry->offsets[0], /* absolute once the whole header is known to fit */
        .size_bytes = entry->offsets[1] - entry->offsets[0]};
    return NULL;
}

static struct error *read_tensor(struct parser *parser)
{
    struct entry entry = {.rank = 0};
    TRY(unescape(parser, &entry.name));
    TRY(check_name(parser, entry.name));
    enum json_token token = json_scan_next(&parser->scan);
    if (token == JSON_TOKEN_ERROR)
        return scan_error(parser);
    if (token != JSON_TOKEN_OBJECT_BEGIN)
        return tensor_error(
            parser->path, entry.name, "expected an object, found %s", token_name(token));
    while ((token = json_scan_next(&parser->scan)) == JSON_TOKEN_KEY)
        TRY(read_field(parser, &entry));
    if (token != JSON_TOKEN_OBJECT_END)
        return scan_error(parser);
    TRY(check_entry(parser, &entry));
    return add_tensor(parser, &entry);
}

static struct error *read_header(struct parser *parser)
{
    enum json_token token = json_scan_next(&parser->scan);
    if (token != JSON_TOKEN_OBJECT_BEGIN && token != JSON_TOKEN_ERROR)
        return error_new(ERROR_FORMAT, "%s: expected the header to be an object, found %s",
            parser->path, token_name(token));
    if (token == JSON_TOKEN_OBJECT_BEGIN)
        while ((token = json_scan_next(&parser->scan)) == JSON_TOKEN_KEY)
            TRY(text_is(parser->scan.raw, METADATA_KEY) ? read_metadata(parser)
                                                        : read_tensor(parser));
    if (token == JSON_TOKEN_OBJECT_END)
        token = json_scan_next(&parser->scan);
    return token == JSON_TOKEN_END ? NULL : scan_error(parser);
}

/* ---- the header against the file ---- */

static int compare_offsets(const void *a, const void *b)
{
    const struct tensor *left = a, *right = b;
    if (left->offset != right->offset)
        return left->offset < right->offset ? -1 : 1;
    if (left->size_bytes != right->size_bytes)
        return left->size_bytes < right->size_bytes ? -1 : 1;
    return strcmp(left->name, right->name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(
        (*(const struct tensor *const *)a)->name, (*(const struct tensor *const *)b)->name);
}

static struct error *overlap_error(
    const struct parser *parser, const struct tensor *before, const struct tensor *tensor)
{
    const char *shown = text_printable(parser->arena, text_of(before->name));
    return shown == NULL ? error_memory()
                         : tensor_error(parser->path, text_of(tensor->name),
                               "data_offsets overlap tensor \"%s\": expected %" PRIu64
                               " or more, found %" PRIu64,
                               shown, before->offset + before->size_bytes, tensor->offset);
}

/* That the tensors, in order, cover the data from its start to the end of the file. */
static struct error *check_cover(
    const struct parser *parser, uint64_t data_start, uint64_t file_size)
{
    uint64_t end = 0, end_max = 0;
    for (size_t i = 0; i < parser->count; i++) {
        uint64_t tensor_end = parser->tensors[i].offset + parser->tensors[i].size_bytes;
        end_max = tensor_end > end_max ? tensor_end : end_max;
    }
    if (end_max > file_size - data_start)
        return end_max > UINT64_MAX - data_start
                   ? error_new(ERROR_FORMAT,
                         "%s: truncated: the header describes %" PRIu64
                         " bytes of data, the file has %" PRIu64,
                         parser->path, end_max, file_size - data_start)
                   : error_new(ERROR_FORMAT,
                         "%s: truncated: the header describes %" PRIu64
                         " bytes, the file has %" PRIu64,
                         parser->path, data_start + end_max, file_size);
    for (size_t i = 0; i < parser->count; i++) {
        const struct tensor *tensor = &parser->tensors[i];
        if (tensor->offset < end)
            return overlap_error(parser, &tensor[-1], tensor);
        if (tensor->offset > end)
            return tensor_error(parser->path, text_of(tensor->name),
                "expected data_offsets without a hole, from %" PRIu64 " on, found %" PRIu64, end,
                tensor->offset);
        end += tensor->size_bytes;
    }
    if (end < file_size - data_start)
        return error_new(ERROR_FORMAT,
            "%s: expected the file to end with its last tensor at byte %" PRIu64 ", found %" PRIu64
            " bytes",
            parser->path, data_start + end, file_size);
    return NULL;
}

static struct error *index_names(struct parser *parser, struct safetensors *file)
{
    const struct tensor **sorted =
        arena_array(parser->arena, parser->count, sizeof(const struct tensor *));
    TRY(memory_check(sorted));
    for (size_t i = 0; i < parser->count; i++)
        sorted[i] = &parser->tensors[i];
    if (parser->count > 1)
        qsort(sorted, parser->count, sizeof sorted[0], compare_names);
    for (size_t i = 1; i < parser->count; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            return tensor_error(
                parser->path, text_of(sorted[i]->name), "expected once, found twice");
    file->tensors_by_name = sorted;
    return NULL;
}

struct error *safetensors_header_size(
    const unsigned char first8[8], uint64_t file_size, const char *path, uint64_t *header_bytes)
{
    if (file_size < LENGTH_BYTES)
        return error_new(ERROR_FORMAT,
            "%s: expected a safetensors file of at least 8 bytes, found %" PRIu64, path, file_size);
    if (memcmp(first8, "version ", LENGTH_BYTES) == 0)
        return error_new(
            ERROR_FORMAT, "%s: expected a safetensors file, found a Git LFS pointer", path);
    uint64_t size = load_le64(first8);
    if (size > SAFETENSORS_HEADER_MAX)
        return error_new(ERROR_FORMAT,
            "%s: expected a safetensors header of at most %" PRIu64 " bytes, found %" PRIu64, path,
            SAFETENSORS_HEADER_MAX, size);
    if (size > file_size - LENGTH_BYTES)
        return error_new(ERROR_FORMAT,
            "%s: truncated: the header takes %" PRIu64 " bytes, the file has %" PRIu64, path,
            size + LENGTH_BYTES, file_size);
    *header_bytes = size;
    return NULL;
}

struct error *safetensors_parse(struct arena *arena, const char *path, struct text header_json,
    uint64_t file_size, struct safetensors **out)
{
    uint64_t data_start = LENGTH_BYTES + (uint64_t)header_json.length;
    assert(data_start <= file_size);
    struct safetensors *file = arena_alloc(arena, sizeof *file);
    char *path_copy = arena_copy(arena, path, strlen(path));
    if (file == NULL || path_copy == NULL)
        return error_memory();
    struct parser parser = {.arena = arena, .path = path_copy};
    json_scan_begin(&parser.scan, path_copy, header_json);
    TRY(read_header(&parser));
    if (parser.count > 1)
        qsort(parser.tensors, parser.count, sizeof parser.tensors[0], compare_offsets);
    TRY(index_names(&parser, file));
    TRY(check_cover(&parser, data_start, file_size));
    for (size_t i = 0; i < parser.count; i++)
        parser.tensors[i].offset += data_start;
    file->path = path_copy;
    file->data_start = data_start;
    file->file_size = file_size;
    file->count = parser.count;
    file->tensors = parser.tensors;
    file->metadata_count = parser.pair_count;
    file->metadata = parser.pairs;
    *out = file;
    return NULL;
}

struct error *safetensors_read(
    struct arena *arena, const struct file *file, struct safetensors **out)
{
    const char *path = file_path(file);
    uint64_t size = file_size(file), header_bytes;
    unsigned char first8[LENGTH_BYTES] = {0};
    if (size >= LENGTH_BYTES)
        TRY(file_read_at(file, 0, first8, LENGTH_BYTES));
    TRY(safetensors_header_size(first8, size, path, &header_bytes));
    char *json = memory_alloc((size_t)header_bytes);
    TRY(memory_check(json));
    struct error *error = file_read_at(file, LENGTH_BYTES, json, (size_t)header_bytes);
    if (error == NULL)
        error =
            safetensors_parse(arena, path, (struct text){json, (size_t)header_bytes}, size, out);
    memory_free(json);
    return error;
}

const struct tensor *safetensors_find(const struct safetensors *file, const char *name)
{
    size_t begin = 0, end = file->count;
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        int order = strcmp(file->tensors_by_name[middle]->name, name);
        if (order == 0)
            return file->tensors_by_name[middle];
        if (order < 0)
            begin = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

/* ---- shapes ---- */

bool safetensors_shape_size(
    enum dtype dtype, uint32_t rank, const uint64_t *shape, uint64_t *size_bytes)
{
    uint64_t size = dtype_size_bytes(dtype);
    bool is_empty = false;
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] == 0)
            is_empty = true;
        else if (size > UINT64_MAX / shape[i])
            return false;
        else
            size *= shape[i];
    }
    *size_bytes = is_empty ? 0 : size;
    return true;
}

char *safetensors_shape_text(struct arena *arena, uint32_t rank, const uint64_t *shape)
{
    enum { AXIS_BYTES_MAX = 22 }; /* 20 digits, comma, space */
    size_t size = (size_t)rank * AXIS_BYTES_MAX + sizeof "[]", used = 0;
    char *text = arena_alloc(arena, size);
    if (text == NULL)
        return NULL;
    text[used++] = '[';
    for (uint32_t i = 0; i < rank; i++)
        used +=
            (size_t)snprintf(text + used, size - used, "%s%" PRIu64, i > 0 ? ", " : "", shape[i]);
    text[used] = ']';
    return text;
}

/* ---- laying out ---- */

static void write_entry(struct json_writer *writer, const struct tensor *tensor)
{
    json_member_object_begin(writer, tensor->name);
    json_member_array_begin(writer, "data_offsets");
    json_write_u64(writer, tensor->offset);
    json_write_u64(writer, tensor->offset + tensor->size_bytes);
    json_write_array_end(writer);
    json_member_string(writer, "dtype", dtype_name(tensor->dtype));
    json_member_array_begin(writer, "shape");
    for (uint32_t i = 0; i < tensor->rank; i++)
        json_write_u64(writer, tensor->shape[i]);
    json_write_array_end(writer);
    json_write_object_end(writer);
}

static struct error *write_header(struct arena *arena, const struct tensor *tensors, size_t count,
    const struct safetensors_pair *metadata, size_t metadata_count, struct text *json)
{
    static const struct json_style style = {.indent = 0}; /* compact, raw UTF-8 */
    struct json_writer *writer = json_writer_new(arena, &style);
    TRY(memory_check(writer));
    json_write_object_begin(writer);
    if (metadata_count > 0) {
        json_member_object_begin(writer, METADATA_KEY);
        for (size_t i = 0; i < metadata_count; i++) {
            json_write_key(writer, metadata[i].key);
            json_write_text(writer, metadata[i].value);
        }
        json_write_object_end(writer);
    }
    for (size_t i = 0; i < count; i++)
        write_entry(writer, &tensors[i]);
    json_write_object_end(writer);
    return json_writer_finish(writer, json);
}

/* Sizes, and offsets from the data's start. */
static struct error *place_tensors(const char *path, struct tensor *tensors, size_t count)
{
    uint64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        struct tensor *tensor = &tensors[i];
        assert(i == 0 || strcmp(tensors[i - 1].name, tensor->name) < 0);
        bool fits =
            safetensors_shape_size(tensor->dtype, tensor->rank, tensor->shape, &tensor->size_bytes);
        if (!fits || tensor->size_bytes > INT64_MAX - SAFETENSORS_HEADER_MAX - end)
            return tensor_error(path, text_of(tensor->name),
                "expected a file of fewer than 2^63 bytes up to here, found more");
        tensor->offset = end;
        end += tensor->size_bytes;
    }
    return NULL;
}

struct error *safetensors_layout(struct arena *arena, const char *path, struct tensor *tensors,
    size_t count, const struct safetensors_pair *metadata, size_t metadata_count,
    struct text *header)
{
    TRY(place_tensors(path, tensors, count));
    struct arena scratch = {0};
    struct text json = TEXT_EMPTY;
    char *bytes = NULL;
    size_t size = 0;
    struct error *error = write_header(&scratch, tensors, count, metadata, metadata_count, &json);
    if (error != NULL)
        goto out;
    size = (LENGTH_BYTES + json.length + SAFETENSORS_ALIGNMENT - 1) / SAFETENSORS_ALIGNMENT *
           SAFETENSORS_ALIGNMENT;
    if (size - LENGTH_BYTES > SAFETENSORS_HEADER_MAX) {
        error = error_new(ERROR_FORMAT,
            "%s: expected a header of at most %" PRIu64 " bytes, found %zu for %zu tensors", path,
            SAFETENSORS_HEADER_MAX, size - LENGTH_BYTES, count);
        goto out;
    }
    bytes = arena_alloc(arena, size + 1);
    if (bytes == NULL) {
        error = error_memory();
        goto out;
    }
    store_le64(bytes, size - LENGTH_BYTES);
    memcpy(bytes + LENGTH_BYTES, json.bytes, json.length);
    memset(bytes + LENGTH_BYTES + json.length, ' ', size - LENGTH_BYTES - json.length);
    for (size_t i = 0; i < count; i++)
        tensors[i].offset += size;
    *header = (struct text){bytes, size};
out:
    arena_end(&scratch);
    return error;
}

/* ---- rows and segments ---- */

static const uint64_t segment_bytes_min = 4 << 10, segment_bytes_max = 4 << 20;
static const uint64_t columns_max = 1 << 20; /* of a row; a longer one is cut itself */

static struct tensor_rows rows_of_elements(const struct tensor *tensor)
{
    uint64_t bytes = dtype_size_bytes(tensor->dtype), count = tensor->size_bytes / bytes;
    return (struct tensor_rows){bytes, count, count, segment_bytes_max / bytes};
}

/* 64 rows, doubled or halved. */
static uint64_t rows_of_segment(uint64_t row_bytes)
{
    uint64_t rows = 64;
    while (rows * row_bytes < segment_bytes_min)
        rows *= 2;
    while (rows > 1 && rows * row_bytes > segment_bytes_max)
        rows /= 2;
    return rows;
}

struct tensor_rows safetensors_rows(const struct tensor *tensor)
{
    uint64_t columns = 1, matrices = 1;
    if (tensor->size_bytes == 0)
        return (struct tensor_rows){0};
    for (uint32_t axis = tensor->rank < 3 ? 1 : 2; axis < tensor->rank; axis++)
        columns *= tensor->shape[axis];
    if (tensor->rank < 2 || columns > columns_max)
        return rows_of_elements(tensor);
    uint64_t row_bytes = columns * dtype_size_bytes(tensor->dtype);
    uint64_t matrix = tensor->shape[tensor->rank < 3 ? 0 : 1], segment = rows_of_segment(row_bytes);
    uint64_t count = tensor->size_bytes / row_bytes;
    while (2 * matrices <= segment / matrix)
        matrices *= 2;
    uint64_t joined = matrices * matrix < count ? matrices * matrix : count;
    return (struct tensor_rows){row_bytes, count, joined, segment < matrix ? segment : joined};
}

uint64_t safetensors_next_border(const struct tensor_rows *rows, uint64_t row)
{
    uint64_t end = row - row % rows->period + rows->period;
    end = end < rows->count ? end : rows->count;
    return row + rows->segment < end ? row + rows->segment : end;
}

typedef struct span_run cut_function(const struct tensor *tensor);

static struct span_run cut_by_rows(const struct tensor *tensor)
{
    struct tensor_rows rows = safetensors_rows(tensor);
    return (struct span_run){tensor->offset, tensor->size_bytes, rows.period * rows.row_bytes,
        rows.segment * rows.row_bytes};
}

static struct span_run cut_by_older_rows(const struct tensor *tensor)
{
    struct span_run run = {
        tensor->offset, tensor->size_bytes, tensor->size_bytes, tensor->size_bytes};
    if (tensor->rank < 2)
        return run;
    uint64_t row_bytes = tensor->shape[tensor->rank - 1] * dtype_size_bytes(tensor->dtype);
    run.period_bytes = tensor->shape[tensor->rank - 2] * row_bytes;
    run.span_bytes = 64 * row_bytes;
    return run;
}

static struct error *cut_file(const struct safetensors *file, struct arena *arena,
    cut_function *cut, size_t *count, struct span_run **out)
{
    struct span_run *runs = arena_array(arena, file->count + 1, sizeof *runs);
    TRY(memory_check(runs));
    uint64_t segments = 1;
    size_t used = 0;
    runs[used++] = (struct span_run){0, file->data_start, file->data_start, file->data_start};
    for (size_t i = 0; i < file->count; i++) {
        if (file->tensors[i].size_bytes == 0)
            continue;
        runs[used] = cut(&file->tensors[i]);
        segments += span_run_count(&runs[used++]);
        if (segments > SAFETENSORS_SEGMENTS_MAX)
            return error_new(ERROR_FORMAT,
                "%s: expected at most %u segments, found more in its tensors", file->path,
                SAFETENSORS_SEGMENTS_MAX);
    }
    *count = used;
    *out = runs;
    return NULL;
}

struct error *safetensors_segments(
    const struct safetensors *file, struct arena *arena, size_t *count, struct span_run **out)
{
    return cut_file(file, arena, cut_by_rows, count, out);
}

struct error *safetensors_older_segments(
    const struct safetensors *file, struct arena *arena, size_t *count, struct span_run **out)
{
    return cut_file(file, arena, cut_by_older_rows, count, out);
}
