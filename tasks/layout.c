/* layout.c - a weights node's layout to wire fields and back (layout.h). */
#include "tasks/layout.h"

#include <string.h>

#include "base/wire.h"

enum { LAYOUT_VERSION = 1, LAYOUT_RANK_MAX = 64 };

/* The smallest encodings, so that a count cannot ask for more memory than its bytes could fill. */
enum { FILE_BYTES_MIN = 4, TENSOR_BYTES_MIN = 4 + 1 + 4 + 4 + 8, ENTRY_BYTES_MIN = 4 + 4 };

static void put_tensor(struct buffer *writer, const struct layout_tensor *tensor)
{
    wire_put_string(writer, tensor->name);
    wire_put_u8(writer, (uint8_t)tensor->dtype);
    wire_put_u32(writer, tensor->rank);
    for (uint32_t axis = 0; axis < tensor->rank; axis++)
        wire_put_u64(writer, tensor->shape[axis]);
    wire_put_u32(writer, tensor->file);
    wire_put_u64(writer, tensor->size_bytes);
}

static void put_layout(struct buffer *writer, const struct layout *layout)
{
    wire_put_u32(writer, LAYOUT_VERSION);
    wire_put_u32(writer, layout->file_count);
    for (uint32_t i = 0; i < layout->file_count; i++)
        wire_put_string(writer, layout->files[i]);
    wire_put_u32(writer, layout->tensor_count);
    for (uint32_t i = 0; i < layout->tensor_count; i++)
        put_tensor(writer, &layout->tensors[i]);
    wire_put_u64(writer, layout->total_parameters);
    wire_put_u8(writer, layout->is_quantized);
    wire_put_u8(writer, layout->is_dequantized);
    wire_put_text(writer, layout->quantization);
    wire_put_u32(writer, layout->entry_count);
    for (uint32_t i = 0; i < layout->entry_count; i++) {
        wire_put_string(writer, layout->entries[i].module);
        wire_put_text(writer, layout->entries[i].json);
    }
}

struct error *layout_encode(struct arena *arena, const struct layout *layout, struct text *out)
{
    struct buffer writer = {0};
    put_layout(&writer, layout);
    return buffer_take(&writer, arena, out);
}

/* Borrowed texts become the arena's, so that a layout outlives the bytes it was read from. */
static bool get_text(struct wire_reader *reader, struct arena *arena, struct text *out)
{
    struct text text = wire_get_text(reader);
    char *copy = arena_copy(arena, text.bytes, text.length);
    *out = (struct text){copy, text.length};
    return copy != NULL;
}

static bool get_flag(struct wire_reader *reader)
{
    uint8_t flag = wire_get_u8(reader);
    if (flag > 1)
        reader->failed = true;
    return flag == 1;
}

/* False: out of memory. What is malformed makes the reader fail. */
static bool get_tensor(struct wire_reader *reader, struct arena *arena, struct layout_tensor *out)
{
    out->name = wire_get_string(reader, arena);
    uint8_t dtype = wire_get_u8(reader);
    uint32_t rank = wire_get_count(reader, sizeof(uint64_t));
    if (dtype >= DTYPE_COUNT || rank > LAYOUT_RANK_MAX) {
        reader->failed = true;
        return true;
    }
    out->dtype = (enum dtype)dtype;
    out->rank = rank;
    uint64_t *shape = arena_array(arena, rank, sizeof *shape);
    if (out->name == NULL || shape == NULL)
        return false;
    for (uint32_t axis = 0; axis < rank; axis++)
        shape[axis] = wire_get_u64(reader);
    out->shape = shape;
    out->file = wire_get_u32(reader);
    out->size_bytes = wire_get_u64(reader);
    return true;
}

static bool get_files(struct wire_reader *reader, struct arena *arena, struct layout *layout)
{
    layout->file_count = wire_get_count(reader, FILE_BYTES_MIN);
    layout->files = arena_array(arena, layout->file_count, sizeof *layout->files);
    if (layout->files == NULL)
        return false;
    for (uint32_t i = 0; i < layout->file_count; i++)
        if ((layout->files[i] = wire_get_string(reader, arena)) == NULL)
            return false;
    return true;
}

static bool get_tensors(struct wire_reader *reader, struct arena *arena, struct layout *layout)
{
    layout->tensor_count = wire_get_count(reader, TENSOR_BYTES_MIN);
    layout->tensors = arena_array(arena, layout->tensor_count, sizeof *layout->tensors);
    if (layout->tensors == NULL)
        return false;
    for (uint32_t i = 0; i < layout->tensor_count && wire_reader_good(reader); i++) {
        struct layout_tensor *tensor = &layout->tensors[i];
        if (!get_tensor(reader, arena, tensor))
            return false;
        if (!wire_reader_good(reader))
            break;
        if (tensor->file >= layout->file_count ||
            (i > 0 && strcmp(tensor[-1].name, tensor->name) >= 0))
            reader->failed = true;
    }
    return true;
}

static bool get_entries(struct wire_reader *reader, struct arena *arena, struct layout *layout)
{
    layout->entry_count = wire_get_count(reader, ENTRY_BYTES_MIN);
    layout->entries = arena_array(arena, layout->entry_count, sizeof *layout->entries);
    if (layout->entries == NULL)
        return false;
    for (uint32_t i = 0; i < layout->entry_count; i++) {
        layout->entries[i].module = wire_get_string(reader, arena);
        if (layout->entries[i].module == NULL || !get_text(reader, arena, &layout->entries[i].json))
            return false;
    }
    return true;
}

static bool get_layout(struct wire_reader *reader, struct arena *arena, struct layout *layout)
{
    if (wire_get_u32(reader) != LAYOUT_VERSION)
        reader->failed = true;
    if (!get_files(reader, arena, layout) || !get_tensors(reader, arena, layout))
        return false;
    layout->total_parameters = wire_get_u64(reader);
    layout->is_quantized = get_flag(reader);
    layout->is_dequantized = get_flag(reader);
    return get_text(reader, arena, &layout->quantization) && get_entries(reader, arena, layout);
}

struct error *layout_decode(
    struct arena *arena, const char *path, struct text bytes, struct layout *out)
{
    struct wire_reader reader = {(const unsigned char *)bytes.bytes, bytes.length, 0, false};
    struct layout layout = {0};
    if (!get_layout(&reader, arena, &layout))
        return error_memory();
    if (!wire_reader_done(&reader))
        return error_new(ERROR_FORMAT,
            "%s: its layout must be a weights layout of version %d, not %zu other bytes", path,
            LAYOUT_VERSION, bytes.length);
    *out = layout;
    return NULL;
}
