/* wire.c - little-endian fields (wire.h). */
#include "base/wire.h"

#include <string.h>

void wire_put_u8(struct buffer *writer, uint8_t value)
{
    buffer_put(writer, &value, 1);
}

void wire_put_u32(struct buffer *writer, uint32_t value)
{
    unsigned char *place = buffer_extend(writer, 4);
    if (place != NULL)
        store_le32(place, value);
}

void wire_put_u64(struct buffer *writer, uint64_t value)
{
    unsigned char *place = buffer_extend(writer, 8);
    if (place != NULL)
        store_le64(place, value);
}

void wire_put_text(struct buffer *writer, struct text text)
{
    if (text.length > UINT32_MAX) {
        writer->failed = true;
        return;
    }
    wire_put_u32(writer, (uint32_t)text.length);
    buffer_put_text(writer, text);
}

void wire_put_string(struct buffer *writer, const char *string)
{
    wire_put_text(writer, text_of(string));
}

const unsigned char *wire_get_bytes(struct wire_reader *reader, size_t length)
{
    if (reader->failed || length > reader->length - reader->position) {
        reader->failed = true;
        return NULL;
    }
    const unsigned char *bytes = reader->bytes + reader->position;
    reader->position += length;
    return bytes;
}

uint8_t wire_get_u8(struct wire_reader *reader)
{
    const unsigned char *bytes = wire_get_bytes(reader, 1);
    return bytes == NULL ? 0 : bytes[0];
}

uint32_t wire_get_u32(struct wire_reader *reader)
{
    const unsigned char *bytes = wire_get_bytes(reader, 4);
    return bytes == NULL ? 0 : load_le32(bytes);
}

uint64_t wire_get_u64(struct wire_reader *reader)
{
    const unsigned char *bytes = wire_get_bytes(reader, 8);
    return bytes == NULL ? 0 : load_le64(bytes);
}

struct text wire_get_text(struct wire_reader *reader)
{
    uint32_t length = wire_get_u32(reader);
    const unsigned char *bytes = wire_get_bytes(reader, length);
    return bytes == NULL ? TEXT_EMPTY : (struct text){(const char *)bytes, length};
}

char *wire_get_string(struct wire_reader *reader, struct arena *arena)
{
    struct text text = wire_get_text(reader);
    if (text.length > 0 && memchr(text.bytes, 0, text.length) != NULL)
        reader->failed = true;
    char *string = arena_copy(arena, text.bytes, text.length);
    if (string == NULL)
        reader->failed = true;
    static char empty[1]; /* never written: a string of length 0 */
    return reader->failed ? empty : string;
}

void wire_put_name(struct buffer *writer, const char *name)
{
    const char *string = name == NULL ? "" : name;
    wire_put_text(writer, (struct text){string, strlen(string) + 1});
}

/* Borrowed from the reader's bytes; "" and failed when it is no string. */
const char *wire_get_name(struct wire_reader *reader)
{
    struct text text = wire_get_text(reader);
    if (text.length == 0 || memchr(text.bytes, '\0', text.length) != text.bytes + text.length - 1) {
        reader->failed = true;
        return "";
    }
    return text.bytes;
}

void wire_put_stamp(struct buffer *writer, const struct file_stamp *stamp)
{
    wire_put_u64(writer, stamp->inode);
    wire_put_u64(writer, stamp->size_bytes);
    wire_put_u64(writer, (uint64_t)stamp->mtime_ns);
    wire_put_u64(writer, (uint64_t)stamp->ctime_ns);
}

struct file_stamp wire_get_stamp(struct wire_reader *reader)
{
    struct file_stamp stamp;
    stamp.inode = wire_get_u64(reader);
    stamp.size_bytes = wire_get_u64(reader);
    stamp.mtime_ns = (int64_t)wire_get_u64(reader);
    stamp.ctime_ns = (int64_t)wire_get_u64(reader);
    return stamp;
}

uint32_t wire_get_count(struct wire_reader *reader, size_t item_size_min)
{
    uint32_t count = wire_get_u32(reader);
    if (reader->failed || count > (reader->length - reader->position) / item_size_min) {
        reader->failed = true;
        return 0;
    }
    return count;
}

bool wire_reader_good(const struct wire_reader *reader)
{
    return !reader->failed;
}

bool wire_reader_done(const struct wire_reader *reader)
{
    return !reader->failed && reader->position == reader->length;
}

uint16_t load_le16(const void *bytes)
{
    const unsigned char *b = bytes;
    return (uint16_t)(b[0] | b[1] << 8);
}

uint32_t load_le32(const void *bytes)
{
    const unsigned char *b = bytes;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

uint64_t load_le64(const void *bytes)
{
    return load_le32(bytes) | (uint64_t)load_le32((const unsigned char *)bytes + 4) << 32;
}

void store_le32(void *bytes, uint32_t value)
{
    unsigned char *b = bytes;
    for (int i = 0; i < 4; i++)
        b[i] = (unsigned char)(value >> (8 * i));
}

void store_le64(void *bytes, uint64_t value)
{
    store_le32(bytes, (uint32_t)value);
    store_le32((unsigned char *)bytes + 4, (uint32_t)(value >> 32));
}
