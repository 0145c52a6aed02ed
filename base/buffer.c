/* buffer.c - twice as large whenever it is full (buffer.h). */
#include "base/buffer.h"

#include <string.h>

static void grow(struct buffer *buffer, size_t length)
{
    size_t capacity = buffer->capacity < 256 ? 256 : buffer->capacity * 2;
    if (capacity < buffer->count || capacity - buffer->count < length)
        capacity = buffer->count + length;
    unsigned char *bytes = NULL;
    if (capacity >= length)
        bytes = buffer->arena != NULL ? arena_alloc(buffer->arena, capacity)
                                      : memory_resize(buffer->bytes, capacity);
    buffer->failed = bytes == NULL;
    if (bytes == NULL)
        return;
    if (buffer->arena != NULL && buffer->count > 0)
        memcpy(bytes, buffer->bytes, buffer->count);
    buffer->bytes = bytes;
    buffer->capacity = capacity;
}

unsigned char *buffer_extend(struct buffer *buffer, size_t length)
{
    if (!buffer->failed && length > buffer->capacity - buffer->count)
        grow(buffer, length);
    if (buffer->failed)
        return NULL;
    buffer->count += length;
    return buffer->bytes + (buffer->count - length);
}

void buffer_put(struct buffer *buffer, const void *bytes, size_t length)
{
    unsigned char *place = length > 0 ? buffer_extend(buffer, length) : NULL;
    if (place != NULL)
        memcpy(place, bytes, length);
}

void buffer_put_text(struct buffer *buffer, struct text text)
{
    buffer_put(buffer, text.bytes, text.length);
}

void buffer_put_string(struct buffer *buffer, const char *string)
{
    buffer_put(buffer, string, strlen(string));
}

void buffer_put_code_point(struct buffer *buffer, uint32_t code_point)
{
    char bytes[4];
    buffer_put(buffer, bytes, text_encode(code_point, bytes));
}

struct error *buffer_check(const struct buffer *buffer)
{
    return buffer->failed ? error_memory() : NULL;
}

struct error *buffer_text(struct buffer *buffer, struct text *out)
{
    buffer_put(buffer, "", 1);
    TRY(buffer_check(buffer));
    buffer->count--; /* the NUL is behind it */
    *out = (struct text){(const char *)buffer->bytes, buffer->count};
    return NULL;
}

struct error *buffer_take(struct buffer *buffer, struct arena *arena, struct text *out)
{
    struct error *error = buffer_check(buffer);
    if (error == NULL) {
        char *bytes = arena_copy(arena, (const char *)buffer->bytes, buffer->count);
        if (bytes != NULL)
            *out = (struct text){bytes, buffer->count};
        else
            error = error_memory();
    }
    buffer_end(buffer);
    return error;
}

void buffer_end(struct buffer *buffer)
{
    if (buffer->arena == NULL)
        memory_free(buffer->bytes);
    *buffer = (struct buffer){.arena = buffer->arena};
}
