/* wire.h - little-endian fields in buffers: how everything of ours is written to disk or hashed.
 *
 * A reader never reads past its end: after the first short or over-long field every read gives
 * zero and wire_reader_good is false. Strings are a u32 length and the bytes; counts are u32. */
#ifndef PSYBUILD_BASE_WIRE_H
#define PSYBUILD_BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/stamp.h"

void wire_put_u8(struct buffer *writer, uint8_t value);
void wire_put_u32(struct buffer *writer, uint32_t value);
void wire_put_u64(struct buffer *writer, uint64_t value);
void wire_put_text(struct buffer *writer, struct text text);
void wire_put_string(struct buffer *writer, const char *string); /* NULL as the empty one */
/* A text that includes its NUL, so that a reader can borrow it as a string; NULL as the empty one.
 */
void wire_put_name(struct buffer *writer, const char *name);
void wire_put_stamp(struct buffer *writer, const struct file_stamp *stamp);

struct wire_reader {
    const unsigned char *bytes;
    size_t length, position;
    bool failed;
};
uint8_t wire_get_u8(struct wire_reader *reader);
uint32_t wire_get_u32(struct wire_reader *reader);
uint64_t wire_get_u64(struct wire_reader *reader);
const unsigned char *wire_get_bytes(
    struct wire_reader *reader, size_t length);        /* NULL when short */
struct text wire_get_text(struct wire_reader *reader); /* borrows; not NUL-terminated */
char *wire_get_string(struct wire_reader *reader, struct arena *arena); /* "" when it failed */
const char *wire_get_name(struct wire_reader *reader); /* borrowed; "" and failed if it is none */
struct file_stamp wire_get_stamp(struct wire_reader *reader);
/* A count of items of at least `item_size_min` bytes each: 0 and failed if they cannot fit. */
uint32_t wire_get_count(struct wire_reader *reader, size_t item_size_min);
bool wire_reader_good(const struct wire_reader *reader);
bool wire_reader_done(const struct wire_reader *reader); /* good, and nothing is left */

uint16_t load_le16(const void *bytes);
uint32_t load_le32(const void *bytes);
uint64_t load_le64(const void *bytes);
void store_le32(void *bytes, uint32_t value);
void store_le64(void *bytes, uint64_t value);

#endif
